"""The pictures of a run in the house's style, for the command line: figures of their own, no pyplot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report import Row, format_number
from ._cells import cell_size, draw_cells, names_size
from ._column import settings_of, values_of, words
from ._figures import TICK_POINTS, figure, room
from ._inks import inks_of
from ._mosaic import arranged, mosaic_size
from ._texts import as_written, wrapped
from .confusion import confusion_size, plot_confusion
from .curves import plot_accuracy, plot_loss
from .heat_map import Plan, plan_of, plot_heat_map
from .images import plot_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..network import TwoLayerNet
    from ..training.history import History

_MOST_PANELS = 16
_HEADING_POINTS = 9.5  # of the style's titles of axes


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
    there = {settings_of(row, plan.others) for row in table}
    combinations = [
        combination
        for combination in itertools.product(*(values_of(table, name) for name in plan.others))
        if combination in there
    ]
    if plan.kind == "cells" and len(combinations) <= _MOST_PANELS:
        return _panels(table, plan, combinations, title, dark=dark)
    with figure(*plan.size(TICK_POINTS), title, dark=dark) as page:
        plot_heat_map(table, ax=page.subplots())
    return page


def _panels(
    table: Sequence[Row],
    plan: Plan,
    combinations: Sequence[tuple[Any, ...]],
    title: str | None,
    *,
    dark: bool,
) -> Figure:
    """Draw a heat map for each combination of the other settings, with one scale of colours."""
    xs, ys = plan.xs, plan.ys
    n_rows = math.ceil(len(combinations) / min(4, max(1, 12 // len(xs))))
    n_columns = math.ceil(len(combinations) / n_rows)
    cell_width, cell_height = cell_size(len(xs), len(ys))
    beside, below = names_size(xs, ys, TICK_POINTS)
    panel_width = 72 * (cell_width * len(xs) + 0.2)
    headings = [_heading(plan.others, combination, panel_width) for combination in combinations]
    heading_height = 0.2 + 0.15 * max(text.count("\n") + 1 for text in headings)
    width = n_columns * (cell_width * len(xs) + 0.3) + 1.9 + beside
    height = n_rows * (cell_height * len(ys) + heading_height) + 0.75 + below
    with figure(max(width, 3.6), max(height, 2.0), title, dark=dark) as page:
        panels = list(page.subplots(n_rows, n_columns, squeeze=False).flat)
        inks = inks_of(panels[0])
        column = plan.column.on(inks)
        for ax in panels[len(combinations) :]:
            ax.set_axis_off()
        for index, (ax, combination) in enumerate(zip(panels, combinations, strict=False)):
            rows = [row for row in table if settings_of(row, plan.others) == combination]
            draw_cells(ax, inks, rows, (plan.x, xs), (plan.y, ys), column)
            as_written([ax.set_title(headings[index])])
            if index + n_columns < len(combinations):
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
            if index % n_columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
        column.add_colour_bar(panels, inks, n_rows * room(panels[0])[1])
    return page


def _heading(names: Sequence[str], values: Sequence[Any], room: float) -> str:
    """Say which settings a panel is of, in lines of ``room`` points."""
    named = zip(names, values, strict=True)
    parts = [f"{words(name)} = {format_number(value)}" for name, value in named]
    return wrapped([*(f"{part}," for part in parts[:-1]), *parts[-1:]], room, _HEADING_POINTS, weight="bold")


def weights(
    net: TwoLayerNet, image_shape: Sequence[int], *, title: str | None = None, dark: bool = False
) -> Figure:
    """Draw the hidden units' weights."""
    size = mosaic_size(*arranged(min(net.n_hidden, 100), None), (image_shape[0], image_shape[1]))
    with figure(*size, title, dark=dark) as page:
        plot_weights(net, image_shape, ax=page.subplots())
    return page


def confusion(
    counts: object, classes: Sequence[str], *, title: str | None = None, dark: bool = False
) -> Figure:
    """Draw a confusion matrix."""
    with figure(*confusion_size(classes, TICK_POINTS), title, dark=dark) as page:
        plot_confusion(counts, classes, ax=page.subplots())
    return page
