"""Each function of the mathematics, for any logits, targets, weights and shares."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.backends import Backend, to_host
from support.strategies import Problem, floats, problems, sizes

from twolayer import TwoLayerNet, mathematics
from twolayer._namespace import device
from twolayer.mathematics import Params
from twolayer.network import pack
from twolayer.training.step import batch_means


def loss_and_gradient(
    logits: Any, y: Any, weight: Any = None, smoothing: Any = None, *, xp: Any
) -> tuple[Any, Any]:
    """The data loss (K,) and its gradient by the logits (K, C, N)."""
    K, C, N = logits.shape
    T, sums = mathematics.targets(y, C, smoothing, dtype=logits.dtype, xp=xp)
    share = 1.0 / N if weight is None else mathematics.shares(weight, xp=xp)[None, None, :]
    Z, exp_Z, total = mathematics.softmax_parts(logits, xp=xp)
    losses = mathematics.cross_entropy(Z, total, T, sums, xp=xp)
    dlogits = mathematics.softmax_gradient(exp_Z, total, T, sums, share, xp=xp)
    shapes = (K, 1, 1), (K, 1), (K, C, 1), (K, C)
    params = Params(*(xp.zeros(shape, dtype=logits.dtype, device=device(logits)) for shape in shapes))
    return mathematics.loss(params, losses, share, params.b1[:, 0], xp=xp), dlogits


def cross_entropy(logits: Any, y: Any, smoothing: Any = None, *, xp: Any) -> Any:
    """Cross-entropy of each sample (K, 1, N), from a caller's labels or probabilities."""
    T, sums = mathematics.targets(y, logits.shape[1], smoothing, dtype=logits.dtype, xp=xp)
    Z, _, total = mathematics.softmax_parts(logits, xp=xp)
    return mathematics.cross_entropy(Z, total, T, sums, xp=xp)


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    K, N, _, _, C = draw(sizes())
    labels = hnp.arrays(np.int32, (N,), elements=st.integers(0, C - 1))
    return draw(floats((K, C, N), bound=30.0)), draw(labels)


# ---------------------------------------------------------------------------------------------------------
# Softmax and cross-entropy


@given(drawn=logits_and_labels(), shift=st.floats(-1e3, 1e3, width=16), axis=st.sampled_from([0, 1, -1]))
def test_log_softmax_is_the_logarithm_of_probabilities_and_ignores_a_shift(
    backend: Backend, drawn, shift, axis
):
    logits, _ = drawn
    log_probs = mathematics.log_softmax(backend.array(logits), axis=axis, xp=backend.xp)
    assert backend.owns(log_probs)
    expected = logits - np.log(np.exp(logits).sum(axis=axis, keepdims=True))
    tolerance = 1e-4 if backend.dtype == "float32" else 1e-11
    np.testing.assert_allclose(to_host(log_probs), expected, rtol=tolerance, atol=tolerance)
    moved = mathematics.log_softmax(backend.array(logits + shift), axis=axis, xp=backend.xp)
    coarse = 2e-3 if backend.dtype == "float32" else 1e-11  # the shift costs bits of the logits
    np.testing.assert_allclose(to_host(moved), expected, rtol=coarse, atol=coarse)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_log_softmax_is_finite_for_huge_logits(backend: Backend, size):
    logits = backend.array(np.array([[size, -size, 0.0], [-size, -size, -size]]))
    log_probs = to_host(mathematics.log_softmax(logits, axis=-1, xp=backend.xp))
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(log_probs[1], np.log(1 / 3), rtol=1e-6)
    np.testing.assert_allclose(log_probs[0], [0.0, -2 * size, -size], rtol=1e-6)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_the_loss_and_its_gradient_are_finite_for_huge_logits(backend: Backend, size):
    """A target probability of 0, as for every class but the label, adds nothing to the loss."""
    logits = backend.array(np.array([[[size, -size], [-size, size]]]))
    for labels, expected, slope in (([0, 1], 0.0, 0.0), ([1, 0], 2 * size, 0.5)):
        hard = backend.array(np.array(labels, np.int32))
        soft = backend.array(np.eye(2)[labels])
        for y in (hard, soft):
            loss, dlogits = loss_and_gradient(logits, y, xp=backend.xp)
            np.testing.assert_allclose(to_host(loss), [expected], rtol=1e-6)
            wanted = slope * np.array([[[1.0, -1.0], [-1.0, 1.0]]])
            np.testing.assert_allclose(to_host(dlogits), wanted, rtol=1e-6)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("label", [0, 1])
def test_a_logit_that_is_not_finite_affects_the_loss_of_its_sample_only(backend: Backend, value, soft, label):
    """This holds for a logit of any class, so that divergence is found: 0 · inf is not left out."""
    logits = np.array([[[value, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    y = np.array([label, 0], np.int32)
    with np.errstate(invalid="ignore"):
        losses = cross_entropy(
            backend.array(logits), backend.array(np.eye(2)[y] if soft else y), xp=backend.xp
        )
    ordinary = np.log1p(np.exp(-1.0))
    lost = np.inf if value == -np.inf and label == 0 else np.nan
    expected = [[lost, ordinary], [np.log(2), ordinary]]
    np.testing.assert_allclose(to_host(losses)[:, 0, :], expected, rtol=1e-6)


@given(drawn=logits_and_labels(), data=st.data())
def test_the_gradient_of_each_sample_is_multiplied_by_its_share(backend: Backend, drawn, data):
    """A share may be one number, or one per network, per sample or for both, in any shape that broadcasts."""
    logits, y = drawn
    K, C, N = logits.shape
    T, _ = mathematics.targets(backend.array(y), C, dtype=getattr(backend.xp, backend.dtype), xp=backend.xp)
    there = backend.array(logits)
    _, *parts = mathematics.softmax_parts(there, xp=backend.xp)
    each = mathematics.softmax_gradient(*parts, T, None, 1.0, xp=backend.xp)
    shape = data.draw(st.sampled_from([(1, 1, 1), (K, 1, 1), (1, 1, N), (K, 1, N)]), label="shape")
    share = data.draw(floats(shape, bound=4.0), label="share")
    found = mathematics.softmax_gradient(*parts, T, None, backend.array(share), xp=backend.xp)
    assert backend.owns(found)
    np.testing.assert_allclose(to_host(found), share * to_host(each), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(to_host(there), logits.astype(backend.dtype))  # the input is unchanged


@given(drawn=logits_and_labels(), soft=st.booleans(), weighted=st.booleans(), data=st.data())
def test_smoothed_targets_are_mixed_with_equal_probabilities(backend: Backend, drawn, soft, weighted, data):
    """Each network has its own share ε and computes as for targets of (1 - ε) T + ε / C."""
    logits, y = drawn
    K, C, N = logits.shape
    epsilons = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=16))
    smoothing = data.draw(hnp.arrays(np.float64, (K,), elements=epsilons), label="smoothing")
    T = np.eye(C)[y]
    if soft:
        y = T = T * 0.75 + np.roll(T, 1, axis=1) * 0.25
    weight = backend.array(np.linspace(0.5, 2.0, N)) if weighted else None
    there, targets, own = (backend.array(a) for a in (logits, y, smoothing))
    found = loss_and_gradient(there, targets, weight, own, xp=backend.xp)
    each = cross_entropy(there, targets, own, xp=backend.xp)
    assert each.shape == (K, 1, N)
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if backend.dtype == "float64" else {"rtol": 1e-5, "atol": 1e-4}
    for k, share in enumerate(smoothing):
        mixed = backend.array((1 - share) * T + share / C)
        expected = loss_and_gradient(backend.array(logits[k : k + 1]), mixed, weight, xp=backend.xp)
        for a, b in zip(found, expected, strict=True):
            assert backend.owns(a)
            assert a.dtype == getattr(backend.xp, backend.dtype)
            np.testing.assert_allclose(to_host(a)[k], to_host(b)[0], **tolerance)
        expected = cross_entropy(there, mixed, xp=backend.xp)
        np.testing.assert_allclose(to_host(each)[k], to_host(expected)[k], **tolerance)


@given(drawn=logits_and_labels(), soft=st.booleans(), smoothed=st.booleans(), data=st.data())
def test_columns_of_dlogits_sum_to_zero_and_the_loss_is_not_negative(
    backend: Backend, drawn, soft, smoothed, data
):
    logits, labels = drawn
    weights = hnp.arrays(np.float64, labels.shape, elements=st.floats(0.125, 4, width=16))
    weight = data.draw(st.none() | weights.map(backend.array), label="weight")
    y = backend.array(np.eye(logits.shape[1])[labels] if soft else labels)
    smoothing = backend.array(np.linspace(0.0, 1.0, len(logits))) if smoothed else None
    loss, dlogits = loss_and_gradient(backend.array(logits), y, weight, smoothing, xp=backend.xp)
    assert loss.shape == logits.shape[:1]
    assert dlogits.shape == logits.shape
    assert backend.owns(loss)
    assert backend.owns(dlogits)
    assert loss.dtype == dlogits.dtype == getattr(backend.xp, backend.dtype)
    eps = np.finfo(backend.dtype).eps
    assert (to_host(loss) >= (-eps if soft or smoothed else 0)).all()
    np.testing.assert_allclose(to_host(dlogits).sum(axis=1), 0.0, atol=16 * eps)


@pytest.mark.only_on("torch")
@given(drawn=logits_and_labels(), smoothing=st.floats(0, 1), soft=st.booleans())
def test_smoothing_agrees_with_pytorch(backend: Backend, drawn, smoothing, soft):
    torch = sys.modules["torch"]
    logits, y = drawn
    targets = np.eye(logits.shape[1])[y] if soft else y.astype(np.int64)
    each = backend.array(np.full(len(logits), smoothing))
    loss, dlogits = loss_and_gradient(
        backend.array(logits), backend.array(targets), smoothing=each, xp=backend.xp
    )
    for k in range(len(logits)):
        own = backend.array(logits[k].T).requires_grad_()
        theirs = torch.nn.functional.cross_entropy(own, backend.array(targets), label_smoothing=smoothing)
        (gradient,) = torch.autograd.grad(theirs, own)
        np.testing.assert_allclose(to_host(loss)[k], to_host(theirs), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(to_host(dlogits)[k], to_host(gradient).T, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------
# Targets, shares, means and the penalty


def test_targets_of_labels_are_one_hot_on_their_device_and_need_no_sums(backend: Backend):
    labels, dtype = backend.array(np.array([2, 0], np.int32)), getattr(backend.xp, backend.dtype)
    T, sums = mathematics.targets(labels, 3, dtype=dtype, xp=backend.xp)
    assert backend.owns(T)
    assert T.dtype == dtype
    assert to_host(T).tolist() == [[[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]]
    assert sums is None
    smooth = backend.array(np.array([0.0, 0.3, 1.0]))
    T, sums = mathematics.targets(labels, 3, smooth, dtype=dtype, xp=backend.xp)
    assert sums is None
    np.testing.assert_allclose(to_host(T)[:, :, 0], [[0, 0, 1], [0.1, 0.1, 0.8], [1 / 3] * 3], rtol=1e-6)


@given(data=st.data(), drawn=sizes(), smoothed=st.booleans())
def test_sums_of_targets_are_taken_over_the_classes(backend: Backend, data, drawn, smoothed):
    """The sums need not be 1, as a caller's probabilities are rounded; smoothing mixes them with 1."""
    K, N, _, _, C = drawn
    y = np.abs(data.draw(floats((N, C)), label="y"))
    smoothing = np.linspace(0.0, 1.0, K)
    T, sums = mathematics.targets(
        backend.array(y),
        C,
        backend.array(smoothing) if smoothed else None,
        dtype=getattr(backend.xp, backend.dtype),
        xp=backend.xp,
    )
    assert backend.owns(T)
    assert backend.owns(sums)
    assert T.shape == (K if smoothed else 1, C, N)
    assert sums.shape == (K if smoothed else 1, 1, N)
    mixed = np.stack([(1 - e) * y.T + e / C for e in (smoothing if smoothed else [0.0])])
    tolerance = {"rtol": backend.rtol, "atol": backend.rtol}
    np.testing.assert_allclose(to_host(T), mixed, **tolerance)
    np.testing.assert_allclose(to_host(sums), mixed.sum(axis=1, keepdims=True), **tolerance)


@given(data=st.data(), drawn=sizes())
def test_shares_are_proportional_to_the_weights_or_all_zero(backend: Backend, data, drawn):
    """Weights are summed over their last axis, for any number of axes."""
    K, N, *_ = drawn
    weights = data.draw(hnp.arrays(np.float64, (K, 1, N), elements=st.floats(0, 4, width=16)))
    found = mathematics.shares(backend.array(weights), xp=backend.xp)
    assert backend.owns(found)
    total = weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(to_host(found), weights / np.where(total > 0, total, 1), rtol=1e-5, atol=1e-7)
    alone = mathematics.shares(backend.array(weights[0, 0]), xp=backend.xp)
    np.testing.assert_array_equal(to_host(alone), to_host(found)[0, 0])


@given(data=st.data(), n_batches=st.integers(1, 3), weighted=st.booleans())
def test_means_of_several_batches_equal_the_mean_of_each_alone(backend: Backend, data, n_batches, weighted):
    K, N, *_ = data.draw(sizes(), label="sizes")
    values = data.draw(floats((K, n_batches * N)), label="values")
    weights = data.draw(hnp.arrays(np.float64, (n_batches, N), elements=st.floats(0, 4, width=16)))
    share = mathematics.shares(backend.array(weights), xp=backend.xp)[None, :, :] if weighted else None
    found = batch_means(backend.array(values), share, n_batches, xp=backend.xp)
    assert backend.owns(found)
    assert found.shape == (n_batches, K)
    for i in range(n_batches):
        part = slice(i * N, (i + 1) * N)
        total = weights[i].sum()
        shares = np.full(N, 1 / N) if not weighted else weights[i] / (total if total > 0 else 1.0)
        np.testing.assert_allclose(to_host(found)[i], values[:, part] @ shares, rtol=1e-4, atol=1e-5)


@given(data=st.data(), drawn=sizes())
def test_the_penalty_is_reg_times_the_sums_of_squares_of_each_network(backend: Backend, data, drawn):
    K, N, D, H, C = drawn
    W1, W2 = data.draw(floats((K, H, D))), data.draw(floats((K, C, H)))
    reg = np.linspace(0.5, 1.5, K)
    losses = backend.array(np.ones((K, 1, N)))
    # Biases are not penalised.
    params = Params(*map(backend.array, (W1, np.full((K, H), 9.0), W2, np.full((K, C), 9.0))))
    # Shares of 0 remove the losses of the samples and leave the penalty.
    found = mathematics.loss(params, losses, 0.0, backend.array(reg), xp=backend.xp)
    expected = reg * ((W1**2).sum(axis=(1, 2)) + (W2**2).sum(axis=(1, 2)))
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-5, atol=1e-6)
    assert backend.owns(found)
    assert found.shape == (K,)


# ---------------------------------------------------------------------------------------------------------
# Correct samples


@given(data=st.data(), drawn=sizes(), soft=st.booleans())
def test_a_sample_is_correct_if_its_first_largest_logit_is_the_labels(backend: Backend, data, drawn, soft):
    """This is the rule of `argmax`. Few different values are drawn, so that many logits are equal."""
    K, N, _, _, C = drawn
    values = st.sampled_from([-np.inf, -1.0, 0.0, 2.0, np.inf])
    logits = data.draw(hnp.arrays(np.float64, (K, C, N), elements=values), label="logits")
    if soft:
        y = data.draw(hnp.arrays(np.float64, (N, C), elements=st.sampled_from([0.0, 0.25, 0.5])))
        labels = y.argmax(axis=1)
    else:
        y = labels = data.draw(hnp.arrays(np.int32, (N,), elements=st.integers(0, C - 1)))
    found = mathematics.is_correct(backend.array(logits), backend.array(y), xp=backend.xp)
    assert backend.owns(found)
    assert found.dtype == backend.xp.bool
    np.testing.assert_array_equal(to_host(found), logits.argmax(axis=1) == labels)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_sample_with_a_nan_among_its_logits_is_never_correct(backend: Backend, place, label):
    logits = np.zeros((2, 3, 2))
    logits[0, place, 0] = np.nan
    logits[:, label, 1] = 1.0
    y = backend.array(np.array([label, label], np.int32))
    found = to_host(mathematics.is_correct(backend.array(logits), y, xp=backend.xp))
    assert found.tolist() == [[False, True], [label == 0, True]]


# ---------------------------------------------------------------------------------------------------------
# Each network alone


@st.composite
def with_own_shares(draw: st.DrawFn) -> tuple[Problem, np.ndarray]:
    """A stack, and weights of the samples for each network (K, N)."""
    problem = draw(problems(stacked=True, weights=False))
    shape = problem.net.n_networks, len(problem.X)
    entries = st.one_of(st.just(0.0), st.floats(0.125, 4, width=16))
    weights = draw(hnp.arrays(np.float64, shape, elements=entries))
    weights[:, draw(st.integers(0, shape[1] - 1))] = 1.0
    return problem, weights


@given(drawn=with_own_shares(), smoothed=st.booleans())
def test_shares_for_each_network_act_as_on_each_network_alone(backend: Backend, drawn, smoothed):
    """Shares (K, 1, N) could give each network its own batch, fold or bootstrap of one batch."""
    problem, weights = drawn
    K, xp = problem.net.n_networks, backend.xp
    net = TwoLayerNet(*map(backend.array, problem.net))
    X = backend.array(problem.X)
    y = backend.array(problem.y, None if problem.probabilities else "int32")
    regs = np.broadcast_to(np.asarray(problem.reg, float), (K,))
    smoothing = np.linspace(0.0, 0.5, K)
    share = mathematics.shares(backend.array(weights), xp=xp)[:, None, :]
    own = backend.array(smoothing) if smoothed else None
    T, sums = mathematics.targets(y, net.n_classes, own, dtype=net.W1.dtype, xp=xp)
    params, reg = pack(net, xp=xp), backend.array(regs)
    loss, gradients = mathematics.loss_and_gradients(params, X, T, sums, share, reg, xp=xp)
    assert loss.shape == (K,)
    tolerance = {"rtol": 10 * backend.rtol, "atol": 10 * backend.rtol}
    for k in range(K):
        wanted, expected = net.select(k).loss_and_gradients(
            X,
            y,
            reg=float(regs[k]),
            sample_weight=backend.array(weights[k]),
            label_smoothing=float(smoothing[k]) if smoothed else 0.0,
        )
        np.testing.assert_allclose(to_host(loss)[k], to_host(wanted), **tolerance)
        for name, array, theirs in zip(Params._fields, gradients, expected, strict=True):
            assert backend.owns(array)
            # Weights are (out, in) in the mathematics.
            np.testing.assert_allclose(to_host(array)[k], to_host(theirs).T, err_msg=name, **tolerance)
