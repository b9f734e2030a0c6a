"""Completion of command lines by the Tab key."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import BashComplete, CompletionItem
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import QUICK, done, started

import twolayer
from twolayer.cli import completion
from twolayer.cli.commands import app
from twolayer.cli.completion import VARIABLE

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def tab(*words: str) -> list[str]:
    """The completions of the last word. FILES stands for a shell's own completion of file names."""
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
def test_tab_offers_commands_options_values_and_files(
    elsewhere: Path, words: tuple[str, ...], offered: list[str]
) -> None:
    (elsewhere / "data").mkdir()
    for name in ("mine.npz", "other.npz", ".hidden.npz", "data/far.npz"):
        np.savez(elsewhere / name, X=np.ones((2, 2)), y=np.arange(2))
    (elsewhere / "settings.toml").write_text("")
    assert tab(*words) == offered


def test_runs_are_offered_to_commands_that_read_them(made: Callable[..., Path]) -> None:
    shutil.copytree(made("train", *QUICK), "runs/one")
    shutil.copytree(made("sweep", *QUICK, "--learning-rate", 0.1, "--reg", 0), "runs/two")
    shutil.copytree("runs/one", "elsewhere")
    Path("runs/empty").mkdir()
    assert tab("evaluate", "") == ["elsewhere", "runs/one", "runs/two"]
    assert tab("predict", "ru") == tab("export", "runs/") == ["runs/one", "runs/two"]
    assert tab("evaluate", "runs/one/") == ["runs/one/network.safetensors"]
    assert tab("train", "--resume", "runs") == ["runs/one"]
    assert tab("plot", "runs/t") == ["runs/two"]
    assert tab("plot", "runs/e") == ["FILES"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str) -> None:
    script = done("completion", shell)
    assert f"{VARIABLE}={shell}_complete" in script
    assert "_twolayer_completion" in script


def test_a_process_answers_the_request_of_a_shell() -> None:
    words = {VARIABLE: "bash_complete", "COMP_WORDS": "twolayer train --judge ", "COMP_CWORD": "3"}
    assert started(environment=words).stdout.split() == ["plain,best", "plain,last"]


in_bash = pytest.mark.skipif(
    shutil.which("bash") is None or sys.platform == "win32", reason="there is no bash"
)
# Names that a shell would split, change, or run.
ODD = [
    *("a$(touch PWNED).npz", "a`touch PWNED`.npz", "a;touch PWNED;.npz", "a&touch PWNED&.npz"),
    *("a|touch PWNED.npz", "a b.npz", "a'b.npz", 'a"b.npz', "a\\b.npz", "a\nb.npz", "a\tb.npz"),
    *("a\nplain,b.npz", "a\x1b[2J.npz", "a!b.npz", "a*.npz", "a?.npz", "a[b].npz", "a{b,c}.npz"),
    *("a,b.npz", "a#b.npz", "a$HOME.npz", "a>PWNED.npz", "a(b).npz", "a^b.npz", "a~.npz"),
    *("a\u202eb.npz",),
]


def wrapped(folder: Path) -> Path:
    """A folder with a command `twolayer` that completes words, or else writes its arguments to a file."""
    command = folder / "bin" / "twolayer"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"#!/bin/sh\n"
        f'test -n "${VARIABLE}" || test "$1" = completion && exec "{sys.executable}" -m twolayer "$@"\n'
        f'printf \'%s\\0\' "$@" > "{folder}/words"\n'
    )
    command.chmod(0o755)
    return command.parent


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("where", ["", "data/"])
def test_names_that_a_shell_must_quote_are_left_to_the_shell(elsewhere: Path, name: str, where: str) -> None:
    (elsewhere / "data").mkdir()
    for one in (name, "abc.npz", "z.npz"):
        (elsewhere / where / one).touch()
    (elsewhere / where / f"{name}.run").mkdir()
    (elsewhere / where / f"{name}.run" / "network.safetensors").touch()
    (elsewhere / where / f"{name}.toml").touch()
    assert tab("train", f"{where}a") == tab("evaluate", where) == ["FILES"]
    assert tab("train", "--config", where) == ["FILES"]
    assert tab("train", f"{where}ab") == [f"{where}abc.npz"]
    assert tab("train", f"{where}z") == [f"{where}z.npz"]


def test_names_in_any_script_are_offered(elsewhere: Path) -> None:
    for name in ("données.npz", "健康.npz", "قطة.npz"):
        (elsewhere / name).touch()
    assert tab("train", "don") == ["données.npz"]
    assert sorted(tab("train", "")) == sorted(["digits", "cifar10", "données.npz", "健康.npz", "قطة.npz"])


@in_bash
@given(name=st.text("ab1é健_@%+=:.,-/ $`'\"\\;&|!*?[]{}()#~^<>\n\x1b\u202e", min_size=1, max_size=8))
@settings(max_examples=200)
def test_an_offered_name_is_one_word_for_bash(name: str) -> None:
    items = completion._or_files([CompletionItem(name)], "")
    if items[0].type == "file":
        return
    # Read the name as click's script reads an answer, then expand it as a word of a command line.
    script = f"""
        IFS=',' read type value <<< 'plain,{name}'
        COMPREPLY+=($value)
        printf '%s\\0' ${{COMPREPLY[0]}} {name}
    """
    found = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, check=True, timeout=60)
    assert found.stdout.decode().split("\0") == [name, name, ""]


@in_bash
def test_bash_inserts_names_so_that_they_run_nothing(elsewhere: Path) -> None:
    pty = pytest.importorskip("pty")
    bin_folder = wrapped(elsewhere)
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}
    environment |= {"PS1": "", "PYTHONPATH": str(Path(twolayer.__file__).parents[1]), "LC_ALL": "C.UTF-8"}
    terminal, bash_end = pty.openpty()
    # Not `pty.fork`: JAX, if another test has imported it, warns about forks.
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), bash_end)
    command = ["bash", "--norc", "--noprofile", "-i"]
    process = subprocess.Popen(command, **streams, env=environment, start_new_session=True)
    os.close(bash_end)
    reader = threading.Thread(target=drain, args=(terminal,), daemon=True)
    reader.start()
    try:
        os.write(terminal, b'eval "$(twolayer completion bash)"\n')
        for number, name in enumerate(ODD):
            folder = elsewhere / f"folder{number}"
            folder.mkdir()
            (folder / name).touch()
            (elsewhere / "words").unlink(missing_ok=True)
            os.write(terminal, f"cd {folder}\ntwolayer train a\t\n".encode())
            assert words_in(elsewhere / "words") == ["train", name]
            assert [path.name for path in folder.iterdir()] == [name]
    finally:
        os.write(terminal, b"\x03\nexit\n")
        process.wait(60)
        reader.join(10)
        os.close(terminal)


def drain(terminal: int) -> None:
    """Read the output of a terminal, so that its buffer does not fill."""
    with contextlib.suppress(OSError):  # raised at the end of the output
        while os.read(terminal, 4096):
            pass


def words_in(path: Path) -> list[str]:
    """Wait until the command has written its arguments, and return them."""
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_bytes().endswith(b"\0"):
        assert time.monotonic() < deadline, "the command was not run"
        time.sleep(0.01)
    return path.read_bytes().decode().split("\0")[:-1]


@in_bash
def test_bash_completes_the_value_of_an_option(elsewhere: Path) -> None:
    command = wrapped(elsewhere) / "twolayer"
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
