"""Runs that a search trained in stacks, handed to the estimators that scikit-learn then fits one by one."""

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
    """The run of one estimator, and what it was trained with."""

    run: Run
    losses: list[float]  # of its epochs
    parameters: SimpleNamespace
    seed: int  # in place of the parameter `random_state`
    codes: HostArray  # numbers of the labels

    def belongs_to(self, parameters: SimpleNamespace, codes: HostArray) -> bool:
        """Return whether an estimator with these parameters and labels would train the same."""
        ours, theirs = (vars(one) | {"random_state": self.seed} for one in (self.parameters, parameters))
        return ours == theirs and np.array_equal(self.codes, codes)


_AHEAD: ContextVar[Iterator[Trained | None] | None] = ContextVar("ahead", default=None)


@contextmanager
def trained_ahead(runs: Iterable[Trained | None]) -> Iterator[None]:
    """Let the estimators that are fitted in this context take these runs, one each, in their order."""
    token = _AHEAD.set(iter(runs))
    try:
        yield
    finally:
        _AHEAD.reset(token)


def next_trained() -> Trained | None:
    """Return the run of the estimator that is fitted next; None if it must train by itself."""
    runs = _AHEAD.get()
    return None if runs is None else next(runs, None)
