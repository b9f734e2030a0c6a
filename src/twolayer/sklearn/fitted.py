"""Attributes of a fitted estimator: created from its run, and converted to another array library."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._namespace import Array, to_host
from ..training import Run
from ..training.trees import tree_map
from .epochs import epoch_losses, since, validation_scores
from .inputs import Samples, labels_beside


def fitted_attributes(
    run: Run,
    samples: Samples,
    parameters: SimpleNamespace,
    *,
    done: int = 0,
    earlier: list[float],
    losses: list[float] | None = None,
) -> dict[str, Any]:
    """Return the attributes of an estimator after a run.

    The first ``done`` steps of the run belong to earlier calls, and ``earlier`` contains the mean losses of
    earlier epochs. ``losses`` contains the mean losses of the new epochs; if None, they are computed from the
    run's history.
    """
    history = since(run.history, done)
    if losses is None:
        losses = epoch_losses(history.loss, len(samples.codes), parameters.batch_size)
    scores = best = None
    if parameters.early_stopping:
        scores = validation_scores(history, parameters).tolist()
        best = scores[int(np.searchsorted(history.step, run.best_step))]
    curve = earlier + losses
    return {
        "classes_": labels_beside(samples.X, samples.classes),
        "net_": run.net,
        "history_": history,
        "n_iter_": len(curve),
        "loss_curve_": curve,
        "loss_": curve[-1],
        "validation_scores_": scores,
        "best_validation_score_": best,
        "_partial": None,
    }


def converted(model: Any, converter: Callable[[Array], Array]) -> Any:
    """Return a copy of an estimator with its networks in another library or on another device.

    The classes are converted too if the library has their dtype. All other host arrays stay on the host.
    """
    moved = copy.copy(model)
    if not hasattr(model, "net_"):
        return moved
    moved.net_ = tree_map(converter, model.net_)
    moved.classes_ = labels_beside(moved.net_.W1, to_host(model.classes_))
    if model._partial is not None:
        solver, run = model._partial
        names = ("net", "best", "last", "average", "_moments")
        networks = {name: tree_map(converter, getattr(run, name)) for name in names}
        moved._partial = solver, dataclasses.replace(run, **networks)
    return moved
