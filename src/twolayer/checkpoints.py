"""Training runs in files, so that one that was interrupted can go on exactly where it stopped.

A checkpoint is a safetensors file: the arrays of the last and the best network, as they are in training
(preprocessing is not folded into them), of the average and the optimizer's moments where there are any, and
the history. The rest is JSON in its metadata.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ._files import written_whole
from ._namespace import HostArray, to_host
from .network import TwoLayerNet
from .training import History, Progress, Run

FORMAT_VERSION = 2

_FORMAT = "twolayer checkpoint"


def save_run(run: Run, path: str | os.PathLike[str]) -> None:
    """Save what is needed to go on with a run; a file that was there is replaced, whole.

    Parameters
    ----------
    run : Run
        Of one network or of a stack, with any array library.
    path : path
        The file. Its folder must exist.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from safetensors.numpy import save

    nets = {"last": run.last, "best": run.best}
    nets |= {f"moment{i}": moment for i, moment in enumerate(run._moments)}
    if run.average is not None:
        nets["average"] = run.average
    arrays = {
        **{f"{which}.{name}": to_host(a) for which, net in nets.items() for name, a in net._asdict().items()},
        **{f"history.{name}": array for name, array in run.history._asdict().items()},
        "best_accuracy": run._best_accuracy,
        "best_step": np.atleast_1d(np.asarray(run.best_step, np.int64)),
    }
    metadata = {
        "format": _FORMAT,
        "format_version": str(FORMAT_VERSION),
        # The seed as text: JSON's readers may hold integers as floats.
        "run": json.dumps(
            {
                "seed": str(run.seed),
                "diverged": run.diverged,
                "stopped": run.stopped,
                "n_moments": len(run._moments),
                "average": run.average is not None,
            }
        ),
    }
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata)
    with written_whole(path) as partial:
        partial.write_bytes(content)


def load_run(path: str | os.PathLike[str], xp: ModuleType = np, device: Any = None) -> Run:
    """Load a run that `save_run` saved, for `train` to go on with.

    Parameters
    ----------
    path : path
        The file.
    xp : module
        The array library to go on with; it may be another than before.
    device : device of ``xp``, optional

    Returns
    -------
    Run
        Its ``net`` is the last network, and its accuracies are nan: they are measured at the end of a run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, is damaged, or was written by a newer twolayer.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):
        pass  # a missing file is the system's error to tell
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays: dict[str, HostArray] = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be a checkpoint; it is truncated, damaged or something else ({error})"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{path} must be a checkpoint of a run; it is a safetensors file of another kind")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} must be a checkpoint of version {FORMAT_VERSION}; "
            f"got version {metadata.get('format_version')}"
        )
    try:
        rest = json.loads(metadata["run"])

        def net(which: str) -> TwoLayerNet:
            host = TwoLayerNet(*(arrays[f"{which}.{name}"] for name in TwoLayerNet._fields))
            return host.to(xp, device)

        last, best = net("last"), net("best")
        moments = tuple(net(f"moment{i}") for i in range(rest["n_moments"]))
        average = net("average") if rest["average"] else None
        history = History(*(arrays[f"history.{name}"] for name in History._fields))
        seed, diverged, stopped = int(rest["seed"]), rest["diverged"], rest["stopped"]
        best_step = arrays["best_step"]
        best_accuracy = arrays["best_accuracy"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must be a whole checkpoint; something is missing in it ({error})"
        ) from error
    stacked = last.n_networks is not None
    unknown = np.full(last.n_networks or 1, np.nan)
    return Run(
        net=last,
        best=best,
        last=last,
        history=history,
        average=average,
        diverged=tuple(diverged) if stacked else diverged,
        stopped=tuple(stopped) if stacked else stopped,
        train_accuracy=unknown if stacked else float("nan"),
        validation_accuracy=unknown if stacked else float("nan"),
        best_step=best_step if stacked else int(best_step[0]),
        seed=seed,
        _best_accuracy=best_accuracy,
        _moments=moments,
    )


class Checkpointer:
    """A callback that saves a run at the ends of epochs, so that a process that is killed loses little.

    Parameters
    ----------
    path : path
        The checkpoint's file.
    every : float
        Seconds that pass at least between two checkpoints.
    clock : callable
        Tells the time in seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._every, self._clock = path, every, clock
        self._saved_at = clock()

    def __call__(self, progress: Progress) -> None:
        """Save the run where an epoch ended and it is time to."""
        if progress.epoch_ended and self._clock() - self._saved_at >= self._every:
            save_run(progress.run(), self._path)
            self._saved_at = self._clock()
