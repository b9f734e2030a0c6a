"""Sentences about a sweep's winner: the verdict, its certainty, and whether it is at an end of the grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..settings import SETTINGS, VARIED, label
from ..training.folds import accuracy_error, n_networks
from .formatting import count, format_number, format_numbers, is_finite
from .metrics import wilson_interval
from .tables import Row, has_diverged, shown_settings, winner

_MOST_RATIO = 10.0
_MOST_SHARE = 0.9
_MOST_NAMED = 3  # more candidates are only counted


def verdict_in_words(
    table: Sequence[Row],
    monitor: str = "accuracy",
    *,
    complete: bool = True,
    ends: Iterable[Mapping[str, Any]] = (),
) -> list[str]:
    """Return the verdict of a sweep: the best candidate, which others may be as good, and what to try.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep.
    monitor : "accuracy" or "loss"
        By which candidates are ranked.
    complete : bool
        Whether the sweep went to its end.
    ends : iterable of mappings
        The ends of the grid that the best candidate is at, as `grid_ends` returns them.

    Returns
    -------
    list of str
        Sentences; empty for an empty table.
    """
    best = winner(table)
    if best is None:
        return ["Best: none. Every candidate diverged."] if table else []
    score, loss = f"accuracy {best['validation_accuracy']:.3f}", best.get("validation_loss")
    if monitor == "loss" and is_finite(loss):
        score = f"loss {loss:.4f}, {score}"
    texts, noun = _settings_in_words(table), "network" if "n_folds" in best else "seed"
    n_alive = n_networks(best) - (best.get("diverged") or 0)
    mean = f"one {noun}" if n_alive == 1 else f"mean of {n_alive} {noun}s"
    place = next(i for i, row in enumerate(table) if row is best)
    sentences = [f"Best{'' if complete else ' so far'}: {texts[place]}: validation {score} ({mean})."]
    return [*sentences, *_others_in_words(table, best, texts), *map(grid_end_in_words, ends)]


def next_in_words(command: str) -> str:
    """Return the line that suggests a command: "Next: `twolayer report runs/digits-sweep-001`"."""
    return f"Next: `{command}`"


def comparable(table: Sequence[Row]) -> list[Row]:
    """Return the candidates to compare with the best: they did not diverge, and left at no rung."""
    best = winner(table)
    rows = (row for row in table if row is not best and row.get("rung") is None and "n_pairs" in row)
    return [row for row in rows if not has_diverged(row)]


def _settings_in_words(table: Sequence[Row]) -> list[str]:
    """Return the settings of each candidate in words, with the digits that the table has."""
    columns = {name: format_numbers([row.get(name) for row in table]) for name in shown_settings(table)}
    return [", ".join(f"{label(name)} {columns[name][i]}" for name in columns) for i in range(len(table))]


def _others_in_words(table: Sequence[Row], best: Row, texts: Sequence[str]) -> list[str]:
    """Return which candidates may be as good as the best, and which cannot be compared with it."""
    if len(table) > 1 and all(has_diverged(row) or row.get("rung") for row in table if row is not best):
        return ["No other candidate was trained to the end."]
    others = comparable(table)
    known = [row for row in others if row.get("within_noise") is not None]
    if others and not known and best.get("n_seeds") == 1:
        return ["With a single seed, real differences cannot be told from chance."]
    close = [
        texts[i] for i, row in enumerate(table) if any(row is one for one in known if one["within_noise"])
    ]
    if close:
        named = f": {'; '.join(close)}" if len(close) <= _MOST_NAMED else ""
        sentences = [f"{count(len(close), 'other candidate')} may be as good{named}."]
    else:
        has_left = any(row.get("rung") is not None for row in table)
        which = "others that were trained to the end" if has_left else "other candidates"
        sentences = [f"All {which} are clearly behind."] if known else []
    if len(known) < len(others):
        unit, n_unknown = (
            "folds" if "n_folds" in best else "seeds",
            count(len(others) - len(known), "other candidate"),
        )
        sentences.append(f"{n_unknown} cannot be compared: fewer than two {unit} are shared with the best.")
    return sentences


def certainty_in_words(
    table: Sequence[Row], n_validation: int | None, monitor: str = "accuracy"
) -> list[str]:
    """Return how certain the figures of a sweep are, given the samples and the number of candidates.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep.
    n_validation : int or None
        The number of validation samples; None if it is unknown.
    monitor : "accuracy" or "loss"
        By which candidates are ranked.

    Returns
    -------
    list of str
        Sentences; empty if every candidate diverged.
    """
    best = winner(table)
    if best is None:
        return []
    n_left = sum(row.get("rung") is not None for row in table)
    text = (
        f"{n_left} of {len(table)} candidates left at a rung, before the end: their networks are less trained"
    )
    sentences = [f"{text}, and are not compared."] if n_left else []
    if n_validation:
        kind = "held-out" if "n_folds" in best else "validation"
        sentences.append(_validation_in_words(best["validation_accuracy"], n_validation, kind, monitor))
    if len(table) > 2 and any(row.get("within_noise") is not None for row in comparable(table)):
        sentences.append(
            f"Each 95 % margin is for one comparison, but the best was chosen from {len(table)} candidates, "
            "so luck had a part in it. If it matters, train the first few again from other seeds."
        )
    return sentences


def _validation_in_words(accuracy: float, n_validation: int, kind: str, monitor: str) -> str:
    error = accuracy_error(accuracy, n_validation)
    text = f"With {n_validation:,} {kind} samples, an accuracy of {accuracy:.3f} has a"
    if error < 0.0005:
        # Near 0 and 1 the standard error is too small: it is 0 if all samples are right.
        low, high = wilson_interval(round(accuracy * n_validation), n_validation)
        return f"{text} 95 % interval from {low:.3f} to {high:.3f}."
    text = f"{text} standard error of {error:.3f}"
    if monitor == "loss":
        return f"{text}."
    return f"{text}: other samples may rank candidates that are closer than this in another order."


def grid_ends(table: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each setting whose best value is at an end of the grid, with values to try beyond that end.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep over a whole grid.

    Returns
    -------
    list of dict
        A dict for each setting with two or more values, all numbers, of which the best candidate has the
        lowest or the highest. It has ``setting``, its name; ``value``, the best candidate's; ``end``,
        "lowest" or "highest"; and ``try``, one or two values further out. These continue the grid by its own
        ratio, at most 10, or by its own step. They are not below 0, and shares are not above 0.9. The list is
        empty if the table is not a whole grid, or if every candidate diverged.
    """
    best = winner(table)
    grid: Mapping[str, list[Any]] = {
        name: list(dict.fromkeys(row[name] for row in table))
        for name in VARIED
        if all(name in row for row in table)
    }
    if best is None or math.prod(map(len, grid.values())) != len(table):
        return []
    found = []
    for name, values in grid.items():
        if len(values) < 2 or not all(is_number(value) for value in values):
            continue
        ordered = sorted(values)
        for end, outwards in (("lowest", ordered[::-1]), ("highest", ordered)):
            if best[name] == outwards[-1] and (further := _further(name, outwards)):
                found.append({"setting": name, "value": best[name], "end": end, "try": further})
    return found


def grid_end_in_words(end: Mapping[str, Any]) -> str:
    """Return one of `grid_ends` in words: "The best is at the upper end of reg, 0.1: try 1, 10 too."."""
    value, *further = map(format_number, (end["value"], *end["try"]))
    which = {"lowest": "lower", "highest": "upper"}[end["end"]]
    return (
        f"The best is at the {which} end of {label(end['setting'])}, {value}: try {', '.join(further)} too."
    )


def _further(name: str, outwards: Sequence[Any]) -> list[Any]:
    """Return up to two values that continue ``outwards``, the grid's values in order, beyond its last."""
    before, last = outwards[-2:]
    steps = {rounded(b - a) for a, b in itertools.pairwise(outwards)}
    is_whole, is_share = isinstance(last, int), SETTINGS[name].is_share
    evenly = is_share or before <= 0 or (len(outwards) > 2 and len(steps) == 1)
    values = [round(last + k * (last - before), 12) for k in (1, 2)]
    if not evenly and last > 0:
        ratio = min(max(last / before, 1 / _MOST_RATIO), _MOST_RATIO)
        values = [last * ratio**k for k in (1, 2)]
    values = [math.floor(value + 0.5) if is_whole else rounded(value) for value in values]
    least = 1 if is_whole else 0.0 if is_share else math.ulp(0.0)
    most = _MOST_SHARE if is_share else math.inf
    return [value for value in dict.fromkeys(values) if least <= value <= most and value != last]


def rounded(value: float) -> float:
    """Return a number of three significant digits."""
    return float(f"{value:.3g}")


def is_number(value: Any) -> bool:
    """Return whether a setting's value is a number; a truth value is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
