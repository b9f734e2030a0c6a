"""The page of names: a comparison with the names of the library, the command line and the estimator."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

import numpy as np
import pytest
from support import ROOT

import twolayer
from twolayer.settings import ARGUMENTS, VARIED
from twolayer.sweeping.candidates import DEFAULTS

pytest.importorskip("click", reason="the command line needs click, the extra `cli`")
pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")

from twolayer.cli import options
from twolayer.sklearn import TwoLayerClassifier

ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "docs" / "names.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ")
]
# Parameters of `train` and `sweep` that the page may omit.
NOT_LISTED = (
    "net X y refit grid candidates n_classes max_networks halving replacement stream executor retries "
    "checkpoint_seconds callbacks"
)


def names_in(column: int) -> set[str]:
    return {name for row in ROWS[2:] for name in re.findall(r"`([^`]+)`", row[column])}


def parameters(*functions: object) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters} - {"self"}  # type: ignore[arg-type]


def options_of(commands: Iterable[list[options.click.Parameter]]) -> set[str]:
    return {name for command in commands for parameter in command for name in parameter.opts}


def test_every_row_has_all_columns() -> None:
    assert {len(row) for row in ROWS} == {7}
    assert len(ROWS) > 20


def test_the_page_lists_the_names_of_the_library() -> None:
    own = parameters(twolayer.train, twolayer.sweep)
    assert names_in(1) <= own | parameters(twolayer.TwoLayerNet.initialize) | {*DEFAULTS, "seed"}
    assert own - {*NOT_LISTED.split()} <= names_in(1)


def test_the_keys_of_a_grid_have_a_star() -> None:
    starred = {name for row in ROWS for name in re.findall(r"`(\w+)`\*", row[1])}
    with pytest.raises(ValueError, match="`grid` must name settings among ") as raised:
        twolayer.sweep(np.ones((6, 2)), np.arange(6) % 2, folds=2, grid={"other": [1]})
    message = str(raised.value)
    assert starred == set(message.partition("among ")[2].partition(";")[0].split(", "))


def test_the_page_lists_the_names_of_the_command_line() -> None:
    known = options_of([options.TRAIN, options.SWEEP])
    assert names_in(2) <= known
    expected = {f"--{name.removeprefix('n_').replace('_', '-')}" for name in (*VARIED, *ARGUMENTS)}
    assert expected - {"--replacement"} <= names_in(2)


def test_the_page_lists_the_names_of_the_estimator() -> None:
    own = set(TwoLayerClassifier().get_params())
    assert names_in(3) <= own | parameters(TwoLayerClassifier.fit) | {"StandardScaler", "cv"}
    assert own - {"tol"} <= names_in(3)


def test_the_page_converts_the_penalty_to_those_of_other_libraries() -> None:
    (row,) = (row for row in ROWS if row[0] == "penalty")
    assert row[4:] == ["`alpha` = 2 B `reg`", "`weight_decay` = 2 `reg`", "`L2(reg)`"]
