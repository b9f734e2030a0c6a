"""train(): epochs, validation, the best network, callbacks, and going on where a run stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .._checks import (
    check_choice,
    check_features,
    check_finite,
    check_integer,
    check_network,
    check_sample_weight,
    check_targets,
    host_per_network,
    per_network,
)
from .._namespace import Array, HostArray, copied, device, dtype_name, from_host, is_array_api_obj, to_host
from .._streams import RandomState, seed_of
from ..losses import l2_norms
from ..network import Core, TwoLayerNet, as_targets, evaluate, flatten, pack, per_unit, unpack
from .batches import Batches
from .execution import prepared, running
from .history import History, Recorder
from .schedules import Constant, Schedule
from .step import step as training_step


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
        Returns a copy of the network, or stack, as it is now.
    run : callable
        Returns the `Run` that `train` would return if it were stopped here: it can be saved, and gone on
        with. Its accuracies are measured for it, which takes a pass over the training samples.
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
    stop: Callable[[], None]
    stage: int = 1
    stages: int = 1


Callback: TypeAlias = Callable[[Progress], object]


@dataclass(frozen=True, repr=False)
class Run:
    """What `train` returns. Of a stack, ``diverged``, ``best_step`` and the accuracies have an axis K.

    Parameters
    ----------
    net : TwoLayerNet
        The network that is judged: ``best`` where there was a validation set and ``judge="best"``, else
        ``last``.
    best : TwoLayerNet
        The network of the highest validation accuracy (of equals the earliest), for every member of a
        stack; the last without a validation set. One that was never validated, because it diverged in its
        first epoch, is the network as it was given.
    last : TwoLayerNet
        The network after the last step.
    history : History
    diverged : int or None, or a tuple of K of them
        The first step, counted from 1, whose loss was not finite (or whose update left weights that are
        not, where it was the last of an epoch); None where there is none.
    train_accuracy : float, or host array (K,)
        Exact accuracy of ``net`` on all training samples after the run; nan where it diverged.
    validation_accuracy : float, or host array (K,)
        Accuracy of ``net`` on the validation set; nan where it diverged, or without a validation set.
    best_step : int, or host array (K,)
        Number of steps after which ``best`` was taken.
    seed : int
        The seed of the run; ``rng=run.seed`` repeats it.
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
    _best_accuracy: HostArray = field(default_factory=lambda: np.zeros(0))  # (K,); -1 where never validated

    @property
    def n_steps(self) -> int:
        """Number of steps done."""
        return int(self.history.loss.shape[-1])

    def __repr__(self) -> str:
        return (
            f"Run({self.net!r}, {self.n_steps} steps, train_accuracy={self.train_accuracy}, "
            f"validation_accuracy={self.validation_accuracy}, diverged={self.diverged})"
        )


def train(
    net: TwoLayerNet | Run,
    X: Array,
    y: Array,
    *,
    validation: tuple[Array, Array] | None = None,
    sample_weight: Array | None = None,
    reg: Any = 0.0,
    learning_rate: Any = 1e-2,
    schedule: Schedule | None = None,
    batch_size: int = 200,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    judge: str = "best",
    rng: RandomState = None,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network, or every network of a stack, by minibatch gradient descent.

    Each step lowers, on one batch, the loss of `TwoLayerNet.loss`: cross-entropy + reg · (‖W1‖² + ‖W2‖²).
    The networks of a stack see the same batches, each with its own ``reg`` and ``learning_rate``, and
    each ends as it would have if trained alone, up to rounding.

    Parameters
    ----------
    net : TwoLayerNet or Run
        Where to start; its arrays are copied, not changed. A `Run` goes on where it stopped: pass the same
        data and settings, and as ``epochs`` or ``steps`` the new total. A run that was stopped by a callback
        or ended with an epoch then continues exactly as if it had not.
    X : array (N, D) or (N, ...)
        Training samples, of any real dtype; each batch is cast to the network's. Scale them first: mean 0
        and standard deviation 1 suit the default learning rate.
    y : integer array (N,) or floating array (N, C)
        Class labels, or class probabilities.
    validation : (X, y), optional
        Samples by whose accuracy the best network is kept.
    sample_weight : array (N,), optional
        Weight of each sample in its batch's mean.
    reg : float, or (K,) for a stack
        Strength of the L2 penalty on W1 and W2; half of PyTorch's ``weight_decay``.
    learning_rate : float, or (K,) for a stack
    schedule : Schedule, optional
        What the learning rate is multiplied by at each step; see `twolayer.schedules`.
    batch_size : int
    epochs, steps : int, optional
        How long: one of them; 10 epochs where neither is given.
    replacement : bool
        Draw each batch with replacement instead of shuffling the samples anew for each epoch.
    judge : "best" or "last"
        Which network ``run.net`` is.
    rng : int, numpy.random.Generator or None
        The seed of the batches. The same seed gives the same run with every array library.
    callbacks : iterable of callables
        Each is called with a `Progress` after every step (or, where a library runs many steps at once, after
        those) and after every epoch's entry in the history. ``progress.stop()`` ends the run there; at the
        last step of an epoch, after its entry.

    Returns
    -------
    Run

    Raises
    ------
    TypeError
        If dtypes or argument types are not as said, or arrays of several libraries meet.
    ValueError
        If shapes do not fit, a value is not finite or out of range, arrays of several devices meet, or both
        ``epochs`` and ``steps`` are given.

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
    >>> X, X_val = scaling.apply(digits.train.X), scaling.apply(digits.validation.X)
    >>> net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
    >>> run = twolayer.train(net, X, digits.train.y, validation=(X_val, digits.validation.y),
    ...                      learning_rate=0.1, epochs=20, batch_size=50, rng=0)
    >>> run.validation_accuracy > 0.9
    True
    """
    earlier = net if isinstance(net, Run) else None
    if earlier is not None:
        if rng is not None and rng != earlier.seed:
            raise ValueError(f"`rng` must be left out or be the run's seed, {earlier.seed}, to go on with it")
        rng, net = earlier.seed, earlier.last
    xp = check_network(net)
    assert isinstance(net, TwoLayerNet)
    check_data(X, y, validation, sample_weight, net)
    reg = per_network("reg", reg, net, xp=xp)
    rates = host_per_network("learning_rate", learning_rate, net.n_networks)
    check_choice("judge", judge, ("best", "last"))
    batches = Batches(
        seed_of(rng), X.shape[0], check_integer("batch_size", batch_size, least=1), bool(replacement)
    )
    if epochs is not None and steps is not None:
        raise ValueError("`epochs` or `steps` must be given, not both; got both")
    if steps is None:
        steps = batches.steps_per_epoch * (10 if epochs is None else check_integer("epochs", epochs, least=1))
    else:
        steps = check_integer("steps", steps, least=1)
    if earlier is not None and steps < earlier.n_steps:
        raise ValueError(
            "`epochs` or `steps` must be the new total, at least the "
            f"{earlier.n_steps} steps that the run has taken; got {steps}"
        )
    if schedule is not None and not callable(schedule):
        raise TypeError(
            "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); "
            f"got {type(schedule).__name__}"
        )
    trainer = _Trainer(
        xp=xp,
        net=net,
        earlier=earlier,
        data=(X, y, sample_weight),
        validation=validation,
        reg=reg,
        rates=rates,
        schedule=Constant() if schedule is None else schedule,
        judge=judge,
        batches=batches,
        steps=steps,
        callbacks=tuple(callbacks),
    )
    with running(xp):
        trainer.run()
        return trainer.result()


def check_data(X: Array, y: Array, validation: Any, sample_weight: Array | None, net: TwoLayerNet) -> None:
    """Raise unless the training data, and the validation data if any, fit the network and are finite."""
    check_features(X, net)
    check_targets(y, X, net.n_classes)
    check_sample_weight(sample_weight, X)
    check_finite(X)
    if validation is not None:
        if is_array_api_obj(validation) or not hasattr(validation, "__len__") or len(validation) != 2:
            raise TypeError(f"`validation` must be a pair (X, y); got {type(validation).__name__}")
        X_val, y_val = validation
        check_features(X_val, net, name="validation X")
        check_targets(y_val, X_val, net.n_classes, name="validation y", X_name="validation X")
        check_finite(X_val, name="validation X")


class _Trainer:
    """The state of a run in progress."""

    def __init__(
        self,
        *,
        xp: ModuleType,
        net: TwoLayerNet,
        earlier: Run | None,
        data: tuple[Array, Array, Array | None],
        validation: tuple[Array, Array] | None,
        reg: Array,
        rates: HostArray,
        schedule: Schedule,
        judge: str,
        batches: Batches,
        steps: int,
        callbacks: tuple[Callback, ...],
    ) -> None:
        self.xp, self.batches, self.steps, self.callbacks = xp, batches, steps, callbacks
        self.reg, self.rates, self.schedule, self.judge = reg, rates, schedule, judge
        self.stacked, self.device, self.dtype = net.n_networks is not None, device(net.W1), net.W1.dtype
        self.core = self._copied(pack(net, xp=xp))
        X, y, sample_weight = data
        self.X, self.y = flatten(X, xp=xp), as_targets(y, self.dtype, xp=xp)
        self.sample_weight = None if sample_weight is None else xp.astype(sample_weight, self.dtype)
        self.validation = None
        if validation is not None:
            self.validation = flatten(validation[0], xp=xp), as_targets(validation[1], self.dtype, xp=xp)
        n_networks = self.core.W2.shape[0]
        self.recorder = Recorder(n_networks, None if earlier is None else earlier.history)
        self.done = self.recorder.n_steps
        if earlier is None:
            self.best = self._copied(self.core)
            self.best_accuracy, self.best_step = np.full(n_networks, -1.0), np.zeros(n_networks, np.int64)
            self.diverged = np.zeros(n_networks, np.int64)
        else:
            self.best = self._copied(pack(earlier.best, xp=xp))
            self.best_accuracy = earlier._best_accuracy.copy()
            self.best_step = np.atleast_1d(np.asarray(earlier.best_step, np.int64)).copy()
            steps_of = earlier.diverged if isinstance(earlier.diverged, tuple) else (earlier.diverged,)
            self.diverged = np.asarray([at or 0 for at in steps_of], np.int64)
        self.pending: list[tuple[Array, Array]] = []
        self.stopped = False
        self.take_step = prepared(training_step, xp, consumes=True)
        self.evaluate = prepared(evaluate, xp)

    def run(self) -> None:
        """Take the steps that are left, until a callback stops them or no network is left to train."""
        per_epoch = self.batches.steps_per_epoch
        if self.done % per_epoch == 0 and self.recorder.last_entry < self.done:
            self._end_epoch(self.done // per_epoch - 1)  # the run was taken between a last step and its entry
        while self.done < self.steps and not self.stopped:
            epoch, start = divmod(self.done, per_epoch)
            if start == 0 and self.diverged.all():
                return
            end = min((epoch + 1) * per_epoch, self.steps)
            for rows in self.batches.chunks(epoch, start, start + end - self.done):
                self._take_steps(rows)
                if self.stopped:
                    break
            self._flush()
            if self.done == end:
                self._end_epoch(epoch)
                self._call_back(epoch_ended=True)

    def _take_steps(self, rows: HostArray) -> None:
        """Take a step for each row of ``rows`` (n, B), until a callback stops the run."""
        xp, step = self.xp, self.take_step
        rates = self._rates(self.done, len(rows)).astype(dtype_name(self.dtype))
        moved = (xp.unstack(from_host(a, xp=xp, device=self.device)) for a in (rows, rates))
        for batch, rate in zip(*moved, strict=True):
            self.core, loss, accuracy = step(
                self.core, self.X, self.y, self.sample_weight, batch, rate, self.reg
            )
            self.pending.append((loss, accuracy))
            self.done += 1
            if self.callbacks:
                self._call_back(epoch_ended=False)
                if self.stopped:
                    return
        self._flush()

    def _rates(self, start: int, n: int) -> HostArray:
        """Learning rates (n, K) of the steps from ``start`` on."""
        factors = self.schedule(
            np.arange(start, start + n), steps_per_epoch=self.batches.steps_per_epoch, steps=self.steps
        )
        if np.shape(factors) != (n,):
            raise ValueError(f"`schedule` must return factors of shape ({n},); got {np.shape(factors)}")
        return np.asarray(factors)[:, None] * self.rates

    def _flush(self) -> None:
        """Bring the losses of the steps so far to the host: here the device is waited for."""
        if self.pending:
            loss, accuracy = (to_host(self.xp.stack(list(a))) for a in zip(*self.pending, strict=True))
            self.pending = []
            bad = ~np.isfinite(loss)
            found = np.where(bad.any(axis=0), self.recorder.n_steps + bad.argmax(axis=0) + 1, 0)
            self.diverged = np.where(self.diverged > 0, self.diverged, found)
            self.recorder.add_steps(loss, accuracy)

    def _end_epoch(self, epoch: int) -> None:
        xp, core = self.xp, self.core
        size = l2_norms(core.W1, core.W2, xp=xp) + xp.sum(core.b2, axis=-1)
        size += xp.sum(xp.reshape(core.b1, core.W2.shape[:2]), axis=-1)
        finite = np.isfinite(to_host(size))
        self.diverged = np.where(finite | (self.diverged > 0), self.diverged, self.done)
        first = epoch * self.batches.steps_per_epoch
        sizes = np.asarray([self.batches.size(i) for i in range(first, self.done)], np.float64)
        batch_accuracies = self.recorder.batch_accuracies(first)
        train_accuracy = sizes @ batch_accuracies / sizes.sum()
        loss = accuracy = np.full(self.rates.shape, np.nan)
        if self.validation is not None:
            loss, right = (to_host(a).astype(np.float64) for a in self.evaluate(core, *self.validation))
            accuracy = right / self.validation[0].shape[0]
        alive = self.diverged == 0
        train_accuracy, loss, accuracy = (
            np.where(alive, a, np.nan) for a in (train_accuracy, loss, accuracy)
        )
        self.recorder.add_entry(self._rates(self.done - 1, 1)[0], train_accuracy, loss, accuracy)
        if self.validation is not None:
            self._keep_best(accuracy)

    def _keep_best(self, accuracy: HostArray) -> None:
        improved = accuracy > self.best_accuracy  # never where the accuracy is nan
        if improved.any():
            xp = self.xp
            self.best_accuracy = np.where(improved, accuracy, self.best_accuracy)
            self.best_step = np.where(improved, self.done, self.best_step)
            mask = from_host(improved, xp=xp, device=self.device)
            units = per_unit(mask, self.core.W2.shape[1], xp=xp)
            masks = Core(units, units, xp.reshape(mask, (-1, 1, 1)), xp.reshape(mask, (-1, 1)))
            arrays = zip(masks, self.core, self.best, strict=True)
            self.best = Core(*(xp.where(mask, new, old) for mask, new, old in arrays))

    def _call_back(self, *, epoch_ended: bool) -> None:
        per_epoch = self.batches.steps_per_epoch
        progress = Progress(
            step=self.done,
            steps=self.steps,
            epoch=self.done // per_epoch,
            epochs=-(-self.steps // per_epoch),
            epoch_ended=epoch_ended,
            history=self.history,
            net=lambda: self._public(self._copied(self.core)),
            run=self.result,
            stop=self._stop,
        )
        for callback in self.callbacks:
            callback(progress)

    def _stop(self) -> None:
        self.stopped = True

    def history(self) -> History:
        self._flush()
        return self.recorder.history(stacked=self.stacked)

    def result(self) -> Run:
        """Return the run as it is now: copies, and the judged network's exact accuracies."""
        self._flush()
        n_networks, judge = self.core.W2.shape[0], self.judge
        core, best_step = self._copied(self.core), self.best_step.copy()
        best = self._copied(core if self.validation is None else self.best)
        if self.validation is None:
            best_step = np.full(n_networks, self.done)
        judged = core if judge == "last" else best
        train_accuracy = self._accuracy(judged, self.X, self.y)
        if self.validation is None:
            validation_accuracy = np.full(n_networks, np.nan)
        elif judge == "last":
            validation_accuracy = self._accuracy(judged, *self.validation)
        else:
            validation_accuracy = np.where(
                (self.best_accuracy < 0) | (self.diverged > 0), np.nan, self.best_accuracy
            )
        diverged = tuple(int(at) or None for at in self.diverged)
        stacked, public_best, public_last = self.stacked, self._public(best), self._public(core)
        return Run(
            net=public_last if judge == "last" else public_best,
            best=public_best,
            last=public_last,
            history=self.history(),
            diverged=diverged if stacked else diverged[0],
            train_accuracy=train_accuracy if stacked else float(train_accuracy[0]),
            validation_accuracy=validation_accuracy if stacked else float(validation_accuracy[0]),
            best_step=best_step if stacked else int(best_step[0]),
            seed=self.batches.seed,
            _best_accuracy=self.best_accuracy.copy(),
        )

    def _accuracy(self, core: Core, X: Array, y: Array) -> HostArray:
        """Exact accuracy of each network (K,), nan where it diverged."""
        _, right = self.evaluate(core, X, y)
        return np.where(self.diverged > 0, np.nan, to_host(right).astype(np.float64) / X.shape[0])

    def _copied(self, core: Core) -> Core:
        return Core(*(copied(array, xp=self.xp) for array in core))

    def _public(self, core: Core) -> TwoLayerNet:
        return unpack(core, stacked=self.stacked, xp=self.xp)
