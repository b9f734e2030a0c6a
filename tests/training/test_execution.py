"""Compiled functions, blocks of steps, and the settings of libraries while steps run."""

from __future__ import annotations

import sys
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from support.backends import Backend, to_host

from twolayer import TwoLayerNet, optimizers, train
from twolayer._forms import fast_namespace
from twolayer._namespace import FastNamespace
from twolayer.training import execution
from twolayer.training.execution import Steps, _unstacked, compiled, running


def double(state, x, *, xp):
    assert xp is not None
    return xp.asarray(state, copy=True) * 2.0 + x


def test_a_compiled_function_gets_its_namespace(backend: Backend):
    seen = []

    def function(a, *, xp):
        seen.append(xp)
        return xp.sum(a)

    total = compiled(function, backend.xp)(backend.array(np.arange(4.0)))
    assert seen == [fast_namespace(backend.xp)]
    assert backend.owns(total)
    assert float(total) == 6.0


def test_steps_run_in_the_librarys_namespace_or_in_one_with_fast_forms(backend: Backend, monkeypatch):
    xp = fast_namespace(backend.xp)
    if backend.library not in ("numpy", "cupy", "torch"):
        assert xp is backend.xp
        return
    assert isinstance(xp, FastNamespace)  # its leaves are tested in tests/mathematics/test_fusing.py
    assert fast_namespace(backend.xp) is xp
    if backend.library == "numpy":
        assert xp.sum is (np.sum if hasattr(np, "unstack") else backend.xp.sum)
        monkeypatch.delattr(
            np, "unstack", raising=False
        )  # as in NumPy 2.0, which lacks parts of the standard
        fast_namespace.cache_clear()
        assert fast_namespace(backend.xp).sum is backend.xp.sum
        fast_namespace.cache_clear()


def scaled(state, *, xp, factor, offset=0.0):
    return state * float(factor) + float(offset)


class Factor:  # noqa: PLW1641  # tests need an object without a hash
    """A number to multiply by; equal factors are interchangeable."""

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
def test_fixed_arguments_are_bound_and_cached_by_value(backend: Backend, consumes):
    def call(function) -> list[float]:
        return to_host(function(backend.array(np.ones(2)))).tolist()

    twice = compiled(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0))
    thrice = compiled(scaled, backend.xp, consumes=consumes, factor=HashableFactor(3.0))
    more = compiled(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0), offset=1.0)
    assert [call(f) for f in (twice, thrice, more)] == [[2.0, 2.0], [3.0, 3.0], [3.0, 3.0]]
    same = compiled(scaled, backend.xp, consumes=consumes, factor=HashableFactor(2.0))
    assert same is twice  # otherwise JAX would compile again for every run
    assert compiled(scaled, backend.xp, consumes=not consumes, factor=HashableFactor(2.0)) is not twice
    assert compiled(scaled, backend.xp, consumes=consumes, offset=1.0, factor=HashableFactor(2.0)) is more


def test_unhashable_arguments_are_bound_but_not_cached(backend: Backend):
    with pytest.raises(TypeError, match="unhashable"):
        hash(Factor(2.0))
    factor = Factor(2.0)
    first = compiled(scaled, backend.xp, factor=factor)
    factor.value = 5.0
    second = compiled(scaled, backend.xp, factor=factor)
    assert second is not first
    assert to_host(second(backend.array(np.ones(2)))).tolist() == [5.0, 5.0]
    inside = compiled(scaled, backend.xp, factor=HashableFactor(2.0), offset=np.ones(()))
    assert to_host(inside(backend.array(np.ones(2)))).tolist() == [3.0, 3.0]


class Twice(NamedTuple):
    factor: float = 2.0


class Half(NamedTuple):
    factor: float = 2.0


def test_equal_tuples_of_two_classes_are_compiled_separately(backend: Backend):
    """A user's optimizers or augmentations, for example, may hold the same numbers but differ in effect."""

    def function(a, *, xp, kind):
        return a * kind.factor if isinstance(kind, Twice) else a / kind.factor

    one, other = (compiled(function, backend.xp, kind=kind()) for kind in (Twice, Half))
    a = backend.array(np.ones(2))
    assert to_host(one(a)).tolist() == [2.0, 2.0]
    assert to_host(other(a)).tolist() == [0.5, 0.5]
    assert compiled(function, backend.xp, kind=Twice()) is one


def test_a_tree_of_several_steps_is_divided_into_one_for_each():
    tree = Twice((np.arange(6).reshape(3, 2), None, ((), np.ones(3))))
    found = list(_unstacked(tree, list))
    assert [type(one) for one in found] == [Twice] * 3
    for i, (rows, missing, (nothing, number)) in enumerate(one.factor for one in found):
        assert rows.tolist() == [2 * i, 2 * i + 1]
        assert (missing, nothing, number) == (None, (), 1.0)


@pytest.mark.parametrize("consumes", [False, True])
def test_arguments_after_the_first_are_never_consumed(backend: Backend, consumes):
    function = compiled(double, backend.xp, consumes=consumes)
    state, x = backend.array(np.ones(3)), backend.array(np.ones(3))
    state = function(state, x)
    state = function(state, x)
    assert to_host(state).tolist() == [7.0, 7.0, 7.0]
    assert to_host(x).tolist() == [1.0, 1.0, 1.0]


def test_only_jax_compiles_and_it_donates_only_the_first_argument(backend: Backend):
    function = compiled(double, backend.xp, consumes=True)
    assert isinstance(function, partial) == (backend.library != "jax")
    state = backend.array(np.ones(3))
    function(state, state + 0.0)
    if backend.library == "jax":
        assert state.is_deleted()
        kept = backend.array(np.ones(3))
        compiled(double, backend.xp)(kept, kept)
        assert not kept.is_deleted()


def test_overflow_and_underflow_are_silent_while_running_and_only_then(backend: Backend):
    before = np.geterr()
    with running(backend.xp):
        huge = np.full(2, 1e300)
        zero = np.zeros(2)
        assert np.isinf(huge * huge).all()
        assert np.isnan(zero / zero).all()
        assert np.isinf(huge / zero).all()
        with np.errstate(all="raise"), running(backend.xp):
            assert (np.exp(-huge) == 0).all()
    assert np.geterr() == before
    with pytest.raises(RuntimeWarning, match="overflow"):
        np.multiply(huge, huge)


def test_settings_are_restored_if_the_block_raises(backend: Backend):
    before = np.geterr()
    records_gradients = getattr(backend.xp, "is_grad_enabled", lambda: None)  # PyTorch's
    assert (records_gradients() is None) == (backend.library != "torch")

    def fail() -> None:
        with running(backend.xp):
            assert not records_gradients()
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert np.geterr() == before
    assert records_gradients() in (None, True)


def added(state, constant, one, *, xp, factor=1.0):
    state = xp.asarray(state, copy=True) + factor * constant * one[0]
    return state, (xp.sum(state), one[1][0] + 0.0)


def doubled(seen, constant, *, xp):
    """(m,) each: twice the results of m steps, plus the constant for the second."""
    sums, numbers = (xp.stack(each) for each in zip(*seen, strict=True))
    return 2.0 * sums, 2.0 * numbers + constant[0]


@pytest.mark.parametrize("held", [1, 2, 2**17])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_steps_are_taken_in_turn_and_reported(backend: Backend, monkeypatch, n, held):
    monkeypatch.setattr(execution, "BLOCK_STEPS", 2)
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
        if done == 2:  # a callback may ask for the reports in the middle
            for first, second in steps.reported():
                sums += first.tolist()
                seen += second.tolist()
            assert len(sums) == 2
    assert done == n
    for reported in steps.reported():
        assert all(type(array) is np.ndarray for array in reported)
        sums += reported[0].tolist()
        seen += reported[1].tolist()
    assert steps.reported() == []
    assert sums == [2 * 3 * (1.0 + 5.0 * sum(range(1, i + 1))) for i in range(1, n + 1)]
    assert seen == (200 * numbers + 0.5).tolist()


def compiled_blocks(caplog: pytest.LogCaptureFixture) -> int:
    """How often JAX logged that it compiled a block of steps."""
    said = [record.getMessage().split(" with ")[0] for record in caplog.records]
    return sum(message.startswith("Compiling") and "_block" in message for message in said)


class Placing:
    """Copies host arrays to the device, and keeps them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.placed: list[np.ndarray] = []

    def __call__(self, host: np.ndarray):
        self.placed.append(host)
        return self.backend.array(host)


def last_of(taking) -> tuple[object, list[int]]:
    """The last state, and how many steps were taken at a time."""
    states, taken = zip(*taking, strict=True)
    return states[-1], list(taken)


def squared(seen, constant, *, xp):
    """(m, 2) of m steps: more than one number for each step."""
    numbers = xp.stack([one[1] for one in seen])
    return (xp.stack([numbers, numbers**2], axis=1),)


@pytest.mark.only_on("jax")
@pytest.mark.parametrize("n", [1, 25, 32, 50, 64, 65])
def test_jax_runs_a_block_in_one_call_and_any_number_of_steps_with_one_program(backend: Backend, caplog, n):
    steps, place = Steps(added, squared, backend.xp, factor=0.5), Placing(backend)
    block, calls = vars(steps)["_block"], []

    def called(*args):
        calls.append(args)
        return block(*args)

    vars(steps)["_block"] = called
    numbers = np.arange(1.0, n + 1)
    # The last array has an axis of length 0, as have the coefficients of an optimizer without any.
    varying = (numbers, (3 * numbers, np.zeros((n, 0))))
    start, constant = backend.array(np.zeros(2)), backend.array(np.ones(2))
    state, taken = last_of(steps.take(start, constant, varying, place))
    assert start.is_deleted()  # its memory was donated to the next state
    assert taken == [32] * (n // 32) + [n % 32] * (n % 32 > 0)
    assert len(calls) == len(taken)
    assert {array.shape[0] for array in place.placed} == {32}
    assert to_host(state).tolist() == [n * (n + 1) / 4] * 2
    reported = [array for (array,) in steps.reported()]
    assert [len(array) for array in reported] == taken
    assert np.concatenate(reported).tolist() == [[3 * i, 9 * i**2] for i in numbers.tolist()]
    again = np.ones(7), (np.ones(7), np.zeros((7, 0)))
    with sys.modules["jax"].log_compiles():
        caplog.clear()
        _, once_more = last_of(steps.take(state, constant, again, place))
    assert once_more == [7]
    assert not compiled_blocks(caplog)


@pytest.mark.only_on("jax")
@pytest.mark.parametrize("parts", [(40,), (32, 8), (3, 37), (1, 1, 38), (20, 20)])
def test_jaxs_steps_are_equal_bit_for_bit_however_they_are_divided(backend: Backend, parts):
    rng = np.random.default_rng(0)
    numbers, others = rng.normal(size=(40, 5)), rng.normal(size=(40, 5))

    def taken(parts: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        steps = Steps(turned, doubled, backend.xp)
        state, done = backend.array(np.ones(5)), 0
        for n in parts:
            varying = numbers[done : done + n], others[done : done + n]
            state, _ = last_of(steps.take(state, backend.array(np.full(5, 0.7)), varying, backend.array))
            done += n
        return to_host(state), *(np.concatenate(each) for each in zip(*steps.reported(), strict=True))

    for found, expected in zip(taken(parts), taken((32, 8)), strict=True):
        np.testing.assert_array_equal(found, expected)


def turned(state, constant, one, *, xp):
    state = xp.tanh(state * one[0]) / 3.0 + constant * one[1]
    return state, (xp.sum(state), xp.sum(state * one[0]))


@pytest.mark.parametrize(
    ("n", "bound", "lengths"),
    [
        (35, 32 * 40, [32, 32]),
        (35, 32 * 40 - 1, [32, 4]),
        (1, 32 * 40, [32]),
        *(
            (n, 0, [most])
            for n, most in ((32, 32), (31, 32), (17, 32), (16, 16), (5, 8), (3, 4), (2, 2), (1, 1))
        ),
    ],
)
def test_padding_takes_little_memory(backend: Backend, monkeypatch, n, bound, lengths):
    """A step has 40 bytes. Blocks are padded to 32 steps within the bound, else to the next power of two."""
    monkeypatch.setattr(execution, "PADDED_BYTES", bound)
    steps, place = Steps(added, doubled, backend.xp), Placing(backend)
    numbers = np.arange(4.0 * n).reshape(n, 4)
    varying = (numbers[:, 0], (numbers[:, :3], None, numbers[:, 1:2]))
    for _ in steps.take(backend.array(np.ones(3)), backend.array(np.ones(3)), varying, place):
        pass
    if backend.library != "jax":
        lengths = [n]
    firsts = place.placed[::3]  # three arrays of each block
    assert [len(array) for array in firsts] == lengths
    assert sum(len(array) for array in place.placed) == 3 * sum(lengths)
    padded = np.concatenate([np.arange(0.0, 4.0 * n, 4.0), np.full(sum(lengths) - n, 4.0 * (n - 1))])
    np.testing.assert_array_equal(np.concatenate(firsts), padded)
    assert sum(len(first) for first, _ in steps.reported()) == n


def test_only_a_limited_number_of_results_is_held(backend: Backend, monkeypatch):
    monkeypatch.setattr(execution, "HELD_BY_CUPY" if backend.library == "cupy" else "HELD_NUMBERS", 6)
    lengths = []  # each step has two numbers as its result

    def counted(seen, constant, *, xp):
        lengths.append(len(seen))
        return (xp.stack([one[0] for one in seen]),)

    steps = Steps(added, counted, backend.xp)
    numbers = np.arange(7.0)
    varying = (numbers, (numbers, None))
    for _ in steps.take(backend.array(np.ones(3)), backend.array(np.ones(3)), varying, backend.array):
        pass
    assert lengths == ([1] if backend.library == "jax" else [3, 3, 1])  # JAX traced it once


def test_the_functions_that_run_steps_are_compiled_once(backend: Backend):
    one, other = (vars(Steps(added, doubled, backend.xp)) for _ in range(2))
    names = ("_block",) if backend.library == "jax" else ("_one_step", "_report")
    assert all(one[name] is other[name] for name in names)


@pytest.mark.only_on("jax")
@pytest.mark.parametrize("changes", [{}, {"momentum": 0.9}, {"average": 0.5}], ids=str)
def test_a_training_compiles_its_steps_once_for_each_batch_size(backend: Backend, caplog, changes):
    """An epoch has 33 full batches and a short one."""
    jax = sys.modules["jax"]
    optimizer = optimizers.SGD(changes.get("momentum", 0.0) + 0.015625)  # a value that no other test compiles
    rng = np.random.default_rng(0)
    X, y = backend.array(rng.normal(size=(100, 4))), backend.array(np.arange(100) % 3)
    net = TwoLayerNet.initialize(4, 5, 3, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    how = {"batch_size": 3, "optimizer": optimizer, "ema_decay": changes.get("average"), "rng": 0}

    def compiled(epochs: int) -> int:
        caplog.clear()
        with jax.log_compiles():
            train(net, X, y, validation=(X, y), epochs=epochs, **how)
        return compiled_blocks(caplog)

    assert compiled(2) == 2
    assert compiled(3) == 0


@pytest.mark.only_on("jax")
def test_a_transfer_guard_of_jax_stops_uncompiled_calls_unless_lifted(backend: Backend):
    import jax

    net = TwoLayerNet.initialize(4, 5, 3, rng=0, xp=backend.xp, device=backend.device)
    X = backend.array(np.ones((6, 4)), "float32")
    logits = jax.jit(lambda net, X: net.logits(X))
    expected = to_host(net.logits(X))
    with jax.transfer_guard_host_to_device("disallow"):
        np.testing.assert_allclose(to_host(logits(net, X)), expected, rtol=1e-5)
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device"):
            net.logits(X)
        with jax.transfer_guard("allow"):
            np.testing.assert_array_equal(to_host(net.logits(X)), expected)
