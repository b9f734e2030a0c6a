"""Networks that leave a stack because they diverged or their patience ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend
from support.small_runs import (
    OF_EACH,
    PER_EPOCH,
    Task,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    each_run,
    few,
    make_task,
    stopping,
    trained_on,
)

from twolayer import Run, stack
from twolayer.checkpoints import load_run, save_run
from twolayer.optimizers import SGD, Adam
from twolayer.training import arguments
from twolayer.training.trainer import Trainer, begun

pytestmark = pytest.mark.once_on_jax

TASK = make_task(5, noise=2.0, seed=5)
OPTIMIZERS = (SGD(), SGD(0.5, nesterov=True), Adam(eps=1e-3))


def leaving(backend: Backend) -> dict[str, Any]:
    """Settings with which the first of five networks stops, the third diverges, and the others train on."""
    much = 1e250 if backend.dtype == "float64" else 1e30
    rates = [0.0, 0.02, much, 0.05, 0.1]
    return {
        "learning_rate": rates,
        "reg": [0.0, 0.01, 0.02, 0.0, 0.03],
        "dropout": [0.0, 0.2, 0.0, 0.4, 0.1],
        "label_smoothing": [0.0, 0.0, 0.1, 0.1, 0.2],
        "patience": 4,
        "epochs": 8,
    }


class Spy(Adam):
    """Adam that records how many networks it moves."""

    widths: list[int] = []  # noqa: RUF012

    def move(self, params: Any, *others: Any, **how: Any) -> Any:
        self.widths.append(params[0].shape[0])
        return super().move(params, *others, **how)


def taken_at_entries(backend: Backend, task: Task, **changes: Any) -> tuple[Run, dict[int, Run]]:
    """A run, and the run so far at each of its entries."""
    then: dict[int, Run] = {}

    def keep(progress: Any) -> None:
        if progress.epoch_ended:
            then[progress.step] = progress.run()

    return trained_on(backend, task, **changes, callbacks=[keep]), then


def test_a_step_computes_only_the_networks_that_remain(backend: Backend):
    how = leaving(backend)
    run = trained_on(backend, TASK, **how, optimizer=Spy(eps=1e-3))
    assert [at is not None for at in run.diverged] == [False, False, True, False, False]
    assert run.stopped[0] == 5 * PER_EPOCH
    present = [
        sum(n_steps <= one_gone for one_gone in gone_after(run)) for n_steps in range(1, run.n_steps + 1)
    ]
    assert present[0] == 5
    assert present[-1] < 4
    if backend.library == "jax":  # traced once for each width, of which there are few
        widths = [5]
        for n_left in present:
            widths += [n_left] if 2 * n_left <= widths[-1] else []
        assert widths[1:]
        assert set(Spy.widths) == set(widths)
    else:
        assert Spy.widths == present
    Spy.widths.clear()


def gone_after(run: Run) -> list[int]:
    """The number of steps after which each network left."""
    return [
        -(-(diverged or stopped or run.n_steps) // PER_EPOCH) * PER_EPOCH
        for diverged, stopped in zip(run.diverged, run.stopped, strict=True)
    ]


@pytest.mark.parametrize("ema_decay", [None, 0.8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_remaining_networks_train_as_a_stack_of_their_own(backend: Backend, optimizer, ema_decay):
    how = leaving(backend) | {"optimizer": optimizer, "ema_decay": ema_decay}
    run = trained_on(backend, TASK, **how)
    stay = [1, 3, 4]
    own = {name: [v[k] for k in stay] if isinstance(v, list) else v for name, v in how.items()}
    alone = TASK._replace(net=stack(TASK.net.select(k) for k in stay))
    rtol = 1e-9 if backend.dtype == "float64" else 1e-3
    for found, expected in zip(
        [each_run(run)[k] for k in stay], each_run(trained_on(backend, alone, **own)), strict=True
    ):
        n_steps = expected["history"].loss.size
        assert_same_history(found["history"].until(n_steps), expected["history"], rtol=rtol)
        for name in ("last", "best", "average"):
            if expected[name] is not None:
                assert_same_net(found[name], expected[name], rtol=rtol)
        for name in OF_EACH:
            np.testing.assert_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_network_that_left_stays_as_it_was(backend: Backend, optimizer, validated):
    how = leaving(backend) | {"optimizer": optimizer, "ema_decay": 0.8, "validated": validated}
    if not validated:
        how["patience"] = None
    run, then = taken_at_entries(backend, TASK, **how)
    left = [k for k, n_steps in enumerate(gone_after(run)) if n_steps < run.n_steps]
    assert {0, 2} <= set(left) if validated else left == [2]
    for k in left:
        n_steps = gone_after(run)[k]
        found, expected = each_run(run)[k], each_run(then[n_steps])[k]
        for name in ("net", "last", "best", "average"):
            assert_same_net(found[name], expected[name])
        for one, other in zip(run._moments, then[n_steps]._moments, strict=True):
            assert_same_net(one.select(k), other.select(k))
        for name in OF_EACH:
            np.testing.assert_equal(found[name], expected[name], err_msg=name)
        history = found["history"]
        assert_same_history(history.until(n_steps), expected["history"])
        assert np.isnan([history.loss[n_steps:], history.batch_accuracy[n_steps:]]).all()
        later = history.step > n_steps
        for name in ("train_accuracy", "validation_loss", "validation_accuracy"):
            assert np.isnan(getattr(history, name)[later]).all()
        assert np.isfinite(history.learning_rate).all()


any_run = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(OPTIMIZERS),
        "ema_decay": st.sampled_from([None, 0.8]),
        "patience": st.sampled_from([None, 1, 2, 4]),
        "dropout": st.sampled_from([0.0, [0.0, 0.2, 0.0, 0.4, 0.1]]),
        "learning_rate": st.lists(st.sampled_from([0.0, 0.05, 0.3, 1e30, 1e250]), min_size=5, max_size=5),
        "validated": st.booleans(),
    }
).map(lambda how: how if how["validated"] else how | {"patience": None})


@pytest.mark.usefixtures("each_step")
def test_a_run_that_networks_leave_can_be_resumed_from_any_step(
    backend: Backend, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("runs") / "run.safetensors"
    if backend.dtype == "float32":
        return  # 1e250 is beyond its range
    partial: set[bool] = set()

    @few(backend, 60)
    @given(
        how=any_run, steps=st.sets(st.integers(1, 29), min_size=1, max_size=3), through_a_file=st.booleans()
    )
    def check(how: dict[str, Any], steps: set[int], through_a_file: bool) -> None:
        whole, run = trained_on(backend, TASK, **how, epochs=6), None
        partial.add(min(gone_after(whole)) < whole.n_steps)
        for step in sorted(steps):
            if step < whole.n_steps:
                at = stopping(step)
                run = trained_on(backend, TASK, start=run, **how, epochs=6, callbacks=[at])
                assert run.n_steps == step
                if through_a_file:
                    save_run(run, path)
                    run = load_run(path, backend.xp, backend.device)
        if run is not None:
            again = trained_on(backend, TASK, start=run, **how, epochs=6)
            assert_same_run(again, whole)
            for one, other in zip(again._moments, whole._moments, strict=True):
                assert_same_net(one, other)

    check()
    assert True in partial or backend.library != "numpy"


@pytest.mark.usefixtures("each_step")
def test_a_callback_that_reads_the_run_changes_nothing(backend: Backend):
    if backend.dtype == "float32":
        return

    @few(backend)
    @given(how=any_run, steps=st.sets(st.integers(1, 30)))
    def check(how: dict[str, Any], steps: set[int]) -> None:
        def look(progress: Any) -> None:
            if progress.step in steps:
                assert progress.history().loss.shape == (5, progress.step)
                assert progress.net().n_networks == progress.run().last.n_networks == 5
                progress.snapshot()

        looked = trained_on(backend, TASK, **how, epochs=6, callbacks=[look])
        assert_same_run(looked, trained_on(backend, TASK, **how, epochs=6))

    check()


@pytest.mark.parametrize("n_networks", [None, 1, 3])
def test_a_run_that_all_networks_left_is_complete(backend: Backend, n_networks):
    task = make_task(n_networks, noise=2.0, seed=5)
    run = trained_on(backend, task, learning_rate=0.0, patience=1, ema_decay=0.5, optimizer=Adam(), epochs=6)
    assert run.n_steps == 2 * PER_EPOCH
    assert_same_net(run.last, task.on(backend).net)
    again = trained_on(
        backend, task, start=run, learning_rate=0.0, patience=1, ema_decay=0.5, optimizer=Adam(), epochs=6
    )
    assert_same_run(again, run)


def test_networks_can_be_removed_at_the_end_of_an_epoch(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    how = {"learning_rate": [0.05, 0.1, 0.2, 0.3, 0.4], "optimizer": Adam(eps=1e-3), "epochs": 4}
    whole, then = taken_at_entries(backend, TASK, **how)
    away = np.array([False, True, False, True, False])

    def in_pieces(net: Any, plan: Any, earlier: Any) -> Run:
        trainer = Trainer(plan, begun(net, plan))
        trainer.run(until=PER_EPOCH)
        trainer.run(until=2 * PER_EPOCH)
        trainer.leave(away)
        trainer.run(until=2 * PER_EPOCH)
        assert trainer.done == 2 * PER_EPOCH
        trainer.run()
        return trainer.result()

    monkeypatch.setattr(arguments, "carry_out", in_pieces)
    run = trained_on(backend, TASK, **how)
    assert run.diverged == run.stopped == (None,) * 5
    assert run.n_steps == 4 * PER_EPOCH
    rtol = 1e-9 if backend.dtype == "float64" else 1e-3
    for k, found in enumerate(each_run(run)):
        full, half = each_run(whole)[k], each_run(then[2 * PER_EPOCH])[k]
        if away[k]:
            assert_same_net(found["last"], half["last"])
            assert found["best_step"] == half["best_step"]
            assert np.isnan(found["history"].loss).tolist() == [False] * 10 + [True] * 10
        else:
            assert_same_net(found["last"], full["last"], rtol=rtol)
            assert_same_history(found["history"], full["history"], rtol=rtol)
