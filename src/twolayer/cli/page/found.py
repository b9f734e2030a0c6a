"""What the folder of a run holds, as far as its page tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import storage
from ...network import TwoLayerNet
from ...storage import NetworkMetadata
from ...training import History
from .. import folders
from ..data import file_name
from ..stored import Predictions, Results, read_history, read_plain, read_predictions, read_results


@dataclass(frozen=True)
class Found:
    """The files of a run, read; what there is none of is None."""

    folder: Path
    results: Results
    settings: dict[str, Any] | None
    history: History | None
    net: TwoLayerNet | None
    metadata: NetworkMetadata | None
    predictions: Predictions | None

    def setting(self, name: str) -> Any:
        """Return a setting; None where it is not known."""
        return (self.settings or {}).get(name)

    @property
    def sweeps(self) -> bool:
        """Whether it is a sweep."""
        return (self.results.command or self.setting("command")) == "sweep" or bool(self.results.table)

    @property
    def dataset(self) -> str:
        """Name of the data set; of a file its name without the folder."""
        name = self.setting("dataset")
        if not isinstance(name, str) and self.metadata is not None:
            name = self.metadata.information.get("dataset")
        return (file_name(name) if isinstance(name, str) else "") or "data of its user's"

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of a sample that is an image."""
        return self.results.image_shape if self.metadata is None else self.metadata.image_shape


def read_run(folder: Path) -> Found:
    """Read the folder of a run.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError, TypeError
        If a file in it is not what `twolayer train` and `sweep` write.
    """
    results = read_results(folder / folders.RESULTS)

    def there(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    settings, history = there(folders.SETTINGS), there(folders.HISTORY)
    network, predictions = there(folders.NETWORK), there(folders.PREDICTIONS)
    test = results.test
    return Found(
        folder=folder,
        results=results,
        settings=None if settings is None else read_plain(settings),
        history=None if history is None else read_history(history),
        net=None if network is None else storage.load(network),
        metadata=None if network is None else storage.load_metadata(network),
        predictions=None
        if predictions is None or test is None
        else read_predictions(predictions, test, results.image_shape),
    )
