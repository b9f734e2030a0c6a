"""Small training tasks, their runs, and comparisons of runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings

from support.backends import BACKENDS, Backend, to_host
from twolayer import History, Progress, Run, TwoLayerNet, optimizers, schedules, train

# Textbook gradient descent, instead of the defaults.
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


# The results of a run for each network, besides the networks and their history.
OF_EACH = ("diverged", "stopped", "best_step", "train_accuracy", "validation_accuracy")


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
        """The task with arrays of the backend, floating ones in ``dtype`` (by default its widest)."""
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
    """The same array, its last two axes swapped in memory."""
    other = xp.matrix_transpose(array)
    return xp.matrix_transpose(xp.reshape(xp.reshape(other, (-1,)), other.shape))


def host_net(net: TwoLayerNet) -> TwoLayerNet:
    """A copy as host arrays."""
    return TwoLayerNet(*(to_host(array) for array in net))


def assert_same_net(found: TwoLayerNet, expected: TwoLayerNet, *, rtol: float = 0.0) -> None:
    """Assert equal networks: bit for bit, or within ``rtol`` of each array's largest value."""
    for name, a, b in zip(TwoLayerNet._fields, host_net(found), host_net(expected), strict=True):
        finite = np.abs(b[np.isfinite(b)])
        scale = float(finite.max()) if finite.size else 0.0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=name)


def assert_same_history(found: History, expected: History, *, rtol: float = 0.0) -> None:
    """Assert that all arrays of two histories agree, with nan in the same places."""
    for name, a, b in zip(History._fields, found, expected, strict=True):
        assert a.shape == b.shape, name
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)


def losses_rtol(net: TwoLayerNet) -> float:
    """Return the relative tolerance for recorded losses of runs that are otherwise equal bit for bit.

    The losses of several steps are summed in one call. On a GPU, PyTorch's order of addition depends on the
    number of those steps.
    """
    return 1e-14 if getattr(net.W1, "is_cuda", False) else 0.0


def tries(backend: Backend, most: int = 100) -> settings:
    """Hypothesis settings for a property of whole runs: fewer examples for libraries whose steps are slow."""
    share = {"numpy": 1.0, "torch": 0.25, "cupy": 0.1, "jax": 0.03}.get(backend.library, 0.05)
    return settings(max_examples=max(3, round(share * most)))


def few(backend: Backend, most: int = 30) -> settings:
    """Hypothesis settings for mixes of settings: fewer examples on slow libraries; JAX compiles each mix."""
    share = {"numpy": 1.0, "torch": 0.25, "strict": 0.15}.get(backend.library, 0.0)
    return settings(max_examples=max(2, round(share * most)))


def rows_of(seed: int, epoch: int, n_samples: int, batch_size: int, replacement: bool) -> list[np.ndarray]:
    """The rows of each batch of an epoch, derived from the seed without the library."""
    sequence = np.random.SeedSequence(seed, spawn_key=(1, epoch))
    rng = np.random.Generator(np.random.PCG64(sequence))
    n_steps = -(-n_samples // batch_size)
    if replacement:
        return list(rng.integers(n_samples, size=(n_steps, batch_size)))
    order = rng.permutation(n_samples)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(n_steps)]


def trained(task: Task, *, validated: bool = True, **changes: Any) -> Run:
    """Train a task with `SETTINGS`, or with changes of them."""
    validation = {"validation": task.validation} if validated else {}
    return train(task.net, task.X, task.y, **{**SETTINGS, **validation, **changes})


def trained_on(backend: Backend, task: Task, *, start: Run | None = None, **changes: Any) -> Run:
    """Train a task of host arrays on a backend; with ``stream``, its data stay on the host."""

    def streamed(array: np.ndarray) -> np.ndarray:
        return array.astype(backend.dtype) if array.dtype.kind == "f" else array

    place = streamed if changes.get("stream") else backend.array
    if changes.get("sample_weight") is not None:
        changes["sample_weight"] = place(changes["sample_weight"])
    if start is not None:
        changes["rng"] = None
    net = task.on(backend).net if start is None else start
    return trained(Task(net, *map(place, task[1:])), **changes)


def linear_teacher(X: Any) -> np.ndarray:
    """The logits of a task's samples by a linear model, in NumPy for samples of any library."""
    host = to_host(X).astype(np.float64)
    return host.reshape(len(host), -1) @ np.linspace(-2, 3, 12).reshape(4, 3)


def each_run(run: Run) -> list[dict[str, Any]]:
    """The results of a run for each of its networks."""
    names = ("net", "best", "last", "average", "history", *OF_EACH)
    values = {name: getattr(run, name) for name in names}
    if run.last.n_networks is None:
        return [values]
    return [
        {name: value if value is None else _of(value, k) for name, value in values.items()}
        for k in range(run.last.n_networks)
    ]


def _of(values: Any, k: int) -> Any:
    return values.select(k) if hasattr(values, "select") else values[k]


def other_backend(backend: Backend) -> Backend:
    """A backend of another library."""
    return next(b for b in BACKENDS if b.name == ("strict-2025.12" if backend.name == "numpy" else "numpy"))


STRICT = next(b for b in BACKENDS if b.library == "strict")


@contextmanager
def unread(array: Any) -> Iterator[None]:
    """Make it an error to read a value of arrays of this type."""

    def refuse(self: object) -> None:
        raise AssertionError("a value was read")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__"):
            patch.setattr(type(array), name, refuse, raising=False)
        with pytest.raises(AssertionError, match="a value was read"):
            float(array[(0,) * array.ndim])
        yield


def peak_memory(function: Callable[[], object]) -> int:
    """The peak memory of a call in bytes as tracemalloc counts it, which includes NumPy's arrays."""
    function()  # imports modules and fills caches, which should not count
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Watcher:
    """A callback that keeps what it gets, and stops the run where ``stop`` returns something true."""

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
    """A callback that stops after a step or, with ``epoch_ended``, after the entry of its epoch."""
    return Watcher(lambda progress: progress.step == step and progress.epoch_ended == epoch_ended)


def assert_same_run(found: Run, expected: Run, *, rtol: float = 0.0) -> None:
    assert_same_history(found.history, expected.history, rtol=rtol or losses_rtol(expected.net))
    for name in ("net", "best", "last", "average"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if other is not None:
            assert_same_net(one, other, rtol=rtol)
    for name in OF_EACH:
        np.testing.assert_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.seed == expected.seed
