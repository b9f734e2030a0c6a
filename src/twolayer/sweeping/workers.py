"""Workers of a sweep: executors of `concurrent.futures`, and their exchange of data with this process."""

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

_PLACE = ("step", "steps", "epoch", "epochs")  # fields of `Progress` that workers report
_REPORT_SECONDS = 0.5
_STOP_SECONDS = 10.0  # the longest wait for parts that were asked to stop
_HINT = (
    '; no worker took a step: a program must start its sweep below `if __name__ == "__main__":`, and workers '
    "must be able to import it"
)
_GOES_ON = "goes-on"  # a file whose removal asks parts to stop
# Modules of executors whose workers are processes of this machine, which can share memory.
_OF_PROCESSES = ("concurrent.futures.process", "joblib.externals.loky", "loky")


class Workers:
    """An executor that runs the parts of a sweep.

    Parameters
    ----------
    executor : Executor, or callable that returns one
        An executor that a callable returned is shut down at the end.
    retries : int
        How many times a part is run again after its worker died.
    given : Given
        The arrays. They are sent once if the executor has a way to do so.
    callbacks : tuple of callables
        They are called in this process. A call of ``progress.stop()`` sets ``stopping``.
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
        self._most = n_workers or sys.maxsize  # parts to submit at a time: all if the number is unknown
        self._n_threads = None
        if type(self._executor).__module__.startswith(_OF_PROCESSES):
            self._n_threads = max(1, (os.cpu_count() or 1) // max(1, n_workers))
        self._running: dict[Future[PartResult], tuple[Part, Executor]] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="twolayer-", ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        (self._folder / _GOES_ON).touch()
        self._sent: Any = None

    def close(self) -> None:
        """Cancel parts that still run, end the workers of an executor that this object made, remove files."""
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
            If a worker died more than ``retries`` times while it trained the same part.
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
                            f"part {part.number} of {part.n_parts} failed: a worker died "
                            f"{deaths[part.number]} times while it trained the part{hint}"
                        ) from error
                    # Dask cancels a part if the workers that had the arrays died.
                    if isinstance(error, CancelledError):
                        self._sent = self._send(self._given)
                    elif executor is self._executor:
                        self._executor = self._replacement(executor, error)
                    waiting.appendleft(part)
                    continue
                if self._parts_folder is not None:  # the worker may have had no access to the folder
                    save_run(result.run, self._parts_folder.checkpoint(part).path)
                self._call_back(part, result.place, result.run)
                yield result
            for part, _ in running.values():
                with suppress(OSError):  # the part has not started, or its worker is on another machine
                    text = _report_file(self._folder, part).read_text(encoding="ascii")
                    self._call_back(part, [int(number) for number in text.split()], None)

    def _submit(self, part: Part) -> Future[PartResult]:
        """Submit a part; return a future with the error if the executor is broken."""
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
        """Return a new executor for a broken one; one of processes breaks if a process dies."""
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
        """Return the arrays in the form that is sent to workers: as files, if these are on this machine."""
        client: Any = getattr(self._executor, "_client", None)
        if hasattr(client, "scatter"):  # Dask's
            (future,) = client.scatter([given], broadcast=True, hash=False)
            return future
        return given if self._n_threads is None else tree_map(self._in_file, given)

    def _in_file(self, array: Array) -> Any:
        """Return a function that maps a NumPy array from a file; write the file if the array has none."""
        if not isinstance(array, np.ndarray) or array.dtype.hasobject or not array.size:
            return array
        root: Any = array
        while isinstance(root.base, np.memmap):
            root = root.base
        # In mode "c", changes to the array are not in the file.
        is_mapped = isinstance(root, np.memmap) and root.mode != "c" and array.flags.c_contiguous
        if is_mapped and root.filename and Path(root.filename).is_file():
            first, own = (one.__array_interface__["data"][0] for one in (root, array))
            return partial(np.memmap, root.filename, array.dtype, "r", root.offset + own - first, array.shape)
        path = self._folder / f"{len(list(self._folder.iterdir()))}.array"
        try:
            np.ascontiguousarray(array).tofile(path)
        except OSError as error:  # NumPy's error does not name the file
            why = "the temporary folder may be too small for the arrays; set TMPDIR to another one"
            raise OSError(errno.ENOSPC, why, str(path)) from error
        return partial(np.memmap, path, array.dtype, "r", 0, array.shape)

    def _call_back(self, part: Part, place: Sequence[int], run: Run | None) -> None:
        """Call the callbacks with the progress of a part; its run is None until it has ended."""

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
        The arrays, or functions that return arrays from files.
    folder : Path
        The folder for reports of progress, and for the file whose removal asks to stop. Other machines may
        not have it.
    checkpoint : Checkpoint or None
        The file of the part's run. It is ignored if this machine does not have its folder.
    n_threads : int or None
        The largest number of BLAS threads, if the worker is a process of the calling machine.
    """
    if n_threads is not None:
        _end_with_parent(folder)
    given = Given(*tree_map(lambda array: np.asarray(array()) if callable(array) else array, sent))
    callbacks = (_Reporter(folder, part),) if folder.is_dir() else ()
    if "X" in part.shared.data:  # a file may have been replaced in the meantime
        part.check_data(given)
    if checkpoint is not None and not checkpoint.path.parent.is_dir():
        checkpoint = None
    first = part.members[0]
    n_units = len(part.members) * first["n_hidden"]
    operations = 2.0 * math.prod(given.X.shape[1:]) * first["batch_size"] * n_units
    if n_threads is None:
        # A limit applies to the whole process, whose other threads may be workers, too.
        operations = math.inf
    with threads_for(part.shared.place(given.X)["xp"], operations, n_threads):
        return train_part(part, PartData(given), callbacks=callbacks, checkpoint=checkpoint)


class _Reporter:
    """A callback that reports the progress of a part to a file, and stops the part when asked to."""

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
        with suppress(OSError):  # the calling process may have ended and removed the folder
            new.write_text(" ".join(map(str, place)), encoding="ascii")
            new.replace(self._file)


def _report_file(folder: Path, part: Part) -> Path:
    return folder / f"part-{part.number}.progress"


@lru_cache(maxsize=1)
def _end_with_parent(folder: Path) -> None:
    """End this process when its parent process ends for any reason, and remove the parent's folder."""
    import multiprocessing

    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        with suppress(ValueError):  # loky's workers cannot join their parent, and end on their own
            parent.join()
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def processes(n: int) -> Executor:
    """Return an executor of ``n`` new processes, which leave Ctrl-C to this process."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn, ignored = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    executor = ProcessPoolExecutor(n, mp_context=spawn, initializer=signal.signal, initargs=ignored)
    # The first call starts the processes, which inherit the mask. Otherwise Ctrl-C could stop one of them
    # before it ignores the signal.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        executor.submit(int)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return executor
