"""Resuming a run: its settings and data must be those that it began with."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import TESTS
from support.backends import Backend
from support.small_runs import assert_same_history, assert_same_net, make_task, stopping

from twolayer import Run, TwoLayerNet, augmentation, optimizers, schedules, train
from twolayer.checkpoints import Checkpointer, load_run, save_run
from twolayer.preprocessing import Standardizer, Whitener
from twolayer.training import checkpoint
from twolayer.training.fingerprint import SAMPLED_VALUES, described, described_array

TASK = make_task(2)
WEIGHT = np.linspace(0.5, 1.5, 23)
HOW: dict[str, Any] = {
    "validation": TASK.validation,
    "sample_weight": WEIGHT,
    "class_weight": [1.0, 2.0, 3.0],
    "preprocessing": Standardizer.fit(TASK.X),
    "augmentation": augmentation.Mixup(0.2),
    "reg": [0.01, 0.02],
    "dropout": 0.25,
    "input_dropout": 0.125,
    "label_smoothing": 0.1,
    "optimizer": optimizers.SGD(momentum=0.9),
    "learning_rate": 0.1,
    "schedule": schedules.Exponential(0.9),
    "batch_size": 5,
    "replacement": False,
    "ema_decay": 0.9,
}


def begun(**changes: Any) -> Run:
    return train(TASK.net, TASK.X, TASK.y, rng=3, epochs=2, **HOW | changes)


@pytest.fixture(scope="module")
def run() -> Run:
    return begun()


def resumed_run(run: Any, **changes: Any) -> Run:
    how = {"X": TASK.X, "y": TASK.y, "epochs": 4} | HOW | changes
    return train(None, how.pop("X"), how.pop("y"), resume=run, **how)


def edited(array: np.ndarray, value: Any) -> np.ndarray:
    array = array.copy()
    array[5] = value
    return array


NESTEROV = optimizers.SGD(momentum=0.9, nesterov=True)
MOMENTUM = "SGD(momentum=0.9, nesterov=False)"
DECAY = "Exponential(every=None, factor=0.9, first=None)"
SCALING = Standardizer.fit(TASK.X[:20])
SHORT = {"X": TASK.X[:21], "y": TASK.y[:21], "sample_weight": WEIGHT[:21]}
# Changes that a run refuses: the name of the argument, the change, and the two descriptions in the message.
SAMPLES, HELD_OUT = "float64 of shape (23, 4), ", "float64 of shape (11, 4), "
WEIGHTS, LABELS = "float64 of shape (23,), ", "int64 of shape (23,), "
OTHERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("reg", {"reg": [0.01, 0.03]}, "(0.01, 0.02)", "(0.01, 0.03)"),
    ("learning_rate", {"learning_rate": 0.2}, "0.1", "0.2"),
    ("dropout", {"dropout": 0.0}, "0.25", "0"),
    ("input_dropout", {"input_dropout": 0.5}, "0.125", "0.5"),
    ("label_smoothing", {"label_smoothing": 0.2}, "0.1", "0.2"),
    ("optimizer", {"optimizer": optimizers.SGD(0.8)}, MOMENTUM, "SGD(momentum=0.8, nesterov=F"),
    ("optimizer", {"optimizer": NESTEROV}, MOMENTUM, "SGD(momentum=0.9, nesterov=T"),
    ("schedule", {"schedule": schedules.Exponential(0.8)}, DECAY, "Exponential("),
    ("schedule", {"schedule": schedules.Cosine()}, DECAY, "Cosine()"),
    ("batch_size", {"batch_size": 6}, "5", "6"),
    ("replacement", {"replacement": True}, "False", "True"),
    ("ema_decay", {"ema_decay": 0.5}, "0.9", "0.5"),
    ("augmentation", {"augmentation": augmentation.Mixup(0.3)}, "Mixup(alpha=0.2)", "Mixup(alpha=0.3)"),
    ("augmentation", {"augmentation": None}, "Mixup(alpha=0.2)", "None"),
    ("preprocessing", {"preprocessing": SCALING}, "Standardizer(float64", "Standardizer(float64"),
    ("preprocessing", {"preprocessing": None}, "Standardizer(", "None. A run resumes with its own settings"),
    ("class_weight", {"class_weight": None}, "(1, 2, 3)", "None"),
    ("sample_weight", {"sample_weight": WEIGHT[::-1]}, WEIGHTS, WEIGHTS),
    ("sample_weight", {"sample_weight": None}, WEIGHTS, "None"),
    ("X", {"X": edited(TASK.X, 0.5)}, SAMPLES, SAMPLES),
    ("X", {"X": TASK.X.astype(np.float32)}, "float64 of", "float32 of shape (23, 4), "),
    ("X", SHORT, SAMPLES, "float64 of shape (21, 4), "),
    ("y", {"y": edited(TASK.y, (TASK.y[5] + 1) % 3)}, LABELS, LABELS),
    ("y", {"y": np.eye(3)[TASK.y]}, "int64 of", "float64 of shape (23, 3), "),
    ("validation X", {"validation": (edited(TASK.X_val, 0.5), TASK.y_val)}, HELD_OUT, HELD_OUT),
    ("validation y", {"validation": (TASK.X_val, np.roll(TASK.y_val, 1))}, "int64 of shape (11,), ", "int64"),
    ("validation X", {"validation": None}, HELD_OUT, "None. `validation y` must be"),
]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("case", range(len(OTHERS)), ids=lambda i: f"{OTHERS[i][0]}-{i}")
def test_other_settings_and_data_are_refused(run: Run, tmp_path: Path, case: int, stored: bool) -> None:
    name, changes, own, came = OTHERS[case]
    earlier: Any = run
    if stored:
        earlier = tmp_path / "run.safetensors"
        save_run(run, earlier)
    called: list[Any] = []
    with pytest.raises(ValueError, match=re.escape(f"`{name}` must be the run's, {own}")) as caught:
        resumed_run(earlier, callbacks=[called.append], **changes)
    assert f"; got {came}" in str(caught.value)
    assert str(caught.value).endswith("To train its network with others, begin a new run from `run.last`")
    assert not called


def test_every_difference_is_named(run: Run) -> None:
    with pytest.raises(
        ValueError, match=r"^`learning_rate` must be .*; got 1. `batch_size` must be .*; got 7. A"
    ):
        resumed_run(run, learning_rate=1.0, batch_size=7)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": None, "steps": 17},
        {"patience": 3},
        {"judge": "last"},
        {"stream": True},
        {"rng": 3},
        {"reg": np.array([0.01, 0.02])},
        {"dropout": np.float32(0.25)},
        {"X": np.asfortranarray(TASK.X), "y": TASK.y.astype(np.int16)},
        {"X": TASK.X.reshape(23, 2, 2)},
        {"X": TASK.X.astype(">f8"), "stream": True},
        {"class_weight": np.array([1, 2, 3])},
        {"optimizer": optimizers.SGD(np.float64(0.9), False)},
    ],
    ids=lambda changes: "-".join(changes) or "nothing",
)
def test_settings_that_do_not_change_the_steps_may_differ(run: Run, changes: dict[str, Any]) -> None:
    assert resumed_run(run, **changes).n_steps in (17, 20)


def test_a_run_or_its_file_can_be_resumed_by_either_argument(backend: Backend, tmp_path: Path) -> None:
    task, path = make_task().on(backend), tmp_path / "run.safetensors"
    how: dict[str, Any] = {"batch_size": 5, "schedule": schedules.Constant()}
    whole = train(task.net, task.X, task.y, rng=3, epochs=4, **how)
    run = train(task.net, task.X, task.y, rng=3, epochs=2, **how)
    save_run(run, path)
    for net, resume in ((run, None), (None, run), (None, path), (task.net, path), (task.net, str(path))):
        found = train(net, task.X, task.y, resume=resume, epochs=4, **how)
        assert_same_net(found.last, whole.last)
        assert_same_history(found.history, whole.history)
        assert all(backend.owns(array) for array in found.last)


def test_net_selects_the_library_if_samples_are_streamed(backend: Backend, tmp_path: Path) -> None:
    host, task, path = make_task(), make_task().on(backend), tmp_path / "run.safetensors"
    how: dict[str, Any] = {"batch_size": 5, "stream": True}
    save_run(train(task.net, host.X, host.y, rng=3, epochs=2, **how), path)
    found = train(task.net, host.X, host.y, resume=path, epochs=4, **how)
    assert all(backend.owns(array) for array in found.last)
    if backend.dtype == "float64":
        assert isinstance(train(None, host.X, host.y, resume=path, epochs=4, **how).last.W1, np.ndarray)


def test_a_network_beside_a_run_must_have_its_sizes_and_dtype(run: Run) -> None:
    other = TwoLayerNet.initialize(4, 6, 3, rng=0)
    message = (
        "`net` must be the run's, 2 networks of 4 features, 5 hidden units, 3 classes, float64; got 4 feat"
    )
    with pytest.raises(ValueError, match=message):
        train(other, TASK.X, TASK.y, resume=run, epochs=4, **HOW)
    with pytest.raises(
        ValueError, match="`net` must be a network or None where `resume` is given; got a Run"
    ):
        train(run, TASK.X, TASK.y, resume=run, epochs=4, **HOW)
    with pytest.raises(TypeError, match="`net` must be"):
        train(None, TASK.X, TASK.y)
    with pytest.raises(
        TypeError, match="`resume` must be a Run or the path of a checkpoint; got TwoLayerNet"
    ):
        train(None, TASK.X, TASK.y, resume=other)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        train(None, TASK.X, TASK.y, resume="none.safetensors")


def test_a_run_of_another_dtype_is_refused(run: Run) -> None:
    nets = {name: getattr(run, name).astype("float32") for name in ("net", "last", "best", "average")}
    moments = tuple(moment.astype("float32") for moment in run._moments)
    with pytest.raises(
        ValueError, match=r"`net` must be the run's, .*, float64; got 2 networks of .*, float32"
    ):
        resumed_run(dataclasses.replace(run, **nets, _moments=moments))


# The preprocessing


@pytest.mark.parametrize("kind", ["standardizer", "whitener", "none"])
def test_a_checkpoint_keeps_the_preprocessing_unfolded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.safetensors"
    fitted: Any = {
        "standardizer": Standardizer.fit(TASK.X, scale="feature"),
        "whitener": Whitener.fit(TASK.X, kind="pca", n_components=4),
        "none": None,
    }[kind]
    run = begun(preprocessing=fitted)
    assert run.preprocessing is fitted
    save_run(run, path)
    loaded = load_run(path)
    assert type(loaded.preprocessing) is type(fitted)
    if fitted is not None:
        for found, wanted in zip(loaded.preprocessing, fitted, strict=True):
            np.testing.assert_array_equal(found, wanted)
    found, wanted = (
        resumed_run(path, preprocessing=loaded.preprocessing),
        resumed_run(run, preprocessing=fitted),
    )
    assert_same_net(found.last, wanted.last)
    # A preprocessing that was applied in advance is kept if it is passed.
    other = Whitener(np.arange(6.0), np.ones((6, 4)))
    save_run(run, path, preprocessing=other)
    for found, given in zip(load_run(path).preprocessing, other, strict=True):
        np.testing.assert_array_equal(found, given)


class Halved:
    """A user's own preprocessing."""

    n_inputs = n_outputs = 4

    def host_arrays(self) -> tuple[np.ndarray, ...]:
        return (np.asarray([0.5]),)

    @staticmethod
    def transform(X: Any, arrays: Any, *, xp: Any) -> Any:
        return X * arrays[0]


def test_a_users_own_preprocessing_is_not_kept_but_compared(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save_run(begun(preprocessing=Halved()), path)
    assert load_run(path).preprocessing is None
    assert resumed_run(path, preprocessing=Halved()).n_steps == 20
    with pytest.raises(
        ValueError, match=r"`preprocessing` must be the run's, Halved\(float64 of shape \(1,\), "
    ):
        resumed_run(path)


# Descriptions of settings


@dataclasses.dataclass
class Setting:
    rate: float
    names: tuple[str, ...] = ("a",)


class Named(NamedTuple):
    rate: float
    every: int = 3


class Plain:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Slotted:
    __slots__ = ("b", "unset")

    def __init__(self) -> None:
        self.b = 2


def halving(step: Any, *, steps_per_epoch: int, steps: int) -> Any:
    return np.full(step.shape, 0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (np.bool_(True), "True"),
        (1, "1"),
        (1.0, "1"),
        (np.float32(0.5), "0.5"),
        (0.1, "0.1"),
        (float("nan"), "nan"),
        (1e300, "1e+300"),
        ("a", "'a'"),
        ([1, 2.0, (3,)], "(1, 2, (3))"),
        ({"b": 1, "a": 2}, "dict(a=2, b=1)"),
        (optimizers.Adam(), "Adam(beta1=0.9, beta2=0.999, eps=1e-08)"),
        (
            schedules.Warmup(schedules.Step(), epochs=2),
            "Warmup(epochs=2, schedule=Step(epochs=10, factor=0.1), st",
        ),
        (augmentation.Chain(augmentation.Mixup(1)), "Chain(parts=(Mixup(alpha=1)))"),
        (Setting(0.5), "Setting(names=('a'), rate=0.5)"),
        (Named(0.5), "Named(every=3, rate=0.5)"),
        (Plain(Plain(3)), "Plain(inner=Plain(inner=3))"),
        (Slotted(), "Slotted(b=2)"),
        (halving, "halving"),
        (functools.partial(halving, steps=2), "partial(halving, dict(steps=2))"),
        (optimizers.SGD, "SGD"),
    ],
)
def test_settings_are_described_by_their_contents(value: Any, text: str) -> None:
    assert described(value).startswith(text)
    assert "0x" not in described(value)


def test_the_description_of_an_object_that_contains_itself_ends() -> None:
    endless = Plain(None)
    endless.inner = endless
    assert described(endless).count("Plain") == 7


def test_arrays_are_described_by_their_contents(backend: Backend) -> None:
    host = np.arange(12.0).reshape(4, 3)
    text = described_array(backend.array(host))
    assert re.fullmatch(rf"{backend.dtype} of shape \(4, 3\), [0-9a-f]{{16}}", text)
    # The text is the same in every library and in every process.
    assert text == described_array(host.astype(backend.dtype))
    assert described_array(np.arange(3)) == "int64 of shape (3,), cf5ddb2411b6887b"
    assert described_array(np.arange(3, dtype=">i8")) == described_array(np.arange(3))
    assert described_array(None) == "None"
    assert described(host[:2, :2]) == "((0, 1), (3, 4))"
    assert described(np.zeros((13, 5))).startswith("array(float64 of shape (13, 5), ")


def test_only_a_limited_part_of_a_large_array_is_read(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    original = described_array.__globals__["to_host"]

    def counting(array: Any) -> Any:
        copied.append(array.size if isinstance(array.size, int) else int(np.prod(array.shape)))
        return original(array)

    monkeypatch.setitem(described_array.__globals__, "to_host", counting)
    large = np.zeros((3 * SAMPLED_VALUES // 64 + 7, 64), np.float32)
    before = described_array(backend.array(large, "float32"))
    assert 0 < copied[0] <= SAMPLED_VALUES
    large[0, 0] = 1.0
    assert described_array(backend.array(large, "float32")) != before


def test_a_fingerprint_is_the_same_in_another_process(run: Run) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; import json, test_resuming as t; "
        "print(json.dumps(t.begun()._fingerprint))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(TESTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == run._fingerprint


# Checkpoints during training


def counted_passes(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> int:
    """How often a run evaluates all training samples."""
    from twolayer.training.judging import Judge

    passes: list[int] = []
    original = Judge._evaluated

    def evaluated(self: Any, params: Any, samples: Any, rows: Any = None) -> Any:
        passes.append(len(samples.X) == len(TASK.X))
        return original(self, params, samples, rows)

    monkeypatch.setattr(Judge, "_evaluated", evaluated)
    make()
    return sum(passes)


def test_a_checkpoint_costs_no_pass_over_the_training_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    assert (
        counted_passes(monkeypatch, lambda: begun(callbacks=[Checkpointer(path, steps=1)])) == 1
    )  # at the end
    assert counted_passes(monkeypatch, lambda: begun(callbacks=[lambda p: p.run()])) == 1 + 12


def test_a_snapshot_is_the_run_without_its_accuracies() -> None:
    pairs: list[tuple[Run, Run]] = []
    begun(judge="last", callbacks=[lambda p: pairs.append((p.run(), p.snapshot()))])
    assert len(pairs) == 12
    for run, snapshot in pairs:
        assert np.isfinite(run.train_accuracy).all()
        assert np.isfinite(run.validation_accuracy).all()
        assert np.isnan(snapshot.train_accuracy).all()
        assert np.isnan(snapshot.validation_accuracy).all()
        assert_same_net(snapshot.last, run.last)
        assert_same_net(snapshot.net, run.net)
        assert_same_history(snapshot.history, run.history)
        assert snapshot._fingerprint == run._fingerprint


def steps_saved(tmp_path: Path, **pace: Any) -> list[int]:
    path, found = tmp_path / "run.safetensors", []

    def look(progress: Any) -> None:
        if path.exists():
            found.append(load_run(path).n_steps)
            path.unlink()

    begun(callbacks=[Checkpointer(path, **pace), look])
    return found


def test_checkpoints_are_written_after_a_number_of_steps_or_seconds(tmp_path: Path) -> None:
    ticks = iter(range(100))
    assert steps_saved(tmp_path, steps=3) == [3, 6, 9, 10]  # the last checkpoint has its entry
    assert steps_saved(tmp_path, steps=4, seconds=1e6) == [4, 8, 10]
    assert steps_saved(tmp_path, seconds=4.0, clock=lambda: next(ticks)) == [4, 7, 10]
    assert steps_saved(tmp_path, steps=99) == [10]
    assert steps_saved(tmp_path) == [10]


def test_the_checkpoint_of_an_epochs_last_step_contains_its_entry(tmp_path: Path) -> None:
    path, found = tmp_path / "run.safetensors", []

    def look(progress: Any) -> None:
        if progress.epoch_ended:
            found.append(load_run(path).history.step.tolist())

    begun(callbacks=[Checkpointer(path, steps=5), look])
    assert found == [[5], [5, 10]]


@pytest.mark.parametrize("step", [2, 5, 7, 10])  # of 5 steps an epoch
@pytest.mark.parametrize("keeper_first", [True, False])
def test_a_run_that_a_callback_stops_is_saved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, keeper_first: bool
) -> None:
    path, written = tmp_path / "run.safetensors", []
    monkeypatch.setattr(
        checkpoint, "save_run", lambda run, *a, **b: written.append(run) or save_run(run, *a, **b)
    )
    callbacks: list[Any] = [Checkpointer(path, seconds=1e6), stopping(step)]
    run = begun(callbacks=callbacks if keeper_first else callbacks[::-1])
    assert len(written) == 1
    assert load_run(path).n_steps == run.n_steps == step
    assert_same_net(resumed_run(path, epochs=2).last, begun().last)


def test_a_checkpointer_saves_two_runs_that_stop_at_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    keeper = Checkpointer(path, seconds=1e6)
    for _ in range(2):
        begun(callbacks=[keeper, stopping(1)])
        assert load_run(path).n_steps == 1
        path.unlink()


def test_a_run_that_patience_ends_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    how = HOW | {"learning_rate": 0.0, "patience": 1, "epochs": 9}
    run = train(TASK.net, TASK.X, TASK.y, rng=3, callbacks=[Checkpointer(path, seconds=1e6)], **how)
    assert load_run(path).n_steps == run.n_steps == 10


def test_an_error_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"

    def interrupt(progress: Any) -> None:
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun(callbacks=[Checkpointer(path, steps=3), interrupt])
    assert load_run(path).n_steps == 6
    assert_same_net(resumed_run(path, epochs=2).last, begun().last)


@pytest.mark.parametrize("steps", [5, 7, 10])  # of 5 steps an epoch
def test_a_run_killed_between_its_last_step_and_the_entry_gets_the_entry(steps: int) -> None:
    found: list[Run] = []

    def keep(progress: Any) -> None:
        if progress.step == steps and not progress.epoch_ended:
            found.append(progress.run())

    whole = train(TASK.net, TASK.X, TASK.y, rng=3, steps=steps, **HOW, callbacks=[keep])
    resumed = train(None, TASK.X, TASK.y, resume=found[0], steps=steps, **HOW)
    assert found[0].history.step.tolist() == whole.history.step.tolist()[:-1]
    assert_same_history(resumed.history, whole.history)
    assert resumed.best_step.tolist() == whole.best_step.tolist()


def test_a_checkpointer_can_serve_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    keeper = Checkpointer(path, steps=3)
    for _ in range(2):
        found: list[int] = []
        begun(
            callbacks=[
                keeper,
                lambda p, found=found: (
                    found.append(load_run(path).n_steps) or path.unlink() if path.exists() else None
                ),
            ]
        )
        assert found == [3, 6, 9, 10]


@pytest.mark.parametrize(
    ("pace", "error", "message"),
    [
        ({"seconds": -1}, ValueError, "`seconds` must be finite and at least 0; got -1"),
        ({"seconds": "1"}, TypeError, "`seconds` must be a number; got str"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1; got 0"),
        ({"steps": 1.5}, TypeError, "`steps` must be an integer; got float"),
    ],
)
def test_an_invalid_pace_is_refused(pace: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Checkpointer("run.safetensors", **pace)


def test_files_left_by_a_killed_process_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    left = tmp_path / ".run.safetensors.0123abcd"
    others = [tmp_path / name for name in (".other.safetensors.0123abcd", "run.safetensors.txt")]
    for file in (left, *others):
        file.write_bytes(b"half")
    Checkpointer(path)
    assert not left.exists()
    assert all(file.exists() for file in others)
