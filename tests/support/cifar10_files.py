"""Folders in CIFAR-10's official layout, with a few records of random pixels."""

from __future__ import annotations

import numpy as np

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
FEW = 4  # records in a file, in place of 10,000


def write_folder(folder, records, *, seed=0, files=FILES):
    """Write a folder in the official layout; return the records of each file."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    written = {}
    for name in files:
        written[name] = rng.integers(0, 256, (records, 3073), dtype=np.uint8)
        written[name][:, 0] = rng.integers(0, 10, records)
        (folder / name).write_bytes(written[name].tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    (folder / "readme.html").write_text("<html></html>")
    return written
