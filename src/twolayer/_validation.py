"""Checks of arguments, with errors that name what must hold and what was given.

A wrong shape, device or value is a ValueError; a wrong dtype or a mix of libraries is a TypeError. Messages
contain shapes, dtypes, devices and single values, but never the contents of an array.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import numpy as np

from ._hints import conversion, one_sample
from ._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    dtype_name,
    from_host,
    has_values,
    is_array_api_obj,
    is_torch_namespace,
    largest,
    library_name,
    more_than_numbers,
    to_host,
)
from ._places import check_axes, check_current_device, check_one_place
from ._texts import variable_of

BLOCK_ELEMENTS = 2**24  # 64 MiB in float32


def row_blocks(n_rows: int, row_elements: int) -> Iterator[slice]:
    """Yield slices that divide ``n_rows`` rows into blocks of at most about ``BLOCK_ELEMENTS`` elements."""
    size = max(1, BLOCK_ELEMENTS // max(1, row_elements))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def check_plain(name: str, value: Any) -> None:
    """Raise if ``value`` is a special array, for example masked or sparse (see `more_than_numbers`)."""
    found = more_than_numbers(value)
    if found is not None:
        kind, cure = found[0], found[1].format(variable_of(name))
        raise TypeError(f"`{name}` must be a plain array; got {kind}; use `{cure}`")


def host_values(name: str, value: Any) -> HostArray:
    """Return an array of any library, or anything that NumPy converts to an array, as a host array."""
    check_plain(name, value)
    return to_host(value) if is_array_api_obj(value) else np.asarray(value)


def check_array(name: str, array: Any) -> None:
    """Raise unless ``array`` is a plain array of an array library, on a device where the library computes."""
    check_plain(name, array)
    if not is_array_api_obj(array):
        raise TypeError(
            f"`{name}` must be an array of an array-API library (numpy, cupy, torch, jax); "
            f"got {type(array).__name__}{conversion(name, array)}"
        )
    check_current_device(name, array)
    check_axes(name, array)


def check_same_place(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise unless two arrays are of the same library, and on the same device or mesh."""
    check_array(name, array)
    xp, other_xp = array_namespace(array), array_namespace(other)
    if xp is not other_xp:
        wanted, came, cure = library_name(other_xp), library_name(xp), ""
        if (variable_of(name), other_name) == ("X", "W1"):
            there = came.replace("jax", "jax.numpy")
            cure = f"; `net.to({there})` moves the network there, `initialize(…, xp={there})` makes it there"
        place = f"the library of `{other_name}`, {wanted}"
        raise TypeError(f"`{name}` must be an array of {place}; got one of {came}{cure}")
    check_one_place(name, array, other_name, other)


def check_same_dtype(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise unless two arrays have the same library, device and dtype, which is float32 or float64."""
    check_same_place(name, array, other_name, other)
    if array.dtype == other.dtype and array is not other:
        return
    dtype, wanted = dtype_name(array.dtype), dtype_name(other.dtype)  # only here, because names are slow
    if dtype not in ("float32", "float64"):
        raise TypeError(f"`{name}` must have dtype float32 or float64; got {dtype}")
    if dtype != wanted:
        raise TypeError(f"`{name}` must have the dtype of `{other_name}`, {wanted}; got {dtype}")


def check_network(net: Any) -> ModuleType:
    """Raise unless ``net`` has the four arrays of a network or a stack; return their namespace."""
    if getattr(net, "_fields", None) != ("W1", "b1", "W2", "b2"):
        raise TypeError(f"`net` must be a TwoLayerNet; got {type(net).__name__}")
    W1, b1, W2, b2 = net
    for name, array in zip(net._fields, net, strict=True):
        check_same_dtype(name, array, "W1", W1)
    shape = tuple(W1.shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"`W1` must have shape (D, H) or, for a stack of networks, (K, D, H); got {shape}")
    if min(shape) < 1:
        raise ValueError(f"`W1` must not be empty; got shape {shape}")
    *stack, _, n_hidden = shape
    if W2.ndim != W1.ndim or tuple(W2.shape[:-1]) != (*stack, n_hidden) or W2.shape[-1] < 1:
        wanted = ", ".join(map(str, (*stack, n_hidden, "C")))
        raise ValueError(f"`W2` must have shape ({wanted}) to follow `W1` {shape}; got {tuple(W2.shape)}")
    _check_shape("b1", b1, (*stack, n_hidden))
    _check_shape("b2", b2, (*stack, W2.shape[-1]))
    return array_namespace(W1)


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise ValueError(f"`{name}` must have shape {shape}; got {tuple(array.shape)}")


def _check_kind(name: str, array: Array, kinds: tuple[str, ...], wanted: str, hint: str = "") -> None:
    """Raise unless the array's dtype is of one of the kinds, and its library computes with this dtype."""
    xp, dtype = array_namespace(array), dtype_name(array.dtype)
    if not xp.isdtype(array.dtype, kinds):
        raise TypeError(f"`{name}` must have {wanted}; got {dtype}{hint}")
    # PyTorch can store these dtypes, but has few operations for them.
    only_stored = dtype in ("uint16", "uint32", "uint64") or dtype.startswith(("float8", "float4"))
    if only_stored and is_torch_namespace(xp):
        example = "float32" if dtype.startswith("float") else "int64"
        raise TypeError(
            f"`{name}` must have a dtype that PyTorch computes with, such as {example}; got {dtype}"
        )


def check_features(X: Any, n_features: int | None = None, W1: Array = None, *, name: str = "X") -> None:
    """Raise unless ``X`` contains samples, with ``n_features`` and on the device of ``W1``, if given."""
    if W1 is None:
        check_array(name, X)
    else:
        check_same_place(name, X, "W1", W1)
    cure = f"; `{variable_of(name)}.astype('float32')` converts numeric strings and objects"
    hint = cure if getattr(X.dtype, "kind", "") in ("O", "S", "U") else ""
    _check_kind(name, X, ("real floating", "integral", "bool"), "a real dtype", hint)
    shape = tuple(X.shape)
    if len(shape) < 2:
        raise ValueError(
            f"`{name}` must have a first axis of samples and at least one more of features; got shape {shape}"
            f"{one_sample(name, shape, n_features)}"
        )
    if min(shape) < 1:
        raise ValueError(f"`{name}` must hold at least one sample; got shape {shape}")
    if n_features not in (None, came := math.prod(shape[1:])):
        raise ValueError(
            f"`{name}` must have {n_features} features per sample to fit the network; "
            f"got shape {shape}, which is {came}{one_sample(name, shape, n_features)}"
        )


def check_targets(y: Any, X: Array, n_classes: int, *, name: str = "y", X_name: str = "X") -> None:
    """Raise unless ``y`` contains integer labels (N,) or class probabilities (N, C) for ``X``.

    The values are checked only if they can be read, so not under a JAX tracer.
    """
    check_same_place(name, y, X_name, X)
    xp = array_namespace(y)
    y_name, n_samples = variable_of(name), X.shape[0]
    if y.ndim == 1:
        hint = (
            f"; `classes, {y_name} = numpy.unique({y_name}, return_inverse=True)` numbers them from 0, "
            "and twolayer.sklearn.TwoLayerClassifier accepts them unchanged"
        )
        _check_kind(name, y, ("integral",), "an integer dtype for class labels", hint)
        if y.shape[0] != n_samples:
            raise ValueError(
                f"`{name}` must have one label for each of the {n_samples} samples of `{X_name}`; "
                f"got {y.shape[0]}"
            )
        lowest, highest = xp.min(y), xp.max(y)
        for label in (int(lowest), int(highest)) if has_values(lowest) else ():
            if not 0 <= label < n_classes:
                found = f"got a label of {label}{hint if label == n_classes and lowest > 0 else ''}"
                raise ValueError(f"`{name}` must hold class labels in [0, {n_classes}); {found}")
    elif y.ndim == 2:
        column = f"; `{y_name}.ravel()` takes the column" if y.shape[1] == 1 else ""
        hint = column or f"; `{y_name}.argmax(axis=1)` makes labels of one-hot rows"
        _check_kind(name, y, ("real floating",), "a real floating dtype for class probabilities", hint)
        if tuple(y.shape) != (n_samples, n_classes):
            raise ValueError(
                f"`{name}` must have shape {(n_samples, n_classes)} for class probabilities; "
                f"got {tuple(y.shape)}{column}"
            )
        lowest, furthest = xp.min(y), largest(xp.abs(xp.sum(y, axis=-1) - 1.0), xp=xp)
        if has_values(lowest) and not float(lowest) >= 0:
            raise ValueError(f"`{name}` must hold class probabilities of at least 0; got {float(lowest):g}")
        # Tolerates probabilities that were rounded to half precision, or have a coarser dtype.
        if has_values(lowest) and not float(furthest) <= max(1e-3, float(xp.finfo(y.dtype).eps)):
            raise ValueError(
                f"`{name}` must hold class probabilities that sum to 1 for each sample; "
                f"got a sum that is off by {float(furthest):.3g}"
            )
    else:
        raise ValueError(
            f"`{name}` must have shape ({n_samples},) for class labels or ({n_samples}, {n_classes}) for "
            f"class probabilities; got {tuple(y.shape)}"
        )


def check_sample_weight(weight: Any, X: Array, *, name: str = "sample_weight", X_name: str = "X") -> None:
    """Raise unless ``weight`` is None or has a finite weight of at least 0 for each sample, not all 0."""
    if weight is None:
        return
    check_same_place(name, weight, X_name, X)
    _check_kind(name, weight, ("real floating", "integral"), "a real dtype")
    _check_shape(name, weight, (X.shape[0],))
    xp = array_namespace(weight)
    lowest, highest = xp.min(weight), largest(weight, xp=xp)
    for extreme in (float(lowest), float(highest)) if has_values(lowest) else ():
        if not (math.isfinite(extreme) and extreme >= 0):
            raise ValueError(f"`{name}` must be finite and at least 0; got a weight of {extreme:g}")
    if has_values(lowest) and highest == 0:
        raise ValueError(f"`{name}` must hold a weight above zero; got 0 for every sample")


def check_finite(
    X: Array, *, name: str = "X", file: Any = None, dtype: Any = None, rows_in_file: HostArray | None = None
) -> None:
    """Raise unless every value is finite, in ``dtype`` as well. The check in blocks needs little memory.

    The first wrong value is searched in its block, on the array's device. The error names its row, or the
    row's entry in ``rows_in_file``, and the ``file``, if the array is from a file.
    """
    xp = array_namespace(X)
    if not xp.isdtype(X.dtype, "real floating") or 0 in X.shape:
        return
    array = f"`{name}`" if file is None else f"`{name}` in {file}"
    most = math.inf if dtype is None else float(np.finfo(dtype_name(dtype)).max)
    size = math.prod(X.shape[1:])
    for rows in row_blocks(X.shape[0], size):
        block = X[rows, ...]
        # The maximum is nan if any value is. This is several times as fast as testing every value.
        extremes = [float(found) for found in (largest(block, xp=xp), xp.min(block))]
        if all(math.isfinite(found) and abs(found) <= most for found in extremes):
            continue
        is_sound = xp.isfinite(block) & (xp.abs(block) <= min(most, float(xp.finfo(X.dtype).max)))
        first = int(xp.argmin(xp.astype(xp.reshape(is_sound, (-1,)), xp.int32)))
        value, row = float(xp.reshape(block, (-1,))[first]), rows.start + first // size
        place = np.unravel_index(first % size, X.shape[1:])
        first_in = "first in" if rows_in_file is None else "in"
        where = f"{first_in} {row_and_place(row if rows_in_file is None else rows_in_file[row], place)}"
        if math.isfinite(value):
            raise ValueError(
                f"{array} must hold values within ±{most:.8g}, the range of {dtype_name(dtype)}, the "
                f"network's dtype; got {value:.8g}, {where}"
            )
        came = "nan" if math.isnan(value) else "an infinite value"
        raise ValueError(f"{array} must be finite; got {came}, {where}")


def check_predictions(predictions: Array, *, name: str = "X", samples: Sequence[str] | None = None) -> None:
    """Raise if the logits or probabilities of a sample, (N, C) or (K, N, C), contain nan.

    Arrays in a transformation, whose values cannot be read, pass. The error names the sample's row, or the
    row's entry in ``samples``.
    """
    xp = array_namespace(predictions)
    has_nan = xp.isnan(largest(predictions, xp=xp))  # much faster than testing every number
    if not has_values(has_nan) or not bool(has_nan):
        return
    of_samples = xp.any(xp.isnan(predictions), axis=-1)
    network, row = np.unravel_index(int(np.argmax(to_host(of_samples))), (1, *of_samples.shape)[-2:])
    where = f"row {row} (counted from 0)" if samples is None else f"sample {samples[int(row)]}"
    of_network = f" of network {network}" if predictions.ndim == 3 else ""
    raise ValueError(
        f"`{name}` must hold samples for which the network's logits are finite; "
        f"got nan{of_network}, first for {where}"
    )


def row_and_place(row: Any, place: Sequence[Any]) -> str:
    """Return the row of a value in an array of samples, and its place in the sample, as text."""
    inner = ", ".join(map(str, place))
    where = {0: "", 1: f", column {inner}"}.get(len(place), f", at ({inner})")
    return f"row {row}{where} (counted from 0)"


def host_per_network(
    name: str, value: Any, n_networks: int | None, *, dtype: Any = None, **bounds: float
) -> HostArray:
    """Return a number of at least 0, or one number for each of a stack's K networks, as float64 (K,).

    ``value`` is a number, a sequence of K numbers, or an array of any library; ``n_networks`` is None for a
    single network. Raise unless all are in the bounds, as for `check_number`, and in the range of ``dtype``.
    """
    host = host_values(name, value)
    if host.dtype.kind not in "fiu":
        came = type(value).__name__ if host.ndim == 0 else str(host.dtype)
        raise TypeError(f"`{name}` must be a number, or one for each network; got {came}")
    for entry in host.reshape(-1).tolist():
        check_number(name, entry, least=0.0, **bounds)
        if dtype is not None and entry > float(np.finfo(dtype_name(dtype)).max):
            raise ValueError(
                f"`{name}` must be within the range of {dtype_name(dtype)}, the network's dtype; "
                f"got {entry:g}"
            )
    _check_per_network_shape(name, host.shape, n_networks)
    return np.broadcast_to(host, (n_networks or 1,)).astype(np.float64)


def per_network(name: str, value: Any, net: Any, *, xp: ModuleType, **bounds: float) -> Array:
    """Return the same as an array (K,) in the dtype and on the device of ``net``; accept JAX tracers, too."""
    dtype = net.W1.dtype
    if is_array_api_obj(value) and not has_values(value):
        _check_per_network_shape(name, tuple(value.shape), net.n_networks)
        return xp.broadcast_to(xp.astype(value, dtype), (net.n_networks or 1,))
    host = host_per_network(name, value, net.n_networks, dtype=dtype, **bounds)
    return from_host(host.astype(dtype_name(dtype)), xp=xp, device=device(net.W1))


def _check_per_network_shape(name: str, shape: tuple[int, ...], n_networks: int | None) -> None:
    if shape != () and shape != (n_networks,):
        wanted = "a number" if n_networks is None else f"a number or of shape ({n_networks},)"
        raise ValueError(f"`{name}` must be {wanted}; got shape {shape}")


def shown(value: Any) -> str:
    """Return the beginning of a value's `repr`, or its type if the `repr` is too long or too deep."""
    try:
        return f"{value!r:.40}"
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__}, too deep or too long to be shown"


def check_integer(name: str, value: Any, *, least: float = -math.inf) -> int:
    """Return ``value`` as an int; raise unless it is an integer of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}; got {int(value)}")
    return int(value)


def check_index(k: int, n_networks: int) -> int:
    """Return the index of a network in a stack, from 0; a negative ``k`` counts from the end."""
    k = check_integer("k", k, least=-n_networks)
    if k >= n_networks:
        raise ValueError(f"`k` must be below the number of networks, {n_networks}; got {k}")
    return k % n_networks


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """Return ``value`` as a float; raise unless it is a finite number in the bounds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be a number; got {type(value).__name__}")
    number = float(value)
    if above < number < below and least <= number <= most:
        return number
    bounds = f"finite and above {above:g}" if above > -math.inf else f"finite and at least {least:g}"
    lowest = f"({above:g}" if above > -math.inf else f"[{least:g}"
    if below < math.inf:
        bounds = f"in {lowest}, {below:g})"
    if most < math.inf:
        bounds = f"in {lowest}, {most:g}]"
    raise ValueError(f"`{name}` must be {bounds.removesuffix(' and at least -inf')}; got {number:g}")


def check_form(name: str, value: Any, attributes: Sequence[str], wanted: str) -> None:
    """Raise unless ``value`` is an object, not a class, that has the attributes; ``wanted`` describes it."""
    if isinstance(value, type) or not all(hasattr(value, attribute) for attribute in attributes):
        kind = value if isinstance(value, type) else type(value)
        came = kind.__name__
        # Another library may have a class of the same name, such as PyTorch's SGD.
        if came in wanted and not kind.__module__.startswith(f"{__package__}."):
            came = f"{kind.__module__}.{came}"
        raise TypeError(f"`{name}` must be {wanted}; got {'the class ' if kind is value else ''}{came}")


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise unless ``value`` is one of the choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}")


def warn_outside(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the location of the line that called this package."""
    frame, level = sys._getframe(), 1
    inside = f"{__package__}.", "sklearn.callback."  # scikit-learn wraps the estimator's methods there
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
