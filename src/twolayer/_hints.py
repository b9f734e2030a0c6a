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

# Attributes by which objects are recognized, and the call that converts them.
_CONVERSIONS = {
    "to_numpy": "to_numpy()",  # data frames
    "toarray": "toarray()",  # SciPy's sparse arrays
    "todense": "todense()",  # JAX's sparse arrays
    "detach": "numpy(force=True)",  # PyTorch's tensors, also on a GPU or with gradients
    "numpy": "numpy()",  # TensorFlow's tensors
}


def name_here(name: str) -> str:
    """Return a hint for the end of an error if the name is that of another library; else ""."""
    return f"; `{name}` is {_ELSEWHERE[name]} here: see docs/names.md" if name in _ELSEWHERE else ""


def conversion(name: str, value: Any) -> str:
    """Return a hint for the end of an error: how to make an array of the value; "" if no way is known."""
    if isinstance(value, str | os.PathLike):
        return "; read the file into an array first"
    for attribute, call in _CONVERSIONS.items():
        if hasattr(value, attribute):
            return f"; use `{variable_of(name)}.{call}`"
    if hasattr(value, "dataset"):  # a DataLoader of PyTorch, not a data frame with such a column
        return "; docs/tutorials/arrays.md has a loop for a DataLoader"
    makes_array = isinstance(value, list | tuple) or hasattr(value, "__array_interface__")
    return f"; use `numpy.asarray({variable_of(name)})`" if makes_array else ""


def one_sample(name: str, shape: tuple[int, ...], n_features: int | None) -> str:
    """Return a hint for the end of an error if an array of this shape is a single sample."""
    is_one = len(shape) > 0 and math.prod(shape) == n_features
    return f"; one sample needs a first axis: `{variable_of(name)}[None]`" if is_one else ""
