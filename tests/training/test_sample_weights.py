"""Weights of samples and of classes have no scale, whatever the range of the network's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.small_runs import assert_same_history, assert_same_net, host_net, make_task

from twolayer import TwoLayerNet, augmentation, sweep, train
from twolayer.network import rescaled

TASK = make_task()
WEIGHTS = np.random.default_rng(0).uniform(0.5, 3, 23)
WEIGHTS[[4, 11]] = 0
WEIGHTS_VAL = np.random.default_rng(1).uniform(0.5, 3, 11)
# Scales in each dtype that weights may have; none is a power of two.
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
    """Each dtype of a network, each dtype of its weights and each scale. JAX has no subnormal numbers."""
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
    [{}, {"class_weight": [1.0, 2.0, 0.25]}, {"augmentation": augmentation.Mixup(0.2)}],
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
def test_a_streamed_run_and_a_sweep_do_not_depend_on_it_either(scale):
    task = TASK._replace(net=TASK.net.astype("float32"))

    def results(factor: float) -> tuple[float, float]:
        data = {
            "sample_weight": factor * WEIGHTS,
            "validation": (task.X_val, task.y_val, factor * WEIGHTS_VAL),
        }
        run = train(task.net, task.X, task.y, stream=True, **data, **SETTINGS)
        table = sweep(task.X, task.y, grid={"reg": [0.0, 0.1]}, epochs=2, **data).table
        return (run.history.validation_loss[-1], *(row["validation_accuracy"] for row in table))

    assert results(scale) == pytest.approx(results(1.0), rel=1e-4)


@given(
    scale=st.floats(-300, 300).map(lambda exponent: 10.0**exponent),
    class_scale=st.floats(-300, 300).map(lambda exponent: 10.0**exponent),
)
def test_any_scale_of_samples_and_classes_gives_the_same_run(scale, class_scale):
    task = TASK._replace(net=TASK.net.astype("float32"))

    def result(factor: float, class_factor: float) -> TwoLayerNet:
        of_class = class_factor * np.array([1.0, 2.0, 0.25])
        own = {"sample_weight": factor * WEIGHTS, "class_weight": of_class}
        return train(task.net, task.X, task.y, **own, **{**SETTINGS, "epochs": 1}).net

    assert_same_net(result(scale, class_scale), result(1.0, 1.0), rtol=1e-5)


def test_weights_in_half_precision_are_multiplied_by_those_of_classes_in_float32():
    task = TASK._replace(net=TASK.net.astype("float32"))
    halves = np.where(np.arange(len(task.X)) % 2, 60000.0, 1e-3).astype(np.float16)

    def run(weights: Any) -> Any:
        own = {"sample_weight": weights, "class_weight": [1.0, 2.0, 0.25], "batch_size": 1}
        return train(task.net, task.X, task.y, **own, epochs=1, rng=0, learning_rate=0.1)

    found, expected = run(halves), run(halves.astype(np.float32))
    assert np.all(found.history.loss > 0)
    assert_same_history(found.history, expected.history, rtol=1e-6)


@given(exponent=st.integers(-700, 700))
def test_a_power_of_two_changes_no_bit(exponent):
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


# Entries that earlier versions wrote to a checkpoint for these weights of 8 samples.
EARLIER = {
    "float64": (np.arange(8) / 8, "d58c2eed85c0047d", "67bbf723446e4e7b"),
    "float32": ((np.arange(8) / 8).astype("f4"), "d58c2eed85c0047d", "67bbf723446e4e7b"),
    "large": (np.arange(8) * 2.0**40, "727b56403cffa1bc", "f2626471abe2226b"),
}


@pytest.mark.parametrize("name", EARLIER)
def test_ordinary_weights_keep_the_fingerprint_of_their_run(name):
    weight, *hashes = EARLIER[name]
    X, y = np.arange(24.0).reshape(8, 3) % 5, np.arange(8) % 2
    for dtype, expected in zip(("float32", "float64"), hashes, strict=True):
        net = TwoLayerNet.initialize(3, 4, 2, rng=0, dtype=dtype)
        run = train(net, X, y, sample_weight=weight, validation=(X, y, weight), epochs=1, rng=0)
        for part in ("sample_weight", "validation sample_weight"):
            assert run._fingerprint[part] == f"{dtype} of shape (8,), {expected}"


def test_integer_weights_keep_the_fingerprint_of_their_run():
    X, y = np.arange(24.0).reshape(8, 3) % 5, np.arange(8) % 2
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    run = train(net, X, y, sample_weight=np.arange(8), epochs=1, rng=0)
    assert run._fingerprint["sample_weight"] == "int64 of shape (8,), 02d6da09d8ea63ad"


def test_runs_of_other_huge_weights_are_told_apart():
    task, weight = TASK._replace(net=TASK.net.astype("float32")), 1e200 * WEIGHTS
    run = train(task.net, task.X, task.y, sample_weight=weight, **SETTINGS)
    settings = {**SETTINGS, "epochs": 3}
    train(run, task.X, task.y, sample_weight=weight, **settings)
    with pytest.raises(ValueError, match="`sample_weight` must be the run's"):
        train(run, task.X, task.y, sample_weight=weight[::-1], **settings)


@pytest.mark.only_on("jax")
def test_compiled_losses_do_not_depend_on_the_scale_either(backend: Backend):
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


def test_weights_that_are_lost_beside_the_largest_count_nothing():
    net = TASK.net.astype("float32")
    weight = np.where(np.arange(23) < 20, WEIGHTS, 1e-60)
    expected = net.loss(TASK.X, TASK.y, sample_weight=np.where(np.arange(23) < 20, WEIGHTS, 0))
    for scale in (1, 1e300):
        assert net.loss(TASK.X, TASK.y, sample_weight=scale * weight) == pytest.approx(expected, rel=1e-6)


@pytest.mark.only_on("jax")
def test_weights_of_zero_stay_zero_where_they_are_traced(backend: Backend):
    import jax

    traced = jax.jit(lambda weight: rescaled(weight, xp=backend.xp))
    for weight in (np.zeros(3), np.array([0.0, 1.5, 2.0])):
        np.testing.assert_array_equal(to_host(traced(backend.array(weight))), weight)
