"""Pictures made of images, side by side: what the hidden units look for, and what was mistaken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._namespace import HostArray, to_host
from .._validation import check_integer, check_network, host_values
from ..report.metrics import checked_predictions, most_wrong
from ._matplotlib import load_matplotlib
from ._style import Inks, axes_for, bare, inks_of, room
from ._texts import (
    AS_WRITTEN,
    LINE,
    LONGEST,
    SMALL,
    Style,
    printable,
    shortened,
    small_points,
    widest,
    width_of,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..network import TwoLayerNet

_LEAST_POINTS = 6.5  # of a text below a tile; a text that is too long even so is cut
_TALLEST = 20.0  # inches of all tiles together
_NARROWEST = 3.4  # inches of a figure, for its caption
_MOST_PIXELS = 4096  # along each axis of all tiles together, without their gaps


def plot_weights(
    net: TwoLayerNet,
    image_shape: Sequence[int],
    *,
    max_units: int = 100,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each hidden unit looks for: its weights in the first layer, as an image.

    The units come in the order of ‖W1_j‖ · ‖W2_j‖, the norm of their incoming weights times that of their
    outgoing ones, the largest first: it bounds what moving an image by a distance of 1 can change in the
    logits by way of unit j. Each tile is scaled by its own largest weight, so that zero is the middle of
    the scale in all of them: 0.5 + w / (2 max abs(w)). Units whose weights are not finite are left out.

    Parameters
    ----------
    net : TwoLayerNet
        One network, of any library, on any device.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an input image. One channel is drawn from black (negative) over grey to white (positive),
        three as colours around grey.
    max_units : int
        The most units to draw.
    columns : int, optional
        How many images stand in a row.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        All tiles as a single image. If the tiles together have more than 4,096 pixels along an axis, only
        every second pixel is drawn, or every third, and so on.

    Raises
    ------
    TypeError
        If ``net`` is not a network, or a number is not an integer.
    ValueError
        If the network is a stack, the shape is none of these or does not fit its features, no unit's weights
        are finite, or a number is not positive.
    ImportError
        If matplotlib cannot be imported.
    """
    check_network(net)
    if net.n_networks is not None:
        raise ValueError(
            f"`net` must be one network; got a stack of {net.n_networks} (`net.select(k)` gives one of them)"
        )
    height, width, n_channels = _image_shape(image_shape, net.n_features, "the network's features")
    check_integer("max_units", max_units, least=1)
    incoming = to_host(net.W1).astype(np.float64).T
    outgoing = to_host(net.W2).astype(np.float64)
    finite = np.isfinite(incoming).all(axis=1) & np.isfinite(outgoing).all(axis=1)
    if not finite.any():
        raise ValueError("`net` must have a hidden unit whose weights are finite; got none")
    sizes = np.linalg.norm(incoming[finite], axis=1) * np.linalg.norm(outgoing[finite], axis=1)
    order = np.argsort(-sizes, kind="stable")[:max_units]
    images = incoming[finite][order].reshape(-1, height, width, n_channels)
    largest = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    tiles = 0.5 + images / np.where(largest > 0, 2 * largest, 1.0)

    count = f"{len(tiles)} of {net.n_hidden}" if len(tiles) < net.n_hidden else f"{net.n_hidden}"
    units = "unit" if net.n_hidden == 1 else "units"
    caption = f"{count} hidden {units}" + (", largest first" if len(tiles) > 1 else "")
    caption += "; grey is zero" if n_channels == 3 else "; white positive, black negative"
    if not finite.all():
        caption += f"; {int((~finite).sum())} not finite"
    mosaic = arranged(len(tiles), (height, width), columns)
    ax = axes_for(ax, *mosaic.size())
    mosaic.draw(ax, inks_of(ax), tiles, caption)
    return ax


def plot_mistakes(
    X: Any,
    y: Any,
    probs: Any,
    classes: Sequence[str],
    image_shape: Sequence[int],
    *,
    max_images: int = 24,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the images that were taken for another class, the most wrong first.

    The most wrong is the one with the largest cross-entropy, −log of the probability of its true class.

    Parameters
    ----------
    X : array, shape (N, D) or (N, H, W) or (N, H, W, 3)
        The images, of any library; drawn between the least and the greatest value in them.
    y : array of int, shape (N,)
        The classes.
    probs : array of float, shape (N, C)
        The classes' predicted probabilities, as ``net.predict_proba(X)`` gives them; the largest is the
        prediction.
    classes : sequence of str, length C
        The classes' names.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an image; one channel is drawn as ink on paper, the greatest value black.
    max_images : int
        The most images to draw.
    columns : int, optional
        How many images stand in a row.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        All images as a single one, with fewer pixels if they are large, as in `plot_weights`; below each its
        true class, the predicted one and its probability.

    Raises
    ------
    TypeError
        If the labels or a number are not integers, or the probabilities not floating.
    ValueError
        If the shape, the labels, the probabilities or the names do not fit the images, there are none, or a
        number is not positive.
    ImportError
        If matplotlib cannot be imported.
    """
    host = host_values("X", X)
    if not host.ndim or not host.shape[0]:
        raise ValueError("`X` must hold at least one image; got none")
    true, given = checked_predictions(y, probs)
    if len(true) != len(host):
        raise ValueError(
            f"`y` must have one label for each of the {len(host)} images of `X`; got {len(true)}"
        )
    if len(classes) != given.shape[1]:
        raise ValueError(f"`classes` must name the {given.shape[1]} classes; got {len(classes)} names")
    height, width, n_channels = _image_shape(image_shape, math.prod(host.shape[1:]), "an image")
    check_integer("max_images", max_images, least=1)
    predicted = given.argmax(axis=1)
    wrong = most_wrong(true, given)
    chosen = wrong[:max_images]
    low, high = float(host.min()), float(host.max())
    tiles = host[chosen].astype(np.float64).reshape(-1, height, width, n_channels)
    tiles = (tiles - low) / ((high - low) or 1.0)
    if n_channels == 1:
        # Ink on paper.
        tiles = 1 - tiles
    pairs = list(zip(true[chosen].tolist(), predicted[chosen].tolist(), strict=True))
    shares = [f"{given[i, predicted[i]]:.2f}" for i in chosen]
    count = f"{len(chosen)} of {len(wrong)}" if len(chosen) < len(wrong) else f"{len(wrong) or 'no'}"
    caption = f"{count} mistake{'' if len(wrong) == 1 else 's'} in {len(true)} images"
    if not len(chosen):
        ax = axes_for(ax, 3.4, 1.0)
        ax.set_axis_off()
        ax.text(0.5, 0.5, caption, ha="center", va="center", color=inks_of(ax).muted, fontsize=SMALL)
        return ax
    caption += ", the most wrong first" if len(chosen) > 1 else ""
    caption += "; true → predicted class and its probability"
    mosaic = arranged(len(chosen), (height, width), columns)
    ax = axes_for(ax, *mosaic.size(_texts_of(pairs, _in_a_line(classes, LONGEST), shares)))
    names = _in_a_line(classes, mosaic.room_for_names(ax, "→  0.00"))
    mosaic.draw(ax, inks_of(ax), tiles, caption, _texts_of(pairs, names, shares))
    return ax


def _in_a_line(names: Sequence[str], width: float) -> list[str]:
    """Return names in one line each that are no wider than this in the smallest font."""
    return [shortened(printable(name).replace("\n", " "), width, _LEAST_POINTS) for name in names]


def _texts_of(pairs: Sequence[tuple[int, int]], names: Sequence[str], shares: Sequence[str]) -> list[str]:
    """Return the texts below images: true class, predicted class and its probability, in two lines."""
    named = [(names[true], names[predicted]) for true, predicted in pairs]
    short = all(len(true + predicted) <= 8 for true, predicted in named)
    return [
        f"{true} → {predicted}\n{share}" if short else f"{true}\n→ {predicted} {share}"
        for (true, predicted), share in zip(named, shares, strict=True)
    ]


def _image_shape(shape: Sequence[int], n_features: int, of: str) -> tuple[int, int, int]:
    given = tuple(int(length) for length in shape)
    if len(given) == 2:
        given = (*given, 1)
    if len(given) != 3 or given[2] not in (1, 3) or min(given) < 1:
        raise ValueError(f"`image_shape` must be (H, W), (H, W, 1) or (H, W, 3); got {tuple(shape)}")
    if math.prod(given) != n_features:
        raise ValueError(
            f"`image_shape` must have as many values as {of}, {n_features}; "
            f"got {tuple(shape)}, which has {math.prod(given)}"
        )
    return given[0], given[1], given[2]


class Mosaic(NamedTuple):
    """Images of one shape side by side, drawn as a single image, with texts below them."""

    n_rows: int
    columns: int
    height: int  # of an image
    width: int

    def size(self, texts: Sequence[str] = ()) -> tuple[float, float]:
        """Return the inches that suit the images with these texts below them."""
        # With texts, wide enough for them in 8 points.
        tile = max(0.85, 0.1 + widest(texts, 8) / 72) if texts else 0.85
        tile = min(tile, (9.6 if texts else 7.6) / self.columns)
        tile = max(tile, (_NARROWEST - 0.2) / self.columns)
        # A series of a thousand values is an image of a thousand rows.
        tile = min(tile, _TALLEST * self.width / (self.n_rows * self.height))
        below = 0.33 if texts else 0.0
        up = self.n_rows * (tile * self.height / self.width + below)
        return max(self.columns * tile + 0.2, _NARROWEST), up + 0.65

    def tile_width(self, ax: Axes) -> float:
        """Return the points that an image has across, with two lines of text below it."""
        across, up = room(ax)
        tallest = up / self.n_rows - 2 * LINE * small_points()
        return max(1.0, min(across / self.columns, tallest * self.width / self.height))

    def room_for_names(self, ax: Axes, beside: str) -> float:
        """Return the points for a text below an image with another beside it, in the smallest font."""
        return max(0.95 * self.tile_width(ax) - width_of(beside, _LEAST_POINTS), 10.0)

    def draw(self, ax: Axes, inks: Inks, tiles: HostArray, caption: str, texts: Sequence[str] = ()) -> None:
        """Draw images (n, H, W, 1 or 3), each in a thin frame, and a caption below all."""
        n_rows, columns, height, width = self
        # More pixels than a picture has room for would only take memory.
        step = math.ceil(max(n_rows * height, columns * width) / _MOST_PIXELS)
        # Small images are enlarged by a whole factor, so that the gaps can be thinner than their pixels.
        factor = math.ceil(32 / max(height, width))
        tiles = tiles[:, ::step, ::step].repeat(factor, axis=1).repeat(factor, axis=2)
        _, height, width, _ = tiles.shape
        gap = max(1, round(0.04 * min(height, width)))
        points, below = small_points(), 0
        if texts:
            tile = self._replace(height=height, width=width).tile_width(ax)
            points = max(min(points, 0.95 * tile * points / max(widest(texts, points), 1.0)), _LEAST_POINTS)
            below = math.ceil((2 * LINE * points + 2) * width / tile)
        # The paper shows around the images, and in places without one.
        page = np.zeros((n_rows, height + 2 * gap + below, columns, width + 2 * gap, 4), np.uint8)
        for i, image in enumerate(tiles):
            place = page[i // columns, gap : gap + height, i % columns, gap : gap + width]
            place[..., :3], place[..., 3] = np.rint(255 * image), 255
        bare(ax)
        ax.imshow(page.reshape(n_rows * page.shape[1], -1, 4), interpolation="none")
        across, up = width + 2 * gap, height + 2 * gap + below
        places = [(i % columns * across, i // columns * up) for i in range(len(tiles))]
        corners = [(left + gap - 0.5, top + gap - 0.5) for left, top in places]
        matplotlib = load_matplotlib()
        frames = [matplotlib.patches.Rectangle(corner, width, height) for corner in corners]
        style: Style = {"facecolor": "none", "edgecolor": inks.rule, "linewidth": 0.6}
        ax.add_collection(matplotlib.collections.PatchCollection(frames, **style))
        style = {"ha": "center", "va": "top", "color": inks.ink, "fontsize": points, "linespacing": 1.1}
        for (left, top), text in zip(corners, texts, strict=False):
            ax.text(left + width / 2, top + height + gap / 2, text, **style, **AS_WRITTEN)
        ax.set(xticks=[], yticks=[])
        ax.set_anchor("N")  # so that the room that is left is below, where the caption is
        caption = wrapped(caption.split(), max(room(ax)[0], 100.0), small_points())
        ax.set_xlabel(caption, fontsize=SMALL, color=inks.muted)


def arranged(n_tiles: int, shape: Sequence[int], columns: int | None = None) -> Mosaic:
    """Return the rows and columns of images; where free, few places stay empty, and the page is wide."""
    if columns is None:
        ideal = math.sqrt(1.6 * n_tiles)
        candidates = range(math.ceil(math.sqrt(n_tiles)), math.ceil(math.sqrt(3 * n_tiles)) + 1)
        columns = min(candidates, key=lambda n: (-n_tiles % n, abs(n - ideal)))
    columns = min(check_integer("columns", columns, least=1), n_tiles)
    return Mosaic(math.ceil(n_tiles / columns), columns, shape[0], shape[1])
