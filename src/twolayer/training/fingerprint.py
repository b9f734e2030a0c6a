"""Fingerprints of runs: their settings and their data, as short texts that can be compared."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .._namespace import Array, HostArray, dtype_name, is_array_api_obj, to_host
from ..network import TwoLayerNet

Fingerprint: TypeAlias = dict[str, str]

# The names of what a preprocessing may have changed: on another machine in its last bits.
PREPROCESSED = ("X", "validation X", "preprocessing")
SAMPLED_VALUES = 2**18  # of an array, the most that are copied to the host and looked at

_FEW_VALUES = 64  # of a small array, which are all told
_DEPTH = 6  # of objects inside of each other
_MOST_SHOWN = 80  # characters of a value in a message
_OF_RUN = (
    "A run goes on with its own settings and data: to train its network with others, begin a new run from "
    "`run.last`"
)


def described_array(array: Array | None, *, dtype: Any = None) -> str:
    """Say what an array is: its dtype, shape, and a hash of rows of it.

    These are all rows of an array of few values, else rows that lie evenly: little is copied, and of a
    ``numpy.memmap`` little is read.

    Parameters
    ----------
    array : array (N, ...), or None
        Of any library, on any device.
    dtype : dtype, optional
        What floating values are in where they are used; integers are taken as int64, whatever they are in.
    """
    if array is None:
        return "None"
    shape = tuple(int(size) for size in array.shape)
    per_row = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    stride = max(1, -(-shape[0] * per_row // SAMPLED_VALUES)) if shape else 1
    sampled = to_host(array[::stride, ...] if stride > 1 else array)
    name = dtype_name(array.dtype)
    if dtype is not None:
        name = "int64" if sampled.dtype.kind in "iu" else dtype_name(dtype)
        sampled = sampled.astype(name)
    return f"{name} of shape {shape}, {_hash(sampled)}"


def _hash(array: HostArray) -> str:
    little_endian = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return hashlib.blake2b(little_endian.tobytes(), digest_size=8).hexdigest()


def described(value: Any, depth: int = _DEPTH) -> str:
    """Describe a setting, for example an optimizer with its parameters, in the same words in every process.

    An object is described by its attributes, a function by its name.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if value is None or isinstance(value, bool | int | str | bytes | complex):
        return repr(value)
    if is_array_api_obj(value):
        host = to_host(value)
        return described(host.tolist()) if host.size <= _FEW_VALUES else f"array({described_array(host)})"
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, functools.partial):
        return f"partial{described([value.func, *value.args, value.keywords], depth)}"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return str(value.__qualname__)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(described(entry, depth - 1) for entry in value)})"
    parts = _parts(value)
    inner = ", ".join(f"{name}={described(parts[name], depth - 1)}" for name in sorted(parts))
    return f"{type(value).__qualname__}({inner})"


def _parts(value: Any) -> dict[str, Any]:
    """Return the entries of a mapping, or the attributes of another object, by their names."""
    if isinstance(value, tuple):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a NamedTuple
    if isinstance(value, Mapping):
        return {str(key): entry for key, entry in value.items()}
    slots = [kind.__dict__.get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
    held = {name: getattr(value, name) for name in names if name[:2] != "__" and hasattr(value, name)}
    return held | getattr(value, "__dict__", {})


def described_network(net: TwoLayerNet) -> str:
    """Say of which sizes and dtype a network, or a stack, is."""
    stack = "" if net.n_networks is None else f"{net.n_networks} networks of "
    sizes = f"{net.n_features} features, {net.n_hidden} hidden units, {net.n_classes} classes"
    return f"{stack}{sizes}, {dtype_name(net.W1.dtype)}"


def described_preprocessing(preprocessing: Any) -> str:
    """Say what a preprocessing is made of."""
    if preprocessing is None:
        return "None"
    arrays = ", ".join(described_array(array) for array in preprocessing.host_arrays())
    return f"{type(preprocessing).__qualname__}({arrays})"


def check_same(
    found: Fingerprint, expected: Fingerprint, *, whose: str = "the run's", advice: str = _OF_RUN
) -> None:
    """Raise unless a run goes on with what it was begun with; what ``expected`` does not hold may differ."""
    wrong = [
        f"`{name}` must be {whose}, {_short(value)}; got {_short(found.get(name, 'None'))}"
        for name, value in expected.items()
        if found.get(name, "None") != value
    ]
    if wrong:
        raise ValueError(f"{'. '.join(wrong)}. {advice}")


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
