"""A sweep on many processes, many GPUs or a cluster, by Dask.

Usage: python examples/recipes/cluster.py [SCHEDULER]      (needs distributed)

Without the address of a Dask scheduler it starts two workers on this machine. `Client(LocalCUDACluster())`
of dask-cuda has one for each GPU; dask-jobqueue starts them on a cluster's nodes.
"""

from __future__ import annotations

import sys
from typing import Any

from distributed import Client

import twolayer


def part(seed: int) -> list[dict[str, Any]]:
    """Train all candidates from one seed: one stack of networks, and so one task for a worker."""
    digits = twolayer.datasets.load_digits()  # data of your own are best read here, by the worker
    result = twolayer.sweep(
        digits.train.X,  # on a GPU: cupy.asarray(digits.train.X)
        digits.train.y,
        validation=(digits.validation.X, digits.validation.y),
        preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
        grid={"learning_rate": [0.01, 0.03, 0.1], "reg": [0.0, 1e-4], "seed": [seed]},
        epochs=5,
    )
    return result.runs


def main() -> None:
    """Spread the seeds over the workers, and put the rows together."""
    if len(sys.argv) > 1:
        client = Client(sys.argv[1])
    else:
        client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with client:
        parts = client.gather(client.map(part, range(4)))
    accuracies: dict[tuple[float, float], list[float]] = {}
    for run in (run for rows in parts for run in rows):
        settings = run["learning_rate"], run["reg"]
        accuracies.setdefault(settings, []).append(run["validation_accuracy"])
    for (learning_rate, reg), found in sorted(accuracies.items(), key=lambda item: -sum(item[1])):
        mean = sum(found) / len(found)
        print(f"learning rate {learning_rate:g}, reg {reg:g}: {mean:.3f} over {len(found)} seeds")


if __name__ == "__main__":
    main()
