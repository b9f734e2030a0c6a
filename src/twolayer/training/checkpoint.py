"""Checkpoints: files of all that `train` needs to resume a run as if it had not stopped.

The format, version 3
---------------------
A checkpoint is a safetensors file, as the file of a network is, with these tensors and no others. In a run of
K networks, the shapes of networks begin with an axis K. So do those of the history, except ``history.step``.
The history has S steps and E entries.

======================================== =========== ========================================================
Name                                     dtype       Content
======================================== =========== ========================================================
``last.W1``, ``b1``, ``W2``, ``b2``      F32 or F64  the network after the last step, as it is in training:
                                                     the preprocessing is not folded into it
``best.W1`` and so on                    the same    the best network on the validation samples
``moment0.W1`` and so on                 the same    the optimizer's moments, ``n_moments`` of them
``average.W1`` and so on                 the same    the moving average of the weights, if ``average`` is true
``history.loss``, ``.batch_accuracy``    F64         (S,), or (K, S)
``history.step``                         I64         (E,)
``history.learning_rate``, and the rest  F64         (E,), or (K, E)
``best_accuracy``                        F64         (K,), or (1,): of ``best``; -1 if it was never validated
``best_step``                            I64         (K,), or (1,): steps done when ``best`` was taken
``preprocessing.mean``, ``.scale`` or    F64         fields of the preprocessing, if it is a `Standardizer` or
``.matrix``                                          `Whitener`
======================================== =========== ========================================================

The header's ``__metadata__`` holds ``format``, ``twolayer checkpoint``; ``format_version``, ``3``; and
``run``, a JSON object. Its entries are ``seed`` (as text), ``diverged`` and ``stopped`` (a step or null; for
K networks a list), ``n_moments``, ``average`` (true or false), ``preprocessing`` (the name of its class, or
null) and ``fingerprint``, an object of texts that describe the settings and the data. No random state is
stored: the seed and the number of steps determine the place in the epoch and in every random stream.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .. import _files
from .._namespace import HostArray
from .._records import BOOLEAN, OBJECT, Kind, checked, is_count, is_list, is_mapping, is_size, is_text
from .._validation import check_integer, check_number, shown
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, Standardizer, Whitener
from .history import History, validated_at
from .run import Progress, Run

FORMAT_VERSION = 3

_Path: TypeAlias = str | os.PathLike[str]

_MOST_MOMENTS = 16  # a damaged or hostile file must not make the reader work without limit
_MOST_DIGITS = 4000  # of a seed; by default Python refuses to read integers of more than 4300 digits
_PREPROCESSING: dict[str, type[Standardizer | Whitener]] = {
    kind.__name__: kind for kind in (Standardizer, Whitener)
}


def save_run(run: Run, path: _Path, *, preprocessing: Preprocessing | None = None) -> None:
    """Save a run so that it can be resumed; an existing file is replaced as a whole.

    The new file is written beside the old one and then moved to its place, so a process that is killed
    meanwhile leaves the old file. The new file gets the mode of the old one, and links are followed.

    Parameters
    ----------
    run : Run
        A run of one network or of a stack, with any array library.
    path : path
        The file. Its folder must exist.
    preprocessing : Preprocessing, optional
        The preprocessing of the samples before they were passed to `train`, to be kept in the file; by
        default, that of the run. Only a `Standardizer` or a `Whitener` is kept.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    nets = {"last": run.last, "best": run.best}
    nets |= {f"moment{i}": moment for i, moment in enumerate(run._moments)}
    if run.average is not None:
        nets["average"] = run.average
    best_step = np.atleast_1d(np.asarray(run.best_step, np.int64))
    arrays = {
        **{f"{which}.{name}": a for which, net in nets.items() for name, a in net._asdict().items()},
        **{f"history.{name}": array for name, array in run.history._asdict().items()},
        "best_accuracy": np.nan_to_num(validated_at(run.history, best_step)[1], nan=-1.0),
        "best_step": best_step,
    }
    if preprocessing is None:
        preprocessing = run.preprocessing
    kind = None
    if isinstance(preprocessing, Standardizer | Whitener):
        kind = type(preprocessing).__name__
        arrays |= {
            f"preprocessing.{name}": np.asarray(array, np.float64)
            for name, array in preprocessing._asdict().items()
        }
    metadata = {
        "format": _files.CHECKPOINT,
        "format_version": str(FORMAT_VERSION),
        # The seed is text because JSON readers may read a large integer as a float and round it.
        "run": json.dumps(
            {
                "seed": str(run.seed),
                "diverged": run.diverged,
                "stopped": run.stopped,
                "n_moments": len(run._moments),
                "average": run.average is not None,
                "preprocessing": kind,
                "fingerprint": run._fingerprint,
            }
        ),
    }
    _files.write_safetensors(path, arrays, metadata)


def load_run(path: _Path, xp: ModuleType = np, device: Any = None) -> Run:
    """Load a run that `save_run` saved, so that `train` can resume it.

    Parameters
    ----------
    path : path
        The file.
    xp : module
        The array library of the loaded run; it may differ from that of the saved run.
    device : device of ``xp``, optional
        With a JAX sharding, each device of its mesh holds the whole networks.

    Returns
    -------
    Run
        Its ``net`` is the last network. Its accuracies and validation loss are nan, because they are only
        measured at the end of a run.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a checkpoint, is truncated or damaged, has tensors that do not fit its metadata, or
        has another version of the format.
    TypeError
        If ``xp`` is not an array library, or lacks the dtype (JAX lacks float64 by default).
    """
    with _files.opened_safetensors(path, "a checkpoint") as file:
        stored = _checked_run(file.metadata() or {}, path)
        _check_tensors(file, stored, path)
        arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  # it is no dict
    stacked, best_step = arrays["last.W1"].ndim == 3, arrays["best_step"]
    _check_steps(arrays, stored, path)

    def net(which: str) -> TwoLayerNet:
        return TwoLayerNet(*(arrays[f"{which}.{name}"] for name in TwoLayerNet._fields)).to(xp, device)

    preprocessing = None
    if stored["preprocessing"] is not None:
        kind = _PREPROCESSING[stored["preprocessing"]]
        preprocessing = kind(*(arrays[f"preprocessing.{name}"] for name in kind._fields))
    last = net("last")
    unknown = np.full(last.n_networks or 1, np.nan)
    return Run(
        net=last,
        best=net("best"),
        last=last,
        history=History(*(arrays[f"history.{name}"] for name in History._fields)),
        average=net("average") if stored["average"] else None,
        diverged=tuple(stored["diverged"]) if stacked else stored["diverged"],
        stopped=tuple(stored["stopped"]) if stacked else stored["stopped"],
        train_accuracy=unknown if stacked else float("nan"),
        validation_accuracy=unknown.copy() if stacked else float("nan"),
        validation_loss=unknown.copy() if stacked else float("nan"),
        best_step=best_step if stacked else int(best_step[0]),
        seed=int(stored["seed"]),
        preprocessing=preprocessing,
        _moments=tuple(net(f"moment{i}") for i in range(stored["n_moments"])),
        _fingerprint=stored["fingerprint"],
    )


def _checked_run(metadata: dict[str, str], path: _Path) -> dict[str, Any]:
    """Return the run's entries in the metadata; raise unless each has the right type."""
    if metadata.get("format") != _files.CHECKPOINT:
        kind = "a safetensors file of another kind"
        if metadata.get("format") == _files.NETWORK:
            kind = "a network, which `twolayer.load` loads"
        raise ValueError(f"{path} must be a checkpoint of a run; it is {kind}")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} must be a checkpoint of version {FORMAT_VERSION}; "
            f"got version {str(metadata.get('format_version'))[:40]}"
        )
    place = f"the metadata of {path}"
    stored = checked(metadata, {"run": OBJECT}, place, needed=["run"], as_json=True)
    return checked(stored["run"], _RUN, place, needed=_RUN)


def _is_step(value: Any) -> bool:
    return value is None or is_size(value)


_STEPS = Kind("a step or null, or a list of these", lambda value: _is_step(value) or is_list(value, _is_step))
_RUN = {
    "seed": Kind(
        "digits", lambda v: isinstance(v, str) and v.isascii() and v.isdigit() and len(v) < _MOST_DIGITS
    ),
    "diverged": _STEPS,
    "stopped": _STEPS,
    "n_moments": Kind(
        f"an integer in [0, {_MOST_MOMENTS}]", lambda value: is_count(value) and value <= _MOST_MOMENTS
    ),
    "average": BOOLEAN,
    "preprocessing": Kind(
        f"{', '.join(_PREPROCESSING)} or null", lambda value: value in (None, *_PREPROCESSING)
    ),
    "fingerprint": Kind("an object of texts", lambda value: is_mapping(value, is_text)),
}


def _check_tensors(file: Any, stored: dict[str, Any], path: _Path) -> None:
    """Raise unless a file has the tensors of a run, with shapes and dtypes that fit each other.

    Only the header is read here. So a damaged file is refused before its tensors take memory.
    """
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # it is no dict

    def shape_of(name: str, *ranks: int) -> tuple[int, ...]:
        if name not in shapes:
            raise ValueError(f"{path} must be a whole checkpoint; something is missing in it ('{name}')")
        if len(shapes[name]) not in ranks:
            raise ValueError(
                f"`{name}` in {path} must have {' or '.join(map(str, ranks))} axes; got shape {shapes[name]}"
            )
        return shapes[name]

    *stack, n_features, n_hidden = shape_of("last.W1", 2, 3)
    n_classes = shape_of("last.b2", 1, 2)[-1]
    if min(*stack, n_features, n_hidden, n_classes) < 1:
        raise ValueError(f"`last.W1` in {path} must have no empty axis; got shape {shapes['last.W1']}")
    n_steps, n_entries = shape_of("history.loss", 1, 2)[-1], shape_of("history.step", 1)[0]
    dtype = _files.float_dtype_in(file, "last.W1", path)
    of_net = _files.network_shapes(n_features, n_hidden, n_classes, stack)
    nets = ["last", "best", *(f"moment{i}" for i in range(stored["n_moments"]))]
    nets += ["average"] if stored["average"] else []
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        **{f"{which}.{name}": (dtype, shape) for which in nets for name, shape in of_net.items()},
        **{f"history.{name}": ("F64", (*stack, n_entries)) for name in History._fields},
        **{f"history.{name}": ("F64", (*stack, n_steps)) for name in ("loss", "batch_accuracy")},
        "history.step": ("I64", (n_entries,)),
        "best_accuracy": ("F64", tuple(stack or (1,))),
        "best_step": ("I64", tuple(stack or (1,))),
    }
    if stored["preprocessing"] == "Standardizer":
        expected |= {f"preprocessing.{name}": ("F64", (n_features,)) for name in Standardizer._fields}
    elif stored["preprocessing"] == "Whitener":
        n_inputs = shape_of("preprocessing.mean", 1)[0]
        expected |= {
            "preprocessing.mean": ("F64", (n_inputs,)),
            "preprocessing.matrix": ("F64", (n_inputs, n_features)),
        }
    _files.check_tensors(file, expected, path, "checkpoint")


def _check_steps(arrays: dict[str, HostArray], stored: dict[str, Any], path: _Path) -> None:
    """Raise unless every step number is one of the run's, and the best accuracies are finite."""
    best_step, entries = arrays["best_step"], arrays["history.step"]
    n_steps = arrays["history.loss"].shape[-1]
    n_networks = len(best_step) if arrays["last.W1"].ndim == 3 else None
    if np.any(best_step < 0) or np.any(best_step > n_steps):
        raise ValueError(
            f"`best_step` in {path} must be in [0, {n_steps}], the steps of the run; "
            f"got {best_step.min()} to {best_step.max()}"
        )
    if np.any(np.diff(entries, prepend=0) < 1) or np.any(entries > n_steps):
        raise ValueError(f"`history.step` in {path} must rise from 1 to at most {n_steps}; got other steps")
    if not np.all(np.isfinite(arrays["best_accuracy"])):
        raise ValueError(f"`best_accuracy` in {path} must be finite; got nan or infinity")
    for name in ("diverged", "stopped"):
        found, place = stored[name], f"`{name}` in the metadata of {path}"
        if (len(found) if isinstance(found, list) else None) != n_networks:
            wanted = "one step or null" if n_networks is None else f"a list of {n_networks}"
            raise ValueError(f"{place} must be {wanted}; got {shown(found)}")
        for step in found if isinstance(found, list) else [found]:
            if step is not None and step > n_steps:
                raise ValueError(f"{place} must be one of the {n_steps} steps; got {step}")


class Checkpointer:
    """A callback of `train` that saves the run regularly, so that a process that is killed loses little.

    Each checkpoint copies the networks to the host and writes a file several times their size. The run is
    also saved when it ends, even if a callback or ``patience`` stopped it. After an error or Ctrl-C, the file
    is the last checkpoint. It is complete at all times, as each checkpoint replaces it in one operation. Only
    one process at a time may write to it.

    Parameters
    ----------
    path : path
        The checkpoint's file, for ``train(resume=path)`` or `load_run`. Its folder must exist.
    seconds : float, optional
        Minimum number of seconds between two checkpoints; 60 if ``steps`` is not given either.
    steps : int, optional
        Minimum number of steps between two checkpoints. If both are given, the run is saved as soon as one of
        them has passed.
    preprocessing : Preprocessing, optional
        As for `save_run`.
    clock : callable
        Returns the time in seconds.

    Raises
    ------
    TypeError, ValueError
        If ``seconds`` is not a number of at least 0, or ``steps`` is not an integer of at least 1.

    Examples
    --------
    >>> import pathlib
    >>> import twolayer
    >>> from twolayer.checkpoints import Checkpointer
    >>> X, y = twolayer.datasets.load_digits().train
    >>> net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
    >>> path = pathlib.Path("run.safetensors")
    >>> for epochs in (2, 3):  # the second call resumes from the end of the first
    ...     run = twolayer.train(net, X / 16, y, epochs=epochs, rng=0, callbacks=[Checkpointer(path)],
    ...                          resume=path if path.exists() else None)
    >>> run.n_steps
    18
    """

    def __init__(
        self,
        path: _Path,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        preprocessing: Preprocessing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seconds is None and steps is None:
            seconds = 60.0
        self._seconds = None if seconds is None else check_number("seconds", seconds, least=0.0)
        self._steps = None if steps is None else check_integer("steps", steps, least=1)
        self._path, self._preprocessing, self._clock = path, preprocessing, clock
        self._saved_at = clock()
        self._saved_step: int | None = None
        _files.remove_partial(path)

    def __call__(self, progress: Progress) -> None:
        """Save the run if a checkpoint is due."""
        # Steps are counted from where this run began, which differs for a resumed run, and from anew if one
        # object is used for a second run.
        if self._saved_step is None or progress.step < self._saved_step:
            self._saved_step = progress.step - 1
        due = self._seconds is not None and self._clock() - self._saved_at >= self._seconds
        due = due or (self._steps is not None and progress.step - self._saved_step >= self._steps)
        # A checkpoint at the last step of an epoch was saved before the epoch's entry: save it again with it.
        due = due or (progress.epoch_ended and progress.step in (progress.steps, self._saved_step))
        if due:
            self._save(progress.snapshot())

    def _finish(self, run: Run) -> None:
        """Save a run that has ended, unless it was saved after its last step; then be ready for another."""
        if self._saved_step is not None and self._saved_step < run.n_steps:
            self._save(run)
        self._saved_step = None

    def _save(self, run: Run) -> None:
        save_run(run, self._path, preprocessing=self._preprocessing)
        self._saved_at, self._saved_step = self._clock(), run.n_steps
