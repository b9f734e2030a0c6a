"""``twolayer info``: what there is to compute with."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import how_to_install, require
from .._version import __version__
from .console import Console
from .libraries import count_gpus, find_cupy

# Kernels of OpenBLAS that use 256 bits where a processor with AVX-512 has 512.
_NARROW = ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2")
_WIDE = "SKYLAKEX"


def show_information(console: Console) -> None:
    """Write what was found."""
    console.result(f"twolayer {__version__}, Python {platform.python_version()}, {platform.platform()}")
    processor = processor_name()
    console.result(f"{os.cpu_count()} processors{f': {processor}' if processor else ''}")
    finders: dict[str, Callable[[], tuple[str, str]]] = {
        "numpy": lambda: (np.__version__, "cpu"),
        "cupy": _cupy,
        "torch": _torch,
        "jax": _jax,
    }
    libraries = {name: find() for name, find in finders.items()}
    console.table(
        ("--library", "version", "devices"),
        [(name, *found) for name, found in libraries.items()],
        title="Array libraries",
        left=("--library", "version", "devices"),
    )
    pools = blas_pools()
    console.table(
        ("library", "version", "kernels", "threads"),
        [tuple(_shown(pool.get(key)) for key in ("name", "version", "kernels", "threads")) for pool in pools],
        title="NumPy's linear algebra (BLAS)",
        left=("library", "version", "kernels", "threads"),
    )
    lines = advice(pools, processor_flags(), dict(os.environ))
    for line in lines:
        console.result(line)
    console.answer(
        {
            "twolayer": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "n_processors": os.cpu_count(),
            "processor": processor or None,
            "libraries": [_library_as_data(name, *found) for name, found in libraries.items()],
            "blas": pools,
            "advice": lines,
        }
    )


def _library_as_data(name: str, version: str, devices: str) -> dict[str, Any]:
    """Return what was found of a library: its version where it can be imported, else why it cannot."""
    found = version[:1].isdigit()
    usable = found and not devices.startswith("none: ")
    return {
        "name": name,
        "version": version if found else None,
        "devices": devices.split(", ") if usable else [],
        "problem": None if usable else devices if found else f"{version}: {devices}",
    }


def blas_pools() -> list[dict[str, Any]]:
    """Return the BLAS libraries that NumPy has loaded: name, version, kernels and threads, where known."""
    try:
        threadpoolctl = require("threadpoolctl", extra="cli", purpose="Naming the kernels")
    except ImportError:
        built = np.show_config(mode="dicts")
        blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
        return [{"name": blas.get("name"), "version": blas.get("version")}]
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


def advice(pools: list[dict[str, Any]], flags: set[str], environment: dict[str, str]) -> list[str]:
    """Return what would make NumPy faster, a line each.

    Parameters
    ----------
    pools : list of dict
        As `blas_pools` gives them.
    flags : set of str
        What the processor can, as Linux names it; empty where that is not known.
    environment : dict
    """
    chosen = environment.get("OPENBLAS_CORETYPE")
    lines = []
    for pool in pools:
        name, kernels = str(pool.get("name")).lower(), pool.get("kernels")
        narrow = kernels is not None and kernels.lower() in _NARROW
        if "openblas" in name and narrow and "avx512f" in flags:
            lines.append(
                f"There are faster kernels: this processor has AVX-512, but OpenBLAS uses its {kernels} ones"
                + (f", as OPENBLAS_CORETYPE={chosen} says. " if chosen else ". ")
                + f"Try OPENBLAS_CORETYPE={_WIDE} in the environment."
            )
        elif "openblas" in name and kernels is None:
            lines.append(
                "Which kernels it uses is told by threadpoolctl: python -m pip install threadpoolctl"
                + (f". OPENBLAS_CORETYPE is {chosen}." if chosen else ".")
            )
    return lines


def processor_flags() -> set[str]:
    """Return what the processor can, where Linux tells it."""
    for line in _cpuinfo():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def processor_name() -> str:
    """Return what the processor is called, where it is known."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _shown(value: Any) -> str:
    return "not known" if value is None else str(value)


def _imported(name: str) -> tuple[Any, str]:
    """Import a library; return None and why where that fails, in whatever way it does."""
    if importlib.util.find_spec(name) is None:
        return None, how_to_install(name).replace("`", "")
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # noqa: BLE001  # a broken installation must not hide the others
        return None, f"{type(error).__name__}: {error}"


def _cupy() -> tuple[str, str]:
    if importlib.util.find_spec("cupy") is None:
        return "not installed", f"{how_to_install('cuda12').replace('`', '')}; cuda13 for CUDA 13"
    cupy, why = find_cupy()
    if cupy is None:
        return "does not import", why
    n_devices, why = count_gpus(cupy)
    if not n_devices:
        return str(cupy.__version__), f"none: {why}"
    names = (
        f"{number}: {cupy.cuda.runtime.getDeviceProperties(number)['name'].decode()}"
        for number in range(n_devices)
    )
    return str(cupy.__version__), ", ".join(names)


def _torch() -> tuple[str, str]:
    torch, why = _imported("torch")
    if torch is None:
        return _absent("torch"), why
    devices = ["cpu"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return str(torch.__version__), ", ".join(devices)


def _jax() -> tuple[str, str]:
    jax, why = _imported("jax")
    if jax is None:
        return _absent("jax"), why
    devices = [f"{one.platform}:{one.id} ({one.device_kind})" for one in jax.devices()]
    return str(jax.__version__), ", ".join(devices)


def _absent(name: str) -> str:
    return "not installed" if importlib.util.find_spec(name) is None else "does not import"
