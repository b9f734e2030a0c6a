"""The candidates of sweep(): each equals the single run with its settings, however they are stacked."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.small_runs import Task, assert_same_history, assert_same_net, make_task
from support.sweeps import BASE, assert_equal_rows, swept

from twolayer import Progress, Run, TwoLayerNet, schedules, sweep, train
from twolayer.augmentation import FlipAndShift, Mixup
from twolayer.optimizers import SGD, Adam
from twolayer.preprocessing import Standardizer
from twolayer.sweeping.candidates import DEFAULTS
from twolayer.training import execution

pytestmark = pytest.mark.once_on_jax

NAMES = (*DEFAULTS, "seed")
COMMON = ("optimizer", "schedule", "augmentation")
SCALING = Standardizer(np.array([0.3, -0.2, 0.1, 0.5]), np.array([0.8, 1.2, 0.9, 1.1]))
OF_ROWS = ("diverged", "best_step", "train_accuracy", "validation_accuracy")


def single(task: Task, settings: dict[str, Any], backend: Backend | None = None, **changes: Any) -> Run:
    """The run of `train` with a row's settings."""
    arguments = {**BASE, **changes}
    place = {} if backend is None else {"xp": backend.xp, "device": backend.device}
    shape = int(np.prod(task.X.shape[1:])), settings["n_hidden"], 3
    weights = {"weight_scale": settings["weight_scale"], "dtype": arguments.pop("dtype")}
    net = TwoLayerNet.initialize(*shape, rng=settings["seed"], **weights, **place)
    own = {name: settings[name] for name in (*DEFAULTS, *COMMON) if name in settings}
    arguments |= own | {"rng": settings["seed"]}
    del arguments["n_hidden"], arguments["weight_scale"]
    return train(net, task.X, task.y, validation=task.validation, **arguments)


def listed(grid: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


# ---------------------------------------------------------------------------------------------------------
# Rows


def some(values: list[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


any_grid = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": some([1e-3, 0.05, 0.3, 1e9, 1e30, 1e80], 3),
        "reg": some([0.0, 1e-3, 0.5]),
        "n_hidden": some([1, 3, 4]),
        "batch_size": some([4, 10, 50]),
        "weight_scale": some(["he", 0.01, 1.0]),
        "dropout": some([0.0, 0.3, 0.5]),
        "input_dropout": some([0.0, 0.2]),
        "label_smoothing": some([0.0, 0.1]),
        "optimizer": st.sampled_from([[SGD(0.5), SGD()], [Adam(eps=1e-3)]]),
        "schedule": st.sampled_from(
            [[schedules.Constant(), schedules.Step(0.5, epochs=1)], [schedules.Warmup()]]
        ),
        "augmentation": st.sampled_from([[None, Mixup(0.5)], [FlipAndShift((2, 2), shift=1)]]),
        "seed": st.lists(st.integers(0, 2**40), min_size=1, max_size=2, unique=True),
    },
)


@hypothesis_settings(max_examples=40)
@given(
    grid=any_grid,
    common=st.fixed_dictionaries(
        {
            "monitor": st.sampled_from(["accuracy", "loss"]),
            "judge": st.sampled_from(["best", "last"]),
            "replacement": st.booleans(),
            "sample_weight": st.sampled_from([None, np.arange(23) % 3 + 0.5]),
            "class_weight": st.sampled_from([None, "balanced"]),
            "preprocessing": st.sampled_from([None, SCALING]),
            "schedule": st.just(schedules.Exponential(0.9)),
            "ema_decay": st.sampled_from([None, 0.7]),
            "patience": st.none() | st.integers(1, 2),
        }
    ),
    max_networks=st.none() | st.integers(1, 4),
    default_seed=st.integers(0, 5),
)
def test_each_row_equals_the_single_run_with_its_settings(grid, common, max_networks, default_seed):
    assume(math.prod(map(len, grid.values())) <= 16)
    task = make_task(noise=2.0)
    result = swept(task, grid, rng=default_seed, max_networks=max_networks, **common)
    defaults = {**DEFAULTS, "seed": default_seed}
    assert result.complete
    for row, settings, history in zip(result.runs, listed(grid), result.histories, strict=True):
        full = defaults | settings
        assert {key: row[key] for key in row if key not in ("n_steps", "validation_loss", *OF_ROWS)} == full
        run = single(task, full, **common)
        for name in OF_ROWS:
            np.testing.assert_equal(row[name], getattr(run, name))
        np.testing.assert_allclose(row["validation_loss"], run.validation_loss, rtol=1e-7)
        assert row["n_steps"] == history.loss.size == run.n_steps
        stop = run.n_steps if run.diverged is None else run.diverged - 1
        np.testing.assert_allclose(history.loss[:stop], run.history.loss[:stop], rtol=1e-7)
        np.testing.assert_array_equal(history.step, run.history.step)
        accuracies = history.validation_accuracy
        np.testing.assert_allclose(accuracies, run.history.validation_accuracy, rtol=1e-12)
    if result.best is not None:
        run = single(task, result.best.settings, **common)
        assert_same_net(result.best.net, run.net, rtol=1e-8)


@pytest.mark.float32_on_jax
def test_rows_equal_single_runs_on_every_library(backend: Backend):
    task, dtype = make_task(noise=2.0).on(backend), backend.dtype
    grid = {"learning_rate": [0.05, 0.3, 1e36], "reg": [0.0, 1.0], "n_hidden": [3, 4], "batch_size": [5]}
    result = swept(task, {**grid, "seed": [0, 1]}, dtype=dtype)
    assert len(result.runs) == 24
    for row in result.runs:
        run = single(task, row, backend, dtype=dtype)
        if dtype == "float64":
            for name in OF_ROWS:
                np.testing.assert_equal(row[name], getattr(run, name))
        elif row["learning_rate"] < 1:
            assert row["diverged"] is run.diverged is None
            assert row["validation_accuracy"] == pytest.approx(run.validation_accuracy, abs=1.5 / 11)
    best = single(task, result.best.settings, backend, dtype=dtype)
    for array in result.best.net:
        assert backend.owns(array)
        assert array.dtype == getattr(backend.xp, dtype)
    assert result.best.net.n_networks is None
    assert_same_net(result.best.net, best.net, rtol=1e-10 if dtype == "float64" else 1e-2)


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
    integers = ("n_hidden", "batch_size", "seed", "n_seeds", "n_steps", "best_step", "n_pairs", "rank")
    kinds = dict.fromkeys(integers, int) | {"weight_scale": str, "within_noise": bool}
    of_runs = [*NAMES, "n_steps", *OF_ROWS, "validation_loss"]
    of_table = [*DEFAULTS, "n_seeds", "diverged", "train_accuracy", "validation_accuracy"]
    of_table += ["validation_accuracy_std", "validation_accuracy_error", "validation_loss", "rank", "n_pairs"]
    of_table += ["difference", "difference_error", "difference_margin", "within_noise"]
    for rows, names, diverged in ((result.runs, of_runs, type(None)), (result.table, of_table, int)):
        for row in rows:
            assert list(row) == names
            assert {name: type(row[name]) for name in row} == {
                name: diverged if name == "diverged" else kinds.get(name, float) for name in names
            }
    listed = [(row["learning_rate"], row["n_hidden"], row["batch_size"], row["seed"]) for row in result.runs]
    assert listed == list(itertools.product([0.1, 0.01], [3, 4], [5, 6], [0, 1]))
    assert [row["n_hidden"] for row in result.table] == [3, 3, 4, 4] * 2


def test_a_grid_and_the_list_of_its_settings_give_the_same_rows():
    task, grid = make_task(), {"learning_rate": [0.1, 0.01], "reg": [0.0, 0.1], "n_hidden": [3]}
    by_grid = swept(task, grid)
    for settings in (listed(grid), iter(listed(grid)), tuple(listed(grid))):
        assert_equal_rows(swept(task, settings).runs, by_grid.runs)
    assert_equal_rows(swept(task, listed(grid)[::-1]).runs, by_grid.runs[::-1])


@pytest.mark.parametrize(
    "grid", [{}, [{}], [{"reg": 0.1}, {"n_hidden": 3, "seed": 4}, {"learning_rate": 0.1}]], ids=repr
)
def test_settings_that_a_candidate_does_not_name_have_their_defaults(grid):
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
    rows = swept(make_task(), grid, rng=9).runs
    assert [{key: row[key] for key in NAMES} for row in rows] == [
        {**DEFAULTS, "seed": 9, **one} for one in grid or [{}]
    ]


SHAPES = {"learning_rate": [0.01, 0.1, 0.3], "reg": [0.0, 0.1], "n_hidden": [3, 4], "seed": [0, 1]}
TOGETHER = {"dropout": [0.0, 0.5], "label_smoothing": [0.0, 0.1], "n_hidden": [3]}
STACKS = {
    "shapes-and-seeds": (SHAPES, None, [6] * 4),
    "at-most-4": (SHAPES, 4, [3] * 8),
    "one-by-one": (SHAPES, 1, [1] * 24),
    "weight-scales": ({"weight_scale": ["he", 0.1, 1]}, None, [3]),
    "optimizers": ({"optimizer": [SGD(), SGD(0.9), Adam()], **TOGETHER}, None, [4] * 3),
    "schedules": (
        {"schedule": [schedules.Constant(), schedules.Cosine(), schedules.Exponential(0.5)], **TOGETHER},
        None,
        [4] * 3,
    ),
    "augmentations": ({"augmentation": [None, Mixup(0.2), Mixup(1.0)], **TOGETHER}, None, [4] * 3),
    "input-dropouts": ({"input_dropout": [0.0, 0.2, 0.4], **TOGETHER}, None, [4] * 3),
}


@pytest.mark.parametrize("case", STACKS)
def test_candidates_are_divided_into_stacks_with_the_same_shared_settings(case):
    grid, max_networks, sizes = STACKS[case]
    found = {}

    def watch(progress: Progress) -> None:
        found[progress.stage] = progress.net().n_networks
        assert progress.stages == len(sizes)

    result = swept(make_task(), grid, max_networks=max_networks, callbacks=[watch])
    assert found == dict(enumerate(sizes, start=1))
    assert [{key: row[key] for key in grid} for row in result.runs] == listed(grid)
    assert len({str(history.loss.tolist()) for history in result.histories}) == sum(sizes)


@pytest.mark.parametrize(("dtype", "sizes"), [("float32", [5, 5]), ("float64", [2] * 5)])
def test_a_stack_stays_within_the_cache(monkeypatch: pytest.MonkeyPatch, dtype, sizes):
    task, found = make_task(), {}
    monkeypatch.setattr(execution, "STACK_BYTES", 5 * 4 * 10 * 4)  # 5 float32 networks of 4 units, batch 10
    grid = {"reg": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "n_hidden": [4], "batch_size": [10]}

    def watch(progress: Progress) -> None:
        found[progress.stage] = progress.net().n_networks

    result = swept(task, grid, dtype=dtype, callbacks=[watch])
    assert [*found.values()] == sizes
    halved = swept(task, grid, dtype=dtype, callbacks=[watch], epochs=4, steps=None, halving=2)
    assert found[1] == len(halved.runs) == len(result.runs) == 10  # the stack of halving soon gets smaller


def test_settings_in_the_grid_override_common_ones():
    task = make_task(noise=2.0)
    grid = [
        {"n_hidden": 3, "learning_rate": 0.1},
        {"n_hidden": 3, "learning_rate": 0.1, "optimizer": SGD(0.9)},
    ]
    result = swept(task, grid, optimizer=Adam(), augmentation=Mixup(0.3))
    assert [row["optimizer"] for row in result.runs] == [Adam(), SGD(0.9)]
    assert [row["optimizer"] for row in result.table] == [Adam(), SGD(0.9)]
    for rows, last in ((result.runs, "validation_loss"), (result.table, "within_noise")):
        for row in rows:
            assert not {"augmentation", "schedule"} & set(row)  # they are the same for all candidates
            assert list(row)[: len(DEFAULTS) + 1] == [*DEFAULTS, "optimizer"]
            assert list(row)[-1] == last
    for row, history in zip(result.runs, result.histories, strict=True):
        run = single(task, row, augmentation=Mixup(0.3))
        assert_same_history(history, run.history, rtol=1e-10)
    assert set(result.best.settings) == {*NAMES, "optimizer"}


def test_augmentations_that_cannot_be_hashed_are_distinguished():
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


# ---------------------------------------------------------------------------------------------------------
# Arguments


def test_sweep_does_not_change_its_arguments(backend: Backend):
    task = make_task().on(backend)
    weight = backend.array(np.linspace(0.5, 1.5, 23))
    inputs = [task.X, task.y, task.X_val, task.y_val, weight]
    before = [to_host(array) for array in inputs]
    grid = {"learning_rate": [0.1, 0.01], "n_hidden": [3]}
    swept(task, grid, sample_weight=weight, dtype=backend.dtype)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(to_host(array), copy)
    assert grid == {"learning_rate": [0.1, 0.01], "n_hidden": [3]}


@pytest.mark.float32_on_jax
def test_networks_are_float32_by_default_and_float64_on_request(backend: Backend):
    task, grid = make_task().on(backend), {"n_hidden": [3]}
    data = {"validation": task.validation, "grid": grid, "epochs": 1}
    best = sweep(task.X, task.y, **data).best
    assert best.net.W1.dtype == backend.xp.float32
    assert backend.owns(best.net.W1)
    assert best.settings["seed"] == 0
    if "float64" in backend.dtypes:
        assert sweep(task.X, task.y, **data, dtype="float64").best.net.W1.dtype == backend.xp.float64
        return
    with pytest.raises(TypeError, match=r"`dtype` must be one that .* has.*; got float64$"):
        sweep(task.X, task.y, **data, dtype="float64")


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
    assert found(task._replace(y=np.minimum(task.y, 1))) == 3  # the validation set has a third class
    assert found(task._replace(y_val=np.minimum(task.y_val, 1))) == 3
    assert found(task._replace(y=task.y * 0, y_val=task.y_val * 0)) == 1
    soft = make_task(n_classes=3, soft=True)
    assert found(soft) == 3
    assert found(make_task(n_classes=1, soft=True)) == 1
    assert found(soft._replace(y_val=soft.y_val.argmax(axis=1))) == 3
    assert found(task._replace(y_val=soft.y_val)) == 3


def test_the_seed_of_a_row_is_that_of_its_settings_or_of_the_sweep():
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


def test_steps_can_be_passed_instead_of_epochs():
    result = swept(make_task(), {"batch_size": [5, 10]}, epochs=None, steps=7)
    assert [len(history.loss) for history in result.histories] == [7, 7]
    assert [history.step.tolist() for history in result.histories] == [[5, 7], [3, 6, 7]]
