"""Metrics of predictions."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.report.metrics import (
    area_under_roc,
    calibration_bins,
    classification_summary,
    confusion_matrix,
    expected_calibration_error,
    most_wrong,
    wilson_interval,
)

labelled = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=40))
)


@given(labelled)
def test_confusion_matrix_counts_each_pair(case):
    n_classes, pairs = case
    y_true, y_pred = [a for a, _ in pairs], [b for _, b in pairs]
    counts = confusion_matrix(y_true, y_pred, n_classes)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[pairs.count((i, j)) for j in range(n_classes)] for i in range(n_classes)]


@given(labelled)
def test_summary_agrees_with_its_definition(case):
    n_classes, pairs = case
    names = [f"class {i}" for i in range(n_classes)]
    counts = confusion_matrix([a for a, _ in pairs], [b for _, b in pairs], n_classes)
    rows = classification_summary(counts, names)
    assert [row["class"] for row in rows] == names
    for i, row in enumerate(rows):
        right = sum(a == b == i for a, b in pairs)
        n_true, n_predicted = sum(a == i for a, _ in pairs), sum(b == i for _, b in pairs)
        assert row["support"] == n_true
        assert type(row["support"]) is int
        expected = {
            "recall": right / n_true if n_true else math.nan,
            "precision": right / n_predicted if n_predicted else math.nan,
            "f1": right / ((n_true + n_predicted) / 2) if n_true + n_predicted else math.nan,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name


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
def test_wilson_interval_agrees_with_published_values(n_right, n_samples, low, high):
    assert wilson_interval(n_right, n_samples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_where_the_score_test_does_not_reject(case):
    n_right, n_samples = case
    low, high = wilson_interval(n_right, n_samples)
    assert 0 <= low <= n_right / n_samples <= high <= 1
    for end in (low, high):
        # The definition of the interval. The score is not defined at 0 and at 1.
        if 0 < end < 1:
            score = abs(n_right / n_samples - end) / math.sqrt(end * (1 - end) / n_samples)
            assert score == pytest.approx(1.959963984540054, rel=1e-6)
    mirrored = wilson_interval(n_samples - n_right, n_samples)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_interval_reaches_0_without_and_1_with_only_right_samples():
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1


def test_most_wrong_lists_only_wrong_samples_with_the_most_wrong_first():
    probs = [[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6], [0.6, 0.4, 0.0], [0.5, 0.1, 0.4]]
    assert most_wrong([1, 1, 2, 1, 2], probs).tolist() == [1, 0, 3, 4]
    assert most_wrong([0], [[0.5, 0.5]]).tolist() == []  # of equal probabilities, the first is the prediction
    assert most_wrong([0], [[0.5, 0.5]]).dtype == np.int64


def test_the_area_under_the_roc_curve_counts_pairs():
    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 8
    gaps = scores[y == 1][:, None] - scores[y == 0]
    assert area_under_roc(y, scores) == pytest.approx(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    assert area_under_roc(np.array([0, 1]), np.array([0.2, 0.7])) == 1


def test_small_integer_labels_do_not_overflow():
    y = np.array([99, 98], dtype=np.int8)
    counts = confusion_matrix(y, y, 100)
    assert counts[99, 99] == counts[98, 98] == 1


probabilities = st.tuples(st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32)).map(
    lambda shape: np.random.default_rng(shape[2]).dirichlet(np.full(shape[0], 0.5), shape[1])
)


@given(probabilities, st.integers(1, 20), st.integers(0, 2**32))
def test_calibration_agrees_with_slow_loops(probs, n_bins, seed):
    n_samples, n_classes = probs.shape
    y = np.random.default_rng(seed).integers(0, n_classes, n_samples)
    bins = calibration_bins(y, probs, n_bins)
    error = 0.0
    for m in range(n_bins):
        members = [
            (max(row), list(row).index(max(row)) == label)
            for row, label in zip(probs.tolist(), y.tolist(), strict=True)
            if m / n_bins < min(max(row), 1.0) <= (m + 1) / n_bins
        ]
        confidence, accuracy = np.mean(members, axis=0) if members else (math.nan, math.nan)
        assert bins.n_samples[m] == len(members)
        assert bins.confidence[m] == pytest.approx(confidence, nan_ok=True)
        assert bins.accuracy[m] == pytest.approx(accuracy, nan_ok=True)
        if members:
            error += len(members) / n_samples * abs(accuracy - confidence)
    assert bins.edges.tolist() == [m / n_bins for m in range(n_bins + 1)]
    assert bins.expected_calibration_error == pytest.approx(error)
    assert expected_calibration_error(y, probs, n_bins) == bins.expected_calibration_error


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    sure = np.array([m / 10 for m in range(5, 11)])
    bins = calibration_bins([0] * 6, np.stack([sure, 1 - sure], axis=1))
    assert bins.n_samples.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_calibration_of_one_bin_is_the_gap_of_the_means():
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    assert expected_calibration_error([0, 1, 1], probs, 1) == pytest.approx(2.2 / 3 - 2 / 3)


def test_calibration_accepts_rounded_probabilities():
    rounded = np.array([[0.33349609375] * 3], dtype=np.float16)  # their sum is 1.0005
    assert calibration_bins([0], rounded).n_samples[3] == 1
    over = np.array([[1.0000001, 0]], dtype=np.float32)
    assert calibration_bins([0], over).n_samples[9] == 1


FAIR = np.full((2, 2), 0.5)
SHAPE = "`probs` must have shape (N, C), of at least one sample; got"
SUM = "`probs` must hold class probabilities of at least 0 that sum to 1 for each sample; got a "
VALUES = [
    (confusion_matrix, ([0, 1], [0, 3], 3), "`y_pred` must hold class labels in [0, 3); got a label of 3"),
    (confusion_matrix, ([0, -1], [0, 2], 3), "`y_true` must hold class labels in [0, 3); got a label of -1"),
    (confusion_matrix, ([0, 1], [0], 3), "`y_pred` must have one label for each of `y_true`, 2; got 1"),
    (confusion_matrix, ([[0, 1]], [0, 1], 3), "`y_true` must be one-dimensional; got shape (1, 2)"),
    (
        classification_summary,
        (np.zeros((2, 3), dtype=int), ["a", "b"]),
        "`confusion` must have a row and a column for each of the 2 classes; got shape (2, 3)",
    ),
    (wilson_interval, (3, 2), "`n_right` must be in [0, 2]; got 3"),
    (wilson_interval, (-1, 2), "`n_right` must be in [0, 2]; got -1"),
    (most_wrong, ([0, 1], [[0.5, 0.5]]), "`y` must have one label for each row of `probs`, 1; got 2"),
    (calibration_bins, ([0, 1], np.ones(2)), SHAPE),
    (calibration_bins, ([0, 1], np.ones((0, 2))), SHAPE),
    (calibration_bins, ([0, 1], np.ones((2, 0))), SHAPE),
    (calibration_bins, ([0, 1], [[0.5, 0.4], [0.5, 0.5]]), f"{SUM}sum of 0.9"),
    (calibration_bins, ([0, 1], [[1.5, -0.5], [0.5, 0.5]]), f"{SUM}probability of -0.5"),
    (calibration_bins, ([0, 1], [[math.nan, 0.5], [0.5, 0.5]]), f"{SUM}sum of nan"),
    (calibration_bins, ([0, 1], [[math.inf, 0.5], [0.5, 0.5]]), f"{SUM}sum of inf"),
    (calibration_bins, ([0, 1, 0], FAIR), "`y` must have one label for each row of `probs`, 2; got 3"),
    (calibration_bins, ([0, 2], FAIR), "`y` must hold class labels in [0, 2); got a label of 2"),
    (calibration_bins, ([0, 1], FAIR, 0), "`n_bins` must be at least 1; got 0"),
]
TYPES = [
    (confusion_matrix, ([0, 1], [0.0, 1.0], 3), "`y_pred` must hold integers; got dtype float64"),
    (calibration_bins, ([0, 1], np.eye(2, dtype=int)), "`probs` must have a real floating dtype; got int64"),
    (calibration_bins, ([0.0, 1.0], FAIR), "`y` must hold integers; got dtype float64"),
    (expected_calibration_error, ([0, 1], FAIR, 2.0), "`n_bins` must be an integer; got float"),
]
REFUSED = [(ValueError, *one) for one in VALUES] + [(TypeError, *one) for one in TYPES]


@pytest.mark.parametrize(("error", "function", "arguments", "message"), REFUSED, ids=range(len(REFUSED)))
def test_invalid_arguments_are_refused(error, function, arguments, message):
    with pytest.raises(error, match=re.escape(message)):
        function(*arguments)
