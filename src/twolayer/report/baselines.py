"""Simple classifiers that a network is compared with."""

from __future__ import annotations

import math

import numpy as np

from ..datasets import Split
from ..preprocessing import Standardizer

_MOST_STEPS = 1000
_SMALL_GRADIENT = 1e-5
_MOST_OPERATIONS = 2e11  # some seconds


def commonest_class_accuracy(train: Split, test: Split) -> float:
    """Return the test accuracy of always predicting the most frequent class of the training samples."""
    return float(np.mean(test.y == np.bincount(train.y).argmax()))


def class_shares_loss(train: Split, test: Split, n_classes: int) -> float:
    """Return the mean test cross-entropy of always predicting the class shares of the training samples.

    It is infinite if a class of the test samples has no training samples.
    """
    shares = np.bincount(train.y, minlength=n_classes) / len(train.y)
    with np.errstate(divide="ignore"):
        return -float(np.mean(np.log(shares[test.y])))


def logistic_regression_scores(train: Split, test: Split, n_classes: int) -> tuple[float, float] | None:
    """Return the test accuracy and the mean test cross-entropy of logistic regression on scaled features.

    None if it would take long.

    The penalty is scikit-learn's default. Nesterov's accelerated gradient descent with restarts [1]_
    minimises the mean cross-entropy + ‖W‖² / (2 N).

    References
    ----------
    .. [1] O'Donoghue and Candès, "Adaptive Restart for Accelerated Gradient Schemes", Foundations of
       Computational Mathematics 15, 715-732 (2015). https://doi.org/10.1007/s10208-013-9150-3
    """
    n_samples = len(train.y)
    if 4.0 * train.X.size * n_classes * _MOST_STEPS > _MOST_OPERATIONS:
        return None
    scaler = Standardizer.fit(train.X, scale="feature")
    X, X_test = (np.c_[scaler.apply(split.X), np.ones(len(split.X))] for split in (train, test))
    # For two classes scikit-learn fits one column, the difference of these two. Its penalty on that column is
    # the same as twice the penalty on two columns.
    penalty = np.full((X.shape[1], 1), (2.0 if n_classes == 2 else 1.0) / n_samples)
    penalty[-1] = 0.0  # the intercepts have no penalty
    direction = np.ones(X.shape[1])
    for _ in range(30):  # power iteration for the largest eigenvalue of XᵀX
        direction = X.T @ (X @ (direction / np.linalg.norm(direction)))
    # The Hessian of the summed cross-entropy is at most XᵀX / 2. The factor 0.55 leaves room for an
    # eigenvalue that the iteration has not reached, and 2.0 bounds the penalty's part.
    rate = n_samples / (0.55 * float(np.linalg.norm(direction)) + 2.0)
    W = ahead = np.zeros((X.shape[1], n_classes))
    t = 1.0
    for _ in range(_MOST_STEPS):
        logits = X @ ahead
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        probs[np.arange(n_samples), train.y] -= 1.0
        gradient = X.T @ probs / n_samples + penalty * ahead
        before, W = W, ahead - rate * gradient
        if np.abs(gradient).max() < _SMALL_GRADIENT:
            break
        if np.vdot(gradient, W - before) > 0:  # the momentum points uphill: restart it
            t = 1.0
        following = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0
        ahead = W + (t - 1.0) / following * (W - before)
        t = following
    logits = X_test @ W
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(test.y)), test.y]
    return float(np.mean(logits.argmax(axis=1) == test.y)), float(np.mean(losses))
