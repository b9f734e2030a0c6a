"""Pictures of a sweep's table over two settings: as cells, or as points along one setting or on a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.formatting import format_accuracy, format_number, format_numbers
from ..report.tables import Row, ranked, varying
from ._matplotlib import load_matplotlib
from ._style import FROM_BELOW, Inks, axes_for, bare, ink_on, room
from ._table import Column, Scale, axis_label, check_table, grouped, words
from ._texts import (
    AS_WRITTEN,
    SMALL,
    below,
    beside,
    names_of,
    set_axis_label,
    tick_points,
    wrapped,
    write_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ANNOTATED = 14  # cells in a row or column, if values are written in them
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
    """Draw a sweep's table over two settings: as a heat map, or as points if that is clearer.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` or ``result.runs`` of a sweep; also as read back from JSON.
    x, y : str
        The settings along the axes. A setting with the same value in every row is replaced by the first other
        setting that varies.
    value : str
        The column to draw.
    mark_best : bool
        Whether to mark the best candidate, as `sweep` ranked it. In a table without the column ``rank``, such
        as ``result.runs``, it has the highest validation accuracy, or without that column the highest
        ``value``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        If two settings vary, a heat map. Each cell contains its value and, with several seeds or folds, the
        standard deviation over them (up to 14 rows and columns). A diverged candidate is hatched; a candidate
        that is not in the table is blank. If more settings vary, each cell shows the best candidate over the
        other settings, and the title says so. If one setting varies, points with their standard deviations.
        If the table has rows for fewer than a quarter of the cells, for example after a random search, a
        point for each row on the plane of ``x`` and ``y``. The colour bar takes its room from ``ax``.

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, if ``x`` and ``y`` are the same, or if two rows have the same
        settings and would share a cell or a point.
    ImportError
        If matplotlib cannot be imported.
    """
    layout = Layout(table, x, y, value, mark_best=mark_best)
    ax, inks = axes_for(ax, *layout.size())
    if layout.kind == "line":
        _draw_line(ax, inks, layout)
    elif layout.kind == "plane":
        _draw_plane(ax, inks, layout)
    else:
        # The best row of each cell. Rows that left at a rung rank after the others; diverged rows are last.
        cells = grouped(table, [layout.x.name, layout.y.name]).values()
        best = [ranked(rows, value=layout.column.judged)[0] for rows in cells]
        height = draw_cells(ax, inks, best, layout)
        layout.column.add_colour_bar(ax, inks, height)
    if layout.others:
        others = ", ".join(map(words, layout.others))
        text = f"also varied: {others}" if layout.kind == "plane" else f"in each cell, the best over {others}"
        text = wrapped(text.split(), max(room(ax)[0], 72 * 2.5))
        title = ax.set_title(text, loc="left", fontsize=SMALL, color=inks.muted, **AS_WRITTEN)
        title.set_fontweight("normal")
    return ax


class Layout:
    """The layout of a table: as cells, a line or a plane (its ``kind``), and the settings along its axes.

    Raises
    ------
    ValueError
        If the table is empty, lacks a column, or has two rows of the same settings (except on a plane), or if
        ``x`` and ``y`` are the same.
    """

    def __init__(self, table: Sequence[Row], x: str, y: str, value: str, *, mark_best: bool) -> None:
        check_table(table, (x, y, value))
        if x == y:
            raise ValueError(f"`x` and `y` must be two settings; got {x} for both")
        others = [name for name in varying(table) if name not in (x, y)]
        across, up = Scale(table, x), Scale(table, y)
        # A setting that does not vary is replaced by the first other that does. If there is no other, it goes
        # on the vertical axis.
        if len(across.values) == 1 and others:
            across = Scale(table, others.pop(0))
        elif len(across.values) == 1 < len(up.values):
            across, up = up, across
        if len(up.values) == 1 and others:
            up = Scale(table, others.pop(0))
        self.kind = "plane" if len(across.values) * len(up.values) > 4 * len(table) else "cells"
        if len(up.values) == 1 and not others:
            self.kind = "line"
        names = [across.name, up.name, *others]
        for settings, rows in grouped(table, names).items():
            if len(rows) > 1 and self.kind != "plane":
                named = zip(names, settings, strict=True)
                described = ", ".join(f"{name} {format_number(setting)}" for name, setting in named)
                raise ValueError(
                    f"`table` must have one row for each combination of settings; got two of {described}"
                )
        self.x, self.y, self.others = across, up, others
        self.column = Column(table, value, mark_best=mark_best)

    @property
    def cell(self) -> tuple[float, float]:
        """The width and height of a cell in inches."""
        return min(0.92, 12 / len(self.x.values)), min(0.62, 9 / len(self.y.values))

    @property
    def cells(self) -> tuple[float, float]:
        """The width and height of all cells together in inches."""
        return self.cell[0] * len(self.x.values), self.cell[1] * len(self.y.values)

    def names(self, width: float = math.inf) -> tuple[list[str], list[str]]:
        """Return the values along both axes as texts, for a picture of this width in points."""
        across, up = format_numbers(self.x.values), format_numbers(self.y.values)
        return names_of(across, 0.7 * width), names_of(up, 0.5 * width)

    def names_size(self) -> tuple[float, float]:
        """Return the inches that the values take beside and below the cells, beyond the room for numbers."""
        columns, lines = self.names()
        cell = 72 * self.cell[0]
        height, _ = below(columns, cell)
        # A name slanted by 45 degrees below the first column is as wide as it is high.
        width = max(beside(lines), height - 0.5 * cell)
        return max(width / 72 - 0.5, 0.0), max(height / 72 - 0.2, 0.0)

    def size(self) -> tuple[float, float]:
        """Return the size of a figure for it, in inches, with the values on its axes in the current style."""
        if self.kind != "cells":
            return (5.2, 3.3) if self.kind == "line" else (5.8, 4.2)
        (width, height), (left, bottom) = self.cells, self.names_size()
        return max(width + 2.1, 3.6) + left, max(height + 0.8, 2.2) + bottom


def draw_cells(ax: Axes, inks: Inks, rows: Sequence[Row], layout: Layout) -> float:
    """Draw a cell for each of ``rows``; return the approximate height of the cells, in points."""
    column, xs, ys = layout.column, layout.x.values, layout.y.values
    annotated = max(len(xs), len(ys)) <= _MOST_ANNOTATED
    bare(ax)
    for row in rows:
        i, j = xs.index(row.get(layout.x.name)), ys.index(row.get(layout.y.name))
        square = partial(load_matplotlib().patches.Rectangle, (i - 0.5, j - 0.5), 1, 1)
        if column.shows(row):
            face = column.colour(row, inks)
            ax.add_patch(square(facecolor=face, linewidth=0))
            style: dict[str, Any] = {"color": ink_on(face)}
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
    # Lines between the cells, at the minor ticks.
    ax.grid(which="minor", color=inks.paper, linewidth=1.5, linestyle="-")
    ax.set_axisbelow(False)
    points, (width, height) = tick_points(), room(ax)
    columns, lines = layout.names(width)
    cell = min(72 * layout.cell[0], width / len(xs))
    height -= write_names(ax, columns, lines, cell)
    height = max(height - 2 * points, 5 * points)
    set_axis_label(ax.xaxis, axis_label(layout.x.name), width)
    set_axis_label(ax.yaxis, axis_label(layout.y.name), height)
    return height


def _draw_line(ax: Axes, inks: Inks, layout: Layout) -> None:
    """Draw the column over one setting, with the standard deviations over seeds and folds."""
    column, x = layout.column, layout.x
    _prepare(ax, "x", x)
    points = sorted((x.place(row), column.number(row), column.spread(row)) for row in column.shown)
    across, up, spreads = np.reshape(points, (-1, 3)).T
    line = ax.errorbar(across, up, spreads, fmt="o-", color=inks.colours[0], ms=5, lw=1.4, capsize=0)
    line.set_label(words(column.name))
    if column.shows(column.best):
        spread, text = column.spread(column.best), column.accuracy(column.best)
        _mark_best(ax, inks, x.place(column.best), column.number(column.best), text, above=spread)
    left = [row for row in column.shown if row.get("rung")]
    if left:
        places = [*map(x.place, left)], [*map(column.number, left)]
        ax.plot(*places, "o", color=inks.colours[0], mfc=inks.paper, ms=6, zorder=3, label="left at a rung")
        inks.legend(ax, loc="best")
    for row in column.lost:
        style: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "bottom", "color": inks.muted}
        inks.note(ax, "× diverged", (x.place(row), 0.03), (0, 0), xycoords=FROM_BELOW, **style)
    ax.margins(y=0.2)
    set_axis_label(ax.yaxis, words(column.name), room(ax)[1])
    inks.grid(ax, axis="y")
    if not points:
        ax.set_yticks([])


def _draw_plane(ax: Axes, inks: Inks, layout: Layout) -> None:
    """Draw a point for each row on the plane of two settings, coloured by the column."""
    column, x, y = layout.column, layout.x, layout.y
    _prepare(ax, "x", x)
    _prepare(ax, "y", y)

    def scatter(rows: Sequence[Row], label: str, **style: Any) -> None:
        if rows:
            ax.scatter([*map(x.place, rows)], [*map(y.place, rows)], label=label, **style)

    scatter(column.lost, "diverged", marker="x", s=28, linewidths=1.2, color=inks.muted)
    # Candidates that left earlier have smaller points.
    rungs = sorted({row["rung"] for row in column.shown if row.get("rung")})
    sizes = {rung: 55 * place / (len(rungs) + 1) for place, rung in enumerate(rungs, start=1)}
    hollow: dict[str, Any] = {"c": "none", "edgecolors": inks.muted}
    for rung, size in sizes.items():  # for the legend only
        ax.scatter([], [], s=size, label=f"left at rung {rung}", **hollow)
    if column.lost or rungs:
        inks.legend(ax, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, ncols=3)
    points: dict[str, Any] = {"c": [column.colour(row, inks) for row in column.shown]}
    points["s"] = [sizes.get(row.get("rung"), 55) for row in column.shown]
    scatter(column.shown, words(column.name), **points, edgecolors=inks.muted, linewidths=0.6)
    if column.shows(column.best):
        text = format_accuracy(column.number(column.best))
        _mark_best(ax, inks, x.place(column.best), y.place(column.best), text)
    inks.grid(ax)
    ax.tick_params(which="minor", length=0)
    column.add_colour_bar(ax, inks, 0.8 * room(ax)[1])


def _prepare(ax: Axes, which: str, scale: Scale) -> None:
    """Prepare the axis ``which``, "x" or "y", for a setting: its scale, limits, ticks and label."""
    axis, lengths = getattr(ax, f"{which}axis"), dict(zip("xy", room(ax), strict=True))
    if scale.kind == "log":
        ax.set(**{f"{which}scale": "log"})
    ax.set(**{f"{which}lim": scale.limits()})
    # Values that are too close for a tick each get the ticks that matplotlib chooses.
    if scale.kind == "steps" or scale.gap > 0.075:
        (places, texts), width = scale.ticks(_MOST_TICKS), lengths["x"]
        names = names_of(texts, 0.3 * width)
        _, style = below(names, 0.75 * width / len(names))
        axis.set_ticks(places, labels=names, **(style if which == "x" else AS_WRITTEN))
        axis.set_ticks([], minor=True)
    set_axis_label(axis, axis_label(scale.name), lengths[which])


def _mark_best(ax: Axes, inks: Inks, x: float, y: float, text: str, *, above: float = 0.0) -> None:
    inks.ring(ax, x, y)
    inks.note(ax, text, (x, y + above), (0, 10), outline=3, ha="center", fontweight="bold")
