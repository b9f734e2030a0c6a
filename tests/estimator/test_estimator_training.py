"""Training of the estimator: agreement with `train`, stopping, warm starts and `partial_fit`."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.refusals import refusal

from twolayer import NothingLearntWarning, TwoLayerNet, optimizers, schedules, train

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.estimators import problem, quick, same_net

from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV
from twolayer.sklearn.parameters import SOLVERS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_agrees_with_train(dtype):
    X, y = problem(dtype=dtype)
    model = quick(
        solver="sgd", reg=0.01, dropout=0.3, label_smoothing=0.1, batch_size=25, max_iter=4, random_state=3
    ).fit(X, y)
    run = train(
        TwoLayerNet.initialize(5, 7, 3, rng=3, dtype=dtype),
        X,
        y,
        reg=0.01,
        dropout=0.3,
        label_smoothing=0.1,
        batch_size=25,
        epochs=4,
        rng=3,
    )
    same_net(model.net_, run.net)
    epochs = np.reshape(run.history.loss, (4, 3)) @ [25, 25, 10] / 60
    assert_allclose(model.loss_curve_, epochs, rtol=1e-15)
    assert model.loss_ == model.loss_curve_[-1]
    assert model.n_iter_ == 4
    assert model.validation_scores_ is model.best_validation_score_ is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (dict(), dict(optimizer=optimizers.Adam(), schedule=schedules.Cosine())),
        (dict(learning_rate="constant"), dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())),
        (
            dict(solver=optimizers.AdamW(weight_decay=0.5), learning_rate=schedules.Step(0.5, epochs=1)),
            dict(optimizer=optimizers.AdamW(weight_decay=0.5), schedule=schedules.Step(0.5, epochs=1)),
        ),
    ],
)
def test_solvers_and_schedules_agree_with_train(given, meant):
    X, y = problem()
    model = quick(learning_rate_init=0.05, reg=0.0, **given).fit(X, y)
    net = TwoLayerNet.initialize(5, 7, 3, rng=0, dtype="float64")
    same_net(model.net_, train(net, X, y, learning_rate=0.05, epochs=5, rng=0, **meant).net)


def test_the_defaults_reach_a_good_accuracy():
    for load, least in ((load_digits, 0.96), (load_iris, 0.93)):
        X, y = load(return_X_y=True)
        assert cross_val_score(TwoLayerClassifier(random_state=0), X, y, cv=3).mean() > least - 0.05
        scaled = make_pipeline(StandardScaler(), TwoLayerClassifier(random_state=1))
        assert cross_val_score(scaled, X, y, cv=3).mean() > least - 0.03


@pytest.mark.parametrize("n_samples", [40, 500])
def test_the_default_batch_size_is_that_of_mlpclassifier(n_samples):
    X, y = problem(n_samples)
    same_net(quick().fit(X, y).net_, quick(batch_size=min(200, n_samples)).fit(X, y).net_)


def test_the_random_state_determines_the_network():
    X, y = problem()
    one, other = (
        quick(random_state=state).fit(X, y).net_
        for state in (np.random.RandomState(5), np.random.RandomState(5))
    )
    same_net(one, other)
    state = np.random.RandomState(5)
    nets = [quick(random_state=state).fit(X, y).net_ for _ in range(2)]
    same_net(nets[0], one)
    assert not np.array_equal(nets[0].W1, nets[1].W1)
    nets = [quick(random_state=None).fit(X, y).net_ for _ in range(2)]
    assert not np.array_equal(nets[0].W1, nets[1].W1)


def test_a_step_agrees_with_mlpclassifier_at_the_same_penalty():
    X, y = problem(50)
    alpha, batch_size = 3.0, 50
    sgd = dict(solver="sgd", momentum=0.0, nesterovs_momentum=False, learning_rate_init=0.1)
    mlp = MLPClassifier(hidden_layer_sizes=(7,), alpha=alpha, batch_size=batch_size, **sgd).partial_fit(
        X, y, classes=[0, 1, 2]
    )
    model = quick(
        solver=optimizers.SGD(), learning_rate_init=0.1, reg=alpha / (2 * batch_size), batch_size=batch_size
    )
    model.partial_fit(X, y, classes=[0, 1, 2])
    mlp.coefs_ = [np.array(model.net_.W1), np.array(model.net_.W2)]
    mlp.intercepts_ = [np.array(model.net_.b1), np.array(model.net_.b2)]
    before = model.net_.W1
    model.partial_fit(X, y)
    mlp.partial_fit(X, y)
    assert np.abs(model.net_.W1 - before).max() > 0.01
    arrays = mlp.coefs_[0], mlp.intercepts_[0], mlp.coefs_[1], mlp.intercepts_[1]
    for ours, theirs in zip(model.net_, arrays, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert_allclose(model.loss_, mlp.loss_, rtol=1e-12)


def test_a_training_that_diverges_raises_an_error_and_no_warning():
    X, y = problem(dtype="float32")
    model = quick(solver="sgd", learning_rate_init=1e6, reg=1.0, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refusal("ValueError: `learning_rate_init` must be low …; with 1e+06 it diverged at step …"):
            model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n", [1, 4])
def test_fit_stops_at_the_epoch_of_mlpclassifier_without_improvement(n, early_stopping):
    X, y = problem()
    parameters = dict(tol=1e9, n_iter_no_change=n, max_iter=30, early_stopping=early_stopping)
    model = quick(**parameters).fit(X, y)
    assert model.n_iter_ == MLPClassifier((7,), **parameters).fit(X, y).n_iter_ == n + 2
    assert len(model.loss_curve_) == model.n_iter_


def test_patience_counts_from_the_last_sufficient_improvement():
    X, y = problem(200)
    settings = dict(max_iter=80, batch_size=20, learning_rate_init=0.05, reg=1e-4)
    whole = quick(n_iter_no_change=math.inf, **settings).fit(X, y)
    assert whole.n_iter_ == 80
    for tol in (0.0, 0.01):
        ended = clone(whole).set_params(tol=tol, n_iter_no_change=3).fit(X, y)
        best, waited, expected = math.inf, 0, 0
        for loss in whole.loss_curve_:
            waited = waited + 1 if loss > best - tol else 0
            best, expected = min(best, loss), expected + 1
            if waited > 3:
                break
        assert ended.n_iter_ == expected < 80
        assert ended.loss_curve_ == whole.loss_curve_[:expected]


def test_an_equal_score_counts_as_improvement_if_tol_is_0():
    X, y = problem()
    never_right = dict(X_val=X[y == 0], y_val=np.full(np.sum(y == 0), 3))
    y = np.where(np.arange(60) == 0, 3, y)
    for tol, n_iter in ((0.0, 5), (1e-4, 3)):
        model = quick(early_stopping=True, tol=tol, n_iter_no_change=1, learning_rate_init=1e-9)
        assert model.fit(X, y, **never_right).n_iter_ == n_iter
        assert len(set(model.validation_scores_)) == 1


def test_warm_start_continues_from_the_network():
    X, y = problem()
    model = quick(warm_start=True, batch_size=20, learning_rate="constant").fit(X, y)
    first, losses = model.net_, model.loss_curve_
    model.set_params(max_iter=3).fit(X, y)
    assert model.n_iter_ == 5 + 3
    assert model.loss_curve_[:5] == losses
    seed = int(np.random.default_rng([0, 5]).integers(2**63))
    constant = dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())
    same_net(model.net_, train(first, X, y, batch_size=20, epochs=3, reg=3e-3, rng=seed, **constant).net)
    # With float32 samples, the network becomes float32.
    model.fit(X.astype("float32"), y)
    assert model.net_.W1.dtype == "float32"
    cold = model.set_params(warm_start=False, max_iter=5).fit(X, y)
    same_net(cold.net_, first)
    assert cold.n_iter_ == 5


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (dict(), dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())),
        (dict(solver="sgd"), dict(optimizer=SOLVERS["sgd"], schedule=schedules.Constant())),
        # A schedule counts the epochs of all calls.
        (
            dict(learning_rate=schedules.Step(0.1, epochs=2)),
            dict(optimizer=optimizers.Adam(), schedule=schedules.Step(0.1, epochs=2)),
        ),
    ],
)
def test_partial_fits_of_the_same_samples_equal_one_run(given, meant):
    X, y = problem()
    model = quick(batch_size=25, **given)
    for _ in range(4):
        model.partial_fit(X, y, classes=[0, 1, 2])
    net = TwoLayerNet.initialize(5, 7, 3, rng=0, dtype="float64")
    run = train(net, X, y, batch_size=25, epochs=4, reg=3e-3, rng=0, **meant)
    same_net(model.net_, run.last)
    assert model.n_iter_ == 4
    assert_allclose(model.loss_curve_, np.reshape(run.history.loss, (4, 3)) @ [25, 25, 10] / 60, rtol=1e-15)


@pytest.mark.parametrize("sizes", [(60, 10, 35, 60), (10, 60), (1, 1, 60), (35, 60)])
def test_every_partial_fit_uses_each_of_its_samples_once(sizes):
    X, y = problem()
    # The network hardly changes, so the mean batch loss is the loss of all samples if each was used once.
    model = quick(batch_size=10, learning_rate_init=1e-14, reg=0.0)
    for i, n in enumerate(sizes):
        model.partial_fit(X[:n], y[:n], classes=[0, 1, 2])
        assert model.loss_ == pytest.approx(float(model.net_.loss(X[:n], y[:n])), rel=1e-10)
        assert model.n_iter_ == len(model.loss_curve_) == i + 1


def test_moments_continue_over_calls_of_different_sizes():
    X, y = problem()
    sgd = quick(solver=optimizers.SGD(momentum=0.9), learning_rate_init=0.1, batch_size=100, reg=0.0)
    sgd.partial_fit(X[:20], y[:20], classes=[0, 1, 2])
    before = sgd.net_
    (velocity,) = sgd._partial[1]._moments
    _, gradients = before.loss_and_gradients(X, y)
    sgd.partial_fit(X, y)
    for after, W, v, dW in zip(sgd.net_, before, velocity, gradients, strict=True):
        assert_allclose(after, W - 0.1 * (0.9 * v + dW), rtol=1e-12, atol=1e-14)


def test_partial_fit_continues_from_fit_and_fit_starts_again():
    X, y = problem()
    model = quick().fit(X, y)
    net = model.net_
    model.partial_fit(X[:30], y[:30])
    assert model.n_iter_ == 6
    constant = dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())
    same_net(model.net_, train(net, X[:30], y[:30], epochs=1, reg=3e-3, rng=0, **constant).net)
    same_net(model.fit(X, y).net_, net)
    model.partial_fit(X[:30], y[:30])
    same_net(model.net_, train(net, X[:30], y[:30], epochs=1, reg=3e-3, rng=0, **constant).net)


def test_another_solver_starts_with_new_moments():
    X, y = problem()
    model = quick().partial_fit(X, y, classes=[0, 1, 2])
    net = model.net_
    model.set_params(solver="sgd").partial_fit(X, y)
    run = train(net, X, y, schedule=schedules.Constant(), epochs=1, reg=3e-3, rng=0)
    same_net(model.net_, run.net)


def test_the_history_is_that_of_the_last_fit():
    X, y = problem()
    model = quick(batch_size=16, early_stopping=True, max_iter=6).fit(X, y)
    history = model.history_
    assert history.loss.shape == (6 * math.ceil(54 / 16),)
    assert history.validation_accuracy.tolist() == model.validation_scores_
    assert history.step[-1] == len(history.loss)
    assert len(model.set_params(warm_start=True, max_iter=2).fit(X, y).history_.step) == 2
    assert model.n_iter_ == 8
    model.set_params(early_stopping=False)
    for rows in (slice(None), slice(0, 20), slice(None)):
        part = model.partial_fit(X[rows], y[rows]).history_
        n_steps = math.ceil(len(X[rows]) / 16)
        assert part.step.tolist() == [n_steps]
        assert part.loss.shape == part.batch_accuracy.shape == (n_steps,)
        assert 0 < part.train_accuracy[0] <= 1
    sizes = [16, 16, 16, 12]
    assert np.average(part.loss, weights=sizes) == pytest.approx(model.loss_)
    found = TwoLayerSearchCV(
        quick(), {"reg": [0.0, 0.1]}, cv=2, scoring=lambda model, *_: len(model.history_.step)
    )
    assert found.fit(X, y).cv_results_["mean_test_score"].tolist() == [5, 5]


def test_a_network_that_learnt_nothing_warns_and_suggests_a_scaler():
    X, y = problem()
    how = dict(batch_size=20, max_iter=5, learning_rate_init=1e-9, random_state=0)  # 15 steps
    same = np.ones_like(X) * [1e-3, 1.0, 1.0, 1.0, 1e3]
    expected = "0.333 of the training samples are right.*sizes from 0.001 to 1e.03: a `StandardScaler` before"
    with pytest.warns(NothingLearntWarning, match=expected) as found:
        TwoLayerClassifier(5, **how).fit(same, y)
    assert [warning.filename for warning in found] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_iter=40).fit(X, y)
        quick(**how, class_weight="balanced").fit(same, y)
