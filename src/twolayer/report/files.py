"""Results as JSON and CSV files, each written completely or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._files import written_whole
from .._records import plain
from .._texts import UNPRINTABLE


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write ``data`` to ``path`` as JSON, completely or not at all.

    The text is UTF-8 with sorted keys, an indentation of two, and a newline at the end, so the same data give
    the same bytes. JSON has no infinities and no nan; these become ``null``. Control characters, direction
    marks, and bytes of a file name that are not UTF-8 are escaped. Python reads them back unchanged.

    Parameters
    ----------
    path : path-like
        The file to write.
    data : mapping, sequence, NumPy array or scalar, str, number, bool, path or None
        Any nesting is allowed. Arrays become lists; keys and paths become strings.

    Raises
    ------
    TypeError
        If ``data`` contains an object that JSON cannot represent. The message gives its place.
    ValueError
        If two keys of one mapping become the same text (``1`` and ``"1"``).
    """
    text = format_json(data)
    with written_whole(path) as file:
        file.write(f"{text}\n".encode())


def format_json(data: Any, *, in_a_line: bool = False) -> str:
    """Return the text that `write_json` writes, without the newline at its end.

    Parameters
    ----------
    data : mapping, sequence, NumPy array or scalar, str, number, bool, path or None
    in_a_line : bool
        Write one line of ASCII, with other characters as escapes, for a pipe of any encoding.

    Raises
    ------
    TypeError, ValueError
        As `write_json`.
    """
    form: dict[str, Any] = {"ensure_ascii": True} if in_a_line else {"ensure_ascii": False, "indent": 2}
    text = json.dumps(plain(data, "data"), sort_keys=True, allow_nan=False, **form)
    # JSON's own escapes, so that every reader returns the same characters.
    lines = (UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n"))
    return "\n".join(lines)


def write_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    r"""Write ``rows`` to ``path`` as CSV (RFC 4180, but lines end in a newline only).

    The file is written completely or not at all. The text is UTF-8. The columns are the rows' keys, in order
    of first appearance. Floats have enough digits to read back the same number. None and missing keys are
    empty fields. Bytes of a file name that are not UTF-8 are written as escapes, for example ``\udce9``.

    Parameters
    ----------
    path : path-like
        The file to write.
    rows : iterable of mappings
        The values must be str, numbers, bools, None, paths or NumPy scalars.

    Raises
    ------
    TypeError
        If a value has another type.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_field(row.get(column), column) for column in columns] for row in rows)]
    with written_whole(path) as file:
        for line in lines if columns else ():
            # A single empty field is quoted, because readers skip an empty line.
            text = ",".join(map(_quoted, line)) or '""'
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))


def _quoted(field: str) -> str:
    # In Python 3.11, `csv.writer` does not quote a lone "\r" if lines end in "\n", but readers end a line
    # there.
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"\r\n') else field


def _field(value: Any, column: str) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (bool, int, str, os.PathLike)):
        return str(value)
    raise TypeError(
        f"`{column}` must hold text, numbers, booleans or None to be a column; got {type(value).__name__}"
    )
