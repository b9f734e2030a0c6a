"""Warnings at the end of a training: a network diverged, or no network learnt anything.

The functions return texts, so that the command line and the estimator can warn in their own words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np

from .._namespace import Array, HostArray, P, standard_namespace, to_host
from .._validation import warn_outside
from .run import Run

_FEW_STEPS = 10  # with fewer steps a network may be no better than a guess although it learns
_ENOUGH_STEPS = 100  # with at least so many, one step per epoch is not the likely cause
_MOST_ROWS = 1000  # about as many rows are enough to estimate the sizes of features
_MOST_BETWEEN = 100  # ratio of the sizes of two features, or of a feature and 1, above which it is the cause
_MOST_OF_A_CLASS = 0.8  # share of the commonest class above which it is the cause
_LEAST_LEARNT = 0.05  # share of the possible decrease of the loss; a smaller decrease may be chance
_STANDARDIZER = '`preprocessing=twolayer.preprocessing.Standardizer.fit(X, scale="feature")`'


class DivergenceWarning(RuntimeWarning):
    """A network diverged: its loss or one of its weights is no longer finite; `Run.diverged` has the step.

    ``warnings.filterwarnings("ignore", category=twolayer.DivergenceWarning)`` silences it.
    """


class NothingLearntWarning(RuntimeWarning):
    """No network of a training is better at its end than always predicting the commonest class.

    The accuracy of each judged network on the training samples is at most the share of their commonest class.
    Its cross-entropy on them (in a sweep, on the validation samples) is at least 95 % of that of predicting
    the classes' shares for every sample. The cross-entropy counts because with a rare class a network may
    learn good probabilities and still always predict the commonest class. There is no warning after fewer
    than 10 steps, if samples or classes have weights, if every network diverged, or if all samples have one
    class.

    ``warnings.filterwarnings("ignore", category=twolayer.NothingLearntWarning)`` silences it.
    """


def warn(category: type[Warning], text: str | None) -> None:
    """Warn at the line that called this package, and say how to silence the warning; do nothing for None."""
    if text is not None:
        silence = f'warnings.filterwarnings("ignore", category=twolayer.{category.__name__}) silences this'
        warn_outside(f"{text}. {silence}", category)


def with_warnings(train: Callable[P, Run]) -> Callable[P, Run]:
    """Return `train` with a warning at its end if a network diverged, or if no network learnt anything."""
    signature = inspect.signature(train)

    @wraps(train)
    def call(*args: P.args, **kwargs: P.kwargs) -> Run:
        run = train(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        warn(DivergenceWarning, divergence(run))
        warn(NothingLearntWarning, nothing_learnt_by(run, given.arguments))
        return run

    return call


def divergence(run: Run) -> str | None:
    """Describe the divergence of the networks of a run; return None if none diverged."""
    of_each = run.diverged if isinstance(run.diverged, tuple) else (run.diverged,)
    steps = [step for step in of_each if step is not None]
    if not steps:
        return None
    which = "The network" if len(of_each) == 1 else f"{len(steps)} of {len(of_each)} networks"
    first = "" if len(steps) == 1 else ", the first"
    return (
        f"{which} diverged{first} at step {min(steps)}: the loss or a weight is no longer finite. "
        "A lower learning rate may prevent it"
    )


def nothing_learnt_by(run: Run, given: Mapping[str, Any], *scaler: str) -> str | None:
    """Describe a run in which no network learnt anything, else return None, as `nothing_learnt` does."""
    return nothing_learnt(run.train_accuracy, run._train_loss, run.n_steps, given, *scaler)


def nothing_learnt(
    accuracies: Any, losses: Any, n_steps: int, given: Mapping[str, Any], scaler: str = _STANDARDIZER
) -> str | None:
    """Describe a training in which no network learnt anything, with the likely cause; else return None.

    Parameters
    ----------
    accuracies : float or sequence of float
        The accuracy of each network on the training samples; nan where it diverged.
    losses : float or sequence of float
        The cross-entropy of each network, without penalty; nan if it is not known.
    n_steps : int
    given : mapping
        The arguments of the training: X, or None if the features that the networks took are not known; y,
        batch_size, preprocessing, sample_weight, class_weight and folds. Others are ignored.
    scaler : str
        The words for what would bring the features to one scale.
    """
    best = np.fmax.reduce(accuracies, axis=None, initial=np.nan)
    is_weighted = given["sample_weight"] is not None or given["class_weight"] is not None
    if n_steps < _FEW_STEPS or is_weighted or np.isnan(best):
        return None
    y = to_host(given["y"])
    labels = y if y.ndim == 1 else y.argmax(axis=1)
    shares = np.bincount(labels) / len(labels)
    share = shares.max()
    # `chance` is the loss of predicting the shares of the classes for every sample. `least` is the lowest
    # possible loss, which is above 0 if targets are class probabilities.
    chance, least = _entropy(shares), 0.0
    if y.ndim == 2:
        chance, least = _entropy(y.mean(axis=0)), _entropy(y).mean()
    # The commonest class may have a row or two more in a fold of a sweep than its share of all samples.
    room = 0.0 if given.get("folds") is None else 2.0 / len(labels)
    learnt = np.less(losses, chance - _LEAST_LEARNT * (chance - least)).any()
    if share == 1.0 or best > share + room or learnt:
        return None
    smallest, largest = _sizes(given["X"], given.get("preprocessing"))
    if max(largest, 1.0) > _MOST_BETWEEN * min(smallest, 1.0):
        cause = f"features of sizes from {smallest:.3g} to {largest:.3g}: {scaler} scales them"
    elif given["batch_size"] >= len(labels) and n_steps < _ENOUGH_STEPS:
        cause = f"the number of steps, {n_steps}, one an epoch: try smaller batches, or more epochs"
    elif share > _MOST_OF_A_CLASS:
        cause = f"that one class has {share:.3f} of the samples: try balanced class weights"
    else:
        cause = "a learning rate too low or too high, or features that do not tell the classes apart"
    return (
        f"Nothing was learnt: {best:.3f} of the training samples are right, no more than by always naming "
        f"the commonest class. The likely cause is {cause}"
    )


def _entropy(p: HostArray) -> HostArray:
    """Return the entropy of each row of probabilities."""
    return np.asarray(-np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1))


def _sizes(X: Array | None, preprocessing: Any) -> tuple[float, float]:
    """Return the smallest root mean square above 0 of a feature after preprocessing, and the largest.

    Both are 1 if X is None.
    """
    if X is None:
        return 1.0, 1.0
    rows = to_host(X[:: -(-X.shape[0] // _MOST_ROWS), ...])
    rows = rows.reshape(len(rows), -1)
    if preprocessing is not None:
        rows = preprocessing.transform(rows, preprocessing.host_arrays(), xp=standard_namespace(np))
    sizes = np.sqrt(np.mean(rows.astype(np.float64) ** 2, axis=0))
    return sizes.min(initial=np.inf, where=sizes > 0), sizes.max()
