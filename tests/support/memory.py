"""Bounds on the memory that a block takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(n_bytes: float) -> Iterator[None]:
    """Assert that the block always holds less memory than this, as tracemalloc counts it."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n_bytes
