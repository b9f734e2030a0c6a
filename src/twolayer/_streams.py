"""The random streams of a seed: everything random is drawn on the host from one of them.

Streams of one seed are independent of each other, and so are the epochs within a stream and the steps within
an epoch; the same seed gives the same numbers whatever the array library, and any epoch's or step's can be
drawn without those before it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import numpy as np

RandomState: TypeAlias = int | np.random.Generator | None


class Stream(IntEnum):
    """The purpose of a stream. The numbers are part of what a seed means: they never change."""

    INITIAL_WEIGHTS = 0
    BATCHES = 1
    INPUT_DROPOUT = 2
    DROPOUT = 3
    AUGMENTATION = 4
    PERMUTATIONS = 5
    CANDIDATES = 6
    FOLDS = 7


def seed_of(rng: RandomState) -> int:
    """Return the seed that ``rng`` stands for, as SPEC 7 has it.

    An int is its own seed; a Generator gives one (and moves on, so a second call gives another); None
    takes one from the operating system.

    Raises
    ------
    TypeError
        If ``rng`` is anything else.
    ValueError
        If ``rng`` is a negative int.
    """
    if rng is None:
        # 63 bits: every file format and language has a place for such an integer.
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"`rng` must be non-negative where it is an int; got {int(rng)}")
        return int(rng)
    raise TypeError(f"`rng` must be an int, a numpy.random.Generator or None; got {type(rng).__name__}")


def stream(seed: int, purpose: Stream, epoch: int = 0, step: int | None = None) -> np.random.Generator:
    """Return a fresh generator for one purpose and epoch of a seed, or for one step of the epoch."""
    place = (int(purpose), epoch) if step is None else (int(purpose), epoch, step)
    sequence = np.random.SeedSequence(seed, spawn_key=place)
    return np.random.Generator(np.random.PCG64(sequence))
