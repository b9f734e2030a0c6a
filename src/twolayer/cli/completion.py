"""Shell completion of data sets, presets, runs and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from .. import presets
from . import run_folder

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_TWOLAYER_COMPLETE"
# A name that needs no quotes in any shell. Commas are excluded because the script for fish splits there.
_IS_A_WORD = re.compile(r"[\w@%+=:./-]+")
_DATASETS = {"digits": "1,797 handwritten digits", "cifar10": "60,000 colour images"}

Items = list[CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def complete_presets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the presets."""
    return _named({name: preset.summary for name, preset in presets.PRESETS.items()}, incomplete)


def complete_paths(
    *suffixes: str, holding: str | None = None, names: Mapping[str, str] = MappingProxyType({})
) -> Completer:
    """Return a completer that offers files of these suffixes.

    Parameters
    ----------
    *suffixes : str
    holding : str, optional
        Name of a file. Folders that contain this file are offered too.
    names : mapping
        Further words to offer, each with its description.
    """

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        paths = _matching(incomplete)
        files = sorted(path.as_posix() for path in paths if path.suffix.lower() in suffixes)
        # A checkpoint has the suffix of a network, but commands cannot read it as one.
        found = [name for name in files if not name.endswith(run_folder.CHECKPOINT)]
        if holding is not None:
            runs = {*paths, *(_matching("runs/") if "runs/".startswith(incomplete) else ())}
            found = [*sorted(path.as_posix() for path in runs if (path / holding).is_file()), *found]
        return _or_files([*_named(names, incomplete), *map(CompletionItem, found)], incomplete)

    return complete


complete_datasets = complete_paths(".npz", ".csv", ".tsv", ".gz", ".parquet", names=_DATASETS)
complete_networks = complete_paths(".safetensors", holding=run_folder.NETWORK)


def _named(texts: Mapping[str, str], incomplete: str) -> Items:
    """Return the names that begin with ``incomplete``, each with its description."""
    return [CompletionItem(name, help=text) for name, text in texts.items() if name.startswith(incomplete)]


def _or_files(items: Items, incomplete: str) -> Items:
    """Return the items; if there are none or a name needs quotes, let the shell offer files and folders.

    A shell quotes the file names that it offers itself, but bash inserts given names without quotes.
    """
    if items and all(_IS_A_WORD.fullmatch(item.value) for item in items):
        return items
    return [CompletionItem(incomplete, type="file")]


def _matching(incomplete: str) -> list[Path]:
    """Return files and folders whose paths begin with ``incomplete``; hidden ones only if its name does."""
    folder, _, start = incomplete.rpartition("/")
    parent = Path(f"{folder}/" if "/" in incomplete else ".")
    try:
        found = [path for path in parent.iterdir() if path.name.startswith(start)]
    except OSError:
        return []
    return [path for path in found if start.startswith(".") or not path.name.startswith(".")]
