"""Exit codes, and one-line messages for exceptions."""

from __future__ import annotations

import errno
import re
import signal
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import click

from .._texts import bounded, first_line, is_numeric, printable
from .console import Console
from .data import COMMAS, similar_file

FAILED = 1
WRONG_USAGE = 2
DIVERGED = 3
# Shells report 128 plus the number of the signal that ended a program: 130 for Ctrl-C, 143 for SIGTERM.
OF_SIGNALS = 128
INTERRUPTED = OF_SIGNALS + signal.SIGINT
TERMINATED = OF_SIGNALS + signal.SIGTERM

EXIT_CODES = {
    0: "success",
    FAILED: "an error, for example unusable data or a failed download",
    WRONG_USAGE: "an invalid command, option or configuration file",
    DIVERGED: "training diverged and left no network; the other results are kept",
    INTERRUPTED: "stopped by Ctrl-C; the results so far are kept",
    TERMINATED: "stopped by SIGTERM; the results so far are kept",
}

# The options that stand for parameters of the library.
_OPTIONS = {
    "folder": "--data",
    "url": "--url",
    "preset": "--preset",
    "resize": "--resize",
    "resize=32": "--resize 32",
    "skip_unreadable=True": "--skip-unreadable",
}
# Packages whose errors come from the device, for example from its full memory, not from this program.
_DEVICE_PACKAGES = ("cupy", "cupy_backends", "jax", "jaxlib", "torch")
# Options that may help if a device fails or its memory is full.
_HINTS = {
    "--max-networks": "fewer networks at once with --max-networks",
    "--batch-size": "a smaller --batch-size",
    "--device": "another --device",
}
# Names that other programs use for the same option.
_ALIASES = {
    "--learning-rate": ("lr", "eta", "alpha", "learning-rate-init", "step-size", "rate"),
    "--hidden": ("n-hidden", "hidden-units", "hidden-size", "hidden-layer-size", "units"),
    "--reg": ("l2", "lambda", "regularization", "regularisation", "penalty"),
    "--batch-size": ("batch", "bs", "minibatch"),
    "--epochs": ("n-epochs", "num-epochs", "epoch", "max-iter"),
    "--steps": ("iterations", "iters", "num-steps"),
    "--seed": ("random-state", "random-seed"),
    "--patience": ("early-stopping", "n-iter-no-change"),
    "--library": ("backend", "framework"),
    "--device": ("gpu", "cuda"),
    "--out": ("output", "output-dir", "folder"),
}


class Failure(click.ClickException):
    """The failure of a command, shown as one line without a traceback.

    Parameters
    ----------
    message : str
    exit_code : int
    wanted : bool
        Whether the user caused it, as with Ctrl-C: the line is then a warning.
    """

    def __init__(self, message: str, exit_code: int = FAILED, *, wanted: bool = False) -> None:
        super().__init__(bounded(printable(message)))
        self.exit_code = exit_code  # type: ignore[misc]
        self.wanted = wanted
        self.data: dict[str, Any] = {}  # results that the command has in spite of the failure

    def show(self, file: Any = None) -> None:
        """Write the line."""
        console = Console()
        (console.warn if self.wanted else console.error)(self.message)

    def as_data(self) -> dict[str, Any]:
        """Return the data and the error, for JSON."""
        return {**self.data, "error": {"message": self.message, "exit_code": int(self.exit_code)}}


def failure_of(
    error: BaseException, command: click.Command | None = None, *, debug: bool = False
) -> Failure | None:
    """Return the failure to show for an exception; None if the exception must be raised unchanged.

    Parameters
    ----------
    error : BaseException
    command : click.Command, optional
        The command that raised it.
    debug : bool
        Whether the user wants the traceback of an error.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        return _wrong_usage(error)
    if isinstance(error, KeyboardInterrupt):
        return Failure("aborted", INTERRUPTED, wanted=True)
    if debug or getattr(error, "errno", None) == errno.EPIPE:  # the reader of standard output has closed it
        return None
    # PyTorch raises errors of CUDA's libraries as plain RuntimeErrors.
    if type(error).__module__.partition(".")[0] in _DEVICE_PACKAGES or (
        type(error) is RuntimeError and str(error).startswith("CUDA error")
    ):
        line = first_line(error).rstrip(".;: ")
        hints = ", or ".join(hint for flag, hint in _HINTS.items() if command and flag in _flags(command))
        return Failure(f"{line}; try {hints}" if hints else line)
    # An executor is broken after a worker has died too often.
    if isinstance(error, TypeError | ValueError | OSError | ImportError | MemoryError | BrokenExecutor):
        return Failure(message_of(error))
    return None


def message_of(error: BaseException) -> str:
    """Return the message of an exception, with options in place of the library's parameters."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        near = similar_file(Path(str(error.filename))) if isinstance(error, FileNotFoundError) else ""
        return f"{error.strerror}: {error.filename}{near}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})"
    message = str(error) or type(error).__name__
    for argument, option in _OPTIONS.items():
        # In "`folder` in settings.toml", it is the key of a file.
        message = re.sub(f"`{argument}`(?! in )", f"`{option}`", message)
    return message


def _flags(command: click.Command) -> list[str]:
    return [flag for parameter in command.params for flag in parameter.opts]


def _wrong_usage(error: click.UsageError) -> Failure:
    where = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        given = error.option_name.lstrip("-").replace("_", "-")
        for meant in _flags(error.ctx.command):
            if given in _ALIASES.get(meant, ()):
                message = f"No such option '{error.option_name}'. Did you mean '{meant}'?"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)\.?", message)
    # For example: --learning-rate 0.1 0.2
    if extra and all(map(is_numeric, extra[1].split())):
        message = f"{message.rstrip('.')}; {COMMAS}"
    return Failure(message.rstrip(".").replace("\n", " ") + where, WRONG_USAGE)
