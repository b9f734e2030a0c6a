"""The mathematics on one page: K two-layer networks on one batch of N samples.

    Z1 = W1 Xᵀ + b1    H1 = relu(Z1)    logits = W2 H1 + b2
    loss = Σ_i share_i · cross_entropy(softmax(logits_i), T_i) + reg · (‖W1‖² + ‖W2‖²)

D features, H hidden units, C classes. Weights are (out, in), samples are the last axis, and the first axis is
the network; an axis of 1 stands for all networks. A share is (1 or K, 1, N), or 1 / N. Nothing is checked.
docs/mathematics.md derives each formula. A `leaf` may write to its arrays, and run in a form that is faster.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from ._namespace import Array, class_numbers, leaf


class Params(NamedTuple):
    """The arrays of K networks. Gradients, moments and averages have the same type."""

    W1: Array  # (K, H, D)
    b1: Array  # (K, H)
    W2: Array  # (K, C, H)
    b2: Array  # (K, C)


# --- The network ------------------------------------------------------------------------------------------


def forward(
    params: Params, X: Array, kept: Array | None = None, scale: Array | None = None, *, xp: ModuleType
) -> tuple[Array, Array]:
    """Hidden activations H1 (K, H, N) and logits (K, C, N) of samples X (N, D).

    Dropout: units count where ``kept`` (K, H, N) is true, times ``scale`` (K, 1, 1) = 1 / (1 - p), on W2.
    """
    W1, b1, W2, b2 = params
    K, H, D = W1.shape
    # The first layers of all networks are one matrix product.
    Z1 = xp.reshape(xp.reshape(W1, (K * H, D)) @ X.T, (K, H, X.shape[0]))
    H1 = relu(Z1, b1[:, :, None], kept, xp=xp)
    logits = product(W2 if scale is None else W2 * scale, H1)
    logits += b2[:, :, None]
    return H1, logits


@leaf
def relu(Z1: Array, b1: Array, kept: Array | None, *, xp: ModuleType) -> Array:
    """H1 = max(Z1 + b1, 0), and 0 for units that are not kept."""
    Z1 += b1
    H1 = xp.maximum(Z1, 0.0)
    if kept is not None:
        H1 *= xp.astype(kept, H1.dtype)
    return H1


def backward(
    params: Params, X: Array, H1: Array, dlogits: Array, scale: Array | None = None, *, xp: ModuleType
) -> Params:
    """Gradients of the data loss, from its gradient by the logits (K, C, N), in which they are linear."""
    K, H, D = params.W1.shape
    db2 = xp.sum(dlogits, axis=2)
    if scale is not None:
        dlogits = dlogits * scale
    dZ1 = through_relu(product(xp.matrix_transpose(params.W2), dlogits), H1, xp=xp)
    dW1 = xp.reshape(dZ1, (K * H, X.shape[0])) @ X
    dW2 = product(dlogits, xp.matrix_transpose(H1))
    return Params(xp.reshape(dW1, (K, H, D)), xp.sum(dZ1, axis=2), dW2, db2)


@leaf
def through_relu(dH1: Array, H1: Array, *, xp: ModuleType) -> Array:
    """dZ1: dH1 where Z1 > 0 and the unit was kept, which is where H1 > 0; else 0."""
    dH1 *= xp.astype(H1 > 0, H1.dtype)
    return dH1


def product(A: Array, B: Array) -> Array:
    """Matrix product of each network; of one network a plain product, which libraries do best."""
    return (A[0, ...] @ B[0, ...])[None, ...] if A.shape[0] == 1 == B.shape[0] else A @ B


# --- The loss ---------------------------------------------------------------------------------------------


def targets(
    y: Array, n_classes: int, smoothing: Array | None = None, *, dtype: Any, xp: ModuleType
) -> tuple[Array, Array | None]:
    """Class probabilities T (1, C, N) of labels (N,) or probabilities (N, C), and their sums (1, 1, N).

    With label smoothing ε (K,) they are (K, C, N): (1 - ε) T + ε / C. A sum is 1 but for rounding in the
    caller's probabilities; of labels it is None.
    """
    if y.ndim == 1:
        classes = class_numbers(n_classes, y, xp=xp)
        T, sums = one_hot(classes[None, :, None], y[None, None, :], dtype=dtype, xp=xp), None
    else:
        T = xp.astype(y, dtype).T[None, :, :]
        sums = xp.sum(T, axis=1, keepdims=True)
    if smoothing is not None:
        epsilon = smoothing[:, None, None]
        T = T * (1.0 - epsilon) + epsilon / n_classes
        sums = None if sums is None else sums * (1.0 - epsilon) + epsilon
    return T, sums


@leaf
def one_hot(classes: Array, y: Array, *, dtype: Any, xp: ModuleType) -> Array:
    """1 where the class is the label, else 0."""
    return xp.astype(classes == y, dtype)


def shares(sample_weight: Array, *, xp: ModuleType) -> Array:
    """Share of each sample in the mean, s_i / Σ s over the last axis; all 0 where every weight is 0."""
    total = xp.sum(sample_weight, axis=-1, keepdims=True)
    return sample_weight / xp.where(total > 0, total, 1.0)


def log_softmax(logits: Array, *, axis: int, xp: ModuleType) -> Array:
    """Logarithm of the softmax, z_c - log Σ_j exp z_j; the largest z is subtracted so that none overflows."""
    Z = logits - xp.max(logits, axis=axis, keepdims=True)
    return Z - xp.log(xp.sum(xp.exp(Z), axis=axis, keepdims=True))


def cross_entropy(logits: Array, T: Array, *, xp: ModuleType) -> Array:
    """Cross-entropy of each sample, -Σ_c T_c log softmax(z)_c: (K, 1, N)."""
    return -xp.sum(T * log_softmax(logits, axis=1, xp=xp), axis=1, keepdims=True)


def softmax_gradient(logits: Array, T: Array, sums: Any, share: Any, *, xp: ModuleType) -> Array:
    """Gradient by the logits (K, C, N) of Σ_i share_i · cross_entropy_i: share · (Σ_c T_c softmax(z) - T)."""
    exponentials = exp_of_difference(logits, xp.max(logits, axis=1, keepdims=True), xp=xp)
    total = xp.sum(exponentials, axis=1, keepdims=True)
    return errors(exponentials, total, T, sums, share, xp=xp)


@leaf
def exp_of_difference(a: Array, b: Array, *, xp: ModuleType) -> Array:
    """exp(a - b)."""
    return xp.exp(a - b)


@leaf
def errors(exponentials: Array, total: Array, T: Array, sums: Any, share: Any, *, xp: ModuleType) -> Array:
    """`softmax_gradient`, from the exponentials of the logits and their sums over the classes."""
    dlogits = exponentials / total
    if sums is not None:
        dlogits *= sums
    dlogits -= T
    dlogits *= share
    return dlogits


def loss(params: Params, logits: Array, T: Array, share: Any, reg: Array, *, xp: ModuleType) -> Array:
    """Loss of each network (K,), from its logits: mean cross-entropy and reg · (‖W1‖² + ‖W2‖²)."""
    W1, W2 = params.W1, params.W2
    mean = xp.sum(cross_entropy(logits, T, xp=xp) * share, axis=(1, 2))
    return mean + reg * (xp.sum(W1 * W1, axis=(1, 2)) + xp.sum(W2 * W2, axis=(1, 2)))


def loss_and_gradients(
    params: Params, X: Array, T: Array, sums: Any, share: Any, reg: Array, *, xp: ModuleType
) -> tuple[Array, Params]:
    """Loss of each network (K,), and its gradients; the penalty's are 2 reg W1 and 2 reg W2."""
    H1, logits = forward(params, X, xp=xp)
    dlogits = softmax_gradient(logits, T, sums, share, xp=xp)
    dW1, db1, dW2, db2 = backward(params, X, H1, dlogits, xp=xp)
    decay = 2.0 * reg[:, None, None]
    gradients = Params(dW1 + decay * params.W1, db1, dW2 + decay * params.W2, db2)
    return loss(params, logits, T, share, reg, xp=xp), gradients


def is_correct(logits: Array, y: Array, *, xp: ModuleType) -> Array:
    """Whether the largest logit, of equal ones the first, is the label's: (K, N). Never where one is nan."""
    labels = y if y.ndim == 1 else xp.argmax(y, axis=1)  # for logits comparisons are faster
    largest = logits == xp.max(logits, axis=1, keepdims=True)
    classes = class_numbers(logits.shape[1], labels, xp=xp)[:, None]
    earlier = xp.any(largest & (classes < labels), axis=1)
    return xp.any(largest & (classes == labels), axis=1) & ~earlier
