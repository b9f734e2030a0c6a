"""Data sets from tables: CSV or Parquet files, or data frames."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
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
from .._texts import checked_classes, listed, printable
from .._validation import check_choice, check_integer, row_blocks, warn_outside
from ..encoding import DATES_AS, ID_REASONS, Column, TableEncoder, encoder_of, fit_column
from ._dataset import Dataset, Split, in_splits, places_of
from .splitting import split_rows
from .table_files import open_table, read_table

LABELS = ("label", "target", "class", "y")  # default names of the column to predict, in any case
_MOST_CLASSES = 1000
_LONGEST_ID = 40  # characters
# Requirements for columns: their description, the allowed kinds, and the least number.
_WEIGHTS = ("a weight of at least 0 for each row", (NUMBERS, BOOLEANS), 0.0)
_TIMES = ("a date or a finite number for each row", (NUMBERS, DATES, DURATIONS), -np.inf)
_SHARE = 16  # divides the size of a block of columns, because strings are larger than numbers


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
    dates: str = "seconds",
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """Load a table, split its rows, and encode its columns as features.

    Parameters
    ----------
    source : path, "-" or DataFrame of pandas, polars or pyarrow
        The table, as for `read_table`.
    label : str, optional
        The column to predict. By default, the column named label, target, class or y, in upper or lower case.
    drop : collection of str
        Columns to ignore.
    categorical : collection of str
        Columns whose numbers are names of categories.
    weight : str, optional
        The column with a weight of at least 0 for each row. It is not a feature.
    group : str, optional
        A column whose equal values stay in one split, for example the patient of each row. It is not a
        feature.
    time : str, optional
        A column of dates or numbers by which the rows are split: the latest are for testing, the latest
        before them for validation, and rows of the same time stay in one split. It is also a feature, unless
        ``drop`` contains it. It cannot be combined with ``group``.
    missing : collection of str
        Strings that stand for a gap in a CSV file, as for `read_table`.
    dates : {"seconds", "parts"}
        Whether a date is encoded as its seconds, or as year, month, day, weekday and hour.
    validation, test : float or int
        Share of the rows, in [0, 1), or number of rows for validation and for testing. The splits are
        stratified by class, unless ``group`` or ``time`` is given.
    seed : int
        Seed of the draw. The same seed draws the same rows with every version of NumPy.

    Returns
    -------
    Dataset
        ``X`` (N, D) float64, the features of ``encoder``, which is fitted to the training rows; ``y`` (N,)
        int64; ``sample_weight`` if ``weight`` is given; ``rows``, the rows of the table in each split.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If narwhals or polars is not installed; the extra ``tables`` installs both.
    TypeError
        If ``source`` is not a table, or a column contains several kinds of values.
    ValueError
        If the file is empty or damaged; if a column is missing; if labels look like values for regression, or
        all are of one class; if a number is infinite, a weight is missing or negative, or a time is missing;
        if both ``group`` and ``time`` are given; if the splits leave a class without a training row.

    Warns
    -----
    UserWarning
        If rows have no label, columns are left out, a column of numbers is read as text because of a few
        other values, or no column of a CSV file contains a text of ``missing``.

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
    check_choice("dates", dates, DATES_AS)
    if group is not None and time is not None:
        raise ValueError("`group` or `time` must be given, not both; got both")
    table = open_table(source, missing, categorical, {})
    place, read = table.place, table.read
    label = _label_column(table.columns, place) if label is None else label
    named = {*categorical}
    unused = dict.fromkeys([label, *drop, *(one for one in (weight, group) if one is not None)])
    check_columns(table.columns, [*unused, *categorical, *([] if time is None else [time])], name=place)
    rows, classes, y = _labels(read([label])[label], place)

    def rows_of(names: Iterable[str]) -> Frame:
        return read([*names])[rows]

    def blocks(columns: Sequence[Any]) -> Iterator[Any]:
        """Yield a few columns at a time, because a file, or copies of strings, may not fit into memory."""
        return (columns[block] for block in row_blocks(len(columns), _SHARE * len(rows)))

    splits = split_rows(
        y,
        {"validation": validation, "test": test},
        seed,
        groups=None if group is None else values_of(rows_of([group])[group]),
        times=None if time is None else _numbers(rows_of([time])[time], rows, place, *_TIMES),
        place=place,
    )
    untrained = [classes[k] for k in np.setdiff1d(y, y[splits["train"]])]
    if untrained:
        raise ValueError(
            f"the splits of {place} must leave a row of each class to train on; they leave none of "
            f"{listed(untrained)}: try other values of `validation` and `test`"
        )
    features = [one for one in table.columns if one not in unused]
    if not features:
        raise ValueError(f"{place} must have a column to learn from; it has {listed(table.columns)}")
    fitted: dict[str, list[Column] | str] = {}
    for names in blocks(features):
        trained = rows_of(names)[splits["train"]]
        fitted |= {name: fit_column(trained[name], name in named, dates=dates) for name in names}
    encoder = encoder_of(fitted)
    parts = {
        part: Split(np.empty((len(chosen), encoder.n_outputs)), y[chosen]) for part, chosen in splits.items()
    }
    start = 0
    for some in blocks(encoder.columns):
        X = TableEncoder(some).apply(rows_of(dict.fromkeys(one.name for one in some)))
        for part, chosen in splits.items():
            parts[part].X[:, start : start + X.shape[1]] = X[chosen]
        start += X.shape[1]
    ids = [name for name, reason in encoder.left_out.items() if reason in ID_REASONS]
    weights = None if weight is None else _numbers(rows_of([weight])[weight], rows, place, *_WEIGHTS)
    is_file = isinstance(source, str | os.PathLike) and str(source) != "-"
    return Dataset(
        name=printable(Path(source).name.partition(".")[0]) if is_file else "table",
        **in_splits(parts),
        classes=classes,
        image_shape=None,
        rows={part: rows[chosen] for part, chosen in splits.items()},
        encoder=encoder,
        sample_weight=None if weights is None else {part: weights[chosen] for part, chosen in splits.items()},
        test_ids=_texts(rows_of(ids)[splits["test"]]) if ids and "test" in splits else None,
    )


def load_labelled_table(
    source: str | os.PathLike[str],
    encoder: TableEncoder,
    classes: Sequence[str],
    *,
    label: str | None = None,
    missing: Collection[str] = (),
) -> Split:
    """Load the labelled rows of a table for the evaluation of a trained network.

    Parameters
    ----------
    source : path or "-"
        The table.
    encoder : TableEncoder
        The network's encoder.
    classes : sequence of str
        The names of the network's classes. Labels are matched by name.
    label, missing
        As for `load_table`.

    Returns
    -------
    Split
        All labelled samples, with labels that are indices of ``classes``.
    """
    frame = as_frame(read_table(source, missing=missing, encoder=encoder))
    hint = "; `twolayer predict` needs no labels"
    label = _label_column(frame.columns, str(source), hint) if label is None else label
    check_columns(frame.columns, [label], name=str(source), hint=hint)
    name = f"the column {label!r:.80} of {source}"
    rows, labels = _labelled(frame[label], name)
    # Match labels in other cases too. A file with only some of the classes may get another type than the
    # training file: labels "true" and "false" become booleans, whose strings are "True" and "False".
    texts = [*map(str, labels)]
    forms = {text: (text, text.lower(), text.title(), text.upper()) for text in {*texts}}
    known = {text: next((one for one in forms[text] if one in classes), text) for text in forms}
    named = [known[text] for text in texts]
    y = places_of(named, classes, name, f"the network's classes, {listed(classes)}")
    return Split(encoder.apply(frame[rows]), y)


def _texts(frame: Frame) -> dict[str, HostArray]:
    """Return columns that identify rows as strings, (N,) str each, by name."""
    return {
        name: np.asarray(
            ["" if value is None else f"{value!s:.{_LONGEST_ID}}" for value in values_of(frame[name])]
        )
        for name in frame.columns
    }


def _label_column(columns: Sequence[str], place: str, hint: str = "") -> str:
    """Return the column to predict, found by its usual names."""
    found = [name for name in columns if name.lower() in LABELS]
    if len(found) != 1:
        raise ValueError(
            f"`label` must name the column of {place} to predict, as it has {len(found) or 'none'} of the "
            f"names {', '.join(LABELS)}; it has the columns {listed(columns)}{hint}"
        )
    return found[0]


def _labels(series: Series, place: str) -> tuple[HostArray, tuple[str, ...], HostArray]:
    """Return the rows with a label, the names of the classes, and the index of each label in the classes."""
    name, kind = f"the column {series.name!r:.80} of {place}", kind_of(series)
    rows, values = _labelled(series, name)
    try:
        different = sorted(set(values))
    except TypeError as error:
        raise TypeError(f"{name} must hold labels of one kind; got labels that cannot be sorted") from error
    is_whole = all(isinstance(value, int) for value in different)
    if kind == NUMBERS and (not is_whole or len(different) > _MOST_CLASSES):
        raise ValueError(
            f"{name} must hold a class for each row; got {len(different):,} different numbers, which look "
            "like values for regression"
        )
    if len(different) < 2:
        raise ValueError(f"{name} must hold at least two classes; got one")
    names = checked_classes([*map(str, different)], len(different), name=f"the labels in {place}")
    return rows, tuple(names), places_of(values, different, name, "the classes")


def _labelled(series: Series, name: str) -> tuple[HostArray, list[Any]]:
    """Return the rows with a label, and the labels, whole numbers as int; warn about rows without a label."""
    values = values_of(series)
    rows = np.flatnonzero([value is not None for value in values])
    if not len(rows):
        raise ValueError(f"{name} must hold labels; got none")
    n_without = len(values) - len(rows)
    if n_without:
        warn_outside(f"{n_without:,} of {len(values):,} rows have no {series.name:.80}, and are left out")
    labels = [value for value in values if value is not None]
    if kind_of(series) == NUMBERS:
        labels = [int(value) if float(value).is_integer() else value for value in labels]
    return rows, labels


def _numbers(
    series: Series, rows: HostArray, place: str, must: str, kinds: Collection[str], least: float
) -> HostArray:
    """Return a column of numbers, (N,) float64; raise unless all are finite and at least ``least``."""
    kind = came = kind_of(series)
    if kind in kinds:
        numbers = numbers_of(series)
        wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= least)))
        if not wrong.size:
            return numbers
        came = f"a gap or another value, first in row {rows[wrong[0]]} (counted from 0)"
    raise ValueError(f"the column {series.name!r:.80} of {place} must hold {must}; got {came}")
