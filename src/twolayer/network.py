"""The two-layer network: its four arrays, and the public methods that call the mathematics.

Public arrays have weights (in, out), and a leading axis K only in a stack of K networks. The arrays of the
mathematics always have the axis K, and weights (out, in).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy

from ._forms import laid_out, public_namespace
from ._namespace import (
    Array,
    array_namespace,
    by_rows,
    cast,
    copied,
    device,
    divided_as,
    dtype_name,
    float_dtype,
    from_host,
    has_values,
    is_array_api_obj,
    library_name,
    shown_device,
    standard_namespace,
    to_host,
    undisturbed,
)
from ._streams import RandomState, Stream, seed_of, stream
from ._validation import (
    check_features,
    check_finite,
    check_index,
    check_integer,
    check_network,
    check_predictions,
    check_sample_weight,
    check_targets,
    per_network,
    row_blocks,
)
from .mathematics import (
    Params,
    cross_entropy,
    forward,
    is_correct,
    log_softmax,
    loss,
    loss_and_gradients,
    shares,
    softmax_parts,
    targets,
)
from .settings import SETTINGS

# ---------------------------------------------------------------------------------------------------------
# Conversion between public arrays and those of the mathematics.


def pack(net: TwoLayerNet, *, xp: ModuleType) -> Params:
    """Return a network or stack with weights (out, in), as the mathematics needs it; views if possible."""
    arrays = net if net.n_networks is not None else tuple(array[None, ...] for array in net)
    W1, b1, W2, b2 = arrays
    return Params(xp.matrix_transpose(W1), b1, xp.matrix_transpose(W2), b2)


def unpack(params: Params, *, stacked: bool, xp: ModuleType) -> TwoLayerNet:
    """Return the inverse of `pack`, each array in row-major order. May share memory with ``params``."""
    W1, b1, W2, b2 = params
    arrays = xp.matrix_transpose(W1), b1, xp.matrix_transpose(W2), b2
    each = (array if stacked else array[0, ...] for array in arrays)
    return TwoLayerNet(*(by_rows(array, xp=xp) for array in each))


def widest(params: Params) -> int:
    """Return the number of elements per sample in the widest array of the forward pass."""
    K, H, D = params.W1.shape
    return int(max(D, K * H, K * params.W2.shape[1]))


def probabilities(net: TwoLayerNet, X: Array) -> Array:
    """Return the result of `TwoLayerNet.predict_proba` without its check for nan."""
    logits = net.logits(X)
    xp = array_namespace(logits)
    return xp.exp(log_softmax(logits, axis=-1, xp=xp))


def flatten(X: Array, *, xp: ModuleType) -> Array:
    """Return samples (N, ...) as rows (N, D)."""
    return xp.reshape(X, (X.shape[0], math.prod(X.shape[1:])))


def as_targets(y: Array, dtype: Any, *, xp: ModuleType) -> Array:
    """Return labels as int32, which is enough for all classes, or class probabilities in ``dtype``."""
    return cast(y, xp.int32 if y.ndim == 1 else dtype, xp=xp)


def rescaled(weights: Array, *, xp: ModuleType, most_exponent: int = 63) -> Array:
    """Return sample weights whose largest is in [2^-64, 2^63), so that sums stay in the range of every dtype.

    The scale of the weights does not change a weighted mean. If the largest is outside this range, all are
    multiplied by a power of two in their own dtype, because the network's dtype may not hold them. This is
    exact, except for weights that become negligibly small. In transformations, the factor is not a power of
    two, and the product is rounded. Half precision becomes float32. Other weights, and integers, are returned
    unchanged.
    """
    if not xp.isdtype(weights.dtype, "real floating"):
        return weights
    if xp.finfo(weights.dtype).bits < 32:
        weights = xp.astype(weights, xp.float32)
    largest = xp.max(weights)
    if not has_values(largest):
        is_extreme = (largest >= 2.0**63) | ((largest > 0.0) & (largest < 2.0**-64))
        root = xp.where(is_extreme, largest, 1.0) ** -0.5  # XLA multiplies by 1 / largest, which may be 0
        return weights * root * root
    exponent = math.frexp(float(largest))[1]
    if abs(exponent) <= most_exponent:
        return weights
    half = -exponent // 2  # two factors, because 2^-exponent may be out of the dtype's range
    return weights * 2.0**half * 2.0 ** (-exponent - half)


class TwoLayerNet(NamedTuple):
    """A two-layer network with a softmax classifier, or a stack of K of them.

    ::

        Z1 = X W1 + b1      H1 = max(Z1, 0)      logits = H1 W2 + b2      probs = softmax(logits)

    A network consists of four arrays of one library, one device and one dtype, float32 or float64. Gradients
    have the same type. In a stack, each array and each result has a leading axis K.

    Parameters
    ----------
    W1 : array (D, H) or (K, D, H)
        First-layer weights.
    b1 : array (H,) or (K, H)
        First-layer biases.
    W2 : array (H, C) or (K, H, C)
        Second-layer weights.
    b2 : array (C,) or (K, C)
        Second-layer biases.

    Notes
    -----
    Samples ``X`` have shape (N, D). More axes, as of images, are flattened for each sample. Any real dtype is
    cast to the network's. Targets ``y`` are integer class labels (N,) or class probabilities (N, C). ``X``,
    ``y`` and ``sample_weight`` must be arrays of the network's library on its device; results are, too.

    The loss is softmax cross-entropy plus an L2 penalty on the weights, but not on the biases. The gradients
    are those of exactly this loss, with the weights s_i of the samples::

        loss = Σ_i s_i · -log softmax(logits_i)[y_i] / Σ_i s_i  +  reg · (‖W1‖² + ‖W2‖²)

    So ``reg`` is half of PyTorch's ``weight_decay`` (which is applied as ``weight_decay · W``), and
    scikit-learn's ``alpha`` (``alpha / 2 · ‖W‖²``, divided by the batch size) is ``2 · reg · batch_size``.
    Course code that reports ``reg · ‖W‖²`` but steps along ``reg · W`` needs half its ``reg`` here. See
    docs/mathematics.md, "From samples to probabilities", "The loss" and "The gradient".

    Comparing, adding or multiplying networks raises a TypeError, although a network is a tuple.

    Examples
    --------
    >>> import numpy as np
    >>> from twolayer import TwoLayerNet
    >>> net = TwoLayerNet.initialize(4, 10, 3, rng=0)
    >>> net
    TwoLayerNet(W1: (4, 10), b1: (10,), W2: (10, 3), b2: (3,); float32, numpy on cpu)
    >>> X = np.ones((5, 4), dtype=np.float32)
    >>> net.logits(X).shape, net.predict(X).shape
    ((5, 3), (5,))
    """

    W1: Array
    b1: Array
    W2: Array
    b2: Array

    @classmethod
    @undisturbed
    def initialize(
        cls,
        n_features: int,
        n_hidden: int,
        n_classes: int,
        *,
        rng: RandomState = None,
        weight_scale: float | str = "he",
        xp: ModuleType = numpy,
        dtype: Any = "float32",
        device: Any = None,
    ) -> TwoLayerNet:
        """Return a network with random normal weights and zero biases.

        The weights are drawn in float64 on the host, from the seed's stream for initial weights. So they are
        the same for every library and, up to rounding, every dtype. See docs/mathematics.md, "Initial
        weights".

        Parameters
        ----------
        n_features, n_hidden, n_classes : int
            D, H and C.
        rng : int, numpy.random.Generator or None
            The seed. A Generator draws a seed; None takes one from the operating system.
        weight_scale : "he" or float
            Standard deviation of the weights. ``"he"`` is sqrt(2 / fan-in) for each layer [1]_.
        xp : module
            The array library: numpy, cupy, torch, jax.numpy, or any array-API namespace.
        dtype : dtype or str
            float32 or float64.
        device : device of ``xp`` or None
            By default, the library's default device. With a JAX sharding, such as that of the samples, each
            device of its mesh has the whole network.

        Returns
        -------
        TwoLayerNet

        Raises
        ------
        TypeError
            If an argument has the wrong type, or ``xp`` does not have the dtype on the device.
        ValueError
            If a size is below 1, ``rng`` is negative, ``weight_scale`` is neither ``"he"`` nor a number above
            0, or is so large that a weight is out of the dtype's range, or ``xp`` has no such device.

        References
        ----------
        .. [1] K. He, X. Zhang, S. Ren, J. Sun: Delving Deep into Rectifiers, ICCV 2015.
           https://doi.org/10.1109/ICCV.2015.123
        """
        n_features = check_integer("n_features", n_features, least=1)
        n_hidden = check_integer("n_hidden", n_hidden, least=1)
        n_classes = check_integer("n_classes", n_classes, least=1)
        scale = SETTINGS["weight_scale"].check(weight_scale)
        he = math.sqrt(2.0 / n_features), math.sqrt(2.0 / n_hidden)
        scales = he if isinstance(scale, str) else (scale, scale)
        xp = standard_namespace(xp)
        name = dtype_name(float_dtype(dtype, xp=xp, device=device))
        normal = stream(seed_of(rng), Stream.INITIAL_WEIGHTS).standard_normal
        W1 = scales[0] * normal((n_features, n_hidden))
        W2 = scales[1] * normal((n_hidden, n_classes))
        for array_name, array in (("W1", W1), ("W2", W2)):
            check_finite(array, name=array_name, dtype=name)
        host = W1, numpy.zeros(n_hidden), W2, numpy.zeros(n_classes)
        return cls(*(from_host(array.astype(name), xp=xp, device=device) for array in host))

    @property
    def n_features(self) -> int:
        """Number of features of a sample, D."""
        return int(self.W1.shape[-2])

    @property
    def n_hidden(self) -> int:
        """Number of hidden units of each network, H."""
        return int(self.W1.shape[-1])

    @property
    def n_classes(self) -> int:
        """Number of classes, C."""
        return int(self.W2.shape[-1])

    @property
    def n_networks(self) -> int | None:
        """Number of networks of a stack, K; None for one network."""
        return int(self.W1.shape[0]) if self.W1.ndim == 3 else None

    @undisturbed
    def logits(self, X: Array) -> Array:
        """Return the logits of each sample, H1 W2 + b2 with H1 = max(X W1 + b1, 0).

        See docs/mathematics.md, "From samples to probabilities".

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.

        Returns
        -------
        array (N, C), or (K, N, C) for a stack
            In the network's dtype.

        Raises
        ------
        TypeError
            If ``X`` is not an array of the network's library, or its dtype is not real.
        ValueError
            If the shape of ``X`` does not fit the network, or ``X`` is on another device.
        """
        xp = public_namespace(check_network(self))
        check_features(X, self.n_features, self.W1)
        params, X, dtype = pack(self, xp=xp), flatten(X, xp=xp), self.W1.dtype
        blocks = (cast(X[rows, :], dtype, xp=xp) for rows in row_blocks(X.shape[0], widest(params)))
        logits = xp.concat([forward(params, block, xp=xp)[1] for block in blocks], axis=2)
        return self._own(divided_as(by_rows(xp.matrix_transpose(logits), xp=xp), X, axis=1))

    @undisturbed
    def predict_proba(self, X: Array) -> Array:
        """Return the probability of each class, softmax(logits).

        See docs/mathematics.md, "A softmax that does not overflow".

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.

        Returns
        -------
        array (N, C), or (K, N, C) for a stack
            In the network's dtype; the sum over the classes is 1.

        Raises
        ------
        TypeError
            As `logits`.
        ValueError
            As `logits`; also if the probabilities of a sample are nan, for example because it has a value
            that is nan or too large for the network's dtype. Transformations of JAX and `torch.func` skip
            this check.
        """
        probs = probabilities(self, X)
        check_predictions(probs)
        return probs

    @undisturbed
    def predict(self, X: Array) -> Array:
        """Return the label of the largest logit of each sample; if several are equal, the first of them.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.

        Returns
        -------
        array (N,), or (K, N) for a stack
            Class labels, in the library's default dtype for indices.

        Raises
        ------
        TypeError
            As `logits`.
        ValueError
            As `predict_proba`, for logits that are nan.
        """
        logits = self.logits(X)
        check_predictions(logits)
        return array_namespace(logits).argmax(logits, axis=-1)

    @undisturbed
    def accuracy(self, X: Array, y: Array) -> Array:
        """Return the share of samples whose predicted label is correct.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        y : integer array (N,) or floating array (N, C)
            Class labels, or class probabilities, of which the largest marks the label.

        Returns
        -------
        array (), or (K,) for a stack
            In the network's dtype; nan for a network with a logit that is nan.

        Raises
        ------
        TypeError, ValueError
            As `loss`.
        """
        xp = self._check_batch(X, y)
        y = as_targets(y, self.W1.dtype, xp=xp)
        _, right, has_nan = evaluate(pack(self, xp=xp), flatten(X, xp=xp), y, xp=xp)
        accuracies = xp.astype(right, self.W1.dtype) / X.shape[0]
        return self._own(xp.where(has_nan, xp.nan, accuracies))

    @undisturbed
    def loss(
        self,
        X: Array,
        y: Array,
        *,
        reg: Any = 0.0,
        sample_weight: Array | None = None,
        label_smoothing: Any = 0.0,
    ) -> Array:
        """Return the loss: cross-entropy plus ``reg`` · (‖W1‖² + ‖W2‖²).

        See docs/mathematics.md, "The loss".

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        y : integer array (N,) or floating array (N, C)
            Class labels, or class probabilities.
        reg : float, or (K,) for a stack
            Strength of the L2 penalty; half of PyTorch's ``weight_decay``.
        sample_weight : array (N,), optional
            Weights of the samples in the mean, at least 0; only their ratios matter.
        label_smoothing : float, or (K,) for a stack
            ε in [0, 1]: the targets become (1 - ε) T + ε / C for class probabilities T [1]_.

        Returns
        -------
        array (), or (K,) for a stack
            In the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As `loss_and_gradients`.

        References
        ----------
        .. [1] C. Szegedy et al.: Rethinking the Inception Architecture for Computer Vision, CVPR 2016.
           https://doi.org/10.1109/CVPR.2016.308
        """
        arguments, xp = self._arguments(X, y, reg, sample_weight, label_smoothing)
        params, X, T, sums, share, reg = arguments
        _, logits = forward(params, X, xp=xp)
        Z, _, total = softmax_parts(logits, xp=xp)
        losses = cross_entropy(Z, total, T, sums, xp=xp)
        return self._own(loss(params, losses, share, reg, xp=xp))

    @undisturbed
    def loss_and_gradients(
        self,
        X: Array,
        y: Array,
        *,
        reg: Any = 0.0,
        sample_weight: Array | None = None,
        label_smoothing: Any = 0.0,
    ) -> tuple[Array, TwoLayerNet]:
        """Return the loss, and its gradient with respect to each of the four arrays.

        See docs/mathematics.md, "The gradient".

        Parameters
        ----------
        X, y, reg, sample_weight, label_smoothing
            As for `loss`.

        Returns
        -------
        loss : array (), or (K,) for a stack
        gradients : TwoLayerNet
            dW1, db1, dW2 and db2, with the shapes of W1, b1, W2 and b2.

        Raises
        ------
        TypeError
            If a dtype is wrong, or arrays of several libraries are mixed.
        ValueError
            If shapes do not match, a label is out of range, probabilities do not sum to 1, a weight or
            ``reg`` is negative or not finite, all weights are 0, ``label_smoothing`` is not in [0, 1], or
            arrays of several devices are mixed.
        """
        arguments, xp = self._arguments(X, y, reg, sample_weight, label_smoothing)
        loss, gradients = loss_and_gradients(*arguments, xp=xp)
        return self._own(loss), unpack(gradients, stacked=self.n_networks is not None, xp=xp)

    def select(self, k: int) -> TwoLayerNet:
        """Return a copy of one network of a stack.

        Parameters
        ----------
        k : int
            Index of the network; a negative index counts from the end.

        Returns
        -------
        TwoLayerNet

        Raises
        ------
        ValueError
            If this is not a stack, or it has no network ``k``.
        """
        xp = check_network(self)
        if self.n_networks is None:
            raise ValueError("`select` needs a stack of networks; got one network")
        k = check_index(k, self.n_networks)
        return TwoLayerNet(*(copied(array[k, ...], xp=xp) for array in self))

    def to(self, xp: ModuleType | None = None, device: Any = None) -> TwoLayerNet:
        """Return a copy in another library or on another device.

        Parameters
        ----------
        xp : module, optional
            The array library: numpy, cupy, torch, jax.numpy, or any array-API namespace. By default, the
            network's own library.
        device : device of ``xp``, optional
            By default, the library's default device. A JAX sharding is used as in `initialize`.

        Returns
        -------
        TwoLayerNet
            In the same dtype.

        Raises
        ------
        TypeError
            If ``xp`` is not an array library, or does not have the network's dtype on the device.
        ValueError
            If ``xp`` has no such device.
        """
        own = check_network(self)
        xp = own if xp is None else standard_namespace(xp)
        float_dtype(self.W1.dtype, xp=xp, device=device)
        return TwoLayerNet(*(from_host(to_host(array), xp=xp, device=device) for array in self))

    @undisturbed
    def astype(self, dtype: Any) -> TwoLayerNet:
        """Return a copy in another dtype.

        Parameters
        ----------
        dtype : dtype or str
            float32 or float64.

        Returns
        -------
        TwoLayerNet

        Raises
        ------
        TypeError
            If ``dtype`` is neither float32 nor float64, or the library lacks it on the network's device.
        """
        xp = check_network(self)
        wanted = float_dtype(dtype, xp=xp, device=device(self.W1))
        return TwoLayerNet(*(copied(cast(array, wanted, xp=xp), xp=xp) for array in self))

    def _check_batch(self, X: Array, y: Array) -> ModuleType:
        xp = public_namespace(check_network(self))
        check_features(X, self.n_features, self.W1)
        check_targets(y, X, self.n_classes)
        return xp

    def _arguments(
        self, X: Array, y: Array, reg: Any, sample_weight: Array | None, label_smoothing: Any
    ) -> tuple[tuple[Params, Array, Array, Array | None, Any, Array], ModuleType]:
        """Check the arguments of `loss`; return those of `mathematics.loss_and_gradients`, and ``xp``."""
        xp = self._check_batch(X, y)
        check_sample_weight(sample_weight, X)
        dtype, share = self.W1.dtype, 1.0 / X.shape[0]
        if sample_weight is not None:
            weights = cast(rescaled(sample_weight, xp=xp), dtype, xp=xp)
            share = shares(weights, xp=xp)[None, None, :]
        reg = per_network("reg", reg, self, xp=xp)
        # A smoothing of 0 skips the arithmetic.
        smoothing = None
        if type(label_smoothing) not in (int, float) or label_smoothing != 0:  # a bool is no number
            smoothing = per_network("label_smoothing", label_smoothing, self, xp=xp, most=1.0)
        y = as_targets(y, dtype, xp=xp)
        T, sums = targets(y, self.n_classes, smoothing, dtype=dtype, xp=xp)
        params = laid_out(pack(self, xp=xp), xp=xp)
        return (params, cast(flatten(X, xp=xp), dtype, xp=xp), T, sums, share, reg), xp

    def _own(self, result: Array) -> Array:
        """Return a result (K, ...) of the mathematics, without the axis K if this is one network."""
        return result if self.n_networks is not None else result[0, ...]

    def __repr__(self) -> str:
        # JAX builds pytrees of this type whose leaves are other objects than arrays.
        if not all(is_array_api_obj(array) for array in self):
            return f"TwoLayerNet({', '.join(type(array).__name__ for array in self)})"
        shapes = ", ".join(f"{name}: {tuple(array.shape)}" for name, array in self._asdict().items())
        return f"TwoLayerNet({shapes}; {_kind(self.W1)})"

    def _repr_html_(self) -> str | None:
        """Return the sizes as an HTML table for notebooks."""
        from ._html import table  # imported here, because only notebooks need it

        if not all(map(is_array_api_obj, self)) or min(self.W1.ndim, self.W2.ndim) < 2:
            return None
        sizes = {"features": self.n_features, "hidden units": self.n_hidden, "classes": self.n_classes}
        sizes |= {"networks": self.n_networks or 1, "parameters": sum(math.prod(one.shape) for one in self)}
        texts = {name: f"{size:,}" for name, size in sizes.items()}
        return table("TwoLayerNet", [*texts.items(), ("arrays", _kind(self.W1))])


def _kind(array: Array) -> str:
    """Return an array's dtype, library and device in words."""
    library, place = library_name(array_namespace(array)), shown_device(device(array))
    return f"{dtype_name(array.dtype)}, {library} on {place}"


def _refuse(self: TwoLayerNet, other: object) -> NoReturn:
    raise TypeError(
        "networks cannot be compared or computed with as tuples; use their arrays, such as "
        "`net.W1 + other.W1`, `twolayer.stack` to put networks together, or `is` for identity"
    )


# Without this, `net + net` would concatenate tuples, where a reader expects arithmetic.
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "mul", "rmul"):
    setattr(TwoLayerNet, f"__{_name}__", _refuse)
TwoLayerNet.__hash__ = None  # type: ignore[assignment]  # Python's mark of an unhashable type


def evaluate(
    params: Params,
    X: Array,
    y: Array,
    sample_weight: Array | None = None,
    arrays: tuple[Array, ...] = (),
    *,
    xp: ModuleType,
    transform: Callable[..., Array] | None = None,
    divide: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Return the summed cross-entropy, the number of correct labels, and whether a logit is nan, each (K,).

    The samples are evaluated in blocks, so there may be any number of them. With ``sample_weight`` (N,), both
    sums are weighted. ``transform(X, arrays, xp=xp)`` preprocesses the samples, and ``divide(X)`` divides
    them over several devices, if they are given.
    """
    dtype, n_classes = params.W1.dtype, params.W2.shape[1]
    found: tuple[Array, Array, Array] | None = None
    for rows in row_blocks(X.shape[0], max(X.shape[1], widest(params))):
        block = X[rows, :] if divide is None else divide(X[rows, :])
        block = block if transform is None else transform(block, arrays, xp=xp)
        _, logits = forward(params, cast(block, dtype, xp=xp), xp=xp)
        Z, _, total = softmax_parts(logits, xp=xp)
        T, sums = targets(y[rows, ...], n_classes, dtype=dtype, xp=xp)
        losses = cross_entropy(Z, total, T, sums, xp=xp)[:, 0, :]
        right = is_correct(logits, y[rows, ...], xp=xp)
        # The maximum is over classes only: over samples on several devices, JAX's may leave out a nan.
        has_nan = xp.any(xp.isnan(xp.max(logits, axis=1)), axis=1)
        if sample_weight is None:
            losses, right = xp.sum(losses, axis=1), xp.count_nonzero(right, axis=1)
        else:
            weights = sample_weight[None, rows]
            losses, right = xp.sum(losses * weights, axis=1), xp.sum(xp.where(right, weights, 0.0), axis=1)
        if found is not None:
            losses, right, has_nan = found[0] + losses, found[1] + right, found[2] | has_nan
        found = losses, right, has_nan
    assert found is not None
    return found
