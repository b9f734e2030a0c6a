"""Loaders for data sets, which return host arrays in a `Dataset`."""

from __future__ import annotations

from ._dataset import Dataset, Split
from .cifar10 import load_cifar10
from .digits import load_digits
from .idx import load_idx
from .images import load_images
from .npz import load_npz
from .table_files import read_table
from .tables import load_table

__all__ = [
    "Dataset",
    "Split",
    "load_cifar10",
    "load_digits",
    "load_idx",
    "load_images",
    "load_npz",
    "load_table",
    "read_table",
]
