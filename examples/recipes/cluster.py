"""A sweep on several machines or GPUs with Dask, which survives the death of a worker.

Usage: python examples/recipes/cluster.py [SCHEDULER]      (needs distributed)

Without the address of a Dask scheduler, it starts two workers on this machine, and kills one of them during
the sweep. dask-jobqueue starts workers on the nodes of a cluster, and `LocalCUDACluster` of dask-cuda starts
one for each GPU.
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
from distributed import Client

import twolayer


def main() -> None:
    """Run a sweep on the workers of a scheduler, and compare its result with that of a sweep here."""
    is_local = len(sys.argv) == 1
    if is_local:
        client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    else:
        client = Client(sys.argv[1])
    digits = twolayer.datasets.load_digits()
    arguments = {
        "X": digits.train.X,  # on GPUs: cupy.asarray(digits.train.X)
        "y": digits.train.y,
        "validation": digits.validation,
        "preprocessing": twolayer.preprocessing.Standardizer.fit(digits.train.X),
        "grid": {"learning_rate": [0.01, 0.03, 0.1], "reg": [0.0, 1e-4], "seed": range(4)},
        "epochs": 30,
    }
    killed: list[int] = []

    def kill_a_worker(progress: twolayer.Progress) -> None:
        """Kill a worker that has parts, once the training has begun."""
        if killed:
            return
        worker = next(address for address, parts in client.processing().items() if parts)
        killed.append(client.run(os.getpid, workers=[worker])[worker])
        os.kill(killed[0], signal.SIGKILL)
        print(f"killed a worker; part {progress.stage} is at step {progress.step} of {progress.steps}")

    with client:
        callbacks = [kill_a_worker] if is_local else []
        result = twolayer.sweep(**arguments, executor=client.get_executor(), callbacks=callbacks)
    print(result.best)

    if is_local and not killed:
        raise SystemExit("no worker was killed")
    alone = twolayer.sweep(**arguments)
    if result.runs != alone.runs or not all(map(np.array_equal, result.best.net, alone.best.net)):
        raise SystemExit("the networks differ from those of one process")
    print(f"{len(result.runs)} networks, the same as in one process")


if __name__ == "__main__":
    main()
