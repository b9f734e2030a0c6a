"""Data sets in ``.npz`` files, as ``numpy.savez`` writes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .._files import opened_npz
from .._namespace import HostArray
from .._texts import checked_classes, listed, printable
from .._validation import check_finite, check_integer
from ._dataset import Dataset, Split, in_splits, places_of
from .splitting import split_rows

_Path: TypeAlias = str | os.PathLike[str]

_SUFFIXES = {"train": "", "validation": "_validation", "test": "_test"}
_KEYS = tuple(f"{letter}{suffix}" for suffix in _SUFFIXES.values() for letter in "Xy")
# Code for messages that converts arrays to ones that can be read.
_CURES = {
    "X": "X.astype('float64')`, or for a table with text `pandas.get_dummies(frame).to_numpy(float)",
    "y": "y.astype(str)",
}
_TEXTS = " (`X.astype('float64')` converts numeric strings; encode other categories as one column each)"
_COLUMN = " (`y.ravel()` gives the column)"
_ONE_HOT = " (`y.argmax(axis=1)` converts one-hot rows to labels)"
_LABELS = {
    "f": " (`y.astype(int)` converts whole numbers to integers)",
    "S": " (`y.astype(str)` converts bytes to strings)",
}


def load_npz(
    path: str | os.PathLike[str],
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """Load a data set from an ``.npz`` file, as ``numpy.savez(path, X=X, y=y)`` writes it.

    The file contains

    - ``X``: numbers, (N, D), or images (N, height, width) or (N, height, width, channels) with 1 or 3
      channels;
    - ``y``: integers or strings, (N,), the label of each sample;
    - ``X_validation`` and ``y_validation``, ``X_test`` and ``y_test``, optional: the same for these splits;
    - ``classes``, optional: strings, (C,), the names of the classes. Integer labels are then indices of
      ``classes``. By default, the classes are the distinct labels in ``y``, in ascending order.

    A split that the file does not contain is drawn from ``X`` and ``y``, stratified by class. At least one
    sample of each class remains for training.

    Parameters
    ----------
    path : path
        The file.
    validation, test : float or int
        Share of the samples of ``X``, in [0, 1), or number of them, to draw for the validation and test sets.
        With 0, there is no such split unless the file contains it.
    seed : int
        Seed of the draw. The same seed draws the same samples with every version of NumPy.

    Returns
    -------
    Dataset
        ``X`` in the dtype of the file; ``y`` (N,) int64. ``image_shape`` is set if ``X`` contains images, and
        ``rows`` lists the rows of ``X`` in each split.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If an array has the wrong dtype: features that are not real numbers of at most 64 bits, labels that
        are neither integers nor strings, or arrays of objects, which are stored by pickle and never read,
        because unpickling a file can run any code in it.
    ValueError
        If the file is truncated or not an ``.npz`` file; if arrays are missing, have other names that begin
        with ``X_`` or ``y_``, or do not match each other; if there are no samples, fewer than two classes, a
        NaN or infinite feature, a label outside the classes, two classes with the same name, or a name with a
        control character, a line separator, a direction mark or a lone surrogate; if ``validation`` and
        ``test`` leave a class without a training sample.
    """
    seed = check_integer("seed", seed, least=0)
    splits, named = _read(path)
    if "train" not in splits:
        there = listed(f"{letter}{_SUFFIXES[name]}" for name in splits for letter in "Xy")
        raise ValueError(f"{path} must hold `X` and `y`; it holds {there}")

    classes, splits = _encoded(splits, named, path)
    whole = splits["train"]
    amounts = {"validation": validation, "test": test}
    rows = split_rows(whole.y, amounts, seed, given=splits, place=path)
    if len(rows) > 1:
        splits |= {name: Split(whole.X[chosen], whole.y[chosen]) for name, chosen in rows.items()}
    image_shape = whole.X.shape[1:]
    return Dataset(
        name=printable(Path(path).stem),
        **in_splits(splits),
        classes=classes,
        image_shape=image_shape if len(image_shape) > 1 else None,
        rows=rows,
    )


def load_labelled(path: _Path, classes: Sequence[str]) -> dict[str, Split]:
    """Load labelled samples for the evaluation of a network, whose classes are known already.

    Parameters
    ----------
    path : path
        An ``.npz`` file as for `load_npz`. It may contain only some of the classes, in another order, and
        only some of the splits: ``X_test`` and ``y_test`` are enough.
    classes : sequence of str
        The names of the network's classes.

    Returns
    -------
    dict of str to Split
        The splits in the file: ``"train"`` (from ``X``), ``"validation"``, ``"test"``. No samples are drawn.
        Labels are indices of ``classes``, matched by name, as strings. Integer labels are indices of the
        file's own ``classes`` if it has them; otherwise, if no class is named by an integer, they are indices
        of the argument ``classes``.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As for `load_npz`. ValueError also if a label is not among the classes.
    """
    splits, named = _read(path)
    return {
        name: Split(X, _matched(y, named, list(classes), f"y{_SUFFIXES[name]}", path))
        for name, (X, y) in splits.items()
    }


def _read(path: _Path) -> tuple[dict[str, Split], HostArray | None]:
    """Read the splits in a file with their original labels, and the names of the classes if it has them."""
    with opened_npz(path) as stored:
        _check_keys(list(stored), path)
        arrays = {
            key: stored[key].read(cure=_CURES.get(key.partition("_")[0]))
            for key in (*_KEYS, "classes")
            if key in stored
        }
    splits = {
        name: Split(arrays[f"X{suffix}"], arrays[f"y{suffix}"])
        for name, suffix in _SUFFIXES.items()
        if f"X{suffix}" in arrays
    }
    first, *_ = splits
    for name, split in splits.items():
        _check_pair(split, _SUFFIXES[name], path)
        wanted, came = splits[first].X.shape[1:], split.X.shape[1:]
        if came != wanted:
            raise ValueError(
                f"`X{_SUFFIXES[name]}` in {path} must hold samples of the shape of `X{_SUFFIXES[first]}`, "
                f"{wanted}; got {came}"
            )
    named = arrays.get("classes")
    if named is not None:
        if named.dtype.kind != "U":
            raise TypeError(f"`classes` in {path} must hold strings; got dtype {named.dtype}")
        if named.ndim != 1 or len(named) < 2:
            raise ValueError(
                f"`classes` in {path} must have shape (C,), a name for each of at least two classes; "
                f"got shape {named.shape}"
            )
        checked_classes(named.tolist(), len(named), name=f"`classes` in {path}")
    return splits, named


def _check_keys(found: list[str], path: _Path) -> None:
    there = listed(found)
    for X_key, y_key in zip(_KEYS[::2], _KEYS[1::2], strict=True):
        if (X_key in found) + (y_key in found) == 1:
            raise ValueError(f"{path} must hold `{X_key}` and `{y_key}`; it holds {there}")
    if not any(key in found for key in _KEYS):
        raise ValueError(
            f"{path} must hold `X` and `y`; it holds {there}; name them as in "
            f"numpy.savez({Path(path).name!r}, X=…, y=…)"
        )
    for key in found:
        # A split with a misspelt name would be ignored, and another one drawn in its place.
        if key.startswith(("X_", "y_")) and key not in _KEYS:
            raise ValueError(f"arrays in {path} must be named {', '.join(_KEYS)}, classes; got {key!r:.80}")


def _check_pair(split: Split, suffix: str, path: _Path) -> None:
    """Raise unless a split holds finite samples and a label for each."""
    X, y = split
    X_name, y_name = f"`X{suffix}` in {path}", f"`y{suffix}` in {path}"
    if X.dtype.kind not in "biuf" or X.dtype.itemsize > 8:
        hint = _TEXTS if X.dtype.kind in "US" else ""
        raise TypeError(f"{X_name} must hold real numbers of at most 64 bits; got dtype {X.dtype}{hint}")
    if X.ndim not in (2, 3) and not (X.ndim == 4 and X.shape[3] in (1, 3)):
        forms = "(N, D), (N, height, width) or (N, height, width, 1 or 3)"
        raise ValueError(f"{X_name} must have shape {forms}; got {X.shape}")
    if X.size == 0:
        raise ValueError(f"{X_name} must hold at least one sample and one feature; got shape {X.shape}")
    if y.shape != X.shape[:1]:
        hint = (_COLUMN if y.shape[1] == 1 else _ONE_HOT) if y.ndim == 2 and len(y) == len(X) else ""
        wanted = f"{X.shape[:1]}, a label for each sample"
        raise ValueError(f"{y_name} must have shape {wanted}; got {y.shape}{hint}")
    if y.dtype.kind not in "biuU":
        hint = _LABELS.get(y.dtype.kind, "")
        raise TypeError(f"{y_name} must hold integers or strings; got dtype {y.dtype}{hint}")
    check_finite(X, name=f"X{suffix}", file=path)


def _encoded(
    splits: dict[str, Split], named: HostArray | None, path: _Path
) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Return the names of the classes, and the splits with labels that are indices of the classes."""
    y = splits["train"].y
    values = np.unique(y)
    if len(values) < 2:
        raise ValueError(f"`y` in {path} must hold labels of at least two classes; got one class")
    if named is None:
        named = values.astype(str)
        checked_classes(named.tolist(), len(named), name=f"the labels in `y` in {path}")
    else:
        values = named if y.dtype.kind == "U" else np.arange(len(named))
    for name, split in splits.items():
        key = f"y{_SUFFIXES[name]}"
        if (split.y.dtype.kind == "U") != (y.dtype.kind == "U"):
            kind = "strings" if y.dtype.kind == "U" else "integers"
            raise TypeError(f"`{key}` in {path} must hold {kind}, as `y` does; got dtype {split.y.dtype}")
        places = places_of(split.y.tolist(), values.tolist(), f"`{key}` in {path}", "the classes")
        splits[name] = Split(split.X, places)
    return tuple(named.tolist()), splits


def _matched(
    labels: HostArray, named: HostArray | None, classes: list[str], key: str, path: _Path
) -> HostArray:
    """Return each label as an index of ``classes``; integers may be indices of the file's own classes."""
    name = f"`{key}` in {path}"
    if named is not None and labels.dtype.kind != "U":
        labels = named[places_of(labels.tolist(), range(len(named)), name, "the classes")]
    wanted = f"the classes {listed(classes)}"
    has_numbers = any(one.removeprefix("-").isdecimal() for one in classes)
    if labels.dtype.kind in "iu" and not has_numbers:
        wanted += f", or their indices in [0, {len(classes)})"
        return places_of(labels.tolist(), range(len(classes)), name, wanted)
    return places_of(labels.astype(str).tolist(), classes, name, wanted)
