"""Pictures of confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.metrics import confusion_counts
from ._matplotlib import load_matplotlib
from ._style import axes_for, bare, ink_on, room
from ._texts import SMALL, below, beside, names_of, tick_points, write_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DRAWN = 1000  # classes: a picture of more would have cells of less than a pixel

_MOST_ANNOTATED = 25  # classes whose names and numbers are drawn
_CELL = 0.46  # inches
_LARGEST = 7.5  # inches: the side of a matrix of more classes


def plot_confusion(
    confusion: Any, classes: Sequence[str], *, percentages: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix: hits in blue, errors in orange, as shares of each true class.

    Parameters
    ----------
    confusion : array_like of int, shape (C, C)
        Row i, column j: the number of samples of class i predicted as class j (`report.confusion_matrix`).
    classes : sequence of str, length C
        The classes' names.
    percentages : bool
        Whether to write shares of the true class, in per cent, instead of counts.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Cells without samples are blank. Names and numbers are left out if there are more than 25 classes.

    Raises
    ------
    TypeError
        If the counts are not a plain array: for example, a masked array.
    ValueError
        If the counts are not a square matrix, do not fit the names, or there are more than 1,000 classes.
    ImportError
        If matplotlib cannot be imported.
    """
    counts = confusion_counts(confusion, classes)
    n_classes = len(classes)
    if n_classes > MOST_DRAWN:
        raise ValueError(f"`classes` must name at most {MOST_DRAWN:,} classes to be drawn; got {n_classes:,}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax, inks = axes_for(ax, *confusion_size(classes))
    matplotlib = load_matplotlib()
    if inks.dark:
        hue = matplotlib.colors.LinearSegmentedColormap.from_list
        errors, right = (hue("", [inks.paper, inks.colours[index]]) for index in (1, 0))
    else:
        errors, right = (matplotlib.colormaps[name] for name in ("Oranges", "Blues"))
    # Square roots, so that errors of 1 % are visible beside hits of 100 %.
    cells = errors(0.85 * np.sqrt(shares))
    hits = np.eye(n_classes, dtype=bool)
    cells[hits] = right(0.9 * shares[hits])
    cells[counts == 0] = (*inks.paper, 1)
    bare(ax, frame=True)
    ax.imshow(cells, interpolation="none")
    if n_classes <= _MOST_ANNOTATED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            share = 100 * shares[i, j]
            text = (f"{share:.0f}" if share >= 0.5 else "<1") if percentages else str(counts[i, j])
            ink = ink_on(tuple(cells[i, j]))
            ax.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=ink)
        across, up = room(ax)
        names = names_of(classes, 0.5 * across)
        write_names(ax, names, names, min(72 * _CELL, across / n_classes, up / n_classes))
        inks.grid(ax, which="minor")
    # The ticks are then numbers, which a reader could mistake for the names of classes.
    place = ", by its place" if n_classes > _MOST_ANNOTATED else ""
    ax.set_xlabel(f"predicted class{place}" + (" (% of the true class)" if percentages else ""))
    ax.set_ylabel(f"true class{place}")
    return ax


def too_many(n_classes: int) -> str:
    """Return the reason, for a message, why there is no picture of so many classes."""
    return f"it would have {n_classes:,} classes, and a picture has room for {MOST_DRAWN:,}"


def confusion_size(classes: Sequence[str]) -> tuple[float, float]:
    """Return the size of a figure, in inches, for a confusion matrix, with names in the current style."""
    n_classes = len(classes)
    if n_classes > _MOST_ANNOTATED:
        return _LARGEST + 0.9, _LARGEST + 0.9
    names, side = names_of(classes), _CELL * n_classes
    height, _ = below(names, 72 * _CELL)
    # A matrix of few classes still needs room for the labels of its axes.
    width = max(side, 0.3 * tick_points()) + beside(names) / 72
    return width + 0.55, side + height / 72 + 0.55
