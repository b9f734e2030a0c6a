"""The loop of a run: steps, epochs, validation, the best networks, and the result.

`Trainer.run` passes chunks of draws, of up to 256 steps each, from `Batches` to `Steps`. After each chunk it
reads the losses from the device and finds networks that diverged. At the end of each epoch it validates the
others, keeps the best ones, and removes networks that are finished. `Trainer.result` returns the state as a
`Run` at any time. A new run resumes a run of 0 steps (`begun`), so all runs start in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._forms import fast_namespace, laid_out
from .._namespace import Array, HostArray, array_namespace, device, from_host, own_dtypes, to_device, to_host
from ..mathematics import Params
from ..network import TwoLayerNet, pack, unpack
from .batches import Draws, prefetch
from .checkpoint import Checkpointer
from .execution import Steps, compiled, dividing, running, steps_at_once
from .history import History, Recorder, monitored, no_history, validated_at
from .judging import Judge
from .members import Members
from .plan import Plan, dropout_threshold
from .run import Progress, Run, ending, select
from .step import Samples, State, Varying, decay_factors, report, size, step
from .teaching import Teaching
from .trees import tree_leaves, tree_map


def carry_out(net: TwoLayerNet, plan: Plan, earlier: Run | None = None, *, until: int | None = None) -> Run:
    """Train a network or a stack by a plan, and return its run.

    Parameters
    ----------
    net : TwoLayerNet
        The network or stack to start from; the last network of ``earlier``, if that is given.
    plan : Plan
    earlier : Run, optional
        The run to resume.
    until : int, optional
        Stop after this many steps of the run, which must be at the end of an epoch.
    """
    with running(array_namespace(net.W1)), own_dtypes(net.W1), ending(plan.callbacks):
        trainer = Trainer(plan, earlier or begun(net, plan))
        trainer.run(until)
        run = trainer.result()
        # Not in `on_end`: that is called after Ctrl-C too, which may leave half of a step in the state.
        for callback in plan.callbacks:
            if isinstance(callback, Checkpointer):
                callback._finish(run)
        return run


def begun(net: TwoLayerNet, plan: Plan) -> Run:
    """Return a run of 0 steps, from which a new run is resumed."""
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
        validation_loss=math.nan,
        best_step=np.zeros(n_networks, np.int64),
        seed=plan.batches.seed,
        _moments=(nothing,) * plan.optimizer.n_moments,
    )


class Trainer:
    """A run in progress. A single network is a stack of one here.

    At an entry of the history, networks that diverged or whose patience ended leave the arrays of the run.
    """

    # Axes in the comments below: K networks at the beginning, P of them in the arrays (see `Members`).

    def __init__(self, plan: Plan, earlier: Run) -> None:
        self.plan, self.batches = plan, plan.batches
        W1 = earlier.last.W1
        self.xp, self.device, self.stacked = array_namespace(W1), device(W1), W1.ndim == 3
        self.recorder = Recorder(earlier.history)
        self.done = self.recorder.n_steps  # steps; the recorder lags behind until `_flush`
        average = None if earlier.average is None else self._packed(earlier.average)
        moments = tuple(map(self._packed, earlier._moments))
        self.state = State(self._packed(earlier.last), moments, average)
        self.best = self._packed(earlier.best)
        # Numbers of steps (K,); 0 means that a network was never validated, has not diverged or not stopped.
        self.best_step = np.atleast_1d(np.asarray(earlier.best_step, np.int64))
        score = monitored(*validated_at(earlier.history, self.best_step), plan.monitor)
        self.best_score = np.fmax(score, -np.inf)  # -inf where never validated
        self.diverged, self.stopped = _steps(earlier.diverged), _steps(earlier.stopped)
        self.members = Members(len(self.stopped), self.xp, self._on_device)
        self.constant = plan.constant(self._on_device, self.members.in_arrays)
        # A network that diverged after the last entry leaves at the end of the current epoch, as in a run
        # that was not interrupted.
        self.leave(self._over() & (np.maximum(self.diverged, self.stopped) <= self.recorder.last_entry))
        self.halted = False
        self.teaching = None
        if plan.teacher is not None:
            self.teaching = Teaching(plan, earlier.last.n_classes, steps_at_once(self.xp))
        self.steps = Steps(
            step,
            report,
            self.xp,
            optimizer=plan.optimizer,
            augmentation=plan.augmentation if self.teaching is None else self.teaching.augmentation,
            transform=plan.transform,
            input_dropout=int(dropout_threshold(plan.input_dropout)[0]),
            divide=dividing(self.device),
        )
        self.judge = Judge(plan, self.xp, self.device, self.constant.preprocessing)
        self.size = compiled(size, self.xp)

    def run(self, until: int | None = None) -> None:
        """Run the remaining steps, until a callback stops the run or no network is left to train.

        ``until`` is a number of steps at the end of an epoch, where to return; the next call resumes there.
        """
        until = self.plan.steps if until is None else min(until, self.plan.steps)
        if self._is_at_an_end() and self.recorder.last_entry < self.done:
            self._end_epoch()  # the run was saved after the last step of an epoch, before its entry
        if self._finished(until):
            return
        chunks = self._chunks(until)
        # Draws are prepared in another thread while steps run. A callable teacher needs this thread, because
        # settings such as PyTorch's `no_grad` and CuPy's current device hold for one thread only.
        calls = self.teaching is not None and self.teaching.calls
        for chunk in prefetch(chunks) if self.batches.noisy and not calls else chunks:
            self._take_steps(chunk)
            if self._is_at_an_end():
                self._end_epoch()
                self._call_back(epoch_ended=True)
            if self.halted or self._finished(until):
                return

    def leave(self, which: HostArray) -> None:
        """Remove the networks of a mask (K,) from the arrays, right after an entry of the history."""
        which = which & self.members.are_present()
        if which.any():
            before = self.state, self.best
            (params, moments, average), best = after = self.members.remove(which, before)
            if after is before:  # the arrays keep their width
                return
            # Copies, because `take` may give another memory order than the one in which steps are fast.
            average = None if average is None else self._copied(average)
            self.state = State(self._copied(params), tuple(map(self._copied, moments)), average)
            self.best = self._copied(best)
            self.constant = self.plan.constant(self._on_device, self.members.in_arrays)

    def _over(self) -> HostArray:
        """Return a mask (K,) of the networks that diverged, or whose patience ended."""
        return (self.diverged > 0) | (self.stopped > 0)

    def _is_at_an_end(self) -> bool:
        """Return whether an epoch, or the run, ends after the steps so far."""
        return self.done == self.plan.steps or self.done % self.batches.steps_per_epoch == 0

    def _finished(self, until: int) -> bool:
        """Return whether ``until`` steps are done, or all networks have left."""
        return self.done >= until or not self.members.present.size

    def _chunks(self, until: int) -> Iterator[tuple[Draws, Samples | None, Any]]:
        """Yield the draws of the steps up to ``until``, with batches or labels that the host gathers.

        The form is that of the first three fields of `Varying`.
        """
        train, streamed = self.plan.data.train, self.plan.stream
        # Labels are small: the host gathers those of many steps at once, which saves a call in each step.
        labels = to_host(train.y) if train.y.ndim == 1 and not streamed else None
        for draws in self.batches.draws(self.done, until):
            rows, cast_draws = draws.rows, tree_map(self.plan.cast, draws)
            if self.teaching is not None:
                yield from self.teaching.chunks(draws, cast_draws)
            elif streamed:
                yield cast_draws._replace(rows=None), self.plan.taken(train, rows), None
            else:
                yield cast_draws, None, None if labels is None else labels[rows]

    def _take_steps(self, chunk: tuple[Draws, Samples | None, Any]) -> None:
        """Run the steps of a chunk, until a callback stops the run."""
        n, scaled, networks = len(tree_leaves(chunk)[0]), self.plan.optimizer.scaled, self.members.in_arrays
        rates, decay = self._rates(self.done, n).take(networks, axis=1), None
        # The gradient is linear in `dlogits`. The learning rate is applied there, which saves a pass over W1.
        shares = (rates if scaled else np.ones_like(rates)) / self.batches.size(self.done)
        if scaled and self.constant.reg is not None:
            decay = decay_factors(rates, self.plan.reg[networks])
        numbers = rates, shares, decay, self._coefficients(self.done, n)
        varying = Varying(*chunk, *tree_map(self.plan.cast, numbers))
        for state, taken in self.steps.take(self.state, self.constant, varying, self._on_device):
            self.state = state
            self.done += taken
            self._call_back(epoch_ended=False)
            if self.halted:  # the rest of the chunk is not used; a resumed run draws it again
                break
        self._flush()

    def _rates(self, start: int, n: int) -> HostArray:
        """Return the learning rates (n, K) of the steps from ``start`` on."""
        factors = self.plan.schedule(
            np.arange(start, start + n), steps_per_epoch=self.batches.steps_per_epoch, steps=self.plan.steps
        )
        if np.shape(factors) != (n,):
            raise ValueError(f"`schedule` must return factors of shape ({n},); got {np.shape(factors)}")
        return np.asarray(factors)[:, None] * self.plan.learning_rate

    def _coefficients(self, start: int, n: int) -> HostArray:
        """Return the numbers (n, m) of the steps from ``start`` on that are the same for all networks."""
        steps = np.arange(start, start + n)
        coefficients = self.plan.optimizer.coefficients(steps)
        if self.plan.ema_decay is None:
            return coefficients
        # After the first step the average is the weights themselves: their share is 1.
        newest = np.where(steps == 0, 1.0, 1.0 - self.plan.ema_decay)
        return np.concatenate([coefficients, newest[:, None]], axis=1)

    def _flush(self) -> None:
        """Copy the losses of the steps so far to the host, which waits for the device; find divergence."""
        reported = self.steps.reported()
        if reported:
            joined = map(np.concatenate, zip(*reported, strict=True))
            loss, accuracy = map(self.members.spread, joined)
            bad = ~np.isfinite(loss) & self.members.are_present()  # (n, K)
            # The first bad step of each network, counted from 1; 0 for a network without one.
            found = np.where(bad.any(axis=0), self.recorder.n_steps + bad.argmax(axis=0) + 1, 0)
            self.diverged = np.where(self.diverged > 0, self.diverged, found)
            self.recorder.add_steps(loss, accuracy)

    def _end_epoch(self) -> None:
        """Make an entry of the history: validate, keep the best networks, and let finished ones leave."""
        alive = self.members.are_present() & (self.diverged == 0)
        # The losses are those before each update, so the last update of the epoch is checked here.
        bad = alive & ~np.isfinite(self.members.spread(to_host(self.size(self.state.params))))
        self.diverged = np.where(bad, self.done, self.diverged)
        alive &= ~bad
        per_epoch = self.batches.steps_per_epoch
        first = (self.done - 1) // per_epoch * per_epoch
        train_accuracy = self.judge.epoch_means(self.recorder.batch_accuracies(first), first)
        loss = accuracy = np.full(len(self.stopped), np.nan)
        judged, validation = self.state.average or self.state.params, self.plan.data.validation
        if validation is None:  # the latest networks count as the best
            self.best_step = np.where(self.members.are_present(), self.done, self.best_step)
        else:
            found = self.judge.on_validation(judged, self.members.in_arrays)
            loss, accuracy = map(self.members.spread, found)
        measured = [np.where(alive, a, np.nan) for a in (train_accuracy, loss, accuracy)]
        self.recorder.add_entry(self._rates(self.done - 1, 1)[0], *measured)
        score = monitored(measured[1], measured[2], self.plan.monitor)
        improved = score > self.best_score  # false where the score is nan
        if improved.any():
            self.best_score = np.where(improved, score, self.best_score)
            self.best_step = np.where(improved, self.done, self.best_step)
            self.best = self._chosen(improved[self.members.in_arrays], judged, self.best)
        if self.plan.patience is not None:
            # Entries without an improvement are counted in the history, so a resumed run counts the same.
            waited = np.asarray([self.recorder.entries_after(int(step)) for step in self.best_step])
            self.stopped = np.where(alive & (waited >= self.plan.patience), self.done, self.stopped)
        self.leave(self._over())

    def _chosen(self, mask: HostArray, new: Any, old: Any) -> Any:
        """Return the networks of ``new`` where the mask (P,) is true, else those of ``old``."""
        where = self._on_device(mask)

        def choose(a: Array, b: Array) -> Array:
            return self.xp.where(self.xp.reshape(where, (-1, *(1,) * (a.ndim - 1))), a, b)

        return tree_map(choose, new, old)

    def _call_back(self, *, epoch_ended: bool) -> None:
        """Call the callbacks. They get functions, so that only what a callback uses is computed."""
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
        """Return a copy of the networks as they are now; with ``ema_decay``, of their averages."""
        (params, _, average), _ = self.members.whole((self.state, self.best))
        return unpack(self._copied(average or params), stacked=self.stacked, xp=self.xp)

    def result(self, *, measured: bool = True) -> Run:
        """Return the run as it is now, with copies of all arrays.

        ``measured`` is whether to compute the judged networks' exact accuracies.
        """
        self._flush()
        (params, moments, average), best = self.members.whole((self.state, self.best))
        now, validation, every = average or params, self.plan.data.validation, np.arange(len(self.stopped))
        best_step, judges_last = self.best_step, self.plan.judge == "last"
        if validation is None:
            best, best_step = now, np.where(self.members.are_present(), self.done, self.best_step)
        judged = now if judges_last else best
        history = self.recorder.history()
        train_loss = train_accuracy = loss = accuracy = np.full(len(self.stopped), np.nan)
        if measured:
            train_loss, train_accuracy = self.judge.on_training(judged, every)
        if measured and validation is not None:
            loss, accuracy = validated_at(history, best_step)
            if judges_last:
                loss, accuracy = self.judge.on_validation(judged, every)
        # A diverged network is kept, but its accuracies would mean nothing.
        measures = [np.where(self.diverged > 0, np.nan, a) for a in (train_accuracy, accuracy, loss)]
        public_best, public_last = self._public(best), self._public(params)
        public_average = None if average is None else self._public(average)
        run = Run(
            net=(public_average or public_last) if judges_last else public_best,
            best=public_best,
            last=public_last,
            average=public_average,
            history=history,
            diverged=tuple(int(step) or None for step in self.diverged),
            stopped=tuple(int(step) or None for step in self.stopped),
            train_accuracy=measures[0],
            validation_accuracy=measures[1],
            validation_loss=measures[2],
            best_step=best_step.copy(),
            seed=self.batches.seed,
            preprocessing=self.plan.preprocessing,
            _train_loss=train_loss,
            teacher_seconds=0.0 if self.teaching is None else self.teaching.seconds,
            _moments=tuple(map(self._public, moments)),
            _fingerprint=dict(self.plan.fingerprint),
        )
        return run if self.stacked else select(run, 0)

    def _on_device(self, host: HostArray) -> Array:
        return from_host(host, xp=self.xp, device=self.device)

    def _packed(self, net: TwoLayerNet) -> Params:
        return self._copied(pack(net, xp=self.xp))

    def _copied(self, params: Params) -> Params:
        # Put on the device explicitly, as the results of a step are. Otherwise JAX would compile the first
        # steps of a run separately, for arrays that are not committed to a device.
        copies = laid_out(params, xp=fast_namespace(self.xp), copy=True)
        return Params(*(to_device(array, self.device) for array in copies))

    def _public(self, params: Params) -> TwoLayerNet:
        return unpack(self._copied(params), stacked=True, xp=self.xp)


def _steps(found: int | tuple[int | None, ...] | None) -> HostArray:
    """Return the steps of each network as (K,); 0 stands for None."""
    return np.asarray([step or 0 for step in (found if isinstance(found, tuple) else (found,))], np.int64)
