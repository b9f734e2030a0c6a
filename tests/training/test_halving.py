"""Successive halving: the rungs at which candidates leave a sweep, and its result."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend
from support.small_runs import assert_same_history, assert_same_net, make_task
from support.sweeps import swept

from twolayer import SweepResult
from twolayer.optimizers import Adam
from twolayer.sweeping.halving import rungs_of, worst

pytestmark = pytest.mark.once_on_jax

TASK = make_task(noise=2.0, n_validation=101)
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
GRID: dict[str, Any] = {
    "learning_rate": RATES,
    "n_hidden": [3, 4],
    "batch_size": [5],
    "reg": [0.0],
    "seed": [0, 1],
}
EPOCHS, PER_EPOCH = 9, 5  # of 23 samples in batches of 5


def candidate_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """The settings in which candidates of these tests differ."""
    return row["learning_rate"], row["n_hidden"], row["batch_size"]


def rungs_by_hand(
    full: SweepResult, halving: int, epochs: list[int], judge: str, monitor: str = "accuracy"
) -> dict[Any, int]:
    """The rung at which each candidate leaves, from the histories of a sweep without halving."""
    left: dict[Any, int] = {}
    candidates = list(dict.fromkeys(map(candidate_of, full.runs)))
    for number, epoch in enumerate(epochs, 1):
        scores = {}
        for candidate in candidates:
            seeds, n_lost = [], 0
            for row, history in zip(full.runs, full.histories, strict=True):
                if candidate_of(row) == candidate:
                    at = epoch * -(-23 // row["batch_size"])
                    then = history.until(at)
                    seen = then.validation_accuracy if monitor == "accuracy" else -then.validation_loss
                    seen = seen[np.isfinite(seen)]
                    if row["diverged"] is not None and row["diverged"] <= at:
                        n_lost += 1
                    else:
                        seeds.append(seen.max() if judge == "best" else seen[-1])
            scores[candidate] = (n_lost == 0, float(np.mean(seeds)) if seeds else -math.inf)
        best = sorted(candidates, key=lambda one: scores[one], reverse=True)[: -(-len(candidates) // halving)]
        left |= {candidate: number for candidate in candidates if candidate not in best}
        candidates = [candidate for candidate in candidates if candidate in best]
    return left


@given(n_epochs=st.integers(1, 2000), n_candidates=st.integers(1, 2000), halving=st.integers(2, 20))
def test_the_epochs_of_rungs_rise_by_the_factor(n_epochs, n_candidates, halving):
    rungs = rungs_of(n_epochs, n_candidates, halving)
    assert [rung.number for rung in rungs] == list(range(1, len(rungs) + 1))
    assert halving ** len(rungs) <= min(n_epochs, n_candidates) < halving ** (len(rungs) + 1)
    wanted = [math.ceil(n_epochs / halving**k) for k in range(len(rungs), 0, -1)]
    assert [rung.epochs for rung in rungs] == wanted
    assert all(0 < a < b <= n_epochs for a, b in pairwise([*wanted, n_epochs]))


def test_examples_of_rungs():
    assert rungs_of(30, 64, 4) == [(1, 2), (2, 8)]
    assert rungs_of(27, 27, 3) == [(1, 1), (2, 3), (3, 9)]
    assert rungs_of(30, 3, 4) == rungs_of(3, 30, 4) == []


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"max_networks": 2},
        {"ema_decay": 0.8, "optimizer": Adam(eps=1e-3)},
        {"patience": 1},
        {"monitor": "loss"},
    ],
    ids=["plain", "pieces", "average", "patience", "loss"],
)
def test_the_worst_candidates_of_all_stacks_leave(backend: Backend, how, judge):
    """The remaining candidates are trained as without halving."""
    rates = [*RATES, 1e30]
    grid = GRID | {"learning_rate": rates, "batch_size": [8, 12], "reg": [1.0]}
    grid["n_hidden"] = grid["n_hidden"][: 2 if backend.library == "numpy" else 1]
    how = {"epochs": EPOCHS, "judge": judge, "dtype": backend.dtype, **how}
    task = TASK.on(backend)
    full, result = swept(task, grid, **how), swept(task, grid, **how, halving=3)
    monitor = how.get("monitor", "accuracy")
    left = rungs_by_hand(full, 3, [1, 3], judge, monitor)
    assert sorted(left.values()) == ([1] * 18 + [2] * 6 if backend.library == "numpy" else [1] * 9 + [2] * 3)
    assert result.complete
    rtol = 1e-9 if backend.dtype == "float64" else 1e-3
    for row, other, history, whole in zip(
        result.runs, full.runs, result.histories, full.histories, strict=True
    ):
        rung = row["rung"]
        assert rung == left.get(candidate_of(row))
        per_epoch = -(-23 // row["batch_size"])
        n_steps = other["n_steps"] if rung is None else min(other["n_steps"], [1, 3][rung - 1] * per_epoch)
        assert row["n_steps"] == history.loss.size == history.step[-1] == n_steps
        then = whole.until(n_steps)
        assert_same_history(history, then, rtol=rtol)
        if rung is None:
            for name in ("diverged", "best_step", "train_accuracy", "validation_accuracy"):
                np.testing.assert_equal(row[name], other[name])
        elif row["diverged"] is None:
            scores = history.validation_accuracy if monitor == "accuracy" else -history.validation_loss
            place = np.argmax(scores) if judge == "best" else -1
            assert row["validation_accuracy"] == history.validation_accuracy[place]
            # A run measures its networks again at its end, where the stack may have another size.
            np.testing.assert_allclose(row["validation_loss"], history.validation_loss[place], rtol=rtol)
            assert row["best_step"] == history.step[np.argmax(scores)]
    for row in result.table:
        assert row["rung"] == left.get(candidate_of(row))
        if row["rung"] is not None:
            assert row["within_noise"] is None
            assert row["n_pairs"] == 0
            assert np.isnan([row["difference"], row["difference_margin"]]).all()
        elif row["diverged"] == 0:
            assert row["within_noise"] is not None
    rest = [row for row in result.table if row["rung"] is None]
    sign = 1 if monitor == "accuracy" else -1
    best = max(rest, key=lambda row: (row["diverged"] == 0, sign * row[f"validation_{monitor}"]))
    assert result.best.candidate is best
    assert candidate_of(result.best.settings) not in left
    alone = swept(task, [result.best.settings], **how)
    assert_same_net(result.best.net, alone.best.net, rtol=rtol)


def test_the_best_candidate_is_one_trained_to_the_end(backend: Backend):
    """Even if another candidate was better when it left."""
    task = TASK.on(backend)

    def rises_late(step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        return np.where(step < PER_EPOCH, 1.0, -30.0)  # from the second epoch on, steps go uphill

    how = {"epochs": 4, "schedule": rises_late, "judge": "last", "dtype": backend.dtype}
    result = swept(task, GRID, **how, halving=4)
    ends = [row["validation_accuracy"] for row in result.table if row["rung"] is None]
    others = [row["validation_accuracy"] for row in result.table if row["rung"] is not None]
    assert max(ends) < max(others)
    assert result.best.candidate["rung"] is None
    assert result.best.candidate["validation_accuracy"] == max(ends)


@pytest.mark.parametrize("halving", [None, 3])
def test_without_rungs_no_candidate_leaves(halving):
    grid = GRID | {"learning_rate": RATES[:1], "seed": [0, 1, 2]}
    result, full = swept(TASK, grid, epochs=2, halving=halving), swept(TASK, grid, epochs=2)
    np.testing.assert_equal(
        [{**row, "rung": None} for row in full.runs], [{**row, "rung": None} for row in result.runs]
    )
    assert all(("rung" in row) == (halving is not None) for row in (*result.runs, *result.table))
    assert all(row.get("rung") is None for row in result.runs)


def test_the_first_of_equal_candidates_stay():
    """The order is that of the settings, in which the stacks alternate."""
    task = TASK._replace(X_val=np.zeros_like(TASK.X_val))  # every network predicts one class for all
    grid = {"reg": [0.0, 0.1, 0.2, 0.3], "n_hidden": [3, 4], "learning_rate": [0.0], "batch_size": [5]}
    result = swept(task, grid, epochs=4, halving=2)
    assert [row["rung"] for row in result.runs] == [None] * 2 + [2] * 2 + [1] * 4


class Spy(Adam):
    """Adam that records how many networks it moves."""

    widths: list[int] = []  # noqa: RUF012

    def move(self, params: Any, *others: Any, **how: Any) -> Any:
        self.widths.append(params[0].shape[0])
        return super().move(params, *others, **how)


def test_networks_that_left_are_not_computed():
    Spy.widths.clear()
    grid = GRID | {"n_hidden": [3], "seed": [0], "learning_rate": [*RATES, 0.02, 0.05, 0.5]}
    swept(TASK, grid, epochs=EPOCHS, optimizer=Spy(), halving=3)
    assert Spy.widths == [9] * PER_EPOCH + [3] * 2 * PER_EPOCH + [1] * 6 * PER_EPOCH


def test_each_stage_comes_once_for_each_rung():
    seen: list[tuple[int, int]] = []

    def look(progress: Any) -> None:
        assert progress.stages == 2
        assert progress.steps == EPOCHS * PER_EPOCH
        if progress.epoch_ended:
            seen.append((progress.stage, progress.epoch))

    grid = GRID | {"seed": [0], "learning_rate": [*RATES, 0.02, 0.05, 0.5]}
    result = swept(TASK, grid, epochs=EPOCHS, halving=3, callbacks=[look])
    last = {row["n_hidden"] for row in result.runs if row["rung"] is None}
    second = {row["n_hidden"] for row in result.runs if row["rung"] != 1}
    stage_of = {3: 1, 4: 2}
    assert seen == [
        *((stage, 1) for stage in (1, 2)),
        *((stage, epoch) for stage in sorted(map(stage_of.get, second)) for epoch in (2, 3)),
        *((stage, epoch) for stage in sorted(map(stage_of.get, last)) for epoch in range(4, 10)),
    ]


@pytest.mark.parametrize(
    "at", [(1, 3, False), (1, 5, True), (2, 5, True), (1, 7, False), (2, 10, True), (2, 45, True)]
)
def test_a_stopped_sweep_returns_its_results_so_far(at):
    """Unfinished networks can be the best only if no network was trained to the end."""

    def stop(progress: Any) -> None:
        if (progress.stage, progress.step, progress.epoch_ended) == at:
            progress.stop()

    grid = GRID | {"seed": [0]}
    result = swept(TASK, grid, epochs=EPOCHS, halving=3, callbacks=[stop])
    whole = swept(TASK, grid, epochs=EPOCHS, halving=3)
    if at == (1, 3, False):
        assert (result.runs, result.best, result.complete) == ([], None, False)
        return
    assert result.complete == (at == (2, 45, True))
    assert len(result.runs) == (6 if at == (1, 5, True) else 12)
    for row, history in zip(result.runs, result.histories, strict=True):
        (other,) = [one for one in whole.runs if candidate_of(one) == candidate_of(row)]
        reached = 2 if result.complete else 0 if at[1] <= PER_EPOCH else 1
        assert row["rung"] == (other["rung"] if (other["rung"] or 3) <= reached else None)
        assert row["n_steps"] == history.loss.size <= other["n_steps"]
    assert result.best.candidate["rung"] is None


def test_candidates_that_left_stay_in_the_table_beside_finished_ones():
    """The best candidate's first seed was finished, and its second was stopped."""
    n_steps = EPOCHS * PER_EPOCH - 7

    def stop(progress: Any) -> None:
        if (progress.stage, progress.step) == (2, n_steps):
            progress.stop()

    how = {"epochs": EPOCHS, "halving": 3}
    grid = GRID | {"n_hidden": [3]}
    result, whole = swept(TASK, grid, **how, callbacks=[stop]), swept(TASK, grid, **how)
    assert [row["rung"] for row in result.runs] == [row["rung"] for row in whole.runs]
    assert [row["seed"] for row in result.runs if row["n_steps"] == n_steps] == [1, 1]
    assert [row["n_seeds"] for row in result.table] == [
        1 if row["rung"] is None else 2 for row in whole.table
    ]
    assert result.best.settings["seed"] == 0
    assert not result.complete


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
@pytest.mark.parametrize(
    ("scores", "leaving"),
    [
        ([(0.5, None), (0.7, None), (0.6, None)], [0]),
        ([(0.5, None), (0.9, 3), (0.6, None)], [1]),  # diverged
        ([(0.5, None), (math.nan, None), (0.6, None)], [1]),
        ([(0.5, None), (0.5, None), (0.5, None)], [2]),  # the first of equal candidates stay
        ([(0.5, 1), (0.6, 1), (0.7, 1)], [2]),
    ],
)
def test_worst_selects_the_rows_of_the_worst_candidates(scores, leaving, monitor):
    unmeasured = {"train_accuracy": math.nan, "validation_accuracy": 0.5, "validation_loss": 1.0}
    rows = {}
    for i, (score, lost) in enumerate(scores):
        own = {f"validation_{monitor}": score if monitor == "accuracy" else 1 - score}
        rows[10 * i] = {"reg": i, "seed": 0, "diverged": lost} | unmeasured | own
    assert worst(rows, ("reg",), 2, None, monitor) == [10 * i for i in leaving]
    rows[7] = rows[10] | {"seed": 1, "diverged": 4}
    if leaving != [2]:
        assert worst(rows, ("reg",), 2, None, monitor) == [10, 7]


REFUSED = {
    "one": ({"halving": 1, "epochs": 3}, ValueError, "`halving` must be at least 2; got 1"),
    "share": ({"halving": 0.5, "epochs": 3}, TypeError, "`halving` must be an integer"),
    "steps": (
        {"halving": 2, "epochs": None, "steps": 30},
        ValueError,
        "`epochs` must be given in place of `steps` with `halving`; got `steps` of 30",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_settings_are_refused(case):
    changes, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        swept(TASK, GRID, **changes)
