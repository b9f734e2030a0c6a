"""Parts that the benchmarks share: contestants that take turns, tables of ratios, and the machine's data.

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

QUIET = 0.01, 0.001  # a library's threads are at rest when in so many seconds they took less than so many
LONGEST_REST = 2.0  # seconds


class Contestant(NamedTuple):
    """Something to time: a call, which waits for the device, and how many steps it makes."""

    call: Callable[[], object]
    steps: float = 1.0


def in_turns(
    contestants: Mapping[str, Contestant], *, rounds: int, seconds: float = 0.06
) -> dict[str, list[float]]:
    """Seconds a step of each contestant, a value for each round.

    They take turns of about ``seconds``, round by round, so that a slow moment of the machine falls on all of
    them; between turns there is a `rest`. What a first call costs, a compiler's work for one, is not counted.
    A contestant whose first call raises is left out, and the others are measured.
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
    """Make a contestant's first call; print what it raises, and return whether it raised nothing."""
    try:
        call()
    except Exception:  # noqa: BLE001  # whatever its library raises: the others go on
        print(f"{name} is left out:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return False
    return True


def rest() -> None:
    """Wait until this process is idle.

    The threads of a library go on looking for work for a while, OpenBLAS's for a tenth of a second on some
    processors, and would slow down whatever is timed next.
    """
    span, busy = QUIET
    end = time.perf_counter() + LONGEST_REST
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(span)
        if time.process_time() - before < busy:
            return


def ratios(times: Mapping[str, list[float]], name: str, to: str) -> list[float]:
    """How many times as long as another contestant one took, round by round."""
    return [a / b for a, b in zip(times[name], times[to], strict=True)]


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and in brackets the quartiles."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) < 4:
        return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{middle} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, its columns aligned."""
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
    """Return whether a library is installed; if it is CuPy, or with ``gpu``, whether it finds a GPU, too."""
    if library == "cupy" or gpu:
        return bool((described(library) or {}).get("gpu"))
    return importlib.util.find_spec(library) is not None


def described(library: str) -> dict[str, Any] | None:
    """Return a library's version, and the GPU and the CUDA that it finds; None if it is not installed."""
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
    """Return the device to ask for; only PyTorch needs one, as it computes on the processor by default."""
    if gpu and library == "torch":
        import torch

        return torch.device("cuda")
    return None


def machine() -> str:
    """The machine and what runs on it: processor, BLAS with its kernels and threads, versions, GPU."""
    import numpy  # noqa: F401  # so that its BLAS is there to be seen
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
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def stored(path: Path | None, name: str, results: object) -> None:
    """Write results and the machine's data as JSON if a path is given; the file is moved there whole."""
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine(), "results": results}, indent=1)
        beside = path / f".{name}.json"
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path / f"{name}.json")


if __name__ == "__main__":
    print(json.dumps(described(sys.argv[1])))
