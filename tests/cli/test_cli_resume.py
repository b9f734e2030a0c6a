"""``twolayer train --resume``: longer trainings, and trainings that were killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.command_line import QUICK, clusters, done, files_in, read, refused, settings_in

from twolayer.checkpoints import load_run
from twolayer.cli import build
from twolayer.preprocessing import Whitener
from twolayer.training import checkpoint

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def assert_same_results() -> None:
    """Assert that the results and settings of the runs `run` and `whole` are equal byte by byte."""
    for name in ("network.safetensors", "history.json", "results.csv", "settings.toml"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name


def leave_only(run: Path, *names: str) -> None:
    """Move a finished run to `whole`, and leave only these of its files, as if it had been killed."""
    run.rename("whole")
    run.mkdir()
    for name in names:
        shutil.copy(f"whole/{name}", run)


def test_a_finished_run_is_trained_longer_with_a_new_total(run: Path) -> None:
    done("train", "--epochs", 4, "--hidden", 8, "-q", "--out", "whole")
    assert "has already taken 44 of its 44 steps" in refused("train", "--resume", "run")
    done("train", "--resume", "run", "--epochs", 4)
    assert_same_results()


@pytest.mark.parametrize("length", [("--epochs", 3), ("--steps", 66)])
@pytest.mark.parametrize("old", [("--epochs", 2), ("--steps", 44)])
def test_a_new_total_replaces_the_old_one(old: tuple[str, int], length: tuple[str, int]) -> None:
    done("train", *old, "--hidden", 8, "-q", "--out", "run")
    done("train", "--resume", "run", *length)
    assert read("run/results.json")["n_steps"] == 66


def test_resume_needs_the_same_data(npz: Path) -> None:
    done("train", npz, *QUICK, "--out", "run")
    clusters(npz, seed=1)
    line = refused("train", "--resume", "run", "--epochs", 5)
    needed = "`--resume`, and `--config` with `data_sha256`, need the data of that run; got other data"
    assert needed in line


def test_resume_needs_a_checkpoint(run: Path) -> None:
    (run / "checkpoint.safetensors").unlink()
    assert "run must hold checkpoint.safetensors to resume from" in refused("train", "--resume", "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "settings.toml must be a TOML file in UTF-8; Invalid"),
        ("", "must be the folder of a training"),
        ('command = "train"', "settings.toml must hold `dataset`; it is missing"),
    ],
)
def test_resume_needs_whole_settings(run: Path, content: str, message: str) -> None:
    (run / "settings.toml").write_text(content)
    assert message in refused("train", "--resume", "run")


# Files as a killed process leaves them. (test_killed.py kills real processes.)


def test_a_training_killed_before_its_first_checkpoint_starts_again(run: Path) -> None:
    leave_only(run, "settings.toml")
    assert "Resuming from step 0 of 44" in done("train", "--resume", "run")
    assert_same_results()


@pytest.mark.parametrize("left", [(), ("network.safetensors", "history.json"), ("results.csv",)])
def test_a_training_killed_before_its_results_are_written_is_finished(
    run: Path, left: tuple[str, ...]
) -> None:
    leave_only(run, "settings.toml", "checkpoint.safetensors", *left)
    assert "Resuming from step 44 of 44" in done("train", "--resume", "run")
    assert_same_results()
    assert "has already taken 44 of its 44 steps" in refused("train", "--resume", "run")


def test_a_longer_training_killed_before_its_results_is_finished(run: Path) -> None:
    shutil.copytree("run", "whole")
    done("train", "--resume", "whole", "--epochs", 3)
    # The results are still those of two epochs.
    for name in ("settings.toml", "checkpoint.safetensors"):
        shutil.copy(f"whole/{name}", "run")
    done("train", "--resume", "run")
    assert_same_results()


def test_half_written_files_are_removed(run: Path) -> None:
    half = run / ".checkpoint.safetensors.0123abcd"
    for arguments in (("--resume", "run", "--epochs", 3), (*QUICK, "--out", "run", "--overwrite")):
        half.write_bytes(b"half")
        done("train", *arguments)
        assert not half.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--checkpoint-steps", 15), [15, 30, 44, 44]),
        (("--checkpoint-steps", 15, "--checkpoint-seconds", 1e6), [15, 30, 44, 44]),
        (("--checkpoint-seconds", 1e6), [44, 44]),
        ((), [44, 44]),
    ],
)
def test_checkpoints_are_written_at_the_requested_intervals(
    monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], expected: list[int]
) -> None:
    saved: list[int] = []

    def save_run(run: Any, path: Path, **more: Any) -> None:
        saved.append(run.n_steps)
        original(run, path, **more)

    original = checkpoint.save_run
    monkeypatch.setattr(checkpoint, "save_run", save_run)
    monkeypatch.setattr("twolayer.cli.train.save_run", save_run)
    done("train", *QUICK, *options, "--out", "run")
    assert saved == expected
    saved.clear()
    done("train", "--resume", "run", "--epochs", 4, "--checkpoint-steps", 20)
    assert saved == [64, 84, 88, 88]


@pytest.mark.parametrize("flip", ["--flip", "--no-flip"])
def test_a_resumed_training_keeps_its_preprocessing(monkeypatch: pytest.MonkeyPatch, flip: str) -> None:
    """Fitting the preprocessing again on another machine may round differently."""
    arguments = ("train", *QUICK, "--whiten", "pca", "--components", 20, flip)
    done(*arguments, "--out", "whole", "--epochs", 3)
    done(*arguments, "--out", "run")
    assert isinstance(load_run("run/checkpoint.safetensors").preprocessing, Whitener)

    def refuse(*_: object) -> None:
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(build, "preprocessing_for", refuse)
    done("train", "--resume", "run", "--epochs", 3)
    assert_same_results()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1}, "`learning_rate` in run/settings.toml must be a number above 0; got '-1'"),
        ({"batch_size": None}, "run/settings.toml must hold `batch_size`; it is missing"),
        ({"batch_size": True}, "`batch_size` in run/settings.toml must be a number or text; got True"),
        ({"steps": 5}, "must hold either `epochs` or `steps`; got both or neither"),
        ({"epochs": None}, "must hold either `epochs` or `steps`; got both or neither"),
        ({"data_sha256": 3}, "`data_sha256` in run/settings.toml must be text; got 3"),
        ({"n_hidden": 9}, "checkpoint.safetensors must have `n_hidden` 9, as in its settings; got 8"),
        ({"networks": 2}, "checkpoint.safetensors must have `networks` 2, as in its settings; got 1"),
        ({"learning_rate": 0.25}, "`learning_rate` must be the run's, 0.5; got 0.25"),
        ({"optimizer": "adam"}, "`optimizer` must be the run's, whose state has 0 moments; got one with 2"),
        ({"seed": 1}, "`rng` must be omitted or be the run's seed, 0; got 1"),
    ],
)
def test_settings_changed_by_hand_are_refused(run: Path, changes: dict[str, Any], message: str) -> None:
    before = files_in(run)
    stored = settings_in(run) | {"epochs": 3} | changes
    kept = {name: value for name, value in stored.items() if value is not None}
    (run / "settings.toml").write_text(tomli_w.dumps(kept), encoding="utf-8")
    assert message in refused("train", "--resume", "run").replace("\\", "/")
    assert files_in(run) == before
