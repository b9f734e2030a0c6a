"""What all pictures share: matplotlib, one style, and the figure that it is drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart.
BLUE = "#0072B2"
VERMILLION = "#D55E00"
INK = "#1a1a1a"
MUTED = "#666666"
RULE = "#b0b0b0"
GRID = "#e8e8e8"
PALE = "#f0f0f0"

SMALL, MEDIUM, LARGE = 8.5, 9.5, 11

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": MEDIUM,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": MEDIUM,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.size": MEDIUM,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.color": RULE,
    "hatch.linewidth": 0.8,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": RULE,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}
_FONTS = ("font.family", "font.sans-serif", "font.serif", "font.monospace")


def load_matplotlib() -> Any:
    """Import matplotlib and those of its modules that are used here; pyplot is not among them."""
    for module in ("cm", "colors", "figure", "patches", "style", "ticker"):
        require(f"matplotlib.{module}", extra="plots", purpose="Drawing")
    return require("matplotlib", extra="plots", purpose="Drawing")


@contextmanager
def drawing(width: float, height: float, title: str | None) -> Iterator[Figure]:
    """Yield an empty figure; while it is drawn on, this module's style is in force and no other."""
    matplotlib = load_matplotlib()
    fonts = {name: matplotlib.rcParams[name] for name in _FONTS}
    with matplotlib.style.context(fonts | _STYLE, after_reset=True):
        figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
        if title is not None:
            figure.suptitle(title, x=0.01, ha="left", fontsize=LARGE, fontweight="bold")
        yield figure
        # How many ticks there is room for is asked again at every drawing: by this size, not by the setting
        # of that moment.
        for axes in figure.axes:
            axes.tick_params(labelsize=SMALL)


def heading_height(title: str | None) -> float:
    """Give the inches that a heading takes, where the contents decide on a figure's height."""
    return 0.3 if title else 0.0


def ring(axes: Axes, x: float, y: float) -> None:
    """Mark the best of the points of a curve or a plane."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=1.6,
        linestyle="none",
        label="best",
        zorder=4,
    )


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Give the colour of text that can be read on ``colour``, by its luma (ITU-R BT.601)."""
    red, green, blue, _ = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
