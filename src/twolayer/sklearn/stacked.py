"""Runs that a search has trained in stacks, for the estimators that scikit-learn then fits one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from .._namespace import HostArray
from ..training import Run


class Trained(NamedTuple):
    """The run of one estimator, with its parameters, seed and labels."""

    run: Run
    losses: list[float]  # mean loss of each epoch
    parameters: SimpleNamespace
    seed: int  # replaces the parameter `random_state`
    codes: HostArray  # label codes of the training samples

    def belongs_to(self, parameters: SimpleNamespace, codes: HostArray) -> bool:
        """Return whether an estimator with these parameters and labels would train in the same way."""
        ours, theirs = (vars(one) | {"random_state": self.seed} for one in (self.parameters, parameters))
        return ours == theirs and np.array_equal(self.codes, codes)


_AHEAD: ContextVar[Iterator[Trained | None] | None] = ContextVar("ahead", default=None)


@contextmanager
def trained_ahead(runs: Iterable[Trained | None]) -> Iterator[None]:
    """Provide these runs to the estimators that are fitted in this context, one each, in order."""
    token = _AHEAD.set(iter(runs))
    try:
        yield
    finally:
        _AHEAD.reset(token)


def next_trained() -> Trained | None:
    """Return the run for the next estimator to be fitted, or None if it must train on its own."""
    runs = _AHEAD.get()
    return None if runs is None else next(runs, None)
