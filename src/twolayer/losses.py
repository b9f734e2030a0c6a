"""Softmax cross-entropy, its gradient, and the L2 penalty: array-API code that checks nothing.

In the shapes, K is the number of networks, N of samples, C of classes, D of features, H of hidden units.
Targets ``y`` are integer labels (N,) or class probabilities (N, C); weights are (N,) or None; label
smoothing is (K,) or None.
"""

from __future__ import annotations

from types import ModuleType

from ._namespace import Array, cast, device


def log_softmax(logits: Array, *, xp: ModuleType) -> Array:
    """Logarithm of the softmax over the last axis: z_c - log Σ_j exp(z_j), for logits (..., C).

    The largest logit is subtracted first, so that no exponential overflows and the sum is at least 1.
    """
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def one_hot(y: Array, n_classes: int, *, xp: ModuleType) -> Array:
    """Truth values (N, C): whether class c is the label of sample i."""
    return y[:, None] == xp.arange(n_classes, dtype=y.dtype, device=device(y))


def cross_entropy(
    log_probs: Array, y: Array, label_smoothing: Array | None = None, *, xp: ModuleType
) -> Array:
    """Cross-entropy of each sample, -log p[y_i] or -Σ_c T_ic log p_ic: (K, N, C) to (K, N).

    With label smoothing ε the targets are (1 - ε) T + ε / C. Labels may come as the truth values of
    `one_hot` too.
    """
    if y.ndim == 1:
        y = one_hot(y, log_probs.shape[-1], xp=xp)
    # Chosen by `where`: 0 * log(0) is nan, and the limit is 0.
    if y.dtype == xp.bool:
        terms = xp.where(y, log_probs, 0.0)
    else:
        terms = xp.where(y > 0, y * log_probs, 0.0)
    losses = -xp.sum(terms, axis=-1)
    if label_smoothing is None:
        return losses
    smoothing = label_smoothing[:, None]
    return (1.0 - smoothing) * losses - smoothing * xp.mean(log_probs, axis=-1)


def sample_shares(sample_weight: Array, *, xp: ModuleType) -> Array:
    """Each sample's share of the mean, s_i / Σ s (N,); all 0 where every weight is 0."""
    total = xp.sum(sample_weight)
    return sample_weight / xp.where(total > 0, total, 1.0)


def softmax_cross_entropy(
    logits: Array,
    y: Array,
    sample_weight: Array | None = None,
    label_smoothing: Array | None = None,
    *,
    xp: ModuleType,
) -> tuple[Array, Array]:
    """Mean cross-entropy of the softmax and its gradient, for logits (K, N, C).

    data_loss = Σ_i s_i · -Σ_c T_ic log softmax(logits_i)_c / Σ_i s_i
    dlogits   = s_i (softmax(logits_i) - T_i) / Σ_i s_i

    T_i is onehot(y_i) or the class probabilities; with label smoothing ε it is (1 - ε) T_i + ε / C.

    Returns
    -------
    data_loss : array (K,)
    dlogits : array (K, N, C)
    """
    n_samples, n_classes = logits.shape[-2:]
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = xp.sum(exponentials, axis=-1, keepdims=True)
    dlogits = exponentials / total  # the probabilities; not in place, as autograd may need them
    shifted -= xp.log(total)  # the log-probabilities, as log_softmax has them
    T = y if y.ndim == 2 else one_hot(y, n_classes, xp=xp)
    losses = cross_entropy(shifted, T, label_smoothing, xp=xp)
    smoothing = None if label_smoothing is None else xp.reshape(label_smoothing, (-1, 1, 1))
    T = cast(T, logits.dtype, xp=xp)
    if y.ndim == 2:  # the sums of y are 1 but for rounding, and this is the gradient all the same
        sums = xp.sum(T, axis=1, keepdims=True)
        dlogits *= sums if smoothing is None else (1.0 - smoothing) * sums + smoothing
    dlogits -= T if smoothing is None else (1.0 - smoothing) * T
    if smoothing is not None:
        dlogits -= smoothing / n_classes
    if sample_weight is None:
        dlogits /= n_samples
        return xp.sum(losses, axis=1) / n_samples, dlogits
    shares = sample_shares(sample_weight, xp=xp)
    dlogits *= shares[:, None]
    return xp.sum(losses * shares, axis=1), dlogits


def l2_norms(W1: Array, W2: Array, *, xp: ModuleType) -> Array:
    """Return ‖W1‖² + ‖W2‖² of each network, (K,), from W1 (D, K·H) and W2 (K, H, C).

    Inner products: no squared copy of W1 is made.
    """
    n_networks, n_hidden, n_classes = W2.shape
    if n_networks == 1:  # two long ones
        first, second = (xp.vecdot(flat, flat) for flat in (xp.reshape(a, (-1,)) for a in (W1, W2)))
        return xp.reshape(first + second, (1,))
    rows = xp.reshape(W1, (W1.shape[0], n_networks, n_hidden))
    flat = xp.reshape(W2, (n_networks, n_hidden * n_classes))
    return xp.sum(xp.vecdot(rows, rows), axis=0) + xp.vecdot(flat, flat)
