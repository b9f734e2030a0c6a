"""The memory for a training on 50,000 colour images of 32×32 pixels, and for saving a network.

Usage: python benchmarks/memory.py [--hidden 512,2048] [--libraries numpy,torch,jax] [--no-training]
                                   [--out FOLDER]

Each case runs in its own process. A training is two epochs at batch 200 on images of bytes (146.5 MiB), with
standardizing, flips and shifts, and with and without dropout. Prints the peak of the process minus the
images, and minus the memory of the process before training (interpreter, libraries, images), in MB. Then
prints the same for `save` and `save_run` of a network of 202 MB (192 MiB): the peak minus the memory of the
process before, which includes the network.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from measuring import has, machine, stored, table

import twolayer

IMAGES = 50_000
WIDE = 16_384  # hidden units of a network of 192 MiB


def one(library: str, hidden: int, dropout: float) -> None:
    """Train, and print the memory of the process: at its peak, and before the training."""
    import numpy as np

    from twolayer._namespace import from_host, standard_namespace
    from twolayer.augmentation import FlipAndShift
    from twolayer.preprocessing import Standardizer

    xp = standard_namespace(__import__(library))
    rng = np.random.default_rng(0)
    X = from_host(rng.integers(0, 256, (IMAGES, 3072), dtype=np.uint8), xp=xp, device=None)
    y = from_host(rng.integers(0, 10, IMAGES).astype(np.int32), xp=xp, device=None)
    net = twolayer.TwoLayerNet.initialize(3072, hidden, 10, rng=0, xp=xp)
    before = peak()
    scaling = Standardizer.fit(X)
    augmentation = FlipAndShift((32, 32, 3))
    validation = X[:5000, :], y[:5000]
    twolayer.train(
        net,
        X,
        y,
        validation=validation,
        preprocessing=scaling,
        augmentation=augmentation,
        dropout=dropout,
        epochs=2,
        rng=0,
    )
    print(json.dumps({"before": before, "peak": peak(), "images": X.nbytes / 1e6}))


def saving(library: str, order: str) -> None:
    """Save a network and a run, and print the peak of the process before and after each."""
    import numpy as np

    from twolayer._namespace import standard_namespace
    from twolayer.checkpoints import save_run

    xp = standard_namespace(__import__(library))
    # Arrays of ones, because creating random numbers would need more memory and raise the peak.
    shapes = (3072, WIDE), (WIDE,), (WIDE, 10), (10,)
    if order == "C":
        net = twolayer.TwoLayerNet(*(xp.ones(shape, dtype=xp.float32) for shape in shapes))
    else:
        net = twolayer.TwoLayerNet(*(xp.ones(shape[::-1], dtype=xp.float32).T for shape in shapes))
    small = twolayer.TwoLayerNet.initialize(4, 3, 2, rng=0, xp=xp)
    run = twolayer.train(small, xp.ones((4, 4)), xp.asarray(np.arange(4) % 2), steps=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.safetensors")
        # A small network first, so that the imports of saving are not counted.
        twolayer.save(small, path)
        save_run(run, path)
        before = peak()
        twolayer.save(net, path)
        saved = peak()
        save_run(replace(run, net=net, best=net, last=net, _moments=(net,)), path)
    print(json.dumps({"before": before, "save": saved, "save_run": peak()}))


def peak() -> float:
    """Return the largest resident size of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", default="512,2048")
    parser.add_argument("--libraries", default="numpy,torch,jax")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--saving", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--no-training", action="store_true", help="measure only saving")
    options = parser.parse_args()
    if options.one:
        library, hidden, dropout = options.one
        one(library, int(hidden), float(dropout))
        return
    if options.saving:
        saving(*options.saving)
        return
    print(machine() + "\n")
    libraries = [library for library in options.libraries.split(",") if has(library)]
    results: dict[str, dict[str, float]] = {}
    if not options.no_training:
        measure_training(libraries, options.hidden.split(","), results)
    measure_saving(libraries, results)
    stored(options.out, "memory", results)


def measure_training(libraries: list[str], sizes: list[str], results: dict[str, dict[str, float]]) -> None:
    rows = []
    for library in libraries:
        for hidden in sizes:
            for dropout in ("0.0", "0.5"):
                found = measured(["--one", library, hidden, dropout], results)
                over, training = found["peak"] - found["images"], found["peak"] - found["before"]
                name = f"{library}, {hidden} hidden units, dropout {dropout}"
                rows.append([name, f"{over:.0f}", f"{training:.0f}"])
    print(table(["", "peak - images, MB", "peak - before, MB"], rows))


def measure_saving(libraries: list[str], results: dict[str, dict[str, float]]) -> None:
    rows = []
    for library in libraries:
        for order in ("C", "F") if library != "jax" else ("C",):  # JAX has only this order
            found = measured(["--saving", library, order], results)
            taken = [found[name] - found["before"] for name in ("save", "save_run")]
            rows.append([f"{library}, arrays in {order} order", *(f"{size:.1f}" for size in taken)])
    print(table(["of a network of 202 MB", "save, MB", "save_run, MB"], rows))


def measured(arguments: list[str], results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Run a case in its own process, and return its figures."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    results[" ".join(arguments[1:])] = found
    return found


if __name__ == "__main__":
    main()
