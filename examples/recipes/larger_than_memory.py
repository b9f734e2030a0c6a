"""A sweep on samples that stay on disk: each batch is read from there, and copied to the networks.

Usage: python examples/recipes/larger_than_memory.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import twolayer

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)

# A file of samples (bytes), written in blocks; the first eight bytes determine the class.
n_samples, n_features = 20_000, 256
X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.uint8, shape=(n_samples, n_features))
y = np.empty(n_samples, np.int64)
rng = np.random.default_rng(0)
for start in range(0, n_samples, 4_000):
    rows = slice(start, start + 4_000)
    X[rows] = rng.integers(0, 256, (4_000, n_features), dtype=np.uint8)
    y[rows] = np.argmax(X[rows, :8].reshape(-1, 4, 2).sum(axis=2, dtype=np.int64), axis=1)
X.flush()

X = np.load(folder / "X.npy", mmap_mode="r")
result = twolayer.sweep(
    X[:18_000],
    y[:18_000],
    validation=(X[18_000:], y[18_000:]),
    # Fitted to some of the samples, in memory; applied to each batch.
    preprocessing=twolayer.preprocessing.Standardizer.fit(X[:2_000]),
    grid={"learning_rate": [0.01, 0.03], "n_hidden": [64]},
    epochs=3,
    stream=True,  # for networks on a GPU, add for example xp=cupy
)
print(result.best)
