"""Results on the test rows of a table: how much each column matters, and how good baselines are."""

from __future__ import annotations

import math
from typing import Any

from .._namespace import dtype_name
from ..datasets import Dataset
from ..importance import permutation_importance
from ..network import TwoLayerNet
from ..report.baselines import commonest_class_accuracy, logistic_regression_accuracy
from .console import Console
from .devices import Library

_REPEATS = 5  # of the permutation of each column
_PASSES = 20  # over the samples that a permutation costs, besides the product with the first layer
_MOST_OPERATIONS = 1e11  # some seconds


def results_of_table(
    net: TwoLayerNet, dataset: Dataset, library: Library, console: Console
) -> dict[str, Any]:
    """Return baselines and columns for results.json; nothing for other data, and without a test.

    Ctrl-C ends it, with what there is by then.
    """
    encoder, train, test = dataset.encoder, dataset.train, dataset.test
    if encoder is None or test is None:
        return {}
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    groups, kinds = encoder.groups(), {column.name: column.kind for column in encoder.columns}
    baselines: dict[str, float | None] = {"commonest class": commonest_class_accuracy(train, test)}
    lost: dict[str, tuple[float, float]] = {}
    operations = test.X.size * (2.0 * net.n_hidden + _PASSES) * len(groups) * _REPEATS
    shuffled = groups if operations <= _MOST_OPERATIONS else {}
    try:
        baselines["logistic regression"] = logistic_regression_accuracy(train, test, dataset.n_classes)
        X, y = library.put_samples(test.X), library.put_labels(test.y)
        for name in console.counted("Shuffling columns", shuffled, len(shuffled)):
            own = {name: groups[name]}
            found = permutation_importance(net, X, y, columns=own, n_repeats=_REPEATS)
            lost[name] = float(found.importances_mean[0]), float(found.importances_std[0])
    except KeyboardInterrupt:  # The networks are trained, and are to be kept.
        console.warn("interrupted: how much some columns matter was not computed")
    rows = []
    for name in sorted(groups, key=lambda name: lost.get(name, (-math.inf,))[0], reverse=True):
        mean, spread = lost.get(name, (None, None))
        row = {"column": name, "kind": kinds[name], "features": len(groups[name])}
        rows.append({**row, "lost": mean, "spread": spread})
    return {"baselines": baselines, "columns": rows, "left_out": encoder.left_out}
