"""A heat map over two settings: a cell for each combination of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report import Row, format_numbers, winner
from ._column import Column, axis_label, settings_of
from ._figures import SMALL, room, tick_points
from ._inks import Inks, ink_on
from ._matplotlib import load_matplotlib
from ._texts import are_slanted, names_of, room_below, set_axis_label, widest, write_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ANNOTATED = 14


def cell_size(n_columns: int, n_rows: int) -> tuple[float, float]:
    """Give the inches that a cell has across and up."""
    return min(0.92, 12 / n_columns), min(0.62, 9 / n_rows)


def best_of_each(table: Sequence[Row], x: str, y: str, column: Column) -> list[Row]:
    """Give the best of the rows of each cell; of those that all diverged, the first."""
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        cells.setdefault(settings_of(row, [x, y]), []).append(row)
    return [winner(rows, value=column.judged) or rows[0] for rows in cells.values()]


def draw_cells(
    ax: Axes,
    inks: Inks,
    rows: Sequence[Row],
    across: tuple[str, list[Any]],
    up: tuple[str, list[Any]],
    column: Column,
) -> None:
    """Draw a cell for each of ``rows``, which differ in two settings, of these names and values."""
    patches = load_matplotlib().patches
    (x, xs), (y, ys) = across, up
    annotated = len(xs) <= _MOST_ANNOTATED and len(ys) <= _MOST_ANNOTATED
    ax.grid(False)
    for row in rows:
        i, j = xs.index(row.get(x)), ys.index(row.get(y))
        corner = (i - 0.5, j - 0.5)
        if column.shown(row):
            face = column.colour(row)
            ax.add_patch(patches.Rectangle(corner, 1, 1, facecolor=face, linewidth=0))
            style: dict[str, Any] = {"color": ink_on(face)}
        else:
            ax.add_patch(
                patches.Rectangle(
                    corner, 1, 1, facecolor=inks.pale, edgecolor=inks.rule, hatch="////", linewidth=0
                )
            )
            style = {"color": inks.muted, "bbox": {"facecolor": inks.pale, "edgecolor": "none", "pad": 1.5}}
        if row is column.best:
            style["fontweight"] = "bold"
            frame = patches.Rectangle(corner, 1, 1, fill=False, edgecolor=inks.ink, linewidth=2.4)
            frame.set(label="best", zorder=3, clip_on=False, path_effects=inks.outline(5))
            ax.add_patch(frame)
        if annotated:
            ax.text(i, j, column.text(row), ha="center", va="center", fontsize=SMALL, **style)
    ax.set_xlim(-0.5, len(xs) - 0.5)
    ax.set_ylim(-0.5, len(ys) - 0.5)
    # Rules between the cells.
    ax.set_xticks([i + 0.5 for i in range(len(xs) - 1)], minor=True)
    ax.set_yticks([j + 0.5 for j in range(len(ys) - 1)], minor=True)
    ax.grid(which="minor", color=inks.paper, linewidth=1.5, linestyle="-")
    ax.set_axisbelow(False)
    points, width = tick_points(), room(ax)[0]
    columns = names_of(format_numbers(xs), points, 0.7 * width)
    lines = names_of(format_numbers(ys), points, 0.5 * width)
    cell = _cell_points(xs, ys, width)
    write_names(ax, columns, lines, points=points, cell=cell)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    set_axis_label(ax.xaxis, axis_label(x), width)
    set_axis_label(ax.yaxis, axis_label(y), height_of_cells(ax, xs, ys))


def height_of_cells(ax: Axes, xs: Sequence[Any], ys: Sequence[Any]) -> float:
    """Give the approximate height of the cells, above the values along the horizontal axis, in points."""
    points, (width, height) = tick_points(), room(ax)
    columns = names_of(format_numbers(xs), points, 0.7 * width)
    return max(height - room_below(columns, points, _cell_points(xs, ys, width)) - 2 * points, 5 * points)


def _cell_points(xs: Sequence[Any], ys: Sequence[Any], width: float) -> float:
    """Give the width of a cell of a picture of this width, all in points."""
    return min(72 * cell_size(len(xs), len(ys))[0], width / len(xs))


def names_size(xs: Sequence[Any], ys: Sequence[Any], points: float) -> tuple[float, float]:
    """Give the inches that values along the axes take beside and below the cells, beyond those of numbers."""
    columns, lines = (names_of(format_numbers(values), points) for values in (xs, ys))
    cell = 72 * cell_size(len(xs), len(ys))[0]
    beside, below = widest(lines, points), room_below(columns, points, cell)
    if are_slanted(columns, points, cell):
        beside = max(beside, below - 0.5 * cell)  # of the first column, as wide as it is high
    return max(beside / 72 - 0.5, 0.0), max(below / 72 - 0.2, 0.0)
