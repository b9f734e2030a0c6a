"""The column of a sweep's table that is drawn: its numbers, colours and texts, and the winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..report import Row, format_accuracy, has_diverged, is_finite, label, winner
from ._figures import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Column:
    """The column of a table that is drawn, with its colours and the winner."""

    name: str
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

    def add_colour_bar(self, figure: Figure, axes: list[Axes]) -> None:
        """Add the scale of the colours, where there are any, beside ``axes``."""
        if self.scale is None:
            return
        bar = figure.colorbar(self.scale, ax=axes, label=label(self.name), fraction=0.05, pad=0.02, aspect=25)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)


def column_of(table: Sequence[Row], name: str, *, mark_best: bool) -> Column:
    """Give a column with its scale of colours, and the winner where it is to be marked."""
    judged = "validation_accuracy" if any("validation_accuracy" in row for row in table) else name
    column = Column(name, winner(table, value=judged) if mark_best else None)
    numbers = [column.number(row) for row in table if column.shown(row)]
    if not numbers:
        return column
    low, high = min(numbers), max(numbers)
    margin = 0.0 if high > low else 0.01
    matplotlib = load_matplotlib()
    norm = matplotlib.colors.Normalize(low - margin, high + margin)
    return replace(column, scale=matplotlib.cm.ScalarMappable(norm, matplotlib.colormaps["viridis"]))


def values_of(table: Sequence[Row], name: str) -> list[Any]:
    """Give the different values of a column, sorted: numbers first, then text, then none."""
    values = {row.get(name) for row in table}
    return sorted(values, key=lambda v: (v is None, isinstance(v, str), 0 if v is None else v))


def settings_of(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """Give a row's values in these columns."""
    return tuple(row.get(name) for name in names)


def axis_label(name: str) -> str:
    """Give the words for a setting along an axis."""
    return "reg (L2 penalty)" if name == "reg" else label(name)
