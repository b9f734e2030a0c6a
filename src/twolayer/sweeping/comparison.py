"""Comparison of a sweep's candidates: the table, the best candidate, and differences due to chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..training.folds import Folds, accuracy_error, n_networks
from ..training.history import monitored

Row: TypeAlias = dict[str, Any]


@np.errstate(all="ignore")  # a loss may be too large to be squared
def compared(
    rows: list[Row],
    names: tuple[str, ...],
    n_validation: int,
    folds: Folds | None = None,
    *,
    monitor: str,
) -> list[Row]:
    """Return a row for each candidate. The runs of a candidate differ only in the seed and the fold."""
    n_each: float = n_validation  # the number of samples that each network is judged by
    test_ratio = 0.0
    if folds is not None:
        n_trained, n_each = (float(np.mean([*map(len, rows)])) for rows in (folds.trained, folds.held_out))
        test_ratio = n_each / n_trained
    table: list[Row] = []
    scores: list[dict[Any, float]] = []
    for group in groups_of(rows, names):
        members = [rows[i] for i in group]
        alive = [row for row in members if row["diverged"] is None]
        scores.append({(row["seed"], row.get("fold")): _score(row, monitor) for row in alive})
        values = [row["validation_accuracy"] for row in alive]
        mean = _mean(values)
        of_folds, n_judged = {}, n_validation
        if folds is not None:  # an interrupted sweep has rows of some folds only
            of_folds = {"n_folds": len({row["fold"] for row in members}), "n_networks": len(members)}
            n_judged = folds.n_held_out(row["fold"] for row in alive)
        table.append(
            {
                **{key: members[0][key] for key in names},
                "n_seeds": len({row["seed"] for row in members}),
                **of_folds,
                "diverged": len(members) - len(alive),
                **{key: members[0][key] for key in ("rung",) if key in members[0]},
                "train_accuracy": _mean([row["train_accuracy"] for row in alive]),
                "validation_accuracy": mean,
                "validation_accuracy_std": float(np.std(values, ddof=1)) if len(alive) > 1 else math.nan,
                "validation_accuracy_error": accuracy_error(mean, n_judged) if alive else math.nan,
                "validation_loss": _mean([row["validation_loss"] for row in alive]),
            }
        )
    # The sort is stable: of equal candidates, the first stays first.
    order = sorted(table, key=lambda row: _standing(row, monitor), reverse=True)
    for place, row in enumerate(order, start=1):
        row["rank"] = place
    winner = winner_of(table)
    n_grain = n_each if monitor == "accuracy" else 0  # losses are not multiples of 1 / N
    best = next((own for row, own in zip(table, scores, strict=True) if row is winner), {})
    for row, own in zip(table, scores, strict=True):
        # A candidate that left early is less trained than the best, so a comparison would be unfair.
        comparable = {} if row.get("rung") else own
        row |= paired_difference(comparable, best, n_samples=n_grain, test_ratio=test_ratio)
        if row is winner:
            row |= {"difference_error": 0.0, "difference_margin": 0.0, "within_noise": True}
    return table


def winner_of(table: list[Row]) -> Row | None:
    """Return the row of the best candidate that left at no rung; of equal ones, the first."""
    alive = [row for row in table if row["diverged"] < n_networks(row) and row.get("rung") is None]
    return min(alive, key=lambda row: int(row["rank"]), default=None)


def _standing(row: Row, monitor: str) -> tuple[bool, float, bool, float]:
    """Return the key that ranks a candidate: not all diverged, the rung, none diverged, the score."""
    rung = row.get("rung")
    is_alive = row["diverged"] < n_networks(row)
    return is_alive, math.inf if rung is None else rung, row["diverged"] == 0, _score(row, monitor)


def groups_of(rows: list[Row], names: tuple[str, ...]) -> list[list[int]]:
    """Return the indices of the rows of each candidate, which are equal in the named settings."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(group_key(row[key]) for key in names), []).append(i)
    return [*groups.values()]


def best_runs(winner: Row, rows: list[Row], names: tuple[str, ...], monitor: str) -> list[int]:
    """Return the indices of the runs of the best candidate's best seed; of equal seeds, the first.

    With folds there is a run for each fold that did not diverge, otherwise one run.
    """
    seeds: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if row["diverged"] is None and all(row[key] == winner[key] for key in names):
            seeds.setdefault(row["seed"], []).append(i)

    def mean(runs: list[int]) -> float:
        return float(np.mean([_score(rows[i], monitor) for i in runs]))

    return max(seeds.values(), key=lambda runs: (len(runs), mean(runs)))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _score(row: Row, monitor: str) -> float:
    """Return the validation score, or -inf for nan, which cannot be ordered."""
    score = float(monitored(row["validation_loss"], row["validation_accuracy"], monitor))
    return -math.inf if math.isnan(score) else score


def group_key(value: Any) -> Any:
    """Return a setting to group candidates by, or its identity if it cannot be hashed."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def paired_difference(
    own: Mapping[Any, float], others: Mapping[Any, float], *, n_samples: float, test_ratio: float = 0.0
) -> Row:
    """Compare two candidates by the seeds and folds that both have.

    The two networks of a seed share their initial weights if their sizes and weight scales are equal. They
    share their batches if their batch sizes are equal. The differences of such pairs scatter less than the
    accuracies do. For n pairs, the standard error of the mean difference is s / √n, with the sample standard
    deviation s. The half width of its 95 % confidence interval is t₀.₉₇₅(n − 1) standard errors, by Student's
    t distribution [1]_. The least s is 1 / (N √12), the standard deviation of an error of rounding to 1 / N,
    the grain of an accuracy. A few differences that happen to be equal do not make the mean certain.

    Networks of different folds are trained on many of the same samples. Their accuracies are not independent,
    so s / √n is too small. With folds the standard error is s · √(1/n + n_test / n_train) [2]_.

    Parameters
    ----------
    own, others : mapping of seed, or seed and fold, to float
        The accuracies, or negated losses, of the candidate and of the other one.
    n_samples : float
        The number N of samples of each accuracy; 0 for losses, which have no grain.
    test_ratio : float
        With folds, n_test / n_train: the number of samples held out from a network, over the number that it
        trains on.

    Returns
    -------
    dict
        ``n_pairs``; ``difference``, the mean of own − other; ``difference_error``, its standard error;
        ``difference_margin``, the half width of the interval; and ``within_noise``, whether the candidate is
        not clearly behind. With fewer than two pairs the errors are nan, and ``within_noise`` is None.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6 (1908), doi:10.1093/biomet/6.1.1
    .. [2] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003),
       doi:10.1023/A:1024068626366
    """
    differences = [own[seed] - others[seed] for seed in own if seed in others]
    n_pairs = len(differences)
    mean = _mean(differences)
    error = margin = math.nan
    if n_pairs > 1:
        grain = 1 / (n_samples * math.sqrt(12)) if n_samples else 0.0
        error = max(float(np.std(differences, ddof=1)), grain) * math.sqrt(1 / n_pairs + test_ratio)
        margin = t_quantile(n_pairs - 1) * error
    return {
        "n_pairs": n_pairs,
        "difference": mean,
        "difference_error": error,
        "difference_margin": margin,
        "within_noise": mean >= -margin if n_pairs > 1 else None,
    }


def t_quantile(n_degrees: int) -> float:
    """Return the 0.975 quantile of Student's t distribution: 95 % lie between its negative and itself.

    With t = √ν tan θ, the probability between −t and t is a finite sum of powers of cos θ [1]_. It rises from
    0 to 1 with θ, so bisection finds the quantile.

    Parameters
    ----------
    n_degrees : int
        The degrees of freedom ν, at least 1.

    References
    ----------
    .. [1] Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4
    """

    def within(theta: float) -> float:
        sine, cosine = math.sin(theta), math.cos(theta)
        odd = n_degrees % 2
        term, total = (cosine if odd else 1.0), 0.0
        for power in range(odd, n_degrees - 1, 2):
            total += term
            term *= cosine * cosine * (power + 1) / (power + 2)
        return 2 / math.pi * (theta + sine * total) if odd else sine * total

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return math.sqrt(n_degrees) * math.tan(high)
