"""The version of twolayer, which the package's metadata repeat."""

from __future__ import annotations

__version__ = "0.2.0"
