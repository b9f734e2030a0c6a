"""The simulated CUDA device: its results, and the errors that it detects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
from support import ROOT, TESTS
from support.backends import Backend

pytestmark = [pytest.mark.only_on("cupy"), pytest.mark.simulated]


@pytest.fixture
def cupy(backend: Backend) -> ModuleType:
    return pytest.importorskip("cupy")


def kernel(cupy: ModuleType, body: str, *, name: str = "f") -> object:
    return cupy.RawKernel(f'extern "C" __global__ void {name}(double *x, int n) {{ {body} }}', name)


# ---------------------------------------------------------------------------------------------------------
# Memory


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_memory_that_was_never_written_reads_as_nan(cupy, dtype):
    for _ in range(2):  # the second array may get the memory of the first
        array = cupy.empty(100, dtype)
        assert np.isnan(array.get()).all()
        array[...] = 1
    assert (cupy.empty(5, "int64").get() == -1).all()


@pytest.mark.parametrize("body", ["x[n] = 1;", "x[0] = x[n];", "x[n + 100] = 1;"])
@pytest.mark.parametrize("n", [1, 3, 512, 1000])
def test_an_access_past_the_end_is_found(cupy, body, n):
    x = cupy.zeros(n)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="cudaErrorIllegalAddress"):
        kernel(cupy, body)((1,), (1,), (x, np.int32(n)))
    assert (x.get() == 0).all()
    kernel(cupy, "x[n - 1] = 1;")((1,), (1,), (x, np.int32(n)))  # the device still works
    assert x.get().tolist() == [0.0] * (n - 1) + [1.0]


def test_a_write_before_the_start_is_found_when_memory_is_freed(cupy):
    pointer = cupy.cuda.runtime.malloc(24)
    x = cupy.ndarray(3, memptr=cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(pointer, 24, None), 0))
    kernel(cupy, "x[0] = 1; x[-1] = 1;")((1,), (1,), (x, np.int32(3)))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorIllegalAddress"):
        cupy.cuda.runtime.free(pointer)


def test_freed_memory_cannot_be_used(cupy):
    pointer = cupy.cuda.runtime.malloc(24)
    x = cupy.ndarray(3, memptr=cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(pointer, 24, None), 0))
    cupy.cuda.runtime.free(pointer)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="cudaErrorIllegalAddress"):
        kernel(cupy, "x[0] = 1;")((1,), (1,), (x, np.int32(3)))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidValue"):
        cupy.cuda.runtime.free(pointer)


def test_memory_of_another_device_cannot_be_accessed(cupy):
    with cupy.cuda.Device(1):
        x = cupy.zeros(3)
        kernel(cupy, "x[0] = 1;")((1,), (1,), (x, np.int32(3)))
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="cudaErrorIllegalAddress"):
        kernel(cupy, "x[1] = 1;")((1,), (1,), (x, np.int32(3)))
    assert x.get().tolist() == [1, 0, 0]


def test_arrays_are_copied_between_devices(cupy):
    with cupy.cuda.Device(1):
        x = cupy.arange(3.0)
    copied = cupy.asarray(x, copy=True)
    assert copied.device.id == 0
    assert (copied + 1).get().tolist() == [1, 2, 3]


def test_an_allocation_larger_than_the_memory_is_refused(cupy):
    free, total = cupy.cuda.runtime.memGetInfo()
    assert 0 < free <= total
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
        cupy.cuda.MemoryPool().malloc(total + 1)


def test_host_code_that_touches_device_memory_dies(cupy):
    program = "import ctypes, cupy; x = cupy.zeros(3); print(x, flush=True); ctypes.string_at(x.data.ptr, 8)"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == "[0. 0. 0.]\n"
    assert found.returncode == -signal.SIGSEGV


# ---------------------------------------------------------------------------------------------------------
# Threads

# The sum of 64 numbers; each round adds the second half of the numbers to the first half.
SUM = """
    __shared__ double shared[64];
    unsigned i = threadIdx.x;
    shared[i] = x[i];
    BARRIER
    for (int half = 32; half > 0; half /= 2) {
        if (i < half) shared[i] += shared[i + half];
        BARRIER
    }
    if (i == 0) x[0] = shared[0];
"""


def test_threads_wait_for_each_other_at_a_barrier(cupy):
    x = cupy.arange(64.0)
    kernel(cupy, SUM.replace("BARRIER", "__syncthreads();"))((1,), (64,), (x, np.int32(64)))
    assert x.get()[0] == 63 * 32


def test_without_a_barrier_shared_memory_is_read_before_it_is_written(cupy):
    body = "__shared__ double shared[64]; int i = threadIdx.x; shared[i] = 1; BARRIER x[i] = shared[63 - i];"
    for barrier, n_seen in (("", 32), ("__syncthreads();", 64)):
        x = cupy.zeros(64)
        kernel(cupy, body.replace("BARRIER", barrier))((1,), (64,), (x, np.int32(64)))
        assert (x.get() == 1).sum() == n_seen
        assert np.isnan(x.get()).sum() == 64 - n_seen


def test_a_barrier_that_some_threads_never_reach_is_an_error(cupy):
    body = "if (threadIdx.x == 0) __syncthreads(); else __syncwarp();"
    x = cupy.arange(64.0)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="cudaErrorLaunchTimeout"):
        kernel(cupy, body)((1,), (64,), (x, np.int32(64)))
    kernel(cupy, SUM.replace("BARRIER", "__syncthreads();"))((1,), (64,), (x, np.int32(64)))
    assert x.get()[0] == 63 * 32


def test_threads_of_a_warp_exchange_values(cupy):
    x = cupy.arange(96.0)
    body = "double own = x[threadIdx.x]; for (int i = 16; i > 0; i /= 2) own += __shfl_xor_sync(-1, own, i);"
    kernel(cupy, body + "__syncthreads(); x[threadIdx.x] = own;")((1,), (96,), (x, np.int32(96)))
    expected = np.arange(96.0).reshape(3, 32).sum(axis=1, keepdims=True)
    assert (x.get().reshape(3, 32) == expected).all()


def test_every_thread_of_every_block_runs_once(cupy):
    x = cupy.zeros(4 * 3 * 2 * 8 * 4 * 2)
    body = """
        int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        atomicAdd(x + block * blockDim.x * blockDim.y * blockDim.z + thread, 1.0);
    """
    kernel(cupy, body)((4, 3, 2), (8, 4, 2), (x, np.int32(0)))
    assert (x.get() == 1).all()


def test_a_kernel_may_be_named_like_a_function_of_the_c_library(cupy):
    x = cupy.zeros(1)
    kernel(cupy, "x[0] = n;", name="times")((1,), (1,), (x, np.int32(7)))
    assert x.get()[0] == 7


def test_a_kernel_that_does_not_compile_raises_the_compilers_message(cupy):
    with pytest.raises(cupy.cuda.compiler.CompileException, match="nothing"):
        kernel(cupy, "x[0] = nothing;").compile()


# ---------------------------------------------------------------------------------------------------------
# Numbers


def test_conversions_of_half_precision_agree_with_numpy(cupy):
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    np.testing.assert_array_equal(cupy.asarray(halves).astype("float32").get(), halves.astype("float32"))
    singles = np.random.default_rng(0).standard_normal(1000).astype("float32") * np.float32(1e-4)
    np.testing.assert_array_equal(cupy.asarray(singles).astype("float16").get(), singles.astype("float16"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stack", [(), (3,)])
def test_products_of_any_layout_agree_with_numpy(cupy, dtype, stack):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((*stack, *shape)).astype(dtype) for shape in ((4, 5), (5, 6)))
    for left in (cupy.asarray(a), cupy.asarray(np.ascontiguousarray(a.mT)).mT):
        for right in (cupy.asarray(b), cupy.asarray(np.ascontiguousarray(b.mT)).mT):
            np.testing.assert_allclose((left @ right).get(), a @ b, rtol=1e-5)
    if stack:
        return  # CuPy multiplies a stack by a vector with arrays of pointers, which are not simulated
    vector = rng.standard_normal(5).astype(dtype)
    np.testing.assert_allclose((cupy.asarray(a) @ cupy.asarray(vector)).get(), a @ vector, rtol=1e-5)


def test_a_sort_that_is_not_simulated_raises(cupy):
    with pytest.raises(RuntimeError, match="the simulated CUDA device does not sort this dtype"):
        cupy.sort(cupy.zeros(3, "float16"))
    with pytest.raises(RuntimeError, match="the simulated CUDA device has no lexsort"):
        cupy.lexsort(cupy.zeros((2, 3)))


def test_integers_are_summed_along_an_axis(cupy):
    values = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(cupy.cumsum(cupy.asarray(values), axis=1).get(), values.cumsum(axis=1))


def test_sorting_puts_nan_last(cupy):
    values = np.random.default_rng(0).integers(0, 5, (4, 7)).astype("float64")
    values[1, 2] = np.nan
    np.testing.assert_array_equal(cupy.sort(cupy.asarray(values)).get(), np.sort(values))
    order = cupy.argsort(cupy.asarray(values)).get()
    np.testing.assert_array_equal(order, np.argsort(values, kind="stable"))


# ---------------------------------------------------------------------------------------------------------
# Negative controls: the tests must detect faults in kernels

FAULTS = ("factor", "index-past-the-end", "labels-in-the-wrong-layout", "no-barrier")


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_fault_in_a_kernel_makes_a_test_fail(cupy, fault, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--backend=cupy",
        "--only-backends",
        "--maxfail=1",
        "tests/mathematics/test_mathematics.py",
    ]
    command += ["--hypothesis-profile=few", "-p", "no:cacheprovider"]
    path = os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))
    environment = os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}
    # In reverse order, a reduction by halves needs no barrier.
    environment.pop("SIMULATED_CUDA_REVERSED", None)
    if fault is not None:
        command += ["-p", "simulated_cuda.faults"]
        environment |= {"SIMULATED_CUDA_FAULT": fault, "CUPY_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == (0 if fault is None else 1), found.stdout
    assert fault is None or " 1 failed" in found.stdout
    assert "CompileException" not in found.stdout
