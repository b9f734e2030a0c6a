"""Confusion matrices of many classes, of which only the cells that are not zero are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .predictions import summary_rows

Counts = npt.NDArray[np.int64]


class Confusion(NamedTuple):
    """The cells of a confusion matrix that are not zero, row by row: at most one for each sample.

    Parameters
    ----------
    n_classes : int
    true, predicted : (M,) int64
        The row and the column of each cell.
    counts : (M,) int64
        How many samples of the true class were predicted as the other.
    """

    n_classes: int
    true: Counts
    predicted: Counts
    counts: Counts

    @classmethod
    def of_labels(cls, true: Counts, predicted: Counts, n_classes: int) -> Confusion:
        """Count how often each class was taken for each."""
        places, count = np.unique(true * n_classes + predicted, return_counts=True)
        return cls(n_classes, places // n_classes, places % n_classes, count.astype(np.int64))

    @classmethod
    def of_matrix(cls, counts: Counts) -> Confusion:
        """Take the cells of a matrix."""
        true, predicted = np.nonzero(counts)
        return cls(len(counts), true, predicted, counts[true, predicted])

    def matrix(self) -> Counts:
        """Return all cells, (C, C)."""
        counts = np.zeros((self.n_classes, self.n_classes), np.int64)
        counts[self.true, self.predicted] = self.counts
        return counts

    def cells(self) -> dict[str, Counts]:
        """Return the cells for results.json."""
        return {"true": self.true, "predicted": self.predicted, "counts": self.counts}

    @property
    def n_samples(self) -> int:
        """How many samples there are."""
        return int(self.counts.sum())

    @property
    def n_right(self) -> int:
        """How many of them were predicted correctly."""
        return int(self.counts[self.true == self.predicted].sum())

    @property
    def support(self) -> Counts:
        """How many samples each class has, (C,)."""
        return self._sums(self.true, self.counts)

    def wrong(self) -> Confusion:
        """Return the cells of the errors, the most frequent first."""
        wrong = np.flatnonzero(self.true != self.predicted)
        order = wrong[np.argsort(-self.counts[wrong], kind="stable")]
        return Confusion(self.n_classes, self.true[order], self.predicted[order], self.counts[order])

    def summary(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Return each class's precision, recall, F1 and support, as `classification_summary` does."""
        right = self.true == self.predicted
        hits = self._sums(self.true[right], self.counts[right])
        return summary_rows(hits, self._sums(self.predicted, self.counts), self.support, classes)

    def _sums(self, which: Counts, count: Counts) -> Counts:
        sums = np.zeros(self.n_classes, np.int64)
        np.add.at(sums, which, count)
        return sums
