"""A run: the progress that callbacks receive, their end, and the result."""

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
    """How far a run is: what a callback is given.

    Parameters
    ----------
    step, steps : int
        Steps done, and steps of the whole run.
    epoch, epochs : int
        Epochs completed, and epochs of the whole run, a last incomplete one counted.
    epoch_ended : bool
        Whether an entry of the history was just made.
    history : callable
        Returns the `History` so far; within an epoch it waits for the device.
    net : callable
        Returns a copy of the network, or stack, as it is now; with ``ema_decay`` of the average.
    run : callable
        Returns the `Run` that `train` would return if it were stopped here: it can be saved, and gone on
        with. Its accuracies are measured for it, which takes a pass over the training samples.
    snapshot : callable
        Returns the same without these accuracies, which are nan: what a checkpoint needs, and no pass.
    stop : callable
        Ends the run here, or the sweep: ``progress.stop()``. What a callback returns means nothing.
    stage, stages : int
        Which of the training runs of a sweep this is, counted from 1, and of how many.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    epoch_ended: bool
    history: Callable[[], History]
    net: Callable[[], TwoLayerNet]
    run: Callable[[], Run]
    snapshot: Callable[[], Run]
    stop: Callable[[], None]
    stage: int = 1
    stages: int = 1


Callback: TypeAlias = Callable[[Progress], object]


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; raise a TypeError unless they are callables."""
    check_form("callbacks", callbacks, ["__iter__"], "a list of callables")
    found = tuple(callbacks)
    for i, one in enumerate(found):
        check_form(f"callbacks[{i}]", one, ["__call__"], "a callable")
    return found


@contextmanager
def ending(callbacks: Iterable[Callback]) -> Iterator[None]:
    """Call the method ``on_end`` of callbacks that have one after a training, however that ends."""
    with ExitStack() as stack:
        for callback in callbacks:
            if hasattr(callback, "on_end"):
                stack.callback(callback.on_end)
        yield


@dataclass(frozen=True, repr=False)
class Run:
    """Result of `train`.

    Of a stack, ``diverged``, ``stopped``, ``best_step`` and the accuracies have an axis K.

    Parameters
    ----------
    net : TwoLayerNet
        The network that is judged: ``best`` where there was a validation set and ``judge="best"``, else
        ``average`` where there is one, else ``last``.
    best : TwoLayerNet
        The network of the highest validation accuracy, or with ``monitor="loss"`` of the lowest validation
        loss (of equals the earliest), for every member of a stack; with ``ema_decay`` it is an average.
        Without a validation set, the average or the last. One that was never validated, because it diverged
        in its first epoch, is the network as it was given.
    last : TwoLayerNet
        The network after its last step: a network that diverged, or was stopped, takes no step of the epochs
        that follow, while the others of its stack go on.
    average : TwoLayerNet or None
        The exponential moving average after the same step; None without ``ema_decay``.
    history : History
    diverged : int or None, or a tuple of K of them
        The first step, counted from 1, whose loss was not finite (or whose update left weights that are
        not, where it was the last of an epoch); None where there is none.
    stopped : int or None, or a tuple of K of them
        The number of steps after which ``patience`` ended the training; None where it did not.
    train_accuracy : float, or host array (K,)
        Exact accuracy of ``net`` on all training samples after the run, as they are (nothing augmented,
        nothing dropped); nan where it diverged.
    validation_accuracy : float, or host array (K,)
        Accuracy of ``net`` on the validation set; nan where it diverged, or without a validation set.
    best_step : int, or host array (K,)
        Number of steps after which ``best`` was taken.
    seed : int
        The seed of the run; ``rng=run.seed`` repeats it.
    preprocessing : Preprocessing or None
        The preprocessing of each batch, as `train` was given it. It is not folded into the networks, which
        take its results; ``folded`` takes samples as they are.
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
    _train_loss: Any = math.nan  # mean cross-entropy of `net` on all training samples, where it was measured
    teacher_seconds: float = 0.0
    _moments: tuple[TwoLayerNet, ...] = ()  # the optimizer's
    _fingerprint: Fingerprint = field(default_factory=dict)  # of its settings and data

    @property
    def n_steps(self) -> int:
        """Number of steps done."""
        return int(self.history.loss.shape[-1])

    @property
    def folded(self) -> TwoLayerNet:
        """The network that takes samples as they are: ``net``, with any ``preprocessing`` folded into it."""
        return folded(self.net, self.preprocessing)

    def __repr__(self) -> str:
        return (
            f"Run({self.net!r}, {self.n_steps} steps, train_accuracy={self.train_accuracy}, "
            f"validation_accuracy={self.validation_accuracy}, diverged={self.diverged})"
        )

    def _repr_html_(self) -> str:
        """Return the results as a table, and the course as a picture, which notebooks show."""
        from .._html import curves, table

        names = ("train_accuracy", "validation_accuracy", "best_step", "diverged", "stopped")
        rows = [("steps", f"{self.n_steps:,}")]
        rows += [(label(name), _least_and_greatest(getattr(self, name))) for name in names]
        return table("Run", rows) + curves("Course of the run", _course(self.history))


def _least_and_greatest(value: Any) -> str:
    """Return a figure as text; of a stack the least and the greatest, and of how many networks these are."""
    figures = np.asarray(value, np.float64)
    known = np.sort(figures[np.isfinite(figures)])
    ends = dict.fromkeys(f"{one:,.3f}".removesuffix(".000") for one in (*known[:1], *known[-1:]))
    some = f" ({known.size} of {figures.size} networks)" if 0 < known.size < figures.size else ""
    return (" to ".join(ends) or "–") + some


def _course(history: History) -> dict[str, HostArray]:
    """Return what to draw of each epoch: the accuracies, or without validation the mean loss of its steps."""
    accuracy = history.train_accuracy
    if np.isfinite(history.validation_accuracy).any():
        return {"training accuracy": accuracy, "validation accuracy": history.validation_accuracy}
    return {"loss": np.where(np.isfinite(accuracy), mean_losses(history), np.nan)}


def select(run: Run, k: int) -> Run:
    """Return the run of one network of a stack, with its own copies of the networks.

    Of a stack of one they are views, as nothing else uses its memory.
    """

    def network(net: TwoLayerNet) -> TwoLayerNet:
        arrays = (array[k, ...] for array in net)
        return TwoLayerNet(*(arrays if net.n_networks == 1 else (copied(array, xp=xp) for array in arrays)))

    xp = array_namespace(run.last.W1)
    stack: Any = run  # each of its results has an axis K
    best, last = network(run.best), network(run.last)
    average = None if run.average is None else network(run.average)
    return replace(
        run,
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
    """Return a run that can go on with samples that differ in their last bits, compared by the caller."""
    fingerprint = {name: text for name, text in run._fingerprint.items() if name not in PREPROCESSED}
    return replace(run, _fingerprint=fingerprint)
