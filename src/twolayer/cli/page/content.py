"""Texts of the page: the summary, the notices, the headline figures, why parts are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import report
from ...plotting.confusion import MOST_DRAWN, too_many
from .. import run_folder
from ..job import count
from ..read_run import StoredRun
from .settings import in_words

_OPTIMIZERS = {
    "sgd": "gradient descent",
    "momentum": "gradient descent with momentum",
    "nesterov": "gradient descent with Nesterov momentum",
    "adam": "Adam",
    "adamw": "AdamW",
}
_LOWER = "A lower learning rate may help."
_NO_PREDICTIONS = (
    f"The folder holds no {run_folder.PREDICTIONS}: an earlier version did not write it, or not all "
    "probabilities are finite."
)
_BY_THEN = "The figures are those of what there was by then."


def listed(names: Sequence[str]) -> str:
    """Return a list as in a sentence: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def heading(run: StoredRun) -> str:
    """Return the page's heading."""
    if not run.is_sweep:
        return f"Training on {run.dataset}"
    varied = [report.label(name) for name in report.varying(run.results.table)]
    return f"Sweep on {run.dataset}" + (f" over {listed(varied)}" if varied else "")


def summary(run: StoredRun) -> str:
    """Return a sentence or two about the training."""
    sentence = f"{_trained(run)} on {_samples(run)}"
    for noun in ("epoch", "step"):
        length = run.setting(f"{noun}s")
        if type(length) is int:
            sentence += f" for {count(length, noun)}"
    optimizer = run.setting("optimizer")
    if isinstance(optimizer, str):
        sentence += f" of {_OPTIMIZERS.get(optimizer, optimizer)}"
    return f"{sentence}. {_best(run) if run.is_sweep else _kept(run)}".rstrip()


def _trained(run: StoredRun) -> str:
    if run.is_sweep:
        table, n_runs = run.results.table, len(run.results.runs)
        if not n_runs:
            return "A sweep was to train networks"
        each = "each from" if len(table) > 1 else "from"
        candidates = f"{count(len(table), 'candidate')}, {each} {count(n_seeds_of(table), 'seed')}"
        return f"A sweep trained {count(n_runs, 'network')} ({candidates})"
    n_networks, n_hidden = run.setting("networks"), run.setting("n_hidden")
    several = type(n_networks) is int and n_networks > 1
    trained = f"{n_networks} networks" if several else "One network"
    if type(n_hidden) is int:
        trained += f" of {count(n_hidden, 'hidden unit')}{' each' if several else ''}"
    return f"{trained} {'were' if several else 'was'} trained"


def n_seeds_of(table: Sequence[report.Row]) -> int:
    """Return how many seeds a candidate was trained from."""
    return max((row.get("n_seeds") or 1 for row in table), default=1)


def _samples(run: StoredRun) -> str:
    results = run.results
    n_samples = results.samples.get("train")
    details = []
    if run.image_shape is not None:
        details.append(f"images of {'×'.join(map(str, run.image_shape))} pixels")
    elif results.n_features:
        details.append(count(results.n_features, "feature"))
    if results.classes:
        details.append(f"{len(results.classes)} classes")
    words = f"{f'{n_samples:,} ' if n_samples else ''}samples of {run.dataset}"
    return words + (f" ({', '.join(details)})" if details else "")


def _best(run: StoredRun) -> str:
    best = report.winner(run.results.table)
    if best is None:
        return ""
    words = varied_settings(run.results.table, best)
    sentence = f"The best by its validation accuracy has {listed(words)}." if words else ""
    if run.results.test is not None:
        sentence += f" Its best network{_of_seed(run)} was tested."
    return sentence


def varied_settings(table: Sequence[report.Row], row: report.Row) -> list[str]:
    """Return in words what a candidate has of the settings that vary: learning rate 0.1."""
    return [f"{report.label(name)} {in_words(row[name])}" for name in report.varying(table) if name in row]


def _of_seed(run: StoredRun) -> str:
    seed = (run.results.best or {}).get("seed")
    return "" if seed is None else f" (seed {in_words(seed)})"


def _kept(run: StoredRun) -> str:
    results = run.results
    if run.net is None:
        return ""
    if results.members:
        return f"They were merged into one network of {count(run.net.n_hidden, 'hidden unit')}."
    if run.setting("judge") == "last" or not results.best_step:
        return f"The network is that of the last step, {results.n_steps or 0:,}."
    return f"The network kept is that of step {results.best_step:,}, the best on the validation samples."


def notices(run: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield titles and texts: what diverged, what was interrupted, which end of the grid the best is at."""
    results, table = run.results, run.results.table
    n_members, n_candidates = n_diverged(results.members), n_diverged(table)
    if results.diverged is not None:
        which = "The last of the networks" if results.members else "The network"
        yield (
            "Diverged",
            f"{which} diverged at step {results.diverged:,}: from there on its loss is not finite. "
            f"No network was kept and none was tested. {_LOWER}",
        )
    elif n_members:
        which = f"{n_members} of the {len(results.members)} networks"
        yield "Some diverged", f"{which} diverged and are left out. {_LOWER}"
    if run.is_sweep and table and all(map(report.has_diverged, table)):
        yield (
            "Diverged",
            "Every candidate diverged: the losses stopped being finite. No network was kept and none was "
            "tested. Lower learning rates may help.",
        )
    elif n_candidates:
        yield (
            "Some diverged",
            f"Of {n_candidates} of the {count(len(table), 'candidate')} at least one network diverged. Such "
            "a candidate is the best only where every other diverged too.",
        )
    if results.complete:
        for end in report.grid_ends(table):
            yield "At the end of the grid", report.grid_end_in_words(end)
    else:
        text = _BY_THEN
        if run.is_sweep:
            text += " A sweep does not go on from there: it begins again."
        elif results.n_steps is not None:
            text = (
                f"It ended at step {results.n_steps:,}. {text} `twolayer train --resume` goes on from there."
            )
        yield "Interrupted", text
    if run.settings is None:
        yield "No settings", f"The folder holds no {run_folder.SETTINGS}: the page shows less."


def n_diverged(rows: Sequence[report.Row]) -> int:
    """Return how many candidates or networks diverged."""
    return sum(bool(row.get("diverged")) for row in rows)


def figures(run: StoredRun) -> Iterator[tuple[str, str, str]]:
    """Yield the headline figures: a label, the value, and the samples or networks that it is of."""
    test, samples = run.results.test, run.results.samples
    lost = "no network was kept" if _is_lost(run) else ""
    if test is None:
        without = samples.get("test") == 0
        why = lost or ("the data have no test samples" if without else "no test was recorded")
        yield "Test accuracy", "–", why
    else:
        n_right, n_samples = test.confusion.n_right, test.confusion.n_samples
        detail = f"{n_right:,} of {count(n_samples, 'sample')} right"
        if n_samples:
            low, high = report.wilson_interval(n_right, n_samples)
            detail += f"; 95 % interval {low:.3f} to {high:.3f} (Wilson)"
        yield "Test accuracy", report.format_accuracy(test.accuracy), detail

    # A sweep shows the row of its best candidate, with its spread.
    row = (report.winner(run.results.table) or {}) if run.is_sweep else run.results._asdict()
    if report.is_finite(row.get("validation_accuracy")):
        yield _validation_figure(run, row)
    else:
        without = samples.get("validation") == 0
        why = "the data have no validation samples" if without else lost or "not known"
        yield "Validation accuracy", "–", why
    if report.is_finite(row.get("train_accuracy")):
        detail = _of(samples.get("train"))
        if run.results.members:
            n_parts = len(run.results.members) - n_diverged(run.results.members)
            detail += f"; mean of the {n_parts} networks before they were merged"
        elif run.setting("symmetrize") or run.setting("symmetrize_shift"):
            detail += "; of the network before it was averaged"
        yield "Training accuracy", report.format_accuracy(row["train_accuracy"]), detail
    if test is not None and report.is_finite(test.loss):
        yield "Test loss", f"{test.loss:.4f}", "mean cross-entropy, without the penalty"


def _validation_figure(run: StoredRun, row: Mapping[str, Any]) -> tuple[str, str, str]:
    accuracy, spread = row["validation_accuracy"], row.get("validation_accuracy_std")
    detail = _of(run.results.samples.get("validation"))
    n_seeds = (row.get("n_seeds") or 1) - (row.get("diverged") or 0)
    is_mean = report.is_finite(spread) and n_seeds > 1
    parts = [member.get("validation_accuracy") for member in run.results.members]
    if parts and not is_mean:
        known = [part for part in parts if report.is_finite(part)]
        if known:
            extent = f"{min(known):.3f} to {max(known):.3f}"
            detail += f"; of the merged network, its {len(known)} parts have {extent}"
    elif run.is_sweep or run.setting("judge") == "best":
        detail += "; the network was chosen by them"
    if is_mean:
        detail = f"mean ± standard deviation over {n_seeds} seeds; {detail}"
    return ("Validation accuracy", report.format_accuracy(accuracy, spread), detail)


def _of(n_samples: int | None) -> str:
    return "number of samples not recorded" if n_samples is None else count(n_samples, "sample")


def _is_lost(run: StoredRun) -> bool:
    """Return whether no network was kept, as all diverged."""
    return run.results.diverged is not None or _has_no_winner(run)


def _has_no_winner(run: StoredRun) -> bool:
    return run.is_sweep and report.winner(run.results.table) is None


def course(run: StoredRun) -> str:
    """Return whose course the curves are; nothing where it is the one network's."""
    if run.is_sweep:
        return f"That of the best network{_of_seed(run)}."
    n_lost = n_diverged(run.results.members)
    n_alive = len(run.results.members) - n_lost
    which = " that did not diverge" if n_lost else ""
    return f"The means over the {n_alive} networks{which}." if n_alive else ""


def missing(run: StoredRun) -> dict[str, str]:
    """Return why parts of the page are missing, by their names; nothing for those that are there."""
    n_classes = 0 if run.results.test is None else len(run.results.classes)
    confusion = f"There is no picture of the confusion matrix: {too_many(n_classes)}."
    test = _without_test(run)
    return {
        "curves": _without_curves(run),
        "test": test,
        "confusion": confusion if n_classes > MOST_DRAWN else "",
        "predictions": test or ("" if run.predictions is not None else _NO_PREDICTIONS),
        "weights": _without_weights(run),
    }


def _without_curves(run: StoredRun) -> str:
    if run.history is not None:
        return "" if run.history.loss.size else "It ended before its first step."
    if _has_no_winner(run):
        return "No network was kept, so there is no history of one."
    return f"The folder holds no {run_folder.HISTORY}."


def _without_test(run: StoredRun) -> str:
    if run.results.test is not None:
        return "" if run.results.classes else f"{run_folder.RESULTS} does not name the classes."
    if _is_lost(run):
        return "No network was kept, so none was tested."
    if run.results.samples.get("test") == 0:
        return "The data have no test samples."
    return f"{run_folder.RESULTS} contains no test."


def _without_weights(run: StoredRun) -> str:
    if run.net is None:
        return "No network was kept."
    return "The samples are not images, so neither are the weights." if run.image_shape is None else ""


def environment(run: StoredRun) -> list[tuple[str, str]]:
    """Return the versions of the libraries, and how long the training took, by their labels."""
    rows = list(run.results.versions.items())
    seconds = run.results.seconds
    if seconds is not None:
        rows.append(("training took", f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"))
    return rows
