"""The caller's settings of `numpy.seterr`, which change no result, and numbers beyond a dtype's range."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend, to_host
from support.refusals import refusal
from support.small_runs import make_task, tries

from twolayer import TwoLayerNet, merge, optimizers, stack, sweep, symmetrize, train
from twolayer.preprocessing import Standardizer, Whitener

pytestmark = pytest.mark.once_on_jax

# Scales for which float32 lacks digits, exponentials underflow, or networks overflow.
SCALES = (1e-44, 1e-20, 1.0, 1e3, 1e18)


def numbers(found: Any) -> list[np.ndarray]:
    """Every array of a result, on the host."""
    if isinstance(found, tuple | list):
        return [array for one in found for array in numbers(one)]
    return [to_host(found)] if hasattr(found, "dtype") else [np.asarray(found)]


def results(backend: Backend, scale: float) -> dict[str, Callable[[], Any]]:
    """A call of each public function that computes, on samples of this scale."""
    task = make_task().on(backend, "float32")
    X = backend.array(100 * scale * make_task().X, "float32")
    T = backend.array(np.full((23, 3), [1.0, 1e-60, 0.0]))
    net, weight = task.net, backend.array(np.geomspace(1e-60, 1.0, 23))
    # The scale of a smaller spread is beyond float32.
    wide = backend.array(100 * max(scale, 1e-36) * make_task().X)
    standardizer, whitener = Standardizer.fit(wide), Whitener.fit(wide, epsilon=0.1)
    tiny = TwoLayerNet(*(backend.array(1e-42 * array) for array in make_task().net))
    adam = optimizers.Adam()

    def run(**arguments: Any) -> list[Any]:
        found = train(net, X, T, epochs=2, batch_size=5, rng=0, sample_weight=weight, **arguments)
        return [*found.net, *found.history, found.train_accuracy]

    def candidates() -> list[Any]:
        grid = {"learning_rate": [1e-3, 1e4], "batch_size": [5]}
        found = sweep(X, task.y, validation=task.validation, grid=grid, epochs=2)
        return [list(history) for history in found.histories]

    def updated() -> Any:
        _, gradients = net.loss_and_gradients(X, task.y)
        return adam.update(net, gradients, adam.init(net), learning_rate=1e-3)[0]

    return {
        "initialize": lambda: TwoLayerNet.initialize(4, 5, 3, rng=0, weight_scale=1e-44),
        "logits": lambda: net.logits(X),
        "predict_proba": lambda: net.predict_proba(X),
        "accuracy": lambda: net.accuracy(X, task.y),
        "loss": lambda: net.loss(X, T, reg=1e-40, sample_weight=weight),
        "loss_and_gradients": lambda: net.loss_and_gradients(X, task.y),
        "astype": lambda: tiny.astype("float32"),
        "standardize": lambda: [Standardizer.fit(wide), standardizer.apply(X), standardizer.fold(net)],
        "whiten": lambda: [Whitener.fit(wide), whitener.apply(X), whitener.fold(net)],
        "merge": lambda: merge(stack([net, net])),
        "symmetrize": lambda: symmetrize(net, (2, 2)),
        "train": run,
        "train-adam": lambda: run(optimizer=adam, preprocessing=standardizer, label_smoothing=0.1),
        "sweep": candidates,
        "update": updated,
    }


NAMES = list(results(BACKENDS[0], 1.0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:The folded network has too few digits", "ignore:overflow")
def test_the_callers_settings_change_no_result(backend: Backend, name: str):
    @tries(backend, most=12)
    @given(scale=st.sampled_from(SCALES), how=st.sampled_from(["raise", "warn"]))
    def check(scale: float, how: Any) -> None:
        compute = results(backend, scale)[name]
        with np.errstate(all="ignore"):
            expected = numbers(compute())
        with np.errstate(all=how):
            found = numbers(compute())
            assert set(np.geterr().values()) == {how}
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    check()


@pytest.mark.parametrize("how", ["warn", "raise", "ignore"])
def test_an_overflow_gives_a_warning_unless_the_caller_ignores_it(how: Any):
    net = TwoLayerNet.initialize(4, 8, 3, rng=0, dtype="float64")
    huge = net._replace(W1=1e39 * net.W1)
    X = np.random.default_rng(0).normal(size=(60, 4))
    tiny = Standardizer.fit(1e-42 * X, scale="feature")
    works = [
        lambda: huge.astype("float32"),
        lambda: net.astype("float32").logits(1e39 * X),
        lambda: tiny.fold(net.astype("float32")),
    ]
    for work in works:
        expects = nullcontext() if how == "ignore" else pytest.warns(RuntimeWarning, match="overflow")
        with np.errstate(all=how), expects:
            work()


def test_a_spread_whose_scale_is_beyond_the_dtype_is_refused():
    X = np.random.default_rng(0).normal(size=(60, 4)) * [1, 1e-42, 1, 1]
    standardizer = Standardizer.fit(X, scale="feature")
    for samples in (X, X.astype(np.float32)):
        with refusal("ValueError: `preprocessing` must hold values within … in row 1 (counted…"):
            standardizer.apply(samples)
    assert standardizer.apply(X, dtype="float64").std(axis=0) == pytest.approx(1)
    net = TwoLayerNet.initialize(4, 8, 3, rng=0)
    with refusal("ValueError: `preprocessing` must hold values within…"):
        train(net, X, np.arange(60) % 3, preprocessing=standardizer, epochs=1)
