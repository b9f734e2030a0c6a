"""Optimizers, schedules and augmentations as values: compared, hashed, copied, shown, and checked when made."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from twolayer.augmentation import Chain, FlipAndShift, Mixup
from twolayer.optimizers import SGD, Adam, AdamW
from twolayer.schedules import Constant, Cosine, Exponential, Step, Warmup

VALUES = [
    SGD(),
    SGD(0.9),
    SGD(0.7, nesterov=True),
    Adam(),
    Adam(0.5, 0.9, 1e-3),
    AdamW(),
    AdamW(0.8, 0.99, 1e-6, 0.5),
    Constant(),
    Cosine(),
    Exponential(0.9, every=3, first=1),
    Step(0.3, 2),
    Step(0.3, (1, 3)),
    Warmup(epochs=2),
    Warmup(Warmup(Step(0.5, 1), steps=2), steps=5),
    FlipAndShift((4, 5, 3)),
    FlipAndShift((4, 5, 3), flip=False, shift=3, border="zero"),
    Mixup(),
    Chain(FlipAndShift((4, 5, 3)), Chain(Mixup(0.4), FlipAndShift((20, 3)))),
]
EACH = pytest.mark.parametrize("value", VALUES, ids=repr)


@EACH
def test_a_value_can_be_copied_and_shown_but_not_changed(value):
    copies = (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),  # noqa: S301  # our own bytes
        eval(repr(value)),
    )
    for other in copies:
        assert type(other) is type(value)
        assert (other != value) is False
        assert (other, hash(other), repr(other)) == (value, hash(value), repr(value))
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, 0.5)


@EACH
def test_a_value_equals_only_values_of_its_own_class(value):
    """Otherwise a function compiled for one would be used for the other."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}

    class Derived(type(value)):
        pass

    derived = Derived(*value.parts) if isinstance(value, Chain) else Derived(**fields)
    for other in (derived, tuple(fields.values()), *(each for each in VALUES if each is not value)):
        assert value != other
        assert (value == other) is False
    assert len({derived, tuple(fields.values()), *VALUES, *VALUES}) == len(VALUES) + 2


def test_different_calls_may_make_equal_values():
    same = [
        (SGD(), SGD(0.0, False)),
        (Adam(), Adam(0.9, 0.999, 1e-8)),
        (AdamW(), AdamW(0.9, 0.999, 1e-8, 0.01)),
        (Exponential(0.5), Exponential(0.5, None, None)),
        (Step(), Step(0.1, 10)),
        (Warmup(), Warmup(Cosine(), None, None)),
    ]
    for one, other in same:
        assert one == other
    assert repr(SGD(0.9)) == "SGD(momentum=0.9, nesterov=False)"
    assert repr(Warmup(steps=3)) == "Warmup(schedule=Cosine(), epochs=None, steps=3)"


def test_chains_of_equal_tuples_of_two_classes_differ():
    class Other(NamedTuple):
        alpha: float

    class Another(NamedTuple):
        alpha: float

        draw = apply = len

    Other.draw = Other.apply = len
    assert len({Other(0.2), Mixup(0.2)}) == 2
    assert Chain(Other(0.2)) == Chain(Other(0.2))
    assert Chain(Other(0.2)) != Chain(Another(0.2))


# ---------------------------------------------------------------------------------------------------------
# Errors

NO_SCHEDULE = "`schedule` must be a schedule, such as twolayer.schedules.Cosine(); got "
NO_PART = "`parts[1]` must be an augmentation, with `draw` and `apply`; got "
NO_SHAPE = "`image_shape` must be (height, width) or (height, width, channels); got "
IMAGE = {"image_shape": (8, 8)}

REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (SGD, {"momentum": 1.0}, ValueError, "`momentum` must be in [0, 1); got 1"),
    (SGD, {"momentum": -0.1}, ValueError, "`momentum` must be in [0, 1); got -0.1"),
    (SGD, {"nesterov": True}, ValueError, "`momentum` must be above 0 with `nesterov`; got 0"),
    (SGD, {"momentum": 0.9, "nesterov": 1}, TypeError, "`nesterov` must be True or False; got int"),
    (Adam, {"beta1": 1}, ValueError, "`beta1` must be in [0, 1); got 1"),
    (Adam, {"beta1": -1e-3}, ValueError, "`beta1` must be in [0, 1); got -0.001"),
    (Adam, {"beta2": 1.5}, ValueError, "`beta2` must be in [0, 1); got 1.5"),
    (Adam, {"eps": 0}, ValueError, "`eps` must be finite and above 0; got 0"),
    (AdamW, {"beta1": None}, TypeError, "`beta1` must be a number; got NoneType"),
    (AdamW, {"beta2": 1}, ValueError, "`beta2` must be in [0, 1); got 1"),
    (AdamW, {"weight_decay": -0.1}, ValueError, "`weight_decay` must be finite and at least 0; got -0.1"),
    (Exponential, {"factor": 0.0}, ValueError, "`factor` must be finite and above 0; got 0"),
    (Exponential, {"factor": 0.5, "every": 0}, ValueError, "`every` must be at least 1; got 0"),
    (Exponential, {"factor": 0.5, "first": 0}, ValueError, "`first` must be at least 1; got 0"),
    (Step, {"factor": 0}, ValueError, "`factor` must be finite and above 0; got 0"),
    (Step, {"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
    (Step, {"epochs": [1, 2]}, TypeError, "`epochs` must be an integer or a tuple of integers; got list"),
    (Step, {"epochs": ()}, ValueError, "`epochs` must hold at least one epoch if it is a tuple; got an empty tuple"),
    (Step, {"epochs": (0, 2)}, ValueError, "`epochs` must be at least 1; got 0"),
    (Step, {"epochs": (1, 5, 5)}, ValueError, "`epochs` must be ascending if it is a tuple; got 5 after 5"),
    (Step, {"epochs": (5, 3)}, ValueError, "`epochs` must be ascending if it is a tuple; got 3 after 5"),
    (Warmup, {"epochs": 1, "steps": 1}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
    (Warmup, {"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
    (Warmup, {"steps": 0}, ValueError, "`steps` must be at least 1; got 0"),
    (Warmup, {"schedule": 0.5}, TypeError, NO_SCHEDULE + "float"),
    (Warmup, {"schedule": Cosine}, TypeError, NO_SCHEDULE + "the class Cosine"),
    (FlipAndShift, {"image_shape": 8}, TypeError, NO_SHAPE + "int"),
    (FlipAndShift, {"image_shape": "88"}, TypeError, NO_SHAPE + "str"),
    (FlipAndShift, {"image_shape": [8, 8]}, TypeError, "`image_shape` must be a tuple, which can be hashed; got list"),
    (FlipAndShift, {"image_shape": (8,)}, ValueError, NO_SHAPE + "(8,)"),
    (FlipAndShift, {"image_shape": (8, 8, 1, 1)}, ValueError, NO_SHAPE + "(8, 8, 1, 1)"),
    (FlipAndShift, {"image_shape": (8, 8.0)}, TypeError, "`image_shape[1]` must be an integer; got float"),
    (FlipAndShift, {"image_shape": (0, 8)}, ValueError, "`image_shape[0]` must be at least 1; got 0"),
    (FlipAndShift, {**IMAGE, "flip": 1}, TypeError, "`flip` must be True or False; got int"),
    (FlipAndShift, {**IMAGE, "shift": -1}, ValueError, "`shift` must be at least 0; got -1"),
    (FlipAndShift, {"image_shape": (2, 8)}, ValueError, "`shift` must be smaller than the image, (height, width) = (2, 8); got (dy, dx) = (2, 2)"),
    (FlipAndShift, {"image_shape": (8, 2, 3), "border": "zero"}, ValueError, "`shift` must be smaller than the image, (height, width) = (8, 2); got (dy, dx) = (2, 2)"),
    (FlipAndShift, {**IMAGE, "border": "wrap"}, ValueError, "`border` must be one of 'reflect', 'zero'; got 'wrap'"),
    (Mixup, {"alpha": 0.0}, ValueError, "`alpha` must be finite and above 0; got 0"),
    (Mixup, {"alpha": "0.2"}, TypeError, "`alpha` must be a number; got str"),
    (Chain, {"parts": ()}, ValueError, "`parts` must hold at least one augmentation; got none"),
    (Chain, {"parts": (Mixup(), 3)}, TypeError, NO_PART + "int"),
    (Chain, {"parts": (Mixup(), Mixup)}, TypeError, NO_PART + "the class Mixup"),
    (Chain, {"parts": (Mixup(), SimpleNamespace(draw=len))}, TypeError, NO_PART + "SimpleNamespace"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "error", "message"), REFUSED, ids=str)
def test_invalid_settings_are_refused(kind, settings, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        kind(*settings["parts"]) if kind is Chain else kind(**settings)
