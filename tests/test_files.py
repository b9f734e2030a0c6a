from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from twolayer import _files
from twolayer._files import remove_partial, written_whole


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "net.safetensors"
    with written_whole(path) as partial:
        assert partial.parent == tmp_path
        assert partial != path
        assert partial.suffix == ".safetensors"  # some writers go by it
        partial.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written_whole("plain") as partial:
        partial.write_text("text")
    assert (tmp_path / "plain").read_text() == "text"


def test_what_stood_there_is_replaced(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old")
    with written_whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_text("old")
    flushed = []

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_size, path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    with written_whole(path) as partial:
        partial.write_text("the new")
    assert flushed == [(len("the new"), "old")]
    assert path.read_text() == "the new"


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_a_disk_that_fails_is_told_and_one_that_cannot_be_asked_is_not(tmp_path, monkeypatch, number):
    path = tmp_path / "net.safetensors"
    path.write_text("old")

    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    fails = number == errno.EIO
    with pytest.raises(OSError, match="error") if fails else nullcontext(), written_whole(path) as partial:
        partial.write_text("new")
    assert path.read_text() == ("old" if fails else "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stood_there_stays_where_the_block_raises(tmp_path, error):
    path = tmp_path / "history.csv"
    path.write_text("old")

    def write() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_the_file_cannot_be_moved_to_its_place(tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="taken"), written_whole(path) as partial:
        partial.write_text("whole")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "net.safetensors"
    with (
        pytest.raises(
            FileNotFoundError, match=r"cannot write into the folder of net\.safetensors .*nowhere"
        ) as caught,
        written_whole(path),
    ):
        pass  # pragma: no cover
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(path.parent)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_files.tempfile, "mkstemp", refuse)
    message = r"cannot write into the folder of net\.csv \(Permission denied\): "
    with pytest.raises(PermissionError, match=message), written_whole(tmp_path / "net.csv"):
        pass  # pragma: no cover


def test_the_first_error_is_told_where_the_partial_file_is_gone_too(tmp_path):
    def write() -> None:
        with written_whole(tmp_path / "net.csv") as partial:
            partial.unlink()
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        write()


def test_no_file_is_left_open(tmp_path, monkeypatch):
    handles = []
    mkstemp = tempfile.mkstemp

    def noted(**arguments: object) -> tuple[int, str]:
        handle, name = mkstemp(**arguments)
        handles.append(handle)
        return handle, name

    monkeypatch.setattr(_files.tempfile, "mkstemp", noted)
    with written_whole(tmp_path / "net.csv"):
        (handle,) = handles
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of this kind")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_that_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "net.csv") as partial:
            partial.write_text("whole")
        assert os.umask(umask) == umask  # it was put back
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.csv").stat().st_mode) == 0o666 & ~umask


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


def test_windows_is_asked_again_while_a_file_is_held(tmp_path, monkeypatch, held):
    monkeypatch.setattr(_files.sys, "platform", "win32")
    tried = held(3)
    with written_whole(tmp_path / "net.csv") as partial:
        partial.write_text("whole")
    assert len(tried) == 4
    assert (tmp_path / "net.csv").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_windows_is_not_asked_for_ever(tmp_path, monkeypatch, held):
    monkeypatch.setattr(_files.sys, "platform", "win32")
    monkeypatch.setattr(_files, "_PATIENCE_SECONDS", 0.01)
    held(10**9)
    with (
        pytest.raises(PermissionError, match="Access is denied"),
        written_whole(tmp_path / "net.csv") as partial,
    ):
        partial.write_text("whole")
    assert list(tmp_path.iterdir()) == []


def test_other_systems_are_asked_once(tmp_path, monkeypatch, held):
    monkeypatch.setattr(_files.sys, "platform", "linux")
    tried = held(1)
    with (
        pytest.raises(PermissionError, match="Access is denied"),
        written_whole(tmp_path / "net.csv") as partial,
    ):
        partial.write_text("whole")
    assert len(tried) == 1


def test_what_was_left_half_written_is_removed(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("whole")
    others = [
        tmp_path / name for name in ("net.csv.bak", ".net.csv.swp", ".other.csv.abc.csv", "x.net.csv.csv")
    ]
    for file in (tmp_path / ".net.csv.k3j2.csv", tmp_path / ".net.csv.x_y.csv", *others):
        file.write_text("half")
    remove_partial(path)
    assert set(tmp_path.iterdir()) == {path, *others}
    remove_partial(tmp_path / "nowhere" / "net.csv")
