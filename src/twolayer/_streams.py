"""Random streams of a seed, from which the host draws all random numbers.

The streams of a seed are independent of each other, as are the epochs of a stream and the steps of an epoch.
The same seed gives the same numbers with every array library. The numbers of any epoch or step can be drawn
without drawing earlier ones.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import numpy as np

RandomState: TypeAlias = int | np.random.Generator | None


class Stream(IntEnum):
    """The purpose of a stream. These numbers never change, because every seed's results depend on them."""

    INITIAL_WEIGHTS = 0
    BATCHES = 1
    INPUT_DROPOUT = 2
    DROPOUT = 3
    AUGMENTATION = 4
    PERMUTATIONS = 5
    CANDIDATES = 6
    FOLDS = 7


def seed_of(rng: RandomState) -> int:
    """Return the seed for an argument ``rng``, which follows SPEC 7.

    An int is itself the seed. A Generator draws a seed, so a second call returns another one. None takes a
    seed from the operating system.

    Raises
    ------
    TypeError
        If ``rng`` is anything else.
    ValueError
        If ``rng`` is a negative int.
    """
    if rng is None:
        # 63 bits, because a signed 64-bit integer fits every file format and language.
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"`rng` must be non-negative if it is an int; got {int(rng)}")
        return int(rng)
    raise TypeError(f"`rng` must be an int, a numpy.random.Generator or None; got {type(rng).__name__}")


def stream(seed: int, purpose: Stream, epoch: int = 0, step: int | None = None) -> np.random.Generator:
    """Return a fresh generator for one purpose and epoch of a seed, or for one step of the epoch."""
    place = (int(purpose), epoch) if step is None else (int(purpose), epoch, step)
    sequence = np.random.SeedSequence(seed, spawn_key=place)
    return np.random.Generator(np.random.PCG64(sequence))
