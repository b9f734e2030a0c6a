from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
import sys
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend

from twolayer import schedules


def factors(schedule, n: int, steps_per_epoch: int = 7) -> np.ndarray:
    return schedule(np.arange(n), steps_per_epoch=steps_per_epoch, steps=n)


def test_constant_is_one():
    assert factors(schedules.Constant(), 3).tolist() == [1.0, 1.0, 1.0]
    assert factors(schedules.Constant(), 0).shape == (0,)


def test_exponential_decays_after_every_epoch():
    expected = [1.0] * 3 + [0.5] * 3 + [0.25] * 2
    assert factors(schedules.Exponential(0.5), 8, steps_per_epoch=3).tolist() == expected


def test_the_decay_of_the_assignment_comes_after_steps_1_96_191():
    found = factors(schedules.Exponential(0.95, every=95, first=1), 300)
    changed = (np.flatnonzero(np.diff(found)) + 1).tolist()  # number of steps done at each decay
    assert changed == [1, 96, 191, 286]
    np.testing.assert_allclose(found[[0, 1, 95, 96, 190, 191, 299]], 0.95 ** np.array([0, 1, 1, 2, 2, 3, 4]))


@given(
    factor=st.floats(0.01, 2),
    every=st.none() | st.integers(1, 20),
    first=st.none() | st.integers(1, 30),
    start=st.integers(0, 100),
    n=st.integers(0, 40),
    steps_per_epoch=st.integers(1, 20),
)
def test_exponential_counts_the_decays_before_each_step(factor, every, first, start, n, steps_per_epoch):
    found = schedules.Exponential(factor, every, first)(
        np.arange(start, start + n), steps_per_epoch=steps_per_epoch, steps=1000
    )
    period = every or steps_per_epoch
    for step, value in zip(range(start, start + n), found, strict=True):
        decays = sum(1 for done in range(first or period, step + 1, period))
        assert value == pytest.approx(factor**decays, rel=1e-12)
    assert found.dtype == np.float64
    assert found.shape == (n,)


def test_step_decays_after_every_so_many_epochs_or_after_those_named():
    found = factors(schedules.Step(0.5, epochs=2), 11, steps_per_epoch=2)
    assert found.tolist() == [1.0] * 4 + [0.5] * 4 + [0.25] * 3
    found = factors(schedules.Step(0.5, epochs=(1, 4)), 11, steps_per_epoch=2)
    assert found.tolist() == [1.0] * 2 + [0.5] * 6 + [0.25] * 3
    assert schedules.Step() == schedules.Step(0.1, 10)
    np.testing.assert_allclose(factors(schedules.Step(), 70)[[0, 69]], 1.0)
    np.testing.assert_allclose(factors(schedules.Step(), 71)[70], 0.1)


@given(
    factor=st.floats(0.01, 2),
    epochs=st.integers(1, 20) | st.sets(st.integers(1, 40), min_size=1).map(lambda ends: (*sorted(ends),)),
    start=st.integers(0, 100),
    n=st.integers(0, 40),
    steps_per_epoch=st.integers(1, 20),
)
def test_step_counts_the_decays_before_each_step(factor, epochs, start, n, steps_per_epoch):
    found = schedules.Step(factor, epochs)(
        np.arange(start, start + n), steps_per_epoch=steps_per_epoch, steps=1000
    )
    ends = epochs if isinstance(epochs, tuple) else range(epochs, 200, epochs)
    for step, value in zip(range(start, start + n), found, strict=True):
        decays = sum(1 for end in ends if end * steps_per_epoch <= step)
        assert value == pytest.approx(factor**decays, rel=1e-12)
    assert found.dtype == np.float64
    assert found.shape == (n,)


@given(n=st.integers(1, 60))
def test_cosine_goes_from_one_to_nothing(n):
    found = factors(schedules.Cosine(), n)
    for step, value in enumerate(found):
        assert value == pytest.approx(math.cos(math.pi * step / (2 * n)) ** 2, abs=1e-12)
    assert found[0] == 1.0
    assert (np.diff(found) < 0).all()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found + np.append(0.0, found[:0:-1]), 1.0)  # as much above a half as below


def triangle(step: np.ndarray, *, steps_per_epoch: int, steps: int) -> np.ndarray:
    """A user's own schedule."""
    return 0.5 - step / (2 * steps) + 0.01 * (step // steps_per_epoch)


@given(
    schedule=st.sampled_from(
        [triangle, schedules.Constant(), schedules.Cosine(), schedules.Exponential(0.7, every=3)]
    ),
    length=st.sampled_from(["epochs", "steps", None]),
    count=st.integers(1, 6),
    start=st.integers(0, 30),
    n=st.integers(0, 30),
    steps_per_epoch=st.integers(1, 5),
)
def test_warmup_rises_and_then_follows(schedule, length, count, start, n, steps_per_epoch):
    steps = start + n + 1
    warmup = schedules.Warmup(schedule, **({} if length is None else {length: count}))
    found = warmup(np.arange(start, start + n), steps_per_epoch=steps_per_epoch, steps=steps)
    first = {"epochs": count * steps_per_epoch, "steps": count, None: steps_per_epoch}[length]
    for step, value in zip(range(start, start + n), found, strict=True):
        asked = np.asarray([0 if step < first else step - first])
        (own,) = schedule(asked, steps_per_epoch=steps_per_epoch, steps=max(steps - first, 1))
        expected = own * (step + 1) / first if step < first else own
        assert value == pytest.approx(expected, rel=1e-12)
    assert found.dtype == np.float64
    assert found.shape == (n,)


def test_a_warmup_is_followed_by_cosine_and_takes_an_epoch_by_default():
    assert schedules.Warmup() == schedules.Warmup(schedules.Cosine(), None, None)
    found = factors(schedules.Warmup(), 8, steps_per_epoch=4)
    np.testing.assert_allclose(found[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(found[4:], factors(schedules.Cosine(), 4))


def test_what_follows_a_warmup_is_told_what_is_left():
    told = []

    def own(step, *, steps_per_epoch, steps):
        told.append((step.tolist(), step.dtype, steps_per_epoch, steps))
        return [1] * len(step)

    warmup = schedules.Warmup(own, steps=4)
    found = warmup(np.arange(2, 7), steps_per_epoch=3, steps=10)
    assert told == [([0, 0, 0, 1, 2], np.int64, 3, 6)]
    assert found.tolist() == [0.75, 1.0, 1.0, 1.0, 1.0]
    warmup(np.arange(3), steps_per_epoch=3, steps=3)
    assert told[1] == ([0, 0, 0], np.int64, 3, 1)


EACH = [
    schedules.Constant(),
    schedules.Exponential(0.9, every=3, first=1),
    schedules.Step(0.3, 2),
    schedules.Step(0.3, (1, 3)),
    schedules.Cosine(),
    schedules.Warmup(epochs=2),
    schedules.Warmup(schedules.Step(0.5, 1), steps=5),
    schedules.Warmup(schedules.Warmup(triangle, steps=2), steps=3),
]


@given(schedule=st.sampled_from(EACH), cuts=st.sets(st.integers(1, 39)), steps_per_epoch=st.integers(1, 9))
def test_asking_in_pieces_is_asking_for_all(schedule, cuts, steps_per_epoch):
    """`train` asks for some steps at a time, and a run that goes on asks from its middle."""
    settings = {"steps_per_epoch": steps_per_epoch, "steps": 40}
    ends = [0, *sorted(cuts), 40]
    pieces = [schedule(np.arange(a, b), **settings) for a, b in pairwise(ends)]
    whole = schedule(np.arange(40), **settings)
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-15)
    assert np.isfinite(whole).all()
    assert (whole > 0).all()


def pytorch_factors(make, n: int) -> np.ndarray:
    """Learning rates of n steps of a scheduler of PyTorch, from a rate of 1."""
    torch = sys.modules["torch"]
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=1.0)
    scheduler, found = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.asarray(found)


@pytest.mark.only_on("torch")
@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (schedules.Step(0.3, 2), lambda lr, of: lr.StepLR(of, step_size=14, gamma=0.3)),
        (schedules.Step(0.3, (1, 4)), lambda lr, of: lr.MultiStepLR(of, [7, 28], gamma=0.3)),
        (schedules.Exponential(0.9, every=1), lambda lr, of: lr.ExponentialLR(of, 0.9)),
        (schedules.Cosine(), lambda lr, of: lr.CosineAnnealingLR(of, T_max=40)),
        (
            schedules.Warmup(schedules.Constant(), steps=9),
            lambda lr, of: lr.LinearLR(of, start_factor=1 / 9, total_iters=8),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_schedules_are_those_of_pytorch(backend: Backend, schedule, make):
    np.testing.assert_allclose(factors(schedule, 40), pytorch_factors(make, 40), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"factor": 0.0}, ValueError, "`factor` must be finite and above 0; got 0"),
        ({"factor": -1.0}, ValueError, "`factor` must be finite and above 0; got -1"),
        ({"factor": np.nan}, ValueError, "`factor` must be finite and above 0; got nan"),
        ({"factor": np.inf}, ValueError, "`factor` must be finite and above 0; got inf"),
        ({"factor": "a"}, TypeError, "`factor` must be a number; got str"),
        ({"factor": True}, TypeError, "`factor` must be a number; got bool"),
        ({"factor": 0.5, "every": 0}, ValueError, "`every` must be at least 1; got 0"),
        ({"factor": 0.5, "every": 2.0}, TypeError, "`every` must be an integer; got float"),
        ({"factor": 0.5, "first": 0}, ValueError, "`first` must be at least 1; got 0"),
        ({"factor": 0.5, "first": True}, TypeError, "`first` must be an integer; got bool"),
    ],
)
def test_settings_of_exponential_that_mean_nothing_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message) + "$"):
        schedules.Exponential(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"factor": 0}, ValueError, "`factor` must be finite and above 0; got 0"),
        ({"factor": None}, TypeError, "`factor` must be a number; got NoneType"),
        ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
        ({"epochs": 2.0}, TypeError, "`epochs` must be an integer; got float"),
        ({"epochs": True}, TypeError, "`epochs` must be an integer; got bool"),
        ({"epochs": [1, 2]}, TypeError, "`epochs` must be an integer or a tuple of integers; got list"),
        ({"epochs": ()}, ValueError, "`epochs` must hold at least one epoch where it is a tuple; got none"),
        ({"epochs": (0, 2)}, ValueError, "`epochs` must be at least 1; got 0"),
        ({"epochs": (1, 2.5)}, TypeError, "`epochs` must be an integer; got float"),
        ({"epochs": (1, 5, 5)}, ValueError, "`epochs` must rise where it is a tuple; got 5 after 5"),
        ({"epochs": (5, 3)}, ValueError, "`epochs` must rise where it is a tuple; got 3 after 5"),
    ],
)
def test_settings_of_step_that_mean_nothing_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message) + "$"):
        schedules.Step(**arguments)


def wrong_shape(step, **_):
    return 0.5


def by_one_too_long(step, **_):
    return np.ones(len(step) + 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 1, "steps": 1}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
        ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
        ({"epochs": 0.5}, TypeError, "`epochs` must be an integer; got float"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1; got 0"),
        ({"steps": "5"}, TypeError, "`steps` must be an integer; got str"),
        (
            {"schedule": 0.5},
            TypeError,
            "`schedule` must be a schedule, such as twolayer.schedules.Cosine(); got float",
        ),
        (
            {"schedule": None},
            TypeError,
            "`schedule` must be a schedule, such as twolayer.schedules.Cosine(); got NoneType",
        ),
        (
            {"schedule": schedules.Cosine},
            TypeError,
            "`schedule` must be a schedule, such as twolayer.schedules.Cosine(); got the class Cosine",
        ),
    ],
)
def test_settings_of_warmup_that_mean_nothing_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message) + "$"):
        schedules.Warmup(**arguments)


@pytest.mark.parametrize(("schedule", "came"), [(wrong_shape, "()"), (by_one_too_long, "(4,)")])
def test_a_warmup_refuses_factors_of_another_shape(schedule, came):
    message = f"`schedule` must return factors of shape (3,); got {came}"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        factors(schedules.Warmup(schedule), 3)


def test_schedules_are_compared_by_what_they_say():
    assert schedules.Exponential(0.5) == schedules.Exponential(0.5, None, None)
    assert schedules.Exponential(0.5) != schedules.Exponential(0.5, every=2)
    assert repr(schedules.Exponential(0.5, every=2)) == "Exponential(factor=0.5, every=2, first=None)"
    assert repr(schedules.Step()) == "Step(factor=0.1, epochs=10)"
    assert repr(schedules.Warmup(steps=3)) == "Warmup(schedule=Cosine(), epochs=None, steps=3)"


def test_schedules_are_hashable_data():
    assert len({*EACH, *EACH}) == len(EACH)
    assert hash(schedules.Step(0.5, (1, 2))) == hash(schedules.Step(0.5, epochs=(1, 2)))
    assert (schedules.Step() != schedules.Step(0.1)) is False


@pytest.mark.parametrize("schedule", EACH)
def test_schedules_can_be_copied_and_not_be_changed(schedule):
    for other in (
        copy.copy(schedule),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),  # noqa: S301  # our own bytes
        dataclasses.replace(schedule),
    ):
        assert type(other) is type(schedule)
        assert (other, hash(other), repr(other)) == (schedule, hash(schedule), repr(schedule))
    for field in dataclasses.fields(schedule):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(schedule, field.name, 1)


def test_a_schedule_is_equal_to_its_own_kind_alone():
    """As tuples, those without settings would all be the same."""

    class Own(NamedTuple):
        pass

    assert schedules.Cosine() != schedules.Constant()
    assert (schedules.Cosine() == schedules.Constant()) is False
    assert schedules.Cosine() == schedules.Cosine()
    assert schedules.Cosine() != ()
    assert len({schedules.Cosine(), schedules.Constant(), Own(), ()}) == 3


@given(
    st.one_of(
        st.builds(lambda n: schedules.Exponential(0.5, every=n), st.integers(1, 10**400)),
        st.builds(lambda n: schedules.Exponential(0.5, every=3, first=n), st.integers(1, 10**400)),
        st.builds(lambda n: schedules.Step(0.5, epochs=n), st.integers(1, 10**400)),
        st.builds(lambda n: schedules.Warmup(schedules.Step(), epochs=n), st.integers(1, 10**400)),
        st.builds(lambda n: schedules.Warmup(schedules.Exponential(0.5), steps=n), st.integers(1, 10**400)),
    ),
    st.sampled_from([1, 3, 10**6]),
)
def test_integers_of_any_size_are_numbers_of_steps(schedule, steps_per_epoch):
    """Beyond what an array's integers hold, too: such a warm-up never ends, such a decay never comes."""
    factors = schedule(np.arange(10), steps_per_epoch=steps_per_epoch, steps=10)
    assert factors.shape == (10,)
    assert (factors >= 0).all()
    assert (factors <= 1).all()


@pytest.mark.parametrize("n", [10**9, 2**53, 2**63, 10**400])
def test_what_comes_after_all_steps_changes_none(n):
    step = np.arange(10)
    for schedule in (schedules.Exponential(0.5, every=n), schedules.Step(0.5, epochs=n)):
        assert (schedule(step, steps_per_epoch=1, steps=10) == 1).all()
    assert (schedules.Warmup(epochs=n)(step, steps_per_epoch=1, steps=10) < 1e-7).all()
