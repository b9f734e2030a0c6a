"""
How hidden units divide the plane
=================================

The network classifies points in a plane. Each hidden unit has a straight line: on one
side of it the unit is 0, and on the other it grows with the distance. Between these
lines the logits are linear, so the border between two classes is straight, and bends
only where it crosses such a line.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import twolayer

rng = np.random.default_rng(0)
turn = np.tile(np.linspace(0.2, 1.0, 200), 3)
y = np.repeat(np.arange(3), 200)
angle = 2 * np.pi * (1.1 * turn + y / 3) + rng.normal(0, 0.12, 600)
X = np.stack([2 * turn * np.cos(angle), 2 * turn * np.sin(angle)], axis=1)

# %%
# Four networks of different width. The grey lines are x · W1 + b1 = 0, where a hidden
# unit becomes active.

side = np.linspace(-2.4, 2.4, 240)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
colours = ListedColormap(["#4c78a8", "#f58518", "#54a24b"])

figure, axes = plt.subplots(2, 2, figsize=(9, 9), layout="constrained")
for ax, width in zip(axes.flat, (3, 6, 12, 64), strict=True):
    net = twolayer.train(
        twolayer.TwoLayerNet.initialize(2, width, 3, rng=1),
        X,
        y,
        optimizer=twolayer.optimizers.Adam(),
        learning_rate=0.05,
        batch_size=50,
        epochs=100,
        rng=0,
    ).net
    probs = net.predict_proba(plane)
    strength = 0.15 + 0.4 * (probs.max(axis=1).reshape(240, 240) - 1 / 3) / (2 / 3)
    ax.imshow(
        net.predict(plane).reshape(240, 240),
        extent=(-2.4, 2.4, -2.4, 2.4),
        origin="lower",
        cmap=colours,
        alpha=strength,
        vmin=0,
        vmax=2,
    )
    for (w_x, w_y), b in zip(net.W1.T, net.b1, strict=True):
        foot = -b / (w_x**2 + w_y**2) * np.array([w_x, w_y])  # nearest to the origin
        ax.axline(foot, foot + np.array([-w_y, w_x]), color="0.35", linewidth=0.6)
    ax.scatter(*X.T, c=y, cmap=colours, s=8, vmin=0, vmax=2)
    ax.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[])
    ax.set_title(f"{width} hidden units: {net.accuracy(X, y):.3f} right")
plt.show()
