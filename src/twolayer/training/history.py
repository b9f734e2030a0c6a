"""The history of a run: its public form, and the recorder that a running training fills."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._namespace import HostArray
from .._validation import check_index, check_integer

MONITORS = ("accuracy", "loss")


class History(NamedTuple):
    """The course of a run, as host arrays. For a stack, all but ``step`` have a leading axis K.

    Parameters
    ----------
    loss : (steps,) float64
        The loss that each step minimises, penalty included, on its own batch before its update: with
        augmentation, preprocessing, smoothed labels and dropout.
    batch_accuracy : (steps,) float64
        The share of each step's batch that was classified correctly before its update. The correct class is
        the most probable one of the targets, which a teacher or `Mixup` may have changed.
    step : (epochs,) int64
        Number of steps done at each entry of the arrays below. Entries are made at the end of each epoch and
        of the run.
    learning_rate : (epochs,) float64
        The learning rate of the last step before the entry.
    train_accuracy : (epochs,) float64
        Mean of ``batch_accuracy`` over the epoch, by the batches' sizes. It lags behind the accuracy at the
        end of the epoch, as the network improved meanwhile.
    validation_loss, validation_accuracy : (epochs,) float64
        Mean cross-entropy (no penalty, no smoothing) and accuracy on the validation set; with ``ema_decay``,
        of the averaged networks. nan without a validation set.

    Notes
    -----
    From the entry at which a network is found to have diverged, its training and validation accuracies and
    its validation losses are nan. A network of a stack that diverged or was stopped leaves the stack at an
    entry. After it, all its values but the learning rate are nan.
    """

    loss: HostArray
    batch_accuracy: HostArray
    step: HostArray
    learning_rate: HostArray
    train_accuracy: HostArray
    validation_loss: HostArray
    validation_accuracy: HostArray

    def select(self, k: int) -> History:
        """Return the history of one network of a stack.

        Parameters
        ----------
        k : int
            The number of the network, from 0; a negative number counts from the end.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If this is the history of one network, or the stack has no network ``k``.
        """
        if self.loss.ndim == 1:
            raise ValueError("`select` needs the history of a stack; got that of one network")
        k = check_index(k, self.loss.shape[0])
        return History(*(a if name == "step" else a[k] for name, a in self._asdict().items()))

    def until(self, step: int) -> History:
        """Return the part of the history up to the moment when ``step`` steps were done.

        Parameters
        ----------
        step : int
            Number of steps, at least 0.

        Returns
        -------
        History
        """
        step = check_integer("step", step, least=0)
        n_entries = int(np.searchsorted(self.step, step, side="right"))
        ends = {"loss": step, "batch_accuracy": step}
        return History(*(a[..., : ends.get(name, n_entries)] for name, a in self._asdict().items()))

    def __repr__(self) -> str:
        *_, steps = self.loss.shape
        networks = "" if self.loss.ndim == 1 else f"{self.loss.shape[0]} networks, "
        return f"History({networks}{steps} steps, {self.step.shape[0]} entries)"


def mean_losses(history: History) -> HostArray:
    """Return the mean loss of the steps of each epoch: (epochs,), or (K, epochs) for a stack."""
    lengths = np.diff(history.step, prepend=0)
    with np.errstate(all="ignore"):  # the losses of a network that diverges may overflow or be nan
        return np.add.reduceat(history.loss[..., : sum(lengths)], history.step - lengths, axis=-1) / lengths


def monitored(loss: HostArray, accuracy: HostArray, monitor: str) -> HostArray:
    """Return the validation score, higher being better: the accuracy, or minus the loss."""
    return -loss if monitor == "loss" else accuracy


def validated_at(history: History, steps: HostArray) -> tuple[HostArray, HostArray]:
    """Return the validation loss and accuracy (K,) at the entries after these steps (K,).

    They are nan for steps without an entry.
    """
    # Steps without an entry look up the last place, which the padding below fills with nan.
    place = np.where(np.isin(steps, history.step), np.searchsorted(history.step, steps), -1)
    known = (np.atleast_2d(history.validation_loss), np.atleast_2d(history.validation_accuracy))
    loss, accuracy = (np.pad(a, ((0, 0), (0, 1)), constant_values=np.nan) for a in known)
    networks = np.arange(len(steps))
    return loss[networks, place], accuracy[networks, place]


def no_history(n_networks: int) -> History:
    """Return the history of K networks before the first step."""
    nothing = np.zeros((n_networks, 0))
    return History(nothing, nothing, np.zeros(0, np.int64), *[nothing] * 4)


class Recorder:
    """The history of K networks while they train, which continues an earlier one.

    Steps and entries are kept as a list of blocks, because to extend one array for each would copy all of it.
    """

    def __init__(self, earlier: History) -> None:
        self._step_blocks = [_by_time(earlier[:2])]  # (2, n, K) each
        self._entry_blocks = [_by_time(earlier[3:])]  # (4, n, K) each
        self._entry_steps: list[int] = earlier.step.tolist()
        self.n_steps = int(earlier.loss.shape[-1])

    @property
    def last_entry(self) -> int:
        """Number of steps done at the latest entry; 0 without any entry."""
        return self._entry_steps[-1] if self._entry_steps else 0

    def entries_after(self, step: int) -> int:
        """Return the number of entries made after more than ``step`` steps."""
        return sum(at > step for at in self._entry_steps)

    def add_steps(self, loss: HostArray, batch_accuracy: HostArray) -> None:
        """Record n steps: arrays (n, K)."""
        self._step_blocks.append(np.stack([loss, batch_accuracy]).astype(np.float64))
        self.n_steps += len(loss)

    def add_entry(self, *numbers: HostArray) -> None:
        """Record an entry after the steps so far: `History`'s arrays from ``learning_rate`` on, (K,) each."""
        self._entry_steps.append(self.n_steps)
        self._entry_blocks.append(np.stack(numbers).astype(np.float64)[:, None, :])

    def batch_accuracies(self, start: int) -> HostArray:
        """Return the accuracy of each batch from step ``start`` on: (n, K)."""
        # Only the latest blocks are joined, not the whole run's.
        found: list[HostArray] = []
        missing = self.n_steps - start
        for _, block in reversed(self._step_blocks):
            if missing <= 0:
                break
            found.append(block[-missing:])
            missing -= len(block)
        # Use one memory order, so that the rounding of sums does not depend on where the run was resumed.
        return np.ascontiguousarray(np.concatenate(found[::-1]))

    def history(self) -> History:
        """Return copies of everything recorded so far, with an axis K."""
        # The blocks are joined here once, so that the next call has few of them to join.
        self._step_blocks, self._entry_blocks = (
            [np.concatenate(a, axis=1)] for a in (self._step_blocks, self._entry_blocks)
        )
        loss, batch_accuracy = self._step_blocks[0].mT.copy()
        step = np.asarray(self._entry_steps, dtype=np.int64)
        return History(loss, batch_accuracy, step, *self._entry_blocks[0].mT.copy())


def _by_time(arrays: tuple[HostArray, ...]) -> HostArray:
    """Return arrays (n,) or (K, n) stacked as (m, n, K)."""
    return np.stack([np.atleast_2d(array).T for array in arrays])
