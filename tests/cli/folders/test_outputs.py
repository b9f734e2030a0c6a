"""Output files that the user names, and writing to a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_line import cli, done, refused
from support.folders import QUICK, contents, raising, without_room


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "mine.npz", "--out", "", "--overwrite"),
        ("sweep", "mine.npz", "--out", ""),
        ("train", "--resume", ""),
        ("train", ""),
        ("train", "mine.npz", "--config", ""),
        ("predict", "", "mine.npz"),
        ("predict", "run", "mine.npz", ""),
        ("predict", "run", "mine.npz", "--output", ""),
        ("evaluate", "run", "mine.npz", "--data", ""),
        ("export", "run", "--out", ""),
        ("report", "run", "--out", ""),
        ("plot", ""),
    ],
)
def test_an_empty_argument_is_a_usage_error(run: Path, arguments) -> None:
    before = contents(Path(), "**/*")
    result = cli(*arguments)
    assert result.exit_code == 2
    assert contents(Path(), "**/*") == before


def test_an_output_that_is_also_an_input_is_refused(run: Path) -> None:
    before = Path("mine.npz").read_bytes()
    Path("link.npz").symlink_to("mine.npz")
    os.link("mine.npz", "hard.npz")
    for name in ("mine.npz", "link.npz", "hard.npz", "./mine.npz"):
        for more in ((), ("--overwrite",)):
            line = refused("predict", run, "mine.npz", "--output", name, *more)
            assert "`--output` must not be a file that the command reads" in line
    assert Path("mine.npz").read_bytes() == before


@pytest.mark.parametrize("name", ["predictions.npz", "results.csv", "results.json", "history.json"])
def test_predict_refuses_to_replace_a_file_of_a_run(run: Path, name: str) -> None:
    before = contents(run)
    Path("link" + Path(name).suffix).symlink_to(run / name)
    for output in (run / name, f"link{Path(name).suffix}"):
        line = refused("predict", run, "mine.npz", "--output", output, "--overwrite")
        assert "`--output` must not be a file of a run" in line
    assert contents(run) == before


@pytest.mark.parametrize("name", ["network.safetensors", "results.json", "page.pdf", "page"])
def test_the_path_of_a_page_must_end_in_html(run: Path, name: str) -> None:
    before = contents(run)
    assert f"`--out` must end in .html; got {run / name}" in refused("report", run, "--out", run / name)
    assert contents(run) == before


# For each file, a command that writes it; the name follows as the last argument.
FOREIGN = {
    "p.csv": ("predict", "run", "mine.npz", "--output"),
    "p.json": ("predict", "run", "mine.npz", "--output"),
    "p.npz": ("predict", "run", "mine.npz", "--output"),
    "p.html": ("report", "run", "--out"),
    "p.onnx": ("export", "run", "--out"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_program_is_replaced_only_with_overwrite(run: Path, name: str) -> None:
    path = Path(name)
    if name == "p.npz":
        np.savez(path, X=np.zeros((3, 3)), y=np.zeros(3))
    else:
        path.write_text("of another program: sample, class; twolay€r")
    before = path.read_bytes()
    line = refused(*FOREIGN[name], name)
    assert line.endswith(f"{name} is neither (--overwrite replaces it)")
    assert path.read_bytes() == before
    done(*FOREIGN[name], name, "--overwrite")
    assert path.read_bytes() != before
    done(*FOREIGN[name], name)  # twolayer wrote this file itself
    path.write_bytes(b"")
    done(*FOREIGN[name], name)  # an empty file, as mktemp creates, is replaced too
    assert path.stat().st_size > 0


@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.npz", "p.onnx"])
def test_a_file_that_only_resembles_one_of_ours_is_not_replaced(run: Path, name: str) -> None:
    path = Path(name)
    if name == "p.npz":
        np.savez(path, subsample=np.zeros(3))
    else:
        texts = {
            "p.csv": "id,sample,class,probability\n",
            "p.json": '{\n  "classes": [\n    "mine"\n  ]\n}\n',
            "p.onnx": "\x08\x07\x12\x07pytorchtwolayer",
        }
        path.write_text(texts[name])
    assert f"{name} is neither" in refused(*FOREIGN[name], name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/stdin")
def test_an_output_that_is_also_standard_input_is_refused(run: Path) -> None:
    before = Path("mine.npz").read_bytes()
    arguments = (sys.executable, "-m", "twolayer", "predict", run, "-", "--output", "mine.npz", "--overwrite")
    with Path("mine.npz").open("rb") as file:
        ended = subprocess.run(
            list(map(str, arguments)), stdin=file, capture_output=True, text=True, check=False
        )
    assert "must not be a file that the command reads" in ended.stderr
    assert Path("mine.npz").read_bytes() == before


def test_export_does_not_replace_the_model_of_another_program() -> None:
    Path("hf").mkdir()
    done("train", "mine.npz", *QUICK, "--out", "run")
    shutil.copy("run/network.safetensors", "hf/model.safetensors")
    Path("hf/model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    assert "hf/model.onnx is neither" in refused("export", "hf/model.safetensors")
    assert Path("hf/model.onnx").read_bytes() == b"\x08\x07\x12\x07pytorch"


def test_export_never_replaces_the_network_that_it_reads(run: Path) -> None:
    shutil.copy(run / "network.safetensors", "net.safetensors")
    before = Path("net.safetensors").read_bytes()
    Path("link.onnx").symlink_to("net.safetensors")
    for more in ((), ("--overwrite",)):
        line = refused("export", "net.safetensors", "--out", "link.onnx", *more)
        assert "`--out` must not be a file that the command reads; got link.onnx" in line
    done("export", run, "--out", "other.onnx")
    Path("other.onnx").write_bytes(before)  # its header contains "twolayer" too
    assert "other.onnx is neither" in refused("export", run, "--out", "other.onnx")
    assert Path("net.safetensors").read_bytes() == Path("other.onnx").read_bytes() == before


# Full disks


@pytest.mark.parametrize("fails", ["network.safetensors", "results.json", "results.csv", "history.json"])
def test_a_sweep_that_cannot_write_one_file_writes_the_others(
    monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    done("sweep", "mine.npz", *QUICK, "--out", "whole")
    without_room(monkeypatch, fails)
    result = cli("sweep", "mine.npz", "--epochs", 2, "--hidden", 5, "--out", "full")
    assert result.exit_code == 1
    assert f"Error: No space left on device: {Path('full') / fails}" in result.output
    assert "← best" in result.output or "Candidates" in result.output
    expected = contents(Path("whole")).keys() - {fails, "history.csv", "steps.csv"}
    assert expected <= contents(Path("full")).keys()


def test_a_sweep_is_written_when_standard_output_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BrokenPipeError(32, "Broken pipe", "standard output")
    monkeypatch.setattr("twolayer.cli.sweep._show_table", raising(broken))
    cli("sweep", "mine.npz", *QUICK, "--out", "unread")
    assert {"network.safetensors", "results.json", "results.csv"} <= contents(Path("unread")).keys()
