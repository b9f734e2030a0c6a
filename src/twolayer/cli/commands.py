"""The commands, as the user types them."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import click.shell_completion

from .._version import __version__
from ..report import format_json
from . import options, run_figures, run_folder
from .completion import SHELLS, VARIABLE
from .console import Console, standard_output
from .data import COMMAS, is_number, kind_of
from .information import show_information
from .networks import check_is_no_input, evaluate_network, export_network, predict_with_network
from .outcomes import EXIT_CODES, INTERRUPTED, WRONG_USAGE, Failure
from .page import write_page
from .parameters import Command
from .settings import absolute, read_settings, settings_of
from .sweeps import run_sweep
from .training import Pace, resume_train, run_train

# What the library calls otherwise than the command line.
_OPTIONS = {"folder": "--data", "url": "--url", "preset": "--preset"}
# Array libraries whose errors come from the device rather than from this program.
_DEVICE_PACKAGES = ("cupy", "cupy_backends", "jax", "jaxlib", "torch")
_ANSWER = "twolayer.answer"
# What options are called elsewhere.
_ALIASES = {
    **dict.fromkeys(("lr", "eta", "alpha", "learning-rate-init", "step-size", "rate"), "--learning-rate"),
    **dict.fromkeys(("n-hidden", "hidden-units", "hidden-size", "hidden-layer-size", "units"), "--hidden"),
    **dict.fromkeys(("l2", "lambda", "regularization", "regularisation", "penalty"), "--reg"),
    **dict.fromkeys(("batch", "bs", "minibatch"), "--batch-size"),
    **dict.fromkeys(("n-epochs", "num-epochs", "epoch", "max-iter"), "--epochs"),
    **dict.fromkeys(("iterations", "iters", "num-steps"), "--steps"),
    **dict.fromkeys(("random-state", "random-seed"), "--seed"),
    **dict.fromkeys(("early-stopping", "n-iter-no-change"), "--patience"),
    **dict.fromkeys(("backend", "framework"), "--library"),
    **dict.fromkeys(("gpu", "cuda"), "--device"),
    **dict.fromkeys(("output", "output-dir", "folder"), "--out"),
}
_RESUME_WITH = ("data", "url", "epochs", "steps", "library", "device")


class Commands(click.Group):
    """The group of commands: what goes wrong in them becomes one line."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which they are needed."""
        return list(self.commands)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the options before the command."""
        try:
            with _printing():  # --help and --version
                return super().make_context(*args, **more)
        except click.NoSuchOption as error:
            raise _wrong_usage(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for, and write its answer where that is wanted as JSON."""
        if not _asks_for_json(ctx):
            return self._run(ctx)
        answer = ctx.meta[_ANSWER] = {}
        try:
            value = self._run(ctx)
        except Failure as failure:
            failure.show()
            with suppress(OSError, Failure):
                _write(answer | {"error": failure.as_data()})
            raise click.exceptions.Exit(failure.exit_code) from failure
        except click.exceptions.Exit:  # after the help, for example
            raise
        except Exception as error:  # a fault of the program, or --debug
            message = f"{type(error).__name__}: {_message(error)}"
            with suppress(OSError, Failure):
                _write(answer | {"error": Failure(message).as_data()})
            raise
        _write(answer)
        return value

    def _run(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong in it becomes a failure."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _wrong_usage(error) from error
        except KeyboardInterrupt:
            raise Failure("aborted", INTERRUPTED, wanted=True) from None
        except click.ClickException:
            raise
        except Exception as error:  # which a user is to read in one line; what is not foreseen goes on
            if _debugged(ctx) or getattr(error, "errno", None) == errno.EPIPE:
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


def _wrong_usage(error: click.UsageError) -> Failure:
    where = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        meant = _ALIASES.get(error.option_name.lstrip("-").replace("_", "-"))
        if any(meant in parameter.opts for parameter in error.ctx.command.params):
            message = f"No such option '{error.option_name}'. Did you mean '{meant}'?"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)\.?", message)
    if extra and all(map(is_number, extra[1].split())):
        message = f"{message.rstrip('.')}; {COMMAS}"
    return Failure(message.rstrip(".").replace("\n", " ") + where, WRONG_USAGE)


def _asks_for_json(ctx: click.Context) -> bool:
    """Return whether --json was given: known even where the command cannot be read."""
    words = ctx.args
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _write(answer: Mapping[str, Any]) -> None:
    with _printing():
        click.echo(format_json(answer, in_a_line=True))


@contextmanager
def _printing() -> Iterator[None]:
    """Fail in one line if standard output cannot be written, unless its reader has closed it."""
    try:
        with standard_output():
            yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise Failure(_message(error)) from error


def _console(quiet: bool) -> Console:
    return Console(quiet=quiet, answer=click.get_current_context().meta.get(_ANSWER))


def _debugged(ctx: click.Context) -> bool:
    return bool(ctx.find_root().meta.get("twolayer.debug"))


@contextmanager
def _usage(ctx: click.Context) -> Iterator[None]:
    """Take what is wrong with settings for what it is: a command that was typed wrongly."""
    try:
        yield
    except (ValueError, OSError) as error:
        if _debugged(ctx):
            raise
        raise click.UsageError(_message(error), ctx) from error


def _is_of_device(error: Exception) -> bool:
    # PyTorch's errors of CUDA's libraries are plain ones.
    return type(error).__module__.partition(".")[0] in _DEVICE_PACKAGES or (
        type(error) is RuntimeError and str(error).startswith("CUDA error")
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".;: ")


def _near(error: OSError) -> str:
    """Say which file the user may have meant by one that does not exist."""
    path = Path(str(error.filename))
    if not isinstance(error, FileNotFoundError) or not path.parent.is_dir():
        return ""
    names = [one.name for one in path.parent.iterdir() if one.suffix == path.suffix]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}{_near(error)}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})"
    message = str(error) or type(error).__name__
    for argument, option in _OPTIONS.items():
        # But for the key of a file.
        message = re.sub(f"`{argument}`(?! in )", f"`{option}`", message)
    return message


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`twolayer COMMAND --help` tells more of each, with examples.\n\n\b\nExit codes:\n"
    + "\n".join(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items()),
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
      twolayer train --config settings.toml --seed 1
      twolayer train --resume runs/first
    """,
)
@options.data_options
@options.validation_option
@options.preset_option
@options.setting_options("train")
@options.config_option
@options.library_options
@options.folder_options("train")
@options.resume_options
@options.common_options
@click.pass_context
def train(ctx: click.Context, /, **parameters: Any) -> None:
    """Train one network."""
    console = _console(parameters["quiet"])
    _check_length(ctx, parameters)
    pace = Pace(parameters["checkpoint_seconds"], parameters["checkpoint_steps"])
    if parameters["resume"] is None:
        with _usage(ctx):
            settings = settings_of(ctx, parameters)
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
        changes["data"] = absolute(changes["data"])

    def read(path: Path) -> dict[str, Any]:
        return read_settings(path, ctx)

    path = Path(parameters["resume"])
    with run_folder.reopened_folder(path) as folder:
        if folder != path:
            console.say(f"Resuming the run that will replace the one in {path}")
        resume_train(folder, changes, console, read=read, pace=pace)


@app.command(
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
      twolayer sweep --config runs/digits-sweep-001/settings.toml --seeds 5
    """,
)
@options.data_options
@options.validation_option
@options.preset_option
@options.setting_options("sweep")
@options.config_option
@options.library_options
@options.folder_options("sweep")
@options.common_options
@click.pass_context
def sweep(ctx: click.Context, /, **parameters: Any) -> None:
    """Train networks with several settings."""
    _check_length(ctx, parameters)
    with _usage(ctx):
        settings = settings_of(ctx, parameters)
    console = _console(parameters["quiet"])
    run_sweep(settings, console, out=parameters["out"], overwrite=parameters["overwrite"])


def _check_length(ctx: click.Context, parameters: Mapping[str, Any]) -> None:
    if parameters["epochs"] is not None and parameters["steps"] is not None:
        raise click.UsageError("--epochs or --steps must be given, not both; got both", ctx)


@app.command(
    short_help="Judge a saved network by samples whose classes are known.",
    help="""Judge a saved network by samples whose classes are known.

    NETWORK is a network.safetensors, or the folder of a run. DATASET is digits, cifar10 or the path of an
    .npz file; without it, the one of the first two that the network was trained on.

    Of the file that it was trained on, those samples are taken which were set aside for the test; of any
    other, all that there are, X_test and y_test alone too. Labels are matched by the names of the classes.

    \b
    Examples:
      twolayer evaluate runs/digits-sweep-001
      twolayer evaluate runs/digits-sweep-001 --split validation
      twolayer evaluate network.safetensors my.npz
    """,
)
@options.network_argument
@options.data_options
@options.split_option
@options.library_options
@options.common_options
@click.pass_context
def evaluate(ctx: click.Context, /, quiet: bool, **parameters: Any) -> None:
    """Judge a saved network."""
    if parameters["dataset"] is not None:
        with _usage(ctx):
            check_is_no_input(parameters["network"])
            kind_of(parameters["dataset"])
    evaluate_network(**parameters, console=_console(quiet))


@app.command(
    short_help="Predict the classes of samples with a saved network.",
    help="""Predict the classes of samples with a saved network.

    NETWORK is a network.safetensors, or the folder of a run. INPUT is an .npz file with X, an .npy file, -
    for one of these from standard input, or images: files, patterns (scans/*.png), and folders, whose images
    are taken in the order of their names, but not those in folders within. Images have the size that the
    network was trained on, or --resize makes it so. The digits that come with twolayer are white on black;
    --invert takes images of black on white.

    \b
    Examples:
      twolayer predict runs/digits-sweep-001 seven.png --top 3
      twolayer predict runs/digits-sweep-001 scans --invert --resize --output predictions.csv
      twolayer predict network.safetensors my.npz --json
    """,
)
@options.network_argument
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(allow_dash=True))
@options.prediction_options
@options.library_options
@options.common_options
def predict(quiet: bool, **parameters: Any) -> None:
    """Predict classes with a saved network."""
    predict_with_network(**parameters, console=_console(quiet))


@app.command(
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
@options.network_argument
@options.export_options
@options.common_options
def export(quiet: bool, **parameters: Any) -> None:
    """Write a saved network as an ONNX model."""
    export_network(**parameters, console=_console(quiet))


@app.command(
    short_help="Draw the pictures of a run again.",
    help="""Draw the pictures of a run again, from the files in its folder.

    \b
    Examples:
      twolayer plot runs/digits-sweep-001
      twolayer plot runs/digits-sweep-001 --format pdf
    """,
)
@options.run_argument
@options.format_option
@options.common_options
def plot(folder: str, suffix: str, quiet: bool) -> None:
    """Draw the pictures of a run again."""
    console = _console(quiet)
    with run_folder.locked_if_run(Path(folder)):
        paths = run_figures.draw(Path(folder), console.warn, suffix=suffix)
    for path in paths:
        console.result(str(path))
    console.answer({"folder": folder, "files": [path.name for path in paths]})


@app.command(
    short_help="Make one page of a run or a sweep.",
    help="""Make one page of a run or a sweep: an HTML file, which needs no other file and no network.

    It is written to report.html in the folder.

    \b
    Examples:
      twolayer report runs/digits-sweep-001
      twolayer report runs/digits-sweep-001 --out sweep.html
    """,
)
@options.run_argument
@options.page_options
@options.common_options
def report(folder: str, out: str | None, overwrite: bool, quiet: bool) -> None:
    """Make a page of a run."""
    console = _console(quiet)
    path = write_page(Path(folder), None if out is None else Path(out), app.commands, overwrite=overwrite)
    console.result(str(path))
    console.answer({"folder": folder, "file": str(path)})


@app.command(
    short_help="Tell which array libraries and devices there are.",
    help="Tell which array libraries and devices there are, and what NumPy's products are computed by.",
)
@options.common_options
def info(quiet: bool) -> None:
    """Tell what there is to compute with."""
    show_information(_console(quiet))


@app.command(
    short_help="Print what makes the Tab key complete commands.",
    help="""Print the script that has a shell complete commands, options, presets, data sets and runs at the
    Tab key.

    \b
    To turn it on:
      echo 'eval "$(twolayer completion bash)"' >> ~/.bashrc
      echo 'eval "$(twolayer completion zsh)"' >> ~/.zshrc
      twolayer completion fish > ~/.config/fish/completions/twolayer.fish
    """,
)
@click.argument("shell", type=click.Choice(SHELLS))
@options.help_option
def completion(shell: str) -> None:
    """Print the script for a shell."""
    kind = click.shell_completion.get_completion_class(shell)
    if kind is None:
        raise ValueError(f"`SHELL` must be one that click knows; got {shell}")
    with _printing():
        click.echo(kind(app, {}, "twolayer", VARIABLE).source())
