"""The random streams of a seed. The numbers here must never change: they define what a seed means."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer import TwoLayerNet
from twolayer._streams import Stream, seed_of, stream


def test_the_numbers_of_the_streams_never_change():
    assert {purpose.name: int(purpose) for purpose in Stream} == {
        "INITIAL_WEIGHTS": 0,
        "BATCHES": 1,
        "INPUT_DROPOUT": 2,
        "DROPOUT": 3,
        "AUGMENTATION": 4,
        "PERMUTATIONS": 5,
        "CANDIDATES": 6,
        "FOLDS": 7,
    }
    np.testing.assert_allclose(
        stream(0, Stream.INITIAL_WEIGHTS).standard_normal(3),
        [0.7859067677198036, -0.9199529560235964, 1.4715789384981375],
        rtol=1e-15,
    )
    assert stream(0, Stream.BATCHES).permutation(8).tolist() == [3, 1, 6, 5, 7, 2, 0, 4]
    assert stream(0, Stream.BATCHES, 1).permutation(8).tolist() == [4, 3, 6, 1, 7, 2, 5, 0]
    assert stream(0, Stream.BATCHES).integers(100, size=4).tolist() == [48, 94, 96, 41]
    assert stream(12345678901234567890123, Stream.BATCHES, 3).integers(1000, size=4).tolist() == [
        665,
        109,
        254,
        301,
    ]


def test_initial_weights_come_from_their_stream():
    net = TwoLayerNet.initialize(2, 2, 2, rng=0, dtype="float64")
    np.testing.assert_allclose(net.W1[0], [0.7859067677198036, -0.9199529560235964], rtol=1e-15)
    np.testing.assert_allclose(net.W2[0], [-0.09427830697456797, 1.1301700749495394], rtol=1e-15)


@given(seed=st.integers(0, 2**70), purpose=st.sampled_from(Stream), epoch=st.integers(0, 2**31))
def test_streams_are_reproducible_and_distinct(seed, purpose, epoch):
    numbers = stream(seed, purpose, epoch).integers(2**63, size=4).tolist()
    assert stream(seed, purpose, epoch).integers(2**63, size=4).tolist() == numbers
    other = Stream.BATCHES if purpose == Stream.INITIAL_WEIGHTS else Stream.INITIAL_WEIGHTS
    for different in (
        stream(seed, other, epoch),
        stream(seed, purpose, epoch + 1),
        stream(seed + 1, purpose, epoch),
        np.random.default_rng(seed),  # a user's own generator with the same seed
    ):
        assert different.integers(2**63, size=4).tolist() != numbers


def test_the_default_epoch_is_the_first():
    first, unnamed = stream(5, Stream.BATCHES, 0), stream(5, Stream.BATCHES)
    assert first.integers(2**63) == unnamed.integers(2**63)


@pytest.mark.parametrize("seed", [0, 7, 2**80, np.int32(7), np.uint64(2**64 - 1)])
def test_an_int_is_its_own_seed(seed):
    assert seed_of(seed) == int(seed)
    assert type(seed_of(seed)) is int


def test_a_generator_gives_a_seed_and_moves_on():
    rng = np.random.default_rng(0)
    first, second = seed_of(rng), seed_of(rng)
    assert first == 5874934615388537135
    assert first != second
    assert type(first) is int
    assert seed_of(np.random.default_rng(0)) == first


def test_none_draws_a_new_seed_of_63_bits():
    seeds = [seed_of(None) for _ in range(64)]
    assert len(set(seeds)) == 64
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) >= 2**62  # as are half of all seeds


@pytest.mark.parametrize("rng", ["0", 1.0, True, [1], np.random.RandomState(0), np.random.SeedSequence(0)])
def test_other_kinds_of_rng_are_refused(rng):
    message = f"`rng` must be an int, a numpy.random.Generator or None; got {type(rng).__name__}"
    with pytest.raises(TypeError, match=re.escape(message)):
        seed_of(rng)


@pytest.mark.parametrize("rng", [-1, np.int8(-1)])
def test_a_negative_seed_is_refused(rng):
    with pytest.raises(ValueError, match=r"`rng` must be non-negative if it is an int; got -1$"):
        seed_of(rng)
