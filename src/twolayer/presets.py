"""Default settings of each data set, and named protocols, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from ._setting import REQUIRED
from .settings import of_command

Settings: TypeAlias = Mapping[str, Any]


def _frozen(*parts: Settings, **settings: Any) -> Settings:
    """Return a read-only union of settings, in which later ones override earlier ones."""
    joined: dict[str, Any] = {}
    for part in (*parts, settings):
        joined.update(part)
    return MappingProxyType(joined)


OWN = ("npz", "table", "images", "idx")
"""Kinds of data sets that users provide."""

_PLAIN = _frozen(optimizer="sgd", momentum=0.0, schedule="exponential")

_DIGITS = _frozen(_PLAIN, n_hidden=100, weight_scale=0.1, batch_size=50, epochs=50)
_CIFAR10 = _frozen(
    # 256 components contain most of the variance of the 3,072 pixels, and make the first layer cheaper.
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
# AdamW, because one learning rate must suit any number of features. Gradient descent diverges with many
# features at a learning rate that it needs with few.
_OWN = _frozen(
    scale="feature",
    n_hidden=100,
    batch_size=100,
    epochs=40,
    optimizer="adamw",
    weight_decay=0.1,
)
# The labels of tables are noisy, so the network needs the L2 penalty. The last network is judged because the
# network of highest accuracy on a few validation rows has a higher log loss.
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
"""Settings of ``twolayer train`` for each data set that differ from the defaults in `SETTINGS`."""

SWEEP: Mapping[str, Settings] = _frozen(
    digits=_frozen(
        _DIGITS,
        learning_rate=(0.1, 0.3, 1.0, 3.0),  # at 3.0 it diverges
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
"""Settings of ``twolayer sweep``. A tuple contains several values; a sweep tries all combinations."""


@dataclass(frozen=True)
class Reference:
    """Published results of the same protocol, shown beside a user's results.

    Parameters
    ----------
    source : str
        Origin of the results.
    reg_factor : float
        The source's ``reg``, in the loss that it reports, divided by this library's ``reg``.
    accuracies : mapping
        From (learning rate, the source's reg) to its training and validation accuracy; None if it diverged.
    test_accuracy : float
        Test accuracy of the source's best network.
    n_test : int
        Number of test samples, the first ones, on which it was measured.
    """

    source: str
    reg_factor: float
    accuracies: Mapping[tuple[float, float], tuple[float, float] | None]
    test_accuracy: float
    n_test: int


@dataclass(frozen=True)
class Preset:
    """A protocol that ``--preset`` selects by name.

    Parameters
    ----------
    summary : str
        Description in one line.
    dataset : str
        The data set of the protocol.
    train, sweep : mapping
        Settings in place of those in `TRAIN` and `SWEEP`.
    reference : Reference, optional
        Results to compare with.
    """

    summary: str
    dataset: str
    train: Settings = field(default_factory=_frozen)
    sweep: Settings = field(default_factory=_frozen)
    reference: Reference | None = None


_ASSIGNMENT = _frozen(
    # Training images of the first two files, in order. From the raw pixels only the mean image is subtracted.
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
    # The learning rate is multiplied by 0.95 after steps 1, 96, 191, …
    optimizer="sgd",
    momentum=0.0,
    schedule="exponential",
    learning_rate_decay=0.95,
    decay_every=95,
    decay_first=1,
)

# `train` uses all 50,000 training images. The settings were chosen with the last 5,000 set aside, as in the
# sweeps.
_ALL = _frozen(n_train=50_000, n_validation=0, networks=1, judge="last")
_SET_ASIDE = _frozen(n_train=45_000, n_validation=5_000, seeds=(0,))

_CPU = _frozen(_CIFAR10, n_hidden=1_024, epochs=80)
_NO_AUGMENTATION = _frozen(
    _CIFAR10, n_hidden=512, components=192, dropout=0.5, flip=False, shift=0, symmetrize=False
)
# The long training needs larger shifts and some dropout. Averaging over shifts makes a file of 2 GB.
_RECORD = _frozen(_CIFAR10, n_hidden=2_048, epochs=160, shift=3, dropout=0.1, symmetrize_shift=1)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cpu": Preset(
            summary="the best accuracy within ten minutes on two CPU cores",
            dataset="cifar10",
            train=_frozen(_CPU, _ALL, networks=8),
            sweep=_frozen(_CPU, _SET_ASIDE, learning_rate=(0.05, 0.1, 0.2)),
        ),
        "no-augmentation": Preset(
            summary="images are neither flipped nor shifted",
            dataset="cifar10",
            train=_frozen(_NO_AUGMENTATION, _ALL, networks=16),
            sweep=_frozen(_NO_AUGMENTATION, _SET_ASIDE, dropout=(0.3, 0.5, 0.7)),
        ),
        "record": Preset(
            summary="the best accuracy; needs an hour or two on a CPU, or a GPU",
            dataset="cifar10",
            train=_frozen(_RECORD, _ALL, networks=8),
            sweep=_frozen(_RECORD, _SET_ASIDE, dropout=(0.0, 0.1, 0.2)),
        ),
        "assignment": Preset(
            summary="a two-layer network on CIFAR-10, trained as in a course's assignment",
            dataset="cifar10",
            train=_frozen(_ASSIGNMENT, learning_rate=1e-3, reg=0.2),
            # The coursework reports reg·‖W‖² but steps along reg·W, the gradient of half that penalty. So its
            # reg of 0.3, 0.4 and 0.5 is 0.15, 0.2 and 0.25 here.
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
                        # It printed 0.0996 / 0.097, because all scores were nan and argmax returned class 0.
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
        If no preset has that name.
    """
    if name not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {name!r}")
    return PRESETS[name]


def settings_for(command: str, dataset: str, preset_name: str | None = None) -> dict[str, Any]:
    """Return all settings of a command: of the preset, or else of the data set, completed by the defaults.

    Parameters
    ----------
    command : "train" or "sweep"
    dataset : "digits", "cifar10", "npz", "table", "images" or "idx"
    preset_name : str, optional

    Returns
    -------
    dict
        A new dictionary.

    Raises
    ------
    ValueError
        If no preset has that name, or it is for another data set.
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
