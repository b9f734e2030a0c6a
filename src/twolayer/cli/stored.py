"""Readers of the files in a run's folder, which people may have edited, and which may be damaged."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .. import report
from .._checks import shown
from .._files import npz_array, npz_header, opened_npz, read_text
from .._namespace import HostArray
from .._texts import listed, printable
from ..report import Confusion
from ..training import History

_CELLS = ("true", "predicted", "counts")  # of a confusion matrix
_MOST = 2**53  # to which every integer is a float
_MOST_DOTS = 5000  # in a TOML file: tomllib's memory grows with the square of the number of a key's parts
MOST_IMAGES = 24  # of the test samples that a run keeps
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tested(NamedTuple):
    """How good a network is on the test samples."""

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
    rows_in_file: HostArray | None = None  # (N,) int64, where they were in the user's file


class Results(NamedTuple):
    """The part of a run's results that is drawn and reported."""

    heading: str | None
    table_heading: str | None
    classes: tuple[str, ...]
    table: tuple[Mapping[str, Any], ...]
    test: Tested | None
    command: str | None = None
    complete: bool = True
    seconds: float | None = None
    versions: Mapping[str, str] = _NOTHING
    samples: Mapping[str, int] = _NOTHING
    n_features: int | None = None
    image_shape: tuple[int, ...] | None = None
    # Of a training:
    n_steps: int | None = None
    best_step: int | None = None
    diverged: int | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    members: tuple[Mapping[str, Any], ...] = ()
    # Of a sweep:
    runs: tuple[Mapping[str, Any], ...] = ()
    best: Mapping[str, Any] | None = None


def read_object(path: Path) -> dict[str, Any]:
    """Read the results of a run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} must be the folder of a run; it holds no {path.name}")
    stored = report.read_json(path)
    if not isinstance(stored, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(stored).__name__}")
    return stored


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
    """Read the JSON that `folders.write_history` wrote.

    Raises
    ------
    ValueError
        If it is not that.
    """
    stored = report.read_json(path)
    if not isinstance(stored, dict):
        raise ValueError(f"{path} must hold the history of a run; got {type(stored).__name__}")
    columns: dict[str, HostArray] = {}
    for name in History._fields:
        values = stored.get(name)
        if not isinstance(values, list) or not all(value is None or _is_number(value) for value in values):
            raise ValueError(f"{path} must hold the history of a run; `{name}` is no list of numbers")
        # What JSON has no number for was written as null.
        columns[name] = np.array([math.nan if value is None else value for value in values], np.float64)
    n_steps, step = len(columns["loss"]), columns["step"]
    for name, column in columns.items():
        wanted = n_steps if name in ("loss", "batch_accuracy") else len(step)
        if len(column) != wanted:
            raise ValueError(
                f"{path} must hold the history of a run; `{name}` must have {wanted} entries, "
                f"got {len(column)}"
            )
    if not np.all(np.isin(step, np.arange(1, n_steps + 1))) or np.any(np.diff(step) < 1):
        raise ValueError(f"{path} must hold the history of a run; `step` must rise from 1 to {n_steps}")
    return History(**columns | {"step": step.astype(np.int64)})


def read_results(path: Path) -> Results:
    """Read of the results that `jobs.write_results` wrote what is drawn.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not that.
    """
    stored = read_object(path)

    def read(key: str, what: str, fits: Callable[[Any], bool], within: Any = stored) -> Any:
        value = within.get(key)
        if value is not None and not fits(value):
            raise ValueError(f"`{key}` in {path} must be {what}; got {shown(value)}")
        return value

    classes = read("classes", "a list of texts", lambda value: _is_list(value, _is_text)) or []
    table = (
        read("table", "a list of rows, of numbers and texts", lambda value: _is_list(value, _is_row)) or []
    )
    n_classes = len(classes)
    test = read("test", "an object", lambda value: isinstance(value, dict))
    if test is not None:
        accuracy = read("accuracy", "a number", _is_number, within=test)
        n_samples = read("n_samples", "an integer", _is_count, within=test)
        confusion = read(
            "confusion",
            f"the cells of a matrix of {n_classes} classes, or {n_classes} lists of {n_classes} counts",
            lambda value: _is_cells(value, n_classes) or _is_matrix(value, n_classes),
            within=test,
        )
        if n_samples is None or confusion is None:
            raise ValueError(f"`test` in {path} must hold `n_samples` and `confusion`; one is missing")
        counts = _confusion_of(confusion, n_classes)
        loss = read("loss", "a number", _is_number, within=test)
        test = Tested(accuracy, n_samples, counts, loss)
    rows = "a list of rows, of numbers and texts"
    shape = read(
        "image_shape", "two or three sizes", lambda value: _is_list(value, _is_size) and len(value) in (2, 3)
    )
    complete = read("complete", "true or false", lambda value: isinstance(value, bool))
    return Results(
        heading=read("heading", "text", _is_text) or None,
        table_heading=read("table_heading", "text", _is_text) or None,
        classes=tuple(classes),
        table=tuple(table),
        test=test,
        command=read("command", "train or sweep", lambda value: value in ("train", "sweep")),
        complete=complete is None or complete,
        seconds=read("seconds", "a number", _is_number),
        versions=read("versions", "texts by names", lambda value: _is_mapping(value, _is_text)) or {},
        samples=read("samples", "counts by names", lambda value: _is_mapping(value, _is_count)) or {},
        n_features=read("n_features", "an integer", _is_count),
        image_shape=None if shape is None else tuple(shape),
        n_steps=read("n_steps", "an integer", _is_count),
        best_step=read("best_step", "an integer", _is_count),
        diverged=read("diverged", "an integer", _is_count),
        train_accuracy=read("train_accuracy", "a number", _is_number),
        validation_accuracy=read("validation_accuracy", "a number", _is_number),
        members=tuple(read("members", rows, lambda value: _is_list(value, _is_row)) or ()),
        runs=tuple(read("runs", rows, lambda value: _is_list(value, _is_row)) or ()),
        best=read("best", "a row of numbers and texts", _is_row),
    )


def _is_matrix(value: Any, n_classes: int) -> bool:
    """Say whether these are all cells of a confusion matrix, as earlier versions wrote them."""
    rows = _is_list(value, lambda row: _is_list(row, _is_count) and len(row) == n_classes)
    return rows and len(value) == n_classes


def _is_cells(value: Any, n_classes: int) -> bool:
    """Say whether these are the cells of a confusion matrix that are not zero, each once."""
    if not _is_mapping(value, lambda column: _is_list(column, _is_count)):
        return False
    if set(value) != set(_CELLS) or len({len(column) for column in value.values()}) != 1:
        return False
    places = set(zip(value["true"], value["predicted"], strict=True))
    inside = all(true < n_classes and predicted < n_classes for true, predicted in places)
    return inside and len(places) == len(value["true"]) and 0 not in value["counts"]


def _confusion_of(value: Any, n_classes: int) -> Confusion:
    if isinstance(value, list):
        return Confusion.of_matrix(np.array(value, np.int64).reshape(n_classes, n_classes))
    true, predicted, count = (np.array(value[name], np.int64) for name in _CELLS)
    order = np.lexsort((predicted, true))
    return Confusion(n_classes, true[order], predicted[order], count[order])


def read_plain(path: Path) -> dict[str, Any]:
    """Read settings to show them: numbers, texts, truth values and lists of these.

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
        if not (_is_text(name) and (_is_plain(value) or _is_list(value, _is_plain))):
            raise ValueError(f"`{name!s:.40}` in {path} must be a number, text or a list; got {shown(value)}")
    return settings


def read_predictions(path: Path, test: Tested, image_shape: tuple[int, ...] | None) -> Predictions:
    """Read the .npz file that `jobs.write_predictions` wrote.

    Parameters
    ----------
    path : Path
    test : Tested
        The entry of results.json about the same samples.
    image_shape : tuple of int, or None
        The shape of a sample in the same file; None if the samples are not images: then no images are read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If an array has the wrong dtype.
    ValueError
        If it is not that file, or of other samples or another network.
    """
    n_samples, n_classes = test.n_samples, test.confusion.n_classes

    def read(
        key: str, kinds: str, fits: Callable[..., bool], holds: Callable[[HostArray], bool], what: str
    ) -> HostArray:
        """Read an array of these kinds of numbers; check its dtype and shape before its values are read."""
        shape, dtype = npz_header(stored, key, path)
        # First the dtype: comparisons and `isfinite` are not defined for every one.
        if dtype.kind not in kinds or dtype.itemsize > 8:
            raise TypeError(f"`{key}` in {path} must hold {what}; got dtype {dtype!s:.80}")
        array = npz_array(stored, key, path) if fits(shape) else None
        if array is None or not holds(array):
            raise ValueError(f"`{key}` in {path} must hold {what}; got others, of shape {shape}")
        return array

    rows = images = rows_in_file = None
    with opened_npz(path) as stored:
        missing = [key for key in ("y", "probabilities") if key not in stored]
        if missing or ("rows" in stored) != ("images" in stored):
            raise ValueError(
                f"{path} must hold `y` and `probabilities`, and `rows` and `images` or neither of them; "
                f"it holds {listed(stored)}"
            )
        y = read(
            "y",
            "iu",
            fits=lambda shape: shape == (n_samples,) and n_samples > 0,
            holds=lambda y: _are_in(y, n_classes),
            what=f"class labels in [0, {n_classes}), ({n_samples},)",
        )
        probs = read(
            "probabilities",
            "f",
            fits=lambda shape: shape == (n_samples, n_classes),
            holds=_are_probabilities,
            what=f"probabilities of {n_classes} classes for each of the {n_samples} samples",
        )
        if image_shape is not None and "rows" in stored:
            rows = read(
                "rows",
                "iu",
                fits=lambda shape: len(shape) == 1 and shape[0] <= MOST_IMAGES,
                holds=lambda rows: _are_different(rows) and _are_in(rows, n_samples),
                what=f"different places in [0, {n_samples}), at most {MOST_IMAGES}",
            ).astype(np.int64)
            n_images = len(rows)
            images = read(
                "images",
                "biuf",
                fits=lambda shape: shape == (n_images, *image_shape) and shape[3:] in ((), (1,), (3,)),
                holds=lambda images: bool(np.isfinite(images).all()),
                what=f"{n_images} images of {'×'.join(map(str, image_shape))} pixels",
            )
        if "rows_in_file" in stored:
            rows_in_file = read(
                "rows_in_file",
                "iu",
                fits=lambda shape: shape == (n_samples,),
                holds=lambda places: _are_different(places) and _are_in(places, _MOST + 1),
                what=f"different rows of a file, ({n_samples},)",
            ).astype(np.int64)
    y, probs = y.astype(np.int64), probs.astype(np.float64)
    # Two classes that are as good as equally probable may have changed places in few digits.
    top = np.sort(probs, axis=1)[:, -2:]
    n_tied = int(np.count_nonzero(top[:, 0] >= top[:, -1] * (1 - 1e-5)))
    n_right = int(np.count_nonzero(probs.argmax(axis=1) == y))
    if (
        np.any(np.bincount(y, minlength=n_classes) != test.confusion.support)
        or abs(n_right - test.confusion.n_right) > n_tied
    ):
        raise ValueError(
            f"{path} must be of the run that results.json is of; got other samples or another network"
        )
    return Predictions(y, probs, rows, images, rows_in_file)


def _are_in(places: HostArray, end: int) -> bool:
    return bool(((places >= 0) & (places < end)).all())


def _are_different(places: HostArray) -> bool:
    return len(np.unique(places)) == len(places)


def _are_probabilities(probs: HostArray) -> bool:
    """Say whether all are in [0, 1] and, of a sample, add up to 1, but for rounding."""
    if not (np.isfinite(probs).all() and (probs >= 0).all() and (probs <= 1.001).all()):
        return False
    return bool((np.abs(probs.sum(axis=1, dtype=np.float64) - 1) <= 1e-3).all())


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= _MOST
    return type(value) is float and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_text(value: Any) -> bool:
    # JSON can write halves of a character, which nothing can show.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_size(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)


def _is_mapping(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(_is_text(key) and fits(value[key]) for key in value)


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


# Of a row of a sweep's table: what is counted; and what is a number, or null where there is none.
_COUNTED = ("n_seeds", "n_pairs", "diverged")
_COMPARED = ("difference", "difference_error", "difference_margin")
_MEASURED = ("learning_rate", "reg")


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    for name, value in row.items():
        if not _is_text(name):
            return False
        if name in _COUNTED:
            fits = _is_count(value) or (value is None and name == "diverged")
        elif name in _MEASURED:
            fits = _is_number(value) and value >= 0
        elif "accuracy" in name or name in _COMPARED:
            fits = value is None or _is_number(value)
        else:
            fits = _is_plain(value)
        if not fits:
            return False
    return True
