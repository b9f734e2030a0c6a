"""The command ``twolayer train``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import Checkpointer, load_run, save_run
from ..network import TwoLayerNet
from ..report.files import write_csv, write_json
from ..report.formatting import count, format_accuracy, format_number, settings_in_words
from ..report.tables import history_rows
from ..settings import VARIED
from ..stacks import stack
from ..training import History, Run
from ..training.arguments import train
from ..training.diagnosis import nothing_learnt_by
from ..training.execution import threads_for
from ..training.run import select, without_preprocessed
from . import run_folder
from .config import write_settings
from .console import Console, Watch
from .errors import DIVERGED, Failure
from .job import FIGURES, Job, length_in_words, open_job
from .read_run import read_object

_SHOWN = ("n_hidden", "learning_rate", "reg", "batch_size")
# The other two settings that a sweep varies determine the initial network.
_OF_TRAIN = tuple(name for name in VARIED if name not in ("n_hidden", "weight_scale"))
_OF_MEMBER = (*FIGURES, "best_step", "diverged")
_MOST_EPOCHS_SHOWN = 10


def run_train(
    settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool, pace: Mapping[str, Any]
) -> dict[str, Any]:
    """Train a network with ``settings`` in a new folder; return the data of the run.

    ``pace`` has the arguments ``seconds`` and ``steps`` of `Checkpointer`.
    """
    job = open_job(settings, console)
    with job.fresh_folder(out, overwrite=overwrite) as folder:
        return _train(job, folder, earlier=None, pace=pace)


def resume_train(
    folder: Path, settings: dict[str, Any], console: Console, *, pace: Mapping[str, Any]
) -> dict[str, Any]:
    """Resume the training in ``folder`` with ``settings``, which may give a new length; return the data."""
    checkpoint = folder / run_folder.CHECKPOINT
    begun, n_finished = checkpoint.is_file(), _n_finished(folder)
    if not begun and n_finished is not None:
        raise FileNotFoundError(f"{folder} must hold {run_folder.CHECKPOINT} to resume from; it has none")
    preprocessing = load_run(checkpoint).preprocessing if begun else None
    job = open_job(settings, console, preprocessing=preprocessing)
    total = _total_steps(job)
    earlier = None
    if begun:
        earlier = load_run(checkpoint, job.library.xp, job.library.device)
        _check_fit(job, earlier, checkpoint)
        # The original samples were compared already. Another machine or library may have preprocessed them
        # with other last bits.
        earlier = without_preprocessed(earlier)
        diverged = _divergence(earlier)
        finished = n_finished == earlier.n_steps  # otherwise its results are not written yet
        if diverged is not None and finished:
            raise ValueError(f"the run in {folder} diverged at step {diverged} and cannot be resumed")
        if earlier.n_steps >= total and finished:
            raise ValueError(
                f"the run in {folder} has already taken {earlier.n_steps:,} of its {total:,} steps; to train "
                "it longer, give a new total with --epochs or --steps"
            )
    console.say(f"Resuming from step {0 if earlier is None else earlier.n_steps:,} of {total:,}")
    write_settings(folder / run_folder.SETTINGS, settings)
    return _train(job, folder, earlier=earlier, pace=pace)


def _check_fit(job: Job, earlier: Run, checkpoint: Path) -> None:
    """Raise unless the networks of a run have the sizes in its settings."""
    net = earlier.last
    found = {
        "n_features": (net.n_features, job.preprocessing.n_outputs),
        "n_hidden": (net.n_hidden, job.settings["n_hidden"]),
        "n_classes": (net.n_classes, job.dataset.n_classes),
        "networks": (net.n_networks or 1, job.settings["networks"]),
    }
    for name, (held, wanted) in found.items():
        if held != wanted:
            raise ValueError(f"{checkpoint} must have `{name}` {wanted}, as in its settings; got {held}")
    if job.preprocessing.n_inputs != job.dataset.n_features:
        raise ValueError(
            f"the preprocessing in {checkpoint} must take samples of {job.dataset.n_features} features; "
            f"got {job.preprocessing.n_inputs}"
        )


def _n_finished(folder: Path) -> int | None:
    """Return the number of steps of the results in a folder; None if there are no results."""
    if not (folder / run_folder.RESULTS).is_file():
        return None
    n_steps = read_object(folder / run_folder.RESULTS).get("n_steps")
    return n_steps if isinstance(n_steps, int) else -1


def _total_steps(job: Job) -> int:
    settings = job.settings
    per_epoch = -(-len(job.dataset.train.y) // settings["batch_size"])
    return int(settings["epochs"] * per_epoch if settings["steps"] is None else settings["steps"])


def _train(job: Job, folder: Path, *, earlier: Run | None, pace: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network or resume its training; save, test and show it; return the data of the run."""
    settings, library = job.settings, job.library
    if settings["monitor"] == "loss" and settings["judge"] == "last" and settings["patience"] is None:
        job.console.warn("`--monitor loss` changes nothing with --judge last: try --judge best")
    arguments = job.arguments()
    length = f"{length_in_words(settings)}, seed {settings['seed']}"
    job.console.say(f"{_in_words(settings, _SHOWN)}; {length}; {library}")
    checkpoint = folder / run_folder.CHECKPOINT
    checkpointer = Checkpointer(checkpoint, **pace, preprocessing=job.preprocessing)
    width = settings["n_hidden"] * settings["networks"]
    operations = 2.0 * job.dataset.n_features * settings["batch_size"] * width
    with threads_for(library.xp, operations), job.console.watch("Training") as watch:
        run = train(
            earlier or _initial_network(job),
            **arguments,
            **{name: settings[name] for name in _OF_TRAIN},
            rng=settings["seed"],
            callbacks=[watch, checkpointer],
        )
    save_run(run, checkpoint, preprocessing=job.preprocessing)
    nothing = nothing_learnt_by(run, settings | arguments, "--scale feature")
    if nothing is not None:
        job.console.warn(nothing)
    return _keep(job, folder, run, watch)


def _initial_network(job: Job) -> TwoLayerNet:
    """Return the initial network, or a stack of several."""
    settings, library = job.settings, job.library
    sizes = job.preprocessing.n_outputs, settings["n_hidden"], job.dataset.n_classes
    how: dict[str, Any] = {"xp": library.xp, "dtype": library.dtype, "device": library.device}
    how["weight_scale"] = settings["weight_scale"]
    seeds = range(settings["seed"], settings["seed"] + settings["networks"])
    nets = [TwoLayerNet.initialize(*sizes, rng=seed, **how) for seed in seeds]
    return nets[0] if len(nets) == 1 else stack(nets)


def _keep(job: Job, folder: Path, run: Run, watch: Watch) -> dict[str, Any]:
    """Write and show the results of a training; raise if it was interrupted or diverged."""
    console, settings, total = job.console, job.settings, _total_steps(job)
    n_networks, diverged = run.last.n_networks, _divergence(run)
    members = [run] if n_networks is None else [select(run, k) for k in range(n_networks)]
    usable = [member for member in members if diverged is not None or member.diverged is None]
    best_steps = sorted({member.best_step for member in usable})
    complete = run.n_steps >= total or diverged is not None or all(member.stopped for member in usable)
    chooses = settings["judge"] == "best" and job.dataset.validation is not None
    columns = zip(*(member.history for member in usable), strict=True)
    history = History(*(np.mean(column, axis=0) for column in columns))._replace(step=run.history.step)
    run_folder.write_history(folder, history)
    keeps = diverged is None and (best_steps[0] > 0 or not chooses)
    if run_folder.clear_outcome(folder, keeps_network=keeps):
        console.warn(f"the earlier network of the run is now {folder / run_folder.BEFORE}")
    kept = None
    figures = {name: float(np.mean([getattr(one, name) for one in usable])) for name in FIGURES}
    if keeps:
        net = usable[0].net if len(usable) == 1 else stack(member.net for member in usable)
        kept = job.fold_and_test(net, figures)
        job.save(folder, kept, settings)
        figures = kept.figures
    best_step = best_steps[0] if len(best_steps) == 1 else None
    row = {"n_steps": run.n_steps, "best_step": best_step, "diverged": diverged, **figures}
    results = job.results(kept, complete=complete, seconds=watch.seconds) | row
    results["heading"] = f"{job.dataset.name}: {_in_words(settings, _SHOWN[:3])}"
    if len(members) > 1:
        results["members"] = [{name: getattr(one, name) for name in _OF_MEMBER} for one in members]
    row["test_accuracy"] = kept.test.accuracy if kept and kept.test else None
    write_csv(folder / "results.csv", [row])
    job.write_predictions(folder, kept)
    write_json(folder / run_folder.RESULTS, results)  # last, because a run without it can be resumed
    if keeps and complete:
        folder = run_folder.take_place(folder)

    _show_epochs(history, best_step if chooses else None, console)
    if kept is not None:
        job.show_accuracies(_title(settings, best_steps if chooses else [run.n_steps], chooses), kept)
    if len(usable) < len(members):
        console.warn(
            f"{len(members) - len(usable)} of the {len(members)} networks diverged and are left out; "
            "try a lower --learning-rate"
        )
    console.say(f"{count(run.n_steps, 'step')} in all; this took {watch.seconds:.1f} s")
    failure = None
    if diverged is not None:
        which, loss = ("every", "no loss is") if len(members) > 1 else ("the", "its loss is not")
        failure = Failure(
            f"{which} network diverged: from step {diverged} on {loss} finite; try a lower --learning-rate",
            DIVERGED,
        )
    elif not complete:
        failure = job.interrupted(f"interrupted at step {run.n_steps:,} of {total:,};", folder, watch)
    return job.finish(folder, failure)


def _in_words(settings: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return settings as a line, which begins with the number of networks if there are several."""
    several = [f"{settings['networks']} networks"] if settings["networks"] > 1 else []
    return ", ".join([*several, *settings_in_words(settings, names)])


def _divergence(run: Run) -> int | None:
    """Return the step at which the last network diverged; None if a network did not diverge."""
    steps: list[Any] = [*run.diverged] if isinstance(run.diverged, tuple) else [run.diverged]
    return None if None in steps else max(steps)


def _title(settings: Mapping[str, Any], steps: list[int], chooses: bool) -> str:
    """Return a title for the accuracies, which names the network."""
    merged = "s merged" if settings["networks"] > 1 else ""
    of = f"of step {steps[0]:,}" if len(steps) == 1 else f"of steps {steps[0]:,} to {steps[-1]:,}"
    images = {"symmetrize": "flips", "symmetrize_shift": "shifts"}
    averaged = " and ".join(name for setting, name in images.items() if settings[setting])
    title = f"The {'best' if chooses else 'last'} network{merged}, {of}"
    return f"{title}, averaged over {averaged}" if averaged else title


def _show_epochs(history: History, best_step: int | None, console: Console) -> None:
    """Print evenly spaced epochs, among them the last, and the best epoch."""
    rows = history_rows(history)
    n_spread = min(len(rows), _MOST_EPOCHS_SHOWN)
    spread = {round(i * len(rows) / n_spread) for i in range(1, n_spread + 1)}
    shown = [row for row in rows if row["epoch"] in spread or row["step"] == best_step]
    if not shown:
        return
    console.table(
        ("epoch", "step", "learning rate", "loss", "training", "validation"),
        [
            (
                str(row["epoch"]),
                f"{row['step']:,}",
                format_number(row["learning_rate"], digits=3),
                f"{row['loss']:.4f}",
                format_accuracy(row["train_accuracy"]),
                format_accuracy(row["validation_accuracy"]),
            )
            for row in shown
        ],
        title="Loss and accuracy (loss and training accuracy: means over the epoch)",
        best=next((i for i, row in enumerate(shown) if row["step"] == best_step), None),
    )
