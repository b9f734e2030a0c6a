"""Arguments that train() refuses before the first step: data, networks, settings, and runs to resume."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas
import pytest
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import SETTINGS, Watcher, make_task, other_backend, trained

from twolayer import TwoLayerNet, _validation, schedules, train
from twolayer.augmentation import FlipAndShift, Mixup
from twolayer.preprocessing import Standardizer
from twolayer.training.optimizers import SGD, Adam

pytestmark = pytest.mark.once_on_jax

ARRAYS = ("X", "y", "X_val", "y_val", "sample_weight")


def exactly(message: str) -> str:
    return "^" + re.escape(message) + "$"


def train_on(net: TwoLayerNet, X: Any, y: Any, *held_out: Any, sample_weight: Any, **changes: Any) -> None:
    settings = {**SETTINGS, **changes}
    train(net, X, y, validation=held_out, sample_weight=sample_weight, **settings)


def shown(name: str) -> str:
    """The name of an argument in messages."""
    return "validation " + name.removesuffix("_val") if name.endswith("_val") else name


def edited(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


# Each case makes an array of a valid run invalid.
BAD_INPUT = {
    "X-width": ({"X": lambda a: a[:, :3]}, ValueError, "`X` must have 4 features per sample to fit the network; got shape (23, 3), which is 3"),
    "X-rank": ({"X": lambda a: a[:, 0]}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (23,)"),
    "X-empty": ({"X": lambda a: a[:0], "y": lambda a: a[:0]}, ValueError, "`X` must hold at least one sample; got shape (0, 4)"),
    "X-complex": ({"X": lambda a: a.astype(np.complex64)}, TypeError, "`X` must have a real dtype; got complex64"),
    "X-nan": ({"X": lambda a: edited(a, (3, 1), np.nan)}, ValueError, "`X` must be finite; got nan, first in row 3, column 1 (counted from 0)"),
    "X-inf": ({"X": lambda a: edited(a, (3, 1), np.inf)}, ValueError, "`X` must be finite; got an infinite value, first in row 3, column 1 "),
    "y-short": ({"y": lambda a: a[:22]}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 22"),
    "y-high": ({"y": lambda a: edited(a, 5, 3)}, ValueError, "`y` must hold class labels in [0, 3); got a label of 3"),
    "y-negative": ({"y": lambda a: edited(a, 5, -1)}, ValueError, "`y` must hold class labels in [0, 3); got a label of -1"),
    "y-float": ({"y": lambda a: a.astype(np.float32)}, TypeError, "`y` must have an integer dtype for class labels; got float"),
    "y-scalar": ({"y": lambda a: a[0]}, ValueError, "`y` must have shape (23,) for class labels or (23, 3) for class probabilities; got ()"),
    "T-integers": ({"y": lambda a: np.eye(3, dtype=np.int32)[a]}, TypeError, "`y` must have a real floating dtype for class probabilities; got int32"),
    "T-width": ({"y": lambda a: np.eye(4)[a]}, ValueError, "`y` must have shape (23, 3) for class probabilities; got (23, 4)"),
    "T-negative": ({"y": lambda a: np.eye(3)[a] * 1.5 - np.roll(np.eye(3)[a], 1, axis=1) / 2}, ValueError, "`y` must hold class probabilities of at least 0; got -0.5"),
    "T-sum": ({"y": lambda a: edited(np.eye(3)[a], 4, 0.5)}, ValueError, "`y` must hold class probabilities that sum to 1 for each sample; got a sum that is off by 0.5"),
    "X_val-width": ({"X_val": lambda a: a[:, :3]}, ValueError, "`validation X` must have 4 features per sample to fit the network; got shape (11, 3), which is 3"),
    "X_val-inf": ({"X_val": lambda a: edited(a, (3, 1), np.inf)}, ValueError, "`validation X` must be finite; got an infinite value, first in row 3, column 1 "),
    "y_val-high": ({"y_val": lambda a: edited(a, 0, 3)}, ValueError, "`validation y` must hold class labels in [0, 3); got a label of 3"),
    "w_val-negative": ({"w_val": lambda a: edited(a, 4, -1.5)}, ValueError, "`validation sample_weight` must be finite and at least 0; got a weight of -1.5"),
    "weight-short": ({"sample_weight": lambda _: np.ones(22)}, ValueError, "`sample_weight` must have shape (23,); got (22,)"),
    "weight-negative": ({"sample_weight": lambda _: edited(np.ones(23), 4, -1.5)}, ValueError, "`sample_weight` must be finite and at least 0; got a weight of -1.5"),
    "weight-zero": ({"sample_weight": lambda _: np.zeros(23)}, ValueError, "`sample_weight` must hold a weight above zero; got 0 for every sample"),
}  # fmt: skip


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("case", BAD_INPUT)
def test_invalid_arrays_are_refused(backend: Backend, case):
    changes, error, message = BAD_INPUT[case]
    task = make_task(2)
    host = {**task._asdict(), "w_val": np.ones(11), "sample_weight": np.ones(23)}
    host |= {name: change(host[name]) for name, change in changes.items()}
    del host["net"]
    *there, weight = map(backend.array, host.values())
    called = Watcher()
    with pytest.raises(error, match=re.escape(message)):
        train_on(task.on(backend).net, *there, sample_weight=weight, callbacks=[called])
    assert called.events == []


@pytest.mark.parametrize("value", [1e39, -3.5e38])
@pytest.mark.parametrize(
    "preprocessing", [None, Standardizer(np.full(4, 5.0), np.full(4, 1e-30))], ids=["plain", "preprocessed"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_value_beyond_the_range_of_the_networks_dtype_is_refused(
    backend: Backend, value, preprocessing, stream
):
    """Also with preprocessing, because a folded network would get the value as it is."""
    if backend.dtype == "float32":
        return
    task = make_task()
    net = task.on(backend, "float32").net
    place = (lambda array: array) if stream else backend.array
    good, y, X_val, y_val = map(place, task[1:])
    settings: dict[str, Any] = {**SETTINGS, "preprocessing": preprocessing, "stream": stream}
    message = re.escape(f"got {value:.8g}, first in row 9, column 2 (counted from 0)")
    bad, bad_val = (place(edited(a, (9, 2), value)) for a in (task.X, task.X_val))
    with pytest.raises(ValueError, match="^`X` must hold values within .* float32.*" + message):
        train(net, bad, y, validation=(X_val, y_val), **settings)
    with pytest.raises(ValueError, match="^`validation X` must hold .* float32.*" + message):
        train(net, good, y, validation=(bad_val, y_val), **settings)


def test_a_value_that_is_not_finite_is_located_in_any_block(backend: Backend, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)
    task = make_task()
    bad = task._replace(X=edited(task.X, (12, 0), np.nan)).on(backend)
    with pytest.raises(ValueError, match=r"`X` must be finite; got nan, first in row 12, column 0 "):
        trained(bad)
    bad = task._replace(X_val=edited(task.X_val, (10, 3), -np.inf)).on(backend)
    with pytest.raises(
        ValueError, match=r"`validation X` must be finite; got an infinite value, first in row 10, column 3 "
    ):
        trained(bad)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_two_libraries_are_refused(backend: Backend, name):
    fields = {**make_task().on(backend)._asdict(), "sample_weight": backend.array(np.ones(23))}
    other = other_backend(backend)
    fields[name] = other.array(to_host(fields[name]).astype(np.float32 if "y" not in name else np.int32))
    there, here = ("array_api_strict" if b.library == "strict" else b.library for b in (backend, other))
    beside = {"y": "X", "y_val": "validation X", "sample_weight": "X"}.get(name, "W1")
    message = f"`{shown(name)}` must be an array of the library of `{beside}`, {there}; got one of {here}"
    if name in ("X", "X_val"):
        module = here.replace("jax", "jax.numpy")
        message += (
            f"; `net.to({module})` moves the network there, `initialize(…, xp={module})` makes it there"
        )
    *arrays, weight = fields.values()
    with pytest.raises(TypeError, match=exactly(message)):
        train_on(*arrays, sample_weight=weight)


@pytest.mark.parametrize("name", [*ARRAYS, "b1", "W2", "b2"])
def test_arrays_on_two_devices_are_refused(name):
    here = next(b for b in BACKENDS if b.name == "strict-2025.12")
    there = replace(here, device_name="device1")
    with here.active():
        fields = {**make_task().on(here)._asdict(), "sample_weight": here.array(np.ones(23))}
        if name in ARRAYS:
            fields[name] = there.array(to_host(fields[name]))
        else:
            moved = there.array(to_host(getattr(fields["net"], name)))
            fields["net"] = fields["net"]._replace(**{name: moved})
        *arrays, weight = fields.values()
        message = r"must be on the device of .*'device2'\); got .*'device1'\)"
        with pytest.raises(ValueError, match=message):
            train_on(*arrays, sample_weight=weight)


@pytest.mark.parametrize("name", ARRAYS)
def test_lists_are_refused(name):
    fields = {**make_task()._asdict(), "sample_weight": np.ones(23)}
    fields[name] = fields[name].tolist()
    *arrays, weight = fields.values()
    place, variable = shown(name), shown(name).rpartition(" ")[2]
    message = (
        f"`{place}` must be an array of an array-API library (numpy, cupy, torch, jax); got list; "
        f"use `numpy.asarray({variable})`"
    )
    with pytest.raises(TypeError, match=exactly(message)):
        train_on(*arrays, sample_weight=weight)


def test_a_data_frame_with_a_column_dataset_is_no_data_loader():
    task = make_task()
    with pytest.raises(TypeError, match=re.escape("got DataFrame; use `X.to_numpy()`") + "$"):
        train(task.net, pandas.DataFrame({"dataset": [1.0]}), task.y)


class DataLoader:
    """An iterator of batches, as PyTorch's."""

    dataset = ()


def test_a_data_loader_is_refused_with_a_pointer():
    task = make_task()
    message = "got DataLoader; docs/tutorials/arrays.md has a loop for a DataLoader"
    for how, stream in (("of an array-API library (numpy, cupy, torch, jax)", False), ("", True)):
        with pytest.raises(TypeError, match=re.escape(message) + "$") as caught:
            train(task.net, DataLoader(), task.y, stream=stream)
        assert how in str(caught.value)


@pytest.mark.parametrize("name", ARRAYS)
def test_streamed_samples_must_be_on_the_host(backend: Backend, name):
    task = make_task()
    fields = {**task._asdict(), "net": task.on(backend).net, "sample_weight": np.ones(23)}
    fields[name] = fields[name].tolist() if backend.library == "numpy" else backend.array(fields[name])
    kind = type(fields[name]).__name__
    *arrays, weight = fields.values()
    variable = name.removesuffix("_val")
    hint = f"; use `numpy.asarray({variable})`" if backend.library == "numpy" else ""
    if hasattr(fields[name], "numpy"):
        hint = f"; use `{variable}.numpy(force=True)`"
    message = f"`{shown(name)}` must be a NumPy array if samples are streamed; got {kind}{hint}"
    with pytest.raises(TypeError, match=exactly(message)):
        train_on(*arrays, sample_weight=weight, stream=True)


def test_an_invalid_network_is_refused(backend: Backend):
    task = make_task().on(backend)
    misfit = task.net._replace(b1=task.net.b2)
    with pytest.raises(ValueError, match=r"`b1` must have shape \(5,\); got \(3,\)$"):
        trained(task._replace(net=misfit))
    with pytest.raises(TypeError, match="`W1` must have dtype float32 or float64; got int32"):
        trained(task._replace(net=TwoLayerNet(*(backend.xp.astype(a, backend.xp.int32) for a in task.net))))


@pytest.mark.parametrize(
    "net", [None, 5, "net", (1, 2), tuple(make_task().net)], ids=lambda net: type(net).__name__
)
def test_anything_else_in_place_of_a_network_is_refused(net):
    with pytest.raises(TypeError, match=f"`net` must be a TwoLayerNet.*; got {type(net).__name__}$"):
        trained(make_task()._replace(net=net))


class Fussy(SGD):
    """A user's own optimizer with the optional method `check`."""

    def check(self) -> None:
        raise ValueError("`own` must be otherwise")


BAD_SETTINGS = {
    "reg-one-negative": ({"reg": [0.1, -0.1]}, ValueError, "`reg` must be finite and at least 0; got -0.1"),
    "reg-long": ({"reg": [0.1] * 3}, ValueError, "`reg` must be a number or of shape (2,); got shape (3,)"),
    "reg-text": ({"reg": "0.1"}, TypeError, "`reg` must be a number, or one for each network; got str"),
    "rate-nan": ({"learning_rate": [np.nan, 1]}, ValueError, "`learning_rate` must be finite and at least 0; got nan"),
    "batch-zero": ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1; got 0"),
    "epochs-zero": ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
    "steps-zero": ({"epochs": None, "steps": 0}, ValueError, "`steps` must be at least 1; got 0"),
    "both": ({"epochs": 1, "steps": 5}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
    "judge": ({"judge": "first"}, ValueError, "`judge` must be one of 'best', 'last'; got 'first'"),
    "rng-float": ({"rng": 0.5}, TypeError, "`rng` must be an int, a numpy.random.Generator or None; got float"),
    "validation-none-pair": ({"validation": 3}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got int"),
    "validation-array": ({"validation": np.zeros((2, 4))}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got ndarray"),
    "validation-lists": ({"validation": ([[1.0]], [0])}, TypeError, "`validation X` must be an array of an array-API library (numpy, cupy, torch, jax); got list; use `numpy.asarray(X)`"),
    "dropout-one": ({"dropout": 1.0}, ValueError, "`dropout` must be in [0, 1); got 1"),
    "dropout-negative": ({"dropout": [0.1, -0.1]}, ValueError, "`dropout` must be in [0, 1); got -0.1"),
    "input-one": ({"input_dropout": 1}, ValueError, "`input_dropout` must be in [0, 1); got 1"),
    "input-each": ({"input_dropout": [0.1, 0.1]}, ValueError, "`input_dropout` must be a number; got shape (2,)"),
    "smoothing-high": ({"label_smoothing": 1.01}, ValueError, "`label_smoothing` must be in [0, 1]; got 1.01"),
    "ema-one": ({"ema_decay": 1.0}, ValueError, "`ema_decay` must be in [0, 1); got 1"),
    "ema-each": ({"ema_decay": [0.9, 0.9]}, ValueError, "`ema_decay` must be a number; got shape (2,)"),
    "patience-zero": ({"patience": 0}, ValueError, "`patience` must be at least 1; got 0"),
    "class-name": ({"class_weight": "equal"}, ValueError, "`class_weight` must be one of 'balanced'; got 'equal'"),
    "class-short": ({"class_weight": [1.0, 2.0]}, ValueError, "`class_weight` must have shape (3,); got (2,)"),
    "class-negative": ({"class_weight": [1.0, -2.0, 1]}, ValueError, "`class_weight` must be finite and at least 0; got -2"),
    "class-zero": ({"class_weight": [0, 0, 0]}, ValueError, "`class_weight` must hold a weight above 0; got 0 for every class"),
    "class-bool": ({"class_weight": [True, False, True]}, TypeError, "`class_weight` must hold a number for each class, or be 'balanced'; got bool"),
    "preprocessing-class": ({"preprocessing": Standardizer}, TypeError, "`preprocessing` must be a preprocessing, such as twolayer.preprocessing.Standardizer.fit(X); got the class Standardizer"),
    "augmentation-class": ({"augmentation": Mixup}, TypeError, "`augmentation` must be an augmentation, such as twolayer.augmentation.Mixup(0.2); got the class Mixup"),
    "optimizer-class": ({"optimizer": SGD}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got the class SGD"),
    "optimizer-elsewhere": ({"optimizer": type("SGD", (), {"__module__": "elsewhere"})()}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got elsewhere.SGD"),
    "optimizer-none": ({"optimizer": None}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got NoneType"),
    "optimizer-check": ({"optimizer": Fussy()}, ValueError, "`own` must be otherwise"),
    "schedule-class": ({"schedule": schedules.Cosine}, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got the class Cosine"),
    "schedule-number": ({"schedule": 0.95}, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got float"),
    "schedule-longer": ({"schedule": lambda step, **_: np.ones(len(step) + 1)}, ValueError, "`schedule` must return factors of shape (4,); got (5,)"),  # of an epoch's batches four are full
    "schedule-scalar": ({"schedule": lambda step, **_: 0.5}, ValueError, "`schedule` must return factors of shape (4,); got ()"),
    "patience-alone": ({"patience": 2, "validation": None}, ValueError, "`validation` must be given with `patience`; got None"),
    "no-class-left": ({"class_weight": [0.0, 0.0, 1.0], "y": np.zeros(23, int)}, ValueError, "`class_weight` must leave at least one sample a weight above 0; got 0 for all"),
    "preprocessing-width": ({"preprocessing": Standardizer(np.zeros(3), np.ones(3))}, ValueError, "`preprocessing` must have 4 outputs, the features of the network; got 3"),
    "augmentation-shape": ({"augmentation": FlipAndShift((3, 2), shift=1)}, ValueError, "`image_shape` must have as many values as a sample has features, 4; got (3, 2), which has 6"),
    "one-network-reg": ({"net": make_task().net, "reg": [0.1]}, ValueError, "`reg` must be a number; got shape (1,)"),
    "one-network-rate": ({"net": make_task().net, "learning_rate": [0.1]}, ValueError, "`learning_rate` must be a number; got shape (1,)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_invalid_settings_are_refused(case):
    changes, error, message = BAD_SETTINGS[case]
    task, called = make_task(2), Watcher()
    task = task._replace(**{name: changes[name] for name in ("net", "y") if name in changes})
    settings = {name: value for name, value in changes.items() if name not in ("net", "y")}
    with pytest.raises(error, match=exactly(message)):
        trained(task, **settings, callbacks=[called])
    assert called.events == []


BEGUN = {"plain": {}, "momentum": {"optimizer": SGD(0.9), "ema_decay": 0.9}}
BAD_CONTINUATIONS = {
    "fewer-steps": ("plain", {"epochs": 2}, "`epochs` or `steps` must be the new total, at least the 15 steps that the run has taken; got 10"),
    "another-seed": ("plain", {"rng": 8}, "`rng` must be omitted or be the run's seed, 7; got 8"),
    "a-generator": ("plain", {"rng": np.random.default_rng(7)}, "`rng` must be omitted or be the run's seed, 7; got Generator(PCG64)"),
    "moments": ("plain", {"optimizer": Adam()}, "`optimizer` must be the run's, whose state has 0 moments; got one with 2"),
    "no-moments": ("momentum", {"optimizer": SGD()}, "`optimizer` must be the run's, whose state has 1 moments; got one with 0"),
    "more-moments": ("momentum", {"optimizer": Adam()}, "`optimizer` must be the run's, whose state has 1 moments; got one with 2"),
    "average": ("plain", {"ema_decay": 0.5}, "`ema_decay` must be the run's, which has no average; got 0.5"),
    "no-average": ("momentum", {"ema_decay": None}, "`ema_decay` must be the run's, which has an average; got None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CONTINUATIONS)
def test_a_run_is_not_resumed_with_invalid_settings(case):
    begun, changes, message = BAD_CONTINUATIONS[case]
    task = make_task(2)
    run = trained(task, **BEGUN[begun])
    for allowed in ({"rng": 7}, {"rng": None}):
        assert trained(task._replace(net=run), **{**BEGUN[begun], **allowed}).seed == 7
    with pytest.raises(ValueError, match=exactly(message)):
        trained(task._replace(net=run), **{"rng": None, **BEGUN[begun], **changes})
