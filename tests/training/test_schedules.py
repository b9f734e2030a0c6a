"""Factors of the learning rate, compared with their formulas and with PyTorch's schedulers."""

from __future__ import annotations

import math
import re
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend
from support.small_runs import make_task, trained

from twolayer import schedules


def factors(schedule, n: int, steps_per_epoch: int = 7) -> np.ndarray:
    return schedule(np.arange(n), steps_per_epoch=steps_per_epoch, steps=n)


def test_constant_is_one():
    assert factors(schedules.Constant(), 3).tolist() == [1.0, 1.0, 1.0]
    assert factors(schedules.Constant(), 0).shape == (0,)


def test_the_assignments_decay_comes_after_steps_1_96_and_191():
    found = factors(schedules.Exponential(0.95, every=95, first=1), 300)
    changed = (np.flatnonzero(np.diff(found)) + 1).tolist()  # number of steps done at each decay
    assert changed == [1, 96, 191, 286]
    np.testing.assert_allclose(found[[0, 1, 95, 96, 190, 191, 299]], 0.95 ** np.array([0, 1, 1, 2, 2, 3, 4]))


steps_of_runs = {
    "start": st.integers(0, 100),
    "n": st.integers(0, 40),
    "steps_per_epoch": st.integers(1, 20),
}


def assert_factors(schedule: Any, expected: Any, start: int, n: int, **run: int) -> None:
    """Assert that the factors of n steps are those of a function of one step."""
    found = schedule(np.arange(start, start + n), **run)
    assert (found.dtype, found.shape) == (np.float64, (n,))
    np.testing.assert_allclose(found, [expected(step) for step in range(start, start + n)], rtol=1e-12)


@given(
    factor=st.floats(0.01, 2),
    every=st.none() | st.integers(1, 20),
    first=st.none() | st.integers(1, 30),
    **steps_of_runs,
)
def test_exponential_counts_the_decays_before_each_step(factor, every, first, start, n, steps_per_epoch):
    period = every or steps_per_epoch

    def expected(step: int) -> float:
        return factor ** len(range(first or period, step + 1, period))

    schedule = schedules.Exponential(factor, every, first)
    assert_factors(schedule, expected, start, n, steps_per_epoch=steps_per_epoch, steps=1000)


@given(
    factor=st.floats(0.01, 2),
    epochs=st.integers(1, 20) | st.sets(st.integers(1, 40), min_size=1).map(lambda ends: (*sorted(ends),)),
    **steps_of_runs,
)
def test_step_counts_the_decays_before_each_step(factor, epochs, start, n, steps_per_epoch):
    ends = epochs if isinstance(epochs, tuple) else range(epochs, 200, epochs)

    def expected(step: int) -> float:
        return factor ** sum(end * steps_per_epoch <= step for end in ends)

    schedule = schedules.Step(factor, epochs)
    assert_factors(schedule, expected, start, n, steps_per_epoch=steps_per_epoch, steps=1000)


@given(n=st.integers(1, 60))
def test_cosine_falls_from_1_towards_0(n):
    found = factors(schedules.Cosine(), n)
    for step, value in enumerate(found):
        assert value == pytest.approx(math.cos(math.pi * step / (2 * n)) ** 2, abs=1e-12)
    assert found[0] == 1.0
    assert (np.diff(found) < 0).all()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found + np.append(0.0, found[:0:-1]), 1.0)  # symmetric about a half


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
def test_warmup_rises_and_then_follows_its_schedule(schedule, length, count, start, n, steps_per_epoch):
    steps = start + n + 1
    first = {"epochs": count * steps_per_epoch, "steps": count, None: steps_per_epoch}[length]

    def expected(step: int) -> float:
        asked, left = np.asarray([max(0, step - first)]), max(steps - first, 1)
        (own,) = schedule(asked, steps_per_epoch=steps_per_epoch, steps=left)
        return float(own) * min(1.0, (step + 1) / first)

    warmup = schedules.Warmup(schedule, **({} if length is None else {length: count}))
    assert_factors(warmup, expected, start, n, steps_per_epoch=steps_per_epoch, steps=steps)


def test_the_schedule_after_a_warmup_gets_the_remaining_steps():
    seen = []

    def own(step, *, steps_per_epoch, steps):
        seen.append((step.tolist(), step.dtype, steps_per_epoch, steps))
        return [1] * len(step)

    warmup = schedules.Warmup(own, steps=4)
    found = warmup(np.arange(2, 7), steps_per_epoch=3, steps=10)
    assert seen == [([0, 0, 0, 1, 2], np.int64, 3, 6)]
    assert found.tolist() == [0.75, 1.0, 1.0, 1.0, 1.0]
    warmup(np.arange(3), steps_per_epoch=3, steps=3)
    assert seen[1] == ([0, 0, 0], np.int64, 3, 1)


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
def test_factors_of_parts_equal_those_of_all_steps(schedule, cuts, steps_per_epoch):
    """`train` asks for some steps at a time, and a resumed run starts in the middle."""
    settings = {"steps_per_epoch": steps_per_epoch, "steps": 40}
    ends = [0, *sorted(cuts), 40]
    pieces = [schedule(np.arange(a, b), **settings) for a, b in pairwise(ends)]
    whole = schedule(np.arange(40), **settings)
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-15)
    assert np.isfinite(whole).all()
    assert (whole > 0).all()


def pytorch_factors(make, n: int) -> np.ndarray:
    """Learning rates of n steps of a PyTorch scheduler, from an initial rate of 1."""
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
def test_schedules_equal_those_of_pytorch(backend: Backend, schedule, make):
    np.testing.assert_allclose(factors(schedule, 40), pytorch_factors(make, 40), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "came"),
    [(lambda step, **_: 0.5, "()"), (lambda step, **_: np.ones(len(step) + 1), "(4,)")],
    ids=["number", "longer"],
)
def test_a_warmup_refuses_factors_of_another_shape(schedule, came):
    message = f"`schedule` must return factors of shape (3,); got {came}"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        factors(schedules.Warmup(schedule), 3)


def test_a_schedule_gets_the_steps_and_the_length_of_the_run():
    seen = []

    def schedule(step: np.ndarray, *, steps_per_epoch: int, steps: int) -> np.ndarray:
        seen.append((step.tolist(), steps_per_epoch, steps))
        assert step.dtype == np.int64
        return np.ones(len(step))

    trained(make_task(), epochs=None, steps=7, schedule=schedule)
    assert {(per_epoch, steps) for _, per_epoch, steps in seen} == {(5, 7)}
    assert [0, 1, 2, 3] in [step for step, *_ in seen]
    assert {i for step, *_ in seen for i in step} == set(range(7))


any_integer = st.integers(1, 10**400)


@given(
    schedule=st.builds(schedules.Exponential, st.just(0.5), any_integer)
    | st.builds(schedules.Exponential, st.just(0.5), st.just(3), any_integer)
    | st.builds(schedules.Step, st.just(0.5), any_integer)
    | st.builds(schedules.Warmup, st.just(schedules.Step()), epochs=any_integer)
    | st.builds(schedules.Warmup, st.just(schedules.Exponential(0.5)), steps=any_integer),
    steps_per_epoch=st.sampled_from([1, 3, 10**6]),
)
def test_numbers_of_steps_may_be_integers_of_any_size(schedule, steps_per_epoch):
    """Also beyond int64: such a warm-up never ends, and such a decay never comes."""
    factors = schedule(np.arange(10), steps_per_epoch=steps_per_epoch, steps=10)
    assert factors.shape == (10,)
    assert (factors >= 0).all()
    assert (factors <= 1).all()


@pytest.mark.parametrize("n", [10**9, 2**53, 2**63, 10**400])
def test_a_decay_after_all_steps_never_comes_and_a_longer_warmup_never_ends(n):
    step = np.arange(10)
    for schedule in (schedules.Exponential(0.5, every=n), schedules.Step(0.5, epochs=n)):
        assert (schedule(step, steps_per_epoch=1, steps=10) == 1).all()
    assert (schedules.Warmup(epochs=n)(step, steps_per_epoch=1, steps=10) < 1e-7).all()
