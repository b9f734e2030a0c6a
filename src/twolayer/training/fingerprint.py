"""Fingerprints of runs: their settings and their data, as short texts that can be compared.

Texts rather than one hash of everything, so that an error can name what differs. They are stored in
checkpoints, so the form of a text must not change: older checkpoints could no longer be resumed.
"""

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

# Entries that depend on preprocessed samples, whose last bits may differ on another machine.
PREPROCESSED = ("X", "validation X", "preprocessing")
SAMPLED_VALUES = 2**18  # of an array, about as many are copied to the host and hashed

_FEW_VALUES = 64  # an array of at most so many values is described by all of them
_DEPTH = 6  # levels of nested objects that are described
_MOST_SHOWN = 80  # characters of a value in a message
_OF_RUN = (
    "A run resumes with its own settings and data. To train its network with others, begin a new run from "
    "`run.last`"
)


def described_setting(value: Any) -> str:
    """Describe a setting; a number has the same description if it is given once or for each network."""
    is_repeated = isinstance(value, np.ndarray) and len(set(value.tolist())) == 1
    return described(value[0] if is_repeated else value)


def described_array(array: Array | None, *, dtype: Any = None) -> str:
    """Describe an array by its dtype, its shape, and a hash of rows of it.

    All rows of an array of up to ``SAMPLED_VALUES`` values are hashed, else evenly spaced rows. So little is
    copied from a device, and little of a ``numpy.memmap`` is read.

    Parameters
    ----------
    array : array (N, ...), or None
        An array of any library, on any device.
    dtype : dtype, optional
        Floating values are described in this dtype, in which they are used, and integers in int64. Without
        it, values are described in the array's own dtype.
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
    """Describe a setting, for example an optimizer with its parameters, by the same text in every process.

    An object is described by its attributes, a function by its name. (A `repr` may contain an address.)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):  # 1 and 1.0 are the same setting
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
    """Describe a network or a stack by its sizes and its dtype."""
    stack = "" if net.n_networks is None else f"{net.n_networks} networks of "
    sizes = f"{net.n_features} features, {net.n_hidden} hidden units, {net.n_classes} classes"
    return f"{stack}{sizes}, {dtype_name(net.W1.dtype)}"


def described_preprocessing(preprocessing: Any) -> str:
    """Describe a preprocessing by its class and its arrays."""
    if preprocessing is None:
        return "None"
    arrays = ", ".join(described_array(array) for array in preprocessing.host_arrays())
    return f"{type(preprocessing).__qualname__}({arrays})"


def check_same(
    found: Fingerprint, expected: Fingerprint, *, whose: str = "the run's", advice: str = _OF_RUN
) -> None:
    """Raise unless all entries of ``expected`` have the same texts in ``found``; other entries may differ."""
    wrong = [
        f"`{name}` must be {whose}, {_short(value)}; got {_short(found.get(name, 'None'))}"
        for name, value in expected.items()
        if found.get(name, "None") != value
    ]
    if wrong:
        raise ValueError(f"{'. '.join(wrong)}. {advice}")


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
