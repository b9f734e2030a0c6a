"""Folds of cross-validation, the networks of a candidate, and the error of an accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._namespace import HostArray


@dataclass(frozen=True)
class Folds:
    """Rows of the samples, for each fold.

    Parameters
    ----------
    trained : tuple of int64 arrays
        The rows that the networks of the fold train on, sorted.
    held_out : tuple of int64 arrays
        The rows by which they are judged, sorted.
    """

    trained: tuple[HostArray, ...]
    held_out: tuple[HostArray, ...]

    def n_held_out(self, numbers: Iterable[int]) -> int:
        """Number of samples that folds of these numbers hold out."""
        rows = [self.held_out[i] for i in set(numbers)]
        return len(np.unique(np.concatenate(rows))) if rows else 0

    def own(self, n_samples: int) -> HostArray:
        """Whether each sample is trained on in each fold: (N, F) bool."""
        own = np.zeros((n_samples, len(self.trained)), np.bool_)
        for fold, rows in enumerate(self.trained):
            own[rows, fold] = True
        return own

    def shared_batch(self, batch_size: int, n_samples: int) -> int:
        """Size of the batches that all folds share, which have ``batch_size`` rows of a fold on average."""
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
        The share p of samples that are right.
    n_samples : int
        Their number N; the result for 0 is nan.
    """
    return float(np.sqrt(max(0.0, accuracy * (1 - accuracy)) / n_samples)) if n_samples else np.nan
