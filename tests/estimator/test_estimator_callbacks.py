"""The callbacks of scikit-learn 1.9 on the estimator and on its search."""

from __future__ import annotations

import importlib
import math
import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.refusals import refusal

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.estimators import problem, quick, same_net

import twolayer
from twolayer.sklearn import TwoLayerClassifier, TwoLayerSearchCV
from twolayer.training.trainer import Trainer


@pytest.fixture
def callback():
    return pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """A callback that records the calls of its hooks as tuples (hook, estimator, context, more)."""

    def __init__(self):
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append(("setup", estimator, context, {}))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.calls.append(("begin", estimator, context, dict(X=X, y=y, metadata=metadata)))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        more = dict(X=X, y=y, metadata=metadata, fitted=fitted_estimator)
        self.calls.append(("end", estimator, context, more))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", estimator, context, {}))

    def named(self, hook, task=None):
        return [call for call in self.calls if call[0] == hook and task in (None, call[2].task_name)]

    def fitted(self, task):
        return [call[-1]["fitted"] for call in self.named("end", task)]


class Propagated(Recorder):
    """A callback that a search passes on to its estimators."""

    max_propagation_depth = None


class Stop(Recorder):
    """A callback that ends a fit after some epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id + 1 == self.epochs


class StopAll(Stop):
    """The same callback, which a search passes on to its estimators."""

    max_propagation_depth = None


def assert_well_formed(recorder, owner):
    """Assert that the hooks were called as scikit-learn's documentation for developers describes.

    All tasks have the same root. A callback is set up once and torn down once. Each task begins once and
    ends once, while its parent runs.
    """
    roots = [call[2] for call in recorder.calls if call[2].parent is None]
    assert len({root.root_uuid for root in roots}) == len({id(root) for root in roots}) == 1
    (setup,), (teardown,) = recorder.named("setup"), recorder.named("teardown")
    assert (recorder.calls[0], recorder.calls[-1]) == (setup, teardown)
    assert setup[1] is teardown[1] is owner
    begun, ended = [], []
    for hook, estimator, context, _ in recorder.calls[1:-1]:
        assert context.estimator_name == type(estimator).__name__
        if hook == "begin":
            assert id(context) not in {id(one) for one in begun}
            assert not begun or any(context.parent is one for one in begun)
            begun.append(context)
        else:
            assert any(context is one for one in begun)
            assert not any(context is one for one in ended)
            # Parts of a fit that this callback does not see never begin.
            parts = [part for part in context if any(part is one for one in begun) and part is not context]
            assert all(any(part is one for one in ended) for part in parts)
            ended.append(context)
    assert len(begun) == len(ended)


OPTIONS = {
    "usual": {},
    "early stopping": dict(early_stopping=True, validation_fraction=0.3),
    "tol": dict(max_iter=30, tol=0.03, n_iter_no_change=1),
    "one epoch": dict(max_iter=1),
    "batches": dict(batch_size=16, class_weight="balanced"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_epoch_is_a_task(name, callback):
    X, y = problem()
    weights = np.linspace(0.5, 1.5, 60)
    plain = quick(**OPTIONS[name]).fit(X, y, weights)
    recorder = Recorder()
    model = quick(**OPTIONS[name]).set_callbacks(recorder).fit(X, y, weights)
    same_net(model.net_, plain.net_)
    assert_well_formed(recorder, model)
    assert len(recorder.named("begin", "fit")) == 1
    epochs = recorder.named("end", "epoch")
    assert [call[2].task_id for call in epochs] == list(range(plain.n_iter_))
    assert name != "tol" or plain.n_iter_ < 30
    assert epochs[0][2].parent.max_subtasks == model.max_iter
    for hook, estimator, _, more in recorder.calls:
        assert estimator is model
        if hook in ("begin", "end"):
            assert more["X"] is X
            assert more["y"] is y
            assert more["metadata"].keys() == {"sample_weight"}
            assert more["metadata"]["sample_weight"] is weights
    assert recorder.fitted("fit")[0].net_ is model.net_


@pytest.mark.parametrize("name", ["usual", "early stopping", "batches"])
def test_the_estimator_of_an_epoch_equals_that_of_a_shorter_fit(name, callback):
    X, y = problem()
    options = dict(learning_rate="constant", random_state=1) | OPTIONS[name]
    recorder = Recorder()
    model = quick(**options).set_callbacks(recorder).fit(X, y)
    for i, one in enumerate(recorder.fitted("epoch"), start=1):
        shorter = quick(**options | {"max_iter": i}).fit(X, y)
        same_net(one.net_, shorter.net_)
        assert one is not model
        for attribute in ("n_iter_", "loss_", "loss_curve_", "validation_scores_", "best_validation_score_"):
            assert getattr(one, attribute) == getattr(shorter, attribute), attribute
        for part, like in zip(one.history_, shorter.history_, strict=True):
            assert_array_equal(part, like)
        assert one.score(X, y) == shorter.score(X, y)
    assert i == 5


def test_warm_starts_and_partial_fits_have_tasks_too(callback):
    X, y = problem()
    recorder = Recorder()
    model = quick(warm_start=True).fit(X, y).set_callbacks(recorder).fit(X, y)
    assert_well_formed(recorder, model)
    assert [one.n_iter_ for one in recorder.fitted("epoch")] == [6, 7, 8, 9, 10]
    for n in (1, 2):
        recorder = Recorder()
        model = (quick() if n == 1 else model).set_callbacks(recorder)
        model.partial_fit(X, y, classes=[0, 1, 2])
        assert_well_formed(recorder, model)
        (one,) = recorder.fitted("epoch")
        assert one.n_iter_ == model.n_iter_ == n
        same_net(one.net_, model.net_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_can_end_a_fit(early_stopping, callback):
    X, y = problem()
    options = dict(learning_rate="constant", early_stopping=early_stopping)
    stopped = quick(**options).set_callbacks(Stop(2)).fit(X, y)
    assert stopped.n_iter_ == 2
    same_net(stopped.net_, quick(max_iter=2, **options).fit(X, y).net_)


def test_callbacks_of_a_fit_that_fails_are_torn_down(callback):
    X, y = problem()
    recorder = Recorder()
    model = quick(solver="sgd", learning_rate="constant", learning_rate_init=1e200, max_iter=60)
    with refusal("ValueError: `learning_rate_init` must be low enough…"):
        model.set_callbacks(recorder).fit(X, y)
    assert len(recorder.named("setup")) == len(recorder.named("teardown")) == 1
    # A diverged network cannot predict, so no callback receives it.
    assert [call[2].task_name for call in recorder.named("begin")] == ["fit", "epoch"]
    assert recorder.named("end") == []
    recorder.calls.clear()
    with refusal("ValueError: `y` must hold at least two classes…"):
        quick().set_callbacks(recorder).fit(X, np.zeros(60))
    assert [call[0] for call in recorder.calls] == ["setup", "begin", "teardown"]
    recorder.calls.clear()
    with refusal("ValueError: `reg` …"):
        quick(reg=-1.0).set_callbacks(recorder).fit(X, y)
    assert recorder.calls == []


def test_a_callback_without_fitted_estimator_causes_no_copy(callback, monkeypatch):
    X, y = problem()
    results, histories, parts = [], [], []
    result, history = Trainer.result, Trainer.history
    monkeypatch.setattr(Trainer, "result", lambda self, **how: results.append(how) or result(self, **how))
    monkeypatch.setattr(Trainer, "history", lambda self: histories.append(1) or history(self))
    context, subcontext = callback.CallbackContext, callback.CallbackContext.subcontext
    monkeypatch.setattr(
        context, "subcontext", lambda self, **how: parts.append(how) or subcontext(self, **how)
    )
    for n, callbacks in ((0, []), (0, [Stop(math.inf)]), (5, [Recorder()])):
        results.clear(), histories.clear(), parts.clear()
        quick().set_callbacks(*callbacks).fit(X, y)
        assert results == [{"measured": False}] * n + [{}]
        assert len(histories) == 5
        assert len(parts) == (5 if callbacks else 0)


def test_clones_keep_callbacks_and_fits_without_them_can_be_pickled(callback):
    X, y = problem()
    recorder = Recorder()
    model = quick().set_callbacks(recorder)
    assert clone(model).fit(X, y).n_iter_ == 5
    assert_well_formed(recorder, recorder.calls[0][1])
    model.set_callbacks().fit(X, y)
    assert not [name for name in vars(model) if "callback" in name]
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    for part, like in zip(again.history_, model.history_, strict=True):
        assert_array_equal(part, like)


def searches(**options):
    return [
        one(quick(learning_rate="constant"), {"reg": [0.0, 0.1]}, cv=3, **options)
        for one in (GridSearchCV, TwoLayerSearchCV)
    ]


@pytest.mark.parametrize("refit", [False, True])
def test_callbacks_of_a_search_see_every_fit(refit, callback):
    X, y = problem(90)
    plain, stacked = searches(refit=refit)
    for search in (plain, stacked):
        own, propagated = Recorder(), Propagated()
        search.set_callbacks(own, propagated).fit(X, y)
        for recorder in (own, propagated):
            assert_well_formed(recorder, search)
        fits = [call for call in propagated.calls if isinstance(call[1], TwoLayerClassifier)]
        ends = [call for call in fits if call[0] == "end" and call[2].task_name == "fit"]
        assert len(ends) == 6 + refit
        for *_, more in ends:
            assert more["fitted"].score(more["X"], more["y"]) >= 0
        epochs = [call for call in fits if call[0] == "end" and call[2].task_name == "epoch"]
        assert len(epochs) == 5 * ((6 if search is plain else 0) + refit)
        assert not any(isinstance(call[1], TwoLayerClassifier) for call in own.calls)
        found = search.cv_results_["mean_test_score"]
        assert_array_equal(found, search.set_callbacks().fit(X, y).cv_results_["mean_test_score"])
    epochs = [call for call in own.named("end", "epoch") if call[1] is stacked]
    assert [call[2].task_id for call in epochs] == list(range(5))  # of the single stack of all fits
    assert epochs[0][2].parent.max_subtasks == 5


def test_callbacks_of_the_estimator_see_every_epoch_of_a_search(callback):
    X, y = problem(90)
    plain, stacked = searches(refit=False)
    for search in (plain, stacked):
        recorder = Recorder()
        search.estimator.set_callbacks(recorder)
        search.fit(X, y)
        assert len(recorder.named("setup")) == len(recorder.named("teardown")) == 6
        assert len(recorder.fitted("epoch")) == 30
        search.estimator.set_callbacks(Stop(2))
        search.fit(X, y)
    assert_array_equal(stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    with refusal("TypeError: …can't have auto-propagated callbacks…"):
        stacked.set_params(error_score="raise", estimator=quick().set_callbacks(Propagated())).fit(X, y)


def test_a_callback_can_end_the_stacks_of_a_search(callback):
    X, y = problem(90)
    plain, stacked = searches()
    for search in (plain, stacked):
        search.set_callbacks(StopAll(2)).fit(X, y)
        assert search.best_estimator_.n_iter_ == 2
    assert_array_equal(stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])


def test_progress_bars_show_fits_stacks_and_epochs(callback, capsys, monkeypatch):
    pytest.importorskip("rich", reason="scikit-learn's progress bars need rich")
    monkeypatch.setenv("COLUMNS", "200")
    X, y = problem()
    tasks = []

    class Bar(callback.ProgressBar):
        def on_fit_task_end(self, estimator, context):
            tasks.append(context.task_name)
            super().on_fit_task_end(estimator, context)

    options = quick(), {"reg": [0.0, 0.1]}
    for model, n_fits, n_epochs, n_stacks in (
        (quick(), 1, 5, 0),
        (make_pipeline(StandardScaler(), quick()), 1, 5, 0),
        (GridSearchCV(*options, cv=2), 4 + 1, 5 * (4 + 1), 0),
        (TwoLayerSearchCV(*options, cv=2), 4 + 1, 5 * (1 + 1), 1),
    ):
        tasks.clear()
        model.set_callbacks(Bar()).fit(X, y)
        printed = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
        assert sum("TwoLayerClassifier - fit" in line for line in printed) == n_fits
        assert sum("TwoLayerSearchCV - stack" in line for line in printed) == n_stacks
        assert tasks.count("epoch") == n_epochs


def test_the_scoring_monitor_logs_every_epoch(callback):
    X, y = problem()
    weights = np.linspace(0.5, 1.5, 60)
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = quick().set_callbacks(monitor).fit(X, y, weights)
    *_, last = rows = monitor.get_logs().data
    assert [row["task_name"] for row in rows] == ["fit"] + ["epoch"] * 5
    assert last["accuracy"] == rows[0]["accuracy"] == model.score(X, y, weights)
    assert len({row["neg_log_loss"] for row in rows[1:]}) == 5


def test_the_estimator_works_without_scikit_learns_callbacks(monkeypatch):
    X, y = problem(90)
    names = [
        name for name in sys.modules if f"{name}.".startswith(("sklearn.callback.", "twolayer.sklearn."))
    ]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    monkeypatch.setattr(twolayer, "sklearn", None)  # so that monkeypatch restores the attribute
    older = importlib.import_module("twolayer.sklearn")
    assert not hasattr(older.TwoLayerClassifier(), "set_callbacks")
    model = older.TwoLayerClassifier(7, max_iter=5, random_state=0).fit(X, y)
    same_net(model.net_, quick().fit(X, y).net_)
