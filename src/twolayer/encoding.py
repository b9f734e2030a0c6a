"""Encoding of tables: columns of numbers, categories and dates as a matrix of features."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ._frames import (
    DATES,
    KINDS,
    NOTHING,
    NUMBERS,
    TEXTS,
    Series,
    as_frame,
    check_columns,
    check_names,
    kind_of,
    not_numbers,
    numbers_of,
    values_of,
)
from ._namespace import HostArray
from ._records import (
    BOOLEAN,
    NUMBER,
    OBJECT,
    SIZE,
    TEXT,
    Kind,
    checked,
    is_list,
    is_mapping,
    is_plain,
    is_text,
)
from ._texts import is_numeric, listed, looks_numeric
from ._validation import check_choice, check_integer, warn_outside

VERSION = 1  # version of the JSON format
_FEW_ROWS = 20  # in so few rows, values that all differ may still be measurements or categories
_MAX_CATEGORIES = 30
# Reasons to leave out a column that identifies the rows. `load_table` uses such columns as `test_ids`.
# Texts that are almost all numbers may be measurements, but also identifiers such as 4711 and C4711.
ID_REASONS = _DIFFERENT, _IN_ORDER, _IDENTIFIERS, _NUMBERS_AS_TEXT = (
    "different in most rows",
    "row numbers",
    "identifiers",
    "text, as some values are not numbers",
)
# Strings that programs write for a gap. In a column of numbers they cannot mean anything else.
GAPS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "none", "-", "?", ".")
MOSTLY = 0.9  # from this share of numbers in a column on, other texts in it may be a mistake
_INFREQUENT = "infrequent_sklearn"  # as scikit-learn's OneHotEncoder names it
DATES_AS = ("seconds", "parts")
_DATE_PARTS = ("year", "month", "day", "weekday", "hour")


@dataclass(frozen=True)
class NumberColumn:
    """Encoding of a column of numbers, booleans, durations or dates: x - centre, and an indicator of gaps.

    Parameters
    ----------
    name, kind : str
        The column's name and the kind of its values.
    mean : float
        Mean of the training rows. It replaces gaps.
    centre : float
        Number that is subtracted: for dates, whose seconds since 1970 are large, the mean; otherwise, and for
        a part of a date, 0.
    varies, has_gaps : bool
        Whether the training rows had different numbers, and whether they had gaps. If not, the column has no
        feature for its numbers, or no indicator. The parts of a date share the indicator of the first part.
    part : str
        The part of a date that is encoded, such as "month"; the whole date if empty.
    """

    name: str
    kind: str
    mean: float
    centre: float
    varies: bool
    has_gaps: bool
    part: str = ""

    def feature_names(self) -> list[str]:
        """Return the names of the features."""
        name = f"{self.name}_{self.part}" if self.part else self.name
        return [name] * self.varies + [f"missingindicator_{self.name}"] * self.has_gaps

    def features(self, series: Series) -> HostArray:
        """Return the features, (N, d)."""
        numbers = _numbers(series, self.part)
        gaps = np.isnan(numbers)
        filled = np.where(gaps, self.mean, numbers) - self.centre
        return np.stack([filled] * self.varies + [gaps] * self.has_gaps, axis=1)


@dataclass(frozen=True)
class CategoryColumn:
    """Encoding of a column of categories: one feature for each frequent category (one-hot).

    Parameters
    ----------
    name, kind : str
        The column's name and the kind of its values.
    categories : tuple
        The categories with a feature of their own, in ascending order. None stands for gaps and comes last.
    infrequent : tuple
        The rarer categories of the training rows. If there are any, they share one feature.
    """

    name: str
    kind: str
    categories: tuple[Any, ...]
    infrequent: tuple[Any, ...] = ()

    def feature_names(self) -> list[str]:
        """Return the names of the features, as scikit-learn's OneHotEncoder names them.

        If the column contains both gaps and the string "None", whose names would be equal, gaps are named as
        in columns of numbers.
        """
        names = [f"{self.name}_{category}" for category in self.categories]
        if {"None", None} <= {*self.categories}:
            names[-1] = f"missingindicator_{self.name}"
        return names + [f"{self.name}_{_INFREQUENT}"] * bool(self.infrequent)

    def features(self, series: Series) -> HostArray:
        """Return the features, (N, d): whether the row is in each category.

        Any other value, also one that did not occur in training, counts as infrequent if the column has that
        feature. Otherwise all its features are 0.
        """
        places = {category: place for place, category in enumerate(self.categories)}
        other = len(self.categories)  # index of the feature of infrequent categories, if there is one
        found = np.asarray([places.get(value, other) for value in values_of(series)])
        return np.asarray(found[:, None] == np.arange(other + bool(self.infrequent)))

    def unseen(self, series: Series) -> int:
        """Return how many values did not occur in the training rows. Gaps do not count."""
        known = {*self.categories, *self.infrequent, None}
        return sum(value not in known for value in values_of(series))


Column = NumberColumn | CategoryColumn


@dataclass(frozen=True)
class TableEncoder:
    """An encoder that computes a matrix of features from a table.

    Numbers are unchanged, with gaps replaced by the mean of the training rows. Booleans become 0 and 1. Each
    frequent category becomes a feature that is 1 in the rows of the category [1]_. A date becomes its seconds
    minus their mean. If a column of numbers, booleans, durations or dates had gaps when the encoder was
    fitted, it gets one more feature, which is 1 where there is a gap. Columns are found by name.

    Parameters
    ----------
    columns : tuple
        The encoded columns, in the order of the table.
    left_out : dict
        The columns that are left out, each with the reason.

    See Also
    --------
    twolayer.datasets.load_table : Loads a table, splits it, and encodes it.

    References
    ----------
    .. [1] The features and their names are those of scikit-learn's ``SimpleImputer(add_indicator=True)`` and
       ``OneHotEncoder(handle_unknown="infrequent_if_exist")``.

    Examples
    --------
    >>> import polars
    >>> from twolayer.preprocessing import TableEncoder
    >>> frame = polars.DataFrame({"age": [31, None, 45], "state": ["NY", "CA", "NY"]})
    >>> encoder = TableEncoder.fit(frame)
    >>> encoder.get_feature_names_out()
    ['age', 'missingindicator_age', 'state_CA', 'state_NY']
    >>> encoder.apply(frame)
    array([[31.,  0.,  0.,  1.],
           [38.,  1.,  1.,  0.],
           [45.,  0.,  0.,  1.]])
    """

    columns: tuple[Column, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        categorical: Collection[str] = (),
        max_categories: int = _MAX_CATEGORIES,
        dates: str = "seconds",
    ) -> TableEncoder:
        """Fit an encoder to the training rows of a table.

        Columns that cannot help are left out, with a warning that names them:

        - columns without a value, or with one value;
        - text columns with more than 20 different values, if these are more than half as many as the values;
        - integer columns without gaps that identify the rows, in tables of more than 20 rows: the numbers
          increase or decrease from row to row, or all differ and the column is named id or ends in _id, _ID,
          Id or ID.

        Parameters
        ----------
        frame : DataFrame of pandas, polars or pyarrow
            The training rows, without their labels.
        categorical : collection of str
            Columns of numbers, booleans or text that are always encoded as categories.
        max_categories : int
            The largest number of categories of a column that get a feature of their own. Rarer categories
            share one feature.
        dates : {"seconds", "parts"}
            Whether a date is encoded as its seconds, or as year, month, day, weekday (Monday is 1) and hour.

        Returns
        -------
        TableEncoder
            The encoder.

        Raises
        ------
        TypeError
            If ``frame`` is not a DataFrame, or a column contains several kinds of values, or an unsupported
            kind such as lists.
        ValueError
            If ``frame`` lacks a column of ``categorical``, or has no rows or no column that can help; if a
            number is infinite, or a category is neither text nor a number that JSON can represent; if two
            features would have the same name.
        """
        frame = as_frame(frame)
        check_names("categorical", categorical)
        check_columns(frame.columns, categorical)
        max_categories = check_integer("max_categories", max_categories, least=1)
        check_choice("dates", dates, DATES_AS)
        if not len(frame):
            raise ValueError("`frame` must have at least one row; got none")
        named = {*categorical}
        fitted = {
            name: fit_column(frame[name], name in named, max_categories, dates) for name in frame.columns
        }
        return encoder_of(fitted)

    def apply(self, frame: Any) -> HostArray:
        """Return the features of a table's rows.

        Parameters
        ----------
        frame : DataFrame of pandas, polars or pyarrow
            Any rows. Columns are found by name, in any order; other columns are ignored.

        Returns
        -------
        numpy.ndarray, shape (N, D), float64
            The features.

        Raises
        ------
        TypeError
            If ``frame`` is not a DataFrame, or a column contains another kind of values than in training.
        ValueError
            If a column is missing, or a number is infinite.
        """
        frame = as_frame(frame)
        check_columns(frame.columns, [one.name for one in self.columns])
        X = np.empty((len(frame), self.n_outputs))
        start = 0
        for column in self.columns:
            series = frame[column.name]
            kind = kind_of(series)
            if kind not in (column.kind, NOTHING):
                which = not_numbers(series, GAPS) if (column.kind, kind) == (NUMBERS, TEXTS) else ""
                raise TypeError(
                    f"the column {column.name!r:.80} must hold {column.kind}, as in training; got "
                    f"{kind}{which}"
                )
            features = column.features(series)
            X[:, start : start + features.shape[1]] = features
            start += features.shape[1]
        return X

    def unseen(self, frame: Any) -> dict[str, int]:
        """Return how many values of each category column did not occur in the training rows.

        Parameters
        ----------
        frame : DataFrame of pandas, polars or pyarrow
            Any rows.

        Returns
        -------
        dict
            The number of such values for each column that has any, by the column's name.
        """
        frame = as_frame(frame)
        categories = [one for one in self.columns if isinstance(one, CategoryColumn)]
        check_columns(frame.columns, [one.name for one in categories])
        counts = {one.name: one.unseen(frame[one.name]) for one in categories}
        return {name: n for name, n in counts.items() if n}

    @property
    def n_outputs(self) -> int:
        """Number of features, D."""
        return len(self.get_feature_names_out())

    def get_feature_names_out(self) -> list[str]:
        """Return the names of the features, as scikit-learn's transformers name them."""
        return [name for column in self.columns for name in column.feature_names()]

    def groups(self) -> dict[str, list[int]]:
        """Return the indices of each column's features among all features, by the column's name."""
        places: dict[str, list[int]] = {}
        names = [column.name for column in self.columns for _ in column.feature_names()]
        for place, name in enumerate(names):
            places.setdefault(name, []).append(place)
        return places

    def to_json(self) -> str:
        """Return the encoder as JSON, which `from_json` reads."""
        columns = [{"type": type(one).__name__, **asdict(one)} for one in self.columns]
        return json.dumps({"version": VERSION, "columns": columns, "left_out": dict(self.left_out)})

    @classmethod
    def from_json(cls, text: str) -> TableEncoder:
        """Return the encoder that `to_json` wrote.

        Parameters
        ----------
        text : str
            The JSON.

        Returns
        -------
        TableEncoder
            The encoder.

        Raises
        ------
        ValueError
            If ``text`` is not such JSON, or a newer version of twolayer wrote it.
        """
        return encoder_from_json(text, "the table encoder")


_VALUES = Kind("a list of numbers and texts", lambda value: is_list(value, is_plain))
_KIND = Kind("a kind of values", lambda value: value in KINDS)
_NUMBER_FIELDS = {
    "name": TEXT,
    "kind": _KIND,
    "part": Kind("a part of a date", lambda value: value in ("", *_DATE_PARTS)),
    **dict.fromkeys(("mean", "centre"), NUMBER),
    **dict.fromkeys(("varies", "has_gaps"), BOOLEAN),
}
_CATEGORY_FIELDS = {"name": TEXT, "kind": _KIND, "categories": _VALUES, "infrequent": _VALUES}


def encoder_from_json(text: str, place: str) -> TableEncoder:
    """Return an encoder from its JSON. ``place`` describes the JSON's origin for messages."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} must be JSON; it cannot be read ({error!s:.200})") from error
    kinds = {
        "version": SIZE,
        "columns": Kind("a list of objects", lambda value: is_list(value, OBJECT.fits)),
        "left_out": Kind("reasons by names", lambda value: is_mapping(value, is_text)),
    }
    stored = checked(record if isinstance(record, dict) else {}, kinds, place, needed=kinds)
    if stored["version"] > VERSION:
        raise ValueError(
            f"{place} must be of version {VERSION}; got version {stored['version']}, which a newer twolayer "
            "wrote: upgrade twolayer to read it"
        )
    return TableEncoder(tuple(_column_of(one, place) for one in stored["columns"]), stored["left_out"])


def _column_of(record: Mapping[str, Any], place: str) -> Column:
    fields = {NumberColumn.__name__: _NUMBER_FIELDS, CategoryColumn.__name__: _CATEGORY_FIELDS}
    kind = {"type": Kind(f"one of {', '.join(fields)}", lambda value: value in (*fields,))}
    wanted = fields[checked(record, kind, place, needed=kind)["type"]]
    found = checked(record, wanted, place, needed=wanted)
    if wanted is _NUMBER_FIELDS:
        return NumberColumn(**found)
    categories, infrequent = tuple(found["categories"]), tuple(found["infrequent"])
    if len({*categories, *infrequent}) < len(categories) + len(infrequent):
        raise ValueError(f"{place} must have different categories of {found['name']!r:.80}; got one twice")
    return CategoryColumn(found["name"], found["kind"], categories, infrequent)


def check_encoder(encoder: TableEncoder, n_features: int) -> None:
    """Raise unless an encoder computes as many features as a network accepts."""
    if not isinstance(encoder, TableEncoder):
        raise TypeError(f"`encoder` must be a TableEncoder; got {type(encoder).__name__}")
    if encoder.n_outputs != n_features:
        raise ValueError(
            f"`encoder` must make the {n_features} features that the network takes; got {encoder.n_outputs}"
        )


def fit_column(
    series: Series, is_category: bool, max_categories: int = _MAX_CATEGORIES, dates: str = "seconds"
) -> list[Column] | str:
    """Fit to a column; return its encoding, or the reason why it cannot help."""
    kind = kind_of(series)
    reason = "" if is_category else _reason_against(series, kind)
    if reason:
        return reason
    if is_category or kind == TEXTS:
        found: list[Column] = [_category_column(series, kind, max_categories)]
    else:
        found = _number_columns(series, kind, _DATE_PARTS if kind == DATES and dates == "parts" else ("",))
    return [one for one in found if one.feature_names()] or "one value"


def encoder_of(fitted: Mapping[str, list[Column] | str]) -> TableEncoder:
    """Return the encoder of the columns that can help, and warn about the others.

    Raises a ValueError if there are no features, or two features have the same name.
    """
    left_out = {name: found for name, found in fitted.items() if isinstance(found, str)}
    encoder = TableEncoder(
        tuple(one for found in fitted.values() if not isinstance(found, str) for one in found), left_out
    )
    reasons = "; ".join(f"{name or repr(name)} ({reason})" for name, reason in left_out.items())
    names = Counter(encoder.get_feature_names_out())
    if not names:
        raise ValueError(
            f"`frame` must have a column that can help; it has {listed(fitted)}, which are left out: "
            f"{reasons}"
        )
    most_frequent, n = names.most_common(1)[0]
    if n > 1:
        raise ValueError(
            "`frame` must have columns whose features have different names; "
            f"got {n} that are named {most_frequent!r:.80}"
        )
    if left_out:
        warn_outside(f"columns left out: {reasons:.1000}")
    return encoder


def _number_columns(series: Series, kind: str, parts: Sequence[str]) -> list[Column]:
    columns: list[Column] = []
    for part in parts:
        numbers = _numbers(series, part)
        known = numbers[~np.isnan(numbers)]
        mean = float(known.mean())
        centre = mean if kind == DATES and not part else 0.0
        # The parts of a date share one indicator.
        has_gaps = not columns and len(known) < len(numbers)
        columns.append(NumberColumn(series.name, kind, mean, centre, bool(np.ptp(known)), has_gaps, part))
    return columns


def _category_column(series: Series, kind: str, max_categories: int) -> CategoryColumn:
    counts = Counter(values_of(series))
    for category in counts:
        if not is_plain(category):
            raise ValueError(
                f"the column {series.name!r:.80} must hold texts or finite numbers to be categories, with "
                f"integers of at most 2**53 in size; got {category!r:.80}"
            )
    ordered = sorted(category for category in counts if category is not None)
    ordered += [None] * (None in counts)
    if len(ordered) <= max_categories:
        return CategoryColumn(series.name, kind, tuple(ordered) if len(ordered) > 1 else ())
    # Rarest first, and equally rare categories in ascending order, as in scikit-learn.
    rarest = set(sorted(ordered, key=counts.__getitem__)[: len(ordered) - max_categories])
    frequent = tuple(category for category in ordered if category not in rarest)
    return CategoryColumn(series.name, kind, frequent, tuple(one for one in ordered if one in rarest))


def _reason_against(series: Series, kind: str) -> str:
    """Return the reason why a column cannot help, or an empty string."""
    if kind == NOTHING:
        return "no value"
    if kind == TEXTS:
        values = [value for value in values_of(series) if value is not None]
        if len(set(values)) <= max(_FEW_ROWS, len(values) / 2):
            return ""
        texts = [value for value in values if value not in GAPS]
        if MOSTLY * len(texts) <= sum(map(looks_numeric, texts)) and not all(map(is_numeric, texts)):
            return _NUMBERS_AS_TEXT
        n_words = sum(len(value.split()) for value in values) / len(values)
        return "free text" if n_words > 2 else _DIFFERENT
    if kind != NUMBERS or not series.dtype.is_integer() or len(series) <= _FEW_ROWS or series.null_count():
        return ""
    numbers = numbers_of(series)
    steps = np.diff(numbers)
    if (steps > 0).all() or (steps < 0).all():
        return _IN_ORDER
    is_named_so = series.name.lower() == "id" or series.name.endswith(("_id", "_ID", "Id", "ID"))
    return _IDENTIFIERS if is_named_so and len(np.unique(numbers)) == len(numbers) else ""


def _numbers(series: Series, part: str) -> HostArray:
    """Return the numbers of a column, or a part of its dates; raise a ValueError if a number is infinite."""
    numbers = numbers_of(series)
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        raise ValueError(
            f"the column {series.name!r:.80} must hold finite numbers; got {numbers[infinite[0]]}"
        )
    if not part:
        return numbers
    gaps = np.isnan(numbers)
    moments = np.where(gaps, 0.0, numbers * 1e6).astype(np.int64).astype("M8[us]")
    years, months, days = (moments.astype(f"M8[{unit}]") for unit in "YMD")
    parts = {
        "year": years.astype(np.int64) + 1970,
        "month": (months - years).astype(np.int64) + 1,
        "day": (days - months).astype(np.int64) + 1,
        "weekday": (days.astype(np.int64) + 3) % 7 + 1,  # Monday is 1; 1 January 1970 was a Thursday
        "hour": (moments - days).astype("m8[h]").astype(np.int64),
    }
    return np.where(gaps, np.nan, parts[part])
