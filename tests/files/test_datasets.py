"""The class of data sets, and the digits."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from twolayer.datasets import Dataset, Split, load_digits


def dataset(**changes) -> Dataset:
    """A small data set, with these fields changed."""
    split = Split(np.full((6, 4, 5, 3), 77, np.uint8), np.full(6, 1, np.int64))
    fields = {
        "name": "mine",
        "train": split,
        "validation": split,
        "test": None,
        "classes": ("cat", "dog", "emu"),
        "image_shape": (4, 5, 3),
    }
    return Dataset(**fields | changes)


def test_a_data_set_has_sizes_and_its_splits_unpack():
    assert (dataset().n_features, dataset().n_classes) == (60, 3)
    X, y = dataset().train
    assert (X.shape, y.shape) == ((6, 4, 5, 3), (6,))


def test_repr_shows_shapes_and_dtypes_and_no_contents():
    assert repr(dataset()) == (
        "Dataset('mine', train=Split(X=(6, 4, 5, 3) uint8, y=(6,) int64), "
        "validation=Split(X=(6, 4, 5, 3) uint8, y=(6,) int64), test=None, n_classes=3, image_shape=(4, 5, 3))"
    )


def test_a_dataset_is_frozen_and_compared_by_identity():
    one, other = dataset(), dataset()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "other"
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_the_digits_have_the_documented_shapes_and_values():
    digits = load_digits()
    assert (digits.name, digits.image_shape, digits.n_features) == ("digits", (8, 8), 64)
    assert digits.classes == tuple("0123456789")
    for split, n in ((digits.train, 1097), (digits.validation, 300), (digits.test, 400)):
        assert (split.X.shape, split.X.dtype) == ((n, 8, 8), np.uint8)
        assert (split.y.shape, split.y.dtype) == ((n,), np.int64)
        assert (split.X.min(), split.X.max()) == (0, 16)
        assert set(split.y) == set(range(10))


def test_the_split_of_the_digits_never_changes():
    # The SHA-256 of the images and of the labels, as digits.txt lists them.
    digits = load_digits()
    splits = (digits.train, digits.validation, digits.test)
    X, y = (np.concatenate(arrays).astype(np.uint8) for arrays in zip(*splits, strict=True))
    assert hashlib.sha256(X.tobytes()).hexdigest() == (
        "41f1cde3d1230a38e792f9a5b7538d701dc4c6b5f65fa9e2628873d25280409c"
    )
    assert hashlib.sha256(y.tobytes()).hexdigest() == (
        "99c3fa75ee18cae97ff47da2ffc12fc2b86fb210c20b266cdf6a1fad9496e10b"
    )
    # The count of each digit on the UCI page of the set that these images are from.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_each_load_returns_new_arrays():
    first = load_digits()
    first.train.X[:] = 0
    assert load_digits().train.X.any()
