"""The time of `import twolayer` and of the command line's start, and the size of the installed files.

Usage: python benchmarks/startup.py [--rounds 9] [--out FOLDER]

Each statement runs in its own process, in turns. Each size is that of a package's own files, without its
dependencies.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from measuring import Contestant, has, in_turns, machine, ratios, spread, stored, table

import twolayer

STATEMENTS = {
    "nothing": "pass",
    "import numpy": "import numpy",
    "import twolayer": "import twolayer",
    "twolayer --version": "import twolayer.cli, sys; sys.argv[1:] = ['--version']; twolayer.cli.main()",
    "import sklearn.neural_network": "import sklearn.neural_network",
    "import torch": "import torch",
    "import jax": "import jax",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(machine() + "\n")
    contestants = {}
    for name, statement in STATEMENTS.items():
        library = name.split()[1].split(".")[0] if name.startswith("import") else "numpy"
        if has(library):
            contestants[name] = Contestant(starting(statement))
    times = in_turns(contestants, rounds=options.rounds)
    rows = [
        [name, spread([1e3 * s for s in own], 0), spread(ratios(times, name, "import numpy"))]
        for name, own in times.items()
    ]
    print(table(["", "ms", "× import numpy"], rows) + "\n")
    package = Path(twolayer.__file__).parent
    sizes = {"twolayer": sum(path.stat().st_size for path in package.rglob("*") if path.suffix != ".pyc")}
    for name in ("numpy", "array-api-compat", "safetensors", "scikit-learn", "torch", "jaxlib"):
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            continue
        sizes[name] = sum(file.size or 0 for file in files if file.suffix != ".pyc")
    print(table(["installed", "MB"], [[name, f"{size / 1e6:.1f}"] for name, size in sizes.items()]))
    stored(options.out, "startup", {"seconds": times, "bytes": sizes})


def starting(statement: str):
    return lambda: subprocess.run(
        [sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
