"""Two-layer neural networks with a softmax classifier, for any library of the array API standard."""

from __future__ import annotations

import importlib
from typing import Any

from . import augmentation, datasets, onnx, optimizers, preprocessing, schedules, search
from ._version import __version__ as __version__
from .calibration import calibrate
from .convolution import unroll
from .importance import Importance, permutation_importance
from .network import TwoLayerNet
from .stacks import merge, stack, symmetrize
from .storage import load, load_encoder, load_metadata, save
from .sweeping import SweepPlan, SweepResult, plan, sweep
from .training import History, Progress, Run, train
from .training.diagnosis import DivergenceWarning, NothingLearntWarning

# Imported on first access, because some need optional packages: `twolayer.plotting` needs matplotlib.
_LATER = ("callbacks", "checkpoints", "plotting", "sklearn")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LATER, *(name for name in globals() if name.startswith("__"))})


__all__ = [
    "DivergenceWarning",
    "History",
    "Importance",
    "NothingLearntWarning",
    "Progress",
    "Run",
    "SweepPlan",
    "SweepResult",
    "TwoLayerNet",
    "augmentation",
    "calibrate",
    "datasets",
    "load",
    "load_encoder",
    "load_metadata",
    "merge",
    "onnx",
    "optimizers",
    "permutation_importance",
    "plan",
    "preprocessing",
    "save",
    "schedules",
    "search",
    "stack",
    "sweep",
    "symmetrize",
    "train",
    "unroll",
]
