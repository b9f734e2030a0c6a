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
    with written_whole(path) as file:
        file.write(content)
        if error is not None:
            raise error


def refused(path, error, message):
    """Have a path refused before the block begins; return the error."""
    with pytest.raises(error, match=message) as caught, written_whole(path):
        raise AssertionError  # pragma: no cover
    return caught.value


@pytest.fixture
def old(tmp_path):
    """A file that stands there already."""
    path = tmp_path / "net.csv"
    path.write_text("old")
    return path


@pytest.mark.parametrize("stands", [False, True])
def test_the_file_appears_when_the_block_ends(old, stands):
    if not stands:
        old.unlink()
    with written_whole(old) as file:
        assert Path(file.name).parent == old.parent
        assert Path(file.name) != old
        file.write(b"whole")
        assert old.read_text() == "old" if stands else not old.exists()
    assert old.read_bytes() == b"whole"
    assert list(old.parent.iterdir()) == [old]


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("plain", b"text")
    assert (tmp_path / "plain").read_text() == "text"


def test_a_file_is_on_the_disk_before_it_takes_its_place(old, monkeypatch):
    flushed = []

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_size, old.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(old, b"the new")
    assert flushed == [(len("the new"), "old")]
    assert old.read_text() == "the new"


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_a_disk_that_fails_is_told_and_one_that_cannot_be_asked_is_not(old, monkeypatch, number):
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    fails = number == errno.EIO
    with pytest.raises(OSError, match="error") if fails else nullcontext():
        write(old)
    assert old.read_text() == ("old" if fails else "new")
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stood_there_stays_where_the_block_raises(old, error):
    with pytest.raises(error, match="in the middle"):
        write(old, b"half", error("in the middle"))
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_nothing_is_left_where_the_file_cannot_be_moved_to_its_place(tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    refused(path, OSError, "taken")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "net.safetensors"
    message = r"cannot write into the folder of net\.safetensors .*nowhere"
    error = refused(path, FileNotFoundError, message)
    assert (error.errno, error.filename) == (errno.ENOENT, str(path.parent))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    refused(tmp_path / "net.csv", PermissionError, r"cannot write .* net\.csv \(Permission denied\): ")


def test_the_first_error_is_told_where_the_partial_file_is_gone_too(tmp_path):
    def lose() -> None:
        with written_whole(tmp_path / "net.csv") as file:
            Path(file.name).unlink()
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        lose()


def test_no_file_is_left_open(tmp_path, monkeypatch):
    handles = []
    usual = os.open

    def noted(*arguments: object) -> int:
        handles.append(usual(*arguments))
        return handles[-1]

    monkeypatch.setattr(os, "open", noted)
    with written_whole(tmp_path / "net.csv"):
        (handle,) = handles
        os.fstat(handle)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


# Files that stand there already


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_that_of_any_new_file(tmp_path, monkeypatch, umask):
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            # Other threads make files meanwhile, with the mask of the whole process.
            patch.setattr(os, "umask", None)
            write(tmp_path / "net.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.csv").stat().st_mode) == 0o666 & ~umask


@posix
@given(mode=st.integers(0, 0o777))
def test_the_mode_and_the_owner_are_those_of_the_file_before(tmp_path_factory, mode):
    path = tmp_path_factory.mktemp("modes") / "net.csv"
    path.write_text("old")
    if os.getuid() == 0:
        os.chown(path, 1, 2)
    path.chmod(mode)
    before = path.stat()
    with written_whole(path) as file:
        # What is private is so from the beginning.
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == 0o600
        file.write(b"new")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    path.chmod(0o600)
    assert path.read_text() == "new"


@posix
@pytest.mark.parametrize("stands", [False, True])
@pytest.mark.parametrize("links", [["store/net.csv"], ["{}/store/net.csv"], ["other", "store/net.csv"]])
def test_links_are_followed(tmp_path, monkeypatch, links, stands):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    path = target = tmp_path / "store" / "net.csv"
    if stands:
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
def test_a_link_that_leads_nowhere_is_refused_before_the_work(tmp_path):
    path = tmp_path / "net.csv"
    path.symlink_to("net.csv")
    refused(path, OSError, r"net\.csv")
    assert path.is_symlink()


def read_from(path):
    """Read what is written into a pipe, in a thread of its own; return where it comes."""
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
def test_a_pipe_gets_nothing_where_the_block_raises(tmp_path):
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
def test_a_descriptor_of_a_file_that_is_gone_is_written_into(tmp_path):
    file = tmp_path / "net.csv"
    with file.open("wb+") as stream:
        file.unlink()
        path = Path(f"/dev/fd/{stream.fileno()}")
        if not path.exists():
            pytest.skip("this system has no /dev/fd of files")
        write(path, b"whole")
        assert stream.read() == b"whole"
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_pipe_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(pipe, PermissionError, r"Permission denied: .*pipe")


@posix
def test_a_socket_is_refused_before_the_work(tmp_path, monkeypatch):
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
        half = Path(file.name)
        assert len(os.fsencode(half.name)) <= 143
    assert list(folder.iterdir()) == [path]
    half.write_text("half")
    remove_partial(path)
    assert list(folder.iterdir()) == [path]


def test_half_written_files_of_another_long_name_are_left_alone(tmp_path):
    names = [f"{'x' * 200}{number}.csv" for number in (1, 2)]
    with written_whole(tmp_path / names[0]) as file:
        file.write(b"whole")
        remove_partial(tmp_path / names[1])
    assert [file.name for file in tmp_path.iterdir()] == [names[0]]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
def test_an_error_of_the_disk_names_the_file(tmp_path, number):
    path = tmp_path / "net.csv"
    with pytest.raises(OSError, match=r"net\.csv'$") as caught:
        write(path, b"half", OSError(number, os.strerror(number)))
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("name", ["net.safetensors", "run.csv", "run.json", "net.onnx"])
def test_a_file_that_is_too_large_is_named(tmp_path, name):
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
def held(monkeypatch):
    """A file that another program holds for a while, as Windows has it; yields how often a move was tried."""
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


def test_windows_is_asked_again_while_a_file_is_held(old, monkeypatch, held):
    monkeypatch.setattr(_files.sys, "platform", "win32")
    tried = held(3)
    write(old)
    assert len(tried) == 4
    assert old.read_text() == "new"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize(("system", "once"), [("win32", False), ("linux", True)])
def test_no_system_is_asked_for_ever(old, monkeypatch, held, system, once):
    monkeypatch.setattr(_files.sys, "platform", system)
    monkeypatch.setattr(_files, "_PATIENCE_SECONDS", 0.01)
    tried = held(10**9)
    with pytest.raises(PermissionError, match="Access is denied"):
        write(old)
    assert (len(tried) == 1) == once
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_what_was_left_half_written_is_removed(old, tmp_path):
    others = ("net.csv.bak", ".net.csv.swp", ".net.csv.mybackup", ".other.csv.0123abcd", "x.net.csv.0123abcd")
    for name in (".net.csv.fedc9876", ".net.csv.0123abcd", *others):
        (tmp_path / name).write_text("half")
    remove_partial(old)
    assert {path.name for path in tmp_path.iterdir()} == {"net.csv", *others}
    remove_partial(tmp_path / "nowhere" / "net.csv")
