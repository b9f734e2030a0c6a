"""``twolayer predict``: the classes of samples, by a saved network."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .._files import written_whole
from .._namespace import HostArray, to_host
from .._texts import printable
from .._validation import check_predictions
from ..network import probabilities
from ..report.files import write_json
from .console import Console
from .images import STANDARD_INPUT, found_at
from .inputs import samples_for
from .outputs import check_output
from .saved_network import open_network

_MOST_SHOWN = 20
_OUTPUTS = (".csv", ".json", ".npz")


def predict_with_network(
    network: str,
    inputs: tuple[str, ...],
    *,
    top: int,
    output: str | None,
    overwrite: bool,
    invert: bool,
    resize: bool,
    library: str,
    device: str | None,
    console: Console,
) -> Callable[[], dict[str, Any]]:
    """Show the classes that a saved network predicts, and write them to a file; return their maker."""
    if output is not None:
        read = [Path(network), *(path for name in inputs for path in found_at(name))]
        if STANDARD_INPUT in read:
            read.append(Path("/dev/stdin"))
        check_output("--output", Path(output), _OUTPUTS, overwrite=overwrite, inputs=read)
    saved = open_network(network, library, device)
    net, classes = saved.net, saved.classes
    names, blocks = samples_for(inputs, net, saved.metadata, console, invert=invert, resize=resize)
    probs = np.concatenate([to_host(probabilities(net, saved.library.put_samples(X))) for X in blocks])
    check_predictions(probs, name="INPUT", samples=names)
    order = np.argsort(-probs, axis=1, kind="stable")[:, :top]
    if output is not None:
        _write(Path(output), names, probs, classes)
    console.table(
        ("sample", "class", "probability"),
        [
            (name if place == 0 else "", classes[k], f"{row[k]:.4f}")
            for name, row, places in zip(names[:_MOST_SHOWN], probs, order, strict=False)
            for place, k in enumerate(places)
        ],
        left=("sample", "class"),
    )
    if len(names) > _MOST_SHOWN:
        where = "" if output else "; --output FILE writes all"
        console.say(f"and {len(names) - _MOST_SHOWN:,} more{where}")
    if output is not None:
        console.say(f"In {output}: the probabilities of {len(names):,} samples")

    def data() -> dict[str, Any]:
        found = _as_data(names, probs, classes)
        for row, places in zip(found["predictions"], order, strict=True):
            row["top"] = [{"class": classes[k], "probability": row["probabilities"][k]} for k in places]
        return {"network": network, "output": output, **found}

    return data


def _as_data(names: list[str], probs: HostArray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the predicted class and all probabilities of each sample."""
    rows: list[dict[str, Any]] = [
        {"sample": name, "class": classes[label], "probability": row[label], "probabilities": row}
        for name, label, row in zip(names, probs.argmax(axis=1), probs, strict=True)
    ]
    return {"classes": classes, "predictions": rows}


def _write(path: Path, names: list[str], probs: HostArray, classes: tuple[str, ...]) -> None:
    """Write the predicted class and all probabilities of each sample."""
    suffix, labels = path.suffix.lower(), probs.argmax(axis=1)
    if suffix == ".json":
        write_json(path, _as_data(names, probs, classes))
        return
    # `report.write_csv` does not fit here: a class may have the name of another column.
    text = io.StringIO()
    if suffix == ".csv":
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["sample", "class", "probability", *map(printable, classes)])
        for name, label, row in zip(names, labels, probs.tolist(), strict=True):
            writer.writerow([printable(name), printable(classes[label]), row[label], *row])
    with written_whole(path) as file:
        if suffix == ".csv":
            file.write(text.getvalue().encode())
        else:
            np.savez(file, sample=names, predicted=labels, probabilities=probs, classes=classes)
