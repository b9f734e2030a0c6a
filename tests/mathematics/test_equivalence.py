"""The same seed gives the same run on every array library as on NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import PLAIN, assert_same_net, make_task

from twolayer import TwoLayerNet, schedules, stack, sweep, train

DATA = make_task(n_samples=200, n_features=20, n_hidden=15, n_classes=5, n_validation=60, noise=2.0, seed=1)

SETTINGS = {**PLAIN, "schedule": schedules.Exponential(0.95, every=50), "batch_size": 32, "rng": 3}


def run_on(backend: Backend | None, n_networks: int | None, dtype: str, steps: int, **changes):
    """A run from weights initialized on the backend, or on NumPy if that is None."""
    place = (
        {"dtype": dtype} if backend is None else {"dtype": dtype, "xp": backend.xp, "device": backend.device}
    )
    nets = [TwoLayerNet.initialize(20, 15, 5, rng=k, **place) for k in range(n_networks or 1)]
    data = DATA if backend is None else DATA.on(backend, dtype)
    if backend is None:
        data = data._replace(X=data.X.astype(dtype), X_val=data.X_val.astype(dtype))
    return train(
        nets[0] if n_networks is None else stack(nets),
        data.X,
        data.y,
        validation=data.validation,
        learning_rate=0.1 if n_networks is None else np.linspace(0.05, 0.2, n_networks),
        reg=1e-3 if n_networks is None else np.geomspace(1e-4, 1e-2, n_networks),
        steps=steps,
        **{**SETTINGS, **changes},
    )


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("n_networks", [None, 3])
def test_300_steps_in_float64_are_the_same_as_on_numpy(backend: Backend, n_networks, replacement):
    if "float64" not in backend.dtypes:
        assert backend.name in ("strict-no-float64", "jax-x32")
        return
    found = run_on(backend, n_networks, "float64", 300, replacement=replacement)
    expected = run_on(None, n_networks, "float64", 300, replacement=replacement)
    assert found.history.loss.shape[-1] == 300
    for name, a, b in zip(found.history._fields, found.history, expected.history, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, err_msg=name)
    np.testing.assert_array_equal(found.best_step, expected.best_step)
    np.testing.assert_array_equal(found.train_accuracy, expected.train_accuracy)
    np.testing.assert_array_equal(found.validation_accuracy, expected.validation_accuracy)
    for name in ("net", "best", "last"):
        assert_same_net(getattr(found, name), getattr(expected, name), rtol=1e-9)
    # The run must learn and depend on its seed; otherwise the comparison would show little.
    assert np.all(expected.history.loss[..., -20:].mean(-1) < 0.6 * expected.history.loss[..., :20].mean(-1))
    other = run_on(None, n_networks, "float64", 300, replacement=replacement, rng=4)
    assert not np.allclose(other.history.loss, expected.history.loss, rtol=1e-3)


@pytest.mark.parametrize("n_networks", [None, 3])
def test_20_steps_in_float32_are_the_same_as_on_numpy(backend: Backend, n_networks):
    found = run_on(backend, n_networks, "float32", 20)
    expected = run_on(None, n_networks, "float32", 20)
    exact = run_on(None, n_networks, "float64", 20)
    np.testing.assert_allclose(found.history.loss, expected.history.loss, rtol=2e-5)
    np.testing.assert_allclose(found.history.loss, exact.history.loss, rtol=2e-5)
    assert_same_net(found.last, expected.last, rtol=2e-5)
    np.testing.assert_allclose(found.validation_accuracy, expected.validation_accuracy, atol=1.5 / 60)


def test_a_sweep_is_the_same_as_on_numpy(backend: Backend):
    grid = {"learning_rate": [0.02, 0.1], "reg": [0.0, 1e-2], "n_hidden": [4, 8], "seed": [0, 1]}
    settings = {"grid": grid, "epochs": 3, "dtype": backend.dtype}
    there = DATA.on(backend)
    found = sweep(there.X, there.y, validation=there.validation, **settings)
    X, X_val = (a.astype(backend.dtype) for a in (DATA.X, DATA.X_val))
    expected = sweep(X, DATA.y, validation=(X_val, DATA.y_val), **settings)
    slack = 0.0 if backend.dtype == "float64" else 1.5 / 60
    for a, b in zip(found.runs, expected.runs, strict=True):
        assert {key: a[key] for key in (*grid, "diverged")} == {key: b[key] for key in (*grid, "diverged")}
        for name in ("train_accuracy", "validation_accuracy"):
            assert a[name] == pytest.approx(b[name], abs=slack)
    if not slack:
        assert found.best.settings == expected.best.settings
        assert_same_net(found.best.net, expected.best.net, rtol=1e-10)
