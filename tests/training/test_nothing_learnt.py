"""The warning after a training in which no network beats always predicting the commonest class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.backends import Backend

import twolayer
from twolayer import NothingLearntWarning, TwoLayerNet, stack, sweep, train
from twolayer.preprocessing import Standardizer

N, D = 90, 4
Y = np.arange(N) % 3
X = np.random.default_rng(0).normal(size=(N, D)) + 3 * np.eye(3, D)[Y]
SIZES = [1e-3, 1.0, 1e3, 1e4]
NET = TwoLayerNet.initialize(D, 8, 3, rng=0)
SAME = NET._replace(W2=0.0 * NET.W2)  # always predicts the first class
HOW: dict[str, Any] = {"learning_rate": 0.0, "epochs": 4, "batch_size": 30, "rng": 0}  # 12 steps
HEAD = (
    "Nothing was learnt: 0.333 of the training samples are right, no more than by always naming the "
    "commonest class. "
)
OTHER = (
    "The likely cause is a learning rate too low or too high, or features that do not tell the classes apart."
)
SIZED = r"The likely cause is features of sizes from 0\.\d+ to 1\.\d+e\+04: "
END = 'warnings.filterwarnings("ignore", category=twolayer.NothingLearntWarning) silences this'


def messages(call: Callable[[], object]) -> list[str]:
    """The messages of a call's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {one.category for one in caught} <= {NothingLearntWarning}
    assert {one.filename for one in caught} <= {__file__}
    return [str(one.message) for one in caught]


def warned(net: TwoLayerNet = SAME, X: Any = X, y: Any = Y, **changes: Any) -> list[str]:
    return messages(lambda: train(net, X, y, **HOW | changes))


def test_features_of_different_sizes_are_named_with_a_preprocessing(backend: Backend) -> None:
    net = TwoLayerNet(*(backend.array(array) for array in SAME))
    samples, labels = backend.array((X * SIZES).astype(np.float32)), backend.array(Y)
    (message,) = warned(net, samples, labels)
    assert re.match(re.escape(HEAD) + SIZED, message)
    assert message.endswith(END)
    cure = re.search("`preprocessing=(.*?)`", message)[1]
    scaling = eval(cure, {"twolayer": twolayer, "X": samples})  # as a user would
    assert warned(net, samples, labels, preprocessing=scaling) == [f"{HEAD}{OTHER} {END}"]


@pytest.mark.parametrize(
    "samples",
    [X * 1e-3, X * 1e3, np.stack([X, X * SIZES], axis=2), (X * 1e3).astype(np.int64)],
    ids=["small", "large", "images", "integers"],
)
def test_sizes_of_features_are_compared_with_1(samples: np.ndarray) -> None:
    n_features = samples[0].size
    net = TwoLayerNet.initialize(n_features, 8, 3, rng=0)
    (message,) = warned(net._replace(W2=0.0 * net.W2), samples)
    assert "The likely cause is features of sizes from" in message


def test_sizes_are_measured_after_the_preprocessing() -> None:
    whole = Standardizer.fit(X * SIZES)  # scales all features by one number
    (message,) = warned(X=X * SIZES, preprocessing=whole)
    assert "The likely cause is features of sizes from" in message
    (message,) = warned(X=X * SIZES, stream=True)
    assert "The likely cause is features of sizes from" in message


def test_features_that_are_always_0_are_ignored() -> None:
    assert warned(X=X * [0.0, 1.0, 1.0, 1.0]) == [f"{HEAD}{OTHER} {END}"]
    assert warned(X=X * 0.0) == [f"{HEAD}{OTHER} {END}"]


def test_one_step_an_epoch_is_named_unless_there_are_many_steps() -> None:
    (message,) = warned(batch_size=200, epochs=10)
    assert (
        "The likely cause is the number of steps, 10, one an epoch: try smaller batches, or more" in message
    )
    assert warned(batch_size=N, epochs=100) == [f"{HEAD}{OTHER} {END}"]


def test_a_class_with_most_of_the_samples_is_named() -> None:
    (message,) = warned(y=(Y == 0) * (np.arange(N) < 20) * 1)
    assert "0.922 of the training samples are right, no more" in message
    assert "The likely cause is that one class has 0.922" in message


def test_class_probabilities_are_compared_by_their_largest() -> None:
    assert warned(y=np.eye(3, dtype=np.float32)[Y] * 0.8 + 0.2 / 3) == [f"{HEAD}{OTHER} {END}"]


def test_a_stack_gives_one_warning_if_no_network_is_better() -> None:
    assert warned(stack([SAME, SAME])) == [f"{HEAD}{OTHER} {END}"]
    assert warned(stack([SAME, SAME]), learning_rate=[0.0, 0.1]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.1},
        {"epochs": 3},  # 9 steps
        {"class_weight": "balanced"},
        {"sample_weight": np.ones(N)},
        {"y": 0 * Y},
    ],
    ids=str,
)
def test_there_is_no_warning_if_a_run_has_learnt_or_cannot_be_compared(changes: dict[str, Any]) -> None:
    assert warned(**changes) == []


def rare(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Samples of two classes. One in ten is of the second class, which is nowhere the more probable one."""
    X = np.random.default_rng(1).normal(size=(n, D))
    y = np.arange(n) % 10 == 0
    X[y, 0] += 1.0
    return X, y.astype(np.int64)


def test_there_is_no_warning_if_the_probabilities_of_a_rare_class_were_learnt() -> None:
    samples, labels = rare()
    start = TwoLayerNet.initialize(D, 8, 2, rng=0)
    run = train(start, samples, labels, learning_rate=0.1, epochs=10, batch_size=100, rng=0)
    assert run.train_accuracy == 0.9  # the share of the commonest class
    assert messages(lambda: train(start, samples, labels, learning_rate=0.1, epochs=10, batch_size=100)) == []
    how = {"grid": GRID | {"learning_rate": [0.1], "weight_scale": [0.1]}, "epochs": 20, "refit": None}
    assert messages(lambda: sweep(samples, labels, folds=2, **how)) == []
    shuffled = np.random.default_rng(2).permutation(labels)
    (message,) = messages(lambda: train(start, samples, shuffled, learning_rate=0.01, epochs=10, rng=0))
    assert "of the training samples are right, no more than by always naming" in message


def probable(n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples, labels of a rare class, and its probability, which is never above 0.45."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, D))
    p = np.minimum(1 / (1 + np.exp(4 - 1.5 * X[:, 0])), 0.45)
    return X, (rng.random(n) < p).astype(np.int64), p


def test_learning_is_measured_without_the_penalty() -> None:
    samples, labels, _ = probable()
    start = TwoLayerNet.initialize(D, 32, 2, rng=0)
    how: dict[str, Any] = {"learning_rate": 0.05, "epochs": 20, "rng": 0, "reg": 0.01}
    assert messages(lambda: train(start, samples, labels, **how)) == []


def test_a_network_that_left_its_stack_counts_as_one_that_learnt() -> None:
    samples, labels, _ = probable()
    start = stack([TwoLayerNet.initialize(D, 32, 2, rng=0)] * 2)
    how: dict[str, Any] = {"learning_rate": [0.3, 1e-5], "epochs": 40, "patience": 2, "monitor": "loss"}
    validation = samples[:400], labels[:400]
    run = train(start, samples[400:], labels[400:], validation=validation, **how, rng=0)
    assert run.stopped[0] is not None
    assert (
        messages(lambda: train(start, samples[400:], labels[400:], validation=validation, **how, rng=0)) == []
    )


def test_the_entropy_of_class_probabilities_is_considered() -> None:
    samples, _, p = probable()
    p = np.where(
        np.arange(len(p)) % 100 == 0, 0.6, p
    )  # so that each class is the more probable one somewhere
    targets = np.stack([1 - p, p], axis=1)
    start = TwoLayerNet.initialize(D, 32, 2, rng=0)
    how: dict[str, Any] = {"learning_rate": 0.1, "epochs": 20, "rng": 0}
    assert messages(lambda: train(start, samples, targets, **how)) == []
    shuffled = np.random.default_rng(1).permutation(targets)
    (message,) = messages(lambda: train(start, samples, shuffled, **how | {"learning_rate": 0.01}))
    assert "0.990 of the training samples are right, no more than by always naming" in message


def test_a_network_that_diverged_is_not_compared() -> None:
    with pytest.warns(twolayer.DivergenceWarning) as found:
        train(SAME, X, Y, **HOW | {"learning_rate": 1e30})
    assert [one.category for one in found] == [twolayer.DivergenceWarning]


def test_the_warning_can_be_silenced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=NothingLearntWarning)
        train(SAME, X, Y, **HOW)


class Plain:
    """A user's own preprocessing, with no more methods than `train` needs."""

    n_inputs = n_outputs = D

    def host_arrays(self) -> tuple[np.ndarray, ...]:
        return (np.asarray(SIZES),)

    @staticmethod
    def transform(X: Any, arrays: Any, *, xp: Any) -> Any:
        return xp.astype(X, arrays[0].dtype) * arrays[0][None, :]


def test_a_users_own_preprocessing_precedes_the_measured_sizes() -> None:
    (message,) = warned(preprocessing=Plain())
    assert re.match(re.escape(HEAD) + SIZED, message)


GRID = {"learning_rate": [1e-9, 1e-8], "weight_scale": [1e-3], "n_hidden": [4], "batch_size": [30]}
CLOSE = np.ones((N, D)) + 1e-6 * X  # too close for a short training to separate


def swept(samples: np.ndarray = CLOSE, **changes: Any) -> list[str]:
    how: dict[str, Any] = {"grid": GRID, "folds": 3, "epochs": 10, "refit": None}
    return messages(lambda: sweep(samples, Y, **how | changes))


def test_a_sweep_gives_one_warning_if_no_network_is_better() -> None:
    assert swept() == [f"{HEAD}{OTHER} {END}"]
    assert swept(folds=None, validation=(CLOSE, Y)) == [f"{HEAD}{OTHER} {END}"]
    (message,) = swept(CLOSE * SIZES)
    assert "The likely cause is features of sizes from 0.001 to 1e+04: " in message
    (message,) = swept(grid=GRID | {"batch_size": [200]})
    assert "The likely cause is the number of steps, 10, one an epoch" in message
    assert swept(X, grid=GRID | {"learning_rate": [1e-9, 0.1]}) == []
    assert swept(class_weight="balanced") == []


def test_features_that_a_sweep_scales_are_not_named() -> None:
    constant = np.ones((N, D)) * SIZES
    assert swept(constant, preprocessing="standardize") == [f"{HEAD}{OTHER} {END}"]
