"""The loop of a run: steps, epochs, validation, the best networks, and the result."""

from __future__ import annotations

import math
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
    rows_of,
    to_device,
    to_host,
)
from .._validation import row_blocks
from ..mathematics import Params
from ..network import TwoLayerNet, evaluate, pack, unpack, widest
from .batches import Draws, prefetch
from .execution import Steps, prepared, running
from .history import History, Recorder, no_history
from .plan import Plan, dropout_threshold
from .run import Progress, Run, select
from .step import Samples, State, Varying, decay_factors, report, size, step
from .trees import tree_leaves, tree_map


def carry_out(net: TwoLayerNet, plan: Plan, earlier: Run | None = None) -> Run:
    """Train a network, or a stack, by a plan; go on from ``earlier``, of which ``net`` is the last."""
    with running(array_namespace(net.W1)), own_dtypes(net.W1):
        trainer = Trainer(plan, earlier or _begun(net, plan))
        trainer.run()
        return trainer.result()


def _begun(net: TwoLayerNet, plan: Plan) -> Run:
    """Return a run without any steps, from which a new one goes on."""
    n_networks, never = net.n_networks or 1, (None,) * (net.n_networks or 1)
    nothing = TwoLayerNet(*map(array_namespace(net.W1).zeros_like, net))
    return Run(
        net=net,
        best=net,
        last=net,
        average=None if plan.ema_decay is None else net,
        history=no_history(n_networks),
        diverged=never,
        stopped=never,
        train_accuracy=math.nan,
        validation_accuracy=math.nan,
        best_step=np.zeros(n_networks, np.int64),
        seed=plan.batches.seed,
        _best_accuracy=np.full(n_networks, -1.0),
        _moments=(nothing,) * plan.optimizer.n_moments,
    )


class Trainer:
    """A run in progress. Inside, one network is a stack of one."""

    def __init__(self, plan: Plan, earlier: Run) -> None:
        self.plan, self.batches = plan, plan.batches
        W1 = earlier.last.W1
        self.xp, self.device, self.stacked = array_namespace(W1), device(W1), W1.ndim == 3
        self.recorder = Recorder(earlier.history)
        self.done = self.recorder.n_steps
        average = None if earlier.average is None else self._packed(earlier.average)
        moments = tuple(map(self._packed, earlier._moments))
        self.state = State(self._packed(earlier.last), moments, average)
        self.best, self.best_accuracy = self._packed(earlier.best), earlier._best_accuracy
        # Steps of each network (K,), 0 where there is none.
        self.best_step = np.atleast_1d(np.asarray(earlier.best_step, np.int64))
        self.diverged, self.stopped = _steps(earlier.diverged), _steps(earlier.stopped)
        # The networks whose patience ended, as they were then; the places of the others mean nothing.
        self.ended: tuple[Params, Params | None] | None = None
        if self.stopped.any():
            self._keep_ended(self.stopped > 0)
        self.constant = plan.constant(self._on_device)
        self.halted = False
        self.steps = Steps(
            step,
            report,
            self.xp,
            optimizer=plan.optimizer,
            augmentation=plan.augmentation,
            transform=plan.transform,
            input_dropout=int(dropout_threshold(plan.input_dropout)[0]),
        )
        self.evaluate = prepared(evaluate, self.xp, transform=plan.transform)
        self.size = prepared(size, self.xp)

    def run(self) -> None:
        """Take the steps that are left, until a callback stops them or no network is left to train."""
        if self._is_at_an_end() and self.recorder.last_entry < self.done:
            self._end_epoch()  # the run was taken between a step and its entry
        if self._finished():
            return
        chunks = self._chunks()
        for chunk in prefetch(chunks) if self.batches.noisy else chunks:
            self._take_steps(chunk)
            if self._is_at_an_end():
                self._end_epoch()
                self._call_back(epoch_ended=True)
            if self.halted or self._finished():
                return

    def _is_at_an_end(self) -> bool:
        """Whether an epoch, or the run, ends after the steps so far."""
        return self.done == self.plan.steps or self.done % self.batches.steps_per_epoch == 0

    def _finished(self) -> bool:
        """Whether all steps are done, or nothing is left to train after the latest entry."""
        over = self.done == self.recorder.last_entry and bool(np.all(self.diverged + self.stopped))
        return self.done >= self.plan.steps or over

    def _chunks(self) -> Iterator[tuple[Draws, Samples | None, HostArray | None]]:
        """The draws of the remaining steps, with their batches or labels where the host has these."""
        train, streamed = self.plan.data.train, self.plan.stream
        # On the host those of many steps are taken at once.
        labels = to_host(train.y) if train.y.ndim == 1 and not streamed else None
        for draws in self.batches.draws(self.done, self.plan.steps):
            rows, cast_draws = draws.rows, tree_map(self.plan.cast, draws)
            if streamed:
                yield cast_draws._replace(rows=None), self._taken(train, rows), None
            else:
                yield cast_draws, None, None if labels is None else labels[rows]

    def _taken(self, samples: Samples, rows: HostArray | slice) -> Samples:
        """Rows of samples that are streamed, as the device takes them."""
        taken: Samples = tree_map(lambda array: array[rows, ...], samples)
        return taken._replace(X=self.plan.cast_samples(taken.X))

    def _take_steps(self, chunk: tuple[Draws, Samples | None, HostArray | None]) -> None:
        """Take the steps of a chunk, until a callback stops the run."""
        n, scaled = len(tree_leaves(chunk)[0]), self.plan.optimizer.scaled
        rates, decay = self._rates(self.done, n), None
        # The gradient is linear in `dlogits`: the learning rate, applied there, costs no pass over W1.
        shares = (rates if scaled else np.ones_like(rates)) / self.batches.size(self.done)
        if scaled and self.constant.reg is not None:
            decay = decay_factors(rates, self.plan.reg)
        numbers = rates, shares, decay, self._coefficients(self.done, n)
        varying = Varying(*chunk, *tree_map(self.plan.cast, numbers))
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

    def _end_epoch(self) -> None:
        alive = (self.diverged == 0) & (self.stopped == 0)
        bad = alive & ~np.isfinite(to_host(self.size(self.state.params)))
        self.diverged = np.where(bad, self.done, self.diverged)
        alive &= ~bad
        per_epoch = self.batches.steps_per_epoch
        first = (self.done - 1) // per_epoch * per_epoch
        train_accuracy = self._mean_accuracy(self.recorder.batch_accuracies(first), first)
        loss = accuracy = np.full(len(self.stopped), np.nan)
        judged, validation = self.state.average or self.state.params, self.plan.data.validation
        if validation is not None:
            loss, accuracy = self._judge(judged, validation)
        measured = [np.where(alive, a, np.nan) for a in (train_accuracy, loss, accuracy)]
        self.recorder.add_entry(self._rates(self.done - 1, 1)[0], *measured)
        improved = measured[-1] > self.best_accuracy  # never where the accuracy is nan
        if improved.any():
            self.best_accuracy = np.where(improved, accuracy, self.best_accuracy)
            self.best_step = np.where(improved, self.done, self.best_step)
            self.best = self._chosen(improved, judged, self.best)
        if self.plan.patience is not None:
            waited = np.asarray([self.recorder.entries_after(int(step)) for step in self.best_step])
            over = alive & (waited >= self.plan.patience)
            if over.any():
                self.stopped = np.where(over, self.done, self.stopped)
                self._keep_ended(over)

    def _keep_ended(self, which: HostArray) -> None:
        """Keep the networks of a mask (K,) as they are now."""
        now = self.state.params, self.state.average
        self.ended = self._chosen(which, now, self.ended or now)

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
        params, average = self._networks()
        return unpack(self._copied(average or params), stacked=self.stacked, xp=self.xp)

    def _networks(self) -> tuple[Params, Params | None]:
        """Networks and their averages, of those whose patience ended as they were then."""
        now = self.state.params, self.state.average
        return now if self.ended is None else self._chosen(self.stopped > 0, self.ended, now)

    def result(self, *, measured: bool = True) -> Run:
        """Return the run as it is now: copies, and where wanted the judged network's exact accuracies."""
        self._flush()
        params, average = self._networks()
        now, train, validation = average or params, self.plan.data.train, self.plan.data.validation
        best, best_step, judges_last = self.best, self.best_step, self.plan.judge == "last"
        if validation is None:
            best, best_step = now, np.where(self.stopped > 0, self.stopped, self.done)
        judged = now if judges_last else best
        train_accuracy = validation_accuracy = np.full(len(self.stopped), np.nan)
        if measured:
            unweighted = train._replace(sample_weight=None, own=None)
            train_accuracy = self._judge(judged, unweighted, trained_on=True)[1]
        if measured and validation is not None:
            validation_accuracy = np.where(self.best_accuracy < 0, np.nan, self.best_accuracy)
            if judges_last:
                validation_accuracy = self._judge(judged, validation)[1]
        public_best, public_last = self._public(best), self._public(params)
        public_average = None if average is None else self._public(average)
        run = Run(
            net=(public_average or public_last) if judges_last else public_best,
            best=public_best,
            last=public_last,
            average=public_average,
            history=self.recorder.history(),
            diverged=tuple(int(step) or None for step in self.diverged),
            stopped=tuple(int(step) or None for step in self.stopped),
            train_accuracy=np.where(self.diverged > 0, np.nan, train_accuracy),
            validation_accuracy=np.where(self.diverged > 0, np.nan, validation_accuracy),
            best_step=best_step.copy(),
            seed=self.batches.seed,
            preprocessing=self.plan.preprocessing,
            _best_accuracy=self.best_accuracy.copy(),
            _moments=tuple(map(self._public, self.state.moments)),
            _fingerprint=dict(self.plan.fingerprint),
        )
        return run if self.stacked else select(run, 0)

    def _mean_accuracy(self, accuracies: HostArray, first: int) -> HostArray:
        """Mean (K,) of the accuracies (n, K) of an epoch's batches from step ``first`` on, by their sizes."""
        last, folds = first + len(accuracies), self.plan.folds
        if folds is None:
            sizes = np.asarray([self.batches.size(i) for i in range(first, last)], np.float64)
            return np.asarray(sizes @ accuracies / sizes.sum())
        own, (epoch, within) = folds.own(self.batches.n_samples), divmod(first, self.batches.steps_per_epoch)
        batches = self.batches.rows(epoch, within, within + len(accuracies))
        counts = np.concatenate([own[rows].sum(axis=1) for rows in batches])[:, self.plan.fold]
        return np.asarray((counts * accuracies).sum(axis=0) / counts.sum(axis=0))

    def _judge(
        self, params: Params, samples: Samples, *, trained_on: bool = False
    ) -> tuple[HostArray, HostArray]:
        """Evaluate each network on all samples; with folds, on those that it was or was not trained on."""
        folds, fold = self.plan.folds, self.plan.fold
        if folds is None or fold is None:
            return self._evaluate(params, samples)
        found = []
        for i in np.unique(fold).tolist():
            first, last = np.searchsorted(fold, (i, i + 1)).tolist()
            part = tree_map(lambda array, first=first, last=last: array[first:last, ...], params)
            found.append(self._evaluate(part, samples, (folds.trained if trained_on else folds.held_out)[i]))
        losses, accuracies = zip(*found, strict=True)
        return np.concatenate(losses), np.concatenate(accuracies)

    def _evaluate(
        self, params: Params, samples: Samples, rows: HostArray | None = None
    ) -> tuple[HostArray, HostArray]:
        """Mean cross-entropy and accuracy of each network (K,) on samples, or rows of them, by weight."""
        n_samples, weights = samples.X.shape[0] if rows is None else len(rows), samples.sample_weight
        whole: Any = n_samples
        if weights is not None:
            host = to_host(weights).astype(np.float64)
            whole = (host if rows is None else host[rows]).sum()
        blocks: Any = [slice(0, n_samples)]
        if self.plan.stream:
            blocks = row_blocks(n_samples, max(samples.X.shape[1], widest(params)))
        elif rows is not None:
            there = self._on_device(rows)
            samples = tree_map(lambda array: rows_of(array, there, xp=self.xp), samples)
        total = np.zeros((3, params.W1.shape[0]))
        for block in blocks:
            part = samples
            if self.plan.stream:
                taken = self._taken(samples, block if rows is None else rows[block])
                part = tree_map(self._on_device, taken)
            found = self.evaluate(params, *part[:3], self.constant.preprocessing)
            total += np.stack([to_host(array).astype(np.float64) for array in found])
        losses, right, n_blocks_of_nan = total
        return losses / whole, np.where(n_blocks_of_nan > 0, np.nan, right / whole)

    def _on_device(self, host: HostArray) -> Array:
        return from_host(host, xp=self.xp, device=self.device)

    def _packed(self, net: TwoLayerNet) -> Params:
        return self._copied(pack(net, xp=self.xp))

    def _copied(self, params: Params) -> Params:
        # To the device expressly, as a step's results are: else JAX would compile a run's first steps apart.
        copies = laid_out(params, xp=fast_namespace(self.xp), copy=True)
        return Params(*(to_device(array, self.device) for array in copies))

    def _public(self, params: Params) -> TwoLayerNet:
        return unpack(self._copied(params), stacked=True, xp=self.xp)


def _steps(found: int | tuple[int | None, ...] | None) -> HostArray:
    """Steps of each network as (K,), 0 where there is none."""
    return np.asarray([step or 0 for step in (found if isinstance(found, tuple) else (found,))], np.int64)
