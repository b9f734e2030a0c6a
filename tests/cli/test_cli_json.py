"""--json: the results or the error of a command as one JSON document."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT
from support.command_line import QUICK, answered, assert_harmless, clusters, done, read, started
from support.strategies import any_texts

import twolayer
from twolayer import datasets, storage
from twolayer.cli import commands
from twolayer.report.files import format_json
from twolayer.settings import VARIED

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


@pytest.mark.parametrize(
    ("command", "more"),
    [("train", ()), ("sweep", ("--learning-rate", "0.1,1e6", "--reg", 0, "--seeds", 1))],
)
def test_json_of_a_run_has_its_results_folder_and_files(
    pictures: None, command: str, more: tuple[Any, ...]
) -> None:
    code, data, errors = answered(command, *QUICK[:-1], *more, "--out", "run")
    assert code == 0
    assert data.pop("folder") == "run"
    assert set(data.pop("files")) == {path.name for path in Path("run").iterdir()} - {"parts"}
    assert data == read("run/results.json")
    assert "digits: 1,097 training" in errors
    assert "accuracy" not in errors  # tables are for people
    if command == "sweep":
        # NaN becomes null.
        assert data["table"][1]["validation_accuracy"] is None
        compared = ("n_pairs", "difference", "difference_error", "difference_margin", "within_noise")
        assert [data["table"][1][name] for name in compared] == [0, None, None, None, None]
        assert [data["table"][0][name] for name in compared] == [1, 0.0, 0.0, 0.0, True]
        assert data["grid_ends"] == [
            {"setting": "learning_rate", "value": 0.1, "end": "lowest", "try": [0.01, 0.001]}
        ]


def test_the_keys_of_a_sweep_are_documented() -> None:
    _, data, _ = answered("sweep", *QUICK, "--learning-rate", "0.1,0.2", "--seeds", 2)
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    (keys,) = re.findall(r"`results.json` of `sweep` has:\n\n(.*?)\n\n", text, re.DOTALL)
    named = {"folder", "files", *re.findall(r"`(\w+)`", keys)}
    assert {*data, *data["table"][0]} - set(VARIED) <= named


def test_quiet_leaves_standard_error_empty() -> None:
    code, data, errors = answered("train", *QUICK)
    assert (code, errors, data["folder"]) == (0, "", "runs/digits-train-001")


def test_json_of_evaluate_has_results_by_class(run: Path) -> None:
    code, data, _ = answered("evaluate", "run", "--split", "validation")
    digits = datasets.load_digits()
    assert code == 0
    assert data["accuracy"] == read("run/results.json")["validation_accuracy"]
    assert (data["network"], data["dataset"], data["split"]) == ("run", "digits", "validation")
    assert data["n_samples"] == len(digits.validation.y) == sum(data["confusion"]["counts"])
    assert data["classes"] == list("0123456789")
    assert set(data["by_class"][0]) == {"class", "support", "precision", "recall", "f1"}
    assert set(data) == {
        *("network", "dataset", "split", "classes", "by_class", "accuracy", "loss", "n_samples", "confusion")
    }


def test_json_of_predict_has_all_predictions(run: Path) -> None:
    X = datasets.load_digits().test.X[:25]
    np.save("some.npy", X)
    code, data, _ = answered("predict", "run", "some.npy", "--top", 2, "--output", "out.json")
    probs = storage.load("run/network.safetensors").predict_proba(X)
    assert code == 0
    assert set(data) == {"network", "output", "classes", "predictions"}
    assert data["output"] == "out.json"
    assert len(data["predictions"]) == 25  # all, while the table shows 20
    row = data["predictions"][3]
    assert set(row) == {"sample", "class", "probability", "probabilities", "top"}
    np.testing.assert_allclose(row["probabilities"], probs[3], rtol=1e-6)
    order = np.argsort(-probs[3])
    assert [one["class"] for one in row["top"]] == [str(k) for k in order[:2]]
    assert row["top"][0] == {"class": row["class"], "probability": row["probability"]}
    assert all("top" not in row for row in json.loads(Path("out.json").read_text())["predictions"])


def test_json_of_export_describes_the_model(run: Path) -> None:
    pytest.importorskip("onnx", reason="comes with the extra `onnx`")
    code, data, _ = answered("export", "run", "--input", "uint8")
    assert code == 0
    assert data == {
        "network": "run",
        "model": str(Path("run/network.onnx")),
        "input": {"dtype": "uint8", "shape": [None, 8, 8]},
        "opset": twolayer.onnx.OPSET,
    }
    _, data, _ = answered("export", "run", "--flat")
    assert data["input"] == {"dtype": "float32", "shape": [None, 64]}


def test_json_of_plot_lists_the_files(pictures: None, run: Path) -> None:
    code, data, _ = answered("plot", "run", "--format", "svg")
    assert code == 0
    assert data == {"folder": "run", "files": ["curves.svg", "weights.svg", "confusion.svg"]}


def test_json_of_info_describes_libraries_and_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax", "cupy"):
        monkeypatch.setitem(sys.modules, name, None)
    code, data, _ = answered("info")
    assert code == 0
    assert data["twolayer"] == twolayer.__version__
    assert data["n_processors"] == os.cpu_count()
    assert isinstance(data["advice"], list)
    assert set(data["blas"][0]) >= {"name", "version"}
    libraries = {one["name"]: one for one in data["libraries"]}
    assert set(libraries) == {"numpy", "cupy", "torch", "jax"}
    numpy = {"name": "numpy", "version": np.__version__, "devices": ["cpu"], "problem": None}
    assert libraries["numpy"] == numpy
    assert (libraries["cupy"]["version"], libraries["cupy"]["devices"]) == (None, [])
    assert libraries["cupy"]["problem"]


def test_names_of_classes_survive_a_pipe_of_any_encoding(elsewhere: Path) -> None:
    clusters(elsewhere / "mine.npz", classes=np.array(["Äpfel", "梨", "😀"]))
    arguments = ("train", "mine.npz", "--epochs", 1, "--json", "-q")
    found = started(*arguments, environment={"PYTHONIOENCODING": "ascii"})
    assert (found.returncode, found.stdout.count("\n")) == (0, 1)
    assert found.stdout.isascii()
    assert json.loads(found.stdout)["classes"] == ["Äpfel", "梨", "😀"]


@given(texts=st.lists(any_texts, max_size=4))
def test_json_for_a_pipe_is_ascii(texts: list[str]) -> None:
    text = format_json({"name": texts}, in_a_line=True)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"name": texts}


@given(data=st.dictionaries(any_texts, any_texts, max_size=4))
def test_json_in_a_file_escapes_unprintable_characters(data: dict[str, str]) -> None:
    text = format_json(data)
    assert_harmless(text)
    assert json.loads(text) == data


# Errors and signals


def test_a_fault_of_the_program_gives_json_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(commands, "run_train", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        commands.app.main(["train", "--json"])
    answer = {"error": {"message": "RuntimeError: a fault", "exit_code": 1}}
    assert json.loads(capsys.readouterr().out) == answer


def test_help_is_printed_as_text_despite_json() -> None:
    assert done("train", "--json", "--help").startswith("Usage: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_json_of_a_stopped_run_has_the_results_so_far(send: Any, number: int, code: int) -> None:
    send(30, number)
    found = answered("train", *QUICK, "--out", "run")
    assert found.code == found.data["error"]["exit_code"] == code
    assert (found.data["complete"], found.data["n_steps"]) == (False, 30)
    continues = "interrupted at step 30 of 44; `twolayer train --resume run` continues"
    assert continues in found.data["error"]["message"]
    assert "Warning: interrupted" in found.errors
    send(30, number)
    found = answered("sweep", *QUICK, "--learning-rate", 0.1, "--reg", "0,1", "--seeds", 1, "--out", "sweep")
    assert found.code == found.data["error"]["exit_code"] == code
    assert found.data["complete"] is False
    assert [run["n_steps"] for run in found.data["runs"]] == [30, 30]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_aborts_at_once(send: Any, first: int) -> None:
    send(3, first, signal.SIGINT)
    code, data, errors = answered("train", *QUICK, "--out", "run")
    assert (code, data) == (130, {"error": {"message": "aborted", "exit_code": 130}})
    assert "Warning: aborted" in errors
    assert not Path("run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_process_that_gets_sigterm_saves_its_results(elsewhere: Path) -> None:
    """A real process gets a real SIGTERM, as from a job scheduler, once its first checkpoint is written."""
    options = ("--epochs", "1000000", "--checkpoint-steps", "50", "--out", "run", "--json", "-q")
    command = (sys.executable, "-m", "twolayer", "train", *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    try:
        while not Path("run/checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        out, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    answer = json.loads(out)
    assert process.returncode == answer["error"]["exit_code"] == 143
    assert answer["n_steps"] >= 50
    assert {"network.safetensors", "results.json"} <= set(answer["files"])
