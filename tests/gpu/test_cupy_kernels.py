"""CuPy's fused kernels and memory, and the estimator, sweeps and command line on CuPy."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.backends import to_host
from support.command_line import done, refused
from support.gpu_runs import GRID, RUNS, TASK, assert_same_run, streamed, swept, trained, unrolled
from support.small_runs import assert_same_net, make_task

import twolayer
from twolayer import TwoLayerNet, storage
from twolayer._namespace import leaf
from twolayer.preprocessing import Standardizer, Whitener

pytest_plugins = ["support.gpu_fixtures"]
pytestmark = [pytest.mark.only_on("cupy"), pytest.mark.usefixtures("backend")]


def test_a_function_is_traced_once_for_each_dtype_and_number_of_axes(cupy, kernels):
    traces = []

    @leaf
    def scaled(a, b, *, xp, factor):
        traces.append(factor)
        return a * factor if b is None else a * factor + b

    def call(*shape: int, dtype: str = "float32", factor: float = 2.0, add: bool = True) -> int:
        traces.clear()
        a = cupy.arange(np.prod(shape), dtype=dtype).reshape(shape)
        found = scaled(a, cupy.ones(shape[-1], dtype) if add else None, xp=kernels, factor=factor)
        np.testing.assert_array_equal(found.get(), factor * a.get() + add, strict=True)
        return len(traces)

    assert [call(2, 3), call(2, 3), call(5, 7), call(4, 1), call(0, 3)] == [1, 0, 0, 0, 0]
    assert [call(2, 3, 4), call(1, 5, 2)] == [1, 0]
    assert [call(2, 3, dtype="float64"), call(3, 2, dtype="float64")] == [1, 0]
    assert [call(2, 3, add=False), call(5, 2, add=False)] == [1, 0]
    assert [call(2, 3, factor=3.0), call(2, 4, factor=3.0), call(2, 4)] == [1, 0, 0]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_other_sizes_compiles_no_new_kernel(backend, kernels, name):
    def n_kernels() -> int:
        """Return the number of kernels. CuPy's newer tracer makes one for each shape and must not be used."""
        assert all(kernel.new_fusion is None for kernel in kernels._kernels.values())
        return sum(len(kernel._memo) for kernel in kernels._kernels.values())

    for n_networks in (None, 2):
        trained(make_task(n_networks, n_samples=28).on(backend, "float32"), **RUNS[name])
        before = n_kernels()
        larger = make_task(n_networks, n_samples=28, n_features=9, n_hidden=11, n_validation=5)
        trained(larger.on(backend, "float32"), **RUNS[name], learning_rate=0.2)
        assert n_kernels() == before > 0


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda a, *, xp: a * 2.0 if float(xp.sum(a)) > 0 else a, "TypeError"),
        (lambda a, *, xp: a[:1] * 2.0, "NotImplementedError"),
        (lambda a, *, xp: xp.reshape(a, (-1,)), "AttributeError"),
    ],
)
def test_a_function_that_cannot_be_traced_is_named(cupy, kernels, function, error):
    function.__name__ = "half"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=rf"^`half` must be .* cupy.fuse can trace; got {error}: \S"):
            leaf(function)(cupy.ones((2, 3)), xp=kernels)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("function", [trained, streamed])
def test_a_run_that_fails_leaves_nothing_in_memory(cupy, pool, here, function, error):
    how = {"reg": 0.1, "dropout": 0.25, "ema_decay": 0.5}
    expected = function(here, **how)

    def fail(progress: twolayer.Progress) -> None:
        if progress.step == 3 and error is MemoryError:
            pool.free_all_blocks()
            pool.set_limit(size=pool.total_bytes())  # the next array does not fit
        elif progress.step == 3:
            raise error

    gc.collect()
    before = pool.used_bytes()
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError if error is MemoryError else error):
        function(here, **how, callbacks=[fail])
    gc.collect()
    assert pool.used_bytes() == before
    pool.set_limit(size=0)
    assert_same_run(function(here, **how), expected)


@pytest.mark.parametrize(
    "compute",
    [
        *(lambda task, how=how: trained(task, **how).last for how in RUNS.values()),
        lambda task: streamed(task, patience=1).net,
        lambda task: swept(task).best.net,
        lambda task: task.net.loss_and_gradients(task.X, task.y, reg=0.1)[1],
        lambda task: [task.net.predict_proba(task.X), task.net.loss(task.X, task.y)],
        lambda task: [Standardizer.fit(task.X).apply(task.X), Whitener.fit(task.X).apply(task.X)],
        lambda task: twolayer.merge(twolayer.stack([task.net, task.net])),
        unrolled,
    ],
)
def test_no_result_depends_on_memory_that_was_never_written(cupy, pool, here, compute):
    """A pool returns memory with old data. New memory is often 0, which would hide a fault."""

    class Unwritten(cupy.cuda.MemoryHook):
        name, blocks = "Unwritten", 0

        def malloc_postprocess(self, *, mem_ptr: int, mem_size: int, **_: Any) -> None:
            self.blocks += 1  # as floating-point numbers these bytes are nan
            cupy.cuda.runtime.memsetAsync(mem_ptr, 0xFF, mem_size, cupy.cuda.get_current_stream().ptr)

    expected = [to_host(array) for array in compute(here)]
    with Unwritten() as hook:
        found = [to_host(array) for array in compute(here)]
    assert hook.blocks
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(other).all()
        np.testing.assert_array_equal(one, other)


def test_a_fitted_estimator_keeps_cupy_arrays_and_can_be_pickled(cupy, here, classifier):
    model = classifier().fit(here.X, here.y)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert copy.get_params() == model.get_params() == classifier().get_params()
    for one in (model, copy):
        assert_same_net(one.net_, model.net_)
        assert {array.dtype.name for array in one.net_} == {"float32"}
        for array in (*one.net_, one.classes_, one.predict(here.X), one.predict_proba(here.X)):
            assert isinstance(array, cupy.ndarray)
    assert copy.predict_proba(here.X).tolist() == model.predict_proba(here.X).tolist()


def test_a_sweep_ranks_candidates_the_same_on_cupy_and_numpy(cupy):
    how = {"grid": {**GRID, "seed": [0, 1]}, "stream": True}
    expected, found = swept(TASK, **how), swept(TASK, **how, xp=cupy, device=cupy.cuda.Device())
    assert isinstance(found.best.net.W1, cupy.ndarray)
    assert found.best.settings == expected.best.settings
    assert_same_net(found.best.net, expected.best.net, rtol=1e-4)
    for one, other in zip(found.table, expected.table, strict=True):
        assert one["validation_accuracy"] == pytest.approx(other["validation_accuracy"])


def on_the_command_line(device: str, folder: Path) -> tuple[TwoLayerNet, str, str]:
    """Train, evaluate and predict on the device; return the network and what is printed."""
    where, out = ("--library", "cupy", "--device", device), folder / device[-1]
    done("train", "--steps", 20, "--hidden", 5, "-q", *where, "--out", out)
    np.save(folder / "some.npy", twolayer.datasets.load_digits().test.X[:5])
    printed = done("evaluate", out, *where), done("predict", out, folder / "some.npy", *where)
    return storage.load(out / "network.safetensors"), *printed


@pytest.mark.two_devices
def test_the_command_line_runs_on_the_given_device(cupy, pool, tmp_path):
    net, *printed = on_the_command_line("cuda:1", tmp_path)
    assert total_bytes(cupy.cuda.Device(0), pool) == 0 < total_bytes(cupy.cuda.Device(1), pool)
    expected_net, *expected = on_the_command_line("0", tmp_path)
    assert_same_net(net, expected_net)
    assert printed[1] == expected[1]


def total_bytes(device: Any, pool: Any) -> int:
    with device:
        return pool.total_bytes()


@pytest.mark.parametrize("device", ["cuda:{}", "{}", "cuda:-1", "cuda:", "cpu"])
def test_the_command_line_refuses_a_device_that_does_not_exist(cupy, device):
    n = cupy.cuda.runtime.getDeviceCount()
    line = refused("train", "--library", "cupy", "--device", device.format(n))
    assert f"`--device` must be the number of a GPU, in [0, {n}), for cupy; got {device.format(n)}" in line


class Ranges:
    """An augmentation that makes ranges in two ways, and writes to one of them."""

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return np.zeros(n)

    def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
        numbers = xp.arange(T.shape[1], dtype=xp.int32, device=X.device)
        numbers += xp.arange(0, T.shape[1])
        return X, T


def test_an_augmentation_can_write_to_its_ranges(here):
    assert_same_run(trained(here, augmentation=Ranges()), trained(here), rtol=1e-6)
