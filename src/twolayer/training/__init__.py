"""Training: `train`, its result, and the progress that it passes to callbacks."""

from __future__ import annotations

from . import arguments, optimizers, schedules
from .diagnosis import with_warnings
from .history import History
from .run import Callback, Progress, Run

__all__ = ["Callback", "History", "Progress", "Run", "optimizers", "schedules", "train"]

# Callers that warn in their own way use `arguments.train`.
train = with_warnings(arguments.train)
