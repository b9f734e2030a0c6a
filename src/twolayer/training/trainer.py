"""The loop of a run: steps, epochs, validation, the best networks, and the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._forms import fast_namespace, laid_out
from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    from_host,
    own_dtypes,
    to_device,
    to_host,
)
from .._validation import row_blocks
from ..mathematics import Params
from ..network import TwoLayerNet, evaluate, pack, unpack, widest
from .batches import Draws, prefetch
from .execution import Steps, prepared, running
from .history import History, Recorder
from .plan import Plan
from .run import Progress, Run, select
from .step import Constant, Samples, State, Varying, decay_factors, report, size, step
from .trees import tree_leaves, tree_map


def carry_out(net: TwoLayerNet, plan: Plan, earlier: Run | None = None) -> Run:
    """Train a network, or a stack, by a plan; go on from ``earlier``, of which ``net`` is the last."""
    with running(array_namespace(net.W1)), own_dtypes(net.W1):
        trainer = Trainer(net, plan, earlier)
        trainer.run()
        return trainer.result()


class Trainer:
    """A run in progress. Inside, one network is a stack of one."""

    def __init__(self, net: TwoLayerNet, plan: Plan, earlier: Run | None) -> None:
        self.xp, self.plan, self.batches = array_namespace(net.W1), plan, plan.batches
        self.stacked, self.device = net.n_networks is not None, device(net.W1)
        xp, n_networks = self.xp, net.n_networks or 1
        self.recorder = Recorder(n_networks, None if earlier is None else earlier.history)
        self.done = self.recorder.n_steps
        params = self._packed(net)
        if earlier is None:
            n_moments = plan.optimizer.n_moments
            moments = tuple(Params(*map(xp.zeros_like, params)) for _ in range(n_moments))
            average = None if plan.ema_decay is None else self._copied(params)
            self.best = self._copied(params)
            self.best_accuracy = np.full(n_networks, -1.0)
            self.best_step = self.diverged = self.stopped = np.zeros(n_networks, np.int64)  # 0: never
        else:
            moments = tuple(map(self._packed, earlier._moments))
            average = None if earlier.average is None else self._packed(earlier.average)
            self.best = self._packed(earlier.best)
            self.best_accuracy = earlier._best_accuracy
            self.best_step = np.atleast_1d(np.asarray(earlier.best_step, np.int64))
            self.diverged, self.stopped = _steps(earlier.diverged), _steps(earlier.stopped)
        self.state = State(params, moments, average)
        # The networks whose patience ended, as they were then; the places of the others mean nothing.
        self.ended = params, average
        if plan.patience is not None or self.stopped.any():
            self.ended = self._copied(params), None if average is None else self._copied(average)
        self.validation_weight = 0.0
        if plan.data.validation is not None and plan.data.validation.sample_weight is not None:
            self.validation_weight = to_host(plan.data.validation.sample_weight).astype(np.float64).sum()
        self.constant = Constant(
            samples=None if plan.data.streamed else plan.data.train,
            preprocessing=tuple(map(self._on_device, plan.arrays)),
            reg=self._each(plan.reg, plan.dtype),
            dropout=self._each(plan.dropout, "uint8"),
            label_smoothing=self._each(plan.label_smoothing, plan.dtype),
        )
        self.halted = False
        self.steps = Steps(
            step,
            report,
            xp,
            optimizer=plan.optimizer,
            augmentation=plan.augmentation,
            transform=plan.transform,
            input_dropout=plan.input_dropout,
        )
        self.evaluate = prepared(evaluate, xp, transform=plan.transform)
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
        for chunk in prefetch(chunks) if self.batches.noisy else chunks:
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

    def _chunks(self) -> Iterator[tuple[Draws, Samples | None, HostArray | None]]:
        """The draws of the remaining steps, with their batches or labels where the host has these."""
        X, y, sample_weight = self.plan.data.train
        streamed = self.plan.data.streamed
        # On the host those of many steps are taken at once.
        labels = to_host(y) if y.ndim == 1 and not streamed else None
        for draws in self.batches.draws(self.done, self.plan.steps):
            rows, batch = draws.rows, None
            draws = draws._replace(augmentation=tree_map(self.plan.cast, draws.augmentation))
            if streamed:
                weights = None if sample_weight is None else sample_weight[rows]
                batch = Samples(self.plan.cast_samples(X[rows]), y[rows], weights)
                draws = draws._replace(rows=None)
            yield draws, batch, None if labels is None else labels[rows]

    def _take_steps(self, chunk: tuple[Draws, Samples | None, HostArray | None]) -> None:
        """Take the steps of a chunk, until a callback stops the run."""
        n = len(tree_leaves(chunk)[0])
        rates, scaled = self._rates(self.done, n), self.plan.optimizer.scaled
        decays = scaled and self.constant.reg is not None
        # The gradient is linear in `dlogits`: the learning rate, applied there, costs no pass over W1.
        shares = (rates if scaled else np.ones_like(rates)) / self.batches.size(self.done)
        varying = Varying(
            *chunk,
            learning_rate=rates.astype(self.plan.dtype),
            share=shares.astype(self.plan.dtype),
            decay=decay_factors(rates, self.plan.reg).astype(self.plan.dtype) if decays else None,
            coefficients=self._coefficients(self.done, n).astype(self.plan.dtype),
        )
        for state, taken in self.steps.take(self.state, self.constant, varying, self._on_device):
            self.state = state
            self.done += taken
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
        coefficients = self.plan.optimizer.coefficients(steps)
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
        train_accuracy = sizes @ self.recorder.batch_accuracies(first) / sizes.sum()
        loss = accuracy = np.full(len(self.stopped), np.nan)
        judged, validation = _judged(self.state.params, self.state.average), self.plan.data.validation
        if validation is not None:
            loss, accuracy = self._evaluate(judged, *validation)
        alive = (self.diverged == 0) & (self.stopped == 0)
        measured = [np.where(alive, a, np.nan) for a in (train_accuracy, loss, accuracy)]
        self.recorder.add_entry(self._rates(self.done - 1, 1)[0], *measured)
        if validation is not None:
            self._keep_best(measured[-1], judged)
            self._lose_patience(alive)

    def _keep_best(self, accuracy: HostArray, judged: Params) -> None:
        improved = accuracy > self.best_accuracy  # never where the accuracy is nan
        if improved.any():
            self.best_accuracy = np.where(improved, accuracy, self.best_accuracy)
            self.best_step = np.where(improved, self.done, self.best_step)
            self.best = self._chosen(improved, judged, self.best)

    def _lose_patience(self, alive: HostArray) -> None:
        """End the training of the networks that have not become better for too long."""
        if self.plan.patience is None:
            return
        waited = np.asarray([self.recorder.entries_after(int(step)) for step in self.best_step])
        over = alive & (waited >= self.plan.patience)
        if over.any():
            self.stopped = np.where(over, self.done, self.stopped)
            self.ended = self._chosen(over, (self.state.params, self.state.average), self.ended)

    def _chosen(self, mask: HostArray, new: Any, old: Any) -> Any:
        """Networks of ``new`` where the mask (K,) is true, else of ``old``."""
        where = self._on_device(mask)

        def choose(a: Array, b: Array) -> Array:
            return self.xp.where(self.xp.reshape(where, (-1, *(1,) * (a.ndim - 1))), a, b)

        return tree_map(choose, new, old)

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
            net=self.net,
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
        history = self.recorder.history()
        return history if self.stacked else history.select(0)

    def net(self) -> TwoLayerNet:
        """Return a copy of the networks, or of their averages, as they are now."""
        return unpack(self._copied(_judged(*self._networks())), stacked=self.stacked, xp=self.xp)

    def _networks(self) -> tuple[Params, Params | None]:
        """Networks and their averages, of those whose patience ended as they were then."""
        now = self.state.params, self.state.average
        return self._chosen(self.stopped > 0, self.ended, now) if self.stopped.any() else now

    def result(self, *, measured: bool = True) -> Run:
        """Return the run as it is now: copies, and where wanted the judged network's exact accuracies."""
        self._flush()
        params, average = self._networks()
        now = _judged(params, average)
        data, last_judged = self.plan.data, self.plan.judge == "last"
        best, best_step = self.best, self.best_step
        if data.validation is None:
            best, best_step = now, np.where(self.stopped > 0, self.stopped, self.done)
        judged = now if last_judged else best
        train_accuracy = validation_accuracy = np.full(len(self.stopped), np.nan)
        if measured:
            train_accuracy = self._accuracy(judged, data.train.X, data.train.y)
        if measured and data.validation is not None:
            known = (self.best_accuracy >= 0) & (self.diverged == 0)
            validation_accuracy = np.where(known, self.best_accuracy, np.nan)
            if last_judged:
                validation_accuracy = self._accuracy(judged, *data.validation)
        public_best, public_last = self._public(best), self._public(params)
        public_average = None if average is None else self._public(average)
        run = Run(
            net=(public_average or public_last) if last_judged else public_best,
            best=public_best,
            last=public_last,
            average=public_average,
            history=self.recorder.history(),
            diverged=tuple(int(step) or None for step in self.diverged),
            stopped=tuple(int(step) or None for step in self.stopped),
            train_accuracy=train_accuracy,
            validation_accuracy=validation_accuracy,
            best_step=best_step.copy(),
            seed=self.batches.seed,
            preprocessing=data.preprocessing,
            _best_accuracy=self.best_accuracy.copy(),
            _moments=tuple(map(self._public, self.state.moments)),
            _fingerprint=dict(self.plan.fingerprint),
        )
        return run if self.stacked else select(run, 0)

    def _evaluate(
        self, params: Params, X: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[HostArray, HostArray]:
        """Mean cross-entropy and accuracy of each network (K,), by the samples' weights."""
        n_samples, arrays = X.shape[0], self.constant.preprocessing
        blocks: Any = [slice(0, n_samples)]
        if self.plan.data.streamed:
            blocks = row_blocks(n_samples, max(X.shape[1], widest(params)))
        total = np.zeros((3, len(self.stopped)))
        for rows in blocks:
            weights = None if sample_weight is None else sample_weight[rows]
            part = X[rows, ...], y[rows, ...], weights
            if self.plan.data.streamed:
                part = tree_map(self._on_device, (self.plan.cast_samples(part[0]), *part[1:]))
            total += np.stack([to_host(a).astype(np.float64) for a in self.evaluate(params, *part, arrays)])
        losses, right, n_blocks_of_nan = total
        whole = n_samples if sample_weight is None else self.validation_weight
        return losses / whole, np.where(n_blocks_of_nan > 0, np.nan, right / whole)

    def _accuracy(self, params: Params, *samples: Array) -> HostArray:
        """Exact accuracy of each network (K,), nan where it diverged."""
        return np.where(self.diverged > 0, np.nan, self._evaluate(params, *samples)[1])

    def _on_device(self, host: HostArray) -> Array:
        return from_host(host, xp=self.xp, device=self.device)

    def _each(self, numbers: HostArray, dtype: str) -> Array | None:
        """Numbers (K,) on the device, None where all are 0."""
        return self._on_device(numbers.astype(dtype)) if numbers.any() else None

    def _packed(self, net: TwoLayerNet) -> Params:
        return self._copied(pack(net, xp=self.xp))

    def _copied(self, params: Params) -> Params:
        # To the device expressly, as a step's results are: else JAX would compile a run's first steps apart.
        copies = laid_out(params, xp=fast_namespace(self.xp), copy=True)
        return Params(*(to_device(array, self.device) for array in copies))

    def _public(self, params: Params) -> TwoLayerNet:
        return unpack(self._copied(params), stacked=True, xp=self.xp)


def _judged(params: Params, average: Params | None) -> Params:
    """Networks that validation looks at: the averages where there are any."""
    return params if average is None else average


def _steps(found: int | tuple[int | None, ...] | None) -> HostArray:
    """Steps of each network as (K,), 0 where there is none."""
    return np.asarray([step or 0 for step in (found if isinstance(found, tuple) else (found,))], np.int64)
