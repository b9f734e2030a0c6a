"""Figures of a run, as files in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import written_whole
from ..plotting import run_figures
from ..plotting._matplotlib import load_matplotlib, load_without_backend
from ..plotting._style import house_style
from ..plotting._texts import missing_characters
from ..plotting.confusion import MOST_DRAWN, too_many
from ..report.formatting import format_accuracy
from .stored_run import StoredRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CHARACTERS = 10  # that a warning names, of those that the font lacks


def draw(folder: Path, warn: Callable[[str], None], *, suffix: str = "png") -> list[Path]:
    """Draw the figures of a run from its files, and return their paths.

    Parameters
    ----------
    folder : Path
    warn : callable
        Called with a message about a figure that is not drawn, and about characters that the font lacks.
    suffix : str
        The format: png, svg or pdf.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError
        If a file in it is not what `twolayer train` and `sweep` write.
    ImportError
        If matplotlib cannot be imported.
    """
    run = StoredRun(folder)
    n_classes = 0 if run.results.test is None else len(run.results.classes)
    load_without_backend()
    if n_classes > MOST_DRAWN:
        warn(f"the confusion matrix is not drawn: {too_many(n_classes)}")
    paths = []
    with missing_characters() as missing, house_style():
        for name, figure in _figures(run).items():
            paths.append(folder / f"{name}.{suffix}")
            with written_whole(paths[-1]) as file:
                figure.savefig(file, format=suffix)
    if missing:
        more = f" and {len(missing) - _MOST_CHARACTERS:,} more" if len(missing) > _MOST_CHARACTERS else ""
        family = ", ".join(load_matplotlib().rcParams["font.family"])
        warn(
            f"the font of the pictures, {family}, lacks characters, which are drawn as boxes: "
            f"{' '.join(missing[:_MOST_CHARACTERS])}{more}; set `font.family` in a matplotlibrc file to a "
            "font that has them, and draw the pictures again with `twolayer plot`"
        )
    return paths


def _figures(run: StoredRun) -> dict[str, Figure]:
    """Return the figures of a run, by the names of their files without the suffix."""
    results, test = run.results, run.results.test
    figures = {}
    if run.history is not None and run.history.loss.size:
        figures["curves"] = run_figures.curves(run.history, results.heading)
    if len(results.table) > 1:
        figures["grid"] = run_figures.grid(results.table, results.table_heading)
    if run.folds_of_best:
        figures["folds"] = run_figures.folds(run.folds_of_best)
    if run.image_shape is not None and run.net is not None:
        figures["weights"] = run_figures.weights(run.net, run.image_shape, "First-layer weights")
    if test is not None and 0 < len(results.classes) <= MOST_DRAWN:
        title = f"{format_accuracy(test.accuracy)} of {test.n_samples:,} test samples right"
        figures["confusion"] = run_figures.confusion(test.confusion.matrix(), results.classes, title)
    return figures
