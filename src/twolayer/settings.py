"""Table of the settings of `train` and `sweep`; options, files, presets and reports all read it."""

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
    Setting("n_hidden", COUNT, REQUIRED, "Number of hidden units.", label="hidden units", varied=APART),
    Setting("batch_size", COUNT, REQUIRED, "Samples in each step.", varied=APART),
    Setting(
        "weight_scale",
        Number(above=0, words=("he",)),
        "he",
        "Standard deviation of the initial weights; he is sqrt(2 / inputs) of each layer.",
        label="initial weight scale",
        varied=TOGETHER,
    ),
    Setting("epochs", COUNT, None, "Passes through the data.", argument=True),
    Setting("steps", COUNT, None, "Number of steps, in place of --epochs.", argument=True),
    Setting(
        "replacement",
        bool,
        False,
        "Draw batches with replacement, or shuffle the samples in each epoch.",
        label="drawn with replacement",
        argument=True,
    ),
    Setting("seed", COUNT_OR_ZERO, 0, "Seed of all random numbers."),
    Setting(
        "seeds",
        COUNT,
        REQUIRED,
        "Seeds of each candidate: their number, counted from --seed, or a list (0,1,2).",
        only="sweep",
    ),
    Setting("candidates", COUNT, None, "Draw N candidates at random, from values or ranges.", only="sweep"),
    Setting(
        "halving", Number(int, least=2), None, "Keep the best 1 / N candidates at each rung.", only="sweep"
    ),
)

_REGULARISATION = (
    Setting(
        "dropout",
        PROBABILITY,
        0.0,
        "Probability of dropping each hidden unit of a sample in a step.",
        varied=TOGETHER,
    ),
    Setting(
        "input_dropout",
        PROBABILITY,
        0.0,
        "Probability of dropping each feature of a sample in a step.",
        varied=APART,
    ),
    Setting(
        "label_smoothing", SHARE, 0.0, "Share of the target that is spread over all classes.", varied=TOGETHER
    ),
    Setting(
        "class_weight",
        ("none", "balanced"),
        "none",
        "Weight samples so that all classes count the same, or not. balanced usually raises the recall of "
        "rare classes and lowers the accuracy; it shifts the probabilities towards rare classes.",
        label="class weights",
    ),
)

_STEPS = (
    Setting(
        "optimizer",
        ("nesterov", "momentum", "sgd", "adam", "adamw"),
        "nesterov",
        "Gradient descent with Nesterov momentum, with plain momentum, or without momentum (sgd); Adam; or "
        "Adam with decoupled weight decay (adamw).",
    ),
    Setting("momentum", PROBABILITY, 0.9, "Momentum, with nesterov or momentum.", needs=_WITH_MOMENTUM),
    Setting(
        "weight_decay",
        NOT_NEGATIVE,
        0.0,
        "Decoupled weight decay, with adamw.",
        needs=("optimizer", ("adamw",)),
    ),
    Setting(
        "schedule",
        ("cosine", "exponential", "constant"),
        "cosine",
        "How the learning rate falls: to zero along a cosine, by a constant factor, or not at all.",
    ),
    Setting(
        "learning_rate_decay",
        POSITIVE,
        0.95,
        "Factor of the learning rate after each epoch, with exponential.",
        label="decay of the learning rate",
        needs=_WITH_EXPONENTIAL,
    ),
    Setting(
        "decay_every",
        COUNT,
        None,
        "Steps between two decays, in place of one epoch, with exponential.",
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
        "Epochs at the start in which the learning rate rises.",
        label="warm-up (epochs)",
    ),
)

_PREPROCESSING = (
    Setting("center", bool, True, "Subtract each feature's mean, or not.", needs=_WITHOUT_WHITENING),
    Setting(
        "scale",
        Number(above=0, words=("global", "feature", "channel")),
        "global",
        "Divide by one standard deviation, or by that of each feature or channel; or multiply by a number.",
        needs=_WITHOUT_WHITENING,
    ),
    Setting(
        "whiten",
        ("none", "zca", "pca"),
        "none",
        "Whiten, in place of --center and --scale: zca returns images, pca the coordinates along the leading "
        "--components.",
    ),
    Setting(
        "components",
        COUNT,
        None,
        "Principal components to keep; all if no number is given.",
        needs=_WITH_WHITENING,
    ),
    Setting(
        "epsilon",
        NOT_NEGATIVE,
        0.1,
        "Number that whitening adds to each variance, as a share of the mean variance.",
        needs=_WITH_WHITENING,
    ),
)

_AUGMENTATION = (
    Setting("flip", bool, False, "Flip images at random, left to right, or not.", label="flipped images"),
    Setting(
        "shift",
        COUNT_OR_ZERO,
        0,
        "Largest random shift of images, in pixels.",
        label="shifted images (pixels)",
    ),
    Setting(
        "border",
        ("reflect", "zero"),
        "reflect",
        "Pixels that move in at the border of shifted images: mirrored ones, or zeros.",
        idle_without=("shift", "symmetrize_shift"),
    ),
    Setting("mixup", NOT_NEGATIVE, 0.0, "Mix pairs of samples, in shares from Beta(X, X); 0 disables it."),
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
        "Choose the best network and the best settings by the validation accuracy or loss.",
        label="chosen by the validation",
        argument=True,
    ),
    Setting(
        "patience",
        COUNT,
        None,
        "Stop after N epochs without a better network on the validation samples.",
        label="patience (epochs)",
        argument=True,
    ),
    Setting(
        "ema_decay",
        PROBABILITY,
        None,
        "Keep a moving average of the weights, in which the old average has weight X at each step.",
        label="average of the weights, decay",
        argument=True,
    ),
    Setting(
        "symmetrize",
        bool,
        False,
        "Fold the mean over each image and its mirror image into the network, or not.",
        label="averaged over flips",
    ),
    Setting(
        "symmetrize_shift",
        COUNT_OR_ZERO,
        0,
        "Fold in the mean over each image shifted by 0 to N pixels up, down, left or right, too.",
        label="averaged over shifts (pixels)",
    ),
    Setting(
        "calibrate",
        bool,
        False,
        "Fit one temperature of the probabilities to the validation samples, or not.",
        label="calibrated",
    ),
    Setting(
        "folds",
        Number(int, least=2),
        None,
        "Judge candidates by cross-validation with N folds, in place of validation samples.",
        only="sweep",
    ),
    Setting(
        "networks",
        COUNT,
        1,
        "Train N networks from different initial weights, and merge them into one.",
        only="train",
    ),
)

_PLACE = (
    Setting("library", LIBRARIES, "numpy"),
    Setting("device", str, None),
    Setting("dtype", ("float32", "float64"), "float32", "Dtype of the networks.", label="numbers"),
    Setting(
        "max_networks",
        COUNT,
        None,
        "Largest number of networks to train together, to save memory; by default all, but with NumPy only "
        "as many as a cache holds.",
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
"""All settings by name, ordered by group."""

VARIED = tuple(name for name, one in SETTINGS.items() if one.varied)
"""Names of the settings for which a sweep accepts several values."""

ARGUMENTS = tuple(name for name, one in SETTINGS.items() if one.argument)
"""Names of the other settings that are parameters of both functions, `train` and `sweep`."""


def of_command(command: str) -> dict[str, Setting]:
    """Return the settings of the command "train" or "sweep" by name."""
    return {name: one for name, one in SETTINGS.items() if one.only in (None, command)}


def of_data(kind: str) -> dict[str, Setting]:
    """Return the settings by name that this kind of data set has, and not all kinds have."""
    return {name: one for name, one in SETTINGS.items() if kind in one.data}


def has_effect(setting: Setting, settings: Mapping[str, Any]) -> bool:
    """Return whether a setting has an effect, given the values of the others."""
    if setting.needs is not None:
        other, values = setting.needs
        return settings.get(other) in values
    others = [SETTINGS[name] for name in setting.idle_without]
    return not others or any(settings.get(one.name) and has_effect(one, settings) for one in others)


def values_of(value: Any) -> tuple[Any, ...]:
    """Return the value of a setting as a tuple: all values that a sweep tries, or one value."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def label(name: str) -> str:
    """Return the words for a setting or column, such as "training accuracy" for ``train_accuracy``."""
    words = SETTINGS[name].label if name in SETTINGS else ""
    return words or name.replace("_", " ").replace("train accuracy", "training accuracy")
