"""The documented number of kernels that a step starts on CuPy, compared with the command's output."""

from __future__ import annotations

import importlib

import pytest
from support import ROOT


@pytest.mark.only_on("cupy")
@pytest.mark.simulated
def test_the_documentation_has_the_table_of_the_command(backend, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    kernels = importlib.import_module("kernels")
    assert kernels.shown(kernels.counts()) in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
