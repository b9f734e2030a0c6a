"""The time of a training step of twolayer on each array library, of other libraries, and of its products.

Usage: python benchmarks/steps.py [--sizes 50x200,512x200,1024x500] [--rounds 15] [--whole 3] [--gpu]
       [--out FOLDER]

Sizes are hidden units x batch. The step is plain gradient descent with an L2 penalty, in float32, with 3,072
features and 10 classes. twolayer's steps run as in `train`: drawn batches are moved to the device, and each
step reports its accuracy and its loss, penalty included; the steps written by hand report neither. Prints a
table for each size: microseconds per step, and the ratios to the step written by hand in the same library and
to its matrix products alone. Each is the median and the quartiles over rounds in which all contestants take
turns. The last table compares a whole `train` of 2,000 steps with 2,000 such steps, in `--whole` rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import by_hand
import numpy as np
from by_hand import CLASSES, FEATURES, LEARNING_RATE, REG, SAMPLES, Task
from measuring import (
    Contestant,
    device_of,
    has,
    in_turns,
    machine,
    ratios,
    rest,
    spread,
    stored,
    table,
)

import twolayer
from twolayer._forms import fast_namespace, laid_out
from twolayer._namespace import from_host, standard_namespace
from twolayer.mathematics import Params
from twolayer.network import pack
from twolayer.training.batches import Draws
from twolayer.training.execution import Steps, running
from twolayer.training.optimizers import SGD, Optimizer
from twolayer.training.step import Constant, Samples, State, Varying, decay_factors, report, step

STEPS = 64  # of each call
PLAIN = SGD()

# The contestants written by hand that a library's step is compared with.
AGAINST = {
    "numpy": ("NumPy, by hand", "NumPy, products"),
    "cupy": ("CuPy, by hand", "CuPy, products"),
    "torch": ("PyTorch, eager", "PyTorch, products"),
    "jax": ("JAX, jit", None),
}


def network(t: Task, xp: ModuleType, device: Any) -> twolayer.TwoLayerNet:
    zeros = np.zeros(t.hidden, np.float32), np.zeros(CLASSES, np.float32)
    arrays = (from_host(a, xp=xp, device=device) for a in (t.W1, zeros[0], t.W2, zeros[1]))
    return twolayer.TwoLayerNet(*arrays)


def library_steps(
    t: Task,
    library: str,
    device: Any = None,
    *,
    networks: int = 1,
    optimizer: Optimizer = PLAIN,
    layout: Callable[..., Params] = laid_out,
) -> Contestant:
    """Return the steps of `train` for one network or a stack: a chunk of draws at a time, as `train` does."""
    xp = standard_namespace(__import__(library))
    net = network(t, xp, device)
    if networks > 1:
        net = twolayer.stack([net] * networks)

    def place(host: Any) -> Any:
        return from_host(host, xp=xp, device=device)

    taking = Steps(step, report, xp, optimizer=optimizer, augmentation=None, transform=None, input_dropout=0)
    reg = place(np.full(networks, REG, np.float32))
    y = t.y.astype(np.int32)
    constant = Constant(Samples(place(t.X), place(y), None), (), reg, None, None)
    rates, none = np.full((STEPS, networks), LEARNING_RATE, np.float32), np.empty((STEPS, 0), np.float32)
    decay = decay_factors(rates, np.float32(REG)) if optimizer.scaled else None
    shares = (rates if optimizer.scaled else np.ones_like(rates)) / np.float32(t.batch)
    params = layout(pack(net, xp=xp), xp=fast_namespace(xp), copy=True)
    moments = tuple(Params(*map(xp.zeros_like, params)) for _ in range(optimizer.n_moments))
    states = [State(params, moments, None)]
    all_rows = t.rows.astype(np.int32)
    following = by_hand.turns([all_rows[i : i + STEPS] for i in range(0, len(all_rows) - STEPS, STEPS)])

    def steps() -> None:
        rows = following()
        draws = Draws(rows, None, None, None)
        varying = Varying(draws, None, y[rows], rates, shares, decay, none)
        with running(xp):
            for state, _ in taking.take(states[0], constant, varying, place):
                states[0] = state
            taking.reported()  # also waits for the device

    return Contestant(steps, STEPS)


def whole(t: Task, library: str, device: Any, rounds: int, steps: int = 2000) -> dict[str, list[float]]:
    """Return the seconds of a `train`, of as many bare steps, and of its evaluations, for each round.

    "ratio" is the time of `train` without its evaluations, divided by the time of the steps.
    """
    xp = standard_namespace(__import__(library))
    bare = library_steps(t, library, device)
    X, y = (from_host(a, xp=xp, device=device) for a in (t.X, t.y.astype(np.int32)))
    X_val, y_val = X[:1000, :], y[:1000]
    net, seen = network(t, xp, device), []
    found: dict[str, list[float]] = {"train": [], "steps": [], "evaluations": [], "ratio": []}
    epochs = -(-steps * t.batch // len(t.X))
    for i in range(rounds + 1):
        rest()
        start = time.perf_counter()
        twolayer.train(
            net,
            X,
            y,
            validation=(X_val, y_val),
            reg=REG,
            learning_rate=LEARNING_RATE,
            optimizer=SGD(),
            batch_size=t.batch,
            steps=steps,
            rng=0,
            callbacks=[lambda progress: seen.append(progress.step)],
        )
        trained = time.perf_counter()
        for _ in range(round(steps / STEPS)):
            bare.call()
        stepped = time.perf_counter()
        for _ in range(epochs):
            float(net.accuracy(X_val, y_val))
        float(net.accuracy(X, y))
        evaluated = time.perf_counter()
        if i:  # the first round compiles
            times = {
                "train": trained - start,
                "steps": (stepped - trained) * steps / (round(steps / STEPS) * STEPS),
                "evaluations": evaluated - stepped,
            }
            for name, seconds in times.items():
                found[name].append(seconds)
            found["ratio"].append((times["train"] - times["evaluations"]) / times["steps"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="50x200,512x200,1024x500")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--whole", type=int, default=3, help="rounds of whole runs, of the first size; 0 for none"
    )
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--only", default="", help="only contestants whose names contain one of these words")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    words = [word for word in options.only.split(",") if word]
    print(machine() + "\n")
    results: dict[str, Any] = {}
    missing: set[str] = set()
    for size in options.sizes.split(","):
        hidden, batch = map(int, size.split("x"))
        t = by_hand.task(hidden, batch, samples=options.samples, features=options.features)
        contestants = by_hand.all_of_them(t, gpu=options.gpu)
        own = {}
        for library, device in libraries(options.gpu):
            own[f"twolayer, {library}"] = library, device
            contestants[f"twolayer, {library}"] = library_steps(t, library, device)
        if words:
            contestants = {n: c for n, c in contestants.items() if any(word in n for word in words)}
        times = in_turns(contestants, rounds=options.rounds)
        print(f"{hidden} hidden units, batch {batch}\n")
        rows = []
        for name in sorted(times, key=lambda name: statistics.median(times[name])):
            against = AGAINST[own[name][0]] if name in own else (None, None)
            compared = [spread(ratios(times, name, to)) if to in times else "" for to in against]
            rows.append([name, spread([1e6 * s for s in times[name]], 0), *compared])
        print(table(["", "µs per step", "× by hand", "× products"], rows) + "\n", flush=True)
        results[size] = times
        missing |= contestants.keys() - times.keys()
        stored(options.out, "steps", results)  # after each size, in case the program is stopped
    if options.whole:
        size, rows = options.sizes.split(",")[0], []
        hidden, batch = map(int, size.split("x"))
        for library, device in libraries(options.gpu):
            if words and not any(word in library for word in words):
                continue
            t = by_hand.task(hidden, batch, samples=options.samples, features=options.features)
            found = whole(t, library, device, options.whole)
            *seconds, ratio = found.values()
            middle = (f"{statistics.median(each):.2f}" for each in seconds)
            rows.append([f"{size}, {library}", *middle, spread(ratio, 3)])
            results[f"whole {size} {library}"] = found
        head = ["2,000 steps", "train, s", "steps, s", "evaluations, s", "(train - evaluations) / steps"]
        print(table(head, rows))
        stored(options.out, "steps", results)
    if missing:
        sys.exit(f"could not run: {', '.join(sorted(missing))}")


def libraries(gpu: bool) -> list[tuple[str, Any]]:
    """Return the installed array libraries, each with the device to use."""
    names = [name for name in ("cupy" if gpu else "numpy", "torch", "jax") if has(name, gpu=gpu)]
    return [(name, device_of(name, gpu=gpu)) for name in names]


if __name__ == "__main__":
    main()
