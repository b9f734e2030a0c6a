"""Results as JSON and as CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer._records import read_json
from twolayer.report.files import format_json, write_csv, write_json

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The path of a file that each test writes anew."""
    return tmp_path_factory.mktemp("report") / "file"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | finite | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=20,
    )
)
def test_data_are_unchanged_after_writing_and_reading_json(path, data):
    write_json(path, data)
    assert read_json(path) == data


@given(
    data=st.dictionaries(text, text | finite, max_size=4),
    byte_order_mark=st.booleans(),
    windows=st.booleans(),
)
def test_json_with_a_byte_order_mark_or_windows_line_ends_can_be_read(path, data, byte_order_mark, windows):
    written = format_json(data).replace("\n", "\r\n" if windows else "\n")
    path.write_bytes(written.encode("utf-8-sig" if byte_order_mark else "utf-8"))
    assert read_json(path) == json.loads(written)


@pytest.mark.parametrize("data", [{"b": [1, "é"], "a": 0.1}, {"a": 0.1, "b": [1, "é"]}])
def test_json_is_utf8_sorted_indented_and_ends_in_a_newline(path, data):
    write_json(path, data)
    assert path.read_bytes() == '{\n  "a": 0.1,\n  "b": [\n    1,\n    "é"\n  ]\n}\n'.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float32("inf"), None),
        (np.array([1.0, math.nan]), [1.0, None]),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(2.5), 2.5),
        ((1, 2), [1, 2]),
        (Path("a") / "b", str(Path("a") / "b")),
        ({1: "x", None: "y"}, {"1": "x", "None": "y"}),
    ],
)
def test_json_converts_other_types(path, value, expected):
    write_json(path, value)
    found = read_json(path)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe"])
def test_a_file_that_is_not_json_is_refused_with_its_name(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file must be a JSON file in UTF-8; "):
        read_json(path)


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@given(
    st.lists(text, min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries({names[0]: finite}, optional=dict.fromkeys(names[1:], finite | text)),
            max_size=5,
        )
    )
)
def test_rows_are_unchanged_after_writing_and_reading_csv(path, rows):
    write_csv(path, rows)
    found = read_csv(path)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for row, read in zip(rows, found, strict=True):
        assert list(read) == columns
        for name in columns:
            value = row.get(name, "")
            assert read[name] == value if isinstance(value, str) else float(read[name]) == value


@pytest.mark.parametrize(
    ("rows", "written"),
    [
        # The columns are the union of the keys, in the order in which they are first seen.
        (iter([{"b": 1, "a": None}, {"a": 'x, "y"', "c": True}]), b'b,a,c\n1,,\n,"x, ""y""",True\n'),
        ([], b""),
    ],
    ids=["union", "empty"],
)
def test_csv_has_a_column_for_each_key_and_quotes_text(path, rows, written):
    write_csv(path, rows)
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.10000000149011612"),
        (1e-300, "1e-300"),
        (math.nan, "nan"),
        (np.int64(3), "3"),
        (np.bool_(False), "False"),
        (np.str_("he"), "he"),
    ],
)
def test_csv_converts_other_types(path, value, expected):
    write_csv(path, [{"a": value, "b": 0}])
    assert read_csv(path) == [{"a": expected, "b": "0"}]


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "", " a "])
def test_csv_keeps_text_with_separators_quotes_and_line_ends(path, value):
    write_csv(path, [{value: value}, {value: value}])
    assert read_csv(path) == [{value: value}] * 2


@pytest.mark.parametrize(
    ("write", "data", "error", "message"),
    [
        (write_json, {"runs": [1, {2}]}, TypeError, "`data['runs'][1]` must be something that JSON can hold"),
        (
            write_json,
            {"a": {1: 0, "1": 0}},
            ValueError,
            "`data['a']` must have keys that differ as text",
        ),
        (write_csv, [{"a": [1]}], TypeError, "`a` must hold text, numbers, booleans or None to be a column"),
    ],
    ids=["set", "keys", "list"],
)
def test_data_that_cannot_be_written_leave_the_file_unchanged(tmp_path, write, data, error, message):
    path = tmp_path / "data"
    path.write_text("before")
    with pytest.raises(error, match=re.escape(message)):
        write(path, data)
    assert [(one, one.read_text()) for one in tmp_path.iterdir()] == [(path, "before")]
