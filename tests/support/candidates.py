"""Rows of a sweep's table."""

from __future__ import annotations

import math
from typing import Any


def candidate(
    learning_rate: float,
    validation_accuracy: float | None,
    *,
    diverged: int = 0,
    n_seeds: int = 1,
    std: float | None = math.nan,
    **settings: Any,
) -> dict[str, Any]:
    """The row of a candidate."""
    return {
        "learning_rate": learning_rate,
        "reg": 0.0,
        **settings,
        "n_seeds": n_seeds,
        "diverged": diverged,
        "train_accuracy": validation_accuracy,
        "validation_accuracy": validation_accuracy,
        "validation_accuracy_std": std,
    }


def compared(
    learning_rate: float, difference: float, margin: float, within: bool | None, *, n_pairs: int = 3
) -> dict[str, Any]:
    """The row of a candidate of three seeds, at this difference from the best."""
    return candidate(learning_rate, 0.9 + difference, n_seeds=3, std=0.01) | {
        "n_pairs": n_pairs,
        "difference": difference,
        "difference_error": margin / 4.3,
        "difference_margin": margin,
        "within_noise": within,
    }


BEST = compared(0.4, 0.0, 0.0, True)
CLOSE = compared(0.2, -0.004, 0.01, True)
BEHIND = compared(0.1, -0.05, 0.01, False)
