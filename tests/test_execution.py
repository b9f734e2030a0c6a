from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from backends import Backend, to_host

from twolayer._namespace import fuses
from twolayer.training import execution
from twolayer.training.execution import Steps, lean, prepared, running


def double(state, x, *, xp):
    assert xp is not None
    return xp.asarray(state, copy=True) * 2.0 + x


def test_a_prepared_function_knows_its_library(backend: Backend):
    seen = []

    def function(a, *, xp):
        seen.append(xp)
        return xp.sum(a)

    total = prepared(function, backend.xp)(backend.array(np.arange(4.0)))
    assert seen == [lean(backend.xp)]
    assert backend.owns(total)
    assert float(total) == 6.0


def test_steps_run_in_numpy_itself_and_in_the_namespace_of_any_other_library(backend: Backend, monkeypatch):
    own = backend.library == "numpy"
    if backend.library == "cupy":  # its own, but that it fuses: tests/test_fusing.py
        assert fuses(lean(backend.xp))
        return
    assert lean(backend.xp) is (np if own and hasattr(np, "unstack") else backend.xp)
    monkeypatch.delattr(np, "unstack", raising=False)  # as in NumPy 2.0, which lacks some of the standard
    assert lean(backend.xp) is backend.xp


def test_what_was_prepared_is_kept(backend: Backend):
    """Else JAX would compile anew for every run."""
    one = prepared(double, backend.xp)
    assert prepared(double, backend.xp) is one
    assert prepared(double, backend.xp, consumes=True) is not one


def scaled(state, *, xp, factor, offset=0.0):
    return state * float(factor) + float(offset)


class Factor:  # noqa: PLW1641  # that it has no hash is the point
    """A number by which to multiply; equal ones are interchangeable."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Factor) and self.value == other.value

    def __float__(self) -> float:
        return self.value


class HashableFactor(Factor):
    def __hash__(self) -> int:
        return hash(self.value)


@pytest.mark.parametrize("consumes", [False, True])
def test_what_is_fixed_is_bound_and_told_apart(backend: Backend, consumes):
    def call(function) -> list[float]:
        return to_host(function(backend.array(np.ones(2)))).tolist()

    twice = prepared(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0))
    thrice = prepared(scaled, backend.xp, consumes=consumes, factor=HashableFactor(3.0))
    more = prepared(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0), offset=1.0)
    assert [call(f) for f in (twice, thrice, more)] == [[2.0, 2.0], [3.0, 3.0], [3.0, 3.0]]
    same = prepared(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0))
    assert same is twice
    assert prepared(scaled, backend.xp, consumes=consumes, offset=1.0, factor=HashableFactor(2.0)) is more


def test_what_cannot_be_hashed_is_bound_all_the_same_but_not_kept(backend: Backend):
    with pytest.raises(TypeError, match="unhashable"):
        hash(Factor(2.0))
    factor = Factor(2.0)
    first = prepared(scaled, backend.xp, factor=factor)
    factor.value = 5.0
    second = prepared(scaled, backend.xp, factor=factor)
    assert second is not first
    assert to_host(second(backend.array(np.ones(2)))).tolist() == [5.0, 5.0]
    inside = prepared(scaled, backend.xp, factor=HashableFactor(2.0), offset=np.ones(()))
    assert to_host(inside(backend.array(np.ones(2)))).tolist() == [3.0, 3.0]


class Twice(NamedTuple):
    factor: float = 2.0


class Half(NamedTuple):
    factor: float = 2.0


def test_equal_tuples_of_two_kinds_are_prepared_apart(backend: Backend):
    """A user's optimizers or augmentations, which hold the same numbers and do something else."""

    def function(a, *, xp, method):
        kind = method[0]
        return a * kind.factor if isinstance(kind, Twice) else a / kind.factor

    one, other = (prepared(function, backend.xp, method=(kind(),)) for kind in (Twice, Half))
    a = backend.array(np.ones(2))
    assert to_host(one(a)).tolist() == [2.0, 2.0]
    assert to_host(other(a)).tolist() == [0.5, 0.5]
    assert prepared(function, backend.xp, method=(Twice(),)) is one


@pytest.mark.parametrize("consumes", [False, True])
def test_the_other_arguments_are_never_consumed(backend: Backend, consumes):
    function = prepared(double, backend.xp, consumes=consumes)
    state, x = backend.array(np.ones(3)), backend.array(np.ones(3))
    state = function(state, x)
    state = function(state, x)
    assert to_host(state).tolist() == [7.0, 7.0, 7.0]
    assert to_host(x).tolist() == [1.0, 1.0, 1.0]


def test_only_jax_compiles_and_then_gives_up_the_first_argument_alone(backend: Backend):
    function = prepared(double, backend.xp, consumes=True)
    assert isinstance(function, partial) == (backend.library != "jax")
    state = backend.array(np.ones(3))
    function(state, state + 0.0)
    if backend.library == "jax":
        assert state.is_deleted()
        kept = backend.array(np.ones(3))
        prepared(double, backend.xp)(kept, kept)
        assert not kept.is_deleted()


def test_overflow_is_silent_while_running_and_only_then(backend: Backend):
    before = np.geterr()
    with running(backend.xp):
        huge = np.full(2, 1e300)
        zero = np.zeros(2)
        assert np.isinf(huge * huge).all()
        assert np.isnan(zero / zero).all()
        assert np.isinf(huge / zero).all()
    assert np.geterr() == before
    with pytest.raises(RuntimeWarning, match="overflow"):
        np.multiply(huge, huge)


def test_settings_are_put_back_where_the_block_raises(backend: Backend):
    before = np.geterr()

    def fail() -> None:
        with running(backend.xp):
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert np.geterr() == before
    if backend.library == "torch":
        assert backend.xp.is_grad_enabled()


def test_pytorch_records_no_gradients_while_running(backend: Backend):
    if backend.library != "torch":
        assert not hasattr(backend.xp, "is_grad_enabled")
        return
    with running(backend.xp):
        assert not backend.xp.is_grad_enabled()
    assert backend.xp.is_grad_enabled()


def added(state, constant, one, *, xp, factor=1.0):
    state = xp.asarray(state, copy=True) + factor * constant * one[0]
    return state, (xp.sum(state), one[1][0] + 0.0)


def doubled(seen, constant, *, xp):
    """(m,) each: what m steps saw, twice, the second plus the constant."""
    sums, numbers = (xp.stack(each) for each in zip(*seen, strict=True))
    return 2.0 * sums, 2.0 * numbers + constant[0]


@pytest.mark.parametrize("held", [1, 2, 2**17])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_steps_are_taken_in_turn_and_reported(backend: Backend, monkeypatch, n, held):
    monkeypatch.setattr(execution, "SCANNED_STEPS", 2)
    monkeypatch.setattr(execution, "HELD_BY_CUPY" if backend.library == "cupy" else "HELD_NUMBERS", held)
    steps = Steps(added, doubled, backend.xp, factor=10.0)
    numbers = np.arange(1.0, n + 1)
    varying = (numbers, (100 * numbers, None))
    done = 0
    sums, seen = [], []
    for state, taken in steps.take(
        backend.array(np.ones(3)), backend.array(np.full(3, 0.5)), varying, backend.array
    ):
        assert taken == (2 if backend.library == "jax" and n - done >= 2 else 1)
        done += taken
        assert to_host(state).tolist() == [1.0 + 5.0 * sum(range(1, done + 1))] * 3
        if done == 2:  # in the middle, as a callback may ask
            for first, second in steps.reported():
                sums += to_host(first).tolist()
                seen += to_host(second).tolist()
            assert len(sums) == 2
    assert done == n
    for first, second in steps.reported():
        sums += to_host(first).tolist()
        seen += to_host(second).tolist()
    assert steps.reported() == []
    assert sums == [2 * 3 * (1.0 + 5.0 * sum(range(1, i + 1))) for i in range(1, n + 1)]
    assert seen == (200 * numbers + 0.5).tolist()


def test_what_is_seen_is_not_held_for_ever(backend: Backend, monkeypatch):
    monkeypatch.setattr(execution, "SCANNED_STEPS", 10**9)
    monkeypatch.setattr(execution, "HELD_BY_CUPY" if backend.library == "cupy" else "HELD_NUMBERS", 3)
    lengths = []

    def counted(seen, constant, *, xp):
        lengths.append(len(seen))
        return (xp.stack([one[0] for one in seen]),)

    steps = Steps(added, counted, backend.xp)
    numbers = np.arange(7.0)
    varying = (numbers, (numbers, None))
    for _ in steps.take(backend.array(np.ones(3)), backend.array(np.ones(3)), varying, backend.array):
        pass
    assert lengths == ([1] if backend.library == "jax" else [3, 3, 1])  # JAX compiled it once


def test_what_takes_steps_is_compiled_once(backend: Backend):
    one, other = (Steps(added, doubled, backend.xp) for _ in range(2))
    assert vars(one)["_one_step"] is vars(other)["_one_step"]
    assert vars(one).get("_scanned") is vars(other).get("_scanned")
