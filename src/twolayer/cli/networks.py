"""``twolayer evaluate``, ``predict`` and ``export``: what is done with a saved network."""

from __future__ import annotations

import csv
import io
import math
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .. import onnx, report, storage
from .._checks import check_predictions, shown
from .._files import npz_header, opened_npz, written_whole
from .._namespace import HostArray, to_host
from .._texts import printable
from ..datasets import Dataset, Split, load_npz
from ..datasets.npz import load_labelled
from ..network import TwoLayerNet, probabilities
from ..storage import NetworkMetadata
from . import run_folder
from .console import Console
from .data import COUNTS, check_place, check_splits, file_stem, fingerprint, kind_of, load_data, raw_on
from .evaluation import evaluate
from .images import STANDARD_INPUT, found_at, is_image
from .inputs import ARRAYS, samples_for
from .libraries import Library, open_library
from .outputs import check_output
from .run_files import read_toml

_MOST_SHOWN = 20
_OUTPUTS = (".csv", ".json", ".npz")


def evaluate_network(
    network: str,
    dataset: str | None,
    data: str | None,
    url: str | None,
    *,
    split: str | None,
    library: str,
    device: str | None,
    console: Console,
) -> None:
    """Show how many of some samples a saved network gets right."""
    net, metadata, opened = _open(network, library, device)
    trained_on = metadata.information.get("dataset")
    if trained_on is not None and not isinstance(trained_on, str):
        raise ValueError(f"`dataset` in the information of {network} must be text; got {shown(trained_on)}")
    name = dataset or trained_on
    if name is None:
        raise ValueError(f"`DATASET` must be given: {network} does not say what it was trained on")
    if dataset is None and name not in ("digits", "cifar10"):
        raise ValueError(f"`DATASET` must be given: the network was trained on {name}, a file of its user's")
    if kind_of(name) == "npz":
        check_place(name, data, url)
        _check_file(Path(name), metadata)
        split = split or _usual_split(name, metadata, console)
        classes, samples = _class_names(metadata), _samples_of_file(name, split, metadata, net)
    else:
        # The same parts as in training, so that no training sample is taken for another.
        counts = {key: metadata.information[key] for key in COUNTS if key in metadata.information}
        found = load_data(name, data, url, counts if name == trained_on else {}, console)
        _check_fit(metadata, found)
        split, classes = split or "test", found.classes
        samples = _samples_of(found, split)
    result = evaluate(net, samples, opened)
    places = [f"{row} (counted from 0) of --split {split}" for row in range(len(samples.y))]
    check_predictions(result.probabilities, name="DATASET", samples=places)
    summary = result.confusion.summary(classes)
    console.table(
        ("class", "samples", "precision", "recall", "F1"),
        [
            (
                row["class"],
                f"{row['support']:,}",
                *(report.format_accuracy(row[key]) for key in ("precision", "recall", "f1")),
            )
            for row in summary
        ],
        title=f"{file_stem(name)}: {_count(len(samples.y), split)}",
        left=("class",),
    )
    console.result(f"accuracy {result.accuracy:.4f}, loss {result.loss:.4f} (mean cross-entropy)")
    console.answer(
        {
            "network": network,
            "dataset": name,
            "split": split,
            "classes": classes,
            "by_class": summary,
            **result.as_data(),
        }
    )


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
) -> None:
    """Show, or write to a file, which classes a saved network takes samples for."""
    if output is not None:
        read = [Path(network), *(path for name in inputs for path in found_at(name))]
        if STANDARD_INPUT in read:
            read.append(Path("/dev/stdin"))
        check_output("--output", Path(output), _OUTPUTS, overwrite=overwrite, inputs=read)
    net, metadata, opened = _open(network, library, device)
    names, blocks = samples_for(inputs, net, metadata, console, invert=invert, resize=resize)
    probs = np.concatenate([to_host(probabilities(net, raw_on(X, opened))) for X in blocks])
    check_predictions(probs, name="INPUT", samples=names)
    classes = _class_names(metadata)
    order = np.argsort(-probs, axis=1, kind="stable")[:, : min(top, net.n_classes)]
    if output is not None:
        _write(Path(output), names, probs, classes)
    n_shown = min(len(names), _MOST_SHOWN)
    console.table(
        ("sample", "class", "probability"),
        [
            (names[i] if place == 0 else "", classes[k], f"{probs[i, k]:.4f}")
            for i in range(n_shown)
            for place, k in enumerate(order[i])
        ],
        left=("sample", "class"),
    )
    if n_shown < len(names):
        where = "" if output else "; --output FILE writes all"
        console.say(f"and {len(names) - n_shown:,} more{where}")
    if output is not None:
        console.say(f"In {output}: the probabilities of {len(names):,} samples")
    if console.wants_answer:
        found = _as_data(names, probs, classes)
        for row, places in zip(found["predictions"], order, strict=True):
            row["top"] = [{"class": classes[k], "probability": row["probabilities"][k]} for k in places]
        console.answer({"network": network, "output": output, **found})


def export_network(
    network: str,
    *,
    out: str | None,
    overwrite: bool,
    input_dtype: str | None,
    flat: bool,
    console: Console,
) -> None:
    """Write a saved network as an ONNX model, beside it where no other place is named."""
    path, metadata = _found(network)
    target = path.with_suffix(".onnx") if out is None else Path(out)
    check_output("--out", target, (".onnx",), overwrite=overwrite, inputs=[path])
    image_shape = None if flat else metadata.image_shape
    net = storage.load(path)
    with run_folder.locked_if_run(target.parent):
        onnx.export(net, target, classes=metadata.classes, image_shape=image_shape, input_dtype=input_dtype)
    shape = ", ".join(str(size) for size in ("N", *(image_shape or (metadata.n_features,))))
    console.say(f"It takes X ({shape}) in {input_dtype or net.W1.dtype.name}; ONNX operator set {onnx.OPSET}")
    if metadata.classes is not None:
        console.say("The names of the classes are in its metadata, `classes`, as JSON")
    console.result(str(target))
    console.answer(
        {
            "network": network,
            "model": target,
            "input": {
                "dtype": input_dtype or net.W1.dtype.name,
                "shape": [None, *(image_shape or (metadata.n_features,))],
            },
            "opset": onnx.OPSET,
        }
    )


def _open(network: str, library: str, device: str | None) -> tuple[TwoLayerNet, NetworkMetadata, Library]:
    """Load a network from its file, or from the folder of a run."""
    path, metadata = _found(network)
    dtype = storage.load(path).W1.dtype.name
    opened = open_library(library, device, dtype)
    return storage.load(path, opened.xp, opened.device), metadata, opened


def _found(network: str) -> tuple[Path, NetworkMetadata]:
    """Return the file of one network, given itself or the folder of a run, and what it says."""
    path = Path(network)
    check_is_no_input(network)
    if path.is_dir():
        folder, path = path, path / run_folder.NETWORK
        if not path.is_file():
            raise FileNotFoundError(
                f"{network} must be the folder of a run; it holds no {run_folder.NETWORK}"
                + _unfinished(folder)
            )
    metadata = storage.load_metadata(path)
    if metadata.n_networks is not None:
        raise ValueError(f"{path} must hold one network; it holds a stack of {metadata.n_networks}")
    return path, metadata


def check_is_no_input(network: str) -> None:
    """Raise if what is to be a network has the name of a file with samples: of arguments exchanged."""
    path = Path(network)
    if not path.is_dir() and (path.suffix.lower() in ARRAYS or is_image(path)):
        raise ValueError(
            f"`NETWORK`, which comes first, must be a .safetensors file or the folder of a run; got {network}"
        )


def _unfinished(folder: Path) -> str:
    """Say how a training that was killed goes on."""
    settings = folder / run_folder.SETTINGS
    if not settings.is_file() or (folder / run_folder.RESULTS).is_file():
        return ""
    if read_toml(settings).get("command") != "train":
        return ""
    return f"; its training was not finished: `twolayer train --resume {shlex.quote(str(folder))}` goes on"


def _class_names(metadata: NetworkMetadata) -> tuple[str, ...]:
    return metadata.classes or tuple(str(label) for label in range(metadata.n_classes))


def _usual_split(path: str, metadata: NetworkMetadata, console: Console) -> str:
    """Return which samples of a file judge a network: all, but where it was trained on others of them."""
    settings = metadata.information.get("settings")
    known = settings.get("data_sha256") if isinstance(settings, dict) else None
    if known is not None:
        # Nothing was trained on a file that `load_npz` refuses.
        with suppress(ValueError, TypeError):
            if fingerprint(load_npz(path)) == known:
                return "test"
    console.say(f"{path} is not known as the data of the training: all of its samples are judged")
    return "all"


def _samples_of_file(path: str, split: str, metadata: NetworkMetadata, net: TwoLayerNet) -> Split:
    """Return samples of an .npz file, their labels as places among the network's classes."""
    held = load_labelled(path, _class_names(metadata))
    rows: dict[str, HostArray] = {}
    if split != "all" and (split == "train" or split not in held):
        rows = {split: (load_npz(path).rows or {})[split]}
        held = {split: Split(*(array[rows[split]] for array in held["train"]))}
    elif split != "all":
        held = {split: held[split]}
    check_splits(held, rows, path, net.W1.dtype)
    return _joined(list(held.values()))


def _check_file(path: Path, metadata: NetworkMetadata) -> None:
    """Raise unless the samples of an .npz file fit the network. Call it before they are read."""
    with opened_npz(path) as stored:
        for key in stored:
            shape = npz_header(stored, key, path)[0] if key.startswith("X") else ()
            if len(shape) > 1:
                _check_features(metadata, math.prod(shape[1:]), path.stem)


def _samples_of(dataset: Dataset, split: str) -> Split:
    """Return the samples of a data set that a network is judged by."""
    if split == "all":
        parts = (dataset.train, dataset.validation, dataset.test)
        return _joined([part for part in parts if part is not None])
    samples: Split | None = getattr(dataset, split)
    if samples is None:
        raise ValueError(f"`--split` must be one that {dataset.name} has; it has no {split} samples")
    return samples


def _joined(parts: list[Split]) -> Split:
    return parts[0] if len(parts) == 1 else Split(*map(np.concatenate, zip(*parts, strict=True)))


def _count(n_samples: int, split: str) -> str:
    return f"all {n_samples:,} samples" if split == "all" else f"{n_samples:,} {split} samples"


def _check_features(metadata: NetworkMetadata, n_features: int, name: str) -> None:
    if metadata.n_features != n_features:
        raise ValueError(
            f"the network takes samples of {metadata.n_features} features; those of {name} have {n_features}"
        )


def _check_fit(metadata: NetworkMetadata, dataset: Dataset) -> None:
    """Raise unless a network is one for the samples and the classes of a data set."""
    _check_features(metadata, dataset.n_features, dataset.name)
    if metadata.n_classes != dataset.n_classes:
        raise ValueError(
            f"the network tells {metadata.n_classes} classes apart; {dataset.name} has {dataset.n_classes}"
        )
    for own, other in zip(metadata.classes or dataset.classes, dataset.classes, strict=True):
        if own != other:
            raise ValueError(
                f"the network's classes must be those of {dataset.name}, in the same order; "
                f"it has {own!r} where {dataset.name} has {other!r}"
            )


def _as_data(names: list[str], probs: HostArray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the predicted class and all probabilities of each sample."""
    rows: list[dict[str, Any]] = [
        {"sample": name, "class": classes[label], "probability": row[label], "probabilities": row}
        for name, label, row in zip(names, probs.argmax(axis=1), probs, strict=True)
    ]
    return {"classes": classes, "predictions": rows}


def _write(path: Path, names: list[str], probs: HostArray, classes: tuple[str, ...]) -> None:
    """Write the predicted class and all probabilities of each sample."""
    if path.suffix.lower() == ".npz":
        arrays = {
            "sample": np.array(names),
            "predicted": probs.argmax(axis=1),
            "probabilities": probs,
            "classes": np.array(classes),
        }
        with written_whole(path) as file:
            np.savez(file, **arrays)
        return
    found = _as_data(names, probs, classes)
    if path.suffix.lower() == ".json":
        report.write_json(path, found)
        return
    # `report.write_csv` does not fit here: a class may have the name of another column.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "class", "probability", *map(printable, classes)])
    for row in found["predictions"]:
        name, label, probability, *_ = row.values()
        texts = printable(name), printable(label)
        writer.writerow([*texts, float(probability), *map(float, row["probabilities"])])
    with written_whole(path) as file:
        file.write(text.getvalue().encode())
