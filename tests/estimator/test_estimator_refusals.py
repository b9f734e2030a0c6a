"""Parameters, samples, labels and weights that the estimator refuses."""

from __future__ import annotations

import numpy as np
import pytest
from support.refusals import refusal

from twolayer import optimizers

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import scipy
from support.estimators import problem, quick

X, y = problem()
NOT_TOGETHER = "ValueError: `X_val` and `y_val` must be given together; got one of them"


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        (dict(hidden_layer_size=0), "ValueError: `hidden_layer_size` must be at least 1; got 0"),
        (dict(hidden_layer_size=(10,)), "TypeError: `hidden_layer_size` must be an integer; got tuple"),
        (dict(solver="lbfgs"), "ValueError: `solver` must be one of 'adam', 'sgd'; got 'lbfgs'"),
        (dict(solver=3), "TypeError: `solver` must be one of 'adam', 'sgd', or …AdamW(); got int"),
        (dict(solver=optimizers.Adam), "TypeError: `solver` must be …; got the class Adam"),
        (dict(learning_rate="adaptive"), "ValueError: `learning_rate` must be one of …; got 'adaptive'"),
        (
            dict(learning_rate=0.1),
            "TypeError: `learning_rate` must be …; got 0.1; `learning_rate_init=0.1` …",
        ),
        (dict(learning_rate=None), "TypeError: `learning_rate` must be …schedules.Step(); got NoneType"),
        (dict(learning_rate_init=0), "ValueError: `learning_rate_init` must be finite and above 0; got 0"),
        (dict(learning_rate_init="a"), "TypeError: `learning_rate_init` must be a number; got str"),
        (dict(reg=-1), "ValueError: `reg` must be finite and at least 0; got -1"),
        (dict(dropout=1.0), "ValueError: `dropout` must be in [0, 1); got 1"),
        (dict(label_smoothing=1.5), "ValueError: `label_smoothing` must be in [0, 1]; got 1.5"),
        (dict(batch_size=0), "ValueError: `batch_size` must be at least 1; got 0"),
        (dict(batch_size="all"), "ValueError: `batch_size` must be one of 'auto'; got 'all'"),
        (dict(batch_size=None), "TypeError: `batch_size` must be an integer; got NoneType"),
        (dict(max_iter=0), "ValueError: `max_iter` must be at least 1; got 0"),
        (dict(tol=-1.0), "ValueError: `tol` must be finite and at least 0; got -1"),
        (dict(n_iter_no_change=0), "ValueError: `n_iter_no_change` must be at least 1; got 0"),
        (dict(n_iter_no_change=2.5), "TypeError: `n_iter_no_change` must be an integer; got float"),
        (dict(early_stopping="auto"), "TypeError: `early_stopping` must be a bool; got str"),
        (dict(warm_start=1), "TypeError: `warm_start` must be a bool; got int"),
        (dict(validation_fraction=1.0), "ValueError: `validation_fraction` must be in (0, 1); got 1"),
        (dict(validation_fraction=0), "ValueError: `validation_fraction` must be in (0, 1); got 0"),
        (dict(class_weight="equal"), "ValueError: `class_weight` must be one of 'balanced'; got 'equal'"),
        (dict(class_weight=[1, 2]), "TypeError: `class_weight` must be a dict, 'balanced' or None; got list"),
        (dict(class_weight={0: -1.0}), "ValueError: `class_weight` must be finite and at least 0; got -1"),
        (dict(random_state=-1), "ValueError: `random_state` must be at least 0; got -1"),
        (dict(random_state="a"), "ValueError: 'a' cannot be used to seed a …"),
    ],
)
def test_invalid_parameters_are_refused(parameters, refused):
    with refusal(refused):
        quick(**parameters).fit(X, y)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (dict(sample_weight=np.ones(59)), "ValueError: `sample_weight` must have shape (60,); got (59,)"),
        (dict(sample_weight=np.ones((60, 1))), "ValueError: `sample_weight` must have …; got (60, 1)"),
        (
            dict(sample_weight=np.zeros(60)),
            "ValueError: `sample_weight` must hold a weight above zero; got …",
        ),
        (dict(sample_weight=y - 2), "ValueError: `sample_weight` must be …; got a weight of -2"),
        (dict(sample_weight=np.full(60, np.nan)), "ValueError: Input sample_weight contains NaN…"),
        (dict(sample_weight=np.full(60, np.inf)), "ValueError: Input sample_weight contains infinity…"),
        (dict(X_val=X), NOT_TOGETHER),
        (dict(y_val=y), NOT_TOGETHER),
        (dict(X_val=X, y_val=y + 7), "ValueError: `y_val` must hold labels that are in the classes; got …"),
        (dict(X_val=X[:, 1:], y_val=y), "ValueError: X has 4 features, but … expecting 5 features as input…"),
        (
            dict(sample_weight_val=y),
            "ValueError: `X_val` must be given where `sample_weight_val` is; got None",
        ),
        (
            dict(X_val=X, y_val=y, sample_weight_val=-np.ones(60)),
            "ValueError: `sample_weight_val` must be finite and at least 0; got a weight of -1",
        ),
        (dict(X=scipy.sparse.csr_array(X)), "TypeError: …dense data is required…"),
        (dict(y=np.zeros(60)), "ValueError: `y` must hold at least two classes; got one class"),
    ],
)
def test_fit_refuses_invalid_data(given, refused):
    with refusal(refused):
        quick(early_stopping=True).fit(**{"X": X, "y": y, **given})


def test_validation_samples_need_early_stopping():
    with refusal("ValueError: `early_stopping` must be True where `X_val` is given; got False"):
        quick().fit(X, y, X_val=X, y_val=y)


@pytest.mark.parametrize(
    ("parameters", "classes", "refused"),
    [
        ({}, None, "ValueError: `classes` must be given in the first call of `partial_fit`; got None"),
        ({}, [1, 1], "ValueError: `classes` must hold at least two classes; got one class"),
        ({}, [0, 1], "ValueError: `y` must hold labels that are in the classes; got 2"),
        (
            dict(early_stopping=True),
            [0, 1, 2],
            "ValueError: `early_stopping` must be False for `partial_fit`; got True",
        ),
        (
            dict(class_weight="balanced"),
            [0, 1, 2],
            "ValueError: `class_weight` must be a dict or None for `partial_fit`; got 'balanced'",
        ),
    ],
)
def test_partial_fit_refuses_invalid_arguments(parameters, classes, refused):
    with refusal(refused):
        quick(**parameters).partial_fit(X, y, classes=classes)


def test_later_calls_refuse_other_classes_features_and_sizes():
    model = quick(warm_start=True).partial_fit(X, y, classes=[2, 1, 0, 0])
    model.partial_fit(X, y, classes=[0, 1, 2])
    with refusal("ValueError: `classes` must hold the labels of the first call, or be left out; got others"):
        model.partial_fit(X, y, classes=[0, 1, 3])
    with refusal("ValueError: `y` must hold labels that are in the classes; got 4"):
        model.fit(X, np.where(y == 1, 4, y))
    with refusal("ValueError: X has 4 features, but … expecting 5 features as input…"):
        model.fit(X[:, 1:], y)
    with refusal("ValueError: `hidden_layer_size` must stay 7 with `warm_start`; got 8"):
        model.set_params(hidden_layer_size=8).fit(X, y)


def test_values_beyond_the_range_of_the_networks_dtype_are_refused():
    """The message counts all given rows, although samples of weight 0 are left out."""
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
    quick().fit(X, y).predict(far)  # float64 can represent it


def test_samples_whose_outputs_are_nan_are_refused():
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
            refusal("ValueError: `X` must hold samples …; got nan, first for row 7 …"),
        ):
            use(far)
