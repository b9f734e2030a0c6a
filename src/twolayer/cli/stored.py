"""What is read back from the folder of a run: files that people may have edited, and that may be damaged."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import report
from .._namespace import HostArray
from ..training import History

_MOST = 2**53  # to which every integer is a float


class Tested(NamedTuple):
    """How good a network is on the test samples."""

    accuracy: float | None
    n_samples: int
    confusion: HostArray


class Results(NamedTuple):
    """What of a run's results is drawn."""

    heading: str | None
    table_heading: str | None
    classes: tuple[str, ...]
    table: tuple[Mapping[str, Any], ...]
    test: Tested | None


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
    with path.open("rb") as file:
        try:
            return tomllib.load(file)
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
            raise ValueError(f"`{key}` in {path} must be {what}; got {value!r:.40}")
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
            f"{n_classes} lists of {n_classes} counts",
            lambda value: (
                _is_list(value, lambda row: _is_list(row, _is_count) and len(row) == n_classes)
                and len(value) == n_classes
            ),
            within=test,
        )
        if n_samples is None or confusion is None:
            raise ValueError(f"`test` in {path} must hold `n_samples` and `confusion`; one is missing")
        test = Tested(accuracy, n_samples, np.array(confusion, np.int64).reshape(n_classes, n_classes))
    return Results(
        heading=read("heading", "text", _is_text) or None,
        table_heading=read("table_heading", "text", _is_text) or None,
        classes=tuple(classes),
        table=tuple(table),
        test=test,
    )


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= _MOST
    return type(value) is float and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_text(value: Any) -> bool:
    # JSON can write halves of a character, which nothing can show.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


# Of a row of a sweep's table: what is counted; and what is a number, or null where there is none.
_COUNTED = ("n_seeds", "diverged")
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
        elif "accuracy" in name:
            fits = value is None or _is_number(value)
        else:
            fits = value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)
        if not fits:
            return False
    return True
