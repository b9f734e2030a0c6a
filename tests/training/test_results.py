"""The memory of returned arrays: row by row, as other programs' C code reads it, and never shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.small_runs import Task, make_task, turned

import twolayer
from twolayer import TwoLayerNet, optimizers
from twolayer.checkpoints import load_run, save_run
from twolayer.preprocessing import Standardizer, Whitener

pytestmark = pytest.mark.once_on_jax

# With one feature or one hidden unit, a transposed matrix has the same memory order, and may stay a view.
SIZES = {"ordinary": (4, 5, 3), "of one": (1, 1, 3)}


def tree(value: Any, name: str = "result") -> Iterator[tuple[str, Any]]:
    """The names and arrays in the result of a function."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from tree(part, f"{name}[{key}]")
    elif isinstance(value, tuple | list):
        fields = getattr(value, "_fields", range(len(value)))
        for field, part in zip(fields, value, strict=True):
            yield from tree(part, f"{name}.{field}")
    elif isinstance(value, twolayer.Run):
        for field in ("net", "best", "last", "average", "history", "_moments"):
            yield from tree(getattr(value, field), f"{name}.{field}")
    elif value is not None and hasattr(value, "shape"):
        yield name, value


def is_row_by_row(array: Any, backend: Backend) -> bool:
    if isinstance(array, np.ndarray | np.generic) or backend.library in ("numpy", "cupy"):
        return bool(array.flags.c_contiguous)
    if backend.library == "torch":
        return bool(array.is_contiguous())
    return backend.library == "jax" or bool(array._array.flags.c_contiguous)


def share_memory(a: Any, b: Any, backend: Backend) -> bool:
    if isinstance(a, np.ndarray | np.generic) != isinstance(b, np.ndarray | np.generic):
        return False  # one array is on the host, the other is the library's
    if isinstance(a, np.ndarray | np.generic):
        return np.shares_memory(a, b)
    if backend.library == "cupy":
        return bool(backend.xp.may_share_memory(a, b))
    if backend.library == "torch":
        return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    return backend.library != "jax" and np.shares_memory(a._array, b._array)


def check(found: Any, others: Any, backend: Backend) -> None:
    """Assert that arrays are stored row by row and share no memory with others."""
    arrays = list(tree(found))
    assert arrays
    for name, array in arrays:
        assert is_row_by_row(array, backend), name
        for other, given in tree(others, "given"):
            assert not share_memory(array, given, backend), f"{name} and {other}"


def awkward(net: TwoLayerNet, backend: Backend) -> TwoLayerNet:
    """The same network, each matrix stored column by column."""
    return TwoLayerNet(*(turned(array, xp=backend.xp) if array.ndim > 1 else array for array in net))


@pytest.fixture(params=["one", "stack"])
def n_networks(request: pytest.FixtureRequest) -> int | None:
    return {"one": None, "stack": 2}[request.param]


@pytest.fixture(params=SIZES)
def task(request: pytest.FixtureRequest, backend: Backend, n_networks: int | None) -> Task:
    n_features, n_hidden, n_classes = SIZES[request.param]
    made = make_task(n_networks, n_features=n_features, n_hidden=n_hidden, n_classes=n_classes)
    return made.on(backend)


def methods(task: Task, backend: Backend) -> dict[str, Callable[[TwoLayerNet], Any]]:
    """Every function that makes arrays or networks from a network."""
    X, y, xp = task.X, task.y, backend.xp
    scaling = Standardizer(np.full(task.net.n_features, 0.1), np.full(task.net.n_features, 1.5))
    turning = Whitener.fit(np.random.default_rng(0).normal(size=(50, task.net.n_features)))
    weight = backend.array(np.linspace(0.5, 1.5, X.shape[0]))

    def optimized(net: TwoLayerNet, optimizer: Any) -> Any:
        gradients = TwoLayerNet(*(xp.ones_like(array) for array in net))
        return optimizer.update(net, gradients, optimizer.init(net), learning_rate=0.1)[:2]

    found: dict[str, Callable[[TwoLayerNet], Any]] = {
        "logits": lambda net: net.logits(X),
        "predict_proba": lambda net: net.predict_proba(X),
        "predict": lambda net: net.predict(X),
        "accuracy": lambda net: net.accuracy(X, y),
        "loss": lambda net: net.loss(X, y, reg=0.1, label_smoothing=0.1),
        "loss_and_gradients": lambda net: net.loss_and_gradients(X, y, reg=0.1, sample_weight=weight),
        "loss_and_gradients, no reg": lambda net: net.loss_and_gradients(X, y),
        "to": lambda net: net.to(xp, backend.device),
        "astype, the same": lambda net: net.astype(backend.dtype),
        "astype": lambda net: net.astype("float32"),
        "fold, scaling": scaling.fold,
        "fold, turning": turning.fold,
        "symmetrize": lambda net: twolayer.symmetrize(net, (1, task.net.n_features), shifts=0),
        "symmetrize, no flip": lambda net: twolayer.symmetrize(net, (1, task.net.n_features), flip=False),
        "init": lambda net: optimizers.Adam().init(net).moments,
        "update": lambda net: optimized(net, optimizers.SGD())[0],
        "update, moments": lambda net: (
            optimized(net, optimizers.Adam())[0],
            optimized(net, optimizers.Adam())[1].moments,
        ),
    }
    if task.net.n_networks is None:
        found["stack"] = lambda net: twolayer.stack([net, net])
        found["stack of one"] = lambda net: twolayer.stack([net])
    else:
        found["select"] = lambda net: [net.select(0), net.select(-1)]
        found["merge"] = twolayer.merge
    return found


@pytest.mark.parametrize("order", ["straight", "awkward"])
def test_functions_of_a_network_return_unshared_arrays(backend: Backend, task: Task, order: str):
    """Also of a network whose matrices are stored column by column."""
    net = task.net if order == "straight" else awkward(task.net, backend)
    faults = []
    for name, method in methods(task, backend).items():
        try:
            check(method(net), (net, *task[1:]), backend)
        except AssertionError as error:
            faults.append(f"{name}: {str(error).splitlines()[0]}")
    assert not faults, "\n".join(faults)


def test_an_initialized_network_is_stored_row_by_row(backend: Backend):
    net = TwoLayerNet.initialize(4, 5, 3, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    check(net, (), backend)


def test_an_unrolled_network_shares_no_memory_with_its_arrays(backend: Backend):
    arrays = [backend.array(np.ones(shape)) for shape in ((2, 2, 1, 3), (3,), (1, 1, 3, 2), (2,))]
    check(twolayer.unroll(*arrays, image_shape=(4, 4)), arrays, backend)


RUNS: dict[str, dict[str, Any]] = {
    "descent": {"optimizer": optimizers.SGD(), "reg": 0.01},
    "an average": {"optimizer": optimizers.SGD(0.9), "ema_decay": 0.9},
    "patience": {"optimizer": optimizers.AdamW(), "patience": 1, "ema_decay": 0.9},
    "the last is judged": {"judge": "last", "dropout": 0.5},
    "nothing to judge by": {"validation": None},
}


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("order", ["straight", "awkward"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_shares_no_memory_with_callbacks_or_the_caller(
    backend: Backend, task: Task, name: str, order: str
):
    """Nor does it change an array that they got."""
    net = task.net if order == "straight" else awkward(task.net, backend)
    given, held, copies = (net, *task[1:]), [], []

    def watch(progress: twolayer.Progress) -> None:
        if progress.step in (3, 5, 6, 8, 10):  # in the middle and at the end of epochs of 5 steps
            for part in (progress.net(), progress.run(), progress.snapshot()):
                check(part, (given, held), backend)
                held.append(part)
                copies.append([to_host(array) for _, array in tree(part)])

    settings = {"validation": task.validation, "epochs": 4, "batch_size": 5, "rng": 0, **RUNS[name]}
    run = twolayer.train(net, task.X, task.y, callbacks=[watch], **settings)
    assert len(held) >= 12
    check(run, (given, held), backend)
    for part, copy in zip(held, copies, strict=True):
        for (_, array), was in zip(tree(part), copy, strict=True):
            np.testing.assert_array_equal(to_host(array), was)
    # Only `net` may be the same object as `best`, `last` or `average`.
    parts = [part for part in (run.best, run.last, run.average) if part is not None]
    for i, part in enumerate(parts):
        check(part, parts[:i], backend)
    assert any(run.net is part for part in parts)
    # Resuming this run does not change it.
    before = [to_host(array) for _, array in tree(run)]
    more = twolayer.train(run, task.X, task.y, **settings | {"epochs": 5, "rng": None})
    check(more, (given, held, run), backend)
    for (_, array), was in zip(tree(run), before, strict=True):
        np.testing.assert_array_equal(to_host(array), was)


def test_a_loaded_run_and_network_are_stored_row_by_row(backend: Backend, task: Task, tmp_path: Path):
    run = twolayer.train(
        awkward(task.net, backend), task.X, task.y, validation=task.validation, epochs=2, ema_decay=0.5, rng=0
    )
    save_run(run, tmp_path / "run.safetensors")
    check(load_run(tmp_path / "run.safetensors", backend.xp, backend.device), (), backend)
    if task.net.n_networks is None:
        twolayer.save(awkward(run.net, backend), tmp_path / "net.safetensors")
        found = twolayer.load(tmp_path / "net.safetensors", backend.xp, backend.device)
        check(found, (), backend)
        for one, other in zip(found, run.net, strict=True):
            np.testing.assert_array_equal(to_host(one), to_host(other))


def test_the_best_network_of_a_sweep_shares_no_memory(backend: Backend):
    task, held = make_task().on(backend), []

    def watch(progress: twolayer.Progress) -> None:
        if progress.epoch_ended:
            held.append(progress.net())
            check(held[-1], (task[1:], held[:-1]), backend)

    found = twolayer.sweep(
        task.X,
        task.y,
        validation=task.validation,
        grid={"learning_rate": [0.1, 0.01], "seed": [0, 1], "n_hidden": [1, 5], "batch_size": [8]},
        dtype=backend.dtype,
        epochs=2,
        callbacks=[watch],
    )
    assert held
    check(found.best.net, (task[1:], held), backend)


def test_the_check_detects_views_and_other_memory_orders(backend: Backend):
    """Otherwise these tests would pass whatever the library returned."""
    if backend.library == "jax":
        pytest.skip("JAX's arrays cannot change, and have one order")
    array = backend.array(np.arange(12.0).reshape(3, 4))
    with pytest.raises(AssertionError, match="result"):
        check(array.mT, (), backend)
    with pytest.raises(AssertionError, match="result and given"):
        check(array[1:, :], array, backend)
    with pytest.raises(AssertionError, match="result"):
        check(turned(array, xp=backend.xp), (), backend)
    check(backend.xp.asarray(array, copy=True), array, backend)
