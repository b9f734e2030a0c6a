"""Command-line options."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any

import click
from click.core import ParameterSource

from .. import onnx, presets
from .._numbers import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, Number
from .._setting import Setting
from ..report.formatting import format_numbers
from ..settings import LIBRARIES, SETTINGS, of_command, values_of
from ..sweeping.stored import PLAN
from . import completion
from .console import Console
from .option_types import NumberType, Option, Seeds, SeveralOrRange
from .run_folder import CHECKPOINT, FORMATS, PARTS, RESULTS

JSON = "twolayer.json"  # key in `ctx.meta`: whether --json was given
_READ_BY = ("label", "missing", "resize", "grey", "skip_unreadable")  # settings that `evaluate` may change
# Options by their headings in the help.
_data = partial(Option, "Data")
_input = partial(Option, "Input")
_output = partial(Option, "Output")
_place = partial(Option, "Where it runs")
_settings = partial(Option, "Settings")

_PATH = click.Path()
_REPLACE_FILE = _output("--overwrite", bool, "Replace a file that another program wrote.")


def _join(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
    """Join the values of an option that was given several times; return None if it was not given."""
    return tuple(dict.fromkeys(chain(*value))) or None


def _console(ctx: click.Context, param: click.Parameter, quiet: bool) -> Console:
    return Console(quiet=quiet, shows_results=not ctx.meta.get(JSON))


def defaults_text(command: str, key: str) -> str | None:
    """Return the default of a setting, for each data set if they differ; None if it has no default."""
    datasets: dict[str, list[str]] = {}
    settings = {dataset: presets.settings_for(command, dataset) for dataset in presets.TRAIN}
    with_setting = [dataset for dataset in settings if key in settings[dataset]]
    for dataset in with_setting:
        value = settings[dataset][key]
        if value is None:
            continue
        if isinstance(value, bool):
            value = key.replace("_", "-") if value else f"no-{key}".replace("_", "-")
        datasets.setdefault(",".join(format_numbers(values_of(value))), []).append(dataset)
    if list(datasets.values()) == [with_setting]:  # one default for all of them
        return next(iter(datasets))
    words = {
        text: "your own" if names == [*presets.OWN] else ", ".join(names) for text, names in datasets.items()
    }
    return "; ".join(f"{names} {text}" for text, names in words.items()) or None


def number_type(setting: Setting, command: str) -> NumberType:
    """Return the type of a setting that is a number; `sweep` takes several of those that it varies."""
    assert isinstance(setting.kind, Number)
    if setting.name == "seeds":
        return Seeds(COUNT_OR_ZERO)
    if command == "sweep" and setting.varied:
        return SeveralOrRange(setting)
    return NumberType(setting.kind, hint="; `twolayer sweep` takes several" if setting.varied else "")


def _setting_option(setting: Setting, command: str) -> Option:
    several = setting.kind is list or (command == "sweep" and setting.varied is not None)
    flags = setting.flag
    if setting.kind is bool:
        flags += f"/--no-{flags[2:]}"
    return Option(
        setting.group,
        f"{flags} {setting.name}",
        number_type(setting, command) if isinstance(setting.kind, Number) else setting.kind,
        setting.help,
        multiple=several,
        callback=_join if several else None,
        shown="as in training" if command == "evaluate" else defaults_text(command, setting.name),
        default=None,
    )


_NETWORK = click.Argument(["network"], shell_complete=completion.complete_networks)
_FOLDER = click.Path(file_okay=False, exists=True)
_RUN = click.Argument(["folder"], type=_FOLDER, shell_complete=completion.complete_paths(holding=RESULTS))
_DATA: list[click.Parameter] = [
    click.Argument(
        ["dataset"], required=False, metavar="[DATASET]", shell_complete=completion.complete_datasets
    ),
    _data(
        "--data",
        _PATH,
        "For cifar10: the folder cifar-10-batches-bin or the archive cifar-10-binary.tar.gz. "
        "By default, cifar10 is downloaded once (162 MiB) to the user's cache.",
    ),
    _data("--url", str, "Address to download cifar10 from, in place of the default one."),
]
_PLACE: list[click.Parameter] = [
    _place("--library", LIBRARIES, "The array library.", default="numpy"),
    _place(
        "--device",
        str,
        "cuda:0 or cpu for torch, gpu:0 or cpu for jax, a GPU's number for cupy; "
        "by default, the library's own choice.",
    ),
]
COMMON: list[click.Parameter] = [
    _output("-q --quiet console", bool, "Write only results and warnings.", callback=_console),
    _output(
        "--json",
        bool,
        "Write only JSON to standard output: the results, and any error.",
        expose_value=False,
    ),
    _output("--debug", bool, "Show the traceback of an error.", expose_value=False),
]
_PROTOCOLS = " ".join(f"{name}: {one.summary} ({one.dataset})." for name, one in presets.PRESETS.items())


def _of_training(command: str) -> list[click.Parameter]:
    """Return the parameters that `train` and `sweep` share."""
    return [
        *_DATA,
        _settings(
            "--preset",
            str,
            f"Predefined settings. {_PROTOCOLS}",
            metavar="NAME",
            shell_complete=completion.complete_presets,
        ),
        *(_setting_option(one, command) for one in of_command(command).values() if one.help),
        _settings(
            "--config",
            _PATH,
            "TOML file with settings, for example the settings.toml of a run, which repeats the run. Options "
            "override the file, the file overrides the preset, and the preset overrides the defaults of the "
            "data set.",
            metavar="FILE",
            shell_complete=completion.complete_paths(".toml"),
        ),
        *_PLACE,
        _output(
            "--out",
            _PATH,
            "The folder for the results, new or empty.",
            shown=f"runs/DATASET-{command}-001, -002, …",
        ),
        _output("--overwrite", bool, "Replace an earlier run in the folder, once the new run is complete."),
    ]


def _resume(holding: str, what_may_be_new: str) -> Option:
    return _output(
        "--resume",
        _PATH,
        f"Resume the run in a folder with its own settings; {what_may_be_new}.",
        metavar="FOLDER",
        shell_complete=completion.complete_paths(holding=holding),
    )


_checkpoint_seconds = partial(
    _output,
    "--checkpoint-seconds",
    NOT_NEGATIVE,
    "Minimum time in seconds between two checkpoints, from which --resume can continue.",
)

TRAIN = [
    *_of_training("train"),
    _resume(CHECKPOINT, "--epochs or --steps may give a new total"),
    _checkpoint_seconds(shown="60 without --checkpoint-steps"),
    _output("--checkpoint-steps", COUNT, "Minimum number of steps between two checkpoints."),
    *COMMON,
]
SWEEP = [
    *_of_training("sweep"),
    _place(
        "--workers", COUNT, "Number of processes on this machine that train parts of the sweep.", metavar="N"
    ),
    _place(
        "--scheduler",
        str,
        "Address of a Dask scheduler whose workers train parts of the sweep: tcp://HOST:8786.",
        metavar="ADDRESS",
    ),
    _resume(
        f"{PARTS}/{PLAN}",
        "--seeds and --candidates may give new totals, and a setting its old values with new ones",
    ),
    _checkpoint_seconds(default="60"),
    *COMMON,
]
EVALUATE = [
    _NETWORK,
    *_DATA,
    _data(
        "--split",
        ("test", "validation", "train", "all"),
        "The samples to use.",
        shown="test; all for your own data that the network was not trained on",
    ),
    *(_setting_option(SETTINGS[name], "evaluate") for name in _READ_BY),
    *_PLACE,
    *COMMON,
]
PREDICT = [
    _NETWORK,
    click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True)),
    _output(
        "--top", COUNT, "Number of classes to show for each sample, the most probable first.", default="1"
    ),
    _output(
        "--output",
        _PATH,
        "Write the predictions, with all probabilities, to a .csv, .parquet, .json or .npz file.",
        metavar="FILE",
    ),
    _output(
        "--id-columns",
        list,
        "Columns of a table to show and write beside the predictions.",
        multiple=True,
        callback=_join,
    ),
    _REPLACE_FILE,
    _data("--invert", bool, "Exchange black and white in the images."),
    _data(
        "--resize",
        bool,
        "Bring images to the size that the network takes: crop the longer sides evenly to its proportions, "
        "then scale with a bicubic filter.",
    ),
    *_PLACE,
    *COMMON,
]
EXPORT = [
    _NETWORK,
    _input(
        "--input input_dtype",
        onnx.INPUT_DTYPES,
        "Dtype of the input, which the model casts itself: uint8 for raw images.",
        shown="the dtype of the network",
    ),
    _input("--flat", bool, "Take samples as rows of features, not as images or as columns of a table."),
    _output("--out", _PATH, "The .onnx file to write.", metavar="FILE", shown="beside the network"),
    _REPLACE_FILE,
    *COMMON,
]
PLOT = [
    _RUN,
    _output("--format suffix", FORMATS, "File format of the pictures.", default="png"),
    *COMMON,
]
REPORT = [
    _RUN,
    _output(
        "--out",
        click.Path(dir_okay=False),
        "The .html file to write.",
        metavar="FILE",
        shown="report.html in the folder",
    ),
    _REPLACE_FILE,
    *COMMON,
]
COMPLETION = [click.Argument(["shell"], type=click.Choice([*completion.SHELLS]))]


def given(ctx: click.Context) -> dict[str, str]:
    """Return the flags of the parameters that were given, by their names, in the order of the help."""
    found = {}
    for one in ctx.command.params:
        name = str(one.name)
        if name in ctx.params and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            found[name] = one.opts[0] if isinstance(one, Option) else name.upper()
    return found
