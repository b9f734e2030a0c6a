"""The figures of docs/performance.md, drawn from the results of other benchmarks.

Usage: python benchmarks/pictures.py FOLDER [--out docs/images]

FOLDER contains the results that steps.py, sweeps.py and growth.py wrote with `--out FOLDER`, the last two for
NumPy. Missing results are skipped. Writes performance-steps.png, performance-sweeps.png and
performance-growth.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

OURS, THEIRS = "tab:blue", "tab:grey"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})
    for name, draw in (("steps", steps), ("sweeps-numpy", sweeps), ("growth-numpy", growth)):
        path = options.folder / f"{name}.json"
        if path.is_file():
            figure = draw(json.loads(path.read_text(encoding="utf-8"))["results"])
            target = options.out / f"performance-{name.removesuffix('-numpy')}.png"
            figure.savefig(target, dpi=120)
            print(target)


def steps(results: dict[str, Any]) -> Any:
    """Draw the time of each contestant's step at each size: median and quartiles, the fastest first."""
    sizes = [size for size in results if not size.startswith("whole")]
    figure, panels = plt.subplots(1, len(sizes), figsize=(4.4 * len(sizes), 4.2), layout="constrained")
    for size, axes in zip(sizes, panels, strict=True):
        times = {name: [1e3 * s for s in own] for name, own in results[size].items()}
        names = sorted(times, key=lambda name: statistics.median(times[name]))
        for i, name in enumerate(names):
            low, middle, high = statistics.quantiles(times[name], n=4)
            axes.barh(i, middle, color=OURS if name.startswith("twolayer") else THEIRS, alpha=0.75)
            axes.errorbar(middle, i, xerr=[[middle - low], [high - middle]], color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        hidden, batch = size.split("x")
        axes.set_title(f"{int(hidden):,} hidden units, batch {batch}")
        axes.set_xlabel("milliseconds per step, median and quartiles")
    return figure


def sweeps(results: dict[str, Any]) -> Any:
    """Draw the seconds per candidate against the number of candidates."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    names = list(dict.fromkeys(name for times in results.values() for name in times))
    styles = {"sweep": ("o-", OURS, 2.0), "one after another": ("s--", OURS, 1.2)}
    others = iter([("^-", "tab:orange", 1.2), ("v-", "tab:grey", 1.2)])
    for name in names:
        counts = [int(n) for n, times in results.items() if name in times]
        each = [statistics.median(results[str(n)][name]) / n for n in counts]
        marker, color, width = styles[name] if name in styles else next(others)
        label = f"twolayer, {name}" if name in styles else name
        axes.plot(counts, each, marker, color=color, linewidth=width, label=label)
    axes.set_xscale("log")
    axes.set_xticks([int(n) for n in results], list(results))
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("candidates")
    axes.set_ylabel("seconds per candidate")
    axes.legend(frameon=False)
    return figure


def growth(results: dict[str, Any]) -> Any:
    """Draw the growth of a step's time with its size."""
    names = {"batch": "batch", "hidden": "hidden units", "networks": "networks of a stack"}
    figure, axes = plt.subplots(figsize=(6, 4.6), layout="constrained")
    widest = 1.0
    for (what, label), marker in zip(names.items(), "os^", strict=True):
        sizes = list(results[what])
        first = statistics.median(results[what][sizes[0]])
        times = [statistics.median(results[what][size]) / first for size in sizes]
        factors = [int(size) / int(sizes[0]) for size in sizes]
        widest = max(widest, *factors)
        axes.plot(factors, times, f"{marker}-", label=f"{label}, from {sizes[0]}")
    axes.plot([1, widest], [1, widest], ":", color=THEIRS, label="in proportion")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("times as large")
    axes.set_ylabel("times as long")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
