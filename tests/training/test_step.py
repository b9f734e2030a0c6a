"""A single step: its results, the memory that it reuses, and that it never waits for the device."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import Task, host_net, make_task, tries
from support.strategies import Problem, problems

from twolayer import TwoLayerNet
from twolayer._namespace import copied
from twolayer.augmentation import Chain, FlipAndShift, Mixup
from twolayer.mathematics import Params, forward
from twolayer.network import pack, unpack
from twolayer.preprocessing import Standardizer
from twolayer.training.batches import Batches, Draws
from twolayer.training.optimizers import SGD, Adam, AdamW
from twolayer.training.step import Constant, Samples, State, Varying, decay_factors, report, step
from twolayer.training.trees import tree_leaves, tree_map

pytestmark = pytest.mark.once_on_jax

ROWS = np.array([4, 0, 4, 2])
WEIGHT = np.linspace(0.5, 2.0, 23)
ADAM = Adam(eps=1e-3)


def arguments(backend: Backend, task: Task, *, rate=0.3, reg=0.02, weighted=False, rows=ROWS) -> list:
    """The arguments of a step of plain gradient descent as `train` passes them; the state is a copy."""
    there, xp = task.on(backend), backend.xp
    rates, regs = (np.full(there.net.n_networks or 1, number) for number in (rate, reg))
    params = Params(*(copied(array, xp=xp) for array in pack(there.net, xp=xp)))
    y = there.y if there.y.ndim == 2 else xp.astype(there.y, xp.int32)
    samples = Samples(there.X, y, backend.array(WEIGHT) if weighted else None)
    draws = Draws(backend.array(rows, "int32"), None, None, None)
    return [
        State(params, (), None),
        Constant(samples, (), backend.array(regs), None, None),
        Varying(draws, None, None, *numbers(backend, rates, regs, len(rows))),
    ]


def numbers(backend: Backend, rates: np.ndarray, regs: np.ndarray, n_samples: int) -> list:
    """The numbers of a step of plain gradient descent: rate, share, decay and coefficients."""
    each = rates, rates / n_samples, decay_factors(rates, regs), np.zeros(0)
    return [backend.array(array) for array in each]


def weighted_by(constant: Constant, weight: Any) -> Constant:
    return constant._replace(samples=constant.samples._replace(sample_weight=weight))


def method(optimizer: Any = SGD(), **changes: Any) -> dict[str, Any]:  # noqa: B008  # it is data
    """The settings that are compiled into a step."""
    return {"optimizer": optimizer, "augmentation": None, "transform": None, "input_dropout": 0, **changes}


def reported_step(state, constant, varying, *, xp: ModuleType, **method: Any) -> tuple[Any, Any, Any]:
    """A step's state, and the loss and accuracy of its batch, (K,) each."""
    state, seen = step(state, constant, varying, xp=xp, **method)
    loss, accuracy = report([seen], constant, xp=xp)
    assert loss.shape[0] == accuracy.shape[0] == 1
    return state, loss[0, :], accuracy[0, :]


plain_step = partial(reported_step, **method())

SCALING = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))


def everything(backend: Backend, task: Task, optimizer: Any = ADAM) -> tuple[list, dict[str, Any]]:
    """The same with every setting switched on, in a step that is not the first."""
    state, constant, varying = arguments(backend, task, weighted=True)
    xp, n_networks = backend.xp, task.net.n_networks or 1
    augmentation = Chain(FlipAndShift((2, 2), shift=1), Mixup(0.4))

    def like(params: Params, factor: float) -> Params:
        return Params(*(factor * xp.asarray(array, copy=True) for array in params))

    (drawn,) = Batches(3, 4, 4, replacement=False, n_inputs=4, n_hidden=5, augmentation=augmentation).draws(
        0, 1
    )
    drawn = tree_map(lambda array: backend.array(array)[0, ...], drawn)
    moments = tuple(like(state.params, 0.01) for _ in range(optimizer.n_moments))
    if optimizer.n_moments == 2:  # the second moment is of squares, so not negative
        moments = moments[0], Params(*(array * array for array in moments[1]))
    coefficients = np.append(optimizer.coefficients(np.array([6])), 0.25)
    return [
        State(state.params, moments, like(state.params, 0.9)),
        constant._replace(
            preprocessing=tuple(map(backend.array, SCALING.host_arrays())),
            dropout=backend.array(np.linspace(64, 128, n_networks).astype(np.uint8)),
            smoothing=backend.array(np.full(n_networks, 0.1)),
        ),
        varying._replace(
            draws=drawn._replace(rows=varying.draws.rows),
            share=varying.share if optimizer.scaled else backend.array(np.full(n_networks, 1 / len(ROWS))),
            coefficients=backend.array(coefficients),
        ),
    ], method(optimizer, augmentation=augmentation, transform=SCALING.transform, input_dropout=26)


ROUNDED = make_task(2, soft=True)  # its probabilities sum to not quite 1
ROUNDED = ROUNDED._replace(y=0.9995 * ROUNDED.y)

TASKS = pytest.mark.parametrize(
    ("task", "weighted"),
    [
        pytest.param(make_task(), False, id="one"),
        pytest.param(make_task(3), True, id="stack-weights"),
        pytest.param(make_task(2, soft=True), False, id="stack-probabilities"),
        pytest.param(ROUNDED, False, id="stack-rounded-probabilities"),
    ],
)


# Cases with an optimizer have every setting switched on.
CASES = pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        pytest.param(make_task(), None, id="one"),
        pytest.param(make_task(3), None, id="stack"),
        pytest.param(ROUNDED, None, id="stack-probabilities"),
        pytest.param(make_task(), ADAM, id="everything-one-adam"),
        pytest.param(make_task(3), SGD(0.9, nesterov=True), id="everything-stack-nesterov"),
        pytest.param(make_task(2, soft=True), SGD(), id="everything-probabilities-sgd"),
        pytest.param(make_task(2, soft=True), AdamW(), id="everything-probabilities-adamw"),
        pytest.param(make_task(2), SGD(0.5), id="everything-stack-momentum"),
    ],
)


def prepared(backend: Backend, task: Task, optimizer: Any) -> tuple[list, dict[str, Any]]:
    """The arguments of a step for a case, and its settings."""
    if optimizer is None:
        return arguments(backend, task, weighted=True), method()
    return everything(backend, task, optimizer)


@TASKS
def test_a_step_goes_down_the_gradient_of_its_batchs_loss(backend: Backend, task: Task, weighted):
    net, X, y = task.net, task.X[ROWS], task.y[ROWS]
    weight = WEIGHT[ROWS] if weighted else None
    expected_loss, gradients = net.loss_and_gradients(X, y, reg=0.02, sample_weight=weight)
    expected = TwoLayerNet(*(a - 0.3 * g for a, g in zip(net, gradients, strict=True)))
    state, loss, accuracy = plain_step(*arguments(backend, task, weighted=weighted), xp=backend.xp)
    found = unpack(state.params, stacked=net.n_networks is not None, xp=backend.xp)
    for name, a, b in zip(TwoLayerNet._fields, found, expected, strict=True):
        assert backend.owns(a)
        np.testing.assert_allclose(to_host(a), b, rtol=backend.rtol, atol=backend.rtol, err_msg=name)
    for result, wanted in ((loss, expected_loss), (accuracy, net.accuracy(X, y))):
        assert backend.owns(result)
        assert result.shape == (net.n_networks or 1,)
        assert result.dtype == getattr(backend.xp, backend.dtype)
        np.testing.assert_allclose(to_host(result), np.atleast_1d(wanted), rtol=backend.rtol)


def test_a_step_goes_down_the_gradient_of_any_problem(backend: Backend):
    @tries(backend)
    @given(problem=problems())
    def check(problem: Problem) -> None:
        net, X, y, weight, reg = problem
        n_networks = net.n_networks or 1
        rates = np.linspace(0.1, 0.2, n_networks)
        loss, gradients = net.loss_and_gradients(X, y, reg=reg, sample_weight=weight)
        xp = backend.xp
        there = TwoLayerNet(*(backend.array(array) for array in net))
        samples = Samples(
            backend.array(X),
            backend.array(y) if problem.probabilities else backend.array(y, "int32"),
            None if weight is None else backend.array(weight),
        )
        regs = np.broadcast_to(np.asarray(reg, float), (n_networks,))
        draws = Draws(backend.array(np.arange(len(X)), "int32"), None, None, None)
        state, found_loss, _ = plain_step(
            State(Params(*(copied(array, xp=xp) for array in pack(there, xp=xp))), (), None),
            Constant(samples, (), backend.array(regs), None, None),
            Varying(draws, None, None, *numbers(backend, rates, regs, len(X))),
            xp=xp,
        )
        tolerance = max(backend.rtol, 1e-12) * 10
        np.testing.assert_allclose(to_host(found_loss), np.atleast_1d(loss), rtol=tolerance, atol=tolerance)
        found = unpack(state.params, stacked=net.n_networks is not None, xp=xp)
        for a, b, g in zip(found, net, gradients, strict=True):
            rate = rates.reshape(-1, *(1 for _ in b.shape[1:])) if net.n_networks else rates[0]
            np.testing.assert_allclose(to_host(a), b - rate * g, rtol=tolerance, atol=10 * tolerance)

    check()


def test_a_batch_without_weight_only_decays_the_weights(backend: Backend):
    task = make_task(2)
    args = arguments(backend, task)
    args[1] = weighted_by(args[1], backend.array(np.zeros(23)))
    state, loss, _ = plain_step(*args, xp=backend.xp)
    found = host_net(unpack(state.params, stacked=True, xp=backend.xp))
    keep = 1 - 2 * 0.3 * 0.02
    tolerance = {"rtol": backend.rtol, "atol": 0}
    np.testing.assert_allclose(found.W1, keep * task.net.W1, **tolerance)
    np.testing.assert_allclose(found.W2, keep * task.net.W2, **tolerance)
    np.testing.assert_allclose(found.b1, task.net.b1, **tolerance)
    np.testing.assert_allclose(found.b2, task.net.b2, **tolerance)
    penalty = 0.02 * ((task.net.W1**2).sum((1, 2)) + (task.net.W2**2).sum((1, 2)))
    np.testing.assert_allclose(to_host(loss), penalty, **tolerance)


def test_only_the_batch_is_cast(backend: Backend):
    """uint8 images stay bytes except for the rows of the batch."""
    images = np.random.default_rng(0).integers(0, 256, (23, 4), dtype=np.uint8)
    task = make_task()._replace(X=images)
    args = arguments(backend, task, rate=1e-3)
    assert args[1].samples.X.dtype == backend.xp.uint8
    state, loss, _ = plain_step(*args, xp=backend.xp)
    expected, gradients = task.net.loss_and_gradients(images[ROWS].astype(float), task.y[ROWS], reg=0.02)
    np.testing.assert_allclose(to_host(loss)[0], expected, rtol=backend.rtol)
    wanted = (task.net.W1 - 1e-3 * gradients.W1).T[None, :, :]
    np.testing.assert_allclose(to_host(state.params.W1), wanted, rtol=backend.rtol, atol=backend.rtol)


@CASES
def test_only_the_state_is_updated_in_place(backend: Backend, task: Task, optimizer):
    args, how = prepared(backend, task, optimizer)
    state, others = tree_leaves(args[0]), tree_leaves(tuple(args[1:]))
    before, old = ([to_host(array) for array in arrays] for arrays in (others, state))
    after, loss, accuracy = reported_step(*args, **how, xp=backend.xp)
    for array, copy in zip(others, before, strict=True):
        np.testing.assert_array_equal(to_host(array), copy)
    assert len(state) == (4 if optimizer is None else 4 * (2 + optimizer.n_moments))
    for a, b, was in zip(tree_leaves(after), state, old, strict=True):
        assert backend.owns(a)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if backend.library == "jax":  # its arrays cannot change; `jit` donates their memory to the result
            np.testing.assert_array_equal(to_host(b), was)
        else:
            assert a is b
        assert not np.array_equal(to_host(a), was)
    for result in (loss, accuracy):
        assert result.shape == (task.net.n_networks or 1,)
        assert result.dtype == getattr(backend.xp, backend.dtype)
    # A quarter of the average comes from the new weights.
    for newest, average, was in zip(after.params, after.average or (), old[-4:], strict=False):
        wanted = 0.75 * was + 0.25 * to_host(newest)
        np.testing.assert_allclose(to_host(average), wanted, rtol=backend.rtol, atol=1e-7)


@pytest.mark.float32_on_jax
@CASES
def test_a_step_equals_that_of_numpy(backend: Backend, task: Task, optimizer):
    args, how = prepared(backend, task, optimizer)
    found = reported_step(*args, **how, xp=backend.xp)
    args, how = prepared(BACKENDS[0], task, optimizer)
    for a, b in zip(tree_leaves(found), tree_leaves(reported_step(*args, **how, xp=np)), strict=True):
        np.testing.assert_allclose(to_host(a), b, rtol=backend.rtol, atol=backend.rtol)


@CASES
def test_samples_without_rows_are_the_batch(backend: Backend, task: Task, optimizer):
    args, how = prepared(backend, task, optimizer)
    draws = args[2].draws
    taken = tree_map(lambda array: backend.xp.take(array, draws.rows, axis=0), args[1].samples)
    alone = [
        tree_map(lambda array: backend.xp.asarray(array, copy=True), args[0]),
        args[1]._replace(samples=None),
        args[2]._replace(draws=draws._replace(rows=None), batch=taken),
    ]
    found = reported_step(*alone, **how, xp=backend.xp)
    expected = reported_step(*args, **how, xp=backend.xp)
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))


def test_a_batch_without_weight_only_decays_the_weights_with_every_setting(backend: Backend):
    """Whatever the draws are. The moments shrink, and nothing becomes nan."""
    task = make_task(2)
    args, how = everything(backend, task, SGD(0.5))
    args[1] = weighted_by(args[1], backend.array(np.zeros(23)))
    params, (velocity,), _ = tree_map(to_host, args[0])
    state, loss, _ = reported_step(*args, **how, xp=backend.xp)
    tolerance = {"rtol": 10 * backend.rtol, "atol": 1e-7}
    for name in Params._fields:
        before, v = getattr(params, name), 0.5 * getattr(velocity, name)
        v += 2 * 0.02 * before if name[0] == "W" else 0.0
        np.testing.assert_allclose(to_host(getattr(state.params, name)), before - 0.3 * v, **tolerance)
    W1, W2 = task.net.W1, task.net.W2
    penalty = 0.02 * ((W1**2).sum((1, 2)) + (W2**2).sum((1, 2)))
    np.testing.assert_allclose(to_host(loss), penalty, rtol=10 * backend.rtol)


@TASKS
def test_a_report_of_several_steps_equals_one_report_for_each(backend: Backend, task: Task, weighted):
    args, how = everything(backend, task, SGD())
    args[1] = args[1] if weighted else weighted_by(args[1], None)
    seen = []
    for rate in (0.1, 0.2, 0.3):
        rates = backend.array(np.full(task.net.n_networks or 1, rate))
        shares = rates / len(ROWS)
        own = args[2]._replace(learning_rate=rates, share=shares)
        args[0], one = step(*args[:2], own, **how, xp=backend.xp)
        seen.append(one)
    together = report(seen, args[1], xp=backend.xp)
    alone = [report([one], args[1], xp=backend.xp) for one in seen]
    for i, each in enumerate(together):
        assert backend.owns(each)
        assert each.shape == (3, task.net.n_networks or 1)
        expected = np.concatenate([to_host(results[i]) for results in alone])
        np.testing.assert_allclose(to_host(each), expected, rtol=backend.rtol)


def test_labels_gathered_with_the_draws_are_used(backend: Backend):
    task = make_task(2)
    args = arguments(backend, task)
    others = (task.y[ROWS] + 1) % 3
    args[2] = args[2]._replace(labels=backend.array(others, "int32"))
    _, loss, _ = plain_step(*args, xp=backend.xp)
    expected = task.net.loss(task.X[ROWS], others, reg=0.02)
    np.testing.assert_allclose(to_host(loss), expected, rtol=backend.rtol)


def test_without_a_penalty_no_norm_is_computed(backend: Backend):
    for penalised in (False, True):
        args = arguments(backend, make_task(2))
        args[1] = args[1] if penalised else args[1]._replace(reg=None)
        _, seen = step(*args, **method(), xp=backend.xp)
        assert (seen.squared is not None) == penalised


def test_a_sample_without_weight_keeps_its_label_when_targets_are_mixed(backend: Backend):
    """The sample counts in the accuracy, which is not weighted."""
    task = make_task(2)
    weight = WEIGHT.copy()
    weight[ROWS] = 0.0
    args, how = everything(backend, task, SGD())
    args[1] = weighted_by(args[1], backend.array(weight))
    _, seen = step(*args, **how, xp=backend.xp)
    np.testing.assert_array_equal(to_host(seen.y), np.eye(3)[task.y[ROWS]])


def test_units_are_dropped_if_their_byte_is_below_the_threshold(backend: Backend, monkeypatch):
    """The other units are divided by the share of bytes that are kept."""
    thresholds, seen = np.array([0, 64, 128, 255], np.uint8), []

    def spied(params, X, kept, scale, *, xp):
        seen.append((kept, scale))
        return forward(params, X, kept, scale, xp=xp)

    monkeypatch.setattr("twolayer.training.step.forward", spied)
    drawn = np.array([[0, 63, 64, 255], [127, 128, 1, 0], *np.zeros((3, 4))], np.uint8)  # of 5 units
    state, constant, varying = arguments(backend, make_task(4))
    varying = varying._replace(draws=varying.draws._replace(hidden_bytes=backend.array(drawn)))
    plain_step(state, constant._replace(dropout=backend.array(thresholds)), varying, xp=backend.xp)
    ((kept, scale),) = seen
    assert backend.owns(kept)
    assert kept.dtype == backend.xp.bool
    np.testing.assert_array_equal(to_host(kept), drawn >= thresholds[:, None, None])
    assert scale.dtype == getattr(backend.xp, backend.dtype)
    wanted = 256 / (256 - thresholds.astype(float))
    np.testing.assert_allclose(to_host(scale), wanted[:, None, None], rtol=1e-6)


def test_the_buffers_of_numpy_keep_their_addresses():
    """An update in place would be lost if it were made in a copy."""
    task = make_task(3)
    backend = BACKENDS[0]
    args = arguments(backend, task, rate=0.1, reg=0.01)
    addresses = [array.__array_interface__["data"][0] for array in tree_leaves(args[0])]
    for _ in range(3):
        args[0], _, _ = plain_step(*args, xp=np)
    assert [array.__array_interface__["data"][0] for array in tree_leaves(args[0])] == addresses


@CASES
def test_no_value_is_read_on_strict_arrays(monkeypatch, task: Task, optimizer):
    import array_api_strict as xp

    backend = next(b for b in BACKENDS if b.library == "strict")

    with backend.active():
        args, how = prepared(backend, task, optimizer)
        expected = reported_step(*prepared(backend, task, optimizer)[0], **how, xp=xp)

        def refuse(self: object) -> None:
            raise AssertionError("a value was read inside a step")

        with monkeypatch.context() as patch:
            for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__"):
                patch.setattr(type(args[1].reg), name, refuse, raising=False)
            with pytest.raises(AssertionError, match="a value was read"):
                float(args[1].reg[0])
            found = reported_step(*args, **how, xp=xp)
        for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
            np.testing.assert_array_equal(to_host(a), to_host(b))


@CASES
def test_no_value_is_read_from_arrays_without_values(backend: Backend, task: Task, optimizer):
    """JAX's tracers and PyTorch's meta device have only shapes and dtypes, so reading a value raises."""
    args, how = prepared(backend, task, optimizer)
    chosen = partial(reported_step, **how, xp=backend.xp)
    if backend.library == "jax":
        jax = sys.modules["jax"]
        state, loss, accuracy = jax.jit(chosen)(*args)
        assert not isinstance(loss, jax.core.Tracer)
    elif backend.library == "torch":
        torch = sys.modules["torch"]
        state, loss, accuracy = chosen(*tree_map(lambda a: a.to("meta"), tuple(args)))
        assert loss.device == torch.device("meta")
    else:
        state, loss, accuracy = chosen(*args)
    n_networks = task.net.n_networks or 1
    assert state.params.W1.shape == (n_networks, 5, 4)
    assert state.params.W2.shape == (n_networks, 3, 5)
    assert loss.shape == accuracy.shape == (n_networks,)
