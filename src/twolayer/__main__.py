"""The command line as ``python -m twolayer``."""

from __future__ import annotations

from .cli import main

main()
