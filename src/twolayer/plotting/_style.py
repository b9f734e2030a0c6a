"""Axes to draw on, their colours, marks that pictures share, and figures in the package's own style."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .._optional import require
from ._matplotlib import load_matplotlib
from ._texts import AS_WRITTEN, SMALL, shortened, width_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RGB = tuple[float, ...]
XY = tuple[float, float]

# Okabe and Ito's colours, which people with any colour vision can distinguish. The first ones have the most
# contrast with white and with black.
_ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ON_DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = (0, (4, 2))
FROM_BELOW = ("data", "axes fraction")  # coordinates of a note: x in data, y from 0 to 1 in the axes

_WIDEST_TITLE = 6.0  # inches
_TITLE_POINTS = 11


class Inks:
    """The colours of some axes: the ink of their labels, the paper behind it, and mixtures of both.

    Attributes
    ----------
    ink, paper : tuple of float
        Colours of texts, and of the background.
    muted, rule, faint, pale : tuple of float
        Colours of secondary texts, of hatching and frames, of grid lines, and of areas with nothing to show.
    dark : bool
        Whether the paper is darker than the ink.
    colours : tuple of str
        Distinct colours for lines and markers.
    ramp : matplotlib.colors.Colormap
        A colour map whose upper end has the most contrast with the paper.
    """

    def __init__(self, ax: Axes) -> None:
        matplotlib = load_matplotlib()
        self.ink: RGB = matplotlib.colors.to_rgb(ax.xaxis.label.get_color())
        # If every background is transparent, the paper is assumed to contrast with the ink.
        self.paper: RGB = (1.0, 1.0, 1.0) if luma(self.ink) < 0.5 else (0.07, 0.08, 0.09)
        own: Any = ax.get_figure()
        for patch in (own.figure.patch, own.patch, ax.patch):  # of the figure, the subfigure and the axes
            if patch.get_visible():
                *colour, alpha = matplotlib.colors.to_rgba(patch.get_facecolor())
                self.paper = _mixed(self.paper, colour, alpha)
        shares = (0.68, 0.35, 0.13, 0.07)
        self.muted, self.rule, self.faint, self.pale = (_mixed(self.paper, self.ink, s) for s in shares)
        self.dark = luma(self.paper) < luma(self.ink)
        self.colours = _ON_DARK if self.dark else _ON_LIGHT
        self.ramp: Any = matplotlib.colormaps["viridis" if self.dark else "viridis_r"]

    @property
    def hatched(self) -> dict[str, Any]:
        """The style of an area that stands for divergence."""
        return {"facecolor": self.pale, "edgecolor": self.rule, "hatch": "////", "linewidth": 0}

    def outline(self, width: float) -> list[Any]:
        """Return the path effect that separates ink from what is drawn beneath it."""
        return [load_matplotlib().patheffects.withStroke(linewidth=width, foreground=self.paper)]

    def grid(self, ax: Axes, **which: Any) -> None:
        """Draw faint lines at the ticks, behind everything else."""
        ax.grid(color=self.faint, linewidth=0.8, linestyle="-", **which)
        ax.set_axisbelow(True)

    def ring(self, ax: Axes, x: float, y: float, *, label: str = "best") -> None:
        """Mark the best point of a curve or a plane."""
        (mark,) = ax.plot(x, y, "o", color=self.ink, fillstyle="none", markersize=10, mew=1.6, zorder=4)
        mark.set(label=label, path_effects=self.outline(3.2))

    def note(self, ax: Axes, text: str, xy: XY, offset: XY, outline: float = 0, **style: Any) -> None:
        """Write a text at an offset, in points, from the point ``xy``, with an outline of this width."""
        style = {"color": self.ink, "fontsize": SMALL, **AS_WRITTEN, **style}
        note = ax.annotate(text, xy, xytext=offset, textcoords="offset points", **style)
        if outline:
            note.set_path_effects(self.outline(outline))

    def legend(self, ax: Axes, first: Sequence[Artist] = (), **where: Any) -> None:
        """Add a legend: first of all artists in ``first``, then of the others that have a public label."""
        handles = [*first, *(one for one in ax.get_legend_handles_labels()[0] if one not in first)]
        if not handles:
            return
        where |= {"labelcolor": self.ink, "facecolor": self.paper, "edgecolor": "none"}
        made = ax.legend(handles, ["name"] * len(handles), fontsize=SMALL, **where)
        # matplotlib leaves out labels that begin with an underscore, as a user's name of a run may. So the
        # texts are set afterwards.
        for entry, handle in zip(made.get_texts(), handles, strict=True):
            entry.set(text=handle.get_label(), **AS_WRITTEN)


def axes_for(ax: Axes | None, width: float, height: float) -> tuple[Axes, Inks]:
    """Return the axes to draw on and their inks: ``ax``, or new axes of pyplot of this size in inches."""
    load_matplotlib()
    if ax is None:
        pyplot = require("matplotlib.pyplot", extra="plots", purpose="Drawing")
        ax = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return ax, Inks(ax)


def _mixed(one: Sequence[float], other: Sequence[float], share: float) -> RGB:
    """Return a mixture of two colours, with this share of the other."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))


def luma(colour: Sequence[float]) -> float:
    """Return a colour's lightness (ITU-R BT.601)."""
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def ink_on(colour: Sequence[float]) -> str:
    """Return a text colour that is legible on ``colour``."""
    return "#1a1a1a" if luma(colour) > 0.5 else "white"


def bare(ax: Axes, *, frame: bool = False) -> None:
    """Remove grid lines and tick marks from axes and, without ``frame``, the lines around them."""
    ax.grid(False)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(frame)


def room(ax: Axes) -> tuple[float, float]:
    """Return the width and height of the axes in points.

    A layout engine sets the size only when the figure is drawn, so this is then an estimate.
    """
    figure: Any = ax.get_figure()
    spec = ax.get_subplotspec()
    box = ax.get_window_extent()
    across, up = box.width, box.height
    if figure.get_layout_engine() is not None and spec is not None:
        rows, columns = spec.get_gridspec().get_geometry()
        across = 0.95 * figure.bbox.width * len(spec.colspan) / columns
        up = 0.9 * figure.bbox.height * len(spec.rowspan) / rows
    return across * 72 / figure.dpi, up * 72 / figure.dpi


def house_style(*, dark: bool = False) -> AbstractContextManager[None]:
    """Return a context in which only the package's own style applies, for light or for dark paper.

    Save figures within it, because matplotlib makes ticks, and chooses the paper, when it draws a figure to a
    file. For dark paper, the figure has light ink and is transparent.
    """
    matplotlib = load_matplotlib()
    # The user's fonts are kept, because class names may be in any script.
    fonts = ("font.family", "font.sans-serif", "font.serif", "font.monospace")
    style: AbstractContextManager[None] = matplotlib.style.context(
        _settings(dark=dark) | {name: matplotlib.rcParams[name] for name in fonts}, after_reset=True
    )
    return style


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """Return an empty figure of this size in inches, without pyplot; a title on top makes it larger."""
    page: Figure = load_matplotlib().figure.Figure(figsize=(width, height), layout="constrained")
    if title:
        # The title may be the name of a file, which may be long and contain dollar signs.
        text = shortened(title, 72 * max(width, _WIDEST_TITLE), _TITLE_POINTS, weight="bold")
        # A rasteriser may draw letters a little wider than their outlines.
        needed = 1.02 * width_of(text, _TITLE_POINTS, weight="bold") / 72 + 0.2
        page.set_size_inches(max(width, needed), height + 0.3 + 0.2 * text.count("\n"))
        page.suptitle(text, x=0.01, ha="left", fontsize=_TITLE_POINTS, fontweight="bold", **AS_WRITTEN)
    return page


def _settings(*, dark: bool) -> dict[str, Any]:
    ink, rule, paper = ("#e6e6e6", "#6f6f6f", "none") if dark else ("#1a1a1a", "#b0b0b0", "white")
    both: dict[str, Any] = {"color": rule, "labelcolor": ink, "labelsize": 8.5, "major.size": 3}
    return {
        "axes.edgecolor": rule,
        "axes.facecolor": paper,
        "axes.labelcolor": ink,
        "axes.labelsize": 9.5,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "figure.dpi": 150,
        "figure.facecolor": paper,
        "hatch.linewidth": 0.8,
        "lines.solid_capstyle": "round",
        "text.color": ink,
        **{f"{axis}tick.{name}": value for axis in "xy" for name, value in both.items()},
    }
