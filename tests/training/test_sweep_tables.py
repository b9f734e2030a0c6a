"""The table of a sweep, its best network, its callbacks, and stopped sweeps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend
from support.small_runs import make_task
from support.sweeps import assert_equal_rows, swept

from twolayer import Progress, SweepResult
from twolayer.sweeping.candidates import DEFAULTS
from twolayer.sweeping.comparison import best_runs, compared, winner_of

pytestmark = pytest.mark.once_on_jax

ACCURACIES = ("train_accuracy", "validation_accuracy")


def alive(runs: list[dict[str, Any]], candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a candidate that did not diverge."""
    of_candidate = [run for run in runs if all(run[name] == candidate[name] for name in DEFAULTS)]
    return [run for run in of_candidate if run["diverged"] is None]


def mean(values: list[float]) -> float:
    return statistics.mean(values) if values else math.nan


@given(
    rates=st.lists(
        st.sampled_from([1e-3, 0.05, 0.1, 0.3, 1.0, 1e18, 1e60]), min_size=1, max_size=4, unique=True
    ),
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True),
    task_seed=st.integers(0, 100),
)
def test_the_table_and_the_winner_follow_their_definitions(rates, seeds, task_seed):
    """Means, sample standard deviations and paired differences by the statistics module."""
    task = make_task(noise=2.0, seed=task_seed)
    result = swept(task, {"learning_rate": rates, "seed": seeds, "reg": [0.0, 1.0], "n_hidden": [3]})
    runs, table, best = result.runs, result.table, result.best
    candidates = dict.fromkeys(tuple(run[name] for name in DEFAULTS) for run in runs)
    assert [tuple(row[name] for name in DEFAULTS) for row in table] == list(candidates)
    assert len(table) == 2 * len(rates)
    for row in table:
        train, scores = ([run[name] for run in alive(runs, row)] for name in ACCURACIES)
        p = mean(scores)
        expected = {
            "n_seeds": len(seeds),
            "diverged": len(seeds) - len(scores),
            "train_accuracy": mean(train),
            "validation_accuracy": p,
            "validation_accuracy_std": statistics.stdev(scores) if len(scores) > 1 else math.nan,
            "validation_accuracy_error": np.sqrt(p * (1 - p) / len(task.y_val)),
        }
        found = [row[name] for name in expected]
        np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12, atol=1e-15)
    ranked = [row for row in table if row["diverged"] < len(seeds)]
    if not ranked:
        assert best is None
        return
    score = itemgetter("validation_accuracy")
    winner = max(
        [row for row in ranked if not row["diverged"]] or ranked, key=score
    )  # the first of equal candidates
    assert best.candidate is winner
    for row in table:
        own, theirs = ({run["seed"]: score(run) for run in alive(runs, one)} for one in (row, winner))
        differences = [own[seed] - theirs[seed] for seed in own.keys() & theirs.keys()]
        assert row["n_pairs"] == len(differences)
        if differences:
            np.testing.assert_allclose(row["difference"], mean(differences), atol=1e-15)
        if row is winner:
            assert (row["difference"], row["difference_error"], row["within_noise"]) == (0, 0, True)
        elif len(differences) > 1:
            assert row["within_noise"] is (row["difference"] >= -row["difference_margin"])
        else:
            assert row["within_noise"] is None
    expected = max(alive(runs, winner), key=score)
    assert best.row is expected
    assert best.settings == {key: expected[key] for key in (*DEFAULTS, "seed")}
    assert best.history is result.histories[runs.index(expected)]
    assert float(best.net.accuracy(*task.validation)) == pytest.approx(score(expected), rel=1e-12)


def test_a_candidate_with_a_diverged_seed_ranks_after_the_others():
    """Even if its other seed is the best of all."""

    rows = [
        {**DEFAULTS, "learning_rate": rate, "seed": seed, "diverged": at, "validation_loss": 1.0}
        | dict.fromkeys(ACCURACIES, score)
        for rate, seed, at, score in [
            (1.0, 0, None, 0.9), (1.0, 1, 5, math.nan),
            (0.1, 0, None, 0.5), (0.1, 1, None, 0.6),
            (0.01, 0, None, 0.4), (0.01, 1, None, 0.7),
        ]
    ]  # fmt: skip
    names = tuple(DEFAULTS)
    table = compared(rows, names, 10, monitor="accuracy")
    assert [row["diverged"] for row in table] == [1, 0, 0]
    assert table[0]["validation_accuracy"] == 0.9
    assert math.isnan(table[0]["validation_accuracy_std"])
    # The winner is the first candidate with the mean 0.55, and then its best seed.
    assert winner_of(table) is table[1]
    assert best_runs(table[1], rows, names, "accuracy") == [3]
    assert [row["n_pairs"] for row in table] == [1, 2, 2]
    assert table[0]["difference"] == pytest.approx(0.4)  # in the seed that both have
    assert [row["within_noise"] for row in table] == [None, True, True]
    (alone,) = compared(rows[:2], names, 10, monitor="accuracy")
    assert best_runs(alone, rows[:2], names, "accuracy") == [0]
    assert winner_of(compared(rows[1:2], names, 10, monitor="accuracy")) is None


def test_a_network_without_a_validation_accuracy_is_not_the_best():
    measured = {"train_accuracy": 0.5, "validation_loss": 1.0}
    rows = [
        {"reg": reg, "seed": seed, "diverged": None, **measured, "validation_accuracy": accuracy}
        for reg, seed, accuracy in ((0.0, 0, np.nan), (0.1, 0, 0.25), (0.1, 1, np.nan), (0.2, 0, 0.75))
    ]
    table = compared(rows, ("reg",), 8, monitor="accuracy")
    winner = winner_of(table)
    assert winner["reg"] == 0.2
    assert best_runs(winner, rows, ("reg",), "accuracy") == [3]
    assert best_runs(table[1], rows, ("reg",), "accuracy") == [1]


def test_a_sweep_whose_networks_all_diverged_has_rows_but_no_best(backend: Backend):
    grid = {"learning_rate": [1e30, 1e36], "reg": [1.0], "seed": [0, 1], "n_hidden": [3], "batch_size": [4]}
    result = swept(make_task().on(backend), grid, dtype=backend.dtype)
    assert result.best is None
    assert result.complete
    assert len(result.runs) == len(result.histories) == 4
    assert all(type(row["diverged"]) is int for row in result.runs)
    assert [(row["n_seeds"], row["diverged"]) for row in result.table] == [(2, 2)] * 2
    for row in (*result.runs, *result.table):
        scores = [row[name] for name in row if "accuracy" in name]
        assert len(scores) > 1
        assert np.isnan(scores).all()


def test_repr_shows_sizes_and_the_winner():
    result = swept(make_task(), {"learning_rate": [0.1, 0.01], "seed": [0, 1]})
    best = result.best
    mean, std = (best.candidate[name] for name in ("validation_accuracy", "validation_accuracy_std"))
    assert repr(best) == (
        f"Best({best.settings}, validation_accuracy={best.row['validation_accuracy']:.4f}, "
        f"mean of 2 seeds {mean:.4f}, SD {std:.4f})"
    )
    assert best.row["validation_accuracy"] > mean
    assert repr(swept(make_task(), {"learning_rate": [0.1]}).best).endswith(", of one seed)")
    assert repr(result) == f"SweepResult(candidates=2, runs=4, best={best!r})"


# ---------------------------------------------------------------------------------------------------------
# Callbacks


# Two stages of 3 steps each: one epoch of batches of 10.
TWO_STAGES = {"learning_rate": [0.1, 0.01], "n_hidden": [3, 4], "batch_size": [10]}
ALL_EVENTS = [(stage, step, ended) for stage in (1, 2) for step, ended in ((1, 0), (2, 0), (3, 0), (3, 1))]


def events(stop: Callable[[int, int, bool], bool]) -> tuple[list, SweepResult]:
    """The events that a callback sees until ``stop`` is true for one, and the result."""
    seen: list[tuple[int, int, bool]] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.stage, progress.step, progress.epoch_ended))
        assert (progress.stages, progress.steps) == (2, 3)
        if stop(*seen[-1]):
            progress.stop()

    return seen, swept(make_task(), TWO_STAGES, epochs=1, callbacks=iter([watch]))


@pytest.fixture(scope="module")
def whole() -> SweepResult:
    return swept(make_task(), TWO_STAGES, epochs=1)


STOPS = {
    "never": (lambda *at: False, 8, 4),
    "at-once": (lambda *at: True, 1, 0),
    "first-stage": (lambda stage, step, ended: (step, ended) == (3, False), 4, 2),
    "first-stage-ended": (lambda stage, step, ended: (step, ended) == (3, True), 4, 2),
    "second-stage": (lambda *at: at == (2, 1, False), 5, 2),
    "second-stage-later": (lambda *at: at == (2, 2, False), 6, 2),
    "too-late": (lambda *at: at == (2, 3, False), 8, 4),
    "too-late-ended": (lambda *at: at == (2, 3, True), 8, 4),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_stop_ends_the_sweep_and_keeps_finished_networks(whole: SweepResult, case):
    """The end of a stage, with its entry or just before it, is the natural moment to stop."""
    stop, n_events, n_runs = STOPS[case]
    seen, result = events(stop)
    assert seen == ALL_EVENTS[:n_events]
    assert result.complete == (n_runs == 4)
    assert len(result.histories) == n_runs
    kept = slice(None, None, 1 if n_runs == 4 else 2) if n_runs else slice(0)
    assert_equal_rows(result.runs, whole.runs[kept])
    if n_runs == 0:
        assert (result.best, result.table) == (None, [])
        assert repr(result) == "SweepResult(candidates=0, runs=0, best=None)"
        return
    of_others = ("n_pairs", "difference", "difference_error", "difference_margin", "within_noise")
    own, expected = (
        [{key: row[key] for key in row if key not in of_others} for row in table]
        for table in (result.table, whole.table[kept])
    )
    assert_equal_rows(own, expected)
    assert result.best.settings["n_hidden"] in ((3, 4) if n_runs == 4 else (3,))


@pytest.mark.parametrize(
    ("ended", "how", "n_steps"),
    [
        ({"learning_rate": 1e80, "reg": 1.0, "batch_size": 10}, {"epochs": 2}, 3),
        ({"learning_rate": 0.0, "batch_size": 10}, {"epochs": 5, "patience": 1}, 6),
    ],
    ids=["diverged", "patience"],
)
@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_whose_networks_all_ended_early_is_finished(ended, how, n_steps, stage):
    other = {"learning_rate": 0.1, "n_hidden": 3}
    grid = [ended, other] if stage == 1 else [other, ended]

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.epoch_ended) == (stage, n_steps, True):
            progress.stop()

    result = swept(make_task(), grid, **how, callbacks=[stop])
    assert result.complete == (stage == 2)
    assert result.runs[-1]["n_steps"] == n_steps
    expected = swept(make_task(), grid[:stage], **how)
    assert_equal_rows(result.runs, expected.runs)
    assert_equal_rows(result.table, expected.table)


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_unfinished_networks_count_only_if_no_network_was_finished(n_seeds):
    """If the only stage is stopped, its networks are kept as they were at the stop."""
    grid = {"learning_rate": [0.01, 0.1], "batch_size": [10], "seed": list(range(n_seeds))}
    at = (n_seeds, 3, True)  # the first epoch of the last stage

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.epoch_ended) == at:
            progress.stop()

    result = swept(make_task(), grid, epochs=4, callbacks=[stop])
    assert not result.complete
    assert [row["n_steps"] for row in result.runs] == ([3, 3] if n_seeds == 1 else [12, 3, 12, 3])
    assert [row["n_seeds"] for row in result.table] == [1, 1]
    assert result.best.settings["seed"] == 0
    assert result.best.row["n_steps"] == (3 if n_seeds == 1 else 12)
    alone = swept(make_task(), {**grid, "seed": [0]}, epochs=1 if n_seeds == 1 else 4)
    assert_equal_rows(result.table, alone.table)
    assert result.best.row["validation_accuracy"] == alone.best.row["validation_accuracy"]


def test_every_callback_is_called_and_its_error_propagates():
    first: list[int] = []
    second: list[int] = []
    task, grid = make_task(), {"n_hidden": [3, 4]}
    assert swept(task, grid, callbacks=[lambda p: True]).complete  # its return value is ignored
    swept(task, grid, callbacks=[lambda p: (first.append(p.step), p.stop()), lambda p: second.append(p.step)])
    assert first == second == [1, 1]  # the step, and the epoch that ends with it

    def fail(progress: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        swept(task, grid, callbacks=[fail])
