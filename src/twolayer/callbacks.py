"""Ready-made callbacks for `train` and `sweep`."""

from __future__ import annotations

import importlib
import math
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np

from ._html import bar
from ._optional import require
from .training import History, Progress
from .training.history import mean_losses

__all__ = ["ProgressBar"]

# After drawing, or reading the history, wait at least this many times the duration, to bound the overhead.
_REST = 200


class ProgressBar:
    """A callback for `train` and `sweep` that displays a progress bar.

    It shows a bar, the epoch, the loss of the last epoch (the lowest loss of several networks), the highest
    validation accuracy so far, and the estimated remaining time. In a notebook, it appears below the cell. In
    a terminal, it is written to standard error and requires rich, which the extra ``cli`` installs.
    Elsewhere, for example in a pipe or a service, nothing is shown.

    The bar remains visible after training. It ends below 100 % if a callback, an error or Ctrl-C stopped
    training, or if ``patience`` or ``halving`` saved steps. It takes 1 to 2 % of the time.
    One object can be reused for several trainings, one after another.

    Raises
    ------
    ImportError
        If standard error is a terminal and rich is not installed.

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
    >>> run = twolayer.train(net, digits.train.X / 16, digits.train.y, epochs=2, rng=0,
    ...                      callbacks=[twolayer.callbacks.ProgressBar()])
    """

    def __init__(self) -> None:
        self._display = _display()
        self._begin()

    def _begin(self) -> None:
        self._stages: dict[int, float] = {}  # the completed share of each stage
        self._loss = self._accuracy = math.nan

    def __call__(self, progress: Progress) -> None:
        """Show the progress, unless the bar was drawn very recently."""
        if self._display is None:
            return
        now, is_last = time.monotonic(), progress.step == progress.steps
        epoch = progress.epochs if is_last else progress.epoch + (not progress.epoch_ended)
        self._place = progress.stage, progress.stages, epoch, progress.epochs
        if not self._stages:
            self._began_at, self._began_with = now, progress.step / progress.steps / progress.stages
            self._reads_at, self._draws_at = now, now + self._display.seconds
        self._stages[progress.stage] = progress.step / progress.steps
        if progress.epoch_ended and (is_last or now >= self._reads_at):
            self._read(progress.history())
            self._reads_at = now + _REST * (time.monotonic() - now)
        # Wait half a second longer within an epoch: loss and accuracy only change at its end.
        if now >= self._draws_at + (0.0 if progress.epoch_ended else 0.5):
            self._draw(self._display)
            self._draws_at = now + max(self._display.seconds, _REST * (time.monotonic() - now))

    def on_end(self) -> None:
        """Show the final state and leave the bar visible."""
        if self._display is not None and self._stages:
            self._draw(self._display, ended=True)
        self._begin()

    def _read(self, history: History) -> None:
        if history.step.size:  # empty if a stage of a sweep was stopped in its first epoch
            self._loss = np.fmin.reduce(mean_losses(history)[..., -1], axis=None)
            self._accuracy = np.fmax(self._accuracy, np.fmax.reduce(history.validation_accuracy, axis=None))

    def _draw(self, display: Display, *, ended: bool = False) -> None:
        done = sum(self._stages.values()) / self._place[1]
        with suppress(OSError):  # training continues if the terminal is closed
            display.show(done, ", ".join(self._words(done, ended)), ended=ended)

    def _words(self, done: float, ended: bool) -> list[str]:
        stage, stages, epoch, epochs = self._place
        words = [f"part {stage} of {stages}"] if stages > 1 else []
        words.append(f"epoch {epoch} of {epochs}")
        if math.isfinite(self._loss):
            words.append(f"loss {self._loss:.3g}")
        if math.isfinite(self._accuracy):
            words.append(f"best validation accuracy {self._accuracy:.3f}")
        taken, advanced = time.monotonic() - self._began_at, done - self._began_with
        if ended:
            words.append(f"in {timedelta(seconds=round(taken))}")
        elif advanced > 0:
            words.append(f"{timedelta(seconds=round(taken * (1 - done) / advanced))} left")
        return words


class Display:
    """An output that shows the current state in place of the previous one."""

    seconds = 0.1  # the least time between two states

    def show(self, done: float, text: str, *, ended: bool) -> None:
        """Show the completed share, from 0 to 1, and a text; ``ended`` marks the last state."""


class _Notebook(Display):
    """The output of a notebook's cell."""

    _handle: Any = None

    def show(self, done: float, text: str, *, ended: bool) -> None:
        state = {"text/html": bar(done, text), "text/plain": f"{done:.0%}, {text}"}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(state, raw=True, display_id=True)
        else:
            self._handle.update(state, raw=True)
        if ended:
            self._handle = None


class Terminal(Display):
    """A line of a terminal, or several lines in a narrow one.

    Parameters
    ----------
    console : rich.console.Console, optional
        The console. By default, a new one that writes to standard error.
    transient : bool
        Whether to remove the line at the end.
    """

    _bar: Any = None

    def __init__(self, console: Any = None, *, transient: bool = False) -> None:
        self._rich: Any = require("rich.progress", extra="cli", purpose="ProgressBar in a terminal")
        self._console, self._transient = console or self._rich.Console(stderr=True), transient

    def show(self, done: float, text: str, *, ended: bool) -> None:
        if self._bar is None:
            self._bar = self._rich.Progress(
                self._rich.BarColumn(20, table_column=self._rich.Column(no_wrap=True)),
                self._rich.TaskProgressColumn(),
                self._rich.TextColumn("{task.description}", table_column=self._rich.Column()),
                console=self._console,
                transient=self._transient,
                auto_refresh=False,
                # rich would write the program's own prints to standard error, even if they go to a pipe.
                redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            )
            self._bar.add_task(text, total=1.0, completed=done)
            self._bar.start()  # draws the bar, so the task is added before
        self._bar.update(self._bar.task_ids[0], completed=done, description=text, refresh=True)
        if ended:
            self._bar.stop()
            self._bar = None


def _display() -> Display | None:
    """Return a display for a notebook or a terminal, or None elsewhere."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        return _Notebook()
    return Terminal() if sys.stderr is not None and sys.stderr.isatty() else None
