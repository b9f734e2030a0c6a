"""Epochs of an estimator's training: their losses, early stopping, and resuming."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._namespace import HostArray
from ..training import History, Progress, Run
from ..training.history import monitored
from .tasks import Task


class Patience:
    """A record of the epochs in which each of K networks has not improved by at least ``tol``."""

    def __init__(self, parameters: SimpleNamespace, n_networks: int = 1) -> None:
        self.tol, self.most = parameters.tol, parameters.n_iter_no_change
        self.best, self.waited = np.full(n_networks, -np.inf), np.zeros(n_networks, np.int64)

    def ended(self, scores: HostArray) -> HostArray:
        """Record an epoch's scores (K,), nan for no improvement; return a mask (K,) of networks to stop."""
        self.waited = np.where(scores >= self.best + self.tol, 0, self.waited + 1)
        self.best = np.fmax(self.best, scores)
        return np.asarray(self.waited > self.most)


@dataclasses.dataclass(eq=False)
class Stopping:
    """A callback that stops a run when it has not improved for too many epochs.

    Each epoch is a part of the task ``fit``. The callbacks of the task can also stop the run. ``attributes``
    returns the attributes that the estimator would have if its run ended now.
    """

    parameters: SimpleNamespace
    n_samples: int
    fit: Task
    attributes: Callable[[Run], dict[str, Any]]

    def __post_init__(self) -> None:
        self.patience = Patience(self.parameters)
        self.epoch = self.fit.part("epoch")

    def __call__(self, progress: Progress) -> None:
        """Record an epoch, and stop the run if it has not improved or a callback of the task asks for it."""
        if not progress.epoch_ended:
            return
        p, history = self.parameters, progress.history()
        if np.isnan(history.train_accuracy[-1]):
            return  # the network diverged, so the run ends anyway
        if p.early_stopping:
            score = float(validation_scores(history, p)[-1])
        else:
            per_epoch = math.ceil(self.n_samples / p.batch_size)
            score = -epoch_losses(history.loss[-per_epoch:], self.n_samples, p.batch_size)[0]
        stop = self.epoch.end(lambda: self.attributes(progress.snapshot()))
        if self.patience.ended(np.asarray([score])).any() or stop:
            progress.stop()
        elif progress.step < progress.steps:
            self.epoch = self.fit.part("epoch")


def validation_scores(history: History, parameters: SimpleNamespace) -> HostArray:
    """Return the validation accuracy of each epoch, or minus the validation loss if that is monitored."""
    return monitored(history.validation_loss, history.validation_accuracy, parameters.monitor)


def epoch_losses(losses: HostArray, n_samples: int, batch_size: int) -> list[float]:
    """Return the mean loss of each epoch: the losses of its steps, weighted by the sizes of the batches."""
    sizes = np.minimum(batch_size, n_samples - np.arange(0, n_samples, batch_size))
    means: list[float] = (losses.reshape(-1, len(sizes)) @ sizes / n_samples).tolist()
    return means


def since(history: History, step: int) -> History:
    """Return the part of a history after ``step`` steps; ``step`` must be the end of an epoch."""
    loss, batch_accuracy, steps, *entries = history
    later = steps > step
    return History(loss[step:], batch_accuracy[step:], steps[later] - step, *(one[later] for one in entries))


def in_epochs_of(run: Run, n_steps: int) -> Run:
    """Return a run with a dummy history of whole epochs of ``n_steps`` steps, to resume it on other samples.

    An incomplete last epoch counts as complete.
    """
    total = math.ceil(run.n_steps / n_steps) * n_steps
    nothing, entry = np.zeros(total), np.full(1, np.nan)
    history = History(nothing, nothing, np.full(1, total), entry, entry, entry, entry)
    return dataclasses.replace(run, history=history, _fingerprint={})
