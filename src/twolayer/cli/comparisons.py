"""Comparisons on the test samples: baselines, and the importance of each column of a table."""

from __future__ import annotations

import math
from typing import Any

from .._namespace import dtype_name
from ..datasets import Dataset
from ..importance import permutation_importance
from ..network import TwoLayerNet
from ..report.baselines import class_shares_loss, commonest_class_accuracy, logistic_regression_scores
from .console import Console
from .devices import Library

BASELINES = {
    "commonest class": "always predicting the commonest class",
    "class shares": "always predicting the class shares",
    "logistic regression": "logistic regression",
}
_REPEATS = 5  # permutations of each column
_PASSES = 20  # cost of a permutation beside the product with the first layer, as passes over the samples
_MOST_OPERATIONS = 1e11  # takes a few seconds


def comparisons(net: TwoLayerNet, dataset: Dataset, library: Library, console: Console) -> dict[str, Any]:
    """Return baselines, and for a table its columns, for results.json; empty without test samples.

    Ctrl-C stops the computation. The results so far are returned.
    """
    encoder, train, test, n_classes = dataset.encoder, dataset.train, dataset.test, dataset.n_classes
    if test is None:
        return {}
    baselines: dict[str, float | None] = {"commonest class": commonest_class_accuracy(train, test)}
    losses: dict[str, float | None] = {"class shares": class_shares_loss(train, test, n_classes)}
    found: dict[str, Any] = {"baselines": baselines, "baseline_losses": losses}
    if encoder is None:
        return found
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    groups, kinds = encoder.groups(), {column.name: column.kind for column in encoder.columns}
    lost: dict[str, tuple[float, float]] = {}
    operations = test.X.size * (2.0 * net.n_hidden + _PASSES) * len(groups) * _REPEATS
    # A large table has no column importances, as they would take too long.
    shuffled = groups if operations <= _MOST_OPERATIONS else {}
    try:
        name = "logistic regression"
        baselines[name], losses[name] = logistic_regression_scores(train, test, n_classes) or (None, None)
        X, y = library.put_samples(test.X), library.put_labels(test.y)
        for name in console.counted("Shuffling columns", shuffled, len(shuffled)):
            own = {name: groups[name]}
            importance = permutation_importance(net, X, y, columns=own, n_repeats=_REPEATS)
            lost[name] = float(importance.importances_mean[0]), float(importance.importances_std[0])
    except KeyboardInterrupt:  # The networks are trained, and must still be saved.
        console.warn("interrupted: the importance of some columns was not computed")
    rows = []
    for name in sorted(groups, key=lambda name: lost.get(name, (-math.inf,))[0], reverse=True):
        mean, spread = lost.get(name, (None, None))
        row = {"column": name, "kind": kinds[name], "features": len(groups[name])}
        rows.append({**row, "lost": mean, "spread": spread})
    return {**found, "columns": rows, "left_out": encoder.left_out}
