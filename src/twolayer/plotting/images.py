"""Pictures made of images, side by side: what the hidden units look for, and what was mistaken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_network, host_values
from .._namespace import to_host
from ..report import checked_predictions, most_wrong
from ._figures import SMALL, axes_for
from ._inks import inks_of
from ._mosaic import arranged, draw_mosaic, mosaic_size, room_for_names, shortened_names
from ._texts import LONGEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..network import TwoLayerNet


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
        If ``net`` is not a network.
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
    if max_units < 1:
        raise ValueError(f"`max_units` must be at least 1; got {max_units}")
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
    n_rows, columns = arranged(len(tiles), columns)
    ax = axes_for(ax, *mosaic_size(n_rows, columns, (height, width)))
    draw_mosaic(ax, inks_of(ax), tiles, n_rows, columns, caption)
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
        If the labels are not integers or the probabilities not floating.
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
    if max_images < 1:
        raise ValueError(f"`max_images` must be at least 1; got {max_images}")
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
        ax.text(*(0.5, 0.5, caption), ha="center", va="center", color=inks_of(ax).muted, fontsize=SMALL)
        return ax
    caption += ", the most wrong first" if len(chosen) > 1 else ""
    caption += "; true → predicted class and its probability"
    n_rows, columns = arranged(len(chosen), columns)
    shape = height, width
    names = shortened_names(classes, LONGEST)
    ax = axes_for(ax, *mosaic_size(n_rows, columns, shape, _texts_of(pairs, names, shares)))
    names = shortened_names(classes, room_for_names(ax, shape, n_rows, columns, "→  0.00"))
    draw_mosaic(ax, inks_of(ax), tiles, n_rows, columns, caption, _texts_of(pairs, names, shares))
    return ax


def _texts_of(pairs: Sequence[tuple[int, int]], names: Sequence[str], shares: Sequence[str]) -> list[str]:
    """Give what stands below images: the true class, the predicted one and its probability, in two lines."""
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
