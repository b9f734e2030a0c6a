"""One step of training. Its result depends on its inputs alone; it may overwrite the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

from .._namespace import Array, HostArray, cast, leaf, rows_of
from ..augmentation import Augmentation
from ..mathematics import (
    Params,
    backward,
    cross_entropy,
    forward,
    is_correct,
    shares,
    softmax,
    softmax_gradient,
    squares,
    targets,
)
from .batches import Draws
from .optimizers import Optimizer


class State(NamedTuple):
    """The arrays that a step changes: networks, the optimizer's moments, and a running average if any."""

    params: Params
    moments: tuple[Params, ...]
    average: Params | None


class Samples(NamedTuple):
    """All training samples, or, where a step draws no rows, those of its batch."""

    X: Array  # (N, D), of any real dtype
    y: Array  # (N,) int32 or (N, C) in the networks' dtype
    sample_weight: Array | None  # (N,)
    preprocessing: tuple[Array, ...]  # what the method's `transform` needs


class Numbers(NamedTuple):
    """Numbers of a step, as arrays; but for the last, one for each network (K,)."""

    learning_rate: Array
    share: Array  # of each sample in the mean, times the learning rate where the optimizer is `scaled`
    kept_share: Array | None  # of W1 and W2, where the penalty lets them decay in the step itself
    reg: Array
    dropout: Array | None  # thresholds for random bytes, uint8
    label_smoothing: Array | None
    coefficients: Array  # (m,): the optimizer's, then what the newest weights count in the average


class Method(NamedTuple):
    """How a run trains: what stays the same for all of its steps, and is compiled into them."""

    optimizer: Optimizer
    augmentation: Augmentation | None = None
    transform: Callable[..., Array] | None = None
    input_dropout: int = 0  # threshold for random bytes
    penalised: bool = True  # whether any reg is above 0


class Constant(NamedTuple):
    """The arrays that all steps of a run share."""

    samples: Samples  # where they are streamed, only what the preprocessing needs
    numbers: Numbers  # without those that are a step's own


class Varying(NamedTuple):
    """The arrays of one step; or, with a first axis n, of n steps."""

    draws: Draws
    batch: tuple[Array, Array, Array | None] | None  # X, y and weights, where samples are streamed
    learning_rate: Array  # (K,)
    share: Array  # (K,)
    kept_share: Array | None  # (K,)
    coefficients: Array  # (m,)


class Seen(NamedTuple):
    """The arrays before a step's update from which `report` computes its loss and accuracy."""

    Z: Array  # (K, C, N), like `total` a part of the softmax
    total: Array  # (K, 1, N)
    y: Array
    sample_weight: Array | None
    squared: tuple[Array, Array] | None  # the weights', as `squares`; None where there is no penalty


def next_step(
    state: State, constant: Constant, one: Varying, *, method: Method, xp: ModuleType
) -> tuple[State, Seen]:
    """Take the step of a run; return the state after it, and what it saw."""
    samples, numbers = constant
    if one.batch is not None:
        X, y, sample_weight = one.batch
        samples = Samples(X, y, sample_weight, samples.preprocessing)
    numbers = numbers._replace(
        learning_rate=one.learning_rate,
        share=one.share,
        kept_share=one.kept_share,
        coefficients=one.coefficients,
    )
    return step(state, samples, one.draws, numbers, method=method, xp=xp)


def step(
    state: State, samples: Samples, draws: Draws, numbers: Numbers, *, method: Method, xp: ModuleType
) -> tuple[State, Seen]:
    """Take one step on the samples ``draws.rows``; return the state after it, and what it saw."""
    params, moments, average = state
    dtype = params.W1.dtype
    X, y, sample_weight = batch(samples, draws, params, method, xp=xp)
    kept = scale = None
    if numbers.dropout is not None:
        threshold = numbers.dropout[:, None, None]
        scale = 256.0 / (256.0 - xp.astype(threshold, dtype))
        kept = draws.hidden_bytes[None, :, :] >= threshold
    H1, logits = forward(params, X, kept, scale, xp=xp)
    T, sums = targets(y, logits.shape[1], numbers.label_smoothing, dtype=dtype, xp=xp)
    share = numbers.share[:, None, None]
    if sample_weight is not None:  # times N, as `numbers.share` contains the 1 / N of equal weights
        share = share * (shares(sample_weight, xp=xp) * sample_weight.shape[0])[None, None, :]
    Z, exp_Z, total = softmax(logits, xp=xp)
    dlogits = softmax_gradient(exp_Z, total, T, sums, share, xp=xp)
    gradients = backward(params, X, H1, dlogits, scale, xp=xp)
    # The norms are computed here because the update reads W1 next, and then finds it in the cache.
    squared = (squares(params.W1, xp=xp), squares(params.W2, xp=xp)) if method.penalised else None
    params, moments = moved_by(params, gradients, moments, numbers, method, xp=xp)
    if average is not None:
        average = averaged(average, params, numbers.coefficients[-1], xp=xp)
    return State(params, moments, average), Seen(Z, total, y, sample_weight, squared)


def report(seen: Sequence[Seen], constant: Constant, *, xp: ModuleType) -> tuple[Array, Array]:
    """Loss, penalty included, and accuracy of the batches of m steps before their updates: (m, K) each.

    The m steps together take as many calls as one.
    """
    numbers, n_steps = constant.numbers, len(seen)
    Z, total = xp.concat([one.Z for one in seen], axis=2), xp.concat([one.total for one in seen], axis=2)
    y = xp.concat([one.y for one in seen])
    weights = None
    if seen[0].sample_weight is not None:
        weights = xp.stack([one.sample_weight for one in seen])
    T, sums = targets(y, Z.shape[1], numbers.label_smoothing, dtype=Z.dtype, xp=xp)
    losses = cross_entropy(Z, total, T, sums, xp=xp)[:, 0, :]
    loss = batch_means(losses, weights, n_steps, xp=xp)
    squared = [one.squared for one in seen if one.squared is not None]
    if squared:
        of_W1, of_W2 = xp.stack([each for each, _ in squared]), xp.stack([each for _, each in squared])
        loss = loss + numbers.reg[None, :] * (xp.sum(of_W1, axis=2) + xp.sum(of_W2, axis=2))
    right = xp.astype(is_correct(Z, y, xp=xp), loss.dtype)
    return loss, batch_means(right, None, n_steps, xp=xp)


def batch_means(values: Array, sample_weight: Array | None, n_batches: int, *, xp: ModuleType) -> Array:
    """Mean over each of m batches that lie one after another, (K, m·N) to (m, K), by weights (m, N)."""
    n_networks, n_values = values.shape
    each = xp.reshape(values, (n_networks, n_batches, n_values // n_batches))
    if sample_weight is None:
        return xp.mean(each, axis=2).T
    return xp.sum(each * shares(sample_weight, xp=xp)[None, :, :], axis=2).T


def size(params: Params, *, xp: ModuleType) -> Array:
    """Return a number for each network (K,): not finite if a parameter, or a weight's square, is not."""
    of_W1, of_W2 = xp.sum(squares(params.W1, xp=xp), axis=1), xp.sum(squares(params.W2, xp=xp), axis=1)
    return of_W1 + of_W2 + xp.sum(params.b1, axis=1) + xp.sum(params.b2, axis=1)


def batch(
    samples: Samples, draws: Draws, params: Params, method: Method, *, xp: ModuleType
) -> tuple[Array, Array, Array | None]:
    """Samples of a batch as the networks take them: gathered, augmented, preprocessed and thinned."""
    dtype = params.W1.dtype
    X, y, sample_weight, arrays = samples
    if draws.rows is not None:
        X = rows_of(X, draws.rows, xp=xp)
        y = rows_of(y, draws.rows, xp=xp) if draws.labels is None else draws.labels
        if sample_weight is not None:
            sample_weight = rows_of(sample_weight, draws.rows, xp=xp)
    if method.augmentation is not None:
        X, y, sample_weight = augmented(X, y, sample_weight, draws, params, method.augmentation, xp=xp)
    X = cast(X, dtype, xp=xp) if method.transform is None else method.transform(X, arrays, xp=xp)
    if method.input_dropout:
        scale = 256.0 / (256.0 - method.input_dropout)
        X = X * scale
        X *= xp.astype(draws.input_bytes >= method.input_dropout, dtype)
    return X, y, sample_weight


def augmented(
    X: Array,
    y: Array,
    sample_weight: Array | None,
    draws: Draws,
    params: Params,
    augmentation: Augmentation,
    *,
    xp: ModuleType,
) -> tuple[Array, Array, Array | None]:
    """Augment a batch. Targets that are mixed are mixed by the samples' weights."""
    T = y
    if y.ndim == 1:
        T = targets(y, params.W2.shape[1], dtype=params.W1.dtype, xp=xp)[0][0, ...].T
    if sample_weight is None:
        return *augmentation.apply(X, T, draws.augmentation, xp=xp), None
    X, weighted = augmentation.apply(X, T * sample_weight[:, None], draws.augmentation, xp=xp)
    sample_weight = xp.sum(weighted, axis=1)
    weights = sample_weight[:, None]
    return X, xp.where(weights > 0, weighted / xp.where(weights > 0, weights, 1.0), T), sample_weight


def moved_by(
    params: Params,
    gradients: Params,
    moments: tuple[Params, ...],
    numbers: Numbers,
    method: Method,
    *,
    xp: ModuleType,
) -> tuple[Params, tuple[Params, ...]]:
    """Networks and moments after the optimizer's update, from the gradients of the data loss."""
    if method.optimizer.scaled:
        return sgd(params, gradients, numbers.kept_share, xp=xp), moments
    if method.penalised:
        gradients = with_penalty(params, gradients, numbers.reg, xp=xp)
    rate = numbers.learning_rate
    of_weights, of_biases = rate[:, None, None], rate[:, None]
    rates = of_weights, of_biases, of_weights, of_biases
    weights, moved = method.optimizer.move(
        tuple(params), tuple(gradients), moments, rates, numbers.coefficients, xp=xp
    )
    return Params(*weights), tuple(Params(*moment) for moment in moved)


def kept_shares(learning_rate: HostArray, reg: HostArray) -> HostArray:
    """1 - 2·reg·lr, the factor of W1 and W2 in each of n steps of gradient descent: (n, K)."""
    return 1.0 - 2.0 * reg * learning_rate


def sgd(params: Params, scaled: Params, kept_share: Array | None, *, xp: ModuleType) -> Params:
    """Stochastic gradient descent: W ← (1 - 2·reg·lr) W - lr dW of the data loss; biases do not decay.

    ``scaled`` are the gradients of the data loss times the learning rate. The state is updated in place
    where the library can. So the rate costs no pass over an array as large as W1, and the penalty only one.
    Otherwise a step of 512 hidden units takes 1.1 to 1.2 times as long (benchmarks/forms.py).
    """
    keep = None if kept_share is None else kept_share[:, None, None]
    return Params(
        W1=descended(params.W1, scaled.W1, keep, xp=xp),
        b1=descended(params.b1, scaled.b1, None, xp=xp),
        W2=descended(params.W2, scaled.W2, keep, xp=xp),
        b2=descended(params.b2, scaled.b2, None, xp=xp),
    )


def with_penalty(params: Params, gradients: Params, reg: Array, *, xp: ModuleType) -> Params:
    """Add 2 reg W1 and 2 reg W2, the gradients of the penalty, to those of the data loss, in place."""
    decay = reg[:, None, None]
    dW1, dW2 = (
        penalised(gradients.W1, params.W1, decay, xp=xp),
        penalised(gradients.W2, params.W2, decay, xp=xp),
    )
    return gradients._replace(W1=dW1, W2=dW2)


def averaged(average: Params, params: Params, newest: Array, *, xp: ModuleType) -> Params:
    """Average of the networks over the steps, in which the newest weights count ``newest``."""
    return Params(
        W1=mixed(average.W1, params.W1, newest, xp=xp),
        b1=mixed(average.b1, params.b1, newest, xp=xp),
        W2=mixed(average.W2, params.W2, newest, xp=xp),
        b2=mixed(average.b2, params.b2, newest, xp=xp),
    )


@leaf
def penalised(dW: Array, W: Array, reg: Array, *, xp: ModuleType) -> Array:
    """Gradient of the loss, from that of the data loss: dW + 2 reg W."""
    dW += W * (2.0 * reg)
    return dW


@leaf
def descended(W: Array, step: Array, keep: Array | None, *, xp: ModuleType) -> Array:
    """W ← keep · W - step."""
    if keep is not None:
        W *= keep
    W -= step
    return W


@leaf
def mixed(average: Array, weights: Array, newest: Array, *, xp: ModuleType) -> Array:
    """Return (1 - newest) · average + newest · weights, in place where the library can."""
    average *= 1.0 - newest
    average += newest * weights
    return average
