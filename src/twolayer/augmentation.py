"""Augmentation: random changes of the training batches.

Random numbers are drawn on the host (`draw`). The change itself is a pure function of arrays (`apply`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np

from ._image_shifts import check_image_shape, check_moves, check_shift, image_sizes, source_pixels, with_zeros
from ._namespace import Array, HostArray, array_namespace, cast, device, has_float, is_wider
from ._validation import check_form, check_integer, check_number

Draws: TypeAlias = "HostArray | tuple[Draws, ...]"


class Augmentation(Protocol):
    """Protocol of a random change of a batch; any object with these methods is accepted.

    An augmentation may also have a method ``check(n_features)``. It is called before training and raises if
    the augmentation cannot process samples with this number of features. If the augmentation is hashable,
    later runs reuse the compiled steps.
    """

    def draw(self, rng: np.random.Generator, n: int) -> Draws:
        """Draw the random numbers for a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.
        n : int
            Number of samples.

        Returns
        -------
        host array, or tuple of host arrays (or of such tuples)
            The first axis of each array has length n. The dtype is integer or float64. Shapes and dtypes
            depend only on n.
        """
        ...

    def apply(self, X: Array, T: Array, draws: Any, *, xp: ModuleType) -> tuple[Array, Array]:
        """Return the changed batch, of the same library and device; do not change the arguments.

        This must be a pure function that reads no value of an array into Python, because it is compiled if
        the library has a compiler.

        Parameters
        ----------
        X : array (n, D)
            Samples, of any real dtype.
        T : array (n, C)
            Class probabilities in the network's dtype, multiplied by the samples' weights if there are any.
        draws
            The result of `draw` as arrays of ``xp`` on the device of ``X``, floating arrays in T's dtype.
        xp : module
            The arrays' namespace.

        Returns
        -------
        X : array (n, D)
            Changed samples, of any real dtype.
        T : array (n, C)
            Changed class probabilities, in T's dtype.
        """
        ...


@dataclass(frozen=True, slots=True)
class FlipAndShift:
    """Flip each image left-right with probability 1/2, then shift it by a few pixels.

    The shift along each axis is drawn uniformly from the integers -shift, …, shift. A sample is an image
    flattened row by row, channels last. Its dtype is kept: bytes stay bytes.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    flip : bool
        Whether to flip images.
    shift : int
        The largest shift in pixels, at least 0 and less than height and width.
    border : "reflect" or "zero"
        Filling of the pixels that a shift leaves empty. "reflect" uses the mirror image without repeating the
        outermost pixels. "zero" uses zeros; with preprocessing, they are inserted before it.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer.augmentation import FlipAndShift
    >>> X, T = np.arange(6, dtype=np.uint8)[None, :], np.ones((1, 1))
    >>> flip, dy, dx = np.array([[1], [0], [1]])
    >>> X, T = FlipAndShift((2, 3), shift=1).apply(X, T, (flip, dy, dx), xp=np)
    >>> X.reshape(2, 3)
    array([[1, 0, 1],
           [4, 3, 4]], dtype=uint8)
    """

    image_shape: tuple[int, ...]
    flip: bool = True
    shift: int = 2
    border: str = "reflect"

    def __post_init__(self) -> None:
        height, width, _ = check_moves(self.image_shape, None, flip=self.flip, border=self.border)
        if not isinstance(self.image_shape, tuple):
            name = type(self.image_shape).__name__
            raise TypeError(f"`image_shape` must be a tuple, which can be hashed; got {name}")
        shift = check_integer("shift", self.shift, least=0)
        check_shift("shift", (shift, shift), (height, width))

    def check(self, n_features: int) -> None:
        """Raise a ValueError unless images of ``image_shape`` have ``n_features`` values."""
        check_image_shape(self.image_shape, n_features)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[HostArray, HostArray, HostArray]:
        """Draw flip (0 or 1) and the shifts dy and dx of n images, each (n,) int32."""
        flip = rng.integers(1 + self.flip, size=n, dtype=np.int32)
        dy, dx = rng.integers(-self.shift, self.shift, size=(2, n), dtype=np.int32, endpoint=True)
        return flip, dy, dx

    def apply(
        self, X: Array, T: Array, draws: tuple[Array, Array, Array], *, xp: ModuleType
    ) -> tuple[Array, Array]:
        """Return the flipped and shifted images in their dtype, and T unchanged.

        With the draws (flip, dy, dx), ``moved[r, c] = flipped[r + dy, c + dx]``.
        """
        height, width, channels = image_sizes(self.image_shape, X.shape[1])
        flip, dy, dx = draws
        n_pixels = X.shape[0] * height * width
        dtype = xp.int32 if n_pixels < 2**31 else xp.int64
        sources = source_pixels(flip, dy, dx, height, width, border=self.border, xp=xp)
        first = xp.arange(0, n_pixels, height * width, dtype=dtype, device=device(X))
        # One gather over the pixels of the whole batch: row i · height · width + p is pixel p of image i.
        rows = sources + xp.expand_dims(first, axis=1)
        pixels = xp.reshape(X, (n_pixels, channels))
        if self.border == "zero":
            pixels = with_zeros(pixels, axis=0, xp=xp)
            rows = xp.where(sources < 0, n_pixels, rows)  # the last row is the zeros
        return xp.reshape(xp.take(pixels, xp.reshape(rows, (n_pixels,)), axis=0), X.shape), T


@dataclass(frozen=True, slots=True)
class Mixup:
    """Mix each sample and its target with another sample of the batch [1]_.

    X_i becomes lam_i X_i + (1 - lam_i) X_j, and T_i likewise. The partners j are a random permutation of the
    batch, so each sample is a partner once, and occasionally its own. lam_i is drawn from Beta(alpha, alpha)
    separately for each sample.

    Parameters
    ----------
    alpha : float
        Parameter of the beta distribution, above 0. Near 0, samples are hardly mixed; at 1, lam is uniform.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz: mixup: Beyond Empirical Risk Minimization,
       ICLR 2018. https://arxiv.org/abs/1710.09412
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, above=0.0)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[HostArray, HostArray]:
        """Draw lam (n,) float64, each sample's own share, and the indices partner (n,) int32."""
        return rng.beta(self.alpha, self.alpha, size=n), rng.permutation(n).astype(np.int32)

    def apply(self, X: Array, T: Array, draws: tuple[Array, Array], *, xp: ModuleType) -> tuple[Array, Array]:
        """Return the mixed samples and targets in T's dtype, but samples in float64 if X is more precise."""
        lam, partner = draws
        dtype = T.dtype
        # Preprocessing may subtract a large mean from the mixed samples, so do not round them before.
        if is_wider(X, dtype) and has_float("float64", xp=array_namespace(X), device=device(X)):
            dtype = xp.float64
        mixed = []
        for own in (cast(X, dtype, xp=xp), T):
            share = xp.expand_dims(cast(lam, own.dtype, xp=xp), axis=1)
            other = xp.take(own, partner, axis=0)
            other *= 1.0 - share
            other += share * own
            mixed.append(other)
        return mixed[0], mixed[1]


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Chain:
    """Several augmentations, applied one after another.

    Parameters
    ----------
    *parts : Augmentation
        One or more augmentations, in the order in which they are applied.

    Raises
    ------
    TypeError
        If a part is not an augmentation.
    ValueError
        If there are no parts.

    Examples
    --------
    >>> from twolayer.augmentation import Chain, FlipAndShift, Mixup
    >>> Chain(FlipAndShift((32, 32, 3)), Mixup())
    Chain(FlipAndShift(image_shape=(32, 32, 3), flip=True, shift=2, border='reflect'), Mixup(alpha=0.2))
    """

    parts: tuple[Augmentation, ...]

    def __init__(self, *parts: Augmentation) -> None:
        if not parts:
            raise ValueError("`parts` must hold at least one augmentation; got none")
        for i, part in enumerate(parts):
            check_form(f"parts[{i}]", part, ("draw", "apply"), "an augmentation, with `draw` and `apply`")
        object.__setattr__(self, "parts", parts)

    def __eq__(self, other: object) -> bool:
        """Compare the parts and their classes: named tuples of different classes may compare equal."""
        if type(other) is not type(self):
            return NotImplemented
        return self.parts == other.parts and [*map(type, self.parts)] == [*map(type, other.parts)]

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.parts))})"

    def check(self, n_features: int) -> None:
        """Raise unless each part accepts samples of ``n_features``."""
        for part in self.parts:
            check_augmentation(part, n_features)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Draws, ...]:
        """Return a tuple with the draws of each part."""
        return tuple(part.draw(rng, n) for part in self.parts)

    def apply(self, X: Array, T: Array, draws: tuple[Any, ...], *, xp: ModuleType) -> tuple[Array, Array]:
        """Return the batch after all parts."""
        for part, drawn in zip(self.parts, draws, strict=True):
            X, T = part.apply(X, T, drawn, xp=xp)
        return X, T


def mixes(augmentation: Augmentation | None) -> bool:
    """Return whether an augmentation of this module mixes samples with others."""
    if isinstance(augmentation, Chain):
        return any(map(mixes, augmentation.parts))
    return isinstance(augmentation, Mixup)


def check_augmentation(augmentation: Augmentation | None, n_features: int) -> None:
    """Raise if the augmentation has a ``check`` that rejects samples of ``n_features``."""
    check = getattr(augmentation, "check", None)
    if check is not None:
        check(n_features)
