"""Permutation importance: how much accuracy a network loses without the information in a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ._forms import public_namespace
from ._namespace import Array, HostArray, cast, device, from_host, own_dtypes, to_host, undisturbed
from ._streams import RandomState, Stream, seed_of, stream
from ._validation import check_features, check_integer, check_network, check_targets, row_blocks
from .mathematics import forward, is_correct
from .network import TwoLayerNet, as_targets, flatten, pack, widest


class Importance(NamedTuple):
    """Permutation importance of columns, with the fields of scikit-learn's `permutation_importance`.

    Parameters
    ----------
    names : list of str
        Names of the M columns.
    importances : numpy.ndarray, shape (M, n_repeats) or (K, M, n_repeats), float64
        Accuracy minus the accuracy with the column permuted. For a stack, the first axis is the network.
    importances_mean, importances_std : numpy.ndarray, shape (M,) or (K, M), float64
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
    """Return how much the accuracy falls when a column's values are permuted among the samples [1]_.

    Samples are processed in blocks, so little memory is needed besides ``X``.

    Parameters
    ----------
    net : TwoLayerNet
        A network, or a stack.
    X : array, shape (N, D) or (N, ...)
        Samples, preferably from the validation or test set.
    y : integer array, shape (N,), or floating array, shape (N, C)
        Labels, or class probabilities. The class with the largest probability is the label.
    columns : mapping of str to sequence of int, optional
        Indices of the features of each column, as `TableEncoder.groups` returns them. The features of a
        column are permuted together. By default, each feature is a column, named by its index.
    n_repeats : int
        How often each column is permuted, at least 1.
    rng : int, numpy.random.Generator or None
        Seed of the permutations.

    Returns
    -------
    Importance
        The importance of each column.

    Raises
    ------
    TypeError
        If dtypes or libraries do not match, or ``columns`` does not map strings to sequences of integers.
    ValueError
        If shapes or devices do not match, or a label or a feature index is out of range.

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
    if not isinstance(columns, Mapping):
        raise TypeError(f"`columns` must map names to indices of features; got {type(columns).__name__}")
    places = [_places(name, given, net.n_features) for name, given in columns.items()]
    params, n_samples, where = pack(net, xp=xp), X.shape[0], device(net.W1)
    X, y = flatten(X, xp=xp), as_targets(y, net.W1.dtype, xp=xp)
    seed, right = seed_of(rng), np.zeros((net.n_networks or 1, len(places) * n_repeats + 1))
    with own_dtypes(net.W1):
        # Pass 0 leaves the samples as they are; each later pass permutes one column once.
        for i in range(right.shape[1]):
            if i:
                order = stream(seed, Stream.PERMUTATIONS, i - 1).permutation(n_samples)
                chosen = np.isin(np.arange(net.n_features), places[(i - 1) // n_repeats])
                mask = from_host(chosen[None, :], xp=xp, device=where)
            for rows in row_blocks(n_samples, widest(params)):
                block = X[rows, :]
                if i:
                    others = xp.take(X, from_host(order[rows], xp=xp, device=where), axis=0)
                    block = xp.where(mask, others, block)
                _, logits = forward(params, cast(block, net.W1.dtype, xp=xp), xp=xp)
                right[:, i] += to_host(xp.count_nonzero(is_correct(logits, y[rows, ...], xp=xp), axis=1))
    fallen = (right[:, :1] - right[:, 1:]) / n_samples
    importances = fallen.reshape(len(right), len(places), n_repeats)
    if net.n_networks is None:
        importances = importances[0]
    return Importance(list(columns), importances, importances.mean(axis=-1), importances.std(axis=-1))


def _places(name: str, places: Sequence[int], n_features: int) -> list[int]:
    """Return the indices of a column's features, or raise unless they are valid."""
    if not isinstance(name, str):
        raise TypeError(f"`columns` must have strings as names; got {name!r:.80}")
    if not isinstance(places, Iterable):
        raise TypeError(f"`columns` must hold sequences of indices; got {places!r:.80} for {name!r:.80}")
    found = [check_integer(f"columns[{name!r}]", place, least=0) for place in places]
    if max(found, default=0) >= n_features:
        came = f"{max(found)} for {name!r:.80}"
        raise ValueError(f"`columns` must hold indices in [0, {n_features}); got {came}")
    return found
