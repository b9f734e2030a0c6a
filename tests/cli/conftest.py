"""Fixtures for tests of the command line: folders, data, shared runs, and signals."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import QUICK, clusters, done, small_cifar10

from twolayer.cli import console


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working folder for each test: without --out, results go below the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures() -> None:
    """Let runs draw pictures, which takes most of the time of a small run."""


@pytest.fixture
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, unless the test uses the fixture `pictures`."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])


@pytest.fixture
def npz(elsewhere: Path) -> Path:
    """An .npz file of three clusters with 6 features."""
    return clusters(elsewhere / "mine.npz")


@pytest.fixture
def cifar(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CIFAR-10."""
    return small_cifar10(elsewhere / "cifar-10-batches-bin", monkeypatch)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that runs a command and returns its folder. Each run is made once; tests copy the folder."""
    folders: dict[tuple[object, ...], Path] = {}

    def make(*arguments: object) -> Path:
        if arguments not in folders:
            folder = tmp_path_factory.mktemp("made")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                patch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
                clusters(folder / "mine.npz")
                done(*arguments, "--out", "run", "-q")
            folders[arguments] = folder / "run"
        return folders[arguments]

    return make


def copied(folder: Path) -> Path:
    """Copy the folder of a run to `run` in the current folder."""
    return shutil.copytree(folder, Path("run"))


@pytest.fixture
def run(made: Callable[..., Path], elsewhere: Path) -> Path:
    """The folder of a training of two epochs on the digits."""
    return copied(made("train", *QUICK))


@pytest.fixture
def run_of_npz(made: Callable[..., Path], npz: Path) -> Path:
    """The folder of a training on clusters; their file is in the current folder."""
    return copied(made("train", "mine.npz", *QUICK))


@pytest.fixture
def run_of_sweep(made: Callable[..., Path], elsewhere: Path) -> Path:
    """The folder of a sweep of one candidate."""
    return copied(made("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0))


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that arranges signals, sent once after a step and before its epoch enters the history."""

    def at(step: int, *numbers: int, stage: int = 1) -> None:
        original, pending = console.Watch.__call__, [*numbers]

        def call(self: console.Watch, progress: Any) -> None:
            if (progress.step, progress.stage, progress.epoch_ended) == (step, stage, False):
                while pending:
                    signal.raise_signal(pending.pop(0))
            original(self, progress)

        monkeypatch.setattr(console.Watch, "__call__", call)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    # The tests may run as a background job, which ignores Ctrl-C. Set the usual handlers.
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield at
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == usual
