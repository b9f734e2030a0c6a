"""Images of one size side by side, as a single image, with texts below them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._namespace import HostArray
from ._figures import SMALL, room, small_points
from ._inks import Inks
from ._matplotlib import load_matplotlib
from ._texts import printable, shortened, widest, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = 1.25  # the height of a line, of the font's size
_LEAST_POINTS = 6.5  # of a text below a tile; a text that is too long even so is cut
_TALLEST = 20.0  # inches of all tiles together
_NARROWEST = 3.4  # inches of a figure, for its caption
_MOST_PIXELS = 4096  # along each axis of all tiles together, without their gaps


def arranged(n_tiles: int, columns: int | None) -> tuple[int, int]:
    """Give the numbers of rows and columns; where free, few places stay empty, and the page is wide."""
    if columns is None:
        ideal = math.sqrt(1.6 * n_tiles)
        candidates = range(math.ceil(math.sqrt(n_tiles)), math.ceil(math.sqrt(3 * n_tiles)) + 1)
        columns = min(candidates, key=lambda n: (-n_tiles % n, abs(n - ideal)))
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1; got {columns}")
    columns = min(columns, n_tiles)
    return math.ceil(n_tiles / columns), columns


def mosaic_size(
    n_rows: int, columns: int, shape: tuple[int, int], texts: Sequence[str] = ()
) -> tuple[float, float]:
    """Give the inches that suit tiles of one shape, with these texts below them."""
    height, width = shape
    # With texts, wide enough for them in 8 points.
    tile = max(0.85, 0.1 + widest(texts, 8) / 72) if texts else 0.85
    tile = min(tile, (9.6 if texts else 7.6) / columns)
    tile = max(tile, (_NARROWEST - 0.2) / columns)
    # A series of a thousand values is an image of a thousand rows.
    tile = min(tile, _TALLEST * width / (n_rows * height))
    below = 0.33 if texts else 0.0
    return max(columns * tile + 0.2, _NARROWEST), n_rows * (tile * height / width + below) + 0.65


def draw_mosaic(
    ax: Axes,
    inks: Inks,
    tiles: HostArray,
    n_rows: int,
    columns: int,
    caption: str,
    texts: Sequence[str] = (),
) -> None:
    """Draw images (n, H, W, 1 or 3), each in a thin frame, and a caption below all."""
    count, height, width, _ = tiles.shape
    # More pixels than a picture has room for would only take memory.
    step = math.ceil(max(n_rows * height, columns * width) / _MOST_PIXELS)
    # Small images are enlarged by a whole factor, so that the gaps can be thinner than their pixels.
    factor = math.ceil(32 / max(height, width))
    tiles = tiles[:, ::step, ::step].repeat(factor, axis=1).repeat(factor, axis=2)
    inner = tiles.shape[1:3]
    gap = max(1, round(0.04 * min(inner)))
    points, below = _text_size(ax, inner, n_rows, columns, texts)
    # The paper shows around the images, and in places without one.
    height, width = inner[0] + 2 * gap + below, inner[1] + 2 * gap
    page = np.zeros((n_rows, height, columns, width, 4), np.uint8)
    for i, tile in enumerate(tiles):
        place = page[i // columns, gap : gap + inner[0], i % columns, gap : gap + inner[1]]
        place[..., :3], place[..., 3] = np.rint(255 * tile), 255
    ax.grid(False)
    ax.imshow(page.reshape(n_rows * height, columns * width, 4), interpolation="none")
    corners = [(i % columns * width + gap - 0.5, i // columns * height + gap - 0.5) for i in range(count)]
    matplotlib = load_matplotlib()
    ax.add_collection(
        matplotlib.collections.PatchCollection(
            [matplotlib.patches.Rectangle(corner, inner[1], inner[0]) for corner in corners],
            facecolor="none",
            edgecolor=inks.rule,
            linewidth=0.6,
        )
    )
    for (left, top), text in zip(corners, texts, strict=False):
        ax.text(
            left + inner[1] / 2,
            top + inner[0] + gap / 2,
            text,
            ha="center",
            va="top",
            color=inks.ink,
            fontsize=points,
            linespacing=1.1,
            parse_math=False,
            usetex=False,
        )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    caption = wrapped(caption.split(), max(room(ax)[0], 100.0), small_points())
    ax.set_anchor("N")  # so that the room that is left is below, where the caption is
    ax.set_xlabel(caption, fontsize=SMALL, color=inks.muted)


def _text_size(
    ax: Axes, shape: tuple[int, int], n_rows: int, columns: int, texts: Sequence[str]
) -> tuple[float, int]:
    """Give the size of a font that fits below the tiles, in points, and its two lines' height, in pixels."""
    points = small_points()
    if not texts:
        return points, 0
    tile = _tile_width(ax, shape, n_rows, columns)
    points = max(min(points, 0.95 * tile * points / max(widest(texts, points), 1.0)), _LEAST_POINTS)
    return points, math.ceil((2 * _LINE * points + 2) * shape[1] / tile)


def room_for_names(ax: Axes, shape: tuple[int, int], n_rows: int, columns: int, beside: str) -> float:
    """Give the room for a text below a tile with another beside it, in points, in the smallest font."""
    return max(0.95 * _tile_width(ax, shape, n_rows, columns) - width_of(beside, _LEAST_POINTS), 10.0)


def shortened_names(names: Sequence[str], width: float) -> list[str]:
    """Give names in one line each that are no wider than this in the smallest font."""
    return [shortened(printable(name).replace("\n", " "), width, _LEAST_POINTS) for name in names]


def _tile_width(ax: Axes, shape: tuple[int, int], n_rows: int, columns: int) -> float:
    """Give the points that a tile has across, with two lines of text below it."""
    across, up = room(ax)
    height, width = shape
    return max(1.0, min(across / columns, (up / n_rows - 2 * _LINE * small_points()) * width / height))
