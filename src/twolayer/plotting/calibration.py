"""The reliability diagram: how well predicted probabilities fit the accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.metrics import calibration_bins
from ._style import axes_for
from ._texts import SMALL, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRIP = (-0.24, -0.04)  # the lower and upper end of the bars of counts, below the diagram


def plot_calibration(y: Any, probs: Any, *, n_bins: int = 10, ax: Axes | None = None) -> Axes:
    """Draw a reliability diagram: the accuracy over the confidence, the probability of the predicted class.

    Parameters
    ----------
    y : array of int, shape (N,)
        The class labels, an array of any library.
    probs : array of float, shape (N, C)
        The predicted probabilities of the classes, as ``net.predict_proba(X)`` returns them.
    n_bins : int
        Number of bins of equal width into which the confidences are divided.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        A point for each bin that has samples, at its mean confidence (x) and its accuracy (y). A vertical
        line shows its gap to the diagonal, on which calibrated probabilities lie. Bars below show the number
        of samples of each bin. The text contains the expected calibration error
        (`report.expected_calibration_error`).

    Raises
    ------
    TypeError
        If the labels are not integers or the probabilities not floating.
    ValueError
        If the labels and probabilities do not fit each other, are out of range or empty, or ``n_bins`` is
        below 1.
    ImportError
        If matplotlib cannot be imported.
    """
    bins = calibration_bins(y, probs, n_bins)
    ax, inks = axes_for(ax, 4.6, 4.8)
    blue, contrast = inks.colours[:2]
    filled = bins.n_samples > 0
    confidence, accuracy, count = bins.confidence[filled], bins.accuracy[filled], bins.n_samples[filled]

    ax.plot([0, 1], [0, 1], color=inks.muted, linewidth=1, linestyle=(0, (4, 3)), label="calibrated")
    ax.vlines(confidence, confidence, accuracy, color=contrast, linewidth=2.5, label="gap")
    ax.plot(confidence, accuracy, color=blue, linewidth=1, label="_accuracy")
    style: Style = {"color": blue, "edgecolors": inks.paper, "linewidths": 0.8, "zorder": 2.5}
    ax.scatter(confidence, accuracy, 18 + 62 * count / count.max(), label="accuracy", **style)
    bottom, top = _STRIP
    heights = (top - bottom) * 0.68 * bins.n_samples / count.max()
    style = {"facecolor": inks.faint, "edgecolor": inks.rule, "linewidth": 0.8, "label": "samples"}
    ax.bar(bins.edges[:-1], heights, np.diff(bins.edges), bottom, align="edge", **style)
    if n_bins <= 12:  # the numbers of more bins would overlap
        middles = (bins.edges[:-1] + bins.edges[1:]) / 2
        tops = bottom + heights + 0.008
        style = {"ha": "center", "va": "bottom", "color": inks.muted, "fontsize": "x-small"}
        for middle, place, number in zip(middles[filled], tops[filled], count, strict=True):
            ax.text(middle, place, f"{number}", **style)
    n_samples = int(count.sum())
    words = (
        f"ECE {bins.expected_calibration_error:.3f}\n"
        f"accuracy {float(accuracy @ count) / n_samples:.3f}\n"
        f"mean confidence {float(confidence @ count) / n_samples:.3f}\n"
        f"{n_samples:,} sample{'s' if n_samples > 1 else ''}"
    )
    style = {"va": "top", "color": inks.ink, "fontsize": SMALL, "linespacing": 1.4}
    style["bbox"] = {"facecolor": inks.paper, "edgecolor": "none", "alpha": 0.85, "pad": 2}
    ax.text(0.03, 0.97, words, **style)
    inks.legend(ax, loc="lower right", bbox_to_anchor=(1, 0.22))
    ax.axhline(0, color=inks.rule, linewidth=0.8)
    inks.grid(ax)
    places = np.linspace(0, 1, 6)
    ax.set(xlim=(0, 1), ylim=(bottom, 1.02), xticks=places, yticks=places, ylabel="accuracy")
    ax.set_xlabel("confidence (probability of the predicted class)")
    return ax
