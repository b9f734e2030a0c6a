"""Weights and validation samples passed by scikit-learn's metadata routing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.estimators import problem, quick, same_net

from twolayer.sklearn import TwoLayerSearchCV, search

X_ALL, Y_ALL = problem(140)
X, Y, X_VAL, Y_VAL = X_ALL[:90], Y_ALL[:90], X_ALL[90:], Y_ALL[90:]
WEIGHTS = np.random.default_rng(0).uniform(0.0, 3.0, 90)
GIVEN = {
    "sample_weight": WEIGHTS,
    "X_val": X_VAL,
    "y_val": Y_VAL,
    "sample_weight_val": np.random.default_rng(1).uniform(0.0, 3.0, 50),
}
SPLITS = list(KFold(3).split(X))


@pytest.fixture(autouse=True)
def routing():
    """Enable scikit-learn's metadata routing, which passes only the requested arguments."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def requesting():
    """An estimator that requests every argument it accepts."""
    return (
        quick(early_stopping=True)
        .set_fit_request(**dict.fromkeys(GIVEN, True))
        .set_score_request(sample_weight=True)
    )


def fitted(rows=slice(None), **changes):
    """An estimator fitted to some rows, with all arguments passed directly."""
    given = GIVEN | {"sample_weight": WEIGHTS[rows]} | changes
    return quick(early_stopping=True).fit(X[rows], Y[rows], **given)


def weighted_accuracy(model, rows):
    return np.average(model.predict(X[rows]) == Y[rows], weights=WEIGHTS[rows])


def test_each_routed_argument_changes_the_scores():
    for name in GIVEN:
        if name != "X_val":
            other = fitted(**{name: GIVEN[name][::-1]})
            assert other.validation_scores_ != fitted().validation_scores_, name
    assert fitted(X_val=X_VAL[::-1]).validation_scores_ != fitted().validation_scores_


def test_a_pipeline_transforms_validation_samples():
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    model = make_pipeline(scaler, requesting(), transform_input=["X_val"]).fit(5 * X + 3, Y, **GIVEN)
    alone = StandardScaler().fit(5 * X + 3, sample_weight=WEIGHTS)
    given = GIVEN | {"X_val": alone.transform(X_VAL)}
    expected = quick(early_stopping=True).fit(alone.transform(5 * X + 3), Y, **given)
    same_net(model[-1].net_, expected.net_)
    assert model[-1].validation_scores_ == expected.validation_scores_


def test_cross_validation_fits_and_scores_with_weights():
    found = cross_validate(requesting(), X, Y, cv=SPLITS, params=GIVEN, return_estimator=True)
    for score, model, (train, test) in zip(found["test_score"], found["estimator"], SPLITS, strict=True):
        expected = fitted(train)
        same_net(model.net_, expected.net_)
        assert score == pytest.approx(weighted_accuracy(expected, test))


@pytest.mark.parametrize("kind", [GridSearchCV, TwoLayerSearchCV])
def test_searches_fit_and_score_with_weights_and_validation_samples(kind, monkeypatch):
    stacks, run = [], search._run
    monkeypatch.setattr(search, "_run", lambda nets, *more: stacks.append(nets) or run(nets, *more))
    found = kind(requesting(), {"max_iter": [5]}, cv=SPLITS).fit(X, Y, **GIVEN)
    for i, (train, test) in enumerate(SPLITS):
        score = found.cv_results_[f"split{i}_test_score"][0]
        assert score == pytest.approx(weighted_accuracy(fitted(train), test))
    same_net(found.best_estimator_.net_, fitted().net_)
    assert stacks == []  # with validation samples, each candidate is trained alone


def test_a_stack_of_a_search_trains_with_weights(monkeypatch):
    stacks, run = [], search._run
    monkeypatch.setattr(search, "_run", lambda nets, *more: stacks.append(nets) or run(nets, *more))
    model = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    how = dict(cv=SPLITS, scoring=None)
    grid = {"reg": [0.0, 0.1]}
    found, expected = (
        one(model, grid, **how).fit(X, Y, sample_weight=WEIGHTS) for one in (TwoLayerSearchCV, GridSearchCV)
    )
    assert_allclose(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert len(stacks) == 1
    plain = TwoLayerSearchCV(clone(model), grid, **how).fit(X, Y)
    assert (plain.cv_results_["mean_test_score"] != found.cv_results_["mean_test_score"]).any()


def test_partial_fits_receive_weights():
    model = quick().set_partial_fit_request(sample_weight=True, classes=False)
    found = OneVsRestClassifier(model).partial_fit(X, Y, classes=[0, 1, 2], sample_weight=WEIGHTS)
    for code, one in enumerate(found.estimators_):
        expected = quick().partial_fit(X, (code == Y).astype(int), [0, 1], WEIGHTS)
        assert_array_equal(one.decision_function(X), expected.decision_function(X))
