"""A sweep on several processes of one machine, with the same networks as on one process.

Usage: python examples/recipes/processes.py [PROCESSES]
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import twolayer


def main() -> None:
    """Run the same sweep on several processes and in this one, and compare the results."""
    n_processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    digits = twolayer.datasets.load_digits()
    arguments = {
        "X": digits.train.X,
        "y": digits.train.y,
        "validation": digits.validation,
        "preprocessing": twolayer.preprocessing.Standardizer.fit(digits.train.X),
        "grid": {"learning_rate": [0.01, 0.03, 0.1], "reg": [0.0, 1e-4], "seed": range(4)},
        "epochs": 20,
    }
    # The candidates of each seed form a part, so there are four parts.
    # Spawn fresh processes, because a fork could inherit a lock that a thread holds, and wait for it forever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as executor:
        result = twolayer.sweep(**arguments, executor=executor)
    print(result.best)

    alone = twolayer.sweep(**arguments)
    if result.runs != alone.runs or not all(map(np.array_equal, result.best.net, alone.best.net)):
        raise SystemExit("the networks differ from those of one process")
    print(f"{len(result.runs)} networks, the same as in one process")


if __name__ == "__main__":  # workers import this file, and must not start the sweep again
    main()
