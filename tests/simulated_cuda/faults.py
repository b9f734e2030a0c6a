"""A pytest plugin that inserts a fault into CuPy's kernels; each fault must make a test fail.

Usage: PYTHONPATH=tests SIMULATED_CUDA_FAULT=factor CUPY_CACHE_DIR=FOLDER pytest -p simulated_cuda.faults

SIMULATED_CUDA_FAULT is a key of `FAULTS`; each fault needs a CUPY_CACHE_DIR of its own.
"""

from __future__ import annotations

import os
import re
from typing import Any

from cupy.cuda import compiler

# For each fault, a pattern to replace in the source of every kernel, and its replacement.
FAULTS = {
    "factor": (r"\bexp\(", "1.01 * exp("),
    "index-past-the-end": (r"CUPY_FOR\(i, _ind\.size\(\)\)", "CUPY_FOR(i, _ind.size() + 1)"),
    "labels-in-the-wrong-layout": (
        r"(cupy_equal__\w+\((?:.|\n)*?)_raw_in0\[_ind\.get\(\)\]",
        r"\1_raw_in0[_ind.size() - 1 - i]",
    ),
    "no-barrier": (r"__sync(threads|warp)\(\)", ""),
}

compile_unchanged = compiler._compile_using_nvrtc_no_warning
pattern, replacement = FAULTS[os.environ["SIMULATED_CUDA_FAULT"]]


def compile_with_the_fault(source: str, *args: Any, **options: Any) -> Any:
    return compile_unchanged(re.sub(pattern, replacement, source), *args, **options)


compiler._compile_using_nvrtc_no_warning = compile_with_the_fault
