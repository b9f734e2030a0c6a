"""The array library and the device that the user asks for."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .._namespace import Array, HostArray, float_dtype, from_host, standard_namespace
from .._optional import how_to_install, require
from .._texts import first_line
from .._validation import check_choice
from ..settings import LIBRARIES


class Library(NamedTuple):
    """An array library, ready to be used on a device."""

    name: str
    xp: ModuleType
    device: Any
    dtype: str

    def put(self, host: HostArray) -> Array:
        """Copy host data to the device."""
        return from_host(host, xp=self.xp, device=self.device)

    def put_samples(self, X: HostArray) -> Array:
        """Copy raw samples to the device: uint8, which every library has, as it is, others as `dtype`."""
        return self.put(X if X.dtype == np.uint8 else X.astype(self.dtype))

    def put_labels(self, y: HostArray) -> Array:
        """Copy labels to the device as int32, which every library has."""
        return self.put(y.astype(np.int32))

    def __str__(self) -> str:
        where = "" if self.device is None else f" on {self.device}"
        return f"{self.name}{where}, {self.dtype}"


def open_library(name: str, device: str | None, dtype: str) -> Library:
    """Import a library, and find the device.

    Raises
    ------
    ImportError
        If the library cannot be imported; the message says why.
    ValueError
        If it has no such device, or CuPy has no device at all.
    TypeError
        If the device lacks the dtype.
    """
    check_choice("library", name, LIBRARIES)
    xp, place = {"numpy": _numpy, "torch": _torch, "jax": _jax, "cupy": _cupy}[name](device, dtype)
    xp = standard_namespace(xp)
    float_dtype(dtype, xp=xp, device=place)
    return Library(name, xp, place, dtype)


def _numpy(device: str | None, dtype: str) -> tuple[ModuleType, Any]:
    if device not in (None, "cpu"):
        raise ValueError(f"`--device` must be cpu for numpy, or be left out; got {device}")
    return np, device


def _torch(device: str | None, dtype: str) -> tuple[ModuleType, Any]:
    torch = require("torch", extra="torch", purpose="`--library torch`")
    if device is None:
        return torch, None
    try:
        place = torch.device(device)
        # Creating the device does not check that it exists; using it does.
        torch.zeros(1, device=place).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"`--device` must be one that PyTorch has here; got {device} ({first_line(error)})"
        ) from error
    return torch, place


def _jax(device: str | None, dtype: str) -> tuple[ModuleType, Any]:
    jax = require("jax", extra="jax", purpose="`--library jax`")
    if dtype == "float64":  # JAX would use float32 without this
        jax.config.update("jax_enable_x64", True)
    if device is None:
        return jax.numpy, None
    kind, _, number = device.partition(":")
    try:
        return jax.numpy, jax.devices(kind)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            "`--device` must be one that JAX has here, such as cpu or gpu:0; "
            f"got {device} ({first_line(error)})"
        ) from error


def _cupy(device: str | None, dtype: str) -> tuple[ModuleType, Any]:
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # a broken installation may raise anything
        raise ImportError(
            f"`--library cupy` needs CuPy, which could not be imported ({first_line(error)}); "
            f"install it with {how_to_install('cuda12')}, or with the extra `cuda13` for CUDA 13"
        ) from error
    n_devices, why = count_gpus(cupy)
    if not n_devices:
        raise ValueError(f"`--library cupy` needs a CUDA GPU: {why}")
    number = (device or "0").removeprefix("cuda:")
    if not number.isdecimal() or int(number) >= n_devices:
        raise ValueError(
            f"`--device` must be the number of a GPU, in [0, {n_devices}), for cupy; got {device}"
        )
    place = cupy.cuda.Device(int(number))
    place.use()  # CuPy creates arrays on the current device
    return cupy, place


def count_gpus(cupy: Any) -> tuple[int, str]:
    """Return the number of GPUs that CuPy finds, and the reason if it finds none."""
    try:
        n_devices = int(cupy.cuda.runtime.getDeviceCount())
    except (RuntimeError, OSError) as error:
        return 0, first_line(error)
    return n_devices, "" if n_devices else "CuPy finds no GPU"
