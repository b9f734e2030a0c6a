"""A sweep over a full grid: a heat map over two settings for each combination of the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report import Row, format_number, format_numbers, label
from ._column import Column, axis_label, settings_of, values_of
from ._figures import INK, MUTED, PALE, RULE, SMALL, drawing, heading_height, ink_on, load_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ANNOTATED = 14


def draw_heat_maps(
    table: Sequence[Row], x: str, y: str, others: Sequence[str], column: Column, title: str | None
) -> Figure:
    """Draw the heat maps, in the order of the values of ``others``, with one scale of colours."""
    xs, ys = values_of(table, x), values_of(table, y)
    there = {settings_of(row, others) for row in table}
    combinations = [
        combination
        for combination in itertools.product(*(values_of(table, name) for name in others))
        if combination in there
    ]
    n_rows = math.ceil(len(combinations) / min(4, max(1, 12 // len(xs))))
    n_columns = math.ceil(len(combinations) / n_rows)
    cell_width, cell_height = min(0.92, 12 / len(xs)), min(0.62, 9 / len(ys))
    width = n_columns * (cell_width * len(xs) + 0.3) + 1.9
    height = n_rows * (cell_height * len(ys) + 0.35) + 0.75 + heading_height(title)
    with drawing(max(width, 3.6), max(height, 2.0), title) as figure:
        panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes in panels[len(combinations) :]:
            axes.set_axis_off()
        for index, (axes, combination) in enumerate(zip(panels, combinations, strict=False)):
            rows = [row for row in table if settings_of(row, others) == combination]
            _draw_heat_map(axes, rows, (x, xs), (y, ys), column)
            named = zip(others, combination, strict=True)
            axes.set_title(", ".join(f"{label(name)} = {format_number(value)}" for name, value in named))
            if index + n_columns < len(combinations):
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(axis_label(x))
            if index % n_columns:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(axis_label(y))
        column.add_colour_bar(figure, panels)
    return figure


def _draw_heat_map(
    axes: Axes, rows: Sequence[Row], across: tuple[str, list[Any]], up: tuple[str, list[Any]], column: Column
) -> None:
    patches = load_matplotlib().patches
    (x, xs), (y, ys) = across, up
    annotated = len(xs) <= _MOST_ANNOTATED and len(ys) <= _MOST_ANNOTATED
    for row in rows:
        i, j = xs.index(row.get(x)), ys.index(row.get(y))
        corner = (i - 0.5, j - 0.5)
        if column.shown(row):
            face = column.colour(row)
            axes.add_patch(patches.Rectangle(corner, 1, 1, facecolor=face, linewidth=0))
            style: dict[str, Any] = {"color": ink_on(face)}
        else:
            axes.add_patch(
                patches.Rectangle(corner, 1, 1, facecolor=PALE, edgecolor=RULE, hatch="////", linewidth=0)
            )
            style = {"color": MUTED, "bbox": {"facecolor": PALE, "edgecolor": "none", "pad": 1.5}}
        if row is column.best:
            style["fontweight"] = "bold"
            frame = patches.Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=2.4, label="best")
            frame.set(zorder=3, clip_on=False)
            axes.add_patch(frame)
        if annotated:
            axes.text(i, j, column.text(row), ha="center", va="center", fontsize=SMALL, **style)
    axes.set_xlim(-0.5, len(xs) - 0.5)
    axes.set_ylim(-0.5, len(ys) - 0.5)
    # White rules between the cells.
    axes.set_xticks([i + 0.5 for i in range(len(xs) - 1)], minor=True)
    axes.set_yticks([j + 0.5 for j in range(len(ys) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.set_axisbelow(False)
    axes.set_xticks(range(len(xs)), format_numbers(xs), rotation=0 if len(xs) <= _MOST_ANNOTATED else 90)
    axes.set_yticks(range(len(ys)), format_numbers(ys))
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
