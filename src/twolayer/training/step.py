"""One step of training, as a function of arrays alone, which JAX can compile. It may overwrite the state.

The arguments of `step` differ in how often they change: `State` is the result of the step before, `Varying`
belongs to one step, `Constant` to a whole run, and the keywords are compiled into the step. A step does not
compute its loss. It returns the arrays for it, `Seen`, and `report` computes the losses of many steps in as
few calls as for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from .._namespace import Array, HostArray, cast, leaf, rows_of
from ..augmentation import Augmentation
from ..mathematics import (
    Params,
    backward,
    cross_entropy,
    forward,
    is_correct,
    shares,
    softmax_gradient,
    softmax_parts,
    squares,
    targets,
)
from .batches import Draws
from .optimizers import Optimizer


class State(NamedTuple):
    """The arrays that a step changes: networks, the optimizer's moments, and the average if there is one."""

    params: Params
    moments: tuple[Params, ...]
    average: Params | None


class Samples(NamedTuple):
    """Samples with their targets and weights: a whole training or validation set, or one batch."""

    X: Array  # (N, D), of any real dtype
    y: Array  # (N,) int32 or (N, C) in the networks' dtype
    sample_weight: Array | None  # (N,), or (N, F) with folds
    own: Array | None = None  # (N, F) with folds: 1 if the fold trains on the sample, else 0


class Constant(NamedTuple):
    """The arrays that all steps of a run share; those (K,) have one number for each network."""

    samples: Samples | None  # the training samples; None if they are streamed
    preprocessing: tuple[Array, ...]  # the arrays that `transform` needs
    reg: Array | None  # (K,); None if it is 0 for all networks
    dropout: Array | None  # (K,) uint8: thresholds for random bytes; None like `reg`
    smoothing: Array | None  # (K,); None like `reg`
    fold: Array | None = None  # (K,) int32: the fold of each network


class Varying(NamedTuple):
    """The arrays of one step; or, with a first axis n, of n steps."""

    draws: Draws
    batch: Samples | None  # the samples of the step, if the host gathers them
    labels: Array | None  # of the batch, if the host gathers only these: (B,) int32, or targets (B, C)
    learning_rate: Array  # (K,)
    share: Array  # (K,): 1 / B, times the learning rate if the optimizer is `scaled`
    decay: Array | None  # (K,): factor by which the penalty shrinks W1 and W2, if the optimizer is `scaled`
    coefficients: Array  # (m,): the optimizer's; then, with an average, the share of the newest weights in it


class Seen(NamedTuple):
    """The arrays, from before a step's update, from which `report` computes its loss and accuracy."""

    Z: Array  # (K, C, N): logits minus their maximum; with `total` it gives the softmax
    total: Array  # (K, 1, N): sum of exp(Z) over the classes
    y: Array
    weighted: Array | None  # (1 or K, N): share of each sample in the loss; None if all shares are equal
    counted: Array | None  # (K, N): its share in the accuracy; None if all shares are equal
    squared: tuple[Array, Array] | None  # `squares` of W1 and W2; None without a penalty


def step(
    state: State,
    constant: Constant,
    varying: Varying,
    *,
    optimizer: Optimizer,
    augmentation: Augmentation | None,
    transform: Callable[..., Array] | None,
    input_dropout: int,
    divide: Callable[[Samples], Samples] | None = None,
    xp: ModuleType,
) -> tuple[State, Seen]:
    """Return the state after one step, and the arrays for its report.

    ``input_dropout`` is a threshold for random bytes, and ``divide`` divides a batch over several devices.
    Like the other keywords they are compiled into the step.
    """
    params = state.params
    dtype = params.W1.dtype
    batch = gathered(constant.samples, varying, xp=xp)
    if divide is not None:
        batch = divide(batch)
    if augmentation is not None:
        if batch.y.ndim == 1:  # an augmentation may mix targets, which labels cannot express
            T, _ = targets(batch.y, params.W2.shape[1], dtype=dtype, xp=xp)
            batch = batch._replace(y=T[0, ...].T)
        batch = augmented(batch, varying.draws.augmentation, augmentation, xp=xp)
    X, y, sample_weight, own = batch
    X = cast(X, dtype, xp=xp) if transform is None else transform(X, constant.preprocessing, xp=xp)
    if input_dropout:
        X = X * (256.0 / (256.0 - input_dropout))
        X *= xp.astype(varying.draws.input_bytes >= input_dropout, dtype)
    kept = scale = None
    if constant.dropout is not None:
        # The networks share the random bytes, so a unit dropped at a low rate is dropped at higher ones too.
        threshold = constant.dropout[:, None, None]
        scale = 256.0 / (256.0 - xp.astype(threshold, dtype))
        kept = varying.draws.hidden_bytes[None, :, :] >= threshold
    H1, logits = forward(params, X, kept, scale, xp=xp)
    T, sums = targets(y, logits.shape[1], constant.smoothing, dtype=dtype, xp=xp)
    counted = None if own is None else shares_of_each(own, constant.fold, xp=xp)
    weighted = counted if sample_weight is None else shares_of_each(sample_weight, constant.fold, xp=xp)
    share = varying.share[:, None, None]
    if weighted is not None:  # times N, because `varying.share` contains the 1 / N of equal weights
        share = share * (weighted * X.shape[0])[:, None, :]
    Z, exp_Z, total = softmax_parts(logits, xp=xp)
    dlogits = softmax_gradient(exp_Z, total, T, sums, share, xp=xp)
    gradients = backward(params, X, H1, dlogits, scale, xp=xp)
    # The norms are computed here because the update reads W1 next, and then finds it in the cache.
    squared = None if constant.reg is None else (squares(params.W1, xp=xp), squares(params.W2, xp=xp))
    if constant.reg is not None and not optimizer.scaled:  # else `varying.decay` contains the penalty
        gradients = with_penalty(params, gradients, constant.reg, xp=xp)
    after = apply_updates(state, gradients, varying, optimizer, xp=xp)
    return after, Seen(Z, total, y, weighted, counted, squared)


def report(seen: Sequence[Seen], constant: Constant, *, xp: ModuleType) -> tuple[Array, Array]:
    """Return loss, with penalty, and accuracy of the batches of m steps before their updates: (m, K) each.

    The batches are joined into one, so m steps take as many calls of the library as one step. They have the
    same size.
    """
    n_steps = len(seen)
    Z, total = xp.concat([one.Z for one in seen], axis=2), xp.concat([one.total for one in seen], axis=2)
    y = xp.concat([one.y for one in seen])
    weighted, counted = (
        None if each[0] is None else xp.stack(each, axis=1)  # (1 or K, m, N)
        for each in ([one.weighted for one in seen], [one.counted for one in seen])
    )
    T, sums = targets(y, Z.shape[1], constant.smoothing, dtype=Z.dtype, xp=xp)
    losses = cross_entropy(Z, total, T, sums, xp=xp)[:, 0, :]
    loss = batch_means(losses, weighted, n_steps, xp=xp)
    if constant.reg is not None:
        of_W1, of_W2 = (xp.stack(each) for each in zip(*(one.squared for one in seen), strict=True))
        loss = loss + constant.reg[None, :] * (xp.sum(of_W1, axis=2) + xp.sum(of_W2, axis=2))
    right = xp.astype(is_correct(Z, y, xp=xp), loss.dtype)
    return loss, batch_means(right, counted, n_steps, xp=xp)


def shares_of_each(weights: Array, fold: Array | None, *, xp: ModuleType) -> Array:
    """Return the share of each sample in the mean.

    The shares are (1, N) for weights (N,), which all networks share. They are (K, N) for weights (N, F): each
    network has those of its fold.
    """
    if fold is None:
        return shares(weights, xp=xp)[None, :]
    return xp.take(shares(weights.T, xp=xp), fold, axis=0)


def batch_means(values: Array, share: Array | None, n_batches: int, *, xp: ModuleType) -> Array:
    """Return the means (m, K) over m batches of values (K, m·N), by the samples' shares (1 or K, m, N)."""
    n_networks, n_values = values.shape
    each = xp.reshape(values, (n_networks, n_batches, n_values // n_batches))
    return (xp.mean(each, axis=2) if share is None else xp.sum(each * share, axis=2)).T


def size(params: Params, *, xp: ModuleType) -> Array:
    """Return a number for each network (K,): not finite if a parameter, or a weight's square, is not.

    One number per network to read, instead of all parameters.
    """
    of_W1, of_W2 = xp.sum(squares(params.W1, xp=xp), axis=1), xp.sum(squares(params.W2, xp=xp), axis=1)
    return of_W1 + of_W2 + xp.sum(params.b1, axis=1) + xp.sum(params.b2, axis=1)


def gathered(samples: Samples | None, varying: Varying, *, xp: ModuleType) -> Samples:
    """Return the samples of a step's batch as they are: rows of the training samples, or from the host."""
    if varying.batch is not None:
        return varying.batch
    assert samples is not None
    X, y, sample_weight, own = samples
    rows = varying.draws.rows
    return Samples(
        rows_of(X, rows, xp=xp),
        rows_of(y, rows, xp=xp) if varying.labels is None else varying.labels,
        None if sample_weight is None else rows_of(sample_weight, rows, xp=xp),
        None if own is None else rows_of(own, rows, xp=xp),
    )


def augmented(batch: Samples, drawn: Any, augmentation: Augmentation, *, xp: ModuleType) -> Samples:
    """Return an augmented batch; its targets must be probabilities.

    An augmentation that mixes samples mixes their targets in proportion to the samples' weights. With folds
    no samples may be mixed (`sweep` refuses `Mixup`), so the weights stay as they are.
    """
    X, T, sample_weight, own = batch
    if sample_weight is None or own is not None:
        return Samples(*augmentation.apply(X, T, drawn, xp=xp), sample_weight, own)
    # The sum of a sample's targets is 1, so the sum of its weighted targets is its weight, also after mixing.
    X, weighted = augmentation.apply(X, T * sample_weight[:, None], drawn, xp=xp)
    sample_weight = xp.sum(weighted, axis=1)
    weights = sample_weight[:, None]
    T = xp.where(weights > 0, weighted / xp.where(weights > 0, weights, 1.0), T)
    return Samples(X, T, sample_weight)


def apply_updates(
    state: State, gradients: Params, varying: Varying, optimizer: Optimizer, *, xp: ModuleType
) -> State:
    """Return the state after the optimizer's update.

    ``gradients`` include those of the penalty. If the optimizer is `scaled`, they do not; they are multiplied
    by the learning rate instead, and ``varying.decay`` applies the penalty.
    """
    params, moments, average = state
    if optimizer.scaled:
        params = sgd(params, gradients, varying.decay, xp=xp)
    else:
        of_biases = varying.learning_rate[:, None]
        of_weights = of_biases[..., None]
        rates = of_weights, of_biases, of_weights, of_biases
        moved = optimizer.move(tuple(params), tuple(gradients), moments, rates, varying.coefficients, xp=xp)
        params, moments = Params(*moved[0]), tuple(Params(*moment) for moment in moved[1])
    if average is not None:
        newest = varying.coefficients[-1]
        average = Params(*(mixed(*pair, newest, xp=xp) for pair in zip(average, params, strict=True)))
    return State(params, moments, average)


def decay_factors(learning_rate: HostArray, reg: HostArray) -> HostArray:
    """Return 1 - 2·reg·lr, the factor of W1 and W2 in each of n steps of gradient descent: (n, K)."""
    return 1.0 - 2.0 * reg * learning_rate


def sgd(params: Params, updates: Params, decay: Array | None, *, xp: ModuleType) -> Params:
    """Stochastic gradient descent: W ← (1 - 2·reg·lr) W - lr dW of the data loss; biases do not decay.

    ``updates`` are the gradients of the data loss times the learning rate. The state is updated in place if
    the library can. So the rate costs no pass over an array as large as W1, and the penalty only one pass.
    Otherwise a step of 512 hidden units takes 1.1 to 1.2 times as long (benchmarks/forms.py).
    """
    factor = None if decay is None else decay[:, None, None]
    each = zip(params, updates, (factor, None, factor, None), strict=True)
    return Params(*(subtract_update(*one, xp=xp) for one in each))


def with_penalty(params: Params, gradients: Params, reg: Array, *, xp: ModuleType) -> Params:
    """Return the gradients of the data loss plus 2 reg W1 and 2 reg W2, those of the penalty; in place."""
    each = reg[:, None, None]
    dW1 = penalised(gradients.W1, params.W1, each, xp=xp)
    dW2 = penalised(gradients.W2, params.W2, each, xp=xp)
    return gradients._replace(W1=dW1, W2=dW2)


@leaf
def penalised(dW: Array, W: Array, reg: Array, *, xp: ModuleType) -> Array:
    """Return dW + 2 reg W: the gradient of the loss, from that of the data loss."""
    dW += W * (2.0 * reg)
    return dW


@leaf
def subtract_update(W: Array, update: Array, decay: Array | None, *, xp: ModuleType) -> Array:
    """Return decay · W - update, in place if the library can."""
    if decay is not None:
        W *= decay
    W -= update
    return W


@leaf
def mixed(average: Array, weights: Array, newest: Array, *, xp: ModuleType) -> Array:
    """Return (1 - newest) · average + newest · weights, in place if the library can."""
    average *= 1.0 - newest
    average += newest * weights
    return average
