"""Tables of the page: candidates, classes, confusions, columns, misclassified samples, files."""

from __future__ import annotations

import base64
import io
import itertools
from typing import Any

import numpy as np

from ..._namespace import HostArray
from ..._optional import require
from ...report.certainty import certainty_in_words, verdict_in_words
from ...report.formatting import count, format_accuracy, format_percent
from ...report.metrics import most_wrong
from ...report.tables import legend, ranked, sweep_columns
from .. import run_folder
from ..read_run import MOST_IMAGES
from ..stored_run import StoredRun

MOST_CLASSES = 20  # with more, the confusions are not a table
_MOST_PAIRS = 8
_MOST_COLUMNS = 30
_SHADES = 5


Cell = tuple[str, str]  # the text, and the key by which it is sorted


def cell(text: str, value: Any) -> Cell:
    """Return a cell that is sorted by a value; None and nan have an empty key."""
    return text, "" if value is None or value != value else str(value)


def candidates(run: StoredRun) -> dict[str, Any] | None:
    """Return the verdict of a sweep, and its table: headings, rows, a caption, and its certainty."""
    results, table = run.results, ranked(run.results.table)
    if not table:
        return None
    columns = sweep_columns(table, results.runs, run.monitor)
    cells = [map(cell, column.texts, column.values) for column in columns]
    rows = [
        {"rank": rank, "best": row is run.winner, "cells": own}
        for rank, (row, *own) in enumerate(zip(table, *cells, strict=True), start=1)
    ]
    # Sweeps of earlier versions stored no verdict.
    verdict = results.verdict or " ".join(verdict_in_words(table, run.monitor, complete=results.complete))
    return {
        "verdict": verdict,
        "next": results.next,
        "columns": columns[:-1],  # without the notes, whose heading is in the template
        "rows": rows,
        "caption": "; ".join((f"{count(len(table), 'candidate')}, the best first", *legend(table))),
        "certainty": " ".join(certainty_in_words(table, results.samples.get("validation"), run.monitor)),
    }


def classes(run: StoredRun) -> list[tuple[str, list[Cell]]]:
    """Return the name of each class, and its precision, recall, F1 and number of samples."""
    if run.results.test is None:
        return []
    rows = []
    for row in run.results.test.confusion.summary(run.results.classes):
        ratios = [row[name] for name in ("precision", "recall", "f1")]
        cells = [cell(format_accuracy(ratio), ratio) for ratio in ratios]
        rows.append((row["class"], [*cells, cell(f"{row['support']:,}", row["support"])]))
    return rows


def confusion(run: StoredRun) -> list[dict[str, Any]]:
    """Return the rows of the confusion matrix, with counts, and shades by their shares of the row."""
    test, names = run.results.test, run.results.classes
    if test is None or len(names) > MOST_CLASSES:
        return []
    matrix = test.confusion.matrix()
    shades = np.ceil(matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True)) * _SHADES).astype(int)
    rows = []
    for i, (name, counts, own) in enumerate(zip(names, matrix.tolist(), shades.tolist(), strict=True)):
        cells = enumerate(zip(counts, own, strict=True))
        parts = [{"count": f"{n:,}", "shade": shade, "right": i == j} for j, (n, shade) in cells]
        rows.append({"name": name, "cells": parts})
    return rows


def pairs(run: StoredRun) -> list[dict[str, str]]:
    """Return the most frequent confusions of two classes, the most frequent first."""
    if run.results.test is None:
        return []
    counts, names = run.results.test.confusion, run.results.classes
    wrong, totals = counts.wrong(), counts.support
    cells = zip(wrong.true.tolist(), wrong.predicted.tolist(), wrong.counts.tolist(), strict=True)
    return [
        {"true": names[i], "predicted": names[j], "count": f"{n:,}", "share": format_percent(n / totals[i])}
        for i, j, n in itertools.islice(cells, _MOST_PAIRS)
    ]


def columns(run: StoredRun) -> list[tuple[str, list[Cell]]]:
    """Return the most important columns of a table: kind, features, and the accuracy lost without each."""
    return [
        (
            row["column"],
            [
                cell(row["kind"], row["kind"]),
                cell(str(row["features"]), row["features"]),
                *(cell(format_accuracy(row[name]), row[name]) for name in ("lost", "spread")),
            ],
        )
        for row in run.results.columns[:_MOST_COLUMNS]
    ]


def mistakes(run: StoredRun) -> dict[str, Any] | None:
    """Return the misclassified samples, the worst first, with any images; None without predictions."""
    predictions, names = run.predictions, run.results.classes
    if predictions is None:
        return None
    y, probs, numbers = predictions.y, predictions.probabilities, predictions.rows_in_file
    noun, column = "row", f"row of {run.dataset}"
    order = f"rows of X in {run.dataset}"
    if run.results.columns:  # a table, whose first line has the names of the columns
        order = f"rows in {run.dataset}; in a CSV file with one line for each row, row N is line N + 2"
    if numbers is None:
        numbers = np.arange(len(y))
        noun, column, order = "sample", "test sample", "order among the test samples"
    guesses, wrong, images = probs.argmax(axis=1), most_wrong(y, probs).tolist(), _images(run)
    items = [
        {
            "row": numbers[row],
            "place": f"{noun.capitalize()} {numbers[row]}",
            "true": names[y[row]],
            "predicted": names[guesses[row]],
            "probability": f"{probs[row, guesses[row]]:.3f}",
            "of_true": f"{probs[row, y[row]]:.2g}",
            "image": images.get(row),
            "ids": [] if predictions.ids is None else predictions.ids[row].tolist(),
        }
        for row in ([row for row in images if guesses[row] != y[row]] if images else wrong[:MOST_IMAGES])
    ]
    sentence = f"{len(wrong):,} of {len(y):,} test samples are wrong"
    if items:
        which = "all of them are shown"
        if len(items) < len(wrong):
            which = f"the {len(items)} with the lowest probability of their true class are shown"
        sentence += (
            f"; {which}, the worst first: true → predicted, with the probability of the predicted class"
        )
        if not images or predictions.ids is None:  # the ids of images are the names of their files
            sentence += f". They are numbered from 0, as in NumPy, by their {order}"
    height = None
    if images and predictions.images is not None:
        height = round(96 * predictions.images.shape[1] / predictions.images.shape[2])
    return {
        "shown": items,
        "sentence": f"{sentence}.",
        "noun": noun,
        "column": column,
        "id_columns": predictions.id_columns,
        "height": height,
    }


def _images(run: StoredRun) -> dict[int, str]:
    """Return images of test samples as data: URIs, by their rows; black is 0."""
    predictions = run.predictions
    if predictions is None or predictions.images is None or predictions.rows is None:
        return {}
    images = predictions.images.astype(np.float64)
    white = None if run.metadata is None else run.metadata.information.get("white")
    low, high = images.min(initial=0), images.max(initial=0)
    if isinstance(white, int | float) and 0 < white < 2**64:
        low, high = 0.0, float(white)
    shares = np.clip((images - low) / ((high - low) or 1.0), 0, 1)
    shades = np.rint(255 * shares).astype(np.uint8)
    return dict(zip(predictions.rows.tolist(), map(_png, shades), strict=True))


def _png(image: HostArray) -> str:
    """Return a PNG image as a data: URI."""
    pillow = require("PIL.Image", extra="cli", purpose="A report")
    stream = io.BytesIO()
    pillow.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).save(stream, format="png")
    return data_uri("image/png", stream.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Return a file's content as a data: URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def files(run: StoredRun) -> list[tuple[str, str, str]]:
    """Return the name, the content and the size of each file in the folder, except the page."""
    return [
        (name, run_folder.FILES.get(name, "a picture"), _size((run.folder / name).stat().st_size))
        for name in run_folder.written_in(run.folder)
        if name != run_folder.PAGE
    ]


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} GB"
