"""Checkpoints: a run that is resumed from one ends as an uninterrupted run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from support.backends import Backend
from support.small_runs import assert_same_net, assert_same_run, make_task, stopping

from twolayer import Run, save, schedules, train
from twolayer.augmentation import Mixup
from twolayer.checkpoints import Checkpointer, load_run, save_run
from twolayer.training.optimizers import SGD, Adam

HOW: dict[str, Any] = {
    "reg": 1e-3,
    "batch_size": 5,
    "learning_rate": 0.05,
    "schedule": schedules.Exponential(0.9),
}


def assert_same_state(found: Run, expected: Run) -> None:
    """Assert that two runs would resume alike; their judged networks may differ."""
    assert_same_run(found, replace(expected, net=found.net))
    assert len(found._moments) == len(expected._moments)
    for moment, wanted in zip(found._moments, expected._moments, strict=True):
        assert_same_net(moment, wanted)


def unmeasured(run: Run) -> Run:
    """Return the run as its file contains it: without accuracies, which are measured only when a run ends."""
    unknown = np.full_like(np.asarray(run.train_accuracy), np.nan)
    nan = float("nan") if unknown.ndim == 0 else unknown
    return replace(run, train_accuracy=nan, validation_accuracy=nan, validation_loss=nan)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.safetensors"


@pytest.mark.usefixtures("each_step")
@settings(max_examples=20)
@given(stop=st.integers(1, 24), n_networks=st.sampled_from([None, 1, 3]), validated=st.booleans())
def test_a_run_loaded_from_a_file_resumes_exactly(
    backend: Backend,
    tmp_path_factory: pytest.TempPathFactory,
    stop: int,
    n_networks: int | None,
    validated: bool,
) -> None:
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    task = make_task(n_networks).on(backend)
    how = HOW | {"validation": task.validation if validated else None, "steps": 25}
    whole = train(task.net, task.X, task.y, rng=7, **how)
    part = train(task.net, task.X, task.y, rng=7, callbacks=[stopping(stop)], **how)
    assert part.n_steps == stop
    save_run(part, path)
    loaded = load_run(path, backend.xp, backend.device)
    assert all(backend.owns(array) for array in loaded.last)
    assert_same_state(train(loaded, task.X, task.y, **how), whole)


@pytest.mark.parametrize("n_networks", [None, 3])
@pytest.mark.parametrize("validated", [False, True])
def test_a_checkpoint_equals_a_run_that_ended_there(
    backend: Backend, path: Path, n_networks: int | None, validated: bool
) -> None:
    task = make_task(n_networks).on(backend)
    how = HOW | {"validation": task.validation if validated else None}
    found = []

    def look(progress: Any) -> None:
        if progress.epoch_ended:
            found.append(load_run(path, backend.xp, backend.device))

    keeper = Checkpointer(path, seconds=0.0)
    train(task.net, task.X, task.y, rng=3, epochs=4, callbacks=[keeper, look], **how)
    for epochs, run in enumerate(found, start=1):
        ended = train(task.net, task.X, task.y, rng=3, epochs=epochs, **how)
        assert_same_state(run, unmeasured(ended))
        # Resumed from there, the run ends as the uninterrupted one.
        again = Checkpointer(path, seconds=0.0)
        resumed = train(run, task.X, task.y, epochs=5, callbacks=[again], **how)
        assert_same_state(resumed, train(task.net, task.X, task.y, rng=3, epochs=5, **how))
        assert_same_net(load_run(path, backend.xp, backend.device).best, resumed.best)
    assert len(found) == 4


ADAM: dict[str, Any] = {
    "optimizer": Adam(),
    "ema_decay": 0.9,
    "patience": 2,
    "dropout": 0.3,
    "augmentation": Mixup(0.3),
    "epochs": 8,
}


@pytest.mark.parametrize("n_networks", [None, 3])
def test_a_checkpoint_contains_the_whole_state_of_a_run(
    backend: Backend, path: Path, n_networks: int | None
) -> None:
    """The optimizer's state, the average, and which networks were stopped by their patience."""
    task = make_task(n_networks, noise=2.0, seed=3).on(backend)
    how = HOW | ADAM | {"validation": task.validation}
    if n_networks:
        how |= {"learning_rate": [0.0, 0.01, 0.1]}
    kept: list[Any] = []

    def look(progress: Any) -> None:
        if progress.epoch_ended and progress.step < progress.steps:
            run = progress.run()
            save_run(run, path)
            kept.append((run, load_run(path, backend.xp, backend.device)))

    whole = train(task.net, task.X, task.y, rng=3, callbacks=[look], **how)
    for run, loaded in kept:
        arrays = [array for net in (loaded.last, loaded.average, *loaded._moments) for array in net]
        assert len(arrays) == 16
        assert all(backend.owns(array) for array in arrays)
        assert_same_state(loaded, unmeasured(run))
        assert type(loaded.stopped) is type(run.stopped)
    for _, loaded in (kept[0], kept[-1]):
        assert_same_state(train(loaded, task.X, task.y, **how), whole)
    if n_networks:
        assert whole.stopped[0] == 15
        assert kept[3][1].stopped[0] == 15
        assert kept[3][1].stopped.count(None) < 3


@pytest.mark.parametrize(
    ("begun", "changed", "message"),
    [
        (
            {"optimizer": Adam(), "ema_decay": 0.5},
            {"optimizer": SGD()},
            "`optimizer` must be the run's, whose state has 2 moments; got one with 0",
        ),
        (
            {"optimizer": SGD()},
            {"optimizer": SGD(0.9)},
            "`optimizer` must be the run's, whose state has 0 moments; got one with 1",
        ),
        (
            {"ema_decay": 0.5},
            {"ema_decay": None},
            "`ema_decay` must be the run's, which has an average; got None",
        ),
        ({}, {"ema_decay": 0.9}, "`ema_decay` must be the run's, which has no average; got 0.9"),
    ],
)
def test_a_checkpoint_resumes_only_with_its_own_optimizer_and_average(
    path: Path, begun: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    task = make_task()
    save_run(train(task.net, task.X, task.y, rng=0, steps=5, **HOW | begun), path)
    with pytest.raises(ValueError, match=message):
        train(load_run(path), task.X, task.y, steps=9, **HOW | begun | changed)


def test_a_run_can_be_resumed_in_another_library(backend: Backend, path: Path) -> None:
    """From NumPy in each library, with dropout and augmentation."""
    host, there = make_task(2), make_task(2).on(backend)
    how = HOW | ADAM | {"patience": None}
    whole = train(there.net, there.X, there.y, rng=3, **how)
    X = host.X.astype(backend.dtype)
    net = there.net.to(np)
    save_run(train(net, X, host.y, rng=3, callbacks=[stopping(7)], **how), path)
    resumed = train(load_run(path, backend.xp, backend.device), there.X, there.y, **how)
    rtol = 1e-9 if backend.dtype == "float64" else 5e-3
    assert_same_net(resumed.last, whole.last, rtol=rtol)
    assert_same_net(resumed.average, whole.average, rtol=rtol)
    np.testing.assert_allclose(resumed.history.loss, whole.history.loss, rtol=rtol)


def test_a_checkpoint_records_which_networks_diverged(path: Path) -> None:
    task = make_task(3)
    how = HOW | {"validation": task.validation, "epochs": 6, "learning_rate": [0.05, 1e9, 30.0]}
    keeper = Checkpointer(path, seconds=0.0)
    run = train(task.net, task.X, task.y, rng=3, callbacks=[keeper], **how)
    assert run.diverged[0] is None
    assert run.diverged[1] is not None
    loaded = load_run(path)
    assert loaded.diverged == run.diverged
    assert_same_net(loaded.best, run.best)
    np.testing.assert_array_equal(loaded.best_step, run.best_step)


@pytest.fixture
def checkpoint(path: Path) -> Path:
    task = make_task()
    save_run(train(task.net, task.X, task.y, steps=2, ema_decay=0.5, rng=0), path)
    return path


def rewrite(path: Path, changes: dict[str, Any]) -> None:
    """Rewrite a checkpoint: functions change arrays; other values replace metadata or entries of `run`."""
    content = path.read_bytes()
    stored = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    held: dict[str, Any] = load_file(path)
    said = json.loads(stored["run"])
    for name, value in changes.items():
        if callable(value):
            held[name] = value(held.get(name))
        elif name not in stored:
            said[name] = value
    stored |= {"run": json.dumps(said)} | {name: changes[name] for name in stored if name in changes}
    arrays = {name: array for name, array in held.items() if array is not None}
    save_file(arrays, path, metadata={name: text for name, text in stored.items() if text is not None})


def nothing(_: Any) -> None:
    """Leave an array out."""


MISSING = "must be a whole checkpoint; something is missing in it .*"
NO_RUN = "`run` in the metadata of .* must be an object; got "
NO_STEP = "in the metadata of .* must be a step or null, or a list of these; got "
STEPS_IN_ORDER = "`history.step` in .* must rise from 1 to at most 2; got other steps"
STEP_OF_RUN = r"`best_step` in .* must be in \[0, 2\], the steps of the run; got (3 to 3|-2 to -2)$"
DAMAGES: list[tuple[dict[str, Any], str]] = [
    *(
        ({"format_version": version}, f"must be a checkpoint of version 3; got version {version}")
        for version in "124"
    ),
    *(
        ({name: nothing}, f"{MISSING}{name}")
        for name in ("best.W1", "history.step", "best_step", "best_accuracy", "moment0.b1", "average.W2")
    ),
    ({"run": None}, "the metadata of .* must have `run`; it is missing"),
    ({"run": "{"}, NO_RUN + "'{'"),
    ({"run": "[" * 100_000}, NO_RUN + r"'\[{40}'"),
    ({"run": "9" * 5000}, NO_RUN + "'9{40}'"),
    ({"run": "[]"}, NO_RUN + r"'\[\]'"),
    ({"run": "{}"}, "the metadata of .* must have `seed`; it is missing"),
    ({"last.W1": lambda a: a[0]}, r"`last.W1` in .* must have 2 or 3 axes; got shape \(5,\)"),
    ({"last.W1": lambda a: a[:0]}, r"`last.W1` in .* must have no empty axis; got shape \(0, 5\)"),
    ({"last.W1": lambda a: a.astype("float16")}, "`last.W1` in .* must be F32 or F64; got F16"),
    ({"best.W1": lambda a: a.astype("float32")}, "`best.W1` in .* must be F64; got F32"),
    ({"moment0.W2": lambda a: a.T.copy()}, r"must have shape \(5, 3\) to fit the rest; got \(3, 5\)"),
    ({"average.b1": lambda a: a[:4]}, r"must have shape \(5,\) to fit the rest; got \(4,\)"),
    ({"history.loss": lambda a: a[:1]}, r"`history.batch_accuracy` in .* must have shape \(1,\) to fit"),
    ({"history.step": lambda a: a.astype("int32")}, "`history.step` in .* must be I64; got I32"),
    ({"history.step": lambda a: a + 1}, STEPS_IN_ORDER),
    ({"history.step": lambda a: a * 0}, STEPS_IN_ORDER),
    ({"best_step": lambda a: a + 1}, STEP_OF_RUN),
    ({"best_step": lambda a: -a}, STEP_OF_RUN),
    ({"best_accuracy": lambda a: a * np.nan}, "`best_accuracy` in .* must be finite; got nan or infinity"),
    ({"extra": lambda _: np.ones(2)}, "must hold nothing but a checkpoint; got extra"),
    ({"seed": -1}, "`seed` in the metadata of .* must be digits; got -1"),
    ({"seed": "-1"}, "`seed` in the metadata of .* must be digits; got '-1'"),
    ({"seed": "9" * 4000}, "`seed` in the metadata of .* must be digits; got '9{39}$"),
    ({"diverged": 3}, "`diverged` in the metadata of .* must be one of the 2 steps; got 3"),
    ({"diverged": 0}, f"`diverged` {NO_STEP}0"),
    ({"diverged": True}, f"`diverged` {NO_STEP}True"),
    ({"stopped": [None]}, r"`stopped` in the metadata of .* must be one step or null; got \[None\]"),
    ({"n_moments": 17}, r"`n_moments` in the metadata of .* must be an integer in \[0, 16\]; got 17"),
    ({"n_moments": 2}, f"{MISSING}'moment1.W1'"),
    ({"average": 1}, "`average` in the metadata of .* must be true or false; got 1"),
    (
        {"average": False},
        "must hold nothing but a checkpoint; got average.W1, average.W2, average.b1, average",
    ),
    ({"preprocessing": "Zca"}, "`preprocessing` in .* must be Standardizer, Whitener or null; got 'Zca'"),
    ({"preprocessing": "Whitener"}, f"{MISSING}'preprocessing.mean'"),
    ({"fingerprint": {"reg": 1}}, "`fingerprint` in .* must be an object of texts; got {'reg': 1}"),
]


@pytest.mark.parametrize("case", range(len(DAMAGES)), ids=lambda i: f"{i}-{next(iter(DAMAGES[i][0]))}")
def test_an_inconsistent_checkpoint_is_refused(checkpoint: Path, case: int) -> None:
    changes, message = DAMAGES[case]
    rewrite(checkpoint, {})
    assert load_run(checkpoint).n_steps == 2
    rewrite(checkpoint, changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_a_truncated_foreign_or_missing_file_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"checkpoint.safetensors must be a checkpoint; it is truncated"):
        load_run(checkpoint)
    save_file({"a": np.ones(3)}, checkpoint)
    with pytest.raises(ValueError, match=r"must be a checkpoint of a run; it is a safetensors file of"):
        load_run(checkpoint)
    save(make_task().net, checkpoint)
    with pytest.raises(ValueError, match=r"it is a network, which `twolayer\.load` loads$"):
        load_run(checkpoint)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load_run(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diverged": None}, "`diverged` in the metadata of .* must be a list of 3; got None"),
        ({"stopped": [None, 1]}, r"`stopped` in the metadata of .* must be a list of 3; got \[None, 1\]"),
        ({"stopped": [None, 1, 9]}, "`stopped` in the metadata of .* must be one of the 2 steps; got 9"),
    ],
)
def test_a_checkpoint_of_a_stack_must_have_an_entry_for_each_network(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    task = make_task(3)
    save_run(train(task.net, task.X, task.y, steps=2, rng=0), path)
    rewrite(path, {"stopped": [None, 1, 2]})
    assert load_run(path).stopped == (None, 1, 2)
    rewrite(path, changes)
    with pytest.raises(ValueError, match=message):
        load_run(path)
