"""Baseline classifiers, compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from twolayer.datasets import Split, load_digits
from twolayer.report import baselines
from twolayer.report.baselines import class_shares_loss, commonest_class_accuracy, logistic_regression_scores


def test_the_commonest_class_is_that_of_the_training_samples() -> None:
    train = Split(np.zeros((5, 1)), np.array([0, 2, 2, 1, 2]))
    assert commonest_class_accuracy(train, Split(np.zeros((4, 1)), np.array([2, 0, 0, 0]))) == 0.25


def test_the_class_shares_are_those_of_the_training_samples() -> None:
    train = Split(np.zeros((4, 1)), np.array([0, 0, 0, 1]))
    test = Split(np.zeros((2, 1)), np.array([0, 1]))
    assert class_shares_loss(train, test, 3) == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert class_shares_loss(train, test._replace(y=np.array([0, 2])), 3) == np.inf


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_logistic_regression_agrees_with_scikit_learn(name: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="compared with scikit-learn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))
    train, test = (Split(X[part], y[part]) for part in np.split(rows, [2 * len(y) // 3]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-8)).fit(*train)
    accuracy, loss = logistic_regression_scores(train, test, len(np.unique(y))) or (0.0, 0.0)
    # A sample at the decision boundary may get another class.
    assert accuracy == pytest.approx(model.score(*test), abs=1.5 / len(test.y))
    assert loss == pytest.approx(log_loss(test.y, model.predict_proba(test.X)), rel=0.02)


def test_a_logistic_regression_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_MOST_OPERATIONS", 1e6)
    data = load_digits()
    assert data.test is not None
    assert logistic_regression_scores(data.train, data.test, 10) is None
