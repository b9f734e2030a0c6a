"""Helpers that several test files use."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
TESTS = ROOT / "tests"
