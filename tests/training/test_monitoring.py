"""Choosing the best network by the validation accuracy or loss, in runs and in sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.small_runs import assert_same_net, make_task, trained
from support.sweeps import swept

from twolayer import Progress, Run, plan, schedules
from twolayer.checkpoints import load_run, save_run

HOW = {"epochs": 12, "learning_rate": 0.4, "schedule": schedules.Constant()}


def networks_of(run: Run) -> list[tuple]:
    """The best step, validation loss, validation accuracy and history of each network."""
    if run.last.n_networks is None:
        return [(run.best_step, run.validation_loss, run.validation_accuracy, run.history)]
    own = zip(run.best_step, run.validation_loss, run.validation_accuracy, strict=True)
    return [(*one, run.history.select(k)) for k, one in enumerate(own)]


@pytest.mark.parametrize("n_networks", [None, 3])
@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_the_best_network_is_that_of_the_best_epoch(backend: Backend, monitor, n_networks):
    task = make_task(n_networks, noise=2.0, seed=3).on(backend)
    run = trained(task, monitor=monitor, **HOW)
    losses = np.atleast_1d(to_host(run.net.loss(*task.validation)))
    for k, (best_step, loss, accuracy, history) in enumerate(networks_of(run)):
        measured = history.validation_accuracy if monitor == "accuracy" else -history.validation_loss
        place = int(np.argmax(measured))
        assert best_step == history.step[place]
        assert loss == history.validation_loss[place]
        assert accuracy == history.validation_accuracy[place]
        assert loss == pytest.approx(losses[k], rel=1e-9 if backend.dtype == "float64" else 1e-5)
        if monitor == "loss":  # the accuracy would have chosen another epoch
            assert best_step != history.step[np.argmax(history.validation_accuracy)]


@pytest.mark.parametrize("n_networks", [None, 3])
def test_patience_follows_the_monitored_loss(backend: Backend, n_networks):
    task = make_task(n_networks, noise=2.0, seed=3).on(backend)
    run, whole = (trained(task, monitor="loss", patience=patience, **HOW) for patience in (2, None))
    each = run.stopped if n_networks else (run.stopped,)
    for stopped, (*_, history) in zip(each, networks_of(whole), strict=True):
        losses = history.validation_loss
        places = [losses[: i + 1].argmin() for i in range(12)]  # the best epoch so far, after each epoch
        waiting = next(i for i, best in enumerate(places) if i - best == 2)
        assert stopped == history.step[waiting]


def test_the_validation_loss_of_a_run_is_that_of_the_judged_network(backend: Backend):
    task = make_task(noise=2.0, seed=3).on(backend)
    run = trained(task, judge="last", **HOW)
    assert run.validation_loss == pytest.approx(float(run.last.loss(*task.validation)), rel=1e-5)
    assert np.isnan(trained(task, validated=False, **HOW).validation_loss)


@pytest.mark.parametrize("stop", [3, 17, 40])
def test_a_run_resumed_from_a_file_ends_the_same(tmp_path: Path, stop):
    task = make_task(noise=2.0, seed=3)
    whole = trained(task, monitor="loss", patience=4, **HOW)

    def stop_at(progress: Progress) -> None:
        if progress.step >= stop:
            progress.stop()

    save_run(trained(task, monitor="loss", patience=4, callbacks=[stop_at], **HOW), tmp_path / "run")
    task = task._replace(net=load_run(tmp_path / "run"))
    again = trained(task, monitor="loss", patience=4, **HOW, rng=None)
    assert_same_net(again.net, whole.net)
    assert (again.best_step, again.validation_loss, again.stopped) == (
        whole.best_step,
        whole.validation_loss,
        whole.stopped,
    )


def test_a_run_can_be_resumed_only_with_its_own_monitor():
    task = make_task()
    run = trained(task, monitor="loss")
    with pytest.raises(ValueError, match="`monitor` must be the run's, 'loss'; got 'accuracy'"):
        trained(task._replace(net=run), epochs=5, rng=None)
    of_an_earlier_version = {name: text for name, text in run._fingerprint.items() if name != "monitor"}
    run = replace(run, _fingerprint=of_an_earlier_version)
    assert trained(task._replace(net=run), epochs=5, rng=None).n_steps == 25


def test_a_sweep_ranks_by_the_monitored_loss(backend: Backend):
    task = make_task(noise=2.0, seed=3).on(backend)
    grid = {"learning_rate": [0.02, 0.4, 1.5], "n_hidden": [5], "batch_size": [5], "seed": [0, 1, 2]}
    how = {"epochs": 8, "dtype": backend.dtype}
    by_loss = swept(task, grid, monitor="loss", **how)
    assert (by_loss.monitor, swept(task, grid, **how).monitor) == ("loss", "accuracy")
    table = by_loss.table
    assert [row["rank"] for row in sorted(table, key=lambda row: row["validation_loss"])] == [1, 2, 3]
    assert by_loss.best.candidate is min(table, key=lambda row: row["validation_loss"])
    for row in table:
        own = [one for one in by_loss.runs if one["learning_rate"] == row["learning_rate"]]
        assert row["validation_loss"] == pytest.approx(np.mean([one["validation_loss"] for one in own]))
        best = by_loss.best.candidate
        assert row["difference"] == pytest.approx(best["validation_loss"] - row["validation_loss"])
    of_best = [one for one in by_loss.runs if one["learning_rate"] == best["learning_rate"]]
    assert by_loss.best.row is min(of_best, key=lambda row: row["validation_loss"])
    alone = swept(task, [by_loss.best.settings], monitor="loss", **how)
    assert_same_net(alone.best.net, by_loss.best.net, rtol=1e-9 if backend.dtype == "float64" else 1e-2)


def test_the_winner_by_loss_may_differ_from_the_winner_by_accuracy():
    task = make_task(noise=2.0)
    grid = {"learning_rate": [0.02, 0.1, 0.4, 1.5], "reg": [0.0, 0.1], "n_hidden": [5], "batch_size": [5]}
    by_loss, by_accuracy = (swept(task, grid, monitor=monitor, epochs=8) for monitor in ("loss", "accuracy"))
    assert by_loss.best.settings != by_accuracy.best.settings
    assert by_loss.best.row["validation_loss"] < by_accuracy.best.row["validation_loss"]
    assert by_loss.best.row["validation_accuracy"] < by_accuracy.best.row["validation_accuracy"]


@pytest.mark.parametrize("monitor", ["Loss", None, "val_loss"])
def test_other_monitors_are_refused(monitor):
    task = make_task()
    message = "`monitor` must be one of 'accuracy', 'loss'; got "
    with pytest.raises(ValueError, match=message):
        trained(task, monitor=monitor)
    with pytest.raises(ValueError, match=message):
        swept(task, {"reg": [0.0]}, monitor=monitor)
    with pytest.raises(ValueError, match=message):
        plan(task.X, task.y, validation=task.validation, grid={"reg": [0.0]}, monitor=monitor)
