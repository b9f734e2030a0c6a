"""Data for the tests of pictures, axes to draw on, and functions that read the result."""

from __future__ import annotations

import hashlib
import io
import itertools
import math

import numpy as np

from twolayer import History, TwoLayerNet
from twolayer.plotting import run_figures
from twolayer.plotting._style import house_style


def new_ax():
    """Axes on a figure that does not belong to pyplot."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def drawn(plot, *arguments, **keywords):
    """New axes that a function of `plotting` drew on, and that were rendered."""
    ax = new_ax()
    assert plot(*arguments, **keywords, ax=ax) is ax
    rendered(ax.get_figure())
    return ax


def in_house_style(name, *arguments, dark=False):
    """The figure of this name for a run, in the house style."""
    with house_style(dark=dark):
        return getattr(run_figures, name)(*arguments)


def drawn_in_house_style(name, *arguments, dark=False):
    """A hash of the figure of this name for a run, drawn and saved in the house style."""
    with house_style(dark=dark):
        return rendered(getattr(run_figures, name)(*arguments))


def rendered(figure):
    """A hash of a figure's pixels, as pytest is very slow at comparing long bytes. Warnings are errors."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="raw", dpi=60)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def labelled(axes, label):
    """The lines with this label."""
    return [line for line in axes.lines if line.get_label() == label]


def cell_texts(axes):
    return {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}


def tick_texts(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def history_of(loss, *, n_epochs=4, **columns):
    loss = np.asarray(loss, dtype=np.float64)
    step = np.round(np.linspace(0, loss.size, n_epochs + 1)[1:]).astype(np.int64)
    given = {"train_accuracy": np.linspace(0.3, 0.9, n_epochs), **columns}
    empty = np.full(n_epochs, math.nan)
    entries = {name: np.asarray(given.get(name, empty), dtype=np.float64) for name in History._fields[3:]}
    return History(loss, np.zeros_like(loss), step, **entries)


def candidate(learning_rate, reg, accuracy, **others):
    row = {"learning_rate": learning_rate, "reg": reg, "n_hidden": 50, "batch_size": 200}
    row |= {"weight_scale": "he", "n_seeds": 1, "diverged": 0, "train_accuracy": 1 - accuracy}
    row |= {"validation_accuracy": accuracy, "validation_accuracy_std": math.nan}
    return {**row, **others}


def diverged(row):
    return {**row, "diverged": row["n_seeds"], "validation_accuracy": math.nan, "train_accuracy": math.nan}


def table_of(rates=(1e-2, 1e-4, 1e-3), regs=(0.5, 0.3), **others):
    # The accuracy rises with both settings.
    return [
        candidate(rate, reg, 0.5 + 10 * rate + reg / 10, **others)
        for rate, reg in itertools.product(rates, regs)
    ]


def random_search(n):
    rng = np.random.default_rng(0)
    return [candidate(10 ** rng.uniform(-4, 0), 10 ** rng.uniform(-4, 0), rng.random()) for _ in range(n)]


def net_of(W1, W2=None):
    W1 = np.asarray(W1, dtype=np.float64)
    W2 = np.ones((W1.shape[1], 2)) if W2 is None else np.asarray(W2, dtype=np.float64)
    return TwoLayerNet(W1, np.zeros(W1.shape[1]), W2, np.zeros(2))
