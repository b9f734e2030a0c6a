"""The colours of a picture, which follow from the ink and the paper of the axes that it is drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._figures import SMALL
from ._matplotlib import load_matplotlib
from ._texts import as_written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RGB = tuple[float, float, float]

# Okabe and Ito's colours, which people with any colour vision can tell apart, those first that stand out
# most from white and from black.
_ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ON_DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Inks:
    """The ink and the paper of some axes, and what is mixed from them."""

    ink: RGB
    paper: RGB

    @property
    def dark(self) -> bool:
        """Whether the paper is darker than the ink."""
        return luma(self.paper) < luma(self.ink)

    @property
    def muted(self) -> RGB:
        """Text that says less."""
        return mixed(self.paper, self.ink, 0.68)

    @property
    def rule(self) -> RGB:
        """Hatching and frames."""
        return mixed(self.paper, self.ink, 0.35)

    @property
    def faint(self) -> RGB:
        """Grid lines."""
        return mixed(self.paper, self.ink, 0.13)

    @property
    def pale(self) -> RGB:
        """Areas with nothing to show."""
        return mixed(self.paper, self.ink, 0.07)

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours that can be told apart, in lines and markers."""
        return _ON_DARK if self.dark else _ON_LIGHT

    @property
    def ramp(self) -> Any:
        """A scale of colours at whose upper end things stand out from the paper."""
        return load_matplotlib().colormaps["viridis" if self.dark else "viridis_r"]

    def outline(self, width: float) -> list[Any]:
        """Give the path effect that keeps ink apart from what is beneath it."""
        return [load_matplotlib().patheffects.withStroke(linewidth=width, foreground=self.paper)]

    def ring(self, ax: Axes, x: float, y: float, *, label: str = "best") -> None:
        """Mark the best of the points of a curve or a plane."""
        ax.plot(
            [x],
            [y],
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=self.ink,
            markeredgewidth=1.6,
            linestyle="none",
            label=label,
            zorder=4,
            path_effects=self.outline(3.2),
        )

    def legend(self, ax: Axes, named: Mapping[Any, str] = MappingProxyType({}), **where: Any) -> None:
        """Explain the lines and markers that have names, those in ``named`` first, by the texts in it."""
        own = where.pop("handles") if "handles" in where else ax.get_legend_handles_labels()[0]
        handles = [*named, *(handle for handle in own if handle not in named)]
        texts = [named[handle] if handle in named else str(handle.get_label()) for handle in handles]
        # A text that begins with an underscore would be left out, so it is set afterwards.
        where |= {"labelcolor": self.ink, "facecolor": self.paper, "edgecolor": "none"}
        made = ax.legend(handles, ["name"] * len(handles), fontsize=SMALL, **where)
        for entry, text in zip(made.get_texts(), texts, strict=True):
            entry.set_text(text)
        as_written(made.get_texts())


def inks_of(ax: Axes) -> Inks:
    """Read the ink off the axes' labels; the paper is what is behind it, or of the opposite lightness."""
    colors = load_matplotlib().colors
    ink = colors.to_rgb(ax.xaxis.label.get_color())
    paper = (1.0, 1.0, 1.0) if luma(ink) < 0.5 else (0.07, 0.08, 0.09)
    own: Any = ax.get_figure()
    for patch in (own.figure.patch, own.patch, ax.patch):  # of the whole, of the part, of the axes
        *colour, alpha = colors.to_rgba(patch.get_facecolor())
        if patch.get_visible():
            paper = mixed(paper, (colour[0], colour[1], colour[2]), alpha)
    return Inks(ink, paper)


def mixed(one: RGB, other: RGB, share: float) -> RGB:
    """Give the colour between two, with this share of the other."""
    red, green, blue = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return red, green, blue


def luma(colour: RGB | tuple[float, float, float, float]) -> float:
    """Give a colour's lightness (ITU-R BT.601)."""
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def ink_on(colour: RGB | tuple[float, float, float, float]) -> str:
    """Give the colour of text that can be read on ``colour``."""
    return "#1a1a1a" if luma(colour) > 0.5 else "white"
