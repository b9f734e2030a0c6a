"""Small training tasks, and a slow oracle of a run: float64, one sample at a time, by the textbook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings

from support.backends import Backend, to_host
from twolayer import History, Progress, Run, TwoLayerNet, optimizers, schedules, train

# Gradient descent by the textbook, in place of the defaults.
PLAIN: dict[str, Any] = {"optimizer": optimizers.SGD(), "schedule": schedules.Constant()}


SETTINGS: dict[str, Any] = {
    **PLAIN,
    "batch_size": 5,
    "learning_rate": 0.2,
    "reg": 0.01,
    "epochs": 3,
    "rng": 7,
}
PER_EPOCH = 5  # 23 samples in batches of 5


class Task(NamedTuple):
    """A network or stack with training and validation data, on the host or as a backend's arrays."""

    net: TwoLayerNet
    X: Any
    y: Any
    X_val: Any
    y_val: Any

    @property
    def validation(self) -> tuple[Any, Any]:
        return self.X_val, self.y_val

    def on(self, backend: Backend, dtype: str | None = None) -> Task:
        """The same as arrays of the backend, floating ones in ``dtype`` (by default its widest)."""
        data = (backend.array(a, dtype if a.dtype.kind == "f" else None) for a in self[1:])
        return Task(TwoLayerNet(*(backend.array(a, dtype) for a in self.net)), *data)


def make_task(
    n_networks: int | None = None,
    *,
    n_samples: int = 23,
    n_features: int = 4,
    n_hidden: int = 5,
    n_classes: int = 3,
    n_validation: int = 11,
    soft: bool = False,
    noise: float = 1.0,
    seed: int = 0,
) -> Task:
    """A task of noisy clusters; with ``soft``, its targets are class probabilities."""
    rng = np.random.default_rng(seed)
    lead = () if n_networks is None else (n_networks,)
    shapes = ((n_features, n_hidden), (n_hidden,), (n_hidden, n_classes), (n_classes,))
    net = TwoLayerNet(*(0.5 * rng.standard_normal((*lead, *shape)) for shape in shapes))
    centres = rng.standard_normal((n_classes, n_features))
    parts: list[np.ndarray] = []
    for n in (n_samples, n_validation):
        y = rng.integers(0, n_classes, n)
        parts.append(centres[y] + noise * rng.standard_normal((n, n_features)))
        if soft:
            probabilities = 0.1 * rng.random((n, n_classes)) + np.eye(n_classes)[y]
            parts.append(probabilities / probabilities.sum(axis=1, keepdims=True))
        else:
            parts.append(y)
    return Task(net, *parts)


def turned(array: Any, *, xp: Any) -> Any:
    """The same array, the last two axes the other way round in memory."""
    other = xp.matrix_transpose(array)
    return xp.matrix_transpose(xp.reshape(xp.reshape(other, (-1,)), other.shape))


def host_net(net: TwoLayerNet) -> TwoLayerNet:
    """A copy as host arrays."""
    return TwoLayerNet(*(to_host(array) for array in net))


def assert_same_net(found: TwoLayerNet, expected: TwoLayerNet, *, rtol: float = 0.0) -> None:
    """Bit for bit, or within ``rtol`` of each array's largest value."""
    for name, a, b in zip(TwoLayerNet._fields, host_net(found), host_net(expected), strict=True):
        finite = np.abs(b[np.isfinite(b)])
        scale = float(finite.max()) if finite.size else 0.0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=name)


def assert_same_history(found: History, expected: History, *, rtol: float = 0.0) -> None:
    """Every array of the two, nan where nan is."""
    for name, a, b in zip(History._fields, found, expected, strict=True):
        assert a.shape == b.shape, name
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)


def losses_rtol(net: TwoLayerNet) -> float:
    """Return by how much recorded losses may differ, relatively, in runs that are otherwise equal to the bit.

    The losses of several steps are summed in one call. On a GPU, PyTorch's order of addition depends on the
    number of those steps.
    """
    return 1e-14 if getattr(net.W1, "is_cuda", False) else 0.0


def tries(backend: Backend, most: int = 100) -> settings:
    """How many examples a property of whole runs is given: all of them where a step is quick."""
    share = {"numpy": 1.0, "torch": 0.25, "cupy": 0.1, "jax": 0.03}.get(backend.library, 0.05)
    return settings(max_examples=max(3, round(share * most)))


def rows_of(seed: int, epoch: int, n_samples: int, batch_size: int, replacement: bool) -> list[np.ndarray]:
    """The samples of each batch of an epoch. What a seed means is written out once more here."""
    sequence = np.random.SeedSequence(seed, spawn_key=(1, epoch))
    rng = np.random.Generator(np.random.PCG64(sequence))
    n_steps = -(-n_samples // batch_size)
    if replacement:
        return list(rng.integers(n_samples, size=(n_steps, batch_size)))
    order = rng.permutation(n_samples)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(n_steps)]


class SlowRun(NamedTuple):
    nets: list[TwoLayerNet]
    loss: np.ndarray  # (K, steps)
    batch_accuracy: np.ndarray  # (K, steps)


def slow_train(
    net: TwoLayerNet,
    X: np.ndarray,
    y: np.ndarray,
    *,
    rates: np.ndarray,  # (K, steps)
    reg: np.ndarray,  # (K,)
    batch_size: int,
    seed: int,
    replacement: bool = False,
    sample_weight: np.ndarray | None = None,
) -> SlowRun:
    """Train every member of a stack (or the one network) by itself."""
    stacked = net.W1.ndim == 3
    members = [
        TwoLayerNet(*(a[k] if stacked else a for a in net)) for k in range(len(net.W1) if stacked else 1)
    ]
    n_steps = rates.shape[1]
    loss, accuracy = np.zeros(rates.shape), np.zeros(rates.shape)
    per_epoch = -(-len(X) // batch_size)
    trained = []
    for k, member in enumerate(members):
        W1, b1, W2, b2 = (array.copy() for array in member)
        for step in range(n_steps):
            epoch, within = divmod(step, per_epoch)
            rows = rows_of(seed, epoch, len(X), batch_size, replacement)[within]
            weight = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
            total = weight.sum() or 1.0
            dW1, db1, dW2, db2 = (np.zeros_like(array) for array in (W1, b1, W2, b2))
            for s, i in zip(weight / total, rows, strict=True):
                Z1 = X[i] @ W1 + b1
                H1 = np.maximum(Z1, 0)
                z = H1 @ W2 + b2
                log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
                p = np.exp(log_p)
                t = np.eye(len(b2))[y[i]] if y.ndim == 1 else y[i]
                loss[k, step] -= s * np.sum(t * log_p)
                accuracy[k, step] += (np.argmax(z) == np.argmax(t)) / len(rows)
                dz = s * (p - t)
                dZ1 = (W2 @ dz) * (Z1 > 0)
                dW2 += np.outer(H1, dz)
                db2 += dz
                dW1 += np.outer(X[i], dZ1)
                db1 += dZ1
            loss[k, step] += reg[k] * (np.sum(W1**2) + np.sum(W2**2))
            W1 -= rates[k, step] * (dW1 + 2 * reg[k] * W1)
            b1 -= rates[k, step] * db1
            W2 -= rates[k, step] * (dW2 + 2 * reg[k] * W2)
            b2 -= rates[k, step] * db2
        trained.append(TwoLayerNet(W1, b1, W2, b2))
    return SlowRun(trained, loss, accuracy)


def trained(task: Task, *, validated: bool = True, **changes: Any) -> Run:
    validation = {"validation": task.validation} if validated else {}
    return train(task.net, task.X, task.y, **{**SETTINGS, **validation, **changes})


class Watcher:
    """A callback that keeps what it is shown, and asks to stop at given events."""

    def __init__(self, stop: Callable[[Progress], object] = lambda _: None, *, nets: bool = False) -> None:
        self.seen: list[Progress] = []
        self.nets: list[TwoLayerNet] = []
        self.histories: list[History] = []
        self.stop, self.keep_nets = stop, nets

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if self.keep_nets and progress.epoch_ended:
            self.nets.append(progress.net())
            self.histories.append(progress.history())
        if self.stop(progress):
            progress.stop()

    @property
    def events(self) -> list[tuple[int, bool]]:
        return [(progress.step, progress.epoch_ended) for progress in self.seen]


def stopping(step: int, epoch_ended: bool = False) -> Watcher:
    return Watcher(lambda progress: progress.step == step and progress.epoch_ended == epoch_ended)


def assert_same_run(found: Run, expected: Run, *, rtol: float = 0.0) -> None:
    assert_same_history(found.history, expected.history, rtol=rtol or losses_rtol(expected.net))
    for name in ("net", "best", "last"):
        assert_same_net(getattr(found, name), getattr(expected, name), rtol=rtol)
    assert (found.average is None) == (expected.average is None)
    if expected.average is not None:
        assert_same_net(found.average, expected.average, rtol=rtol)
    assert found.diverged == expected.diverged
    assert found.stopped == expected.stopped
    np.testing.assert_array_equal(found.best_step, expected.best_step)
    np.testing.assert_array_equal(found.train_accuracy, expected.train_accuracy)
    np.testing.assert_array_equal(found.validation_accuracy, expected.validation_accuracy)
    assert found.seed == expected.seed
