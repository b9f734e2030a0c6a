"""The options of the commands, and what they are when not given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from .. import onnx, presets
from ..report import format_numbers
from .completion import complete_datasets, complete_files, complete_presets, complete_runs
from .folders import CHECKPOINT, FORMATS
from .libraries import LIBRARIES
from .method import BORDERS, OPTIMIZERS, SCHEDULES, WHITENINGS
from .parameters import Number, Option, Seeds, Several

Function = TypeVar("Function", bound=Callable[..., Any])

_DATASETS = ("digits", "cifar10", "npz")


def _flattened(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
    """Join the values of an option that was given several times; None where it was not."""
    values = tuple(dict.fromkeys(entry for part in value for entry in part))
    if value and not values:
        raise click.BadParameter("must hold at least one value; got none", ctx=ctx, param=param)
    return values or None


def defaults_text(command: str, key: str) -> str | None:
    """Say what a setting is for each data set where it is not given; None where it then is nothing."""
    texts: dict[str, str] = {}
    for dataset in _DATASETS:
        value = presets.settings_for(command, dataset)[key]
        if value is None:
            continue
        value = value if not isinstance(value, bool) else key if value else f"no-{key}"
        values = value if isinstance(value, tuple) else (value,)
        texts[dataset] = ",".join(format_numbers(values))
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), None)
    return "; ".join(f"{'.npz' if dataset == 'npz' else dataset} {text}" for dataset, text in texts.items())


def data_options(command: Function) -> Function:
    """Add what says which data."""
    return _add(
        command,
        click.argument("dataset", required=False, metavar="[DATASET]", shell_complete=complete_datasets),
        _option(
            "Data",
            "--data",
            "data",
            type=click.Path(),
            help="For cifar10: the folder cifar-10-batches-bin or the archive cifar-10-binary.tar.gz. "
            "Without it, they are downloaded (162 MiB) once, to the user's cache.",
        ),
        _option(
            "Data",
            "--url",
            "url",
            help="Where to download cifar10 from, in place of its home.",
        ),
    )


def validation_option(function: Function) -> Function:
    """Add what says how many samples are set aside to choose by."""
    return _add(
        function,
        _option(
            "Data",
            "--validation",
            "validation",
            type=Number(int, least=0),
            shown="5000, of the preset assignment 1000, of the others 0",
            help="For cifar10: how many of the training images, the last, are kept for validation.",
        ),
    )


def setting_options(command: str) -> Callable[[Function], Function]:
    """Add what sets a training, for ``train`` one value each, for ``sweep`` several where it varies them."""
    sweeps = command == "sweep"

    def setting(group: str, name: str, key: str, kind: Number, text: str, *, varied: bool = False) -> Any:
        more: dict[str, Any] = {"type": kind, "swept": varied and not sweeps}
        if varied and sweeps:
            more = {"type": Several(kind), "multiple": True, "callback": _flattened}
        shown = defaults_text(command, key)
        return _option(group, name, key, help=text, shown=shown, default=None, **more)

    def choice(group: str, name: str, key: str, values: tuple[str, ...], text: str) -> Any:
        shown = defaults_text(command, key)
        return _option(group, name, key, help=text, shown=shown, default=None, type=click.Choice(values))

    def flag_setting(group: str, key: str, text: str) -> Any:
        shown = defaults_text(command, key)
        return _option(group, f"--{key}/--no-{key}", key, default=None, shown=shown, help=text)

    def decorate(function: Function) -> Function:
        positive = Number(above=0)
        return _add(
            function,
            _option(
                "Settings",
                "--preset",
                "preset",
                metavar="NAME",
                shell_complete=complete_presets,
                help="Settings of a known protocol. "
                + " ".join(
                    f"{name}: {one.summary} ({one.dataset})." for name, one in presets.PRESETS.items()
                ),
            ),
            setting("Settings", "--hidden", "n_hidden", Number(int, least=1), "Hidden units.", varied=True),
            setting("Settings", "--learning-rate", "learning_rate", positive, "Learning rate.", varied=True),
            setting(
                "Settings",
                "--reg",
                "reg",
                Number(least=0),
                "Strength of the L2 penalty, reg · (‖W1‖² + ‖W2‖²); half of PyTorch's weight_decay.",
                varied=True,
            ),
            setting(
                "Settings",
                "--batch-size",
                "batch_size",
                Number(int, least=1),
                "Samples of a step.",
                varied=True,
            ),
            setting("Settings", "--epochs", "epochs", Number(int, least=1), "Passes through the data."),
            setting(
                "Settings", "--steps", "steps", Number(int, least=1), "Steps to take, in place of --epochs."
            ),
            choice(
                "Settings",
                "--optimizer",
                "optimizer",
                OPTIMIZERS,
                "How steps follow the gradient: gradient descent with Nesterov's or with plain momentum, or "
                "without (sgd); Adam; Adam with decoupled decay.",
            ),
            setting("Settings", "--momentum", "momentum", Number(least=0, below=1), "Of the first two."),
            setting(
                "Settings",
                "--weight-decay",
                "weight_decay",
                Number(least=0),
                "Decoupled decay of the weights, with adamw.",
            ),
            choice(
                "Settings",
                "--schedule",
                "schedule",
                SCHEDULES,
                "How the learning rate falls: to zero along a cosine, by a factor, or not at all.",
            ),
            setting(
                "Settings",
                "--warmup",
                "warmup",
                Number(int, least=0),
                "Epochs through which the learning rate rises first.",
            ),
            setting(
                "Settings",
                "--learning-rate-decay",
                "learning_rate_decay",
                positive,
                "With --schedule exponential: what the learning rate is multiplied by after every epoch.",
            ),
            setting(
                "Settings",
                "--decay-every",
                "decay_every",
                Number(int, least=1),
                "Steps between two decays, in place of an epoch.",
            ),
            setting(
                "Settings",
                "--weight-scale",
                "weight_scale",
                Number(above=0, words=("he",)),
                "Standard deviation of the initial weights; he is sqrt(2 / inputs) for each layer.",
                varied=True,
            ),
            flag_setting(
                "Settings",
                "replacement",
                "Draw batches with replacement, or shuffle the samples for each epoch.",
            ),
            setting(
                "Settings",
                "--dropout",
                "dropout",
                Number(least=0, below=1),
                "Probability with which each hidden unit is left out of a step.",
                varied=True,
            ),
            setting(
                "Settings",
                "--input-dropout",
                "input_dropout",
                Number(least=0, below=1),
                "The same for features.",
                varied=True,
            ),
            setting(
                "Settings",
                "--label-smoothing",
                "label_smoothing",
                Number(least=0, most=1),
                "How much of the target is spread over all classes.",
                varied=True,
            ),
            choice(
                "Settings",
                "--class-weight",
                "class_weight",
                ("none", "balanced"),
                "Weigh samples so that every class counts the same, or not.",
            ),
            setting(
                "Settings",
                "--ema-decay",
                "ema_decay",
                Number(least=0, below=1),
                "Keep an average of the weights, in which the old one counts this much at each step.",
            ),
            setting(
                "Settings",
                "--patience",
                "patience",
                Number(int, least=1),
                "Stop after so many epochs without a better validation accuracy.",
            ),
            _option(
                "Settings",
                "--judge",
                "judge",
                type=click.Choice(["best", "last"]),
                default=None,
                shown=defaults_text(command, "judge"),
                help="Keep the network of the best validation accuracy, or the last.",
            ),
            flag_setting("Preprocessing", "center", "Subtract each feature's mean, or not."),
            setting(
                "Preprocessing",
                "--scale",
                "scale",
                Number(above=0, words=("global", "feature", "channel")),
                "Divide by one standard deviation, or by each feature's or channel's; a number multiplies.",
            ),
            choice(
                "Preprocessing",
                "--whiten",
                "whiten",
                WHITENINGS,
                "In place of --scale, whiten: zca gives images again, pca the coordinates along the leading "
                "--components.",
            ),
            setting(
                "Preprocessing",
                "--components",
                "components",
                Number(int, least=1),
                "How many principal components whitening keeps; all where it is not given.",
            ),
            setting(
                "Preprocessing",
                "--epsilon",
                "epsilon",
                Number(least=0),
                "What whitening adds to each variance, as a share of their mean.",
            ),
            flag_setting("Augmentation", "flip", "Flip every other image left to right, or not."),
            setting(
                "Augmentation",
                "--shift",
                "shift",
                Number(int, least=0),
                "Shift images by up to so many pixels.",
            ),
            choice(
                "Augmentation",
                "--border",
                "border",
                BORDERS,
                "What comes in from outside where images are shifted.",
            ),
            setting(
                "Augmentation",
                "--mixup",
                "mixup",
                Number(least=0),
                "Mix pairs of samples in shares of a Beta(X, X) distribution; 0 for none.",
            ),
            flag_setting(
                "The network that is kept",
                "symmetrize",
                "Fold the mean over an image and its mirror image into it, or not.",
            ),
            setting(
                "The network that is kept",
                "--symmetrize-shift",
                "symmetrize_shift",
                Number(int, least=0),
                "And over the image shifted by up to so many pixels in each of four directions.",
            ),
            *(
                [
                    setting(
                        "The network that is kept",
                        "--networks",
                        "networks",
                        Number(int, least=1),
                        "Train so many networks from different weights, and merge them to one.",
                    )
                ]
                if not sweeps
                else []
            ),
            _option(
                "Settings",
                "--seed",
                "seed",
                type=Number(int, least=0),
                default=None,
                shown="0",
                help="What everything random follows from"
                + (": the first of --seeds, where that is a number of them." if sweeps else "."),
            ),
            *(
                [
                    _option(
                        "Settings",
                        "--seeds",
                        "seeds",
                        type=Seeds(),
                        default=None,
                        shown=defaults_text(command, "seeds"),
                        help="Seeds for each candidate: how many, or which (0,1,2).",
                    )
                ]
                if sweeps
                else []
            ),
        )

    return decorate


def config_option(function: Function) -> Function:
    """Add what names a file with settings."""
    return _add(
        function,
        _option(
            "Settings",
            "--config",
            "config",
            metavar="FILE",
            type=click.Path(),
            shell_complete=complete_files(".toml"),
            help="A TOML file with settings, by their names in the settings.toml that each run leaves, which "
            "repeats the run. An option that is given as well goes before it; what neither says is as the "
            "preset and the data set have it.",
        ),
    )


def library_options(*, training: bool) -> Callable[[Function], Function]:
    """Add what says where it runs."""

    def decorate(function: Function) -> Function:
        return _add(
            function,
            _option(
                "Where it runs",
                "--library",
                "library",
                type=click.Choice(LIBRARIES),
                default="numpy",
                show_default=True,
                help="The array library.",
            ),
            _option(
                "Where it runs",
                "--device",
                "device",
                help="cuda:0 or cpu for torch, gpu:0 or cpu for jax, a GPU's number for cupy; "
                "without it, the library's own choice.",
            ),
            *(
                [
                    _option(
                        "Where it runs",
                        "--dtype",
                        "dtype",
                        type=click.Choice(["float32", "float64"]),
                        default=None,
                        shown="float32",
                        help="What numbers are computed in.",
                    )
                ]
                if training
                else []
            ),
        )

    return decorate


def _overwrite_option(what: str) -> Any:
    return _option("Output", "--overwrite", "overwrite", is_flag=True, help=f"Replace {what}.")


def folder_options(command: str) -> Callable[[Function], Function]:
    """Add what says where the results go."""

    def decorate(function: Function) -> Function:
        return _add(
            function,
            _option(
                "Output",
                "--out",
                "out",
                type=click.Path(),
                shown=f"runs/DATASET-{command}-001, -002, …",
                help="The folder for the results: a new one.",
            ),
            _overwrite_option("the run that is in the folder already, once there are results"),
        )

    return decorate


def resume_options(function: Function) -> Function:
    """Add what says which run to go on with, and how often there is a checkpoint to go on from."""
    return _add(
        function,
        _option(
            "Output",
            "--resume",
            "resume",
            metavar="FOLDER",
            type=click.Path(),
            shell_complete=complete_runs(CHECKPOINT),
            help="Go on with the run in a folder, by its own settings; "
            "--epochs or --steps may give a new total.",
        ),
        _option(
            "Output",
            "--checkpoint-seconds",
            "checkpoint_seconds",
            type=Number(least=0),
            shown="60, without --checkpoint-steps",
            help="Seconds that pass at least between two checkpoints, from which --resume goes on.",
        ),
        _option(
            "Output",
            "--checkpoint-steps",
            "checkpoint_steps",
            type=Number(int, least=1),
            help="Steps that are taken at least between two checkpoints.",
        ),
    )


def max_networks_option(function: Function) -> Function:
    """Add what says how many networks train together."""
    return _add(
        function,
        _option(
            "Where it runs",
            "--max-networks",
            "max_networks",
            type=Number(int, least=1),
            shown="all",
            help="The most networks to train together, where memory is short.",
        ),
    )


def split_option(function: Function) -> Function:
    """Add what says by which samples a network is judged."""
    return _add(
        function,
        _option(
            "Data",
            "--split",
            "split",
            type=click.Choice(["test", "validation", "train", "all"]),
            default=None,
            shown="test; of a file other than the one trained on, all",
            help="Which samples.",
        ),
    )


def prediction_options(function: Function) -> Function:
    """Add what says which predictions are given, and where."""
    return _add(
        function,
        _option(
            "Output",
            "--top",
            "top",
            type=Number(int, least=1),
            default=1,
            show_default=True,
            help="How many classes to give for each sample, the most probable first.",
        ),
        _option(
            "Output",
            "--output",
            "output",
            metavar="FILE",
            type=click.Path(),
            help="Write the predictions to a .csv, .json or .npz file, which has all probabilities.",
        ),
        _overwrite_option("a file of another program"),
        _option(
            "Data", "--invert", "invert", is_flag=True, help="Take images with black and white exchanged."
        ),
        _option(
            "Data",
            "--resize",
            "resize",
            is_flag=True,
            help="Bring images of another size to the network's: cut evenly to its proportions, from the "
            "longer sides, then scaled, smoothly.",
        ),
    )


def export_options(function: Function) -> Function:
    """Add what says what an exported network takes, and where it goes."""
    return _add(
        function,
        _option(
            "Input",
            "--input",
            "input_dtype",
            type=click.Choice(onnx.INPUT_DTYPES),
            default=None,
            shown="what the network computes in",
            help="What the model takes, and casts itself: uint8 for images as they are.",
        ),
        _option(
            "Input",
            "--flat",
            "flat",
            is_flag=True,
            help="Take samples as rows of features where they are images, too.",
        ),
        _option(
            "Output",
            "--out",
            "out",
            metavar="FILE",
            type=click.Path(),
            shown="beside the network",
            help="The .onnx file to write.",
        ),
        _overwrite_option("a file of another program"),
    )


def format_option(function: Function) -> Function:
    """Add what says how pictures are written."""
    return _add(
        function,
        _option(
            "Output",
            "--format",
            "suffix",
            type=click.Choice(FORMATS),
            default="png",
            show_default=True,
            help="The pictures' format.",
        ),
    )


def page_option(function: Function) -> Function:
    """Add what says where the page of a run goes."""
    return _add(
        function,
        _option(
            "Output",
            "--out",
            "out",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            shown="report.html in the folder",
            help="The .html file to write.",
        ),
        _overwrite_option("a file of another program"),
    )


def common_options(function: Function) -> Function:
    """Add what every command has."""

    def note_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.find_root().meta["twolayer.debug"] = value

    return _add(
        function,
        _option("Output", "-q", "--quiet", "quiet", is_flag=True, help="Write results only."),
        _option(
            "Output",
            "--json",
            is_flag=True,
            expose_value=False,
            help="Write the results to standard output as JSON, and nothing else there.",
        ),
        _option(
            "Output",
            "--debug",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=note_debug,
            help="Show where in the code an error came from.",
        ),
        help_option,
    )


def help_option(function: Function) -> Function:
    """Add --help: an option of its own, so that it stands in a group."""
    return _add(
        function, click.help_option("--help", "-h", cls=Option, group="Output", help="Show this help.")
    )


def flag(ctx: click.Context, name: str) -> str:
    """Return how the user writes a parameter."""
    parameter = next(one for one in ctx.command.params if one.name == name)
    return parameter.opts[0] if isinstance(parameter, click.Option) else name.upper()


def given(ctx: click.Context) -> list[str]:
    """Return the names of the parameters that the user gave, in the order of the help."""
    names = (parameter.name for parameter in ctx.command.params if parameter.name in ctx.params)
    return [name for name in names if name and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]


def _option(group: str, *names: str, **more: Any) -> Any:
    return click.option(*names, cls=Option, group=group, **more)


def _add(function: Function, *decorators: Callable[[Any], Any]) -> Function:
    decorated: Any = function
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    return decorated  # type: ignore[no-any-return]
