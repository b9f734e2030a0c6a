"""Losses and accuracies of networks on the samples of a run, all of them or fold by fold."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from .._namespace import Array, HostArray, from_host, rows_of, to_host
from .._validation import row_blocks
from ..mathematics import Params
from ..network import evaluate, widest
from .execution import compiled, dividing
from .plan import Plan
from .step import Samples
from .trees import tree_map


class Judge:
    """Evaluation of the networks of a run.

    Parameters
    ----------
    plan : Plan
    xp : module
    device : device of ``xp``
        The device of the networks.
    arrays : tuple of arrays
        The arrays of the preprocessing, on the device.
    """

    def __init__(self, plan: Plan, xp: ModuleType, device: Any, arrays: tuple[Array, ...]) -> None:
        self._plan, self._xp, self._arrays = plan, xp, arrays
        self._place = partial(from_host, xp=xp, device=device)
        folds = plan.folds
        self._own = None if folds is None else folds.own(plan.batches.n_samples)  # (N, F)
        self._function = compiled(evaluate, xp, transform=plan.transform, divide=dividing(device))

    def on_validation(self, params: Params, networks: HostArray) -> tuple[HostArray, HostArray]:
        """Return the mean cross-entropy and accuracy of networks on the validation or held-out samples.

        Parameters
        ----------
        params : Params
            The arrays of P networks.
        networks : host array (P,)
            The numbers of these networks in the stack, ascending.

        Returns
        -------
        host arrays (P,), (P,)
            By the samples' weights, if they have any. The accuracy is nan if any logit is.
        """
        samples, folds = self._plan.data.validation, self._plan.folds
        assert samples is not None
        return self._on_rows(params, samples, networks, None if folds is None else folds.held_out)

    def on_training(self, params: Params, networks: HostArray) -> tuple[HostArray, HostArray]:
        """Return the same on the samples that the networks are trained on, unweighted."""
        # `own` is not needed: with folds, the rows that a fold trains on are chosen below.
        samples, folds = self._plan.data.train._replace(sample_weight=None, own=None), self._plan.folds
        return self._on_rows(params, samples, networks, None if folds is None else folds.trained)

    def epoch_means(self, numbers: HostArray, first: int) -> HostArray:
        """Return means (K,) of numbers (n, K) of an epoch's batches, from step ``first`` on, by their sizes.

        With folds, the size of a batch for a network is the number of its rows that the network's fold trains
        on.
        """
        batches, last = self._plan.batches, first + len(numbers)
        if self._own is None:
            sizes = np.asarray([batches.size(i) for i in range(first, last)], np.float64)
            return np.asarray(sizes @ numbers / sizes.sum())
        epoch, within = divmod(first, batches.steps_per_epoch)
        rows_of_steps = batches.rows(epoch, within, within + len(numbers))  # drawn again, to count them
        counts = np.concatenate([self._own[rows].sum(axis=1) for rows in rows_of_steps])[:, self._plan.fold]
        return np.asarray((counts * numbers).sum(axis=0) / counts.sum(axis=0))

    def _on_rows(
        self,
        params: Params,
        samples: Samples,
        networks: HostArray,
        rows_of_folds: tuple[HostArray, ...] | None,
    ) -> tuple[HostArray, HostArray]:
        if rows_of_folds is None or self._plan.fold is None:
            return self._evaluated(params, samples)
        fold = self._plan.fold[networks]  # ascending, so the networks of a fold are contiguous
        found = []
        for i in np.unique(fold).tolist():
            first, last = np.searchsorted(fold, (i, i + 1)).tolist()
            part = tree_map(lambda array, first=first, last=last: array[first:last, ...], params)
            found.append(self._evaluated(part, samples, rows_of_folds[i]))
        losses, accuracies = zip(*found, strict=True)
        return np.concatenate(losses), np.concatenate(accuracies)

    def _evaluated(
        self, params: Params, samples: Samples, rows: HostArray | None = None
    ) -> tuple[HostArray, HostArray]:
        """Return the weighted mean cross-entropy and accuracy (P,) on samples, or on rows of them."""
        n_samples, weights = samples.X.shape[0] if rows is None else len(rows), samples.sample_weight
        whole: Any = n_samples
        if weights is not None:
            # Summed here in float64, because `evaluate` returns only sums of losses, in the network's dtype.
            host = to_host(weights).astype(np.float64)
            whole = (host if rows is None else host[rows]).sum()
        # `evaluate` divides samples on the device into blocks. Streamed ones are copied block by block here.
        blocks: Any = [slice(0, n_samples)]
        if self._plan.stream:
            blocks = row_blocks(n_samples, max(samples.X.shape[1], widest(params)))
        elif rows is not None:
            there = self._place(rows)
            samples = tree_map(lambda array: rows_of(array, there, xp=self._xp), samples)
        total = np.zeros((3, params.W1.shape[0]))  # sums over the blocks, in float64
        for block in blocks:
            part = samples
            if self._plan.stream:
                taken = self._plan.taken(samples, block if rows is None else rows[block])
                part = tree_map(self._place, taken)
            found = self._function(params, *part[:3], self._arrays)
            total += np.stack([to_host(array).astype(np.float64) for array in found])
        losses, right, n_blocks_of_nan = total
        return losses / whole, np.where(n_blocks_of_nan > 0, np.nan, right / whole)
