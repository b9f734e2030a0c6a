"""CIFAR-10 in its official layout, from files made here with the true format and random pixels."""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import hashlib
import http.server
import itertools
import logging
import re
import shutil
import sys
import tarfile
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cifar10_files import FEW, FILES, NAMES, write_folder
from support.memory import at_most

from twolayer.datasets import cifar10, load_cifar10

OFFICIAL_ORDER = [  # the order of the members in the archive
    "data_batch_1.bin",
    "batches.meta.txt",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "test_batch.bin",
    "readme.html",
    "data_batch_5.bin",
    "data_batch_2.bin",
]
EVERYTHING = {"n_train": 4 * FEW, "n_validation": FEW, "n_test": FEW}


def write_archive(archive, folder, *, inside="cifar-10-batches-bin", names=OFFICIAL_ORDER):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=inside, recursive=False)
        for name in names:
            tar.add(folder / name, arcname=f"{inside}/{name}")
    return archive


@pytest.fixture
def few(monkeypatch):
    """Make every file hold FEW records in place of 10,000."""
    monkeypatch.setattr(cifar10, "_RECORDS", FEW)


@pytest.fixture
def folder(tmp_path, few):
    write_folder(tmp_path / "cifar-10-batches-bin", FEW)
    return tmp_path / "cifar-10-batches-bin"


@pytest.fixture
def archive(tmp_path, folder):
    made = write_archive(tmp_path / "cifar-10-binary.tar.gz", folder)
    shutil.rmtree(folder)
    return made


def loaded(source=None, **changes):
    return load_cifar10(source, **EVERYTHING | changes)


def refused(message, source=None, error=ValueError, **changes):
    """Assert that loading raises an error with this message; return the whole message."""
    with pytest.raises(error, match=message) as caught:
        loaded(source, **changes)
    found = str(caught.value)
    del caught  # a reference cycle with this frame would keep the sockets of a download open
    return found


def archive_of(folder, **options):
    """An archive of the files in a folder."""
    return write_archive(folder.parent / "made.tar.gz", folder, **options)


def splits(data):
    return [(split.X.tolist(), split.y.tolist()) for split in (data.train, data.validation, data.test)]


def same(first, second):
    return splits(first) == splits(second)


# Reading


def test_every_pixel_and_label_is_where_the_format_says(tmp_path, few):
    folder = tmp_path / "here"
    written = write_folder(folder, FEW)
    data = load_cifar10(folder, n_train=3 * FEW, n_validation=2 * FEW, n_test=FEW)
    records = np.concatenate([written[name] for name in FILES])
    X = np.concatenate([data.train.X, data.validation.X, data.test.X])
    y = np.concatenate([data.train.y, data.validation.y, data.test.y])
    assert y.tolist() == records[:, 0].tolist()
    for sample, row, column, channel in ((0, 0, 0, 0), (5, 31, 0, 1), (11, 7, 30, 2), (23, 31, 31, 2)):
        place = 1 + 1024 * channel + 32 * row + column
        assert X[sample, row, column, channel] == records[sample, place]
    assert X.tobytes() == records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).tobytes()


def test_the_data_set_has_the_documented_shapes_dtypes_and_names(folder):
    data = loaded(folder)
    assert (data.name, data.classes) == ("cifar10", NAMES)
    assert (data.image_shape, data.n_features) == ((32, 32, 3), 3072)
    for split, n in ((data.train, 4 * FEW), (data.validation, FEW), (data.test, FEW)):
        assert (split.X.shape, split.X.dtype) == ((n, 32, 32, 3), np.uint8)
        assert (split.y.shape, split.y.dtype) == ((n,), np.int64)


def test_full_size_files_are_split_as_in_the_coursework(tmp_path):
    written = write_folder(tmp_path / "full", 10_000, files=(*FILES[:2], "test_batch.bin"))
    data = load_cifar10(tmp_path / "full", n_train=19_000, n_validation=1_000, n_test=1_000)
    labels = np.concatenate([written[name][:, 0] for name in FILES[:2]])
    assert np.array_equal(data.train.y, labels[:19_000])
    assert np.array_equal(data.validation.y, labels[19_000:])
    assert np.array_equal(data.test.y, written["test_batch.bin"][:1_000, 0])
    assert data.validation.X[999, 31, 31, 2] == written["data_batch_2.bin"][9_999, 3072]


def test_the_last_tenth_of_the_training_images_validates_by_default(tmp_path):
    for name in FILES:
        with (tmp_path / name).open("wb") as file:
            file.truncate(30_730_000)  # all zeros
            if name == "data_batch_5.bin":
                file.seek(4_999 * 3073)
                file.write(b"\x03")
                file.seek(5_000 * 3073)
                file.write(b"\x07")
    data = load_cifar10(tmp_path)
    assert [len(split.y) for split in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert (data.train.y[-1], data.validation.y[0]) == (3, 7)


@pytest.mark.parametrize("given_as", ["folder", "parent", "archive", "folder with the archive", "str"])
def test_every_form_of_source_gives_the_same_data(folder, given_as):
    expected = loaded(folder)
    source = {"folder": folder, "parent": folder.parent, "str": str(folder)}.get(given_as)
    if source is None:
        source = write_archive(folder.parent / "cifar-10-binary.tar.gz", folder)
        shutil.rmtree(folder)
        if given_as == "folder with the archive":
            source = source.parent
    assert same(loaded(source), expected)


def test_an_archive_may_have_any_name_and_order_of_members(folder):
    made = write_archive(folder.parent / "mirror.bin", folder, names=sorted(OFFICIAL_ORDER, reverse=True))
    assert same(loaded(made), loaded(folder))


def test_nothing_is_unpacked_to_disk(archive):
    loaded(archive)
    assert list(archive.parent.iterdir()) == [archive]


def test_only_the_files_that_are_needed_must_exist(folder):
    for name in ("batches.meta.txt", *FILES[2:]):
        (folder / name).unlink()
    data = loaded(folder, n_train=2 * FEW - 1, n_validation=1, n_test=0)
    assert (len(data.train.y), data.test, data.classes) == (2 * FEW - 1, None, NAMES)


@given(st.integers(1, 5 * FEW), st.integers(0, 5 * FEW), st.integers(0, FEW), st.booleans())
def test_any_split_is_a_slice_of_the_whole_data(few_sources, n_train, n_validation, n_test, from_archive):
    folder, archive, whole = few_sources
    n_validation = min(n_validation, 5 * FEW - n_train)
    source = archive if from_archive else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        data = load_cifar10(source, n_train=n_train, n_validation=n_validation, n_test=n_test)
    stop = n_train + n_validation
    assert np.array_equal(data.train.X, whole.train.X[:n_train])
    assert np.array_equal(data.train.y, whole.train.y[:n_train])
    for split, source_split, rows in (
        (data.validation, whole.train, slice(n_train, stop)),
        (data.test, whole.test, slice(n_test)),
    ):
        assert (split is None) == (len(source_split.y[rows]) == 0)
        if split is not None:
            assert np.array_equal(split.X, source_split.X[rows])
            assert np.array_equal(split.y, source_split.y[rows])


@pytest.fixture(scope="module")
def few_sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10") / "cifar-10-batches-bin"
    write_folder(folder, FEW)
    archive = write_archive(folder.parent / "cifar-10-binary.tar.gz", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        whole = load_cifar10(folder, n_train=5 * FEW, n_validation=0, n_test=FEW)
    return folder, archive, whole


# Refusals


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ({"n_train": 0}, ValueError, "`n_train` must be at least 1; got 0"),
        ({"n_validation": -1}, ValueError, "`n_validation` must be at least 0; got -1"),
        ({"n_test": -1}, ValueError, "`n_test` must be at least 0; got -1"),
        ({"n_train": 45_001}, ValueError, "at most 50000, the number of .*; got 45001 \\+ 5000"),
        ({"n_test": 10_001}, ValueError, "`n_test` must be at most 10000, the number of .*; got 10001"),
        ({"n_test": 10.0}, TypeError, "`n_test` must be an integer; got float"),
    ],
)
def test_invalid_numbers_of_images_are_refused(tmp_path, counts, error, message):
    with pytest.raises(error, match=message):
        load_cifar10(tmp_path, **counts)


def test_refuses_a_missing_folder_and_a_folder_without_the_files(tmp_path):
    message = r"must be a folder or an archive that exists; got .*nowhere"
    refused(message, tmp_path / "nowhere", FileNotFoundError)
    message = r"must hold data_batch_1\.bin .*; found none of them in"
    assert str(tmp_path) in refused(message, tmp_path, FileNotFoundError)


@pytest.mark.parametrize("name", FILES)
def test_refuses_a_folder_without_one_of_the_files(folder, name):
    (folder / name).unlink()
    refused(f"cifar-10-batches-bin must hold {name}; found no such file", folder, FileNotFoundError)


N_BYTES = 3073 * FEW


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_4", lambda old: old[:-1], f"have {FEW} records of 3073 bytes; got {N_BYTES - 1}"),
        ("data_batch_4", lambda old: old + b"x", f"have {FEW} records of 3073 bytes; got {N_BYTES + 1}"),
        ("data_batch_2", lambda old: b"\xff" + old[1:], r"in \[0, 10\); got a label of 255 in record 0"),
        # Record 3 is not requested, as `n_test` is 1, but it is checked too.
        ("test_batch", lambda old: old[:9219] + b"\n" + old[9220:], "got a label of 10 in record 3"),
        ("batches.meta", lambda _: b"beaver\ndolphin\n", "name the classes of CIFAR-10: airplane, .* tru"),
        ("batches.meta", lambda _: b"", "name the classes of CIFAR-10"),
        ("batches.meta", lambda _: b"\xff" * 900, "name the classes of CIFAR-10"),
        ("batches.meta", lambda _: b"x" * 1001, "have at most 1000 bytes; got 1001"),
    ],
)
def test_refuses_a_wrong_file_in_a_folder_and_in_an_archive(folder, name, change, message):
    (path,) = folder.glob(f"{name}.[bt]*")
    path.write_bytes(change(path.read_bytes()))
    refused(rf"{re.escape(path.name)} must .*{message}", folder, n_test=1)
    refused(rf"{re.escape(path.name)} in .*made\.tar\.gz must .*{message}", archive_of(folder), n_test=1)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_class_names_written_on_windows_are_read(folder, mark):
    (folder / "batches.meta.txt").write_bytes(mark + "\r\n".join(NAMES).encode())
    assert loaded(folder).classes == NAMES


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1", "test_batch"]
)
def test_refuses_the_pickled_version_without_opening_it(tmp_path, name):
    # These are folders, so that opening one would raise another error.
    (tmp_path / name).mkdir()
    message = "must be the binary version .* can run any code .*: get cifar-10-binary"
    refused(rf"{name} {message}\.tar\.gz \(https://", tmp_path)


def test_refuses_the_pickled_archive_by_its_name_and_by_its_content(tmp_path):
    folder, names = tmp_path / "python", ["batches.meta", "data_batch_1"]
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    message = "must be the binary version of CIFAR-10; it is the pickled version"
    for archive in ("cifar-10-python.tar.gz", "renamed.tar.gz"):
        refused(message, write_archive(tmp_path / archive, folder, inside="cifar-10-batches-py", names=names))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not opened")
    refused(message, tmp_path / "cifar-10-python.tar.gz")


def test_the_binary_version_is_read_if_both_versions_exist(folder):
    (folder.parent / "cifar-10-python.tar.gz").write_bytes(b"")
    (folder / "data_batch_1").write_bytes(b"")
    loaded(folder)
    loaded(folder.parent)


def test_refuses_an_archive_without_one_of_the_files(folder):
    names = [name for name in OFFICIAL_ORDER if name not in ("data_batch_2.bin", "test_batch.bin")]
    inside = r"cifar-10-batches-bin/"
    missing = rf"{inside}data_batch_2\.bin, {inside}test_batch\.bin; found no such member"
    refused(rf"made\.tar\.gz must hold {missing}", archive_of(folder, names=names))
    refused("found no such member", archive_of(folder, inside="../cifar-10-batches-bin"))


@pytest.mark.parametrize("name", ["/tmp/planted", "../planted", "cifar-10-batches-bin/../planted", "planted"])
def test_other_members_are_not_unpacked(archive, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    member = tarfile.TarInfo(name)
    member.size = 512
    unpacked = gzip.decompress(archive.read_bytes())
    write_gzip(archive, [member.tobuf(), b"x" * 512, unpacked])
    before = set(tmp_path.rglob("*"))
    assert len(loaded(archive).train.y) == 4 * FEW
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_refuses_a_member_that_is_not_a_regular_file(tmp_path, few, kind):
    made = tmp_path / "made.tar.gz"
    with tarfile.open(made, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = kind, "/etc/hostname"
        tar.addfile(member)
    refused(r"data_batch_1\.bin in .* must be a regular file; got", made)


def test_refuses_a_member_of_the_wrong_size_before_reading_it(tmp_path, few):
    # The header claims a terabyte. Nothing follows it, so that reading would raise another error.
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.size = 2**40
    made = write_gzip(tmp_path / "made.tar.gz", [member.tobuf(tarfile.GNU_FORMAT)])
    refused(rf"have {FEW} records of 3073 bytes; got {2**40} bytes", made)


def write_gzip(path, parts):
    """Write a gzip file that unpacks to these parts; return its path."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def long_header(kind, size):
    """The tar header before `size` bytes of a long name, or of other fields, of the next member."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [2**31, 10 * 2**20])
@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_long_header_is_refused_before_it_fills_the_memory(tmp_path, few, monkeypatch, kind, size):
    """tarfile alone would read the whole name or fields, whatever their size."""
    monkeypatch.setattr(cifar10, "_UNPACKED_BYTES", 5 * 2**20)
    zeros = itertools.repeat(bytes(2**20), 100)
    made = write_gzip(tmp_path / "made.tar.gz", [long_header(kind, size), *zeros])
    with at_most(20 * 2**20):
        refused(r"made\.tar\.gz must be the archive .*\(it unpacks to more than 5,242,880 bytes\)", made)


@pytest.mark.parametrize("where", ["before", "behind"])
def test_an_archive_that_unpacks_to_too_many_bytes_is_refused(archive, monkeypatch, where):
    unpacked = gzip.decompress(archive.read_bytes())
    monkeypatch.setattr(cifar10, "_UNPACKED_BYTES", len(unpacked))
    assert len(loaded(archive).train.y) == 4 * FEW
    other = tarfile.TarInfo("other")
    other.size = 10 * 2**20
    more = other.tobuf() + bytes(other.size)
    write_gzip(archive, [more, unpacked] if where == "before" else [unpacked, more])
    refused(r"\(it unpacks to more than [\d,]+ bytes\)", archive)


def test_the_limits_fit_the_official_archive():
    files = len(FILES) * 10_000 * 3073
    assert files + 2**20 < cifar10._UNPACKED_BYTES < 1.1 * files
    assert cifar10._ARCHIVE_BYTES == 170_052_171


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", b"PK\x03\x04", gzip.compress(b""), gzip.compress(b"x" * 5000)],
    # gzip stores the time, so that ids from the content would vary.
    ids=["empty", "text", "zip", "gzip of nothing", "gzip of something else"],
)
def test_refuses_a_file_that_is_not_an_archive(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    refused(r"cifar-10-binary\.tar\.gz must be the archive cifar-10-binary\.tar\.gz", path)


def test_refuses_an_archive_that_ends_within_a_file(tmp_path, few):
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.size = N_BYTES
    made = write_gzip(tmp_path / "made.tar.gz", [member.tobuf(), bytes(3073)])
    refused(r"made\.tar\.gz must be the archive .* it is truncated, damaged", made)


def test_damage_after_the_last_file_is_refused(archive):
    unpacked = gzip.decompress(archive.read_bytes()) + b"\0" * 3 * 2**20
    content = gzip.compress(unpacked)
    archive.write_bytes(content)
    assert len(loaded(archive).train.y) == 4 * FEW
    packer = zlib.compressobj(wbits=31)
    unfinished = packer.compress(unpacked) + packer.flush(zlib.Z_FULL_FLUSH)
    for damaged, reason in (
        (content[:-1] + bytes([content[-1] ^ 1]), "Incorrect length"),
        (unfinished + b"\xff", "Error -3 while decompressing data"),
        (unfinished, "Compressed file ended before"),
    ):
        archive.write_bytes(damaged)
        refused(rf"truncated, damaged or something else \({reason}", archive)


def test_damage_to_the_compressed_files_is_refused(folder):
    rng = np.random.default_rng(0)
    for name in FILES:  # bytes below 10 can be compressed, random pixels cannot
        (folder / name).write_bytes(rng.integers(0, 10, 3073 * FEW, dtype=np.uint8).tobytes())
    made = archive_of(folder)
    content = made.read_bytes()
    assert len(loaded(made).train.y) == 4 * FEW
    for place in range(100, len(content), 1000):
        made.write_bytes(content[:place] + b"\xff" * 50 + content[place + 50 :])
        refused(r"made\.tar\.gz must be the archive .* damaged or something else", made)


@given(st.data())
def test_an_archive_truncated_anywhere_is_refused(few_sources, tmp_path_factory, data):
    _, archive, _ = few_sources
    content = archive.read_bytes()
    damaged = archive.with_name("truncated.tar.gz")
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        refused(r"truncated\.tar\.gz must be the archive", damaged)


@given(st.data(), st.booleans())
@settings(max_examples=300)
def test_an_archive_damaged_anywhere_is_refused_or_harmless(few_sources, data, inside):
    """A byte changed in the file gives a ValueError or the right data.

    A byte changed before compression, with `inside`, may change the data, but gives no other error.
    """
    folder, archive, _ = few_sources
    content = bytearray(archive.read_bytes())
    if inside:
        content = bytearray(gzip.decompress(content))
    # Damage to the first header has the most varied effects.
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 600))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged = archive.with_name("damaged.tar.gz")
    damaged.write_bytes(gzip.compress(content, compresslevel=1) if inside else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        with contextlib.suppress(ValueError):
            found = loaded(damaged)
            assert inside or same(found, loaded(folder))


# The download


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends `content` as the archive; any other path is not found."""

    def __init__(self, content, *args):
        self.content = content
        super().__init__(*args)

    def do_GET(self):
        is_archive = self.path == "/cifar-10-binary.tar.gz"
        self.send_response(200 if is_archive else 404)
        self.send_header("Content-Length", str(len(self.content) if is_archive else 0))
        self.end_headers()
        if is_archive:
            self.wfile.write(self.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder where pooch stores downloads. No proxy is used for the local server."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "twolayer"


@contextlib.contextmanager
def served(handler):
    """Run a server; yield the address of the archive on it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror(archive, cache, monkeypatch):
    """The address of a server with the archive, whose hash replaces the official one."""
    content = archive.read_bytes()
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(content).hexdigest())
    with served(functools.partial(Handler, content)) as url:
        yield url


def unreachable():
    """An address where no server answers any more."""
    with served(Handler) as url:
        return url


class Bar:
    """A progress bar with the methods that pooch calls."""

    total = None

    def __init__(self):
        self.calls = []
        self.done = 0

    def update(self, n):
        self.done += n

    def reset(self):
        self.done = 0

    def close(self):
        self.calls.append(("closed", self.done))


def test_a_download_is_cached_and_then_needs_no_network(archive, mirror, cache, capfd):
    expected = loaded(archive)
    assert same(loaded(url=mirror), expected)
    assert [path.name for path in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    assert same(loaded(url=unreachable()), expected)
    assert capfd.readouterr() == ("", "")


def test_the_official_address_is_used_by_default(mirror, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", mirror)
    assert len(loaded().train.y) == 4 * FEW


def test_the_address_and_the_hash_are_the_official_ones():
    assert cifar10.URL == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert cifar10.SHA256 == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def test_the_progress_of_a_download_is_reported(archive, mirror):
    bar = Bar()
    loaded(url=mirror, progress=bar)
    assert bar.total == len(archive.read_bytes())
    assert bar.calls == [("closed", bar.total)]


NOT_KEPT = r"http://.* must send .* with the SHA-256 .*; got another file, which was not kept"


def test_a_wrong_file_from_a_mirror_is_refused_and_not_kept(mirror, cache, monkeypatch):
    monkeypatch.setattr(cifar10, "SHA256", "0" * 64)
    assert "0000" in refused(NOT_KEPT, url=mirror)
    assert list(cache.iterdir()) == []


def test_a_download_stops_at_the_size_of_the_archive(archive, mirror, cache, monkeypatch):
    n_bytes = len(archive.read_bytes())
    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", n_bytes)
    assert len(loaded(url=mirror).train.y) == 4 * FEW
    (cache / "cifar-10-binary.tar.gz").unlink()
    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", n_bytes - 1)
    refused(NOT_KEPT, url=mirror)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("sends_length", [True, False])
def test_an_endless_download_is_not_stored(cache, monkeypatch, sends_length):
    sent = []

    class Endless(Handler):
        def do_GET(self):
            self.send_response(200)
            if sends_length:
                self.send_header("Content-Length", str(2**40))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client closes the connection
                while len(sent) < 1000:
                    self.wfile.write(bytes(2**20))
                    sent.append(2**20)

    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", 2**20)
    with served(functools.partial(Endless, b"")) as url:
        refused(NOT_KEPT, url=url)
    assert len(sent) < 100
    assert list(cache.iterdir()) == []


def test_a_redirect_to_a_local_file_is_refused(archive, cache, monkeypatch):
    class Redirecting(Handler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", archive.as_uri())
            self.send_header("Content-Length", "0")
            self.end_headers()

    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    with served(functools.partial(Redirecting, b"")) as url:
        refused("http://127", url=url, error=(OSError, ValueError))
    assert not list(cache.glob("*"))


def test_a_damaged_file_in_the_cache_is_replaced(archive, mirror, cache):
    cache.mkdir(parents=True)
    (cache / "cifar-10-binary.tar.gz").write_bytes(archive.read_bytes()[:100])
    assert same(loaded(url=mirror), loaded(archive))


@pytest.mark.parametrize("why", ["no such page", "no server"])
def test_the_error_of_a_failed_download_names_the_alternatives(mirror, why):
    url = mirror + "nowhere" if why == "no such page" else unreachable()
    message = r"could not be downloaded from http://.*; without a network, give `folder`.*give `url`"
    assert url in refused(message, url=url, error=OSError)


@pytest.mark.parametrize("reachable", [True, False])
def test_pooch_logs_nothing_and_its_log_level_is_restored(mirror, cache, monkeypatch, reachable):
    import pooch

    class FailingHandler(logging.Handler):
        def emit(self, record):
            raise AssertionError(record.getMessage())

    logger = pooch.get_logger()
    monkeypatch.setattr(logger, "handlers", [FailingHandler()])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    with contextlib.nullcontext() if reachable else pytest.raises(OSError, match="could not be downloaded"):
        loaded(url=mirror if reachable else unreachable())
    assert logger.level == logging.DEBUG


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "`url` must begin with https:// or http://; got"),
        ("cifar-10-binary.tar.gz", "`url` must begin with https:// or http://; got"),
        ("ftp://example.org/x", "`url` must begin with https:// or http://; got"),
        ("https://a/\x1b[2J", r"`url` must hold printable .*; got 'https://a/\\x1b\[2J'"),
    ],
)
def test_refuses_an_invalid_address(cache, url, message):
    refused(message, url=url)


def test_refuses_both_a_folder_and_an_address(folder):
    message = "`url` must be left out where `folder` is given; got both"
    refused(message, folder, url="https://example.org/")


def test_the_error_names_the_extra_if_pooch_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'downloading CIFAR-10 needs pooch, .*"twolayer\[data\]"'):
        load_cifar10()


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@example.org/cifar-10-binary.tar.gz",
        "https://s3cret@example.org/cifar-10-binary.tar.gz",
        "https://me:s3cret/@example.org/",
        "https:/me:s3cret@example.org/",
        "ftp://me:s3cret@example.org/",
        "me:s3cret@example.org",
        " https://me:s3cret@example.org/",
    ],
)
@pytest.mark.parametrize("with_folder", [False, True])
def test_an_address_with_a_password_is_refused_and_not_shown(cache, monkeypatch, folder, url, with_folder):
    monkeypatch.setattr("pooch.retrieve", None)
    message = refused("`url` must contain no @: .* in ~/.netrc", folder if with_folder else None, url=url)
    assert "s3cret" not in message


def test_a_password_is_read_from_netrc(mirror, tmp_path, monkeypatch):
    """The error above recommends it; pooch downloads with `requests`, which reads the file."""
    found = []
    get = Handler.do_GET

    def do_GET(self):
        found.append(self.headers["Authorization"])
        get(self)

    monkeypatch.setattr(Handler, "do_GET", do_GET)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    loaded(url=mirror)
    assert found == ["Basic " + base64.b64encode(b"me:s3cret").decode()]
