"""Where pictures are drawn: the user's axes, a new figure of pyplot, or a figure in the house's style."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._extras import require
from ._matplotlib import load_matplotlib
from ._texts import as_written, shortened, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Relative to the user's font.
SMALL = "small"

TICK_POINTS = 8.5  # of the house's style
_WIDEST_TITLE = 6.0  # inches
_POINTS, _TITLE_POINTS = 10, 11


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """Give ``ax`` or, where it is None, the axes of a new figure of pyplot, its size in inches."""
    load_matplotlib()
    if ax is not None:
        return ax
    pyplot = require("matplotlib.pyplot", extra="plots", purpose="Drawing")
    new: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return new


def room(ax: Axes) -> tuple[float, float]:
    """Give the points that the axes have across and up; of a layout engine, about what it will give."""
    figure: Any = ax.get_figure()
    spec = ax.get_subplotspec()
    box = ax.get_window_extent()
    across, up = box.width, box.height
    if figure.get_layout_engine() is not None and spec is not None:
        rows, columns = spec.get_gridspec().get_geometry()
        across = 0.95 * figure.bbox.width * len(spec.colspan) / columns
        up = 0.9 * figure.bbox.height * len(spec.rowspan) / rows
    return across * 72 / figure.dpi, up * 72 / figure.dpi


def small_points() -> float:
    """Give the size of small texts in the style of this moment."""
    return float(load_matplotlib().font_manager.FontProperties(size=SMALL).get_size_in_points())


def tick_points() -> float:
    """Give the size of the texts along axes in the current style."""
    matplotlib = load_matplotlib()
    size = matplotlib.rcParams["xtick.labelsize"]
    return float(matplotlib.font_manager.FontProperties(size=size).get_size_in_points())


@contextmanager
def figure(width: float, height: float, title: str | None = None, *, dark: bool = False) -> Iterator[Figure]:
    """Yield an empty figure; while it is drawn on, the house's style is in force and no other.

    Parameters
    ----------
    width, height : float
        Inches; a heading comes on top of them, and a long one makes the figure wider.
    title : str, optional
        A heading.
    dark : bool
        Whether it is to stand on dark paper: light ink, and nothing behind it.
    """
    matplotlib = load_matplotlib()
    style = _style(dark=dark)
    # Class names may be in any script, for which users set fonts.
    for name in ("font.family", "font.sans-serif", "font.serif", "font.monospace"):
        style[name] = matplotlib.rcParams[name]
    with matplotlib.style.context(style, after_reset=True):
        size = (width, height + (0.3 if title else 0))
        page = matplotlib.figure.Figure(figsize=size, layout="constrained")
        if title:
            # A file's name may be long, and hold a dollar or two.
            text = shortened(title, 72 * max(width, _WIDEST_TITLE), _TITLE_POINTS, weight="bold")
            # A rasteriser may set letters a little wider than their outlines are.
            needed = 1.02 * width_of(text, _TITLE_POINTS, weight="bold") / 72 + 0.2
            more_lines = 0.2 * text.count("\n")
            page.set_size_inches(max(width, needed), size[1] + more_lines)
            heading = page.suptitle(text, x=0.01, ha="left", fontsize=_TITLE_POINTS, fontweight="bold")
            as_written([heading])
        yield page
        # How many ticks there is room for is asked again at every drawing: by this size, not by the setting
        # of that moment.
        for axes in page.axes:
            axes.tick_params(labelsize=TICK_POINTS)


def _style(*, dark: bool) -> dict[str, Any]:
    ink, rule, paper = ("#e6e6e6", "#6f6f6f", "none") if dark else ("#1a1a1a", "#b0b0b0", "white")
    return {
        "axes.edgecolor": rule,
        "axes.facecolor": paper,
        "axes.labelcolor": ink,
        "axes.labelsize": 9.5,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.unicode_minus": True,
        "figure.dpi": 150,
        "figure.facecolor": paper,
        "font.size": _POINTS,
        "hatch.linewidth": 0.8,
        "lines.solid_capstyle": "round",
        "text.color": ink,
        "xtick.color": rule,
        "xtick.labelcolor": ink,
        "xtick.labelsize": TICK_POINTS,
        "xtick.major.size": 3,
        "ytick.color": rule,
        "ytick.labelcolor": ink,
        "ytick.labelsize": TICK_POINTS,
        "ytick.major.size": 3,
    }
