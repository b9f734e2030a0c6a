"""Self-contained, safe and accessible pages."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_line import done
from support.pages import NAMES, Page, edit_results, edit_settings, reported, words

from twolayer.cli.page import writing

KINDS = ("all-diverged", "diverged", "several", "sweep", "train", "training-only", "weird")
PARTS = ("figures", "course", "classes", "calibration", "mistakes", "weights", "settings", "files")
STYLE = writing._resource("page.css")
LIGHT, DARK = re.findall(r":root \{(.*?)\}", STYLE, re.S)


def test_there_are_runs_of_every_kind(runs: Path) -> None:
    assert sorted(one.name for one in runs.iterdir() if one.is_dir()) == [*KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_pages_load_no_other_files(runs: Path, kind: str) -> None:
    page, names = Page(runs / kind), {path.name for path in (runs / kind).iterdir()}
    for element in page.root.iter():
        assert element.tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "srcset"):
            assert element.get(name, "data:image/").startswith("data:image/")
        href = element.get("href", "#")
        assert href in names or href[0] == "#"
        assert not any(name.startswith("on") or name == "style" for name in element.attrib)
    targets = {one.get("href", "")[1:] for one in page.all("a") if one.get("href", "").startswith("#")}
    assert {*PARTS} <= targets <= {one.get("id") for one in page.root.iter()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_security_policy_allows_only_the_pages_style_and_script(runs: Path, kind: str) -> None:
    page = Page(runs / kind)
    (meta,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = meta.get("content", "")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (element,) = page.all(tag)
        digest = hashlib.sha256((element.text or "").encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_names_with_markup_are_shown_as_text(runs: Path) -> None:
    page = Page(runs / "weird")
    assert "alert(1)" in page.text
    assert "<script>alert" not in page.text
    assert "weird &lt;" not in page.text
    assert words(page.root.find(".//h1")) == "Training on weird &lt; 'more'.npz"
    rows = page.table("classes", "Results on the test samples")
    assert [row[0] for row in rows[1:]] == NAMES


@pytest.mark.parametrize("place", ["dataset", "optimizer", "preset", "version"])
def test_text_from_the_files_of_a_run_never_becomes_markup(
    copied: Callable[[str], Path], undrawn: None, place: str
) -> None:
    evil = "</title></style></script><img src=x onerror=alert(1)>\"'&amp;"
    folder = copied("train")
    if place == "version":
        edit_results(folder, lambda stored: stored["versions"].update({evil: evil}))
    else:
        edit_settings(folder, {place: evil})
    page = reported(folder)
    assert "<img src=x" not in page.text
    assert "onerror=alert(1)&gt;" in page.text


def test_a_folder_may_have_any_name(copied: Callable[[str], Path], undrawn: None, tmp_path: Path) -> None:
    name = "&lt;b&gt; 'قطة' 😀 {{ 7 * 7 }}"
    page = reported(copied("train").rename(tmp_path / name))
    assert words(page.root.find(".//title")) == f"{name} – Training on digits"
    assert words(page.root.find(".//header/p")) == name


@pytest.mark.parametrize("name", ["sweep", "weird"])
def test_the_same_run_gives_the_same_page(runs: Path, name: str) -> None:
    before = (runs / name / "report.html").read_bytes()
    done("report", runs / name)
    assert (runs / name / "report.html").read_bytes() == before


# Accessibility


@pytest.mark.parametrize("kind", KINDS)
def test_pages_have_landmarks_ordered_headings_and_table_captions(runs: Path, kind: str) -> None:
    page = Page(runs / kind)
    assert page.root.get("lang") == "en"
    for landmark in ("h1", "header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    levels = [int(one.tag[1]) for one in page.root.iter() if re.fullmatch(r"h[1-6]", str(one.tag))]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    (body,) = page.all("body")
    assert (body[0].tag, body[0].get("href")) == ("a", "#content")
    for table in page.all("table"):
        assert words(table.find("caption"))
        assert {cell.get("scope") for cell in table.iter("th")} <= {"col", "row"}
    for image in page.all("img"):
        assert all(image.get(name) for name in ("alt", "width", "height"))
    identifiers = [one.get("id") for one in page.root.iter() if one.get("id")]
    assert len(identifiers) == len(set(identifiers))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_agrees_with_known_ratios() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [LIGHT, LIGHT + DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "papers"),
    [
        ("ink", ["paper", "tint", *(f"shade{i}" for i in range(1, 6))]),
        ("muted", ["paper"]),
        ("link", ["paper"]),
        ("warn-ink", ["warn"]),
    ],
)
def test_text_has_enough_contrast_in_both_themes(theme: str, ink: str, papers: list[str]) -> None:
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))
    for paper in papers:
        assert contrast(found[ink], found[paper]) >= 4.5, paper


def test_both_themes_define_every_colour() -> None:
    names = re.findall(r"--[\w-]+(?=:)", LIGHT)
    assert re.findall(r"--[\w-]+(?=:)", DARK) == names
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) == set(names)
