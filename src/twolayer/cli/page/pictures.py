"""Pictures of the page, each on a light and on a dark background, with its content in words."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import plotting
from ..._texts import size_in_words
from ...plotting import _matplotlib, run_figures
from ...plotting._style import house_style
from ...plotting._texts import missing_characters
from ...plotting.confusion import MOST_DRAWN
from ...report.formatting import count, format_accuracy, is_finite, settings_in_words
from ...report.metrics import expected_calibration_error
from ...report.tables import Row, has_diverged, varying, winner
from ...settings import label
from ..console import Console
from ..stored_run import StoredRun
from .content import listed
from .tables import MOST_CLASSES, data_uri, pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS = {"svg": "image/svg+xml", "png": "image/png"}
_PIXELS_AN_INCH = 96  # as CSS defines them


class Picture(NamedTuple):
    """A picture for the template: two data: URIs, its size in pixels, and its content in words."""

    kind: str
    light: str
    dark: str
    width: int
    height: int
    alt: str


def drawn(run: StoredRun, console: Console) -> dict[str, list[Picture]]:
    """Return the pictures of a run, by the parts of the page; show the progress."""
    _matplotlib.load_without_backend()
    parts: dict[str, list[Picture]] = defaultdict(list)
    drawings = [*_drawings(run)]
    for part, draw, alt in console.counted("Drawing pictures", drawings, len(drawings)):
        kind = "png" if part == "weights" else "svg"
        with house_style(dark=True):
            dark = _encoded(draw(), kind)
        with house_style():
            figure = draw()
            light = _encoded(figure, kind)
        width, height = (round(inches * _PIXELS_AN_INCH) for inches in figure.get_size_inches())
        parts[part].append(Picture(kind, light, dark, width, height, alt))
    return parts


def _drawings(run: StoredRun) -> Iterator[tuple[str, Callable[..., Figure], str]]:
    """Yield, for each picture, the part of the page, a function that draws it, and its content in words."""
    results, history, table = run.results, run.history, run.results.table
    if len(table) > 1:
        yield "candidates", partial(run_figures.grid, table), _table_in_words(table)
        n_varying = len(varying(table))
        if n_varying > 1:
            draw = _on_axes(max(1.5 * n_varying + 2.0, 4.5), 3.6, plotting.plot_parallel_coordinates, table)
            alt = "a line for each candidate, through its settings to its validation accuracy"
            yield "candidates", draw, f"Parallel coordinates: {alt}. {_best_in_words(table)}"
    if run.folds_of_best:
        yield "candidates", partial(run_figures.folds, run.folds_of_best), _folds_in_words(run.folds_of_best)
    if history is not None and history.loss.size:
        yield "course", _on_axes(5.2, 3.2, plotting.plot_loss, history), _loss_in_words(history.loss)
        if np.isfinite([history.train_accuracy, history.validation_accuracy]).any():
            yield "course", _on_axes(5.2, 3.2, plotting.plot_accuracy, history), _accuracies_in_words(history)
    if results.test is not None and MOST_CLASSES < len(results.classes) <= MOST_DRAWN:
        draw = partial(run_figures.confusion, results.test.confusion.matrix(), results.classes)
        yield "classes", draw, _confusion_in_words(run)
    if run.predictions is not None:
        y, probs = run.predictions.y, run.predictions.probabilities
        confidence, accuracy = probs.max(axis=1).mean(), (probs.argmax(axis=1) == y).mean()
        yield (
            "calibration",
            _on_axes(4.4, 4.2, plotting.plot_calibration, y, probs),
            "Accuracy on the test samples over the probability of their predicted class: the mean "
            f"probability is {confidence:.3f}, the accuracy {accuracy:.3f}, the expected calibration error "
            f"{expected_calibration_error(y, probs):.3f}.",
        )
    if run.net is not None and run.image_shape is not None:
        n_hidden, size = run.net.n_hidden, size_in_words(run.image_shape[:2])
        units = count(n_hidden, "hidden unit") if n_hidden <= 100 else f"100 of {n_hidden:,} hidden units"
        alt = f"The first-layer weights of {units} as images of {size} pixels, side by side."
        yield "weights", partial(run_figures.weights, run.net, run.image_shape), alt


def _on_axes(width: float, height: float, plot: Callable[..., Any], *arguments: Any) -> Callable[..., Figure]:
    return partial(run_figures.on_axes, (width, height), plot, *arguments)


def _encoded(figure: Figure, kind: str) -> str:
    """Return a figure as a data: URI; the same figure gives the same bytes."""
    matplotlib = _matplotlib.load_matplotlib()
    stream = io.BytesIO()
    # Let the browser draw the letters: it has fonts for scripts that matplotlib's font lacks.
    style = {"svg.hashsalt": "twolayer", "svg.fonttype": "none"}
    with matplotlib.rc_context(style), missing_characters():
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, facecolor="none", metadata=metadata)
    return data_uri(_FORMATS[kind], stream.getvalue())


def _table_in_words(table: Sequence[Row]) -> str:
    accuracies = [row.get("validation_accuracy") for row in table]
    known = [accuracy for accuracy in accuracies if is_finite(accuracy)]
    n_diverged = sum(map(has_diverged, table))
    names = listed([label(name) for name in varying(table)])
    text = f"Validation accuracy of {count(len(table), 'candidate')} over {names}."
    if known:
        text += f" It ranges from {min(known):.3f} to {max(known):.3f}. {_best_in_words(table)}"
    if n_diverged:
        text += f" {count(n_diverged, 'candidate')} diverged."
    return text


def _best_in_words(table: Sequence[Row]) -> str:
    best = winner(table)
    if best is None:
        return "All diverged."
    words = ", ".join(settings_in_words(best, varying(table)))
    return f"The best, {words}, has {format_accuracy(best.get('validation_accuracy'))}."


def _folds_in_words(runs: Sequence[Row]) -> str:
    words = ", ".join(f"{format_accuracy(row.get('validation_accuracy'))} on {row['fold']}" for row in runs)
    return f"Validation accuracies of the best candidate's networks on their folds: {words}."


def _loss_in_words(loss: Any) -> str:
    finite = np.flatnonzero(np.isfinite(loss))
    if not len(finite):
        return "Loss of each step: not finite from the first step on."
    ends = (f"{loss[place]:.3g} at step {place + 1:,}" for place in (finite[0], finite[-1]))
    text = f"Loss of each step: from {' to '.join(ends)}"
    if len(finite) < len(loss):
        text += f"; from step {np.argmin(np.isfinite(loss)) + 1:,} on it is not finite"
    return f"{text}."


def _accuracies_in_words(history: Any) -> str:
    parts = []
    for name, values in (("training", history.train_accuracy), ("validation", history.validation_accuracy)):
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            best = int(finite[np.argmax(values[finite])])
            ends = f"from {values[finite[0]]:.3f} to {values[finite[-1]]:.3f}"
            parts.append(f"{name} {ends}, at most {values[best]:.3f} in epoch {best + 1}")
    return f"Accuracy of each epoch: {'; '.join(parts)}."


def _confusion_in_words(run: StoredRun) -> str:
    text = f"Confusion matrix of {len(run.results.classes)} classes."
    for most in pairs(run)[:1]:
        text += (
            f" The most frequent confusion is {most['true']} with {most['predicted']}: {most['count']} times."
        )
    return text
