"""Sweeps resumed from a folder: without changes, with more candidates, and refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.backends import Backend
from support.plans import GRID, WAYS, arguments, assert_same_result
from support.refusals import refusal
from support.small_runs import Watcher, assert_same_history, assert_same_net, make_task
from support.sweeps import assert_equal_rows

from twolayer import Progress, SweepResult, sweep
from twolayer.augmentation import FlipAndShift
from twolayer.checkpoints import load_run
from twolayer.optimizers import Adam
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.schedules import Cosine
from twolayer.sweeping import stored

pytestmark = pytest.mark.once_on_jax

TASK = make_task(noise=2.0)
PATIENT = {"patience": 1, "epochs": 6, "max_networks": 2}
HOW: dict[str, dict[str, Any]] = {
    **WAYS,
    "patience": PATIENT,
    "average": {"ema_decay": 0.8, "optimizer": Adam(eps=1e-3), "schedule": Cosine()},
    "augmented": {"augmentation": FlipAndShift((2, 2), shift=1)},
    "stream": {"stream": True},
}


def how_of(way: str = "plain", **changes: Any) -> dict[str, Any]:
    return arguments(TASK, HOW[way] | changes)


def grid(**changes: Any) -> dict[str, Any]:
    return {"grid": GRID | changes}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Interrupted(Exception):
    """The error that a callback raises to end a sweep."""


def number_of_calls(how: dict[str, Any]) -> int:
    watcher = Watcher()
    sweep(**how, callbacks=[watcher])
    return len(watcher.seen)


class Ends:
    """A callback that ends a sweep at its call number ``at``, by a stop or by an error."""

    def __init__(self, at: int, *, raises: bool) -> None:
        self.left, self.raises = at, raises

    def __call__(self, progress: Progress) -> None:
        self.left -= 1
        if self.left == 0 and self.raises:
            raise Interrupted
        if self.left == 0:
            progress.stop()


def resumed_sweep(
    how: dict[str, Any], folder: Path, calls: list[tuple[int, bool]], seconds: float = 0.0
) -> SweepResult:
    """The result of a sweep that ends at each of these calls, and is then resumed."""
    more = {"resume": folder, "checkpoint_seconds": seconds}
    for at, raises in calls:
        try:
            sweep(**how, **more, callbacks=[Ends(at, raises=raises)])
        except Interrupted:
            assert raises
    return sweep(**how, **more)


@pytest.mark.parametrize("way", HOW)
def test_a_folder_changes_no_result(tmp_path: Path, way: str) -> None:
    """Neither in the first sweep nor in a second one, which has nothing left to train."""
    how = how_of(way)
    expected, folder = sweep(**how), tmp_path / "within" / "parts"
    assert_same_result(sweep(**how, resume=folder), expected)
    before = files_of(folder)
    assert {name.partition(".")[2] for name in before} == {"json", "safetensors"}
    watcher = Watcher()
    assert_same_result(sweep(**how, resume=str(folder), callbacks=[watcher]), expected)
    assert watcher.seen == []
    assert files_of(folder) == before


@pytest.mark.parametrize("way", HOW)
@pytest.mark.parametrize("raises", [False, True], ids=["stopped", "error"])
def test_a_sweep_resumes_after_any_call_of_a_callback(tmp_path: Path, way: str, raises: bool) -> None:
    """It ends as an uninterrupted sweep, bit for bit."""
    how, seconds = how_of(way), 0.0 if raises else 1e6
    expected, n_calls = sweep(**how), number_of_calls(how)
    for at in {1, n_calls // 3, n_calls // 3 + 1, n_calls - 1, n_calls}:
        found = resumed_sweep(how, tmp_path / str(at), [(at, raises)], seconds)
        assert_same_result(found, expected)


@hypothesis_settings(max_examples=12)
@given(
    way=st.sampled_from(list(HOW)),
    calls=st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=4),
    seconds=st.sampled_from([0.0, 1e6]),
)
def test_a_sweep_can_be_resumed_several_times(
    tmp_path_factory: pytest.TempPathFactory, way: str, calls: list[tuple[int, bool]], seconds: float
) -> None:
    how, folder = how_of(way), tmp_path_factory.mktemp("parts")
    assert_same_result(resumed_sweep(how, folder, calls, seconds), sweep(**how))


@pytest.mark.parametrize("way", ["plain", "halving", "folds"])
def test_a_sweep_resumes_on_every_library(backend: Backend, tmp_path: Path, way: str) -> None:
    how = how_of(way, dtype=backend.dtype)
    for name in ("X", "y"):
        how[name] = backend.array(how[name])
    if "validation" in how:
        how["validation"] = tuple(map(backend.array, how["validation"]))
    found = resumed_sweep(how, tmp_path, [(18, False), (20, True)])
    assert_same_result(found, sweep(**how), rtol=0.0 if backend.library == "numpy" else backend.rtol)
    assert backend.owns(found.best.net.W1)


def test_the_result_of_a_stopped_sweep_includes_earlier_parts(tmp_path: Path) -> None:
    """These are the parts that earlier sweeps left in the folder."""
    how = how_of("plain")
    first = sweep(**how, resume=tmp_path, callbacks=[Watcher(lambda p: (p.stage, p.step) == (3, 7))])
    assert sorted(row["n_steps"] for row in first.runs) == [7, 7, 15, 15, 15, 15]
    again = sweep(**how, resume=tmp_path, callbacks=[Watcher(lambda p: (p.stage, p.step) == (3, 8))])
    assert sorted(row["n_steps"] for row in again.runs) == [8, 8, 15, 15, 15, 15]
    assert not again.complete


def test_the_result_of_a_stopped_sweep_includes_later_parts_in_the_folder(tmp_path: Path) -> None:
    how = how_of("plain")
    sweep(**how, resume=tmp_path)
    first = {"learning_rate": GRID["learning_rate"], "n_hidden": [3], "batch_size": [5], "seed": [0]}
    sweep(**how_of("plain", grid=first), resume=tmp_path / "first")
    (own,) = (tmp_path / "first").glob("*.safetensors")
    (tmp_path / own.name).unlink()
    result = sweep(**how, resume=tmp_path, callbacks=[Watcher(lambda p: p.step == 7)])
    assert [row["n_steps"] for row in result.runs if (row["n_hidden"], row["seed"]) == (3, 0)] == [7, 7]
    assert len(result.runs) == 8
    assert not result.complete


@pytest.mark.parametrize("way", ["plain", "folds-fitted", "average"])
@pytest.mark.parametrize("at", [2, 8, 21])
def test_finished_steps_are_not_repeated(tmp_path: Path, way: str, at: int) -> None:
    """After a stop, no step is repeated; after an error, only the steps since the last checkpoint."""
    how, left = how_of(way), Watcher()
    n_calls = number_of_calls(how)
    sweep(**how, resume=tmp_path / "stopped", callbacks=[Ends(at, raises=False)])
    sweep(**how, resume=tmp_path / "stopped", callbacks=[left])
    assert len(left.seen) == n_calls - at
    how |= {"resume": tmp_path / "error", "checkpoint_seconds": 0.0}
    with pytest.raises(Interrupted):
        sweep(**how, callbacks=[Ends(at, raises=True)])
    left = Watcher()
    sweep(**how, callbacks=[left])
    # A checkpoint is written after the other callbacks, but at the end of an epoch one already exists.
    assert n_calls - at <= len(left.seen) <= n_calls - at + 1


@pytest.mark.parametrize("way", ["plain", "halving", "folds"])
def test_a_sweep_on_workers_resumes(tmp_path: Path, way: str) -> None:
    how = how_of(way)
    with ThreadPoolExecutor(2) as executor:
        for at in (1, 3):
            try:
                sweep(
                    **how,
                    resume=tmp_path,
                    checkpoint_seconds=0.0,
                    executor=executor,
                    callbacks=[Ends(at, raises=True)],
                )
            except Interrupted:
                continue
        found = sweep(**how, resume=tmp_path, executor=executor)
    assert_same_result(found, sweep(**how))
    assert_same_result(sweep(**how, resume=tmp_path), found)


# ---------------------------------------------------------------------------------------------------------
# More candidates and seeds

MORE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "seeds": ("plain", {}, {"seed": [0, 1, 2]}),
    "a seed before": ("plain", {}, {"seed": [5, 0, 1]}),
    "sizes": ("plain", {}, {"n_hidden": [2, 3, 4]}),
    "rates": ("plain", {}, {"learning_rate": [0.3, 0.1, 0.05]}),
    "both": ("plain", {}, {"learning_rate": [0.1, 0.3, 0.05], "seed": [2, 1, 0]}),
    "folds": ("folds", {}, {"seed": [0, 1, 2], "learning_rate": [0.05, 0.1, 0.3]}),
    "folds-fitted": ("folds-fitted", {}, {"seed": [0, 1, 2]}),
    "pieces": ("pieces", {}, {"learning_rate": [0.05, 0.1, 0.3]}),
}


@pytest.mark.parametrize("case", MORE)
@pytest.mark.parametrize("at", [None, 20])
def test_candidates_and_seeds_can_be_added(tmp_path: Path, case: str, at: int | None) -> None:
    """Trained parts are kept, and the other networks are divided into parts of their own.

    A finished part is written again with the same bytes, so only the time of its file changes.
    """
    way, changes, more = MORE[case]
    earlier = how_of(way, **changes)
    sweep(**earlier, resume=tmp_path, callbacks=[] if at is None else [Ends(at, raises=False)])
    before = files_of(tmp_path)
    complete = {name for name in before if at is None and name != stored.PLAN}
    refits = 1 if at is None and way.startswith("folds") else 0
    later = how_of(way, **changes, **grid(**more))
    watcher = Watcher()
    found = sweep(**later, resume=tmp_path, callbacks=[watcher])
    after, fresh = files_of(tmp_path), sweep(**later)
    assert {name: after[name] for name in complete} == {name: before[name] for name in complete}
    if at is None:
        kept = len(complete) - refits
        assert min(one.stage for one in watcher.seen) == kept + 1
    # Other stacks round differently, so the last digits may differ from those of a fresh sweep.
    assert_equal_rows(found.runs, fresh.runs)
    assert_equal_rows(found.table, fresh.table)
    for one, other in zip(found.histories, fresh.histories, strict=True):
        assert_same_history(one, other, rtol=1e-9)
    assert_same_net(found.best.net, fresh.best.net, rtol=1e-9)
    assert_same_result(sweep(**later, resume=tmp_path), found)


def test_added_seeds_give_the_result_of_a_fresh_sweep_bit_for_bit(tmp_path: Path) -> None:
    """Each seed has parts of its own, so the stacks are those of a fresh sweep."""
    sweep(**how_of("plain"), resume=tmp_path)
    later = how_of("plain", **grid(seed=[0, 1, 2, 3]))
    assert_same_result(sweep(**later, resume=tmp_path), sweep(**later))


def test_random_candidates_can_be_added(tmp_path: Path) -> None:
    from twolayer.search import LogUniform

    how = how_of("plain", **grid(learning_rate=LogUniform(1e-3, 1.0), seed=[0, 1]))
    sweep(**how, candidates=3, resume=tmp_path)
    before = files_of(tmp_path)
    found = sweep(**how, candidates=5, resume=tmp_path)
    after = files_of(tmp_path)
    assert len(found.table) == 5
    assert all(after[name] == before[name] for name in before if name != stored.PLAN)
    with pytest.raises(ValueError, match="must include those of the sweep in"):
        sweep(**how, candidates=3, resume=tmp_path)


def test_max_networks_may_differ(tmp_path: Path) -> None:
    """Parts that are already in the folder are kept, so that their training is not wasted."""
    sweep(**how_of("plain"), resume=tmp_path, callbacks=[Ends(20, raises=False)])
    found = sweep(**how_of("plain"), max_networks=1, resume=tmp_path)
    assert_same_result(found, sweep(**how_of("plain")))


def test_arguments_that_do_not_change_results_may_differ(tmp_path: Path) -> None:
    how = how_of("folds")
    sweep(**how, resume=tmp_path, callbacks=[Ends(20, raises=False)])
    other = how | {"X": np.asfortranarray(TASK.X), "refit": "merge", "stream": True}
    assert_same_result(sweep(**other, resume=tmp_path), sweep(**other))


# ---------------------------------------------------------------------------------------------------------
# Refusals

ADVICE = "A sweep resumes with its own settings and data; only candidates and seeds may be added"
OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "epochs": ("plain", {"epochs": 4}, "`epochs` must be that of the sweep in FOLDER, 3; got 4"),
    "patience": ("plain", {"patience": 1}, "`patience` must be that of the sweep in FOLDER, None; got 1"),
    "judge": ("plain", {"judge": "last"}, "`judge` must be that of the sweep in FOLDER, 'best'; got 'last'"),
    "dtype": (
        "plain",
        {"dtype": "float32"},
        "`dtype` must be that of the sweep in FOLDER, float64; got float32",
    ),
    "optimizer": ("plain", {"optimizer": Adam()}, "`optimizer` must be that of the sweep in FOLDER, SGD(…"),
    "schedule": ("plain", {"schedule": Cosine()}, "`schedule` must be…; got Cosine()"),
    "ema": ("plain", {"ema_decay": 0.5}, "`ema_decay` must be…, None; got 0.5"),
    "weights": ("plain", {"class_weight": "balanced"}, "`class_weight` must be…, None; got 'balanced'"),
    "halving": ("plain", {"halving": 2}, "`halving` must be that of the sweep in FOLDER, None; got 2"),
    "not halving": ("halving", {"halving": 3}, "`halving` must be that of the sweep in FOLDER, 2; got 3"),
    "X": ("plain", {"X": TASK.X + 1}, "`X` must be that of the sweep in FOLDER, float64 of shape (23, 4), …"),
    "y": ("plain", {"y": 2 - TASK.y}, "`y` must be that of the sweep in FOLDER, int64 of shape (23,), …"),
    "val": (
        "plain",
        {"validation": (TASK.X_val + 1, TASK.y_val)},
        "`validation X` must be that of the sweep in FOLDER, …",
    ),
    "sample weights": (
        "plain",
        {"sample_weight": np.ones(23)},
        "`sample_weight` must be…, None; got float64…",
    ),
    "folds": (
        "folds",
        {"folds": 4},
        "`folds` must be that of the sweep in FOLDER, 3 folds, …; got 4 folds, …",
    ),
    "other folds": ("folds", {"rng": 5}, "`folds` must be that of the sweep in FOLDER, 3 folds, …"),
    "fit": (
        "folds-fitted",
        {"preprocessing": Whitener},
        "`preprocessing` must be…, partial(Standardizer.fit, dict(scale='feature')); got Whitener.fit",
    ),
    "fit's arguments": (
        "folds-fitted",
        {"preprocessing": partial(Standardizer.fit, scale="global")},
        "`preprocessing` must be…feature…; got partial(Standardizer.fit, dict(scale='global'))",
    ),
    "fitted": (
        "plain",
        {"preprocessing": Standardizer.fit(TASK.X)},
        "`preprocessing` must be…, None; got Standardizer(…",
    ),
    "n_classes": ("plain", {"n_classes": 4}, "`n_classes` must be that of the sweep in FOLDER, 3; got 4"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_settings_and_data_are_refused(tmp_path: Path, case: str) -> None:
    way, changes, message = OTHERS[case]
    how = how_of(way)
    sweep(**how, resume=tmp_path, callbacks=[Ends(3, raises=False)])
    before = files_of(tmp_path)
    with refusal(f"ValueError: {message.replace('FOLDER', str(tmp_path))}. {ADVICE}"):
        sweep(**how | changes, resume=tmp_path)
    assert files_of(tmp_path) == before


def test_missing_candidates_and_seeds_are_refused(tmp_path: Path) -> None:
    sweep(**how_of(), resume=tmp_path)
    before = files_of(tmp_path)
    for changes in ({"seed": [0]}, {"seed": [0, 2]}, {"learning_rate": [0.05]}, {"batch_size": [6]}):
        with refusal(
            f"ValueError: the candidates and seeds must include those of the sweep in {tmp_path}; "
            "(batch_size=5, …) is missing"
        ):
            sweep(**how_of(**grid(**changes)), resume=tmp_path)
    assert files_of(tmp_path) == before


def test_with_halving_other_candidates_are_refused(tmp_path: Path) -> None:
    how = how_of("halving")
    sweep(**how, resume=tmp_path, callbacks=[Ends(3, raises=False)])
    with refusal(
        f"ValueError: the candidates and seeds must be those of the sweep in {tmp_path}, as `halving` "
        "compares all of them; got 24 networks, and the folder has 16"
    ):
        sweep(**how | {"grid": how["grid"] | {"seed": [0, 1, 2]}}, resume=tmp_path)


def schedule_of(factor: float) -> Callable[..., Any]:
    def schedule(step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        return np.full(np.shape(step), factor)

    return schedule


def test_candidates_with_equal_descriptions_are_refused(tmp_path: Path) -> None:
    """A function is described by its name, so one candidate would resume the training of the other."""
    how = how_of(**grid(schedule=[schedule_of(1.0), schedule_of(0.1)]))
    with refusal(
        "ValueError: with `resume`, candidates must have different descriptions, in which a function is only "
        "its name; got two of (…schedule=schedule_of.<locals>.schedule…)"
    ):
        sweep(**how, resume=tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "empty": (lambda _: "", "FILE must be a JSON file in UTF-8; …"),
    "a list": (lambda _: "[]", "FILE must hold a JSON object; got list"),
    "another": (lambda record: {"format": "x"}, "FILE must have `format_version`; it is missing"),
    "format": (lambda record: record | {"format": "x"}, "`format` in FILE must be 'twolayer sweep'; got 'x'"),
    "version": (lambda record: record | {"format_version": 2}, "`format_version` in FILE must be 1; got 2"),
    "settings": (
        lambda record: record | {"settings": {"a": 1}},
        "`settings` in FILE must be an object of texts; got …",
    ),
    "parts": (
        lambda record: record | {"parts": [3]},
        "`parts` in FILE must be a list of lists of texts; got …",
    ),
    "no parts": (
        lambda record: {name: value for name, value in record.items() if name != "parts"},
        "FILE must have `parts`; it is missing",
    ),
    "twice": (
        lambda record: record | {"parts": record["parts"][:1] * 2},
        "FILE must have each network once; got one twice",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_plan_is_refused(tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    sweep(**how_of(), resume=tmp_path)
    file = tmp_path / stored.PLAN
    changed = change(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed), encoding="utf-8")
    before = files_of(tmp_path)
    message = message.replace("FILE", str(file)).replace("FOLDER", str(tmp_path))
    with refusal(f"ValueError: {message}"):
        sweep(**how_of(), resume=tmp_path)
    assert files_of(tmp_path) == before


EDITED: dict[str, Callable[[list[list[str]]], list[list[str]]]] = {
    "a part left out": lambda parts: parts[1:],
    "foreign": lambda parts: [["dict(x=1)"]],
    "empty": lambda parts: [],
    "in another order": lambda parts: parts[::-1],
    "an empty part": lambda parts: [[], *parts],
    "joined": lambda parts: [parts[0] + parts[1], *parts[2:]],
    "mixed": lambda parts: [parts[0][:1] + parts[3][1:], parts[3][:1] + parts[0][1:], parts[1], parts[2]],
}


@pytest.mark.parametrize("case", EDITED)
def test_an_edited_plan_gives_the_same_result(tmp_path: Path, case: str) -> None:
    """Parts may be trained again, but results never change."""
    sweep(**how_of(), resume=tmp_path)
    file = tmp_path / stored.PLAN
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(record | {"parts": EDITED[case](record["parts"])}), encoding="utf-8")
    assert_same_result(sweep(**how_of(), resume=tmp_path), sweep(**how_of()))


@pytest.mark.parametrize("size", [0, 7, 300, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, size: int) -> None:
    """The message names the file. Once the file is deleted, the part is trained again."""
    how = how_of()
    sweep(**how, resume=tmp_path)
    file = sorted(tmp_path.glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=file.name):
        sweep(**how, resume=tmp_path)
    file.unlink()
    assert_same_result(sweep(**how, resume=tmp_path), sweep(**how))


@pytest.mark.parametrize("n", [1, -1])
def test_the_checkpoint_of_another_part_is_refused(tmp_path: Path, n: int) -> None:
    how = how_of()
    sweep(**how, resume=tmp_path)
    files = sorted(tmp_path.glob("*.safetensors"), key=lambda path: load_run(path).last.n_hidden)
    files[0].write_bytes(files[n].read_bytes())  # of another seed, or of another size
    with pytest.raises(ValueError, match="must resume from its own run, of this version"):
        sweep(**how, resume=tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        sweep(**how_of(), resume=tmp_path / "file")
    if os.geteuid():  # the superuser may write everywhere
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            sweep(**how_of(), resume=tmp_path / "parts")


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    how = how_of()
    sweep(**how, resume=tmp_path)
    names = sorted(files_of(tmp_path))
    for name in names:
        (tmp_path / f".{name}.0123abcd").write_bytes(b"half")
    sweep(**how, resume=tmp_path)
    assert sorted(files_of(tmp_path)) == names
