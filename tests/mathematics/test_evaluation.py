"""Predictions and evaluations: in blocks, with weights, and with logits that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_extra.testing import assert_close
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.oracles import networks, slow_loss
from support.refusals import refusal
from support.small_runs import make_task
from support.strategies import problems

from twolayer import TwoLayerNet, _validation, stack
from twolayer.mathematics import Params, forward
from twolayer.network import as_targets, evaluate, pack, widest


@pytest.mark.parametrize("stacked", [False, True])
def test_predicting_in_blocks_changes_no_result(backend: Backend, monkeypatch, stacked):
    rng = np.random.default_rng(0)
    net = TwoLayerNet.initialize(6, 5, 4, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    net = stack([net, net]) if stacked else net
    X, y = backend.array(rng.standard_normal((23, 6))), backend.array(rng.integers(0, 4, 23))
    whole = net.logits(X), net.accuracy(X, y)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 60)
    shapes = []
    original = forward
    monkeypatch.setattr(
        "twolayer.network.forward",
        lambda params, X, *, xp: (shapes.append(X.shape[0]), original(params, X, xp=xp))[1],
    )
    assert_close(net.logits(X), whole[0], rtol=1e-5)
    assert shapes == ([6, 6, 6, 5] if stacked else [10, 10, 3])
    assert_close(net.accuracy(X, y), whole[1])


@given(problem=problems(weights=False), block=st.integers(1, 20))
def test_evaluating_in_blocks_sums_the_loss_and_the_correct_samples(backend: Backend, problem, block):
    net, X, y, _ = problem.on(backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_validation, "BLOCK_ELEMENTS", block)
        loss, right, _ = evaluate(
            pack(net, xp=backend.xp), X, as_targets(y, X.dtype, xp=backend.xp), xp=backend.xp
        )
    assert backend.owns(loss)
    assert backend.owns(right)
    members = networks(problem.net)
    expected = [slow_loss(n, problem.X, problem.y, 0.0, None) for n in members]
    mean = to_host(loss) / len(problem.y)
    np.testing.assert_allclose(mean, expected, rtol=backend.rtol, atol=10 * backend.rtol)
    labels = problem.y if problem.y.ndim == 1 else problem.y.argmax(axis=1)
    logits = to_host(net.logits(X)).reshape(len(members), len(labels), -1)
    own = logits[:, np.arange(len(labels)), labels]
    others = np.where(np.arange(logits.shape[2]) == labels[:, None], -np.inf, logits).max(axis=2)
    slack = 1e-4 * (1 + np.abs(own))  # where rounding may break a tie
    assert (to_host(right) >= (own > others + slack).sum(axis=1)).all()
    assert (to_host(right) <= (own >= others - slack).sum(axis=1)).all()


def test_blocks_are_sized_by_the_features_before_preprocessing(monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 60)
    net, sizes = TwoLayerNet.initialize(2, 3, 2, rng=0, dtype="float64"), []

    def narrowed(X, arrays, *, xp):
        assert xp is np
        sizes.append(X.shape)
        return X[:, :2] * arrays[0]

    X, y = np.ones((25, 20)), np.zeros(25, np.int32)
    losses, right, _ = evaluate(pack(net, xp=np), X, y, None, (1.0,), xp=np, transform=narrowed)
    assert sizes == [(3, 20)] * 8 + [(1, 20)]
    np.testing.assert_allclose(losses / 25, net.loss(X[:, :2], y))
    assert right.shape == (1,)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("n_networks", [None, 3])
def test_evaluating_in_blocks_weights_the_samples(backend: Backend, monkeypatch, n_networks, soft):
    """The probabilities do not quite sum to 1, as if they were rounded to float16."""
    task = make_task(n_networks, soft=soft)
    y = 0.9995 * task.y if soft else task.y
    weight = np.linspace(0.0, 2.0, len(y))
    losses = np.stack([task.net.loss(task.X[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    right = np.stack([task.net.accuracy(task.X[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    there = task._replace(y=y).on(backend)
    xp = backend.xp
    arguments = pack(there.net, xp=xp), there.X, there.y if soft else xp.astype(there.y, xp.int32)
    for n_in_block in (len(y), 5):
        monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", n_in_block * 5 * (n_networks or 1))
        for weights, found in (
            (np.ones(len(y)), evaluate(*arguments, xp=xp)),
            (weight, evaluate(*arguments, backend.array(weight), xp=xp)),
        ):
            assert not to_host(found[2]).any()
            for sums, each in zip(found[:2], (losses, right), strict=True):
                wanted = np.atleast_1d(np.tensordot(weights, each, axes=1))
                assert backend.owns(sums)
                np.testing.assert_allclose(to_host(sums), wanted, rtol=max(backend.rtol, 1e-12))


@pytest.mark.parametrize(
    ("shape", "most"), [((2, 9, 3, 2), 9), ((2, 3, 9, 2), 18), ((2, 3, 4, 9), 18), ((1, 3, 2, 7), 7)]
)
def test_widest_returns_the_most_numbers_per_sample_in_a_forward_pass(shape, most):
    K, D, H, C = shape
    params = Params(np.zeros((K, H, D)), np.zeros((K, H)), np.zeros((K, C, H)), np.zeros((K, C)))
    assert widest(params) == most


def test_a_prediction_from_an_infinite_logit_counts_in_the_accuracy(backend: Backend):
    net = TwoLayerNet(*map(backend.array, (np.ones((3, 4)), np.ones(4), np.ones((4, 3)), [0.0, np.inf, 0.0])))
    X, y = backend.array(np.ones((6, 3))), backend.array([1, 1, 1, 0, 1, 2], "int32")
    assert to_host(net.predict(X)).tolist() == [1] * 6
    with np.errstate(invalid="ignore"):  # from the cross-entropy, which is computed too
        assert float(net.accuracy(X, y)) == pytest.approx(4 / 6)


@pytest.mark.parametrize("n_networks", [None, 2])
def test_a_sample_whose_logits_are_nan_has_no_class(backend: Backend, monkeypatch, n_networks):
    task = make_task(n_networks)
    y = np.zeros_like(task.y)
    net, there, labels = task.on(backend).net, backend.array(task.X), backend.array(y)
    expected = to_host(net.accuracy(there, labels))
    for block in (_validation.BLOCK_ELEMENTS, 40):
        monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", block)
        X = task.X.copy()
        X[17, 2] = X[20, 0] = np.nan
        bad = backend.array(X)
        of_network = "" if n_networks is None else " of network 0"
        refused = f"ValueError: …are finite; got nan{of_network}, first for row 17 (counted from 0)"
        with np.errstate(invalid="ignore"):
            assert np.isnan(to_host(net.logits(bad))).any()
            for use in (net.predict, net.predict_proba):
                with refusal(refused):
                    use(bad)
            found = to_host(net.accuracy(bad, labels))
        assert found.dtype == backend.dtype
        assert np.isnan(found).all()
        np.testing.assert_array_equal(to_host(net.accuracy(there, labels)), expected)


def test_only_the_network_whose_logits_are_nan_has_no_accuracy(backend: Backend):
    """Its parameters and the samples are finite, but their product overflows."""
    task = make_task(2, n_classes=2)
    net = TwoLayerNet(*(array.copy() for array in task.net))
    largest = float(np.finfo(backend.dtype).max)
    net.W1[1] = np.where(np.arange(4)[:, None] % 2, 0.9, -0.9) * largest
    net.W2[1] = np.where(np.arange(5)[:, None] % 2, 1.0, -1.0)
    X = task.X.copy()
    X[:, :] = [10.0, -1.0, 10.0, -1.0]
    X[5] = [-10.0, 10.0, -10.0, 10.0]
    bad = task._replace(net=net, X=X).on(backend)
    with np.errstate(invalid="ignore", over="ignore"):
        accuracies = to_host(bad.net.accuracy(bad.X, bad.y))
        assert np.isnan(accuracies).tolist() == [False, True]
        with refusal("ValueError: …got nan of network 1, first for row 5 …"):
            bad.net.predict_proba(bad.X)


@pytest.mark.only_on("torch")
def test_predictions_can_be_computed_within_transforms_of_torch(backend: Backend):
    """Values cannot be read within a transform, so NaN is not refused there."""
    import torch

    task = make_task().on(backend)
    probs = task.net.predict_proba(task.X)
    batches = task.X[:20, :].reshape(4, 5, 4)
    each = torch.func.vmap(task.net.predict_proba)(batches)
    np.testing.assert_allclose(to_host(each.reshape(20, 3)), to_host(probs[:20, :]), rtol=1e-12)

    def surest(x):
        return task.net.predict_proba(x[None, :]).max()

    slopes = torch.func.vmap(torch.func.grad(surest))(task.X)
    X = task.X.clone().requires_grad_()
    task.net.predict_proba(X).max(dim=1).values.sum().backward()
    np.testing.assert_allclose(to_host(slopes), to_host(X.grad), rtol=1e-9)
    bad = task.X.clone()
    bad[0, 0] = torch.nan
    assert torch.func.vmap(task.net.predict_proba)(bad[None, :, :]).isnan().any()


@pytest.mark.only_on("jax")
def test_predictions_that_are_traced_may_be_nan(backend: Backend):
    import jax

    task = make_task().on(backend)
    bad = backend.array(np.full((2, 4), np.nan))
    assert np.isnan(to_host(jax.jit(task.net.predict_proba)(bad))).all()
    assert to_host(jax.jit(task.net.predict)(bad)).shape == (2,)
