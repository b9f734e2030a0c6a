"""Learning-rate schedules: how the learning rate changes from step to step."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from .._checks import check_integer, check_number
from .._namespace import HostArray


class Schedule(Protocol):
    """What the learning rate is multiplied by at given steps; a user's own of this form is accepted."""

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return a factor (n,), float64, for each of the steps (n,), int64, the first being step 0.

        Parameters
        ----------
        step : host array (n,), int64
        steps_per_epoch : int
            Steps of an epoch, the last short batch included.
        steps : int
            Steps of the whole run.
        """
        ...


class Constant(NamedTuple):
    """The learning rate as it is."""

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return 1 for each of the steps."""
        return np.ones(step.shape)


class Exponential(NamedTuple):
    """Multiply the learning rate by ``factor`` after every ``every`` steps, or after every epoch.

    Parameters
    ----------
    factor : float
        Above 0; 0.95, say.
    every : int, optional
        Number of steps; without it, an epoch.
    first : int, optional
        The step, counted from 1, after which the first decay comes; without it, ``every``.

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

    def __call__(self, step: HostArray, *, steps_per_epoch: int, steps: int) -> HostArray:
        """Return ``factor`` to the power of the decays before each of the steps."""
        factor = check_number("factor", self.factor, above=0.0)
        every = steps_per_epoch if self.every is None else check_integer("every", self.every, least=1)
        first = every if self.first is None else check_integer("first", self.first, least=1)
        decays = np.maximum((step - first) // every + 1, 0)
        return np.asarray(factor ** decays.astype(np.float64))
