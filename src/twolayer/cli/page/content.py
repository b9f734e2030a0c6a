"""The page's account of a training or a sweep: sentences, figures, candidates, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import report
from ...plotting.confusion import MOST_DRAWN, too_many
from .. import folders
from ..jobs import count
from .found import Found
from .settings import in_words

_OPTIMIZERS = {
    "sgd": "gradient descent",
    "momentum": "gradient descent with momentum",
    "nesterov": "gradient descent with Nesterov momentum",
    "adam": "Adam",
    "adamw": "AdamW",
}

_HOLDS = {
    folders.BEFORE: "the network as it was before the run went on, and diverged",
    folders.NETWORK: "the network, which takes samples as they are",
    folders.CHECKPOINT: "what the training goes on from",
    folders.SETTINGS: "everything that is needed to do it again",
    folders.RESULTS: "accuracies, versions, the confusion matrix",
    folders.HISTORY: "the course of the training, whole",
    folders.PREDICTIONS: "probabilities of the test samples",
    "history.csv": "the course of the training, by epochs",
    "steps.csv": "the course of the training, by steps",
    "results.csv": "accuracies, as a table",
    "runs.csv": "a row for each candidate and seed",
    "network.onnx": "the network for other programs",
}


def listed(names: Sequence[str]) -> str:
    """Write a list as in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def heading(found: Found) -> str:
    """Give the page's heading."""
    if not found.sweeps:
        return f"Training on {found.dataset}"
    varied = [report.label(name) for name in report.varying(found.results.table)]
    return f"Sweep on {found.dataset}" + (f" over {listed(varied)}" if varied else "")


def summary(found: Found) -> str:
    """Say in a sentence or two what was trained."""
    sentence = f"{_trained(found)} on {_samples_in_words(found)}"
    for noun in ("epoch", "step"):
        length = found.setting(f"{noun}s")
        if type(length) is int:
            sentence += f" for {count(length, noun)}"
    optimizer = found.setting("optimizer")
    if isinstance(optimizer, str):
        sentence += f" of {_OPTIMIZERS.get(optimizer, optimizer)}"
    outcome = _best_in_words(found) if found.sweeps else _kept(found)
    return f"{sentence}. {outcome}".rstrip()


def _trained(found: Found) -> str:
    if found.sweeps:
        table, n_runs = found.results.table, len(found.results.runs)
        if not n_runs:
            return "A sweep was to train networks"
        n_seeds = max((row.get("n_seeds") or 1 for row in table), default=1)
        each = "each from" if len(table) > 1 else "from"
        candidates = f"{count(len(table), 'candidate')}, {each} {count(n_seeds, 'seed')}"
        return f"A sweep trained {count(n_runs, 'network')} ({candidates})"
    n_networks, n_hidden = found.setting("networks"), found.setting("n_hidden")
    several = type(n_networks) is int and n_networks > 1
    size = ""
    if type(n_hidden) is int:
        size = f" of {count(n_hidden, 'hidden unit')}{' each' if several else ''}"
    if several:
        return f"{n_networks} networks{size} were trained"
    return f"One network{size} was trained"


def _best_in_words(found: Found) -> str:
    best = report.winner(found.results.table)
    if best is None:
        return ""
    names = [name for name in report.varying(found.results.table) if name in best]
    words = [f"{report.label(name)} {in_words(best[name])}" for name in names]
    sentence = f"The best by its validation accuracy has {listed(words)}." if words else ""
    if found.results.test is not None:
        sentence += f" Its best network{_of_seed(found)} was tested."
    return sentence


def _of_seed(found: Found) -> str:
    seed = (found.results.best or {}).get("seed")
    return "" if seed is None else f" (seed {in_words(seed)})"


def _kept(found: Found) -> str:
    results = found.results
    if found.net is None:
        return ""
    if results.members:
        return f"They were merged into one network of {count(found.net.n_hidden, 'hidden unit')}."
    if found.setting("judge") == "last" or not results.best_step:
        return f"The network is that of the last step, {results.n_steps or 0:,}."
    return f"The network kept is that of step {results.best_step:,}, the best on the validation samples."


def _samples_in_words(found: Found) -> str:
    n_samples = found.results.samples.get("train")
    words = f"{f'{n_samples:,} ' if n_samples else ''}samples of {found.dataset}"
    details = []
    if found.image_shape is not None:
        details.append(f"images of {'×'.join(map(str, found.image_shape))} pixels")
    elif found.results.n_features:
        details.append(count(found.results.n_features, "feature"))
    if found.results.classes:
        details.append(f"{len(found.results.classes)} classes")
    return words + (f" ({', '.join(details)})" if details else "")


def notices(found: Found) -> list[dict[str, str]]:
    """Say what a reader is to know before the figures: what diverged, what was interrupted."""
    results = found.results
    said = []
    if results.diverged is not None:
        several = "The last of the networks" if results.members else "The network"
        said.append(
            {
                "title": "Diverged",
                "text": f"{several} diverged at step {results.diverged:,}: from there on its loss is not "
                "finite. No network was kept and none was tested. A lower learning rate may help.",
            }
        )
    elif _lost(found):
        said.append(
            {
                "title": "Some diverged",
                "text": f"{_lost(found)} of the {len(results.members)} networks diverged and are left out. "
                "A lower learning rate may help.",
            }
        )
    diverged = [row for row in results.table if row.get("diverged")]
    if found.sweeps and results.table and all(map(report.has_diverged, results.table)):
        said.append(
            {
                "title": "Diverged",
                "text": "Every candidate diverged: the losses stopped being finite. No network was kept and "
                "none was tested. Lower learning rates may help.",
            }
        )
    elif diverged:
        said.append(
            {
                "title": "Some diverged",
                "text": f"Of {len(diverged)} of the {count(len(results.table), 'candidate')} at least one "
                "network diverged. Such a candidate is the best only where every other diverged too.",
            }
        )
    if results.complete:
        said += [
            {"title": "At the end of the grid", "text": report.grid_end_in_words(end)}
            for end in report.grid_ends(results.table)
        ]
    if not results.complete:
        text = "The figures are those of what there was by then."
        if found.sweeps:
            text += " A sweep does not go on from there: it begins again."
        if not found.sweeps and results.n_steps is not None:
            text = (
                f"It ended at step {results.n_steps:,}. {text} `twolayer train --resume` goes on from there."
            )
        said.append({"title": "Interrupted", "text": text})
    if found.settings is None:
        said.append(
            {"title": "No settings", "text": f"The folder holds no {folders.SETTINGS}: the page shows less."}
        )
    return said


def figures(found: Found) -> list[dict[str, str]]:
    """Give the headline figures: a label, the figure, and what it is of."""
    results, samples = found.results, found.results.samples
    shown = []

    def add(label: str, value: str, detail: str) -> None:
        shown.append({"label": label, "value": value, "detail": detail})

    lost = "no network was kept" if results.diverged is not None or _no_winner(found) else ""
    if results.test is None:
        without = samples.get("test") == 0
        why = lost or ("the data have no test samples" if without else "no test was recorded")
        add("Test accuracy", "–", why)
    else:
        n_right, n_samples = results.test.confusion.n_right, results.test.confusion.n_samples
        detail = f"{n_right:,} of {count(n_samples, 'sample')} right"
        if n_samples:
            low, high = report.wilson_interval(n_right, n_samples)
            detail += f"; 95 % interval {low:.3f} to {high:.3f} (Wilson)"
        add("Test accuracy", report.format_accuracy(results.test.accuracy), detail)

    row = _judged(found)
    spread = row.get("validation_accuracy_std")
    accuracy = row.get("validation_accuracy")
    of = _of(samples.get("validation"))
    if report.is_finite(accuracy):
        detail = f"{of}; the network was chosen by them" if _chosen(found) else of
        n_seeds = (row.get("n_seeds") or 1) - (row.get("diverged") or 0)
        if report.is_finite(spread) and n_seeds > 1:
            detail = f"mean ± standard deviation over {n_seeds} seeds; {detail}"
        elif results.members:
            detail = _merged(found, of)
        add("Validation accuracy", report.format_accuracy(accuracy, spread), detail)
    else:
        without = samples.get("validation") == 0
        why = "the data have no validation samples" if without else lost or "not known"
        add("Validation accuracy", "–", why)
    if report.is_finite(row.get("train_accuracy")):
        detail = _of(samples.get("train"))
        if results.members:
            n_parts = len(results.members) - _lost(found)
            detail = f"{detail}; mean of the {n_parts} networks before they were merged"
        elif found.setting("symmetrize") or found.setting("symmetrize_shift"):
            detail = f"{detail}; of the network before it was averaged"
        add("Training accuracy", report.format_accuracy(row["train_accuracy"]), detail)
    if results.test is not None and report.is_finite(results.test.loss):
        add("Test loss", f"{results.test.loss:.4f}", "mean cross-entropy, without the penalty")
    return shown


def _judged(found: Found) -> Mapping[str, Any]:
    """Give what holds the accuracies: of a sweep the best candidate's row, with its spread."""
    if found.sweeps:
        return report.winner(found.results.table) or {}
    return {
        "validation_accuracy": found.results.validation_accuracy,
        "train_accuracy": found.results.train_accuracy,
    }


def _no_winner(found: Found) -> bool:
    return found.sweeps and report.winner(found.results.table) is None


def _chosen(found: Found) -> bool:
    return found.sweeps or found.setting("judge") == "best"


def _merged(found: Found, of: str) -> str:
    own = [m["validation_accuracy"] for m in found.results.members if _finite(m, "validation_accuracy")]
    if not own:
        return of
    return f"{of}; of the merged network, its {len(own)} parts have {min(own):.3f} to {max(own):.3f}"


def _lost(found: Found) -> int:
    """Give how many of several networks diverged."""
    return sum(1 for member in found.results.members if member.get("diverged"))


def _finite(row: Mapping[str, Any], name: str) -> bool:
    return report.is_finite(row.get(name))


def _of(n_samples: int | None) -> str:
    return "number of samples not recorded" if n_samples is None else count(n_samples, "sample")


def candidates(found: Found) -> dict[str, Any] | None:
    """Give the table of a sweep: columns, and rows of cells, each a text and what it is sorted by."""
    table = found.results.table
    if not table:
        return None
    names = report.shown_settings(table)
    several = max(row.get("n_seeds") or 1 for row in table) > 1
    best = report.winner(table)
    noted = any(row.get("diverged") for row in table)
    accuracies = ("validation_accuracy", "train_accuracy")
    columns = [{"label": "rank", "first": "ascending", "number": True}]
    columns += [{"label": report.label(name), "first": "ascending", "number": True} for name in names]
    columns += [{"label": report.label(name), "first": "descending", "number": True} for name in accuracies]
    compared = best is not None and len(table) > 1 and any("difference" in row for row in table)
    if compared:
        columns += [{"label": "behind the best", "first": "descending", "number": True}]
    columns += [{"label": "note", "first": "ascending", "number": False}]
    texts = {name: report.format_numbers([row.get(name) for row in table]) for name in names}
    rows = []
    for rank, index in enumerate(report.ranked(table), start=1):
        row = table[index]
        gone = report.has_diverged(row)
        cells = [{"text": texts[name][index], "key": _key(row.get(name))} for name in names]
        for name in accuracies:
            shown = report.format_accuracy(row.get(name), row.get(f"{name}_std"))
            cells.append({"text": "–", "key": ""} if gone else {"text": shown, "key": _key(row.get(name))})
        if compared:
            shown = "" if row is best else report.format_difference(row)
            cells.append({"text": shown, "key": "" if gone else _key(row.get("difference"))})
        notes = [
            "best" if row is best else "≈ best" if row.get("within_noise") else "",
            _divergence(found, row),
        ]
        note = "; ".join(filter(None, notes))
        cells.append({"text": note, "key": note})
        rows.append({"rank": str(rank), "best": row is best, "diverged": gone, "cells": cells})
    n_seeds = max(row.get("n_seeds") or 1 for row in table)
    caption = count(len(table), "candidate") + ", the best first"
    caption += f"; accuracies are means ± standard deviations over {n_seeds} seeds" if several else ""
    if compared and several:
        caption += "; behind the best: means over the seeds in pairs ± 95 % margins"
    caption += "; – where every network diverged" if noted else ""
    sentences = report.certainty_in_words(table, found.results.samples.get("validation"))
    if compared and several and len(table) > 2:
        sentences.append(
            f"A margin is of one comparison, but the best was picked among {len(table)}, and so partly for "
            "its luck: where it matters, train the first few again from other seeds."
        )
    return {"columns": columns, "rows": rows, "caption": caption, "certainty": " ".join(sentences)}


def _key(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _divergence(found: Found, row: Mapping[str, Any]) -> str:
    if not row.get("diverged"):
        return ""
    n_seeds = row.get("n_seeds") or 1
    text = "diverged" if report.has_diverged(row) else f"{row['diverged']} of {n_seeds} seeds diverged"
    return f"{text} {report.steps_of_divergence(row, found.results.runs)}".rstrip()


def course(found: Found) -> str:
    """Say whose course the curves are; nothing where it is the one network's."""
    if found.sweeps:
        return f"That of the best network{_of_seed(found)}."
    if found.results.members:
        alive = [member for member in found.results.members if not member.get("diverged")]
        which = f"{len(alive)} networks that did not diverge" if _lost(found) else f"{len(alive)} networks"
        return f"The means over the {which}." if alive else ""
    return ""


def missing(found: Found) -> dict[str, str]:
    """Say why parts of the page are not there, by their names; nothing of those that are."""
    results = found.results
    reasons = dict.fromkeys(("curves", "test", "confusion", "predictions", "weights"), "")
    if found.history is None:
        reasons["curves"] = (
            "No network was kept, so there is no history of one."
            if _no_winner(found)
            else f"The folder holds no {folders.HISTORY}."
        )
    elif not found.history.loss.size:
        reasons["curves"] = "It ended before its first step."
    if results.test is None:
        if results.diverged is not None or _no_winner(found):
            reasons["test"] = "No network was kept, so none was tested."
        elif results.samples.get("test") == 0:
            reasons["test"] = "The data have no test samples."
        else:
            reasons["test"] = f"{folders.RESULTS} contains no test."
        reasons["predictions"] = reasons["test"]
    elif not results.classes:
        reasons["test"] = f"{folders.RESULTS} does not name the classes."
        reasons["predictions"] = reasons["test"]
    elif len(results.classes) > MOST_DRAWN:
        why = too_many(len(results.classes))
        reasons["confusion"] = f"There is no picture of the confusion matrix: {why}."
    if results.test is not None and results.classes and found.predictions is None:
        reasons["predictions"] = (
            f"The folder holds no {folders.PREDICTIONS}: an earlier version did not write it, or not all "
            "probabilities are finite."
        )
    if found.net is None:
        reasons["weights"] = "No network was kept."
    elif found.image_shape is None:
        reasons["weights"] = "The samples are not images, so neither are the weights."
    return reasons


def environment(found: Found) -> list[dict[str, str]]:
    """Give where it ran and how long it took."""
    rows = [{"label": name, "value": version} for name, version in found.results.versions.items()]
    seconds = found.results.seconds
    if seconds is not None:
        text = f"{seconds:.2f}" if seconds < 10 else f"{seconds:,.0f}"
        rows.append({"label": "training took", "value": f"{text} s"})
    return rows


def files(found: Found, *, linked: bool) -> list[dict[str, Any]]:
    """Give the files in the folder, the page itself left out."""
    rows = []
    for name in folders.written_in(found.folder):
        if name == folders.PAGE:
            continue
        path = found.folder / name
        holds = _HOLDS.get(name, "a picture")
        rows.append({"name": name, "linked": linked, "holds": holds, "size": _size(path.stat().st_size)})
    return rows


def _size(n_bytes: int) -> str:
    if n_bytes < 1000:
        return f"{n_bytes} B"
    for unit in ("kB", "MB"):
        n_bytes /= 1000  # type: ignore[assignment]
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
    return f"{n_bytes / 1000:,.3g} GB"
