"""The ladder of docs/accuracy.md: the accuracy on CIFAR-10 as ingredients are added one by one.

Usage: python benchmarks/accuracy.py OUT --data FOLDER [--library jax] [--seeds 0,1,2] [--rungs 1,2,3]
       [--held]

Runs `twolayer train cifar10` for each rung and seed, with 45,000 training images and 5,000 validation images.
The last network of a run is evaluated once on the 10,000 test images. The last rungs train on all 50,000
images: the presets, and two programs of examples/, which need PyTorch. A run whose results are in OUT is not
repeated. Prints each command and a table, and writes OUT/accuracy.json and OUT/accuracy.png.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

START = "--hidden 1024 --epochs 20 --batch-size 250 --validation 5000 --judge last --warmup 0 --dropout 0"
PLAIN = "--whiten none --label-smoothing 0 --no-flip --shift 0 --no-symmetrize --symmetrize-shift 0"

# The options that each rung adds to those of the rung before; later options override earlier ones.
LADDER = (
    ("gradient descent", f"{START} {PLAIN} --optimizer sgd --schedule constant --learning-rate 0.03"),
    ("+ Nesterov momentum, cosine schedule", "--optimizer nesterov --schedule cosine"),
    ("+ label smoothing 0.1, dropout 0.5", "--label-smoothing 0.1 --dropout 0.5"),
    ("+ whitening to 256 components", "--whiten pca --components 256 --warmup 2 --learning-rate 0.1"),
    ("+ flips", "--flip"),
    ("+ shifts by up to 2 pixels, no dropout", "--shift 2 --dropout 0"),
    ("8 of these networks, merged into one", "--networks 8"),
    ("+ mean over flips, folded in", "--symmetrize"),
    ("+ 80 epochs in place of 20", "--epochs 80"),
    ("+ mean over shifts by 1, folded in", "--symmetrize-shift 1"),
)

# The rungs that train on all images, each with its own complete command.
WHOLE = (
    ("preset cpu: 80 epochs, all 50,000 images", "--preset cpu"),
    ("preset record", "--preset record"),
    ("taught by a convolutional network", "examples/distillation.py"),
    ("another class: a convolution, written out", "examples/convolution.py"),
)

# Test accuracies of networks with one hidden, fully connected layer; their sources are in docs/accuracy.md.
PUBLISHED = {
    "no augmentation, pretrained": 0.648,
    "augmentation, distilled from convolutional networks": 0.702,
}


class Rung(NamedTuple):
    """The results of a rung, a value for each seed."""

    label: str
    options: str
    validation: list[float | None]
    test: list[float]
    seconds: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True, help="the folder cifar-10-batches-bin")
    parser.add_argument("--library", default="numpy")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rungs", help="run only these rungs, numbered from 1")
    parser.add_argument("--held", action="store_true", help="train nothing; show all runs in OUT")
    options = parser.parse_args()
    every = range(1, len(LADDER) + len(WHOLE) + 1)
    chosen = [int(n) for n in options.rungs.split(",")] if options.rungs else list(every)
    options.out.mkdir(parents=True, exist_ok=True)
    rungs, so_far = [], ""
    for number, (label, added) in enumerate((*LADDER, *WHOLE), start=1):
        so_far = merged(so_far, added) if number <= len(LADDER) else added
        if number not in chosen:
            continue
        seeds = options.seeds.split(",")
        if options.held:
            seeds = [
                path.parent.name.rpartition("-")[2]
                for path in sorted(options.out.glob(f"{number:02d}-seed-*/results.json"))
            ]
            if not seeds:
                continue
        shown = f"python {so_far}" if so_far.endswith(".py") else f"twolayer train cifar10 {so_far}"
        print(f"\n{number}. {label}\n   {shown}", flush=True)
        found = [
            run(options.out / f"{number:02d}-seed-{seed}", so_far, seed, options.library, options.data)
            for seed in seeds
        ]
        rungs.append(Rung(label, so_far, *(list(column) for column in zip(*found, strict=True))))
        print("   " + in_words(rungs[-1]), flush=True)
    (options.out / "accuracy.json").write_text(json.dumps([rung._asdict() for rung in rungs], indent=1))
    print("\n| | validation | test | seconds |\n| --- | --- | --- | --- |")
    for rung in rungs:
        print(
            f"| {rung.label} | {spread(rung.validation)} | {spread(rung.test)} | "
            f"{statistics.median(rung.seconds):.0f} |"
        )
    draw(rungs, options.out / "accuracy.png")


def merged(before: str, added: str) -> str:
    """Join two lists of options; a later option replaces an earlier one of the same name."""
    found: dict[str, str] = {}
    for text in (before, added):
        name = ""
        for word in shlex.split(text):
            if word.startswith("--"):
                name = word.removeprefix("--no-").removeprefix("--")
                found[name] = word
            else:
                found[name] += f" {word}"
    return " ".join(found.values())


def run(folder: Path, options: str, seed: str, library: str, data: str) -> tuple[float | None, float, float]:
    """Train unless results exist; return the validation accuracy, the test accuracy and the seconds."""
    results = folder / "results.json"
    if options.endswith(".py"):
        if not results.is_file():
            program = Path(__file__).parents[1] / options
            subprocess.run(
                [sys.executable, str(program), str(folder), "--data", data, "--seed", seed], check=True
            )
    elif not results.is_file():
        place = ["--out", str(folder), "--overwrite", "--data", data, "--library", library, "--quiet"]
        command = ["train", "cifar10", *shlex.split(options), "--seed", seed, *place]
        subprocess.run([sys.executable, "-m", "twolayer", *command], check=True, stdout=subprocess.DEVNULL)
    stored: dict[str, Any] = json.loads(results.read_text())
    for large in ("network.safetensors", "checkpoint.safetensors"):
        (folder / large).unlink(missing_ok=True)
    return stored.get("validation_accuracy"), stored["test"]["accuracy"], stored["seconds"]


def spread(values: list[float | None]) -> str:
    """Return the mean ± sample standard deviation; an empty text if there was no validation."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    text = f"{statistics.mean(values):.3f}"
    return f"{text} ± {statistics.stdev(values):.3f}" if len(values) > 1 else text


def in_words(rung: Rung) -> str:
    return f"validation {spread(rung.validation)}, test {spread(rung.test)}, {rung.seconds} s"


def draw(rungs: list[Rung], path: Path) -> None:
    """Draw the test accuracies of the rungs, and lines for published ones."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, max(4.0, 0.45 * len(rungs) + 1.6)), layout="constrained")
    axes.invert_yaxis()
    for i, rung in enumerate(rungs):
        axes.plot(rung.test, [i] * len(rung.test), "o", color="tab:blue", alpha=0.5, markersize=4)
        mean = statistics.mean(rung.test)
        axes.plot([mean], [i], "|", color="tab:blue", markersize=16, markeredgewidth=2)
        axes.annotate(f"{mean:.3f}", (max(rung.test), i), (8, 0), textcoords="offset points", va="center")
    for label, accuracy in PUBLISHED.items():
        axes.axvline(accuracy, color="tab:grey", linewidth=1, linestyle=":")
        # The points run from the upper left to the lower right, so the other corners have room for labels.
        above = accuracy > statistics.mean(statistics.mean(rung.test) for rung in rungs)
        axes.annotate(
            f"{accuracy:.3f} {label}",
            (accuracy, 0.98 if above else 0.02),
            (3, 0),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="top" if above else "bottom",
            fontsize=7,
            color="dimgrey",
        )
    axes.set_yticks(range(len(rungs)), [rung.label for rung in rungs])
    axes.set_xlabel("accuracy on the 10,000 test images of CIFAR-10, a dot for each seed")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
