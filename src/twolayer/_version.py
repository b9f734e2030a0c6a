"""Version of twolayer; the build reads the package's metadata from here."""

from __future__ import annotations

__version__ = "0.2.0"
