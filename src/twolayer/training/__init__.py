"""Training: `train`, what it returns and what it tells its callbacks."""

from __future__ import annotations

from . import schedules
from .history import History
from .loop import Callback, Progress, Run, train

__all__ = ["Callback", "History", "Progress", "Run", "schedules", "train"]
