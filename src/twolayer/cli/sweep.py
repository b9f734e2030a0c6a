"""The command ``twolayer sweep``."""

from __future__ import annotations

import errno
import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .. import presets
from .._optional import require
from .._texts import first_line
from ..report import tables
from ..report.certainty import certainty_in_words, next_in_words, verdict_in_words
from ..report.files import write_csv, write_json
from ..report.formatting import count, format_accuracy, format_numbers, settings_in_words
from ..settings import SETTINGS
from ..sweeping import SweepResult, plan
from ..sweeping.candidates import OF_SHAPE, settings_of_grid
from ..sweeping.parts import Given
from ..sweeping.stored import PartsFolder
from ..sweeping.sweep import carried_out, nothing_learnt_in
from ..sweeping.workers import Executors, processes
from ..training.execution import threads_for
from ..training.folds import Folds
from . import run_folder
from .build import channels_for, preprocessing_for
from .config import grid_of, write_settings
from .console import Console, Watch
from .errors import DIVERGED, Failure
from .job import FIGURES, Job, Kept, length_in_words, open_job
from .next_command import ends_to_try, next_command

_AXES = ("learning_rate", "reg")  # of the table that compares with published results
_HEADING_WIDTH = 10  # characters of a heading in a line, however short the column's texts are


class Running(NamedTuple):
    """The workers that run the parts of a sweep; they do not change its result."""

    workers: int | None  # number of processes of this machine
    scheduler: str | None  # address of a Dask scheduler
    checkpoint_seconds: float

    def options(self) -> list[str]:
        """Return the options for the same workers."""
        pairs = (("--workers", self.workers), ("--scheduler", self.scheduler))
        return [word for flag, value in pairs if value is not None for word in (flag, str(value))]


def run_sweep(
    settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool, running: Running
) -> dict[str, Any]:
    """Try the combinations of the values in ``settings`` in a new folder; return the data of the run."""
    job = open_job(settings, console)
    if job.dataset.validation is None and job.folds is None:
        raise ValueError(
            f"a sweep must have validation samples to choose by; {job.dataset.name} has none: try --folds 5"
        )
    with job.fresh_folder(out, overwrite=overwrite) as folder:
        return _sweep(job, folder, running)


def resume_sweep(
    folder: Path, settings: dict[str, Any], console: Console, *, running: Running
) -> dict[str, Any]:
    """Resume the sweep in ``folder`` with ``settings``, which may add candidates; return the data."""
    if (folder / run_folder.RESULTS).is_file() and run_folder.begun_by(folder) != "sweep":
        raise FileNotFoundError(
            f"{folder} must hold the folder `{run_folder.PARTS}` for `--resume`; it has no checkpoints"
        )
    return _sweep(open_job(settings, console), folder, running)


def _sweep(job: Job, folder: Path, running: Running) -> dict[str, Any]:
    """Train the networks of a sweep, or resume it; return the data of the run."""
    settings, library, console, dataset = job.settings, job.library, job.console, job.dataset
    max_networks, seeds = settings["max_networks"], settings["seeds"]
    with console.warnings_shown():
        grid = settings_of_grid(grid_of(settings), settings["candidates"], seed=seeds[0])
    folds = "" if job.folds is None else f" × {count(job.folds, 'fold')}"
    console.say(
        f"{count(len(grid) // len(seeds), 'candidate')}{folds} × {count(len(seeds), 'seed')}; "
        f"{'up to ' if settings['halving'] else ''}{length_in_words(settings)} each; {library}"
    )
    arguments = job.arguments()
    if job.folds is not None:
        own = {name: settings[name] for name in SETTINGS if SETTINGS[name].group == "Preprocessing"}
        fit = partial(preprocessing_for, own, channels_for(settings, dataset))
        arguments |= {"folds": job.folds, "preprocessing": fit, "rng": seeds[0]}
    begun = plan(
        **arguments,
        grid=grid,
        n_classes=dataset.n_classes,
        dtype=library.dtype,
        max_networks=max_networks,
        halving=settings["halving"],
    )
    place = run_folder.named(folder) / run_folder.PARTS
    if place.is_file():  # a file of the user: the new run's folder of parts could not take its place
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    parts = PartsFolder(folder / run_folder.PARTS, running.checkpoint_seconds)
    # Candidates of one shape and seed train together, and their first layers are one product.
    shapes = Counter(tuple(one.get(name) for name in (*OF_SHAPE, "seed")) for one in grid)
    together = max(shapes.values())
    width = max(one["n_hidden"] for one in grid) * min(together, max_networks or together)
    operations = 2.0 * dataset.n_features * max(one["batch_size"] for one in grid) * width
    given = Given(*(arguments[name] for name in Given._fields))
    with ExitStack() as stack:
        executor = _executor(running, len(begun.parts), stack, console)
        # The original samples were compared already. Preprocessed samples may differ in their last bits.
        begun = parts.resumed(begun, {"data": settings["data_sha256"]})
        write_settings(folder / run_folder.SETTINGS, settings)
        n_begun = sum(parts.checkpoint(part).path.is_file() for part in begun.parts)
        if n_begun:
            console.say(f"Resuming the sweep: {n_begun} of {count(len(begun.parts), 'part')} have started")
        stack.enter_context(threads_for(library.xp, operations))
        watch = stack.enter_context(console.watch("Sweep"))
        result = carried_out(begun, given, callbacks=(watch,), executor=executor, folder=parts)
    nothing = nothing_learnt_in(result, begun, arguments, "--scale feature")
    if nothing is not None:
        console.warn(nothing)
    return _keep(job, folder, result, len(grid) * (job.folds or 1), watch, running.options())


def _executor(running: Running, n_parts: int, stack: ExitStack, console: Console) -> Executors | None:
    """Return the executor for the parts of a sweep; None to run them in this process."""
    if running.scheduler is not None:
        distributed = require("distributed", extra="dask", purpose="`--scheduler`")
        try:
            client = stack.enter_context(distributed.Client(running.scheduler))
        except (OSError, ValueError) as error:
            raise ValueError(
                "`--scheduler` must be the address of a Dask scheduler, such as tcp://HOST:8786; "
                f"got {running.scheduler} ({first_line(error)})"
            ) from error
        if not client.nthreads():
            raise ValueError(
                f"the scheduler {running.scheduler} must have workers; it has none: "
                f"`dask worker {running.scheduler}` starts one"
            )
        executor: Executor = client.get_executor()
        return executor
    if running.workers is None:
        return None
    if n_parts < running.workers:
        console.warn(
            f"the sweep has {count(n_parts, 'part')} for {running.workers} workers; "
            "more seeds or a smaller --max-networks make more parts"
        )
    return partial(processes, running.workers)


def _keep(
    job: Job, folder: Path, result: SweepResult, n_runs: int, watch: Watch, options: list[str]
) -> dict[str, Any]:
    """Write and show the results of a sweep; raise if it was interrupted or diverged."""
    settings, console, best = job.settings, job.console, result.best
    place, table = run_folder.named(folder), tables.ranked(result.table)
    ends = ends_to_try(result.table, place, settings) if result.complete else []
    verdict = verdict_in_words(table, result.monitor, complete=result.complete, ends=ends)
    following = next_command(settings, place, table, ends, complete=result.complete, options=options)
    kept, words = None, ""
    if best is not None and best.net is not None:
        words = ", ".join(settings_in_words(best.settings, (*tables.shown_settings(result.table), "seed")))
        kept = job.fold_and_test(best.net, {name: best.row[name] for name in FIGURES})
    results = job.results(kept, complete=result.complete, seconds=watch.seconds) | {
        "table_heading": f"{job.dataset.name}: validation accuracy",
        "table": result.table,
        "runs": result.runs,
        "best": None if best is None else best.row,
        "grid_ends": ends,
        "verdict": " ".join(verdict),
        "next": following,
    }
    if result.folds is not None and result.runs:  # an interrupted sweep has some of the folds
        folds = Folds(*zip(*result.folds, strict=True))
        results["samples"]["validation"] = folds.n_held_out(run["fold"] for run in result.runs)
    if words:
        results["heading"] = f"{job.dataset.name}, the best: {words}"
    run_folder.clear_outcome(folder, keeps_network=kept is not None)
    # Every file is written, even if the tables cannot be shown or another file does not fit on the disk.
    with ExitStack() as at_the_end:
        write = at_the_end.callback
        write(write_json, folder / run_folder.RESULTS, results)  # the callbacks run in reverse order
        write(job.write_predictions, folder, kept)
        if best is not None and kept is not None:
            own = {name: value for name, value in settings.items() if name != "seeds"} | best.settings
            write(job.save, folder, kept, own)
            if best.history is not None:
                write(run_folder.write_history, folder, best.history)
        if result.runs:
            write(write_csv, folder / "runs.csv", result.runs)
            write(write_csv, folder / "results.csv", result.table)
            if not console.quiet:  # with --quiet the verdict is the first line
                console.result()
            for sentence in (*verdict, next_in_words(following)):
                console.result(sentence, style="bold")
            _show_table(result, console)
            for sentence in certainty_in_words(table, results["samples"]["validation"], result.monitor):
                console.result(sentence)
        if kept is not None:
            # The saved network is one of the candidate's networks, or a new one; the table has their means.
            which = "" if len(settings["seeds"]) == 1 else f", the best of {len(settings['seeds'])} seeds"
            which = which if job.folds is None else ", trained on all folds"
            job.show_accuracies(f"The saved network{which}: {words}", kept)
        if settings["preset"] is not None and result.runs and not settings["candidates"]:
            compare(presets.preset(settings["preset"]), result, kept, job)
        console.say(f"{count(len(result.runs), 'network')}; this took {watch.seconds:.1f} s")
    if result.complete and kept is not None:
        folder = run_folder.take_place(folder)
    failure = None
    if not result.complete:
        what = (
            f"interrupted: {len(result.runs)} of {n_runs} networks are in the tables, unfinished ones in "
            f"their present state; {'the best' if kept else 'no network'} is kept."
        )
        failure = job.interrupted(what, folder, watch)
    elif kept is None:
        which = "every network" if best is None else "the best candidate's network of all samples"
        failure = Failure(
            f"{which} diverged: its loss stopped being finite; try a lower --learning-rate", DIVERGED
        )
    return job.finish(folder, failure)


def _show_table(result: SweepResult, console: Console) -> None:
    """Print a row for each candidate, the best first."""
    *columns, notes = tables.sweep_columns(tables.ranked(result.table), result.runs, result.monitor)
    title = ["Candidates", *tables.legend(result.table)]
    console.table(
        # A heading is no wider than the column's texts, so that more columns fit in a terminal.
        [textwrap.fill(one.heading, max([_HEADING_WIDTH, *map(len, one.texts)])) for one in columns],
        list(zip(*(column.texts for column in columns), strict=True)),
        title=[", ".join(title[:2]), *title[2:]],
        best=None if result.best is None else 0,
        marks=dict(enumerate(notes.texts)),
    )


def compare(preset: presets.Preset, result: SweepResult, kept: Kept | None, job: Job) -> None:
    """Print a sweep beside published results with the same protocol."""
    reference = preset.reference
    if reference is None:
        return
    console, settings, factor = job.console, job.settings, reference.reg_factor
    table = {tuple(row[name] for name in _AXES): row for row in result.table}
    theirs = {(rate, reg / factor): found for (rate, reg), found in reference.accuracies.items()}
    rates, regs = (sorted({key[i] for key in (*table, *theirs)}) for i in (0, 1))
    rows = []
    for rate, text in zip(rates, format_numbers(rates), strict=True):
        rows.append((text, "here", *(_cell(table.get((rate, reg)), result.runs) for reg in regs)))
        rows.append(("", reference.source, *(_their_cell(theirs.get((rate, reg), "–")) for reg in regs)))
    own, other = format_numbers(regs), format_numbers([reg * factor for reg in regs])
    columns = [f"reg {a}\n({reference.source}: {b})" for a, b in zip(own, other, strict=True)]
    spread = f" ± SD over {len(settings['seeds'])} seeds" if len(settings["seeds"]) > 1 else ""
    title = f"Training / validation accuracy{spread}"
    console.table(("learning rate", "", *columns), rows, title=title, left=("",))
    console.say(
        f"reg is the factor of ‖W‖² in the loss. The {reference.source} uses the gradient of 1/{factor:g} of "
        f"the penalty that it reports, so its reg is {factor:g} times ours."
    )
    protocol = {name: value for name, value in preset.sweep.items() if name not in (*_AXES, "seeds")}
    # A sweep stores the values of a setting that it may vary as a tuple.
    changed = [name for name, value in protocol.items() if settings[name] not in (value, (value,))]
    changed += [] if job.folds is None else ["folds"]
    if changed:
        words = ", ".join(settings_in_words(settings, changed))
        console.warn(f"these settings differ from the protocol of the preset: {words}")
    if kept is not None and kept.test is not None and job.dataset.test is not None:
        right = kept.test.predicted == job.dataset.test.y
        n = min(reference.n_test, len(right))
        console.result(
            f"Test accuracy of the best: {right[:n].mean():.3f} on the first {n:,} "
            f"({reference.source}: {reference.test_accuracy:.3f}), {right.mean():.3f} on all {len(right):,}"
        )


def _cell(row: tables.Row | None, runs: Sequence[tables.Row]) -> str:
    if row is None:
        return "–"
    diverged, spread = tables.divergence_in_words(row, runs), row["validation_accuracy_std"]
    if tables.has_diverged(row):
        return f"diverged at {diverged}"
    text = f"{row['train_accuracy']:.3f} / {format_accuracy(row['validation_accuracy'], spread)}"
    return f"{text}; diverged: {diverged}" if diverged else text


def _their_cell(found: tuple[float, float] | str | None) -> str:
    if found is None:
        return "diverged"
    return found if isinstance(found, str) else f"{found[0]:.3f} / {found[1]:.3f}"
