"""Lines, tables and progress on standard output and standard error, and Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, TypeVar

import rich.box
import rich.console
import rich.measure
import rich.progress
import rich.table
import rich.text

from .._texts import printable
from ..callbacks import Display, ProgressBar, Terminal
from ..training import Progress

_WIDEST = 10_000  # columns of a table in the terminal
_LINE_SECONDS = 30.0  # between two lines of progress, if there is no terminal for a bar

T = TypeVar("T")


class Console:
    """Standard output for results, standard error for progress and warnings.

    Parameters
    ----------
    quiet : bool
        Write only results, warnings and errors.
    shows_results : bool
        Write results to standard output. With --json it is False, as only JSON may be written there: results
        are not shown, and other lines go to standard error.
    """

    def __init__(self, *, quiet: bool = False, shows_results: bool = True) -> None:
        self.quiet, self._shows_results = quiet, shows_results
        self._out, self._err = _rich_console(stderr=False), _rich_console(stderr=True)

    def say(self, text: str) -> None:
        """Write a line unless the console is quiet."""
        if not self.quiet:
            (self.result if self._shows_results else self._line)(text)

    def result(self, text: str = "", *, style: str | None = None) -> None:
        """Write a line of the result."""
        if self._shows_results:
            with standard_output():
                self._out.print(printable(text), style=style, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._line(f"Warning: {text}", style="yellow")

    @contextmanager
    def warnings_shown(self, *, shown: bool = True) -> Iterator[None]:
        """Write the messages of Python's warnings, or none, once the block has ended without an error."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for one in caught if shown else ():
            self.warn(str(one.message))

    def error(self, text: str) -> None:
        """Write an error."""
        self._line(f"Error: {text}", style="bold red")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        title: str | Sequence[str] = (),
        best: int | None = None,
        marks: Mapping[int, str] = MappingProxyType({}),
        left: Sequence[str] = (),
    ) -> None:
        """Write a table of results. Columns in ``left`` are aligned left, the others right.

        ``title`` is one line or several. The row ``best`` is marked; ``marks`` are written after other rows.
        """
        if not self._shows_results:
            return
        if title:
            self.result()
        for line in [title] if isinstance(title, str) else title:
            self.result(line, style="bold")
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD, collapse_padding=True)
        for column in columns:
            table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
        if best is not None:
            table.add_column(no_wrap=True)
        for index, row in enumerate(rows):
            mark = [] if best is None else ["← best" if index == best else marks.get(index, "")]
            # As Text, because rich would read markup in a string.
            cells = [rich.text.Text(printable(cell)) for cell in (*row, *mark)]
            table.add_row(*cells, style="bold green" if index == best else None)
        # Never break a number: a table that is too wide loses its padding, then extends beyond the terminal.
        if self._width(table) > self._out.width:
            table.padding = 0
        table.width = self._width(table)
        with standard_output():
            self._out.print(table, crop=False)

    def _width(self, table: rich.table.Table) -> int:
        options = self._out.options.update(max_width=_WIDEST)
        return rich.measure.Measurement.get(self._out, options, table).maximum

    @contextmanager
    def watch(self, what: str) -> Iterator[Watch]:
        """Show the progress of a training; yield its callback, which stops the training after Ctrl-C."""
        lines = _Lines(lambda text: self._line(f"{what}: {text}"))
        display = Terminal(self._err, transient=True) if self._err.is_terminal else lines
        watch, began_at = Watch(None if self.quiet else display), time.monotonic()
        with watch.interruptible():
            yield watch
        watch.seconds = time.monotonic() - began_at

    def counted(self, what: str, items: Iterable[T], total: int) -> Iterator[T]:
        """Yield items that are slow to make, and show how many are done."""
        with self.counter(what) as count:
            for done, item in enumerate(items, start=1):
                count(done, total)
                yield item

    @contextmanager
    def counter(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show a count of finished things; yield the function to call with this count and the total."""
        shown_at = time.monotonic()
        with self._bar(
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
            rich.progress.TextColumn("{task.fields[state]}", style="dim"),
        ) as bar:
            task = bar.add_task(what, total=None, state="")

            def count(done: int, total: int) -> None:
                nonlocal shown_at
                state = f"{done:,} of {total:,}"
                bar.update(task, completed=done, total=total, state=state)
                if bar.disable and not self.quiet and time.monotonic() - shown_at >= _LINE_SECONDS:
                    shown_at = time.monotonic()
                    self._line(f"{what}: {state}")

            yield count

    @contextmanager
    def download(self, what: str) -> Iterator[Download]:
        """Show the progress of a download; yield the object that counts its bytes."""
        bar = self._bar(
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
        )
        try:
            yield Download(f"Downloading {what}", bar, None if self.quiet else self._line)
        finally:
            bar.stop()

    def _line(self, text: str, *, style: str | None = None) -> None:
        """Write a line to standard error; continue without it if it cannot be written."""
        try:
            self._err.print(printable(text), style=style, soft_wrap=True)
        except OSError:
            _let_go(sys.stderr)

    def _bar(self, *columns: rich.progress.ProgressColumn) -> rich.progress.Progress:
        """Return a progress bar, drawn only in a terminal and if the console is not quiet."""
        return _Bar(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=30),
            *columns,
            console=self._err,
            transient=True,
            disable=self.quiet or not self._err.is_terminal,
        )


@contextmanager
def standard_output() -> Iterator[None]:
    """Name standard output in the error if writing to it fails."""
    try:
        yield
    except OSError as error:
        _let_go(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from error


def _let_go(stream: Any) -> None:
    """Redirect a stream to the null device: Python flushes it at exit, and would fail again."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class Watch(ProgressBar):
    """A callback that shows the progress of `train` or `sweep`, and stops it after Ctrl-C or SIGTERM.

    Parameters
    ----------
    display : Display or None
    """

    def __init__(self, display: Display | None) -> None:
        self._display, self.interrupted = display, 0  # number of the signal that asked to stop, or 0
        self._begin()
        self.seconds = math.nan  # how long the work took; set at its end

    def __call__(self, progress: Progress) -> None:
        """Show the progress, and stop after a signal."""
        super().__call__(progress)
        if self.interrupted:
            progress.stop()

    def _words(self, done: float, ended: bool) -> list[str]:
        return ["stopping"] if self.interrupted else super()._words(done, ended)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM request a stop, and a second one abort at once.

        A signal that is already ignored stays ignored, as Ctrl-C is in the background job of a script.
        """
        # Only the main thread may set signal handlers.
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        aborts: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        taken = {one: abort for one, abort in aborts.items() if signal.getsignal(one) != signal.SIG_IGN}

        def ask(number: int, frame: FrameType | None) -> None:
            self.interrupted = number
            for one, abort in taken.items():
                signal.signal(one, abort)

        previous = {number: signal.signal(number, ask) for number in taken}
        try:
            yield
        finally:
            for number, handler in previous.items():
                # The handler is None if it was not set from Python.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Lines(Display):
    """Progress as a line from time to time, if there is no terminal for a bar."""

    seconds = _LINE_SECONDS

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, done: float, text: str, *, ended: bool) -> None:
        if not ended:
            self._write(f"{done:.0%}, {text}")


class Download:
    """The progress of a download in bytes. Nothing is shown before the total is known."""

    def __init__(self, what: str, bar: rich.progress.Progress, line: Callable[[str], None] | None) -> None:
        self.total: Any = None
        self._what, self._bar, self._line, self._done = what, bar, line, 0
        self._task = bar.add_task(what, total=None, start=False)

    def update(self, n: int, /) -> None:
        """Add ``n`` bytes."""
        self._done += n
        if self.total is None:
            return
        if not self._bar.tasks[0].started:
            self._bar.start_task(self._task)
            self._bar.start()
            if self._bar.disable and self._line is not None:  # without a terminal, write one line
                self._line(f"{self._what} ({self.total / 2**20:.0f} MiB)")
        self._bar.update(self._task, total=self.total, completed=self._done)

    def reset(self) -> None:
        """Set the number of bytes to 0."""
        self._done = 0

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()


class _Bar(rich.progress.Progress):
    def stop(self) -> None:
        """Remove the bar, if it was drawn. If not, older versions of rich would write an empty line."""
        if not self.disable:
            super().stop()


class _RichConsole(rich.console.Console):
    def on_broken_pipe(self) -> None:
        """Raise the error to the caller; rich itself would end the program."""
        raise  # noqa: PLE0704  # rich calls it while it handles the error


def _rich_console(*, stderr: bool) -> rich.console.Console:
    stream = sys.stderr if stderr else sys.stdout
    console = _RichConsole(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Without a terminal there is no width to fit: a table in a file keeps all its columns.
        console.width = max(console.width, 120)
    return console
