"""Samples for predictions: an array in a file, or images."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from .._files import StoredArray, opened_npz
from .._namespace import HostArray
from .._texts import listed
from .._validation import check_finite, row_blocks
from ..datasets.images import is_image
from ..network import TwoLayerNet
from ..storage import NetworkMetadata
from .console import Console
from .data import TABLES
from .images import STANDARD_INPUT, found_at, look_inverted, pixels_for

ARRAYS = (".npz", ".npy")


def samples_for(
    inputs: tuple[str, ...],
    net: TwoLayerNet,
    metadata: NetworkMetadata,
    console: Console,
    *,
    invert: bool,
    resize: bool,
) -> tuple[list[str], Iterator[HostArray]]:
    """Return the names of samples, and the samples in blocks."""
    paths = [path for name in inputs for path in found_at(name)]
    if all(map(is_image, paths)):
        blocks = _image_blocks(paths, net, metadata, console, invert=invert, resize=resize)
        return [path.as_posix() for path in paths], blocks
    for flag, given in (("--invert", invert), ("--resize", resize)):
        if given:
            raise ValueError(f"`{flag}` must be left out but for image files")
    if len(paths) > 1:
        raise ValueError("`INPUT` must be one .npz or .npy file, or image files only; got several files")
    X = _array(paths[0], net.n_features)
    check_finite(X, name="INPUT", dtype=net.W1.dtype)
    rows = row_blocks(len(X), max(net.n_features, net.n_hidden))
    return [str(i) for i in range(len(X))], (X[part] for part in rows)


def _image_blocks(
    paths: list[Path],
    net: TwoLayerNet,
    metadata: NetworkMetadata,
    console: Console,
    *,
    invert: bool,
    resize: bool,
) -> Iterator[HostArray]:
    """Read images, no more at once than a block; warn at the end of those that look inverted."""
    as_pixels = pixels_for(metadata, invert=invert, resize=resize)
    images = console.counted("Reading images", map(as_pixels, paths), len(paths))
    inverted: list[bool] = []
    for rows in row_blocks(len(paths), max(net.n_features, net.n_hidden)):
        block = np.stack(list(islice(images, rows.stop - rows.start)))
        inverted += look_inverted(block, metadata)
        yield block
    if any(inverted):
        console.warn(
            f"{sum(inverted):,} of {len(paths):,} images look inverted beside those of the training, dark "
            f"for bright, {paths[inverted.index(True)].as_posix()} first: try it "
            f"{'without' if invert else 'with'} --invert"
        )


def _array(path: Path, n_features: int) -> HostArray:
    """Read samples for the network from a file that NumPy wrote, or from standard input."""
    suffix = path.suffix.lower()
    if suffix not in ARRAYS and path != STANDARD_INPUT:
        hint = ""
        if suffix in TABLES:
            hint = "; of a table, pandas makes one: numpy.save('new.npy', frame[columns].to_numpy('float64'))"
        raise ValueError(
            f"`INPUT` must be an .npz or .npy file, or images, in files or folders; got {path}{hint}"
        )
    opened = _opener(path)
    if suffix != ".npz":
        with opened() as file:
            is_npz = file.read(2) == b"PK"  # as every zip file begins
        if not is_npz:
            return _read(StoredArray(str(path), opened), n_features)
    with opened_npz(path, opened) as stored:
        if "X" not in stored:
            raise ValueError(f"{path} must hold `X`; it holds {listed(stored)}")
        return _read(stored["X"], n_features)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    """Return a function that opens a file; standard input, which can be read once only, is kept in memory."""
    if path != STANDARD_INPUT:
        return lambda: path.open("rb")
    if sys.stdin is None:
        raise ValueError("`INPUT` must be a file, as standard input is closed; got -")
    return partial(io.BytesIO, sys.stdin.buffer.read())


def _read(array: StoredArray, n_features: int) -> HostArray:
    """Read an array, or raise unless its shape and dtype are those of samples for the network."""
    shape, dtype = array.header()
    if dtype.kind == "O":
        return array.read(cure="X.astype('float64')")  # This raises: objects are never read.
    if dtype.kind not in "biuf" or len(shape) < 2 or min(shape) < 1:
        raise ValueError(
            f"{array.name} must hold numbers, of shape (N, D) or (N, …); got {dtype!s:.80} of shape {shape}"
        )
    found = math.prod(shape[1:])
    if found != n_features:
        raise ValueError(f"`INPUT` must have {n_features} features a sample to fit the network; got {found}")
    return array.read()
