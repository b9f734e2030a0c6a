"""Flips, shifts and mixup of a batch, compared with worked examples and a slow oracle, and their draws."""

from __future__ import annotations

import re
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.moved_images import BORDERS, Moves, moves, slow_batch
from support.small_runs import STRICT, tries, unread

from twolayer.augmentation import Augmentation, Chain, FlipAndShift, Mixup, check_augmentation

pytestmark = pytest.mark.once_on_jax

SHAPE = (4, 5, 3)
N_FEATURES = 60


KINDS = pytest.mark.parametrize(
    "augmentation",
    [
        pytest.param(FlipAndShift(SHAPE), id="reflect"),
        pytest.param(FlipAndShift(SHAPE, flip=False, shift=3, border="zero"), id="zero"),
        pytest.param(Mixup(), id="mixup"),
        pytest.param(Chain(FlipAndShift(SHAPE), Chain(Mixup(0.4), FlipAndShift((20, 3)))), id="chain"),
    ],
)


def batch(n: int = 7, dtype: str = "uint8", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 60) of random bytes, and class probabilities (n, 3)."""
    rng = np.random.default_rng(seed)
    T = rng.random((n, 3))
    return rng.integers(0, 256, (n, N_FEATURES)).astype(dtype), T / T.sum(axis=1, keepdims=True)


def on(backend: Backend, draws: Any) -> Any:
    """Copy nested tuples of host arrays to the backend."""
    if isinstance(draws, tuple):
        return tuple(on(backend, part) for part in draws)
    return backend.array(draws)


def leaves(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple) else [tree]


def host(tree: Any) -> list[np.ndarray]:
    return [to_host(array) for array in leaves(tree)]


# ---------------------------------------------------------------------------------------------------------
# Flips and shifts


def test_each_image_is_moved_by_its_own_draw(backend: Backend):
    @tries(backend)
    @given(given=moves(), kind=st.sampled_from(["uint8", "int16", "bool", "float"]), small=st.booleans())
    def check(given: Moves, kind: str, small: bool) -> None:
        rng = np.random.default_rng(0)
        X = rng.permutation(len(given.flip) * given.n_features).reshape(len(given.flip), -1) + 1
        X = X.astype(backend.dtype if kind == "float" else kind)
        there, T = backend.array(X), backend.array(np.ones((len(X), 2)))
        drawn = [backend.array(array, "int8" if small else None) for array in given[2:]]
        before = [array.copy() for array in host((there, T, *drawn))]
        augmentation = FlipAndShift(given.image_shape, shift=given.shift, border=given.border)
        found, same = augmentation.apply(there, T, tuple(drawn), xp=backend.xp)
        assert same is T
        assert backend.owns(found)
        assert found.dtype == there.dtype
        np.testing.assert_array_equal(to_host(found), slow_batch(X, given), strict=True)
        for array, old in zip(host((there, T, *drawn)), before, strict=True):
            np.testing.assert_array_equal(array, old)

    check()


def test_a_worked_example_of_flips_and_shifts(backend: Backend):
    image = backend.array(np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9]] * 3, dtype=np.uint8))
    T = backend.array(np.ones((3, 1)))
    draws = on(backend, (np.array([0, 1, 1]), np.array([1, 0, -1]), np.array([0, 1, 2])))
    reflected, _ = FlipAndShift((3, 3)).apply(image, T, draws, xp=backend.xp)
    assert to_host(reflected).tolist() == [
        [4, 5, 6, 7, 8, 9, 4, 5, 6],
        [2, 1, 2, 5, 4, 5, 8, 7, 8],
        [4, 5, 6, 1, 2, 3, 4, 5, 6],
    ]
    black, _ = FlipAndShift((3, 3), border="zero").apply(image, T, draws, xp=backend.xp)
    assert to_host(black).tolist() == [
        [4, 5, 6, 7, 8, 9, 0, 0, 0],
        [2, 1, 0, 5, 4, 0, 8, 7, 0],
        [0, 0, 0, 1, 0, 0, 4, 0, 0],
    ]


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("flip", [True, False])
def test_flips_and_shifts_are_drawn_evenly(flip, shift):
    n = 5000
    flips, dy, dx = FlipAndShift(SHAPE, flip=flip, shift=shift).draw(np.random.default_rng(0), n)
    assert all(array.dtype == np.int32 and array.shape == (n,) for array in (flips, dy, dx))
    for array, values in ((flips, range(1 + flip)), (dy, range(-shift, shift + 1)), (dx, None)):
        found, counts = np.unique(array, return_counts=True)
        assert found.tolist() == list(values or range(-shift, shift + 1))
        # At least five standard deviations of a count.
        assert np.abs(counts - n / len(found)).max() <= 5 * np.sqrt(n / len(found))
    pairs = set(zip(flips.tolist(), dy.tolist(), dx.tolist(), strict=True))
    assert len(pairs) == (1 + flip) * (2 * shift + 1) ** 2


@pytest.mark.only_on("torch")
def test_large_batches_have_64_bit_pixel_indices(backend: Backend):
    """From 2³¹ pixels on, indices are int64. The meta device holds shapes only, so no memory is needed."""
    torch, dtypes = sys.modules["torch"], []

    def take(X, indices, *, axis):
        dtypes.append(indices.dtype)
        return backend.xp.take(X, indices, axis=axis)

    namespace = SimpleNamespace(**{**vars(backend.xp), "take": take})
    for height in (2**13 - 1, 2**13):
        X = torch.empty((2**8, height * 2**10), dtype=torch.uint8, device="meta")
        T, draws = (
            torch.empty((2**8, 2), device="meta"),
            torch.empty((3, 2**8), dtype=torch.int32, device="meta"),
        )
        found, _ = FlipAndShift((height, 2**10), border="zero").apply(X, T, tuple(draws), xp=namespace)
        assert found.shape == X.shape
    assert dtypes == [torch.int32, torch.int64]


# ---------------------------------------------------------------------------------------------------------
# Mixup


@pytest.mark.parametrize("shares", ["drawn", "one", "none"])
@pytest.mark.parametrize(("dtype", "of_T"), [("uint8", None), ("float64", None), ("uint8", "float32")])
def test_samples_and_targets_are_mixed_with_their_partners(backend: Backend, dtype, of_T, shares):
    X, T = batch(dtype=dtype)
    lam, partner = Mixup(0.7).draw(np.random.default_rng(3), len(X))
    lam = {"drawn": lam, "one": np.ones(len(X)), "none": np.zeros(len(X))}[shares]
    there = backend.array(X), backend.array(T, of_T), on(backend, (lam, partner))
    before = host(there)
    found = Mixup(0.7).apply(*there, xp=backend.xp)
    for array, old in zip(host(there), before, strict=True):
        np.testing.assert_array_equal(array, old)
    for array, old in zip(found, (X.astype(float), T), strict=True):
        assert backend.owns(array)
        assert array.dtype == there[1].dtype  # the network's dtype, not that of the shares
        expected = [lam[i] * old[i] + (1 - lam[i]) * old[partner[i]] for i in range(len(X))]
        np.testing.assert_allclose(to_host(array), expected, rtol=1e-6 if of_T else backend.rtol)
    if shares != "drawn":
        order = slice(None) if shares == "one" else partner
        np.testing.assert_array_equal(to_host(found[1]), to_host(there[1])[order])


@pytest.mark.parametrize("alpha", [0.2, 1, 4.0])
def test_shares_are_beta_distributed_and_partners_are_a_permutation(alpha):
    n = 20_000
    lam, partner = Mixup(alpha).draw(np.random.default_rng(0), n)
    assert lam.dtype == np.float64
    assert partner.dtype == np.int32
    assert lam.shape == (n,)
    assert np.all((lam >= 0) & (lam <= 1))
    variance = 1 / (4 * (2 * alpha + 1))
    np.testing.assert_allclose(lam.mean(), 0.5, atol=5 * np.sqrt(variance / n))
    np.testing.assert_allclose(lam.var(), variance, rtol=0.05)
    np.testing.assert_array_equal(np.sort(partner), np.arange(n))
    assert not np.array_equal(partner, np.arange(n))


@pytest.mark.parametrize("alpha", [1e-8, 1e8])
def test_shares_are_finite_for_extreme_alpha(alpha):
    lam, _ = Mixup(alpha).draw(np.random.default_rng(0), 1000)
    np.testing.assert_allclose(np.minimum(lam, 1 - lam), 0 if alpha < 1 else 0.5, atol=1e-3)
    np.testing.assert_allclose(lam.mean(), 0.5, atol=0.1)


# ---------------------------------------------------------------------------------------------------------
# All augmentations


@KINDS
@pytest.mark.parametrize("n", [1, 7])
def test_equal_seeds_draw_equal_arrays(augmentation, n):
    first, again, other = (augmentation.draw(np.random.default_rng(seed), n) for seed in (5, 5, 6))
    for a, b, c in zip(leaves(first), leaves(again), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        assert a.shape == c.shape
        assert a.dtype == c.dtype
        assert len(a) == n
    if n > 1:
        assert any(not np.array_equal(a, c) for a, c in zip(leaves(first), leaves(other), strict=True))


@KINDS
def test_every_library_gives_the_result_of_numpy(backend: Backend, augmentation):
    """Also when JAX compiles it. No value is read then, nor on PyTorch's meta device."""
    X, T = batch(dtype="float32")
    draws = augmentation.draw(np.random.default_rng(1), len(X))
    expected = augmentation.apply(X, T, draws, xp=np)
    there = backend.array(X), backend.array(T), on(backend, draws)
    apply = partial(augmentation.apply, xp=backend.xp)
    if backend.library == "jax":
        jax = sys.modules["jax"]
        eager, apply = apply, jax.jit(apply)
        for a, b in zip(eager(*there), apply(*there), strict=True):
            np.testing.assert_allclose(to_host(a), to_host(b), rtol=backend.rtol, atol=backend.rtol)
    elif backend.library == "torch":
        X_meta, T_meta, draws_meta = (
            sys.modules["torch"].utils._pytree.tree_map(lambda array: array.to("meta"), part)
            for part in there
        )
        shapes = [tuple(array.shape) for array in apply(X_meta, T_meta, draws_meta)]
        assert shapes == [X.shape, T.shape]
    for found, wanted in zip(apply(*there), expected, strict=True):
        assert backend.owns(found)
        np.testing.assert_allclose(to_host(found), wanted, rtol=backend.rtol, atol=backend.rtol)


@KINDS
def test_no_value_is_read_on_strict_arrays(augmentation):
    with STRICT.active():
        X, T = batch()
        draws = on(STRICT, augmentation.draw(np.random.default_rng(0), len(X)))
        X, T, xp = STRICT.array(X), STRICT.array(T), STRICT.xp
        expected = augmentation.apply(X, T, draws, xp=xp)
        with unread(T):
            found = augmentation.apply(X, T, draws, xp=xp)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(to_host(a), to_host(b))


@KINDS
def test_inputs_may_be_read_only_and_in_any_memory_order(augmentation):
    X, T = batch()
    draws = augmentation.draw(np.random.default_rng(0), len(X))
    expected = augmentation.apply(X, T, draws, xp=np)
    wide = np.zeros((2 * len(X), 2 * N_FEATURES), dtype=X.dtype)
    wide[::2, ::2] = X
    for given_X in (wide[::2, ::2], np.asfortranarray(X)):
        given_X.flags.writeable = False
        given_T = np.asfortranarray(T)
        given_T.flags.writeable = False
        for array in leaves(draws):
            array.flags.writeable = False
        for a, b in zip(augmentation.apply(given_X, given_T, draws, xp=np), expected, strict=True):
            np.testing.assert_array_equal(a, b)


class Noise:
    """A user's own augmentation that draws one array and has no `check`."""

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.standard_normal((n, N_FEATURES))

    def apply(self, X: Any, T: Any, draws: Any, *, xp: Any) -> tuple[Any, Any]:
        return xp.astype(X, T.dtype) + draws, T


def test_a_chain_applies_its_parts_in_order(backend: Backend):
    X, T = batch()
    parts: list[Augmentation] = [FlipAndShift(SHAPE), Noise(), Mixup(0.5)]
    chain = Chain(*parts)
    chain.check(N_FEATURES)
    drawn = chain.draw(np.random.default_rng(0), len(X))
    rng = np.random.default_rng(0)
    expected = X, T
    for part, own in zip(parts, drawn, strict=True):
        for a, b in zip(leaves(own), leaves(part.draw(rng, len(X))), strict=True):
            np.testing.assert_array_equal(a, b)
        expected = part.apply(*expected, own, xp=np)
    found = chain.apply(backend.array(X), backend.array(T), on(backend, drawn), xp=backend.xp)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_host(a), b, rtol=backend.rtol, atol=1e2 * backend.rtol)
    assert chain.parts == tuple(parts)


def test_images_that_do_not_fit_the_samples_are_refused():
    message = "`image_shape` must have as many values as a sample has features, 192; got (8, 8), which has 64"
    misfit, zeros = FlipAndShift((8, 8)), np.zeros(2, dtype=np.int32)
    for call in (
        partial(misfit.check, 192),
        partial(misfit.apply, np.zeros((2, 192)), np.ones((2, 1)), (zeros,) * 3, xp=np),
        partial(check_augmentation, misfit, 192),
        partial(check_augmentation, Chain(Noise(), misfit), 192),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            call()
    for border in BORDERS:
        FlipAndShift((8, 8), border=border).check(64)
        FlipAndShift((8, 8, 3), shift=7, border=border).check(192)
    for fits in (Noise(), Mixup(), Chain(Noise(), FlipAndShift((8, 8, 3))), None):
        check_augmentation(fits, 192)
