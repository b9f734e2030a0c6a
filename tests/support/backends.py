"""The array libraries, devices and settings that tests run on."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from twolayer._namespace import dtype_name, from_host, standard_namespace, to_host

N_DEVICES = 8  # in the mesh over which arrays of the backend jax-sharded are divided


def force_devices() -> None:
    """Give JAX `N_DEVICES` devices on a CPU. It must not have been imported before."""
    flag = f"--xla_force_host_platform_device_count={N_DEVICES}"
    flags = os.environ.get("XLA_FLAGS", "").split()
    if flag not in flags:
        os.environ["XLA_FLAGS"] = " ".join([*flags, flag])


def mesh_sharding(
    *spec: Any, names: tuple[str, ...] = ("data",), sizes: tuple[int, ...] = (N_DEVICES,)
) -> Any:
    """Return a JAX sharding over a mesh of forced devices; without a ``spec``, arrays are whole on each."""
    import jax

    types = (jax.sharding.AxisType.Auto,) * len(names)
    mesh = jax.make_mesh(sizes, names, axis_types=types, devices=jax.devices("cpu"))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))


@dataclass(frozen=True)
class Backend:
    """An array library with a device, dtypes and settings."""

    name: str
    library: str
    module: str
    device_name: str | None = None
    dtypes: tuple[str, ...] = ("float32", "float64")
    settings: tuple[tuple[str, Any], ...] = ()
    option: str = ""  # its name for `--backend`, if that is not its library

    @property
    def choice(self) -> str:
        """The name for `--backend`."""
        return self.option or self.library

    @property
    def xp(self) -> ModuleType:
        return standard_namespace(importlib.import_module(self.module))

    @property
    def device(self) -> Any:
        if self.name == "jax-sharded":
            return mesh_sharding()
        if self.device_name is None:
            return None
        if self.library == "jax":
            return importlib.import_module("jax").devices(self.device_name)[0]
        make = self.xp.device if self.library == "torch" else self.xp.Device
        return make(self.device_name)

    @property
    def dtype(self) -> str:
        """The widest floating dtype of the backend."""
        return self.dtypes[-1]

    @property
    def rtol(self) -> float:
        """The relative tolerance for the rounding of a short computation in `dtype`."""
        return 4 * float(np.sqrt(np.finfo(self.dtype).eps)) if self.dtype == "float32" else 1e-9

    def array(self, host: Any, dtype: str | None = None) -> Any:
        """Copy a host array to the backend, floating values in ``dtype``, by default the widest."""
        host = np.asarray(host)
        if host.dtype.kind == "f":
            host = host.astype(dtype or self.dtype)
        elif dtype is not None:
            host = host.astype(dtype)
        array = from_host(host, xp=self.xp, device=self.device)
        if self.name == "jax-sharded" and host.ndim and host.shape[0] % N_DEVICES == 0:
            return importlib.import_module("jax").device_put(array, mesh_sharding("data"))
        return array

    def owns(self, array: Any) -> bool:
        """Whether an array is of this library and on this device."""
        from twolayer._namespace import array_namespace, device

        return array_namespace(array) is self.xp and (self.device is None or device(array) == self.device)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Apply the library's settings within a block."""
        settings = dict(self.settings)
        if self.library == "strict":
            import array_api_strict

            with array_api_strict.ArrayAPIStrictFlags(
                boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=(), **settings
            ):
                yield
        elif self.library == "jax":
            import jax

            # By default, products on a GPU have less than float32's precision.
            precision = "highest" if self.option else None
            with (
                jax.enable_x64(settings["x64"]),
                jax.default_matmul_precision(precision),
                jax.numpy_rank_promotion("raise"),
            ):
                yield
        elif settings.get("autocast"):
            import torch

            with torch.autocast("cpu", dtype=torch.bfloat16):
                yield
        else:
            with nullcontext():
                yield

    def check_available(self) -> None:
        """Raise an error if the backend cannot run on this machine."""
        module = importlib.import_module(self.module)
        if self.library == "cupy" and module.cuda.runtime.getDeviceCount() < 1:
            raise RuntimeError("no CUDA device answers")
        if self.option:
            self.array([0.0] * N_DEVICES)


BACKENDS = (
    Backend("numpy", "numpy", "numpy"),
    Backend(
        "strict-2025.12", "strict", "array_api_strict", "device2", settings=(("api_version", "2025.12"),)
    ),
    # The oldest version of the standard that networks accept.
    Backend(
        "strict-no-float64",
        "strict",
        "array_api_strict",
        "no_float64",
        dtypes=("float32",),
        settings=(("api_version", "2024.12"),),
    ),
    Backend("torch", "torch", "torch"),
    Backend("jax", "jax", "jax.numpy", settings=(("x64", True),)),
    Backend("jax-x32", "jax", "jax.numpy", dtypes=("float32",), settings=(("x64", False),)),
    Backend("cupy", "cupy", "cupy"),
    Backend("torch-autocast", "torch", "torch", settings=(("autocast", True),), option="torch-autocast"),
    Backend("torch-cuda", "torch", "torch", "cuda:0", option="torch-cuda"),
    # Apple's GPUs have no float64.
    Backend("torch-mps", "torch", "torch", "mps:0", dtypes=("float32",), option="torch-mps"),
    # Arrays whose first axis can be divided by eight are divided over a mesh of eight CPU devices.
    Backend("jax-sharded", "jax", "jax.numpy", settings=(("x64", True),), option="jax-sharded"),
    Backend("jax-gpu", "jax", "jax.numpy", "gpu", settings=(("x64", True),), option="jax-gpu"),
)
CHOICES = tuple(dict.fromkeys(backend.choice for backend in BACKENDS))

__all__ = ["BACKENDS", "CHOICES", "Backend", "dtype_name", "to_host"]


def chosen_libraries(config: pytest.Config) -> list[str]:
    """The values of `--backend`, by default numpy and strict."""
    return config.getoption("--backend") or ["numpy", "strict"]
