"""Checks of the output files that a user names: which files they may replace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .._files import check_can_be_written
from .._optional import require
from .run_folder import is_own

# The beginning of each kind of file that the commands write, by its suffix.
_SIGNATURES = {
    ".csv": rb"sample,(?:[^\n]*,)?class,probability",
    ".html": rb'(?s)<!DOCTYPE html>.{,1000}<meta name="generator" content="twolayer ',
    ".json": rb'(?s)\{\n  "classes": \[.*\],\n  "predictions": \[',
    ".npz": rb"(?s)PK\x03\x04.{26}sample\.npy",  # its first array
    ".onnx": rb"(?s)\x08.\x12\x08twolayer",  # its producer, after its version
}
_BEGINNING = 2**20  # bytes, enough for the names of many classes


def check_output(
    option: str, path: Path, suffixes: tuple[str, ...], *, overwrite: bool, inputs: Iterable[Path] = ()
) -> None:
    """Raise unless a command may write a file. Call it before the work begins.

    Parameters
    ----------
    option : str
        The option that names the file, for messages.
    path : Path
        The file. It must not be a file that the command reads, or a file of a run other than its page.
    suffixes : tuple of str
        The suffixes that it may have.
    overwrite : bool
        Allow it to replace a file of another program.
    inputs : iterable of Path
        The files that the command reads.

    Raises
    ------
    ValueError
        If the command must not write the file.
    OSError
        If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"`{option}` must end in {' or '.join(suffixes)}; got {path}")
    check_can_be_written(path)
    if is_own(path):
        raise ValueError(f"`{option}` must not be a file of a run; got {path}")
    if not path.is_file():
        return
    if any(path.samefile(one) for one in inputs if one.exists()):
        raise ValueError(f"`{option}` must not be a file that the command reads; got {path}")
    if not overwrite and not _is_ours(path, suffix):
        raise ValueError(
            f"`{option}` must be a new file or one that twolayer wrote; {path} is neither "
            "(--overwrite replaces it)"
        )


def _is_ours(path: Path, suffix: str) -> bool:
    """Return whether a file is empty, or was written by a command."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
        if beginning and suffix == ".parquet":
            polars, names = require("polars", extra="tables", purpose="writing Parquet"), []
            file.seek(0)
            with suppress(polars.exceptions.PolarsError):
                names = [*polars.read_parquet_schema(file)]
            return names[:1] == ["sample"] and {"class", "probability"} <= {*names}
    return not beginning or bool(re.match(_SIGNATURES[suffix], beginning))
