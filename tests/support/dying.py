"""Schedules that end the process in which they are called, or disturb it; workers can import them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Dies:
    """A schedule that ends its process, as often as it can leave a mark in a folder.

    Parameters
    ----------
    folder : str
        Where to leave a mark for each death.
    times : int
        How often to die.
    caller : int
        The process that does not die.
    seconds : float
        How long to wait before.
    """

    folder: str
    times: int
    caller: int
    seconds: float = 0.0

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        if os.getpid() != self.caller:
            for number in range(self.times):
                try:
                    Path(self.folder, f"death-{number}").touch(exist_ok=False)
                except FileExistsError:
                    continue
                time.sleep(self.seconds)
                os._exit(1)
        return np.ones(np.shape(step))


@dataclass(frozen=True)
class Waits:
    """A schedule that takes its time before each step, unless it is in the process of the caller."""

    seconds: float
    caller: int

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        if os.getpid() != self.caller:
            time.sleep(self.seconds * len(step))
        return np.ones(np.shape(step))


@dataclass(frozen=True)
class Raises:
    """A schedule that raises."""

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        raise LookupError("no rate today")


@dataclass(frozen=True)
class Notes:
    """A schedule that writes down its process, and how many threads its BLAS has."""

    folder: str

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        import threadpoolctl

        pools = [
            pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
        ]
        Path(self.folder, f"{os.getpid()}.threads").write_text(repr(pools), encoding="ascii")
        return np.ones(np.shape(step))
