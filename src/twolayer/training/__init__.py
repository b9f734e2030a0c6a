"""Training: `train`, what it returns and what it tells its callbacks."""

from __future__ import annotations

from . import optimizers, schedules
from .history import History
from .loop import train
from .run import Callback, Progress, Run

__all__ = ["Callback", "History", "Progress", "Run", "optimizers", "schedules", "train"]
