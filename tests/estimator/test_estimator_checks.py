"""scikit-learn's own checks of the estimator, and the estimator with scikit-learn's other tools."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.backends import chosen_libraries
from support.refusals import refusal

from twolayer import optimizers, schedules
from twolayer.preprocessing import Standardizer

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.estimators import DISPATCHED, problem, quick, same_net

from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV

ESTIMATORS = [
    TwoLayerClassifier(),
    TwoLayerClassifier(solver="sgd", learning_rate="constant", learning_rate_init=0.1),
    TwoLayerClassifier(solver=optimizers.AdamW(weight_decay=0.1), learning_rate=schedules.Warmup()),
    TwoLayerSearchCV(
        TwoLayerClassifier(max_iter=20, random_state=0), {"reg": [1e-3, 1e-2]}, cv=2, error_score="raise"
    ),
]


def pytest_generate_tests(metafunc):
    if "check" in metafunc.fixturenames:
        chosen = [name for name in chosen_libraries(metafunc.config) if name in DISPATCHED]
        mark = parametrize_with_checks(ESTIMATORS)
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
    """Return whether a check uses a chosen library, no others but NumPy and strict, and existing devices."""
    available = {DISPATCHED[name] for name in chosen}
    wanted = libraries_of(check)
    names = {name for name, _ in wanted}
    if not names & available or names - available - {"numpy", "array_api_strict"}:
        return False
    return all(name != "torch" or has_torch_device(where) for name, where in wanted)


def has_torch_device(name):
    import torch

    if name in ("cuda", "xpu"):
        return getattr(torch, name).is_available()
    return name in (None, "cpu")


# scikit-learn casts infinite labels to integers to determine their type.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_a_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def test_the_tags_declare_array_api_support():
    assert sklearn.utils.get_tags(TwoLayerClassifier()).array_api_support


def test_a_check_of_scikit_learn_for_an_array_library_passes(estimator, check, libraries):
    check(estimator)


def test_the_estimator_works_in_pipelines_searches_and_calibration():
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
def test_a_pickled_estimator_predicts_and_continues_the_same(fit):
    X, y = problem()
    model = quick(solver=optimizers.AdamW(), learning_rate=schedules.Step(0.5))
    getattr(model, fit)(X, y, **({} if fit == "fit" else {"classes": [0, 1, 2]}))
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.get_params() == model.get_params()
    same_net(again.partial_fit(X, y).net_, model.partial_fit(X, y).net_)


def test_a_clone_has_only_the_parameters():
    X, y = problem()
    parameters = dict(solver=optimizers.AdamW(), learning_rate=schedules.Step(0.5), class_weight={0: 2.0})
    model = quick(**parameters).fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "net_")
    same_net(copy.fit(X, y).net_, model.net_)


def test_feature_names_are_stored_and_checked():
    pandas = pytest.importorskip("pandas", reason="feature names come from the columns of pandas")
    X, y = problem()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    model = quick().fit(frame, pandas.Series(y))
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.n_features_in_ == 5
    assert_array_equal(model.predict_proba(frame), quick().fit(X, y).predict_proba(X))
    with refusal("ValueError: …feature names should match…"):
        model.predict(frame[list("edcba")])


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if f"{name}.".startswith(("sklearn.", "twolayer.sklearn."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with refusal("ImportError: twolayer.sklearn needs sklearn…twolayer[sklearn]…"):
        importlib.import_module("twolayer.sklearn")


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32"])
@pytest.mark.parametrize("mean", [0.0, 128.0, 1e9, -1.7e9])
def test_standardized_features_equal_those_of_scikit_learn(mean, dtype):
    rng = np.random.default_rng(0)
    X = np.rint(np.stack([mean + rng.normal(0, 3, 200), rng.normal(0, 90, 200)], axis=1)).astype(dtype)
    found = Standardizer.fit(X, scale="feature").apply(X)
    assert_allclose(found, StandardScaler().fit_transform(X), rtol=1e-6, atol=1e-6)
