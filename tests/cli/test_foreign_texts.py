"""Untrusted texts on the terminal, in tables and in networks: shown, but never interpreted."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from support.command_line import EVIL, answered, assert_harmless, cli, clusters, done, refused, small_cifar10
from support.strategies import is_printable

import twolayer
from twolayer import datasets
from twolayer._files import write_safetensors
from twolayer.cli.console import Console

image = pytest.importorskip("PIL.Image", reason="the command line needs Pillow for images")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(text: str) -> str:
    """A text as it must be shown: with escapes for unprintable characters."""
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
    evil: str, quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(quiet=quiet)
    console.result(evil)
    console.warn(evil)
    console.error(evil)
    console.table(("name", "n"), [(evil, evil)], title=evil, best=0, marks={0: evil})
    console.table(("name", "n"), [(evil, evil)], title=["ours", evil])
    monkeypatch.setattr("twolayer.cli.console._LINE_SECONDS", 0.0)
    list(console.counted(evil, [1], 3))
    out, err = capsys.readouterr()
    assert_harmless(out)
    assert_harmless(err)
    assert len(err.splitlines()) == 2 + (not quiet)
    assert out.count(shown(evil)) == 7
    assert err.count(shown(evil)) == 2 + (not quiet)


def write_network(tensors: Mapping[str, Any], **about: str) -> None:
    """Write the file of a network with more or other tensors and metadata."""
    net = twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0)
    about |= {"n_features": "6", "n_hidden": "4", "n_classes": "3", "twolayer_version": "1"}
    about |= {"format": "twolayer", "format_version": "1"}
    write_safetensors("bad.safetensors", {**net._asdict(), **tensors}, about)


def save_arrays(evil: str) -> None:
    np.savez("bad.npz", **{evil.replace("/", ""): np.ones(2)})


def save_labels(evil: str) -> None:
    np.savez("bad.npz", X=np.ones((4, 6)), y=["a", "b", "a", evil])


def save_settings(**entries: int | str) -> None:
    Path("bad.toml").write_text(tomli_w.dumps(entries), encoding="utf-8")


# Functions that write a hostile text to a file, and commands that read it. EVIL in a command is the text.
WAYS: dict[str, tuple[Callable[[str], object], str]] = {
    "tensors": (lambda evil: write_network({evil: np.ones(2)}), "evaluate bad.safetensors digits"),
    "classes of a network": (
        lambda evil: write_network({}, classes=json.dumps(["a", "b", evil])),
        "predict bad.safetensors a.png",
    ),
    "arrays": (save_arrays, "train bad.npz"),
    "arrays to predict": (save_arrays, "predict net.safetensors bad.npz"),
    "another set": (lambda evil: clusters(Path("bad.npz"), **{f"X_{evil}": np.ones(2)}), "train bad.npz"),
    "labels": (
        lambda evil: np.savez("bad.npz", X=np.ones((4, 2)), y=["a", "b", "a", evil], classes=["a", "b"]),
        "train bad.npz",
    ),
    "classes": (lambda evil: clusters(Path("bad.npz"), classes=["a", "b", evil]), "sweep bad.npz"),
    "labels to evaluate": (save_labels, "evaluate net.safetensors bad.npz"),
    "key": (lambda evil: save_settings(**{evil: 1}), "train --config bad.toml"),
    "value": (lambda evil: save_settings(optimizer=evil), "train --config bad.toml"),
    "device": (lambda evil: save_settings(device=evil), "train --config bad.toml"),
    "data set of a network": (lambda evil: save(dataset=evil), "evaluate net.safetensors"),
    "missing file": (str, "train EVIL.npz"),
    "missing network": (str, "evaluate none/EVIL digits"),
    "option": (str, "train --optimizer EVIL"),
    "word too many": (str, "train digits EVIL"),
    "command": (str, "trainEVIL"),  # older versions of click read a word that begins with a sign as an option
    "flag": (str, "train --EVIL"),
}


@pytest.mark.parametrize(("write", "command"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("evil", EVIL)
def test_errors_show_hostile_texts_in_one_line(
    write: Callable[[str], object], command: str, evil: str
) -> None:
    save()
    write(evil)
    result = cli(*(word.replace("EVIL", evil) for word in command.split()))
    assert result.exit_code in (1, 2)
    assert_harmless(result.output)
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert result.output.endswith(f"{line}\n")


def test_suggested_names_are_escaped() -> None:
    Path("seven\x1b[2J.npz").touch()
    line = refused("train", "seven.npz")
    assert line.endswith(r"did you mean seven\x1b[2J.npz?")


@pytest.mark.parametrize(
    "command", [["evaluate", "bad.safetensors", "digits"], ["train", "bad.npz"], ["train", "x" * 9000]]
)
def test_messages_have_a_maximum_length(command: list[str]) -> None:
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
def test_a_run_in_a_folder_of_any_name_prints_harmless_text(evil: str) -> None:
    evil = evil.replace("/", "")
    data = clusters(Path(f"{evil}.npz"))
    assert_harmless(done("train", data, "--epochs", 1, "--hidden", 4, "--out", evil))
    assert_harmless(done("train", "--config", Path(evil, "settings.toml"), "--out", "again"))
    assert_harmless(done("report", evil))
    assert_harmless(done("evaluate", evil, data))
    for file in Path(evil).glob("*.[hjc][tsv][mov]*"):
        assert_harmless(file.read_text(encoding="utf-8"))
    assert not Path("PWNED").exists()


def test_a_name_in_a_suggested_command_is_one_word() -> None:
    """A suggested command has its escapes inside quotes, so that a shell runs nothing in them."""
    evil = "$(touch PWNED)\x1b'; touch PWNED #"
    output = done("train", clusters(Path("mine.npz")), "--epochs", 1, "--out", evil)
    (hint,) = re.findall(r"`twolayer report (.*)` writes an HTML page about it", output)
    os.system(f"printf %s {hint} > word")
    assert Path("word").read_text(encoding="utf-8") == evil.replace("\x1b", r"\x1b")
    assert not Path("PWNED").exists()


# The metadata of a network that is passed on


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_network_contains_no_path_and_no_address(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    where = elsewhere / "secretly"
    where.mkdir()
    mirror = "https://secretly.example.org/cifar-10-binary.tar.gz"
    data = small_cifar10(where / "cifar-10-batches-bin", monkeypatch)
    load = datasets.load_cifar10
    quick = ("--epochs", 1, "--hidden", 3, "--learning-rate", 0.1, "--reg", 0, "-q")
    quick += ("--seeds", 1) if command == "sweep" else ()
    done(command, clusters(where / "mine.npz"), *quick, "--out", "own")
    done(command, "cifar10", "--data", data, *quick, "--out", "folder")
    monkeypatch.setattr(
        "twolayer.cli.data.load_cifar10", lambda folder, url, progress, **counts: load(data, **counts)
    )
    done(command, "cifar10", "--url", mirror, *quick, "--out", "mirror")
    for run in ("own", "folder", "mirror"):
        assert b"secretly" in Path(run, "settings.toml").read_bytes()
        for path in filter(Path.is_file, Path(run).rglob("*")):
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
    if way == "resume":  # a run of an earlier version, which accepted the address
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
