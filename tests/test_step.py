"""A step as such: what it computes, what it consumes, and that it never waits for the device."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from backends import Backend, to_host
from hypothesis import given
from small_runs import Task, host_net, make_task, tries
from strategies import Problem, problems

from twolayer import TwoLayerNet
from twolayer.network import Core, pack, unpack
from twolayer.training.step import step

ROWS = np.array([4, 0, 4, 2])
WEIGHT = np.linspace(0.5, 2.0, 23)


def arguments(backend: Backend, task: Task, *, rate=0.3, reg=0.02, weighted=False, rows=ROWS) -> list:
    """What `train` hands to a step, the state being a copy."""
    there, xp = task.on(backend), backend.xp
    n_networks = there.net.n_networks or 1
    core = Core(*(xp.asarray(array, copy=True) for array in pack(there.net, xp=xp)))
    y = there.y if there.y.ndim == 2 else xp.astype(there.y, xp.int32)
    numbers = (backend.array(np.full(n_networks, number)) for number in (rate, reg))
    weight = backend.array(WEIGHT) if weighted else None
    return [core, there.X, y, weight, backend.array(rows, "int32"), *numbers]


TASKS = pytest.mark.parametrize(
    ("task", "weighted"),
    [
        pytest.param(make_task(), False, id="one"),
        pytest.param(make_task(3), True, id="stack-weights"),
        pytest.param(make_task(2, soft=True), False, id="stack-probabilities"),
    ],
)


@TASKS
def test_a_step_goes_down_the_gradient_of_its_batchs_loss(backend: Backend, task: Task, weighted):
    net, X, y = task.net, task.X[ROWS], task.y[ROWS]
    weight = WEIGHT[ROWS] if weighted else None
    expected_loss, gradients = net.loss_and_gradients(X, y, reg=0.02, sample_weight=weight)
    expected = TwoLayerNet(*(a - 0.3 * g for a, g in zip(net, gradients, strict=True)))
    core, loss, accuracy = step(*arguments(backend, task, weighted=weighted), xp=backend.xp)
    found = unpack(core, stacked=net.n_networks is not None, xp=backend.xp)
    for name, a, b in zip(TwoLayerNet._fields, found, expected, strict=True):
        assert backend.owns(a)
        np.testing.assert_allclose(to_host(a), b, rtol=backend.rtol, atol=backend.rtol, err_msg=name)
    for result, wanted in ((loss, expected_loss), (accuracy, net.accuracy(X, y))):
        assert backend.owns(result)
        assert result.shape == (net.n_networks or 1,)
        assert result.dtype == getattr(backend.xp, backend.dtype)
        np.testing.assert_allclose(to_host(result), np.atleast_1d(wanted), rtol=backend.rtol)


def test_a_step_is_the_gradient_step_of_any_problem(backend: Backend):
    @tries(backend)
    @given(problem=problems())
    def check(problem: Problem) -> None:
        net, X, y, weight, reg = problem
        n_networks = net.n_networks or 1
        rates = np.linspace(0.1, 0.2, n_networks)
        loss, gradients = net.loss_and_gradients(X, y, reg=reg, sample_weight=weight)
        xp = backend.xp
        there = TwoLayerNet(*(backend.array(array) for array in net))
        core, found_loss, _ = step(
            Core(*(xp.asarray(array, copy=True) for array in pack(there, xp=xp))),
            backend.array(X),
            backend.array(y) if problem.probabilities else backend.array(y, "int32"),
            None if weight is None else backend.array(weight),
            backend.array(np.arange(len(X)), "int32"),
            backend.array(rates),
            backend.array(np.broadcast_to(np.asarray(reg, float), (n_networks,))),
            xp=xp,
        )
        tolerance = max(backend.rtol, 1e-12) * 10
        np.testing.assert_allclose(to_host(found_loss), np.atleast_1d(loss), rtol=tolerance, atol=tolerance)
        found = unpack(core, stacked=net.n_networks is not None, xp=xp)
        for a, b, g in zip(found, net, gradients, strict=True):
            rate = rates.reshape(-1, *(1 for _ in b.shape[1:])) if net.n_networks else rates[0]
            np.testing.assert_allclose(to_host(a), b - rate * g, rtol=tolerance, atol=10 * tolerance)

    check()


def test_a_batch_without_any_weight_moves_nothing_but_the_decay(backend: Backend):
    task = make_task(2)
    args = arguments(backend, task)
    args[3] = backend.array(np.zeros(23))
    core, loss, _ = step(*args, xp=backend.xp)
    found = host_net(unpack(core, stacked=True, xp=backend.xp))
    keep = 1 - 2 * 0.3 * 0.02
    tolerance = {"rtol": backend.rtol, "atol": 0}
    np.testing.assert_allclose(found.W1, keep * task.net.W1, **tolerance)
    np.testing.assert_allclose(found.W2, keep * task.net.W2, **tolerance)
    np.testing.assert_allclose(found.b1, task.net.b1, **tolerance)
    np.testing.assert_allclose(found.b2, task.net.b2, **tolerance)
    penalty = 0.02 * ((task.net.W1**2).sum((1, 2)) + (task.net.W2**2).sum((1, 2)))
    np.testing.assert_allclose(to_host(loss), penalty, **tolerance)


def test_only_the_batch_is_cast(backend: Backend):
    """uint8 images stay bytes but for the rows of the batch."""
    images = np.random.default_rng(0).integers(0, 256, (23, 4), dtype=np.uint8)
    task = make_task()._replace(X=images)
    args = arguments(backend, task, rate=1e-3)
    assert args[1].dtype == backend.xp.uint8
    core, loss, _ = step(*args, xp=backend.xp)
    expected, gradients = task.net.loss_and_gradients(images[ROWS].astype(float), task.y[ROWS], reg=0.02)
    np.testing.assert_allclose(to_host(loss)[0], expected, rtol=backend.rtol)
    wanted = task.net.W1 - 1e-3 * gradients.W1
    np.testing.assert_allclose(to_host(core.W1), wanted, rtol=backend.rtol, atol=backend.rtol)


@TASKS
def test_the_state_is_updated_in_place_and_nothing_else_is(backend: Backend, task: Task, weighted):
    args = arguments(backend, task, weighted=weighted)
    state, others = args[0], args[1:]
    before = [None if array is None else to_host(array) for array in others]
    old = [to_host(array) for array in state]
    core, _, _ = step(*args, xp=backend.xp)
    for array, copy in zip(others, before, strict=True):
        if array is not None:
            np.testing.assert_array_equal(to_host(array), copy)
    for a, b, was in zip(core, state, old, strict=True):
        if backend.library == "jax":  # its arrays cannot change; `jit` gives their memory to the result
            np.testing.assert_array_equal(to_host(b), was)
        else:
            assert a is b
        assert not np.array_equal(to_host(a), was)


def test_the_buffers_of_numpy_stay_where_they_are():
    """What looks like an update in place would be lost in a copy."""
    task = make_task(3)
    core = Core(*(array.copy() for array in pack(task.net, xp=np)))
    addresses = [array.__array_interface__["data"][0] for array in core]
    y = task.y.astype(np.int32)
    for _ in range(3):
        core, _, _ = step(core, task.X, y, None, ROWS, np.full(3, 0.1), np.full(3, 0.01), xp=np)
    assert [array.__array_interface__["data"][0] for array in core] == addresses


@TASKS
def test_no_value_is_read_on_strict_arrays(monkeypatch, task: Task, weighted):
    import array_api_strict as xp
    from backends import BACKENDS

    backend = next(b for b in BACKENDS if b.library == "strict")
    with backend.active():
        args = arguments(backend, task, weighted=weighted)
        expected = step(*arguments(backend, task, weighted=weighted), xp=xp)

        def refuse(self: object) -> None:
            raise AssertionError("a value was read inside a step")

        with monkeypatch.context() as patch:
            for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__"):
                patch.setattr(type(args[1]), name, refuse, raising=False)
            with pytest.raises(AssertionError, match="a value was read"):
                float(args[5][0])
            found = step(*args, xp=xp)
        for a, b in zip((*found[0], *found[1:]), (*expected[0], *expected[1:]), strict=True):
            np.testing.assert_array_equal(to_host(a), to_host(b))


@TASKS
def test_no_value_is_read_where_there_is_none(backend: Backend, task: Task, weighted):
    """JAX's tracers and PyTorch's meta device have shapes and dtypes alone: reading a value raises."""
    args = arguments(backend, task, weighted=weighted)
    if backend.library == "jax":
        jax = sys.modules["jax"]
        core, loss, accuracy = jax.jit(partial(step, xp=backend.xp))(*args)
        assert not isinstance(loss, jax.core.Tracer)
    elif backend.library == "torch":
        torch = sys.modules["torch"]
        core, *rest = args
        core, loss, accuracy = step(
            Core(*(array.to("meta") for array in core)),
            *(None if array is None else array.to("meta") for array in rest),
            xp=backend.xp,
        )
        assert loss.device == torch.device("meta")
    else:
        core, loss, accuracy = step(*args, xp=backend.xp)
    n_networks = task.net.n_networks or 1
    assert core.W1.shape == (4, n_networks * 5)
    assert core.W2.shape == (n_networks, 5, 3)
    assert loss.shape == accuracy.shape == (n_networks,)
