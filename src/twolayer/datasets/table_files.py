"""Reading of tables from CSV files, with inference of the columns' types, and from Parquet files."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .._frames import TEXTS, Frame, as_frame, check_columns, check_names
from .._optional import require
from .._texts import MAYBE_GROUPED, listed
from .._validation import warn_outside
from ..encoding import GAPS, MOSTLY, TableEncoder

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
# Numbers with leading zeros or more than 18 digits, which a number could not preserve.
_IDENTIFIER = r"^[+-]?(?:0\d+|\d{19,})$"
# 1,234 and codes such as 001,002, but not 0,125.
_THOUSANDS = r"^[+-]?(?:0|(?:[1-9]|\d{2,3})(?:,\d{3})*)$"
_THOUSANDS_POINTS = r"^[+-]?(?:0|[1-9]\d{0,2}(?:\.\d{3})*)$"
_BOOLEANS = {"true": True, "false": False}
_SAMPLE = 2**16  # bytes at the beginning of a file in which its delimiter is detected


def read_table(
    source: Any,
    *,
    missing: Collection[str] = (),
    categorical: Collection[str] = (),
    encoder: TableEncoder | None = None,
) -> Any:
    r"""Read a table from a file, optionally for an encoder.

    With an encoder, columns get the types that ``encoder.apply`` needs, even for a single row: its text
    columns are read as text, whatever they look like, and its other columns may contain only gaps.

    Parameters
    ----------
    source : path, "-" or DataFrame of pandas, polars or pyarrow
        The table: a ``.csv`` or ``.tsv`` file, which may be compressed (``.gz``), a ``.parquet`` file, "-"
        for a CSV file on standard input, or a data frame.
    missing : collection of str
        Strings that stand for a gap in a CSV file, in addition to empty fields and, in columns of numbers,
        dates and booleans, the usual strings such as NA.
    categorical : collection of str
        Columns of a CSV file to read as text, even if all values are numbers.
    encoder : TableEncoder, optional
        The encoder to read the table for.

    Returns
    -------
    polars.DataFrame
        The table. A data frame is returned unchanged.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If narwhals or polars is not installed; the extra ``tables`` installs both.
    TypeError
        If ``source`` is not a table, or ``encoder`` is not an encoder.
    ValueError
        If the file is empty, damaged or of another format, or a column of ``categorical`` is missing.

    Warns
    -----
    UserWarning
        Without an encoder, if a column of numbers is read as text because of a few other values, or no column
        of a CSV file contains a text of ``missing``.

    Examples
    --------
    >>> from pathlib import Path
    >>> import polars
    >>> from twolayer.datasets import read_table
    >>> from twolayer.preprocessing import TableEncoder
    >>> encoder = TableEncoder.fit(polars.DataFrame({"age": [31, 45], "zip": ["01", "7"]}))
    >>> _ = Path("new.csv").write_text("zip,age\n01,?\n")
    >>> encoder.apply(read_table("new.csv", encoder=encoder))
    array([[38.,  1.,  0.]])
    """
    check_names("missing", missing)
    check_names("categorical", categorical)
    if not isinstance(encoder, TableEncoder | None):
        raise TypeError(f"`encoder` must be a TableEncoder; got {type(encoder).__name__}")
    kinds = {} if encoder is None else {one.name: one.kind for one in encoder.columns}
    table = open_table(source, missing, categorical, kinds)
    check_columns(table.columns, categorical, name=table.place)
    return table.read(table.columns).to_native() if isinstance(source, str | os.PathLike) else source


class Table(NamedTuple):
    """A table that is read column by column."""

    place: str  # the table's name, for messages
    columns: list[str]
    read: Callable[[list[str]], Frame]  # returns the columns with these names


def open_table(
    source: Any, missing: Collection[str], categorical: Collection[str], kinds: Mapping[str, str]
) -> Table:
    """Open a table with columns as `read_table` returns them; ``kinds`` are those of an encoder's columns.

    Columns of a Parquet file are read on each request, because all columns together may not fit into memory.
    """
    if not isinstance(source, str | os.PathLike):
        frame = as_frame(source, name="source")
        return Table("table", frame.columns, frame.select)
    polars = require("polars", extra="tables", purpose="reading tables")
    is_stream, suffix = str(source) == "-", "".join(Path(source).suffixes[-2:]).lower()
    place = "standard input" if is_stream else str(source)
    if not is_stream and not suffix.endswith(SUFFIXES):
        raise ValueError(f"`source` must end in {', '.join(SUFFIXES)}, or be -; got {source}")

    @contextmanager
    def reading() -> Iterator[None]:
        try:
            yield
        except (polars.exceptions.PolarsError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{place} must be a table; it cannot be read ({reason:.200})") from error

    def read(names: list[str]) -> Frame:
        texts = [name for name in names if kinds.get(name) == TEXTS]
        with reading():
            return as_frame(scanned.select(names).cast(dict.fromkeys(texts, polars.String)).collect())

    with reading():
        if not suffix.endswith(".parquet"):
            wanted = {**kinds, **dict.fromkeys(categorical, TEXTS)}
            frame = as_frame(_read_csv(_content(source), place, missing, wanted, polars, warns=not kinds))
            return Table(place, frame.columns, frame.select)
        Path(source).open("rb").close()  # so that a missing file, for example, raises Python's own error
        scanned = polars.scan_parquet(source, glob=False, hive_partitioning=False)
        return Table(place, scanned.collect_schema().names(), read)


def _content(source: str | os.PathLike[str]) -> bytes:
    """Read a whole file, and decompress it if it is gzip."""
    if str(source) != "-":
        content = Path(source).read_bytes()
    elif sys.stdin is None:
        raise ValueError("`source` must be a file, as standard input is closed; got -")
    else:
        content = sys.stdin.buffer.read()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _read_csv(
    content: bytes,
    place: str,
    missing: Collection[str],
    kinds: Mapping[str, str],
    polars: Any,
    *,
    warns: bool,
) -> Any:
    """Read a CSV file as strings, and infer the types of its columns.

    Polars' own inference is many times slower, fails for long integers, and accepts only "" as a gap.
    """
    if b"\n" not in content:  # old Mac programs end lines with \r
        content = content.replace(b"\r", b"\n")
    sample = content[:_SAMPLE].decode("utf-8-sig", "replace")
    try:
        delimiter = csv.Sniffer().sniff(sample.rpartition("\n")[0] or sample, delimiters=",;\t|").delimiter
    except csv.Error:
        delimiter = ","

    names = _names_of_columns(content, delimiter, place)

    def read(gaps: Collection[str], chosen: Collection[str]) -> Any:
        """Read columns as strings. Set their names, because polars leaves doubled quotes in them."""
        table = polars.read_csv(
            io.BytesIO(content),
            separator=delimiter,
            columns=[i for i, name in enumerate(names) if name in chosen],
            null_values=["", *gaps],
            infer_schema=False,
        )
        table.columns = [name for name in names if name in chosen]
        return table

    def floats(column: Any, *, swapped: bool) -> Any:
        texts = column.str.replace_many([",", "."], [".", ","]) if swapped else column
        return texts.cast(polars.Float64, strict=False)

    known = read([*missing, *GAPS], {*names})
    if not len(known):
        raise ValueError(f"{place} must have at least one row below the names of its columns; got none")
    if missing and warns:
        # A misspelt text, or one that the command line has split at a comma, would silently do nothing.
        raw = read((), {*names})
        unused = [text for text in missing if text and not any((column == text).any() for column in raw)]
        if unused:
            warn_outside(f"no column of {place} contains {listed(map(repr, unused))}, which are in `missing`")

    # If the delimiter is not a comma, numbers may have decimal commas. One column that is numeric only with
    # decimal commas decides for all, unless its commas may be thousands separators.
    has_commas = delimiter != "," and any(
        floats(one, swapped=True).count() == one.count() > floats(one, swapped=False).count()
        and not one.str.contains(_THOUSANDS).all()
        for one in known
        if kinds.get(one.name) != TEXTS
    )

    ways: tuple[Callable[[Any], Any], ...] = (
        lambda column: column.cast(polars.Int64, strict=False),
        lambda column: floats(column, swapped=has_commas),
        lambda column: column.str.to_lowercase().replace_strict(_BOOLEANS, default=None),
        lambda column: column.str.to_date(strict=False),
        lambda column: column.str.to_datetime(strict=False),
        lambda column: column.str.to_time("%H:%M:%S%.f", strict=False),
        lambda column: column.str.to_time("%H:%M", strict=False),
    )

    def typed(column: Any) -> Any:
        """Return a column in the first type that fits all its strings except gaps; None if it is text."""
        first, kind = column.drop_nulls()[:1], kinds.get(column.name)
        if kind == TEXTS or not (len(first) or kind):
            return None
        if kind is None and column.str.contains(_IDENTIFIER).any():
            return None
        for way in ways:
            with suppress(polars.exceptions.ComputeError):  # no date format fits the first string
                # Try the first string alone: if it is not a date, polars searches all strings for one.
                if way(first).count() == len(first) and (found := way(column)).count() == column.count():
                    return found
        return None

    def warn_of_texts(column: Any) -> None:
        """Warn if a few other values, or blanks around numbers, make a column of numbers text."""
        stripped = column.str.strip_chars()
        is_number = floats(stripped, swapped=has_commas).is_not_null() | stripped.str.contains(MAYBE_GROUPED)
        n_numbers = is_number.sum()
        others = column.filter(floats(column, swapped=has_commas).is_null() & column.is_not_null())
        if n_numbers < MOSTLY * column.count() or not len(others):
            return
        decimal = "decimal commas" if has_commas else "decimal points"
        warn_outside(
            f"the column {column.name!r:.80} of {place} is read as text: {len(others):,} of its "
            f"{column.count():,} values are not numbers, first {others[0]!r:.40}; if they are gaps, list "
            f"them in `missing`; if they are numbers, write them with {decimal}, and without thousands "
            "separators and units"
        )

    def warn_of_points(column: Any) -> None:
        """Warn of a column such as 874 and 1.459, whose points may be thousands separators."""
        with_point = column.filter(column.str.contains(".", literal=True))
        if 0 < len(with_point) < column.count() and column.drop_nulls().str.contains(_THOUSANDS_POINTS).all():
            warn_outside(
                f"the column {column.name!r:.80} of {place} has numbers such as {with_point[0]}, whose point "
                "is read as a decimal point; if it is a thousands separator, remove it from the file"
            )

    columns = {column.name: typed(column) for column in known}
    for one in known if warns and delimiter != "," and not has_commas else ():
        if columns[one.name] is not None:
            warn_of_points(one)
    texts = [name for name, column in columns.items() if column is None]
    for name in texts:
        if warns and name not in kinds:
            warn_of_texts(known[name])
    if texts:  # read them again, because strings such as NA are gaps only in other columns
        columns |= {column.name: column for column in read(missing, {*texts})}
    return polars.DataFrame(columns)


def _names_of_columns(content: bytes, delimiter: str, place: str) -> list[str]:
    """Return the names of the columns, or raise unless they are different and have no blanks around them."""
    try:
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
        names = next(csv.reader(text, delimiter=delimiter), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{place} must be a table in UTF-8; it cannot be read ({error!s:.200}); "
            'in Excel, save it as "CSV UTF-8"'
        ) from error
    spaced = [one for one in names if one != one.strip()]
    if spaced:
        raise ValueError(
            f"{place} must have no blanks around its fields, because numbers with blanks are text; got "
            f"the column {spaced[0]!r:.80}"
        )
    twice = [one for one, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"{place} must have different column names; got {listed(twice)} twice")
    return names
