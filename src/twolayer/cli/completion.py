"""Shell completion of data sets, presets, runs and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from .. import presets
from . import run_folder

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_TWOLAYER_COMPLETE"
# A name that every shell takes for one word. It has no comma: the script for fish cuts names there.
_IS_A_WORD = re.compile(r"[\w@%+=:./-]+")
_DATASETS = {"digits": "1,797 handwritten digits", "cifar10": "60,000 colour images"}

Items = list[CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def complete_datasets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the data sets that have names, and .npz files."""
    named, files = _named(_DATASETS, incomplete), _files(incomplete, ".npz")
    return _or_files([*named, *map(CompletionItem, files)], incomplete)


def complete_presets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the presets."""
    return _named({name: preset.summary for name, preset in presets.PRESETS.items()}, incomplete)


def complete_files(*suffixes: str) -> Completer:
    """Return a completer that offers the files of these suffixes."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        return _or_files(map(CompletionItem, _files(incomplete, *suffixes)), incomplete)

    return complete


def complete_runs(holding: str, *suffixes: str) -> Completer:
    """Return a completer that offers the folders of runs that hold a file, and files of these suffixes."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        runs = {*_matching(incomplete), *(_matching("runs/") if "runs/".startswith(incomplete) else ())}
        found = sorted(path.as_posix() for path in runs if (path / holding).is_file())
        files = [name for name in _files(incomplete, *suffixes) if not name.endswith(run_folder.CHECKPOINT)]
        return _or_files(map(CompletionItem, [*found, *files]), incomplete)

    return complete


complete_networks = complete_runs(run_folder.NETWORK, ".safetensors")


def _named(texts: Mapping[str, str], incomplete: str) -> Items:
    """Return the names that begin so, each with its text."""
    return [CompletionItem(name, help=text) for name, text in texts.items() if name.startswith(incomplete)]


def _or_files(items: Iterable[CompletionItem], incomplete: str) -> Items:
    """Return items; if there are none, or a name needs quotes, have the shell offer files and folders.

    The shells quote the names that they find themselves, but bash puts those that it is given into the line
    as they are.
    """
    found = list(items)
    if found and all(_IS_A_WORD.fullmatch(item.value) for item in found):
        return found
    return [CompletionItem(incomplete, type="file")]


def _files(incomplete: str, *suffixes: str) -> list[str]:
    return sorted(path.as_posix() for path in _matching(incomplete) if path.suffix.lower() in suffixes)


def _matching(incomplete: str) -> list[Path]:
    """Return the files and folders whose paths begin so."""
    folder, _, start = incomplete.rpartition("/")
    parent = Path(f"{folder}/" if "/" in incomplete else ".")
    try:
        return [path for path in parent.iterdir() if path.name.startswith(start) and _is_offered(path, start)]
    except OSError:
        return []


def _is_offered(path: Path, start: str) -> bool:
    return not path.name.startswith(".") or start.startswith(".")
