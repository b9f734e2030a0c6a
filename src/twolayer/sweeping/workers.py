"""Workers of a sweep: any executor of `concurrent.futures`, and what goes between it and this process."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .._namespace import Array
from ..training import Callback, Progress, Run
from ..training.checkpoint import save_run
from ..training.execution import threads_for
from ..training.trees import tree_map
from .parts import Checkpoint, Given, Part, PartData, PartResult, train_part
from .stored import PartsFolder

Executors: TypeAlias = Executor | Callable[[], Executor]

_PLACE = ("step", "steps", "epoch", "epochs")  # what workers report of a progress
_REPORT_SECONDS = 0.5
_STOP_SECONDS = 10.0  # until parts that were asked to stop are no longer waited for
_HINT = (
    '; no worker took a step: a program must start its sweep below `if __name__ == "__main__":`, and workers '
    "must be able to import it"
)
_GOES_ON = "goes-on"  # a file that is there until parts are to stop
# Modules of executors whose workers are processes of this machine, which can share memory.
_OF_PROCESSES = ("concurrent.futures.process", "joblib.externals.loky", "loky")


class Workers:
    """An executor, on which the parts of a sweep are run.

    Parameters
    ----------
    executor : Executor, or callable that returns one
        One that a callable returned is shut down at the end.
    retries : int
        How often a part is run again whose worker died.
    given : Given
        The arrays, which are sent once if the executor has a way to do so.
    callbacks : tuple of callables
        Called in this process; by one of them, ``stopping`` is set.
    folder : PartsFolder or None
    """

    def __init__(
        self,
        executor: Executors,
        retries: int,
        given: Given,
        callbacks: tuple[Callback, ...],
        folder: PartsFolder | None,
    ) -> None:
        self.stopping, self._given = False, given
        self._retries, self._callbacks, self._parts_folder = retries, callbacks, folder
        self._make: Callable[[], Executor] | None = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else executor()
        if not isinstance(self._executor, Executor):
            raise TypeError(
                "`executor` must return a concurrent.futures.Executor if it is a function; got "
                f"{type(self._executor).__name__}"
            )
        n_workers: int = getattr(self._executor, "_max_workers", 0)
        self._most = n_workers or sys.maxsize  # parts at a time: for an unknown number of workers all
        self._n_threads = None
        if type(self._executor).__module__.startswith(_OF_PROCESSES):
            self._n_threads = max(1, (os.cpu_count() or 1) // max(1, n_workers))
        self._running: dict[Future[PartResult], tuple[Part, Executor]] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="twolayer-", ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        (self._folder / _GOES_ON).touch()
        self._sent: Any = None

    def close(self) -> None:
        """Ask parts that still run to stop, end the workers of an executor that is ours, and remove files."""
        left = [future for future in self._running if not (future.cancel() or future.done())]
        if self._make is not None:
            processes = [*(getattr(self._executor, "_processes", None) or {}).values()] if left else []
            self._executor.shutdown(wait=not left)
            for process in processes:
                process.terminate()
        self._temporary.cleanup()

    def results(self, parts: tuple[Part, ...]) -> Iterator[PartResult]:
        """Run parts, and yield their results as they come.

        Raises
        ------
        BrokenExecutor
            If the worker of a part died more often than it may.
        """
        waiting, running, deaths = deque(parts), self._running, Counter[int]()
        if self._sent is None:
            self._sent = self._send(self._given)
        until = math.inf
        while (waiting or running) and time.monotonic() < until:
            if self.stopping and until == math.inf:
                (self._folder / _GOES_ON).unlink()
                waiting.clear()
                until = time.monotonic() + _STOP_SECONDS
            while waiting and len(running) < self._most:
                part = waiting.popleft()
                running[self._submit(part)] = part, self._executor
            done, _ = wait(running, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                part, executor = running.pop(future)
                try:
                    result = future.result()
                except (BrokenExecutor, CancelledError) as error:
                    deaths[part.number] += 1
                    if deaths[part.number] > self._retries:
                        hint = "" if any(self._folder.glob("*.progress")) else _HINT
                        raise BrokenExecutor(
                            f"part {part.number} of {part.n_parts} is given up: it was under way "
                            f"{deaths[part.number]} times when a worker died{hint}"
                        ) from error
                    if isinstance(error, CancelledError):  # by Dask, whose workers with the arrays died
                        self._sent = self._send(self._given)
                    elif executor is self._executor:
                        self._executor = self._replacement(executor, error)
                    waiting.appendleft(part)
                    continue
                if self._parts_folder is not None:  # the worker may not see the folder
                    save_run(result.run, self._parts_folder.checkpoint(part).path)
                self._call_back(part, result.place, result.run)
                yield result
            for part, _ in running.values():
                with suppress(OSError):  # it has not begun, or its worker is on another machine
                    text = _report_file(self._folder, part).read_text(encoding="ascii")
                    self._call_back(part, [int(number) for number in text.split()], None)

    def _submit(self, part: Part) -> Future[PartResult]:
        """Submit a part; an executor that is broken gives a future that is."""
        checkpoint = None
        if self._parts_folder is not None:
            checkpoint = self._parts_folder.checkpoint(part)
            part = part.resumed(checkpoint.path, self._given.X)
        try:
            return self._executor.submit(
                run_part, part, self._sent, self._folder, checkpoint, self._n_threads
            )
        except BrokenExecutor as error:
            future: Future[PartResult] = Future()
            future.set_exception(error)
            return future

    def _replacement(self, executor: Executor, error: BrokenExecutor) -> Executor:
        """Return an executor in place of one that broke, as those of processes do if one of these dies."""
        if self._make is None and type(executor).__module__ == _OF_PROCESSES[0]:
            own: Any = executor
            kind: Callable[..., Executor] = type(executor)
            how = {"mp_context": own._mp_context, "initializer": own._initializer, "initargs": own._initargs}
            self._make = partial(kind, own._max_workers, **how)
        if self._make is None:
            raise BrokenExecutor(
                "`executor` must be a function that returns an executor, so that another can be made after a "
                f"worker died; this {type(executor).__name__} is broken"
            ) from error
        return self._make()

    def _send(self, given: Given) -> Any:
        """Return what workers make the arrays of: names of files, where they are on this machine."""
        client: Any = getattr(self._executor, "_client", None)
        if hasattr(client, "scatter"):  # Dask's
            (future,) = client.scatter([given], broadcast=True, hash=False)
            return future
        return given if self._n_threads is None else tree_map(self._in_file, given)

    def _in_file(self, array: Array) -> Any:
        """Write a NumPy array to a file, unless it is one in a file already."""
        if not isinstance(array, np.ndarray) or array.dtype.hasobject or not array.size:
            return array
        root: Any = array
        while isinstance(root.base, np.memmap):
            root = root.base
        # In mode "c", what was changed since is in no file.
        is_mapped = isinstance(root, np.memmap) and root.mode != "c" and array.flags.c_contiguous
        if is_mapped and root.filename and Path(root.filename).is_file():
            first, own = (one.__array_interface__["data"][0] for one in (root, array))
            return partial(np.memmap, root.filename, array.dtype, "r", root.offset + own - first, array.shape)
        path = self._folder / f"{len(list(self._folder.iterdir()))}.array"
        try:
            np.ascontiguousarray(array).tofile(path)
        except OSError as error:  # which does not name the file
            why = "the temporary folder may be too small for the arrays; TMPDIR names another"
            raise OSError(errno.ENOSPC, why, str(path)) from error
        return partial(np.memmap, path, array.dtype, "r", 0, array.shape)

    def _call_back(self, part: Part, place: Sequence[int], run: Run | None) -> None:
        """Call callbacks with the progress of a part, whose run is known only when it has ended."""

        def known() -> Run:
            if run is None:
                raise RuntimeError(f"the run of part {part.number} is not available until the part has ended")
            return run

        def stop() -> None:
            self.stopping = True

        progress = Progress(
            **dict(zip(_PLACE, place, strict=True)),
            epoch_ended=run is not None,
            history=lambda: known().history,
            net=lambda: known().average or known().last,
            run=known,
            snapshot=known,
            stop=stop,
            stage=part.number,
            stages=part.n_parts,
        )
        for callback in self._callbacks:
            callback(progress)


def run_part(
    part: Part, sent: Any, folder: Path, checkpoint: Checkpoint | None, n_threads: int | None
) -> PartResult:
    """Train the networks of a part in a worker.

    Parameters
    ----------
    part : Part
    sent : Given
        The arrays; in place of one that is in a file, a function that returns it.
    folder : Path
        The folder for reports of progress, and for the file that says to go on, if this machine has it.
    checkpoint : Checkpoint or None
        The file of the part's run, if this machine has its folder.
    n_threads : int or None
        The most threads of a BLAS, if the worker is a process of the calling machine.
    """
    if n_threads is not None:
        _end_with_parent(folder)
    given = Given(*tree_map(lambda array: np.asarray(array()) if callable(array) else array, sent))
    callbacks = (_Reporter(folder, part),) if folder.is_dir() else ()
    if "X" in part.shared.data:  # a file may have been replaced meanwhile
        part.check_data(given)
    if checkpoint is not None and not checkpoint.path.parent.is_dir():
        checkpoint = None
    first = part.members[0]
    n_units = len(part.members) * first["n_hidden"]
    operations = 2.0 * math.prod(given.X.shape[1:]) * first["batch_size"] * n_units
    if n_threads is None:  # a limit is of the whole process, and other threads of it may be workers too
        operations = math.inf
    with threads_for(part.shared.place(given.X)["xp"], operations, n_threads):
        return train_part(part, PartData(given), callbacks=callbacks, checkpoint=checkpoint)


class _Reporter:
    """A callback that writes now and then how far a part is, and stops it if that is asked for."""

    def __init__(self, folder: Path, part: Part) -> None:
        self._goes_on, self._file = folder / _GOES_ON, _report_file(folder, part)
        self._reported_at = -math.inf

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = time.monotonic()
        if not self._goes_on.exists():
            progress.stop()
        place = (getattr(progress, name) for name in _PLACE)
        new = self._file.with_suffix(".new")
        with suppress(OSError):  # the folder may be gone, with the process that reads it
            new.write_text(" ".join(map(str, place)), encoding="ascii")
            new.replace(self._file)


def _report_file(folder: Path, part: Part) -> Path:
    return folder / f"part-{part.number}.progress"


@lru_cache(maxsize=1)
def _end_with_parent(folder: Path) -> None:
    """Have this process end when the one that started it does, however that ends, and remove its folder."""
    import multiprocessing

    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        with suppress(ValueError):  # loky's workers do not know theirs, and end by themselves
            parent.join()
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def processes(n: int) -> Executor:
    """Return an executor of so many fresh processes, which leave Ctrl-C to this one."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn, ignored = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    executor = ProcessPoolExecutor(n, mp_context=spawn, initializer=signal.signal, initargs=ignored)
    if hasattr(signal, "pthread_sigmask"):  # the processes, which a first call starts, inherit the mask
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        executor.submit(int)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return executor
