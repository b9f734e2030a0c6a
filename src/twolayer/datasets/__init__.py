"""Data sets: what a network learns from, as host arrays in one small type."""

from __future__ import annotations

from ._dataset import Dataset, Split
from .cifar10 import load_cifar10
from .digits import load_digits
from .npz import load_npz

__all__ = ["Dataset", "Split", "load_cifar10", "load_digits", "load_npz"]
