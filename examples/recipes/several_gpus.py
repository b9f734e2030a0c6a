"""A training with JAX on all GPUs of one machine, or on eight simulated devices of its CPU.

Usage: python examples/recipes/several_gpus.py      (needs twolayer[jax])
"""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import twolayer

# Without a GPU, use eight devices on the CPU. This must be set before JAX starts.
jax.config.update("jax_num_cpu_devices", 8)

# All devices form a mesh of one axis, over which the rows of the samples are divided.
mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Auto,))
by_rows = NamedSharding(mesh, PartitionSpec("data"))

digits = twolayer.datasets.load_digits()
fitted = twolayer.preprocessing.Standardizer.fit(digits.train.X)


def evenly(split: twolayer.datasets.Split) -> tuple[np.ndarray, np.ndarray]:
    """Return samples without the last few, so that all devices get the same number."""
    n = len(split.y) - len(split.y) % mesh.size
    return split.X[:n], split.y[:n]


def train(device: jax.Device | NamedSharding) -> twolayer.Run:
    """Train a network on one device, or on a mesh whose devices all have a copy of it."""
    X, y, *validation = jax.device_put((*evenly(digits.train), *evenly(digits.validation)), device)
    net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0, xp=jax.numpy, device=device)
    return twolayer.train(net, X, y, validation=tuple(validation), preprocessing=fitted, epochs=5, rng=0)


run, alone = train(by_rows), train(jax.devices()[0])
print(f"On {mesh.size} devices ({jax.devices()[0].platform}): {run}")
print(f"On one of them: {alone}")
furthest = np.max(np.abs(run.history.loss - alone.history.loss))
print(f"The losses of {len(run.history.loss)} steps differ by at most {furthest:.1g}.")
assert furthest < 1e-3
