"""Outputs of the estimator, and labels of any type."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support.refusals import refusal

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

from support.estimators import problem, quick, same_net

from twolayer.sklearn import TwoLayerClassifier
from twolayer.sklearn.parameters import SOLVERS


@pytest.mark.parametrize("n_classes", [2, 3])
def test_outputs_are_those_of_the_network(n_classes):
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


def test_the_log_probability_is_exact_if_the_probability_is_0():
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


def test_integers_and_lists_are_trained_on_in_float64():
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
    # The columns of the probabilities are in the order of `classes_`.
    assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], found)
    with refusal("ValueError: `y` must hold at least two classes; got one class"):
        model.fit(X, names[np.zeros_like(y)])


@pytest.mark.parametrize("how", ["raise", "warn"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_numpys_error_settings_of_the_caller_change_nothing(how, solver):
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
    """A column of integers or booleans that may be missing, as in pandas and polars."""

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
    """Yield the values as nullable columns: our own, and those of pandas if it is installed."""
    yield Nullable(values)
    if importlib.util.find_spec("pandas"):
        pandas = importlib.import_module("pandas")
        for dtype in ("boolean",) if isinstance(values[0], bool) else ("Int64", "UInt64"):
            if dtype != "UInt64" or min(value for value in values if value is not None) >= 0:
                with contextlib.suppress(OverflowError, TypeError):
                    yield pandas.Series(values, dtype=dtype)


INTEGERS, BOOLEANS, TEXTS = [7, 0, 200] * 8, [True, False] * 12, ["fig", "apple", "pear"] * 8
COLUMNS = {
    "pandas": [
        (INTEGERS, "Int64", "int64"),
        (INTEGERS, "UInt8", "uint8"),
        (INTEGERS, "uint8[pyarrow]", "uint8"),
        (BOOLEANS, "boolean", "bool"),
        (BOOLEANS, "bool[pyarrow]", "bool"),
        (TEXTS, "string", "object"),
        (TEXTS, "category", "object"),
        (INTEGERS, "category", "int64"),
        (np.asarray(INTEGERS, np.int16), "category", "int16"),
        (BOOLEANS, "category", "bool"),
    ],
    "polars": [
        (INTEGERS, "Int64", "int64"),
        (INTEGERS, "UInt8", "uint8"),
        (BOOLEANS, "Boolean", "bool"),
        (TEXTS, "Categorical", "object"),
    ],
}


@pytest.mark.parametrize(
    ("library", "values", "kind", "dtype"),
    [(library, *row) for library, rows in COLUMNS.items() for row in rows],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_predictions_have_the_dtype_of_the_labels_of_a_column(library, values, kind, dtype):
    tables = pytest.importorskip(library, reason=f"columns of {library} need {library}")
    if library == "polars":
        y = tables.Series(values, dtype=getattr(tables, kind))
    elif "pyarrow" in kind and not importlib.util.find_spec("pyarrow"):
        pytest.skip("columns of Arrow need pyarrow")
    else:  # categories have the dtype of the values
        y = tables.Series(values).astype(kind)
    X = np.random.default_rng(0).normal(size=(24, 3))
    part = TwoLayerClassifier(5, random_state=0).partial_fit(X, y, classes=y)
    for model in (TwoLayerClassifier(5, max_iter=2, random_state=0).fit(X, y), part):
        assert model.classes_.dtype == model.predict(X).dtype == dtype
        assert model.classes_.tolist() == sorted(set(np.asarray(values).tolist()))
        assert model.score(X, y) == np.mean(model.predict(X) == np.asarray(values))


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
def test_a_missing_label_is_refused_with_its_row(labels):
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


def test_missing_labels_of_pandas_are_refused():
    pandas = pytest.importorskip("pandas", reason="columns of pandas need pandas")
    X = np.random.default_rng(0).normal(size=(3, 2))
    for values, dtype in (
        (["a", None, "c"], "string"),
        (["a", None, "c"], "category"),
        ([True, None, False], "boolean"),
        ([1, None, 2], "Int64"),
    ):
        with refusal("ValueError: `y` must hold no missing label; got one, first in row 1 (counted from 0)"):
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
    with refusal("ValueError: `classes` must hold the labels of the first call, or be left out; got others"):
        model.partial_fit(X, y, classes={0, 1})
