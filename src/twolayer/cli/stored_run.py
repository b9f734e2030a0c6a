"""A run that is read from its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .. import storage
from ..network import TwoLayerNet
from ..report.tables import Row, has_diverged, varying, winner
from ..storage import NetworkMetadata
from ..training import History
from . import run_folder
from .data import STANDARD_INPUT
from .read_run import Predictions, Results, read_history, read_plain, read_predictions, read_results

Content = TypeVar("Content")


@dataclass
class StoredRun:
    """A run in a folder. Each file is read when it is first needed. The content of a missing file is None.

    Reading raises ValueError or TypeError if a file is not one that `twolayer train` or `sweep` writes, and
    FileNotFoundError if the folder has no results.
    """

    folder: Path

    @cached_property
    def results(self) -> Results:
        """The results."""
        return read_results(self.folder / run_folder.RESULTS)

    @cached_property
    def settings(self) -> dict[str, Any] | None:
        """The settings, in a form to show."""
        return self._read(run_folder.SETTINGS, read_plain)

    @cached_property
    def history(self) -> History | None:
        """The history."""
        return self._read(run_folder.HISTORY, read_history)

    @cached_property
    def net(self) -> TwoLayerNet | None:
        """The network."""
        return self._read(run_folder.NETWORK, storage.load)

    @cached_property
    def metadata(self) -> NetworkMetadata | None:
        """The metadata of the network."""
        return self._read(run_folder.NETWORK, storage.load_metadata)

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions for the test samples."""
        test, shape = self.results.test, self.results.image_shape
        if test is None:
            return None
        return self._read(run_folder.PREDICTIONS, lambda path: read_predictions(path, test, shape))

    def _read(self, name: str, read: Callable[[Path], Content]) -> Content | None:
        path = self.folder / name
        return read(path) if path.is_file() else None

    def setting(self, name: str) -> Any:
        """Return a setting; None if it is unknown."""
        return (self.settings or {}).get(name)

    @property
    def is_sweep(self) -> bool:
        """Whether the run is a sweep."""
        return (self.results.command or self.setting("command")) == "sweep" or bool(self.results.table)

    @property
    def monitor(self) -> str:
        """The validation measure by which networks were chosen: "accuracy" or "loss"."""
        return "loss" if self.setting("monitor") == "loss" else "accuracy"

    @property
    def winner(self) -> Row | None:
        """The row of the best candidate of a sweep; None for a training, or if all candidates diverged."""
        return winner(self.results.table)

    @property
    def folds_of_best(self) -> list[Row]:
        """The rows of the best candidate's networks, one for each fold and seed, without diverged ones."""
        best, names = self.winner, varying(self.results.table)
        runs = [row for row in self.results.runs if "fold" in row and not has_diverged(row)]
        return [row for row in runs if best and all(row.get(name) == best.get(name) for name in names)]

    @property
    def is_lost(self) -> bool:
        """Whether no network was kept because all diverged."""
        return self.winner is None if self.is_sweep else self.results.diverged is not None

    @property
    def dataset(self) -> str:
        """Name of the data set; for a file, its name without the folder."""
        name = self.setting("dataset")
        if not isinstance(name, str) and self.metadata is not None:
            name = self.metadata.information.get("dataset")
        if name == STANDARD_INPUT:
            return "standard input"
        return (Path(name).name if isinstance(name, str) else "") or "the user's data"

    @property
    def image_shape(self) -> Sequence[int] | None:
        """Shape of an image; None if the samples are not images."""
        return self.results.image_shape if self.metadata is None else self.metadata.image_shape
