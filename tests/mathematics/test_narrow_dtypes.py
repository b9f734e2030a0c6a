"""Half precision, and dtypes that NumPy lacks, such as bfloat16."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from support.backends import Backend, dtype_name, to_host

from twolayer import TwoLayerNet, sweep, train
from twolayer.augmentation import Mixup
from twolayer.preprocessing import Standardizer, Whitener

pytestmark = pytest.mark.once_on_jax

NARROW = ("bfloat16", "float16")
ONLY_STORED = ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64")


def narrowed(backend: Backend, host: Any, dtype: str) -> tuple[Any, Any]:
    """The host array in a narrow dtype, and the same values in float32."""
    wide = backend.array(np.asarray(host), "float32")
    narrow = backend.xp.astype(wide, dtype_of(backend, dtype))
    return narrow, backend.xp.astype(narrow, backend.xp.float32)


def dtype_of(backend: Backend, name: str) -> Any:
    return getattr(importlib.import_module(backend.module), name)


def net_of(backend: Backend) -> TwoLayerNet:
    return TwoLayerNet.initialize(4, 5, 3, rng=0, xp=backend.xp, device=backend.device)


def arrays_of(run: Any) -> list[np.ndarray]:
    history = run.history
    return [*map(to_host, run.net), history.loss, history.train_accuracy, history.validation_accuracy]


SAMPLES = hnp.arrays(np.float32, (12, 4), elements=st.floats(-100, 100, width=16))


@pytest.mark.only_on("torch", "jax")
@pytest.mark.parametrize("dtype", NARROW)
@given(values=SAMPLES, seed=st.integers(0, 99))
def test_narrow_samples_give_the_same_run_as_in_float32(backend, dtype, values, seed):
    rng = np.random.default_rng(seed)
    net, y = net_of(backend), backend.array(np.arange(12) % 3)
    samples = narrowed(backend, values, dtype)
    weights = narrowed(backend, rng.uniform(0.5, 3, 12), dtype)
    class_weights = narrowed(backend, rng.uniform(0.5, 3, 3), dtype)
    rates = narrowed(backend, rng.uniform(0.001, 0.1), dtype)
    runs = [
        train(
            net,
            X,
            y,
            sample_weight=weight,
            class_weight=class_weight,
            learning_rate=learning_rate,
            validation=(X, y, weight),
            preprocessing=Standardizer.fit(X),
            augmentation=Mixup(0.2),
            epochs=1,
            batch_size=5,
            rng=0,
        )
        for X, weight, class_weight, learning_rate in zip(samples, weights, class_weights, rates, strict=True)
    ]
    for narrow, wide in zip(*map(arrays_of, runs), strict=True):
        assert_array_equal(narrow, wide)


@pytest.mark.only_on("torch", "jax")
@pytest.mark.parametrize("dtype", NARROW)
@given(values=SAMPLES)
def test_narrow_samples_give_the_same_results_as_in_float32(backend, dtype, values):
    net, y = net_of(backend), backend.array(np.arange(12) % 3)
    narrow, wide = narrowed(backend, values, dtype)
    weight, weight_wide = narrowed(backend, np.arange(12) % 3 + 0.1, dtype)
    assert_array_equal(to_host(net.logits(narrow)), to_host(net.logits(wide)))
    assert dtype_name(net.logits(narrow).dtype) == "float32"
    assert_array_equal(
        to_host(net.loss(narrow, y, reg=weight[0], sample_weight=weight)),
        to_host(net.loss(wide, y, reg=weight_wide[0], sample_weight=weight_wide)),
    )
    for kind in (Standardizer, Whitener):
        fitted = kind.fit(narrow)
        for found, expected in zip(fitted.host_arrays(), kind.fit(wide).host_arrays(), strict=True):
            assert_array_equal(found, expected)
        assert_array_equal(to_host(fitted.apply(narrow)), to_host(fitted.apply(wide)))


@pytest.mark.only_on("torch", "jax")
@pytest.mark.parametrize("dtype", NARROW)
@given(logits=hnp.arrays(np.float32, (12, 3), elements=st.floats(-9, 9, width=16)))
def test_probabilities_rounded_to_narrow_dtypes_are_accepted(backend, dtype, logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    narrow, wide = narrowed(backend, exp / exp.sum(axis=1, keepdims=True), dtype)
    net, X = net_of(backend), backend.array(np.ones((12, 4)), "float32")
    loss = float(net.loss(X, narrow))
    run = train(net, X, narrow, class_weight="balanced", epochs=1, rng=0)
    assert np.isfinite(run.history.loss).all()
    if dtype == "float16":  # for float32, the sums of values rounded to bfloat16 are too far from 1
        assert loss == float(net.loss(X, wide))
    with pytest.raises(ValueError, match="must hold class probabilities that sum to 1"):
        net.loss(X, narrow + 0.1)


@pytest.mark.only_on("torch", "jax")
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_samples_give_the_same_sweep_as_in_float32(backend, dtype):
    y = backend.array(np.arange(12) % 3)
    tables = []
    for X in narrowed(backend, np.random.default_rng(0).normal(size=(12, 4)), dtype):
        grid = {"learning_rate": [0.01, 0.1]}
        tables.append(sweep(X, y, validation=(X, y), grid=grid, epochs=2).table)
    assert tables[0] == tables[1]


@pytest.mark.only_on("torch", "jax")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
@given(values=hnp.arrays(np.float32, hnp.array_shapes(max_side=3), elements=st.floats(-9, 9, width=16)))
def test_copies_on_the_host_hold_every_value(backend, dtype, values):
    narrow, wide = narrowed(backend, values, dtype)
    host = to_host(narrow)
    assert host.dtype == ("float16" if dtype == "float16" else "float32")
    assert_array_equal(host, to_host(wide))


@pytest.mark.only_on("jax")
def test_integers_of_4_bits_are_copied_to_the_host_as_int8(backend):
    jnp = importlib.import_module("jax.numpy")
    for dtype in (jnp.int4, jnp.uint4):
        host = to_host(jnp.asarray([0, 3, 7], dtype=dtype))
        assert host.dtype == "int8"
        assert_array_equal(host, [0, 3, 7])


@pytest.mark.only_on("torch")
@pytest.mark.parametrize("dtype", ONLY_STORED)
def test_dtypes_that_pytorch_only_stores_are_refused(backend, dtype):
    net, X, y = net_of(backend), backend.array(np.ones((12, 4)), "float32"), backend.array(np.arange(12) % 3)
    kind = dtype_of(backend, dtype)
    example = "float32" if dtype.startswith("float") else "int64"
    for name, call in {
        "X": lambda: net.logits(X.to(kind)),
        "y": lambda: net.loss(X, y.to(kind)),
        "sample_weight": lambda: net.loss(X, y, sample_weight=X[:, 0].to(kind)),
        "validation X": lambda: train(net, X, y, validation=(X.to(kind), y), epochs=1),
        "validation sample_weight": lambda: train(net, X, y, validation=(X, y, X[:, 0].to(kind)), epochs=1),
    }.items():
        if name == "y" and dtype.startswith("float"):
            name, call = "y", lambda: net.loss(X, X[:, :3].to(kind))
        message = f"^`{name}` must have a dtype that PyTorch computes with, such as {example}; got {dtype}$"
        with pytest.raises(TypeError, match=message):
            call()
    for call in (lambda: Standardizer.fit(X.to(kind)), lambda: Standardizer.fit(X).apply(X.to(kind))):
        with pytest.raises(TypeError, match="`X` must have a dtype that PyTorch computes with"):
            call()
