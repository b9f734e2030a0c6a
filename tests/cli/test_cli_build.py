"""How the command line's plain settings become a training, and what is made of its networks."""

# ruff: noqa: E501  # messages stand in their table on one line

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.moved_images import slow_moved

from twolayer import TwoLayerNet, augmentation, datasets, optimizers, presets, schedules, storage
from twolayer.checkpoints import load_run
from twolayer.cli import build, console, errors, train
from twolayer.cli.commands import app
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.settings import SETTINGS

DIGITS = datasets.load_digits()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    return tmp_path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def done(*arguments: object) -> dict[str, Any]:
    """Results of a run in the folder "run"."""
    result = run(*arguments, "--out", "run", "--overwrite")
    assert result.exit_code == 0, result.output
    return json.loads(Path("run/results.json").read_text(encoding="utf-8"))


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code != 0
    return result.output.splitlines()[-1]


def settings(**changes: Any) -> dict[str, Any]:
    return presets.settings_for("train", "digits") | changes


def test_every_optimizer_has_its_name() -> None:
    found = {
        name: build.optimizer_for(settings(optimizer=name, momentum=0.5))
        for name in SETTINGS["optimizer"].kind
    }
    assert found == {
        "nesterov": optimizers.SGD(momentum=0.5, nesterov=True),
        "momentum": optimizers.SGD(momentum=0.5),
        "sgd": optimizers.SGD(),
        "adam": optimizers.Adam(),
        "adamw": optimizers.AdamW(weight_decay=0.0),
    }
    decaying = build.optimizer_for(settings(optimizer="adamw", weight_decay=0.25))
    assert decaying == optimizers.AdamW(weight_decay=0.25)


def test_every_schedule_has_its_name() -> None:
    decay = {"learning_rate_decay": 0.5, "decay_every": 7, "decay_first": 2}
    found = {name: build.schedule_for(settings(schedule=name, **decay)) for name in SETTINGS["schedule"].kind}
    assert found == {
        "cosine": schedules.Cosine(),
        "exponential": schedules.Exponential(0.5, 7, 2),
        "constant": schedules.Constant(),
    }
    warm = build.schedule_for(settings(schedule="constant", warmup=3))
    assert warm == schedules.Warmup(schedules.Constant(), epochs=3)


def test_augmentation_is_what_was_asked_for_and_in_its_order() -> None:
    moved = augmentation.FlipAndShift((8, 8), flip=True, shift=1, border="zero")
    mixed = augmentation.Mixup(0.3)
    only_flips = augmentation.FlipAndShift((8, 8), flip=True, shift=0, border="reflect")
    cases = [
        ({}, None),
        ({"flip": True, "shift": 1, "border": "zero"}, moved),
        ({"flip": True}, only_flips),
        ({"mixup": 0.3}, mixed),
        ({"flip": True, "shift": 1, "border": "zero", "mixup": 0.3}, augmentation.Chain(moved, mixed)),
    ]
    for changes, expected in cases:
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
        found = build.preprocessing_for(settings(**changes), DIGITS)
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


def test_the_saved_network_is_the_mean_of_all_of_its_parts_on_raw_images() -> None:
    results = done("train", *ALL)
    net, metadata = storage.load("run/network.safetensors"), storage.load_metadata("run/network.safetensors")
    checkpoint = load_run("run/checkpoint.safetensors")
    whitener = Whitener.fit(DIGITS.train.X, kind="pca", n_components=20)
    images = DIGITS.test.X.reshape(-1, 8, 8)
    moves = [(f, *move) for f in (0, 1) for move in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    parts = [
        checkpoint.best.logits(
            whitener.apply(np.stack([slow_moved(image[..., None], *move, "reflect") for image in images]))
        ).mean(axis=0)
        for move in moves
    ]
    assert net.n_hidden == 2 * 12 * len(moves)
    np.testing.assert_allclose(net.logits(DIGITS.test.X), np.mean(parts, axis=0), rtol=1e-3, atol=1e-3)
    accuracy = float(net.accuracy(DIGITS.test.X, DIGITS.test.y))
    assert results["test"]["accuracy"] == pytest.approx(accuracy)
    validated = float(net.accuracy(DIGITS.validation.X, DIGITS.validation.y))
    assert results["validation_accuracy"] == pytest.approx(validated)
    keys = {"train_accuracy", "validation_accuracy", "best_step", "diverged"}
    assert [set(member) for member in results["members"]] == [keys] * 2
    assert metadata.preprocessing["whiten"] == "pca"
    assert metadata.preprocessing["components"] == 20


@pytest.mark.parametrize("lost", [[1], [0, 2], [0, 1, 2]])
def test_networks_that_diverge_are_left_out(lost: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    original = TwoLayerNet.initialize

    def initialize(*args: Any, rng: int, **more: Any) -> TwoLayerNet:
        net = original(*args, rng=rng, **more)
        return net._replace(W1=net.W1 * np.float32(1e30)) if rng in lost else net

    monkeypatch.setattr(TwoLayerNet, "initialize", initialize)
    settings = ("--networks", 3, "--hidden", 12, "--epochs", 3, "--out", "run")
    result = run("train", *settings)
    results = json.loads(Path("run/results.json").read_text())
    assert [k for k, member in enumerate(results["members"]) if member["diverged"]] == lost
    if len(lost) == 3:
        assert result.exit_code == 3
        assert "Error: every network diverged: from step 1 on no loss is finite" in result.output
        assert results["diverged"] > 0
        assert "test" not in results
        assert not Path("run/network.safetensors").exists()
        assert "diverged at step" in run("train", "--resume", "run", "--epochs", 5).output
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
    history = json.loads(Path("run/history.json").read_text())
    assert np.isfinite(np.array(history["loss"], float)).all()
    assert all(np.isfinite(best.select(k).W1).all() for k in kept)
    assert run("train", "--resume", "run", "--epochs", 5).exit_code == 0
    page = run("report", "run")
    assert page.exit_code == 0
    text = Path("run/report.html").read_text(encoding="utf-8")
    assert f"{len(lost)} of the 3 networks diverged and are left out." in text
    assert f"The means over the {len(kept)} network" in text


def test_a_run_that_diverges_when_it_goes_on_keeps_its_network_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    run("train", "--hidden", 12, "--epochs", 2, "--out", "run")
    Path("run/network.onnx").write_bytes(b"exported")
    Path("run/weights.svg").write_text("drawn")
    before = Path("run/network.safetensors").read_bytes()
    original = train.train

    def poisoned(start: Any, *args: Any, **more: Any) -> Any:
        last = start.last._replace(W1=start.last.W1 * np.float32(1e30))
        return original(replace(start, last=last), *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "train", poisoned)
        result = run("train", "--resume", "run", "--epochs", 4)
    assert result.exit_code == 3
    assert "the network of the run as it was before is now run/network-before.safetensors" in result.output
    assert Path("run/network-before.safetensors").read_bytes() == before
    left = {path.name for path in Path("run").iterdir()}
    assert not {"network.safetensors", "network.onnx", "weights.svg"} & left
    again = run("train", "--hidden", 12, "--epochs", 1, "--out", "run", "--overwrite")
    assert again.exit_code == 0
    assert not Path("run/network-before.safetensors").exists()


def test_a_training_with_everything_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    done("train", *ALL)
    whole = load_run("run/checkpoint.safetensors")
    original = console.Watch.__call__

    def stop_at_20(self: console.Watch, progress: Any) -> None:
        if progress.step == 20:
            self.interrupted = signal.SIGINT
        original(self, progress)

    monkeypatch.setattr(console.Watch, "__call__", stop_at_20)
    assert run("train", *ALL, "--out", "part").exit_code == errors.INTERRUPTED
    monkeypatch.setattr(console.Watch, "__call__", original)
    assert load_run("part/checkpoint.safetensors").n_steps == 20
    result = run("train", "--resume", "part")
    assert result.exit_code == 0, result.output
    part = load_run("part/checkpoint.safetensors")
    for name in ("last", "best", "average"):
        for a, b in zip(getattr(part, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_whose_patience_ends_is_complete() -> None:
    results = done("train", "--epochs", 60, "--patience", 1, "--hidden", 20)
    assert results["complete"] is True
    assert results["n_steps"] < 60 * 22


def test_a_sweep_varies_the_regularisation() -> None:
    arguments = ("--dropout", "0,0.5", "--label-smoothing", "0,0.1", "--learning-rate", 0.5, "--reg", 0)
    results = done("sweep", *arguments, "--seeds", 1, "--epochs", 2, "--hidden", 10)
    varied = [(row["dropout"], row["label_smoothing"]) for row in results["table"]]
    assert varied == [(0.0, 0.0), (0.0, 0.1), (0.5, 0.0), (0.5, 0.1)]
    assert len({row["train_accuracy"] for row in results["table"]}) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dropout", 1), "--dropout': must be a number of at least 0 and below 1; got '1'"),
        (("--label-smoothing", 2), "must be a number of at least 0 and at most 1; got '2'"),
        (("--momentum", 0.5, "--optimizer", "adam"), "`--momentum` must be left out but with --optimizer nesterov or momentum; got it with adam"),
        (("--weight-decay", 0.1), "`--weight-decay` must be left out but with --optimizer adamw; got it with sgd"),
        (("--learning-rate-decay", 0.9, "--schedule", "cosine"), "`--learning-rate-decay` must be left out but with --schedule exponential; got it with cosine"),
        (("--epsilon", 0.1), "`--epsilon` must be left out but with --whiten zca or pca; got it with none"),
        (("--scale", "global", "--whiten", "pca"), "`--scale` must be left out but with --whiten none; got it with pca"),
        (("--whiten", "pca", "--components", 65), "`n_components` must be at most the number of features, 64; got 65"),
        (("--shift", 8), "`shift` must be smaller than the image, (height, width) = (8, 8)"),
        (("--validation", 10), "`--validation` must be left out but for cifar10; got it with digits"),
        (("--optimizer", "lion"), "'lion' is not one of 'nesterov', 'momentum', 'sgd', 'adam', 'adamw'"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    assert message in refused("train", *arguments)


@pytest.mark.parametrize("option", ["--flip", "--shift", "--symmetrize", "--scale"])
def test_images_are_needed_where_pixels_move(elsewhere: Path, option: str) -> None:
    np.savez("mine.npz", X=np.random.default_rng(0).normal(size=(60, 6)), y=np.arange(60) % 3)
    more = {"--shift": (1,), "--scale": ("channel",)}.get(option, ())
    message = refused("train", "mine.npz", option, *more, "--epochs", 1)
    assert "must be left out where samples are no images, as in mine" in message


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
def test_settings_that_mean_nothing_beside_others(changes: dict[str, Any], idle: set[str]) -> None:
    base = settings(schedule="exponential", optimizer="nesterov", whiten="none") | changes
    asked = ("border", "decay_first", "decay_every", "learning_rate_decay", "momentum", "scale", "reg")
    if base["schedule"] == "cosine":
        idle = idle | {"learning_rate_decay"}
    assert {name for name in asked if not SETTINGS[name].has_effect(base)} == idle
    assert set(build.without_effect(base)) & set(asked) == idle - {"border", "decay_first"}


def test_what_a_network_was_averaged_over_is_said() -> None:
    short = ("train", "--epochs", 1, "--hidden", 4)
    for options, words in (
        (("--symmetrize",), "averaged over flips"),
        (("--symmetrize-shift", 1), "averaged over shifts"),
        (("--symmetrize", "--symmetrize-shift", 1), "averaged over flips and shifts"),
    ):
        lines = run(*short, *options).output.splitlines()
        (title,) = (line for line in lines if line.startswith("The best network, of step"))
        assert title.endswith(f", {words}")


def test_test_samples_beyond_the_networks_numbers_lose_no_results() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.random((60, 4, 4)) + y[:, None, None]
    far = X.copy()
    far[0] = 3e38  # which the first layer multiplies
    np.savez("far.npz", X=X, y=y, X_test=far, y_test=y)
    with np.errstate(all="ignore"):
        results = done("train", "far.npz", "--epochs", 2, "--hidden", 50)
        assert results["test"]["n_samples"] == 60
        assert not Path("run/predictions.npz").exists()
        assert run("report", "run").exit_code == 0
        assert (
            run(
                "train", "far.npz", "--epochs", 2, "--hidden", 50, "--dtype", "float64", "--out", "run64"
            ).exit_code
            == 0
        )
    assert Path("run64/predictions.npz").exists()


def test_a_preset_gives_way_to_an_option_that_only_another_choice_has_a_use_for() -> None:
    plain = presets.settings_for("train", "cifar10")
    found = build.completed(plain | {"learning_rate_decay": 0.9}, {"learning_rate_decay": 0.9})
    assert found["schedule"] == "exponential"
    found = build.completed(plain | {"whiten": "pca", "scale": "channel"}, {"scale": "channel"})
    assert found["whiten"] == "none"
    assert plain == presets.settings_for("train", "cifar10")
