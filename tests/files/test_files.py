"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import twolayer
from twolayer import _files
from twolayer._files import check_can_be_written, remove_partial, written_whole
from twolayer.report.files import write_csv, write_json

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no files or modes of this kind")


def write(path, content=b"new", error=None):
    """Write a file with `written_whole`, and raise `error`, if given, at the end of its block."""
    with written_whole(path) as file:
        file.write(content)
        if error is not None:
            raise error


def refused(path, error, message):
    """Assert that a path is refused before the block runs; return the error."""
    with pytest.raises(error, match=message) as caught, written_whole(path):
        raise AssertionError  # pragma: no cover
    return caught.value


@pytest.fixture
def old(tmp_path):
    """An existing file."""
    path = tmp_path / "net.csv"
    path.write_text("old")
    return path


@pytest.mark.parametrize("exists", [False, True])
def test_the_file_appears_when_the_block_ends(old, exists):
    if not exists:
        old.unlink()
    with written_whole(old) as file:
        assert Path(file.name).parent == old.parent
        assert Path(file.name) != old
        file.write(b"whole")
        assert old.read_text() == "old" if exists else not old.exists()
    assert old.read_bytes() == b"whole"
    assert list(old.parent.iterdir()) == [old]


def test_a_path_may_be_a_relative_string(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("plain", b"text")
    assert (tmp_path / "plain").read_text() == "text"


def test_a_file_is_flushed_to_disk_before_it_replaces_the_old_one(old, monkeypatch):
    flushed = []

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_size, old.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(old, b"the new")
    assert flushed == [(len("the new"), "old")]
    assert old.read_text() == "the new"


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_an_error_of_fsync_is_raised_unless_fsync_is_unsupported(old, monkeypatch, number):
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    fails = number == errno.EIO
    with pytest.raises(OSError, match="error") if fails else nullcontext():
        write(old)
    assert old.read_text() == ("old" if fails else "new")
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_file_is_kept_if_the_block_raises(old, error):
    with pytest.raises(error, match="in the middle"):
        write(old, b"half", error("in the middle"))
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_no_partial_file_is_left_if_the_path_is_a_folder(tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    refused(path, OSError, "taken")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "net.safetensors"
    message = r"cannot write into the folder of net\.safetensors .*nowhere"
    error = refused(path, FileNotFoundError, message)
    assert (error.errno, error.filename) == (errno.ENOENT, str(path.parent))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    refused(tmp_path / "net.csv", PermissionError, r"cannot write .* net\.csv \(Permission denied\): ")


def test_the_error_of_the_block_is_raised_if_the_partial_file_is_gone(tmp_path):
    def lose() -> None:
        with written_whole(tmp_path / "net.csv") as file:
            Path(file.name).unlink()
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        lose()


def test_no_file_is_left_open(tmp_path, monkeypatch):
    handles = []
    original = os.open

    def recorded(*arguments: object) -> int:
        handles.append(original(*arguments))
        return handles[-1]

    monkeypatch.setattr(os, "open", recorded)
    with written_whole(tmp_path / "net.csv"):
        (handle,) = handles
        os.fstat(handle)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


# Modes, links, pipes and devices


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path, monkeypatch, umask):
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            # The process has one umask: changing it would affect files of other threads.
            patch.setattr(os, "umask", None)
            write(tmp_path / "net.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.csv").stat().st_mode) == 0o666 & ~umask


@posix
@given(mode=st.integers(0, 0o777))
def test_the_mode_and_the_owner_of_the_old_file_are_kept(tmp_path_factory, mode):
    path = tmp_path_factory.mktemp("modes") / "net.csv"
    path.write_text("old")
    if os.getuid() == 0:
        os.chown(path, 1, 2)
    path.chmod(mode)
    before = path.stat()
    with written_whole(path) as file:
        # Others cannot read a private file while it is written.
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == 0o600
        file.write(b"new")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    path.chmod(0o600)
    assert path.read_text() == "new"


@posix
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("links", [["store/net.csv"], ["{}/store/net.csv"], ["other", "store/net.csv"]])
def test_links_are_followed(tmp_path, monkeypatch, links, exists):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    path = target = tmp_path / "store" / "net.csv"
    if exists:
        target.write_text("old")
    for name, to in zip(["net.csv", "other"], links, strict=False):
        (tmp_path / name).symlink_to(to.format(tmp_path))
    path = tmp_path / "net.csv"
    (target.parent / ".net.csv.0123abcd").write_text("half")
    remove_partial(path)
    with written_whole("net.csv") as file:
        assert Path(file.name).parent == target.parent
        file.write(b"new")
    assert path.is_symlink()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@posix
def test_a_link_to_itself_is_refused_before_the_block_runs(tmp_path):
    path = tmp_path / "net.csv"
    path.symlink_to("net.csv")
    refused(path, OSError, r"net\.csv")
    assert path.is_symlink()


def read_from(path):
    """Read a pipe in a thread; return the list that will hold its content, and the thread."""
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    return found, reader


@posix
@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_is_written_into(tmp_path, through_link):
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    path = tmp_path / "link.onnx" if through_link else pipe
    if through_link:
        path.symlink_to(pipe)
    found, reader = read_from(pipe)
    write(path, b"whole" * 100_000)
    reader.join(60)
    assert found == [b"whole" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert path.is_symlink() == through_link


@posix
def test_a_pipe_gets_nothing_if_the_block_raises(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(ValueError, match="in the middle"):
        write(pipe, b"half", ValueError("in the middle"))
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@posix
def test_a_device_is_written_into():
    ours, theirs = os.openpty()
    try:
        path = Path(os.ttyname(theirs))
        write(path, b"whole")
        assert os.read(ours, 100) == b"whole"
        assert stat.S_ISCHR(path.stat().st_mode)
    finally:
        os.close(ours)
        os.close(theirs)


@posix
def test_the_descriptor_of_a_deleted_file_is_written_into(tmp_path):
    file = tmp_path / "net.csv"
    with file.open("wb+") as stream:
        file.unlink()
        path = Path(f"/dev/fd/{stream.fileno()}")
        if not path.exists():
            pytest.skip("this system has no /dev/fd for files")
        write(path, b"whole")
        assert stream.read() == b"whole"
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_pipe_that_cannot_be_written_is_refused_before_the_block_runs(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(pipe, PermissionError, r"Permission denied: .*pipe")


@posix
def test_a_socket_is_refused_before_the_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("net.csv")
        refused("net.csv", OSError, r"net\.csv")
        with pytest.raises(OSError, match=r"net\.csv"):
            check_can_be_written("net.csv")
    assert stat.S_ISSOCK(Path("net.csv").stat().st_mode)


# Names and errors


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='/\0\\:*?"<>|'), min_size=1, max_size=85)


@given(name=NAMES | st.tuples(NAMES, NAMES).map(".".join))
def test_a_name_of_any_length_can_be_written(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    path = folder / name
    assume(len(os.fsencode(name)) <= 255 and path.name == name and name.strip(". "))
    with written_whole(path) as file:
        file.write(b"whole")
        partial = Path(file.name)
        assert len(os.fsencode(partial.name)) <= 143  # the limit of some file systems
    assert list(folder.iterdir()) == [path]
    partial.write_text("half")
    remove_partial(path)
    assert list(folder.iterdir()) == [path]


def test_partial_files_of_another_long_name_are_kept(tmp_path):
    names = [f"{'x' * 200}{number}.csv" for number in (1, 2)]
    with written_whole(tmp_path / names[0]) as file:
        file.write(b"whole")
        remove_partial(tmp_path / names[1])
    assert [file.name for file in tmp_path.iterdir()] == [names[0]]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
def test_a_disk_error_names_the_file(tmp_path, number):
    path = tmp_path / "net.csv"
    with pytest.raises(OSError, match=r"net\.csv'$") as caught:
        write(path, b"half", OSError(number, os.strerror(number)))
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("name", ["net.safetensors", "run.csv", "run.json", "net.onnx"])
def test_a_file_beyond_the_size_limit_is_named(tmp_path, name):
    import resource

    pytest.importorskip("onnx")
    net = twolayer.TwoLayerNet.initialize(30, 20, 3, rng=0)
    writers = {
        ".safetensors": twolayer.save,
        ".onnx": twolayer.onnx.export,
        ".csv": lambda net, path: write_csv(path, [{"x": "1" * 2000}]),
        ".json": lambda net, path: write_json(path, "1" * 2000),
    }
    path = tmp_path / name
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=f"{re.escape(name)}'$") as caught:
            writers[path.suffix](net, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def held_open(monkeypatch):
    """Return a function that makes the next moves fail, as on Windows while a program has the file open.

    Its argument is the number of moves that fail. It returns the list of the moves that are tried.
    """
    replace, tried = Path.replace, []

    def hold(times):
        def refuse(self, target):
            tried.append(target)
            if len(tried) <= times:
                raise PermissionError(errno.EACCES, "Access is denied", str(self))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuse)
        return tried

    monkeypatch.setattr(_files, "_PAUSE_SECONDS", 0.0)
    return hold


def test_a_move_is_retried_on_windows_while_the_file_is_open(old, monkeypatch, held_open):
    monkeypatch.setattr(_files.sys, "platform", "win32")
    tried = held_open(3)
    write(old)
    assert len(tried) == 4
    assert old.read_text() == "new"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize(("system", "tries_once"), [("win32", False), ("linux", True)])
def test_a_move_that_keeps_failing_is_given_up(old, monkeypatch, held_open, system, tries_once):
    monkeypatch.setattr(_files.sys, "platform", system)
    monkeypatch.setattr(_files, "_PATIENCE_SECONDS", 0.01)
    tried = held_open(10**9)
    with pytest.raises(PermissionError, match="Access is denied"):
        write(old)
    assert (len(tried) == 1) == tries_once
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_only_the_partial_files_of_the_path_are_removed(old, tmp_path):
    others = ("net.csv.bak", ".net.csv.swp", ".net.csv.mybackup", ".other.csv.0123abcd", "x.net.csv.0123abcd")
    for name in (".net.csv.fedc9876", ".net.csv.0123abcd", *others):
        (tmp_path / name).write_text("half")
    remove_partial(old)
    assert {path.name for path in tmp_path.iterdir()} == {"net.csv", *others}
    remove_partial(tmp_path / "nowhere" / "net.csv")
