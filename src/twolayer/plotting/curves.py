"""Pictures of the course of training: the loss of every step, and the accuracy of every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._namespace import HostArray
from ..report.tables import one_network
from ._matplotlib import load_matplotlib
from ._style import DASHES, FROM_BELOW, MARKERS, Inks, axes_for, room
from ._texts import SMALL, Style, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from ..training.history import History

_HIGHEST = 1e100  # the largest loss that is drawn: matplotlib's axes overflow beyond it


def plot_loss(history: History | Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """Draw the loss of every step, and its moving average.

    Parameters
    ----------
    history : History or mapping of str to History
        The history of one network (``history.select(k)`` for a stack), or several of them by name. Of
        several, only the moving averages are drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The loss axis is logarithmic if the moving averages span two decades. The step at which a network
        diverged is marked.

    Raises
    ------
    ValueError
        If a history is that of a stack, or the mapping is empty.
    ImportError
        If matplotlib cannot be imported.
    """
    named, ax, inks = _prepared(history, ax, "step", "loss")
    losses = [_Losses(*each) for each in named]
    ax.set_xlim(0, max(1, *(each.n_steps for each in losses)))
    if isinstance(history, Mapping):
        lines = [_draw_average(ax, inks, index, each) for index, each in enumerate(losses)]
        _fit_losses(ax, losses)
        inks.legend(ax, lines, loc="best")
        return ax
    (one,) = losses
    _draw_losses(ax, inks, one)
    _fit_losses(ax, losses)
    if one.diverged is not None:
        _mark_divergence(ax, inks, one, one.diverged)
    # The place "best" would compare the legend with the points of every step, which takes long.
    rises = one.average.size and one.average[-1] > one.average[0]
    inks.legend(ax, loc="upper left" if rises else "upper right")
    return ax


def plot_accuracy(history: History | Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of every epoch: on its training batches and on the validation set.

    Parameters
    ----------
    history : History or mapping of str to History
        The history of one network (``history.select(k)`` for a stack), or several of them by name.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The training accuracy is dashed. A ring marks the best epoch, the first with the highest validation
        accuracy. For one history, the legend contains the accuracies of the last and of the best epoch; for
        several, the best validation accuracy of each, or without validation the last training accuracy.

    Raises
    ------
    ValueError
        If a history is that of a stack, or the mapping is empty.
    ImportError
        If matplotlib cannot be imported.
    """
    named, ax, inks = _prepared(history, ax, "epoch", "accuracy")
    lines: list[Line2D] = []
    if isinstance(history, Mapping):
        lines += [_draw_named_accuracies(ax, inks, index, *one) for index, one in enumerate(named)]
        ax.plot([], [], color=inks.muted, linestyle=DASHES, linewidth=1.1, label="training")
    else:
        _draw_accuracies(ax, inks, history)
    n_epochs = max(1, *(len(each.step) for _, each in named))
    side = 0.03 * max(n_epochs - 1, 1)
    ax.set_xlim(1 - side, n_epochs + side)
    whole = load_matplotlib().ticker.MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    ax.xaxis.set_major_locator(whole)
    heights = np.concatenate([[*each.validation_accuracy, *each.train_accuracy] for _, each in named])
    heights = heights[np.isfinite(heights)]
    if not heights.size:
        ax.set_yticks([])
        text = ax.text(0.5, 0.5, "no epoch to show", ha="center", color=inks.muted, fontsize=SMALL)
        text.set_transform(ax.transAxes)
        return ax
    low, high = float(heights.min()), float(heights.max())
    margin = max(0.08 * (high - low), 0.025)
    ax.set_ylim(max(low - margin, -0.01), min(high + margin, 1.02))
    inks.legend(ax, lines, loc="best")
    return ax


def _prepared(
    history: History | Mapping[str, History], ax: Axes | None, x_label: str, y_label: str
) -> tuple[list[tuple[str, History]], Axes, Inks]:
    """Check histories; return them with names that fit the legend, and the axes with their inks."""
    histories = history if isinstance(history, Mapping) else {"": history}
    if not histories:
        raise ValueError("`history` must hold at least one history; got none")
    for each in histories.values():
        one_network(each)
    ax, inks = axes_for(ax, 5.4, max(3.4, 2.4 + 0.2 * len(histories)))
    ax.set(xlabel=x_label, ylabel=y_label)
    inks.grid(ax, axis="y")
    width = 0.45 * room(ax)[0]
    return [(shortened(name, width), each) for name, each in histories.items()], ax, inks


class _Losses:
    """The losses of a history as they are drawn.

    Attributes
    ----------
    shown : array
        The losses before the first one that is not finite.
    centres, average : array
        The moving average, and the steps at which it is drawn.
    diverged : int or None
        The step in `Run.diverged`, which the history does not contain; it is found from the values.
    """

    def __init__(self, name: str, history: History) -> None:
        self.name, self.n_steps = name, history.loss.size
        n_finite = int(np.logical_and.accumulate(np.isfinite(history.loss)).sum())
        self.shown = np.clip(history.loss[:n_finite], -_HIGHEST, _HIGHEST)
        self.centres, self.average = smoothed(self.shown)
        found = [n_finite + 1] if n_finite < self.n_steps else []
        # If the last update of an epoch makes weights infinite, no loss shows it, but its accuracy is nan.
        found += history.step[np.isnan(history.train_accuracy)][:1].tolist()
        self.diverged = min(found, default=None)


def smoothed(losses: HostArray) -> tuple[HostArray, HostArray]:
    """Return the steps at which the moving average is drawn, and the average over a fiftieth of all steps."""
    if not losses.size:
        return losses, losses
    # Means of blocks first, so that a long run has at most 2,000 points.
    starts = np.arange(0, losses.size, math.ceil(losses.size / 2000))
    counts = np.diff(starts, append=losses.size)
    means = np.add.reduceat(losses, starts) / counts
    window = np.ones(max(1, round(means.size / 50)))
    weights = np.convolve(np.ones(means.size), window, mode="same")
    return starts + (counts + 1) / 2, np.convolve(means, window, mode="same") / weights


def _draw_losses(ax: Axes, inks: Inks, losses: _Losses) -> None:
    n_shown = losses.shown.size
    if not n_shown:
        return
    colour, marker = inks.colours[0], "o" if n_shown <= 2 else None
    steps = np.arange(1, n_shown + 1)
    (line,) = ax.plot(steps, losses.shown, color=colour, alpha=0.4, linewidth=0.8, marker=marker)
    # Thousands of segments would make a vector file large, and no clearer.
    line.set(label="each step", rasterized=n_shown > 2000)
    if n_shown > 2:
        ax.plot(losses.centres, losses.average, color=colour, linewidth=2, label="moving average")


def _draw_curve(ax: Axes, inks: Inks, index: int, x: Any, y: Any, label: str, **style: Any) -> Line2D:
    """Draw one of several curves, with its own colour and markers; return its line for the legend."""
    # Each curve has its markers at other places, so that they do not cover each other.
    every = max(1, len(x) // 10)
    own: Style = {"marker": MARKERS[index % len(MARKERS)], "markevery": (index % every, every)}
    own |= {"linestyle": "-", "linewidth": 1.8, "markersize": 5.5}
    colour = inks.colours[index % len(inks.colours)]
    (line,) = ax.plot(x, y, color=colour, label=label, **(own | style))
    return line


def _draw_average(ax: Axes, inks: Inks, index: int, losses: _Losses) -> Line2D:
    """Draw the moving average, with a cross at its end if the run diverged."""
    draw = partial(_draw_curve, ax, inks, index)
    cross: Style = {"marker": "x", "linestyle": "none"}
    label = losses.name if losses.diverged is None else f"{losses.name}, diverged at step {losses.diverged}"
    if not losses.shown.size:
        return draw([], [], label, markersize=6, **cross)
    line = draw(losses.centres, losses.average, label)
    if losses.diverged is not None:
        draw(losses.centres[-1:], losses.average[-1:], "_lost", markersize=9, mew=2, **cross)
    return line


def _draw_named_accuracies(ax: Axes, inks: Inks, index: int, name: str, history: History) -> Line2D:
    """Draw the accuracies, with the training accuracy dashed and a ring at the best epoch."""
    draw = partial(_draw_curve, ax, inks, index)
    epochs = np.arange(1, history.step.size + 1)
    validation, training = history.validation_accuracy, history.train_accuracy
    known = training[np.isfinite(training)]
    if known.size:
        dashed: Style = {"linestyle": DASHES, "linewidth": 1.1, "markersize": 4}
        draw(epochs, training, f"_{name}, training", markerfacecolor=inks.paper, **dashed)
    if np.isfinite(validation).any():
        best = _ring_best(ax, inks, validation, "_best")
        return draw(epochs, validation, f"{name}: {best}")
    label = f"training {known[-1]:.3f}" if known.size else "no epoch to show"
    style: Style = {} if known.size else {"marker": "x"}
    return draw([], [], f"{name}: {label}", linestyle="none", markersize=6, **style)


def _fit_losses(ax: Axes, losses: Sequence[_Losses]) -> None:
    shown = [each for each in losses if each.shown.size]
    if not shown:
        ax.set_yticks([])
        return
    # Single steps may have any loss, so the averages decide about the axis.
    average = np.concatenate([each.average for each in shown])
    positive = average[average > 0]
    if positive.size and positive.max() >= 100 * positive.min():
        ax.set_yscale("log")
        ax.set_ylim(float(positive.min()) / 2, 2 * max(float(each.shown.max()) for each in shown))


def _mark_divergence(ax: Axes, inks: Inks, losses: _Losses, step: int) -> None:
    # The words are beside the line, not in the legend, which belongs to the curves.
    colour = inks.colours[1]
    ax.axvspan(step, losses.n_steps, **inks.hatched)
    ax.axvline(step, color=colour, linewidth=1.6, linestyle=(0, (5, 1)), label="_diverged")
    # The label is right of the line, in the hatched area, if there is room; else left of it, off the curve.
    late = step > losses.n_steps / 2
    low = True
    if late and step > 1:
        last = ax.transScale.transform((step, losses.shown[step - 2]))
        low = ax.transLimits.transform(last)[1] > 0.5
    style: Style = {"ha": "right" if late else "left", "va": "bottom" if low else "top"}
    style["bbox"] = {"facecolor": inks.paper, "edgecolor": colour, "linewidth": 0.8, "pad": 2}
    place, offset = (step, 0.05 if low else 0.72), (-6 if late else 6, 0)
    inks.note(ax, f"diverged at step {step}", place, offset, xycoords=FROM_BELOW, **style)


def _draw_accuracies(ax: Axes, inks: Inks, history: History) -> None:
    curves = (
        ("training", history.train_accuracy, DASHES, 1.4, "s"),
        ("validation", history.validation_accuracy, "-", 1.8, "o"),
    )
    for (name, accuracy, dashes, width, marker), colour in zip(curves, inks.colours, strict=False):
        finite = accuracy[np.isfinite(accuracy)]
        if not finite.size:
            continue
        epochs, few = range(1, accuracy.size + 1), accuracy.size <= 20
        (line,) = ax.plot(epochs, accuracy, color=colour, linestyle=dashes, linewidth=width, ms=3.5)
        line.set(label=f"{name} {finite[-1]:.3f}", marker=marker if few else "none")
        if name == "validation":
            _ring_best(ax, inks, accuracy)


def _ring_best(ax: Axes, inks: Inks, accuracy: HostArray, label: str | None = None) -> str:
    """Mark the best epoch, the first of equals; return a description, which is the label by default."""
    place = int(np.nanargmax(accuracy))
    text = f"best {accuracy[place]:.3f}, epoch {place + 1}"
    inks.ring(ax, place + 1, accuracy[place], label=label or text)
    return text
