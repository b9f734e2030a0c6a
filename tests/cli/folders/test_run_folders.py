"""Run folders: how a new run replaces an old one, even when a process is killed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import answered, cli, done, refused, settings_in
from support.folders import QUICK, contents, folders_in, raising, without_room

from twolayer import storage
from twolayer.checkpoints import load_run
from twolayer.cli import run_folder
from twolayer.training.arguments import train


@pytest.mark.parametrize(
    "error", [MemoryError("there is no room"), KeyboardInterrupt()], ids=["memory", "stop"]
)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_new_run_that_fails_leaves_the_old_one(run: Path, monkeypatch, error, command) -> None:
    before = contents(run)
    work = {"train": "train.train", "sweep": "sweep.carried_out"}[command]
    monkeypatch.setattr(f"twolayer.cli.{work}", raising(error))
    cli(command, "mine.npz", *QUICK, "--out", run, "--overwrite")
    assert contents(run) == before
    assert not folders_in(run)


def test_a_new_run_replaces_all_files_of_the_old_one(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    done("report", run)
    (run / "network.onnx").write_text("of the old network")
    done("sweep", "mine.npz", *QUICK, "--out", run, "--overwrite")
    names = {path.name for path in run.iterdir()}
    assert names == {
        *("history.csv", "history.json", "network.safetensors", "predictions.npz", "results.csv"),
        *("results.json", "runs.csv", "settings.toml", "steps.csv", "notes.txt", "parts"),
    }
    assert settings_in(run)["command"] == "sweep"


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_new_run_that_diverges_leaves_the_old_one(run: Path, command: str) -> None:
    before = contents(run)
    arguments = ("--learning-rate", 1e30, "--reg", 0, "--out", run, "--overwrite")
    assert cli(command, "mine.npz", *QUICK, *arguments).exit_code == 3
    assert (run / ".new-run" / "results.json").is_file()
    assert contents(run) == before
    done("train", "mine.npz", *QUICK, "--out", run, "--overwrite")  # replaces both runs
    assert not folders_in(run)


def test_a_new_run_that_is_stopped_leaves_the_old_one_and_can_be_resumed(run: Path, monkeypatch) -> None:
    before = contents(run)

    def stopping(*arguments: Any, callbacks: Any, **more: Any) -> Any:
        return train(*arguments, callbacks=[*callbacks, lambda progress: progress.stop()], **more)

    with monkeypatch.context() as patch:
        patch.setattr("twolayer.cli.train.train", stopping)
        result = cli("train", "mine.npz", *QUICK, "--seed", 5, "--out", run, "--overwrite")
    assert f"`twolayer train --resume {run}` continues from there" in result.output
    assert contents(run) == before
    done("train", "--resume", run)
    assert settings_in(run)["seed"] == 5
    assert not folders_in(run)


def test_the_old_training_can_be_resumed_after_a_sweep_was_killed(run: Path) -> None:
    (run / ".new-run").mkdir()
    shutil.copy(run / "settings.toml", run / ".new-run")
    done("train", "--resume", run, "--epochs", 3)
    assert settings_in(run)["epochs"] == 3


@pytest.mark.parametrize("fails", ["network.safetensors", "predictions.npz"])
def test_a_sweep_on_a_full_disk_and_later_commands_leave_the_old_run(run: Path, monkeypatch, fails) -> None:
    before = contents(run)
    with monkeypatch.context() as patch:
        without_room(patch, fails)
        assert cli("sweep", "mine.npz", *QUICK, "--out", run, "--overwrite").exit_code == 1
    assert "holds a run (--overwrite" in refused("train", "mine.npz", *QUICK, "--out", run)
    assert "has already taken" in refused("train", "--resume", run)
    assert contents(run) == before


@pytest.mark.parametrize("name", [".new-run", ".whole-run", ".moving-run"])
def test_train_refuses_a_folder_within_the_folder_of_a_run(run: Path, name: str) -> None:
    for arguments in (("mine.npz", *QUICK, "--out", run / name, "--overwrite"), ("--resume", run / name)):
        assert f"{run / name} is within one: give {run}" in refused("train", *arguments)


# Files of the user that have the names of files of a run.
USERS_FILES = ("results.csv", "report.html", "settings.toml", "network.onnx", "history.json", "curves.png")


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_folder_that_holds_no_run_is_left_alone(command) -> None:
    project = Path("project")
    project.mkdir()
    for name in USERS_FILES:
        (project / name).write_text("epochs = 3\n" if name == "settings.toml" else "mine")
    before = contents(project)
    arguments = (command, "mine.npz", "--config", project / "settings.toml", "--out", project, "--overwrite")
    assert "must be a new or an empty folder; project holds files but no run" in refused(*arguments)
    assert contents(project) == before


def test_a_run_does_not_replace_its_own_data(run: Path) -> None:
    shutil.copy("mine.npz", run / "predictions.npz")
    before = contents(run)
    line = refused("train", run / "predictions.npz", *QUICK, "--out", run, "--overwrite")
    assert "`--overwrite` must not remove the data" in line
    os.link("mine.npz", run / "steps.csv.npz")
    (run / "steps.csv").unlink()
    (run / "steps.csv").symlink_to(Path("mine.npz").absolute())
    assert "must not remove the data" in refused("train", "mine.npz", *QUICK, "--out", run, "--overwrite")
    assert contents(run)["predictions.npz"] == before["predictions.npz"]


def test_a_folder_named_like_a_file_is_refused_before_files_are_removed(run: Path) -> None:
    (run / "curves.png").mkdir()
    before = contents(run)
    line = refused("train", "mine.npz", *QUICK, "--out", run, "--overwrite")
    assert line == f"Error: Is a directory: {run / 'curves.png'}"
    assert contents(run) == before


# Killed processes


def started(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "twolayer", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, for up to two minutes."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


LONG = ("--epochs", 100000, "--hidden", 6, "--checkpoint-steps", 1, "-q")


@pytest.fixture
def long_training(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a training that will replace a run and has written a checkpoint."""
    process = started("train", "mine.npz", *LONG, "--out", run, "--overwrite")
    try:
        wait_for((run / ".new-run" / "checkpoint.safetensors").exists)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_new_run_that_is_killed_leaves_the_old_one_and_can_be_resumed(run: Path, long_training) -> None:
    before = {path: path.read_bytes() for path in run.iterdir() if not path.name.startswith(".")}
    long_training.kill()
    long_training.wait()
    assert answered("evaluate", run, "mine.npz").code == 0
    assert before == {path: path.read_bytes() for path in before}
    n_steps = load_run(run / ".new-run" / "checkpoint.safetensors").n_steps
    output = done("train", "--resume", run, "--steps", n_steps + 1)
    assert f"Resuming the run that will replace the one in {run}" in output
    assert settings_in(run)["n_hidden"] == 6
    assert storage.load(run).n_hidden == 6
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_new_run_replaces_one_that_was_killed(run: Path, long_training) -> None:
    long_training.kill()
    long_training.wait()
    done("train", "mine.npz", *QUICK, "--out", run, "--overwrite")
    assert settings_in(run)["n_hidden"] == 5
    assert not folders_in(run)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX file modes")
def test_a_new_run_keeps_the_file_modes_of_the_old_one(run: Path) -> None:
    for path in run.iterdir():
        path.chmod(0o600)
    done("train", "mine.npz", *QUICK, "--out", run, "--overwrite")
    assert {path.stat().st_mode & 0o777 for path in run.iterdir()} == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows only administrators to create links")
@pytest.mark.parametrize("name", [run_folder.LOCK, ".new-run", ".whole-run", ".moving-run"])
def test_a_link_in_the_folder_of_a_run_is_not_followed(run: Path, name: str) -> None:
    Path("mine").mkdir()
    for other in ("results.json", "settings.toml", "notes.txt"):
        Path("mine", other).write_text("mine")
    before = contents(Path("mine"))
    (run / name).symlink_to(Path("mine", "notes.txt" if name == run_folder.LOCK else "").absolute())
    assert cli("train", "mine.npz", *QUICK, "--out", run, "--overwrite").exit_code == 1
    cli("train", "--resume", run, "--epochs", 3)
    assert contents(Path("mine")) == before


@given(stops=st.integers(0, 60))
def test_the_next_process_finishes_a_replacement_that_was_killed(stops: int) -> None:
    shutil.rmtree("a", ignore_errors=True)
    old, new = Path("a"), Path("a/.new-run")
    new.mkdir(parents=True)
    for name in ("settings.toml", "results.json", "results.csv", "network.onnx", "curves.png", "notes.txt"):
        (old / name).write_text("old")
    for name in ("settings.toml", "results.json", "history.json"):
        (new / name).write_text("new")

    # Simulate the kill by an error at one of the changes to files and folders.
    remaining = itertools.count(stops, -1)

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if next(remaining) <= 0:
                raise KeyboardInterrupt
            return change(*arguments, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("unlink", "replace", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        with suppress(KeyboardInterrupt):
            run_folder.take_place(new)
        patch.undo()
        if new.exists():  # killed before the replacement began
            run_folder.take_place(new)
    run_folder.settle(old)
    names = ("settings.toml", "results.json", "history.json")
    assert contents(old) == {**dict.fromkeys(names, b"new"), "notes.txt": b"old"}
    run_folder.settle(old)  # a second time, when nothing is left to do
    assert not folders_in(old)


# Several processes in one folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--resume", "run"),
        ("train", "mine.npz", *QUICK, "--out", "run", "--overwrite"),
        ("sweep", "mine.npz", *QUICK, "--out", "run", "--overwrite"),
        ("plot", "run"),
        ("report", "run"),
        ("export", "run"),
    ],
    ids=lambda arguments: "-".join(map(str, arguments[:2])),
)
def test_no_other_process_writes_in_a_folder_in_use(
    run: Path, long_training, monkeypatch: pytest.MonkeyPatch, arguments
) -> None:
    monkeypatch.setattr(run_folder, "_LOCK_TIMEOUT", 0.2)
    line = refused(*arguments)
    assert f"{run} must not be in use; process {long_training.pid} on " in line
    assert "is writing in it" in line
    assert long_training.poll() is None
    assert answered("evaluate", run, "mine.npz").code == 0  # evaluate only reads


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_lock_ends_with_its_process(run: Path, long_training) -> None:
    long_training.send_signal(signal.SIGKILL)
    long_training.wait()
    assert (run / run_folder.LOCK).exists()
    done("plot", run)
    assert not (run / run_folder.LOCK).exists()


def test_plot_works_on_a_file_system_without_locks(run: Path, monkeypatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", raising(OSError(95, "Operation not supported")))
    done("plot", run)
    assert not (run / run_folder.LOCK).exists()


def test_a_lock_whose_file_was_removed_does_not_block(run: Path) -> None:
    with run_folder.locked(run):
        (run / run_folder.LOCK).unlink()
        with run_folder.locked(run):  # locks a new file, as the old one has no name any more
            assert (run / run_folder.LOCK).exists()
