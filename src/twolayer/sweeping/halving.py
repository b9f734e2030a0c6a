"""Successive halving: the rungs of a sweep, and the candidates that leave there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..training import Run
from ..training.folds import Folds
from ..training.history import monitored
from ..training.plan import Settings
from .comparison import Row, compared, groups_of


class Rung(NamedTuple):
    """A rung, at which candidates leave: its number, from 1, and the number of epochs before it."""

    number: int
    epochs: int


def rungs_of(n_epochs: int, n_candidates: int, halving: int) -> list[Rung]:
    """Return the rungs, at ⌈E / η^m⌉, …, ⌈E / η⌉ of E epochs; η^m is the highest power up to min(E, n)."""
    m = 0
    while halving ** (m + 1) <= min(n_epochs, n_candidates):
        m += 1
    return [Rung(number, -(-n_epochs // halving ** (m + 1 - number))) for number in range(1, m + 1)]


def rows_at(
    rung: Rung, run: Run, members: list[int], rows: list[Row], settings: Settings
) -> Iterator[tuple[int, Row]]:
    """Yield the number of each network of a stack, with its settings and its validation scores at a rung.

    ``run`` may have continued after the rung.
    """
    entries, diverged_at = run.history.step.tolist(), run.diverged
    assert isinstance(diverged_at, tuple)
    # A stack whose networks all left earlier, or diverged, has fewer entries.
    at = entries[rung.epochs - 1] if rung.epochs <= len(entries) else run.n_steps
    seen = run.history.until(at)
    for k, (i, step) in enumerate(zip(members, diverged_at, strict=True)):
        loss, accuracy = seen.validation_loss[k], seen.validation_accuracy[k]
        scores = monitored(loss, accuracy, settings.monitor)
        known = np.flatnonzero(np.isfinite(scores))
        found = {"train_accuracy": math.nan, "validation_accuracy": math.nan, "validation_loss": math.nan}
        if known.size:
            place = known[scores[known].argmax()] if settings.judge == "best" else known[-1]
            found |= {"validation_accuracy": float(accuracy[place]), "validation_loss": float(loss[place])}
        yield i, rows[i] | found | {"diverged": step if step is not None and step <= at else None}


def worst(
    rows: Mapping[int, Row], names: tuple[str, ...], halving: int, folds: Folds | None, monitor: str
) -> list[int]:
    """Return the numbers of the networks that leave: those of all but the best ⌈n / η⌉ of n candidates."""
    numbers, groups = list(rows), groups_of([*rows.values()], names)
    table = compared([*rows.values()], names, 0, folds, monitor=monitor)
    n_staying = -(-len(table) // halving)
    pairs = zip(table, groups, strict=True)
    return [numbers[i] for row, group in pairs if row["rank"] > n_staying for i in group]
