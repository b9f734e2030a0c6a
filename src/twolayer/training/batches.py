"""Everything random about a run, drawn on the host from the streams of its seed.

Each epoch, and each step of an epoch, has a random stream of its own. A resumed run can therefore draw the
numbers of its next step without those of the steps before. As NumPy draws them, they are the same with every
array library.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._namespace import HostArray
from .._streams import Stream, stream
from ..augmentation import Augmentation
from .trees import tree_leaves, tree_map

CHUNK_STEPS = 256  # most steps whose draws are held at once and, where steps run call by call, copied at once
CHUNK_BYTES = 2**26  # a chunk holds fewer steps if their draws reach this size together

Item = TypeVar("Item")


class Draws(NamedTuple):
    """The random numbers of a step. `Batches.draws` yields those of n steps, with a first axis n.

    Parameters
    ----------
    rows : array (B,) int32 or int64, or None
        Row numbers of the samples of the batch; None if the host gathers the batch.
    input_bytes : array (B, D) uint8, or None
        Random bytes: a feature is dropped if its byte is below a threshold. None without input dropout.
    hidden_bytes : array (H, B) uint8, or None
        The same for hidden units. The networks of a stack share the bytes, but each has its own threshold.
    augmentation : arrays (B, ...), tuples of them, or None
        The draws of the augmentation.
    """

    rows: Any
    input_bytes: Any
    hidden_bytes: Any
    augmentation: Any


@dataclass(frozen=True)
class Batches:
    """The batches of a run, and the random numbers that each of its steps needs.

    Parameters
    ----------
    seed : int
    n_samples, batch_size : int
    replacement : bool
        False: every epoch uses each sample once, shuffled; the last batch is short if the batch size does
        not divide the number of samples. True: each batch is drawn with replacement, and an epoch has as
        many steps as without replacement.
    n_inputs, n_hidden : int
        Number of random bytes per sample for input dropout and for dropout; 0 without it.
    augmentation : Augmentation, optional
    sample_bytes : int
        Memory of one sample if samples are streamed, else 0. It counts towards the size of a chunk.
    """

    seed: int
    n_samples: int
    batch_size: int
    replacement: bool
    n_inputs: int = 0
    n_hidden: int = 0
    augmentation: Augmentation | None = None
    sample_bytes: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that cover every sample once."""
        return -(-self.n_samples // self.batch_size)

    @property
    def noisy(self) -> bool:
        """Whether steps need more than row numbers: enough work on the host to prepare in another thread."""
        return bool(self.n_inputs or self.n_hidden or self.sample_bytes) or self.augmentation is not None

    def size(self, step: int) -> int:
        """Return the number of samples of a step, counted from 0."""
        if self.replacement:
            return self.batch_size
        start = step % self.steps_per_epoch * self.batch_size
        return min(self.batch_size, self.n_samples - start)

    def rows(self, epoch: int, start: int, stop: int) -> Iterator[HostArray]:
        """Yield the rows of the steps ``start`` to ``stop`` - 1 of an epoch, many steps at a time.

        Yields
        ------
        host array (n, B) int32 or int64
            Row numbers of n batches of one size, n being at most ``CHUNK_STEPS``.
        """
        # The order of a whole epoch is drawn even for a few of its steps, so it does not depend on `start`.
        rng = stream(self.seed, Stream.BATCHES, epoch)
        # Half the bytes to copy, and JAX has no int64 by default.
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

    def draws(self, start: int, stop: int) -> Iterator[Draws]:
        """Yield the draws of the steps ``start`` to ``stop`` - 1 of the run, in chunks of n steps.

        The batches of a chunk have one size, and no chunk crosses the end of an epoch. n is at most
        ``CHUNK_STEPS``; a chunk ends at the step with which it reaches ``CHUNK_BYTES``. The numbers do not
        depend on this division.
        """
        per_epoch = self.steps_per_epoch
        while start < stop:
            epoch, within = divmod(start, per_epoch)
            last = min(stop - epoch * per_epoch, per_epoch)
            for rows in self.rows(epoch, within, last):
                yield from self._with_noise(rows, epoch, within)
                within += len(rows)
            start = epoch * per_epoch + last

    def _with_noise(self, rows: HostArray, epoch: int, within: int) -> Iterator[Draws]:
        if not self.noisy:
            yield Draws(rows, None, None, None)
            return
        held: list[Draws] = []
        held_bytes = 0
        for i, batch in enumerate(rows):
            held.append(self._draw(batch, epoch, within + i))
            held_bytes += sum(array.nbytes for array in tree_leaves(held[-1]))
            held_bytes += self.sample_bytes * len(batch)
            if held_bytes >= CHUNK_BYTES or i == len(rows) - 1:
                yield tree_map(lambda *arrays: np.stack(arrays), *held)
                held, held_bytes = [], 0

    def _draw(self, rows: HostArray, epoch: int, step: int) -> Draws:
        n, drawn = len(rows), None
        if self.augmentation is not None:
            drawn = self.augmentation.draw(stream(self.seed, Stream.AUGMENTATION, epoch, step), n)
            _check_lengths(drawn, n)
        inputs = _random_bytes(stream(self.seed, Stream.INPUT_DROPOUT, epoch, step), n, self.n_inputs)
        hidden = _random_bytes(stream(self.seed, Stream.DROPOUT, epoch, step), n, self.n_hidden)
        # The step's hidden activations are (H, n). The bytes are drawn as (n, H) and then transposed.
        return Draws(rows, inputs, None if hidden is None else np.ascontiguousarray(hidden.T), drawn)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items, and prepare each in a background thread while the caller uses the one before.

    No item may be None, which marks the end.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item


def _random_bytes(rng: np.random.Generator, n: int, width: int) -> HostArray | None:
    """Draw n rows of ``width`` bytes; return None for a width of 0."""
    if not width:
        return None
    # The byte order is fixed, so that the bytes are the same on every machine.
    words = rng.integers(2**64 - 1, size=-(-n * width // 8), dtype=np.uint64, endpoint=True)
    return words.astype("<u8", copy=False).view(np.uint8)[: n * width].reshape(n, width)


def _check_lengths(tree: Any, n: int) -> None:
    if isinstance(tree, tuple):
        for part in tree:
            _check_lengths(part, n)
    elif not isinstance(tree, np.ndarray) or tree.shape[:1] != (n,):
        shown = f"shape {tree.shape}" if isinstance(tree, np.ndarray) else type(tree).__name__
        raise ValueError(
            f"`augmentation.draw` must return NumPy arrays, or tuples of them, with a first axis of {n}; "
            f"got {shown}"
        )
