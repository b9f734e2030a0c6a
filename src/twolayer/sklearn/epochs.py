"""The epochs of an estimator's training: their losses, when they end, and how they go on."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np

from .._namespace import HostArray
from ..training import History, Progress, Run
from ..training.history import monitored


class Patience:
    """Which of K networks have not become better by ``tol`` for too many epochs."""

    def __init__(self, parameters: SimpleNamespace, n_networks: int = 1) -> None:
        self.tol, self.most = parameters.tol, parameters.n_iter_no_change
        self.best, self.waited = np.full(n_networks, -np.inf), np.zeros(n_networks, np.int64)

    def ended(self, scores: HostArray) -> HostArray:
        """Take scores (K,) of a new epoch, nan for no improvement; return a mask (K,) of those that end."""
        self.waited = np.where(scores >= self.best + self.tol, 0, self.waited + 1)
        self.best = np.fmax(self.best, scores)
        return np.asarray(self.waited > self.most)


class Stopping:
    """A callback that ends a run when it has not become better for too many epochs."""

    def __init__(self, parameters: SimpleNamespace, n_samples: int) -> None:
        self.parameters, self.n_samples = parameters, n_samples
        self.patience = Patience(parameters)

    def __call__(self, progress: Progress) -> None:
        """Stop the run if it is time."""
        if not progress.epoch_ended:
            return
        p, history = self.parameters, progress.history()
        if p.early_stopping:
            score = float(validation_scores(history, p)[-1])
        else:
            per_epoch = math.ceil(self.n_samples / p.batch_size)
            score = -epoch_losses(history.loss[-per_epoch:], self.n_samples, p.batch_size)[0]
        if self.patience.ended(np.asarray([score])).any():
            progress.stop()


def validation_scores(history: History, parameters: SimpleNamespace) -> HostArray:
    """Return the validation accuracy of each epoch, or minus the loss where that is monitored."""
    return monitored(history.validation_loss, history.validation_accuracy, parameters.monitor)


def epoch_losses(losses: HostArray, n_samples: int, batch_size: int) -> list[float]:
    """Return the mean loss of each epoch from the losses of the steps, by the sizes of their batches."""
    sizes = np.minimum(batch_size, n_samples - np.arange(0, n_samples, batch_size))
    means: list[float] = (losses.reshape(-1, len(sizes)) @ sizes / n_samples).tolist()
    return means


def in_epochs_of(run: Run, n_steps: int) -> Run:
    """Return a run whose history has whole epochs of ``n_steps`` steps, to resume it on other samples.

    An incomplete last epoch counts as complete.
    """
    total = math.ceil(run.n_steps / n_steps) * n_steps
    nothing, entry = np.zeros(total), np.full(1, np.nan)
    history = History(nothing, nothing, np.full(1, total), entry, entry, entry, entry)
    return dataclasses.replace(run, history=history, _fingerprint={})
