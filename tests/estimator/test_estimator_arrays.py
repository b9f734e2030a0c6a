"""The estimator with arrays of other libraries, by scikit-learn's array API dispatch."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.backends import chosen_libraries
from support.refusals import refusal

from twolayer._namespace import array_namespace, device, dtype_name, to_host

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import sklearn
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from support.estimators import DISPATCHED, place, problem, quick, same_net


def pytest_generate_tests(metafunc):
    chosen = [name for name in chosen_libraries(metafunc.config) if name in DISPATCHED]
    if "library" in metafunc.fixturenames:
        metafunc.parametrize("library", chosen)
    if "indexable_library" in metafunc.fixturenames:  # with NumPy's arrays, as scikit-learn does
        metafunc.parametrize("indexable_library", [name for name in chosen if name != "strict"])


@pytest.fixture
def dispatch():
    """Enable scikit-learn's array API dispatch, which leaves arrays in their library."""
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_stay_in_the_library_of_the_samples(library, dtype, libraries, dispatch):
    X, y = problem(dtype=dtype)
    host = quick(max_iter=20).fit(X, y, sample_weight=np.linspace(0, 1, 60))
    placed, labels, weights = (place(a, library) for a in (X, y, np.linspace(0, 1, 60)))
    for y_given, weights_given in ((labels, weights), (y, np.linspace(0, 1, 60))):
        model = quick(max_iter=20).fit(placed, y_given, sample_weight=weights_given)
        for array in (*model.net_, model.classes_, model.predict(placed), model.predict_log_proba(placed)):
            assert array_namespace(array) is array_namespace(placed)
        for method in ("predict_proba", "decision_function"):
            found = getattr(model, method)(placed)
            assert array_namespace(found) is array_namespace(placed)
            assert dtype_name(found.dtype) == dtype
            rtol = 1e-8 if dtype == "float64" else 1e-2
            assert_allclose(to_host(found), getattr(host, method)(X), rtol=rtol, atol=rtol / 10)
        assert_array_equal(to_host(model.predict(placed)), host.predict(X))
        # PyTorch computes this mean in float32.
        assert model.score(placed, labels) == pytest.approx(host.score(X, y), abs=1e-7)


def test_integers_become_the_widest_float_dtype_of_the_device(library, libraries, dispatch):
    X, y = problem()
    placed = place(np.round(10 * X).astype(np.int64), library)
    assert dtype_name(quick().fit(placed, place(y, library)).net_.W1.dtype) == "float64"
    if library == "strict":
        placed = place(np.round(10 * X).astype(np.int64), library, "no_float64")
        model = quick().fit(placed, y)
        assert dtype_name(model.net_.W1.dtype) == "float32"
        assert device(model.predict(placed)) == device(placed)


def test_labels_that_are_texts_are_predicted_on_the_host(library, libraries, dispatch):
    X, y = problem()
    names = np.array(["a", "b", "c"])
    placed = place(X, library)
    model = quick(max_iter=20).fit(placed, names[y])
    assert_array_equal(model.predict(placed), quick(max_iter=20).fit(X, names[y]).predict(X), strict=True)
    assert isinstance(model.classes_, np.ndarray)


def test_labels_of_a_dtype_missing_on_the_device_stay_on_the_host(dispatch):
    X, y = problem(dtype="float32")
    placed = place(X, "strict", "no_float64")
    model = quick().fit(placed, y.astype("float64"))
    assert model.predict(placed).dtype == np.float64
    assert isinstance(model.classes_, np.ndarray)


def test_early_stopping_and_partial_fit_agree_with_numpy(library, libraries, dispatch):
    X, y = problem()
    placed, labels = place(X, library), place(y, library)
    for options in (dict(), dict(X_val=placed, y_val=labels)):
        host = {key: to_host(array) for key, array in options.items()}
        model = quick(early_stopping=True, class_weight="balanced").fit(placed, labels, **options)
        other = quick(early_stopping=True, class_weight="balanced").fit(X, y, **host)
        assert_allclose(to_host(model.net_.W1), other.net_.W1, rtol=1e-9)
        assert model.validation_scores_ == pytest.approx(other.validation_scores_, abs=1e-12)
    model, other = quick(), quick()
    for rows in (slice(0, 20), slice(20, 60)):
        model.partial_fit(placed[rows, :], labels[rows], classes=place([0, 1, 2], library))
        other.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert_allclose(to_host(model.net_.W1), other.net_.W1, rtol=1e-9)
    warm = model.set_params(warm_start=True).fit(placed, labels)
    assert_allclose(to_host(warm.net_.W1), other.set_params(warm_start=True).fit(X, y).net_.W1, rtol=1e-9)


def test_cross_validation_agrees_with_numpy(indexable_library, libraries, dispatch):
    X, y = problem(n_classes=2)
    placed = place(X, indexable_library), place(y, indexable_library)
    scores = cross_val_score(quick(max_iter=30), *placed, cv=3)
    assert_allclose(scores, cross_val_score(quick(max_iter=30), X, y, cv=3), atol=1e-7)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_samples_of_another_library_or_device_are_refused(method, dispatch):
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


@pytest.fixture
def move(dispatch):
    """A function that moves an estimator to the library and device of an array, with scikit-learn."""
    arrays = importlib.import_module("sklearn.utils._array_api")
    if not hasattr(arrays, "move_estimator_to"):
        pytest.skip("estimators can be moved from scikit-learn 1.9 on")

    def to(model, array):
        return arrays.move_estimator_to(model, array_namespace(array), device(array))

    return to


@pytest.mark.parametrize("names", [None, np.array(["a", "b", "c"])], ids=["integers", "texts"])
def test_an_estimator_moved_to_the_host_and_back_predicts_the_same(library, libraries, move, names):
    X, y = problem()
    labels = y if names is None else names[y]
    placed = place(X, library)
    model = quick(early_stopping=True).fit(placed, labels if names is not None else place(y, library))
    host = move(model, X)
    back = move(host, placed)
    assert {type(array) for array in host.net_} == {np.ndarray}
    assert isinstance(host.classes_, np.ndarray)
    assert array_namespace(back.net_.W1) is array_namespace(placed)
    if names is None:
        assert array_namespace(back.classes_) is array_namespace(placed)
        assert array_namespace(model.classes_) is array_namespace(placed)  # unchanged
    for method in ("predict", "predict_proba"):
        found = to_host(getattr(model, method)(placed))
        assert_array_equal(to_host(getattr(back, method)(placed)), found, strict=True)
        if method == "predict":
            assert_array_equal(host.predict(X), found, strict=True)
        else:
            assert_allclose(host.predict_proba(X), found, rtol=1e-9)
    assert host.history_ is model.history_
    assert host.get_params() == model.get_params()


def test_a_moved_estimator_keeps_its_moments(library, libraries, move):
    X, y = problem()
    placed = place(X, library)
    model = quick().partial_fit(X, y, classes=[0, 1, 2])
    moved = move(model, placed)
    for rows in (slice(None), slice(0, 30)):
        model.partial_fit(X[rows], y[rows])
        moved.partial_fit(placed[rows, :], y[rows])
        assert array_namespace(moved.net_.W1) is array_namespace(placed)
        assert_allclose(to_host(moved.net_.W1), model.net_.W1, rtol=1e-9)
    assert moved.n_iter_ == 3
    warm = move(model.set_params(warm_start=True).fit(X, y), placed)
    assert_allclose(to_host(warm.fit(placed, y).net_.W1), model.fit(X, y).net_.W1, rtol=1e-9)


def test_pipelines_and_unfitted_estimators_can_be_moved(library, libraries, move):
    X, y = problem()
    placed = place(X, library)
    model = make_pipeline(MaxAbsScaler(), quick()).fit(placed, place(y, library))
    assert_array_equal(move(model, X).predict(X), to_host(model.predict(placed)))
    assert move(quick(reg=0.5), placed).get_params() == quick(reg=0.5).get_params()


def test_feature_names_are_not_moved(library, libraries, move):
    pandas = pytest.importorskip("pandas", reason="feature names come from the columns of pandas")
    X, y = problem()
    model = quick().fit(pandas.DataFrame(X, columns=list("abcde")), y)
    moved = move(model, place(X, library))
    assert moved.feature_names_in_.tolist() == list("abcde")
    assert array_namespace(moved.net_.W1) is array_namespace(place(X, library))


def test_without_dispatch_arrays_are_converted_to_numpy(library, libraries):
    X, y = problem()
    if library == "cupy":  # it refuses implicit copies to the host
        with refusal("TypeError: …NumPy…"):
            quick().fit(place(X, library), place(y, library))
        return
    model = quick().fit(place(X, library), place(y, library))
    assert isinstance(model.net_.W1, np.ndarray)
    same_net(model.net_, quick().fit(X, y).net_)
    assert isinstance(model.predict(place(X, library)), np.ndarray)
