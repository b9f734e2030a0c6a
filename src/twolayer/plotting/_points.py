"""A sweep that is no full grid: its candidates as points, along one setting or on the plane of two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report import Row, format_accuracy, format_numbers, has_diverged
from ._column import Column, axis_label, places_of, values_of, words
from ._figures import SMALL, room, tick_points
from ._inks import Inks
from ._texts import as_written, names_of, set_axis_label, style_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 14


def draw_line(ax: Axes, inks: Inks, table: Sequence[Row], x: str, column: Column) -> None:
    """Draw the column over one setting, with the standard deviations over the seeds."""
    places = _place(ax, "x", values_of(table, x))
    rows = sorted(table, key=lambda row: places[row.get(x)])
    shown = [row for row in rows if column.shown(row)]
    ax.errorbar(
        [places[row.get(x)] for row in shown],
        [column.number(row) for row in shown],
        yerr=[column.spread(row) or 0.0 for row in shown],
        color=inks.colours[0],
        marker="o",
        markersize=5,
        linewidth=1.4,
        elinewidth=1.4,
        capsize=0,
        label=words(column.name),
    )
    best = column.best
    if best is not None and column.shown(best):
        number, spread = column.number(best), column.spread(best)
        text = format_accuracy(number, spread)
        _mark_winner(ax, inks, places[best.get(x)], number, text, above=spread or 0.0)
    for row in rows:
        if has_diverged(row):
            ax.annotate(
                "× diverged",
                (places[row.get(x)], 0.03),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="bottom",
                color=inks.muted,
                fontsize=SMALL,
            )
    ax.margins(y=0.2)
    width, height = room(ax)
    set_axis_label(ax.xaxis, axis_label(x), width)
    set_axis_label(ax.yaxis, words(column.name), height)
    ax.grid(axis="y", color=inks.faint, linewidth=0.8, linestyle="-")
    ax.set_axisbelow(True)
    if not shown:
        ax.set_yticks([])


def draw_plane(ax: Axes, inks: Inks, table: Sequence[Row], x: str, y: str, column: Column) -> None:
    """Draw a point for each row on the plane of two settings, coloured by the column."""
    across, up = _place(ax, "x", values_of(table, x)), _place(ax, "y", values_of(table, y))
    # The best on top.
    shown = sorted((row for row in table if column.shown(row)), key=column.number)
    lost = [row for row in table if has_diverged(row)]
    if lost:
        ax.scatter(
            [across[row.get(x)] for row in lost],
            [up[row.get(y)] for row in lost],
            marker="x",
            s=28,
            linewidths=1.2,
            color=inks.muted,
            label="diverged",
        )
        inks.legend(
            ax, handles=[ax.collections[-1]], loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2
        )
    if shown:
        ax.scatter(
            [across[row.get(x)] for row in shown],
            [up[row.get(y)] for row in shown],
            c=[column.colour(row) for row in shown],
            s=55,
            edgecolors=inks.muted,
            linewidths=0.6,
            label=words(column.name),
        )
    best = column.best
    if best is not None and column.shown(best):
        _mark_winner(ax, inks, across[best.get(x)], up[best.get(y)], format_accuracy(column.number(best)))
    width, height = room(ax)
    set_axis_label(ax.xaxis, axis_label(x), width)
    set_axis_label(ax.yaxis, axis_label(y), height)
    ax.grid(color=inks.faint, linewidth=0.8, linestyle="-")
    ax.set_axisbelow(True)
    ax.tick_params(which="minor", length=0)
    column.add_colour_bar(ax, inks, 0.8 * height)


def _place(ax: Axes, which: str, values: Sequence[Any]) -> dict[Any, float]:
    """Prepare an axis for the values of a setting, and give each value's position on it."""
    axis = getattr(ax, f"{which}axis")
    places, kind = places_of(values)
    logarithmic = kind == "log"
    if logarithmic:
        ax.set(**{f"{which}scale": "log"})
    scaled = [math.log10(p) if logarithmic else p for p in places]
    margin = 0.08 * (scaled[-1] - scaled[0]) or (0.5 if kind == "steps" else 0.1 * scaled[0])
    limits = [scaled[0] - margin, scaled[-1] + margin]
    ax.set(**{f"{which}lim": [10**limit for limit in limits] if logarithmic else limits})
    gap = min((b - a for a, b in itertools.pairwise(scaled)), default=1.0) / (limits[1] - limits[0])
    if kind == "steps" or gap > 0.07:
        every = math.ceil(len(values) / _MOST_TICKS)
        points, shown, width = tick_points(), places[::every], room(ax)[0]
        names = names_of(format_numbers(values)[::every], points, 0.3 * width)
        style = style_below(names, points, 0.75 * width / len(shown)) if which == "x" else {}
        axis.set_ticks(shown, labels=names, **style)
        as_written(axis.get_ticklabels())
        axis.set_ticks([], minor=True)
    return dict(zip(values, places, strict=True))


def _mark_winner(ax: Axes, inks: Inks, x: float, y: float, text: str, *, above: float = 0.0) -> None:
    inks.ring(ax, x, y)
    ax.annotate(
        text,
        (x, y + above),
        xytext=(0, 10),
        textcoords="offset points",
        ha="center",
        color=inks.ink,
        fontweight="bold",
        fontsize=SMALL,
        path_effects=inks.outline(3),
    )
