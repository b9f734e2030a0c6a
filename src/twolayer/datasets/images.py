"""Data sets of image files, with a folder for each class."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._namespace import HostArray
from .._optional import require
from .._texts import checked_classes, listed, printable, size_in_words
from .._validation import check_integer, warn_outside
from ._dataset import Dataset, Split, in_splits
from .splitting import split_rows

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# Pillow's names of the formats. Without this list, Pillow would open other formats too, some of them with
# external programs, because it chooses the format by a file's content.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
_MOST_NAMED = 5
_ORIENTATION = 0x0112  # Exif's tag


class ImageError(ValueError):
    """Error for an image that can be read but is not of the required kind."""


class ImageSizeError(ImageError):
    """Error for an image of the wrong size; ``size`` is the image's (width, height)."""

    def __init__(self, path: Path, wanted: tuple[int, int], size: tuple[int, int]) -> None:
        self.size = size
        super().__init__(f"{path} must be of (width, height) = {wanted}; got {size}")


def load_images(
    folder: str | os.PathLike[str],
    *,
    resize: int | tuple[int, int] | None = None,
    grey: bool = False,
    skip_unreadable: bool = False,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Dataset:
    """Load images from a folder that has a subfolder for each class, named after the class.

    If the folder has a subfolder ``train``, and optionally ``validation`` (or ``val`` or ``valid``) and
    ``test``, these are the splits, each with a subfolder for each class. A missing split is drawn from the
    training images, stratified by class.

    Parameters
    ----------
    folder : path
        The folder. PNG, JPEG, BMP, GIF, TIFF and WebP files are read, also from nested folders. Hidden files
        and folders are ignored. Images are turned to their Exif orientation.
    resize : int or (height, width), optional
        Size of the samples in pixels. An image of another size is cropped at its centre to the same aspect
        ratio, then scaled with bicubic interpolation. By default, all images must have the same size.
    grey : bool
        Whether to convert images to greyscale. If False, this is done only if no image has colours.
    skip_unreadable : bool
        Whether to leave out files that cannot be used, with a warning: files that are not readable images,
        and images with transparent pixels, more than 8 bits per channel or CMYK colours. If False, such a
        file is an error.
    validation, test : float or int
        Share of the images, in [0, 1), or number of images to draw.
    seed : int
        Seed of the draw. The same seed draws the same images with every version of NumPy.
    progress : callable, optional
        Called after each image with the number of images processed so far and the total number.

    Returns
    -------
    Dataset
        ``X`` (N, height, width, 3) or, for greyscale, (N, height, width), uint8; ``y`` (N,) int64.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ImportError
        If Pillow is not installed; the extra ``images`` installs it.
    ValueError
        If there are fewer than two classes or a class without images; if sizes differ and ``resize`` is not
        given; unless ``skip_unreadable`` is True, if a file cannot be used.
    """
    folder, seed = Path(folder), check_integer("seed", seed, least=0)
    size = None if resize is None else _checked_size(resize)
    if not folder.is_dir():
        raise FileNotFoundError(f"`folder` must be a folder that exists; got {folder}")
    files, classes = _files(folder)
    unreadable: dict[Path, str] = {}
    kinds: dict[Path, tuple[tuple[int, int], bool]] = {}
    for path in (path for found in files.values() for path, _ in found):
        try:
            kinds[path] = kind_of_image(path)
        except ValueError as error:
            unreadable[path] = str(error)
    if size is None:
        size = _common_size((size for size, _ in kinds.values()), folder)
    grey = grey or not any(has_colours for _, has_colours in kinds.values())
    image_shape: tuple[int, ...] = size if grey else (*size, 3)
    parts: dict[str, Split] = {}
    names: dict[str, HostArray] = {}  # paths of the images in each split
    n_read = 0
    for name, found in files.items():
        X = np.empty((len(found), *image_shape), dtype=np.uint8)
        y: list[int] = []
        read: list[str] = []
        for path, label in found:
            try:
                if path in kinds:
                    X[len(y)] = read_image(path, size, grey=grey)
                    y.append(label)
                    read.append(printable(path.relative_to(folder).as_posix()))
            except ValueError as error:
                unreadable[path] = str(error)
            n_read += 1
            if progress is not None:
                progress(n_read, sum(map(len, files.values())))
        X.resize((len(y), *image_shape), refcheck=False)  # in place, to avoid a copy
        parts[name] = Split(X, np.asarray(y, dtype=np.int64))
        names[name] = np.asarray(read, dtype=str)
    _regard_unreadable(unreadable, skip=skip_unreadable)
    empty = [name for name, part in parts.items() if not len(part.y)]
    if empty:
        raise ValueError(
            f"{folder} must hold images to train and for each split; got none for {listed(empty)} "
            f"({', '.join(SUFFIXES)})"
        )
    whole = parts["train"]
    _check_classes(whole.y, classes, folder)
    amounts = {"validation": validation, "test": test}
    rows = split_rows(whole.y, amounts, seed, given=parts, place=folder)
    parts |= {name: Split(whole.X[own], whole.y[own]) for name, own in rows.items() if name != "train"}
    _keep_rows(whole.X, rows["train"])
    parts["train"] = Split(whole.X, whole.y[rows["train"]])
    if "test" in rows:
        names["test"] = names["train"][rows["test"]]
    return Dataset(
        name=printable(folder.resolve().name),
        **in_splits(parts),
        classes=tuple(classes),
        image_shape=image_shape,
        rows=rows,
        test_ids={"file": names["test"]} if "test" in names else None,
    )


def images_in(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return the paths of the images in a folder, by default also in nested folders, sorted."""
    # Ignore hidden files and folders: systems create some of their own, such as ._ files on macOS.
    found = (path for path in folder.glob(pattern) if is_image(path) and path.is_file())
    return sorted(path for path in found if "/." not in f"/{path.relative_to(folder).as_posix()}")


def is_image(path: Path) -> bool:
    """Return whether a file has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def kind_of_image(path: Path) -> tuple[tuple[int, int], bool]:
    """Return (height, width) of an image in its Exif orientation, and whether it has colours."""
    with _opened(path) as image:
        if image.format == "TIFF":
            image.load()  # rotates the image; when Pillow swaps width and height depends on its version
        width, height = image.size
        is_turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)  # rotated by 90° or 270°
        has_colours = image.mode not in ("1", "L", "LA")
        if image.mode == "P":
            has_colours = any(len({*colour}) > 1 for _, colour in image.convert("RGB").getcolors(256))
        return ((width, height) if is_turned else (height, width)), has_colours


def read_image(path: Path, size: tuple[int, int], *, grey: bool, resize: bool = True) -> HostArray:
    """Read an image as uint8, (height, width) or (height, width, 3), in its Exif orientation.

    An image of another size is cropped and scaled to ``size``, (height, width). If ``resize`` is False, it
    raises an `ImageSizeError` instead; its pixels are read only if a rotation could give it the size.
    """
    ops = require("PIL.ImageOps", extra="images", purpose="reading images")
    wanted = size[::-1]
    with _opened(path) as image:
        if not resize and image.size not in (wanted, size):
            raise ImageSizeError(path, wanted, image.size)
        if not _is_plain(image):
            raise ImageError(
                f"{path} must be an 8-bit greyscale or colour image without transparency; "
                f"got mode {image.mode}"
            )
        upright = ops.exif_transpose(image)
        if not resize and upright.size != wanted:
            raise ImageSizeError(path, wanted, upright.size)
        return np.asarray(ops.fit(upright.convert("L" if grey else "RGB"), wanted), dtype=np.uint8)


def _is_plain(image: Any) -> bool:
    """Return whether an image opened by Pillow has at most 8 bits per channel and is opaque."""
    if image.mode not in ("1", "L", "P", "RGB", "LA", "RGBA"):
        return False
    return not image.has_transparency_data or image.convert("RGBA").getchannel("A").getextrema()[0] == 255


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image; replace any error in the block except an ImageError by a ValueError with its path."""
    pillow = require("PIL.Image", extra="images", purpose="reading images")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # otherwise errors are also logged to stderr
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about irregular metadata, for example
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        # A damaged image raises many types of errors.
        try:
            with pillow.open(file, formats=_FORMATS) as image:
                yield image
        except ImageError:
            raise
        except Exception as error:
            raise ValueError(
                f"{path} must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read "
                f"({error!s:.200})"
            ) from error


def _checked_size(resize: int | tuple[int, int]) -> tuple[int, int]:
    sizes = resize if isinstance(resize, tuple) else (resize, resize)
    if len(sizes) != 2:
        raise ValueError(f"`resize` must be a number of pixels, or (height, width); got {resize}")
    height, width = (check_integer("resize", size, least=1) for size in sizes)
    return height, width


def _files(folder: Path) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
    """Return the images of each split with the indices of their classes, and the names of the classes."""
    names: list[str] = []
    files: dict[str, list[tuple[Path, int]]] = {}
    for split, place in _folders_of_splits(folder).items():
        own = {path.name: path for path in _folders_in(place)}
        if split == "train":
            if len(own) < 2:
                raise ValueError(
                    f"{place} must hold a folder of images for each of at least two classes; got {len(own)}"
                )
            names = checked_classes(list(own), len(own), name=f"the folders in {place}")
        unknown = sorted(set(own) - set(names))
        if unknown:
            raise ValueError(f"{place} must hold folders of the classes of train; got {listed(unknown)}")
        files[split] = [(path, names.index(name)) for name in own for path in images_in(own[name])]
    return files, names


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder except hidden ones, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _folders_of_splits(folder: Path) -> dict[str, Path]:
    """Return the folder of each split, or the folder itself as "train" if its subfolders are the classes."""
    found: dict[str, list[Path]] = {}
    for path in _folders_in(folder):
        found.setdefault(_SPLITS.get(path.name.lower(), ""), []).append(path)
    others = found.pop("", [])
    if "train" not in found or (others and len(found) == 1):
        return {"train": folder}  # a class may be named train or test
    if others:
        named = listed(path.name for path in others)
        raise ValueError(f"{folder} must hold no folders beside train except other splits; got {named}")
    for split, paths in found.items():
        if len(paths) > 1:
            named = listed(path.name for path in paths)
            raise ValueError(f"{folder} must hold one folder for {split}; got {named}")
    return {split: found[split][0] for split in _SPLITS.values() if split in found}  # train first


def _common_size(sizes: Iterable[tuple[int, int]], folder: Path) -> tuple[int, int]:
    """Return the common size of all images, (0, 0) without images, or raise if sizes differ."""
    counts = Counter(sizes).most_common()
    if len(counts) > 1:
        named = listed(f"{size_in_words(size)} ({n:,})" for size, n in counts)
        raise ValueError(
            f"`resize` must be given if images differ in size, for example `resize=32`; those in {folder} "
            f"are of (width×height) {named}"
        )
    return counts[0][0] if counts else (0, 0)


def _regard_unreadable(unreadable: Mapping[Path, str], *, skip: bool) -> None:
    """Raise or warn about files that cannot be used; do nothing if there are none."""
    if not unreadable:
        return
    first: dict[str, str] = {}  # the first error of each kind
    for path, error in unreadable.items():
        # The same error has another path, and other numbers of bytes, for another file.
        first.setdefault(re.sub(r"\d+", "", error.replace(str(path), "")), error)
    text = "; ".join([*first.values()][:_MOST_NAMED])
    if len(unreadable) > 1:
        named = ", ".join(str(path) for path in [*unreadable][:_MOST_NAMED])
        which = "the first" if len(first) == 1 else "the first for each reason"
        text = f"{len(unreadable):,} images cannot be used: {named}; {which}: {text}"
    if not skip:
        raise ValueError(f"{text}; `skip_unreadable=True` skips such files")
    warn_outside(f"{text}; such files are skipped")


def _keep_rows(X: HostArray, rows: HostArray) -> None:
    """Keep only some rows of an array, in place, because there may not be enough memory for a copy."""
    for place, row in enumerate(rows):  # rows ascend, so each is moved before it is overwritten
        X[place] = X[row]
    X.resize((len(rows), *X.shape[1:]), refcheck=False)


def _check_classes(y: HostArray, classes: Sequence[str], folder: Path) -> None:
    empty = [name for k, name in enumerate(classes) if not (y == k).any()]
    if empty:
        raise ValueError(f"{folder} must hold images of each class; got none of {listed(empty)}")
