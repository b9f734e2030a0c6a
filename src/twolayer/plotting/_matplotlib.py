"""matplotlib, which is imported where something is drawn."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from .._optional import require

_MODULES = "cm collections colors figure font_manager patches patheffects style textpath ticker"


def load_matplotlib() -> Any:
    """Import matplotlib and those of its modules that are used here; pyplot is not among them."""
    for module in _MODULES.split():
        require(f"matplotlib.{module}", extra="plots", purpose="Drawing")
    return require("matplotlib", extra="plots", purpose="Drawing")


def load_without_backend() -> Any:
    """Import matplotlib whatever backend the environment names: pictures for files need none.

    A process that a notebook starts inherits the notebook's backend, without which matplotlib refuses to be
    imported.

    Raises
    ------
    ImportError
        If matplotlib cannot be imported.
    """
    if "matplotlib" in sys.modules:
        return load_matplotlib()
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib = load_matplotlib()
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
    return matplotlib
