"""CIFAR-10, read from the official binary files in a folder, in the archive, or downloaded."""

from __future__ import annotations

import gzip
import io
import logging
import os
import tarfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np

from .._namespace import HostArray
from .._optional import require
from .._texts import check_printable
from .._validation import check_integer
from ._dataset import Dataset, Split

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_ARCHIVE = "cifar-10-binary.tar.gz"
_FOLDER = "cifar-10-batches-bin"
_PICKLED_ARCHIVE = "cifar-10-python.tar.gz"
_PICKLED_FOLDER = "cifar-10-batches-py"
_PICKLED = (_PICKLED_FOLDER, _PICKLED_ARCHIVE, "data_batch_1", "test_batch")
_TEST_FILE = "test_batch.bin"
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CLASSES_FILE = "batches.meta.txt"

_RECORDS = 10_000  # per file
_RECORD_BYTES = 1 + 3 * 32 * 32  # the label, then the red, green and blue planes, row by row
_CLASSES_BYTES = 1000  # bound on the size of the file with the ten class names
_ARCHIVE_BYTES = 170_052_171
_UNPACKED_BYTES = 200_000_000  # bound on the unpacked size; the official archive has 184 million bytes

_Made = TypeVar("_Made")
_Files = Generator[tuple[str, bytes | bytearray, str]]  # name, content and location of each file


class DownloadProgress(Protocol):
    """Protocol of a display for the progress of a download, in bytes."""

    total: Any

    def update(self, n: int, /) -> Any:
        """Add ``n`` downloaded bytes."""

    def reset(self) -> Any:
        """Set the number of downloaded bytes to 0."""

    def close(self) -> Any:
        """End the display."""


def load_cifar10(
    folder: str | os.PathLike[str] | None = None,
    *,
    n_train: int = 45_000,
    n_validation: int = 5_000,
    n_test: int = 10_000,
    url: str | None = None,
    progress: DownloadProgress | None = None,
) -> Dataset:
    """Load CIFAR-10 [1]_: colour images of 32×32 pixels in ten classes, 50,000 to train and 10,000 to test.

    The images are in the official order. The first ``n_train`` training images are for training, and the next
    ``n_validation`` for validation. The first ``n_test`` test images are for testing.

    Parameters
    ----------
    folder : path, optional
        Location of the official binary files: the folder ``cifar-10-batches-bin`` that contains them, the
        archive ``cifar-10-binary.tar.gz``, or a folder that contains that folder or archive. The archive is
        read without being unpacked to disk. By default, the archive is downloaded (162 MiB) to the user's
        cache, unless it is there already; this needs the extra ``data``.
    n_train, n_validation, n_test : int
        Number of images to load. Only the files with these images are needed. With ``n_validation=0`` or
        ``n_test=0``, there is no such split.
    url : str, optional
        Address from which to download the archive instead of the official site. The archive must still have
        the official SHA-256. The address must not contain a user name or a password; these are read from
        ``~/.netrc``. It cannot be combined with ``folder``.
    progress : object, optional
        Display for the download, with the methods of `DownloadProgress`. Its ``total`` is set to the number
        of bytes, then ``update(n)``, ``reset()`` and ``close()`` are called.

    Returns
    -------
    Dataset
        ``X`` (N, 32, 32, 3) uint8, the channels red, green, blue. ``y`` (N,) int64.

    Raises
    ------
    ValueError
        If more images are requested than exist; if ``url`` does not begin with http:// or https://, contains
        an @, or is combined with ``folder``; if a file or an archive is truncated, has a wrong size or label,
        or other content; if it is the pickled version, which is never opened, because unpickling a file can
        run any code in it; if an archive unpacks to more than 200 MB; if a download exceeds the size of the
        archive, in which case it is stopped, or has the wrong SHA-256.
    FileNotFoundError
        If ``folder`` does not exist, or does not contain the files.
    OSError
        If the download fails.
    ImportError
        If a download is needed and pooch is not installed.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
       https://www.cs.toronto.edu/~kriz/cifar.html
    """
    n_train = check_integer("n_train", n_train, least=1)
    n_validation = check_integer("n_validation", n_validation, least=0)
    n_test = check_integer("n_test", n_test, least=0)
    n_both, there = n_train + n_validation, len(_TRAIN_FILES) * _RECORDS
    if n_both > there:
        raise ValueError(
            f"`n_train` + `n_validation` must be at most {there}, the number of training images; "
            f"got {n_train} + {n_validation}"
        )
    if n_test > _RECORDS:
        raise ValueError(f"`n_test` must be at most {_RECORDS}, the number of test images; got {n_test}")
    if url is not None:
        _check_url(url)
    if folder is None:
        source = _downloaded(URL if url is None else url, progress)
    elif url is not None:
        raise ValueError("`url` must be left out where `folder` is given; got both")
    else:
        source = _found(Path(folder))

    # Each file is copied to its part of these arrays, so that no second copy of all images is needed.
    both, test = _room(n_both), _room(n_test)
    starts = range(0, n_both, _RECORDS)
    places = {
        name: Split(both.X[start : start + _RECORDS], both.y[start : start + _RECORDS])
        for name, start in zip(_TRAIN_FILES, starts, strict=False)
    }
    if n_test:
        places[_TEST_FILE] = test

    read = _read_folder if source.is_dir() else _read_archive
    with closing(read(source, {_CLASSES_FILE, *places})) as files:
        for name, content, where in files:
            if name == _CLASSES_FILE:
                if tuple(content.decode("utf-8-sig", errors="replace").split()) != CLASSES:
                    names = ", ".join(CLASSES)
                    raise ValueError(f"{where} must name the classes of CIFAR-10: {names}; got other names")
            else:
                _fill(places[name], content, where)
    return Dataset(
        name="cifar10",
        train=Split(both.X[:n_train], both.y[:n_train]),
        validation=Split(both.X[n_train:], both.y[n_train:]) if n_validation else None,
        test=test if n_test else None,
        classes=CLASSES,
        image_shape=(32, 32, 3),
    )


def is_cifar10(folder: Path) -> bool:
    """Return whether a folder contains CIFAR-10, binary or pickled: its files, its folder or its archive."""
    names = (*_TRAIN_FILES, _TEST_FILE, _FOLDER, _ARCHIVE, *_PICKLED)
    return any((folder / name).exists() for name in names)


def _room(n: int) -> Split:
    return Split(np.empty((n, 32, 32, 3), np.uint8), np.empty(n, np.int64))


def _fill(place: Split, content: bytes | bytearray, where: str) -> None:
    """Copy the first records of a file into a split's arrays."""
    records: HostArray = np.frombuffer(content, np.uint8).reshape(_RECORDS, _RECORD_BYTES)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if wrong.size:
        raise ValueError(
            f"{where} must hold class labels in [0, {len(CLASSES)}); "
            f"got a label of {records[wrong[0], 0]} in record {wrong[0]}"
        )
    n = len(place.y)
    place.y[:] = records[:n, 0]
    place.X[:] = records[:n, 1:].reshape(n, 3, 32, 32).transpose(0, 2, 3, 1)


def _check_size(name: str, size: int, where: str) -> None:
    is_right, wanted = size == _RECORDS * _RECORD_BYTES, f"{_RECORDS} records of {_RECORD_BYTES}"
    if name == _CLASSES_FILE:
        is_right, wanted = size <= _CLASSES_BYTES, f"at most {_CLASSES_BYTES}"
    if not is_right:
        raise ValueError(f"{where} must have {wanted} bytes; got {size} bytes")


def _found(path: Path) -> Path:
    """Return the folder with the binary files, or the archive, that a path stands for."""
    if not path.exists():
        raise FileNotFoundError(f"`folder` must be a folder or an archive that exists; got {path}")
    if not path.is_dir():
        if path.name == _PICKLED_ARCHIVE:
            raise _pickled(path)
        return path
    if any((path / name).exists() for name in (*_TRAIN_FILES, _TEST_FILE)):
        return path
    if (path / _FOLDER).is_dir():
        return path / _FOLDER
    if (path / _ARCHIVE).is_file():
        return path / _ARCHIVE
    for name in _PICKLED:
        if (path / name).exists():
            raise _pickled(path / name)
    raise FileNotFoundError(
        f"`folder` must hold {_TRAIN_FILES[0]} and the other binary files of CIFAR-10, the folder {_FOLDER}, "
        f"or the archive {_ARCHIVE} ({URL}); found none of them in {path}"
    )


def _pickled(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be the binary version of CIFAR-10; it is the pickled version, which is not opened "
        f"because unpickling a file can run any code that is in it: get {_ARCHIVE} ({URL})"
    )


def _read_folder(folder: Path, names: set[str]) -> _Files:
    for name in sorted(names):
        path = folder / name
        if path.is_file():
            _check_size(name, path.stat().st_size, str(path))
            yield name, path.read_bytes(), str(path)
        elif name != _CLASSES_FILE:
            raise FileNotFoundError(f"{folder} must hold {name}; found no such file")


class _Unpacked(gzip.GzipFile):
    """The unpacked archive. It raises beyond a bound, because a small archive can unpack to gigabytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > _UNPACKED_BYTES:
            raise ValueError(f"it unpacks to more than {_UNPACKED_BYTES:,} bytes")
        return super().read(size)


def _read_archive(archive: Path, names: set[str]) -> _Files:
    """Yield files in the order of the archive, then check the rest of the archive."""
    missing = {f"{_FOLDER}/{name}" for name in names}
    with ExitStack() as stack:
        unpacked = stack.enter_context(_tried(archive, _Unpacked, archive))
        opened = _tried(archive, tarfile.open, None, "r|", unpacked, 2**20)
        members: tarfile.TarFile = stack.enter_context(opened)
        while (member := _tried(archive, members.next)) is not None:
            if member.name.startswith(_PICKLED_FOLDER):
                raise _pickled(archive)
            if member.name not in missing:
                continue
            missing.remove(member.name)
            name, where = member.name.rpartition("/")[2], f"{member.name} in {archive}"
            file = _tried(archive, members.extractfile, member) if member.isreg() else None
            if file is None:
                raise ValueError(f"{where} must be a regular file; got a folder, a link or a device")
            _check_size(name, member.size, where)
            content = _tried(archive, _read_pieces, file)
            _check_size(name, len(content), where)
            yield name, content, where
        while _tried(archive, unpacked.read, 2**20):
            pass  # gzip verifies its checksum at the end
    missing.discard(f"{_FOLDER}/{_CLASSES_FILE}")
    if missing:
        raise ValueError(f"{archive} must hold {', '.join(sorted(missing))}; found no such member")


def _tried(archive: Path, read: Callable[..., _Made], *arguments: Any) -> _Made:
    """Call ``read`` and return its result; raise a ValueError with the archive's path if it is damaged.

    A damaged archive raises many types of errors: TarError, EOFError, zlib.error, ValueError, ...
    """
    try:
        return read(*arguments)
    except Exception as error:
        if isinstance(error, (MemoryError, OSError)) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise ValueError(
            f"{archive} must be the archive {_ARCHIVE} of CIFAR-10; it is truncated, damaged or something "
            f"else ({error!s:.200})"
        ) from error


def _read_pieces(file: IO[bytes]) -> bytearray:
    """Read a member in pieces, because at once tarfile would keep three copies of it in memory."""
    content = bytearray()
    while piece := file.read(2**20):
        content += piece
    return content


class _Download(io.BufferedWriter):
    """A file for the download that raises if it exceeds the size of the archive."""

    def write(self, content: Any, /) -> int:
        if self.tell() + len(content) > _ARCHIVE_BYTES:
            raise ValueError(f"it has more than {_ARCHIVE_BYTES:,} bytes")
        return super().write(content)


def _check_url(url: str) -> None:
    if "@" in url:  # the message does not show the address, because it may contain a password
        raise ValueError("`url` must contain no @: a password belongs in ~/.netrc; got an address with @")
    check_printable("`url`", url)
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"`url` must begin with https:// or http://; got {url}")


def _downloaded(url: str, progress: DownloadProgress | None) -> Path:
    """Return the path of the archive in the user's cache; download it if it is missing or damaged."""
    pooch = require("pooch", extra="data", purpose="downloading CIFAR-10")
    cache = Path(pooch.os_cache("twolayer"))

    def download(url: str, path: str, _: Any) -> None:
        progressbar = False if progress is None else progress
        with _Download(io.FileIO(path, "w")) as file:
            pooch.HTTPDownloader(progressbar=progressbar, chunk_size=2**18)(url, file, None)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # otherwise pooch reports the download on stderr
    try:
        return Path(pooch.retrieve(url, f"sha256:{SHA256}", fname=_ARCHIVE, path=cache, downloader=download))
    except OSError as error:  # the errors of requests are OSErrors
        response = getattr(error, "response", None)
        if response is not None:
            response.close()  # pooch leaves it open
        raise OSError(
            f"CIFAR-10 could not be downloaded from {url} to {cache} ({error}); without a network, "
            f"give `folder`, the path of {_ARCHIVE} or of its unpacked folder {_FOLDER}; to download it from "
            f"another address, give `url`"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{url} must send {_ARCHIVE} with the SHA-256 {SHA256}; got another file, which was not kept"
        ) from error
    finally:
        logger.setLevel(level)
