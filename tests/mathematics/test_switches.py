"""Switches of PyTorch that the caller has set, which change no result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support.backends import to_host
from support.refusals import refusal
from support.strategies import Problem, problems

from twolayer import TwoLayerNet, merge, optimizers, stack, sweep, symmetrize, train
from twolayer.augmentation import Mixup
from twolayer.preprocessing import Standardizer, Whitener

pytestmark = pytest.mark.only_on("torch")


@contextmanager
def default_dtype(name: str) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def switched(name: str) -> Any:
    """One of PyTorch's switches, as a context."""
    import torch

    kind, _, value = name.partition(" ")
    if kind == "autocast":
        return torch.autocast("cpu", dtype=getattr(torch, value))
    return default_dtype(value) if kind == "default" else torch.inference_mode()


SWITCHES = ("autocast bfloat16", "autocast float16", "default float64", "default float16", "inference_mode")


def flat(value: Any) -> list[np.ndarray]:
    """Every array of nested tuples and lists, on the host."""
    if isinstance(value, tuple | list):
        return [array for part in value for array in flat(part)]
    return [value] if isinstance(value, np.ndarray) else [to_host(value)]


def assert_unchanged(call: Any, switch: str) -> None:
    expected = flat(call())
    with switched(switch):
        found = flat(call())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


@pytest.mark.parametrize("switch", SWITCHES)
@settings(max_examples=15)
@given(problem=problems())
def test_a_switch_changes_no_result_of_a_public_method(backend, switch, problem: Problem):
    net, X, y, weight = problem.on(backend, "float32")
    arguments = {"reg": problem.reg, "sample_weight": weight}
    for call in (
        lambda: net.logits(X),
        lambda: net.predict_proba(X),
        lambda: net.accuracy(X, y),
        lambda: net.loss(X, y, label_smoothing=0.1, **arguments),
        lambda: net.loss_and_gradients(X, y, **arguments),
        lambda: Standardizer.fit(X).apply(X),
        lambda: Whitener.fit(X).apply(X),
    ):
        assert_unchanged(call, switch)


@pytest.mark.parametrize("switch", SWITCHES)
@settings(max_examples=3)
@given(seed=st.integers(0, 99), soft=st.booleans())
def test_a_switch_changes_no_training(backend, switch, seed, soft):
    rng = np.random.default_rng(seed)
    X = backend.array(rng.normal(size=(40, 9)), "float32")
    labels = rng.integers(3, size=40)
    y = backend.array(np.eye(3)[labels], "float32") if soft else backend.array(labels)
    net = TwoLayerNet.initialize(9, 40, 3, rng=seed, xp=backend.xp, device=backend.device)

    def trained() -> Any:
        run = train(
            net,
            X,
            y,
            validation=(X, y),
            class_weight=[1.0, 0.3, 0.7],
            preprocessing=Whitener.fit(X),
            augmentation=Mixup(0.2),
            optimizer=optimizers.Adam(),
            reg=0.01,
            dropout=0.3,
            ema_decay=0.9,
            epochs=2,
            batch_size=16,
            rng=0,
        )
        history = run.history
        return run.net, history.loss, history.train_accuracy, history.validation_accuracy

    assert_unchanged(trained, switch)
    pair = stack([net, net])
    assert_unchanged(lambda: merge(pair), switch)
    assert_unchanged(lambda: symmetrize(net, (3, 3), shifts=1), switch)
    gradients = net.loss_and_gradients(X, y)[1]
    adam = optimizers.Adam()
    assert_unchanged(lambda: adam.update(net, gradients, adam.init(net), learning_rate=0.1)[0], switch)

    def searched() -> Any:
        return sweep(X, y, validation=(X, y), grid={"learning_rate": [0.1, 0.01]}, epochs=1).best.net

    assert_unchanged(searched, switch)


def test_a_run_is_resumed_inside_autocast_as_outside(backend):
    X, y = backend.array(np.random.default_rng(0).normal(size=(40, 9)), "float32"), None
    y = backend.array(np.arange(40) % 3)
    net = TwoLayerNet.initialize(9, 40, 3, rng=0, xp=backend.xp, device=backend.device)
    whole = train(net, X, y, epochs=2, rng=0, batch_size=16)
    half = train(net, X, y, epochs=2, rng=0, batch_size=16, callbacks=[lambda p: p.step == 3 and p.stop()])
    with switched("autocast bfloat16"):
        rest = train(half, X, y, epochs=2, batch_size=16)
    assert_array_equal(to_host(rest.net.W1), to_host(whole.net.W1))


def test_autograd_works_for_a_loss_computed_inside_autocast(backend):
    net = TwoLayerNet.initialize(9, 40, 3, rng=0, xp=backend.xp, device=backend.device)
    X, y = backend.array(np.random.default_rng(0).normal(size=(40, 9)), "float32"), None
    y = backend.array(np.arange(40) % 3)
    for array in net:
        array.requires_grad_()
    with switched("autocast bfloat16"):
        loss = net.loss(X, y, reg=0.1)
    loss.backward()
    _, gradients = net.loss_and_gradients(X, y, reg=0.1)
    for array, gradient in zip(net, gradients, strict=True):
        np.testing.assert_allclose(to_host(array.grad), to_host(gradient), rtol=1e-4, atol=1e-6)


def test_the_callers_switch_stays_set(backend):
    import torch

    net = TwoLayerNet.initialize(9, 40, 3, rng=0, xp=backend.xp, device=backend.device)
    X, y = backend.array(np.ones((6, 9)), "float32"), backend.array(np.arange(6) % 3)
    with switched("autocast bfloat16"):
        train(net, X, y, epochs=1, rng=0)
        net.logits(X)
        assert torch.is_autocast_enabled("cpu")
        assert (net.W1.T @ net.W1).dtype == torch.bfloat16
        with refusal("TypeError: `y` must be…"):
            net.loss(X, [0])
        assert torch.is_autocast_enabled("cpu")
