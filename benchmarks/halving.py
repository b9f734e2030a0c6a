"""The time saved by halving a sweep of random candidates, and the quality of its winner.

Usage: python benchmarks/halving.py [--repetitions 40] [--candidates 64] [--epochs 30] [--halving 4]
       [--data FOLDER]

Each repetition draws new candidates for the digits (50 hidden units; learning rate 1e-3 to 1, reg 1e-6 to
1e-2, both log-uniform; dropout 0 to 0.5). With `--data`, the folder of CIFAR-10's binary files, the
candidates train on its first 9,000 images instead, and the next 1,000 validate. Three winners are trained
again from five other seeds: of the whole sweep, of halving, and of halving with a schedule that falls to 0 at
each rung and starts again. Prints how often a winner is clearly behind the winner of the whole sweep, or
ahead of it: by more than the 95 % margin of the mean difference in pairs. Also prints the seconds of halving
as a share of those of the whole sweep. OPENBLAS_NUM_THREADS=1 makes both faster if other programs use the
machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import twolayer
from twolayer.sweeping.comparison import paired_difference
from twolayer.sweeping.halving import rungs_of

SEEDS = range(100, 105)
WHOLE, HALVED, RESTARTED = "whole", "halving", "halving, restarted schedule"


@dataclass(frozen=True)
class Restarts:
    """A cosine that falls to 0 at each of the epochs in ``ends``, and starts again after it."""

    ends: tuple[int, ...]

    def __call__(self, step: np.ndarray, *, steps_per_epoch: int, steps: int) -> np.ndarray:
        ends = np.array((0, *self.ends)) * steps_per_epoch
        i = np.searchsorted(ends, step, side="right")
        return 0.5 * (1.0 + np.cos(np.pi * (step - ends[i - 1]) / (ends[i] - ends[i - 1])))


def candidates(n: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "learning_rate": 10 ** rng.uniform(-3, 0),
            "reg": 10 ** rng.uniform(-6, -2),
            "dropout": rng.uniform(0, 0.5),
        }
        for _ in range(n)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("repetitions", 40), ("candidates", 64), ("epochs", 30), ("halving", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--data", help="the folder cifar-10-batches-bin")
    given = parser.parse_args()
    if given.data:
        data = twolayer.datasets.load_cifar10(given.data, n_train=9_000, n_validation=1_000, n_test=0)
    else:
        data = twolayer.datasets.load_digits()
    scaling = twolayer.preprocessing.Standardizer.fit(data.train.X)
    assert data.validation is not None
    (X, y), validation = (
        (scaling.apply(split.X, dtype="float32"), split.y) for split in (data.train, data.validation)
    )
    common: dict[str, Any] = {"validation": validation, "epochs": given.epochs}
    rungs = rungs_of(given.epochs, given.candidates, given.halving)
    restarts = Restarts((*(rung.epochs for rung in rungs), given.epochs))
    ways: dict[str, dict[str, Any]] = {
        WHOLE: {},
        HALVED: {"halving": given.halving},
        RESTARTED: {"halving": given.halving, "schedule": restarts},
    }
    differences: dict[str, list[dict[str, Any]]] = {HALVED: [], RESTARTED: []}
    shares: list[float] = []
    for repetition in range(given.repetitions):
        grid, scores, seconds = candidates(given.candidates, 1000 + repetition), {}, {}
        for way, how in ways.items():
            start = time.perf_counter()
            best = twolayer.sweep(X, y, grid=grid, rng=repetition, **common, **how).best
            seconds[way] = time.perf_counter() - start
            assert best is not None
            again = twolayer.sweep(X, y, grid=[best.settings | {"seed": seed} for seed in SEEDS], **common)
            scores[way] = {run["seed"]: run["validation_accuracy"] for run in again.runs}
        shares.append(seconds[HALVED] / seconds[WHOLE])
        for way, found in differences.items():
            found.append(paired_difference(scores[way], scores[WHOLE], n_samples=len(validation[1])))
            mean, margin = found[-1]["difference"], found[-1]["difference_margin"]
            print(f"{repetition + 1}. {way}: {mean:+.4f} ± {margin:.4f}", file=sys.stderr, flush=True)
    for way, found in differences.items():
        mean = statistics.fmean(one["difference"] for one in found)
        behind = sum(one["difference"] < -one["difference_margin"] for one in found)
        ahead = sum(one["difference"] > one["difference_margin"] for one in found)
        print(f"{way}: clearly behind {behind}, ahead {ahead} of {len(found)}; mean difference {mean:+.4f}")
    print(f"seconds of halving / whole: {statistics.median(shares):.2f} (median of {len(shares)})")


if __name__ == "__main__":
    main()
