"""IDX files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from twolayer.datasets import load_idx

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGES = np.random.default_rng(0).integers(256, size=(40, 5, 4), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 4


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


WHOLE = {
    TRAIN[0]: idx(IMAGES[:30]),
    TRAIN[1]: idx(LABELS[:30]),
    TEST[0]: idx(IMAGES[30:]),
    TEST[1]: idx(LABELS[30:]),
}


def write(folder, files, rename=str):
    """Write these files, by name, into a folder; return the folder."""
    for name, content in files.items():
        (folder / rename(name)).write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_the_four_files_of_a_data_set_are_loaded(packed, dotted, tmp_path):
    files = {name: gzip.compress(content) if packed else content for name, content in WHOLE.items()}

    def rename(name):
        return (name.replace("-idx", ".idx") if dotted else name) + ".gz" * packed

    data = load_idx(write(tmp_path, files, rename), validation=6)
    assert data.name == tmp_path.name
    assert data.classes == ("0", "1", "2", "3")
    assert data.image_shape == (5, 4)
    np.testing.assert_array_equal(data.test.X, IMAGES[30:])
    np.testing.assert_array_equal(data.test.y, LABELS[30:])
    assert len(data.validation.y) == 6
    assert data.train.X.dtype == np.uint8
    assert data.train.y.dtype == np.int64
    for name in ("train", "validation"):
        np.testing.assert_array_equal(getattr(data, name).X, IMAGES[data.rows[name]])
        np.testing.assert_array_equal(getattr(data, name).y, LABELS[data.rows[name]])
    assert load_idx(tmp_path, validation=0).validation is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("validation", [0, 6])
def test_arrays_own_their_memory_and_can_be_written(validation, packed, tmp_path):
    files = {f"{name}.gz": gzip.compress(content) for name, content in WHOLE.items()}
    data = load_idx(write(tmp_path, files if packed else WHOLE), validation=validation)
    for split in filter(None, (data.train, data.validation, data.test)):
        for array in split:
            assert array.flags.owndata
            assert array.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {TRAIN[0]: b""},
            r"train-images-idx3-ubyte must be an IDX file of unsigned bytes with 3 axes; got another",
        ),
        ({TRAIN[0]: idx(LABELS)}, r"must be an IDX file of unsigned bytes with 3 axes"),
        ({TRAIN[1]: b"\0\0\x0d" + WHOLE[TRAIN[1]][3:]}, r"must be an IDX file of unsigned bytes with 1 axes"),
        ({TRAIN[0]: WHOLE[TRAIN[0]][:-1]}, r"must hold 600 bytes of shape \(30, 5, 4\); got 599"),
        ({TRAIN[0]: WHOLE[TRAIN[0]] + b"\0"}, r"must hold 600 bytes of shape \(30, 5, 4\); got 601"),
        ({TRAIN[1]: idx(LABELS)}, r"must hold a label for each image; got 30 images and 40 labels"),
        ({TEST[0]: idx(IMAGES[30:, 1:])}, r"must have one size; got \(5, 4\) to train and \(4, 4\) to test"),
        (
            {TRAIN[0]: idx(IMAGES[:0]), TRAIN[1]: idx(LABELS[:0])},
            r"must hold at least one image; got shape \(0",
        ),
    ],
)
def test_inconsistent_files_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_idx(write(tmp_path, WHOLE | changes))


@pytest.mark.parametrize("lengths", [(2**32 - 1,) * 3, (2**31, 2**20, 2**10)])
def test_a_header_that_claims_too_much_memory_is_refused(lengths, tmp_path):
    header = b"\0\0\x08\x03" + np.asarray(lengths, ">u4").tobytes()
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte must fit into memory; .* shape \("):
        load_idx(write(tmp_path, WHOLE | {TRAIN[0]: header + b"\0\0\0"}))


def test_damaged_gzip_files_are_refused(tmp_path):
    files = {name: gzip.compress(content) for name, content in WHOLE.items()}
    for damaged in (files[TRAIN[0]][:-9], b"\x1f\x8b" + bytes(60), files[TRAIN[0]][:60] + bytes(500)):
        write(tmp_path, files | {TRAIN[0]: damaged}, "{}.gz".format)
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz must be a"):
            load_idx(tmp_path)


@pytest.mark.parametrize("name", WHOLE)
def test_each_missing_file_is_named(name, tmp_path):
    write(tmp_path, {other: content for other, content in WHOLE.items() if other != name})
    with pytest.raises(FileNotFoundError, match=rf"must hold {name}, or {name}.gz; found no such file"):
        load_idx(tmp_path)
