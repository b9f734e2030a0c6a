"""Differences of CuPy from other libraries: indices, devices, fused kernels, memory, scalars, streams."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.command_line import done, refused
from support.small_runs import Task, assert_same_history, assert_same_net, make_task

import twolayer
from twolayer import TwoLayerNet, _forms, augmentation, checkpoints, optimizers, schedules, storage, train
from twolayer._namespace import leaf
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.training import batches, execution

pytestmark = [pytest.mark.only_on("cupy"), pytest.mark.usefixtures("backend")]

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


@pytest.fixture
def cupy(backend: Backend) -> Iterator[ModuleType]:
    import cupy

    before = cupy.cuda.Device()
    yield cupy
    before.use()


@pytest.fixture
def here(backend: Backend) -> Task:
    return TASK.on(backend, "float32")


@pytest.fixture
def there(backend: Backend, cupy: ModuleType) -> Task:
    """The same task on the second device."""
    with cupy.cuda.Device(1):
        return TASK.on(backend, "float32")


@pytest.fixture
def pool(cupy: ModuleType) -> Iterator[Any]:
    """A pool for this test alone, in which all arrays are allocated."""
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        yield pool


@pytest.fixture
def kernels(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[_forms.FusingCuPy]:
    """The namespace in which steps run; it has not fused any function yet."""
    namespace = _forms.FusingCuPy(backend.xp)
    execution._prepared.cache_clear()
    monkeypatch.setattr(execution, "fast_namespace", lambda xp: namespace)
    yield namespace
    execution._prepared.cache_clear()


@pytest.fixture
def classifier() -> Iterator[Any]:
    """A function that makes an estimator; scikit-learn leaves its arrays in their library."""
    sklearn = pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")
    from twolayer.sklearn import TwoLayerClassifier

    with sklearn.config_context(array_api_dispatch=True):
        yield lambda: TwoLayerClassifier(5, max_iter=2, random_state=0)


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


# ---------------------------------------------------------------------------------------------------------
# Indices


def test_an_index_out_of_range_is_wrapped(cupy):
    """CuPy itself does not refuse such an index, so labels are checked: see the next test."""
    assert cupy.take(cupy.arange(3), cupy.asarray([3, -1, 7])).tolist() == [0, 2, 1]


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize(
    "door",
    [
        lambda task, bad: task.net.loss_and_gradients(task.X, bad.y),
        lambda task, bad: trained(task._replace(y=bad.y), class_weight=[1.0, 2.0, 3.0]),
        lambda task, bad: trained(task._replace(y_val=bad.y_val)),
        lambda task, bad: trained(TASK._replace(net=task.net, y=to_host(bad.y)), stream=True),
        lambda task, bad: swept(task._replace(y=bad.y), n_classes=3),
        lambda task, bad: swept(task._replace(y_val=bad.y_val), n_classes=3),
    ],
)
def test_a_label_out_of_range_is_refused(here, door, label):
    bad = here._replace(y=here.y.copy(), y_val=here.y_val.copy())
    bad.y[-1] = bad.y_val[-1] = label
    with pytest.raises(ValueError, match=rf"y` must hold class labels in \[0, 3\); got a label of {label}$"):
        door(here, bad)


# ---------------------------------------------------------------------------------------------------------
# Devices


@pytest.mark.two_devices
def test_within_another_device_everything_is_as_on_the_first(cupy, here, there):
    def results(task: Task) -> list[Any]:
        run = trained(task, reg=0.1, dropout=0.25, ema_decay=0.5)
        loss, gradients = task.net.loss_and_gradients(task.X, task.y, reg=0.1)
        best, other_best = swept(task).best, swept(TASK, stream=True, xp=cupy).best
        made = TwoLayerNet.initialize(4, 3, 2, rng=0, xp=cupy)
        nets = run.net, run.last, run.average, gradients, best.net, other_best.net, made, unrolled(task)
        arrays = loss, task.net.predict(task.X), Standardizer.fit(task.X).apply(task.X)
        return [*arrays, *(array for net in nets for array in net)]

    expected = results(here)
    with cupy.cuda.Device(1):
        found = results(there)
        with pytest.raises(ZeroDivisionError):
            trained(there, callbacks=[lambda progress: 1 / 0])
        assert cupy.cuda.Device().id == 1
    assert cupy.cuda.Device().id == 0
    for one, other in zip(found, expected, strict=True):
        assert (one.device.id, other.device.id) == (1, 0)
        np.testing.assert_array_equal(to_host(one), to_host(other))


@pytest.mark.two_devices
@pytest.mark.parametrize(
    "door",
    [
        lambda task: task.net.logits(task.X),
        lambda task: task.net.to(np),
        trained,
        streamed,
        swept,
        unrolled,
        lambda task: Standardizer.fit(task.X),
        lambda task: Whitener.fit(TASK.X).apply(task.X),
        lambda task: twolayer.stack([task.net]),
        lambda task: optimizers.SGD().update(task.net, task.net, (), learning_rate=0.1),
    ],
)
def test_arrays_that_are_not_on_the_current_device_are_refused(cupy, there, door):
    message = r"` must be on cupy's current device, <CUDA Device 0>, .*; got <CUDA Device 1>$"
    with pytest.raises(ValueError, match=message):
        door(there)
    assert cupy.cuda.Device().id == 0


@pytest.mark.two_devices
@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val"])
@pytest.mark.parametrize("door", [trained, swept])
def test_arrays_of_two_devices_are_refused_and_both_named(here, there, door, name):
    with pytest.raises(ValueError, match=r"^`.*` must be on .*<CUDA Device 0>.*; got <CUDA Device 1>$"):
        door(here._replace(**{name: getattr(there, name)}))


@pytest.mark.two_devices
def test_a_network_is_copied_from_one_device_to_the_other(cupy, here):
    expected = to_host(here.net.W1)
    there = here.net.to(cupy, cupy.cuda.Device(1))
    here.net.W1[...] = 0
    with cupy.cuda.Device(1):
        back = there.to(cupy, cupy.cuda.Device(0))
        there.W1[...] = 0
    assert [array.device.id for array in (*there, *back)] == [1] * 4 + [0] * 4
    np.testing.assert_array_equal(to_host(back.W1), expected)


@pytest.mark.two_devices
def test_a_run_is_resumed_on_another_device(cupy, here, there, tmp_path):
    how = {**HOW, "optimizer": optimizers.Adam(), "schedule": schedules.Constant()}
    checkpoints.save_run(trained(here, **{**how, "epochs": 1}), tmp_path / "run")
    with cupy.cuda.Device(1):
        run = train(None, there.X, there.y, validation=there.validation, resume=tmp_path / "run", **how)
    assert run.net.W1.device.id == 1
    assert_same_run(run, trained(here, **how))


@pytest.mark.two_devices
def test_an_estimator_is_where_its_samples_are(cupy, here, there, classifier):
    model = classifier().fit(here.X, here.y)
    for call in (lambda: classifier().fit(there.X, there.y), lambda: model.predict(there.X)):
        with pytest.raises(ValueError, match=r"^`X` .* current device, <CUDA Device 0>, .* Device 1>$"):
            call()
    with cupy.cuda.Device(1):
        other = classifier().fit(there.X, there.y)
        with pytest.raises(ValueError, match=r"as those of fit\(\), cupy on <CUDA Device 0>; got .* 1>$"):
            model.predict(there.X)
        moved = pickle.loads(pickle.dumps(model))  # noqa: S301  # to the current device
        for one in (other, moved):
            assert one.net_.W1.device.id == one.classes_.device.id == one.predict(there.X).device.id == 1
            assert_same_net(one.net_, model.net_)


# ---------------------------------------------------------------------------------------------------------
# Fused kernels


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
def test_a_second_run_makes_no_kernel_for_other_numbers_of_features_and_units(backend, kernels, name):
    def made() -> int:
        """Return the number of kernels; CuPy's newer tracer, which makes one a shape, must not be used."""
        assert all(kernel.new_fusion is None for kernel in kernels._kernels.values())
        return sum(len(kernel._memo) for kernel in kernels._kernels.values())

    for n_networks in (None, 2):
        trained(make_task(n_networks, n_samples=28).on(backend, "float32"), **RUNS[name])
        before = made()
        larger = make_task(n_networks, n_samples=28, n_features=9, n_hidden=11, n_validation=5)
        trained(larger.on(backend, "float32"), **RUNS[name], learning_rate=0.2)
        assert made() == before > 0


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


# ---------------------------------------------------------------------------------------------------------
# Memory


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("door", [trained, streamed])
def test_a_run_that_fails_leaves_nothing_in_memory(cupy, pool, here, door, error):
    how = {"reg": 0.1, "dropout": 0.25, "ema_decay": 0.5}
    expected = door(here, **how)

    def fail(progress: twolayer.Progress) -> None:
        if progress.step == 3 and error is MemoryError:
            pool.free_all_blocks()
            pool.set_limit(size=pool.total_bytes())  # the next array does not fit
        elif progress.step == 3:
            raise error

    gc.collect()
    before = pool.used_bytes()
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError if error is MemoryError else error):
        door(here, **how, callbacks=[fail])
    gc.collect()
    assert pool.used_bytes() == before
    pool.set_limit(size=0)
    assert_same_run(door(here, **how), expected)


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
def test_nothing_reads_what_was_never_written(cupy, pool, here, compute):
    """A pool hands out memory with old data in it; new memory, which is often 0, would hide a fault."""

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


# ---------------------------------------------------------------------------------------------------------
# Scalars


@pytest.mark.parametrize("kind", ["float64", "float32", "array"])
def test_a_setting_of_any_kind_leaves_everything_float32(cupy, here, kernels, kind):
    """CuPy promotes a float32 array to float64 if a float64 of NumPy, or an array of no axes, joins it."""

    def results(number: Any, number_or_array: Any) -> list[Any]:
        names = "reg", "dropout", "input_dropout", "label_smoothing", "learning_rate", "ema_decay"
        how = dict.fromkeys(names, number_or_array(0.125))
        how |= {"augmentation": augmentation.Mixup(number(0.5)), "schedule": schedules.Step(number(0.5), 1)}
        loss, gradients = here.net.loss_and_gradients(here.X, here.y, reg=number_or_array(0.125))
        found = [loss, *gradients]
        for optimizer in (
            optimizers.SGD(number(0.5), nesterov=True),
            optimizers.AdamW(number(0.5), number(0.75), weight_decay=number(0.5)),
        ):
            run = trained(here, **how, optimizer=optimizer)
            found += [array for net in (run.net, run.last, run.average, *run._moments) for array in net]
        return found

    number = {"float64": np.float64, "float32": np.float32}.get(kind, float)
    found, expected = results(number, cupy.asarray if kind == "array" else number), results(float, float)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == "float32"
        np.testing.assert_array_equal(to_host(one), to_host(other))
    assert not any("d" in key for kernel in kernels._kernels.values() for key in kernel._memo)


# ---------------------------------------------------------------------------------------------------------
# Host memory and streams


@pytest.mark.parametrize("pinned", [False, True])
def test_a_streamed_run_leaves_the_host_arrays_free_to_be_reused(cupy, here, monkeypatch, pinned):
    """A batch is gathered while the step before it still runs."""
    import cupyx

    monkeypatch.setattr(batches, "CHUNK_BYTES", 1)  # one step at a time
    host = [(cupyx.empty_pinned if pinned else np.empty)(array.shape, array.dtype) for array in TASK[1:]]
    for array, values in zip(host, TASK[1:], strict=True):
        array[...] = values
    run = trained(Task(here.net, *host), stream=True)
    for array, values in zip(host, TASK[1:], strict=True):
        np.testing.assert_array_equal(array, values)
        array[...] = 0
    assert_same_run(run, trained(here))


@pytest.mark.parametrize("non_blocking", [False, True])
def test_work_in_a_stream_of_the_users_own_is_the_same(cupy, here, non_blocking):
    expected = trained(here, dropout=0.25), streamed(here), here.net.loss_and_gradients(here.X, here.y)
    cupy.cuda.Device().synchronize()  # a non-blocking stream waits for no other stream
    with cupy.cuda.Stream(non_blocking=non_blocking) as stream:
        found = trained(here, dropout=0.25), streamed(here), here.net.loss_and_gradients(here.X, here.y)
        assert cupy.cuda.get_current_stream() == stream
        stream.synchronize()
    # cuBLAS promises equal bits only within a single stream.
    assert_same_run(found[0], expected[0], rtol=1e-5)
    assert_same_run(found[1], expected[1], rtol=1e-5)
    assert_same_net(found[2][1], expected[2][1], rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------
# The estimator, the sweep, the command line


def test_a_fitted_estimator_stays_with_cupy_and_survives_a_pickle(cupy, here, classifier):
    model = classifier().fit(here.X, here.y)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert copy.get_params() == model.get_params() == classifier().get_params()
    for one in (model, copy):
        assert_same_net(one.net_, model.net_)
        assert {array.dtype.name for array in one.net_} == {"float32"}
        for array in (*one.net_, one.classes_, one.predict(here.X), one.predict_proba(here.X)):
            assert isinstance(array, cupy.ndarray)
    assert copy.predict_proba(here.X).tolist() == model.predict_proba(here.X).tolist()


def test_a_sweep_on_cupy_ranks_as_one_on_numpy(cupy):
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
def test_the_command_line_works_on_the_device_that_it_is_given(cupy, pool, tmp_path):
    net, *printed = on_the_command_line("cuda:1", tmp_path)
    assert total_bytes(cupy.cuda.Device(0), pool) == 0 < total_bytes(cupy.cuda.Device(1), pool)
    expected_net, *expected = on_the_command_line("0", tmp_path)
    assert_same_net(net, expected_net)
    assert printed[1] == expected[1]


def total_bytes(device: Any, pool: Any) -> int:
    with device:
        return pool.total_bytes()


@pytest.mark.parametrize("device", ["cuda:{}", "{}", "cuda:-1", "cuda:", "cpu"])
def test_the_command_line_refuses_a_device_that_is_not_there(cupy, device):
    n = cupy.cuda.runtime.getDeviceCount()
    line = refused("train", "--library", "cupy", "--device", device.format(n))
    assert f"`--device` must be the number of a GPU, in [0, {n}), for cupy; got {device.format(n)}" in line


class Ranges:
    """An augmentation that makes ranges as it likes, and writes to them."""

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return np.zeros(n)

    def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
        numbers = xp.arange(T.shape[1], dtype=xp.int32, device=X.device)
        numbers += xp.arange(0, T.shape[1])
        return X, T


def test_ranges_of_an_augmentation_are_its_own(here):
    assert_same_run(trained(here, augmentation=Ranges()), trained(here), rtol=1e-6)
