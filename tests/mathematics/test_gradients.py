"""Four independent checks that the gradients are those of the reported loss."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.backends import Backend, to_host
from support.oracles import networks, numerical_gradients, relative_error, toy
from support.strategies import Problem, Sizes, floats, problems, sizes, smoothings

from twolayer import TwoLayerNet, mathematics, stack
from twolayer.mathematics import Params, forward, shares, targets
from twolayer.network import pack

NAMES = TwoLayerNet._fields
# Drawn activations reach 45. The third derivative grows with their cube, so a step of 1e-5 would err by 1e-7.
FINE_STEP = 3e-6


def far_from_kinks(problem: Problem) -> bool:
    """Whether every hidden unit is so far from 0 that no difference steps over its kink."""
    return all(np.min(np.abs(problem.X @ net.W1 + net.b1)) > 1e-3 for net in networks(problem.net))


@pytest.mark.parametrize("reg", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_the_toy_network_passes_the_gradient_check(name, reg):
    net, X, y = toy()
    _, gradients = net.loss_and_gradients(X, y, reg=reg)
    numerical = numerical_gradients(lambda n: float(n.loss(X, y, reg=reg)), net)
    assert relative_error(getattr(gradients, name), getattr(numerical, name)) <= 1e-8


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_the_check_finds_a_penalty_gradient_without_the_factor_two(name):
    """The coursework's mistake: it reports reg·‖W‖² and steps along reg·W."""
    net, X, y = toy()
    _, gradients = net.loss_and_gradients(X, y, reg=0.1)
    wrong = getattr(gradients, name) - 0.1 * getattr(net, name)
    numerical = numerical_gradients(lambda n: float(n.loss(X, y, reg=0.1)), net)
    assert relative_error(wrong, getattr(numerical, name)) > 1e-2


def test_the_check_finds_a_coarse_step():
    net, X, y = toy()
    _, gradients = net.loss_and_gradients(X, y, reg=0.1)
    numerical = numerical_gradients(lambda n: float(n.loss(X, y, reg=0.1)), net, h=0.1)
    assert max(relative_error(a, b) for a, b in zip(gradients, numerical, strict=True)) > 1e-4


@given(problem=problems(), off=st.just(0.0) | st.floats(-9e-4, 9e-4), data=st.data())
def test_gradients_are_the_central_differences_of_the_loss(problem: Problem, off: float, data: st.DataObject):
    """Targets may be smoothed, and probabilities may not quite sum to 1."""
    assume(far_from_kinks(problem))
    net, X, y, weight, reg = problem
    y = y * (1.0 + off) if problem.probabilities else y
    smoothing = data.draw(st.just(0.0) | smoothings(problem), label="smoothing")
    arguments = {"reg": reg, "sample_weight": weight, "label_smoothing": smoothing}
    loss, gradients = net.loss_and_gradients(X, y, **arguments)
    np.testing.assert_array_equal(loss, net.loss(X, y, **arguments))
    # The members of a stack do not touch each other, so the sum of their losses has all their gradients.
    numerical = numerical_gradients(lambda n: float(np.sum(n.loss(X, y, **arguments))), net, h=FINE_STEP)
    for name, found, expected in zip(NAMES, gradients, numerical, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("n_networks", [None, 3])
def test_gradients_of_a_larger_network_give_a_directional_derivative(n_networks):
    rng = np.random.default_rng(5)
    nets = [TwoLayerNet.initialize(60, 40, 10, rng=k, dtype="float64") for k in range(n_networks or 1)]
    net = nets[0] if n_networks is None else stack(nets)
    X, y = rng.standard_normal((30, 60)), rng.integers(0, 10, 30)
    direction = TwoLayerNet(*(rng.standard_normal(array.shape) for array in net))
    _, gradients = net.loss_and_gradients(X, y, reg=0.01)
    analytic = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction, strict=True))

    def loss(h: float) -> float:
        moved = TwoLayerNet(*(a + h * d for a, d in zip(net, direction, strict=True)))
        return float(np.sum(moved.loss(X, y, reg=0.01)))

    h = 1e-7  # a random direction crosses kinks at longer steps
    assert analytic == pytest.approx((loss(h) - loss(-h)) / (2 * h), rel=1e-6)


@given(problem=problems(stacked=False), smoothing=st.sampled_from([None, 0.0, 0.1, 1.0]))
def test_gradients_are_the_complex_step_derivatives_of_the_loss(problem: Problem, smoothing: float | None):
    """f'(x) = Im f(x + ih) / h, without the rounding of a difference. NumPy orders complex by real parts."""
    assume(far_from_kinks(problem))
    net, X, y, weight, reg = problem
    arguments = {"reg": reg, "sample_weight": weight, "label_smoothing": smoothing or 0.0}
    _, gradients = net.loss_and_gradients(X, y, **arguments)
    each = None if smoothing is None else np.array([smoothing])
    params = pack(net, xp=np)
    T, sums = targets(y, net.n_classes, each, dtype=np.float64, xp=np)
    share = 1.0 / len(X) if weight is None else shares(weight, xp=np)[None, None, :]
    h = 1e-200
    for name, gradient in pack(gradients, xp=np)._asdict().items():
        array = getattr(params, name)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * h
            there = params._replace(**{name: moved})
            _, logits = forward(there, X.astype(complex), xp=np)
            Z, _, total = mathematics.softmax_parts(logits, xp=np)
            losses = mathematics.cross_entropy(Z, total, T, sums, xp=np)
            loss = mathematics.loss(there, losses, share, np.array([reg]), xp=np)
            assert loss[0].imag / h == pytest.approx(gradient[index], rel=1e-12, abs=1e-13)


@given(problem=problems())
def test_float32_gradients_agree_with_float64(backend: Backend, problem: Problem):
    net, X, y, weight, reg = problem
    loss, gradients = net.loss_and_gradients(X, y, reg=reg, sample_weight=weight)
    assume(far_from_kinks(problem))  # rounding may move a unit across its kink
    there, X, y, weight = problem.on(backend, "float32")
    loss32, gradients32 = there.loss_and_gradients(X, y, reg=reg, sample_weight=weight)
    tolerance = 4 * float(np.sqrt(np.finfo(np.float32).eps))
    for found, expected in ((loss32, loss), *zip(gradients32, gradients, strict=True)):
        assert found.dtype == backend.xp.float32
        assert backend.owns(found)
        scale = max(1.0, float(np.max(np.abs(expected))))
        np.testing.assert_allclose(to_host(found), expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.only_on("torch", "jax")
@given(problem=problems(), data=st.data())
def test_automatic_differentiation_gives_the_same_gradients(
    backend: Backend, problem: Problem, data: st.DataObject
):
    """PyTorch's autograd and jax.grad of this library's own loss."""
    assume(far_from_kinks(problem))
    reg = problem.reg
    there, X, y, weight = problem.on(backend)
    smoothing = data.draw(st.just(0.0) | smoothings(problem), label="smoothing")
    settings = {"reg": reg, "sample_weight": weight, "label_smoothing": smoothing}
    _, gradients = there.loss_and_gradients(X, y, **settings)
    xp = backend.xp
    if backend.library == "torch":
        torch = sys.modules["torch"]
        leaves = TwoLayerNet(*(array.clone().requires_grad_() for array in there))
        total = xp.sum(leaves.loss(X, y, **settings))
        automatic = torch.autograd.grad(total, tuple(leaves))
    else:
        jax = sys.modules["jax"]
        automatic = jax.grad(lambda n: xp.sum(n.loss(X, y, **settings)))(there)
    for found, expected in zip(gradients, automatic, strict=True):
        np.testing.assert_allclose(
            to_host(found), to_host(expected), rtol=backend.rtol, atol=10 * backend.rtol
        )


@st.composite
def with_dropout(draw: st.DrawFn) -> tuple[Sizes, Params, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, parameters, samples, labels, and each network's dropout p and kept units."""
    drawn = K, N, D, H, C = draw(sizes())
    shapes = (K, H, D), (K, H), (K, C, H), (K, C)
    params = Params(*(draw(floats(shape)) for shape in shapes))
    X, y = draw(floats((N, D))), draw(hnp.arrays(np.int32, (N,), elements=st.integers(0, C - 1)))
    p = draw(hnp.arrays(np.float64, (K,), elements=st.sampled_from([0.0, 0.25, 0.5, 0.875])))
    kept = draw(hnp.arrays(np.float64, (K, H, N), elements=st.floats(0, 1, width=16))) >= p[:, None, None]
    return drawn, params, X, y, p, kept


@given(drawn=with_dropout())
def test_gradients_with_dropout_are_the_central_differences(drawn):
    """Each network has its own p. Its kept units are scaled by 1 / (1 - p)."""
    (_, N, _, _, C), params, X, y, p, kept = drawn
    scale = (1.0 / (1.0 - p))[:, None, None]
    T, sums = targets(y, C, dtype=np.float64, xp=np)

    def data_loss(other: Params) -> float:
        """The data loss by the formula of inverted dropout, which scales the activations."""
        H1 = np.maximum(other.W1 @ X.T + other.b1[:, :, None], 0.0) * kept * scale
        logits = other.W2 @ H1 + other.b2[:, :, None]
        Z, _, total = mathematics.softmax_parts(logits, xp=np)
        return float(np.sum(mathematics.cross_entropy(Z, total, T, sums, xp=np)) / N)

    Z1 = params.W1 @ X.T + params.b1[:, :, None]
    assume(np.min(np.abs(Z1)) > 1e-3)  # no difference steps over a kink
    H1, logits = forward(params, X, kept, scale, xp=np)
    assert H1.shape == kept.shape
    _, *parts = mathematics.softmax_parts(logits, xp=np)
    dlogits = mathematics.softmax_gradient(*parts, T, sums, 1.0 / N, xp=np)
    gradients = mathematics.backward(params, X, H1, dlogits, scale, xp=np)
    numerical = numerical_gradients(data_loss, params, h=FINE_STEP)
    for name, found, expected in zip(Params._fields, gradients, numerical, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
