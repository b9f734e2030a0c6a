"""A run's history: the loss of every step beside the accuracy of every epoch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._namespace import HostArray
from ..report import one_network
from ._figures import BLUE, INK, MUTED, PALE, RULE, SMALL, VERMILLION, drawing, load_matplotlib, ring

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..training.history import History

_HIGHEST = 1e100  # beyond it matplotlib's axes overflow


def plot_history(history: History, *, title: str | None = None, baseline: float | None = None) -> Figure:
    """Draw the loss of every step beside the accuracy of every epoch.

    Parameters
    ----------
    history : History
        Of one network (``history.select(k)`` of a stack).
    title : str, optional
        A heading.
    baseline : float, optional
        An accuracy to compare with, drawn as a dashed line: that of chance, or of another classifier.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the loss, with a moving average over it; on a logarithmic axis where it spans two decades; if it
        stops being finite, the step is marked. Right, the accuracy on the training batches and, where there
        is one, on the validation set, its best value marked.

    Raises
    ------
    ValueError
        If the history is of a stack.
    ImportError
        If matplotlib is not installed.
    """
    losses = one_network(history)
    with drawing(8.4, 3.3, title) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.06})
        _frame(left, "Loss", "step")
        _draw_losses(left, losses)
        step = _diverged_at(history)
        if step is not None:
            _mark_divergence(left, step, losses)
        _frame(right, "Accuracy", "epoch")
        _draw_accuracies(right, history, baseline)
    return figure


def _frame(axes: Axes, title: str, x_label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.grid(axis="y")
    axes.tick_params(length=3)


def _draw_losses(axes: Axes, losses: HostArray) -> None:
    axes.set_xlim(0, max(losses.size, 1))
    n_finite = _n_finite(losses)
    if not n_finite:
        axes.set_yticks([])
        return
    shown = np.clip(losses[:n_finite], -_HIGHEST, _HIGHEST)
    axes.plot(
        np.arange(1, n_finite + 1),
        shown,
        color=BLUE,
        alpha=0.35,
        linewidth=0.8,
        marker="o" if n_finite <= 2 else None,
        # Thousands of segments are a burden in a vector format, and no clearer there.
        rasterized=n_finite > 5000,
        label="loss",
    )
    centres, smooth = smoothed(shown)
    axes.plot(centres, smooth, color=BLUE, linewidth=1.6, label="smoothed loss")
    positive = smooth[smooth > 0]
    if positive.size and positive.max() >= 100 * positive.min():
        axes.set_yscale("log")
        axes.set_ylim(float(positive.min()) / 2, 2 * float(shown.max()))


def smoothed(losses: HostArray) -> tuple[HostArray, HostArray]:
    """Give the moving average over a fiftieth of the steps, and before it the steps at which it stands."""
    starts = np.arange(0, losses.size, math.ceil(losses.size / 2000))
    counts = np.diff(starts, append=losses.size)
    means = np.add.reduceat(losses, starts) / counts
    window = np.ones(max(1, round(means.size / 50)))
    weights = np.convolve(np.ones(means.size), window, mode="same")
    return starts + (counts + 1) / 2, np.convolve(means, window, mode="same") / weights


def _n_finite(losses: HostArray) -> int:
    """Count the losses before the first that is not finite."""
    return int(np.logical_and.accumulate(np.isfinite(losses)).sum())


def _diverged_at(history: History) -> int | None:
    """Give the step that ``Run.diverged`` names, in the first epoch whose training accuracy is nan."""
    n_finite, lost = _n_finite(history.loss), np.isnan(history.train_accuracy)
    found = [n_finite + 1] if n_finite < history.loss.size else []
    found += [int(history.step[np.argmax(lost)])] if lost.any() else []
    return min(found, default=None)


def _mark_divergence(axes: Axes, step: int, losses: HostArray) -> None:
    axes.axvspan(step, losses.size, facecolor=PALE, edgecolor=RULE, hatch="////", linewidth=0)
    axes.axvline(step, color=VERMILLION, linewidth=1.4, label="diverged")
    # Beside the line stands the label where the hatching has room for it, else before it, off the curve.
    late = step > losses.size / 2
    low = False
    if late and step > 1:
        last = axes.transScale.transform((step, min(losses[step - 2], _HIGHEST)))
        low = axes.transLimits.transform(last)[1] > 0.5
    axes.annotate(
        f"diverged at step {step}",
        (step, 0.05 if low else 0.95),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if late else 6, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom" if low else "top",
        color=VERMILLION,
        fontsize=SMALL,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )


def _draw_accuracies(axes: Axes, history: History, baseline: float | None) -> None:
    n_epochs = max(len(history.step), 1)
    heights: list[float] = []
    labels: list[tuple[float, str, str]] = []  # height, text, colour
    for name, accuracy, colour in (
        ("training", history.train_accuracy, BLUE),
        ("validation", history.validation_accuracy, VERMILLION),
    ):
        finite = accuracy[np.isfinite(accuracy)].tolist()
        if not finite:
            continue
        axes.plot(
            range(1, accuracy.size + 1),
            accuracy,
            color=colour,
            linewidth=1.6,
            marker="o" if n_epochs <= 20 else None,
            markersize=3.5,
            label=name,
        )
        heights += finite
        labels.append((finite[-1], f"{name} {finite[-1]:.3f}", colour))
        if name == "validation":
            epoch = int(np.nanargmax(accuracy)) + 1
            ring(axes, epoch, max(finite))
            labels.append((max(finite), f"best {max(finite):.3f}, epoch {epoch}", INK))
    if baseline is not None:
        axes.axhline(baseline, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="baseline")
        heights.append(baseline)
        labels.append((baseline, f"baseline {baseline:.3f}", MUTED))

    if not heights:
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "no epoch to show", transform=axes.transAxes, ha="center", color=MUTED, fontsize=SMALL
        )
        heights = [0.0, 1.0]
    low, high = min(heights), max(heights)
    margin = max(0.08 * (high - low), 0.025)
    axes.set_ylim(max(low - margin, -0.01), min(high + margin, 1.02))
    side = 0.03 * max(n_epochs - 1, 1)
    axes.set_xlim(1 - side, n_epochs + side)
    whole = load_matplotlib().ticker.MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(whole)
    _label_heights(axes, labels)


def _label_heights(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write texts to the right of the axes, each at its height or as near as there is room."""
    bottom, top = axes.get_ylim()
    places = _apart([(height - bottom) / (top - bottom) for height, _, _ in labels], 0.075)
    for (_, text, colour), place in zip(labels, places, strict=True):
        axes.annotate(
            text,
            (1, place),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=SMALL,
        )


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move labels until neighbours are ``gap`` apart, and keep their order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = list(heights)
    for _ in range(100):
        for lower, upper in itertools.pairwise(order):
            overlap = max(0.0, gap - (placed[upper] - placed[lower]))
            placed[lower] -= overlap / 2
            placed[upper] += overlap / 2
    return placed
