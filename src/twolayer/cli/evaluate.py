"""The command ``twolayer evaluate``, and the evaluation of networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import presets
from .._files import opened_npz
from .._namespace import HostArray, dtype_name, to_host
from .._texts import listed
from .._validation import check_predictions, row_blocks, shown
from ..datasets import Dataset, Split, load_npz
from ..datasets._dataset import places_of
from ..datasets.npz import load_labelled
from ..datasets.tables import load_labelled_table
from ..mathematics import cross_entropy, softmax_parts, targets
from ..network import TwoLayerNet
from ..report.formatting import format_accuracy
from ..report.metrics import Confusion
from ..storage import NetworkMetadata
from . import run_folder
from .console import Console
from .data import (
    STANDARD_INPUT,
    check_of_data,
    check_splits,
    fingerprint,
    is_path,
    kind_of,
    load_data,
    pooled,
    splits_of,
)
from .devices import Library
from .read_run import read_toml
from .saved_network import SavedNetwork, open_network


class Evaluation(NamedTuple):
    """Results of a network on labelled samples."""

    accuracy: float  # nan if a logit is nan
    losses: HostArray  # (N,) float64: cross-entropies without the penalty
    predicted: HostArray
    confusion: Confusion
    probabilities: HostArray  # (N, C) float32

    @property
    def loss(self) -> float:
        """The mean cross-entropy without the penalty."""
        return float(np.mean(self.losses))

    def as_data(self) -> dict[str, Any]:
        """Return the entry of results.json."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n_samples": len(self.predicted),
            "confusion": self.confusion.cells(),
        }


def evaluate(net: TwoLayerNet, split: Split, library: Library) -> Evaluation:
    """Evaluate a network on samples, which are copied to its device block by block, in its dtype."""
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    xp = library.xp
    predicted, probabilities, losses, has_nan = [], [], [], False
    for rows in row_blocks(len(split.y), max(math.prod(split.X.shape[1:]), net.n_hidden)):
        logits, y = net.logits(library.put_samples(split.X[rows])), library.put_labels(split.y[rows])
        has_nan |= bool(xp.isnan(xp.max(logits)))
        predicted.append(to_host(xp.argmax(logits, axis=-1)))
        Z, exp_Z, total = softmax_parts(xp.matrix_transpose(logits)[None, :, :], xp=xp)
        probabilities.append(to_host((exp_Z / total)[0, :, :]).T.astype(np.float32))
        T, sums = targets(y, net.n_classes, dtype=logits.dtype, xp=xp)
        losses.append(to_host(cross_entropy(Z, total, T, sums, xp=xp))[0, 0, :].astype(np.float64))
    labels = np.concatenate(predicted).astype(np.int64)
    return Evaluation(
        accuracy=math.nan if has_nan else float(np.mean(labels == split.y)),
        losses=np.concatenate(losses),
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
    **given: Any,
) -> dict[str, Any]:
    """Evaluate a saved network; print and return the results. ``given`` are settings of the data."""
    saved = open_network(network, library, device)
    information = saved.metadata.information
    trained_on = information.get("dataset")
    if trained_on is not None and not isinstance(trained_on, str):
        raise ValueError(f"`dataset` in the information of {network} must be text; got {shown(trained_on)}")
    name = dataset or trained_on
    if name is None:
        raise ValueError(f"`DATASET` must be given: {network} does not name the data that it was trained on")
    if dataset is None and is_path(name):
        name = _path_of_training(Path(network), name)
    kind = kind_of(name)
    given = {setting: value for setting, value in given.items() if value is not None}
    check_of_data([*given, *(key for key, place in (("data", data), ("url", url)) if place)], name)
    if kind in presets.OWN:
        is_grey = {"grey": len(saved.metadata.image_shape or ()) == 2} if kind == "images" else {}
        settings = saved.settings_of_data(kind) | is_grey | given
        is_again = dataset is None and name != STANDARD_INPUT
        split, held = _own_samples(name, kind, split, settings, saved, console, must_be_known=is_again)
        classes = saved.classes
    else:
        # The splits are those of the training, so that no training sample is used as a test sample.
        found = load_data(name, data, url, information if name == trained_on else {}, console)
        found = _as_in_training(found, saved) if name == trained_on else found
        _check_fit(saved.metadata, found)
        split, classes = split or "test", found.classes
        held = _chosen(splits_of(found), split)
    if not held:
        raise ValueError(f"`--split` must be one that {name} has; it has no {split} samples")
    parts = list(held.values())
    samples = parts[0] if len(parts) == 1 else Split(*map(np.concatenate, zip(*parts, strict=True)))
    result = evaluate(saved.net, samples, saved.library)
    n_samples = len(samples.y)
    places = [f"{row} (counted from 0) of --split {split}" for row in range(n_samples)]
    check_predictions(result.probabilities, name="DATASET", samples=places)
    summary = result.confusion.summary(classes)
    counted = f"all {n_samples:,} samples" if split == "all" else f"{n_samples:,} {split} samples"
    columns, ratios = ("class", "samples", "precision", "recall", "F1"), ("precision", "recall", "f1")
    rows = [
        (row["class"], f"{row['support']:,}", *(format_accuracy(row[key]) for key in ratios))
        for row in summary
    ]
    console.table(columns, rows, title=f"{Path(name).stem}: {counted}", left=("class",))
    console.result(f"accuracy {result.accuracy:.4f}, loss {result.loss:.4f} (mean cross-entropy)")
    about = {"network": network, "dataset": name, "split": split, "classes": classes, "by_class": summary}
    return about | result.as_data()


def _path_of_training(network: Path, name: str) -> str:
    """Return the path of the file or folder that a network was trained on, by the settings of its run."""
    path = (network if network.is_dir() else network.parent) / run_folder.SETTINGS
    stored = read_toml(path).get("dataset") if path.is_file() else None
    problem = f"no {run_folder.SETTINGS} beside the network has the path of {name}"
    if isinstance(stored, str) and Path(stored).name == name:
        found = path.absolute().parent / stored
        if found.exists():
            return str(found)
        problem = f"{found}, on which the network was trained, is no longer there"
    raise ValueError(f"`DATASET` must be given: {problem}")


def _own_samples(
    name: str,
    kind: str,
    split: str | None,
    settings: Mapping[str, Any],
    saved: SavedNetwork,
    console: Console,
    *,
    must_be_known: bool,
) -> tuple[str, dict[str, Split]]:
    """Return the name of a split of a user's own data, and the samples in it.

    By default, the split is the test samples if the network was trained on these data, and all samples
    otherwise. With ``must_be_known``, data that the network was not trained on are an error.
    """
    if kind == "npz":
        _check_file(Path(name), saved.metadata)
    known, found = saved.settings.get("data_sha256"), None
    # Nothing can be trained on some data that can be evaluated, and standard input can be read only once.
    with suppress(ValueError, TypeError):
        if known is not None and name != STANDARD_INPUT:
            # Warnings about images come again when all of them are read.
            found = load_data(name, None, None, settings, console, warns=kind not in ("images", "idx"))
    is_known = found is not None and fingerprint(found) == known
    if must_be_known and not is_known:
        raise ValueError(f"`DATASET` must be given: {name} has changed since the training")
    if split is None and not is_known:
        console.say(f"{name} is not known to be the training data: all of its samples are used")
    split = split or ("test" if is_known else "all")
    rows: Mapping[str, HostArray] = {}
    if kind in ("images", "idx") and not is_known:
        found = load_data(name, None, None, {**settings, "validation": 0, "test": 0}, console)
        held = _with_classes_of(saved, found)
    elif found is not None and is_known:
        found = _as_in_training(found, saved)
        held, rows = _with_classes_of(saved, found), found.rows or {}
    elif kind == "npz":
        held, rows = _samples_of_file(name, split, saved)
    else:
        with console.warnings_shown():
            held = {split: _samples_of_table(name, split, settings, saved)}
    held = _chosen(held, split)
    check_splits(held, rows, name, saved.net.W1.dtype)
    return split, held


def _as_in_training(dataset: Dataset, saved: SavedNetwork) -> Dataset:
    """Return a data set in the splits of the training; with folds, it included the validation samples."""
    return dataset if saved.settings.get("folds") is None else pooled(dataset)


def _with_classes_of(saved: SavedNetwork, dataset: Dataset) -> dict[str, Split]:
    """Return the splits of a data set, with labels that are indices of the network's classes."""
    _check_features(saved.metadata, dataset.n_features, dataset.name)
    wanted = f"the network's classes, {listed(saved.classes)}"
    places = places_of(dataset.classes, saved.classes, dataset.name, wanted)
    return {name: Split(split.X, places[split.y]) for name, split in splits_of(dataset).items()}


def _samples_of_table(name: str, split: str, settings: Mapping[str, Any], saved: SavedNetwork) -> Split:
    """Return the labelled rows of a table that the network was not trained on."""
    encoder = saved.metadata.encoder
    if encoder is None:
        raise ValueError(f"`DATASET` must not be a table: the network was not trained on one; got {name}")
    if split != "all":
        raise ValueError(
            f"`--split` must be all, because {name} is not known to be the training data; got {split}"
        )
    read = {name: settings[name] for name in ("label", "missing") if name in settings}
    return load_labelled_table(name, encoder, saved.classes, **read)


def _samples_of_file(
    path: str, split: str, saved: SavedNetwork
) -> tuple[dict[str, Split], dict[str, HostArray]]:
    """Return splits of an .npz file, with labels as indices of the network's classes, and their rows."""
    held = load_labelled(path, saved.classes)
    rows: dict[str, HostArray] = {}
    if split == "train" or split not in (*held, "all"):
        rows = {split: (load_npz(path).rows or {})[split]}
        held[split] = Split(*(array[rows[split]] for array in held["train"]))
    return held, rows


def _chosen(held: dict[str, Split], split: str) -> dict[str, Split]:
    return held if split == "all" else {name: part for name, part in held.items() if name == split}


def _check_file(path: Path, metadata: NetworkMetadata) -> None:
    """Raise unless the samples of an .npz file fit the network; only the headers are read."""
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
    """Raise unless a network fits the samples and the classes of a data set."""
    _check_features(metadata, dataset.n_features, dataset.name)
    if metadata.n_classes != dataset.n_classes:
        raise ValueError(
            f"the network has {metadata.n_classes} classes; {dataset.name} has {dataset.n_classes}"
        )
    for own, other in zip(metadata.classes or dataset.classes, dataset.classes, strict=True):
        if own != other:
            raise ValueError(
                f"the network's classes must be those of {dataset.name}, in the same order; "
                f"it has {own!r} where {dataset.name} has {other!r}"
            )
