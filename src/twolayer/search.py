"""Distributions from which `sweep` and scikit-learn's searches can draw random settings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ._namespace import HostArray
from ._validation import check_integer, check_number

__all__ = ["Choice", "Integers", "LogUniform", "Uniform"]

_MOST = 2**53  # float64 represents every integer up to this size


class _Distribution(ABC):
    """A distribution that is defined by its quantiles."""

    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: Any = None) -> Any:
        """Draw at random, as SciPy's distributions do.

        Parameters
        ----------
        size : int or tuple of int, optional
            The shape of the array to draw. By default, a single value is drawn.
        random_state : int, numpy.random.Generator, numpy.random.RandomState or None
            A seed, or a generator to draw from. None uses a seed from the operating system.

        Returns
        -------
        value or numpy array
            Without ``size``, a Python number, or one of the values of a `Choice`.
        """
        if not isinstance(random_state, np.random.Generator | np.random.RandomState):
            random_state = np.random.default_rng(random_state)
        values = self._quantile(np.asarray(random_state.uniform(size=size)))
        return values.item() if size is None else values

    @abstractmethod
    def _quantile(self, u: HostArray) -> HostArray:
        """Return the quantiles at the probabilities ``u`` in [0, 1]."""


@dataclass(frozen=True)
class LogUniform(_Distribution):
    """Numbers whose logarithm is uniform, so that each decade between the bounds is equally likely.

    Parameters
    ----------
    low, high : float
        The bounds; 0 < low < high.

    Raises
    ------
    TypeError, ValueError
        If the bounds are not such numbers.

    Examples
    --------
    >>> from twolayer.search import LogUniform
    >>> LogUniform(1e-3, 1.0).rvs(3, random_state=0).round(4).tolist()
    [0.0814, 0.0064, 0.0013]
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_number("low", self.low, above=0.0)
        check_number("high", self.high, above=self.low)

    def _quantile(self, u: HostArray) -> HostArray:
        values = np.exp(_between(math.log(self.low), math.log(self.high), u))
        return np.clip(values, self.low, self.high)  # rounding may exceed the bounds


@dataclass(frozen=True)
class Uniform(_Distribution):
    """Numbers that are uniform between two bounds.

    Parameters
    ----------
    low, high : float
        The bounds; low < high.

    Raises
    ------
    TypeError, ValueError
        If the bounds are not such numbers.

    Examples
    --------
    >>> from twolayer.search import Uniform
    >>> Uniform(0.0, 0.5).rvs(3, random_state=0).round(4).tolist()
    [0.3185, 0.1349, 0.0205]
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_number("low", self.low)
        check_number("high", self.high, above=self.low)

    def _quantile(self, u: HostArray) -> HostArray:
        return np.clip(_between(self.low, self.high, u), self.low, self.high)


@dataclass(frozen=True)
class Integers(_Distribution):
    """Integers from ``low`` to ``high``, both included.

    Parameters
    ----------
    low, high : int
        The smallest and the largest integer; -2⁵³ ≤ low < high ≤ 2⁵³.
    log : bool
        If True, the distribution is log-uniform: the probability of n is proportional to log(1 + 1/n), and
        ``low`` must be at least 1. If False, all integers are equally likely.

    Raises
    ------
    TypeError, ValueError
        If the bounds are not such integers.

    Examples
    --------
    >>> from twolayer.search import Integers
    >>> Integers(10, 1000, log=True).rvs(5, random_state=0).tolist()
    [188, 34, 12, 10, 423]
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False

    def __post_init__(self) -> None:
        low = check_integer("low", self.low, least=1 if self.log else -_MOST)
        if check_integer("high", self.high, least=low + 1) > _MOST:
            raise ValueError(f"`high` must be at most 2**53; got {self.high}")

    def _quantile(self, u: HostArray) -> HostArray:
        numbers = (LogUniform if self.log else Uniform)(self.low, self.high + 1)
        return np.clip(np.floor(numbers._quantile(u)), self.low, self.high).astype(np.int64)


@dataclass(frozen=True)
class Choice(_Distribution):
    """Values that are all equally likely.

    Parameters
    ----------
    values : sequence
        The values: numbers or other objects, for example optimizers.

    Raises
    ------
    TypeError
        If ``values`` is not iterable, or is a string.
    ValueError
        If ``values`` is empty.

    Examples
    --------
    >>> from twolayer.search import Choice
    >>> Choice([50, 100, 200]).rvs(5, random_state=0).tolist()
    [100, 50, 50, 50, 200]
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Iterable):
            raise TypeError(f"`values` must be a sequence of values; got {type(self.values).__name__}")
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("`values` must hold at least one value; got none")

    def _quantile(self, u: HostArray) -> HostArray:
        objects = np.fromiter(self.values, object, len(self.values))
        rows = np.minimum(u * len(objects), len(objects) - 1).astype(np.int64)
        values: HostArray = objects[rows.reshape(-1)].reshape(rows.shape)  # an array even for a single value
        return values


def _between(low: float, high: float, u: HostArray) -> HostArray:
    return low * (1 - u) + high * u
