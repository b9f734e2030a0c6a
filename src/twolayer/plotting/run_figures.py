"""The pictures of a run in the house's style, for the command line: figures of their own, no pyplot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..report.formatting import format_number
from ..report.tables import Row
from ._style import TICK_POINTS, figure, inks_of, room
from ._table import grouped, order, words
from ._texts import AS_WRITTEN, wrapped
from .confusion import confusion_size, plot_confusion
from .curves import plot_accuracy, plot_loss
from .heat_map import Plan, draw_cells, plan_of, plot_heat_map
from .images import arranged, plot_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..network import TwoLayerNet
    from ..training.history import History

_MOST_PANELS = 16
_HEADING_POINTS = 9.5  # of the style's titles of axes


def drawn(
    draw: Callable[[Axes], Any], size: tuple[float, float], title: str | None = None, *, dark: bool = False
) -> Figure:
    """Draw on the axes of a figure of this size, in inches."""
    with figure(*size, title, dark=dark) as page:
        draw(page.subplots())
    return page


def curves(history: History, *, title: str | None = None, dark: bool = False) -> Figure:
    """Draw the loss beside the accuracy."""
    with figure(8.8, 3.3, title, dark=dark) as page:
        left, right = page.subplots(1, 2)
        plot_loss(history, ax=left)
        plot_accuracy(history, ax=right)
    return page


def grid(table: Sequence[Row], *, title: str | None = None, dark: bool = False) -> Figure:
    """Draw a sweep over its learning rates and penalties: a heat map for each combination of the others.

    Of very many combinations, one heat map with the best over them.
    """
    plan = plan_of(table, "learning_rate", "reg", "validation_accuracy", mark_best=True)
    groups = grouped(table, plan.others)
    if plan.kind == "cells" and len(groups) <= _MOST_PANELS:
        panels = sorted(groups.items(), key=lambda panel: [*map(order, panel[0])])
        return _panels(dict(panels), plan, title, dark=dark)
    return drawn(lambda ax: plot_heat_map(table, ax=ax), plan.size(TICK_POINTS), title, dark=dark)


def _panels(panels: dict[tuple[Any, ...], list[Row]], plan: Plan, title: str | None, *, dark: bool) -> Figure:
    """Draw a heat map for each combination of the other settings, with one scale of colours."""
    n_panels = len(panels)
    n_rows = math.ceil(n_panels / min(4, max(1, 12 // len(plan.x.values))))
    n_columns = math.ceil(n_panels / n_rows)
    (width, height), (beside, below) = plan.cells, plan.names_size(TICK_POINTS)
    headings = [_heading(plan.others, combination, 72 * (width + 0.2)) for combination in panels]
    height += 0.2 + 0.15 * max(text.count("\n") + 1 for text in headings)
    size = max(n_columns * (width + 0.3) + 1.9 + beside, 3.6), max(n_rows * height + 0.75 + below, 2.0)
    with figure(*size, title, dark=dark) as page:
        axes = list(page.subplots(n_rows, n_columns, squeeze=False).flat)
        inks = inks_of(axes[0])
        for ax in axes[n_panels:]:
            ax.set_axis_off()
        for index, (ax, heading, rows) in enumerate(zip(axes, headings, panels.values(), strict=False)):
            draw_cells(ax, inks, rows, plan)
            ax.set_title(heading, **AS_WRITTEN)
            if index + n_columns < n_panels:
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
            if index % n_columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
        plan.column.add_colour_bar(axes, inks, n_rows * room(axes[0])[1])
    return page


def _heading(names: Sequence[str], values: Sequence[Any], room: float) -> str:
    """Return the settings that a panel is of, in lines of ``room`` points."""
    named = zip(names, values, strict=True)
    parts = [f"{words(name)} = {format_number(value)}" for name, value in named]
    return wrapped([*(f"{part}," for part in parts[:-1]), *parts[-1:]], room, _HEADING_POINTS, weight="bold")


def weights(
    net: TwoLayerNet, image_shape: Sequence[int], *, title: str | None = None, dark: bool = False
) -> Figure:
    """Draw the hidden units' weights."""
    size = arranged(min(net.n_hidden, 100), image_shape).size()
    return drawn(lambda ax: plot_weights(net, image_shape, ax=ax), size, title, dark=dark)


def confusion(
    counts: object, classes: Sequence[str], *, title: str | None = None, dark: bool = False
) -> Figure:
    """Draw a confusion matrix."""
    size = confusion_size(classes, TICK_POINTS)
    return drawn(lambda ax: plot_confusion(counts, classes, ax=ax), size, title, dark=dark)
