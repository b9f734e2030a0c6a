"""Files that are written whole or not at all, and safetensors and .npz files, opened with a clear error."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# For how long another program may hold a file that is to be replaced; only Windows refuses it then.
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well.

    Where the block raises, the temporary file is removed and what stood at ``path`` stays. A process that is
    killed leaves the temporary file, and at ``path`` the whole of the old one or of the new; so does a
    machine that loses its power, as the new one is on the disk before it takes its place.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written; the message names ``path``.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write into the folder of {path.name} ({error.strerror})", str(path.parent)
        ) from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files that only their owner may read: give this one the usual mode.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        _flush(partial)
        _replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _prefix(path: Path) -> str:
    return f".{path.name}."


def _flush(path: Path) -> None:
    """Have what was written to a file brought to the disk, where the file system can be asked to."""
    with path.open("rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise


def _replace(partial: Path, path: Path) -> None:
    """Move a file to its place; on Windows, wait for whoever reads what stands there."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            partial.replace(path)
        except PermissionError:
            if sys.platform != "win32" or path.is_dir() or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files that processes left which were killed while they wrote ``path``."""
    path = Path(path)
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if file.name.startswith(_prefix(path)) and file.suffix == path.suffix:
                with suppress(OSError):
                    file.unlink()


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8, without the byte order mark that programs on Windows put at its beginning.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not in UTF-8.
    """
    return Path(path).read_bytes().decode("utf-8-sig")


@contextmanager
def opened_safetensors(path: str | os.PathLike[str], kind: str) -> Iterator[Any]:
    """Open a safetensors file; yield what safetensors reads it by.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or not a whole one; the message says that it must be ``kind``.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):
        pass  # a missing file is the system's error to tell
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be {kind}; it is truncated, damaged or something else ({error!s:.200})"
        ) from error


@contextmanager
def opened_npz(path: str | os.PathLike[str]) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Open an .npz file; yield its arrays by their names, which `npz_array` reads.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no .npz file, or holds no arrays.
    """
    with Path(path).open("rb") as file:
        # A damaged zip file raises more than can be listed: BadZipFile, zlib.error, NotImplementedError, ...
        try:
            stored: Mapping[str, npt.NDArray[Any]] = {}
            if zipfile.is_zipfile(file):
                stored = np.load(file, allow_pickle=False)
            found = list(stored)
        except Exception as error:
            raise ValueError(f"{path} must be an .npz file; it cannot be read ({error!s:.200})") from error
        if not found:
            raise ValueError(
                f"{path} must be an .npz file with arrays; it is truncated, empty or something else"
            )
        yield stored


def npz_array(
    stored: Mapping[str, npt.NDArray[Any]],
    key: str,
    path: str | os.PathLike[str],
    *,
    cure: str | None = None,
) -> npt.NDArray[Any]:
    """Read an array of an .npz file, in the machine's byte order.

    Parameters
    ----------
    stored : mapping
        What `opened_npz` yields.
    key : str
    path : path
        Of the file.
    cure : str, optional
        Code that makes of objects what can be stored.

    Raises
    ------
    TypeError
        If it holds objects, which are stored by pickle.
    ValueError
        If it is not whole.
    """
    try:
        array = stored[key]
        if not isinstance(array, np.ndarray):
            raise ValueError("it is not an array")
    except Exception as error:
        if "allow_pickle" in str(error):
            raise TypeError(
                f"`{key}` in {path} must hold numbers or strings; got dtype object, which is stored by "
                f"pickle and not read, because unpickling a file can run any code that is in it"
                + (f"; store `{cure}`" if cure else "")
            ) from error
        raise ValueError(
            f"`{key}` in {path} must be a whole array; it cannot be read ({error!s:.200})"
        ) from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)
