"""Shared parts of the benchmarks: timing of contestants in turns, tables of ratios, and the machine's data.

As a program, `python benchmarks/measuring.py LIBRARY` prints `described(LIBRARY)` as JSON.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# A process is idle if it used less than 0.001 s of processor time in 0.01 s.
QUIET = 0.01, 0.001
LONGEST_REST = 2.0  # seconds


class Contestant(NamedTuple):
    """Something to time: a call, which must wait for the device, and the number of steps that it takes."""

    call: Callable[[], object]
    steps: float = 1.0


def in_turns(
    contestants: Mapping[str, Contestant], *, rounds: int, seconds: float = 0.06
) -> dict[str, list[float]]:
    """Return the seconds per step of each contestant, a value for each round.

    The contestants take turns of about ``seconds`` in each round, so that a slow moment of the machine
    affects all of them. Before each turn there is a `rest`. The first call, which may compile, is not
    measured. A contestant whose first call raises is left out.
    """
    calls: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    for name, (call, _) in contestants.items():
        if not runs(name, call):
            continue
        start = time.perf_counter()
        call()
        calls[name] = max(1, round(seconds / max(time.perf_counter() - start, 1e-9)))
        times[name] = []
    for _ in range(rounds):
        for name, own in times.items():
            call, steps = contestants[name]
            rest()
            start = time.perf_counter()
            for _ in range(calls[name]):
                call()
            own.append((time.perf_counter() - start) / calls[name] / steps)
    return times


def runs(name: str, call: Callable[[], object]) -> bool:
    """Make a contestant's first call; print any exception, and return whether the call succeeded."""
    try:
        call()
    except Exception:  # noqa: BLE001  # a library may raise anything; the others continue
        print(f"{name} is left out:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return False
    return True


def rest() -> None:
    """Wait until this process is idle.

    The threads of a library keep looking for work after a call, OpenBLAS's for a tenth of a second on some
    processors. They would slow down the next contestant.
    """
    span, busy = QUIET
    end = time.perf_counter() + LONGEST_REST
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(span)
        if time.process_time() - before < busy:
            return


def ratios(times: Mapping[str, list[float]], name: str, to: str) -> list[float]:
    """Return the ratio of a contestant's time to another's, for each round."""
    return [a / b for a, b in zip(times[name], times[to], strict=True)]


def spread(values: list[float], digits: int = 2) -> str:
    """Return the median, and in brackets the quartiles; of fewer than four values, the lowest and highest."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) < 4:
        return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{middle} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]) + " |"
    return "\n".join([line(head), rule, *map(line, rows)])


def has(library: str, *, gpu: bool = False) -> bool:
    """Return whether a library is installed and, for CuPy or with ``gpu``, whether it finds a GPU."""
    if library == "cupy" or gpu:
        return bool((described(library) or {}).get("gpu"))
    return importlib.util.find_spec(library) is not None


def described(library: str) -> dict[str, Any] | None:
    """Return a library's version, its GPU and its version of CUDA; None if it is not installed."""
    if importlib.util.find_spec(library) is None:
        return None
    module = importlib.import_module(library)
    gpu = cuda = None
    if library == "cupy" and module.cuda.is_available():
        gpu = module.cuda.runtime.getDeviceProperties(0)["name"].decode()
        number = module.cuda.runtime.runtimeGetVersion()
        cuda = f"{number // 1000}.{number % 1000 // 10}"
    elif library == "torch" and module.cuda.is_available():
        gpu, cuda = module.cuda.get_device_name(), module.version.cuda
    elif library == "jax" and module.default_backend() == "gpu":
        gpu = module.devices()[0].device_kind
    return {"version": module.__version__, "gpu": gpu, "cuda": cuda}


def device_of(library: str, *, gpu: bool) -> Any:
    """Return the device to request. Only PyTorch needs one, because it uses the CPU by default."""
    if gpu and library == "torch":
        import torch

        return torch.device("cuda")
    return None


def machine() -> str:
    """Return a description of the machine: processor, BLAS with its kernels and threads, versions, GPU."""
    import numpy  # noqa: F401  # threadpoolctl sees only loaded libraries
    from threadpoolctl import threadpool_info

    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{processor()}, {here} processors, Python {platform.python_version()}"]
    for pool in threadpool_info():
        if pool["user_api"] == "blas" and "numpy" in pool["filepath"]:
            name, kernels = f"{pool['internal_api']} {pool['version']}", pool.get("architecture", "?")
            parts.append(f"{name}, {kernels} kernels, {pool['num_threads']} threads")
    names = ("numpy", "torch", "jax", "cupy", "cupy-cuda12x", "cupy-cuda13x", "scikit-learn")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    parts.append(", ".join(versions))
    if has("torch"):
        import torch

        if torch.cuda.is_available():
            parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def stored(path: Path | None, name: str, results: object) -> None:
    """Write results and the machine's data as JSON if a path is given.

    The file is written under a temporary name and then moved, so it is always complete.
    """
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine(), "results": results}, indent=1)
        beside = path / f".{name}.json"
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path / f"{name}.json")


if __name__ == "__main__":
    print(json.dumps(described(sys.argv[1])))
