"""One step of training: a pure function of its inputs, which consumes the state that it is given."""

from __future__ import annotations

from types import ModuleType

from .._namespace import Array, cast
from ..losses import l2_norms, softmax_cross_entropy
from ..network import Core, backward, forward, hits, per_unit


def sgd(core: Core, scaled: Core, learning_rate: Array, reg: Array, *, xp: ModuleType) -> Core:
    """Stochastic gradient descent: W ← (1 - 2·reg·lr) W - lr dW of the data loss; biases do not decay.

    ``scaled`` are the gradients of the data loss times the learning rate. The state is updated in place
    where the library can.
    """
    W1, b1, W2, b2 = core
    keep = 1.0 - 2.0 * learning_rate * reg
    W1 *= per_unit(keep, W2.shape[1], xp=xp)
    W1 -= scaled.W1
    W2 *= keep[:, None, None]
    W2 -= scaled.W2
    b1 -= scaled.b1
    b2 -= scaled.b2
    return Core(W1, b1, W2, b2)


def step(
    core: Core,
    X: Array,
    y: Array,
    sample_weight: Array | None,
    rows: Array,
    learning_rate: Array,
    reg: Array,
    *,
    xp: ModuleType,
) -> tuple[Core, Array, Array]:
    """Take one step on the samples ``rows`` (B,) of X (N, D), for learning_rate and reg (K,).

    Returns
    -------
    core : Core
        The networks after the step.
    loss : array (K,)
        The loss of the batch before it, penalty included.
    accuracy : array (K,)
        The accuracy on the batch before it.
    """
    dtype = core.W1.dtype
    X = cast(xp.take(X, rows, axis=0), dtype, xp=xp)
    y = xp.take(y, rows, axis=0)
    if sample_weight is not None:
        sample_weight = xp.take(sample_weight, rows, axis=0)
    H1, logits = forward(core, X, xp=xp)
    data_loss, dlogits = softmax_cross_entropy(logits, y, sample_weight, xp=xp)
    loss = data_loss + reg * l2_norms(core.W1, core.W2, xp=xp)
    accuracy = xp.mean(xp.astype(hits(logits, y, xp=xp), dtype), axis=-1)
    # The gradient is linear in dlogits: scaled here, the learning rate costs no pass over W1.
    dlogits *= learning_rate[:, None, None]
    core = sgd(core, backward(core, X, H1, dlogits, xp=xp), learning_rate, reg, xp=xp)
    return core, loss, accuracy
