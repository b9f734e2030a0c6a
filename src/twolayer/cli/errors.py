"""Exit codes, and exceptions as messages of one line."""

from __future__ import annotations

import errno
import re
import signal
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import click

from .._texts import bounded, did_you_mean, printable
from .console import Console
from .data import COMMAS, is_number
from .devices import first_line

FAILED = 1
WRONG_USAGE = 2
DIVERGED = 3
# Shells give 128 and the signal for a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM.
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

# Parameters of the library that are options of another name.
_OPTIONS = {"folder": "--data", "url": "--url", "preset": "--preset"}
# Array libraries whose errors come from the device rather than from this program.
_DEVICE_PACKAGES = ("cupy", "cupy_backends", "jax", "jaxlib", "torch")
# Options that may help where a device fails or is full.
_HINTS = {
    "--max-networks": "fewer networks at once with --max-networks",
    "--batch-size": "a smaller --batch-size",
    "--device": "another --device",
}
# Names of options in other programs.
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
    """The end of a command that does not succeed: one line, no traceback.

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
        self.data: dict[str, Any] = {}  # the results that there are all the same

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
    """Return the failure that a user reads for an exception; None if the exception goes on as it is.

    Parameters
    ----------
    error : BaseException
    command : click.Command, optional
        The command that raised it.
    debug : bool
        Whether the user wants to see where in the code an error came from.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        return _wrong_usage(error)
    if isinstance(error, KeyboardInterrupt):
        return Failure("aborted", INTERRUPTED, wanted=True)
    if debug or getattr(error, "errno", None) == errno.EPIPE:  # the reader of standard output wants no more
        return None
    # PyTorch's errors of CUDA's libraries are plain ones.
    if type(error).__module__.partition(".")[0] in _DEVICE_PACKAGES or (
        type(error) is RuntimeError and str(error).startswith("CUDA error")
    ):
        line = first_line(error).rstrip(".;: ")
        hints = ", or ".join(hint for flag, hint in _HINTS.items() if command and flag in _flags(command))
        return Failure(f"{line}; what may help: {hints}" if hints else line)
    # A worker that died once too often breaks an executor.
    if isinstance(error, TypeError | ValueError | OSError | ImportError | MemoryError | BrokenExecutor):
        return Failure(message_of(error))
    return None


def message_of(error: BaseException) -> str:
    """Return the message of an exception in the words of the command line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}{_near(error)}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})"
    message = str(error) or type(error).__name__
    for argument, option in _OPTIONS.items():
        # But for the key of a file.
        message = re.sub(f"`{argument}`(?! in )", f"`{option}`", message)
    return message


def _flags(command: click.Command) -> list[str]:
    return [flag for parameter in command.params for flag in parameter.opts]


def _near(error: OSError) -> str:
    """Return a hint at the file that the user may have meant by one that does not exist."""
    path = Path(str(error.filename))
    if not isinstance(error, FileNotFoundError) or not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, (one.name for one in path.parent.iterdir() if one.suffix == path.suffix))


def _wrong_usage(error: click.UsageError) -> Failure:
    where = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        given = error.option_name.lstrip("-").replace("_", "-")
        for meant in _flags(error.ctx.command):
            if given in _ALIASES.get(meant, ()):
                message = f"No such option '{error.option_name}'. Did you mean '{meant}'?"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)\.?", message)
    if extra and all(map(is_number, extra[1].split())):
        message = f"{message.rstrip('.')}; {COMMAS}"
    return Failure(message.rstrip(".").replace("\n", " ") + where, WRONG_USAGE)
