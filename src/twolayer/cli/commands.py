"""The commands, with their help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from .._version import __version__
from ..report.files import format_json
from ..settings import VARIED
from . import figure_files, options, run_folder
from .completion import SHELLS, VARIABLE
from .config import absolute, joined, read_settings, resumed_settings, settings_of
from .console import Console, standard_output
from .data import check_of_data
from .errors import EXIT_CODES, Failure, failure_of, message_of
from .evaluate import evaluate_network
from .export import export_network
from .info import show_information
from .option_types import Command
from .page import write_page
from .predict import predict_with_network
from .saved_network import check_is_no_input
from .sweep import Running, resume_sweep, run_sweep
from .train import resume_train, run_train

# The data of a command for --json, or a function that returns them if making them is slow.
Data = Mapping[str, Any] | Callable[[], Mapping[str, Any]]

_DEBUG = "twolayer.debug"
_RESUME_WITH = ("data", "url", "epochs", "steps", "library", "device")
_RESUME_SWEEP_WITH = ("data", "url", "library", "device", "candidates", "seeds", *VARIED)


class Commands(click.Group):
    """The group of commands. Each command returns its data for --json."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of this module; click would sort them."""
        return list(self.commands)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Parse the options before the command's name."""
        try:
            with standard_output():  # --help and --version are written here
                return super().make_context(*args, **more)
        except (click.NoSuchOption, OSError) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise failure from error

    def invoke(self, ctx: click.Context) -> None:
        """Run a command; with --json, write its data or its error as JSON."""
        # Search the words here, because parsing the command's options may fail.
        words = ctx.args[: ctx.args.index("--")] if "--" in ctx.args else ctx.args
        wants_json = ctx.meta[options.JSON] = "--json" in words
        debug = ctx.meta[_DEBUG] = "--debug" in words
        try:
            data = super().invoke(ctx)
            if wants_json:
                _write_json(data)
        except click.exceptions.Exit:  # raised after the help, for example
            raise
        except (Exception, KeyboardInterrupt) as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            failure = failure_of(error, command, debug=debug)
            if failure is not None:
                failure.show()
            if wants_json:
                shown = failure or Failure(f"{type(error).__name__}: {message_of(error)}")
                with suppress(OSError):
                    _write_json(shown.as_data())
            if failure is None:  # a bug, for example
                raise
            raise click.exceptions.Exit(failure.exit_code) from error


def _write_json(data: Data) -> None:
    with standard_output():
        click.echo(format_json(data() if callable(data) else data, in_a_line=True))


@contextmanager
def _usage(ctx: click.Context) -> Iterator[None]:
    """Raise errors in settings as usage errors, which have their own exit code."""
    try:
        yield
    except (ValueError, OSError) as error:
        if ctx.meta[_DEBUG]:
            raise
        raise click.UsageError(message_of(error), ctx) from error


@contextmanager
def _resumed(
    ctx: click.Context, parameters: Mapping[str, Any], beside: Iterable[str], changing: Iterable[str]
) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Yield the folder of the run that --resume names, its settings, and the settings to change.

    ``changing`` names the settings that may be given with --resume, ``beside`` the other options.
    """
    given = options.given(ctx)
    if "epochs" in given and "steps" in given:
        raise click.UsageError("--epochs or --steps must be given, not both; got both", ctx)
    allowed = ("resume", "console", *beside, *changing)
    others = [flag for name, flag in given.items() if name not in allowed]
    if others:
        raise click.UsageError(f"--resume uses the run's own settings: leave out {', '.join(others)}", ctx)
    changes = {name: parameters[name] for name in given if name in changing}
    if "data" in changes:
        changes["data"] = absolute(changes["data"])
    path = Path(parameters["resume"])
    with run_folder.reopened_folder(path, str(ctx.command.name)) as folder:
        if folder != path:
            ctx.params["console"].say(f"Resuming the run that will replace the one in {path}")
        yield folder, read_settings(folder / run_folder.SETTINGS, ctx), changes


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`twolayer COMMAND --help` describes a command, with examples.\n\n\b\nExit codes:\n"
    + "\n".join(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items()),
)
@click.version_option(__version__, prog_name="twolayer")
def app() -> None:
    """Two-layer neural networks with a softmax classifier.

    Start with `twolayer sweep`. It trains networks with several settings on the included images of
    handwritten digits, and saves the best network, tables and pictures in a new folder under runs/.
    """


@app.command(params=options.TRAIN)
@click.pass_context
def train(ctx: click.Context, /, console: Console, **parameters: Any) -> Data:
    """Train one network, and evaluate it on the test samples.

    DATASET is digits (1,797 images of 8×8 pixels, included with twolayer), cifar10 (60,000 colour images of
    32×32 pixels), or your own data: a table (.csv, .tsv, .parquet, or - for CSV on standard input), a folder
    of images with a subfolder for each class, a folder of IDX files such as MNIST's, or an .npz file with
    samples X (numbers or images) and labels y. The default is the data set of --preset, otherwise digits.

    Ctrl-C stops the training and saves its results so far. --resume then continues as if there had been no
    interruption. After a crash, it continues from the last checkpoint, or restarts if there is none yet.

    \b
    Examples:
      twolayer train
      twolayer train --hidden 200 --learning-rate 0.3 --epochs 100
      twolayer train cifar10 --data ~/cifar-10-batches-bin --out runs/first
      twolayer train people.csv --label outcome
      twolayer train photos --resize 32
      twolayer train my.npz --library torch --device cuda:0
      twolayer train --config settings.toml --seed 1
      twolayer train --resume runs/first
    """
    pace = {name: parameters[f"checkpoint_{name}"] for name in ("seconds", "steps")}
    if parameters["resume"] is None:
        with _usage(ctx):
            settings = settings_of(ctx, parameters)
        out, overwrite = parameters["out"], parameters["overwrite"]
        return run_train(settings, console, out=out, overwrite=overwrite, pace=pace)
    beside = ("checkpoint_seconds", "checkpoint_steps")
    with _resumed(ctx, parameters, beside, _RESUME_WITH) as (folder, settings, changes):
        return resume_train(folder, joined(settings, changes), console, pace=pace)


@app.command(short_help="Train networks with several settings, and keep the best.", params=options.SWEEP)
@click.pass_context
def sweep(ctx: click.Context, /, console: Console, **parameters: Any) -> Data:
    """Train networks with all combinations of several settings, and keep the best.

    DATASET is digits (1,797 images of 8×8 pixels, included with twolayer), cifar10 (60,000 colour images of
    32×32 pixels), or your own data: a table (.csv, .tsv, .parquet, or - for CSV on standard input), a folder
    of images with a subfolder for each class, a folder of IDX files such as MNIST's, or an .npz file with
    samples X (numbers or images) and labels y. The default is the data set of --preset, otherwise digits.

    Separate several values of a setting with commas, or repeat the option. Each combination is trained from
    every seed. The best has the highest mean validation accuracy (with --monitor loss, the lowest mean
    validation loss), and its best network is evaluated on the test samples. Ctrl-C stops the sweep and saves
    its results so far. --resume continues it, also after a crash, to the same networks as without
    interruption, and can add candidates and seeds.

    --candidates N draws N combinations at random. A setting may then be a range, LOW..HIGH: --dropout,
    --input-dropout and --label-smoothing are drawn uniformly, other settings on a logarithmic scale.

    \b
    Examples:
      twolayer sweep
      twolayer sweep --hidden 50,100,200 --reg 1e-4,1e-3 --seeds 5
      twolayer sweep --learning-rate 1e-3..1 --reg 1e-6..1e-2 --candidates 64
      twolayer sweep cifar10 --preset assignment --data ~/cifar-10-batches-bin
      twolayer sweep people.csv --label outcome --learning-rate 0.01 --learning-rate 0.03
      twolayer sweep --config runs/digits-sweep-001/settings.toml --seeds 5
      twolayer sweep cifar10 --seeds 4 --workers 2
      twolayer sweep --resume runs/digits-sweep-001 --seeds 5
    """
    running = Running(*(parameters[name] for name in Running._fields))
    if running.workers is not None and running.scheduler is not None:
        raise click.UsageError("--workers or --scheduler must be given, not both; got both", ctx)
    if parameters["resume"] is None:
        with _usage(ctx):
            settings = settings_of(ctx, parameters)
        out, overwrite = parameters["out"], parameters["overwrite"]
        return run_sweep(settings, console, out=out, overwrite=overwrite, running=running)
    with _resumed(ctx, parameters, Running._fields, _RESUME_SWEEP_WITH) as (folder, settings, changes):
        return resume_sweep(folder, resumed_settings(settings, changes), console, running=running)


@app.command(params=options.EVALUATE)
@click.pass_context
def evaluate(ctx: click.Context, /, **parameters: Any) -> Data:
    """Evaluate a saved network on samples whose classes are known.

    NETWORK is a .safetensors file, or the folder of a run. DATASET is as for train; by default it is the
    training data, whose path is in the run's folder.

    For digits, cifar10 and the data the network was trained on, the default is the held-out test samples. For
    other data it is all samples; an .npz file with only X_test and y_test works too. Labels are matched by
    the names of the classes, and columns of tables by their names.

    \b
    Examples:
      twolayer evaluate runs/digits-sweep-001
      twolayer evaluate runs/digits-sweep-001 --split validation
      twolayer evaluate network.safetensors new.csv
    """
    if parameters["dataset"] is not None:
        with _usage(ctx):
            check_is_no_input(parameters["network"])
            check_of_data(options.given(ctx), parameters["dataset"])
    return evaluate_network(**parameters)


@app.command(params=options.PREDICT)
def predict(**parameters: Any) -> Data:
    """Predict the classes of samples with a saved network.

    NETWORK is a .safetensors file, or the folder of a run. INPUT is a table, whose columns are matched by
    name; an .npz file with X, or an .npy file; - for one of these on standard input; or images: files,
    patterns (scans/*.png) and folders. The images of a folder are read in the order of their names, without
    those in subfolders. Images must have the size that the network was trained on, unless --resize is given.
    The digits included with twolayer are white on black; use --invert for images of black on white.

    \b
    Examples:
      twolayer predict runs/digits-sweep-001 seven.png --top 3
      twolayer predict runs/digits-sweep-001 scans --invert --resize --output predictions.csv
      twolayer predict runs/people-train-001 new.csv --id-columns customer --output predictions.csv
      twolayer predict network.safetensors my.npz --json
    """
    return predict_with_network(**parameters)


@app.command(short_help="Write a saved network as an ONNX model.", params=options.EXPORT)
def export(**parameters: Any) -> Data:
    """Write a saved network as an ONNX model, which onnxruntime and many other programs can run.

    NETWORK is a .safetensors file, or the folder of a run. The model takes any number of raw samples: images
    as images, and tables as one input for each column. It returns logits, probabilities and label. No
    preprocessing is needed.

    \b
    Examples:
      twolayer export runs/digits-sweep-001
      twolayer export runs/cifar10-train-001 --input uint8 --out cifar10.onnx
      twolayer export network.safetensors --flat
    """
    return export_network(**parameters)


@app.command(short_help="Draw the pictures of a run again.", params=options.PLOT)
def plot(folder: str, suffix: str, console: Console) -> Data:
    """Draw the pictures of a run again from the files in its folder.

    \b
    Examples:
      twolayer plot runs/digits-sweep-001
      twolayer plot runs/digits-sweep-001 --format pdf
    """
    with run_folder.locked_if_run(Path(folder)):
        paths = figure_files.draw(Path(folder), console.warn, suffix=suffix)
    for path in paths:
        console.result(str(path))
    return {"folder": folder, "files": [path.name for path in paths]}


@app.command(short_help="Write an HTML page about a run or a sweep.", params=options.REPORT)
def report(folder: str, out: str | None, overwrite: bool, console: Console) -> Data:
    """Write an HTML page about a run or a sweep.

    The page needs no other file and no network connection. By default, it is report.html in the folder.

    \b
    Examples:
      twolayer report runs/digits-sweep-001
      twolayer report runs/digits-sweep-001 --out sweep.html
    """
    path = write_page(Path(folder), None if out is None else Path(out), console, overwrite=overwrite)
    console.result(str(path))
    return {"folder": folder, "file": str(path)}


@app.command(short_help="List the array libraries and devices.", params=options.COMMON)
def info(console: Console) -> Data:
    """List the array libraries and devices, and the BLAS library of NumPy."""
    return show_information(console)


@app.command(short_help="Print the script for completion with the Tab key.", params=options.COMPLETION)
def completion(shell: str) -> None:
    """Print the shell script that completes commands, options, presets, data sets and runs with the Tab key.

    \b
    To enable completion:
      echo 'eval "$(twolayer completion bash)"' >> ~/.bashrc
      echo 'eval "$(twolayer completion zsh)"' >> ~/.zshrc
      twolayer completion fish > ~/.config/fish/completions/twolayer.fish
    """
    with standard_output():
        click.echo(SHELLS[shell](app, {}, "twolayer", VARIABLE).source())
