"""Tables of a sweep and of a history."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.candidates import BEHIND, BEST, CLOSE, candidate, compared

from twolayer.report.files import write_json
from twolayer.report.tables import (
    divergence_in_words,
    has_diverged,
    history_rows,
    legend,
    ranked,
    step_rows,
    sweep_columns,
    varying,
    winner,
)
from twolayer.sweeping import sweep
from twolayer.training.history import History


def history_of(loss, step, **columns):
    """A history of one network. Columns that are not given are NaN."""
    empty = np.full(len(step), math.nan)
    columns = {name: np.asarray(columns.get(name, empty), dtype=np.float64) for name in History._fields[3:]}
    loss = np.asarray(loss, dtype=np.float64)
    return History(loss, np.zeros_like(loss), np.asarray(step, dtype=np.int64), **columns)


def test_history_rows_hold_the_mean_loss_of_each_epoch():
    history = history_of(
        [4.0, 2.0, 1.0, math.nan, 1.0],
        [2, 3, 5],
        learning_rate=[0.1, 0.05, 0.025],
        train_accuracy=[0.5, 0.6, 0.7],
        validation_accuracy=[0.4, 0.5, math.nan],
        validation_loss=[2.0, 1.5, math.nan],
    )
    rows = history_rows(history)
    assert rows[0] == {
        "epoch": 1,
        "step": 2,
        "learning_rate": 0.1,
        "loss": 3.0,
        "train_accuracy": 0.5,
        "validation_accuracy": 0.4,
        "validation_loss": 2.0,
    }
    assert [row["step"] for row in rows] == [2, 3, 5]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[1]["loss"] == 1.0
    assert math.isnan(rows[2]["loss"])
    assert math.isnan(rows[2]["validation_accuracy"])


def test_the_mean_of_losses_near_the_largest_float_does_not_overflow():
    rows = history_rows(history_of([1.6e308, 1.7e308, math.inf, 1.0], [2, 4]))
    assert rows[0]["loss"] == pytest.approx(1.65e308)
    assert math.isnan(rows[1]["loss"])


def test_a_run_that_was_stopped_in_its_first_epoch_has_no_history_rows():
    assert history_rows(history_of([1.0, 2.0], [])) == []


def test_step_rows_hold_the_loss_and_the_batch_accuracy():
    history = history_of([4.0, 2.0], [2])._replace(batch_accuracy=np.array([0.25, 0.5]))
    assert step_rows(history) == [
        {"step": 1, "loss": 4.0, "batch_accuracy": 0.25},
        {"step": 2, "loss": 2.0, "batch_accuracy": 0.5},
    ]


@pytest.mark.parametrize("rows", [history_rows, step_rows])
def test_rows_of_a_stack_are_refused(rows):
    history = history_of([4.0, 2.0], [2])
    columns = history._asdict().items()
    stacked = History(*(a if name == "step" else np.stack([a, a]) for name, a in columns))
    with pytest.raises(ValueError, match=r"`history` must be of one network; got a stack of 2"):
        rows(stacked)
    assert rows(stacked.select(1))


def shown(table, runs=()):
    """The texts of a sweep's columns by heading, as they are printed, with the best candidate first."""
    return {column.heading: column.texts for column in sweep_columns(ranked(table), runs)}


def test_columns_of_a_sweep_with_one_seed():
    table = [candidate(1e-4, 0.3), candidate(1e-3, 0.5), candidate(1e-2, math.nan, diverged=1)]
    assert shown(table) == {
        "learning rate": ["1e-3", "1e-4", "1e-2"],
        "training accuracy": ["0.500", "0.300", "–"],
        "validation accuracy": ["0.500", "0.300", "–"],
        "diverged": ["", "", "yes"],
        "note": ["best", "", ""],
    }
    values = {column.heading: (column.values, column.first) for column in sweep_columns(table, ())}
    assert values["learning rate"] == ([1e-4, 1e-3, 1e-2], "ascending")
    assert values["validation accuracy"] == ([0.3, 0.5, None], "descending")
    assert values["diverged"] == ([None, None, 1], "descending")
    assert legend(table) == []


def test_columns_of_a_sweep_with_several_seeds():
    table = [
        candidate(0.1, 0.9, diverged=1, n_seeds=3, std=0.01),
        candidate(0.2, None, diverged=3, n_seeds=3, std=None),
        candidate(0.3, 0.5, n_seeds=3, std=0.02),
    ]
    runs = [
        {"learning_rate": rate, "reg": 0.0, "diverged": step}
        for rate, step in [(0.1, 1200), (0.1, None), (0.2, 3), (0.2, 1000), (0.2, 7)]
    ]
    columns = shown(table, runs)
    assert columns["validation accuracy ± SD over 3 seeds"] == ["0.500 ± 0.020", "0.900 ± 0.010", "–"]
    assert columns["diverged"] == ["", "1 of 3 seeds, step 1,200", "steps 3–1,000"]
    assert legend(table) == ["means of 3 seeds; SD: their standard deviation"]


def test_the_diverged_runs_of_a_candidate_are_found_by_its_settings():
    runs = [
        {"learning_rate": 1.0, "reg": reg, "diverged": step}
        for reg, step in [(0.0, 3), (0.5, 9), (0.5, None)]
    ]
    row = {"learning_rate": 1.0, "reg": 0.5, "n_seeds": 2, "diverged": 1}
    assert divergence_in_words(row, runs) == "1 of 2 seeds, step 9"
    assert divergence_in_words({**row, "diverged": 0}, runs) == ""


def test_columns_of_a_single_candidate_are_its_rate_and_reg():
    columns = shown([candidate(0.1, 0.5, n_hidden=50)])
    assert list(columns) == ["learning rate", "reg", "training accuracy", "validation accuracy", "note"]
    assert columns["validation accuracy"] == ["0.500"]


def test_columns_show_how_far_candidates_are_behind_the_best():
    lost = candidate(9.0, math.nan, diverged=3, n_seeds=3) | {"difference": math.nan, "within_noise": None}
    ahead = compared(0.3, 0.0002, 0.01, True) | {"diverged": 1}
    table = [lost, BEHIND, ahead, BEST, CLOSE]
    columns = shown(table)
    differences = ["", "−0.004 ± 0.010", "−0.050 ± 0.010", "0.000 ± 0.010", "–"]
    assert columns["behind the best ± 95 % margin"] == differences
    assert columns["note"] == ["best", "≈ best", "", "≈ best", ""]
    assert legend(table)[1] == "behind the best: mean difference in pairs of a seed; ≈ best: may be as good"
    without_margin = [
        candidate(rate, score) | {"difference": score - 0.5} for rate, score in ((0.1, 0.5), (0.2, 0.4))
    ]
    assert shown(without_margin)["behind the best"] == ["", "−0.100"]
    for uncompared in (
        [BEST],
        [lost, {**lost, "learning_rate": 10.0}],
        [candidate(0.1, 0.5), candidate(0.2, 0.4)],
    ):
        assert not any("behind" in heading for heading in shown(uncompared))


def test_ranks_begin_with_the_best_and_end_with_the_diverged():
    table = [
        {"reg": 0.1, "n_seeds": 1, "diverged": 1, "validation_accuracy": None},
        {"reg": 0.2, "n_seeds": 1, "diverged": None, "validation_accuracy": 0.5},
        {"reg": 0.3, "n_seeds": 2, "diverged": 1, "validation_accuracy": 0.9},
        {"reg": 0.4, "n_seeds": 1, "diverged": 0, "validation_accuracy": 0.7},
    ]
    assert [row["reg"] for row in ranked(table)] == [0.4, 0.2, 0.3, 0.1]
    assert ranked([]) == []


def test_winner_is_the_first_of_the_best_without_diverged_seeds():
    table = [
        candidate(1, 0.9, diverged=1, n_seeds=2),
        candidate(2, 0.7),
        candidate(3, 0.8),
        candidate(4, 0.8),
        candidate(5, math.nan, diverged=1),
    ]
    assert winner(table) is table[2]
    assert winner(table[:1]) is table[0]
    assert winner(table[-1:]) is None
    best = winner([candidate(1, 0.9), {**candidate(2, 0.1), "score": 1.0}], value="score")
    assert best["learning_rate"] == 2


def test_candidates_that_left_at_a_rung_rank_after_fully_trained_ones():
    table = [
        candidate(1, 0.9) | {"rung": 1},
        candidate(2, 0.7) | {"rung": None},
        candidate(3, 0.6, diverged=1, n_seeds=2) | {"rung": None},
        candidate(4, 0.8) | {"rung": 2},
        candidate(5, 0.8) | {"rung": None},
        candidate(6, math.nan, diverged=1) | {"rung": 1},
    ]
    assert winner(table) is table[4]
    assert winner(table[:1]) is None
    rows = ranked(table)
    assert [row["learning_rate"] for row in rows] == [5, 2, 3, 4, 1, 6]
    columns = {column.heading: column.texts for column in sweep_columns(rows, [])}
    assert columns["left at rung"] == ["", "", "", "2", "1", "1"]
    assert columns["note"][0] == "best"
    assert "left at rung" not in {column.heading for column in sweep_columns(rows[:3], [])}


def test_winner_is_the_best_of_a_real_sweep(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
    result = sweep(
        X[:40],
        y[:40],
        validation=(X[40:], y[40:]),
        grid={"learning_rate": [1e-3, 0.1, 1.0, 1e30], "seed": [0, 1], "batch_size": [10]},
        epochs=3,
    )
    best = winner(result.table)
    assert best["learning_rate"] == result.best.settings["learning_rate"]
    assert [has_diverged(row) for row in result.table] == [False, False, False, True]
    assert varying(result.table) == ["learning_rate"]
    assert varying(result.runs) == ["learning_rate", "seed"]
    columns = shown(result.table, result.runs)
    assert columns["learning rate"][-1] == "1e30"
    means = columns["validation accuracy ± SD over 2 seeds"]
    assert means[0].startswith(f"{best['validation_accuracy']:.3f} ± ")
    assert columns["diverged"][-1].startswith("step")

    # A table that is read back from JSON has the same columns.
    write_json(tmp_path / "table.json", result.table)
    assert shown(json.loads((tmp_path / "table.json").read_text("utf-8")), result.runs) == columns
