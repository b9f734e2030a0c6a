"""Figures of a run for the command line, without pyplot; draw and save them within `house_style()`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.formatting import format_accuracy, format_number
from ..report.tables import Row
from ._matplotlib import load_matplotlib
from ._style import Inks, new_figure, room
from ._table import grouped, order, words
from ._texts import AS_WRITTEN, wrapped
from .confusion import confusion_size, plot_confusion
from .curves import plot_accuracy, plot_loss
from .heat_map import Layout, draw_cells, plot_heat_map
from .images import Mosaic, plot_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..network import TwoLayerNet
    from ..training.history import History

_MOST_PANELS = 16
_HEADING_POINTS = 9.5  # "axes.titlesize" of `house_style`


def on_axes(
    size: tuple[float, float], plot: Callable[..., Axes], *arguments: Any, title: str | None = None
) -> Figure:
    """Draw with a function of `plotting` on the only axes of a new figure of this size in inches."""
    page = new_figure(*size, title)
    plot(*arguments, ax=page.subplots())
    return page


def curves(history: History, title: str | None = None) -> Figure:
    """Draw the loss beside the accuracy."""
    page = new_figure(8.8, 3.3, title)
    left, right = page.subplots(1, 2)
    plot_loss(history, ax=left)
    plot_accuracy(history, ax=right)
    return page


def grid(table: Sequence[Row], title: str | None = None) -> Figure:
    """Draw a sweep over its learning rates and penalties: a heat map for each combination of other settings.

    With more than 16 combinations, one heat map shows the best over them. If fewer settings vary, or most
    cells would be empty, the figure is that of `plot_heat_map`.
    """
    layout = Layout(table, "learning_rate", "reg", "validation_accuracy", mark_best=True)
    groups = grouped(table, layout.others)
    if layout.kind != "cells" or len(groups) > _MOST_PANELS:
        return on_axes(layout.size(), plot_heat_map, table, title=title)
    panels = dict(sorted(groups.items(), key=lambda panel: [*map(order, panel[0])]))
    n_panels = len(panels)
    n_rows = math.ceil(n_panels / min(4, max(1, 12 // len(layout.x.values))))
    n_columns = math.ceil(n_panels / n_rows)
    (width, height), (beside, below) = layout.cells, layout.names_size()
    headings = [_heading(layout.others, combination, 72 * (width + 0.2)) for combination in panels]
    height += 0.2 + 0.15 * max(text.count("\n") + 1 for text in headings)
    size = max(n_columns * (width + 0.3) + 1.9 + beside, 3.6), max(n_rows * height + 0.75 + below, 2.0)
    page = new_figure(*size, title)
    axes = list(page.subplots(n_rows, n_columns, squeeze=False).flat)
    inks = Inks(axes[0])
    for ax in axes[n_panels:]:
        ax.set_axis_off()
    for index, (ax, heading, rows) in enumerate(zip(axes, headings, panels.values(), strict=False)):
        draw_cells(ax, inks, rows, layout)
        ax.set_title(heading, **AS_WRITTEN)
        if index + n_columns < n_panels:  # another panel is below, which has the values
            ax.tick_params(labelbottom=False)
            ax.set_xlabel("")
        if index % n_columns:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
    layout.column.add_colour_bar(axes, inks, n_rows * room(axes[0])[1])
    return page


def folds(runs: Sequence[Row]) -> Figure:
    """Draw the validation accuracy of networks of one candidate over their folds, and its mean."""
    page = new_figure(5.2, 3.3, "The best candidate, fold by fold")
    ax = page.subplots()
    inks = Inks(ax)
    accuracies = np.array([row.get("validation_accuracy") for row in runs], np.float64)
    seeds = sorted({row.get("seed") for row in runs}, key=str)
    beside = np.linspace(-0.25, 0.25, len(seeds)) if len(seeds) > 1 else np.zeros(1)
    places = [row["fold"] + beside[seeds.index(row.get("seed"))] for row in runs]
    ax.plot(places, accuracies, "o", color=inks.colours[0], label="network")
    mean = accuracies.mean()
    ax.axhline(mean, color=inks.ink, linewidth=1.2, label=f"mean {format_accuracy(mean)}")
    ax.set(xlabel="fold", ylabel=words("validation_accuracy"))
    ax.xaxis.set_major_locator(load_matplotlib().ticker.MaxNLocator(10, integer=True))
    inks.grid(ax, axis="y")
    inks.legend(ax, loc="best")
    return page


def _heading(names: Sequence[str], values: Sequence[Any], room: float) -> str:
    """Return the other settings of a panel, in lines of at most ``room`` points."""
    named = zip(names, values, strict=True)
    parts = [f"{words(name)} = {format_number(value)}" for name, value in named]
    return wrapped([*(f"{part}," for part in parts[:-1]), *parts[-1:]], room, _HEADING_POINTS, weight="bold")


def weights(net: TwoLayerNet, image_shape: Sequence[int], title: str | None = None) -> Figure:
    """Draw the hidden units' weights."""
    size = Mosaic(min(net.n_hidden, 100), image_shape).size()
    return on_axes(size, plot_weights, net, image_shape, title=title)


def confusion(counts: object, classes: Sequence[str], title: str | None = None) -> Figure:
    """Draw a confusion matrix."""
    return on_axes(confusion_size(classes), plot_confusion, counts, classes, title=title)
