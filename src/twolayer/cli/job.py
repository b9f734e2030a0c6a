"""Data, results and files that a training and a sweep have in common."""

from __future__ import annotations

import importlib
import platform
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import presets, storage
from .._files import written_whole
from .._image_shifts import check_shift
from .._namespace import Array, has_float
from .._version import __version__
from ..augmentation import Augmentation
from ..datasets import Dataset, Split
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, lost_by_rounding
from ..report.formatting import calibration_in_words, count, format_accuracy, is_finite
from ..report.metrics import most_wrong
from ..stacks import merge
from ..training.folds import accuracy_error
from . import build, data, figure_files, run_folder
from .calibrated import calibrated_by_validation
from .comparisons import BASELINES, comparisons
from .config import write_settings
from .console import Console, Watch
from .devices import Library, open_library
from .errors import OF_SIGNALS, Failure
from .evaluate import Evaluation, evaluate
from .read_run import MOST_IMAGES, read_object

FIGURES = ("train_accuracy", "validation_accuracy", "validation_loss")

_PRIVATE = ("dataset", "data", "url")  # they show where the user's files are
_FEW_SAMPLES = 3  # of a class: one to train on, one to validate, one to test
_MOST_NAMED = 5
_MISSING = ("", "nan", "none", "null", "<na>", "nat", "n/a")  # texts that missing labels may have become


class Kept(NamedTuple):
    """The network that a run keeps, and its results."""

    net: TwoLayerNet  # for raw samples
    figures: dict[str, float]  # by the names in FIGURES
    test: Evaluation | None
    compared: Mapping[str, Any]  # for results.json, as `comparisons` returns it
    calibration: Mapping[str, float]  # for results.json; empty without --calibrate


@dataclass(frozen=True)
class Job:
    """A training or a sweep, with its data and its settings.

    Parameters
    ----------
    settings : dict
        The settings as in settings.toml, with a value for every option.
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

    @property
    def folds(self) -> int | None:
        """The number of folds of a sweep with cross-validation; None for other runs."""
        return self.settings.get("folds")

    @contextmanager
    def fresh_folder(self, out: str | None, *, overwrite: bool) -> Iterator[Path]:
        """Create and lock the folder of a new run, as `run_folder.fresh_folder` does; write the settings."""
        dataset = self.settings["dataset"]
        stem = f"{self.dataset.name}-{self.settings['command']}"
        with run_folder.fresh_folder(out, stem, overwrite=overwrite, dataset=dataset) as folder:
            write_settings(folder / run_folder.SETTINGS, self.settings)
            yield folder

    def arguments(self) -> dict[str, Any]:
        """Copy the samples to the device; return the arguments that `train` and `sweep` share.

        The samples are preprocessed once, here, unless batches are augmented first or the preprocessing is
        fitted to each fold. In these cases they stay raw.
        """
        library, preprocessing = self.library, self.preprocessing
        as_given = self.augmentation is not None or self.folds is not None
        lost = lost_by_rounding(preprocessing, library.dtype)
        has_digits = lost is None or has_float("float64", xp=library.xp, device=library.device)
        if as_given and not has_digits:
            raise ValueError(
                f"`--dtype` must be float64 for augmentation or folds with samples so far from 0: {lost}"
            )

        def moved(split: Split) -> tuple[Array, Array]:
            if not as_given:
                X = library.put(preprocessing.apply(split.X, dtype=library.dtype))
            elif lost is None:
                X = library.put_samples(split.X)
            else:
                X = library.put(split.X.astype(np.float64))
            return X, library.put_labels(split.y)

        X, y = moved(self.dataset.train)
        weights = {
            name: library.put(weight.astype(library.dtype))
            for name, weight in (self.dataset.sample_weight or {}).items()
        }
        validation = self.dataset.validation
        of_validation = [weights["validation"]] if validation is not None and weights else []
        return {
            "X": X,
            "y": y,
            "sample_weight": weights.get("train"),
            "validation": None if validation is None else (*moved(validation), *of_validation),
            "preprocessing": preprocessing if as_given else None,
            "augmentation": self.augmentation,
            **build.training_arguments(self.settings),
        }

    def fold_and_test(self, net: TwoLayerNet, figures: dict[str, float]) -> Kept:
        """Return one network for raw samples, and its test results.

        The preprocessing is folded into the network, and the networks of a stack are merged. If the settings
        ask for it, the network is averaged over flips and shifts, and calibrated. Merging and averaging
        replace the validation accuracy and loss in ``figures``, and calibration replaces the loss.
        """
        library = self.library
        lost = lost_by_rounding(self.preprocessing, library.dtype)
        if lost is not None and has_float("float64", xp=library.xp, device=library.device):
            net = net.astype("float64")
            self.console.say(f"The saved network is in float64, as it takes raw samples: {lost}")
        elif lost is not None:
            self.console.warn(
                "the saved network is not precise enough for raw samples, as the preprocessing is folded "
                f"into its weights: {lost}; try --dtype float64"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # which would repeat this
            folded = self.preprocessing.fold(net)
        if folded.n_networks is not None:
            folded = merge(folded)
        folded = build.symmetrized(folded, self.settings, self.dataset)
        # More hidden units mean that networks were merged or averaged.
        if self.dataset.validation is not None and folded.n_hidden > net.n_hidden:
            now = evaluate(folded, self.dataset.validation, library)
            weights = (self.dataset.sample_weight or {}).get("validation")
            right = now.predicted == self.dataset.validation.y
            accuracy = now.accuracy if weights is None else float(np.average(right, weights=weights))
            loss = float(np.average(now.losses, weights=weights))
            figures = figures | {"validation_accuracy": accuracy, "validation_loss": loss}
        test = None if self.dataset.test is None else evaluate(folded, self.dataset.test, library)
        calibration: dict[str, float] = {}
        if self.settings["calibrate"]:
            try:
                with self.console.warnings_shown():
                    folded, test, calibration = calibrated_by_validation(folded, self.dataset, library, test)
                figures = figures | {"validation_loss": calibration["validation_loss_after"]}
            except ValueError as error:  # a sample is too far from the others
                self.console.warn(f"the network is not calibrated: {error}")
        compared = comparisons(folded, self.dataset, library, self.console)
        return Kept(folded, figures, test, compared, calibration)

    def save(self, folder: Path, kept: Kept, settings: Mapping[str, Any]) -> None:
        """Save the network of a run, with its metadata and figures."""
        storage.save(
            kept.net,
            folder / run_folder.NETWORK,
            classes=self.dataset.classes,
            image_shape=self.dataset.image_shape,
            encoder=self.dataset.encoder,
            preprocessing=build.preprocessing_in_words(self.settings, self.preprocessing),
            information={
                "dataset": Path(settings["dataset"]).name,
                **{name: settings[name] for name in data.COUNTS if name in settings},
                **data.brightness(self.dataset, settings["dataset"]),
                "settings": {name: settings[name] for name in sorted(settings) if name not in _PRIVATE},
                **kept.figures,
            },
        )

    def results(self, kept: Kept | None, *, complete: bool, seconds: float) -> dict[str, Any]:
        """Return the part of results.json that every run has."""
        library, dataset = self.library.name, self.dataset
        n_samples = {name: len(split.y) for name, split in data.splits_of(dataset).items()}
        # With folds, each sample of the folds is held out once, so it counts as a validation sample too.
        held_out = {} if self.folds is None else {"validation": n_samples["train"]}
        test = {"test": kept.test.as_data()} if kept and kept.test else {}
        return {
            "command": self.settings["command"],
            "complete": complete,
            "seconds": seconds,
            "classes": dataset.classes,
            "samples": dict.fromkeys(data.SPLITS, 0) | n_samples | held_out,
            "n_features": dataset.n_features,
            "image_shape": dataset.image_shape,
            **(kept.compared if kept else {}),
            **({"calibration": kept.calibration} if kept and kept.calibration else {}),
            "versions": {
                "twolayer": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                library: str(importlib.import_module(library).__version__),
            },
            **test,
        }

    def write_predictions(self, folder: Path, kept: Kept | None) -> None:
        """Write the probabilities of the test samples, and the images that are most wrong.

        Without a test, or if a probability is not finite, remove the file of an earlier run instead. A sample
        that is too far from the others may have such probabilities.
        """
        path = folder / run_folder.PREDICTIONS
        dataset, test = self.dataset, None if kept is None else kept.test
        if test is None or dataset.test is None or not np.isfinite(test.probabilities).all():
            path.unlink(missing_ok=True)
            return
        X, y = dataset.test
        arrays: dict[str, Any] = {"y": y, "probabilities": test.probabilities}
        if dataset.image_shape is not None:
            rows = most_wrong(y, test.probabilities)[:MOST_IMAGES]
            arrays |= {"rows": rows, "images": X[rows].reshape(len(rows), *dataset.image_shape)}
        if dataset.rows is not None and "test" in dataset.rows:
            arrays["rows_in_file"] = dataset.rows["test"]
        if dataset.test_ids:
            arrays["id_columns"] = np.array([*dataset.test_ids])
            arrays["ids"] = np.stack([*dataset.test_ids.values()], axis=1)
        with written_whole(path) as file:
            np.savez(file, **arrays)

    def show_accuracies(self, title: str, kept: Kept) -> None:
        """Print the accuracies of a network, each with its standard error by the number of samples."""
        figures = {"test_accuracy": None if kept.test is None else kept.test.accuracy, **kept.figures}
        shown = [(name, data.SPLITS[name], split) for name, split in data.splits_of(self.dataset).items()]
        if self.folds is not None:  # each sample is held out once
            shown.insert(1, ("validation", f"held out in {self.folds} folds (mean)", self.dataset.train))
        rows = []
        for name, kind, split in shown:
            accuracy, n_samples = figures[f"{name}_accuracy"], len(split.y)
            error = accuracy_error(accuracy, n_samples) if is_finite(accuracy) else None
            rows.append((kind, f"{n_samples:,}", format_accuracy(accuracy), format_accuracy(error)))
        columns = ("samples", "number", "accuracy", "standard error")
        self.console.table(columns, rows, title=title, left=("samples",))
        if kept.calibration:
            self.console.result(f"Calibrated: {calibration_in_words(kept.calibration)}")
        baselines = kept.compared.get("baselines", {})
        if baselines:
            words = (f"{BASELINES[name]} {format_accuracy(baselines[name])}" for name in baselines)
            self.console.result(f"Test accuracy of simple classifiers: {', '.join(words)}")
        lost = [row for row in kept.compared.get("columns", []) if is_finite(row["lost"])]
        if lost:
            words = (
                f"{row['column']:.40} {row['lost']:.3f} ± {row['spread']:.3f}" for row in lost[:_MOST_NAMED]
            )
            self.console.result(
                "Accuracy lost when a column is shuffled (± SD; a value below zero is chance), "
                f"the largest losses: {', '.join(words)}"
            )

    def interrupted(self, what: str, folder: Path, watch: Watch) -> Failure:
        """Return the failure of a run that was stopped and can be resumed."""
        where = shlex.quote(str(run_folder.named(folder)))
        again = f"`twolayer {self.settings['command']} --resume {where}` continues from there"
        return Failure(f"{what} {again}", OF_SIGNALS + watch.interrupted, wanted=True)

    def finish(self, folder: Path, failure: Failure | None) -> dict[str, Any]:
        """Draw the pictures and list the files; return the data of the run, or raise the failure with it."""
        try:
            figure_files.draw(folder, self.console.warn)
        except ImportError as error:
            self.console.warn(f"no pictures were drawn: {error}")
        files = run_folder.written_in(folder)
        self.console.say(f"In {folder}: {', '.join(files)}")
        self.console.say(f"`twolayer report {shlex.quote(str(folder))}` writes an HTML page about it")
        answer = {**read_object(folder / run_folder.RESULTS), "folder": folder, "files": files}
        if failure is not None:
            failure.data = answer
            raise failure
        return answer


def open_job(
    settings: dict[str, Any], console: Console, *, preprocessing: Preprocessing | None = None
) -> Job:
    """Import the library and load the data that the settings name; fit the preprocessing if none is given."""
    library = open_library(settings["library"], settings["device"], settings["dtype"])
    given = data.load_data(settings["dataset"], settings.get("data"), settings.get("url"), settings, console)
    dataset = given if settings.get("folds") is None else data.pooled(given)
    console.say(data.describe(dataset))
    found = data.fingerprint(given)
    if settings.setdefault("data_sha256", found) != found:
        raise ValueError(
            "`--resume`, and `--config` with `data_sha256`, need the data of that run; got other data"
        )
    if data.kind_of(settings["dataset"]) in presets.OWN:
        data.check_splits(data.splits_of(given), given.rows or {}, settings["dataset"], library.dtype)
        _warn_of_classes(given, console)
    augmentation = build.augmentation_for(settings, dataset)
    # Raise errors in these arguments before anything slow begins.
    build.training_arguments(settings)
    if settings["calibrate"] and dataset.validation is None:
        raise ValueError(f"`--calibrate` must have validation samples; {dataset.name} has none")
    if settings["symmetrize"] or settings["symmetrize_shift"]:
        height, width, *_ = build.image_shape(dataset, "--symmetrize")
        shift = settings["symmetrize_shift"]
        check_shift("--symmetrize-shift", (shift, shift), (height, width))
    if preprocessing is None:
        preprocessing = build.preprocessing_for(
            settings, build.channels_for(settings, dataset), dataset.train.X
        )
    return Job(settings, library, dataset, preprocessing, augmentation, console)


def _warn_of_classes(dataset: Dataset, console: Console) -> None:
    """Warn of classes with too few samples to learn from, and of classes that may be missing labels."""
    labels = np.concatenate([split.y for split in data.splits_of(dataset).values()])
    counts = np.bincount(labels, minlength=dataset.n_classes)
    named = [f"{name!r:.40} ({n})" for name, n in zip(dataset.classes, counts, strict=True)]
    rare = [named[i] for i in np.flatnonzero(counts < _FEW_SAMPLES)]
    if rare:
        more = f" and {len(rare) - _MOST_NAMED:,} more" if len(rare) > _MOST_NAMED else ""
        console.warn(
            f"classes with fewer than {_FEW_SAMPLES} samples: {', '.join(rare[:_MOST_NAMED])}{more}; they "
            "cannot have one each for training, validation and test"
        )
    missing = [named[i] for i, name in enumerate(dataset.classes) if name.strip().lower() in _MISSING]
    if missing:
        console.warn(
            f"missing labels may have become a class: {', '.join(missing)}; remove such samples from the file"
        )


def length_in_words(settings: Mapping[str, Any]) -> str:
    """Return the length of a training in words."""
    if settings["steps"] is not None:
        return count(settings["steps"], "step")
    return count(settings["epochs"], "epoch")
