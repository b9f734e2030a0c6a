"""Weights of samples and classes, and held-out validation samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from twolayer import train

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

from sklearn.base import clone
from support.estimators import problem, quick, same_net

from twolayer.sklearn import TwoLayerClassifier


def test_integer_weights_equal_repeated_samples():
    X, y = problem()
    weights = np.arange(60) % 3
    weighted = quick(class_weight="balanced").fit(X, y, sample_weight=weights)
    repeated = quick(class_weight="balanced").fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)
    assert np.abs(weighted.predict_proba(X) - quick().fit(X, y).predict_proba(X)).max() > 1e-3


def test_a_sample_of_weight_0_has_no_effect():
    X, y = problem()
    weights = np.where(np.arange(60) % 4 == 1, 0.0, 1.5)
    kept = weights > 0
    for options in (dict(batch_size=10), dict(early_stopping=True, validation_fraction=0.3)):
        model = quick(**options).fit(X, y, sample_weight=weights)
        other = quick(**options).fit(X[kept], y[kept], sample_weight=weights[kept])
        same_net(model.net_, other.net_)
        assert model.loss_curve_ == other.loss_curve_


def test_weights_may_be_a_number_a_list_or_an_array():
    X, y = problem()
    net = quick(batch_size=20).fit(X, y, sample_weight=np.full(60, 0.5)).net_
    for weights in (0.5, [0.5] * 60, np.full(60, 0.5, dtype="float32")):
        same_net(quick(batch_size=20).fit(X, y, sample_weight=weights).net_, net)


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e37, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"class_weight": "balanced"}, {"early_stopping": True, "validation_fraction": 0.3}]
)
def test_the_scale_of_weights_has_no_effect(scale, dtype, options):
    X, y = problem(dtype=dtype)
    weights = np.linspace(0.0, 2.0, 60)
    expected, model = (quick(**options).fit(X, y, sample_weight=factor * weights) for factor in (1, scale))
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-3, atol=1e-6)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-4)
    given, held_out = (quick(early_stopping=True) for _ in range(2))
    given.fit(X, y, X_val=X[::2], y_val=y[::2], sample_weight_val=weights[::2])
    held_out.fit(X, y, X_val=X[::2], y_val=y[::2], sample_weight_val=scale * weights[::2])
    assert model.score(X, y, scale * weights) == pytest.approx(model.score(X, y, weights))
    assert_allclose(held_out.validation_scores_, given.validation_scores_, rtol=1e-5)
    partial, other = (
        quick().partial_fit(X, y, classes=[0, 1, 2], sample_weight=factor * weights) for factor in (1, scale)
    )
    assert_allclose(other.predict_proba(X), partial.predict_proba(X), rtol=1e-3, atol=1e-6)


def test_partial_fit_uses_weights_as_fit_does():
    X, y = problem()
    weights = np.linspace(0.0, 2.0, 60)
    model = quick(batch_size=20).partial_fit(X, y, classes=[0, 1, 2], sample_weight=weights)
    constant = quick(batch_size=20, learning_rate="constant", max_iter=1)
    same_net(model.net_, constant.fit(X, y, sample_weight=weights).net_)


def test_class_weights_multiply_sample_weights():
    X, y = problem()
    names, own = np.array(["a", "b", "c"]), np.linspace(0.5, 1.0, 60)
    model = quick(class_weight={"a": 3.0, "c": 0.25}).fit(X, names[y], sample_weight=own)
    other = quick().fit(X, names[y], sample_weight=own * np.array([3.0, 1.0, 0.25])[y])
    assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=1e-12)
    parts = quick(class_weight={"a": 3.0}).partial_fit(X, names[y], classes=names)
    assert_allclose(
        parts.predict_proba(X),
        quick()
        .partial_fit(X, names[y], classes=names, sample_weight=np.where(y == 0, 3.0, 1.0))
        .predict_proba(X),
        rtol=1e-12,
    )


def test_balanced_class_weights_include_sample_weights():
    X, y = problem()
    own = np.linspace(0.5, 1.0, 60) * (y != 1)
    each = own.sum() / (3 * np.bincount(y, weights=own, minlength=3).clip(1e-300))
    model = quick(class_weight="balanced").fit(X, y, sample_weight=own)
    other = quick().fit(X, y, sample_weight=own * np.where(y == 1, 0.0, each[y]))
    assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=1e-12)
    assert model.classes_.tolist() == [0, 1, 2]


def test_early_stopping_keeps_the_best_network():
    X, y = problem(200)
    X_val, y_val = problem(100, seed=1)
    names = np.array(["a", "b", "c"])
    model = quick(early_stopping=True, max_iter=40, n_iter_no_change=10, learning_rate_init=0.1)
    model.fit(X, names[y], X_val=X_val, y_val=names[y_val])
    assert len(model.validation_scores_) == model.n_iter_ < 40
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X_val, names[y_val]) == pytest.approx(model.best_validation_score_, abs=1e-12)
    assert model.validation_scores_[-1] < model.best_validation_score_
    # Training stops by the accuracy, not by the loss.
    best, waited = -math.inf, 0
    for score in model.validation_scores_:
        waited = waited + 1 if score < best + 1e-4 else 0
        best = max(best, score)
    assert waited == 11


def test_early_stopping_holds_out_a_share_of_every_class():
    X, y = problem(90)[0], np.arange(90) % 3
    samples = np.concatenate([X, np.arange(90.0)[:, None]], axis=1)
    taken = []

    class Watched(TwoLayerClassifier):
        def _class_weights(self, samples):
            taken.append(np.bincount(samples.codes))
            return super()._class_weights(samples)

    options = dict(early_stopping=True, validation_fraction=1 / 3, hidden_layer_size=3, max_iter=2)
    model = Watched(random_state=1, **options).fit(samples, y, sample_weight=np.linspace(1, 2, 90))
    assert taken[0].tolist() == [20, 20, 20]
    again = Watched(random_state=1, **options).fit(samples, y, sample_weight=np.linspace(1, 2, 90))
    same_net(model.net_, again.net_)
    # Exactly 30 of the 90 samples are held out, so each accuracy is a multiple of 1/30.
    shares = np.array(clone(model).fit(samples, y).validation_scores_) * 30
    assert_allclose(shares, np.round(shares), atol=1e-9)


@pytest.mark.parametrize("own", [False, True])
def test_validation_accuracies_use_sample_weights(own):
    X, y = problem()
    X = X + 3.0 * np.random.default_rng(1).standard_normal(X.shape)
    weight = np.random.default_rng(2).integers(1, 5, 60).astype(float)
    seen = []

    def record(net, X, y, *, validation, **more):
        seen.append(validation)
        return train(net, X, y, validation=validation, **more)

    model = quick(early_stopping=True, max_iter=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.sklearn.classifier.train", record)
        if own:
            model.fit(X[20:], y[20:], X_val=X[:20], y_val=y[:20], sample_weight_val=weight[:20])
        else:
            model.fit(X, y, sample_weight=weight)
    ((X_val, _, weight_val),) = seen
    rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in X_val]
    assert_allclose(weight_val, weight[rows])
    if own:
        assert rows == list(range(20))
    right = model.predict(X_val) == y[rows]
    best = np.average(right, weights=weight[rows])
    assert model.best_validation_score_ == pytest.approx(best)
    assert best != pytest.approx(right.mean())  # otherwise the weights would have no effect


def test_held_out_samples_are_not_trained_on():
    X, y = problem(60, n_classes=2)
    y = np.sort(y)
    model = quick(early_stopping=True, validation_fraction=0.5, max_iter=3)
    sums = []
    for unseen in range(60):
        changed = X.copy()
        changed[unseen] += 1.0
        sums.append(np.sum(clone(model).fit(changed, y).loss_curve_))
    unchanged = np.sum(clone(model).fit(X, y).loss_curve_)
    assert np.count_nonzero(np.array(sums) == unchanged) == 30
