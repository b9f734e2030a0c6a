"""``twolayer train``: one network, which can be interrupted and gone on with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .. import report
from ..checkpoints import Checkpointer, load_run, save_run
from ..network import TwoLayerNet
from ..training import Run, train
from . import folders
from .console import Console
from .data import file_stem, prepare
from .jobs import INTERRUPTED, Job, count, in_words, length_in_words, open_job, write_results

_SHOWN = ("n_hidden", "learning_rate", "reg", "batch_size")
_MOST_EPOCHS_SHOWN = 10


def run_train(settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool) -> None:
    """Train a network by ``settings``, in a fresh folder."""
    job = open_job(settings, console)
    stem = f"{file_stem(settings['dataset'])}-train"
    with folders.fresh_folder(out, stem, overwrite=overwrite) as folder:
        report.write_json(folder / folders.SETTINGS, settings)
        _train(job, folder, earlier=None)


def resume_train(folder: Path, changes: Mapping[str, Any], console: Console) -> None:
    """Go on with the training in ``folder``, with ``changes`` to its settings."""
    settings = folders.read_object(folder, folders.SETTINGS)
    if settings.get("command") != "train":
        raise ValueError(f"`--resume` must be the folder of a training; {folder} is that of a sweep")
    if "epochs" in changes or "steps" in changes:
        settings |= {"epochs": None, "steps": None}
    settings |= changes
    checkpoint = folder / folders.CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{folder} must hold {folders.CHECKPOINT} to go on from; there is none yet")
    try:
        job = open_job(settings, console)
        total = _total_steps(job)
    except KeyError as error:
        raise ValueError(f"{folder / folders.SETTINGS} must hold {error}; it is missing") from error
    earlier = load_run(checkpoint, job.library.xp, job.library.device)
    if earlier.diverged is not None:
        raise ValueError(f"the run in {folder} diverged at step {earlier.diverged}: it cannot go on")
    if earlier.n_steps >= total:
        raise ValueError(
            f"the run in {folder} has taken all of its {total:,} steps; to train it longer, "
            "give --epochs or --steps, the new total"
        )
    console.say(f"Going on from step {earlier.n_steps:,} of {total:,}")
    report.write_json(folder / folders.SETTINGS, settings)
    _train(job, folder, earlier=earlier)


def _total_steps(job: Job) -> int:
    settings = job.settings
    per_epoch = -(-len(job.dataset.train.y) // settings["batch_size"])
    return int(settings["epochs"] * per_epoch if settings["steps"] is None else settings["steps"])


def _train(job: Job, folder: Path, *, earlier: Run | None) -> None:
    settings, library, dataset = job.settings, job.library, job.dataset
    data = prepare(dataset, job.scaling, library)
    job.console.say(
        f"{in_words(settings, _SHOWN)}; {length_in_words(settings)}, seed {settings['seed']}; {library}"
    )
    start = earlier or TwoLayerNet.initialize(
        dataset.n_features,
        settings["n_hidden"],
        dataset.n_classes,
        rng=settings["seed"],
        weight_scale=settings["weight_scale"],
        xp=library.xp,
        dtype=library.dtype,
        device=library.device,
    )
    checkpoint = folder / folders.CHECKPOINT
    operations = 2.0 * dataset.n_features * settings["batch_size"] * settings["n_hidden"]
    started = time.monotonic()
    with library.threads_for(operations), job.console.watch("Training") as watch:
        run = train(
            start,
            data.X,
            data.y,
            validation=data.validation,
            learning_rate=settings["learning_rate"],
            reg=settings["reg"],
            batch_size=settings["batch_size"],
            rng=settings["seed"],
            callbacks=[watch, Checkpointer(checkpoint)],
            **job.schedule_and_length(),
        )
    seconds = time.monotonic() - started
    save_run(run, checkpoint)
    _keep(job, folder, run, seconds)


def _keep(job: Job, folder: Path, run: Run, seconds: float) -> None:
    """Write what a training gave, and show it."""
    settings, console = job.settings, job.console
    total = _total_steps(job)
    complete = run.n_steps >= total or run.diverged is not None
    chooses = settings["judge"] == "best" and job.dataset.validation is not None
    accuracies = {"train_accuracy": run.train_accuracy, "validation_accuracy": run.validation_accuracy}
    results = job.results(complete=complete, seconds=seconds) | {
        "heading": f"{job.dataset.name}: {in_words(settings, _SHOWN[:3])}",
        "n_steps": run.n_steps,
        "best_step": run.best_step,
        "diverged": run.diverged,
        **accuracies,
    }
    folders.write_history(folder, run.history)
    test = None
    usable = run.diverged is None and (run.best_step > 0 or not chooses)
    if usable:
        test = job.test(job.save_network(folder, run.net, settings, accuracies))
    write_results(folder, results, test)
    row = {"n_steps": run.n_steps, "best_step": run.best_step, "diverged": run.diverged, **accuracies}
    row["test_accuracy"] = None if test is None else test.accuracy
    report.write_csv(folder / "results.csv", [row])

    _show_epochs(run, console, mark=chooses)
    if usable:
        step = run.best_step if chooses else run.n_steps
        title = f"The {'best' if chooses else 'last'} network, of step {step:,}"
        job.show_accuracies(title, accuracies, test)
    console.say(f"{count(run.n_steps, 'step')} in all; this took {seconds:.1f} s")
    job.finish(folder)
    if run.diverged is not None:
        console.error(
            f"the network diverged: from step {run.diverged} on its loss is not finite; "
            "try a lower --learning-rate"
        )
        raise click.exceptions.Exit(1)
    if not complete:
        console.warn(
            f"interrupted at step {run.n_steps:,} of {total:,}; `twolayer train --resume {folder}` goes on "
            "from there"
        )
        raise click.exceptions.Exit(INTERRUPTED)


def _show_epochs(run: Run, console: Console, *, mark: bool) -> None:
    """Write some of the epochs: evenly spread ones, the last, and the best."""
    rows = report.history_rows(run.history)
    if not rows:
        return
    spread = {round((i + 1) * len(rows) / _MOST_EPOCHS_SHOWN) - 1 for i in range(_MOST_EPOCHS_SHOWN)}
    best = next((i for i, row in enumerate(rows) if mark and row["step"] == run.best_step), None)
    shown = sorted(i for i in {*spread, best, len(rows) - 1} if i is not None and i >= 0)
    console.table(
        ("epoch", "step", "learning rate", "loss", "training", "validation"),
        [
            (
                str(rows[i]["epoch"]),
                f"{rows[i]['step']:,}",
                report.format_number(rows[i]["learning_rate"], digits=3),
                f"{rows[i]['loss']:.4f}",
                report.format_accuracy(rows[i]["train_accuracy"]),
                report.format_accuracy(rows[i]["validation_accuracy"]),
            )
            for i in shown
        ],
        title="Loss and accuracy",
        best=None if best is None else shown.index(best),
    )
