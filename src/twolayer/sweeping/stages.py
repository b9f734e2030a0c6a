"""The training runs of a sweep, each of a stack of networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, NamedTuple

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


class Rung(NamedTuple):
    """The end of an epoch at which candidates leave: its number, from 1, and how many epochs are done."""

    number: int
    epochs: int


@dataclass
class Stages:
    """Everything that the training runs of a sweep share.

    Parameters
    ----------
    runs : list of dict
        The settings of each network.
    stacks : list of list of int
        The numbers of the networks that train together.
    n_stages : int
        How many runs there will be.
    X, y : array
        All samples.
    shared : Settings
        The settings of all runs.
    fit : callable or None
        Fits the preprocessing, as `prepared` needs it.
    n_classes : int
    xp, dtype, device
        The library, dtype and place of the networks.
    """

    runs: list[Row]
    stacks: list[list[int]]
    n_stages: int
    X: Array
    y: Array
    shared: Settings
    fit: Fit | None
    n_classes: int
    xp: ModuleType
    dtype: Any
    device: Any
    stopped: bool = False  # by a callback
    rung_of: dict[int, Rung] | None = None  # with halving, by the numbers of the networks that left at a rung
    ended: set[int] = field(default_factory=set)  # the numbers of the runs that took all their steps
    fitted: dict[int, Preprocessing | None] = field(default_factory=dict)  # by the numbers of the runs
    _latest: tuple[int | None, Prepared, Data | None] | None = field(default=None, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings in which candidates differ: the networks of one differ in the seed and the fold."""
        return tuple(key for key in self.runs[0] if key not in ("seed", "fold"))

    def starts(self) -> Iterator[tuple[TwoLayerNet, Plan]]:
        """Yield the first networks of each stack, and the plan of its run, until a callback stops a run."""
        for number, members in enumerate(self.stacks, start=1):
            yield self._start(number, [self.runs[i] for i in members])
            if self.stopped:
                return

    def refit(self, winner: Row, n_epochs: int) -> tuple[Run, bool]:
        """Train the network of one candidate on all samples, without validation.

        Return its run, and whether it is complete: no callback stopped it before its last step.
        """
        self.shared = replace(self.shared, validation=None, folds=None, patience=None, judge="last")
        self._latest = None
        net, plan = self._start(self.n_stages, [winner])
        until = min(n_epochs * plan.batches.steps_per_epoch, plan.steps)
        run = carry_out(net, plan, until=until)
        return select(run, 0), run.n_steps == until or not self.stopped

    def _start(self, number: int, members: list[Row]) -> tuple[TwoLayerNet, Plan]:
        # Each fold has samples of its own if the preprocessing is fitted to them; only one's are kept.
        fold = None if self.fit is None else members[0].get("fold")
        if self._latest is None or self._latest[0] != fold:
            self._latest = None
            augmentations = (one.get("augmentation", self.shared.augmentation) for one in self.runs)
            in_steps = self.shared.stream or any(one is not None for one in augmentations)
            how = {"fold": fold, "dtype": self.dtype, "in_steps": in_steps}
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
