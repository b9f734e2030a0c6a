"""The search that trains candidates and folds in stacks, compared with scikit-learn's searches."""

from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.backends import chosen_libraries
from support.refusals import refusal

from twolayer import optimizers, schedules, sweep
from twolayer._namespace import array_namespace, device, to_host
from twolayer.search import LogUniform, Uniform

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

import joblib
import scipy.stats
import sklearn
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.estimators import DISPATCHED, place, problem, quick, same_net

from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV, classifier, search

SMALL = {"learning_rate_init": [0.01, 0.3]}
GRID = {"learning_rate_init": [0.01, 0.1, 0.3], "reg": [0.0, 1e-2]}
NAMES = np.array(["c", "a", "b"])
WEIGHTS = np.random.default_rng(0).integers(0, 4, 90).astype(float)  # some are 0
GROUPS = np.arange(90) // 3 % 7
THIRD = [np.arange(90) % 3 == i for i in range(3)]


def pytest_generate_tests(metafunc):
    if "library" in metafunc.fixturenames:
        chosen = [name for name in chosen_libraries(metafunc.config) if name in DISPATCHED]
        metafunc.parametrize("library", chosen)


class Watcher:
    """A scorer that returns minus the log loss, and keeps the estimators it scores."""

    def __init__(self):
        self.models = []

    def __call__(self, model, X, y, sample_weight=None):
        self.models.append(model)
        found = model.predict_proba(X)
        return -log_loss(y, found, labels=model.classes_, sample_weight=sample_weight)


def both(model, X, y, grid=GRID, fit=None, **options):
    """Return the search of this library and that of scikit-learn, fitted to the same data."""
    return [one(model, grid, **options).fit(X, y, **(fit or {})) for one in (TwoLayerSearchCV, GridSearchCV)]


def assert_same(found, expected, X, rtol=1e-7):
    """Assert that two searches have the same results, up to rounding."""
    ours, theirs = found.cv_results_, expected.cv_results_
    assert set(ours) == set(theirs)
    assert ours["params"] == theirs["params"]
    for name, values in theirs.items():
        if "score" in name and "time" not in name:
            assert_allclose(ours[name], values, rtol=rtol, atol=1e-9, err_msg=name)
        elif name.startswith("param_"):
            assert_array_equal(ours[name], values)
    assert found.multimetric_ == expected.multimetric_
    assert found.n_splits_ == expected.n_splits_
    for name in ("best_index_", "best_params_"):
        assert getattr(found, name, None) == getattr(expected, name, None)
    assert hasattr(found, "best_score_") == hasattr(expected, "best_score_")
    if hasattr(found, "best_score_"):
        assert found.best_score_ == pytest.approx(expected.best_score_, rel=rtol, nan_ok=True)
    assert hasattr(found, "best_estimator_") == hasattr(expected, "best_estimator_")
    if hasattr(found, "best_estimator_"):
        assert_same_model(found.best_estimator_, expected.best_estimator_, X, rtol)
        assert_array_equal(found.classes_, expected.classes_)


def assert_same_model(found, expected, X, rtol=1e-7):
    """Assert that two estimators have the same outputs, losses and scores, up to rounding."""
    assert_array_equal(found.classes_, expected.classes_)
    assert found.n_iter_ == expected.n_iter_ == len(found.loss_curve_)
    assert found.loss_ == found.loss_curve_[-1]
    assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=rtol)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=rtol, atol=1e-9)
    assert (found.validation_scores_ is None) == (expected.validation_scores_ is None)
    if found.validation_scores_ is not None:
        assert_allclose(found.validation_scores_, expected.validation_scores_, rtol=1e-9)
        assert found.best_validation_score_ == pytest.approx(expected.best_validation_score_)


@pytest.fixture
def trainings(monkeypatch):
    """The number of samples of each network trained alone, and the number of networks of each stack."""
    alone, stacks = [], []
    train, run = classifier.train, search._run

    def counted(net, X, *more, **options):
        alone.append(len(X))
        return train(net, X, *more, **options)

    def measured(nets, *more):
        stacks.append(nets.n_networks)
        return run(nets, *more)

    monkeypatch.setattr(classifier, "train", counted)
    monkeypatch.setattr(search, "_run", measured)
    return alone, stacks


# With batches of all samples, results equal those of scikit-learn


MODELS = {
    "usual": {},
    "sgd": dict(solver="sgd", learning_rate="constant"),
    "optimizer": dict(solver=optimizers.AdamW(weight_decay=0.1), learning_rate=schedules.Step(0.5)),
    "tol": dict(max_iter=30, tol=0.03, n_iter_no_change=1),
    "early stopping": dict(max_iter=30, early_stopping=True, validation_fraction=0.3, n_iter_no_change=3),
    "early stopping by the loss": dict(
        max_iter=30, early_stopping=True, monitor="loss", validation_fraction=0.3, n_iter_no_change=3
    ),
    "class weights": dict(class_weight={"a": 3.0, "b": 0.25}),
    "balanced": dict(class_weight="balanced"),
    "balanced, early stopping": dict(class_weight="balanced", early_stopping=True, validation_fraction=0.3),
    "smoothing": dict(label_smoothing=0.1),
    "RandomState": dict(random_state=np.random.RandomState(5), early_stopping=True),
    "large batch": dict(batch_size=10**6, hidden_layer_size=np.int64(3)),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("name", MODELS)
def test_each_network_equals_that_of_scikit_learns_search(name, weights, trainings):
    X, y = problem(90)
    fit = {} if weights is None else {"sample_weight": weights}
    model = quick(**{"max_iter": 8, **MODELS[name]})
    alone, stacks = trainings
    watcher = Watcher()
    found = TwoLayerSearchCV(model, GRID, cv=3, scoring=watcher).fit(X, NAMES[y], **fit)
    assert (len(alone), stacks) == (1, [18])  # only the refit is trained alone
    other = Watcher()
    expected = GridSearchCV(model, GRID, cv=3, scoring=other).fit(X, NAMES[y], **fit)
    assert len(alone) == 1 + 19
    assert_same(found, expected, X)
    for one, like in zip(watcher.models, other.models, strict=True):
        assert_same_model(one, like, X)
        assert one.get_params().keys() == like.get_params().keys()
    lengths = {one.n_iter_ for one in watcher.models}
    if "tol" in MODELS[name] or name.startswith("early stopping"):
        assert len(lengths) > 2  # otherwise no network would stop before another
        assert min(lengths) < 30
    else:
        assert lengths == {8}
    assert len({one.loss_ for one in watcher.models}) == 18


def test_networks_of_a_stack_are_independent():
    X, y = problem(90)
    watcher = Watcher()
    TwoLayerSearchCV(quick(early_stopping=True), GRID, cv=3, scoring=watcher).fit(X, y)
    first, second = watcher.models[:2]
    logits = second.decision_function(X)
    for array in first.net_:
        array += 1.0
    assert_array_equal(second.decision_function(X), logits)
    again = clone(first).fit(X[:60], y[:60])  # trained alone after the search
    same_net(again.net_, quick(early_stopping=True, **FIRST_CANDIDATE).fit(X[:60], y[:60]).net_)
    parts = second.set_params(early_stopping=False).partial_fit(X, y)
    assert parts.n_iter_ == 6


FIRST_CANDIDATE = {name: values[0] for name, values in GRID.items()}


@pytest.mark.parametrize(
    ("grid", "stacks"),
    [
        ({"hidden_layer_size": [3, 7], "batch_size": [1000, "auto"], "reg": [0.0, 0.1]}, [6] * 4),
        ([{"solver": ["sgd", "adam"]}, {"max_iter": [2], "learning_rate_init": [0.1, 0.3]}], [3, 6, 3]),
        ({"dropout": [0.0], "label_smoothing": [0.0, 0.2], "random_state": [0, 1]}, [6, 6]),
        ({"class_weight": [None, "balanced", {0: 2.0}]}, [3, 3, 3]),
        ({"solver": [optimizers.AdamW(), optimizers.AdamW(), optimizers.Adam(), "adam"]}, [6, 3, 3]),
        ({"early_stopping": [True, False], "tol": [0.0, 1.0]}, [3] * 4),
        ({}, [3]),
    ],
)
def test_candidates_with_other_sizes_or_solvers_have_separate_stacks(grid, stacks, trainings):
    X, y = problem(90)
    found, expected = both(quick(), X, y, grid, cv=3, scoring="neg_log_loss", return_train_score=True)
    assert_same(found, expected, X)
    assert sorted(trainings[1]) == sorted(stacks)
    assert len(trainings[0]) == 1 + 1 + len(found.cv_results_["params"]) * 3


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_samples_of_other_dtypes_give_the_same_results(dtype):
    X, y = problem(90)
    X = (X if dtype == "float32" else np.round(3 * X)).astype(dtype)
    found, expected = both(quick(), X, y, cv=3, scoring="neg_log_loss")
    assert_same(found, expected, X, rtol=1e-3 if dtype == "float32" else 1e-7)
    assert found.best_estimator_.net_.W1.dtype == (np.float32 if dtype == "float32" else np.float64)


@pytest.mark.parametrize(
    "distributions",
    [
        {"learning_rate_init": LogUniform(1e-3, 0.3), "dropout": [0.0], "label_smoothing": Uniform(0, 0.3)},
        {"learning_rate_init": scipy.stats.loguniform(1e-3, 0.3), "hidden_layer_size": [3, 7]},
        [{"reg": LogUniform(1e-4, 1e-1)}, {"solver": ["sgd", "adam"]}],
        {"reg": [0.0, 0.1], "hidden_layer_size": [3, 7], "max_iter": [2, 3]},
    ],
)
@pytest.mark.parametrize("state", [3, np.random.RandomState(3)], ids=["int", "RandomState"])
def test_the_candidates_drawn_equal_those_of_scikit_learn(distributions, state):
    X, y = problem(90)
    options = dict(param_distributions=distributions, n_iter=6, cv=3)
    found, expected = (
        one(quick(), **options, random_state=clone(state, safe=False)).fit(X, y)
        for one in (TwoLayerSearchCV, RandomizedSearchCV)
    )
    assert len(found.cv_results_["params"]) == 6
    assert_same(found, expected, X)


def test_other_seeds_draw_other_candidates():
    X, y = problem()
    options = dict(param_distributions={"reg": LogUniform(1e-4, 1e-1)}, n_iter=2, cv=2)
    drawn = [TwoLayerSearchCV(quick(), **options, random_state=seed).fit(X, y) for seed in (0, 1, None)]
    assert len({one.cv_results_["params"][0]["reg"] for one in drawn}) == 3


def worst(results):
    return int(np.argmin(results["mean_test_score"]))


@pytest.mark.parametrize(
    ("n_classes", "options"),
    [
        (3, dict(scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss")),
        (3, dict(scoring={"a": "f1_macro", "b": "roc_auc_ovr"}, refit="b", return_train_score=True)),
        (3, dict(refit=worst)),
        (3, dict(scoring=["accuracy", "neg_log_loss"], refit=False)),
        (3, dict(refit=False)),
        (2, dict(scoring="roc_auc", return_train_score=True)),
        (2, dict(scoring="average_precision")),
        (2, dict(scoring=lambda model, X, y: {"x": model.score(X, y), "y": 1.0}, refit="x")),
    ],
)
def test_scores_equal_those_of_scikit_learn(n_classes, options, trainings):
    X, y = problem(90, n_classes)
    found, expected = both(quick(max_iter=8), X, y, cv=3, **options)
    assert_same(found, expected, X)
    assert trainings[1] == [18]
    refitted = options.get("refit", True) is not False
    assert len(trainings[0]) == 18 + 2 * refitted
    if refitted:
        assert found.score(X, y) == pytest.approx(expected.score(X, y))
        assert_array_equal(found.predict(X), expected.predict(X))
        assert_allclose(found.decision_function(X), expected.decision_function(X), rtol=1e-7, atol=1e-9)
        assert isinstance(found.refit_time_, float)
    else:
        with pytest.raises(AttributeError, match="has no attribute 'predict'"):
            found.predict(X)
    if options.get("refit") is worst:
        means = found.cv_results_["mean_test_score"]
        assert means[found.best_index_] == means.min() < means.max()


# Folds


def shuffled(seed, n=60):
    return np.random.default_rng(seed).permutation(90)[:n]


SPLITS = {
    "integer": (lambda: 4, 8),
    "splitter": (lambda: ShuffleSplit(3, test_size=0.3, random_state=0), 6),
    "repeated": (lambda: RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0), 8),
    "groups": (lambda: GroupKFold(3), 6),
    "pairs": (lambda: [(~third, np.flatnonzero(third)) for third in THIRD], 6),
    "generator": (lambda: ((np.flatnonzero(~third), third) for third in THIRD), 6),
    "rows in any order": (lambda: [(shuffled(i), shuffled(i)[::-1][:50]) for i in range(2)], 4),
    "rows from the end": (lambda: [(np.arange(-90, -30), list(range(-30, 0)))], 2),
    "rows in no fold": (lambda: [(range(40), [80]), (range(20, 60), [81, 82])], 4),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", SPLITS)
def test_folds_of_every_kind_give_the_same_results(name, early_stopping, trainings):
    X, y = problem(90)
    cv, size = SPLITS[name]
    fit = {"sample_weight": WEIGHTS} | ({"groups": GROUPS} if name == "groups" else {})
    model = quick(early_stopping=early_stopping, validation_fraction=0.3)
    scoring = "accuracy" if name == "rows in no fold" else "neg_log_loss"
    found, expected = (
        one(model, SMALL, cv=cv(), scoring=scoring).fit(X, y, **fit)
        for one in (TwoLayerSearchCV, GridSearchCV)
    )
    assert_same(found, expected, X)
    assert trainings[1] == [size]
    assert len(trainings[0]) == 1 + size + 1


def test_a_row_repeated_in_a_fold_counts_each_time(trainings):
    X, y = problem(90)
    rng = np.random.default_rng(0)
    cv = [(rng.integers(0, 60, 60), np.arange(60, 90)), (np.arange(60), np.arange(60, 90))]
    found, expected = both(quick(), X, y, SMALL, cv=cv, scoring="neg_log_loss")
    assert_same(found, expected, X)
    assert trainings[1] == [2]
    assert len(trainings[0]) == 2 + 1 + 5


def test_a_fold_without_a_class_is_trained_alone(trainings):
    X, y = problem(90)
    cv = [(np.flatnonzero(y != 2), np.flatnonzero(y == 2)), (np.arange(0, 60), np.arange(60, 90))]
    found, expected = both(quick(), X, NAMES[y], SMALL, cv=cv, return_train_score=True)
    assert_same(found, expected, X)
    assert found.cv_results_["mean_test_score"].max() > 0
    assert_array_equal(found.cv_results_["split0_test_score"], 0.0)
    assert trainings[1] == [2]
    assert len(trainings[0]) == 2 + 1 + 5
    # The same for a class whose samples have weight 0 in a fold; the network still has an output for it.
    alone = len(trainings[0])
    weights = np.where((y == 1) & (np.arange(90) < 60), 0.0, 1.0)
    cv = [(np.arange(60), np.arange(60, 90)), (np.arange(30, 90), np.arange(30))]
    options = dict(cv=cv, scoring="neg_log_loss", fit={"sample_weight": weights})
    found, expected = both(quick(class_weight="balanced"), X, y, SMALL, **options)
    assert_same(found, expected, X)
    assert trainings[1] == [2, 2]
    assert len(trainings[0]) == alone + 2 + 1 + 5


def test_a_fold_with_too_few_samples_to_hold_out_is_trained_alone(trainings):
    X, y = problem(90)
    few = np.concatenate([np.flatnonzero(y == code)[: 1 + 20 * (code > 0)] for code in range(3)])
    cv = [(few, np.arange(60, 90)), (np.arange(60), np.arange(60, 90))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = both(quick(early_stopping=True), X, y, cv=cv)
    assert np.isnan(found.cv_results_["split0_test_score"]).all()
    assert np.isfinite(found.cv_results_["split1_test_score"]).all()
    assert_same(found, expected, X)
    assert trainings[1] == [6]


# Candidates that cannot be trained


ENDLESS = dict(solver="sgd", learning_rate="constant", n_iter_no_change=math.inf)


def failing(one, *more, **options):
    """Fit a search whose candidates fail; return it and the sorted names of the warnings' classes."""
    X, y = problem(90)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = one(quick(**ENDLESS), *more, cv=3, **options).fit(X, y)
    return found, sorted(warning.category.__name__ for warning in caught)


@pytest.mark.parametrize("score", [np.nan, -7.0])
@pytest.mark.parametrize(
    ("grid", "failed"),
    [
        ({"learning_rate_init": [0.1, 1e6, 1e200], "reg": [0.01, 0.1], "max_iter": [60]}, [2, 3, 4, 5]),
        ({"reg": [0.0, -1.0, 0.1], "hidden_layer_size": [7, 0]}, [1, 3, 4, 5]),
        ({"dropout": [0.5, 1.0, "much"]}, [1, 2]),
        ({"class_weight": [None, {7: 2.0}, {0: 2.0}]}, [1]),
        ({"class_weight": [None, {0: -2.0}, {0: 0.0, 1: 0.0, 2: 0.0}, {0: np.nan}]}, [1, 2, 3]),
        ({"class_weight": [None, {0: "a"}, "even"]}, [1, 2]),
        ({"random_state": [0, -1, "a"]}, [1, 2]),
        ({"solver": ["adam", "lbfgs", 3]}, [1, 2]),
    ],
)
def test_candidates_that_fail_have_the_error_score(grid, failed, score):
    (found, ours), (expected, theirs) = (
        failing(one, grid, error_score=score) for one in (TwoLayerSearchCV, GridSearchCV)
    )
    if "dropout" in grid:  # the masks differ, so only the best candidate is compared
        assert found.best_index_ == expected.best_index_ == 0
    else:
        assert_same(found, expected, problem()[0])
    assert ours == theirs
    assert ("FitFailedWarning" in ours) == bool(failed)
    means = found.cv_results_["mean_test_score"]
    for i, mean in enumerate(means):
        assert (mean == score or (math.isnan(score) and math.isnan(mean))) == (i in failed)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"learning_rate_init": [0.1, 1e6], "reg": [0.1], "max_iter": [60]},
            "ValueError: `learning_rate_init` must…with 1e+06 it diverged…",
        ),
        ({"reg": [0.1, -1.0]}, "ValueError: `reg` must…"),
        ({"class_weight": [None, {0: -1.0}]}, "ValueError: `class_weight` must…"),
    ],
)
def test_an_error_of_a_candidate_can_end_the_search(grid, message):
    messages = []
    for one in (TwoLayerSearchCV, GridSearchCV):
        with refusal(message) as raised:
            failing(one, grid, error_score="raise")
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_a_network_that_diverges_does_not_change_the_others():
    X, y = problem(90)
    model = quick(solver="sgd", learning_rate="constant")
    alone = TwoLayerSearchCV(model, {"reg": [0.0, 0.1]}, cv=3, scoring="neg_log_loss").fit(X, y)
    grid = {"reg": [0.0, 0.1], "learning_rate_init": [0.01, 1e200]}
    with pytest.warns() as caught:
        beside = TwoLayerSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    assert {warning.category for warning in caught} == {FitFailedWarning, UserWarning}
    scores = beside.cv_results_["mean_test_score"]
    assert_allclose(scores[:2], alone.cv_results_["mean_test_score"], rtol=1e-9)
    assert np.isnan(scores[2:]).all()


def test_the_error_gives_the_reason_if_all_fits_fail():
    with refusal("ValueError: …All the 3 fits failed…`reg` must…"):
        failing(TwoLayerSearchCV, {"reg": [-1.0]})


def test_invalid_arguments_and_samples_are_refused():
    X, y = problem()
    one_of_them = "ValueError: `param_grid` or `param_distributions` must be given, not both; got "
    with refusal(one_of_them + "neither"):
        TwoLayerSearchCV(quick()).fit(X, y)
    with refusal(one_of_them + "both"):
        TwoLayerSearchCV(quick(), GRID, param_distributions=GRID).fit(X, y)
    for other in (LogisticRegression(), make_pipeline(StandardScaler(), quick()), TwoLayerClassifier, None):
        with refusal(f"TypeError: `estimator` must be a TwoLayerClassifier; got {type(other).__name__}; …"):
            TwoLayerSearchCV(other, GRID).fit(X, y)
    with refusal("ValueError: Invalid parameter 'alpha' for estimator TwoLayerClassifier…"):
        TwoLayerSearchCV(quick(), {"alpha": [1.0]}).fit(X, y)
    for n_iter, message in (
        (0, "ValueError: `n_iter` must be at least 1; got 0"),
        (2.5, "TypeError: `n_iter` …"),
    ):
        with refusal(message):
            TwoLayerSearchCV(quick(), param_distributions=GRID, n_iter=n_iter).fit(X, y)
    for grid, message in (({"reg": 0.1}, "TypeError: …"), ({"reg": []}, "ValueError: …")):
        with refusal(message) as ours:
            TwoLayerSearchCV(quick(), grid).fit(X, y)
        with refusal(message) as theirs:
            GridSearchCV(quick(), grid).fit(X, y)
        assert str(ours.value) == str(theirs.value)
    for weights in (np.full(60, -1.0), np.zeros(60), np.ones((60, 2))):
        with refusal("ValueError: …"):
            TwoLayerSearchCV(quick(), GRID, error_score="raise").fit(X, y, sample_weight=weights)
    with refusal("ValueError: …NaN…"):
        TwoLayerSearchCV(quick(), GRID).fit(np.where(X > 1, np.nan, X), y)
    with pytest.raises(NotFittedError):
        TwoLayerSearchCV(quick(), GRID).predict(X)


def test_a_failed_search_can_be_fitted_again():
    X, y = problem()
    one = TwoLayerSearchCV(quick(), {"alpha": [1.0]})
    with refusal("ValueError: Invalid parameter 'alpha'…"):
        one.fit(X, y)
    fitted = one.set_params(param_grid={"reg": [0.0]}).fit(X, y)
    assert fitted.best_params_ == {"reg": 0.0}
    # Another estimator does not use the runs that were trained for the search.
    same_net(quick(reg=0.0).fit(X, y).net_, fitted.best_estimator_.net_)


# With sweeps and scikit-learn's other tools


def test_with_small_batches_the_scores_equal_those_of_a_sweep():
    X, y = problem(90)
    folds = list(ShuffleSplit(3, test_size=0.4, random_state=0).split(X))
    grid = {"dropout": [0.0, 0.3], "learning_rate_init": [0.01, 0.1]}
    model = quick(batch_size=16, n_iter_no_change=math.inf, reg=0.01, random_state=8)
    found = TwoLayerSearchCV(model, grid, cv=folds, refit=False, return_train_score=True).fit(X, y)
    same = {"n_hidden": [7], "batch_size": [16], "reg": [0.01]}
    rates = {"dropout": grid["dropout"], "learning_rate": grid["learning_rate_init"]}
    how = dict(optimizer=optimizers.Adam(), schedule=schedules.Cosine(), epochs=5, dtype="float64", rng=8)
    result = sweep(X, y, folds=folds, refit=None, grid=rates | same, **how)
    assert len(result.runs) == 12
    for row in result.runs:
        candidate = {"dropout": row["dropout"], "learning_rate_init": row["learning_rate"]}
        k = found.cv_results_["params"].index(candidate)
        for ours, theirs in (("test", "validation"), ("train", "train")):
            score = found.cv_results_[f"split{row['fold']}_{ours}_score"][k]
            assert score == pytest.approx(row[f"{theirs}_accuracy"])


def test_with_small_batches_the_means_over_seeds_agree():
    X, y = problem(120, seed=3)
    X = X + np.random.default_rng(4).normal(0, 1.5, X.shape)
    # After so few steps, scores depend on the number of steps and on the samples of each step.
    grid = [
        {"solver": ["sgd"], "learning_rate_init": [0.02], "learning_rate": ["constant"]},
        {"solver": ["adam"], "learning_rate_init": [0.05], "dropout": [0.4]},
    ]
    scoring = ["accuracy", "neg_log_loss"]
    differences = []  # paired by seed, because differences vary less than scores
    for seed in range(20):
        model = quick(batch_size=16, max_iter=4, random_state=seed)
        pair = both(model, X, y, grid, cv=3, scoring=scoring, refit=False)
        scores = [[one.cv_results_[f"mean_test_{name}"] for name in scoring] for one in pair]
        differences.append(np.subtract(*scores))
    mean, error = np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / math.sqrt(20)
    assert (np.abs(mean) > 1e-12).all()  # the batches differ
    assert (np.abs(mean) < 3.5 * error).all(), (mean / error).round(2)


def test_without_a_seed_all_candidates_share_a_random_seed(trainings):
    X, y = problem(90)
    grid = {"reg": [0.0, 0.0], "early_stopping": [False, True]}
    options = dict(cv=3, scoring="neg_log_loss", refit=False)
    first, second = (TwoLayerSearchCV(quick(random_state=None), grid, **options).fit(X, y) for _ in range(2))
    scores = first.cv_results_["mean_test_score"]
    assert scores[0] == pytest.approx(scores[1])
    assert scores[2] == pytest.approx(scores[3])
    assert np.abs(scores - second.cv_results_["mean_test_score"]).min() > 1e-6
    assert trainings == ([], [6] * 4)


def test_a_search_works_in_a_pipeline_and_in_cross_validation():
    X, y = problem(90)
    X = 7 + 3 * X
    pair = [
        make_pipeline(StandardScaler(), one(quick(), SMALL, cv=3)) for one in (TwoLayerSearchCV, GridSearchCV)
    ]
    found, expected = (one.fit(X, NAMES[y]) for one in pair)
    assert_same(found[-1], expected[-1], StandardScaler().fit_transform(X))
    assert_array_equal(found.predict(X), expected.predict(X))
    scores = [cross_val_score(one, X, NAMES[y], cv=3, scoring="neg_log_loss") for one in pair]
    assert_allclose(*scores, rtol=1e-7)
    outer = dict(param_grid={"estimator__max_iter": [2, 8]}, cv=2, scoring="neg_log_loss")
    nested = [
        GridSearchCV(one(quick(), SMALL, cv=3), **outer).fit(X, y) for one in (TwoLayerSearchCV, GridSearchCV)
    ]
    scores = [one.cv_results_["mean_test_score"] for one in nested]
    assert_allclose(*scores, rtol=1e-7)
    assert scores[0][0] != scores[0][1]


def test_clones_and_pickles_keep_the_parameters_of_a_search():
    X, y = problem(90)
    model = TwoLayerSearchCV(quick(), GRID, cv=3, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss")
    assert model.get_params()["estimator__reg"] == 3e-3
    model.set_params(estimator__max_iter=3, error_score="raise", n_iter=4).fit(X, y)
    assert model.best_estimator_.n_iter_ == 3
    copy = clone(model)
    assert not hasattr(copy, "cv_results_")
    assert copy.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert (copy.param_grid, copy.cv, copy.refit, copy.n_iter) == (GRID, 3, "neg_log_loss", 4)
    assert_same(copy.fit(X, y), model, X)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert_same(again, model, X, rtol=0)
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    again.fit(X, y)
    assert_same(again, model, X)
    assert "_given" not in vars(model)


def test_feature_names_are_stored_and_checked():
    pandas = pytest.importorskip("pandas", reason="feature names come from the columns of pandas")
    X, y = problem(90)
    frame = pandas.DataFrame(X, columns=list("abcde"), index=np.arange(90)[::-1] + 7)
    labels, weights = pandas.Series(NAMES[y], index=frame.index), pandas.Series(WEIGHTS)
    found, expected = both(quick(), frame, labels, cv=3, fit={"sample_weight": weights})
    assert_same(found, expected, frame)
    assert_array_equal(found.feature_names_in_, list("abcde"))
    assert found.n_features_in_ == 5
    plain = TwoLayerSearchCV(quick(), GRID, cv=3).fit(X.tolist(), NAMES[y].tolist(), sample_weight=WEIGHTS)
    assert_array_equal(plain.predict_proba(X), found.predict_proba(frame))
    with refusal("ValueError: …feature names should match…"):
        found.predict(frame[list("edcba")])


def test_validation_samples_that_are_given_are_used():
    X, y = problem(90)
    fit = {"X_val": X[::3], "y_val": y[::3]}
    found, expected = both(quick(early_stopping=True), X, y, SMALL, cv=3, scoring="neg_log_loss", fit=fit)
    assert_same(found, expected, X)


@pytest.mark.parametrize("scored", [False, True])
def test_metadata_routing_passes_weights_and_groups(scored):
    X, y = problem(90)
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=scored)
        found, expected = both(model, X, y, SMALL, cv=3, fit={"sample_weight": WEIGHTS})
        assert_same(found, expected, X)
        groups = both(model, X, y, SMALL, cv=GroupKFold(3), fit={"sample_weight": WEIGHTS, "groups": GROUPS})
        assert_same(*groups, X)
        for one in (TwoLayerSearchCV, GridSearchCV):  # a weight that was not requested is an error
            with pytest.raises(ValueError, match=r"\[sample_weight\] are passed but are not explicitly set"):
                one(quick(), SMALL, cv=3).fit(X, y, sample_weight=WEIGHTS)
    plain = TwoLayerSearchCV(quick(), SMALL, cv=3).fit(X, y, sample_weight=WEIGHTS)
    assert_allclose(plain.predict_proba(X), found.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("workers", ["threading", "loky"])
def test_joblib_workers_give_the_same_results(workers, trainings):
    X, y = problem(90)
    plain = TwoLayerSearchCV(quick(), SMALL, cv=3, scoring="neg_log_loss").fit(X, y)
    with joblib.parallel_config(backend=workers, n_jobs=2):
        other = TwoLayerSearchCV(quick(), SMALL, cv=3, scoring="neg_log_loss").fit(X, y)
    assert_same(other, plain, X, rtol=0)
    assert trainings[1] == [6, 6]
    assert len(trainings[0]) == 2
    with joblib.parallel_config(backend="threading", n_jobs=2):
        one = TwoLayerSearchCV(quick(), SMALL, cv=2)
        scores = cross_val_score(one, X, y, cv=4, scoring="neg_log_loss", n_jobs=2)
    assert_allclose(scores, cross_val_score(one, X, y, cv=4, scoring="neg_log_loss"), rtol=1e-9)


def test_samples_stay_in_their_library(library, libraries):
    X, y = problem(90)
    plain = TwoLayerSearchCV(quick(), GRID, cv=3).fit(X, y, sample_weight=WEIGHTS)
    placed, labels, weights = (place(array, library) for array in (X, y, WEIGHTS))
    with sklearn.config_context(array_api_dispatch=True):
        found = TwoLayerSearchCV(quick(), GRID, cv=3).fit(placed, labels, sample_weight=weights)
        for array in (*found.best_estimator_.net_, found.predict(placed)):
            assert array_namespace(array) is array_namespace(placed)
            assert device(array) == device(placed)
        assert_allclose(to_host(found.predict_proba(placed)), plain.predict_proba(X), rtol=1e-7, atol=1e-9)
    assert found.best_params_ == plain.best_params_
    for name, values in plain.cv_results_.items():
        if "score" in name and "time" not in name:
            assert_allclose(found.cv_results_[name], values, atol=1e-7, err_msg=name)
