"""The contents of a run's page."""

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


def test_report_prints_the_path_of_the_page(runs: Path, undrawn: None, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert done("report", runs / "weird", "--out", file) == f"{file}\n"
    assert 'href="results.json"' not in file.read_text(encoding="utf-8")  # results.json is in another folder
    assert "results.json" in file.read_text(encoding="utf-8")
    code, data, _ = answered("report", runs / "weird", "--out", file)
    assert (code, data) == (0, {"folder": str(runs / "weird"), "file": str(file)})


def test_the_page_of_a_training_gives_its_results(runs: Path) -> None:
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


@pytest.mark.parametrize(
    ("share", "ratio", "first", "better"),
    [
        (0.1, 2.0, "", "better"),
        (0.1, 1.02, "", "not clearly better"),
        (None, 0.99, "By accuracy, the network is not better than {}. ", "not better"),
        (1.0, 0.99, "By accuracy, the network is worse than {}. ", "not better"),
    ],
)
def test_the_page_compares_a_network_with_the_commonest_class_and_the_class_shares(
    copied: Callable[[str], Path], undrawn: None, share: float | None, ratio: float, first: str, better: str
) -> None:
    folder = copied("train")
    test = results_of(folder).test
    assert test is not None
    assert test.loss is not None
    share = test.confusion.n_right / 400 if share is None else share
    changed = {
        "baselines": {"commonest class": share},
        "baseline_losses": {"class shares": ratio * test.loss},
    }
    edit_results(folder, lambda stored: stored.update(changed))
    page, commonest = reported(folder), "always predicting the commonest class"
    assert page.plain.startswith(first.format(commonest) + "The network predicted the right class for ")
    assert f"On the same samples, {commonest} is right for {share:.1%}." in page.plain
    begin = f"probabilities are {better} than always predicting the class shares of the training samples: "
    assert f"{begin}{test.loss:.3f} against {ratio * test.loss:.3f}." in page.plain
    assert f"always predicting the class shares has {ratio * test.loss:.4f}" in page.said("figures")
    assert "not clearly better than always predicting the commonest" not in page.plain


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"class_weight": "balanced"}, "balanced class weights, which usually lower the accuracy and raise"),
        ({"weight": "hours"}, "trained on weighted rows, but rows of the test all count the same here."),
        ({}, None),
    ],
)
def test_the_page_names_weights_as_a_cause_of_a_low_accuracy(
    copied: Callable[[str], Path], undrawn: None, settings: dict[str, str], said: str | None
) -> None:
    folder = copied("train")
    edit_settings(folder, settings)
    edit_results(folder, lambda stored: stored.update(baselines={"commonest class": 1.0}))
    plain = reported(folder).plain
    assert "By accuracy, the network is worse than" in plain
    assert ("weight" in plain) == (said is not None)
    assert said is None or f"It was {said}" in plain or f"with {said}" in plain
    edit_results(folder, lambda stored: stored.update(baselines={"commonest class": 0.0}))
    assert "weight" not in reported(folder).plain


def test_the_page_of_a_perfect_network_leaves_room_for_chance(
    copied: Callable[[str], Path], undrawn: None
) -> None:
    folder = copied("train")

    def perfect(stored: dict[str, Any]) -> None:
        cells = {"true": [*range(10)], "predicted": [*range(10)], "counts": [40] * 10}
        stored["test"].update(confusion=cells, accuracy=1.0)
        stored["baselines"] = {"commonest class": 0.1, "logistic regression": 0.995}

    (folder / "predictions.npz").unlink()  # of the run before it was edited
    edit_results(folder, perfect)
    plain = reported(folder).plain
    may = "A difference of up to 1.0 percentage points may be chance on 400 samples: the network is not "
    assert f"{may}clearly better than logistic regression." in plain


def test_report_shows_its_progress(
    copied: Callable[[str], Path], undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.0)
    result = cli("report", folder := copied("weird"))
    assert result.output.startswith("Drawing pictures: 1 of 3")
    assert result.output.endswith(f"\n{folder / 'report.html'}\n")


def test_the_page_of_a_random_search_gives_its_range_and_candidates(undrawn: None, tmp_path: Path) -> None:
    grid = ("--learning-rate", "1e-3..0.1", "--reg", 0, "--candidates", 5, "--seeds", 1)
    done("sweep", *QUICK, *grid, "--out", tmp_path / "run")
    done("report", tmp_path / "run")
    page = Page(tmp_path / "run")
    assert words(page.root.find(".//h1")) == "Sweep on digits over learning rate"
    assert page.notices == []  # the best is at no end of the range
    settings = page.said("settings")
    assert "learning rate 1e-3..0.1 given in place of 0.1, 0.3, 1, 3" in settings
    assert "candidates 5 given" in settings
    assert "--learning-rate 1e-3..0.1" in settings
    _, *rows = page.table("candidates", "5 candidates, the best first")
    assert len(rows) == 5
    assert all(len(text) <= 7 for row in rows for text in row)


def test_the_page_of_a_sweep_gives_its_verdict_and_ranks_candidates(runs: Path) -> None:
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


def test_every_cell_of_a_sortable_table_has_a_sort_key(runs: Path) -> None:
    page, rows = Page(runs / "sweep"), ranked(results_of(runs / "sweep").table)
    tables = page.all("table", **{"class": "sortable"})
    assert len(tables) == 2
    for table in tables:
        assert {one.get("data-first") for one in table.iterfind("thead//th")} <= {"ascending", "descending"}
        assert all(cell.get("data-key") is not None for cell in table.iterfind("tbody/tr/*"))
    keys = [[cell.get("data-key") for cell in row] for row in tables[0].iterfind("tbody/tr")]
    assert [key[2] for key in keys] == [repr(row["reg"]) for row in rows]
    assert keys[0][4] == repr(rows[0]["validation_accuracy"])
    assert [key[4] for key in keys[2:]] == ["", ""]  # the diverged candidates
    assert [key[5] for key in keys] == ["0.0", repr(rows[1]["difference"]), "", ""]
    assert [key[6] for key in keys] == ["", "", "2", "2"]


def test_the_page_shows_the_results_of_each_class_and_the_confusions(runs: Path) -> None:
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


def test_the_page_shows_the_images_most_wrong(runs: Path) -> None:
    results = results_of(runs / "train")
    assert results.test is not None
    found = read_predictions(runs / "train" / "predictions.npz", results.test, results.image_shape)
    test = datasets.load_digits().test
    assert found.rows is not None
    assert found.images is not None
    np.testing.assert_array_equal(found.y, test.y)
    np.testing.assert_array_equal(found.images, test.X[found.rows].reshape(-1, 8, 8), strict=True)
    true_probabilities = found.probabilities[found.rows, found.y[found.rows]]
    assert list(true_probabilities) == sorted(true_probabilities)
    others = np.setdiff1d(np.flatnonzero(found.probabilities.argmax(axis=1) != found.y), found.rows)
    assert found.probabilities[others, found.y[others]].min(initial=1) >= true_probabilities[-1]

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


def test_wrong_samples_that_are_not_images_are_listed_in_a_table(runs: Path) -> None:
    page, name = Page(runs / "weird"), "weird &lt; 'more'.npz"
    assert page.said("weights").endswith("The weights are not drawn, as the samples are not images.")
    sentence = "".join(page.section("mistakes").itertext())
    assert f"numbered from 0, as in NumPy, by their rows of X in {name}." in sentence
    heading, *rows = page.table("mistakes", "The test samples most wrong")
    prefix = "probability of the"
    assert heading == [f"row of {name}", "true", f"{prefix} true", "predicted", f"{prefix} predicted"]
    numbers, true, true_probabilities, predicted, _ = zip(*rows, strict=True)
    with np.load(runs / name) as stored:
        assert [NAMES[stored["y"][int(number)]] for number in numbers] == [*true]
    in_file = datasets.load_npz(runs / name).rows
    assert in_file is not None
    assert {*map(int, numbers)} <= {*in_file["test"].tolist()}
    assert len(rows) > 1
    assert all(one in NAMES and one != other for one, other in zip(predicted, true, strict=True))
    assert [*true_probabilities] == sorted(true_probabilities, key=float)


def test_the_page_of_several_networks_describes_the_merged_one(runs: Path) -> None:
    page = Page(runs / "several")
    assert "2 networks with 8 hidden units each were trained on" in page.summary
    assert "They were merged into one network with 16 hidden units." in page.summary
    parts = r"300 samples; 95 % interval 0\.\d+ to 0\.\d+ by the number of samples; "
    parts += r"of the merged network; its 2 parts have 0\.\d+ to 0\.\d+"
    mean = r"Training accuracy 0\.\d+ 1,097 samples; mean of the 2 networks before merging"
    assert re.search(f"{parts} {mean}", page.said("figures"))
    assert "The curves are means over the 2 networks." in page.said("course")


def one_seed_diverged(folder: Path) -> None:
    """Change the results of a sweep as if one of four seeds of each candidate had diverged."""

    def change(stored: Any) -> None:
        stored["table"] = [row | {"n_seeds": 4, "diverged": 1} for row in stored["table"]]

    edit_results(folder, change)


@pytest.mark.parametrize(
    ("name", "change", "text"),
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
def test_accuracies_are_shown_with_the_network_or_seeds_they_belong_to(
    copied: Callable[[str], Path], undrawn: None, name: str, change: Callable[[Path], None], text: str
) -> None:
    folder = copied(name)
    change(folder)
    assert text in reported(folder).said("figures")


def test_every_picture_has_its_main_numbers_as_alternative_text(runs: Path) -> None:
    page = Page(runs / "sweep")
    best = ranked(results_of(runs / "sweep").table)[0]
    alts = [one.get("alt", "") for one in page.all("img") if one.get("class") != "pixels"]
    heat_map, parallel, loss, accuracies, calibration, weights = alts
    reg, accuracy = format_number(best["reg"]), format_accuracy(best["validation_accuracy"])
    sentence = f"The best, learning rate 0.3, reg {reg}, has {accuracy}."
    assert sentence in heat_map
    assert sentence in parallel
    assert "2 candidates diverged." in heat_map
    assert re.match(r"Loss of each step: from [\d.]+ at step 1 to [\d.]+ at step 66\.$", loss)
    assert "validation from 0." in accuracies
    assert "expected calibration error 0." in calibration
    assert "look like noise are usual with few training images" in page.said("weights")
    assert weights == "The first-layer weights of 8 hidden units as images of 8×8 pixels, side by side."
    for picture in page.all("picture"):
        source, image = picture
        assert source.get("media") == "(prefers-color-scheme: dark)"
        light, dark = decoded(image.get("src")), decoded(source.get("srcset"))
        assert light != dark
        for content in (light, dark):
            assert content[:8] == b"\x89PNG\r\n\x1a\n" or ElementTree.fromstring(content).tag.endswith("svg")


def test_the_confusions_of_many_classes_are_shown_as_a_picture(
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


# Missing parts, and the reasons that the page gives


def test_the_page_of_a_diverged_training_gives_the_step_and_no_results(runs: Path) -> None:
    page, step = Page(runs / "diverged"), results_of(runs / "diverged").diverged
    assert page.notices[0].startswith(f"Diverged. The network diverged at step {step:,}")
    reason = "no network was kept"
    assert f"Test accuracy – {reason} Validation accuracy – {reason}" in page.said("figures")
    for name in ("classes", "calibration", "mistakes", "weights"):
        assert page.said(name).endswith("No network was kept.")
    assert any(f"from step {step} on it is not finite" in one.get("alt", "") for one in page.all("img"))


def test_the_page_of_a_sweep_that_all_diverged_has_no_best_candidate(runs: Path) -> None:
    page = Page(runs / "all-diverged")
    assert "Every candidate diverged" in page.notices[0]
    assert page.said("course").endswith("No network was kept, so there is no history.")
    assert "Test accuracy – no network was kept" in page.said("figures")
    assert all("best" not in row for row in page.table("candidates", "3 candidates"))


def test_the_page_states_that_data_have_no_validation_or_test_samples(runs: Path) -> None:
    page = Page(runs / "training-only")
    for split in ("test", "validation"):
        assert f"{split.capitalize()} accuracy – the data have no {split} samples" in page.said("figures")
    assert page.said("mistakes").endswith("The data have no test samples.")
    assert not (runs / "training-only" / "predictions.npz").exists()


def test_the_page_of_an_earlier_versions_run_states_what_is_missing(
    copied: Callable[[str], Path], undrawn: None
) -> None:
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
    ("name", "text"),
    [
        ("history.json", "The folder holds no history.json."),
        ("settings.toml", "No settings. The folder holds no settings.toml, so the page shows less."),
        ("network.safetensors", "No network was kept."),
    ],
)
def test_the_page_states_the_lack_of_a_missing_file(
    copied: Callable[[str], Path], undrawn: None, name: str, text: str
) -> None:
    folder = copied("train")
    (folder / name).unlink()
    assert text in words(reported(folder).root.find("body"))


def interrupted(patch: pytest.MonkeyPatch, command: str, folder: Path, step: int) -> Page:
    """Interrupt a command after a step, and return the page of its run."""
    original = console.Watch.__call__

    def call(self: Any, progress: Any) -> None:
        self.interrupted = self.interrupted or signal.SIGINT * (progress.step == step)
        original(self, progress)

    with patch.context() as context:
        context.setattr(console.Watch, "__call__", call)
        assert cli(command, *QUICK, "--out", folder).exit_code == INTERRUPTED
    return reported(folder)


def test_the_page_of_an_interrupted_training_is_removed_on_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None
) -> None:
    page = interrupted(monkeypatch, "train", tmp_path / "run", 30)
    assert page.notices[0].startswith("Interrupted. The training stopped at step 30. ")
    done("train", "--resume", tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()  # that page is out of date
    assert reported(tmp_path / "run").notices == []


def test_the_page_of_a_sweep_interrupted_at_once_names_the_resume_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undrawn: None
) -> None:
    page = interrupted(monkeypatch, "sweep", tmp_path / "run", 1)
    assert page.notices[0].startswith("Interrupted.")
    assert page.notices[0].endswith("`twolayer sweep --resume` continues from there.")
    assert page.summary.startswith("A sweep was started on 1,097 samples")
    assert page.all("h2", id="candidates")
