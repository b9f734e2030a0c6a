"""A sweep that is no full grid: its candidates as points, along one setting or on the plane of two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report import Row, format_accuracy, format_numbers, has_diverged, label
from ._column import Column, axis_label, values_of
from ._figures import BLUE, MUTED, SMALL, drawing, ring

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TICKS = 14


def draw_line(table: Sequence[Row], x: str, column: Column, title: str | None) -> Figure:
    """Draw the column over one setting, with the standard deviations over the seeds."""
    with drawing(5.2, 3.3, title) as figure:
        axes = figure.subplots()
        places = _place(axes, "x", values_of(table, x))
        rows = sorted(table, key=lambda row: places[row.get(x)])
        shown = [row for row in rows if column.shown(row)]
        axes.errorbar(
            [places[row.get(x)] for row in shown],
            [column.number(row) for row in shown],
            yerr=[column.spread(row) or 0.0 for row in shown],
            color=BLUE,
            marker="o",
            markersize=5,
            linewidth=1.2,
            elinewidth=1.2,
            capsize=0,
            label=label(column.name),
        )
        best = column.best
        if best is not None and column.shown(best):
            number, spread = column.number(best), column.spread(best)
            text = format_accuracy(number, spread)
            _mark_winner(axes, places[best.get(x)], number, text, above=spread or 0.0)
        for row in rows:
            if has_diverged(row):
                axes.annotate(
                    "× diverged",
                    (places[row.get(x)], 0.03),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    ha="center",
                    va="bottom",
                    color=MUTED,
                    fontsize=SMALL,
                )
        axes.margins(y=0.2)
        axes.set_xlabel(axis_label(x))
        axes.set_ylabel(label(column.name))
        axes.grid(axis="y")
        axes.tick_params(length=3)
        if not shown:
            axes.set_yticks([])
    return figure


def draw_plane(table: Sequence[Row], x: str, y: str, column: Column, title: str | None) -> Figure:
    """Draw a point for each row on the plane of two settings, coloured by the column."""
    with drawing(5.8, 4.2, title) as figure:
        axes = figure.subplots()
        across, up = _place(axes, "x", values_of(table, x)), _place(axes, "y", values_of(table, y))
        # The best on top.
        shown = sorted((row for row in table if column.shown(row)), key=column.number)
        lost = [row for row in table if has_diverged(row)]
        if lost:
            axes.scatter(
                [across[row.get(x)] for row in lost],
                [up[row.get(y)] for row in lost],
                marker="x",
                s=28,
                linewidths=1.2,
                color=MUTED,
                label="diverged",
            )
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                frameon=False,
                fontsize=SMALL,
                borderaxespad=0.2,
                handletextpad=0.2,
            )
        if shown:
            axes.scatter(
                [across[row.get(x)] for row in shown],
                [up[row.get(y)] for row in shown],
                c=[column.colour(row) for row in shown],
                s=55,
                edgecolors="white",
                linewidths=0.8,
                label=label(column.name),
            )
        best = column.best
        if best is not None and column.shown(best):
            _mark_winner(axes, across[best.get(x)], up[best.get(y)], format_accuracy(column.number(best)))
        axes.set_xlabel(axis_label(x))
        axes.set_ylabel(axis_label(y))
        axes.grid()
        axes.tick_params(length=3)
        axes.tick_params(which="minor", length=0)
        column.add_colour_bar(figure, [axes])
    return figure


def _place(axes: Axes, which: str, values: Sequence[Any]) -> dict[Any, float]:
    """Prepare an axis for the values of a setting, and give each value's position on it.

    Positive numbers stand where they belong (on a logarithmic axis from a factor of ten on); others in equal
    steps.
    """
    axis = getattr(axes, f"{which}axis")
    numeric = all(isinstance(v, (int, float, np.number)) and v > 0 for v in values)
    places = [float(v) if numeric else float(i) for i, v in enumerate(values)]
    logarithmic = numeric and places[-1] >= 10 * places[0]
    if logarithmic:
        axes.set(**{f"{which}scale": "log"})
    scaled = [math.log10(p) if logarithmic else p for p in places]
    margin = 0.08 * (scaled[-1] - scaled[0]) or (0.1 * scaled[0] if numeric else 0.5)
    limits = [scaled[0] - margin, scaled[-1] + margin]
    axes.set(**{f"{which}lim": [10**limit for limit in limits] if logarithmic else limits})
    room = min((b - a for a, b in itertools.pairwise(scaled)), default=1.0) / (limits[1] - limits[0])
    if not numeric or room > 0.07:
        every = math.ceil(len(values) / _MOST_TICKS)
        axis.set_ticks(places[::every], labels=format_numbers(values)[::every])
        axis.set_ticks([], minor=True)
    return dict(zip(values, places, strict=True))


def _mark_winner(axes: Axes, x: float, y: float, text: str, *, above: float = 0.0) -> None:
    ring(axes, x, y)
    axes.annotate(
        text,
        (x, y + above),
        xytext=(0, 10),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        fontsize=SMALL,
    )
