"""The command that a sweep suggests as the next step."""

from __future__ import annotations

import itertools
import shlex
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..report.certainty import comparable, grid_ends, is_number, rounded
from ..report.tables import Row, winner
from ..settings import SETTINGS, values_of
from . import run_folder
from .data import STANDARD_INPUT
from .option_types import joined_names
from .page.settings import command_line, exact
from .read_run import read_results, read_toml

_MORE_SEEDS = (5, 10)  # beyond ten, the validation samples are the larger uncertainty


def ends_to_try(table: Sequence[Row], folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ends of a grid, as `grid_ends`, without values that another sweep found worse.

    The other sweeps are on the same data, in folders whose names differ only in the number at their end, for
    example runs/digits-sweep-001 and runs/digits-sweep-002.
    """
    # Candidates that were drawn at random have no ends.
    found = [] if settings["candidates"] else grid_ends(table)
    others = [*_other_tables(folder, settings)] if found else []
    for end in found:
        name, value, sign = end["setting"], end["value"], 1 if end["end"] == "highest" else -1
        worse = [v for rows in others for v in _beaten(rows, name) if sign * v > sign * value]
        end["try"] = [v for v in end["try"] if not any(sign * one <= sign * v for one in worse)]
    return [end for end in found if end["try"]]


def _beaten(table: Sequence[Row], name: str) -> set[Any]:
    """Return the values of a setting in a table, without the winner's."""
    best = winner(table) or {}
    return {row[name] for row in table if is_number(row.get(name)) and row[name] != best.get(name)}


def _other_tables(folder: Path, settings: Mapping[str, Any]) -> Iterator[Sequence[Row]]:
    """Yield the tables of the other sweeps on the same data in folders that differ only in their number."""
    folder = folder.absolute()
    stem = folder.name.rstrip(string.digits)
    for path in sorted(folder.parent.glob("*")):
        if path == folder or path.name.rstrip(string.digits) != stem:
            continue
        # A damaged folder has nothing to compare with.
        with suppress(OSError, ValueError, TypeError):
            if read_toml(path / run_folder.SETTINGS).get("data_sha256") == settings["data_sha256"]:
                yield read_results(path / run_folder.RESULTS).table


def next_command(
    settings: Mapping[str, Any],
    folder: Path,
    table: Sequence[Row],
    ends: Iterable[Mapping[str, Any]],
    *,
    complete: bool,
    options: Iterable[str] = (),
) -> str:
    """Return a command to run after a sweep, with the data and the options of that sweep.

    Parameters
    ----------
    settings : mapping
        The settings of the sweep.
    folder : Path
        Its folder.
    table : sequence of mappings
        ``result.table``.
    ends : iterable of mappings
        As `ends_to_try` returns them.
    complete : bool
        Whether the sweep went to its end.
    options : iterable of str
        Options of the command that are no settings.

    Returns
    -------
    str
        The command resumes the sweep if it was interrupted, extends the grid if the best candidate is at an
        end, or adds seeds if others may be as good. If nothing is left to gain, it makes a report.
    """
    changes = _changes(settings, table, ends) if complete else {}
    # A pasted command cannot read standard input again.
    if settings["dataset"] == STANDARD_INPUT or (complete and not changes):
        return shlex.join(["twolayer", "report", str(folder)])
    if complete and (settings["halving"] or winner(table) is None):
        # Nothing can be added to a sweep with halving, and nothing is worth keeping of one that diverged.
        return f"{command_line({**settings, **changes})} {shlex.join(options)}".rstrip()
    words = ["twolayer", "sweep", "--resume", str(folder)]
    for name, values in changes.items():
        is_count = name == "seeds" and values == tuple(range(values[0], values[0] + len(values)))
        words += [SETTINGS[name].flag, str(len(values)) if is_count else joined_names(map(exact, values))]
    return shlex.join([*words, *options])


def _changes(
    settings: Mapping[str, Any], table: Sequence[Row], ends: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[Any, ...]]:
    """Return the settings that the next sweep should change; none if nothing is left to gain."""
    if winner(table) is None:
        rates = [row["learning_rate"] for row in table]
        return {"learning_rate": tuple(rounded(min(rates) / k) for k in (100, 10))} if rates else {}
    further = {one["setting"]: one["try"] for one in ends}
    if further:
        return {name: tuple(sorted({*values_of(settings[name]), *own})) for name, own in further.items()}
    seeds = tuple(settings["seeds"])
    n_wanted = next((n for n in _MORE_SEEDS if n > len(seeds)), 0)
    if n_wanted and any(row.get("within_noise") is not False for row in comparable(table)):
        unused = (seed for seed in itertools.count(seeds[0]) if seed not in seeds)
        return {"seeds": (*seeds, *itertools.islice(unused, n_wanted - len(seeds)))}
    return {}
