"""A sweep that is no full grid: its candidates as points, along one setting or on the plane of two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report import Row, format_accuracy, format_numbers, has_diverged
from ._style import Inks, room
from ._table import Column, axis_label, scale_of, words
from ._texts import AS_WRITTEN, Style, names_of, set_axis_label, style_below, tick_points

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

_MOST_TICKS = 14


def draw_line(ax: Axes, inks: Inks, table: Sequence[Row], x: str, column: Column) -> None:
    """Draw the column over one setting, with the standard deviations over the seeds."""
    places = _place(ax, "x", table, x)
    rows = sorted(table, key=lambda row: places[row.get(x)])
    shown = [row for row in rows if column.shows(row)]
    across, up = [places[row.get(x)] for row in shown], [column.number(row) for row in shown]
    spreads = [column.spread(row) or 0.0 for row in shown]
    style: Style = {"markersize": 5, "linewidth": 1.4, "capsize": 0, "label": words(column.name)}
    ax.errorbar(across, up, spreads, fmt="o-", color=inks.colours[0], **style)
    if column.shows(column.best):
        number, spread = column.number(column.best), column.spread(column.best)
        text = format_accuracy(number, spread)
        _mark_best(ax, inks, places[column.best.get(x)], number, text, above=spread or 0.0)
    for row in filter(has_diverged, rows):
        style = {"xycoords": ("data", "axes fraction"), "rotation": 90, "ha": "center", "va": "bottom"}
        inks.note(ax, "× diverged", (places[row.get(x)], 0.03), (0, 0), color=inks.muted, **style)
    ax.margins(y=0.2)
    width, height = room(ax)
    set_axis_label(ax.xaxis, axis_label(x), width)
    set_axis_label(ax.yaxis, words(column.name), height)
    inks.grid(ax, axis="y")
    if not shown:
        ax.set_yticks([])


def draw_plane(ax: Axes, inks: Inks, table: Sequence[Row], x: str, y: str, column: Column) -> None:
    """Draw a point for each row on the plane of two settings, coloured by the column."""
    across, up = _place(ax, "x", table, x), _place(ax, "y", table, y)

    def scatter(rows: Sequence[Row], label: str, **style: Any) -> None:
        places = [across[row.get(x)] for row in rows], [up[row.get(y)] for row in rows]
        ax.scatter(*places, label=label, **style)

    shown, lost = column.divided(table)
    if lost:
        scatter(lost, "diverged", marker="x", s=28, linewidths=1.2, color=inks.muted)
        inks.legend(ax, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    if shown:
        colours = [inks.ramp(column.norm(column.number(row))) for row in shown]
        scatter(shown, words(column.name), c=colours, s=55, edgecolors=inks.muted, linewidths=0.6)
    if column.shows(column.best):
        text = format_accuracy(column.number(column.best))
        _mark_best(ax, inks, across[column.best.get(x)], up[column.best.get(y)], text)
    width, height = room(ax)
    set_axis_label(ax.xaxis, axis_label(x), width)
    set_axis_label(ax.yaxis, axis_label(y), height)
    inks.grid(ax)
    ax.tick_params(which="minor", length=0)
    column.add_colour_bar(ax, inks, 0.8 * height)


def _place(ax: Axes, which: str, table: Sequence[Row], name: str) -> dict[Any, float]:
    """Prepare an axis for the values of a setting, and return each value's position on it."""
    axis = getattr(ax, f"{which}axis")
    values, places, scaled, kind = scale_of(table, name)
    if kind == "log":
        ax.set(**{f"{which}scale": "log"})
    margin = 0.08 * (scaled[-1] - scaled[0]) or (0.5 if kind == "steps" else 0.1 * scaled[0])
    limits = [scaled[0] - margin, scaled[-1] + margin]
    ax.set(**{f"{which}lim": [10**limit for limit in limits] if kind == "log" else limits})
    gap = min((b - a for a, b in itertools.pairwise(scaled)), default=1.0) / (limits[1] - limits[0])
    if kind == "steps" or gap > 0.07:
        every = math.ceil(len(values) / _MOST_TICKS)
        points, shown, width = tick_points(), places[::every], room(ax)[0]
        names = names_of(format_numbers(values)[::every], points, 0.3 * width)
        style: Style = style_below(names, points, 0.75 * width / len(shown)) if which == "x" else AS_WRITTEN
        axis.set_ticks(shown, labels=names, **style)
        axis.set_ticks([], minor=True)
    return dict(zip(values, places, strict=True))


def _mark_best(ax: Axes, inks: Inks, x: float, y: float, text: str, *, above: float = 0.0) -> None:
    style: Style = {"ha": "center", "fontweight": "bold", "path_effects": inks.outline(3)}
    inks.ring(ax, x, y)
    inks.note(ax, text, (x, y + above), (0, 10), **style)
