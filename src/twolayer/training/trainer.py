"""The state of a run in progress: steps, epochs, validation, the best network, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .._checks import row_blocks
from .._forms import fast_namespace, laid_out
from .._namespace import Array, HostArray, device, dtype_name, from_host, to_device, to_host
from ..mathematics import Params
from ..network import TwoLayerNet, evaluate, pack, unpack, widest
from ..preprocessing import Preprocessing, centred_on_host
from .batches import Source, ahead, length, moved
from .execution import Steps, prepared
from .fingerprint import Fingerprint
from .history import History, Recorder
from .run import Callback, Progress, Run
from .schedules import Schedule
from .step import (
    Constant,
    Method,
    Numbers,
    Samples,
    State,
    Varying,
    kept_shares,
    next_step,
    report,
    size,
)


class Plan(NamedTuple):
    """Everything that `train` was asked for, checked; numbers as host arrays (K,)."""

    samples: Samples  # on the device; where they are streamed, X, y and the weights are host arrays
    validation: tuple[Array, Array, Array | None] | None  # X, y and weights, beside the samples
    streamed: bool
    host_mean: HostArray | None  # subtracted from samples that are streamed, before they are moved
    learning_rate: HostArray
    reg: HostArray
    dropout: HostArray  # thresholds
    label_smoothing: HostArray
    ema_decay: float | None
    method: Method
    schedule: Schedule
    source: Source
    steps: int
    patience: int | None
    judge: str
    callbacks: tuple[Callback, ...]
    preprocessing: Preprocessing | None
    fingerprint: Fingerprint


class Trainer:
    """A run in progress."""

    def __init__(self, net: TwoLayerNet, plan: Plan, *, earlier: Run | None, xp: ModuleType) -> None:
        self.xp, self.plan, self.batches = xp, plan, plan.source.batches
        self.stacked, self.device, self.dtype = net.n_networks is not None, device(net.W1), net.W1.dtype
        params = self._copied(pack(net, xp=xp))
        self.n_networks = params.W2.shape[0]
        n_moments = plan.method.optimizer.n_moments
        self.recorder = Recorder(self.n_networks, None if earlier is None else earlier.history)
        self.done = self.recorder.n_steps
        if earlier is None:
            moments = tuple(Params(*(xp.zeros_like(array) for array in params)) for _ in range(n_moments))
            average = None if plan.ema_decay is None else self._copied(params)
            self.best = self._copied(params)
            self.best_accuracy = np.full(self.n_networks, -1.0)
            self.best_step = np.zeros(self.n_networks, np.int64)
            self.diverged = np.zeros(self.n_networks, np.int64)
            self.stopped = np.zeros(self.n_networks, np.int64)
        else:
            moments = tuple(self._copied(pack(moment, xp=xp)) for moment in earlier._moments)
            average = None
            if earlier.average is not None:
                average = self._copied(pack(earlier.average, xp=xp))
            self.best = self._copied(pack(earlier.best, xp=xp))
            self.best_accuracy = earlier._best_accuracy.copy()
            self.best_step = np.atleast_1d(np.asarray(earlier.best_step, np.int64)).copy()
            self.diverged, self.stopped = _steps(earlier.diverged), _steps(earlier.stopped)
        self.state = State(params, moments, average)
        weights = None if plan.validation is None else plan.validation[2]
        self.validation_weight = None if weights is None else to_host(weights).astype(np.float64).sum()
        # The networks whose patience ended, as they were then; the places of the others mean nothing.
        self.ended = State(params, (), average)
        if plan.patience is not None or self.stopped.any():
            self.ended = State(self._copied(params), (), None if average is None else self._copied(average))
        numbers = Numbers(
            learning_rate=None,
            share=None,
            kept_share=None,
            reg=self._on_device(plan.reg.astype(dtype_name(self.dtype))),
            dropout=self._on_device(plan.dropout.astype(np.uint8)) if plan.dropout.any() else None,
            label_smoothing=self._on_device(plan.label_smoothing.astype(dtype_name(self.dtype)))
            if plan.label_smoothing.any()
            else None,
            coefficients=None,
        )
        samples = plan.samples
        if plan.streamed:
            samples = Samples(None, None, None, samples.preprocessing)
        self.constant = Constant(samples, numbers)
        self.halted = False
        self.steps = Steps(next_step, report, xp, method=plan.method)
        self.evaluate = prepared(evaluate, xp, transform=plan.method.transform)
        self.size = prepared(size, xp)

    def run(self) -> None:
        """Take the steps that are left, until a callback stops them or no network is left to train."""
        per_epoch, steps = self.batches.steps_per_epoch, self.plan.steps
        at_an_end = self.done == steps or self.done % per_epoch == 0
        if at_an_end and self.recorder.last_entry < self.done:
            self._end_epoch((self.done - 1) // per_epoch)  # the run was taken between a step and its entry
        if self._finished():
            return
        chunks = self._chunks()
        for chunk in ahead(chunks) if self.plan.source.noisy else chunks:
            self._take_steps(chunk)
            if self.done == steps or self.done % per_epoch == 0:
                self._end_epoch((self.done - 1) // per_epoch)
                self._call_back(epoch_ended=True)
                if self._finished():
                    return
            if self.halted:
                return

    def _finished(self) -> bool:
        """Whether all steps are done, or nothing is left to train after the latest entry."""
        over = self.done == self.recorder.last_entry and bool(np.all(self.diverged + self.stopped))
        return self.done >= self.plan.steps or over

    def _chunks(self) -> Iterator[Varying]:
        """The random numbers of the remaining steps, with their batches where samples are streamed."""
        X, y, sample_weight, _ = self.plan.samples
        # On the host those of many steps are taken at once.
        labels = to_host(y) if y.ndim == 1 and not self.plan.streamed else None
        for draws in self.plan.source.draws(self.done, self.plan.steps):
            batch = None
            if self.plan.streamed:
                weights = None if sample_weight is None else sample_weight[draws.rows]
                batch = self._cast_samples(X[draws.rows]), y[draws.rows], weights
                draws = draws._replace(rows=None)
            elif labels is not None:
                draws = draws._replace(labels=labels[draws.rows])
            draws = draws._replace(augmentation=moved(draws.augmentation, self._cast))
            yield Varying(draws, batch, None, None, None, None)

    def _take_steps(self, chunk: Varying) -> None:
        """Take the steps of a chunk, until a callback stops the run."""
        n, name = length(chunk), dtype_name(self.dtype)
        rates, method = self._rates(self.done, n), self.plan.method
        decays = method.penalised and method.optimizer.scaled
        # The gradient is linear in `dlogits`: the learning rate, applied there, costs no pass over W1.
        shares = (rates if method.optimizer.scaled else np.ones_like(rates)) / self.batches.size(self.done)
        varying = chunk._replace(
            learning_rate=rates.astype(name),
            share=shares.astype(name),
            kept_share=kept_shares(rates, self.plan.reg).astype(name) if decays else None,
            coefficients=self._coefficients(self.done, n).astype(name),
        )
        steps = self.steps.take(self.state, self.constant, varying, self._on_device)
        for state, taken in steps:
            self.state = state
            self.done += taken
            if self.plan.callbacks:
                self._call_back(epoch_ended=False)
                if self.halted:
                    break
        self._flush()

    def _rates(self, start: int, n: int) -> HostArray:
        """Learning rates (n, K) of the steps from ``start`` on."""
        factors = self.plan.schedule(
            np.arange(start, start + n), steps_per_epoch=self.batches.steps_per_epoch, steps=self.plan.steps
        )
        if np.shape(factors) != (n,):
            raise ValueError(f"`schedule` must return factors of shape ({n},); got {np.shape(factors)}")
        return np.asarray(factors)[:, None] * self.plan.learning_rate

    def _coefficients(self, start: int, n: int) -> HostArray:
        """Numbers (n, m) of the steps from ``start`` on that are the same for all networks."""
        steps = np.arange(start, start + n)
        coefficients = self.plan.method.optimizer.coefficients(steps)
        if self.plan.ema_decay is None:
            return coefficients
        # The average begins with the weights after the first step.
        newest = np.where(steps == 0, 1.0, 1.0 - self.plan.ema_decay)
        return np.concatenate([coefficients, newest[:, None]], axis=1)

    def _flush(self) -> None:
        """Bring the losses of the steps so far to the host: here the device is waited for."""
        reported = self.steps.reported()
        if reported:
            loss, accuracy = (np.concatenate(each).astype(np.float64) for each in zip(*reported, strict=True))
            over = self.stopped > 0
            loss[:, over] = accuracy[:, over] = np.nan
            bad = ~np.isfinite(loss) & ~over
            found = np.where(bad.any(axis=0), self.recorder.n_steps + bad.argmax(axis=0) + 1, 0)
            self.diverged = np.where(self.diverged > 0, self.diverged, found)
            self.recorder.add_steps(loss, accuracy)

    def _end_epoch(self, epoch: int) -> None:
        sound = np.isfinite(to_host(self.size(self.state.params))) | (self.diverged > 0) | (self.stopped > 0)
        self.diverged = np.where(sound, self.diverged, self.done)
        first = epoch * self.batches.steps_per_epoch
        sizes = np.asarray([self.batches.size(i) for i in range(first, self.done)], np.float64)
        batch_accuracies = self.recorder.batch_accuracies(first)
        train_accuracy = sizes @ batch_accuracies / sizes.sum()
        loss = accuracy = np.full(self.n_networks, np.nan)
        if self.plan.validation is not None:
            loss, accuracy = self._evaluate(self._judged(self.state), *self.plan.validation)
        alive = (self.diverged == 0) & (self.stopped == 0)
        train_accuracy, loss, accuracy = (
            np.where(alive, a, np.nan) for a in (train_accuracy, loss, accuracy)
        )
        self.recorder.add_entry(self._rates(self.done - 1, 1)[0], train_accuracy, loss, accuracy)
        if self.plan.validation is not None:
            self._keep_best(accuracy)
            self._lose_patience(alive)

    def _keep_best(self, accuracy: HostArray) -> None:
        improved = accuracy > self.best_accuracy  # never where the accuracy is nan
        if improved.any():
            self.best_accuracy = np.where(improved, accuracy, self.best_accuracy)
            self.best_step = np.where(improved, self.done, self.best_step)
            self.best = self._chosen(improved, self._judged(self.state), self.best)

    def _lose_patience(self, alive: HostArray) -> None:
        """End the training of the networks that have not become better for too long."""
        if self.plan.patience is None:
            return
        waited = np.asarray([self.recorder.entries_after(step) for step in self.best_step])
        over = alive & (waited >= self.plan.patience)
        if over.any():
            self.stopped = np.where(over, self.done, self.stopped)
            self.ended = State(
                self._chosen(over, self.state.params, self.ended.params),
                (),
                None
                if self.state.average is None or self.ended.average is None
                else self._chosen(over, self.state.average, self.ended.average),
            )

    def _chosen(self, mask: HostArray, new: Params, old: Params) -> Params:
        """Networks of ``new`` where the mask (K,) is true, else of ``old``."""
        xp, where = self.xp, self._on_device(mask)
        of_weights, of_biases = where[:, None, None], where[:, None]
        masks = Params(of_weights, of_biases, of_weights, of_biases)
        return Params(*(xp.where(m, a, b) for m, a, b in zip(masks, new, old, strict=True)))

    def _call_back(self, *, epoch_ended: bool) -> None:
        if not self.plan.callbacks:
            return
        per_epoch, steps = self.batches.steps_per_epoch, self.plan.steps
        progress = Progress(
            step=self.done,
            steps=steps,
            epoch=self.done // per_epoch,
            epochs=-(-steps // per_epoch),
            epoch_ended=epoch_ended,
            history=self.history,
            net=lambda: self._public(self._copied(self._judged(self._state_now()))),
            run=self.result,
            snapshot=lambda: self.result(measured=False),
            stop=self._halt,
        )
        for callback in self.plan.callbacks:
            callback(progress)

    def _halt(self) -> None:
        self.halted = True

    def history(self) -> History:
        """Return the history so far."""
        self._flush()
        return self.recorder.history(stacked=self.stacked)

    def _state_now(self) -> State:
        """State of the networks, of those whose patience ended as it was then."""
        if not self.stopped.any():
            return self.state
        over, state, ended = self.stopped > 0, self.state, self.ended
        return state._replace(
            params=self._chosen(over, ended.params, state.params),
            average=None
            if ended.average is None or state.average is None
            else self._chosen(over, ended.average, state.average),
        )

    def result(self, *, measured: bool = True) -> Run:
        """Return the run as it is now: copies, and where wanted the judged network's exact accuracies."""
        self._flush()
        state, last_judged = self._state_now(), self.plan.judge == "last"
        validation = self.plan.validation
        now = self._judged(state)
        best, best_step = self._copied(self.best), self.best_step.copy()
        if validation is None:
            best, best_step = self._copied(now), np.where(self.stopped > 0, self.stopped, self.done)
        judged = now if last_judged else best
        train_accuracy = np.full(self.n_networks, np.nan)
        if measured:
            train_accuracy = self._accuracy(judged, *self.plan.samples[:2])
        if validation is None or not measured:
            validation_accuracy = np.full(self.n_networks, np.nan)
        elif last_judged:
            validation_accuracy = self._accuracy(judged, *validation)
        else:
            unknown = (self.best_accuracy < 0) | (self.diverged > 0)
            validation_accuracy = np.where(unknown, np.nan, self.best_accuracy)
        public_best, public_last = self._public(best), self._public(self._copied(state.params))
        average = None if state.average is None else self._public(self._copied(state.average))
        net = public_best
        if last_judged:
            net = public_last if average is None else average
        return Run(
            net=net,
            best=public_best,
            last=public_last,
            average=average,
            history=self.history(),
            diverged=self._public_steps(self.diverged),
            stopped=self._public_steps(self.stopped),
            train_accuracy=self._public_numbers(train_accuracy, float),
            validation_accuracy=self._public_numbers(validation_accuracy, float),
            best_step=self._public_numbers(best_step, int),
            seed=self.batches.seed,
            preprocessing=self.plan.preprocessing,
            _best_accuracy=self.best_accuracy.copy(),
            _moments=tuple(self._public(self._copied(moment)) for moment in self.state.moments),
            _fingerprint=dict(self.plan.fingerprint),
        )

    def _judged(self, state: State) -> Params:
        """Networks that validation looks at: the averages where there are any."""
        return state.params if state.average is None else state.average

    def _evaluate(
        self, params: Params, X: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[HostArray, HostArray]:
        """Mean cross-entropy and accuracy of each network (K,), by the samples' weights."""
        n_samples, arrays = X.shape[0], self.plan.samples.preprocessing
        blocks: Any = [slice(0, n_samples)]
        if self.plan.streamed:
            blocks = row_blocks(n_samples, max(X.shape[1], widest(params)))
        total = np.zeros((3, self.n_networks))
        for rows in blocks:
            weights = None if sample_weight is None else sample_weight[rows]
            part = X[rows, ...], y[rows, ...], weights
            if self.plan.streamed:
                part = moved((self._cast_samples(part[0]), *part[1:]), self._on_device)
            total += np.stack([to_host(a).astype(np.float64) for a in self.evaluate(params, *part, arrays)])
        losses, right, n_blocks_of_nan = total
        whole = n_samples if sample_weight is None else self.validation_weight
        return losses / whole, np.where(n_blocks_of_nan > 0, np.nan, right / whole)

    def _accuracy(self, params: Params, *samples: Array) -> HostArray:
        """Exact accuracy of each network (K,), nan where it diverged."""
        return np.where(self.diverged > 0, np.nan, self._evaluate(params, *samples)[1])

    def _on_device(self, host: HostArray) -> Array:
        return from_host(host, xp=self.xp, device=self.device)

    def _cast(self, host: HostArray) -> HostArray:
        """Any host array as the device takes it: floats in the networks' dtype, as it may have no other."""
        floating = host.dtype.kind == "f"
        # Files may hold another byte order, which only NumPy takes.
        dtype = dtype_name(self.dtype) if floating else host.dtype.newbyteorder("=")
        return host.astype(dtype, copy=False)

    def _cast_samples(self, X: HostArray) -> HostArray:
        """Samples that are streamed, with all the digits that the preprocessing needs."""
        if self.plan.host_mean is not None:
            return centred_on_host(X, self.plan.host_mean)
        arrays = self.plan.samples.preprocessing
        if X.dtype.kind == "f" and arrays and arrays[0].dtype != self.dtype:  # its mean is in float64
            return X.astype(dtype_name(arrays[0].dtype), copy=False)
        method = self.plan.method
        if X.dtype.itemsize == 8 and method.transform is None and method.augmentation is None:
            return X.astype(dtype_name(self.dtype))  # as the step would do; JAX may have no 64-bit integers
        return self._cast(X)

    def _copied(self, params: Params) -> Params:
        # To the device expressly, as a step's results are: else JAX would compile a run's first steps apart.
        copies = laid_out(params, xp=fast_namespace(self.xp), copy=True)
        return Params(*(to_device(array, self.device) for array in copies))

    def _public(self, params: Params) -> TwoLayerNet:
        return unpack(params, stacked=self.stacked, xp=self.xp)

    def _public_steps(self, steps: HostArray) -> Any:
        found = tuple(int(step) or None for step in steps)
        return found if self.stacked else found[0]

    def _public_numbers(self, numbers: HostArray, kind: type) -> Any:
        return numbers if self.stacked else kind(numbers[0])


def _steps(found: int | tuple[int | None, ...] | None) -> HostArray:
    """Steps of each network as (K,), 0 where there is none."""
    return np.asarray([step or 0 for step in (found if isinstance(found, tuple) else (found,))], np.int64)
