"""Sweeps on the workers of an executor: results, callbacks, and workers that die."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import ROOT, TESTS
from support.dying import Dies, Notes, Raises, Waits
from support.plans import GRID, WAYS, arguments, assert_same_result
from support.refusals import refusal
from support.small_runs import make_task

from twolayer import Progress, sweep
from twolayer.augmentation import Mixup
from twolayer.sweeping import workers

TASK = make_task(noise=2.0)
SPAWN = multiprocessing.get_context("spawn")
CALLER = os.getpid()
# Slow enough for a callback to see the progress of workers.
SLOW = {"schedule": Waits(0.02, CALLER), "epochs": 100}


def how_of(way: str = "plain", **changes: Any) -> dict[str, Any]:
    return arguments(TASK, WAYS[way] | changes)


def stop(progress: Progress) -> None:
    progress.stop()


def processes(n: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(n, mp_context=SPAWN)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Two processes that tests share. A test that breaks an executor needs its own."""
    with processes() as executor:
        yield executor


@pytest.fixture(autouse=True)
def nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Assert that twolayer leaves nothing in the temporary folder, and BLAS as many threads as before."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = n_threads()
    yield
    assert [path.name for path in folder.iterdir() if path.name.startswith("twolayer-")] == []
    assert n_threads() == before


def n_threads() -> list[int]:
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="an extra")
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def check(executor: Any, way: str = "plain", **changes: Any) -> None:
    """Assert that a sweep on an executor equals that of one process, bit for bit."""
    how = how_of(way, **changes)
    assert_same_result(sweep(**how, executor=executor), sweep(**how))


@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_on_processes(pool: Executor, way: str) -> None:
    check(pool, way)


def test_classes_and_functions_of_modules_reach_the_workers(pool: Executor) -> None:
    from twolayer.preprocessing import Standardizer, Whitener

    check(pool, "folds", preprocessing=Whitener, augmentation=Mixup(0.5))
    check(pool, preprocessing=partial(Standardizer.fit, scale="global"))


@pytest.mark.parametrize("way", ["plain", "halving", "folds-fitted"])
def test_a_sweep_on_threads(way: str) -> None:
    with ThreadPoolExecutor(3) as executor:
        check(executor, way)
        check(lambda: executor, way)


@pytest.mark.parametrize("way", ["plain", "halving", "folds"])
def test_a_sweep_on_loky(way: str) -> None:
    loky = pytest.importorskip("loky", reason="needs loky")
    check(loky.get_reusable_executor(2), way)


def test_a_broken_loky_executor_is_replaced(tmp_path: Path) -> None:
    """Only if `executor` is a function that returns it. An executor that was passed itself stays broken."""
    loky = pytest.importorskip("loky", reason="needs loky")
    check(partial(loky.get_reusable_executor, 2), schedule=Dies(str(tmp_path), 1, CALLER))
    (tmp_path / "given").mkdir()
    how = how_of(schedule=Dies(str(tmp_path / "given"), 1, CALLER))
    message = (
        "`executor` must be a function that returns an executor, so that another can be made after a worker "
        "died; this _ReusablePoolExecutor is broken"
    )
    with pytest.raises(BrokenExecutor, match=f"^{re.escape(message)}$"):
        sweep(**how, executor=loky.get_reusable_executor(2))


def test_a_sweep_on_dask(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs Dask")
    where = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(**where, silence_logs=60) as cluster,
        distributed.Client(cluster) as client,
    ):
        for way in ("plain", "halving", "folds", "weights"):
            check(client.get_executor(), way)
        check(client.get_executor, "folds-fitted")
        # The only worker that has the arrays dies.
        check(client.get_executor(), schedule=Dies(str(tmp_path), 1, CALLER))
        with pytest.raises(LookupError, match="no rate today"):
            sweep(**how_of(schedule=Raises()), executor=client.get_executor())
        stopped = sweep(**how_of(**SLOW), executor=client.get_executor(), callbacks=[stop])
        assert not stopped.complete


def test_the_executor_may_be_made_by_a_function() -> None:
    """That executor is shut down at the end."""
    made: list[ProcessPoolExecutor] = []

    def make() -> ProcessPoolExecutor:
        made.append(processes())
        return made[-1]

    check(make)
    (executor,) = made
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(os.getpid)


# ---------------------------------------------------------------------------------------------------------
# Workers that die


@pytest.mark.parametrize(("times", "make"), [(2, processes), (1, lambda: processes)])
def test_a_part_whose_worker_dies_is_run_again(tmp_path: Path, times: int, make: Callable[[], Any]) -> None:
    dies = Dies(str(tmp_path), times, CALLER)
    check(make(), schedule=dies, grid=GRID | {"n_hidden": [3]})
    assert len(list(tmp_path.iterdir())) == times


def test_a_part_whose_worker_dies_resumes_from_its_folder(tmp_path: Path) -> None:
    """It resumes from its checkpoint, and the result is that of one process."""
    how = how_of("plain", schedule=Dies(str(tmp_path), 1, CALLER))
    found = sweep(**how, executor=processes(1), resume=tmp_path / "parts", checkpoint_seconds=0.0)
    assert_same_result(found, sweep(**how))


@pytest.mark.parametrize("retries", [0, 1])
def test_a_part_whose_workers_always_die_is_given_up(tmp_path: Path, retries: int) -> None:
    message = f"part 1 of 4 failed: a worker died {retries + 1} times while it trained the part; no worker t"
    how = how_of(schedule=Dies(str(tmp_path), 99, CALLER))
    with pytest.raises(BrokenExecutor, match=f"^{message}"):
        sweep(**how, executor=partial(processes, 1), retries=retries)
    assert len(list(tmp_path.iterdir())) == retries + 1


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    """Even if the parent is killed while workers train."""
    script = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import os
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from support.dying import Waits
from support.plans import arguments, WAYS
from support.small_runs import make_task
from twolayer import sweep

def show(progress):
    processes = [process.pid for process in multiprocessing.active_children()]
    print(*processes, flush=True)
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    how = arguments(make_task(noise=2.0), {{"schedule": Waits(0.05, 0), "epochs": 200}})
    executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    sweep(**how, executor=executor, callbacks=[show])
"""
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    numbers = [int(word) for word in done.stdout.split()]
    assert len(numbers) == 2, done.stderr
    until = time.monotonic() + 30
    while any(is_running(number) for number in numbers):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and ") Z " in state.read_text())


# ---------------------------------------------------------------------------------------------------------
# Callbacks


def test_callbacks_see_the_progress_of_workers(pool: Executor) -> None:
    seen: list[Progress] = []
    how = how_of(**SLOW | {"epochs": 12})
    sweep(**how, executor=pool, callbacks=[seen.append])
    assert {(one.stages, one.steps, one.epochs) for one in seen} == {(4, 60, 12)}
    ends = [one for one in seen if one.epoch_ended]
    assert sorted(one.stage for one in ends) == [1, 2, 3, 4]
    assert all(one.step == 60 and one.epoch == 12 for one in ends)
    assert all(one.history().loss.shape == (2, 60) == one.run().history.loss.shape for one in ends)
    assert all(one.net().n_networks == one.snapshot().last.n_networks == 2 for one in ends)
    under_way = [one for one in seen if not one.epoch_ended]
    assert any(0 < one.step < 60 for one in under_way)
    for look in (one := under_way[0]).history, one.net, one.run, one.snapshot:
        with refusal(f"RuntimeError: the run of part {one.stage} is not available until the part has ended"):
            look()


def test_a_callback_may_stop_a_sweep(pool: Executor) -> None:
    """The results so far are returned."""
    result = sweep(**how_of(**SLOW), executor=pool, callbacks=[stop])
    assert not result.complete
    assert 0 < len(result.runs) <= 4
    assert all(0 < row["n_steps"] < 500 for row in result.runs)
    assert result.best is not None


@pytest.mark.parametrize("make", [processes, partial(ThreadPoolExecutor, 2)])
def test_an_error_in_a_callback_stops_the_parts(make: Callable[[], Executor]) -> None:
    """Workers of the user's executor are free again. Otherwise they would be busy for half a minute."""

    def fail(progress: Progress) -> None:
        raise LookupError("no more")

    with make() as executor:
        with pytest.raises(LookupError, match="no more"):
            sweep(**how_of(schedule=Waits(0.02, 0), epochs=300), executor=executor, callbacks=[fail])
        free = [executor.submit(os.getpid) for _ in range(4)]
        assert all(future.result(timeout=15) for future in free)


def test_an_error_in_a_part_propagates_as_in_one_process(pool: Executor) -> None:
    how = how_of(schedule=Raises())
    for executor in (pool, None):
        with pytest.raises(LookupError, match="no rate today"):
            sweep(**how, executor=executor)
    bad = TASK.X.copy()
    bad[3, 1] = np.nan
    found = []
    for executor in (pool, None):
        with pytest.raises(ValueError, match="finite") as error:
            sweep(**how_of() | {"X": bad}, executor=executor)
        found.append(str(error.value))
    assert found[0] == found[1]


def test_arguments_that_cannot_be_pickled_are_an_error(pool: Executor) -> None:
    with pytest.raises(Exception, match="pickle"):
        sweep(**how_of(preprocessing=lambda X: None), executor=pool)
    check(pool)  # the pool is not broken


def test_two_sweeps_can_use_one_executor_at_the_same_time(pool: Executor) -> None:
    expected, found = sweep(**how_of()), []
    threads = [threading.Thread(target=lambda: found.append(sweep(**how_of(), executor=pool))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for one in found:
        assert_same_result(one, expected)


# ---------------------------------------------------------------------------------------------------------
# Arrays and threads


def mapped(path: Path, mode: str) -> np.ndarray:
    """The samples in a memory-mapped file, in which they begin after 64 bytes."""
    whole: np.ndarray = np.memmap(path, TASK.X.dtype, "w+", offset=64, shape=TASK.X.shape)
    whole[...] = 0.0 if mode == "c" else TASK.X
    whole.flush()
    array = np.memmap(path, TASK.X.dtype, mode, offset=64, shape=TASK.X.shape)
    if mode == "c":
        array[...] = TASK.X
    return array


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("stream", [False, True])
def test_memory_mapped_arrays_keep_their_current_values(
    pool: Executor, tmp_path: Path, mode: str, stream: bool
) -> None:
    """Workers get these values even if they are not in the file, as with mode "c"."""
    X = mapped(tmp_path / "X", mode)
    how = how_of(stream=stream)
    result = sweep(**how | {"X": X}, executor=pool)
    assert_same_result(result, sweep(**how))
    assert mode == "c" or (tmp_path / "X").stat().st_size == 64 + X.nbytes


def test_memory_mapped_arrays_may_have_lost_their_file(pool: Executor, tmp_path: Path) -> None:
    how, gone = how_of(), mapped(tmp_path / "X", "r+")
    (tmp_path / "X").unlink()
    with tempfile.TemporaryFile() as file:
        nameless: np.ndarray = np.memmap(file, TASK.X.dtype, "w+", shape=TASK.X.shape)
    nameless[...] = TASK.X
    for X in (gone, nameless):
        assert_same_result(sweep(**how | {"X": X}, executor=pool), sweep(**how))


def test_a_memory_mapped_array_is_not_copied(
    pool: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contiguous parts of a mapped array are not copied either. All other arrays are."""
    sent: list[tuple[Any, list[str]]] = []
    original = workers.Workers._send

    def send(self: Any, given: Any) -> Any:
        found = original(self, given)
        sent.append((found, sorted(path.name for path in self._folder.glob("*.array"))))
        return found

    monkeypatch.setattr(workers.Workers, "_send", send)
    X = mapped(tmp_path / "X", "r")
    check(pool)
    sweep(**how_of() | {"X": X}, executor=pool)
    with ThreadPoolExecutor(1) as threads:
        check(threads)
    own, mapped_one, none = (names for _, names in sent)
    assert len(own) == 4
    assert len(mapped_one) == 3
    assert none == []
    assert Path(sent[1][0].X.args[0]) == tmp_path / "X"
    for part in (X[2:], X[3:, :][2:], X[1:].reshape(-1), X[:, ::2], np.asfortranarray(X)):
        given = workers.Given(part, part[::2], None, None)
        executor = workers.Workers(pool, 0, given, (), None)
        try:
            found = executor._send(given).X
            np.testing.assert_array_equal(found(), part)
            is_copied = found.args[0] != X.filename
            assert is_copied != part.flags.c_contiguous
        finally:
            executor.close()


def test_an_array_whose_file_was_replaced_is_refused(pool: Executor, tmp_path: Path) -> None:
    X, other = mapped(tmp_path / "X", "r"), tmp_path / "other"
    shutil.copyfile(tmp_path / "X", other)
    np.memmap(other, X.dtype, "r+", X.offset, X.shape)[:] *= -1
    other.replace(tmp_path / "X")
    with refusal("ValueError: `X` must be the plan's, …"):
        sweep(**how_of() | {"X": X}, executor=pool)


def test_the_error_of_a_full_temporary_folder_names_it(
    monkeypatch: pytest.MonkeyPatch, pool: Executor
) -> None:
    def full(*_: object) -> None:
        raise OSError("19200 requested and 4096 written")

    patched = SimpleNamespace(**vars(np) | {"ascontiguousarray": lambda _: SimpleNamespace(tofile=full)})
    monkeypatch.setattr(workers, "np", patched)
    with pytest.raises(OSError, match=r"set TMPDIR to another one: '.*array'$"):
        sweep(**how_of(), executor=pool)


def test_the_error_of_a_program_without_a_main_guard_explains_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import numpy as np\n"
        "import twolayer\n"
        "X, y = np.eye(6), np.arange(6) % 2\n"
        "pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'))\n"
        "twolayer.sweep(X, y, validation=(X, y), grid={'seed': [0]}, epochs=1, executor=pool, retries=0)\n"
    )
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.endswith("and workers must be able to import it")
    assert 'below `if __name__ == "__main__":`' in last


@pytest.mark.parametrize("n", [1, 2])
def test_workers_divide_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Large matrix products use all threads of a worker, small ones a single thread."""
    pytest.importorskip("threadpoolctl", reason="an extra")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    wide = make_task(n_samples=40, n_features=4000, noise=2.0)
    how = arguments(
        wide, {"grid": {"n_hidden": [100], "batch_size": [40]}, "epochs": 1, "schedule": Notes(str(tmp_path))}
    )
    sweep(**how, executor=partial(processes, n))
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    (own,) = tmp_path.iterdir()
    assert set(eval(own.read_text())) <= {4 // n, min(4 // n, most)}
    own.unlink()
    sweep(**how_of(schedule=Notes(str(tmp_path))), executor=partial(processes, n))
    assert {text for path in tmp_path.iterdir() for text in eval(path.read_text())} == {1}


def test_a_sweep_on_workers_without_threadpoolctl() -> None:
    """The workers' processes lack it too."""
    script = f"""
import sys
sys.modules["threadpoolctl"] = None
sys.path.insert(0, {str(TESTS)!r})
from functools import partial
from twolayer import sweep
from twolayer.sweeping.workers import processes
from support.plans import *
from support.small_runs import make_task

if __name__ == "__main__":
    how = arguments(make_task(noise=2.0), {{}})
    assert_same_result(sweep(**how, executor=partial(processes, 2)), sweep(**how))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60, cwd=ROOT)


# ---------------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"executor": 2},
            "TypeError: `executor` must be a concurrent.futures.Executor, or a function that…; got int",
        ),
        (
            {"executor": lambda: None},
            "TypeError: `executor` must return a concurrent.futures.Executor if…; got NoneType",
        ),
        ({"retries": -1}, "ValueError: `retries` must be at least 0; got -1"),
        ({"retries": 1.5}, "TypeError: `retries` must be an integer…"),
        (
            {"checkpoint_seconds": -1.0},
            "ValueError: `checkpoint_seconds` must be finite and at least 0; got -1",
        ),
    ],
)
def test_invalid_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with refusal(message):
        sweep(**how_of(), **changes)
    gc.collect()  # anything left open would warn


def test_an_executor_that_was_shut_down_is_an_error() -> None:
    executor = processes()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        sweep(**how_of(), executor=executor)
