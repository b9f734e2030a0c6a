"""A small table of people, as a CSV file: numbers and categories with gaps, a date, and identifiers."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

STATES = ("Bern", "Genf", "Jura", "Uri")
COLUMNS = ("customer", "age", "income", "state", "since", "member", "outcome")


def people(n: int, seed: int = 0, states: tuple[str, ...] = STATES) -> list[dict[str, Any]]:
    """Rows whose outcome depends on the age, on one of the states, and on the date."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        age, state = rng.normal(45, 12), str(rng.choice(states))
        since = date(2020, 1, 1) + timedelta(days=int(rng.integers(2000)))
        score = age + 15 * (state == "Jura") + 4 * (since.year - 2022) + rng.normal(0, 4)
        row: dict[str, Any] = {
            "customer": f"C{seed}{i:05d}",
            "age": "" if rng.random() < 0.1 else f"{age:.1f}",
            "income": "NA" if rng.random() < 0.1 else f"{rng.lognormal(10, 0.5):.0f}",
            "state": "" if rng.random() < 0.05 else state,
            "since": since.isoformat(),
            "member": "true" if rng.random() < 0.5 else "false",
            "outcome": "yes" if score > 50 else "no",
        }
        rows.append(row)
    return rows


def write(path: str | Path, rows: Iterable[dict[str, Any]], columns: Iterable[str] = COLUMNS) -> Path:
    """Write rows as a CSV file."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return Path(path)
