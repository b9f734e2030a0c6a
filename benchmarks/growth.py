"""The growth of a step's time with the batch, the hidden units, the networks and the number of steps.

Usage: python benchmarks/growth.py [--library numpy] [--rounds 9] [--out FOLDER]

Float32, 3,072 features, 10 classes, plain gradient descent with an L2 penalty. The sizes start from 50 hidden
units, a batch of 200 and one network, and one of them is changed at a time. Prints microseconds per step, and
their ratio to those of the first size. The last table has the seconds of a whole `train`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import by_hand
import numpy as np
from by_hand import CLASSES, FEATURES, LEARNING_RATE, REG
from measuring import in_turns, machine, ratios, spread, stored, table
from steps import library_steps

import twolayer
from twolayer._namespace import from_host, standard_namespace
from twolayer.training.optimizers import SGD

START = {"batch": 200, "hidden": 50, "networks": 1}
GROWTH = {"batch": (200, 400, 800, 1600), "hidden": (50, 200, 800, 3200), "networks": (1, 3, 9, 27, 81)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", default="numpy", choices=("numpy", "torch", "jax", "cupy"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{machine()}; twolayer on {options.library}\n")
    results = {}
    for what, sizes in GROWTH.items():
        contestants = {}
        for size in sizes:
            one = START | {what: size}
            t = by_hand.task(one["hidden"], one["batch"])
            contestants[str(size)] = library_steps(t, options.library, networks=one["networks"])
        times = in_turns(contestants, rounds=options.rounds)
        first = str(sizes[0])
        rows = []
        for name, own in times.items():
            compared = f"{int(name) / sizes[0]:g}", spread(ratios(times, name, first))
            rows.append([name, spread([1e6 * s for s in own], 0), *compared])
        print(table([what, "µs per step", "× size", "× time"], rows) + "\n", flush=True)
        results[what] = times

    rows = []
    for steps in (100, 300, 1000, 3000):
        seconds = [whole(steps, options.library) for _ in range(3)]
        rows.append([str(steps), spread(seconds), f"{1e6 * statistics.median(seconds) / steps:.0f}"])
        results[f"{steps} steps"] = seconds
    print(table(["steps", "seconds", "µs per step"], rows))
    stored(options.out, f"growth-{options.library}", results)


def whole(steps: int, library: str) -> float:
    xp = standard_namespace(__import__(library))
    t = by_hand.task(START["hidden"], START["batch"])
    X, y = (from_host(a, xp=xp, device=None) for a in (t.X, t.y.astype(np.int32)))
    net = twolayer.TwoLayerNet.initialize(FEATURES, t.hidden, CLASSES, rng=0, xp=xp)
    start = time.perf_counter()
    settings = {"reg": REG, "learning_rate": LEARNING_RATE, "batch_size": t.batch, "optimizer": SGD()}
    twolayer.train(net, X, y, steps=steps, rng=0, **settings)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
