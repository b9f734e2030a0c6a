"""The time of a sweep of K candidates: as one stack, one after another, in PyTorch, and in scikit-learn.

Usage: python benchmarks/sweeps.py [--networks 1,3,9,27,100] [--library numpy] [--steps 300] [--rounds 3]

K networks of 50 hidden units (float32, 10 classes, batch 200, plain gradient descent, 3,072 features) differ
in the strength of their L2 penalty. Each is validated on the same 1,000 samples after each epoch, and at the
end its accuracy on all training samples is computed. The contestants take turns. `GridSearchCV` trains the
same candidates for as many epochs on two processes, with one split, one validation at the end, and no refit.
Prints seconds, and their ratio to those of training one after another. With `--looped 10`, contestants that
train one after another train only the first ten of the K, and their time is multiplied by K / 10.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import by_hand
import numpy as np
from by_hand import CLASSES, FEATURES, LEARNING_RATE, SAMPLES
from measuring import device_of, has, machine, ratios, rest, runs, spread, stored, table

import twolayer
from twolayer._namespace import from_host, standard_namespace
from twolayer.training.optimizers import SGD

HIDDEN, BATCH = 50, 200
BASE = "one after another"


def penalties(n: int) -> list[float]:
    return [0.01 * k for k in range(1, n + 1)]


class Contestant(NamedTuple):
    """A call that trains a network for each penalty; ``loops`` if it trains them one after another."""

    call: Callable[[list[float]], object]
    loops: bool


def contestants(
    t: by_hand.Task, steps: int, library: str, *, gpu: bool, words: list[str]
) -> dict[str, Contestant]:
    xp, device = standard_namespace(__import__(library)), device_of(library, gpu=gpu)
    X, y = (from_host(a, xp=xp, device=device) for a in (t.X, t.y.astype(np.int32)))
    validation = X[:1000, :], y[:1000]
    common: dict[str, Any] = {"optimizer": SGD(), "steps": steps, "rng": 0, "validation": validation}

    def together(regs: list[float]) -> None:
        grid = {
            "learning_rate": [LEARNING_RATE],
            "reg": regs,
            "n_hidden": [HIDDEN],
            "batch_size": [BATCH],
        }
        twolayer.sweep(X, y, grid=grid, n_classes=CLASSES, **common)

    def one_by_one(regs: list[float]) -> None:
        for reg in regs:
            net = twolayer.TwoLayerNet.initialize(X.shape[1], HIDDEN, CLASSES, rng=0, xp=xp, device=device)
            twolayer.train(net, X, y, reg=reg, learning_rate=LEARNING_RATE, batch_size=BATCH, **common)

    found = {BASE: Contestant(one_by_one, True), "sweep": Contestant(together, False)}
    if has("torch", gpu=gpu):
        found["PyTorch, a loop"] = Contestant(torch_loop(t, steps, "cuda" if gpu else "cpu"), True)
    if gpu and has("torch", gpu=True):
        found["PyTorch, a loop, compiled"] = Contestant(torch_loop(t, steps, "cuda", compiled=True), True)
    if has("sklearn") and not gpu:
        search = partial(grid_search, t, steps)
        found["scikit-learn, GridSearchCV on two processes"] = Contestant(search, False)
    return {name: one for name, one in found.items() if not words or any(word in name for word in words)}


def torch_loop(
    t: by_hand.Task, steps: int, device: str, *, compiled: bool = False
) -> Callable[[list[float]], None]:
    """Return a loop over candidates: layers, autograd, `torch.optim.SGD`, and the accuracies of a sweep.

    All candidates use the same layers, whose weights are drawn again for each, so they are compiled only
    once.
    """
    import torch

    X, y = torch.from_numpy(t.X).to(device), torch.from_numpy(t.y).to(device)
    per_epoch = len(X) // BATCH
    net, loss = by_hand.torch_layers(X.shape[1], HIDDEN, device, compiled=compiled)

    def train(regs: list[float]) -> None:
        generator = torch.Generator().manual_seed(0)
        for reg in regs:
            net[0].reset_parameters()
            net[2].reset_parameters()
            optimizer = by_hand.torch_descent(net, reg, fused=compiled)
            for step in range(steps):
                if step % per_epoch == 0:
                    order = torch.randperm(len(X), generator=generator).to(device)
                rows = order[step % per_epoch * BATCH :][:BATCH]
                optimizer.zero_grad()
                loss(X[rows], y[rows]).backward()
                optimizer.step()
                if step % per_epoch == per_epoch - 1:
                    with torch.no_grad():
                        float((net(X[:1000]).argmax(1) == y[:1000]).float().mean())
            with torch.no_grad():
                float((net(X).argmax(1) == y).float().mean())

    return train


def grid_search(t: by_hand.Task, steps: int, regs: list[float]) -> None:
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
    # All samples are for training; the first 1,000 are appended again as the validation samples.
    X, y = np.concatenate([t.X, t.X[:1000]]), np.concatenate([t.y, t.y[:1000]])
    split = PredefinedSplit(np.repeat([-1, 0], [len(t.X), len(X) - len(t.X)]))
    grid = {"alpha": [2 * reg * BATCH for reg in regs]}
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
    parser.add_argument("--gpu", action="store_true", help="use a GPU with PyTorch and JAX; CuPy always does")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--looped", type=int, help="train at most this many networks one after another")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--only", default="", help="only contestants whose names contain one of these words")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{machine()}; twolayer on {options.library}\n")
    t = by_hand.task(HIDDEN, BATCH, samples=options.samples, features=options.features)
    words = [word for word in options.only.split(",") if word]
    gpu = options.gpu or options.library == "cupy"
    calls = contestants(t, options.steps, options.library, gpu=gpu, words=words)
    results: dict[str, dict[str, list[float]]] = {}
    missing: set[str] = set()
    for n in map(int, options.networks.split(",")):
        times: dict[str, list[float]] = {}
        regs = {name: penalties(n)[: options.looped if one.loops else None] for name, one in calls.items()}
        for name, (call, loops) in calls.items():
            # The first call, which compiles and imports, is not measured.
            if runs(name, partial(call, regs[name][: 1 if loops else None])):
                times[name] = []
            else:
                missing.add(name)
        for _ in range(options.rounds):
            for name, own in times.items():
                rest()
                start = time.perf_counter()
                calls[name].call(regs[name])
                own.append((time.perf_counter() - start) * n / len(regs[name]))
        rows = [
            [
                name,
                f"{statistics.median(own):.2f}",
                spread(ratios(times, name, BASE)) if BASE in times else "",
            ]
            for name, own in times.items()
        ]
        print(f"{n} networks, {options.steps} steps\n")
        print(table(["", "seconds", "× one after another"], rows) + "\n", flush=True)
        results[str(n)] = times
        stored(options.out, f"sweeps-{options.library}", results)  # in case the program is stopped
    if missing:
        sys.exit(f"could not run: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
