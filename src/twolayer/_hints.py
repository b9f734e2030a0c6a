"""Hints at the end of error messages, for mistakes that users of other libraries make."""

from __future__ import annotations

import math
import os
from typing import Any

from ._texts import variable_of

# Names of other libraries, and their meaning here.
_ELSEWHERE = {
    "lr": "`learning_rate`",
    "weight_decay": "2 `reg`",
    "hidden_size": "`n_hidden`",
    "momentum": "part of `optimizer`",
    "seeds": "`seed` in `grid`",
}


def name_here(name: str) -> str:
    """Return a hint for the end of an error if the name is that of another library; else ""."""
    return f"; `{name}` is {_ELSEWHERE[name]} here: see docs/names.md" if name in _ELSEWHERE else ""


def conversion(name: str, value: Any) -> str:
    """Return a hint for the end of an error: how to make an array of the value; "" if no way is known."""
    if hasattr(value, "dataset"):  # a DataLoader of PyTorch
        return "; docs/tutorials/arrays.md has a loop for a DataLoader"
    if isinstance(value, str | os.PathLike):
        return "; read the file into an array first"
    # Methods of data frames, of SciPy's sparse arrays, of JAX's, and of PyTorch's tensors.
    for method in ("to_numpy", "toarray", "todense", "numpy"):
        if hasattr(value, method):
            return f"; use `{variable_of(name)}.{method}()`"
    makes_array = isinstance(value, list | tuple) or hasattr(value, "__array_interface__")
    return f"; use `numpy.asarray({variable_of(name)})`" if makes_array else ""


def one_sample(name: str, shape: tuple[int, ...], n_features: int | None) -> str:
    """Return a hint for the end of an error if an array of this shape is a single sample."""
    is_one = len(shape) > 0 and math.prod(shape) == n_features
    return f"; one sample needs a first axis: `{variable_of(name)}[None]`" if is_one else ""
