"""Pictures made of images, side by side: what the hidden units look for, and what was mistaken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from .._namespace import HostArray, to_host
from ._figures import MUTED, SMALL, drawing, heading_height, load_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..network import TwoLayerNet


def plot_weights(
    net: TwoLayerNet,
    image_shape: Sequence[int],
    *,
    max_units: int = 100,
    columns: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what each hidden unit looks for: its weights in the first layer, as an image.

    The units come in the order of ‖W1_j‖ · ‖W2_j‖, the norm of their incoming weights times that of their
    outgoing ones, the largest first: it bounds what moving an image by a distance of 1 can change in the
    logits by way of unit j. Each tile is scaled by its own largest weight, so that zero is the middle of
    the scale in all of them. Units whose weights are not finite are left out.

    Parameters
    ----------
    net : TwoLayerNet
        One network, of any library, on any device.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an input image. One channel is drawn in red (positive) and blue (negative), three as
        colours around grey, 0.5 + w / (2 max abs(w)).
    max_units : int
        The most units to draw.
    columns : int, optional
        How many images stand in a row.
    title : str, optional
        A heading.

    Returns
    -------
    matplotlib.figure.Figure
        All tiles as a single image.

    Raises
    ------
    ValueError
        If the network is a stack, the shape is none of these or does not fit its features, no unit's weights
        are finite, or a number is not positive.
    ImportError
        If matplotlib is not installed.
    """
    if net.n_networks is not None:
        raise ValueError(
            f"`net` must be one network; got a stack of {net.n_networks} (`net.select(k)` gives one of them)"
        )
    height, width, n_channels = _image_shape(image_shape, net.n_features, "the network's features")
    if max_units < 1:
        raise ValueError(f"`max_units` must be at least 1; got {max_units}")
    incoming = np.asarray(to_host(net.W1), dtype=np.float64).T
    outgoing = np.asarray(to_host(net.W2), dtype=np.float64)
    finite = np.isfinite(incoming).all(axis=1) & np.isfinite(outgoing).all(axis=1)
    if not finite.any():
        raise ValueError("`net` must have a hidden unit whose weights are finite; got none")
    sizes = np.linalg.norm(incoming[finite], axis=1) * np.linalg.norm(outgoing[finite], axis=1)
    order = np.argsort(-sizes, kind="stable")[:max_units]
    images = incoming[finite][order].reshape(-1, height, width, n_channels)

    largest = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    scaled = images / np.where(largest > 0, largest, 1.0)
    if n_channels == 3:
        tiles = 0.5 + scaled / 2
        key = "grey is zero"
    else:
        tiles = load_matplotlib().colormaps["RdBu_r"](0.5 + scaled[..., 0] / 2)[..., :3]
        key = "red positive, blue negative"
    count = f"{len(tiles)} of {net.n_hidden}" if len(tiles) < net.n_hidden else f"{net.n_hidden}"
    units = "unit" if net.n_hidden == 1 else "units"
    caption = f"{count} hidden {units}" + (", largest first" if len(tiles) > 1 else "") + f"; {key}"
    if not finite.all():
        caption += f"; {int((~finite).sum())} not finite"

    n_rows, columns = _arranged(len(tiles), columns)
    with _page(n_rows, columns, (height, width), title) as figure:
        axes = figure.subplots()
        axes.imshow(_mosaic(tiles, n_rows, columns), interpolation="nearest")
        axes.set_axis_off()
        figure.supxlabel(caption, fontsize=SMALL, color=MUTED)
    return figure


def plot_mistakes(
    X: Any,
    y_true: Any,
    y_pred: Any,
    classes: Sequence[str],
    image_shape: Sequence[int],
    *,
    max_images: int = 40,
    columns: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the images that were taken for another class, with the true and the predicted one.

    Parameters
    ----------
    X : array, shape (N, D) or (N, H, W) or (N, H, W, 3)
        The images, of any library; drawn between the least and the greatest value in them.
    y_true, y_pred : array of int, shape (N,)
        The classes, and the predicted classes.
    classes : sequence of str
        The classes' names.
    image_shape : (H, W), (H, W, 1) or (H, W, 3)
        The shape of an image; one channel is drawn as ink on paper, the greatest value black.
    max_images : int
        The most images to draw.
    columns : int, optional
        How many images stand in a row.
    title : str, optional
        A heading.

    Returns
    -------
    matplotlib.figure.Figure
        The first of the mistakes, in the order of the samples.

    Raises
    ------
    ValueError
        If the shape or the labels do not fit the images, there are none, or a number is not positive.
    ImportError
        If matplotlib is not installed.
    """
    host = to_host(X)
    true, predicted = to_host(y_true), to_host(y_pred)
    if not host.shape[0]:
        raise ValueError("`X` must hold at least one image; got none")
    if true.shape != host.shape[:1] or predicted.shape != host.shape[:1]:
        raise ValueError(
            f"`y_true` and `y_pred` must have one label for each of the {host.shape[0]} images; "
            f"got shapes {true.shape} and {predicted.shape}"
        )
    height, width, n_channels = _image_shape(image_shape, math.prod(host.shape[1:]), "an image")
    if max_images < 1:
        raise ValueError(f"`max_images` must be at least 1; got {max_images}")
    wrong = np.flatnonzero(true != predicted)
    chosen = wrong[:max_images]
    low, high = float(host.min()), float(host.max())
    tiles = host[chosen].astype(np.float64).reshape(-1, height, width, n_channels)
    tiles = (tiles - low) / ((high - low) or 1.0)
    if n_channels == 1:
        # Ink on paper.
        tiles = 1 - tiles.repeat(3, axis=3)
    count = f"{len(chosen)} of {len(wrong)}" if len(chosen) < len(wrong) else f"{len(wrong) or 'no'}"
    caption = f"{count} mistake{'' if len(wrong) == 1 else 's'} in {len(true)} images"
    caption += "; true → predicted" if len(chosen) else ""

    n_rows, columns = _arranged(max(len(chosen), 1), columns)
    with _page(n_rows, columns, (height, width), title, names=0.22) as figure:
        grid = figure.subplots(n_rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, tile, index in zip(grid.flat, tiles, chosen, strict=False):
            axes.imshow(tile, interpolation="nearest", vmin=0, vmax=1)
            names = classes[true[index]], classes[predicted[index]]
            axes.set_title(
                " → ".join(map(str, names)), fontsize=SMALL, fontweight="normal", loc="center", pad=2
            )
        figure.supxlabel(caption, fontsize=SMALL, color=MUTED)
    return figure


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


def _arranged(n_tiles: int, columns: int | None) -> tuple[int, int]:
    """Give the numbers of rows and columns; where free, few places stay empty, and the page is wide."""
    if columns is None:
        ideal = math.sqrt(1.6 * n_tiles)
        candidates = range(math.ceil(math.sqrt(n_tiles)), math.ceil(math.sqrt(3 * n_tiles)) + 1)
        columns = min(candidates, key=lambda n: (-n_tiles % n, abs(n - ideal)))
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1; got {columns}")
    columns = min(columns, n_tiles)
    return math.ceil(n_tiles / columns), columns


def _page(
    n_rows: int, columns: int, shape: tuple[int, int], title: str | None, *, names: float = 0.0
) -> AbstractContextManager[Figure]:
    """Open a figure that fits tiles of one shape; ``names`` is the inches that each has for its names."""
    height, width = shape
    tile_width = min(0.85, 7.6 / columns)
    tile_height = tile_width * height / width + names
    return drawing(
        max(columns * tile_width + 0.2, 3.4), n_rows * tile_height + 0.4 + heading_height(title), title
    )


def _mosaic(tiles: HostArray, n_rows: int, columns: int) -> HostArray:
    """Put RGB images of one size side by side on white, each in a thin grey frame."""
    count, height, width, _ = tiles.shape
    # Small images are enlarged by a whole factor, so that a frame is thinner than their pixels.
    factor = math.ceil(64 / max(height, width))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    for line, grey in ((1, 0.7), (2, 1.0)):
        tiles = np.pad(tiles, [(0, 0), (line, line), (line, line), (0, 0)], constant_values=grey)
    height, width = tiles.shape[1:3]
    tiles = np.concatenate([tiles, np.ones((n_rows * columns - count, height, width, 3))])
    page = tiles.reshape(n_rows, columns, height, width, 3).swapaxes(1, 2)
    return page.reshape(n_rows * height, columns * width, 3)
