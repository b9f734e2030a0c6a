"""docs/command-line.md: its examples, run in order by a shell, and its tables, compared with the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT
from support.command_line import answered

from twolayer.cli import errors
from twolayer.cli.commands import app

PAGE = ROOT / "docs" / "command-line.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(text: str, folder: Path) -> str:
    """Run a page's Python and shell blocks in a folder; return the shell's output. Fail at an error."""
    command = folder / "bin" / "twolayer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twolayer "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (command.parent / "python").symlink_to(sys.executable)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    namespace: dict[str, Any] = {}
    shown = ""
    for kind, source in BLOCK.findall(text):
        if kind == "python":
            exec(compile(source, str(PAGE), "exec"), namespace)
            continue
        script = f"set -o errexit -o pipefail -o xtrace\n{source}"
        found = subprocess.run(
            ["bash", "--norc", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        shown += found.stdout
    return shown


needs_bash = pytest.mark.skipif(
    shutil.which("bash") is None or sys.platform == "win32", reason="there is no bash"
)


@needs_bash
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run_blocks(TEXT, tmp_path)
    for command in app.commands:
        assert f"\n  {command} " in shown  # in the output of --help
    runs_of_settings = {"grid", "wider", "again", "smaller", "wine", "longer"}
    runs_of_sweeps = {"calibrated", "random", "more", "folds", "halved", "apart"}
    assert {"first", "rates", *runs_of_settings, *runs_of_sweeps} == {
        path.name for path in (tmp_path / "runs").iterdir()
    }
    assert re.search(r"scans/4\.png +\d +0\.\d{4}", shown)
    assert re.fullmatch(r"0\.\d+", shown.strip().splitlines()[-1])
    assert len((tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 4


@needs_bash
def test_a_failing_example_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No such command 'trian'"):
        run_blocks("```sh\ntwolayer trian\ntwolayer --version\n```\n", tmp_path)


def test_the_table_lists_every_command() -> None:
    table = TEXT.partition("| command | what it does |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE) == list(app.commands)


def test_the_table_has_every_exit_code() -> None:
    table = TEXT.partition("## Exit codes")[2].partition("##")[0]
    documented = dict(re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE))
    assert set(map(int, documented)) == set(errors.EXIT_CODES)
    for code, meaning in errors.EXIT_CODES.items():
        start = meaning.partition(";")[0]
        assert documented[str(code)].startswith(start)


def test_the_keys_of_json_answers_are_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="comes with the extra `onnx`")
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", np.ones((2, 64)))
    quick = ("--epochs", 1, "--hidden", 4, "-q")
    runs = {
        "train": (*quick, "--out", "run"),
        "sweep": (*quick, "--seeds", 1, "--reg", 0, "--out", "sweep"),
        "evaluate": ("run",),
        "predict": ("run", "X.npy"),
        "export": ("run",),
        "plot": ("run",),
        "info": (),
    }
    for command, arguments in runs.items():
        code, data, _ = answered(command, *arguments)
        assert code == 0
        row = re.findall(rf"^\| `{command}` \| (.*) \|$", TEXT, re.MULTILINE)[1]
        row += "".join(re.findall(rf"`results.json` of `{command}` has:\n\n(.*?)\n\n", TEXT, re.DOTALL))
        assert set(data) <= set(re.findall(r"`(\w+)`", row)), command
