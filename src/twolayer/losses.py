"""Softmax cross-entropy, its gradient, and the L2 penalty: array-API code that checks nothing.

In the shapes, K is the number of networks, N of samples, C of classes, D of features, H of hidden units.
Targets are either integer labels ``y`` (N,) or class probabilities (N, C); weights are (N,) or None; label
smoothing is (K,) or None.
"""

from __future__ import annotations

from types import ModuleType

from ._namespace import Array, device


def log_softmax(logits: Array, *, xp: ModuleType) -> Array:
    """Logarithm of the softmax over the last axis: z_c - log Σ_j exp(z_j), for logits (..., C).

    The largest logit is subtracted first, so that no exponential overflows and the sum is at least 1.
    """
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def one_hot(y: Array, n_classes: int, *, xp: ModuleType) -> Array:
    """Truth values (N, C): whether class c is the label of sample i."""
    return xp.expand_dims(y, axis=1) == xp.arange(n_classes, dtype=y.dtype, device=device(y))


def cross_entropy(
    log_probs: Array, y: Array, label_smoothing: Array | None = None, *, xp: ModuleType
) -> Array:
    """Cross-entropy of each sample, -log p[y_i] or -Σ_c T_ic log p_ic: (K, N, C) to (K, N).

    With label smoothing ε the targets are (1 - ε) T + ε / C.
    """
    # Chosen by `where`: 0 * log(0) is nan, and the limit is 0.
    if y.ndim == 1:
        terms = xp.where(one_hot(y, log_probs.shape[-1], xp=xp), log_probs, 0.0)
    else:
        terms = xp.where(y > 0, y * log_probs, 0.0)
    losses = -xp.sum(terms, axis=-1)
    if label_smoothing is None:
        return losses
    smoothing = xp.expand_dims(label_smoothing, axis=1)
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
    log_probs = log_softmax(logits, xp=xp)
    losses = cross_entropy(log_probs, y, label_smoothing, xp=xp)
    probs = xp.exp(log_probs)
    smoothing = None if label_smoothing is None else xp.reshape(label_smoothing, (-1, 1, 1))
    kept = 1.0 if smoothing is None else 1.0 - smoothing
    if y.ndim == 1:
        dlogits = xp.where(one_hot(y, logits.shape[-1], xp=xp), probs - kept, probs)
    else:  # the sums of y are 1 but for rounding, and this is the gradient all the same
        total = xp.sum(y, axis=1, keepdims=True)
        dlogits = probs * (total if smoothing is None else kept * total + smoothing) - kept * y
    if smoothing is not None:
        dlogits -= smoothing / logits.shape[-1]
    if sample_weight is None:
        return xp.mean(losses, axis=1), dlogits / y.shape[0]
    shares = sample_shares(sample_weight, xp=xp)
    return xp.sum(losses * shares, axis=1), dlogits * xp.expand_dims(shares, axis=1)


def l2_norms(W1: Array, W2: Array, *, xp: ModuleType) -> Array:
    """Return ‖W1‖² + ‖W2‖² of each network, (K,), from W1 (D, K·H) and W2 (K, H, C).

    Inner products: no squared copy of W1 is made.
    """
    n_networks, n_hidden, _ = W2.shape
    rows = xp.reshape(W1, (W1.shape[0], n_networks, n_hidden))
    return xp.sum(xp.vecdot(rows, rows), axis=0) + xp.sum(xp.vecdot(W2, W2), axis=1)
