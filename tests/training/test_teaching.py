"""Teachers: the samples that they get, the logits that they return, and resumed runs."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
from support.backends import Backend, to_host
from support.small_runs import (
    Watcher,
    assert_same_net,
    assert_same_run,
    linear_teacher,
    make_task,
    other_backend,
    rows_of,
    stopping,
    trained,
    trained_on,
)
from support.sweeps import assert_equal_rows, swept

from twolayer import TwoLayerNet, plan, sweep
from twolayer.augmentation import Chain, FlipAndShift, Mixup
from twolayer.checkpoints import load_run, save_run
from twolayer.preprocessing import Standardizer

TASK = make_task()
LOGITS = linear_teacher(TASK.X)
GRID = {"learning_rate": [0.1, 0.3], "n_hidden": [4], "batch_size": [5]}


class Recorder:
    """A teacher that keeps the batches that it got."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.threads: set[int] = set()

    def __call__(self, X: Any) -> np.ndarray:
        self.given.append(X)
        self.threads.add(threading.get_ident())
        return linear_teacher(X)


@pytest.mark.parametrize("stream", [False, True])
def test_a_teacher_gets_each_batch_before_the_preprocessing(backend: Backend, stream: bool) -> None:
    images = TASK._replace(
        X=np.arange(23 * 4, dtype=np.uint8).reshape(23, 2, 2), X_val=np.zeros((11, 2, 2), np.uint8)
    )
    teacher = Recorder()
    scaling = Standardizer(np.full(4, 40.0), np.full(4, 0.05))
    trained_on(backend, images, teacher=teacher, preprocessing=scaling, stream=stream, epochs=2)
    rows = [own for epoch in (0, 1) for own in rows_of(7, epoch, 23, 5, replacement=False)]
    assert len(teacher.given) == len(rows)
    for found, own in zip(teacher.given, rows, strict=True):
        assert isinstance(found, np.ndarray) if stream else backend.owns(found)
        assert str(found.dtype).endswith("uint8")
        np.testing.assert_array_equal(to_host(found), images.X[own])
    assert teacher.threads == {threading.get_ident()}


def test_a_teacher_gets_samples_that_are_flipped_and_shifted_but_not_mixed(backend: Backend) -> None:
    moving = FlipAndShift((2, 2), shift=1)
    of_moving, of_both = Recorder(), Recorder()
    trained_on(backend, TASK, teacher=of_moving, augmentation=Chain(moving))
    trained_on(backend, TASK, teacher=of_both, augmentation=Chain(Chain(moving), Mixup(0.5)))
    assert len(of_both.given) == 15
    for found, expected, rows in zip(
        of_both.given, of_moving.given, rows_of(7, 0, 23, 5, replacement=False), strict=False
    ):
        np.testing.assert_array_equal(to_host(found), to_host(expected))
        assert not np.array_equal(to_host(found), TASK.X[rows].astype(backend.dtype))
        # Each value of a moved image of 2 by 2 is one of the image's own.
        for image, own in zip(to_host(found), TASK.X[rows].astype(backend.dtype), strict=True):
            assert np.isin(image, own).all()


def test_logits_may_be_of_any_library_and_dtype(backend: Backend) -> None:
    other = other_backend(backend)
    expected = trained_on(backend, TASK, teacher=LOGITS.astype(np.float32))
    for dtype in ("float32", "float64"):
        if dtype == "float64" and other.dtype == "float32":
            continue
        logits = other.array(LOGITS.astype(np.float32), dtype)
        assert_same_net(trained_on(backend, TASK, teacher=logits).net, expected.net)
    found = trained_on(backend, TASK, teacher=lambda X: other.array(linear_teacher(X).astype(np.float32)))
    assert_same_net(found.net, expected.net, rtol=1e-6 if backend.dtype == "float64" else 1e-4)


def test_a_teacher_without_weight_changes_nothing() -> None:
    expected = trained(TASK)
    for teacher in (LOGITS, linear_teacher):
        assert_same_net(trained(TASK, teacher=teacher, teacher_weight=0.0).net, expected.net, rtol=1e-12)


def test_logits_may_be_large() -> None:
    y = np.eye(3)[LOGITS.argmax(axis=1)]
    expected = trained(TASK._replace(y=y)).net
    for factor, temperature in ((1e30, 1e-3), (1e10, 1e-320)):
        run = trained(TASK, teacher=factor * LOGITS, temperature=temperature, teacher_weight=1.0)
        assert_same_net(run.net, expected, rtol=1e-12)


@pytest.mark.parametrize("teacher", [LOGITS, linear_teacher], ids=["logits", "callable"])
@pytest.mark.parametrize("step", [3, 7, 10])
def test_a_stopped_run_resumes_with_its_teacher(
    backend: Backend, teacher: Any, step: int, tmp_path: Any
) -> None:
    how = {
        "teacher": teacher,
        "temperature": 2.0,
        "augmentation": Chain(FlipAndShift((2, 2), shift=1), Mixup()),
    }
    expected = trained_on(backend, TASK, **how)
    # With JAX the steps of an epoch are one block.
    part = trained_on(backend, TASK, **how, callbacks=[Watcher(lambda progress: progress.step >= step)])
    assert step <= part.n_steps < 15
    save_run(part, tmp_path / "run.safetensors")
    stored = load_run(tmp_path / "run.safetensors", backend.xp, backend.device)
    rtol = 0.0 if backend.library == "numpy" else 1e-5
    for earlier in (part, stored):
        assert_same_run(trained_on(backend, TASK, start=earlier, **how), expected, rtol=rtol)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": LOGITS + 1}, r"`teacher` must be the run's, array\(.*; got array\("),
        ({"teacher": linear_teacher}, r"`teacher` must be the run's, array\(.*; got linear_teacher"),
        ({"teacher": None}, r"`teacher` must be the run's, array\(.*; got None"),
        ({"temperature": 1.000001}, r"`temperature` must be the run's, 1; got 1\.000001"),
        ({"teacher_weight": 0.4}, r"`teacher_weight` must be the run's, 0\.5; got 0\.4"),
    ],
)
def test_a_run_can_be_resumed_only_with_its_own_teacher(changes: dict[str, Any], message: str) -> None:
    part = trained(TASK, teacher=LOGITS, callbacks=[stopping(3)])
    with pytest.raises(ValueError, match=message):
        trained(TASK._replace(net=part), rng=None, **{"teacher": LOGITS} | changes)


def test_a_teacher_is_identified_by_its_attribute_name() -> None:
    def named(name: str) -> Recorder:
        teacher = Recorder()
        teacher.name = name  # type: ignore[attr-defined]
        return teacher

    part = trained(TASK, teacher=named("one"), callbacks=[stopping(3)])
    assert trained(TASK._replace(net=part), rng=None, teacher=named("one")).n_steps == 15
    with pytest.raises(ValueError, match=r"the run's, one; got other"):
        trained(TASK._replace(net=part), rng=None, teacher=named("other"))


def test_a_teacher_is_not_compared_by_its_other_attributes() -> None:
    """They may change with each call."""
    part = trained(TASK, teacher=Recorder(), callbacks=[stopping(3)])
    assert trained(TASK._replace(net=part), rng=None, teacher=Recorder()).n_steps == 15
    result = swept(TASK, GRID, teacher=Recorder())
    assert_equal_rows(result.runs, swept(TASK, GRID, teacher=linear_teacher).runs)


def test_a_networks_method_is_identified_by_the_networks_arrays() -> None:
    one, other = (TwoLayerNet.initialize(4, 5, 3, rng=seed) for seed in (0, 1))
    part = trained(TASK, teacher=one.logits, callbacks=[stopping(3)])
    assert trained(TASK._replace(net=part), rng=None, teacher=one.logits).n_steps == 15
    with pytest.raises(ValueError, match=r"the run's, logits of TwoLayerNet.*; got logits of TwoLayerNet"):
        trained(TASK._replace(net=part), rng=None, teacher=other.logits)


def test_a_teacher_may_change_its_batch() -> None:
    def spoiling(X: Any) -> np.ndarray:
        logits = linear_teacher(X)
        X -= 100.0
        return logits

    assert_same_net(trained(TASK, teacher=spoiling).net, trained(TASK, teacher=linear_teacher).net)


def test_a_teacher_is_called_just_before_its_step(backend: Backend) -> None:
    """With JAX it is called before a block of steps, here the full batches of an epoch."""
    teacher = Recorder()
    run = trained_on(backend, TASK, teacher=teacher, callbacks=[Watcher(lambda progress: progress.step >= 2)])
    assert len(teacher.given) == (4 if backend.library == "jax" else 2)
    assert run.n_steps == len(teacher.given)


def test_the_time_of_a_teacher_is_measured() -> None:
    def slow(X: Any) -> np.ndarray:
        time.sleep(0.005)
        return linear_teacher(X)

    assert 15 * 0.005 <= trained(TASK, teacher=slow).teacher_seconds < 60
    assert trained(TASK, teacher=LOGITS).teacher_seconds == 0.0
    assert trained(TASK).teacher_seconds == 0.0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"teacher": 3},
            TypeError,
            r"a callable that returns logits.*, or an array of logits \(N, C\); got int",
        ),
        ({"teacher": Recorder}, TypeError, r"`teacher` must be a callable .*; got the class Recorder"),
        ({"teacher": TASK.net}, TypeError, r"such as `net\.logits`, .*; got TwoLayerNet"),
        ({"teacher": LOGITS[:5]}, ValueError, r"logits of shape \(23, 3\).*; got shape \(5, 3\)"),
        ({"teacher": lambda X: LOGITS}, ValueError, r"logits of shape \(5, 3\).*; got shape \(23, 3\)"),
        ({"teacher": LOGITS * np.nan}, ValueError, "`teacher` must be finite; got nan"),
        ({"teacher": lambda X: linear_teacher(X) * np.inf}, ValueError, "`teacher\\(X\\)` must be finite"),
        ({"teacher": lambda X: [1]}, TypeError, "`teacher\\(X\\)` must be an array of logits; got list"),
        ({"teacher": LOGITS > 0}, TypeError, "must be logits of a real dtype; got bool"),
        ({"teacher": LOGITS, "temperature": 0.0}, ValueError, "`temperature` must be finite and above 0"),
        ({"teacher": LOGITS, "teacher_weight": 1.5}, ValueError, r"`teacher_weight` must be in \[0, 1\]"),
        ({"temperature": "warm"}, TypeError, "`temperature` must be a number"),
    ],
)
def test_invalid_teachers_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(TASK, **changes)
    with pytest.raises(error, match=message):
        sweep(TASK.X, TASK.y, validation=TASK.validation, grid=GRID, **changes)


@pytest.mark.parametrize("teacher", [LOGITS, linear_teacher], ids=["logits", "callable"])
@pytest.mark.parametrize("preprocessing", [None, Standardizer.fit], ids=["plain", "fitted"])
def test_the_rows_of_a_sweep_equal_single_runs(teacher: Any, preprocessing: Any) -> None:
    how: dict[str, Any] = {"teacher": teacher, "temperature": 3.0, "teacher_weight": 0.9, "epochs": 3}
    result = swept(TASK, GRID, preprocessing=preprocessing, **how)
    how["preprocessing"] = None if preprocessing is None else preprocessing(TASK.X)
    task = TASK._replace(net=TwoLayerNet.initialize(4, 4, 3, rng=0, dtype="float64"))
    for row in result.runs:
        run = trained(task, learning_rate=row["learning_rate"], reg=0.0, **how | {"rng": 0})
        assert row["train_accuracy"] == run.train_accuracy
        np.testing.assert_allclose(row["validation_loss"], run.validation_loss, rtol=1e-9)


def test_a_fold_is_taught_by_the_logits_of_its_own_rows() -> None:
    """Whether folds share a stack or have their own preprocessing, and also when their parts are pickled."""
    how: dict[str, Any] = {"folds": 3, "grid": GRID, "teacher_weight": 1.0, "epochs": 3, "dtype": "float64"}
    for preprocessing in (None, Standardizer.fit):
        by_logits, by_calls = (
            sweep(TASK.X, TASK.y, teacher=teacher, preprocessing=preprocessing, **how)
            for teacher in (LOGITS, linear_teacher)
        )
        for one, other in zip(by_logits.runs, by_calls.runs, strict=True):
            np.testing.assert_allclose(one["validation_loss"], other["validation_loss"], rtol=1e-9)
        parts = plan(TASK.X, TASK.y, teacher=linear_teacher, preprocessing=preprocessing, **how, refit=None)
        copies: Any = pickle.loads(pickle.dumps(parts.parts))  # noqa: S301  # our own bytes
        joined = parts.join([part.run(TASK.X, TASK.y) for part in copies]).result
        assert joined is not None
        assert_equal_rows(joined.runs, by_calls.runs)


def test_callbacks_are_called_after_every_step() -> None:
    watcher = Watcher(lambda progress: False)
    trained(TASK, teacher=linear_teacher, callbacks=[watcher], epochs=8)
    assert [step for step, ended in watcher.events if not ended] == list(range(1, 41))
