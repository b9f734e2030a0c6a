"""A sweep's table: which settings stand along the axes, and which kind of picture shows them best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report import Row, format_number, varying
from ._column import column_of, settings_of, values_of
from ._heat_maps import draw_heat_maps
from ._points import draw_line, draw_plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_grid(
    table: Sequence[Row],
    *,
    x: str = "learning_rate",
    y: str = "reg",
    value: str = "validation_accuracy",
    title: str | None = None,
    mark_best: bool = True,
) -> Figure:
    """Draw a sweep's table: as a heat map, or as points where that is clearer.

    Parameters
    ----------
    table : sequence of mappings
        ``result.table`` of a sweep, or ``result.runs``; also as read back from JSON.
    x, y : str
        The settings along the axes. One that has the same value in every row gives way to the first other
        that varies.
    value : str
        The column to draw.
    title : str, optional
        A heading.
    mark_best : bool
        Whether to outline the winner: the highest validation accuracy, whatever ``value`` is; in a table
        without it, the highest ``value``.

    Returns
    -------
    matplotlib.figure.Figure
        If two settings vary, a heat map, each cell with its value and, over several seeds, their standard
        deviation; a diverged candidate is hatched, one that is not in the table is blank. If more vary, one
        heat map for each combination of the others. If one varies, its points with their standard
        deviations. If the table is far from a full grid (fewer than a quarter of the cells), as after a
        random search, a point for each row on the plane of ``x`` and ``y``.

    Raises
    ------
    ValueError
        If the table is empty, does not have the columns, or has two rows of the same settings.
    ImportError
        If matplotlib is not installed.
    """
    if not table:
        raise ValueError("`table` must have at least one row; got none")
    for name in dict.fromkeys((x, y, value)):
        if not any(name in row for row in table):
            columns = ", ".join(dict.fromkeys(key for row in table for key in row))
            raise ValueError(f"`table` must have a column {name}; got {columns}")
    if x == y:
        raise ValueError(f"`x` and `y` must be two settings; got {x} for both")

    x, y, others = _choose_axes(table, x, y)
    column = column_of(table, value, mark_best=mark_best)
    if len(values_of(table, y)) == 1 and not others:
        _refuse_repeated(table, [x])
        return draw_line(table, x, column, title)
    n_panels = math.prod(len(values_of(table, name)) for name in others)
    if n_panels * len(values_of(table, x)) * len(values_of(table, y)) > 4 * len(table):
        return draw_plane(table, x, y, column, title)
    _refuse_repeated(table, [x, y, *others])
    return draw_heat_maps(table, x, y, others, column, title)


def _choose_axes(table: Sequence[Row], x: str, y: str) -> tuple[str, str, list[str]]:
    """Give the settings along the axes, and the others that vary."""
    free = [name for name in varying(table) if name not in (x, y)]
    if len(values_of(table, x)) == 1:
        # With nothing else that varies, the axis that does is the horizontal one.
        x, y = (free.pop(0), y) if free else (y, x) if len(values_of(table, y)) > 1 else (x, y)
    if len(values_of(table, y)) == 1 and free:
        y = free.pop(0)
    return x, y, free


def _refuse_repeated(table: Sequence[Row], names: Sequence[str]) -> None:
    seen = set()
    for row in table:
        settings = settings_of(row, names)
        if settings in seen:
            described = ", ".join(
                f"{name} {format_number(setting)}" for name, setting in zip(names, settings, strict=True)
            )
            raise ValueError(f"`table` must have one row for each setting; got two of {described}")
        seen.add(settings)
