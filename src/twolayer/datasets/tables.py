"""A user's own table: a CSV or Parquet file, or a data frame."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from .._frames import (
    BOOLEANS,
    DATES,
    DURATIONS,
    NUMBERS,
    Frame,
    Series,
    as_frame,
    check_columns,
    check_names,
    kind_of,
    numbers_of,
    values_of,
)
from .._namespace import HostArray
from .._optional import require
from .._texts import checked_classes, listed, printable
from .._validation import check_integer
from ..encoding import TableEncoder
from ._dataset import Dataset, Split
from .splitting import split_rows

LABELS = ("label", "target", "class", "y")  # names of the column to predict, where none is given
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
# Texts that programs write for a gap. In a column of numbers nothing else can be meant.
_GAPS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "none", "-", "?", ".")
_MOST_CLASSES = 1000
_SAMPLE = 2**16  # bytes of a file in which its delimiter is looked for


def load_table(
    source: Any,
    *,
    label: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    missing: Collection[str] = (),
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """Load a table, split its rows, and encode its columns as features.

    Parameters
    ----------
    source : path, "-" or DataFrame of pandas, polars or pyarrow
        The table: a ``.csv`` or ``.tsv`` file, which may be compressed (``.gz``), a ``.parquet`` file, "-"
        for a CSV file on standard input, or a data frame.
    label : str, optional
        The column to predict. Without it, the column named label, target, class or y.
    drop : collection of str
        Columns that are not used.
    categorical : collection of str
        Columns whose numbers are names of categories.
    weight : str, optional
        The column with a weight of at least 0 for each row.
    group : str, optional
        A column whose equal values stay in one split: the rows of a patient, for example.
    time : str, optional
        A column of dates or numbers by which the rows are split: the latest are for the test, the latest
        before them for validation.
    missing : collection of str
        Texts of a file that stand for a gap, besides none at all.
    validation, test : float or int
        Share of the rows, in [0, 1), or number of rows for validation and for the test. Each class has its
        share of them, unless ``group`` or ``time`` is given.
    seed : int
        Of the draw. The same seed draws the same rows with every version of NumPy.

    Returns
    -------
    Dataset
        ``X`` (N, D) float64, the features of ``encoder``, which is fitted to the training rows; ``y`` (N,)
        int64; ``sample_weight`` where ``weight`` is given; ``rows`` tells which rows of the table went where.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If narwhals or polars is not installed; the extra ``tables`` brings both.
    TypeError
        If ``source`` is no table, or a column contains several kinds of values.
    ValueError
        If the file is empty or damaged, a column is missing, labels look like the values of a regression or
        are of one class, a number is infinite, or the splits leave a class without a training row.

    Warns
    -----
    UserWarning
        If rows have no label, or columns are left out.

    Examples
    --------
    >>> import pandas
    >>> from twolayer.datasets import load_table
    >>> frame = pandas.DataFrame({"size": range(40), "state": list("ABCD") * 10, "label": ["no", "yes"] * 20})
    >>> data = load_table(frame, drop=["size"])
    >>> data.classes
    ('no', 'yes')
    >>> data.encoder.get_feature_names_out()
    ['state_A', 'state_B', 'state_C', 'state_D']
    """
    seed = check_integer("seed", seed, least=0)
    for name, names in (("drop", drop), ("categorical", categorical), ("missing", missing)):
        check_names(name, names)
    if group is not None and time is not None:
        raise ValueError("`group` or `time` must be given, not both; got both")
    if isinstance(source, str | os.PathLike):
        place, name = str(source), "table" if str(source) == "-" else Path(source).name.partition(".")[0]
        frame = read_table(source, missing=missing, texts=categorical)
    else:
        place = name = "table"
        frame = as_frame(source, name="source")
    label = _label_column(frame, place) if label is None else label
    unused = [label, *drop, *(one for one in (weight, group) if one is not None)]
    check_columns(frame, [*unused, *categorical, *([] if time is None else [time])], name=place)
    rows = _labelled_rows(frame[label], place)
    frame = frame[rows.tolist()]
    classes, y = _labels(frame[label], place)
    splits = split_rows(
        y,
        {"validation": validation, "test": test},
        seed,
        groups=None if group is None else values_of(frame[group]),
        times=None if time is None else _times(frame[time], rows, place),
        place=place,
    )
    untrained = [classes[k] for k in np.setdiff1d(y, y[splits["train"]])]
    if untrained:
        raise ValueError(
            f"the splits of {place} must leave a row of each class to train on; they leave none of "
            f"{listed(untrained)}: other shares or another seed may"
        )
    features = frame.select([one for one in frame.columns if one not in unused])
    if not features.columns:
        raise ValueError(f"{place} must have a column to learn from; it has {listed(frame.columns)}")
    encoder = TableEncoder.fit(
        features[splits["train"].tolist()], categorical=[one for one in categorical if one not in unused]
    )
    X = encoder.apply(features)
    parts = {part: Split(X[chosen], y[chosen]) for part, chosen in splits.items()}
    weights = None if weight is None else _weights(frame[weight], rows, place)
    return Dataset(
        name=printable(name),
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts.get("test"),
        classes=classes,
        image_shape=None,
        rows={part: rows[chosen] for part, chosen in splits.items()},
        encoder=encoder,
        sample_weight=None if weights is None else {part: weights[chosen] for part, chosen in splits.items()},
    )


def read_table(
    source: str | os.PathLike[str], *, missing: Collection[str] = (), texts: Collection[str] = ()
) -> Frame:
    """Read a CSV or Parquet file as a data frame; "-" is a CSV file on standard input.

    Parameters
    ----------
    source : path or "-"
        The file.
    missing : collection of str
        Texts that stand for a gap, besides none at all.
    texts : collection of str
        Columns that are read as texts, even if all of them are numbers.

    Returns
    -------
    narwhals.DataFrame
        The table.
    """
    polars = require("polars", extra="tables", purpose="reading tables")
    name = "standard input" if str(source) == "-" else str(source)
    suffix = "".join(Path(source).suffixes[-2:]).lower()
    if str(source) != "-" and not suffix.endswith(SUFFIXES):
        raise ValueError(f"`source` must end in {', '.join(SUFFIXES)}, or be -; got {source}")
    try:
        if suffix.endswith(".parquet"):
            with Path(source).open("rb") as file:
                return as_frame(polars.read_parquet(file))
        content = _content(source)
        table = _read_csv(content, polars, missing, texts)
    except polars.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{name} must be a table; it cannot be read ({reason:.200})") from error
    _check_header(content, name)
    if not len(table):
        raise ValueError(f"{name} must have at least one row below the names of its columns; got none")
    return as_frame(_with_numbers(table, polars, texts))


def _content(source: str | os.PathLike[str]) -> bytes:
    """Read a file whole, and unpack it."""
    if str(source) == "-":
        if sys.stdin is None:
            raise ValueError("`source` must be a file, as standard input is closed; got -")
        content = sys.stdin.buffer.read()
    else:
        content = Path(source).read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise ValueError(
            f"{source} must be a whole gzip file; it cannot be unpacked ({error!s:.200})"
        ) from error


def _read_csv(content: bytes, polars: Any, missing: Collection[str], texts: Collection[str]) -> Any:
    """Read a CSV file. Where semicolons divide its fields, numbers may have decimal commas."""
    delimiter = _delimiter(content)

    def read(*, decimal_comma: bool) -> Any:
        return polars.read_csv(
            io.BytesIO(content),
            separator=delimiter,
            null_values=["", *missing],
            try_parse_dates=True,
            infer_schema_length=None,
            schema_overrides=dict.fromkeys(texts, polars.String),
            decimal_comma=decimal_comma,
        )

    table = read(decimal_comma=False)
    if delimiter == ",":
        return table
    with_commas = read(decimal_comma=True)
    has_commas = any(
        table[name].dtype == polars.String and with_commas[name].dtype.is_float() for name in table.columns
    )
    return with_commas if has_commas else table


def _delimiter(content: bytes) -> str:
    """Return what divides the fields of a CSV file: a comma, where nothing else can be found."""
    sample = content[:_SAMPLE].decode("utf-8-sig", "replace")
    try:
        return csv.Sniffer().sniff(sample.rpartition("\n")[0] or sample, delimiters=",;\t|").delimiter
    except csv.Error:
        return ","


def _check_header(content: bytes, name: str) -> None:
    """Raise unless the names of the columns differ, as polars would rename them, and have no blanks about."""
    try:
        line = content[: content.find(b"\n") + 1 or None].decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be in UTF-8; the names of its columns are not") from error
    names = next(csv.reader([line], delimiter=_delimiter(content)), [])
    spaced = [one for one in names if one != one.strip()]
    if spaced:
        raise ValueError(
            f"{name} must have no blanks about its fields, where they make texts of numbers; got the column "
            f"{spaced[0]!r:.80}"
        )
    twice = [one for i, one in enumerate(names) if one in names[:i]]
    if twice:
        raise ValueError(
            f"{name} must have different names of columns; got {listed(dict.fromkeys(twice))} twice"
        )


def _with_numbers(table: Any, polars: Any, texts: Collection[str]) -> Any:
    """Return a table in which texts are numbers where all are, but for what programs write for a gap."""
    for name in table.columns:
        column = table[name]
        if column.dtype == polars.String and name not in texts:
            known = column.replace(list(_GAPS), [None] * len(_GAPS))
            numbers = known.cast(polars.Float64, strict=False)
            if 0 < numbers.count() == known.count():
                table = table.with_columns(numbers.alias(name))
    return table


def _label_column(frame: Frame, place: str) -> str:
    """Return the column to predict by its usual names."""
    found = [name for name in frame.columns if name.lower() in LABELS]
    if len(found) != 1:
        raise ValueError(
            f"`label` must name the column of {place} to predict, as it has {len(found) or 'none'} of the "
            f"names {', '.join(LABELS)}; it has the columns {listed(frame.columns)}"
        )
    return str(found[0])


def _labelled_rows(series: Series, place: str) -> HostArray:
    """Return the rows that have a label; warn of others, and raise if all are."""
    rows = np.flatnonzero([value is not None for value in values_of(series)])
    if not rows.size:
        raise ValueError(f"the column {series.name!r:.80} of {place} must hold labels; got none")
    n_without = len(series) - rows.size
    if n_without:
        warnings.warn(
            f"{n_without:,} of {len(series):,} rows have no {series.name:.80}, and are left out",
            UserWarning,
            stacklevel=3,
        )
    return rows


def _weights(series: Series, rows: HostArray, place: str) -> HostArray:
    """Return the weights of rows, (N,) float64, or raise unless they are numbers of at least 0."""
    weights = numbers_of(series) if kind_of(series) in (NUMBERS, BOOLEANS) else np.full(len(series), np.nan)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise ValueError(
            f"the column {series.name!r:.80} of {place} must hold a weight of at least 0 for each row; got "
            f"another value, first in row {rows[wrong[0]]} (counted from 0)"
        )
    return weights


def _times(series: Series, rows: HostArray, place: str) -> HostArray:
    """Return the times of rows, (N,) float64, or raise unless they are dates or numbers, without gaps."""
    kind = kind_of(series)
    if kind not in (DATES, DURATIONS, NUMBERS):
        raise ValueError(f"the column {series.name!r:.80} of {place} must hold dates or numbers; got {kind}")
    times = numbers_of(series)
    gaps = np.flatnonzero(np.isnan(times))
    if gaps.size:
        raise ValueError(
            f"`time` must name a column of {place} without gaps; got one, first in row {rows[gaps[0]]} "
            "(counted from 0)"
        )
    return times


def _labels(series: Series, place: str) -> tuple[tuple[str, ...], HostArray]:
    """Return the names of the classes in ascending order, and the place of each label among them."""
    values = values_of(series)
    different = sorted(set(values))
    if kind_of(series) == NUMBERS:
        is_whole = all(float(value).is_integer() for value in different)
        if not is_whole or len(different) > _MOST_CLASSES:
            raise ValueError(
                f"the column {series.name!r:.80} of {place} must hold a class for each row; got "
                f"{len(different):,} different numbers, which look like those of a regression"
            )
        values, different = [*map(int, values)], [*map(int, different)]
    if len(different) < 2:
        raise ValueError(f"the column {series.name!r:.80} of {place} must hold at least two classes; got one")
    places = {value: k for k, value in enumerate(different)}
    names = checked_classes([*map(str, different)], len(different), name=f"the labels in {place}")
    return tuple(names), np.asarray([places[value] for value in values], dtype=np.int64)
