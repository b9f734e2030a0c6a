"""Cross-validation in sweep(): the training of each fold, the winner, and drawn folds."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.folds import FLIPS, OF_ROWS, OF_TRAIN, PAIRS, TASK, N, alone, assert_each_alone, folded
from support.small_runs import (
    Task,
    Watcher,
    assert_same_history,
    assert_same_net,
    few,
    make_task,
    stopping,
)
from support.sweeps import BASE, assert_equal_rows

from twolayer import SweepResult, sweep
from twolayer.augmentation import Chain, Mixup
from twolayer.optimizers import SGD, Adam
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.sweeping.folds import folds_of

pytestmark = pytest.mark.once_on_jax

# ---------------------------------------------------------------------------------------------------------
# The training of each fold on its own rows


@st.composite
def any_folds(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two to four pairs of row arrays; some rows may be in neither array of a pair."""
    pairs = []
    for seed in draw(st.lists(st.integers(0, 2**16), min_size=2, max_size=4)):
        order = np.random.default_rng(seed).permutation(N)
        n_trained = draw(st.integers(1, N - 1))
        n_held_out = draw(st.integers(1, N - n_trained))
        pairs.append((order[:n_trained], order[n_trained : n_trained + n_held_out]))
    return pairs


any_settings = st.fixed_dictionaries(
    {
        "sample_weight": st.sampled_from([None, np.arange(N) % 4 * 0.5 + 0.25]),
        "class_weight": st.sampled_from([None, "balanced", [0.5, 1.0, 4.0]]),
        "optimizer": st.sampled_from([SGD(), SGD(0.9, nesterov=True), Adam(eps=1e-3)]),
        "ema_decay": st.sampled_from([None, 0.7]),
        "patience": st.none() | st.integers(1, 2),
        "monitor": st.sampled_from(["accuracy", "loss"]),
        "judge": st.sampled_from(["best", "last"]),
    }
)
CANDIDATES = [
    {"learning_rate": 0.05, "reg": 0.02, "label_smoothing": 0.1},
    {"learning_rate": 0.3, "weight_scale": 0.5},
]


def test_a_fold_at_full_batch_equals_training_on_its_rows_alone(backend: Backend):
    @few(backend, 24)
    @given(
        folds=any_folds(),
        how=any_settings,
        soft=st.booleans(),
        seeds=st.sampled_from([[0], [3, 5]]),
        max_networks=st.sampled_from([None, 1, 3]),
    )
    def check(folds: Any, how: Any, soft: Any, seeds: Any, max_networks: Any) -> None:
        if backend.dtype == "float32":  # rounding may change one prediction, and so the whole run
            how |= {"patience": None, "judge": "last"}
        task = make_task(n_samples=N, noise=2.0, soft=soft)
        grid = [one | {"n_hidden": 4, "batch_size": N, "seed": s} for one in CANDIDATES for s in seeds]
        how |= {"epochs": 4}
        result = folded(task, folds, backend, grid=grid, max_networks=max_networks, refit=None, **how)
        for (own, others), found in zip(folds, result.folds, strict=True):
            np.testing.assert_array_equal(found[0], np.sort(own))
            np.testing.assert_array_equal(found[1], np.sort(others))
        assert_each_alone(result, task, backend, **how)

    check()


def test_folds_in_minibatches_do_as_well_as_trained_alone():
    """The folds' batches differ from those of their rows alone, so only means agree."""
    task = make_task(n_samples=60, n_features=6, noise=1.0, seed=3)
    grid = {"n_hidden": [6], "batch_size": [5], "learning_rate": [0.03], "seed": list(range(20))}
    result = folded(task, 2, grid=grid, epochs=6, refit=None)
    runs = [alone(task, result.folds[row["fold"]], row, epochs=6) for row in result.runs]
    assert 0.7 < result.table[0]["validation_accuracy"] < 0.9
    for name in ("validation_accuracy", "validation_loss", "train_accuracy"):
        together = [getattr(history, name)[-1] for history in result.histories]
        apart = [getattr(run.history, name)[-1] for run in runs]
        difference = np.reshape(np.subtract(together, apart), (20, 2)).mean(axis=1)
        assert abs(difference.mean()) < 3.5 * difference.std(ddof=1) / math.sqrt(20), name
        assert difference.std() > 0


def test_a_batch_has_batch_size_rows_of_each_fold_on_average():
    seen = Watcher()
    result = folded(TASK, PAIRS, callbacks=[seen], epochs=40, refit=None)
    # 16, 9 and 4 of 24 rows are trained on: 5 · 24 / (29 / 3), rounded up, is 13 rows, and 2 steps an epoch.
    assert [history.loss.size for history in result.histories] == [80] * 3
    assert seen.seen[0].steps == 80
    for history, (own, _) in zip(result.histories, result.folds, strict=True):
        right = history.train_accuracy * len(own)  # each own row comes once an epoch
        np.testing.assert_allclose(right, np.rint(right), atol=1e-9)


# ---------------------------------------------------------------------------------------------------------
# Preprocessing that is fitted to each fold's own rows


def halved(X: Any) -> Standardizer:
    return Standardizer(to_host(X).mean(axis=0), np.full(X.shape[1], 2.0))


def by_feature(X: Any) -> Standardizer:
    return Standardizer.fit(X, scale="feature")


FITS = {
    "standardize": ("standardize", by_feature),
    "class": (Whitener, Whitener.fit),
    "function": (halved, halved),
}
AUGMENTED = {
    "plain": ({}, {}),
    "augmented": ({"augmentation": FLIPS}, {}),
    "mixed": ({"augmentation": Chain(FLIPS, Mixup(0.5))}, {}),
    "by-the-grid": ({}, {"augmentation": [FLIPS, None]}),
}


def check_unfitted(kind: str, augmented: str, backend: Backend | None = None) -> None:
    """Assert that each fold's preprocessing is fitted to its own rows, and the winner's to all rows."""
    (unfitted, fit), (common, varied) = FITS[kind], AUGMENTED[augmented]
    task = TASK._replace(X=TASK.X * np.array([0.5, 1.0, 2.0, 4.0]) + np.array([3.0, -5.0, 0.0, 2.0]))
    how = common | {"sample_weight": np.arange(N) % 3 + 0.5, "class_weight": "balanced", "epochs": 2}
    grid = {"learning_rate": [0.02, 0.1], "n_hidden": [4], "batch_size": [5], **varied}
    result = folded(task, 3, backend, grid=grid, preprocessing=unfitted, **how)
    assert_each_alone(result, task, backend, preprocessing=fit, **how)
    expected = fit(task.X if backend is None else backend.array(task.X))
    assert type(result.best.preprocessing) is type(expected)
    for one, other in zip(result.best.preprocessing.host_arrays(), expected.host_arrays(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("augmented", AUGMENTED)
@pytest.mark.parametrize("kind", FITS)
def test_an_unfitted_preprocessing_is_fitted_to_each_folds_rows(kind, augmented):
    check_unfitted(kind, augmented)


@pytest.mark.parametrize("augmented", ["plain", "augmented"])
def test_an_unfitted_preprocessing_is_fitted_on_every_library(backend: Backend, augmented):
    check_unfitted("standardize", augmented, backend)


@pytest.mark.parametrize("augmented", ["plain", "by-the-grid"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", FITS)
def test_with_validation_samples_the_preprocessing_is_fitted_to_the_training_samples(kind, augmented, stream):
    (unfitted, fit), (how, varied) = FITS[kind], AUGMENTED[augmented]
    grid = {"learning_rate": [0.02, 0.1], "n_hidden": [4], "batch_size": [5], **varied}
    how = how | {"judge": "best", "stream": stream}
    arguments = {**BASE, "grid": grid, "preprocessing": unfitted, **how}
    result = sweep(TASK.X, TASK.y, validation=TASK.validation, **arguments)
    assert result.folds is None
    whole = Task(TASK.net, np.r_[TASK.X, TASK.X_val], np.r_[TASK.y, TASK.y_val], None, None)
    rows = np.arange(N), np.arange(N, N + 11)
    for row, history in zip(result.runs, result.histories, strict=True):
        run = alone(whole, rows, row, preprocessing=fit, **how)
        assert_same_history(history, run.history, rtol=1e-9)
        if row is result.best.row:
            assert_same_net(result.best.net, run.net, rtol=1e-9)
    expected = fit(TASK.X)
    if expected is not None:
        for one, other in zip(result.best.preprocessing, expected, strict=True):
            np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------------------------------------------
# The winner


def given_and_fit(kind: str) -> tuple[Any, Any]:
    """The preprocessing for a sweep, and that for `alone`, which may be a function that fits it."""
    scaling = by_feature(TASK.X)
    kinds = {"none": (None, None), "unfitted": ("standardize", by_feature), "fitted": (scaling, scaling)}
    return kinds[kind]


PREPROCESSINGS = ["none", "unfitted", "fitted"]


@pytest.mark.filterwarnings("ignore:`preprocessing` was fitted before:UserWarning")
@pytest.mark.parametrize("kind", PREPROCESSINGS)
def test_the_winner_is_trained_on_all_samples(backend: Backend, kind):
    preprocessing, fit = given_and_fit(kind)
    grid = {"learning_rate": [0.003, 0.05], "n_hidden": [4], "batch_size": [5], "seed": [4, 6]}
    how = {"class_weight": "balanced", "epochs": 6, "sample_weight": np.arange(N) % 3 + 0.5}
    result = folded(TASK, 3, backend, grid=grid, preprocessing=preprocessing, patience=2, **how)
    best, rtol = result.best, 1e-9 if backend.dtype == "float64" else 5e-3
    assert result.complete
    assert set(best.settings) == {*OF_TRAIN, "n_hidden", "weight_scale", "seed"}
    pairs = zip(result.runs, result.histories, strict=True)
    lengths = [len(h.step) for row, h in pairs if best.settings.items() <= row.items()]
    n_epochs = round(np.mean(lengths))  # `patience` ends the folds after different numbers of epochs
    assert len(lengths) == 3
    assert 1 < n_epochs < 6

    def stop(progress: Any) -> None:
        if progress.epoch_ended and progress.epoch == n_epochs:
            progress.stop()

    everything = np.arange(N), np.arange(0)
    run = alone(TASK, everything, best.settings, backend, preprocessing=fit, callbacks=[stop], **how)
    assert_same_net(best.net, run.net, rtol=rtol)
    np.testing.assert_allclose(best.history.loss, run.history.loss, rtol=rtol)
    np.testing.assert_allclose(
        best.row["train_accuracy"], run.train_accuracy, atol=0.0 if rtol < 1e-6 else 0.1
    )
    assert best.row["validation_accuracy"] == best.candidate["validation_accuracy"]
    assert all(backend.owns(array) for array in best.net)
    if kind == "none":
        assert best.preprocessing is None
    else:
        for one, other in zip(best.preprocessing.host_arrays(), run.preprocessing.host_arrays(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:`preprocessing` was fitted before:UserWarning")
@pytest.mark.parametrize("kind", PREPROCESSINGS)
def test_the_networks_of_the_winners_folds_are_merged(backend: Backend, kind):
    preprocessing, fit = given_and_fit(kind)
    grid = {"learning_rate": [0.1, 0.003], "n_hidden": [4], "batch_size": [N], "seed": [4, 6]}
    result = folded(TASK, PAIRS, backend, grid=grid, preprocessing=preprocessing, refit="merge")
    best, X, logits = result.best, backend.array(TASK.X), []
    for rows in result.folds:
        run = alone(TASK, rows, best.settings, backend, preprocessing=fit)
        net = run.net if run.preprocessing is None else run.preprocessing.fold(run.net)
        logits.append(to_host(net.logits(X)))
    assert result.complete
    assert best.history is None
    assert best.preprocessing is None
    assert all(backend.owns(array) for array in best.net)
    tolerance = 1e-9 if backend.dtype == "float64" else 5e-3
    np.testing.assert_allclose(to_host(best.net.logits(X)), np.mean(logits, axis=0), atol=tolerance)


def test_the_winner_is_the_best_seed_of_the_best_candidate():
    grid = {"learning_rate": [0.003, 0.05, 0.2], "n_hidden": [4], "batch_size": [5], "seed": [4, 6, 7]}
    result = folded(TASK, PAIRS, grid=grid, refit=None)
    best, means = result.best, {}
    for row in result.runs:
        means.setdefault((row["learning_rate"], row["seed"]), []).append(row)
    for row in result.table:
        own = [r for r in result.runs if r["learning_rate"] == row["learning_rate"]]
        assert (row["n_seeds"], row["n_folds"], row["diverged"], len(own)) == (3, 3, 0, 9)
        accuracies = [r["validation_accuracy"] for r in own]
        assert row["validation_accuracy"] == pytest.approx(np.mean(accuracies), rel=1e-12)
        assert row["validation_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1), rel=1e-12)
    assert best.candidate is max(result.table, key=lambda row: row["validation_accuracy"])
    rate = best.candidate["learning_rate"]
    scores = {seed: np.mean([r["validation_accuracy"] for r in means[rate, seed]]) for seed in (4, 6, 7)}
    assert best.settings == {key: means[rate, max(scores, key=scores.get)][0][key] for key in best.settings}
    own = means[rate, best.settings["seed"]]
    assert [row["fold"] for row in own] == [0, 1, 2]
    for name in OF_ROWS[2:]:
        assert best.row[name] == best.candidate[name]
    assert {key: best.row[key] for key in best.settings} == best.settings
    assert best.net is best.history is best.preprocessing is None
    assert re.search(r", mean of 9 networks 0\.\d{4}, SD 0\.\d{4}\)$", repr(best))


@pytest.mark.parametrize("preprocessing", [None, "standardize"])
def test_progress_counts_the_stacks_of_folds_and_the_refit(preprocessing):
    grid = {"learning_rate": [0.05, 0.1], "n_hidden": [3, 4], "batch_size": [N]}
    for refit, extra in (("all", 1), ("merge", 0), (None, 0)):
        seen, n_stacks = Watcher(), 2 if preprocessing is None else 2 * 3
        folded(TASK, 3, grid=grid, callbacks=[seen], refit=refit, preprocessing=preprocessing, epochs=2)
        stages = [progress.stage for progress in seen.seen]
        assert stages == [i for i in range(1, n_stacks + extra + 1) for _ in range(4)]
        assert {progress.stages for progress in seen.seen} == {n_stacks + extra}


@pytest.mark.parametrize("refit", ["all", "merge", None])
def test_a_sweep_that_is_stopped_before_its_end_has_no_network(refit):
    def stopped(stage: int, step: int, *, epoch_ended: bool) -> tuple[SweepResult, int]:
        at = stopping(step, epoch_ended)
        seen = Watcher(lambda progress: progress.stage == stage and at.stop(progress))
        grid = {"n_hidden": [4], "batch_size": [N], "seed": [0, 1]}
        return folded(TASK, 3, grid=grid, callbacks=[seen], refit=refit), len(seen.seen)

    result, n_calls = stopped(2, 2, epoch_ended=True)
    assert (result.complete, result.best.net, n_calls) == (False, None, 10)
    result, n_calls = stopped(2, 3, epoch_ended=True)  # at the last step of the last fold
    assert (result.complete, result.best.net is None, n_calls) == (refit != "all", refit != "merge", 12)
    assert len(result.runs) == 6
    if refit == "all":
        result, n_calls = stopped(3, 2, epoch_ended=False)
        assert (result.complete, result.best.net, n_calls) == (False, None, 16)
        result, n_calls = stopped(3, 3, epoch_ended=True)
        assert result.complete
        assert_same_net(result.best.net, stopped(4, 1, epoch_ended=True)[0].best.net)


def test_a_stopped_sweep_counts_the_folds_that_were_trained():
    def until(stage: int, rate: float, **how: Any) -> SweepResult:
        stop = Watcher(lambda progress: progress.stage == stage and progress.epoch_ended and progress.stop())
        grid = {"n_hidden": [4], "batch_size": [N], "learning_rate": [rate], "seed": [0, 1]}
        return folded(TASK, 3, grid=grid, callbacks=[stop], preprocessing="standardize", **how)

    for how in ({}, {"halving": 2}):
        lost = until(1, 1e250, **how)
        assert (lost.complete, lost.best) == (False, None)
        (row,) = lost.table
        assert row["diverged"] == row["n_networks"] == len(lost.runs)
    some = until(3, 0.1)  # both seeds of the first fold are finished
    (row,) = some.table
    assert (row["n_seeds"], row["n_folds"], row["n_networks"]) == (2, 1, 2)
    n_judged, p = len(some.folds[0][1]), row["validation_accuracy"]
    np.testing.assert_allclose(row["validation_accuracy_error"], np.sqrt(p * (1 - p) / n_judged))
    assert "of 2 networks" in repr(some.best)


# ---------------------------------------------------------------------------------------------------------
# Drawn folds


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(lambda counts: sum(counts) > 1),
    seed=st.integers(0, 2**32),
    soft=st.booleans(),
    data=st.data(),
)
def test_drawn_folds_are_stratified(counts, seed, soft, data):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n_folds = data.draw(st.integers(2, len(y)))
    folds = folds_of(n_folds, np.eye(len(counts))[y] * 0.5 + 0.1 if soft else y, seed)
    assert len(folds.trained) == len(folds.held_out) == n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate(folds.held_out)), np.arange(len(y)))
    for own, others in zip(folds.trained, folds.held_out, strict=True):
        np.testing.assert_array_equal(np.sort(np.r_[own, others]), np.arange(len(y)))
        for rows in (own, others):
            assert (np.diff(rows) > 0).all()
    each = np.array([np.bincount(y[rows], minlength=len(counts)) for rows in folds.held_out])
    assert (np.ptp(each, axis=0) <= 1).all()
    assert np.ptp(each.sum(axis=1)) <= 1


def test_folds_are_drawn_from_the_sweeps_seed():
    def held_out(**changes: Any) -> list[list[int]]:
        return [rows.tolist() for _, rows in folded(TASK, 4, refit=None, epochs=1, **changes).folds]

    assert held_out(rng=1) == held_out(rng=1, grid={"n_hidden": [3], "seed": [5]}, preprocessing=Whitener)
    assert held_out(rng=1) != held_out(rng=2)
    assert held_out() == [rows.tolist() for rows in folds_of(4, TASK.y, 0).held_out]


# ---------------------------------------------------------------------------------------------------------
# Differences between candidates


def test_differences_have_the_error_of_nadeau_and_bengio():
    one = {"n_hidden": 4, "batch_size": 5}
    candidates = [{"learning_rate": 0.1}, {"learning_rate": 0.1, "reg": 1e-13}, {"learning_rate": 0.002}]
    grid = [{**one, **own, "seed": seed} for own in candidates for seed in (0, 1, 5)]
    result = folded(TASK, PAIRS, grid=grid, refit=None)
    scores = np.array([row["validation_accuracy"] for row in result.runs]).reshape(3, 9)
    order = [(row["seed"], row["fold"]) for row in result.runs]
    assert order == [(seed, fold) for seed in (0, 1, 5) for fold in range(3)] * 3
    best = result.table.index(result.best.candidate)
    assert best == 0
    # 8, 14 and 2 rows are held out, and 16, 9 and 4 trained on; an accuracy over 8 rows has steps of 1 / 8.
    factor, grain = math.sqrt(1 / 9 + 24 / 29), 1 / (8 * math.sqrt(12))
    for row, own in zip(result.table, scores, strict=True):
        difference = own - scores[best]
        error = 0.0 if row is result.best.candidate else factor * max(difference.std(ddof=1), grain)
        margin = 2.306004 * error  # Student's t for 8 degrees of freedom
        assert row["n_pairs"] == 9
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-12)
        assert row["difference_error"] == pytest.approx(error, rel=1e-9)
        assert row["difference_margin"] == pytest.approx(margin, rel=1e-6)
        assert row["within_noise"] is bool(difference.mean() >= -margin)
        p = row["validation_accuracy"]  # of 21 different rows
        assert row["validation_accuracy_error"] == pytest.approx(math.sqrt(p * (1 - p) / 21), rel=1e-12)
    assert scores[1].tolist() == scores[0].tolist()  # no spread, so the steps of an accuracy set the error
    assert (scores[2] - scores[0]).std(ddof=1) > grain


# ---------------------------------------------------------------------------------------------------------
# Settings with folds


@pytest.mark.float32_on_jax
def test_streamed_samples_give_the_same_folds(backend: Backend):
    how = {"sample_weight": np.arange(N) % 3 + 0.5, "class_weight": "balanced", "augmentation": FLIPS}
    how |= {"grid": {"n_hidden": [4], "batch_size": [5], "dropout": [0.0, 0.3]}, "dtype": backend.dtype}
    host = TASK._replace(X=TASK.X.astype(backend.dtype))
    where = {"stream": True, "xp": backend.xp, "device": backend.device}
    streamed, inside = folded(host, PAIRS, **how, **where), folded(host, PAIRS, backend, **how)
    rtol = 1e-10 if backend.dtype == "float64" else 1e-3
    for one, other in zip(streamed.histories, inside.histories, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=rtol)
        if backend.dtype == "float64":
            assert_same_history(one, other, rtol=rtol)
    assert_same_net(streamed.best.net, inside.best.net, rtol=10 * rtol)
    assert all(backend.owns(array) for array in streamed.best.net)


def test_folds_train_with_noise_that_can_be_repeated():
    grid = {"dropout": [0.0, 0.5], "input_dropout": [0.0, 0.3], "n_hidden": [4], "batch_size": [5]}
    results = [folded(TASK, 3, grid=grid, augmentation=FLIPS, replacement=True) for _ in range(2)]
    assert_equal_rows(results[0].runs, results[1].runs)
    for one, other in zip(results[0].histories, results[1].histories, strict=True):
        assert_same_history(one, other)
        assert all(np.isfinite(array).all() for array in one)
    assert len({history.loss.tobytes() for history in results[0].histories}) == 12
    assert_same_net(results[0].best.net, results[1].best.net)


def test_a_candidate_that_diverges_leaves_its_stack_without_effect_on_others():
    one = {"n_hidden": [4], "batch_size": [5]}
    for max_networks in (None, 2):
        how = {"max_networks": max_networks, "ema_decay": 0.5, "optimizer": Adam(eps=1e-3)}
        result = folded(TASK, PAIRS, grid=one | {"learning_rate": [0.05, 1e250, 0.2]}, **how)
        without = folded(TASK, PAIRS, grid=one | {"learning_rate": [0.05, 0.2]}, **how)
        assert [row["diverged"] for row in result.table] == [0, 3, 0]
        kept = [i for i in range(9) if not 3 <= i < 6]
        for i, other in zip(kept, range(6), strict=True):
            assert_same_history(result.histories[i], without.histories[other], rtol=1e-9)
            for name in OF_ROWS:
                assert result.runs[i][name] == without.runs[other][name]
        for row in result.runs[3:6]:
            assert row["diverged"] is not None
            assert row["n_steps"] == 2  # of six: it left after the first epoch
            assert math.isnan(row["validation_accuracy"])
        assert_same_net(result.best.net, without.best.net, rtol=1e-9)


def test_a_candidate_with_a_diverged_fold_ranks_after_the_others():
    X = TASK.X.copy()
    X[23] = 1e160  # the first fold trains on this row
    far = TASK._replace(X=X)
    pairs = [PAIRS[0], (np.arange(8, 23), np.arange(8)), (np.arange(4, 20), np.arange(4))]
    one = {"n_hidden": [4], "batch_size": [N]}
    result = folded(far, pairs, grid=one | {"learning_rate": [0.1, 0.0]}, refit="merge", epochs=20)
    assert [row["diverged"] for row in result.table] == [1, 0]
    assert result.table[0]["validation_accuracy"] > result.table[1]["validation_accuracy"]
    assert result.best.settings["learning_rate"] == 0.0
    assert result.table[0]["n_pairs"] == 2
    alive = folded(far, pairs, grid=one | {"learning_rate": [0.1]}, refit="merge", epochs=20)
    assert alive.best.candidate["diverged"] == 1
    assert alive.best.net.W1.shape == (4, 8)  # of the two folds that are left
    left = [row["validation_accuracy"] for row in alive.runs if row["diverged"] is None]
    assert alive.best.row["validation_accuracy"] == np.mean(left)
    assert "of 2 networks" in repr(alive.best)
    lost = folded(far, pairs, grid=one | {"learning_rate": [0.1]}, epochs=20)
    assert lost.complete
    assert lost.best.net is lost.best.history is None
