"""The networks of a stack that still train, and those that have left its arrays.

Three counts of networks occur here. K networks began. Of these, `present` still train. The arrays hold P
networks: those present and, with JAX until half have left, networks that have left but still take steps,
whose results are ignored. JAX would compile the step again for every new P.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .._namespace import Array, HostArray
from .execution import narrows
from .trees import tree_map


class Members:
    """The K networks of a stack: the numbers of those in arrays (P, ...), and copies of those that left.

    Parameters
    ----------
    n_networks : int
        K; at first all networks are present.
    xp : module
    place : callable
        Copies a host array to the device.
    """

    def __init__(self, n_networks: int, xp: ModuleType, place: Callable[[HostArray], Array]) -> None:
        self.present = np.arange(n_networks)  # the numbers of the networks that still train, ascending
        self.in_arrays = self.present  # (P,): the numbers of the networks in the arrays, ascending
        self._n_networks, self._xp, self._place = n_networks, xp, place
        self._left: list[tuple[HostArray, Any]] = []  # the numbers and arrays of networks that left together

    def are_present(self) -> HostArray:
        """Return a mask (K,) of the networks that still train."""
        mask = np.zeros(self._n_networks, np.bool_)
        mask[self.present] = True
        return mask

    def spread(self, numbers: HostArray) -> HostArray:
        """Return values (..., P) of networks in the arrays as (..., K) float64; nan for those that left."""
        every = np.full((*numbers.shape[:-1], self._n_networks), np.nan)
        every[..., self.in_arrays] = numbers
        every[..., ~self.are_present()] = np.nan
        return every

    def remove(self, which: HostArray, tree: Any) -> Any:
        """Remove the networks of a mask (K,) from a tree of arrays (P, ...), and keep copies of them.

        Return the tree without them; the same tree if the arrays keep their width.
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
        """Return a tree of arrays (P, ...) as (K, ...), with the networks that left as they were then.

        It has the form of the trees from which these were removed.
        """
        if not self._left:
            return tree
        present = self.present, self._taken(tree, self.present)
        numbers, trees = zip(present, *self._left, strict=True)
        joined = tree_map(lambda *arrays: self._xp.concat(arrays, axis=0), *trees)
        # `argsort` of the numbers gives, for each network in turn, its place in the joined arrays.
        return self._at(joined, np.argsort(np.concatenate(numbers)))

    def _taken(self, tree: Any, numbers: HostArray) -> Any:
        return self._at(tree, np.searchsorted(self.in_arrays, numbers))

    def _at(self, tree: Any, rows: HostArray) -> Any:
        where = self._place(rows.astype(np.int32))
        return tree_map(lambda array: self._xp.take(array, where, axis=0), tree)
