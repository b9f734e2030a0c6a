"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..report import confusion_counts
from ._figures import GRID, SMALL, drawing, heading_height, ink_on, load_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_confusion(
    confusion: npt.ArrayLike,
    classes: Sequence[str],
    *,
    percentages: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw a confusion matrix: hits in blue, errors in orange, as shares of each true class.

    Parameters
    ----------
    confusion : array_like of int, shape (C, C)
        Row i, column j: how many samples of class i were predicted as class j (`report.confusion_matrix`).
    classes : sequence of str, length C
        The classes' names.
    percentages : bool
        Whether to write shares of the true class, in per cent, instead of counts.
    title : str, optional
        A heading.

    Returns
    -------
    matplotlib.figure.Figure
        Cells without samples are blank.

    Raises
    ------
    ValueError
        If the counts are not square or do not fit the names.
    ImportError
        If matplotlib is not installed.
    """
    counts = confusion_counts(confusion, classes)
    n_classes = len(classes)
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    matplotlib = load_matplotlib()
    # Square roots, so that errors of one per cent are seen beside hits of a hundred.
    strength = np.sqrt(shares)
    cells = matplotlib.colormaps["Oranges"](0.85 * strength)
    hits = np.eye(n_classes, dtype=bool)
    cells[hits] = matplotlib.colormaps["Blues"](0.9 * shares[hits])
    cells[counts == 0] = 1.0
    annotated = n_classes <= 25
    side = 0.46 if annotated else 7.5 / n_classes
    long_names = max((len(str(name)) for name in classes), default=0) > 3
    size = side * n_classes
    with drawing(
        size + (1.4 if long_names else 0.9),
        size + (1.35 if long_names else 0.9) + heading_height(title),
        title,
    ) as figure:
        axes = figure.subplots()
        axes.imshow(cells, interpolation="nearest")
        if annotated:
            for i, j in zip(*np.nonzero(counts), strict=True):
                share = 100 * shares[i, j]
                text = (f"{share:.0f}" if share >= 0.5 else "<1") if percentages else str(counts[i, j])
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=SMALL, color=ink_on(tuple(cells[i, j]))
                )
            axes.set_xticks(
                range(n_classes),
                classes,
                rotation=45 if long_names else 0,
                ha="right" if long_names else "center",
                rotation_mode="anchor",
            )
            axes.set_yticks(range(n_classes), classes)
        axes.set_xticks(np.arange(1, n_classes) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, n_classes) - 0.5, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.8)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(True)
        axes.set_xlabel("predicted class" + (" (% of the true class)" if percentages else ""))
        axes.set_ylabel("true class")
    return figure
