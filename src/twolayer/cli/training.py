"""``twolayer train``: one network, which can be interrupted and gone on with."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import report
from ..checkpoints import Checkpointer, load_run, save_run
from ..network import TwoLayerNet
from ..stacks import stack
from ..training import History, Run
from ..training.loop import train
from . import run_folder
from .console import Console
from .data import file_stem
from .jobs import Job, count, in_words, length_in_words, open_job, write_predictions, write_results
from .outcomes import DIVERGED, OF_SIGNALS, Failure
from .run_files import read_object
from .settings import write_settings

# Of the data: what the preprocessing has been through.
_PREPROCESSED = ("X", "validation X", "preprocessing")
_SHOWN = ("n_hidden", "learning_rate", "reg", "batch_size")
_OF_TRAIN = (*_SHOWN[1:], "dropout", "input_dropout", "label_smoothing")
_MOST_EPOCHS_SHOWN = 10


class Pace(NamedTuple):
    """How often checkpoints are written: the least seconds, the least steps between two."""

    seconds: float | None = None
    steps: int | None = None


def run_train(
    settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool, pace: Pace
) -> None:
    """Train a network by ``settings``, in a fresh folder."""
    job = open_job(settings, console)
    stem = f"{file_stem(settings['dataset'])}-train"
    with run_folder.fresh_folder(out, stem, overwrite=overwrite, dataset=settings["dataset"]) as folder:
        write_settings(folder / run_folder.SETTINGS, settings)
        _train(job, folder, earlier=None, pace=pace)


def resume_train(
    folder: Path,
    changes: Mapping[str, Any],
    console: Console,
    *,
    read: Callable[[Path], dict[str, Any]],
    pace: Pace,
) -> None:
    """Go on with the training in ``folder``, with ``changes`` to its settings, which ``read`` reads."""
    settings = read(folder / run_folder.SETTINGS)
    if "epochs" in changes or "steps" in changes:
        settings |= {"epochs": None, "steps": None}
    settings |= changes
    checkpoint = folder / run_folder.CHECKPOINT
    begun, kept = checkpoint.is_file(), _kept(folder)
    if not begun and kept is not None:
        raise FileNotFoundError(f"{folder} must hold {run_folder.CHECKPOINT} to go on from; there is none")
    preprocessing = load_run(checkpoint).preprocessing if begun else None
    job = open_job(settings, console, preprocessing=preprocessing)
    total = _total_steps(job)
    earlier = None
    if begun:
        earlier = load_run(checkpoint, job.library.xp, job.library.device)
        _check_fit(job, earlier, checkpoint)
        # The samples as they are were compared already; preprocessed on another machine, or by another
        # library, they may differ in their last bits.
        earlier = replace(
            earlier, _fingerprint={k: v for k, v in earlier._fingerprint.items() if k not in _PREPROCESSED}
        )
        diverged = _divergence(_members(earlier))
        finished = kept == earlier.n_steps  # else its results are not written yet
        if diverged is not None and finished:
            raise ValueError(f"the run in {folder} diverged at step {diverged}: it cannot go on")
        if earlier.n_steps >= total and finished:
            raise ValueError(
                f"the run in {folder} has taken {earlier.n_steps:,} steps already, of the {total:,} that it "
                "is to take; to train it longer, give --epochs or --steps, the new total"
            )
    console.say(f"Going on from step {0 if earlier is None else earlier.n_steps:,} of {total:,}")
    write_settings(folder / run_folder.SETTINGS, settings)
    _train(job, folder, earlier=earlier, pace=pace)


def _check_fit(job: Job, earlier: Run, checkpoint: Path) -> None:
    """Raise unless a run has networks of the sizes that its settings say."""
    net, n_networks = earlier.last, job.settings["networks"]
    found = {
        "n_features": (net.n_features, job.preprocessing.n_outputs),
        "n_hidden": (net.n_hidden, job.settings["n_hidden"]),
        "n_classes": (net.n_classes, job.dataset.n_classes),
        "networks": (net.n_networks or 1, n_networks),
    }
    for name, (held, wanted) in found.items():
        if held != wanted:
            raise ValueError(f"{checkpoint} must have `{name}` {wanted}, as its settings say; got {held}")
    if job.preprocessing.n_inputs != job.dataset.n_features:
        raise ValueError(
            f"the preprocessing in {checkpoint} must take samples of {job.dataset.n_features} features; "
            f"got {job.preprocessing.n_inputs}"
        )


def _kept(folder: Path) -> int | None:
    """Return how many steps the run had taken whose results the folder holds; None where it holds none."""
    if not (folder / run_folder.RESULTS).is_file():
        return None
    n_steps = read_object(folder / run_folder.RESULTS).get("n_steps")
    return n_steps if isinstance(n_steps, int) else -1


def _total_steps(job: Job) -> int:
    settings = job.settings
    per_epoch = -(-len(job.dataset.train.y) // settings["batch_size"])
    return int(settings["epochs"] * per_epoch if settings["steps"] is None else settings["steps"])


def _train(job: Job, folder: Path, *, earlier: Run | None, pace: Pace) -> None:
    settings, library, dataset = job.settings, job.library, job.dataset
    data, arguments = job.prepare()
    n_networks = settings["networks"]
    length = f"{length_in_words(settings)}, seed {settings['seed']}"
    job.console.say(f"{_in_words(settings, _SHOWN)}; {length}; {library}")
    nets = (
        TwoLayerNet.initialize(
            job.preprocessing.n_outputs,
            settings["n_hidden"],
            dataset.n_classes,
            rng=settings["seed"] + k,
            weight_scale=settings["weight_scale"],
            xp=library.xp,
            dtype=library.dtype,
            device=library.device,
        )
        for k in range(n_networks)
    )
    start = earlier or (next(nets) if n_networks == 1 else stack(nets))
    checkpoint = folder / run_folder.CHECKPOINT
    operations = 2.0 * dataset.n_features * settings["batch_size"] * settings["n_hidden"] * n_networks
    started = time.monotonic()
    with library.threads_for(operations), job.console.watch("Training") as watch:
        run = train(
            start,
            data.X,
            data.y,
            **{name: settings[name] for name in _OF_TRAIN},
            rng=settings["seed"],
            callbacks=[
                watch,
                Checkpointer(
                    checkpoint, seconds=pace.seconds, steps=pace.steps, preprocessing=job.preprocessing
                ),
            ],
            **arguments,
        )
    seconds = time.monotonic() - started
    save_run(run, checkpoint, preprocessing=job.preprocessing)
    _keep(job, folder, run, seconds, stopped_by=watch.interrupted)


def _keep(job: Job, folder: Path, run: Run, seconds: float, *, stopped_by: int) -> None:
    """Write what a training gave, and show it; raise unless it went to its end."""
    settings, console = job.settings, job.console
    total = _total_steps(job)
    members = _members(run)
    diverged = _divergence(members)
    usable = [k for k, member in enumerate(members) if diverged is not None or member["diverged"] is None]
    best_steps = [members[k]["best_step"] for k in usable]
    stopped = run.stopped if isinstance(run.stopped, tuple) else (run.stopped,)
    complete = run.n_steps >= total or diverged is not None or all(stopped[k] for k in usable)
    chooses = settings["judge"] == "best" and job.dataset.validation is not None
    accuracies = {
        name: float(np.mean([members[k][name] for k in usable]))
        for name in ("train_accuracy", "validation_accuracy")
    }
    results = job.results(complete=complete, seconds=seconds) | {
        "heading": f"{job.dataset.name}: {_in_words(settings, _SHOWN[:3])}",
    }
    history = _mean_history(run, usable)
    run_folder.write_history(folder, history)
    test = None
    keeps = diverged is None and (min(best_steps) > 0 or not chooses)
    if run_folder.clear_outcome(folder, keeps_network=keeps):
        console.warn(f"the network of the run as it was before is now {folder / run_folder.BEFORE}")
    if keeps:
        net = run.net if len(usable) == len(members) else stack(run.net.select(k) for k in usable)
        folded = job.folded(net, accuracies)
        job.save_network(folder, folded, settings, accuracies)
        test = job.test(folded)
    best_step = best_steps[0] if len(set(best_steps)) == 1 else None
    row = {"n_steps": run.n_steps, "best_step": best_step, "diverged": diverged, **accuracies}
    if len(members) > 1:
        results["members"] = members
    tested = {"test_accuracy": None if test is None else test.accuracy}
    report.write_csv(folder / "results.csv", [row | tested])
    write_predictions(folder, job.dataset, test)
    write_results(folder, results | row, test)  # the last: a run without it is gone on with
    if keeps and complete:
        folder = run_folder.take_place(folder)

    _show_epochs(history, best_step if chooses else None, console)
    if keeps:
        job.show_accuracies(_title(job, run, best_steps, chooses=chooses), accuracies, test)
    if len(usable) < len(members):
        console.warn(
            f"{len(members) - len(usable)} of the {len(members)} networks diverged and are left out; "
            "try a lower --learning-rate"
        )
    console.say(f"{count(run.n_steps, 'step')} in all; this took {seconds:.1f} s")
    job.finish(folder)
    console.answer(run_folder.answer_of(folder))
    if diverged is not None:
        raise Failure(
            f"{'every' if len(members) > 1 else 'the'} network diverged: from step {diverged} on "
            f"{'no loss is finite' if len(members) > 1 else 'its loss is not finite'}; "
            "try a lower --learning-rate",
            DIVERGED,
        )
    if not complete:
        raise Failure(
            f"interrupted at step {run.n_steps:,} of {total:,}; "
            f"`twolayer train --resume {shlex.quote(str(run_folder.named(folder)))}` goes on from there",
            OF_SIGNALS + stopped_by,
            wanted=True,
        )


def _in_words(settings: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Say settings in a line, after the number of networks where it is not one."""
    several = f"{settings['networks']} networks, " if settings["networks"] > 1 else ""
    return several + in_words(settings, names)


def _members(run: Run) -> list[dict[str, Any]]:
    """Return of each network of a run its accuracies, its best step, and the step at which it diverged."""
    found = {
        "train_accuracy": run.train_accuracy,
        "validation_accuracy": run.validation_accuracy,
        "best_step": run.best_step,
        "diverged": run.diverged,
    }
    if not isinstance(run.diverged, tuple):
        return [found]
    columns = (values if isinstance(values, tuple) else values.tolist() for values in found.values())
    return [dict(zip(found, one, strict=True)) for one in zip(*columns, strict=True)]


def _divergence(members: list[dict[str, Any]]) -> int | None:
    """Return the step at which the last of the networks diverged; None where there is one that did not."""
    steps = [member["diverged"] for member in members]
    return None if None in steps else max(steps)


def _mean_history(run: Run, members: list[int]) -> History:
    """Return the history of a run; of several networks the mean over some of them."""
    if run.last.n_networks is None:
        return run.history
    columns = run.history._asdict().items()
    return History(*(a if name == "step" else a[members].mean(axis=0) for name, a in columns))


def _title(job: Job, run: Run, best_steps: list[int], *, chooses: bool) -> str:
    """Say which network it is whose accuracies are shown."""
    which = f"The {'best' if chooses else 'last'} network"
    steps = sorted(set(best_steps if chooses else [run.n_steps]))
    of = f"of step {steps[0]:,}" if len(steps) == 1 else f"of steps {steps[0]:,} to {steps[-1]:,}"
    if job.settings["networks"] > 1:
        which = f"The {'best' if chooses else 'last'} networks merged"
    images = {"symmetrize": "flips", "symmetrize_shift": "shifts"}
    averaged = [name for setting, name in images.items() if job.settings[setting]]
    if averaged:
        of += f", averaged over {' and '.join(averaged)}"
    return f"{which}, {of}"


def _show_epochs(history: History, best_step: int | None, console: Console) -> None:
    """Write some of the epochs: evenly spread ones, the last, and the best."""
    rows = report.history_rows(history)
    if not rows:
        return
    spread = {round((i + 1) * len(rows) / _MOST_EPOCHS_SHOWN) - 1 for i in range(_MOST_EPOCHS_SHOWN)}
    best = next((i for i, row in enumerate(rows) if row["step"] == best_step), None)
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
