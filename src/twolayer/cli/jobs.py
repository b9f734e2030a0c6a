"""The common parts of a training and a sweep: their data, and the files that they leave behind."""

from __future__ import annotations

import importlib
import platform
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import report, storage
from .._files import written_whole
from .._images import check_shift
from .._namespace import has_float
from .._version import __version__
from ..augmentation import Augmentation
from ..datasets import Dataset
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, lost_by_rounding
from ..stacks import merge
from . import run_figures, run_folder
from .console import Console
from .data import (
    COUNTS,
    Prepared,
    check_splits,
    describe,
    file_name,
    fingerprint,
    kind_of,
    load_data,
    mean_pixel,
    prepare,
    white,
)
from .evaluation import Evaluation, evaluate
from .libraries import Library, open_library
from .method import (
    augmentation_for,
    image_shape,
    preprocessing_for,
    preprocessing_in_words,
    symmetrized,
    training_arguments,
)
from .run_files import MOST_IMAGES

_PRIVATE = ("dataset", "data", "url")  # where the user's files are
_FEW_SAMPLES = 3  # of a class: one to train on, one to validate, one to test
_MOST_NAMED = 5
_MISSING = ("", "nan", "none", "null", "<na>", "nat", "n/a")  # what labels that are missing become as text


@dataclass(frozen=True)
class Job:
    """Work to be done, and what it needs.

    Parameters
    ----------
    settings : dict
        Those of settings.toml: a value for every option.
    library : Library
    dataset : Dataset
    preprocessing : Preprocessing
        Fitted to the training samples.
    augmentation : Augmentation or None
    console : Console
    """

    settings: dict[str, Any]
    library: Library
    dataset: Dataset
    preprocessing: Preprocessing
    augmentation: Augmentation | None
    console: Console

    def prepare(self) -> tuple[Prepared, dict[str, Any]]:
        """Bring the samples to the device; return them and the arguments that `train` and `sweep` share."""
        data = prepare(
            self.dataset, self.preprocessing, self.library, augmented=self.augmentation is not None
        )
        return data, {
            "validation": data.validation,
            "preprocessing": data.preprocessing,
            "augmentation": self.augmentation,
            **training_arguments(self.settings),
        }

    def folded(self, net: TwoLayerNet, accuracies: dict[str, float]) -> TwoLayerNet:
        """Return the one network that takes samples as they are.

        The preprocessing is folded into it; the networks of a stack are merged; and where that is asked for
        it is averaged over flips and shifts. Its validation accuracy replaces that of its parts.
        """
        library = self.library
        lost = lost_by_rounding(self.preprocessing, library.dtype)
        if lost is not None and has_float("float64", xp=library.xp, device=library.device):
            net = net.astype("float64")
            self.console.say(f"The saved network is in float64, as it takes samples as they are: {lost}")
        elif lost is not None:
            self.console.warn(
                "the saved network, into whose weights the preprocessing is folded, has too few digits for "
                f"the samples: {lost}; try --dtype float64"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # which says the same
            folded = self.preprocessing.fold(net)
        if folded.n_networks is not None:
            folded = merge(folded)
        folded = symmetrized(folded, self.settings, self.dataset)
        if self.dataset.validation is not None and folded.n_hidden > net.n_hidden:
            now = evaluate(folded, self.dataset.validation, self.library)
            accuracies["validation_accuracy"] = now.accuracy
        return folded

    def save_network(
        self, folder: Path, folded: TwoLayerNet, settings: Mapping[str, Any], accuracies: Mapping[str, float]
    ) -> None:
        """Save the network of a run, with its metadata and accuracies."""
        storage.save(
            folded,
            folder / run_folder.NETWORK,
            classes=self.dataset.classes,
            image_shape=self.dataset.image_shape,
            preprocessing=preprocessing_in_words(self.settings, self.preprocessing),
            information={
                "dataset": file_name(settings["dataset"]),
                **{name: settings[name] for name in COUNTS if name in settings},
                "white": white(self.dataset, settings["dataset"]),
                "mean_pixel": mean_pixel(self.dataset),
                "settings": {name: settings[name] for name in sorted(settings) if name not in _PRIVATE},
                **accuracies,
            },
        )

    def test(self, folded: TwoLayerNet) -> Evaluation | None:
        """Judge the network by the test samples, where there are any."""
        return None if self.dataset.test is None else evaluate(folded, self.dataset.test, self.library)

    def results(self, *, complete: bool, seconds: float) -> dict[str, Any]:
        """Return what stands in every results.json."""
        name = self.library.name
        return {
            "command": self.settings["command"],
            "complete": complete,
            "seconds": seconds,
            "classes": self.dataset.classes,
            "samples": {
                name: 0 if split is None else len(split.y)
                for name, split in (
                    ("train", self.dataset.train),
                    ("validation", self.dataset.validation),
                    ("test", self.dataset.test),
                )
            },
            "n_features": self.dataset.n_features,
            "image_shape": self.dataset.image_shape,
            "versions": {
                "twolayer": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                name: str(importlib.import_module(name).__version__),
            },
        }

    def show_accuracies(self, title: str, accuracies: Mapping[str, float], test: Evaluation | None) -> None:
        """Write how good a network is."""
        shown = [("training", self.dataset.train, accuracies["train_accuracy"])]
        if self.dataset.validation is not None:
            shown.append(("validation", self.dataset.validation, accuracies["validation_accuracy"]))
        if test is not None and self.dataset.test is not None:
            shown.append(("test", self.dataset.test, test.accuracy))
        self.console.table(
            ("samples", "number", "accuracy"),
            [
                (name, f"{len(split.y):,}", report.format_accuracy(accuracy))
                for name, split, accuracy in shown
            ],
            title=title,
            left=("samples",),
        )

    def finish(self, folder: Path) -> None:
        """Draw the pictures, and say what was written."""
        try:
            run_figures.draw(folder, self.console.warn)
        except ImportError as error:
            self.console.warn(f"there are no pictures: {error}")
        self.console.say(f"In {folder}: {', '.join(run_folder.written_in(folder))}")
        self.console.say(f"`twolayer report {shlex.quote(str(folder))}` makes one page of it")


def open_job(
    settings: dict[str, Any], console: Console, *, preprocessing: Preprocessing | None = None
) -> Job:
    """Import the library and load the data that the settings name; fit a preprocessing, or take this one."""
    library = open_library(settings["library"], settings["device"], settings["dtype"])
    dataset = load_data(settings["dataset"], settings["data"], settings["url"], settings, console)
    console.say(describe(dataset))
    found = fingerprint(dataset)
    if settings.setdefault("data_sha256", found) != found:
        raise ValueError(
            "`--resume`, and a `--config` with `data_sha256`, must be given the data of that run; got others"
        )
    if kind_of(settings["dataset"]) == "npz":
        splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
        held = {name: split for name, split in splits.items() if split is not None}
        check_splits(held, dataset.rows or {}, settings["dataset"], library.dtype)
        _warn_of_classes(dataset, console)
    augmentation = augmentation_for(settings, dataset)
    # Errors in these are raised before anything takes long.
    training_arguments(settings)
    if settings["symmetrize"] or settings["symmetrize_shift"]:
        height, width, *_ = image_shape(dataset, "--symmetrize")
        shift = settings["symmetrize_shift"]
        check_shift("--symmetrize-shift", (shift, shift), (height, width))
    if preprocessing is None:
        preprocessing = preprocessing_for(settings, dataset)
    return Job(settings, library, dataset, preprocessing, augmentation, console)


def _warn_of_classes(dataset: Dataset, console: Console) -> None:
    """Warn of classes that may be none: of too few samples to learn from, or of labels that are missing."""
    splits = (dataset.train, dataset.validation, dataset.test)
    counts = sum(np.bincount(split.y, minlength=dataset.n_classes) for split in splits if split is not None)
    found = [(name, int(n)) for name, n in zip(dataset.classes, np.asarray(counts), strict=True)]
    rare = [f"{name!r:.40} ({n})" for name, n in found if n < _FEW_SAMPLES]
    if rare:
        more = f" and {len(rare) - _MOST_NAMED:,} more" if len(rare) > _MOST_NAMED else ""
        console.warn(
            f"classes of fewer than {_FEW_SAMPLES} samples: {', '.join(rare[:_MOST_NAMED])}{more}; there is "
            "none of them to validate by, or none to test by"
        )
    missing = [f"{name!r:.40} ({n})" for name, n in found if name.lower() in _MISSING]
    if missing:
        console.warn(
            f"labels that are missing may have become a class: {', '.join(missing)}; "
            "leave such samples out of the file"
        )


def in_words(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """Say settings in a line: learning rate 0.1, reg 1e-3."""

    def text(value: Any) -> str:
        return ",".join(report.format_numbers(value if isinstance(value, tuple) else (value,)))

    return ", ".join(f"{report.label(name)} {text(settings[name])}" for name in names)


def length_in_words(settings: Mapping[str, Any]) -> str:
    """Say how long a training is."""
    if settings["steps"] is not None:
        return count(settings["steps"], "step")
    return count(settings["epochs"], "epoch")


def count(number: int, noun: str) -> str:
    """Say how many there are: 1 epoch, 2,000 steps."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def write_predictions(folder: Path, dataset: Dataset, test: Evaluation | None) -> None:
    """Write the probabilities of the test samples, and the images most wrong; or remove those of before.

    None are written where a sample is too far from the others for the network to give a number.
    """
    path = folder / run_folder.PREDICTIONS
    if test is None or dataset.test is None or not np.isfinite(test.probabilities).all():
        path.unlink(missing_ok=True)
        return
    X, y = dataset.test
    arrays: dict[str, Any] = {"y": y, "probabilities": test.probabilities}
    if dataset.image_shape is not None:
        rows = report.most_wrong(y, test.probabilities)[:MOST_IMAGES]
        arrays |= {"rows": rows, "images": X[rows].reshape(len(rows), *dataset.image_shape)}
    if dataset.rows is not None and "test" in dataset.rows:
        arrays["rows_in_file"] = dataset.rows["test"]
    with written_whole(path) as file:
        np.savez(file, **arrays)


def write_results(folder: Path, results: Mapping[str, Any], test: Evaluation | None) -> None:
    """Write results.json."""
    extra = {} if test is None else {"test": test.as_data()}
    report.write_json(folder / run_folder.RESULTS, {**results, **extra})
