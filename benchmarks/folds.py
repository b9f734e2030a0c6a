"""The time of 27 candidates on 5 folds: as stacks, by hand, and in scikit-learn's `GridSearchCV`.

Usage: python benchmarks/folds.py [--data digits,wine] [--epochs 30] [--rounds 5] [--out FOLDER]

The networks have 50 hidden units (float32, batch 200, Nesterov momentum), with nine learning rates times
three penalties, on 5 stratified folds of a data set of scikit-learn: digits (1,797 samples, 64 features),
wine (178, 13) or breast_cancer (569, 30), standardised beforehand. No contestant refits the winner. The
contestants take turns:

- `sweep(folds=5)` and `TwoLayerSearchCV`;
- `GridSearchCV` of an `MLPClassifier` on two processes, with the same candidates and epochs; the first
  call, which starts the processes, is not counted;
- only the steps of a stack of 135 networks, written by hand in NumPy: held-out samples have a weight of 0,
  and the loss and the accuracy of each batch are computed, but the network is not evaluated and no history is
  kept.

Prints seconds, and their ratio to those of `sweep`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import has, machine, ratios, rest, runs, spread, stored, table

import twolayer

HIDDEN, BATCH, FOLDS = 50, 200, 5
RATES = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
REGS = (0.0, 1e-4, 1e-3)
MOMENTUM = 0.9
BASE = "sweep(folds=5)"


def samples(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set of scikit-learn, its features scaled to mean 0 and standard deviation 1."""
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def contestants(X: np.ndarray, y: np.ndarray, epochs: int) -> dict[str, Callable[[], object]]:
    grid = {"learning_rate": RATES, "reg": REGS, "n_hidden": [HIDDEN], "batch_size": [BATCH]}
    found = {BASE: partial(twolayer.sweep, X, y, folds=FOLDS, grid=grid, epochs=epochs, refit=None)}
    if has("sklearn"):
        found["TwoLayerSearchCV"] = partial(search, X, y, epochs)
        found["GridSearchCV(MLPClassifier), two processes"] = partial(grid_search, X, y, epochs)
    return found | {"the steps alone, by hand": by_hand(X, y, epochs)}


def search(X: np.ndarray, y: np.ndarray, epochs: int) -> None:
    from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV

    network = TwoLayerClassifier(
        HIDDEN, solver="sgd", max_iter=epochs, n_iter_no_change=float("inf"), batch_size=BATCH, random_state=0
    )
    grid = {"learning_rate_init": RATES, "reg": REGS}
    TwoLayerSearchCV(network, grid, cv=FOLDS, refit=False).fit(X, y)


def grid_search(X: np.ndarray, y: np.ndarray, epochs: int) -> None:
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    batch = min(BATCH, len(X) * (FOLDS - 1) // FOLDS)
    network = MLPClassifier(
        (HIDDEN,),
        solver="sgd",
        momentum=MOMENTUM,
        max_iter=epochs,
        n_iter_no_change=epochs,
        batch_size=batch,
        random_state=0,
    )
    grid = {"learning_rate_init": RATES, "alpha": [2 * batch * reg for reg in REGS]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GridSearchCV(network, grid, cv=FOLDS, n_jobs=2, refit=False).fit(X, y)


def by_hand(X: np.ndarray, y: np.ndarray, epochs: int) -> Callable[[], None]:
    """Return the steps of all networks as one stack, with weights (K, H, D) and samples on the last axis."""
    n_samples, n_features = X.shape
    n_classes, batch = int(y.max()) + 1, min(n_samples, BATCH * FOLDS // (FOLDS - 1))
    rates = np.tile(np.repeat(np.float32(RATES), len(REGS)), FOLDS)
    regs = np.tile(np.float32(REGS), FOLDS * len(RATES))
    n_networks = len(rates)
    fold = np.repeat(np.arange(FOLDS), n_networks // FOLDS)
    held_out = np.arange(n_samples) % FOLDS
    classes = np.arange(n_classes)[:, None]

    def run() -> None:
        rng = np.random.default_rng(0)
        shapes = (HIDDEN, n_features), (HIDDEN, 1), (n_classes, HIDDEN), (n_classes, 1)
        weights = [0.1 * rng.standard_normal((n_networks, *s), dtype=np.float32) for s in shapes]
        velocities, spare = ([np.zeros_like(w) for w in weights] for _ in range(2))
        W1, b1, W2, b2 = weights
        rate, decay = rates[:, None, None], 2 * regs[:, None, None]
        for _ in range(epochs):
            order = rng.permutation(n_samples)
            for start in range(0, n_samples, batch):
                rows = order[start : start + batch]
                x, n = X[rows], len(rows)
                own = (held_out[rows] != np.arange(FOLDS)[:, None]).astype(np.float32)
                share = (own / own.sum(axis=1, keepdims=True))[fold]
                H1 = (W1.reshape(-1, n_features) @ x.T).reshape(n_networks, HIDDEN, n)
                H1 += b1
                np.maximum(H1, 0, out=H1)
                Z = W2 @ H1
                Z += b2
                Z -= Z.max(axis=1, keepdims=True)
                P = np.exp(Z)
                total = P.sum(axis=1, keepdims=True)
                T = classes == y[rows]
                loss = ((np.log(total[:, 0]) - (Z * T).sum(axis=1)) * share).sum(axis=1)
                loss += regs * (np.einsum("kij,kij->k", W1, W1) + np.einsum("kij,kij->k", W2, W2))
                ((Z.argmax(axis=1) == y[rows]) * share).sum(axis=1)
                P /= total
                P -= T
                P *= share[:, None, :]
                dZ1 = W2.transpose(0, 2, 1) @ P
                dW2 = P @ H1.transpose(0, 2, 1) + decay * W2
                dZ1 *= H1 > 0
                dW1 = (dZ1.reshape(-1, n) @ x).reshape(W1.shape) + decay * W1
                gradients = dW1, dZ1.sum(axis=2, keepdims=True), dW2, P.sum(axis=2, keepdims=True)
                for w, v, g, s in zip(weights, velocities, gradients, spare, strict=True):
                    np.multiply(v, np.float32(MOMENTUM), out=v)
                    v += g
                    np.multiply(v, np.float32(MOMENTUM), out=s)
                    s += g
                    s *= rate
                    w -= s

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits,wine,breast_cancer")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{machine()}\n")
    results: dict[str, dict[str, list[float]]] = {}
    for name in options.data.split(","):
        X, y = samples(name)
        calls = {who: call for who, call in contestants(X, y, options.epochs).items() if runs(who, call)}
        times: dict[str, list[float]] = {who: [] for who in calls}
        for _ in range(options.rounds):
            for who, call in calls.items():
                rest()
                start = time.perf_counter()
                call()
                times[who].append(time.perf_counter() - start)
        rows = [
            [who, f"{statistics.median(own):.2f}", spread(ratios(times, who, BASE))]
            for who, own in times.items()
        ]
        print(f"{name}, {len(X):,} samples\n")
        print(table(["", "seconds", f"× {BASE}"], rows) + "\n", flush=True)
        results[name] = times
        stored(options.out, "folds", results)


if __name__ == "__main__":
    main()
