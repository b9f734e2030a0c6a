"""Data sets in IDX files, such as MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from .._namespace import HostArray
from .._texts import printable
from .._validation import check_integer
from ._dataset import Dataset, Split, in_splits
from .splitting import split_rows

# The four files of a folder; some copies have a dot in place of the second hyphen.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTES = 0x08


def load_idx(folder: str | os.PathLike[str], *, validation: float = 0.15, seed: int = 0) -> Dataset:
    """Load a folder of IDX files, such as MNIST or Fashion-MNIST [1]_.

    The folder contains ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
    and ``t10k-labels-idx1-ubyte``. Each file may be compressed (``.gz``). The last two are the test set.

    Parameters
    ----------
    folder : path
        The folder.
    validation : float or int
        Share of the training images, in [0, 1), or number of them, to draw for validation. The draw is
        stratified by class.
    seed : int
        Seed of the draw. The same seed draws the same images with every version of NumPy.

    Returns
    -------
    Dataset
        ``X`` (N, height, width) uint8, 0 for black; ``y`` (N,) int64. Classes are named "0", "1", ….

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or the files do not match each other.

    References
    ----------
    .. [1] LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
       http://yann.lecun.com/exdb/mnist
    """
    folder, seed = Path(folder), check_integer("seed", seed, least=0)
    both = {name: _read_split(folder, *files) for name, files in _FILES.items()}
    train, test = both["train"], both["test"]
    n_classes = int(max(train.y.max(), test.y.max())) + 1
    if test.X.shape[1:] != train.X.shape[1:]:
        raise ValueError(
            f"the images in {folder} must have one size; got {train.X.shape[1:]} to train and "
            f"{test.X.shape[1:]} to test"
        )
    rows = split_rows(train.y, {"validation": validation, "test": 0}, seed, place=folder)
    parts = {name: Split(train.X[chosen], train.y[chosen]) for name, chosen in rows.items()}
    return Dataset(
        name=printable(folder.resolve().name),
        **in_splits(parts | {"test": test}),
        classes=tuple(map(str, range(n_classes))),
        image_shape=train.X.shape[1:],
        rows=rows,
    )


def is_idx_folder(folder: Path) -> bool:
    """Return whether a folder holds training images in an IDX file."""
    return _found(folder, _FILES["train"][0]) is not None


def _found(folder: Path, name: str) -> Path | None:
    names = (f"{one}{suffix}" for one in (name, name.replace("-idx", ".idx")) for suffix in ("", ".gz"))
    return next((folder / one for one in names if (folder / one).is_file()), None)


def _read_split(folder: Path, images: str, labels: str) -> Split:
    X, y = (_read(folder, name, ndim) for name, ndim in ((images, 3), (labels, 1)))
    if len(X) != len(y):
        raise ValueError(
            f"{folder} must hold a label for each image; got {len(X)} images and {len(y)} labels"
        )
    if not X.size:
        raise ValueError(f"{images} in {folder} must hold at least one image; got shape {X.shape}")
    return Split(X, y.astype(np.int64))


def _read(folder: Path, name: str, ndim: int) -> HostArray:
    """Read an array of unsigned bytes, (N, ...) with ``ndim`` axes."""
    path = _found(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} must hold {name}, or {name}.gz; found no such file")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            # Two zero bytes, the code of the type, the number of axes, and the length of each axis.
            header = file.read(4 + 4 * ndim)
            if len(header) < 4 + 4 * ndim or header[:4] != bytes((0, 0, _UNSIGNED_BYTES, ndim)):
                raise ValueError(
                    f"{path} must be an IDX file of unsigned bytes with {ndim} axes; got another header"
                )
            shape = tuple(np.frombuffer(header[4:], ">u4").tolist())
            # Read one byte more than expected: this detects a longer file without unpacking a zip bomb.
            content = file.read(math.prod(shape) + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must be a whole gzip file; it cannot be unpacked ({error!s:.200})"
        ) from error
    except (MemoryError, OverflowError) as error:
        raise ValueError(f"{path} must fit into memory; its header has the shape {shape}") from error
    if len(content) != math.prod(shape):
        raise ValueError(
            f"{path} must hold {math.prod(shape):,} bytes of shape {shape}; got {len(content):,}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape).copy()  # the array over `content` is read-only
