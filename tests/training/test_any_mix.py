"""Runs with any mix of settings: the same in every library, alone or in a stack, and after resuming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend
from support.small_runs import (
    OF_EACH,
    PER_EPOCH,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    each_run,
    few,
    linear_teacher,
    make_task,
    stopping,
    trained_on,
)

from twolayer import Run, TwoLayerNet, schedules
from twolayer.augmentation import Chain, FlipAndShift, Mixup
from twolayer.checkpoints import load_run, save_run
from twolayer.optimizers import SGD, Adam, AdamW
from twolayer.preprocessing import Standardizer

pytestmark = pytest.mark.once_on_jax

SCALING = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))
LOGITS = 3 * np.random.default_rng(5).normal(size=(23, 3))
OF_NETWORKS = ("net", "best", "last", "average")


def of_each(K: int | None, entries: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return entries if K is None else st.lists(entries, min_size=K, max_size=K)


def any_settings(K: int | None) -> st.SearchStrategy[dict[str, Any]]:
    """Any mix of the settings of `train`, for K networks."""
    probability = st.sampled_from([0.0, 0.001, 0.2, 0.5, 0.8])
    augmentations = (
        None,
        Mixup(0.4),
        FlipAndShift((2, 2), shift=1),
        Chain(FlipAndShift((2, 2), shift=1, border="zero"), Mixup(1.0)),
    )
    optimizers = (SGD(), SGD(0.8), SGD(0.5, nesterov=True), Adam(eps=1e-3), AdamW(eps=1e-3, weight_decay=0.1))
    return st.fixed_dictionaries(
        {"rng": st.integers(0, 2**40)},
        optional={
            "dropout": of_each(K, probability),
            "input_dropout": probability,
            "label_smoothing": of_each(K, st.sampled_from([0.0, 0.1, 1.0])),
            "reg": of_each(K, st.sampled_from([0.0, 0.05])),
            "sample_weight": st.just(np.arange(23) % 4 / 2.0),
            "class_weight": st.sampled_from(["balanced", [1.0, 0.0, 2.0], (3, 1, 1)]),
            "preprocessing": st.just(SCALING),
            "augmentation": st.sampled_from(augmentations),
            "teacher": st.sampled_from([None, LOGITS, linear_teacher]),
            "temperature": st.sampled_from([0.5, 4.0]),
            "teacher_weight": st.sampled_from([0.2, 1.0]),
            "optimizer": st.sampled_from(optimizers),
            "schedule": st.sampled_from(
                [schedules.Exponential(0.9, every=2), schedules.Warmup(schedules.Constant(), steps=6)]
            ),
            "ema_decay": st.sampled_from([0.0, 0.5, 0.9]),
            "patience": st.integers(1, 3),
            "monitor": st.sampled_from(["accuracy", "loss"]),
            "judge": st.sampled_from(["best", "last"]),
            "replacement": st.booleans(),
            "stream": st.booleans(),
        },
    )


any_run = st.sampled_from([None, 2]).flatmap(lambda K: st.tuples(st.just(K), any_settings(K)))


def assert_alike(found: Run, expected: Run) -> None:
    """Assert that two runs agree up to the rounding of float64."""
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-10)
    assert_same_history(found.history, expected.history, rtol=1e-10)
    for one, other in zip(each_run(found), each_run(expected), strict=True):
        assert_same_results(one, other, rtol=1e-9)


def assert_same_results(found: dict[str, Any], expected: dict[str, Any], *, rtol: float) -> None:
    """Assert that all results of one network agree, except its history."""
    for name in OF_NETWORKS:
        assert (found[name] is None) == (expected[name] is None)
        if expected[name] is not None:
            assert_same_net(found[name], expected[name], rtol=rtol)
    for name in OF_EACH:
        np.testing.assert_equal(found[name], expected[name], err_msg=name)


EVERYTHING: dict[str, Any] = {
    "optimizer": AdamW(weight_decay=0.1),
    "learning_rate": 0.02,
    "schedule": schedules.Warmup(),
    "dropout": 0.5,
    "input_dropout": 0.1,
    "label_smoothing": 0.1,
    "class_weight": "balanced",
    "sample_weight": np.arange(23) % 4 / 2.0,
    "preprocessing": SCALING,
    "augmentation": Chain(FlipAndShift((2, 2), shift=1), Mixup(0.2)),
    "ema_decay": 0.9,
    "patience": 20,
    "stream": True,
}


@pytest.mark.parametrize("n_networks", [None, 2])
def test_100_steps_with_every_setting_equal_those_of_numpy(backend: Backend, n_networks):
    task = make_task(n_networks, noise=2.0, seed=1)
    exact = backend.dtype == "float64"
    epochs = 20 if exact else 2  # later, rounding errors are too large
    found, expected = (trained_on(one, task, **EVERYTHING, epochs=epochs) for one in (backend, BACKENDS[0]))
    assert expected.n_steps == epochs * PER_EPOCH
    if exact:
        assert_alike(found, expected)
    else:
        np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=2e-3)


def test_any_mix_gives_the_same_run_as_numpy(backend: Backend):
    """Streamed or not. On NumPy itself, the two runs are equal bit for bit."""
    if backend.dtype == "float32":
        assert backend.name in ("strict-no-float64", "jax-x32")
        return

    @few(backend)
    @given(drawn=any_run, soft=st.booleans(), seed=st.integers(0, 1000))
    def check(drawn: tuple[int | None, dict[str, Any]], soft: bool, seed: int) -> None:
        n_networks, changes = drawn
        task = make_task(n_networks, soft=soft, noise=2.0, seed=seed)
        found = trained_on(backend, task, **changes, epochs=6)
        expected = trained_on(BACKENDS[0], task, **{**changes, "epochs": 6, "stream": False})
        assert_alike(found, expected)
        if backend.library == "numpy":
            assert_same_run(found, expected)

    check()


def test_a_network_of_a_stack_trains_as_it_does_alone(backend: Backend):
    if backend.dtype == "float32":
        assert backend.name in ("strict-no-float64", "jax-x32")
        return

    @few(backend)
    @given(drawn=any_settings(3), seed=st.integers(0, 1000))
    def check(drawn: dict[str, Any], seed: int) -> None:
        task = make_task(3, noise=2.0, seed=seed)
        changes = {"learning_rate": [0.05, 0.3, 0.8], "epochs": 8, **drawn}
        whole = trained_on(backend, task, **changes)
        own = ("learning_rate", "dropout", "label_smoothing", "reg")
        for k, found in enumerate(each_run(whole)):
            of_one = {name: v[k] if name in own and isinstance(v, list) else v for name, v in changes.items()}
            member = task._replace(net=TwoLayerNet(*(a[k] for a in task.net)))
            (expected,) = each_run(trained_on(backend, member, **of_one))
            assert_same_results(found, expected, rtol=1e-8)
            history = found["history"]
            n_steps, n_entries = expected["history"].loss.size, expected["history"].step.size
            assert_same_history(history.until(n_steps), expected["history"], rtol=1e-8)
            for rest in (history.loss[n_steps:], history.validation_accuracy[n_entries:]):
                assert np.isnan(rest).all()  # the other networks train longer

    check()


@pytest.mark.usefixtures("each_step")
def test_a_run_resumes_from_any_step(backend: Backend, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("runs") / "run.safetensors"
    stop = st.tuples(st.integers(1, 29), st.booleans())

    @few(backend, 120)
    @given(
        drawn=any_run,
        stops=st.lists(stop, min_size=1, max_size=3, unique_by=lambda s: s[0]),
        rates=st.none() | st.lists(st.sampled_from([0.1, 0.5, 1e9, 1e14, 1e30]), min_size=2, max_size=2),
        through_a_file=st.booleans(),
        validated=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def check(drawn, stops, rates, through_a_file, validated, seed) -> None:
        n_networks, changes = drawn
        if not validated:
            changes.pop("patience", None)
        if rates is not None:  # with some of these rates, the penalty makes networks diverge
            changes = {**changes, "reg": 1.0, "optimizer": SGD()}
        rates = rates or [0.3, 0.8]
        changes |= {"learning_rate": rates if n_networks else rates[0], "epochs": 6, "validated": validated}
        task = make_task(n_networks, noise=2.0, seed=seed)
        whole = trained_on(backend, task, **changes)
        run = None
        for step, ended in sorted(stops):
            if step >= whole.n_steps:
                break
            # A stop after the entry of an epoch is possible only at its last step.
            at = stopping(step, ended and step % PER_EPOCH == 0)
            run = trained_on(backend, task, start=run, **changes, callbacks=[at])
            assert run.n_steps == step
            if through_a_file:
                save_run(run, path)
                run = load_run(path, backend.xp, backend.device)
        if run is not None:
            assert_same_run(trained_on(backend, task, start=run, **changes), whole)

    check()
