"""Processes that are killed at random moments and resumed: they end as uninterrupted ones, bit for bit.

Each test kills 3 times by default; ``nox -s killed`` kills TWOLAYER_KILLS times, by default 50.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from twolayer.checkpoints import load_run

KILLS = int(os.environ.get("TWOLAYER_KILLS", "3"))
PATIENCE_SECONDS = 600.0
PARTS = "parts"  # a sweep's folder of checkpoints

# Trains a stack with every setting that adds something to a checkpoint, and writes one after every step.
SCRIPT = """
import sys
from pathlib import Path

import numpy as np

import twolayer
from twolayer.checkpoints import Checkpointer

path, out = map(Path, sys.argv[1:])
digits = twolayer.datasets.load_digits()
nets = twolayer.stack([twolayer.TwoLayerNet.initialize(64, 12, 10, rng=seed) for seed in range(3)])
run = twolayer.train(
    nets,
    *digits.train,
    validation=digits.validation,
    preprocessing=twolayer.preprocessing.Standardizer.fit(digits.train.X),
    augmentation=twolayer.augmentation.FlipAndShift((8, 8), flip=False, shift=1),
    optimizer=twolayer.optimizers.AdamW(weight_decay=0.1),
    learning_rate=[0.0, 0.01, 0.02],
    dropout=0.2,
    label_smoothing=0.1,
    ema_decay=0.9,
    patience=6,
    batch_size=50,
    epochs=12,
    rng=0,
    resume=path if path.exists() else None,
    callbacks=[Checkpointer(path, steps=1)],
)
assert run.stopped[0] is not None
names = ("last", "best", "average")
arrays = {f"{name}.{key}": a for name in names for key, a in getattr(run, name)._asdict().items()}
with twolayer._files.written_whole(out) as file:
    np.savez(file, **arrays, **run.history._asdict(), accuracy=run.validation_accuracy)
"""


class Killer:
    """Starts processes, and kills each at a random moment."""

    def __init__(self, seed: int) -> None:
        self.kills = self.while_writing = 0
        self._rng = np.random.default_rng(seed)

    def start(self, command: Sequence[str | Path], checkpoint: Path) -> bool:
        """Start a process; return whether it ended before it was killed."""
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            if self.kills >= KILLS:
                output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            else:
                if self._rng.random() < 0.75:
                    # Wait until it trains. Otherwise most processes would be killed while Python starts.
                    before = _changed_at(checkpoint)
                    until = time.monotonic() + PATIENCE_SECONDS
                    while process.poll() is None and _changed_at(checkpoint) == before:
                        assert time.monotonic() < until
                        time.sleep(0.001)
                    if self._rng.random() < 0.5:  # wait for the next checkpoint to be half written
                        while process.poll() is None and not _being_written(checkpoint):
                            assert time.monotonic() < until
                try:
                    wait = 0.0 if _being_written(checkpoint) else self._rng.uniform(0.0, 0.4)
                    output, _ = process.communicate(timeout=wait)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    self.kills += 1
                    self.while_writing += _being_written(checkpoint)
                    return False
            assert process.returncode == 0, output
            return True
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _files(path: Path) -> list[Path]:
    """A checkpoint, or those in a folder of parts."""
    return [*path.glob("*.safetensors")] if path.is_dir() else [path]


def _being_written(path: Path) -> bool:
    if path.name == PARTS:
        return any(path.glob(".*.safetensors.*"))
    return path.parent.is_dir() and any(path.parent.glob(f".{path.name}.*"))


def _changed_at(path: Path) -> int:
    found = [0]
    for file in _files(path):
        with suppress(FileNotFoundError):
            found.append(file.stat().st_mtime_ns)
    return max(found)


def test_a_script_that_is_killed_and_restarted_ends_the_same(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    subprocess.run([sys.executable, script, tmp_path / "whole.run", tmp_path / "whole.npz"], check=True)
    killer, number = Killer(seed=1), 0
    while True:
        number += 1
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        checkpoint, out = folder / "run.safetensors", folder / "out.npz"
        while not killer.start([sys.executable, script, checkpoint, out], checkpoint):
            if checkpoint.exists():
                assert load_run(checkpoint).n_steps >= 1
        with np.load(tmp_path / "whole.npz") as whole, np.load(out) as found:
            assert set(found) == set(whole)
            for name in whole:
                assert found[name].tobytes() == whole[name].tobytes(), name
        assert [file.name for file in folder.iterdir() if file.name.startswith(".run.")] == []
        if killer.kills >= KILLS:
            break
    print(f"{killer.kills} kills, {killer.while_writing} of them in the middle of writing, of {number} runs")


def test_a_training_command_that_is_killed_and_resumed_ends_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twolayer", "train"]
    settings = ["--steps", 300, "--hidden", 60, "--optimizer", "nesterov", "--momentum", 0.9, "--seed", 3]
    settings += ["--learning-rate", 0.05, "--schedule", "cosine", "--dropout", 0.1, "--ema-decay", 0.9]
    subprocess.run(
        [*command, *map(str, settings), "--out", tmp_path / "whole", "-q"], check=True, capture_output=True
    )
    killer, number = Killer(seed=2), 0
    often = ["--checkpoint-steps", 1, "-q"]
    while True:
        number += 1
        folder = tmp_path / f"run{number}"
        checkpoint = folder / "checkpoint.safetensors"
        while not finished(folder):
            start = [*settings, "--out", folder, "--overwrite"]
            if (folder / "settings.toml").exists():
                start = ["--resume", folder]
            if not killer.start([*command, *start, *often], checkpoint) and checkpoint.exists():
                assert load_run(checkpoint).n_steps >= 1
        for name in ("network.safetensors", "history.json", "results.csv", "settings.toml"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
        found, whole = (load_run(path / checkpoint.name) for path in (folder, tmp_path / "whole"))
        for net in ("last", "best", "average"):
            for a, b in zip(getattr(found, net), getattr(whole, net), strict=True):
                assert a.tobytes() == b.tobytes()
        if killer.kills >= KILLS:
            break
    print(f"{killer.kills} kills, {killer.while_writing} of them in the middle of writing, of {number} runs")


def finished(folder: Path) -> bool:
    """Whether the results of a whole run exist. Only pictures are written after them."""
    path = folder / "results.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["n_steps"] == 300


# The files of a sweep that must equal those of an uninterrupted one.
OF_SWEEP = ("network.safetensors", "results.csv", "runs.csv", "history.json", "settings.toml")


@pytest.mark.parametrize(
    ("seed", "how", "workers"),
    [
        (3, ["--halving", 2, "--epochs", 8, "--batch-size", 200, "--seeds", 2], []),
        (4, ["--halving", 2, "--epochs", 8, "--batch-size", 200, "--seeds", 2], ["--workers", 2]),
        (5, ["--folds", 3, "--epochs", 4, "--batch-size", 200, "--seeds", 2], ["--workers", 2]),
    ],
    ids=["halving", "halving-workers", "folds-workers"],
)
def test_a_sweep_that_is_killed_and_resumed_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, how: list[object], workers: list[object]
) -> None:
    command = [sys.executable, "-m", "twolayer", "sweep"]
    grid = ["--learning-rate", "0.05,0.1,0.3,1", "--reg", 1e-4, "--hidden", "20,30", "--dropout", 0.1]
    settings = [str(word) for word in (*grid, *how, "--patience", 5, "-q")]
    subprocess.run([*command, *settings, "--out", tmp_path / "whole"], check=True, capture_output=True)
    killer, number = Killer(seed), 0
    often = [*workers, "--checkpoint-seconds", 0, "-q"]
    # Killed processes leave temporary files, so these go to a folder of this test.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    while True:
        number += 1
        folder = tmp_path / f"run{number}"
        while True:
            start = [*settings, "--out", folder, "--overwrite"]
            if (folder / "settings.toml").exists():
                start = ["--resume", folder]
            ended = killer.start([*command, *start, *often], folder / PARTS)
            assert_no_process_is_left(tmp_path / "temporary")
            if ended:
                break
            for path in folder.glob(f"{PARTS}/*.safetensors"):
                assert load_run(path).n_steps >= 1
        for name in OF_SWEEP:
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
        assert [path.name for path in folder.glob(f"{PARTS}/.*")] == []
        if killer.kills >= KILLS:
            break
    print(
        f"{killer.kills} kills, {killer.while_writing} of them in the middle of writing, of {number} sweeps"
    )


def assert_no_process_is_left(temporary: Path) -> None:
    """Wait until no process uses this temporary folder. Workers end when their parent is gone."""
    if not Path("/proc/self/environ").exists():
        return
    until = time.monotonic() + 30.0
    while left := [path for path in Path("/proc").glob("[0-9]*") if _has(path / "environ", str(temporary))]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


def _has(environment: Path, text: str) -> bool:
    with suppress(OSError):  # it has ended, or is another user's
        return f"TMPDIR={text}\0".encode() in environment.read_bytes()
    return False
