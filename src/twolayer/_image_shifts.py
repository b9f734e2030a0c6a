"""Source pixels of flipped and shifted images, and checks of the arguments.

An image of height · width · channels features is flattened row by row, with the channels of a pixel side by
side. It is first flipped left-right, then shifted: ``moved[r, c] = flipped[r + dy, c + dx]``. Here
``flipped[r, c]`` is ``image[r, width - 1 - c]``, or ``image[r, c]`` without a flip. Beyond the border,

- ``"reflect"`` mirrors the image about its outermost pixels, which are not repeated: index -1 reads 1, and
  index ``height`` reads ``height - 2``;
- ``"zero"`` reads zeros.
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
    """Source row of each row of the shifted images: (n, height) int32; -1 stands for zeros."""
    return _within(_positions(dy, height, xp=xp), height, border=border, xp=xp)


def source_columns(flip: Array, dx: Array, width: int, *, border: str, xp: ModuleType) -> Array:
    """Source column of each column of the flipped and shifted images: (n, width) int32; -1: zeros."""
    columns = _positions(dx, width, xp=xp)
    columns = xp.where(xp.expand_dims(flip, axis=1) > 0, width - 1 - columns, columns)
    return _within(columns, width, border=border, xp=xp)


def source_pixels(
    flip: Array, dy: Array, dx: Array, height: int, width: int, *, border: str, xp: ModuleType
) -> Array:
    """Source pixel of each pixel of the flipped and shifted images.

    Parameters
    ----------
    flip : integer array (n,)
        1 if the image is flipped, else 0.
    dy, dx : integer array (n,)
        The shifts, smaller in size than height and width.

    Returns
    -------
    array (n, height · width), int32
        Indices of pixels, counted row by row; -1 stands for a zero.
    """
    rows = xp.expand_dims(source_rows(dy, height, border=border, xp=xp), axis=2)
    columns = xp.expand_dims(source_columns(flip, dx, width, border=border, xp=xp), axis=1)
    pixels = rows * width + columns
    if border == "zero":
        pixels = xp.where((rows >= 0) & (columns >= 0), pixels, -1)
    return xp.reshape(pixels, (flip.shape[0], height * width))


def _positions(shift: Array, size: int, *, xp: ModuleType) -> Array:
    """Position on the unshifted axis of each place of the shifted axis: (n, size) int32."""
    places = xp.arange(size, dtype=xp.int32, device=device(shift))
    return xp.expand_dims(cast(shift, xp.int32, xp=xp), axis=1) + places[None, :]


def with_zeros(array: Array, *, axis: int, xp: ModuleType) -> Array:
    """Return the array with one more entry on an axis, at its end, that contains zeros."""
    shape = list(array.shape)
    shape[axis] = 1
    zeros = xp.zeros(tuple(shape), dtype=array.dtype, device=device(array))
    return xp.concat([array, zeros], axis=axis)


def _within(positions: Array, size: int, *, border: str, xp: ModuleType) -> Array:
    """Place on the axis that each position reads; positions may lie beyond its ends."""
    if border == "zero":
        return xp.where((positions >= 0) & (positions < size), positions, -1)
    # The inner `abs` reflects at place 0, the outer one at the last place. One reflection at each end is
    # enough, because shifts are smaller than the axis.
    return size - 1 - xp.abs(size - 1 - xp.abs(positions))


def check_image_shape(image_shape: Any, n_features: int | None = None) -> tuple[int, ...]:
    """Return an image's shape; raise unless it has two or three sizes whose product is ``n_features``."""
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
    """Return height, width and channels (1 if not given); raise as `check_image_shape` does."""
    height, width, channels = (*check_image_shape(image_shape, n_features), 1)[:3]
    return height, width, channels


def check_moves(image_shape: Any, n_features: int | None, *, flip: Any, border: Any) -> tuple[int, int, int]:
    """Return height, width and channels; raise if an argument of a flip or shift is invalid."""
    sizes = image_sizes(image_shape, n_features)
    if not isinstance(flip, bool):
        raise TypeError(f"`flip` must be True or False; got {type(flip).__name__}")
    check_choice("border", border, BORDERS)
    return sizes


def check_shift(name: str, shift: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise unless ``shift``, (dy, dx), is smaller than ``size``, the image's (height, width)."""
    if not (abs(shift[0]) < size[0] and abs(shift[1]) < size[1]):
        raise ValueError(
            f"`{name}` must be smaller than the image, (height, width) = {size}; got (dy, dx) = {shift}"
        )
