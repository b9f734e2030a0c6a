"""Weights of samples and classes: their product, and that their scale does not matter in any dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.small_runs import (
    Task,
    assert_same_history,
    assert_same_net,
    assert_same_run,
    host_net,
    make_task,
    trained,
    trained_on,
)

from twolayer import TwoLayerNet, _validation, augmentation, sweep, train
from twolayer.network import rescaled
from twolayer.training.data import check_class_weight

TASK = make_task()
NARROW = TASK._replace(net=TASK.net.astype("float32"))
OF_CLASSES = [1.0, 2.0, 0.25]
WEIGHTS = np.random.default_rng(0).uniform(0.5, 3, 23)
WEIGHTS[[4, 11]] = 0
WEIGHTS_VAL = np.random.default_rng(1).uniform(0.5, 3, 11)
# Scales for weights of each dtype. No scale is a power of two, which would be exact.
SCALES = {"float64": (1e-320, 1e-300, 1e-50, 1e-39, 1e37, 1e39, 3e307), "float32": (1e-37, 1e-30, 1e37, 1e38)}
SETTINGS: dict[str, Any] = {"batch_size": 5, "epochs": 2, "learning_rate": 0.1, "rng": 3}


def weighted(backend: Backend, dtype: str, scale: float, weight_dtype: str, **settings: Any) -> Any:
    """A run whose weights are all multiplied by a number."""
    task = TASK.on(backend, dtype)
    own, held_out = (backend.array(scale * each, weight_dtype) for each in (WEIGHTS, WEIGHTS_VAL))
    return train(
        task.net,
        task.X,
        task.y,
        sample_weight=own,
        validation=(task.X_val, task.y_val, held_out),
        **{**SETTINGS, **settings},
    )


def cases(backend: Backend) -> list[tuple[str, str, float]]:
    """Each dtype of a network, of its weights, and each scale. JAX flushes subnormal numbers to 0."""
    every = [(own, of, scale) for own in backend.dtypes for of in backend.dtypes for scale in SCALES[of]]
    return [case for case in every if case[2] != 1e-320 or backend.library != "jax"]


def test_a_loss_does_not_depend_on_the_scale_of_its_weights(backend: Backend):
    for dtype, weight_dtype, scale in cases(backend):
        task = TASK.on(backend, dtype)
        usual, other = (backend.array(factor * WEIGHTS, weight_dtype) for factor in (1, scale))
        loss, gradients = task.net.loss_and_gradients(task.X, task.y, sample_weight=usual)
        found, its_gradients = task.net.loss_and_gradients(task.X, task.y, sample_weight=other)
        rtol = 1e-3 if scale == 1e-320 else 1e-5  # a subnormal number has few digits
        assert float(found) == pytest.approx(float(loss), rel=rtol)
        assert float(task.net.loss(task.X, task.y, sample_weight=other)) == float(found)
        assert_same_net(host_net(its_gradients), host_net(gradients), rtol=rtol)


@pytest.mark.once_on_jax
@pytest.mark.parametrize(
    "settings",
    [{}, {"class_weight": OF_CLASSES}, {"augmentation": augmentation.Mixup(0.2)}],
    ids=["plain", "classes", "mixed"],
)
def test_a_run_does_not_depend_on_the_scale_of_its_weights(backend: Backend, settings):
    for dtype in backend.dtypes:
        expected = weighted(backend, dtype, 1, backend.dtype, **settings)
        for scale in SCALES[backend.dtype][1:]:
            run = weighted(backend, dtype, scale, backend.dtype, **settings)
            assert run.diverged is None
            assert_same_history(run.history, expected.history, rtol=1e-4)
            assert_same_net(run.net, expected.net, rtol=1e-4)
            assert run.validation_accuracy == pytest.approx(expected.validation_accuracy)


@pytest.mark.parametrize("scale", [1e-50, 1e37, 1e300])
def test_a_streamed_run_and_a_sweep_do_not_depend_on_the_scale_of_weights(scale):
    def results(factor: float) -> tuple[float, ...]:
        held_out = TASK.X_val, TASK.y_val, factor * WEIGHTS_VAL
        data = {"sample_weight": factor * WEIGHTS, "validation": held_out}
        run = train(NARROW.net, TASK.X, TASK.y, stream=True, **data, **SETTINGS)
        table = sweep(TASK.X, TASK.y, grid={"reg": [0.0, 0.1]}, epochs=2, **data).table
        return (run.history.validation_loss[-1], *(row["validation_accuracy"] for row in table))

    assert results(scale) == pytest.approx(results(1.0), rel=1e-4)


any_scale = st.floats(-300, 300).map(lambda exponent: 10.0**exponent)


@given(scale=any_scale, class_scale=any_scale)
def test_any_scale_of_sample_and_class_weights_gives_the_same_run(scale, class_scale):
    def result(factor: float, class_factor: float) -> TwoLayerNet:
        own = {"sample_weight": factor * WEIGHTS, "class_weight": class_factor * np.array(OF_CLASSES)}
        return train(NARROW.net, TASK.X, TASK.y, **own, **{**SETTINGS, "epochs": 1}).net

    assert_same_net(result(scale, class_scale), result(1.0, 1.0), rtol=1e-5)


def test_float16_weights_are_multiplied_by_class_weights_in_float32():
    halves = np.where(np.arange(len(TASK.X)) % 2, 60000.0, 1e-3).astype(np.float16)
    own = {**SETTINGS, "class_weight": OF_CLASSES, "batch_size": 1, "epochs": 1}
    found, expected = (
        train(NARROW.net, TASK.X, TASK.y, sample_weight=weight, **own).history
        for weight in (halves, halves.astype(np.float32))
    )
    assert np.all(found.loss > 0)
    assert_same_history(found, expected, rtol=1e-6)


@given(exponent=st.integers(-700, 700))
def test_a_scale_that_is_a_power_of_two_changes_no_bit(exponent):
    scale = 2.0**exponent
    for dtype in ("float32", "float64"):
        net = TASK.net.astype(dtype)
        expected = net.loss(TASK.X, TASK.y, sample_weight=WEIGHTS)
        assert net.loss(TASK.X, TASK.y, sample_weight=scale * WEIGHTS) == expected
        runs = [
            train(net, TASK.X, TASK.y, sample_weight=each, **{**SETTINGS, "epochs": 1})
            for each in (WEIGHTS, scale * WEIGHTS)
        ]
        assert_same_net(runs[1].net, runs[0].net)


# Entries that earlier versions wrote to a checkpoint for these weights of 8 samples, by dtype of the network.
EARLIER = {
    "float64": (np.arange(8) / 8, "float32 d58c2eed85c0047d", "float64 67bbf723446e4e7b"),
    "float32": ((np.arange(8) / 8).astype("f4"), "float32 d58c2eed85c0047d", "float64 67bbf723446e4e7b"),
    "large": (np.arange(8) * 2.0**40, "float32 727b56403cffa1bc", "float64 f2626471abe2226b"),
    "integers": (np.arange(8), "int64 02d6da09d8ea63ad", "int64 02d6da09d8ea63ad"),
}


@pytest.mark.parametrize("name", EARLIER)
def test_ordinary_weights_keep_the_fingerprint_of_earlier_versions(name):
    weight, *earlier = EARLIER[name]
    X, y = np.arange(24.0).reshape(8, 3) % 5, np.arange(8) % 2
    for dtype, entry in zip(("float32", "float64"), earlier, strict=True):
        net = TwoLayerNet.initialize(3, 4, 2, rng=0, dtype=dtype)
        run = train(net, X, y, sample_weight=weight, validation=(X, y, weight), epochs=1, rng=0)
        kept, digest = entry.split()
        for part in ("sample_weight", "validation sample_weight")[: 1 if kept == "int64" else 2]:
            assert run._fingerprint[part] == f"{kept} of shape (8,), {digest}"


def test_runs_with_different_huge_weights_are_distinguished():
    weight = 1e200 * WEIGHTS
    run = train(NARROW.net, TASK.X, TASK.y, sample_weight=weight, **SETTINGS)
    settings = {**SETTINGS, "epochs": 3}
    train(run, TASK.X, TASK.y, sample_weight=weight, **settings)
    with pytest.raises(ValueError, match="`sample_weight` must be the run's"):
        train(run, TASK.X, TASK.y, sample_weight=weight[::-1], **settings)


@pytest.mark.only_on("jax")
def test_compiled_losses_do_not_depend_on_the_scale_of_weights(backend: Backend):
    import jax

    task = TASK.on(backend, "float32")
    loss = jax.jit(lambda weight: task.net.loss(task.X, task.y, sample_weight=weight))
    usual = backend.array(WEIGHTS, "float32")
    expected = float(loss(usual))
    assert expected == pytest.approx(float(task.net.loss(task.X, task.y, sample_weight=usual)), rel=1e-6)
    for scale in SCALES[backend.dtype][1:]:
        assert float(loss(backend.array(scale * WEIGHTS))) == pytest.approx(expected, rel=1e-5)
    vectorised = jax.vmap(loss)(backend.xp.stack([usual, usual * 1e37]))
    np.testing.assert_allclose(to_host(vectorised), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
def test_integers_and_ordinary_weights_are_not_copied(dtype):
    for weight in (np.ones(3, dtype), np.full(3, 1e-18), np.full(3, 1e18, np.float32)):
        assert rescaled(weight, xp=np) is weight


def test_weights_far_below_the_largest_count_as_0():
    weight = np.where(np.arange(23) < 20, WEIGHTS, 1e-60)
    expected = NARROW.net.loss(TASK.X, TASK.y, sample_weight=np.where(np.arange(23) < 20, WEIGHTS, 0))
    for scale in (1, 1e300):
        assert NARROW.net.loss(TASK.X, TASK.y, sample_weight=scale * weight) == pytest.approx(
            expected, rel=1e-6
        )


@pytest.mark.only_on("jax")
def test_weights_of_0_stay_0_while_traced(backend: Backend):
    import jax

    traced = jax.jit(lambda weight: rescaled(weight, xp=backend.xp))
    for weight in (np.zeros(3), np.array([0.0, 1.5, 2.0])):
        np.testing.assert_array_equal(to_host(traced(backend.array(weight))), weight)


@pytest.mark.once_on_jax
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n_networks", [None, 3])
def test_validation_samples_are_weighted(backend: Backend, n_networks, stream, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)  # several blocks
    counts = np.array([1, 0, 3, 2, 1, 0, 5, 1, 1, 2, 4])
    for soft in (False, True):
        task = make_task(n_networks, soft=soft)
        place = (lambda array: array) if stream else backend.array
        there = Task(task.on(backend).net, *map(place, task[1:]))

        def run(*validation, place=place, there=there):
            return trained(there, validation=tuple(map(place, validation)), stream=stream)

        weighted = run(task.X_val, task.y_val, 0.5 * counts)
        repeated = run(task.X_val.repeat(counts, axis=0), task.y_val.repeat(counts, axis=0))
        for name in ("validation_loss", "validation_accuracy"):
            found, expected = (getattr(one.history, name) for one in (weighted, repeated))
            np.testing.assert_allclose(found, expected, rtol=10 * backend.rtol)
        np.testing.assert_array_equal(weighted.best_step, repeated.best_step)
        np.testing.assert_allclose(weighted.validation_accuracy, repeated.validation_accuracy, rtol=1e-6)
        # Integers are accepted as weights too.
        assert_same_history(run(task.X_val, task.y_val, counts).history, weighted.history, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------
# Class weights

SOFT = pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])


@pytest.mark.once_on_jax
@SOFT
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_multiply_sample_weights(backend: Backend, soft, weighted):
    task = make_task(2, soft=soft)
    of_class = np.array([0.5, 2.0, 1.25])
    shares = task.y if soft else np.eye(3)[task.y]
    own = np.arange(23) % 3 + 0.5 if weighted else np.ones(23)
    expected = trained_on(backend, task, sample_weight=own * (shares @ of_class))
    given_weight = {"sample_weight": own} if weighted else {}
    for kind in (list, tuple, np.asarray, backend.array):
        found = trained_on(backend, task, class_weight=kind(of_class.tolist()), **given_weight)
        assert_same_run(found, expected, rtol=backend.rtol)
    streamed = trained_on(backend, task, class_weight=of_class, stream=True, **given_weight)
    assert_same_run(streamed, expected, rtol=backend.rtol)


@pytest.mark.once_on_jax
@SOFT
def test_balanced_classes_have_equal_total_weights(backend: Backend, soft):
    task = make_task(soft=soft)
    if not soft:  # one class has no samples
        task = task._replace(y=np.where(task.y == 1, 0, task.y))
    counts = task.y.sum(axis=0) if soft else np.bincount(task.y, minlength=3)
    of_class = np.array([23 / (3 * n) if n else 0.0 for n in counts])
    for own in ({}, {"sample_weight": np.arange(23) % 3 + 0.5}):
        found, expected, plain = (
            trained_on(backend, task, class_weight=weight, **own) for weight in ("balanced", of_class, None)
        )
        assert_same_run(found, expected, rtol=backend.rtol)
        assert not np.allclose(found.history.loss, plain.history.loss, rtol=1e-3)


@pytest.mark.once_on_jax
@SOFT
def test_the_balanced_weight_of_a_class_is_inverse_to_its_number_of_samples(backend: Backend, soft):
    """N / (C · number of its samples), and 0 for a class without samples."""
    y = np.array([0, 0, 3, 0, 3, 1], np.int32)
    y = backend.array(np.eye(4)[y] if soft else y)
    found = check_class_weight("balanced", y, 4, xp=backend.xp)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [6 / (4 * 3), 6 / (4 * 1), 0.0, 6 / (4 * 2)], rtol=1e-6)
