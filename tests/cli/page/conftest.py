"""Runs of several kinds, and the page of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import cli, done
from support.pages import NAMES, QUICK

from twolayer import datasets
from twolayer.cli.errors import DIVERGED
from twolayer.cli.page import pictures


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs, with pages but without picture files.

    `weird` has class and file names with special characters.
    Every candidate of `all-diverged` diverged, and the data of `training-only` have only training samples.
    """
    parent = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    y = np.arange(300) % 5
    X = rng.normal(size=(300, 6)) + rng.normal(size=(5, 6))[y]
    weird = parent / "weird &lt; 'more'.npz"
    np.savez(weird, X=X, y=y, classes=np.array(NAMES))
    digits = datasets.load_digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
        done("train", *QUICK, "--out", parent / "train")
        done("train", *QUICK, "--networks", 2, "--judge", "last", "--out", parent / "several")
        rates = ("--learning-rate", "0.3,1000", "--reg", "0,0.01", "--seeds", 2)
        done("sweep", *QUICK, *rates, "--out", parent / "sweep")
        done("train", weird, *QUICK, "--out", parent / "weird")
        for name, arguments in {"diverged": ("train", 40), "all-diverged": ("sweep", 1e6)}.items():
            command, rate = arguments
            result = cli(command, *QUICK, "--learning-rate", rate, "--out", parent / name)
            assert result.exit_code == DIVERGED
        patch.setattr("twolayer.cli.data.load_digits", lambda: replace(digits, test=None, validation=None))
        done("train", *QUICK, "--out", parent / "training-only")
    for folder in parent.iterdir():
        if folder.is_dir():
            done("report", folder)
    return parent


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, as drawing takes most of the time."""
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    monkeypatch.setattr(pictures, "_encoded", lambda figure, suffix: "data:,")


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function that copies a run to a new folder, where the test may change it."""
    return lambda name: Path(shutil.copytree(runs / name, tmp_path / name))
