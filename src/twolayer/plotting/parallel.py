"""Pictures of a sweep's table in parallel coordinates: a line for each candidate, an axis per setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.formatting import format_accuracy, format_numbers
from ..report.tables import Row, varying
from ._matplotlib import load_matplotlib
from ._style import axes_for, bare, room
from ._table import Column, Scale, axis_label, check_table, words
from ._texts import AS_WRITTEN, SMALL, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOST = -0.12  # height at which the lines of diverged candidates end
_STRIP = 0.05  # width of the coloured last axis, as a share of the distance between two axes


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
        ``result.table`` or ``result.runs`` of a sweep; also as read back from JSON.
    value : str
        The column on the last axis, which determines the colours of the lines.
    mark_best : bool
        Whether to draw the best candidate on top, thick and with markers. It is chosen as in `plot_heat_map`,
        whatever ``value`` is.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        An axis for each setting that varies. It is logarithmic if the values span a factor of ten or more and
        are not shares, and has equal steps if a value is not a positive number. Lines of rows that share a
        value are spread a little around it, in the order of ``value``. Lines of diverged rows are dashed and
        grey, and end below the last axis.

    Raises
    ------
    ValueError
        If the table is empty, lacks the column, or no setting varies.
    ImportError
        If matplotlib cannot be imported.
    """
    check_table(table, [value])
    scales = [Scale(table, name) for name in varying(table)]
    if not scales:
        raise ValueError("`table` must have a setting that varies; got one value of each")
    last = len(scales)
    ax, inks = axes_for(ax, max(1.5 * last + 2.0, 4.5), 4.2)
    column = Column(table, value, mark_best=mark_best)
    shown, lost = column.shown, column.lost
    distance = room(ax)[0] / (last + 1)  # between two axes, in points
    # Lines of rows that share a value are spread over this width around it. Without a spread they would cover
    # each other. Settings with many different values need none.
    spreads = [min(0.08, 0.6 * s.gap) if 2 * len(s.values) <= len(table) else 0.0 for s in scales]

    def line_of(row: Row) -> list[tuple[float, float]]:
        """Return the points of a candidate's line: its settings, each moved by its value, and its value."""
        end, aside = _LOST, 0.0
        if column.shows(row):
            end = float(column.norm(column.number(row)))
            aside = end - 0.5
        settings = zip(scales, spreads, strict=True)
        heights = [scale.height(scale.place(row)) + aside * spread for scale, spread in settings]
        return list(enumerate([*heights, end]))

    def draw(rows: Sequence[Row], label: str, **style: Any) -> None:
        lines = load_matplotlib().collections.LineCollection([*map(line_of, rows)], **style)
        ax.add_collection(lines).set_label(label)

    def write(x: float, y: float, text: str, *, side: int, color: Any = inks.ink) -> None:
        place, ha = (5 * side, 0), "left" if side > 0 else "right"
        inks.note(ax, text, (x, y), place, outline=3, ha=ha, va="center", color=color, zorder=2.5)

    def write_ticks(x: float, ticks: Iterable[tuple[float, str]], *, side: int, width: float) -> None:
        for height, text in ticks:
            write(x, height, shortened(text, width), side=side)

    def colours(height: Any) -> Any:
        return inks.ramp(0.08 + 0.92 * height)

    draw(lost, "diverged", colors=[inks.muted], linestyles=[(0, (2, 2))], linewidths=0.8)
    coloured = [colours(column.norm(column.number(row))) for row in shown]
    width = 1.4 if len(shown) <= 40 else 1.0
    draw(shown, words(value), colors=coloured, linewidths=width, alpha=0.9, zorder=2.1)
    for index, scale in enumerate(scales):
        ax.plot([index, index], [0, 1], color=inks.muted, linewidth=1, zorder=2.2, label="_axis")
        write_ticks(index, _ticks(scale), side=-1, width=0.8 * distance)
    right = last + _STRIP
    if shown:
        strip = colours(np.linspace(0, 1, 256))[:, np.newaxis]
        image = ax.imshow(strip, aspect="auto", origin="lower", interpolation="none", zorder=2.2)
        image.set_extent((last, right, 0, 1))
        marks = _round_numbers(column.norm.vmin, column.norm.vmax)
        heights = column.norm(marks)
        write_ticks(right, zip(heights, format_numbers(marks), strict=True), side=1, width=distance)
    if lost:
        ax.plot([last], [_LOST], marker="x", color=inks.muted, markersize=6, mew=1.6, label="_diverged")
        write(right, _LOST, f"{len(lost)} diverged", side=1, color=inks.muted)
    if column.shows(column.best):
        best = np.array(line_of(column.best))
        (line,) = ax.plot(*best.T, "o-", color=inks.ink, linewidth=2.6, markersize=6, label="best", zorder=3)
        line.set_path_effects(inks.outline(5))
        text = f"best {format_accuracy(column.number(column.best))}"
        inks.note(ax, text, tuple(best[-1]), (-8, 8), outline=4, ha="right", fontweight="bold", zorder=4)
    bare(ax)
    ax.set(xlim=(-0.5, last + 0.5), ylim=(_LOST - 0.06 if lost else -0.06, 1.08), yticks=[])
    texts = [*(axis_label(scale.name) for scale in scales), words(value)]
    headings = [wrapped(text.split(), max(0.95 * distance, 40.0)) for text in texts]
    ax.set_xticks(range(last + 1), headings, fontsize=SMALL, **AS_WRITTEN)
    return ax


def _ticks(scale: Scale) -> Iterator[tuple[float, str]]:
    """Return heights with texts: the values, or round numbers if the values are too close together."""
    if scale.kind == "steps" or scale.gap > 0.045:
        places, texts = scale.ticks(18)
    else:
        places = _round_numbers(scale.places[0], scale.places[-1], log=scale.kind == "log")
        texts = format_numbers(places)
    return zip(map(scale.height, places), texts, strict=True)


def _round_numbers(low: float, high: float, *, log: bool = False) -> list[float]:
    """Return round numbers from ``low`` to ``high``; with ``log``, powers of ten.

    If fewer than three powers of ten lie there, their multiples by 2 and 5 are added.
    """
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        decades = [10.0**power for power in powers]
        inside = [decade for decade in decades if low <= decade <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 9)]
        numbers = [decade * digit for decade in decades for digit in (1, 2, 5)]
    else:
        numbers = load_matplotlib().ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(number) for number in numbers if low <= number <= high]
