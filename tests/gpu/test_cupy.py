"""CuPy's indices, scalars, streams and devices, which differ from those of other libraries."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from support.backends import to_host
from support.gpu_runs import HOW, TASK, assert_same_run, streamed, swept, trained, unrolled
from support.small_runs import Task, assert_same_net

import twolayer
from twolayer import TwoLayerNet, augmentation, checkpoints, optimizers, schedules, train
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.training import batches

pytest_plugins = ["support.gpu_fixtures"]
pytestmark = [pytest.mark.only_on("cupy"), pytest.mark.usefixtures("backend")]


def test_an_index_out_of_range_is_wrapped(cupy):
    """CuPy does not refuse such an index, so labels are checked: see the next test."""
    assert cupy.take(cupy.arange(3), cupy.asarray([3, -1, 7])).tolist() == [0, 2, 1]


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize(
    "function",
    [
        lambda task, bad: task.net.loss_and_gradients(task.X, bad.y),
        lambda task, bad: trained(task._replace(y=bad.y), class_weight=[1.0, 2.0, 3.0]),
        lambda task, bad: trained(task._replace(y_val=bad.y_val)),
        lambda task, bad: trained(TASK._replace(net=task.net, y=to_host(bad.y)), stream=True),
        lambda task, bad: swept(task._replace(y=bad.y), n_classes=3),
        lambda task, bad: swept(task._replace(y_val=bad.y_val), n_classes=3),
    ],
)
def test_a_label_out_of_range_is_refused(here, function, label):
    bad = here._replace(y=here.y.copy(), y_val=here.y_val.copy())
    bad.y[-1] = bad.y_val[-1] = label
    with pytest.raises(ValueError, match=rf"y` must hold class labels in \[0, 3\); got a label of {label}$"):
        function(here, bad)


@pytest.mark.parametrize("kind", ["float64", "float32", "array"])
def test_a_setting_of_any_kind_leaves_everything_float32(cupy, here, kernels, kind):
    """CuPy promotes float32 to float64 if it meets a float64 NumPy scalar or an array without axes."""

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


@pytest.mark.parametrize("pinned", [False, True])
def test_host_arrays_can_be_reused_after_a_streamed_run(cupy, here, monkeypatch, pinned):
    """Streaming gathers a batch while the previous step still runs."""
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
def test_results_in_a_stream_of_the_user_are_the_same(cupy, here, non_blocking):
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


@pytest.mark.two_devices
def test_results_on_another_device_equal_those_on_the_first(cupy, here, there):
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
    "function",
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
def test_arrays_that_are_not_on_the_current_device_are_refused(cupy, there, function):
    message = r"` must be on cupy's current device, <CUDA Device 0>, .*; got <CUDA Device 1>$"
    with pytest.raises(ValueError, match=message):
        function(there)
    assert cupy.cuda.Device().id == 0


@pytest.mark.two_devices
@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val"])
@pytest.mark.parametrize("function", [trained, swept])
def test_arrays_on_two_devices_are_refused_and_both_are_named(here, there, function, name):
    with pytest.raises(ValueError, match=r"^`.*` must be on .*<CUDA Device 0>.*; got <CUDA Device 1>$"):
        function(here._replace(**{name: getattr(there, name)}))


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
def test_an_estimator_is_on_the_device_of_its_samples(cupy, here, there, classifier):
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
