"""Settings of a training and of a sweep: one row each, which everything that handles settings reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from ._numbers import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, POSITIVE, PROBABILITY, SHARE, Number

Kind: TypeAlias = "Number | tuple[str, ...] | type[bool] | type[str]"  # a tuple lists all values
REQUIRED = object()  # the default of settings that have none
TOGETHER, APART = "together", "apart"
LIBRARIES = ("numpy", "cupy", "torch", "jax")


@dataclass(frozen=True)
class Setting:
    """One setting.

    Parameters
    ----------
    name : str
        The key in files of settings, and the parameter of `train` or `sweep` if they have it.
    kind : Number, tuple of str, bool, or str
        The values that it may have.
    default : object
        The value in files that lack it, and in presets that do not name it. ``REQUIRED``: files must name it
        if the presets of their data set do.
    help : str
        The text of the option that is made of it. Other options are written by hand, or there is none.
    group : str
        The heading in the help and on the page of a run.
    label : str
        The words for it in tables and pages; without it, the name.
    only : "train" or "sweep", optional
        The one command that has it.
    argument : bool
        Whether `train` and `sweep` take it as it is, one value for all networks.
    varied : TOGETHER or APART, optional
        Whether a sweep takes several values of it, in one stack or in a stack for each.
    needs : (name, values), optional
        Another setting, and the values of it with which this one has an effect; with others it is refused.
    idle_without : tuple of str
        Other settings. It is ignored if all of them are off.
    """

    name: str
    kind: Kind
    default: Any
    help: str = ""
    _: KW_ONLY
    group: str = ""
    label: str = ""
    only: str | None = None
    argument: bool = False
    varied: str | None = None
    needs: tuple[str, tuple[str, ...]] | None = None
    idle_without: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option on the command line: --hidden for ``n_hidden``."""
        return f"--{self.name.removeprefix('n_').replace('_', '-')}"

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, from 0 to 1; others are tried at even ratios."""
        return self.kind in (PROBABILITY, SHARE)

    def check(self, value: Any, name: str | None = None) -> Any:
        """Return ``value`` in the right type, or raise unless it is a number that the setting may be.

        Parameters
        ----------
        value : object
        name : str, optional
            The name for the error, if the caller has another.

        Raises
        ------
        TypeError, ValueError
        """
        assert isinstance(self.kind, Number)
        return self.kind.check(name or self.name, value)

    def has_effect(self, settings: Mapping[str, Any]) -> bool:
        """Return whether the setting has an effect beside the others."""
        if self.needs is not None:
            other, values = self.needs
            return settings.get(other) in values
        others = [SETTINGS[name] for name in self.idle_without]
        return not others or any(settings.get(one.name) and one.has_effect(settings) for one in others)


_WITH_MOMENTUM = ("optimizer", ("nesterov", "momentum"))
_WITH_EXPONENTIAL = ("schedule", ("exponential",))
_WITH_WHITENING = ("whiten", ("zca", "pca"))
_WITHOUT_WHITENING = ("whiten", ("none",))

_DATA = (
    Setting("dataset", str, REQUIRED),
    Setting("preset", str, None),
    Setting("data", str, None),
    Setting("url", str, None),
    Setting("n_train", COUNT_OR_ZERO, REQUIRED, label="training samples"),
    Setting("n_validation", COUNT_OR_ZERO, REQUIRED, label="validation samples"),
    Setting("n_test", COUNT_OR_ZERO, REQUIRED, label="test samples"),
)

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
        "Keep the network of the best validation accuracy, or the last.",
        label="judged",
        argument=True,
    ),
    Setting(
        "patience",
        COUNT,
        None,
        "Stop after so many epochs without a better validation accuracy.",
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
    Setting(
        "dtype", ("float32", "float64"), "float32", "Floating-point type of all computation.", label="numbers"
    ),
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
    "Data": _DATA,
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


def values_of(value: Any) -> tuple[Any, ...]:
    """Return the values of a setting as a tuple: those that a sweep tries, or one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def label(name: str) -> str:
    """Return the words for a setting or for another column: training accuracy for ``train_accuracy``."""
    words = SETTINGS[name].label if name in SETTINGS else ""
    return words or name.replace("_", " ").replace("train accuracy", "training accuracy")
