"""Sweeps in parts, and comparisons of the results of sweeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from support.small_runs import Task, assert_same_history, assert_same_net
from support.sweeps import BASE, assert_equal_rows
from twolayer import SweepPlan, SweepResult, plan
from twolayer.sweeping import PartResult

# A grid that makes several parts in each of the ways below.
GRID: dict[str, Any] = {
    "learning_rate": [0.05, 0.3],
    "n_hidden": [3, 4],
    "batch_size": [5],
    "seed": [0, 1],
}
RATES = [0.01, 0.03, 0.1, 0.3]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pieces": {"max_networks": 1},
    "halving": {"halving": 2, "epochs": 4, "grid": GRID | {"learning_rate": RATES}},
    "folds": {"folds": 3},
    "folds-merge": {"folds": 3, "refit": "merge"},
    "folds-none": {"folds": 3, "refit": None},
    "folds-fitted": {"folds": 3, "preprocessing": "standardize", "patience": 1, "epochs": 4},
    "folds-fitted-merge": {"folds": 3, "preprocessing": "standardize", "refit": "merge"},
    "folds-halving": {"folds": 3, "halving": 2, "epochs": 4, "grid": GRID | {"learning_rate": RATES}},
    "fitted": {"preprocessing": "standardize"},
    "weights": {"sample_weight": np.arange(23) % 3 + 0.5, "class_weight": "balanced"},
    "diverging": {"grid": GRID | {"learning_rate": [0.1, 1e30]}},
    "all-diverge": {"grid": GRID | {"learning_rate": [1e30]}, "folds": 3},
}


def arguments(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `plan` and `sweep` for a task; `data` returns those that a part needs."""
    how = {"grid": GRID, **BASE, **changes}
    if "folds" not in how:
        how["validation"] = task.validation
    return {"X": task.X, "y": task.y, **how}


def data(how: dict[str, Any]) -> dict[str, Any]:
    """The arguments among these that `Part.run` needs."""
    return {name: how[name] for name in ("X", "y", "validation", "sample_weight") if name in how}


def joined(how: dict[str, Any], run: Callable[..., PartResult] | None = None, seed: int = 0) -> SweepResult:
    """The result of a plan whose parts are run in a random order."""
    rng, made = np.random.default_rng(seed), plan(**how)
    while made.parts:
        made = made.join(run_in_any_order(made, how, rng, run))
    assert made.result is not None
    return made.result


def run_in_any_order(
    made: SweepPlan, how: dict[str, Any], rng: np.random.Generator, run: Callable[..., PartResult] | None
) -> list[PartResult]:
    parts = [made.parts[i] for i in rng.permutation(len(made.parts))]
    return [part.run(**data(how)) if run is None else run(part, **data(how)) for part in parts]


def assert_same_result(found: SweepResult, expected: SweepResult, *, rtol: float = 0.0) -> None:
    """Assert equal rows, histories and networks: bit for bit, or histories and networks within ``rtol``."""
    assert found.complete == expected.complete
    assert_equal_rows(found.runs, expected.runs)
    assert_equal_rows(found.table, expected.table)
    for one, other in zip(found.histories, expected.histories, strict=True):
        assert_same_history(one, other, rtol=rtol)
    assert (found.best is None) == (expected.best is None)
    if found.best is None or expected.best is None:
        return
    assert found.best.settings == expected.best.settings
    assert_equal_rows([found.best.row], [expected.best.row])
    assert (found.best.net is None) == (expected.best.net is None)
    if found.best.net is not None:
        assert_same_net(found.best.net, expected.best.net, rtol=rtol)
    assert (found.best.history is None) == (expected.best.history is None)
    if found.best.history is not None:
        assert_same_history(found.best.history, expected.best.history, rtol=rtol)
    one, other = found.best.preprocessing, expected.best.preprocessing
    assert type(one) is type(other)
    if one is not None:
        for a, b in zip(one.host_arrays(), other.host_arrays(), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(found.folds or (), expected.folds or (), strict=True):
        for rows, others in zip(a, b, strict=True):
            np.testing.assert_array_equal(rows, others)
