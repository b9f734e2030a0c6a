"""Data frames of any library, read through narwhals: the kinds and the values of their columns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from ._namespace import HostArray
from ._optional import require
from ._texts import are_numeric, did_you_mean, is_numeric, listed, printable

Frame: TypeAlias = Any  # narwhals.DataFrame
Series: TypeAlias = Any  # narwhals.Series

NUMBERS, BOOLEANS, TEXTS = "numbers", "booleans", "texts"
DATES, DURATIONS, NOTHING = "dates", "durations", "nothing"  # nothing: every value is missing
KINDS = (NUMBERS, BOOLEANS, TEXTS, DATES, DURATIONS)


def as_frame(source: Any, *, name: str = "frame") -> Frame:
    """Return a DataFrame of pandas, polars or pyarrow as a narwhals DataFrame.

    Raises a TypeError for other objects or for column names that are not strings, and a ValueError if two
    columns have the same name.
    """
    nw = _narwhals()
    try:
        frame = nw.from_native(source, eager_only=True)
        columns = frame.columns
    except TypeError as error:
        came = type(source).__name__
        raise TypeError(f"`{name}` must be a DataFrame of pandas, polars or pyarrow; got {came}") from error
    except nw.exceptions.DuplicateError as error:
        found = listed(str(error).splitlines()[1:])
        raise ValueError(f"`{name}` must have different column names; got {found}") from error
    for column in columns:
        if not isinstance(column, str):
            raise TypeError(f"`{name}` must have strings as column names; got {column!r:.80}")
    return nw.from_native(_in_known_types(frame))


def _in_known_types(frame: Frame) -> Any:
    """Return a table whose columns narwhals can read.

    Dates with time zones in pandas are converted to UTC, because narwhals does not know all zone names.
    pyarrow cannot select rows of ``string_view`` columns, so these become ``string``.
    """
    native = frame.to_native()
    if frame.implementation.is_pandas_like():
        types = {name: getattr(dtype, "pyarrow_dtype", dtype) for name, dtype in native.dtypes.items()}
        zoned = [name for name, dtype in types.items() if getattr(dtype, "tz", None) is not None]
        if zoned:
            native = native.assign(**{name: native[name].dt.tz_convert("UTC") for name in zoned})
    if frame.implementation.is_pyarrow():
        for place, field in enumerate(native.schema):
            if str(field.type) == "string_view":
                native = native.set_column(place, field.name, native[place].cast("string"))
    return native


def check_columns(
    columns: Sequence[str], needed: Collection[str], *, name: str = "frame", hint: str = ""
) -> None:
    """Raise a ValueError, which ends with ``hint``, unless a table has the needed columns."""
    there = {*columns}
    missing = [one for one in needed if one not in there]
    if missing:
        raise ValueError(
            f"`{name}` must have the columns {listed(missing)}; it has {listed(columns)}"
            f"{did_you_mean(missing[0], columns)}{hint}"
        )


def check_names(name: str, names: Collection[str]) -> None:
    """Raise a TypeError unless ``names`` is a collection of strings. A single string is refused."""
    if isinstance(names, str):
        raise TypeError(f"`{name}` must be a collection of strings; got the string {names!r:.80}")
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"`{name}` must be a collection of strings; got {one!r:.80} in it")


def kind_of(series: Series) -> str:
    """Return the kind of a column's values, or raise a TypeError if it is mixed or not supported."""
    nw, dtype = _narwhals(), series.dtype
    known = {nw.Boolean: BOOLEANS, nw.String: TEXTS, nw.Date: DATES, nw.Datetime: DATES}
    known |= {nw.Duration: DURATIONS, nw.Time: DURATIONS}
    if dtype in (nw.Categorical, nw.Enum, nw.Object):
        kinds = {_kind_of_value(value) for value in values_of(series) if value is not None}
    elif series.null_count() == len(series) or (dtype.is_float() and np.isnan(_floats(series)).all()):
        kinds = set()
    else:
        kinds = {NUMBERS if dtype.is_numeric() else known.get(type(dtype), str(dtype))}
    if len(kinds) > 1 or not kinds <= {*KINDS}:
        came = " and ".join(sorted(kinds))
        raise TypeError(f"the column {series.name!r:.80} must hold numbers, texts or dates; got {came}")
    return kinds.pop() if kinds else NOTHING


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return BOOLEANS
    if isinstance(value, datetime.date):
        return DATES
    if isinstance(value, datetime.timedelta | datetime.time):
        return DURATIONS
    is_number = isinstance(value, Real) or type(value).__name__ == "Decimal"
    return NUMBERS if is_number else TEXTS if isinstance(value, str) else type(value).__name__


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, nan, NaT or pandas.NA."""
    try:
        return value is None or bool(value != value)  # nan and NaT do not equal themselves
    except (TypeError, ArithmeticError):  # from pandas.NA, and from decimal's signalling nan
        return True


def values_of(series: Series) -> list[Any]:
    """Return the values of a column as Python objects, with None for each gap."""
    values = (value.item() if isinstance(value, np.generic) else value for value in series.to_list())
    return [None if is_missing(value) else value for value in values]


def numbers_of(series: Series) -> HostArray:
    """Return a column as (N,) float64, with nan for each gap.

    Dates are seconds since 1970 in UTC, times seconds since midnight, and durations seconds.
    """
    nw, dtype = _narwhals(), series.dtype
    if dtype == nw.Date:
        series = series.cast(nw.Datetime("us"))
    if dtype in (nw.Date, nw.Datetime):
        return _floats(series.dt.timestamp("us")) / 1e6
    if dtype == nw.Duration:
        return _floats(series.dt.total_microseconds()) / 1e6
    if dtype.is_numeric() or dtype == nw.Boolean:
        return _floats(series)
    values = (math.nan if value is None else _as_number(value) for value in values_of(series))
    return np.fromiter(values, np.float64, len(series))


def _floats(series: Series) -> HostArray:
    return np.array(series.cast(_narwhals().Float64).to_numpy(), dtype=np.float64)


def _as_number(value: Any) -> float:
    """Return a number as a float, and a date, a time or a duration in seconds, as in `numbers_of`."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()
    if isinstance(value, datetime.time):
        value = datetime.datetime.combine(datetime.date.min, value) - datetime.datetime.min
    return value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)


def _narwhals() -> Any:
    return require("narwhals", extra="tables", purpose="reading tables")


def not_numbers(series: Series, gaps: Collection[str]) -> str:
    """Return words for the texts of a column that are not numbers; "" if all but ``gaps`` are numbers."""
    texts = {row: text for row, text in enumerate(values_of(series)) if text not in (None, *gaps)}
    found = are_numeric([*texts.values()])
    if all(found):  # with decimal commas, which only `read_table` converts
        found = [*map(is_numeric, texts.values())]
    others = [row for row, is_number in zip(texts, found, strict=True) if not is_number]
    if not others:
        return ""
    return (
        f": {len(others):,} of its {len(texts):,} values are not numbers, first "
        f"{printable(texts[others[0]])!r:.40} in row {others[0]} (counted from 0)"
    )
