"""Preprocessing that is fitted on training data and afterwards folded into a network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ._checks import check_array, check_feature_array, check_finite, check_network, check_number, row_blocks
from ._namespace import (
    Array,
    HostArray,
    array_namespace,
    copied,
    device,
    dtype_name,
    float_dtype,
    from_host,
    to_host,
)
from .network import TwoLayerNet, flatten


class Standardizer(NamedTuple):
    """An affine map of each feature: (X - mean) · scale.

    Parameters
    ----------
    mean : host array (D,), float64
        What is subtracted.
    scale : host array (D,), float64
        What the difference is multiplied by.
    """

    mean: HostArray
    scale: HostArray

    @classmethod
    def fit(cls, X: Array, *, center: bool = True, scale: str | float = "global") -> Standardizer:
        """Fit to the training samples ``X`` (N, D) or (N, ...), in blocks, so that little memory is needed.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Any library, any real dtype.
        center : bool
            Subtract each feature's mean (of images: the mean image); else 0.
        scale : "global", "feature" or float
            ``"global"`` divides by one standard deviation, over all features, about their means;
            ``"feature"`` by each feature's own (a constant feature is left as it is); a number multiplies.

        Raises
        ------
        TypeError
            If ``X`` is not an array of a real dtype.
        ValueError
            If ``X`` holds no sample or a value that is not finite, or ``scale`` is none of these.
        """
        check_array("X", X)
        check_feature_array(X)
        check_finite(X)
        if isinstance(scale, str) and scale not in ("global", "feature"):
            raise ValueError(f"`scale` must be 'global', 'feature' or a number above 0; got {scale!r}")
        factor = 1.0 if isinstance(scale, str) else check_number("scale", scale, above=0.0)
        X = flatten(X, xp=array_namespace(X))
        n_samples, n_features = X.shape
        mean = _mean_of_powers(X, np.zeros(n_features), power=1)
        scales = np.full(n_features, factor)
        if isinstance(scale, str):
            variance = _mean_of_powers(X, mean, power=2)
            # What rounding of the mean alone can make of a feature that is constant.
            variance[variance <= (n_samples * np.finfo(np.float64).eps * mean) ** 2] = 0.0
            if scale == "global":
                variance = np.full(n_features, np.mean(variance))
            scales = 1.0 / np.sqrt(np.where(variance > 0, variance, 1.0))
        return cls(mean if center else np.zeros(n_features), scales)

    def apply(self, X: Array, *, dtype: Any = "float32") -> Array:
        """Return (X - mean) · scale as a new array of X's library, on its device.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        dtype : dtype or str
            float32 or float64.

        Returns
        -------
        array (N, D)

        Raises
        ------
        TypeError
            If ``X`` is not an array of a real dtype, or ``dtype`` is not float32 or float64.
        ValueError
            If ``X`` does not have the features that were fitted.
        """
        check_array("X", X)
        check_feature_array(X)
        if math.prod(X.shape[1:]) != self.mean.shape[0]:
            raise ValueError(
                f"`X` must have {self.mean.shape[0]} features a sample, as were fitted; "
                f"got shape {tuple(X.shape)}"
            )
        xp, where = array_namespace(X), device(X)
        wanted = float_dtype(dtype, xp=xp, device=where)
        mean, scale = (from_host(a.astype(dtype_name(wanted)), xp=xp, device=where) for a in self)
        result = xp.astype(flatten(X, xp=xp), wanted, copy=True)
        result -= mean
        result *= scale
        return result

    def fold(self, net: TwoLayerNet) -> TwoLayerNet:
        """Return the network, or stack, that does on raw samples what ``net`` does on standardized ones.

        ((X - mean) · scale) W1 + b1 = X (scale · W1) + (b1 - (mean · scale) W1), computed in float64 on the
        host and then rounded to the network's dtype.

        Parameters
        ----------
        net : TwoLayerNet
            A network, or a stack, that was trained on what `apply` returns.

        Returns
        -------
        TwoLayerNet
            A copy, of the same library, device and dtype.

        Raises
        ------
        ValueError
            If the network does not have the features that were fitted.
        """
        xp = check_network(net)
        if net.n_features != self.mean.shape[0]:
            raise ValueError(
                f"`net` must have {self.mean.shape[0]} features, as were fitted; got {net.n_features}"
            )
        name, where = dtype_name(net.W1.dtype), device(net.W1)
        W1 = to_host(net.W1).astype(np.float64) * self.scale[:, None]
        b1 = to_host(net.b1).astype(np.float64) - self.mean @ W1
        return TwoLayerNet(
            W1=from_host(W1.astype(name), xp=xp, device=where),
            b1=from_host(b1.astype(name), xp=xp, device=where),
            W2=copied(net.W2, xp=xp),
            b2=copied(net.b2, xp=xp),
        )


def _mean_of_powers(X: Array, shift: HostArray, *, power: int) -> HostArray:
    """Mean of (X - shift)**power of each feature (D,), in float64 on the host, block by block."""
    total: HostArray = np.zeros(X.shape[1])
    for rows in row_blocks(X.shape[0], 4 * X.shape[1]):  # a block takes several times its size here
        total += np.sum((to_host(X[rows, :]).astype(np.float64) - shift) ** power, axis=0)
    total /= X.shape[0]
    return total
