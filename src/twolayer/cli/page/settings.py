"""The settings of a run, by group, and the command that repeats the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import presets
from ...report.formatting import format_setting
from ...settings import SETTINGS, has_effect, label, of_command, values_of
from ..data import kind_of
from ..option_types import joined_names

# Settings that are shown elsewhere on the page, or only in settings.toml.
_ELSEWHERE = ("command", "data", "url", "twolayer_version", "data_sha256")


def settings_groups(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings that had an effect, by group, with the default of those that differ from it."""
    defaults = _defaults(settings)
    groups: dict[str, list[dict[str, Any]]] = {}
    known = [name for name, one in SETTINGS.items() if has_effect(one, settings)]
    for name in (*known, *sorted(settings.keys() - SETTINGS.keys())):
        value, default = settings.get(name), defaults.get(name)
        if value is None or name in _ELSEWHERE:
            continue
        if name == "dataset" and isinstance(value, str):
            value = Path(value).name  # without the folder, which is private
        given = name in defaults and values_of(value) != values_of(default)
        row = {
            "label": label(name),
            "value": format_setting(value),
            "given": given,
            "default": format_setting(default) if given and default is not None else None,
        }
        groups.setdefault(SETTINGS[name].group if name in SETTINGS else "Other", []).append(row)
    return [{"title": title, "rows": rows} for title, rows in groups.items()]


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default settings for the command, data set and preset of a run; empty if not known."""
    command, dataset, preset = (settings.get(name) for name in ("command", "dataset", "preset"))
    if command not in ("train", "sweep") or not isinstance(dataset, str):
        return {}
    try:
        found = presets.settings_for(command, kind_of(dataset), preset)
    except (ValueError, TypeError):  # an unknown suffix, or a preset that no longer exists
        return {}
    return {name: value for name, value in found.items() if SETTINGS[name].kind is not str}


def command_line(settings: Mapping[str, Any]) -> str | None:
    """Return the command that repeats a run, from its settings; None if it is not known."""
    defaults = _defaults(settings)
    if not defaults:
        return None
    command = settings["command"]
    words = ["twolayer", command, settings["dataset"]]
    # For cifar10, this number is given as --validation.
    n_validation = settings.get("n_validation")
    if n_validation is not None and n_validation != defaults.get("n_validation"):
        words += ["--validation", exact(n_validation)]
    own = (name for name, one in of_command(command).items() if one.help)
    for name in ("data", "url", "preset", *own, "library", "device"):  # in the order of the help
        value, setting = settings.get(name), SETTINGS[name]
        values = values_of(value)
        if value is None or not has_effect(setting, settings) or values == values_of(defaults.get(name)):
            continue
        if setting.kind is bool:
            words.append(setting.flag if value else f"--no-{setting.flag[2:]}")
            continue
        if name == "url":
            values = (str(value).rpartition("@")[2],)  # earlier versions stored passwords
        if name == "seeds" and len(values) == 1:
            words += ["--seed", exact(values[0])]
            values = (1,)  # a number without a comma is how many seeds
        words += [setting.flag, joined_names(map(exact, values))]
    return shlex.join(words)


def exact(value: Any) -> str:
    """Return a value as an option reads it, with all its digits."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
