"""What the user sees while the command line works: lines, tables, progress, and Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.progress
import rich.table
import rich.text

from .._texts import printable
from ..training import Progress

_REFRESH_SECONDS = 0.1
_LINE_SECONDS = 30.0  # between two lines, where there is no terminal to draw a bar on


class Console:
    """Standard output for results, standard error for progress and warnings.

    Parameters
    ----------
    quiet : bool
        Say nothing but results and warnings.
    answer : dict, optional
        Where the results go in place of standard output, which is then left to the JSON that is made of it.
    """

    def __init__(self, *, quiet: bool = False, answer: dict[str, Any] | None = None) -> None:
        self.quiet = quiet
        self._answer = answer
        self._out, self._err = _rich_console(stderr=False), _rich_console(stderr=True)

    @property
    def wants_answer(self) -> bool:
        """Whether the results are wanted as data."""
        return self._answer is not None

    def answer(self, data: Mapping[str, Any]) -> None:
        """Give results as data, where they are wanted so."""
        if self._answer is not None:
            self._answer.update(data)

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Write a line that is left out where the user wants quiet."""
        if self.quiet:
            return
        if self.wants_answer:
            self._line(text)
        else:
            self.result(text, style=style)

    def result(self, text: str = "", *, style: str | None = None) -> None:
        """Write a line of the result, unless that is wanted as data."""
        if not self.wants_answer:
            with standard_output():
                self._out.print(printable(text), style=style, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._line(f"Warning: {text}", style="yellow")

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
        """Write a table: numbers to the right, the columns in ``left`` to the left, the best row marked.

        ``title`` is one line or several; ``marks`` are written after other rows.
        """
        if self.wants_answer:
            return
        if title:
            self.result()
        for line in [title] if isinstance(title, str) else title:
            self.result(line, style="bold")
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD, collapse_padding=True)
        for column in columns:
            table.add_column(column, justify="left" if column in left else "right", overflow="fold")
        if best is not None:
            table.add_column()
        for index, row in enumerate(rows):
            mark = [] if best is None else ["← best" if index == best else marks.get(index, "")]
            # Text, as a string may hold what rich takes for markup.
            cells = [rich.text.Text(printable(cell)) for cell in (*row, *mark)]
            table.add_row(*cells, style="bold green" if index == best else None)
        with standard_output():
            self._out.print(table)

    @contextmanager
    def watch(self, what: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Watch]:
        """Show how far a training is; yield the callback that is told, and that Ctrl-C stops it by."""
        bar = self._bar()
        line = None if self.quiet or bar is not None else self._line
        watch = Watch(what, bar=bar, line=line, clock=clock)
        with watch.interruptible():
            if bar is None:
                yield watch
            else:
                with bar:
                    yield watch

    def _line(self, text: str, *, style: str | None = None) -> None:
        """Write a line to standard error; where that cannot be written, the work goes on without it."""
        try:
            self._err.print(printable(text), style=style, soft_wrap=True)
        except OSError:
            _let_go(sys.stderr)

    def _bar(self) -> rich.progress.Progress | None:
        """Return a bar, where there is a terminal to draw it on and the user wants to see it."""
        if not self._err.is_terminal or self.quiet:
            return None
        return rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=30),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
            rich.progress.TextColumn("{task.fields[state]}", style="dim"),
            console=self._err,
            transient=True,
        )

    @contextmanager
    def counting(
        self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> Iterator[Callable[[], None]]:
        """Show how far something is that is done ``total`` times; yield what is called after each."""
        bar, done, shown_at = self._bar(), 0, clock()

        def advance() -> None:
            nonlocal done, shown_at
            done += 1
            if bar is not None:
                bar.update(task, advance=1, state=f"{done:,} of {total:,}")
            elif not self.quiet and clock() - shown_at >= _LINE_SECONDS:
                shown_at = clock()
                self._line(f"{what}: {done:,} of {total:,}")

        if bar is None:
            yield advance
        else:
            task = bar.add_task(what, total=total, state="")
            with bar:
                yield advance

    @contextmanager
    def download(self, what: str) -> Iterator[Download | None]:
        """Show how far a download is; yield what is told, in bytes."""
        if self.quiet:
            yield None
        elif self._err.is_terminal:
            bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=30),
                rich.progress.DownloadColumn(),
                rich.progress.TransferSpeedColumn(),
                rich.progress.TimeRemainingColumn(),
                console=self._err,
                transient=True,
            )
            try:
                yield Download(f"Downloading {what}", bar=bar)
            finally:
                bar.stop()
        else:
            yield Download(f"Downloading {what}", line=self._line)


@contextmanager
def standard_output() -> Iterator[None]:
    """Name standard output in the error if the system refuses what is written to it."""
    try:
        yield
    except OSError as error:
        _let_go(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from error


def _let_go(stream: Any) -> None:
    """Send what a stream still holds nowhere: Python writes it at exit, and would fail again."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class Watch:
    """A callback of `train` and `sweep` that shows how far they are, and stops them after Ctrl-C."""

    def __init__(
        self,
        what: str,
        *,
        bar: rich.progress.Progress | None,
        line: Callable[[str], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self.interrupted = 0  # by this signal
        self._what, self._bar, self._line, self._clock = what, bar, line, clock
        self._task = None if bar is None else bar.add_task(what, total=1.0, state="")
        self._shown_at = clock()
        self._accuracy = math.nan

    def __call__(self, progress: Progress) -> None:
        """Show how far it is, and stop it after Ctrl-C."""
        if self._bar is not None or self._line is not None:
            if progress.epoch_ended:
                self._note_accuracy(progress)
            pause = _LINE_SECONDS if self._bar is None else _REFRESH_SECONDS
            if self._clock() - self._shown_at >= pause:
                self._show(progress)
        if self.interrupted:
            progress.stop()

    def _note_accuracy(self, progress: Progress) -> None:
        accuracies = np.asarray(progress.history().validation_accuracy)
        found = accuracies[np.isfinite(accuracies)]
        if found.size:
            self._accuracy = float(np.fmax(self._accuracy, found.max()))

    def _show(self, progress: Progress) -> None:
        self._shown_at = self._clock()
        done = (progress.stage - 1 + progress.step / progress.steps) / progress.stages
        parts = [f"part {progress.stage} of {progress.stages}"] if progress.stages > 1 else []
        parts.append(f"epoch {min(progress.epoch + 1, progress.epochs)} of {progress.epochs}")
        if math.isfinite(self._accuracy):
            parts.append(f"best validation accuracy {self._accuracy:.3f}")
        if self.interrupted:
            parts = ["stopping"]
        state = ", ".join(parts)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, state=state)
        elif self._line is not None:
            self._line(f"{self._what}: {done:.0%}, {state}")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C, or SIGTERM, ask to stop, and a second one abort.

        A signal that is ignored, as Ctrl-C is in a background job of a script, stays so.
        """
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
                # None where it was not Python that set it.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Download:
    """Is told how far a download is, in bytes; nothing is shown before it begins."""

    def __init__(
        self,
        what: str,
        *,
        bar: rich.progress.Progress | None = None,
        line: Callable[[str], None] | None = None,
    ) -> None:
        self._what, self._bar, self._line = what, bar, line
        self._total: Any = None
        self._task: rich.progress.TaskID | None = None

    @property
    def total(self) -> Any:
        """Number of bytes there are."""
        return self._total

    @total.setter
    def total(self, total: Any) -> None:
        self._total = total
        if self._bar is not None and self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=total)
        elif self._line is not None:
            self._line(f"{self._what} ({total / 2**20:.0f} MiB)")

    def update(self, n: int, /) -> None:
        """Add ``n`` to what is done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)

    def reset(self) -> None:
        """Set what is done to 0."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """Take the end."""
        if self._bar is not None:
            self._bar.stop()


class _RichConsole(rich.console.Console):
    def on_broken_pipe(self) -> None:
        """Raise the error to the caller; rich itself would end the program."""
        raise  # noqa: PLE0704  # it is called where an error is handled


def _rich_console(*, stderr: bool) -> rich.console.Console:
    stream = sys.stderr if stderr else sys.stdout
    console = _RichConsole(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Nothing to fit into: a table in a file keeps its columns.
        console.width = max(console.width, 120)
    return console
