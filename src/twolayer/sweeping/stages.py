"""The training runs of a sweep, each of a stack of networks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from .._namespace import Array
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import stack
from ..training import Progress, Run
from ..training.data import Data
from ..training.plan import Settings, checked_data, planned
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
    stage: int = 0
    stopped: bool = False  # by a callback
    ended: bool = False  # whether the latest run took all its steps
    _latest: tuple[int | None, Prepared, Data | None] | None = field(default=None, repr=False)

    def train(self, members: list[Row], *, fold: int | None = None) -> tuple[Run, Preprocessing | None]:
        """Train a stack of runs, on the samples of one fold where preprocessing is fitted to these.

        Returns the run of the stack, and the fitted preprocessing of its networks.
        """
        self.stage += 1
        self.ended = False
        if self._latest is None or self._latest[0] != fold:
            self._latest = None  # only one fold is in memory
            how = {"fold": fold, "dtype": self.dtype, "in_steps": self.in_steps}
            own = prepared(self.X, self.y, self.shared, self.fit, **how)
            self._latest = fold, own, None
        _, own, data = self._latest
        nets = self._initial(members, own.n_features)
        settings = settings_of_stack(own.settings, members)
        settings = replace(settings, callbacks=[self._call_back] if self.shared.callbacks else ())
        if data is None:
            data = checked_data(nets, own.X, own.y, settings)
            self._latest = fold, own, data
        return carry_out(nets, planned(nets, data, settings)), own.preprocessing

    @property
    def cut_short(self) -> bool:
        """Whether a callback stopped the latest run before its last step was over."""
        return self.stopped and not self.ended

    def refit(self, winner: Row) -> tuple[Run, Preprocessing | None]:
        """Train the network of one candidate on all samples, without any to judge it by."""
        self.shared = replace(self.shared, validation=None, folds=None, patience=None, judge="last")
        self._latest = None
        return self.train([winner])

    def _initial(self, members: list[Row], n_features: int) -> TwoLayerNet:
        first = members[0]
        return stack(
            TwoLayerNet.initialize(
                n_features,
                first["n_hidden"],
                self.n_classes,
                rng=first["seed"],
                weight_scale=one["weight_scale"],
                xp=self.xp,
                dtype=self.dtype,
                device=self.device,
            )
            for one in members
        )

    def _call_back(self, progress: Progress) -> None:
        self.ended = progress.epoch_ended and progress.step == progress.steps

        def stop() -> None:
            self.stopped = True
            progress.stop()

        for callback in self.shared.callbacks:
            callback(replace(progress, stage=self.stage, stages=self.n_stages, stop=stop))
