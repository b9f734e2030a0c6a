"""One step of training: a pure function of its inputs, which consumes the state that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

from .._namespace import Array, HostArray, cast, fusible, rows_of
from ..augmentation import Augmentation
from ..losses import (
    batch_means,
    cross_entropy,
    l2_norms,
    log_softmax,
    one_hot,
    softmax_gradient,
    squared_parts,
)
from ..network import Core, backward, forward, hits, per_unit, with_penalty
from .batches import Draws
from .optimizers import Optimizer


class State(NamedTuple):
    """What a step changes: the networks, their optimizer's moments, and their running average if any."""

    core: Core
    moments: tuple[Core, ...]
    average: Core | None


class Samples(NamedTuple):
    """All training samples, or, where a step draws no rows, those of its batch."""

    X: Array  # (N, D), of any real dtype
    y: Array  # (N,) int32 or (N, C) in the networks' dtype
    sample_weight: Array | None  # (N,)
    preprocessing: tuple[Array, ...]  # what the method's `transform` needs


class Numbers(NamedTuple):
    """Numbers of a step, as arrays; but for the last, one for each network (K,)."""

    learning_rate: Array
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
    """What all steps of a run share."""

    samples: Samples  # where they are streamed, only what the preprocessing needs
    numbers: Numbers  # without those that are a step's own


class Varying(NamedTuple):
    """What is a step's own; or, with a first axis n, that of n steps."""

    draws: Draws
    batch: tuple[Array, Array, Array | None] | None  # X, y and weights, where samples are streamed
    learning_rate: Array  # (K,)
    kept_share: Array | None  # (K,)
    coefficients: Array  # (m,)


class Seen(NamedTuple):
    """What a step saw before its update, of which `report` makes its loss and accuracy."""

    logits: Array  # (K, N, C)
    y: Array
    sample_weight: Array | None
    squared: tuple[Array, Array] | None  # the weights', as `squared_parts`; None where there is no penalty


def next_step(
    state: State, constant: Constant, one: Varying, *, method: Method, xp: ModuleType
) -> tuple[State, Seen]:
    """Take the step of a run; return the state after it, and what it saw."""
    samples, numbers = constant
    if one.batch is not None:
        X, y, sample_weight = one.batch
        samples = Samples(X, y, sample_weight, samples.preprocessing)
    rate, kept_share, coefficients = one.learning_rate, one.kept_share, one.coefficients
    numbers = Numbers(rate, kept_share, numbers.reg, numbers.dropout, numbers.label_smoothing, coefficients)
    return step(state, samples, one.draws, numbers, method=method, xp=xp)


def step(
    state: State, samples: Samples, draws: Draws, numbers: Numbers, *, method: Method, xp: ModuleType
) -> tuple[State, Seen]:
    """Take one step on the samples ``draws.rows``; return the state after it, and what it saw."""
    core, moments, average = state
    dtype = core.W1.dtype
    X, y, sample_weight = batch(samples, draws, core, method, xp=xp)
    thinned, kept = core, None
    if numbers.dropout is not None:
        # 1 / (1 - p) once on W2 in place of on every activation.
        scale = xp.reshape(256.0 / (256.0 - xp.astype(numbers.dropout, dtype)), (-1, 1, 1))
        thinned = core._replace(W2=core.W2 * scale)
        kept = kept_units(draws.hidden_bytes, numbers.dropout, xp=xp)
    H1, logits = forward(thinned, X, kept, xp=xp)
    # The gradient is linear in dlogits: scaled here, the learning rate costs no pass over W1.
    factor = numbers.learning_rate if method.optimizer.scaled else None
    dlogits = softmax_gradient(logits, y, sample_weight, numbers.label_smoothing, factor, xp=xp)
    gradients = backward(thinned, X, H1, dlogits, xp=xp)
    if numbers.dropout is not None:
        gradients = gradients._replace(W2=gradients.W2 * scale)
    # Here, as the update, which reads W1 next, then finds it in the cache.
    squared = squared_parts(core.W1, core.W2, xp=xp) if method.penalised else None
    core, moments = moved_by(core, gradients, moments, numbers, method, xp=xp)
    if average is not None:
        newest = numbers.coefficients[-1]
        average = Core(*(mixed(a, w, newest, xp=xp) for a, w in zip(average, core, strict=True)))
    return State(core, moments, average), Seen(logits, y, sample_weight, squared)


def report(seen: Sequence[Seen], constant: Constant, *, xp: ModuleType) -> tuple[Array, Array]:
    """Loss, penalty included, and accuracy of the batches of m steps before their updates: (m, K) each.

    All of them at once, in as many calls as one takes.
    """
    logits, y, sample_weight, squared = zip(*seen, strict=True)
    numbers, n_batches = constant.numbers, len(seen)
    every_logits, every_y = joined(logits, axis=1, xp=xp), joined(y, axis=0, xp=xp)
    weights = None if sample_weight[0] is None else joined(sample_weight, axis=0, xp=xp)
    losses = cross_entropy(log_softmax(every_logits, xp=xp), every_y, numbers.label_smoothing, xp=xp)
    loss = batch_means(losses, weights, n_batches, xp=xp)
    if squared[0] is not None:
        of_W1, of_W2 = (joined(parts, axis=0, xp=xp) for parts in zip(*squared, strict=True))
        loss = loss + numbers.reg * (sums(of_W1, n_batches, xp=xp) + sums(of_W2, n_batches, xp=xp))
    right = xp.astype(hits(every_logits, every_y, xp=xp), loss.dtype)
    return loss, batch_means(right, None, n_batches, xp=xp)


def size(core: Core, *, xp: ModuleType) -> Array:
    """Return a number for each network (K,) that is finite as long as its weights and biases are."""
    biases = xp.sum(core.b2, axis=-1) + xp.sum(xp.reshape(core.b1, core.W2.shape[:2]), axis=-1)
    return l2_norms(core.W1, core.W2, xp=xp) + biases


def sums(parts: Array, n: int, *, xp: ModuleType) -> Array:
    """Sum of each of n sums' parts, which lie one after another: (n·m, K) to (n, K)."""
    return xp.sum(xp.reshape(parts, (n, -1, parts.shape[1])), axis=1)


def joined(arrays: Sequence[Array], *, axis: int, xp: ModuleType) -> Array:
    """Concatenate the arrays, or return the only one."""
    return arrays[0] if len(arrays) == 1 else xp.concat(arrays, axis=axis)


def batch(
    samples: Samples, draws: Draws, core: Core, method: Method, *, xp: ModuleType
) -> tuple[Array, Array, Array | None]:
    """Samples of a batch as the networks take them: gathered, augmented, preprocessed and thinned."""
    dtype = core.W1.dtype
    X, y, sample_weight, arrays = samples
    if draws.rows is not None:
        X = rows_of(X, draws.rows, xp=xp)
        y = rows_of(y, draws.rows, xp=xp) if draws.labels is None else draws.labels
        if sample_weight is not None:
            sample_weight = rows_of(sample_weight, draws.rows, xp=xp)
    if method.augmentation is not None:
        X, y, sample_weight = augmented(X, y, sample_weight, draws, core, method.augmentation, xp=xp)
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
    core: Core,
    augmentation: Augmentation,
    *,
    xp: ModuleType,
) -> tuple[Array, Array, Array | None]:
    """Augment a batch. Where it mixes targets, it mixes them by the samples' weights."""
    T = y
    if y.ndim == 1:
        T = xp.astype(one_hot(y, core.W2.shape[2], xp=xp), core.W1.dtype)
    if sample_weight is None:
        return *augmentation.apply(X, T, draws.augmentation, xp=xp), None
    X, weighted = augmentation.apply(X, T * sample_weight[:, None], draws.augmentation, xp=xp)
    sample_weight = xp.sum(weighted, axis=1)
    weights = sample_weight[:, None]
    return X, xp.where(weights > 0, weighted / xp.where(weights > 0, weights, 1.0), T), sample_weight


def kept_units(hidden_bytes: Array, thresholds: Array, *, xp: ModuleType) -> Array:
    """Whether each hidden unit of each network is kept for each sample: (B, K·H) truth values."""
    kept = hidden_bytes[:, None, :] >= xp.reshape(thresholds, (1, -1, 1))
    return xp.reshape(kept, (hidden_bytes.shape[0], thresholds.shape[0] * hidden_bytes.shape[1]))


def moved_by(
    core: Core,
    gradients: Core,
    moments: tuple[Core, ...],
    numbers: Numbers,
    method: Method,
    *,
    xp: ModuleType,
) -> tuple[Core, tuple[Core, ...]]:
    """Networks and moments after the optimizer's update, from the gradients of the data loss."""
    if method.optimizer.scaled:
        return sgd(core, gradients, numbers.kept_share, xp=xp), moments
    if method.penalised:
        gradients = with_penalty(core, gradients, numbers.reg, xp=xp)
    rate = numbers.learning_rate
    units = per_unit(rate, core.W2.shape[1], xp=xp)
    rates = units, units, rate[:, None, None], rate[:, None]
    weights, moved = method.optimizer.move(
        tuple(core), tuple(gradients), moments, rates, numbers.coefficients, xp=xp
    )
    return Core(*weights), tuple(Core(*moment) for moment in moved)


def kept_shares(learning_rate: HostArray, reg: HostArray) -> HostArray:
    """1 - 2·reg·lr, what W1 and W2 keep of themselves in n steps of gradient descent: (n, K)."""
    return 1.0 - 2.0 * reg * learning_rate


def sgd(core: Core, scaled: Core, kept_share: Array | None, *, xp: ModuleType) -> Core:
    """Stochastic gradient descent: W ← (1 - 2·reg·lr) W - lr dW of the data loss; biases do not decay.

    ``scaled`` are the gradients of the data loss times the learning rate. The state is updated in place
    where the library can.
    """
    of_W1 = of_W2 = None
    if kept_share is not None:
        of_W1, of_W2 = per_unit(kept_share, core.W2.shape[1], xp=xp), kept_share[:, None, None]
    return Core(
        W1=descended(core.W1, scaled.W1, of_W1, xp=xp),
        b1=descended(core.b1, scaled.b1, None, xp=xp),
        W2=descended(core.W2, scaled.W2, of_W2, xp=xp),
        b2=descended(core.b2, scaled.b2, None, xp=xp),
    )


@fusible
def descended(W: Array, step: Array, keep: Array | None, *, xp: ModuleType) -> Array:
    """W ← keep · W - step."""
    if keep is not None:
        W *= keep
    W -= step
    return W


@fusible
def mixed(average: Array, weights: Array, newest: Array, *, xp: ModuleType) -> Array:
    """Return (1 - newest) · average + newest · weights, in place where the library can."""
    average *= 1.0 - newest
    average += newest * weights
    return average
