"""The number of kernels and matrix products that a training step starts on CuPy.

Usage: python benchmarks/kernels.py [--device FOLDER] [--out FOLDER]

Needs CuPy's wheel for CUDA 13, g++ 12 or later and nm, but no GPU: it runs on the simulated device of
tests/simulated_cuda, which counts the kernels. The device is built into a temporary folder, or into the
folder `--device`, which also keeps compiled kernels for the next run. Prints a table for one network and for
a stack of nine: the kernels of a step of `train` with an L2 penalty, and its matrix products, which cuBLAS
computes on a GPU. The counts of an epoch are divided by its 100 steps, so losses and accuracies are included.
For comparison, the table has the same step without fused functions, and a step written by hand in CuPy, which
computes neither loss nor accuracy. Copies between host and device and setting memory to a value do not count
as kernels. Every run has the same counts. With `--out`, FOLDER/kernels.json contains the count of each kernel
by name.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import by_hand
import numpy as np
from measuring import stored, table

import twolayer
from twolayer._forms import FusingCuPy, _product
from twolayer.training.optimizers import SGD, AdamW, Optimizer

SIMULATION = Path(__file__).parents[1] / "tests" / "simulated_cuda" / "build.py"
# Small sizes, because the simulated device is slow; the number of kernels does not depend on the sizes.
FEATURES, HIDDEN, BATCH, STEPS = 6, 3, 4, 100
OPTIMIZERS = {"SGD": SGD(), "Nesterov": SGD(0.9, nesterov=True), "AdamW": AdamW()}


def started() -> Counter[str]:
    """Return how often this process has started each kernel, by name; "products" counts matrix products."""
    device = ctypes.CDLL(None)
    size = ctypes.c_size_t(device.simulated_launches(None, ctypes.c_size_t(0)) + 1)
    text = ctypes.create_string_buffer(size.value)
    device.simulated_launches(text, size)
    lines = (line.split() for line in text.value.decode().splitlines())
    return Counter({name: int(n) for n, name in lines} | {"products": device.simulated_products()})


def of_training(optimizer: Optimizer, dropout: float, networks: int) -> dict[str, float]:
    """Return the counts per step: those of two epochs minus those of one, over the steps of an epoch."""
    import cupy

    t = by_hand.task(HIDDEN, BATCH, samples=STEPS * BATCH, features=FEATURES)
    X, y = cupy.asarray(t.X), cupy.asarray(t.y.astype(np.int32))
    net = twolayer.TwoLayerNet.initialize(FEATURES, HIDDEN, by_hand.CLASSES, rng=0, xp=cupy)
    if networks > 1:
        net = twolayer.stack([net] * networks)
    settings: dict[str, Any] = {"optimizer": optimizer, "dropout": dropout, "reg": 1e-3, "batch_size": BATCH}
    runs = []
    for epochs in (1, 2):
        before = started()
        twolayer.train(net, X, y, epochs=epochs, rng=0, **settings)
        runs.append(started() - before)
    return {name: count / STEPS for name, count in (runs[1] - runs[0]).items()}


def of_step_by_hand() -> dict[str, float]:
    import cupy

    step = by_hand.numpy_step(by_hand.task(HIDDEN, BATCH, features=FEATURES), cupy).call
    before = started()
    step()
    return dict(started() - before)


def not_fused(xp: FusingCuPy, function: Callable[..., Any], arrays: tuple[Any, ...], fixed: Any) -> Any:
    """Run a function with a kernel for each operation; called in place of `FusingCuPy.run`."""
    if function.__name__ == "product":
        return _product(*arrays, xp=xp, **fixed)
    return function(*arrays, xp=xp, **fixed)


def counts() -> dict[str, list[dict[str, float]]]:
    """Return the counts of a step of one network and of nine networks, by the name of the step."""
    found = {}
    for name, optimizer in OPTIMIZERS.items():
        for label, dropout in ((name, 0.0), (f"{name}, dropout", 0.5)):
            found[label] = [of_training(optimizer, dropout, networks) for networks in (1, 9)]
    with patch.object(FusingCuPy, "run", not_fused):
        found["SGD, without fused functions"] = [of_training(SGD(), 0.0, networks) for networks in (1, 9)]
    found["SGD by hand, without loss"] = [of_step_by_hand()]
    return found


def shown(found: dict[str, list[dict[str, float]]]) -> str:
    rows = []
    for label, steps in found.items():
        cells = []
        for step in steps:
            cells += [f"{sum(step.values()) - step['products']:g}", f"{step['products']:g}"]
        rows.append([label, *cells, *[""] * (4 - len(cells))])
    return table(["a step", "kernels", "products", "stack of nine: kernels", "products"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=Path, help="a folder that keeps the simulated device")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # The device must be loaded before Python starts, so this program starts itself again with it.
    if "libcuda.so.1" not in os.environ.get("LD_PRELOAD", ""):
        with tempfile.TemporaryDirectory() as folder:
            again = [sys.executable, SIMULATION, options.device or folder, sys.executable, *sys.argv]
            sys.exit(subprocess.run(again, check=False).returncode)
    found = counts()
    print(shown(found))
    stored(options.out, "kernels", found)


if __name__ == "__main__":
    main()
