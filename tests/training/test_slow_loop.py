"""Runs with all settings, compared with a slow loop over samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend
from support.slow_mixes import Mix, slow_train
from support.small_runs import (
    SETTINGS,
    each_run,
    few,
    host_net,
    linear_teacher,
    make_task,
    rows_of,
    trained_on,
)

from twolayer import schedules
from twolayer.augmentation import Mixup
from twolayer.optimizers import SGD, Adam, AdamW
from twolayer.preprocessing import Standardizer

pytestmark = pytest.mark.once_on_jax

CENTRE, SCALE = np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1])
WEIGHT = np.arange(23) % 4 / 2.0
LOGITS = 3 * np.random.default_rng(5).normal(size=(23, 3))
A_BATCH = rows_of(7, 0, 23, 5, replacement=False)[1]
NOTHING: dict[str, Any] = {}


class Case(NamedTuple):
    """The arguments of a run, and the factor of its learning rates at each step."""

    n_networks: int | None = None
    shape: dict[str, Any] = NOTHING  # arguments of `make_task`
    changes: dict[str, Any] = NOTHING
    mix: Mix = Mix()
    factor: Callable[[int], float] = lambda step: 1.0


RUNS = {
    "plain": Case(),
    "stack": Case(3, changes={"reg": [0.0, 0.01, 0.1], "learning_rate": [0.3, 0.2, 0.1]}),
    "stack-of-one": Case(1, changes={"reg": [0.02]}),
    "replacement": Case(2, changes={"replacement": True}),
    "probabilities": Case(2, {"soft": True}),
    "weights": Case(2, mix=Mix(sample_weight=WEIGHT)),
    "integer-weights": Case(mix=Mix(sample_weight=np.arange(23) % 4)),
    "batch-without-weight": Case(mix=Mix(sample_weight=1.0 - np.isin(np.arange(23), A_BATCH))),
    "batch-of-all": Case(2, changes={"batch_size": 23}),
    "batch-above-all": Case(2, changes={"batch_size": 100}),
    "replacement-above-all": Case(changes={"batch_size": 30, "replacement": True}),
    "one-at-a-time": Case(changes={"batch_size": 1, "epochs": 1, "learning_rate": 0.05}),
    "own-schedule": Case(
        2,
        changes={
            "schedule": lambda step, *, steps_per_epoch, steps: 1 / (1 + step / steps_per_epoch / steps)
        },
        factor=lambda step: 1 / (1 + step / 75),
    ),
    # As in CS231n: a number of steps, batches drawn with replacement, and rates × 0.95 after steps 1 and 96.
    "assignment": Case(
        2,
        changes={
            "epochs": None,
            "steps": 100,
            "batch_size": 3,
            "replacement": True,
            "reg": [0.3, 0.001],
            "learning_rate": [0.1, 0.02],
            "schedule": schedules.Exponential(0.95, every=95, first=1),
        },
        factor=lambda step: 0.95 ** ((step + 94) // 95),
    ),
    "two-classes": Case(2, {"n_classes": 2}),
    "one-class": Case(None, {"n_classes": 1}),
    "one-sample": Case(2, {"n_samples": 1, "n_validation": 1}),
    "one-feature-one-unit": Case(2, {"n_features": 1, "n_hidden": 1}),
}
MIXES = {
    "dropout": Case(mix=Mix(dropout=0.3)),
    "dropout-of-each": Case(3, mix=Mix(dropout=[0.0, 0.25, 0.9])),
    "hardly-any-dropout": Case(mix=Mix(dropout=1e-9)),
    "nearly-all-dropout": Case(mix=Mix(dropout=0.9999, input_dropout=0.001)),
    "input-dropout": Case(2, mix=Mix(input_dropout=0.4)),
    "smoothing": Case(3, mix=Mix(label_smoothing=[0.0, 0.1, 1.0])),
    "average": Case(2, changes={"reg": [0.0, 0.1]}, mix=Mix(ema_decay=0.8)),
    "no-decay-of-the-average": Case(mix=Mix(ema_decay=0.0)),
    "momentum": Case(2, changes={"learning_rate": [0.1, 0.05]}, mix=Mix(optimizer=SGD(0.7))),
    "nesterov": Case(mix=Mix(optimizer=SGD(0.9, nesterov=True))),
    "adam": Case(2, changes={"learning_rate": [0.05, 0.02]}, mix=Mix(optimizer=Adam(0.9, 0.99, 1e-3))),
    "adamw": Case(changes={"learning_rate": 0.05, "reg": 0.0}, mix=Mix(optimizer=AdamW(0.8, 0.9, 1e-2, 0.3))),
    "weighted-mixup": Case(2, mix=Mix(mixup=0.5, sample_weight=WEIGHT)),
    "preprocessing": Case(2, mix=Mix(centre=CENTRE, scale=SCALE, input_dropout=0.3, mixup=0.2)),
    "taught": Case(2, mix=Mix(teacher=linear_teacher, temperature=2.0, teacher_weight=0.8)),
    "taught-by-logits": Case(mix=Mix(teacher=LOGITS, sample_weight=WEIGHT)),
    "taught-alone": Case(2, mix=Mix(teacher=LOGITS, teacher_weight=1.0, label_smoothing=[0.0, 0.1])),
    "taught-and-mixed": Case(
        2, mix=Mix(teacher=linear_teacher, mixup=0.5, sample_weight=WEIGHT, centre=CENTRE, scale=SCALE)
    ),
    "taught-by-logits-and-mixed": Case(mix=Mix(teacher=LOGITS, temperature=0.5, mixup=0.5)),
    "everything": Case(
        2,
        changes={"learning_rate": [0.1, 0.05], "reg": [0.02, 0.0], "replacement": True},
        mix=Mix(
            dropout=[0.2, 0.5],
            input_dropout=0.1,
            label_smoothing=[0.1, 0.2],
            sample_weight=WEIGHT,
            mixup=0.4,
            centre=CENTRE,
            scale=SCALE,
            ema_decay=0.9,
            optimizer=SGD(0.9, nesterov=True),
        ),
    ),
}


def assert_slow_loop_agrees(
    backend: Backend, case: Case, *, exact: tuple[float, float], rounded: tuple[float, float]
) -> None:
    """Assert that a run equals the slow loop within (rtol, atol): ``exact`` in float64, else ``rounded``."""
    n_networks, shape, changes, mix, factor = case
    task = make_task(n_networks, **shape)
    arguments = {**SETTINGS, **changes}
    size, replacement = arguments["batch_size"], arguments.get("replacement", False)
    per_epoch = -(-len(task.X) // size)
    n_steps = arguments.get("steps") or per_epoch * arguments["epochs"]
    factors = np.array([factor(step) for step in range(n_steps)])
    rates = np.broadcast_to(arguments["learning_rate"], (n_networks or 1,))[:, None] * factors
    own = {"reg": arguments["reg"], "batch_size": size, "seed": arguments["rng"], "replacement": replacement}
    slow = slow_train(task.net, task.X, task.y, rates=rates, mix=mix, **own)
    run = trained_on(
        backend,
        task,
        dropout=mix.dropout,
        input_dropout=mix.input_dropout,
        label_smoothing=mix.label_smoothing,
        sample_weight=mix.sample_weight,
        augmentation=None if mix.mixup is None else Mixup(mix.mixup),
        teacher=mix.teacher,
        temperature=mix.temperature,
        teacher_weight=mix.teacher_weight,
        preprocessing=None if mix.centre is None else Standardizer(mix.centre, mix.scale),
        ema_decay=mix.ema_decay,
        optimizer=mix.optimizer,
        **changes,
    )
    rtol, atol = exact if backend.dtype == "float64" else rounded
    history = run.history
    np.testing.assert_allclose(np.atleast_2d(history.loss), slow.loss, rtol=rtol, atol=atol)
    if backend.dtype == "float64":  # rounding to float32 may break ties
        np.testing.assert_allclose(np.atleast_2d(history.batch_accuracy), slow.batch_accuracy, rtol=1e-12)
    for found, last, average in zip(each_run(run), slow.nets, slow.averages, strict=True):
        assert (found["average"] is None) == (mix.ema_decay is None)
        for net, expected in (("last", last), ("average", average)):
            for a, b in zip(host_net(found[net] or expected), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=net)
    ends = [*range(per_epoch, n_steps, per_epoch), n_steps]
    assert history.step.tolist() == ends
    of_entries = rates[:, np.array(ends) - 1]
    np.testing.assert_allclose(np.atleast_2d(history.learning_rate), of_entries, rtol=1e-14)
    lengths = [len(rows) for rows in rows_of(7, 0, len(task.X), size, replacement)]
    sizes = np.resize(lengths, n_steps)
    running = [
        history.batch_accuracy[..., a:b] @ sizes[a:b] / sizes[a:b].sum() for a, b in pairwise([0, *ends])
    ]
    np.testing.assert_allclose(history.train_accuracy, np.stack(running, axis=-1), rtol=1e-12)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("case", RUNS)
def test_a_run_equals_a_slow_loop_over_samples(backend: Backend, case):
    assert_slow_loop_agrees(backend, RUNS[case], exact=(1e-10, 1e-12), rounded=(2e-3, 2e-4))


OF_MIXES = {"exact": (1e-9, 1e-11), "rounded": (5e-3, 5e-4)}


@pytest.mark.parametrize("case", MIXES)
def test_a_run_with_regularisation_and_other_settings_equals_a_slow_loop(backend: Backend, case):
    for soft in (False, True) if MIXES[case].n_networks else (False,):
        assert_slow_loop_agrees(backend, MIXES[case]._replace(shape={"soft": soft}), **OF_MIXES)


@st.composite
def any_case(draw: st.DrawFn) -> Case:
    probability = st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.75])
    n_networks = draw(st.sampled_from([None, 2]))

    def of_each(entries: st.SearchStrategy[float]) -> Any:
        return draw(entries if n_networks is None else st.lists(entries, min_size=2, max_size=2))

    mix = Mix(
        dropout=of_each(probability),
        input_dropout=draw(probability),
        label_smoothing=of_each(st.floats(0, 1, width=16)),
        sample_weight=draw(st.sampled_from([None, np.arange(23) % 3 / 2.0])),
        mixup=draw(st.sampled_from([None, 0.2, 1.0])),
        teacher=draw(st.sampled_from([None, LOGITS, linear_teacher])),
        temperature=draw(st.sampled_from([0.5, 1.0, 4.0])),
        teacher_weight=draw(st.sampled_from([0.0, 0.3, 1.0])),
        centre=draw(st.sampled_from([None, CENTRE])),
        scale=SCALE,
        ema_decay=draw(st.sampled_from([None, 0.0, 0.7])),
        optimizer=draw(st.sampled_from([SGD(), SGD(0.9, nesterov=True), Adam(0.9, 0.99, 1e-2)])),
    )
    changes = {
        "reg": of_each(st.sampled_from([0.0, 0.1])),
        "learning_rate": of_each(st.sampled_from([0.02, 0.1])),
        "replacement": draw(st.booleans()),
        "rng": draw(st.integers(0, 2**70)),
        "epochs": 2,
    }
    shape = {"soft": draw(st.booleans()), "seed": draw(st.integers(0, 1000))}
    return Case(n_networks, shape, changes, mix)


def test_a_run_with_any_mix_of_settings_equals_a_slow_loop(backend: Backend):
    @few(backend)
    @given(case=any_case())
    def check(case: Case) -> None:
        assert_slow_loop_agrees(backend, case, **OF_MIXES)

    check()
