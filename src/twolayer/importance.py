"""Permutation importance: how much worse a network is without what a column tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ._forms import public_namespace
from ._namespace import Array, HostArray, cast, device, from_host, own_dtypes, to_host, undisturbed
from ._streams import RandomState, Stream, seed_of, stream
from ._validation import check_features, check_integer, check_network, check_targets, row_blocks
from .mathematics import forward, is_correct
from .network import TwoLayerNet, as_targets, flatten, pack, widest


class Importance(NamedTuple):
    """Permutation importance of columns, as of scikit-learn's function of this name.

    Parameters
    ----------
    names : list of str
        The columns.
    importances : numpy.ndarray, shape (M, n_repeats) or (K, M, n_repeats), float64
        Accuracy minus the accuracy with the column permuted; for a stack, of each network.
    importances_mean, importances_std : numpy.ndarray, shape (M,) or (K, M)
        Mean and standard deviation over the repeats.
    """

    names: list[str]
    importances: HostArray
    importances_mean: HostArray
    importances_std: HostArray


@undisturbed
def permutation_importance(
    net: TwoLayerNet,
    X: Array,
    y: Array,
    *,
    columns: Mapping[str, Sequence[int]] | None = None,
    n_repeats: int = 5,
    rng: RandomState = 0,
) -> Importance:
    """Return how much the accuracy falls where a column's values are exchanged among the samples [1]_.

    Samples are taken in blocks, so the memory that it needs beside ``X`` is bounded.

    Parameters
    ----------
    net : TwoLayerNet
        A network, or a stack.
    X : array, shape (N, D) or (N, ...)
        Samples, best those of the test or the validation.
    y : integer array, shape (N,), or floating array, shape (N, C)
        Labels, or class probabilities, whose largest is the label.
    columns : mapping of str to sequence of int, optional
        Places of the features of each column, as of `TableEncoder.groups`: they are exchanged together.
        Without it, each feature is a column, named by its place.
    n_repeats : int
        How often each column is permuted.
    rng : int, numpy.random.Generator or None
        Seed of the permutations.

    Returns
    -------
    Importance
        The importance of each column.

    Raises
    ------
    TypeError
        If dtypes or libraries do not fit.
    ValueError
        If shapes or devices do not fit, or a place is not that of a feature.

    References
    ----------
    .. [1] Breiman, "Random Forests", Machine Learning 45, 5-32 (2001).
       https://doi.org/10.1023/A:1010933404324

    Examples
    --------
    >>> import numpy as np
    >>> import twolayer
    >>> X = np.asarray([[0.0, 7.0], [1.0, 7.0], [0.0, 7.0], [1.0, 7.0]], dtype="float32")
    >>> net = twolayer.TwoLayerNet(
    ...     W1=np.asarray([[1, -1], [0, 0]], "float32"),
    ...     b1=np.asarray([0, 1], "float32"),
    ...     W2=np.asarray([[0, 1], [1, 0]], "float32"),
    ...     b2=np.zeros(2, "float32"),
    ... )
    >>> twolayer.permutation_importance(net, X, np.asarray([0, 1, 0, 1])).importances_mean
    array([0.4, 0. ])
    """
    xp = public_namespace(check_network(net))
    check_features(X, net.n_features, net.W1)
    check_targets(y, X, net.n_classes)
    n_repeats = check_integer("n_repeats", n_repeats, least=1)
    if columns is None:
        columns = {str(place): [place] for place in range(net.n_features)}
    masks = [_mask(name, places, net.n_features) for name, places in columns.items()]
    params, n_samples, where = pack(net, xp=xp), X.shape[0], device(net.W1)
    X, y = flatten(X, xp=xp), as_targets(y, net.W1.dtype, xp=xp)
    seed, right = seed_of(rng), np.zeros((net.n_networks or 1, len(masks) * n_repeats + 1))
    orders = [stream(seed, Stream.PERMUTATIONS, i).permutation(n_samples) for i in range(right.shape[1] - 1)]
    with own_dtypes(net.W1):
        for rows in row_blocks(n_samples, widest(params)):
            own, labels = X[rows, :], y[rows, ...]
            for i, order in enumerate([None, *orders]):
                block = own
                if order is not None:
                    mask = from_host(masks[(i - 1) // n_repeats], xp=xp, device=where)
                    others = xp.take(X, from_host(order[rows], xp=xp, device=where), axis=0)
                    block = xp.where(mask[None, :], others, own)
                _, logits = forward(params, cast(block, net.W1.dtype, xp=xp), xp=xp)
                right[:, i] += to_host(xp.count_nonzero(is_correct(logits, labels, xp=xp), axis=1))
    fallen = (right[:, :1] - right[:, 1:]) / n_samples
    importances = fallen.reshape(-1, len(masks), n_repeats)
    if net.n_networks is None:
        importances = importances[0]
    return Importance(list(columns), importances, importances.mean(axis=-1), importances.std(axis=-1))


def _mask(name: str, places: Sequence[int], n_features: int) -> HostArray:
    """Return which features are a column's, (D,) bool."""
    mask = np.zeros(n_features, dtype=bool)
    for place in places:
        if not 0 <= check_integer(f"columns[{name!r}]", place, least=0) < n_features:
            raise ValueError(f"`columns` must hold places in [0, {n_features}); got {place} in {name!r:.80}")
        mask[place] = True
    return mask
