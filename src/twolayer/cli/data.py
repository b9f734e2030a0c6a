"""The data set that the user names, and how it comes to the device."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_finite
from .._namespace import Array, HostArray, has_float
from ..datasets import Dataset, Split, load_cifar10, load_digits, load_npz
from ..preprocessing import Preprocessing, lost_by_rounding
from .console import Console
from .libraries import Library

_NAMED = ("digits", "cifar10")
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".xlsx", ".xls")
COMMAS = "a sweep takes several values of an option with commas between, without spaces: 0.1,0.2"
COUNTS = ("n_train", "n_validation", "n_test")
_BYTES = 255  # white, in an image of bytes
_WHITE: dict[str, float] = {"digits": 16, "cifar10": _BYTES}


def kind_of(dataset: str) -> str:
    """Return which defaults a data set has: digits, cifar10 or npz.

    Raises
    ------
    ValueError
        If the name is neither that of a data set nor of an .npz file.
    """
    if dataset in _NAMED:
        return dataset
    if Path(dataset).suffix.lower() == ".npz":
        return "npz"
    if Path(dataset).suffix.lower() in TABLES:
        raise ValueError(
            f"`DATASET` must be digits, cifar10 or the path of an .npz file; got {dataset!r}; of a table, "
            f"pandas makes one: numpy.savez({file_stem(dataset) + '.npz'!r}, "
            "X=frame.drop(columns='label').to_numpy(), y=frame['label'].to_numpy(str))"
        )
    near = difflib.get_close_matches(dataset.lower(), _NAMED, n=1)
    if Path(f"{dataset}.npz").is_file():
        near = [f"{dataset}.npz"]
    elif is_number(dataset):
        raise ValueError(
            f"`DATASET` must be digits, cifar10 or the path of an .npz file; got {dataset!r}; {COMMAS}"
        )
    elif dataset.startswith("cifar-10-"):
        near = [f"cifar10 --data {dataset}"]
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"`DATASET` must be digits, cifar10 or the path of an .npz file; got {dataset!r}{hint}")


def is_number(text: str) -> bool:
    """Return whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def file_name(dataset: str) -> str:
    """Return a data set's name; of the path of a file its last part."""
    return Path(dataset).name


def file_stem(dataset: str) -> str:
    """Return the same without the suffix."""
    return Path(dataset).stem


def load_data(
    dataset: str, folder: str | None, url: str | None, settings: Mapping[str, Any], console: Console
) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    dataset : str
        digits, cifar10, or the path of an .npz file.
    folder : str, optional
        Where CIFAR-10 is; without it, it is downloaded.
    url : str, optional
        Where from, in place of its home.
    settings : mapping
        ``n_train``, ``n_validation`` and ``n_test`` of CIFAR-10.
    console : Console
        Shows how far a download is.
    """
    kind = kind_of(dataset)
    check_place(dataset, folder, url)
    if kind == "digits":
        return load_digits()
    if kind == "npz":
        return load_npz(dataset)
    counts = {name: settings[name] for name in COUNTS if name in settings}
    if folder is not None:
        return load_cifar10(folder, url=url, **counts)
    with console.download("CIFAR-10") as progress:
        return load_cifar10(url=url, progress=progress, **counts)


def check_place(dataset: str, folder: str | None, url: str | None) -> None:
    """Raise if it is said where CIFAR-10 is, but the data are others."""
    for option, value in (("--data", folder), ("--url", url)):
        if value is not None and kind_of(dataset) != "cifar10":
            raise ValueError(f"`{option}` must be left out but for cifar10; got it with {dataset}")


def check_splits(splits: Mapping[str, Split], rows: Mapping[str, HostArray], path: str, dtype: Any) -> None:
    """Raise if a sample has a value beyond the dtype's range; the error gives its place in the user's file.

    ``rows`` has each split's rows of the file's `X`; splits that it lacks are arrays of their own there.
    """
    for name, split in splits.items():
        own = name in rows or name == "train"
        array = "X" if own else f"X_{name}"
        check_finite(split.X, name=array, file=path, dtype=dtype, rows_in_file=rows.get(name))


class Prepared(NamedTuple):
    """The samples of a training, on the device, and what is left to be done to each of their batches."""

    X: Array
    y: Array
    validation: tuple[Array, Array] | None
    preprocessing: Preprocessing | None


def prepare(dataset: Dataset, preprocessing: Preprocessing, library: Library, *, augmented: bool) -> Prepared:
    """Copy the training and validation samples to the device.

    They are preprocessed once, unless each batch is augmented before: then they stay as they are.
    """
    lost = lost_by_rounding(preprocessing, library.dtype)
    if augmented and lost is not None and not has_float("float64", xp=library.xp, device=library.device):
        raise ValueError(f"`--dtype` must be float64 where samples so far from 0 are augmented: {lost}")

    def moved(split: Split) -> tuple[Array, Array]:
        X = raw(split.X) if augmented else preprocessed(split.X)
        return X, labels_on(split.y, library)

    def raw(X: HostArray) -> Array:
        return raw_on(X, library) if lost is None else library.put(X.astype(np.float64))

    def preprocessed(X: HostArray) -> Array:
        return library.put(preprocessing.apply(X, dtype=library.dtype))

    X, y = moved(dataset.train)
    validation = None if dataset.validation is None else moved(dataset.validation)
    return Prepared(X, y, validation, preprocessing if augmented else None)


def raw_on(X: HostArray, library: Library) -> Array:
    """Copy samples as they are to the device; bytes stay bytes, which every library has."""
    return library.put(X if X.dtype == np.uint8 else X.astype(library.dtype))


def labels_on(y: HostArray, library: Library) -> Array:
    """Copy labels to the device, as an integer type that every library has."""
    return library.put(y.astype(np.int32))


def fingerprint(dataset: Dataset) -> str:
    """Return a number that tells these samples, their division and their classes from others."""
    digest = hashlib.sha256()
    digest.update(json.dumps(dataset.classes).encode())
    for name in ("train", "validation", "test"):
        split = getattr(dataset, name)
        digest.update(name.encode())
        for array in () if split is None else split:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def white(dataset: Dataset, name: str) -> float | None:
    """Return which value of a pixel is white; None where that is not known, or samples are no images."""
    if kind_of(name) in _WHITE:
        return _WHITE[name]
    X = dataset.train.X
    if dataset.image_shape is None:
        return None
    if X.dtype == np.uint8:
        return _BYTES
    return 1.0 if X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 1 else None


def mean_pixel(dataset: Dataset) -> float | None:
    """Return the mean over all training images and pixels; None where samples are no images."""
    return None if dataset.image_shape is None else float(dataset.train.X.mean(dtype=np.float64))


def describe(dataset: Dataset) -> str:
    """Say in a line what there is."""
    sizes = [
        f"{len(split.y):,} {name}"
        for name, split in (
            ("training", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
        if split is not None
    ]
    shape = "×".join(map(str, dataset.image_shape)) + " pixels" if dataset.image_shape else None
    return (
        f"{dataset.name}: {', '.join(sizes)} samples; "
        f"{shape or f'{dataset.n_features} features'}, {dataset.n_classes} classes"
    )
