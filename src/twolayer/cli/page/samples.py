"""The page's account of the test samples: classes, confusions, calibration, and the worst mistakes."""

from __future__ import annotations

import base64
import io
import itertools
from typing import Any

import numpy as np

from ... import report
from ..._extras import require
from ..._namespace import HostArray
from ..stored import MOST_IMAGES
from .found import Found

MOST_CLASSES = 20  # whose confusions are a table
_MOST_PAIRS = 8
_SHADES = 5


def classes(found: Found) -> list[dict[str, Any]]:
    """Give each class's precision, recall, F1 and samples."""
    test = found.results.test
    if test is None:
        return []
    return [
        {
            "name": row["class"],
            "support": f"{row['support']:,}",
            "numbers": [_key(row[key]) for key in ("precision", "recall", "f1")],
            "texts": [report.format_accuracy(row[key]) for key in ("precision", "recall", "f1")],
        }
        for row in test.confusion.summary(found.results.classes)
    ]


def _key(value: float) -> str:
    return repr(value) if report.is_finite(value) else ""


def confusion(found: Found) -> list[dict[str, Any]]:
    """Give the rows of the confusion matrix: counts, and a shade for each by its share of the row."""
    test = found.results.test
    if test is None or len(found.results.classes) > MOST_CLASSES:
        return []
    rows = []
    for i, (name, counts) in enumerate(zip(found.results.classes, test.confusion.matrix(), strict=True)):
        shares = counts / max(1, int(counts.sum()))
        cells = [
            {"count": f"{int(n):,}", "shade": int(np.ceil(share * _SHADES)), "right": i == j}
            for j, (n, share) in enumerate(zip(counts, shares, strict=True))
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def pairs(found: Found) -> list[dict[str, str]]:
    """Give the most frequent confusions of two classes, the most frequent first."""
    test = found.results.test
    if test is None:
        return []
    wrong, totals, names = test.confusion.wrong(), test.confusion.support, found.results.classes
    cells = zip(wrong.true.tolist(), wrong.predicted.tolist(), wrong.counts.tolist(), strict=True)
    return [
        {
            "true": names[i],
            "predicted": names[j],
            "count": f"{n:,}",
            "share": f"{n / totals[i]:.1%}",
        }
        for i, j, n in itertools.islice(cells, _MOST_PAIRS)
    ]


def mistakes(found: Found) -> dict[str, Any] | None:
    """Give the samples that are most wrong, with their images where there are any; None where not known."""
    predictions = found.predictions
    if predictions is None:
        return None
    y, probs, names = predictions.y, predictions.probabilities, found.results.classes
    order = report.most_wrong(y, probs)
    images = {}
    if predictions.images is not None and predictions.rows is not None:
        shades = _shades(predictions.images, _white(found))
        images = {int(row): _png(image) for row, image in zip(predictions.rows, shades, strict=True)}
        chosen = [row for row in map(int, predictions.rows) if probs[row].argmax() != y[row]]
    else:
        chosen = [int(row) for row in order[:MOST_IMAGES]]
    in_file = predictions.rows_in_file
    items = []
    for row in chosen:
        guess = int(probs[row].argmax())
        items.append(
            {
                "row": str(row if in_file is None else in_file[row]),
                "place": f"Test sample {row}"
                if in_file is None
                else f"Row {in_file[row]} of {found.dataset}",
                "true": names[y[row]],
                "predicted": names[guess],
                "probability": f"{probs[row, guess]:.3f}",
                "of_true": f"{probs[row, y[row]]:.2g}",
                "image": images.get(row),
            }
        )
    sentence = f"{len(order):,} of {len(y):,} test samples are wrong"
    if items:
        which = "all of them are here"
        if len(items) < len(order):
            which = f"here are the {len(items)} whose true class got the least probability"
        sentence += f"; {which}, the most wrong first: true → predicted, with the probability of the latter"
        whose = "order among the test samples" if in_file is None else f"rows of X in {found.dataset}"
        sentence += f". They are numbered from 0, as in NumPy, by their {whose}"
    shape = () if predictions.images is None else predictions.images.shape[1:3]
    return {
        "shown": items,
        "sentence": sentence + ".",
        "images": bool(images),
        "noun": "sample" if in_file is None else "row",
        "column": "test sample" if in_file is None else f"row of {found.dataset}",
        "height": round(96 * shape[0] / shape[1]) if shape else None,
    }


def _white(found: Found) -> float | None:
    """Return which value of a pixel is white; None where that is not known."""
    white = None if found.metadata is None else found.metadata.information.get("white")
    return float(white) if isinstance(white, int | float) and 0 < white < 2**64 else None


def _shades(images: HostArray, white: float | None) -> HostArray:
    """Give the images as bytes: from black, 0, to white where that is known, else by what is in them."""
    values = images.astype(np.float64)
    low, high = (0.0, white) if white is not None else (values.min(initial=0), values.max(initial=0))
    scaled = (values - low) / ((high - low) or 1.0)
    return np.asarray(np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8))


def _png(image: HostArray) -> str:
    """Give an image as a data: URI."""
    pillow = require("PIL.Image", extra="cli", purpose="A report")
    if image.shape[2:] == (1,):
        image = image[..., 0]
    stream = io.BytesIO()
    pillow.fromarray(image).save(stream, format="png")
    return data_uri("image/png", stream.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Give a file's content as a data: URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
