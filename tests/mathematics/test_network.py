from __future__ import annotations

import copy
import math
import pickle
import re
import sys

import numpy as np
import pytest
from array_api_extra.testing import assert_close
from hypothesis import assume, given
from hypothesis import strategies as st
from support.backends import Backend, dtype_name, to_host
from support.oracles import networks, slow_logits, slow_loss, toy
from support.small_runs import make_task
from support.strategies import Problem, problems, smoothings

import twolayer
from twolayer import TwoLayerNet, _validation, stack
from twolayer.mathematics import Params, forward, loss_and_gradients, shares, targets
from twolayer.network import as_targets, evaluate, pack, unpack, widest


def moved(problem: Problem, backend: Backend) -> tuple:
    """The problem's network, X, y and weight as arrays of the library."""
    net, X, y, weight, _ = problem
    there = TwoLayerNet(*(backend.array(array) for array in net))
    return there, backend.array(X), backend.array(y), None if weight is None else backend.array(weight)


# ---------------------------------------------------------------------------------------------- values


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
def test_loss_and_logits_are_those_of_slow_loops(backend: Backend, problem: Problem, data):
    net, X, y, weight = moved(problem, backend)
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
def test_gradients_are_those_of_numpy(backend: Backend, problem: Problem, data):
    net, X, y, weight = moved(problem, backend)
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
def test_results_keep_library_device_dtype_and_shape_and_inputs_are_untouched(
    backend: Backend, problem: Problem
):
    for dtype in backend.dtypes:
        net = TwoLayerNet(*(backend.array(array, dtype) for array in problem.net))
        X = backend.array(problem.X, dtype)
        y = backend.array(problem.y, None if problem.y.ndim == 1 else dtype)
        weight = None if problem.sample_weight is None else backend.array(problem.sample_weight, dtype)
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
def test_the_parts_of_a_prediction_agree(backend: Backend, problem: Problem):
    net, X, y, _ = moved(problem, backend)
    logits, probs = to_host(net.logits(X)), to_host(net.predict_proba(X))
    labels = to_host(net.predict(X))
    np.testing.assert_array_equal(labels, logits.argmax(axis=-1))
    np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-5)
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(probs, exp / exp.sum(axis=-1, keepdims=True), rtol=1e-4, atol=1e-7)
    truth = problem.y if problem.y.ndim == 1 else to_host(y).argmax(axis=-1)
    np.testing.assert_allclose(to_host(net.accuracy(X, y)), (labels == truth).mean(axis=-1), rtol=1e-6)


@pytest.mark.parametrize("stacked", [False, True])
def test_many_samples_are_taken_in_blocks_that_change_nothing(backend: Backend, monkeypatch, stacked):
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


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_logits_of_ten_thousand_stay_finite(backend: Backend, size):
    net = TwoLayerNet(
        *(backend.array(a) for a in (np.ones((1, 1)), np.zeros(1), np.array([[size, 0.0]]), np.zeros(2)))
    )
    X = backend.array(np.ones((1, 1)))
    for label, expected in ((0, max(0.0, -size)), (1, max(0.0, size))):
        loss, gradients = net.loss_and_gradients(X, backend.array(np.array([label])))
        assert float(loss) == pytest.approx(expected)
        assert all(np.isfinite(to_host(g)).all() for g in gradients)
    assert to_host(net.predict_proba(X)).tolist() == [[float(size > 0), float(size < 0)]]


@given(problem=problems(weights=False), block=st.integers(1, 20))
def test_evaluating_in_blocks_is_the_summed_loss_and_the_number_of_hits(backend: Backend, problem, block):
    net, X, y, _ = moved(problem, backend)
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


# ------------------------------------------------------------------------------------------ invariants


@given(problem=problems(), seed=st.integers(0, 100))
def test_permuting_samples_changes_nothing(backend: Backend, problem: Problem, seed):
    order = np.random.default_rng(seed).permutation(len(problem.y))
    shuffled = problem._replace(
        X=problem.X[order],
        y=problem.y[order],
        sample_weight=None if problem.sample_weight is None else problem.sample_weight[order],
    )
    same_loss_and_gradients(problem, shuffled, backend)


@given(problem=problems(weights=False))
def test_a_batch_twice_has_the_same_mean_loss(backend: Backend, problem: Problem):
    twice = problem._replace(X=np.concatenate([problem.X] * 2), y=np.concatenate([problem.y] * 2))
    same_loss_and_gradients(problem, twice, backend)


@given(problem=problems(weights=False), data=st.data())
def test_a_weight_of_two_is_the_sample_twice(backend: Backend, problem: Problem, data):
    i = data.draw(st.integers(0, len(problem.y) - 1))
    weight = np.ones(len(problem.y))
    weight[i] = 2.0
    twice = problem._replace(
        X=np.concatenate([problem.X, problem.X[i : i + 1]]),
        y=np.concatenate([problem.y, problem.y[i : i + 1]]),
    )
    same_loss_and_gradients(problem._replace(sample_weight=weight), twice, backend)


@given(problem=problems(weights=True), factor=st.sampled_from([0.25, 4.0, 1024.0]))
def test_only_the_proportions_of_the_weights_count(backend: Backend, problem: Problem, factor):
    same_loss_and_gradients(problem, problem._replace(sample_weight=factor * problem.sample_weight), backend)


@given(problem=problems())
def test_a_constant_added_to_every_logit_changes_nothing(backend: Backend, problem: Problem):
    added = problem._replace(net=problem.net._replace(b2=problem.net.b2 + 2.0))
    same_loss_and_gradients(problem, added, backend)


@given(problem=problems(), seed=st.integers(0, 100))
def test_permuting_hidden_units_permutes_the_gradients(backend: Backend, problem: Problem, seed):
    order = np.random.default_rng(seed).permutation(problem.net.W1.shape[-1])
    W1, b1, W2, b2 = problem.net
    permuted = problem._replace(net=TwoLayerNet(W1[..., order], b1[..., order], W2[..., order, :], b2))

    def reorder(g: TwoLayerNet) -> TwoLayerNet:
        return TwoLayerNet(g.W1[..., order], g.b1[..., order], g.W2[..., order, :], g.b2)

    same_loss_and_gradients(problem, permuted, backend, reorder)


def same_loss_and_gradients(one: Problem, other: Problem, backend: Backend, change=lambda g: g) -> None:
    (loss, gradients), (other_loss, other_gradients) = (
        net.loss_and_gradients(X, y, reg=p.reg, sample_weight=weight)
        for p, (net, X, y, weight) in ((p, moved(p, backend)) for p in (one, other))
    )
    np.testing.assert_allclose(to_host(loss), to_host(other_loss), rtol=backend.rtol, atol=backend.rtol)
    hosts = [TwoLayerNet(*(to_host(a) for a in g)) for g in (gradients, other_gradients)]
    for a, b in zip(change(hosts[0]), hosts[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=backend.rtol, atol=10 * backend.rtol)


@given(problem=problems(), reg=st.floats(0, 4, width=16))
def test_the_loss_is_affine_in_reg_and_biases_are_not_penalised(backend: Backend, problem: Problem, reg):
    net, X, y, weight = moved(problem, backend)
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
def test_a_stack_is_its_networks(backend: Backend, problem: Problem):
    net, X, y, weight = moved(problem, backend)
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


# --------------------------------------------------------------------------------- what goes in and out


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float32"])
def test_samples_of_any_real_dtype_and_rank_are_cast_and_flattened(backend: Backend, dtype):
    host = (np.random.default_rng(0).random((4, 2, 3)) * 200).astype(dtype)
    net = TwoLayerNet.initialize(6, 5, 3, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    found = net.logits(backend.array(host, dtype))
    expected = net.logits(backend.array(host.reshape(4, 6).astype(np.float64)))
    assert_close(found, expected)


def test_read_only_and_non_contiguous_arrays_are_taken():
    rng = np.random.default_rng(0)
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, dtype="float64")
    X, y = rng.standard_normal((6, 3)), np.array([0, 1, 0, 1, 1, 0])
    expected = net.loss_and_gradients(X, y, reg=0.1)
    for array in (*net, X, y):
        array.flags.writeable = False
    strided = np.zeros((12, 9))[::-2, ::3]
    strided[...] = X
    odd = TwoLayerNet(np.asfortranarray(net.W1), net.b1, net.W2.T.copy().T, net.b2)
    for n, batch in ((net, X), (net, strided), (odd, X), (odd, X[:, ::-1][:, ::-1])):
        loss, gradients = n.loss_and_gradients(batch, y, reg=0.1)
        assert loss == pytest.approx(expected[0], rel=1e-12)
        for a, b in zip(gradients, expected[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.only_on("jax")
def test_it_is_a_pytree_and_runs_compiled(backend: Backend):
    jax = sys.modules["jax"]
    rng = np.random.default_rng(0)
    net = TwoLayerNet.initialize(4, 5, 3, rng=0, xp=backend.xp, dtype=backend.dtype)
    X, y = backend.array(rng.standard_normal((7, 4))), backend.array(rng.integers(0, 3, 7))
    for n in (net, stack([net, net])):
        assert len(jax.tree.leaves(n)) == 4
        assert isinstance(jax.tree.map(lambda a: a, n), TwoLayerNet)
        eager = n.loss_and_gradients(X, y, reg=0.1)
        for found, expected in zip(
            jax.tree.leaves(jax.jit(lambda n, X, y: n.loss_and_gradients(X, y, reg=0.1))(n, X, y)),
            jax.tree.leaves(eager),
            strict=True,
        ):
            np.testing.assert_allclose(to_host(found), to_host(expected), rtol=1e-5, atol=1e-7)
        # labels that have values under a tracer of something else; reg as a tracer; weights and soft targets
        by_reg = jax.jit(lambda r, n=n: n.loss(X, y, reg=r, sample_weight=backend.array(np.ones(7))))(0.1)
        np.testing.assert_allclose(to_host(by_reg), to_host(eager[0]), rtol=1e-5)
        probs = jax.jit(lambda n, X: n.predict_proba(X))(n, X)
        soft = jax.jit(lambda n, X, T, s: n.loss(X, T, sample_weight=s))(
            n, X, probs if n is net else probs[0], X[:, 0] ** 2
        )
        assert np.isfinite(to_host(soft)).all()
        assert to_host(jax.jit(lambda n, X: n.predict(X))(n, X)).shape == (*n.W1.shape[:-2], 7)
        accuracy = jax.jit(lambda n, X, y: n.accuracy(X, y))(n, X, y)
        np.testing.assert_allclose(to_host(accuracy), to_host(n.accuracy(X, y)))
    regs = jax.jit(lambda r: stack([net, net]).loss(X, y, reg=r))(backend.array(np.array([0.0, 0.1])))
    np.testing.assert_allclose(to_host(regs)[1], to_host(net.loss(X, y, reg=0.1)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`reg` must be a number; got shape \(2,\)"):
        jax.jit(lambda r: net.loss(X, y, reg=r))(backend.array(np.array([0.0, 0.1])))


class Mute:
    """Makes any read of a strict array's value an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import array_api_strict

        def refuse(self: object, *_: object) -> None:
            raise AssertionError("a value was read on the way")

        kind = type(array_api_strict.zeros(1))
        for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__"):
            monkeypatch.setattr(kind, name, refuse)


def test_the_mathematics_reads_no_value(monkeypatch):
    import array_api_strict as xp

    params = Params(xp.ones((2, 4, 3)), xp.zeros((2, 4)), xp.ones((2, 3, 4)), xp.zeros((2, 3)))
    X, y, reg = xp.ones((5, 3)), xp.zeros(5, dtype=xp.int32), xp.ones(2)
    Mute(monkeypatch)
    with pytest.raises(AssertionError, match="a value was read"):
        bool(reg[0])
    share = shares(xp.ones(5), xp=xp)[None, None, :]
    T, sums = targets(y, 3, xp.full(2, 0.1), dtype=X.dtype, xp=xp)
    loss, gradients = loss_and_gradients(params, X, T, sums, share, reg, xp=xp)
    assert loss.shape == (2,)
    assert [g.shape for g in gradients] == [a.shape for a in params]


@given(problem=problems())
def test_unpacking_undoes_packing(backend: Backend, problem: Problem):
    net = TwoLayerNet(*(backend.array(array) for array in problem.net))
    params = pack(net, xp=backend.xp)
    K, D, H, C = (net.n_networks or 1), net.n_features, net.n_hidden, net.n_classes
    assert [tuple(a.shape) for a in params] == [(K, H, D), (K, H), (K, C, H), (K, C)]
    for a, b in zip(unpack(params, stacked=net.n_networks is not None, xp=backend.xp), net, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize("stacked", [False, True])
def test_packing_copies_nothing(stacked):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    net = stack([net, net]) if stacked else net
    params = pack(net, xp=np)
    assert all(np.shares_memory(a, b) for a, b in zip(params, net, strict=True))
    # And so back, as what was packed lies row by row again.
    assert all(
        np.shares_memory(a, b) for a, b in zip(unpack(params, stacked=stacked, xp=np), net, strict=True)
    )


# ------------------------------------------------------------------------------------ making and moving


def test_initial_weights_are_the_same_numbers_everywhere(backend: Backend):
    host = TwoLayerNet.initialize(7, 5, 3, rng=42, dtype="float64")
    for dtype in backend.dtypes:
        there = TwoLayerNet.initialize(7, 5, 3, rng=42, xp=backend.xp, dtype=dtype, device=backend.device)
        for a, b in zip(there, host, strict=True):
            assert backend.owns(a)
            np.testing.assert_array_equal(to_host(a), b.astype(dtype))
    # What seed 42 means: a change of this number breaks everyone's reproducible runs.
    assert float(host.W1[0, 0]) == pytest.approx(-0.7028103647425157, rel=1e-15)


@pytest.mark.parametrize("weight_scale", ["he", 0.5])
def test_initial_weights_have_the_scale_that_was_asked_for(weight_scale):
    net = TwoLayerNet.initialize(400, 300, 200, rng=0, weight_scale=weight_scale, dtype="float64")
    for W, fan_in in ((net.W1, 400), (net.W2, 300)):
        expected = math.sqrt(2 / fan_in) if weight_scale == "he" else weight_scale
        assert np.std(W) == pytest.approx(expected, rel=0.02)
        assert abs(np.mean(W)) < 5 * expected / math.sqrt(W.size)
    assert not net.b1.any()
    assert not net.b2.any()
    assert net.b1.shape == (300,)
    assert net.b2.shape == (200,)


def test_initial_weights_follow_rng():
    def first(rng):
        return float(TwoLayerNet.initialize(2, 2, 2, rng=rng, dtype="float64").W1[0, 0])

    assert first(0) == first(0) != first(1)
    assert first(None) != first(None)
    generator = np.random.default_rng(0)
    assert first(generator) != first(generator)
    assert first(np.random.default_rng(0)) == first(np.random.default_rng(0))


def test_a_raw_library_serves_as_its_namespace():
    net = TwoLayerNet.initialize(2, 2, 2, rng=0, xp=np)
    assert isinstance(net.W1, np.ndarray)
    assert net.W1.dtype == np.float32  # the default


def test_to_and_astype_give_copies_of_the_same_values(backend: Backend):
    host = TwoLayerNet.initialize(3, 4, 2, rng=0)
    for net in (host, stack([host, host])):
        there = net.to(backend.xp, backend.device)
        for a, b in zip(there, net, strict=True):
            assert backend.owns(a)
            np.testing.assert_array_equal(to_host(a), b)
        back = there.to(np)
        assert not any(np.shares_memory(a, b) for a, b in zip(back, net, strict=True))
        for dtype in backend.dtypes:
            cast = there.astype(dtype)
            assert all(dtype_name(a.dtype) == dtype and backend.owns(a) for a in cast)
            np.testing.assert_array_equal(to_host(cast.W1), net.W1.astype(dtype))
    same = host.astype("float32")
    assert not any(np.shares_memory(a, b) for a, b in zip(same, host, strict=True))


def test_float64_is_refused_where_there_is_none(backend: Backend):
    net = TwoLayerNet.initialize(2, 2, 2, rng=0, xp=backend.xp, device=backend.device)
    if "float64" in backend.dtypes:
        assert dtype_name(net.astype("float64").W1.dtype) == "float64"
        return
    for call in (
        lambda: net.astype("float64"),
        lambda: TwoLayerNet.initialize(2, 2, 2, xp=backend.xp, device=backend.device, dtype="float64"),
        lambda: TwoLayerNet.initialize(2, 2, 2, dtype="float64").to(backend.xp, backend.device),
    ):
        with pytest.raises(TypeError, match=r"`dtype` must be one that .* has.*; got float64"):
            call()


def test_a_smoothing_of_zero_is_none_and_may_be_of_any_kind(backend: Backend):
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


@pytest.mark.parametrize(
    ("smoothing", "error", "message"),
    [
        (-0.1, ValueError, "`label_smoothing` must be in [0, 1]; got -0.1"),
        (1.5, ValueError, "`label_smoothing` must be in [0, 1]; got 1.5"),
        (2, ValueError, "`label_smoothing` must be in [0, 1]; got 2"),
        (math.nan, ValueError, "`label_smoothing` must be in [0, 1]; got nan"),
        (math.inf, ValueError, "`label_smoothing` must be in [0, 1]; got inf"),
        ([0.1], ValueError, "`label_smoothing` must be a number; got shape (1,)"),
        ("some", TypeError, "`label_smoothing` must be a number, or one for each network; got str"),
        (None, TypeError, "`label_smoothing` must be a number, or one for each network; got NoneType"),
        (True, TypeError, "`label_smoothing` must be a number, or one for each network; got bool"),
        (False, TypeError, "`label_smoothing` must be a number, or one for each network; got bool"),
    ],
)
def test_a_smoothing_out_of_its_bounds_is_refused(smoothing, error, message):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    X, y = np.ones((5, 3)), np.arange(5) % 2
    for call in (net.loss, net.loss_and_gradients):
        with pytest.raises(error, match="^" + re.escape(message) + "$"):
            call(X, y, label_smoothing=smoothing)
    if isinstance(smoothing, float):
        with pytest.raises(error, match="^" + re.escape(message) + "$"):
            stack([net, net]).loss(X, y, label_smoothing=[0.1, smoothing])


@pytest.mark.only_on("jax")
def test_a_smoothing_may_be_traced(backend: Backend):
    jax = sys.modules["jax"]
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp, dtype=backend.dtype)
    X, y = backend.array(np.ones((5, 3))), backend.array(np.arange(5) % 2)
    loss = jax.jit(lambda smoothing: net.loss(X, y, label_smoothing=smoothing))(0.25)
    np.testing.assert_allclose(loss, net.loss(X, y, label_smoothing=0.25), rtol=1e-6)


def test_sizes():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    assert (net.n_features, net.n_hidden, net.n_classes, net.n_networks) == (3, 4, 2, None)
    stacked = stack([net] * 5)
    assert (stacked.n_features, stacked.n_hidden, stacked.n_classes, stacked.n_networks) == (3, 4, 2, 5)


# ---------------------------------------------------------------------------------- a tuple's habits


def test_it_copies_and_pickles_whole():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    for other in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net._replace()):  # noqa: S301  # our own bytes
        assert isinstance(other, TwoLayerNet)
        assert all(np.array_equal(a, b) for a, b in zip(other, net, strict=True))


@pytest.mark.parametrize(
    "use",
    [
        lambda n: n == n,
        lambda n: n != n,
        lambda n: n == (1, 2, 3, 4),
        lambda n: n + n,
        lambda n: n + (1,),  # noqa: RUF005
        lambda n: (1,) + n,  # noqa: RUF005
        lambda n: n * 2,
        lambda n: 2 * n,
        lambda n: n < n,
        lambda n: n <= n,
        lambda n: n > n,
        lambda n: n >= n,
    ],
)
def test_a_tuples_habits_are_refused(use):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    message = (
        "networks are not compared or computed with as tuples; use their arrays, such as "
        "`net.W1 + other.W1`, `twolayer.stack` to put networks together, or `is` for identity"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        use(net)


def test_it_has_no_hash():
    with pytest.raises(TypeError, match="unhashable"):
        hash(TwoLayerNet.initialize(3, 4, 2, rng=0))


def test_repr_shows_shapes_dtype_and_device_but_no_contents(backend: Backend):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp, device=backend.device)
    library = {"strict": "array_api_strict"}.get(backend.library, backend.library)
    expected = f"TwoLayerNet(W1: (3, 4), b1: (4,), W2: (4, 2), b2: (2,); float32, {library} on "
    assert repr(net).startswith(expected)
    if backend.device is not None:
        assert repr(net) == expected + f"{backend.device})"
    assert repr(TwoLayerNet(1, None, "x", 2.0)) == "TwoLayerNet(int, NoneType, str, float)"


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(n_features=0), ValueError, "`n_features` must be at least 1; got 0"),
        (dict(n_hidden=-1), ValueError, "`n_hidden` must be at least 1; got -1"),
        (dict(n_classes=0), ValueError, "`n_classes` must be at least 1; got 0"),
        (dict(n_hidden=2.5), TypeError, "`n_hidden` must be an integer; got float"),
        (dict(n_hidden=True), TypeError, "`n_hidden` must be an integer; got bool"),
        (
            dict(weight_scale="xavier"),
            ValueError,
            "`weight_scale` must be 'he', or a number above 0; got 'xavier'",
        ),
        (dict(weight_scale=0.0), ValueError, "`weight_scale` must be finite and above 0; got 0"),
        (dict(weight_scale=math.nan), ValueError, "`weight_scale` must be finite and above 0; got nan"),
        (dict(weight_scale=None), TypeError, "`weight_scale` must be a number; got NoneType"),
        (dict(dtype="int32"), TypeError, "`dtype` must be float32 or float64; got int32"),
        (dict(xp=math), TypeError, "`xp` must be an array library .*; got math"),
        (dict(xp="numpy"), TypeError, "`xp` must be an array library .*; got str"),
        (dict(rng=-1), ValueError, "`rng` must be non-negative where it is an int; got -1"),
        (dict(rng="0"), TypeError, "`rng` must be an int, a numpy.random.Generator or None; got str"),
    ],
)
def test_initialize_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        TwoLayerNet.initialize(**{"n_features": 3, "n_hidden": 4, "n_classes": 2, **arguments})


def test_select_refuses():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    with pytest.raises(ValueError, match=r"^`select` needs a stack of networks; got one network$"):
        net.select(0)
    stacked = stack([net, net])
    for k in (2, 5):
        with pytest.raises(ValueError, match=f"`k` must be below the number of networks, 2; got {k}"):
            stacked.select(k)
    with pytest.raises(ValueError, match="`k` must be at least -2; got -3"):
        stacked.select(-3)
    with pytest.raises(TypeError, match="`k` must be an integer; got float"):
        stacked.select(0.0)


def test_select_gives_a_copy_and_counts_from_the_end_too(backend: Backend):
    nets = [TwoLayerNet.initialize(3, 4, 2, rng=k, xp=backend.xp, device=backend.device) for k in range(3)]
    stacked = stack(nets)
    for k in (0, 1, 2, -1, -3):
        for found, expected in zip(stacked.select(k), nets[k], strict=True):
            assert backend.owns(found)
            np.testing.assert_array_equal(to_host(found), to_host(expected))
    host = twolayer.stack([TwoLayerNet.initialize(3, 4, 2, rng=k) for k in range(3)])
    assert not np.shares_memory(host.select(1).W1, host.W1)


def test_blocks_of_samples_that_a_preprocessing_narrows_are_as_small_as_the_samples_are_wide(monkeypatch):
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
def test_an_evaluation_sums_over_blocks_by_the_samples_weights(
    backend: Backend, monkeypatch, n_networks, soft
):
    """The sums of the probabilities differ from 1, as those of float16 would."""
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
def test_the_widest_array_of_a_forward_pass(shape, most):
    K, D, H, C = shape
    params = Params(np.zeros((K, H, D)), np.zeros((K, H)), np.zeros((K, C, H)), np.zeros((K, C)))
    assert widest(params) == most


def test_a_prediction_from_an_infinite_logit_counts_in_the_accuracy(backend: Backend):
    net = TwoLayerNet(*map(backend.array, (np.ones((3, 4)), np.ones(4), np.ones((4, 3)), [0.0, np.inf, 0.0])))
    X, y = backend.array(np.ones((6, 3))), backend.array([1, 1, 1, 0, 1, 2], "int32")
    assert to_host(net.predict(X)).tolist() == [1] * 6
    with np.errstate(invalid="ignore"):  # in the cross-entropy that is computed beside it
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
        message = rf"are finite; got nan{of_network}, first for row 17 \(counted from 0\)$"
        with np.errstate(invalid="ignore"):
            assert np.isnan(to_host(net.logits(bad))).any()
            for use in (net.predict, net.predict_proba):
                with pytest.raises(ValueError, match=message):
                    use(bad)
            found = to_host(net.accuracy(bad, labels))
        assert found.dtype == backend.dtype
        assert np.isnan(found).all()
        np.testing.assert_array_equal(to_host(net.accuracy(there, labels)), expected)


def test_only_the_network_whose_logits_are_nan_has_no_accuracy(backend: Backend):
    """Its parameters are finite, as are the samples: it is their product that overflows."""
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
        with pytest.raises(ValueError, match="got nan of network 1, first for row 5 "):
            bad.net.predict_proba(bad.X)


@pytest.mark.only_on("torch")
def test_predictions_within_transforms_of_torch(backend: Backend):
    """Their values cannot be read there."""
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
