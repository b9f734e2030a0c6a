"""Readers and checks of records in files: JSON and TOML objects, and safetensors metadata.

The checks are needed because users may have edited such files, or the files may be damaged.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ._files import read_text
from ._validation import shown

_MOST = 2**53  # integers up to this one are exact as floats, which many JSON readers use
_MOST_SHOWN = 40  # characters of JSON


class Kind(NamedTuple):
    """A kind of value: its name in messages, and the test whether a value is of this kind."""

    words: str
    fits: Callable[[Any], bool]


def checked(
    record: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    place: object,
    *,
    needed: Iterable[str] = (),
    as_json: bool = False,
) -> dict[str, Any]:
    """Return the values of a record that are named in ``kinds``, after checking them.

    Parameters
    ----------
    record : mapping
    kinds : mapping of str to Kind
        The kind of each value, by name. Names that are missing from the record are skipped.
    place : object
        The file, or the part of a file, for messages.
    needed : iterable of str
        Names that the record must contain.
    as_json : bool
        Whether each value is a JSON text that must be parsed.

    Raises
    ------
    ValueError
        If a value is of another kind, or a needed value is missing.
    """
    for name in needed:
        if name not in record:
            raise ValueError(f"{place} must have `{name}`; it is missing")
    found = {}
    for name, kind in kinds.items():
        if name not in record:
            continue
        value = record[name]
        try:
            found[name] = json.loads(value) if as_json else value
            fits = kind.fits(found[name])
        except (ValueError, RecursionError):
            fits = False
        if not fits:
            came = repr(value[:_MOST_SHOWN]) if as_json else shown(value)
            raise ValueError(f"`{name}` in {place} must be {kind.words}; got {came}")
    return found


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Values that were nan or infinite are None, because `write_json` writes null for them. The file may
    begin with a byte order mark, and may have Windows line ends.

    Raises
    ------
    ValueError
        If the file is not JSON in UTF-8; the message names it.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} must be a JSON file in UTF-8; {error}") from error


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        If the file is not a JSON object.
    """
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ValueError(f"{os.fspath(path)} must hold a JSON object; got {type(stored).__name__}")
    return stored


def plain(value: Any, place: str, *, strict: bool = False) -> Any:
    """Return a value in the types of JSON; nan and infinity become None.

    Parameters
    ----------
    value : object
    place : str
        The value's name, for messages.
    strict : bool
        Whether to refuse paths, and keys other than texts; by default, both become text.

    Raises
    ------
    TypeError
        If JSON cannot represent a value; the message names its place.
    ValueError
        If two keys of one mapping become the same text (``1`` and ``"1"``).
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, os.PathLike) and not strict:
        value = os.fspath(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(item, f"{place}[{index}]", strict=strict) for index, item in enumerate(value)]
    if isinstance(value, Mapping) and not (strict and any(not isinstance(key, str) for key in value)):
        found = {str(key): plain(item, f"{place}[{key!r}]", strict=strict) for key, item in value.items()}
        if len(found) != len(value):
            raise ValueError(f"`{place}` must have keys that differ as text; got two keys with the same text")
        return found
    raise TypeError(f"`{place}` must be something that JSON can hold; got {type(value).__name__}")


def is_text(value: Any) -> bool:
    """Return whether a value is text without lone surrogates, which JSON allows but no program can show."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite float or an integer that every JSON reader reads exactly."""
    return (type(value) is int and abs(value) <= _MOST) or (type(value) is float and math.isfinite(value))


def is_count(value: Any) -> bool:
    """Return whether a value is an integer from 0 to 2**53."""
    return type(value) is int and 0 <= value <= _MOST


def is_size(value: Any) -> bool:
    """Return whether a value is an integer of at least 1."""
    return type(value) is int and value >= 1


def is_plain(value: Any) -> bool:
    """Return whether a value is null, true, false, a number or text."""
    return value is None or isinstance(value, bool) or is_number(value) or is_text(value)


def is_list(value: Any, fits: Callable[[Any], bool], lengths: Collection[int] | None = None) -> bool:
    """Return whether a value is a list of one of the ``lengths``, if given, whose entries all fit."""
    fitting = isinstance(value, list) and (lengths is None or len(value) in lengths)
    return fitting and all(map(fits, value))


def is_mapping(value: Any, fits: Callable[[Any], bool]) -> bool:
    """Return whether a value is a dictionary whose keys are text and whose values all fit."""
    return isinstance(value, dict) and all(is_text(key) and fits(value[key]) for key in value)


TEXT = Kind("text", is_text)
NUMBER = Kind("a number", is_number)
COUNT = Kind("an integer of at least 0", is_count)
SIZE = Kind("an integer of at least 1", is_size)
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
