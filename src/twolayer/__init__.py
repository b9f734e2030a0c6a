"""The two-layer neural network with a softmax classifier, written once for every array library."""

from __future__ import annotations

import importlib
from types import ModuleType

from . import preprocessing
from .network import TwoLayerNet
from .stacks import merge, stack
from .sweeping import SweepResult, sweep
from .training import History, Progress, Run, schedules, train

__version__ = "0.1.0"

__all__ = [
    "History",
    "Progress",
    "Run",
    "SweepResult",
    "TwoLayerNet",
    "merge",
    "preprocessing",
    "schedules",
    "stack",
    "sweep",
    "train",
]
