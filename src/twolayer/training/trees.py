"""Nested tuples of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._namespace import Array


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to each array of a tree, and to the arrays of others of the same form in its place.

    A missing array, None, stays None.
    """
    if isinstance(tree, tuple):
        parts = [tree_map(function, *each) for each in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else function(tree, *others)


def tree_leaves(tree: Any) -> list[Array]:
    """Return the arrays of a tree in their order."""
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in tree_leaves(part)]
    return [] if tree is None else [tree]
