"""Softmax cross-entropy, its gradient, and the L2 penalty: array-API code that checks nothing.

In the shapes, K is the number of networks, N of samples, C of classes, D of features, H of hidden units.
Targets ``y`` are integer labels (N,) or class probabilities (N, C); weights are (N,) or None; label
smoothing is (K,) or None.
"""

from __future__ import annotations

from types import ModuleType

from ._namespace import Array, cast, device, fuses, fusible


def log_softmax(logits: Array, *, xp: ModuleType) -> Array:
    """Logarithm of the softmax over the last axis: z_c - log Σ_j exp(z_j), for logits (..., C).

    The largest logit is subtracted first, so that no exponential overflows and the sum is at least 1.
    """
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def one_hot(y: Array, n_classes: int, *, xp: ModuleType) -> Array:
    """Truth values (N, C): whether class c is the label of sample i. They lie as the logits of `forward`."""
    return (xp.arange(n_classes, dtype=y.dtype, device=device(y))[:, None] == y[None, :]).T


def cross_entropy(
    log_probs: Array, y: Array, label_smoothing: Array | None = None, *, xp: ModuleType
) -> Array:
    """Cross-entropy of each sample, -log p[y_i] or -Σ_c T_ic log p_ic: (K, N, C) to (K, N).

    With label smoothing ε the targets are (1 - ε) T + ε / C. Labels may come as the truth values of
    `one_hot` too.
    """
    if y.ndim == 1:
        y = one_hot(y, log_probs.shape[-1], xp=xp)
    # 0 * log(0) is nan, and the limit is 0.
    if y.dtype == xp.bool:
        # As factors of finite numbers: to choose costs a branch that a processor cannot predict.
        least = xp.finfo(log_probs.dtype).min
        terms = xp.maximum(log_probs, least) * xp.astype(y, log_probs.dtype)
    else:
        terms = xp.where(y > 0, y * log_probs, 0.0)
    losses = -xp.sum(terms, axis=-1)
    if label_smoothing is None:
        return losses
    smoothing = label_smoothing[:, None]
    return (1.0 - smoothing) * losses - smoothing * xp.mean(log_probs, axis=-1)


def sample_shares(sample_weight: Array, *, xp: ModuleType) -> Array:
    """Each sample's share of the mean, s_i / Σ s over the last axis; all 0 where every weight is 0."""
    total = xp.sum(sample_weight, axis=-1, keepdims=True)
    return sample_weight / xp.where(total > 0, total, 1.0)


def batch_means(
    values: Array, sample_weight: Array | None = None, n_batches: int = 1, *, xp: ModuleType
) -> Array:
    """Weighted mean over each of m batches that lie one after another: (K, m·N) to (m, K).

    Weights are (m·N,). Where all of a batch are 0, so is its mean.
    """
    n_networks, n_samples = values.shape
    size = n_samples // n_batches
    each = xp.reshape(values, (n_networks, n_batches, size))
    if sample_weight is None:
        return (xp.sum(each, axis=-1) / size).T
    shares = sample_shares(xp.reshape(sample_weight, (n_batches, size)), xp=xp)
    return xp.sum(each * shares, axis=-1).T


def softmax_gradient(
    logits: Array,
    y: Array,
    sample_weight: Array | None = None,
    label_smoothing: Array | None = None,
    factor: Array | None = None,
    *,
    xp: ModuleType,
) -> Array:
    """Gradient of `data_loss` by the logits: (K, N, C), s_i (softmax(logits_i) - T_i) / Σ_i s_i.

    Where a ``factor`` (K,) is given, times this.
    """
    n_samples, n_classes = logits.shape[-2:]
    Z = logits.mT  # as `forward` leaves them in memory
    exponentials = exp_of_difference(Z, xp.max(Z, axis=1, keepdims=True), xp=xp)
    classes = sums = smoothing = shares = factors = None
    if y.ndim == 1:
        classes = xp.arange(n_classes, dtype=y.dtype, device=device(y))[:, None]
    else:
        y = cast(y, logits.dtype, xp=xp).mT
        sums = xp.sum(y, axis=0)
    if label_smoothing is not None:
        smoothing = label_smoothing[:, None, None]
    if sample_weight is not None:
        shares = sample_shares(sample_weight, xp=xp)
    if factor is not None:
        factors = factor[:, None, None]
    total = xp.sum(exponentials, axis=1, keepdims=True)
    sizes = {"n_samples": n_samples, "n_classes": n_classes}
    return errors(exponentials, total, y, classes, sums, smoothing, shares, factors, **sizes, xp=xp).mT


@fusible
def exp_of_difference(a: Array, b: Array, *, xp: ModuleType) -> Array:
    """exp(a - b)."""
    return xp.exp(a - b)


@fusible
def errors(
    exponentials: Array,
    total: Array,
    y: Array,
    classes: Array | None,
    sums: Array | None,
    smoothing: Array | None,
    shares: Array | None,
    factors: Array | None,
    *,
    n_samples: int,
    n_classes: int,
    xp: ModuleType,
) -> Array:
    """`softmax_gradient` by class and sample (K, C, N), from exponentials and their sums over classes."""
    dlogits = exponentials / total  # not in place, for autograd
    T = y if classes is None else xp.astype(classes == y, dlogits.dtype)
    if sums is not None:  # they are 1 but for rounding, and this is the gradient all the same
        dlogits *= sums if smoothing is None else (1.0 - smoothing) * sums + smoothing
    dlogits -= T if smoothing is None else (1.0 - smoothing) * T
    if smoothing is not None:
        dlogits -= smoothing / n_classes
    if shares is None:
        dlogits /= n_samples
    else:
        dlogits *= shares
    if factors is not None:
        dlogits *= factors
    return dlogits


def data_loss(
    logits: Array,
    y: Array,
    sample_weight: Array | None = None,
    label_smoothing: Array | None = None,
    *,
    xp: ModuleType,
) -> Array:
    """Mean cross-entropy of the softmax: (K,), Σ_i s_i · -Σ_c T_ic log softmax(logits_i)_c / Σ_i s_i.

    T_i is onehot(y_i) or the class probabilities; with label smoothing ε it is (1 - ε) T_i + ε / C.
    """
    losses = cross_entropy(log_softmax(logits, xp=xp), y, label_smoothing, xp=xp)
    return batch_means(losses, sample_weight, xp=xp)[0, :]


def l2_norms(W1: Array, W2: Array, *, xp: ModuleType) -> Array:
    """Return ‖W1‖² + ‖W2‖² of each network, (K,), from W1 (D, K·H) and W2 (K, H, C)."""
    first, second = squared_parts(W1, W2, xp=xp)
    return xp.sum(first, axis=0) + xp.sum(second, axis=0)


def squared_parts(W1: Array, W2: Array, *, xp: ModuleType) -> tuple[Array, Array]:
    """‖W1‖² and ‖W2‖² of each network in m parts that are to be summed: (m, K) each.

    Inner products: no squared copy of W1 is made.
    """
    n_networks, n_hidden, _ = W2.shape
    if n_networks == 1 and not fuses(xp):  # two long ones
        first, second = xp.reshape(W1, (-1,)), xp.reshape(W2, (-1,))
        return (first @ first)[None, None], (second @ second)[None, None]
    rows = xp.reshape(W1, (W1.shape[0], n_networks, n_hidden))
    of_W1, of_W2 = squares(rows, xp=xp), squares(xp.permute_dims(W2, (1, 0, 2)), xp=xp)
    if fuses(xp):  # where calls are dear, the parts of many steps are summed in one
        return of_W1, of_W2
    return xp.sum(of_W1, axis=0, keepdims=True), xp.sum(of_W2, axis=0, keepdims=True)


@fusible
def squares(rows: Array, *, xp: ModuleType) -> Array:
    """Sum of the squares of each row: (..., n) to (...)."""
    return xp.vecdot(rows, rows)
