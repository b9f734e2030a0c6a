"""A working folder that contains a data file, and a run on these data."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import clusters, done
from support.folders import QUICK


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder that contains `mine.npz`, and draw no pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    clusters(Path("mine.npz"))
    return tmp_path


@pytest.fixture
def run() -> Path:
    """The folder of a finished training run on `mine.npz`."""
    done("train", "mine.npz", *QUICK, "--out", "run")
    return Path("run")
