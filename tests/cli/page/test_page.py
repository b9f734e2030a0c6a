"""What the page of a run says."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from support.command_line import answered, cli, done
from support.pages import NAMES, QUICK, Page, decoded, edit_results, edit_settings, reported, words

from twolayer import datasets
from twolayer.cli import console
from twolayer.cli.errors import INTERRUPTED
from twolayer.cli.read_run import Results, read_predictions, read_results
from twolayer.report.certainty import certainty_in_words, grid_ends, next_in_words, verdict_in_words
from twolayer.report.formatting import format_accuracy, format_number, format_numbers
from twolayer.report.metrics import classification_summary, wilson_interval
from twolayer.report.tables import format_difference, legend, ranked


def results_of(folder: Path) -> Results:
    return read_results(folder / "results.json")


def test_the_command_says_where_the_page_is(runs: Path, undrawn: None, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert done("report", runs / "weird", "--out", file) == f"{file}\n"
    assert 'href="results.json"' not in file.read_text(encoding="utf-8")  # which lies elsewhere
    assert "results.json" in file.read_text(encoding="utf-8")
    code, data, _ = answered("report", runs / "weird", "--out", file)
    assert (code, data) == (0, {"folder": str(runs / "weird"), "file": str(file)})


def test_a_training(runs: Path) -> None:
    page, results = Page(runs / "train"), results_of(runs / "train")
    assert results.test is not None
    assert words(page.root.find(".//h1")) == "Training on digits"
    n_right = results.test.confusion.n_right
    low, high = wilson_interval(n_right, 400)
    assert "One network with 8 hidden units was trained on 1,097 samples of digits" in page.summary
    assert "images of 8×8 pixels, 10 classes) for 3 epochs of gradient descent." in page.summary
    assert (
        f"network of step {results.best_step}, the best on the validation samples, was kept" in page.summary
    )
    figures = page.said("figures")
    assert f"Test accuracy {n_right / 400:.3f} {n_right} of 400 samples right; " in figures
    assert f"95 % interval {low:.3f} to {high:.3f}" in figures
    validation = f"Validation accuracy {results.validation_accuracy:.3f} 300 samples"
    low, high = wilson_interval(round(300 * results.validation_accuracy), 300)
    interval = f"95 % interval {low:.3f} to {high:.3f} by the number of samples"
    assert f"{validation}; {interval}; the network was chosen on these samples" in figures
    assert not page.all("h2", id="candidates")
    assert not page.all("p", **{"class": "missing"})
    assert page.notices == []


def test_a_random_search(undrawn: None, tmp_path: Path) -> None:
    grid = ("--learning-rate", "1e-3..0.1", "--reg", 0, "--candidates", 5, "--seeds", 1)
    done("sweep", *QUICK, *grid, "--out", tmp_path / "run")
    done("report", tmp_path / "run")
    page = Page(tmp_path / "run")
    assert words(page.root.find(".//h1")) == "Sweep on digits over learning rate"
    assert page.notices == []  # the best is at no end of what may be drawn
    settings = page.said("settings")
    assert "learning rate 1e-3..0.1 given in place of 0.1, 0.3, 1, 3" in settings
    assert "candidates 5 given" in settings
    assert "--learning-rate 1e-3..0.1" in settings
    _, *rows = page.table("candidates", "5 candidates, the best first")
    assert len(rows) == 5
    assert all(len(text) <= 7 for row in rows for text in row)


def test_a_sweep(runs: Path) -> None:
    page, results = Page(runs / "sweep"), results_of(runs / "sweep")
    best, second, *_ = ranked(results.table)
    assert words(page.root.find(".//h1")) == "Sweep on digits over learning rate and reg"
    summary = "A sweep trained 8 networks (4 candidates, each from 2 seeds) on 1,097 samples"
    assert page.summary.startswith(summary)
    assert f"has learning rate 0.3 and reg {format_number(best['reg'])}. Its best network" in page.summary
    spread = f"{best['validation_accuracy']:.3f} ± {best['validation_accuracy_std']:.3f}"
    figure = f"Validation accuracy {spread} mean ± standard deviation over 2 seeds; 300 samples"
    assert figure in page.said("figures")
    (diverged,) = page.notices
    assert diverged.startswith("Some diverged. 2 of the 4 candidates")
    section = page.said("candidates")
    verdict = verdict_in_words(ranked(results.table), ends=grid_ends(results.table))
    assert " ".join(verdict) == results.verdict
    following = next_in_words(results.next).replace("`", "")
    assert section.startswith(f"Candidates {results.verdict} {following} 4 candidates, the best first")
    assert "lower end of learning rate, 0.3: try 0.03, 3e-3 too." in section
    assert f"twolayer sweep --resume {runs / 'sweep'} --learning-rate 0.003,0.03,0.3,1000" in section
    assert "The curves show the best network (seed " in page.said("course")

    rows = page.table("candidates", "; ".join(["4 candidates, the best first", *legend(results.table)]))
    columns = ["rank", "learning rate", "reg", "training accuracy", "validation accuracy ± SD over 2 seeds"]
    assert rows[0] == [*columns, "behind the best ± 95 % margin", "diverged", "note"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert rows[1][3:] == [f"{best['train_accuracy']:.3f}", spread, "", "", "best"]
    note = "≈ best" if second["within_noise"] else ""
    assert rows[2][5:] == [format_difference(second), "", note]
    assert [row[1] for row in rows[1:]] == format_numbers([0.3, 0.3, 1000.0, 1000.0])
    assert all(row[3:6] == ["–"] * 3 and row[6].startswith("step") for row in rows[3:])
    assert " ".join(certainty_in_words(results.table, 300)) in section
    (marked,) = page.all("tr", **{"class": "best"})
    assert "best" in words(marked)


def test_every_cell_of_a_sortable_table_says_what_it_is_sorted_by(runs: Path) -> None:
    page, rows = Page(runs / "sweep"), ranked(results_of(runs / "sweep").table)
    tables = page.all("table", **{"class": "sortable"})
    assert len(tables) == 2
    for table in tables:
        assert {one.get("data-first") for one in table.iterfind("thead//th")} <= {"ascending", "descending"}
        assert all(cell.get("data-key") is not None for cell in table.iterfind("tbody/tr/*"))
    keys = [[cell.get("data-key") for cell in row] for row in tables[0].iterfind("tbody/tr")]
    assert [key[2] for key in keys] == [repr(row["reg"]) for row in rows]
    assert keys[0][4] == repr(rows[0]["validation_accuracy"])
    assert [key[4] for key in keys[2:]] == ["", ""]  # of those that diverged
    assert [key[5] for key in keys] == ["0.0", repr(rows[1]["difference"]), "", ""]
    assert [key[6] for key in keys] == ["", "", "2", "2"]


def test_the_classes_and_what_was_taken_for_what(runs: Path) -> None:
    page, results = Page(runs / "train"), results_of(runs / "train")
    assert results.test is not None
    counts, names = results.test.confusion.matrix(), results.classes
    rows = page.table("classes", "Results on the test samples of each class")[1:]
    for row, one in zip(rows, classification_summary(counts, names), strict=True):
        ratios = [f"{one[key]:.3f}" for key in ("precision", "recall", "f1")]
        assert row == [one["class"], *ratios, f"{one['support']}"]
    matrix = page.table("classes", "Confusion matrix")
    assert matrix[0] == ["", *names]
    assert [[int(cell) for cell in row[1:]] for row in matrix[1:]] == counts.tolist()
    (table,) = page.all("table", **{"class": "confusion"})
    bold = [
        ["right" in cell.get("class", "") for cell in row.iter("td")] for row in table.iterfind("tbody/tr")
    ]
    np.testing.assert_array_equal(bold, np.eye(10, dtype=bool))
    true, predicted, n, share = page.table("classes", "The most frequent confusions")[1]
    wrong = counts - np.diag(np.diag(counts))
    assert int(n) == wrong.max() == wrong[names.index(true), names.index(predicted)]
    assert share == f"{wrong.max() / counts[names.index(true)].sum():.1%}"


def test_the_images_most_wrong(runs: Path) -> None:
    results = results_of(runs / "train")
    assert results.test is not None
    found = read_predictions(runs / "train" / "predictions.npz", results.test, results.image_shape)
    test = datasets.load_digits().test
    assert found.rows is not None
    assert found.images is not None
    np.testing.assert_array_equal(found.y, test.y)
    np.testing.assert_array_equal(found.images, test.X[found.rows].reshape(-1, 8, 8), strict=True)
    of_true = found.probabilities[found.rows, found.y[found.rows]]
    assert list(of_true) == sorted(of_true)
    others = np.setdiff1d(np.flatnonzero(found.probabilities.argmax(axis=1) != found.y), found.rows)
    assert found.probabilities[others, found.y[others]].min(initial=1) >= of_true[-1]

    section = Page(runs / "train").section("mistakes")
    n_wrong = 400 - results.test.confusion.n_right
    assert f"{n_wrong} of 400 test samples are wrong" in words(section)
    assert len(found.rows) == min(24, n_wrong)
    for item, row in zip(section.iter("li"), found.rows, strict=True):
        guess = int(found.probabilities[row].argmax())
        assert words(item) == f"{found.y[row]} → {guess} {found.probabilities[row, guess]:.3f} sample {row}"
        (image,) = item.iter("img")
        assert image.get("alt") == f"Sample {row}"
        with PIL.Image.open(io.BytesIO(decoded(image.get("src")))) as opened:
            pixels = np.asarray(opened)
        np.testing.assert_array_equal(pixels, np.rint(test.X[row].reshape(8, 8) / 16 * 255))


def test_samples_that_are_no_images(runs: Path) -> None:
    page, name = Page(runs / "weird"), "weird &lt; 'more'.npz"
    assert page.said("weights").endswith("The weights are not drawn, as the samples are not images.")
    sentence = "".join(page.section("mistakes").itertext())
    assert f"numbered from 0, as in NumPy, by their rows of X in {name}." in sentence
    heading, *rows = page.table("mistakes", "The test samples most wrong")
    of = "probability of the"
    assert heading == [f"row of {name}", "true", f"{of} true", "predicted", f"{of} predicted"]
    numbers, true, of_true, predicted, _ = zip(*rows, strict=True)
    with np.load(runs / name) as stored:
        assert [NAMES[stored["y"][int(number)]] for number in numbers] == [*true]
    in_file = datasets.load_npz(runs / name).rows
    assert in_file is not None
    assert {*map(int, numbers)} <= {*in_file["test"].tolist()}
    assert len(rows) > 1
    assert all(one in NAMES and one != other for one, other in zip(predicted, true, strict=True))
    assert [*of_true] == sorted(of_true, key=float)


def test_several_networks(runs: Path) -> None:
    page = Page(runs / "several")
    assert "2 networks with 8 hidden units each were trained on" in page.summary
    assert "They were merged into one network with 16 hidden units." in page.summary
    parts = r"300 samples; 95 % interval 0\.\d+ to 0\.\d+ by the number of samples; "
    parts += r"of the merged network; its 2 parts have 0\.\d+ to 0\.\d+"
    mean = r"Training accuracy 0\.\d+ 1,097 samples; mean of the 2 networks before merging"
    assert re.search(f"{parts} {mean}", page.said("figures"))
    assert "The curves are means over the 2 networks." in page.said("course")


def one_seed_diverged(folder: Path) -> None:
    def change(stored: Any) -> None:
        stored["table"] = [row | {"n_seeds": 4, "diverged": 1} for row in stored["table"]]

    edit_results(folder, change)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "train",
            lambda folder: edit_settings(folder, {"symmetrize_shift": 1}),
            "1,097 samples; of the network before averaging over images",
        ),
        ("sweep", one_seed_diverged, "mean ± standard deviation over 3 seeds"),
    ],
    ids=["averaged", "seeds"],
)
def test_figures_say_what_they_are_of(
    copied: Callable[[str], Path], undrawn: None, name: str, change: Callable[[Path], None], said: str
) -> None:
    folder = copied(name)
    change(folder)
    assert said in reported(folder).said("figures")


def test_every_picture_says_in_figures_what_it_shows(runs: Path) -> None:
    page = Page(runs / "sweep")
    best = ranked(results_of(runs / "sweep").table)[0]
    alts = [one.get("alt", "") for one in page.all("img") if one.get("class") != "pixels"]
    heat_map, parallel, loss, accuracies, calibration, weights = alts
    reg, accuracy = format_number(best["reg"]), format_accuracy(best["validation_accuracy"])
    told = f"The best, learning rate 0.3, reg {reg}, has {accuracy}."
    assert told in heat_map
    assert told in parallel
    assert "2 candidates diverged." in heat_map
    assert re.match(r"Loss of each step: from [\d.]+ at step 1 to [\d.]+ at step 66\.$", loss)
    assert "validation from 0." in accuracies
    assert "expected calibration error 0." in calibration
    assert weights == "The first-layer weights of 8 hidden units as images of 8×8 pixels, side by side."
    for picture in page.all("picture"):
        source, image = picture
        assert source.get("media") == "(prefers-color-scheme: dark)"
        light, dark = decoded(image.get("src")), decoded(source.get("srcset"))
        assert light != dark
        for content in (light, dark):
            assert content[:8] == b"\x89PNG\r\n\x1a\n" or ElementTree.fromstring(content).tag.endswith("svg")


def test_the_confusions_of_many_classes_are_a_picture(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    for module in ("tables", "pictures"):
        monkeypatch.setattr(f"twolayer.cli.page.{module}.MOST_CLASSES", 9)
    page = reported(copied("train"))
    assert not page.all("table", **{"class": "confusion"})
    (image,) = page.section("classes").iter("img")
    true, predicted, n, _ = page.table("classes", "The most frequent confusions")[1]
    most = f"The most frequent confusion is {true} with {predicted}: {n} times."
    assert image.get("alt") == f"Confusion matrix of 10 classes. {most}"


# What is not there, and why


def test_a_training_that_diverged(runs: Path) -> None:
    page, step = Page(runs / "diverged"), results_of(runs / "diverged").diverged
    assert page.notices[0].startswith(f"Diverged. The network diverged at step {step:,}")
    lost = "no network was kept"
    assert f"Test accuracy – {lost} Validation accuracy – {lost}" in page.said("figures")
    for name in ("classes", "calibration", "mistakes", "weights"):
        assert page.said(name).endswith("No network was kept.")
    assert any(f"from step {step} on it is not finite" in one.get("alt", "") for one in page.all("img"))


def test_a_sweep_of_which_every_candidate_diverged(runs: Path) -> None:
    page = Page(runs / "lost")
    assert "Every candidate diverged" in page.notices[0]
    assert page.said("course").endswith("No network was kept, so there is no history.")
    assert "Test accuracy – no network was kept" in page.said("figures")
    assert all("best" not in row for row in page.table("candidates", "3 candidates"))


def test_data_without_validation_and_test_samples(runs: Path) -> None:
    page = Page(runs / "alone")
    for split in ("test", "validation"):
        assert f"{split.capitalize()} accuracy – the data have no {split} samples" in page.said("figures")
    assert page.said("mistakes").endswith("The data have no test samples.")
    assert not (runs / "alone" / "predictions.npz").exists()


def test_a_run_of_an_earlier_version(copied: Callable[[str], Path], undrawn: None) -> None:
    folder = copied("train")
    (folder / "predictions.npz").unlink()
    new = ("samples", "image_shape", "n_features")
    edit_results(folder, lambda stored: [stored.pop(name) for name in new])
    page = reported(folder)
    why = "an earlier version did not write it, or a probability is not finite."
    for name in ("calibration", "mistakes"):
        assert page.said(name).endswith(f"The folder holds no predictions.npz: {why}")
    assert "number of samples not recorded" in page.said("figures")
    assert "was trained on samples of digits (images of 8×8 pixels" in page.summary
    edit_results(folder, lambda stored: [stored.pop(name) for name in ("test", "validation_accuracy")])
    page = reported(folder)
    assert "Test accuracy – no test accuracy was recorded" in page.said("figures")
    assert "Validation accuracy – no validation accuracy was recorded" in page.said("figures")
    assert page.said("classes").endswith("No test accuracy was recorded.")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("history.json", "The folder holds no history.json."),
        ("settings.toml", "No settings. The folder holds no settings.toml, so the page shows less."),
        ("network.safetensors", "No network was kept."),
    ],
)
def test_a_file_that_is_missing(copied: Callable[[str], Path], undrawn: None, name: str, said: str) -> None:
    folder = copied("train")
    (folder / name).unlink()
    assert said in words(reported(folder).root.find("body"))


def interrupted(patch: pytest.MonkeyPatch, command: str, folder: Path, step: int) -> Page:
    """The page of a run that is interrupted after a step."""
    original = console.Watch.__call__

    def call(self: Any, progress: Any) -> None:
        self.interrupted = self.interrupted or signal.SIGINT * (progress.step == step)
        original(self, progress)

    with patch.context() as context:
        context.setattr(console.Watch, "__call__", call)
        assert cli(command, *QUICK, "--out", folder).exit_code == INTERRUPTED
    return reported(folder)


def test_an_interrupted_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None) -> None:
    page = interrupted(monkeypatch, "train", tmp_path / "run", 30)
    assert page.notices[0].startswith("Interrupted. The training stopped at step 30. ")
    done("train", "--resume", tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()  # it told of what was then
    assert reported(tmp_path / "run").notices == []


def test_a_sweep_that_was_interrupted_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None
) -> None:
    page = interrupted(monkeypatch, "sweep", tmp_path / "run", 1)
    assert page.notices[0].startswith("Interrupted.")
    assert page.notices[0].endswith("`twolayer sweep --resume` continues from there.")
    assert page.summary.startswith("A sweep was started on 1,097 samples")
    assert page.all("h2", id="candidates")
