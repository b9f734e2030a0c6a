"""Values of the network, and the changes that leave them the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from array_api_extra.testing import assert_close
from hypothesis import assume, given
from hypothesis import strategies as st
from support.backends import Backend, dtype_name, to_host
from support.oracles import networks, slow_logits, slow_loss, toy
from support.strategies import Problem, problems, smoothings

from twolayer import TwoLayerNet, stack


def test_published_toy_network_has_the_published_logits_and_loss():
    net, X, y = toy()
    assert f"{net.logits(X)[0][0]:.8f} {net.logits(X)[0][1]:.8f} {net.logits(X)[0][2]:.8f}" == (
        "-0.81233741 -1.27654624 -0.70335995"
    )
    expected = [  # every row that CS231n prints
        [-0.81233741, -1.27654624, -0.70335995],
        [-0.17129677, -1.18803311, -0.47310444],
        [-0.51590475, -1.01354314, -0.8504215],
        [-0.15419291, -0.48629638, -0.52901952],
        [-0.00618733, -0.12435261, -0.15226949],
    ]
    np.testing.assert_allclose(net.logits(X), expected, atol=5e-9)
    assert f"{net.loss(X, y, reg=0.05):.11f}" == "1.30378789133"


@given(problem=problems(), data=st.data())
def test_loss_and_logits_equal_those_of_slow_loops(backend: Backend, problem: Problem, data):
    net, X, y, weight = problem.on(backend)
    logits = net.logits(X)
    smoothing = data.draw(st.just(0.0) | smoothings(problem), label="smoothing")
    loss = net.loss(X, y, reg=problem.reg, sample_weight=weight, label_smoothing=smoothing)
    members = networks(problem.net)
    regs, shares = (np.broadcast_to(numbers, len(members)) for numbers in (problem.reg, smoothing))
    expected_logits = [slow_logits(n, problem.X) for n in members]
    expected = [
        slow_loss(n, problem.X, problem.y, r, problem.sample_weight, share)
        for n, r, share in zip(members, regs, shares, strict=True)
    ]
    if problem.net.W1.ndim == 2:
        expected_logits, expected = expected_logits[0], expected[0]
    scale = max(1.0, float(np.max(np.abs(expected_logits))))
    np.testing.assert_allclose(to_host(logits), expected_logits, rtol=backend.rtol, atol=backend.rtol * scale)
    np.testing.assert_allclose(to_host(loss), expected, rtol=backend.rtol, atol=backend.rtol * scale)


@given(problem=problems(), data=st.data())
def test_gradients_equal_those_of_numpy(backend: Backend, problem: Problem, data):
    net, X, y, weight = problem.on(backend)
    assume(all(np.min(np.abs(problem.X @ n.W1 + n.b1)) > 1e-3 for n in networks(problem.net)))
    shared = {
        "reg": problem.reg,
        "label_smoothing": data.draw(st.just(0.0) | smoothings(problem), label="smoothing"),
    }
    loss, gradients = net.loss_and_gradients(X, y, sample_weight=weight, **shared)
    host_loss, expected = problem.net.loss_and_gradients(
        problem.X, problem.y, sample_weight=problem.sample_weight, **shared
    )
    np.testing.assert_allclose(to_host(loss), host_loss, rtol=backend.rtol, atol=backend.rtol)
    for name, found, wanted in zip(TwoLayerNet._fields, gradients, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(wanted))))
        np.testing.assert_allclose(
            to_host(found), wanted, rtol=backend.rtol, atol=backend.rtol * scale, err_msg=name
        )


@given(problem=problems())
def test_results_keep_library_device_and_dtype_and_inputs_are_unchanged(backend: Backend, problem: Problem):
    for dtype in backend.dtypes:
        net, X, y, weight = problem.on(backend, dtype)
        given_arrays = [*net, X, y, *([] if weight is None else [weight])]
        before = [to_host(array) for array in given_arrays]
        N, C = problem.X.shape[0], problem.net.W2.shape[-1]
        lead = problem.net.W1.shape[:-2]
        loss, gradients = net.loss_and_gradients(X, y, reg=problem.reg, sample_weight=weight)
        for result, shape in (
            (net.logits(X), (*lead, N, C)),
            (net.predict_proba(X), (*lead, N, C)),
            (net.accuracy(X, y), lead),
            (net.loss(X, y), lead),
            (loss, lead),
            *((g, tuple(a.shape)) for g, a in zip(gradients, net, strict=True)),
        ):
            assert tuple(result.shape) == shape
            assert backend.owns(result)
            assert dtype_name(result.dtype) == dtype
        labels = net.predict(X)
        assert tuple(labels.shape) == (*lead, N)
        assert backend.xp.isdtype(labels.dtype, "integral")
        assert backend.owns(labels)
        for array, host in zip(given_arrays, before, strict=True):
            np.testing.assert_array_equal(to_host(array), host)


@given(problem=problems())
def test_logits_probabilities_labels_and_accuracy_agree(backend: Backend, problem: Problem):
    net, X, y, _ = problem.on(backend)
    logits, probs = to_host(net.logits(X)), to_host(net.predict_proba(X))
    labels = to_host(net.predict(X))
    np.testing.assert_array_equal(labels, logits.argmax(axis=-1))
    np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-5)
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(probs, exp / exp.sum(axis=-1, keepdims=True), rtol=1e-4, atol=1e-7)
    truth = problem.y if problem.y.ndim == 1 else to_host(y).argmax(axis=-1)
    np.testing.assert_allclose(to_host(net.accuracy(X, y)), (labels == truth).mean(axis=-1), rtol=1e-6)


def rows_of(problem: Problem, rows: np.ndarray) -> Problem:
    """The problem with the samples of these rows only; a row may be repeated."""
    weight = problem.sample_weight
    kept = None if weight is None else weight[rows]
    return problem._replace(X=problem.X[rows], y=problem.y[rows], sample_weight=kept)


def one_counted_twice(problem: Problem, rng: np.random.Generator) -> tuple[Problem, Problem]:
    """The problem with one sample of double weight, and with that sample twice."""
    rows = np.arange(len(problem.y))
    chosen = rng.choice(rows)
    weight = np.ones(len(rows)) if problem.sample_weight is None else problem.sample_weight
    double = problem._replace(sample_weight=np.where(rows == chosen, 2.0, 1.0) * weight)
    return double, rows_of(problem, np.append(rows, chosen))


def scaled_weights(problem: Problem, rng: np.random.Generator) -> tuple[Problem, Problem]:
    """The problem, and the problem with all weights multiplied by one factor."""
    weight = np.ones(len(problem.y)) if problem.sample_weight is None else problem.sample_weight
    return problem, problem._replace(sample_weight=rng.choice([0.25, 4.0, 1024.0]) * weight)


EQUIVALENT = {
    "permuted": lambda p, rng: (p, rows_of(p, rng.permutation(len(p.y)))),
    "a batch twice": lambda p, rng: (p, rows_of(p, np.tile(np.arange(len(p.y)), 2))),
    "a weight of two": one_counted_twice,
    "scaled weights": scaled_weights,
    "a constant added to every logit": lambda p, rng: (p, p._replace(net=p.net._replace(b2=p.net.b2 + 2.0))),
}


@pytest.mark.parametrize("pair", EQUIVALENT.values(), ids=EQUIVALENT)
@given(problem=problems(), seed=st.integers(0, 100))
def test_equivalent_problems_have_the_same_loss_and_gradients(backend: Backend, pair, problem: Problem, seed):
    assert_same_loss_and_gradients(*pair(problem, np.random.default_rng(seed)), backend)


@given(problem=problems(), seed=st.integers(0, 100))
def test_permuting_hidden_units_permutes_the_gradients(backend: Backend, problem: Problem, seed):
    order = np.random.default_rng(seed).permutation(problem.net.W1.shape[-1])
    W1, b1, W2, b2 = problem.net
    permuted = problem._replace(net=TwoLayerNet(W1[..., order], b1[..., order], W2[..., order, :], b2))

    def reorder(g: TwoLayerNet) -> TwoLayerNet:
        return TwoLayerNet(g.W1[..., order], g.b1[..., order], g.W2[..., order, :], g.b2)

    assert_same_loss_and_gradients(problem, permuted, backend, reorder)


def assert_same_loss_and_gradients(
    one: Problem, other: Problem, backend: Backend, change=lambda g: g
) -> None:
    (loss, gradients), (other_loss, other_gradients) = (
        net.loss_and_gradients(X, y, reg=p.reg, sample_weight=weight)
        for p, (net, X, y, weight) in ((p, p.on(backend)) for p in (one, other))
    )
    np.testing.assert_allclose(to_host(loss), to_host(other_loss), rtol=backend.rtol, atol=backend.rtol)
    hosts = [TwoLayerNet(*(to_host(a) for a in g)) for g in (gradients, other_gradients)]
    for a, b in zip(change(hosts[0]), hosts[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=backend.rtol, atol=10 * backend.rtol)


@given(problem=problems(), reg=st.floats(0, 4, width=16))
def test_the_loss_is_affine_in_reg_and_biases_are_not_penalised(backend: Backend, problem: Problem, reg):
    net, X, y, weight = problem.on(backend)
    without, gradients_without = net.loss_and_gradients(X, y, sample_weight=weight)
    for default in (net.loss(X, y, sample_weight=weight), net.loss(X, y, reg=0, sample_weight=weight)):
        assert_close(default, without)
    loss, gradients = net.loss_and_gradients(X, y, reg=reg, sample_weight=weight)
    penalties = [float((n.W1**2).sum() + (n.W2**2).sum()) for n in networks(problem.net)]
    penalty = penalties if problem.net.W1.ndim == 3 else penalties[0]
    np.testing.assert_allclose(
        to_host(loss) - to_host(without),
        reg * np.asarray(penalty),
        rtol=backend.rtol,
        atol=100 * backend.rtol,
    )
    for name, a, b in zip(TwoLayerNet._fields, gradients, gradients_without, strict=True):
        extra = 2 * reg * getattr(problem.net, name) if name.startswith("W") else 0.0
        np.testing.assert_allclose(to_host(a) - to_host(b), extra, rtol=backend.rtol, atol=10 * backend.rtol)


@given(problem=problems(stacked=True))
def test_a_stack_computes_the_same_as_its_networks_alone(backend: Backend, problem: Problem):
    net, X, y, weight = problem.on(backend)
    loss, gradients = net.loss_and_gradients(X, y, reg=problem.reg, sample_weight=weight)
    regs = np.broadcast_to(problem.reg, net.n_networks)
    for k in range(net.n_networks):
        one = net.select(k)
        alone, its_gradients = one.loss_and_gradients(X, y, reg=float(regs[k]), sample_weight=weight)
        np.testing.assert_allclose(to_host(loss)[k], to_host(alone), rtol=backend.rtol, atol=backend.rtol)
        np.testing.assert_allclose(
            to_host(net.logits(X))[k], to_host(one.logits(X)), rtol=backend.rtol, atol=10 * backend.rtol
        )
        for together, its in zip(gradients, its_gradients, strict=True):
            np.testing.assert_allclose(
                to_host(together)[k], to_host(its), rtol=backend.rtol, atol=10 * backend.rtol
            )


def test_label_smoothing_may_have_any_form_and_zero_changes_nothing(backend: Backend):
    host = TwoLayerNet.initialize(3, 4, 2, rng=0, dtype=backend.dtype)
    X, y = backend.array(np.linspace(-1.0, 1.0, 15).reshape(5, 3)), backend.array(np.arange(5) % 2)
    one, pair = host.to(backend.xp, backend.device), stack([host, host]).to(backend.xp, backend.device)
    zeros = (0, 0.0, np.float32(0), backend.array(np.zeros(())))
    for net, kinds in ((one, zeros), (pair, (*zeros, [0, 0], backend.array(np.zeros(2))))):
        plain = net.loss(X, y, reg=0.1)
        for zero in kinds:
            np.testing.assert_allclose(
                to_host(net.loss(X, y, reg=0.1, label_smoothing=zero)), to_host(plain), rtol=1e-6
            )
    expected = to_host(pair.loss(X, y, label_smoothing=[0.25, 0.5]))
    for kind in (tuple, np.asarray, backend.array):
        loss, _ = pair.loss_and_gradients(X, y, label_smoothing=kind([0.25, 0.5]))
        np.testing.assert_array_equal(to_host(loss), expected)
    assert expected[0] != expected[1]


@pytest.mark.only_on("jax")
def test_label_smoothing_may_be_traced(backend: Backend):
    jax = sys.modules["jax"]
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    X, y = backend.array(np.ones((5, 3))), backend.array(np.arange(5) % 2)
    loss = jax.jit(lambda smoothing: net.loss(X, y, label_smoothing=smoothing))(0.25)
    np.testing.assert_allclose(loss, net.loss(X, y, label_smoothing=0.25), rtol=1e-6)
