"""The outcome of a sweep's training runs: its rows, its table, and its best network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import merge, stack
from ..training import History, Run
from ..training.run import select
from .comparison import Row, best_runs, compared, winner_of
from .halving import Rung
from .results import Best, SweepResult
from .stages import Stages

_ACCURACIES = ("train_accuracy", "validation_accuracy")
_OF_RUN = ("diverged", "best_step", *_ACCURACIES)


class Trained(NamedTuple):
    """A network of a sweep, after its training."""

    row: Row
    net: TwoLayerNet
    history: History
    preprocessing: Preprocessing | None
    finished: bool  # or a callback stopped the sweep before


def trained_networks(
    results: Iterable[Run],
    runs: list[Row],
    stacks: list[list[int]],
    stages: Stages,
    left: Mapping[int, Rung] | None,
) -> dict[int, Trained]:
    """Return the networks of the stacks by their numbers; ``left`` has those that left at a rung."""
    found: dict[int, Trained] = {}
    at_rung = left or {}
    for number, (members, run) in enumerate(zip(stacks, results, strict=False), start=1):
        if not run.history.step.size:  # it was stopped before any validation
            continue
        each = {i: select(run, k) for k, i in enumerate(members)}
        over = all(i in at_rung or one.diverged or one.stopped for i, one in each.items())
        ended = over or not stages.stopped or number in stages.ended
        for i, member in each.items():
            rung = at_rung.get(i)
            n_steps = _steps_taken(member, rung)
            row = runs[i] | {"n_steps": n_steps}
            row |= {} if left is None else {"rung": rung.number if rung else None}
            row |= {name: getattr(member, name) for name in _OF_RUN}
            history, fitted = member.history.until(n_steps), stages.fitted[number]
            found[i] = Trained(row, member.net, history, fitted, ended or i in at_rung)
    return found


def _steps_taken(run: Run, rung: Rung | None) -> int:
    """Return how many steps a network of a stack took: it left at a rung, or when it diverged or stopped."""
    entries = run.history.step.tolist()
    left: Any = run.diverged or run.stopped or (entries[rung.epochs - 1] if rung else run.n_steps)
    return next((step for step in entries if step >= left), run.n_steps)


def outcome(
    found: Mapping[int, Trained],
    n_runs: int,
    names: tuple[str, ...],
    stages: Stages,
    refit: str | None,
    n_judged: int,
) -> SweepResult:
    """Return the result of a sweep of ``n_runs`` networks, from those that were trained.

    Networks of settings ``names`` that are equal are of one candidate; ``n_judged`` samples judge it.
    """
    trained, folds = [found[i] for i in sorted(found)], stages.shared.folds
    complete = not stages.stopped or (len(found) == n_runs and all(one.finished for one in trained))
    to_the_end = any(one.finished and not one.row.get("rung") for one in trained)
    judged = [one for one in trained if one.finished] if to_the_end else trained
    rows = [one.row for one in judged]
    table = compared(rows, names, n_judged, folds)
    winner, best = winner_of(table), None
    if winner is not None:
        own = [judged[i] for i in best_runs(winner, rows, names)]
        settings = {key: own[0].row[key] for key in (*names, "seed")}
        best = Best(settings, own[0].net, own[0].history, own[0].row, winner, own[0].preprocessing)
        if folds is not None:
            if refit == "all":  # a callback may have stopped the sweep with the last step of its folds
                complete = complete and not stages.stopped
            best = replace(best, net=None, history=None, preprocessing=None)
            best = replace(best, row=settings | {name: winner[name] for name in _ACCURACIES})
            best = _refitted(best, own, stages, refit if complete else None)
            if refit == "all":
                complete = complete and not stages.cut_short
    pairs = None if folds is None else tuple(zip(folds.trained, folds.held_out, strict=True))
    histories = [one.history for one in trained]
    return SweepResult(best, table, [one.row for one in trained], histories, complete, pairs)


def _refitted(best: Best, own: list[Trained], stages: Stages, refit: str | None) -> Best:
    """Return the winner with a network that is made as ``refit`` says, from those of its folds."""
    if refit == "merge":
        nets = [one.net if one.preprocessing is None else one.preprocessing.fold(one.net) for one in own]
        return replace(best, net=merge(stack(nets)))
    if refit == "all":
        n_epochs = round(float(np.mean([_epochs_judged(one, stages.shared.judge) for one in own])))
        run, fitted = stages.refit(best.settings, n_epochs)
        if run.diverged is None and not stages.cut_short:
            return replace(best, net=run.net, history=run.history, preprocessing=fitted)
    return best


def _epochs_judged(one: Trained, judge: str) -> int:
    """Return the number of epochs after which the network was that was judged."""
    step = one.row["best_step" if judge == "best" else "n_steps"]
    return int(np.count_nonzero(one.history.step <= step))
