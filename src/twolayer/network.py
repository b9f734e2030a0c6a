"""The two-layer network: its four arrays, its forward and its backward pass.

Publicly a stack of K networks has a leading axis K everywhere. The mathematics below always works on a
stack, held so that the first layer of all K networks on one batch is one matrix product (`Core`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy

from ._checks import (
    check_features,
    check_integer,
    check_network,
    check_sample_weight,
    check_targets,
    check_weight_scale,
    per_network,
    row_blocks,
)
from ._namespace import (
    Array,
    array_namespace,
    cast,
    copied,
    device,
    dtype_name,
    float_dtype,
    from_host,
    fuses,
    fusible,
    is_array_api_obj,
    library_name,
    standard_namespace,
    to_host,
)
from ._streams import RandomState, Stream, seed_of, stream
from .losses import cross_entropy, data_loss, l2_norms, log_softmax, softmax_gradient

# ---------------------------------------------------------------------------------------------------------
# The mathematics. K networks, N samples, D features, H hidden units, C classes. Nothing is checked here.


class Core(NamedTuple):
    """The arrays of K networks as the mathematics holds them; gradients have the same type."""

    W1: Array  # (D, K·H)
    b1: Array  # (K·H,)
    W2: Array  # (K, H, C)
    b2: Array  # (K, C)


def forward(core: Core, X: Array, kept: Array | None = None, *, xp: ModuleType) -> tuple[Array, Array]:
    """Hidden activations H1 (N, K·H) and logits (K, N, C) of a batch X (N, D).

    Units where ``kept`` (N, K·H) is false count as 0.
    """
    H1 = rectified(X @ core.W1, core.b1, kept, xp=xp)
    # A class's logits lie side by side: over samples a reduction over classes is vectorised.
    logits = product_of_each(core.W2.mT, of_each(H1, core.W2.shape[0], xp=xp).mT)
    logits += core.b2[:, :, None]
    return H1, logits.mT


def backward(core: Core, X: Array, H1: Array, dlogits: Array, *, xp: ModuleType) -> Core:
    """Gradients of the data loss, from its gradient by the logits (K, N, C); linear in ``dlogits``."""
    dH1 = product_of_each(dlogits, core.W2.mT)
    dZ1 = through_rectifier(side_by_side(dH1, xp=xp), H1, xp=xp)
    return Core(
        W1=X.T @ dZ1,
        b1=sum_over_samples(dZ1, xp=xp),
        # Neither factor transposed, as dlogits lies: each library's fastest.
        W2=product_of_each(dlogits.mT, of_each(H1, core.W2.shape[0], xp=xp)).mT,
        b2=xp.sum(dlogits, axis=1),
    )


def of_each(H1: Array, n_networks: int, *, xp: ModuleType) -> Array:
    """Activations of each network's hidden units: (N, K·H) to (K, N, H), a view."""
    if n_networks == 1:
        return H1[None, ...]
    n_samples, width = H1.shape
    return xp.permute_dims(xp.reshape(H1, (n_samples, n_networks, width // n_networks)), (1, 0, 2))


def side_by_side(each: Array, *, xp: ModuleType) -> Array:
    """The inverse of `of_each`: (K, N, H) to (N, K·H)."""
    n_networks, n_samples, n_hidden = each.shape
    if n_networks == 1:
        return each[0, ...]
    return xp.reshape(xp.permute_dims(each, (1, 0, 2)), (n_samples, n_networks * n_hidden))


def product_of_each(A: Array, B: Array) -> Array:
    """Matrix product of each network (K, ...); of one a plain product, for which libraries are made."""
    return (A[0, ...] @ B[0, ...])[None, ...] if A.shape[0] == 1 else A @ B


def sum_over_samples(dZ1: Array, *, xp: ModuleType) -> Array:
    """db1 = Σ_i dZ1_i: as a product, which takes half of the time; where each call costs, in one."""
    if fuses(xp):
        return xp.sum(dZ1, axis=0)
    return xp.ones(dZ1.shape[0], dtype=dZ1.dtype, device=device(dZ1)) @ dZ1


@fusible
def rectified(Z1: Array, b1: Array, kept: Array | None, *, xp: ModuleType) -> Array:
    """H1 = max(Z1 + b1, 0), and 0 for units that are not kept."""
    Z1 += b1
    H1 = xp.maximum(Z1, 0.0)
    if kept is not None:
        H1 *= xp.astype(kept, H1.dtype)
    return H1


@fusible
def through_rectifier(dH1: Array, H1: Array, *, xp: ModuleType) -> Array:
    """dZ1: dH1 where Z1 > 0 and the unit was kept, which is where H1 > 0; else 0."""
    dH1 *= xp.astype(H1 > 0, H1.dtype)
    return dH1


def per_unit(values: Array, n_hidden: int, *, xp: ModuleType) -> Array:
    """Repeat one value for each network (K,) over its hidden units: (K·H,), as W1's columns lie.

    Of one network (1,), which broadcasts as well and lets the library go through W1 at once.
    """
    if values.shape[0] == 1:
        return values
    each = xp.broadcast_to(values[:, None], (values.shape[0], n_hidden))
    return xp.reshape(each, (values.shape[0] * n_hidden,))


def loss(
    core: Core,
    X: Array,
    y: Array,
    reg: Array,
    sample_weight: Array | None,
    label_smoothing: Array | None,
    *,
    xp: ModuleType,
) -> Array:
    """Loss (K,) = data_loss + reg · (‖W1‖² + ‖W2‖²), for reg (K,)."""
    _, logits = forward(core, X, xp=xp)
    of_data = data_loss(logits, y, sample_weight, label_smoothing, xp=xp)
    return of_data + reg * l2_norms(core.W1, core.W2, xp=xp)


def loss_and_gradients(
    core: Core,
    X: Array,
    y: Array,
    reg: Array,
    sample_weight: Array | None,
    label_smoothing: Array | None,
    *,
    xp: ModuleType,
) -> tuple[Array, Core]:
    """The same loss, and its gradients."""
    H1, logits = forward(core, X, xp=xp)
    of_data = data_loss(logits, y, sample_weight, label_smoothing, xp=xp)
    dlogits = softmax_gradient(logits, y, sample_weight, label_smoothing, xp=xp)
    gradients = with_penalty(core, backward(core, X, H1, dlogits, xp=xp), reg, xp=xp)
    return of_data + reg * l2_norms(core.W1, core.W2, xp=xp), gradients


def with_penalty(core: Core, gradients: Core, reg: Array, *, xp: ModuleType) -> Core:
    """Add 2 reg W1 and 2 reg W2, the gradients of the penalty, to those of the data loss, in place."""
    dW1, db1, dW2, db2 = gradients
    dW1 = penalised(dW1, core.W1, per_unit(reg, core.W2.shape[1], xp=xp), xp=xp)
    dW2 = penalised(dW2, core.W2, reg[:, None, None], xp=xp)
    return Core(dW1, db1, dW2, db2)


@fusible
def penalised(dW: Array, W: Array, reg: Array, *, xp: ModuleType) -> Array:
    """Gradient dW of the data loss with that of the penalty: dW + 2 reg W."""
    dW += W * (2.0 * reg)
    return dW


def logits_in_blocks(core: Core, X: Array, *, xp: ModuleType) -> Array:
    """Logits (K, N, C) of any number of samples, each block of them cast to the network's dtype."""
    blocks = row_blocks(X.shape[0], max(X.shape[1], core.W1.shape[1]))
    logits = xp.concat(
        [forward(core, cast(X[rows, :], core.W1.dtype, xp=xp), xp=xp)[1] for rows in blocks], axis=1
    )
    # A sample's logits lie side by side, as others expect it.
    return xp.reshape(xp.reshape(logits, (-1,)), logits.shape)


def labels_of(y: Array, *, xp: ModuleType) -> Array:
    """Labels (N,) of targets that are labels already, or class probabilities (N, C)."""
    return y if y.ndim == 1 else xp.argmax(y, axis=1)


def hits(logits: Array, y: Array, *, xp: ModuleType) -> Array:
    """Whether the largest logit, of equal ones the first, is the label's: (K, N) truth values.

    As `argmax` has it, but without its branches, which are hard to predict; of nan, the first is the largest.
    """
    y, Z = labels_of(y, xp=xp), logits.mT  # as `forward` leaves them in memory
    largest = ~(xp.max(Z, axis=1, keepdims=True) > Z)
    classes = xp.arange(Z.shape[1], dtype=y.dtype, device=device(y))[:, None]
    earlier = xp.any(largest & (classes < y), axis=1)
    return xp.any(largest & (classes == y), axis=1) & ~earlier


# ---------------------------------------------------------------------------------------------------------
# Public arrays in, public arrays out.


def pack(net: TwoLayerNet, *, xp: ModuleType) -> Core:
    """Core of a network (views of it) or of a stack (W1 is copied)."""
    if net.n_networks is None:
        return Core(net.W1, net.b1, xp.expand_dims(net.W2, axis=0), xp.expand_dims(net.b2, axis=0))
    n_networks, n_features, n_hidden = net.W1.shape
    width = n_networks * n_hidden
    W1 = xp.reshape(xp.permute_dims(net.W1, (1, 0, 2)), (n_features, width))
    return Core(W1, xp.reshape(net.b1, (width,)), net.W2, net.b2)


def unpack(core: Core, *, stacked: bool, xp: ModuleType) -> TwoLayerNet:
    """Network or stack of a core: the inverse of `pack`. May share memory with it."""
    n_networks, n_hidden, _ = core.W2.shape
    if not stacked:
        return TwoLayerNet(core.W1, core.b1, core.W2[0, ...], core.b2[0, ...])
    W1 = xp.reshape(core.W1, (core.W1.shape[0], n_networks, n_hidden))
    return TwoLayerNet(
        xp.permute_dims(W1, (1, 0, 2)), xp.reshape(core.b1, (n_networks, n_hidden)), core.W2, core.b2
    )


def flatten(X: Array, *, xp: ModuleType) -> Array:
    """Samples of any rank as rows (N, D)."""
    return xp.reshape(X, (X.shape[0], math.prod(X.shape[1:])))


def as_targets(y: Array, dtype: Any, *, xp: ModuleType) -> Array:
    """Labels as int32 (any number of classes fits), class probabilities in the network's dtype."""
    return cast(y, xp.int32 if y.ndim == 1 else dtype, xp=xp)


class TwoLayerNet(NamedTuple):
    """A two-layer network with a softmax classifier, or a stack of K of them.

    ::

        Z1 = X W1 + b1      H1 = max(Z1, 0)      logits = H1 W2 + b2      probs = softmax(logits)

    A network is its four arrays and nothing else: all of one library, one device and one dtype, float32 or
    float64. Gradients have the same type. A stack has a leading axis K on each array, and on each result.

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
    Samples ``X`` have shape (N, D), or more axes, images say, which are flattened per sample: any real
    dtype, cast to the network's. Targets ``y`` are integer class labels (N,) or class probabilities (N, C).
    ``X``, ``y`` and ``sample_weight`` are arrays of the network's library on its device, and so are results.

    The loss is softmax cross-entropy plus an L2 penalty on the weights, never on the biases, and the
    gradients are those of exactly this loss::

        loss = Σ_i s_i · -log softmax(logits_i)[y_i] / Σ_i s_i  +  reg · (‖W1‖² + ‖W2‖²)

    So ``reg`` is half of PyTorch's ``weight_decay`` (which is applied as ``weight_decay · W``), and
    scikit-learn's ``alpha`` (``alpha / 2 · ‖W‖²``, divided by the batch size) is ``2 · reg · batch_size``.
    Course code that reports ``reg · ‖W‖²`` but steps along ``reg · W`` at ``reg = r`` is this at ``r / 2``.

    Comparing, adding and multiplying networks, which a tuple would do in its own way, is refused.

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

        The numbers are drawn in float64 on the host, from the stream for initial weights of the seed, so
        they are the same for every library and, rounded, every dtype.

        Parameters
        ----------
        n_features, n_hidden, n_classes : int
            D, H and C.
        rng : int, numpy.random.Generator or None
            The seed; a Generator gives one and moves on; None takes a fresh one.
        weight_scale : "he" or float
            Standard deviation of the weights. ``"he"`` is sqrt(2 / fan-in) for each layer [1]_.
        xp : module
            The array library: numpy, cupy, torch, jax.numpy, or any array-API namespace.
        dtype : dtype or str
            float32 or float64.
        device : device of ``xp`` or None
            None is the library's default device.

        Returns
        -------
        TwoLayerNet

        Raises
        ------
        TypeError
            If ``xp``, ``dtype``, ``rng`` or a size is not of its kind.
        ValueError
            If a size is below 1, or ``weight_scale`` is not a number above 0 or ``"he"``.

        References
        ----------
        .. [1] K. He, X. Zhang, S. Ren, J. Sun: Delving Deep into Rectifiers, ICCV 2015.
           https://doi.org/10.1109/ICCV.2015.123
        """
        n_features = check_integer("n_features", n_features, least=1)
        n_hidden = check_integer("n_hidden", n_hidden, least=1)
        n_classes = check_integer("n_classes", n_classes, least=1)
        scale = check_weight_scale(weight_scale)
        he = math.sqrt(2.0 / n_features), math.sqrt(2.0 / n_hidden)
        scales = he if isinstance(scale, str) else (scale, scale)
        xp = standard_namespace(xp)
        name = dtype_name(float_dtype(dtype, xp=xp, device=device))
        normal = stream(seed_of(rng), Stream.INITIAL_WEIGHTS).standard_normal
        W1 = scales[0] * normal((n_features, n_hidden))
        W2 = scales[1] * normal((n_hidden, n_classes))
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

    def logits(self, X: Array) -> Array:
        """Return the logits of each sample, H1 W2 + b2 with H1 = max(X W1 + b1, 0).

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
            If its shape does not fit the network, or it lives on another device.
        """
        xp = check_network(self)
        check_features(X, self)
        logits = logits_in_blocks(pack(self, xp=xp), flatten(X, xp=xp), xp=xp)
        return self._own(logits)

    def predict_proba(self, X: Array) -> Array:
        """Return the probability of each class, softmax(logits).

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.

        Returns
        -------
        array (N, C), or (K, N, C) for a stack
            In the network's dtype; sums to 1 over the classes.

        Raises
        ------
        TypeError, ValueError
            As `logits`.
        """
        logits = self.logits(X)
        xp = array_namespace(logits)
        return xp.exp(log_softmax(logits, xp=xp))

    def predict(self, X: Array) -> Array:
        """Return the label of the largest logit of each sample; of equal ones the first.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.

        Returns
        -------
        array (N,), or (K, N) for a stack
            Class labels, of the library's default dtype for indices.

        Raises
        ------
        TypeError, ValueError
            As `logits`.
        """
        logits = self.logits(X)
        return array_namespace(logits).argmax(logits, axis=-1)

    def accuracy(self, X: Array, y: Array) -> Array:
        """Return the share of samples whose predicted label is right.

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        y : integer array (N,) or floating array (N, C)
            Class labels, or class probabilities, whose largest is the label.

        Returns
        -------
        array (), or (K,) for a stack
            In the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As `loss`.
        """
        xp = self._check_batch(X, y)
        core = pack(self, xp=xp)
        _, right = evaluate(core, flatten(X, xp=xp), as_targets(y, self.W1.dtype, xp=xp), xp=xp)
        return self._own(xp.astype(right, self.W1.dtype) / X.shape[0])

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

        Parameters
        ----------
        X : array (N, D) or (N, ...)
            Samples, of any real dtype.
        y : integer array (N,) or floating array (N, C)
            Class labels, or class probabilities.
        reg : float, or (K,) for a stack
            Strength of the L2 penalty; half of PyTorch's ``weight_decay``.
        sample_weight : array (N,), optional
            Weight of each sample in the mean, at least 0.
        label_smoothing : float, or (K,) for a stack
            ε in [0, 1]: the targets are (1 - ε) T + ε / C, T being the class probabilities [1]_.

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
        return self._own(loss(*arguments, xp=xp))

    def loss_and_gradients(
        self,
        X: Array,
        y: Array,
        *,
        reg: Any = 0.0,
        sample_weight: Array | None = None,
        label_smoothing: Any = 0.0,
    ) -> tuple[Array, TwoLayerNet]:
        """Return the loss and its gradient by each of the four arrays.

        Parameters
        ----------
        X, y, reg, sample_weight, label_smoothing
            As for `loss`.

        Returns
        -------
        loss : array (), or (K,) for a stack
        gradients : TwoLayerNet
            dW1, db1, dW2 and db2, of the shapes of W1, b1, W2 and b2.

        Raises
        ------
        TypeError
            If dtypes are not as said, or arrays of several libraries meet.
        ValueError
            If shapes do not fit, a label is out of range, a weight or ``reg`` is negative,
            ``label_smoothing`` is not in [0, 1], or arrays of several devices meet.
        """
        arguments, xp = self._arguments(X, y, reg, sample_weight, label_smoothing)
        loss, gradients = loss_and_gradients(*arguments, xp=xp)
        return self._own(loss), unpack(gradients, stacked=self.n_networks is not None, xp=xp)

    def select(self, k: int) -> TwoLayerNet:
        """Return a copy of one network of a stack.

        Parameters
        ----------
        k : int
            Its number, from 0; a negative one counts from the end.

        Returns
        -------
        TwoLayerNet

        Raises
        ------
        ValueError
            If this is no stack, or it has no network ``k``.
        """
        xp = check_network(self)
        if self.n_networks is None:
            raise ValueError("`select` needs a stack of networks; got one network")
        k = check_integer("k", k, least=-self.n_networks)
        if k >= self.n_networks:
            raise ValueError(f"`k` must be below the number of networks, {self.n_networks}; got {k}")
        k %= self.n_networks
        return TwoLayerNet(*(copied(array[k, ...], xp=xp) for array in self))

    def to(self, xp: ModuleType, device: Any = None) -> TwoLayerNet:
        """Return a copy as arrays of another library, or on another device.

        Parameters
        ----------
        xp : module
            The array library: numpy, cupy, torch, jax.numpy, or any array-API namespace.
        device : device of ``xp``, optional
            The library's default device where it is left out.

        Returns
        -------
        TwoLayerNet
            In the same dtype.

        Raises
        ------
        TypeError
            If ``xp`` is no array library, or does not have the network's dtype there.
        """
        check_network(self)
        xp = standard_namespace(xp)
        float_dtype(self.W1.dtype, xp=xp, device=device)
        return TwoLayerNet(*(from_host(to_host(array), xp=xp, device=device) for array in self))

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
            If it is another dtype, or one that the library does not have on the network's device.
        """
        xp = check_network(self)
        wanted = float_dtype(dtype, xp=xp, device=device(self.W1))
        return TwoLayerNet(*(xp.astype(array, wanted) for array in self))

    def _check_batch(self, X: Array, y: Array) -> ModuleType:
        xp = check_network(self)
        check_features(X, self)
        check_targets(y, X, self.n_classes)
        return xp

    def _arguments(
        self, X: Array, y: Array, reg: Any, sample_weight: Array | None, label_smoothing: Any
    ) -> tuple[tuple[Core, Array, Array, Array, Array | None, Array | None], ModuleType]:
        """Check what `loss` is given, and return it as the mathematics takes it."""
        xp = self._check_batch(X, y)
        check_sample_weight(sample_weight, X)
        dtype = self.W1.dtype
        if sample_weight is not None:
            sample_weight = cast(sample_weight, dtype, xp=xp)
        X, y = cast(flatten(X, xp=xp), dtype, xp=xp), as_targets(y, dtype, xp=xp)
        reg = per_network("reg", reg, self, xp=xp)
        # No smoothing costs nothing.
        smoothing = None
        if type(label_smoothing) not in (int, float) or label_smoothing != 0:  # a bool is no number
            smoothing = per_network("label_smoothing", label_smoothing, self, xp=xp, most=1.0)
        return (pack(self, xp=xp), X, y, reg, sample_weight, smoothing), xp

    def _own(self, result: Array) -> Array:
        """Result (K, ...) of the mathematics, without the axis K where this is one network."""
        return result if self.n_networks is not None else result[0, ...]

    def __repr__(self) -> str:
        if not all(is_array_api_obj(array) for array in self):  # a JAX pytree may hold anything
            return f"TwoLayerNet({', '.join(type(array).__name__ for array in self)})"
        shapes = ", ".join(f"{name}: {tuple(array.shape)}" for name, array in self._asdict().items())
        library = library_name(array_namespace(self.W1))
        return f"TwoLayerNet({shapes}; {dtype_name(self.W1.dtype)}, {library} on {device(self.W1)})"


def _refuse(self: TwoLayerNet, other: object) -> NoReturn:
    raise TypeError(
        "networks are not compared or computed with as tuples; use their arrays, such as "
        "`net.W1 + other.W1`, `twolayer.stack` to put networks together, or `is` for identity"
    )


# A tuple would compare and concatenate where a reader expects arithmetic.
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "mul", "rmul"):
    setattr(TwoLayerNet, f"__{_name}__", _refuse)
TwoLayerNet.__hash__ = None  # type: ignore[assignment]  # as Python marks it


def evaluate(
    core: Core,
    X: Array,
    y: Array,
    sample_weight: Array | None = None,
    arrays: tuple[Array, ...] = (),
    *,
    xp: ModuleType,
    transform: Callable[..., Array] | None = None,
) -> tuple[Array, Array]:
    """Summed cross-entropy (K,) and number of right labels (K,) of any number of samples, in blocks.

    With ``sample_weight`` (N,) each counts by its weight. ``transform(X, arrays, xp=xp)``, where given, is
    the preprocessing of the samples.
    """
    total, right = None, None
    for rows in row_blocks(X.shape[0], max(X.shape[1], core.W1.shape[1])):
        block = X[rows, :] if transform is None else transform(X[rows, :], arrays, xp=xp)
        _, logits = forward(core, cast(block, core.W1.dtype, xp=xp), xp=xp)
        targets = y[rows, ...]
        losses = cross_entropy(log_softmax(logits, xp=xp), targets, xp=xp)
        found = hits(logits, targets, xp=xp)
        if sample_weight is None:
            losses, found = xp.sum(losses, axis=1), xp.count_nonzero(found, axis=1)
        else:
            weights = sample_weight[None, rows]
            losses, found = xp.sum(losses * weights, axis=1), xp.sum(xp.where(found, weights, 0.0), axis=1)
        total, right = (losses, found) if total is None else (total + losses, right + found)
    return total, right
