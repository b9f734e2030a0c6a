"""train(), what it returns and what it tells its callbacks."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import sys
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import (
    PER_EPOCH,
    SETTINGS,
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    host_net,
    losses_rtol,
    make_task,
    rows_of,
    slow_train,
    stopping,
    trained,
    tries,
)

from twolayer import (
    DivergenceWarning,
    History,
    Progress,
    Run,
    TwoLayerNet,
    _validation,
    optimizers,
    schedules,
    stack,
    sweep,
    train,
)
from twolayer.preprocessing import Standardizer
from twolayer.training import execution

pytestmark = pytest.mark.once_on_jax

# ---------------------------------------------------------------------------------------------------------
# A slow oracle

ORACLE_CASES = {
    "plain": (None, {}, {}, lambda step: 1.0),
    "stack": (3, {}, {"reg": [0.0, 0.01, 0.1], "learning_rate": [0.3, 0.2, 0.1]}, lambda step: 1.0),
    "stack-of-one": (1, {}, {"reg": [0.02]}, lambda step: 1.0),
    "replacement": (2, {}, {"replacement": True}, lambda step: 1.0),
    "probabilities": (2, {"soft": True}, {}, lambda step: 1.0),
    "weights": (2, {}, {"sample_weight": np.arange(23) % 4 / 2.0}, lambda step: 1.0),
    "integer-weights": (None, {}, {"sample_weight": np.arange(23) % 4}, lambda step: 1.0),
    "batch-of-all": (2, {}, {"batch_size": 23}, lambda step: 1.0),
    "batch-above-all": (2, {}, {"batch_size": 100}, lambda step: 1.0),
    "replacement-above-all": (None, {}, {"batch_size": 30, "replacement": True}, lambda step: 1.0),
    "one-at-a-time": (None, {}, {"batch_size": 1, "epochs": 1, "learning_rate": 0.05}, lambda step: 1.0),
    "decay-by-epoch": (None, {}, {"schedule": schedules.Exponential(0.8)}, lambda step: 0.8 ** (step // 5)),
    "decay-by-step": (
        2,
        {},
        {"schedule": schedules.Exponential(0.5, every=3, first=1)},
        lambda step: 0.5 ** ((step + 2) // 3),
    ),
    "own-schedule": (
        2,
        {},
        {"schedule": lambda step, *, steps_per_epoch, steps: 1 / (1 + step / steps_per_epoch / steps)},
        lambda step: 1 / (1 + step / 75),
    ),
    "two-classes": (2, {"n_classes": 2}, {}, lambda step: 1.0),
    "one-class": (None, {"n_classes": 1}, {}, lambda step: 1.0),
    "one-sample": (2, {"n_samples": 1, "n_validation": 1}, {}, lambda step: 1.0),
    "one-feature-one-unit": (2, {"n_features": 1, "n_hidden": 1}, {}, lambda step: 1.0),
}


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("case", ORACLE_CASES)
def test_a_slow_loop_over_samples_agrees(backend: Backend, case):
    n_networks, shape, changes, factor = ORACLE_CASES[case]
    task = make_task(n_networks, **shape)
    arguments = {**SETTINGS, **changes}
    size, n_samples = arguments["batch_size"], len(task.X)
    per_epoch = -(-n_samples // size)
    n_steps, lead = per_epoch * arguments["epochs"], n_networks or 1
    factors = np.array([factor(step) for step in range(n_steps)])
    rates = np.broadcast_to(np.asarray(arguments["learning_rate"]), (lead,))[:, None] * factors
    slow = slow_train(
        task.net,
        task.X,
        task.y,
        rates=rates,
        reg=np.broadcast_to(np.asarray(arguments["reg"]), (lead,)),
        batch_size=size,
        seed=7,
        replacement=arguments.get("replacement", False),
        sample_weight=arguments.get("sample_weight"),
    )
    if "sample_weight" in changes:
        changes = {**changes, "sample_weight": backend.array(changes["sample_weight"])}
    run = trained(task.on(backend), **changes)

    exact = backend.dtype == "float64"
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if exact else {"rtol": 2e-3, "atol": 2e-4}
    for k, expected in enumerate(slow.nets):
        found = run.last if n_networks is None else run.last.select(k)
        for name, a, b in zip(TwoLayerNet._fields, host_net(found), expected, strict=True):
            np.testing.assert_allclose(a, b, err_msg=name, **tolerance)
    history = run.history
    np.testing.assert_allclose(np.atleast_2d(history.loss), slow.loss, **tolerance)
    if exact:  # else a tie may be broken by rounding
        np.testing.assert_allclose(np.atleast_2d(history.batch_accuracy), slow.batch_accuracy, rtol=1e-12)
    ends = np.arange(per_epoch, n_steps + 1, per_epoch)
    assert history.step.tolist() == ends.tolist()
    np.testing.assert_allclose(np.atleast_2d(history.learning_rate), rates[:, ends - 1], rtol=1e-14)
    sizes = np.full(per_epoch, size)
    if not arguments.get("replacement"):
        sizes = np.array([len(rows) for rows in rows_of(7, 0, n_samples, size, replacement=False)])
    running = [history.batch_accuracy[..., end - per_epoch : end] @ sizes / sizes.sum() for end in ends]
    np.testing.assert_allclose(history.train_accuracy, np.stack(running, axis=-1), rtol=1e-12)


def test_the_assignments_decay_of_the_learning_rate(backend: Backend):
    """× 0.95 after steps 1, 96, 191, with batches drawn with replacement and the number of steps given."""
    task, n_steps = make_task(2), 200 if backend.dtype == "float64" else 100
    decays = [sum(1 for at in (1, 96, 191) if at <= step) for step in range(n_steps)]
    rates = np.array([[0.1], [0.02]]) * 0.95 ** np.array(decays)
    regs = np.array([0.3, 0.001])
    slow = slow_train(task.net, task.X, task.y, rates=rates, reg=regs, batch_size=3, seed=7, replacement=True)
    run = trained(
        task.on(backend),
        epochs=None,
        steps=n_steps,
        batch_size=3,
        replacement=True,
        reg=regs,
        learning_rate=[0.1, 0.02],
        schedule=schedules.Exponential(0.95, every=95, first=1),
    )
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if backend.dtype == "float64" else {"rtol": 2e-3, "atol": 1e-3}
    np.testing.assert_allclose(run.history.loss, slow.loss, **tolerance)
    np.testing.assert_allclose(run.history.learning_rate[:, -1], rates[:, -1], rtol=1e-14)


# ---------------------------------------------------------------------------------------------------------
# What comes in and what goes out


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("n_networks", [None, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_library_device_dtype_and_shapes_are_kept(backend: Backend, n_networks, dtype):
    if dtype not in backend.dtypes:
        assert dtype == "float64"
        return
    task = make_task(n_networks).on(backend, dtype)
    run = trained(task)
    for net in (run.net, run.best, run.last):
        for array, given_array in zip(net, task.net, strict=True):
            assert backend.owns(array)
            assert array.dtype == getattr(backend.xp, dtype)
            assert array.shape == given_array.shape
    lead = () if n_networks is None else (n_networks,)
    for name, array in run.history._asdict().items():
        assert type(array) is np.ndarray
        entries = (15,) if name in ("loss", "batch_accuracy") else (3,)
        assert array.shape == (entries if name == "step" else (*lead, *entries))
        assert array.dtype == (np.int64 if name == "step" else np.float64)
    if n_networks is None:
        assert run.diverged is None
        assert type(run.train_accuracy) is type(run.validation_accuracy) is float
        assert type(run.best_step) is int
    else:
        assert run.diverged == (None, None, None)
        for values in (run.train_accuracy, run.validation_accuracy, run.best_step):
            assert type(values) is np.ndarray
            assert values.shape == (n_networks,)
        assert run.train_accuracy.dtype == run.validation_accuracy.dtype == np.float64
        assert run.best_step.dtype == np.int64
    assert run.n_steps == 15
    assert type(run.n_steps) is int


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("n_networks", [None, 2])
def test_what_was_given_is_not_changed_and_shares_no_memory(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    weight = backend.array(np.linspace(0.5, 1.5, 23))
    rates = backend.array(np.full(n_networks, 0.3)) if n_networks else 0.3
    inputs = [*task.net, *task[1:], weight, *([rates] if n_networks else [])]
    before = [to_host(array) for array in inputs]
    first = trained(task, sample_weight=weight, learning_rate=rates)
    arrays = [to_host(array) for net in (first.best, first.last) for array in net]
    second = trained(task, sample_weight=weight, learning_rate=rates)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(to_host(array), copy)
    assert_same_run(second, first)
    more = {"sample_weight": weight, "learning_rate": rates, "epochs": 5, "rng": None}
    assert trained(task._replace(net=first), **more).n_steps == 25
    for array, copy in zip((*first.best, *first.last), arrays, strict=True):
        np.testing.assert_array_equal(to_host(array), copy)
    if backend.library == "numpy":
        for array in (*first.best, *first.last):
            assert not any(np.shares_memory(array, other) for other in inputs)
        pairs = [(a, b) for a in first.best for b in first.last]
        assert not any(np.shares_memory(a, b) for a, b in pairs)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_read_only_and_non_contiguous_arrays_on_the_host(n_networks):
    task = make_task(n_networks)

    def awkward(array: np.ndarray) -> np.ndarray:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype, order="F")
        view = wide[..., ::-2]
        view[...] = array
        view.flags.writeable = False
        return view

    odd = Task(TwoLayerNet(*(awkward(a) for a in task.net)), *(awkward(a) for a in task[1:]))
    weight = np.linspace(0.5, 1.5, 23)
    expected = trained(task, sample_weight=weight)
    found = trained(odd, sample_weight=awkward(weight))
    assert_same_run(found, expected, rtol=1e-12)
    assert all(array.flags.writeable for array in found.last)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_non_contiguous_arrays_anywhere(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    xp = backend.xp

    def transposed(array: Any) -> Any:
        if array.ndim < 2:
            return array
        axes = (*range(array.ndim - 2), array.ndim - 1, array.ndim - 2)
        return xp.permute_dims(xp.asarray(xp.permute_dims(array, axes), copy=True), axes)

    odd = Task(TwoLayerNet(*(transposed(a) for a in task.net)), *(transposed(a) for a in task[1:]))
    assert_same_run(trained(odd), trained(task), rtol=backend.rtol)


def test_samples_of_several_axes_are_flattened(backend: Backend):
    task = make_task(2, n_features=12).on(backend)
    xp = backend.xp
    images = task._replace(X=xp.reshape(task.X, (23, 2, 2, 3)), X_val=xp.reshape(task.X_val, (11, 3, 4)))
    assert_same_run(trained(images), trained(task))


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float32"])
def test_samples_of_any_real_dtype_are_cast_to_the_networks(backend: Backend, dtype):
    task = make_task(2)
    whole = task._replace(X=np.abs(np.round(task.X)) % 4, X_val=np.abs(np.round(task.X_val)) % 4)
    if dtype == "bool":
        whole = whole._replace(X=whole.X % 2, X_val=whole.X_val % 2)
    there = whole.on(backend)
    cast = there._replace(
        X=backend.array(whole.X.astype(dtype)), X_val=backend.array(whole.X_val.astype(dtype))
    )
    if dtype == "float32":
        cast = there._replace(X=backend.array(whole.X, dtype), X_val=backend.array(whole.X_val, dtype))
    kept = "int32" if dtype == "int64" and backend.name == "jax-x32" else dtype
    assert cast.X.dtype == getattr(backend.xp, kept)
    assert_same_run(trained(cast), trained(there))


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_labels_of_any_integer_dtype(backend: Backend, dtype):
    task = make_task()
    there = task.on(backend)
    cast = there._replace(y=backend.array(task.y, dtype), y_val=backend.array(task.y_val, dtype))
    assert_same_run(trained(cast), trained(there))


@pytest.mark.float32_on_jax
def test_integer_weights_are_cast(backend: Backend):
    there, weight = make_task(2).on(backend), np.arange(23) % 3 + 1
    cast = trained(there, sample_weight=backend.array(weight, "int32"))
    assert_same_run(cast, trained(there, sample_weight=backend.array(weight.astype(float))))


def test_images_are_not_copied_whole_to_floats(monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**14)
    rng = np.random.default_rng(0)
    X, X_val = (rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8) for n in (3000, 1000))
    y, y_val = (np.arange(len(a)) % 3 for a in (X, X_val))
    net = TwoLayerNet.initialize(768, 2, 3, rng=0, weight_scale=1e-3)
    train(net, X[:9], y[:9], steps=1)  # what is imported or kept once
    tracemalloc.start()
    try:
        train(net, X, y, validation=(X_val, y_val), batch_size=20, steps=5, learning_rate=1e-5, rng=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 2  # as float32 they would take four times X.nbytes


@pytest.mark.parametrize("n_networks", [None, 2])
def test_blocks_change_nothing(backend: Backend, monkeypatch, n_networks):
    task = make_task(n_networks).on(backend)
    whole = trained(task)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 30)
    if backend.library == "jax":  # what was compiled has the old blocks
        sys.modules["jax"].clear_caches()
    in_blocks = trained(task)
    assert_same_run(in_blocks, whole, rtol=backend.rtol)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_huge_logits_are_no_trouble(backend: Backend, n_networks, size):
    task = make_task(n_networks)
    net = task.net._replace(b2=task.net.b2 + size * np.array([1.0, -1.0, 0.5]))
    run = trained(task._replace(net=net).on(backend), reg=0.0, learning_rate=1e-3)
    assert np.isfinite(run.history.loss).all()
    assert np.max(run.history.loss) > 1e3
    assert not np.any(np.asarray(run.diverged, dtype=object) != None)  # noqa: E711  # each of them
    assert all(np.isfinite(array).all() for array in host_net(run.last))


@pytest.mark.float32_on_jax
def test_weights_of_zero_leave_their_samples_out(backend: Backend):
    """An epoch of the others' batches, as the shuffled order has them."""
    task = make_task()
    weight = np.ones(23)
    left_out = rows_of(7, 0, 23, 5, replacement=False)[1]  # a whole batch of them
    weight[left_out] = 0
    there = task.on(backend)
    watcher = Watcher(nets=True)
    run = trained(there, sample_weight=backend.array(weight), epochs=1, callbacks=[watcher])
    nets = [watcher.nets[-1]]
    garbage = task.X.copy()
    garbage[left_out] = 55.0
    other = trained(there._replace(X=backend.array(garbage)), sample_weight=backend.array(weight), epochs=1)
    assert_same_net(other.last, run.last)
    assert_same_net(nets[0], run.last)
    # The batch without weight has the penalty alone as its loss, and shrinks the weights by the decay alone.
    before = trained(there, sample_weight=backend.array(weight), epochs=None, steps=1, validated=False).last
    after = trained(there, sample_weight=backend.array(weight), epochs=None, steps=2, validated=False).last
    before, after = host_net(before), host_net(after)
    keep = 1 - 2 * 0.2 * 0.01
    np.testing.assert_allclose(after.W1, keep * before.W1, rtol=1e-6)
    np.testing.assert_allclose(after.W2, keep * before.W2, rtol=1e-6)
    np.testing.assert_array_equal(after.b1, before.b1)
    np.testing.assert_array_equal(after.b2, before.b2)
    penalty = 0.01 * (np.sum(before.W1**2) + np.sum(before.W2**2))
    assert run.history.loss[1] == pytest.approx(penalty, rel=1e-5)


@pytest.mark.float32_on_jax
def test_numbers_of_each_network_may_be_of_any_kind(backend: Backend):
    task = make_task(2).on(backend)
    expected = trained(task, learning_rate=[0.25, 0.5], reg=[0.0, 0.125])
    for kind in (tuple, np.asarray, backend.array, lambda a: np.asarray(a, np.float32)):
        found = trained(task, learning_rate=kind([0.25, 0.5]), reg=kind([0.0, 0.125]))
        assert_same_run(found, expected)
    same = trained(task, learning_rate=[0.25, 0.25], reg=[0, 0])
    for kind in (float, np.float64, np.float32, np.asarray, backend.array):
        assert_same_run(trained(task, learning_rate=kind(0.25), reg=kind(0.0)), same)


def test_a_stack_trains_each_of_its_networks_as_if_alone(backend: Backend):
    @tries(backend)
    @given(
        K=st.integers(1, 4),
        seed=st.integers(0, 1000),
        replacement=st.booleans(),
        weighted=st.booleans(),
        data=st.data(),
    )
    def check(K: int, seed: int, replacement: bool, weighted: bool, data: st.DataObject) -> None:
        task = make_task(K, seed=seed).on(backend)
        numbers = st.floats(0, 0.5, width=16)
        rates = data.draw(st.lists(numbers, min_size=K, max_size=K))
        regs = data.draw(st.lists(numbers, min_size=K, max_size=K))
        weight = backend.array(np.arange(23) % 3 + 0.5) if weighted else None
        common = {"replacement": replacement, "sample_weight": weight, "rng": seed}
        whole = trained(task, learning_rate=rates, reg=regs, **common)
        rtol = 1e-9 if backend.dtype == "float64" else 2e-3
        for k in range(K):
            alone = trained(
                task._replace(net=task.net.select(k)), learning_rate=rates[k], reg=regs[k], **common
            )
            assert_same_net(whole.last.select(k), alone.last, rtol=rtol)
            np.testing.assert_allclose(whole.history.loss[k], alone.history.loss, rtol=rtol, atol=rtol)
            if backend.dtype == "float64":
                assert_same_history(whole.history.select(k), alone.history, rtol=rtol)
                assert_same_net(whole.best.select(k), alone.best, rtol=rtol)
                assert whole.best_step[k] == alone.best_step
                assert whole.train_accuracy[k] == alone.train_accuracy
                assert whole.validation_accuracy[k] == alone.validation_accuracy

    check()


# ---------------------------------------------------------------------------------------------------------
# Seeds


def test_the_same_seed_gives_the_same_run_and_another_seed_another(backend: Backend):
    task = make_task().on(backend)
    run = trained(task)
    assert run.seed == 7
    assert_same_run(trained(task, rng=run.seed), run)
    assert not np.array_equal(trained(task, rng=8).history.loss, run.history.loss)


def test_a_generator_moves_on_and_its_seed_is_told():
    task, rng = make_task(), np.random.default_rng(0)
    first, second = trained(task, rng=rng), trained(task, rng=rng)
    assert first.seed == 5874934615388537135
    assert first.seed != second.seed
    assert_same_run(trained(task, rng=first.seed), first)


def test_without_a_seed_a_fresh_one_is_taken_and_told():
    task = make_task()
    first, second = trained(task, rng=None), trained(task, rng=None)
    assert first.seed != second.seed
    assert_same_run(trained(task, rng=first.seed), first)


# ---------------------------------------------------------------------------------------------------------
# The best and the last


def independent_accuracies(task: Task, nets: list[TwoLayerNet]) -> np.ndarray:
    """Validation accuracy of each network of each epoch: (epochs, K), with NumPy alone."""
    rows = []
    for net in nets:
        W1, b1, W2, b2 = host_net(net)
        if W1.ndim == 2:
            W1, b1, W2, b2 = W1[None], b1[None], W2[None], b2[None]
        logits = np.maximum(task.X_val @ W1 + b1[:, None], 0) @ W2 + b2[:, None]
        labels = task.y_val if task.y_val.ndim == 1 else task.y_val.argmax(axis=1)
        rows.append((logits.argmax(axis=-1) == labels).mean(axis=1))
    return np.stack(rows)


def test_the_best_network_is_that_of_the_first_highest_validation_accuracy(backend: Backend):
    @tries(backend)
    @given(
        n_networks=st.sampled_from([None, 1, 3]),
        seed=st.integers(0, 10_000),
        soft=st.booleans(),
        rate=st.sampled_from([0.01, 0.3, 2.0]),
        epochs=st.integers(1, 8),
    )
    def check(n_networks: int | None, seed: int, soft: bool, rate: float, epochs: int) -> None:
        # Few validation samples, so that there are many ties.
        task = make_task(n_networks, seed=seed, soft=soft, n_validation=6)
        watcher = Watcher(nets=True)
        run = trained(task.on(backend), learning_rate=rate, reg=0.0, epochs=epochs, callbacks=[watcher])
        accuracies = independent_accuracies(task, watcher.nets)
        if backend.dtype == "float64":
            found = np.atleast_2d(run.history.validation_accuracy).T
            np.testing.assert_allclose(found, accuracies, rtol=1e-12)
        else:
            accuracies = np.atleast_2d(run.history.validation_accuracy).T
        best = accuracies.argmax(axis=0)  # the first of equals
        np.testing.assert_array_equal(
            run.best_step, (best + 1) * PER_EPOCH if n_networks else (best[0] + 1) * PER_EPOCH
        )
        for k, epoch in enumerate(best):
            net = watcher.nets[epoch]
            if n_networks is None:
                assert_same_net(run.best, net)
            else:
                assert_same_net(run.best.select(k), net.select(k))
        assert_same_net(run.last, watcher.nets[-1])
        assert run.net is run.best
        wanted = accuracies.max(axis=0)
        np.testing.assert_allclose(run.validation_accuracy, wanted if n_networks else wanted[0], rtol=1e-12)

    check()


def test_of_equal_accuracies_the_earliest_counts():
    task = make_task(2)
    run = trained(task, learning_rate=0.0, reg=0.0)
    assert len(set(run.history.validation_accuracy[0])) == 1
    assert run.best_step.tolist() == [5, 5]
    assert_same_net(run.best, task.net)
    assert_same_net(run.last, task.net)


@pytest.mark.parametrize("n_networks", [None, 3])
def test_judging_the_last_network(backend: Backend, n_networks):
    task = make_task(n_networks, noise=2.0, seed=3).on(backend)
    arguments = {"epochs": 8, "learning_rate": 1.0}
    by_best, by_last = trained(task, judge="best", **arguments), trained(task, judge="last", **arguments)
    assert by_last.net is by_last.last
    assert by_best.net is by_best.best
    assert_same_net(by_last.best, by_best.best)
    assert_same_net(by_last.last, by_best.last)
    np.testing.assert_array_equal(by_last.best_step, by_best.best_step)
    assert np.any(by_last.best_step != 40)  # or this shows nothing
    assert_same_history(by_last.history, by_best.history)
    for run in (by_best, by_last):
        for found, data in (
            (run.train_accuracy, (task.X, task.y)),
            (run.validation_accuracy, task.validation),
        ):
            np.testing.assert_allclose(found, to_host(run.net.accuracy(*data)), rtol=1e-6)
    np.testing.assert_array_equal(by_last.validation_accuracy, by_last.history.validation_accuracy[..., -1])


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("n_networks", [None, 3])
def test_without_a_validation_set_the_last_network_is_the_best(backend: Backend, n_networks, judge):
    task = make_task(n_networks).on(backend)
    run = trained(task, validated=False, judge=judge)
    assert_same_net(run.best, run.last)
    assert run.best is not run.last
    assert_same_net(run.net, run.last)
    assert_same_net(run.last, trained(task).last)
    np.testing.assert_array_equal(run.best_step, [15] * n_networks if n_networks else 15)
    assert np.isnan(run.validation_accuracy).all()
    assert np.isnan(run.history.validation_accuracy).all()
    assert np.isnan(run.history.validation_loss).all()
    assert run.history.validation_loss.shape == run.history.train_accuracy.shape
    np.testing.assert_allclose(run.train_accuracy, to_host(run.net.accuracy(task.X, task.y)), rtol=1e-6)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("n_networks", [None, 3])
def test_the_validation_loss_is_the_cross_entropy_without_the_penalty(backend: Backend, n_networks):
    for soft in (False, True):
        task = make_task(n_networks, soft=soft).on(backend)
        watcher = Watcher(nets=True)
        run = trained(task, reg=0.1, callbacks=[watcher])
        expected = np.stack([to_host(net.loss(*task.validation)) for net in watcher.nets], axis=-1)
        np.testing.assert_allclose(run.history.validation_loss, expected, rtol=10 * backend.rtol)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n_networks", [None, 3])
def test_validation_samples_count_by_their_weights(backend: Backend, n_networks, stream, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)  # several blocks
    counts = np.array([1, 0, 3, 2, 1, 0, 5, 1, 1, 2, 4])
    for soft in (False, True):
        task = make_task(n_networks, soft=soft)
        place = (lambda array: array) if stream else backend.array
        net = task.on(backend).net

        def run(*validation, place=place, net=net, task=task):
            there = [place(array) for array in (task.X, task.y)]
            held_out = tuple(map(place, validation))
            return train(net, *there, validation=held_out, stream=stream, **SETTINGS)

        weighted = run(task.X_val, task.y_val, 0.5 * counts)
        repeated = run(task.X_val.repeat(counts, axis=0), task.y_val.repeat(counts, axis=0))
        for name in ("validation_loss", "validation_accuracy"):
            found, expected = (getattr(one.history, name) for one in (weighted, repeated))
            np.testing.assert_allclose(found, expected, rtol=10 * backend.rtol)
        np.testing.assert_array_equal(weighted.best_step, repeated.best_step)
        np.testing.assert_allclose(weighted.validation_accuracy, repeated.validation_accuracy, rtol=1e-6)
        # Whole numbers are weights, too.
        assert_same_history(run(task.X_val, task.y_val, counts).history, weighted.history, rtol=1e-6)


def test_training_lowers_the_loss_and_learns(backend: Backend):
    task = make_task(2, noise=0.2).on(backend)
    run = trained(task, epochs=30)
    assert (run.history.loss[:, -5:].mean(axis=1) < 0.5 * run.history.loss[:, :5].mean(axis=1)).all()
    assert (run.train_accuracy > 0.9).all()


# ---------------------------------------------------------------------------------------------------------
# How long


def test_ten_epochs_where_nothing_is_said():
    run = trained(make_task(), epochs=None)
    assert run.history.step.tolist() == list(range(5, 51, 5))


@pytest.mark.parametrize(
    ("steps", "entries"), [(1, [1]), (4, [4]), (5, [5]), (6, [5, 6]), (12, [5, 10, 12]), (15, [5, 10, 15])]
)
@pytest.mark.parametrize("replacement", [False, True])
def test_a_number_of_steps_ends_with_an_entry(backend: Backend, steps, entries, replacement):
    task = make_task(2).on(backend)
    watcher = Watcher()
    run = trained(task, epochs=None, steps=steps, replacement=replacement, callbacks=[watcher])
    assert run.history.step.tolist() == entries
    assert run.history.loss.shape == (2, steps)
    assert run.n_steps == steps
    longer = trained(task, replacement=replacement)
    np.testing.assert_allclose(run.history.loss, longer.history.loss[:, :steps], rtol=losses_rtol(task.net))
    first = entries[-2] if len(entries) > 1 else 0
    sizes = np.array([3 if step % 5 == 4 and not replacement else 5 for step in range(first, steps)])
    expected = run.history.batch_accuracy[:, first:] @ sizes / sizes.sum()
    np.testing.assert_allclose(run.history.train_accuracy[:, -1], expected, rtol=1e-12)
    accuracy = to_host(run.last.accuracy(*task.validation))
    np.testing.assert_allclose(run.history.validation_accuracy[:, -1], accuracy, rtol=1e-6)
    assert {progress.epochs for progress in watcher.seen} == {-(-steps // 5)}
    assert [step for step, ended in watcher.events if ended] == entries


def test_what_is_taken_where_nothing_is_said():
    task = make_task(n_samples=230)
    plain = train(task.net, task.X, task.y, validation=task.validation, rng=7)
    written_out = train(
        task.net,
        task.X,
        task.y,
        validation=task.validation,
        sample_weight=None,
        class_weight=None,
        preprocessing=None,
        augmentation=None,
        reg=0.0,
        dropout=0.0,
        input_dropout=0.0,
        label_smoothing=0.0,
        optimizer=optimizers.SGD(momentum=0.9, nesterov=True),
        learning_rate=0.01,
        schedule=schedules.Cosine(),
        batch_size=200,
        epochs=10,
        replacement=False,
        ema_decay=None,
        patience=None,
        judge="best",
        stream=False,
        rng=7,
        callbacks=(),
    )
    assert_same_run(plain, written_out)
    falling = 0.01 * (1 + np.cos(np.pi * np.arange(1, 20, 2) / 20)) / 2
    np.testing.assert_allclose(plain.history.learning_rate, falling, rtol=1e-14)


def test_epochs_are_as_many_steps():
    task = make_task(2)
    assert_same_run(trained(task, epochs=2), trained(task, epochs=None, steps=10))
    assert_same_run(trained(task, epochs=np.int64(2)), trained(task, epochs=None, steps=np.int32(10)))


def test_many_steps_in_an_epoch_are_drawn_in_chunks(backend: Backend, monkeypatch):
    from twolayer.training import batches

    task = make_task(2).on(backend)
    whole = trained(task, batch_size=2)
    monkeypatch.setattr(batches, "CHUNK_STEPS", 4)
    assert_same_run(trained(task, batch_size=2), whole)


# ---------------------------------------------------------------------------------------------------------
# Divergence. With reg = 1 a learning rate of r multiplies the weights by 1 - 2 r at each step.


def slowly_diverging(n_networks: int | None, rates: list[float], n_steps: int) -> tuple[Task, np.ndarray]:
    """A task, and the step at which each network's loss stops being finite, by the slow loop."""
    task = make_task(n_networks)
    with np.errstate(all="ignore"):
        slow = slow_train(
            task.net,
            task.X,
            task.y,
            rates=np.repeat(np.asarray(rates)[:, None], n_steps, axis=1),
            reg=np.ones(len(rates)),
            batch_size=5,
            seed=7,
        )
    bad = ~np.isfinite(slow.loss)
    return task, np.where(bad.any(axis=1), bad.argmax(axis=1) + 1, 0)


@pytest.mark.float32_on_jax
def test_a_diverged_network_is_reported_with_its_step_and_the_others_go_on(backend: Backend):
    rates = [0.1, 1e9, 0.05, 1e30, 1e14]
    task, steps = slowly_diverging(5, rates, 30)
    if backend.dtype == "float64":
        assert steps.tolist() == [0, 18, 0, 7, 12]  # none at the end of an epoch
    there = task.on(backend)
    run = trained(there, learning_rate=rates, reg=1.0, epochs=6)
    if backend.dtype == "float64":
        assert run.diverged == (None, 18, None, 7, 12)
    else:
        assert [at is None for at in run.diverged] == [True, False, True, False, False]
    for k, at in enumerate(run.diverged):
        one = run.history.select(k)
        if at is None:
            assert np.isfinite(one.loss).all()
            assert np.isfinite(np.stack(one[3:])).all()
            assert np.isfinite([run.train_accuracy[k], run.validation_accuracy[k]]).all()
            continue
        assert np.isfinite(one.loss[: at - 1]).all()
        assert not np.isfinite(one.loss[at - 1])
        lost = one.step >= at
        assert lost.tolist() == [False] * ((at - 1) // 5) + [True] * (6 - (at - 1) // 5)
        for values in (one.train_accuracy, one.validation_accuracy, one.validation_loss):
            np.testing.assert_array_equal(np.isnan(values), lost)
        assert np.isfinite(one.learning_rate).all()
        assert np.isnan(run.train_accuracy[k])
        assert np.isnan(run.validation_accuracy[k])
        assert run.best_step[k] < at
        assert all(np.isfinite(array).all() for array in host_net(run.best.select(k)))
    rtol = 1e-12 if backend.dtype == "float64" else 1e-5
    for others in ([0, 2], [0], [2]):
        without = trained(
            there._replace(net=stack(task.on(backend).net.select(k) for k in others)),
            learning_rate=[rates[k] for k in others],
            reg=1.0,
            epochs=6,
        )
        for i, k in enumerate(others):
            assert_same_net(run.last.select(k), without.last.select(i), rtol=rtol)
            assert_same_net(run.best.select(k), without.best.select(i), rtol=rtol)
            np.testing.assert_allclose(run.history.loss[k], without.history.loss[i], rtol=rtol)
            assert run.best_step[k] == without.best_step[i]
            assert run.train_accuracy[k] == without.train_accuracy[i]
            assert run.validation_accuracy[k] == without.validation_accuracy[i]


def test_the_best_of_a_diverged_network_is_from_before(backend: Backend):
    if backend.dtype == "float32":
        rate = 1e4  # leaves the range of float32 within a few steps
    else:
        rate = 1e9
    task = make_task(2).on(backend)
    watcher = Watcher(nets=True)
    run = trained(task, learning_rate=[rate, 0.1], reg=[1.0, 0.0], epochs=6, callbacks=[watcher])
    at = run.diverged[0]
    assert at is not None
    assert run.best_step[0] in range(0, at, 5)
    if run.best_step[0]:
        assert_same_net(run.best.select(0), watcher.nets[run.best_step[0] // 5 - 1].select(0))
    else:
        assert_same_net(run.best.select(0), task.net.select(0))
    if backend.dtype == "float64":
        assert run.best_step[0] in (5, 10, 15)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_one_that_diverged_in_its_first_epoch_is_best_as_it_was_given(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    run = trained(task, learning_rate=1e36, reg=1.0)
    np.testing.assert_array_equal(run.best_step, [0] * n_networks if n_networks else 0)
    assert_same_net(run.best, task.net)
    assert np.isnan(run.validation_accuracy).all()
    assert np.isnan(run.train_accuracy).all()


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("validated", [True, False])
def test_a_run_ends_with_the_epoch_in_which_the_last_network_diverged(backend: Backend, judge, validated):
    task, steps = slowly_diverging(2, [1e30, 1e14], 30)
    watcher = Watcher()
    run = trained(
        task.on(backend),
        learning_rate=[1e30, 1e14],
        reg=1.0,
        epochs=6,
        judge=judge,
        validated=validated,
        callbacks=[watcher],
    )
    end = -(-max(run.diverged) // 5) * 5
    if backend.dtype == "float64":
        assert run.diverged == tuple(steps) == (7, 12)
    assert end < 30
    assert run.n_steps == end
    assert run.history.step.tolist() == list(range(5, end + 1, 5))
    assert watcher.events[-1] == (end, True)
    assert watcher.seen[-1].steps == 30
    assert np.isnan(run.train_accuracy).all()
    assert np.isnan(run.validation_accuracy).all()
    if not validated:
        assert_same_net(run.best, run.last)


def test_one_network_that_diverges(backend: Backend):
    task, (step,) = slowly_diverging(None, [1e30], 15)
    run = trained(task.on(backend), learning_rate=1e30, reg=1.0)
    assert type(run.diverged) is int
    if backend.dtype == "float64":
        assert run.diverged == step == 7
    assert np.isnan(run.train_accuracy)
    assert np.isnan(run.validation_accuracy)
    assert run.n_steps == -(-run.diverged // 5) * 5


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_last_update_that_overflows_is_seen(backend: Backend, steps):
    """Its loss was finite; the weights that it left are not."""
    largest = float(np.finfo(backend.dtype).max)
    task = make_task(2).on(backend)
    run = trained(
        task,
        epochs=None,
        steps=steps,
        learning_rate=[largest, 0.1],
        reg=[1.0, 0.0],
        schedule=lambda step, *, steps_per_epoch, steps: np.where(step == steps - 1, 1.0, 0.0),
    )
    assert np.isfinite(run.history.loss).all()
    assert run.diverged == (steps, None)
    assert run.best_step.tolist() == [0, steps]
    assert np.isnan(run.train_accuracy).tolist() == [True, False]
    assert np.isnan(run.validation_accuracy).tolist() == [True, False]
    assert not np.isfinite(host_net(run.last).W1[0]).all()


def diverging_rate(backend: Backend) -> float:
    """A learning rate at which a network diverges within a few steps."""
    return 1e80 if backend.dtype == "float64" else 1e30


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("n_networks", [None, 2])
def test_divergence_is_seen_where_a_run_is_stopped_within_an_epoch(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    watcher = Watcher(lambda progress: progress.step == 4)
    arguments = {"learning_rate": diverging_rate(backend), "reg": 1.0}
    run = trained(task, **arguments, callbacks=[watcher])
    whole = trained(task, **arguments)
    assert run.n_steps == 4
    assert run.diverged == whole.diverged
    assert np.isnan(run.train_accuracy).all()
    assert np.isnan(run.validation_accuracy).all()
    assert_same_net(run.best, task.net)


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_biases_that_are_not_finite_are_seen(backend: Backend, name):
    task = make_task(2)
    array = getattr(task.net, name).copy()
    array[1, 0] = -np.inf  # of a unit that is never active, or a class that is never right
    net = task.net._replace(**{name: array})
    y = np.maximum(task.y, 1)
    run = trained(task._replace(net=net, y=y, y_val=np.maximum(task.y_val, 1)).on(backend), reg=0.0)
    assert run.diverged[0] is None
    assert run.diverged[1] is not None


@pytest.mark.parametrize("how", ["infinite", "minus infinite", "overflow", "overflow of a difference"])
def test_an_infinite_logit_is_a_divergence_at_once(backend: Backend, how):
    """Its loss is nan, of whatever class it is: no 0 · inf is left out. The other networks go on."""
    task = make_task(2)
    y, y_val = (np.maximum(labels, 1) for labels in (task.y, task.y_val))  # class 0 is never right
    net = TwoLayerNet(*(array.copy() for array in task.net))
    largest = float(np.finfo(backend.dtype).max)
    if how == "overflow":
        net.b1[1, :], net.W2[1, :, 0] = 1e3, 0.9 * largest
    elif how == "overflow of a difference":
        net.b2[1, :] = -0.9 * largest, 0.9 * largest, 0.0
    else:
        net.b2[1, 0] = np.inf if how == "infinite" else -np.inf
    there = Task(net, task.X, y, task.X_val, y_val).on(backend)
    run = trained(there, reg=0.0)
    assert run.diverged == (None, 1)
    assert np.isnan(run.history.loss[1, 0])
    assert np.isnan(run.history.validation_loss[1]).all()
    assert np.isnan(run.train_accuracy).tolist() == [False, True]
    assert np.isfinite(run.history.loss[0]).all()
    assert_same_net(run.best.select(1), there.net.select(1))
    with np.errstate(invalid="ignore", over="ignore"):
        loss = to_host(there.net.loss(there.X, there.y))
    assert np.isnan(loss).tolist() == [False, True]


@pytest.mark.parametrize("n_networks", [None, 2])
def test_no_penalty_is_fine(backend: Backend, n_networks):
    run = trained(make_task(n_networks).on(backend), reg=0.0)
    assert np.isfinite(run.history.loss).all()
    assert not np.any(np.asarray(run.diverged, dtype=object) != None)  # noqa: E711  # each of them


def test_a_network_that_diverged_leaves_numpys_settings_as_they_were(backend: Backend):
    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DivergenceWarning)
        trained(make_task(2).on(backend), learning_rate=[1e30, 1e36], reg=1.0)
    assert np.geterr() == before


# ---------------------------------------------------------------------------------------------------------
# Callbacks


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("n_networks", [None, 2])
def test_callbacks_are_called_after_each_step_and_each_entry(backend: Backend, n_networks):
    watcher = Watcher()
    task = make_task(n_networks).on(backend)
    run = trained(task, callbacks=[watcher])
    expected = []
    for step in range(1, 16):
        expected += [(step, False)] + ([(step, True)] if step % 5 == 0 else [])
    assert watcher.events == expected
    for progress in watcher.seen:
        assert (progress.steps, progress.epochs, progress.stage, progress.stages) == (15, 3, 1, 1)
        assert progress.epoch == progress.step // 5
    assert_same_run(trained(task), run)  # to be watched changes nothing


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("n_networks", [None, 2])
def test_history_and_net_inside_a_callback_are_copies_of_the_present(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    expected = trained(task)
    seen: list[tuple[Progress, History, TwoLayerNet]] = []

    def spoil(progress: Progress) -> None:
        history, net = progress.history(), progress.net()
        seen.append((progress, history, net))
        run = progress.run()
        for array in (*progress.history(), *run.history):
            array[...] = 77
        if n_networks is not None:
            for array in (run.best_step, run.train_accuracy, run.validation_accuracy):
                array[...] = 77
        if backend.library != "jax":
            for array in (*progress.net(), *run.best, *run.last):
                array[...] = 77.0

    run = trained(task, callbacks=[spoil])
    assert_same_run(run, expected)
    for progress, history, net in seen:
        entries = progress.step // 5 - (progress.step % 5 == 0 and not progress.epoch_ended)
        for name, array in history._asdict().items():
            n = progress.step if name in ("loss", "batch_accuracy") else entries
            wanted = getattr(expected.history, name)[..., :n]
            np.testing.assert_allclose(array, wanted, rtol=losses_rtol(net), err_msg=name)
        for array, start in zip(net, task.net, strict=True):
            assert backend.owns(array)
            assert array.dtype == start.dtype
            assert array.shape == start.shape
    shortened = {
        step: trained(task, epochs=None, steps=step, validated=False).last for step in (1, 4, 5, 12, 15)
    }
    for progress, _, net in seen:
        if progress.step in shortened:
            assert_same_net(net, shortened[progress.step])


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize(("step", "epoch_ended"), [(1, False), (3, False), (7, False), (5, True), (10, True)])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_a_stop_is_exactly_there(backend: Backend, n_networks, step, epoch_ended):
    watcher = stopping(step, epoch_ended)
    task = make_task(n_networks).on(backend)
    run = trained(task, callbacks=[watcher])
    assert watcher.events[-1] == (step, epoch_ended)
    assert run.n_steps == step
    whole = trained(task)
    np.testing.assert_allclose(run.history.loss, whole.history.loss[..., :step], rtol=losses_rtol(whole.net))
    assert run.history.step.tolist() == list(range(5, step + 1, 5))
    assert_same_net(run.last, trained(task, epochs=None, steps=step).last)
    if step >= 5:
        np.testing.assert_array_equal(
            run.history.validation_accuracy, whole.history.validation_accuracy[..., : step // 5]
        )


@pytest.mark.usefixtures("each_step")
def test_stopped_before_any_validation_the_best_is_the_network_as_given(backend: Backend):
    task = make_task().on(backend)
    run = trained(task, callbacks=[stopping(3)])
    assert run.best_step == 0
    assert_same_net(run.best, task.net)
    assert np.isnan(run.validation_accuracy)
    assert run.train_accuracy == pytest.approx(float(task.net.accuracy(task.X, task.y)), rel=1e-6)
    assert trained(task, callbacks=[stopping(3)], validated=False).best_step == 3


@pytest.mark.parametrize("answer", [True, 1, "yes", np.True_, None, False])
def test_what_a_callback_returns_means_nothing(answer):
    """A progress bar's update may well return True."""
    assert trained(make_task(), callbacks=[lambda _: answer]).n_steps == 15


def test_every_callback_is_called_even_where_one_asked_to_stop():
    first, second, third = stopping(4), Watcher(), stopping(4)
    run = trained(make_task(), callbacks=iter([first, second, third]))
    assert first.events == second.events == third.events
    assert len(first.events) == 4
    assert run.n_steps == 4


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("n_networks", [None, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_many_steps_in_one_call_are_the_same_run(backend: Backend, monkeypatch, n_networks, stream):
    """JAX takes them so; callbacks are then called after those."""
    task = make_task(n_networks)
    there = task.on(backend)
    if stream:
        there = task._replace(net=there.net)
    settings = {"stream": stream, "dropout": 0.25, "batch_size": 4}  # of six steps an epoch, the last short
    expected = trained(there, **settings)
    monkeypatch.setattr(execution, "BLOCK_STEPS", 2)
    watcher = Watcher()
    run = trained(there, **settings, callbacks=[watcher])
    assert_same_run(run, expected, rtol=backend.rtol)
    epoch = (2, 4, 5, 6) if backend.library == "jax" else range(1, 7)
    assert [step for step, ended in watcher.events if not ended] == [
        6 * i + n for i in range(3) for n in epoch
    ]
    stopped = trained(there, **settings, callbacks=[stopping(10)])
    assert stopped.n_steps == 10
    np.testing.assert_allclose(stopped.history.loss, run.history.loss[..., :10], rtol=losses_rtol(run.net))


@pytest.mark.usefixtures("each_step")
def test_what_a_callback_raises_comes_out(backend: Backend):
    def fail(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyError("mine")

    before = np.geterr()
    with pytest.raises(KeyError, match="mine"):
        trained(make_task().on(backend), callbacks=[fail])
    assert np.geterr() == before


def test_progress_is_frozen():
    watcher = Watcher()
    trained(make_task(), callbacks=[watcher])
    with pytest.raises(AttributeError):
        watcher.seen[0].step = 0  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------
# Going on


def resumed(task: Task, stops: list[tuple[int, bool]], **changes: Any) -> Run:
    """A run that is stopped at each of these events and then taken up again."""
    run = trained(task, **changes, callbacks=[stopping(*stops[0])])
    for i in range(len(stops)):
        assert run.n_steps == stops[i][0]
        callbacks = [stopping(*stops[i + 1])] if i + 1 < len(stops) else []
        run = trained(task._replace(net=run), **{**changes, "rng": None, "callbacks": callbacks})
    return run


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("n_networks", [None, 2])
@pytest.mark.parametrize("replacement", [False, True])
def test_a_run_goes_on_from_any_step_as_if_it_had_not_stopped(backend: Backend, n_networks, replacement):
    @tries(backend)
    @given(
        steps=st.lists(
            st.tuples(st.integers(1, 14), st.booleans()),
            min_size=1,
            max_size=3,
            unique_by=lambda stop: stop[0],
        ),
        validated=st.booleans(),
        weighted=st.booleans(),
        scheduled=st.booleans(),
        rates=st.lists(st.sampled_from([0.1, 0.5, 1e9, 1e14, 1e30]), min_size=2, max_size=2),
        seed=st.integers(0, 100),
    )
    def check(
        steps: list[tuple[int, bool]],
        validated: bool,
        weighted: bool,
        scheduled: bool,
        rates: list[float],
        seed: int,
    ) -> None:
        task = make_task(n_networks, seed=seed).on(backend)
        arguments = {
            "replacement": replacement,
            "validated": validated,
            "reg": 1.0,
            "learning_rate": rates if n_networks else rates[0],
            "sample_weight": backend.array(np.arange(23) % 3 + 0.5) if weighted else None,
            "schedule": schedules.Exponential(0.9, every=2) if scheduled else schedules.Constant(),
            "rng": seed,
        }
        whole = trained(task, **arguments)
        # After its entry only an epoch's last step can be stopped, and only before its end a run.
        stops = sorted((step, ended and step % 5 == 0) for step, ended in steps if step < whole.n_steps)
        if stops:
            assert_same_run(resumed(task, stops, **arguments), whole)

    check()


@pytest.mark.parametrize("n_networks", [None, 2])
def test_stopped_at_an_epochs_last_step_its_entry_is_not_lost(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    assert_same_run(resumed(task, [(5, False)]), trained(task))


def test_stopped_at_the_very_last_step_its_entry_is_not_lost(backend: Backend):
    task = make_task().on(backend)
    assert_same_run(resumed(task, [(15, False)]), trained(task))


def test_stopped_after_all_networks_diverged_the_epoch_is_still_finished(backend: Backend):
    task = make_task(2).on(backend)
    arguments = {"learning_rate": diverging_rate(backend), "reg": 1.0}
    whole = trained(task, **arguments)
    assert max(whole.diverged) < 4
    assert whole.n_steps == 5
    assert_same_run(resumed(task, [(4, False)], **arguments), whole)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_more_epochs_are_added_to_a_run_that_ended_with_one(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    run = trained(task, epochs=1)
    for epochs in (2, 3):
        run = trained(task._replace(net=run), epochs=epochs, rng=None)
    assert_same_run(run, trained(task))


def test_a_run_goes_on_from_a_step_within_an_epoch_with_an_entry_more():
    task = make_task(2)
    run = trained(task._replace(net=trained(task, epochs=None, steps=7)), rng=None)
    whole = trained(task)
    assert run.history.step.tolist() == [5, 7, 10, 15]
    np.testing.assert_allclose(run.history.loss, whole.history.loss, rtol=losses_rtol(whole.net))
    np.testing.assert_array_equal(run.history.train_accuracy[:, [0, 2, 3]], whole.history.train_accuracy)
    assert_same_net(run.last, whole.last)


def test_a_run_that_is_already_long_enough_is_returned_as_it_is(backend: Backend):
    task = make_task(2).on(backend)
    run = trained(task)
    watcher = Watcher()
    again = trained(task._replace(net=run), rng=None, callbacks=[watcher])
    assert_same_run(again, run)
    assert watcher.events == []
    assert again.last is not run.last


def test_going_on_keeps_the_best_that_there_was():
    task = make_task(3, noise=2.0, seed=3)
    # From the fourth epoch on nothing moves.
    how = {"learning_rate": 0.5, "schedule": schedules.Step(1e-300, epochs=3)}
    first = trained(task, **how)
    frozen = trained(task._replace(net=first), epochs=6, rng=None, **how)
    assert_same_net(frozen.last, first.last)
    assert_same_net(frozen.best, first.best)
    np.testing.assert_array_equal(frozen.best_step, first.best_step)
    np.testing.assert_array_equal(frozen.validation_accuracy, first.validation_accuracy)


def test_going_on_takes_the_runs_seed_or_none(backend: Backend):
    task = make_task().on(backend)
    run = trained(task, epochs=1)
    assert trained(task._replace(net=run), rng=7).seed == 7
    for rng in (8, np.random.default_rng(7)):
        message = "`rng` must be left out or be the run's seed, 7, to go on with it"
        with pytest.raises(ValueError, match=re.escape(message)):
            trained(task._replace(net=run), rng=rng)


# ---------------------------------------------------------------------------------------------------------
# Errors. Each changes one of the host arrays or settings of a run that is all right.


def edited(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


BAD_INPUT = {
    # features
    "X-width": ({"X": lambda a: a[:, :3]}, ValueError, "`X` must have 4 features a sample to fit the network; got shape (23, 3), which is 3"),
    "X-images": ({"X": lambda a: np.zeros((23, 2, 3))}, ValueError, "`X` must have 4 features a sample to fit the network; got shape (23, 2, 3), which is 6"),
    "X-rank": ({"X": lambda a: a[:, 0]}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (23,)"),
    "X-scalar": ({"X": lambda a: a[0, 0]}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape ()"),
    "X-empty": ({"X": lambda a: a[:0], "y": lambda a: a[:0]}, ValueError, "`X` must hold at least one sample; got shape (0, 4)"),
    "X-no-features": ({"X": lambda a: a[:, :0]}, ValueError, "`X` must hold at least one sample; got shape (23, 0)"),
    "X-complex": ({"X": lambda a: a.astype(np.complex64)}, TypeError, "`X` must have a real dtype; got complex64"),
    "X-nan": ({"X": lambda a: edited(a, (3, 1), np.nan)}, ValueError, "`X` must be finite; got nan, first in row 3, column 1 (counted from 0)"),
    "X-inf": ({"X": lambda a: edited(a, (3, 1), np.inf)}, ValueError, "`X` must be finite; got an infinite value, first in row 3, column 1 "),
    "X-minus-inf": ({"X": lambda a: edited(a, (22, 3), -np.inf)}, ValueError, "`X` must be finite; got an infinite value, first in row 22, column 3 "),
    # labels
    "y-short": ({"y": lambda a: a[:22]}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 22"),
    "y-long": ({"y": lambda a: np.append(a, 0)}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 24"),
    "y-high": ({"y": lambda a: edited(a, 5, 3)}, ValueError, "`y` must hold class labels in [0, 3); got a label of 3"),
    "y-negative": ({"y": lambda a: edited(a, 5, -1)}, ValueError, "`y` must hold class labels in [0, 3); got a label of -1"),
    "y-float": ({"y": lambda a: a.astype(np.float32)}, TypeError, "`y` must have an integer dtype for class labels; got float"),
    "y-bool": ({"y": lambda a: a > 1}, TypeError, "`y` must have an integer dtype for class labels; got bool"),
    "y-rank": ({"y": lambda a: a[:, None, None]}, ValueError, "`y` must have shape (23,) for class labels or (23, 3) for class probabilities; got (23, 1, 1)"),
    "y-scalar": ({"y": lambda a: a[0]}, ValueError, "`y` must have shape (23,) for class labels or (23, 3) for class probabilities; got ()"),
    # class probabilities
    "T-integers": ({"y": lambda a: np.eye(3, dtype=np.int32)[a]}, TypeError, "`y` must have a real floating dtype for class probabilities; got int32"),
    "T-width": ({"y": lambda a: np.eye(4)[a]}, ValueError, "`y` must have shape (23, 3) for class probabilities; got (23, 4)"),
    "T-short": ({"y": lambda a: np.eye(3)[a[:22]]}, ValueError, "`y` must have shape (23, 3) for class probabilities; got (22, 3)"),
    "T-negative": ({"y": lambda a: np.eye(3)[a] * 1.5 - np.roll(np.eye(3)[a], 1, axis=1) / 2}, ValueError, "`y` must hold class probabilities of at least 0; got -0.5"),
    "T-nan": ({"y": lambda a: edited(np.eye(3)[a], (0, 0), np.nan)}, ValueError, "`y` must hold class probabilities of at least 0; got nan"),
    "T-sum": ({"y": lambda a: edited(np.eye(3)[a], 4, 0.5)}, ValueError, "`y` must hold class probabilities that sum to 1 for each sample; got a sum that is off by 0.5"),
    # the validation set
    "X_val-width": ({"X_val": lambda a: a[:, :3]}, ValueError, "`validation X` must have 4 features a sample to fit the network; got shape (11, 3), which is 3"),
    "X_val-rank": ({"X_val": lambda a: a[:, 0]}, ValueError, "`validation X` must have a first axis of samples and at least one more of features; got shape (11,)"),
    "X_val-empty": ({"X_val": lambda a: a[:0], "y_val": lambda a: a[:0]}, ValueError, "`validation X` must hold at least one sample; got shape (0, 4)"),
    "X_val-complex": ({"X_val": lambda a: a.astype(np.complex64)}, TypeError, "`validation X` must have a real dtype; got complex64"),
    "X_val-nan": ({"X_val": lambda a: edited(a, (3, 1), np.nan)}, ValueError, "`validation X` must be finite; got nan, first in row 3, column 1 "),
    "X_val-inf": ({"X_val": lambda a: edited(a, (3, 1), np.inf)}, ValueError, "`validation X` must be finite; got an infinite value, first in row 3, column 1 "),
    "y_val-short": ({"y_val": lambda a: a[:10]}, ValueError, "`validation y` must have one label for each of the 11 samples of `validation X`; got 10"),
    "y_val-high": ({"y_val": lambda a: edited(a, 0, 3)}, ValueError, "`validation y` must hold class labels in [0, 3); got a label of 3"),
    "y_val-float": ({"y_val": lambda a: a.astype(np.float32)}, TypeError, "`validation y` must have an integer dtype for class labels; got float"),
    "T_val-sum": ({"y_val": lambda a: edited(np.eye(3)[a], 4, 0.5)}, ValueError, "`validation y` must hold class probabilities that sum to 1 for each sample; got a sum that is off by 0.5"),
    "w_val-short": ({"w_val": lambda _: np.ones(10)}, ValueError, "`validation sample_weight` must have shape (11,); got (10,)"),
    "w_val-negative": ({"w_val": lambda a: edited(a, 4, -1.5)}, ValueError, "`validation sample_weight` must be finite and at least 0; got a weight of -1.5"),
    "w_val-nan": ({"w_val": lambda a: edited(a, 4, np.nan)}, ValueError, "`validation sample_weight` must be finite and at least 0; got a weight of nan"),
    "w_val-zero": ({"w_val": np.zeros_like}, ValueError, "`validation sample_weight` must hold a weight above 0; got 0 for every sample"),
    "w_val-bool": ({"w_val": lambda a: a.astype(bool)}, TypeError, "`validation sample_weight` must have a real dtype; got bool"),
    # weights of the samples
    "weight-short": ({"sample_weight": lambda _: np.ones(22)}, ValueError, "`sample_weight` must have shape (23,); got (22,)"),
    "weight-rank": ({"sample_weight": lambda _: np.ones((23, 1))}, ValueError, "`sample_weight` must have shape (23,); got (23, 1)"),
    "weight-negative": ({"sample_weight": lambda _: edited(np.ones(23), 4, -1.5)}, ValueError, "`sample_weight` must be finite and at least 0; got a weight of -1.5"),
    "weight-nan": ({"sample_weight": lambda _: edited(np.ones(23), 4, np.nan)}, ValueError, "`sample_weight` must be finite and at least 0; got a weight of nan"),
    "weight-inf": ({"sample_weight": lambda _: edited(np.ones(23), 4, np.inf)}, ValueError, "`sample_weight` must be finite and at least 0; got a weight of inf"),
    "weight-zero": ({"sample_weight": lambda _: np.zeros(23)}, ValueError, "`sample_weight` must hold a weight above 0; got 0 for every sample"),
    "weight-bool": ({"sample_weight": lambda _: np.ones(23, bool)}, TypeError, "`sample_weight` must have a real dtype; got bool"),
    "weight-complex": ({"sample_weight": lambda _: np.ones(23, np.complex64)}, TypeError, "`sample_weight` must have a real dtype; got complex64"),
}  # fmt: skip


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("case", BAD_INPUT)
def test_arrays_that_do_not_do_are_refused(backend: Backend, case):
    changes, error, message = BAD_INPUT[case]
    task = make_task(2)
    held_out = {"X_val": task.X_val, "y_val": task.y_val, "w_val": np.ones(11)}
    host = {"X": task.X, "y": task.y, "sample_weight": np.ones(23), **held_out}
    host |= {name: change(host[name]) for name, change in changes.items()}
    there = {name: backend.array(array) for name, array in host.items()}
    validation = tuple(there.pop(name) for name in held_out)
    called = Watcher()
    with pytest.raises(error, match=re.escape(message)):
        train(task.on(backend).net, **there, validation=validation, **SETTINGS, callbacks=[called])
    assert called.events == []


@pytest.mark.parametrize("value", [1e39, -3.5e38])
@pytest.mark.parametrize("preprocessing", [None, Standardizer(np.full(4, 5.0), np.full(4, 1e-30))])
@pytest.mark.parametrize("stream", [False, True])
def test_a_value_that_the_networks_dtype_does_not_have_is_refused(
    backend: Backend, value, preprocessing, stream
):
    """A folded network would have to take it as it is."""
    if backend.dtype == "float32":
        return
    task = make_task()
    net = task.on(backend, "float32").net
    place = (lambda array: array) if stream else backend.array
    good, y, X_val, y_val = map(place, task[1:])
    settings: dict[str, Any] = {**SETTINGS, "preprocessing": preprocessing, "stream": stream}
    message = re.escape(f"got {value:.8g}, first in row 9, column 2 (counted from 0)")
    bad, bad_val = (place(edited(a, (9, 2), value)) for a in (task.X, task.X_val))
    with pytest.raises(ValueError, match="^`X` must hold values within .* float32.*" + message):
        train(net, bad, y, validation=(X_val, y_val), **settings)
    with pytest.raises(ValueError, match="^`validation X` must hold .* float32.*" + message):
        train(net, good, y, validation=(bad_val, y_val), **settings)


def test_a_validation_that_overflows_has_no_accuracy(backend: Backend):
    """The samples and the networks are finite, but not what comes of them."""
    task = make_task()
    largest = float(np.finfo(backend.dtype).max)
    X_val = task.X_val.copy()
    X_val[3] = 0.9 * largest * np.array([1, -1, 1, -1])
    net = task.net._replace(W1=10 * np.where(np.arange(4)[:, None] % 2, -1.0, 1.0) * np.ones((4, 5)))
    net = net._replace(W2=np.where(np.arange(5)[:, None] % 2, 1.0, -1.0) * np.ones((5, 3)))
    there = task._replace(net=net, X_val=X_val).on(backend)
    run = trained(there, reg=0.0, learning_rate=1e-6)
    assert run.diverged is None
    assert np.isnan(run.history.validation_accuracy).all()
    assert np.isnan(run.validation_accuracy)
    assert np.isnan(trained(there, reg=0.0, learning_rate=1e-6, judge="last").validation_accuracy)
    assert run.train_accuracy >= 0


def test_a_value_that_is_not_finite_is_found_in_its_block(backend: Backend, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)
    task = make_task()
    bad = task._replace(X=edited(task.X, (12, 0), np.nan)).on(backend)
    with pytest.raises(ValueError, match=r"`X` must be finite; got nan, first in row 12, column 0 "):
        trained(bad)
    bad = task._replace(X_val=edited(task.X_val, (10, 3), -np.inf)).on(backend)
    with pytest.raises(
        ValueError, match=r"`validation X` must be finite; got an infinite value, first in row 10, column 3 "
    ):
        trained(bad)


BAD_SETTINGS = {
    "reg-negative": ({"reg": -0.1}, ValueError, "`reg` must be finite and at least 0; got -0.1"),
    "reg-one-negative": ({"reg": [0.1, -0.1]}, ValueError, "`reg` must be finite and at least 0; got -0.1"),
    "reg-nan": ({"reg": np.nan}, ValueError, "`reg` must be finite and at least 0; got nan"),
    "reg-inf": ({"reg": np.inf}, ValueError, "`reg` must be finite and at least 0; got inf"),
    "reg-long": ({"reg": [0.1] * 3}, ValueError, "`reg` must be a number or of shape (2,); got shape (3,)"),
    "reg-rank": ({"reg": [[0.1], [0.2]]}, ValueError, "`reg` must be a number or of shape (2,); got shape (2, 1)"),
    "reg-text": ({"reg": "0.1"}, TypeError, "`reg` must be a number, or one for each network; got str"),
    "reg-none": ({"reg": None}, TypeError, "`reg` must be a number, or one for each network; got NoneType"),
    "reg-bool": ({"reg": True}, TypeError, "`reg` must be a number, or one for each network; got bool"),
    "reg-texts": ({"reg": ["a", "b"]}, TypeError, "`reg` must be a number, or one for each network; got <U1"),
    "rate-negative": ({"learning_rate": -1}, ValueError, "`learning_rate` must be finite and at least 0; got -1"),
    "rate-nan": ({"learning_rate": [np.nan, 1]}, ValueError, "`learning_rate` must be finite and at least 0; got nan"),
    "rate-inf": ({"learning_rate": np.inf}, ValueError, "`learning_rate` must be finite and at least 0; got inf"),
    "rate-short": ({"learning_rate": [0.1]}, ValueError, "`learning_rate` must be a number or of shape (2,); got shape (1,)"),
    "rate-text": ({"learning_rate": "fast"}, TypeError, "`learning_rate` must be a number, or one for each network; got str"),
    "rate-complex": ({"learning_rate": 1j}, TypeError, "`learning_rate` must be a number, or one for each network; got complex"),
    "batch-zero": ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1; got 0"),
    "batch-float": ({"batch_size": 5.0}, TypeError, "`batch_size` must be an integer; got float"),
    "batch-bool": ({"batch_size": True}, TypeError, "`batch_size` must be an integer; got bool"),
    "epochs-zero": ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
    "epochs-float": ({"epochs": 1.5}, TypeError, "`epochs` must be an integer; got float"),
    "epochs-bool": ({"epochs": True}, TypeError, "`epochs` must be an integer; got bool"),
    "steps-zero": ({"epochs": None, "steps": 0}, ValueError, "`steps` must be at least 1; got 0"),
    "steps-negative": ({"epochs": None, "steps": -3}, ValueError, "`steps` must be at least 1; got -3"),
    "steps-float": ({"epochs": None, "steps": 1e3}, TypeError, "`steps` must be an integer; got float"),
    "steps-bool": ({"epochs": None, "steps": True}, TypeError, "`steps` must be an integer; got bool"),
    "both": ({"epochs": 1, "steps": 5}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
    "judge": ({"judge": "first"}, ValueError, "`judge` must be one of 'best', 'last'; got 'first'"),
    "judge-none": ({"judge": None}, ValueError, "`judge` must be one of 'best', 'last'; got None"),
    "rng-float": ({"rng": 0.5}, TypeError, "`rng` must be an int, a numpy.random.Generator or None; got float"),
    "rng-negative": ({"rng": -1}, ValueError, "`rng` must be non-negative where it is an int; got -1"),
    "validation-none-pair": ({"validation": 3}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got int"),
    "validation-four": ({"validation": (1, 2, 3, 4)}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got a tuple of 4"),
    "validation-array": ({"validation": np.zeros((2, 4))}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got ndarray"),
    "validation-lists": ({"validation": ([[1.0]], [0])}, TypeError, "`validation X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_that_do_not_do_are_refused(case):
    changes, error, message = BAD_SETTINGS[case]
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        trained(make_task(2), **changes)


def test_one_network_takes_one_number():
    for name in ("reg", "learning_rate"):
        with pytest.raises(ValueError, match=rf"^`{name}` must be a number; got shape \(1,\)$"):
            trained(make_task(), **{name: [0.1]})


def test_factors_of_the_wrong_shape_are_refused(backend: Backend):
    def schedule(step: np.ndarray, *, steps_per_epoch: int, steps: int) -> Any:
        return np.ones(len(step) + 1)

    # Of an epoch's batches four are full.
    with pytest.raises(ValueError, match=r"^`schedule` must return factors of shape \(4,\); got \(5,\)$"):
        trained(make_task().on(backend), schedule=schedule)
    with pytest.raises(ValueError, match=r"^`schedule` must return factors of shape \(4,\); got \(\)$"):
        trained(make_task().on(backend), schedule=lambda step, **_: 0.5)


def test_a_schedule_is_told_where_the_run_is():
    told = []

    def schedule(step: np.ndarray, *, steps_per_epoch: int, steps: int) -> np.ndarray:
        told.append((step.tolist(), steps_per_epoch, steps))
        assert step.dtype == np.int64
        return np.ones(len(step))

    trained(make_task(), epochs=None, steps=7, schedule=schedule)
    assert {(per_epoch, steps) for _, per_epoch, steps in told} == {(5, 7)}
    assert [0, 1, 2, 3] in [step for step, *_ in told]
    assert {i for step, *_ in told for i in step} == set(range(7))


@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val", "sample_weight"])
def test_arrays_of_two_libraries_are_refused(backend: Backend, name):
    task = make_task().on(backend)
    fields = {**task._asdict(), "sample_weight": backend.array(np.ones(23))}
    other = next(
        b for b in BACKENDS if b.name == ("strict-2024.12" if backend.library == "numpy" else "numpy")
    )
    shown = {"strict": "array_api_strict"}
    fields[name] = other.array(to_host(fields[name]).astype(np.float32 if "y" not in name else np.int32))
    shown_name = {"X_val": "validation X", "y_val": "validation y"}.get(name, name)
    there, here = (shown.get(b.library, b.library) for b in (backend, other))
    if backend.library == "jax":
        there = "jax"
    beside = {"X": "W1", "X_val": "W1", "y": "X", "y_val": "validation X", "sample_weight": "X"}[name]
    message = f"`{shown_name}` must be an array of the library of `{beside}`, {there}; got one of {here}"
    net, X, y, X_val, y_val, weight = fields.values()
    with pytest.raises(TypeError, match="^" + re.escape(message) + "$"):
        train(net, X, y, validation=(X_val, y_val), sample_weight=weight, **SETTINGS)


@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val", "sample_weight", "b1", "W2", "b2"])
def test_arrays_on_two_devices_are_refused(name):
    here, there = (next(b for b in BACKENDS if b.name == n) for n in ("strict-2024.12", "strict-2025.12"))
    with here.active():
        task = make_task().on(here)
        fields = {**task._asdict(), "sample_weight": here.array(np.ones(23))}
        if name in task.net._fields:
            fields["net"] = task.net._replace(**{name: there.array(to_host(getattr(task.net, name)))})
        else:
            fields[name] = there.array(to_host(fields[name]))
        net, X, y, X_val, y_val, weight = fields.values()
        message = r"must be on the device of .*'device1'\); got .*'device2'\)"
        with pytest.raises(ValueError, match=message):
            train(net, X, y, validation=(X_val, y_val), sample_weight=weight, **SETTINGS)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_lists_are_no_arrays(name):
    task = make_task()
    fields = {"X": task.X, "y": task.y, "sample_weight": np.ones(23)}
    fields[name] = fields[name].tolist()
    message = f"`{name}` must be an array of an array-API library (numpy, cupy, torch, jax); got list"
    with pytest.raises(TypeError, match="^" + re.escape(message) + "$"):
        train(task.net, **fields, **SETTINGS)


def test_a_network_that_is_none_is_refused(backend: Backend):
    task = make_task().on(backend)
    misfit = task.net._replace(b1=task.net.b2)
    with pytest.raises(ValueError, match=r"`b1` must have shape \(5,\); got \(3,\)$"):
        trained(task._replace(net=misfit))
    with pytest.raises(TypeError, match="`W1` must have dtype float32 or float64; got int32"):
        trained(task._replace(net=TwoLayerNet(*(backend.xp.astype(a, backend.xp.int32) for a in task.net))))


@pytest.mark.parametrize(
    "net", [None, 5, "net", (1, 2), tuple(make_task().net)], ids=lambda net: type(net).__name__
)
def test_something_else_in_the_place_of_a_network_is_refused(net):
    with pytest.raises(TypeError, match=f"`net` must be a TwoLayerNet.*; got {type(net).__name__}$"):
        trained(make_task()._replace(net=net))


# ---------------------------------------------------------------------------------------------------------
# The rest


def test_repr_of_a_run_shows_sizes_and_scores():
    run = trained(make_task())
    assert repr(run) == (
        f"Run({run.net!r}, 15 steps, train_accuracy={run.train_accuracy}, "
        f"validation_accuracy={run.validation_accuracy}, diverged=None)"
    )


def test_pytorch_tensors_that_are_trained_elsewhere_are_taken_as_values(backend: Backend):
    """A leaf of autograd may come in; what leaves is no part of any graph."""
    if backend.library != "torch":
        assert not hasattr(backend.xp, "is_grad_enabled")
        return
    task = make_task(2).on(backend)
    leaves = TwoLayerNet(*(array.clone().requires_grad_() for array in task.net))
    run = trained(task._replace(net=leaves))
    assert_same_run(run, trained(task))
    assert not any(array.requires_grad for net in (run.best, run.last) for array in net)
    assert all(array.grad is None and array.requires_grad for array in leaves)


@pytest.mark.usefixtures("each_step")
def test_the_run_so_far_knows_what_diverged_in_its_epoch(backend: Backend):
    task = make_task(2).on(backend)
    arguments = {"learning_rate": [0.1, diverging_rate(backend)], "reg": 1.0}
    taken: list[Run] = []
    trained(task, **arguments, callbacks=[lambda p: taken.append(p.run()) if p.step == 4 else None])
    (run,) = taken
    assert run.diverged[0] is None
    assert run.diverged[1] is not None
    assert_same_run(run, trained(task, **arguments, callbacks=[stopping(4)]))


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("n_networks", [None, 2])
@pytest.mark.parametrize("validated", [False, True])
def test_the_run_so_far_is_what_a_stop_would_return_and_can_be_gone_on_with(
    backend: Backend, n_networks, validated
):
    task = make_task(n_networks).on(backend)
    taken: dict[tuple[int, bool], Run] = {}

    def take(progress: Progress) -> None:
        if progress.step in (3, 5, 7):
            taken[progress.step, progress.epoch_ended] = progress.run()

    whole = trained(task, validated=validated, callbacks=[take])
    for (step, epoch_ended), run in taken.items():
        assert run.n_steps == step
        if (step, epoch_ended) != (5, False):  # a stop there still makes the epoch's entry
            assert_same_run(run, trained(task, validated=validated, callbacks=[stopping(step, epoch_ended)]))
        assert_same_run(trained(task._replace(net=run), validated=validated, rng=None), whole)
    assert len(taken) == 4


def test_a_total_below_what_a_run_has_taken_is_refused():
    task = make_task()
    run = trained(task, epochs=3)
    with pytest.raises(ValueError, match=r"must be the new total, at least the 15 steps that .*; got 10$"):
        trained(task._replace(net=run), epochs=2, rng=None)


def test_a_number_is_no_schedule():
    message = r"^`schedule` must be a schedule, such as twolayer.schedules.Exponential\(0.95\); got float$"
    with pytest.raises(TypeError, match=message):
        trained(make_task(), schedule=0.95)


@pytest.mark.parametrize(
    ("learning_rate", "message"),
    [
        ([0.01, 1e30], r"^1 of 2 networks diverged at step \d+: .*DivergenceWarning"),
        ([0.01, 1e30, 1e30], r"^2 of 3 networks diverged, the first at step \d+: "),
    ],
)
def test_a_divergence_is_a_warning_of_its_own(learning_rate, message):
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    nets = stack([TwoLayerNet.initialize(5, 8, 3, rng=0)] * len(learning_rate))
    with pytest.warns(DivergenceWarning, match=message) as found:
        run = train(nets, X, y, learning_rate=learning_rate, epochs=3, rng=0)
    assert len(found) == 1
    assert found[0].filename == __file__
    assert f"step {min(step for step in run.diverged if step)}:" in str(found[0].message)


def test_a_divergence_of_one_network_is_a_warning_until_it_is_silenced():
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    net = TwoLayerNet.initialize(5, 8, 3, rng=0)
    with pytest.warns(DivergenceWarning, match=r"^The network diverged at step"):
        train(net, X, y, learning_rate=1e30, epochs=2, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(net, X, y, learning_rate=0.01, epochs=2, rng=0)  # none diverges
        warnings.filterwarnings("ignore", category=DivergenceWarning)
        train(net, X, y, learning_rate=1e30, epochs=2, rng=0)


def test_a_sweep_reports_a_divergence_without_the_warning():
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    grid = {"learning_rate": [0.01, 1e30], "n_hidden": [8]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sweep(X, y, validation=(X, y), grid=grid, epochs=2)
    assert sum(row["diverged"] is not None for row in result.runs) == 1
