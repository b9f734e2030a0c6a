"""Results as files and as text."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer import report
from twolayer.sweeping import sweep
from twolayer.training.history import History

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def history_of(loss, step, **columns):
    """A history of one network whose other columns are nan, or those that are given."""
    empty = np.full(len(step), math.nan)
    columns = {name: np.asarray(columns.get(name, empty), dtype=np.float64) for name in History._fields[3:]}
    loss = np.asarray(loss, dtype=np.float64)
    return History(loss, np.zeros_like(loss), np.asarray(step, dtype=np.int64), **columns)


def stack_of(history):
    """The history of a stack of two networks that went the same way."""
    return History(*(a if name == "step" else np.stack([a, a]) for name, a in history._asdict().items()))


# JSON


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | finite | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_gives_back_what_it_was_given(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "data.json"
    report.write_json(path, data)
    assert report.read_json(path) == data


@given(data=st.dictionaries(text, text | finite, max_size=4), marked=st.booleans(), windows=st.booleans())
def test_json_as_programs_on_windows_write_it(tmp_path_factory, data, marked, windows):
    path = tmp_path_factory.getbasetemp() / "windows.json"
    written = report.format_json(data).replace("\n", "\r\n" if windows else "\n")
    path.write_bytes(written.encode("utf-8-sig" if marked else "utf-8"))
    assert report.read_json(path) == json.loads(written)


def test_json_is_utf8_sorted_indented_and_ends_in_a_newline(tmp_path):
    path = tmp_path / "data.json"
    report.write_json(path, {"b": [1, "é"], "a": 0.1})
    assert path.read_bytes() == '{\n  "a": 0.1,\n  "b": [\n    1,\n    "é"\n  ]\n}\n'.encode()


def test_json_does_not_depend_on_the_order_of_keys(tmp_path):
    data = {"reg": 0.1, "learning_rate": 0.2, 3: {"b": 1, "a": 2}}
    report.write_json(tmp_path / "one", data)
    report.write_json(tmp_path / "other", dict(reversed(data.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


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
def test_json_of_other_types(tmp_path, value, expected):
    report.write_json(tmp_path / "data.json", value)
    found = report.read_json(tmp_path / "data.json")
    assert found == expected
    assert type(found) is type(expected)


def test_json_says_what_it_cannot_hold_and_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "data.json"
    report.write_json(path, 1)
    with pytest.raises(
        TypeError, match=r"`data\['runs'\]\[1\]` must be something that JSON can hold; got set"
    ):
        report.write_json(path, {"runs": [1, {2}]})
    with pytest.raises(ValueError, match=r"`data\['a'\]` must have keys that differ as text; got two"):
        report.write_json(path, {"a": {1: 0, "1": 0}})
    assert report.read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe"])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.json must be a JSON file in UTF-8; "):
        report.read_json(path)


# CSV


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
def test_csv_gives_back_what_it_was_given(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    report.write_csv(path, rows)
    found = read_csv(path)
    assert len(found) == len(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for row, read in zip(rows, found, strict=True):
        assert list(read) == columns
        for name in columns:
            value = row.get(name, "")
            assert read[name] == value if isinstance(value, str) else float(read[name]) == value


def test_csv_columns_are_the_union_of_keys_in_the_order_first_seen(tmp_path):
    path = tmp_path / "rows.csv"
    report.write_csv(path, iter([{"b": 1, "a": None}, {"a": 'x, "y"', "c": True}]))
    assert path.read_bytes() == b'b,a,c\n1,,\n,"x, ""y""",True\n'


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
def test_csv_of_other_types(tmp_path, value, expected):
    report.write_csv(tmp_path / "rows.csv", [{"a": value, "b": 0}])
    assert read_csv(tmp_path / "rows.csv") == [{"a": expected, "b": "0"}]


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "", " a "])
def test_csv_keeps_text_that_could_be_taken_for_its_own_marks(tmp_path, value):
    path = tmp_path / "rows.csv"
    report.write_csv(path, [{value: value}, {value: value}])
    assert read_csv(path) == [{value: value}] * 2


def test_csv_without_rows_is_an_empty_file(tmp_path):
    report.write_csv(tmp_path / "rows.csv", [])
    assert (tmp_path / "rows.csv").read_bytes() == b""


def test_csv_refuses_what_is_no_field(tmp_path):
    with pytest.raises(
        TypeError, match=r"`a` must hold text, numbers, booleans or None to be a column; got list"
    ):
        report.write_csv(tmp_path / "rows.csv", [{"a": [1]}])
    assert not list(tmp_path.iterdir())


# A run's history


def test_history_rows():
    history = history_of(
        [4.0, 2.0, 1.0, math.nan, 1.0],
        [2, 3, 5],
        learning_rate=[0.1, 0.05, 0.025],
        train_accuracy=[0.5, 0.6, 0.7],
        validation_accuracy=[0.4, 0.5, math.nan],
        validation_loss=[2.0, 1.5, math.nan],
    )
    rows = report.history_rows(history)
    assert rows[0] == {
        "epoch": 1,
        "step": 2,
        "learning_rate": 0.1,
        "loss": 3.0,
        "train_accuracy": 0.5,
        "validation_accuracy": 0.4,
        "validation_loss": 2.0,
    }
    assert [row["step"] for row in rows] == [2, 3, 5]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[1]["loss"] == 1.0
    assert math.isnan(rows[2]["loss"])
    assert math.isnan(rows[2]["validation_accuracy"])


def test_mean_of_losses_near_or_beyond_the_largest_number():
    rows = report.history_rows(history_of([1.6e308, 1.7e308, math.inf, 1.0], [2, 4]))
    assert rows[0]["loss"] == pytest.approx(1.65e308)
    assert math.isnan(rows[1]["loss"])


def test_history_rows_of_a_run_that_was_stopped_in_its_first_epoch():
    assert report.history_rows(history_of([1.0, 2.0], [])) == []


def test_step_rows():
    history = history_of([4.0, 2.0], [2])._replace(batch_accuracy=np.array([0.25, 0.5]))
    assert report.step_rows(history) == [
        {"step": 1, "loss": 4.0, "batch_accuracy": 0.25},
        {"step": 2, "loss": 2.0, "batch_accuracy": 0.5},
    ]


@pytest.mark.parametrize("rows", [report.history_rows, report.step_rows])
def test_rows_of_a_stack_are_refused(rows):
    stacked = stack_of(history_of([4.0, 2.0], [2]))
    with pytest.raises(ValueError, match=r"`history` must be of one network; got a stack of 2"):
        rows(stacked)
    assert rows(stacked.select(1))


# Predictions

labelled = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=40))
)


@given(labelled)
def test_confusion_matrix_counts_each_pair(case):
    n_classes, pairs = case
    y_true, y_pred = [a for a, _ in pairs], [b for _, b in pairs]
    counts = report.confusion_matrix(y_true, y_pred, n_classes)
    assert counts.shape == (n_classes, n_classes)
    assert counts.dtype == np.int64
    for i in range(n_classes):
        for j in range(n_classes):
            assert counts[i, j] == pairs.count((i, j))
    assert (report.confusion_matrix(y_pred, y_true, n_classes) == counts.T).all()


@given(labelled)
def test_summary_agrees_with_its_definition(case):
    n_classes, pairs = case
    names = [f"class {i}" for i in range(n_classes)]
    counts = report.confusion_matrix([a for a, _ in pairs], [b for _, b in pairs], n_classes)
    rows = report.classification_summary(counts, names)
    assert [row["class"] for row in rows] == names
    assert sum(row["support"] for row in rows) == len(pairs)
    for i, row in enumerate(rows):
        right = sum(a == b == i for a, b in pairs)
        of_class, taken_for = sum(a == i for a, _ in pairs), sum(b == i for _, b in pairs)
        assert row["support"] == of_class
        assert type(row["support"]) is int
        expected = {
            "recall": right / of_class if of_class else math.nan,
            "precision": right / taken_for if taken_for else math.nan,
            "f1": right / ((of_class + taken_for) / 2) if of_class + taken_for else math.nan,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name
        if right:
            harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
            assert row["f1"] == pytest.approx(harmonic)


@pytest.mark.parametrize(
    ("n_right", "n_samples", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(n_right, n_samples, low, high):
    assert report.wilson_interval(n_right, n_samples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_where_the_score_test_does_not_reject(case):
    n_right, n_samples = case
    low, high = report.wilson_interval(n_right, n_samples)
    assert 0 <= low <= n_right / n_samples <= high <= 1
    for end in (low, high):
        # By its definition; at 0 and at 1 there is nothing beyond.
        if 0 < end < 1:
            score = abs(n_right / n_samples - end) / math.sqrt(end * (1 - end) / n_samples)
            assert score == pytest.approx(1.959963984540054, rel=1e-6)
    mirrored = report.wilson_interval(n_samples - n_right, n_samples)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_interval_of_all_and_of_none():
    assert report.wilson_interval(0, 10)[0] == 0
    assert report.wilson_interval(10, 10)[1] == 1
    narrow, wide = (report.wilson_interval(5, 10, confidence=c) for c in (0.5, 0.99))
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "`n_samples` must be at least 1; got 0"),
        ((3, 2), r"`n_right` must be in \[0, 2\]; got 3"),
        ((-1, 2), r"`n_right` must be in \[0, 2\]; got -1"),
        ((1, 2, 1.0), r"`confidence` must be in \(0, 1\); got 1.0"),
    ],
)
def test_wilson_interval_refuses_what_is_no_count(arguments, message):
    n_right, n_samples, *confidence = arguments
    with pytest.raises(ValueError, match=message):
        report.wilson_interval(n_right, n_samples, **({"confidence": confidence[0]} if confidence else {}))


def test_the_most_wrong_come_first_and_the_right_not_at_all():
    probs = [[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6], [0.6, 0.4, 0.0], [0.5, 0.1, 0.4]]
    assert report.most_wrong([1, 1, 2, 1, 2], probs).tolist() == [1, 0, 3, 4]
    assert report.most_wrong([0], [[0.5, 0.5]]).tolist() == []  # the first of equal ones is predicted
    assert report.most_wrong([0], [[0.5, 0.5]]).dtype == np.int64


def test_most_wrong_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`y` must have one label for each row of `probs`, 1; got 2"):
        report.most_wrong([0, 1], [[0.5, 0.5]])


def test_small_integer_labels_do_not_overflow():
    y = np.array([99, 98], dtype=np.int8)
    counts = report.confusion_matrix(y, y, 100)
    assert counts[99, 99] == counts[98, 98] == 1


def test_confusion_matrix_refuses_what_are_no_labels():
    with pytest.raises(ValueError, match=r"`y_pred` must hold class labels in \[0, 3\); got a label of 3"):
        report.confusion_matrix([0, 1], [0, 3], 3)
    with pytest.raises(ValueError, match=r"`y_true` must hold class labels in \[0, 3\); got a label of -1"):
        report.confusion_matrix([0, -1], [0, 2], 3)
    with pytest.raises(ValueError, match=r"`y_pred` must have one label for each of `y_true`, 2; got 1"):
        report.confusion_matrix([0, 1], [0], 3)
    with pytest.raises(ValueError, match=r"`y_true` must be one-dimensional; got shape \(1, 2\)"):
        report.confusion_matrix([[0, 1]], [0, 1], 3)
    with pytest.raises(TypeError, match=r"`y_pred` must hold integers; got dtype float64"):
        report.confusion_matrix([0, 1], [0.0, 1.0], 3)


def test_summary_refuses_counts_that_do_not_fit():
    message = r"`confusion` must have a row and a column for each of the 2 classes; got shape \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        report.classification_summary(np.zeros((2, 3), dtype=int), ["a", "b"])


probabilities = st.tuples(st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32)).map(
    lambda shape: np.random.default_rng(shape[2]).dirichlet(np.full(shape[0], 0.5), shape[1])
)


@given(probabilities, st.integers(1, 20), st.integers(0, 2**32))
def test_calibration_agrees_with_slow_loops(probs, n_bins, seed):
    n_samples, n_classes = probs.shape
    y = np.random.default_rng(seed).integers(0, n_classes, n_samples)
    bins = report.calibration_bins(y, probs, n_bins)
    error = 0.0
    for m in range(n_bins):
        members = [
            (max(row), list(row).index(max(row)) == label)
            for row, label in zip(probs.tolist(), y.tolist(), strict=True)
            if m / n_bins < min(max(row), 1.0) <= (m + 1) / n_bins
        ]
        assert bins.n_samples[m] == len(members)
        confidence, accuracy = (
            math.fsum(each) / len(members) if members else math.nan
            for each in (zip(*members, strict=True) if members else ((), ()))
        )
        assert bins.confidence[m] == pytest.approx(confidence, nan_ok=True)
        assert bins.accuracy[m] == pytest.approx(accuracy, nan_ok=True)
        if members:
            error += len(members) / n_samples * abs(accuracy - confidence)
    assert bins.n_samples.sum() == n_samples
    assert bins.edges.tolist() == [m / n_bins for m in range(n_bins + 1)]
    assert bins.expected_calibration_error == pytest.approx(error)
    assert report.expected_calibration_error(y, probs, n_bins) == bins.expected_calibration_error
    assert 0 <= error <= 1


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    sure = np.array([m / 10 for m in range(5, 11)])
    bins = report.calibration_bins([0] * 6, np.stack([sure, 1 - sure], axis=1))
    assert bins.n_samples.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_calibration_of_one_bin_is_the_gap_of_the_means():
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    assert report.expected_calibration_error([0, 1, 1], probs, 1) == pytest.approx(2.2 / 3 - 2 / 3)


def test_calibration_takes_rounded_probabilities():
    rounded = np.array([[0.33349609375] * 3], dtype=np.float16)
    assert report.calibration_bins([0], rounded).n_samples[3] == 1
    over = np.array([[1.0000001, 0]], dtype=np.float32)
    assert report.calibration_bins([0], over).n_samples[9] == 1


def test_calibration_refuses_what_are_no_predictions():
    fair = np.full((2, 2), 0.5)
    for shape in ((2,), (0, 2), (2, 0)):
        with pytest.raises(
            ValueError, match=r"`probs` must have shape \(N, C\), of at least one sample; got"
        ):
            report.calibration_bins([0, 1], np.ones(shape))
    with pytest.raises(TypeError, match=r"`probs` must have a real floating dtype; got int64"):
        report.calibration_bins([0, 1], np.eye(2, dtype=np.int64))
    message = r"`probs` must hold class probabilities of at least 0 that sum to 1 for each sample; got a "
    for probs, got in (
        ([[0.5, 0.4], [0.5, 0.5]], "sum of 0.9"),
        ([[1.5, -0.5], [0.5, 0.5]], "probability of -0.5"),
        ([[math.nan, 0.5], [0.5, 0.5]], "sum of nan"),
        ([[math.inf, 0.5], [0.5, 0.5]], "sum of inf"),
    ):
        with pytest.raises(ValueError, match=message + got):
            report.expected_calibration_error([0, 1], probs)
    with pytest.raises(ValueError, match=r"`y` must have one label for each row of `probs`, 2; got 3"):
        report.calibration_bins([0, 1, 0], fair)
    with pytest.raises(ValueError, match=r"`y` must hold class labels in \[0, 2\); got a label of 2"):
        report.calibration_bins([0, 2], fair)
    with pytest.raises(TypeError, match=r"`y` must hold integers; got dtype float64"):
        report.calibration_bins([0.0, 1.0], fair)
    with pytest.raises(ValueError, match=r"`n_bins` must be at least 1; got 0"):
        report.calibration_bins([0, 1], fair, 0)
    with pytest.raises(TypeError, match=r"`n_bins` must be an integer; got float"):
        report.expected_calibration_error([0, 1], fair, 2.0)


# Numbers as text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e-3, "1e-3"),
        (0.01, "0.01"),
        (0.25, "0.25"),
        (0.0, "0"),
        (1.0, "1"),
        (100.0, "100"),
        (1e5, "1e5"),
        (2.5e-7, "2.5e-7"),
        (-0.001, "-1e-3"),
        (1 / 3, "0.3333"),
        (123456.0, "123500"),
        (np.float32(1e-4), "1e-4"),
        (np.int64(50), "50"),
        (100_000, "100000"),
        ("he", "he"),
        (None, "–"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_format_number(value, expected):
    assert report.format_number(value) == expected


def test_format_number_to_fewer_digits():
    assert report.format_number(0.12345, digits=2) == "0.12"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e-4, 1e-3, 1e-2], ["1e-4", "1e-3", "1e-2"]),
        ([0.3, 0.4, 0.5], ["0.3", "0.4", "0.5"]),
        ([0.0, 1e-3, 0.25], ["0", "1e-3", "2.5e-1"]),
        ([10, 1000], ["10", "1000"]),
        (["he", 1e-4, 0.1], ["he", "1e-4", "1e-1"]),
        ([0.1, 0.10001], ["0.1", "0.10001"]),
        ([0.1, 0.1], ["0.1", "0.1"]),
        ([1, "1"], ["1", "1"]),
        ([], []),
    ],
)
def test_format_numbers(values, expected):
    assert report.format_numbers(values) == expected


@given(st.lists(st.floats(1e-12, 1e12), max_size=6))
def test_numbers_that_differ_look_different_and_mean_what_they_are(values):
    texts = report.format_numbers(values)
    assert len(set(texts)) == len(set(values))
    assert [float(number) for number in texts] == pytest.approx(values, rel=5.1e-3)


def test_format_accuracy():
    assert report.format_accuracy(0.97249) == "0.972"
    assert report.format_accuracy(0.97249, 0.0041) == "0.972 ± 0.004"
    assert report.format_accuracy(0.97249, math.nan) == "0.972"
    assert report.format_accuracy(math.nan, 0.1) == report.format_accuracy(None) == "–"


# A sweep's table


def candidate(learning_rate, validation_accuracy, *, diverged=0, n_seeds=1, std=math.nan, **settings):
    return {
        "learning_rate": learning_rate,
        "reg": 0.0,
        **settings,
        "n_seeds": n_seeds,
        "diverged": diverged,
        "train_accuracy": validation_accuracy,
        "validation_accuracy": validation_accuracy,
        "validation_accuracy_std": std,
    }


def test_rows_of_a_sweep_with_one_seed():
    table = [candidate(1e-4, 0.3), candidate(1e-3, 0.5), candidate(1e-2, math.nan, diverged=1)]
    assert report.sweep_table_rows(table) == [
        {
            "learning rate": "1e-3",
            "training accuracy": "0.500",
            "validation accuracy": "0.500",
            "diverged": "",
        },
        {
            "learning rate": "1e-4",
            "training accuracy": "0.300",
            "validation accuracy": "0.300",
            "diverged": "",
        },
        {"learning rate": "1e-2", "training accuracy": "–", "validation accuracy": "–", "diverged": "yes"},
    ]


def test_rows_of_a_sweep_with_several_seeds():
    table = [
        candidate(0.1, 0.9, diverged=1, n_seeds=3, std=0.01),
        candidate(0.2, None, diverged=3, n_seeds=3, std=None),
        candidate(0.3, 0.5, n_seeds=3, std=0.02),
    ]
    rows = report.sweep_table_rows(table)
    assert [row["validation accuracy"] for row in rows] == ["0.500 ± 0.020", "0.900 ± 0.010", "–"]
    assert [row["diverged"] for row in rows] == ["", "1 of 3 seeds", "3 of 3 seeds"]


def test_one_seed_has_no_spread():
    (row,) = report.sweep_table_rows([candidate(0.1, 0.5)])
    assert row["validation accuracy"] == "0.500"


def test_rows_of_a_single_candidate_show_its_rate_and_reg():
    assert list(report.sweep_table_rows([candidate(0.1, 0.5, n_hidden=50)])[0]) == [
        "learning rate",
        "reg",
        "training accuracy",
        "validation accuracy",
    ]


def compared(learning_rate, difference, margin, within, *, n_pairs=3, **settings):
    row = candidate(learning_rate, 0.9 + difference, n_seeds=3, std=0.01, **settings)
    return row | {
        "n_pairs": n_pairs,
        "difference": difference,
        "difference_error": margin / 4.3,
        "difference_margin": margin,
        "within_noise": within,
    }


BEST = compared(0.4, 0.0, 0.0, True)
CLOSE = compared(0.2, -0.004, 0.01, True)
BEHIND = compared(0.1, -0.05, 0.01, False)


def test_rows_say_how_far_they_are_behind_the_best():
    lost = candidate(9.0, math.nan, diverged=3, n_seeds=3) | {"difference": math.nan, "within_noise": None}
    ahead = compared(0.3, 0.0002, 0.01, True) | {"diverged": 1}
    rows = report.sweep_table_rows([lost, BEHIND, ahead, BEST, CLOSE])
    assert [row["behind the best"] for row in rows] == [
        "",
        "−0.004 ± 0.010",
        "−0.050 ± 0.010",
        "0.000 ± 0.010",
        "–",
    ]
    one = [candidate(rate, score) | {"difference": score - 0.5} for rate, score in ((0.1, 0.5), (0.2, 0.4))]
    assert [row["behind the best"] for row in report.sweep_table_rows(one)] == ["", "−0.100"]
    assert "behind the best" not in report.sweep_table_rows([BEST])[0]
    assert "behind the best" not in report.sweep_table_rows([lost, {**lost, "learning_rate": 10.0}])[0]


def test_who_cannot_be_told_from_the_best_is_named():
    assert report.certainty_in_words([BEHIND, BEST, CLOSE], 300) == [
        "Cannot be told apart from the best by 3 seeds: learning rate 0.2.",
        "The 300 validation samples know an accuracy of 0.900 to ± 0.017 (standard error): "
        "others may rank candidates that are closer than this in another order.",
    ]
    (sentence,) = report.certainty_in_words([BEHIND, BEST], None)
    assert sentence.startswith(
        "By 3 seeds, all others are behind the best by more than seeds explain, on these"
    )
    many = [compared(rate, -0.001, 0.01, True) for rate in (0.11, 0.12, 0.13, 0.14)]
    assert report.certainty_in_words([*many, BEST, BEHIND], None) == [
        "4 of the other 5 candidates cannot be told apart from the best by 3 seeds (≈)."
    ]
    assert report.certainty_in_words([*many, BEST], None) == [
        "None of the other 4 candidates can be told apart from the best by 3 seeds (≈)."
    ]


def test_what_is_not_known_is_said_to_be_so():
    unknown = compared(0.3, -0.01, math.nan, None, n_pairs=1)
    assert report.certainty_in_words([BEST, CLOSE | {"n_pairs": 2}, BEHIND, unknown], None) == [
        "Cannot be told apart from the best by 2 to 3 seeds: learning rate 0.2; "
        "not known of 1 with fewer than two seeds to compare."
    ]
    one = [row | {"n_seeds": 1, "n_pairs": 1, "within_noise": None} for row in (BEST, BEHIND)]
    (sentence,) = report.certainty_in_words(one, None)
    assert sentence.startswith("One seed does not tell which differences are chance")
    (sentence,) = report.certainty_in_words([BEST, unknown], None)
    assert sentence.startswith("Candidates of other seeds cannot be compared")
    # Alone, from before there were comparisons, and where all diverged.
    assert report.certainty_in_words([BEST], None) == []
    assert report.certainty_in_words([candidate(0.1, 0.5), candidate(0.2, 0.4)], None) == []
    assert report.certainty_in_words([candidate(0.1, math.nan, diverged=1)], 300) == []


def test_an_accuracy_of_one_is_not_known_exactly():
    (sentence,) = report.certainty_in_words([candidate(0.1, 1.0)], 300)
    assert (
        sentence == "The 300 validation samples know an accuracy of 1.000 to within 0.987 and 1.000 (95 %)."
    )


def grid_of(best, **values):
    """A full grid, of which the candidate ``best`` wins."""
    return [
        dict(zip(values, one, strict=True))
        | {"n_seeds": 1, "diverged": 0, "validation_accuracy": 0.9 if one == best else 0.5}
        for one in itertools.product(*values.values())
    ]


@pytest.mark.parametrize(
    ("name", "values", "best", "further"),
    [
        ("learning_rate", [0.02, 0.04, 0.08], 0.08, [0.16, 0.32]),
        ("learning_rate", [0.08, 0.04, 0.02], 0.02, [0.01, 0.005]),
        ("learning_rate", [0.1, 0.3], 0.3, [0.9, 2.7]),
        ("learning_rate", [0.1, 0.2, 0.3], 0.3, [0.4, 0.5]),
        ("learning_rate", [0.1, 0.2, 0.3], 0.1, []),  # the step goes to 0
        ("learning_rate", [1.0, 2.0, 5.0, 10.0], 10.0, [20.0, 40.0]),
        ("learning_rate", [0.02, 0.04, 0.08], 0.04, []),
        ("learning_rate", [0.1], 0.1, []),
        ("learning_rate", [0.1, 1e6], 0.1, [0.01, 0.001]),
        ("reg", [0.0, 1e-3, 1e-2], 1e-2, [0.1, 1.0]),
        ("reg", [0.0, 1e-3, 1e-2], 0.0, []),
        ("reg", [0.0, 1e-3], 1e-3, [2e-3, 3e-3]),
        ("n_hidden", [20, 40], 40, [80, 160]),
        ("n_hidden", [2, 4], 2, [1]),
        ("n_hidden", [1, 4], 1, []),
        ("dropout", [0.0, 0.4], 0.4, [0.8]),
        ("dropout", [0.2, 0.3], 0.2, [0.1, 0.0]),
        ("dropout", [0.0, 0.2], 0.0, []),
        ("weight_scale", ["he", 0.01, 0.1], 0.1, []),
        ("weight_scale", [0.01, 0.1], 0.1, [1.0, 10.0]),
    ],
)
def test_a_winner_at_an_end_of_the_grid(name, values, best, further):
    table = grid_of((0.5, best), label_smoothing=[0.5], **{name: values})
    found = report.grid_ends(table)
    assert [one["try"] for one in found] == ([further] if further else [])
    if further:
        assert (found[0]["setting"], found[0]["value"]) == (name, best)
        assert found[0]["end"] == ("highest" if best == max(values) else "lowest")
        assert all(type(value) is type(best) for value in further)


def test_several_ends_in_words():
    table = grid_of((0.4, 1e-4), learning_rate=[0.1, 0.2, 0.4], reg=[1e-4, 1e-3])
    assert [report.grid_end_in_words(end) for end in report.grid_ends(table)] == [
        "The best is at the upper end of learning rate, 0.4: try 0.8, 1.6 too.",
        "The best is at the lower end of reg, 1e-4: try 1e-5, 1e-6 too.",
    ]
    # What diverged is of the grid too: the best is not at its end.
    grid = grid_of((0.4,), learning_rate=[0.2, 0.4, 0.8])
    assert report.grid_ends([{**row, "diverged": int(row["learning_rate"] == 0.8)} for row in grid]) == []


def test_of_what_is_no_whole_grid_the_ends_are_not_known():
    table = grid_of((0.4, 1e-4), learning_rate=[0.1, 0.2, 0.4], reg=[1e-4, 1e-3])
    assert report.grid_ends([row for row in table if row is not table[0]]) == []
    assert report.grid_ends([]) == []
    assert report.grid_ends([{**row, "diverged": 1} for row in table]) == []


def test_rows_of_runs():
    runs = [
        {"learning_rate": 0.1, "seed": 0, "diverged": 12, "train_accuracy": 0.1, "validation_accuracy": 0.1},
        {
            "learning_rate": 0.1,
            "seed": 1,
            "diverged": None,
            "train_accuracy": 0.6,
            "validation_accuracy": 0.5,
        },
    ]
    rows = report.sweep_table_rows(runs)
    assert [row["seed"] for row in rows] == ["1", "0"]
    assert [row["diverged"] for row in rows] == ["", "at step 12"]
    assert rows[1]["validation accuracy"] == "–"


def test_ranks_are_the_order_of_the_rows():
    table = [
        {"reg": 0.1, "n_seeds": 1, "diverged": 1, "validation_accuracy": None},
        {"reg": 0.2, "n_seeds": 1, "diverged": None, "validation_accuracy": 0.5},
        {"reg": 0.3, "n_seeds": 2, "diverged": 1, "validation_accuracy": 0.9},
        {"reg": 0.4, "n_seeds": 1, "diverged": 0, "validation_accuracy": 0.7},
    ]
    assert report.ranked(table) == [3, 1, 2, 0]
    assert [row["reg"] for row in report.sweep_table_rows(table)] == ["0.4", "0.2", "0.3", "0.1"]


def test_the_steps_at_which_a_candidate_diverged():
    runs = [
        {"learning_rate": rate, "reg": reg, "seed": seed, "diverged": step}
        for rate, reg, seed, step in [
            (1.0, 0.0, 0, 3),
            (1.0, 0.0, 1, 1200),
            (1.0, 0.5, 0, 1000),
            (1.0, 0.5, 1, None),
            (0.1, 0.0, 0, None),
        ]
    ]
    rows = [{"learning_rate": 1.0, "reg": 0.0}, {"learning_rate": 1.0, "reg": 0.5}, {"learning_rate": 0.1}]
    said = [report.steps_of_divergence(row, runs) for row in rows]
    assert said == ["at steps 3 to 1,200", "at step 1,000", ""]


def test_rows_of_nothing():
    assert report.sweep_table_rows([]) == []


def test_winner_is_the_first_of_the_highest_and_steady_before_shaky():
    table = [
        candidate(1, 0.9, diverged=1, n_seeds=2),
        candidate(2, 0.7),
        candidate(3, 0.8),
        candidate(4, 0.8),
        candidate(5, math.nan, diverged=1),
    ]
    assert report.winner(table) is table[2]
    assert report.winner(table[:1]) is table[0]
    assert report.winner(table[-1:]) is None
    assert (
        report.winner([candidate(1, 0.9), {**candidate(2, 0.1), "score": 1.0}], value="score")[
            "learning_rate"
        ]
        == 2
    )


def test_winner_is_the_best_of_a_real_sweep(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
    result = sweep(
        X[:40],
        y[:40],
        validation=(X[40:], y[40:]),
        grid={"learning_rate": [1e-3, 0.1, 1.0, 1e30], "seed": [0, 1], "batch_size": [10]},
        epochs=3,
    )
    best = report.winner(result.table)
    assert best["learning_rate"] == result.best.settings["learning_rate"]
    assert [report.has_diverged(row) for row in result.table] == [False, False, False, True]
    assert report.varying(result.table) == ["learning_rate"]
    assert report.varying(result.runs) == ["learning_rate", "seed"]
    rows = report.sweep_table_rows(result.table)
    assert rows[-1]["learning rate"] == "1e30"
    assert rows[0]["validation accuracy"].startswith(f"{best['validation_accuracy']:.3f} ± ")

    # What is read back serves as well as what was written.
    report.write_json(tmp_path / "table.json", result.table)
    assert report.sweep_table_rows(json.loads((tmp_path / "table.json").read_text("utf-8"))) == rows
