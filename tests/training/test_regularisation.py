"""Dropout, averages of the weights, and patience."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.small_runs import (
    PER_EPOCH,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    each_run,
    few,
    host_net,
    make_task,
    trained,
    trained_on,
)

from twolayer.optimizers import SGD

pytestmark = pytest.mark.once_on_jax

# ---------------------------------------------------------------------------------------------------------
# Dropout


def test_dropout_is_rounded_to_multiples_of_1_256th():
    task = make_task()
    first, same, other = (trained(task, dropout=p, input_dropout=0.1) for p in (0.25, 0.2505, 0.254))
    assert_same_run(first, same)
    assert not np.array_equal(first.history.loss, other.history.loss)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_evaluation_has_no_dropout_label_smoothing_or_penalty(backend: Backend, n_networks, soft):
    task, watcher = make_task(n_networks, soft=soft), Watcher(nets=True)
    thinned = {"dropout": 0.5, "input_dropout": 0.3, "label_smoothing": 0.2, "reg": 0.1}
    run = trained_on(backend, task, **thinned, callbacks=[watcher])
    there = task.on(backend)
    for name, rtol in (("loss", 10 * backend.rtol), ("accuracy", 1e-6)):
        of_epochs = [to_host(getattr(net, name)(*there.validation)) for net in watcher.nets]
        recorded = getattr(run.history, f"validation_{name}")
        np.testing.assert_allclose(recorded, np.stack(of_epochs, axis=-1), rtol=rtol)
    np.testing.assert_allclose(run.train_accuracy, to_host(run.net.accuracy(there.X, there.y)), rtol=1e-6)


def test_dropout_and_smoothing_of_0_change_nothing(backend: Backend):
    task = make_task(2)
    plain = trained_on(backend, task)
    nothing = {"dropout": [0.0, 0.0], "input_dropout": 0, "label_smoothing": [0, 0.0], "class_weight": None}
    assert_same_run(trained_on(backend, task, **nothing), plain)
    assert_same_run(trained_on(backend, task, class_weight=[1, 1, 1]), plain, rtol=backend.rtol)


# ---------------------------------------------------------------------------------------------------------
# The average of the weights


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_the_average_is_validated_kept_and_judged(backend: Backend, n_networks, judge):
    task = make_task(n_networks, noise=2.0, seed=3)
    watcher = Watcher(nets=True)
    arguments = {"ema_decay": 0.9, "learning_rate": 0.8, "epochs": 8}
    run = trained_on(backend, task, **arguments, judge=judge, callbacks=[watcher])
    without = trained_on(backend, task, **{**arguments, "ema_decay": None})
    assert_same_net(run.last, without.last)  # averaging does not change the training
    np.testing.assert_array_equal(run.history.loss, without.history.loss)
    assert not np.array_equal(run.history.validation_accuracy, without.history.validation_accuracy)
    there = task.on(backend)
    accuracy = np.stack([to_host(net.accuracy(*there.validation)) for net in watcher.nets], axis=-1)
    np.testing.assert_allclose(run.history.validation_accuracy, accuracy, rtol=1e-6)
    assert_same_net(watcher.nets[-1], run.average)
    best = np.atleast_2d(run.history.validation_accuracy).argmax(axis=1)
    np.testing.assert_array_equal(np.atleast_1d(run.best_step), (best + 1) * PER_EPOCH)
    assert np.any(best < 7)  # otherwise this would test nothing
    for k, found in enumerate(each_run(run)):
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
    run = trained_on(backend, task, validated=False, ema_decay=0.7, judge=judge)
    assert_same_net(run.best, run.average)
    assert_same_net(run.net, run.average)
    assert run.best is not run.average
    assert not np.array_equal(to_host(run.average.W1), to_host(run.last.W1))
    there = task.on(backend)
    np.testing.assert_allclose(run.train_accuracy, to_host(run.average.accuracy(there.X, there.y)), rtol=1e-6)


def test_the_average_shares_no_memory_with_other_networks():
    task = make_task(2)
    run = trained(task, ema_decay=0.5)
    arrays = [array for net in (run.best, run.last, run.average) for array in net]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[:i])


@pytest.mark.only_on("torch")
def test_the_average_equals_that_of_pytorch(backend: Backend):
    """PyTorch's is an AveragedModel with an exponential moving average, updated after each step."""
    swa_utils = pytest.importorskip("torch.optim.swa_utils")
    nn, task, weights = sys.modules["torch"].nn, make_task(2), []
    keep = lambda progress: progress.epoch_ended or weights.append(progress.net())  # noqa: E731
    trained_on(backend, task, dropout=0.3, callbacks=[keep])
    assert len(weights) == 3 * PER_EPOCH
    module = nn.ParameterList(array.clone() for array in task.on(backend).net)
    theirs = swa_utils.AveragedModel(module, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))
    for net in weights:
        for parameter, array in zip(module, net, strict=True):
            parameter.data.copy_(array)
        theirs.update_parameters(module)
    average = trained_on(backend, task, dropout=0.3, ema_decay=0.8).average
    for found, expected in zip(average, theirs.module, strict=True):
        np.testing.assert_allclose(to_host(found), to_host(expected.data), rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------------------------------------------------
# Patience


def patient_epochs(accuracies: np.ndarray, patience: int) -> int | None:
    """The number of epochs after which patience ends, or None."""
    best, waited = -1.0, 0
    for epoch, accuracy in enumerate(accuracies, start=1):
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if waited == patience:
            return epoch
    return None


def test_patience_stops_each_network_after_epochs_without_a_higher_accuracy(backend: Backend):
    seen: set[bool] = set()

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
        rates = [0.03, 0.3, 1.0] if n_networks else 0.3
        arguments = {"epochs": 10, "ema_decay": ema_decay, "judge": judge, "optimizer": SGD(0.5)}
        arguments |= {"learning_rate": rates}
        watcher, of_epochs = Watcher(), []
        keep = lambda progress: of_epochs.append(progress.run()) if progress.epoch_ended else None  # noqa: E731
        whole = trained_on(backend, task, **arguments, callbacks=[keep])
        early = trained_on(backend, task, **arguments, patience=patience, callbacks=[watcher])
        ends = []
        for k, (found, full) in enumerate(zip(each_run(early), each_run(whole), strict=True)):
            end = patient_epochs(full["history"].validation_accuracy, patience)
            ends.append(end or 10)
            seen.add(end is not None)
            steps, history = ends[-1] * PER_EPOCH, found["history"]
            # XLA compiles each width of a stack separately, so rounding may differ after networks have left.
            rtol = 1e-9 if backend.library == "jax" and n_networks else 0.0
            assert found["stopped"] == (None if end is None else steps)
            assert type(found["stopped"]) in (int, type(None))
            assert found["diverged"] is None
            assert_same_history(history.until(steps), full["history"].until(steps), rtol=rtol)
            for name in ("train_accuracy", "validation_loss", "validation_accuracy"):
                assert np.isnan(getattr(history, name)[ends[-1] :]).all()
            for name in ("loss", "batch_accuracy"):
                assert np.isnan(getattr(history, name)[steps:]).all()
            assert np.isfinite(history.learning_rate).all()
            then = each_run(of_epochs[ends[-1] - 1])[k]
            for name in ("last", "best", "average", "net"):
                if then[name] is not None:
                    assert_same_net(found[name], then[name], rtol=rtol)
            for name in ("best_step", "train_accuracy", "validation_accuracy"):
                assert found[name] == then[name], name
        assert early.n_steps == max(ends) * PER_EPOCH
        assert watcher.events[-1] == (max(ends) * PER_EPOCH, True)
        assert_same_net(watcher.seen[-1].net(), early.last if ema_decay is None else early.average)

    check()
    assert True in seen or backend.library not in ("numpy", "torch")


def test_a_network_stopped_by_patience_stays_stopped():
    """In a stack in which others train on, and when epochs are added."""
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


def test_a_run_stopped_by_patience_within_an_epoch_stays_stopped():
    task = make_task(noise=2.0, seed=5)
    arguments = {"learning_rate": 0.0, "reg": 0.0, "patience": 1, "epochs": None}
    run = trained(task, **arguments, steps=7)  # entries after 5 and 7 steps
    assert run.stopped == 7
    again = trained(task._replace(net=run), **arguments, steps=20, rng=None)
    assert_same_run(again, run)


def test_patience_and_divergence_may_occur_in_one_stack(backend: Backend):
    how = {"learning_rate": [0.0, 1e36, 0.1], "reg": [0.0, 1.0, 0.0], "label_smoothing": 0.1}
    task = make_task(3, noise=2.0, seed=5)
    run = trained_on(backend, task, **how, patience=2, epochs=4, ema_decay=0.5)
    assert run.stopped[:2] == (3 * PER_EPOCH, None)
    assert [at is None for at in run.diverged] == [True, False, True]
    assert np.isfinite(run.validation_accuracy).tolist() == [True, False, True]
    assert all(np.isfinite(a).all() for net in (run.last, run.average) for a in host_net(net.select(0)))


def test_a_run_ends_when_all_networks_stopped_or_diverged(backend: Backend):
    task = make_task(2)
    run = trained_on(backend, task, learning_rate=[0.0, 1e36], reg=1.0, patience=1, epochs=9)
    assert run.n_steps == 2 * PER_EPOCH
    assert run.stopped == (2 * PER_EPOCH, None)
