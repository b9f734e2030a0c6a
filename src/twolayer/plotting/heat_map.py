"""A sweep's table over two of its settings: as cells, or as points along one setting or on a plane."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..report.formatting import format_accuracy, format_number, format_numbers
from ..report.tables import Row, has_diverged, varying, winner
from ._matplotlib import load_matplotlib
from ._style import FROM_BELOW, Inks, axes_for, bare, ink_on, inks_of, room
from ._table import Column, Scale, axis_label, check_table, column_of, grouped, scale_of, words
from ._texts import (
    AS_WRITTEN,
    SMALL,
    Style,
    are_slanted,
    names_of,
    room_below,
    set_axis_label,
    small_points,
    style_below,
    tick_points,
    widest,
    wrapped,
    write_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ANNOTATED = 14
_MOST_TICKS = 14


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
        _draw_line(ax, inks, table, plan)
    elif plan.kind == "plane":
        _draw_plane(ax, inks, table, plan)
    else:
        # The best of each cell; of those that all diverged, the first.
        cells = grouped(table, [plan.x.name, plan.y.name]).values()
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
    x: Scale
    y: Scale
    others: list[str]
    column: Column

    @property
    def cell(self) -> tuple[float, float]:
        """The inches that a cell has across and up."""
        return min(0.92, 12 / len(self.x.values)), min(0.62, 9 / len(self.y.values))

    @property
    def cells(self) -> tuple[float, float]:
        """The inches that all cells have across and up."""
        return self.cell[0] * len(self.x.values), self.cell[1] * len(self.y.values)

    def names(self, points: float, width: float = math.inf) -> tuple[list[str], list[str]]:
        """Return the values along both axes as texts, for a picture of this width, in points."""
        across, up = format_numbers(self.x.values), format_numbers(self.y.values)
        return names_of(across, points, 0.7 * width), names_of(up, points, 0.5 * width)

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
    others = [name for name in varying(table) if name not in (x, y)]
    across, up = scale_of(table, x), scale_of(table, y)
    # A setting that does not vary gives way to the first other, and then stands rather up than across.
    if len(across.values) == 1 and others:
        across = scale_of(table, others.pop(0))
    elif len(across.values) == 1 < len(up.values):
        across, up = up, across
    if len(up.values) == 1 and others:
        up = scale_of(table, others.pop(0))
    kind = "plane" if len(across.values) * len(up.values) > 4 * len(table) else "cells"
    if len(up.values) == 1 and not others:
        kind = "line"
    if kind != "plane":
        _refuse_repeated(table, [across.name, up.name, *others])
    return Plan(kind, across, up, others, column_of(table, value, mark_best=mark_best))


def _refuse_repeated(table: Sequence[Row], names: Sequence[str]) -> None:
    for settings, rows in grouped(table, names).items():
        if len(rows) > 1:
            named = zip(names, settings, strict=True)
            described = ", ".join(f"{name} {format_number(setting)}" for name, setting in named)
            raise ValueError(f"`table` must have one row for each setting; got two of {described}")


def draw_cells(ax: Axes, inks: Inks, rows: Sequence[Row], plan: Plan) -> float:
    """Draw a cell for each of ``rows``; return the approximate height of the cells, in points."""
    column, xs, ys = plan.column, plan.x.values, plan.y.values
    annotated = max(len(xs), len(ys)) <= _MOST_ANNOTATED
    bare(ax)
    for row in rows:
        i, j = xs.index(row.get(plan.x.name)), ys.index(row.get(plan.y.name))
        square = partial(load_matplotlib().patches.Rectangle, (i - 0.5, j - 0.5), 1, 1)
        if column.shows(row):
            face = column.colour(row, inks)
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
    set_axis_label(ax.xaxis, axis_label(plan.x.name), width)
    set_axis_label(ax.yaxis, axis_label(plan.y.name), height)
    return height


def _draw_line(ax: Axes, inks: Inks, table: Sequence[Row], plan: Plan) -> None:
    """Draw the column over one setting, with the standard deviations over the seeds."""
    column, x = plan.column, plan.x
    _prepare(ax, "x", x)
    rows = sorted(table, key=x.place)
    shown = [row for row in rows if column.shows(row)]
    across, up = [*map(x.place, shown)], [*map(column.number, shown)]
    spreads = [column.spread(row) or 0.0 for row in shown]
    line = ax.errorbar(across, up, spreads, fmt="o-", color=inks.colours[0], ms=5, lw=1.4, capsize=0)
    line.set_label(words(column.name))
    if column.shows(column.best):
        number, spread = column.number(column.best), column.spread(column.best)
        text = format_accuracy(number, spread)
        _mark_best(ax, inks, x.place(column.best), number, text, above=spread or 0.0)
    for row in filter(has_diverged, rows):
        style: Style = {"xycoords": FROM_BELOW, "rotation": 90, "ha": "center", "va": "bottom"}
        inks.note(ax, "× diverged", (x.place(row), 0.03), (0, 0), color=inks.muted, **style)
    ax.margins(y=0.2)
    set_axis_label(ax.yaxis, words(column.name), room(ax)[1])
    inks.grid(ax, axis="y")
    if not shown:
        ax.set_yticks([])


def _draw_plane(ax: Axes, inks: Inks, table: Sequence[Row], plan: Plan) -> None:
    """Draw a point for each row on the plane of two settings, coloured by the column."""
    column, x, y = plan.column, plan.x, plan.y
    _prepare(ax, "x", x)
    _prepare(ax, "y", y)
    shown, lost = column.divided(table)
    if lost:
        places = [*map(x.place, lost)], [*map(y.place, lost)]
        ax.scatter(*places, marker="x", s=28, linewidths=1.2, color=inks.muted, label="diverged")
        inks.legend(ax, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    if shown:
        places, label = ([*map(x.place, shown)], [*map(y.place, shown)]), words(column.name)
        colours = [column.colour(row, inks) for row in shown]
        ax.scatter(*places, s=55, c=colours, edgecolors=inks.muted, linewidths=0.6, label=label)
    if column.shows(column.best):
        text = format_accuracy(column.number(column.best))
        _mark_best(ax, inks, x.place(column.best), y.place(column.best), text)
    inks.grid(ax)
    ax.tick_params(which="minor", length=0)
    column.add_colour_bar(ax, inks, 0.8 * room(ax)[1])


def _prepare(ax: Axes, which: str, scale: Scale) -> None:
    """Prepare the horizontal or the vertical axis for a setting: its limits, ticks and label."""
    axis, lengths = getattr(ax, f"{which}axis"), dict(zip("xy", room(ax), strict=True))
    places, scaled, steps = [*scale.places.values()], scale.scaled, scale.kind == "steps"
    if scale.kind == "log":
        ax.set(**{f"{which}scale": "log"})
    margin = 0.08 * (scaled[-1] - scaled[0]) or (0.5 if steps else 0.1 * scaled[0])
    limits = [scaled[0] - margin, scaled[-1] + margin]
    ax.set(**{f"{which}lim": [10**limit for limit in limits] if scale.kind == "log" else limits})
    gap = min((b - a for a, b in itertools.pairwise(scaled)), default=1.0) / (limits[1] - limits[0])
    if steps or gap > 0.07:
        every = math.ceil(len(places) / _MOST_TICKS)
        points, shown, width = tick_points(), places[::every], lengths["x"]
        names = names_of(format_numbers(scale.values)[::every], points, 0.3 * width)
        style = style_below(names, points, 0.75 * width / len(shown)) if which == "x" else AS_WRITTEN
        axis.set_ticks(shown, labels=names, **style)
        axis.set_ticks([], minor=True)
    set_axis_label(axis, axis_label(scale.name), lengths[which])


def _mark_best(ax: Axes, inks: Inks, x: float, y: float, text: str, *, above: float = 0.0) -> None:
    inks.ring(ax, x, y)
    inks.note(ax, text, (x, y + above), (0, 10), outline=3, ha="center", fontweight="bold")
