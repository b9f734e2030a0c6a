"""Arguments and results of train(): arrays, seeds, the best and the last network, the length of a run."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.small_runs import (
    PER_EPOCH,
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    each_run,
    host_net,
    make_task,
    peak_memory,
    trained,
    tries,
    turned,
)

from twolayer import TwoLayerNet, _validation, optimizers, schedules, train
from twolayer.training import batches

pytestmark = pytest.mark.once_on_jax

STACKED = pytest.mark.parametrize("n_networks", [None, 2])
SIGNS = np.array([1.0, -1.0, 0.5])

# ---------------------------------------------------------------------------------------------------------
# Arrays


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
    assert run.diverged == (None if n_networks is None else (None, None, None))
    for name, kind in (("train_accuracy", float), ("validation_accuracy", float), ("best_step", int)):
        values = getattr(run, name)
        if n_networks is None:
            assert type(values) is kind
        else:
            assert type(values) is np.ndarray
            assert (values.shape, values.dtype) == ((n_networks,), kind)
    assert run.n_steps == 15
    assert type(run.n_steps) is int


@pytest.mark.float32_on_jax
@STACKED
def test_arguments_are_not_changed_and_share_no_memory_with_results(backend: Backend, n_networks):
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


@STACKED
def test_non_contiguous_and_read_only_arrays_are_accepted(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)

    def awkward(array: Any) -> Any:
        if backend.library != "numpy":
            return array if array.ndim < 2 else turned(array, xp=backend.xp)
        view = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype, order="F")[..., ::-2]
        view[...] = array
        view.flags.writeable = False
        return view

    weight = backend.array(np.linspace(0.5, 1.5, 23))
    odd = Task(TwoLayerNet(*map(awkward, task.net)), *map(awkward, task[1:]))
    found, expected = trained(odd, sample_weight=awkward(weight)), trained(task, sample_weight=weight)
    assert_same_run(found, expected, rtol=1e-12 if backend.library == "numpy" else backend.rtol)
    if backend.library == "numpy":
        assert all(array.flags.writeable for array in found.last)


CASTS = [
    *(("X", dtype) for dtype in ("bool", "uint8", "int8", "int16", "int32", "int64", "float32")),
    *(("y", dtype) for dtype in ("uint8", "int16", "int32", "int64")),
    ("sample_weight", "int32"),
]


@pytest.mark.float32_on_jax
@pytest.mark.parametrize(("name", "dtype"), CASTS)
def test_arrays_of_any_real_dtype_are_cast(backend: Backend, name, dtype):
    task = make_task(2)
    X, X_val = (np.abs(np.round(a)) % (2 if dtype == "bool" else 4) for a in (task.X, task.X_val))
    weight = np.arange(23) % 3 + 1.0
    host = {"X": X, "y": task.y, "X_val": X_val, "y_val": task.y_val, "sample_weight": weight}
    usual = {key: backend.array(array) for key, array in host.items()}
    names = [key for key in (name, f"{name}_val") if key in host]
    cast = usual | {key: backend.array(host[key].astype(dtype), dtype) for key in names}
    kept = "int32" if dtype == "int64" and backend.name == "jax-x32" else dtype
    assert cast[name].dtype == getattr(backend.xp, kept)
    net, runs = task.on(backend).net, []
    for arrays in (cast, usual):
        weight = arrays.pop("sample_weight")
        runs.append(trained(Task(net, **arrays), sample_weight=weight))
    assert_same_run(*runs)


def test_images_are_never_converted_whole_to_floats(monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**14)
    rng = np.random.default_rng(0)
    X, X_val = (rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8) for n in (3000, 1000))
    y, y_val = (np.arange(len(a)) % 3 for a in (X, X_val))
    net = TwoLayerNet.initialize(768, 2, 3, rng=0, weight_scale=1e-3)
    arguments = {"batch_size": 20, "steps": 5, "learning_rate": 1e-5, "rng": 0}
    peak = peak_memory(lambda: train(net, X, y, validation=(X_val, y_val), **arguments))
    assert peak < X.nbytes / 2  # as float32 they would take four times X.nbytes


@STACKED
def test_evaluation_in_blocks_changes_nothing(backend: Backend, monkeypatch, n_networks):
    task = make_task(n_networks).on(backend)
    whole = trained(task)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 30)
    if backend.library == "jax":  # compiled functions have the old size of blocks
        sys.modules["jax"].clear_caches()
    assert_same_run(trained(task), whole, rtol=backend.rtol)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("size", [1e4, -1e4])
@STACKED
def test_huge_logits_give_finite_losses(backend: Backend, n_networks, size):
    task = make_task(n_networks)
    net = task.net._replace(b2=task.net.b2 + size * SIGNS)
    run = trained(task._replace(net=net).on(backend), reg=0.0, learning_rate=1e-3)
    assert np.isfinite(run.history.loss).all()
    assert np.max(run.history.loss) > 1e3
    assert run.diverged in (None, (None, None))
    assert all(np.isfinite(array).all() for array in host_net(run.last))


def test_pytorch_tensors_that_require_gradients_are_used_as_values(backend: Backend):
    """Leaves of an autograd graph are accepted, but results are part of no graph."""
    if backend.library != "torch":
        assert not hasattr(backend.xp, "is_grad_enabled")
        return
    task = make_task(2).on(backend)
    leaves = TwoLayerNet(*(array.clone().requires_grad_() for array in task.net))
    run = trained(task._replace(net=leaves))
    assert_same_run(run, trained(task))
    assert not any(array.requires_grad for net in (run.best, run.last) for array in net)
    assert all(array.grad is None and array.requires_grad for array in leaves)


# ---------------------------------------------------------------------------------------------------------
# Seeds


def test_a_run_can_be_repeated_with_its_seed(backend: Backend):
    task, rng = make_task().on(backend), np.random.default_rng(0)
    runs = [trained(task, rng=each) for each in (7, rng, rng, None, None)]
    seeds = [run.seed for run in runs]
    assert seeds[:2] == [7, 5874934615388537135]
    assert len(set(seeds)) == 5
    for run in runs:
        assert_same_run(trained(task, rng=run.seed), run)
    assert not np.array_equal(runs[1].history.loss, runs[0].history.loss)


# ---------------------------------------------------------------------------------------------------------
# The best and the last network


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
        task = make_task(n_networks, seed=seed, soft=soft, n_validation=6).on(backend)
        watcher = Watcher(nets=True)
        run = trained(task, learning_rate=rate, reg=0.0, epochs=epochs, callbacks=[watcher])
        of_epochs = [np.atleast_1d(to_host(net.accuracy(*task.validation))) for net in watcher.nets]
        found = np.atleast_2d(run.history.validation_accuracy)
        rtol = 1e-12 if backend.dtype == "float64" else 1e-6
        np.testing.assert_allclose(found, np.stack(of_epochs, axis=-1), rtol=rtol)
        for k, (one, accuracies) in enumerate(zip(each_run(run), found, strict=True)):
            best = accuracies.argmax()  # the first of equals
            net = watcher.nets[best]
            assert_same_net(one["best"], net if n_networks is None else net.select(k))
            assert one["best_step"] == (best + 1) * PER_EPOCH
            assert one["validation_accuracy"] == pytest.approx(accuracies[best], rel=1e-12)
        assert_same_net(run.last, watcher.nets[-1])
        assert run.net is run.best

    check()


@pytest.mark.parametrize("n_networks", [None, 3])
def test_judge_last_selects_the_last_network(backend: Backend, n_networks):
    task = make_task(n_networks, noise=2.0, seed=3).on(backend)
    arguments = {"epochs": 8, "learning_rate": 1.0}
    by_best, by_last = trained(task, judge="best", **arguments), trained(task, judge="last", **arguments)
    assert by_last.net is by_last.last
    assert by_best.net is by_best.best
    assert_same_net(by_last.best, by_best.best)
    assert_same_net(by_last.last, by_best.last)
    np.testing.assert_array_equal(by_last.best_step, by_best.best_step)
    assert np.any(by_last.best_step != 40)  # otherwise this would test nothing
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


# ---------------------------------------------------------------------------------------------------------
# The length of a run


@pytest.mark.parametrize(
    ("steps", "entries"), [(1, [1]), (4, [4]), (5, [5]), (6, [5, 6]), (12, [5, 10, 12]), (15, [5, 10, 15])]
)
def test_a_number_of_steps_ends_with_an_entry(backend: Backend, steps, entries):
    task, watcher = make_task(2).on(backend), Watcher()
    run = trained(task, epochs=None, steps=steps, callbacks=[watcher])
    assert run.history.step.tolist() == entries
    assert run.n_steps == steps
    accuracy = to_host(run.last.accuracy(*task.validation))
    np.testing.assert_allclose(run.history.validation_accuracy[:, -1], accuracy, rtol=1e-6)
    assert {progress.epochs for progress in watcher.seen} == {-(-steps // 5)}
    assert [step for step, ended in watcher.events if ended] == entries


def test_the_defaults_of_train():
    task = make_task(n_samples=230)
    left_out = (
        "sample_weight",
        "class_weight",
        "preprocessing",
        "augmentation",
        "ema_decay",
        "patience",
        "steps",
    )
    zero = ("reg", "dropout", "input_dropout", "label_smoothing")
    written_out = {
        **dict.fromkeys(left_out),
        **dict.fromkeys(zero, 0.0),
        "optimizer": optimizers.SGD(momentum=0.9, nesterov=True),
        "learning_rate": 0.01,
        "schedule": schedules.Cosine(),
        "batch_size": 200,
        "epochs": 10,
        "replacement": False,
        "judge": "best",
        "stream": False,
        "resume": None,
        "callbacks": (),
    }
    plain, same = (
        train(task.net, task.X, task.y, validation=task.validation, rng=7, **each)
        for each in ({}, written_out)
    )
    assert_same_run(plain, same)
    falling = 0.01 * (1 + np.cos(np.pi * np.arange(1, 20, 2) / 20)) / 2
    np.testing.assert_allclose(plain.history.learning_rate, falling, rtol=1e-14)


def test_epochs_equal_the_same_number_of_steps():
    task = make_task(2)
    assert_same_run(trained(task, epochs=2), trained(task, epochs=None, steps=10))
    assert_same_run(trained(task, epochs=np.int64(2)), trained(task, epochs=None, steps=np.int32(10)))


def test_drawing_batches_in_chunks_changes_nothing(backend: Backend, monkeypatch):
    task = make_task(2).on(backend)
    whole = trained(task, batch_size=2)
    monkeypatch.setattr(batches, "CHUNK_STEPS", 4)
    assert_same_run(trained(task, batch_size=2), whole)


def test_repr_of_a_run_shows_sizes_and_scores():
    run = trained(make_task())
    assert repr(run) == (
        f"Run({run.net!r}, 15 steps, train_accuracy={run.train_accuracy}, "
        f"validation_accuracy={run.validation_accuracy}, diverged=None)"
    )
