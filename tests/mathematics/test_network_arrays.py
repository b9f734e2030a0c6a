"""The arrays of a network: inputs, initial weights, copies, and operations of tuples that are refused."""

from __future__ import annotations

import copy
import math
import pickle
import sys

import numpy as np
import pytest
from array_api_extra.testing import assert_close
from hypothesis import given
from support.backends import Backend, dtype_name, to_host
from support.refusals import refusal
from support.strategies import Problem, problems

import twolayer
from twolayer import TwoLayerNet, stack
from twolayer.mathematics import Params, loss_and_gradients, shares, targets
from twolayer.network import pack, unpack


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float32"])
def test_samples_of_any_real_dtype_and_rank_are_cast_and_flattened(backend: Backend, dtype):
    host = (np.random.default_rng(0).random((4, 2, 3)) * 200).astype(dtype)
    net = TwoLayerNet.initialize(6, 5, 3, rng=0, xp=backend.xp, dtype=backend.dtype, device=backend.device)
    found = net.logits(backend.array(host, dtype))
    expected = net.logits(backend.array(host.reshape(4, 6).astype(np.float64)))
    assert_close(found, expected)


def test_read_only_and_non_contiguous_arrays_are_accepted():
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
def test_a_network_is_a_pytree_and_its_methods_can_be_compiled(backend: Backend):
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
        # `reg` may be traced while labels have values; weights and soft targets may be traced too.
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
    with refusal("ValueError: `reg` must be a number; got shape (2,)…"):  # JAX adds a note
        jax.jit(lambda r: net.loss(X, y, reg=r))(backend.array(np.array([0.0, 0.1])))


def test_the_mathematics_reads_no_value(monkeypatch):
    import array_api_strict as xp

    params = Params(xp.ones((2, 4, 3)), xp.zeros((2, 4)), xp.ones((2, 3, 4)), xp.zeros((2, 3)))
    X, y, reg = xp.ones((5, 3)), xp.zeros(5, dtype=xp.int32), xp.ones(2)

    def refuse(self: object, *_: object) -> None:
        raise AssertionError("a value was read on the way")

    for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__"):
        monkeypatch.setattr(type(X), name, refuse)
    with pytest.raises(AssertionError, match="a value was read"):
        bool(reg[0])
    share = shares(xp.ones(5), xp=xp)[None, None, :]
    T, sums = targets(y, 3, xp.full(2, 0.1), dtype=X.dtype, xp=xp)
    loss, gradients = loss_and_gradients(params, X, T, sums, share, reg, xp=xp)
    assert loss.shape == (2,)
    assert [g.shape for g in gradients] == [a.shape for a in params]


@given(problem=problems())
def test_unpacking_undoes_packing(backend: Backend, problem: Problem):
    net, *_ = problem.on(backend)
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
    # Unpacking copies nothing either, as it gives the row-major arrays back.
    assert all(
        np.shares_memory(a, b) for a, b in zip(unpack(params, stacked=stacked, xp=np), net, strict=True)
    )


def test_initial_weights_are_the_same_in_every_library(backend: Backend):
    host = TwoLayerNet.initialize(7, 5, 3, rng=42, dtype="float64")
    for dtype in backend.dtypes:
        there = TwoLayerNet.initialize(7, 5, 3, rng=42, xp=backend.xp, dtype=dtype, device=backend.device)
        for a, b in zip(there, host, strict=True):
            assert backend.owns(a)
            np.testing.assert_array_equal(to_host(a), b.astype(dtype))
    # The first weight of seed 42. If it changed, no earlier run could be reproduced.
    assert float(host.W1[0, 0]) == pytest.approx(-0.7028103647425157, rel=1e-15)


@pytest.mark.parametrize("weight_scale", ["he", 0.5])
def test_initial_weights_have_the_requested_scale(weight_scale):
    net = TwoLayerNet.initialize(400, 300, 200, rng=0, weight_scale=weight_scale, dtype="float64")
    for W, fan_in in ((net.W1, 400), (net.W2, 300)):
        expected = math.sqrt(2 / fan_in) if weight_scale == "he" else weight_scale
        assert np.std(W) == pytest.approx(expected, rel=0.02)
        assert abs(np.mean(W)) < 5 * expected / math.sqrt(W.size)
    assert not net.b1.any()
    assert not net.b2.any()
    assert net.b1.shape == (300,)
    assert net.b2.shape == (200,)


def test_initial_weights_depend_on_rng():
    def first(rng):
        return float(TwoLayerNet.initialize(2, 2, 2, rng=rng, dtype="float64").W1[0, 0])

    assert first(0) == first(0) != first(1)
    assert first(None) != first(None)
    generator = np.random.default_rng(0)
    assert first(generator) != first(generator)
    assert first(np.random.default_rng(0)) == first(np.random.default_rng(0))


def test_to_and_astype_return_copies_of_the_same_values(backend: Backend):
    host = TwoLayerNet.initialize(3, 4, 2, rng=0)
    for net in (host, stack([host, host])):
        there = net.to(backend.xp, backend.device)
        for a, b in zip(there, net, strict=True):
            assert backend.owns(a)
            np.testing.assert_array_equal(to_host(a), b)
        assert all(backend.owns(a) for a in there.to(device=backend.device))
        back = there.to(np)
        assert not any(np.shares_memory(a, b) for a, b in zip(back, net, strict=True))
        for dtype in backend.dtypes:
            cast = there.astype(dtype)
            assert all(dtype_name(a.dtype) == dtype and backend.owns(a) for a in cast)
            np.testing.assert_array_equal(to_host(cast.W1), net.W1.astype(dtype))
    same = host.astype("float32")
    assert not any(np.shares_memory(a, b) for a, b in zip(same, host, strict=True))


def test_float64_is_refused_for_a_library_without_it(backend: Backend):
    net = TwoLayerNet.initialize(2, 2, 2, rng=0, xp=backend.xp, device=backend.device)
    if "float64" in backend.dtypes:
        assert dtype_name(net.astype("float64").W1.dtype) == "float64"
        return
    for call in (
        lambda: net.astype("float64"),
        lambda: TwoLayerNet.initialize(2, 2, 2, xp=backend.xp, device=backend.device, dtype="float64"),
        lambda: TwoLayerNet.initialize(2, 2, 2, dtype="float64").to(backend.xp, backend.device),
    ):
        with refusal("TypeError: `dtype` must be one that … has…; got float64"):
            call()


def test_the_name_of_a_device_is_refused_by_jax_with_a_hint(backend: Backend):
    net = TwoLayerNet.initialize(2, 2, 2, rng=0)
    if backend.library == "jax":
        with refusal("ValueError: `device` must be one that jax has here; got cpu (JAX takes…"):
            net.to(backend.xp, "cpu")
    elif backend.library in ("numpy", "torch"):
        assert net.to(backend.xp, "cpu").W1.shape == (2, 2)


def test_select_returns_a_copy_and_accepts_negative_indices(backend: Backend):
    nets = [TwoLayerNet.initialize(3, 4, 2, rng=k, xp=backend.xp, device=backend.device) for k in range(3)]
    stacked = stack(nets)
    for k in (0, 1, 2, -1, -3):
        for found, expected in zip(stacked.select(k), nets[k], strict=True):
            assert backend.owns(found)
            np.testing.assert_array_equal(to_host(found), to_host(expected))
    host = twolayer.stack([TwoLayerNet.initialize(3, 4, 2, rng=k) for k in range(3)])
    assert not np.shares_memory(host.select(1).W1, host.W1)


def test_a_network_can_be_copied_and_pickled():
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
def test_operations_of_tuples_are_refused(use):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    message = (
        "networks cannot be compared or computed with as tuples; use their arrays, such as "
        "`net.W1 + other.W1`, `twolayer.stack` to put networks together, or `is` for identity"
    )
    with refusal(f"TypeError: {message}"):
        use(net)


def test_a_network_has_no_hash():
    with refusal("TypeError: unhashable type: 'TwoLayerNet'"):
        hash(TwoLayerNet.initialize(3, 4, 2, rng=0))


def test_repr_shows_shapes_dtype_and_device_but_no_contents(backend: Backend):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp, device=backend.device)
    library = {"strict": "array_api_strict"}.get(backend.library, backend.library)
    expected = f"TwoLayerNet(W1: (3, 4), b1: (4,), W2: (4, 2), b2: (2,); float32, {library} on "
    assert repr(net).startswith(expected)
    if backend.device is not None:
        assert repr(net) == expected + f"{backend.device})"
    assert repr(TwoLayerNet(1, None, "x", 2.0)) == "TwoLayerNet(int, NoneType, str, float)"
