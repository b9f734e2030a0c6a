"""Preprocessing that is fitted to training samples and can be folded into the trained network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._namespace import (
    Array,
    HostArray,
    array_namespace,
    cast,
    copied,
    device,
    divided_as,
    dtype_name,
    float_dtype,
    from_host,
    has_float,
    has_values,
    is_jax_namespace,
    is_wider,
    own_dtypes,
    to_host,
    undisturbed,
)
from ._validation import (
    check_choice,
    check_features,
    check_finite,
    check_integer,
    check_network,
    check_number,
    check_plain,
    row_blocks,
    warn_outside,
)
from .encoding import TableEncoder
from .network import TwoLayerNet, flatten
from .settings import SETTINGS

__all__ = ["Preprocessing", "Standardizer", "TableEncoder", "Whitener"]

_CACHED = 64  # divides the size of blocks, so that a block fits into a processor's cache
_MOST_LOST = 0.01  # largest harmless rounding error of a sample, in standard deviations


class Preprocessing(Protocol):
    """Protocol of an affine map of samples that can be folded into a network.

    Any object with these attributes is accepted.
    """

    @property
    def n_inputs(self) -> int:
        """Number of features of a sample, D."""

    @property
    def n_outputs(self) -> int:
        """Number of features of a mapped sample, M."""

    def apply(self, X: Array, *, dtype: Any = "float32") -> Array:
        """Return the mapped samples as a new array of their library.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        dtype : dtype or str
            float32 or float64, the dtype of the result.

        Returns
        -------
        array (N, M)
            The mapped samples.
        """

    def fold(self, net: TwoLayerNet) -> TwoLayerNet:
        """Return the network that gives for raw samples the results that ``net`` gives for mapped samples.

        Parameters
        ----------
        net : TwoLayerNet
            A network, or a stack.

        Returns
        -------
        TwoLayerNet
            The network for raw samples.
        """

    def host_arrays(self) -> tuple[HostArray, ...]:
        """Return the parameters of the map as float64 host arrays."""

    @staticmethod
    def transform(X: Array, arrays: tuple[Array, ...], *, xp: ModuleType) -> Array:
        """Return a mapped batch as a new array in the arrays' dtype, without checks.

        This reads no value into Python, so that it can be compiled. It does not change its arguments.

        Parameters
        ----------
        X : array (n, D)
            Samples, of any real dtype.
        arrays : tuple of arrays
            The arrays of `host_arrays`, on the device of ``X``, in the dtype of the result.
        xp : module
            Their array-API namespace.

        Returns
        -------
        array (n, M)
            The mapped samples.
        """


def folded(net: TwoLayerNet, preprocessing: Preprocessing | None) -> TwoLayerNet:
    """Return the network, or stack, that accepts raw samples."""
    return net if preprocessing is None else preprocessing.fold(net)


class _Fitted:
    """The methods that `Standardizer` and `Whitener` share."""

    __slots__ = ()

    @property
    def n_inputs(self: Any) -> int:
        """Number of features of a sample, D."""
        return int(self.mean.shape[0])

    @property
    def n_outputs(self: Any) -> int:
        """Number of features of a mapped sample: D, or the M columns of the matrix."""
        return int(self[1].shape[-1])

    @undisturbed
    def apply(self: Any, X: Array, *, dtype: Any = "float32") -> Array:
        """Return the mapped samples as a new array of X's library, on its device.

        The mean is subtracted before values are rounded to ``dtype``. float64 samples and 32-bit and 64-bit
        integers are centred in float64; float32 represents all values of the other dtypes. If the device has
        no float64, they are centred on the host, block by block. While JAX traces, they are cast first
        instead.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        dtype : dtype or str
            float32 or float64, the dtype of the result.

        Returns
        -------
        array (N, D), or (N, M) for a matrix
            The mapped samples.

        Raises
        ------
        TypeError
            If ``X`` is not an array of a real dtype, or ``dtype`` is not float32 or float64.
        ValueError
            If ``X`` does not have the number of features that was fitted.
        """
        check_features(X)
        if math.prod(X.shape[1:]) != self.n_inputs:
            raise ValueError(
                f"`X` must have {self.n_inputs} features per sample, as fitted; got shape {tuple(X.shape)}"
            )
        xp, where = array_namespace(X), device(X)
        wanted = float_dtype(dtype, xp=xp, device=where)
        host_arrays, host_mean = arrays_for(self, [X], wanted, xp=xp, device=where)
        arrays = tuple(from_host(array, xp=xp, device=where) for array in host_arrays)
        X = flatten(X, xp=xp)

        def mapped(rows: slice) -> Array:
            block = X[rows, :]
            if host_mean is not None:
                block = from_host(centred_on_host(block, host_mean), xp=xp, device=where)
            return self.transform(block, arrays, xp=xp)

        n_samples, n_columns = X.shape[0], max(self.n_inputs, self.n_outputs)
        if is_jax_namespace(xp):  # JAX arrays are immutable
            return divided_as(xp.concat([mapped(rows) for rows in row_blocks(n_samples, n_columns)]), X)
        result = xp.empty((n_samples, self.n_outputs), dtype=wanted, device=where)
        for rows in row_blocks(n_samples, n_columns * _CACHED):
            result[rows, :] = mapped(rows)
        return result

    @undisturbed
    def fold(self: Any, net: TwoLayerNet) -> TwoLayerNet:
        """Return the network that gives for raw samples the results that ``net`` gives for mapped samples.

        With A = diag(scale), or the matrix, ((X - mean) A) W1 + b1 = X (A W1) + (b1 - mean A W1). This is
        computed in float64 on the host and then rounded to the network's dtype.

        Parameters
        ----------
        net : TwoLayerNet
            A network, or a stack, that was trained on the result of `apply`.

        Returns
        -------
        TwoLayerNet
            A copy with D features, in the same library, on the same device and with the same dtype.

        Raises
        ------
        ValueError
            If the network does not have the number of features that `apply` returns.

        Warns
        -----
        RuntimeWarning
            If a feature's mean is so large that rounding samples to the network's dtype may change them by
            more than a hundredth of a standard deviation. For float32, this is a mean of about 1e5 standard
            deviations.
        """
        xp, (mean, linear) = check_network(net), self.host_arrays()
        if net.n_features != self.n_outputs:
            raise ValueError(
                f"`net` must have the {self.n_outputs} features of mapped samples; got {net.n_features}"
            )
        lost = lost_by_rounding(self, net.W1.dtype)
        if lost is not None:
            warn_outside(
                f"The folded network has too few digits for raw samples: {lost}. Fold a float64 copy of the "
                "network, or pass the samples that `apply` returns to `net`",
                RuntimeWarning,
            )
        where = device(net.W1)
        W1, b1 = to_host(net.W1), to_host(net.b1)
        folded = np.empty((*W1.shape[:-2], self.n_inputs, W1.shape[-1]), dtype=W1.dtype)
        for k in np.ndindex(W1.shape[:-2]):  # a single iteration, with k = (), for one network
            weights = W1[k].astype(np.float64)  # (M, H), the weights of mapped samples
            weights = linear[:, None] * weights if linear.ndim == 1 else linear @ weights
            folded[k] = weights
            b1[k] = b1[k].astype(np.float64) - mean @ weights
        return TwoLayerNet(
            W1=from_host(folded, xp=xp, device=where),
            b1=from_host(b1, xp=xp, device=where),
            W2=copied(net.W2, xp=xp),
            b2=copied(net.b2, xp=xp),
        )

    def __repr__(self: Any) -> str:
        shapes = ", ".join(f"{name}: {np.shape(array)}" for name, array in self._asdict().items())
        return f"{type(self).__name__}({shapes})"

    def host_arrays(self: Any) -> tuple[HostArray, ...]:
        """Return the arrays of the map; raise unless they are plain, because users may have set them."""
        for name, array in self._asdict().items():
            check_plain(name, array)
        return tuple(self)


class _MeanAndScale(NamedTuple):
    mean: HostArray
    scale: HostArray


class _MeanAndMatrix(NamedTuple):
    mean: HostArray
    matrix: HostArray


class Standardizer(_Fitted, _MeanAndScale):
    """An affine map of each feature: (X - mean) · scale.

    Parameters
    ----------
    mean : host array (D,), float64
        Mean to subtract from each feature.
    scale : host array (D,), float64
        Factor for each difference.
    """

    __slots__ = ()

    @classmethod
    @undisturbed
    def fit(
        cls,
        X: Array,
        *,
        center: bool | str = True,
        scale: str | float = "global",
        n_channels: int | None = None,
    ) -> Standardizer:
        """Fit to training samples. They are processed in blocks, so that little memory is needed.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Training samples, of any library and any real dtype.
        center : bool or "channel"
            If True, subtract each feature's mean (for images, the mean image). If ``"channel"``, subtract the
            mean of each channel. If False, subtract nothing.
        scale : "global", "channel", "feature" or float
            ``"global"`` divides by one standard deviation over all features, ``"channel"`` by one per
            channel, and ``"feature"`` by one per feature. Deviations are from the features' means, or from
            the channels' means if ``center`` is ``"channel"``. The result then has a standard deviation of 1.
            Constant features or channels are not divided. A number is used as a factor.
        n_channels : int, optional
            Number of channels, used if ``center`` or ``scale`` is ``"channel"``. Channels are the last axis
            of a sample: feature i belongs to channel i % n_channels. It may be left out for images: those of
            shape (N, height, width) have one channel.

        Returns
        -------
        Standardizer
            The fitted map.

        Raises
        ------
        TypeError
            If ``X`` is not an array of a real dtype, or another argument has the wrong type.
        ValueError
            If ``X`` contains no samples or a value that is not finite, ``center`` or ``scale`` has another
            value, or ``n_channels`` is missing or does not divide the number of features.
        """
        check_features(X)
        check_finite(X)
        if not isinstance(center, str | bool | np.bool_):
            raise TypeError(f"`center` must be True, False or 'channel'; got {type(center).__name__}")
        check_choice("center", center, (True, False, "channel"))
        scale = SETTINGS["scale"].check(scale)
        n_samples, n_features = X.shape[0], math.prod(X.shape[1:])
        groups = {"global": 1, "feature": n_features}
        if "channel" in (center, scale):
            groups["channel"] = _check_channels(n_channels, X)
        X = flatten(X, xp=array_namespace(X))
        about = center if isinstance(center, str) else "feature"
        mean = _group_means(_mean_of_powers(X, np.zeros(n_features), power=1), groups[about])
        if isinstance(scale, str):
            variance = _mean_of_powers(X, mean, power=2)
            variance[variance <= _rounding(mean, n_samples * n_features // groups[about])] = 0.0
            variance = _group_means(variance, groups[scale])
            scales = 1.0 / np.sqrt(np.where(variance > 0, variance, 1.0))
        else:
            scales = np.full(n_features, scale)
        return cls(mean if center else np.zeros(n_features), scales)

    @staticmethod
    def transform(X: Array, arrays: tuple[Array, ...], *, xp: ModuleType) -> Array:
        """Return (X - mean) · scale for a batch; see `Preprocessing.transform`.

        If the mean is in float64 and the scale in float32, the mean is subtracted in float64.
        """
        mean, scale = arrays
        result = _centred(X, mean, scale.dtype, xp=xp)
        result *= scale[None, :]
        return result


class Whitener(_Fitted, _MeanAndMatrix):
    """An affine map that removes correlations between features: (X - mean) matrix.

    Parameters
    ----------
    mean : host array (D,), float64
        Mean to subtract from each feature.
    matrix : host array (D, M), float64
        Matrix that multiplies the difference from the right.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer.preprocessing import Whitener
    >>> X = np.random.default_rng(0).normal(size=(500, 3)) @ [[1.0, 1, 0], [0, 1, 1], [0, 0, 1]]
    >>> white = Whitener.fit(X, epsilon=0).apply(X)
    >>> bool(np.allclose(np.cov(white.T, bias=True), np.eye(3), atol=1e-5))
    True
    """

    __slots__ = ()

    @classmethod
    @undisturbed
    def fit(
        cls, X: Array, *, epsilon: float = 0.1, kind: str = "zca", n_components: int | None = None
    ) -> Whitener:
        """Fit to training samples.

        With the eigenvalues λ of their covariance, the largest first, and the m leading eigenvectors U_m::

            g_j = (λ_j / mean(λ) + epsilon)^(-1/2),  j = 1, …, m
            matrix = s · U_m diag(g) U_mᵀ   ("zca", M = D)
            matrix = s · U_m diag(g)        ("pca", M = m)

        "pca" gives coordinates along the eigenvectors. "zca" rotates them back to the features, so that
        images remain images [1]_. With all components, both preserve the same distances between samples.
        ``epsilon`` limits the amplification of directions that hardly vary, which are mostly noise [2]_. It
        is a fraction of the features' mean variance, so its effect does not depend on the samples' scale.
        With ``epsilon`` 0 and a covariance of full rank, the outputs are uncorrelated with variance 1. Of all
        such maps, "zca" changes the samples least [3]_. In all cases, the factor s makes the mean variance of
        the M outputs 1 over the training samples.

        The covariance is summed in float64 on the host, block by block. The covariance and its decomposition
        take about 6 D² numbers of memory (0.5 GB for CIFAR-10, D = 3,072) and 10 D³ + N D² operations.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Training samples, of any library and any real dtype.
        epsilon : float
            At least 0. A direction whose λ / mean(λ) + ``epsilon`` is 0 up to float64 rounding gets g = 0: it
            is dropped, to avoid a division by 0. With N ≤ D, some directions have λ = 0.
        kind : "zca" or "pca"
            See above. "pca" makes the largest entry of each eigenvector positive.
        n_components : int, optional
            Number of components m, from 1 to D. The default is D. With fewer, "zca" projects onto the leading
            eigenvectors.

        Returns
        -------
        Whitener
            The fitted map.

        Raises
        ------
        TypeError
            If ``X`` is not an array of a real dtype, or another argument has the wrong type.
        ValueError
            If ``X`` contains no samples or a value that is not finite, or another argument is out of range.

        Notes
        -----
        If all samples are equal, the covariance is 0. The identity is used instead, so that the samples are
        centred and not rescaled.

        References
        ----------
        .. [1] A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report,
           University of Toronto 2009, appendix A.
        .. [2] A. Coates, A. Y. Ng, H. Lee: An Analysis of Single-Layer Networks in Unsupervised Feature
           Learning, AISTATS 2011. https://proceedings.mlr.press/v15/coates11a.html
        .. [3] A. Kessy, A. Lewin, K. Strimmer: Optimal Whitening and Decorrelation, The American
           Statistician 72 (2018). https://doi.org/10.1080/00031305.2016.1277159
        """
        check_features(X)
        check_finite(X)
        epsilon = check_number("epsilon", epsilon, least=0.0)
        check_choice("kind", kind, ("zca", "pca"))
        X = flatten(X, xp=array_namespace(X))
        n_samples, n_features = X.shape
        m = n_features if n_components is None else check_integer("n_components", n_components, least=1)
        if m > n_features:
            raise ValueError(f"`n_components` must be at most the number of features, {n_features}; got {m}")
        mean = _mean_of_powers(X, np.zeros(n_features), power=1)
        variances, U = _principal_axes(X, mean)
        relative = variances / np.mean(variances)
        shifted = relative + epsilon
        lost = shifted <= max(n_samples, n_features) * np.finfo(np.float64).eps * relative[0]
        gains = np.where(lost, np.inf, shifted)[:m] ** -0.5
        n_outputs = n_features if kind == "zca" else m
        gains *= math.sqrt(n_outputs / np.sum(gains**2 * variances[:m]))
        if kind == "pca":
            return cls(mean, U[:, :m] * gains)
        half = U[:, :m] * np.sqrt(gains)
        return cls(mean, half @ half.T)

    @staticmethod
    def transform(X: Array, arrays: tuple[Array, ...], *, xp: ModuleType) -> Array:
        """Return (X - mean) matrix for a batch; see `Preprocessing.transform`.

        If the mean is in float64 and the matrix in float32, the mean is subtracted in float64.
        """
        mean, matrix = arrays
        with own_dtypes(X):
            return xp.matmul(_centred(X, mean, matrix.dtype, xp=xp), matrix)


def _check_channels(n_channels: Any, X: Array) -> int:
    """Return the number of channels, given or known from images; raise unless it is known and divides D."""
    if n_channels is None:
        if X.ndim not in (3, 4):
            raise ValueError(
                "`n_channels` must be given where `center` or `scale` is 'channel' and the samples are not "
                f"images of 2 or 3 axes; got None with `X` of shape {tuple(X.shape)}"
            )
        n_channels = X.shape[3] if X.ndim == 4 else 1
    n, n_features = check_integer("n_channels", n_channels, least=1), math.prod(X.shape[1:])
    if n_features % n:
        raise ValueError(f"`n_channels` must divide the number of features, {n_features}; got {n}")
    return n


def arrays_for(
    fitted: Preprocessing, samples: Sequence[Array], dtype: Any, *, xp: ModuleType, device: Any
) -> tuple[tuple[HostArray, ...], HostArray | None]:
    """Return the arrays for `Preprocessing.transform`, and a mean to subtract before it, or None.

    The arrays are in ``dtype``. If the samples' dtype is wider than ``dtype``, the mean of a `Standardizer`
    or `Whitener` is in float64 instead, so that it is subtracted before the samples are rounded. If the
    device has no float64, the mean among the arrays is 0, and `centred_on_host` must subtract the returned
    mean.

    Raises
    ------
    ValueError
        If ``dtype`` cannot represent a value of an array, for example the scale of a feature whose spread is
        too small.
    """

    def narrow(arrays: tuple[HostArray, ...]) -> tuple[HostArray, ...]:
        for array in arrays:
            check_finite(array, name="preprocessing", dtype=dtype)
        return tuple(array.astype(dtype_name(dtype)) for array in arrays)

    arrays = fitted.host_arrays()
    is_ours = fitted.transform in (Standardizer.transform, Whitener.transform)
    if not (is_ours and any(is_wider(X, dtype) for X in samples)):
        return narrow(arrays), None
    mean, linear = arrays[0], narrow(arrays[1:])
    if has_float("float64", xp=xp, device=device):
        return (mean, *linear), None
    if not all(map(has_values, samples)):  # tracers cannot be copied to the host
        return narrow(arrays), None
    return (np.zeros(mean.shape, dtype_name(dtype)), *linear), mean


def centred_on_host(X: Array, mean: HostArray) -> HostArray:
    """Return X - mean for samples (..., D), subtracted in float64 and then rounded to float32."""
    return (to_host(X).astype(np.float64) - mean).astype(np.float32)


def lost_by_rounding(fitted: Preprocessing, dtype: Any) -> str | None:
    """Describe the error if samples are rounded to ``dtype`` before our map; return None if it is small."""
    mean, linear = fitted.host_arrays()
    gain = linear if linear.ndim == 1 else np.linalg.norm(linear, axis=1)
    lost = np.abs(mean * gain) * np.finfo(dtype_name(dtype)).eps
    i = int(np.argmax(lost))
    if lost[i] <= _MOST_LOST:
        return None
    return (
        f"feature {i} has a mean of {mean[i]:.4g}, and rounding it to {dtype_name(dtype)} changes its "
        f"preprocessed values, which are around 1, by up to {lost[i]:.2g}"
    )


def _centred(X: Array, mean: Array, dtype: Any, *, xp: ModuleType) -> Array:
    """Return X - mean (n, D) as a new array in ``dtype``, subtracted in the mean's dtype."""
    result = xp.astype(X, mean.dtype, copy=True)
    result -= mean[None, :]
    return cast(result, dtype, xp=xp)


def _centred_blocks(X: Array, mean: HostArray) -> Iterator[HostArray]:
    """Yield blocks of X - mean, in float64 on the host."""
    for rows in row_blocks(X.shape[0], 4 * X.shape[1]):  # a block needs several times its own memory
        yield to_host(X[rows, :]).astype(np.float64) - mean


def _mean_of_powers(X: Array, shift: HostArray, *, power: int) -> HostArray:
    """Return the mean of (X - shift)**power for each feature, (D,)."""
    total: HostArray = np.zeros(X.shape[1])
    for block in _centred_blocks(X, shift):
        total += np.sum(block**power, axis=0)
    total /= X.shape[0]
    return total


def _group_means(values: HostArray, n_groups: int) -> HostArray:
    """Return the values (D,), each replaced by the mean of its group; value i is in group i % n_groups."""
    means = np.mean(values.reshape(-1, n_groups), axis=0)
    return np.tile(means, values.shape[0] // n_groups)


def _rounding(mean: HostArray, n_values: int) -> HostArray:
    """Return a bound on the variance that rounding of its mean alone can give to a constant feature."""
    return (n_values * np.finfo(np.float64).eps * mean) ** 2


def _principal_axes(X: Array, mean: HostArray) -> tuple[HostArray, HostArray]:
    """Return the eigenvalues (D,) of the samples' covariance, the largest first, and eigenvectors (D, D)."""
    n_samples, n_features = X.shape
    covariance: HostArray = np.zeros((n_features, n_features))
    for block in _centred_blocks(X, mean):
        covariance += block.T @ block
    covariance /= n_samples
    constant = np.diagonal(covariance) <= _rounding(mean, n_samples)
    if np.all(constant):
        return np.ones(n_features), np.eye(n_features)
    covariance[constant, :] = 0.0
    covariance[:, constant] = 0.0
    variances, U = np.linalg.eigh(covariance)
    variances, U = variances[::-1], U[:, ::-1]
    # Round first: of entries that are equal up to rounding errors, argmax then selects the first.
    largest = np.argmax(np.round(np.abs(U), 6), axis=0)
    return variances, U * np.sign(U[largest, np.arange(n_features)])
