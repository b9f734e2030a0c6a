"""What the Tab key offers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import BashComplete
from command_line import done, refused

from twolayer.cli import jobs
from twolayer.cli.commands import app
from twolayer.cli.completion import VARIABLE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs.folders, "draw", lambda folder, *, suffix="png": [])
    return tmp_path


def tab(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    complete = BashComplete(app, {}, "twolayer", VARIABLE)
    items = complete.get_completions(list(words[:-1]), words[-1])
    assert all(item.type in ("plain", "file") for item in items)
    return [item.value if item.type == "plain" else "FILES" for item in items]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("",), ["train", "sweep", "evaluate", "predict", "export", "plot", "report", "info", "completion"]),
        (("ex",), ["export"]),
        (("train", "--hid"), ["--hidden"]),
        (("sweep", "--see"), ["--seed", "--seeds"]),
        (("train", "--no-fl"), ["--no-flip"]),
        (("train", "--optimizer", "ad"), ["adam", "adamw"]),
        (("train", "--library", ""), ["numpy", "cupy", "torch", "jax"]),
        (("train", "--preset", ""), ["cpu", "no-augmentation", "record", "assignment"]),
        (("train", "--preset", "a"), ["assignment"]),
        (("train", "--scale", ""), ["global", "feature", "channel"]),
        (("sweep", "--weight-scale", "h"), ["he"]),
        (("train", "--hidden", ""), []),
        (("train", ""), ["digits", "cifar10", "mine.npz", "other.npz"]),
        (("train", "d"), ["digits"]),
        (("evaluate", "run", "m"), ["mine.npz"]),
        (("train", "data/"), ["data/far.npz"]),
        (("train", "data"), ["FILES"]),
        (("train", "none/"), ["FILES"]),
        (("train", "--config", ""), ["settings.toml"]),
        (("train", "--data", ""), ["FILES"]),
        (("predict", "run", ""), ["FILES"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_what_is_offered(elsewhere: Path, words: tuple[str, ...], offered: list[str]) -> None:
    (elsewhere / "data").mkdir()
    for name in ("mine.npz", "other.npz", ".hidden.npz", "data/far.npz"):
        np.savez(elsewhere / name, X=np.ones((2, 2)), y=np.arange(2))
    (elsewhere / "settings.toml").write_text("")
    assert tab(*words) == offered


def test_runs_are_offered_where_they_are_of_use() -> None:
    done("train", "--epochs", 1, "--out", "runs/one", "-q")
    done("sweep", "--epochs", 1, "--hidden", 5, "--seeds", 1, "--out", "runs/two", "-q")
    shutil.copytree("runs/one", "elsewhere")
    Path("runs/empty").mkdir()
    assert tab("evaluate", "") == ["elsewhere", "runs/one", "runs/two"]
    assert tab("predict", "ru") == tab("export", "runs/") == ["runs/one", "runs/two"]
    assert tab("evaluate", "runs/one/") == ["runs/one/network.safetensors"]
    assert tab("train", "--resume", "runs") == ["runs/one"]
    assert tab("plot", "runs/t") == ["runs/two"]
    assert tab("plot", "runs/e") == ["FILES"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed(shell: str) -> None:
    script = done("completion", shell)
    assert f"{VARIABLE}={shell}_complete" in script
    assert "_twolayer_completion" in script


def test_the_shell_must_be_named() -> None:
    assert "Missing argument" in refused("completion", code=2)


def test_a_process_answers_the_shell() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "twolayer"],
        env={
            **os.environ,
            VARIABLE: "bash_complete",
            "COMP_WORDS": "twolayer train --judge ",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert found.stdout.split() == ["plain,best", "plain,last"]


@pytest.mark.skipif(shutil.which("bash") is None or sys.platform == "win32", reason="there is no bash")
def test_bash_completes(elsewhere: Path) -> None:
    command = elsewhere / "bin" / "twolayer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twolayer "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(twolayer completion bash)"
        COMP_WORDS=(twolayer sweep --schedule c) COMP_CWORD=3
        _twolayer_completion twolayer
        echo "${COMPREPLY[@]}"
        complete -p twolayer
    """
    found = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    offered, registered = found.stdout.splitlines()
    assert offered == "cosine constant"
    assert "-F _twolayer_completion twolayer" in registered
