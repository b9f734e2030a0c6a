"""A sweep whose parts run under your own scheduler, on workers that read the data themselves.

Usage: python examples/recipes/parts.py [SCHEDULER]      (needs distributed)

Dask serves as an example of a scheduler that calls functions elsewhere. Only this program uses Dask; twolayer
does not.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from distributed import Client

import twolayer
from twolayer.sweeping import Part, PartResult


def load() -> dict[str, Any]:
    """Return the arrays, read from a file that each machine has."""
    digits = twolayer.datasets.load_digits()
    return {"X": digits.train.X, "y": digits.train.y, "validation": digits.validation}


def run(part: Part) -> PartResult:
    """Run a part on the arrays that the worker has read."""
    return part.run(**load())


def main() -> None:
    """Plan a sweep of two rungs, run the parts of each, and compare the result with that of `sweep`."""
    if len(sys.argv) > 1:
        client = Client(sys.argv[1])
    else:
        client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    settings = {
        "preprocessing": twolayer.preprocessing.Standardizer.fit(load()["X"]),
        "grid": {"learning_rate": [0.01, 0.03, 0.1, 0.3], "n_hidden": [20, 50], "seed": range(2)},
        "epochs": 16,
        "halving": 4,  # the best quarter of the candidates continues after each rung
    }
    with client:
        plan = twolayer.plan(**load(), **settings)
        while plan.parts:  # the parts of each rung, until the result is complete
            print(plan)
            plan = plan.join(client.gather([client.submit(run, part, pure=False) for part in plan.parts]))
    print(plan.result.best)

    alone = twolayer.sweep(**load(), **settings)
    if plan.result.runs != alone.runs or not all(map(np.array_equal, plan.result.best.net, alone.best.net)):
        raise SystemExit("the networks differ from those of `sweep`")
    print(f"{len(alone.runs)} networks, the same as by `sweep`")


if __name__ == "__main__":
    main()
