"""The table encoder, compared with scikit-learn's transformers where they exist."""

from __future__ import annotations

import datetime
import decimal
import json
import warnings

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from twolayer.datasets import load_table
from twolayer.preprocessing import Standardizer, TableEncoder

MAKERS = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": pyarrow.table}
DAY = datetime.date(2024, 2, 29)


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def feature_names(encoder):
    return encoder.get_feature_names_out()


# Comparison with scikit-learn


@st.composite
def tables(draw):
    """A table of numbers and texts to fit to, a new table with other texts, and `max_categories`."""
    n, n_new = draw(st.integers(3, 30)), draw(st.integers(1, 10))
    finite = st.floats(-1e6, 1e6, allow_subnormal=False)
    gap = draw(st.booleans())

    def numbers(size):
        return draw(st.lists(finite | st.none() if gap else finite, min_size=size, max_size=size))

    def texts(size, letters):
        return draw(st.lists(st.sampled_from(letters), min_size=size, max_size=size))

    first = {
        "a": [1.0, 2.0, *numbers(n)],
        "b": [None, 5.0, 6.0, *numbers(n - 1)],
        "s": ["p", "q", *texts(n, "pqrstuv")],
    }
    second = {"a": numbers(n_new), "b": numbers(n_new), "s": texts(n_new, "pqrstuvwxyz")}
    # A column without gaps in training has only gaps in the new table.
    second = {
        name: [None if name == "a" and not gap else value for value in values]
        for name, values in second.items()
    }
    return first, second, draw(st.integers(1, 8))


@given(columns=tables(), library=st.sampled_from(sorted(MAKERS)))
@settings(max_examples=60)
def test_the_matrix_equals_that_of_scikit_learn(columns, library):
    first, second, most = columns
    make = MAKERS[library]
    encoder = TableEncoder.fit(make(first), max_categories=most)
    theirs = make_column_transformer(
        (SimpleImputer(add_indicator=True), ["a", "b"]),
        (
            OneHotEncoder(max_categories=most + 1, handle_unknown="infrequent_if_exist", sparse_output=False),
            ["s"],
        ),
        verbose_feature_names_out=False,
    )
    theirs.fit(pandas.DataFrame(first))
    order = [feature_names(encoder).index(name) for name in theirs.get_feature_names_out()]
    assert len(order) == encoder.n_outputs
    for table in (first, second):
        frame = pandas.DataFrame(table).astype({"a": float, "b": float})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about unknown categories
            wanted = theirs.transform(frame)
        np.testing.assert_allclose(encoder.apply(make(table))[:, order], wanted, rtol=1e-12, atol=1e-12)


def test_standardized_features_equal_those_of_scikit_learn(make):
    rng = np.random.default_rng(0)
    frame = make({"a": rng.normal(5, 3, 50).tolist(), "s": rng.choice(["x", "y"], 50).tolist()})
    X = TableEncoder.fit(frame).apply(frame)
    ours = Standardizer.fit(X, scale="feature").apply(X, dtype="float64")
    np.testing.assert_allclose(ours, StandardScaler().fit_transform(X), rtol=1e-12, atol=1e-12)


# Features of each kind of column


def test_gaps_in_numbers_become_the_mean_and_an_indicator(make):
    encoder = TableEncoder.fit(make({"a": [1.0, None, 3.0], "n": [4, 5, 9]}))
    assert feature_names(encoder) == ["a", "missingindicator_a", "n"]
    new = encoder.apply(make({"n": [7, 8], "a": [None, 6.5]}))
    np.testing.assert_array_equal(new, [[2.0, 1.0, 7.0], [6.5, 0.0, 8.0]])
    assert new.dtype == np.float64


def test_a_gap_in_a_column_without_training_gaps_becomes_the_mean(make):
    encoder = TableEncoder.fit(make({"a": [1.0, 3.0, 8.0]}))
    np.testing.assert_array_equal(encoder.apply(make({"a": [None, 2.0]})), [[4.0], [2.0]])


def test_booleans_become_zeros_and_ones(make):
    encoder = TableEncoder.fit(make({"ok": [True, None, False, True]}))
    assert feature_names(encoder) == ["ok", "missingindicator_ok"]
    np.testing.assert_allclose(encoder.apply(make({"ok": [True, False, None]})), [[1, 0], [0, 0], [2 / 3, 1]])


def test_each_category_and_the_gap_become_a_feature(make):
    encoder = TableEncoder.fit(make({"s": ["x", None, "y", "x"]}))
    assert feature_names(encoder) == ["s_x", "s_y", "s_None"]
    np.testing.assert_array_equal(
        encoder.apply(make({"s": ["y", None, "z"]})), [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    )


def test_rare_and_unseen_categories_share_a_feature(make):
    frame = make({"s": list("aaaabbbcd")})
    encoder = TableEncoder.fit(frame, max_categories=2)
    assert feature_names(encoder) == ["s_a", "s_b", "s_infrequent_sklearn"]
    new = make({"s": ["d", "a", "unseen"]})
    np.testing.assert_array_equal(encoder.apply(new), [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert encoder.unseen(new) == {"s": 1}
    assert encoder.unseen(frame) == {}


def test_numbers_can_be_encoded_as_categories(make):
    encoder = TableEncoder.fit(make({"zip": [10, 20, 10], "a": [1.0, 2.0, 4.0]}), categorical=["zip"])
    assert feature_names(encoder) == ["zip_10", "zip_20", "a"]
    np.testing.assert_array_equal(encoder.apply(make({"zip": [20], "a": [0.0]})), [[0, 1, 0]])


def test_unused_categories_of_pandas_get_no_feature():
    column = pandas.Categorical(["u", "v", None, "u"], categories=["w", "v", "u"])
    encoder = TableEncoder.fit(pandas.DataFrame({"c": column}))
    assert feature_names(encoder) == ["c_u", "c_v", "c_None"]


@pytest.mark.parametrize("days", [[0, 1, 5], [0, None, 366]])
def test_dates_become_seconds_relative_to_their_mean(days, make):
    dates = [None if day is None else DAY + datetime.timedelta(days=day) for day in days]
    moments = [None if day is None else datetime.datetime.combine(day, datetime.time(12)) for day in dates]
    known = [day for day in days if day is not None]
    mean = sum(known) / len(known)
    wanted = [86_400.0 * ((mean if day is None else day) - mean) for day in days]
    for column in (dates, moments):
        encoder = TableEncoder.fit(make({"t": column}))
        assert feature_names(encoder) == ["t", *(["missingindicator_t"] if None in days else [])]
        np.testing.assert_allclose(encoder.apply(make({"t": column}))[:, 0], wanted, atol=1e-6)


def test_dates_can_become_year_month_day_weekday_and_hour(make):
    moments = [datetime.datetime(1969, 12, 28, 23, 30), None, datetime.datetime(2024, 2, 29, 1)]
    encoder = TableEncoder.fit(make({"t": moments}), dates="parts")
    parts = ["t_year", "missingindicator_t", "t_month", "t_day", "t_weekday", "t_hour"]
    assert feature_names(encoder) == parts
    wanted = [[1969, 0, 12, 28, 7, 23], [1996.5, 1, 7, 28.5, 5.5, 12], [2024, 0, 2, 29, 4, 1]]
    np.testing.assert_array_equal(encoder.apply(make({"t": moments})), wanted)


def test_time_zones_are_taken_into_account():
    noon = pandas.Series(pandas.to_datetime(["2024-01-01 12:00", "2024-01-02 12:00"]))
    here, there = (noon.dt.tz_localize(zone) for zone in ("UTC", "Asia/Tokyo"))
    encoder = TableEncoder.fit(pandas.DataFrame({"t": here}))
    moved = encoder.apply(pandas.DataFrame({"t": there})) - encoder.apply(pandas.DataFrame({"t": here}))
    np.testing.assert_allclose(moved, -9 * 3600)


@pytest.mark.parametrize("zone", ["America/New_York", "Etc/GMT+5", "UTC", "+01:00"])
def test_all_names_of_time_zones_are_read(zone):
    """Narwhals does not support some names, or reads their dates as times of day."""
    column = pyarrow.array([0, None, 86_400 * 10**6], pyarrow.timestamp("us", zone))
    table = pyarrow.table({"t": column})
    wanted = [[-43_200.0, 0.0], [0.0, 1.0], [43_200.0, 0.0]]
    for frame in (table, table.to_pandas(), table.to_pandas(types_mapper=pandas.ArrowDtype)):
        encoder = TableEncoder.fit(frame)
        assert encoder.columns[0].kind == "dates"
        np.testing.assert_array_equal(encoder.apply(frame), wanted)


def test_string_views_are_read_as_texts():
    column = pyarrow.array(["u", "v", None] * 20, pyarrow.string_view())
    frame = pyarrow.table({"s": column, "y": [0, 1, 2] * 20})
    assert feature_names(load_table(frame).encoder) == ["s_u", "s_v", "s_None"]
    assert load_table(frame.slice(0, 2), label="s", validation=0, test=0).classes == ("u", "v")


def test_signalling_nan_is_a_gap():
    values = [decimal.Decimal("1.5"), decimal.Decimal("sNaN"), decimal.Decimal("2.5")]
    frame = pandas.DataFrame({"d": values})
    encoder = TableEncoder.fit(frame)
    np.testing.assert_array_equal(encoder.apply(frame), [[1.5, 0], [2, 1], [2.5, 0]])


def test_the_text_none_and_a_gap_become_different_features(make):
    frame = make({"s": ["None", None, "x"]})
    encoder = TableEncoder.fit(frame)
    assert feature_names(encoder) == ["s_None", "s_x", "missingindicator_s"]
    np.testing.assert_array_equal(encoder.apply(frame), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert feature_names(TableEncoder.fit(make({"s": ["None", "x"]}))) == ["s_None", "s_x"]


def test_durations_become_seconds(make):
    lengths = [datetime.timedelta(minutes=1), datetime.timedelta(days=1, microseconds=500)]
    encoder = TableEncoder.fit(make({"t": lengths}))
    np.testing.assert_allclose(encoder.apply(make({"t": lengths})), [[60.0], [86_400.0005]], rtol=1e-12)


def test_object_columns_of_pandas_are_encoded_by_their_values():
    frame = pandas.DataFrame(
        {"d": [DAY, None], "b": [True, None], "s": ["x", "y"], "e": [None, None]}, dtype=object
    )
    with pytest.warns(UserWarning, match=r"e \(no value\)"):
        encoder = TableEncoder.fit(frame)
    assert feature_names(encoder) == ["missingindicator_d", "missingindicator_b", "s_x", "s_y"]


# Columns that are left out


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([7] * 30, "one value"),
        (["same"] * 30, "one value"),
        ([None] * 30, "no value"),
        ([*range(100, 130)], "row numbers"),
        ([*range(130, 100, -1)], "row numbers"),
        ([f"person {i}" for i in range(30)], "different in most rows"),
        ([f"the case of number {i}" for i in range(30)], "free text"),
        (
            [f"{i * 1.5}" for i in range(20)] + ["NA"] * 9 + ["1,177.09"],
            "text, as some values are not numbers",
        ),
        (
            [f"{i}.{i:03},5" for i in range(20)] + [f"{i},5" for i in range(10)],
            "text, as some values are not numbers",
        ),
        ([f"{i:05}" for i in range(29, -1, -1)], "different in most rows"),
    ],
    ids=[
        "one number",
        "one text",
        "gaps",
        "rising",
        "falling",
        "names",
        "sentences",
        "numbers",
        "thousands",
        "digits",
    ],
)
def test_columns_that_cannot_help_are_left_out(column, reason, make):
    frame = make({"odd": column, "a": [float(i % 7) for i in range(30)]})
    with pytest.warns(UserWarning, match=rf"left out: odd \({reason}\)$"):
        encoder = TableEncoder.fit(frame)
    assert encoder.left_out == {"odd": reason}
    assert feature_names(encoder) == ["a"]
    assert encoder.apply(frame).shape == (30, 1)


def test_identifiers_are_recognised_by_their_name(make):
    numbers = np.random.default_rng(0).permutation(30).tolist()
    with pytest.warns(UserWarning, match=r"user_id \(identifiers\)"):
        encoder = TableEncoder.fit(make({"user_id": numbers, "size": numbers}))
    assert feature_names(encoder) == ["size"]


def test_a_small_table_may_differ_in_all_rows(make):
    frame = make({"n": [1, 2, 3], "s": ["x", "y", "z"]})
    assert feature_names(TableEncoder.fit(frame)) == ["n", "s_x", "s_y", "s_z"]


def test_a_column_named_as_categorical_is_kept(make):
    frame = make({"s": [f"person {i}" for i in range(30)]})
    assert TableEncoder.fit(frame, categorical=["s"], max_categories=50).n_outputs == 30


# Columns are found by their names


def test_the_order_of_columns_and_extra_columns_do_not_matter(make):
    encoder = TableEncoder.fit(make({"a": [1.0, 2.0], "s": ["x", "y"]}))
    new = encoder.apply(make({"more": [0], "s": ["y"], "a": [5.0]}))
    np.testing.assert_array_equal(new, [[5, 0, 1]])


def test_groups_are_the_feature_indices_of_each_column():
    encoder = TableEncoder.fit(polars.DataFrame({"a": [1.0, None, 3.0], "s": ["x", "y", "y"]}))
    assert encoder.groups() == {"a": [0, 1], "s": [2, 3]}


# Storage


def test_an_encoder_survives_json(make):
    columns = {
        "a": [1.5, None, 3.0], "s": ["x", None, "y"], "z": [1, 2, 2], "ok": [True, False, None],
        "t": [DAY, None, DAY.replace(year=2020)],
    }  # fmt: skip
    for dates in ("seconds", "parts"):
        encoder = TableEncoder.fit(make(columns), categorical=["z"], dates=dates)
        again = TableEncoder.from_json(encoder.to_json())
        assert again == encoder
        np.testing.assert_array_equal(again.apply(make(columns)), encoder.apply(make(columns)))


# Refusals

PLAIN = {"a": [1.0, 2.0], "s": ["x", "y"]}


@pytest.mark.parametrize(
    ("columns", "more", "error", "message"),
    [
        (
            {"a": [1.0, np.inf]},
            {},
            ValueError,
            r"'a' must hold finite numbers; got inf$",
        ),
        ({"a": [[1], [2]]}, {}, TypeError, r"'a' must hold numbers, texts or dates; got List"),
        ({"a": []}, {}, ValueError, r"at least one row; got none"),
        (PLAIN, {"categorical": ["b"]}, ValueError, r"must have the columns b; it has a, s"),
        (PLAIN, {"max_categories": 0}, ValueError, r"`max_categories` must be at least 1; got 0"),
        (PLAIN, {"dates": "days"}, ValueError, r"`dates` must be one of 'seconds', 'parts'; got 'days'"),
        ({"a": [1, 1]}, {}, ValueError, r"a column that can help; it has a, .*a \(one value\)"),
        ({"a_x": [1, 2], "a": ["x", "y"]}, {}, ValueError, r"different names; got 2 that are named 'a_x'"),
    ],
    ids=["infinite", "lists", "no rows", "no column", "categories", "dates", "constant", "equal names"],
)
def test_fit_refuses_invalid_tables_and_options(columns, more, error, message):
    with pytest.raises(error, match=message):
        TableEncoder.fit(polars.DataFrame(columns), **more)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"a": [1.0]}, ValueError, r"`frame` must have the columns s; it has a"),
        (
            {"a": ["1.0"], "s": ["x"]},
            TypeError,
            r"'a' must hold numbers, as in training; got texts$",
        ),
        (
            {"a": ["1.0", None, "€ 384.82", "-2e3", " 7", "NA"], "s": ["x"] * 6},
            TypeError,
            r"'a' must hold numbers, as in training; got texts: 2 of its 4 values are not numbers, first "
            r"'€ 384\.82' in row 2 \(counted from 0\)$",
        ),
        (
            {"a": ["1,5", "2,5"], "s": ["x"] * 2},
            TypeError,
            r"'a' must hold numbers, as in training; got texts: 2 of its 2 values are not numbers",
        ),
        (
            {"a": ["0,94", "1000,5", "12 kg", "?"], "s": ["x"] * 4},
            TypeError,
            r"'a' must hold numbers, as in training; got texts: 1 of its 3 values are not numbers, first "
            r"'12 kg' in row 2 \(counted from 0\)$",
        ),
        (
            {"a": [1.0], "s": [1]},
            TypeError,
            r"'s' must hold texts, as in training; got numbers",
        ),
        ({"a": [-np.inf], "s": ["x"]}, ValueError, r"'a' must hold finite numbers; got -inf$"),
    ],
    ids=["missing", "texts", "some texts", "decimal commas", "commas and others", "numbers", "infinite"],
)
def test_apply_refuses_tables_unlike_the_training_table(columns, error, message, make):
    with pytest.raises(error, match=message):
        TableEncoder.fit(make(PLAIN)).apply(make(columns))


@pytest.mark.parametrize("frame", [np.ones((2, 2)), [[1, 2]], {"a": [1]}, pandas.Series([1])])
def test_only_data_frames_are_accepted(frame):
    with pytest.raises(TypeError, match=r"`frame` must be a DataFrame of pandas, polars or pyarrow; got "):
        TableEncoder.fit(frame)


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_columns_with_equal_names_are_refused(library):
    names = ["a", "b", "a"]
    if library == "pandas":
        frame = pandas.DataFrame([[1, 2, 3], [4, 5, 7]], columns=names)
    else:
        frame = pyarrow.table([[1, 2], [3, 4], [5, 6]], names=names)
    with pytest.raises(ValueError, match=r"`frame` must have different column names; got .*'a' 2 times$"):
        TableEncoder.fit(frame)


def test_columns_without_names_are_refused():
    with pytest.raises(TypeError, match=r"strings as column names; got 0"):
        TableEncoder.fit(pandas.DataFrame([[1, 2], [3, 4]]))


def test_a_column_of_mixed_kinds_is_refused():
    with pytest.raises(TypeError, match=r"'m' must hold numbers, texts or dates; got numbers and texts"):
        TableEncoder.fit(pandas.DataFrame({"m": [1, "a"]}))


@pytest.mark.parametrize("gaps", [[float("nan")] * 30, [float("nan"), None] * 15])
def test_a_column_of_only_nan_has_no_value(gaps):
    frame = polars.DataFrame({"x": [i % 7 / 2 for i in range(30)], "gaps": gaps})
    with pytest.warns(UserWarning, match=r"left out: gaps \(no value\)"):
        encoder = TableEncoder.fit(frame)
    assert encoder.get_feature_names_out() == ["x"]


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ([2**60, 2**60 + 1], "1152921504606846976"),
        ([np.inf, 1.0], "inf"),
        ([datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], r"datetime.date\(2020, 1, 1\)"),
    ],
)
def test_categories_that_cannot_be_stored_are_refused(values, got):
    with pytest.raises(
        ValueError, match=rf"'c' must hold texts or finite .* of at most 2\*\*53 .*; got {got}"
    ):
        TableEncoder.fit(pandas.DataFrame({"c": values}), categorical=["c"])


def test_damaged_stored_encoders_are_refused():
    whole = json.loads(TableEncoder.fit(polars.DataFrame(PLAIN)).to_json())
    changes = {
        "version": [None, "1", -1, 0, 2],
        "columns": [None, {}, [1], [{"type": "NumberColumn"}], [{"name": "a"}]],
        "left_out": [None, [], {"a": 1}],
    }
    texts = [json.dumps(whole | {name: value}) for name, values in changes.items() for value in values]
    column = whole["columns"][0]
    category = next(one for one in whole["columns"] if one["type"] == "CategoryColumn")
    texts += [json.dumps(whole | {"columns": [column | {name: []}]}) for name in column]
    texts += [
        json.dumps(whole | {"columns": [one]})
        for one in (
            column | {"part": "century"},
            column | {"kind": "colours"},
            column | {"type": "Column"},
            category | {"kind": "colours"},
            category | {"categories": ["x", "x"]},
            category | {"categories": ["x"], "infrequent": ["x"]},
        )
    ]
    for text in ("", "[]", "{}", "[" * 100_000, *texts):
        with pytest.raises(ValueError, match=r"the table encoder must"):
            TableEncoder.from_json(text)
