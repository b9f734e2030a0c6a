"""Opening of saved networks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from .. import storage
from ..datasets.images import is_image
from ..network import TwoLayerNet
from ..settings import of_data
from ..storage import NetworkMetadata
from . import run_folder
from .config import checked_value
from .data import is_table
from .devices import Library, open_library
from .read_run import read_toml

ARRAYS = (".npz", ".npy")


class SavedNetwork(NamedTuple):
    """A network on a device, with the metadata of its file."""

    net: TwoLayerNet
    metadata: NetworkMetadata
    library: Library

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; their numbers, if they have no names."""
        return self.metadata.classes or tuple(map(str, range(self.metadata.n_classes)))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its training, as stored in its file; empty if there are none."""
        stored = self.metadata.information.get("settings")
        return stored if isinstance(stored, dict) else {}

    def settings_of_data(self, kind: str) -> dict[str, Any]:
        """Return the settings by which data of a kind were read for the training."""
        names = [name for name in of_data(kind) if self.settings.get(name) is not None]
        try:
            return {name: checked_value(name, self.settings[name], "train") for name in names}
        except ValueError as error:
            raise ValueError(
                f"the settings in the network's information must be those of a run; a value {error}"
            ) from error


def open_network(network: str, library: str, device: str | None) -> SavedNetwork:
    """Load a network from its file, or from the folder of a run, to a device."""
    path, metadata = find_network(network)
    net = storage.load(path)
    opened = open_library(library, device, net.W1.dtype.name)
    return SavedNetwork(net.to(opened.xp, opened.device), metadata, opened)


def find_network(network: str) -> tuple[Path, NetworkMetadata]:
    """Return the file of a network, given this file or the folder of a run, and its metadata."""
    check_is_no_input(network)
    try:
        path = storage.file_at(network)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}{_unfinished(Path(network))}") from error
    metadata = storage.load_metadata(path)
    if metadata.n_networks is not None:
        raise ValueError(f"{path} must hold one network; it holds a stack of {metadata.n_networks}")
    return path, metadata


def check_is_no_input(network: str) -> None:
    """Raise if ``network`` is named like a file of samples: the arguments may have been swapped."""
    path = Path(network)
    if not path.is_dir() and (path.suffix.lower() in ARRAYS or is_image(path) or is_table(network)):
        raise ValueError(
            f"`NETWORK`, which is first, must be a .safetensors file or the folder of a run; got {network}"
        )


def _unfinished(folder: Path) -> str:
    """Return a hint at how to resume the run if it was killed; empty otherwise."""
    settings = folder / run_folder.SETTINGS
    if not settings.is_file() or (folder / run_folder.RESULTS).is_file():
        return ""
    command = read_toml(settings).get("command")
    if command not in ("train", "sweep"):
        return ""
    return f"; the run is not finished: `twolayer {command} --resume {shlex.quote(str(folder))}` continues it"
