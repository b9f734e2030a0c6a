"""A sweep's table as pictures need it: a column of results with the winner, and settings along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ..report.formatting import format_accuracy, format_numbers, is_finite
from ..report.tables import Row, has_diverged, winner
from ..settings import SETTINGS, VARIED, label
from ..training.folds import n_networks
from ._matplotlib import load_matplotlib
from ._style import RGB, Inks
from ._texts import set_axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MEASURED = ("train_accuracy", "validation_accuracy", "test_accuracy")
_OWN = (
    *VARIED,
    *_MEASURED,
    *(f"{name}_std" for name in _MEASURED),
    "best_step",
    "n_steps",
    "n_seeds",
    "n_folds",
    "n_networks",
    "fold",
)


class Column:
    """The column of a table that is drawn.

    Attributes
    ----------
    judged : str
        The column that decides which row is the best in a table without ranks.
    best : mapping or None
        The winner, if it is marked.
    shown, lost : list of mappings
        The rows with a number to draw, the highest last; and the rows that diverged.
    norm : matplotlib.colors.Normalize or None
        Map of the numbers to [0, 1]; None without any numbers.
    """

    def __init__(self, table: Sequence[Row], name: str, *, mark_best: bool) -> None:
        self.name = name
        self.judged = "validation_accuracy" if any("validation_accuracy" in row for row in table) else name
        self.best = winner(table, value=self.judged) if mark_best else None
        self.shown = sorted(filter(self.shows, table), key=self.number)
        self.lost = [*filter(has_diverged, table)]
        self.norm: Any = None
        if self.shown:
            low, high = self.number(self.shown[0]), self.number(self.shown[-1])
            # If all numbers are equal, they are in the middle of a small range.
            margin = 0.0 if high > low else 0.01
            self.norm = load_matplotlib().colors.Normalize(low - margin, high + margin)

    def number(self, row: Row) -> float:
        """Return the number of a row to draw; nan if there is none or the row diverged."""
        number = row.get(self.name)
        return float(number) if is_finite(number) and not has_diverged(row) else math.nan

    def shows(self, row: Row | None) -> TypeGuard[Row]:
        """Return whether there is a row with a number to draw."""
        return row is not None and math.isfinite(self.number(row))

    def colour(self, row: Row, inks: Inks) -> RGB:
        """Return the colour of a number that is shown."""
        colour: RGB = inks.ramp(self.norm(self.number(row)))
        return colour

    def spread(self, row: Row) -> float:
        """Return the standard deviation over seeds and folds; 0 if there is none."""
        spread = row.get(f"{self.name}_std")
        return float(spread) if is_finite(spread) else 0.0

    def accuracy(self, row: Row) -> str:
        """Return the number as text, with its standard deviation if there is one."""
        return format_accuracy(row.get(self.name), row.get(f"{self.name}_std"))

    def text(self, row: Row) -> str:
        """Describe the row in a few short lines."""
        if has_diverged(row):
            return "diverged"
        some = f"\n{row['diverged']}/{n_networks(row)} diverged" if row.get("diverged") else ""
        left = f"\nrung {row['rung']}" if row.get("rung") else ""
        return self.accuracy(row).replace(" ", "\n", 1) + left + some

    def add_colour_bar(self, ax: Axes | list[Axes], inks: Inks, length: float) -> None:
        """Add a colour bar beside ``ax`` if there are numbers; its label has at most ``length`` points."""
        if self.norm is None:
            return
        figure: Any = (ax[0] if isinstance(ax, list) else ax).get_figure()
        # A layout engine makes room for the bar's texts; without one, the share must include it.
        share = 0.05 if figure.get_layout_engine() is not None else 0.18
        scale = load_matplotlib().cm.ScalarMappable(self.norm, inks.ramp)
        bar = figure.colorbar(scale, ax=ax, fraction=share, pad=0.02, aspect=25)
        bar.ax.yaxis.label.set_color(inks.ink)
        set_axis_label(bar.ax.yaxis, words(self.name), length)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelcolor=inks.ink)


class Scale:
    """A setting along an axis: its values in order, and a place for each.

    If all values are positive numbers, the places are the numbers. The axis is logarithmic if the largest is
    at least ten times the smallest, unless they are shares. Other values have equal steps.
    """

    def __init__(self, table: Sequence[Row], name: str) -> None:
        self.name = name
        self.values: list[Any] = sorted({row.get(name) for row in table}, key=order)
        self.kind, self.places = "steps", [float(i) for i in range(len(self.values))]
        if all(isinstance(v, (int, float, np.number)) and v > 0 for v in self.values):
            self.places = [float(v) for v in self.values]
            is_share = name in SETTINGS and SETTINGS[name].is_share
            self.kind = "log" if self.places[-1] >= 10 * self.places[0] and not is_share else "linear"
        self._place_of: dict[Any, float] = dict(zip(self.values, self.places, strict=True))

    def place(self, row: Row) -> float:
        """Return the place of a row's value."""
        return self._place_of[row.get(self.name)]

    def height(self, place: float) -> float:
        """Return the height of a place on an axis from 0 to 1, with a margin of 0.04 at both ends."""
        first, last = self._scaled(self.places[0]), self._scaled(self.places[-1])
        return 0.04 + 0.92 * (self._scaled(place) - first) / (last - first)

    @property
    def gap(self) -> float:
        """The smallest distance between two values on an axis from 0 to 1; 1 for a single value."""
        gaps = np.diff([*map(self._scaled, self.places)])
        return float(0.92 * gaps.min() / gaps.sum()) if gaps.size else 1.0

    def limits(self) -> list[float]:
        """Return limits for an axis, with a margin around the places."""
        first, last = self._scaled(self.places[0]), self._scaled(self.places[-1])
        margin = 0.08 * (last - first) or (0.5 if self.kind == "steps" else 0.1 * first)
        limits = [first - margin, last + margin]
        return [10.0**limit for limit in limits] if self.kind == "log" else limits

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Return the places that get a tick, at most ``most``, and their values as texts."""
        every = math.ceil(len(self.values) / most)
        return self.places[::every], format_numbers(self.values)[::every]

    def _scaled(self, place: float) -> float:
        return math.log10(place) if self.kind == "log" else place


def order(value: Any) -> tuple[bool, bool, Any]:
    """Return a key that sorts values: numbers first, then texts and objects by their text, then None."""
    is_number = isinstance(value, Real)
    return value is None, not is_number, value if is_number else str(value)


def grouped(table: Sequence[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows, grouped by their values in these columns."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def words(name: str) -> str:
    """Return the words for a column of a sweep's table; for a column that the user added, its name."""
    return label(name) if name in _OWN else name


def axis_label(name: str) -> str:
    """Return the label for a setting along an axis."""
    return "reg (L2 penalty)" if name == "reg" else words(name)


def check_table(table: Sequence[Row], names: Sequence[str]) -> None:
    """Raise unless the table has rows, and each column in at least one of them."""
    if not len(table):
        raise ValueError("`table` must have at least one row; got none")
    for name in dict.fromkeys(names):
        if not any(name in row for row in table):
            columns = ", ".join(dict.fromkeys(key for row in table for key in row))
            raise ValueError(f"`table` must have a column {name}; got {columns}")
