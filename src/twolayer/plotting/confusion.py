"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..report import confusion_counts
from ._figures import SMALL, axes_for, load_matplotlib
from ._inks import ink_on, inks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ANNOTATED = 25


def plot_confusion(
    confusion: Any, classes: Sequence[str], *, percentages: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix: hits in blue, errors in orange, as shares of each true class.

    Parameters
    ----------
    confusion : array_like of int, shape (C, C)
        Row i, column j: how many samples of class i were predicted as class j (`report.confusion_matrix`).
    classes : sequence of str, length C
        The classes' names.
    percentages : bool
        Whether to write shares of the true class, in per cent, instead of counts.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Cells without samples are blank.

    Raises
    ------
    TypeError
        If the counts are a masked array, or one of another kind that is not plain.
    ValueError
        If the counts are not square or do not fit the names.
    ImportError
        If matplotlib cannot be imported.
    """
    counts = confusion_counts(confusion, classes)
    n_classes = len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = axes_for(ax, *confusion_size(classes))
    inks = inks_of(ax)
    matplotlib = load_matplotlib()
    if inks.dark:
        hue = matplotlib.colors.LinearSegmentedColormap.from_list
        errors, right = (hue("", [inks.paper, inks.colours[index]]) for index in (1, 0))
    else:
        errors, right = (matplotlib.colormaps[name] for name in ("Oranges", "Blues"))
    # Square roots, so that errors of one per cent are seen beside hits of a hundred.
    cells = errors(0.85 * np.sqrt(shares))
    hits = np.eye(n_classes, dtype=bool)
    cells[hits] = right(0.9 * shares[hits])
    cells[counts == 0] = (*inks.paper, 1)
    ax.grid(False)
    ax.imshow(cells, interpolation="none")
    if n_classes <= _MOST_ANNOTATED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            share = 100 * shares[i, j]
            text = (f"{share:.0f}" if share >= 0.5 else "<1") if percentages else str(counts[i, j])
            ink = ink_on(tuple(cells[i, j]))
            ax.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=ink)
        slanted = _are_long(classes)
        # A name may hold a dollar or two.
        plain = {"parse_math": False}
        ax.set_xticks(
            range(n_classes),
            classes,
            rotation=45 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor",
            **plain,
        )
        ax.set_yticks(range(n_classes), classes, **plain)
    ax.set_xticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.grid(which="minor", color=inks.faint, linewidth=0.8, linestyle="-")
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(True)
    ax.set_xlabel("predicted class" + (" (% of the true class)" if percentages else ""))
    ax.set_ylabel("true class")
    return ax


def confusion_size(classes: Sequence[str]) -> tuple[float, float]:
    """Give the inches that suit a confusion matrix."""
    n_classes = len(classes)
    side = (0.46 if n_classes <= _MOST_ANNOTATED else 7.5 / n_classes) * n_classes
    return side + (1.4 if _are_long(classes) else 0.9), side + (1.35 if _are_long(classes) else 0.9)


def _are_long(classes: Sequence[str]) -> bool:
    return max((len(str(name)) for name in classes), default=0) > 3
