"""Calls of a callback's optional method `on_end` at the end of a training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from support.plans import arguments
from support.small_runs import make_task, trained
from support.sweeps import BASE, swept

from twolayer import Progress, plan, sweep
from twolayer.callbacks import ProgressBar

TASK = make_task(noise=2.0)
GRID = {"learning_rate": [0.1, 0.3], "n_hidden": [4, 5], "batch_size": [5], "seed": [0, 1]}  # four stacks


def raising(step: int, error: BaseException) -> Any:
    def call(progress: Progress) -> None:
        if progress.step == step:
            raise error

    return call


class Ending:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def __call__(self, progress: Progress) -> None:
        if not self.log or self.log[-1] != f"{self.name} called":
            self.log.append(f"{self.name} called")

    def on_end(self) -> None:
        self.log.append(f"{self.name} ended")


@pytest.fixture
def log() -> list[str]:
    return []


def test_on_end_is_called_once_on_each_callback_that_has_it_last_callback_first(log: list[str]) -> None:
    trained(TASK, epochs=None, steps=1, callbacks=iter([Ending(log, "a"), lambda _: None, Ending(log, "b")]))
    assert [line for line in log if "ended" in line] == ["b ended", "a ended"]


def test_on_end_is_called_after_an_error_which_propagates(log: list[str]) -> None:
    with pytest.raises(KeyError, match="mine"):
        trained(TASK, callbacks=[Ending(log, "a"), raising(2, KeyError("mine"))])
    assert log == ["a called", "a ended"]


def test_on_end_is_not_called_if_the_arguments_are_invalid(log: list[str]) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        trained(TASK, batch_size=0, callbacks=[Ending(log, "a")])
    assert log == []


@pytest.mark.parametrize("how", [{}, {"halving": 3}, {"executor": partial(ThreadPoolExecutor, 1)}])
def test_a_sweep_calls_on_end_once(log: list[str], how: dict[str, Any]) -> None:
    swept(TASK, GRID, callbacks=[Ending(log, "a")], **how)
    assert log == ["a called", "a ended"]


def test_a_sweep_that_fails_calls_on_end(log: list[str]) -> None:
    for executor in (None, partial(ThreadPoolExecutor, 1)):
        with pytest.raises(KeyError, match="mine"):
            swept(TASK, GRID, executor=executor, callbacks=[Ending(log, "a"), raising(15, KeyError("mine"))])
        assert log == ["a called", "a ended"]
        log.clear()


def test_a_sweep_with_folds_calls_on_end_after_the_refit(log: list[str]) -> None:
    sweep(TASK.X, TASK.y, folds=2, grid={"learning_rate": [0.1]}, callbacks=[Ending(log, "a")], **BASE)
    assert log == ["a called", "a ended"]


def test_each_part_of_a_plan_calls_on_end(log: list[str]) -> None:
    for part in plan(**arguments(TASK, {"grid": GRID})).parts:
        part.run(TASK.X, TASK.y, validation=TASK.validation, callbacks=iter([Ending(log, "a")]))
    assert log == ["a called", "a ended"] * 4


@pytest.mark.parametrize(
    ("callbacks", "told"),
    [
        (print, "`callbacks` must be a list of callables; got builtin_function_or_method"),
        ([print, 3], r"`callbacks\[1\]` must be a callable; got int"),
        ([ProgressBar], r"`callbacks\[0\]` must be a callable; got the class ProgressBar"),
    ],
)
@pytest.mark.parametrize("train", [trained, swept])
def test_callbacks_must_be_a_list_of_callables(train, callbacks, told):
    settings = {} if train is trained else {"grid": GRID}
    with pytest.raises(TypeError, match=told):
        train(TASK, **settings, callbacks=callbacks)
