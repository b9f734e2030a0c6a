"""Stacks of networks, and wider networks whose logits are means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from types import ModuleType
from typing import Any

from ._image_shifts import check_moves, check_shift, source_columns, source_rows, with_zeros
from ._namespace import Array, by_rows, device, undisturbed
from ._validation import check_integer, check_network, check_same_place
from .network import TwoLayerNet


def stack(nets: Iterable[TwoLayerNet]) -> TwoLayerNet:
    """Return networks of one shape as a stack, with a leading axis K on each array.

    See docs/mathematics.md, "Many networks as one".

    Parameters
    ----------
    nets : iterable of TwoLayerNet
        Single networks of one shape, dtype, library and device.

    Returns
    -------
    TwoLayerNet
        W1 (K, D, H), b1 (K, H), W2 (K, H, C), b2 (K, C); a copy.

    Raises
    ------
    ValueError
        If ``nets`` is empty or contains a stack, or shapes or devices differ.
    TypeError
        If libraries or dtypes differ.
    """
    nets = list(nets)
    if not nets:
        raise ValueError("`nets` must hold at least one network; got none")
    first = nets[0]
    for i, net in enumerate(nets):
        xp = check_network(net)
        if net.n_networks is not None:
            raise ValueError(f"`nets` must be single networks; got a stack of {net.n_networks} at {i}")
        check_same_place(f"nets[{i}]", net.W1, "nets[0]", first.W1)
        shape, wanted = ((one.n_features, one.n_hidden, one.n_classes) for one in (net, first))
        if shape != wanted:
            raise ValueError(f"`nets` must have one shape (D, H, C), here {wanted}; got {shape} at {i}")
        if net.W1.dtype != first.W1.dtype:
            raise TypeError(f"`nets` must have one dtype, here {first.W1.dtype}; got {net.W1.dtype} at {i}")
    return _by_rows(*(xp.stack([net[i] for net in nets]) for i in range(4)), xp=xp)


@undisturbed
def merge(nets: TwoLayerNet) -> TwoLayerNet:
    """Return one network whose logits are the mean of the logits of a stack's networks.

    It has the hidden units of all K networks side by side, and their W2 divided by K:
    mean_k (H1_k W2_k + b2_k) = [H1_1 … H1_K] [W2_1; …; W2_K] / K + mean_k b2_k. This is exact up to rounding.
    See docs/mathematics.md, "Merging a stack is exact".

    Parameters
    ----------
    nets : TwoLayerNet
        A stack.

    Returns
    -------
    TwoLayerNet
        W1 (D, K·H), b1 (K·H,), W2 (K·H, C), b2 (C,); a copy.

    Raises
    ------
    ValueError
        If ``nets`` is not a stack.
    """
    xp = check_network(nets)
    if nets.n_networks is None:
        raise ValueError("`nets` must be a stack of networks; got one network")
    each = range(nets.n_networks)
    return _by_rows(
        xp.concat([nets.W1[k, ...] for k in each], axis=1),
        xp.concat([nets.b1[k, ...] for k in each]),
        xp.concat([nets.W2[k, ...] for k in each]) / nets.n_networks,
        xp.mean(nets.b2, axis=0),
        xp=xp,
    )


@undisturbed
def symmetrize(
    net: TwoLayerNet,
    image_shape: Sequence[int],
    *,
    flip: bool = True,
    shifts: int | Iterable[tuple[int, int]] = 0,
    border: str = "reflect",
) -> TwoLayerNet:
    """Return one network whose logits are the mean of ``net``'s over flips and shifts of the image.

    A flipped and shifted image is x R, which is linear in the image x, so (x R) W1 is x (R W1). The hidden
    units of the V variants lie side by side, as those of networks in `merge`: W1 is [R_1 W1 … R_V W1], and W2
    contains W2 / V for each variant. This is exact up to rounding. With ``flip``, an image and its mirror
    image have the same logits. See docs/mathematics.md, "Flips and shifts fold into it too".

    Parameters
    ----------
    net : TwoLayerNet
        A network, or a stack, each of whose networks is symmetrized.
    image_shape : sequence of int
        (height, width) or (height, width, channels): a sample is an image flattened row by row.
    flip : bool
        Whether the mean includes the left-right mirror image.
    shifts : int, or iterable of (dy, dx)
        An int s means all (2s + 1)² shifts of at most s pixels along each axis. An image is first flipped,
        then shifted: ``moved[r, c] = flipped[r + dy, c + dx]``. Shifts must be smaller than the image.
    border : "reflect" or "zero"
        Pixels that move in at the border: mirrored ones, without repeating the outermost pixels, or zeros.

    Returns
    -------
    TwoLayerNet
        W1 (D, V·H), b1 (V·H,), W2 (V·H, C), b2 (C,), with a leading axis K for a stack; a copy.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If ``image_shape`` does not fit the network, ``shifts`` is empty, has a repeated pair or a pair that
        does not fit the image, or ``border`` is neither "reflect" nor "zero".
    """
    xp = check_network(net)
    height, width, channels = check_moves(image_shape, net.n_features, flip=flip, border=border)
    pairs = _pairs(shifts, (height, width))
    variants = [(flipped, dy, dx) for flipped in range(1 + flip) for dy, dx in pairs]
    numbers = xp.asarray(variants, device=device(net.W1))
    rows = source_rows(numbers[:, 1], height, border=border, xp=xp)
    columns = source_columns(numbers[:, 0], numbers[:, 2], width, border=border, xp=xp)
    images = xp.reshape(net.W1, (*net.W1.shape[:-2], height, width, channels * net.n_hidden))
    W1 = []
    for v in range(len(variants)):
        moved = _moved_back(images, rows[v, :], axis=-3, xp=xp)
        moved = _moved_back(moved, columns[v, :], axis=-2, xp=xp)
        W1.append(xp.reshape(moved, net.W1.shape))
    return _by_rows(
        xp.concat(W1, axis=-1),
        xp.concat([net.b1] * len(variants), axis=-1),
        xp.concat([net.W2 / len(variants)] * len(variants), axis=-2),
        xp.concat([net.b2]),  # a copy
        xp=xp,
    )


def _by_rows(W1: Array, b1: Array, W2: Array, b2: Array, *, xp: ModuleType) -> TwoLayerNet:
    """Return a network of these arrays in row-major order, differentiable by autograd."""
    return TwoLayerNet(*(by_rows(array, xp=xp) for array in (W1, b1, W2, b2)))


def _moved_back(images: Array, sources: Array, *, axis: int, xp: ModuleType) -> Array:
    """Return the product R W1 along an axis: the sum, for each place q, of the places p with sources[p] = q.

    At most two places have the same source: the pixel itself and its reflection. So the sum is that of two
    gathered arrays, for the first and the last such place. A product with a matrix of 0 and 1 may round on a
    GPU.
    """
    size = sources.shape[0]
    places = xp.expand_dims(xp.arange(size, device=device(sources)), axis=0)
    came = xp.expand_dims(sources, axis=0) == places.T  # (q, p)
    first = xp.min(xp.where(came, places, size), axis=1)
    last = xp.max(xp.where(came, places, 0), axis=1)
    second = xp.where(last > first, last, size)
    images = with_zeros(images, axis=axis, xp=xp)  # index `size` reads zeros: no such place
    return xp.take(images, first, axis=axis) + xp.take(images, second, axis=axis)


def _pairs(shifts: Any, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shifts (dy, dx) of an image of this (height, width), from an integer or from pairs."""
    if isinstance(shifts, Integral):
        most = check_integer("shifts", shifts, least=0)
        check_shift("shifts", (most, most), size)
        each = range(-most, most + 1)
        return [(dy, dx) for dy in each for dx in each]
    if not isinstance(shifts, Iterable):
        raise TypeError(f"`shifts` must be an integer, or pairs (dy, dx); got {type(shifts).__name__}")
    pairs: list[tuple[int, int]] = []
    for i, pair in enumerate(shifts):
        name = f"shifts[{i}]"
        if not isinstance(pair, Iterable):
            raise TypeError(f"`{name}` must be a pair (dy, dx); got {type(pair).__name__}")
        shift = tuple(check_integer(name, number) for number in pair)
        if len(shift) != 2:
            raise ValueError(f"`{name}` must be a pair (dy, dx); got {len(shift)} values")
        check_shift(name, shift, size)
        if shift in pairs:
            raise ValueError(f"`shifts` must hold each pair once; got {shift} twice")
        pairs.append(shift)
    if not pairs:
        raise ValueError("`shifts` must hold at least one pair (dy, dx); got none")
    return pairs
