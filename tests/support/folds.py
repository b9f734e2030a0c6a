"""Cross-validation of a small task: sweeps over its folds, and the training of each fold alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.backends import Backend
from support.small_runs import Task, assert_same_history, make_task
from support.sweeps import BASE
from twolayer import Run, SweepResult, TwoLayerNet, sweep, train
from twolayer.augmentation import FlipAndShift

N = 24
TASK = make_task(n_samples=N, noise=2.0)
FLIPS = FlipAndShift((2, 2), shift=1)
PAIRS = [(np.arange(8, 24), np.arange(8)), (np.r_[0:5, 20:24], np.arange(6, 20)), ([3, 1, 7, 12], [0, 23])]
OF_TRAIN = ("learning_rate", "reg", "dropout", "input_dropout", "label_smoothing", "batch_size")
OF_ROWS = ("diverged", "best_step", "train_accuracy", "validation_accuracy")


def folded(task: Task, folds: Any, backend: Backend | None = None, **changes: Any) -> SweepResult:
    """The result of `sweep` with the arrays of a backend."""
    place = np.asarray if backend is None else backend.array
    if changes.get("sample_weight") is not None:
        changes["sample_weight"] = place(changes["sample_weight"])
    dtype = "float64" if backend is None else backend.dtype
    arguments = {"grid": {"n_hidden": [4], "batch_size": [5]}, **BASE, "dtype": dtype, **changes}
    return sweep(place(task.X), place(task.y), folds=folds, **arguments)


def alone(
    task: Task, rows: Any, settings: dict[str, Any], backend: Backend | None = None, **changes: Any
) -> Run:
    """The run of `train` with a row's settings, trained on some rows alone and judged by others."""
    place = np.asarray if backend is None else backend.array
    where = {} if backend is None else {"xp": backend.xp, "device": backend.device}
    given = {**BASE, "judge": "last", **changes, "dtype": "float64" if backend is None else backend.dtype}
    dtype, weight, (own, others) = given.pop("dtype"), given.pop("sample_weight", None), rows
    parts = [[a[r] for a in (task.X, task.y, weight) if a is not None] for r in (own, others)]
    (X, y, *weights), validation = ([place(a) for a in part] for part in parts)
    fitted = given.get("preprocessing")
    if callable(fitted):
        fitted = given["preprocessing"] = fitted(X)
    sizes = X.shape[1] if fitted is None else fitted.n_outputs, settings["n_hidden"], 3
    where |= {"weight_scale": settings["weight_scale"], "dtype": dtype}
    net = TwoLayerNet.initialize(*sizes, rng=settings["seed"], **where)
    given |= {name: settings[name] for name in (*OF_TRAIN, "augmentation") if name in settings}
    given |= {"validation": validation} if len(others) else {}
    return train(net, X, y, sample_weight=weights[0] if weights else None, **given, rng=settings["seed"])


def assert_each_alone(
    result: SweepResult, task: Task, backend: Backend | None = None, **changes: Any
) -> None:
    """Assert that each fold equals training on its rows alone; in float32, only the losses are compared."""
    narrow = backend is not None and backend.dtype == "float32"
    assert len(result.runs) == len(result.table) * len(result.folds) * result.table[0]["n_seeds"]
    for row, history in zip(result.runs, result.histories, strict=True):
        run = alone(task, result.folds[row["fold"]], row, backend, **changes)
        if narrow:
            for name in ("loss", "validation_loss"):
                found, expected = getattr(history, name), getattr(run.history, name)
                np.testing.assert_allclose(found, expected, rtol=2e-3, err_msg=name)
            continue
        assert row["n_steps"] == run.n_steps
        assert_same_history(history, run.history, rtol=1e-9)
        for name in OF_ROWS:
            np.testing.assert_allclose(row[name] or 0, getattr(run, name) or 0, rtol=1e-9, err_msg=name)
