"""Sweeps over hyper-parameters, whose candidates are trained as stacks of networks."""

from __future__ import annotations

from .parts import Part, PartResult
from .planning import plan
from .plans import SweepPlan
from .results import Best, SweepResult
from .sweep import sweep

__all__ = ["Best", "Part", "PartResult", "SweepPlan", "SweepResult", "plan", "sweep"]
