"""Atomic writing of files, and checked access to safetensors and .npz files."""

from __future__ import annotations

import errno
import hashlib
import io
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from ._namespace import Array, dtype_name, on_host
from ._texts import listed

# The `format` in the metadata of the safetensors files.
NETWORK = "twolayer"
CHECKPOINT = "twolayer checkpoint"

# How long to wait for another program that has the file open. Only Windows refuses to replace an open file.
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
# A temporary file's name contains the file's name only if that is at most this long, in bytes. Some file
# systems allow no more than 143.
_LONGEST_IN_NAMES = 100
_LONGEST_HEADER = 2**14  # bytes to read for an array's header; NumPy accepts at most 10,000


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a temporary file, open for bytes, and move it to ``path`` if the block succeeds.

    If the block raises, the temporary file is removed and the old file remains. If the process is killed, the
    temporary file remains, and ``path`` contains either the complete old file or the complete new one. The
    same holds after a power failure, because the new file is flushed to disk before it is moved.

    The new file gets the mode and, where the system permits, the owner of the file that it replaces. If
    ``path`` is a link, its target is replaced, and the link remains. A pipe or a device cannot be replaced;
    if the block succeeds, the content is written into it.

    Raises
    ------
    OSError
        Before the block, if ``path`` is a folder or a socket, or its folder does not exist or is not
        writable. Afterwards, if the block or the move fails. The message names ``path``.
    """
    path = _followed(path)
    standing, is_replaced = _standing_at(path)
    file = _new_partial(path, standing) if is_replaced else tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    partial = Path(file.name) if is_replaced else None
    try:
        with file:
            yield file
            if partial is None:
                file.seek(0)
                with path.open("wb") as target:
                    shutil.copyfileobj(file, target)
            else:
                _keep_access(partial, standing)
                _flush(file)
        if partial is not None:
            _replace(partial, path)
    except OSError as error:
        # The error contains no file name if the disk is full, and the temporary file's name otherwise.
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def check_can_be_written(path: str | os.PathLike[str]) -> None:
    """Raise if `written_whole` would raise before its block. Call this before a long computation.

    Raises
    ------
    OSError
        As for `written_whole`.
    """
    path = _followed(path)
    standing, is_replaced = _standing_at(path)
    if is_replaced:
        with _new_partial(path, standing) as file:
            pass
        Path(file.name).unlink()


def _followed(path: str | os.PathLike[str]) -> Path:
    """Return the path, or the target if the path is a link."""
    path = Path(path)
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    # A system link such as /dev/stdout can be open although its target is not a path in the file system.
    return target if target.exists() or not path.exists() else path


def _standing_at(path: Path) -> tuple[os.stat_result | None, bool]:
    """Return the status of the file at a path, or None without a file, and whether to replace it.

    If it is not replaced, for example a pipe, the new content is written into it.

    Raises
    ------
    OSError
        If ``path`` is a folder, a socket, or a pipe or device that is not writable.
    """
    try:
        standing = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None, True  # a problem with the folder is reported when the temporary file is created
    number = 0
    if stat.S_ISDIR(standing.st_mode):
        number = errno.EISDIR
    elif stat.S_ISSOCK(standing.st_mode):
        number = errno.ENXIO
    elif not stat.S_ISREG(standing.st_mode) and not os.access(path, os.W_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(path))
    return standing, stat.S_ISREG(standing.st_mode) and not path.is_symlink()


def _new_partial(path: Path, standing: os.stat_result | None) -> IO[bytes]:
    """Create and open the temporary file, in the folder of the file that it replaces."""
    # The system applies the umask to a new file's mode. A replacement stays private until it gets the mode of
    # the old file.
    mode = 0o666 if standing is None else 0o600
    while True:
        partial = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}")
        try:
            return open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        except FileExistsError:
            continue
        except OSError as error:
            raise type(error)(
                error.errno,
                f"cannot write into the folder of {path.name} ({error.strerror})",
                str(path.parent),
            ) from error


def _prefix(path: Path) -> str:
    """Return the prefix of the names of a path's temporary files, short enough for any file system."""
    name = os.fsencode(path.name)
    short = path.name if len(name) <= _LONGEST_IN_NAMES else hashlib.sha256(name).hexdigest()[:32]
    return f".{short}."


def _keep_access(partial: Path, standing: os.stat_result | None) -> None:
    """Copy the mode of the replaced file to a file, and its owner where the system permits."""
    if standing is None:
        return
    if sys.platform != "win32":
        made = partial.stat()
        if (made.st_uid, made.st_gid) != (standing.st_uid, standing.st_gid):
            with suppress(OSError):
                os.chown(partial, standing.st_uid, standing.st_gid)
    partial.chmod(stat.S_IMODE(standing.st_mode) & 0o777)


def _flush(file: IO[bytes]) -> None:
    """Flush a file to disk, if the file system supports it."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _replace(partial: Path, path: Path) -> None:
    """Move a file to ``path``. On Windows, wait a short time for programs that read the old file."""
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
    """Remove temporary files left by processes that were killed while they wrote ``path``."""
    path = _followed(path)
    partial = re.compile(f"{re.escape(_prefix(path))}[0-9a-f]{{8}}")
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if partial.fullmatch(file.name):
                with suppress(OSError):
                    file.unlink()


def read_text(path: str | os.PathLike[str], *, errors: str = "strict") -> str:
    """Read a UTF-8 text file, without the byte order mark that some Windows programs write.

    Parameters
    ----------
    path : path
        The file.
    errors : str
        How bytes that are not UTF-8 are handled, as in `bytes.decode`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ``errors`` is "strict" and the file is not in UTF-8.
    """
    return Path(path).read_bytes().decode("utf-8-sig", errors)


_SAFETENSORS_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write arrays as a safetensors file, completely or not at all.

    The same arrays and metadata give the same bytes. Arrays are written one at a time, without a copy if
    their memory is in C order and readable by NumPy. The writer of the package safetensors is not used,
    because it copies all arrays and writes the metadata in random order.

    Parameters
    ----------
    path : path
        The file.
    tensors : mapping of str to array
        Arrays of any library on any device, of dtype float32, float64 or int64.
    metadata : mapping of str to str
        The file's metadata.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    dtypes = {name: np.dtype(dtype_name(array.dtype)) for name, array in tensors.items()}
    # safetensors stores the largest item sizes first, so that all arrays are aligned in memory.
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        shape, dtype = tuple(tensors[name].shape), dtypes[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        kind = _SAFETENSORS_DTYPES[dtype.name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # as safetensors does, so that the tensors are aligned
    with written_whole(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            little_endian = dtypes[name].newbyteorder("<")
            host = np.ascontiguousarray(on_host(tensors[name]), dtype=little_endian)
            file.write(host.reshape(-1).view(np.uint8).data)


@contextmanager
def opened_safetensors(path: str | os.PathLike[str], kind: str) -> Iterator[Any]:
    """Open a safetensors file and yield a reader of the package safetensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a complete safetensors file. The message states that it must be ``kind``.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):
        pass  # so that a missing file raises FileNotFoundError
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be {kind}; it is truncated, damaged or something else ({error!s:.200})"
        ) from error


def float_dtype_in(file: Any, name: str, path: str | os.PathLike[str]) -> str:
    """Return the dtype of a tensor in a safetensors file, or raise a ValueError unless it is F32 or F64."""
    dtype: str = file.get_slice(name).get_dtype() if name in file.keys() else "none"  # noqa: SIM118  # it is no dict
    if dtype not in ("F32", "F64"):
        raise ValueError(f"`{name}` in {path} must be F32 or F64; got {dtype}")
    return dtype


def network_shapes(
    n_features: int, n_hidden: int, n_classes: int, stack: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's arrays. ``stack`` is (K,) for a stack and empty for one network."""
    return {
        "W1": (*stack, n_features, n_hidden),
        "b1": (*stack, n_hidden),
        "W2": (*stack, n_hidden, n_classes),
        "b2": (*stack, n_classes),
    }


def check_tensors(
    file: Any, expected: Mapping[str, tuple[str, tuple[int, ...]]], path: str | os.PathLike[str], kind: str
) -> None:
    """Raise unless a safetensors file contains exactly the expected tensors.

    Parameters
    ----------
    file : reader of safetensors
        As `opened_safetensors` yields it.
    expected : mapping of str to tuple
        The dtype and the shape of each tensor, by its name.
    path, kind : path, str
        The file and the kind of its content, for messages.

    Raises
    ------
    ValueError
        If a tensor is missing, has another dtype or shape, or is not expected.
    """
    there = set(file.keys())
    for name, (dtype, shape) in expected.items():
        if name not in there:
            raise ValueError(f"{path} must be a whole {kind}; something is missing in it ('{name}')")
        tensor = file.get_slice(name)
        if tensor.get_dtype() != dtype:
            raise ValueError(f"`{name}` in {path} must be {dtype}; got {tensor.get_dtype()}")
        came = tuple(tensor.get_shape())
        if came != shape:
            raise ValueError(f"`{name}` in {path} must have shape {shape} to fit the rest; got {came}")
    others = sorted(there - set(expected))
    if others:
        raise ValueError(f"{path} must hold nothing but a {kind}; got {listed(others)}")


class StoredArray(NamedTuple):
    """An array in the .npy format, in a file or in a member of an archive.

    Its shape can be checked before its values are read, which may unpack to gigabytes.
    """

    name: str  # for messages
    opened: Callable[[], IO[bytes]]  # opens the file or the member

    def header(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Read the shape and the dtype.

        Raises
        ------
        ValueError
            If the file does not contain an array.
        """
        with self._reading() as file:
            beginning = io.BytesIO(file.read(_LONGEST_HEADER))
            if not beginning.getvalue().startswith(npy_format.MAGIC_PREFIX):
                raise ValueError("it is not an array")
            # Version 3.0 differs from 2.0 only in the encoding of the header, which does not matter here.
            is_first = npy_format.read_magic(beginning) == (1, 0)
            read = npy_format.read_array_header_1_0 if is_first else npy_format.read_array_header_2_0
            shape, _, dtype = read(beginning)
            return shape, dtype

    def read(self, *, cure: str | None = None) -> npt.NDArray[Any]:
        """Read the values, in the machine's byte order.

        Parameters
        ----------
        cure : str, optional
            Code that converts an array of objects to one that can be stored, for the message.

        Raises
        ------
        TypeError
            If the array contains objects, which are stored with pickle.
        ValueError
            If the array is not complete.
        """
        if self.header()[1].hasobject:
            raise TypeError(
                f"{self.name} must hold numbers or strings; got dtype object, which is stored by pickle and "
                f"not read, because unpickling a file can run any code that is in it"
                + (f"; store `{cure}`" if cure else "")
            )
        with self._reading() as file:
            array: npt.NDArray[Any] = npy_format.read_array(file, allow_pickle=False)
            return array.astype(array.dtype.newbyteorder("="), copy=False)

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        """Open the array's file; replace any error in the block by a ValueError with the array's name."""
        # A damaged file raises many types: BadZipFile, zlib.error, NotImplementedError, ...
        try:
            with self.opened() as file:
                yield file
        except Exception as error:
            raise ValueError(
                f"{self.name} must be a whole array; it cannot be read ({error!s:.200})"
            ) from error


@contextmanager
def opened_npz(
    path: str | os.PathLike[str], opened: Callable[[], IO[bytes]] | None = None
) -> Iterator[dict[str, StoredArray]]:
    """Open an .npz file and yield its arrays by name, without reading their values.

    Parameters
    ----------
    path : path
        The file.
    opened : callable, optional
        Function that opens the file. ``path`` is then used only in messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an .npz file, or contains no arrays.
    """
    with opened() if opened else Path(path).open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if not members:
                raise ValueError("it holds none")
        except Exception as error:  # a damaged archive raises many types
            raise ValueError(
                f"{path} must be an .npz file with arrays; it is truncated, empty or something else "
                f"({error!s:.200})"
            ) from error
        yield {
            key: StoredArray(f"`{key}` in {path}", partial(archive.open, name))
            for key, name in members.items()
        }
