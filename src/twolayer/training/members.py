"""The networks of a stack: those in the arrays that a step works on, and those that have left them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .._namespace import Array, HostArray
from .trees import tree_map


class Members:
    """Which of K networks are in arrays (P, ...); and the others, as they were when they left.

    Parameters
    ----------
    n_networks : int
        K; at first all are present.
    xp : module
    place : callable
        Copies a host array to the device.
    """

    def __init__(self, n_networks: int, xp: ModuleType, place: Callable[[HostArray], Array]) -> None:
        self.present = np.arange(n_networks)  # their numbers (P,)
        self._n_networks, self._xp, self._place = n_networks, xp, place
        self._left: list[tuple[HostArray, Any]] = []  # numbers, and a tree of arrays, of each that left

    def are_present(self) -> HostArray:
        """Return a mask (K,)."""
        mask = np.zeros(self._n_networks, np.bool_)
        mask[self.present] = True
        return mask

    def spread(self, numbers: HostArray) -> HostArray:
        """Return numbers (..., P) of the networks present as (..., K) float64, nan for those that left."""
        every = np.full((*numbers.shape[:-1], self._n_networks), np.nan)
        every[..., self.present] = numbers
        return every

    def remove(self, which: HostArray, tree: Any) -> Any:
        """Return a tree of arrays (P, ...) without the networks of a mask (K,), which are kept apart."""
        leaving = which[self.present]
        self._left.append((self.present[leaving], self._taken(tree, np.flatnonzero(leaving))))
        self.present = self.present[~leaving]
        return self._taken(tree, np.flatnonzero(~leaving))

    def whole(self, tree: Any) -> Any:
        """Return a tree of arrays (P, ...), of the form of those removed, as (K, ...) with them."""
        if not self._left:
            return tree
        numbers, trees = zip((self.present, tree), *self._left, strict=True)
        joined = tree_map(lambda *arrays: self._xp.concat(arrays, axis=0), *trees)
        return self._taken(joined, np.argsort(np.concatenate(numbers)))

    def _taken(self, tree: Any, rows: HostArray) -> Any:
        where = self._place(rows.astype(np.int32))
        return tree_map(lambda array: self._xp.take(array, where, axis=0), tree)
