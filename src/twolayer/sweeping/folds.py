"""The division of samples into the folds of cross-validation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from .._namespace import Array, HostArray, to_host
from .._streams import Stream, stream
from .._validation import check_integer
from ..training.folds import Folds


def folds_of(folds: Any, y: Array, seed: int) -> Folds:
    """Return the folds for the argument of `sweep`, a number of folds or pairs of row arrays."""
    n_samples = int(y.shape[0])
    if not isinstance(folds, Iterable):
        n_folds = check_integer("folds", folds, least=2)
        if n_folds > n_samples:
            raise ValueError(f"`folds` must be at most the number of samples, {n_samples}; got {n_folds}")
        return _stratified(y, n_folds, seed)
    pairs = list(folds)
    for pair in pairs:
        if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
            came = f"an item that is not a pair ({type(pair).__name__})"
            raise TypeError(f"`folds` must be an int, or pairs of arrays of rows; got {came}")
    if len(pairs) < 2:
        raise ValueError(f"`folds` must hold at least two pairs of row arrays; got {len(pairs)}")
    trained, held_out = (tuple(_rows(rows, n_samples) for rows in each) for each in zip(*pairs, strict=True))
    for fold, (own, others) in enumerate(zip(trained, held_out, strict=True)):
        both = np.intersect1d(own, others)
        if both.size:
            raise ValueError(
                f"`folds` must hold out rows that are not trained on; got row {both[0]} on both sides of "
                f"fold {fold} (counted from 0)"
            )
    return Folds(trained, held_out)


def check_weights_of_folds(sample_weight: Array | None, folds: Folds) -> None:
    """Raise unless each fold has a weight above 0 among its training rows and among its held-out rows."""
    if sample_weight is None:
        return
    host = to_host(sample_weight)
    for fold, parts in enumerate(zip(folds.trained, folds.held_out, strict=True)):
        for rows, purpose in zip(parts, ("to train with", "to be judged by"), strict=True):
            if not host[rows].any():
                raise ValueError(
                    f"`sample_weight` must leave each fold a weight above 0 {purpose}; got 0 for all of fold "
                    f"{fold} (counted from 0)"
                )


def _stratified(y: Array, n_folds: int, seed: int) -> Folds:
    """Deal the rows of each class to the folds in random order, starting where the previous class ended."""
    labels = to_host(y)
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    order = stream(seed, Stream.FOLDS).permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    fold[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % n_folds
    each = range(n_folds)
    return Folds(
        tuple(np.flatnonzero(fold != i) for i in each), tuple(np.flatnonzero(fold == i) for i in each)
    )


def _rows(rows: Any, n_samples: int) -> HostArray:
    """Return rows as sorted int64; raise unless they are distinct row numbers of the samples."""

    def refuse(came: str) -> NoReturn:
        raise ValueError(
            f"`folds` must hold arrays of different row numbers in [0, {n_samples}), at least one; got {came}"
        )

    try:
        host = to_host(rows) if hasattr(rows, "dtype") else np.asarray(rows)
    except ValueError:
        refuse("lists of different lengths")
    if host.ndim != 1 or not host.size:
        refuse(f"shape {host.shape}")
    if host.dtype.kind not in "iu":
        raise TypeError(f"`folds` must hold arrays of integers; got {host.dtype}")
    found: HostArray = np.unique(host).astype(np.int64)
    if found[0] < 0 or found[-1] >= n_samples:
        refuse(f"row {found[0] if found[0] < 0 else found[-1]}")
    if len(found) < len(host):
        refuse("a row that comes twice")
    return found
