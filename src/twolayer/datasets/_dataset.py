"""The types of data sets and their splits."""

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
    """Samples and their labels, a pair that can be used wherever ``(X, y)`` can.

    Parameters
    ----------
    X : numpy.ndarray, shape (N, D) or (N, height, width) or (N, height, width, channels)
        Samples, in the dtype in which they are stored.
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
        Name of the data set, for example ``"digits"``.
    train : Split
        Samples to train on.
    validation, test : Split or None
        Samples to choose the best network, and samples for the final evaluation.
    classes : tuple of str
        Name of each class; class ``k`` of the labels is ``classes[k]``.
    image_shape : tuple of int, or None
        Shape of a sample that is an image, (height, width) or (height, width, channels).
    rows : mapping of str to numpy.ndarray, or None
        Rows of the source in each split, (N,) int64, counted from 0, by the split's name: rows of the file's
        ``X``, of the table, or of the training images in the order of their paths. For example, the samples
        of ``test`` are ``X[rows["test"]]``. Splits that the source stores separately are not included.
    encoder : TableEncoder or None
        Encoder that computed the features from a table's columns.
    sample_weight : mapping of str to numpy.ndarray, or None
        Weight of each sample, (N,) float64, by the split's name.
    test_ids : mapping of str to numpy.ndarray, or None
        Strings that identify the test samples, (N,) str each, by the name of their column. For images, the
        name is "file", and the strings are paths in the folder.
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
        """Number of features of a sample, D; for images, the number of values in an image."""
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
    """Return the splits of a `Dataset` by name, with None for a missing split."""
    return {name: parts.get(name) for name in ("train", "validation", "test")}


def places_of(labels: Sequence[Any], classes: Sequence[Any], name: str, wanted: str) -> HostArray:
    """Return the index of each label in the classes, (N,) int64, or raise; ``wanted`` is for the message."""
    places = {one: k for k, one in enumerate(classes)}
    unknown = dict.fromkeys(label for label in labels if label not in places)
    if unknown:
        raise ValueError(f"{name} must hold labels of {wanted}; got a label of {listed(unknown)}")
    return np.asarray([places[label] for label in labels], dtype=np.int64)
