"""``twolayer train``: the files of a run, their folder, and errors during training."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import (
    QUICK,
    TRAIN_FILES,
    answered,
    cli,
    done,
    files_in,
    read,
    refused,
    rows_of,
    settings_in,
)

import twolayer
from twolayer import datasets, storage
from twolayer.cli import errors, job
from twolayer.preprocessing import Standardizer

PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


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
    assert "Loss and accuracy (loss and training accuracy: means over the epoch)" in output
    accuracy = results["test"]["accuracy"]
    error = (accuracy * (1 - accuracy) / 400) ** 0.5
    assert re.search(r"samples +number +accuracy +standard error", output)
    assert re.search(rf"test +400 +{accuracy:.3f} +{error:.3f}", output)
    assert "\x1b" not in output


def test_the_saved_network_accepts_raw_pixels_and_has_metadata(run: Path) -> None:
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


def test_train_gives_the_network_of_the_library() -> None:
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


def test_steps_replace_epochs_and_a_decay_of_1_keeps_the_learning_rate() -> None:
    done("train", "--steps", 30, "--learning-rate-decay", 1, "--out", "run", "-q")
    assert read("run/results.json")["n_steps"] == 30
    assert "epochs" not in settings_in("run")
    assert {row["learning_rate"] for row in rows_of("run/history.csv")} == {"0.5"}


def test_a_file_of_features_gets_splits_and_no_picture_of_weights(pictures: None, npz: Path) -> None:
    output = done("train", npz, "--epochs", 3, "--out", "run")
    assert files_in("run") == TRAIN_FILES - {"weights.png"}
    assert "6 features, 3 classes" in output
    assert read("run/results.json")["test"]["accuracy"] == 1.0
    assert read("run/results.json")["test"]["n_samples"] == 18


def test_the_best_epoch_is_marked() -> None:
    output = done("train", "--epochs", 20, "--hidden", 10, "--out", "run")
    (marked,) = [line for line in output.splitlines() if "← best" in line]
    step = read("run/results.json")["best_step"]
    assert marked.split()[1] == f"{step:,}"
    assert f"The best network, of step {step:,}" in output


def test_a_run_that_diverges_fails_and_saves_no_network(pictures: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", twolayer.DivergenceWarning)
        code, data, lines = answered("train", "--epochs", 2, "--learning-rate", 1e6, "--out", "run")
    assert code == data["error"]["exit_code"] == errors.DIVERGED == 3
    assert re.search(r"Error: the network diverged: from step \d+ on its loss is not finite", lines)
    assert lines.endswith(f"Error: {data['error']['message']}\n")
    assert data["validation_accuracy"] is None
    assert "network.safetensors" not in files_in("run")
    assert {"history.csv", "results.json", "curves.png"} <= files_in("run")
    assert data["diverged"] == read("run/results.json")["diverged"] > 0
    assert "diverged at step" in refused("train", "--resume", "run", "--epochs", 5)


def far_from_0(*shape: int) -> str:
    """Write samples of three classes, too far from 0 for float32 to resolve their differences."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = 1e9 + y.reshape(-1, *(1 for _ in shape)) + 0.1 * rng.normal(size=(300, *shape))
    np.savez("far.npz", X=X, y=y)
    return "far.npz"


def test_a_network_for_features_far_from_0_is_saved_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("train", far_from_0(4), "--epochs", 30)
    output = done(*arguments, "--out", "run32")
    assert "The saved network is in float64, as it takes raw samples: feature" in output
    assert "Warning" not in output
    assert read("run32/results.json")["test"]["accuracy"] == 1.0
    assert storage.load("run32").W1.dtype == np.float64
    assert answered("evaluate", "run32", "far.npz", "--split", "all")[1]["accuracy"] > 0.99
    done(*arguments, "--dtype", "float64", "--out", "run64")
    assert read("run64/results.json")["test"]["accuracy"] == 1.0
    # Simulate a device without float64.
    monkeypatch.setattr(job, "has_float", lambda name, **place: False)
    output = done(*arguments, "--out", "lost")
    assert (
        "Warning: the saved network is not precise enough for raw samples, as the preprocessing is folded"
        in output
    )
    assert "rounding it to float32 changes its preprocessed values" in output
    assert read("lost/results.json")["validation_accuracy"] == 1.0  # of the network before it is folded


@pytest.mark.parametrize("augmentation", [("--mixup", 0.1), ("--shift", 1)])
def test_images_too_far_from_0_for_float32_are_augmented_in_float64(
    monkeypatch: pytest.MonkeyPatch, augmentation: tuple[object, ...]
) -> None:
    arguments = ("train", far_from_0(4, 4), "--epochs", 30, *augmentation)
    done(*arguments, "--out", "run32")
    assert read("run32/results.json")["validation_accuracy"] == 1.0
    monkeypatch.setattr(job, "has_float", lambda name, **place: False)
    line = refused(*arguments)
    assert "`--dtype` must be float64 for augmentation or folds with samples so far from 0: feature" in line


@pytest.mark.parametrize(
    ("X", "white"),
    [
        (np.zeros((30, 4, 4), np.uint8), 255),
        (np.linspace(0, 1, 480).reshape(30, 4, 4), 1.0),
        (np.linspace(-1, 1, 480).reshape(30, 4, 4), None),
        (np.zeros((30, 16), np.uint8), None),
    ],
)
def test_the_value_of_white_is_stored_for_images_of_known_range(X: np.ndarray, white: float | None) -> None:
    np.savez("images.npz", X=X, y=np.arange(30) % 2)
    done("train", "images.npz", *QUICK, "--out", "run")
    assert storage.load_metadata("run/network.safetensors").information["white"] == white


def test_a_file_named_like_a_data_set_is_read_as_a_file() -> None:
    np.savez("digits.npz", X=np.zeros((30, 4, 4), np.uint8), y=np.arange(30) % 2)
    done("train", "digits.npz", *QUICK, "--out", "run")
    information = storage.load_metadata("run/network.safetensors").information
    assert (information["dataset"], information["white"]) == ("digits.npz", 255)
    assert "digits: 4 test samples" in done("evaluate", "run")  # of the file, not of load_digits


# The folder of the results


def test_each_run_gets_a_new_folder_by_default() -> None:
    for _ in range(2):
        done("train", *QUICK)
    done("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0)
    assert files_in("runs") == {"digits-train-001", "digits-train-002", "digits-sweep-001"}


def test_a_run_is_not_overwritten_by_default(run: Path) -> None:
    before = (run / "network.safetensors").read_bytes()
    line = refused("train", *QUICK, "--seed", 1, "--out", "run")
    assert "`--out` must be a new or an empty folder; run holds a run" in line
    assert "--overwrite" in line
    assert (run / "network.safetensors").read_bytes() == before


def test_overwrite_replaces_a_run_and_nothing_else(pictures: None, run_of_sweep: Path) -> None:
    Path("run/notes.txt").write_text("mine")
    done("train", *QUICK, "--out", "run", "--overwrite")
    assert files_in("run") == TRAIN_FILES | {"notes.txt"}


@pytest.mark.parametrize(
    ("command", "out", "reason"),
    [
        ("train", "file/run", "Not a directory"),
        ("sweep", "file/run", "Not a directory"),
        ("train", "file", "File exists"),
    ],
)
def test_an_output_folder_that_cannot_be_made_is_refused(command: str, out: str, reason: str) -> None:
    Path("file").write_text("mine")
    line = refused(command, *QUICK, "--out", out)
    assert f"the output folder cannot be created ({reason}): {out}" in line
    assert Path("file").read_text() == "mine"


def test_an_output_folder_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_EXCL:  # set when a new file is created
            raise PermissionError(13, "Permission denied")
        return usual(path, flags, mode, **more)

    usual = os.open
    Path("run").mkdir()
    monkeypatch.setattr("os.open", deny)
    line = refused("train", *QUICK, "--out", "run")
    assert "cannot write into the folder of settings.toml (Permission denied): run" in line


# Errors during training


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes trainings and sweeps raise an error."""

    def arrange(error: Exception) -> None:
        def raise_it(*args: Any, **more: Any) -> Any:
            raise error

        monkeypatch.setattr("twolayer.cli.train.train", raise_it)
        monkeypatch.setattr("twolayer.cli.sweep.carried_out", raise_it)

    return arrange


def test_a_run_that_fails_at_once_leaves_no_folder(fail: Any) -> None:
    fail(MemoryError("9 GiB"))
    assert "there is not enough memory (9 GiB)" in refused("train", *QUICK, "--out", "run")
    assert not Path("run").exists()


@pytest.mark.parametrize("module", ["torch", "jax.errors", "jaxlib._jax", "cupy_backends.cuda.api.runtime"])
def test_an_error_of_the_device_is_one_line_with_a_hint(fail: Any, module: str) -> None:
    error = type("DeviceError", (Exception,), {"__module__": module})
    fail(error("CUDA out of memory. Tried to allocate 9 GiB.\nMore, of no use."))
    hints = "; try a smaller --batch-size, or another --device"
    assert refused("train", *QUICK).endswith(f"Tried to allocate 9 GiB{hints}")
    more = "; try fewer networks at once with --max-networks, or a smaller --batch-size"
    assert more in refused("sweep", *QUICK)


def test_a_cuda_error_is_one_line_and_other_errors_propagate(fail: Any) -> None:
    fail(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))
    assert "Error: CUDA error: CUBLAS_STATUS_ALLOC_FAILED; try " in refused("train", *QUICK)
    fail(RuntimeError("a fault of the program"))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        cli("train", *QUICK)


def test_a_closed_pipe_prints_no_error(fail: Any) -> None:
    fail(BrokenPipeError(32, "Broken pipe"))
    result = cli("train", *QUICK)
    assert result.exit_code == 1
    assert "Error" not in result.output
