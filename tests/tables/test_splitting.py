"""Splits of rows by class, by group and by time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.datasets.splitting import number_of_rows, split_rows

PLACE = "the table"


def split(y, validation, test, seed=0, **more):
    return split_rows(np.asarray(y), {"validation": validation, "test": test}, seed, place=PLACE, **more)


def assert_partition(rows, n):
    """Assert that each row is in exactly one split, and that each split is in ascending order."""
    assert sorted(np.concatenate(list(rows.values()))) == list(range(n))
    assert all((np.diff(chosen) > 0).all() for chosen in rows.values())


@given(
    y=st.lists(st.integers(0, 3), min_size=30, max_size=80),
    validation=st.floats(0.05, 0.3) | st.integers(1, 8),
    test=st.floats(0.05, 0.3) | st.integers(1, 8),
    seed=st.integers(0, 2**40),
)
def test_each_class_has_its_share_of_each_split(y, validation, test, seed):
    rows = split(y, validation, test, seed)
    assert_partition(rows, len(y))
    assert set(np.asarray(y)[rows["train"]]) == set(y)
    counts = np.bincount(y, minlength=4)
    for name, amount in (("validation", validation), ("test", test)):
        n = amount if isinstance(amount, int) else max(1, round(amount * len(y)))
        assert len(rows[name]) == n
        own = np.bincount(np.asarray(y)[rows[name]], minlength=4)
        assert (np.abs(own - n * counts / len(y)) < 2.5).all()


def test_a_seed_determines_the_split():
    y = np.arange(50) % 3
    first, again, other = (split(y, 0.2, 0.2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["test"], again["test"])
    assert (first["test"] != other["test"]).any()
    # A literal, because every version of the library must make the same split.
    np.testing.assert_array_equal(split(np.arange(12) % 2, 2, 3, 7)["test"], SEVEN)


SEVEN = [2, 7, 10]


def test_an_amount_of_0_makes_no_split():
    rows = split([0, 1, 0], 0, 0.0)
    assert list(rows) == ["train"]
    np.testing.assert_array_equal(rows["train"], [0, 1, 2])


@pytest.mark.parametrize(
    ("amount", "n"), [(0, 0), (0.0, 0), (3, 3), (0.1, 10), (0.001, 1), (0.155, 16), (np.int64(2), 2)]
)
def test_an_amount_is_a_share_or_a_number_of_rows(amount, n):
    assert number_of_rows("test", amount, 100) == n


@given(
    groups=st.lists(st.integers(0, 9), min_size=40, max_size=80).filter(lambda groups: len(set(groups)) > 3),
    seed=st.integers(0, 2**40),
)
def test_groups_stay_together(groups, seed):
    rows = split(np.zeros(len(groups), int), 0.2, 0.2, seed, groups=groups)
    assert_partition(rows, len(groups))
    own = [set(np.asarray(groups)[chosen]) for chosen in rows.values()]
    assert sum(map(len, own)) == len(set(groups))
    assert set(rows) == {"train", "validation", "test"}


def test_splits_of_small_groups_have_the_requested_sizes():
    groups = [str(i // 5) for i in range(1000)]
    rows = split(np.zeros(1000, int), 0.15, 100, groups=groups)
    assert {name: len(chosen) for name, chosen in rows.items()} == {
        "train": 750,
        "validation": 150,
        "test": 100,
    }


def test_a_split_smaller_than_every_group_gets_one_group():
    rows = split(np.zeros(120, int), 10, 10, groups=[i // 30 for i in range(120)])
    assert {name: len(chosen) for name, chosen in rows.items()} == {"train": 60, "validation": 30, "test": 30}


def test_a_group_too_large_for_a_split_stays_in_training():
    groups = [0] * 35 + [1, 2, 3, 4, 5]
    for seed in range(10):
        rows = split(np.zeros(40, int), 1, 2, seed, groups=groups)
        assert {name: len(chosen) for name, chosen in rows.items()} == {
            "train": 37,
            "validation": 1,
            "test": 2,
        }


def test_splits_by_time_are_in_order_of_time():
    times = np.asarray([5, 1, 4, 2, 3, 0, 9, 8, 7, 6], float)
    rows = split(np.zeros(10, int), 2, 3, times=times)
    assert {name: sorted(times[chosen]) for name, chosen in rows.items()} == {
        "train": [0, 1, 2, 3, 4],
        "validation": [5, 6],
        "test": [7, 8, 9],
    }
    assert_partition(rows, 10)


@given(times=st.lists(st.integers(0, 20), min_size=30, max_size=60), share=st.floats(0.05, 0.3))
def test_equal_times_stay_together(times, share):
    values = np.asarray(times, float)
    try:
        rows = split(np.zeros(len(times), int), share, share, times=values)
    except ValueError:  # too many rows have the earliest time
        assert (values == values.min()).sum() > len(times) * (1 - 2 * share) - 3
        return
    assert_partition(rows, len(times))
    parts = [values[rows[name]] for name in ("train", "validation", "test") if name in rows]
    for earlier, later in pairwise(parts):
        assert earlier.max() < later.min()


@pytest.mark.parametrize(
    ("validation", "test", "more", "message"),
    [
        (3, 3, {}, r"must leave a sample of every class .* take 6 of the 6"),
        (1.0, 0, {}, r"`validation` must be below 1 where it is a share; got 1"),
        (0, -1, {}, r"`test` must be at least 0; got -1"),
        (1, 1, {"groups": "aabbbb"}, r"at least one group a split; got 2"),
        (3, 3, {"groups": "aabbcc"}, r"must leave rows to train on; the table has 6"),
        (3, 3, {"times": np.arange(6.0)}, r"must leave rows to train on; the table has 6"),
        (1, 1, {"times": np.eye(6)[5]}, r"5 of the 6 rows of the table have the same earliest time"),
    ],
    ids=["classes", "share", "negative", "groups", "rows", "times", "one time"],
)
def test_splits_that_cannot_be_made_are_refused(validation, test, more, message):
    with pytest.raises(ValueError, match=message):
        split([0, 1, 0, 1, 0, 1], validation, test, **more)
