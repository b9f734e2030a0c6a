"""Image files as samples for a saved network."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .._namespace import HostArray
from .._texts import is_numeric
from .._validation import shown
from ..datasets.images import SUFFIXES, ImageSizeError, images_in, read_image
from ..storage import NetworkMetadata
from . import data

STANDARD_INPUT = Path(data.STANDARD_INPUT)
_LEAN = 0.1  # least distance of a dark or bright image's mean from middle grey, as a share of white


def found_at(name: str, *, resize: bool = False) -> list[Path]:
    """Return the files that a name stands for: a file, images in a folder, or the matches of a pattern.

    If nothing has this name, raise an error. It explains ``--resize 32`` if ``resize``, the option, is given.
    """
    path = Path(name)
    if path.is_dir():
        images = images_in(path, "*")
        if not images:
            kinds = sorted({image.suffix for image in images_in(path)})
            patterns = " ".join(f"'{path.as_posix()}/**/*{kind}'" for kind in kinds)
            raise ValueError(
                f"`INPUT` must be a folder with images; {path} contains no image ({', '.join(SUFFIXES)})"
                f"{patterns and f'; for those in its subfolders, give {patterns}'}"
            )
        return images
    if not path.exists() and glob.has_magic(name):
        matched = map(Path, sorted(glob.glob(name, recursive=True)))  # noqa: PTH207  # it may be absolute
        files = [one for one in matched if one.is_file()]
        if not files:
            raise ValueError(f"`INPUT` must be a pattern that matches a file; {name} matches none")
        return files
    if path != STANDARD_INPUT and not path.exists():
        if resize and is_numeric(name):
            raise ValueError(
                f"`INPUT` must be a file or folder that exists; got {name}; here, `--resize` takes "
                "no number, because the network determines the size"
            )
        path.stat()  # raises FileNotFoundError
    return [path]


def pixels_for(metadata: NetworkMetadata, *, invert: bool, resize: bool) -> Callable[[Path], HostArray]:
    """Return a function that reads an image as a sample for a network.

    Raises
    ------
    ValueError
        If the network was not trained on images, or the value of white in them is unknown.
    """
    shape, white = metadata.image_shape, metadata.information.get("white")
    if shape is None or white is None:
        raise ValueError(
            "`INPUT` must be an .npz or .npy file: the network was not trained on images of a known range"
        )
    if not _is_brightness(white) or white == 0:
        raise ValueError(f"`white` in the network's information must be a number above 0; got {shown(white)}")
    height, width = size = shape[0], shape[1]
    # `read_image` returns values up to 255; the network takes values up to `white`.
    grey, factor = shape[2:] != (3,), float(white) / 255.0

    def read(path: Path) -> HostArray:
        try:
            pixels = read_image(path, size, grey=grey, resize=resize).astype(np.float64)
        except ImageSizeError as error:
            raise ValueError(
                f"{path} must have {width}×{height} pixels, like the images that the network was trained on; "
                f"it has {error.size[0]}×{error.size[1]} (use --resize)"
            ) from error
        return (255.0 - pixels if invert else pixels) * factor

    return read


def look_inverted(images: HostArray, metadata: NetworkMetadata) -> list[bool]:
    """Return, for each image, whether it looks inverted compared with the images of the training.

    It does if its mean and that of the training lie on opposite sides of middle grey, each at a distance of
    more than 0.1 white. If the file of the network does not have these values, no image looks inverted.
    """
    white, usual = (metadata.information.get(name) for name in ("white", "mean_pixel"))
    if not (_is_brightness(white) and _is_brightness(usual)):
        return [False] * len(images)
    lean = float(usual) / float(white) - 0.5
    own = [float(image.mean()) / float(white) - 0.5 for image in images]
    return [one * lean < 0 and min(abs(one), abs(lean)) > _LEAN for one in own]


def _is_brightness(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float) and 0 <= value < 2**64
