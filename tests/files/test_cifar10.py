"""CIFAR-10 from the official layout, in files that are made here: a true format, and random pixels."""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import hashlib
import http.server
import itertools
import logging
import shutil
import sys
import tarfile
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cifar10_files import FEW, FILES, NAMES, write_folder

from twolayer.datasets import cifar10, load_cifar10

OFFICIAL_ORDER = [  # of the members in the archive
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


def same(first, second):
    splits = zip(
        (first.train, first.validation, first.test),
        (second.train, second.validation, second.test),
        strict=True,
    )
    return all(np.array_equal(a.X, b.X) and np.array_equal(a.y, b.y) for a, b in splits)


# What is read


def test_every_pixel_and_label_is_where_the_format_says(tmp_path, few):
    folder = tmp_path / "here"
    written = write_folder(folder, FEW)
    data = load_cifar10(folder, n_train=3 * FEW, n_validation=2 * FEW, n_test=FEW)
    records = np.concatenate([written[name] for name in FILES])
    X = np.concatenate([data.train.X, data.validation.X, data.test.X])
    y = np.concatenate([data.train.y, data.validation.y, data.test.y])
    assert y.tolist() == records[:, 0].tolist()
    for sample, row, column, channel in ((0, 0, 0, 0), (5, 31, 0, 1), (11, 7, 30, 2), (23, 31, 31, 2)):
        there = 1 + 1024 * channel + 32 * row + column
        assert X[sample, row, column, channel] == records[sample, there]
    assert X.tobytes() == records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).tobytes()


def test_shapes_dtypes_and_names(folder):
    data = load_cifar10(folder, **EVERYTHING)
    assert data.name == "cifar10"
    assert data.classes == NAMES
    assert data.image_shape == (32, 32, 3)
    assert data.n_features == 3072
    for split, n in ((data.train, 4 * FEW), (data.validation, FEW), (data.test, FEW)):
        assert split.X.shape == (n, 32, 32, 3)
        assert split.X.dtype == np.uint8
        assert split.y.shape == (n,)
        assert split.y.dtype == np.int64


def test_full_size_files_and_the_split_of_the_coursework(tmp_path):
    written = write_folder(tmp_path / "full", 10_000, files=(*FILES[:2], "test_batch.bin"))
    data = load_cifar10(tmp_path / "full", n_train=19_000, n_validation=1_000, n_test=1_000)
    labels = np.concatenate([written[name][:, 0] for name in FILES[:2]])
    assert np.array_equal(data.train.y, labels[:19_000])
    assert np.array_equal(data.validation.y, labels[19_000:])
    assert np.array_equal(data.test.y, written["test_batch.bin"][:1_000, 0])
    assert data.validation.X[999, 31, 31, 2] == written["data_batch_2.bin"][9_999, 3072]


def test_by_default_the_last_tenth_of_the_training_images_validates(tmp_path):
    for name in FILES:
        with (tmp_path / name).open("wb") as file:
            file.truncate(30_730_000)  # all zeros
            if name == "data_batch_5.bin":
                file.seek(4_999 * 3073)
                file.write(b"\x03")
                file.seek(5_000 * 3073)
                file.write(b"\x07")
    data = load_cifar10(tmp_path)
    assert len(data.train.y) == 45_000
    assert len(data.validation.y) == 5_000
    assert len(data.test.y) == 10_000
    assert data.train.y[-1] == 3
    assert data.validation.y[0] == 7


@pytest.mark.parametrize("given_as", ["folder", "parent", "archive", "folder with the archive", "str"])
def test_each_way_to_say_where_it_is(folder, given_as):
    expected = load_cifar10(folder, **EVERYTHING)
    source = {"folder": folder, "parent": folder.parent, "str": str(folder)}.get(given_as)
    if source is None:
        source = write_archive(folder.parent / "cifar-10-binary.tar.gz", folder)
        shutil.rmtree(folder)
        if given_as == "folder with the archive":
            source = source.parent
    found = load_cifar10(source, **EVERYTHING)
    assert same(found, expected)


def test_an_archive_of_any_name_and_order_will_do(folder):
    made = write_archive(folder.parent / "mirror.bin", folder, names=sorted(OFFICIAL_ORDER, reverse=True))
    assert same(load_cifar10(made, **EVERYTHING), load_cifar10(folder, **EVERYTHING))


def test_nothing_is_unpacked_to_disk(archive):
    load_cifar10(archive, **EVERYTHING)
    assert list(archive.parent.iterdir()) == [archive]


def test_only_the_files_that_are_needed_have_to_be_there(folder):
    for name in ("data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"):
        (folder / name).unlink()
    data = load_cifar10(folder, n_train=2 * FEW - 1, n_validation=1, n_test=0)
    assert len(data.train.y) == 2 * FEW - 1
    assert data.test is None


def test_the_file_of_names_may_be_missing(folder):
    (folder / "batches.meta.txt").unlink()
    assert load_cifar10(folder, **EVERYTHING).classes == NAMES


def test_without_validation_all_images_can_train(folder):
    data = load_cifar10(folder, n_train=5 * FEW, n_validation=0, n_test=1)
    assert len(data.train.y) == 5 * FEW
    assert data.validation is None
    assert len(data.test.y) == 1


@given(st.integers(1, 5 * FEW), st.integers(0, 5 * FEW), st.integers(0, FEW), st.booleans())
def test_any_split_is_that_part_of_the_whole(few_sources, n_train, n_validation, n_test, from_archive):
    folder, archive, whole = few_sources
    n_validation = min(n_validation, 5 * FEW - n_train)
    source = archive if from_archive else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        data = load_cifar10(source, n_train=n_train, n_validation=n_validation, n_test=n_test)
    stop = n_train + n_validation
    assert np.array_equal(data.train.X, whole.train.X[:n_train])
    assert np.array_equal(data.train.y, whole.train.y[:n_train])
    for split, X, y in (
        (data.validation, whole.train.X[n_train:stop], whole.train.y[n_train:stop]),
        (data.test, whole.test.X[:n_test], whole.test.y[:n_test]),
    ):
        if len(y) == 0:
            assert split is None
        else:
            assert np.array_equal(split.X, X)
            assert np.array_equal(split.y, y)


@pytest.fixture(scope="module")
def few_sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10") / "cifar-10-batches-bin"
    write_folder(folder, FEW)
    archive = write_archive(folder.parent / "cifar-10-binary.tar.gz", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        whole = load_cifar10(folder, n_train=5 * FEW, n_validation=0, n_test=FEW)
    return folder, archive, whole


# What is refused


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"n_train": 0}, "`n_train` must be at least 1; got 0"),
        ({"n_validation": -1}, "`n_validation` must be at least 0; got -1"),
        ({"n_test": -1}, "`n_test` must be at least 0; got -1"),
        ({"n_train": 45_001}, "at most the 50000 training images that there are; got 45001 \\+ 5000"),
        ({"n_test": 10_001}, "`n_test` must be at most the 10000 test images that there are; got 10001"),
    ],
)
def test_refuses_more_images_than_there_are(tmp_path, counts, message):
    with pytest.raises(ValueError, match=message):
        load_cifar10(tmp_path, **counts)


def test_refuses_a_number_of_images_that_is_none(tmp_path):
    with pytest.raises(TypeError, match="`n_test` must be an integer; got float"):
        load_cifar10(tmp_path, n_test=10.0)


def test_refuses_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be a folder or an archive that exists; got .*nowhere"):
        load_cifar10(tmp_path / "nowhere")


def test_refuses_a_folder_without_the_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"must hold data_batch_1\.bin .*; found none of them in"
    ) as caught:
        load_cifar10(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_refuses_a_folder_without_one_of_the_files(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"cifar-10-batches-bin must hold {name}; found no such file"):
        load_cifar10(folder, **EVERYTHING)


@pytest.mark.parametrize("more", [-1, 1])
def test_refuses_a_file_of_the_wrong_size(folder, more):
    path = folder / "data_batch_4.bin"
    path.write_bytes((path.read_bytes() + b"x")[: 3073 * FEW + more])
    with pytest.raises(
        ValueError, match=rf"data_batch_4\.bin must have {3073 * FEW} bytes, .* got {3073 * FEW + more}"
    ):
        load_cifar10(folder, **EVERYTHING)


def test_refuses_a_label_that_is_none_wherever_it_is(folder):
    path = folder / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[3 * 3073] = 10
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=r"test_batch\.bin must hold class labels in \[0, 10\); got a label of 10 in record 3",
    ):
        load_cifar10(folder, **EVERYTHING | {"n_test": 1})


def test_refuses_a_wrong_label_in_an_archive(folder):
    content = bytearray((folder / "data_batch_2.bin").read_bytes())
    content[0] = 255
    (folder / "data_batch_2.bin").write_bytes(content)
    made = write_archive(folder.parent / "made.tar.gz", folder)
    with pytest.raises(ValueError, match=r"data_batch_2\.bin in .*made\.tar\.gz must hold class labels"):
        load_cifar10(made, **EVERYTHING)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_takes_names_of_classes_as_programs_on_windows_write_them(folder, mark):
    (folder / "batches.meta.txt").write_bytes(mark + "\r\n".join(NAMES).encode())
    assert load_cifar10(folder, **EVERYTHING).classes == NAMES


@pytest.mark.parametrize("text", ["beaver\ndolphin\n", "", "\xff" * 900])
def test_refuses_other_classes(folder, text):
    (folder / "batches.meta.txt").write_text(text, encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"batches\.meta\.txt must name the classes of CIFAR-10: airplane, .* truck"
    ):
        load_cifar10(folder, **EVERYTHING)
    made = write_archive(folder.parent / "made.tar.gz", folder)
    with pytest.raises(ValueError, match=r"batches\.meta\.txt in .*made\.tar\.gz must name the classes"):
        load_cifar10(made, **EVERYTHING)


def test_refuses_a_file_of_names_that_is_too_long(folder):
    (folder / "batches.meta.txt").write_text("x" * 1001)
    with pytest.raises(ValueError, match=r"batches\.meta\.txt must have at most 1000 bytes; got 1001"):
        load_cifar10(folder, **EVERYTHING)


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1", "test_batch"]
)
def test_refuses_the_pickled_version_unopened(tmp_path, name):
    # Folders under these names: opening one would be another error.
    (tmp_path / name).mkdir()
    message = (
        rf"{name} must be the binary version .* can run any code .*: get cifar-10-binary\.tar\.gz \(https://"
    )
    with pytest.raises(ValueError, match=message):
        load_cifar10(tmp_path)


def test_refuses_the_pickled_archive_by_its_name_and_by_its_content(tmp_path):
    folder = tmp_path / "python"
    folder.mkdir()
    for name in ("batches.meta", "data_batch_1"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for archive in ("cifar-10-python.tar.gz", "renamed.tar.gz"):
        made = write_archive(
            tmp_path / archive, folder, inside="cifar-10-batches-py", names=["batches.meta", "data_batch_1"]
        )
        with pytest.raises(ValueError, match="must be the binary version of CIFAR-10; it is the pickled one"):
            load_cifar10(made)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not opened")
    with pytest.raises(ValueError, match="it is the pickled one"):
        load_cifar10(tmp_path / "cifar-10-python.tar.gz")


def test_the_binary_version_is_read_where_both_are(folder):
    (folder.parent / "cifar-10-python.tar.gz").write_bytes(b"")
    (folder / "data_batch_1").write_bytes(b"")
    load_cifar10(folder, **EVERYTHING)
    load_cifar10(folder.parent, **EVERYTHING)


def test_refuses_an_archive_without_one_of_the_files(folder):
    names = [name for name in OFFICIAL_ORDER if name not in ("data_batch_2.bin", "test_batch.bin")]
    made = write_archive(folder.parent / "made.tar.gz", folder, names=names)
    missing = (
        r"cifar-10-batches-bin/data_batch_2\.bin, cifar-10-batches-bin/test_batch\.bin; found no such member"
    )
    with pytest.raises(ValueError, match=rf"made\.tar\.gz must hold {missing}"):
        load_cifar10(made, **EVERYTHING)


def test_refuses_members_of_other_folders(folder):
    made = write_archive(folder.parent / "made.tar.gz", folder, inside="../cifar-10-batches-bin")
    with pytest.raises(ValueError, match="found no such member"):
        load_cifar10(made, **EVERYTHING)


@pytest.mark.parametrize("name", ["/tmp/planted", "../planted", "cifar-10-batches-bin/../planted", "planted"])
def test_other_members_are_unpacked_nowhere(archive, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    member = tarfile.TarInfo(name)
    member.size = 512
    unpacked = gzip.decompress(archive.read_bytes())
    unpacked_to(archive, [member.tobuf(), b"x" * 512, unpacked])
    before = set(tmp_path.rglob("*"))
    assert len(load_cifar10(archive, **EVERYTHING).train.y) == 4 * FEW
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_refuses_a_member_that_is_no_regular_file(tmp_path, few, kind):
    made = tmp_path / "made.tar.gz"
    with tarfile.open(made, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = kind, "/etc/hostname"
        tar.addfile(member)
    with pytest.raises(ValueError, match=r"data_batch_1\.bin in .* must be a regular file; got"):
        load_cifar10(made, **EVERYTHING)


def test_refuses_a_member_of_the_wrong_size_before_reading_it(tmp_path, few):
    # The header claims a terabyte; reading it would fail in another way, as nothing follows.
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.size = 2**40
    made = tmp_path / "made.tar.gz"
    made.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(ValueError, match=rf"must have {3073 * FEW} bytes, .* got {2**40} bytes"):
        load_cifar10(made, **EVERYTHING)


def unpacked_to(path, parts):
    """An archive of a few kB that unpacks to these parts."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def header_of_header(kind, size):
    """What stands before a member whose name, or whose other fields, have as many bytes."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [2**31, 10 * 2**20])
@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_headers_of_gigabytes_are_refused_early(tmp_path, few, monkeypatch, kind, size):
    """tarfile reads such a header whole, whatever its length."""
    monkeypatch.setattr(cifar10, "_UNPACKED_BYTES", 5 * 2**20)
    zeros = itertools.repeat(bytes(2**20), 100)
    made = unpacked_to(tmp_path / "made.tar.gz", [header_of_header(kind, size), *zeros])
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError,
            match=r"made\.tar\.gz must be the archive .*\(it unpacks to more than 5,242,880 bytes\)",
        ):
            load_cifar10(made, **EVERYTHING)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20


@pytest.mark.parametrize("where", ["before", "behind"])
def test_what_unpacks_to_more_than_the_archive_is_refused(archive, monkeypatch, where):
    unpacked = gzip.decompress(archive.read_bytes())
    monkeypatch.setattr(cifar10, "_UNPACKED_BYTES", len(unpacked))
    assert len(load_cifar10(archive, **EVERYTHING).train.y) == 4 * FEW
    other = tarfile.TarInfo("other")
    other.size = 10 * 2**20
    more = other.tobuf() + bytes(other.size)
    unpacked_to(archive, [more, unpacked] if where == "before" else [unpacked, more])
    with pytest.raises(ValueError, match=r"\(it unpacks to more than [\d,]+ bytes\)"):
        load_cifar10(archive, **EVERYTHING)


def test_the_official_archive_is_within_its_bounds():
    files = len(FILES) * 10_000 * 3073
    assert files + 2**20 < cifar10._UNPACKED_BYTES < 1.1 * files
    assert cifar10._ARCHIVE_BYTES == 170_052_171


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", b"PK\x03\x04", gzip.compress(b""), gzip.compress(b"x" * 5000)],
    ids=["empty", "text", "zip", "gzip of nothing", "gzip of something else"],  # gzip tells the time
)
def test_refuses_a_file_that_is_no_archive(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"cifar-10-binary\.tar\.gz must be the archive cifar-10-binary\.tar\.gz"
    ):
        load_cifar10(path)


def test_refuses_an_archive_that_ends_within_a_file(tmp_path, few):
    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.size = 3073 * FEW
    made = tmp_path / "made.tar.gz"
    made.write_bytes(gzip.compress(member.tobuf() + b"\0" * 3073))
    with pytest.raises(ValueError, match=r"made\.tar\.gz must be the archive .* it is truncated, damaged"):
        load_cifar10(made, **EVERYTHING)


def test_damage_behind_the_last_file_is_noticed(archive):
    unpacked = gzip.decompress(archive.read_bytes()) + b"\0" * 3 * 2**20
    content = gzip.compress(unpacked)
    archive.write_bytes(content)
    assert len(load_cifar10(archive, **EVERYTHING).train.y) == 4 * FEW
    packer = zlib.compressobj(wbits=31)
    unfinished = packer.compress(unpacked) + packer.flush(zlib.Z_FULL_FLUSH)
    for damaged, reason in (
        (content[:-1] + bytes([content[-1] ^ 1]), "Incorrect length"),
        (unfinished + b"\xff", "Error -3 while decompressing data"),
        (unfinished, "Compressed file ended before"),
    ):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"truncated, damaged or something else \({reason}"):
            load_cifar10(archive, **EVERYTHING)


def test_damage_that_cannot_be_unpacked_is_noticed(folder):
    rng = np.random.default_rng(0)
    for name in FILES:  # such that they can be compressed, as random pixels cannot
        (folder / name).write_bytes(rng.integers(0, 10, 3073 * FEW, dtype=np.uint8).tobytes())
    made = write_archive(folder.parent / "made.tar.gz", folder)
    content = made.read_bytes()
    assert len(load_cifar10(made, **EVERYTHING).train.y) == 4 * FEW
    for place in range(100, len(content), 1000):
        made.write_bytes(content[:place] + b"\xff" * 50 + content[place + 50 :])
        with pytest.raises(
            ValueError, match=r"made\.tar\.gz must be the archive .* damaged or something else"
        ):
            load_cifar10(made, **EVERYTHING)


@given(st.data())
def test_an_archive_truncated_anywhere_is_refused(few_sources, tmp_path_factory, data):
    _, archive, _ = few_sources
    content = archive.read_bytes()
    damaged = archive.with_name("truncated.tar.gz")
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        with pytest.raises(ValueError, match=r"truncated\.tar\.gz must be the archive"):
            load_cifar10(damaged, **EVERYTHING)


@given(st.data(), st.booleans())
@settings(max_examples=300)
def test_an_archive_damaged_anywhere_is_refused_or_harmless(few_sources, data, inside):
    """A byte changed in the file gives an error or right data; one changed before packing, no stray error."""
    folder, archive, _ = few_sources
    content = bytearray(archive.read_bytes())
    if inside:
        content = bytearray(gzip.decompress(content))
    # A header is where damage has most ways to go.
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 600))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged = archive.with_name("damaged.tar.gz")
    damaged.write_bytes(gzip.compress(content, compresslevel=1) if inside else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "_RECORDS", FEW)
        with contextlib.suppress(ValueError):
            found = load_cifar10(damaged, **EVERYTHING)
            assert inside or same(found, load_cifar10(folder, **EVERYTHING))


# The download


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, content, *args):
        self.content = content
        super().__init__(*args)

    def do_GET(self):
        there = self.path == "/cifar-10-binary.tar.gz"
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(self.content) if there else 0))
        self.end_headers()
        if there:
            self.wfile.write(self.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "twolayer"


@pytest.fixture
def mirror(archive, cache, monkeypatch):
    """The address of a server that has the archive; its hash is taken for the official one."""
    content = archive.read_bytes()
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(content).hexdigest())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, content)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"
        server.shutdown()
        thread.join()


def unreachable():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        return f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"


class Bar:
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


def test_downloads_to_the_cache_and_next_time_needs_no_network(archive, mirror, cache, capfd):
    expected = load_cifar10(archive, **EVERYTHING)
    assert same(load_cifar10(url=mirror, **EVERYTHING), expected)
    assert [path.name for path in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    assert same(load_cifar10(url=unreachable(), **EVERYTHING), expected)
    assert capfd.readouterr() == ("", "")


def test_the_home_of_the_data_is_asked_by_default(mirror, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", mirror)
    assert len(load_cifar10(**EVERYTHING).train.y) == 4 * FEW


def test_the_address_and_the_hash_are_the_official_ones():
    assert cifar10.URL == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert cifar10.SHA256 == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def test_progress_is_told(archive, mirror):
    bar = Bar()
    load_cifar10(url=mirror, progress=bar, **EVERYTHING)
    assert bar.total == len(archive.read_bytes())
    assert bar.calls == [("closed", bar.total)]


def test_a_wrong_file_from_a_mirror_is_refused_and_not_kept(mirror, cache, monkeypatch):
    monkeypatch.setattr(cifar10, "SHA256", "0" * 64)
    with pytest.raises(
        ValueError, match=r"what http://.* sends must be .*, with the SHA-256 0000.*; got another file"
    ):
        load_cifar10(url=mirror, **EVERYTHING)
    assert list(cache.iterdir()) == []


def test_a_download_ends_where_the_archive_would(archive, mirror, cache, monkeypatch):
    n_bytes = len(archive.read_bytes())
    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", n_bytes)
    assert len(load_cifar10(url=mirror, **EVERYTHING).train.y) == 4 * FEW
    (cache / "cifar-10-binary.tar.gz").unlink()
    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", n_bytes - 1)
    with pytest.raises(
        ValueError, match=r"what http://.* sends must be .*; got another file, which was not kept"
    ):
        load_cifar10(url=mirror, **EVERYTHING)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_download_without_end_is_not_stored(cache, monkeypatch, tells_length):
    sent = []

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if tells_length:
                self.send_header("Content-Length", str(2**40))
            self.end_headers()
            with contextlib.suppress(OSError):  # the other side hangs up
                while len(sent) < 1000:
                    self.wfile.write(bytes(2**20))
                    sent.append(2**20)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(cifar10, "_ARCHIVE_BYTES", 2**20)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(ValueError, match="got another file, which was not kept"):
                load_cifar10(url=f"http://127.0.0.1:{server.server_port}/x", **EVERYTHING)
        finally:
            server.shutdown()
            thread.join()
    assert len(sent) < 100
    assert list(cache.iterdir()) == []


def test_an_address_that_leads_to_a_file_of_this_machine_is_refused(archive, cache, monkeypatch):
    class Leading(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", archive.as_uri())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leading) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises((OSError, ValueError)):
                load_cifar10(url=f"http://127.0.0.1:{server.server_port}/x", **EVERYTHING)
        finally:
            server.shutdown()
            thread.join()
    assert not list(cache.glob("*"))


def test_a_damaged_file_in_the_cache_is_replaced(archive, mirror, cache):
    cache.mkdir(parents=True)
    (cache / "cifar-10-binary.tar.gz").write_bytes(archive.read_bytes()[:100])
    assert same(load_cifar10(url=mirror, **EVERYTHING), load_cifar10(archive, **EVERYTHING))


@pytest.mark.parametrize("why", ["no such page", "no server"])
def test_without_a_network_the_error_says_what_else_to_give(mirror, why):
    url = mirror + "nowhere" if why == "no such page" else unreachable()
    message = r"could not be downloaded from http://.*; where there is no network, give `folder`.*give `url`"
    with pytest.raises(OSError, match=message) as caught:
        load_cifar10(url=url, **EVERYTHING)
    assert url in str(caught.value)


@pytest.mark.parametrize("there", [True, False])
def test_pooch_says_nothing_and_may_speak_again_afterwards(mirror, cache, monkeypatch, there):
    import pooch

    class Ear(logging.Handler):
        def emit(self, record):
            raise AssertionError(record.getMessage())

    logger = pooch.get_logger()
    monkeypatch.setattr(logger, "handlers", [Ear()])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    with contextlib.nullcontext() if there else pytest.raises(OSError, match="could not be downloaded"):
        load_cifar10(url=mirror if there else unreachable(), **EVERYTHING)
    assert logger.level == logging.DEBUG


def test_refuses_both_a_folder_and_an_address(folder):
    with pytest.raises(ValueError, match="`url` must be left out where `folder` is given; got both"):
        load_cifar10(folder, url="https://example.org/", **EVERYTHING)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "cifar-10-binary.tar.gz", "ftp://example.org/x"])
def test_refuses_an_address_that_is_not_of_the_web(url):
    with pytest.raises(ValueError, match="`url` must begin with https:// or http://; got"):
        load_cifar10(url=url)


def test_without_pooch_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"downloading CIFAR-10 needs pooch, .*'\.\[data\]'"):
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
    with pytest.raises(ValueError, match="`url` must contain no @: a password belongs in") as caught:
        load_cifar10(folder if with_folder else None, url=url, **EVERYTHING)
    assert "s3cret" not in str(caught.value)
    assert "~/.netrc" in str(caught.value)


def test_an_address_with_control_characters_is_refused(cache):
    with pytest.raises(ValueError, match=r"`url` must hold printable .*; got 'https://a/\\x1b\[2J'"):
        load_cifar10(url="https://a/\x1b[2J", **EVERYTHING)


def test_a_password_is_read_from_netrc(mirror, tmp_path, monkeypatch):
    """As the error says, and as `requests` does for pooch."""
    found = []
    get = Handler.do_GET

    def do_GET(self):
        found.append(self.headers["Authorization"])
        get(self)

    monkeypatch.setattr(Handler, "do_GET", do_GET)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    load_cifar10(url=mirror, **EVERYTHING)
    assert found == ["Basic " + base64.b64encode(b"me:s3cret").decode()]
