"""Stacked, merged and symmetrized networks."""

from __future__ import annotations

import sys
from functools import partial
from typing import NamedTuple

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies
from support.backends import Backend, to_host
from support.moved_images import BORDERS, image_shapes, slow_moved
from support.refusals import refusal
from support.small_runs import assert_same_net, tries
from support.strategies import Problem, floats, problems

from twolayer import TwoLayerNet, merge, stack
from twolayer.augmentation import FlipAndShift
from twolayer.stacks import symmetrize

pytestmark = pytest.mark.once_on_jax


@given(problem=problems(stacked=True))
def test_a_merged_stacks_logits_are_the_mean_of_its_networks_logits(backend: Backend, problem: Problem):
    nets, X, *_ = problem.on(backend)
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


def test_a_stack_contains_the_networks_in_their_order(backend: Backend):
    nets = [TwoLayerNet.initialize(3, 4, 2, rng=k, xp=backend.xp, device=backend.device) for k in range(3)]
    for given_nets in (nets, tuple(nets), iter(nets)):
        stacked = stack(given_nets)
        assert stacked.n_networks == 3
        for k, net in enumerate(nets):
            for together, alone in zip(stacked, net, strict=True):
                assert backend.owns(together)
                np.testing.assert_array_equal(to_host(together)[k], to_host(alone))


def test_results_share_no_memory_with_the_arguments():
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    one = stack([net])
    assert not any(np.shares_memory(a, b) for a, b in zip(one, net, strict=True))
    merged = merge(one)
    assert not any(np.shares_memory(a, b) for a, b in zip(merged, one, strict=True))


NET = TwoLayerNet.initialize(3, 4, 2, rng=0)
WIDER = TwoLayerNet.initialize(3, 5, 2, rng=0)
STRICT = NET.to(array_api_strict)
ELSEWHERE = NET.to(array_api_strict, array_api_strict.Device("device1"))


@pytest.mark.parametrize(
    ("nets", "refused"),
    [
        ([], "ValueError: `nets` must hold at least one network; got none"),
        ([NET, stack([NET])], "ValueError: `nets` must be single networks; got a stack of 1 at 1"),
        ([stack([NET]), NET], "ValueError: `nets` must be single networks; got a stack of 1 at 0"),
        ([NET, WIDER], "ValueError: `nets` must have one shape (D, H, C), here …; got (3, 5, 2) at 1"),
        ([NET, NET.astype("float64")], "TypeError: `nets` must have one dtype, here …; got float64 at 1"),
        ([NET, NET._replace(b1=WIDER.b1)], "ValueError: `b1` must have shape (4,); got (5,)"),
        ([STRICT, ELSEWHERE], "ValueError: `nets[1]` must be on the device of `nets[0]`, …; got …device1…"),
        ([STRICT, NET], "TypeError: `nets[1]` must be an array of the library of `nets[0]`, …; got … numpy"),
    ],
)
def test_stack_refuses_unsuitable_networks(nets, refused):
    with refusal(refused):
        stack(nets)


def test_merge_refuses_one_network():
    with refusal("ValueError: `nets` must be a stack of networks; got one network"):
        merge(NET)


# ---------------------------------------------------------------------------------------------------------
# Symmetrized networks


class Images(NamedTuple):
    """A network or stack for images, a batch of images, and arguments of `symmetrize`; arrays on the host."""

    net: TwoLayerNet
    X: np.ndarray
    image_shape: tuple[int, ...]
    flip: bool
    shifts: int | list[tuple[int, int]]
    border: str

    @property
    def variants(self) -> list[tuple[int, int, int]]:
        """All variants (flip, dy, dx)."""
        pairs = self.shifts
        if isinstance(pairs, int):
            each = range(-pairs, pairs + 1)
            pairs = [(dy, dx) for dy in each for dx in each]
        return [(flip, dy, dx) for flip in ([0, 1] if self.flip else [0]) for dy, dx in pairs]

    def on(self, backend: Backend) -> tuple[TwoLayerNet, object]:
        """The network and the images as arrays of the backend."""
        return TwoLayerNet(*(backend.array(array) for array in self.net)), backend.array(self.X)

    def symmetrized(self, net: TwoLayerNet) -> TwoLayerNet:
        return symmetrize(net, self.image_shape, flip=self.flip, shifts=self.shifts, border=self.border)


@st.composite
def images(draw: st.DrawFn, *, stacked: bool | None = None, flip: bool | None = None) -> Images:
    """Any small network or stack for images, with a few images."""
    image_shape = draw(image_shapes())
    K, N, H, C = (2, 3, 4, 3) if strategies.few_sizes_only else (draw(st.integers(1, 3)) for _ in range(4))
    D = int(np.prod(image_shape))
    if stacked is None:
        stacked = draw(st.booleans())
    lead = (K,) if stacked else ()
    net = TwoLayerNet(*(draw(floats((*lead, *shape))) for shape in ((D, H), (H,), (H, C), (C,))))
    height, width = image_shape[:2]
    pair = st.tuples(st.integers(1 - height, height - 1), st.integers(1 - width, width - 1))
    if strategies.few_sizes_only:
        shifts = draw(st.lists(pair, min_size=2, max_size=2, unique=True))
    else:
        pairs = st.lists(pair, min_size=1, max_size=3, unique=True)
        shifts = draw(st.one_of(st.integers(0, min(2, height - 1, width - 1)), pairs))
    if flip is None:
        flip = draw(st.booleans())
    return Images(net, draw(floats((N, D))), image_shape, flip, shifts, draw(st.sampled_from(BORDERS)))


def assert_close(found, expected, backend: Backend) -> None:
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(to_host(found), expected, rtol=backend.rtol, atol=backend.rtol * scale)


def test_symmetrized_logits_are_the_mean_over_moved_images(backend: Backend):
    @tries(backend)
    @given(problem=images())
    def check(problem: Images) -> None:
        net, X = problem.on(backend)
        before = [to_host(array) for array in net]
        found = problem.symmetrized(net)
        *lead, D, H = net.W1.shape
        V, C = len(problem.variants), net.n_classes
        assert [tuple(a.shape) for a in found] == [
            (*lead, *shape) for shape in ((D, V * H), (V * H,), (V * H, C), (C,))
        ]
        assert all(backend.owns(a) and a.dtype == net.W1.dtype for a in found)
        for array, old in zip(net, before, strict=True):
            np.testing.assert_array_equal(to_host(array), old)
        logits = to_host(found.logits(X))
        assert_close(
            logits, np.mean([slow_logits(problem, *one) for one in problem.variants], axis=0), backend
        )
        if not strategies.few_sizes_only:
            moved = [backend_moved(backend, problem, X, *one) for one in problem.variants]
            assert_close(logits, np.mean([to_host(net.logits(one)) for one in moved], axis=0), backend)

    check()


def slow_logits(problem: Images, flip: int, dy: int, dx: int) -> np.ndarray:
    """Logits of the images, each moved by padding and slicing."""
    moved = [
        slow_moved(x.reshape(problem.image_shape), flip, dy, dx, problem.border).reshape(-1)
        for x in problem.X
    ]
    return problem.net.logits(np.stack(moved))


def backend_moved(backend: Backend, problem: Images, X: object, flip: int, dy: int, dx: int) -> object:
    """The images as augmentation moves them."""
    augmentation = FlipAndShift(problem.image_shape, shift=0, border=problem.border)
    draws = tuple(backend.array(np.full(len(problem.X), number), "int32") for number in (flip, dy, dx))
    return augmentation.apply(X, X, draws, xp=backend.xp)[0]


def test_a_mirror_image_has_the_logits_of_the_image(backend: Backend):
    @tries(backend, 50)
    @given(problem=images(flip=True))
    def check(problem: Images) -> None:
        net, X = problem.on(backend)
        found = problem.symmetrized(net)
        mirrored = problem.X.reshape(-1, *problem.image_shape)[:, :, ::-1].reshape(problem.X.shape)
        assert_close(found.logits(backend.array(mirrored)), to_host(found.logits(X)), backend)

    check()


def test_merging_and_symmetrizing_commute(backend: Backend):
    @tries(backend, 50)
    @given(problem=images(stacked=True))
    def check(problem: Images) -> None:
        nets, X = problem.on(backend)
        one, other = problem.symmetrized(merge(nets)), merge(problem.symmetrized(nets))
        assert_close(one.logits(X), to_host(other.logits(X)), backend)
        for k in range(nets.n_networks):
            assert_same_net(problem.symmetrized(nets).select(k), problem.symmetrized(nets.select(k)))

    check()


def test_hidden_units_are_ordered_by_variant(backend: Backend):
    net = TwoLayerNet.initialize(6, 4, 2, rng=0, xp=backend.xp, device=backend.device)
    W1, b1, W2, b2 = (to_host(array) for array in net)
    found = symmetrize(net, (3, 2), shifts=[(0, 0), (1, 0)], border="zero")
    assert all(backend.owns(a) and a.dtype == backend.xp.float32 for a in found)
    flipped = W1[[1, 0, 3, 2, 5, 4], :]
    down, flipped_down = (np.concat([np.zeros((2, 4)), array[:4, :]]) for array in (W1, flipped))
    np.testing.assert_array_equal(
        to_host(found.W1), np.concat([W1, down, flipped, flipped_down], axis=1).astype("float32")
    )
    np.testing.assert_array_equal(to_host(found.b1), np.concat([b1] * 4))
    np.testing.assert_array_equal(to_host(found.W2), np.concat([W2] * 4) / 4)
    np.testing.assert_array_equal(to_host(found.b2), b2)


def test_a_number_of_shifts_means_all_shifts_up_to_it(backend: Backend):
    net = TwoLayerNet.initialize(24, 2, 2, rng=0, xp=backend.xp, device=backend.device)
    one = symmetrize(net, (3, 4, 2), shifts=1)
    each = (-1, 0, 1)
    assert_same_net(one, symmetrize(net, (3, 4, 2), shifts=((dy, dx) for dy in each for dx in each)))
    assert_same_net(symmetrize(net, (3, 4, 2), flip=False), net)
    assert_same_net(one, symmetrize(net, [3, 4, 2], shifts=np.int64(1)))
    assert_same_net(
        symmetrize(net, (3, 4, 2), shifts=np.array([[2, -1]])), symmetrize(net, (3, 4, 2), shifts=[(2, -1)])
    )


def test_a_symmetrized_network_shares_no_memory():
    net = TwoLayerNet.initialize(6, 4, 2, rng=0)
    found = symmetrize(net, (3, 2), flip=False)
    assert not any(np.shares_memory(a, b) for a, b in zip(found, net, strict=True))


def test_an_infinite_weight_does_not_affect_other_weights(backend: Backend):
    """A product with a matrix of 0 and 1 would turn other weights into NaN."""
    net = TwoLayerNet.initialize(4, 1, 2, rng=0, xp=backend.xp, device=backend.device)
    W1 = backend.array(np.array([[np.inf], [1.0], [2.0], [3.0]]), "float32")
    found = symmetrize(net._replace(W1=W1), (2, 2), shifts=[(1, 0)])
    np.testing.assert_array_equal(to_host(found.W1), [[2, 3], [3, 2], [np.inf, 1], [1, np.inf]])


def test_symmetrizing_reads_no_value(backend: Backend):
    net = TwoLayerNet.initialize(12, 2, 2, rng=0, xp=backend.xp, device=backend.device)
    whole = partial(symmetrize, image_shape=(3, 2, 2), shifts=((0, 1), (2, 0)))
    if backend.library == "jax":
        assert_same_net(sys.modules["jax"].jit(whole)(net), whole(net), rtol=backend.rtol)
    elif backend.library == "torch":
        meta = whole(TwoLayerNet(*(array.to("meta") for array in net)))
        assert [a.shape for a in meta] == [a.shape for a in whole(net)]
    else:
        assert whole(net).n_hidden == 8


FORMS = "(height, width) or (height, width, channels)"


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (dict(net=(1, 2)), "TypeError: `net` must be a TwoLayerNet; got tuple"),
        (dict(image_shape=(3, 3)), "ValueError: `image_shape` must have …, 12; got (3, 3), which has 9"),
        (dict(image_shape=12), f"TypeError: `image_shape` must be {FORMS}; got int"),
        (dict(image_shape=(12,)), f"ValueError: `image_shape` must be {FORMS}; got (12,)"),
        (dict(flip=1), "TypeError: `flip` must be True or False; got int"),
        (dict(border="wrap"), "ValueError: `border` must be one of 'reflect', 'zero'; got 'wrap'"),
        (dict(shifts=-1), "ValueError: `shifts` must be at least 0; got -1"),
        (dict(shifts=True), "TypeError: `shifts` must be an integer; got bool"),
        (dict(shifts=1.0), "TypeError: `shifts` must be an integer, or pairs (dy, dx); got float"),
        (dict(shifts=3), "ValueError: `shifts` must be smaller than …, … = (3, 4); got (dy, dx) = (3, 3)"),
        (dict(shifts=[(0, 3), (0, -4)]), "ValueError: `shifts[1]` must be smaller than … = (0, -4)"),
        (dict(shifts=[(-3, 0)]), "ValueError: `shifts[0]` must be smaller than … = (-3, 0)"),
        (dict(shifts=[]), "ValueError: `shifts` must hold at least one pair (dy, dx); got none"),
        (dict(shifts=[(1, 0)] * 2), "ValueError: `shifts` must hold each pair once; got (1, 0) twice"),
        (dict(shifts=[1]), "TypeError: `shifts[0]` must be a pair (dy, dx); got int"),
        (dict(shifts=[(1, 2, 3)]), "ValueError: `shifts[0]` must be a pair (dy, dx); got 3 values"),
        (dict(shifts=[(0, 1.0)]), "TypeError: `shifts[0]` must be an integer; got float"),
        (dict(shifts=[(0, True)]), "TypeError: `shifts[0]` must be an integer; got bool"),
    ],
)
def test_symmetrize_refuses_invalid_settings(settings, refused):
    net = TwoLayerNet.initialize(12, 4, 2, rng=0)
    with refusal(refused):
        symmetrize(**{"net": net, "image_shape": (3, 4), **settings})


@pytest.mark.only_on("torch")
def test_autograd_works_through_stack_merge_and_symmetrize(backend: Backend):
    nets = [
        TwoLayerNet(
            *(array.requires_grad_() for array in TwoLayerNet.initialize(4, 3, 2, rng=k, xp=backend.xp))
        )
        for k in range(2)
    ]
    for made in (stack(nets), merge(stack(nets)), symmetrize(nets[0], (2, 2))):
        for array in made:
            assert array.requires_grad
        sum(array.sum() for array in made).backward()
        assert all(bool((array.grad != 0).any()) for array in nets[0])
        for array in nets[0]:
            array.grad = None
