"""Successive halving: candidates of a sweep that leave before its end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .._namespace import array_namespace, own_dtypes
from ..training.execution import running
from ..training.folds import Folds
from ..training.run import Run
from ..training.trainer import Trainer, begun
from .comparison import Row, compared, groups_of, standing
from .stages import Rung, Stages


def rungs_of(n_epochs: int, n_candidates: int, halving: int) -> list[Rung]:
    """Return the rungs, at ⌈E / η^m⌉, …, ⌈E / η⌉ of E epochs, η^m the highest power of at most min(E, n)."""
    m = 0
    while halving ** (m + 1) <= min(n_epochs, n_candidates):
        m += 1
    return [Rung(number, -(-n_epochs // halving ** (m + 1 - number))) for number in range(1, m + 1)]


def halved(stages: Stages, halving: int) -> list[Run]:
    """Train the stacks of a sweep in turns, rung by rung; of n candidates the best ⌈n / halving⌉ go on.

    The rungs at which the others left are noted in ``stages.rung_of``.
    """
    starts, stages.rung_of = [*stages.starts()], {}
    W1 = starts[0][0].W1
    with running(array_namespace(W1)), own_dtypes(W1):
        trainers = [Trainer(plan, begun(net, plan)) for net, plan in starts]
        del starts
        n_epochs = -(-trainers[0].plan.steps // trainers[0].batches.steps_per_epoch)
        rungs = rungs_of(n_epochs, len(groups_of(stages.runs, stages.names)), halving)
        for rung in [*rungs, None]:
            for trainer in trainers:
                trainer.run(None if rung is None else rung.epochs * trainer.batches.steps_per_epoch)
                if stages.stopped:
                    return [trainer.result() for trainer in trainers]
            if rung is not None:
                rows = {i: row for i, row in sorted(_rows(trainers, stages)) if i not in stages.rung_of}
                worst = _worst(rows, stages.names, halving, stages.shared.folds)
                stages.rung_of |= dict.fromkeys(worst, rung)
                for trainer, members in zip(trainers, stages.stacks, strict=True):
                    trainer.leave(np.asarray([i in stages.rung_of for i in members]))
        return [trainer.result() for trainer in trainers]


def _rows(trainers: list[Trainer], stages: Stages) -> Iterator[tuple[int, Row]]:
    """Yield the number of each network, and its settings and validation accuracy by now."""
    for trainer, members in zip(trainers, stages.stacks, strict=True):
        seen = trainer.history().validation_accuracy
        for i, accuracies, diverged in zip(members, seen, trainer.diverged, strict=True):
            known = accuracies[np.isfinite(accuracies)].tolist() or [math.nan]
            accuracy = max(known) if trainer.plan.judge == "best" else known[-1]
            found = {"diverged": diverged or None, "validation_accuracy": accuracy}
            yield i, stages.runs[i] | found | {"train_accuracy": math.nan}


def _worst(rows: dict[int, Row], names: tuple[str, ...], halving: int, folds: Folds | None) -> list[int]:
    """Return the numbers of the networks of all candidates but the best ⌈n / η⌉ of n."""
    numbers, groups = list(rows), groups_of([*rows.values()], names)
    table = compared([*rows.values()], names, 0, folds)
    order = sorted(range(len(table)), key=lambda n: standing(table[n]), reverse=True)  # of equals the first
    return [numbers[i] for n in order[-(-len(table) // halving) :] for i in groups[n]]
