"""Checks and conversion of samples, labels and weights for the estimator."""

from __future__ import annotations

from numbers import Real
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._frames import is_missing
from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    dtype_name,
    from_host,
    is_array_api_obj,
    library_name,
    to_host,
)
from .._places import check_current_device
from .._validation import check_plain, check_sample_weight
from ..network import TwoLayerNet, rescaled


class Samples(NamedTuple):
    """Samples in their own library, and their label codes, weights and classes on the host."""

    X: Array  # (N, D)
    codes: HostArray  # (N,) int64: the index of each label in `classes`
    weights: HostArray | None  # (N,) float64
    classes: HostArray  # (C,), sorted

    def take(self, rows: HostArray) -> Samples:
        """Return the samples in these rows."""
        X = array_namespace(self.X).take(self.X, beside(self.X, rows), axis=0)
        weights = None if self.weights is None else self.weights[rows]
        return Samples(X, self.codes[rows], weights, self.classes)

    def arrays(self) -> tuple[Array, Array, Array | None]:
        """Return X, the label codes, and the weights in the dtype of X, all on the device of X."""
        weights = self.weights
        if weights is not None:
            weights = beside(self.X, weights.astype(dtype_name(self.X.dtype)))
        return self.X, beside(self.X, self.codes), weights

    def network(self, n_hidden: int, seed: int | None) -> TwoLayerNet:
        """Return a new network in the library, on the device and in the dtype of the samples."""
        X, place = self.X, {"xp": array_namespace(self.X), "device": device(self.X)}
        sizes = X.shape[1], n_hidden, len(self.classes)
        return TwoLayerNet.initialize(*sizes, rng=seed, dtype=X.dtype, **place)


def beside(X: Array, host: HostArray) -> Array:
    """Copy a host array to the library and the device of X."""
    return from_host(host, xp=array_namespace(X), device=device(X))


def labels_beside(X: Array, labels: HostArray) -> Array:
    """Copy labels to the library and the device of X; return them unchanged if it lacks their dtype."""
    info = array_namespace(X).__array_namespace_info__()
    return beside(X, labels) if dtype_name(labels.dtype) in info.dtypes(device=device(X)) else labels


def dispatched(array: Any) -> bool:
    """Return whether scikit-learn's array API dispatch applies to an array, so that it is not converted."""
    return bool(get_config()["array_api_dispatch"]) and is_array_api_obj(array)


def on_host(array: Any) -> Any:
    """Return labels or weights, copied to the host if scikit-learn would not convert them to NumPy."""
    return to_host(array) if dispatched(array) else array


def validated(model: Any, X: Any, y: Any = "no_validation", *, reset: bool, suffix: str = "") -> Any:
    """Return samples, and labels if given, as validated by scikit-learn, on the device of X.

    float32 and float64 are kept if the device has them. A masked X, or a CuPy array on another device than
    the current one, is rejected, because scikit-learn would silently copy it.
    """
    check_plain(f"X{suffix}", X)
    dtypes: list[Any] = [np.float64, np.float32]  # other dtypes are converted to the first
    if dispatched(X):
        check_current_device(f"X{suffix}", X)
        there = array_namespace(X).__array_namespace_info__().dtypes(device=device(X), kind="real floating")
        dtypes = [there[name] for name in ("float64", "float32") if name in there]
    return validate_data(model, X, y, reset=reset, dtype=dtypes)


def checked_labels(labels: Any, *, name: str) -> Any:
    """Return labels in a form for scikit-learn, or raise if one is missing.

    Nullable integers and booleans are converted here, because scikit-learn would convert them to float64,
    which cannot represent all large integers.
    """
    check_plain(name, labels)
    labels = on_host(labels)
    dtype = getattr(labels, "dtype", None)
    if labels is None or (isinstance(dtype, np.dtype) and dtype.kind != "O"):
        return labels
    values = np.asarray(labels, dtype=object)
    missing = [is_missing(value) for value in values.flat]
    if any(missing):
        row = missing.index(True)
        raise ValueError(f"`{name}` must hold no missing label; got one, first in row {row} (counted from 0)")
    if not hasattr(labels, "to_numpy"):
        return labels
    plain = np.asarray(labels)
    if plain.dtype.kind in "biu":
        return plain
    kinds = {type(value) for value in values.flat}
    if kinds == {bool}:
        return values.astype(bool)
    if kinds == {int}:
        return values.astype(np.uint64 if max(values.flat) >= 2**63 else np.int64)
    return labels


def classes_of(labels: HostArray, *, name: str) -> HostArray:
    """Return the distinct labels, sorted, or raise unless there are at least two."""
    classes: HostArray = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"`{name}` must hold at least two classes; got one class")
    return classes


def numbered(labels: HostArray, classes: HostArray, *, name: str) -> HostArray:
    """Return the index of each label in the classes, (N,) int64, or raise if a label is not a class."""
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise ValueError(
            f"`{name}` must hold labels that are in the classes; got {labels[unknown].tolist()[0]!r}"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def checked_weights(sample_weight: Any, labels: HostArray, *, name: str) -> HostArray | None:
    """Return the weights of samples, (N,) float64 or None, or raise unless they are valid."""
    if sample_weight is None:
        return None
    check_plain(name, sample_weight)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(len(labels), sample_weight)
    weights = check_array(on_host(sample_weight), ensure_2d=False, dtype=np.float64, input_name=name)
    check_sample_weight(weights, labels, name=name)
    return np.asarray(rescaled(weights, xp=array_namespace(weights)))


def check_place(X: Array, like: Array, method: str) -> None:
    """Raise unless X is of the library and on the device of ``like``; ``method`` is for the message."""
    wanted, came = ((array_namespace(array), device(array)) for array in (like, X))
    if wanted != came:
        wanted_name, came_name = (f"{library_name(xp)} on {where}" for xp, where in (wanted, came))
        raise ValueError(  # scikit-learn recognises this error by its words
            f"Inputs of {method} must use the same namespace and the same device as those of fit(), "
            f"{wanted_name}; got {came_name}"
        )


def set_aside(codes: HostArray, parameters: SimpleNamespace, seed: int) -> tuple[HostArray, HostArray]:
    """Return the rows to train on, and the rows to set aside for ``early_stopping``."""
    rows, aside = train_test_split(
        np.arange(len(codes)),
        test_size=parameters.validation_fraction,
        stratify=codes,
        random_state=seed % 2**32,
    )
    return rows, aside
