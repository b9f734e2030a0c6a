"""Predictions against the truth: the confusion matrix, and each class's precision, recall and F1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


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
    counts = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def _labels(y: npt.ArrayLike, n_classes: int, name: str) -> npt.NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"`{name}` must be one-dimensional; got shape {labels.shape}")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"`{name}` must hold integers; got dtype {labels.dtype}")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise ValueError(f"`{name}` must hold class labels in [0, {n_classes}); got a label of {outside[0]}")
    return labels.astype(np.int64)


def classification_summary(confusion: npt.ArrayLike, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Give each class's precision, recall, F1 and support.

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
    ValueError
        If the counts are not square or do not fit the names.
    """
    counts = confusion_counts(confusion, classes)
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(classes):
        hits, predicted, support = (
            int(n) for n in (counts[index, index], counts[:, index].sum(), counts[index].sum())
        )
        rows.append(
            {
                "class": name,
                "precision": _ratio(hits, predicted),
                "recall": _ratio(hits, support),
                "f1": _ratio(2 * hits, predicted + support),
                "support": support,
            }
        )
    return rows


def confusion_counts(confusion: npt.ArrayLike, classes: Sequence[str]) -> npt.NDArray[Any]:
    """Give the counts as an array that has been checked against the classes.

    Raises
    ------
    ValueError
        If it is not of shape (C, C) for C classes.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"`confusion` must have a row and a column for each of the {len(classes)} classes; "
            f"got shape {counts.shape}"
        )
    return counts


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
