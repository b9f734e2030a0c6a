"""Diverging networks: when they are detected, their results, and the warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.oracles import networks
from support.slow_mixes import slow_train
from support.small_runs import (
    PER_EPOCH,
    Task,
    Watcher,
    assert_same_net,
    assert_same_run,
    each_run,
    host_net,
    make_task,
    stopping,
    trained,
)

from twolayer import DivergenceWarning, Run, TwoLayerNet, stack, sweep, train

pytestmark = pytest.mark.once_on_jax

STACKED = pytest.mark.parametrize("n_networks", [None, 2])

# With reg = 1 a learning rate of r multiplies the weights by 1 - 2 r at each step.


def slowly_diverging(n_networks: int | None, rates: list[float], n_steps: int) -> tuple[Task, np.ndarray]:
    """A task, and the step at which each network's loss is first not finite in the slow loop, or 0."""
    task = make_task(n_networks)
    with np.errstate(all="ignore"):
        slow = slow_train(
            task.net,
            task.X,
            task.y,
            rates=np.repeat(np.asarray(rates)[:, None], n_steps, axis=1),
            reg=1.0,
            batch_size=5,
            seed=7,
        )
    bad = ~np.isfinite(slow.loss)
    return task, np.where(bad.any(axis=1), bad.argmax(axis=1) + 1, 0)


def diverging_rate(backend: Backend) -> float:
    """A learning rate at which a network diverges within a few steps."""
    return 1e80 if backend.dtype == "float64" else 1e30


@pytest.mark.float32_on_jax
def test_a_diverged_network_is_reported_with_its_step_and_the_others_train_on(backend: Backend):
    rates = [0.1, 1e9, 0.05, 1e30, 1e14]
    task, steps = slowly_diverging(5, rates, 30)
    there = task.on(backend)
    run = trained(there, learning_rate=rates, reg=1.0, epochs=6)
    assert [at is None for at in run.diverged] == [True, False, True, False, False]
    if backend.dtype == "float64":
        assert steps.tolist() == [0, 18, 0, 7, 12]  # no network diverges at the end of an epoch
        assert run.diverged == (None, 18, None, 7, 12)
    for one in each_run(run):
        at, history = one["diverged"], one["history"]
        accuracies = [one["train_accuracy"], one["validation_accuracy"]]
        if at is None:
            assert np.isfinite(history.loss).all()
            assert np.isfinite(np.stack(history[3:])).all()
            assert np.isfinite(accuracies).all()
            continue
        assert np.isfinite(history.loss[: at - 1]).all()
        assert not np.isfinite(history.loss[at - 1])
        lost = [step >= at for step in range(5, 31, 5)]
        for values in (history.train_accuracy, history.validation_accuracy, history.validation_loss):
            assert np.isnan(values).tolist() == lost
        assert np.isfinite(history.learning_rate).all()
        assert np.isnan(accuracies).all()
        assert one["best_step"] < at
        assert all(np.isfinite(array).all() for array in host_net(one["best"]))
    rtol = 1e-12 if backend.dtype == "float64" else 1e-5
    for others in ([0, 2], [0], [2]):
        nets = stack(there.net.select(k) for k in others)
        own = [rates[k] for k in others]
        without = each_run(trained(there._replace(net=nets), learning_rate=own, reg=1.0, epochs=6))
        for found, expected in zip([each_run(run)[k] for k in others], without, strict=True):
            for name in ("last", "best"):
                assert_same_net(found[name], expected[name], rtol=rtol)
            np.testing.assert_allclose(found["history"].loss, expected["history"].loss, rtol=rtol)
            for name in ("best_step", "train_accuracy", "validation_accuracy"):
                assert found[name] == expected[name]


def test_the_best_of_a_diverged_network_is_from_before_it_diverged(backend: Backend):
    exact = backend.dtype == "float64"
    rate = 1e9 if exact else 1e4  # leaves the range of float32 within a few steps
    task, watcher = make_task(2).on(backend), Watcher(nets=True)
    run = trained(task, learning_rate=[rate, 0.1], reg=[1.0, 0.0], epochs=6, callbacks=[watcher])
    best_step = run.best_step[0]
    assert best_step in range(5 if exact else 0, run.diverged[0], 5)
    assert_same_net(run.best.select(0), [task.net, *watcher.nets][best_step // 5].select(0))


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize(("n_networks", "rates", "at"), [(2, [1e30, 1e14], [7, 12]), (None, [1e30], [7])])
def test_a_run_ends_with_the_epoch_in_which_the_last_network_diverged(
    backend: Backend, judge, validated, n_networks, rates, at
):
    task, steps = slowly_diverging(n_networks, rates, 30)
    watcher = Watcher()
    run = trained(
        task.on(backend),
        learning_rate=rates if n_networks else rates[0],
        reg=1.0,
        epochs=6,
        judge=judge,
        validated=validated,
        callbacks=[watcher],
    )
    assert type(run.diverged) is (tuple if n_networks else int)
    diverged = [*run.diverged] if n_networks else [run.diverged]
    if backend.dtype == "float64":
        assert diverged == steps.tolist() == at
    end = -(-max(diverged) // 5) * 5
    assert end < 30
    assert run.n_steps == end
    assert run.history.step.tolist() == list(range(5, end + 1, 5))
    assert watcher.events[-1] == (end, True)
    assert watcher.seen[-1].steps == 30
    assert np.isnan(run.train_accuracy).all()
    assert np.isnan(run.validation_accuracy).all()
    if not validated:
        assert_same_net(run.best, run.last)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_an_overflow_in_the_last_update_is_detected(backend: Backend, steps):
    """The loss of that step is finite, but the updated weights are not."""
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


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("lost", [[True], [True, True], [False, True]], ids=["one", "both", "second"])
def test_divergence_is_detected_in_a_run_stopped_within_its_first_epoch(backend: Backend, lost):
    task = make_task(len(lost) if len(lost) > 1 else None).on(backend)
    rates = [diverging_rate(backend) if each else 0.1 for each in lost]
    arguments = {"learning_rate": rates if len(rates) > 1 else rates[0], "reg": 1.0}
    taken: list[Run] = []
    take = lambda progress: progress.step == 4 and taken.append(progress.run())  # noqa: E731
    run = trained(task, **arguments, callbacks=[take, stopping(4)])
    assert run.n_steps == 4
    assert_same_run(taken[0], run)
    assert_same_net(run.best, task.net)
    whole = trained(task, **arguments)
    assert whole.n_steps == (PER_EPOCH if all(lost) else 3 * PER_EPOCH)
    for stopped, ended, start, is_lost in zip(
        *map(each_run, (run, whole)), networks(host_net(task.net)), lost, strict=True
    ):
        assert stopped["diverged"] == ended["diverged"]
        assert (ended["diverged"] is not None) == np.isnan(stopped["train_accuracy"]) == is_lost
        if is_lost:
            assert ended["best_step"] == 0
            assert_same_net(ended["best"], start)
            assert np.isnan([ended["train_accuracy"], ended["validation_accuracy"]]).all()
    # When it is resumed, the run still finishes the epoch.
    assert_same_run(trained(task._replace(net=run), **{**arguments, "rng": None}), whole)


def test_an_infinite_bias_of_an_inactive_unit_is_detected(backend: Backend):
    task = make_task(2)
    b1 = task.net.b1.copy()
    b1[1, 0] = -np.inf
    run = trained(task._replace(net=task.net._replace(b1=b1)).on(backend), reg=0.0)
    assert [at is None for at in run.diverged] == [True, False]


@pytest.mark.parametrize("how", ["infinite", "minus infinite", "overflow", "overflow of a difference"])
def test_an_infinite_logit_is_an_immediate_divergence(backend: Backend, how):
    """The loss is nan whichever class the logit is of: no 0 · inf is skipped. The other network trains on."""
    task = make_task(2)
    y, y_val = (np.maximum(labels, 1) for labels in (task.y, task.y_val))  # class 0 is never the label
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


def test_an_infinite_penalty_is_a_divergence_even_at_a_learning_rate_of_0(backend: Backend):
    strengths = [0.0, float(np.finfo(backend.dtype).max) / 2]
    run = trained(make_task(2).on(backend), reg=strengths, learning_rate=0.0)
    assert run.diverged == (None, 1)
    assert np.isposinf(run.history.loss[1]).tolist() == [True] * PER_EPOCH + [False] * 2 * PER_EPOCH


def test_divergence_keeps_numpys_error_settings(backend: Backend):
    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DivergenceWarning)
        trained(make_task(2).on(backend), learning_rate=[1e30, 1e36], reg=1.0)
    assert np.geterr() == before


def test_a_validation_that_overflows_has_no_accuracy(backend: Backend):
    """The samples and the network are finite, but the logits are not."""
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


# ---------------------------------------------------------------------------------------------------------
# The warning

X, Y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
NET = TwoLayerNet.initialize(5, 8, 3, rng=0)


@pytest.mark.parametrize(
    ("learning_rate", "message"),
    [
        ([0.01, 1e30], r"^1 of 2 networks diverged at step \d+: .*DivergenceWarning"),
        ([0.01, 1e30, 1e30], r"^2 of 3 networks diverged, the first at step \d+: "),
        (1e30, r"^The network diverged at step \d+: "),
    ],
)
def test_divergence_gives_one_warning_of_its_own_category(learning_rate, message):
    net = NET if isinstance(learning_rate, float) else stack([NET] * len(learning_rate))
    with pytest.warns(DivergenceWarning, match=message) as found:
        run = train(net, X, Y, learning_rate=learning_rate, epochs=3, rng=0)
    assert len(found) == 1
    assert found[0].filename == __file__
    steps = [run.diverged] if net is NET else filter(None, run.diverged)
    assert f"step {min(steps)}:" in str(found[0].message)


def test_there_is_no_warning_without_divergence_in_a_sweep_or_when_silenced():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(NET, X, Y, learning_rate=0.01, epochs=2, rng=0)
        grid = {"learning_rate": [0.01, 1e30], "n_hidden": [8]}
        result = sweep(X, Y, validation=(X, Y), grid=grid, epochs=2)
        assert sum(row["diverged"] is not None for row in result.runs) == 1
        warnings.filterwarnings("ignore", category=DivergenceWarning)
        train(NET, X, Y, learning_rate=1e30, epochs=2, rng=0)
