"""``twolayer sweep``, CIFAR-10, and the preset that repeats a course's assignment."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.candidates import BEHIND, BEST, CLOSE, candidate
from support.command_line import (
    QUICK,
    SWEEP_FILES,
    TRAIN_FILES,
    answered,
    done,
    files_in,
    read,
    refused,
    rows_of,
    settings_in,
)

from twolayer import datasets, presets, storage
from twolayer.cli import errors
from twolayer.cli.next_command import ends_to_try, next_command
from twolayer.cli.sweep import Running
from twolayer.report.certainty import certainty_in_words, grid_ends, verdict_in_words
from twolayer.report.files import write_json
from twolayer.report.tables import format_difference, ranked, winner

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def test_sweep_writes_a_whole_run(pictures: None) -> None:
    output = done(
        *("sweep", "--learning-rate", "0.1,1", "--reg", 1e-3, "--reg", 1e-2, "--hidden", 10),
        *("--epochs", 3, "--seeds", 2, "--out", "run"),
    )
    assert files_in("run") == SWEEP_FILES
    table, runs, results = rows_of("run/results.csv"), rows_of("run/runs.csv"), read("run/results.json")
    grid = [(rate, reg) for rate in ("0.1", "1.0") for reg in ("0.001", "0.01")]
    assert [(row["learning_rate"], row["reg"]) for row in table] == grid
    assert {row["n_seeds"] for row in table} == {"2"}
    assert [run["seed"] for run in runs] == ["0", "1"] * 4
    best = max(results["table"], key=lambda row: row["validation_accuracy"])
    assert results["best"]["learning_rate"] == best["learning_rate"]
    information = storage.load_metadata("run/network.safetensors").information
    assert information["settings"]["learning_rate"] == best["learning_rate"]
    assert information["settings"]["seed"] == results["best"]["seed"]
    assert "4 candidates × 2 seeds" in output
    (marked,) = [line for line in output.splitlines() if "← best" in line]
    assert float(marked.split()[0]) == best["learning_rate"]
    assert re.search(r"test +400 +0\.\d\d\d", output)
    assert "simple classifiers: always predicting the commonest class 0." in output


def test_a_sweep_reports_the_uncertainty_of_its_ranking() -> None:
    grid = ("--learning-rate", "0.01,0.3,0.6", "--reg", "0,1e-4")
    output = done("sweep", *QUICK, *grid, "--seeds", 3, "--out", "run")
    results = read("run/results.json")
    assert "behind the best: mean difference in pairs of a seed; ≈ best: may be as good" in output
    best = winner(results["table"])
    close = [row for row in results["table"] if row["within_noise"] and row is not best]
    far = [row for row in results["table"] if row["within_noise"] is False]
    assert close
    assert far
    assert output.count("≈ best") == len(close) + 1  # once more in the title
    for row in close:
        assert re.search(rf" {format_difference(row)}  +≈ best", output)
    for sentence in certainty_in_words(results["table"], 300):
        assert f"\n{sentence}\n" in output
    assert results["grid_ends"] == grid_ends(results["table"]) != []
    verdict = verdict_in_words(ranked(results["table"]), ends=results["grid_ends"])
    assert results["verdict"] == " ".join(verdict)
    lines = output.splitlines()
    first = lines.index(verdict[0])
    assert lines[first : first + len(verdict) + 1] == [*verdict, f"Next: `{results['next']}`"]
    assert first < next(i for i, line in enumerate(lines) if line.startswith("Candidates"))
    assert done("sweep", "--resume", "run", "-q").startswith("Best: ")


def next_after(*arguments: Any) -> str:
    """The next command that a sweep suggests."""
    (line,) = re.findall(r"^Next: `(.*)`$", done("sweep", *QUICK, *arguments), re.M)
    assert line.startswith("twolayer ")
    return str(line)


def run_again(command: str) -> str:
    """Run a suggested command, and return its output."""
    return done(*shlex.split(command)[1:])


def test_the_next_command_extends_a_grid_whose_best_is_at_an_end() -> None:
    command = next_after("--learning-rate", "0.001,0.01", "--reg", 0, "--seeds", 2, "--out", "runs/a b")
    assert command == "twolayer sweep --resume 'runs/a b' --learning-rate 0.001,0.01,0.1,1"
    assert "4 candidates × 2 seeds" in run_again(command)
    assert settings_in("runs/a b")["learning_rate"] == [0.001, 0.01, 0.1, 1.0]


def test_the_next_command_avoids_values_that_were_worse_before() -> None:
    grid = ("--reg", 0, "--seeds", 2, "--learning-rate")
    done("sweep", *QUICK, *grid, "0.01,0.1")
    assert "--learning-rate" not in next_after(*grid, "0.1,1e6")
    # An earlier sweep without readable results is ignored.
    Path("runs/digits-sweep-001/results.json").write_text("damaged")
    command = next_after(*grid, "0.1,1e6")
    assert command == "twolayer sweep --resume runs/digits-sweep-003 --learning-rate 0.001,0.01,0.1,1000000"


def ends_of(best: float, values: list[float], tried: list[float], before: float) -> list[list[float]]:
    """The values to try after a sweep of `values` that `best` won, and one of `tried` that `before` won."""
    for number, own, first in ((1, tried, before), (2, values, best)):
        folder = Path(f"runs/digits-sweep-{number:03}")
        folder.mkdir(parents=True)
        (folder / "settings.toml").write_text('data_sha256 = "x"\n')
        table = [candidate(rate, 0.9 if rate == first else 0.8) for rate in own]
        write_json(folder / "results.json", {"table": table})
    return [end["try"] for end in ends_to_try(table, folder, {"data_sha256": "x", "candidates": None})]


@pytest.mark.parametrize(
    ("best", "values", "tried", "before", "further"),
    [
        (1.0, [0.1, 1.0], [0.1, 0.2], 0.1, [[10.0, 100.0]]),
        (1.0, [0.1, 1.0], [1.0, 10.0], 1.0, []),  # 10 was worse
        (1.0, [0.1, 1.0], [1.0, 3.0], 1.0, []),  # 3 was worse, so 10 and 100 are not tried
        (1.0, [0.1, 1.0], [1.0, 30.0], 1.0, [[10.0]]),
        (1.0, [0.1, 1.0], [1.0, 10.0], 10.0, [[10.0, 100.0]]),
        (0.1, [0.1, 1.0], [0.01, 0.1], 0.1, []),
        (0.1, [0.1, 1.0], [1.0, 10.0], 1.0, [[0.01, 0.001]]),
    ],
)
def test_values_that_an_earlier_sweep_found_worse_are_not_tried_again(
    best: float, values: list[float], tried: list[float], before: float, further: list[list[float]]
) -> None:
    assert ends_of(best, values, tried, before) == further


STANDARD: dict[str, Any] = {"dataset": "digits", "seeds": (0, 1), "halving": None, "command": "sweep"}


@pytest.mark.parametrize(
    ("seeds", "more"),
    [
        ((0,), "--seeds 5"),
        ((0, 1, 2), "--seeds 5"),
        ((2, 3, 4, 5, 6), "--seeds 10"),
        ((4, 9), "--seeds 4,9,5,6,7"),
        (tuple(range(10)), None),
    ],
)
def test_the_next_command_adds_seeds(seeds: tuple[int, ...], more: str | None) -> None:
    options = Running(2, None, 60.0).options()
    command = next_command(
        STANDARD | {"seeds": seeds}, Path("run"), [BEST, CLOSE], [], complete=True, options=options
    )
    assert command == (f"twolayer sweep --resume run {more} --workers 2" if more else "twolayer report run")


def test_the_next_command_depends_on_the_state_of_the_sweep() -> None:
    options = Running(None, "tcp://host:1", 60.0).options()
    end = {"setting": "learning_rate", "value": 0.4, "end": "highest", "try": [0.8]}

    def after(table: list[Any], complete: bool = True, ends: Any = (), **changes: Any) -> str:
        settings = presets.settings_for("sweep", "digits", None) | STANDARD | changes
        return next_command(settings, Path("run"), table, ends, complete=complete, options=options)

    where = "--scheduler tcp://host:1"
    assert after([BEST, BEHIND]) == "twolayer report run"
    assert after([BEST, CLOSE], complete=False) == f"twolayer sweep --resume run {where}"
    assert after([BEST, CLOSE], dataset="-") == "twolayer report run"  # standard input cannot be read again
    # Nothing can be added to a sweep with halving.
    halved = after([BEST, CLOSE], ends=[end], halving=2, learning_rate=(0.1, 0.4))
    assert halved == f"twolayer sweep digits --learning-rate 0.1,0.4,0.8 --seeds 0,1 --halving 2 {where}"
    failed = after([candidate(0.4, math.nan, diverged=1)], learning_rate="0.4..8", candidates=9)
    assert failed == f"twolayer sweep digits --learning-rate 0.004,0.04 --seeds 0,1 --candidates 9 {where}"


def test_the_saved_network_is_reported_apart_from_its_candidate() -> None:
    output = done("sweep", *QUICK, "--learning-rate", "0.1,0.3", "--reg", 0, "--seeds", 3, "--out", "run")
    best = read("run/results.json")["best"]
    title = (
        f"The saved network, the best of 3 seeds: learning rate {best['learning_rate']}, seed {best['seed']}"
    )
    assert f"\n{title}\n" in output
    p = best["validation_accuracy"]
    error = (p * (1 - p) / 300) ** 0.5
    assert re.search(rf"validation +300 +{p:.3f} +{error:.3f}", output)
    assert re.search(r"samples +number +accuracy +standard error", output)


def test_halving_drops_the_worst_candidates(pictures: None) -> None:
    grid = ("--learning-rate", "0.001,0.01,0.1,0.2,0.4", "--reg", "0,1e-4", "--seeds", 2)
    output = done("sweep", "--hidden", 8, "--epochs", 9, *grid, "--halving", 3, "--out", "run")
    assert files_in("run") == SWEEP_FILES
    assert settings_in("run")["halving"] == 3
    results = read("run/results.json")
    rungs = [row["rung"] for row in results["table"]]
    assert sorted(rungs, key=lambda rung: rung or 3) == [1] * 6 + [2] * 2 + [None] * 2
    per_epoch = max(run["n_steps"] for run in results["runs"]) // 9
    assert all(run["n_steps"] == {1: 1, 2: 3, None: 9}[run["rung"]] * per_epoch for run in results["runs"])
    assert [row["rung"] for row in rows_of("run/results.csv")] == [str(rung or "") for rung in rungs]
    assert results["best"]["rung"] is None
    assert "10 candidates × 2 seeds; up to 9 epochs each" in output
    assert "8 of 10 candidates left at a rung, before the end" in output
    (marked,) = [line for line in output.splitlines() if "← best" in line]
    assert float(marked.split()[0]) == results["best"]["learning_rate"]
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    for text in ("for up to 9 epochs", "left at rung", "8 of 10 candidates left at a rung"):
        assert text in page
    done("train", "--config", "run/settings.toml", "--epochs", 1, "--out", "again")
    assert "halving" not in settings_in("again")


def test_halving_needs_epochs() -> None:
    message = refused("sweep", "--steps", 40, "--halving", 2, code=errors.WRONG_USAGE)
    assert "--epochs must be given with --halving; got --steps 40" in message


@pytest.mark.parametrize(
    "grid",
    [
        ("--learning-rate", "0.1,1e6", "--reg", "0,1e-4", "--seeds", 2),
        ("--learning-rate", "0.1,0.3", "--reg", "0,1e-4", "--hidden", "10,20", "--seeds", 2),
        ("--learning-rate", 0.4, "--reg", 1e-3, "--seeds", 10),
    ],
)
def test_the_table_of_a_sweep_fits_a_terminal_of_80_columns(
    grid: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COLUMNS", "80"), ("FORCE_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    output = re.sub(r"\x1b\[[0-9;]*m", "", done("sweep", *QUICK, *grid))
    table = output[output.index("Candidates, ") : output.index("With 300 validation samples")]
    lines = [line for line in table.splitlines() if re.search(r"\d\.\d{3} ± ", line)]
    assert all(len(line) <= 80 for line in table.splitlines()[:-1])
    # No line is broken: each candidate has one.
    assert all(re.findall(r" ± (\S+)", line) for line in lines)
    assert not re.search(r" ±\s*\n", table)
    assert "learning" in table
    assert "batch" not in table


def test_a_table_wider_than_the_terminal_keeps_its_numbers_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("COLUMNS", "50"), ("FORCE_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    grid = ("--learning-rate", "0.1,0.3", "--reg", "0,1e-4", "--hidden", "10,20", "--seeds", 2)
    output = re.sub(r"\x1b\[[0-9;]*m", "", done("sweep", *QUICK, *grid, "--out", "run"))
    table = output[output.index("Candidates, ") : output.index("With 300 validation samples")]
    lines = [line for line in table.splitlines() if re.search(r"0\.\d{3} ± 0\.\d{3}", line)]
    assert len(lines) == len(read("run/results.json")["table"])
    assert all(len(line) > 50 for line in lines)


def test_a_small_sweep_reaches_a_test_accuracy_of_96_percent() -> None:
    output = done("sweep", "--seeds", 1, "--learning-rate", 1, "--out", "run")
    assert read("run/results.json")["test"]["accuracy"] >= 0.96, output


def test_train_repeats_the_best_network_of_a_sweep() -> None:
    done("sweep", *QUICK, "--learning-rate", "0.1,0.3", "--reg", "0,0.01", "--seeds", "4,9", "--out", "sweep")
    best = read("sweep/results.json")["best"]
    chosen = ("--learning-rate", best["learning_rate"], "--reg", best["reg"], "--seed", best["seed"])
    done("train", *QUICK, *chosen, "--out", "train")
    for found, expected in zip(
        storage.load("sweep/network.safetensors"), storage.load("train/network.safetensors"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_table_shows_the_steps_at_which_candidates_diverged() -> None:
    output = done("sweep", *QUICK, "--learning-rate", "0.1,1e6", "--reg", 0, "--seeds", 2, "--out", "run")
    steps = [run["diverged"] for run in read("run/results.json")["runs"] if run["diverged"]]
    (line,) = [line for line in output.splitlines() if line.strip().startswith("1e6")]
    first, last = min(steps), max(steps)
    assert (f" step {first} " if first == last else f" steps {first}–{last} ") in line


def test_a_sweep_whose_networks_all_diverge_fails_but_keeps_its_table(pictures: None) -> None:
    grid = ("--learning-rate", "1e6,1e7", "--reg", 0)
    code, data, lines = answered("sweep", *QUICK, *grid, "--out", "run")
    assert code == data["error"]["exit_code"] == errors.DIVERGED
    assert "Error: every network diverged" in lines
    assert (data["best"], len(data["table"])) == (None, 2)
    assert files_in("run") == {
        "settings.toml",
        "results.json",
        "results.csv",
        "runs.csv",
        "grid.png",
        "parts",
    }


def test_a_sweep_in_parts_gives_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ("--learning-rate", "0.1,0.3", "--reg", "0,0.01", "--seeds", 1)
    for name, more in (("whole", ()), ("parts", ("--max-networks", 1))):
        done("sweep", *QUICK, *grid, *more, "--out", name)
    whole, parts = (read(f"{name}/results.json")["table"] for name in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert one["validation_accuracy"] == pytest.approx(other["validation_accuracy"], abs=0.01)


RANDOM = ("--learning-rate", "1e-3..1", "--reg", "1e-6..1e-2", "--weight-scale", "he,0.1")


def test_candidates_are_drawn_from_ranges(pictures: None) -> None:
    options = ("--epochs", 1, "--hidden", 8, "--dropout", "0..0.5", *RANDOM)
    output = done("sweep", *options, "--candidates", 12, "--seeds", "4,9", "--out", "run")
    assert "12 candidates × 2 seeds" in output
    assert files_in("run") == SWEEP_FILES
    settings, table = settings_in("run"), read("run/results.json")["table"]
    assert (settings["learning_rate"], settings["dropout"], settings["candidates"]) == (
        "1e-3..1",
        "0..0.5",
        12,
    )
    assert settings["weight_scale"] == ["he", 0.1]
    assert len(table) == 12
    for name, low, high in (("learning_rate", 1e-3, 1), ("reg", 1e-6, 1e-2), ("dropout", 0, 0.5)):
        values = {row[name] for row in table}
        assert len(values) == 12
        assert low <= min(values) < max(values) <= high
    assert {row["weight_scale"] for row in table} == {"he", 0.1}
    # Numbers are printed with few digits.
    assert not re.search(r"\d\.\d{6}", output)
    more = done(
        "sweep", "--config", "run/settings.toml", "--candidates", 13, "--seeds", 1, "--seed", 4, "--out", "2"
    )
    assert "13 candidates × 1 seed;" in more
    names = ("learning_rate", "reg", "dropout", "weight_scale")
    drawn = [tuple(row[name] for name in names) for row in read("2/results.json")["table"]]
    assert drawn[:12] == [tuple(row[name] for name in names) for row in table]
    done("train", "--config", "run/settings.toml", "--epochs", 2, "--out", "longer")
    assert settings_in("longer")["learning_rate"] == read("run/results.json")["best"]["learning_rate"]


def test_candidates_drawn_from_ranges_have_no_grid_ends() -> None:
    grid = ("--learning-rate", "1e-3..0.1", "--reg", 0, "--seeds", 1)
    output = done("sweep", *QUICK, *grid, "--candidates", 5, "--out", "run")
    results = read("run/results.json")
    assert results["grid_ends"] == []
    assert grid_ends(results["table"])  # a grid with these values would have an end
    assert " end of learning rate" not in output
    output = done(
        "sweep", "--epochs", 1, "--reg", "0,1e-4", "--hidden", 8, "--learning-rate", 0.1, "--candidates", 64
    )
    assert "2 candidates × 3 seeds;" in output  # the grid has no more


def test_many_widths_of_the_hidden_layer_cause_a_warning() -> None:
    warning = "Warning: candidates that differ in n_hidden do not train in one stack: these 5 make at least "
    options = ("--epochs", 1, "--learning-rate", 0.1, "--reg", "1e-6..1", "--seeds", 1, "--candidates", 5)
    assert done("sweep", *options, "--hidden", "4..60").count(warning) == 1
    assert warning not in done("sweep", *options, "--hidden", "4,6")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reg", "1e-3..1"), "--candidates must be given with a range; got --reg 1e-3..1 alone"),
        (("--reg", "0.1,1..2", "--candidates", 3), "`--reg` must be values or one range; got 0.1, 1..2"),
        (
            ("--reg", "0..1", "--candidates", 3),
            "'--reg': must be a range, low..high: in '0..1', `low` must be",
        ),
        (("--seeds", "0..4", "--candidates", 3), "'--seeds': must be an integer of at least 1; got '0..4'"),
    ],
)
def test_invalid_ranges_are_refused(options: tuple[Any, ...], message: str) -> None:
    assert message in refused("sweep", *options, code=2)
    assert "; `twolayer sweep` takes several" in refused("train", "--reg", "1e-3..1", code=2)


def test_a_sweep_needs_validation_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = datasets.load_digits()
    monkeypatch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, validation=None))
    assert "a sweep must have validation samples to choose by; digits has none" in refused("sweep", *QUICK)
    output = done("train", "--epochs", 2, "--hidden", 8, "--out", "run")
    assert "The last network, of step 44" in output


# CIFAR-10 and the assignment


def test_train_on_cifar10(pictures: None, cifar: Path) -> None:
    output = done("train", "cifar10", "--data", cifar, "--out", "run")
    assert "cifar10: 150 training, 50 validation, 40 test samples; 32×32×3 pixels, 10 classes" in output
    assert files_in("run") == TRAIN_FILES
    metadata = storage.load_metadata("run/network.safetensors")
    assert metadata.classes is not None
    assert metadata.classes[0] == "airplane"
    assert (metadata.information["n_train"], metadata.information["white"]) == (150, 255)
    assert str(cifar) not in json.dumps(metadata.information)


def test_evaluate_uses_the_splits_of_the_training(cifar: Path) -> None:
    done("train", "--preset", "assignment", "--data", cifar, "--out", "run", "-q")
    assert "cifar10: 10 validation samples" in done(
        "evaluate", "run", "--data", cifar, "--split", "validation"
    )
    expected = read("run/results.json")["test"]["accuracy"]
    assert f"accuracy {expected:.4f}" in done("evaluate", "run", "cifar10", "--data", cifar)


def test_the_assignment_is_shown_beside_the_coursework(cifar: Path) -> None:
    output = done("sweep", "cifar10", "--preset", "assignment", "--data", cifar, "--out", "run")
    for text in (
        *("reg 0.15", "reg 0.2 ", "reg 0.25", "(coursework: 0.3)", "(coursework: 0.4)", "(coursework: 0.5)"),
        *("0.326 / 0.319", "0.589 / 0.441", "0.580 / 0.475", "9 candidates × 1 seed"),
    ):
        assert text in output
    assert re.search(r"1e-2 +here +diverged at step \d+ +diverged at step \d+", output)
    assert re.search(r"coursework +diverged +diverged +diverged", output)
    table = {(row["learning_rate"], row["reg"]): row for row in read("run/results.json")["table"]}
    own = table[(1e-4, 0.2)]
    line = next(line for line in output.splitlines() if re.match(r" +1e-4 +here", line))
    assert f"{own['train_accuracy']:.3f} / {own['validation_accuracy']:.3f}" in line
    net = storage.load("run/network.safetensors")
    test = datasets.load_cifar10(cifar, n_train=150, n_validation=50, n_test=40).test
    right = net.predict(test.X) == test.y
    assert (
        f"Test accuracy of the best: {right[:10].mean():.3f} on the first 10 (coursework: 0.477), "
        f"{right.mean():.3f} on all 40"
    ) in output
    assert "differ from the protocol" not in output


def test_the_assignment_shows_means_over_seeds(cifar: Path) -> None:
    output = done(
        "sweep", "--preset", "assignment", "--data", cifar, "--seeds", 2, "--reg", 0.2, "--out", "run"
    )
    assert "3 candidates × 2 seeds" in output
    assert re.search(r"1e-3 +here +– +\d\.\d{3} / \d\.\d{3} ± \d\.\d{3} +–", output)


def test_a_run_resumes_with_data_that_were_moved(cifar: Path) -> None:
    done("train", "cifar10", "--data", cifar, "--whiten", "none", "--out", "run", "-q")
    moved = cifar.rename("elsewhere")
    assert "`--data` must be a folder or an archive that exists" in refused(
        "train", "--resume", "run", "--epochs", 3
    )
    done("train", "--resume", "run", "--epochs", 3, "--data", moved)
    assert settings_in("run")["data"] == str(moved.absolute())


def test_a_preset_without_a_reference_is_not_compared(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(presets.PRESETS["assignment"], reference=None)
    monkeypatch.setattr(presets, "PRESETS", {"alone": alone})
    output = done("sweep", "--preset", "alone", "--data", cifar, "--reg", 0.2, "--out", "run")
    assert "coursework" not in output


def test_settings_that_differ_from_the_protocol_are_named(cifar: Path) -> None:
    output = done(
        *("sweep", "--preset", "assignment", "--data", cifar, "--hidden", 5, "--steps", 10),
        *("--learning-rate", "1e-3,5e-4", "--out", "run"),
    )
    words = "hidden units 5, steps 10"
    assert f"Warning: these settings differ from the protocol of the preset: {words}" in output
    assert re.search(r"5e-4 +here +\d", output)
    assert re.search(r"1e-4 +here +–", output)


def test_a_download_is_shown(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str | None] = []

    def downloaded(folder: Any = None, *, url: str | None = None, progress: Any = None, **counts: int) -> Any:
        assert folder is None
        urls.append(url)
        if progress is not None:
            progress.total = 170_052_171
            progress.update(100)
            progress.reset()
            progress.update(170_052_171)
            progress.close()
            assert progress.total == 170_052_171
        return datasets.load_cifar10(cifar, **counts)

    monkeypatch.setattr("twolayer.cli.data.load_cifar10", downloaded)
    cifar10 = ("cifar10", "--whiten", "none")  # whitening takes long
    assert "Downloading CIFAR-10 (162 MiB)" in done("train", *cifar10, "--out", "run")
    mirror = "https://example.org/cifar-10-binary.tar.gz"
    assert "Downloading" not in done("train", *cifar10, "-q", "--url", mirror, "--out", "quiet")
    assert urls == [None, mirror]


def test_a_failed_download_is_refused_with_a_hint() -> None:
    pytest.importorskip("pooch", reason="comes with the extra `data`")
    line = refused("train", "cifar10", "--url", "http://localhost:1/cifar-10-binary.tar.gz")
    assert "CIFAR-10 could not be downloaded from http://localhost:1/" in line
    assert "give `--data`, the path of" in line
    assert "give `--url`" in line


def test_a_truncated_data_file_is_refused(cifar: Path) -> None:
    file = cifar / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert "data_batch_1.bin must have 40 records of 3073 bytes; got 122919 bytes" in refused(
        "train", "cifar10", "--data", cifar
    )
