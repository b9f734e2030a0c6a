"""Everything random about a run, drawn on the host from the streams of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .._namespace import HostArray
from .._streams import Stream, stream

CHUNK_STEPS = 256  # how many steps' draws are held, and moved to the device in one copy


class Batches(NamedTuple):
    """Which samples each step takes.

    Parameters
    ----------
    seed : int
    n_samples, batch_size : int
    replacement : bool
        False: every epoch takes each sample once, shuffled, the last batch being short where the batch
        size does not divide the number of samples. True: each batch is drawn with replacement, and an
        epoch has as many steps as without.
    """

    seed: int
    n_samples: int
    batch_size: int
    replacement: bool

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that cover every sample once."""
        return -(-self.n_samples // self.batch_size)

    def size(self, step: int) -> int:
        """Number of samples of a step, counted from 0."""
        if self.replacement:
            return self.batch_size
        start = step % self.steps_per_epoch * self.batch_size
        return min(self.batch_size, self.n_samples - start)

    def chunks(self, epoch: int, start: int, stop: int) -> Iterator[HostArray]:
        """Rows of the steps ``start`` to ``stop`` - 1 of an epoch, many steps at a time.

        Yields
        ------
        host array (n, B) int32 or int64
            Row numbers of n batches of one size, at most ``CHUNK_STEPS`` of them.
        """
        rng = stream(self.seed, Stream.BATCHES, epoch)
        dtype = np.int32 if self.n_samples <= 2**31 else np.int64
        if self.replacement:
            full = rng.integers(self.n_samples, size=(self.steps_per_epoch, self.batch_size))
            rest = full[:0, :0]
        else:
            order = rng.permutation(self.n_samples)
            n_full = self.n_samples // self.batch_size
            full = order[: n_full * self.batch_size].reshape(n_full, self.batch_size)
            rest = order[None, n_full * self.batch_size :]
        n_full = full.shape[0]
        for first in range(start, min(stop, n_full), CHUNK_STEPS):
            yield full[first : min(first + CHUNK_STEPS, stop, n_full), :].astype(dtype)
        if start <= n_full < stop:
            yield rest.astype(dtype)
