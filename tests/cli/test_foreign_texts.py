"""Texts from others on the terminal, on the page, in pictures and in tables: shown, but not obeyed."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
import tomli_w
from support.command_line import EVIL, answered, assert_harmless, cli, clusters, done, refused, small_cifar10
from support.strategies import is_printable

import twolayer
from twolayer import datasets
from twolayer._files import write_safetensors
from twolayer.cli.console import Console
from twolayer.cli.page import pictures

image = pytest.importorskip("PIL.Image", reason="the command line needs Pillow for images")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(text: str) -> str:
    """A text as it is to be shown."""
    return "".join(one if is_printable(one) else one.encode("unicode_escape").decode() for one in text)


def save(path: str = "net.safetensors", **about: Any) -> None:
    net = twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0)
    twolayer.save(net, path, image_shape=(2, 3), information={"white": 255} | about)


def picture(path: Path) -> None:
    with path.open("wb") as file:
        image.fromarray(np.full((2, 3), 9, np.uint8)).save(file, format="png")


# The terminal


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("quiet", [False, True])
def test_a_console_shows_any_text_in_one_line(
    evil: str, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(quiet=quiet)
    console.result(evil)
    console.warn(evil)
    console.error(evil)
    console.table(("name", "n"), [(evil, evil)], title=evil, best=0, marks={0: evil})
    console.table(("name", "n"), [(evil, evil)], title=["ours", evil])
    list(console.counted(evil, [1], 3, clock=itertools.count(0.0, 100.0).__next__))
    out, err = capsys.readouterr()
    assert_harmless(out)
    assert_harmless(err)
    assert len(err.splitlines()) == 2 + (not quiet)
    assert out.count(shown(evil)) == 7
    assert err.count(shown(evil)) == 2 + (not quiet)


def write_network(tensors: Mapping[str, Any], **about: str) -> None:
    """Write a network by hand, with tensors that it should not have."""
    net = twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0)
    about |= {"n_features": "6", "n_hidden": "4", "n_classes": "3", "twolayer_version": "1"}
    about |= {"format": "twolayer", "format_version": "1"}
    write_safetensors("bad.safetensors", {**net._asdict(), **tensors}, about)


def with_tensors(evil: str) -> list[str]:
    write_network({evil: np.ones(2)})
    return ["evaluate", "bad.safetensors", "digits"]


def with_classes_of_a_network(evil: str) -> list[str]:
    write_network({}, classes=json.dumps(["a", "b", evil]))
    return ["predict", "bad.safetensors", "a.png"]


def with_arrays(evil: str) -> list[str]:
    np.savez("bad.npz", **{evil.replace("/", ""): np.ones(2)})
    return ["train", "bad.npz"]


def with_arrays_to_predict(evil: str) -> list[str]:
    save()
    np.savez("bad.npz", **{evil.replace("/", ""): np.ones(2)})
    return ["predict", "net.safetensors", "bad.npz"]


def with_another_set(evil: str) -> list[str]:
    clusters(Path("bad.npz"), **{f"X_{evil}": np.ones(2)})
    return ["train", "bad.npz"]


def with_labels(evil: str) -> list[str]:
    np.savez("bad.npz", X=np.ones((4, 2)), y=["a", "b", "a", evil], classes=["a", "b"])
    return ["train", "bad.npz"]


def with_classes(evil: str) -> list[str]:
    clusters(Path("bad.npz"), classes=["a", "b", evil])
    return ["sweep", "bad.npz"]


def with_labels_to_evaluate(evil: str) -> list[str]:
    save()
    np.savez("bad.npz", X=np.ones((4, 6)), y=["a", "b", "a", evil])
    return ["evaluate", "net.safetensors", "bad.npz"]


def with_a_key(evil: str) -> list[str]:
    Path("bad.toml").write_text(tomli_w.dumps({evil: 1}), encoding="utf-8")
    return ["train", "--config", "bad.toml"]


def with_a_value(evil: str) -> list[str]:
    Path("bad.toml").write_text(tomli_w.dumps({"optimizer": evil}), encoding="utf-8")
    return ["train", "--config", "bad.toml"]


def with_a_device(evil: str) -> list[str]:
    Path("bad.toml").write_text(tomli_w.dumps({"device": evil}), encoding="utf-8")
    return ["train", "--config", "bad.toml"]


def with_a_data_set_it_was_trained_on(evil: str) -> list[str]:
    save(dataset=evil)
    return ["evaluate", "net.safetensors"]


def with_a_missing_file(evil: str) -> list[str]:
    return ["train", f"{evil}.npz"]


def with_a_missing_network(evil: str) -> list[str]:
    return ["evaluate", f"none/{evil}", "digits"]


def with_an_option(evil: str) -> list[str]:
    return ["train", "--optimizer", evil]


def with_a_word_too_many(evil: str) -> list[str]:
    return ["train", "digits", evil]


def with_a_command(evil: str) -> list[str]:
    return [f"train{evil}"]  # what begins with a sign is an option to older versions of click


def with_a_flag(evil: str) -> list[str]:
    return ["train", f"--{evil}"]


WAYS = (
    with_tensors,
    with_classes_of_a_network,
    with_arrays,
    with_arrays_to_predict,
    with_another_set,
    with_labels,
    with_classes,
    with_labels_to_evaluate,
    with_a_key,
    with_a_value,
    with_a_device,
    with_a_data_set_it_was_trained_on,
    with_a_missing_file,
    with_a_missing_network,
    with_an_option,
    with_a_word_too_many,
    with_a_command,
    with_a_flag,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("evil", EVIL)
def test_errors_show_what_others_wrote_in_one_line(way: Callable[[str], list[str]], evil: str) -> None:
    result = cli(*way(evil))
    assert result.exit_code in (1, 2)
    assert_harmless(result.output)
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert result.output.endswith(f"{lines[0]}\n")


def test_near_names_are_shown_escaped() -> None:
    Path("seven\x1b[2J.npz").touch()
    line = refused("train", "seven.npz")
    assert line.endswith(r"did you mean seven\x1b[2J.npz?")


@pytest.mark.parametrize(
    "command", [["evaluate", "bad.safetensors", "digits"], ["train", "bad.npz"], ["train", "x" * 9000]]
)
def test_messages_have_a_length(command: list[str]) -> None:
    names = [f"tensor{i}" for i in range(20_000)]
    write_network(dict.fromkeys(names, np.ones(1)))
    np.savez("bad.npz", **dict.fromkeys(names[:2000], np.ones(1)))
    result = cli(*command)
    assert result.exit_code in (1, 2)
    assert len(result.output) <= 2100
    assert len(answered(*command).data["error"]["message"]) <= 2000


def test_a_message_is_cut_at_its_end() -> None:
    line = refused("train", f"{'x' * 9000}\x1b.npz")
    assert line.startswith("Error: ")
    assert len(line) == len("Error: ") + 2000
    assert line.endswith("…")


# File names


@posix
@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
@pytest.mark.parametrize("folder", [*EVIL[:6], "caf\udce9", "=1+1", 'a,"b"'])
def test_images_of_any_name_are_used_as_they_are_and_shown_escaped(folder: str, suffix: str) -> None:
    folder = folder.replace("/", "")
    Path(folder).mkdir()
    picture(Path(folder, "a\x1b[2J\u202e.png"))
    save()
    assert_harmless(done("predict", "net.safetensors", folder))
    assert_harmless(done("predict", "net.safetensors", folder, "--output", f"p.{suffix}"))
    name = f"{folder}/a\x1b[2J\u202e.png"
    if suffix == "npz":
        assert np.load("p.npz")["sample"].tolist() == [name]
        return
    text = Path(f"p.{suffix}").read_text(encoding="utf-8")
    assert_harmless(text)
    if suffix == "json":
        assert [row["sample"] for row in json.loads(text)["predictions"]] == [name]
    else:
        assert [row["sample"] for row in csv.DictReader(text.splitlines())] == [shown(name)]
    answer = answered("predict", "net.safetensors", folder)
    assert [row["sample"] for row in answer.data["predictions"]] == [name]


@posix
@pytest.mark.parametrize("evil", [*EVIL[:6], "caf\udce9", "$(touch PWNED)"])
def test_a_run_in_a_folder_of_any_name(evil: str) -> None:
    evil = evil.replace("/", "")
    data = clusters(Path(f"{evil}.npz"))
    assert_harmless(done("train", data, "--epochs", 1, "--hidden", 4, "--out", evil))
    assert_harmless(done("train", "--config", Path(evil, "settings.toml"), "--out", "again"))
    assert_harmless(done("report", evil))
    assert_harmless(done("evaluate", evil, data))
    for file in Path(evil).glob("*.[hjc][tsv][mov]*"):
        assert_harmless(file.read_text(encoding="utf-8"))
    assert not Path("PWNED").exists()


def test_hints_of_commands_stay_one_word() -> None:
    """What is shown as a command has its escapes inside of quotes, so that a shell runs nothing in it."""
    evil = "$(touch PWNED)\x1b'; touch PWNED #"
    output = done("train", clusters(Path("mine.npz")), "--epochs", 1, "--out", evil)
    (hint,) = re.findall(r"`twolayer report (.*)` makes one page of it", output)
    os.system(f"printf %s {hint} > word")
    assert Path("word").read_text(encoding="utf-8") == evil.replace("\x1b", r"\x1b")
    assert not Path("PWNED").exists()


# The page and the pictures


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a run and of a sweep, without pictures."""
    where = tmp_path_factory.mktemp("runs")
    data = clusters(where / "mine.npz")
    quick = ("--epochs", 2, "--hidden", 4, "-q")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.run_figures.draw", lambda *_, **__: [])
        done("train", data, *quick, "--out", where / "run")
        grid = ("--learning-rate", "0.1,0.2", "--reg", "0,0.1", "--seeds", 2)
        done("sweep", data, *quick, *grid, "--out", where / "sweep")
    return where


def filled(value: Any, evil: str) -> Any:
    """JSON in which each text is this one, but those that must be one of a few."""
    if isinstance(value, dict):
        kept = ("command", "true", "predicted", "counts")
        return {key: one if key in kept else filled(one, evil) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, evil) for one in value]
    return evil if isinstance(value, str) else value


def forged(runs: Path, kind: str, evil: str) -> Path:
    """The folder of a run in whose results and settings others have written."""
    folder = Path(shutil.copytree(runs / kind, Path(kind), dirs_exist_ok=True))
    results = folder / "results.json"
    stored = filled(json.loads(results.read_text(encoding="utf-8")), evil)
    stored["versions"] = {evil: evil}
    if kind == "sweep":
        stored["best"] |= {"seed": evil}
    for row in stored.get("table", []):
        row |= {"optimizer": evil}
    if stored.get("table"):
        stored["table"][0] |= {"optimizer": f"other {evil}", evil: f"other {evil}"}
    results.write_text(json.dumps(stored), encoding="utf-8")
    given = {"command": stored["command"], "dataset": f"{evil}.npz", "optimizer": evil, "device": evil}
    (folder / "settings.toml").write_text(tomli_w.dumps(given | {evil: evil}), encoding="utf-8")
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no pictures drawn, which takes most of the time."""
    monkeypatch.setattr(pictures, "_encoded", lambda figure, suffix: "data:,")


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("evil", [*EVIL, "\x00", "\ufffe"])
def test_a_page_is_whole_whatever_is_in_the_files(runs: Path, undrawn: None, kind: str, evil: str) -> None:
    folder = forged(runs, kind, evil)
    assert_harmless(done("report", folder))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert_harmless(page)
    html5lib.HTMLParser(strict=True).parse(page)


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("text", ["".join(EVIL), "\ufffe\x00", "</text><script>1</script>]]> -->"])
def test_pictures_are_whole_whatever_is_in_the_files(runs: Path, kind: str, text: str) -> None:
    folder = forged(runs, kind, text)
    done("report", folder)
    assert_harmless(done("plot", folder, "--format", "svg"))
    drawn = [path.read_text(encoding="utf-8") for path in folder.glob("*.svg")]
    assert len(drawn) == 2 + (kind == "sweep")
    page = (folder / "report.html").read_text(encoding="utf-8")
    drawn += [base64.b64decode(one).decode() for one in re.findall(r"svg\+xml;base64,([\w+/=]+)", page)]
    assert len(drawn) > 5
    for svg in drawn:
        assert_harmless(svg)
        found: Any = ElementTree.fromstring(svg)  # our own
        tags = [one.tag.rpartition("}")[2] for one in found.iter()]
        assert not {"script", "a", "foreignObject", "animate", "set"} & set(tags)
        assert not any(name.startswith("on") for one in found.iter() for name in one.attrib)


def test_names_that_are_written_from_the_right_turn_nothing_else(undrawn: None) -> None:
    """On the page each stands in an element that has a direction of its own."""
    name = "שלום 12.npz"
    data = clusters(Path(name))
    done("train", data, "--epochs", 2, "--hidden", 4, "-q", "--out", "run")
    done("report", "run")
    page = (Path("run") / "report.html").read_text(encoding="utf-8")
    root: Any = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    body = root.find("body")
    parents = {child: parent for parent in body.iter() for child in parent}
    found = [one for one in body.iter() if any("שלום" in (text or "") for text in (one.text, one.tail))]
    assert {one.tag for one in found} == {"bdi"}
    assert {parents[one].tag for one in found} >= {"h1", "p", "code", "dd"}
    summary = "".join(body.find(".//p[@class='summary']").itertext())
    assert f"samples of {name} (6 features, 3 classes) for 2 epochs" in summary
    command = next("".join(one.itertext()) for one in body.iter("code") if name in "".join(one.itertext()))
    assert shlex.split(command) == [
        "twolayer",
        "train",
        str(data.absolute()),
        "--hidden",
        "4",
        "--epochs",
        "2",
    ]


# What a page is not: a way to run something


PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style></textarea><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover=alert(1) x='",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<!-- --> <iframe src=//evil.example>",
    "]]></text><script>alert(1)</script>",
    "&lt;script&gt;&#60;b&#62;",
    "{{ 7*7 }}{% include '/etc/passwd' %}${7*7}",
]


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_the_files_becomes_markup(runs: Path, undrawn: None, kind: str, payload: str) -> None:
    folder = forged(runs, kind, payload)
    done("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    root: Any = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    tags = [one.tag for one in root.iter()]
    assert [tags.count(tag) for tag in ("script", "style", "title", "h1")] == [1, 1, 1, 1]
    assert not {"iframe", "object", "embed", "form", "base", "link", "svg", "input"} & set(tags)
    for one in root.iter():
        assert not any(name.startswith("on") or name == "style" for name in one.attrib)
        assert one.attrib.get("src", "data:").startswith("data:")
        assert one.attrib.get("srcset", "data:").startswith("data:")
        href = one.attrib.get("href", "#")
        assert href.startswith("#") or (folder / href).is_file()
    assert any(payload in text for text in root.itertext())


# What a network that is passed on says of where it was made


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_network_holds_no_path_and_no_address(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    where = elsewhere / "secretly"
    where.mkdir()
    mirror = "https://secretly.example.org/cifar-10-binary.tar.gz"
    data = small_cifar10(where / "cifar-10-batches-bin", monkeypatch)
    load = datasets.load_cifar10
    quick = (
        ("--epochs", 1, "-q") if command == "train" else ("--epochs", 1, "--hidden", 3, "--seeds", 1, "-q")
    )
    done(command, clusters(where / "mine.npz"), *quick, "--out", "own")
    done(command, "cifar10", "--data", data, *quick, "--out", "folder")
    monkeypatch.setattr(
        "twolayer.cli.data.load_cifar10", lambda url, progress, **counts: load(data, **counts)
    )
    done(command, "cifar10", "--url", mirror, *quick, "--out", "mirror")
    for run in ("own", "folder", "mirror"):
        assert b"secretly" in Path(run, "settings.toml").read_bytes()
        for path in Path(run).iterdir():
            assert b"secretly" not in path.read_bytes() or path.name == "settings.toml", path


# Passwords


SECRET = "https://me:s3cret@127.0.0.1:1/cifar-10-binary.tar.gz"


@pytest.mark.parametrize("way", ["option", "config", "evaluate", "resume"])
def test_a_password_in_an_address_is_neither_shown_nor_stored(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    command = {
        "option": ["train", "cifar10", "--url", SECRET, "--out", "run"],
        "config": ["sweep", "--config", "mine.toml", "--out", "run"],
        "evaluate": ["evaluate", "net.safetensors", "cifar10", "--url", SECRET],
        "resume": ["train", "--resume", "old"],
    }[way]
    save()
    Path("mine.toml").write_text(f'dataset = "cifar10"\nurl = "{SECRET}"\n', encoding="utf-8")
    if way == "resume":  # of an earlier version, which took it
        data = small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)
        done("train", "cifar10", "--data", data, "--epochs", 1, "--out", "old", "-q")
        path = Path("old", "settings.toml")
        path.write_text(re.sub("(?m)^data = .*$", f'url = "{SECRET}"', path.read_text("utf-8")), "utf-8")
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    line = refused(*command)
    assert "`--url` must contain no @: a password belongs in ~/.netrc" in line
    assert "s3cret" not in line
    answer = answered(*command)
    assert "s3cret" not in str(answer)
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before


def test_a_page_shows_no_password_that_an_earlier_version_stored(runs: Path, undrawn: None) -> None:
    folder = Path(shutil.copytree(runs / "run", "run"))
    given = {"command": "train", "dataset": "cifar10", "url": SECRET}
    (folder / "settings.toml").write_text(tomli_w.dumps(given), encoding="utf-8")
    done("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "s3cret" not in page
    assert "--url" in page
    assert "127.0.0.1:1/cifar-10-binary.tar.gz" in page
