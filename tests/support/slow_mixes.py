"""A second slow oracle of a run, with everything that a run may be given: one sample at a time, float64.

What a seed means is written out once more here: bytes of dropout, draws of mixup, and their streams' numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from support.oracles import networks
from support.small_runs import rows_of
from twolayer import TwoLayerNet

INPUT_DROPOUT, DROPOUT, AUGMENTATION = 2, 3, 4


def generator(seed: int, purpose: int, epoch: int, step: int) -> np.random.Generator:
    """That of a step within an epoch."""
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
    """How many of 256 bytes leave something out: at least 1 and at most 255, where anything is."""
    return 0 if probability == 0 else min(255, max(1, round(256 * probability)))


class Mix(NamedTuple):
    """What a run may be given, but for its schedule; of a stack, numbers with an axis K."""

    dropout: Any = 0.0
    input_dropout: float = 0.0
    label_smoothing: Any = 0.0
    sample_weight: np.ndarray | None = None
    mixup: float | None = None  # alpha
    centre: np.ndarray | None = None  # what the preprocessing subtracts
    scale: np.ndarray | None = None  # and then multiplies by
    ema_decay: float | None = None
    optimizer: tuple[Any, ...] = ("sgd", 0.0, False)  # or ("adam", beta1, beta2, eps, weight_decay)


class SlowMixedRun(NamedTuple):
    nets: list[TwoLayerNet]
    averages: list[TwoLayerNet]
    loss: np.ndarray  # (K, steps)
    batch_accuracy: np.ndarray  # (K, steps)


class _Member:
    """One network, its optimizer's memory, and its average."""

    def __init__(self, net: TwoLayerNet) -> None:
        self.arrays = [array.copy() for array in net]
        self.average = [array.copy() for array in net]
        self.velocity, self.m, self.v = ([np.zeros_like(array) for array in net] for _ in range(3))
        self.t = 0

    def move(self, gradients: list[np.ndarray], rate: float, optimizer: tuple[Any, ...]) -> None:
        self.t += 1
        for i, g in enumerate(gradients):
            if optimizer[0] == "sgd":
                _, momentum, nesterov = optimizer
                self.velocity[i] = momentum * self.velocity[i] + g
                direction = g + momentum * self.velocity[i] if nesterov else self.velocity[i]
            else:
                _, beta1, beta2, eps, decay = optimizer
                self.m[i] = beta1 * self.m[i] + (1 - beta1) * g
                self.v[i] = beta2 * self.v[i] + (1 - beta2) * g**2
                direction = self.m[i] / (1 - beta1**self.t)
                direction = direction / (np.sqrt(self.v[i] / (1 - beta2**self.t)) + eps)
                if i in (0, 2):
                    self.arrays[i] = (1 - rate * decay) * self.arrays[i]
            self.arrays[i] = self.arrays[i] - rate * direction

    def remember(self, decay: float) -> None:
        for i, array in enumerate(self.arrays):
            old = self.average[i]
            self.average[i] = array.copy() if self.t == 1 else decay * old + (1 - decay) * array


def slow_mixed_train(
    net: TwoLayerNet,
    X: np.ndarray,
    y: np.ndarray,
    *,
    rates: np.ndarray,  # (K, steps)
    reg: Any,
    batch_size: int,
    seed: int,
    replacement: bool = False,
    mix: Mix = Mix(),  # noqa: B008  # it cannot change
) -> SlowMixedRun:
    """Train every member of a stack (or the one network) by itself."""
    members = networks(net)
    K, n_steps = rates.shape
    per_epoch = -(-len(X) // batch_size)
    regs, dropouts, smoothings = (
        np.broadcast_to(np.asarray(a, float), (K,)) for a in (reg, mix.dropout, mix.label_smoothing)
    )
    loss, accuracy = np.zeros((K, n_steps)), np.zeros((K, n_steps))
    done = []
    for k, start in enumerate(members):
        member = _Member(start)
        for step in range(n_steps):
            epoch, within = divmod(step, per_epoch)
            place = epoch, within
            rows = rows_of(seed, epoch, len(X), batch_size, replacement)[within]
            batch = _batch(X, y, rows, place, seed, start.W2.shape[1], mix)
            W1, b1, W2, b2 = member.arrays
            threshold = threshold_of(dropouts[k])
            hidden = bytes_of(seed, DROPOUT, *place, len(rows), len(b1))
            gradients = [np.zeros_like(array) for array in member.arrays]
            total = sum(s for _, _, s in batch) or 1.0
            for i, (x, t, s) in enumerate(batch):
                mask = (hidden[i] >= threshold) * (256 / (256 - threshold))
                Z1 = x @ W1 + b1
                H1 = np.maximum(Z1, 0) * mask
                z = H1 @ W2 + b2
                log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
                target = (1 - smoothings[k]) * t + smoothings[k] / len(t)
                loss[k, step] -= s / total * np.sum(target * log_p)
                accuracy[k, step] += (np.argmax(z) == np.argmax(t)) / len(rows)
                dz = s / total * (np.exp(log_p) - target)
                dZ1 = (W2 @ dz) * mask * (Z1 > 0)
                for gradient, part in zip(
                    gradients, (np.outer(x, dZ1), dZ1, np.outer(H1, dz), dz), strict=True
                ):
                    gradient += part
            loss[k, step] += regs[k] * (np.sum(W1**2) + np.sum(W2**2))
            gradients[0] += 2 * regs[k] * W1
            gradients[2] += 2 * regs[k] * W2
            member.move(gradients, rates[k, step], mix.optimizer)
            if mix.ema_decay is not None:
                member.remember(mix.ema_decay)
        done.append(member)
    return SlowMixedRun(
        [TwoLayerNet(*member.arrays) for member in done],
        [TwoLayerNet(*member.average) for member in done],
        loss,
        accuracy,
    )


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
    raw = []
    for i in rows:
        t = np.array([float(c == y[i]) for c in range(n_classes)]) if y.ndim == 1 else y[i]
        raw.append((X[i].astype(float), t, 1.0 if mix.sample_weight is None else float(mix.sample_weight[i])))
    batch = raw
    if mix.mixup is not None:
        rng = generator(seed, AUGMENTATION, *place)
        lam = rng.beta(mix.mixup, mix.mixup, size=len(rows))
        partner = rng.permutation(len(rows))
        batch = []
        for i, (x, t, s) in enumerate(raw):
            x2, t2, s2 = raw[partner[i]]
            own, other = lam[i] * s, (1 - lam[i]) * s2
            if own + other > 0:  # of a pair without weight the target means nothing
                t = (own * t + other * t2) / (own + other)
            batch.append((lam[i] * x + (1 - lam[i]) * x2, t, own + other))
    threshold = threshold_of(mix.input_dropout)
    width = len(X[0]) if mix.centre is None else len(mix.centre)
    drawn = bytes_of(seed, INPUT_DROPOUT, *place, len(rows), width)
    found = []
    for i, (x, t, s) in enumerate(batch):
        if mix.centre is not None:
            x = (x - mix.centre) * mix.scale
        if threshold:
            x = np.array(
                [
                    v * 256 / (256 - threshold) if b >= threshold else 0.0
                    for v, b in zip(x, drawn[i], strict=True)
                ]
            )
        found.append((x, t, s))
    return found
