"""Settings, accuracies and counts as text."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.report.formatting import (
    count,
    format_accuracy,
    format_number,
    format_numbers,
    format_percent,
    format_setting,
    settings_in_words,
)


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
    assert format_number(value) == expected


def test_format_number_to_fewer_digits():
    assert format_number(0.12345, digits=2) == "0.12"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1e-4, 1e-3, 1e-2], ["1e-4", "1e-3", "1e-2"]),
        ([0.3, 0.4, 0.5], ["0.3", "0.4", "0.5"]),
        ([0.0, 1e-3, 0.25], ["0", "0.001", "0.25"]),
        ([0.544, 0.0992, 0.00743], ["0.544", "0.0992", "0.00743"]),
        ([10, 1000], ["10", "1000"]),
        (["he", 1e-4, 0.1], ["he", "1e-4", "1e-1"]),
        ([0.1, 0.10001], ["0.1", "0.10001"]),
        ([0.1, 0.1], ["0.1", "0.1"]),
        ([1, "1"], ["1", "1"]),
        ([], []),
    ],
)
def test_format_numbers(values, expected):
    assert format_numbers(values) == expected


@given(st.lists(st.floats(1e-12, 1e12), max_size=6))
def test_format_numbers_keeps_different_numbers_distinct_and_accurate(values):
    texts = format_numbers(values)
    assert len(set(texts)) == len(set(values))
    assert [float(number) for number in texts] == pytest.approx(values, rel=5.1e-3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.97249,), "0.972"),
        ((0.97249, 0.0041), "0.972 ± 0.004"),
        ((0.97249, math.nan), "0.972"),
        ((math.nan, 0.1), "–"),
        ((None,), "–"),
    ],
)
def test_format_accuracy(arguments, expected):
    assert format_accuracy(*arguments) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "yes"),
        (1000, "1,000"),
        (1e-3, "1e-3"),
        ("he", "he"),
        ((0.0, 1e-3, 0.25), "0, 0.001, 0.25"),
        ([False, True], "no, yes"),
        ([], "none"),
    ],
)
def test_format_setting(value, expected):
    assert format_setting(value) == expected


def test_settings_and_counts_in_words():
    settings = {"learning_rate": 0.1, "n_hidden": 1000}
    words = settings_in_words(settings, ("n_hidden", "reg", "learning_rate"))
    assert words == ["hidden units 1,000", "learning rate 0.1"]
    assert (count(1, "epoch"), count(2000, "step")) == ("1 epoch", "2,000 steps")


@given(st.integers(0, 400))
def test_percentages_and_accuracies_have_the_same_digits(n_right: int) -> None:
    """393 of 400 are 0.983 and 98.3 %, though 98.25 alone would be rounded to 98.2."""
    share = n_right / 400
    assert Decimal(format_percent(share)[:-1]) == 100 * Decimal(format_accuracy(share))
