"""What a shell offers for the word that the user has begun."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from .. import presets
from . import run_folder

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_TWOLAYER_COMPLETE"
# A name that every shell takes for one word. It has no comma: the script for fish cuts names there.
_IS_A_WORD = re.compile(r"[\w@%+=:./-]+")
_DATASETS = {"digits": "1,797 handwritten digits", "cifar10": "60,000 colour images"}

Items = list[CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def complete_datasets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the data sets that have names, and .npz files."""
    named = [CompletionItem(name, help=text) for name, text in _DATASETS.items()]
    found = [item for item in named if item.value.startswith(incomplete)]
    return _or_files([*found, *map(CompletionItem, _files(incomplete, ".npz"))], incomplete)


def complete_presets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the presets."""
    return [
        CompletionItem(name, help=preset.summary)
        for name, preset in presets.PRESETS.items()
        if name.startswith(incomplete)
    ]


def complete_files(*suffixes: str) -> Completer:
    """Return what offers the files of these suffixes."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        return _or_files(map(CompletionItem, _files(incomplete, *suffixes)), incomplete)

    return complete


def complete_runs(holding: str, *suffixes: str) -> Completer:
    """Return what offers the folders of runs that hold a file, and the files of these suffixes."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        runs = {*_matching(incomplete), *(_matching("runs/") if "runs/".startswith(incomplete) else ())}
        found = sorted(path.as_posix() for path in runs if (path / holding).is_file())
        files = [name for name in _files(incomplete, *suffixes) if not name.endswith(run_folder.CHECKPOINT)]
        return _or_files(map(CompletionItem, [*found, *files]), incomplete)

    return complete


complete_networks = complete_runs(run_folder.NETWORK, ".safetensors")


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
    """Return what there is in a folder whose path begins so."""
    folder, _, start = incomplete.rpartition("/")
    parent = Path(f"{folder}/" if "/" in incomplete else ".")
    try:
        return [path for path in parent.iterdir() if path.name.startswith(start) and _is_offered(path, start)]
    except OSError:
        return []


def _is_offered(path: Path, start: str) -> bool:
    return not path.name.startswith(".") or start.startswith(".")
