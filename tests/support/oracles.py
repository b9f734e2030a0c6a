"""Slow oracles of the mathematics: the textbook's formulas, computed one number at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from twolayer import TwoLayerNet
from twolayer.optimizers import SGD, AdamW


def slow_logits(net: TwoLayerNet, X: np.ndarray) -> np.ndarray:
    W1, b1, W2, b2 = net
    out = np.zeros((len(X), W2.shape[1]))
    for i, x in enumerate(X):
        hidden = [
            max(sum(x[d] * W1[d, h] for d in range(W1.shape[0])) + b1[h], 0.0) for h in range(W1.shape[1])
        ]
        for c in range(W2.shape[1]):
            out[i, c] = sum(hidden[h] * W2[h, c] for h in range(W2.shape[0])) + b2[c]
    return out


def slow_loss(
    net: TwoLayerNet,
    X: np.ndarray,
    y: np.ndarray,
    reg: float,
    weight: np.ndarray | None,
    smoothing: float = 0.0,
) -> float:
    logits = slow_logits(net, X)
    weight = np.ones(len(X)) if weight is None else weight
    total = 0.0
    for i, z in enumerate(logits):
        largest = max(z)
        log_sum = largest + math.log(sum(math.exp(v - largest) for v in z))
        target = [float(c == y[i]) for c in range(len(z))] if y.ndim == 1 else y[i]
        target = [(1 - smoothing) * t + smoothing / len(z) for t in target]
        total += weight[i] * sum(t * (log_sum - v) for t, v in zip(target, z, strict=True))
    penalty = sum(float(w) ** 2 for W in (net.W1, net.W2) for w in W.reshape(-1))
    return total / sum(weight) + reg * penalty


class SlowOptimizer:
    """The arrays of one network and their moments, moved by the formulas of an optimizer."""

    def __init__(self, optimizer: Any, net: TwoLayerNet) -> None:
        self.optimizer, self.t = optimizer, 0
        self.arrays = [array.copy() for array in net]
        self.m, self.v = ([np.zeros_like(array) for array in net] for _ in range(2))

    def move(self, gradients: Iterable[np.ndarray], rate: float) -> None:
        own = self.optimizer
        self.t += 1
        for i, g in enumerate(gradients):
            if isinstance(own, SGD):
                self.m[i] = own.momentum * self.m[i] + g
                direction = g + own.momentum * self.m[i] if own.nesterov else self.m[i]
            else:
                self.m[i] = own.beta1 * self.m[i] + (1 - own.beta1) * g
                self.v[i] = own.beta2 * self.v[i] + (1 - own.beta2) * g**2
                m_hat, v_hat = self.m[i] / (1 - own.beta1**self.t), self.v[i] / (1 - own.beta2**self.t)
                direction = m_hat / (np.sqrt(v_hat) + own.eps)
            if isinstance(own, AdamW) and i in (0, 2):  # decay of the weights only, not of the biases
                self.arrays[i] = self.arrays[i] - rate * own.weight_decay * self.arrays[i]
            self.arrays[i] = self.arrays[i] - rate * direction


def networks(net: TwoLayerNet) -> list[TwoLayerNet]:
    """The networks of a stack of host arrays, or the single network."""
    if net.W1.ndim == 2:
        return [net]
    return [TwoLayerNet(*(array[k] for array in net)) for k in range(len(net.W1))]


def numerical_gradients(function, net, h: float = 1e-5):
    """Central differences of a scalar function of a `TwoLayerNet` or of the mathematics' `Params`."""
    gradients = []
    for name, array in net._asdict().items():
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * h
                values.append(function(net._replace(**{name: moved})))
            gradient[index] = (values[0] - values[1]) / (2 * h)
        gradients.append(gradient)
    return type(net)(*gradients)


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """CS231n's measure: the largest |a - b| / max(1e-8, |a| + |b|)."""
    return float(np.max(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b))))


def toy() -> tuple[TwoLayerNet, np.ndarray, np.ndarray]:
    """The network and the data of CS231n's assignment 1."""
    np.random.seed(0)
    W1, W2 = 1e-1 * np.random.randn(4, 10), 1e-1 * np.random.randn(10, 3)
    np.random.seed(1)
    X = 10 * np.random.randn(5, 4)
    return TwoLayerNet(W1, np.zeros(10), W2, np.zeros(3)), X, np.array([0, 1, 2, 2, 1])
