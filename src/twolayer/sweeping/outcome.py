"""The outcome of a sweep's training runs: its rows, its table, and its best network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import merge, stack
from ..training import History, Run
from ..training.run import select
from .comparison import Row, best_runs, compared, winner_of
from .results import Best, SweepResult
from .stages import Rung, Stages

_ACCURACIES = ("train_accuracy", "validation_accuracy")
_OF_RUN = ("diverged", "best_step", *_ACCURACIES)


class Trained(NamedTuple):
    """A network of a sweep, after its training."""

    row: Row
    net: TwoLayerNet
    history: History
    preprocessing: Preprocessing | None
    finished: bool  # or a callback stopped the sweep before


def outcome(results: Iterable[Run], stages: Stages, refit: str | None) -> SweepResult:
    """Return the result of a sweep from the runs of its stacks, of which a callback may have stopped some."""
    trained, names, folds = _trained_networks(results, stages), stages.names, stages.shared.folds
    all_finished = len(trained) == len(stages.runs) and all(one.finished for one in trained)
    complete = all_finished or not stages.stopped
    to_the_end = any(one.finished and not one.row.get("rung") for one in trained)
    judged = [one for one in trained if one.finished] if to_the_end else trained
    rows = [one.row for one in judged]
    n_validation = stages.shared.validation[0].shape[0] if folds is None else 0
    table = compared(rows, names, n_validation, folds)
    winner, best = winner_of(table), None
    if winner is not None:
        own = [judged[i] for i in best_runs(winner, rows, names)]
        settings, one = {key: own[0].row[key] for key in (*names, "seed")}, own[0]
        if folds is None:
            best = Best(settings, one.net, one.history, one.row, winner, one.preprocessing)
        else:
            row = settings | {name: winner[name] for name in _ACCURACIES}
            best = Best(settings, None, None, row, winner)
            if refit == "merge" and complete:
                best = replace(best, net=_merged(own))
            elif refit == "all":
                best, complete = _refitted(best, own, stages)
    pairs = None if folds is None else tuple(zip(folds.trained, folds.held_out, strict=True))
    histories = [one.history for one in trained]
    return SweepResult(best, table, [one.row for one in trained], histories, complete, pairs)


def _trained_networks(results: Iterable[Run], stages: Stages) -> list[Trained]:
    """Return the networks of the stacks in the order of their settings."""
    found: dict[int, Trained] = {}
    at_rung = stages.rung_of or {}
    for number, (members, run) in enumerate(zip(stages.stacks, results, strict=False), start=1):
        if not run.history.step.size:  # it was stopped before any validation
            continue
        each = {i: select(run, k) for k, i in enumerate(members)}
        over = all(i in at_rung or one.diverged or one.stopped for i, one in each.items())
        ended = over or not stages.stopped or number in stages.ended
        for i, member in each.items():
            rung = at_rung.get(i)
            n_steps = _steps_taken(member, rung)
            row = stages.runs[i] | {"n_steps": n_steps}
            row |= {} if stages.rung_of is None else {"rung": rung.number if rung else None}
            row |= {name: getattr(member, name) for name in _OF_RUN}
            history, fitted = member.history.until(n_steps), stages.fitted[number]
            found[i] = Trained(row, member.net, history, fitted, ended or i in at_rung)
    return [found[i] for i in sorted(found)]


def _steps_taken(run: Run, rung: Rung | None) -> int:
    """Return how many steps a network of a stack took: it left at a rung, or when it diverged or stopped."""
    entries = run.history.step.tolist()
    left: Any = run.diverged or run.stopped or (entries[rung.epochs - 1] if rung else run.n_steps)
    return next((step for step in entries if step >= left), run.n_steps)


def _merged(own: list[Trained]) -> TwoLayerNet:
    """Return one network of those of the winner's folds."""
    return merge(
        stack(one.net if one.preprocessing is None else one.preprocessing.fold(one.net) for one in own)
    )


def _refitted(best: Best, own: list[Trained], stages: Stages) -> tuple[Best, bool]:
    """Return the winner with a network trained on all samples, and whether no callback stopped the sweep."""
    if stages.stopped:  # perhaps with the last step of its folds
        return best, False
    step = "best_step" if stages.shared.judge == "best" else "n_steps"  # at which a network was judged
    n_epochs = [np.count_nonzero(one.history.step <= one.row[step]) for one in own]
    run, complete = stages.refit(best.settings, round(float(np.mean(n_epochs))))
    if complete and run.diverged is None:
        fitted, row = stages.fitted[stages.n_stages], best.row | {"train_accuracy": run.train_accuracy}
        best = replace(best, net=run.net, history=run.history, preprocessing=fitted, row=row)
    return best, complete
