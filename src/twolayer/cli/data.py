"""Data sets by their names on the command line: kinds, loading and checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._namespace import HostArray
from .._texts import did_you_mean, is_numeric, listed, size_in_words
from .._validation import check_finite
from ..datasets import Dataset, Split, load_cifar10, load_digits, load_idx, load_images, load_npz, load_table
from ..datasets.cifar10 import is_cifar10
from ..datasets.idx import is_idx_folder
from ..datasets.table_files import SUFFIXES
from ..settings import SETTINGS, of_data
from .console import Console

_OTHER_TABLES = (".txt", ".dat", ".feather", ".arrow", ".xlsx", ".xls", ".ods")
_NAMED = ("digits", "cifar10")
STANDARD_INPUT = "-"
COMMAS = "to give a sweep several values, separate them with commas, without spaces: 0.1,0.2"
SPLITS = {"train": "training", "validation": "validation", "test": "test"}  # as adjectives
COUNTS = ("n_train", "n_validation", "n_test")
_WORDS = {
    "digits": "digits",
    "cifar10": "cifar10",
    "npz": ".npz files",
    "table": "tables",
    "images": "folders of images",
    "idx": "IDX files",
}


def is_path(dataset: str) -> bool:
    """Return whether the name of a data set is the path of a file or folder."""
    return dataset not in (*_NAMED, STANDARD_INPUT)


def is_table(path: str) -> bool:
    """Return whether a file is a table, by its suffix; standard input counts as a table."""
    return path == STANDARD_INPUT or path.lower().endswith(SUFFIXES)


def kind_of(dataset: str) -> str:
    """Return the kind of a data set, which its settings and defaults depend on.

    Returns
    -------
    "digits", "cifar10", "npz", "table", "images" or "idx"
        The kind.

    Raises
    ------
    ValueError
        If the name is neither that of a data set nor of a file or folder that may contain one.
    """
    if dataset in _NAMED:
        return dataset
    if dataset.lower().endswith(".npz"):
        return "npz"
    if is_table(dataset):
        return "table"
    if Path(dataset).is_dir() and not is_cifar10(Path(dataset)):
        return "idx" if is_idx_folder(Path(dataset)) else "images"
    hint = did_you_mean(dataset.lower(), _NAMED)
    with_suffixes = (f"{dataset}{suffix}" for suffix in (".npz", *SUFFIXES))
    named_so = [name for name in with_suffixes if Path(name).is_file()]
    if Path(dataset).suffix.lower() in _OTHER_TABLES:
        hint = "; save the table as a .csv or .parquet file"
    elif named_so:
        hint = f"; did you mean {named_so[0]}?"
    elif all(map(is_numeric, dataset.split(","))):
        hint = f"; {COMMAS}"
    elif dataset.startswith("cifar-10-") or Path(dataset).is_dir():
        hint = f"; did you mean cifar10 --data {dataset}?"
    elif not hint and not Path(dataset).exists():
        hint = f", which does not exist{similar_file(Path(dataset))}"
    raise ValueError(
        "`DATASET` must be digits, cifar10, the path of a .csv, .tsv, .parquet or .npz file, or a folder of "
        f"images or IDX files; got {dataset!r}{hint}"
    )


def similar_file(path: Path) -> str:
    """Return a hint for the end of an error, with a file of a similar name in the same folder, if any."""
    if not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, (one.name for one in path.parent.iterdir() if one.suffix == path.suffix))


def load_data(
    dataset: str,
    folder: str | None,
    url: str | None,
    settings: Mapping[str, Any],
    console: Console,
    *,
    warns: bool = True,
) -> Dataset:
    """Load a data set by its name; show the progress, and the warnings if ``warns``.

    Parameters
    ----------
    dataset : str
        digits, cifar10, or the path of a file or folder.
    folder : str, optional
        The folder of CIFAR-10, or its archive. By default, CIFAR-10 is downloaded to the user's cache.
    url : str, optional
        The address to download CIFAR-10 from, in place of the default one.
    settings : mapping
        The settings of its kind of data: see `of_data`.
    console : Console
        The console.
    """
    kind = kind_of(dataset)
    names = of_data(kind).keys() - {"data", "url"}
    arguments = {name: settings[name] for name in names if settings.get(name) is not None}
    if kind == "digits":
        return load_digits()
    with ExitStack() as stack:
        if kind == "cifar10":
            if folder is None:
                arguments["progress"] = stack.enter_context(console.download("CIFAR-10"))
            return load_cifar10(folder, url=url, **arguments)
        stack.enter_context(console.warnings_shown(shown=warns))
        if kind == "images":
            arguments["progress"] = stack.enter_context(console.counter("Reading images"))
        return _LOADERS[kind](dataset, **arguments)


_LOADERS: Mapping[str, Callable[..., Dataset]] = {
    "npz": load_npz,
    "table": load_table,
    "images": load_images,
    "idx": load_idx,
}


def check_of_data(names: Iterable[str], dataset: str, path: Path | None = None) -> None:
    """Raise if one of these settings, from a file or from options, is for another kind of data."""
    kind = kind_of(dataset)
    for name in names:
        one = SETTINGS.get(name)
        if one is not None and one.data and kind not in one.data:
            shown = one.flag if path is None else name
            where = "" if path is None else f" in {path}"
            kinds = listed(_WORDS[other] for other in one.data)
            raise ValueError(f"`{shown}`{where} must be left out except for {kinds}; got it with {dataset}")


def splits_of(dataset: Dataset) -> dict[str, Split]:
    """Return the splits that a data set has, by their names."""
    found = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in found.items() if split is not None}


def pooled(dataset: Dataset) -> Dataset:
    """Return a data set whose validation samples are added to its training samples."""
    names = ("train", "validation")
    parts = [splits_of(dataset)[name] for name in names if name in splits_of(dataset)]

    def joined(arrays: Mapping[str, HostArray] | None) -> dict[str, HostArray] | None:
        if arrays is None or "train" not in arrays:
            return None
        others = {name: array for name, array in arrays.items() if name not in names}
        return others | {"train": np.concatenate([arrays[name] for name in names if name in arrays])}

    train = Split(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    rows, weights = joined(dataset.rows), joined(dataset.sample_weight)
    return replace(dataset, train=train, validation=None, rows=rows, sample_weight=weights)


def check_splits(splits: Mapping[str, Split], rows: Mapping[str, HostArray], path: str, dtype: Any) -> None:
    """Raise if a value is not finite in the dtype; the error gives its place in the user's file.

    ``rows`` holds the rows of `X` in the file for each split. Splits without rows are separate arrays there.
    """
    for name, split in splits.items():
        array = "X" if name in (*rows, "train") else f"X_{name}"
        check_finite(split.X, name=array, file=path, dtype=dtype, rows_in_file=rows.get(name))


def fingerprint(dataset: Dataset) -> str:
    """Return the SHA-256 hash of the classes' names, and of each split's samples, labels and weights."""
    digest = hashlib.sha256()
    digest.update(json.dumps(dataset.classes).encode())
    splits, weights = splits_of(dataset), dataset.sample_weight or {}
    for name in SPLITS:
        # Hash names, dtypes and shapes too, so that the same bytes in other arrays have another hash.
        digest.update(name.encode())
        for array in (*splits.get(name, ()), weights.get(name)):
            if array is not None:
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
        white = 16  # load_digits has pixels from 0 to 16
    elif X.dtype == np.uint8:
        white = 255
    elif X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 1:
        white = 1.0
    return {"white": white, "mean_pixel": float(X.mean(dtype=np.float64))}


def describe(dataset: Dataset) -> str:
    """Return a line with the sizes of a data set."""
    sizes = [f"{len(split.y):,} {SPLITS[name]}" for name, split in splits_of(dataset).items()]
    shape = f"{size_in_words(dataset.image_shape)} pixels" if dataset.image_shape else None
    return (
        f"{dataset.name}: {', '.join(sizes)} samples; "
        f"{shape or f'{dataset.n_features} features'}, {dataset.n_classes} classes"
    )
