"""Sentences about a sweep's winner: how sure it is, and whether it stands at an end of the grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..settings import SETTINGS, VARIED, label
from ..training.folds import accuracy_error
from .formatting import format_number, format_numbers
from .metrics import wilson_interval
from .tables import Row, has_diverged, shown_settings, winner

_MOST_RATIO = 10.0
_MOST_SHARE = 0.9
_NAMED = 3  # candidates at most; more are counted


def certainty_in_words(
    table: Sequence[Row], n_validation: int | None, monitor: str = "accuracy"
) -> list[str]:
    """Return which candidates cannot be told from the best, and how well the validation samples know it.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep.
    n_validation : int or None
        The number of validation samples; None where it is not known.
    monitor : "accuracy" or "loss"
        By which candidates are ranked.

    Returns
    -------
    list of str
        Sentences. None where every candidate diverged.
    """
    best = winner(table)
    if best is None:
        return []
    rest, sentences = [row for row in table if row.get("rung") is None], []
    if len(rest) < len(table):
        sentences.append(
            f"{len(table) - len(rest)} of {len(table)} candidates left at a rung, before the end: "
            "their networks are less trained, and are not compared."
        )
    others = [row for row in rest if row is not best and "n_pairs" in row and not has_diverged(row)]
    if others:
        sentences.append(_others_in_words(rest, best, others, len(table)))
    if n_validation:
        kind = "held-out" if "n_folds" in best else "validation"
        sentences.append(_validation_in_words(best["validation_accuracy"], n_validation, kind, monitor))
    if len(table) > 2 and any(row.get("within_noise") is not None for row in others):
        sentences.append(
            f"Each margin is for one comparison, but the best was picked from {len(table)} candidates, and "
            "so partly by luck: if it matters, train the first few again from other seeds."
        )
    return sentences


def _others_in_words(table: Sequence[Row], best: Row, others: Sequence[Row], n_candidates: int) -> str:
    known = [row for row in others if row.get("within_noise") is not None]
    if not known and best["n_seeds"] == 1:
        return "One seed cannot show which differences are chance: it takes two at least, better five."
    if not known:
        return "Candidates of other seeds cannot be compared: give all of them the same."
    pairs = sorted({row["n_pairs"] for row in known})
    unit, noun = ("folds", "networks of each") if "n_folds" in best else ("seeds", "seeds")
    seeds = f"{pairs[0]} {noun}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]} {noun}"
    close, n_others = [row for row in known if row["within_noise"]], len(table) - 1
    if not close:
        which = "all others" if len(table) == n_candidates else "all others that were trained to the end"
        text = f"By {seeds}, {which} are behind the best by more than {unit} explain, on these samples"
    elif len(close) <= _NAMED:
        texts = {name: format_numbers([row.get(name) for row in table]) for name in shown_settings(table)}
        places = [i for i, row in enumerate(table) if any(row is one for one in close)]
        words = [", ".join(f"{label(name)} {texts[name][i]}" for name in texts) for i in places]
        text = f"These cannot be told apart from the best by {seeds}: {'; '.join(words)}"
    else:
        which = f"{len(close)} of the other {n_others} candidates"
        text = f"{which} cannot be told apart from the best by {seeds} (≈)"
    if len(known) < len(others):
        text += (
            f"; {len(others) - len(known)} share fewer than two {unit} with the best, and cannot be compared"
        )
    return f"{text}."


def _validation_in_words(accuracy: float, n_validation: int, kind: str, monitor: str) -> str:
    error = accuracy_error(accuracy, n_validation)
    samples = f"The {n_validation:,} {kind} samples"
    if error < 0.0005:
        low, high = wilson_interval(round(accuracy * n_validation), n_validation)
        return f"{samples} show an accuracy of {accuracy:.3f}, from {low:.3f} to {high:.3f} (95 % interval)."
    text = f"{samples} show an accuracy of {accuracy:.3f} ± {error:.3f} (standard error)"
    if monitor == "loss":
        return f"{text}."
    return f"{text}: others may rank candidates that are closer than this in another order."


def grid_ends(table: Sequence[Row]) -> list[dict[str, Any]]:
    """Return where the best candidate stands at an end of the grid, and with which values that goes on.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep over a whole grid. Of settings that are not a grid, and of a grid of
        which candidates are missing, nothing is said.

    Returns
    -------
    list of dict
        For each setting of two or more numbers of which the best has the least or the greatest: ``setting``;
        ``value``, the best's; ``end``, "lowest" or "highest"; and ``try``, one or two values further out, by
        the grid's own ratio, of 10 at most, or step; not below 0, and shares not above 0.9.
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
        if len(values) < 2 or not all(_is_number(value) for value in values):
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
    """Return two values that go on from the last of ``outwards``, the values of the grid in their order."""
    before, last = outwards[-2:]
    steps = {_rounded(b - a) for a, b in itertools.pairwise(outwards)}
    is_whole, is_share = isinstance(last, int), SETTINGS[name].is_share
    evenly = is_share or before <= 0 or (len(outwards) > 2 and len(steps) == 1)
    values = [round(last + k * (last - before), 12) for k in (1, 2)]
    if not evenly and last > 0:
        ratio = min(max(last / before, 1 / _MOST_RATIO), _MOST_RATIO)
        values = [last * ratio**k for k in (1, 2)]
    values = [math.floor(value + 0.5) if is_whole else _rounded(value) for value in values]
    least = 1 if is_whole else 0.0 if is_share else math.ulp(0.0)
    most = _MOST_SHARE if is_share else math.inf
    return [value for value in dict.fromkeys(values) if least <= value <= most and value != last]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
