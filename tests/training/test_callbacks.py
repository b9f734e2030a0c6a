"""Callbacks of a run, stops, and resuming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import (
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    losses_rtol,
    make_task,
    stopping,
    trained,
)

from twolayer import History, Progress, Run, TwoLayerNet, schedules
from twolayer.training import execution

pytestmark = pytest.mark.once_on_jax

STACKED = pytest.mark.parametrize("n_networks", [None, 2])


def test_the_repr_of_a_progress_is_its_numbers() -> None:
    watcher = Watcher()
    trained(make_task(), callbacks=[watcher])
    numbers = "step=1, steps=15, epoch=0, epochs=3, epoch_ended=False, stage=1, stages=1"
    assert repr(watcher.seen[0]) == f"Progress({numbers})"


@pytest.mark.usefixtures("each_step")
@STACKED
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
    assert_same_run(trained(task), run)  # a callback changes nothing


@pytest.mark.usefixtures("each_step")
@STACKED
def test_callbacks_get_copies_of_the_current_history_and_network(backend: Backend, n_networks):
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


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize(("step", "epoch_ended"), [(1, False), (3, False), (7, False), (5, True), (10, True)])
@STACKED
def test_a_run_stops_exactly_where_a_callback_stops_it(backend: Backend, n_networks, step, epoch_ended):
    task, watcher = make_task(n_networks).on(backend), stopping(step, epoch_ended)
    run, whole = trained(task, callbacks=[watcher]), trained(task)
    assert watcher.events[-1] == (step, epoch_ended)
    assert_same_history(run.history, whole.history.until(step), rtol=losses_rtol(whole.net))
    assert run.history.step.tolist() == list(range(5, step + 1, 5))
    for net in (run.last, watcher.seen[-1].net()):
        assert_same_net(net, trained(task, epochs=None, steps=step).last)


@pytest.mark.usefixtures("each_step")
def test_before_any_validation_the_best_network_is_the_initial_one(backend: Backend):
    task = make_task().on(backend)
    run = trained(task, callbacks=[stopping(3)])
    assert run.best_step == 0
    assert_same_net(run.best, task.net)
    assert np.isnan(run.validation_accuracy)
    assert run.train_accuracy == pytest.approx(float(task.net.accuracy(task.X, task.y)), rel=1e-6)
    assert trained(task, callbacks=[stopping(3)], validated=False).best_step == 3


@pytest.mark.parametrize("answer", [True, 1, "yes", np.True_, None, False])
def test_the_return_value_of_a_callback_is_ignored(answer):
    """The update of a progress bar may return True, for example."""
    assert trained(make_task(), callbacks=[lambda _: answer]).n_steps == 15


def test_every_callback_is_called_even_after_one_stops_the_run():
    first, second, third = stopping(4), Watcher(), stopping(4)
    run = trained(make_task(), callbacks=iter([first, second, third]))
    assert first.events == second.events == third.events
    assert len(first.events) == 4
    assert run.n_steps == 4


@pytest.mark.float32_on_jax
@STACKED
@pytest.mark.parametrize("stream", [False, True])
def test_several_steps_in_one_call_give_the_same_run(backend: Backend, monkeypatch, n_networks, stream):
    """JAX runs several steps per call, and callbacks are called after each call."""
    task = make_task(n_networks)
    there = task.on(backend)
    if stream:
        there = task._replace(net=there.net)
    settings = {
        "stream": stream,
        "dropout": 0.25,
        "batch_size": 4,
    }  # six steps an epoch, the last batch short
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
def test_an_error_in_a_callback_propagates(backend: Backend):
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


@pytest.mark.usefixtures("each_step")
@STACKED
@pytest.mark.parametrize("validated", [False, True])
def test_the_run_so_far_equals_that_of_a_stop_and_can_be_resumed(backend: Backend, n_networks, validated):
    task = make_task(n_networks).on(backend)
    taken: dict[tuple[int, bool], Run] = {}

    def take(progress: Progress) -> None:
        if progress.step in (3, 5, 7):
            taken[progress.step, progress.epoch_ended] = progress.run()

    whole = trained(task, validated=validated, callbacks=[take])
    for (step, epoch_ended), run in taken.items():
        assert run.n_steps == step
        if (step, epoch_ended) != (5, False):  # a stop there still adds the epoch's entry
            assert_same_run(run, trained(task, validated=validated, callbacks=[stopping(step, epoch_ended)]))
        assert_same_run(trained(task._replace(net=run), validated=validated, rng=None), whole)
    assert len(taken) == 4


# ---------------------------------------------------------------------------------------------------------
# Resuming


def resumed(task: Task, run: Run, **changes: Any) -> Run:
    return trained(task._replace(net=run), **{"rng": None, **changes})


@pytest.mark.parametrize(("n_networks", "step"), [(None, 5), (2, 5), (None, 15)])
def test_a_stop_at_the_last_step_of_an_epoch_keeps_its_entry(backend: Backend, n_networks, step):
    task = make_task(n_networks).on(backend)
    run = trained(task, callbacks=[stopping(step)])
    assert run.n_steps == step
    assert_same_run(resumed(task, run), trained(task))


@STACKED
def test_epochs_can_be_added_to_a_run_of_whole_epochs(backend: Backend, n_networks):
    task = make_task(n_networks).on(backend)
    run = trained(task, epochs=1)
    for epochs in (2, 3):
        run = resumed(task, run, epochs=epochs)
    assert_same_run(run, trained(task))


def test_a_run_that_ended_within_an_epoch_keeps_the_entry_of_that_step():
    task = make_task(2)
    run = resumed(task, trained(task, epochs=None, steps=7))
    whole = trained(task)
    assert run.history.step.tolist() == [5, 7, 10, 15]
    np.testing.assert_allclose(run.history.loss, whole.history.loss, rtol=losses_rtol(whole.net))
    np.testing.assert_array_equal(run.history.train_accuracy[:, [0, 2, 3]], whole.history.train_accuracy)
    assert_same_net(run.last, whole.last)


def test_a_run_that_is_already_long_enough_is_returned_unchanged(backend: Backend):
    task = make_task(2).on(backend)
    run = trained(task)
    watcher = Watcher()
    again = resumed(task, run, callbacks=[watcher])
    assert_same_run(again, run)
    assert watcher.events == []
    assert again.last is not run.last


def test_resuming_keeps_the_earlier_best_network():
    task = make_task(3, noise=2.0, seed=3)
    # From the fourth epoch on, the learning rate is too small to change any weight.
    how = {"learning_rate": 0.5, "schedule": schedules.Step(1e-300, epochs=3)}
    first = trained(task, **how)
    frozen = resumed(task, first, epochs=6, **how)
    assert_same_net(frozen.last, first.last)
    assert_same_net(frozen.best, first.best)
    np.testing.assert_array_equal(frozen.best_step, first.best_step)
    np.testing.assert_array_equal(frozen.validation_accuracy, first.validation_accuracy)
