"""Seconds per epoch and memory on the GPU, for a training of CIFAR-10's size.

Usage: python benchmarks/training.py [--library numpy] [--gpu] [--hidden 1024] [--epochs 6] [--out FOLDER]

The data are 50,000 images of 32 x 32 pixels in three colours, as bytes: each is the image of its class, one
of 10, plus noise. They are standardized, flipped and shifted batch by batch. The training uses batches of
250, float32, Nesterov momentum, label smoothing, and a cosine schedule after an epoch of warm-up. A tenth of
the images is used for validation after each epoch. Prints the seconds of the first epoch, in which kernels
are compiled, and of the others; the largest memory of the library on the GPU, which includes the images but
not CUDA's own memory; and the last training loss and accuracy, which show that the network learns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import device_of, machine, spread, stored, table

import twolayer
from twolayer._namespace import from_host, standard_namespace

SHAPE, CLASSES, BATCH = (32, 32, 3), 10, 250


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images as bytes (n, 3072), each the image of its class plus noise, and the labels (n,)."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, n).astype(np.int32)
    means = rng.integers(64, 192, (CLASSES, *SHAPE), dtype=np.uint8).reshape(CLASSES, -1)
    noise = rng.integers(0, 64, (n, means.shape[1]), dtype=np.uint8)
    return means[y] + noise, y


def memory(library: str) -> float | None:
    """Return the largest memory of the library on the GPU, in MB; None if it uses no GPU."""
    module = __import__(library)
    if library == "cupy":
        return module.get_default_memory_pool().total_bytes() / 1e6  # the pool never shrinks by itself
    if library == "torch" and module.cuda.is_available():
        return module.cuda.max_memory_reserved() / 1e6
    if library == "jax" and module.default_backend() == "gpu":
        return module.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", default="numpy", choices=("numpy", "torch", "jax", "cupy"))
    parser.add_argument("--gpu", action="store_true", help="use a GPU with PyTorch and JAX; CuPy always does")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{machine()}; twolayer on {options.library}\n")
    xp, device = standard_namespace(__import__(options.library)), device_of(options.library, gpu=options.gpu)
    X, y = (from_host(array, xp=xp, device=device) for array in images(options.images))
    n = len(X) // 10
    net = twolayer.TwoLayerNet.initialize(X.shape[1], options.hidden, CLASSES, rng=0, xp=xp, device=device)
    times: list[float] = []

    def clock(progress: twolayer.training.Progress) -> None:
        if progress.epoch_ended:  # the validation accuracy is on the host by then, so the device has finished
            times.append(time.perf_counter())

    settings: dict[str, Any] = {
        "preprocessing": twolayer.preprocessing.Standardizer.fit(X),
        "augmentation": twolayer.augmentation.FlipAndShift(SHAPE),
        "label_smoothing": 0.1,
        "learning_rate": 0.02,
        "schedule": twolayer.schedules.Warmup(epochs=1),
    }
    start = time.perf_counter()
    run = twolayer.train(
        net,
        X[n:, :],
        y[n:],
        validation=(X[:n, :], y[:n]),
        batch_size=BATCH,
        epochs=options.epochs,
        rng=0,
        callbacks=[clock],
        **settings,
    )
    seconds = np.diff([start, *times]).tolist()
    results = {
        "epochs": seconds,
        "MB": memory(options.library),
        "loss": float(run.history.loss[-1]),
        "accuracy": float(run.train_accuracy),
    }
    stored(options.out, f"training-{options.library}", results)
    first, *others = seconds
    held = "" if results["MB"] is None else f"{results['MB']:.0f}"
    row = [f"{first:.2f}", spread(others or [first]), held]
    learnt = [f"{results['loss']:.3f}", f"{results['accuracy']:.3f}"]
    print(table(["first epoch, s", "other epochs, s", "MB", "loss", "accuracy"], [[*row, *learnt]]))


if __name__ == "__main__":
    main()
