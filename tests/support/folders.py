"""The files of commands that run in a folder of their own, and failures while they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from twolayer import _files
from twolayer.cli import job
from twolayer.report import files

QUICK = ("--epochs", 2, "--hidden", 5, "-q")


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """The contents of the files in a folder, by name; the pattern **/* includes folders below it."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def folders_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def raising(error: BaseException) -> Callable[..., NoReturn]:
    """A function that raises an error, whatever its arguments."""

    def call(*arguments: Any, **more: Any) -> NoReturn:
        raise error

    return call


def without_room(patch: pytest.MonkeyPatch, fails: str) -> None:
    """Simulate a full disk when a file of this name is written."""

    def full(usual: Any) -> Any:
        def written(path: Any) -> Any:
            if Path(path).name == fails:
                raise OSError(28, "No space left on device", str(path))
            return usual(path)

        return written

    for module in (files, _files, job):
        patch.setattr(module, "written_whole", full(module.written_whole))
