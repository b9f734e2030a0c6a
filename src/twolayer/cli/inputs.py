"""Samples for predictions: an array in a file, or images."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._files import npy_header, npz_array, npz_header, opened_npz
from .._namespace import HostArray
from .._texts import listed
from .._validation import check_finite, row_blocks
from ..network import TwoLayerNet
from ..storage import NetworkMetadata
from .console import Console
from .data import TABLES
from .images import STANDARD_INPUT, found_at, is_image, look_inverted, pixels_for

ARRAYS = (".npz", ".npy")
_CURE = "X.astype('float64')"


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
    if path.suffix.lower() not in ARRAYS and path != STANDARD_INPUT:
        hint = ""
        if path.suffix.lower() in TABLES:
            hint = "; of a table, pandas makes one: numpy.save('new.npy', frame[columns].to_numpy('float64'))"
        raise ValueError(
            f"`INPUT` must be an .npz or .npy file, or images, in files or folders; got {path}{hint}"
        )
    if path.suffix.lower() == ".npz":
        with opened_npz(path) as stored:
            return _held(stored, path, n_features)
    with _opened(path) as file:
        return _loaded(file, path, n_features)


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], path: Path, n_features: int) -> None:
    """Raise unless an array of this shape and dtype holds samples for the network. Call it before reading."""
    if dtype.kind == "O":
        return  # objects are refused when they are read
    if dtype.kind not in "biuf" or len(shape) < 2 or min(shape) < 1:
        raise ValueError(
            f"`X` in {path} must hold numbers, of shape (N, D) or (N, …); got {dtype!s:.80} of shape {shape}"
        )
    found = math.prod(shape[1:])
    if found != n_features:
        raise ValueError(f"`INPUT` must have {n_features} features a sample to fit the network; got {found}")


def _held(stored: Mapping[str, HostArray], path: Path, n_features: int) -> HostArray:
    if "X" not in stored:
        raise ValueError(f"{path} must hold `X`; it holds {listed(stored) or 'nothing'}")
    _check(*npz_header(stored, "X", path), path, n_features)
    return npz_array(stored, "X", path, cure=_CURE)


def _loaded(file: BinaryIO, path: Path, n_features: int) -> HostArray:
    """Read a file that `numpy.save` or `numpy.savez` wrote."""
    header = None
    with suppress(Exception):  # NumPy raises the error again below
        header = npy_header(file)
    if header is not None:
        _check(*header, path, n_features)
    # A damaged file raises more than can be listed.
    try:
        stored: Any = np.load(file, allow_pickle=False)
    except Exception as error:
        if str(error).startswith("Object arrays"):
            raise TypeError(
                f"{path} must hold numbers; got dtype object, which is stored by pickle and not read, "
                f"because unpickling a file can run any code that is in it; store `{_CURE}`"
            ) from error
        # NumPy takes for a pickle whatever it does not know.
        reason = "" if "pickle" in str(error) else f" ({error!s:.200})"
        raise ValueError(
            f"{path} must be a file that NumPy wrote; it is truncated, empty or something else{reason}"
        ) from error
    return stored if isinstance(stored, np.ndarray) else _held(stored, path, n_features)


def _opened(path: Path) -> BinaryIO:
    """Open a file; of standard input, take all of it first, as a file's end is read before its beginning."""
    if path != STANDARD_INPUT:
        return path.open("rb")
    if sys.stdin is None:
        raise ValueError("`INPUT` must be a file, as standard input is closed; got -")
    return io.BytesIO(sys.stdin.buffer.read())
