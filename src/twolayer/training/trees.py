"""Nested tuples of arrays, such as the state of a run, and functions of all their arrays.

A library's own trees (`jax.tree`, `torch.utils._pytree`) would only serve that library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._namespace import Array


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return a tree of ``function(array, *arrays)`` for each array of ``tree`` and those of ``others`` there.

    ``others`` have the form of ``tree``. A missing array, None, stays None.
    """
    if isinstance(tree, tuple):
        parts = [tree_map(function, *each) for each in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else function(tree, *others)


def tree_leaves(tree: Any) -> list[Array]:
    """Return the arrays of a tree in order, without those that are None."""
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in tree_leaves(part)]
    return [] if tree is None else [tree]
