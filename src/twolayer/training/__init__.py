"""Training: `train`, its result, and the progress that it passes to callbacks."""

from __future__ import annotations

from . import arguments, optimizers, schedules
from .history import History
from .run import Callback, DivergenceWarning, Progress, Run, warns_of_divergence

__all__ = ["Callback", "DivergenceWarning", "History", "Progress", "Run", "optimizers", "schedules", "train"]

# Callers that report a divergence in their own way use `arguments.train`.
train = warns_of_divergence(arguments.train)
