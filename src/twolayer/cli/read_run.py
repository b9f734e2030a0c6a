"""Readers of the files in a run's folder. They check the content, which may be damaged or edited."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .._files import opened_npz, read_text
from .._namespace import HostArray
from .._records import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    TEXT,
    Kind,
    checked,
    is_count,
    is_list,
    is_mapping,
    is_number,
    is_plain,
    is_size,
    is_text,
    read_json_object,
)
from .._texts import listed, printable, size_in_words
from .._validation import shown
from ..report.metrics import Confusion
from ..training import History

_MOST_DOTS = 5000  # in a TOML file: tomllib's memory grows with the square of the number of a key's parts
MOST_IMAGES = 24  # of the test samples that a run keeps
_LAST_CHARACTER = 0x10FFFF
_MOST_ROWS = 2**53 + 1  # of a file
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_CELLS = ("true", "predicted", "counts")  # of a confusion matrix


class Tested(NamedTuple):
    """Results of a network on the test samples."""

    accuracy: float | None
    n_samples: int
    confusion: Confusion
    loss: float | None = None


class Predictions(NamedTuple):
    """Predictions of a network for the test samples, and images of some of them."""

    y: HostArray  # (N,) int64
    probabilities: HostArray  # (N, C)
    rows: HostArray | None  # (M,) int64, of the images
    images: HostArray | None  # (M, height, width) or (M, height, width, channels)
    rows_in_file: HostArray | None = None  # (N,) int64, of the samples in the user's file
    id_columns: Sequence[str] = ()  # of the user's file, which identify the rows
    ids: HostArray | None = None  # (N, M) str


class Results(NamedTuple):
    """The part of a run's results that is drawn and reported."""

    heading: str | None = None
    table_heading: str | None = None
    classes: Sequence[str] = ()
    table: Sequence[Mapping[str, Any]] = ()
    test: Tested | None = None
    command: str | None = None
    complete: bool = True
    seconds: float | None = None
    versions: Mapping[str, str] = _NOTHING
    samples: Mapping[str, int] = _NOTHING
    n_features: int | None = None
    image_shape: Sequence[int] | None = None
    baselines: Mapping[str, float | None] = _NOTHING
    baseline_losses: Mapping[str, float | None] = _NOTHING
    # A table also has:
    columns: Sequence[Mapping[str, Any]] = ()
    left_out: Mapping[str, str] = _NOTHING
    calibration: Mapping[str, float] = _NOTHING
    # A training also has:
    n_steps: int | None = None
    best_step: int | None = None
    diverged: int | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    members: Sequence[Mapping[str, Any]] = ()
    # A sweep also has:
    runs: Sequence[Mapping[str, Any]] = ()
    best: Mapping[str, Any] | None = None
    verdict: str | None = None
    next: str | None = None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a run's folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} must be the folder of a run; it holds no {path.name}")
    return read_json_object(path)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file with settings.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not TOML.
    """
    try:
        text = read_text(path, errors="surrogateescape")  # as `write_settings` writes paths
        if text.count(".") > _MOST_DOTS:
            raise ValueError(f"it has more than {_MOST_DOTS:,} dots")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a TOML file in UTF-8; {error!s:.200}") from error


def read_history(path: Path) -> History:
    """Read the JSON file that `run_folder.write_history` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold a valid history.
    """
    numbers = Kind("a list of numbers", lambda value: is_list(value, _is_measured))
    names = History._fields
    stored = checked(read_object(path), dict.fromkeys(names, numbers), path, needed=names)
    # JSON has no nan: null stands for it, and np.array makes it nan.
    history = History(*(np.array(stored[name], np.float64) for name in names))
    n_steps, step = len(history.loss), history.step
    for name, column in history._asdict().items():
        wanted = n_steps if name in ("loss", "batch_accuracy") else len(step)
        if len(column) != wanted:
            raise ValueError(f"`{name}` in {path} must have {wanted} entries; got {len(column)}")
    if not (np.all(np.isin(step, np.arange(1, n_steps + 1))) and np.all(np.diff(step) >= 1)):
        raise ValueError(f"`step` in {path} must increase, within 1 to {n_steps}")
    return history._replace(step=step.astype(np.int64))


def read_results(path: Path) -> Results:
    """Read the part of the results that is drawn and reported.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold valid results.
    """
    found = checked(_without_null(read_object(path)), _RESULTS, path)
    if "test" in found:
        n_classes = len(found.get("classes", ()))
        confusion = Kind(
            f"the cells of a matrix of {n_classes} classes, or {n_classes} lists of {n_classes} counts",
            lambda value: _is_cells(value, n_classes) or _is_matrix(value, n_classes),
        )
        kinds, needed = _TESTED | {"confusion": confusion}, ("n_samples", "confusion")
        test = checked(_without_null(found["test"]), kinds, f"`test` in {path}", needed=needed)
        test["confusion"] = _confusion_of(test["confusion"], n_classes)
        found["test"] = Tested(**{"accuracy": None, **test})
    return Results(**found)


def _without_null(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def _is_measured(value: Any) -> bool:
    return value is None or is_number(value)


def _is_share(value: Any) -> bool:
    return _is_measured(value) and (value is None or 0 <= value <= 1)


def _is_matrix(value: Any, n_classes: int) -> bool:
    """Return whether a value is a full confusion matrix, as earlier versions wrote it."""
    return is_list(value, lambda row: is_list(row, is_count, [n_classes]), [n_classes])


def _is_cells(value: Any, n_classes: int) -> bool:
    """Return whether a value holds the cells of a confusion matrix that are not zero, each cell once."""
    if not is_mapping(value, lambda column: is_list(column, is_count)) or set(value) != set(_CELLS):
        return False
    true, predicted, counts = (value[name] for name in _CELLS)
    is_inside = all(place < n_classes for place in (*true, *predicted))
    n_different = len(set(zip(true, predicted, strict=False)))
    return is_inside and n_different == len(true) == len(predicted) == len(counts) and 0 not in counts


def _confusion_of(value: Any, n_classes: int) -> Confusion:
    if isinstance(value, list):
        return Confusion.of_matrix(np.array(value, np.int64).reshape(n_classes, n_classes))
    true, predicted, counts = (np.array(value[name], np.int64) for name in _CELLS)
    order = np.lexsort((predicted, true))
    return Confusion(n_classes, true[order], predicted[order], counts[order])


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(is_text(name) and _fits(name, row[name]) for name in row)


def _fits(name: str, value: Any) -> bool:
    """Return whether a value is valid in the column ``name`` of a sweep's table."""
    if name in ("n_seeds", "n_folds", "n_networks", "n_pairs", "fold"):
        return is_count(value)
    if name in ("diverged", "rung"):
        return value is None or is_count(value)
    if name in ("learning_rate", "reg"):
        return is_number(value) and value >= 0
    if "accuracy" in name:
        return _is_share(value)
    if name in ("difference", "difference_error", "difference_margin"):
        return _is_measured(value)
    return is_plain(value)


def _is_column(row: Any) -> bool:
    kinds = {"column": is_text, "kind": is_text, "features": is_count, "lost": _is_measured}
    kinds["spread"] = _is_measured
    return isinstance(row, dict) and row.keys() == kinds.keys() and all(kinds[key](row[key]) for key in row)


_ROWS = Kind("a list of rows, of numbers and texts", lambda value: is_list(value, _is_row))
_RESULTS = {
    **dict.fromkeys(("heading", "table_heading", "verdict", "next"), TEXT),
    "classes": Kind("a list of texts", lambda value: is_list(value, is_text)),
    **dict.fromkeys(("table", "members", "runs"), _ROWS),
    "best": Kind("a row of numbers and texts", _is_row),
    "baselines": Kind("accuracies by names", lambda value: is_mapping(value, _is_share)),
    "columns": Kind("a list of columns with numbers", lambda value: is_list(value, _is_column)),
    "left_out": Kind("reasons by names", lambda value: is_mapping(value, is_text)),
    "baseline_losses": Kind("numbers by names", lambda value: is_mapping(value, _is_measured)),
    "calibration": Kind("numbers by names", lambda value: is_mapping(value, _is_measured)),
    "test": OBJECT,
    "command": Kind("train or sweep", lambda value: value in ("train", "sweep")),
    "complete": BOOLEAN,
    "versions": Kind("texts by names", lambda value: is_mapping(value, is_text)),
    "samples": Kind("counts by names", lambda value: is_mapping(value, is_count)),
    "image_shape": Kind("two or three sizes", lambda value: is_list(value, is_size, (2, 3))),
    **dict.fromkeys(("n_features", "n_steps", "best_step", "diverged"), COUNT),
    **dict.fromkeys(("seconds", "train_accuracy", "validation_accuracy"), NUMBER),
}
_TESTED = {"accuracy": NUMBER, "n_samples": COUNT, "loss": NUMBER}


def read_plain(path: Path) -> dict[str, Any]:
    """Read settings for display: numbers, texts, booleans and lists of these.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds something else.
    """
    settings = {
        name: printable(value) if isinstance(value, str) else value for name, value in read_toml(path).items()
    }
    for name, value in settings.items():
        if not (is_text(name) and (is_plain(value) or is_list(value, is_plain))):
            raise ValueError(f"`{name!s:.40}` in {path} must be a number, text or a list; got {shown(value)}")
    return settings


def read_predictions(path: Path, test: Tested, image_shape: Sequence[int] | None) -> Predictions:
    """Read the .npz file that `Job.write_predictions` wrote.

    Parameters
    ----------
    path : Path
    test : Tested
        The entry of results.json about the same samples.
    image_shape : sequence of int, or None
        The shape of a sample by results.json; None if samples are not images, so that no images are read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If an array has the wrong dtype.
    ValueError
        If the file is not valid, or belongs to other samples or another network.
    """
    n_samples, n_classes = test.n_samples, test.confusion.n_classes

    def read(
        key: str, what: str, dtypes: str, shape: tuple[int, ...], holds: Callable[[HostArray], Any]
    ) -> HostArray:
        """Read an array; check its dtype and shape before its values are read."""
        came, dtype = stored[key].header()
        # Check the dtype first: comparisons and `isfinite` are not defined for every dtype.
        if dtype.kind not in dtypes or (dtypes != "U" and dtype.itemsize > 8):
            raise TypeError(f"`{key}` in {path} must hold {what}; got dtype {dtype!s:.80}")
        array = stored[key].read() if came == shape else None
        if array is None or not holds(array):
            raise ValueError(f"`{key}` in {path} must hold {what}; got other values, of shape {came}")
        return array.astype(np.int64) if dtypes == "iu" else array

    rows = images = rows_in_file = ids = None
    id_columns: Sequence[str] = ()
    with opened_npz(path) as stored:
        missing = [key for key in ("y", "probabilities") if key not in stored]
        if missing or ("rows" in stored) != ("images" in stored):
            raise ValueError(
                f"{path} must hold `y` and `probabilities`, and `rows` and `images` or neither of them; "
                f"it holds {listed(stored)}"
            )
        what = f"class labels in [0, {n_classes}), ({n_samples},)"
        y = read("y", what, "iu", (n_samples,), lambda y: len(y) and _are_in(y, n_classes))
        what = f"probabilities of {n_classes} classes for each of the {n_samples} samples"
        probs = read("probabilities", what, "f", (n_samples, n_classes), _are_probabilities)
        if image_shape is not None and "rows" in stored:
            n_images = min(math.prod(stored["rows"].header()[0]), MOST_IMAGES)
            what = f"different places in [0, {n_samples}), at most {MOST_IMAGES}"
            rows = read("rows", what, "iu", (n_images,), lambda rows: _are_different(rows, n_samples))
            what = f"{n_images} images of {size_in_words(image_shape)} pixels"
            images = read("images", what, "biuf", (n_images, *image_shape), _are_images)
        if "rows_in_file" in stored:
            what = f"different rows of a file, ({n_samples},)"
            shape = (n_samples,)
            rows_in_file = read("rows_in_file", what, "iu", shape, lambda a: _are_different(a, _MOST_ROWS))
        if "id_columns" in stored and "ids" in stored:
            n_columns = math.prod(stored["id_columns"].header()[0])
            what = f"texts, ({n_samples}, {n_columns})"
            id_columns = read("id_columns", "names of columns", "U", (n_columns,), _are_texts).tolist()
            ids = read("ids", what, "U", (n_samples, n_columns), _are_texts)
    probs = probs.astype(np.float64)
    # The file has fewer digits, so two classes that are almost equally probable may have changed places.
    top = np.sort(probs, axis=1)[:, -2:]
    n_tied = int(np.count_nonzero(top[:, 0] >= top[:, -1] * (1 - 1e-5)))
    n_right = int(np.count_nonzero(probs.argmax(axis=1) == y))
    if (
        np.any(np.bincount(y, minlength=n_classes) != test.confusion.support)
        or abs(n_right - test.confusion.n_right) > n_tied
    ):
        raise ValueError(
            f"{path} must belong to the run of results.json; got other samples or another network"
        )
    return Predictions(y, probs, rows, images, rows_in_file, id_columns, ids)


def _are_in(places: HostArray, end: int) -> bool:
    return bool(((places >= 0) & (places < end)).all())


def _are_different(places: HostArray, end: int) -> bool:
    return _are_in(places, end) and len(np.unique(places)) == len(places)


def _are_probabilities(probs: HostArray) -> bool:
    """Return whether all values are in [0, 1], and those of a sample add up to 1, apart from rounding."""
    if not ((probs >= 0) & (probs <= 1.001)).all():
        return False
    return bool((np.abs(probs.sum(axis=1, dtype=np.float64) - 1) <= 1e-3).all())


def _are_texts(texts: HostArray) -> bool:
    """Return whether an array has texts, and all their characters are valid code points."""
    return bool(texts.size and (np.ascontiguousarray(texts).view(np.uint32) <= _LAST_CHARACTER).all())


def _are_images(images: HostArray) -> bool:
    return images.shape[3:] in ((), (1,), (3,)) and bool(np.isfinite(images).all())
