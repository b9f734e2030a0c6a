"""Plans: parts of a sweep, run in any order and any process, join to the result of `sweep`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.backends import Backend
from support.plans import GRID, WAYS, arguments, assert_same_result, data, joined
from support.refusals import refusal
from support.small_runs import Task, make_task, stopping
from support.sweeps import BASE

from twolayer import SweepPlan, plan, sweep
from twolayer.augmentation import FlipAndShift
from twolayer.checkpoints import load_run
from twolayer.optimizers import Adam
from twolayer.schedules import Cosine
from twolayer.sweeping import Part, PartResult

pytestmark = pytest.mark.once_on_jax

TASK = make_task(noise=2.0)
# One way of each kind, for tests on slow libraries.
FEW = ("plain", "halving", "folds", "folds-fitted")


def how_of(way: str, task: Task = TASK, **changes: Any) -> dict[str, Any]:
    return arguments(task, WAYS[way] | changes)


def on(backend: Backend, how: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the arrays of a backend."""
    placed = how | {"dtype": backend.dtype}
    for name in ("X", "y", "sample_weight"):
        if placed.get(name) is not None:
            placed[name] = backend.array(placed[name])
    if "validation" in placed:
        placed["validation"] = tuple(map(backend.array, placed["validation"]))
    return placed


def through_pickle(part: Part, **of_part: Any) -> Any:
    """Run a part as another process would: the part, its arguments and its result are pickled."""
    return sent(sent(part).run(**sent(of_part)))


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301  # it was made here


@pytest.mark.parametrize("way", FEW)
def test_parts_run_in_any_order_join_to_the_sweep(backend: Backend, way: str) -> None:
    how = on(backend, how_of(way))
    exact = backend.library in ("numpy", "strict")
    assert_same_result(joined(how, seed=1), sweep(**how), rtol=0.0 if exact else backend.rtol)


@pytest.mark.parametrize("way", WAYS)
def test_parts_and_results_may_be_pickled(way: str) -> None:
    how = how_of(way)
    assert_same_result(joined(how, through_pickle), sweep(**how))


@pytest.mark.parametrize("way", ["plain", "halving"])
def test_the_samples_of_a_plan_may_be_streamed(backend: Backend, way: str) -> None:
    """The samples stay on the host, and the networks are in the library `xp` on `device`."""
    how = how_of(way, stream=True, xp=backend.xp, device=backend.device, dtype=backend.dtype)
    if backend.dtype == "float32":
        how |= {"X": TASK.X.astype("f4"), "validation": (TASK.X_val.astype("f4"), TASK.y_val)}
    result = joined(how)
    assert_same_result(result, sweep(**how), rtol=0.0 if backend.library == "numpy" else backend.rtol)
    assert backend.owns(result.best.net.W1)


@hypothesis_settings(max_examples=25)
@given(
    way=st.sampled_from(list(WAYS)),
    seed=st.integers(0, 100),
    how=st.fixed_dictionaries(
        {},
        optional={
            "max_networks": st.integers(1, 4),
            "ema_decay": st.just(0.8),
            "patience": st.integers(1, 2),
            "monitor": st.sampled_from(["accuracy", "loss"]),
            "judge": st.sampled_from(["best", "last"]),
            "optimizer": st.just(Adam(eps=1e-3)),
            "schedule": st.just(Cosine()),
            "augmentation": st.just(FlipAndShift((2, 2), shift=1)),
            "replacement": st.just(True),
            "dtype": st.just("float32"),
        },
    ),
)
def test_any_mix_of_settings_joins_to_the_sweep(way: str, seed: int, how: dict[str, Any]) -> None:
    mixed = how_of(way, **how)
    assert_same_result(joined(mixed, through_pickle, seed), sweep(**mixed))


def test_parts_come_for_each_rung_and_for_the_refit() -> None:
    """The parts of one rung at a time, and at the end a part for all samples."""

    def sizes(way: str) -> list[int]:
        how, found = how_of(way), []
        made = plan(**how)
        while made.parts:
            found.append(len(made.parts))
            assert made.result is None
            assert {part.n_parts for part in made.parts} == {found[0] + (way == "folds")}
            made = made.join(part.run(**data(how)) for part in made.parts)
        return found

    assert sizes("plain") == [4]
    assert sizes("pieces") == [8]
    assert sizes("halving") == [4, 4, 4]  # after 1, 2 and 4 epochs
    assert sizes("folds-none") == sizes("folds-merge") == [4]
    assert sizes("folds") == [4, 1]


def test_a_part_is_small() -> None:
    """It contains no samples."""
    task = make_task(n_samples=3000, n_features=50, n_validation=1000)
    made = plan(**how_of("plain", task))
    sizes = [len(pickle.dumps(part)) for part in made.parts]
    assert max(sizes) < 5000
    assert task.X.nbytes > 200 * max(sizes)


def test_running_parts_does_not_change_the_plan() -> None:
    """So that a part may be run again."""
    how = how_of("folds-halving", sample_weight=np.arange(23) % 3 + 0.5)
    kept = [np.array(how[name]) for name in ("X", "y", "sample_weight")]
    made = plan(**how)
    made = made.join(part.run(**data(how)) for part in made.parts)  # parts with an earlier run
    before = pickle.dumps(made)
    results = [[part.run(**data(how)) for part in made.parts] for _ in range(2)]
    assert pickle.dumps(made) == before
    ends = [made.join(again) for again in results]
    assert pickle.dumps(made) == before
    assert pickle.dumps(ends[0].parts) == pickle.dumps(ends[1].parts)
    for name, array in zip(("X", "y", "sample_weight"), kept, strict=True):
        np.testing.assert_array_equal(how[name], array)


def test_other_arrays_with_the_same_contents_are_accepted() -> None:
    how = how_of("plain")
    task = make_task(noise=2.0)
    other = {"X": np.asfortranarray(task.X), "y": task.y.copy(), "validation": list(task.validation)}
    assert_same_result(joined(how, lambda part, **_: part.run(**other)), sweep(**how))


def stacked(made: SweepPlan, how: dict[str, Any]) -> list[PartResult]:
    return [part.run(**data(how)) for part in made.parts]


REFUSED: dict[str, tuple[Callable[[list[PartResult]], Any], list[int]]] = {
    "none": (lambda found: [], []),
    "missing": (lambda found: found[1:], [2, 3, 4]),
    "twice": (lambda found: [*found, found[1]], [1, 2, 2, 3, 4]),
    "of another": (lambda found: [*found[:3], replace(found[3], number=7)], [1, 2, 3, 7]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_join_needs_one_result_of_each_part(case: str) -> None:
    change, numbers = REFUSED[case]
    how = how_of("plain")
    made = plan(**how)
    message = f"`results` must hold one result for each of the parts [1, 2, 3, 4]; got {numbers}"
    with refusal(f"ValueError: {message}"):
        made.join(change(stacked(made, how)))


def test_join_refuses_results_of_another_plan_and_of_another_rung() -> None:
    how = how_of("plain")
    rates = how | {"grid": how["grid"] | {"learning_rate": [0.02, 0.07]}}
    for other in (rates, how | {"epochs": 2}, how | {"X": how["X"][::-1]}):
        with refusal(
            "ValueError: `results` must be those of this plan; Part(1 of 4: 2 networks) got another…"
        ):
            plan(**how).join(stacked(plan(**other), other))
    how = how_of("halving")
    first = plan(**how)
    results = stacked(first, how)
    with refusal("ValueError: `results` must be those of this plan; Part(1 of …"):
        first.join(results).join(results)


@pytest.mark.parametrize("way", ["plain", "halving", "folds"])
def test_join_refuses_a_part_that_was_stopped(way: str) -> None:
    how = how_of(way)
    made = plan(**how)
    first, *others = made.parts
    stopped = first.run(**data(how), callbacks=[stopping(3)])
    assert (stopped.complete, stopped.stopped) == (False, True)
    with refusal(
        "ValueError: `results` must be those of parts that were trained to the end; a callback stopped part "
        "1 after 3 steps"
    ):
        made.join([stopped, *(part.run(**data(how)) for part in others)])


def test_a_part_that_was_stopped_at_its_end_is_complete() -> None:
    how = how_of("plain")
    made = plan(**how)
    results = [part.run(**data(how), callbacks=[stopping(15, epoch_ended=True)]) for part in made.parts]
    assert all(one.complete and one.stopped for one in results)
    assert_same_result(made.join(results).result, sweep(**how))


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "X": ({"X": TASK.X + 1}, "`X` must be the plan's, float64 of shape (23, 4), …; got float64 of…"),
    "dtype": ({"X": TASK.X.astype("f4")}, "`X` must be the plan's, …; got float32 of shape (23, 4)…"),
    "y": ({"y": np.roll(TASK.y, 1)}, "`y` must be the plan's, …"),
    "validation": ({"validation": (TASK.X_val, 2 - TASK.y_val)}, "`validation y` must be the plan's, …"),
    "no validation": ({"validation": None}, "`validation X` must be the plan's, …; got None. …"),
    "weights": ({"sample_weight": np.ones(23)}, "`sample_weight` must be the plan's, None; got …"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_part_refuses_other_data(case: str) -> None:
    changes, message = OTHER[case]
    how = how_of("plain")
    called: list[Any] = []
    with refusal(f"ValueError: {message}. A part trains on the data that its plan was made for"):
        plan(**how).parts[0].run(**data(how) | changes, callbacks=[called.append])
    assert not called


@pytest.mark.parametrize("way", ["plain", "halving", "folds", "folds-fitted", "diverging"])
@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_a_part_resumes_from_its_checkpoint(tmp_path: Path, way: str, step: int) -> None:
    """A part whose checkpoint is complete is not trained again."""
    how = how_of(way)

    def run(part: Part, **of_part: Any) -> PartResult:
        path = tmp_path / f"{part.number}-{part.epochs}.safetensors"
        first = part.run(**of_part, checkpoint=path, callbacks=[stopping(step)])
        if path.is_file() and not first.complete:
            assert load_run(path).n_steps == step
        last = part.run(**of_part, checkpoint=str(path))
        assert load_run(path).n_steps == last.run.n_steps
        again = part.run(**of_part, checkpoint=path, callbacks=[refuse])
        assert pickle.dumps(again.run.history) == pickle.dumps(last.run.history)
        return again

    def refuse(progress: Any) -> None:
        raise AssertionError("it was trained again")

    assert_same_result(joined(how, run), sweep(**how))


def test_a_part_refuses_the_checkpoint_of_another(tmp_path: Path) -> None:
    how = how_of("plain")
    first, *others = plan(**how).parts
    first.run(**data(how), checkpoint=tmp_path / "part")
    for other in others:
        with pytest.raises(ValueError, match="must resume from its own run, of this version"):
            other.run(**data(how), checkpoint=tmp_path / "part")
    scales = how | {"grid": how["grid"] | {"weight_scale": [0.01, 1.0]}, "max_networks": 1}
    one, two, *_ = plan(**scales).parts  # they differ only in the weight scale
    one.run(**data(how), checkpoint=tmp_path / "scale")
    with pytest.raises(ValueError, match="must resume from its own run, of this version"):
        two.run(**data(how), checkpoint=tmp_path / "scale")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        first.run(**data(how), checkpoint=tmp_path / "nowhere" / "part")


def test_the_stage_of_progress_is_the_number_of_the_part() -> None:
    how = how_of("folds")
    seen: list[tuple[int, int]] = []
    made = plan(**how)
    results = [
        part.run(**data(how), callbacks=[lambda progress: seen.append((progress.stage, progress.stages))])
        for part in reversed(made.parts)
    ]
    assert list(dict.fromkeys(seen)) == [(4, 5), (3, 5), (2, 5), (1, 5)]
    assert {one.place for one in results} == {(one.run.n_steps, one.run.n_steps, 3, 3) for one in results}


def test_reprs_show_numbers_of_networks_and_parts() -> None:
    how = how_of("folds")
    made = plan(**how)
    assert repr(made) == "SweepPlan(24 networks, 4 parts to run)"
    assert repr(made.parts[1]) == "Part(2 of 5: 6 networks)"
    made = made.join(stacked(made, how))
    assert repr(made) == "SweepPlan(24 networks, 1 parts to run)"
    assert repr(made.parts[0]) == "Part(5 of 5: 1 networks)"
    assert repr(made.join(stacked(made, how))) == "SweepPlan(24 networks, 0 parts to run)"


def test_a_plan_refuses_the_same_arguments_as_a_sweep() -> None:
    how = {"X": TASK.X, "y": TASK.y, "grid": GRID, **BASE}
    for changes in ({}, {"validation": TASK.validation, "folds": 2}):
        with pytest.raises(ValueError, match="`validation` or `folds` must be given to judge networks by"):
            plan(**how, **changes)
    with pytest.raises(ValueError, match="`halving` must be at least 2; got 1"):
        plan(**how_of("plain", halving=1))
