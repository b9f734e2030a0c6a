"""Small runs on CuPy arrays, and the task that they train on."""

from __future__ import annotations

from typing import Any

import twolayer
from support.small_runs import Task, assert_same_history, assert_same_net, make_task
from twolayer import TwoLayerNet, augmentation, optimizers, train

# A batch takes 512 bytes, so that batches copied together have the alignment of batches gathered one by one:
# cuBLAS may choose a kernel by the alignment, and the last bits depend on the kernel.
TASK = make_task(n_samples=28, n_features=16)
HOW: dict[str, Any] = {"batch_size": 8, "epochs": 2, "rng": 0}
GRID = {"learning_rate": [0.001, 0.1], "n_hidden": [3, 5]}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": optimizers.SGD()},
    "momentum": {"reg": 0.1, "ema_decay": 0.5},
    "adam": {"optimizer": optimizers.AdamW(weight_decay=0.1), "dropout": 0.25, "label_smoothing": 0.25},
    "mixup": {"augmentation": augmentation.Mixup(0.5), "reg": 0.1},
}


def trained(task: Task, **changes: Any) -> twolayer.Run:
    return train(task.net, task.X, task.y, **{"validation": task.validation, **HOW, **changes})


def streamed(task: Task, **changes: Any) -> twolayer.Run:
    return trained(TASK._replace(net=task.net), stream=True, **changes)


def swept(task: Task, **changes: Any) -> twolayer.SweepResult:
    return twolayer.sweep(
        task.X, task.y, **{"validation": task.validation, "grid": GRID, "epochs": 2, **changes}
    )


def unrolled(task: Task) -> TwoLayerNet:
    values = task.X.ravel()
    filters, W2 = values[:18].reshape(3, 3, 1, 2), values[:24].reshape(2, 2, 2, 3)
    return twolayer.unroll(filters, values[:2], W2, values[:3], image_shape=(4, 4))


def assert_same_run(found: twolayer.Run, expected: twolayer.Run, *, rtol: float = 0.0) -> None:
    assert_same_net(found.net, expected.net, rtol=rtol)
    assert_same_net(found.last, expected.last, rtol=rtol)
    assert_same_history(found.history, expected.history, rtol=rtol)
