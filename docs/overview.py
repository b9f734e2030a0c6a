"""Draws images/overview.png, the picture at the top of the README and of the documentation.

Usage: python docs/overview.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import twolayer
from twolayer import plotting


def sweep(axes, digits):
    result = twolayer.sweep(
        digits.train.X,
        digits.train.y,
        validation=(digits.validation.X, digits.validation.y),
        preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
        grid={"learning_rate": [0.01, 0.03, 0.1, 0.3], "reg": [0.0, 1e-3, 1e-2, 1e-1], "seed": range(3)},
        epochs=10,
    )
    plotting.plot_heat_map(result.table, ax=axes)
    axes.set_title(f"{len(result.runs)} networks, in one call")


def weights(axes, digits):
    run = twolayer.train(
        twolayer.TwoLayerNet.initialize(64, 100, 10, rng=0),
        digits.train.X,
        digits.train.y,
        preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
        learning_rate=0.1,
        reg=1e-2,
        batch_size=50,
        epochs=40,
        rng=0,
    )
    plotting.plot_weights(run.net, digits.image_shape, max_units=42, columns=7, ax=axes)
    axes.set_xlabel(axes.get_xlabel().replace("\n", " "))  # for which there is room, once all is laid out
    axes.set_title("what hidden units look for")


def plane(axes):
    rng = np.random.default_rng(0)
    turn = np.tile(np.linspace(0.2, 1.0, 200), 3)
    y = np.repeat(np.arange(3), 200)
    angle = 2 * np.pi * (1.1 * turn + y / 3) + rng.normal(0, 0.12, 600)
    X = np.stack([2 * turn * np.cos(angle), 2 * turn * np.sin(angle)], axis=1)
    net = twolayer.train(
        twolayer.TwoLayerNet.initialize(2, 12, 3, rng=1),
        X,
        y,
        optimizer=twolayer.optimizers.Adam(),
        learning_rate=0.05,
        batch_size=50,
        epochs=100,
        rng=0,
    ).net
    side = np.linspace(-2.4, 2.4, 400)
    probs = net.predict_proba(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))
    colours = ListedColormap(["#4c78a8", "#f58518", "#54a24b"])
    shown = {"cmap": colours, "vmin": 0, "vmax": 2}
    axes.imshow(
        probs.argmax(axis=1).reshape(400, 400),
        extent=(-2.4, 2.4, -2.4, 2.4),
        origin="lower",
        alpha=0.15 + 0.6 * (probs.max(axis=1).reshape(400, 400) - 1 / 3),
        **shown,
    )
    for weight, b in zip(net.W1.T, net.b1, strict=True):
        foot = -b / (weight @ weight) * weight
        axes.axline(foot, foot + np.array([-weight[1], weight[0]]), color="0.35", linewidth=0.6)
    axes.scatter(*X.T, c=y, s=5, **shown)
    axes.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[])
    axes.set_title("how 12 hidden units cut a plane")


if __name__ == "__main__":
    digits = twolayer.datasets.load_digits()
    figure = Figure(figsize=(13.5, 4.2), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.3, 1.25, 1.05])
    sweep(left, digits)
    weights(middle, digits)
    plane(right)
    figure.savefig(Path(__file__).parent / "images" / "overview.png")
