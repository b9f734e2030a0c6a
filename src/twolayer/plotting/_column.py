"""The column of a sweep's table that is drawn: its numbers, colours and texts, and the winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report import Row, format_accuracy, has_diverged, is_finite, label, winner
from ..sweeping import DEFAULTS
from ._inks import Inks
from ._matplotlib import load_matplotlib
from ._texts import set_axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MEASURED = ("train_accuracy", "validation_accuracy", "test_accuracy")
_OWN = (*DEFAULTS, *_MEASURED, *(f"{name}_std" for name in _MEASURED), "best_step", "n_steps", "n_seeds")


@dataclass(frozen=True)
class Column:
    """The column of a table that is drawn, with its colours and the winner."""

    name: str
    judged: str  # the column that decides which row is the best
    best: Row | None
    scale: Any = None  # matplotlib's ScalarMappable; None where no number is finite

    def number(self, row: Row) -> float:
        """Give the number to draw; nan where there is none."""
        number = row.get(self.name)
        return float(number) if is_finite(number) and not has_diverged(row) else math.nan

    def shown(self, row: Row) -> bool:
        """Say whether there is a number to draw."""
        return math.isfinite(self.number(row))

    def spread(self, row: Row) -> float | None:
        """Give the standard deviation over the seeds; None where there is none."""
        spread = row.get(f"{self.name}_std")
        return float(spread) if is_finite(spread) else None

    def colour(self, row: Row) -> tuple[float, float, float, float]:
        """Give the colour of a number that is shown."""
        red, green, blue, alpha = self.scale.to_rgba(self.number(row))
        return red, green, blue, alpha

    def text(self, row: Row) -> str:
        """Describe the row in a few short lines."""
        if has_diverged(row):
            return "diverged"
        lines = [format_accuracy(row.get(self.name))]
        spread = self.spread(row)
        if spread is not None:
            lines.append(f"± {spread:.3f}")
        if row.get("diverged"):
            lines.append(f"{row['diverged']}/{row['n_seeds']} diverged")
        return "\n".join(lines)

    def on(self, inks: Inks) -> Column:
        """Give the column in the colours that stand out from the paper."""
        if self.scale is None:
            return self
        return replace(self, scale=load_matplotlib().cm.ScalarMappable(self.scale.norm, inks.ramp))

    def add_colour_bar(self, ax: Axes | list[Axes], inks: Inks, length: float) -> None:
        """Add the scale of colours, if there are any, beside ``ax``, with a label of at most this length."""
        if self.scale is None:
            return
        figure: Any = (ax[0] if isinstance(ax, list) else ax).get_figure()
        # A layout engine finds room for the bar's words itself.
        share = 0.05 if figure.get_layout_engine() is not None else 0.18
        bar = figure.colorbar(self.scale, ax=ax, fraction=share, pad=0.02, aspect=25)
        bar.set_label("", color=inks.ink)
        set_axis_label(bar.ax.yaxis, words(self.name), length)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelcolor=inks.ink)


def column_of(table: Sequence[Row], name: str, *, mark_best: bool) -> Column:
    """Give a column with its scale of colours, and the winner where it is to be marked."""
    judged = "validation_accuracy" if any("validation_accuracy" in row for row in table) else name
    column = Column(name, judged, winner(table, value=judged) if mark_best else None)
    numbers = [column.number(row) for row in table if column.shown(row)]
    if not numbers:
        return column
    low, high = min(numbers), max(numbers)
    margin = 0.0 if high > low else 0.01
    matplotlib = load_matplotlib()
    norm = matplotlib.colors.Normalize(low - margin, high + margin)
    return replace(column, scale=matplotlib.cm.ScalarMappable(norm))


def values_of(table: Sequence[Row], name: str) -> list[Any]:
    """Give the different values of a column, sorted: numbers first, then text, then none."""
    values = {row.get(name) for row in table}
    return sorted(values, key=lambda v: (v is None, isinstance(v, str), 0 if v is None else v))


def settings_of(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """Give a row's values in these columns."""
    return tuple(row.get(name) for name in names)


def words(name: str) -> str:
    """Give the words for a column; for a column of the user's own, its name."""
    return label(name) if name in _OWN else name


def axis_label(name: str) -> str:
    """Give the words for a setting along an axis."""
    return "reg (L2 penalty)" if name == "reg" else words(name)


def check_table(table: Sequence[Row], names: Sequence[str]) -> None:
    """Raise unless the table has rows and each of the columns."""
    if not len(table):
        raise ValueError("`table` must have at least one row; got none")
    for name in dict.fromkeys(names):
        if not any(name in row for row in table):
            columns = ", ".join(dict.fromkeys(key for row in table for key in row))
            raise ValueError(f"`table` must have a column {name}; got {columns}")


def places_of(values: Sequence[Any]) -> tuple[list[float], str]:
    """Give the places of sorted values along an axis, and its kind: linear, log or steps.

    Positive numbers stand where they belong, on a logarithmic axis from a factor of ten on; others in equal
    steps.
    """
    if not all(isinstance(v, (int, float, np.number)) and v > 0 for v in values):
        return [float(i) for i in range(len(values))], "steps"
    places = [float(v) for v in values]
    return places, "log" if places[-1] >= 10 * places[0] else "linear"
