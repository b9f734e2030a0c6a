"""The files that a command writes where its user wants them: what may be there already."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .._files import check_can_be_written
from .folders import is_own

# What stands near the beginning of the files that the commands write, by their suffixes.
_SIGNATURES = {
    ".csv": b"sample,class,probability",
    ".html": b'<meta name="generator" content="twolayer',
    ".json": b'{\n  "classes": [',
    ".npz": b"sample.npy",
    ".onnx": b"twolayer",
}
_BEGINNING = 1024


def check_output(
    option: str, path: Path, suffixes: tuple[str, ...], *, overwrite: bool, inputs: Iterable[Path] = ()
) -> None:
    """Raise unless a command may write a file, before it begins its work.

    Parameters
    ----------
    option : str
        What names the file.
    path : Path
        The file. What another program made is replaced with ``overwrite`` alone, a file of a run under no
        name but its own, and what the command reads never.
    suffixes : tuple of str
        Those that fit.
    overwrite : bool
    inputs : iterable of Path
        The files that the command reads.

    Raises
    ------
    ValueError
        If it may not.
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
        raise ValueError(f"`{option}` must be another file than those that are read; got {path}")
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if beginning and _SIGNATURES[suffix] not in beginning and not overwrite:
        raise ValueError(
            f"`{option}` must be a new file, or one that twolayer wrote; {path} is none of these "
            "(--overwrite replaces it)"
        )
