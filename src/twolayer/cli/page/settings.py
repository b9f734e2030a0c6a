"""The settings of a run, by groups, and the command that does it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ... import presets
from ...report.formatting import format_setting
from ...settings import SETTINGS, label
from ..data import kind_of

# These stand elsewhere on the page, or only in the file of settings.
_ELSEWHERE = ("command", "data", "url", "twolayer_version", "data_sha256")


def settings_groups(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the settings that had an effect, by groups, with the default where another was given."""
    defaults = _defaults(settings)
    groups: dict[str, list[dict[str, Any]]] = {}
    known = [name for name in SETTINGS if name in settings and name not in _ELSEWHERE]
    for name in (*known, *sorted(settings.keys() - SETTINGS.keys() - {*_ELSEWHERE})):
        value = settings[name]
        if value is None or not _has_effect(name, settings):
            continue
        if name == "dataset" and isinstance(value, str):
            value = Path(value).name  # not where the user's files are
        default = defaults.get(name)
        given = name in defaults and not _same(value, default)
        row = {
            "label": label(name),
            "value": format_setting(value),
            "given": given,
            "default": format_setting(default) if given and default is not None else None,
        }
        groups.setdefault(SETTINGS[name].group if name in SETTINGS else "Other", []).append(row)
    return [{"title": title, "rows": rows} for title, rows in groups.items()]


def _has_effect(name: str, settings: Mapping[str, Any]) -> bool:
    return name not in SETTINGS or SETTINGS[name].has_effect(settings)


def _same(one: Any, other: Any) -> bool:
    def plain(value: Any) -> Any:
        # In a sweep, one value is as good as a list of it.
        return list(value) if isinstance(value, list | tuple) else [value]

    return bool(plain(one) == plain(other))


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the settings were, had none been given; nothing where that is not known."""
    command, dataset, preset = (settings.get(name) for name in ("command", "dataset", "preset"))
    if command not in ("train", "sweep") or not isinstance(dataset, str):
        return {}
    try:
        found = presets.settings_for(command, kind_of(dataset), preset)
    except (ValueError, TypeError):  # a file of another suffix, a preset that there is no more
        return {}
    return {name: value for name, value in found.items() if SETTINGS[name].kind is not str}


def command_line(settings: Mapping[str, Any], commands: Mapping[str, click.Command]) -> str | None:
    """Give the command that does it again; None where that is not known.

    Parameters
    ----------
    settings : mapping
        Those of settings.toml.
    commands : mapping
        The commands by their names, which know what their options are called.
    """
    defaults = _defaults(settings)
    if not defaults:
        return None
    words = ["twolayer", settings["command"], settings["dataset"]]
    n_validation = settings.get("n_validation")
    if n_validation is not None and n_validation != defaults.get("n_validation"):
        words += ["--validation", _exact(n_validation)]
    for option in commands[settings["command"]].params:
        name = option.name or ""
        value = settings.get(name)
        if not isinstance(option, click.Option) or value is None or not _has_effect(name, settings):
            continue
        if _same(value, defaults.get(name)):
            continue
        if option.secondary_opts:
            words.append(option.opts[0] if value else option.secondary_opts[0])
            continue
        values = value if isinstance(value, list) else [value]
        if name == "url":
            values = [str(value).rpartition("@")[2]]  # earlier versions stored passwords
        if name == "seeds" and len(values) == 1:
            words += ["--seed", _exact(values[0])]
            values = [1]  # how many, as there is no comma
        words += [option.opts[0], ",".join(map(_exact, values))]
    return shlex.join(words)


def _exact(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
