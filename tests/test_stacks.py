from __future__ import annotations

import numpy as np
import pytest
from backends import Backend, to_host
from hypothesis import given
from strategies import Problem, problems

from twolayer import TwoLayerNet, merge, stack


@given(problem=problems(stacked=True))
def test_a_merged_stacks_logits_are_the_mean_of_its_networks_logits(backend: Backend, problem: Problem):
    nets = TwoLayerNet(*(backend.array(array) for array in problem.net))
    X = backend.array(problem.X)
    merged = merge(nets)
    K, D, H = problem.net.W1.shape
    C = problem.net.W2.shape[-1]
    assert [tuple(a.shape) for a in merged] == [(D, K * H), (K * H,), (K * H, C), (C,)]
    assert all(backend.owns(a) for a in merged)
    expected = to_host(nets.logits(X)).mean(axis=0)
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(
        to_host(merged.logits(X)), expected, rtol=backend.rtol, atol=backend.rtol * scale
    )


def test_stacking_puts_networks_side_by_side_in_their_order(backend: Backend):
    nets = [TwoLayerNet.initialize(3, 4, 2, rng=k, xp=backend.xp, device=backend.device) for k in range(3)]
    for given_nets in (nets, tuple(nets), iter(nets)):
        stacked = stack(given_nets)
        assert stacked.n_networks == 3
        for k, net in enumerate(nets):
            for together, alone in zip(stacked, net, strict=True):
                assert backend.owns(together)
                np.testing.assert_array_equal(to_host(together)[k], to_host(alone))


def test_results_share_no_memory_with_what_was_given():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    one = stack([net])
    assert not any(np.shares_memory(a, b) for a, b in zip(one, net, strict=True))
    merged = merge(one)
    assert not any(np.shares_memory(a, b) for a, b in zip(merged, one, strict=True))


def test_stack_refuses():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    with pytest.raises(ValueError, match=r"^`nets` must hold at least one network; got none$"):
        stack([])
    with pytest.raises(ValueError, match="`nets` must be single networks; got a stack of 1 at 1"):
        stack([net, stack([net])])
    with pytest.raises(ValueError, match="`nets` must be single networks; got a stack of 1 at 0"):
        stack([stack([net]), net])
    wider = TwoLayerNet.initialize(3, 5, 2, rng=0)
    message = r"^`nets` must have one shape \(D, H, C\), here \(3, 4, 2\); got \(3, 5, 2\) at 1$"
    with pytest.raises(ValueError, match=message):
        stack([net, wider])
    with pytest.raises(TypeError, match="`nets` must have one dtype, here float32; got float64 at 2"):
        stack([net, net, net.astype("float64")])
    with pytest.raises(ValueError, match=r"`b1` must have shape \(4,\); got \(5,\)"):
        stack([net, net._replace(b1=wider.b1)])


def test_stack_refuses_mixed_devices_and_libraries():
    import array_api_strict

    one = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=array_api_strict)
    other = one.to(array_api_strict, array_api_strict.Device("device1"))
    with pytest.raises(
        ValueError, match=r"`nets\[1\]` must be on the device of `nets\[0\]`, .*; got .*device1"
    ):
        stack([one, other])
    with pytest.raises(
        TypeError, match=r"`nets\[1\]` must be an array of the library of `nets\[0\]`, array_api_strict"
    ):
        stack([one, TwoLayerNet.initialize(3, 4, 2, rng=0)])


def test_merge_refuses_one_network():
    with pytest.raises(ValueError, match=r"^`nets` must be a stack of networks; got one network$"):
        merge(TwoLayerNet.initialize(3, 4, 2, rng=0))
