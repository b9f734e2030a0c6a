"""The networks of a stack: those in the arrays that a step works on, and those that have left them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .._namespace import Array, HostArray
from .execution import narrows
from .trees import tree_map


class Members:
    """The K networks of a stack: those that are in arrays (P, ...), and those that left, as they were then.

    Parameters
    ----------
    n_networks : int
        K; at first all are present.
    xp : module
    place : callable
        Copies a host array to the device.
    """

    def __init__(self, n_networks: int, xp: ModuleType, place: Callable[[HostArray], Array]) -> None:
        self.present = np.arange(n_networks)  # their numbers
        self.in_arrays = self.present  # these, and those that left while the arrays kept their width (P,)
        self._n_networks, self._xp, self._place = n_networks, xp, place
        self._left: list[tuple[HostArray, Any]] = []  # numbers, and a tree of arrays, of each that left

    def are_present(self) -> HostArray:
        """Return a mask (K,) of the networks that still train."""
        mask = np.zeros(self._n_networks, np.bool_)
        mask[self.present] = True
        return mask

    def spread(self, numbers: HostArray) -> HostArray:
        """Return numbers (..., P) of the arrays as (..., K) float64, nan for networks that left."""
        every = np.full((*numbers.shape[:-1], self._n_networks), np.nan)
        every[..., self.in_arrays] = numbers
        every[..., ~self.are_present()] = np.nan
        return every

    def remove(self, which: HostArray, tree: Any) -> Any:
        """Let the networks of a mask (K,) leave a tree of arrays (P, ...), and keep them as they are now.

        Return the tree without those that left; the same one where the arrays keep their width.
        """
        leaving = self.present[which[self.present]]
        self._left.append((leaving, self._taken(tree, leaving)))
        self.present = self.present[~which[self.present]]
        if not narrows(self._xp, len(self.in_arrays), len(self.present)):
            return tree
        narrow = self._taken(tree, self.present)
        self.in_arrays = self.present
        return narrow

    def whole(self, tree: Any) -> Any:
        """Return a tree of arrays (P, ...), of the form of those removed, as (K, ...) with them."""
        if not self._left:
            return tree
        present = self.present, self._taken(tree, self.present)
        numbers, trees = zip(present, *self._left, strict=True)
        joined = tree_map(lambda *arrays: self._xp.concat(arrays, axis=0), *trees)
        return self._at(joined, np.argsort(np.concatenate(numbers)))

    def _taken(self, tree: Any, numbers: HostArray) -> Any:
        return self._at(tree, np.searchsorted(self.in_arrays, numbers))

    def _at(self, tree: Any, rows: HostArray) -> Any:
        where = self._place(rows.astype(np.int32))
        return tree_map(lambda array: self._xp.take(array, where, axis=0), tree)
