"""A slow oracle of a run with any settings: float64, one sample at a time.

It derives the random numbers of a seed without the library: bytes of dropout, draws of mixup, and streams.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from support.oracles import SlowOptimizer, networks
from support.small_runs import rows_of
from twolayer import TwoLayerNet, optimizers

INPUT_DROPOUT, DROPOUT, AUGMENTATION = 2, 3, 4


def generator(seed: int, purpose: int, epoch: int, step: int) -> np.random.Generator:
    """The generator of a step within an epoch."""
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, epoch, step))
    return np.random.Generator(np.random.PCG64(sequence))


def bytes_of(seed: int, purpose: int, epoch: int, step: int, n: int, width: int) -> np.ndarray:
    """Bytes (n, width): those of random 64-bit words, the lowest of each first, row by row."""
    rng = generator(seed, purpose, epoch, step)
    stream: list[int] = []
    while len(stream) < n * width:
        word = int(rng.integers(0, 2**64, dtype=np.uint64))
        stream += [word >> shift & 255 for shift in range(0, 64, 8)]
    return np.array(stream[: n * width], dtype=np.int64).reshape(n, width)


def threshold_of(probability: float) -> int:
    """How many of the 256 values of a byte mean dropout: 0 for probability 0, else from 1 to 255."""
    return 0 if probability == 0 else min(255, max(1, round(256 * probability)))


class Mix(NamedTuple):
    """The settings of a run except its schedule; for a stack, numbers may have an axis K."""

    dropout: Any = 0.0
    input_dropout: float = 0.0
    label_smoothing: Any = 0.0
    sample_weight: np.ndarray | None = None
    mixup: float | None = None  # alpha
    teacher: Any = None  # logits (N, C), or a function of samples (n, D) that returns them
    temperature: float = 1.0
    teacher_weight: float = 0.5
    centre: np.ndarray | None = None  # what the preprocessing subtracts
    scale: np.ndarray | None = None  # and then multiplies by
    ema_decay: float | None = None
    optimizer: Any = optimizers.SGD()


class SlowRun(NamedTuple):
    nets: list[TwoLayerNet]
    averages: list[TwoLayerNet]
    loss: np.ndarray  # (K, steps)
    batch_accuracy: np.ndarray  # (K, steps)


def slow_train(
    net: TwoLayerNet,
    X: np.ndarray,
    y: np.ndarray,
    *,
    rates: np.ndarray,  # (K, steps)
    reg: Any,
    batch_size: int,
    seed: int,
    replacement: bool = False,
    mix: Mix = Mix(),  # noqa: B008  # it is immutable
) -> SlowRun:
    """Train each network of a stack, or the single network, alone."""
    K, n_steps = rates.shape
    per_epoch = -(-len(X) // batch_size)
    regs, dropouts, smoothings = (
        np.broadcast_to(np.asarray(a, float), (K,)) for a in (reg, mix.dropout, mix.label_smoothing)
    )
    loss, accuracy = np.zeros((K, n_steps)), np.zeros((K, n_steps))
    nets, averages = [], []
    for k, start in enumerate(networks(net)):
        optimizer = SlowOptimizer(mix.optimizer, start)
        average = [array.copy() for array in start]
        threshold = threshold_of(dropouts[k])
        for step in range(n_steps):
            place = divmod(step, per_epoch)
            rows = rows_of(seed, place[0], len(X), batch_size, replacement)[place[1]]
            batch = _batch(X, y, rows, place, seed, start.W2.shape[1], mix)
            W1, b1, W2, b2 = optimizer.arrays
            hidden = bytes_of(seed, DROPOUT, *place, len(rows), len(b1))
            gradients = [2 * regs[k] * W1, np.zeros_like(b1), 2 * regs[k] * W2, np.zeros_like(b2)]
            total = sum(s for _, _, s in batch) or 1.0
            for drawn, (x, t, s) in zip(hidden, batch, strict=True):
                mask = (drawn >= threshold) * (256 / (256 - threshold))
                Z1 = x @ W1 + b1
                H1 = np.maximum(Z1, 0) * mask
                z = H1 @ W2 + b2
                log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
                target = (1 - smoothings[k]) * t + smoothings[k] / len(t)
                loss[k, step] -= s / total * np.sum(target * log_p)
                accuracy[k, step] += (np.argmax(z) == np.argmax(t)) / len(rows)
                dz = s / total * (np.exp(log_p) - target)
                dZ1 = (W2 @ dz) * mask * (Z1 > 0)
                of_sample = np.outer(x, dZ1), dZ1, np.outer(H1, dz), dz
                for gradient, part in zip(gradients, of_sample, strict=True):
                    gradient += part
            loss[k, step] += regs[k] * (np.sum(W1**2) + np.sum(W2**2))
            optimizer.move(gradients, rates[k, step])
            decay = 0.0 if step == 0 or mix.ema_decay is None else mix.ema_decay
            average = [
                decay * old + (1 - decay) * new for old, new in zip(average, optimizer.arrays, strict=True)
            ]
        nets.append(TwoLayerNet(*optimizer.arrays))
        averages.append(TwoLayerNet(*average))
    return SlowRun(nets, averages, loss, accuracy)


def _batch(
    X: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    place: tuple[int, int],
    seed: int,
    n_classes: int,
    mix: Mix,
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Features, target and weight of each sample, as the network sees them."""
    T = np.eye(n_classes)[y] if y.ndim == 1 else y
    weight = np.ones(len(X)) if mix.sample_weight is None else mix.sample_weight
    raw = batch = [(X[i].astype(float), _target(i, X, T, mix), float(weight[i])) for i in rows]
    if mix.mixup is not None:
        rng = generator(seed, AUGMENTATION, *place)
        lam = rng.beta(mix.mixup, mix.mixup, size=len(rows))
        partner = rng.permutation(len(rows))
        batch = []
        for i, (x, t, s) in enumerate(raw):
            x2, t2, s2 = raw[partner[i]]
            own, other = lam[i] * s, (1 - lam[i]) * s2
            if own + other > 0:  # a pair without weight may have any target
                t = (own * t + other * t2) / (own + other)
            batch.append((lam[i] * x + (1 - lam[i]) * x2, t, own + other))
    if mix.centre is not None:
        batch = [((x - mix.centre) * mix.scale, t, s) for x, t, s in batch]
    threshold = threshold_of(mix.input_dropout)
    inputs = bytes_of(seed, INPUT_DROPOUT, *place, len(rows), len(batch[0][0]))
    kept = (inputs >= threshold) * (256 / (256 - threshold))
    return [(x * own, t, s) for own, (x, t, s) in zip(kept, batch, strict=True)]


def _target(i: int, X: np.ndarray, T: np.ndarray, mix: Mix) -> np.ndarray:
    """The target of one sample, mixed with the probabilities of a teacher if there is a teacher."""
    if mix.teacher is None:
        return T[i]
    z = (mix.teacher(X[i : i + 1])[0] if callable(mix.teacher) else mix.teacher[i]) / mix.temperature
    p = np.exp(z - z.max())
    return mix.teacher_weight * p / p.sum() + (1 - mix.teacher_weight) * T[i]
