"""``twolayer info``: the available array libraries, devices and BLAS."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._optional import how_to_install, require
from .._texts import first_line
from .._version import __version__
from ..settings import LIBRARIES
from .console import Console
from .devices import count_gpus

# Kernels of OpenBLAS with vectors of at most 256 bits; a processor with AVX-512 has vectors of 512.
_NARROW = ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2")
_WIDE = "SKYLAKEX"


def show_information(console: Console) -> dict[str, Any]:
    """Show the libraries, devices and BLAS, and return them as data."""
    cpu, pools = cpuinfo(), blas_pools()
    processor = cpu.get("model name") or platform.processor()
    found: dict[str, Any] = {
        "twolayer": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "n_processors": os.cpu_count(),
        "processor": processor or None,
        "libraries": [find_library(name) for name in LIBRARIES],
        "blas": pools,
        "advice": advice(pools, cpu.get("flags", "").split(), os.environ),
    }
    console.result(f"twolayer {__version__}, Python {found['python']}, {found['platform']}")
    console.result(f"{found['n_processors']} processors{f': {processor}' if processor else ''}")
    columns: tuple[str, ...] = ("--library", "version", "devices")
    rows = [_library_row(**one) for one in found["libraries"]]
    console.table(columns, rows, title="Array libraries", left=columns)
    columns = ("library", "version", "kernels", "threads")
    rows = [tuple(str(pool.get(key) or "unknown") for key in ("name", *columns[1:])) for pool in pools]
    console.table(columns, rows, title="NumPy's linear algebra (BLAS)", left=columns)
    for line in found["advice"]:
        console.result(line)
    return found


def find_library(name: str) -> dict[str, Any]:
    """Return the version and the devices of a library, or the problem with it."""
    found: dict[str, Any] = {"name": name, "version": None, "devices": [], "problem": None}
    if importlib.util.find_spec(name) is None:
        how = how_to_install("cuda12" if name == "cupy" else name).replace("`", "")
        return found | {"problem": f"not installed: {how}{'; cuda13 for CUDA 13' if name == 'cupy' else ''}"}
    try:
        library = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # a broken installation must not hide the others
        # CuPy's message has many lines, of which the first is enough.
        why = first_line(error) if name == "cupy" else f"{type(error).__name__}: {error}"
        return found | {"problem": f"does not import: {why}"}
    devices, why = ["cpu"], ""
    if name == "cupy":
        n_devices, why = count_gpus(library)
        runtime = library.cuda.runtime
        devices = [f"{i}: {runtime.getDeviceProperties(i)['name'].decode()}" for i in range(n_devices)]
    elif name == "torch":
        cuda = library.cuda
        devices += [f"cuda:{i} ({cuda.get_device_name(i)})" for i in range(cuda.device_count())]
    elif name == "jax":
        devices = [f"{one.platform}:{one.id} ({one.device_kind})" for one in library.devices()]
    problem = None if devices else f"none: {why}"
    return found | {"version": str(library.__version__), "devices": devices, "problem": problem}


def _library_row(name: str, version: str | None, devices: list[str], problem: str | None) -> tuple[str, ...]:
    if version is None:
        state, _, why = str(problem).partition(": ")
        return name, state, why
    return name, version, ", ".join(devices) or str(problem)


def blas_pools() -> list[dict[str, Any]]:
    """Return the BLAS libraries that NumPy has loaded: name, version, kernels and threads, where known."""
    try:
        threadpoolctl = require("threadpoolctl", extra="cli", purpose="Naming the kernels")
    except ImportError:
        built = np.show_config(mode="dicts")
        blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
        return [{"name": blas.get("name"), "version": blas.get("version")}]
    # Compute a product, so that the library is certainly loaded.
    np.ones((2, 2)) @ np.ones((2, 2))
    return [
        {
            "name": pool["internal_api"],
            "version": pool["version"],
            "kernels": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]


def advice(pools: list[dict[str, Any]], flags: Collection[str], environment: Mapping[str, str]) -> list[str]:
    """Return hints at settings that would make NumPy faster, one line each.

    Parameters
    ----------
    pools : list of dict
        As `blas_pools` returns them.
    flags : collection of str
        The processor's features, as Linux names them; empty if they are not known.
    environment : mapping
    """
    chosen = environment.get("OPENBLAS_CORETYPE")
    lines = []
    for pool in pools:
        name, kernels = str(pool.get("name")).lower(), pool.get("kernels")
        narrow = kernels is not None and kernels.lower() in _NARROW
        if "openblas" in name and narrow and "avx512f" in flags:
            lines.append(
                f"This processor has AVX-512, but OpenBLAS uses the slower {kernels} kernels"
                + (f", as OPENBLAS_CORETYPE={chosen} requests. " if chosen else ". ")
                + f"Try the environment variable OPENBLAS_CORETYPE={_WIDE}."
            )
        elif "openblas" in name and kernels is None:
            lines.append(
                "Install threadpoolctl to see the kernels of OpenBLAS: python -m pip install threadpoolctl"
                + (f". OPENBLAS_CORETYPE is {chosen}." if chosen else ".")
            )
    return lines


def cpuinfo() -> dict[str, str]:
    """Return the entries of the first processor in Linux's /proc/cpuinfo; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    parts = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in parts}
