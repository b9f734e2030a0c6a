"""A folder with data, and a run on these data."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import clusters, done
from support.folders import QUICK


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    clusters(Path("mine.npz"))
    return tmp_path


@pytest.fixture
def run() -> Path:
    done("train", "mine.npz", *QUICK, "--out", "run")
    return Path("run")
