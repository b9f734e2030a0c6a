"""Splitting of rows for training, validation and testing: by class, by group or by time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .._namespace import HostArray
from .._validation import check_integer, check_number


def split_rows(
    y: HostArray,
    amounts: Mapping[str, float],
    seed: int,
    *,
    groups: Sequence[Any] | None = None,
    times: HostArray | None = None,
    given: Collection[str] = (),
    place: object,
) -> dict[str, HostArray]:
    """Return the rows of each split, (n,) int64 in ascending order, by name; "train" gets the rest.

    Parameters
    ----------
    y : numpy.ndarray, shape (N,)
        Labels.
    amounts : mapping
        Share of the rows, in [0, 1), or number of rows for "validation" and for "test".
    seed : int
        Seed of the draw. It is not used with ``times``.
    groups : sequence, optional
        The group of each row. Rows of a group stay in one split.
    times : numpy.ndarray, shape (N,), optional
        The time of each row, without nan. The latest rows are for testing, the latest before them for
        validation.
    given : collection of str
        Splits that exist already. No rows are drawn for them.
    place : object
        The source of the rows, for messages.
    """
    n_drawn = {
        name: 0 if name in given else number_of_rows(name, amount, len(y)) for name, amount in amounts.items()
    }
    if (times is not None or groups is not None) and sum(n_drawn.values()) >= len(y):
        raise ValueError(f"`validation` and `test` must leave rows to train on; {place} has {len(y)}")
    if times is not None:
        return _by_time(times, n_drawn, place)
    if groups is not None:
        return _by_group(groups, n_drawn, seed, place)
    return _by_class(y, n_drawn, seed, place)


def number_of_rows(name: str, amount: Any, n_rows: int) -> int:
    """Return a number of rows, given as that number (an int) or as a share of all rows (a float)."""
    if isinstance(amount, int | np.integer) and not isinstance(amount, bool):
        return check_integer(name, amount, least=0)
    share = check_number(name, amount, least=0.0)
    if share >= 1:
        raise ValueError(f"`{name}` must be below 1 where it is a share; got {amount}")
    return max(1, round(share * n_rows)) if share else 0


def _by_class(y: HostArray, n_drawn: Mapping[str, int], seed: int, place: object) -> dict[str, HostArray]:
    """Draw rows stratified by class. The rest is for training and has at least one row of each class."""
    n_all, n_samples = sum(n_drawn.values()), len(y)
    if n_all == 0:
        return {"train": np.arange(n_samples)}
    # Use raw bits of PCG64: NumPy guarantees that they never change, but not that permutations do not.
    bits = np.random.PCG64(seed).random_raw(n_samples + 2)
    ordered = np.lexsort((bits[:n_samples], y))
    # One random row of each class stays for training. The rest is in random order within each class.
    _, kept = np.unique(y[ordered], return_index=True)
    rest = np.delete(ordered, kept)
    if n_all > len(rest):
        raise ValueError(
            f"`validation` and `test` must leave a sample of every class to train on; they take {n_all} of "
            f"the {n_samples} samples in {len(kept)} classes that {place} holds"
        )
    drawn = rest[_spread(n_all, len(rest), start=int(bits[-2]))]
    to_test = _spread(n_drawn["test"], n_all, start=int(bits[-1]))
    parts = {"validation": np.delete(drawn, to_test), "test": drawn[to_test]}
    return _with_rest(parts, n_samples)


def _spread(n: int, among: int, *, start: int) -> HostArray:
    """Return ``n`` evenly spaced integers in [0, ``among``).

    So any interval of the integers, such as a class of the ordered rows, gets its share, up to one.
    """
    return np.asarray((np.arange(n) * among + start % among) // max(n, 1))


def _by_group(
    groups: Sequence[Any], n_drawn: Mapping[str, int], seed: int, place: object
) -> dict[str, HostArray]:
    """Draw whole groups, at least one for each split, so that the splits have about the wanted sizes."""
    try:
        names = sorted(set(groups), key=lambda one: (str(type(one)), one))
    except TypeError as error:
        raise TypeError(f"`group` must name a column of {place} of texts or numbers; got others") from error
    if len(names) < 1 + sum(n > 0 for n in n_drawn.values()):
        raise ValueError(
            f"`group` must divide the rows of {place} into at least one group a split; got {len(names)}"
        )
    number = {name: i for i, name in enumerate(names)}
    of_row = np.asarray([number[one] for one in groups])
    sizes = np.bincount(of_row)
    order = np.argsort(np.random.PCG64(seed).random_raw(len(names)), kind="stable")
    split_of_group = np.zeros(len(names), dtype=np.int64)  # 0 is for training
    wanted = [n_drawn["test"], n_drawn["validation"]]
    for split, n in enumerate(wanted, start=1):
        free = order[split_of_group[order] == 0]
        n_most = len(free) - 1 - sum(n_later > 0 for n_later in wanted[split:])
        taken: list[int] = []
        short = n  # rows that the split still lacks; a group is added if it brings this closer to 0
        for one in free:
            if len(taken) < n_most and abs(short - sizes[one]) < abs(short):
                taken.append(int(one))
                short -= int(sizes[one])
        if n and not taken:  # every group is far too large, so use the smallest
            taken = [int(free[np.argmin(sizes[free])])]
        split_of_group[taken] = split
    parts = {
        name: np.flatnonzero(split_of_group[of_row] == i) for i, name in enumerate(("test", "validation"), 1)
    }
    return _with_rest(parts, len(groups))


def _by_time(times: HostArray, n_drawn: Mapping[str, int], place: object) -> dict[str, HostArray]:
    """Return the latest rows for testing, and the latest before them for validation."""
    order, n_rows = np.argsort(times, kind="stable"), len(times)
    ordered, ends = times[order], [n_rows]
    for name in ("test", "validation"):
        end = max(ends[-1] - n_drawn[name], 0)
        # Rows of the same time stay together, in the later split.
        ends.append(end if end == ends[-1] else int(np.searchsorted(ordered, ordered[end])))
    if ends[-1] < 1:
        n_first = int(np.searchsorted(ordered, ordered[0], side="right"))
        raise ValueError(
            f"`time` must leave rows to train on; {n_first} of the {n_rows} rows of {place} have the same "
            "earliest time"
        )
    parts = {"test": order[ends[1] : ends[0]], "validation": order[ends[2] : ends[1]]}
    return _with_rest(parts, n_rows)


def _with_rest(parts: Mapping[str, HostArray], n_rows: int) -> dict[str, HostArray]:
    """Return the parts that have rows, each in ascending order, and the rest for training."""
    taken = np.concatenate(list(parts.values()))
    found = {"train": np.setdiff1d(np.arange(n_rows), taken)}
    return found | {name: np.sort(parts[name]) for name in ("validation", "test") if len(parts[name])}
