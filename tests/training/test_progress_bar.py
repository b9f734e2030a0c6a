"""The progress bar: where and how often it is drawn, its text, and its end."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.refusals import refusal
from support.small_runs import PER_EPOCH, make_task, stopping, trained
from support.sweeps import swept

from twolayer import Progress, callbacks
from twolayer.callbacks import ProgressBar
from twolayer.training.history import no_history

TASK = make_task(noise=2.0)
GRID = {"learning_rate": [0.1, 0.3], "n_hidden": [4, 5], "batch_size": [5], "seed": [0, 1]}  # four stacks


class Cell:
    """The outputs of a notebook's cell."""

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, str]]] = []  # the states of each output

    def display(self, state: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        states = [state]
        self.outputs.append(states)

        def update(state: dict[str, str], *, raw: bool) -> None:
            assert raw
            states.append(state)

        return SimpleNamespace(update=update)

    def ends(self) -> list[str]:
        """The last state of each output as text."""
        return [states[-1]["text/plain"] for states in self.outputs]


def pretend_ipython(monkeypatch: pytest.MonkeyPatch, shell: Any, cell: Cell) -> None:
    """Make this process look like IPython with this shell."""
    display = ModuleType("IPython.display")
    display.display = cell.display  # type: ignore[attr-defined]
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    found = Cell()
    pretend_ipython(monkeypatch, SimpleNamespace(kernel=object()), found)
    return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    pytest.importorskip("rich")
    written = io.StringIO()
    written.isatty = lambda: True  # type: ignore[method-assign]
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "140"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return written


def bar_of(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> ProgressBar:
    """A bar on this terminal. This is no fixture, as pytest sets standard error after fixtures."""
    monkeypatch.setattr(sys, "stderr", terminal)
    return ProgressBar()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that stands still until it is set."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


# ---------------------------------------------------------------------------------------------------------
# Where the bar is drawn


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(kernel=None)])
def test_nothing_is_shown_outside_of_terminals_and_notebooks(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = Cell()
    pretend_ipython(monkeypatch, shell, found)  # in a terminal, IPython has a shell without a kernel
    bar = ProgressBar()
    trained(TASK, callbacks=[bar])
    swept(TASK, {"learning_rate": [0.1, 0.2]}, callbacks=[bar])
    assert capfd.readouterr() == ("", "")
    assert found.outputs == []


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_rich_is_not_needed_without_a_terminal(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(sys, "stderr", stream)
    trained(TASK, callbacks=[ProgressBar()])


def test_a_terminal_without_rich_is_refused(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with refusal("ImportError: ProgressBar in a terminal needs rich, …; install it with …"):
        bar_of(terminal, monkeypatch)


# ---------------------------------------------------------------------------------------------------------
# In a notebook


def test_a_notebook_shows_a_bar_that_reaches_its_end(cell: Cell) -> None:
    run = trained(TASK, callbacks=[ProgressBar()])
    (states,) = cell.outputs
    best = np.max(run.history.validation_accuracy)
    loss = np.mean(run.history.loss[-PER_EPOCH:])
    expected = f"100%, epoch 3 of 3, loss {loss:.3g}, best validation accuracy {best:.3f}, in 0:00:00"
    assert states[-1]["text/plain"] == expected
    html = states[-1]["text/html"]
    assert '<progress max="1" value="1.0000"' in html
    assert expected in html


def test_without_validation_there_is_no_accuracy(cell: Cell) -> None:
    trained(TASK, validated=False, callbacks=[ProgressBar()])
    assert re.fullmatch(r"100%, epoch 3 of 3, loss [\d.]+, in 0:00:00", *cell.ends())


def test_a_stack_shows_its_lowest_loss_and_its_highest_accuracy(cell: Cell) -> None:
    run = trained(
        make_task(3, noise=2.0), learning_rate=np.asarray([0.1, 1e9, 0.3]), callbacks=[ProgressBar()]
    )
    best = np.nanmax(run.history.validation_accuracy)
    loss = np.nanmin(np.mean(run.history.loss[:, -PER_EPOCH:], axis=1))
    assert f"loss {loss:.3g}, best validation accuracy {best:.3f}," in cell.ends()[0]


def test_no_figures_are_shown_if_all_networks_diverge(cell: Cell) -> None:
    trained(TASK, learning_rate=1e200, callbacks=[ProgressBar()])
    assert re.fullmatch(r"\d+%, epoch \d of 3, in 0:00:00", *cell.ends())


def raising(step: int, error: BaseException) -> Callable[[Progress], None]:
    def call(progress: Progress) -> None:
        if progress.step == step:
            raise error

    return call


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()])
def test_the_bar_stays_where_it_was_after_an_error(cell: Cell, error: BaseException) -> None:
    bar = ProgressBar()
    with pytest.raises(type(error)):
        trained(TASK, callbacks=[bar, raising(6, error)])
    assert re.match(r"40%, epoch 2 of 3, .*, in 0:00:00$", *cell.ends())
    with pytest.raises(type(error)):
        swept(TASK, GRID, callbacks=[bar, raising(1, error)])
    assert re.match(r"\d+%, part 1 of 4, epoch 1 of 3, in 0:00:00$", cell.ends()[1])


def test_the_bar_stays_where_a_callback_or_patience_stops_the_run(cell: Cell) -> None:
    bar = ProgressBar()
    trained(TASK, callbacks=[bar, stopping(10, True)])
    frozen = trained(TASK, epochs=20, patience=2, learning_rate=1e-300, callbacks=[bar])
    assert frozen.stopped == 3 * PER_EPOCH
    first, second = cell.ends()
    assert first.startswith("67%, epoch 2 of 3, ")
    assert second.startswith("15%, epoch 3 of 20, ")


def test_a_run_that_is_already_long_enough_shows_nothing(cell: Cell) -> None:
    trained(TASK._replace(net=trained(TASK)), rng=None, callbacks=[ProgressBar()])
    assert cell.outputs == []


# ---------------------------------------------------------------------------------------------------------
# Sweeps


def test_a_sweep_shows_one_bar_for_all_its_parts(cell: Cell) -> None:
    result = swept(TASK, GRID, callbacks=[ProgressBar()])
    best = max(row["validation_accuracy"] for row in result.runs)
    (end,) = cell.ends()
    assert re.fullmatch(
        rf"100%, part 4 of 4, epoch 3 of 3, loss [\d.]+, best validation accuracy {best:.3f}, in 0:00:00", end
    )


def test_a_sweep_on_workers_shows_one_bar(cell: Cell) -> None:
    with ThreadPoolExecutor(2) as executor:
        result = swept(TASK, GRID, executor=executor, callbacks=[ProgressBar()])
    best = max(row["validation_accuracy"] for row in result.runs)
    (end,) = cell.ends()
    assert re.match(r"100%, part \d of 4, epoch 3 of 3, ", end)
    assert f"best validation accuracy {best:.3f}" in end


def test_a_part_that_is_stopped_in_its_first_epoch_shows_no_figures(cell: Cell) -> None:
    """Its run, which a worker ended, has no entry in the history."""
    bar = ProgressBar()
    bar(after(3, no_history(2)))
    bar.on_end()
    assert cell.ends() == ["3%, epoch 0 of 10, in 0:00:00"]


def test_the_bar_of_halving_ends_below_100_percent(cell: Cell) -> None:
    task = make_task(n_samples=200, n_validation=60, noise=2.0)
    swept(
        task,
        {"learning_rate": [0.1, 0.3, 0.5], "n_hidden": [4, 5, 6]},
        epochs=9,
        halving=3,
        callbacks=[ProgressBar()],
    )
    (end,) = cell.ends()
    assert 30 < int(end.partition("%")[0]) < 100
    assert re.search(r"part \d of 3, epoch 9 of 9, ", end)


# ---------------------------------------------------------------------------------------------------------
# How often the bar is drawn


def after(step: int, entries: Any = None, **others: Any) -> Any:
    """A progress within an epoch or, with ``entries``, at its end, when its history can be read."""
    place = {"step": step, "steps": 100, "epoch": step // 10, "epochs": 10, "stage": 1, "stages": 1}

    def known() -> Any:
        assert entries is not None, "it waits for the device"
        return entries

    return SimpleNamespace(**{**place, "epoch_ended": entries is not None, "history": known, **others})


HISTORY = trained(TASK).history


def test_the_bar_is_drawn_up_to_ten_times_a_second_and_less_often_within_epochs(
    cell: Cell, clock: Any
) -> None:
    bar = ProgressBar()
    drawn = []
    for tick in range(60):
        clock.now = 1000 + tick / 16
        bar(after(tick % 10 + 1, HISTORY if tick >= 30 else None))
        if len(drawn) < sum(map(len, cell.outputs)):
            drawn.append(tick)
    assert drawn == [10, 20, *range(30, 60, 2)]


def test_a_slow_drawing_is_seldom_repeated(cell: Cell, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bar, drawn = ProgressBar(), []

    def show(*_: Any, ended: bool) -> None:
        drawn.append(round(clock.now))
        clock.now += 1.0

    monkeypatch.setattr(bar._display, "show", show)
    for clock.now in map(float, range(1000, 1900)):
        bar(after(10, HISTORY))
    assert drawn == [1001, 1201, 1401, 1601, 1801]


def test_a_slow_history_is_seldom_read_except_at_the_end(cell: Cell, clock: Any) -> None:
    bar, read = ProgressBar(), []

    def slow() -> Any:
        read.append(round(clock.now))
        clock.now += 1.0
        return HISTORY

    for clock.now in map(float, range(1000, 1500)):
        bar(after(10, HISTORY, history=slow))
    clock.now = 1500.0
    bar(after(100, HISTORY, history=slow))
    assert read == [1000, 1200, 1400, 1500]


def test_the_remaining_time_follows_from_the_remaining_steps(cell: Cell, clock: Any) -> None:
    bar = ProgressBar()
    for clock.now, step in ((1000.0, 40), (1060.0, 50), (1120.0, 70)):  # a run that was resumed
        bar(after(step, HISTORY))
    clock.now = 1300.0
    bar.on_end()
    texts = [state["text/plain"].rpartition(", ")[2] for state in cell.outputs[0]]
    assert texts == ["0:05:00 left", "0:02:00 left", "in 0:05:00"]


def test_one_bar_can_serve_several_trainings(cell: Cell) -> None:
    bar = ProgressBar()
    first = trained(TASK, callbacks=[bar])
    second = trained(make_task(noise=0.1, seed=5), epochs=2, callbacks=[bar])
    accuracies = [np.max(run.history.validation_accuracy) for run in (first, second)]
    assert accuracies[0] != accuracies[1]
    for end, epochs, accuracy in zip(cell.ends(), (3, 2), accuracies, strict=True):
        assert end.startswith(f"100%, epoch {epochs} of {epochs}, ")
        assert f"accuracy {accuracy:.3f}" in end


def test_the_bar_does_not_change_the_run(cell: Cell, backend: Backend) -> None:
    task = TASK.on(backend)
    shown, alone = trained(task, callbacks=[ProgressBar()]), trained(task)
    np.testing.assert_array_equal(shown.history.loss, alone.history.loss)
    assert cell.ends()[0].startswith("100%, epoch 3 of 3, loss ")


# ---------------------------------------------------------------------------------------------------------
# In a terminal

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"  # the cursor


@pytest.mark.parametrize("error", [None, KeyError("mine"), KeyboardInterrupt()])
def test_a_terminal_gets_its_cursor_back(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    bar = bar_of(terminal, monkeypatch)
    for _ in range(2):
        with nullcontext() if error is None else pytest.raises(type(error)):
            trained(TASK, callbacks=[bar, *([] if error is None else [raising(6, error)])])
    text = terminal.getvalue()
    assert text.count(HIDDEN) == text.count(SHOWN) == 2
    assert text.endswith(SHOWN)
    share = "40%" if error else "100%"
    assert re.search(rf"━.*{share}.*epoch \d of 3, loss [\d.]+, best validation accuracy 0\.\d+", text)
    assert sys.stderr is terminal  # rich replaces it during the training


def test_text_printed_during_a_training_goes_to_standard_output(
    terminal: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(progress: Progress) -> None:
        if progress.epoch_ended:
            print("an epoch")

    monkeypatch.setattr(callbacks.Terminal, "seconds", 0.0)
    trained(TASK, callbacks=[bar_of(terminal, monkeypatch), show])
    assert capsys.readouterr().out == "an epoch\n" * 3
    assert "an epoch" not in terminal.getvalue()


def test_a_closed_terminal_does_not_stop_a_training(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = bar_of(terminal, monkeypatch)

    def write(_: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", write)
    assert trained(TASK, callbacks=[bar]).n_steps == 3 * PER_EPOCH
