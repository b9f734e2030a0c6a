"""Training and validation samples, and the weights of classes."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .._hints import conversion
from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    divided_as,
    dtype_name,
    from_host,
    is_array_api_obj,
    own_dtypes,
    standard_namespace,
    to_host,
)
from .._validation import check_choice, check_number, host_values, row_blocks
from ..augmentation import Augmentation
from ..network import TwoLayerNet, rescaled
from ..preprocessing import Preprocessing, arrays_for, centred_on_host, lost_by_rounding
from .fingerprint import Fingerprint
from .step import Samples


@dataclass(frozen=True)
class Data:
    """Samples of a run, or of all runs of a sweep.

    Parameters
    ----------
    train : Samples
        On the device of the networks; NumPy arrays if they are streamed.
    validation : Samples or None
        With folds, the same samples as ``train``: each fold is judged by the rows that it holds out.
    given : array (N, ...)
        The training samples in the shape and values of the argument ``X``, for a teacher.
    fingerprint : dict
        Texts that describe the data; other data have other texts.
    """

    train: Samples
    validation: Samples | None
    given: Array
    fingerprint: Fingerprint


def check_validation(validation: Any) -> None:
    """Raise unless ``validation`` has two or three entries; the entries themselves are checked later."""
    if is_array_api_obj(validation) or not hasattr(validation, "__len__") or len(validation) not in (2, 3):
        kind = type(validation).__name__
        came = f"a {kind} of {len(validation)}" if isinstance(validation, tuple | list) else kind
        raise TypeError(f"`validation` must be (X, y) or (X, y, sample_weight); got {came}")


def check_on_host(of: str, X: Any, y: Any, sample_weight: Any) -> None:
    """Raise unless the arrays are NumPy arrays; ``of`` is a prefix for their names in the message."""
    for name, array in (("X", X), ("y", y), ("sample_weight", sample_weight)):
        if not isinstance(array, np.ndarray | None):
            came = f"{type(array).__name__}{conversion(name, array)}"
            raise TypeError(f"`{of}{name}` must be a NumPy array if samples are streamed; got {came}")


def by_class(y: Array, of_class: HostArray, dtype: Any, *, xp: ModuleType) -> Array:
    """Weights (N,) of samples by their classes, on the device of the targets.

    The weight of a sample with class probabilities is the mean of the class weights by its probabilities.
    """
    # Below 1, so that the product with sample weights stays in the range of float32.
    host = rescaled(of_class, xp=standard_namespace(np), most_exponent=0).astype(dtype_name(dtype))
    weights = from_host(host, xp=xp, device=device(y))
    with own_dtypes(y):
        return xp.take(weights, y, axis=0) if y.ndim == 1 else xp.matmul(y, weights)


def check_class_weight(class_weight: Any, y: Array, n_classes: int, *, xp: ModuleType) -> HostArray:
    """Return the weight of each class as (C,) float64, or raise unless they are valid and not all 0."""
    if isinstance(class_weight, str):
        check_choice("class_weight", class_weight, ("balanced",))
        counts = np.bincount(to_host(y), minlength=n_classes) if y.ndim == 1 else to_host(xp.sum(y, axis=0))
        weights = np.zeros(n_classes)  # of a class without samples, whose weight is never used
        np.divide(y.shape[0], n_classes * counts.astype(np.float64), out=weights, where=counts > 0)
        return weights
    host = host_values("class_weight", class_weight)
    if host.dtype.kind not in "fiu":
        raise TypeError(
            f"`class_weight` must hold a number for each class, or be 'balanced'; got {host.dtype}"
        )
    if host.shape != (n_classes,):
        raise ValueError(f"`class_weight` must have shape ({n_classes},); got {host.shape}")
    for weight in host.tolist():
        check_number("class_weight", weight, least=0.0)
    if not host.any():
        raise ValueError("`class_weight` must hold a weight above 0; got 0 for every class")
    return host.astype(np.float64)


def centred(samples: Samples, mean: HostArray) -> Samples:
    """Return samples with X - mean in place of X, subtracted on the host, block by block."""
    X = samples.X
    xp, where = array_namespace(X), device(X)
    # By blocks, because float64 copies of all samples might not fit the host's memory.
    blocks = (centred_on_host(X[rows, :], mean) for rows in row_blocks(*X.shape))
    joined = xp.concat([from_host(block, xp=xp, device=where) for block in blocks])
    return samples._replace(X=divided_as(joined, X))


def arrays_of(
    net: TwoLayerNet, data: Data, preprocessing: Preprocessing | None, augmentation: Augmentation | None
) -> tuple[tuple[HostArray, ...], HostArray | None]:
    """Return the preprocessing's arrays, and the mean to subtract on the host, if any; see `arrays_for`."""
    if preprocessing is None:
        return (), None
    dtype, place = net.W1.dtype, {"xp": array_namespace(net.W1), "device": device(net.W1)}
    samples = [part.X for part in (data.train, data.validation) if part is not None]
    arrays, host_mean = arrays_for(preprocessing, samples, dtype, **place)
    if host_mean is None or augmentation is None:
        return arrays, host_mean
    # An augmentation takes samples as they are in `X`, so they cannot be centred before it. They are then
    # centred in float32 after it, if that loses little.
    lost = lost_by_rounding(preprocessing, dtype)
    if lost is not None:
        raise ValueError(
            f"`augmentation` must be omitted because the device has no float64 for the samples: {lost}"
        )
    return arrays_for(preprocessing, [], dtype, **place)
