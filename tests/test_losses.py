from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from array_api_extra.testing import assert_close
from backends import Backend, to_host
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import floats, sizes

from twolayer import losses


def loss_and_gradient(*args: Any, **keywords: Any) -> tuple[Any, Any]:
    """The data loss (K,) and its gradient by the logits (K, N, C)."""
    return losses.data_loss(*args, **keywords), losses.softmax_gradient(*args, **keywords)


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    K, N, _, _, C = draw(sizes())
    labels = hnp.arrays(np.int32, (N,), elements=st.integers(0, C - 1))
    return draw(floats((K, N, C), bound=30.0)), draw(labels)


@given(drawn=logits_and_labels(), shift=st.floats(-1e3, 1e3, width=16))
def test_log_softmax_is_the_logarithm_of_probabilities_and_ignores_a_shift(backend: Backend, drawn, shift):
    logits, _ = drawn
    log_probs = losses.log_softmax(backend.array(logits), xp=backend.xp)
    assert backend.owns(log_probs)
    expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    tolerance = 1e-4 if backend.dtype == "float32" else 1e-11
    np.testing.assert_allclose(to_host(log_probs), expected, rtol=tolerance, atol=tolerance)
    moved = losses.log_softmax(backend.array(logits + shift), xp=backend.xp)
    coarse = 2e-3 if backend.dtype == "float32" else 1e-11  # the shift costs bits of the logits
    np.testing.assert_allclose(to_host(moved), expected, rtol=coarse, atol=coarse)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_log_softmax_is_finite_for_huge_logits(backend: Backend, size):
    logits = backend.array(np.array([[size, -size, 0.0], [-size, -size, -size]]))
    log_probs = to_host(losses.log_softmax(logits, xp=backend.xp))
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(log_probs[1], np.log(1 / 3), rtol=1e-6)
    np.testing.assert_allclose(log_probs[0], [0.0, -2 * size, -size], rtol=1e-6)


@given(drawn=logits_and_labels(), data=st.data())
def test_rows_of_dlogits_sum_to_zero_and_the_loss_is_not_negative(backend: Backend, drawn, data):
    logits, y = drawn
    weight = data.draw(
        st.none() | hnp.arrays(np.float64, y.shape, elements=st.floats(0.125, 4, width=16)), label="weight"
    )
    weight = None if weight is None else backend.array(weight)
    loss, dlogits = loss_and_gradient(backend.array(logits), backend.array(y), weight, xp=backend.xp)
    assert loss.shape == logits.shape[:1]
    assert dlogits.shape == logits.shape
    assert backend.owns(loss)
    assert backend.owns(dlogits)
    assert loss.dtype == dlogits.dtype == getattr(backend.xp, backend.dtype)
    assert (to_host(loss) >= 0).all()
    eps = np.finfo(backend.dtype).eps
    np.testing.assert_allclose(to_host(dlogits).sum(axis=-1), 0.0, atol=16 * eps)


@given(drawn=logits_and_labels())
def test_labels_and_their_one_hot_probabilities_mean_the_same(backend: Backend, drawn):
    logits, y = drawn
    onehot = np.eye(logits.shape[-1])[y]
    logits = backend.array(logits)
    by_label = loss_and_gradient(logits, backend.array(y), xp=backend.xp)
    by_probability = loss_and_gradient(logits, backend.array(onehot), xp=backend.xp)
    for one, other in zip(by_label, by_probability, strict=True):
        assert_close(one, other, rtol=1e-6, atol=1e-7)


@given(drawn=logits_and_labels(), soft=st.booleans(), weighted=st.booleans(), data=st.data())
def test_smoothed_targets_are_those_mixed_with_equal_probabilities(
    backend: Backend, drawn, soft, weighted, data
):
    """Each network by its own share ε: as if it had been given (1 - ε) T + ε / C."""
    logits, y = drawn
    K, N, C = logits.shape
    shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=16))
    smoothing = data.draw(hnp.arrays(np.float64, (K,), elements=shares), label="smoothing")
    T = np.eye(C)[y]
    if soft:
        y = T = T * 0.75 + np.roll(T, 1, axis=1) * 0.25
    weight = backend.array(np.linspace(0.5, 2.0, N)) if weighted else None
    there, targets, own = (backend.array(a) for a in (logits, y, smoothing))
    found = loss_and_gradient(there, targets, weight, own, xp=backend.xp)
    log_probs = losses.log_softmax(there, xp=backend.xp)
    each = losses.cross_entropy(log_probs, targets, own, xp=backend.xp)
    assert each.shape == (K, N)
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if backend.dtype == "float64" else {"rtol": 1e-5, "atol": 1e-4}
    for k, share in enumerate(smoothing):
        mixed = backend.array((1 - share) * T + share / C)
        expected = loss_and_gradient(backend.array(logits[k : k + 1]), mixed, weight, xp=backend.xp)
        for a, b in zip(found, expected, strict=True):
            assert backend.owns(a)
            assert a.dtype == getattr(backend.xp, backend.dtype)
            np.testing.assert_allclose(to_host(a)[k], to_host(b)[0], **tolerance)
        expected = losses.cross_entropy(log_probs, mixed, xp=backend.xp)
        np.testing.assert_allclose(to_host(each)[k], to_host(expected)[k], **tolerance)


@given(drawn=logits_and_labels(), soft=st.booleans())
def test_rows_of_dlogits_sum_to_zero_with_smoothing_too(backend: Backend, drawn, soft):
    logits, y = drawn
    y = np.eye(logits.shape[-1])[y] if soft else y
    smoothing = backend.array(np.linspace(0.0, 1.0, len(logits)))
    loss, dlogits = loss_and_gradient(
        backend.array(logits), backend.array(y), label_smoothing=smoothing, xp=backend.xp
    )
    eps = np.finfo(backend.dtype).eps
    assert (to_host(loss) >= -eps).all()
    np.testing.assert_allclose(to_host(dlogits).sum(axis=-1), 0.0, atol=16 * eps)


@pytest.mark.only_on("torch")
@given(drawn=logits_and_labels(), smoothing=st.floats(0, 1), soft=st.booleans())
def test_smoothing_is_pytorchs(backend: Backend, drawn, smoothing, soft):
    torch = sys.modules["torch"]
    logits, y = drawn
    targets = np.eye(logits.shape[-1])[y] if soft else y.astype(np.int64)
    each = backend.array(np.full(len(logits), smoothing))
    loss, dlogits = loss_and_gradient(
        backend.array(logits), backend.array(targets), label_smoothing=each, xp=backend.xp
    )
    for k in range(len(logits)):
        own = backend.array(logits[k]).requires_grad_()
        theirs = torch.nn.functional.cross_entropy(own, backend.array(targets), label_smoothing=smoothing)
        (gradient,) = torch.autograd.grad(theirs, own)
        np.testing.assert_allclose(to_host(loss)[k], to_host(theirs), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(to_host(dlogits)[k], to_host(gradient), rtol=1e-10, atol=1e-12)


def test_a_probability_of_zero_costs_nothing_even_where_its_logarithm_is_minus_infinity(backend: Backend):
    log_probs = backend.array(np.array([[[0.0, -np.inf], [-np.inf, 0.0]]]))
    y = backend.array(np.array([0, 1], np.int32))
    soft = backend.array(np.array([[1.0, 0.0], [0.0, 1.0]]))
    with np.errstate(invalid="ignore"):  # 0 * inf, which `where` then leaves out
        for targets in (y, soft):
            assert to_host(losses.cross_entropy(log_probs, targets, xp=backend.xp)).tolist() == [[0.0, 0.0]]


def test_the_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes(backend: Backend):
    logits = backend.array(np.zeros((2, 3, 7)))
    y = backend.array(np.array([0, 3, 6], np.int32))
    loss, _ = loss_and_gradient(logits, y, xp=backend.xp)
    np.testing.assert_allclose(to_host(loss), np.log(7), rtol=1e-6)


@given(weights=sizes().flatmap(lambda s: hnp.arrays(np.float64, s.N, elements=st.floats(0, 4, width=16))))
def test_shares_are_proportional_to_the_weights_and_zero_where_there_is_none(backend: Backend, weights):
    shares = to_host(losses.sample_shares(backend.array(weights), xp=backend.xp))
    total = weights.sum()
    np.testing.assert_allclose(shares, weights / total if total > 0 else weights, rtol=1e-5, atol=1e-7)


@given(data=st.data(), n_batches=st.integers(1, 3), weighted=st.booleans())
def test_means_of_several_batches_at_once_are_those_of_each(backend: Backend, data, n_batches, weighted):
    K, N, *_ = data.draw(sizes(), label="sizes")
    values = data.draw(floats((K, n_batches * N)), label="values")
    weights = data.draw(hnp.arrays(np.float64, n_batches * N, elements=st.floats(0, 4, width=16)))
    weight = backend.array(weights) if weighted else None
    found = losses.batch_means(backend.array(values), weight, n_batches, xp=backend.xp)
    assert backend.owns(found)
    assert found.shape == (n_batches, K)
    for i in range(n_batches):
        part = slice(i * N, (i + 1) * N)
        total = weights[part].sum()
        shares = np.full(N, 1 / N) if not weighted else weights[part] / (total if total > 0 else 1.0)
        np.testing.assert_allclose(to_host(found)[i], values[:, part] @ shares, rtol=1e-4, atol=1e-5)


def test_one_hot_keeps_the_device_and_marks_the_label(backend: Backend):
    found = losses.one_hot(backend.array(np.array([2, 0], np.int32)), 3, xp=backend.xp)
    assert backend.owns(found)
    assert to_host(found).tolist() == [[False, False, True], [True, False, False]]


@given(data=st.data(), drawn=sizes())
def test_l2_norms_are_the_sums_of_squares_of_each_network(backend: Backend, data, drawn):
    K, _, D, H, C = drawn
    W1, W2 = data.draw(floats((K, D, H))), data.draw(floats((K, H, C)))
    held = W1.transpose(1, 0, 2).reshape(D, K * H)
    norms = losses.l2_norms(backend.array(held), backend.array(W2), xp=backend.xp)
    expected = (W1**2).sum(axis=(1, 2)) + (W2**2).sum(axis=(1, 2))
    np.testing.assert_allclose(to_host(norms), expected, rtol=1e-5, atol=1e-6)
    assert norms.shape == (K,)
