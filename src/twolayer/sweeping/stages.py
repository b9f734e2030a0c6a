"""The training runs of a sweep, each of a stack of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from .._namespace import Array
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import stack
from ..training import Callback, Progress, Run
from ..training.data import Data
from ..training.plan import Plan, Settings, checked_data, planned
from ..training.run import select
from ..training.trainer import carry_out
from .candidates import settings_of_stack
from .comparison import Row
from .prepared import Fit, Prepared, prepared


@dataclass
class Stages:
    """Everything that the training runs of a sweep share.

    Parameters
    ----------
    X, y : array
        All samples.
    shared : Settings
        The settings of all runs.
    fit : callable or None
        Fits the preprocessing, as `prepared` needs it.
    n_classes : int
    xp, dtype, device
        The library, dtype and place of the networks.
    in_steps : bool
        Whether each step preprocesses its batch, as `prepared` says.
    n_stages : int
        How many runs there will be.
    """

    X: Array
    y: Array
    shared: Settings
    fit: Fit | None
    n_classes: int
    xp: ModuleType
    dtype: Any
    device: Any
    in_steps: bool
    n_stages: int
    stopped: bool = False  # by a callback
    ended: set[int] = field(default_factory=set)  # the numbers of the runs that took all their steps
    fitted: dict[int, Preprocessing | None] = field(default_factory=dict)  # by the numbers of the runs
    _latest: tuple[int | None, Prepared, Data | None] | None = field(default=None, repr=False)

    def starts(self, stacks: Iterable[list[Row]]) -> Iterator[tuple[TwoLayerNet, Plan]]:
        """Yield the first networks of each stack, and the plan of its run, until a callback stops a run."""
        for number, members in enumerate(stacks, start=1):
            yield self._start(number, members)
            if self.stopped:
                return

    @property
    def cut_short(self) -> bool:
        """Whether a callback stopped the last run of all before its last step was over."""
        return self.stopped and self.n_stages not in self.ended

    def refit(self, winner: Row, n_epochs: int) -> tuple[Run, Preprocessing | None]:
        """Train the network of one candidate on all samples, without any to judge it by."""
        self.shared = replace(self.shared, validation=None, folds=None, patience=None, judge="last")
        self._latest = None
        net, plan = self._start(self.n_stages, [winner])
        until = min(n_epochs * plan.batches.steps_per_epoch, plan.steps)
        run = carry_out(net, plan, until=until)
        if run.n_steps == until:
            self.ended.add(self.n_stages)
        return select(run, 0), self.fitted[self.n_stages]

    def _start(self, number: int, members: list[Row]) -> tuple[TwoLayerNet, Plan]:
        # Each fold has samples of its own if the preprocessing is fitted to them; only one's are kept.
        fold = None if self.fit is None else members[0].get("fold")
        if self._latest is None or self._latest[0] != fold:
            self._latest = None
            how = {"fold": fold, "dtype": self.dtype, "in_steps": self.in_steps}
            self._latest = fold, prepared(self.X, self.y, self.shared, self.fit, **how), None
        _, own, data = self._latest
        self.fitted[number] = own.preprocessing
        nets = self._initial(members, own.n_features)
        settings = settings_of_stack(own.settings, members)
        settings = replace(settings, callbacks=self._callbacks(number))
        if data is None:
            data = checked_data(nets, own.X, own.y, settings)
            self._latest = fold, own, data
        return nets, planned(nets, data, settings)

    def _initial(self, members: list[Row], n_features: int) -> TwoLayerNet:
        n_hidden, seed = members[0]["n_hidden"], members[0]["seed"]
        place = {"xp": self.xp, "dtype": self.dtype, "device": self.device}
        scales = [one["weight_scale"] for one in members]
        nets = {
            scale: TwoLayerNet.initialize(
                n_features, n_hidden, self.n_classes, rng=seed, weight_scale=scale, **place
            )
            for scale in dict.fromkeys(scales)
        }
        return stack(nets[scale] for scale in scales)

    def _callbacks(self, number: int) -> tuple[Callback, ...]:
        """Return the callbacks of a sweep as one of a training run, which notes whether they stopped it."""

        def call(progress: Progress) -> None:
            if progress.epoch_ended and progress.step == progress.steps:
                self.ended.add(number)

            def stop() -> None:
                self.stopped = True
                progress.stop()

            for callback in self.shared.callbacks:
                callback(replace(progress, stage=number, stages=self.n_stages, stop=stop))

        return (call,) if self.shared.callbacks else ()
