"""Arguments of a training, built from plain settings, and the network that is saved after it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import QUICK, cli, done, files_in, read, refused
from support.moved_images import slow_moved

from twolayer import TwoLayerNet, augmentation, datasets, optimizers, presets, schedules, storage
from twolayer.checkpoints import load_run
from twolayer.cli import build, config, errors, train
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.settings import SETTINGS, has_effect

DIGITS = datasets.load_digits()


pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def settings(**changes: Any) -> dict[str, Any]:
    """The default settings of a training on the digits, with changes."""
    return presets.settings_for("train", "digits") | changes


MOVED = {"flip": True, "shift": 1, "border": "zero"}
FLIP_AND_SHIFT = augmentation.FlipAndShift((8, 8), flip=True, shift=1, border="zero")
OPTIMIZERS = {
    "nesterov": optimizers.SGD(momentum=0.5, nesterov=True),
    "momentum": optimizers.SGD(momentum=0.5),
    "sgd": optimizers.SGD(),
    "adam": optimizers.Adam(),
    "adamw": optimizers.AdamW(weight_decay=0.25),
}
SCHEDULES = {
    "cosine": schedules.Cosine(),
    "exponential": schedules.Exponential(0.5, 7, 2),
    "constant": schedules.Constant(),
}


def test_each_name_selects_its_optimizer_or_schedule() -> None:
    assert set(OPTIMIZERS) == set(SETTINGS["optimizer"].kind)
    for name, optimizer in OPTIMIZERS.items():
        found = build.optimizer_for(settings(optimizer=name, momentum=0.5, weight_decay=0.25))
        assert found == optimizer
    decay = {"learning_rate_decay": 0.5, "decay_every": 7, "decay_first": 2}
    assert set(SCHEDULES) == set(SETTINGS["schedule"].kind)
    for name, schedule in SCHEDULES.items():
        assert build.schedule_for(settings(schedule=name, **decay)) == schedule
        warm = build.schedule_for(settings(schedule=name, **decay, warmup=3))
        assert warm == schedules.Warmup(schedule, epochs=3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        (MOVED, FLIP_AND_SHIFT),
        ({"flip": True}, augmentation.FlipAndShift((8, 8), flip=True, shift=0, border="reflect")),
        ({"mixup": 0.3}, augmentation.Mixup(0.3)),
        (MOVED | {"mixup": 0.3}, augmentation.Chain(FLIP_AND_SHIFT, augmentation.Mixup(0.3))),
    ],
    ids=["none", "moved", "flipped", "mixed", "both"],
)
def test_the_augmentation_follows_the_settings_with_mixup_last(
    changes: dict[str, Any], expected: Any
) -> None:
    assert build.augmentation_for(settings(**changes), DIGITS) == expected


def test_preprocessing_is_fitted_to_the_training_samples() -> None:
    X = DIGITS.train.X
    cases = [
        ({}, Standardizer.fit(X)),
        ({"center": False, "scale": 0.5}, Standardizer.fit(X, center=False, scale=0.5)),
        ({"scale": "channel"}, Standardizer.fit(X, scale="channel", n_channels=1)),
        ({"whiten": "zca", "epsilon": 0.5}, Whitener.fit(X, epsilon=0.5)),
        ({"whiten": "pca", "components": 9}, Whitener.fit(X, kind="pca", n_components=9)),
    ]
    for changes, expected in cases:
        chosen = settings(**changes)
        found = build.preprocessing_for(chosen, build.channels_for(chosen, DIGITS), DIGITS.train.X)
        assert type(found) is type(expected)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


ALL = (
    *("--networks", 2, "--hidden", 12, "--epochs", 3, "--batch-size", 64, "--whiten", "pca"),
    *("--components", 20, "--flip", "--shift", 1, "--mixup", 0.2, "--dropout", 0.1, "--input-dropout", 0.1),
    *("--label-smoothing", 0.1, "--optimizer", "adamw", "--weight-decay", 0.01, "--learning-rate", 0.01),
    *("--schedule", "cosine", "--warmup", 1, "--ema-decay", 0.9, "--class-weight", "balanced"),
    *("--symmetrize", "--symmetrize-shift", 1),
)


def test_the_saved_network_averages_all_parts_on_raw_images(made: Callable[..., Path]) -> None:
    folder = made("train", *ALL)
    net, metadata = storage.load(folder), storage.load_metadata(folder / "network.safetensors")
    results, checkpoint = read(folder / "results.json"), load_run(folder / "checkpoint.safetensors")
    whitener = Whitener.fit(DIGITS.train.X, kind="pca", n_components=20)
    images = DIGITS.test.X.reshape(-1, 8, 8)
    # Each image and its mirror image, in place and shifted by one pixel in four directions.
    moves = [(f, *move) for f in (0, 1) for move in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    parts = []
    for move in moves:
        moved = np.stack([slow_moved(image[..., None], *move, "reflect") for image in images])
        parts.append(checkpoint.best.logits(whitener.apply(moved)).mean(axis=0))
    assert net.n_hidden == 2 * 12 * len(moves)
    np.testing.assert_allclose(net.logits(DIGITS.test.X), np.mean(parts, axis=0), rtol=1e-3, atol=1e-3)
    accuracy = float(net.accuracy(DIGITS.test.X, DIGITS.test.y))
    assert results["test"]["accuracy"] == pytest.approx(accuracy)
    validated = float(net.accuracy(DIGITS.validation.X, DIGITS.validation.y))
    assert results["validation_accuracy"] == pytest.approx(validated)
    loss = float(net.loss(DIGITS.validation.X, DIGITS.validation.y))
    assert results["validation_loss"] == pytest.approx(loss, rel=1e-3)
    keys = {"train_accuracy", "validation_accuracy", "validation_loss", "best_step", "diverged"}
    assert [set(member) for member in results["members"]] == [keys] * 2
    assert metadata.preprocessing["whiten"] == "pca"
    assert metadata.preprocessing["components"] == 20


@pytest.mark.parametrize("lost", [[1], [0, 2], [0, 1, 2]])
def test_networks_that_diverge_are_left_out(lost: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    original = TwoLayerNet.initialize

    def initialize(*args: Any, rng: int, **more: Any) -> TwoLayerNet:
        net = original(*args, rng=rng, **more)
        # Weights this large make the loss overflow in the first step.
        return net._replace(W1=net.W1 * np.float32(1e30)) if rng in lost else net

    monkeypatch.setattr(TwoLayerNet, "initialize", initialize)
    result = cli("train", "--networks", 3, "--hidden", 12, "--epochs", 3, "--out", "run")
    results = read("run/results.json")
    assert [k for k, member in enumerate(results["members"]) if member["diverged"]] == lost
    if len(lost) == 3:
        assert result.exit_code == 3
        assert "Error: every network diverged: from step 1 on no loss is finite" in result.output
        assert results["diverged"] > 0
        assert "test" not in results
        assert not Path("run/network.safetensors").exists()
        assert "diverged at step" in refused("train", "--resume", "run", "--epochs", 5)
        return
    assert result.exit_code == 0
    assert f"{len(lost)} of the 3 networks diverged and are left out; try a lower" in result.output
    assert results["diverged"] is None
    kept = [k for k in range(3) if k not in lost]
    best = load_run("run/checkpoint.safetensors").best
    net = storage.load("run/network.safetensors")
    assert net.n_hidden == 12 * len(kept)
    assert results["test"]["accuracy"] > 0.8
    own = [results["members"][k]["train_accuracy"] for k in kept]
    assert results["train_accuracy"] == pytest.approx(np.mean(own))
    assert np.isfinite(np.array(read("run/history.json")["loss"], float)).all()
    assert all(np.isfinite(best.select(k).W1).all() for k in kept)
    done("train", "--resume", "run", "--epochs", 5)
    done("report", "run")
    text = Path("run/report.html").read_text(encoding="utf-8")
    assert f"{len(lost)} of the 3 networks diverged and are left out." in text
    assert f"The curves are means over the {len(kept)} network" in text


def test_a_resumed_run_that_diverges_keeps_its_earlier_network_apart(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run/network.onnx").write_bytes(b"exported")
    Path("run/weights.svg").write_text("drawn")
    before = Path("run/network.safetensors").read_bytes()
    original = train.train

    def poisoned(start: Any, *args: Any, **more: Any) -> Any:
        last = start.last._replace(W1=start.last.W1 * np.float32(1e30))
        return original(replace(start, last=last), *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "train", poisoned)
        result = cli("train", "--resume", "run", "--epochs", 4)
    assert result.exit_code == 3
    assert "the earlier network of the run is now run/network-before.safetensors" in result.output
    assert Path("run/network-before.safetensors").read_bytes() == before
    assert not {"network.safetensors", "network.onnx", "weights.svg"} & files_in(run)
    done("train", *QUICK, "--out", "run", "--overwrite")
    assert not Path("run/network-before.safetensors").exists()


def test_a_training_with_every_option_resumes_where_it_was_stopped(
    made: Callable[..., Path], send: Any
) -> None:
    whole = load_run(made("train", *ALL) / "checkpoint.safetensors")
    send(20, signal.SIGINT)
    assert cli("train", *ALL, "--out", "part").exit_code == errors.INTERRUPTED
    assert load_run("part/checkpoint.safetensors").n_steps == 20
    done("train", "--resume", "part")
    part = load_run("part/checkpoint.safetensors")
    for name in ("last", "best", "average"):
        for a, b in zip(getattr(part, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_that_is_stopped_early_by_patience_is_complete() -> None:
    done("train", "--epochs", 60, "--patience", 1, "--hidden", 20, "--out", "run")
    results = read("run/results.json")
    assert results["complete"] is True
    assert results["n_steps"] < 60 * 22


def test_a_sweep_varies_dropout_and_label_smoothing() -> None:
    arguments = ("--dropout", "0,0.5", "--label-smoothing", "0,0.1", "--learning-rate", 0.5, "--reg", 0)
    done("sweep", *QUICK, *arguments, "--seeds", 1, "--out", "run")
    table = read("run/results.json")["table"]
    varied = [(row["dropout"], row["label_smoothing"]) for row in table]
    assert varied == [(0.0, 0.0), (0.0, 0.1), (0.5, 0.0), (0.5, 0.1)]
    assert len({row["train_accuracy"] for row in table}) > 1


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({}, {"border", "decay_first"}),
        ({"shift": 1}, {"decay_first"}),
        ({"symmetrize_shift": 1}, {"decay_first"}),
        ({"schedule": "exponential", "decay_every": 5}, {"border"}),
        ({"schedule": "cosine", "decay_every": 5}, {"border", "decay_first", "decay_every"}),
        ({"optimizer": "adam"}, {"border", "decay_first", "momentum"}),
    ],
)
def test_settings_without_effect_beside_others_are_found(changes: dict[str, Any], idle: set[str]) -> None:
    base = settings(schedule="exponential", optimizer="nesterov", whiten="none") | changes
    names = ("border", "decay_first", "decay_every", "learning_rate_decay", "momentum", "scale", "reg")
    if base["schedule"] == "cosine":
        idle = idle | {"learning_rate_decay"}
    assert {name for name in names if not has_effect(SETTINGS[name], base)} == idle
    assert set(config._without_effect(base)) & set(names) == idle - {"border", "decay_first"}


def test_the_output_names_the_moves_that_a_network_averages_over() -> None:
    short = ("train", "--epochs", 1, "--hidden", 4)
    for options, words in (
        (("--symmetrize",), "averaged over flips"),
        (("--symmetrize-shift", 1), "averaged over shifts"),
        (("--symmetrize", "--symmetrize-shift", 1), "averaged over flips and shifts"),
    ):
        lines = done(*short, *options).splitlines()
        (title,) = (line for line in lines if line.startswith("The best network, of step"))
        assert title.endswith(f", {words}")


def test_test_samples_that_overflow_lose_predictions_but_no_results() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.random((60, 4, 4)) + y[:, None, None]
    far = X.copy()
    far[0] = 3e38  # overflows in the first layer
    np.savez("far.npz", X=X, y=y, X_test=far, y_test=y)
    with np.errstate(all="ignore"):
        done("train", "far.npz", *QUICK, "--out", "run")
        assert read("run/results.json")["test"]["n_samples"] == 60
        assert not Path("run/predictions.npz").exists()
        done("report", "run")
        done("train", "far.npz", *QUICK, "--dtype", "float64", "--out", "run64")
    assert Path("run64/predictions.npz").exists()


def test_an_option_replaces_a_choice_that_would_ignore_it() -> None:
    plain = presets.settings_for("train", "cifar10")
    assert config.joined(plain, {"learning_rate_decay": 0.9})["schedule"] == "exponential"
    assert config.joined(plain | {"whiten": "pca"}, {"scale": "channel"})["whiten"] == "none"
    assert plain == presets.settings_for("train", "cifar10")
