"""A run's history as rows: an epoch or a step each."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..training.history import History


def history_rows(history: History) -> list[dict[str, Any]]:
    """Give a history's epochs as rows: for a table, or for `write_csv`.

    Parameters
    ----------
    history : History
        Of one network.

    Returns
    -------
    list of dict
        For each epoch: ``epoch`` (from 1), ``step`` (steps done), ``learning_rate``, ``loss`` (the mean of
        the epoch's own steps; nan where one is not finite), ``train_accuracy``, ``validation_accuracy``,
        ``validation_loss``.

    Raises
    ------
    ValueError
        If the history is of a stack.
    """
    losses = one_network(history)
    steps = [int(step) for step in history.step]
    rows = []
    for index, (start, stop) in enumerate(itertools.pairwise([0, *steps])):
        own = losses[start:stop]
        rows.append(
            {
                "epoch": index + 1,
                "step": stop,
                "learning_rate": float(history.learning_rate[index]),
                "loss": math.fsum(own / len(own)) if len(own) and np.isfinite(own).all() else math.nan,
                "train_accuracy": float(history.train_accuracy[index]),
                "validation_accuracy": float(history.validation_accuracy[index]),
                "validation_loss": float(history.validation_loss[index]),
            }
        )
    return rows


def step_rows(history: History) -> list[dict[str, Any]]:
    """Give every step as a row of ``step`` (from 1), ``loss`` and ``batch_accuracy``.

    Raises
    ------
    ValueError
        If the history is of a stack.
    """
    both = zip(one_network(history), history.batch_accuracy, strict=True)
    return [
        {"step": step, "loss": float(loss), "batch_accuracy": float(accuracy)}
        for step, (loss, accuracy) in enumerate(both, start=1)
    ]


def one_network(history: History) -> npt.NDArray[np.float64]:
    """Give the losses, shape (steps,), of a history that must be of one network.

    Raises
    ------
    ValueError
        If it is of a stack.
    """
    if history.loss.ndim != 1:
        raise ValueError(
            "`history` must be of one network; "
            f"got a stack of {history.loss.shape[0]} (`history.select(k)` gives one of them)"
        )
    return history.loss
