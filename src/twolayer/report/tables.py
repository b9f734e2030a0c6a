"""Tables of a sweep's candidates, and of a history's epochs and steps.

A row of a sweep is a candidate of ``result.table`` or a run of ``result.runs``. It may have been read back
from JSON, where nan is None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..settings import VARIED, label
from ..training.folds import n_networks
from .formatting import count, format_accuracy, format_numbers, is_finite

if TYPE_CHECKING:
    from ..training.history import History

Row = Mapping[str, Any]

_SETTINGS = (*VARIED, "seed", "fold")


class Column(NamedTuple):
    """A column of a sweep's table: the heading, and for each row a text and the value to sort it by."""

    heading: str
    texts: list[str]
    values: list[Any]
    first: str = "descending"  # or "ascending": the order in which to sort it first


def varying(table: Sequence[Row]) -> list[str]:
    """Return the settings that have more than one value in ``table``, always in the same order."""
    return [name for name in _SETTINGS if len({row[name] for row in table if name in row}) > 1]


def shown_settings(table: Sequence[Row]) -> list[str]:
    """Return the settings to show for each row: those that vary, or else the learning rate and reg."""
    return varying(table) or [name for name in ("learning_rate", "reg") if any(name in row for row in table)]


def has_diverged(row: Row) -> bool:
    """Return whether the run of a row, or every network of its candidate, diverged."""
    if "n_seeds" in row:
        return bool((row.get("diverged") or 0) >= n_networks(row))
    return row.get("diverged") is not None


def divergence_in_words(row: Row, runs: Sequence[Row]) -> str:
    """Return how many runs of a candidate diverged, and when: "step 3", "1 of 3 seeds, steps 3–8".

    Parameters
    ----------
    row : mapping
        A row of ``result.table``.
    runs : sequence of mappings
        ``result.runs``.

    Returns
    -------
    str
        Empty if no run of the candidate diverged.
    """
    if not row.get("diverged"):
        return ""
    names = [name for name in VARIED if name in row]
    own = [run for run in runs if all(run.get(name) == row[name] for name in names)]
    steps = sorted({run["diverged"] for run in own if run.get("diverged") is not None})
    when = [f"step {steps[0]:,}"] if steps else []
    if len(steps) > 1:
        when = [f"steps {steps[0]:,}–{steps[-1]:,}"]
    noun = "networks" if "n_folds" in row else "seeds"
    which = [] if has_diverged(row) else [f"{row['diverged']} of {n_networks(row)} {noun}"]
    return ", ".join([*which, *when]) or "yes"


def winner(table: Sequence[Row], *, value: str = "validation_accuracy") -> Row | None:
    """Return the row of the best candidate; None if all candidates diverged.

    It has the first rank. In a table without ranks it has the highest ``value``; of equal ones it is the
    first. A candidate with a diverged network comes after all others. A candidate that left at a rung never
    wins.
    """
    rows = [row for row in table if row.get("rung") is None and not _rank(row, value)[0]]
    return min(rows, key=lambda row: _rank(row, value), default=None)


def ranked(table: Sequence[Row], *, value: str = "validation_accuracy") -> list[Row]:
    """Return the rows in order of rank: trained to the end, then left at a rung, then diverged."""
    return sorted(table, key=lambda row: _rank(row, value))


def _rank(row: Row, value: str) -> tuple[bool, float, bool, float]:
    accuracy, rung = row.get(value), row.get("rung")
    if has_diverged(row) or not is_finite(accuracy):
        return True, math.inf, True, math.inf
    place = row.get("rank", -float(accuracy))  # tables of other programs have no ranks
    return False, -math.inf if rung is None else -rung, bool(row.get("diverged")), place


def sweep_columns(table: Sequence[Row], runs: Sequence[Row], monitor: str = "accuracy") -> list[Column]:
    """Return the columns of a sweep's table, for people to read.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep, in the order of the rows to show.
    runs : sequence of mappings
        ``result.runs``.
    monitor : "accuracy" or "loss"
        By which candidates are ranked.

    Returns
    -------
    list of Column
        The columns are the settings that vary (learning rate and reg, if no setting varies); the accuracies,
        with any standard deviation over the seeds and folds; the validation loss, if candidates are ranked by
        it; the difference from the best, with its 95 % margin, if there are several candidates; the rung at
        which a candidate left, and the step at which it diverged, if any did; and a note on the best
        candidate and on those that may be as good (≈ best).
    """
    best = winner(table)
    alive: list[Row] = [{} if has_diverged(row) else row for row in table]
    settings = {label(name): [row.get(name) for row in table] for name in shown_settings(table)}
    columns = [Column(name, format_numbers(values), values, "ascending") for name, values in settings.items()]
    for name in ("train_accuracy", "validation_accuracy"):
        texts = [format_accuracy(row.get(name), row.get(f"{name}_std")) for row in alive]
        heading = _heading(label(name), texts, f"SD over {repeats_in_words(_largest(table))}")
        columns.append(Column(heading, texts, [row.get(name) for row in alive]))
    behind = "behind the best"
    if monitor == "loss":
        losses = [row.get("validation_loss") for row in alive]
        texts = [f"{loss:.4f}" if is_finite(loss) else "–" for loss in losses]
        columns.append(Column("validation loss", texts, losses, "ascending"))
        behind = "behind the best (loss)"
    if _is_compared(table):
        texts = ["" if row is best else format_difference(row) for row in alive]
        columns.append(
            Column(_heading(behind, texts, "95 % margin"), texts, [row.get("difference") for row in alive])
        )
    rungs = [row.get("rung") for row in table]
    if any(rungs):
        texts = ["" if rung is None else str(rung) for rung in rungs]
        columns.append(Column("left at rung", texts, rungs))
    if any(row.get("diverged") for row in table):
        texts = [divergence_in_words(row, runs) for row in table]
        columns.append(Column("diverged", texts, [row.get("diverged") or None for row in table]))
    notes = ["best" if row is best else "≈ best" if row.get("within_noise") else "" for row in table]
    return [*columns, Column("note", notes, notes, "ascending")]


def legend(table: Sequence[Row]) -> list[str]:
    """Return the meaning of the columns of a sweep over several seeds or folds; nothing for a single seed."""
    largest = _largest(table)
    if n_networks(largest) == 1:
        return []
    unit = "a seed and fold" if "n_folds" in largest else "a seed"
    compared = f"behind the best: mean difference in pairs of {unit}; ≈ best: may be as good"
    means = f"means of {repeats_in_words(largest)}; SD: their standard deviation"
    return [means, *([compared] if _is_compared(table) else [])]


def _largest(table: Sequence[Row]) -> Row:
    """Return the candidate that has the most networks."""
    return max(table, key=n_networks, default={})


def _heading(name: str, texts: Sequence[str], spread: str) -> str:
    """Return the heading of a column, which names the numbers after ± if there are any."""
    return f"{name} ± {spread}" if any("±" in text for text in texts) else name


def repeats_in_words(row: Row) -> str:
    """Return the seeds and folds of a candidate in words: "3 seeds", "5 folds", "5 folds and 3 seeds"."""
    n_seeds, n_folds = row.get("n_seeds") or 1, row.get("n_folds")
    seeds = count(n_seeds, "seed")
    if n_folds is None:
        return seeds
    return count(n_folds, "fold") + (f" and {seeds}" if n_seeds > 1 else "")


def _is_compared(table: Sequence[Row]) -> bool:
    return len(table) > 1 and winner(table) is not None and any("difference" in row for row in table)


def format_difference(row: Row) -> str:
    """Return the difference of a candidate from the best, with any 95 % margin: −0.012 ± 0.004."""
    difference = row.get("difference")
    if has_diverged(row) or not is_finite(difference):
        return "–"
    text = f"{abs(difference):.3f}"
    if float(text):
        text = f"{'−' if difference < 0 else '+'}{text}"
    margin = row.get("difference_margin")
    return f"{text} ± {format_accuracy(margin)}" if is_finite(margin) else text


def history_rows(history: History) -> list[dict[str, Any]]:
    """Return a history's epochs as rows, for a table or for `write_csv`.

    Parameters
    ----------
    history : History
        The history of one network.

    Returns
    -------
    list of dict
        A row for each epoch has ``epoch`` (from 1), ``step`` (the number of steps done), ``learning_rate``,
        ``loss`` (the mean over the epoch's steps; nan if the loss of a step is not finite),
        ``train_accuracy``, ``validation_accuracy`` and ``validation_loss``.

    Raises
    ------
    ValueError
        If the history is that of a stack.
    """
    losses = one_network(history)
    steps = [int(step) for step in history.step]
    measured = ("train_accuracy", "validation_accuracy", "validation_loss")
    rows = []
    for index, (start, stop) in enumerate(itertools.pairwise([0, *steps])):
        own = losses[start:stop]
        row = {"epoch": index + 1, "step": stop, "learning_rate": float(history.learning_rate[index])}
        row["loss"] = math.fsum(own / len(own)) if len(own) and np.isfinite(own).all() else math.nan
        rows.append(row | {name: float(getattr(history, name)[index]) for name in measured})
    return rows


def step_rows(history: History) -> list[dict[str, Any]]:
    """Return each step as a row with ``step`` (from 1), ``loss`` and ``batch_accuracy``.

    Raises
    ------
    ValueError
        If the history is that of a stack.
    """
    both = zip(one_network(history), history.batch_accuracy, strict=True)
    return [
        {"step": step, "loss": float(loss), "batch_accuracy": float(accuracy)}
        for step, (loss, accuracy) in enumerate(both, start=1)
    ]


def one_network(history: History) -> npt.NDArray[np.float64]:
    """Return the losses of a history of one network, shape (steps,).

    Raises
    ------
    ValueError
        If the history is that of a stack.
    """
    if history.loss.ndim != 1:
        raise ValueError(
            "`history` must be of one network; "
            f"got a stack of {history.loss.shape[0]} (`history.select(k)` returns the history of network k)"
        )
    return history.loss
