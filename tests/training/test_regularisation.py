"""What a run may be given beside its data: dropout, smoothing, weights of classes, augmentation, averages, patience."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend, to_host
from support.slow_mixes import Mix, bytes_of, slow_mixed_train, threshold_of
from support.small_runs import (
    PLAIN,
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    host_net,
    make_task,
    stopping,
    trained,
)

from twolayer import Run, TwoLayerNet, _validation, schedules, stack, sweep, train
from twolayer.augmentation import Augmentation, Chain, FlipAndShift, Mixup
from twolayer.checkpoints import load_run, save_run
from twolayer.preprocessing import Standardizer
from twolayer.training import batches as batches_module
from twolayer.training.data import check_class_weight
from twolayer.training.optimizers import SGD, Adam, AdamW
from twolayer.training.plan import dropout_threshold

pytestmark = pytest.mark.once_on_jax

PER_EPOCH = 5  # 23 samples in batches of 5
BASE: dict[str, Any] = {**PLAIN, "batch_size": 5, "learning_rate": 0.2, "reg": 0.01, "epochs": 2, "rng": 7}
HOST = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))


def few(backend: Backend, numpy: int = 30) -> settings:
    """How many mixes are tried: JAX compiles each of them anew."""
    share = {"numpy": 1.0, "torch": 0.25, "strict": 0.15}.get(backend.library, 0.0)
    return settings(max_examples=max(2, round(share * numpy)))


def mixed(task: Task, backend: Backend, *, start: Run | None = None, **changes: Any) -> Run:
    """A run on the backend; with ``stream``, of data that stay on the host."""
    arguments = {**BASE, **changes}

    def streamed(array: np.ndarray) -> np.ndarray:
        return array.astype(backend.dtype) if array.dtype.kind == "f" else array

    place = streamed if arguments.get("stream") else backend.array
    there = Task(task.on(backend).net, *(place(array) for array in task[1:]))
    if arguments.get("sample_weight") is not None:
        arguments["sample_weight"] = place(arguments["sample_weight"])
    validation = there.validation if arguments.pop("validated", True) else None
    net = there.net if start is None else start
    if start is not None:
        arguments["rng"] = None
    return train(net, there.X, there.y, validation=validation, **arguments)


def each_run(run: Run, K: int | None) -> list[dict[str, Any]]:
    """What a run says of each of its networks."""
    names = ("diverged", "stopped", "best_step", "train_accuracy", "validation_accuracy")
    if K is None:
        nets = {name: getattr(run, name) for name in ("net", "best", "last", "average")}
        return [{**nets, "history": run.history, **{name: getattr(run, name) for name in names}}]
    return [
        {
            **{name: getattr(run, name).select(k) for name in ("net", "best", "last")},
            "average": None if run.average is None else run.average.select(k),
            "history": run.history.select(k),
            **{name: getattr(run, name)[k] for name in names},
        }
        for k in range(K)
    ]


def numbers_of(K: int | None, entries: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return entries if K is None else st.lists(entries, min_size=K, max_size=K)


AUGMENTATIONS = (
    None,
    Mixup(0.4),
    FlipAndShift((2, 2), shift=1),
    Chain(FlipAndShift((2, 2), shift=1, border="zero"), Mixup(1.0)),
)


def any_settings(K: int | None, *, streams: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Any mix of what `train` may be given, of K networks."""
    probability = st.sampled_from([0.0, 0.001, 0.2, 0.5, 0.8])
    return st.fixed_dictionaries(
        {"rng": st.integers(0, 2**40)},
        optional={
            "dropout": numbers_of(K, probability),
            "input_dropout": probability,
            "label_smoothing": numbers_of(K, st.sampled_from([0.0, 0.1, 1.0])),
            "reg": numbers_of(K, st.sampled_from([0.0, 0.05])),
            "sample_weight": st.just(np.arange(23) % 4 / 2.0),
            "class_weight": st.sampled_from(["balanced", [1.0, 0.0, 2.0], (3, 1, 1)]),
            "preprocessing": st.just(HOST),
            "augmentation": st.sampled_from(AUGMENTATIONS),
            "optimizer": st.sampled_from(
                [SGD(), SGD(0.8), SGD(0.5, nesterov=True), Adam(eps=1e-3), AdamW(eps=1e-3, weight_decay=0.1)]
            ),
            "schedule": st.sampled_from(
                [schedules.Exponential(0.9, every=2), schedules.Warmup(schedules.Constant(), steps=6)]
            ),
            "ema_decay": st.sampled_from([0.0, 0.5, 0.9]),
            "patience": st.integers(1, 3),
            "judge": st.sampled_from(["best", "last"]),
            "replacement": st.booleans(),
            **({"stream": st.booleans()} if streams else {}),
        },
    )


# ---------------------------------------------------------------------------------------------------------
# A slow oracle


def assert_oracles_run(
    backend: Backend, task: Task, changes: dict[str, Any], mix: Mix, n_networks: int | None
) -> None:
    arguments = {**BASE, **changes}
    n_steps, K = PER_EPOCH * arguments["epochs"], n_networks or 1
    rates = np.broadcast_to(np.asarray(arguments["learning_rate"], float), (K,))[:, None] * np.ones(n_steps)
    slow = slow_mixed_train(
        task.net,
        task.X,
        task.y,
        rates=rates,
        reg=arguments["reg"],
        batch_size=5,
        seed=arguments["rng"],
        replacement=arguments.get("replacement", False),
        mix=mix,
    )
    kind, *rest = mix.optimizer
    optimizer = SGD(*rest) if kind == "sgd" else AdamW(*rest) if rest[-1] else Adam(*rest[:-1])
    run = mixed(
        task,
        backend,
        dropout=mix.dropout,
        input_dropout=mix.input_dropout,
        label_smoothing=mix.label_smoothing,
        sample_weight=mix.sample_weight,
        augmentation=None if mix.mixup is None else Mixup(mix.mixup),
        preprocessing=None if mix.centre is None else Standardizer(mix.centre, mix.scale),
        ema_decay=mix.ema_decay,
        optimizer=optimizer,
        **changes,
    )
    exact = backend.dtype == "float64"
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if exact else {"rtol": 5e-3, "atol": 5e-4}
    np.testing.assert_allclose(np.atleast_2d(run.history.loss), slow.loss, **tolerance)
    if exact:
        np.testing.assert_allclose(np.atleast_2d(run.history.batch_accuracy), slow.batch_accuracy, rtol=1e-12)
    for found, last, average in zip(each_run(run, n_networks), slow.nets, slow.averages, strict=True):
        for a, b in zip(host_net(found["last"]), last, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)
        if mix.ema_decay is None:
            assert found["average"] is None
            continue
        for a, b in zip(host_net(found["average"]), average, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)


ORACLE_MIXES = {
    "dropout": (None, Mix(dropout=0.3), {}),
    "dropout-of-each": (3, Mix(dropout=[0.0, 0.25, 0.9]), {}),
    "hardly-any-dropout": (None, Mix(dropout=1e-9), {}),
    "nearly-all-dropout": (None, Mix(dropout=0.9999, input_dropout=0.001), {}),
    "input-dropout": (2, Mix(input_dropout=0.4), {}),
    "smoothing": (3, Mix(label_smoothing=[0.0, 0.1, 1.0]), {}),
    "average": (2, Mix(ema_decay=0.8), {"reg": [0.0, 0.1]}),
    "no-decay-of-the-average": (None, Mix(ema_decay=0.0), {}),
    "momentum": (2, Mix(optimizer=("sgd", 0.7, False)), {"learning_rate": [0.1, 0.05]}),
    "nesterov": (None, Mix(optimizer=("sgd", 0.9, True)), {}),
    "adam": (2, Mix(optimizer=("adam", 0.9, 0.99, 1e-3, 0.0)), {"learning_rate": [0.05, 0.02]}),
    "adamw": (None, Mix(optimizer=("adam", 0.8, 0.9, 1e-2, 0.3)), {"learning_rate": 0.05, "reg": 0.0}),
    "weighted-mixup": (2, Mix(mixup=0.5, sample_weight=np.arange(23) % 4 / 2.0), {}),
    "preprocessing": (2, Mix(centre=HOST.mean, scale=HOST.scale, input_dropout=0.3, mixup=0.2), {}),
    "everything": (
        2,
        Mix(
            dropout=[0.2, 0.5],
            input_dropout=0.1,
            label_smoothing=[0.1, 0.2],
            sample_weight=np.arange(23) % 4 / 2.0,
            mixup=0.4,
            centre=HOST.mean,
            scale=HOST.scale,
            ema_decay=0.9,
            optimizer=("sgd", 0.9, True),
        ),
        {"learning_rate": [0.1, 0.05], "reg": [0.02, 0.0], "replacement": True},
    ),
}


@pytest.mark.parametrize("case", ORACLE_MIXES)
def test_a_slow_loop_over_samples_agrees(backend: Backend, case):
    n_networks, mix, changes = ORACLE_MIXES[case]
    for soft in (False, True) if n_networks else (False,):
        assert_oracles_run(backend, make_task(n_networks, soft=soft), changes, mix, n_networks)


def test_a_slow_loop_agrees_on_any_mix(backend: Backend):
    probability = st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.75])
    lead = st.sampled_from([None, 2])

    @few(backend)
    @given(
        drawn=lead.flatmap(
            lambda K: st.tuples(
                st.just(K),
                st.builds(
                    Mix,
                    dropout=numbers_of(K, probability),
                    input_dropout=probability,
                    label_smoothing=numbers_of(K, st.floats(0, 1, width=16)),
                    sample_weight=st.sampled_from([None, np.arange(23) % 3 / 2.0]),
                    mixup=st.sampled_from([None, 0.2, 1.0]),
                    centre=st.sampled_from([None, HOST.mean]),
                    scale=st.just(HOST.scale),
                    ema_decay=st.sampled_from([None, 0.0, 0.7]),
                    optimizer=st.sampled_from(
                        [("sgd", 0.0, False), ("sgd", 0.9, True), ("adam", 0.9, 0.99, 1e-2, 0.0)]
                    ),
                ),
                st.fixed_dictionaries(
                    {
                        "reg": numbers_of(K, st.sampled_from([0.0, 0.1])),
                        "learning_rate": numbers_of(K, st.sampled_from([0.02, 0.1])),
                        "replacement": st.booleans(),
                        "rng": st.integers(0, 2**70),
                    }
                ),
            )
        ),
        soft=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def check(drawn: tuple[int | None, Mix, dict[str, Any]], soft: bool, seed: int) -> None:
        n_networks, mix, changes = drawn
        assert_oracles_run(backend, make_task(n_networks, soft=soft, seed=seed), changes, mix, n_networks)

    check()


# ---------------------------------------------------------------------------------------------------------
# The same run everywhere: the same seed, alone or in a stack, interrupted or not


FIXED_MIXES: dict[str, dict[str, Any]] = {
    "nesterov-dropout": {"dropout": 0.3, "label_smoothing": 0.1, "ema_decay": 0.95, "optimizer": SGD(0.9, nesterov=True)},
    "adam-mixup": {
        "optimizer": Adam(), "learning_rate": 0.01, "augmentation": Mixup(0.3), "input_dropout": 0.1,
        "class_weight": "balanced", "preprocessing": HOST, "patience": 15,
    },
    "adamw-images": {
        "optimizer": AdamW(weight_decay=0.1), "learning_rate": 0.02, "dropout": 0.5, "stream": True,
        "augmentation": Chain(FlipAndShift((2, 2), shift=1), Mixup(0.2)), "sample_weight": np.arange(23) % 4 / 2.0,
        "ema_decay": 0.9, "schedule": schedules.Warmup(), "judge": "last",
    },
}  # fmt: skip


@pytest.mark.parametrize("case", FIXED_MIXES)
def test_100_steps_of_a_mix_are_those_of_numpy(backend: Backend, case):
    from support.backends import BACKENDS

    n_networks = None if case == "adam-mixup" else 2
    task = make_task(n_networks, noise=2.0, seed=1)
    if backend.dtype == "float64":
        found = mixed(task, backend, epochs=20, **FIXED_MIXES[case])
        expected = mixed(task, BACKENDS[0], epochs=20, **FIXED_MIXES[case])
        assert expected.n_steps == 100 or case == "adam-mixup"
        assert_alike(found, expected, n_networks)
    else:  # a few steps: then rounding tells
        found = mixed(task, backend, **FIXED_MIXES[case])
        expected = mixed(task, BACKENDS[0], **FIXED_MIXES[case])
        np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=2e-3)


def assert_alike(found: Run, expected: Run, n_networks: int | None) -> None:
    """The same but for the rounding of float64."""
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-10)
    assert_same_history(found.history, expected.history, rtol=1e-10)
    for one, other in zip(each_run(found, n_networks), each_run(expected, n_networks), strict=True):
        for name in ("net", "best", "last", "average"):
            assert (one[name] is None) == (other[name] is None)
            if other[name] is not None:
                assert_same_net(one[name], other[name], rtol=1e-9)
        for name in ("diverged", "stopped", "best_step", "train_accuracy", "validation_accuracy"):
            np.testing.assert_equal(one[name], other[name], err_msg=name)


def test_any_mix_gives_the_run_of_numpy(backend: Backend):
    """On NumPy itself: the same run once more."""
    from support.backends import BACKENDS

    if backend.dtype == "float32":
        assert backend.name in ("strict-no-float64", "jax-x32")
        return
    lead = st.sampled_from([None, 2])

    @few(backend)
    @given(
        drawn=lead.flatmap(lambda K: st.tuples(st.just(K), any_settings(K))),
        soft=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def check(drawn: tuple[int | None, dict[str, Any]], soft: bool, seed: int) -> None:
        n_networks, changes = drawn
        task = make_task(n_networks, soft=soft, noise=2.0, seed=seed)
        found = mixed(task, backend, **changes, epochs=6)
        expected = mixed(task, BACKENDS[0], **changes, epochs=6)
        assert_alike(found, expected, n_networks)
        if backend.library == "numpy":
            assert_same_run(found, expected)

    check()


def test_a_network_of_a_stack_trains_as_if_alone_with_any_mix(backend: Backend):
    if backend.dtype == "float32":
        assert backend.name in ("strict-no-float64", "jax-x32")
        return

    @few(backend)
    @given(drawn=any_settings(3), seed=st.integers(0, 1000))
    def check(drawn: dict[str, Any], seed: int) -> None:
        task = make_task(3, noise=2.0, seed=seed)
        changes = {"learning_rate": [0.05, 0.3, 0.8], "epochs": 8, **drawn}
        whole = mixed(task, backend, **changes)
        own = ("learning_rate", "dropout", "label_smoothing", "reg")
        for k, found in enumerate(each_run(whole, 3)):
            settings_of_one = {
                name: value[k] if name in own and isinstance(value, list) else value
                for name, value in changes.items()
            }
            alone = mixed(
                task._replace(net=TwoLayerNet(*(a[k] for a in task.net))), backend, **settings_of_one
            )
            (expected,) = each_run(alone, None)
            n_steps = alone.n_steps
            assert_same_history(found["history"].until(n_steps), expected["history"], rtol=1e-8)
            rest = (
                found["history"].loss[n_steps:],
                found["history"].validation_accuracy[len(alone.history.step) :],
            )
            assert all(np.isnan(values).all() for values in rest)  # the others go on
            for name in ("net", "best", "last", "average"):
                if expected[name] is not None:
                    assert_same_net(found[name], expected[name], rtol=1e-8)
            for name in ("diverged", "stopped", "best_step", "train_accuracy", "validation_accuracy"):
                np.testing.assert_equal(found[name], expected[name], err_msg=name)

    check()


@pytest.mark.usefixtures("each_step")
def test_a_run_with_any_mix_goes_on_from_any_step_as_if_it_had_not_stopped(
    backend: Backend, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("runs") / "run.safetensors"
    lead = st.sampled_from([None, 2])

    @few(backend, 40)
    @given(
        drawn=lead.flatmap(lambda K: st.tuples(st.just(K), any_settings(K))),
        stops=st.lists(
            st.tuples(st.integers(1, 29), st.booleans()), min_size=1, max_size=2, unique_by=lambda s: s[0]
        ),
        through_a_file=st.booleans(),
        validated=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def check(drawn, stops, through_a_file, validated, seed) -> None:
        n_networks, changes = drawn
        if not validated:
            changes = {name: value for name, value in changes.items() if name != "patience"}
        changes = {
            "learning_rate": [0.1, 0.8] if n_networks else 0.3,
            **changes,
            "epochs": 6,
            "validated": validated,
        }
        task = make_task(n_networks, noise=2.0, seed=seed)
        whole = mixed(task, backend, **changes)
        run = None
        for step, ended in sorted(stops):
            if step >= whole.n_steps:
                break
            at = stopping(step, ended and step % PER_EPOCH == 0)
            run = mixed(task, backend, start=run, **changes, callbacks=[at])
            assert run.n_steps == step
            if through_a_file:
                save_run(run, path)
                run = load_run(path, backend.xp, backend.device)
        if run is not None:
            assert_same_run(mixed(task, backend, start=run, **changes), whole)

    check()


# ---------------------------------------------------------------------------------------------------------
# Dropout


def test_dropout_is_rounded_to_a_256th_but_never_to_nothing_or_all():
    given_probabilities = np.array([0.0, 1e-12, 0.002, 0.006, 0.25, 0.3, 0.5, 0.996, 0.999999])
    found = dropout_threshold(given_probabilities).tolist()
    assert found == [0, 1, 1, 2, 64, 77, 128, 255, 255]
    assert found == [threshold_of(p) for p in given_probabilities]


def test_probabilities_of_one_256th_are_the_same_run():
    task = make_task()
    first, same, other = (trained(task, dropout=p, input_dropout=0.1) for p in (0.25, 0.2505, 0.254))
    assert_same_run(first, same)
    assert not np.array_equal(first.history.loss, other.history.loss)


def test_the_bytes_of_dropout_leave_out_the_share_that_was_asked_for():
    drawn = bytes_of(0, 3, 0, 0, 200, 50)
    for p in (0.1, 0.5, 0.9):
        assert np.mean(drawn < threshold_of(p)) == pytest.approx(p, abs=0.02)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_nothing_is_left_out_when_predicting(backend: Backend, n_networks):
    task = make_task(n_networks)
    watcher = Watcher(nets=True)
    run = mixed(
        task,
        backend,
        dropout=0.5,
        input_dropout=0.3,
        label_smoothing=0.2,
        reg=0.1,
        epochs=3,
        callbacks=[watcher],
    )
    there = task.on(backend)
    loss = np.stack([to_host(net.loss(*there.validation)) for net in watcher.nets], axis=-1)
    accuracy = np.stack([to_host(net.accuracy(*there.validation)) for net in watcher.nets], axis=-1)
    np.testing.assert_allclose(run.history.validation_loss, loss, rtol=10 * backend.rtol)
    np.testing.assert_allclose(run.history.validation_accuracy, accuracy, rtol=1e-6)
    np.testing.assert_allclose(run.train_accuracy, to_host(run.net.accuracy(there.X, there.y)), rtol=1e-6)


def test_dropout_of_nothing_is_no_dropout(backend: Backend):
    task = make_task(2)
    plain = mixed(task, backend)
    nothing = {"dropout": [0.0, 0.0], "input_dropout": 0, "label_smoothing": [0, 0.0], "class_weight": None}
    assert_same_run(mixed(task, backend, **nothing), plain)
    assert_same_run(mixed(task, backend, class_weight=[1, 1, 1]), plain, rtol=backend.rtol)


# ---------------------------------------------------------------------------------------------------------
# The average of the weights


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_with_an_average_it_is_what_is_validated_kept_and_judged(backend: Backend, n_networks, judge):
    task = make_task(n_networks, noise=2.0, seed=3)
    watcher = Watcher(nets=True)
    arguments = {"ema_decay": 0.9, "learning_rate": 0.8, "epochs": 8}
    run = mixed(task, backend, **arguments, judge=judge, callbacks=[watcher])
    without = mixed(task, backend, **{**arguments, "ema_decay": None})
    assert_same_net(run.last, without.last)  # to be averaged changes nothing
    np.testing.assert_array_equal(run.history.loss, without.history.loss)
    assert not np.array_equal(run.history.validation_accuracy, without.history.validation_accuracy)
    there = task.on(backend)
    accuracy = np.stack([to_host(net.accuracy(*there.validation)) for net in watcher.nets], axis=-1)
    np.testing.assert_allclose(run.history.validation_accuracy, accuracy, rtol=1e-6)
    assert_same_net(watcher.nets[-1], run.average)
    best = np.atleast_2d(run.history.validation_accuracy).argmax(axis=1)
    np.testing.assert_array_equal(np.atleast_1d(run.best_step), (best + 1) * PER_EPOCH)
    assert np.any(best < 7)  # or this shows nothing
    for k, found in enumerate(each_run(run, n_networks)):
        assert_same_net(
            found["best"], watcher.nets[best[k]] if n_networks is None else watcher.nets[best[k]].select(k)
        )
    assert run.net is (run.best if judge == "best" else run.average)
    np.testing.assert_allclose(run.train_accuracy, to_host(run.net.accuracy(there.X, there.y)), rtol=1e-6)
    np.testing.assert_allclose(
        run.validation_accuracy, to_host(run.net.accuracy(*there.validation)), rtol=1e-6
    )


@pytest.mark.parametrize("judge", ["best", "last"])
def test_without_a_validation_set_the_average_is_the_best(backend: Backend, judge):
    task = make_task(2)
    run = mixed(task, backend, validated=False, ema_decay=0.7, judge=judge)
    assert_same_net(run.best, run.average)
    assert_same_net(run.net, run.average)
    assert run.best is not run.average
    assert not np.array_equal(to_host(run.average.W1), to_host(run.last.W1))
    there = task.on(backend)
    np.testing.assert_allclose(run.train_accuracy, to_host(run.average.accuracy(there.X, there.y)), rtol=1e-6)


def test_the_average_begins_with_the_weights_after_the_first_step(backend: Backend):
    run = mixed(make_task(2), backend, epochs=None, steps=1, ema_decay=0.999)
    assert_same_net(run.average, run.last)
    assert_same_net(mixed(make_task(2), backend, ema_decay=0.0).average, mixed(make_task(2), backend).last)


def test_the_average_shares_no_memory_with_the_rest():
    task = make_task(2)
    run = trained(task, ema_decay=0.5)
    arrays = [array for net in (run.best, run.last, run.average) for array in net]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[:i])


@pytest.mark.only_on("torch")
def test_the_average_is_pytorchs(backend: Backend):
    """AveragedModel with its exponential moving average, updated after each step."""
    swa_utils = pytest.importorskip("torch.optim.swa_utils")
    torch = sys.modules["torch"]
    task = make_task(2)

    class Module(torch.nn.Module):
        def __init__(self, net: TwoLayerNet) -> None:
            super().__init__()
            self.arrays = torch.nn.ParameterList(array.clone() for array in net)

    module = Module(task.on(backend).net)
    theirs = swa_utils.AveragedModel(module, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))

    def follow(progress: Any) -> None:
        if progress.epoch_ended:
            return
        weights = mixed(task, backend, epochs=None, steps=progress.step, dropout=0.3).last
        with torch.no_grad():
            for parameter, array in zip(module.arrays, weights, strict=True):
                parameter.copy_(array)
        theirs.update_parameters(module)

    run = mixed(task, backend, epochs=2, dropout=0.3, ema_decay=0.8, callbacks=[follow])
    for found, expected in zip(run.average, theirs.module.arrays, strict=True):
        np.testing.assert_allclose(to_host(found), to_host(expected), rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------------------------------------------------
# Patience


def test_patience_ends_each_network_after_so_many_epochs_without_a_higher_accuracy(backend: Backend):
    seen: set[str] = set()

    @few(backend)
    @given(
        n_networks=st.sampled_from([None, 3]),
        patience=st.integers(1, 4),
        seed=st.integers(0, 1000),
        ema_decay=st.sampled_from([None, 0.7]),
        judge=st.sampled_from(["best", "last"]),
    )
    def check(n_networks, patience, seed, ema_decay, judge) -> None:
        task = make_task(n_networks, noise=2.0, seed=seed)
        arguments = {
            "epochs": 10, "ema_decay": ema_decay, "judge": judge, "optimizer": SGD(0.5),
            "learning_rate": [0.03, 0.3, 1.0] if n_networks else 0.3,
        }  # fmt: skip
        watcher, early_watcher = Watcher(nets=True), Watcher()
        lasts: list[Run] = []
        keep = lambda progress: lasts.append(progress.run()) if progress.epoch_ended else None  # noqa: E731
        whole = mixed(task, backend, **arguments, callbacks=[watcher, keep])
        early = mixed(task, backend, **arguments, patience=patience, callbacks=[early_watcher])
        ends = []
        for k, (found, full) in enumerate(
            zip(each_run(early, n_networks), each_run(whole, n_networks), strict=True)
        ):
            best, waited, end = -1.0, 0, None
            for epoch, accuracy in enumerate(full["history"].validation_accuracy):
                best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
                if waited == patience:
                    end = epoch + 1
                    break
            ends.append(10 if end is None else end)
            seen.add("stopped" if end else "went on")
            steps = ends[-1] * PER_EPOCH
            assert found["stopped"] == (None if end is None else end * PER_EPOCH)
            assert type(found["stopped"]) in (int, type(None))
            assert found["diverged"] is None
            assert_same_history(found["history"].until(steps), full["history"].until(steps))
            assert np.isnan(found["history"].loss[steps:]).all()
            assert np.isnan(found["history"].batch_accuracy[steps:]).all()
            for name in ("train_accuracy", "validation_loss", "validation_accuracy"):
                assert np.isnan(getattr(found["history"], name)[ends[-1] :]).all()
            assert np.isfinite(found["history"].learning_rate).all()
            then = each_run(lasts[ends[-1] - 1], n_networks)[k]
            for name in ("last", "best", "average", "net"):
                if then[name] is not None:
                    assert_same_net(found[name], then[name])
            for name in ("best_step", "train_accuracy", "validation_accuracy"):
                assert found[name] == then[name], name
        assert early.n_steps == max(ends) * PER_EPOCH
        assert early_watcher.events[-1] == (max(ends) * PER_EPOCH, True)
        assert_same_net(early_watcher.seen[-1].net(), early.last if ema_decay is None else early.average)

    check()
    assert "stopped" in seen or backend.library not in ("numpy", "torch")


def test_a_network_whose_patience_ended_stays_ended():
    """Whatever becomes of its place in the stack, and with more epochs."""
    task = make_task(2, noise=2.0, seed=5)
    arguments = {"learning_rate": [0.0, 0.2], "reg": 0.0, "patience": 2, "epochs": 6}
    run = trained(task, **arguments)
    assert run.stopped[0] == 3 * PER_EPOCH  # its accuracy never changes: the first is the best
    more = trained(task._replace(net=run), **{**arguments, "epochs": 12, "rng": None})
    assert more.stopped[0] == 3 * PER_EPOCH
    assert_same_net(more.last.select(0), task.net.select(0))
    one = make_task(noise=2.0, seed=5)
    run = trained(one, learning_rate=0.0, patience=1, epochs=6)
    assert run.stopped == run.n_steps == 2 * PER_EPOCH
    watcher = Watcher()
    again = trained(
        one._replace(net=run), learning_rate=0.0, patience=1, epochs=12, rng=None, callbacks=[watcher]
    )
    assert_same_run(again, run)
    assert watcher.events == []


def test_patience_that_ended_with_a_run_is_not_taken_up_again_within_an_epoch():
    task = make_task(noise=2.0, seed=5)
    arguments = {"learning_rate": 0.0, "reg": 0.0, "patience": 1, "epochs": None}
    run = trained(task, **arguments, steps=7)  # entries after 5 and 7 steps
    assert run.stopped == 7
    again = trained(task._replace(net=run), **arguments, steps=20, rng=None)
    assert_same_run(again, run)


def test_patience_and_divergence_side_by_side(backend: Backend):
    task = make_task(3, noise=2.0, seed=5)
    run = mixed(
        task, backend, learning_rate=[0.0, 1e36, 0.1], reg=[0.0, 1.0, 0.0], patience=2, epochs=4, ema_decay=0.5,
        label_smoothing=0.1,
    )  # fmt: skip
    assert run.stopped[:2] == (3 * PER_EPOCH, None)
    assert run.diverged[0] is run.diverged[2] is None
    assert run.diverged[1] is not None
    assert np.isfinite(run.validation_accuracy).tolist() == [True, False, True]
    assert all(np.isfinite(a).all() for net in (run.last, run.average) for a in host_net(net.select(0)))


def test_all_stopped_or_diverged_ends_the_run(backend: Backend):
    task = make_task(2)
    run = mixed(task, backend, learning_rate=[0.0, 1e36], reg=1.0, patience=1, epochs=9)
    assert run.n_steps == 2 * PER_EPOCH
    assert run.stopped == (2 * PER_EPOCH, None)


def test_patience_needs_a_validation_set():
    with pytest.raises(ValueError, match=r"^`validation` must be given for `patience` to go by; got none$"):
        trained(make_task(), validated=False, patience=2)


# ---------------------------------------------------------------------------------------------------------
# Weights of classes


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_classes_multiply_those_of_their_samples(backend: Backend, soft, weighted):
    task = make_task(2, soft=soft)
    of_class = np.array([0.5, 2.0, 1.25])
    shares = task.y if soft else np.eye(3)[task.y]
    own = np.arange(23) % 3 + 0.5 if weighted else np.ones(23)
    expected = mixed(task, backend, sample_weight=own * (shares @ of_class))
    given_weight = {"sample_weight": own} if weighted else {}
    for kind in (list, tuple, np.asarray, backend.array):
        found = mixed(task, backend, class_weight=kind(of_class.tolist()), **given_weight)
        assert_same_run(found, expected, rtol=backend.rtol)
    streamed = mixed(task, backend, class_weight=of_class, stream=True, **given_weight)
    assert_same_run(streamed, expected, rtol=backend.rtol)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_balanced_classes_weigh_the_same(backend: Backend, soft):
    task = make_task(soft=soft)
    if not soft:  # one of the classes never comes
        task = task._replace(y=np.where(task.y == 1, 0, task.y))
    counts = task.y.sum(axis=0) if soft else np.bincount(task.y, minlength=3)
    of_class = np.array([23 / (3 * n) if n else 0.0 for n in counts])
    found = mixed(task, backend, class_weight="balanced")
    assert_same_run(found, mixed(task, backend, class_weight=of_class), rtol=backend.rtol)
    assert not np.allclose(found.history.loss, mixed(task, backend).history.loss, rtol=1e-3)
    own = {"sample_weight": np.arange(23) % 3 + 0.5}
    both = mixed(task, backend, class_weight="balanced", **own)
    assert_same_run(both, mixed(task, backend, class_weight=of_class, **own), rtol=backend.rtol)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_the_balanced_weight_of_a_class(backend: Backend, soft):
    """N / (C · number of its samples): on average over the samples 1, and 0 for a class that never comes."""
    y = np.array([0, 0, 3, 0, 3, 1], np.int32)
    y = backend.array(np.eye(4)[y] if soft else y)
    found = check_class_weight("balanced", y, 4, xp=backend.xp)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [6 / (4 * 3), 6 / (4 * 1), 0.0, 6 / (4 * 2)], rtol=1e-6)


def test_integers_weigh_classes_too():
    assert_same_run(
        trained(make_task(), class_weight=[1, 0, 3]), trained(make_task(), class_weight=[1.0, 0.0, 3.0])
    )


def test_weights_of_classes_that_leave_no_sample_are_refused(backend: Backend):
    task = make_task()
    task = task._replace(y=np.zeros_like(task.y)).on(backend)
    message = "`class_weight` must leave a sample a weight above 0; got 0 for all of them"
    with pytest.raises(ValueError, match=message):
        trained(task, class_weight=[0.0, 1.0, 1.0])


# ---------------------------------------------------------------------------------------------------------
# Preprocessing


@pytest.mark.parametrize("n_networks", [None, 2])
def test_preprocessing_each_batch_is_the_same_as_transforming_first(backend: Backend, n_networks):
    task = make_task(n_networks)
    first = task._replace(X=(task.X - HOST.mean) * HOST.scale, X_val=(task.X_val - HOST.mean) * HOST.scale)
    changes = {"dropout": 0.2, "input_dropout": 0.3, "epochs": 3, "ema_decay": 0.5}
    found = mixed(task, backend, preprocessing=HOST, **changes)
    assert_same_run(found, mixed(first, backend, **changes), rtol=backend.rtol)
    there = task.on(backend)
    folded = HOST.fold(found.net)
    np.testing.assert_allclose(
        to_host(folded.accuracy(*there.validation)), found.validation_accuracy, rtol=1e-6
    )
    np.testing.assert_allclose(to_host(folded.accuracy(there.X, there.y)), found.train_accuracy, rtol=1e-6)


def test_bytes_stay_bytes_until_the_preprocessing(backend: Backend):
    rng = np.random.default_rng(0)
    images, images_val = (rng.integers(0, 256, (n, 2, 2), dtype=np.uint8) for n in (23, 11))
    task = make_task(2)._replace(X=images, X_val=images_val)
    scaling = Standardizer.fit(images)
    first = task._replace(
        X=scaling.apply(images, dtype="float64"), X_val=scaling.apply(images_val, dtype="float64")
    )
    expected = mixed(first, backend)
    for stream in (False, True):
        assert_same_run(
            mixed(task, backend, preprocessing=scaling, stream=stream), expected, rtol=2 * backend.rtol
        )


def far_task(dtype: str) -> Task:
    """A task of features with a large mean, and of labels that a difference of a few tells."""
    task = make_task(2, n_samples=60, n_validation=30)
    X, X_val = (np.rint(1.7e9 + 4 * a).astype(dtype) for a in (task.X, task.X_val))
    return task._replace(X=X, X_val=X_val)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("dtype", ["float64", "int32", "int64"])
@pytest.mark.parametrize("streamed", [False, True])
def test_features_of_a_large_mean_train_as_standardized_ones(backend: Backend, dtype, streamed):
    """In float32, whatever holds the samples, and wherever they are."""
    if not streamed and "float64" not in backend.dtypes and dtype != "int32":
        dtype = "int32"  # there are no others
    host = far_task(dtype)
    scaling = Standardizer.fit(host.X, scale="feature")
    X, X_val = ((a.astype(np.float64) - scaling.mean) * scaling.scale for a in (host.X, host.X_val))
    standardized = host._replace(X=X, X_val=X_val)
    expected = trained(standardized.on(backend, "float32"), **{**BASE, "dropout": 0.2})
    net = host.on(backend, "float32").net
    there = host if streamed else Task(net, *(backend.array(a, a.dtype.name) for a in host[1:]))
    arguments = {**BASE, "validation": there.validation, "dropout": 0.2, "stream": streamed}
    found = train(net, there.X, there.y, preprocessing=scaling, **arguments)
    assert_same_run(found, expected, rtol=1e-4)
    again = train(
        None, there.X, there.y, preprocessing=scaling, resume=found, **{**arguments, "epochs": 3, "rng": None}
    )
    assert again.n_steps == 3 * 12


def test_a_sweep_standardizes_features_of_a_large_mean_likewise():
    host = far_task("float64")
    scaling = Standardizer.fit(host.X, scale="feature")
    standardized = [scaling.apply(X) for X in (host.X, host.X_val)]
    arguments: dict[str, Any] = {"grid": {"learning_rate": [0.1, 0.01]}, "epochs": 3}
    found = sweep(host.X, host.y, validation=host.validation, preprocessing=scaling, **arguments)
    expected = sweep(standardized[0], host.y, validation=(standardized[1], host.y_val), **arguments)
    for one, other in zip(found.histories, expected.histories, strict=True):
        assert_same_history(one, other, rtol=1e-4)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("augmentation", [FlipAndShift((2, 2), flip=False, shift=0), Mixup(0.5)])
def test_augmentation_keeps_the_digits_of_features_with_a_large_mean(
    backend: Backend, augmentation, streamed
):
    host = far_task("float64" if "float64" in backend.dtypes else "int32")
    scaling = Standardizer.fit(host.X, scale="feature")
    net = host.on(backend, "float32").net
    there = host if streamed else Task(net, *(backend.array(a, a.dtype.name) for a in host[1:]))
    arguments = {**BASE, "augmentation": augmentation, "stream": streamed}
    if "float64" not in backend.dtypes:
        message = (
            r"^`augmentation` must be left out where the device has no float64 for the samples: feature \d has a "
            r"mean of 1.7e\+09, and rounding it to float32 changes its preprocessed values"
        )
        with pytest.raises(ValueError, match=message):
            train(net, there.X, there.y, preprocessing=scaling, **arguments)
        return
    X = (host.X - scaling.mean) * scaling.scale
    expected = trained(
        host._replace(X=X).on(backend, "float32"), validated=False, **{**BASE, "augmentation": augmentation}
    )
    found = train(net, there.X, there.y, preprocessing=scaling, **arguments)
    assert_same_run(found, expected, rtol=1e-4)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("streamed", [False, True])
def test_integers_near_0_are_augmented_without_float64_too(backend: Backend, streamed):
    task = make_task(2)
    host = task._replace(X=np.rint(50 * task.X).astype(np.int32))
    scaling = Standardizer.fit(host.X)
    arguments = {**BASE, "preprocessing": scaling, "augmentation": FlipAndShift((2, 2), shift=1)}
    net = host.on(backend, "float32").net
    X, y = (host.X, host.y) if streamed else (backend.array(host.X), backend.array(host.y))
    found = train(net, X, y, stream=streamed, **arguments)
    expected = train(net, backend.array(host.X, "float32"), backend.array(host.y), **arguments)
    assert_same_run(found, expected, rtol=1e-4)


@pytest.mark.parametrize("backend_name", ["numpy", "strict-no-float64"])
def test_a_run_goes_on_with_the_samples_as_they_were_given(backend_name, tmp_path: Path):
    """Whether they are centred on the host or not."""
    backend = next(b for b in BACKENDS if b.name == backend_name)
    host = far_task("int32")
    arguments = {**BASE, "preprocessing": Standardizer.fit(host.X, scale="feature")}
    begun = train(host.net.astype("float32"), host.X, host.y, validation=host.validation, **arguments)
    save_run(begun, tmp_path / "run")
    with backend.active():
        X, y, X_val, y_val = map(backend.array, host[1:])
        arguments |= {"epochs": 3, "rng": None, "resume": tmp_path / "run"}
        found = train(None, X, y, validation=(X_val, y_val), **arguments)
    arguments["resume"] = begun
    expected = train(None, host.X, host.y, validation=host.validation, **arguments)
    assert_same_run(found, expected, rtol=0.0 if backend_name == "numpy" else 1e-4)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_users_own_preprocessing_is_given_the_arrays_in_the_networks_dtype(streamed):
    given_dtypes = []

    class Centred:
        n_inputs = n_outputs = 4

        def host_arrays(self) -> tuple[np.ndarray, ...]:
            return (np.full(4, 1.7e9),)

        @staticmethod
        def transform(X: Any, arrays: Any, *, xp: ModuleType) -> Any:
            given_dtypes.append((X.dtype.name, arrays[0].dtype.name))
            return xp.astype(X, arrays[0].dtype) - arrays[0]

    host = far_task("float64")
    train(host.net.astype("float32"), host.X, host.y, preprocessing=Centred(), stream=streamed, **BASE)
    assert set(given_dtypes) == {("float32" if streamed else "float64", "float32")}


class Halves:
    """A user's own preprocessing, to fewer features: the means of the halves of a sample."""

    n_inputs, n_outputs = 8, 4

    def host_arrays(self) -> tuple[np.ndarray, ...]:
        return (np.kron(np.eye(4), np.full((2, 1), 0.5)),)

    @staticmethod
    def transform(X: Any, arrays: tuple[Any, ...], *, xp: ModuleType) -> Any:
        return xp.matmul(xp.astype(X, arrays[0].dtype), arrays[0])


def test_a_users_own_preprocessing_to_fewer_features(backend: Backend):
    task = make_task(2)
    doubled = task._replace(X=np.repeat(task.X, 2, axis=1), X_val=np.repeat(task.X_val, 2, axis=1))
    found = mixed(doubled, backend, preprocessing=Halves(), dropout=0.3)
    assert_same_run(found, mixed(task, backend, dropout=0.3), rtol=backend.rtol)
    streamed = mixed(doubled, backend, preprocessing=Halves(), dropout=0.3, stream=True)
    assert_same_run(streamed, found, rtol=backend.rtol)
    with pytest.raises(
        ValueError,
        match=r"^`X` must have 8 features a sample to fit the network; got shape \(23, 4\), which is 4$",
    ):
        mixed(task, backend, preprocessing=Halves())
    with pytest.raises(
        ValueError,
        match=r"^`validation X` must have 8 features a sample to fit the network; got .* which is 4$",
    ):
        mixed(doubled._replace(X_val=task.X_val), backend, preprocessing=Halves())


def test_a_preprocessing_that_gives_something_else_is_refused():
    scaling = Standardizer(np.zeros(3), np.ones(3))
    message = r"^`preprocessing` must give the 4 features that the network takes; got 3$"
    with pytest.raises(ValueError, match=message):
        trained(make_task(), preprocessing=scaling)


# ---------------------------------------------------------------------------------------------------------
# Augmentation


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_augmentation_that_changes_nothing_is_none(backend: Backend, soft, weighted):
    task = make_task(2, soft=soft)
    changes = {"label_smoothing": 0.1, "sample_weight": np.arange(23) % 4 / 2.0 if weighted else None}
    nothing = FlipAndShift((2, 2), flip=False, shift=0)
    found = mixed(task, backend, augmentation=nothing, **changes)
    assert_same_run(found, mixed(task, backend, **changes), rtol=backend.rtol)


def test_augmentation_is_of_training_samples_alone_and_before_the_preprocessing(backend: Backend):
    @dataclass(frozen=True)
    class Brighter:
        """By 1, of samples as they were given."""

        def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
            return np.ones(n, np.int32)

        def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
            return X + xp.astype(xp.expand_dims(draws, axis=1), X.dtype), T

    task = make_task(2)
    watcher = Watcher(nets=True)
    found = mixed(task, backend, augmentation=Brighter(), preprocessing=HOST, callbacks=[watcher])
    moved = Standardizer(HOST.mean - 1.0, HOST.scale)
    expected = mixed(task, backend, preprocessing=moved)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=backend.rtol)
    assert_same_net(found.last, expected.last, rtol=backend.rtol)
    there = task.on(backend)
    folded = [HOST.fold(net) for net in watcher.nets]
    accuracy = np.stack([to_host(net.accuracy(*there.validation)) for net in folded], axis=-1)
    np.testing.assert_allclose(found.history.validation_accuracy, accuracy, rtol=1e-6)
    np.testing.assert_allclose(
        found.train_accuracy, to_host(HOST.fold(found.net).accuracy(there.X, there.y)), rtol=1e-6
    )


@dataclass  # which can be compared, and so not hashed
class Noisy:
    """A user's own augmentation."""

    size: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Any, ...]:
        return rng.standard_normal((n, 4)), (rng.integers(2, size=n, dtype=np.int32), ())

    def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
        noise, (signs, nothing) = draws
        assert nothing == ()
        assert noise.dtype == T.dtype
        mirrored = xp.where(xp.expand_dims(signs, axis=1) == 1, -1.0 * X, X)
        return mirrored + self.size * noise, T


@dataclass
class Signs:
    """A user's own optimizer: a step by the sign of a running sum, the last coefficient counting the steps."""

    size: float = 0.5
    n_moments = 1
    scaled = False

    def coefficients(self, step: np.ndarray) -> np.ndarray:
        return np.stack([1.0 / (1.0 + step), np.zeros(len(step))], axis=1)

    def move(self, weights, gradients, moments, rates, coefficients, *, xp):
        sums = tuple(m + g for m, g in zip(moments[0], gradients, strict=True))
        moved = tuple(
            w - rate * self.size * coefficients[0] * m / (1.0 + xp.abs(m))
            for w, m, rate in zip(weights, sums, rates, strict=True)
        )
        return moved, (sums,)


class Falling:
    """A user's own schedule, which tells its factors as a list."""

    __hash__ = None

    def __call__(self, step: np.ndarray, *, steps_per_epoch: int, steps: int) -> list[float]:
        return [1.0 / (1.0 + s / steps_per_epoch) for s in step.tolist()]


@pytest.mark.usefixtures("each_step")
def test_users_own_parts_of_the_documented_form_are_taken(backend: Backend):
    from support.backends import BACKENDS

    task = make_task(2)
    changes = {
        "augmentation": Noisy(0.1),
        "optimizer": Signs(),
        "schedule": Falling(),
        "preprocessing": HOST,
        "ema_decay": 0.6,
        "learning_rate": 0.1,
    }
    for part in (changes["augmentation"], changes["optimizer"], changes["schedule"]):
        with pytest.raises(TypeError, match="unhashable"):
            hash(part)
    found, expected = (mixed(task, b, **changes) for b in (backend, BACKENDS[0]))
    assert_same_net(found.last, expected.last, rtol=backend.rtol)
    assert_same_net(found.average, expected.average, rtol=backend.rtol)
    assert_same_run(mixed(task, backend, **changes), found)
    factors = 1 / (1 + np.array([4, 9]) / 5)
    np.testing.assert_allclose(found.history.learning_rate, [0.1 * factors] * 2, rtol=1e-12)
    part = mixed(task, backend, **changes, callbacks=[stopping(3)])
    assert_same_run(mixed(task, backend, start=part, **changes), found)


def test_an_augmentations_own_check_is_told_the_features_of_a_sample():
    told = []

    class Checked(Noisy):
        def check(self, n_features: int) -> None:
            told.append(n_features)
            raise ValueError("not these")

    with pytest.raises(ValueError, match=r"^not these$"):
        trained(make_task(), augmentation=Checked(0.1))
    assert told == [4]
    message = r"`image_shape` must have as many values as a sample has features, 4; got \(3, 2\)"
    with pytest.raises(ValueError, match=message):
        trained(make_task(), augmentation=FlipAndShift((3, 2), shift=1))
    assert not hasattr(Augmentation, "check")  # it may be left out


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        (lambda n: np.zeros(n + 1), r"shape \(6,\)"),
        (lambda n: (np.zeros(n), np.zeros((1, n))), r"shape \(1, 5\)"),
        (lambda n: (np.zeros(n), (np.float64(3),)), "float64"),
        (lambda n: np.zeros(()), r"shape \(\)"),
        (lambda n: [0.0] * n, "list"),
        (lambda n: None, "NoneType"),
    ],
)
def test_draws_of_the_wrong_lengths_are_refused(drawn, shown):
    class Wrong(Noisy):
        def draw(self, rng: np.random.Generator, n: int) -> Any:
            return drawn(n)

    message = rf"^`augmentation.draw` must return NumPy arrays, or tuples of them, with a first axis of 5; got {shown}$"
    with pytest.raises(ValueError, match=message):
        trained(make_task(), augmentation=Wrong(0.1))


def test_what_a_draw_raises_comes_out_and_no_thread_stays():
    class Failing(Noisy):
        def draw(self, rng: np.random.Generator, n: int) -> Any:
            raise KeyError("mine")

    before, n_threads = np.geterr(), threading.active_count()
    with pytest.raises(KeyError, match="mine"):
        trained(make_task(), augmentation=Failing(0.1))
    trained(make_task(), augmentation=Noisy(0.1), callbacks=[stopping(3)])

    def fail(progress: Any) -> None:
        raise IndexError("of a callback")

    with pytest.raises(IndexError, match="of a callback"):
        trained(make_task(), dropout=0.5, callbacks=[fail])
    assert np.geterr() == before
    assert threading.active_count() == n_threads


# ---------------------------------------------------------------------------------------------------------
# Samples from the host


@pytest.mark.parametrize(
    ("n_networks", "soft", "everything"),
    [(None, False, False), (2, False, True), (None, True, True)],
    ids=["plain", "labels", "probabilities"],
)
def test_streamed_samples_give_the_same_run(backend: Backend, n_networks, soft, everything, monkeypatch):
    task = make_task(n_networks, soft=soft)
    changes: dict[str, Any] = {"epochs": 3}
    if everything:
        changes |= {
            "sample_weight": np.arange(23) % 4 / 2.0,
            "augmentation": Mixup(0.5),
            "dropout": 0.2,
            "reg": 0.05,
        }
    whole = mixed(task, backend, **changes)
    streamed = mixed(task, backend, **changes, stream=True)
    # JAX compiles the two into programs that round differently.
    assert_same_run(streamed, whole, rtol=backend.rtol if backend.library == "jax" else 0.0)
    for net in (streamed.net, streamed.best, streamed.last):
        assert all(backend.owns(array) for array in net)
    monkeypatch.setattr(batches_module, "CHUNK_BYTES", 300)  # a few steps
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)
    assert_same_run(mixed(task, backend, **changes, stream=True), whole, rtol=backend.rtol)


def test_images_in_a_file_are_never_in_memory_whole(backend: Backend, tmp_path: Path, monkeypatch):
    rng = np.random.default_rng(0)
    host = rng.integers(0, 256, (2000, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "images").write_bytes(host.tobytes())
    X = np.memmap(tmp_path / "images", np.uint8, "r", shape=host.shape)
    X_val, y, y_val = X[:500], np.arange(2000) % 3, np.arange(500) % 3
    net = TwoLayerNet.initialize(768, 2, 3, rng=0, weight_scale=1e-3, xp=backend.xp, device=backend.device)
    arguments = {"batch_size": 20, "steps": 100, "learning_rate": 1e-6, "rng": 0, "input_dropout": 0.1}
    scaling = Standardizer(np.full(768, 128.0), np.full(768, 1 / 64))
    there = [backend.array(a) for a in (host, y, host[:500], y_val)]
    expected = train(net, *there[:2], validation=tuple(there[2:]), preprocessing=scaling, **arguments)
    monkeypatch.setattr(batches_module, "CHUNK_BYTES", 2**16)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**14)
    traced = backend.library in ("numpy", "strict")  # to trace is slow where much is compiled
    if traced:
        tracemalloc.start()
    try:
        found = train(net, X, y, validation=(X_val, y_val), preprocessing=scaling, stream=True, **arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < host.nbytes / 2
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-5)
    assert_same_net(found.last, expected.last, rtol=1e-5)
    np.testing.assert_allclose(found.train_accuracy, expected.train_accuracy, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", ">i2", "<u2", "bool"])
def test_streamed_samples_of_any_dtype_that_numpy_has(backend: Backend, dtype):
    """Also such as the network's library, or its device, does not have."""
    task = make_task(2)
    X, X_val = (np.abs(np.round(4 * a)).astype(dtype) for a in (task.X, task.X_val))
    host = task._replace(X=X.astype(np.uint8), X_val=X_val.astype(np.uint8))
    settings_of_all = {**BASE, "learning_rate": 0.01, "augmentation": FlipAndShift((2, 2), shift=1)}
    net, weight = task.on(backend).net, np.arange(23) % 3 + 1
    found = train(
        net, X, task.y.astype(">i4"), validation=(X_val, task.y_val), sample_weight=weight, stream=True, **settings_of_all
    )  # fmt: skip
    there = host.on(backend)
    expected = train(
        net,
        there.X,
        there.y,
        validation=there.validation,
        sample_weight=backend.array(weight),
        **settings_of_all,
    )
    assert_same_run(found, expected, rtol=backend.rtol)


@pytest.mark.float32_on_jax
def test_streamed_integers_beyond_32_bits(backend: Backend):
    """JAX would wrap them by default."""
    task = make_task()
    large = task._replace(X=2**40 * np.rint(4 * task.X).astype(np.int64), X_val=None)
    net, settings_of_all = large.net.astype("float32"), {**BASE, "learning_rate": 1e-26}
    expected = train(net, large.X, large.y, **settings_of_all)
    there = TwoLayerNet(*map(backend.array, net))
    found = train(there, large.X, large.y, stream=True, **settings_of_all)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-5)


@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val", "sample_weight"])
def test_streamed_samples_must_be_on_the_host(backend: Backend, name):
    task = make_task()
    fields = {
        "X": task.X,
        "y": task.y,
        "X_val": task.X_val,
        "y_val": task.y_val,
        "sample_weight": np.ones(23),
    }
    fields = {key: a.astype(backend.dtype) if a.dtype.kind == "f" else a for key, a in fields.items()}
    net = task.on(backend).net
    if backend.library == "numpy":
        fields[name] = fields[name].tolist()
        shown_kind = "list"
    else:
        fields[name] = backend.array(fields[name])
        shown_kind = type(fields[name]).__name__
    X, y, X_val, y_val, weight = fields.values()
    shown = {"X_val": "validation X", "y_val": "validation y"}.get(name, name)
    message = f"`{shown}` must be a NumPy array where samples are streamed; got {shown_kind}"
    with pytest.raises(TypeError, match="^" + re.escape(message) + "$"):
        train(net, X, y, validation=(X_val, y_val), sample_weight=weight, stream=True, **BASE)


# ---------------------------------------------------------------------------------------------------------
# Errors


class Fussy(SGD):
    """A user's own optimizer, with the check that it may have."""

    def check(self) -> None:
        raise ValueError("`own` must be otherwise")


BAD_SETTINGS = {
    "dropout-one": ({"dropout": 1.0}, ValueError, "`dropout` must be in [0, 1); got 1"),
    "dropout-negative": ({"dropout": [0.1, -0.1]}, ValueError, "`dropout` must be in [0, 1); got -0.1"),
    "dropout-nan": ({"dropout": np.nan}, ValueError, "`dropout` must be in [0, 1); got nan"),
    "dropout-long": ({"dropout": [0.1] * 3}, ValueError, "`dropout` must be a number or of shape (2,); got shape (3,)"),
    "dropout-text": ({"dropout": "half"}, TypeError, "`dropout` must be a number, or one for each network; got str"),
    "dropout-bool": ({"dropout": True}, TypeError, "`dropout` must be a number, or one for each network; got bool"),
    "input-one": ({"input_dropout": 1}, ValueError, "`input_dropout` must be in [0, 1); got 1"),
    "input-each": ({"input_dropout": [0.1, 0.1]}, ValueError, "`input_dropout` must be a number; got shape (2,)"),
    "input-none": ({"input_dropout": None}, TypeError, "`input_dropout` must be a number, or one for each network; got NoneType"),
    "smoothing-high": ({"label_smoothing": 1.01}, ValueError, "`label_smoothing` must be in [0, 1]; got 1.01"),
    "smoothing-negative": ({"label_smoothing": [-0.5, 0]}, ValueError, "`label_smoothing` must be in [0, 1]; got -0.5"),
    "smoothing-short": ({"label_smoothing": [0.1]}, ValueError, "`label_smoothing` must be a number or of shape (2,); got shape (1,)"),
    "ema-one": ({"ema_decay": 1.0}, ValueError, "`ema_decay` must be in [0, 1); got 1"),
    "ema-negative": ({"ema_decay": -0.1}, ValueError, "`ema_decay` must be in [0, 1); got -0.1"),
    "ema-each": ({"ema_decay": [0.9, 0.9]}, ValueError, "`ema_decay` must be a number; got shape (2,)"),
    "ema-text": ({"ema_decay": "slow"}, TypeError, "`ema_decay` must be a number, or one for each network; got str"),
    "patience-zero": ({"patience": 0}, ValueError, "`patience` must be at least 1; got 0"),
    "patience-float": ({"patience": 2.0}, TypeError, "`patience` must be an integer; got float"),
    "patience-bool": ({"patience": True}, TypeError, "`patience` must be an integer; got bool"),
    "class-name": ({"class_weight": "equal"}, ValueError, "`class_weight` must be one of 'balanced'; got 'equal'"),
    "class-short": ({"class_weight": [1.0, 2.0]}, ValueError, "`class_weight` must have shape (3,); got (2,)"),
    "class-number": ({"class_weight": 2.0}, ValueError, "`class_weight` must have shape (3,); got ()"),
    "class-negative": ({"class_weight": [1.0, -2.0, 1]}, ValueError, "`class_weight` must be finite and at least 0; got -2"),
    "class-inf": ({"class_weight": [1.0, np.inf, 1]}, ValueError, "`class_weight` must be finite and at least 0; got inf"),
    "class-zero": ({"class_weight": [0, 0, 0]}, ValueError, "`class_weight` must hold a weight above 0; got 0 for every class"),
    "class-bool": ({"class_weight": [True, False, True]}, TypeError, "`class_weight` must hold a number for each class, or be 'balanced'; got bool"),
    "class-texts": ({"class_weight": ["a", "b", "c"]}, TypeError, "`class_weight` must hold a number for each class, or be 'balanced'; got <U1"),
    "class-mapping": ({"class_weight": {0: 1.0}}, TypeError, "`class_weight` must hold a number for each class, or be 'balanced'; got object"),
    "preprocessing-class": ({"preprocessing": Standardizer}, TypeError, "`preprocessing` must be a preprocessing, such as twolayer.preprocessing.Standardizer.fit(X); got the class Standardizer"),
    "preprocessing-function": ({"preprocessing": np.log}, TypeError, "`preprocessing` must be a preprocessing, such as twolayer.preprocessing.Standardizer.fit(X); got ufunc"),
    "augmentation-class": ({"augmentation": Mixup}, TypeError, "`augmentation` must be an augmentation, such as twolayer.augmentation.Mixup(0.2); got the class Mixup"),
    "augmentation-text": ({"augmentation": "mixup"}, TypeError, "`augmentation` must be an augmentation, such as twolayer.augmentation.Mixup(0.2); got str"),
    "optimizer-class": ({"optimizer": SGD}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got the class SGD"),
    "optimizer-none": ({"optimizer": None}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got NoneType"),
    "optimizer-text": ({"optimizer": "adam"}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got str"),
    "optimizer-check": ({"optimizer": Fussy()}, ValueError, "`own` must be otherwise"),
    "schedule-class": ({"schedule": schedules.Cosine}, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got the class Cosine"),
    "schedule-none": ({"schedule": None}, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_that_do_not_do_are_refused(case):
    changes, error, message = BAD_SETTINGS[case]
    called = Watcher()
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        trained(make_task(2), **changes, callbacks=[called])
    assert called.events == []


def test_a_run_goes_on_with_its_own_optimizer_and_average():
    task = make_task(2)
    run = trained(task, optimizer=SGD(0.9), ema_decay=0.9, epochs=1)
    more = {"epochs": 2, "rng": None}
    message = "`optimizer` must be the run's, whose state has 1 moments; got one with "
    for optimizer in (SGD(), Adam()):
        with pytest.raises(ValueError, match="^" + re.escape(message) + f"{optimizer.n_moments}$"):
            trained(task._replace(net=run), optimizer=optimizer, ema_decay=0.9, **more)
    with pytest.raises(ValueError, match=r"^`ema_decay` must be the run's, which has an average; got None$"):
        trained(task._replace(net=run), optimizer=SGD(0.9), **more)
    without = trained(task, epochs=1)
    with pytest.raises(ValueError, match=r"^`ema_decay` must be the run's, which has no average; got 0.5$"):
        trained(task._replace(net=without), ema_decay=0.5, **more)
    with pytest.raises(ValueError, match=r"whose state has 0 moments; got one with 2$"):
        trained(task._replace(net=without), optimizer=Adam(), **more)


def test_stacks_of_one_are_stacks():
    task = make_task()
    alone = trained(task, dropout=0.2, ema_decay=0.5, patience=1, epochs=6)
    found = trained(
        task._replace(net=stack([task.net])),
        dropout=[0.2],
        label_smoothing=[0],
        ema_decay=0.5,
        patience=1,
        epochs=6,
    )
    assert found.stopped == (alone.stopped,)
    assert_same_net(found.average.select(0), alone.average, rtol=1e-12)
