"""Images as samples: which files, how they are read, and whether they look inverted."""

from __future__ import annotations

import glob
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .._namespace import HostArray
from .._optional import require
from .._validation import shown
from ..storage import NetworkMetadata

STANDARD_INPUT = Path("-")
_LEAN = 0.1  # how far the mean of dark or bright images is from grey, as a share of white
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# Pillow's names of the formats. It chooses by a file's content, and starts programs for some other formats.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its name."""
    return path.suffix.lower() in _SUFFIXES


def found_at(name: str) -> list[Path]:
    """Return the files that a name stands for: a file, images in a folder, or the matches of a pattern."""
    path = Path(name)
    if path.is_dir():
        # Systems keep files of their own whose names begin with a dot, such as ._ on macOS.
        shown = (one for one in path.iterdir() if not one.name.startswith(".") and one.is_file())
        images = sorted(filter(is_image, shown), key=lambda one: one.name)
        if not images:
            raise ValueError(
                f"`INPUT` must be a folder with images; {path} holds none ({', '.join(_SUFFIXES)})"
            )
        return images
    if not path.exists() and glob.has_magic(name):
        matched = map(Path, sorted(glob.glob(name, recursive=True)))  # noqa: PTH207  # it may be absolute
        files = [one for one in matched if one.is_file()]
        if not files:
            raise ValueError(f"`INPUT` must be a pattern that files match; none match {name}")
        return files
    return [path]


def pixels_for(metadata: NetworkMetadata, *, invert: bool, resize: bool) -> Callable[[Path], HostArray]:
    """Return a function that reads an image as a sample for a network.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If the network was not trained on images whose white is known.
    """
    shape, white = metadata.image_shape, metadata.information.get("white")
    if shape is None or white is None:
        raise ValueError(
            "`INPUT` must be an .npz or .npy file: the network was not trained on images of a known range"
        )
    if not _is_brightness(white) or white == 0:
        raise ValueError(f"`white` in the network's information must be a number above 0; got {shown(white)}")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it would write its errors on stderr, too
    factor, size, mode = float(white) / 255.0, (shape[1], shape[0]), "RGB" if shape[2:] == (3,) else "L"
    pillow, ops = (
        require(f"PIL.{name}", extra="cli", purpose="reading images") for name in ("Image", "ImageOps")
    )

    def read(path: Path) -> HostArray:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities of an image
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            # A damaged image raises more than can be listed.
            try:
                image = pillow.open(file, formats=_FORMATS)
                # Compare its size before its pixels are read; it may be turned, as its camera says.
                may_fit = resize or image.size in (size, size[::-1])
                plain = ops.exif_transpose(image).convert(mode) if may_fit and _is_plain(image) else None
            except Exception as error:
                raise ValueError(
                    f"{path} must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read "
                    f"({error!s:.200})"
                ) from error
        if may_fit and plain is None:
            raise ValueError(
                f"{path} must be an 8-bit greyscale or colour image without transparency; "
                f"got mode {image.mode}"
            )
        width, height = image.size if plain is None else plain.size
        if not resize and (width, height) != size:
            raise ValueError(
                f"{path} must have {size[0]}×{size[1]} pixels, as the images that the network was "
                f"trained on; it has {width}×{height} (--resize makes it so)"
            )
        plain = ops.fit(plain, size)
        pixels = np.asarray(plain, dtype=np.float64)
        return (255.0 - pixels if invert else pixels) * factor

    return read


def look_inverted(images: HostArray, metadata: NetworkMetadata) -> list[bool]:
    """Return which images look inverted beside those that a network was trained on.

    An image does if its mean is nearer to the mean of their negatives, by far, and they are dark or bright
    themselves. If that is not known, no image does.
    """
    white, usual = (metadata.information.get(name) for name in ("white", "mean_pixel"))
    if not (_is_brightness(white) and _is_brightness(usual)):
        return [False] * len(images)
    lean = float(usual) / float(white) - 0.5
    own = [float(image.mean()) / float(white) - 0.5 for image in images]
    return [one * lean < 0 and min(abs(one), abs(lean)) > _LEAN for one in own]


def _is_brightness(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float) and 0 <= value < 2**64


def _is_plain(image: Any) -> bool:
    """Return whether an image that Pillow has opened holds bytes, and is opaque."""
    if image.mode in ("LA", "RGBA"):
        return bool(image.getchannel("A").getextrema()[0] == 255)
    return image.mode in ("1", "L", "P", "RGB") and not image.has_transparency_data
