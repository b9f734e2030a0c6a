"""The table of settings: its rows, and the presets, options and parameters that must agree with it."""

from __future__ import annotations

import inspect

import click
import pytest

from twolayer import presets, sweep, train
from twolayer._numbers import Number
from twolayer._setting import REQUIRED, Setting
from twolayer.cli.commands import app
from twolayer.settings import ARGUMENTS, SETTINGS, VARIED, label, of_command


def is_allowed(setting: Setting, value: object) -> bool:
    if isinstance(setting.kind, Number):
        return setting.check(value) == value
    return value in setting.kind if isinstance(setting.kind, tuple) else isinstance(value, setting.kind)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda one: one.name)
def test_a_row_fits_the_others(setting: Setting) -> None:
    assert setting.default in (None, REQUIRED) or is_allowed(setting, setting.default)
    if setting.needs is not None:
        other, values = setting.needs
        assert set(values) < set(SETTINGS[other].kind)
    assert set(setting.idle_without) <= set(SETTINGS)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_presets_have_settings_of_their_command_with_valid_values(command: str) -> None:
    tables = {"train": presets.TRAIN, "sweep": presets.SWEEP}[command]
    for found in (*tables.values(), *(getattr(one, command) for one in presets.PRESETS.values())):
        for name, value in found.items():
            setting = of_command(command)[name]
            values = value if isinstance(value, tuple) else (value,)
            assert len(values) == 1 or setting.varied or name == "seeds"
            assert all(one is None or name == "seeds" or is_allowed(setting, one) for one in values)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_every_setting_with_a_help_text_has_an_option(command: str) -> None:
    options = {one.name: one for one in app.commands[command].params if isinstance(one, click.Option)}
    for name, setting in of_command(command).items():
        if setting.help:
            assert setting.flag in options[name].opts
            assert options[name].help.startswith(setting.help)
    others = [name for name, one in SETTINGS.items() if one.only not in (None, command)]
    assert not set(others) & set(options)


def test_train_and_sweep_have_the_parameters_of_the_table() -> None:
    of_train, of_sweep = (set(inspect.signature(one).parameters) for one in (train, sweep))
    assert set(ARGUMENTS) <= of_train & of_sweep
    assert set(VARIED) - {"n_hidden", "weight_scale"} <= of_train
    assert not set(VARIED) & of_sweep  # they are in the grid


def test_a_label_is_the_name_for_a_reader() -> None:
    assert label("n_hidden") == "hidden units"
    assert label("learning_rate") == "learning rate"
    assert label("train_accuracy") == "training accuracy"
    assert label("validation_accuracy") == "validation accuracy"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dropout", 1, r"`dropout` must be in \[0, 1\); got 1"),
        ("n_hidden", 0, "`n_hidden` must be at least 1; got 0"),
        ("weight_scale", "she", "`weight_scale` must be 'he', or a number above 0; got 'she'"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SETTINGS[name].check(value)
    with pytest.raises(ValueError, match=message.replace(f"`{name}`", "`other`")):
        SETTINGS[name].check(value, "other")
