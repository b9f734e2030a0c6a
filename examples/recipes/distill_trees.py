"""Boosted trees distilled into a two-layer network: the accuracy that it keeps, and its costs.

Usage: python examples/recipes/distill_trees.py      (needs scikit-learn)

Each step moves the rows of the batch a little, and the trees predict these new rows. The network therefore
learns from the trees around the training rows too, and not only at these rows.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

import twolayer

HOW: dict[str, Any] = {
    "optimizer": twolayer.optimizers.Adam(),
    "learning_rate": 0.01,
    "batch_size": 500,
    "epochs": 300,
    "rng": 0,
}


@dataclass(frozen=True)
class Around:
    """An augmentation that draws rows from a normal distribution around those of the batch."""

    n_features: int
    scale: float

    def draw(self, rng: np.random.Generator, n: int) -> Any:
        return rng.normal(scale=self.scale, size=(n, self.n_features))

    def apply(self, X: Any, T: Any, draws: Any, *, xp: ModuleType) -> tuple[Any, Any]:
        return X + draws, T


def main() -> dict[str, float]:
    """Print a table, and return the accuracies."""
    X, y = rules(np.random.default_rng(0), 12_000)
    X_train, y_train, X_test, y_test = X[:2000], y[:2000], X[2000:], y[2000:]
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=0).fit(X_train, y_train)

    def logits(X: Any) -> Any:
        return np.log(np.maximum(trees.predict_proba(X), 1e-6))

    start = twolayer.TwoLayerNet.initialize(10, 300, 2, rng=0)
    alone = twolayer.train(start, X_train, y_train, reg=1e-3, **HOW).net
    around = Around(10, scale=0.3)
    run = twolayer.train(
        start, X_train, y_train, teacher=logits, teacher_weight=1.0, augmentation=around, **HOW
    )
    models: dict[str, tuple[Callable[[Any], Any], int]] = {
        "trees": (trees.predict, len(pickle.dumps(trees))),  # as scikit-learn saves them
        "network, labels alone": (alone.predict, net_bytes(alone)),
        "network, taught": (run.net.predict, net_bytes(run.net)),
    }
    accuracies = {}
    print(f"{'':22} accuracy     size   10,000 rows      one row")
    for name, (predict, size) in models.items():
        accuracies[name] = float(np.mean(predict(X_test) == y_test))
        many, one = (seconds_of(predict, rows) for rows in (X_test, X_test[:1]))
        figures = f"{accuracies[name]:8.3f} {size / 1000:5.0f} kB {many * 1e3:10.2f} ms {one * 1e6:6.0f} µs"
        print(f"{name:22} {figures}")
    print(f"The trees took {run.teacher_seconds:.1f} s to teach.")
    return accuracies


def rules(rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    """Return rows of ten features, whose class depends on thresholds; one label in twenty is wrong."""
    X = rng.normal(size=(n, 10)).astype(np.float32)
    y = (X[:, 0] > 0.3) ^ (X[:, 1] * (X[:, 2] > -0.5) > 0.2) ^ (rng.random(n) < 0.05)
    return X, y.astype(np.int64)


def net_bytes(net: twolayer.TwoLayerNet) -> int:
    return sum(array.nbytes for array in net)


def seconds_of(predict: Callable[[Any], Any], rows: Any) -> float:
    """Return the shortest time of several predictions."""
    found = []
    for _ in range(10):
        start = time.perf_counter()
        predict(rows)
        found.append(time.perf_counter() - start)
    return min(found)


if __name__ == "__main__":
    main()
