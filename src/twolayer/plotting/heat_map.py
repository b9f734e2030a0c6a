"""A sweep's table over two of its settings, and which kind of picture shows it best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..report import Row, format_number, format_numbers, varying, winner
from ._matplotlib import load_matplotlib
from ._style import Inks, axes_for, bare, ink_on, inks_of, room
from ._table import Column, axis_label, check_table, column_of, grouped, values_of, words
from ._texts import (
    AS_WRITTEN,
    SMALL,
    Style,
    are_slanted,
    names_of,
    room_below,
    set_axis_label,
    small_points,
    tick_points,
    widest,
    wrapped,
    write_names,
)
from .points import draw_line, draw_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ANNOTATED = 14


def plot_heat_map(
    table: Sequence[Row],
    *,
    x: str = "learning_rate",
    y: str = "reg",
    value: str = "validation_accuracy",
    mark_best: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a sweep's table over two settings: as a heat map, or as points where that is clearer.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep, or ``result.runs``; also as read back from JSON.
    x, y : str
        The settings along the axes. One that has the same value in every row gives way to the first other
        that varies.
    value : str
        The column to draw.
    mark_best : bool
        Whether to outline the winner: the highest validation accuracy, whatever ``value`` is; in a table
        without it, the highest ``value``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        If two settings vary, a heat map, each cell with its value and, over several seeds, their standard
        deviation; a diverged candidate is hatched, one that is not in the table is blank. If more vary, each
        cell shows the best candidate over the others, as the winner is judged; the title says so. If
        one varies, its points with their standard deviations. If the table is far from a full grid (fewer
        than a quarter of the cells), as after a random search, a point for each row on the plane of ``x`` and
        ``y``. The colour bar takes its room from ``ax``.

    Raises
    ------
    ValueError
        If the table is empty, does not have the columns, or has two rows of the same settings.
    ImportError
        If matplotlib cannot be imported.
    """
    plan = plan_of(table, x, y, value, mark_best=mark_best)
    ax = axes_for(ax, *plan.size(tick_points()))
    inks = inks_of(ax)
    if plan.kind == "line":
        draw_line(ax, inks, table, plan.x, plan.column)
    elif plan.kind == "plane":
        draw_plane(ax, inks, table, plan.x, plan.y, plan.column)
    else:
        # The best of each cell; of those that all diverged, the first.
        cells = grouped(table, [plan.x, plan.y]).values()
        best = [winner(rows, value=plan.column.judged) or rows[0] for rows in cells]
        height = draw_cells(ax, inks, best, plan)
        plan.column.add_colour_bar(ax, inks, height)
        if plan.others:
            text = f"in each cell, the best over {', '.join(map(words, plan.others))}"
            text = wrapped(text.split(), max(room(ax)[0], 72 * 2.5), small_points())
            style: Style = {"fontsize": SMALL, "fontweight": "normal", "color": inks.muted}
            ax.set_title(text, loc="left", **style, **AS_WRITTEN)
    return ax


@dataclass(frozen=True)
class Plan:
    """How a table is drawn: as cells, a line or a plane, over which settings."""

    kind: str
    x: str
    xs: list[Any]
    y: str
    ys: list[Any]
    others: list[str]
    column: Column

    @property
    def cell(self) -> tuple[float, float]:
        """The inches that a cell has across and up."""
        return min(0.92, 12 / len(self.xs)), min(0.62, 9 / len(self.ys))

    @property
    def cells(self) -> tuple[float, float]:
        """The inches that all cells have across and up."""
        return self.cell[0] * len(self.xs), self.cell[1] * len(self.ys)

    def names(self, points: float, width: float = math.inf) -> tuple[list[str], list[str]]:
        """Return the values along both axes as texts, for a picture of this width, in points."""
        across, up = names_of(format_numbers(self.xs), points, 0.7 * width), format_numbers(self.ys)
        return across, names_of(up, points, 0.5 * width)

    def names_size(self, points: float) -> tuple[float, float]:
        """Return the inches that values take beside and below the cells, beyond those of numbers."""
        columns, lines = self.names(points)
        cell = 72 * self.cell[0]
        beside, below = widest(lines, points), room_below(columns, points, cell)
        if are_slanted(columns, points, cell):
            beside = max(beside, below - 0.5 * cell)  # of the first column, as wide as it is high
        return max(beside / 72 - 0.5, 0.0), max(below / 72 - 0.2, 0.0)

    def size(self, points: float) -> tuple[float, float]:
        """Return the inches that suit it, the values along its axes in this size, in points."""
        if self.kind != "cells":
            return (5.2, 3.3) if self.kind == "line" else (5.8, 4.2)
        (width, height), (beside, below) = self.cells, self.names_size(points)
        return max(width + 2.1, 3.6) + beside, max(height + 0.8, 2.2) + below


def plan_of(table: Sequence[Row], x: str, y: str, value: str, *, mark_best: bool) -> Plan:
    """Check the table, and choose the axes and the kind of the picture."""
    check_table(table, (x, y, value))
    if x == y:
        raise ValueError(f"`x` and `y` must be two settings; got {x} for both")
    x, y, others = _choose_axes(table, x, y)
    xs, ys = values_of(table, x), values_of(table, y)
    kind = "plane" if len(xs) * len(ys) > 4 * len(table) else "cells"
    if len(ys) == 1 and not others:
        kind = "line"
    if kind != "plane":
        _refuse_repeated(table, [x, y, *others])
    return Plan(kind, x, xs, y, ys, others, column_of(table, value, mark_best=mark_best))


def _choose_axes(table: Sequence[Row], x: str, y: str) -> tuple[str, str, list[str]]:
    """Return the settings along the axes, and the others that vary."""
    free = [name for name in varying(table) if name not in (x, y)]
    if len(values_of(table, x)) == 1:
        # With nothing else that varies, the axis that does is the horizontal one.
        x, y = (free.pop(0), y) if free else (y, x) if len(values_of(table, y)) > 1 else (x, y)
    if len(values_of(table, y)) == 1 and free:
        y = free.pop(0)
    return x, y, free


def _refuse_repeated(table: Sequence[Row], names: Sequence[str]) -> None:
    for settings, rows in grouped(table, names).items():
        if len(rows) > 1:
            named = zip(names, settings, strict=True)
            described = ", ".join(f"{name} {format_number(setting)}" for name, setting in named)
            raise ValueError(f"`table` must have one row for each setting; got two of {described}")


def draw_cells(ax: Axes, inks: Inks, rows: Sequence[Row], plan: Plan) -> float:
    """Draw a cell for each of ``rows``; return the approximate height of the cells, in points."""
    column, xs, ys = plan.column, plan.xs, plan.ys
    annotated = max(len(xs), len(ys)) <= _MOST_ANNOTATED
    bare(ax)
    for row in rows:
        i, j = xs.index(row.get(plan.x)), ys.index(row.get(plan.y))
        square = partial(load_matplotlib().patches.Rectangle, (i - 0.5, j - 0.5), 1, 1)
        if column.shows(row):
            face = inks.ramp(column.norm(column.number(row)))
            ax.add_patch(square(facecolor=face, linewidth=0))
            style: Style = {"color": ink_on(face)}
        else:
            ax.add_patch(square(**inks.hatched))
            style = {"color": inks.muted, "bbox": {"facecolor": inks.pale, "edgecolor": "none", "pad": 1.5}}
        if row is column.best:
            style["fontweight"] = "bold"
            frame = square(fill=False, edgecolor=inks.ink, linewidth=2.4, path_effects=inks.outline(5))
            frame.set(label="best", zorder=3, clip_on=False)
            ax.add_patch(frame)
        if annotated:
            ax.text(i, j, column.text(row), ha="center", va="center", fontsize=SMALL, **style)
    ax.set(xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5))
    # Rules between the cells.
    ax.grid(which="minor", color=inks.paper, linewidth=1.5, linestyle="-")
    ax.set_axisbelow(False)
    points, (width, height) = tick_points(), room(ax)
    columns, lines = plan.names(points, width)
    cell = min(72 * plan.cell[0], width / len(xs))
    write_names(ax, columns, lines, points=points, cell=cell)
    height = max(height - room_below(columns, points, cell) - 2 * points, 5 * points)
    set_axis_label(ax.xaxis, axis_label(plan.x), width)
    set_axis_label(ax.yaxis, axis_label(plan.y), height)
    return height
