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
    """The non-zero cells of a confusion matrix, row by row.

    Parameters
    ----------
    n_classes : int
    true, predicted : (M,) int64
        The row and the column of each cell.
    counts : (M,) int64
        Number of samples of the true class that were predicted as the other class.
    """

    n_classes: int
    true: Counts
    predicted: Counts
    counts: Counts

    @classmethod
    def of_labels(cls, true: Counts, predicted: Counts, n_classes: int) -> Confusion:
        """Count the samples of each pair of true and predicted class."""
        places, count = np.unique(true * n_classes + predicted, return_counts=True)
        return cls(n_classes, places // n_classes, places % n_classes, count.astype(np.int64))

    @classmethod
    def of_matrix(cls, counts: Counts) -> Confusion:
        """Return the non-zero cells of a matrix."""
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
        """Number of samples."""
        return int(self.counts.sum())

    @property
    def n_right(self) -> int:
        """Number of samples that were predicted correctly."""
        return int(self.counts[self.true == self.predicted].sum())

    @property
    def support(self) -> Counts:
        """Number of samples of each class, (C,)."""
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
    """Count the samples of each pair of true and predicted class.

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
        If they are not one-dimensional, have different lengths, or are out of range.
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

    TP is the number of samples of the class that were predicted as the class. FP is the number of samples of
    other classes that were predicted as the class. FN is the number of samples of the class that were
    predicted as other classes. Then precision = TP / (TP + FP), recall = TP / (TP + FN),
    F1 = 2 TP / (2 TP + FP + FN), and support = TP + FN.

    Parameters
    ----------
    confusion : array_like of int, shape (C, C)
        As `confusion_matrix` returns it.
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
        If the counts are more than an array of numbers, for example masked or sparse.
    ValueError
        If the counts are not square or do not fit the names.
    """
    return Confusion.of_matrix(confusion_counts(confusion, classes)).summary(classes)


def wilson_interval(n_right: int, n_samples: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of an accuracy.

    With p = n_right / n_samples, and z the 0.975 quantile of the standard normal distribution, it is (E. B.
    Wilson 1927, doi:10.1080/01621459.1927.10502953)

        (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)

    Parameters
    ----------
    n_right, n_samples : int
        Number of correct predictions, and number of samples, at least 1.

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
    # At 0 and `n_samples` the two terms are equal, apart from rounding.
    low = 0.0 if n_right == 0 else max(0.0, centre - half)
    return low, 1.0 if n_right == n_samples else min(1.0, centre + half)


def most_wrong(y: npt.ArrayLike, probs: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the samples that are predicted wrongly, in order of the probability of their true class.

    Parameters
    ----------
    y : array_like of int, shape (N,)
        The classes, in [0, C).
    probs : array_like of float, shape (N, C)
        The classes' predicted probabilities.

    Returns
    -------
    ndarray of int64, shape (M,)
        Indices of the samples, the lowest probability first. Samples of equal probability keep their order.

    Raises
    ------
    TypeError, ValueError
        As `calibration_bins` does.
    """
    true, given = checked_predictions(y, probs)
    wrong = np.flatnonzero(given.argmax(axis=1) != true)
    return wrong[np.argsort(given[wrong, true[wrong]], kind="stable")].astype(np.int64)


def area_under_roc(y: Counts, scores: npt.NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of two classes; both must occur.

    It is the probability that a sample of class 1 has a higher score than a sample of class 0. Equal scores
    count half. The formula is that of the Mann-Whitney U statistic, from mean ranks.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    n_1 = int(y.sum())
    return float((ranks[y == 1].sum() - n_1 * (n_1 + 1) / 2) / (n_1 * (len(y) - n_1)))


def confusion_counts(confusion: npt.ArrayLike, classes: Sequence[str]) -> npt.NDArray[Any]:
    """Return the counts as an array, after a check against the classes.

    Raises
    ------
    ValueError
        If the shape is not (C, C) for C classes.
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
        Number of samples in each bin.
    confidence, accuracy : (n_bins,) float64
        Mean confidence, and share of correct predictions, of the samples in each bin; nan for an empty bin.
    """

    edges: npt.NDArray[np.float64]
    n_samples: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """Σ_m n_m / N · abs(accuracy_m − confidence_m) over the bins that are not empty."""
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
        The classes' predicted probabilities. The class with the largest is the prediction; if several are
        equal, the first of them.
    n_bins : int
        The number of bins, M. Bin m, counted from 0, is (m / M, (m + 1) / M].

    Returns
    -------
    CalibrationBins

    Raises
    ------
    TypeError
        If the labels or ``n_bins`` are not integers, or the probabilities are not floating.
    ValueError
        If the labels or probabilities are out of range, are empty, or do not fit each other; or if ``n_bins``
        is below 1.

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
    """Return the expected calibration error, Σ_m n_m / N · abs(accuracy_m − confidence_m).

    Parameters
    ----------
    y, probs, n_bins
        As for `calibration_bins`. The sum is over its bins.

    Returns
    -------
    float
        In [0, 1]. It is 0 if the mean confidence is the accuracy in every bin.

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
    """Return labels and class probabilities after a check of both.

    Raises
    ------
    TypeError
        If the labels are not integers, or the probabilities are not floating.
    ValueError
        If the probabilities do not have shape (N, C), or are below 0, or do not sum to 1 for each sample; or
        if the labels do not have shape (N,), or are not in [0, C).
    """
    given = host_values("probs", probs)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"`probs` must have shape (N, C), of at least one sample; got {given.shape}")
    if not np.issubdtype(given.dtype, np.floating):
        raise TypeError(f"`probs` must have a real floating dtype; got {given.dtype}")
    given = given.astype(np.float64)
    # The tolerance allows for probabilities that were rounded to half precision.
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
