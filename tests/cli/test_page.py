"""The page that `twolayer report` makes: what it says, and that it needs nothing else and lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import shlex
import shutil
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import html5lib
import numpy as np
import PIL.Image
import pytest
import tomli_w
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.command_line import answered, cli, done, refused, settings_in

from twolayer import datasets, report
from twolayer.cli import console, run_folder
from twolayer.cli.commands import app
from twolayer.cli.config import write_settings
from twolayer.cli.errors import DIVERGED, INTERRUPTED
from twolayer.cli.page import pictures, writing
from twolayer.cli.page.settings import command_line
from twolayer.cli.run_files import read_predictions, read_results

QUICK = ("--epochs", 3, "--hidden", 8, "--quiet")
NAMES = ["<script>alert(1)</script>", "\"quoted\" & 'more'", "قطة", "😀", "a" * 60]
PARTS = ("figures", "course", "classes", "calibration", "mistakes", "weights", "settings", "files")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs of several kinds, and the page of each."""
    where = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    y = np.arange(300) % 5
    X = rng.normal(size=(300, 6)) + rng.normal(size=(5, 6))[y]
    weird = where / "weird &lt; 'more'.npz"
    np.savez(weird, X=X, y=y, classes=np.array(NAMES))
    digits = datasets.load_digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.run_figures.draw", lambda *_, **__: [])
        done("train", *QUICK, "--out", where / "train")
        done("train", *QUICK, "--networks", 2, "--judge", "last", "--out", where / "several")
        result = cli("train", *QUICK, "--learning-rate", 40, "--out", where / "diverged")
        assert result.exit_code == DIVERGED
        assert "diverged" in result.output
        rates = ("--learning-rate", "0.3,1000", "--reg", "0,0.01", "--seeds", 2)
        done("sweep", *QUICK, *rates, "--out", where / "sweep")
        assert cli("sweep", *QUICK, "--learning-rate", 1e6, "--out", where / "lost").exit_code == DIVERGED
        done("train", weird, *QUICK, "--out", where / "weird")
        patch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, test=None, validation=None))
        done("train", *QUICK, "--out", where / "alone")
    for folder in where.iterdir():
        if folder.is_dir():
            done("report", folder)
    return where


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no pictures drawn, which takes most of the time."""
    monkeypatch.setattr(pictures, "_encoded", lambda figure, suffix: "data:,")


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Give a copy of a run that may be changed."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(runs / name, tmp_path / name))

    return copy


def page_of(folder: Path) -> ElementTree.Element:
    """Parse a page by the rules of HTML, which it must keep."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    found: ElementTree.Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    return found


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join(" ".join(element.itertext()).split())


def part(page: ElementTree.Element, name: str) -> ElementTree.Element:
    """The section of that name."""
    found = page.find(f".//section[@aria-labelledby='{name}']")
    assert found is not None
    return found


def table_rows(section: ElementTree.Element, caption: str) -> list[list[str]]:
    """The rows of the table whose caption begins so, headings first."""
    (table,) = (table for table in section.iter("table") if words(table.find("caption")).startswith(caption))
    return [[words(cell) for cell in row] for row in table.iter("tr")]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    change(stored)
    path.write_text(json.dumps(stored), encoding="utf-8")


def edit_settings(folder: Path, changed: dict[str, Any]) -> None:
    text = tomli_w.dumps(settings_in(folder) | changed)
    (folder / "settings.toml").write_text(text, encoding="utf-8")


# What stands on it


def test_the_command_says_where_the_page_is(runs: Path, undrawn: None, tmp_path: Path) -> None:
    assert done("report", runs / "weird", "--out", tmp_path / "page.html") == f"{tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'href="results.json"' not in page  # which lies elsewhere
    assert "results.json" in page


def test_the_answer_in_json(runs: Path, undrawn: None, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    code, data, _ = answered("report", runs / "weird", "--out", file)
    assert (code, data) == (0, {"folder": str(runs / "weird"), "file": str(file)})


def test_train_and_sweep_say_how_it_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("twolayer.cli.run_figures.draw", lambda *_, **__: [])
    folder = tmp_path / "a run"
    output = done("train", "--epochs", 1, "--hidden", 4, "--out", folder)
    assert f"`twolayer report '{folder}'` makes one page of it" in output


def test_a_training(runs: Path) -> None:
    page, results = page_of(runs / "train"), read_results(runs / "train" / "results.json")
    assert words(page.find(".//h1")) == "Training on digits"
    summary = words(page.find(".//p[@class='summary']"))
    assert "One network of 8 hidden units was trained on 1,097 samples of digits" in summary
    assert "images of 8×8 pixels, 10 classes) for 3 epochs of gradient descent." in summary
    assert f"that of step {results.best_step}, the best on the validation samples" in summary
    figures = words(part(page, "figures"))
    assert results.test is not None
    n_right = results.test.confusion.n_right
    low, high = report.wilson_interval(n_right, 400)
    assert f"Test accuracy {n_right / 400:.3f} {n_right} of 400 samples right; " in figures
    assert f"95 % interval {low:.3f} to {high:.3f} (Wilson)" in figures
    assert f"Validation accuracy {results.validation_accuracy:.3f} 300 samples" in figures
    assert "the network was chosen by them" in figures
    assert "candidates" not in {one.get("id") for one in page.iter("h2")}
    assert page.find(".//p[@class='missing']") is None
    assert page.find(".//p[@class='notice']") is None


def test_a_sweep(runs: Path) -> None:
    page, results = page_of(runs / "sweep"), read_results(runs / "sweep" / "results.json")
    best = report.winner(results.table)
    assert best is not None
    assert words(page.find(".//h1")) == "Sweep on digits over learning rate and reg"
    summary = words(page.find(".//p[@class='summary']"))
    assert "A sweep trained 8 networks (4 candidates, each from 2 seeds) on 1,097 samples" in summary
    assert f"has learning rate 0.3 and reg {report.format_number(best['reg'])}. Its best network" in summary
    figures = words(part(page, "figures"))
    spread = f"{best['validation_accuracy']:.3f} ± {best['validation_accuracy_std']:.3f}"
    assert f"Validation accuracy {spread} mean ± standard deviation over 2 seeds; 300 samples" in figures
    assert "Some diverged. Of 2 of the 4 candidates" in words(page.find(".//p[@class='notice']"))
    said = [words(notice) for notice in page.iterfind(".//p[@class='notice']")][1:]
    ends = [report.grid_end_in_words(end) for end in report.grid_ends(results.table)]
    assert said == [f"At the end of the grid. {end}" for end in ends]
    assert "lower end of learning rate, 0.3: try 0.03, 3e-3 too." in said[0]
    assert "That of the best network (seed " in words(part(page, "course"))

    rows = table_rows(part(page, "candidates"), "4 candidates, the best first")
    columns = ["rank", "learning rate", "reg", "validation accuracy", "training accuracy", "behind the best"]
    assert rows[0] == [*columns, "note"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert rows[1][3:] == [spread, f"{best['train_accuracy']:.3f}", "", "best"]
    second = results.table[report.ranked(results.table)[1]]
    assert rows[2][5] == f"{report.format_difference(second)}"
    assert rows[2][6] == ("≈ best" if second["within_noise"] else "")
    section = words(part(page, "candidates"))
    assert all(sentence in section for sentence in report.certainty_in_words(results.table, 300))
    assert "The best was picked among 4" in section.replace("but the best", "The best")
    assert [row[1] for row in rows[1:]] == report.format_numbers([0.3, 0.3, 1000.0, 1000.0])
    assert all(row[3:6] == ["–"] * 3 and row[6].startswith("diverged at step") for row in rows[3:])
    (marked,) = (row for row in page.iter("tr") if row.get("class") == "best")
    assert "best" in words(marked)


def test_every_cell_of_a_sortable_table_says_what_it_is_sorted_by(runs: Path) -> None:
    results = read_results(runs / "sweep" / "results.json")
    page = page_of(runs / "sweep")
    tables = [table for table in page.iter("table") if table.get("class") == "sortable"]
    assert len(tables) == 2
    for table in tables:
        head, body = table.find("thead"), table.find("tbody")
        assert head is not None
        assert body is not None
        assert {cell.get("data-first") for cell in head.iter("th")} <= {"ascending", "descending"}
        assert all(cell.get("data-key") is not None for row in body.iter("tr") for cell in row)
    body = tables[0].find("tbody")
    assert body is not None
    keys = [[cell.get("data-key") for cell in row] for row in body.iter("tr")]
    ranked = [results.table[index] for index in report.ranked(results.table)]
    assert [key[2] for key in keys] == [repr(row["reg"]) for row in ranked]
    assert [key[3] for key in keys] == [repr(ranked[0]["validation_accuracy"]), *(k[3] for k in keys[1:])]
    assert [key[3] for key in keys[2:]] == ["", ""]  # of those that diverged
    assert [key[5] for key in keys] == ["0.0", repr(ranked[1]["difference"]), "", ""]


def test_the_classes_and_what_was_taken_for_what(runs: Path) -> None:
    results = read_results(runs / "train" / "results.json")
    assert results.test is not None
    counts = results.test.confusion.matrix()
    classes = part(page_of(runs / "train"), "classes")
    rows = table_rows(classes, "How the test samples of each class fared")
    for row, one in zip(rows[1:], report.classification_summary(counts, results.classes), strict=True):
        assert row == [
            one["class"],
            *(f"{one[k]:.3f}" for k in ("precision", "recall", "f1")),
            f"{one['support']}",
        ]
    matrix = table_rows(classes, "Confusion matrix")
    assert matrix[0] == ["", *results.classes]
    assert [[int(cell) for cell in row[1:]] for row in matrix[1:]] == counts.tolist()
    pairs = table_rows(classes, "The most frequent confusions")[1:]
    wrong = counts - np.diag(np.diag(counts))
    assert int(pairs[0][2]) == wrong.max()
    assert wrong[results.classes.index(pairs[0][0]), results.classes.index(pairs[0][1])] == wrong.max()
    assert pairs[0][3] == f"{wrong.max() / counts[results.classes.index(pairs[0][0])].sum():.1%}"


def test_the_images_most_wrong(runs: Path) -> None:
    results = read_results(runs / "train" / "results.json")
    assert results.test is not None
    found = read_predictions(runs / "train" / "predictions.npz", results.test, results.image_shape)
    digits = datasets.load_digits()
    assert found.rows is not None
    assert found.images is not None
    np.testing.assert_array_equal(found.y, digits.test.y)
    np.testing.assert_array_equal(found.images, digits.test.X[found.rows].reshape(-1, 8, 8))
    assert found.images.dtype == digits.test.X.dtype
    of_true = found.probabilities[found.rows, found.y[found.rows]]
    assert list(of_true) == sorted(of_true)
    others = np.setdiff1d(np.flatnonzero(found.probabilities.argmax(axis=1) != found.y), found.rows)
    assert found.probabilities[others, found.y[others]].min(initial=1) >= of_true[-1]

    section = part(page_of(runs / "train"), "mistakes")
    n_wrong = 400 - results.test.confusion.n_right
    assert f"{n_wrong} of 400 test samples are wrong" in words(section)
    items = list(section.iter("li"))
    assert len(items) == min(24, n_wrong) == len(found.rows)
    for item, row in zip(items, found.rows, strict=True):
        guess = int(found.probabilities[row].argmax())
        assert words(item) == f"{found.y[row]} → {guess} {found.probabilities[row, guess]:.3f} sample {row}"
        image = item.find(".//img")
        assert image is not None
        assert image.get("alt") == f"Test sample {row}"
        with PIL.Image.open(io.BytesIO(decoded(image.get("src")))) as opened:
            pixels = np.asarray(opened)
        np.testing.assert_array_equal(pixels, np.rint(digits.test.X[row].reshape(8, 8) / 16 * 255))


def decoded(uri: str | None) -> bytes:
    assert uri is not None
    assert uri.startswith("data:image/")
    return base64.b64decode(uri.partition(";base64,")[2], validate=True)


def test_samples_that_are_no_images(runs: Path) -> None:
    page = page_of(runs / "weird")
    assert words(part(page, "weights")).endswith("The samples are not images, so neither are the weights.")
    rows = table_rows(part(page, "mistakes"), "The test samples most wrong")
    name = "weird &lt; 'more'.npz"
    of = "probability of the"
    assert rows[0] == [f"row of {name}", "true", f"{of} true", "predicted", f"{of} predicted"]
    sentence = "".join(part(page, "mistakes").itertext())
    assert f"numbered from 0, as in NumPy, by their rows of X in {name}." in sentence
    with np.load(runs / name) as stored:
        labels = [NAMES[label] for label in stored["y"]]
    assert [labels[int(row[0])] for row in rows[1:]] == [row[1] for row in rows[1:]]
    in_test = datasets.load_npz(runs / name).rows
    assert in_test is not None
    assert {int(row[0]) for row in rows[1:]} <= set(in_test["test"].tolist())
    assert len(rows) > 2
    assert all(row[1] in NAMES and row[3] in NAMES and row[1] != row[3] for row in rows[1:])
    assert [float(row[2]) for row in rows[1:]] == sorted(float(row[2]) for row in rows[1:])


def test_several_networks(runs: Path) -> None:
    page = page_of(runs / "several")
    summary = words(page.find(".//p[@class='summary']"))
    assert "2 networks of 8 hidden units each were trained on" in summary
    assert "They were merged into one network of 16 hidden units." in summary
    assert re.search(
        r"300 samples; of the merged network, its 2 parts have 0\.\d+ to 0\.\d+", words(part(page, "figures"))
    )
    assert re.search(
        r"Training accuracy 0\.\d+ 1,097 samples; mean of the 2 networks before they were merged",
        words(part(page, "figures")),
    )
    assert "The means over the 2 networks." in words(part(page, "course"))


def test_a_network_that_is_averaged(copied: Callable[[str], Path], undrawn: None) -> None:
    folder = copied("train")
    edit_settings(folder, {"symmetrize_shift": 1})
    done("report", folder)
    figures = words(part(page_of(folder), "figures"))
    assert "1,097 samples; of the network before it was averaged" in figures


def test_the_spread_is_told_of_the_seeds_that_it_is_over(
    copied: Callable[[str], Path], undrawn: None
) -> None:
    folder = copied("sweep")

    def change(stored: Any) -> None:
        stored["table"] = [row | {"n_seeds": 4, "diverged": 1} for row in stored["table"]]

    edit(folder / "results.json", change)
    done("report", folder)
    figures = words(part(page_of(folder), "figures"))
    assert "mean ± standard deviation over 3 seeds" in figures


# What is not there, and why


def test_a_training_that_diverged(runs: Path) -> None:
    page = page_of(runs / "diverged")
    step = read_results(runs / "diverged" / "results.json").diverged
    assert f"Diverged. The network diverged at step {step:,}" in words(page.find(".//p[@class='notice']"))
    assert "Test accuracy – no network was kept" in words(part(page, "figures"))
    assert "Validation accuracy – no network was kept" in words(part(page, "figures"))
    for name in ("classes", "calibration", "mistakes"):
        assert words(part(page, name)).endswith("No network was kept, so none was tested.")
    assert words(part(page, "weights")).endswith("No network was kept.")
    assert part(page, "course").find(".//img") is not None


def test_a_sweep_of_which_every_candidate_diverged(runs: Path) -> None:
    page = page_of(runs / "lost")
    assert "Every candidate diverged" in words(page.find(".//p[@class='notice']"))
    assert words(part(page, "course")).endswith("No network was kept, so there is no history of one.")
    assert "Test accuracy – no network was kept" in words(part(page, "figures"))
    assert all("best" not in row for row in table_rows(part(page, "candidates"), "3 candidates"))


def test_data_without_validation_and_test_samples(runs: Path) -> None:
    page = page_of(runs / "alone")
    figures = words(part(page, "figures"))
    assert "Test accuracy – the data have no test samples" in figures
    assert "Validation accuracy – the data have no validation samples" in figures
    assert words(part(page, "mistakes")).endswith("The data have no test samples.")
    assert not (runs / "alone" / "predictions.npz").exists()


def test_a_run_of_an_earlier_version(copied: Callable[[str], Path], undrawn: None) -> None:
    folder = copied("train")
    (folder / "predictions.npz").unlink()
    edit(
        folder / "results.json",
        lambda stored: [stored.pop(name) for name in ("samples", "image_shape", "n_features")],
    )
    done("report", folder)
    page = page_of(folder)
    for name in ("calibration", "mistakes"):
        assert words(part(page, name)).endswith(
            "The folder holds no predictions.npz: an earlier version did not write it, or not all "
            "probabilities are finite."
        )
    assert "number of samples not recorded" in words(part(page, "figures"))
    assert "was trained on samples of digits (images of 8×8 pixels" in words(page.find(".//header"))


@pytest.mark.parametrize("name", ["history.json", "settings.toml", "network.safetensors"])
def test_a_file_that_is_missing(copied: Callable[[str], Path], undrawn: None, name: str) -> None:
    folder = copied("train")
    (folder / name).unlink()
    done("report", folder)
    said = {
        "history.json": "The folder holds no history.json.",
        "settings.toml": "No settings. The folder holds no settings.toml: the page shows less.",
        "network.safetensors": "No network was kept.",
    }
    assert said[name] in words(page_of(folder).find("body"))


def test_an_interrupted_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None) -> None:
    monkeypatch.setattr("twolayer.cli.run_figures.draw", lambda *_, **__: [])
    original = console.Watch.__call__

    def call(self: Any, progress: Any) -> None:
        self.interrupted = self.interrupted or signal.SIGINT * (progress.step == 30)
        original(self, progress)

    monkeypatch.setattr(console.Watch, "__call__", call)
    assert cli("train", *QUICK, "--out", tmp_path / "run").exit_code == INTERRUPTED
    done("report", tmp_path / "run")
    notice = words(page_of(tmp_path / "run").find(".//p[@class='notice']"))
    assert notice.startswith("Interrupted. It ended at step 30. ")
    monkeypatch.setattr(console.Watch, "__call__", original)
    done("train", "--resume", tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()  # it told of what was then
    done("report", tmp_path / "run")
    assert page_of(tmp_path / "run").find(".//p[@class='notice']") is None


def test_a_sweep_that_was_interrupted_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None
) -> None:
    monkeypatch.setattr("twolayer.cli.run_figures.draw", lambda *_, **__: [])
    original = console.Watch.__call__

    def call(self: Any, progress: Any) -> None:
        self.interrupted = signal.SIGINT
        original(self, progress)

    monkeypatch.setattr(console.Watch, "__call__", call)
    assert cli("sweep", *QUICK, "--out", tmp_path / "run").exit_code == INTERRUPTED
    done("report", tmp_path / "run")
    page = page_of(tmp_path / "run")
    notice = words(page.find(".//p[@class='notice']"))
    assert notice.startswith("Interrupted.")
    assert notice.endswith("A sweep does not go on from there: it begins again.")
    assert "candidates" in {one.get("id") for one in page.iter("h2")}


# It needs nothing else, and lets nothing in


def kinds(runs: Path) -> list[Path]:
    return sorted(folder for folder in runs.iterdir() if folder.is_dir())


def test_there_are_runs_of_every_kind(runs: Path) -> None:
    assert [one.name for one in kinds(runs)] == [
        "alone",
        "diverged",
        "lost",
        "several",
        "sweep",
        "train",
        "weird",
    ]


def test_pages_load_nothing(runs: Path) -> None:
    for folder in kinds(runs):
        page = page_of(folder)
        names = {path.name for path in folder.iterdir()}
        for element in page.iter():
            assert not isinstance(element.tag, str) or element.tag not in (
                "link",
                "iframe",
                "object",
                "embed",
            )
            for name in ("src", "srcset"):
                assert element.get(name, "data:image/").startswith("data:image/")
            href = element.get("href")
            assert href is None or href in names or href[0] == "#"
            assert not any(name.startswith("on") or name == "style" for name in element.attrib)
        targets = {one.get("href", "")[1:] for one in page.iter("a") if one.get("href", "").startswith("#")}
        assert targets <= {one.get("id") for one in page.iter()}
        assert {*PARTS} <= targets


def test_the_policy_allows_the_one_style_and_the_one_script(runs: Path) -> None:
    for folder in kinds(runs):
        page = page_of(folder)
        (policy,) = (
            one.get("content", "")
            for one in page.iter("meta")
            if one.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'; img-src data:; ")
        for tag in ("style", "script"):
            (element,) = page.iter(tag)
            digest = hashlib.sha256((element.text or "").encode()).digest()
            assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_names_are_text(runs: Path) -> None:
    text = (runs / "weird" / "report.html").read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "weird &lt;" not in text
    page = page_of(runs / "weird")
    assert len(list(page.iter("script"))) == 1
    assert words(page.find(".//h1")) == "Training on weird &lt; 'more'.npz"
    rows = table_rows(part(page, "classes"), "How the test samples")
    assert [row[0] for row in rows[1:]] == NAMES


@pytest.mark.parametrize("place", ["dataset", "optimizer", "preset", "version"])
def test_nothing_that_is_read_becomes_markup(
    copied: Callable[[str], Path], undrawn: None, place: str
) -> None:
    evil = "</title></style></script><img src=x onerror=alert(1)>\"'&amp;"
    folder = copied("train")
    if place == "version":
        edit(folder / "results.json", lambda stored: stored["versions"].update({evil: evil}))
    else:
        edit_settings(folder, {place: evil})
    done("report", folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "onerror=alert(1)&gt;" in text
    page_of(folder)


def test_a_folder_of_any_name(copied: Callable[[str], Path], undrawn: None, tmp_path: Path) -> None:
    name = "&lt;b&gt; 'قطة' 😀 {{ 7 * 7 }}"
    folder = copied("train").rename(tmp_path / name)
    done("report", folder)
    page = page_of(folder)
    assert words(page.find(".//title")) == f"{name} – Training on digits"
    assert words(page.find(".//header/p")) == name


def test_the_same_run_gives_the_same_page(runs: Path, tmp_path: Path) -> None:
    for name in ("sweep", "weird"):
        before = (runs / name / "report.html").read_bytes()
        done("report", runs / name)
        assert (runs / name / "report.html").read_bytes() == before


def test_every_picture_says_in_figures_what_it_shows(runs: Path) -> None:
    page, results = page_of(runs / "sweep"), read_results(runs / "sweep" / "results.json")
    best = report.winner(results.table)
    assert best is not None
    alts = [one.get("alt", "") for one in page.iter("img") if one.get("class") != "pixels"]
    assert len(alts) == 6
    heat_map, parallel, loss, accuracies, calibration, weights = alts
    reg, accuracy = report.format_number(best["reg"]), report.format_accuracy(best["validation_accuracy"])
    told = f"The best, learning rate 0.3, reg {reg}, has {accuracy}."
    assert told in heat_map
    assert told in parallel
    assert "2 candidates diverged." in heat_map
    assert re.match(r"Loss of each step: from [\d.]+ at step 1 to [\d.]+ at step 66\.$", loss)
    assert "validation from 0." in accuracies
    assert "expected calibration error 0." in calibration
    assert weights == "The first-layer weights of 8 hidden units as images of 8×8 pixels, side by side."
    for picture in page.iter("picture"):
        source, image = picture.find("source"), picture.find("img")
        assert source is not None
        assert image is not None
        assert source.get("media") == "(prefers-color-scheme: dark)"
        light, dark = decoded(image.get("src")), decoded(source.get("srcset"))
        assert light != dark
        for content in (light, dark):
            assert content[:8] == b"\x89PNG\r\n\x1a\n" or ElementTree.fromstring(content).tag.endswith("svg")


def test_a_loss_that_is_not_finite_is_told(runs: Path) -> None:
    alts = [one.get("alt", "") for one in page_of(runs / "diverged").iter("img")]
    step = read_results(runs / "diverged" / "results.json").diverged
    assert [alt for alt in alts if f"from step {step} on it is not finite" in alt]


def test_the_confusions_of_many_classes_are_a_picture(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    folder = copied("train")
    for module in ("tables", "pictures"):
        monkeypatch.setattr(f"twolayer.cli.page.{module}.MOST_CLASSES", 9)
    done("report", folder)
    classes = part(page_of(folder), "classes")
    assert not [one for one in classes.iter("table") if one.get("class") == "confusion"]
    (image,) = classes.iter("img")
    (pair, *_) = table_rows(classes, "The most frequent confusions")[1:]
    assert image.get("alt") == (
        f"Confusion matrix of 10 classes. Most often {pair[0]} is taken for {pair[1]}: {pair[2]} times."
    )


# Accessible


def test_landmarks_headings_and_tables(runs: Path) -> None:
    for folder in kinds(runs):
        page = page_of(folder)
        assert page.get("lang") == "en"
        assert len(list(page.iter("h1"))) == 1
        for landmark in ("header", "nav", "main", "footer"):
            assert len(list(page.iter(landmark))) == 1
        levels = [int(one.tag[1]) for one in page.iter() if re.fullmatch(r"h[1-6]", str(one.tag))]
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        body = page.find("body")
        assert body is not None
        assert (body[0].tag, body[0].get("href")) == ("a", "#content")
        for table in page.iter("table"):
            assert words(table.find("caption"))
            assert {cell.get("scope") for cell in table.iter("th")} <= {"col", "row"}
        for image in page.iter("img"):
            assert image.get("alt")
            assert image.get("width")
            assert image.get("height")
        identifiers = [one.get("id") for one in page.iter() if one.get("id")]
        assert len(identifiers) == len(set(identifiers))


def colours(theme: str) -> dict[str, str]:
    """The variables of the style sheet in one theme."""
    style = writing._resource("page.css")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))
    return found


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read_in_both_themes(theme: str) -> None:
    found = colours(theme)
    on = {
        "ink": ["paper", "tint", *(f"shade{i}" for i in range(1, 6))],
        "muted": ["paper"],
        "link": ["paper"],
    }
    on["warn-ink"] = ["warn"]
    for ink, papers in on.items():
        for paper in papers:
            assert contrast(found[ink], found[paper]) >= 4.5, (ink, paper)


def test_both_themes_name_every_colour() -> None:
    style = writing._resource("page.css")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    names = re.findall(r"--[\w-]+(?=:)", light)
    assert re.findall(r"--[\w-]+(?=:)", dark) == names
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) == set(names)


# Settings, and the command that does it again


def test_settings_that_were_given_are_marked(runs: Path) -> None:
    section = part(page_of(runs / "several"), "settings")
    rows = {
        words(one.find("dt")): words(one.find("dd"))
        for one in section.iter("div")
        if one.find("dt") is not None
    }
    assert rows["hidden units"] == "8 given in place of 100"
    assert rows["networks"] == "2 given in place of 1"
    assert rows["judged"] == "last given in place of best"
    assert rows["reg"] == "3e-3"
    assert "momentum" not in rows  # plain gradient descent has none
    assert "border" not in rows
    assert rows["numpy"] == np.__version__
    assert words(section.find("pre")) == (
        "twolayer train digits --hidden 8 --epochs 3 --judge last --networks 2"
    )
    assert "In the folder, twolayer train --config settings.toml does the same" in words(section)


COMMANDS = [
    "train digits",
    "train digits --hidden 12 --learning-rate 0.25 --epochs 4 --seed 3 --dtype float64",
    "train digits --steps 90 --replacement --no-center --scale 0.5 --weight-scale he --class-weight balanced",
    "train digits --whiten pca --components 20 --patience 3 --ema-decay 0.99 --label-smoothing 0.1",
    "train digits --optimizer adamw --weight-decay 0.01 --schedule constant --warmup 2 --networks 3",
    "train cifar10 --preset cpu --validation 500 --no-flip --symmetrize-shift 1",
    "train cifar10 --data '/a folder' --shift 3 --border zero --mixup 0.2 --library torch --device cuda:0",
    "sweep digits",
    "sweep digits --hidden 10,20 --reg 0,1e-05 --seeds 2,5 --dropout 0.1",
    "sweep digits --seed 4 --seeds 1",
    "sweep digits --seeds 5 --decay-every 30 --optimizer nesterov --momentum 0.8 --judge last",
    "sweep cifar10 --preset assignment",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_the_command_that_does_it_again_does_it_again(text: str, tmp_path: Path) -> None:
    settings = settings_of(f"twolayer {text}", tmp_path)
    again = command_line(settings, app.commands)
    assert again is not None
    assert settings_of(again, tmp_path) == settings
    if text in ("train digits", "sweep digits", "sweep cifar10 --preset assignment"):
        assert again == f"twolayer {text}"


def settings_of(text: str, folder: Path) -> dict[str, Any]:
    """The settings that a command would write."""
    program, command, *arguments = shlex.split(text)
    assert program == "twolayer"
    found: list[dict[str, Any]] = []
    module = {"train": "run_train", "sweep": "run_sweep"}[command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"twolayer.cli.commands.{module}", lambda settings, *_, **__: found.append(settings))
        done(command, *arguments)
    write_settings(folder / "settings.toml", found[0])
    return settings_in(folder)


def test_there_is_no_command_where_the_settings_are_of_no_known_kind() -> None:
    assert command_line({}, app.commands) is None
    assert command_line({"command": "train", "dataset": "digits.txt"}, app.commands) is None
    assert command_line({"command": "train", "dataset": "digits", "preset": "none"}, app.commands) is None
    assert command_line({"command": "predict", "dataset": "digits"}, app.commands) is None


# What is refused


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert "must be the folder of a run; it holds no results.json" in refused("report", tmp_path)
    assert "does not exist" in refused("report", tmp_path / "none", code=2)


def test_a_place_that_cannot_be_written(runs: Path, tmp_path: Path, undrawn: None) -> None:
    error = refused("report", runs / "weird", "--out", tmp_path / "none" / "page.html")
    assert "cannot write into the folder of page.html (No such file or directory)" in error


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"command": "predict"}, "`command` in .* must be train or sweep; got 'predict'"),
        ({"complete": 1}, "`complete` in .* must be true or false; got 1"),
        ({"seconds": "long"}, "`seconds` in .* must be a number; got 'long'"),
        ({"versions": {"numpy": 2}}, "`versions` in .* must be texts by names"),
        ({"samples": {"train": -1}}, "`samples` in .* must be counts by names"),
        ({"n_features": 1.5}, "`n_features` in .* must be an integer; got 1.5"),
        ({"image_shape": [8]}, r"`image_shape` in .* must be two or three sizes; got \[8\]"),
        ({"image_shape": [8, 0]}, r"`image_shape` in .* must be two or three sizes; got \[8, 0\]"),
        ({"n_steps": None, "diverged": "no"}, "`diverged` in .* must be an integer; got 'no'"),
        ({"best_step": []}, r"`best_step` in .* must be an integer; got \[\]"),
        ({"train_accuracy": "x"}, "`train_accuracy` in .* must be a number; got 'x'"),
        ({"validation_accuracy": {}}, "`validation_accuracy` in .* must be a number; got {}"),
        ({"members": [1]}, "`members` in .* must be a list of rows, of numbers and texts"),
        ({"runs": 3}, "`runs` in .* must be a list of rows, of numbers and texts; got 3"),
        ({"best": 3}, "`best` in .* must be a row of numbers and texts; got 3"),
        (
            {"test": {"n_samples": 1, "confusion": [], "loss": "x"}, "classes": []},
            "`loss` in .* must be a number",
        ),
    ],
)
def test_results_that_lie(copied: Callable[[str], Path], changed: dict[str, Any], said: str) -> None:
    folder = copied("weird")
    edit(folder / "results.json", lambda stored: stored.update(changed))
    assert re.search(said, refused("report", folder))


def test_settings_that_are_none(copied: Callable[[str], Path]) -> None:
    folder = copied("weird")
    edit_settings(folder, {"reg": {"a": 1}})
    error = refused("report", folder)
    assert "`reg` in " in error
    assert "must be a number, text or a list; got {'a': 1}" in error


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("y"), "must hold `y` and `probabilities`, and `rows` and `images` or neither"),
        (lambda a: a.pop("rows"), "must hold `y` and `probabilities`, and `rows` and `images` or neither"),
        (lambda a: a.update(y=a["y"] + 1), r"`y` in .* must hold class labels in \[0, 10\)"),
        (lambda a: a.update(y=a["y"] * 1.0), r"`y` in .* must hold class labels .*; got dtype float64"),
        (
            lambda a: a.update(y=a["y"].astype("O")),
            r"`y` in .* must hold class labels .*; got dtype object",
        ),
        (
            lambda a: a.update(y=a["y"][:5]),
            r"`y` in .* must hold class labels in \[0, 10\), \(400,\); got others, of shape \(5,\)",
        ),
        (
            lambda a: a.update(probabilities=a["probabilities"][:, :9]),
            "`probabilities` in .* must hold probabilities of 10 classes for each of the 400 samples; got",
        ),
        (
            lambda a: a["probabilities"].__imul__(2),
            "`probabilities` in .* must hold probabilities of 10 classes",
        ),
        (
            lambda a: a["probabilities"].__isub__(1),
            "`probabilities` in .* must hold probabilities of 10 classes",
        ),
        (lambda a: a["probabilities"].fill(np.nan), "`probabilities` in .* must hold probabilities of 10"),
        (lambda a: a.update(rows=a["rows"] * 0), r"`rows` in .* must hold different places in \[0, 400\)"),
        (lambda a: a.update(rows=a["rows"] + 400), r"`rows` in .* must hold different places in \[0, 400\)"),
        (lambda a: a.update(images=a["images"][1:]), r"`images` in .* must hold \d+ images of"),
        (lambda a: a.update(images=a["images"] * np.nan), r"`images` in .* must hold \d+ images of"),
        (
            lambda a: a.update(images=a["images"][..., None][..., [0, 0]]),
            r"`images` in .* must hold \d+ images of 8×8 pixels; got others, of shape",
        ),
        (
            lambda a: a.update(rows=np.arange(25), images=np.zeros((25, 8, 8))),
            r"`rows` in .* must hold different places in \[0, 400\), at most 24; got .* shape \(25,\)",
        ),
        (lambda a: a.update(y=a["y"][::-1]), "must be of the run that results.json is of; got other samples"),
        (
            lambda a: a.update(probabilities=np.eye(10, dtype=np.float32)[a["y"]]),
            "must be of the run that results.json is of; got other samples or another network",
        ),
    ],
)
def test_predictions_that_lie(copied: Callable[[str], Path], change: Callable[[Any], Any], said: str) -> None:
    path = copied("train") / "predictions.npz"
    arrays = stored_arrays(path)
    change(arrays)
    np.savez(path, **arrays)
    assert re.search(said, refused("report", path.parent))


@pytest.mark.parametrize("dtype", ["U8", "S8", "m8[s]", "M8[s]", "c8", "V4", [("a", "f4")]], ids=str)
@pytest.mark.parametrize("key", ["y", "probabilities", "rows", "images", "rows_in_file"])
def test_predictions_of_another_dtype(copied: Callable[[str], Path], key: str, dtype: Any) -> None:
    path = copied("train") / "predictions.npz"
    arrays = stored_arrays(path)
    arrays.setdefault("rows_in_file", np.arange(400))
    arrays[key] = np.zeros(arrays[key].shape, dtype)
    np.savez(path, **arrays)
    error = refused("report", path.parent)
    assert re.search(rf"`{key}` in .*predictions.npz must hold .*; got dtype ", error)


@settings(max_examples=30)
@given(
    st.sampled_from(["y", "probabilities", "rows", "images", "rows_in_file"]),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple),
)
def test_predictions_are_refused_by_their_headers(
    runs: Path, tmp_path_factory: pytest.TempPathFactory, key: str, shape: tuple[int, ...]
) -> None:
    """Their values, which a small file may have gigabytes of, are not read: here there are none."""
    results = read_results(runs / "train" / "results.json")
    assert results.test is not None
    arrays = stored_arrays(runs / "train" / "predictions.npz")
    arrays.setdefault("rows_in_file", np.arange(400))
    assume(shape != arrays[key].shape and (key != "rows" or len(shape) > 1 or shape[0] > 24))
    path = tmp_path_factory.mktemp("lies") / "predictions.npz"
    header = {"descr": arrays[key].dtype.str, "fortran_order": False, "shape": shape}
    kept = {name: array for name, array in arrays.items() if name != key}
    np.savez(path, **kept)
    with zipfile.ZipFile(path, "a") as archive, archive.open(f"{key}.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(
        ValueError, match=rf"`{key}` .* must hold .*; got others, of shape {re.escape(str(shape))}$"
    ):
        read_predictions(path, results.test, results.image_shape)


def test_images_of_samples_that_are_none_are_not_read(runs: Path) -> None:
    results = read_results(runs / "train" / "results.json")
    assert results.test is not None
    found = read_predictions(runs / "train" / "predictions.npz", results.test, None)
    assert found.images is found.rows is None


def test_predictions_that_are_no_npz_file(copied: Callable[[str], Path]) -> None:
    path = copied("train") / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert f"{path} must be an .npz file with arrays; it is truncated" in refused("report", path.parent)


def test_classes_that_are_as_probable_may_change_places(runs: Path, tmp_path: Path) -> None:
    """In float32 a sample may have two classes of one probability of which its logits told one."""
    results = read_results(runs / "train" / "results.json")
    assert results.test is not None
    arrays = stored_arrays(runs / "train" / "predictions.npz")
    right = int(np.flatnonzero(arrays["probabilities"].argmax(axis=1) == arrays["y"])[0])
    other = 9 if arrays["y"][right] else 0
    arrays["probabilities"][right] = 0
    arrays["probabilities"][right, [arrays["y"][right], other]] = 0.5
    arrays["probabilities"][right, other] += 1e-6
    np.savez(tmp_path / "predictions.npz", **arrays)
    assert len(read_predictions(tmp_path / "predictions.npz", results.test, results.image_shape).y) == 400


def test_a_run_that_is_overwritten_leaves_no_page(copied: Callable[[str], Path]) -> None:
    folder = copied("train")
    assert {"report.html", "predictions.npz"} <= set(run_folder.written_in(folder))
    with run_folder.fresh_folder(str(folder), "x", overwrite=True, dataset="digits") as new:
        (new / "results.json").write_text("{}")
        assert run_folder.take_place(new) == folder
        assert {path.name for path in folder.iterdir()} == {run_folder.LOCK, "results.json"}
