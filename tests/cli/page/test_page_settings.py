"""The settings on a page, and the command that repeats the run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import done, settings_in
from support.pages import Page, words

from twolayer.cli.config import write_settings
from twolayer.cli.page.settings import command_line


def test_settings_that_were_given_are_marked(runs: Path) -> None:
    page = Page(runs / "several")
    entries = page.section("settings").iterfind(".//dl/div")
    rows = {words(one.find("dt")): words(one.find("dd")) for one in entries}
    assert rows["hidden units"] == "8 given in place of 100"
    assert rows["networks"] == "2 given in place of 1"
    assert rows["judged"] == "last given in place of best"
    assert rows["reg"] == "3e-3"
    assert "momentum" not in rows  # plain gradient descent has none
    assert "border" not in rows
    assert rows["numpy"] == np.__version__
    again = "twolayer train digits --hidden 8 --epochs 3 --judge last --networks 2"
    assert words(page.section("settings").find("pre")) == again
    assert "In the folder of the run, twolayer train --config settings.toml repeats it" in page.said(
        "settings"
    )


COMMANDS = [
    "train digits",
    "train digits --hidden 12 --learning-rate 0.25 --epochs 4 --seed 3 --dtype float64",
    "train digits --steps 90 --replacement --no-center --scale 0.5 --weight-scale he --class-weight balanced",
    "train digits --whiten pca --components 20 --patience 3 --ema-decay 0.99 --label-smoothing 0.1",
    "train digits --optimizer adamw --weight-decay 0.01 --schedule constant --warmup 2 --networks 3",
    "train cifar10 --preset cpu --validation 500 --no-flip --symmetrize-shift 1",
    "train cifar10 --data '/a folder' --shift 3 --border zero --mixup 0.2 --library torch --device cuda:0",
    "sweep digits",
    "sweep digits --hidden 10,20 --reg 0,1e-05 --seeds 2,5 --dropout 0.1",
    "sweep digits --seed 4 --seeds 1",
    "sweep digits --learning-rate 1e-3..1 --weight-scale he,0.1 --dropout 0..0.5 --candidates 8",
    "sweep digits --seeds 5 --decay-every 30 --optimizer nesterov --momentum 0.8 --judge last",
    "sweep cifar10 --preset assignment",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_the_command_on_the_page_gives_the_same_settings(text: str, tmp_path: Path) -> None:
    settings = settings_of(f"twolayer {text}", tmp_path)
    again = command_line(settings)
    assert again is not None
    assert settings_of(again, tmp_path) == settings
    if text in ("train digits", "sweep digits", "sweep cifar10 --preset assignment"):
        assert again == f"twolayer {text}"


def settings_of(text: str, folder: Path) -> dict[str, Any]:
    """The settings that a command would write."""
    program, command, *arguments = shlex.split(text)
    assert program == "twolayer"
    found: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            f"twolayer.cli.commands.run_{command}", lambda settings, *_, **__: found.append(settings)
        )
        done(command, *arguments)
    write_settings(folder / "settings.toml", found[0])
    return settings_in(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"command": "train", "dataset": "digits.txt"},
        {"command": "train", "dataset": "digits", "preset": "none"},
        {"command": "predict", "dataset": "digits"},
    ],
    ids=["empty", "file", "preset", "command"],
)
def test_settings_of_an_unknown_kind_give_no_command(settings: dict[str, Any]) -> None:
    assert command_line(settings) is None
