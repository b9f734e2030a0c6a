"""The command line on the operating system as it is: pipes, closed streams, names of any bytes, signals."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from command_line import clusters, done, refused

import twolayer
from twolayer.cli import networks
from twolayer.cli.page import writing

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a network and samples for it."""
    monkeypatch.chdir(tmp_path)
    twolayer.save(twolayer.TwoLayerNet.initialize(6, 4, 3, rng=0), "net.safetensors")
    np.save("X.npy", np.ones((5, 6)))
    return tmp_path


# Outputs that are no plain files


@posix
@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.npz", "p.onnx"])
def test_outputs_may_be_pipes(name: str) -> None:
    command = (
        ("export", "net.safetensors", "--out")
        if name == "p.onnx"
        else ("predict", "net.safetensors", "X.npy", "--output")
    )
    done(*command, f"plain-{name}")
    os.mkfifo(name)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(Path(name).read_bytes()), daemon=True)
    reader.start()
    done(*command, name)
    reader.join(60)
    if name != "p.npz":  # which says when it was made
        assert found == [Path(f"plain-{name}").read_bytes()]
    assert stat.S_ISFIFO(Path(name).stat().st_mode)


def test_outputs_that_cannot_be_written_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters(Path("mine.npz"))
    done("train", "mine.npz", "--epochs", 1, "--out", "run", "-q")
    monkeypatch.setattr(networks, "samples_for", None)
    monkeypatch.setattr(writing, "read_run", None)
    Path("folder.csv").mkdir()
    for command in (("predict", "net.safetensors", "X.npy", "--output"), ("report", "run", "--out")):
        line = refused(*command, "nowhere/p.csv")
        assert "cannot write into the folder of p.csv (No such file or directory): nowhere" in line
    assert "Is a directory: folder.csv" in refused(
        "predict", "net.safetensors", "X.npy", "--output", "folder.csv"
    )
    assert list(Path.cwd().glob(".*")) == []


@posix
def test_a_full_disk_names_the_output() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    Path("p.csv").symlink_to("/dev/full")
    line = refused("predict", "net.safetensors", "X.npy", "--output", "p.csv")
    assert line == "Error: No space left on device: /dev/full"
    assert Path("p.csv").is_symlink()
