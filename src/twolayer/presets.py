"""Settings that have a name, as plain data: what suits each data set, and protocols to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from ._setting import REQUIRED
from .settings import of_command

Settings: TypeAlias = Mapping[str, Any]


def _frozen(*parts: Settings, **settings: Any) -> Settings:
    """Join settings, the later ones over the earlier, so that they cannot be changed."""
    joined: dict[str, Any] = {}
    for part in (*parts, settings):
        joined.update(part)
    return MappingProxyType(joined)


OWN = ("npz", "table", "images", "idx")
"""Kinds of data sets that are a user's own."""

_PLAIN = _frozen(optimizer="sgd", momentum=0.0, schedule="exponential")

_DIGITS = _frozen(_PLAIN, n_hidden=100, weight_scale=0.1, batch_size=50, epochs=50)
_CIFAR10 = _frozen(
    # Most of what the 3,072 pixels vary in; the network costs accordingly less.
    whiten="pca",
    components=256,
    flip=True,
    shift=2,
    label_smoothing=0.1,
    batch_size=250,
    learning_rate=0.1,
    warmup=2,
    reg=0.0,
    epochs=30,
    symmetrize=True,
    n_train=45_000,
    n_validation=5_000,
    n_test=10_000,
)
# AdamW, as one learning rate has to suit any number of features: with a rate that gradient descent needs for
# few features, it diverges for many.
_OWN = _frozen(
    scale="feature",
    n_hidden=100,
    batch_size=100,
    epochs=40,
    optimizer="adamw",
    weight_decay=0.1,
)
# The labels of tables are noisy: the penalty has to hold the network back, and the step of the highest
# accuracy on a few validation rows has a higher log loss than the last.
_TABLE = _frozen(_OWN, optimizer="adam", weight_decay=0.0, learning_rate=0.01, judge="last")

# Chosen on subsets of CIFAR-10 of 500 and 4,000 images, and on digits, by their test loss.
_IMAGES = _frozen(_OWN, scale="global", n_hidden=256, reg=0.0, label_smoothing=0.1)

TRAIN: Mapping[str, Settings] = _frozen(
    digits=_frozen(_DIGITS, learning_rate=0.5, reg=3e-3, networks=1),
    cifar10=_frozen(_CIFAR10, n_hidden=2_048, epochs=40, networks=1),
    npz=_frozen(_OWN, learning_rate=0.03, reg=0.0, networks=1),
    table=_frozen(_TABLE, reg=5e-3, networks=1),
    images=_frozen(_IMAGES, learning_rate=1e-3, dropout=0.5, networks=1),
    idx=_frozen(_IMAGES, learning_rate=1e-3, dropout=0.5, networks=1),
)
"""The settings of ``twolayer train`` for each data set, where they are not the defaults."""

SWEEP: Mapping[str, Settings] = _frozen(
    digits=_frozen(
        _DIGITS,
        learning_rate=(0.1, 0.3, 1.0, 3.0),  # at the last of which it diverges
        reg=(3e-4, 3e-3, 3e-2),
        seeds=(0, 1, 2),
    ),
    cifar10=_frozen(
        _CIFAR10,
        n_hidden=256,
        learning_rate=(0.05, 0.1, 0.2),
        reg=(0.0, 1e-4, 1e-3),
        epochs=12,
        seeds=(0,),
    ),
    npz=_frozen(_OWN, learning_rate=(0.01, 0.03, 0.1), reg=(0.0, 1e-4, 1e-3), seeds=(0, 1, 2)),
    table=_frozen(_TABLE, reg=(1e-3, 5e-3, 2e-2), dropout=(0.0, 0.2, 0.5), seeds=(0, 1, 2)),
    images=_frozen(_IMAGES, learning_rate=(3e-4, 1e-3, 3e-3), dropout=(0.2, 0.5), seeds=(0, 1, 2)),
    idx=_frozen(_IMAGES, learning_rate=(3e-4, 1e-3, 3e-3), dropout=(0.2, 0.5), seeds=(0, 1, 2)),
)
"""The settings of ``twolayer sweep``. A setting that is varied is a tuple; all combinations are tried."""


@dataclass(frozen=True)
class Reference:
    """The result of others by the same protocol, to be shown beside one's own results.

    Parameters
    ----------
    source : str
        Who.
    reg_factor : float
        Their reg, in the loss that they report, for one of this library's.
    accuracies : mapping
        From (learning rate, their reg) to their training and validation accuracy; None where they diverged.
    test_accuracy : float
        Of their best.
    n_test : int
        The number of test samples, the first of all, that it was measured on.
    """

    source: str
    reg_factor: float
    accuracies: Mapping[tuple[float, float], tuple[float, float] | None]
    test_accuracy: float
    n_test: int


@dataclass(frozen=True)
class Preset:
    """A protocol that can be asked for by name.

    Parameters
    ----------
    summary : str
        What it is, in a line.
    dataset : str
        The data set that it is for.
    train, sweep : mapping
        Settings that take the place of those of `TRAIN` and `SWEEP`.
    reference : Reference, optional
        Results to compare with.
    """

    summary: str
    dataset: str
    train: Settings = field(default_factory=_frozen)
    sweep: Settings = field(default_factory=_frozen)
    reference: Reference | None = None


_ASSIGNMENT = _frozen(
    # The training images of the first two files, in order; pixels as they are, less the mean image.
    n_train=19_000,
    n_validation=1_000,
    n_test=10_000,
    center=True,
    scale=1.0,
    n_hidden=50,
    weight_scale=1e-4,
    batch_size=200,
    steps=2_000,
    epochs=None,
    replacement=True,
    judge="last",
    # × 0.95 after steps 1, 96, 191, …
    optimizer="sgd",
    momentum=0.0,
    schedule="exponential",
    learning_rate_decay=0.95,
    decay_every=95,
    decay_first=1,
)

# All 50,000 training images: what to do with them was chosen with the last 5,000 set aside, as the sweeps do.
_ALL = _frozen(n_train=50_000, n_validation=0, networks=1, judge="last")
_SET_ASIDE = _frozen(n_train=45_000, n_validation=5_000, seeds=(0,))

_CPU = _frozen(_CIFAR10, n_hidden=1_024, epochs=80)
_NO_AUGMENTATION = _frozen(
    _CIFAR10, n_hidden=512, components=192, dropout=0.5, flip=False, shift=0, symmetrize=False
)
# So long a training needs larger shifts and some dropout. Averaged over shifts, it takes 2 GB on disk.
_RECORD = _frozen(_CIFAR10, n_hidden=2_048, epochs=160, shift=3, dropout=0.1, symmetrize_shift=1)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cpu": Preset(
            summary="the best of ten minutes on two cores",
            dataset="cifar10",
            train=_frozen(_CPU, _ALL, networks=8),
            sweep=_frozen(_CPU, _SET_ASIDE, learning_rate=(0.05, 0.1, 0.2)),
        ),
        "no-augmentation": Preset(
            summary="images as they are, neither flipped nor shifted",
            dataset="cifar10",
            train=_frozen(_NO_AUGMENTATION, _ALL, networks=16),
            sweep=_frozen(_NO_AUGMENTATION, _SET_ASIDE, dropout=(0.3, 0.5, 0.7)),
        ),
        "record": Preset(
            summary="the best that there is: an hour or two on a CPU, or a GPU",
            dataset="cifar10",
            train=_frozen(_RECORD, _ALL, networks=8),
            sweep=_frozen(_RECORD, _SET_ASIDE, dropout=(0.0, 0.1, 0.2)),
        ),
        "assignment": Preset(
            summary="a two-layer network on CIFAR-10, as a course's assignment trains it",
            dataset="cifar10",
            train=_frozen(_ASSIGNMENT, learning_rate=1e-3, reg=0.2),
            # The coursework reports reg·‖W‖² but steps along reg·W, the gradient of half of it: its 0.3, 0.4
            # and 0.5 are 0.15, 0.2 and 0.25 here.
            sweep=_frozen(_ASSIGNMENT, learning_rate=(1e-4, 1e-3, 1e-2), reg=(0.15, 0.2, 0.25), seeds=(0,)),
            reference=Reference(
                source="coursework",
                reg_factor=2.0,
                accuracies=MappingProxyType(
                    {
                        (1e-4, 0.3): (0.326, 0.319),
                        (1e-4, 0.4): (0.328, 0.321),
                        (1e-4, 0.5): (0.326, 0.319),
                        (1e-3, 0.3): (0.589, 0.441),
                        (1e-3, 0.4): (0.580, 0.475),
                        (1e-3, 0.5): (0.573, 0.453),
                        # It printed 0.0996 / 0.097: every score nan, so every image in class 0.
                        (1e-2, 0.3): None,
                        (1e-2, 0.4): None,
                        (1e-2, 0.5): None,
                    }
                ),
                test_accuracy=0.477,
                n_test=1_000,
            ),
        ),
    }
)
"""Protocols by name."""


def preset(name: str) -> Preset:
    """Return a preset by its name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {name!r}")
    return PRESETS[name]


def settings_for(command: str, dataset: str, preset_name: str | None = None) -> dict[str, Any]:
    """Return the settings of a command by a preset, or else those for its data set; the rest by default.

    Parameters
    ----------
    command : "train" or "sweep"
    dataset : "digits", "cifar10", "npz", "table", "images" or "idx"
    preset_name : str, optional

    Returns
    -------
    dict
        A new one.

    Raises
    ------
    ValueError
        If there is no such preset, or it is for another data set.
    """
    given = (SWEEP if command == "sweep" else TRAIN)[dataset]
    if preset_name is not None:
        chosen = preset(preset_name)
        if chosen.dataset != dataset:
            raise ValueError(f"`preset` {preset_name} must be used with {chosen.dataset}; got {dataset}")
        given = chosen.sweep if command == "sweep" else chosen.train
    settings = {
        name: one.default
        for name, one in of_command(command).items()
        if one.default is not REQUIRED and (not one.data or dataset in one.data)
    }
    return settings | dict(given)
