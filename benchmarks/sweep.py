"""What a sweep costs against its candidates trained one after another.

Usage: python benchmarks/sweep.py [--networks K] [--hidden H] [--batch B] [--steps S] [--rounds R]

Trains K candidates (float32, 3,072 features, 10 classes, random data) as one sweep and as K calls of `train`,
in turns, and prints the median seconds of each and the median of the rounds' ratios, with their range.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

import numpy as np

import twolayer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=9)
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 3072), dtype=np.float32)
    y = rng.integers(0, 10, len(X))
    validation = X[:1000], y[:1000]
    grid = [
        {"learning_rate": 1e-3, "reg": 0.01 * k, "n_hidden": options.hidden, "batch_size": options.batch}
        for k in range(options.networks)
    ]

    def together() -> None:
        twolayer.sweep(X, y, validation=validation, grid=grid, steps=options.steps, rng=0)

    def one_by_one() -> None:
        for one in grid:
            twolayer.train(
                twolayer.TwoLayerNet.initialize(3072, options.hidden, 10, rng=0),
                X,
                y,
                validation=validation,
                reg=one["reg"],
                learning_rate=one["learning_rate"],
                batch_size=options.batch,
                steps=options.steps,
                rng=0,
            )

    seconds: dict[str, list[float]] = {"sweep": [], "one by one": []}
    for _ in range(options.rounds):
        for name, run in (("sweep", together), ("one by one", one_by_one)):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    ratios = sorted(a / b for a, b in zip(*seconds.values(), strict=True))
    print(f"{platform.machine()}, {os.cpu_count()} processors, NumPy {np.__version__}")
    print(f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', '(not set)')}")
    print(
        f"{options.networks} networks of {options.hidden} hidden units, batch {options.batch}, "
        f"{options.steps} steps, {options.rounds} rounds"
    )
    for name, times in seconds.items():
        print(f"{name:>12}: {statistics.median(times):7.2f} s")
    print(f"{'ratio':>12}: {statistics.median(ratios):7.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
