"""``twolayer sweep`` with workers, resumed sweeps, and overwritten runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest
from support.command_line import QUICK, cli, done, files_in, read, refused, rows_of, settings_in

from twolayer.cli import console

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")

GRID = ("--learning-rate", "0.1,0.3", "--reg", 0)
FOLDED = ("--folds", 3, "--learning-rate", "0.1,0.3", "--reg", 0)
HALVED = ("--halving", 2, "--learning-rate", "0.1,0.2,0.3,0.4", "--reg", 0)
RESULTS = ("network.safetensors", "results.csv", "runs.csv", "history.json", "settings.toml")


def assert_same_results(whole: str = "whole") -> None:
    """Assert that the results of the run `run` and of another are equal byte by byte."""
    for name in RESULTS:
        assert Path("run", name).read_bytes() == Path(whole, name).read_bytes(), name


def columns(rows: list[dict[str, str]], *names: str) -> list[list[str]]:
    """The values of some columns, row by row."""
    return [[row[name] for name in names] for row in rows]


@pytest.fixture
def whole(made: Callable[..., Path], elsewhere: Path) -> Path:
    """The folder of an uninterrupted sweep of two seeds."""
    return shutil.copytree(made("sweep", *QUICK, *GRID, "--seeds", 2), "whole")


@pytest.mark.parametrize("how", [GRID, FOLDED, HALVED], ids=["plain", "folds", "halving"])
def test_workers_change_no_result(how: tuple[object, ...]) -> None:
    done("sweep", *QUICK, *how, "--seeds", 2, "--out", "whole")
    output = done("sweep", *QUICK, *how, "--seeds", 2, "--out", "run", "--workers", 2)
    assert_same_results()
    assert "Warning" not in output


def test_fewer_parts_than_workers_cause_a_warning(whole: Path) -> None:
    output = done("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "run", "--workers", 3)
    assert (
        "Warning: the sweep has 2 parts for 3 workers; more seeds or a smaller --max-networks make more parts"
        in output
    )
    assert_same_results()
    output = done("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "other", "--workers", 2)
    assert "Warning" not in output


def test_a_dask_cluster_changes_no_result(whole: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs Dask")
    where = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**where, silence_logs=60) as cluster:
        address = cluster.scheduler_address
        done("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "run", "--scheduler", address)
    assert_same_results()
    assert "scheduler" not in settings_in("run")


def test_workers_together_with_a_scheduler_are_refused() -> None:
    line = refused("sweep", *QUICK, "--workers", 2, "--scheduler", "tcp://127.0.0.1:1", code=2)
    assert "--workers or --scheduler must be given, not both; got both" in line
    for number in (0, -1, "many"):
        assert "--workers" in refused("sweep", *QUICK, "--workers", number, code=2)
    assert not Path("runs").exists()


def test_a_scheduler_without_dask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    line = refused("sweep", *QUICK, *GRID, "--scheduler", "tcp://127.0.0.1:1", "--out", "run")
    assert "--scheduler" in line
    assert "distributed" in line
    assert not Path("run").exists()


# ---------------------------------------------------------------------------------------------------------
# Resume


@pytest.mark.parametrize(("step", "stage"), [(3, 1), (30, 1), (5, 2), (43, 2)])
@pytest.mark.parametrize("workers", [(), ("--workers", 2)])
def test_a_resumed_sweep_equals_an_uninterrupted_one(
    send: Any, whole: Path, step: int, stage: int, workers: tuple[object, ...]
) -> None:
    send(step, signal.SIGINT, stage=stage)
    result = cli("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "run")
    assert result.exit_code == 130
    assert "`twolayer sweep --resume run` continues from there" in result.output
    done("sweep", "--resume", "run", *workers)
    assert_same_results()
    assert read("run/results.json")["complete"] is True


def test_the_command_to_resume_can_be_pasted_into_a_shell(send: Any) -> None:
    send(5, signal.SIGINT)
    result = cli("sweep", *QUICK, *GRID, "--out", "my run")
    assert "`twolayer sweep --resume 'my run'` continues from there" in result.output


def test_a_sweep_interrupted_with_workers_is_resumed(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives at the first progress of a worker."""
    original, pending = console.Watch.__call__, [signal.SIGINT]

    def call(self: console.Watch, progress: Any) -> None:
        while pending:
            signal.raise_signal(pending.pop())
        original(self, progress)

    monkeypatch.setattr(console.Watch, "__call__", call)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = cli("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "run", "--workers", 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert "`twolayer sweep --resume run` continues from there" in result.output
    done("sweep", "--resume", "run")
    assert_same_results()


def test_a_sweep_killed_before_its_first_checkpoint_starts_again(whole: Path) -> None:
    for names in (("settings.toml",), ("settings.toml", "parts/plan.json")):
        Path("run/parts").mkdir(parents=True)
        for name in names:
            shutil.copy(f"whole/{name}", f"run/{name}")
        done("sweep", "--resume", "run")
        assert_same_results()
        shutil.rmtree("run")


def test_resuming_a_finished_sweep_trains_nothing(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree("whole", "run")

    def refuse(*_: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(console.Watch, "__call__", refuse)
    done("sweep", "--resume", "run")
    assert_same_results()


def test_resume_adds_seeds_to_a_finished_sweep(whole: Path) -> None:
    """Only the new seeds are trained: the parts of the old ones stay unchanged."""
    shutil.copytree("whole", "run")
    before = {path.name: path.read_bytes() for path in Path("run/parts").glob("*.safetensors")}
    assert "2 candidates × 4 seeds" in done("sweep", "--resume", "run", "--seeds", 4)
    done("sweep", *QUICK, *GRID, "--seeds", 4, "--out", "more")
    assert_same_results("more")
    after = {path.name: path.read_bytes() for path in Path("run/parts").glob("*.safetensors")}
    assert len(after) == 4
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "more", [("--learning-rate", "0.1,0.3,1"), ("--hidden", "8,9"), ("--seeds", "5,0,1")], ids=str
)
def test_resume_adds_candidates_to_a_finished_sweep(whole: Path, more: tuple[str, str]) -> None:
    shutil.copytree("whole", "run")
    done("sweep", "--resume", "run", *more)
    options = dict(zip((*QUICK[:-1], *GRID)[::2], (*QUICK[:-1], *GRID)[1::2], strict=True))
    options |= {"--seeds": 2, more[0]: more[1]}
    done("sweep", *(word for pair in options.items() for word in pair), "-q", "--out", "more")
    found, fresh = rows_of("run/runs.csv"), rows_of("more/runs.csv")
    names = ("learning_rate", "n_hidden", "seed", "n_steps", "validation_accuracy")
    assert columns(found, *names) == columns(fresh, *names)
    assert settings_in("run") == settings_in("more")


def test_resume_draws_more_candidates_at_random() -> None:
    grid = (*QUICK, "--learning-rate", "0.01..1", "--reg", 0)
    done("sweep", *grid, "--candidates", 2, "--out", "run")
    first = rows_of("run/runs.csv")
    done("sweep", "--resume", "run", "--candidates", 4)
    names = ("learning_rate", "validation_accuracy")
    both = rows_of("run/runs.csv")
    assert columns(both[: len(first)], *names) == columns(first, *names)
    assert len(both) == 2 * len(first)


REFUSED: dict[str, tuple[tuple[object, ...], str, int]] = {
    "epochs": (("--epochs", 3), "--resume uses the run's own settings: leave out --epochs", 2),
    "out": (("--out", "x"), "leave out --out", 2),
    "halving": (("--halving", 2), "leave out --halving", 2),
    "fewer": (("--seeds", 1), "must include those of the sweep in run/parts; (batch_size=", 1),
    "others": (("--learning-rate", 5), "must include those of the sweep in run/parts; (batch_size=", 1),
    "library": (("--library", "nothing"), "--library", 2),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_resume_changes_nothing(whole: Path, case: str) -> None:
    """The settings, the plan and the results stay as they were."""
    options, message, code = REFUSED[case]
    shutil.copytree("whole", "run")
    assert message in refused("sweep", "--resume", "run", *options, code=code).replace("\\", "/")
    for name in (*RESULTS, "parts/plan.json", "results.json"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_with_halving_other_candidates_are_refused() -> None:
    done("sweep", *QUICK, *HALVED, "--out", "run")
    before = Path("run/settings.toml").read_bytes()
    line = refused("sweep", "--resume", "run", "--seeds", 5).replace("\\", "/")
    assert "must be those of the sweep in run/parts, as `halving` compares all of them; got 20" in line
    assert Path("run/settings.toml").read_bytes() == before


def test_only_the_folder_of_a_sweep_with_parts_can_be_resumed(run: Path, whole: Path) -> None:
    line = refused("sweep", "--resume", "run")
    assert "`--resume` must be the folder of a sweep; run" in line
    line = refused("train", "--resume", "whole")
    assert "`--resume` must be the folder of a training; whole" in line
    assert "whole/missing does not exist" in refused("sweep", "--resume", "whole/missing").replace("\\", "/")
    shutil.rmtree("whole/parts")
    assert "whole must hold the folder `parts` for `--resume`; it has no checkpoints" in refused(
        "sweep", "--resume", "whole"
    )


def test_seeds_that_have_not_started_may_be_removed_again(whole: Path) -> None:
    """A resume that fails before it trains changes no more than the settings."""
    pytest.importorskip("distributed", reason="an extra")
    more = ("sweep", "--resume", "whole", "--seeds", 4)
    before = Path("whole/settings.toml").read_bytes()
    line = refused(*more, "--scheduler", "nonsense")
    assert "`--scheduler` must be the address of a Dask scheduler, such as tcp://HOST:8786; got non" in line
    assert Path("whole/settings.toml").read_bytes() == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.sweep.carried_out", None)
        with contextlib.suppress(TypeError):
            cli(*more)
    assert "2 of 2 parts have started" in done("sweep", "--resume", "whole", "--seeds", 2)


def test_other_data_is_refused(npz: Path) -> None:
    from support.command_line import clusters

    done("sweep", npz, *QUICK, *GRID, "--out", "run")
    clusters(npz, seed=1)
    assert "need the data of that run; got other data" in refused("sweep", "--resume", "run")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}'])
def test_a_damaged_plan_is_refused(whole: Path, content: str) -> None:
    Path("whole/parts/plan.json").write_text(content)
    before = Path("whole/settings.toml").read_bytes()
    assert "plan.json" in refused("sweep", "--resume", "whole", "--seeds", 4)
    assert Path("whole/settings.toml").read_bytes() == before


# ---------------------------------------------------------------------------------------------------------
# Overwrite


def test_an_interrupted_sweep_does_not_yet_replace_another(send: Any, whole: Path) -> None:
    """Until it ends, it is stored within the folder of the other sweep."""
    done("sweep", *QUICK, *GRID, "--out", "run")
    kept = {name: Path("run", name).read_bytes() for name in RESULTS}
    send(5, signal.SIGINT, stage=2)
    result = cli("sweep", *QUICK, *GRID, "--seeds", 2, "--out", "run", "--overwrite")
    assert result.exit_code == 130
    assert "`twolayer sweep --resume run` continues from there" in result.output
    assert {name: Path("run", name).read_bytes() for name in RESULTS} == kept
    output = done("sweep", "--resume", "run")
    assert "2 candidates" in output
    assert_same_results()
    assert len(list(Path("run/parts").glob("*.safetensors"))) == 2
    assert {name for name in files_in("run") if name.startswith(".")} <= {".twolayer.lock"}
    done("sweep", "--resume", "run", "--seeds", 3)  # with the parts that were moved


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_overwrite_keeps_the_files_of_a_user(whole: Path, command: str) -> None:
    own = {"notes.txt": "mine", "weights.safetensors": "too", "0123456789abcdef.txt": "and this"}
    for name, text in own.items():
        Path("whole/parts", name).write_text(text)
    old = {path.name for path in Path("whole/parts").glob("*.safetensors")} - own.keys()
    more = GRID if command == "sweep" else ()
    done(command, *QUICK, *more, "--seed", 7, "--out", "whole", "--overwrite")
    for name, text in own.items():
        assert Path("whole/parts", name).read_text() == text
    assert not old & files_in("whole/parts")
    assert ("plan.json" in files_in("whole/parts")) == (command == "sweep")


def test_a_sweep_refuses_a_file_in_place_of_the_folder_parts(run: Path) -> None:
    """It is refused before anything is trained."""
    Path("run/parts").write_text("mine")
    before = Path("run/network.safetensors").read_bytes()
    line = refused("sweep", *QUICK, *GRID, "--out", "run", "--overwrite")
    assert "run/parts" in line.replace("\\", "/")
    assert Path("run/network.safetensors").read_bytes() == before
    assert not [name for name in files_in("run") if name.endswith("-run")]
    done("train", *QUICK, "--out", "run", "--overwrite")
    assert Path("run/parts").read_text() == "mine"


def test_a_sweep_that_fails_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("twolayer.cli.sweep.carried_out", fail)
    with contextlib.suppress(MemoryError):
        cli("sweep", *QUICK, *GRID, "--out", "run")
    assert not Path("run").exists()


def test_a_part_that_is_given_up_is_one_line_of_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise BrokenExecutor("part 1 of 2 is given up")

    monkeypatch.setattr("twolayer.cli.sweep.carried_out", give_up)
    assert refused("sweep", *QUICK, *GRID, "--workers", 1) == "Error: part 1 of 2 is given up"


def test_json_of_a_resumed_sweep_has_all_runs(whole: Path) -> None:
    shutil.copytree("whole", "run")
    output = done("sweep", "--resume", "run", "--seeds", 3, "--json", "--workers", 2)
    data = json.loads(output[output.index("{") :])
    assert len(data["runs"]) == 6
    assert data["complete"] is True
