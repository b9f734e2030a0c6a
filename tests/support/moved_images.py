"""Flipped and shifted images: a slow oracle, by padding and slicing one image at a time, and strategies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support import strategies

BORDERS = ("reflect", "zero")
SHAPES = ((2, 3), (3, 4, 2))  # the only shapes where JAX is tested


class Moves(NamedTuple):
    """How each of n images is moved."""

    image_shape: tuple[int, ...]
    border: str
    flip: np.ndarray  # (n,)
    dy: np.ndarray  # (n,)
    dx: np.ndarray  # (n,)

    @property
    def n_features(self) -> int:
        return int(np.prod(self.image_shape))

    @property
    def shift(self) -> int:
        """The largest shift that images of this shape can have."""
        return min(self.image_shape[:2]) - 1


def image_shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Any small images, with and without channels."""
    size = st.integers(1, 6)
    anything = st.one_of(st.tuples(size, size), st.tuples(size, size, st.integers(1, 4)))
    return st.deferred(lambda: st.sampled_from(SHAPES) if strategies.few_sizes_only else anything)


@st.composite
def moves(draw: st.DrawFn) -> Moves:
    """Any flips and shifts of a few images."""
    image_shape = draw(image_shapes())
    n = 3 if strategies.few_sizes_only else draw(st.integers(1, 4))
    height, width = image_shape[:2]
    flip, dy, dx = (
        draw(hnp.arrays(np.int32, (n,), elements=st.integers(least, most)))
        for least, most in ((0, 1), (1 - height, height - 1), (1 - width, width - 1))
    )
    return Moves(image_shape, draw(st.sampled_from(BORDERS)), flip, dy, dx)


def slow_moved(image: np.ndarray, flip: int, dy: int, dx: int, border: str) -> np.ndarray:
    """One image (height, width, ...): flipped, then ``moved[r, c] = flipped[r + dy, c + dx]``."""
    height, width = image.shape[:2]
    if flip:
        image = image[:, ::-1]
    margins = [(abs(dy), abs(dy)), (abs(dx), abs(dx))] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, margins, mode="reflect" if border == "reflect" else "constant")
    return padded[abs(dy) + dy :, abs(dx) + dx :][:height, :width]


def slow_batch(X: np.ndarray, moves: Moves) -> np.ndarray:
    """A batch of flattened images (n, D), each by its own move."""
    images = X.reshape(-1, *moves.image_shape)
    moved = [slow_moved(*one, moves.border) for one in zip(images, *moves[2:], strict=True)]
    return np.stack(moved).reshape(X.shape)
