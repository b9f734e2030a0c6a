"""Splits of rows for training, validation and the test: by class, by group or by time."""

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
    """Return the rows of each split, (n,) int64 in ascending order, by its name; "train" has the rest.

    Parameters
    ----------
    y : numpy.ndarray, shape (N,)
        Labels.
    amounts : mapping
        Share in [0, 1) or number of rows of "validation" and of "test".
    seed : int
        Of the draw.
    groups : sequence, optional
        The group of each row. Rows of one group stay together.
    times : numpy.ndarray, shape (N,), optional
        The time of each row, without nan. The latest rows are for the test, the latest before them for
        validation.
    given : collection of str
        Splits that are there already, of which no rows are drawn.
    place : object
        Where the rows are from, for messages.
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
    """Return the number of rows that a share, a float, or a number, an int, stands for."""
    if isinstance(amount, int | np.integer) and not isinstance(amount, bool):
        return check_integer(name, amount, least=0)
    share = check_number(name, amount, least=0.0)
    if share >= 1:
        raise ValueError(f"`{name}` must be below 1 where it is a share; got {amount}")
    return max(1, round(share * n_rows)) if share else 0


def _by_class(y: HostArray, n_drawn: Mapping[str, int], seed: int, place: object) -> dict[str, HostArray]:
    """Draw rows so that each class gives its share, and leave the rest, with a row of each, for training."""
    n_all, n_samples = sum(n_drawn.values()), len(y)
    if n_all == 0:
        return {"train": np.arange(n_samples)}
    # Raw bits of PCG64: NumPy promises that these never change, and promises it of no permutation.
    bits = np.random.PCG64(seed).random_raw(n_samples + 2)
    ordered = np.lexsort((bits[:n_samples], y))
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
    """Return ``n`` of ``among`` places, evenly spaced: a run of them has its share, give or take one."""
    return np.asarray((np.arange(n) * among + start % among) // max(n, 1))


def _by_group(
    groups: Sequence[Any], n_drawn: Mapping[str, int], seed: int, place: object
) -> dict[str, HostArray]:
    """Draw whole groups, at least one for a split, so that each has about as many rows as it shall."""
    try:
        names = sorted(set(groups), key=lambda one: (str(type(one)), one))
    except TypeError as error:
        raise TypeError(f"`group` must name a column of {place} of texts or numbers; got others") from error
    if len(names) < 1 + sum(n > 0 for n in n_drawn.values()):
        raise ValueError(
            f"`group` must divide the rows of {place} into as many groups as splits or more; got {len(names)}"
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
        short = n
        for one in free:
            if len(taken) < n_most and abs(short - sizes[one]) < abs(short):
                taken.append(int(one))
                short -= int(sizes[one])
        if n and not taken:  # every group is far larger
            taken = [int(free[np.argmin(sizes[free])])]
        split_of_group[taken] = split
    parts = {
        name: np.flatnonzero(split_of_group[of_row] == i) for i, name in enumerate(("test", "validation"), 1)
    }
    return _with_rest(parts, len(groups))


def _by_time(times: HostArray, n_drawn: Mapping[str, int], place: object) -> dict[str, HostArray]:
    """Take the latest rows for the test, the latest before them for validation; equal times stay together."""
    order, n_rows = np.argsort(times, kind="stable"), len(times)
    ordered, ends = times[order], [n_rows]
    for name in ("test", "validation"):
        end = max(ends[-1] - n_drawn[name], 0)
        # Rows of the same time stay together, in the later split.
        ends.append(end if end == ends[-1] else int(np.searchsorted(ordered, ordered[end])))
    if ends[-1] < 1:
        n_first = int(np.searchsorted(ordered, ordered[0], side="right"))
        raise ValueError(
            f"`time` must leave rows to train on; {n_first} of the {n_rows} rows of {place} have one time, "
            "the earliest"
        )
    parts = {"test": order[ends[1] : ends[0]], "validation": order[ends[2] : ends[1]]}
    return _with_rest(parts, n_rows)


def _with_rest(parts: Mapping[str, HostArray], n_rows: int) -> dict[str, HostArray]:
    """Return the parts that have rows, in ascending order, and the rest for training."""
    taken = np.concatenate(list(parts.values()))
    found = {"train": np.setdiff1d(np.arange(n_rows), taken)}
    return found | {name: np.sort(parts[name]) for name in ("validation", "test") if len(parts[name])}
