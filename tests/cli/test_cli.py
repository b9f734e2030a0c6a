"""The command line, as its user has it: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rich.console
import tomli_w
from click.testing import CliRunner
from support.command_line import answered, cli, clusters, done, refused, settings_in, small_cifar10

import twolayer
from twolayer import datasets, presets, storage
from twolayer.checkpoints import load_run
from twolayer.cli import console, devices, errors, info, job, options, run_folder
from twolayer.cli.commands import app
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.report.certainty import certainty_in_words, grid_end_in_words, grid_ends
from twolayer.report.tables import format_difference, winner

PNG = b"\x89PNG\r\n\x1a\n"
TRAIN_FILES = {
    *("network.safetensors", "checkpoint.safetensors", "settings.toml", "results.json", "results.csv"),
    *("history.json", "history.csv", "steps.csv", "predictions.npz"),
    *("curves.png", "weights.png", "confusion.png"),
}
PICTURES = {"curves.png", "grid.png", "weights.png", "confusion.png"}
SWEEP_FILES = TRAIN_FILES - {"checkpoint.safetensors"} | {"runs.csv", "grid.png"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for each test: without --out, results go below the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures() -> None:
    """Have pictures drawn, which takes most of the time of a small run."""


@pytest.fixture(autouse=True)
def no_pictures_unless_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def rows_of(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path | str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


@pytest.fixture
def npz(elsewhere: Path) -> Path:
    return clusters(elsewhere / "mine.npz")


QUICK = ("--epochs", 2, "--hidden", 8, "--quiet")


# What train leaves


def test_train_writes_a_whole_run(pictures: None) -> None:
    output = done("train", "--epochs", 4, "--out", "run")
    assert files_in("run") == TRAIN_FILES
    for name in ("curves", "weights", "confusion"):
        assert Path(f"run/{name}.png").read_bytes().startswith(PNG)
    results, settings = read("run/results.json"), settings_in("run")
    assert results["complete"] is True
    assert results["n_steps"] == 4 * 22
    assert results["test"]["n_samples"] == 400
    assert sum(results["test"]["confusion"]["counts"]) == 400
    assert (settings["dataset"], settings["seed"], settings["epochs"]) == ("digits", 0, 4)
    assert [int(row["epoch"]) for row in rows_of("run/history.csv")] == [1, 2, 3, 4]
    assert len(rows_of("run/steps.csv")) == 88
    (row,) = rows_of("run/results.csv")
    assert float(row["test_accuracy"]) == results["test"]["accuracy"] > 0.8
    assert "8×8 pixels, 10 classes" in output
    assert re.search(r"test +400 +0\.9\d\d", output)
    assert "\x1b" not in output


def test_the_network_takes_raw_pixels_and_knows_what_it_is() -> None:
    done("train", "--epochs", 4, "--out", "run", "-q")
    net, metadata = storage.load("run/network.safetensors"), storage.load_metadata("run/network.safetensors")
    digits = datasets.load_digits()
    results = read("run/results.json")
    assert float(net.accuracy(digits.test.X, digits.test.y)) == pytest.approx(results["test"]["accuracy"])
    accuracy = float(net.accuracy(digits.validation.X, digits.validation.y))
    assert accuracy == pytest.approx(results["validation_accuracy"], abs=0.005)
    assert metadata.classes == tuple("0123456789")
    assert metadata.image_shape == (8, 8)
    scaling = Standardizer.fit(digits.train.X)
    assert metadata.preprocessing is not None
    np.testing.assert_allclose(metadata.preprocessing["mean"], scaling.mean)
    assert metadata.preprocessing["scale"] == pytest.approx(scaling.scale[0])
    information = metadata.information
    assert (information["dataset"], information["white"]) == ("digits", 16)
    assert information["validation_accuracy"] == results["validation_accuracy"]
    assert information["settings"]["learning_rate"] == 0.5
    assert "data" not in information["settings"]


def test_train_is_what_the_library_does() -> None:
    done(
        *("train", "--epochs", 3, "--hidden", 7, "--learning-rate", 0.2, "--reg", 0.01, "--batch-size", 40),
        *("--weight-scale", "he", "--learning-rate-decay", 0.9, "--decay-every", 10, "--judge", "last"),
        *("--scale", "feature", "--no-center", "--seed", 5, "--dtype", "float64", "--replacement"),
        *("--out", "run", "-q"),
    )
    digits = datasets.load_digits()
    scaling = Standardizer.fit(digits.train.X, center=False, scale="feature")
    X, X_val = (scaling.apply(part.X, dtype="float64") for part in (digits.train, digits.validation))
    run = twolayer.train(
        twolayer.TwoLayerNet.initialize(64, 7, 10, rng=5, dtype="float64"),
        X,
        digits.train.y,
        validation=(X_val, digits.validation.y),
        learning_rate=0.2,
        reg=0.01,
        batch_size=40,
        epochs=3,
        optimizer=twolayer.optimizers.SGD(),
        schedule=twolayer.schedules.Exponential(0.9, every=10),
        judge="last",
        replacement=True,
        rng=5,
    )
    for found, expected in zip(storage.load("run/network.safetensors"), scaling.fold(run.net), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert read("run/results.json")["validation_accuracy"] == run.validation_accuracy


def test_steps_take_the_place_of_epochs() -> None:
    done("train", "--steps", 30, "--out", "run", "-q")
    assert read("run/results.json")["n_steps"] == 30
    assert "epochs" not in settings_in("run")


def test_a_learning_rate_decay_of_1_leaves_the_learning_rate_as_it_is() -> None:
    done("train", "--epochs", 3, "--learning-rate-decay", 1, "--out", "run", "-q")
    assert {row["learning_rate"] for row in rows_of("run/history.csv")} == {"0.5"}


def test_a_file_without_images_has_no_picture_of_weights(pictures: None, npz: Path) -> None:
    output = done("train", npz, "--epochs", 3, "--out", "run")
    assert files_in("run") == TRAIN_FILES - {"weights.png"}
    assert "6 features, 3 classes" in output
    assert read("run/results.json")["test"]["accuracy"] == 1.0


def test_a_file_without_validation_and_test_samples_of_its_own_gets_them(npz: Path) -> None:
    done("train", npz, *QUICK, "--out", "run")
    assert read("run/results.json")["test"]["n_samples"] == 18


def test_the_best_epoch_is_marked() -> None:
    output = done("train", "--epochs", 20, "--hidden", 10, "--out", "run")
    (marked,) = [line for line in output.splitlines() if "← best" in line]
    step = read("run/results.json")["best_step"]
    assert marked.split()[1] == f"{step:,}"
    assert f"The best network, of step {step:,}" in output


def test_a_run_that_diverges_says_so_and_keeps_no_network(pictures: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", twolayer.DivergenceWarning)
        result = cli("train", "--epochs", 2, "--learning-rate", 1e6, "--out", "run")
    assert result.exit_code == errors.DIVERGED
    assert re.search(r"Error: the network diverged: from step \d+ on its loss is not finite", result.output)
    assert "network.safetensors" not in files_in("run")
    assert {"history.csv", "results.json", "curves.png"} <= files_in("run")
    assert read("run/results.json")["diverged"] > 0
    assert "diverged at step" in refused("train", "--resume", "run", "--epochs", 5)


def test_a_network_for_features_too_far_from_0_for_float32_is_saved_in_float64(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    np.savez("far.npz", X=1e9 + y[:, None] + 0.1 * rng.normal(size=(300, 4)), y=y)
    output = done("train", "far.npz", "--epochs", 30, "--out", "run32")
    assert "The saved network is in float64, as it takes samples as they are: feature" in output
    assert "Warning" not in output
    assert read("run32/results.json")["test"]["accuracy"] == 1.0
    assert storage.load("run32").W1.dtype == np.float64
    assert answered("evaluate", "run32", "far.npz", "--split", "all")[1]["accuracy"] > 0.99
    done("train", "far.npz", "--epochs", 30, "--dtype", "float64", "--out", "run64")
    assert read("run64/results.json")["test"]["accuracy"] == 1.0
    # As on a device without float64:
    monkeypatch.setattr(job, "has_float", lambda name, **place: False)
    output = done("train", "far.npz", "--epochs", 30, "--out", "lost")
    assert "Warning: the saved network, into whose weights the preprocessing is folded, has too few" in output
    assert "rounding it to float32 changes its preprocessed values" in output
    assert read("lost/results.json")["validation_accuracy"] == 1.0  # of the network before it is folded


@pytest.mark.parametrize("augmentation", [("--mixup", 0.1), ("--shift", 1)])
def test_images_too_far_from_0_for_float32_are_augmented_in_float64(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, augmentation: tuple[object, ...]
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    np.savez("far.npz", X=1e9 + y[:, None, None] + 0.1 * rng.normal(size=(300, 4, 4)), y=y)
    arguments = ("train", "far.npz", "--epochs", 30, *augmentation)
    done(*arguments, "--out", "run32")
    assert read("run32/results.json")["validation_accuracy"] == 1.0
    monkeypatch.setattr(job, "has_float", lambda name, **place: False)
    line = refused(*arguments)
    assert "`--dtype` must be float64 where samples so far from 0 are augmented: feature" in line


def test_without_matplotlib_there_are_results_but_no_pictures(
    pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = done("train", *QUICK, "--out", "run")
    assert "Warning: there are no pictures: Drawing needs matplotlib" in output
    assert files_in("run") == {name for name in TRAIN_FILES if not name.endswith("png")}


@pytest.mark.parametrize(
    "drawn_by", ["module://no_such_package_here.backend_inline", "no such backend", "inline", "qtagg", ""]
)
def test_the_backend_of_the_environment_does_not_matter(drawn_by: str) -> None:
    found = started("train", *map(str, QUICK), "--json", "--out", "run", environment={"MPLBACKEND": drawn_by})
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["complete"] is True
    assert files_in("run") == TRAIN_FILES
    for command in ("plot", "report"):
        found = started(command, "run", environment={"MPLBACKEND": drawn_by})
        assert (found.returncode, found.stderr) == (0, "")


def test_matplotlib_is_left_with_the_backend_of_the_environment() -> None:
    script = """
from twolayer.plotting import _matplotlib
_matplotlib.load_without_backend()
import os, matplotlib
assert os.environ["MPLBACKEND"] == matplotlib.get_backend() == "svg"
"""
    found = started(script=script, environment={"MPLBACKEND": "svg"})
    assert found.returncode == 0, found.stderr


def test_characters_that_the_font_lacks_are_named_once(pictures: None) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")
    names = ["健康对照", "健康", "US$"]
    np.savez("mine.npz", X=np.random.default_rng(0).random((60, 4)), y=[names[i % 3] for i in range(60)])
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}):
        for command in (("train", "mine.npz", *QUICK, "--out", "run"), ("plot", "run", "--format", "svg")):
            warned = [line for line in done(*command).splitlines() if line.startswith("Warning")]
            (line,) = warned
            assert "their font, DejaVu Sans, lacks: " in line
            assert sorted(line.split("lacks: ")[1].split("; name")[0].split()) == sorted(set("健康对照"))
            assert "`font.family`" in line
    np.savez("many.npz", X=np.eye(60), y=[chr(0x4E00 + i % 20) for i in range(60)])
    assert " and 10 more; name a font" in done("train", "many.npz", *QUICK, "--out", "other")


@pytest.mark.parametrize("raised", ["ValueError", "RuntimeError", "OSError", "AttributeError", "SystemError"])
def test_whatever_importing_matplotlib_raises_there_are_results(elsewhere: Path, raised: str) -> None:
    package = elsewhere / "packages" / "matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise {raised}('as its settings are')\n", encoding="utf-8")
    path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = started("train", *map(str, QUICK), "--out", "run", environment={"PYTHONPATH": path})
    assert found.returncode == 0, found.stderr
    assert found.stderr == (
        "Warning: there are no pictures: Drawing needs matplotlib, whose import failed "
        f"({raised}: as its settings are)\n"
    )
    assert files_in("run") == {name for name in TRAIN_FILES if not name.endswith("png")}


def test_a_broken_threadpoolctl_changes_nothing(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    (elsewhere / "threadpoolctl.py").write_text("raise OSError('no such library')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    done("train", *QUICK, "--out", "run")
    assert files_in("run") == {name for name in TRAIN_FILES if not name.endswith("png")}
    assert "NumPy" in done("info")


# What sweep leaves


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


def test_a_sweep_says_how_sure_it_is() -> None:
    grid = ("--learning-rate", "0.01,0.3,0.6", "--reg", "0,1e-4")
    output = done("sweep", *QUICK, *grid, "--seeds", 3, "--out", "run")
    results = read("run/results.json")
    assert "behind the best: mean over seeds in pairs ± 95 % margin; ≈ best: may be as good" in output
    best = winner(results["table"])
    close = [row for row in results["table"] if row["within_noise"] and row is not best]
    far = [row for row in results["table"] if row["within_noise"] is False]
    assert close
    assert far
    assert output.count("≈ best") == len(close) + 1  # and in the title
    for row in close:
        assert re.search(rf" {format_difference(row)}  +≈ best", output)
    for sentence in certainty_in_words(results["table"], 300):
        assert f"\n{sentence}\n" in output
    assert results["grid_ends"] == grid_ends(results["table"]) != []
    for end in results["grid_ends"]:
        assert f"\n{grid_end_in_words(end)}\n" in output


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
    table = output[output.index("Candidates, mean") : output.index("validation samples know")]
    lines = [line for line in table.splitlines() if re.search(r"\d\.\d{3} ± ", line)]
    assert all(len(line) <= 80 for line in table.splitlines()[:-1] if not line.startswith("Cannot be"))
    # Nothing is broken within: each candidate is one line.
    assert all(re.findall(r" ± (\S+)", line) for line in lines)
    assert not re.search(r" ±\s*\n", table)
    assert "learning" in table
    assert "batch" not in table


def test_the_digits_are_told_apart_by_the_sweep_that_stands_in_the_readme() -> None:
    output = done("sweep", "--seeds", 1, "--learning-rate", 1, "--out", "run")
    assert read("run/results.json")["test"]["accuracy"] >= 0.96, output


def test_a_row_of_a_sweep_is_what_train_gives() -> None:
    done("sweep", *QUICK, "--learning-rate", "0.1,0.3", "--reg", "0,0.01", "--seeds", "4,9", "--out", "sweep")
    best = read("sweep/results.json")["best"]
    chosen = ("--learning-rate", best["learning_rate"], "--reg", best["reg"], "--seed", best["seed"])
    done("train", *QUICK, *chosen, "--out", "train")
    for found, expected in zip(
        storage.load("sweep/network.safetensors"), storage.load("train/network.safetensors"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        (("--seeds", "2"), [0, 1]),
        (("--seeds", "5,3"), [5, 3]),
        (("--seeds", "7,"), [7]),
        (("--seed", "4", "--seeds", "2"), [4, 5]),
        (("--seed", "4"), [4, 5, 6]),
        ((), [0, 1, 2]),
    ],
)
def test_seeds_are_a_number_of_them_or_the_seeds_themselves(given: tuple[str, ...], seeds: list[int]) -> None:
    done("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0, *given, "--out", "run")
    assert settings_in("run")["seeds"] == seeds
    assert [int(run["seed"]) for run in rows_of("run/runs.csv")] == seeds


def test_diverged_candidates_are_named_with_the_steps() -> None:
    output = done("sweep", *QUICK, "--learning-rate", "0.1,1e6", "--reg", 0, "--seeds", 2, "--out", "run")
    steps = [run["diverged"] for run in read("run/results.json")["runs"] if run["diverged"]]
    (line,) = [line for line in output.splitlines() if line.strip().startswith("1e6")]
    first, last = min(steps), max(steps)
    assert (f" step {first} " if first == last else f" steps {first}–{last} ") in line


def test_a_sweep_that_only_diverges_keeps_its_table_and_fails(pictures: None) -> None:
    result = cli("sweep", *QUICK, "--learning-rate", "1e6,1e7", "--reg", 0, "--out", "run")
    assert result.exit_code == errors.DIVERGED
    assert "Error: every network diverged" in result.output
    assert files_in("run") == {"settings.toml", "results.json", "results.csv", "runs.csv", "grid.png"}


def test_a_sweep_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ("--learning-rate", "0.1,0.3", "--reg", "0,0.01", "--seeds", 1)
    for name, more in (("whole", ()), ("parts", ("--max-networks", 1))):
        done("sweep", *QUICK, *grid, *more, "--out", name)
    whole, parts = (read(f"{name}/results.json")["table"] for name in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert one["validation_accuracy"] == pytest.approx(other["validation_accuracy"], abs=0.01)


# Where it goes


def test_a_fresh_folder_is_found_where_none_is_named() -> None:
    for _ in range(2):
        done("train", *QUICK)
    done("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0)
    assert files_in("runs") == {"digits-train-001", "digits-train-002", "digits-sweep-001"}


def test_a_run_is_not_overwritten_unasked() -> None:
    done("train", *QUICK, "--out", "run")
    before = Path("run/network.safetensors").read_bytes()
    line = refused("train", *QUICK, "--seed", 1, "--out", "run")
    assert "`--out` must be a new or an empty folder; run holds a run" in line
    assert "--overwrite" in line
    assert Path("run/network.safetensors").read_bytes() == before


def test_overwrite_replaces_a_run_and_nothing_else(pictures: None) -> None:
    done("sweep", *QUICK, "--learning-rate", "0.1,0.2", "--reg", 0, "--out", "run")
    Path("run/notes.txt").write_text("mine")
    done("train", *QUICK, "--out", "run", "--overwrite")
    assert files_in("run") == TRAIN_FILES | {"notes.txt"}


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_an_output_folder_that_cannot_be_made_is_refused(elsewhere: Path, command: str) -> None:
    Path("file").write_text("")
    line = refused(command, *QUICK, "--out", "file/run")
    assert "the output folder cannot be made (Not a directory): file/run" in line


def test_an_output_folder_that_is_a_file_is_refused() -> None:
    Path("file").write_text("mine")
    assert "the output folder cannot be made (File exists): file" in refused("train", *QUICK, "--out", "file")
    assert Path("file").read_text() == "mine"


def test_an_output_folder_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_EXCL:
            raise PermissionError(13, "Permission denied")
        return usual(path, flags, mode, **more)

    usual = os.open
    Path("run").mkdir()
    monkeypatch.setattr("os.open", deny)
    line = refused("train", *QUICK, "--out", "run")
    assert "cannot write into the folder of settings.toml (Permission denied): run" in line


def test_a_run_that_fails_at_once_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise MemoryError("9 GiB")

    monkeypatch.setattr("twolayer.cli.train.train", fail)
    assert "there is not enough memory (9 GiB)" in refused("train", *QUICK, "--out", "run")
    assert not Path("run").exists()


@pytest.mark.parametrize("module", ["torch", "jax.errors", "jaxlib._jax", "cupy_backends.cuda.api.runtime"])
def test_an_error_of_the_device_is_a_line(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    error = type("DeviceError", (Exception,), {"__module__": module})

    def fail(*args: Any, **more: Any) -> Any:
        raise error("CUDA out of memory. Tried to allocate 9 GiB.\nMore, of no use.")

    monkeypatch.setattr("twolayer.cli.train.train", fail)
    monkeypatch.setattr("twolayer.cli.sweep.sweep", fail)
    assert refused("train", *QUICK).endswith(
        "Tried to allocate 9 GiB; what may help: a smaller --batch-size, or another --device"
    )
    assert (
        "; what may help: fewer networks at once with --max-networks, or a smaller --batch-size"
        in refused("sweep", *QUICK)
    )


def test_a_plain_error_of_cuda_is_a_line_and_any_other_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise RuntimeError(message)

    monkeypatch.setattr("twolayer.cli.train.train", fail)
    message = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"
    assert f"Error: {message}; what may help: " in refused("train", *QUICK)
    message = "a fault of the program"
    with pytest.raises(RuntimeError, match=message):
        cli("train", *QUICK)


# Ctrl-C


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have Ctrl-C pressed after a step, once or twice."""

    def at(step: int, *, times: int = 1, stage: int = 1) -> None:
        original = console.Watch.__call__

        def call(self: console.Watch, progress: Any) -> None:
            if (progress.step, progress.stage, progress.epoch_ended) == (step, stage, False):
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            original(self, progress)

        monkeypatch.setattr(console.Watch, "__call__", call)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    yield at
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler


@pytest.mark.parametrize("step", [37, 44])  # within an epoch, and at its end
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(press: Any, step: int) -> None:
    done("train", "--steps", 70, "--hidden", 8, "-q", "--out", "whole")
    press(step)
    result = cli("train", "--steps", 70, "--hidden", 8, "--out", "run")
    assert result.exit_code == 130
    assert (
        f"interrupted at step {step} of 70; `twolayer train --resume run` goes on from there" in result.output
    )
    assert files_in("run") == TRAIN_FILES - PICTURES
    results = read("run/results.json")
    assert (results["complete"], results["n_steps"]) == (False, step)
    assert f"Going on from step {step} of 70" in done("train", "--resume", "run")
    for name in ("network.safetensors", "history.json", "results.csv"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert read("run/results.json")["complete"] is True


def test_interrupted_before_any_validation_there_is_no_network_yet(press: Any) -> None:
    press(3)
    result = cli("train", "--epochs", 2, "--out", "run")
    assert result.exit_code == 130
    assert "network.safetensors" not in files_in("run")
    assert {"checkpoint.safetensors", "history.json", "results.json"} <= files_in("run")


def test_a_second_ctrl_c_aborts_at_once(press: Any) -> None:
    press(3, times=2)
    result = cli("train", "--epochs", 2, "--out", "run")
    assert result.exit_code == 130
    assert "Warning: aborted" in result.output
    assert not Path("run").exists()


def test_an_interrupted_sweep_keeps_what_is_finished(press: Any) -> None:
    press(5, stage=2)
    result = cli("sweep", *QUICK, "--learning-rate", "0.1,0.3", "--reg", 0, "--seeds", 3, "--out", "run")
    assert result.exit_code == 130
    assert "interrupted: 2 of 6 networks are in the tables, those under way as they were" in result.output
    assert "A sweep does not go on from there: `--resume` is of `train` alone" in result.output
    assert "try " not in result.output  # the ends of a grid that was not finished are not known
    assert files_in("run") == SWEEP_FILES - PICTURES
    assert [run["seed"] for run in rows_of("run/runs.csv")] == ["0", "0"]
    assert read("run/results.json")["complete"] is False


def test_an_interrupted_sweep_of_one_stack_keeps_its_networks_as_they_were(press: Any) -> None:
    press(25)  # in the second epoch
    arguments = ("--epochs", 3, "--batch-size", 50, "--learning-rate", "0.1,0.3", "--reg", 0, "--seeds", 1)
    result = cli("sweep", *arguments, "--out", "run")
    assert result.exit_code == 130
    assert "interrupted: 2 of 2 networks are in the tables, those under way as they were" in result.output
    assert files_in("run") == SWEEP_FILES - PICTURES
    assert [run["n_steps"] for run in rows_of("run/runs.csv")] == ["25", "25"]
    assert read("run/results.json")["complete"] is False


def test_a_sweep_that_is_interrupted_at_once_keeps_its_settings(press: Any) -> None:
    press(5)
    result = cli("sweep", *QUICK, "--learning-rate", "0.1,0.3", "--reg", 0, "--out", "run")
    assert result.exit_code == 130
    assert files_in("run") == {"settings.toml", "results.json"}


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_ctrl_c_in_a_terminal(elsewhere: Path) -> None:
    """A real process, a real terminal, and a real signal, sent when the progress bar is there."""
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    command = (sys.executable, "-m", "twolayer", "train", "--epochs", "1000000", "--out", "run")
    # As in a terminal of its own: where Ctrl-C is ignored here, it would be in the process too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True
    )
    signal.signal(signal.SIGINT, before)
    os.close(slave)
    shown = b""
    pressed = False
    try:
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
            if not pressed and b"best validation accuracy" in shown:
                process.send_signal(signal.SIGINT)
                pressed = True
        assert process.wait() == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    assert b"\x1b[" in shown
    assert re.search(r"epoch \d+ of 1000000, best validation accuracy 0\.\d{3}", text)
    assert re.search(r"interrupted at step [\d,]+ of 22,000,000", text)
    assert files_in("run") >= TRAIN_FILES


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Have everything written to a terminal that remembers it."""
    written = io.StringIO()
    monkeypatch.setattr(
        console,
        "_rich_console",
        lambda *, stderr: rich.console.Console(file=written, force_terminal=True, width=120),
    )
    return written


def test_a_terminal_gets_a_bar_and_colours(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_REFRESH_SECONDS", 0.0)
    done("train", *QUICK[:-1], "--out", "run")
    text = terminal.getvalue()
    assert "━" in text
    assert re.search(r"epoch 2 of 2, best validation accuracy 0\.\d{3}", text)
    assert "\x1b[1;32m" in text


def test_quiet_shows_no_bar(terminal: io.StringIO) -> None:
    done("train", *QUICK, "--out", "run")
    assert "━" not in terminal.getvalue()


def test_a_terminal_gets_a_bar_of_a_download(terminal: io.StringIO) -> None:
    with console.Console().download("data") as progress:
        progress.update(3)  # nothing to show yet
        assert terminal.getvalue() == ""
        progress.total = 2**20
        progress.update(2**19)
        progress.reset()
        progress.update(2**20)
        progress.total = 2**20
        progress.close()
    assert re.search(r"Downloading data.*1\.0/1\.0 MB", terminal.getvalue())


def test_outside_of_the_main_thread_ctrl_c_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work() -> None:
        with console.Console(quiet=True).watch("Training"):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


# Going on


def test_a_finished_run_is_trained_longer_with_a_new_total() -> None:
    done("train", "--epochs", 4, "--hidden", 8, "-q", "--out", "whole")
    done("train", "--epochs", 2, "--hidden", 8, "-q", "--out", "run")
    assert "has taken 44 steps already, of the 44 that it is to take" in refused("train", "--resume", "run")
    done("train", "--resume", "run", "--epochs", 4)
    for name in ("network.safetensors", "history.json", "settings.toml"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name


@pytest.mark.parametrize("length", [("--epochs", 3), ("--steps", 66)])
def test_a_new_total_takes_the_place_of_the_old_one(length: tuple[str, int]) -> None:
    for old in (("--epochs", 2), ("--steps", 44)):
        done("train", *old, "--hidden", 8, "-q", "--out", "run", "--overwrite")
        done("train", "--resume", "run", *length)
        assert read("run/results.json")["n_steps"] == 66


def test_resume_takes_no_other_settings() -> None:
    done("train", *QUICK, "--out", "run")
    line = refused("train", "--resume", "run", "--reg", 0.1, "--hidden", 9, code=2)
    assert "--resume goes on with the run's own settings: leave out --reg, --hidden" in line


def test_resume_needs_the_same_data(npz: Path) -> None:
    done("train", npz, *QUICK, "--out", "run")
    clusters(npz, seed=1)
    line = refused("train", "--resume", "run", "--epochs", 5)
    assert (
        "`--resume`, and a `--config` with `data_sha256`, must be given the data of that run; got others"
        in line
    )


def test_resume_needs_a_training(elsewhere: Path) -> None:
    done("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0, "--out", "run")
    assert "`--resume` must be the folder of a training; run/settings.toml is not of `train`" in refused(
        "train", "--resume", "run"
    )


def test_resume_needs_a_run() -> None:
    assert "`--resume` must be the folder of a run; none does not exist" in refused(
        "train", "--resume", "none"
    )
    Path("empty").mkdir()
    assert "empty must be the folder of a run; it holds no settings.toml" in refused(
        "train", "--resume", "empty"
    )


def test_resume_needs_a_checkpoint() -> None:
    done("train", *QUICK, "--out", "run")
    Path("run/checkpoint.safetensors").unlink()
    assert "run must hold checkpoint.safetensors to go on from" in refused("train", "--resume", "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "settings.toml must be a TOML file in UTF-8; Invalid"),
        ("", "must be the folder of a training"),
        ('command = "train"', "settings.toml must hold `dataset`; it is missing"),
    ],
)
def test_resume_needs_whole_settings(content: str, message: str) -> None:
    done("train", *QUICK, "--out", "run")
    Path("run/settings.toml").write_text(content)
    assert message in refused("train", "--resume", "run")


# What a process that was killed leaves is gone on with. (Whole processes are killed in test_killed.py.)


def same_results(*names: str) -> None:
    for name in names or ("network.safetensors", "history.json", "results.csv", "settings.toml"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_a_training_that_was_killed_before_its_first_checkpoint_begins_anew() -> None:
    done("train", *QUICK, "--out", "whole")
    Path("run").mkdir()
    shutil.copy("whole/settings.toml", "run")
    assert "Going on from step 0 of 44" in done("train", "--resume", "run")
    same_results()


@pytest.mark.parametrize("left", [(), ("network.safetensors", "history.json"), ("results.csv",)])
def test_a_training_that_was_killed_before_its_results_were_written_is_finished(
    left: tuple[str, ...],
) -> None:
    done("train", *QUICK, "--out", "whole")
    Path("run").mkdir()
    for name in ("settings.toml", "checkpoint.safetensors", *left):
        shutil.copy(f"whole/{name}", "run")
    assert "Going on from step 44 of 44" in done("train", "--resume", "run")
    same_results()
    assert "has taken 44 steps already, of the 44 that it is to take" in refused("train", "--resume", "run")


def test_a_longer_training_that_was_killed_before_its_results_were_written_is_finished() -> None:
    done("train", *QUICK, "--out", "whole")
    done("train", *QUICK, "--out", "run")
    done("train", "--resume", "whole", "--epochs", 3)
    # The results are those of two epochs still.
    for name in ("settings.toml", "checkpoint.safetensors"):
        shutil.copy(f"whole/{name}", "run")
    done("train", "--resume", "run")
    same_results()


def test_what_was_half_written_is_removed() -> None:
    done("train", *QUICK, "--out", "run")
    half = Path("run/.checkpoint.safetensors.0123abcd")
    for arguments in (("--resume", "run", "--epochs", 3), (*QUICK, "--out", "run", "--overwrite")):
        half.write_bytes(b"half")
        done("train", *arguments)
        assert not half.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--checkpoint-steps", 15), [15, 30, 44, 44]),
        (("--checkpoint-steps", 15, "--checkpoint-seconds", 1e6), [15, 30, 44, 44]),
        (("--checkpoint-seconds", 1e6), [44, 44]),
        ((), [44, 44]),
    ],
)
def test_checkpoints_are_written_as_often_as_was_asked(
    monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], expected: list[int]
) -> None:
    from twolayer.training import checkpoint

    saved: list[int] = []

    def save_run(run: Any, path: Path, **more: Any) -> None:
        saved.append(run.n_steps)
        original(run, path, **more)

    original = checkpoint.save_run
    monkeypatch.setattr(checkpoint, "save_run", save_run)
    monkeypatch.setattr("twolayer.cli.train.save_run", save_run)
    done("train", *QUICK, *options, "--out", "run")
    assert saved == expected
    saved.clear()
    done("train", "--resume", "run", "--epochs", 4, "--checkpoint-steps", 20)
    assert saved == [64, 84, 88, 88]


@pytest.mark.parametrize("flip", ["--flip", "--no-flip"])
def test_a_training_goes_on_with_the_preprocessing_that_it_began_with(
    monkeypatch: pytest.MonkeyPatch, flip: str
) -> None:
    """To fit it again on another machine may round otherwise."""
    done("train", *QUICK, "--whiten", "pca", "--components", 20, flip, "--out", "whole", "--epochs", 3)
    done("train", *QUICK, "--whiten", "pca", "--components", 20, flip, "--out", "run")
    assert isinstance(load_run("run/checkpoint.safetensors").preprocessing, Whitener)

    def refuse(*_: object) -> None:
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(job, "preprocessing_for", refuse)
    done("train", "--resume", "run", "--epochs", 3)
    same_results()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learning_rate": "fast"},
            "`learning_rate` in run/settings.toml must be a number above 0; got 'fast'",
        ),
        ({"learning_rate": -1}, "`learning_rate` in run/settings.toml must be a number above 0; got '-1'"),
        (
            {"learning_rate": [0.1]},
            "`learning_rate` in run/settings.toml must be a number or text; got [0.1]",
        ),
        (
            {"batch_size": 2.5},
            "`batch_size` in run/settings.toml must be an integer of at least 1; got '2.5'",
        ),
        ({"batch_size": None}, "run/settings.toml must hold `batch_size`; it is missing"),
        ({"batch_size": True}, "`batch_size` in run/settings.toml must be a number or text; got True"),
        ({"flip": 1}, "`flip` in run/settings.toml must be true or false; got 1"),
        (
            {"optimizer": "lbfgs"},
            "`optimizer` in run/settings.toml must be one of nesterov, momentum, sgd, adam, adamw; got",
        ),
        ({"steps": 5}, "must hold either `epochs` or `steps`; got both or neither"),
        ({"epochs": None}, "must hold either `epochs` or `steps`; got both or neither"),
        ({"dataset": 3}, "`dataset` in run/settings.toml must be text; got int"),
        ({"data_sha256": 3}, "`data_sha256` in run/settings.toml must be text; got int"),
        ({"n_hidden": 9}, "checkpoint.safetensors must have `n_hidden` 9, as its settings say; got 8"),
        ({"networks": 2}, "checkpoint.safetensors must have `networks` 2, as its settings say; got 1"),
        ({"learning_rate": 0.25}, "`learning_rate` must be the run's, 0.5; got 0.25"),
        ({"optimizer": "adam"}, "`optimizer` must be the run's, whose state has 0 moments; got one with 2"),
        ({"seed": 1}, "`rng` must be left out or be the run's seed, 0, to go on with it"),
    ],
)
def test_settings_that_were_changed_by_hand_are_refused(changes: dict[str, Any], message: str) -> None:
    done("train", *QUICK, "--out", "run")
    before = files_in("run")
    stored = settings_in("run") | {"epochs": 3} | changes
    kept = {name: value for name, value in stored.items() if value is not None}
    Path("run/settings.toml").write_text(tomli_w.dumps(kept), encoding="utf-8")
    assert message in refused("train", "--resume", "run").replace("\\", "/")
    assert files_in("run") == before


# Using a network


def test_evaluate_repeats_what_train_found() -> None:
    done("train", "--epochs", 4, "--out", "run", "-q")
    results = read("run/results.json")
    output = done("evaluate", "run")
    assert "digits: 400 test samples" in output
    assert f"accuracy {results['test']['accuracy']:.4f}, loss {results['test']['loss']:.4f}" in output
    assert len(re.findall(r"^  \d +\d+ +[\d.]+ +[\d.]+ +[\d.]+", output, re.M)) == 10
    net = storage.load("run/network.safetensors")
    digits = datasets.load_digits()
    for split, samples in (("validation", digits.validation), ("train", digits.train)):
        accuracy = float(net.accuracy(samples.X, samples.y))
        output = done("evaluate", "run/network.safetensors", "digits", "--split", split)
        assert f"accuracy {accuracy:.4f}" in output


def test_evaluate_in_blocks_is_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    done("train", *QUICK, "--out", "run")
    whole = done("evaluate", "run")
    monkeypatch.setattr("twolayer._validation.BLOCK_ELEMENTS", 64 * 30)
    assert done("evaluate", "run") == whole


def test_evaluate_on_a_file(npz: Path) -> None:
    done("train", npz, "--epochs", 5, "--out", "run", "-q")
    assert re.search(r"accuracy (0\.9|1\.0)", done("evaluate", "run", npz, "--split", "train"))
    assert "mine.npz, a file of its user's" in refused("evaluate", "run")


@pytest.fixture
def trained(npz: Path) -> Path:
    done("train", npz, *QUICK, "--out", "run")
    return Path("run")


def test_a_network_for_other_features_is_refused(trained: Path) -> None:
    assert "the network takes samples of 6 features; those of digits have 64" in refused(
        "evaluate", trained, "digits"
    )


def test_a_network_for_another_number_of_classes_is_refused() -> None:
    storage.save(twolayer.TwoLayerNet.initialize(64, 5, 3, rng=0), "three.safetensors")
    assert "the network tells 3 classes apart; digits has 10" in refused(
        "evaluate", "three.safetensors", "digits"
    )


def test_a_network_for_other_classes_is_refused() -> None:
    net = twolayer.TwoLayerNet.initialize(64, 5, 10, rng=0)
    storage.save(net, "turned.safetensors", classes=list("0213456789"))
    assert (
        "the network's classes must be those of digits, in the same order; it has '2' where digits has '1'"
        in refused("evaluate", "turned.safetensors", "digits")
    )


def test_a_set_that_the_data_lack_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = datasets.load_digits()
    monkeypatch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, test=None))
    done("train", *QUICK, "--out", "untested")
    assert "test" not in read("untested/results.json")
    assert "`--split` must be one that digits has; it has no test samples" in refused("evaluate", "untested")


def test_a_sweep_needs_validation_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = datasets.load_digits()
    monkeypatch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, validation=None))
    assert "a sweep must have validation samples to choose by; digits has none" in refused("sweep", *QUICK)
    output = done("train", "--epochs", 2, "--hidden", 8, "--out", "run")
    assert "The last network, of step 44" in output


def test_evaluate_needs_a_network(elsewhere: Path, npz: Path) -> None:
    assert "No such file or directory: none.safetensors" in refused("evaluate", "none.safetensors")
    assert "must be the folder of a run; it holds no network.safetensors" in refused("evaluate", elsewhere)
    Path("short.safetensors").write_bytes(b"short")
    assert "must be a safetensors file; it is truncated" in refused("evaluate", "short.safetensors")
    line = refused("evaluate", npz)
    assert "`NETWORK`, which comes first, must be a .safetensors file or the folder of a run; got" in line


def test_a_stack_is_refused() -> None:
    net = twolayer.TwoLayerNet.initialize(64, 5, 10, rng=0)
    storage.save(twolayer.stack([net, net]), "stack.safetensors")
    assert "must hold one network; it holds a stack of 2" in refused(
        "evaluate", "stack.safetensors", "digits"
    )


def test_a_network_that_does_not_say_what_it_was_trained_on_needs_a_data_set() -> None:
    storage.save(twolayer.TwoLayerNet.initialize(64, 5, 10, rng=0), "net.safetensors")
    assert "`DATASET` must be given" in refused("evaluate", "net.safetensors")
    assert "accuracy 0." in done("evaluate", "net.safetensors", "digits")


@pytest.fixture
def of_digits() -> Path:
    done("train", "--epochs", 6, "--out", "run", "-q")
    return Path("run")


def test_predict_gives_classes_and_probabilities(of_digits: Path) -> None:
    X = datasets.load_digits().test.X[:30]
    probs = storage.load("run/network.safetensors").predict_proba(X)
    np.save("some.npy", X)
    np.savez("some.npz", X=X)
    output = done("predict", of_digits, "some.npy")
    assert "and 10 more; --output FILE writes all" in output
    lines = [line.split() for line in output.splitlines() if re.match(r"^  \d", line)]
    assert [int(line[1]) for line in lines] == probs[:20].argmax(axis=1).tolist()
    assert [float(line[2]) for line in lines] == pytest.approx(probs[:20].max(axis=1), abs=1e-4)
    assert done("predict", of_digits / "network.safetensors", "some.npz") == output


def test_predict_gives_the_top_classes(of_digits: Path) -> None:
    X = datasets.load_digits().test.X[:2]
    probs = storage.load("run/network.safetensors").predict_proba(X)
    np.save("some.npy", X)
    output = done("predict", of_digits, "some.npy", "--top", 3)
    lines = [line.split() for line in output.splitlines() if re.match(r"^  [\d ] +\d", line)]
    assert [int(line[-2]) for line in lines] == np.argsort(-probs)[:, :3].ravel().tolist()
    assert [line[0] for line in lines if len(line) == 3] == ["0", "1"]
    assert len(re.findall(r"0\.\d{4}", done("predict", of_digits, "some.npy", "--top", 99))) == 20


def test_predict_writes_files(of_digits: Path) -> None:
    X = datasets.load_digits().test.X[:30]
    probs = storage.load("run/network.safetensors").predict_proba(X)
    np.save("some.npy", X)
    for suffix in ("csv", "json", "npz"):
        output = done("predict", of_digits, "some.npy", "--output", f"out.{suffix}")
        assert f"In out.{suffix}: the probabilities of 30 samples" in output
    rows = rows_of("out.csv")
    assert [row["class"] for row in rows] == [str(label) for label in probs.argmax(axis=1)]
    np.testing.assert_allclose([float(row["7"]) for row in rows], probs[:, 7], rtol=1e-6)
    stored = read("out.json")
    assert stored["classes"] == list("0123456789")
    np.testing.assert_allclose([one["probabilities"] for one in stored["predictions"]], probs, rtol=1e-6)
    with np.load("out.npz") as arrays:
        np.testing.assert_allclose(arrays["probabilities"], probs, rtol=1e-6)
        assert arrays["predicted"].tolist() == probs.argmax(axis=1).tolist()
    assert "`--output` must end in .csv or .json or .npz; got out.txt" in refused(
        "predict", of_digits, "some.npy", "--output", "out.txt"
    )


def test_predict_reads_images(of_digits: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
    test = datasets.load_digits().test
    net = storage.load("run/network.safetensors")
    predicted, probs = net.predict(test.X[:4]), net.predict_proba(test.X[:4])
    for i, pixels in enumerate(test.X[:4]):
        grey = np.round(pixels * (255 / 16)).astype(np.uint8)
        image.fromarray(grey).save(f"{i}.png")
        image.fromarray(255 - grey).convert("RGB").save(f"inverted{i}.png")
    output = done("predict", of_digits, *(f"{i}.png" for i in range(4)))
    lines = [line.split() for line in output.splitlines() if ".png" in line]
    assert [line[0] for line in lines] == ["0.png", "1.png", "2.png", "3.png"]
    assert [int(line[1]) for line in lines] == predicted.tolist()
    # 255 grey levels are not a multiple of 16.
    assert [float(line[2]) for line in lines] == pytest.approx(probs.max(axis=1), abs=0.01)
    inverted = done("predict", of_digits, *(f"inverted{i}.png" for i in range(4)), "--invert")
    assert [line.split()[1:] for line in inverted.splitlines() if ".png" in line] == [
        line[1:] for line in lines
    ]


def test_images_that_do_not_fit_are_refused(of_digits: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
    image.new("L", (9, 8)).save("wide.png")
    Path("broken.png").write_bytes(PNG + b"no more")
    assert (
        "wide.png must have 8×8 pixels, as the images that the network was trained on; it has 9×8"
        in refused("predict", of_digits, "wide.png")
    )
    assert "broken.png must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read" in refused(
        "predict", of_digits, "broken.png"
    )
    assert "No such file or directory: none.png" in refused("predict", of_digits, "none.png")


def test_images_of_more_than_bytes_or_with_transparency_are_refused(of_digits: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    plain = image.fromarray(grey)
    plain.save("plain.png")
    half = image.merge("LA", (plain, image.new("L", (8, 8), 128)))
    for name, refusable, mode in (
        ("deep", image.fromarray(grey.astype(np.uint16) * 257), "I;16"),
        ("half", half, "LA"),
        ("halfcolour", half.convert("RGBA"), "RGBA"),
    ):
        refusable.save(f"{name}.png")
        assert (
            f"{name}.png must be an 8-bit greyscale or colour image without transparency; got mode {mode}"
            in refused("predict", of_digits, f"{name}.png")
        )
    plain.convert("P").save("clear.png", transparency=0)
    assert "without transparency; got mode P" in refused("predict", of_digits, "clear.png")
    plain.convert("P").save("palette.png")
    plain.convert("LA").save("opaque.png")
    plain.convert("RGBA").save("opaquecolour.png")
    output = done("predict", of_digits, "plain.png", "palette.png", "opaque.png", "opaquecolour.png")
    lines = [line.split()[1:] for line in output.splitlines() if ".png" in line]
    assert len(lines) == 4
    assert all(line == lines[0] for line in lines)


def test_a_network_that_was_not_trained_on_images_takes_none(trained: Path) -> None:
    Path("any.png").write_bytes(PNG)
    assert "the network was not trained on images of a known range" in refused("predict", trained, "any.png")


@pytest.mark.parametrize(
    ("X", "white"),
    [
        (np.zeros((30, 4, 4), np.uint8), 255),
        (np.linspace(0, 1, 480).reshape(30, 4, 4), 1.0),
        (np.linspace(-1, 1, 480).reshape(30, 4, 4), None),
        (np.zeros((30, 16), np.uint8), None),
    ],
)
def test_what_is_white_is_known_of_images(X: np.ndarray, white: float | None) -> None:
    np.savez("images.npz", X=X, y=np.arange(30) % 2)
    done("train", "images.npz", *QUICK, "--out", "run")
    assert storage.load_metadata("run/network.safetensors").information["white"] == white


def test_a_file_named_like_a_data_set_is_not_taken_for_it() -> None:
    np.savez("digits.npz", X=np.zeros((30, 4, 4), np.uint8), y=np.arange(30) % 2)
    done("train", "digits.npz", *QUICK, "--out", "run")
    information = storage.load_metadata("run/network.safetensors").information
    assert (information["dataset"], information["white"]) == ("digits.npz", 255)
    assert "`DATASET` must be given: the network was trained on digits.npz" in refused("evaluate", "run")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b"PK\x03\x04"), "must be an .npz file with arrays; it is truncated, empty"),
        (lambda p: p.write_text("1,2,3"), "must be an .npz file with arrays; it is truncated, empty or some"),
        (lambda p: np.savez(p, X=np.array([[None]])), "got dtype object, which is stored by pickle"),
        (lambda p: np.savez(p, Z=np.ones(3)), "must hold `X`; it holds Z"),
        (lambda p: np.savez(p, X=np.array(["a"])), "must hold numbers, of shape"),
        (lambda p: np.savez(p, X=np.ones(3)), "must hold numbers, of shape"),
        (lambda p: np.savez(p, X=np.ones((2, 3))), "must have 6 features a sample to fit the network; got 3"),
        (lambda p: np.savez(p, X=np.full((2, 6), np.nan)), "`INPUT` must be finite; got nan"),
    ],
)
def test_input_that_is_not_samples_is_refused(trained: Path, write: Any, message: str) -> None:
    write(Path("input.npz"))
    assert message in refused("predict", trained, "input.npz")


def header_only(shape: tuple[int, ...]) -> bytes:
    """The header of an array of float64, and none of its values."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(("shape", "found"), [((10**9, 7), 7), ((3, 10**9), 10**9), ((2, 3, 4), 12)])
@pytest.mark.parametrize("name", ["X.npy", "X.npz"])
def test_features_are_counted_before_samples_are_read(
    trained: Path, name: str, shape: tuple[int, ...], found: int
) -> None:
    Path("X.npy").write_bytes(header_only(shape))
    with zipfile.ZipFile("X.npz", "w") as archive:
        archive.write("X.npy")
    line = refused("predict", trained, name)
    assert line.endswith(f"`INPUT` must have 6 features a sample to fit the network; got {found}")


@pytest.mark.parametrize("key", ["X", "X_test"])
def test_features_are_counted_before_samples_to_evaluate_are_read(trained: Path, key: str) -> None:
    Path("values").write_bytes(header_only((10**9, 7)))
    np.savez("new.npz", **{key.replace("X", "y"): np.zeros(3, int)})
    with zipfile.ZipFile("new.npz", "a") as archive:
        archive.write("values", f"{key}.npy")
    line = refused("evaluate", trained, "new.npz")
    assert line.endswith("the network takes samples of 6 features; those of new have 7")


def test_input_of_other_kinds_is_refused(trained: Path) -> None:
    np.save("X.npy", np.ones((2, 6)))
    assert "`INPUT` must be an .npz or .npy file, or images, in files or folders; got a.svg" in refused(
        "predict", trained, "a.svg"
    )
    assert "got new.csv; of a table, pandas makes one: numpy.save(" in refused("predict", trained, "new.csv")
    assert "got several files" in refused("predict", trained, "X.npy", "X.npy")
    assert "`--invert` must be left out but for image files" in refused(
        "predict", trained, "X.npy", "--invert"
    )


def test_plot_draws_again_from_the_files(pictures: None) -> None:
    done("sweep", *QUICK, "--learning-rate", "0.1,1e6", "--reg", "0,0.01", "--out", "run")
    pictures = {name for name in SWEEP_FILES if name.endswith(".png")}
    before = {name: Path("run", name).read_bytes() for name in pictures}
    for name in pictures:
        Path("run", name).unlink()
    assert set(done("plot", "run").split()) == {str(Path("run", name)) for name in pictures}
    assert {name: Path("run", name).read_bytes() for name in pictures} == before
    done("plot", "run", "--format", "svg")
    assert {name.replace("png", "svg") for name in pictures} <= files_in("run")
    assert "<svg" in Path("run/grid.svg").read_text(encoding="utf-8")


def test_plot_draws_a_diverged_run(pictures: None) -> None:
    cli("train", *QUICK, "--learning-rate", 1e6, "--out", "run")
    assert done("plot", "run").split() == [str(Path("run/curves.png"))]


def test_plot_needs_a_run(pictures: None, elsewhere: Path) -> None:
    Path("empty").mkdir()
    assert "empty must be the folder of a run; it holds no results.json" in refused("plot", "empty")
    assert "Directory 'none' does not exist" in refused("plot", "none", code=2)


@pytest.mark.parametrize("content", ['{"loss": 1}', "[]", '{"loss": ["a"]}'])
def test_plot_needs_a_whole_history(pictures: None, content: str) -> None:
    done("train", *QUICK, "--out", "run")
    Path("run/history.json").write_text(content)
    assert "history.json must h" in refused("plot", "run")


# CIFAR-10 and the assignment


@pytest.fixture
def cifar(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)


def test_train_on_cifar10(pictures: None, cifar: Path) -> None:
    output = done("train", "cifar10", "--data", cifar, "--out", "run")
    assert "cifar10: 150 training, 50 validation, 40 test samples; 32×32×3 pixels, 10 classes" in output
    assert files_in("run") == TRAIN_FILES
    metadata = storage.load_metadata("run/network.safetensors")
    assert metadata.classes is not None
    assert metadata.classes[0] == "airplane"
    assert (metadata.information["n_train"], metadata.information["white"]) == (150, 255)
    assert str(cifar) not in json.dumps(metadata.information)


def test_evaluate_takes_the_parts_that_the_network_was_trained_with(cifar: Path) -> None:
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
    assert "not by the protocol" not in output


def test_the_assignment_over_several_seeds(cifar: Path) -> None:
    output = done(
        "sweep", "--preset", "assignment", "--data", cifar, "--seeds", 2, "--reg", 0.2, "--out", "run"
    )
    assert "3 candidates × 2 seeds" in output
    assert re.search(r"1e-3 +here +– +\d\.\d{3} / \d\.\d{3} ± \d\.\d{3} +–", output)


def test_a_run_goes_on_with_data_that_have_moved(cifar: Path) -> None:
    done("train", "cifar10", "--data", cifar, "--out", "run", "-q")
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


def test_settings_that_leave_the_protocol_are_named(cifar: Path) -> None:
    output = done(
        *("sweep", "--preset", "assignment", "--data", cifar, "--hidden", 5, "--steps", 10),
        *("--learning-rate", "1e-3,5e-4", "--out", "run"),
    )
    assert "Warning: not by the protocol of the preset: hidden units 5, steps 10" in output
    assert re.search(r"5e-4 +here +\d", output)
    assert re.search(r"1e-4 +here +–", output)


def test_an_unknown_preset_is_refused() -> None:
    message = "`--preset` must be one of cpu, no-augmentation, record, assignment; got 'homework'"
    assert message in refused("sweep", "--preset", "homework", code=2)


def test_a_preset_for_other_data_is_refused() -> None:
    line = refused("sweep", "digits", "--preset", "assignment", code=2)
    assert "`--preset` assignment must be used with cifar10; got digits" in line


def test_a_truncated_data_file_is_refused(cifar: Path) -> None:
    file = cifar / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert "data_batch_1.bin must have 122920 bytes" in refused("train", "cifar10", "--data", cifar)


def test_a_folder_without_cifar10_is_refused(elsewhere: Path) -> None:
    Path("empty").mkdir()
    assert "must hold data_batch_1.bin and the other binary files" in refused(
        "train", "cifar10", "--data", "empty"
    )
    assert "`--data` must be a folder or an archive that exists" in refused(
        "train", "cifar10", "--data", "none"
    )


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
    assert "Downloading CIFAR-10 (162 MiB)" in done("train", "cifar10", "--out", "run")
    mirror = "https://example.org/cifar-10-binary.tar.gz"
    assert "Downloading" not in done("train", "cifar10", "-q", "--url", mirror, "--out", "quiet")
    assert urls == [None, mirror]


def test_without_a_network_it_is_said_how_to_do_without() -> None:
    pytest.importorskip("pooch", reason="comes with the extra `data`")
    line = refused("train", "cifar10", "--url", "http://localhost:1/cifar-10-binary.tar.gz")
    assert "CIFAR-10 could not be downloaded from http://localhost:1/" in line
    assert "give `--data`, the path of" in line
    assert "give `--url`" in line


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--learning-rate", -0.1), "'--learning-rate': must be a number above 0; got '-0.1'"),
        (("--learning-rate", "nan"), "must be a number above 0; got 'nan'"),
        (("--learning-rate", "fast"), "must be a number above 0; got 'fast'"),
        (("--learning-rate", "0.1,0.2"), "must be a number above 0; got '0.1,0.2'"),
        (("--reg", -1), "'--reg': must be a number of at least 0; got '-1'"),
        (("--reg", "inf"), "must be a number of at least 0; got 'inf'"),
        (("--batch-size", 0), "'--batch-size': must be an integer of at least 1; got '0'"),
        (("--hidden", 2.5), "'--hidden': must be an integer of at least 1; got '2.5'"),
        (("--epochs", 0), "'--epochs': must be an integer of at least 1; got '0'"),
        (("--seed", -1), "'--seed': must be an integer of at least 0; got '-1'"),
        (("--weight-scale", "xavier"), "must be 'he', or a number above 0; got 'xavier'"),
        (("--scale", 0), "must be 'global', 'feature', 'channel', or a number above 0; got '0'"),
        (("--epochs", 2, "--steps", 2), "--epochs or --steps must be given, not both"),
        (("--library", "matlab"), "'matlab' is not one of 'numpy', 'cupy', 'torch', 'jax'"),
        (("--dtype", "float16"), "'float16' is not one of 'float32', 'float64'"),
        (("--hiden", 3), "No such option"),
    ],
)
def test_a_wrong_option_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    line = refused("train", *arguments, code=2)
    assert message in line
    assert "(see " in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--learning-rate", "0.1,-1"), "'--learning-rate': must be a number above 0; got '-1'"),
        (("--hidden", ","), "must hold at least one value; got none"),
        (("--seeds", 0), "'--seeds': must be an integer of at least 1; got '0'"),
        (("--seeds", "1,x"), "must be an integer of at least 0; got 'x'"),
        (("--seed", 1, "--seeds", "1,2"), "--seed or all --seeds must be given, not both"),
        (("--epochs", 2, "--steps", 2), "--epochs or --steps must be given, not both"),
    ],
)
def test_a_wrong_option_of_a_sweep_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    assert message in refused("sweep", *arguments, code=2)


def test_an_unknown_command_is_refused() -> None:
    assert "No such command 'fit'" in refused("fit", code=2)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_an_unknown_data_set_is_refused(command: str) -> None:
    line = refused(command, "mnist", code=2)
    assert "`DATASET` must be digits, cifar10 or the path of an .npz file; got 'mnist'" in line


def test_data_are_for_cifar10_only(npz: Path) -> None:
    for option in ("--data", "--url"):
        message = f"`{option}` must be left out but for cifar10; got it with digits"
        assert message in refused("train", option, npz)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be an .npz file"),
        (b"PK\x03\x04 and no more", "must be an .npz file"),
        (b"X,y\n1,2\n", "must be an .npz file"),
    ],
)
def test_a_foreign_data_file_is_refused(content: bytes, message: str) -> None:
    Path("data.npz").write_bytes(content)
    assert message in refused("train", "data.npz")
    assert not Path("runs").exists()


def test_a_data_file_that_does_not_exist_is_refused(elsewhere: Path) -> None:
    assert f"No such file or directory: {elsewhere / 'none.npz'}" in refused("train", "none.npz")


def test_features_that_are_not_finite_are_refused() -> None:
    X = np.ones((40, 3))
    X[3, 1] = np.nan
    np.savez("data.npz", X=X, y=np.arange(40) % 2)
    assert "must be finite; got" in refused("train", "data.npz")


# Array libraries


def test_every_library_that_was_asked_for_gives_the_same(libraries: list[str]) -> None:
    """Trained, evaluated and asked for predictions, with each library under test."""
    chosen = [name for name in libraries if name != "strict"]
    np.save("some.npy", datasets.load_digits().test.X[:5])
    length = ("--steps", 40, "--hidden", 8, "-q")
    done("train", *length, "--out", "reference")
    expected = storage.load("reference/network.safetensors")
    predictions = done("predict", "reference", "some.npy")
    for name in chosen:
        done("train", *length, "--library", name, "--out", name)
        for found, wanted in zip(storage.load(f"{name}/network.safetensors"), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
        assert read(f"{name}/results.json")["versions"][name]
        accuracy = read(f"{name}/results.json")["test"]["accuracy"]
        assert f"accuracy {accuracy:.4f}" in done("evaluate", name, "--library", name)
        assert done("predict", "reference", "some.npy", "--library", name) == predictions
        grid = ("--learning-rate", "0.1,1", "--reg", "0,0.01", "--seeds", 1)
        done("sweep", *length, *grid, "--library", name, "--out", f"sweep-{name}")
        # A run may go on with another library.
        done("train", "--resume", name, "--library", "numpy", "--steps", 50)
        assert read(f"{name}/results.json")["n_steps"] == 50


def test_a_device_that_the_library_lacks_is_refused(libraries: list[str]) -> None:
    wanted = {
        "numpy": "`--device` must be cpu for numpy, or be left out; got there",
        "torch": "`--device` must be one that PyTorch has here; got there (",
        "jax": "`--device` must be one that JAX has here, such as cpu or gpu:0; got there (",
        "cupy": "`--device` must be the number of a GPU, in [0, ",
    }
    for name in libraries:
        if name in wanted:
            assert wanted[name] in refused("train", "--library", name, "--device", "there")


def test_a_device_that_the_library_has_is_taken(libraries: list[str]) -> None:
    devices = {"numpy": "cpu", "torch": "cpu", "jax": "cpu:0", "cupy": "0"}
    for name in libraries:
        if name in devices:
            done("train", *QUICK, "--library", name, "--device", devices[name], "--out", name)


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, extra in (("torch", "torch"), ("jax", "jax"), ("cupy", "cuda12")):
        monkeypatch.setitem(sys.modules, module, None)
        line = refused("train", "--library", module)
        assert f"`--library {module}` needs" in line
        assert f"the extra `{extra}` brings it" in line
        assert f"`python -m pip install '.[{extra}]'` in a clone of the repository" in line


@pytest.mark.parametrize("found", [0, RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")])
def test_cupy_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    def count() -> int:
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    runtime = SimpleNamespace(getDeviceCount=count)
    fake = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), __version__="14.0")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    line = refused("train", "--library", "cupy")
    assert "CuPy was asked for, but no CUDA GPU answers: " in line
    assert "no CUDA-capable device" in line or "there is none" in line


def test_an_unknown_library_is_refused_below_the_options_too() -> None:
    with pytest.raises(ValueError, match=r"`library` must be one of 'numpy', .*; got 'matlab'"):
        devices.open_library("matlab", None, "float32")


def test_small_products_take_one_thread_of_the_blas() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="an optional package of the command line")

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    library = devices.open_library("numpy", None, "float32")
    usual = threads()
    with library.threads_for(1e6):
        assert threads() <= {1}
    with library.threads_for(1e12):
        assert threads() == usual
    assert threads() == usual


# What is said


@pytest.mark.parametrize(
    "command", ["train", "sweep", "evaluate", "predict", "export", "plot", "report", "info"]
)
def test_help_has_groups_and_examples(command: str) -> None:
    for flag in ("--help", "-h"):
        output = done(command, flag)
        assert output.startswith(f"Usage: app {command}")
        assert "Output:" in output
        assert f"twolayer {command}" in output or command == "info"


def test_help_cuts_no_description() -> None:
    output = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    described = output.partition("Commands:")[2].partition("Exit codes:")[0]
    assert (
        len(
            re.findall(
                r"^  (?:train|sweep|evaluate|predict|export|plot|report|info|completion) +[A-Z].*\.$",
                described,
                re.M,
            )
        )
        == 9
    )
    assert "..." not in described
    assert "…" not in described


def test_help_tells_what_is_taken_where_nothing_is_given() -> None:
    output = " ".join(done("train", "--help").split())
    assert "[default: digits 0.5; cifar10 0.1; .npz 0.03]" in output
    assert "Data: " in output
    output = " ".join(done("sweep", "--help").split())
    assert "0.1,0.3,1,3" in output
    assert "assignment: a two-layer network on CIFAR-10" in output
    for line in ("[default: numpy]", "[default: float32]", "[default: best]", "[default: center]"):
        assert line in output


def test_defaults_in_the_help_are_those_of_the_presets() -> None:
    assert options.defaults_text("train", "steps") is None
    assert options.defaults_text("train", "replacement") == "no-replacement"
    assert options.defaults_text("sweep", "seeds") == "digits 0,1,2; cifar10 0; .npz 0,1,2"


def test_the_group_tells_of_its_commands() -> None:
    output = done("--help")
    for command in ("train", "sweep", "evaluate", "predict", "export", "plot", "report", "info"):
        assert re.search(rf"^  {command} ", output, re.M)


def test_the_version() -> None:
    assert done("--version") == f"twolayer, version {twolayer.__version__}\n"


def test_quiet_leaves_results_only() -> None:
    output = done("train", "--epochs", 2, "--out", "run", "-q")
    assert "In run:" not in output
    assert "pixels" not in output
    assert re.search(r"test +400", output)


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(ValueError, match="`DATASET` must be"):
        cli("train", "mnist", "--debug")


def test_a_closed_pipe_is_no_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("twolayer.cli.commands.run_train", fail)
    result = cli("train")
    assert result.exit_code == 1
    assert "Error" not in result.output


def test_lines_tell_how_far_it_is_where_there_is_no_terminal() -> None:
    lines: list[str] = []
    stops: list[int] = []
    times = iter((0, 1, 29, 31, 31, 32, 90, 90))
    bar = rich.progress.Progress(disable=True)
    watch = console.Watch("Sweep", bar, lines.append, pause=30.0, clock=lambda: next(times))
    history = SimpleNamespace(validation_accuracy=np.array([[0.5, np.nan], [0.25, 0.625]]))

    def after(step: int, *, ended: bool = False, stage: int = 1) -> Any:
        return SimpleNamespace(
            step=step,
            steps=40,
            epoch=step // 10,
            epochs=4,
            epoch_ended=ended,
            history=lambda: history,
            stop=lambda: stops.append(step),
            stage=stage,
            stages=2,
        )

    for progress in (after(1), after(10, ended=True), after(11), after(12)):
        watch(progress)
    assert lines == ["Sweep: 14%, part 1 of 2, epoch 2 of 4, best validation accuracy 0.625"]
    watch.interrupted = True
    watch(after(40, stage=2))
    assert lines[1:] == ["Sweep: 100%, stopping"]
    assert stops == [40]


def test_info_tells_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("torch", "jax", "cupy") else find(name)
    )
    output = done("info")
    assert f"twolayer {twolayer.__version__}, Python {sys.version.split()[0]}" in output
    assert re.search(rf"numpy +{re.escape(np.__version__)} +cpu", output)
    assert re.search(r"torch +not installed +python -m pip install '\.\[torch\]'", output)
    assert re.search(r"cupy +not installed +python -m pip install '\.\[cuda12\]'", output)
    assert "NumPy's linear algebra (BLAS)" in output


def test_info_tells_of_the_libraries_that_were_asked_for(libraries: list[str]) -> None:
    for name in libraries:
        if name in ("torch", "jax", "cupy"):
            found = info.find_library(name)
            assert found["version"][0].isdigit()
            assert found["devices"]
            assert found["problem"] is None


def test_info_survives_a_library_that_does_not_import(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "jax", "cupy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        Path(f"{name}.py").write_text("raise ImportError('libbroken.so')")
    monkeypatch.syspath_prepend(elsewhere)
    output = done("info")
    for name in ("torch", "jax", "cupy"):
        assert re.search(rf"{name} +does not import +.*libbroken\.so", output), name
        sys.modules.pop(name, None)


def test_info_tells_of_a_gpu_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(getDeviceCount=lambda: 0)
    fake = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), __version__="14.0")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "cupy" or find(name))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    found = {"name": "cupy", "version": "14.0", "devices": [], "problem": "none: there is none"}
    assert info.find_library("cupy") == found
    assert re.search(r"cupy +14\.0 +none: there is none", done("info"))


@pytest.mark.parametrize(
    ("pool", "flags", "environment", "expected"),
    [
        (("openblas", "Haswell"), {"avx512f"}, {}, "Try OPENBLAS_CORETYPE=SKYLAKEX"),
        (("openblas", "Zen"), {"avx512f"}, {}, "OpenBLAS uses its Zen ones. Try"),
        (
            ("openblas", "Haswell"),
            {"avx512f"},
            {"OPENBLAS_CORETYPE": "Haswell"},
            "as OPENBLAS_CORETYPE=Haswell says. Try",
        ),
        (("openblas", "Haswell"), {"avx2"}, {}, None),
        (("openblas", "SkylakeX"), {"avx512f"}, {}, None),
        (("mkl", None), {"avx512f"}, {}, None),
        (("scipy-openblas", None), {"avx512f"}, {}, "python -m pip install threadpoolctl"),
        (
            ("scipy-openblas", None),
            set(),
            {"OPENBLAS_CORETYPE": "Zen"},
            "threadpoolctl. OPENBLAS_CORETYPE is Zen.",
        ),
    ],
)
def test_faster_kernels_are_advised_where_there_are_some(
    pool: tuple[str, str | None], flags: set[str], environment: dict[str, str], expected: str | None
) -> None:
    lines = info.advice([dict(zip(("name", "kernels"), pool, strict=True))], flags, environment)
    assert len(lines) == (expected is not None)
    assert expected is None or expected in lines[0]


def test_the_blas_is_known_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    (pool,) = info.blas_pools()
    assert pool.get("kernels") is None
    assert pool["name"]


def test_the_processor_is_not_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "Path", lambda name: Path("/nowhere"))
    assert info.cpuinfo() == {}
    assert "processors" in done("info")


# How it is started


def started(
    *arguments: str, script: str | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    command = ("-m", "twolayer") if script is None else ("-c", script)
    return subprocess.run(
        (sys.executable, *command, *arguments),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_as_a_module() -> None:
    found = started("train", "--epochs", "1", "--out", "run")
    assert found.returncode == 0, found.stderr
    assert files_in("run") == TRAIN_FILES
    assert "\x1b" not in found.stdout + found.stderr
    assert found.stderr == ""


def test_as_a_module_its_errors_are_lines_on_standard_error() -> None:
    found = started("train", "mnist")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: `DATASET` must be")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_packages_it_names_the_extra(missing: str) -> None:
    found = started(
        script=f"import sys; sys.modules[{missing!r}] = None; from twolayer.cli import main; main()"
    )
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert "the extra `cli` brings them: `python -m pip install '.[cli]'` in" in found.stderr


def test_what_the_terminal_cannot_show_is_a_question_mark() -> None:
    script = "import sys; sys.argv = ['twolayer', 'info']; from twolayer.cli import main; main()"
    found = subprocess.run(
        (sys.executable, "-c", script.replace("'info'", "'train', '--epochs', '1', '--out', 'run'")),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "8?8 pixels" in found.stdout


def test_the_folder_modules_list_covers_what_is_written() -> None:
    assert set(run_folder._OWN) >= TRAIN_FILES | SWEEP_FILES
    assert (errors.INTERRUPTED, errors.TERMINATED) == (130, 143)
