"""What a sweep of K candidates costs: as one stack, one after another, in PyTorch, and in scikit-learn.

Usage: python benchmarks/sweeps.py [--networks 1,3,9,27,100] [--library numpy] [--steps 300] [--rounds 3]

K networks of 50 hidden units (float32, 3,072 features, 10 classes, batch 200, plain gradient descent), which
differ in the strength of their L2 penalty; one set of 1,000 samples validates them after each epoch, and at
the end each has its accuracy on all training samples. The contestants take turns. `GridSearchCV` runs on two
processes, with one split, validated once, and no refit: it trains the same candidates for as many epochs.
Prints seconds, and how many times as long as one after another.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
from by_hand import CLASSES, FEATURES, LEARNING_RATE
from measuring import has, keep_memory, machine, ratios, rest, spread, stored, table

import twolayer
from twolayer._namespace import from_host, standard_namespace
from twolayer.training.optimizers import SGD

HIDDEN, BATCH = 50, 200


def penalties(n: int) -> list[float]:
    return [0.01 * k for k in range(1, n + 1)]


def contestants(n: int, steps: int, library: str, words: list[str]) -> dict[str, Callable[[], object]]:
    t = by_hand.task(HIDDEN, BATCH)
    xp = standard_namespace(__import__(library))
    X, y = (from_host(a, xp=xp, device=None) for a in (t.X, t.y.astype(np.int32)))
    validation = X[:1000, :], y[:1000]
    common: dict[str, Any] = {"optimizer": SGD(), "steps": steps, "rng": 0, "validation": validation}

    def together() -> None:
        grid = {
            "learning_rate": [LEARNING_RATE],
            "reg": penalties(n),
            "n_hidden": [HIDDEN],
            "batch_size": [BATCH],
        }
        twolayer.sweep(X, y, grid=grid, n_classes=CLASSES, **common)

    def one_by_one() -> None:
        for reg in penalties(n):
            net = twolayer.TwoLayerNet.initialize(FEATURES, HIDDEN, CLASSES, rng=0, xp=xp)
            twolayer.train(net, X, y, reg=reg, learning_rate=LEARNING_RATE, batch_size=BATCH, **common)

    found: dict[str, Callable[[], object]] = {"one after another": one_by_one, "sweep": together}
    if has("torch"):
        found["PyTorch, a loop"] = lambda: torch_loop(t, n, steps, "cuda" if library == "cupy" else "cpu")
    if has("sklearn") and library != "cupy":
        found["scikit-learn, GridSearchCV on two processes"] = lambda: grid_search(t, n, steps)
    return {name: call for name, call in found.items() if not words or any(word in name for word in words)}


def torch_loop(t: by_hand.Task, n: int, steps: int, device: str) -> None:
    """Candidates one after another: layers, autograd, `torch.optim.SGD`, and the accuracies of a sweep."""
    import torch

    X, y = torch.from_numpy(t.X).to(device), torch.from_numpy(t.y).to(device)
    generator, per_epoch = torch.Generator().manual_seed(0), len(X) // BATCH
    loss = torch.nn.CrossEntropyLoss()
    for reg in penalties(n):
        net = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
        ).to(device)
        weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
        groups = [{"params": weights, "weight_decay": 2 * reg}, {"params": biases, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE)
        for step in range(steps):
            if step % per_epoch == 0:
                order = torch.randperm(len(X), generator=generator).to(device)
            rows = order[step % per_epoch * BATCH :][:BATCH]
            optimizer.zero_grad()
            loss(net(X[rows]), y[rows]).backward()
            optimizer.step()
            if step % per_epoch == per_epoch - 1:
                with torch.no_grad():
                    float((net(X[:1000]).argmax(1) == y[:1000]).float().mean())
        with torch.no_grad():
            float((net(X).argmax(1) == y).float().mean())


def grid_search(t: by_hand.Task, n: int, steps: int) -> None:
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        (HIDDEN,),
        solver="sgd",
        batch_size=BATCH,
        learning_rate_init=LEARNING_RATE,
        momentum=0,
        nesterovs_momentum=False,
        max_iter=-(-steps * BATCH // len(t.X)),
        random_state=0,
    )
    # All samples train, and the first 1,000, given once more, validate.
    X, y = np.concatenate([t.X, t.X[:1000]]), np.concatenate([t.y, t.y[:1000]])
    split = PredefinedSplit(np.repeat([-1, 0], [len(t.X), 1000]))
    grid = {"alpha": [2 * reg * BATCH for reg in penalties(n)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(network, grid, cv=split, n_jobs=2, refit=False, return_train_score=True)
        search.fit(X, y)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="1,3,9,27,100")
    parser.add_argument("--library", default="numpy", choices=("numpy", "torch", "jax", "cupy"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="contestants whose names hold one of these words")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()
    print(f"{machine()}; twolayer on {options.library}\n")
    results = {}
    for n in map(int, options.networks.split(",")):
        words = [word for word in options.only.split(",") if word]
        calls = contestants(n, options.steps, options.library, words)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for i in range(options.rounds + 1):
            for name, call in calls.items():
                rest()
                start = time.perf_counter()
                call()
                if i:  # the first round is for what is compiled or imported once
                    times[name].append(time.perf_counter() - start)
        rows = [
            [name, f"{statistics.median(own):.2f}", spread(ratios(times, name, "one after another"))]
            for name, own in times.items()
        ]
        print(f"{n} networks, {options.steps} steps\n")
        print(table(["", "seconds", "× one after another"], rows) + "\n", flush=True)
        results[str(n)] = times
    stored(options.out, f"sweeps-{options.library}", results)


if __name__ == "__main__":
    main()
