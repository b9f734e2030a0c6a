"""Folders of images, a subfolder for each class."""

from __future__ import annotations

import shutil
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from twolayer.datasets import load_images

SIZE = (6, 8)  # height and width
RNG = np.random.default_rng(0)


def pixels(shape=(*SIZE, 3)):
    return RNG.integers(256, size=shape, dtype=np.uint8)


def save(path, array, **more):
    """Save an image, with its folder if that is missing; return its array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **more)
    return array


@pytest.fixture
def folder(tmp_path):
    """A folder with five images of each of two classes, all different."""
    for name in ("cat", "dog"):
        for i in range(5):
            save(tmp_path / "pets" / name / f"{i}.png", pixels())
    return tmp_path / "pets"


def read(path):
    return np.asarray(Image.open(path))


def images_of(split):
    """The set of a split's images, each as bytes."""
    return {image.tobytes() for image in split.X}


def test_each_subfolder_is_a_class(folder):
    data = load_images(folder, validation=2, test=2)
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (*SIZE, 3)
    assert data.train.X.dtype == np.uint8
    assert [len(split.y) for split in (data.train, data.validation, data.test)] == [6, 2, 2]
    for k, name in enumerate(data.classes):
        wanted = {read(path).tobytes() for path in (folder / name).iterdir()}
        for split in (data.train, data.validation, data.test):
            assert images_of(split._replace(X=split.X[split.y == k])) <= wanted
    image_sets = [images_of(split) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, image_sets)) == len(set.union(*image_sets)) == 10


def test_images_are_in_the_order_of_their_names(folder):
    data = load_images(folder, validation=0, test=0)
    paths = [folder / name / f"{i}.png" for name in ("cat", "dog") for i in range(5)]
    np.testing.assert_array_equal(data.train.X, [read(path) for path in paths])
    np.testing.assert_array_equal(data.train.y, [0] * 5 + [1] * 5)


def test_nested_folders_are_read_and_hidden_files_are_not(folder):
    save(folder / "cat" / "more" / "a.JPG", pixels(), format="jpeg")
    (folder / "cat" / "._0.png").write_bytes(b"of the system")
    (folder / "cat" / "notes.txt").write_text("not an image")
    (folder / ".cache").mkdir()
    save(folder / "cat" / ".thumbnails" / "0.png", pixels())
    data = load_images(folder, validation=0, test=0)
    assert np.bincount(data.train.y).tolist() == [6, 5]


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_splits_in_the_folder_are_used(name, folder, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole / "train")
    saved = [save(whole / name / "dog" / "a.png", pixels()), save(whole / "test" / "cat" / "a.png", pixels())]
    data = load_images(whole)
    np.testing.assert_array_equal(data.validation.X[0], saved[0])
    np.testing.assert_array_equal(data.test.X[0], saved[1])
    assert (data.validation.y.tolist(), data.test.y.tolist(), len(data.train.y)) == ([1], [0], 10)
    shutil.rmtree(whole / "test")
    data = load_images(whole, test=2)
    assert (len(data.validation.y), len(data.test.y), len(data.train.y)) == (1, 2, 8)


def test_names_of_splits_may_begin_with_capitals(folder):
    make_splits(folder, "Train", "Test")
    assert load_images(folder).classes == ("cat", "dog")


def test_a_class_may_be_called_test(folder):
    (folder / "cat").rename(folder / "test")
    assert load_images(folder, validation=0, test=0).classes == ("dog", "test")


def test_grey_images_have_no_colour_axis(folder):
    for path in folder.rglob("*.png"):
        save(path, pixels(SIZE))
    data = load_images(folder, validation=0, test=0)
    assert data.image_shape == SIZE
    np.testing.assert_array_equal(data.train.X[0], read(folder / "cat" / "0.png"))
    save(folder / "dog" / "9.png", pixels())
    assert load_images(folder, validation=0, test=0).image_shape == (*SIZE, 3)
    assert load_images(folder, validation=0, test=0, grey=True).image_shape == SIZE


@pytest.mark.parametrize(
    ("colours", "shape"), [([0, 0, 0, 90, 90, 90], SIZE), ([0, 0, 0, 90, 90, 91], (*SIZE, 3))]
)
def test_images_with_a_palette_of_greys_are_grey(colours, shape, folder):
    for path in folder.rglob("*.png"):
        image = Image.new("P", SIZE[::-1], 1)
        image.putpalette(colours)
        image.save(path)
    data = load_images(folder, validation=0, test=0)
    assert data.image_shape == shape
    assert data.train.X[0].reshape(-1)[0] == 90


def test_images_of_other_sizes_are_cropped_and_scaled(folder):
    flat = np.zeros((12, 40, 3), np.uint8)
    flat[:, 8:32] = 200
    save(folder / "cat" / "0.png", flat)
    data = load_images(folder, resize=SIZE, validation=0, test=0)
    np.testing.assert_array_equal(data.train.X[0], np.full((*SIZE, 3), 200))
    assert load_images(folder, resize=4, validation=0, test=0).image_shape == (4, 4, 3)


def orientation(number):
    """EXIF data with this orientation."""
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def put_last(path, kind):
    """Move a chunk of a PNG file after the pixels, where some programs write it."""
    content, start, chunks = path.read_bytes(), 8, []
    while start < len(content):
        end = start + 12 + struct.unpack(">I", content[start : start + 4])[0]
        chunks.append(content[start:end])
        start = end
    chunks.sort(key=lambda chunk: (chunk[4:8] == kind) + 2 * (chunk[4:8] == b"IEND"))
    path.write_bytes(content[:8] + b"".join(chunks))


@pytest.mark.parametrize("suffix", ["png", "late.png", "tif", "webp"])
def test_images_are_turned_by_their_exif_orientation(suffix, folder):
    upright = pixels()
    path = folder / "cat" / f"0.{suffix}"
    (folder / "cat" / "0.png").unlink()
    # Orientation 6: the image must be turned a quarter to the right.
    Image.fromarray(np.rot90(upright)).save(path, exif=orientation(6), lossless=True)
    if suffix == "late.png":
        put_last(path, b"eXIf")
        with Image.open(path) as image:
            assert "exif" not in image.info
    np.testing.assert_array_equal(load_images(folder, validation=0, test=0).train.X[0], upright)


def test_an_invalid_orientation_is_ignored(folder):
    upright = pixels()
    Image.fromarray(upright).save(folder / "cat" / "0.png", exif=orientation(9))
    np.testing.assert_array_equal(load_images(folder, validation=0, test=0).train.X[0], upright)


@pytest.mark.parametrize("n_drawn", [0, 2])
def test_arrays_own_their_memory_and_can_be_written(n_drawn, folder):
    (folder / "cat" / "1.png").write_bytes((folder / "cat" / "1.png").read_bytes()[:-60])
    with pytest.warns(UserWarning, match=r"1.png must be .*; such files are skipped$"):
        data = load_images(folder, skip_unreadable=True, validation=n_drawn, test=n_drawn)
    for split in filter(None, (data.train, data.validation, data.test)):
        for array in split:
            assert array.flags.owndata
            assert array.flags.writeable


def test_each_image_is_in_memory_once(folder):
    for path in folder.rglob("*.png"):
        save(path, np.full((400, 300, 3), 7, np.uint8))
    load_images(folder)  # so that imports do not count below
    tracemalloc.start()
    try:
        data = load_images(folder, validation=1, test=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The two drawn images and the one that is being read are in memory twice for a moment.
    image = data.train.X[0].nbytes
    assert peak < 14 * image


def test_rows_are_the_indices_of_the_images_of_each_split(folder):
    whole = load_images(folder, validation=0, test=0).train
    data = load_images(folder, validation=3, test=2)
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        np.testing.assert_array_equal(split.X, whole.X[data.rows[name]])
        np.testing.assert_array_equal(split.y, whole.y[data.rows[name]])


@pytest.mark.parametrize("resize", [None, 4])
def test_files_are_named_if_none_can_be_read(resize, folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^10 images cannot be used: \S*0.png, .*4.png; the first: "):
        load_images(folder, resize=resize)
    with (
        pytest.warns(UserWarning, match=r"^10 images cannot be used: \S*0.png, "),
        pytest.raises(ValueError, match=r"must hold images to train and for each split; got none for train"),
    ):
        load_images(folder, resize=resize, skip_unreadable=True)


def test_different_sizes_are_listed_up_to_a_maximum_length(folder):
    add_size(folder)
    with pytest.raises(ValueError, match=r"\(width×height\) 8×6 \(9\), 9×6 \(1\)$"):
        load_images(folder)
    for i in range(40):
        save(folder / "cat" / f"more{i}.png", pixels((7, 1 + i, 3)))
    with pytest.raises(ValueError, match=r" 8×6 \(9\), 9×6 \(1\), 1×7 \(1\), .*…$"):
        load_images(folder)


def test_progress_is_reported_for_each_image(folder):
    seen = []
    load_images(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_an_unreadable_file_is_refused_or_skipped(content, folder):
    path = folder / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:-60] if content is None else content)
    with pytest.raises(ValueError, match=r"0.png must be a PNG, .* it cannot be read"):
        load_images(folder)
    with pytest.warns(UserWarning, match=r"0.png must be a PNG, .*\); such files are skipped$"):
        data = load_images(folder, skip_unreadable=True, validation=0, test=0)
    assert np.bincount(data.train.y).tolist() == [4, 5]


def test_each_reason_is_given_once_with_its_first_image(folder):
    for name in ("1.png", "2.png"):
        (folder / "dog" / name).write_bytes((folder / "dog" / name).read_bytes()[: -60 - int(name[0])])
    add_transparency(folder)
    with pytest.raises(ValueError, match=r"^3 images cannot be used") as caught:
        load_images(folder)
    reasons = str(caught.value).partition("; the first for each reason: ")[2]
    assert [reasons.count(name) for name in ("0.png", "1.png", "2.png")] == [1, 1, 0]
    assert "transparency; got mode RGBA" in reasons
    assert reasons.endswith("; `skip_unreadable=True` skips such files")
    with pytest.warns(
        UserWarning, match=r"^3 images cannot be used: .* got mode RGBA; .*such files are skipped$"
    ):
        assert load_images(folder, skip_unreadable=True).n_classes == 2


def add_depth(folder):
    Image.fromarray(pixels(SIZE).astype(np.uint16) * 200).save(folder / "cat" / "0.png")


def add_transparency(folder):
    save(folder / "cat" / "0.png", pixels((*SIZE, 4)))


def add_size(folder):
    save(folder / "cat" / "0.png", pixels((6, 9, 3)))


def add_unknown_class(folder):
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "moved") if name == "cat" else shutil.rmtree(folder / name)
    shutil.copytree(folder / "moved", folder / "train" / "cat")
    shutil.copytree(folder / "moved", folder / "train" / "dog")
    shutil.move(folder / "moved", folder / "test" / "cow")


def make_splits(folder, *names):
    for name in names:
        shutil.copytree(folder, folder.parent / "whole" / name)
    for path in [*folder.iterdir()]:
        shutil.rmtree(path)
    for name in names:
        shutil.move(folder.parent / "whole" / name, folder / name)


def empty_test_split(folder):
    make_splits(folder, "train", "test")
    for path in (folder / "test").rglob("*.png"):
        path.unlink()


def flatten(folder):
    make_splits(folder, "train", "test")
    for path in [*folder.rglob("*.png")]:
        path.rename(path.parent.parent / f"{path.parent.name}{path.name}")
    for path in folder.glob("*/*/"):
        path.rmdir()


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (
            lambda folder: make_splits(folder, "train", "test", "other"),
            {},
            r"must hold no folders beside train except other splits; got other",
        ),
        (
            lambda folder: make_splits(folder, "train", "val", "valid"),
            {},
            r"must hold one folder for validation; got val, valid",
        ),
        (empty_test_split, {}, r"must hold images to train and for each split; got none for test"),
        (flatten, {}, r"must hold a folder of images for each of .*; got 0"),
        (
            lambda folder: [shutil.rmtree(path) for path in folder.iterdir()],
            {},
            r"must hold a folder of images for each of .*; got 0",
        ),
        (add_depth, {}, r"0.png must be an 8-bit .* without transparency; got mode I;16"),
        (add_transparency, {}, r"0.png must be an 8-bit .* without transparency; got mode RGBA"),
        (add_size, {}, r"`resize` must be given if images differ in size, .* 8×6 \(9\), 9×6 \(1\)"),
        (add_unknown_class, {}, r"test must hold folders of the classes of train; got cow"),
        (
            lambda folder: shutil.rmtree(folder / "cat"),
            {},
            r"must hold a folder of images for each of .*; got 1",
        ),
        (lambda folder: (folder / "cow").mkdir(), {}, r"must hold images of each class; got none of cow"),
        (None, {"resize": 0}, r"`resize` must be at least 1; got 0"),
        (None, {"resize": (1, 2, 3)}, r"`resize` must be a number of pixels, or \(height, width\)"),
        (None, {"validation": 5, "test": 4}, r"must leave a sample of every class to train on"),
    ],
    ids=[
        "other",
        "two validations",
        "empty test",
        "flat",
        "nothing",
        "depth",
        "transparency",
        "sizes",
        "class",
        "one class",
        "empty",
        "resize",
        "three sizes",
        "too many",
    ],
)
def test_unsuitable_folders_and_arguments_are_refused(change, more, message, folder):
    if change is not None:
        change(folder)
    with pytest.raises(ValueError, match=message):
        load_images(folder, **more)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`folder` must be a folder that exists; got .*none"):
        load_images(tmp_path / "none")
