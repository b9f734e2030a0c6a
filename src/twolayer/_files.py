"""Files that are written whole or not at all, and safetensors and .npz files, opened with a clear error."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
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

from ._namespace import Array, dtype_name, on_host

# For how long another program may hold a file that is to be replaced; only Windows refuses it then.
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
# How much of a name is part of a temporary file's, in bytes: some file systems take no more than 143.
_LONGEST_IN_NAMES = 100
_LONGEST_SUFFIX = 20


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well.

    Where the block raises, the temporary file is removed and what stood at ``path`` stays. A process that is
    killed leaves the temporary file, and at ``path`` the whole of the old one or of the new; so does a
    machine that loses its power, as the new one is on the disk before it takes its place.

    A file that is replaced hands its mode and its owner to the new one. Where ``path`` is a link, the file
    that it leads to is replaced, and the link stays. A pipe or a device cannot be replaced: when the block
    ends well, the content is written into it.

    Raises
    ------
    OSError
        If ``path`` is a folder or a socket, or its folder does not exist or cannot be written, before the
        block begins; if the block or the move fails. The message names ``path``.
    """
    path = _followed(path)
    standing = _standing_at(path)
    partial = _new_partial(path, standing)
    try:
        yield partial
        if _is_replaced(path, standing):
            _keep_access(partial, standing)
            _flush(partial)
            _replace(partial, path)
        else:
            with partial.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
    except OSError as error:
        # A full disk is of no file for the system; of the temporary one for the user.
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def check_can_be_written(path: str | os.PathLike[str]) -> None:
    """Raise where `written_whole` would raise before its block: for work that is long before it is written.

    Raises
    ------
    OSError
        As `written_whole`.
    """
    path = _followed(path)
    _new_partial(path, _standing_at(path)).unlink()


def _followed(path: str | os.PathLike[str]) -> Path:
    """Return the place of a file that is written by this path: of a link the place that it leads to."""
    path = Path(path)
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    # A link of the system, such as /dev/stdout, may lead to no path at all.
    return target if target.exists() or not path.exists() else path


def _standing_at(path: Path) -> os.stat_result | None:
    """Return what the system says of the file at a path; None where there is none.

    Raises
    ------
    OSError
        If it is neither a file nor anything else that can be written into.
    """
    try:
        standing = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # if it is the folder's fault, no file can be made in it either
    number = 0
    if stat.S_ISDIR(standing.st_mode):
        number = errno.EISDIR
    elif stat.S_ISSOCK(standing.st_mode):
        number = errno.ENXIO
    elif not stat.S_ISREG(standing.st_mode) and not os.access(path, os.W_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(path))
    return standing


def _is_replaced(path: Path, standing: os.stat_result | None) -> bool:
    """Return whether a new file takes the place of what stands there, rather than being written into it."""
    return standing is None or (stat.S_ISREG(standing.st_mode) and not path.is_symlink())


def _new_partial(path: Path, standing: os.stat_result | None) -> Path:
    """Make the temporary file: beside what it is to replace, else where the system has such files."""
    if not _is_replaced(path, standing):
        handle, name = tempfile.mkstemp(suffix=_suffix(path))
        os.close(handle)
        return Path(name)
    # The system takes the umask off the mode of a new file. Beside another, nobody else may read it yet.
    mode = 0o666 if standing is None else 0o600
    while True:
        partial = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{_suffix(path)}")
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        except FileExistsError:
            continue
        except OSError as error:
            raise type(error)(
                error.errno,
                f"cannot write into the folder of {path.name} ({error.strerror})",
                str(path.parent),
            ) from error
        return partial


def _prefix(path: Path) -> str:
    """Return how the names of the temporary files for a path begin, which are never too long for a name."""
    name = os.fsencode(path.name)
    short = path.name if len(name) <= _LONGEST_IN_NAMES else hashlib.sha256(name).hexdigest()[:32]
    return f".{short}."


def _suffix(path: Path) -> str:
    """Return how these names end, as some writers go by it."""
    return path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""


def _keep_access(partial: Path, standing: os.stat_result | None) -> None:
    """Give a file the owner, where the system allows it, and the mode of the one that it replaces."""
    if standing is None:
        return
    if sys.platform != "win32":
        made = partial.stat()
        if (made.st_uid, made.st_gid) != (standing.st_uid, standing.st_gid):
            with suppress(OSError):
                os.chown(partial, standing.st_uid, standing.st_gid)
    partial.chmod(stat.S_IMODE(standing.st_mode) & 0o777)


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
    path = _followed(path)
    partial = re.compile(f"{re.escape(_prefix(path))}[a-z0-9_]{{8}}{re.escape(_suffix(path))}")
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if partial.fullmatch(file.name):
                with suppress(OSError):
                    file.unlink()


def printable(name: str) -> str:
    """Return the name of a file as text that any program can show: a byte that is no UTF-8 as an escape."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_text(path: str | os.PathLike[str], *, errors: str = "strict") -> str:
    """Read a text file in UTF-8, without the byte order mark that programs on Windows put at its beginning.

    Parameters
    ----------
    path : path
    errors : str
        What to do with bytes that are no UTF-8, as `bytes.decode` has it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not in UTF-8.
    """
    return Path(path).read_bytes().decode("utf-8-sig", errors)


_SAFETENSORS_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write arrays as a safetensors file, whole or not at all.

    The same arrays and metadata give the same bytes. The arrays are written one by one, those of NumPy in C
    order from their own memory, others from a copy. safetensors' own writer copies all of them, and writes
    the metadata in a random order.

    Parameters
    ----------
    path : path
    tensors : mapping of str to array
        Arrays of any library on any device, of float32, float64 or int64.
    metadata : mapping of str to str

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    dtypes = {name: np.dtype(dtype_name(array.dtype)) for name, array in tensors.items()}
    # As safetensors has them: the largest items first, so that all are aligned in memory.
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        shape, dtype = tuple(tensors[name].shape), dtypes[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        kind = _SAFETENSORS_DTYPES[dtype.name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    with written_whole(path) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            little_endian = dtypes[name].newbyteorder("<")
            host = np.ascontiguousarray(on_host(tensors[name]), dtype=little_endian)
            file.write(host.reshape(-1).view(np.uint8).data)


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
