"""``twolayer sweep --folds``: cross-validated candidates, and a network trained on all samples."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import (
    PICTURES,
    SWEEP_FILES,
    answered,
    cli,
    clusters,
    done,
    files_in,
    read,
    refused,
    rows_of,
    settings_in,
)
from support.own_tables import people, write

from twolayer import TwoLayerNet, datasets, optimizers, schedules, storage, sweep, train
from twolayer.augmentation import FlipAndShift
from twolayer.cli import errors
from twolayer.datasets import Dataset
from twolayer.preprocessing import Standardizer

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")

SMALL = ("--epochs", 2, "--hidden", 8, "--seeds", 1, "--folds", 3)
GRID = ("--learning-rate", "0.1,0.3", "--reg", "0,0.01")
# Options of a sweep that ARGUMENTS, FIT and `swept` repeat with the library.
PLAIN = (
    *("--optimizer", "adam", "--schedule", "constant", "--weight-scale", "he", "--scale", "feature"),
    *("--learning-rate", "0.001,0.01", "--reg", 1e-3, "--batch-size", 40, "--dropout", 0),
)
ARGUMENTS: dict[str, Any] = {"optimizer": optimizers.Adam(), "schedule": schedules.Constant(), "epochs": 2}
FIT = partial(Standardizer.fit, scale="feature")


def all_samples(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The training and validation samples together, their labels, and their weights."""
    parts = [split for split in (data.train, data.validation) if split is not None]
    X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    weights = data.sample_weight
    both = None if weights is None else np.concatenate([weights["train"], weights["validation"]])
    return X, y, both


def swept(data: Dataset, *, seeds: tuple[int, ...] = (0,), **more: Any) -> Any:
    """The result of `twolayer.sweep` with the settings of PLAIN and SMALL."""
    X, y, weights = all_samples(data)
    grid = {"learning_rate": [0.001, 0.01], "reg": [1e-3], "n_hidden": [8], "batch_size": [40]}
    weights = None if weights is None else weights.astype("float32")
    given = {"folds": 3, "preprocessing": FIT, "rng": seeds[0], "sample_weight": weights, **ARGUMENTS, **more}
    return sweep(X, y, grid=grid | {"seed": seeds}, n_classes=data.n_classes, **given)


def assert_trained_on_all_samples(data: Dataset, **more: Any) -> None:
    """Assert that a run's network and results are those of its best settings, trained on all samples."""
    results, found = read("run/results.json"), storage.load("run/network.safetensors")
    X, y, weights = all_samples(data)
    fitted, best = FIT(X), results["best"]
    start = TwoLayerNet.initialize(fitted.n_outputs, 8, data.n_classes, rng=best["seed"], dtype="float32")
    given = {name: best[name] for name in ("learning_rate", "reg", "batch_size")} | ARGUMENTS | more
    X_fitted = X
    if "augmentation" in more:
        given["preprocessing"] = fitted
    else:
        X_fitted = fitted.apply(X, dtype="float32")
    weights = None if weights is None else weights.astype("float32")
    run = train(start, X_fitted, y, sample_weight=weights, rng=best["seed"], judge="last", **given)
    for array, like in zip(found, fitted.fold(run.net), strict=True):
        np.testing.assert_allclose(array, like, rtol=1e-4, atol=1e-4)
    # The other of the two learning rates, 0.001 and 0.01, gives a different network.
    given["learning_rate"] = 0.011 - best["learning_rate"]
    other = train(start, X_fitted, y, sample_weight=weights, rng=best["seed"], judge="last", **given)
    assert np.abs(fitted.fold(other.net).W2 - found.W2).max() > 1e-3
    test, n = data.test, len(y)
    assert test is not None
    assert results["samples"] == {"train": n, "validation": n, "test": len(test.y)}
    assert results["test"]["accuracy"] == pytest.approx(found.accuracy(test.X, test.y))
    np.testing.assert_array_equal(np.load("run/predictions.npz")["y"], test.y)


def assert_same_tables(expected: Any) -> None:
    """Assert that the tables of a run equal those of a sweep with the library."""
    results = read("run/results.json")
    for name, rows in (("runs", expected.runs), ("table", expected.table)):
        assert len(results[name]) == len(rows)
        for found, row in zip(results[name], rows, strict=True):
            for key in ("learning_rate", "seed", "fold", "n_folds", "n_steps", "best_step"):
                assert found.get(key) == row.get(key)
            for key in ("train_accuracy", "validation_accuracy"):
                assert found[key] == pytest.approx(row[key], abs=2e-3)
    assert results["best"]["learning_rate"] == expected.best.settings["learning_rate"]
    for key in ("train_accuracy", "validation_accuracy"):
        assert results["best"][key] == pytest.approx(expected.best.row[key], abs=2e-3)


def test_a_sweep_over_folds_writes_a_whole_run(pictures: None) -> None:
    output = done(
        *("sweep", *GRID, "--hidden", 8, "--epochs", 3, "--seeds", "4,9", "--folds", 3, "--out", "run")
    )
    assert files_in("run") == SWEEP_FILES | {"folds.png"}
    table, runs, results = rows_of("run/results.csv"), rows_of("run/runs.csv"), read("run/results.json")
    assert "4 candidates × 3 folds × 2 seeds; 3 epochs each" in output
    assert {(row["n_seeds"], row["n_folds"]) for row in table} == {("2", "3")}
    assert [(run["seed"], run["fold"]) for run in runs] == [(s, f) for s in "49" for f in "012"] * 4
    n_steps = {int(run["n_steps"]) for run in runs}
    assert n_steps == {3 * 19}  # 931 or 932 samples in batches of 50
    for row in results["table"]:
        own = [
            run["validation_accuracy"]
            for run in results["runs"]
            if all(run[name] == row[name] for name in ("learning_rate", "reg"))
        ]
        assert row["validation_accuracy"] == pytest.approx(np.mean(own))
        assert row["validation_accuracy_std"] == pytest.approx(np.std(own, ddof=1))
    best = results["best"]
    candidate = max(results["table"], key=lambda row: row["validation_accuracy"])
    seed_means = {
        seed: np.mean(
            [
                run["validation_accuracy"]
                for run in results["runs"]
                if run["seed"] == seed
                and all(run[name] == candidate[name] for name in ("learning_rate", "reg"))
            ]
        )
        for seed in (4, 9)
    }
    assert best["seed"] == max(seed_means, key=lambda seed: seed_means[seed])
    for name in ("learning_rate", "reg", "validation_accuracy"):
        assert best[name] == candidate[name]
    assert "fold" not in best
    # The training accuracy is that of the network trained on all samples.
    X, y, _ = all_samples(datasets.load_digits())
    accuracy = float(storage.load("run/network.safetensors").accuracy(X, y))
    assert best["train_accuracy"] == pytest.approx(accuracy, abs=1.1 / len(y)) != candidate["train_accuracy"]
    assert re.search(rf"training +1,397 +{best['train_accuracy']:.3f}", output)
    assert results["samples"] == {"train": 1397, "validation": 1397, "test": 400}
    assert re.search(r"training +1,397", output)
    assert re.search(rf"held out in 3 folds \(mean\) +1,397 +{best['validation_accuracy']:.3f}", output)
    assert re.search(rf"test +400 +{results['test']['accuracy']:.3f}", output)
    assert "means of 3 folds and 2 seeds; SD: their standard deviation" in output
    assert "With 1,397 held-out samples" in output
    settings = settings_in("run")
    assert (settings["folds"], settings["judge"], settings["seeds"]) == (3, "last", [4, 9])
    information = storage.load_metadata("run/network.safetensors").information
    assert information["validation_accuracy"] == best["validation_accuracy"]
    assert information["settings"]["seed"] == best["seed"]
    # The network trained on all samples has no validation samples.
    history = rows_of("run/history.csv")
    assert int(history[-1]["step"]) == 3 * 28
    assert {row["validation_accuracy"] for row in history} == {"nan"}


# Kinds of data


def test_folds_of_the_digits_are_those_of_the_library() -> None:
    done("sweep", "digits", *SMALL, *PLAIN, "--seeds", "3,5", "--out", "run")
    data = datasets.load_digits()
    assert_same_tables(swept(data, seeds=(3, 5)))
    assert_trained_on_all_samples(data)
    assert "1,397 train samples" in done("evaluate", "run", "--split", "train")  # the validation samples too
    assert "it has no validation samples" in refused("evaluate", "run", "--split", "validation")


def test_folds_of_an_npz_file_are_those_of_the_library(npz: Path) -> None:
    done("sweep", "mine.npz", *SMALL, *PLAIN, "--validation", 30, "--test", 20, "--out", "run")
    data = datasets.load_npz("mine.npz", validation=30, test=20)
    assert_same_tables(swept(data))
    assert_trained_on_all_samples(data)
    assert read("run/results.json")["samples"] == {"train": 100, "validation": 100, "test": 20}


@pytest.mark.parametrize("weight", [False, True])
def test_folds_of_a_table_are_those_of_the_library(weight: bool) -> None:
    pytest.importorskip("polars", reason="tables need the extra `tables`")
    rows = people(300)
    for row in rows:
        row["w"] = 5.0 if row["outcome"] == "yes" else 1.0
    write("people.csv", rows, [*rows[0]])
    named = ("--label", "outcome", "--drop", "customer", *(("--weight", "w") if weight else ("--drop", "w")))
    output = done("sweep", "people.csv", *named, *SMALL, *PLAIN, "--out", "run")
    options = {"weight": "w", "drop": ["customer"]} if weight else {"drop": ["customer", "w"]}
    data = datasets.load_table("people.csv", label="outcome", **options)
    assert (data.sample_weight is not None) == weight
    assert_same_tables(swept(data))
    assert_trained_on_all_samples(data)
    results = read("run/results.json")
    assert results["baselines"]
    assert "Test accuracy of simple classifiers" in output
    n = results["samples"]["train"]
    shares = [round(run["validation_accuracy"] * n / 3, 6) for run in results["runs"]]
    # Without weights, a whole number of samples is right in each fold.
    assert all(share == round(share) for share in shares) != weight


def test_folds_work_far_from_0_and_without_validation_samples(npz: Path) -> None:
    arrays = np.load("mine.npz")
    np.savez("far.npz", X=arrays["X"] + 1e7, y=arrays["y"])
    options = (*SMALL, "--learning-rate", 0.1, "--reg", 0, "--epochs", 20)
    output = done("sweep", "far.npz", *options, "--out", "far")
    assert "The saved network is in float64" in output
    assert read("far/results.json")["best"]["validation_accuracy"] > 0.95
    assert read("far/results.json")["test"]["accuracy"] > 0.95
    done("sweep", "mine.npz", *options, "--validation", 0, "--out", "without", "-q")
    done("sweep", "mine.npz", *options, "--out", "with", "-q")
    for name in ("without", "with"):
        samples = read(f"{name}/results.json")["samples"]
        assert samples["train"] == samples["validation"] == 120 - samples["test"]
        assert read(f"{name}/results.json")["best"]["validation_accuracy"] > 0.95


def test_folds_are_suggested_if_there_are_no_validation_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = datasets.load_digits()
    monkeypatch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, validation=None, test=None))
    assert "digits has none: try --folds 5" in refused("sweep", "--epochs", 1)
    output = done("sweep", *SMALL, *GRID, "--out", "run")
    assert read("run/results.json")["samples"] == {"train": 1097, "validation": 1097, "test": 0}
    assert "\n  test" not in output
    assert files_in("run") == SWEEP_FILES - PICTURES - {"predictions.npz"}


def test_the_assignment_on_cifar10_accepts_folds(cifar: Path) -> None:
    options = ("--data", cifar, "--folds", 2, "--seeds", 1, "--learning-rate", "1e-4,1e-3", "--reg", 0.2)
    output = done("sweep", "cifar10", "--preset", "assignment", *options, "--out", "run")
    assert "2 candidates × 2 folds × 1 seed" in output
    assert re.search(r"1e-3 +here +– +\d\.\d{3} / \d\.\d{3} ± \d\.\d{3}", output)
    assert "these settings differ from the protocol of the preset: folds 2" in output
    assert read("run/results.json")["samples"] == {"train": 80, "validation": 80, "test": 40}


def test_folds_work_with_folders_of_images_and_symmetrize() -> None:
    pytest.importorskip("PIL", reason="images need the extra `images`")
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        Path("images", name).mkdir(parents=True)
        for i in range(24):
            pixels = np.clip(level + rng.normal(0, 20, (6, 6)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(Path("images", name, f"{i}.png"))
    options = ("--learning-rate", 0.1, "--reg", 0, "--symmetrize", "--epochs", 15)
    done("sweep", "images", *SMALL, *options, "--out", "run")
    results = read("run/results.json")
    assert results["best"]["validation_accuracy"] > 0.9
    assert results["test"]["accuracy"] > 0.9
    assert storage.load("run/network.safetensors").n_hidden == 16


# Settings


def test_folds_are_judged_at_the_last_epoch_by_default() -> None:
    grid = ("--learning-rate", "0.1,2", "--reg", 0)
    accuracies = {}
    for name in ("best", "last", "usual"):
        chosen = () if name == "usual" else ("--judge", name)
        done("sweep", *SMALL, *grid, "--epochs", 12, *chosen, "--out", name, "-q")
        judge = "best" if name == "best" else "last"
        assert settings_in(name)["judge"] == judge
        accuracies[name] = np.array(
            [run["validation_accuracy"] for run in read(f"{name}/results.json")["runs"]]
        )
        done("sweep", "--config", f"{name}/settings.toml", "--out", f"{name} again", "-q")
        assert settings_in(f"{name} again")["judge"] == judge
    assert accuracies["usual"].tolist() == accuracies["last"].tolist()
    assert (accuracies["best"] >= accuracies["last"]).all()
    assert (accuracies["best"] > accuracies["last"]).any()
    # The network trained on all samples has no validation samples to choose its epoch by.
    assert {int(rows_of(f"{name}/history.csv")[-1]["step"]) for name in accuracies} == {12 * 28}


def test_folds_ignore_the_default_judge_of_an_earlier_sweep() -> None:
    grid = (*SMALL[:-2], "--learning-rate", 0.1, "--reg", 0)
    done("sweep", *grid, "--out", "run", "-q")
    assert settings_in("run")["judge"] == "best"
    assert "folds" not in settings_in("run")
    done("sweep", "--config", "run/settings.toml", "--folds", 2, "--out", "folds", "-q")
    assert (settings_in("folds")["judge"], settings_in("folds")["folds"]) == ("last", 2)


def test_the_settings_of_a_run_repeat_it() -> None:
    done("sweep", *SMALL, *PLAIN, "--seeds", "4,2", "--out", "run", "-q")
    done("sweep", "--config", "run/settings.toml", "--out", "again", "-q")
    for name in ("settings.toml", "results.csv", "runs.csv", "network.safetensors", "history.csv"):
        assert Path("again", name).read_bytes() == Path("run", name).read_bytes(), name
    other = ("--config", "run/settings.toml", "--folds", 4, "--seeds", 1)
    done("sweep", *other, "--out", "other", "-q")
    assert [run["fold"] for run in rows_of("other/runs.csv")] == [*"0123"] * 2
    # Another first seed gives other folds.
    done("sweep", "--config", "run/settings.toml", "--seeds", "2,4", "--out", "order", "-q")
    found, expected = (
        {(r["seed"], r["learning_rate"], r["fold"]): r for r in rows_of(f"{name}/runs.csv")}
        for name in ("order", "run")
    )
    assert found.keys() == expected.keys()
    assert any(found[key]["validation_accuracy"] != expected[key]["validation_accuracy"] for key in found)


def test_train_reads_the_best_settings_from_the_folder_of_the_sweep() -> None:
    done("sweep", *SMALL, *PLAIN, "--out", "run", "-q")
    done("train", "--config", "run/settings.toml", "--out", "train", "-q")
    settings = settings_in("train")
    assert settings["learning_rate"] == read("run/results.json")["best"]["learning_rate"]
    assert "folds" not in settings
    samples = read("train/results.json")["samples"]
    assert (samples["train"], samples["validation"]) == (1097, 300)


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (("--folds", 1), "'--folds': must be an integer of at least 2; got '1'", errors.WRONG_USAGE),
        (("--folds", "2,3"), "'--folds'", errors.WRONG_USAGE),
        (("--folds", 2000), "`folds` must be at most the number of samples, 1397; got 2000", 1),
    ],
)
def test_invalid_numbers_of_folds_are_refused(options: tuple[Any, ...], message: str, code: int) -> None:
    assert message in refused("sweep", *options, code=code)
    assert not list(Path().rglob("settings.toml"))


@pytest.mark.parametrize("option", ["group", "time"])
def test_folds_with_group_or_time_are_refused(option: str) -> None:
    pytest.importorskip("polars", reason="tables need the extra `tables`")
    write("people.csv", people(60))
    column = "state" if option == "group" else "since"
    given = ("sweep", "people.csv", "--label", "outcome", f"--{option}", column)
    message = f"`--folds` must be left out with --{option}, as folds are random; got 3"
    assert message in refused(*given, "--folds", 3, code=errors.WRONG_USAGE)
    Path("mine.toml").write_text(f'dataset = "people.csv"\nlabel = "outcome"\n{option} = "{column}"\n')
    assert message in refused("sweep", "--config", "mine.toml", "--folds", 3, code=errors.WRONG_USAGE)


def test_train_refuses_folds() -> None:
    assert re.search("No such option:? '?--folds", refused("train", "--folds", 3, code=2))
    Path("mine.toml").write_text("folds = 3\n")
    assert "`folds` in mine.toml must be a setting's name" in refused(
        "train", "--config", "mine.toml", code=2
    )


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (("--shift", 1), {"augmentation": FlipAndShift((8, 8), flip=False, shift=1)}),
        (("--flip",), {"augmentation": FlipAndShift((8, 8), flip=True, shift=0)}),
        (("--class-weight", "balanced"), {"class_weight": "balanced"}),
        (("--replacement",), {"replacement": True}),
        (("--steps", 30), {"epochs": None, "steps": 30}),
        (("--max-networks", 1), {"max_networks": 1}),
    ],
    ids=lambda value: value[0][2:] if isinstance(value, tuple) else "",
)
def test_settings_of_the_training_act_as_in_the_library(
    options: tuple[Any, ...], more: dict[str, Any]
) -> None:
    given = tuple(one for one in SMALL if "--steps" not in options or one not in ("--epochs", 2))
    done("sweep", *given, *PLAIN, *options, "--out", "run", "-q")
    data = datasets.load_digits()
    expected = swept(data, **more)
    assert_same_tables(expected)
    # Each setting but --max-networks changes the result.
    plain = swept(data)
    if "max_networks" not in more:
        assert any(
            a["train_accuracy"] != b["train_accuracy"] for a, b in zip(expected.runs, plain.runs, strict=True)
        )
        assert_trained_on_all_samples(data, **more)


def test_a_sweep_over_folds_learns_with_mixup() -> None:
    options = ("--learning-rate", 0.3, "--reg", 0, "--epochs", 8)
    done("sweep", *SMALL, *options, "--mixup", 0.2, "--out", "run", "-q")
    assert read("run/results.json")["best"]["validation_accuracy"] > 0.7


def test_folds_work_with_drawn_candidates_and_halving() -> None:
    grid = ("--learning-rate", "1e-3..0.5", "--reg", "1e-6..1e-2", "--candidates", 9, "--halving", 3)
    output = done("sweep", *SMALL, *grid, "--epochs", 9, "--out", "run")
    assert "9 candidates × 3 folds × 1 seed; up to 9 epochs each" in output
    assert "8 of 9 candidates left at a rung, before the end" in output
    results = read("run/results.json")
    rungs = [row["rung"] for row in results["table"]]
    assert sorted(rungs, key=lambda rung: rung or 3) == [1] * 6 + [2] * 2 + [None]
    assert results["best"]["learning_rate"] == results["table"][rungs.index(None)]["learning_rate"]
    per_epoch = max(run["n_steps"] for run in results["runs"]) // 9
    for run in results["runs"]:
        assert run["n_steps"] == {1: 1, 2: 3, None: 9}[run["rung"]] * per_epoch
    assert len(results["runs"]) == 27
    assert int(rows_of("run/history.csv")[-1]["epoch"]) == 9
    assert results["samples"]["validation"] == 1397
    done("sweep", "--config", "run/settings.toml", "--out", "again", "-q")
    assert Path("again/runs.csv").read_bytes() == Path("run/runs.csv").read_bytes()


# Divergence and interruption


def test_no_network_is_saved_if_all_diverge() -> None:
    code, data, lines = answered("sweep", *SMALL, "--learning-rate", "1e6,1e7", "--reg", 0, "--out", "run")
    assert code == errors.DIVERGED
    assert "Error: every network diverged" in lines
    assert (data["best"], len(data["runs"])) == (None, 6)
    assert files_in("run") == {"settings.toml", "results.json", "results.csv", "runs.csv", "parts"}


@pytest.mark.parametrize(
    ("step", "stage", "n_runs"),
    # Before any validation; in the second fold, before and after its first validation; in the final network.
    [(5, 1, 0), (5, 2, 2), (25, 2, 4), (5, 4, 6), (30, 4, 6)],
)
def test_an_interrupted_sweep_keeps_its_tables(send: Any, step: int, stage: int, n_runs: int) -> None:
    send(step, signal.SIGINT, stage=stage)
    grid = ("--learning-rate", "0.1,0.3", "--reg", 0)
    result = cli("sweep", *SMALL, *grid, "--out", "run")
    assert result.exit_code == 130
    assert f"interrupted: {n_runs} of 6 networks are in the tables, unfinished ones in their" in result.output
    assert "no network is kept" in result.output
    assert "try " not in result.output
    results = read("run/results.json")
    assert results["complete"] is False
    assert results["samples"]["validation"] == {2: 466, 4: 932}.get(n_runs, 1397)
    assert "test" not in results
    assert (results["best"] is None) == (not n_runs)
    tables = {"results.csv", "runs.csv"} if n_runs else set()
    assert files_in("run") == {"settings.toml", "results.json", "parts"} | tables
    assert len(results["runs"]) == n_runs
    if n_runs:
        assert [row["fold"] for row in rows_of("run/runs.csv")] == [*"012"[: n_runs // 2]] * 2
    done("sweep", "--config", "run/settings.toml", "--out", "run", "--overwrite")
    assert read("run/results.json")["complete"] is True


# Uses of the results


def test_the_page_and_the_pictures_show_folds(pictures: None) -> None:
    done("sweep", *SMALL, *GRID, "--out", "run", "-q")
    assert files_in("run") >= PICTURES
    before = Path("run/grid.png").read_bytes()
    Path("run/grid.png").unlink()
    output = done("plot", "run")
    assert "grid.png" in output
    assert Path("run/grid.png").read_bytes() == before
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    for text in (
        "4 candidates, each from 3 folds",
        "over 3 folds",
        "the settings were chosen on these samples",
        "Its network trained on all samples",
        "The curves show the network trained on all samples (seed",
        "1,397 held-out samples",
        "<bdi>--folds</bdi> <bdi>3</bdi>",
    ):
        assert text in page, text
    results = read("run/results.json")
    (training,) = re.findall(r"<dt>Training accuracy</dt>\s*<dd><span class=\"value\">([\d.]+)", page)
    assert training == f"{results['best']['train_accuracy']:.3f}"
    best = [row for row in results["runs"] if row["learning_rate"] == results["best"]["learning_rate"]]
    best = [row for row in best if row["reg"] == results["best"]["reg"]]
    words = ", ".join(f"{row['validation_accuracy']:.3f} on {row['fold']}" for row in best)
    assert f"Validation accuracies of the best candidate&#39;s networks on their folds: {words}." in page
    done("sweep", *SMALL, *GRID, "--seeds", 2, "--out", "seeds", "-q")
    done("report", "seeds")
    page = Path("seeds/report.html").read_text(encoding="utf-8")
    assert "3 folds and 2 seeds" in page


def test_json_contains_the_results_of_each_fold() -> None:
    code, data, lines = answered("sweep", *SMALL, *GRID, "--out", "run")
    assert code == 0
    assert "Error" not in lines
    results = read("run/results.json")
    assert {name: data[name] for name in results} == results
    assert [run["fold"] for run in data["runs"]] == [0, 1, 2] * 4
    assert {row["n_folds"] for row in data["table"]} == {3}
    assert data["samples"]["validation"] == 1397


def test_evaluate_and_predict_use_the_network_of_all_samples(npz: Path) -> None:
    done("sweep", "mine.npz", *SMALL, *PLAIN, "--epochs", 20, "--out", "run", "-q")
    accuracy = read("run/results.json")["test"]["accuracy"]
    assert answered("evaluate", "run", "mine.npz").data["accuracy"] == accuracy
    fresh = clusters(Path("fresh.npz"), n=30)
    output = done("predict", "run", fresh, "--output", "labels.csv")
    assert len(rows_of("labels.csv")) == 30, output
