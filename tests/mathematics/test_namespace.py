"""Array libraries: their names and dtypes, and copies to and from the host."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import ROOT
from support.backends import BACKENDS, Backend, to_host
from support.refusals import refusal

from twolayer import _namespace as ns


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_host_arrays_are_copied_to_a_library_and_back(backend: Backend, dtype):
    host = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    host.flags.writeable = False
    for array in (host, host[:, ::-1], host.T, host[1], host[:0], host[0, 0]):
        there = ns.from_host(array, xp=backend.xp, device=backend.device)
        assert backend.owns(there)
        back = ns.to_host(there)
        assert type(back) is np.ndarray
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert back.flags.writeable
        assert not np.shares_memory(back, array)


def test_numpy_arrays_are_copied_each_way():
    host = np.zeros(3)
    there = ns.from_host(host, xp=np, device=None)
    back = ns.to_host(there)
    assert not np.shares_memory(there, host)
    assert not np.shares_memory(there, back)
    assert ns.to_host(np.float32(2.0)) == np.float32(2.0)


@pytest.mark.only_on("torch")
def test_a_tensor_that_requires_grad_is_copied_to_the_host(backend: Backend):
    import torch

    assert ns.to_host(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]


def test_dtypes_have_one_name_everywhere(backend: Backend):
    for name in (*backend.dtypes, "int32", "uint8", "bool"):
        assert ns.dtype_name(getattr(backend.xp, name)) == name
        assert ns.dtype_name(name) == name


def test_float_dtype_accepts_names_and_dtypes(backend: Backend):
    for name in backend.dtypes:
        own = getattr(backend.xp, name)
        for dtype in (name, own, np.dtype(name)):
            assert ns.float_dtype(dtype, xp=backend.xp, device=backend.device) == own
    with refusal("TypeError: `dtype` must be float32 or float64; got float16"):
        ns.float_dtype("float16", xp=backend.xp, device=backend.device)


@pytest.mark.only_on("jax")
def test_the_error_for_jax_without_float64_names_the_setting(backend: Backend):
    if backend.dtype == "float64":
        assert ns.dtype_name(ns.float_dtype("float64", xp=backend.xp, device=None)) == "float64"
    else:
        with refusal("TypeError: …jax has (JAX has it after …jax_enable_x64…; got float64…"):
            ns.float_dtype("float64", xp=backend.xp, device=None)


def test_library_name_returns_the_name_of_the_module(backend: Backend):
    expected = {"strict": "array_api_strict"}.get(backend.library, backend.library)
    assert ns.library_name(backend.xp) == expected
    assert ns.library_name(ns.array_namespace(backend.array(np.zeros(1)))) == expected


@pytest.mark.only_on("jax")
def test_the_package_jax_is_replaced_by_its_namespace(backend: Backend):
    import jax
    import jax.numpy

    assert ns.standard_namespace(jax) is jax.numpy


def test_standard_namespace_returns_the_namespace_of_arrays(backend: Backend):
    import importlib

    xp = ns.standard_namespace(importlib.import_module(backend.module))
    assert ns.array_namespace(backend.array(np.zeros(1))) is xp
    assert ns.standard_namespace(xp) is xp


@pytest.mark.parametrize(
    ("xp", "shown"), [(math, "math"), ("numpy", "'numpy'; …"), (None, "NoneType"), (np.zeros(1), "ndarray")]
)
def test_standard_namespace_refuses_other_objects(xp, shown):
    with refusal(f"TypeError: `xp` must be an array library such as numpy, …; got {shown}"):
        ns.standard_namespace(xp)


def test_only_traced_arrays_have_no_values(backend: Backend):
    assert ns.has_values(backend.array(np.zeros(1)))
    if backend.library == "jax":
        import jax

        seen = []
        jax.jit(lambda a: seen.append(ns.has_values(a)) or a)(backend.array(np.zeros(1)))
        assert seen == [False]


def test_a_requested_backend_that_cannot_run_is_an_error(monkeypatch, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))

    def fail(self: Backend) -> None:
        raise RuntimeError("no CUDA device answers")

    class Config:
        def getoption(self, name: str) -> list[str]:
            return ["cupy"]

        def addinivalue_line(self, *_: str) -> None: ...

    monkeypatch.setattr(Backend, "check_available", fail)
    with pytest.raises(pytest.UsageError, match="--backend cupy cannot run: no CUDA device answers"):
        conftest.pytest_configure(Config())


def test_backends_have_different_names():
    names = [backend.name for backend in BACKENDS]
    assert len(set(names)) == len(names)
    assert {"numpy", "strict", "torch", "jax", "cupy"} == {backend.library for backend in BACKENDS}
    assert to_host is ns.to_host
