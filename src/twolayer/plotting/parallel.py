"""A sweep's table in parallel coordinates: a line for each candidate, an axis for each setting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..report.formatting import format_accuracy, format_numbers
from ..report.tables import Row, varying
from ._matplotlib import load_matplotlib
from ._style import Inks, axes_for, bare, inks_of, room
from ._table import axis_label, check_table, column_of, margined, scale_of, words
from ._texts import AS_WRITTEN, SMALL, Style, shortened, small_points, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOST = -0.12  # where the lines of the diverged end
_STRIP = 0.05  # the width of the value's axis, of a distance between two


def plot_parallel_coordinates(
    table: Sequence[Row],
    *,
    value: str = "validation_accuracy",
    mark_best: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw each row of a sweep's table as a line through its settings to its value.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep, or ``result.runs``; also as read back from JSON.
    value : str
        The column on the last axis, which gives the lines their colours.
    mark_best : bool
        Whether to draw the winner on top of all, thick and with markers: the highest validation accuracy,
        whatever ``value`` is; in a table without it, the highest ``value``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        An axis for each setting that varies: logarithmic from a factor of ten on, in equal steps where a
        value is no positive number. Rows that share a value are spread a little around it, by how well they
        did. Those that diverged are dashed, without colour, and end below the last axis.

    Raises
    ------
    ValueError
        If the table is empty, does not have the column, or no setting varies.
    ImportError
        If matplotlib cannot be imported.
    """
    check_table(table, [value])
    names = varying(table)
    if not names:
        raise ValueError("`table` must have a setting that varies; got one value of each")
    ax = axes_for(ax, max(1.5 * len(names) + 2.0, 4.5), 4.2)
    inks = inks_of(ax)
    column = column_of(table, value, mark_best=mark_best)
    shown, lost = column.divided(table)
    axes = [_setting_axis(table, name) for name in names]
    end = _value_axis(value, [column.number(row) for row in shown])
    last = len(names)
    distance = room(ax)[0] / (last + 1)  # between two axes, in points

    def line_of(row: Row) -> list[tuple[float, float]]:
        """Return the points of a candidate's line, which is spread around its settings by its value."""
        height = end.heights.get(column.number(row))
        aside = 0.0 if height is None else height - 0.5
        heights = [axis.heights[row.get(axis.name)] + axis.spread * aside for axis in axes]
        return list(enumerate([*heights, _LOST if height is None else height]))

    def colours(height: Any) -> Any:
        return inks.ramp(0.08 + 0.92 * height)

    lines_of = load_matplotlib().collections.LineCollection
    lines = lines_of([*map(line_of, lost)], colors=[inks.muted], linestyles=[(0, (2, 2))], linewidths=0.8)
    ax.add_collection(lines).set_label("diverged")
    coloured = [colours(end.heights[column.number(row)]) for row in shown]
    width = 1.4 if len(shown) <= 40 else 1.0
    lines = lines_of([*map(line_of, shown)], colors=coloured, linewidths=width, alpha=0.9, zorder=2.1)
    ax.add_collection(lines).set_label(words(value))
    for index, axis in enumerate(axes):
        ax.plot([index, index], [0, 1], color=inks.muted, linewidth=1, zorder=2.2, label="_axis")
        _write_ticks(ax, inks, index, axis, side=-1, width=0.8 * distance)
    if shown:
        strip = colours(np.linspace(0, 1, 256))[:, np.newaxis]
        style: Style = {"aspect": "auto", "origin": "lower", "interpolation": "none", "zorder": 2.2}
        ax.imshow(strip, extent=(last, last + _STRIP, 0, 1), **style)
        _write_ticks(ax, inks, last + _STRIP, end, side=1, width=distance)
    if lost:
        ax.plot([last], [_LOST], marker="x", color=inks.muted, markersize=6, mew=1.6, label="_diverged")
        _write(ax, inks, last + _STRIP, _LOST, f"{len(lost)} diverged", side=1, color=inks.muted)
    if column.shows(column.best):
        best = np.array(line_of(column.best))
        (line,) = ax.plot(*best.T, "o-", color=inks.ink, linewidth=2.6, markersize=6, label="best", zorder=3)
        line.set_path_effects(inks.outline(5))
        text = f"best {format_accuracy(column.number(column.best))}"
        inks.note(ax, text, tuple(best[-1]), (-8, 8), outline=4, ha="right", fontweight="bold", zorder=4)
    bare(ax)
    ax.set(xlim=(-0.5, last + 0.5), ylim=(_LOST - 0.06 if lost else -0.06, 1.08), yticks=[])
    texts = [*map(axis_label, names), words(value)]
    headings = [wrapped(text.split(), max(0.95 * distance, 40.0), small_points()) for text in texts]
    ax.set_xticks(range(last + 1), headings, fontsize=SMALL, **AS_WRITTEN)
    return ax


class _Axis(NamedTuple):
    """A vertical axis from 0 to 1."""

    name: str
    heights: dict[Any, float]  # of its values
    ticks: list[tuple[float, str]]
    spread: float = 0.0  # the room around a value


def _setting_axis(table: Sequence[Row], name: str) -> _Axis:
    scale = scale_of(table, name)
    values, (low, *_, high) = scale.values, scale.scaled

    def heights_of(places: Sequence[float]) -> list[float]:
        # Room at both ends, as lines are spread around the values.
        return [0.04 + 0.92 * (place - low) / (high - low) for place in places]

    heights = heights_of(scale.scaled)
    gap = min(b - a for a, b in itertools.pairwise(heights))
    if gap > 0.045 or scale.kind == "steps":
        every = math.ceil(len(values) / 18)
        ticks = zip(heights[::every], format_numbers(values)[::every], strict=True)
    else:
        marks = _round_marks(low, high, kind=scale.kind)
        numbers = [10.0**mark for mark in marks] if scale.kind == "log" else marks
        ticks = zip(heights_of(marks), format_numbers(numbers), strict=True)
    spread = min(0.08, 0.6 * gap) if 2 * len(values) <= len(table) else 0.0
    return _Axis(name, dict(zip(values, heights, strict=True)), list(ticks), spread)


def _value_axis(name: str, numbers: Sequence[float]) -> _Axis:
    if not numbers:
        return _Axis(name, {}, [])
    low, high = margined(numbers)
    marks = _round_marks(low, high, kind="linear")
    heights = {number: (number - low) / (high - low) for number in [*numbers, *marks]}
    ticks = zip([heights[mark] for mark in marks], format_numbers(marks), strict=True)
    return _Axis(name, heights, list(ticks))


def _round_marks(low: float, high: float, *, kind: str) -> list[float]:
    """Return round numbers between two; of a logarithmic axis, powers of ten, or more where there are few."""
    if kind == "log":
        decades = [float(mark) for mark in range(math.floor(low), math.ceil(high) + 1)]
        inside = [mark for mark in decades if low <= mark <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 9)]
        finer = [decade + math.log10(digit) for decade in decades for digit in (1, 2, 5)]
        return [mark for mark in finer if low <= mark <= high]
    located = load_matplotlib().ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(mark) for mark in located if low <= mark <= high]


def _write_ticks(ax: Axes, inks: Inks, x: float, axis: _Axis, *, side: int, width: float) -> None:
    for height, text in axis.ticks:
        _write(ax, inks, x, height, shortened(text, width, small_points()), side=side, color=inks.ink)


def _write(ax: Axes, inks: Inks, x: float, y: float, text: str, *, side: int, color: Any) -> None:
    style: Style = {"ha": "left" if side > 0 else "right", "va": "center", "color": color, "zorder": 2.5}
    inks.note(ax, text, (x, y), (5 * side, 0), outline=3, **style)
