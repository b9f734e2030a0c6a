"""The results that benchmarks/gpu.py keeps if stages fail, hang, or have no time left."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")

BENCHMARKS = ROOT / "benchmarks"

# The output of `pytest --verbose`, with processes of xdist and with a single process.
WITH_XDIST = """
[gw0] [  1%] PASSED tests/test_a.py::test_one[cupy-a name with spaces]\x20
tests/test_a.py::test_two[cupy]\x20
[gw1] [  2%] FAILED tests/test_a.py::test_two[cupy]\x20
[gw0] [ 10%] SKIPPED tests/test_a.py::test_three\x20
[gw1] [ 11%] XFAIL tests/test_a.py::test_four\x20
[gw1] [ 11%] ERROR tests/test_b.py::test_five\x20
FAILED tests/test_a.py::test_two[cupy] - AssertionError: 12% PASSED
"""
WITHOUT_XDIST = """
tests/test_a.py::test_one[cupy-a name with spaces] PASSED                [  1%]
tests/test_a.py::test_two[cupy] FAILED                                   [  2%]
tests/test_a.py::test_three SKIPPED (no such library)                    [ 10%]
tests/test_a.py::test_four XFAIL (a known fault)                         [ 11%]
tests/test_b.py::test_five ERROR                                         [ 11%]
tests/test_b.py::test_six\x20
FAILED tests/test_a.py::test_two[cupy] - AssertionError: 12% PASSED
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def report(**stages: dict[str, Any]) -> dict[str, Any]:
    """Return a report on these stages, in the format of the program."""
    cupy = {"version": "14.2.0", "gpu": "A GPU", "cuda": "13.0"}
    numbers = {"steps": {"rounds": 2}, "sweeps": {"steps": 3, "rounds": 2, "looped": 1}}
    return {
        "date": "2026-01-01",
        "seconds": 90.0,
        "minutes": 1.0,
        "tiny": False,
        "cpu": False,
        "machine": {"python": "3.12.3", "numpy": "2.5.2", "processors": 16, "driver": "580.1"},
        "sizes": numbers
        | {"data": {"samples": 100, "features": 12}, "training": {"images": 200, "hidden": 4, "epochs": 3}},
        "libraries": {"cupy": cupy, "torch": cupy | {"gpu": None, "cuda": None}, "jax": None},
        "stages": {
            name.replace("_", "-"): {"state": "ended", "seconds": 5.0} | stage
            for name, stage in stages.items()
        },
    }


def program(text: str, path: Path | None = None) -> list[str]:
    """Return Python's arguments for a stage that stores results, if there is a path, and runs the text."""
    store = (
        ""
        if path is None
        else f"import pathlib; pathlib.Path({str(path)!r}).write_text({STORED[path.stem]!r}); "
    )
    return ["-c", f"{store}{text}"]


STEPS = {"4x8": {"twolayer, cupy": [2e-6, 4e-6], "CuPy, by hand": [1e-6, 4e-6]}}
SWEEPS = {"2": {"sweep": [1.0, 2.0]}}
STORED = {"steps": json.dumps({"results": STEPS}), "sweeps-cupy": json.dumps({"results": SWEEPS})}


class Clock:
    """A clock that shows 0 until each log contains its word, and then runs from 1,990 to 2,050 seconds."""

    def __init__(self, words: dict[Path, str]) -> None:
        self.words, self.now = words, 0.0

    def monotonic(self) -> float:
        found = (
            log.is_file() and word in log.read_text(encoding="utf-8") for log, word in self.words.items()
        )
        if self.now or all(found):
            self.now = min(max(self.now + 1.0, 1990.0), 2050.0)
        return self.now

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 5)


@pytest.mark.parametrize("log", [WITH_XDIST, WITHOUT_XDIST])
def test_results_of_tests_are_counted_from_the_log(gpu: ModuleType, log: str) -> None:
    failed = ["tests/test_a.py::test_two[cupy]", "tests/test_b.py::test_five"]
    assert gpu.counts(log) == {"passed": 2, "failed": failed, "skipped": 1, "percent": 11}
    first = log.partition("test_two")[0]
    assert gpu.counts(first) == {"passed": 1, "failed": [], "skipped": 0, "percent": 1}
    assert gpu.counts("") == {"passed": 0, "failed": [], "skipped": 0, "percent": 0}


@pytest.mark.parametrize(
    "hanging",
    ["time.sleep(600)", "signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf'); time.sleep(600)"],
)
def test_stages_that_fail_or_hang_do_not_lose_the_other_results(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    word = "deaf" if "deaf" in hanging else "six"
    words = {tmp_path / "tests-cupy.log": word, tmp_path / "steps.log": "ZeroDivisionError"}
    monkeypatch.setattr(gpu, "time", Clock(words))
    passed = "print('[gw0] [ 40%] PASSED tests/test_a.py::test_six')"
    groups = [
        [
            gpu.Stage("tests-cupy", 1, program(f"import signal, time; {passed}; {hanging}")),
            gpu.Stage("steps", 1, program("1 / 0", tmp_path / "steps.json")),
        ],
        [gpu.Stage("training-cupy", 1, program("import os; os.abort()"))],
        [gpu.Stage("sweeps-cupy", 1, program("print('done')", tmp_path / "sweeps-cupy.json"))],
    ]
    found = report() | {"minutes": 100.0}
    gpu.run(groups, tmp_path, 0.0, found)
    stages = found["stages"]
    assert {name: stage["state"] for name, stage in stages.items()} == {
        "tests-cupy": "cut",
        "steps": "failed",
        "training-cupy": "failed",
        "sweeps-cupy": "ended",
    }
    assert stages["tests-cupy"]["results"] == {"passed": 1, "failed": [], "skipped": 0, "percent": 40}
    assert stages["steps"]["results"] == STEPS
    assert stages["sweeps-cupy"]["results"] == SWEEPS
    assert "ZeroDivisionError" in stages["steps"]["last_lines"][-1]
    assert json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8")) == found
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert text == gpu.markdown(found)
    assert "The stage `steps` failed." in text
    assert "The stage `tests-cupy` was cut after " in text
    assert " seconds, at 40 %." in text


def test_time_that_a_stage_does_not_use_is_shared_by_later_stages(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, given = [7.0], []
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def run_beside(group: Any, out: Path, seconds: float, records: Any, write: Any) -> None:
        given.append(seconds)
        now[0] += durations.pop(0)

    monkeypatch.setattr(gpu, "run_beside", run_beside)
    shares = {"a": 30, "b": 10, "c": 10, "d": 50}
    durations = [10.0, 12.0, 200.0]
    found = report() | {"minutes": 2.0}
    gpu.run([[gpu.Stage(name, share, [])] for name, share in shares.items()], tmp_path, 7.0, found)
    total = 120 - gpu.GRACE
    assert given == pytest.approx([0.3 * total, (total - 10) / 7, (total - 22) / 6])
    assert found["stages"] == {"d": {"state": "not begun"}}
    assert "`d` was not begun" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_stopped_program_ends_its_stages_and_keeps_their_results(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.monotonic():
                raise SystemExit("stopped")

    monkeypatch.setattr(gpu, "time", Stopped({tmp_path / "steps.log": "begun"}))
    processes, started = [], gpu.started
    monkeypatch.setattr(gpu, "started", lambda *given: processes.append(started(*given)) or processes[-1])
    hanging = program("import time; print('begun'); time.sleep(600)", tmp_path / "steps.json")
    with pytest.raises(SystemExit, match="stopped"):
        gpu.run([[gpu.Stage("steps", 1, hanging)]], tmp_path, 0.0, report() | {"minutes": 100.0})
    assert processes[0].returncode < 0
    stage = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["stages"]["steps"]
    assert stage["state"] == "cut"
    assert stage["results"] == STEPS


def test_the_text_contains_the_available_results(gpu: ModuleType) -> None:
    steps = {
        "1024x500": {"twolayer, cupy": [2e-3, 4e-3], "PyTorch, eager": [1e-3, 2e-3]},
        "50x200": {"twolayer, cupy": [3e-6, 6e-6], "CuPy, by hand": [1.5e-6, 6e-6]},
    }
    sweeps = {"1": {"one after another": [2.0, 4.0], "sweep": [1.0, 1.0]}, "9": {"sweep": [1.25, 1.75]}}
    sweeps["9"]["PyTorch, a loop"] = [2.5, 7.0]
    found = report(
        tests_cupy={"results": {"passed": 1234, "failed": ["t.py::x"], "skipped": 1, "percent": 100}},
        steps={"results": steps},
        sweeps_cupy={"results": sweeps},
        training_cupy={"results": {"epochs": [2.5, 1.0, 2.0], "MB": 1234.5, "accuracy": 0.9, "loss": 1.0}},
        training_torch={"state": "running", "results": None},
    )
    text = gpu.markdown(json.loads(json.dumps(found)))
    assert text.startswith(
        "2026-01-01: A GPU, driver 580.1, CUDA 13.0, CuPy 14.2.0, NumPy 2.5.2, "
        "Python 3.12.3, 16 processors.\n"
        "`python benchmarks/gpu.py OUT` took 1.5 minutes.\n"
        "PyTorch was left out: it found no GPU.\n"
        "JAX was left out: it is not installed, or could not be imported.\n\n"
    )
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines()}
    assert ("CuPy, all that use an array library", "1,234", "1", "1", "5") in rows
    assert ("hidden units, batch", "50, 200", "1,024, 500") in rows
    assert ("**twolayer on CuPy**", "4", "3,000") in rows  # 4.5 is rounded to even
    assert ("× CuPy, by hand", "1.50 (1.00 to 2.00)", "") in rows
    assert ("candidates", "1", "9") in rows
    assert ("twolayer on CuPy, **as one stack**", "1.00", "1.50") in rows
    assert ("× one after another", "0.38 (0.25 to 0.50)", "") in rows
    assert ("× PyTorch, a loop", "", "0.38 (0.25 to 0.50)") in rows
    assert ("CuPy", "2.50", "1.50", "1,234", "0.900") in rows
    assert "`t.py::x` failed." in text
    assert text.endswith("The stage `training-torch` is running.\n")
    assert "#" not in text  # the text goes below a heading of the page
    assert gpu.markdown(report()).count("\n") == 4  # nothing has run yet


def test_results_are_kept_when_a_table_cannot_be_made(gpu: ModuleType, tmp_path: Path) -> None:
    found = report(steps={"results": {"no size": {}}})
    gpu.written(found, tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8")) == found
    assert "ValueError" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_folder_with_files_is_refused_and_left_unchanged(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpu.md").write_text("An earlier run.\n")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "OUT must be a new or an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.md"]


def test_the_whole_program_runs_on_a_cpu(gpu: ModuleType, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "gpu.py"),
        str(tmp_path),
        "--tiny",
        "--cpu",
        "--libraries=numpy",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert done.returncode == 0, found
    assert list(found["stages"]) == ["tests-numpy", "steps", "sweeps-numpy", "training-numpy"]
    assert found["stages"]["tests-numpy"]["results"]["passed"] > 0
    assert list(found["stages"]["steps"]["results"]) == ["4x8"]
    assert list(found["stages"]["sweeps-numpy"]["results"]) == ["1", "2"]
    assert len(found["stages"]["training-numpy"]["results"]["epochs"]) == 2
    assert done.stdout == (tmp_path / "gpu.md").read_text(encoding="utf-8") + "\n"
