"""Ctrl-C, and the progress of a run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rich.console
from support.command_line import PICTURES, QUICK, SWEEP_FILES, TRAIN_FILES, cli, done, files_in, read, rows_of

from twolayer import History, callbacks
from twolayer.cli import console

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


@pytest.mark.parametrize("step", [37, 44])  # within an epoch, and at its end
def test_a_resumed_training_equals_an_uninterrupted_one(send: Any, step: int) -> None:
    done("train", "--steps", 70, "--hidden", 8, "-q", "--out", "whole")
    send(step, signal.SIGINT)
    result = cli("train", "--steps", 70, "--hidden", 8, "--out", "run")
    assert result.exit_code == 130
    message = f"interrupted at step {step} of 70; `twolayer train --resume run` continues from there"
    assert message in result.output
    assert files_in("run") == TRAIN_FILES - PICTURES
    results = read("run/results.json")
    assert (results["complete"], results["n_steps"]) == (False, step)
    assert f"Resuming from step {step} of 70" in done("train", "--resume", "run")
    for name in ("network.safetensors", "history.json", "results.csv"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert read("run/results.json")["complete"] is True


def test_a_training_interrupted_before_validation_saves_no_network(send: Any) -> None:
    send(3, signal.SIGINT)
    result = cli("train", "--epochs", 2, "--out", "run")
    assert result.exit_code == 130
    assert "network.safetensors" not in files_in("run")
    assert {"checkpoint.safetensors", "history.json", "results.json"} <= files_in("run")


@pytest.mark.parametrize(
    ("step", "stage", "n_seeds", "steps"),
    # In the second stack; in the second epoch of a single stack; before there is a result to keep.
    [(5, 2, 3, ["44", "44"]), (25, 1, 1, ["25", "25"]), (5, 1, 3, [])],
)
def test_an_interrupted_sweep_keeps_its_networks(
    send: Any, step: int, stage: int, n_seeds: int, steps: list[str]
) -> None:
    send(step, signal.SIGINT, stage=stage)
    grid = ("--learning-rate", "0.1,0.3", "--reg", 0, "--seeds", n_seeds)
    result = cli("sweep", *QUICK, *grid, "--out", "run")
    assert result.exit_code == 130
    message = (
        f"interrupted: {len(steps)} of {2 * n_seeds} networks are in the tables, unfinished ones in their"
    )
    assert message in result.output
    assert "`twolayer sweep --resume run` continues from there" in result.output
    assert "try " not in result.output  # an unfinished grid suggests no values to try
    assert read("run/results.json")["complete"] is False
    assert files_in("run") == (
        SWEEP_FILES - PICTURES if steps else {"settings.toml", "results.json", "parts"}
    )
    if steps:
        assert [(row["n_steps"], row["seed"]) for row in rows_of("run/runs.csv")] == [(n, "0") for n in steps]


def test_an_interrupted_random_search_counts_its_candidates(send: Any) -> None:
    send(5, signal.SIGINT, stage=2)
    grid = ("--learning-rate", "0.1..0.3", "--candidates", 2, "--seeds", 3)
    assert "interrupted: 2 of 6 networks are in the tables" in cli("sweep", *QUICK, *grid).output


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_ctrl_c_in_a_terminal_stops_a_training(elsewhere: Path) -> None:
    """A real process gets a real signal in a real terminal, once the progress bar is shown."""
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    command = (sys.executable, "-m", "twolayer", "train", "--epochs", "1000000", "--out", "run")
    # The process would inherit an ignored Ctrl-C, as of a background job. Start it with the usual handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    process = subprocess.Popen(command, **streams, env=environment, close_fds=True)
    signal.signal(signal.SIGINT, before)
    os.close(slave)
    shown = b""
    pressed = False
    try:
        while True:
            try:
                shown += os.read(master, 65536)
            except OSError:  # raised at the end of the output
                break
            if not pressed and b"best validation accuracy" in shown:
                process.send_signal(signal.SIGINT)
                pressed = True
        assert process.wait() == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    assert b"\x1b[" in shown
    assert re.search(r"epoch \d+ of 1000000, loss [\d.e-]+, best validation accuracy 0\.\d{3}", text)
    assert re.search(r"interrupted at step [\d,]+ of 22,000,000", text)
    assert files_in("run") >= TRAIN_FILES


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stream of a simulated terminal, to which all output is written."""
    written = io.StringIO()
    monkeypatch.setattr(
        console,
        "_rich_console",
        lambda *, stderr: rich.console.Console(file=written, force_terminal=True, width=120),
    )
    return written


def test_a_terminal_shows_a_bar_and_colours(terminal: io.StringIO) -> None:
    done("train", *QUICK[:-1], "--out", "run")
    text = terminal.getvalue()
    assert "━" in text
    assert re.search(r"epoch 2 of 2, loss \d\.\d+, best validation accuracy 0\.\d{3}", text)
    assert "\x1b[1;32m" in text


def test_quiet_shows_no_bar(terminal: io.StringIO) -> None:
    done("train", *QUICK, "--out", "run")
    assert "━" not in terminal.getvalue()


def test_a_terminal_shows_a_bar_for_a_download(terminal: io.StringIO) -> None:
    with console.Console().download("data") as progress:
        progress.update(3)  # nothing to show yet
        assert terminal.getvalue() == ""
        progress.total = 2**20
        progress.update(2**19)
        progress.reset()
        progress.update(2**20)
        progress.total = 2**20
        progress.close()
    assert re.search(r"Downloading data.*1\.0/1\.0 MB", terminal.getvalue())


def test_outside_the_main_thread_the_handler_of_ctrl_c_is_unchanged() -> None:
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work() -> None:
        with console.Console(quiet=True).watch("Training"):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_lines_show_progress_if_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    stops: list[int] = []
    nothing, step = np.zeros((2, 0)), np.arange(10, 50, 10)
    accuracy = np.array([[0.5, np.nan], [0.25, 0.625]])
    history = History(np.full((2, 40), 0.25), nothing, step, nothing, nothing, nothing, accuracy)

    def after(step: int, *, ended: bool = False, stage: int = 1) -> Any:
        place = {"step": step, "steps": 40, "epoch": step // 10, "epochs": 4, "stage": stage, "stages": 2}
        stop = partial(stops.append, step)
        return SimpleNamespace(**place, epoch_ended=ended, history=lambda: history, stop=stop)

    with console.Console().watch("Sweep") as watch:
        for clock.now, progress in ((1, after(1)), (29, after(10, ended=True)), (31, after(11))):
            watch(progress)
        assert capsys.readouterr().err == ""
        clock.now = 41
        watch(after(12))
        figures = "loss 0.25, best validation accuracy 0.625"
        assert capsys.readouterr().err == f"Sweep: 15%, part 1 of 2, epoch 2 of 4, {figures}, 0:04:07 left\n"
        clock.now = 90
        watch.interrupted = True
        watch(after(40, stage=2))
        assert capsys.readouterr().err == "Sweep: 65%, stopping\n"
        assert stops == [40]
        watch.on_end()
    with console.Console(quiet=True).watch("Sweep") as watch:
        for clock.now in (1000, 2000):
            watch(after(12))
    assert capsys.readouterr() == ("", "")
