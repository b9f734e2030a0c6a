"""Metrics of predictions: confusion matrices, precision, recall and F1, the Wilson interval, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._validation import check_integer, host_values

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
        return self._by_class(self.true, self.counts)

    def wrong(self) -> Confusion:
        """Return the cells of the errors, the most frequent first."""
        wrong = np.flatnonzero(self.true != self.predicted)
        order = wrong[np.argsort(-self.counts[wrong], kind="stable")]
        return Confusion(self.n_classes, self.true[order], self.predicted[order], self.counts[order])

    def summary(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Return each class's precision, recall, F1 and support, as `classification_summary` does."""
        hits = self._by_class(self.true, self.counts * (self.true == self.predicted))
        predicted = self._by_class(self.predicted, self.counts)
        columns = (hits.tolist(), predicted.tolist(), self.support.tolist())
        return [
            {
                "class": name,
                "precision": _ratio(n_hits, n_predicted),
                "recall": _ratio(n_hits, n_true),
                "f1": _ratio(2 * n_hits, n_predicted + n_true),
                "support": n_true,
            }
            for name, n_hits, n_predicted, n_true in zip(classes, *columns, strict=True)
        ]

    def _by_class(self, which: Counts, count: Counts) -> Counts:
        return np.bincount(which, weights=count, minlength=self.n_classes).astype(np.int64)


def confusion_matrix(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, n_classes: int) -> npt.NDArray[np.int64]:
    """Count how often each class was taken for each.

    Parameters
    ----------
    y_true, y_pred : array_like of int, shape (N,)
        The classes, and the predicted classes, in [0, n_classes).
    n_classes : int
        The number of classes, C.

    Returns
    -------
    ndarray of int64, shape (C, C)
        Row i, column j: the number of samples of class i that were predicted as class j.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If they are of different lengths or out of range.
    """
    true, predicted = (_labels(y, n_classes, name) for y, name in ((y_true, "y_true"), (y_pred, "y_pred")))
    if true.shape != predicted.shape:
        raise ValueError(
            f"`y_pred` must have one label for each of `y_true`, {true.size}; got {predicted.size}"
        )
    return Confusion.of_labels(true, predicted, n_classes).matrix()


def _labels(y: npt.ArrayLike, n_classes: int, name: str) -> npt.NDArray[np.int64]:
    labels = host_values(name, y)
    if labels.ndim != 1:
        raise ValueError(f"`{name}` must be one-dimensional; got shape {labels.shape}")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"`{name}` must hold integers; got dtype {labels.dtype}")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise ValueError(f"`{name}` must hold class labels in [0, {n_classes}); got a label of {outside[0]}")
    return labels.astype(np.int64)


def classification_summary(confusion: npt.ArrayLike, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return each class's precision, recall, F1 and support.

    With TP the samples of the class that were predicted as it, FP those of others that were, and FN those of
    the class that were not: precision = TP / (TP + FP), recall = TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN), support = TP + FN.

    Parameters
    ----------
    confusion : array_like of int, shape (C, C)
        As `confusion_matrix` gives it.
    classes : sequence of str, length C
        The classes' names.

    Returns
    -------
    list of dict
        For each class ``class``, ``precision``, ``recall``, ``f1`` and ``support``. A ratio whose
        denominator is zero is nan.

    Raises
    ------
    TypeError
        If the counts are a masked array, or another one that is not plain.
    ValueError
        If the counts are not square or do not fit the names.
    """
    return Confusion.of_matrix(confusion_counts(confusion, classes)).summary(classes)


def wilson_interval(n_right: int, n_samples: int) -> tuple[float, float]:
    """Return the 95 % interval for the true accuracy, given the samples that were judged.

    With p = n_right / n_samples and z the 0.975 quantile of the standard normal distribution, by E. B. Wilson
    (1927, doi:10.1080/01621459.1927.10502953):

        (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)

    Parameters
    ----------
    n_right, n_samples : int
        How many samples are right, of how many, at least one.

    Returns
    -------
    tuple of float
        The lower and the upper end, in [0, 1].

    Raises
    ------
    ValueError
        If ``n_right`` is not in [0, ``n_samples``].
    """
    if not 0 <= n_right <= n_samples:
        raise ValueError(f"`n_right` must be in [0, {n_samples}]; got {n_right}")
    z = NormalDist().inv_cdf(0.975)
    share, seen = n_right / n_samples, z * z / n_samples
    centre = (share + seen / 2) / (1 + seen)
    half = z * math.sqrt(share * (1 - share) / n_samples + seen / (4 * n_samples)) / (1 + seen)
    # At the ends the two terms are equal but for rounding.
    low = 0.0 if n_right == 0 else max(0.0, centre - half)
    return low, 1.0 if n_right == n_samples else min(1.0, centre + half)


def most_wrong(y: npt.ArrayLike, probs: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the samples whose most probable class is not theirs, the most wrong first.

    Parameters
    ----------
    y : array_like of int, shape (N,)
        The classes, in [0, C).
    probs : array_like of float, shape (N, C)
        The classes' predicted probabilities.

    Returns
    -------
    ndarray of int64, shape (M,)
        Their places, by the probability of the true class, the lowest first; of equal ones the earlier first.

    Raises
    ------
    TypeError, ValueError
        As `calibration_bins` does.
    """
    true, given = checked_predictions(y, probs)
    wrong = np.flatnonzero(given.argmax(axis=1) != true)
    return wrong[np.argsort(given[wrong, true[wrong]], kind="stable")].astype(np.int64)


def confusion_counts(confusion: npt.ArrayLike, classes: Sequence[str]) -> npt.NDArray[Any]:
    """Return the counts as an array that has been checked against the classes.

    Raises
    ------
    ValueError
        If it is not of shape (C, C) for C classes.
    """
    counts = host_values("confusion", confusion)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"`confusion` must have a row and a column for each of the {len(classes)} classes; "
            f"got shape {counts.shape}"
        )
    return counts


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


class CalibrationBins(NamedTuple):
    """Samples by their confidence, the probability of the predicted class.

    Parameters
    ----------
    edges : (n_bins + 1,) float64
        Bin m holds confidences in (edges[m], edges[m + 1]].
    n_samples : (n_bins,) int64
        How many samples are in each bin.
    confidence, accuracy : (n_bins,) float64
        The mean confidence of a bin's samples, and the share of them that was predicted rightly; nan where
        there is none.
    """

    edges: npt.NDArray[np.float64]
    n_samples: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """Σ_m n_m / N · abs(accuracy_m − confidence_m), over the bins that have samples."""
        filled = self.n_samples > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(gaps @ self.n_samples[filled] / self.n_samples.sum())


def calibration_bins(y: npt.ArrayLike, probs: npt.ArrayLike, n_bins: int = 10) -> CalibrationBins:
    """Sort samples into bins of equal width by their confidence, the probability of the predicted class.

    Parameters
    ----------
    y : array_like of int, shape (N,)
        The classes, in [0, C).
    probs : array_like of float, shape (N, C)
        The classes' predicted probabilities. The largest is the prediction, the first of several.
    n_bins : int
        The number of bins, M; the m-th of them, from 0, is (m / M, (m + 1) / M].

    Returns
    -------
    CalibrationBins

    Raises
    ------
    TypeError
        If the labels are not integers or the probabilities not floating.
    ValueError
        If they do not fit each other, are out of range or none, or ``n_bins`` is below 1.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    https://arxiv.org/abs/1706.04599
    """
    n_bins = check_integer("n_bins", n_bins, least=1)
    true, given = checked_predictions(y, probs)
    confidence = np.minimum(given.max(axis=1), 1.0)
    hits = given.argmax(axis=1) == true
    edges = np.arange(n_bins + 1) / n_bins
    index = np.searchsorted(edges[1:], confidence)
    count = np.bincount(index, minlength=n_bins)
    sums = (np.bincount(index, weights=each, minlength=n_bins) for each in (confidence, hits))
    means = (np.where(count > 0, total / np.maximum(count, 1), math.nan) for total in sums)
    return CalibrationBins(edges, count.astype(np.int64), *means)


def expected_calibration_error(y: npt.ArrayLike, probs: npt.ArrayLike, n_bins: int = 10) -> float:
    """Return how far confidences are from accuracies: ECE = Σ_m n_m / N · abs(accuracy_m − confidence_m).

    Parameters
    ----------
    y, probs, n_bins
        As for `calibration_bins`, whose bins are summed.

    Returns
    -------
    float
        In [0, 1]; 0 where in every bin the mean confidence is the accuracy.

    Raises
    ------
    TypeError, ValueError
        As `calibration_bins` does.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    https://arxiv.org/abs/1706.04599
    """
    return calibration_bins(y, probs, n_bins).expected_calibration_error


def checked_predictions(
    y: npt.ArrayLike, probs: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return labels and class probabilities that have been checked against each other.

    Raises
    ------
    TypeError
        If the labels are not integers or the probabilities not floating.
    ValueError
        If the probabilities are not of shape (N, C) and such, or the labels not (N,) in [0, C).
    """
    given = host_values("probs", probs)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"`probs` must have shape (N, C), of at least one sample; got {given.shape}")
    if not np.issubdtype(given.dtype, np.floating):
        raise TypeError(f"`probs` must have a real floating dtype; got {given.dtype}")
    given = given.astype(np.float64)
    # Room for probabilities that were rounded, to half precision at the coarsest.
    lowest, sums = given.min(), given.sum(axis=1)
    worst = sums[np.argmax(np.abs(sums - 1))]
    if not (lowest >= 0 and abs(worst - 1) <= 1e-3):
        raise ValueError(
            "`probs` must hold class probabilities of at least 0 that sum to 1 for each sample; "
            f"got a {f'probability of {lowest:.3g}' if lowest < 0 else f'sum of {worst:.3g}'}"
        )
    true = _labels(y, given.shape[1], "y")
    if true.shape != given.shape[:1]:
        raise ValueError(f"`y` must have one label for each row of `probs`, {len(given)}; got {true.size}")
    return true, given
