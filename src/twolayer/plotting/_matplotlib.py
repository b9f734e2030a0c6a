"""The import of matplotlib, which is delayed until something is drawn."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from .._optional import require

_MODULES = "cm collections colors figure font_manager patches patheffects style textpath ticker"


def load_matplotlib() -> Any:
    """Import matplotlib and its modules that this package uses, except pyplot, which needs a backend."""
    for module in _MODULES.split():
        require(f"matplotlib.{module}", extra="plots", purpose="Drawing")
    return require("matplotlib", extra="plots", purpose="Drawing")


def load_without_backend() -> Any:
    """Import matplotlib even if the environment names a backend that cannot be imported.

    Pictures for files need no backend. But a process that a notebook starts inherits the notebook's backend,
    and if that is not installed for the process, matplotlib itself cannot be imported.

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
    if backend:  # set it afterwards, for the user's own pictures
        with contextlib.suppress(ValueError):  # matplotlib does not know it
            matplotlib.rcParams["backend"] = backend
    return matplotlib
