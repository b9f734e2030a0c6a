"""Paired differences between candidates, quantiles of Student's t, and errors of accuracies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twolayer.sweeping.comparison import paired_difference, t_quantile
from twolayer.training.folds import accuracy_error


@pytest.mark.parametrize(
    ("n_degrees", "expected"),
    [
        # From printed tables.
        *((1, 12.70620), (2, 4.302653), (3, 3.182446), (4, 2.776445), (5, 2.570582), (6, 2.446912)),
        *((7, 2.364624), (8, 2.306004), (9, 2.262157), (10, 2.228139), (29, 2.045230), (100, 1.983972)),
        (10_000, 1.960201),
    ],
)
def test_the_quantile_of_students_t_equals_printed_tables(n_degrees, expected):
    assert t_quantile(n_degrees) == pytest.approx(expected, rel=1e-6)


def test_the_quantile_equals_that_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed; printed tables are above")
    for n_degrees in (*range(1, 40), 99, 1000):
        assert t_quantile(n_degrees) == pytest.approx(stats.t.ppf(0.975, n_degrees), rel=1e-12)


def test_the_interval_of_paired_differences_covers_the_mean_in_95_of_100_cases():
    draws = np.random.default_rng(0).standard_normal((4000, 3)) + 5.0
    zeros = dict.fromkeys(range(3), 0.0)
    found = [paired_difference(dict(enumerate(row)), zeros, n_samples=10**6) for row in draws.tolist()]
    covered = np.mean([abs(one["difference"] - 5.0) <= one["difference_margin"] for one in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_differences_are_paired_by_seed():
    # The seeds differ by far more than the candidates do.
    best = {0: 0.50, 1: 0.70, 2: 0.90}
    own = {2: 0.87, 0: 0.48, 1: 0.66, 7: 0.1}
    found = paired_difference(own, best, n_samples=1000)
    assert found["n_pairs"] == 3
    assert found["difference"] == pytest.approx(-0.03)
    assert found["difference_error"] == pytest.approx(0.01 / math.sqrt(3))
    assert found["difference_margin"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    assert found["within_noise"] is False
    assert paired_difference({0: 0.48, 1: 0.66, 2: 0.91}, best, n_samples=1000)["within_noise"] is True
    own = {0: 0.485, 1: 0.69, 2: 0.895}
    found = paired_difference(own, best, n_samples=1000)
    assert 2 < -found["difference"] / found["difference_error"] < 4.3
    assert found["within_noise"] is True


def test_a_better_candidate_is_within_noise():
    found = paired_difference({0: 0.9, 1: 0.91}, {0: 0.5, 1: 0.51}, n_samples=100)
    assert found["difference"] > found["difference_margin"]
    assert found["within_noise"] is True


@pytest.mark.parametrize("own", [{0: 0.5}, {0: 0.5, 8: 0.4}])
def test_a_single_pair_gives_no_error_of_the_difference(own):
    found = paired_difference(own, {0: 0.75, 1: 0.25}, n_samples=100)
    assert (found["n_pairs"], found["difference"], found["within_noise"]) == (1, -0.25, None)
    assert math.isnan(found["difference_error"])
    assert math.isnan(found["difference_margin"])


def test_without_pairs_there_is_no_difference():
    found = paired_difference({3: 0.5}, {0: 0.75}, n_samples=100)
    assert (found["n_pairs"], found["within_noise"]) == (0, None)
    assert math.isnan(found["difference"])


def test_two_equal_differences_still_have_an_error():
    best, grain = {0: 0.9, 1: 0.8}, 1 / 300
    found = paired_difference({0: 0.9 - grain, 1: 0.8 - grain}, best, n_samples=300)
    assert found["difference_error"] == pytest.approx(grain / math.sqrt(12) / math.sqrt(2))
    assert found["within_noise"] is True
    assert paired_difference({0: 0.6, 1: 0.5}, best, n_samples=300)["within_noise"] is False
    assert paired_difference(best, best, n_samples=300)["within_noise"] is True


def test_the_error_of_an_accuracy_is_that_of_a_binomial_share():
    assert accuracy_error(0.9, 100) == pytest.approx(0.03)
    assert accuracy_error(1.0, 100) == accuracy_error(1.0 + 1e-9, 100) == 0.0
    assert math.isnan(accuracy_error(0.9, 0))
