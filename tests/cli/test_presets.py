"""The presets: complete, read-only, and equal to the protocol of the coursework."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from twolayer import presets
from twolayer.training.schedules import Exponential

KEYS = {
    *("batch_size", "center", "decay_every", "decay_first", "dtype", "epochs", "judge", "learning_rate"),
    *("learning_rate_decay", "n_hidden", "reg", "replacement", "scale", "steps", "weight_scale"),
    *("whiten", "epsilon", "components", "class_weight", "flip", "shift", "border", "mixup"),
    *("input_dropout", "dropout", "label_smoothing", "optimizer", "momentum", "weight_decay", "schedule"),
    *("warmup", "ema_decay", "patience", "monitor", "calibrate", "symmetrize", "symmetrize_shift"),
    *("device", "library", "preset", "seed"),
}
OF_DATA = {
    "digits": set(),
    "cifar10": {"data", "url", "n_train", "n_validation", "n_test"},
    "npz": {"validation", "test"},
    "table": {
        "dates",
        "label",
        "drop",
        "categorical",
        "missing",
        "weight",
        "group",
        "time",
        "validation",
        "test",
    },
    "images": {"resize", "grey", "skip_unreadable", "validation", "test"},
    "idx": {"validation"},
}


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize(
    ("dataset", "name"),
    [*((name, None) for name in OF_DATA), ("cifar10", "assignment")],
)
def test_settings_are_complete(command: str, dataset: str, name: str | None) -> None:
    wanted = KEYS | OF_DATA[dataset]
    sweep_only = {"seeds", "candidates", "folds", "halving", "max_networks"}
    wanted |= sweep_only if command == "sweep" else {"networks"}
    settings = presets.settings_for(command, dataset, name)
    assert set(settings) == wanted
    assert (settings["epochs"] is None) != (settings["steps"] is None)


def test_a_training_has_one_value_for_each_setting() -> None:
    for dataset in presets.TRAIN:
        assert not [v for v in presets.settings_for("train", dataset).values() if isinstance(v, tuple)]


def test_settings_are_a_copy_and_presets_cannot_be_changed() -> None:
    presets.settings_for("train", "digits")["epochs"] = 1
    assert presets.settings_for("train", "digits")["epochs"] != 1
    for frozen in (presets.TRAIN["digits"], presets.SWEEP["npz"], presets.PRESETS["assignment"].sweep):
        with pytest.raises(TypeError, match="does not support item assignment"):
            frozen["epochs"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("dataset", "name", "message"),
    [
        ("cifar10", "homework", "must be one of cpu, no-augmentation, record, assignment; got 'homework'"),
        ("digits", "assignment", "assignment must be used with cifar10; got digits"),
    ],
)
def test_a_preset_must_exist_and_be_for_the_data(dataset: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"`preset` {message}"):
        presets.settings_for("sweep", dataset, name)


def test_the_assignment_is_the_protocol_of_the_coursework() -> None:
    settings = presets.settings_for("sweep", "cifar10", "assignment")
    expected = {
        "n_train": 19_000,
        "n_validation": 1_000,
        "n_hidden": 50,
        "weight_scale": 1e-4,
        "center": True,
        "batch_size": 200,
        "steps": 2_000,
        "replacement": True,
        "judge": "last",
        "scale": 1.0,
    }
    assert {key: settings[key] for key in expected} == expected
    decay = Exponential(
        settings["learning_rate_decay"], every=settings["decay_every"], first=settings["decay_first"]
    )
    factors = decay(np.arange(200), steps_per_epoch=95, steps=2_000)
    # Step 1 has the full rate, which falls after steps 1, 96 and 191.
    changes = np.flatnonzero(factors[1:] != factors[:-1]) + 1
    assert changes.tolist() == [1, 96, 191]
    assert factors[[0, 1, 96, 191]] == pytest.approx([1, 0.95, 0.95**2, 0.95**3])


def test_the_coursework_is_compared_at_the_same_candidates() -> None:
    preset = presets.preset("assignment")
    reference = preset.reference
    assert reference is not None
    grid = itertools.product(preset.sweep["learning_rate"], preset.sweep["reg"])
    assert set(reference.accuracies) == {(rate, reg * reference.reg_factor) for rate, reg in grid}
    found = {key: value for key, value in reference.accuracies.items() if value is not None}
    assert max(found, key=lambda key: found[key][1]) == (1e-3, 0.4)
    assert (preset.train["learning_rate"], preset.train["reg"] * reference.reg_factor) == (1e-3, 0.4)
