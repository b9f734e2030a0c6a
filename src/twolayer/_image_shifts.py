"""Flipped and shifted images: where each of their pixels comes from, and what must hold of the arguments.

An image of height · width · channels features is flattened row by row, the channels of a pixel together. It
is flipped left-right first, then shifted: ``moved[r, c] = flipped[r + dy, c + dx]``, where ``flipped[r, c]``
is ``image[r, width - 1 - c]``, or ``image[r, c]`` where it is not flipped. What lies beyond the border is

- for ``"reflect"`` the image's mirror image about its outermost pixels, which are not repeated: index -1 is
  1, and ``height`` is ``height - 2``;
- for ``"zero"`` zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from ._namespace import Array, cast, device
from ._validation import check_choice, check_integer

BORDERS = ("reflect", "zero")


def source_rows(dy: Array, height: int, *, border: str, xp: ModuleType) -> Array:
    """Row of the image from which each row of the shifted one comes: (n, height) int32; -1 is zero."""
    return _within(_positions(dy, height, xp=xp), height, border=border, xp=xp)


def source_columns(flip: Array, dx: Array, width: int, *, border: str, xp: ModuleType) -> Array:
    """Column from which each column of the flipped and shifted image comes: (n, width) int32; -1 is zero."""
    columns = _positions(dx, width, xp=xp)
    columns = xp.where(xp.expand_dims(flip, axis=1) > 0, width - 1 - columns, columns)
    return _within(columns, width, border=border, xp=xp)


def source_pixels(
    flip: Array, dy: Array, dx: Array, height: int, width: int, *, border: str, xp: ModuleType
) -> Array:
    """Pixel from which each pixel of the flipped and shifted image comes.

    Parameters
    ----------
    flip : integer array (n,)
        1 where the image is flipped, else 0.
    dy, dx : integer array (n,)
        The shift, smaller than height and width.

    Returns
    -------
    array (n, height · width), int32
        Numbers of pixels, row by row; -1 is zero.
    """
    rows = xp.expand_dims(source_rows(dy, height, border=border, xp=xp), axis=2)
    columns = xp.expand_dims(source_columns(flip, dx, width, border=border, xp=xp), axis=1)
    pixels = rows * width + columns
    if border == "zero":
        pixels = xp.where((rows >= 0) & (columns >= 0), pixels, -1)
    return xp.reshape(pixels, (flip.shape[0], height * width))


def _positions(shift: Array, size: int, *, xp: ModuleType) -> Array:
    """Position at which each place of a shifted axis lies on it: (n, size) int32."""
    places = xp.arange(size, dtype=xp.int32, device=device(shift))
    return xp.expand_dims(cast(shift, xp.int32, xp=xp), axis=1) + places[None, :]


def with_zeros(array: Array, *, axis: int, xp: ModuleType) -> Array:
    """Return the array with a place of zeros after the last one of an axis."""
    shape = list(array.shape)
    shape[axis] = 1
    zeros = xp.zeros(tuple(shape), dtype=array.dtype, device=device(array))
    return xp.concat([array, zeros], axis=axis)


def _within(positions: Array, size: int, *, border: str, xp: ModuleType) -> Array:
    """Place on the axis that stands for each position, which may lie beyond its ends."""
    if border == "zero":
        return xp.where((positions >= 0) & (positions < size), positions, -1)
    return size - 1 - xp.abs(size - 1 - xp.abs(positions))


def check_image_shape(image_shape: Any, n_features: int | None = None) -> tuple[int, ...]:
    """Return an image's shape; raise unless it has two or three sizes, and ``n_features`` values."""
    forms = "(height, width) or (height, width, channels)"
    if isinstance(image_shape, str) or not isinstance(image_shape, Iterable):
        raise TypeError(f"`image_shape` must be {forms}; got {type(image_shape).__name__}")
    sizes = enumerate(image_shape)
    shape = tuple(check_integer(f"image_shape[{i}]", size, least=1) for i, size in sizes)
    if len(shape) not in (2, 3):
        raise ValueError(f"`image_shape` must be {forms}; got {shape}")
    if n_features not in (None, math.prod(shape)):
        raise ValueError(
            f"`image_shape` must have as many values as a sample has features, {n_features}; "
            f"got {shape}, which has {math.prod(shape)}"
        )
    return shape


def image_sizes(image_shape: Any, n_features: int | None = None) -> tuple[int, int, int]:
    """Return height, width and channels, by default 1, or raise as `check_image_shape` does."""
    height, width, channels = (*check_image_shape(image_shape, n_features), 1)[:3]
    return height, width, channels


def check_moves(image_shape: Any, n_features: int | None, *, flip: Any, border: Any) -> tuple[int, int, int]:
    """Return height, width and channels, or raise unless images of this shape can be moved like this."""
    sizes = image_sizes(image_shape, n_features)
    if not isinstance(flip, bool):
        raise TypeError(f"`flip` must be True or False; got {type(flip).__name__}")
    check_choice("border", border, BORDERS)
    return sizes


def check_shift(name: str, shift: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise unless something stays in sight of an image of this height and width at ``shift``, (dy, dx)."""
    if not (abs(shift[0]) < size[0] and abs(shift[1]) < size[1]):
        raise ValueError(
            f"`{name}` must be smaller than the image, (height, width) = {size}; got (dy, dx) = {shift}"
        )
