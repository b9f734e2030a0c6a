"""Tables loaded from files and data frames: formats, labels, weights, groups, times and refusals."""

from __future__ import annotations

import datetime
import gzip
import io
import sys

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from twolayer.datasets import load_table
from twolayer.preprocessing import TableEncoder

N = 60
RNG = np.random.default_rng(0)
COLUMNS = {
    "age": [None if i % 9 == 4 else float(i % 23) for i in range(N)],
    "state": [None if i % 11 == 5 else "abc"[i % 3] for i in range(N)],
    "member": [bool(i % 4) for i in range(N)],
    "since": [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(k)) for k in RNG.integers(0, 900, N)],
    "label": ["no", "yes", "yes"] * (N // 3),
}
TABLE = polars.DataFrame(COLUMNS)


@pytest.fixture(scope="module")
def expected():
    return load_table(TABLE)


def assert_same(data, expected):
    assert data.classes == expected.classes
    assert data.encoder == expected.encoder
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(data, name).X, getattr(expected, name).X)
        np.testing.assert_array_equal(getattr(data, name).y, getattr(expected, name).y)
        np.testing.assert_array_equal(data.rows[name], expected.rows[name])


def test_a_data_set_contains_encoded_rows_labels_and_classes(expected):
    assert expected.name == "table"
    assert expected.classes == ("no", "yes")
    assert expected.image_shape is None
    assert expected.sample_weight is None
    assert {name: len(rows) for name, rows in expected.rows.items()} == {
        "train": 42,
        "validation": 9,
        "test": 9,
    }
    labels = np.asarray(COLUMNS["label"])
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(
            np.asarray(expected.classes)[getattr(expected, name).y], labels[expected.rows[name]]
        )
    np.testing.assert_array_equal(
        expected.test.X, expected.encoder.apply(TABLE[expected.rows["test"].tolist()])
    )


def test_the_encoder_is_fitted_to_the_training_rows_only():
    values = np.zeros(N)
    frame = polars.DataFrame({"a": values, "label": COLUMNS["label"]})
    rows = load_table(frame.with_columns(a=polars.Series(RNG.normal(size=N)))).rows
    values[rows["test"]], values[rows["train"][0]] = 100.0, 1.0
    data = load_table(frame.with_columns(a=polars.Series(values)))
    assert data.encoder.columns[0].mean == pytest.approx(1 / len(rows["train"]))


@pytest.mark.parametrize(
    "make", [pandas.DataFrame, polars.DataFrame, pyarrow.table], ids=["pandas", "polars", "pyarrow"]
)
def test_data_frames_of_all_libraries_give_the_same_data(make, expected):
    assert_same(load_table(make(COLUMNS)), expected)


def as_csv(separator=",", *, mark=b"", quote="necessary"):
    return mark + TABLE.write_csv(separator=separator, quote_style=quote).encode()


FILES = {
    "plain.csv": as_csv(),
    "mark.csv": as_csv(mark=b"\xef\xbb\xbf"),
    "quoted.csv": as_csv(quote="non_numeric"),
    "semicolons.csv": as_csv(";"),
    "decimal-commas.csv": as_csv(";").replace(b".", b","),
    "tabs.tsv": as_csv("\t"),
    "windows.CSV": as_csv().replace(b"\n", b"\r\n"),
    "packed.csv.gz": gzip.compress(as_csv()),
    "packed.tsv.gz": gzip.compress(as_csv("\t")),
    "with-na.csv": as_csv().replace(b"\n,", b"\nNA,"),
}


@pytest.mark.parametrize("name", FILES)
def test_text_files_give_the_same_data(name, tmp_path, expected):
    (tmp_path / name).write_bytes(FILES[name])
    data = load_table(tmp_path / name)
    assert data.name == name.partition(".")[0]
    assert_same(data, expected)


def test_parquet_files_give_the_same_data(tmp_path, expected):
    TABLE.write_parquet(tmp_path / "a.parquet")
    assert_same(load_table(str(tmp_path / "a.parquet")), expected)


def test_standard_input_gives_the_same_data(monkeypatch, expected):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_csv())))
    data = load_table("-")
    assert data.name == "table"
    assert_same(data, expected)


def write(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def features_of(path, **more):
    return load_table(path, validation=0, test=0, **more).encoder.get_feature_names_out()


def test_texts_can_be_declared_as_gaps(tmp_path):
    path = write(tmp_path, "a,s,y\n1,x,0\nunknown,unknown,1\n4,z,0\n2,x,1\n")
    names = features_of(path, missing=["unknown"])
    assert names == ["a", "missingindicator_a", "s_x", "s_z", "s_None"]


def test_numbers_can_be_declared_as_categories(tmp_path):
    path = write(tmp_path, "zip,a,y\n10,1,0\n20,2,1\n30,3,0\n")
    assert features_of(path, categorical=["zip"]) == ["zip_10", "zip_20", "zip_30", "a"]
    assert features_of(path) == ["zip", "a"]
    path = write(tmp_path, "zip,a,y\n01,1,0\n02,2,1\n1,3,0\n")  # numbers have no leading zeros
    assert features_of(path) == ["zip_01", "zip_02", "zip_1", "a"]


@pytest.mark.parametrize("name", ["label", "target", "class", "y", "Class"])
def test_the_label_is_found_by_its_usual_names(name, tmp_path):
    path = write(tmp_path, f"a,{name},b\n1,u,3\n2,v,4\n5,u,9\n")
    assert features_of(path) == ["a", "b"]


def test_the_label_can_be_chosen_by_name(tmp_path):
    path = write(tmp_path, "state,y,b\nu,1,3\nv,2,4\nu,3,9\n")
    data = load_table(path, label="state", drop=["b"], validation=0, test=0)
    assert data.classes == ("u", "v")
    assert data.encoder.get_feature_names_out() == ["y"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 10], ("9", "10")),
        ([1.0, 0.0, 1.0], ("0", "1")),
        ([True, False, True], ("False", "True")),
        (["b", "a", "b"], ("a", "b")),
        (
            [datetime.date(2024, 1, 2), datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
            ("2024-01-01", "2024-01-02"),
        ),
    ],
    ids=["integers", "whole floats", "booleans", "texts", "dates"],
)
def test_labels_of_each_kind_are_read(labels, classes):
    data = load_table(pandas.DataFrame({"a": [1.0, 2.0, 4.0], "y": labels}), validation=0, test=0)
    assert data.classes == classes
    np.testing.assert_array_equal(data.train.y, [1, 0, 1])
    assert data.validation is data.test is None


def test_rows_without_a_label_are_left_out():
    labels = ["no", None, "yes"] * 20
    with pytest.warns(UserWarning, match=r"^20 of 60 rows have no label, and are left out$"):
        data = load_table(polars.DataFrame(COLUMNS | {"label": labels}))
    rows = np.concatenate(list(data.rows.values()))
    assert sorted(rows) == [i for i in range(N) if i % 3 != 1]


def test_weights_stay_with_their_rows():
    weights = [0.5 + i for i in range(N)]
    data = load_table(TABLE.with_columns(w=polars.Series(weights)), weight="w")
    assert "w" not in data.encoder.groups()
    for name, rows in data.rows.items():
        np.testing.assert_array_equal(data.sample_weight[name], np.asarray(weights)[rows])


def test_groups_are_not_features_but_times_are():
    frame = TABLE.with_columns(patient=polars.Series(np.arange(N) // 4))
    data = load_table(frame, group="patient")
    assert "patient" not in data.encoder.groups()
    assert not {*(data.rows["train"] // 4)} & {*(data.rows["test"] // 4)}
    data = load_table(frame, time="since", drop=["patient"])
    since = np.asarray(COLUMNS["since"])
    assert since[data.rows["train"]].max() <= since[data.rows["validation"]].min()
    assert "since" in data.encoder.groups()


def test_warnings_point_to_the_line_that_loads(tmp_path):
    frame = TABLE.with_columns(one=polars.lit(1), label=polars.Series([None, *COLUMNS["label"][1:]]))
    with pytest.warns(UserWarning, match="left out") as warned:
        load_table(frame)
    assert [warning.filename for warning in warned] == [__file__] * 2
    with pytest.warns(UserWarning, match=r"columns left out: one") as warned:
        TableEncoder.fit(frame)
    assert [warning.filename for warning in warned] == [__file__]


# Refusals

ROWS = "a,y\n1,0\n2,1\n"


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", {}, r"must be a table; it cannot be read \(empty"),
        ("a,y\n", {}, r"must have at least one row below the names of its columns; got none"),
        (
            "a,b\n1,2\n",
            {},
            r"`label` must name the column .* as it has none of the names .*; it has the columns a, b",
        ),
        ("y,label\n1,2\n", {}, r"`label` must name the column .* as it has 2 of the names"),
        (ROWS, {"label": "z"}, r"must have the columns z; it has a, y"),
        (ROWS, {"drop": ["b"]}, r"must have the columns b; it has a, y"),
        ("a,a,y\n1,2,0\n", {}, r"must have different column names; got a twice"),
        ("a,y\n1,0\n2,1,3\n", {}, r"must be a table; it cannot be read \(found more fields"),
        (
            "a,y\n1,é\n".encode("latin-1"),
            {},
            r"must be a table in UTF-8; it cannot be read .*; in Excel, save it as",
        ),
        ("a,y\n1,0\ninf,1\n", {}, r"'a' must hold finite numbers; got inf$"),
        ("a,y\n1,0\n2,0\n", {}, r"'y' of .* must hold at least two classes; got one"),
        ("a,y\n1,\n2,\n", {}, r"'y' of .* must hold labels; got none"),
        (
            "a,y\n1,0.5\n2,1\n",
            {},
            r"'y' of .* must hold a class for each row; got 2 different numbers.*regression",
        ),
        ("y\n0\n1\n", {}, r"own.csv must have a column to learn from; it has y"),
        ("a,w,y\n1,1,0\n2,-1,1\n", {"weight": "w"}, r"'w' of .* a weight of at least 0 .* first in row 1"),
        ("a,w,y\n1,,0\n2,1,1\n", {"weight": "w"}, r"'w' of .* a weight of at least 0 .* first in row 0"),
        (
            "a,w,y\n1,p,0\n2,q,1\n",
            {"weight": "w"},
            r"'w' of .* a weight of at least 0 for each row; got texts",
        ),
        (ROWS, {"group": "a", "time": "a"}, r"`group` or `time` must be given, not both; got both"),
        (ROWS, {"validation": 1, "test": 1}, r"must leave a sample of every class to train on"),
        (ROWS, {"test": 1.5}, r"`test` must be below 1 where it is a share; got 1.5"),
        (ROWS, {"seed": -1}, r"`seed` must be at least 0; got -1"),
    ],
    ids=range(21),
)
def test_invalid_tables_and_options_are_refused(text, more, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_table(write(tmp_path, text), **{"validation": 0, "test": 0} | more)


@pytest.mark.parametrize("name", ["drop", "categorical", "missing"])
def test_a_single_string_is_not_a_collection_of_strings(name):
    with pytest.raises(TypeError, match=rf"`{name}` must be a collection of strings; got the string 'age'"):
        load_table(TABLE, **{name: "age"})


def test_blanks_around_fields_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"own.csv must have no blanks around its fields.* got the column ' y'"
    ):
        load_table(write(tmp_path, "a, y\n1, 2\n3, 4\n"))


def test_long_headers_are_read_in_full(tmp_path):
    names = [f"{'x' * 22}_{i}" for i in range(3000)]
    text = (
        ",".join([*names, "y"])
        + "\n"
        + "".join(f"{','.join([str(i % 7)] * 3000)},{i % 2}\n" for i in range(9))
    )
    assert load_table(write(tmp_path, text), validation=0, test=0).n_features == 3000


def test_a_header_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes("größe,y\n1,0\n2,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a.csv must be a table in UTF-8; it cannot be read"):
        load_table(tmp_path / "a.csv")


@pytest.mark.parametrize("more", [{"time": "t"}, {"group": "g", "seed": 2}])
def test_a_class_without_training_rows_is_refused(more):
    columns = {
        "x": [i % 7 for i in range(40)],
        "t": [i // 2 for i in range(40)],
        "g": [i // 10 for i in range(40)],
    }
    frame = polars.DataFrame(columns | {"label": ["a"] * 30 + ["b"] * 10})
    message = r"must leave a row of each class to train on; they leave none of b: try other values of `valid"
    with pytest.raises(ValueError, match=message):
        load_table(frame, test=0.25, validation=0, **more)


@pytest.mark.parametrize("name", ["weight", "time"])
def test_errors_count_rows_as_in_the_table(name):
    labels = [None] * 5 + ["a", "b"] * 18
    values = [None if i == 10 else i % 9 for i in range(41)]
    frame = polars.DataFrame({"x": [i % 7 for i in range(41)], "values": values, "label": labels})
    with (
        pytest.warns(UserWarning, match="5 of 41 rows have no label"),
        pytest.raises(ValueError, match=r"got .*, first in row 10 \(counted from 0\)"),
    ):
        load_table(frame, **{name: "values"})


@pytest.mark.parametrize("values", [["1/13/2024"] * 40, [[1]] * 40])
def test_times_must_be_dates_or_numbers(values):
    frame = polars.DataFrame({"x": [i % 7 for i in range(40)], "t": values, "label": ["a", "b"] * 20})
    with pytest.raises((ValueError, TypeError), match=r"column 't' .*must hold .*date"):
        load_table(frame, time="t")


MOMENT = datetime.datetime(2024, 1, 1)


@pytest.mark.parametrize(
    ("make", "labels", "message"),
    [
        (pandas.DataFrame, [1, "a"], r"'y' must hold numbers, texts or dates; got numbers and texts$"),
        (pandas.DataFrame, [[1], [2]], r"'y' must hold numbers, texts or dates; got list$"),
        (polars.DataFrame, [[1], [2]], r"'y' must hold numbers, texts or dates; got List\(Int64\)$"),
        (polars.DataFrame, [{"a": 1}, {"a": 2}], r"'y' must hold numbers, texts or dates; got Struct"),
        (pandas.DataFrame, [MOMENT, MOMENT.date()], r"'y' of table must hold labels of one kind; got"),
    ],
    ids=["mixed", "objects", "lists", "records", "dates"],
)
def test_labels_of_mixed_or_other_kinds_are_refused(make, labels, message):
    frame = make({"a": range(20), "y": labels * 10})
    with pytest.raises(TypeError, match=message):
        load_table(frame)


def test_groups_of_lists_are_refused():
    frame = polars.DataFrame({"a": range(20), "y": [0, 1] * 10, "g": [[1], [2]] * 10})
    with pytest.raises(TypeError, match=r"`group` must name a column of table of texts or numbers"):
        load_table(frame, group="g")


def test_equal_times_in_all_rows_are_refused():
    frame = polars.DataFrame({"a": range(20), "y": [0, 1] * 10, "t": [5] * 20})
    message = r"`time` must leave rows to train on; 20 of the 20 rows of table have the same earliest time$"
    with pytest.raises(ValueError, match=message):
        load_table(frame, time="t")


def test_a_different_number_in_each_row_is_not_a_class(tmp_path):
    text = "a,y\n" + "".join(f"{i % 7},{i}\n" for i in range(5000))
    with pytest.raises(
        ValueError, match=r"got 5,000 different numbers, which look like values for regression"
    ):
        load_table(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.xlsx", b"", ValueError, r"`source` must end in .csv, .tsv.*; got .*a.xlsx"),
        ("a.parquet", b"PAR1", ValueError, r"a.parquet must be a table; it cannot be read"),
        (
            "a.csv.gz",
            gzip.compress(ROWS.encode(), mtime=0)[:-5],
            ValueError,
            r"a.csv.gz must be a table; it cannot be read \(Compressed file ended",
        ),
    ],
    ids=["suffix", "parquet", "gzip"],
)
def test_unsupported_and_damaged_files_are_refused(name, content, error, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        load_table(tmp_path / name)


def test_a_source_that_is_not_a_table_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        load_table(tmp_path / "none.csv")
    with pytest.raises(
        TypeError, match=r"`source` must be a DataFrame of pandas, polars or pyarrow; got list"
    ):
        load_table([[1, 2]])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match=r"`source` must be a file, as standard input is closed; got -"):
        load_table("-")
