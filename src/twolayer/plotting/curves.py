"""The course of training: the loss of every step, and the accuracy of every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .._namespace import HostArray
from ..report import one_network
from ._figures import SMALL, axes_for, room, small_points
from ._inks import MARKERS, Inks, inks_of
from ._matplotlib import load_matplotlib
from ._texts import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from ..training.history import History

_HIGHEST = 1e100  # beyond it matplotlib's axes overflow


def plot_loss(history: History | Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """Draw the loss of every step, and its moving average.

    Parameters
    ----------
    history : History or mapping of str to History
        Of one network (``history.select(k)`` of a stack); or several of them, each with its name, of which
        the moving averages are drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        On a logarithmic axis where the loss spans two decades. Where it stops being finite, the step is
        marked.

    Raises
    ------
    ValueError
        If a history is of a stack, or there is none.
    ImportError
        If matplotlib cannot be imported.
    """
    histories = _named(history)
    losses = {name: one_network(each) for name, each in histories.items()}
    ax = axes_for(ax, *_size(histories))
    inks = inks_of(ax)
    _prepare(ax, inks, "step", "loss")
    ax.set_xlim(0, max(1, *(each.size for each in losses.values())))
    named: dict[Line2D, str] = {}
    if isinstance(history, Mapping):
        names = _shortened(ax, histories)
        for index, (name, each) in enumerate(zip(names, histories.values(), strict=True)):
            line, text = _draw_one_of_several(ax, inks, index, name, each)
            named[line] = text
    else:
        _draw_losses(ax, inks, losses[""])
    _fit_losses(ax, [each[: _n_finite(each)] for each in losses.values()])
    if not isinstance(history, Mapping):
        step = _diverged_at(history)
        if step is not None:
            _mark_divergence(ax, inks, step, losses[""])
    if named or ax.get_legend_handles_labels()[0]:
        inks.legend(ax, named, loc=_free_corner(losses[""]) if "" in losses else "best")
    return ax


def plot_accuracy(history: History | Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of every epoch: on its training batches and on the validation set.

    Parameters
    ----------
    history : History or mapping of str to History
        Of one network (``history.select(k)`` of a stack), or several of them, each with its name.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The training accuracy is dashed. The best epoch, the first of the highest validation accuracy, has a
        ring. The legend gives the accuracies of the last epoch and of the best one.

    Raises
    ------
    ValueError
        If a history is of a stack, or there is none.
    ImportError
        If matplotlib cannot be imported.
    """
    histories = _named(history)
    for each in histories.values():
        one_network(each)
    ax = axes_for(ax, *_size(histories))
    inks = inks_of(ax)
    _prepare(ax, inks, "epoch", "accuracy")
    named: dict[Line2D, str] = {}
    heights: list[float] = []
    if isinstance(history, Mapping):
        names = _shortened(ax, histories)
        for index, (name, each) in enumerate(zip(names, histories.values(), strict=True)):
            line, text = _draw_named_accuracies(ax, inks, index, name, each)
            named[line] = text
            heights += _finite_accuracies(each)
    else:
        heights = _draw_accuracies(ax, inks, history)
    n_epochs = max(1, *(len(each.step) for each in histories.values()))
    side = 0.03 * max(n_epochs - 1, 1)
    ax.set_xlim(1 - side, n_epochs + side)
    whole = load_matplotlib().ticker.MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    ax.xaxis.set_major_locator(whole)
    if not heights:
        ax.set_yticks([])
        ax.text(
            *(0.5, 0.5, "no epoch to show"),
            transform=ax.transAxes,
            ha="center",
            color=inks.muted,
            fontsize=SMALL,
        )
        return ax
    low, high = min(heights), max(heights)
    margin = max(0.08 * (high - low), 0.025)
    ax.set_ylim(max(low - margin, -0.01), min(high + margin, 1.02))
    if isinstance(history, Mapping):
        ax.plot([], [], color=inks.muted, linestyle=(0, (4, 2)), linewidth=1.1, label="training")
    inks.legend(ax, named, loc="best")
    return ax


def _named(history: History | Mapping[str, History]) -> dict[str, History]:
    if not isinstance(history, Mapping):
        return {"": history}
    if not history:
        raise ValueError("`history` must hold at least one history; got none")
    return dict(history)


def _size(histories: Mapping[str, History]) -> tuple[float, float]:
    """Give the inches that suit curves with these names, each of which has a line in the legend."""
    return 5.4, max(3.4, 2.4 + 0.2 * len(histories))


def _shortened(ax: Axes, names: Iterable[str]) -> list[str]:
    """Give names that leave room for the curves beside the legend."""
    return [shortened(name, 0.45 * room(ax)[0], small_points()) for name in names]


def _prepare(ax: Axes, inks: Inks, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(axis="y", color=inks.faint, linewidth=0.8, linestyle="-")
    ax.set_axisbelow(True)


def _draw_losses(ax: Axes, inks: Inks, losses: HostArray) -> None:
    finite = losses[: _n_finite(losses)]
    if not finite.size:
        return
    shown = np.clip(finite, -_HIGHEST, _HIGHEST)
    ax.plot(
        np.arange(1, shown.size + 1),
        shown,
        color=inks.colours[0],
        alpha=0.4,
        linewidth=0.8,
        marker="o" if shown.size <= 2 else None,
        # Thousands of segments are a burden in a vector format, and no clearer there.
        rasterized=shown.size > 2000,
        label="each step",
    )
    if shown.size > 2:
        centres, smooth = smoothed(shown)
        ax.plot(centres, smooth, color=inks.colours[0], linewidth=2, label="moving average")


def _draw_one_of_several(ax: Axes, inks: Inks, index: int, name: str, history: History) -> tuple[Line2D, str]:
    """Draw a moving average; return its line and its text in the legend."""
    losses, step = history.loss, _diverged_at(history)
    finite = losses[: _n_finite(losses)]
    label = name if step is None else f"{name}, diverged at step {step}"
    if not finite.size:
        (line,) = ax.plot([], [], color=_colour(inks, index), marker="x", linestyle="none", label=label)
        return line, label
    centres, smooth = smoothed(np.clip(finite, -_HIGHEST, _HIGHEST))
    line = _draw_marked(ax, inks, index, centres, smooth, label=label)
    if step is not None:
        ax.plot(centres[-1:], smooth[-1:], color=_colour(inks, index), marker="x", markersize=9, mew=2)
    return line, label


def _draw_marked(
    ax: Axes, inks: Inks, index: int, x: HostArray, y: HostArray, *, label: str, dashed: bool = False
) -> Line2D:
    """Draw one of several curves, which colour and markers tell apart."""
    every = max(1, x.size // 10)
    (line,) = ax.plot(
        x,
        y,
        color=_colour(inks, index),
        linestyle=(0, (4, 2)) if dashed else "-",
        linewidth=1.1 if dashed else 1.8,
        marker=MARKERS[index % len(MARKERS)],
        markersize=4 if dashed else 5.5,
        markerfacecolor=inks.paper if dashed else None,
        # Markers of different curves at different places.
        markevery=(index % every, every),
        label=label,
    )
    return line


def _colour(inks: Inks, index: int) -> str:
    return inks.colours[index % len(inks.colours)]


def _fit_losses(ax: Axes, losses: list[HostArray]) -> None:
    losses = [np.clip(each, -_HIGHEST, _HIGHEST) for each in losses if each.size]
    if not losses:
        ax.set_yticks([])
        return
    smooth = np.concatenate([smoothed(each)[1] for each in losses])
    positive = smooth[smooth > 0]
    if positive.size and positive.max() >= 100 * positive.min():
        ax.set_yscale("log")
        ax.set_ylim(float(positive.min()) / 2, 2 * max(float(each.max()) for each in losses))


def smoothed(losses: HostArray) -> tuple[HostArray, HostArray]:
    """Give the moving average over a fiftieth of the steps, and before it the steps at which it stands."""
    starts = np.arange(0, losses.size, math.ceil(losses.size / 2000))
    counts = np.diff(starts, append=losses.size)
    means = np.add.reduceat(losses, starts) / counts
    window = np.ones(max(1, round(means.size / 50)))
    weights = np.convolve(np.ones(means.size), window, mode="same")
    return starts + (counts + 1) / 2, np.convolve(means, window, mode="same") / weights


def _free_corner(losses: HostArray) -> str:
    # "best" would look at every step.
    smooth = smoothed(losses[: _n_finite(losses)])[1]
    return "upper left" if smooth[-1] > smooth[0] else "upper right"


def _n_finite(losses: HostArray) -> int:
    """Count the losses before the first that is not finite."""
    return int(np.logical_and.accumulate(np.isfinite(losses)).sum())


def _diverged_at(history: History) -> int | None:
    """Give the step that ``Run.diverged`` names, in the first epoch whose training accuracy is nan."""
    n_finite, lost = _n_finite(history.loss), np.isnan(history.train_accuracy)
    found = [n_finite + 1] if n_finite < history.loss.size else []
    found += [int(history.step[np.argmax(lost)])] if lost.any() else []
    return min(found, default=None)


def _mark_divergence(ax: Axes, inks: Inks, step: int, losses: HostArray) -> None:
    # The curve keeps its legend: the line has its own words beside it.
    colour = inks.colours[1]
    ax.axvspan(step, losses.size, facecolor=inks.pale, edgecolor=inks.rule, hatch="////", linewidth=0)
    ax.axvline(step, color=colour, linewidth=1.6, linestyle=(0, (5, 1)), label="_diverged")
    # Beside the line stands the label where the hatching has room for it, else before it, off the curve.
    late = step > losses.size / 2
    low = True
    if late and step > 1:
        last = ax.transScale.transform((step, min(losses[step - 2], _HIGHEST)))
        low = ax.transLimits.transform(last)[1] > 0.5
    ax.annotate(
        f"diverged at step {step}",
        (step, 0.05 if low else 0.72),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if late else 6, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom" if low else "top",
        color=inks.ink,
        fontsize=SMALL,
        bbox={"facecolor": inks.paper, "edgecolor": colour, "linewidth": 0.8, "pad": 2},
    )


def _draw_accuracies(ax: Axes, inks: Inks, history: History) -> list[float]:
    heights: list[float] = []
    for index, (name, accuracy) in enumerate(
        (("training", history.train_accuracy), ("validation", history.validation_accuracy))
    ):
        finite = accuracy[np.isfinite(accuracy)].tolist()
        if not finite:
            continue
        dashed = name == "training"
        few = accuracy.size <= 20
        ax.plot(
            range(1, accuracy.size + 1),
            accuracy,
            color=inks.colours[index],
            linestyle=(0, (4, 2)) if dashed else "-",
            linewidth=1.4 if dashed else 1.8,
            marker=MARKERS[1 - index] if few else None,
            markersize=3.5,
            label=f"{name} {finite[-1]:.3f}",
        )
        heights += finite
        if name == "validation":
            epoch = int(np.nanargmax(accuracy)) + 1
            inks.ring(ax, epoch, max(finite), label=f"best {max(finite):.3f}, epoch {epoch}")
    return heights


def _draw_named_accuracies(
    ax: Axes, inks: Inks, index: int, name: str, history: History
) -> tuple[Line2D, str]:
    """Draw one history of several; return its line and its text in the legend."""
    epochs = np.arange(1, history.step.size + 1)
    validation, training = history.validation_accuracy, history.train_accuracy
    if np.isfinite(training).any():
        _draw_marked(ax, inks, index, epochs, training, label=f"_{name}, training", dashed=True)
    if np.isfinite(validation).any():
        epoch = int(np.nanargmax(validation)) + 1
        best = float(validation[epoch - 1])
        text = f"{name}: best {best:.3f}, epoch {epoch}"
        line = _draw_marked(ax, inks, index, epochs, validation, label=text)
        inks.ring(ax, epoch, best, label="_best")
        return line, text
    heights = _finite_accuracies(history)
    marker = MARKERS[index % len(MARKERS)] if heights else "x"
    text = f"{name}: training {heights[-1]:.3f}" if heights else f"{name}: no epoch to show"
    (line,) = ax.plot([], [], color=_colour(inks, index), marker=marker, linestyle="none", label=text)
    return line, text


def _finite_accuracies(history: History) -> list[float]:
    """Give the finite accuracies of a history: those of the validation, then those of the training."""
    both = np.concatenate([history.validation_accuracy, history.train_accuracy])
    finite: list[float] = both[np.isfinite(both)].tolist()
    return finite
