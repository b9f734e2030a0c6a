"""How a command ends: its exit codes, and what went wrong in the line that the user reads."""

from __future__ import annotations

import signal
from typing import Any

import click

from .._texts import bounded, printable
from .console import Console

FAILED = 1
WRONG_USAGE = 2
DIVERGED = 3
# What a shell gives for a program that a signal ended: 130 for Ctrl-C, 143 for a scheduler's SIGTERM.
OF_SIGNALS = 128
INTERRUPTED = OF_SIGNALS + signal.SIGINT
TERMINATED = OF_SIGNALS + signal.SIGTERM

EXIT_CODES = {
    0: "done",
    FAILED: "an error: data that cannot be used, a download that failed, …",
    WRONG_USAGE: "a command, an option or a configuration file that is wrong",
    DIVERGED: "the training, or every network of the sweep, diverged; its results are kept",
    INTERRUPTED: "stopped by Ctrl-C; what there is is kept",
    TERMINATED: "stopped by SIGTERM; what there is is kept",
}


class Failure(click.ClickException):
    """The end of a command that is not done: one line, no traceback.

    Parameters
    ----------
    message : str
    exit_code : int
    wanted : bool
        The user wanted it so: the line is a warning.
    """

    def __init__(self, message: str, exit_code: int = FAILED, *, wanted: bool = False) -> None:
        super().__init__(bounded(printable(message)))
        self.exit_code = exit_code  # type: ignore[misc]
        self.wanted = wanted

    def show(self, file: Any = None) -> None:
        """Write it."""
        console = Console()
        (console.warn if self.wanted else console.error)(self.message)

    def as_data(self) -> dict[str, Any]:
        """Return it for the answer in JSON."""
        return {"message": self.message, "exit_code": int(self.exit_code)}
