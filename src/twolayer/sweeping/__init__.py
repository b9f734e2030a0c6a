"""Sweeps: candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

from .results import Best, SweepResult
from .sweep import sweep

__all__ = ["Best", "SweepResult", "sweep"]
