# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import itertools
import math
import re
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import PLAIN, Task, assert_same_history, assert_same_net, make_task

from twolayer import Progress, SweepResult, TwoLayerNet, schedules, sweep, train
from twolayer._comparison import best_run, compared, winner_of
from twolayer.augmentation import FlipAndShift, Mixup
from twolayer.preprocessing import Standardizer
from twolayer.sweeping import DEFAULTS
from twolayer.training.optimizers import SGD, Adam

pytestmark = pytest.mark.once_on_jax

NAMES = (*DEFAULTS, "seed")
COMMON = ("optimizer", "schedule", "augmentation")
BASE: dict[str, Any] = {**PLAIN, "epochs": 3, "dtype": "float64"}


def swept(task: Task, grid: Any, **changes: Any) -> SweepResult:
    return sweep(task.X, task.y, validation=task.validation, grid=grid, **{**BASE, **changes})


def single(task: Task, settings: dict[str, Any], backend: Backend | None = None, **changes: Any):
    """What `train` gives for a row's settings."""
    arguments = {**BASE, **changes, **{key: settings[key] for key in COMMON if key in settings}}
    dtype = arguments.pop("dtype")
    place = {} if backend is None else {"xp": backend.xp, "device": backend.device}
    net = TwoLayerNet.initialize(
        int(np.prod(task.X.shape[1:])),
        settings["n_hidden"],
        3,
        rng=settings["seed"],
        weight_scale=settings["weight_scale"],
        dtype=dtype,
        **place,
    )
    return train(
        net,
        task.X,
        task.y,
        validation=task.validation,
        learning_rate=settings["learning_rate"],
        reg=settings["reg"],
        dropout=settings["dropout"],
        input_dropout=settings["input_dropout"],
        label_smoothing=settings["label_smoothing"],
        batch_size=settings["batch_size"],
        rng=settings["seed"],
        **arguments,
    )


def assert_equal_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same dicts, nan where nan is."""
    assert [list(row) for row in found] == [list(row) for row in expected]
    for a, b in zip(found, expected, strict=True):
        for key in a:
            both_nan = isinstance(a[key], float) and math.isnan(a[key]) and math.isnan(b[key])
            assert a[key] == b[key] or both_nan, key


# ---------------------------------------------------------------------------------------------------------
# Rows


any_grid = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.lists(
            st.sampled_from([1e-3, 0.05, 0.3, 1e9, 1e30, 1e80]), min_size=1, max_size=3, unique=True
        ),
        "reg": st.lists(st.sampled_from([0.0, 1e-3, 0.5]), min_size=1, max_size=2, unique=True),
        "n_hidden": st.lists(st.sampled_from([1, 3, 4]), min_size=1, max_size=2, unique=True),
        "batch_size": st.lists(st.sampled_from([4, 10, 50]), min_size=1, max_size=2, unique=True),
        "weight_scale": st.lists(st.sampled_from(["he", 0.01, 1.0]), min_size=1, max_size=2, unique=True),
        "dropout": st.lists(st.sampled_from([0.0, 0.3, 0.5]), min_size=1, max_size=2, unique=True),
        "input_dropout": st.lists(st.sampled_from([0.0, 0.2]), min_size=1, max_size=2, unique=True),
        "label_smoothing": st.lists(st.sampled_from([0.0, 0.1]), min_size=1, max_size=2, unique=True),
        "optimizer": st.sampled_from([[SGD(0.5), SGD()], [Adam(eps=1e-3)]]),
        "schedule": st.sampled_from(
            [[schedules.Constant(), schedules.Step(0.5, epochs=1)], [schedules.Warmup()]]
        ),
        "augmentation": st.sampled_from([[None, Mixup(0.5)], [FlipAndShift((2, 2), shift=1)]]),
        "seed": st.lists(st.integers(0, 2**40), min_size=1, max_size=2, unique=True),
    },
)


@hypothesis_settings(max_examples=30)
@given(
    grid=any_grid,
    judge=st.sampled_from(["best", "last"]),
    replacement=st.booleans(),
    weighted=st.booleans(),
    max_networks=st.none() | st.integers(1, 4),
    default_seed=st.integers(0, 5),
    ema_decay=st.sampled_from([None, 0.7]),
    patience=st.none() | st.integers(1, 2),
)
def test_each_row_is_the_single_run_of_its_settings(
    grid, judge, replacement, weighted, max_networks, default_seed, ema_decay, patience
):
    assume(math.prod(map(len, grid.values())) <= 16)
    task = make_task(noise=2.0)
    common = {
        "judge": judge,
        "replacement": replacement,
        "sample_weight": np.arange(23) % 3 + 0.5 if weighted else None,
        "schedule": schedules.Exponential(0.9),
        "ema_decay": ema_decay,
        "patience": patience,
    }
    result = swept(task, grid, rng=default_seed, max_networks=max_networks, **common)
    defaults = {key: [value] for key, value in DEFAULTS.items()} | {"seed": [default_seed]} | grid
    expected = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert len(result.runs) == len(expected) == math.prod(len(values) for values in defaults.values())
    for row, settings, history in zip(result.runs, expected, result.histories, strict=True):
        full = {key: values[0] for key, values in defaults.items()} | settings
        assert {key: row[key] for key in (*NAMES, *(key for key in COMMON if key in grid))} == full
        assert set(row) - set(full) == {
            "n_steps", "diverged", "best_step", "train_accuracy", "validation_accuracy"
        }  # fmt: skip
        run = single(task, full, **common)
        assert row["diverged"] == run.diverged
        assert row["best_step"] == run.best_step
        for name in ("train_accuracy", "validation_accuracy"):
            np.testing.assert_equal(row[name], getattr(run, name))
        assert row["n_steps"] == history.loss.size
        assert row["n_steps"] == run.n_steps or run.diverged
        assert history.step[-1] == row["n_steps"]
        n_steps, n_entries = run.n_steps, len(run.history.step)  # a stack goes on while one of it does
        stop = n_steps if run.diverged is None else run.diverged - 1
        np.testing.assert_allclose(history.loss[:stop], run.history.loss[:stop], rtol=1e-7)
        np.testing.assert_array_equal(history.step[:n_entries], run.history.step)
        np.testing.assert_allclose(
            history.validation_accuracy[:n_entries], run.history.validation_accuracy, rtol=1e-12
        )
    if result.best is not None:
        run = single(task, result.best.settings, **common)
        assert_same_net(result.best.net, run.net, rtol=1e-8)


@pytest.mark.float32_on_jax
def test_rows_on_every_library(backend: Backend):
    task = make_task(noise=2.0).on(backend)
    grid = {
        "learning_rate": [0.05, 0.3, 1e36],
        "reg": [0.0, 1.0],
        "n_hidden": [3, 4],
        "batch_size": [5],
        "seed": [0, 1],
    }
    result = swept(task, grid, dtype=backend.dtype)
    assert len(result.runs) == 24
    for row in result.runs:
        run = single(task, {key: row[key] for key in NAMES}, backend, dtype=backend.dtype)
        if backend.dtype == "float64":
            assert row["diverged"] == run.diverged
            assert row["best_step"] == run.best_step
            for name in ("train_accuracy", "validation_accuracy"):
                np.testing.assert_equal(row[name], getattr(run, name))
        elif row["learning_rate"] < 1:
            assert row["diverged"] is run.diverged is None
            assert row["validation_accuracy"] == pytest.approx(run.validation_accuracy, abs=1.5 / 11)
    best = single(task, result.best.settings, backend, dtype=backend.dtype)
    for array in result.best.net:
        assert backend.owns(array)
        assert array.dtype == getattr(backend.xp, backend.dtype)
    assert result.best.net.n_networks is None
    assert_same_net(result.best.net, best.net, rtol=1e-10 if backend.dtype == "float64" else 1e-2)


def test_rows_are_plain_numbers_in_the_order_of_the_settings():
    grid = {
        "learning_rate": np.array([0.1, 0.01]),
        "n_hidden": np.array([3, 4]),
        "batch_size": range(5, 7),
        "seed": (seed for seed in (0, 1)),
        "reg": [np.float32(0.5)],
        "dropout": [np.float32(0.25)],
        "input_dropout": [0],
        "label_smoothing": [1],
    }
    result = swept(make_task(), grid)
    kinds = {
        "learning_rate": float, "reg": float, "n_hidden": int, "batch_size": int, "weight_scale": str,
        "dropout": float, "input_dropout": float, "label_smoothing": float, "seed": int,
        "n_steps": int, "diverged": type(None), "best_step": int, "train_accuracy": float, "validation_accuracy": float,
    }  # fmt: skip
    for row in result.runs:
        assert {key: type(value) for key, value in row.items()} == kinds
    listed = [(row["learning_rate"], row["n_hidden"], row["batch_size"], row["seed"]) for row in result.runs]
    assert listed == list(itertools.product([0.1, 0.01], [3, 4], [5, 6], [0, 1]))
    assert len(result.table) == 8
    kinds = {
        **{key: kinds[key] for key in DEFAULTS}, "n_seeds": int, "diverged": int,
        "train_accuracy": float, "validation_accuracy": float, "validation_accuracy_std": float,
        "validation_accuracy_error": float, "n_pairs": int, "difference": float, "difference_error": float,
        "difference_margin": float, "within_noise": bool,
    }  # fmt: skip
    for row in result.table:
        assert {key: type(value) for key, value in row.items()} == kinds
    assert [row["n_hidden"] for row in result.table] == [3, 3, 4, 4] * 2


def test_a_grid_and_the_list_of_its_settings_are_the_same():
    task, grid = make_task(), {"learning_rate": [0.1, 0.01], "reg": [0.0, 0.1], "n_hidden": [3]}
    by_grid = swept(task, grid)
    listed = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for settings in (listed, iter(listed), tuple(listed)):
        assert_equal_rows(swept(task, settings).runs, by_grid.runs)
    backwards = swept(task, listed[::-1])
    assert_equal_rows(backwards.runs, by_grid.runs[::-1])
    # Of equals the first is the best, which all are compared with.
    compared = {"n_pairs", "difference", "difference_error", "difference_margin", "within_noise"}
    tables = [
        [{key: value for key, value in row.items() if key not in compared} for row in table]
        for table in (backwards.table, by_grid.table[::-1])
    ]
    assert_equal_rows(*tables)


def test_an_empty_grid_of_names_is_the_one_candidate_of_the_defaults():
    assert DEFAULTS == {
        "learning_rate": 0.01,
        "reg": 0.0,
        "n_hidden": 50,
        "batch_size": 200,
        "weight_scale": "he",
        "dropout": 0.0,
        "input_dropout": 0.0,
        "label_smoothing": 0.0,
    }
    result = swept(make_task(), {})
    assert [{key: row[key] for key in NAMES} for row in result.runs] == [{**DEFAULTS, "seed": 0}]
    assert_equal_rows(swept(make_task(), [{}]).runs, result.runs)


def test_settings_that_name_different_things():
    result = swept(make_task(), [{"reg": 0.1}, {"n_hidden": 3, "seed": 4}, {"learning_rate": 0.1}], rng=9)
    expected = [{"reg": 0.1}, {"n_hidden": 3, "seed": 4}, {"learning_rate": 0.1}]
    assert [{key: row[key] for key in NAMES} for row in result.runs] == [
        {**DEFAULTS, "seed": 9, **one} for one in expected
    ]


@pytest.mark.parametrize("max_networks", [1, 2, 3, 100])
def test_training_fewer_at_once_changes_nothing(max_networks):
    task = make_task()
    grid = {"learning_rate": [0.01, 0.1, 0.3], "reg": [0.0, 0.1], "n_hidden": [3, 4], "seed": [0, 1]}
    whole, divided = swept(task, grid), swept(task, grid, max_networks=max_networks)
    assert_equal_rows(divided.runs, whole.runs)
    assert_equal_rows(divided.table, whole.table)
    for a, b in zip(divided.histories, whole.histories, strict=True):
        assert_same_history(a, b, rtol=1e-9)


@pytest.mark.parametrize(("max_networks", "sizes"), [(None, [6] * 4), (4, [4, 2] * 4), (1, [1] * 24)])
def test_candidates_of_one_shape_batch_size_and_seed_train_together(max_networks, sizes):
    found = {}

    def watch(progress: Progress) -> None:
        found[progress.stage] = progress.net().n_networks
        assert progress.stages == len(sizes)

    grid = {"learning_rate": [0.01, 0.1, 0.3], "reg": [0.0, 0.1], "n_hidden": [3, 4], "seed": [0, 1]}
    swept(make_task(), grid, max_networks=max_networks, callbacks=[watch])
    assert list(found.values()) == sizes
    assert list(found) == list(range(1, len(sizes) + 1))


def test_weight_scales_share_a_stack():
    stages = set()
    swept(
        make_task(),
        {"weight_scale": ["he", 0.1, 1]},
        callbacks=[lambda progress: stages.add(progress.stages)],
    )
    assert stages == {1}


def test_what_stands_in_the_grid_comes_before_what_is_common():
    task = make_task(noise=2.0)
    grid = [
        {"n_hidden": 3, "learning_rate": 0.1},
        {"n_hidden": 3, "learning_rate": 0.1, "optimizer": SGD(0.9)},
    ]
    result = swept(task, grid, optimizer=Adam(), augmentation=Mixup(0.3))
    assert [row["optimizer"] for row in result.runs] == [Adam(), SGD(0.9)]
    assert [row["optimizer"] for row in result.table] == [Adam(), SGD(0.9)]
    for rows, last in ((result.runs, "validation_accuracy"), (result.table, "within_noise")):
        for row in rows:
            assert not {"augmentation", "schedule"} & set(row)  # they are the same for all
            assert list(row)[: len(DEFAULTS) + 1] == [*DEFAULTS, "optimizer"]
            assert list(row)[-1] == last
    for row, history in zip(result.runs, result.histories, strict=True):
        run = single(task, row, augmentation=Mixup(0.3))
        assert_same_history(history, run.history, rtol=1e-10)
    assert set(result.best.settings) == {*NAMES, "optimizer"}


@pytest.mark.parametrize(("key", "values"), [
    ("optimizer", [SGD(), SGD(0.9), Adam()]),
    ("schedule", [schedules.Constant(), schedules.Cosine(), schedules.Exponential(0.5)]),
    ("augmentation", [None, Mixup(0.2), Mixup(1.0)]),
    ("input_dropout", [0.0, 0.2, 0.4]),
])  # fmt: skip
def test_what_a_whole_stack_shares_divides_candidates_into_stacks(key, values):
    found = {}

    def watch(progress: Progress) -> None:
        found[progress.stage] = progress.net().n_networks

    grid = {key: values, "dropout": [0.0, 0.5], "label_smoothing": [0.0, 0.1], "n_hidden": [3]}
    result = swept(make_task(), grid, callbacks=[watch])
    assert list(found.values()) == [4, 4, 4]
    assert [row[key] for row in result.table] == [value for value in values for _ in range(4)]
    losses = [history.loss.tolist() for history in result.histories]
    assert len({str(loss) for loss in losses}) == 12


def test_parts_that_cannot_be_hashed_are_told_apart():
    @dataclass
    class Shifted:
        by: float

        def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
            return rng.random(n)

        def apply(self, X: Any, T: Any, draws: Any, *, xp: Any) -> tuple[Any, Any]:
            return X + self.by * xp.expand_dims(draws, axis=1), T

    with pytest.raises(TypeError, match="unhashable"):
        hash(Shifted(0.1))
    parts = [Shifted(0.1), Shifted(0.5)]
    grid = {"augmentation": parts, "n_hidden": [3], "reg": [0.0, 0.1], "seed": [0, 1]}
    result = swept(make_task(), grid)
    assert [row["augmentation"] for row in result.table] == [parts[0], parts[0], parts[1], parts[1]]
    assert [row["n_seeds"] for row in result.table] == [2] * 4
    for row, history in zip(result.runs, result.histories, strict=True):
        assert_same_history(history, single(make_task(), row).history, rtol=1e-9)
    with pytest.raises(ValueError, match="`grid` must name each candidate once"):
        swept(make_task(), {"augmentation": [Shifted(0.1), Shifted(0.1)]})


def test_patience_ends_each_candidate_by_itself(backend: Backend):
    host = make_task(noise=2.0, seed=3)
    task = host.on(backend)
    grid = {
        "learning_rate": [0.0, 0.05, 0.5, 1.0],
        "n_hidden": [4],
        "batch_size": [5],
        "label_smoothing": [0.1],
    }
    common = {"patience": 2, "epochs": 9, "dtype": backend.dtype, "ema_decay": 0.5}
    seen: list[Progress] = []
    result = swept(task, grid, **common, callbacks=[seen.append])
    assert result.complete
    assert result.runs[0]["n_steps"] == 15  # its accuracy never changes
    assert result.histories[0].step.tolist() == [5, 10, 15]
    for row, history in zip(result.runs, result.histories, strict=True):
        assert history.loss.shape == (row["n_steps"],)
        assert np.isfinite(history.loss).all()
        assert np.isfinite(history.validation_accuracy).all()
        if backend.dtype == "float64":
            run = single(task, row, backend, **common)
            assert (run.stopped or run.n_steps) == row["n_steps"] == run.n_steps
            assert_same_history(history, run.history, rtol=1e-8)
            for name in ("best_step", "train_accuracy", "validation_accuracy", "diverged"):
                assert row[name] == getattr(run, name)
    assert len({row["n_steps"] for row in result.runs}) > 1
    assert seen[-1].step == max(row["n_steps"] for row in result.runs)


def test_a_stage_whose_candidates_all_ended_is_finished_too():
    grid = [{"learning_rate": 0.0, "batch_size": 10}, {"learning_rate": 0.1, "n_hidden": 3}]

    def stop(progress: Progress) -> None:
        if progress.step == 6 and progress.epoch_ended:  # the second epoch
            progress.stop()

    result = swept(make_task(), grid, epochs=5, patience=1, callbacks=[stop])
    assert not result.complete
    (row,) = result.runs
    assert (row["learning_rate"], row["n_steps"]) == (0.0, 6)
    whole = swept(make_task(), grid[:1], epochs=5, patience=1)
    assert_equal_rows(result.runs, whole.runs)


def test_preprocessing_and_weights_of_classes_are_those_of_train(backend: Backend):
    scaling = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))
    task = make_task(noise=2.0).on(backend)
    common = {"preprocessing": scaling, "class_weight": "balanced", "dtype": backend.dtype}
    grid = {"learning_rate": [0.1, 0.3], "n_hidden": [4], "dropout": [0.25], "seed": [3]}
    result = swept(task, grid, **common)
    for row, history in zip(result.runs, result.histories, strict=True):
        run = single(task, row, backend, **common)
        np.testing.assert_allclose(history.loss, run.history.loss, rtol=10 * backend.rtol)
        assert row["train_accuracy"] == pytest.approx(run.train_accuracy, abs=1.5 / 23)
    unscaled = swept(task, grid, **{**common, "preprocessing": None})
    assert not np.allclose(unscaled.histories[0].loss, result.histories[0].loss, rtol=1e-3)


@pytest.mark.parametrize("name", ["preprocessing", "optimizer", "schedule", "augmentation"])
def test_parts_of_another_form_are_refused(name):
    called: list[Progress] = []
    with pytest.raises(TypeError, match=f"^`{name}` must be an? {name}, such as twolayer.*; got str$"):
        swept(make_task(), {"n_hidden": [3]}, **{name: "this"}, callbacks=[called.append])
    assert called == []


# ---------------------------------------------------------------------------------------------------------
# The table and the winner


def expected_table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means, sample standard deviations and paired differences by the statistics module."""
    table = []
    for key in dict.fromkeys(tuple(row[name] for name in DEFAULTS) for row in runs):
        members = [row for row in runs if tuple(row[name] for name in DEFAULTS) == key]
        alive = [row for row in members if row["diverged"] is None]
        scores = [row["validation_accuracy"] for row in alive]
        table.append(
            dict(zip(DEFAULTS, key, strict=True))
            | {
                "n_seeds": len(members),
                "diverged": len(members) - len(alive),
                "train_accuracy": statistics.mean(r["train_accuracy"] for r in alive) if alive else math.nan,
                "validation_accuracy": statistics.mean(scores) if alive else math.nan,
                "validation_accuracy_std": statistics.stdev(scores) if len(scores) > 1 else math.nan,
            }
        )
    return table


def expected_differences(
    runs: list[dict[str, Any]], row: dict[str, Any], best: dict[str, Any]
) -> list[float]:
    """Of a candidate and the best one, for each seed in which neither diverged."""
    own, theirs = (
        {
            run["seed"]: run["validation_accuracy"]
            for run in runs
            if run["diverged"] is None and all(run[name] == one[name] for name in DEFAULTS)
        }
        for one in (row, best)
    )
    return [own[seed] - theirs[seed] for seed in own.keys() & theirs.keys()]


@given(
    rates=st.lists(
        st.sampled_from([1e-3, 0.05, 0.1, 0.3, 1.0, 1e18, 1e60]), min_size=1, max_size=4, unique=True
    ),
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True),
    task_seed=st.integers(0, 100),
)
def test_the_table_and_the_winner(rates, seeds, task_seed):
    task = make_task(noise=2.0, seed=task_seed)
    result = swept(task, {"learning_rate": rates, "seed": seeds, "reg": [0.0, 1.0], "n_hidden": [3]})
    table = expected_table(result.runs)
    assert len(result.table) == len(table) == 2 * len(rates)
    for found, expected in zip(result.table, table, strict=True):
        assert list(found)[: len(expected)] == list(expected)
        p, error = found["validation_accuracy"], found["validation_accuracy_error"]
        np.testing.assert_allclose(error, np.sqrt(p * (1 - p) / len(task.validation[1])), atol=1e-15)
        for key, value in expected.items():
            if isinstance(value, float):
                np.testing.assert_allclose(found[key], value, rtol=1e-12, atol=1e-15)
            else:
                assert found[key] == value
    ranked = [row for row in result.table if row["diverged"] < row["n_seeds"]]
    if not ranked:
        assert result.best is None
        return
    whole = [row for row in ranked if not row["diverged"]] or ranked
    highest = max(row["validation_accuracy"] for row in whole)
    winner = next(row for row in whole if row["validation_accuracy"] == highest)
    assert result.best.candidate is winner
    for row in result.table:
        differences = expected_differences(result.runs, row, winner)
        assert row["n_pairs"] == len(differences)
        if differences:
            np.testing.assert_allclose(row["difference"], statistics.mean(differences), atol=1e-15)
        if row is winner:
            assert (row["difference"], row["difference_error"], row["within_noise"]) == (0, 0, True)
        elif len(differences) > 1:
            assert row["within_noise"] is (row["difference"] >= -row["difference_margin"])
        else:
            assert row["within_noise"] is None
    members = [
        row
        for row in result.runs
        if all(row[key] == winner[key] for key in DEFAULTS) and row["diverged"] is None
    ]
    highest = max(row["validation_accuracy"] for row in members)
    expected = next(row for row in members if row["validation_accuracy"] == highest)
    best = result.best
    assert best.row is expected
    assert best.settings == {key: expected[key] for key in NAMES}
    i = result.runs.index(expected)
    assert best.history is result.histories[i]
    accuracy = float(best.net.accuracy(*task.validation))
    assert accuracy == pytest.approx(expected["validation_accuracy"], rel=1e-12)


def test_a_candidate_of_which_a_seed_diverged_comes_after_the_others():
    """Its other seeds are the best of all."""

    rows = [
        {**DEFAULTS, "learning_rate": rate, "seed": seed, "diverged": at, "best_step": 1, "train_accuracy": score,
         "validation_accuracy": score}
        for rate, seed, at, score in [
            (1.0, 0, None, 0.9), (1.0, 1, 5, math.nan),
            (0.1, 0, None, 0.5), (0.1, 1, None, 0.6),
            (0.01, 0, None, 0.4), (0.01, 1, None, 0.7),
        ]
    ]  # fmt: skip
    names = tuple(DEFAULTS)
    table = compared(rows, names, 10)
    assert [row["diverged"] for row in table] == [1, 0, 0]
    assert table[0]["validation_accuracy"] == 0.9
    assert math.isnan(table[0]["validation_accuracy_std"])
    # Of equal means, 0.55, the first; then its best seed.
    assert winner_of(table) is table[1]
    assert best_run(table[1], rows, names) == 3
    assert [row["n_pairs"] for row in table] == [1, 2, 2]
    assert table[0]["difference"] == pytest.approx(0.4)  # in the seed that both have
    assert [row["within_noise"] for row in table] == [None, True, True]
    (alone,) = compared(rows[:2], names, 10)
    assert best_run(alone, rows[:2], names) == 0
    assert winner_of(compared(rows[1:2], names, 10)) is None


def test_where_all_diverged_there_is_no_best_and_the_rows_remain(backend: Backend):
    task = make_task().on(backend)
    grid = {"learning_rate": [1e30, 1e36], "reg": [1.0], "seed": [0, 1], "n_hidden": [3], "batch_size": [4]}
    result = swept(task, grid, dtype=backend.dtype)
    assert result.best is None
    assert result.complete
    assert len(result.runs) == len(result.histories) == 4
    for row in result.runs:
        assert type(row["diverged"]) is int
        assert math.isnan(row["train_accuracy"])
        assert math.isnan(row["validation_accuracy"])
    for row in result.table:
        assert (row["n_seeds"], row["diverged"]) == (2, 2)
        assert math.isnan(row["train_accuracy"])
        assert math.isnan(row["validation_accuracy"])
        assert math.isnan(row["validation_accuracy_std"])


def test_diverged_candidates_are_rows_beside_the_others(backend: Backend):
    task = make_task().on(backend)
    grid = {"learning_rate": [1e30, 0.1], "reg": [1.0], "n_hidden": [3], "batch_size": [4]}
    lost, kept = swept(task, grid, dtype=backend.dtype).runs
    assert type(lost["diverged"]) is int
    assert kept["diverged"] is None
    assert math.isnan(lost["validation_accuracy"])
    assert 0 <= kept["validation_accuracy"] <= 1


def test_repr_shows_sizes_and_the_winner():
    result = swept(make_task(), {"learning_rate": [0.1, 0.01], "seed": [0, 1]})
    best = result.best
    mean, std = (best.candidate[name] for name in ("validation_accuracy", "validation_accuracy_std"))
    assert repr(best) == (
        f"Best({best.settings}, validation_accuracy={best.row['validation_accuracy']:.4f}, "
        f"of 2 seeds {mean:.4f} ± {std:.4f})"
    )
    assert best.row["validation_accuracy"] > mean
    assert repr(swept(make_task(), {"learning_rate": [0.1]}).best).endswith(", of one seed)")
    assert repr(result) == f"SweepResult(2 candidates, 4 runs, best={best!r})"


# ---------------------------------------------------------------------------------------------------------
# What comes in


def test_what_was_given_is_not_changed(backend: Backend):
    task = make_task().on(backend)
    weight = backend.array(np.linspace(0.5, 1.5, 23))
    inputs = [task.X, task.y, task.X_val, task.y_val, weight]
    before = [to_host(array) for array in inputs]
    grid = {"learning_rate": [0.1, 0.01], "n_hidden": [3]}
    swept(task, grid, sample_weight=weight, dtype=backend.dtype)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(to_host(array), copy)
    assert grid == {"learning_rate": [0.1, 0.01], "n_hidden": [3]}


def test_read_only_and_non_contiguous_arrays():
    task = make_task()
    odd = Task(task.net, *(np.repeat(array, 2, axis=0)[::2] for array in task[1:]))
    for array in odd[1:]:
        array.flags.writeable = False
    grid = {"learning_rate": [0.1, 0.01]}
    assert_equal_rows(swept(odd, grid).runs, swept(task, grid).runs)


@pytest.mark.float32_on_jax
def test_networks_are_float32_where_nothing_is_said(backend: Backend):
    task = make_task().on(backend)
    result = sweep(task.X, task.y, validation=task.validation, grid={"n_hidden": [3]}, epochs=1)
    assert result.best.net.W1.dtype == backend.xp.float32
    assert backend.owns(result.best.net.W1)
    assert result.best.settings["seed"] == 0


def test_images_are_flattened(backend: Backend):
    task = make_task(n_features=12).on(backend)
    xp = backend.xp
    images = task._replace(X=xp.reshape(task.X, (23, 2, 3, 2)), X_val=xp.reshape(task.X_val, (11, 2, 3, 2)))
    grid = {"n_hidden": [3], "learning_rate": [0.1]}
    found = swept(images, grid, dtype=backend.dtype)
    assert_equal_rows(found.runs, swept(task, grid, dtype=backend.dtype).runs)


def test_the_number_of_classes_is_that_of_the_labels(backend: Backend):
    task = make_task(n_classes=3)
    grid = {"n_hidden": [3]}

    def found(task: Task, **changes: Any) -> int:
        return swept(task.on(backend), grid, epochs=1, dtype=backend.dtype, **changes).best.net.n_classes

    assert found(task) == 3
    assert found(task, n_classes=7) == 7
    assert found(task._replace(y=np.minimum(task.y, 1))) == 3  # the validation set has a third
    assert found(task._replace(y_val=np.minimum(task.y_val, 1))) == 3
    assert found(task._replace(y=task.y * 0, y_val=task.y_val * 0)) == 1
    soft = make_task(n_classes=3, soft=True)
    assert found(soft) == 3
    assert found(make_task(n_classes=1, soft=True)) == 1
    assert found(soft._replace(y_val=soft.y_val.argmax(axis=1))) == 3
    assert found(task._replace(y_val=soft.y_val)) == 3


def test_seeds_of_the_settings_and_of_the_sweep():
    task, grid = make_task(), {"learning_rate": [0.1]}
    assert swept(task, grid).runs[0]["seed"] == 0
    assert swept(task, grid, rng=5).runs[0]["seed"] == 5
    assert swept(task, {**grid, "seed": [3]}, rng=5).runs[0]["seed"] == 3
    rng = np.random.default_rng(0)
    first, second = (swept(task, grid, rng=rng).runs[0]["seed"] for _ in range(2))
    assert first == 5874934615388537135
    assert second != first
    fresh = {swept(task, grid, rng=None).runs[0]["seed"] for _ in range(3)}
    assert len(fresh) == 3


def test_steps_in_the_place_of_epochs():
    result = swept(make_task(), {"batch_size": [5, 10]}, epochs=None, steps=7)
    assert [len(history.loss) for history in result.histories] == [7, 7]
    assert [history.step.tolist() for history in result.histories] == [[5, 7], [3, 6, 7]]


# ---------------------------------------------------------------------------------------------------------
# Callbacks


TWO_STAGES = {"learning_rate": [0.1, 0.01], "n_hidden": [3, 4]}  # of 3 steps each: one epoch of batches of 10


def events(stop: Any = lambda progress: False, **changes: Any) -> tuple[list, SweepResult]:
    seen: list[tuple[int, int, bool]] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.stage, progress.step, progress.epoch_ended))
        assert progress.stages == 2
        assert progress.steps == 3
        if stop(progress):
            progress.stop()

    arguments = {"epochs": 1, "callbacks": [watch], **changes}
    return seen, swept(make_task(), [{**one, "batch_size": 10} for one in listed(TWO_STAGES)], **arguments)


def listed(grid: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


ALL_EVENTS = [(stage, step, ended) for stage in (1, 2) for step, ended in ((1, 0), (2, 0), (3, 0), (3, 1))]


def test_callbacks_are_told_the_stage():
    seen, result = events()
    assert seen == ALL_EVENTS
    assert result.complete
    assert_equal_rows(result.runs, events(callbacks=())[1].runs)


def test_callbacks_may_come_as_an_iterator():
    seen: list[int] = []
    events(callbacks=iter([lambda progress: seen.append(progress.stage)]))
    assert seen == [stage for stage, _, _ in ALL_EVENTS]


@pytest.mark.parametrize("ended", [False, True])
def test_a_stop_at_the_last_step_of_the_last_stage_comes_too_late(ended):
    seen, result = events(
        lambda progress: (progress.stage, progress.step, progress.epoch_ended) == (2, 3, ended)
    )
    assert seen == ALL_EVENTS
    assert result.complete
    assert_equal_rows(result.runs, events()[1].runs)


@pytest.mark.parametrize("at", [(2, 1, False), (2, 2, False)])
def test_a_stop_ends_the_sweep_and_what_was_finished_is_kept(at):
    whole = events()[1]
    seen, result = events(lambda progress: (progress.stage, progress.step, progress.epoch_ended) == at)
    assert seen == ALL_EVENTS[: ALL_EVENTS.index(at) + 1]
    assert not result.complete
    assert [(row["learning_rate"], row["n_hidden"]) for row in result.runs] == [(0.1, 3), (0.01, 3)]
    assert_equal_rows(result.runs, [whole.runs[0], whole.runs[2]])
    assert len(result.histories) == 2
    assert_equal_rows(result.table, [whole.table[0], whole.table[2]])
    assert result.best.settings["n_hidden"] == 3


def test_a_sweep_that_is_stopped_at_once_has_no_rows_and_no_best():
    seen, result = events(lambda progress: True)
    assert seen == [(1, 1, False)]
    assert (result.best, result.table, result.runs, result.histories) == (None, [], [], [])
    assert not result.complete
    assert repr(result) == "SweepResult(0 candidates, 0 runs, best=None)"


@pytest.mark.parametrize("ended", [False, True])
def test_a_stage_that_was_finished_when_the_sweep_was_stopped_is_kept(ended):
    """The end of a stage is the natural moment to stop."""
    seen, result = events(lambda progress: progress.step == 3 and progress.epoch_ended == ended)
    assert seen == ALL_EVENTS[:4]
    assert not result.complete
    assert [(row["learning_rate"], row["n_hidden"]) for row in result.runs] == [(0.1, 3), (0.01, 3)]


def test_a_stage_whose_networks_all_diverged_is_finished_too():
    task = make_task()
    grid = [{"learning_rate": 1e80, "reg": 1.0, "batch_size": 10}, {"learning_rate": 0.1, "n_hidden": 3}]
    seen = []

    def stop(progress: Progress) -> None:
        seen.append((progress.stage, progress.step))
        if progress.epoch_ended:
            progress.stop()

    result = swept(task, grid, epochs=2, callbacks=[stop])
    assert seen[-1] == (1, 3)
    assert len(result.runs) == 1
    assert not result.complete


def test_what_a_callback_returns_means_nothing():
    assert swept(make_task(), TWO_STAGES, callbacks=[lambda progress: True]).complete


def test_every_callback_is_called_and_what_one_raises_comes_out():
    first: list[int] = []
    second: list[int] = []
    swept(
        make_task(),
        TWO_STAGES,
        callbacks=[lambda p: (first.append(p.step), p.stop()), lambda p: second.append(p.step)],
    )
    assert first == second == [1, 1]  # the step, and the epoch that ends with it

    def fail(progress: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        swept(make_task(), TWO_STAGES, callbacks=[fail])


# ---------------------------------------------------------------------------------------------------------
# Errors


KEYS = (
    "learning_rate, reg, n_hidden, batch_size, weight_scale, dropout, input_dropout, label_smoothing, optimizer, "
    "schedule, augmentation, seed"
)


class Fussy(SGD):
    """A user's own optimizer, with the check that it may have."""

    def check(self) -> None:
        raise ValueError("`own` must be otherwise")


BAD_GRIDS = {
    "unknown": ({"lr": [0.1]}, ValueError, f"`grid` must name settings among {KEYS}; got 'lr'"),
    "unknown-setting": ([{"lr": 0.1}], ValueError, f"`grid` must name settings among {KEYS}; got 'lr'"),
    "none": ([], ValueError, "`grid` must hold at least one candidate; got none"),
    "no-values": ({"reg": [], "n_hidden": [3]}, ValueError, "`grid` must hold at least one candidate; got none"),
    "twice": ({"reg": [0.1, 0.2, 0.1]}, ValueError, "`grid` must name each candidate once; got {'reg': 0.1} twice"),
    "twice-unnamed": ([{}, {"seed": 0}], ValueError, "`grid` must name each candidate once; got {'seed': 0} twice"),
    "text-values": ({"reg": "0.1"}, TypeError, "`grid` must map names to sequences of values; got '0.1' for 'reg'"),
    "number-values": ({"reg": 0.1}, TypeError, "`grid` must map names to sequences of values; got 0.1 for 'reg'"),
    "hidden-zero": ({"n_hidden": [0]}, ValueError, "`n_hidden` must be at least 1; got 0"),
    "hidden-float": ({"n_hidden": [10.0]}, TypeError, "`n_hidden` must be an integer; got float"),
    "hidden-bool": ({"n_hidden": [True]}, TypeError, "`n_hidden` must be an integer; got bool"),
    "batch-zero": ({"batch_size": [0]}, ValueError, "`batch_size` must be at least 1; got 0"),
    "batch-text": ({"batch_size": ["all"]}, TypeError, "`batch_size` must be an integer; got str"),
    "seed-negative": ({"seed": [-1]}, ValueError, "`seed` must be at least 0; got -1"),
    "seed-none": ({"seed": [None]}, TypeError, "`seed` must be an integer; got NoneType"),
    "rate-negative": ({"learning_rate": [-0.1]}, ValueError, "`learning_rate` must be finite and at least 0; got -0.1"),
    "rate-nan": ({"learning_rate": [math.nan]}, ValueError, "`learning_rate` must be finite and at least 0; got nan"),
    "rate-text": ({"learning_rate": ["0.1"]}, TypeError, "`learning_rate` must be a number"),
    "rate-none": ({"learning_rate": [None]}, TypeError, "`learning_rate` must be a number"),
    "rate-bool": ({"learning_rate": [True]}, TypeError, "`learning_rate` must be a number"),
    "rate-list": ({"learning_rate": [[0.1]]}, TypeError, "`learning_rate` must be a number"),
    "reg-negative": ({"reg": [-1]}, ValueError, "`reg` must be finite and at least 0; got -1"),
    "reg-inf": ({"reg": [math.inf]}, ValueError, "`reg` must be finite and at least 0; got inf"),
    "reg-text": ({"reg": ["strong"]}, TypeError, "`reg` must be a number"),
    "scale-name": ({"weight_scale": ["xavier"]}, ValueError, "`weight_scale` must be 'he', or a number above 0; got 'xavier'"),
    "scale-zero": ({"weight_scale": [0.0]}, ValueError, "`weight_scale` must be finite and above 0; got 0"),
    "scale-none": ({"weight_scale": [None]}, TypeError, "`weight_scale` must be"),
    "dropout-one": ({"dropout": [1.0]}, ValueError, "`dropout` must be in [0, 1); got 1"),
    "dropout-negative": ({"dropout": [-0.1]}, ValueError, "`dropout` must be in [0, 1); got -0.1"),
    "dropout-list": ({"dropout": [[0.1]]}, TypeError, "`dropout` must be a number; got list"),
    "input-one": ({"input_dropout": [1]}, ValueError, "`input_dropout` must be in [0, 1); got 1"),
    "input-none": ({"input_dropout": [None]}, TypeError, "`input_dropout` must be a number; got NoneType"),
    "smoothing-high": ({"label_smoothing": [1.5]}, ValueError, "`label_smoothing` must be in [0, 1]; got 1.5"),
    "smoothing-nan": ({"label_smoothing": [math.nan]}, ValueError, "`label_smoothing` must be in [0, 1]; got nan"),
    "optimizer-text": ({"optimizer": ["adam"]}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got str"),
    "optimizer-none": ({"optimizer": [None]}, TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got NoneType"),
    "optimizer-check": ({"optimizer": [Fussy()]}, ValueError, "`own` must be otherwise"),
    "schedule-number": ({"schedule": [0.9]}, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got float"),
    "augmentation-class": ({"augmentation": [Mixup]}, TypeError, "`augmentation` must be an augmentation, such as twolayer.augmentation.Mixup(0.2); got the class Mixup"),
    "augmentation-shape": ({"augmentation": [FlipAndShift((3, 3))]}, ValueError, "`image_shape` must have as many values as a sample has features, 4; got (3, 3)"),
    "optimizer-twice": ([{}, {"optimizer": PLAIN["optimizer"]}], ValueError, "`grid` must name each candidate once; got {'optimizer': SGD(momentum=0.0, nesterov=False)} twice"),
    "not-settings": ([0.1, 0.2], TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
    "not-a-grid": (5, TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
    "nothing": (None, TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
    "text": ("reg", TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_GRIDS)
def test_grids_that_mean_nothing_are_refused(case):
    grid, error, message = BAD_GRIDS[case]
    with pytest.raises(error, match="^" + re.escape(message)):
        swept(make_task(), grid)


@pytest.mark.parametrize(
    "case",
    [
        *("rate-negative", "reg-negative", "rate-text", "scale-name", "scale-zero", "dropout-one"),
        *("smoothing-high", "optimizer-text", "optimizer-check", "schedule-number", "augmentation-class"),
        "augmentation-shape",
    ],
)
def test_a_bad_candidate_is_refused_before_any_is_trained(case):
    """It may be the last of a sweep of hours."""
    grid, error, message = BAD_GRIDS[case]
    ((name, (value,)),) = grid.items()
    called = []
    with pytest.raises(error, match=re.escape(message)):
        swept(make_task(), [{"n_hidden": 3}, {"n_hidden": 4, name: value}], callbacks=[called.append])
    assert called == []


TASK = make_task()

BAD_ARGUMENTS = {
    "X-list": ({"X": [[1.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
    "X-rank": ({"X": np.ones(23)}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (23,)"),
    "X-empty": ({"X": np.ones((0, 4)), "y": TASK.y[:0]}, ValueError, "`X` must hold at least one sample; got shape (0, 4)"),
    "X-complex": ({"X": np.ones((23, 4), complex)}, TypeError, "`X` must have a real dtype; got complex128"),
    "X-nan": ({"X": np.full((23, 4), np.nan)}, ValueError, "`X` must be finite; got nan, first in row 0, column 0 "),
    "y-list": ({"y": [0] * 23}, TypeError, "`y` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
    "y-empty": ({"y": TASK.y[:0]}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 0"),
    "y-short": ({"y": TASK.y[:22]}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 22"),
    "y-float": ({"y": TASK.y.astype(float)}, TypeError, "`y` must have an integer dtype for class labels; got float64"),
    "y-negative": ({"y": TASK.y - 1}, ValueError, "`y` must hold class labels in [0, 3); got a label of -1"),
    "y-all-negative": ({"y": TASK.y * 0 - 1, "validation": (TASK.X_val, TASK.y_val * 0 - 1)}, ValueError, "`y` must hold class labels in [0, "),
    "y-scalar": ({"y": TASK.y[0]}, ValueError, "`y` must have shape (23,) for class labels or (23, "),
    "y-cube": ({"y": np.ones((23, 3, 3))}, ValueError, "`y` must have shape (23,) for class labels or (23, "),
    "y-no-classes": ({"y": np.ones((23, 0))}, ValueError, "`y` must "),
    "y-above": ({"n_classes": 2}, ValueError, "`y` must hold class labels in [0, 2); got a label of 2"),
    "classes-zero": ({"n_classes": 0}, ValueError, "`n_classes` must be at least 1; got 0"),
    "classes-float": ({"n_classes": 3.0}, TypeError, "`n_classes` must be an integer; got float"),
    "validation-none": ({"validation": None}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got NoneType"),
    "validation-one": ({"validation": (TASK.X_val,)}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got a tuple of 1"),
    "validation-array": ({"validation": TASK.X[:2]}, TypeError, "`validation` must be (X, y) or (X, y, sample_weight); got ndarray"),
    "X_val-width": ({"validation": (TASK.X_val[:, :3], TASK.y_val)}, ValueError, "`validation X` must have 4 features a sample to fit the network; got shape (11, 3), which is 3"),
    "X_val-nan": ({"validation": (TASK.X_val * np.nan, TASK.y_val)}, ValueError, "`validation X` must be finite; got nan, first in row 0, column 0 "),
    "y_val-list": ({"validation": (TASK.X_val, TASK.y_val.tolist())}, TypeError, "`validation y` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
    "y_val-empty": ({"validation": (TASK.X_val, TASK.y_val[:0])}, ValueError, "`validation y` must have one label for each of the 11 samples of `validation X`; got 0"),
    "y_val-float": ({"validation": (TASK.X_val, TASK.y_val.astype(float))}, TypeError, "`validation y` must have an integer dtype for class labels; got float64"),
    "y_val-nan": ({"validation": (TASK.X_val, TASK.y_val * np.nan)}, TypeError, "`validation y` must have an integer dtype for class labels; got float64"),
    "y_val-above": ({"n_classes": 3, "validation": (TASK.X_val, TASK.y_val + 1)}, ValueError, "`validation y` must hold class labels in [0, 3); got a label of 3"),
    "weight-short": ({"sample_weight": np.ones(22)}, ValueError, "`sample_weight` must have shape (23,); got (22,)"),
    "networks-zero": ({"max_networks": 0}, ValueError, "`max_networks` must be at least 1; got 0"),
    "networks-float": ({"max_networks": 2.5}, TypeError, "`max_networks` must be an integer; got float"),
    "rng-text": ({"rng": "0"}, TypeError, "`rng` must be an int, a numpy.random.Generator or None; got str"),
    "rng-negative": ({"rng": -1}, ValueError, "`rng` must be non-negative where it is an int; got -1"),
    "dtype": ({"dtype": "float16"}, TypeError, "`dtype` must be float32 or float64; got float16"),
    "judge": ({"judge": "first"}, ValueError, "`judge` must be one of 'best', 'last'; got 'first'"),
    "both": ({"epochs": 1, "steps": 1}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
    "epochs-zero": ({"epochs": 0}, ValueError, "`epochs` must be at least 1; got 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_arguments_that_do_not_do_are_refused(case):
    changes, error, message = BAD_ARGUMENTS[case]
    arguments = {"X": TASK.X, "y": TASK.y, "validation": TASK.validation, "grid": {"n_hidden": [3]}, **BASE}
    with pytest.raises(error, match="^" + re.escape(message)):
        sweep(**{**arguments, **changes})


def test_arrays_of_two_libraries_are_refused(backend: Backend):
    task = TASK.on(backend)
    other = next(
        b for b in BACKENDS if b.name == ("strict-2024.12" if backend.library == "numpy" else "numpy")
    )
    grid = {"n_hidden": [3]}
    with pytest.raises(TypeError, match=r"^`y` must be an array of the library of `X`"):
        swept(task._replace(y=other.array(TASK.y, "int32")), grid, dtype=backend.dtype)
    with pytest.raises(TypeError, match=r"^`validation y` must be an array of the library of `validation X`"):
        swept(task._replace(y_val=other.array(TASK.y_val, "int32")), grid, dtype=backend.dtype)
    with pytest.raises(TypeError, match=r"^`validation X` must be an array of the library of `W1`"):
        swept(task._replace(X_val=other.array(TASK.X_val, "float32")), grid, dtype=backend.dtype)


@pytest.mark.float32_on_jax
def test_float64_is_refused_where_there_is_none(backend: Backend):
    task, grid = TASK.on(backend), {"n_hidden": [3]}
    if "float64" in backend.dtypes:
        assert swept(task, grid).best.net.W1.dtype == backend.xp.float64
        return
    with pytest.raises(TypeError, match=r"`dtype` must be one that .* has.*; got float64$"):
        swept(task, grid)


@pytest.mark.parametrize("placed", [False, True])
def test_streamed_samples_give_the_same_rows(backend: Backend, placed):
    grid = {"learning_rate": [0.01, 0.1], "n_hidden": [3, 5]}
    expected = swept(TASK.on(backend), grid, dtype=backend.dtype)
    where = {"xp": backend.xp, "device": backend.device} if placed else {}
    result = swept(TASK, grid, dtype=backend.dtype, stream=True, **where)
    if not placed:  # NumPy's
        assert type(result.best.net.W1) is np.ndarray
        expected = swept(TASK, grid, dtype=backend.dtype)
    else:
        assert backend.owns(result.best.net.W1)
    for found, wanted in zip(result.runs, expected.runs, strict=True):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key] == (value if isinstance(value, str | None) else pytest.approx(value)), key


def test_samples_elsewhere_are_not_streamed(backend: Backend):
    if backend.library == "numpy":
        pytest.skip("NumPy's are the ones that are streamed")
    with pytest.raises(TypeError, match=r"^`X` must be a NumPy array where samples are streamed; got "):
        swept(TASK.on(backend), {"n_hidden": [3]}, dtype=backend.dtype, stream=True, xp=backend.xp)


@pytest.mark.parametrize(("name", "value", "shown"), [("xp", np, "numpy"), ("device", "cpu", "cpu")])
def test_where_the_networks_are_is_said_by_the_samples_unless_they_are_streamed(name, value, shown):
    message = f"`{name}` must be left out where `X` says it, without `stream`; got {shown}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        swept(TASK, {"n_hidden": [3]}, **{name: value})


@pytest.mark.parametrize("missing", ["validation", "grid"])
def test_validation_and_grid_must_be_given(missing):
    arguments = {"validation": TASK.validation, "grid": {}}
    del arguments[missing]
    with pytest.raises(TypeError, match=f"missing .* keyword-only argument: '{missing}'"):
        sweep(TASK.X, TASK.y, **arguments)


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_what_is_under_way_counts_only_where_nothing_was_finished(n_seeds):
    """One stage may be all that there is: what it has come to by the stop is kept."""
    grid = {"learning_rate": [0.01, 0.1], "batch_size": [10], "seed": list(range(n_seeds))}
    at = (n_seeds, 3, True)  # the first epoch of the last stage

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.epoch_ended) == at:
            progress.stop()

    result = swept(make_task(), grid, epochs=4, callbacks=[stop])
    assert not result.complete
    assert [row["n_steps"] for row in result.runs] == ([3, 3] if n_seeds == 1 else [12, 3, 12, 3])
    assert [row["n_seeds"] for row in result.table] == [1, 1]
    assert result.best.settings["seed"] == 0
    assert result.best.row["n_steps"] == (3 if n_seeds == 1 else 12)
    alone = swept(make_task(), {**grid, "seed": [0]}, epochs=1 if n_seeds == 1 else 4)
    assert_equal_rows(result.table, alone.table)
    assert result.best.row["validation_accuracy"] == alone.best.row["validation_accuracy"]


@pytest.mark.parametrize("split", ["X", "validation"])
def test_a_value_that_the_dtype_does_not_have_is_refused(split):
    far = {"X": TASK.X.copy(), "validation": TASK.X_val.copy()}
    far[split][7, 1] = 1e39
    arguments = {"validation": (far["validation"], TASK.y_val), "grid": {"reg": [0.0, 0.1]}, "epochs": 1}
    with pytest.raises(ValueError, match=r"X` must hold .* float32.*; got 1e\+39, first in row 7, column 1 "):
        sweep(far["X"], TASK.y, **arguments)
    assert sweep(far["X"], TASK.y, dtype="float64", **arguments).complete


def test_a_network_without_a_validation_accuracy_is_not_the_best():
    rows = [
        {"reg": reg, "seed": seed, "diverged": None, "train_accuracy": 0.5, "validation_accuracy": accuracy}
        for reg, seed, accuracy in ((0.0, 0, np.nan), (0.1, 0, 0.25), (0.1, 1, np.nan), (0.2, 0, 0.75))
    ]
    table = compared(rows, ("reg",), 8)
    winner = winner_of(table)
    assert winner["reg"] == 0.2
    assert best_run(winner, rows, ("reg",)) == 3
    assert best_run(table[1], rows, ("reg",)) == 1
