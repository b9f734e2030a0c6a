"""Learning-rate schedules: how the learning rate changes from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from .._namespace import HostArray
from .._validation import check_form, check_integer, check_number

_MOST = 2**53  # steps or epochs: more than any run has, and sums of such numbers still fit int64


class Schedule(Protocol):
    """Factor of the learning rate at given steps; your own callable of this form is accepted.

    It is called for any range of steps of a run, and more than once for some. So the result must depend on
    the arguments alone.
    """

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return a factor (n,), float64, for each of the steps (n,).

        Parameters
        ----------
        step : host array (n,), int64
            Steps of the run, counted from 0.
        steps_per_epoch : int
            Steps of an epoch, including a short last batch.
        steps : int
            Steps of the whole run.
        """


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant learning rate."""

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return 1 for each of the steps."""
        return np.ones(step.shape)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Multiply the learning rate by ``factor`` after every ``every`` steps, or after every epoch.

    Parameters
    ----------
    factor : float
        Above 0; for example 0.95.
    every : int, optional
        Number of steps between two decays; by default an epoch.
    first : int, optional
        Number of steps before the first decay; by default ``every``.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import schedules
    >>> decay = schedules.Exponential(0.5, every=2)
    >>> decay(np.arange(5), steps_per_epoch=10, steps=5).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    factor: float
    every: int | None = None
    first: int | None = None

    def __post_init__(self) -> None:
        check_number("factor", self.factor, above=0.0)
        for name in ("every", "first"):
            _check_count(name, getattr(self, name))

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return ``factor`` to the power of the number of decays before each step."""
        every = min(int(self.every or steps_per_epoch), _MOST)
        first = min(int(self.first or every), _MOST)
        decays = np.maximum((step - first) // every + 1, 0)
        return np.asarray(float(self.factor) ** decays.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Step:
    """Multiply the learning rate by ``factor`` after every ``epochs`` epochs, or after each listed epoch.

    Parameters
    ----------
    factor : float
        Above 0.
    epochs : int or tuple of int
        The number of epochs between two decays; or a tuple of the number of epochs done at each decay,
        ascending.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import schedules
    >>> schedules.Step(0.5, epochs=2)(np.arange(6), steps_per_epoch=1, steps=6).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    >>> schedules.Step(0.5, epochs=(1, 4))(np.arange(6), steps_per_epoch=1, steps=6).tolist()
    [1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    """

    factor: float = 0.1
    epochs: int | tuple[int, ...] = 10

    def __post_init__(self) -> None:
        check_number("factor", self.factor, above=0.0)
        if not isinstance(self.epochs, tuple):
            if np.ndim(self.epochs) > 0:
                kind = type(self.epochs).__name__
                raise TypeError(f"`epochs` must be an integer or a tuple of integers; got {kind}")
            check_integer("epochs", self.epochs, least=1)
            return
        if not self.epochs:
            raise ValueError("`epochs` must hold at least one epoch if it is a tuple; got an empty tuple")
        for end in self.epochs:
            check_integer("epochs", end, least=1)
        for end, later in pairwise(self.epochs):
            if later <= end:
                raise ValueError(f"`epochs` must be ascending if it is a tuple; got {later} after {end}")

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return ``factor`` to the power of the number of decays before each step."""
        epoch = step // steps_per_epoch
        if isinstance(self.epochs, tuple):
            decays = np.searchsorted([int(end) for end in self.epochs], epoch, side="right")
        else:
            decays = epoch // min(int(self.epochs), _MOST)
        return np.asarray(float(self.factor) ** decays.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Cosine:
    """Lower the learning rate from its full value to zero over the run, along half a cosine [1]_.

    The factor of a step, counted from 0, is (1 + cos(π · step / steps)) / 2. It depends on the length of the
    run: a run resumed with a larger total has other learning rates than a run that had this total from its
    beginning.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (here
       without restarts). https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import schedules
    >>> schedules.Cosine()(np.arange(4), steps_per_epoch=2, steps=4).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146]
    """

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return (1 + cos(π · step / steps)) / 2 for each of the steps."""
        return np.asarray(0.5 * (1.0 + np.cos(np.pi * step / steps)))


@dataclass(frozen=True, slots=True)
class Warmup:
    """Raise the learning rate linearly over the first steps, then follow another schedule.

    In a warm-up of n steps, the factor of a step, counted from 0, is (step + 1) / n times the first factor of
    the other schedule. Then the other schedule begins with its step 0. The length of its run is the rest of
    this one, ``steps - n``, or 1 if nothing is left. Its epochs are counted from there too.

    Parameters
    ----------
    schedule : Schedule
        The schedule after the warm-up; it may be your own.
    epochs, steps : int, optional
        Length of the warm-up: give one of them, or neither for 1 epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import schedules
    >>> warm = schedules.Warmup(schedules.Exponential(0.5, every=2), steps=4)
    >>> warm(np.arange(8), steps_per_epoch=10, steps=8).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
    """

    schedule: Schedule = Cosine()
    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        wanted = "a schedule, such as twolayer.schedules.Cosine()"
        check_form("schedule", self.schedule, ("__call__",), wanted)
        if self.epochs is not None and self.steps is not None:
            raise ValueError("`epochs` or `steps` must be given, not both; got both")
        for name in ("epochs", "steps"):
            _check_count(name, getattr(self, name))

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return the warm-up's factor times the other schedule's factor for each step."""
        n = min(int(self.steps or steps_per_epoch * int(self.epochs or 1)), _MOST)
        factors = self.schedule(
            np.maximum(step - n, 0), steps_per_epoch=steps_per_epoch, steps=max(steps - n, 1)
        )
        if np.shape(factors) != step.shape:
            raise ValueError(f"`schedule` must return factors of shape {step.shape}; got {np.shape(factors)}")
        return np.asarray(np.minimum((step + 1) / n, 1.0) * factors)


def _check_count(name: str, value: int | None) -> None:
    """Raise unless a number of steps or epochs is a positive integer or None."""
    if value is not None:
        check_integer(name, value, least=1)
