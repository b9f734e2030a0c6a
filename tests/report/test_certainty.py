"""Sentences about a sweep's winner: how certain it is, and whether it is at an end of the grid."""

from __future__ import annotations

import itertools
import math

import pytest
from support.candidates import BEHIND, BEST, CLOSE, candidate, compared

from twolayer.report.certainty import (
    certainty_in_words,
    grid_end_in_words,
    grid_ends,
    next_in_words,
    verdict_in_words,
)

UNKNOWN = compared(0.3, -0.01, math.nan, None, n_pairs=1)
MANY = [compared(rate, -0.001, 0.01, True) for rate in (0.11, 0.12, 0.13, 0.14)]
ONE_SEED = [row | {"n_seeds": 1, "n_pairs": 1, "within_noise": None} for row in (BEST, BEHIND)]
LOST = candidate(0.8, math.nan, diverged=3, n_seeds=3)
OF_SAMPLES = (
    "With 300 validation samples, an accuracy of 0.900 has a standard error of 0.017: "
    "other samples may rank candidates that are closer than this in another order."
)
BEST_OF_3 = "Best: learning rate 0.4: validation accuracy 0.900 (mean of 3 seeds)."
VERDICTS = {
    "close": ([BEHIND, BEST, CLOSE], "1 other candidate may be as good: learning rate 0.2."),
    "several": (
        [BEHIND, BEST, CLOSE, MANY[0]],
        "2 other candidates may be as good: learning rate 0.2; learning rate 0.11.",
    ),
    "as in the table": (
        [BEST, compared(0.0301, -0.001, 0.01, True), compared(3e-4, -0.3, 0.01, False)],
        "1 other candidate may be as good: learning rate 0.0301.",
    ),
    "behind": ([BEHIND, BEST], "All other candidates are clearly behind."),
    "many": ([*MANY, BEST, BEHIND], "4 other candidates may be as good."),
    "unknown": (
        [BEST, CLOSE | {"n_pairs": 2}, BEHIND, UNKNOWN],
        "1 other candidate may be as good: learning rate 0.2. "
        "1 other candidate cannot be compared: fewer than two seeds are shared with the best.",
    ),
    "other seeds": (
        [BEST, UNKNOWN],
        "1 other candidate cannot be compared: fewer than two seeds are shared with the best.",
    ),
    "left early": (
        [BEST, BEHIND, CLOSE | {"rung": 1}],
        "All others that were trained to the end are clearly behind.",
    ),
    "others diverged": ([BEST, LOST], "No other candidate was trained to the end."),
    "others left": ([BEST, CLOSE | {"rung": 2}], "No other candidate was trained to the end."),
    "others of an earlier version": ([BEST, candidate(0.2, 0.4)], ""),
}


@pytest.mark.parametrize(("table", "words"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_names_the_winner_and_candidates_that_may_be_as_good(table, words):
    first, *others = verdict_in_words(table)
    assert first.startswith("Best: learning rate 0.4")
    assert first.endswith(": validation accuracy 0.900 (mean of 3 seeds).")
    assert " ".join(others) == words


def test_the_verdict_of_one_seed_warns_about_chance():
    assert verdict_in_words(ONE_SEED) == [
        "Best: learning rate 0.4: validation accuracy 0.900 (one seed).",
        "With a single seed, real differences cannot be told from chance.",
    ]
    alone = candidate(0.4, 0.9)
    assert verdict_in_words([alone]) == [
        "Best: learning rate 0.4, reg 0: validation accuracy 0.900 (one seed)."
    ]


def test_the_verdict_covers_losses_stopped_sweeps_folds_and_divergence():
    table = [row | {"validation_loss": loss} for row, loss in ((BEST, 0.31234), (BEHIND, 0.4))]
    assert verdict_in_words(table, "loss")[0] == (
        "Best: learning rate 0.4: validation loss 0.3123, accuracy 0.900 (mean of 3 seeds)."
    )
    assert verdict_in_words(table, complete=False)[0] == f"Best so far{BEST_OF_3.removeprefix('Best')}"
    shaky = [row | {"diverged": 1} for row in (BEST, BEHIND)]
    assert verdict_in_words(shaky)[0].endswith("(mean of 2 seeds).")
    folds = [row | {"n_folds": 5, "n_networks": 15, "n_pairs": 15} for row in (BEST, BEHIND)]
    assert verdict_in_words(folds)[0].endswith(" 0.900 (mean of 15 networks).")
    assert verdict_in_words([LOST]) == ["Best: none. Every candidate diverged."]
    assert verdict_in_words([]) == []
    end = {"setting": "learning_rate", "value": 0.4, "end": "highest", "try": [0.8, 1.6]}
    assert verdict_in_words([BEHIND, BEST], ends=[end])[-1] == grid_end_in_words(end)


def test_the_next_command_in_words():
    assert next_in_words("twolayer report runs/a-001") == "Next: `twolayer report runs/a-001`"


@pytest.mark.parametrize("table", [[BEHIND, BEST], [BEHIND, BEST, CLOSE]])
def test_certainty_in_words_warns_about_few_samples_and_many_candidates(table):
    first, *others = certainty_in_words(table, 300)
    assert first == OF_SAMPLES
    chosen = f"Each 95 % margin is for one comparison, but the best was chosen from {len(table)} candidates"
    assert [one[: len(chosen)] for one in others] == [chosen] * (len(table) > 2)
    assert certainty_in_words(table, None) == others


def test_candidates_that_left_early_are_not_compared():
    first, *_ = certainty_in_words([BEST, BEHIND, CLOSE | {"rung": 1}], 300)
    assert first.startswith("1 of 3 candidates left at a rung")


@pytest.mark.parametrize(
    ("table", "n_validation"),
    [
        ([BEST], None),
        ([candidate(0.1, 0.5), candidate(0.2, 0.4)], None),  # from a version without comparisons
        ([candidate(0.1, math.nan, diverged=1)], 300),
    ],
    ids=["alone", "earlier", "diverged"],
)
def test_there_is_no_sentence_without_anything_to_compare(table, n_validation):
    assert certainty_in_words(table, n_validation) == []


def test_an_accuracy_of_one_is_given_an_interval():
    (sentence,) = certainty_in_words([candidate(0.1, 1.0)], 300)
    assert sentence == (
        "With 300 validation samples, an accuracy of 1.000 has a 95 % interval from 0.987 to 1.000."
    )


def grid_of(best, **values):
    """A full grid in which the candidate ``best`` wins."""
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
        ("learning_rate", [0.1, 0.2, 0.3], 0.1, []),  # one step lower would be 0
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
def test_a_winner_at_an_end_of_the_grid_has_further_values_to_try(name, values, best, further):
    table = grid_of((0.5, best), label_smoothing=[0.5], **{name: values})
    found = grid_ends(table)
    assert [one["try"] for one in found] == ([further] if further else [])
    if further:
        assert (found[0]["setting"], found[0]["value"]) == (name, best)
        assert found[0]["end"] == ("highest" if best == max(values) else "lowest")
        assert all(type(value) is type(best) for value in further)


def test_each_end_of_the_grid_has_a_sentence_with_values_to_try():
    table = grid_of((0.4, 1e-4), learning_rate=[0.1, 0.2, 0.4], reg=[1e-4, 1e-3])
    assert [grid_end_in_words(end) for end in grid_ends(table)] == [
        "The best is at the upper end of learning rate, 0.4: try 0.8, 1.6 too.",
        "The best is at the lower end of reg, 1e-4: try 1e-5, 1e-6 too.",
    ]
    # Diverged candidates belong to the grid too, so here the best is not at its end.
    grid = grid_of((0.4,), learning_rate=[0.2, 0.4, 0.8])
    assert grid_ends([{**row, "diverged": int(row["learning_rate"] == 0.8)} for row in grid]) == []


def test_an_incomplete_grid_or_one_without_a_winner_has_no_ends():
    table = grid_of((0.4, 1e-4), learning_rate=[0.1, 0.2, 0.4], reg=[1e-4, 1e-3])
    assert grid_ends([row for row in table if row is not table[0]]) == []
    assert grid_ends([]) == []
    assert grid_ends([{**row, "diverged": 1} for row in table]) == []
