"""A sweep's table to be drawn: its column of results with the winner, its settings and their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ..report.formatting import format_accuracy, is_finite
from ..report.tables import Row, has_diverged, winner
from ..settings import VARIED, label
from ._matplotlib import load_matplotlib
from ._style import Inks
from ._texts import set_axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MEASURED = ("train_accuracy", "validation_accuracy", "test_accuracy")
_OWN = (*VARIED, *_MEASURED, *(f"{name}_std" for name in _MEASURED), "best_step", "n_steps", "n_seeds")


@dataclass(frozen=True)
class Column:
    """The column of a table that is drawn, the range of its numbers, and the winner."""

    name: str
    judged: str  # the column that decides which row is the best
    best: Row | None
    norm: Any  # matplotlib's Normalize; None where no number is finite

    def number(self, row: Row) -> float:
        """Return the number to draw; nan where there is none."""
        number = row.get(self.name)
        return float(number) if is_finite(number) and not has_diverged(row) else math.nan

    def shows(self, row: Row | None) -> TypeGuard[Row]:
        """Return whether there is a row, and in it a number to draw."""
        return row is not None and math.isfinite(self.number(row))

    def divided(self, table: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Return the rows with a number to draw, the best last, and those that diverged."""
        shown = sorted((row for row in table if self.shows(row)), key=self.number)
        return shown, [row for row in table if has_diverged(row)]

    def colour(self, row: Row, inks: Inks) -> tuple[float, float, float, float]:
        """Return the colour of a number that is shown."""
        red, green, blue, alpha = inks.ramp(self.norm(self.number(row)))
        return red, green, blue, alpha

    def spread(self, row: Row) -> float | None:
        """Return the standard deviation over the seeds; None where there is none."""
        spread = row.get(f"{self.name}_std")
        return float(spread) if is_finite(spread) else None

    def text(self, row: Row) -> str:
        """Describe the row in a few short lines."""
        if has_diverged(row):
            return "diverged"
        lines = format_accuracy(row.get(self.name), self.spread(row)).split(" ", 1)
        if row.get("diverged"):
            lines.append(f"{row['diverged']}/{row['n_seeds']} diverged")
        return "\n".join(lines)

    def add_colour_bar(self, ax: Axes | list[Axes], inks: Inks, length: float) -> None:
        """Add the scale of colours, if there are any, beside ``ax``, with a label of at most this length."""
        if self.norm is None:
            return
        figure: Any = (ax[0] if isinstance(ax, list) else ax).get_figure()
        # A layout engine finds room for the bar's words itself.
        share = 0.05 if figure.get_layout_engine() is not None else 0.18
        scale = load_matplotlib().cm.ScalarMappable(self.norm, inks.ramp)
        bar = figure.colorbar(scale, ax=ax, fraction=share, pad=0.02, aspect=25)
        bar.ax.yaxis.label.set_color(inks.ink)
        set_axis_label(bar.ax.yaxis, words(self.name), length)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelcolor=inks.ink)


def column_of(table: Sequence[Row], name: str, *, mark_best: bool) -> Column:
    """Return a column with the range of its numbers, and the winner where it is to be marked."""
    judged = "validation_accuracy" if any("validation_accuracy" in row for row in table) else name
    column = Column(name, judged, winner(table, value=judged) if mark_best else None, None)
    numbers = [column.number(row) for row in column.divided(table)[0]]
    if not numbers:
        return column
    low, high = margined(numbers)
    return replace(column, norm=load_matplotlib().colors.Normalize(low, high))


def margined(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the least and the greatest number, and some room around them where they are the same."""
    low, high = min(numbers), max(numbers)
    margin = 0.0 if high > low else 0.01
    return low - margin, high + margin


@dataclass(frozen=True)
class Scale:
    """A setting along an axis."""

    name: str
    places: dict[Any, float]  # of its values, which are in order
    scaled: list[float]  # the places; on a logarithmic axis, their logarithms
    kind: str  # linear, log or steps

    @property
    def values(self) -> list[Any]:
        """The values in order."""
        return list(self.places)

    def place(self, row: Row) -> float:
        """Return the place of a row's value."""
        return self.places[row.get(self.name)]


def scale_of(table: Sequence[Row], name: str) -> Scale:
    """Return a setting along an axis.

    Positive numbers stand where they belong, on a logarithmic axis from a factor of ten on; others in equal
    steps.
    """
    values: list[Any] = sorted({row.get(name) for row in table}, key=order)
    if not all(isinstance(v, (int, float, np.number)) and v > 0 for v in values):
        places, kind = [float(i) for i in range(len(values))], "steps"
    else:
        places = [float(v) for v in values]
        kind = "log" if places[-1] >= 10 * places[0] else "linear"
    scaled = [math.log10(place) for place in places] if kind == "log" else places
    return Scale(name, dict(zip(values, places, strict=True)), scaled, kind)


def order(value: Any) -> tuple[bool, bool, Any]:
    """Return a key that sorts values: numbers first, then texts and objects by their words, then None."""
    is_number = isinstance(value, Real)
    return value is None, not is_number, value if is_number else str(value)


def grouped(table: Sequence[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values in these columns."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def words(name: str) -> str:
    """Return the words for a column; for a column of the user's own, its name."""
    return label(name) if name in _OWN else name


def axis_label(name: str) -> str:
    """Return the words for a setting along an axis."""
    return "reg (L2 penalty)" if name == "reg" else words(name)


def check_table(table: Sequence[Row], names: Sequence[str]) -> None:
    """Raise unless the table has rows and each of the columns."""
    if not len(table):
        raise ValueError("`table` must have at least one row; got none")
    for name in dict.fromkeys(names):
        if not any(name in row for row in table):
            columns = ", ".join(dict.fromkeys(key for row in table for key in row))
            raise ValueError(f"`table` must have a column {name}; got {columns}")
