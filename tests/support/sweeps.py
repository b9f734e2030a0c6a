"""Small sweeps, and comparisons of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.small_runs import PLAIN, Task
from twolayer import SweepResult, sweep

BASE: dict[str, Any] = {**PLAIN, "epochs": 3, "dtype": "float64"}


def swept(task: Task, grid: Any, **changes: Any) -> SweepResult:
    """Sweep a grid with the settings `BASE`, or with changes of them."""
    return sweep(task.X, task.y, validation=task.validation, grid=grid, **{**BASE, **changes})


def assert_equal_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Assert that rows have the same keys in the same order and the same values, nan equal to nan."""
    assert [list(row) for row in found] == [list(row) for row in expected]
    np.testing.assert_equal([list(row.values()) for row in found], [list(row.values()) for row in expected])
