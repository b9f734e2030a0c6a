"""Training: `train`, what it returns and what it tells its callbacks."""

from __future__ import annotations

from . import loop, optimizers, schedules
from .history import History
from .run import Callback, DivergenceWarning, Progress, Run, warns_of_divergence

__all__ = ["Callback", "DivergenceWarning", "History", "Progress", "Run", "optimizers", "schedules", "train"]

# What reports a divergence in its own way calls `loop.train`.
train = warns_of_divergence(loop.train)
