from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import pickle
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support.backends import chosen_libraries

from twolayer import TwoLayerNet, optimizers, schedules, train

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from twolayer._namespace import array_namespace, device, dtype_name, from_host, standard_namespace, to_host
from twolayer.preprocessing import Standardizer
from twolayer.sklearn import TwoLayerClassifier
from twolayer.sklearn.parameters import SOLVERS

# What scikit-learn can dispatch to, as `--backend` calls it.
DISPATCHED = {"numpy": "numpy", "strict": "array_api_strict", "torch": "torch", "cupy": "cupy"}


def pytest_generate_tests(metafunc):
    chosen = [name for name in chosen_libraries(metafunc.config) if name in DISPATCHED]
    if "library" in metafunc.fixturenames:
        metafunc.parametrize("library", chosen)
    if "indexable_library" in metafunc.fixturenames:  # by NumPy's arrays, as scikit-learn does it
        metafunc.parametrize("indexable_library", [name for name in chosen if name != "strict"])
    if "check" in metafunc.fixturenames:
        mark = parametrize_with_checks([TwoLayerClassifier()])
        named = "libraries" in metafunc.fixturenames
        checks = [
            (estimator, check)
            for estimator, check in mark.args[1]
            if (runs_on(check, chosen) if named else not libraries_of(check))
        ]
        metafunc.parametrize(mark.args[0], checks, ids=mark.kwargs["ids"])


def libraries_of(check):
    """The array libraries that a check names, each with its device."""
    keywords = getattr(check, "keywords", {})
    if "array_namespace" in keywords:
        return [(keywords["array_namespace"], keywords.get("device_name", keywords.get("device")))]
    return [tuple(place) for key, place in keywords.items() if key.endswith("_ns_and_device")]


def runs_on(check, chosen):
    """Whether a check is about the chosen libraries, beside those always there, on devices of theirs."""
    there = {DISPATCHED[name] for name in chosen}
    wanted = libraries_of(check)
    names = {name for name, _ in wanted}
    if not names & there or names - there - {"numpy", "array_api_strict"}:
        return False
    return all(name != "torch" or has_torch_device(where) for name, where in wanted)


def has_torch_device(name):
    import torch

    if name in ("cuda", "xpu"):
        return getattr(torch, name).is_available()
    return name in (None, "cpu")


@pytest.fixture
def dispatch():
    """scikit-learn leaves arrays in their library."""
    with sklearn.config_context(array_api_dispatch=True):
        yield


def place(host, library, where=None):
    """A host array in a library, floats in float32 where the device has no others."""
    xp = standard_namespace(importlib.import_module(DISPATCHED[library]))
    if where is not None:
        where = xp.Device(where)
    return from_host(np.asarray(host), xp=xp, device=where)


def problem(n_samples=60, n_classes=3, dtype="float64", seed=0):
    X, y = make_classification(
        n_samples, n_features=5, n_informative=4, n_redundant=0, n_classes=n_classes, random_state=seed
    )
    return X.astype(dtype), y


def quick(**parameters):
    return TwoLayerClassifier(**{"hidden_layer_size": 7, "max_iter": 5, "random_state": 0, **parameters})


def same_net(net, other):
    for array, like in zip(net, other, strict=True):
        assert_array_equal(to_host(array), to_host(like), strict=True)


# ---------------------------------------------------------------------------------------------------------
# What scikit-learn itself checks.


def test_check(estimator, check):
    check(estimator)


def test_it_says_that_it_dispatches():
    assert sklearn.utils.get_tags(TwoLayerClassifier()).array_api_support


def test_check_of_an_array_library(estimator, check, libraries):
    check(estimator)


def test_check_estimator_expects_nothing_to_fail():
    results = check_estimator(TwoLayerClassifier(), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert len(results) > 60


@pytest.mark.parametrize(
    "parameters",
    [
        dict(solver="sgd", learning_rate="constant", learning_rate_init=0.1),
        dict(solver=optimizers.AdamW(weight_decay=0.1), learning_rate=schedules.Warmup()),
    ],
    ids=["sgd", "adamw"],
)
def test_check_estimator_with_other_parameters(parameters):
    results = check_estimator(TwoLayerClassifier(**parameters), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}


# ---------------------------------------------------------------------------------------------------------
# What is trained.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_train(dtype):
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
def test_solvers_and_schedules(given, meant):
    X, y = problem()
    model = quick(learning_rate_init=0.05, reg=0.0, **given).fit(X, y)
    net = TwoLayerNet.initialize(5, 7, 3, rng=0, dtype="float64")
    same_net(model.net_, train(net, X, y, learning_rate=0.05, epochs=5, rng=0, **meant).net)


def test_defaults_are_good():
    for load, least in ((load_digits, 0.96), (load_iris, 0.93)):
        X, y = load(return_X_y=True)
        for seed in (0, 1):
            assert cross_val_score(TwoLayerClassifier(random_state=seed), X, y, cv=3).mean() > least - 0.05
            scaled = make_pipeline(StandardScaler(), TwoLayerClassifier(random_state=seed))
            assert cross_val_score(scaled, X, y, cv=3).mean() > least - 0.03


@pytest.mark.parametrize("n_samples", [40, 500])
def test_a_batch_is_as_mlpclassifiers_unless_told_otherwise(n_samples):
    X, y = problem(n_samples)
    same_net(quick().fit(X, y).net_, quick(batch_size=min(200, n_samples)).fit(X, y).net_)


def test_random_states():
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


def test_a_step_is_mlpclassifiers_at_the_reg_that_its_alpha_is():
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


def test_a_training_that_diverges_is_an_error():
    X, y = problem(dtype="float32")
    model = quick(solver="sgd", learning_rate_init=1e6, reg=1.0, max_iter=100)
    with pytest.raises(
        ValueError, match=r"`learning_rate_init` must be low .* 1e\+06 it diverged at step \d"
    ):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


# ---------------------------------------------------------------------------------------------------------
# What comes out.


@pytest.mark.parametrize("n_classes", [2, 3])
def test_outputs(n_classes):
    X, y = problem(n_classes=n_classes)
    model = quick().fit(X, y)
    logits = model.net_.logits(X)
    decision = model.decision_function(X)
    if n_classes == 2:
        assert_array_equal(decision, logits[:, 1] - logits[:, 0])
        assert_array_equal(model.predict(X), decision > 0)
    else:
        assert_array_equal(decision, logits)
    assert_array_equal(model.predict_proba(X), model.net_.predict_proba(X))
    assert_array_equal(np.exp(model.predict_log_proba(X)), model.net_.predict_proba(X))
    assert_array_equal(model.predict(X), model.net_.predict(X))
    assert model.score(X, y) == model.net_.accuracy(X, y)


def test_the_logarithm_is_exact_where_a_probability_is_0():
    X, y = problem(n_classes=2)
    model = quick().fit(X, y)
    far = 1e6 * X
    decision = model.decision_function(far)
    likely, unlikely = np.sort(model.predict_log_proba(far), axis=1).T[::-1]
    assert_array_equal(likely, 0.0)
    assert_allclose(unlikely, -np.abs(decision), rtol=1e-12)
    assert (np.sort(model.predict_proba(far), axis=1)[:, 0] == 0).all()


@pytest.mark.parametrize("given", ["float32", "float64", "float16", "int64", "bool"])
@pytest.mark.parametrize("fitted", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_outputs_have_the_dtype_of_the_samples(fitted, given, n_classes):
    X, y = problem(n_classes=n_classes, dtype=fitted)
    model = quick().fit(X, y)
    assert {array.dtype.name for array in model.net_} == {fitted}
    wanted = given if given in ("float32", "float64") else "float64"
    X = X.astype(given)
    for method in (model.predict_proba, model.predict_log_proba, model.decision_function):
        assert method(X).dtype.name == wanted
    whole = X.astype("float64")
    assert_allclose(model.predict_proba(X), model.net_.predict_proba(whole.astype(fitted)), rtol=1e-5)
    assert model.predict(X).dtype == y.dtype


def test_samples_of_another_dtype_are_trained_on_in_float64():
    X, y = problem()
    X = np.round(10 * X).astype(np.int16)
    same_net(quick().fit(X, y).net_, quick().fit(X.astype("float64"), y).net_)
    same_net(quick().fit(X.tolist(), y.tolist()).net_, quick().fit(X, y).net_)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["pear", "apple", "fig"]),
        np.array(["pear", "apple", "fig"], dtype=object),
        np.array([7, -3, 1000]),
        np.array([7, 3, 200], dtype=np.uint8),
        np.array([2.0, -1.0, 0.0]),
        np.array([True, False]),
    ],
    ids=lambda names: names.dtype.name,
)
def test_labels_of_any_type(names):
    X, y = problem(n_classes=len(names))
    model = quick(max_iter=50, learning_rate_init=0.1).fit(X, names[y])
    assert_array_equal(model.classes_, np.unique(names), strict=True)
    found = model.predict(X)
    assert found.dtype == names.dtype
    assert model.score(X, names[y]) == np.mean(found == names[y]) > 0.8
    # A column of probabilities is of the class in its place.
    assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], found)
    with pytest.raises(ValueError, match="at least two classes; got one class"):
        model.fit(X, names[np.zeros_like(y)])


def test_names_of_features():
    pandas = pytest.importorskip("pandas", reason="names of features are those of pandas' columns")
    X, y = problem()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    model = quick().fit(frame, pandas.Series(y))
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.n_features_in_ == 5
    assert_array_equal(model.predict_proba(frame), quick().fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("edcba")])


def test_sparse_samples_are_refused():
    sparse = pytest.importorskip("scipy.sparse", reason="scikit-learn brings scipy")
    X, y = problem()
    with pytest.raises(TypeError, match="dense data is required"):
        quick().fit(sparse.csr_array(X), y)


# ---------------------------------------------------------------------------------------------------------
# In scikit-learn's company.


def test_in_pipelines_searches_and_calibration():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = make_pipeline(StandardScaler(), TwoLayerClassifier(max_iter=60, random_state=0))
    grid = {
        "twolayerclassifier__reg": [1e-4, 1e3],
        "twolayerclassifier__solver": ["adam", optimizers.AdamW()],
    }
    search = GridSearchCV(model, grid, cv=3).fit(X, names)
    assert search.best_score_ > 0.93
    assert search.best_params_["twolayerclassifier__reg"] == 1e-4
    assert cross_val_score(model, X, names, cv=3, scoring="neg_log_loss").mean() > -0.25
    for method in ("sigmoid", "isotonic"):
        calibrated = CalibratedClassifierCV(model, method=method, cv=3).fit(X, names)
        assert calibrated.score(X, names) > 0.93


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_pickled_it_is_the_same_and_goes_on_the_same(fit):
    X, y = problem()
    model = quick(solver=optimizers.AdamW(), learning_rate=schedules.Step(0.5))
    getattr(model, fit)(X, y, **({} if fit == "fit" else {"classes": [0, 1, 2]}))
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.get_params() == model.get_params()
    same_net(again.partial_fit(X, y).net_, model.partial_fit(X, y).net_)


def test_a_clone_has_the_parameters_alone():
    X, y = problem()
    parameters = dict(solver=optimizers.AdamW(), learning_rate=schedules.Step(0.5), class_weight={0: 2.0})
    model = quick(**parameters).fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "net_")
    same_net(copy.fit(X, y).net_, model.net_)


# ---------------------------------------------------------------------------------------------------------
# Weights.


def test_weight_2_is_a_sample_twice_and_weight_0_none():
    X, y = problem()
    weights = np.arange(60) % 3
    weighted = quick(class_weight="balanced").fit(X, y, sample_weight=weights)
    repeated = quick(class_weight="balanced").fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)
    assert np.abs(weighted.predict_proba(X) - quick().fit(X, y).predict_proba(X)).max() > 1e-3


def test_a_sample_of_weight_0_is_as_if_it_were_not_there():
    X, y = problem()
    weights = np.where(np.arange(60) % 4 == 1, 0.0, 1.5)
    kept = weights > 0
    for options in (dict(batch_size=10), dict(early_stopping=True, validation_fraction=0.3)):
        model = quick(**options).fit(X, y, sample_weight=weights)
        other = quick(**options).fit(X[kept], y[kept], sample_weight=weights[kept])
        same_net(model.net_, other.net_)
        assert model.loss_curve_ == other.loss_curve_


def test_kinds_of_weights():
    X, y = problem()
    net = quick(batch_size=20).fit(X, y, sample_weight=np.full(60, 0.5)).net_
    for weights in (0.5, [0.5] * 60, np.full(60, 0.5, dtype="float32")):
        same_net(quick(batch_size=20).fit(X, y, sample_weight=weights).net_, net)


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e37, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"class_weight": "balanced"}, {"early_stopping": True, "validation_fraction": 0.3}]
)
def test_weights_have_no_scale(scale, dtype, options):
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


def test_weights_in_partial_fit():
    X, y = problem()
    weights = np.linspace(0.0, 2.0, 60)
    model = quick(batch_size=20).partial_fit(X, y, classes=[0, 1, 2], sample_weight=weights)
    constant = quick(batch_size=20, learning_rate="constant", max_iter=1)
    same_net(model.net_, constant.fit(X, y, sample_weight=weights).net_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"`sample_weight` must have shape \(60,\); got \(59,\)"),
        (np.ones((60, 1)), r"`sample_weight` must have shape \(60,\); got \(60, 1\)"),
        (np.zeros(60), "`sample_weight` must hold a weight above zero; got 0 for every sample"),
        (np.linspace(-2, 1, 60), "`sample_weight` must be at least 0; got a weight of -2"),
        (np.full(60, np.nan), "sample_weight contains NaN"),
        (np.full(60, np.inf), "sample_weight contains infinity"),
    ],
)
def test_weights_that_are_refused(weights, message):
    X, y = problem()
    with pytest.raises(ValueError, match=message):
        quick().fit(X, y, sample_weight=weights)


def test_values_that_the_networks_dtype_does_not_have_are_refused():
    """In their rows of what was given, though samples of weight 0 are left out."""
    X, y = problem()
    far = X.copy()
    far[50, 3] = -1e39
    message = r"must hold values within .* float32, .*; got -1e\+39, first in row 50, column 3 "
    model = quick(early_stopping=True)
    with pytest.raises(ValueError, match="`X_val` " + message):
        model.fit(X.astype("f4"), y, X_val=far, y_val=y, sample_weight_val=np.arange(60) % 2)
    model.fit(X.astype("f4"), y)
    for use in (model.predict, model.predict_proba, model.predict_log_proba, model.decision_function):
        assert use(X).dtype == (np.int64 if use == model.predict else np.float64)
        with pytest.raises(ValueError, match="`X` " + message):
            use(far)
    with pytest.raises(ValueError, match="`X` " + message):
        quick().fit(X.astype("f4"), y).partial_fit(far, y, sample_weight=np.arange(60) % 2)
    quick().fit(X, y).predict(far)  # float64 has it


def test_what_comes_of_a_value_as_nan_is_refused():
    X, y = problem(dtype="float32")
    model = quick().fit(X, y)
    far = X.copy()
    far[7] = 3e38 * np.array([1, -1, 1, -1, 1])
    model.net_ = model.net_._replace(W1=np.sign(far[7])[:, None] * np.ones((5, 7), "f4"))
    model.net_ = model.net_._replace(
        W2=np.sign(np.arange(-3, 4, dtype="f4"))[:, None] * np.ones((7, 3), "f4")
    )
    for use in (model.predict, model.predict_proba, model.predict_log_proba, model.decision_function):
        with (
            np.errstate(all="ignore"),
            pytest.raises(ValueError, match=r"`X` must hold samples .*; got nan, first for row 7 "),
        ):
            use(far)


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


def test_balanced_is_by_the_weights_of_the_classes():
    X, y = problem()
    own = np.linspace(0.5, 1.0, 60) * (y != 1)
    each = own.sum() / (3 * np.bincount(y, weights=own, minlength=3).clip(1e-300))
    model = quick(class_weight="balanced").fit(X, y, sample_weight=own)
    other = quick().fit(X, y, sample_weight=own * np.where(y == 1, 0.0, each[y]))
    assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=1e-12)
    assert model.classes_.tolist() == [0, 1, 2]


# ---------------------------------------------------------------------------------------------------------
# When it ends, and how it goes on.


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n", [1, 4])
def test_it_ends_where_mlpclassifier_does_when_nothing_becomes_better_enough(n, early_stopping):
    X, y = problem()
    parameters = dict(tol=1e9, n_iter_no_change=n, max_iter=30, early_stopping=early_stopping)
    model = quick(**parameters).fit(X, y)
    assert model.n_iter_ == MLPClassifier((7,), **parameters).fit(X, y).n_iter_ == n + 2
    assert len(model.loss_curve_) == model.n_iter_


def test_it_waits_from_the_last_epoch_that_became_better_enough():
    X, y = problem(200)
    whole = quick(n_iter_no_change=math.inf, max_iter=80, batch_size=20, learning_rate_init=0.05).fit(X, y)
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


def test_no_worse_is_good_enough_where_tol_is_0():
    X, y = problem()
    never_right = dict(X_val=X[y == 0], y_val=np.full(np.sum(y == 0), 3))
    y = np.where(np.arange(60) == 0, 3, y)
    for tol, n_iter in ((0.0, 5), (1e-4, 3)):
        model = quick(early_stopping=True, tol=tol, n_iter_no_change=1, learning_rate_init=1e-9)
        assert model.fit(X, y, **never_right).n_iter_ == n_iter
        assert len(set(model.validation_scores_)) == 1


def test_early_stopping_keeps_the_best():
    X, y = problem(200)
    X_val, y_val = problem(100, seed=1)
    names = np.array(["a", "b", "c"])
    model = quick(early_stopping=True, max_iter=40, n_iter_no_change=10, learning_rate_init=0.1)
    model.fit(X, names[y], X_val=X_val, y_val=names[y_val])
    assert len(model.validation_scores_) == model.n_iter_ < 40
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X_val, names[y_val]) == pytest.approx(model.best_validation_score_, abs=1e-12)
    assert model.validation_scores_[-1] < model.best_validation_score_
    # It ends by the accuracy, not by the loss.
    best, waited = -math.inf, 0
    for score in model.validation_scores_:
        waited = waited + 1 if score < best + 1e-4 else 0
        best = max(best, score)
    assert waited == 11


def test_early_stopping_sets_a_share_of_every_class_aside():
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
    # A third of 90, exactly, is what the accuracies are shares of.
    shares = np.array(clone(model).fit(samples, y).validation_scores_) * 30
    assert_allclose(shares, np.round(shares), atol=1e-9)


@pytest.mark.parametrize("own", [False, True])
def test_validation_samples_count_by_their_weights(own):
    X, y = problem()
    X = X + 3.0 * np.random.default_rng(1).standard_normal(X.shape)
    weight = np.random.default_rng(2).integers(1, 5, 60).astype(float)
    seen = []

    def record(net, X, y, *, validation, **more):
        seen.append(validation)
        return train(net, X, y, validation=validation, **more)

    model = quick(early_stopping=True, max_iter=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.sklearn.train", record)
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
    assert best != pytest.approx(right.mean())  # else the weights would not show


def test_the_samples_set_aside_are_not_trained_on():
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


@pytest.mark.parametrize(
    ("parameters", "validation", "message"),
    [
        (dict(early_stopping=True), dict(X_val=0), "`X_val` and `y_val` must be given together"),
        (dict(early_stopping=True), dict(y_val=0), "`X_val` and `y_val` must be given together"),
        (dict(), dict(X_val=0, y_val=0), "`early_stopping` must be True where `X_val` is given; got False"),
        (
            dict(early_stopping=True),
            dict(X_val=0, y_val=9),
            "`y_val` must hold labels that are in the classes; got 9",
        ),
        (dict(early_stopping=True), dict(X_val=1, y_val=0), "X has 4 features.* expecting 5 features"),
        (
            dict(early_stopping=True),
            dict(sample_weight_val=1),
            "`X_val` must be given where `sample_weight_val` is; got None",
        ),
        (
            dict(early_stopping=True),
            dict(X_val=0, y_val=0, sample_weight_val=-1),
            "`sample_weight_val` must be at least 0; got a weight of -1",
        ),
    ],
)
def test_validation_sets_that_are_refused(parameters, validation, message):
    X, y = problem()
    given = {
        key: (X[:, value:] if key == "X_val" else np.full(60, value)) for key, value in validation.items()
    }
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(X, y, **given)


def test_warm_start_goes_on_from_the_network():
    X, y = problem()
    model = quick(warm_start=True, batch_size=20, learning_rate="constant").fit(X, y)
    first, losses = model.net_, model.loss_curve_
    model.set_params(max_iter=3).fit(X, y)
    assert model.n_iter_ == 5 + 3
    assert model.loss_curve_[:5] == losses
    seed = int(np.random.default_rng([0, 5]).integers(2**63))
    constant = dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())
    same_net(model.net_, train(first, X, y, batch_size=20, epochs=3, reg=1e-4, rng=seed, **constant).net)
    # float32 samples make it a float32 network.
    model.fit(X.astype("float32"), y)
    assert model.net_.W1.dtype == "float32"
    cold = model.set_params(warm_start=False, max_iter=5).fit(X, y)
    same_net(cold.net_, first)
    assert cold.n_iter_ == 5


def test_warm_start_refuses_what_is_no_continuation():
    X, y = problem()
    model = quick(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"`y` must hold labels that are in the classes; got 4"):
        model.fit(X, np.where(y == 1, 4, y))
    with pytest.raises(ValueError, match=r"`hidden_layer_size` must stay 7 with `warm_start`; got 8"):
        clone_of(model).set_params(hidden_layer_size=8).fit(X, y)
    with pytest.raises(ValueError, match="X has 4 features"):
        clone_of(model).fit(X[:, 1:], y)


def clone_of(model):
    """A copy with what was fitted."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301


# ---------------------------------------------------------------------------------------------------------
# Piece by piece.


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fits_of_the_same_samples_are_one_run(solver):
    X, y = problem()
    model = quick(solver=solver, batch_size=25)
    for _ in range(4):
        model.partial_fit(X, y, classes=[0, 1, 2])
    net = TwoLayerNet.initialize(5, 7, 3, rng=0, dtype="float64")
    run = train(
        net,
        X,
        y,
        optimizer=SOLVERS[solver],
        schedule=schedules.Constant(),
        batch_size=25,
        epochs=4,
        reg=1e-4,
        rng=0,
    )
    same_net(model.net_, run.last)
    assert model.n_iter_ == 4
    assert_allclose(model.loss_curve_, np.reshape(run.history.loss, (4, 3)) @ [25, 25, 10] / 60, rtol=1e-15)


def test_a_schedule_counts_the_epochs_of_all_partial_fits():
    X, y = problem()
    falls = schedules.Step(0.1, epochs=2)
    model = quick(learning_rate=falls)
    for _ in range(4):
        model.partial_fit(X, y, classes=[0, 1, 2])
    net = TwoLayerNet.initialize(5, 7, 3, rng=0, dtype="float64")
    run = train(net, X, y, optimizer=optimizers.Adam(), schedule=falls, epochs=4, reg=1e-4, rng=0)
    same_net(model.net_, run.last)


@pytest.mark.parametrize("sizes", [(60, 10, 35, 60), (10, 60), (1, 1, 60), (35, 60)])
def test_every_partial_fit_takes_each_of_its_samples_once(sizes):
    X, y = problem()
    # It hardly moves: the mean loss of the batches is that of the samples if each was in one of them.
    model = quick(batch_size=10, learning_rate_init=1e-14, reg=0.0)
    for i, n in enumerate(sizes):
        model.partial_fit(X[:n], y[:n], classes=[0, 1, 2])
        assert model.loss_ == pytest.approx(float(model.net_.loss(X[:n], y[:n])), rel=1e-10)
        assert model.n_iter_ == len(model.loss_curve_) == i + 1


def test_moments_go_on_over_samples_of_any_number():
    X, y = problem()
    sgd = quick(solver=optimizers.SGD(momentum=0.9), learning_rate_init=0.1, batch_size=100, reg=0.0)
    sgd.partial_fit(X[:20], y[:20], classes=[0, 1, 2])
    before = sgd.net_
    (velocity,) = sgd._partial[1]._moments
    _, gradients = before.loss_and_gradients(X, y)
    sgd.partial_fit(X, y)
    for after, W, v, dW in zip(sgd.net_, before, velocity, gradients, strict=True):
        assert_allclose(after, W - 0.1 * (0.9 * v + dW), rtol=1e-12, atol=1e-14)


def test_partial_fit_goes_on_from_fit_and_fit_starts_anew():
    X, y = problem()
    model = quick().fit(X, y)
    net = model.net_
    model.partial_fit(X[:30], y[:30])
    assert model.n_iter_ == 6
    constant = dict(optimizer=optimizers.Adam(), schedule=schedules.Constant())
    same_net(model.net_, train(net, X[:30], y[:30], epochs=1, reg=1e-4, rng=0, **constant).net)
    same_net(model.fit(X, y).net_, net)
    model.partial_fit(X[:30], y[:30])
    same_net(model.net_, train(net, X[:30], y[:30], epochs=1, reg=1e-4, rng=0, **constant).net)


def test_another_solver_starts_its_moments_anew():
    X, y = problem()
    model = quick().partial_fit(X, y, classes=[0, 1, 2])
    net = model.net_
    model.set_params(solver="sgd").partial_fit(X, y)
    run = train(net, X, y, schedule=schedules.Constant(), epochs=1, reg=1e-4, rng=0)
    same_net(model.net_, run.net)


def test_partial_fit_errors():
    X, y = problem()
    with pytest.raises(
        ValueError, match="`classes` must be given in the first call of `partial_fit`; got None"
    ):
        quick().partial_fit(X, y)
    with pytest.raises(ValueError, match="`classes` must hold at least two classes; got one class"):
        quick().partial_fit(X, y, classes=[1, 1])
    with pytest.raises(ValueError, match="`y` must hold labels that are in the classes; got 2"):
        quick().partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="`early_stopping` must be False for `partial_fit`; got True"):
        quick(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`class_weight` must be a dict or None .* got 'balanced'"):
        quick(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    model = quick().partial_fit(X, y, classes=[2, 1, 0, 0])
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="`classes` must hold the labels of the first call"):
        model.partial_fit(X, y, classes=[0, 1, 3])


# ---------------------------------------------------------------------------------------------------------
# With array libraries.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_stays_in_its_library(library, dtype, libraries, dispatch):
    X, y = problem(dtype=dtype)
    host = quick(max_iter=20).fit(X, y, sample_weight=np.linspace(0, 1, 60))
    there, labels, weights = (place(a, library) for a in (X, y, np.linspace(0, 1, 60)))
    for y_given, weights_given in ((labels, weights), (y, np.linspace(0, 1, 60))):
        model = quick(max_iter=20).fit(there, y_given, sample_weight=weights_given)
        for array in (*model.net_, model.classes_, model.predict(there), model.predict_log_proba(there)):
            assert array_namespace(array) is array_namespace(there)
        for method in ("predict_proba", "decision_function"):
            found = getattr(model, method)(there)
            assert array_namespace(found) is array_namespace(there)
            assert dtype_name(found.dtype) == dtype
            rtol = 1e-8 if dtype == "float64" else 1e-2
            assert_allclose(to_host(found), getattr(host, method)(X), rtol=rtol, atol=rtol / 10)
        assert_array_equal(to_host(model.predict(there)), host.predict(X))
        # PyTorch's mean is one of float32.
        assert model.score(there, labels) == pytest.approx(host.score(X, y), abs=1e-7)


def test_integers_become_the_widest_dtype_of_the_device(library, libraries, dispatch):
    X, y = problem()
    there = place(np.round(10 * X).astype(np.int64), library)
    assert dtype_name(quick().fit(there, place(y, library)).net_.W1.dtype) == "float64"
    if library == "strict":
        there = place(np.round(10 * X).astype(np.int64), library, "no_float64")
        model = quick().fit(there, y)
        assert dtype_name(model.net_.W1.dtype) == "float32"
        assert device(model.predict(there)) == device(there)


def test_names_come_out_on_the_host(library, libraries, dispatch):
    X, y = problem()
    names = np.array(["a", "b", "c"])
    there = place(X, library)
    model = quick(max_iter=20).fit(there, names[y])
    assert_array_equal(model.predict(there), quick(max_iter=20).fit(X, names[y]).predict(X), strict=True)
    assert isinstance(model.classes_, np.ndarray)


def test_labels_of_a_dtype_that_the_device_lacks_stay_on_the_host(dispatch):
    X, y = problem(dtype="float32")
    there = place(X, "strict", "no_float64")
    model = quick().fit(there, y.astype("float64"))
    assert model.predict(there).dtype == np.float64
    assert isinstance(model.classes_, np.ndarray)


def test_early_stopping_and_partial_fits_there(library, libraries, dispatch):
    X, y = problem()
    there, labels = place(X, library), place(y, library)
    for options in (dict(), dict(X_val=there, y_val=labels)):
        host = {key: to_host(array) for key, array in options.items()}
        model = quick(early_stopping=True, class_weight="balanced").fit(there, labels, **options)
        other = quick(early_stopping=True, class_weight="balanced").fit(X, y, **host)
        assert_allclose(to_host(model.net_.W1), other.net_.W1, rtol=1e-9)
        assert model.validation_scores_ == pytest.approx(other.validation_scores_, abs=1e-12)
    model, other = quick(), quick()
    for rows in (slice(0, 20), slice(20, 60)):
        model.partial_fit(there[rows, :], labels[rows], classes=place([0, 1, 2], library))
        other.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert_allclose(to_host(model.net_.W1), other.net_.W1, rtol=1e-9)
    warm = model.set_params(warm_start=True).fit(there, labels)
    assert_allclose(to_host(warm.net_.W1), other.set_params(warm_start=True).fit(X, y).net_.W1, rtol=1e-9)


def test_cross_validation_there(indexable_library, libraries, dispatch):
    X, y = problem(n_classes=2)
    there = place(X, indexable_library), place(y, indexable_library)
    scores = cross_val_score(quick(max_iter=30), *there, cv=3)
    assert_allclose(scores, cross_val_score(quick(max_iter=30), X, y, cv=3), atol=1e-7)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_samples_from_elsewhere_are_refused(method, dispatch):
    X, y = problem()
    model = quick().fit(place(X, "strict", "device1"), y)
    message = (
        r"Inputs of TwoLayerClassifier.{}\(\) must use the same namespace and the same device .*; got {}"
    )
    with pytest.raises(ValueError, match=message.format(method, "numpy on cpu")):
        getattr(model, method)(X)
    with pytest.raises(ValueError, match=message.format(method, "array_api_strict on .*device2")):
        getattr(model, method)(place(X, "strict", "device2"))
    if method == "predict":
        with pytest.raises(ValueError, match=message.format("partial_fit", "numpy on cpu")):
            model.partial_fit(X, y)
        with pytest.raises(ValueError, match=message.format("fit", "array_api_strict on .*device2")):
            model.set_params(early_stopping=True).fit(
                place(X, "strict", "device1"), y, X_val=place(X, "strict", "device2"), y_val=y
            )


def test_without_dispatch_arrays_become_numpys(library, libraries):
    X, y = problem()
    if library == "cupy":  # which copies nothing to the host unasked
        with pytest.raises(TypeError, match="NumPy"):
            quick().fit(place(X, library), place(y, library))
        return
    model = quick().fit(place(X, library), place(y, library))
    assert isinstance(model.net_.W1, np.ndarray)
    same_net(model.net_, quick().fit(X, y).net_)
    assert isinstance(model.predict(place(X, library)), np.ndarray)


# ---------------------------------------------------------------------------------------------------------
# Parameters.


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        (dict(hidden_layer_size=0), ValueError, "`hidden_layer_size` must be at least 1; got 0"),
        (dict(hidden_layer_size=(10,)), TypeError, "`hidden_layer_size` must be an integer; got tuple"),
        (dict(solver="lbfgs"), ValueError, "`solver` must be one of 'adam', 'sgd'; got 'lbfgs'"),
        (
            dict(solver=3),
            TypeError,
            r"`solver` must be one of 'adam', 'sgd', or such as twolayer.optimizers.AdamW\(\); got int",
        ),
        (dict(solver=optimizers.Adam), TypeError, "`solver` must be .*; got the class Adam"),
        (
            dict(learning_rate="adaptive"),
            ValueError,
            "`learning_rate` must be one of 'cosine', 'constant'; got",
        ),
        (dict(learning_rate=0.1), TypeError, r"`learning_rate` must be .*schedules.Step\(\); got float"),
        (dict(learning_rate_init=0), ValueError, "`learning_rate_init` must be finite and above 0; got 0"),
        (dict(learning_rate_init="a"), TypeError, "`learning_rate_init` must be a number; got str"),
        (dict(reg=-1), ValueError, "`reg` must be finite and at least 0; got -1"),
        (dict(dropout=1.0), ValueError, r"`dropout` must be in \[0, 1\); got 1"),
        (dict(label_smoothing=1.5), ValueError, r"`label_smoothing` must be in \[0, 1\]; got 1.5"),
        (dict(batch_size=0), ValueError, "`batch_size` must be at least 1; got 0"),
        (dict(batch_size="all"), ValueError, "`batch_size` must be one of 'auto'; got 'all'"),
        (dict(batch_size=None), TypeError, "`batch_size` must be an integer; got NoneType"),
        (dict(max_iter=0), ValueError, "`max_iter` must be at least 1; got 0"),
        (dict(tol=-1.0), ValueError, "`tol` must be finite and at least 0; got -1"),
        (dict(n_iter_no_change=0), ValueError, "`n_iter_no_change` must be at least 1; got 0"),
        (dict(n_iter_no_change=2.5), TypeError, "`n_iter_no_change` must be an integer; got float"),
        (dict(early_stopping="auto"), TypeError, "`early_stopping` must be a bool; got str"),
        (dict(warm_start=1), TypeError, "`warm_start` must be a bool; got int"),
        (dict(validation_fraction=1.0), ValueError, r"`validation_fraction` must be in \[0, 1\); got 1"),
        (dict(validation_fraction=0), ValueError, "`validation_fraction` must be above 0; got 0"),
        (dict(class_weight="equal"), ValueError, "`class_weight` must be one of 'balanced'; got 'equal'"),
        (dict(class_weight=[1, 2]), TypeError, "`class_weight` must be a dict, 'balanced' or None; got list"),
        (dict(class_weight={0: -1.0}), ValueError, "`class_weight` must be finite and at least 0; got -1"),
        (dict(random_state=-1), ValueError, "`random_state` must be at least 0; got -1"),
        (dict(random_state="a"), ValueError, "'a' cannot be used to seed"),
    ],
)
def test_parameters_that_are_refused(parameters, kind, message):
    X, y = problem()
    with pytest.raises(kind, match=message):
        quick(**parameters).fit(X, y)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "twolayer.sklearn")
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"twolayer.sklearn needs sklearn.*'\.\[sklearn\]'"):
        importlib.import_module("twolayer.sklearn")


def test_a_divergence_is_an_error_without_the_warning_of_train():
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    model = TwoLayerClassifier(solver="sgd", learning_rate_init=1e30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="it diverged at step"):
            model.fit(X, y)


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32"])
@pytest.mark.parametrize("mean", [0.0, 128.0, 1e9, -1.7e9])
def test_features_are_standardized_as_by_scikit_learn(mean, dtype):
    rng = np.random.default_rng(0)
    X = np.rint(np.stack([mean + rng.normal(0, 3, 200), rng.normal(0, 90, 200)], axis=1)).astype(dtype)
    found = Standardizer.fit(X, scale="feature").apply(X)
    assert_allclose(found, StandardScaler().fit_transform(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", ["raise", "warn"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_numpys_floating_point_errors_of_the_caller_change_nothing(how, solver):
    rng = np.random.default_rng(0)
    X, y = 1e4 * rng.normal(size=(60, 5)), np.arange(60) % 3
    weight = np.geomspace(1e-60, 1.0, 60)

    def results():
        model = TwoLayerClassifier(8, max_iter=3, random_state=0, solver=solver)
        model.fit(X, y, sample_weight=weight)
        parts = TwoLayerClassifier(8, random_state=0, solver=solver)
        parts.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
        found = (model, parts)
        return [
            f(X)
            for m in found
            for f in (m.predict, m.predict_proba, m.predict_log_proba, m.decision_function)
        ]

    expected = results()
    with np.errstate(all=how):
        found = results()
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


class Nullable:
    """A column of a table whose integers or truth values may be missing, as pandas and polars have it."""

    def __init__(self, values):
        self.values = values
        self.dtype, self.ndim, self.shape = "Int64", 1, (len(values),)

    def to_numpy(self):
        return np.array([math.nan if value is None else value for value in self.values], np.float64)

    def __array__(self, dtype=None, copy=None):
        found = np.empty(len(self.values), object)
        found[:] = self.values
        return found if dtype is None else found.astype(dtype)

    def __len__(self):
        return len(self.values)


def columns_of(values):
    """The values as columns that may be nullable, of the tables that are installed too."""
    yield Nullable(values)
    if importlib.util.find_spec("pandas"):
        pandas = importlib.import_module("pandas")
        for dtype in ("boolean",) if isinstance(values[0], bool) else ("Int64", "UInt64"):
            if dtype != "UInt64" or min(value for value in values if value is not None) >= 0:
                with contextlib.suppress(OverflowError, TypeError):
                    yield pandas.Series(values, dtype=dtype)


@given(
    labels=st.sets(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=4)
    | st.sets(st.integers(0, 2**64 - 1), min_size=2, max_size=4)
    | st.just({2**53, 2**53 + 1})
    | st.just({False, True})
)
@settings(max_examples=20)
def test_nullable_labels_keep_their_values(labels):
    values = sorted(labels) * 4
    X = np.random.default_rng(0).normal(size=(len(values), 3))
    for y in columns_of(values):
        model = TwoLayerClassifier(5, max_iter=1, random_state=0).fit(X, y)
        assert model.classes_.tolist() == sorted(labels)
        assert type(model.classes_.tolist()[0]) is type(values[0])
        assert set(model.predict(X).tolist()) <= labels
        assert model.score(X, y) == np.mean(
            model.predict(X) == model.classes_[np.arange(len(values)) % len(labels)]
        )
        part = TwoLayerClassifier(5, random_state=0).partial_fit(X, y, classes=y)
        assert part.classes_.tolist() == sorted(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "c"],
        ["a", math.nan, "c"],
        [1, None, 2],
        np.array(["a", None, "c"], dtype=object),
        np.array(["a", math.nan, "c"], dtype=object),
        Nullable([1, None, 2]),
    ],
    ids=["texts", "nan", "integers", "array of texts", "array with nan", "nullable"],
)
def test_a_missing_label_is_a_value_error_that_says_where(labels):
    X = np.random.default_rng(0).normal(size=(3, 2))
    known = ["a", "b", "c"] if "a" in np.asarray(labels, dtype=object) else [0, 1, 2]
    message = r"`{}` must hold no missing label; got one, first in row 1 \(counted from 0\)$"
    fitted = TwoLayerClassifier(5, max_iter=1).fit(X, known)
    for name, call in (
        ("y", lambda: TwoLayerClassifier().fit(X, labels)),
        ("y", lambda: TwoLayerClassifier().partial_fit(X, labels, classes=known)),
        ("y", lambda: fitted.score(X, labels)),
        ("classes", lambda: TwoLayerClassifier().partial_fit(X, known, classes=labels)),
        ("y_val", lambda: TwoLayerClassifier(early_stopping=True).fit(X, known, X_val=X, y_val=labels)),
    ):
        with pytest.raises(ValueError, match=message.format(name)):
            call()


def test_missing_labels_of_pandas():
    pandas = pytest.importorskip("pandas", reason="columns of pandas need pandas")
    X = np.random.default_rng(0).normal(size=(3, 2))
    for values, dtype in (
        (["a", None, "c"], "string"),
        (["a", None, "c"], "category"),
        ([True, None, False], "boolean"),
        ([1, None, 2], "Int64"),
    ):
        with pytest.raises(ValueError, match="`y` must hold no missing label; got one, first in row 1"):
            TwoLayerClassifier().fit(X, pandas.Series(values, dtype=dtype))


@pytest.mark.parametrize("classes", [{2, 0, 1}, frozenset([1, 0, 2]), {0: "a", 1: "b", 2: "c"}.keys()])
def test_the_classes_of_partial_fit_may_be_a_set(classes):
    X = np.random.default_rng(0).normal(size=(6, 2))
    y = [0, 1, 1, 0, 1, 0]
    listed = TwoLayerClassifier(5, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    model = TwoLayerClassifier(5, random_state=0).partial_fit(X, y, classes=classes)
    assert_array_equal(model.classes_, [0, 1, 2])
    assert_array_equal(model.net_.W1, listed.net_.W1)
    model.partial_fit(X, y, classes=classes)
    with pytest.raises(ValueError, match="`classes` must hold the labels of the first call"):
        model.partial_fit(X, y, classes={0, 1})
