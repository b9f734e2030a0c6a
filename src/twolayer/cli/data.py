"""Data sets that the user names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._namespace import HostArray
from .._texts import did_you_mean
from .._validation import check_finite
from ..datasets import Dataset, Split, load_cifar10, load_digits, load_npz
from .console import Console

_NAMED = ("digits", "cifar10")
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".xlsx", ".xls")
COMMAS = "a sweep takes several values of an option with commas between, without spaces: 0.1,0.2"
SPLITS = {"train": "training", "validation": "validation", "test": "test"}  # as adjectives
COUNTS = ("n_train", "n_validation", "n_test")


def kind_of(dataset: str) -> str:
    """Return the kind of a data set, which its defaults depend on: digits, cifar10 or npz.

    Raises
    ------
    ValueError
        If the name is neither that of a data set nor of an .npz file.
    """
    suffix = Path(dataset).suffix.lower()
    if dataset in _NAMED:
        return dataset
    if suffix == ".npz":
        return "npz"
    hint = did_you_mean(dataset.lower(), _NAMED)
    if suffix in TABLES:
        hint = (
            f"; of a table, pandas makes one: numpy.savez({Path(dataset).stem + '.npz'!r}, "
            "X=frame.drop(columns='label').to_numpy(), y=frame['label'].to_numpy(str))"
        )
    elif Path(f"{dataset}.npz").is_file():
        hint = f"; did you mean {dataset}.npz?"
    elif is_number(dataset):
        hint = f"; {COMMAS}"
    elif dataset.startswith("cifar-10-"):
        hint = f"; did you mean cifar10 --data {dataset}?"
    raise ValueError(f"`DATASET` must be digits, cifar10 or the path of an .npz file; got {dataset!r}{hint}")


def is_number(text: str) -> bool:
    """Return whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def load_data(
    dataset: str, folder: str | None, url: str | None, settings: Mapping[str, Any], console: Console
) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    dataset : str
        digits, cifar10, or the path of an .npz file.
    folder : str, optional
        The folder of CIFAR-10; without it, CIFAR-10 is downloaded.
    url : str, optional
        The address to download it from, in place of its home.
    settings : mapping
        ``n_train``, ``n_validation`` and ``n_test`` of CIFAR-10.
    console : Console
        The console that shows a download.
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
    """Raise if a place of CIFAR-10 is given for other data."""
    for option, value in (("--data", folder), ("--url", url)):
        if value is not None and dataset != "cifar10":
            raise ValueError(f"`{option}` must be left out but for cifar10; got it with {dataset}")


def splits_of(dataset: Dataset) -> dict[str, Split]:
    """Return the splits that a data set has, by their names."""
    found = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in found.items() if split is not None}


def check_splits(splits: Mapping[str, Split], rows: Mapping[str, HostArray], path: str, dtype: Any) -> None:
    """Raise if a sample has a value beyond the dtype's range; the error gives its place in the user's file.

    ``rows`` has each split's rows of the file's `X`; splits that it lacks are arrays of their own there.
    """
    for name, split in splits.items():
        own = name in rows or name == "train"
        array = "X" if own else f"X_{name}"
        check_finite(split.X, name=array, file=path, dtype=dtype, rows_in_file=rows.get(name))


def fingerprint(dataset: Dataset) -> str:
    """Return a hash of the samples, their splits and their classes."""
    digest = hashlib.sha256()
    digest.update(json.dumps(dataset.classes).encode())
    splits = splits_of(dataset)
    for name in SPLITS:
        digest.update(name.encode())
        for array in splits.get(name, ()):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def brightness(dataset: Dataset, name: str) -> dict[str, float | None]:
    """Return the value of a white pixel and the mean value; None if unknown, or if samples are no images."""
    X = dataset.train.X
    white: float | None = None
    if dataset.image_shape is None:
        return {"white": None, "mean_pixel": None}
    if name == "digits":
        white = 16
    elif X.dtype == np.uint8:
        white = 255
    elif X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 1:
        white = 1.0
    return {"white": white, "mean_pixel": float(X.mean(dtype=np.float64))}


def describe(dataset: Dataset) -> str:
    """Return a line with the sizes of a data set."""
    sizes = [f"{len(split.y):,} {SPLITS[name]}" for name, split in splits_of(dataset).items()]
    shape = "×".join(map(str, dataset.image_shape)) + " pixels" if dataset.image_shape else None
    return (
        f"{dataset.name}: {', '.join(sizes)} samples; "
        f"{shape or f'{dataset.n_features} features'}, {dataset.n_classes} classes"
    )
