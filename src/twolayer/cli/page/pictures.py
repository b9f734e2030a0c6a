"""The page's pictures, each for light and for dark paper, with a text that says what it shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import plotting, report
from ...plotting import _matplotlib, run_figures
from ...plotting._texts import without_warnings_of_glyphs
from ...plotting.confusion import MOST_DRAWN
from ..jobs import count
from .found import Found
from .samples import MOST_CLASSES, data_uri, pairs
from .settings import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FORMATS = {"svg": "image/svg+xml", "png": "image/png"}
_PIXELS_AN_INCH = 96  # of CSS


@dataclass(frozen=True)
class Picture:
    """A picture as the template has it: two data: URIs, pixels, and texts."""

    kind: str
    light: str
    dark: str
    width: int
    height: int
    alt: str
    caption: str


def drawn(found: Found) -> dict[str, list[Picture]]:
    """Draw the pictures that the run has, by the parts of the page."""
    _matplotlib.load_without_backend()
    parts: dict[str, list[Picture]] = {
        part: [] for part in ("candidates", "course", "classes", "calibration", "weights")
    }
    results, history, table = found.results, found.history, found.results.table
    if len(table) > 1:
        parts["candidates"].append(
            _picture(
                lambda dark: run_figures.grid(table, dark=dark), _table_in_words(table, "Validation accuracy")
            )
        )
        if len(report.varying(table)) > 1:
            size = max(1.5 * len(report.varying(table)) + 2.0, 4.5), 3.6
            parts["candidates"].append(
                _picture(
                    _on_axes(size, lambda ax: plotting.plot_parallel_coordinates(table, ax=ax)),
                    "Parallel coordinates: a line for each candidate, through its settings to its validation "
                    f"accuracy. {_best_in_words(table)}",
                )
            )
    if history is not None and history.loss.size:
        size = 5.2, 3.2
        parts["course"].append(
            _picture(
                _on_axes(size, lambda ax: plotting.plot_loss(history, ax=ax)), _loss_in_words(history.loss)
            )
        )
        if np.isfinite([history.train_accuracy, history.validation_accuracy]).any():
            parts["course"].append(
                _picture(
                    _on_axes(size, lambda ax: plotting.plot_accuracy(history, ax=ax)),
                    _accuracies_in_words(history),
                )
            )
    if results.test is not None and MOST_CLASSES < len(results.classes) <= MOST_DRAWN:
        test = results.test
        parts["classes"].append(
            _picture(
                lambda dark: run_figures.confusion(test.confusion.matrix(), results.classes, dark=dark),
                _confusion_in_words(found),
            )
        )
    if found.predictions is not None:
        y, probs = found.predictions.y, found.predictions.probabilities
        error = report.expected_calibration_error(y, probs)
        confidence, accuracy = probs.max(axis=1).mean(), (probs.argmax(axis=1) == y).mean()
        parts["calibration"].append(
            _picture(
                _on_axes((4.4, 4.2), lambda ax: plotting.plot_calibration(y, probs, ax=ax)),
                "Accuracy of the test samples over the probability of their predicted class: "
                f"on average {confidence:.3f}, where {accuracy:.3f} are right; expected calibration error "
                f"{error:.3f}.",
            )
        )
    if found.net is not None and found.image_shape is not None:
        net, shape = found.net, found.image_shape
        parts["weights"].append(
            _picture(
                lambda dark: run_figures.weights(net, shape, dark=dark),
                f"The first-layer weights of {_units(net.n_hidden)} as images of "
                f"{'×'.join(map(str, shape[:2]))} pixels, side by side.",
                suffix="png",
            )
        )
    return parts


def _units(n_hidden: int) -> str:
    return count(n_hidden, "hidden unit") if n_hidden <= 100 else f"100 of {n_hidden:,} hidden units"


def _on_axes(size: tuple[float, float], draw: Callable[[Axes], Any]) -> Callable[[bool], Figure]:
    return lambda dark: run_figures.drawn(draw, size, dark=dark)


def _picture(draw: Callable[[bool], Figure], alt: str, *, suffix: str = "svg", caption: str = "") -> Picture:
    figures = {dark: draw(dark) for dark in (False, True)}
    light, dark = (_encoded(figures[dark], suffix) for dark in (False, True))
    width, height = (round(inches * _PIXELS_AN_INCH) for inches in figures[False].get_size_inches())
    return Picture(suffix, light, dark, width, height, alt, caption)


def _encoded(figure: Figure, suffix: str) -> str:
    """Give a figure as a data: URI; the same figure gives the same bytes."""
    matplotlib = _matplotlib.load_matplotlib()
    stream = io.BytesIO()
    # The browser has the letters, for scripts too that matplotlib's font lacks.
    style = {"svg.hashsalt": "twolayer", "svg.fonttype": "none"}
    with matplotlib.rc_context(style), without_warnings_of_glyphs():
        metadata = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
        figure.savefig(stream, format=suffix, facecolor="none", metadata=metadata)
    return data_uri(_FORMATS[suffix], stream.getvalue())


def _table_in_words(table: Sequence[report.Row], what: str) -> str:
    numbers = [
        row["validation_accuracy"] for row in table if report.is_finite(row.get("validation_accuracy"))
    ]
    n_diverged = sum(map(report.has_diverged, table))
    names = [report.label(name) for name in report.varying(table)]
    text = f"Validation accuracy of {count(len(table), 'candidate')} over {' and '.join(names)}."
    if numbers:
        text += f" It goes from {min(numbers):.3f} to {max(numbers):.3f}. {_best_in_words(table)}"
    if n_diverged:
        text += f" {count(n_diverged, 'candidate')} diverged."
    return text


def _best_in_words(table: Sequence[report.Row]) -> str:
    best = report.winner(table)
    if best is None:
        return "All diverged."
    words = ", ".join(
        f"{report.label(name)} {in_words(best[name])}" for name in report.varying(table) if name in best
    )
    return f"The best, {words}, has {report.format_accuracy(best.get('validation_accuracy'))}."


def _loss_in_words(loss: Any) -> str:
    finite = np.flatnonzero(np.isfinite(loss))
    if not len(finite):
        return "Loss of each step: not finite from the first on."
    first, last = int(finite[0]), int(finite[-1])
    text = f"Loss of each step: from {loss[first]:.3g} at step {first + 1:,} to {loss[last]:.3g}"
    text += f" at step {last + 1:,}"
    if len(finite) < len(loss):
        wrong = int(np.flatnonzero(~np.isfinite(loss))[0])
        text += f"; from step {wrong + 1:,} on it is not finite"
    return text + "."


def _accuracies_in_words(history: Any) -> str:
    parts = []
    for name, values in (("training", history.train_accuracy), ("validation", history.validation_accuracy)):
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            best = int(finite[np.argmax(values[finite])])
            ends = f"from {values[finite[0]]:.3f} to {values[finite[-1]]:.3f}"
            parts.append(f"{name} {ends}, at most {values[best]:.3f} in epoch {best + 1}")
    return f"Accuracy of each epoch: {'; '.join(parts) or 'none is known'}."


def _confusion_in_words(found: Found) -> str:
    names = len(found.results.classes)
    most: Mapping[str, str] | None = next(iter(pairs(found)), None)
    text = f"Confusion matrix of {names} classes."
    if most is not None:
        text += f" Most often {most['true']} is taken for {most['predicted']}: {most['count']} times."
    return text
