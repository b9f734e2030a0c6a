"""The epochs of an estimator's training: their losses, when they end, and how they go on."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np

from .._namespace import HostArray
from ..training import History, Progress, Run


class Stopping:
    """A callback that ends a run when it has not become better by ``tol`` for too many epochs."""

    def __init__(self, parameters: SimpleNamespace, n_samples: int) -> None:
        self.parameters, self.n_samples = parameters, n_samples
        self.best, self.waited = -math.inf, 0

    def __call__(self, progress: Progress) -> None:
        """Stop the run if it is time."""
        if not progress.epoch_ended:
            return
        p, history = self.parameters, progress.history()
        if p.early_stopping:
            score = float(history.validation_accuracy[-1])
        else:
            per_epoch = math.ceil(self.n_samples / p.batch_size)
            score = -epoch_losses(history.loss[-per_epoch:], self.n_samples, p.batch_size)[0]
        self.waited = 0 if score >= self.best + p.tol else self.waited + 1  # nan is no better
        self.best = max(self.best, score)
        if self.waited > p.n_iter_no_change:
            progress.stop()


def epoch_losses(losses: HostArray, n_samples: int, batch_size: int) -> list[float]:
    """Return the mean loss of each epoch from the losses of the steps; a short last batch counts as such."""
    sizes = np.minimum(batch_size, n_samples - np.arange(0, n_samples, batch_size))
    means: list[float] = (losses.reshape(-1, len(sizes)) @ sizes / n_samples).tolist()
    return means


def in_epochs_of(run: Run, n_steps: int) -> Run:
    """Return a run as one of whole epochs of ``n_steps`` steps, which other samples can go on with.

    A run that does not end with such an epoch is taken as a few steps longer than it was.
    """
    total = math.ceil(run.n_steps / n_steps) * n_steps
    nothing, entry = np.zeros(total), np.full(1, np.nan)
    history = History(nothing, nothing, np.full(1, total), entry, entry, entry, entry)
    return dataclasses.replace(run, history=history, _fingerprint={})
