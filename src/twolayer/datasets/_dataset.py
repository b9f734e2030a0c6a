"""The type that every data set comes in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._namespace import HostArray
from .._texts import listed
from ..encoding import TableEncoder


class Split(NamedTuple):
    """Samples and their labels: a pair, so that it goes wherever ``(X, y)`` does.

    Parameters
    ----------
    X : numpy.ndarray, shape (N, D) or (N, height, width) or (N, height, width, channels)
        Features, of the dtype in which they are stored.
    y : numpy.ndarray, shape (N,), int64
        Class labels in [0, C).
    """

    X: HostArray
    y: HostArray

    def __repr__(self) -> str:
        return f"Split(X={self.X.shape} {self.X.dtype}, y={self.y.shape} {self.y.dtype})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split for training, validation and testing.

    Parameters
    ----------
    name : str
        What to call it: ``"digits"``.
    train : Split
        Samples to train on.
    validation, test : Split or None
        Samples to choose the best network by, and to judge it by at the end.
    classes : tuple of str
        Name of each class; class ``k`` of the labels is ``classes[k]``.
    image_shape : tuple of int, or None
        Shape of a sample that is an image, (height, width) or (height, width, channels).
    rows : mapping of str to numpy.ndarray, or None
        Which rows of the file's ``X``, or of the table, a split holds, (N,) int64, counted from 0, by the
        split's name. The samples of ``test`` are ``X[rows["test"]]``. A split that has arrays of its own
        in the file is not there; its rows are in their order.
    encoder : TableEncoder or None
        What made the features of a table's columns.
    sample_weight : mapping of str to numpy.ndarray, or None
        The weight of each sample, (N,) float64, by the split's name.
    test_ids : mapping of str to numpy.ndarray, or None
        Texts that name the samples of the test, (N,) str each, by the name of the column that they are from;
        of images "file".
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    classes: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    rows: Mapping[str, HostArray] | None = None
    encoder: TableEncoder | None = None
    sample_weight: Mapping[str, HostArray] | None = None
    test_ids: Mapping[str, HostArray] | None = None

    @property
    def n_features(self) -> int:
        """Number of features of a sample, D: the number of values in an image."""
        return math.prod(self.train.X.shape[1:])

    @property
    def n_classes(self) -> int:
        """Number of classes, C."""
        return len(self.classes)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train={self.train}, validation={self.validation}, test={self.test}, "
            f"n_classes={self.n_classes}, image_shape={self.image_shape})"
        )


def in_splits(parts: Mapping[str, Split]) -> dict[str, Any]:
    """Return the splits of a `Dataset` by their names, None for those that are not among the parts."""
    return {name: parts.get(name) for name in ("train", "validation", "test")}


def places_of(labels: Sequence[Any], classes: Sequence[Any], name: str, wanted: str) -> HostArray:
    """Return the place of each label among the classes, (N,) int64, or raise: ``wanted`` names these."""
    places = {one: k for k, one in enumerate(classes)}
    unknown = dict.fromkeys(label for label in labels if label not in places)
    if unknown:
        raise ValueError(f"{name} must hold labels of {wanted}; got a label of {listed(unknown)}")
    return np.asarray([places[label] for label in labels], dtype=np.int64)
