"""Array libraries and devices on the command line, and ``twolayer info``."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from support.command_line import PICTURES, QUICK, TRAIN_FILES, done, files_in, read, refused

import twolayer
from twolayer import datasets, storage
from twolayer.cli import devices, info
from twolayer.training.execution import threads_for

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def test_every_library_gives_the_same_results(libraries: list[str]) -> None:
    """Train, evaluate and predict with each library under test."""
    chosen = [name for name in libraries if name != "strict"]
    np.save("some.npy", datasets.load_digits().test.X[:5])
    length = ("--steps", 40, "--hidden", 8, "-q")
    done("train", *length, "--out", "reference")
    expected = storage.load("reference/network.safetensors")
    predictions = done("predict", "reference", "some.npy")
    for name in chosen:
        done("train", *length, "--library", name, "--out", name)
        for found, wanted in zip(storage.load(f"{name}/network.safetensors"), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
        assert read(f"{name}/results.json")["versions"][name]
        accuracy = read(f"{name}/results.json")["test"]["accuracy"]
        assert f"accuracy {accuracy:.4f}" in done("evaluate", name, "--library", name)
        assert done("predict", "reference", "some.npy", "--library", name) == predictions
        grid = ("--learning-rate", "0.1,1", "--reg", "0,0.01", "--seeds", 1)
        done("sweep", *length, *grid, "--library", name, "--out", f"sweep-{name}")
        # A run may be resumed with another library.
        done("train", "--resume", name, "--library", "numpy", "--steps", 50)
        assert read(f"{name}/results.json")["n_steps"] == 50


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("numpy", "cpu", "`--device` must be cpu for numpy, or be left out; got there"),
        ("torch", "cpu", "`--device` must be one that PyTorch has here; got there ("),
        ("jax", "cpu:0", "`--device` must be one that JAX has here, such as cpu or gpu:0; got there ("),
        ("cupy", "0", "`--device` must be the number of a GPU, in [0, "),
    ],
)
def test_a_device_must_be_one_that_the_library_has(
    libraries: list[str], name: str, device: str, message: str
) -> None:
    if name in libraries:
        assert message in refused("train", "--library", name, "--device", "there")
        done("train", *QUICK, "--library", name, "--device", device)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, extra in (("torch", "torch"), ("jax", "jax"), ("cupy", "cuda12")):
        monkeypatch.setitem(sys.modules, module, None)
        line = refused("train", "--library", module)
        assert f"`--library {module}` needs" in line
        assert f'install it with `python -m pip install "twolayer[{extra}]"`' in line


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that arranges what a fake CuPy does when it counts GPUs: a return value or an error."""
    runtime = SimpleNamespace()
    fake = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), __version__="14.0")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "cupy" or find(name))

    def arrange(**mock: Any) -> None:
        runtime.getDeviceCount = Mock(**mock)

    return arrange


@pytest.mark.parametrize(
    ("mock", "message"),
    [
        ({"return_value": 0}, "CuPy finds no GPU"),
        (
            {"side_effect": RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")},
            "no CUDA-capa",
        ),
    ],
)
def test_cupy_without_a_gpu_is_refused(fake_cupy: Any, mock: dict[str, Any], message: str) -> None:
    fake_cupy(**mock)
    line = refused("train", "--library", "cupy")
    assert "`--library cupy` needs a CUDA GPU: " in line
    assert message in line


def test_open_library_refuses_an_unknown_library() -> None:
    with pytest.raises(ValueError, match=r"`library` must be one of 'numpy', .* 'jax'; got 'matlab'"):
        devices.open_library("matlab", None, "float32")


def test_small_products_use_one_blas_thread() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="an optional package of the command line")

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(2, "blas"):
        usual = threads()
        with threads_for(np, 1e6):
            assert threads() <= {1}
        with threads_for(np, 1e12):
            assert threads() == usual
        with threads_for(np, 1e12, 1):
            assert threads() <= {1}
        assert threads() == usual


def test_a_broken_threadpoolctl_changes_nothing(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    (elsewhere / "threadpoolctl.py").write_text("raise OSError('no such library')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    done("train", *QUICK, "--out", "run")
    assert files_in("run") == TRAIN_FILES - PICTURES
    assert "NumPy" in done("info")


def test_info_lists_libraries_and_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find, absent = importlib.util.find_spec, ("torch", "jax", "cupy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find(name))
    output = done("info")
    assert f"twolayer {twolayer.__version__}, Python {sys.version.split()[0]}" in output
    assert re.search(rf"numpy +{re.escape(np.__version__)} +cpu", output)
    assert re.search(r"torch +not installed +python -m pip install .twolayer\[torch\].", output)
    assert re.search(r"cupy +not installed +python -m pip install .twolayer\[cuda12\].", output)
    assert "NumPy's linear algebra (BLAS)" in output


def test_info_finds_the_libraries_under_test(libraries: list[str]) -> None:
    for name in libraries:
        if name in ("torch", "jax", "cupy"):
            found = info.find_library(name)
            assert found["version"][0].isdigit()
            assert found["devices"]
            assert found["problem"] is None


def test_info_reports_libraries_that_do_not_import(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax", "cupy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        Path(f"{name}.py").write_text("raise ImportError('libbroken.so')")
    monkeypatch.syspath_prepend(elsewhere)
    output = done("info")
    for name in ("torch", "jax", "cupy"):
        assert re.search(rf"{name} +does not import +.*libbroken\.so", output), name
        sys.modules.pop(name, None)


def test_info_reports_that_cupy_finds_no_gpu(fake_cupy: Any) -> None:
    fake_cupy(return_value=0)
    found = {"name": "cupy", "version": "14.0", "devices": [], "problem": "none: CuPy finds no GPU"}
    assert info.find_library("cupy") == found
    assert re.search(r"cupy +14\.0 +none: CuPy finds no GPU", done("info"))


@pytest.mark.parametrize(
    ("name", "kernels", "flags", "requested", "expected"),
    [
        ("openblas", "Haswell", {"avx512f"}, None, "Try the environment variable OPENBLAS_CORETYPE=SKYLAKEX"),
        ("openblas", "Zen", {"avx512f"}, None, "OpenBLAS uses the slower Zen kernels. Try"),
        ("openblas", "Haswell", {"avx512f"}, "Haswell", "as OPENBLAS_CORETYPE=Haswell requests. Try"),
        ("openblas", "Haswell", {"avx2"}, None, None),
        ("openblas", "SkylakeX", {"avx512f"}, None, None),
        ("mkl", None, {"avx512f"}, None, None),
        ("scipy-openblas", None, {"avx512f"}, None, "python -m pip install threadpoolctl"),
        ("scipy-openblas", None, set(), "Zen", "threadpoolctl. OPENBLAS_CORETYPE is Zen."),
    ],
)
def test_info_advises_faster_kernels_if_there_are_any(
    name: str, kernels: str | None, flags: set[str], requested: str | None, expected: str | None
) -> None:
    environment = {} if requested is None else {"OPENBLAS_CORETYPE": requested}
    lines = info.advice([{"name": name, "kernels": kernels}], flags, environment)
    assert len(lines) == (expected is not None)
    assert expected is None or expected in lines[0]


def test_the_blas_is_found_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    (pool,) = info.blas_pools()
    assert pool.get("kernels") is None
    assert pool["name"]


def test_info_works_if_the_processor_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "Path", lambda name: Path("/nowhere"))
    assert info.cpuinfo() == {}
    assert "processors" in done("info")
