"""The history of a run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._namespace import HostArray
from .._validation import check_index, check_integer

MONITORS = ("accuracy", "loss")


class History(NamedTuple):
    """The course of a run, as host arrays. Of a stack, all but ``step`` have a leading axis K.

    Parameters
    ----------
    loss : (steps,) float64
        The loss of every step, penalty included, on its own batch before its update: as it is minimised, of
        augmented and preprocessed samples, with smoothed labels and without the units left out.
    batch_accuracy : (steps,) float64
        The share of every step's batch that was classified rightly before its update.
    step : (epochs,) int64
        Number of steps done at each of the entries below: at the end of every epoch and of the run.
    learning_rate : (epochs,) float64
        The learning rate of the last of these steps.
    train_accuracy : (epochs,) float64
        Running mean over the epoch's own batches: each was judged when it came, so it lags a little.
    validation_loss, validation_accuracy : (epochs,) float64
        Mean cross-entropy (no penalty, no smoothing) and accuracy on the validation set, of the averaged
        networks where there is an average; nan without a validation set. From the step on at which a network
        diverged, its accuracies and validation losses are nan. A member of a stack that diverged or was
        stopped leaves it at the next entry; after that all its figures but the learning rate are nan.
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
            Its number, from 0; a negative one counts from the end.

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
        """Return what of the history had happened when ``step`` steps were done.

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
    """Return the mean loss of the steps of each epoch, (epochs,), of a stack (K, epochs)."""
    lengths = np.diff(history.step, prepend=0)
    with np.errstate(all="ignore"):  # a network that diverges may have any loss
        return np.add.reduceat(history.loss[..., : sum(lengths)], history.step - lengths, axis=-1) / lengths


def monitored(loss: HostArray, accuracy: HostArray, monitor: str) -> HostArray:
    """Return the validation score, the higher the better: the accuracy, or minus the loss."""
    return -loss if monitor == "loss" else accuracy


def validated_at(history: History, steps: HostArray) -> tuple[HostArray, HostArray]:
    """Return the validation loss and accuracy (K,) at the entries after these steps (K,); nan without one."""
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
    """A history in the making, for K networks, which goes on from an earlier one."""

    def __init__(self, earlier: History) -> None:
        self._step_blocks = [_by_time(earlier[:2])]  # (2, n, K) each
        self._entry_blocks = [_by_time(earlier[3:])]  # (4, n, K) each
        self._entry_steps: list[int] = earlier.step.tolist()
        self.n_steps = int(earlier.loss.shape[-1])

    @property
    def last_entry(self) -> int:
        """Number of steps that were done at the latest entry; 0 where there is none."""
        return self._entry_steps[-1] if self._entry_steps else 0

    def entries_after(self, step: int) -> int:
        """Number of entries that were made after more than ``step`` steps."""
        return sum(at > step for at in self._entry_steps)

    def add_steps(self, loss: HostArray, batch_accuracy: HostArray) -> None:
        """Record steps: arrays (n, K)."""
        self._step_blocks.append(np.stack([loss, batch_accuracy]).astype(np.float64))
        self.n_steps += len(loss)

    def add_entry(self, *numbers: HostArray) -> None:
        """Record the learning rate, and what follows it in `History`, after the steps so far: (K,) each."""
        self._entry_steps.append(self.n_steps)
        self._entry_blocks.append(np.stack(numbers).astype(np.float64)[:, None, :])

    def batch_accuracies(self, start: int) -> HostArray:
        """Accuracy of each batch from step ``start`` on: (n, K)."""
        found: list[HostArray] = []
        missing = self.n_steps - start
        for _, block in reversed(self._step_blocks):
            if missing <= 0:
                break
            found.append(block[-missing:])
            missing -= len(block)
        # In one order: the rounding of a sum is not to depend on where a run was taken up again.
        return np.ascontiguousarray(np.concatenate(found[::-1]))

    def history(self) -> History:
        """Return what is recorded so far, as copies, with an axis K."""
        self._step_blocks, self._entry_blocks = (
            [np.concatenate(a, axis=1)] for a in (self._step_blocks, self._entry_blocks)
        )
        loss, batch_accuracy = self._step_blocks[0].mT.copy()
        step = np.asarray(self._entry_steps, dtype=np.int64)
        return History(loss, batch_accuracy, step, *self._entry_blocks[0].mT.copy())


def _by_time(arrays: tuple[HostArray, ...]) -> HostArray:
    """Return arrays (n,) or (K, n) stacked as (m, n, K)."""
    return np.stack([np.atleast_2d(array).T for array in arrays])
