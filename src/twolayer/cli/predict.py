"""``twolayer predict``: the classes of samples, by a saved network."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .._files import written_whole
from .._namespace import HostArray, to_host
from .._optional import require
from .._records import is_plain
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
_OUTPUTS = (".csv", ".json", ".npz", ".parquet")


def predict_with_network(
    network: str,
    inputs: tuple[str, ...],
    *,
    top: int,
    output: str | None,
    id_columns: tuple[str, ...] | None,
    overwrite: bool,
    invert: bool,
    resize: bool,
    library: str,
    device: str | None,
    console: Console,
) -> Callable[[], dict[str, Any]]:
    """Show the classes that a saved network predicts, and write them to a file.

    Return a function that returns the data for --json.
    """
    if output is not None:
        read = [Path(network), *(path for name in inputs for path in found_at(name, resize=resize))]
        if STANDARD_INPUT in read:  # it may be a file that --output names too
            read.append(Path("/dev/stdin"))
        check_output("--output", Path(output), _OUTPUTS, overwrite=overwrite, inputs=read)
    saved = open_network(network, library, device)
    net, classes = saved.net, saved.classes
    samples = samples_for(inputs, saved, console, id_columns=id_columns or (), invert=invert, resize=resize)
    names, ids = samples.names, samples.ids
    probs = np.concatenate(
        [to_host(probabilities(net, saved.library.put_samples(X))) for X in samples.blocks]
    )
    check_predictions(probs, name="INPUT", samples=names)
    # Stable, so that the first of equally probable classes comes first, as with argmax.
    order = np.argsort(-probs, axis=1, kind="stable")[:, :top]
    if output is not None:
        _write(Path(output), names, ids, probs, classes)
    labels = zip(names, *([*map(str, column)] for column in ids.values()), strict=True)
    console.table(
        ("sample", *ids, "class", "probability of class"),
        [
            (*(label if place == 0 else [""] * len(label)), classes[k], f"{row[k]:.4f}")
            for label, row, places in zip(islice(labels, _MOST_SHOWN), probs, order, strict=False)
            for place, k in enumerate(places)
        ],
        left=("sample", *ids, "class"),
    )
    if len(names) > _MOST_SHOWN:
        where = "" if output else "; --output FILE writes all"
        console.result(f"and {len(names) - _MOST_SHOWN:,} more{where}")
    if output is not None:
        console.say(f"In {output}: the probabilities of {len(names):,} samples")

    def data() -> dict[str, Any]:
        found = _as_data(names, ids, probs, classes)
        for row, places in zip(found["predictions"], order, strict=True):
            row["top"] = [{"class": classes[k], "probability": row["probabilities"][k]} for k in places]
        return {"network": network, "output": output, **found}

    return data


def _as_data(
    names: list[str], ids: Mapping[str, list[Any]], probs: HostArray, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the predicted class and all probabilities of each sample."""
    rows: list[dict[str, Any]] = [
        {"sample": name, "class": classes[label], "probability": row[label], "probabilities": row}
        for name, label, row in zip(names, probs.argmax(axis=1), probs, strict=True)
    ]
    for i, row in enumerate(rows if ids else ()):
        own = {name: column[i] for name, column in ids.items()}
        row["ids"] = {name: value if is_plain(value) else str(value) for name, value in own.items()}
    return {"classes": classes, "predictions": rows}


def _write(
    path: Path, names: list[str], ids: Mapping[str, list[Any]], probs: HostArray, classes: tuple[str, ...]
) -> None:
    """Write the predicted class and all probabilities of each sample."""
    suffix, labels = path.suffix.lower(), probs.argmax(axis=1)
    if suffix == ".json":
        write_json(path, _as_data(names, ids, probs, classes))
        return
    # Pairs instead of a dict, because a class may have the name of another column.
    columns: list[tuple[str, Any]] = [
        ("sample", [*map(printable, names)]),
        *ids.items(),
        ("class", [printable(classes[label]) for label in labels]),
        ("probability", probs.max(axis=1).tolist()),
        *((printable(name), probs[:, k].tolist()) for k, name in enumerate(classes)),
    ]
    with written_whole(path) as file:
        if suffix == ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([name for name, _ in columns])
            writer.writerows(zip(*(values for _, values in columns), strict=True))
            file.write(text.getvalue().encode())
        elif suffix == ".parquet":
            polars = require("polars", extra="tables", purpose="writing Parquet")
            if len(dict(columns)) < len(columns):
                raise ValueError(
                    "`--output` must not be a .parquet file if a class has the name of another column"
                )
            polars.DataFrame(dict(columns)).write_parquet(file)
        else:
            texts = [["" if value is None else str(value) for value in column] for column in ids.values()]
            more: dict[str, Any] = {"id_columns": [*ids], "ids": np.array(texts).T} if ids else {}
            np.savez(file, sample=names, predicted=labels, probabilities=probs, classes=classes, **more)
