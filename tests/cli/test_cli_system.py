"""The command line and the operating system: pipes, closed streams, names of any bytes, and signals."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.command_line import clusters, done, refused

import twolayer
from twolayer._texts import printable
from twolayer.cli import predict
from twolayer.cli.commands import app
from twolayer.cli.console import Console
from twolayer.cli.page import writing

PREDICT = ("predict", "net.safetensors", "X.npy")
OUTPUT = (*PREDICT, "--output")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working folder for each test, with a network and samples for it."""
    monkeypatch.chdir(tmp_path)
    twolayer.save(twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0), "net.safetensors")
    np.save("X.npy", np.ones((5, 6)))
    return tmp_path


# Outputs that are not regular files


@posix
@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.npz", "p.onnx"])
def test_outputs_may_be_pipes(name: str) -> None:
    command = ("export", "net.safetensors", "--out") if name == "p.onnx" else OUTPUT
    done(*command, f"plain-{name}")
    os.mkfifo(name)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(Path(name).read_bytes()), daemon=True)
    reader.start()
    done(*command, name)
    reader.join(60)
    if name != "p.npz":  # an .npz file contains the time at which it was written
        assert found == [Path(f"plain-{name}").read_bytes()]
    assert stat.S_ISFIFO(Path(name).stat().st_mode)


def test_outputs_that_cannot_be_written_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters(Path("mine.npz"))
    done("train", "mine.npz", "--epochs", 1, "--out", "run", "-q")
    # The work itself would fail.
    monkeypatch.setattr(predict, "samples_for", None)
    monkeypatch.setattr(writing, "StoredRun", None)
    Path("folder.csv").mkdir()
    for name, command in {"p.csv": OUTPUT, "p.html": ("report", "run", "--out")}.items():
        line = refused(*command, f"nowhere/{name}")
        assert f"cannot write into the folder of {name} (No such file or directory): nowhere" in line
    assert "Is a directory: folder.csv" in refused(*OUTPUT, "folder.csv")
    assert list(Path.cwd().glob(".*")) == []


@posix
def test_a_full_disk_names_the_output() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    Path("p.csv").symlink_to("/dev/full")
    assert refused(*OUTPUT, "p.csv") == "Error: No space left on device: /dev/full"
    assert Path("p.csv").is_symlink()


# Standard streams


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, its streams redirected as a shell does."""
    words = (sys.executable, "-m", "twolayer", *map(str, arguments))
    command = f"exec {' '.join(map(shlex.quote, words))} {script}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=300)


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("info --json", 0),
        ("--help", 0),
        (" ".join(PREDICT), 0),
        ("predict net.safetensors none.npy", 1),
        ("no", 2),
    ],
)
def test_closed_streams_change_neither_exit_code_nor_other_output(
    arguments: str, code: int, closed: str
) -> None:
    usual, result = run("", *arguments.split()), run(closed, *arguments.split())
    assert (usual.returncode, result.returncode) == (code, code), result.stderr
    assert result.stdout == ("" if ">&-" in closed.split() else usual.stdout)
    assert result.stderr == ("" if "2>&-" in closed.split() else usual.stderr)


@posix
@pytest.mark.parametrize("streams", [">&- 2>&- <&-", "2>/dev/full"])
def test_a_training_whose_streams_fail_saves_its_results(streams: str) -> None:
    clusters(Path("mine.npz"))
    result = run(streams, "train", "mine.npz", "--epochs", 1, "--out", "run", "--json")
    assert result.returncode == 0
    assert result.stdout == "" if ">&-" in streams.split() else json.loads(result.stdout)["folder"] == "run"
    assert Path("run/results.json").exists()


@posix
def test_a_closed_standard_input_is_refused() -> None:
    result = run("<&-", "predict", "net.safetensors", "-")
    message = "`INPUT` must be a file, as standard input is closed; got -"
    assert (result.returncode, result.stderr) == (1, f"Error: {message}\n")


@posix
@pytest.mark.parametrize("arguments", ["info --json", "--help", "info -h", "--version", " ".join(PREDICT)])
def test_a_full_standard_output_is_named(arguments: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    result = run(">/dev/full", *arguments.split())
    assert (result.returncode, result.stderr) == (1, "Error: No space left on device: standard output\n")


class Disk(io.StringIO):
    """A stream with room for `room` characters; writing more raises an OSError with `number`."""

    def __init__(self, room: int, number: int) -> None:
        super().__init__()
        self.room, self.number = room, number

    def write(self, text: str) -> int:
        if self.tell() + len(text) > self.room:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


COMMANDS = ("info", "info --json", "completion zsh", "--help", f"{' '.join(PREDICT)} --json")


@given(
    arguments=st.sampled_from(COMMANDS),
    room=st.integers(0, 3000),
    number=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EPIPE]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_standard_output_that_fails_is_named_in_one_line(arguments: str, room: int, number: int) -> None:
    out, err = Disk(room, number), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        app.main(arguments.split(), prog_name="twolayer")
    if ended.value.code == 0:
        assert (err.getvalue(), room > 0) == ("", True)
    else:
        assert ended.value.code == 1
        reported = number != errno.EPIPE  # after EPIPE the reader wants no more, not even an error
        assert err.getvalue() == (f"Error: {os.strerror(number)}: standard output\n" if reported else "")


# Signals


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ignored", [(), SIGNALS[:1], SIGNALS[1:], SIGNALS])
@pytest.mark.parametrize("sent", SIGNALS)
def test_an_ignored_signal_stays_ignored(handlers: None, ignored: tuple[int, ...], sent: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in SIGNALS]
    with Console(quiet=True).watch("Training") as watch:
        signal.raise_signal(sent)
        assert watch.interrupted == (0 if sent in ignored else sent)
        for number in ignored:
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in SIGNALS] == before


# Names that are not UTF-8, for example from archives


def make_folder(tmp_path: Path, name: bytes) -> str:
    """Make a folder of this name below another; return its name. Skip if the file system refuses it."""
    text = os.fsdecode(name)
    try:
        (tmp_path / text).mkdir(exist_ok=True)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    return text


PARTS = st.sampled_from([b"a", b" ", "é".encode(), b"\xe9", b"\xff", b"\xc3", b"\xed\xa0\x80"])


@posix
@given(name=st.lists(PARTS, min_size=1, max_size=4).map(b"".join).filter(bytes.strip))
@example(name=b"r\xe9p")
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_folder_of_a_run_may_have_any_name(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    folder = tmp_path_factory.mktemp("names")
    text = make_folder(folder, name)
    data = clusters(folder / text / f"{text}.npz")
    out = folder / text / "run"
    done("train", data, "--epochs", 1, "--hidden", 4, "--out", out, "-q")
    done("train", "--config", out / "settings.toml", "--out", folder / "again", "-q")
    assert (out / "history.json").read_bytes() == (folder / "again" / "history.json").read_bytes()
    done("train", "--resume", out, "--epochs", 2, "-q")
    done("report", out)
    done("evaluate", out, data)
    (out / "report.html").read_text(encoding="utf-8")
    assert printable(text) in json.loads((out / "results.json").read_text(encoding="utf-8"))["heading"]
    assert twolayer.load(out).n_features == 6


@posix
@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
def test_images_of_any_name_are_predicted(tmp_path: Path, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image")
    make_folder(tmp_path, b"scans\xe9")
    net = twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0)
    twolayer.save(net, "net.safetensors", image_shape=(2, 3), information={"white": 255})
    names = [os.fsdecode(name) for name in (b"scans\xe9/a.png", b"scans\xe9/\xff\xc3.png")]
    for name in names:
        with Path(name).open("wb") as file:
            image.fromarray(np.full((2, 3), 9, np.uint8)).save(file, format="png")
    done("predict", "net.safetensors", os.fsdecode(b"scans\xe9"), "--output", f"p.{suffix}")
    if suffix == "csv":
        lines = Path("p.csv").read_text(encoding="utf-8").splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == [printable(name) for name in names]
    elif suffix == "json":
        found = json.loads(Path("p.json").read_text(encoding="utf-8"))["predictions"]
        assert [row["sample"] for row in found] == names
    else:
        assert np.load("p.npz")["sample"].tolist() == names


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_classes_that_cannot_be_written_are_refused_before_the_work(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters(Path("mine.npz"), classes=["a", "b", "c\udce9"])
    # The work itself would fail.
    monkeypatch.setattr("twolayer.cli.train.train", None)
    monkeypatch.setattr("twolayer.cli.sweep.plan", None)
    line = refused(command, "mine.npz")
    assert not Path("runs").exists()
    assert line.endswith("mine.npz must hold printable characters only; got 'c\\udce9'")
