"""Settings of a training and of a sweep: one row each, which everything that handles settings reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ._data_settings import OF_DATA_SETS
from ._numbers import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, POSITIVE, PROBABILITY, SHARE, Number
from ._setting import APART, REQUIRED, TOGETHER, Setting

LIBRARIES = ("numpy", "cupy", "torch", "jax")
_WITH_MOMENTUM = ("optimizer", ("nesterov", "momentum"))
_WITH_EXPONENTIAL = ("schedule", ("exponential",))
_WITH_WHITENING = ("whiten", ("zca", "pca"))
_WITHOUT_WHITENING = ("whiten", ("none",))

_TRAINING = (
    Setting("learning_rate", POSITIVE, REQUIRED, "Learning rate.", varied=TOGETHER),
    Setting(
        "reg",
        NOT_NEGATIVE,
        REQUIRED,
        "Strength of the L2 penalty, reg · (‖W1‖² + ‖W2‖²); half of PyTorch's weight_decay.",
        varied=TOGETHER,
    ),
    Setting("n_hidden", COUNT, REQUIRED, "Hidden units.", label="hidden units", varied=APART),
    Setting("batch_size", COUNT, REQUIRED, "Samples of a step.", varied=APART),
    Setting(
        "weight_scale",
        Number(above=0, words=("he",)),
        "he",
        "Standard deviation of the initial weights; he is sqrt(2 / inputs) for each layer.",
        label="initial weight scale",
        varied=TOGETHER,
    ),
    Setting("epochs", COUNT, None, "Passes through the data.", argument=True),
    Setting("steps", COUNT, None, "Steps to take, in place of --epochs.", argument=True),
    Setting(
        "replacement",
        bool,
        False,
        "Draw batches with replacement, or shuffle the samples for each epoch.",
        label="drawn with replacement",
        argument=True,
    ),
    Setting("seed", COUNT_OR_ZERO, 0, "Seed of everything random."),
    Setting(
        "seeds",
        COUNT,
        REQUIRED,
        "Seeds for each candidate: how many from --seed on, or which (0,1,2).",
        only="sweep",
    ),
    Setting("candidates", COUNT, None, "Draw so many at random, from values or from ranges.", only="sweep"),
    Setting("halving", Number(int, least=2), None, "Let all but the best 1 / N leave early.", only="sweep"),
)

_REGULARISATION = (
    Setting(
        "dropout",
        PROBABILITY,
        0.0,
        "Probability with which each hidden unit is left out of a step.",
        varied=TOGETHER,
    ),
    Setting(
        "input_dropout",
        PROBABILITY,
        0.0,
        "Probability with which each feature is left out of a step.",
        varied=APART,
    ),
    Setting(
        "label_smoothing", SHARE, 0.0, "Share of the target that is spread over all classes.", varied=TOGETHER
    ),
    Setting(
        "class_weight",
        ("none", "balanced"),
        "none",
        "Weigh samples so that every class counts the same, or not.",
        label="class weights",
    ),
)

_STEPS = (
    Setting(
        "optimizer",
        ("nesterov", "momentum", "sgd", "adam", "adamw"),
        "nesterov",
        "How steps follow the gradient: gradient descent with Nesterov's or with plain momentum, or "
        "without (sgd); Adam; Adam with decoupled decay.",
    ),
    Setting("momentum", PROBABILITY, 0.9, "Momentum of the first two.", needs=_WITH_MOMENTUM),
    Setting(
        "weight_decay",
        NOT_NEGATIVE,
        0.0,
        "Decoupled decay of the weights, with adamw.",
        needs=("optimizer", ("adamw",)),
    ),
    Setting(
        "schedule",
        ("cosine", "exponential", "constant"),
        "cosine",
        "How the learning rate falls: to zero along a cosine, by a factor, or not at all.",
    ),
    Setting(
        "learning_rate_decay",
        POSITIVE,
        0.95,
        "Factor of the learning rate after every epoch, with exponential.",
        label="decay of the learning rate",
        needs=_WITH_EXPONENTIAL,
    ),
    Setting(
        "decay_every",
        COUNT,
        None,
        "Steps between two decays, in place of an epoch.",
        label="decay every (steps)",
        needs=_WITH_EXPONENTIAL,
    ),
    Setting(
        "decay_first", COUNT_OR_ZERO, None, label="first decay after (steps)", idle_without=("decay_every",)
    ),
    Setting(
        "warmup",
        COUNT_OR_ZERO,
        0,
        "Epochs through which the learning rate rises first.",
        label="warm-up (epochs)",
    ),
)

_PREPROCESSING = (
    Setting("center", bool, True, "Subtract each feature's mean, or not.", needs=_WITHOUT_WHITENING),
    Setting(
        "scale",
        Number(above=0, words=("global", "feature", "channel")),
        "global",
        "Divide by one standard deviation, or by each feature's or channel's; a number multiplies.",
        needs=_WITHOUT_WHITENING,
    ),
    Setting(
        "whiten",
        ("none", "zca", "pca"),
        "none",
        "In place of --scale, whiten: zca gives images again, pca the coordinates along the leading "
        "--components.",
    ),
    Setting(
        "components", COUNT, None, "Principal components to keep; by default all.", needs=_WITH_WHITENING
    ),
    Setting(
        "epsilon",
        NOT_NEGATIVE,
        0.1,
        "Number that whitening adds to each variance, as a share of their mean.",
        needs=_WITH_WHITENING,
    ),
)

_AUGMENTATION = (
    Setting("flip", bool, False, "Flip every other image left to right, or not.", label="flipped images"),
    Setting(
        "shift", COUNT_OR_ZERO, 0, "Largest shift of images, in pixels.", label="shifted images (pixels)"
    ),
    Setting(
        "border",
        ("reflect", "zero"),
        "reflect",
        "Pixels that come in from outside where images are shifted.",
        idle_without=("shift", "symmetrize_shift"),
    ),
    Setting("mixup", NOT_NEGATIVE, 0.0, "Mix pairs of samples, in shares from Beta(X, X); 0 for none."),
)

_KEPT = (
    Setting(
        "judge",
        ("best", "last"),
        "best",
        "Keep the best network on the validation samples, or the last.",
        label="judged",
        argument=True,
    ),
    Setting(
        "monitor",
        ("accuracy", "loss"),
        "accuracy",
        "Choose the best network, and settings, by the validation accuracy or by the validation loss.",
        label="chosen by the validation",
        argument=True,
    ),
    Setting(
        "patience",
        COUNT,
        None,
        "Stop after so many epochs without a better network on the validation samples.",
        label="patience (epochs)",
        argument=True,
    ),
    Setting(
        "ema_decay",
        PROBABILITY,
        None,
        "Keep an average of the weights, in which the old one counts this much at each step.",
        label="average of the weights, decay",
        argument=True,
    ),
    Setting(
        "symmetrize",
        bool,
        False,
        "Fold the mean over an image and its mirror image into it, or not.",
        label="averaged over flips",
    ),
    Setting(
        "symmetrize_shift",
        COUNT_OR_ZERO,
        0,
        "And over the image shifted by up to so many pixels in each of four directions.",
        label="averaged over shifts (pixels)",
    ),
    Setting(
        "calibrate",
        bool,
        False,
        "Fit the probabilities to the validation samples, by one temperature, or not.",
        label="calibrated",
    ),
    Setting(
        "folds",
        Number(int, least=2),
        None,
        "Judge candidates by cross-validation with so many folds, in place of validation samples.",
        only="sweep",
    ),
    Setting(
        "networks",
        COUNT,
        1,
        "Train so many networks from different weights, and merge them to one.",
        only="train",
    ),
)

_PLACE = (
    Setting("library", LIBRARIES, "numpy"),
    Setting("device", str, None),
    Setting("dtype", ("float32", "float64"), "float32", "Type of all computation.", label="numbers"),
    Setting(
        "max_networks",
        COUNT,
        None,
        "Most networks to train together, where memory is short; by default all.",
        label="networks at once, at most",
        only="sweep",
    ),
)

_GROUPS = {
    "Data": OF_DATA_SETS,
    "Training": _TRAINING,
    "Regularisation": _REGULARISATION,
    "Optimizer and schedule": _STEPS,
    "Preprocessing": _PREPROCESSING,
    "Augmentation": _AUGMENTATION,
    "The network that is kept": _KEPT,
    "Where it runs": _PLACE,
}

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {one.name: replace(one, group=group) for group, rows in _GROUPS.items() for one in rows}
)
"""All settings by their names, those of a group together."""

VARIED = tuple(name for name, one in SETTINGS.items() if one.varied)
"""The settings of which a sweep takes several values."""

ARGUMENTS = tuple(name for name, one in SETTINGS.items() if one.argument)
"""The other settings that `train` and `sweep` take as they are."""


def of_command(command: str) -> dict[str, Setting]:
    """Return the settings of "train" or "sweep" by their names."""
    return {name: one for name, one in SETTINGS.items() if one.only in (None, command)}


def of_data(kind: str) -> dict[str, Setting]:
    """Return the settings that only some kinds of data sets have, this one among them, by their names."""
    return {name: one for name, one in SETTINGS.items() if kind in one.data}


def has_effect(setting: Setting, settings: Mapping[str, Any]) -> bool:
    """Return whether a setting has an effect beside the others."""
    if setting.needs is not None:
        other, values = setting.needs
        return settings.get(other) in values
    others = [SETTINGS[name] for name in setting.idle_without]
    return not others or any(settings.get(one.name) and has_effect(one, settings) for one in others)


def values_of(value: Any) -> tuple[Any, ...]:
    """Return the values of a setting as a tuple: those that a sweep tries, or one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def label(name: str) -> str:
    """Return the words for a setting or for another column: training accuracy for ``train_accuracy``."""
    words = SETTINGS[name].label if name in SETTINGS else ""
    return words or name.replace("_", " ").replace("train accuracy", "training accuracy")
