"""Texts of the page: the summary, the notices, the headline figures, the reasons for missing parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..._texts import size_in_words
from ...plotting.confusion import MOST_DRAWN, too_many
from ...report.formatting import (
    calibration_in_words,
    count,
    format_accuracy,
    format_setting,
    is_finite,
    settings_in_words,
)
from ...report.metrics import area_under_roc, wilson_interval
from ...report.tables import Row, repeats_in_words, varying
from ...settings import label
from ...training.folds import n_networks
from .. import run_folder
from ..comparisons import BASELINES
from ..stored_run import StoredRun

_OPTIMIZERS = {
    "sgd": "gradient descent",
    "momentum": "gradient descent with momentum",
    "nesterov": "gradient descent with Nesterov momentum",
    "adam": "Adam",
    "adamw": "AdamW",
}
_LOWER = "A lower learning rate may help."


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def heading(run: StoredRun) -> str:
    """Return the page's heading."""
    if not run.is_sweep:
        return f"Training on {run.dataset}"
    varied = listed([label(name) for name in varying(run.results.table)])
    return f"Sweep on {run.dataset}" + (f" over {varied}" if varied else "")


def summary(run: StoredRun) -> str:
    """Return a sentence or two about the training."""
    sentence = f"{_trained(run)} on {_samples(run)}"
    for noun in ("epoch", "step"):
        length = _whole(run, f"{noun}s")
        if length is not None:
            sentence += f" for {'up to ' if run.setting('halving') else ''}{count(length, noun)}"
    optimizer = run.setting("optimizer")
    if isinstance(optimizer, str):
        sentence += f" of {_OPTIMIZERS.get(optimizer, optimizer)}"
    return f"{sentence}. {_best(run) if run.is_sweep else _kept(run)}".rstrip() + _split(run)


def _split(run: StoredRun) -> str:
    """Return how the rows of a table were split; empty for other data."""
    if not run.results.columns:
        return ""
    group, time = run.setting("group"), run.setting("time")
    if group:
        return f" Rows with the same {group} are in the same split."
    if time:
        return (
            f" The latest rows by {time} are the test samples, the rows before them the validation samples."
        )
    return " The rows were split at random, with each class in proportion."


def _whole(run: StoredRun, name: str) -> int | None:
    """Return a setting that is an integer; None if it is unknown or something else."""
    value = run.setting(name)
    return value if type(value) is int else None


def _trained(run: StoredRun) -> str:
    table, n_runs = run.results.table, len(run.results.runs)
    if run.is_sweep and n_runs:
        each = "each from" if len(table) > 1 else "from"
        most = max(table, key=n_networks, default={})
        candidates = f"{count(len(table), 'candidate')}, {each} {repeats_in_words(most)}"
        return f"A sweep trained {count(n_runs, 'network')} ({candidates})"
    if run.is_sweep:
        return "A sweep was started"
    n_merged, n_hidden = _whole(run, "networks") or 1, _whole(run, "n_hidden")
    units = "" if n_hidden is None else f" with {count(n_hidden, 'hidden unit')}"
    if n_merged > 1:
        return f"{n_merged} networks{units}{' each' if units else ''} were trained"
    return f"One network{units} was trained"


def _samples(run: StoredRun) -> str:
    results = run.results
    n_samples = results.samples.get("train")
    details = []
    if run.image_shape is not None:
        details.append(f"images of {size_in_words(run.image_shape)} pixels")
    elif results.n_features:
        columns = [count(len(results.columns), "column")] if results.columns else []
        details.append(" as ".join([*columns, count(results.n_features, "feature")]))
    if results.classes:
        details.append(f"{len(results.classes)} classes")
    words = f"{f'{n_samples:,} ' if n_samples else ''}samples of {run.dataset}"
    return words + (f" ({', '.join(details)})" if details else "")


def _best(run: StoredRun) -> str:
    if run.winner is None:
        return ""
    words = listed(settings_in_words(run.winner, varying(run.results.table)))
    sentence = f"The best candidate by validation {run.monitor} has {words}." if words else ""
    if run.results.test is not None:
        which = "Its best network" if run.setting("folds") is None else "Its network trained on all samples"
        sentence += f" {which}{_of_seed(run)} was tested."
    return sentence


def _of_seed(run: StoredRun) -> str:
    seed = (run.results.best or {}).get("seed")
    return "" if seed is None else f" (seed {format_setting(seed)})"


def _kept(run: StoredRun) -> str:
    results = run.results
    if run.net is None:
        return ""
    if results.members:
        return f"They were merged into one network with {count(run.net.n_hidden, 'hidden unit')}."
    if run.setting("judge") == "last" or not results.best_step:
        return f"The network of the last step, {results.n_steps or 0:,}, was kept."
    return f"The network of step {results.best_step:,}, the best on the validation samples, was kept."


def notices(run: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield titles and texts of notices: divergence, interruption, a missing file."""
    results, table = run.results, run.results.table
    n_lost = n_diverged(table or results.members)
    if results.diverged is not None or (table and run.is_lost):
        which = "The last of the networks" if results.members else "The network"
        which = "Every candidate" if table else which
        step = "" if results.diverged is None else f" at step {results.diverged:,}"
        yield (
            "Diverged",
            f"{which} diverged{step}: the loss is no longer finite. No network was kept or tested. {_LOWER}",
        )
    elif n_lost and table:
        yield (
            "Some diverged",
            f"{n_lost} of the {count(len(table), 'candidate')} had a network that diverged. Such a candidate "
            "is the best only if every candidate had one.",
        )
    elif n_lost:
        which = f"{n_lost} of the {len(results.members)} networks"
        yield "Some diverged", f"{which} diverged and are left out. {_LOWER}"
    if not results.complete:
        text = "The figures show the state at that time."
        if run.is_sweep and run_folder.begun_by(run.folder) == "sweep":
            text += " `twolayer sweep --resume` continues from there."
        elif run.is_sweep:
            text += " There are no checkpoints to resume from."
        elif results.n_steps is not None:
            stop = f"The training stopped at step {results.n_steps:,}."
            text = f"{stop} {text} `twolayer train --resume` continues from there."
        yield "Interrupted", text
    if run.settings is None:
        yield "No settings", f"The folder holds no {run_folder.SETTINGS}, so the page shows less."


def n_diverged(rows: Sequence[Row]) -> int:
    """Return the number of candidates or networks that diverged."""
    return sum(bool(row.get("diverged")) for row in rows)


def figures(run: StoredRun) -> Iterator[tuple[str, str, str]]:
    """Yield the label, the value and a detail of each headline figure."""
    test = run.results.test
    if test is None:
        yield "Test accuracy", "–", _without(run, "test")
    else:
        n_right, n_samples = test.confusion.n_right, test.confusion.n_samples
        detail = f"{n_right:,} of {count(n_samples, 'sample')} right"
        if n_samples:
            low, high = wilson_interval(n_right, n_samples)
            detail += f"; 95 % interval {low:.3f} to {high:.3f}"
        yield "Test accuracy", format_accuracy(test.accuracy), detail

    # A sweep shows the row of its best candidate, with its spread.
    row = (run.winner or {}) if run.is_sweep else run.results._asdict()
    accuracy, spread = row.get("validation_accuracy"), row.get("validation_accuracy_std")
    known = is_finite(accuracy)
    detail = _of_validation(run, row) if known else _without(run, "validation")
    yield "Validation accuracy", format_accuracy(accuracy, spread), detail
    if run.setting("folds") is not None:  # show that of the network trained on all samples
        row = run.results.best or {}
    if is_finite(row.get("train_accuracy")):
        yield "Training accuracy", format_accuracy(row["train_accuracy"]), _of_training(run)
    for name, baseline in run.results.baselines.items():
        if is_finite(baseline):
            yield f"{name[:1].upper()}{name[1:]}", format_accuracy(baseline), "test accuracy, for comparison"
    if test is not None and is_finite(test.loss):
        others = {name: loss for name, loss in run.results.baseline_losses.items() if is_finite(loss)}
        words = (f"; {BASELINES.get(name, name)} has {loss:.4f}" for name, loss in others.items())
        yield "Test loss", f"{test.loss:.4f}", "mean cross-entropy, without the penalty" + "".join(words)
    support = [] if test is None else test.confusion.support.tolist()
    if run.predictions is not None and len(support) == 2 and all(support):
        area = area_under_roc(run.predictions.y, run.predictions.probabilities[:, 1])
        yield "Area under the ROC curve", f"{area:.3f}", "0.5 is guessing, 1 is perfect"
    if "temperature" in run.results.calibration:
        temperature, _, detail = calibration_in_words(run.results.calibration).partition("; ")
        yield "Temperature", temperature.removeprefix("temperature "), detail


def _without(run: StoredRun, split: str) -> str:
    """Return the reason why there is no accuracy on the samples of a split."""
    if run.results.samples.get(split) == 0:
        return f"the data have no {split} samples"
    return "no network was kept" if run.is_lost else f"no {split} accuracy was recorded"


def _of_validation(run: StoredRun, row: Mapping[str, Any]) -> str:
    details = [_of(run, "validation")]
    n_alive = n_networks(row) - (row.get("diverged") or 0)
    if is_finite(row.get("validation_accuracy_std")) and n_alive > 1:
        repeats = repeats_in_words(row) if "n_folds" in row else f"{n_alive} seeds"
        details.insert(0, f"mean ± standard deviation over {repeats}")
    parts = [member.get("validation_accuracy") for member in run.results.members]
    known = [part for part in parts if is_finite(part)]
    n_samples, accuracy = run.results.samples.get("validation"), row.get("validation_accuracy")
    if n_samples and is_finite(accuracy):
        low, high = wilson_interval(round(accuracy * n_samples), n_samples)
        details.append(f"95 % interval {low:.3f} to {high:.3f} by the number of samples")
    if known:
        extent = f"{min(known):.3f} to {max(known):.3f}"
        details.append(f"of the merged network; its {len(known)} parts have {extent}")
    elif run.is_sweep or run.setting("judge") == "best":
        which = "network was" if run.setting("folds") is None else "settings were"
        details.append(f"the {which} chosen on these samples")
    return "; ".join(details)


def _of_training(run: StoredRun) -> str:
    detail, members = _of(run, "train"), run.results.members
    if members:
        return f"{detail}; mean of the {len(members) - n_diverged(members)} networks before merging"
    if run.setting("symmetrize") or run.setting("symmetrize_shift"):
        return f"{detail}; of the network before averaging over images"
    return detail


def _of(run: StoredRun, split: str) -> str:
    n_samples = run.results.samples.get(split)
    return "number of samples not recorded" if n_samples is None else count(n_samples, "sample")


def course(run: StoredRun) -> str:
    """Return which networks the curves show; empty for a single network."""
    if run.is_sweep:
        network = "best network" if run.setting("folds") is None else "network trained on all samples"
        return f"The curves show the {network}{_of_seed(run)}."
    n_lost = n_diverged(run.results.members)
    n_alive = len(run.results.members) - n_lost
    which = " that did not diverge" if n_lost else ""
    return f"The curves are means over the {n_alive} networks{which}." if n_alive else ""


def missing(run: StoredRun) -> dict[str, str]:
    """Return the reason why each part of the page is missing; empty for a part that is there."""
    results, history, lost = run.results, run.history, "No network was kept"
    n_classes = 0 if results.test is None else len(results.classes)
    without = _without(run, "test")
    test = _first_that_holds(
        (results.test is None, f"{without[0].upper()}{without[1:]}."),
        (not results.classes, f"{run_folder.RESULTS} does not name the classes."),
    )
    return {
        "test": test,
        "predictions": _first_that_holds(
            (test, test),
            (
                run.predictions is None,
                f"The folder holds no {run_folder.PREDICTIONS}: an earlier version did not write it, or a "
                "probability is not finite.",
            ),
        ),
        "confusion": _first_that_holds(
            (n_classes > MOST_DRAWN, f"The confusion matrix is not drawn: {too_many(n_classes)}."),
        ),
        "curves": _first_that_holds(
            (history is not None and not history.loss.size, "The training ended before its first step."),
            (history is None and run.is_sweep and run.is_lost, f"{lost}, so there is no history."),
            (history is None, f"The folder holds no {run_folder.HISTORY}."),
        ),
        "weights": _first_that_holds(
            (run.net is None, f"{lost}."),
            (run.image_shape is None, "The weights are not drawn, as the samples are not images."),
        ),
        "columns": _first_that_holds(
            (test, test),
            (
                not any(is_finite(row["lost"]) for row in results.columns),
                "The importance of columns was not computed: it would take long, or was interrupted.",
            ),
        ),
    }


def _first_that_holds(*cases: tuple[object, str]) -> str:
    return next((text for holds, text in cases if holds), "")


def environment(run: StoredRun) -> list[tuple[str, str]]:
    """Return the versions of the libraries, and how long the training took, by their labels."""
    rows = list(run.results.versions.items())
    seconds = run.results.seconds
    if seconds is not None:
        rows.append(("training took", f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"))
    return rows
