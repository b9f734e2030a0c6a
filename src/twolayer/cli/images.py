"""Images as samples: which files, their size and range, and whether they look inverted."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .._namespace import HostArray
from .._validation import shown
from ..datasets.images import SUFFIXES, ImageSizeError, images_in, read_image
from ..storage import NetworkMetadata
from . import data

STANDARD_INPUT = Path(data.STANDARD_INPUT)
_LEAN = 0.1  # how far the mean of dark or bright images is from grey, as a share of white


def found_at(name: str) -> list[Path]:
    """Return the files that a name stands for: a file, images in a folder, or the matches of a pattern."""
    path = Path(name)
    if path.is_dir():
        images = images_in(path, "*")
        if not images:
            kinds = sorted({image.suffix for image in images_in(path)})
            patterns = " ".join(f"'{path.as_posix()}/**/*{kind}'" for kind in kinds)
            raise ValueError(
                f"`INPUT` must be a folder with images; {path} contains no image ({', '.join(SUFFIXES)})"
                f"{patterns and f'; those in folders within it are {patterns}'}"
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
    height, width = size = shape[0], shape[1]
    grey, factor = shape[2:] != (3,), float(white) / 255.0

    def read(path: Path) -> HostArray:
        try:
            pixels = read_image(path, size, grey=grey, resize=resize).astype(np.float64)
        except ImageSizeError as error:
            raise ValueError(
                f"{path} must have {width}×{height} pixels, as the images that the network was trained on; "
                f"it has {error.size[0]}×{error.size[1]} (--resize makes it so)"
            ) from error
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
