"""How much memory a training of 50,000 colour images of 32×32 bytes takes beyond the images themselves.

Usage: python benchmarks/memory.py [--hidden 512,2048] [--libraries numpy,torch,jax] [--out FOLDER]

For each case a process of its own: NumPy bytes (146.5 MiB), two epochs at batch 200 with standardizing, flips
and shifts, and for one of them dropout. Prints the peak of the process less the images, and less what the
process held before training (interpreter, libraries, images), in MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from measuring import has, machine, stored, table

import twolayer

IMAGES = 50_000


def one(library: str, hidden: int, dropout: float) -> None:
    """Train, and print what the process took: at its peak, and before."""
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


def peak() -> float:
    """Largest resident size of this process so far, in MB."""
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
    options = parser.parse_args()
    if options.one:
        library, hidden, dropout = options.one
        one(library, int(hidden), float(dropout))
        return
    print(machine() + "\n")
    rows, results = [], {}
    for library in filter(has, options.libraries.split(",")):
        for hidden in options.hidden.split(","):
            for dropout in ("0.0", "0.5"):
                command = [sys.executable, __file__, "--one", library, hidden, dropout]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                over, training = found["peak"] - found["images"], found["peak"] - found["before"]
                name = f"{library}, {hidden} hidden units, dropout {dropout}"
                rows.append([name, f"{over:.0f}", f"{training:.0f}"])
                results[" ".join(command[3:])] = found
    print(table(["", "peak - images, MB", "peak - before, MB"], rows))
    stored(options.out, "memory", results)


if __name__ == "__main__":
    main()
