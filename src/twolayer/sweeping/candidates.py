"""Candidates of a sweep: their settings, and the stacks in which they train."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .._hints import name_here
from .._numbers import NOT_NEGATIVE
from .._setting import APART, TOGETHER
from .._streams import Stream, stream
from .._validation import check_integer, warn_outside
from ..search import Choice
from ..settings import SETTINGS, VARIED
from ..training.plan import PER_NETWORK, Settings
from .comparison import Row, group_key

DEFAULTS: dict[str, Any] = {name: SETTINGS[name].default for name in VARIED} | {
    "learning_rate": 1e-2,
    "reg": 0.0,
    "n_hidden": 50,
    "batch_size": 200,
}
# These settings may be varied, too. A row contains one only if it is varied.
_COMMON = ("optimizer", "schedule", "augmentation")
# The networks of a stack may differ in these settings; other settings divide candidates into several stacks.
_OWN = tuple(name for name in VARIED if SETTINGS[name].varied == TOGETHER)
# Candidates with different values of these settings train in different stacks.
OF_SHAPE = (*(name for name in VARIED if SETTINGS[name].varied == APART), *_COMMON)
_FEW = 4  # with more values of such a setting, a random search gains little from stacks
_MOST_REPEATS = 30  # draws in vain, for each candidate found, after which the grid seems to be exhausted


def settings_of_grid(grid: Mapping[str, Any], n_drawn: int | None, *, seed: int) -> list[Row]:
    """Return the settings of every run of a mapping: all combinations, or ``n_drawn`` drawn at random."""
    for key, values in grid.items():
        if hasattr(values, "rvs"):
            if n_drawn is None:
                raise ValueError(
                    f"`candidates` must be given if `grid` has a distribution; got {values!r} for {key!r}"
                )
            if key != "seed":
                continue
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"`grid` must map names to sequences of values; got {values!r} for {key!r}")
    if n_drawn is None:
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    spaces = {key: values for key, values in grid.items() if key != "seed"}
    drawn = _draw(spaces, check_integer("candidates", n_drawn, least=1), seed)
    if "seed" not in grid:
        return drawn
    return [one | {"seed": own} for one, own in itertools.product(drawn, grid["seed"])]


def _draw(spaces: Mapping[str, Any], n: int, seed: int) -> list[Row]:
    """Draw ``n`` different candidates, one after another; fewer if the spaces have no more."""
    spaces = {key: one if hasattr(one, "rvs") else Choice(one) for key, one in spaces.items()}
    rng, n_in_vain = stream(seed, Stream.CANDIDATES), 0
    found: dict[tuple[Any, ...], Row] = {}
    while len(found) < n and n_in_vain < _MOST_REPEATS * (len(found) + 1):
        one = {key: space.rvs(random_state=rng) for key, space in spaces.items()}
        known = found.setdefault(tuple(map(group_key, one.values())), one)
        n_in_vain = 0 if known is one else n_in_vain + 1
    if len(found) < n:
        warn_outside(
            f"`candidates` is {n}, but `grid` seems to have only {len(found)} different ones; all are used"
        )
    of_shape = {key: space for key, space in spaces.items() if key in OF_SHAPE}
    many = [key for key, one in of_shape.items() if not isinstance(one, Choice) or len(one.values) > _FEW]
    if many:
        shapes = {tuple(group_key(one[key]) for key in of_shape) for one in found.values()}
        warn_outside(
            f"candidates that differ in {' or '.join(many)} do not train in one stack: these {len(found)} "
            f"make at least {len(shapes)} stacks for each seed; give at most {_FEW} values for fewer stacks"
        )
    return [*found.values()]


def candidates_of(grid: Any, shared: Settings, *, default_seed: int, n_drawn: int | None = None) -> list[Row]:
    """Return the complete and checked settings of every run, in order."""
    if isinstance(grid, Mapping):
        settings = settings_of_grid(grid, n_drawn, seed=default_seed)
    elif n_drawn is not None:
        raise TypeError(f"`grid` must be a mapping, to draw `candidates` from; got {type(grid).__name__}")
    else:
        settings = list(grid) if isinstance(grid, Iterable) else [grid]
        if not all(isinstance(one, Mapping) for one in settings):
            raise TypeError(
                "`grid` must be a mapping of sequences or an iterable of mappings; "
                f"got {'an iterable' if isinstance(grid, Iterable) else type(grid).__name__}"
            )
    if not settings:
        raise ValueError("`grid` must hold at least one candidate; got none")
    names = (*DEFAULTS, *_COMMON, "seed")
    varied = {key: getattr(shared, key) for key in _COMMON if any(key in one for one in settings)}
    kinds: dict[str, Any] = {name: SETTINGS[name].kind for name in (*VARIED, "seed")}
    kinds["learning_rate"] = NOT_NEGATIVE  # unlike the option, it may be 0, which leaves a network unchanged
    candidates: list[Row] = []
    for one in settings:
        for key in one:
            if key not in names:
                listed = ", ".join(names)
                raise ValueError(f"`grid` must name settings among {listed}; got {key!r}{name_here(key)}")
        full = {**DEFAULTS, **varied, "seed": default_seed, **one}
        for name, kind in kinds.items():
            full[name] = kind.check(name, full[name])
        if full in candidates:
            raise ValueError(f"`grid` must name each candidate once; got {one} twice")
        candidates.append(full)
    return candidates


def settings_of_stack(shared: Settings, members: list[Row]) -> Settings:
    """Return the common settings of candidates that train in one stack."""
    own = {key: [one[key] for one in members] for key in PER_NETWORK}
    same = {key: members[0][key] for key in ("input_dropout", "batch_size", *_COMMON) if key in members[0]}
    varied: dict[str, Any] = own | same
    if shared.folds is not None:
        varied["fold"] = np.asarray([one["fold"] for one in members], np.int32)
    return replace(shared, **varied, rng=members[0]["seed"])


def stacks_of(runs: list[Row], most: Callable[[Row], int], *, folds_together: bool) -> list[list[int]]:
    """Return the indices of the runs of each stack. They differ only in settings that may vary in a stack.

    ``most`` returns the largest number of runs like a given one that should train at once.
    """
    own = (*_OWN, "fold") if folds_together else _OWN
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i in sorted(range(len(runs)), key=lambda i: runs[i].get("fold", 0)):
        shared = tuple(group_key(value) for key, value in runs[i].items() if key not in own)
        groups.setdefault(shared, []).append(i)
    found: list[list[int]] = []
    for members in groups.values():
        n_stacks = -(-len(members) // most(runs[members[0]]))
        size = -(-len(members) // n_stacks)
        found += [members[i : i + size] for i in range(0, len(members), size)]
    return found
