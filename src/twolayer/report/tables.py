"""Tables: a sweep's candidates, and the epochs and steps of a history.

A row of a sweep is a candidate of ``result.table`` or a run of ``result.runs``; also as read back from JSON,
which has None for nan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..settings import VARIED, label
from .formatting import format_accuracy, format_numbers, is_finite

if TYPE_CHECKING:
    from ..training.history import History

Row = Mapping[str, Any]

BEHIND = "behind the best"
_SETTINGS = (*VARIED, "seed")


class Column(NamedTuple):
    """A column of a sweep's table: its heading, and of each row the text and what it is sorted by."""

    heading: str
    texts: list[str]
    values: list[Any]
    first: str = "descending"  # or "ascending", which of the values to show first


def varying(table: Sequence[Row]) -> list[str]:
    """Return the settings that take more than one value in ``table``, always in the same order."""
    return [name for name in _SETTINGS if len({row[name] for row in table if name in row}) > 1]


def shown_settings(table: Sequence[Row]) -> list[str]:
    """Return the settings to show of each row: those that vary, else the learning rate and reg."""
    return varying(table) or [name for name in ("learning_rate", "reg") if any(name in row for row in table)]


def has_diverged(row: Row) -> bool:
    """Return whether a row has nothing to show: every seed of the candidate, or the run, diverged."""
    if "n_seeds" in row:
        return bool((row.get("diverged") or 0) >= row["n_seeds"])
    return row.get("diverged") is not None


def steps_of_divergence(row: Row, runs: Sequence[Row]) -> str:
    """Return at which steps the runs of a candidate diverged: "at step 3", "at steps 3 to 8".

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
    """Return the row that `sweep` calls the best, were it to judge by ``value``; None where all diverged.

    It has the highest value, the first where several have it; candidates of which a seed diverged come after
    all others.
    """
    rows = [row for row in table if math.isfinite(_rank(row, value)[1])]
    return min(rows, key=lambda row: _rank(row, value), default=None)


def ranked(table: Sequence[Row]) -> list[int]:
    """Return the places of the rows of ``table`` by rank: the best first, the diverged last."""
    return sorted(range(len(table)), key=lambda index: _rank(table[index], "validation_accuracy"))


def _rank(row: Row, value: str) -> tuple[bool, float]:
    accuracy = row.get(value)
    if has_diverged(row) or not is_finite(accuracy):
        return True, math.inf
    return bool(row.get("diverged")), -float(accuracy)


def sweep_table_rows(table: Sequence[Row]) -> list[dict[str, str]]:
    """Return a sweep's table as text for people: the best first, the diverged last.

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
    columns = {column.heading: column.texts for column in sweep_columns(table)}
    diverged = [_divergence(row) for row in table]
    if any(diverged):
        columns["diverged"] = diverged
    return [{heading: texts[index] for heading, texts in columns.items()} for index in ranked(table)]


def sweep_columns(
    table: Sequence[Row], accuracies: Sequence[str] = ("train_accuracy", "validation_accuracy")
) -> list[Column]:
    """Return the columns of `sweep_table_rows` but for the last, their rows in the order of ``table``."""
    columns = setting_columns(table)
    alive: list[Row] = [{} if has_diverged(row) else row for row in table]
    for name in accuracies:
        texts = [format_accuracy(row.get(name), row.get(f"{name}_std")) for row in alive]
        columns.append(Column(label(name), texts, [row.get(name) for row in alive]))
    best = winner(table)
    if len(table) > 1 and best is not None and any("difference" in row for row in table):
        texts = ["" if row is best else format_difference(row) for row in alive]
        columns.append(Column(BEHIND, texts, [row.get("difference") for row in alive]))
    return columns


def setting_columns(table: Sequence[Row]) -> list[Column]:
    """Return a column for each of `shown_settings`."""
    values = {label(name): [row.get(name) for row in table] for name in shown_settings(table)}
    return [
        Column(heading, format_numbers(column), column, "ascending") for heading, column in values.items()
    ]


def format_difference(row: Row) -> str:
    """Return how far a candidate is from the best, with any 95 % margin: −0.012 ± 0.004."""
    difference = row.get("difference")
    if has_diverged(row) or not is_finite(difference):
        return "–"
    text = f"{abs(difference):.3f}"
    if float(text):
        text = f"{'−' if difference < 0 else '+'}{text}"
    margin = row.get("difference_margin")
    return f"{text} ± {format_accuracy(margin)}" if is_finite(margin) else text


def _divergence(row: Row) -> str:
    diverged = row.get("diverged")
    if not diverged:
        return ""
    if "n_seeds" not in row:
        return f"at step {diverged}"
    return "yes" if row["n_seeds"] == 1 else f"{diverged} of {row['n_seeds']} seeds"


def history_rows(history: History) -> list[dict[str, Any]]:
    """Return a history's epochs as rows: for a table, or for `write_csv`.

    Parameters
    ----------
    history : History
        Of one network.

    Returns
    -------
    list of dict
        For each epoch: ``epoch`` (from 1), ``step`` (steps done), ``learning_rate``, ``loss`` (the mean of
        the epoch's own steps; nan where one is not finite), ``train_accuracy``, ``validation_accuracy``,
        ``validation_loss``.

    Raises
    ------
    ValueError
        If the history is of a stack.
    """
    losses = one_network(history)
    steps = [int(step) for step in history.step]
    rows = []
    for index, (start, stop) in enumerate(itertools.pairwise([0, *steps])):
        own = losses[start:stop]
        rows.append(
            {
                "epoch": index + 1,
                "step": stop,
                "learning_rate": float(history.learning_rate[index]),
                "loss": math.fsum(own / len(own)) if len(own) and np.isfinite(own).all() else math.nan,
                "train_accuracy": float(history.train_accuracy[index]),
                "validation_accuracy": float(history.validation_accuracy[index]),
                "validation_loss": float(history.validation_loss[index]),
            }
        )
    return rows


def step_rows(history: History) -> list[dict[str, Any]]:
    """Return every step as a row of ``step`` (from 1), ``loss`` and ``batch_accuracy``.

    Raises
    ------
    ValueError
        If the history is of a stack.
    """
    both = zip(one_network(history), history.batch_accuracy, strict=True)
    return [
        {"step": step, "loss": float(loss), "batch_accuracy": float(accuracy)}
        for step, (loss, accuracy) in enumerate(both, start=1)
    ]


def one_network(history: History) -> npt.NDArray[np.float64]:
    """Return the losses, shape (steps,), of a history that must be of one network.

    Raises
    ------
    ValueError
        If it is of a stack.
    """
    if history.loss.ndim != 1:
        raise ValueError(
            "`history` must be of one network; "
            f"got a stack of {history.loss.shape[0]} (`history.select(k)` gives one of them)"
        )
    return history.loss
