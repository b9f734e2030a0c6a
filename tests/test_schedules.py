from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        factors(schedules.Exponential(**arguments), 3)


def test_schedules_are_compared_by_what_they_say():
    assert schedules.Exponential(0.5) == schedules.Exponential(0.5, None, None)
    assert schedules.Exponential(0.5) != schedules.Exponential(0.5, every=2)
    assert repr(schedules.Exponential(0.5, every=2)) == "Exponential(factor=0.5, every=2, first=None)"
