"""The commands, as the user types them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .. import __version__, presets
from . import folders, options
from .console import Console
from .data import kind_of
from .information import show_information
from .jobs import INTERRUPTED
from .method import completed
from .networks import evaluate_network, export_network, predict_with_network
from .parameters import Command, Number
from .sweeps import GRID, run_sweep
from .training import Pace, resume_train, run_train

# What the library calls otherwise than the command line.
_OPTIONS = {"folder": "--data", "url": "--url", "preset": "--preset"}
# Array libraries whose errors come from the device rather than from this program.
_DEVICE_PACKAGES = ("cupy", "cupy_backends", "jax", "jaxlib", "torch")
_RESUME_WITH = ("data", "url", "epochs", "steps", "library", "device")


class Failure(click.ClickException):
    """An error that the user can do something about: one line, no traceback."""

    def show(self, file: Any = None) -> None:
        """Write it."""
        Console().error(self.message)


class UsageFailure(Failure):
    """The same, of how a command was typed."""

    exit_code = 2


class Commands(click.Group):
    """The group of commands: what goes wrong in them becomes one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"
            raise UsageFailure(f"{error.format_message().rstrip('.')}{where}") from error
        except KeyboardInterrupt:
            Console().warn("aborted")
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:  # which a user is to read in one line; what is not foreseen goes on
            debug = ctx.find_root().meta.get("twolayer.debug")
            if debug or getattr(error, "errno", None) == errno.EPIPE:
                raise
            if _is_of_device(error):
                raise Failure(_first_line(error) + self._hint(ctx)) from error
            if isinstance(error, TypeError | ValueError | OSError | ImportError | MemoryError):
                raise Failure(_message(error)) from error
            raise

    def _hint(self, ctx: click.Context) -> str:
        """Say which options of the command may help where a device fails or is full."""
        command = self.commands[ctx.invoked_subcommand or ""]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        hints = {
            "--max-networks": "fewer networks at once with --max-networks",
            "--batch-size": "a smaller --batch-size",
            "--device": "another --device",
        }
        found = [hint for flag, hint in hints.items() if flag in flags]
        return f"; what may help: {', or '.join(found)}" if found else ""


def _is_of_device(error: Exception) -> bool:
    # PyTorch's errors of CUDA's libraries are plain ones.
    return type(error).__module__.partition(".")[0] in _DEVICE_PACKAGES or (
        type(error) is RuntimeError and str(error).startswith("CUDA error")
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".;: ")


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})"
    message = str(error) or type(error).__name__
    for argument, option in _OPTIONS.items():
        message = message.replace(f"`{argument}`", f"`{option}`")
    return message


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`twolayer COMMAND --help` tells more of each, with examples.",
)
@click.version_option(__version__, prog_name="twolayer")
def app() -> None:
    """Two-layer neural networks with a softmax classifier.

    Start with `twolayer sweep`: it trains networks on images of handwritten digits, which come with it, with
    several settings, and leaves the best network, tables and pictures in a new folder below runs/.
    """


_DATASETS = """DATASET is digits (the default: 1,797 images of 8×8 pixels, which come with twolayer),
    cifar10 (60,000 colour images of 32×32 pixels), or the path of your own .npz file with X, numbers or
    images, and y, labels."""


@app.command(
    cls=Command,
    short_help="Train one network, and judge it by the test samples.",
    help=f"""Train one network, and judge it by the test samples.

    {_DATASETS}

    Ctrl-C ends it cleanly, keeping what there is; --resume then goes on as if nothing had been. It does so
    after a crash too, from the last checkpoint, or from the beginning where there is none yet.

    \b
    Examples:
      twolayer train
      twolayer train --hidden 200 --learning-rate 0.3 --epochs 100
      twolayer train cifar10 --data ~/cifar-10-batches-bin --out runs/first
      twolayer train my.npz --library torch --device cuda:0
      twolayer train --resume runs/first
    """,
)
@options.data_options
@options.validation_option
@options.setting_options("train")
@options.library_options(training=True)
@options.folder_options("train")
@options.resume_options
@options.common_options
@click.pass_context
def train(ctx: click.Context, /, **parameters: Any) -> None:
    """Train one network."""
    console = Console(quiet=parameters["quiet"])
    _check_length(ctx, parameters)
    pace = Pace(parameters["checkpoint_seconds"], parameters["checkpoint_steps"])
    if parameters["resume"] is None:
        settings = _settings("train", parameters)
        settings["seed"] = parameters["seed"] or 0
        run_train(settings, console, out=parameters["out"], overwrite=parameters["overwrite"], pace=pace)
        return
    given = options.given(ctx)
    allowed = ("resume", "quiet", "checkpoint_seconds", "checkpoint_steps", *_RESUME_WITH)
    others = [options.flag(ctx, name) for name in given if name not in allowed]
    if others:
        raise click.UsageError(
            f"--resume goes on with the run's own settings: leave out {', '.join(others)}", ctx
        )
    changes = {name: parameters[name] for name in given if name in _RESUME_WITH}
    if "data" in changes:
        changes["data"] = _absolute(changes["data"])

    def check(settings: dict[str, Any], path: Path) -> None:
        _check_stored(ctx, settings, path)

    resume_train(Path(parameters["resume"]), changes, console, check=check, pace=pace)


def _check_stored(ctx: click.Context, settings: dict[str, Any], path: Path) -> None:
    """Raise unless stored settings are such as the options of a command may leave."""
    dataset = settings.get("dataset", "digits")
    if not isinstance(dataset, str):
        raise ValueError(f"`dataset` in {path} must be text; got {type(dataset).__name__}")
    options_by_name = {parameter.name: parameter for parameter in ctx.command.params}
    defaults = presets.settings_for(ctx.command.name or "", kind_of(dataset))
    for name in ("library", "device", "data", "url", "preset", "dataset", "seed", *defaults):
        if name not in settings:
            raise ValueError(f"{path} must hold '{name}'; it is missing")
        value, option = settings[name], options_by_name.get(name)
        if value is None and (name not in defaults or defaults[name] is None or name in ("epochs", "steps")):
            continue
        try:
            settings[name] = _converted(value, option, ctx)
        except (click.UsageError, ValueError) as error:
            said = error.message if isinstance(error, click.UsageError) else str(error)
            raise ValueError(f"`{name}` in {path} {said}") from error
    if (settings["epochs"] is None) == (settings["steps"] is None):
        raise ValueError(f"{path} must hold `epochs` or `steps`, and the other as null; got both or neither")
    found = settings.get("data_sha256")
    if found is not None and not isinstance(found, str):
        raise ValueError(f"`data_sha256` in {path} must be text; got {type(found).__name__}")


def _converted(value: Any, option: click.Parameter | None, ctx: click.Context) -> Any:
    """Return a stored value as an option has it; raise where it is none of the option's."""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false; got {value!r:.40}")
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be a number or text; got {value!r:.40}")
    if option is not None and isinstance(option.type, click.Choice):
        if value not in option.type.choices:
            raise ValueError(f"must be one of {', '.join(option.type.choices)}; got {value!r:.40}")
        return value
    if option is None:  # a setting that no option changes
        return Number(int, least=0).convert(str(value), None, ctx)
    return option.type.convert(str(value), option, ctx)


@app.command(
    cls=Command,
    short_help="Train networks with several settings, and keep the best.",
    help=f"""Train networks with all combinations of several settings, and keep the best.

    {_DATASETS}

    Settings that take several values take them with commas between, or one by one. Each combination is
    trained from every seed; the best is the one of the highest mean accuracy on the validation samples. Its
    best network is then judged by the test samples. Ctrl-C ends it cleanly, keeping what there is.

    \b
    Examples:
      twolayer sweep
      twolayer sweep --hidden 50,100,200 --reg 1e-4,1e-3 --seeds 5
      twolayer sweep cifar10 --preset assignment --data ~/cifar-10-batches-bin
      twolayer sweep my.npz --learning-rate 0.1 --learning-rate 0.3
    """,
)
@options.data_options
@options.validation_option
@options.setting_options("sweep")
@options.library_options(training=True)
@options.max_networks_option
@options.folder_options("sweep")
@options.common_options
@click.pass_context
def sweep(ctx: click.Context, /, **parameters: Any) -> None:
    """Train networks with several settings."""
    _check_length(ctx, parameters)
    settings = _settings("sweep", parameters)
    settings["seeds"] = _seeds(ctx, parameters, settings["seeds"])
    for name in GRID:
        if not isinstance(settings[name], tuple):
            settings[name] = (settings[name],)
    run_sweep(
        settings,
        Console(quiet=parameters["quiet"]),
        out=parameters["out"],
        overwrite=parameters["overwrite"],
        max_networks=parameters["max_networks"],
    )


def _check_length(ctx: click.Context, parameters: Mapping[str, Any]) -> None:
    if parameters["epochs"] is not None and parameters["steps"] is not None:
        raise click.UsageError("--epochs or --steps must be given, not both; got both", ctx)


def _seeds(ctx: click.Context, parameters: Mapping[str, Any], default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds of a sweep: those that were given, or as many as were asked for."""
    first, seeds = parameters["seed"], parameters["seeds"]
    if isinstance(seeds, tuple):
        if first is not None:
            raise click.UsageError("--seed or all --seeds must be given, not both; got both", ctx)
        return seeds
    if first is None and seeds is None:
        return default
    return tuple((first or 0) + i for i in range(seeds or len(default)))


def _settings(command: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a command: what the user gave, else the preset's, else the data set's."""
    dataset, preset = parameters["dataset"], parameters["preset"]
    if dataset is None:
        dataset = "digits" if preset is None else presets.preset(preset).dataset
    kind = kind_of(dataset)
    settings = presets.settings_for(command, kind, preset)
    given = {name: parameters[name] for name in settings if parameters.get(name) is not None}
    if parameters["validation"] is not None:
        if kind != "cifar10":
            raise ValueError(f"`--validation` must be left out but for cifar10; got it with {dataset}")
        n_both = settings["n_train"] + settings["n_validation"]
        if parameters["validation"] >= n_both:
            raise ValueError(f"`--validation` must be below {n_both}; got {parameters['validation']}")
        settings["n_validation"] = parameters["validation"]
        settings["n_train"] = n_both - parameters["validation"]
    if "epochs" in given or "steps" in given:
        settings |= {"epochs": None, "steps": None}
    return {
        **completed(settings | given, given),
        "command": command,
        "dataset": _absolute(dataset) if kind == "npz" else dataset,
        "data": _absolute(parameters["data"]),
        **{name: parameters[name] for name in ("url", "preset", "library", "device")},
        "twolayer_version": __version__,
    }


def _absolute(path: str | None) -> str | None:
    """Return a path that is found from any folder."""
    return None if path is None else str(Path(path).expanduser().absolute())


@app.command(
    cls=Command,
    short_help="Judge a saved network by samples whose classes are known.",
    help="""Judge a saved network by samples whose classes are known.

    NETWORK is a network.safetensors, or the folder of a run. DATASET is digits, cifar10 or the path of an
    .npz file; without it, the one of the first two that the network was trained on.

    \b
    Examples:
      twolayer evaluate runs/digits-sweep-001
      twolayer evaluate runs/digits-sweep-001 --split validation
      twolayer evaluate network.safetensors my.npz
    """,
)
@click.argument("network")
@options.data_options
@options.split_option
@options.library_options(training=False)
@options.common_options
def evaluate(quiet: bool, **parameters: Any) -> None:
    """Judge a saved network."""
    evaluate_network(**parameters, console=Console(quiet=quiet))


@app.command(
    cls=Command,
    short_help="Predict the classes of samples with a saved network.",
    help="""Predict the classes of samples with a saved network.

    NETWORK is a network.safetensors, or the folder of a run. INPUT is an .npz file with X, an .npy file, or
    one or more image files of the size that the network was trained on. The digits that come with twolayer
    are white on black; --invert takes images of black on white.

    \b
    Examples:
      twolayer predict runs/digits-sweep-001 seven.png --top 3
      twolayer predict runs/digits-sweep-001 scans/*.png --invert
      twolayer predict network.safetensors my.npz --output predictions.csv
    """,
)
@click.argument("network")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@options.prediction_options
@options.library_options(training=False)
@options.common_options
def predict(quiet: bool, **parameters: Any) -> None:
    """Predict classes with a saved network."""
    predict_with_network(**parameters, console=Console(quiet=quiet))


@app.command(
    cls=Command,
    short_help="Write a saved network as an ONNX model.",
    help="""Write a saved network as an ONNX model, which onnxruntime and many other programs can run.

    NETWORK is a network.safetensors, or the folder of a run. The model takes samples as predict does, images
    as images, any number of them at once, and gives logits, probabilities and label. It needs no
    preprocessing.

    \b
    Examples:
      twolayer export runs/digits-sweep-001
      twolayer export runs/cifar10-train-001 --input uint8 --out cifar10.onnx
      twolayer export network.safetensors --flat
    """,
)
@click.argument("network")
@options.export_options
@options.common_options
def export(quiet: bool, **parameters: Any) -> None:
    """Write a saved network as an ONNX model."""
    export_network(**parameters, console=Console(quiet=quiet))


@app.command(
    cls=Command,
    short_help="Draw the pictures of a run again.",
    help="""Draw the pictures of a run again, from the files in its folder.

    \b
    Examples:
      twolayer plot runs/digits-sweep-001
      twolayer plot runs/digits-sweep-001 --format pdf
    """,
)
@click.argument("folder", type=click.Path(file_okay=False, exists=True))
@options.format_option
@options.common_options
def plot(folder: str, suffix: str, quiet: bool) -> None:
    """Draw the pictures of a run again."""
    console = Console(quiet=quiet)
    for path in folders.draw(Path(folder), suffix=suffix):
        console.result(str(path))


@app.command(
    cls=Command,
    short_help="Tell which array libraries and devices there are.",
    help="Tell which array libraries and devices there are, and what NumPy's products are computed by.",
)
@options.common_options
def info(quiet: bool) -> None:
    """Tell what there is to compute with."""
    show_information(Console(quiet=quiet))
