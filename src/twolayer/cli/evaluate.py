"""``twolayer evaluate``: the accuracy of a saved network on samples whose classes are known."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._files import opened_npz
from .._namespace import HostArray, dtype_name, to_host
from .._validation import check_predictions, row_blocks, shown
from ..datasets import Dataset, Split, load_npz
from ..datasets.npz import load_labelled
from ..mathematics import cross_entropy, softmax, targets
from ..network import TwoLayerNet
from ..report.formatting import format_accuracy
from ..report.metrics import Confusion
from ..storage import NetworkMetadata
from .console import Console
from .data import check_place, check_splits, fingerprint, kind_of, load_data, splits_of
from .devices import Library
from .saved_network import SavedNetwork, open_network


class Evaluation(NamedTuple):
    """Results of a network for samples whose classes are known."""

    accuracy: float  # nan if a logit is
    loss: float  # mean cross-entropy, no penalty
    predicted: HostArray
    confusion: Confusion
    probabilities: HostArray  # (N, C) float32

    def as_data(self) -> dict[str, Any]:
        """Return it for results.json."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n_samples": len(self.predicted),
            "confusion": self.confusion.cells(),
        }


def evaluate(net: TwoLayerNet, split: Split, library: Library) -> Evaluation:
    """Evaluate a network on samples that are moved to its device block by block, in its dtype."""
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    xp = library.xp
    predicted, probabilities, loss, has_nan = [], [], 0.0, False
    for rows in row_blocks(len(split.y), max(math.prod(split.X.shape[1:]), net.n_hidden)):
        logits, y = net.logits(library.put_samples(split.X[rows])), library.put_labels(split.y[rows])
        has_nan |= bool(xp.isnan(xp.max(logits)))
        predicted.append(to_host(xp.argmax(logits, axis=-1)))
        Z, exp_Z, total = softmax(xp.matrix_transpose(logits)[None, :, :], xp=xp)
        probabilities.append(to_host((exp_Z / total)[0, :, :]).T.astype(np.float32))
        T, sums = targets(y, net.n_classes, dtype=logits.dtype, xp=xp)
        losses = cross_entropy(Z, total, T, sums, xp=xp)
        loss += float(np.sum(to_host(losses), dtype=np.float64))
    labels = np.concatenate(predicted).astype(np.int64)
    return Evaluation(
        accuracy=math.nan if has_nan else float(np.mean(labels == split.y)),
        loss=loss / len(labels),
        predicted=labels,
        confusion=Confusion.of_labels(split.y.astype(np.int64), labels, net.n_classes),
        probabilities=np.concatenate(probabilities),
    )


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
) -> dict[str, Any]:
    """Evaluate a saved network; show the results, and return them."""
    saved = open_network(network, library, device)
    information = saved.metadata.information
    trained_on = information.get("dataset")
    if trained_on is not None and not isinstance(trained_on, str):
        raise ValueError(f"`dataset` in the information of {network} must be text; got {shown(trained_on)}")
    name = dataset or trained_on
    if name is None:
        raise ValueError(f"`DATASET` must be given: {network} does not say what it was trained on")
    if dataset is None and name not in ("digits", "cifar10"):
        raise ValueError(f"`DATASET` must be given: the network was trained on {name}, a file of its user's")
    if kind_of(name) == "npz":
        check_place(name, data, url)
        _check_file(Path(name), saved.metadata)
        split = split or _usual_split(name, information, console)
        classes, held = saved.classes, _samples_of_file(name, split, saved)
    else:
        # The same parts as in training, so that no training sample is taken for another.
        found = load_data(name, data, url, information if name == trained_on else {}, console)
        _check_fit(saved.metadata, found)
        split, classes = split or "test", found.classes
        held = _chosen(splits_of(found), split)
        if not held:
            raise ValueError(f"`--split` must be one that {found.name} has; it has no {split} samples")
    parts = list(held.values())
    samples = parts[0] if len(parts) == 1 else Split(*map(np.concatenate, zip(*parts, strict=True)))
    result = evaluate(saved.net, samples, saved.library)
    n_samples = len(samples.y)
    places = [f"{row} (counted from 0) of --split {split}" for row in range(n_samples)]
    check_predictions(result.probabilities, name="DATASET", samples=places)
    summary = result.confusion.summary(classes)
    counted = f"all {n_samples:,} samples" if split == "all" else f"{n_samples:,} {split} samples"
    console.table(
        ("class", "samples", "precision", "recall", "F1"),
        [
            (
                row["class"],
                f"{row['support']:,}",
                *(format_accuracy(row[key]) for key in ("precision", "recall", "f1")),
            )
            for row in summary
        ],
        title=f"{Path(name).stem}: {counted}",
        left=("class",),
    )
    console.result(f"accuracy {result.accuracy:.4f}, loss {result.loss:.4f} (mean cross-entropy)")
    return {
        "network": network,
        "dataset": name,
        "split": split,
        "classes": classes,
        "by_class": summary,
        **result.as_data(),
    }


def _usual_split(path: str, information: dict[str, Any], console: Console) -> str:
    """Return which samples of a file evaluate a network: all, or test samples if it was trained on others."""
    settings = information.get("settings")
    known = settings.get("data_sha256") if isinstance(settings, dict) else None
    if known is not None:
        # Nothing was trained on a file that `load_npz` refuses.
        with suppress(ValueError, TypeError):
            if fingerprint(load_npz(path)) == known:
                return "test"
    console.say(f"{path} is not known as the data of the training: all of its samples are judged")
    return "all"


def _samples_of_file(path: str, split: str, saved: SavedNetwork) -> dict[str, Split]:
    """Return splits of an .npz file, their labels as places among the network's classes."""
    held = load_labelled(path, saved.classes)
    rows: dict[str, HostArray] = {}
    if split == "train" or split not in (*held, "all"):
        rows = {split: (load_npz(path).rows or {})[split]}
        held[split] = Split(*(array[rows[split]] for array in held["train"]))
    held = _chosen(held, split)
    check_splits(held, rows, path, saved.net.W1.dtype)
    return held


def _chosen(held: dict[str, Split], split: str) -> dict[str, Split]:
    return held if split == "all" else {name: part for name, part in held.items() if name == split}


def _check_file(path: Path, metadata: NetworkMetadata) -> None:
    """Raise unless the samples of an .npz file fit the network. Call it before they are read."""
    with opened_npz(path) as stored:
        for key, array in stored.items():
            shape = array.header()[0] if key.startswith("X") else ()
            if len(shape) > 1:
                _check_features(metadata, math.prod(shape[1:]), path.stem)


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
