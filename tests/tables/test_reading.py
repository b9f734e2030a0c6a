"""Tables read for an encoder, and the types detected in the texts of a CSV file."""

from __future__ import annotations

import datetime
import gzip
import warnings

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from twolayer import _validation
from twolayer.datasets import load_table, read_table
from twolayer.preprocessing import TableEncoder

DAY = datetime.date(2024, 2, 29)
NOON = datetime.time(12, 30)
TRAINING = polars.DataFrame(
    {
        "age": [31.5, None, 45.0, 38.0],
        "n": [1, 2, 3, 5],
        "zip": ["01", "7", "01", None],
        "code": ["true", "1", "2024-01-01", "NA"],
        "ok": [True, False, None, True],
        "day": [DAY, DAY.replace(year=2020), None, DAY],
        "at": [datetime.datetime(2024, 1, 1, 10), None, datetime.datetime(2024, 1, 2), None],
        "time": [NOON, NOON.replace(hour=1), NOON, NOON],
        "rank": [1, 2, 1, 2],
    }
)


@pytest.fixture(scope="module")
def encoder():
    return TableEncoder.fit(TRAINING, categorical=["rank"])


def written(tmp_path, text, name="new.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_training_table_from_a_file_is_encoded_the_same(encoder, tmp_path):
    TRAINING.write_csv(tmp_path / "a.csv")
    TRAINING.write_parquet(tmp_path / "a.parquet")
    wanted = encoder.apply(TRAINING)
    for name in ("a.csv", "a.parquet"):
        frame = read_table(tmp_path / name, encoder=encoder)
        assert isinstance(frame, polars.DataFrame)
        assert frame.columns == TRAINING.columns
        np.testing.assert_array_equal(encoder.apply(frame), wanted)


@pytest.mark.parametrize("row", range(len(TRAINING)))
def test_a_single_row_from_a_file_is_encoded_the_same(row, encoder, tmp_path):
    table = TRAINING[[row]]
    table.write_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(
        encoder.apply(read_table(tmp_path / "a.csv", encoder=encoder)), encoder.apply(table)
    )


@pytest.mark.parametrize("gap", ["", "NA", "?", "none", "unknown"])
@pytest.mark.parametrize("name", ["age", "n", "ok", "day", "at", "time", "rank"])
def test_a_gap_in_any_column_is_encoded_as_a_gap(name, gap, encoder, tmp_path):
    """The gap is the only value of its column, or follows another value."""
    for rows in (TRAINING[:1], TRAINING[[0, 0]]):
        texts = [*rows[:1].write_csv(include_header=False).strip().split(",")]
        without = list(texts)
        without[TRAINING.columns.index(name)] = gap
        lines = [",".join(TRAINING.columns), *[",".join(texts)] * (len(rows) - 1), ",".join(without)]
        path = written(tmp_path, "\n".join(lines) + "\n")
        wanted = rows.with_columns(
            polars.when(polars.int_range(len(rows)) < len(rows) - 1).then(name).alias(name)
        )
        found = encoder.apply(read_table(path, missing=["unknown"], encoder=encoder))
        np.testing.assert_array_equal(found, encoder.apply(wanted))


def test_text_columns_of_an_encoder_are_read_as_texts(encoder, tmp_path):
    for text in ("true", "1", "2024-01-01", "NA"):
        path = written(tmp_path, f"zip,code\n01,{text}\n")
        frame = read_table(path, encoder=encoder)
        assert frame.rows() == [("01", text)]
    frame = polars.DataFrame({"zip": [7, None]})
    frame.write_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", encoder=encoder)["zip"].to_list() == ["7", None]
    assert read_table(tmp_path / "a.parquet")["zip"].to_list() == [7, None]


@pytest.mark.parametrize(
    ("name", "text", "got"),
    [("age", "old", "texts"), ("n", "true", "booleans"), ("day", "5", "numbers"), ("ok", "1", "numbers")],
)
def test_other_kinds_are_refused_by_the_encoder(name, text, got, encoder, tmp_path):
    TRAINING.with_columns(polars.lit(text).alias(name)).write_csv(tmp_path / "a.csv")
    frame = read_table(tmp_path / "a.csv", encoder=encoder)
    with pytest.raises(TypeError, match=rf"'{name}' must hold .*, as in training; got {got}"):
        encoder.apply(frame)


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.table])
def test_a_data_frame_is_returned_as_it_is(make, encoder):
    frame = make({"a": [1, 2]})
    assert read_table(frame) is frame
    assert read_table(frame, encoder=encoder) is frame


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"source": [1]}, TypeError, r"`source` must be a DataFrame of pandas, polars or pyarrow; got list"),
        ({"encoder": {}}, TypeError, r"`encoder` must be a TableEncoder; got dict"),
        ({"missing": "NA"}, TypeError, r"`missing` must be a collection of strings; got the string 'NA'"),
        ({"categorical": [1]}, TypeError, r"`categorical` must be a collection of strings; got 1 in it"),
        ({"categorical": ["b"]}, ValueError, r"must have the columns b; it has zip"),
        ({"source": "a.txt"}, ValueError, r"`source` must end in .csv, .tsv"),
    ],
)
def test_invalid_arguments_are_refused(more, error, message):
    with pytest.raises(error, match=message):
        read_table(**{"source": polars.DataFrame({"zip": ["1"]})} | more)


# Types detected in texts

DATE = datetime.date
MOMENT = datetime.datetime


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "-2"], [1, -2]),
        (["7", "NA"], [7, None]),
        (["1.5", ".5", "1e3"], [1.5, 0.5, 1000.0]),
        (["1" * 18, "5"], [int("1" * 18), 5]),
        (["1" * 40, "5"], ["1" * 40, "5"]),
        (["True", "false", "?"], [True, False, None]),
        (["2024-02-29", "-"], [DAY, None]),
        (["13/02/2024", "05/02/2024"], [DATE(2024, 2, 13), DATE(2024, 2, 5)]),
        (["01.02.2024", "29.02.2024"], [DATE(2024, 2, 1), DATE(2024, 2, 29)]),
        (["11:30", "09:30"], [datetime.time(11, 30), datetime.time(9, 30)]),
        (["0", "-0.5", "00.5"], [0.0, -0.5, 0.5]),
        (["13/01/2024", "14/01/2024"], [DATE(2024, 1, 13), DATE(2024, 1, 14)]),
        (["2024-01-01 10:00", "null"], [MOMENT(2024, 1, 1, 10), None]),
        (["2024-01-01T10:00:00+02:00"], [MOMENT(2024, 1, 1, 8, tzinfo=datetime.UTC)]),
        (["12:30:00", "12:30:00.5"], [NOON, NOON.replace(microsecond=500_000)]),
        (["12:30", "NA"], [NOON, None]),
        (["01/13/2024", "x"], ["01/13/2024", "x"]),
        (["1", "NA", "x"], ["1", "NA", "x"]),
        (["2024-02-29", "soon"], ["2024-02-29", "soon"]),
        (["true", "1"], ["true", "1"]),
        (["NA", "?"], ["NA", "?"]),
    ],
    ids=lambda values: values[0][:12] if isinstance(values[0], str) else "",
)
def test_the_type_of_a_column_is_detected_from_its_texts(texts, values, tmp_path):
    path = written(tmp_path, "i,a\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
    assert read_table(path)["a"].to_list() == values


def test_decimal_commas_are_detected_for_the_whole_file(tmp_path):
    path = written(tmp_path, "a;b;c;d\n1,5;1.500;NA;3\n2;7;0,5;4\n")
    with pytest.warns(UserWarning, match=r"'b' .* first '1\.500'; .* write them with decimal commas, and"):
        assert read_table(path).rows() == [(1.5, "1.500", None, 3), (2.0, "7", 0.5, 4)]
    path = written(tmp_path, "a;b\n1,5;1.50\n2;7\n")
    assert read_table(path, categorical=["a"]).rows() == [("1,5", 1.5), ("2", 7.0)]


def test_integers_that_are_too_long_are_read_as_texts(tmp_path):
    text = "".join(f"{i % 7},{(i % 5 + 1) * 10**39},{i % 2}\n" for i in range(40))
    path = written(tmp_path, "a,n,y\n" + text)
    assert load_table(path, drop=["n"]).encoder.get_feature_names_out() == ["a"]
    assert len(load_table(path).encoder.get_feature_names_out()) == 1 + 5  # five different texts


def test_a_damaged_gzip_file_is_refused(tmp_path):
    packed = bytearray(gzip.compress(b"a,y\n" + b"1,2\n" * 1000, mtime=0))
    packed[20:40] = b"\xff" * 20
    with pytest.raises(ValueError, match=r"a.csv.gz must be a table; it cannot be read"):
        read_table(written(tmp_path, bytes(packed), "a.csv.gz"))


# Parquet, a few columns at a time


@pytest.mark.parametrize("n_elements", [2**24, 1], ids=["one block", "many blocks"])
def test_parquet_read_in_blocks_gives_the_same_data(n_elements, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    some = TRAINING.drop("time")[rng.integers(0, 4, 60).tolist()]  # polars 1.20 reads times as integers here
    frame = some.with_columns(
        polars.Series("y", rng.choice(["u", "v", None], 60).tolist()), w=polars.Series(rng.random(60))
    )
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=7)
    with pytest.warns(UserWarning, match="of 60 rows have no y"):
        wanted = load_table(frame, weight="w")
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", n_elements)
    with pytest.warns(UserWarning, match="of 60 rows have no y"):
        found = load_table(tmp_path / "a.parquet", weight="w")
    assert found.encoder == wanted.encoder
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, name).X, getattr(wanted, name).X)
        np.testing.assert_array_equal(found.sample_weight[name], wanted.sample_weight[name])


def test_dropped_columns_are_not_read(tmp_path, monkeypatch):
    frame = polars.DataFrame({"a": range(40), "b": [i % 3 for i in range(40)], "y": ["u", "v"] * 20})
    frame.write_parquet(tmp_path / "a.parquet")
    read = []
    collect = polars.LazyFrame.collect

    def recording(lazy, *args, **more):
        frame = collect(lazy, *args, **more)
        read.extend(getattr(frame, "columns", []))
        return frame

    monkeypatch.setattr(polars.LazyFrame, "collect", recording)
    load_table(tmp_path / "a.parquet", drop=["a"])
    assert {"a", "b", "y"} & {*read} == {"b", "y"}


def test_file_names_are_not_patterns(tmp_path):
    TRAINING.write_parquet(tmp_path / "a[1].parquet")
    assert read_table(tmp_path / "a[1].parquet").equals(TRAINING)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "*.parquet")


def test_parquet_with_damaged_columns_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    polars.DataFrame({"a": [float(i % 97) for i in range(5000)], "y": [0, 1] * 2500}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.parquet must be a table; it cannot be read"):
        load_table(path, label="y")


# A few texts, or blanks, in a column of numbers


@pytest.mark.parametrize("text", ["n.a.", "12%", " 7"])
def test_a_few_texts_among_numbers_cause_a_warning(text, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},x\n" for i in range(19)) + f"{text},y\n")
    advice = r"; if they are gaps, list them in `missing`; if they are numbers, write them with decimal"
    message = rf"'a' .* 1 of its 20 values are not numbers, first '{text}'{advice}"
    with pytest.warns(UserWarning, match=message):
        assert read_table(path)["a"].dtype == polars.String
    assert read_table(path, missing=[text])["a"].dtype == polars.Int64
    assert (
        read_table(path, categorical=["a"])["a"].dtype == polars.String
    )  # chosen by the user, so no warning


def test_numbers_with_three_decimals_and_a_comma_are_numbers(tmp_path):
    """A thousands separator never follows a leading zero."""
    path = tmp_path / "t.csv"
    path.write_text("a;b\n0,942;x\n-1,397;y\n-0,024;x\n")
    assert read_table(path)["a"].to_list() == [0.942, -1.397, -0.024]


def test_decimal_commas_are_found_beside_a_few_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n" + "".join(f"{i},25;{i},5;{i}\n" for i in range(19)) + "12 kg;0,5;7\n")
    with pytest.warns(UserWarning, match=r"'a' .* 1 of its 20 values are not numbers, first '12 kg'"):
        table = read_table(path)
    assert table["a"].dtype == polars.String
    assert table["b"].to_list() == [i + 0.5 for i in range(19)] + [0.5]
    # Three digits behind each comma may be thousands, also beside other texts.
    path.write_text("a;b\n" + "".join(f"{i},250;{i}\n" for i in range(1, 20)) + "12 kg;7\n")
    with pytest.warns(UserWarning, match=r"'a' .* 20 of its 20 values are not numbers, first '1,250'"):
        assert read_table(path)["a"].to_list()[0] == "1,250"
    # One value among texts does not decide for the whole file, nor do codes.
    path.write_text("a;b\n3;0.5\n1,2;1.5\nmany;2.5\n")
    assert read_table(path)["b"].to_list() == [0.5, 1.5, 2.5]
    path.write_text("a;b\n" + "001,002;0.5\n007;1.5\n")
    assert read_table(path, categorical=["a"])["b"].to_list() == [0.5, 1.5]
    with pytest.warns(UserWarning, match=r"'a' .* 1 of its 2 values are not numbers, first '001,002'"):
        assert read_table(path).rows() == [("001,002", 0.5), ("007", 1.5)]
    # A comma-separated file has no decimal commas.
    path.write_text('a,b\n"1,5",x\n2,y\n')
    with pytest.warns(UserWarning, match=r"'a' .* first '1,5'; .* write them with decimal points, and"):
        assert read_table(path)["a"].to_list() == ["1,5", "2"]


def test_numbers_with_thousands_separators_cause_a_warning(tmp_path):
    """Also if most values of the column have none."""
    path = tmp_path / "t.csv"
    path.write_text("a;b\n" + "".join(f"{300 * i},25;{i},5\n" for i in range(4)) + "1.459,30;0,5\n" * 4)
    with pytest.warns(UserWarning, match=r"'a' .* 4 of its 8 values are not numbers, first '1\.459,30'"):
        assert read_table(path)["a"].dtype == polars.String
    path.write_text("a;b\n" + "1,459;0.5\n874;0.25\n" * 4)
    with pytest.warns(UserWarning, match=r"'a' .* first '1,459'; .* without thousands separators and units"):
        read_table(path)


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        (["874", "1.459", "12.345.678"], False),  # text
        (["874", "1.459", "0", "-12.000"], True),
        (["1.500", "2.250"], False),  # three decimals in every row
        (["874", "0.125"], False),
        (["874", "1.45"], False),
        (["874", "12"], False),
    ],
)
@pytest.mark.parametrize("delimiter", [";", ","])
def test_points_that_may_be_thousands_separators_cause_a_warning(values, warns, delimiter, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"a{delimiter}b\n" + "".join(f"{value}{delimiter}x\n" for value in values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_table(path)
    shown = [
        one for one in caught if "such as 1.459, whose point is read as a decimal point" in str(one.message)
    ]
    assert len(shown) == (warns and delimiter == ";")


@pytest.mark.parametrize("read", [read_table, load_table])
def test_the_warning_points_to_the_call(read, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(19)) + "12%,1,0\n")
    with pytest.warns(UserWarning, match="are not numbers") as caught:
        read(path)
    assert caught[0].filename == __file__


def test_texts_of_gaps_that_no_column_contains_cause_a_warning(encoder, tmp_path):
    path = written(tmp_path, "a,b\n1,x\n2,NA\n-999,\n")
    message = r"^no column of .*new\.csv contains '177\.09', 'none', which are in `missing`$"
    with pytest.warns(UserWarning, match=message) as caught:
        assert read_table(path, missing=["1", "177.09", "NA", "", "none"])["a"].to_list() == [None, 2, -999]
    assert len(caught) == 1
    # New rows may lack the gaps of the training rows.
    TRAINING.write_csv(tmp_path / "a.csv")
    read_table(tmp_path / "a.csv", missing=["177.09"], encoder=encoder)


def test_columns_that_an_encoder_does_not_use_cause_no_warning(encoder, tmp_path):
    more = polars.Series("spend", ["5"] * 39 + ["12%"])
    TRAINING[[0] * 40].with_columns(more).write_csv(tmp_path / "a.csv")
    assert read_table(tmp_path / "a.csv", encoder=encoder)["spend"].dtype == polars.String


def test_texts_with_some_numbers_cause_no_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},x\nw{i},x\n" for i in range(10)))
    assert read_table(path)["a"].dtype == polars.String


def test_an_unknown_column_suggests_a_similar_name(tmp_path):
    (tmp_path / "t.csv").write_text("Visits,b\n1,2\n")
    with pytest.raises(ValueError, match=r"must have the columns visits; .*; did you mean Visits\?"):
        read_table(tmp_path / "t.csv", categorical=["visits"])


def test_texts_whose_digits_a_number_would_lose_stay_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("zip,long,plain,share\n01234,1234567890123456789,10,0.5\n55555,3,20,-0.25\n")
    table = read_table(path)
    assert table["zip"].to_list() == ["01234", "55555"]
    assert table["long"].to_list() == ["1234567890123456789", "3"]
    assert (table["plain"].to_list(), table["share"].to_list()) == ([10, 20], [0.5, -0.25])


def test_column_names_may_contain_quotes_and_line_ends(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'"he""y","two\nlines",c\n1,2,x\n')
    assert read_table(path).columns == ['he"y', "two\nlines", "c"]
    path.write_bytes(b'"a\nb",x,x\n1,2,3\n')
    with pytest.raises(ValueError, match="must have different column names; got x twice"):
        read_table(path)


def test_a_carriage_return_alone_ends_a_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r1,x\r2,y\r")
    assert read_table(path).rows() == [(1, "x"), (2, "y")]


def test_thousands_separators_are_not_decimal_commas(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("price\ty\n950\ta\n1,200\tb\n12,500\tb\n")
    with pytest.warns(UserWarning, match=r"'price' .* first '1,200'; .* and without thousands separators"):
        assert read_table(path)["price"].to_list() == ["950", "1,200", "12,500"]
    path.write_text("price\ty\n950\ta\n1,250\tb\n12,5\tb\n")
    assert read_table(path)["price"].to_list() == [950.0, 1.25, 12.5]


def test_columns_without_a_name_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",column_0\n0,1\n1,2\n")
    assert read_table(path).columns == ["", "column_0"]
