"""Runs of the command line, their output and files, and small data sets for them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.strategies import is_printable
from twolayer import presets
from twolayer.cli.commands import app
from twolayer.datasets import cifar10

# These write the clipboard, set a title, clear the screen, colour the text with an 8-bit command, forge a
# line of output, reverse a sentence, and hold a line separator and a DEL.
EVIL = [
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "a\nError: forged",
    "\u202e0001\u2066",
    "a\u2028b\x7f",
]

QUICK = ("--epochs", 2, "--hidden", 8, "--quiet")
PICTURES = {"curves.png", "grid.png", "weights.png", "confusion.png"}
TRAIN_FILES = {
    *("network.safetensors", "checkpoint.safetensors", "settings.toml", "results.json", "results.csv"),
    *("history.json", "history.csv", "steps.csv", "predictions.npz"),
    *("curves.png", "weights.png", "confusion.png"),
}
SWEEP_FILES = TRAIN_FILES - {"checkpoint.safetensors"} | {"runs.csv", "grid.png", "parts"}


def cli(*arguments: object) -> Result:
    """Run the command line; errors that it does not handle propagate."""
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def done(*arguments: object) -> str:
    """Run the command line, which must succeed, and return its output."""
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object, code: int = 1) -> str:
    """Run the command line, which must end with one line of error, and return that line."""
    result = cli(*arguments)
    assert result.exit_code == code, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert result.output.splitlines()[-1] == errors[0]
    assert "Traceback" not in result.output
    return errors[0]


def assert_harmless(text: str) -> None:
    """Assert that a text is safe on a terminal: it has only printable characters and ends of lines."""
    assert all(map(is_printable, text.split("\n"))), ascii(text)


class Answer(NamedTuple):
    """The result of a command with --json."""

    code: int
    data: Any
    errors: str


def answered(*arguments: object) -> Answer:
    """Run the command line with --json; its standard output must be one JSON document."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        app.main([*map(str, arguments), "--json"], prog_name="twolayer")
    assert "\x1b" not in out.getvalue()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return Answer(ended.value.code, json.loads(out.getvalue(), parse_constant=refuse), err.getvalue())


def started(
    *arguments: object, script: str | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run the command line, or a script, in a process of its own."""
    command = ("-m", "twolayer") if script is None else ("-c", script)
    return subprocess.run(
        (sys.executable, *command, *map(str, arguments)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def files_in(folder: Path | str) -> set[str]:
    """The names of a folder's files."""
    return {path.name for path in Path(folder).iterdir()}


def read(path: Path | str) -> Any:
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def rows_of(path: Path | str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def settings_in(folder: Path | str) -> dict[str, Any]:
    """The settings in the file of a run."""
    return tomllib.loads(Path(folder, "settings.toml").read_text(encoding="utf-8"))


def clusters(path: Path, *, n: int = 120, shape: tuple[int, ...] = (6,), seed: int = 0, **more: Any) -> Path:
    """Write a small data set of three clusters, which are easy to separate; return its path."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    centres = rng.normal(size=(3, *shape))
    np.savez(path, X=10 + centres[y] + 0.3 * rng.normal(size=(n, *shape)), y=y, **more)
    return path


def small_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder in the official layout with 40 records in a file, and shrink the presets to fit."""
    monkeypatch.setattr(cifar10, "_RECORDS", 40)
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        labels = rng.integers(0, 10, (40, 1))
        images = np.clip(25 * labels + rng.integers(-20, 20, (40, 3072)), 0, 255)
        (folder / name).write_bytes(np.hstack([labels, images]).astype(np.uint8).tobytes())
    few = {"n_train": 150, "n_validation": 50, "n_test": 40, "batch_size": 20}
    for table in ("TRAIN", "SWEEP"):
        kept = getattr(presets, table)
        small = {**kept["cifar10"], **few, "n_hidden": 6, "epochs": 2}
        monkeypatch.setattr(presets, table, {**kept, "cifar10": small})
    preset = presets.PRESETS["assignment"]
    assert preset.reference is not None
    few = {"n_train": 70, "n_validation": 10, "n_test": 40, "steps": 60, "batch_size": 20}
    small_preset = replace(
        preset,
        train={**preset.train, **few},
        sweep={**preset.sweep, **few, "n_hidden": 10},
        reference=replace(preset.reference, n_test=10),
    )
    monkeypatch.setattr(presets, "PRESETS", {"assignment": small_preset})
    return folder
