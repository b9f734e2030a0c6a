"""Command-line options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from .. import onnx, presets, settings
from .._numbers import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, Number
from ..report.formatting import format_numbers
from ..settings import SETTINGS, Setting
from .completion import complete_datasets, complete_files, complete_networks, complete_presets, complete_runs
from .option_types import NumberType, Option, ParamType, Seeds, Several
from .run_folder import CHECKPOINT, FORMATS, RESULTS

Function = TypeVar("Function", bound=Callable[..., Any])

_DATASETS = ("digits", "cifar10", "npz")

# `click.option` for each group of the help.
_data_option = partial(click.option, cls=Option, group="Data")
_input_option = partial(click.option, cls=Option, group="Input")
_output_option = partial(click.option, cls=Option, group="Output")
_place_option = partial(click.option, cls=Option, group="Where it runs")
_settings_option = partial(click.option, cls=Option, group="Settings")


def _options(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Return a decorator that adds options, in their order in the help."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _overwrite_option(what: str) -> Callable[[Function], Function]:
    return _output_option("--overwrite", is_flag=True, help=f"Replace {what}.")


def _note_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.find_root().meta["twolayer.debug"] = value


def _flattened(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
    """Join the values of an option that was given several times; return None if it was not given."""
    values = tuple(dict.fromkeys(entry for part in value for entry in part))
    if value and not values:
        raise click.BadParameter("must hold at least one value; got none", ctx=ctx, param=param)
    return values or None


def defaults_text(command: str, key: str) -> str | None:
    """Return the default of a setting, for each data set if they differ; None if it has no default."""
    texts: dict[str, str] = {}
    for dataset in _DATASETS:
        value = presets.settings_for(command, dataset)[key]
        if value is None:
            continue
        if isinstance(value, bool):
            value = key if value else f"no-{key}"
        values = value if isinstance(value, tuple) else (value,)
        texts[dataset] = ",".join(format_numbers(values))
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), None)
    return "; ".join(f"{'.npz' if dataset == 'npz' else dataset} {text}" for dataset, text in texts.items())


network_argument = click.argument("network", shell_complete=complete_networks)

run_argument = click.argument(
    "folder", type=click.Path(file_okay=False, exists=True), shell_complete=complete_runs(RESULTS)
)

data_options = _options(
    click.argument("dataset", required=False, metavar="[DATASET]", shell_complete=complete_datasets),
    _data_option(
        "--data",
        type=click.Path(),
        help="For cifar10: the folder cifar-10-batches-bin or the archive cifar-10-binary.tar.gz. "
        "Without it, they are downloaded (162 MiB) once, to the user's cache.",
    ),
    _data_option("--url", help="Where to download cifar10 from, in place of its home."),
)

validation_option = _data_option(
    "--validation",
    type=NumberType(COUNT_OR_ZERO),
    shown="5000, of the preset assignment 1000, of the others 0",
    help="For cifar10: how many of the training images, the last, are kept for validation.",
)


def type_of(setting: Setting, *, several: bool = False) -> ParamType:
    """Return the type of a setting's option; ``several`` values have commas between them."""
    if setting.name == "seeds":
        return Seeds()
    if isinstance(setting.kind, Number):
        one = NumberType(setting.kind)
        return Several(one) if several else one
    if isinstance(setting.kind, tuple):
        return click.Choice(setting.kind)
    return click.BOOL if setting.kind is bool else click.STRING


def _setting_option(setting: Setting, command: str) -> Callable[[Function], Function]:
    """Return the option of a setting; ``sweep`` takes several values of those that it varies."""
    several = command == "sweep" and setting.varied is not None
    flags = setting.flag if setting.kind is not bool else f"{setting.flag}/--no-{setting.flag[2:]}"
    return click.option(
        flags,
        setting.name,
        cls=Option,
        group=setting.group,
        type=type_of(setting, several=several),
        multiple=several,
        callback=_flattened if several else None,
        help=setting.help,
        shown=defaults_text(command, setting.name),
        swept=setting.varied is not None,
        default=None,
    )


def setting_options(command: str) -> Callable[[Function], Function]:
    """Return the options for the settings of a command."""
    return _options(
        *(_setting_option(one, command) for one in settings.of_command(command).values() if one.help)
    )


_PROTOCOLS = " ".join(f"{name}: {one.summary} ({one.dataset})." for name, one in presets.PRESETS.items())

preset_option = _settings_option(
    "--preset",
    metavar="NAME",
    shell_complete=complete_presets,
    help=f"Settings of a known protocol. {_PROTOCOLS}",
)

config_option = _settings_option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    shell_complete=complete_files(".toml"),
    help="A TOML file with settings, by their names in the settings.toml that each run leaves, which "
    "repeats the run. An option that is given as well goes before it; what neither says is as the "
    "preset and the data set have it.",
)

library_options = _options(
    _place_option(
        "--library",
        type=type_of(SETTINGS["library"]),
        default="numpy",
        show_default=True,
        help="The array library.",
    ),
    _place_option(
        "--device",
        help="cuda:0 or cpu for torch, gpu:0 or cpu for jax, a GPU's number for cupy; "
        "without it, the library's own choice.",
    ),
)


def folder_options(command: str) -> Callable[[Function], Function]:
    """Return the options for the folder of a command's results."""
    return _options(
        _output_option(
            "--out",
            type=click.Path(),
            shown=f"runs/DATASET-{command}-001, -002, …",
            help="The folder for the results: a new one.",
        ),
        _overwrite_option("the run that is in the folder already, at the end of the new one"),
    )


resume_options = _options(
    _output_option(
        "--resume",
        metavar="FOLDER",
        type=click.Path(),
        shell_complete=complete_runs(CHECKPOINT),
        help="Go on with the run in a folder, by its own settings; --epochs or --steps may give a new total.",
    ),
    _output_option(
        "--checkpoint-seconds",
        type=NumberType(NOT_NEGATIVE),
        shown="60, without --checkpoint-steps",
        help="Seconds that pass at least between two checkpoints, from which --resume goes on.",
    ),
    _output_option(
        "--checkpoint-steps",
        type=NumberType(COUNT),
        help="Steps that are taken at least between two checkpoints.",
    ),
)

split_option = _data_option(
    "--split",
    type=click.Choice(["test", "validation", "train", "all"]),
    shown="test; of a file other than the one trained on, all",
    help="Which samples.",
)

prediction_options = _options(
    _output_option(
        "--top",
        type=NumberType(COUNT),
        default=1,
        show_default=True,
        help="How many classes to give for each sample, the most probable first.",
    ),
    _output_option(
        "--output",
        metavar="FILE",
        type=click.Path(),
        help="Write the predictions to a .csv, .json or .npz file, which has all probabilities.",
    ),
    _overwrite_option("a file of another program"),
    _data_option("--invert", is_flag=True, help="Take images with black and white exchanged."),
    _data_option(
        "--resize",
        is_flag=True,
        help="Bring images of another size to the network's: cut evenly to its proportions, from the "
        "longer sides, then scaled, smoothly.",
    ),
)

export_options = _options(
    _input_option(
        "--input",
        "input_dtype",
        type=click.Choice(onnx.INPUT_DTYPES),
        shown="what the network computes in",
        help="What the model takes, and casts itself: uint8 for images as they are.",
    ),
    _input_option(
        "--flat", is_flag=True, help="Take samples as rows of features where they are images, too."
    ),
    _output_option(
        "--out",
        metavar="FILE",
        type=click.Path(),
        shown="beside the network",
        help="The .onnx file to write.",
    ),
    _overwrite_option("a file of another program"),
)

format_option = _output_option(
    "--format",
    "suffix",
    type=click.Choice(FORMATS),
    default="png",
    show_default=True,
    help="The pictures' format.",
)

page_options = _options(
    _output_option(
        "--out",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        shown="report.html in the folder",
        help="The .html file to write.",
    ),
    _overwrite_option("a file of another program"),
)

# An option of its own, so that it stands in a group.
help_option = click.help_option("--help", "-h", cls=Option, group="Output", help="Show this help.")

common_options = _options(
    _output_option("-q", "--quiet", is_flag=True, help="Write results only."),
    _output_option(
        "--json",
        is_flag=True,
        expose_value=False,
        help="Write the results to standard output as JSON, and nothing else there.",
    ),
    _output_option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_note_debug,
        help="Show where in the code an error came from.",
    ),
    help_option,
)


def flag(ctx: click.Context, name: str) -> str:
    """Return how the user writes a parameter."""
    parameter = next(one for one in ctx.command.params if one.name == name)
    return parameter.opts[0] if isinstance(parameter, click.Option) else name.upper()


def given(ctx: click.Context) -> list[str]:
    """Return the names of the parameters that the user gave, in the order of the help."""
    names = (parameter.name for parameter in ctx.command.params if parameter.name in ctx.params)
    return [name for name in names if name and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]
