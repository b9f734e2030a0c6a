"""Preprocessing and augmentation of batches, and parts of a run that users write themselves."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import (
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    make_task,
    stopping,
    trained,
    trained_on,
)

from twolayer import sweep
from twolayer.augmentation import Augmentation, FlipAndShift, Mixup
from twolayer.checkpoints import save_run
from twolayer.preprocessing import Standardizer

pytestmark = pytest.mark.once_on_jax

SCALING = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))
STREAMED = pytest.mark.parametrize("stream", [False, True])


def transformed(task: Task, scaling: Standardizer) -> Task:
    """The task, its samples preprocessed in advance."""
    X, X_val = ((a.astype(np.float64) - scaling.mean) * scaling.scale for a in (task.X, task.X_val))
    return task._replace(X=X, X_val=X_val)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_preprocessing_each_batch_equals_preprocessing_in_advance(backend: Backend, n_networks):
    task = make_task(n_networks)
    changes = {"dropout": 0.2, "input_dropout": 0.3, "ema_decay": 0.5}
    found = trained_on(backend, task, preprocessing=SCALING, **changes)
    assert_same_run(found, trained_on(backend, transformed(task, SCALING), **changes), rtol=backend.rtol)
    there, folded = task.on(backend), SCALING.fold(found.net)
    for accuracy, data in (
        (found.validation_accuracy, there.validation),
        (found.train_accuracy, (there.X, there.y)),
    ):
        np.testing.assert_allclose(to_host(folded.accuracy(*data)), accuracy, rtol=1e-6)


def test_images_of_bytes_train_as_if_preprocessed_in_advance(backend: Backend):
    rng = np.random.default_rng(0)
    X, X_val = (rng.integers(0, 256, (n, 4), dtype=np.uint8) for n in (23, 11))
    task, scaling = make_task(2)._replace(X=X, X_val=X_val), Standardizer.fit(X)
    expected = trained_on(backend, transformed(task, scaling))
    images = task._replace(X=X.reshape(23, 2, 2), X_val=X_val.reshape(11, 2, 2))
    for stream in (False, True):
        found = trained_on(backend, images, preprocessing=scaling, stream=stream)
        assert_same_run(found, expected, rtol=2 * backend.rtol)


# ---------------------------------------------------------------------------------------------------------
# Features with a large mean


def far_task(dtype: str) -> tuple[Task, Standardizer]:
    """A task whose features have a large mean and a small spread, and the `Standardizer` fitted to them."""
    task = make_task(2, n_samples=60, n_validation=30)
    X, X_val = (np.rint(1.7e9 + 4 * a).astype(dtype) for a in (task.X, task.X_val))
    return task._replace(X=X, X_val=X_val), Standardizer.fit(X, scale="feature")


def narrow(task: Task, backend: Backend, stream: bool) -> Task:
    """The task with a float32 network; its samples keep their dtype, on the backend or on the host."""
    data = task[1:] if stream else (backend.array(a, a.dtype.name) for a in task[1:])
    return Task(task.on(backend, "float32").net, *data)


@pytest.mark.float32_on_jax
@pytest.mark.parametrize("dtype", ["float64", "int32", "int64"])
@STREAMED
def test_features_with_a_large_mean_train_as_if_standardized_in_advance(backend: Backend, dtype, stream):
    """With a float32 network, for samples of any dtype, streamed or not."""
    if not stream and "float64" not in backend.dtypes:
        dtype = "int32"  # the backend has no wider dtype
    host, scaling = far_task(dtype)
    expected = trained(transformed(host, scaling).on(backend, "float32"), dropout=0.2, epochs=2)
    there, how = narrow(host, backend, stream), {"preprocessing": scaling, "dropout": 0.2, "stream": stream}
    found = trained(there, **how, epochs=2)
    assert_same_run(found, expected, rtol=1e-4)
    again = trained(there._replace(net=None), **how, resume=found, epochs=3, rng=None)
    assert again.n_steps == 3 * 12


def test_a_sweep_standardizes_features_with_a_large_mean():
    host, scaling = far_task("float64")
    plain = transformed(host, scaling)
    arguments: dict[str, Any] = {"grid": {"learning_rate": [0.1, 0.01]}, "epochs": 3}
    found = sweep(host.X, host.y, validation=host.validation, preprocessing=scaling, **arguments)
    expected = sweep(plain.X, plain.y, validation=plain.validation, **arguments)
    for one, other in zip(found.histories, expected.histories, strict=True):
        assert_same_history(one, other, rtol=1e-4)


@STREAMED
@pytest.mark.parametrize(
    "augmentation", [FlipAndShift((2, 2), flip=False, shift=0), Mixup(0.5)], ids=["images", "mixup"]
)
def test_augmentation_keeps_the_precision_of_features_with_a_large_mean(
    backend: Backend, augmentation, stream
):
    exact = "float64" in backend.dtypes
    host, scaling = far_task("float64" if exact else "int32")
    there = narrow(host, backend, stream)
    how = {"augmentation": augmentation, "validated": False, "epochs": 2}
    if not exact:
        message = (
            r"^`augmentation` must be omitted because the device has no float64 for the samples: "
            r"feature \d has a mean of 1.7e\+09, and rounding it to float32 changes its preprocessed values"
        )
        with pytest.raises(ValueError, match=message):
            trained(there, preprocessing=scaling, stream=stream, **how)
        return
    expected = trained(transformed(host, scaling).on(backend, "float32"), **how)
    assert_same_run(trained(there, preprocessing=scaling, stream=stream, **how), expected, rtol=1e-4)


@pytest.mark.float32_on_jax
@STREAMED
def test_integers_near_0_can_be_augmented_without_float64(backend: Backend, stream):
    task = make_task(2)
    X, X_val = (np.rint(50 * a) for a in (task.X, task.X_val))
    host = task._replace(X=X.astype(np.int32), X_val=X_val.astype(np.int32))
    how = {"preprocessing": Standardizer.fit(host.X), "augmentation": FlipAndShift((2, 2), shift=1)}
    found = trained(narrow(host, backend, stream), stream=stream, **how, epochs=2)
    expected = trained(task._replace(X=X, X_val=X_val).on(backend, "float32"), **how, epochs=2)
    assert_same_run(found, expected, rtol=1e-4)


@pytest.mark.parametrize("backend_name", ["numpy", "strict-no-float64"])
def test_a_run_resumes_with_samples_as_they_were_passed(backend_name, tmp_path: Path):
    """Whether the samples are centred on the host or not."""
    backend = next(b for b in BACKENDS if b.name == backend_name)
    task, scaling = far_task("int32")
    host = task._replace(net=task.net.astype("float32"))
    begun = trained(host, preprocessing=scaling, epochs=2)
    save_run(begun, tmp_path / "run")
    how = {"preprocessing": scaling, "rng": None}
    with backend.active():
        there = Task(None, *map(backend.array, host[1:]))
        found = trained(there, **how, resume=tmp_path / "run")
    expected = trained(host._replace(net=None), **how, resume=begun)
    assert_same_run(found, expected, rtol=0.0 if backend_name == "numpy" else 1e-4)


# ---------------------------------------------------------------------------------------------------------
# Augmentation


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_augmentation_without_effect_gives_the_same_run(backend: Backend, soft, weighted):
    weight = np.arange(23) % 4 / 2.0 if weighted else None
    found, expected = (
        trained_on(
            backend, make_task(2, soft=soft), augmentation=each, label_smoothing=0.1, sample_weight=weight
        )
        for each in (FlipAndShift((2, 2), flip=False, shift=0), None)
    )
    assert_same_run(found, expected, rtol=backend.rtol)


def test_only_training_samples_are_augmented_and_before_the_preprocessing(backend: Backend):
    @dataclass(frozen=True)
    class Brighter:
        """An augmentation that adds 1 to samples."""

        def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
            return np.ones(n, np.int32)

        def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
            return X + xp.astype(xp.expand_dims(draws, axis=1), X.dtype), T

    task = make_task(2)
    watcher = Watcher(nets=True)
    found = trained_on(backend, task, augmentation=Brighter(), preprocessing=SCALING, callbacks=[watcher])
    moved = Standardizer(SCALING.mean - 1.0, SCALING.scale)
    expected = trained_on(backend, task, preprocessing=moved)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=backend.rtol)
    assert_same_net(found.last, expected.last, rtol=backend.rtol)
    there = task.on(backend)
    folded = [SCALING.fold(net) for net in watcher.nets]
    accuracy = np.stack([to_host(net.accuracy(*there.validation)) for net in folded], axis=-1)
    np.testing.assert_allclose(found.history.validation_accuracy, accuracy, rtol=1e-6)
    accuracy = to_host(SCALING.fold(found.net).accuracy(there.X, there.y))
    np.testing.assert_allclose(found.train_accuracy, accuracy, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------
# Parts that users write themselves


@dataclass  # without `frozen`, so that instances cannot be hashed
class Noisy:
    """A user's own augmentation."""

    size: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Any, ...]:
        return rng.standard_normal((n, 4)), (rng.integers(2, size=n, dtype=np.int32), ())

    def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
        noise, (signs, nothing) = draws
        assert nothing == ()
        assert noise.dtype == T.dtype
        mirrored = xp.where(xp.expand_dims(signs, axis=1) == 1, -1.0 * X, X)
        return mirrored + self.size * noise, T


@dataclass
class Signs:
    """A user's own optimizer: shrinking steps by a soft sign of the summed gradients."""

    size: float = 0.5
    n_moments = 1
    scaled = False

    def coefficients(self, step: np.ndarray) -> np.ndarray:
        return np.stack([1.0 / (1.0 + step), np.zeros(len(step))], axis=1)

    def move(self, weights, gradients, moments, rates, coefficients, *, xp):
        sums = tuple(m + g for m, g in zip(moments[0], gradients, strict=True))
        moved = tuple(
            w - rate * self.size * coefficients[0] * m / (1.0 + xp.abs(m))
            for w, m, rate in zip(weights, sums, rates, strict=True)
        )
        return moved, (sums,)


class Falling:
    """A user's own schedule, which returns its factors as a list."""

    __hash__ = None

    def __call__(self, step: np.ndarray, *, steps_per_epoch: int, steps: int) -> list[float]:
        return [1.0 / (1.0 + s / steps_per_epoch) for s in step.tolist()]


@pytest.mark.usefixtures("each_step")
def test_a_run_accepts_parts_that_users_write(backend: Backend):
    task = make_task(2)
    own = {"augmentation": Noisy(0.1), "optimizer": Signs(), "schedule": Falling()}
    changes = {**own, "preprocessing": SCALING, "ema_decay": 0.6, "learning_rate": 0.1}
    for part in own.values():
        with pytest.raises(TypeError, match="unhashable"):
            hash(part)
    found, expected = (trained_on(b, task, **changes) for b in (backend, BACKENDS[0]))
    assert_same_net(found.last, expected.last, rtol=backend.rtol)
    assert_same_net(found.average, expected.average, rtol=backend.rtol)
    assert_same_run(trained_on(backend, task, **changes), found)
    factors = 1 / (1 + np.array([4, 9, 14]) / 5)
    np.testing.assert_allclose(found.history.learning_rate, [0.1 * factors] * 2, rtol=1e-12)
    part = trained_on(backend, task, **changes, callbacks=[stopping(3)])
    assert_same_run(trained_on(backend, task, start=part, **changes), found)


class Halves:
    """A user's own preprocessing to half the features: the mean of each two neighbours."""

    n_inputs, n_outputs = 8, 4

    def host_arrays(self) -> tuple[np.ndarray, ...]:
        return (np.kron(np.eye(4), np.full((2, 1), 0.5)),)

    @staticmethod
    def transform(X: Any, arrays: tuple[Any, ...], *, xp: ModuleType) -> Any:
        return xp.matmul(xp.astype(X, arrays[0].dtype), arrays[0])


def test_a_users_own_preprocessing_may_return_fewer_features(backend: Backend):
    task, how = make_task(2), {"preprocessing": Halves(), "dropout": 0.3}
    doubled = task._replace(X=np.repeat(task.X, 2, axis=1), X_val=np.repeat(task.X_val, 2, axis=1))
    found, streamed = (trained_on(backend, doubled, **how, stream=stream) for stream in (False, True))
    assert_same_run(found, trained_on(backend, task, dropout=0.3), rtol=backend.rtol)
    assert_same_run(streamed, found, rtol=backend.rtol)
    message = r"X` must have 8 features per sample to fit the network; got shape \(\d+, 4\), which is 4$"
    for name, misfit in (("", task), ("validation ", doubled._replace(X_val=task.X_val))):
        with pytest.raises(ValueError, match=f"^`{name}{message}"):
            trained_on(backend, misfit, **how)


@STREAMED
def test_a_users_own_preprocessing_gets_its_arrays_in_the_networks_dtype(stream):
    given_dtypes = set()

    class Watched(Halves):
        def transform(self, X: Any, arrays: tuple[Any, ...], *, xp: ModuleType) -> Any:
            given_dtypes.add((X.dtype.name, arrays[0].dtype.name))
            return super().transform(X, arrays, xp=xp)

    host = make_task(2)
    doubled = host._replace(net=host.net.astype("float32"), X=np.repeat(host.X, 2, axis=1))
    trained(doubled, validated=False, preprocessing=Watched(), stream=stream)
    assert given_dtypes == {("float32" if stream else "float64", "float32")}


def test_the_check_of_an_augmentation_gets_the_number_of_features():
    seen = []

    class Checked(Noisy):
        def check(self, n_features: int) -> None:
            seen.append(n_features)
            raise ValueError("not these")

    with pytest.raises(ValueError, match=r"^not these$"):
        trained(make_task(), augmentation=Checked(0.1))
    assert seen == [4]
    assert not hasattr(Augmentation, "check")  # the method is optional


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        (lambda n: np.zeros(n + 1), r"shape \(6,\)"),
        (lambda n: (np.zeros(n), np.zeros((1, n))), r"shape \(1, 5\)"),
        (lambda n: (np.zeros(n), (np.float64(3),)), "float64"),
        (lambda n: np.zeros(()), r"shape \(\)"),
        (lambda n: [0.0] * n, "list"),
        (lambda n: None, "NoneType"),
    ],
)
def test_draws_of_wrong_types_or_lengths_are_refused(drawn, shown):
    class Wrong(Noisy):
        def draw(self, rng: np.random.Generator, n: int) -> Any:
            return drawn(n)

    wanted = "NumPy arrays, or tuples of them, with a first axis of 5"
    with pytest.raises(ValueError, match=f"^`augmentation.draw` must return {wanted}; got {shown}$"):
        trained(make_task(), augmentation=Wrong(0.1))


def test_an_error_in_a_draw_propagates_and_leaves_no_thread():
    class Failing(Noisy):
        def draw(self, rng: np.random.Generator, n: int) -> Any:
            raise KeyError("mine")

    before, n_threads = np.geterr(), threading.active_count()
    with pytest.raises(KeyError, match="mine"):
        trained(make_task(), augmentation=Failing(0.1))
    trained(make_task(), augmentation=Noisy(0.1), callbacks=[stopping(3)])

    def fail(progress: Any) -> None:
        raise IndexError("of a callback")

    with pytest.raises(IndexError, match="of a callback"):
        trained(make_task(), dropout=0.5, callbacks=[fail])
    assert np.geterr() == before
    assert threading.active_count() == n_threads
