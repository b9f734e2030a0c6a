"""Folds of cross-validation, the networks of a candidate, and the error of an accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._namespace import HostArray


@dataclass(frozen=True)
class Folds:
    """Row numbers of the samples of each fold.

    Parameters
    ----------
    trained : tuple of int64 arrays
        For each fold, the rows that its networks train on, sorted.
    held_out : tuple of int64 arrays
        For each fold, the rows on which its networks are judged, sorted.
    """

    trained: tuple[HostArray, ...]
    held_out: tuple[HostArray, ...]

    def n_held_out(self, numbers: Iterable[int]) -> int:
        """Return how many different samples the folds of these numbers hold out."""
        rows = [self.held_out[i] for i in set(numbers)]
        return len(np.unique(np.concatenate(rows))) if rows else 0

    def own(self, n_samples: int) -> HostArray:
        """Return whether each fold trains on each sample: (N, F) bool."""
        own = np.zeros((n_samples, len(self.trained)), np.bool_)
        for fold, rows in enumerate(self.trained):
            own[rows, fold] = True
        return own

    def shared_batch(self, batch_size: int, n_samples: int) -> int:
        """Return the size of batches that all folds share; a fold trains on ``batch_size`` rows on average.

        Folds of one stack see the same batches. Rows that a fold holds out count nothing in its loss, so the
        batches are larger than ``batch_size``.
        """
        n_trained = float(np.mean([len(rows) for rows in self.trained]))
        return int(np.ceil(batch_size * n_samples / n_trained))


def n_networks(candidate: Mapping[str, Any]) -> int:
    """Return the number of networks of a candidate: one for each seed, or for each seed and fold."""
    return int(candidate.get("n_networks") or candidate.get("n_seeds") or 1)


def accuracy_error(accuracy: float, n_samples: int) -> float:
    """Return the binomial standard error of an accuracy, √(p (1 − p) / N).

    Parameters
    ----------
    accuracy : float
        The share p of samples that are classified correctly.
    n_samples : int
        The number N of samples; for 0 the result is nan.
    """
    return float(np.sqrt(max(0.0, accuracy * (1 - accuracy)) / n_samples)) if n_samples else np.nan
