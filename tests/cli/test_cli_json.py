"""--json: what a command found, as one JSON document, and what went wrong; and the exit codes."""

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
from support.command_line import answered, assert_harmless, cli, clusters, done, refused
from support.strategies import any_texts

import twolayer
from twolayer import datasets, storage
from twolayer.cli import commands, console
from twolayer.cli.errors import DIVERGED, EXIT_CODES
from twolayer.report.files import format_json
from twolayer.settings import VARIED

QUICK = ("--epochs", 2, "--hidden", 8)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])


def stored(folder: str) -> Any:
    return json.loads(Path(folder, "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("command", "more"),
    [("train", ()), ("sweep", ("--learning-rate", "0.1,1e6", "--reg", 0, "--seeds", 1))],
)
def test_a_run_answers_with_its_results_its_folder_and_its_files(command: str, more: tuple[Any, ...]) -> None:
    code, data, errors = answered(command, *QUICK, *more, "--out", "run")
    assert code == 0
    assert data.pop("folder") == "run"
    assert set(data.pop("files")) == {path.name for path in Path("run").iterdir()}
    assert data == stored("run")
    assert "digits: 1,097 training" in errors
    assert "accuracy" not in errors  # tables are for people
    if command == "sweep":
        # What is not a number is null.
        assert data["table"][1]["validation_accuracy"] is None
        compared = ("n_pairs", "difference", "difference_error", "difference_margin", "within_noise")
        assert [data["table"][1][name] for name in compared] == [0, None, None, None, None]
        assert [data["table"][0][name] for name in compared] == [1, 0.0, 0.0, 0.0, True]
        assert data["grid_ends"] == [
            {"setting": "learning_rate", "value": 0.1, "end": "lowest", "try": [0.01, 0.001]}
        ]


def test_the_keys_of_a_sweep_are_those_of_the_documentation(no_pictures: None) -> None:
    _, data, _ = answered("sweep", *QUICK, "--learning-rate", "0.1,0.2", "--seeds", 2)
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| `sweep` | those of")]
    named = set(re.findall(r"`(\w+)`", line))
    assert {*data, *data["table"][0]} - set(VARIED) <= named


def test_quiet_leaves_standard_error_empty(no_pictures: None) -> None:
    code, data, errors = answered("train", *QUICK, "--quiet")
    assert (code, errors, data["folder"]) == (0, "", "runs/digits-train-001")


def test_evaluate(no_pictures: None) -> None:
    done("train", *QUICK, "--out", "run")
    code, data, _ = answered("evaluate", "run", "--split", "validation")
    digits = datasets.load_digits()
    assert code == 0
    assert data["accuracy"] == stored("run")["validation_accuracy"]
    assert (data["network"], data["dataset"], data["split"]) == ("run", "digits", "validation")
    assert data["n_samples"] == len(digits.validation.y) == sum(data["confusion"]["counts"])
    assert data["classes"] == list("0123456789")
    assert set(data["by_class"][0]) == {"class", "support", "precision", "recall", "f1"}
    assert set(data) == {
        *("network", "dataset", "split", "classes", "by_class", "accuracy", "loss", "n_samples", "confusion")
    }


def test_predict(no_pictures: None) -> None:
    done("train", *QUICK, "--out", "run")
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


def test_export(no_pictures: None) -> None:
    pytest.importorskip("onnx", reason="comes with the extra `onnx`")
    done("train", *QUICK, "--out", "run")
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


def test_plot() -> None:
    done("train", *QUICK, "--out", "run")
    code, data, _ = answered("plot", "run", "--format", "svg")
    assert code == 0
    assert data == {"folder": "run", "files": ["curves.svg", "weights.svg", "confusion.svg"]}


def test_info(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_names_of_classes_come_whole_through_a_pipe_of_any_encoding(elsewhere: Path) -> None:
    clusters(elsewhere / "mine.npz", classes=np.array(["Äpfel", "梨", "😀"]))
    found = subprocess.run(
        [sys.executable, "-m", "twolayer", "train", "mine.npz", "--epochs", "1", "--json", "-q"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=300,
        check=True,
    )
    assert found.stdout.count(b"\n") == 1
    assert found.stdout.isascii()
    assert json.loads(found.stdout)["classes"] == ["Äpfel", "梨", "😀"]


@given(texts=st.lists(any_texts, max_size=4))
def test_json_for_a_pipe_is_ascii(texts: list[str]) -> None:
    text = format_json({"name": texts}, in_a_line=True)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"name": texts}


@given(data=st.dictionaries(any_texts, any_texts, max_size=4))
def test_json_in_a_file_has_its_own_escapes(data: dict[str, str]) -> None:
    text = format_json(data)
    assert_harmless(text)
    assert json.loads(text) == data


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("trian",), 2, "No such command 'trian'"),
        (("train", "--hiden", 3), 2, "No such option"),
        (("train", "--epochs", 0), 2, "must be an integer of at least 1; got '0'"),
        (("train", "mnist"), 2, "`DATASET` must be digits, cifar10 or the path of an .npz file"),
        (("train", "none.npz"), 1, "No such file or directory"),
        (("evaluate",), 2, "Missing argument 'NETWORK'"),
        (("evaluate", "none"), 1, "No such file or directory: none"),
        (("predict", "none", "a.png"), 1, "No such file or directory: none"),
        (("export", "none"), 1, "No such file or directory: none"),
        (("plot", "none"), 2, "Directory 'none' does not exist"),
    ],
)
def test_an_error_is_an_answer_too(arguments: tuple[Any, ...], code: int, message: str) -> None:
    found = answered(*arguments)
    assert found.code == code
    assert set(found.data) == {"error"}
    assert set(found.data["error"]) == {"message", "exit_code"}
    assert found.data["error"]["exit_code"] == code
    assert message in found.data["error"]["message"]
    assert found.errors == f"Error: {found.data['error']['message']}\n"


def test_a_fault_of_the_program_is_an_answer_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(commands, "run_train", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        commands.app.main(["train", "--json"])
    answer = {"error": {"message": "RuntimeError: a fault", "exit_code": 1}}
    assert json.loads(capsys.readouterr().out) == answer


def test_help_is_no_answer() -> None:
    assert done("train", "--json", "--help").startswith("Usage: ")


def test_json_after_two_dashes_is_no_option() -> None:
    line = refused("train", "--", "--json", code=2)
    assert "got '--json'" in line


def test_a_training_that_diverges_answers_with_its_results(no_pictures: None) -> None:
    code, data, errors = answered("train", *QUICK, "--learning-rate", 1e6, "--out", "run")
    assert code == data["error"]["exit_code"] == DIVERGED == 3
    assert data["diverged"] == stored("run")["diverged"] > 0
    assert "the network diverged: from step" in data["error"]["message"]
    assert data["validation_accuracy"] is None
    assert "Error: the network diverged" in errors


def test_a_sweep_that_only_diverges_answers_with_its_results(no_pictures: None) -> None:
    arguments = ("--learning-rate", "1e6,1e7", "--reg", 0, "--seeds", 1, "--out", "run")
    code, data, _ = answered("sweep", *QUICK, *arguments)
    assert code == data["error"]["exit_code"] == 3
    assert (data["best"], len(data["table"])) == (None, 2)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have signals sent after a step."""

    def at(step: int, *numbers: int) -> None:
        original = console.Watch.__call__

        def call(self: console.Watch, progress: Any) -> None:
            if (progress.step, progress.stage, progress.epoch_ended) == (step, 1, False):
                for number in numbers:
                    signal.raise_signal(number)
            original(self, progress)

        monkeypatch.setattr(console.Watch, "__call__", call)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    }
    yield at
    after = [signal.signal(number, handler) for number, handler in before.items()]
    assert after == [signal.default_int_handler, signal.SIG_DFL]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_was_stopped_answers_with_what_there_is(
    no_pictures: None, send: Any, number: int, code: int
) -> None:
    send(30, number)
    found = answered("train", *QUICK, "--out", "run")
    assert found.code == found.data["error"]["exit_code"] == code
    assert (found.data["complete"], found.data["n_steps"]) == (False, 30)
    assert (
        "interrupted at step 30 of 44; `twolayer train --resume run` goes" in found.data["error"]["message"]
    )
    assert "Warning: interrupted" in found.errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_was_stopped_answers_with_what_there_is(
    no_pictures: None, send: Any, number: int, code: int
) -> None:
    send(30, number)
    found = answered("sweep", *QUICK, "--learning-rate", 0.1, "--reg", "0,1", "--seeds", 1, "--out", "run")
    assert found.code == found.data["error"]["exit_code"] == code
    assert found.data["complete"] is False
    assert [run["n_steps"] for run in found.data["runs"]] == [30, 30]


def test_a_second_ctrl_c_after_sigterm_aborts(no_pictures: None, send: Any) -> None:
    send(3, signal.SIGTERM, signal.SIGINT)
    code, data, errors = answered("train", *QUICK, "--out", "run")
    assert (code, data) == (130, {"error": {"message": "aborted", "exit_code": 130}})
    assert "Warning: aborted" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_scheduler_that_ends_a_process(elsewhere: Path) -> None:
    """A real process and a real SIGTERM, once its first checkpoint is there."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "twolayer", "train", "--epochs", "1000000", "--checkpoint-steps", "50"),
            *("--out", "run", "--json", "-q"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    try:
        while not Path("run/checkpoint.safetensors").exists() and time.monotonic() < until:
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


# Exit codes


def test_the_help_tells_of_all_exit_codes() -> None:
    shown = done("--help").partition("Exit codes:")[2]
    for code, meaning in EXIT_CODES.items():
        assert f"{code:<3}  {meaning}" in shown
    assert set(EXIT_CODES) == {0, 1, 2, 3, 130, 143}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bad",), "(see app --help)"),
        (("trian",), "No such command 'trian'"),
        (("train", "--hiden", 3), "--hidden"),
        (("train", "digit"), "got 'digit'; did you mean digits? (see app train --help)"),
        (("train", "mine"), "got 'mine'; did you mean mine.npz?"),
        (("train", "cifar-10-batches-bin"), "did you mean cifar10 --data cifar-10-batches-bin?"),
        (("evaluate", "run", "digit"), "did you mean digits? (see app evaluate --help)"),
        (("sweep", "--optimizer", "adams"), "'adams' is not one of 'nesterov', 'momentum', 'sgd'"),
        (("completion", "csh"), "'csh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_a_mistake_gets_a_line_with_a_hint(elsewhere: Path, arguments: tuple[Any, ...], message: str) -> None:
    clusters(elsewhere / "mine.npz")
    assert message in refused(*arguments, code=2)


def test_a_file_that_is_not_there_gets_the_one_that_may_have_been_meant(elsewhere: Path) -> None:
    clusters(elsewhere / "mine.npz")
    assert refused("train", "mien.npz").endswith("mien.npz; did you mean mine.npz?")
    assert "did you mean" not in refused("train", "other.npz")
    np.savez("mine.npz", images=np.ones((3, 2)), labels=np.arange(3))
    assert "must hold `X` and `y`; it holds images, labels" in refused("train", "mine.npz")


def test_no_command_at_all_gets_the_help() -> None:
    assert "Commands:" in cli().output
