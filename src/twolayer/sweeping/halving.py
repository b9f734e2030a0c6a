"""Successive halving: candidates of a sweep that leave before its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .._namespace import array_namespace, own_dtypes
from ..network import TwoLayerNet
from ..training.execution import running
from ..training.folds import Folds
from ..training.plan import Plan
from ..training.run import Run
from ..training.trainer import Trainer, begun
from .comparison import Row, compared, groups_of, standing


class Rung(NamedTuple):
    """The end of an epoch at which candidates leave: its number, from 1, and how many epochs are done."""

    number: int
    epochs: int


def rungs_of(n_epochs: int, n_candidates: int, halving: int) -> list[Rung]:
    """Return the rungs, at ⌈E / η^m⌉, …, ⌈E / η⌉ of E epochs, η^m the highest power of at most min(E, n)."""
    m = 0
    while halving ** (m + 1) <= min(n_epochs, n_candidates):
        m += 1
    return [Rung(number, -(-n_epochs // halving ** (m + 1 - number))) for number in range(1, m + 1)]


def halved(
    stacks: list[list[int]],
    starts: Iterable[tuple[TwoLayerNet, Plan]],
    candidates: list[Row],
    names: tuple[str, ...],
    halving: int,
    folds: Folds | None,
    is_stopped: Callable[[], bool],
) -> tuple[list[Run], dict[int, Rung]]:
    """Train stacks of networks side by side, of which all but the best leave at each rung.

    Parameters
    ----------
    stacks : list of list of int
        Which of the candidates train together.
    starts : iterable of (TwoLayerNet, Plan)
        The networks of each stack, and the plan of its run.
    candidates : list of dict
        The settings of each network.
    names : tuple of str
        The settings in which two candidates differ: all but the seed and the fold.
    halving : int
        η: of n candidates the best ⌈n / η⌉ stay.
    folds : Folds or None
    is_stopped : callable
        Returns whether a callback stopped the sweep.

    Returns
    -------
    runs : list of Run
        The run of each stack.
    left : dict
        The rung at which each of the candidates left; those that were trained to the end are missing.
    """
    pairs = [*starts]
    W1 = pairs[0][0].W1
    left: dict[int, Rung] = {}
    with running(array_namespace(W1)), own_dtypes(W1):
        trainers = [Trainer(plan, begun(net, plan)) for net, plan in pairs]
        del pairs
        batches = trainers[0].batches
        n_epochs = -(-trainers[0].plan.steps // batches.steps_per_epoch)
        rungs = rungs_of(n_epochs, len(groups_of(candidates, names)), halving)
        for rung in [*rungs, None]:
            for trainer in trainers:
                trainer.run(None if rung is None else rung.epochs * trainer.batches.steps_per_epoch)
                if is_stopped():
                    return [trainer.result() for trainer in trainers], left
            if rung is not None:
                rows = {i: row for i, row in sorted(_rows(trainers, stacks, candidates)) if i not in left}
                left |= dict.fromkeys(_worst(rows, names, halving, folds), rung)
                for trainer, members in zip(trainers, stacks, strict=True):
                    trainer.leave(np.asarray([i in left for i in members]))
        return [trainer.result() for trainer in trainers], left


def _rows(
    trainers: list[Trainer], stacks: list[list[int]], candidates: list[Row]
) -> Iterator[tuple[int, Row]]:
    """Yield the number of each network, and its settings and validation accuracy by now."""
    for trainer, members in zip(trainers, stacks, strict=True):
        seen = trainer.history().validation_accuracy
        for i, accuracies, diverged in zip(members, seen, trainer.diverged, strict=True):
            known = accuracies[np.isfinite(accuracies)].tolist() or [math.nan]
            accuracy = max(known) if trainer.plan.judge == "best" else known[-1]
            found = {"diverged": diverged or None, "validation_accuracy": accuracy}
            yield i, candidates[i] | found | {"train_accuracy": math.nan}


def _worst(rows: dict[int, Row], names: tuple[str, ...], halving: int, folds: Folds | None) -> list[int]:
    """Return the numbers of the networks of all candidates but the best ⌈n / η⌉ of n."""
    numbers, groups = list(rows), groups_of([*rows.values()], names)
    table = compared([*rows.values()], names, 0, folds)
    order = sorted(range(len(table)), key=lambda n: standing(table[n]), reverse=True)  # of equals the first
    return [numbers[i] for n in order[-(-len(table) // halving) :] for i in groups[n]]
