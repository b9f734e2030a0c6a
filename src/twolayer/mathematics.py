"""The mathematics on one page: K two-layer networks on one batch of N samples.

    Z1 = W1 Xᵀ + b1    H1 = relu(Z1)    logits = W2 H1 + b2
    loss = Σ_i share_i · cross_entropy(softmax(logits_i), T_i) + reg · (‖W1‖² + ‖W2‖²)

Sample i has the target T_i and the weight share_i. D features, H hidden units, C classes; weights (out, in).
Arrays other than X (N, D) and y begin with a network axis (K, or 1 if shared); samples are the last axis.
Arguments are not checked. "See" points to docs/mathematics.md. A `@leaf` function also has faster forms for
some libraries, which compute the same; only these forms may write to arguments where a docstring allows it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from ._namespace import Array, class_numbers, leaf


class Params(NamedTuple):
    """The arrays of K networks; also the type of gradients, moments and averages."""

    W1: Array  # (K, H, D)
    b1: Array  # (K, H)
    W2: Array  # (K, C, H)
    b2: Array  # (K, C)


# --- From samples to probabilities -----------------------------------------------------------------------


def forward(
    params: Params, X: Array, kept: Array | None = None, scale: Array | None = None, *, xp: ModuleType
) -> tuple[Array, Array]:
    """Hidden activations H1 (K, H, N) and logits (K, C, N). See "From samples to probabilities".

    With dropout at rate p, H1 is 0 where ``kept`` (K, H, N) is false. The factor ``scale`` (K, 1, 1), which
    is 1 / (1 - p), multiplies W2, because W2 is smaller than H1. See "Dropout".
    """
    W1, b1, W2, b2 = params
    H1 = relu(product(W1, X, axis=1, xp=xp), b1[:, :, None], kept, xp=xp)
    return H1, product(W2 if scale is None else W2 * scale, H1, xp=xp) + b2[:, :, None]


@leaf
def product(A: Array, B: Array, *, axis: int | None = None, xp: ModuleType) -> Array:
    """A B of each network. If B is X (N, D): A Xᵀ (axis 1) or A X (axis 0). See "Many networks as one"."""
    return A @ B if axis is None else xp.tensordot(A, B, axes=((2,), (axis,)))


@leaf
def relu(W1X: Array, b1: Array, kept: Array | None, *, xp: ModuleType) -> Array:
    """H1 = max(W1X + b1, 0); 0 for dropped units. May write to W1X. See "From samples to probabilities"."""
    H1 = xp.maximum(W1X + b1, xp.zeros_like(b1))
    return H1 if kept is None else H1 * xp.astype(kept, H1.dtype)


def softmax_parts(logits: Array, *, axis: int = 1, xp: ModuleType) -> tuple[Array, Array, Array]:
    """Z = logits - max, exp(Z), and its sum, total. The softmax is exp(Z) / total.

    See "A softmax that does not overflow".
    """
    Z, exp_Z = exp_of_difference(logits, xp.max(logits, axis=axis, keepdims=True), xp=xp)
    return Z, exp_Z, xp.sum(exp_Z, axis=axis, keepdims=True)


@leaf
def exp_of_difference(a: Array, b: Array, *, xp: ModuleType) -> tuple[Array, Array]:
    """Difference a - b, and its exponential. See "A softmax that does not overflow"."""
    difference = a - b
    return difference, xp.exp(difference)


def log_softmax(logits: Array, *, axis: int, xp: ModuleType) -> Array:
    """Logarithm of the softmax. See "A softmax that does not overflow"."""
    Z, _, total = softmax_parts(logits, axis=axis, xp=xp)
    return Z - xp.log(total)


def is_correct(logits: Array, y: Array, *, xp: ModuleType) -> Array:
    """Whether the first largest logit is the label's (K, N). See "From samples to probabilities"."""
    labels = (y if y.ndim == 1 else xp.argmax(y, axis=1))[None, None, :]
    largest = logits == xp.max(logits, axis=1, keepdims=True)  # faster than argmax; all False with a nan
    classes = class_numbers(logits.shape[1], labels, xp=xp)
    return xp.any(largest & (classes == labels), axis=1) & ~xp.any(largest & (classes < labels), axis=1)


# --- The loss --------------------------------------------------------------------------------------------


def targets(
    y: Array, n_classes: int, smoothing: Array | None = None, *, dtype: Any, xp: ModuleType
) -> tuple[Array, Array | None]:
    """Class probabilities T (1, C, N) of labels (N,) or probabilities (N, C), and their sums over classes.

    With label smoothing ε (K,), the targets are (1 - ε) T + ε / C, (K, C, N). The sums are None for labels;
    for given probabilities they are 1 up to rounding. See "Targets".
    """
    if y.ndim == 1:
        T = one_hot(class_numbers(n_classes, y, xp=xp), y[None, None, :], dtype=dtype, xp=xp)
    else:
        T = xp.astype(y, dtype).T[None, :, :]
    if smoothing is not None:
        epsilon = smoothing[:, None, None]
        T = T * (1.0 - epsilon) + epsilon / n_classes
    return T, None if y.ndim == 1 else xp.sum(T, axis=1, keepdims=True)


@leaf
def one_hot(classes: Array, y: Array, *, dtype: Any, xp: ModuleType) -> Array:
    """1 where the class is the label, else 0. See "Targets"."""
    return xp.astype(classes == y, dtype)


def shares(sample_weight: Array, *, xp: ModuleType) -> Array:
    """Share of each sample in the mean, s_i / Σ s over the last axis; 0 if every s is 0. See "Targets"."""
    total = xp.sum(sample_weight, axis=-1, keepdims=True)
    return sample_weight / xp.where(total > 0, total, 1.0)


def cross_entropy(Z: Array, total: Array, T: Array, sums: Array | None, *, xp: ModuleType) -> Array:
    """Cross-entropy (K, 1, N): -Σ_c T_c log softmax_c = log total · Σ_c T_c - Σ_c T_c Z_c. See "Targets"."""
    log_total = xp.log(total)
    return (log_total if sums is None else log_total * sums) - xp.sum(T * Z, axis=1, keepdims=True)


def loss(params: Params, losses: Array, share: Any, reg: Array, *, xp: ModuleType) -> Array:
    """Loss (K,): mean of the samples' losses (K, 1, N), plus reg · (‖W1‖² + ‖W2‖²). See "The loss"."""
    of_W1, of_W2 = xp.sum(squares(params.W1, xp=xp), axis=1), xp.sum(squares(params.W2, xp=xp), axis=1)
    return xp.sum(losses * share, axis=(1, 2)) + reg * (of_W1 + of_W2)


@leaf
def squares(W: Array, *, xp: ModuleType) -> Array:
    """Sums of squares (K, n) of W (K, n, m), by rows or other parts of m numbers. See "The loss"."""
    return xp.sum(W * W, axis=2)


# --- The gradient ----------------------------------------------------------------------------------------


@leaf
def softmax_gradient(exp_Z: Array, total: Array, T: Array, sums: Any, share: Any, *, xp: ModuleType) -> Array:
    """dlogits, gradient of the mean cross-entropy: share · (softmax · Σ_c T_c - T). See "The gradient"."""
    dlogits = exp_Z / total
    if sums is not None:
        dlogits *= sums
    dlogits -= T
    dlogits *= share
    return dlogits


def backward(
    params: Params, X: Array, H1: Array, dlogits: Array, scale: Array | None = None, *, xp: ModuleType
) -> Params:
    """Gradients without the penalty's, from dlogits (K, C, N). May write to H1. See "The gradient"."""
    db2 = xp.sum(dlogits, axis=2)  # before `scale`, which multiplies W2 but not b2
    if scale is not None:
        dlogits = dlogits * scale
    dW2 = product(dlogits, xp.matrix_transpose(H1), xp=xp)  # before `through_relu`, which may write to H1
    dZ1 = through_relu(product(xp.matrix_transpose(params.W2), dlogits, xp=xp), H1, xp=xp)
    return Params(product(dZ1, X, axis=0, xp=xp), xp.sum(dZ1, axis=2), dW2, db2)


@leaf
def through_relu(dH1: Array, H1: Array, *, xp: ModuleType) -> Array:
    """dZ1: dH1 where H1 > 0, else 0. May write to dH1 and H1. See "The gradient"."""
    dH1 *= xp.astype(H1 > 0, H1.dtype)  # H1 > 0 exactly where Z1 > 0 and the unit was kept
    return dH1


def loss_and_gradients(
    params: Params, X: Array, T: Array, sums: Array | None, share: Any, reg: Array, *, xp: ModuleType
) -> tuple[Array, Params]:
    """Loss (K,) and its gradients; the penalty's are 2 reg W1 and 2 reg W2. See "The gradient"."""
    H1, logits = forward(params, X, xp=xp)
    Z, exp_Z, total = softmax_parts(logits, xp=xp)
    losses = cross_entropy(Z, total, T, sums, xp=xp)
    dlogits = softmax_gradient(exp_Z, total, T, sums, share, xp=xp)
    dW1, db1, dW2, db2 = backward(params, X, H1, dlogits, xp=xp)
    decay = 2.0 * reg[:, None, None]
    dW1 += decay * params.W1
    dW2 += decay * params.W2
    return loss(params, losses, share, reg, xp=xp), Params(dW1, db1, dW2, db2)
