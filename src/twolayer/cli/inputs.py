"""Samples for predictions: a table, an array in a file, or images."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

from .._files import StoredArray, opened_npz
from .._frames import as_frame, check_columns, values_of
from .._hints import one_sample
from .._namespace import HostArray
from .._texts import listed
from .._validation import check_finite, row_blocks
from ..datasets.images import is_image
from ..datasets.table_files import read_table
from ..network import TwoLayerNet
from .console import Console
from .data import is_table
from .images import STANDARD_INPUT, found_at, look_inverted, pixels_for
from .saved_network import ARRAYS, SavedNetwork


class Samples(NamedTuple):
    """Samples, their names, and the columns to show beside their predictions."""

    names: list[str]
    blocks: Iterator[HostArray]
    ids: Mapping[str, list[Any]] = MappingProxyType({})


def samples_for(
    inputs: tuple[str, ...],
    saved: SavedNetwork,
    console: Console,
    *,
    id_columns: tuple[str, ...],
    invert: bool,
    resize: bool,
) -> Samples:
    """Return the samples that the inputs name, as the network takes them."""
    paths = [path for name in inputs for path in found_at(name, resize=resize)]
    is_of_images = all(map(is_image, paths))
    is_of_table = saved.metadata.encoder is not None and any(is_table(str(path)) for path in paths)
    for flag, given, fits, kind in (
        ("--invert", invert, is_of_images, "image files"),
        ("--resize", resize, is_of_images, "image files"),
        ("--id-columns", id_columns, is_of_table, "tables"),
    ):
        if given and not fits:
            raise ValueError(f"`{flag}` must be left out except for {kind}")
    if is_of_images:
        blocks = _image_blocks(paths, saved, console, invert=invert, resize=resize)
        return Samples([path.as_posix() for path in paths], blocks)
    if len(paths) > 1:
        raise ValueError(
            "`INPUT` must be one table, one .npz or .npy file, or image files only; got several files"
        )
    if is_of_table:
        return _rows_of_table(paths[0], saved, console, id_columns)
    return _as_samples(_array(paths[0], saved.net.n_features), saved.net)


def _as_samples(X: HostArray, net: TwoLayerNet) -> Samples:
    check_finite(X, name="INPUT", dtype=net.W1.dtype)
    rows = row_blocks(len(X), max(net.n_features, net.n_hidden))
    return Samples([str(i) for i in range(len(X))], (X[part] for part in rows))


def _rows_of_table(path: Path, saved: SavedNetwork, console: Console, id_columns: tuple[str, ...]) -> Samples:
    """Read a table by the names of its columns; show the unused columns and the unknown categories."""
    encoder = saved.metadata.encoder
    assert encoder is not None
    missing = saved.settings_of_data("table").get("missing", ())
    used = {column.name for column in encoder.columns}
    # Columns that only identify rows are read as text, unchanged.
    texts = [name for name in id_columns if name not in used]
    frame = as_frame(read_table(str(path), missing=missing, categorical=texts, encoder=encoder))
    check_columns(frame.columns, [*id_columns, *used], name=str(path))
    unused = [name for name in frame.columns if name not in (*used, *id_columns)]
    X = encoder.apply(frame)
    if unused:
        console.say(f"Columns that the network does not use: {listed(unused)}")
    unseen = encoder.unseen(frame)
    if unseen:
        counts = listed(f"{name} ({n:,})" for name, n in unseen.items())
        console.warn(f"values of categories that are not in the training data, by column: {counts}")
    ids = {name: values_of(frame[name]) for name in id_columns}
    return _as_samples(X, saved.net)._replace(ids=ids)


def _image_blocks(
    paths: list[Path], saved: SavedNetwork, console: Console, *, invert: bool, resize: bool
) -> Iterator[HostArray]:
    """Yield images in blocks, read one block at a time; warn at the end if some look inverted."""
    net, metadata = saved.net, saved.metadata
    as_pixels = pixels_for(metadata, invert=invert, resize=resize)
    images = console.counted("Reading images", map(as_pixels, paths), len(paths))
    inverted: list[bool] = []
    for rows in row_blocks(len(paths), max(net.n_features, net.n_hidden)):
        block = np.stack(list(islice(images, rows.stop - rows.start)))
        inverted += look_inverted(block, metadata)
        yield block
    if any(inverted):
        console.warn(
            f"{sum(inverted):,} of {len(paths):,} images look inverted compared with the training images; "
            f"the first is {paths[inverted.index(True)].as_posix()}; try again "
            f"{'without' if invert else 'with'} --invert"
        )


def _array(path: Path, n_features: int) -> HostArray:
    """Read samples for the network from a file that NumPy wrote, or from standard input."""
    suffix = path.suffix.lower()
    if suffix not in ARRAYS and path != STANDARD_INPUT:
        hint = "; the network was not trained on a table" if is_table(str(path)) else ""
        raise ValueError(
            "`INPUT` must be a table, an .npz or .npy file, image files or folders of images; "
            f"got {path}{hint}"
        )
    opened = _opener(path)
    if suffix != ".npz":
        with opened() as file:
            is_npz = file.read(2) == b"PK"  # the beginning of every zip file
        if not is_npz:
            return _read(StoredArray(str(path), opened), n_features)
    with opened_npz(path, opened) as stored:
        if "X" not in stored:
            raise ValueError(f"{path} must hold `X`; it holds {listed(stored)}")
        return _read(stored["X"], n_features)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    """Return a function that opens a file. Standard input is kept in memory, as it can be read only once."""
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
            f"{array.name} must hold numbers, of shape (N, D) or (N, …); got {dtype!s:.80} of shape "
            f"{shape}{one_sample('X', shape, n_features)}"
        )
    found = math.prod(shape[1:])
    if found != n_features:
        raise ValueError(
            f"`INPUT` must have {n_features} features per sample to fit the network; got {found}"
            f"{one_sample('X', shape, n_features)}"
        )
    return array.read()
