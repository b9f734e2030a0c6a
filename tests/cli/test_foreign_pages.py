"""Untrusted texts on the page and in pictures: shown, but never interpreted."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import html5lib
import pytest
import tomli_w
from support.command_line import EVIL, assert_harmless, clusters, done

from twolayer.cli.page import pictures


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a run and of a sweep, without pictures."""
    where = tmp_path_factory.mktemp("runs")
    data = clusters(where / "mine.npz")
    quick = ("--epochs", 2, "--hidden", 4, "-q")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
        done("train", data, *quick, "--out", where / "run")
        grid = ("--learning-rate", "0.1,0.2", "--reg", "0,0.1", "--seeds", 2)
        done("sweep", data, *quick, *grid, "--out", where / "sweep")
    return where


def filled(value: Any, evil: str) -> Any:
    """JSON with each text replaced by this one, except those that must have certain values."""
    if isinstance(value, dict):
        kept = ("command", "true", "predicted", "counts")
        return {key: one if key in kept else filled(one, evil) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, evil) for one in value]
    return evil if isinstance(value, str) else value


def forged(runs: Path, kind: str, evil: str) -> Path:
    """A copy of the folder of a run, with a hostile text throughout its results and settings."""
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
    """Draw no pictures, which would take most of the time."""
    monkeypatch.setattr(pictures, "_encoded", lambda figure, suffix: "data:,")


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("evil", [*EVIL, "\x00", "\ufffe"])
def test_a_page_is_valid_whatever_is_in_the_files(runs: Path, undrawn: None, kind: str, evil: str) -> None:
    folder = forged(runs, kind, evil)
    assert_harmless(done("report", folder))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert_harmless(page)
    html5lib.HTMLParser(strict=True).parse(page)


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("text", ["".join(EVIL), "\ufffe\x00", "</text><script>1</script>]]> -->"])
def test_pictures_are_valid_whatever_is_in_the_files(runs: Path, kind: str, text: str) -> None:
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
        found: Any = ElementTree.fromstring(svg)  # safe: the SVG is our own
        tags = [one.tag.rpartition("}")[2] for one in found.iter()]
        assert not {"script", "a", "foreignObject", "animate", "set"} & set(tags)
        assert not any(name.startswith("on") for one in found.iter() for name in one.attrib)


def test_right_to_left_names_reorder_nothing_else(undrawn: None) -> None:
    """On the page each such name is in a `bdi` element, which isolates its direction."""
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


def test_a_page_shows_no_password_that_an_earlier_version_stored(runs: Path, undrawn: None) -> None:
    folder = Path(shutil.copytree(runs / "run", "run"))
    given = {
        "command": "train",
        "dataset": "cifar10",
        "url": "https://me:s3cret@127.0.0.1:1/cifar-10-binary.tar.gz",
    }
    (folder / "settings.toml").write_text(tomli_w.dumps(given), encoding="utf-8")
    done("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "s3cret" not in page
    assert "--url" in page
    assert "127.0.0.1:1/cifar-10-binary.tar.gz" in page
