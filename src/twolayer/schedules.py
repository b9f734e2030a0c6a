"""Learning-rate schedules."""

from __future__ import annotations

from .training.schedules import Constant, Cosine, Exponential, Schedule, Step, Warmup

__all__ = ["Constant", "Cosine", "Exponential", "Schedule", "Step", "Warmup"]
