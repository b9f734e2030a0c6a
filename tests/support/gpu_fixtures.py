"""Fixtures for tests on a GPU: tasks, memory, kernels and an estimator."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from support.backends import Backend
from support.gpu_runs import TASK
from support.small_runs import Task
from twolayer import _forms
from twolayer.training import execution


@pytest.fixture
def cupy(backend: Backend) -> Iterator[ModuleType]:
    import cupy

    before = cupy.cuda.Device()
    yield cupy
    before.use()


@pytest.fixture
def here(backend: Backend) -> Task:
    return TASK.on(backend, "float32")


@pytest.fixture
def there(backend: Backend, cupy: ModuleType) -> Task:
    """The same task on the second device."""
    with cupy.cuda.Device(1):
        return TASK.on(backend, "float32")


@pytest.fixture
def pool(cupy: ModuleType) -> Iterator[Any]:
    """A pool for this test alone, in which all arrays are allocated."""
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        yield pool


@pytest.fixture
def kernels(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[_forms.FusingCuPy]:
    """The namespace in which steps run; it has not fused any function yet."""
    namespace = _forms.FusingCuPy(backend.xp)
    execution._compiled.cache_clear()
    monkeypatch.setattr(execution, "fast_namespace", lambda xp: namespace)
    yield namespace
    execution._compiled.cache_clear()


@pytest.fixture
def classifier() -> Iterator[Any]:
    """A function that makes an estimator; scikit-learn leaves its arrays in their library."""
    sklearn = pytest.importorskip("sklearn", reason="the estimator needs scikit-learn, the extra `sklearn`")
    from twolayer.sklearn import TwoLayerClassifier

    with sklearn.config_context(array_api_dispatch=True):
        yield lambda: TwoLayerClassifier(5, max_iter=2, random_state=0)
