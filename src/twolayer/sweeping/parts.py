"""The parts of a sweep: stacks of networks that any process can train."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .._files import check_can_be_written
from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    own_dtypes,
    standard_namespace,
    undisturbed,
)
from .._validation import check_array
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import stack
from ..training import Callback, Progress, Run
from ..training.checkpoint import Checkpointer, load_run, save_run
from ..training.data import Data
from ..training.execution import running
from ..training.fingerprint import (
    Fingerprint,
    check_same,
    described,
    described_array,
    described_preprocessing,
)
from ..training.plan import Settings, checked_data, planned
from ..training.run import checked_callbacks, ending, without_preprocessed
from ..training.teaching import described_teacher
from ..training.trainer import Trainer, begun
from .candidates import settings_of_stack
from .comparison import Row
from .prepared import Fit, Prepared, prepared

# Fields of `Settings` that a sweep stores elsewhere, or that may change when it resumes.
_LEFT_OUT = ("validation", "sample_weight", "callbacks", "stream", "fold", "rng", "batch_size", "teacher")
_PART = "part"  # key in the fingerprint of a part's run


class Given(NamedTuple):
    """The array arguments of a sweep."""

    X: Array
    y: Array
    validation: tuple[Array, ...] | None
    sample_weight: Array | None

    def fingerprint(self) -> Fingerprint:
        """Return texts that distinguish these arrays from others."""
        validation = dict(zip(("X", "y", "sample_weight"), self.validation or (), strict=False))
        own = {"X": self.X, "y": self.y, "sample_weight": self.sample_weight}
        named = own | {f"validation {name}": array for name, array in validation.items()}
        for name, array in named.items():
            if array is not None:
                check_array(name, array)
        return {name: described_array(array) for name, array in named.items()}


class PartData:
    """The arrays of a sweep, and the prepared samples of the latest part, which the next one may need too."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self._key: tuple[int | None, Shared | None] = None, None
        self._own: Prepared | None = None
        self._data: Data | None = None

    def of(self, part: Part) -> tuple[TwoLayerNet, Prepared, Data]:
        """Return the networks of a part before its training, and its samples, prepared and checked."""
        shared, (X, y, validation, sample_weight) = part.shared, self.given
        # Each fold has its own samples if the preprocessing is fitted to them.
        key = None if shared.fit is None else part.members[0].get("fold"), shared
        if self._own is None or key != self._key:
            self._key, self._own, self._data = key, None, None  # free memory before the new arrays are made
            settings = replace(shared.settings, validation=validation, sample_weight=sample_weight)
            how: dict[str, Any] = {"fold": key[0], "dtype": shared.dtype, "in_steps": shared.in_steps}
            self._own = prepared(X, y, settings, shared.fit, **how)
        own = self._own
        nets = part.networks(own.n_features, X)
        if self._data is None:
            self._data = checked_data(nets, own.X, own.y, own.settings)
        return nets, own, self._data


@dataclass(frozen=True, eq=False)
class Shared:
    """Everything except arrays that the parts of a sweep share.

    Parameters
    ----------
    settings : Settings
        The settings that all networks share.
    fit : callable or None
        A function that fits the preprocessing, for `prepared`.
    n_classes : int
    dtype : str
        Name of the networks' dtype.
    library : str or None
        Name of the networks' library; None if they use the library and the device of the samples.
    device : device or None
    in_steps : bool
        Whether the samples are preprocessed in each step, and not in advance.
    data : Fingerprint
        Texts that distinguish the data from others.
    """

    settings: Settings
    fit: Fit | None
    n_classes: int
    dtype: str
    library: str | None
    device: Any
    in_steps: bool
    data: Fingerprint

    def described(self) -> Fingerprint:
        """Return a description of everything that the parts have in common."""
        settings = {name: value for name, value in vars(self.settings).items() if name not in _LEFT_OUT}
        fit, folds = self.fit, self.settings.folds
        return {
            **{name: described(value) for name, value in settings.items()},
            "teacher": described_teacher(self.settings.teacher),
            "preprocessing": described(fit) if fit else described_preprocessing(self.settings.preprocessing),
            "folds": "None" if folds is None else f"{len(folds.trained)} folds, {described(folds)}",
            "n_classes": str(self.n_classes),
            "dtype": self.dtype,
            **self.data,
        }

    def place(self, X: Array) -> dict[str, Any]:
        """Return the library and the device of the networks, given the samples."""
        if self.library is None:
            return {"xp": array_namespace(X), "device": device(X)}
        return {"xp": standard_namespace(importlib.import_module(self.library)), "device": self.device}


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a sweep, and their division into parts.

    Parameters
    ----------
    rows : list of dict
        The settings of each network.
    stacks : list of list of int
        The numbers of the networks of each part.
    shared : Shared
    refit : "all", "merge" or None
    halving : int or None
    n_validation : int
        Number of samples that a network is validated by; 0 with folds.
    """

    rows: list[Row]
    stacks: list[list[int]]
    shared: Shared
    refit: str | None
    halving: int | None
    n_validation: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the settings of a candidate; its networks differ only in the seed and the fold."""
        return tuple(key for key in self.rows[0] if key not in ("seed", "fold"))

    @property
    def trains_on_all(self) -> bool:
        """Whether the best candidate is finally trained on all samples."""
        return self.refit == "all" and self.shared.settings.folds is not None


class Checkpoint(NamedTuple):
    """The file of a part's run, and the least number of seconds between two writes."""

    path: Path
    seconds: float = 60.0


@dataclass(frozen=True)
class PartResult:
    """The result of `Part.run`, for `SweepPlan.join`. It can be pickled.

    Parameters
    ----------
    number : int
        The number of the part, from 1.
    epochs : int or None
        The ``epochs`` of the part, which distinguish one rung from another.
    run : Run
        The run of the part's stack of networks. With ``halving`` its accuracies are nan before the last rung.
    preprocessing : Preprocessing or None
        The fitted preprocessing of its samples.
    complete : bool
        Whether the part was trained to its end. It is False if a callback stopped it earlier.
    stopped : bool
        Whether a callback stopped the training, possibly after its last step.
    place : tuple of int
        The progress of the training: ``step``, ``steps``, ``epoch`` and ``epochs``, as in `Progress`.
    """

    number: int
    epochs: int | None
    run: Run
    preprocessing: Preprocessing | None
    complete: bool
    stopped: bool
    place: tuple[int, int, int, int]


@dataclass(frozen=True, repr=False)
class Part:
    """A part of a sweep: a stack of networks that train together.

    `plan` makes a part, and `run` trains it. A part contains no samples and can be pickled. Only the same
    version of twolayer can read the pickle.

    Parameters
    ----------
    number : int
        Its number, from 1.
    n_parts : int
        The number of parts of the whole sweep.
    members : list of dict
        The settings of each network.
    shared : Shared
    epochs : int or None
        The number of epochs after which to stop, for a rung or for the network of all samples; None to train
        to the end.
    left : host array (K,) of bool, or None
        Whether each network left at an earlier rung.
    earlier : Run or None
        The run to resume.
    is_rung : bool
        Whether the part ends at a rung, after which more epochs follow.
    """

    number: int
    n_parts: int
    members: list[Row]
    shared: Shared
    epochs: int | None = None
    left: HostArray | None = None
    earlier: Run | None = None
    is_rung: bool = False

    def is_source_of(self, result: PartResult) -> bool:
        """Return whether a result is that of this part and this rung."""
        own = result.number, result.epochs, result.run._fingerprint.get(_PART)
        return own == (self.number, self.epochs, self.described())

    def described(self) -> str:
        """Return a text that identifies the part among those of other plans, without its number and rung."""
        return described([*self.members, self.shared.described()])

    def __repr__(self) -> str:
        return f"Part({self.number} of {self.n_parts}: {len(self.members)} networks)"

    def run(
        self,
        X: Array,
        y: Array,
        *,
        validation: tuple[Array, ...] | None = None,
        sample_weight: Array | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> PartResult:
        """Train the networks of this part.

        Parameters
        ----------
        X, y, validation, sample_weight
            The data of the plan: the same arrays, or arrays with the same content, for example read by
            another process.
        callbacks : iterable of callables
            As for `sweep`. They are called with the progress of this part.
        checkpoint : path, optional
            A file in which the training is saved every minute and at its end. If the file exists, the
            training resumes from it.

        Returns
        -------
        PartResult

        Raises
        ------
        TypeError, ValueError
            As for `sweep`; and if the data differ from those of the plan. At most 2¹⁸ values of each array
            are compared, in evenly spaced rows.
        OSError
            If ``checkpoint`` cannot be written.
        """
        given = Given(X, y, validation, sample_weight)
        self.check_data(given)
        part, saved = self, None
        if checkpoint is not None:
            check_can_be_written(checkpoint)
            saved = Checkpoint(Path(checkpoint))
            part = self.resumed(saved.path, X)
        called = checked_callbacks(callbacks)
        with ending(called):
            return train_part(part, PartData(given), callbacks=called, checkpoint=saved)

    def check_data(self, given: Given) -> None:
        """Raise if the arrays differ from those of the plan."""
        advice = "A part trains on the data that its plan was made for"
        check_same(given.fingerprint(), self.shared.data, whose="the plan's", advice=advice)

    def resumed(self, path: Path, X: Array) -> Part:
        """Return the part with its earlier run, if its file exists, on the device of the samples."""
        return replace(self, earlier=load_run(path, **self.shared.place(X))) if path.is_file() else self

    def networks(self, n_features: int, X: Array) -> TwoLayerNet:
        """Return the initial networks, or those of the earlier run, on the device of the samples."""
        if self.earlier is not None:
            return self.earlier.last
        first, shared = self.members[0], self.shared
        scales = [one["weight_scale"] for one in self.members]
        sizes = n_features, first["n_hidden"], shared.n_classes
        how = {"rng": first["seed"], "dtype": shared.dtype, **shared.place(X)}
        nets = {scale: TwoLayerNet.initialize(*sizes, weight_scale=scale, **how) for scale in {*scales}}
        return stack(nets[scale] for scale in scales)


@undisturbed
def train_part(
    part: Part,
    data: PartData,
    *,
    callbacks: tuple[Callback, ...] = (),
    checkpoint: Checkpoint | None = None,
    trains: bool = True,
) -> PartResult:
    """Train the networks of a part, and save the run if ``checkpoint`` is given.

    If ``trains`` is False, nothing is trained, and the result is that of the earlier run.
    """
    nets, own, checked = data.of(part)

    def call(progress: Progress) -> None:
        for callback in callbacks:
            callback(replace(progress, stage=part.number, stages=part.n_parts))

    calls: list[Callback] = [call] if callbacks else []
    if checkpoint is not None:
        calls.append(Checkpointer(checkpoint.path, seconds=checkpoint.seconds))
    settings = replace(settings_of_stack(own.settings, part.members), callbacks=tuple(calls))
    plan, earlier = planned(nets, checked, settings), part.earlier
    plan = replace(plan, fingerprint=plan.fingerprint | {_PART: part.described()})
    if earlier is not None:
        if earlier._fingerprint.get(_PART) != plan.fingerprint[_PART]:
            raise ValueError(
                f"{part!r} must resume from its own run, of this version of twolayer; got another run: train "
                "the part again, or start the sweep in another folder"
            )
        plan.check_continues(earlier if "X" in part.shared.data else without_preprocessed(earlier))
    per_epoch = plan.batches.steps_per_epoch
    end = plan.steps if part.epochs is None else min(part.epochs * per_epoch, plan.steps)
    with running(array_namespace(nets.W1)), own_dtypes(nets.W1):
        trainer = Trainer(plan, earlier or begun(nets, plan))
        if part.left is not None:
            trainer.leave(part.left)
        if trains:
            trainer.run(end)
        run = trainer.result(measured=trainer.halted or not trains or not part.is_rung)
    if checkpoint is not None:
        save_run(run, checkpoint.path)
    complete = trainer.recorder.last_entry >= end or not trainer.members.present.size
    place = run.n_steps, plan.steps, run.n_steps // per_epoch, -(-plan.steps // per_epoch)
    return PartResult(part.number, part.epochs, run, own.preprocessing, complete, trainer.halted, place)
