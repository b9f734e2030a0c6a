"""Streamed samples, which stay on the host while each batch is copied to the network's device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import (
    SETTINGS,
    assert_same_net,
    assert_same_run,
    make_task,
    peak_memory,
    trained_on,
)
from support.sweeps import swept

from twolayer import TwoLayerNet, _validation, train
from twolayer.augmentation import FlipAndShift, Mixup
from twolayer.preprocessing import Standardizer
from twolayer.training import batches

pytestmark = pytest.mark.once_on_jax

MUCH: dict[str, Any] = {
    "sample_weight": np.arange(23) % 4 / 2.0,
    "augmentation": Mixup(0.5),
    "dropout": 0.2,
    "reg": 0.05,
}


@pytest.mark.parametrize(("n_networks", "soft"), [(2, False), (None, True)], ids=["labels", "probabilities"])
def test_streamed_samples_give_the_same_run(backend: Backend, n_networks, soft, monkeypatch):
    task = make_task(n_networks, soft=soft)
    whole = trained_on(backend, task, **MUCH)
    streamed = trained_on(backend, task, **MUCH, stream=True)
    # JAX compiles the two into programs that round differently.
    assert_same_run(streamed, whole, rtol=backend.rtol if backend.library == "jax" else 0.0)
    for net in (streamed.net, streamed.best, streamed.last):
        assert all(backend.owns(array) for array in net)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 300)  # a few steps
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)
    assert_same_run(trained_on(backend, task, **MUCH, stream=True), whole, rtol=backend.rtol)


def test_images_in_a_memory_mapped_file_are_never_loaded_whole(backend: Backend, tmp_path: Path, monkeypatch):
    host = np.random.default_rng(0).integers(0, 256, (2000, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "images").write_bytes(host.tobytes())
    X = np.memmap(tmp_path / "images", np.uint8, "r", shape=host.shape)
    y, y_val = np.arange(2000) % 3, np.arange(500) % 3
    net = TwoLayerNet.initialize(768, 2, 3, rng=0, weight_scale=1e-3, xp=backend.xp, device=backend.device)
    arguments = {"batch_size": 20, "steps": 100, "learning_rate": 1e-6, "rng": 0, "input_dropout": 0.1}
    arguments |= {"preprocessing": Standardizer(np.full(768, 128.0), np.full(768, 1 / 64))}
    there = [backend.array(a) for a in (host, y, host[:500], y_val)]
    expected = train(net, *there[:2], validation=tuple(there[2:]), **arguments)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 2**16)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**14)
    runs = []

    def streamed() -> None:
        runs.append(train(net, X, y, validation=(X[:500], y_val), stream=True, **arguments))

    if backend.library in ("numpy", "strict"):  # tracing memory is slow while a library compiles
        assert peak_memory(streamed) < host.nbytes / 2
    else:
        streamed()
    np.testing.assert_allclose(runs[0].history.loss, expected.history.loss, rtol=1e-5)
    assert_same_net(runs[0].last, expected.last, rtol=1e-5)
    np.testing.assert_allclose(runs[0].train_accuracy, expected.train_accuracy, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", ">i2", "<u2", "bool"])
def test_streamed_samples_may_have_any_real_numpy_dtype(backend: Backend, dtype):
    """Also a dtype that the network's library or device does not have."""
    task, weight = make_task(2), np.arange(23) % 3 + 1
    X, X_val = (np.abs(np.round(4 * a)).astype(dtype) for a in (task.X, task.X_val))
    how = {**SETTINGS, "learning_rate": 0.01, "augmentation": FlipAndShift((2, 2), shift=1)}
    net, of_host = task.on(backend).net, {"validation": (X_val, task.y_val), "sample_weight": weight}
    found = train(net, X, task.y.astype(">i4"), **of_host, stream=True, **how)
    there = task._replace(X=X.astype(np.uint8), X_val=X_val.astype(np.uint8)).on(backend)
    of_backend = {"validation": there.validation, "sample_weight": backend.array(weight)}
    expected = train(net, there.X, there.y, **of_backend, **how)
    assert_same_run(found, expected, rtol=backend.rtol)


@pytest.mark.float32_on_jax
def test_streamed_integers_beyond_32_bits_are_kept(backend: Backend):
    """By default, JAX would wrap them to 32 bits."""
    task = make_task()
    large = task._replace(X=2**40 * np.rint(4 * task.X).astype(np.int64), X_val=None)
    net, how = large.net.astype("float32"), {**SETTINGS, "learning_rate": 1e-26}
    expected = train(net, large.X, large.y, **how)
    there = TwoLayerNet(*map(backend.array, net))
    found = train(there, large.X, large.y, stream=True, **how)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=1e-5)


@pytest.mark.parametrize("placed", [False, True])
def test_a_streamed_sweep_has_the_same_rows(backend: Backend, placed):
    grid = {"learning_rate": [0.01, 0.1], "n_hidden": [3, 5]}
    task = make_task()
    expected = swept(task.on(backend), grid, dtype=backend.dtype)
    where = {"xp": backend.xp, "device": backend.device} if placed else {}
    result = swept(task, grid, dtype=backend.dtype, stream=True, **where)
    if not placed:  # the network then is NumPy's
        assert type(result.best.net.W1) is np.ndarray
        expected = swept(task, grid, dtype=backend.dtype)
    else:
        assert backend.owns(result.best.net.W1)
    for found, wanted in zip(result.runs, expected.runs, strict=True):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key] == (value if isinstance(value, str | None) else pytest.approx(value)), key
