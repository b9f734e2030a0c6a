"""Distributions, and the candidates that sweep() draws from them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_runs import make_task
from support.sweeps import swept

import twolayer
from twolayer import Progress
from twolayer.optimizers import SGD, Adam
from twolayer.search import Choice, Integers, LogUniform, Uniform
from twolayer.settings import SETTINGS
from twolayer.sweeping.candidates import settings_of_grid

TASK = make_task()


def scipy_stats() -> Any:
    return pytest.importorskip("scipy.stats", reason="scipy is not installed")


RATES = LogUniform(1e-3, 1.0)
WIDE = {"learning_rate": RATES, "dropout": Uniform(0.0, 0.5), "n_hidden": [3, 4]}

# ---------------------------------------------------------------------------------------------------------
# Distributions


numbers = st.floats(-1e300, 1e300)
positive = st.floats(1e-300, 1e300)
integers = st.integers(-(2**53), 2**53)


@st.composite
def distributions(draw: st.DrawFn) -> Any:
    kind, one = draw(
        st.sampled_from([(Uniform, numbers), (LogUniform, positive), (Integers, integers), (Integers, None)])
    )
    ends = st.integers(1, 2**53) if one is None else one
    low, high = sorted(draw(st.lists(ends, min_size=2, max_size=2, unique=True)))
    return kind(low, high, log=True) if one is None else kind(low, high)


@given(found=distributions(), seed=st.integers(0, 2**32 - 1), legacy=st.booleans())
def test_values_lie_between_the_ends(found: Any, seed: int, legacy: bool) -> None:
    state = np.random.RandomState(seed) if legacy else np.random.default_rng(seed)
    values = found.rvs((5, 4), random_state=state)
    assert values.shape == (5, 4)
    assert ((found.low <= values) & (values <= found.high)).all()
    one = found.rvs(random_state=state)
    assert type(one) is (int if isinstance(found, Integers) else float)
    assert found.low <= one <= found.high


class Extreme(np.random.RandomState):
    """A generator of the smallest and the largest share that is possible."""

    def uniform(self, size: Any) -> Any:
        return np.array([0.0, np.nextafter(1.0, 0.0)])


@given(found=distributions())
def test_rounding_moves_no_value_beyond_the_ends(found: Any) -> None:
    least, greatest = found.rvs(2, random_state=Extreme())
    assert found.low <= least <= greatest <= found.high


@given(seed=st.integers(0, 2**32 - 1))
def test_an_integer_seed_equals_a_generator_of_that_seed(seed: int) -> None:
    for found in (RATES, Uniform(-1, 2), Integers(3, 9), Choice("abc"[i] for i in range(3))):
        again = np.random.default_rng(seed)
        assert found.rvs(random_state=seed) == found.rvs(random_state=again)
    assert RATES.rvs() != RATES.rvs()


def test_values_have_the_distributions_of_scipy() -> None:
    for found, same in (
        (LogUniform(1e-4, 10.0), scipy_stats().loguniform(1e-4, 10.0)),
        (Uniform(-1.0, 3.0), scipy_stats().uniform(-1.0, 4.0)),
    ):
        assert scipy_stats().kstest(found.rvs(2000, random_state=0), same.cdf).pvalue > 0.01


@pytest.mark.parametrize("log", [False, True])
def test_integers_occur_with_their_probabilities(log: bool) -> None:
    values = Integers(1, 6, log=log).rvs(6000, random_state=0)
    shares = [math.log((n + 1) / n) / math.log(7) if log else 1 / 6 for n in range(1, 7)]
    counts = np.bincount(values, minlength=7)
    assert scipy_stats().chisquare(counts[1:], 6000 * np.array(shares)).pvalue > 0.01
    assert counts[0] == 0


def test_a_choice_returns_the_values_themselves() -> None:
    values = [SGD(0.5), (1, 2), [3], None, "he"]
    found = Choice(values).rvs(200, random_state=0)
    assert {id(one) for one in found} == {id(one) for one in values}
    assert any(Choice(values).rvs(random_state=0) is one for one in values)


BAD = {
    "log-zero": (LogUniform, (0, 1), ValueError, "`low` must be finite and above 0; got 0"),
    "log-order": (LogUniform, (2, 1), ValueError, "`high` must be finite and above 2; got 1"),
    "log-inf": (LogUniform, (1, math.inf), ValueError, "`high` must be finite and above 1; got inf"),
    "uniform-nan": (Uniform, (math.nan, 1), ValueError, "`low` must be finite; got nan"),
    "uniform-equal": (Uniform, (1, 1), ValueError, "`high` must be finite and above 1; got 1"),
    "uniform-text": (Uniform, ("0", 1), TypeError, "`low` must be a number; got str"),
    "integers-float": (Integers, (1, 2.5), TypeError, "`high` must be an integer; got float"),
    "integers-order": (Integers, (5, 5), ValueError, "`high` must be at least 6; got 5"),
    "integers-far": (Integers, (5, 2**60), ValueError, f"`high` must be at most 2**53; got {2**60}"),
    "choice-text": (Choice, ("abc",), TypeError, "`values` must be a sequence of values; got str"),
    "choice-number": (Choice, (3,), TypeError, "`values` must be a sequence of values; got int"),
    "choice-none": (Choice, ([],), ValueError, "`values` must hold at least one value; got none"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_distributions_are_refused(case: str) -> None:
    kind, ends, error, message = BAD[case]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        kind(*ends)
    with pytest.raises(ValueError, match=r"^`low` must be at least 1; got 0$"):
        Integers(0, 5, log=True)


def test_scikit_learn_can_draw_from_the_distributions() -> None:
    selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
    space = {**WIDE, "n_hidden": Integers(3, 90, log=True), "optimizer": Choice([SGD(), Adam()])}
    drawn = list(selection.ParameterSampler(space, 20, random_state=0))
    assert all(1e-3 <= one["learning_rate"] <= 1 and 3 <= one["n_hidden"] <= 90 for one in drawn)
    assert len({one["learning_rate"] for one in drawn}) == 20
    assert {type(one["optimizer"]) for one in drawn} == {SGD, Adam}


def test_scipy_is_not_imported() -> None:
    code = "import sys, twolayer; twolayer.search.LogUniform(1, 2).rvs(); assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------------------------------------------
# Candidates


@pytest.mark.filterwarnings("ignore:`candidates` is:UserWarning")
@given(seed=st.integers(0, 2**40), n=st.integers(1, 20), more=st.integers(0, 20))
def test_fewer_candidates_are_the_first_of_more(seed: int, n: int, more: int) -> None:
    for grid in (WIDE, {"reg": [0.0, 0.1, 0.2], "n_hidden": range(1, 5)}):
        few = settings_of_grid(grid, n, seed=seed)
        many = settings_of_grid(grid, n + more, seed=seed)
        assert many[: len(few)] == few
        assert (
            len({tuple(one.values()) for one in many})
            == len(many)
            == min(n + more, 12 if "reg" in grid else 40)
        )


def test_seeds_draw_different_candidates() -> None:
    assert settings_of_grid(WIDE, 3, seed=0) != settings_of_grid(WIDE, 3, seed=1)
    assert [one["n_hidden"] for one in settings_of_grid(WIDE, 4, seed=0)] == [
        4,
        3,
        3,
        4,
    ]  # these must never change


@pytest.mark.filterwarnings("ignore:candidates that differ in n_hidden:UserWarning")
@pytest.mark.parametrize("kind", ["list", "choice", "integers", "scipys"])
def test_all_candidates_are_used_if_there_are_fewer_than_asked_for(kind: str) -> None:
    values = {"list": [1, 2, 3], "choice": Choice([1, 2, 3]), "integers": Integers(1, 3)}
    grid = {"n_hidden": values.get(kind) or scipy_stats().randint(1, 4), "reg": [0.0, 0.1]}
    with pytest.warns(
        UserWarning, match="`candidates` is 64, but `grid` seems to have only 6 different ones"
    ):
        drawn = settings_of_grid(grid, 64, seed=0)
    assert sorted((one["n_hidden"], one["reg"]) for one in drawn) == [*product([1, 2, 3], [0.0, 0.1])]


def test_each_candidate_is_trained_with_every_seed() -> None:
    grid = {"learning_rate": RATES, "seed": iter([4, 7]), "n_hidden": [3]}
    result = swept(TASK, grid, candidates=3, rng=5)
    assert [row["seed"] for row in result.runs] == [4, 7] * 3
    assert [row["n_seeds"] for row in result.table] == [2, 2, 2]
    rates = [
        one["learning_rate"] for one in settings_of_grid({"learning_rate": RATES, "n_hidden": [3]}, 3, seed=5)
    ]
    assert [row["learning_rate"] for row in result.table] == rates
    again = swept(
        TASK, [{"learning_rate": rate, "seed": seed, "n_hidden": 3} for rate in rates for seed in (4, 7)]
    )
    assert again.table == result.table


def test_drawn_values_become_python_numbers() -> None:
    grid = {
        "learning_rate": scipy_stats().loguniform(1e-3, 1e-1),
        "reg": np.logspace(-4, -2, 3, dtype="float32"),
        "n_hidden": Choice(np.array([3, 4])),
        "weight_scale": Choice(["he", np.float32(0.5)]),
        "optimizer": [SGD(), SGD(0.9)],
    }
    result = swept(TASK, grid, candidates=5)
    kinds = {"learning_rate": {float}, "reg": {float}, "n_hidden": {int}, "weight_scale": {float, str}}
    for name, expected in kinds.items():
        assert {type(row[name]) for row in result.table} <= expected
    assert {row["optimizer"] for row in result.table} <= {SGD(), SGD(0.9)}


def test_drawn_values_are_checked_before_any_training() -> None:
    called: list[Progress] = []
    for space, message in (
        ({"dropout": Uniform(1.0, 2.0)}, r"`dropout` must be in \[0, 1\); got 1\."),
        ({"n_units": RATES}, "`grid` must name settings among"),
    ):
        with pytest.raises(ValueError, match=message):
            swept(TASK, space, candidates=3, callbacks=[called.append])
    with pytest.raises(TypeError, match="`batch_size` must be an integer; got float"):
        swept(TASK, {"batch_size": Choice([1.5])}, candidates=1, callbacks=[called.append])
    assert called == []


REFUSED = {
    "alone": (
        {"reg": RATES},
        None,
        ValueError,
        "`candidates` must be given if `grid` has a distribution; got Log",
    ),
    "list": ([{"reg": 0.1}], 3, TypeError, "`grid` must be a mapping, to draw `candidates` from; got list"),
    "zero": (WIDE, 0, ValueError, "`candidates` must be at least 1; got 0"),
    "float": (WIDE, 2.0, TypeError, "`candidates` must be an integer; got float"),
    "seeds": (
        {"seed": Integers(0, 9)},
        3,
        TypeError,
        "`grid` must map names to sequences of values; got Integers(",
    ),
    "text": (
        {"reg": "0.1"},
        3,
        TypeError,
        "`grid` must map names to sequences of values; got '0.1' for 'reg'",
    ),
    "empty": ({"reg": []}, 3, ValueError, "`values` must hold at least one value; got none"),
    "no-seeds": (
        {"reg": RATES, "seed": []},
        3,
        ValueError,
        "`grid` must hold at least one candidate; got none",
    ),
    "inside": ([{"reg": RATES}], None, TypeError, "`reg` must be a number; got LogUniform"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_searches_are_refused(case: str) -> None:
    grid, candidates, error, message = REFUSED[case]
    with pytest.raises(error, match="^" + re.escape(message)):
        swept(TASK, grid, candidates=candidates)


@pytest.mark.parametrize("values", [range(2, 7), Integers(2, 90), Choice([2, 3, 4, 5, 6])])
def test_many_shapes_give_a_warning(values: Any) -> None:
    message = (
        r"^candidates that differ in n_hidden do not train in one stack: these 6 make at least (\d) stacks"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        result = swept(TASK, {"n_hidden": values, "learning_rate": RATES}, candidates=6, epochs=1)
    n_stacks = len({row["n_hidden"] for row in result.table})
    (warning,) = (one for one in caught if "stack" in str(one.message))
    assert int(re.match(message, str(warning.message))[1]) == n_stacks
    assert warning.filename.endswith("sweeps.py")  # support/sweeps.py calls sweep()


def test_few_shapes_give_no_warning() -> None:
    grid = {"n_hidden": [2, 3, 4, 5], "batch_size": Choice([5, 10]), "learning_rate": RATES}
    assert len(swept(TASK, grid, candidates=3, epochs=1).table) == 3
    swept(TASK, {"n_hidden": range(2, 8)}, epochs=1)  # nor does a grid without `candidates`


@pytest.mark.parametrize("name", ["learning_rate", "n_hidden", "dropout"])
def test_settings_are_drawn_on_their_own_scale(name: str) -> None:
    kinds = {
        "learning_rate": LogUniform(1, 2),
        "n_hidden": Integers(1, 2, log=True),
        "dropout": Uniform(1, 2),
    }
    assert SETTINGS[name].between(1, 2) == kinds[name]


def test_search_is_a_module_of_the_package() -> None:
    assert twolayer.search.LogUniform is LogUniform
