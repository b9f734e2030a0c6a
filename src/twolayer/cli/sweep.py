"""``twolayer sweep``: a network for every combination of settings and every seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .. import presets, report
from ..settings import VARIED
from ..sweeping import SweepResult, sweep
from . import run_folder
from .console import Console, Watch
from .errors import DIVERGED, OF_SIGNALS, Failure
from .job import ACCURACIES, Job, Kept, count, in_words, length_in_words, open_job


def run_sweep(
    settings: dict[str, Any], console: Console, *, out: str | None, overwrite: bool
) -> dict[str, Any]:
    """Try every combination of the values in ``settings``, in a fresh folder; return the data of the run."""
    job, max_networks = open_job(settings, console), settings["max_networks"]
    dataset, library = job.dataset, job.library
    if dataset.validation is None:
        raise ValueError(f"a sweep must have validation samples to choose by; {dataset.name} has none")
    grid = {name: settings[name] for name in VARIED}
    n_candidates = math.prod(map(len, grid.values()))
    console.say(
        f"{count(n_candidates, 'candidate')} × {count(len(settings['seeds']), 'seed')}; "
        f"{length_in_words(settings)} each; {library}"
    )
    with job.fresh_folder(out, overwrite=overwrite) as folder:
        arguments = job.arguments()
        # The candidates of one shape and seed train together: their first layers are one product.
        together = n_candidates
        for name in ("n_hidden", "batch_size", "input_dropout"):
            together //= len(settings[name])
        width = max(settings["n_hidden"]) * min(together, max_networks or together)
        operations = 2.0 * dataset.n_features * max(settings["batch_size"]) * width
        with library.threads_for(operations), console.watch("Sweep") as watch:
            result = sweep(
                **arguments,
                grid=grid | {"seed": settings["seeds"]},
                n_classes=dataset.n_classes,
                dtype=library.dtype,
                max_networks=max_networks,
                callbacks=[watch],
            )
        return _keep(job, folder, result, watch)


def _keep(job: Job, folder: Path, result: SweepResult, watch: Watch) -> dict[str, Any]:
    """Write what a sweep gave, and show it; raise unless it went to its end."""
    settings, console, best = job.settings, job.console, result.best
    kept, words = None, ""
    if best is not None:
        names = report.shown_settings(result.table)
        words = f"{in_words(best.settings, names)}, seed {best.settings['seed']}"
        kept = job.fold_and_test(best.net, {name: best.row[name] for name in ACCURACIES})
    results = job.results(kept, complete=result.complete, seconds=watch.seconds) | {
        "table_heading": f"{job.dataset.name}: validation accuracy",
        "table": result.table,
        "runs": result.runs,
        "best": None if best is None else best.row,
        # The ends of a grid that was not finished are not known.
        "grid_ends": report.grid_ends(result.table) if result.complete else [],
    }
    if best is not None:
        results["heading"] = f"{job.dataset.name}, the best: {words}"
    # Every file is written, even if the tables cannot be shown or another file does not fit on the disk.
    with ExitStack() as at_the_end:
        write = at_the_end.callback
        write(report.write_json, folder / run_folder.RESULTS, results)  # they run in reverse order
        write(job.write_predictions, folder, kept)
        if best is not None and kept is not None:
            own = {name: value for name, value in settings.items() if name != "seeds"} | best.settings
            write(job.save, folder, kept, own)
            write(run_folder.write_history, folder, best.history)
        if result.runs:
            write(report.write_csv, folder / "runs.csv", result.runs)
            write(report.write_csv, folder / "results.csv", result.table)
            _show_table(result, console)
            ends = [report.grid_end_in_words(end) for end in results["grid_ends"]]
            n_validation = results["samples"]["validation"]
            for sentence in (*report.certainty_in_words(result.table, n_validation), *ends):
                console.result(sentence)
        if kept is not None:
            job.show_accuracies(f"The best: {words}", kept)
        if settings["preset"] is not None and result.runs:
            compare(presets.preset(settings["preset"]), result, kept, job)
        console.say(f"{count(len(result.runs), 'network')} in {watch.seconds:.1f} s")
    if result.complete and best is not None:
        folder = run_folder.take_place(folder)
    failure = None
    if not result.complete:
        n_runs = math.prod(len(settings[name]) for name in (*VARIED, "seeds"))
        failure = Failure(
            f"interrupted: {len(result.runs)} of {n_runs} networks are in the tables, those under way as "
            "they were; the best is kept. A sweep does not go on from there: `--resume` is of `train` alone",
            OF_SIGNALS + watch.interrupted,
            wanted=True,
        )
    elif best is None:
        failure = Failure(
            "every network diverged: its loss stopped being finite; try a lower --learning-rate", DIVERGED
        )
    return job.finish(folder, failure)


def _show_table(result: SweepResult, console: Console) -> None:
    """Write a row for each candidate, the best first."""
    table = result.table
    rows, marks = report.sweep_table_rows(table), {}
    for i, (row, place) in enumerate(zip(rows, report.ranked(table), strict=True)):
        if table[place]["diverged"]:
            row["diverged"] = _divergence(result, table[place]).removeprefix("at ").replace(" to ", "–")
        if table[place]["within_noise"]:
            marks[i] = "≈ best"
    best = None if result.best is None else 0
    n_seeds = max(row["n_seeds"] for row in table)
    title = ["Candidates" if n_seeds == 1 else f"Candidates, mean ± standard deviation over {n_seeds} seeds"]
    if n_seeds > 1 and len(table) > 1 and best is not None:
        title.append("behind the best: mean over seeds in pairs ± 95 % margin; ≈ best: may be as good")
    headings = [heading.replace(" ", "\n", 1) for heading in rows[0]]  # so that more of them fit in a line
    console.table(headings, [list(row.values()) for row in rows], title=title, best=best, marks=marks)


def _divergence(result: SweepResult, row: Mapping[str, Any]) -> str:
    """Return the steps at which the runs of a candidate diverged, in words."""
    text = report.steps_of_divergence(row, result.runs)
    return text if report.has_diverged(row) else f"{row['diverged']} of {row['n_seeds']} {text}"


def compare(preset: presets.Preset, result: SweepResult, kept: Kept | None, job: Job) -> None:
    """Show a sweep beside what others found by the same protocol."""
    reference = preset.reference
    if reference is None:
        return
    console, settings, factor = job.console, job.settings, reference.reg_factor
    table = {(row["learning_rate"], row["reg"]): row for row in result.table}
    theirs = {(rate, reg / factor): found for (rate, reg), found in reference.accuracies.items()}
    rates, regs = (sorted({key[i] for key in (*table, *theirs)}) for i in (0, 1))
    rows = []
    for rate, text in zip(rates, report.format_numbers(rates), strict=True):
        rows.append((text, "here", *(_cell(result, table.get((rate, reg))) for reg in regs)))
        rows.append(("", reference.source, *(_their_cell(theirs, (rate, reg)) for reg in regs)))
    own, other = report.format_numbers(regs), report.format_numbers([reg * factor for reg in regs])
    columns = [f"reg {a}\n({reference.source}: {b})" for a, b in zip(own, other, strict=True)]
    console.table(("learning rate", "", *columns), rows, title="Training / validation accuracy", left=("",))
    console.say(
        f"reg is the factor of ‖W‖² in the loss. The {reference.source} steps along the gradient of "
        f"1/{factor:g} of the penalty that it reports, so its reg is {factor:g} times ours."
    )
    names = [name for name in preset.sweep if name not in (*VARIED, "seeds")]
    names += [name for name in ("n_hidden", "batch_size", "weight_scale") if name in preset.sweep]
    # What a sweep varies is a tuple.
    changed = [name for name in names if settings[name] not in (preset.sweep[name], (preset.sweep[name],))]
    if changed:
        console.warn(f"not by the protocol of the preset: {in_words(settings, changed)}")
    if kept is not None and kept.test is not None and job.dataset.test is not None:
        right = kept.test.predicted == job.dataset.test.y
        n = min(reference.n_test, len(right))
        console.result(
            f"Test accuracy of the best: {right[:n].mean():.3f} on the first {n:,} "
            f"({reference.source}: {reference.test_accuracy:.3f}), {right.mean():.3f} on all {len(right):,}"
        )


def _cell(result: SweepResult, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    if report.has_diverged(row):
        return f"diverged {_divergence(result, row)}"
    spread = row["validation_accuracy_std"]
    text = f"{row['train_accuracy']:.3f} / {report.format_accuracy(row['validation_accuracy'], spread)}"
    return f"{text}; diverged: {_divergence(result, row)}" if row["diverged"] else text


def _their_cell(theirs: Mapping[Any, tuple[float, float] | None], key: tuple[float, float]) -> str:
    if key not in theirs:
        return "–"
    found = theirs[key]
    return "diverged" if found is None else f"{found[0]:.3f} / {found[1]:.3f}"
