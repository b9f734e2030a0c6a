"""Locks on files, which the system releases when the process ends."""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LONGEST_HOLDER = 100  # bytes of the text that names the process
_PAUSE_SECONDS = 0.05


@contextmanager
def locked_file(path: Path, timeout: float) -> Iterator[None]:
    """Create and lock a file; remove it at the end. Wait for another process for ``timeout`` seconds.

    Raises
    ------
    ValueError
        If another process still holds it then.
    """
    with _opened(path, time.monotonic() + timeout) as file:
        with suppress(OSError):  # the text only serves messages of other processes
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        try:
            yield
        finally:
            with suppress(OSError):  # Windows cannot remove an open file
                path.unlink()


def _opened(path: Path, until: float) -> BinaryIO:
    """Open and lock a file; wait for the process that has locked it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        # No link: its holder has removed it in the meantime. Two links: it is not a lock of ours.
        if _lock(file) and os.fstat(file.fileno()).st_nlink == 1:
            if sys.platform != "win32":
                with suppress(OSError):  # another user may need it, if this process is killed
                    os.fchmod(file.fileno(), 0o666)
            return file
        with file:
            if time.monotonic() >= until:
                file.seek(0)
                holder = file.read(_LONGEST_HOLDER).decode("utf-8", "backslashreplace")
                raise ValueError(
                    f"{path.parent} must not be in use; {holder or 'another process'} is writing in it"
                )
        time.sleep(_PAUSE_SECONDS)


def _lock(file: BinaryIO) -> bool:
    """Lock a file, if its file system has locks; return False if another process has locked it."""
    try:
        if sys.platform == "win32":
            file.seek(_LONGEST_HOLDER)  # past the text, as no other process can read bytes that are locked
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Any other error means that the file system has no locks: continue without one.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
