"""The result of a sweep, from the results of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, folded
from ..stacks import merge, stack
from ..training import History, Run
from ..training.run import select
from .comparison import Row, best_runs, compared, winner_of
from .halving import Rung
from .parts import Networks, PartResult
from .results import Best, SweepResult

_MEASURED = ("train_accuracy", "validation_accuracy", "validation_loss")
_OF_RUN = ("diverged", "best_step", *_MEASURED)


class Trained(NamedTuple):
    """A network of a sweep, after its training."""

    row: Row
    net: TwoLayerNet
    history: History
    preprocessing: Preprocessing | None
    finished: bool  # False if a callback stopped the sweep before its end


def outcome(
    networks: Networks, results: Iterable[PartResult], rung_of: Mapping[int, Rung], *, stopped: bool
) -> tuple[SweepResult, int]:
    """Return the result of a sweep, and the number of epochs for a network of all samples.

    Parameters
    ----------
    networks : Networks
    results : iterable of PartResult
        The results of all parts, or of some parts if a callback stopped the sweep.
    rung_of : mapping of int to Rung
        The rung at which a network left, by its number.
    stopped : bool
        Whether a callback stopped the sweep.
    """
    trained = _trained_networks(networks, results, rung_of)
    names, folds = networks.names, networks.shared.settings.folds
    monitor = networks.shared.settings.monitor
    all_finished = len(trained) == len(networks.rows) and all(one.finished for one in trained)
    complete = all_finished or not stopped
    to_the_end = any(one.finished and not one.row.get("rung") for one in trained)
    judged = [one for one in trained if one.finished] if to_the_end else trained
    rows = [one.row for one in judged]
    table = compared(rows, names, networks.n_validation, folds, monitor=monitor)
    winner, best, n_epochs = winner_of(table), None, 0
    if winner is not None:
        own = [judged[i] for i in best_runs(winner, rows, names, monitor)]
        settings, one = {key: own[0].row[key] for key in (*names, "seed")}, own[0]
        if folds is None:
            best = Best(settings, one.net, one.history, one.row, winner, one.preprocessing)
        else:
            row = settings | {name: winner[name] for name in _MEASURED}
            merged = None
            if networks.refit == "merge" and complete:
                merged = merge(stack(folded(each.net, each.preprocessing) for each in own))
            best, n_epochs = Best(settings, merged, None, row, winner), _epochs_of(own, networks)
            # The stop may have come with the last step of the folds, before the network of all samples.
            complete &= not (networks.trains_on_all and stopped)
    pairs = None if folds is None else tuple(zip(folds.trained, folds.held_out, strict=True))
    histories = [one.history for one in trained]
    rows = [one.row for one in trained]
    return SweepResult(best, table, rows, histories, complete, pairs, monitor), n_epochs


def _trained_networks(
    networks: Networks, results: Iterable[PartResult], rung_of: Mapping[int, Rung]
) -> list[Trained]:
    """Return the networks of the parts, in the order of their settings."""
    found: dict[int, Trained] = {}
    for result in results:
        if not result.run.history.step.size:  # the part was stopped before its first validation
            continue
        each = {i: select(result.run, k) for k, i in enumerate(networks.stacks[result.number - 1])}
        over = all(i in rung_of or one.diverged or one.stopped for i, one in each.items())
        for i, member in each.items():
            rung = rung_of.get(i)
            n_steps = _steps_taken(member, rung)
            row = networks.rows[i] | {"n_steps": n_steps}
            row |= {} if networks.halving is None else {"rung": rung.number if rung else None}
            row |= {name: getattr(member, name) for name in _OF_RUN}
            finished = over or result.complete or i in rung_of
            found[i] = Trained(row, member.net, member.history.until(n_steps), result.preprocessing, finished)
    return [found[i] for i in sorted(found)]


def _steps_taken(run: Run, rung: Rung | None) -> int:
    """Return the number of steps of a network that may have left its stack before the last step."""
    entries = run.history.step.tolist()
    left: Any = run.diverged or run.stopped or (entries[rung.epochs - 1] if rung else run.n_steps)
    return next((step for step in entries if step >= left), run.n_steps)


def _epochs_of(own: list[Trained], networks: Networks) -> int:
    """Return the mean number of epochs, rounded, after which the winner's networks were judged."""
    step = "best_step" if networks.shared.settings.judge == "best" else "n_steps"
    return round(float(np.mean([np.count_nonzero(one.history.step <= one.row[step]) for one in own])))


def with_network(judged: SweepResult, of_all: PartResult) -> SweepResult:
    """Return the result with the network that was trained on all samples, unless that diverged."""
    best, run = judged.best, select(of_all.run, 0)
    if best is None or run.diverged is not None:
        return judged
    row = best.row | {"train_accuracy": run.train_accuracy}
    fitted = of_all.preprocessing
    return replace(
        judged, best=replace(best, net=run.net, history=run.history, preprocessing=fitted, row=row)
    )
