"""``twolayer train``: one network, whose training can be interrupted and resumed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import report
from ..checkpoints import Checkpointer, load_run, save_run
from ..network import TwoLayerNet
from ..settings import VARIED
from ..stacks import stack
from ..training import History, Run
from ..training.arguments import train
from . import run_folder
from .config import write_settings
from .console import Console, Watch
from .errors import DIVERGED, OF_SIGNALS, Failure
from .job import ACCURACIES, Job, count, in_words, length_in_words, open_job
from .run_files import read_object

# Of the data: what the preprocessing has been through.
_PREPROCESSED = ("X", "validation X", "preprocessing")
_SHOWN = ("n_hidden", "learning_rate", "reg", "batch_size")
# The other two settings of a sweep make the initial network.
_OF_TRAIN = tuple(name for name in VARIED if name not in ("n_hidden", "weight_scale"))
_OF_MEMBER = (*ACCURACIES, "best_step", "diverged")
_MOST_EPOCHS_SHOWN = 10


def run_train(
    settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool, pace: Mapping[str, Any]
) -> dict[str, Any]:
    """Train a network by ``settings``, in a fresh folder; return the data of the run.

    ``pace`` holds ``seconds`` and ``steps`` of the `Checkpointer`.
    """
    job = open_job(settings, console)
    with job.fresh_folder(out, overwrite=overwrite) as folder:
        return _train(job, folder, earlier=None, pace=pace)


def resume_train(
    folder: Path, settings: dict[str, Any], console: Console, *, pace: Mapping[str, Any]
) -> dict[str, Any]:
    """Resume the training in ``folder`` by ``settings``, in which its length may be new; return the data."""
    checkpoint = folder / run_folder.CHECKPOINT
    begun, n_finished = checkpoint.is_file(), _n_finished(folder)
    if not begun and n_finished is not None:
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
        finished = n_finished == earlier.n_steps  # else its results are not written yet
        if diverged is not None and finished:
            raise ValueError(f"the run in {folder} diverged at step {diverged}: it cannot go on")
        if earlier.n_steps >= total and finished:
            raise ValueError(
                f"the run in {folder} has taken {earlier.n_steps:,} steps already, of the {total:,} that it "
                "is to take; to train it longer, give --epochs or --steps, the new total"
            )
    console.say(f"Going on from step {0 if earlier is None else earlier.n_steps:,} of {total:,}")
    write_settings(folder / run_folder.SETTINGS, settings)
    return _train(job, folder, earlier=earlier, pace=pace)


def _check_fit(job: Job, earlier: Run, checkpoint: Path) -> None:
    """Raise unless a run has networks of the sizes that its settings say."""
    net = earlier.last
    found = {
        "n_features": (net.n_features, job.preprocessing.n_outputs),
        "n_hidden": (net.n_hidden, job.settings["n_hidden"]),
        "n_classes": (net.n_classes, job.dataset.n_classes),
        "networks": (net.n_networks or 1, job.settings["networks"]),
    }
    for name, (held, wanted) in found.items():
        if held != wanted:
            raise ValueError(f"{checkpoint} must have `{name}` {wanted}, as its settings say; got {held}")
    if job.preprocessing.n_inputs != job.dataset.n_features:
        raise ValueError(
            f"the preprocessing in {checkpoint} must take samples of {job.dataset.n_features} features; "
            f"got {job.preprocessing.n_inputs}"
        )


def _n_finished(folder: Path) -> int | None:
    """Return the number of steps after which the results in a folder were written; None without results."""
    if not (folder / run_folder.RESULTS).is_file():
        return None
    n_steps = read_object(folder / run_folder.RESULTS).get("n_steps")
    return n_steps if isinstance(n_steps, int) else -1


def _total_steps(job: Job) -> int:
    settings = job.settings
    per_epoch = -(-len(job.dataset.train.y) // settings["batch_size"])
    return int(settings["epochs"] * per_epoch if settings["steps"] is None else settings["steps"])


def _train(job: Job, folder: Path, *, earlier: Run | None, pace: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network, or go on with it; keep, test and show it; return the data of the run."""
    settings, library = job.settings, job.library
    arguments = job.arguments()
    length = f"{length_in_words(settings)}, seed {settings['seed']}"
    job.console.say(f"{_in_words(settings, _SHOWN)}; {length}; {library}")
    checkpoint = folder / run_folder.CHECKPOINT
    checkpointer = Checkpointer(checkpoint, **pace, preprocessing=job.preprocessing)
    width = settings["n_hidden"] * settings["networks"]
    operations = 2.0 * job.dataset.n_features * settings["batch_size"] * width
    with library.threads_for(operations), job.console.watch("Training") as watch:
        run = train(
            earlier or _initial_network(job),
            **arguments,
            **{name: settings[name] for name in _OF_TRAIN},
            rng=settings["seed"],
            callbacks=[watch, checkpointer],
        )
    save_run(run, checkpoint, preprocessing=job.preprocessing)
    return _keep(job, folder, run, watch)


def _initial_network(job: Job) -> TwoLayerNet:
    """Return the network to start from, or a stack of several."""
    settings, library = job.settings, job.library
    nets = [
        TwoLayerNet.initialize(
            job.preprocessing.n_outputs,
            settings["n_hidden"],
            job.dataset.n_classes,
            rng=settings["seed"] + k,
            weight_scale=settings["weight_scale"],
            xp=library.xp,
            dtype=library.dtype,
            device=library.device,
        )
        for k in range(settings["networks"])
    ]
    return nets[0] if len(nets) == 1 else stack(nets)


def _keep(job: Job, folder: Path, run: Run, watch: Watch) -> dict[str, Any]:
    """Write what a training gave, and show it; raise unless it went to its end."""
    console, total, members = job.console, _total_steps(job), _members(run)
    diverged = _divergence(members)
    usable = [k for k, member in enumerate(members) if diverged is not None or member["diverged"] is None]
    best_steps = [members[k]["best_step"] for k in usable]
    stopped = run.stopped if isinstance(run.stopped, tuple) else (run.stopped,)
    complete = run.n_steps >= total or diverged is not None or all(stopped[k] for k in usable)
    chooses = job.settings["judge"] == "best" and job.dataset.validation is not None
    accuracies = {name: float(np.mean([members[k][name] for k in usable])) for name in ACCURACIES}
    history = _mean_history(run, usable)
    run_folder.write_history(folder, history)
    keeps = diverged is None and (min(best_steps) > 0 or not chooses)
    if run_folder.clear_outcome(folder, keeps_network=keeps):
        console.warn(f"the network of the run as it was before is now {folder / run_folder.BEFORE}")
    kept = None
    if keeps:
        net = run.net if len(usable) == len(members) else stack(run.net.select(k) for k in usable)
        kept = job.fold_and_test(net, accuracies)
        job.save(folder, kept, job.settings)
        accuracies = kept.accuracies
    best_step = best_steps[0] if len(set(best_steps)) == 1 else None
    row = {"n_steps": run.n_steps, "best_step": best_step, "diverged": diverged, **accuracies}
    results = job.results(kept, complete=complete, seconds=watch.seconds) | row
    results["heading"] = f"{job.dataset.name}: {_in_words(job.settings, _SHOWN[:3])}"
    if len(members) > 1:
        results["members"] = members
    row["test_accuracy"] = kept.test.accuracy if kept and kept.test else None
    report.write_csv(folder / "results.csv", [row])
    job.write_predictions(folder, kept)
    report.write_json(folder / run_folder.RESULTS, results)  # the last: a run without it is resumed
    if keeps and complete:
        folder = run_folder.take_place(folder)

    _show_epochs(history, best_step if chooses else None, console)
    if kept is not None:
        job.show_accuracies(_title(job, run, best_steps, chooses=chooses), kept)
    if len(usable) < len(members):
        console.warn(
            f"{len(members) - len(usable)} of the {len(members)} networks diverged and are left out; "
            "try a lower --learning-rate"
        )
    console.say(f"{count(run.n_steps, 'step')} in all; this took {watch.seconds:.1f} s")
    failure = None
    if diverged is not None:
        failure = Failure(
            f"{'every' if len(members) > 1 else 'the'} network diverged: from step {diverged} on "
            f"{'no loss is finite' if len(members) > 1 else 'its loss is not finite'}; "
            "try a lower --learning-rate",
            DIVERGED,
        )
    elif not complete:
        failure = Failure(
            f"interrupted at step {run.n_steps:,} of {total:,}; "
            f"`twolayer train --resume {shlex.quote(str(run_folder.named(folder)))}` goes on from there",
            OF_SIGNALS + watch.interrupted,
            wanted=True,
        )
    return job.finish(folder, failure)


def _in_words(settings: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return settings as a line, after the number of networks where it is not one."""
    several = f"{settings['networks']} networks, " if settings["networks"] > 1 else ""
    return several + in_words(settings, names)


def _members(run: Run) -> list[dict[str, Any]]:
    """Return the accuracies, the best step and the step of divergence of each network of a run."""
    columns = (np.atleast_1d(getattr(run, name)).tolist() for name in _OF_MEMBER)
    return [dict(zip(_OF_MEMBER, one, strict=True)) for one in zip(*columns, strict=True)]


def _divergence(members: list[dict[str, Any]]) -> int | None:
    """Return the step at which the last of the networks diverged; None where there is one that did not."""
    steps = [member["diverged"] for member in members]
    return None if None in steps else max(steps)


def _mean_history(run: Run, members: list[int]) -> History:
    """Return the history of one network, or the mean over some of several."""
    if run.last.n_networks is None:
        return run.history
    columns = run.history._asdict().items()
    return History(*(a if name == "step" else a[members].mean(axis=0) for name, a in columns))


def _title(job: Job, run: Run, best_steps: list[int], *, chooses: bool) -> str:
    """Return which network it is whose accuracies are shown."""
    merged = "s merged" if job.settings["networks"] > 1 else ""
    steps = best_steps if chooses else [run.n_steps]
    first, last = min(steps), max(steps)
    of = f"of step {first:,}" if first == last else f"of steps {first:,} to {last:,}"
    images = {"symmetrize": "flips", "symmetrize_shift": "shifts"}
    averaged = [name for setting, name in images.items() if job.settings[setting]]
    if averaged:
        of += f", averaged over {' and '.join(averaged)}"
    return f"The {'best' if chooses else 'last'} network{merged}, {of}"


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
