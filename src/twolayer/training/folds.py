"""Folds of cross-validation: the rows on which networks of one stack train, and by which they are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
