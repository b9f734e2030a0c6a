"""A sweep's table over two of its settings, and which kind of picture shows it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..report import Row, format_number, varying
from ._cells import best_of_each, cell_size, draw_cells, height_of_cells, names_size
from ._column import Column, check_table, column_of, settings_of, values_of, words
from ._figures import SMALL, axes_for, room, small_points, tick_points
from ._inks import inks_of
from ._points import draw_line, draw_plane
from ._texts import as_written, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    width, height = plan.size(tick_points())
    ax = axes_for(ax, width, height)
    inks = inks_of(ax)
    column = plan.column.on(inks)
    if plan.kind == "line":
        draw_line(ax, inks, table, plan.x, column)
    elif plan.kind == "plane":
        draw_plane(ax, inks, table, plan.x, plan.y, column)
    else:
        best = best_of_each(table, plan.x, plan.y, column)
        draw_cells(ax, inks, best, (plan.x, plan.xs), (plan.y, plan.ys), column)
        column.add_colour_bar(ax, inks, height_of_cells(ax, plan.xs, plan.ys))
        if plan.others:
            text = f"in each cell, the best over {', '.join(map(words, plan.others))}"
            text = wrapped(text.split(), max(room(ax)[0], 72 * 2.5), small_points())
            title = ax.set_title(text, loc="left", fontsize=SMALL, fontweight="normal", color=inks.muted)
            as_written([title])
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

    def size(self, points: float) -> tuple[float, float]:
        """Give the inches that suit it, the values along its axes in this size, in points."""
        if self.kind != "cells":
            return (5.2, 3.3) if self.kind == "line" else (5.8, 4.2)
        width, height = cell_size(len(self.xs), len(self.ys))
        beside, below = names_size(self.xs, self.ys, points)
        return (
            max(width * len(self.xs) + 2.1, 3.6) + beside,
            max(height * len(self.ys) + 0.8, 2.2) + below,
        )


def plan_of(table: Sequence[Row], x: str, y: str, value: str, *, mark_best: bool) -> Plan:
    """Check the table, and choose the axes and the kind of the picture."""
    check_table(table, (x, y, value))
    if x == y:
        raise ValueError(f"`x` and `y` must be two settings; got {x} for both")
    x, y, others = _choose_axes(table, x, y)
    column = column_of(table, value, mark_best=mark_best)
    xs, ys = values_of(table, x), values_of(table, y)
    kind = "plane" if len(xs) * len(ys) > 4 * len(table) else "cells"
    if len(ys) == 1 and not others:
        kind = "line"
    if kind != "plane":
        _refuse_repeated(table, [x, y, *others])
    return Plan(kind, x, xs, y, ys, others, column)


def _choose_axes(table: Sequence[Row], x: str, y: str) -> tuple[str, str, list[str]]:
    """Give the settings along the axes, and the others that vary."""
    free = [name for name in varying(table) if name not in (x, y)]
    if len(values_of(table, x)) == 1:
        # With nothing else that varies, the axis that does is the horizontal one.
        x, y = (free.pop(0), y) if free else (y, x) if len(values_of(table, y)) > 1 else (x, y)
    if len(values_of(table, y)) == 1 and free:
        y = free.pop(0)
    return x, y, free


def _refuse_repeated(table: Sequence[Row], names: Sequence[str]) -> None:
    seen = set()
    for row in table:
        settings = settings_of(row, names)
        if settings in seen:
            described = ", ".join(
                f"{name} {format_number(setting)}" for name, setting in zip(names, settings, strict=True)
            )
            raise ValueError(f"`table` must have one row for each setting; got two of {described}")
        seen.add(settings)
