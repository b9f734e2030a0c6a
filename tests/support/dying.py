"""Schedules that end, delay, fail or record the process that calls them; workers can import them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Dies:
    """A schedule that ends its process, until there is a mark for each death in a folder.

    Parameters
    ----------
    folder : str
        Where each death leaves a mark.
    times : int
        Number of deaths.
    caller : int
        Id of the process that does not die.
    seconds : float
        Seconds to wait before a death.
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
    """A schedule that sleeps for a time for each step, except in the caller's process."""

    seconds: float
    caller: int

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        if os.getpid() != self.caller:
            time.sleep(self.seconds * len(step))
        return np.ones(np.shape(step))


@dataclass(frozen=True)
class Raises:
    """A schedule that raises an error."""

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        raise LookupError("no rate today")


@dataclass(frozen=True)
class Notes:
    """A schedule that records its process, and the number of threads of its BLAS."""

    folder: str

    def __call__(self, step: Any, *, steps_per_epoch: int, steps: int) -> Any:
        import threadpoolctl

        pools = [
            pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
        ]
        Path(self.folder, f"{os.getpid()}.threads").write_text(repr(pools), encoding="ascii")
        return np.ones(np.shape(step))
