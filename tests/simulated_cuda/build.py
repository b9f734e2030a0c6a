"""Build the simulated CUDA device into a folder, and run a command with it.

Usage: python tests/simulated_cuda/build.py FOLDER [COMMAND ...]
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).parent
# Some compilers fortify by default; fortified code refuses to jump between the stacks of threads.
COMPILE = ("g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-fPIC", "-U_FORTIFY_SOURCE", f"-I{SOURCES}")
# Options for kernels: a product is rounded before it is added, instead of fused with the addition.
KERNEL = ("-std=c++17", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-fno-exceptions")

# Modules of CuPy that contain functions to simulate, and patterns of those functions' names.
REDIRECTED = {
    "cupy_backends/cuda/api/runtime": r"cuda[A-Z]\w+",
    "cupy/cuda/thrust": r"_Z\d+thrust_(arg|lex)?sort\w+",
}


def build(folder: Path) -> None:
    """Compile the device into the folder, unless the folder contains this version already."""
    missing = [tool for tool in ("g++", "nm") if shutil.which(tool) is None]
    if importlib.util.find_spec("cupy") is None:
        missing.append("CuPy (`pip install cupy-cuda13x==14.2.0`)")
    if missing:
        sys.exit(f"The simulated CUDA device cannot be built without {' and '.join(missing)}.")
    if re.search("[:;]", str(folder)):
        sys.exit(f"FOLDER must be a path without a colon or semicolon; got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in SOURCES.rglob("*") if path.suffix in (".cpp", ".h", ".py"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    built = folder / "version"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building the device
        if not built.is_file() or built.read_text(encoding="utf-8") != version:
            compile_all(folder, version)
            built.write_text(version, encoding="utf-8")


def compile_all(folder: Path, version: str) -> None:
    """Compile the libraries that CuPy loads, and the headers that its kernels include."""
    packages = Path(importlib.util.find_spec("cupy").origin).parents[1]
    shutil.copytree(SOURCES / "include", folder, dirs_exist_ok=True)
    shutil.copy(SOURCES / "device.h", folder)
    redirections = write_redirections(folder / "redirections.cpp", packages)
    simulated = ("memory.cpp", "threads.cpp", "runtime.cpp", "sorting.cpp", redirections)
    library(folder, "libcuda.so.1", *simulated)
    defined = (f'-DBUILD="{version}"', f'-DKERNEL_OPTIONS="{" ".join(KERNEL)}"')
    library(folder, "libnvrtc.so.13", "nvrtc.cpp", options=defined)
    cublas = cublas_stubs(folder / "cublas_stubs.cpp", packages)
    versions = folder / "cublas.map"
    versions.write_text("libcublas.so.13 { global: *; };\n", encoding="utf-8")
    linked = (folder / "libcuda.so.1", "-Xlinker", f"--version-script={versions}", "-Wl,-rpath,$ORIGIN")
    library(folder, "libcublas.so.13", "cublas.cpp", cublas, options=linked)
    library(folder, "libcublasLt.so.13")  # CuPy looks for it together with cuBLAS
    # Every kernel includes this header. If it is precompiled, a kernel compiles in a third of the time.
    header, includes = folder / "simulated_cuda.h", (f"-I{folder}", f"-I{packages / 'cupy/_core/include'}")
    run("g++", *KERNEL, *includes, "-x", "c++-header", header, "-o", f"{header}.gch")


def library(folder: Path, name: str, *sources: str | Path, options: tuple[str | Path, ...] = ()) -> None:
    paths = [SOURCES / source for source in sources]
    run(*COMPILE, "-shared", f"-Wl,-soname,{name}", *paths, *options, "-o", folder / name, "-ldl")


def write_redirections(path: Path, packages: Path) -> Path:
    """Write the addresses of the functions to redirect, and stubs for functions that are not simulated."""
    functions, rows = set(), []
    for module, pattern in REDIRECTED.items():
        (binary,) = packages.glob(f"{module}.*.so")
        for address, _, name in (line.split() for line in symbols("--defined-only", binary)):
            if re.fullmatch(pattern, name):
                functions.add(name)
                rows.append(f'  {{"/{module}.", 0x{address}, reinterpret_cast<void *>({name})}},')
    text = [
        "#include <cstdint>",
        stubs(functions, status=801),
        "struct Redirection { const char *module; uintptr_t offset; void *replacement; };",
        "extern const Redirection simulated_redirections[] = {",
        *rows,
        "  {nullptr, 0, nullptr}};",
    ]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def cublas_stubs(path: Path, packages: Path) -> Path:
    """Write a stub for each function of cuBLAS: Python cannot load CuPy's module if one is missing."""
    (module,) = packages.glob("cupy_backends/cuda/libs/cublas.*.so")
    names = {line.split()[-1].partition("@")[0] for line in symbols("--dynamic", "--undefined-only", module)}
    path.write_text(stubs((name for name in names if name.startswith("cublas")), status=15), encoding="utf-8")
    return path


def symbols(*arguments: str | Path) -> list[str]:
    command = list(map(str, ("nm", *arguments)))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def stubs(names: Iterable[str], *, status: int) -> str:
    """Return weak functions that print that they are missing; the linker prefers simulated functions."""
    lines = ['extern "C" void simulated_missing(const char *name);']
    for name in sorted(names):
        body = f'{{ simulated_missing("{name}"); return {status}; }}'
        lines.append(f'extern "C" __attribute__((weak)) int {name}() {body}')
    return "\n".join(lines) + "\n"


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment variables with which CuPy runs on the device in the folder."""
    return {
        "LD_LIBRARY_PATH": str(folder),
        "LD_PRELOAD": "libcuda.so.1",  # found in LD_LIBRARY_PATH; a path may contain no space here
        "CUDA_PATH": str(folder),  # so that no installed CUDA is found
        "CUPY_CACHE_DIR": str(folder / "kernels"),
        "CUPY_ACCELERATORS": "",  # without CUB, whose kernels run only on NVIDIA's devices
    }


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, command = Path(sys.argv[1]).resolve(), sys.argv[2:]
    build(folder)
    if command:
        os.execvpe(command[0], command, os.environ | environment(folder))
