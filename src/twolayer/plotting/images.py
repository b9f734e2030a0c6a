"""Pictures made of images, side by side: weights of hidden units, and misclassified samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._image_shifts import image_sizes
from .._namespace import HostArray, to_host
from .._validation import check_integer, check_network, host_values
from ..report.metrics import checked_predictions, most_wrong
from ._matplotlib import load_matplotlib
from ._style import axes_for, bare, room
from ._texts import AS_WRITTEN, LINE, LONGEST, SMALL, points_of, printable, shortened, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..network import TwoLayerNet

_Texts = Callable[[float], list[str]]  # from the width of names, in points

_LEAST_POINTS = 6.5  # of a text below a tile; a text that is still too wide is cut
_TALLEST = 20.0  # inches: the most that all tiles together are high
_NARROWEST = 3.4  # inches: the least width of a figure, for its caption
_MOST_PIXELS = 4096  # along each axis of all tiles together, without their gaps


def plot_weights(
    net: TwoLayerNet,
    image_shape: Sequence[int],
    *,
    max_units: int = 100,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of each hidden unit in the first layer as an image: the pattern to which it responds.

    The units are sorted by ‖W1_j‖ · ‖W2_j‖, the norm of their incoming weights times the norm of their
    outgoing weights, the largest first. This product bounds how much the logits can change through unit j if
    an image moves by a distance of 1. Each tile is scaled by its own largest weight, so zero is the middle of
    the scale in all tiles: 0.5 + w / (2 max abs(w)). Units whose weights are not finite are left out.

    Parameters
    ----------
    net : TwoLayerNet
        One network, of any library, on any device.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an input image. One channel is drawn from black (negative) over grey to white (positive),
        three as colours around grey.
    max_units : int
        Maximum number of units to draw.
    columns : int, optional
        Number of images in a row; by default, it is chosen so that few places are empty.
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
        If the network is a stack, the shape is none of these or does not fit the network's features, no unit
        has finite weights, or a number is not positive.
    ImportError
        If matplotlib cannot be imported.
    """
    check_network(net)
    if net.n_networks is not None:
        raise ValueError(
            f"`net` must be one network; got a stack of {net.n_networks} (`net.select(k)` gives one of them)"
        )
    height, width, n_channels = _shape_of(image_shape, net.n_features)
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

    caption = _counted(len(tiles), net.n_hidden, "hidden unit")
    caption += ", largest first" if len(tiles) > 1 else ""
    caption += "; grey is zero" if n_channels == 3 else "; white positive, black negative"
    if not finite.all():
        caption += f"; {int((~finite).sum())} not finite"
    return Mosaic(len(tiles), image_shape, columns).draw(ax, tiles, caption)


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
    """Draw the misclassified images, the most wrong first.

    The most wrong image has the largest cross-entropy, −log of the probability of its true class.

    Parameters
    ----------
    X : array, shape (N, D) or (N, H, W) or (N, H, W, 3)
        The images, an array of any library. The scale of grey or colour ranges from the least to the greatest
        value in all of them.
    y : array of int, shape (N,)
        The class labels.
    probs : array of float, shape (N, C)
        The predicted probabilities of the classes, as ``net.predict_proba(X)`` returns them. The class with
        the largest one is the prediction.
    classes : sequence of str, length C
        The classes' names.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an image. One channel is drawn as ink on paper: the greatest value is black.
    max_images : int
        Maximum number of images to draw.
    columns : int, optional
        Number of images in a row; by default, it is chosen so that few places are empty.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        All images as a single image, with fewer pixels if they are large, as in `plot_weights`. Below each
        image are its true class, and the predicted class with its probability.

    Raises
    ------
    TypeError
        If the labels or a number are not integers, or the probabilities not floating.
    ValueError
        If the shape, the labels, the probabilities or the names do not fit the images, there are no images,
        or a number is not positive.
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
    height, width, n_channels = _shape_of(image_shape, math.prod(host.shape[1:]))
    check_integer("max_images", max_images, least=1)
    wrong = most_wrong(true, given)
    chosen = wrong[:max_images]
    low, high = float(host.min()), float(host.max())
    tiles = host[chosen].astype(np.float64).reshape(-1, height, width, n_channels)
    tiles = (tiles - low) / ((high - low) or 1.0)
    if n_channels == 1:
        tiles = 1 - tiles  # ink on paper: the greatest value is black
    caption = f"{_counted(len(chosen), len(wrong), 'mistake')} in {len(true)} images"
    if not len(chosen):
        ax, inks = axes_for(ax, 3.4, 1.0)
        ax.set_axis_off()
        ax.text(0.5, 0.5, caption, ha="center", va="center", color=inks.muted, fontsize=SMALL)
        return ax
    caption += ", the most wrong first" if len(chosen) > 1 else ""
    caption += "; true → predicted class and its probability"
    texts = partial(_texts_below, true[chosen], given[chosen], classes)
    return Mosaic(len(chosen), image_shape, columns).draw(ax, tiles, caption, texts)


def _counted(n_shown: int, n: int, noun: str) -> str:
    """Return the number of things that are shown, and of all, as words: "24 of 30 mistakes"."""
    count = f"{n_shown} of {n}" if n_shown < n else f"{n or 'no'}"
    return f"{count} {noun}{'' if n == 1 else 's'}"


def _texts_below(y: HostArray, probs: HostArray, classes: Sequence[str], width: float) -> list[str]:
    """Return texts below images: true class, predicted class and its probability, in two lines.

    A name has one line, and is no wider than ``width`` points in the smallest font.
    """
    names = [shortened(printable(name).replace("\n", " "), width, _LEAST_POINTS) for name in classes]
    pairs = [(names[i], names[j]) for i, j in zip(y, probs.argmax(axis=1), strict=True)]
    short = all(len(true + predicted) <= 8 for true, predicted in pairs)
    form = "{} → {}\n{:.2f}" if short else "{}\n→ {} {:.2f}"
    return [form.format(*pair, share) for pair, share in zip(pairs, probs.max(axis=1), strict=True)]


def _shape_of(image_shape: Sequence[int], n_features: int) -> tuple[int, int, int]:
    height, width, n_channels = image_sizes(image_shape, n_features)
    if n_channels not in (1, 3):
        raise ValueError(f"`image_shape` must have 1 or 3 channels; got {n_channels}")
    return height, width, n_channels


class Mosaic:
    """Images of one shape side by side, drawn as a single image, with texts below them.

    By default, ``columns`` is chosen so that few places are empty, and the page is wider than high.
    """

    def __init__(self, n_tiles: int, image_shape: Sequence[int], columns: int | None = None) -> None:
        if columns is None:
            ideal = math.sqrt(1.6 * n_tiles)
            candidates = range(math.ceil(math.sqrt(n_tiles)), math.ceil(math.sqrt(3 * n_tiles)) + 1)
            columns = min(candidates, key=lambda n: (-n_tiles % n, abs(n - ideal)))
        self.columns = min(check_integer("columns", columns, least=1), n_tiles)
        self.n_rows = math.ceil(n_tiles / self.columns)
        self.height, self.width = image_shape[:2]

    def size(self, texts: Sequence[str] = ()) -> tuple[float, float]:
        """Return the size of a figure, in inches, for the images with these texts below them."""
        # Tiles with texts are wide enough for them in 8 points.
        tile = max(0.85, 0.1 + width_of("\n".join(texts), 8) / 72) if texts else 0.85
        tile = min(tile, (9.6 if texts else 7.6) / self.columns)
        tile = max(tile, (_NARROWEST - 0.2) / self.columns)
        # Images may be much higher than wide: a time series of 1,000 values may be given as 1,000 rows.
        tile = min(tile, _TALLEST * self.width / (self.n_rows * self.height))
        below = 0.33 if texts else 0.0
        up = self.n_rows * (tile * self.height / self.width + below)
        return max(self.columns * tile + 0.2, _NARROWEST), up + 0.65

    def draw(self, ax: Axes | None, tiles: HostArray, caption: str, texts: _Texts | None = None) -> Axes:
        """Draw images (n, H, W, 1 or 3), each in a thin frame, and a caption below all of them.

        ``texts(width)`` returns the texts below the images, with names at most ``width`` points wide.
        """
        ax, inks = axes_for(ax, *self.size(texts(LONGEST) if texts else ()))
        n_rows, columns = self.n_rows, self.columns
        # More pixels than a picture can show would only take memory.
        step = math.ceil(max(n_rows * self.height, columns * self.width) / _MOST_PIXELS)
        # Small images are enlarged by a whole factor, so that the gaps can be thinner than their pixels.
        factor = math.ceil(32 / max(self.height, self.width))
        tiles = tiles[:, ::step, ::step].repeat(factor, axis=1).repeat(factor, axis=2)
        _, height, width, _ = tiles.shape
        gap = max(1, round(0.04 * min(height, width)))
        points, below, lines = points_of(SMALL), 0, list[str]()
        if texts:
            # The width of an image with two lines of text below it, in points.
            tallest = room(ax)[1] / n_rows - 2 * LINE * points
            tile = max(1.0, min(room(ax)[0] / columns, tallest * self.width / self.height))
            # An arrow and the probability stand beside the name of the predicted class.
            lines = texts(max(0.95 * tile - width_of("→  0.00", _LEAST_POINTS), 10.0))
            widest = max(width_of("\n".join(lines)), 1.0)
            points = max(min(points, 0.95 * tile * points / widest), _LEAST_POINTS)
            below = math.ceil((2 * LINE * points + 2) * width / tile)
        # Pixels around images, and places without an image, stay transparent and show the paper.
        page = np.zeros((n_rows, height + 2 * gap + below, columns, width + 2 * gap, 4), np.uint8)
        places = [divmod(i, columns) for i in range(len(tiles))]
        for (row, column), image in zip(places, tiles, strict=True):
            place = page[row, gap : gap + height, column, gap : gap + width]
            place[..., :3], place[..., 3] = np.rint(255 * image), 255
        bare(ax)
        ax.imshow(page.reshape(n_rows * page.shape[1], -1, 4), interpolation="none")
        across, up = width + 2 * gap, height + 2 * gap + below
        corners = [(column * across + gap - 0.5, row * up + gap - 0.5) for row, column in places]
        matplotlib = load_matplotlib()
        frames = [matplotlib.patches.Rectangle(corner, width, height) for corner in corners]
        thin = matplotlib.collections.PatchCollection(frames, fc="none", ec=inks.rule, lw=0.6)
        ax.add_collection(thin)
        style: dict[str, Any] = {"ha": "center", "va": "top", "color": inks.ink, "fontsize": points}
        for (left, top), text in zip(corners, lines, strict=False):
            ax.text(left + width / 2, top + height + gap / 2, text, linespacing=1.1, **style, **AS_WRITTEN)
        ax.set(xticks=[], yticks=[])
        ax.set_anchor("N")  # unused room is then below the images, where the caption is
        caption = wrapped(caption.split(), max(room(ax)[0], 100.0))
        ax.set_xlabel(caption, fontsize=SMALL, color=inks.muted)
        return ax
