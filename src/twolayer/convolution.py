"""Conversion of a convolution, a rectifier, average pooling and a linear layer to a two-layer network."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from ._image_shifts import image_sizes, with_zeros
from ._namespace import Array, array_namespace, copied, device, undisturbed
from ._validation import check_integer, check_same_dtype
from .network import TwoLayerNet


@undisturbed
def unroll(
    filters: Array,
    b1: Array,
    W2: Array,
    b2: Array,
    *,
    image_shape: Sequence[int],
    stride: int = 1,
    padding: int = 0,
) -> TwoLayerNet:
    """Return a two-layer network that computes the same logits as a small convolutional network.

    A filter at one position is a hidden unit whose weights are 0 outside its patch. The mean over a region of
    positions is linear, so it becomes part of the second layer. With x zero outside the image::

        H1[i, j, k] = max(Σ_{u, v, c} x[i·stride + u - padding, j·stride + v - padding, c]
                      · filters[u, v, c, k] + b1[k], 0)
        logits = Σ_{p, q, k} mean_{(i, j) in region (p, q)} H1[i, j, k] · W2[p, q, k] + b2

    The result has one hidden unit for each filter at each position. Its logits are the same up to rounding.
    The convolution is a cross-correlation, as is usual in this field: filters are not mirrored.
    See docs/mathematics.md, "A small convolution is a two-layer network".

    Parameters
    ----------
    filters : array (h, w, channels, F)
        Float32 or float64. PyTorch's ``Conv2d.weight`` is (F, channels, h, w): permute it by (2, 3, 1, 0).
    b1 : array (F,)
        Biases of the filters.
    W2 : array (R, S, F, C)
        Second-layer weights for the means over R × S regions of equal size that together cover all
        positions. One region for each position means no pooling; R = S = 1 means global pooling.
    b2 : array (C,)
        Biases of the classes.
    image_shape : sequence of int
        (height, width) or (height, width, channels): a sample is an image flattened row by row.
    stride : int
        Pixels between neighbouring positions of the filters, along both axes.
    padding : int
        Rows and columns of zeros around the image that the filters see. With preprocessing, that is the
        preprocessed image; the preprocessing can be folded into the result afterwards.

    Returns
    -------
    TwoLayerNet
        W1 (D, P·F), b1 (P·F,), W2 (P·F, C), b2 (C,) for P positions; a copy. Hidden units are ordered by
        row, then column, then filter.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or libraries or dtypes differ.
    ValueError
        If shapes or devices do not match, ``stride`` or ``padding`` is too small, the filters are larger than
        the padded image, or the regions do not divide the positions evenly.

    Examples
    --------
    >>> import numpy as np
    >>> import twolayer
    >>> edges = np.array([1.0, -1.0]).reshape(1, 2, 1, 1)  # a pixel less the one on its right
    >>> W2 = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    >>> net = twolayer.unroll(edges, np.zeros(1), W2, np.zeros(2), image_shape=(2, 3))
    >>> net.n_hidden
    4
    >>> net.logits(np.array([[[9.0, 5.0, 5.0], [0.0, 3.0, 3.0]]]))  # the mean of 4, 0, 0 and 0
    array([[0., 1.]])
    """
    xp = _check_arrays(filters, b1, W2, b2)
    height, width, channels = image_sizes(image_shape)
    stride = check_integer("stride", stride, least=1)
    padding = check_integer("padding", padding, least=0)
    high, wide, n_channels, n_filters = filters.shape
    if n_channels != channels:
        raise ValueError(f"`filters` must have the image's channels, {channels}; got {n_channels}")
    rows, columns = (
        _n_positions(size, patch, region, stride, padding, axis)
        for size, patch, region, axis in (
            (height, high, W2.shape[0], "rows"),
            (width, wide, W2.shape[1], "columns"),
        )
    )
    n_hidden = rows * columns * n_filters
    # Place each filter's rows and columns on the image's, once for each position, with zeros elsewhere.
    W1 = _spread(filters, height, rows, stride, padding, axis=0, xp=xp)
    W1 = _spread(W1, width, columns, stride, padding, axis=1, xp=xp)
    W1 = xp.reshape(W1, (height, rows, width, columns, channels, n_filters))
    W1 = xp.reshape(xp.permute_dims(W1, (0, 2, 4, 1, 3, 5)), (height * width * channels, n_hidden))
    counts = (rows // W2.shape[0], columns // W2.shape[1])
    for axis, count in enumerate(counts):
        W2 = xp.repeat(W2, count, axis=axis)
    return TwoLayerNet(
        W1=W1,
        b1=xp.tile(b1, (rows * columns,)),
        W2=xp.reshape(W2, (n_hidden, W2.shape[-1])) / (counts[0] * counts[1]),
        b2=copied(b2, xp=xp),
    )


def _spread(
    filters: Array, size: int, n_positions: int, stride: int, padding: int, *, axis: int, xp: ModuleType
) -> Array:
    """Extend an axis of the filters to one entry for each pixel and position, (size · n_positions)."""
    patch, here = filters.shape[axis], device(filters)
    filters = with_zeros(filters, axis=axis, xp=xp)
    pixels = xp.expand_dims(xp.arange(size, dtype=xp.int32, device=here), axis=1)
    positions = xp.expand_dims(xp.arange(n_positions, dtype=xp.int32, device=here), axis=0)
    places = pixels + padding - positions * stride
    places = xp.where((places >= 0) & (places < patch), places, patch)
    return xp.take(filters, xp.reshape(places, (size * n_positions,)), axis=axis)


def _n_positions(size: int, patch: int, regions: int, stride: int, padding: int, axis: str) -> int:
    """Return the number of a filter's positions; raise if it is 0 or not a multiple of ``regions``."""
    if patch > size + 2 * padding:
        raise ValueError(
            f"`filters` must be no larger than the image with its padding, {size + 2 * padding} {axis}; "
            f"got {patch}"
        )
    n_positions = (size + 2 * padding - patch) // stride + 1
    if n_positions % regions != 0:
        raise ValueError(
            f"`W2` must have a number of {axis} of regions that divides the {n_positions} {axis} of "
            f"positions; got {regions}"
        )
    return n_positions


def _check_arrays(filters: Array, b1: Array, W2: Array, b2: Array) -> ModuleType:
    """Raise unless the shapes, dtypes and devices of the arrays match; return their namespace."""
    for name, array, form in (
        ("filters", filters, "(height, width, channels, filters)"),
        ("b1", b1, "(filters,)"),
        ("W2", W2, "(rows of regions, columns of regions, filters, classes)"),
        ("b2", b2, "(classes,)"),
    ):
        check_same_dtype(name, array, "filters", filters)
        if array.ndim != form.count(",") + (not form.endswith(",)")) or min(array.shape) < 1:
            raise ValueError(f"`{name}` must have shape {form}; got {tuple(array.shape)}")
    n_filters, n_classes = filters.shape[-1], W2.shape[-1]
    for name, found, wanted, what in (
        ("b1", b1.shape[0], n_filters, "bias for each of the filters"),
        ("W2", W2.shape[2], n_filters, "row for each of the filters"),
        ("b2", b2.shape[0], n_classes, "bias for each of the classes"),
    ):
        if found != wanted:
            raise ValueError(f"`{name}` must have a {what}, {wanted}; got {found}")
    return array_namespace(filters)
