"""Settings from options, a configuration file, a preset and the data set; the settings file of a run."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click

from .. import presets
from .._files import written_whole
from .._numbers import Number
from .._optional import require
from .._records import is_list, is_text
from .._setting import REQUIRED, is_range
from .._texts import check_printable, did_you_mean
from .._validation import shown
from .._version import __version__
from ..datasets.splitting import number_of_rows
from ..report.formatting import format_numbers
from ..settings import SETTINGS, VARIED, has_effect, of_command, values_of
from . import options
from .data import check_of_data, is_path, kind_of
from .option_types import SeveralOrRange
from .read_run import read_object, read_toml
from .run_folder import RESULTS

_PATHS = ("dataset", "data")
# The data and the machine. These settings come from options or the file, not from a preset or the data set.
_PLACES = ("dataset", "preset", "data", "url", "library", "device")
# Keys of settings.toml that are not settings.
_NOTES = ("command", "data_sha256", "twolayer_version")
# Options that only some kinds of data have.
_OF_DATA = tuple(name for name, one in SETTINGS.items() if one.data and one.help)
# An option that needs one of these values also sets it, and so overrides a preset's choice.
_YIELDING = (("schedule", ("exponential",)), ("whiten", ("none",)))
_WANTED: dict[Any, str] = {bool: "true or false", str: "text", list: "a list of texts"}


def settings_of(ctx: click.Context, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a command: from options, else the file, else the preset, else the data set.

    Raises
    ------
    ValueError
        If settings exclude each other, or the file has an invalid key or value.
    """
    command = str(ctx.command.name)
    path = None if parameters["config"] is None else Path(parameters["config"])
    stored = {} if path is None else _read_config(path, ctx)
    given = options.given(ctx)
    places = {
        name: stored[name] if name in stored and name not in given else parameters[name] for name in _PLACES
    }
    dataset, preset = places["dataset"], places["preset"]
    if dataset is None:
        dataset = "digits" if preset is None else presets.preset(preset).dataset
    kind = kind_of(dataset)
    base = presets.settings_for(command, kind, preset)
    settings = {name: value for name, value in base.items() if name not in _PLACES}
    # cifar10 takes --validation too: `_set_aside` makes it `n_train` and `n_validation`.
    check_of_data([name for name in given if not (kind == "cifar10" and name == "validation")], dataset)

    if path is not None:
        check_of_data(stored, dataset, path)
        idle = _without_effect(base | stored)
        try:
            # A run's settings.toml also lists settings without effect, at their defaults; these are accepted.
            settings = joined(settings, {k: v for k, v in stored.items() if k not in idle or v != base[k]})
        except ValueError as error:
            raise ValueError(f"in {path}, {error}") from error
    over = {name: parameters.get(name) for name in settings}
    for name in _OF_DATA:
        for text in values_of(over.get(name)):
            if isinstance(text, str):  # settings.toml could not be read again with other text
                check_printable(SETTINGS[name].flag, text)
    if type(over.get("seeds")) is int and over["seed"] is None:
        over["seed"] = stored.get("seed")  # the first of that many seeds
    settings = joined(settings, over)
    if kind == "cifar10" and parameters["validation"] is not None:
        settings |= _set_aside(parameters["validation"], settings)
    settings |= {name: base[name] for name in _without_effect(settings)}
    if command == "sweep":
        _check_folds(settings)
        settings = with_values(settings)
        del settings["seed"]
    # The hash is that of the file's data. It does not hold for other data that options name.
    if "data_sha256" in stored and not {"dataset", "preset", *_OF_DATA} & given.keys():
        settings["data_sha256"] = stored["data_sha256"]
    return {
        **settings,
        **places,
        "command": command,
        "dataset": absolute(dataset) if is_path(dataset) else dataset,
        "data": absolute(places["data"]),
        "twolayer_version": __version__,
    }


def _values_or_range(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the values of a setting as a tuple, or the text of a range to draw them from."""
    values, flag = values_of(settings[name]), SETTINGS[name].flag
    ranges = [value for value in values if is_range(value)]
    if ranges and len(values) > 1:
        raise ValueError(f"`{flag}` must be values or one range; got {', '.join(format_numbers(values))}")
    if ranges and settings["candidates"] is None:
        raise ValueError(f"--candidates must be given with a range; got {flag} {ranges[0]} alone")
    return ranges[0] if ranges else values


def grid_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the grid of a sweep: the values or the distribution of each setting, and the seeds."""
    grid = {name: settings[name] for name in VARIED}
    for name, value in grid.items():
        if is_range(value):
            grid[name] = SeveralOrRange(SETTINGS[name]).distribution(value)
    return grid | {"seed": settings["seeds"]}


def joined(settings: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings overridden by ``over`` and what it implies; raise if one of ``over`` has no effect."""
    given = {name: over[name] for name in settings if over.get(name) is not None}
    if {"epochs", "steps"} <= given.keys():
        raise ValueError("--epochs or --steps must be given, not both; got both")
    needs: dict[str, Any] = {name: SETTINGS[name].needs for name in given}
    implied: dict[str, Any] = {one[0]: one[1][0] for one in needs.values() if one in _YIELDING}
    if given.get("folds") is not None:
        implied["judge"] = "last"  # held-out samples do not choose the epoch as well
    if "epochs" in given or "steps" in given:  # drop the other one, which may be a default
        implied |= {"epochs": None, "steps": None}
    result = {**settings, **implied, **given}
    if result.get("halving") and result["steps"]:
        raise ValueError(f"--epochs must be given with --halving; got --steps {result['steps']}")
    for name in _without_effect(result):
        if name in given:
            other, values = needs[name]
            raise ValueError(
                f"`{SETTINGS[name].flag}` must be left out unless --{other} is {' or '.join(values)}; "
                f"got it with {result[other]}"
            )
    if "seeds" in settings:
        result["seeds"] = _seeds(given.get("seed"), given.get("seeds"), settings["seeds"])
    return result


def _check_folds(settings: Mapping[str, Any]) -> None:
    """Raise if ``--folds`` is given with ``--group``, ``--time`` or ``--calibrate``."""
    kept = [name for name in ("group", "time") if settings.get(name) is not None]
    if settings["folds"] is not None and kept:
        raise ValueError(
            f"`--folds` must be left out with --{kept[0]}, as folds are random; got {settings['folds']}"
        )
    if settings["folds"] is not None and settings["calibrate"]:
        raise ValueError(
            "`--calibrate` must be left out with --folds, as the final network has no validation samples; "
            "got both"
        )


def _without_effect(settings: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that are ignored because another setting lacks the value they need."""
    return [name for name, one in SETTINGS.items() if one.needs is not None and not has_effect(one, settings)]


def _seeds(first: int | None, seeds: int | tuple[int, ...] | None, default: tuple[int, ...]) -> Any:
    """Return the seeds of a sweep: the given ones, or the given number of them from ``first`` on."""
    if isinstance(seeds, tuple):
        if first is not None:
            raise ValueError("--seed must be left out if --seeds lists the seeds; got both")
        return seeds
    if first is None and seeds is None:
        return default
    return tuple((first or 0) + i for i in range(seeds or len(default)))


def _set_aside(amount: float, settings: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of training and validation samples of cifar10 for a value of ``--validation``."""
    n_both = settings["n_train"] + settings["n_validation"]
    n_validation = number_of_rows("--validation", amount, n_both)
    if n_validation >= n_both:
        raise ValueError(f"`--validation` must be below {n_both}; got {n_validation}")
    return {"n_validation": n_validation, "n_train": n_both - n_validation}


def absolute(path: str | None) -> str | None:
    """Return the absolute path, with ~ expanded."""
    return None if path is None else str(_expanded(path).absolute())


def _expanded(path: str) -> Path:
    """Return a path with ~ expanded; unchanged if there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises for unknown users


# As a file


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run as a configuration file that repeats it."""
    tomli_w = require("tomli_w", extra="cli", purpose="writing settings")
    first = ("command", *_PLACES, "seed", "seeds")
    names = [*first, *sorted(settings.keys() - {*first, *_NOTES}), *_NOTES[1:]]
    found = {name: settings[name] for name in names if settings.get(name) is not None}
    text = f"# To repeat the run: twolayer {settings['command']} --config {path.name}\n{tomli_w.dumps(found)}"
    with written_whole(path) as file:
        # Write the bytes of a path that is not UTF-8 as they are, so that the data are found again.
        file.write(text.encode("utf-8", "surrogateescape"))


def read_settings(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Read the settings of a run that is resumed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not the file of a run of this command, or lacks a setting.
    """
    if not path.is_file():
        older = (path.parent / "settings.json").is_file()
        hint = "; its settings.json is from an older version, whose runs cannot be resumed" if older else ""
        raise FileNotFoundError(f"{path.parent} must be the folder of a run; it holds no {path.name}{hint}")
    stored, command = read_toml(path), str(ctx.command.name)
    if stored.get("command") != command:
        wanted = {"train": "training", "sweep": "sweep"}[command]
        raise ValueError(f"`--resume` must be the folder of a {wanted}; {path} is not from `{command}`")
    settings = _converted(stored, path, ctx)
    for name in ("dataset", *presets.settings_for(command, kind_of(settings.get("dataset", "digits")))):
        if (command, name) == ("sweep", "seed"):  # a sweep has `seeds` instead
            continue
        default = SETTINGS[name].default
        if name not in settings and default is REQUIRED:
            raise ValueError(f"{path} must hold `{name}`; it is missing")
        settings.setdefault(name, default)
    if (settings["epochs"] is None) == (settings["steps"] is None):
        raise ValueError(f"{path} must hold either `epochs` or `steps`; got both or neither")
    return settings if command == "train" else with_values(settings)


def resumed_settings(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a resumed sweep, which may have more candidates or seeds."""
    changes, seeds = dict(changes), changes.get("seeds")
    if type(seeds) is int:
        changes["seeds"] = tuple(settings["seeds"][0] + i for i in range(seeds))
    return with_values(joined(settings, changes))


def with_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a sweep with the values, or the range, of each setting that it varies."""
    return {**settings, **{name: _values_or_range(name, settings) for name in VARIED}}


def _read_config(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Read a configuration file; paths in it are relative to its folder."""
    stored = read_toml(path)
    command = stored.get("command", ctx.command.name)
    if (command, ctx.command.name) == ("sweep", "train"):
        stored = _of_best(stored, path)
    elif command != ctx.command.name:
        raise ValueError(
            f"`command` in {path} must be {ctx.command.name}, or be left out; got {shown(command)}"
        )
    return _converted(stored, path, ctx)


def _of_best(stored: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings of a sweep's best network, from its settings and the results beside them."""
    results = path.with_name(RESULTS)
    best = read_object(results).get("best") if results.is_file() else None
    if not isinstance(best, dict) or "seed" not in best:
        raise ValueError(
            f"`command` in {path} must be train, or be left out; got 'sweep' (to train its best candidate, "
            f"the {RESULTS} of the sweep must be beside the file and hold one)"
        )
    of_sweep = of_command("sweep").keys() - of_command("train")
    settings = {name: value for name, value in stored.items() if name not in of_sweep}
    settings |= {name: best[name] for name in VARIED if name in best}
    return settings | {"command": "train", "seed": best["seed"], "networks": 1}


def _converted(stored: Mapping[str, Any], path: Path, ctx: click.Context) -> dict[str, Any]:
    """Return the settings in a file as options would give them; raise for a value that its option refuses."""
    command = str(ctx.command.name)
    known = {*_NOTES, *of_command(command)}
    settings = {}
    for name, value in stored.items():
        if name not in known:
            raise ValueError(f"`{name:.40}` in {path} must be {_unknown(name, ctx, known)}")
        if isinstance(value, str) and name not in _PATHS:
            check_printable(f"`{name}` in {path}", value)
        if isinstance(value, str) and (name == "data" or (name == "dataset" and is_path(value))):
            value = str(path.absolute().parent / _expanded(value))  # from the file's folder
        try:
            settings[name] = checked_value(name, value, command)
        except ValueError as error:
            raise ValueError(f"`{name}` in {path} {error}") from error
    return settings


def _unknown(name: str, ctx: click.Context, known: Collection[str]) -> str:
    """Return what an unknown key must be instead: a similar setting, or an option of the command line."""
    for parameter in ctx.command.params:
        flags = (*parameter.opts, *parameter.secondary_opts)
        if name.replace("_", "-") in [flag.lstrip("-") for flag in flags]:
            if parameter.name not in known:
                return f"given on the command line: {parameter.opts[0]}"
            return f"a setting's name; did you mean {parameter.name}?"
    hint = did_you_mean(name.replace("-", "_"), known)
    return f"a setting's name{hint or f'; `{ctx.command_path} --help` lists them'}"


def checked_value(name: str, value: Any, command: str) -> Any:
    """Return the value of a key as its option would give it; raise if the option would refuse it."""
    setting = SETTINGS.get(name)
    kind: Any = str if setting is None else tuple(presets.PRESETS) if name == "preset" else setting.kind
    if setting is not None and isinstance(kind, Number):
        return options.number_type(setting, command).read_plain(value)
    if kind is list and is_list(value, is_text):
        return tuple(value)
    fits = value in kind if isinstance(kind, tuple) else isinstance(value, kind) and kind is not list
    if not fits:
        wanted = _WANTED.get(kind) or f"one of {', '.join(kind)}"
        raise ValueError(f"must be {wanted}; got {shown(value)}")
    if name == "dataset":
        try:
            kind_of(value)
        except ValueError as error:
            raise ValueError(str(error).removeprefix("`DATASET` ")) from error
    return value
