"""Everything random about a run, drawn on the host from the streams of its seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._namespace import HostArray
from .._streams import Stream, stream
from ..augmentation import Augmentation

CHUNK_STEPS = 256  # how many steps' draws are held, and moved to the device in one copy
CHUNK_BYTES = 2**26  # fewer steps where their draws are larger than this together

Item = TypeVar("Item")


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


class Draws(NamedTuple):
    """The random numbers of a step; from `Draws.steps`, of n steps, with a first axis n.

    Parameters
    ----------
    rows : array (B,) int32 or int64
        The samples of the batch.
    input_bytes : array (B, D) uint8, or None
        Random bytes for the dropout of features; None where there is none.
    hidden_bytes : array (H, B) uint8, or None
        The same for hidden units. The networks of a stack share them.
    augmentation : arrays (B, ...), tuples of them, or None
        What the augmentation drew.
    labels : array (B,) int32, or None
        The samples' labels, where they were taken beside the rows.
    """

    rows: Any
    input_bytes: Any
    hidden_bytes: Any
    augmentation: Any
    labels: Any = None


class Source(NamedTuple):
    """Source of the draws of a run.

    Parameters
    ----------
    batches : Batches
    n_inputs, n_hidden : int
        How many bytes a sample needs for the dropout of its features and of its hidden units; 0 for none.
    augmentation : Augmentation, optional
    sample_bytes : int
        How much of each sample is held beside its draws, where samples come from the host.
    """

    batches: Batches
    n_inputs: int = 0
    n_hidden: int = 0
    augmentation: Augmentation | None = None
    sample_bytes: int = 0

    def draws(self, start: int, stop: int) -> Iterator[Draws]:
        """Draws of the steps ``start`` to ``stop`` - 1 of the run, n of one batch size at a time.

        Never across the end of an epoch. n is at most ``CHUNK_STEPS``, and such that they take about
        ``CHUNK_BYTES`` at the most, or 1. What is drawn does not depend on how it is divided.
        """
        per_epoch = self.batches.steps_per_epoch
        while start < stop:
            epoch, within = divmod(start, per_epoch)
            last = min(stop - epoch * per_epoch, per_epoch)
            for rows in self.batches.chunks(epoch, within, last):
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
            one = Draws(batch, *self._noise(epoch, within + i, len(batch)))
            held.append(one)
            held_bytes += n_bytes(one) + self.sample_bytes * len(batch)
            if held_bytes >= CHUNK_BYTES or i == len(rows) - 1:
                yield _stacked(held)
                held, held_bytes = [], 0

    @property
    def noisy(self) -> bool:
        """Whether there is more to a step than its rows."""
        return bool(self.n_inputs or self.n_hidden or self.sample_bytes) or self.augmentation is not None

    def _noise(self, epoch: int, step: int, n: int) -> tuple[Any, Any, Any]:
        seed, augmentation = self.batches.seed, self.augmentation
        found = None
        if augmentation is not None:
            found = augmentation.draw(stream(seed, Stream.AUGMENTATION, epoch, step), n)
            _check_lengths(found, n)
        return (
            _random_bytes(stream(seed, Stream.INPUT_DROPOUT, epoch, step), n, self.n_inputs),
            _hidden_bytes(_random_bytes(stream(seed, Stream.DROPOUT, epoch, step), n, self.n_hidden)),
            found,
        )


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items, each being made in a thread of its own while the one before it is used."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item


def moved(tree: Any, move: Any) -> Any:
    """Apply ``move`` to every array of nested tuples of arrays; None stays None."""
    if isinstance(tree, tuple):
        parts = [moved(part, move) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else move(tree)


def length(tree: Any) -> int:
    """Length of the first axis of nested tuples of arrays, which is that of all of them."""
    if isinstance(tree, tuple):
        return next((n for part in tree if (n := length(part)) >= 0), -1)
    return -1 if tree is None else len(tree)


def n_bytes(tree: Any) -> int:
    """Return how much memory nested tuples of host arrays take."""
    if isinstance(tree, tuple):
        return sum(n_bytes(part) for part in tree)
    return 0 if tree is None else int(np.asarray(tree).nbytes)


def n_numbers(tree: Any) -> int:
    """Return how many numbers nested tuples of arrays hold."""
    if isinstance(tree, tuple):
        return sum(n_numbers(part) for part in tree)
    return 0 if tree is None else math.prod(tree.shape)


def unstacked(tree: Any, n: int, *, unstack: Any) -> list[Any]:
    """Divide nested tuples of arrays (n, ...) into n of arrays (...)."""
    if isinstance(tree, tuple):
        columns = [unstacked(part, n, unstack=unstack) for part in tree]
        made = type(tree) if hasattr(tree, "_fields") else lambda *parts: parts
        return [made(*parts) for parts in zip(*columns, strict=True)] if columns else [tree] * n
    return [None] * n if tree is None else list(unstack(tree))


def _random_bytes(rng: np.random.Generator, n: int, width: int) -> HostArray | None:
    """Draw n rows of ``width`` bytes, the same ones on every machine."""
    if not width:
        return None
    words = rng.integers(2**64 - 1, size=-(-n * width // 8), dtype=np.uint64, endpoint=True)
    return words.astype("<u8", copy=False).view(np.uint8)[: n * width].reshape(n, width)


def _hidden_bytes(found: HostArray | None) -> HostArray | None:
    """Bytes of a batch's samples as hidden activations lie: (n, H) to (H, n)."""
    return None if found is None else np.ascontiguousarray(found.T)


def _stacked(parts: list[Any]) -> Any:
    """Join draws of single steps to those of several."""
    first = parts[0]
    if isinstance(first, tuple):
        joined = [_stacked([part[i] for part in parts]) for i in range(len(first))]
        return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
    return None if first is None else np.stack(parts)


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
