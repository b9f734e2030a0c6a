"""The result of a run, and what callbacks receive during and after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from .._namespace import HostArray, array_namespace, copied
from .._validation import check_form
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, folded
from ..settings import label
from .fingerprint import PREPROCESSED, Fingerprint
from .history import History, mean_losses


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run, which a callback receives.

    Parameters
    ----------
    step, steps : int
        Steps done, and steps of the whole run.
    epoch, epochs : int
        Epochs completed, and epochs of the whole run, including an incomplete last one.
    epoch_ended : bool
        Whether an entry of the history was just made.
    history : callable
        Returns the `History` so far; within an epoch it waits for the device.
    net : callable
        Returns a copy of the network, or stack, as it is now; with ``ema_decay``, of the average.
    run : callable
        Returns the `Run` that `train` would return if it were stopped here, which can be saved and resumed.
        It measures the accuracies, which takes a pass over the training samples (with ``judge="last"``, over
        the validation samples too).
    snapshot : callable
        Returns the same `Run` without measuring: its accuracies and validation loss are nan. This is enough
        for a checkpoint.
    stop : callable
        Ends the run, or the sweep, here: ``progress.stop()``. The return value of a callback is ignored.
    stage, stages : int
        The number of this training run of a sweep, counted from 1, and the number of all of them.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    epoch_ended: bool
    history: Callable[[], History] = field(repr=False)
    net: Callable[[], TwoLayerNet] = field(repr=False)
    run: Callable[[], Run] = field(repr=False)
    snapshot: Callable[[], Run] = field(repr=False)
    stop: Callable[[], None] = field(repr=False)
    stage: int = 1
    stages: int = 1


Callback: TypeAlias = Callable[[Progress], object]


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; raise a TypeError unless all are callable."""
    check_form("callbacks", callbacks, ["__iter__"], "a list of callables")
    found = tuple(callbacks)
    for i, one in enumerate(found):
        check_form(f"callbacks[{i}]", one, ["__call__"], "a callable")
    return found


@contextmanager
def ending(callbacks: Iterable[Callback]) -> Iterator[None]:
    """Call the ``on_end`` methods of callbacks when the block ends, even by an error."""
    with ExitStack() as stack:  # which calls them all, even if one of them raises
        for callback in callbacks:
            if hasattr(callback, "on_end"):
                stack.callback(callback.on_end)
        yield


@dataclass(frozen=True, repr=False)
class Run:
    """Result of `train`.

    For a stack, ``diverged``, ``stopped``, ``best_step``, ``validation_loss`` and the accuracies have an axis
    K.

    Parameters
    ----------
    net : TwoLayerNet
        The network that is judged: ``best`` with a validation set and ``judge="best"``, otherwise
        ``average`` if there is one, otherwise ``last``.
    best : TwoLayerNet
        The network of the highest validation accuracy, or with ``monitor="loss"`` of the lowest validation
        loss; the earliest of equals, and chosen separately for each network of a stack. With ``ema_decay`` it
        is an average. Without a validation set it is the average or the last network. A network that
        diverged before its first validation is kept as it was passed to `train`.
    last : TwoLayerNet
        The network after its last step. A network that diverged, or that ``patience`` stopped, takes no steps
        in later epochs, while the others of its stack continue.
    average : TwoLayerNet or None
        The exponential moving average after the same step; None without ``ema_decay``.
    history : History
    diverged : int, None, or tuple of K of them
        The first step, counted from 1, whose loss was not finite; None if the network did not diverge. At the
        end of an epoch, parameters that are not finite, or weights whose squares overflow, count too.
    stopped : int, None, or tuple of K of them
        The number of steps after which ``patience`` ended the training; None if it did not.
    train_accuracy : float, or host array (K,)
        Exact accuracy of ``net`` on all training samples after the run, without augmentation or dropout; nan
        if the network diverged.
    validation_accuracy : float, or host array (K,)
        Accuracy of ``net`` on the validation set; nan if the network diverged, or without a validation set.
    best_step : int, or host array (K,)
        Number of steps after which ``best`` was taken.
    seed : int
        The seed of the run; ``rng=run.seed`` repeats it.
    preprocessing : Preprocessing or None
        The argument ``preprocessing`` of `train`. It is not folded into the networks, which take preprocessed
        samples; ``folded`` takes samples as they are.
    validation_loss : float, or host array (K,)
        Mean cross-entropy of ``net`` on the validation set; nan where the accuracy is.
    teacher_seconds : float
        Seconds that a ``teacher`` took since the run was begun or resumed.
    """

    net: TwoLayerNet
    best: TwoLayerNet
    last: TwoLayerNet
    history: History
    diverged: int | tuple[int | None, ...] | None
    train_accuracy: Any
    validation_accuracy: Any
    best_step: Any
    seed: int
    average: TwoLayerNet | None = None
    stopped: int | tuple[int | None, ...] | None = None
    preprocessing: Preprocessing | None = None
    validation_loss: Any = math.nan
    _train_loss: Any = math.nan  # mean cross-entropy of `net` on all training samples; nan if not measured
    teacher_seconds: float = 0.0
    # The rest is for a resumed run. There is no random state: the seed and the number of steps determine it.
    _moments: tuple[TwoLayerNet, ...] = ()  # of the optimizer
    _fingerprint: Fingerprint = field(default_factory=dict)  # of the settings and data

    @property
    def n_steps(self) -> int:
        """Number of steps done."""
        return int(self.history.loss.shape[-1])

    @property
    def folded(self) -> TwoLayerNet:
        """``net`` with any ``preprocessing`` folded into it: the network that takes samples as they are."""
        return folded(self.net, self.preprocessing)

    def __repr__(self) -> str:
        return (
            f"Run({self.net!r}, {self.n_steps} steps, train_accuracy={self.train_accuracy}, "
            f"validation_accuracy={self.validation_accuracy}, diverged={self.diverged})"
        )

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the results as a table, and the course of the run as a picture."""
        from .._html import curves, table

        names = ("train_accuracy", "validation_accuracy", "best_step", "diverged", "stopped")
        rows = [("steps", f"{self.n_steps:,}")]
        rows += [(label(name), _least_and_greatest(getattr(self, name))) for name in names]
        return table("Run", rows) + curves("Course of the run", _course(self.history))


def _least_and_greatest(value: Any) -> str:
    """Return a value as text: for a stack the least and the greatest finite one, and how many are finite."""
    figures = np.asarray(value, np.float64)
    known = np.sort(figures[np.isfinite(figures)])
    ends = dict.fromkeys(f"{one:,.3f}".removesuffix(".000") for one in (*known[:1], *known[-1:]))
    some = f" ({known.size} of {figures.size} networks)" if 0 < known.size < figures.size else ""
    return (" to ".join(ends) or "–") + some


def _course(history: History) -> dict[str, HostArray]:
    """Return the curves to draw, by epoch: the accuracies, or without validation the mean step losses."""
    accuracy = history.train_accuracy
    if np.isfinite(history.validation_accuracy).any():
        return {"training accuracy": accuracy, "validation accuracy": history.validation_accuracy}
    return {"loss": np.where(np.isfinite(accuracy), mean_losses(history), np.nan)}


def select(run: Run, k: int) -> Run:
    """Return the run of one network of a stack, with copies of its networks.

    From a stack of one network they are views, because nothing else uses its memory.
    """

    def network(net: TwoLayerNet) -> TwoLayerNet:
        arrays = (array[k, ...] for array in net)
        return TwoLayerNet(*(arrays if net.n_networks == 1 else (copied(array, xp=xp) for array in arrays)))

    xp = array_namespace(run.last.W1)
    stack: Any = run  # untyped, because each of its results has an axis K here
    best, last = network(run.best), network(run.last)
    average = None if run.average is None else network(run.average)
    return replace(
        run,
        # `net` of the stack is the same object as its `best`, or else its average or its last networks.
        net=best if run.net is run.best else average or last,
        best=best,
        last=last,
        average=average,
        history=run.history.select(k),
        diverged=stack.diverged[k],
        stopped=stack.stopped[k],
        train_accuracy=float(stack.train_accuracy[k]),
        validation_accuracy=float(stack.validation_accuracy[k]),
        validation_loss=float(stack.validation_loss[k]),
        best_step=int(stack.best_step[k]),
        _train_loss=float(stack._train_loss[k]),
        _moments=tuple(map(network, run._moments)),
    )


def without_preprocessed(run: Run) -> Run:
    """Return the run without the fingerprint of its preprocessed samples, which the caller compares instead.

    It can then be resumed with samples that differ in their last bits, as on another machine.
    """
    fingerprint = {name: text for name, text in run._fingerprint.items() if name not in PREPROCESSED}
    return replace(run, _fingerprint=fingerprint)
