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
_READ_BY = ("label", "missing", "resize", "grey", "skip_unreadable")  # what `evaluate` may read otherwise
# Options by their headings in the help.
_data = partial(Option, "Data")
_input = partial(Option, "Input")
_output = partial(Option, "Output")
_place = partial(Option, "Where it runs")
_settings = partial(Option, "Settings")

_PATH = click.Path()
_REPLACE_FILE = _output("--overwrite", bool, "Replace a file of another program.")


def _join(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
    """Join the values of an option that was given several times; return None if it was not given."""
    return tuple(dict.fromkeys(chain(*value))) or None


def _console(ctx: click.Context, param: click.Parameter, quiet: bool) -> Console:
    return Console(quiet=quiet, shows_results=not ctx.meta.get(JSON))


def defaults_text(command: str, key: str) -> str | None:
    """Return the default of a setting, for each data set if they differ; None if it has no default."""
    datasets: dict[str, list[str]] = {}
    for dataset in presets.TRAIN:
        value = presets.settings_for(command, dataset).get(key)
        if value is None:
            continue
        if isinstance(value, bool):
            value = key.replace("_", "-") if value else f"no-{key}".replace("_", "-")
        datasets.setdefault(",".join(format_numbers(values_of(value))), []).append(dataset)
    if len(datasets) <= 1:
        return next(iter(datasets), None)
    words = {
        text: "your own" if names == [*presets.OWN] else ", ".join(names) for text, names in datasets.items()
    }
    return "; ".join(f"{names} {text}" for text, names in words.items())


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
        shown="as in its training" if command == "evaluate" else defaults_text(command, setting.name),
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
        "Without it, they are downloaded (162 MiB) once, to the user's cache.",
    ),
    _data("--url", str, "Where to download cifar10 from, in place of its home."),
]
_PLACE: list[click.Parameter] = [
    _place("--library", LIBRARIES, "The array library.", default="numpy"),
    _place(
        "--device",
        str,
        "cuda:0 or cpu for torch, gpu:0 or cpu for jax, a GPU's number for cupy; "
        "without it, the library's own choice.",
    ),
]
COMMON: list[click.Parameter] = [
    _output("-q --quiet console", bool, "Write results only.", callback=_console),
    _output(
        "--json",
        bool,
        "Write the results to standard output as JSON, and nothing else there.",
        expose_value=False,
    ),
    _output("--debug", bool, "Show where in the code an error came from.", expose_value=False),
]
_PROTOCOLS = " ".join(f"{name}: {one.summary} ({one.dataset})." for name, one in presets.PRESETS.items())


def _of_training(command: str) -> list[click.Parameter]:
    """Return the parameters that `train` and `sweep` share."""
    return [
        *_DATA,
        _settings(
            "--preset",
            str,
            f"Settings of a known protocol. {_PROTOCOLS}",
            metavar="NAME",
            shell_complete=completion.complete_presets,
        ),
        *(_setting_option(one, command) for one in of_command(command).values() if one.help),
        _settings(
            "--config",
            _PATH,
            "A TOML file with settings, by their names in the settings.toml that each run leaves, which "
            "repeats the run. An option that is given as well goes before it; what neither says is as the "
            "preset and the data set have it.",
            metavar="FILE",
            shell_complete=completion.complete_paths(".toml"),
        ),
        *_PLACE,
        _output(
            "--out",
            _PATH,
            "The folder for the results: a new one.",
            shown=f"runs/DATASET-{command}-001, -002, …",
        ),
        _output(
            "--overwrite", bool, "Replace the run that is in the folder already, at the end of the new one."
        ),
    ]


def _resume(holding: str, what_may_be_new: str) -> Option:
    return _output(
        "--resume",
        _PATH,
        f"Go on with the run in a folder, by its own settings; {what_may_be_new}.",
        metavar="FOLDER",
        shell_complete=completion.complete_paths(holding=holding),
    )


_checkpoint_seconds = partial(
    _output,
    "--checkpoint-seconds",
    NOT_NEGATIVE,
    "Seconds that pass at least between two checkpoints, from which --resume goes on.",
)

TRAIN = [
    *_of_training("train"),
    _resume(CHECKPOINT, "--epochs or --steps may give a new total"),
    _checkpoint_seconds(shown="60, without --checkpoint-steps"),
    _output("--checkpoint-steps", COUNT, "Steps that are taken at least between two checkpoints."),
    *COMMON,
]
SWEEP = [
    *_of_training("sweep"),
    _place("--workers", COUNT, "Processes of this machine that train parts of the sweep.", metavar="N"),
    _place(
        "--scheduler",
        str,
        "The address of a Dask scheduler, whose workers train parts of the sweep: tcp://HOST:8786.",
        metavar="ADDRESS",
    ),
    _resume(
        f"{PARTS}/{PLAN}", "--seeds, --candidates and values of settings may be added to the earlier ones"
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
        "Which samples.",
        shown="test; of other data than those trained on, all",
    ),
    *(_setting_option(SETTINGS[name], "evaluate") for name in _READ_BY),
    *_PLACE,
    *COMMON,
]
PREDICT = [
    _NETWORK,
    click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True)),
    _output(
        "--top", COUNT, "How many classes to give for each sample, the most probable first.", default="1"
    ),
    _output(
        "--output",
        _PATH,
        "Write the predictions to a .csv, .parquet, .json or .npz file, which has all probabilities.",
        metavar="FILE",
    ),
    _output(
        "--id-columns",
        list,
        "Columns of a table that are shown and written beside the predictions.",
        multiple=True,
        callback=_join,
    ),
    _REPLACE_FILE,
    _data("--invert", bool, "Take images with black and white exchanged."),
    _data(
        "--resize",
        bool,
        "Bring images of another size to the network's: cut evenly to its proportions, from the "
        "longer sides, then scaled, smoothly.",
    ),
    *_PLACE,
    *COMMON,
]
EXPORT = [
    _NETWORK,
    _input(
        "--input input_dtype",
        onnx.INPUT_DTYPES,
        "What the model takes, and casts itself: uint8 for images as they are.",
        shown="what the network computes in",
    ),
    _input("--flat", bool, "Take samples as rows of features, not as images or as columns of a table."),
    _output("--out", _PATH, "The .onnx file to write.", metavar="FILE", shown="beside the network"),
    _REPLACE_FILE,
    *COMMON,
]
PLOT = [
    _RUN,
    _output("--format suffix", FORMATS, "The pictures' format.", default="png"),
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
    """Return how the user writes each parameter that was given, by their names, in the order of the help."""
    found = {}
    for one in ctx.command.params:
        name = str(one.name)
        if name in ctx.params and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            found[name] = one.opts[0] if isinstance(one, Option) else name.upper()
    return found
