"""A sweep's table: which settings vary, who won, who diverged, and the table as text.

A row is a candidate of ``result.table`` or a run of ``result.runs``; also as read back from JSON, which has
None for nan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..settings import VARIED, label
from .text import format_accuracy, format_numbers, is_finite

Row = Mapping[str, Any]

_SETTINGS = (*VARIED, "seed")


def varying(table: Sequence[Row]) -> list[str]:
    """Give the settings that take more than one value in ``table``, always in the same order."""
    return [name for name in _SETTINGS if len({row[name] for row in table if name in row}) > 1]


def shown_settings(table: Sequence[Row]) -> list[str]:
    """Give the settings to show of each row: those that vary, else the learning rate and reg."""
    return varying(table) or [name for name in ("learning_rate", "reg") if any(name in row for row in table)]


def has_diverged(row: Row) -> bool:
    """Say whether a row of a sweep has nothing to show: every seed of the candidate, or the run, diverged."""
    if "n_seeds" in row:
        return bool((row.get("diverged") or 0) >= row["n_seeds"])
    return row.get("diverged") is not None


def steps_of_divergence(row: Row, runs: Sequence[Row]) -> str:
    """Say at which steps the runs of a candidate diverged: "at step 3", "at steps 3 to 8".

    Parameters
    ----------
    row : mapping
        A row of ``result.table``.
    runs : sequence of mappings
        ``result.runs``.

    Returns
    -------
    str
        Empty where no run of the candidate diverged.
    """
    names = [name for name in VARIED if name in row]
    own = [run for run in runs if all(run.get(name) == row[name] for name in names)]
    steps = sorted({run["diverged"] for run in own if run.get("diverged") is not None})
    if len(steps) > 1:
        return f"at steps {steps[0]:,} to {steps[-1]:,}"
    return f"at step {steps[0]:,}" if steps else ""


def winner(table: Sequence[Row], *, value: str = "validation_accuracy") -> Row | None:
    """Give the row that `sweep` calls the best, were it to judge by ``value``; None where all diverged.

    It has the highest value, the first where several have it; candidates of which a seed diverged come after
    all others.
    """
    rows = [row for row in table if not has_diverged(row) and is_finite(row.get(value))]
    return max(rows, key=lambda row: (not row.get("diverged"), float(row[value])), default=None)


def sweep_table_rows(table: Sequence[Row]) -> list[dict[str, str]]:
    """Give a sweep's table as text for people: the best first, the diverged last.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep, or ``result.runs``.

    Returns
    -------
    list of dict of str to str
        From the column's heading to the text. The columns: the settings that vary (learning rate and reg,
        where none does), the accuracies, with their spread over the seeds where there are several; of several
        candidates how far each is behind the best, with its 95 % margin; and, where any diverged, how many.
    """
    names = shown_settings(table)
    columns = {label(name): format_numbers([row.get(name) for row in table]) for name in names}
    for name in ("train_accuracy", "validation_accuracy"):
        columns[label(name)] = [
            "–" if has_diverged(row) else format_accuracy(row.get(name), row.get(f"{name}_std"))
            for row in table
        ]
    best = winner(table)
    if len(table) > 1 and best is not None and any("difference" in row for row in table):
        columns["behind the best"] = ["" if row is best else format_difference(row) for row in table]
    diverged = [_divergence(row) for row in table]
    if any(diverged):
        columns["diverged"] = diverged
    order = ranked(table)
    return [{heading: texts[index] for heading, texts in columns.items()} for index in order]


def format_difference(row: Row) -> str:
    """Write how far a candidate is from the best, with its 95 % margin where there is one: −0.012 ± 0.004."""
    difference = row.get("difference")
    if has_diverged(row) or not is_finite(difference):
        return "–"
    text = f"{abs(difference):.3f}"
    if float(text):
        text = f"{'−' if difference < 0 else '+'}{text}"
    margin = row.get("difference_margin")
    return f"{text} ± {format_accuracy(margin)}" if is_finite(margin) else text


def ranked(table: Sequence[Row]) -> list[int]:
    """Give the places of the rows of ``table`` by rank: the best first, the diverged last."""
    return sorted(range(len(table)), key=lambda index: _rank(table[index]))


def _divergence(row: Row) -> str:
    diverged = row.get("diverged")
    if not diverged:
        return ""
    if "n_seeds" not in row:
        return f"at step {diverged}"
    return "yes" if row["n_seeds"] == 1 else f"{diverged} of {row['n_seeds']} seeds"


def _rank(row: Row) -> tuple[bool, bool, float]:
    accuracy = row.get("validation_accuracy")
    if has_diverged(row) or not is_finite(accuracy):
        return True, True, 0.0
    return False, bool(row.get("diverged")), -float(accuracy)
