"""Training and validation samples: checked, and placed where the steps take them from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    dtype_name,
    from_host,
    is_array_api_obj,
    own_dtypes,
    standard_namespace,
    to_host,
)
from .._validation import (
    check_choice,
    check_features,
    check_finite,
    check_sample_weight,
    check_targets,
    host_values,
)
from ..mathematics import targets
from ..network import TwoLayerNet, as_targets, flatten, rescaled
from ..preprocessing import Preprocessing
from .fingerprint import Fingerprint, described, described_array, described_preprocessing
from .step import Samples


@dataclass(frozen=True)
class Data:
    """Samples of a run, or of all runs of a sweep.

    Parameters
    ----------
    train : Samples
        Beside the networks; where they are streamed, NumPy arrays.
    validation : Samples or None
    streamed : bool
    preprocessing : Preprocessing or None
        Not applied yet.
    fingerprint : dict
        Texts that tell this data from others.
    """

    train: Samples
    validation: Samples | None
    streamed: bool
    preprocessing: Preprocessing | None
    fingerprint: Fingerprint


def checked_data(
    net: TwoLayerNet,
    X: Array,
    y: Array,
    *,
    validation: Any,
    sample_weight: Array | None,
    class_weight: Any,
    preprocessing: Preprocessing | None,
    stream: bool,
) -> Data:
    """Return the samples, or raise unless they are finite and fit networks like ``net``."""
    n_inputs, like, xp = net.n_features, net.W1, array_namespace(net.W1)
    if preprocessing is not None:
        n_inputs = preprocessing.n_inputs
        if preprocessing.n_outputs != net.n_features:
            raise ValueError(
                f"`preprocessing` must give the {net.n_features} features that the network takes; "
                f"got {preprocessing.n_outputs}"
            )
    if stream:
        like, xp = None, standard_namespace(np)
    dtype = getattr(xp, dtype_name(net.W1.dtype))

    def check(X: Any, y: Any, sample_weight: Any = None, *, of: str = "") -> None:
        if stream:
            _check_on_host(of, X, y, sample_weight)
        check_features(X, n_inputs, like, name=f"{of}X")
        check_targets(y, X, net.n_classes, name=f"{of}y", X_name=f"{of}X")
        check_sample_weight(sample_weight, X, name=f"{of}sample_weight", X_name=f"{of}X")
        check_finite(X, name=f"{of}X", dtype=net.W1.dtype)

    def placed(X: Array, y: Array, sample_weight: Array | None = None) -> Samples:
        if sample_weight is not None:
            sample_weight = xp.astype(rescaled(sample_weight, xp=xp), dtype)
        return Samples(flatten(X, xp=xp), as_targets(y, dtype, xp=xp), sample_weight)

    check(X, y, sample_weight)
    held_out = None
    if validation is not None:
        check_validation(validation)
        check(*validation, of="validation ")
        held_out = placed(*validation)
    if sample_weight is not None:
        sample_weight = rescaled(sample_weight, xp=xp)
    of_samples = described_array(sample_weight, dtype=net.W1.dtype)
    train = placed(X, y, sample_weight)
    if class_weight is not None:
        of_class = check_class_weight(class_weight, train.y, net.n_classes, xp=xp)
        weights = _by_class(train.y, of_class, dtype, xp=xp)
        if sample_weight is not None:  # so that the product is in range
            weights = xp.astype(rescaled(sample_weight, xp=xp, most_exponent=0), dtype) * weights
        if not float(xp.max(weights)) > 0:
            raise ValueError("`class_weight` must leave a sample a weight above 0; got 0 for all of them")
        train = train._replace(sample_weight=weights)
    X_val, y_val, weights_val = (None, None, None) if held_out is None else held_out
    fingerprint = {
        "preprocessing": described_preprocessing(preprocessing),
        "class_weight": described(class_weight),
        "sample_weight": of_samples,
        "X": described_array(train.X),
        "y": described_array(train.y, dtype=net.W1.dtype),
        "validation X": described_array(X_val),
        "validation y": described_array(y_val, dtype=net.W1.dtype),
        "validation sample_weight": described_array(weights_val),
    }
    return Data(train, held_out, stream, preprocessing, fingerprint)


def check_validation(validation: Any) -> None:
    """Raise unless ``validation`` is two or three of something."""
    if is_array_api_obj(validation) or not hasattr(validation, "__len__") or len(validation) not in (2, 3):
        kind = type(validation).__name__
        came = f"a {kind} of {len(validation)}" if isinstance(validation, tuple | list) else kind
        raise TypeError(f"`validation` must be (X, y) or (X, y, sample_weight); got {came}")


def _check_on_host(of: str, X: Any, y: Any, sample_weight: Any) -> None:
    """Raise unless the arrays are NumPy's."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    for name, array in {"X": X, "y": y, **weights}.items():
        if not isinstance(array, np.ndarray):
            came = type(array).__name__
            raise TypeError(f"`{of}{name}` must be a NumPy array where samples are streamed; got {came}")


def _by_class(y: Array, of_class: HostArray, dtype: Any, *, xp: ModuleType) -> Array:
    """Weights (N,) of samples by their classes, beside the targets."""
    host = rescaled(of_class, xp=standard_namespace(np), most_exponent=0).astype(dtype_name(dtype))
    weights = from_host(host, xp=xp, device=device(y))
    with own_dtypes(y):
        return xp.take(weights, y, axis=0) if y.ndim == 1 else xp.matmul(y, weights)


def check_class_weight(class_weight: Any, y: Array, n_classes: int, *, xp: ModuleType) -> HostArray:
    """Return the weight of each class as (C,) float64, or raise unless they are as they must be."""
    if isinstance(class_weight, str):
        check_choice("class_weight", class_weight, ("balanced",))
        T, _ = targets(y, n_classes, dtype=xp.float32 if y.ndim == 1 else y.dtype, xp=xp)
        counts = to_host(xp.sum(T[0, ...], axis=1)).astype(np.float64)
        return np.where(counts > 0, y.shape[0] / (n_classes * np.where(counts > 0, counts, 1.0)), 0.0)
    host = host_values("class_weight", class_weight)
    if host.dtype.kind not in "fiu":
        raise TypeError(
            f"`class_weight` must hold a number for each class, or be 'balanced'; got {host.dtype}"
        )
    if host.shape != (n_classes,):
        raise ValueError(f"`class_weight` must have shape ({n_classes},); got {host.shape}")
    for weight in host.tolist():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`class_weight` must be finite and at least 0; got {weight:g}")
    if not host.any():
        raise ValueError("`class_weight` must hold a weight above 0; got 0 for every class")
    return host.astype(np.float64)
