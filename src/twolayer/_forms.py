"""Fast forms of the mathematics' `leaf` functions, in the namespace of each library that has some."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ._namespace import (
    Array,
    FastNamespace,
    HostArray,
    by_rows,
    copied,
    is_cupy_namespace,
    is_numpy_namespace,
    is_torch_namespace,
    own_dtypes,
)
from .mathematics import Params

MANY_ROWS = 32  # a product with at least so many is column-major; that with W2 seldom is


@lru_cache(maxsize=8)
def fast_namespace(xp: ModuleType) -> ModuleType:
    """Return the namespace in which steps run; a library without fast forms keeps its own."""
    if is_numpy_namespace(xp):
        # From its version 2.1 on NumPy itself has all of the standard, in fewer calls.
        own = np if hasattr(np, "unstack") else xp
        product = partial(_column_major_product, xp=own)
        forms = {"product": product, "relu": _relu, "through_relu": _through_relu, "squares": _squares}
        return WithForms(own, forms, column_major=True)
    if is_torch_namespace(xp):
        forms = {
            "product": partial(_product, xp=xp),
            "relu": _torch_relu,
            "through_relu": _torch_through_relu,
            "squares": _torch_squares,
        }
        return WithForms(xp, forms)
    return FusingCuPy(xp) if is_cupy_namespace(xp) else xp


@lru_cache(maxsize=8)
def public_namespace(xp: ModuleType) -> ModuleType:
    """Return the namespace in which public functions run. Forms in place would break PyTorch's autograd."""
    if is_torch_namespace(xp):
        return WithForms(xp, {"product": partial(_torch_product, xp=xp)}, column_major=True)
    return fast_namespace(xp) if is_numpy_namespace(xp) else xp


class WithForms(FastNamespace):
    """A library's namespace, with functions that are the fast forms of some `leaf` functions."""

    def __init__(self, own: ModuleType, forms: dict[str, Any], *, column_major: bool = False) -> None:
        super().__init__(own)
        self.forms = forms
        self.column_major = column_major  # whether one network's product with many rows is column-major

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return what the function returns, from its fast form if it has one."""
        form = self.forms.get(function.__name__)
        return function(*arrays, xp=self, **fixed) if form is None else form(*arrays, **fixed)


def _product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`product`, by one product of matrices where that is possible: for a batch of them CuPy makes copies."""
    K, n, m = A.shape
    if axis is None and K > 1:
        return A @ B
    if axis is None:
        B = B[0, ...]
    elif axis == 1:
        B = B.T
    return xp.reshape(xp.reshape(A, (K * n, m)) @ B, (K, n, B.shape[1]))


def _column_major_product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`product`. For one network a product of many rows is (Bᵀ Aᵀ)ᵀ, in column-major order.

    So public functions copy neither W1, which is (in, out) there, nor its gradient. And OpenBLAS with its
    AVX-512 kernels is faster at narrow products in that order: without it a step of 50 hidden units takes 1.1
    to 1.2 times as long on NumPy (benchmarks/forms.py).
    """
    if A.shape[0] == 1 and A.shape[1] >= MANY_ROWS:
        B = B[0, ...] if axis is None else B
        return ((B if axis == 1 else B.T) @ A[0, ...].T).T[None, ...]
    return _product(A, B, axis, xp=xp)


def _torch_product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`_column_major_product` in the dtype of the arrays, which `torch.autocast` changes for products."""
    with own_dtypes(A):
        return _column_major_product(A, B, axis, xp=xp)


def _relu(W1X: HostArray, b1: HostArray, kept: HostArray | None) -> HostArray:
    """`relu` in place. Without it and `_through_relu`, 8 x 1,024 units take 1.0 to 1.15 times as long."""
    W1X += b1
    H1 = np.maximum(W1X, 0.0, out=W1X)
    if kept is not None:
        H1 *= kept
    return H1


def _through_relu(dH1: HostArray, H1: HostArray) -> HostArray:
    """`through_relu` without an array of 0 and 1 in floating point."""
    dH1 *= H1 > 0
    return dH1


def _squares(W: HostArray) -> Array:
    """`squares` by inner products of m numbers each, in the order of memory.

    A squared copy would make a step of 512 hidden units take 1.1 to 1.2 times as long.
    """
    if not W.flags.c_contiguous:
        W = np.matrix_transpose(W).reshape(W.shape)
    return np.vecdot(W, W)


def laid_out(params: Params, *, xp: ModuleType, copy: bool = False) -> Params:
    """Return the networks with W1 in the memory order that its gradient has in the namespace.

    With ``copy`` every array is copied, without it only an array in another memory order.
    """
    by = copied if copy else by_rows
    W1, *others = params
    K, H, _ = W1.shape
    if isinstance(xp, WithForms) and xp.column_major and K == 1 and H >= MANY_ROWS:
        W1 = by(W1.mT, xp=xp).mT
    else:
        W1 = by(W1, xp=xp)
    return Params(W1, *(by(array, xp=xp) for array in others))


def _torch_relu(W1X: Array, b1: Array, kept: Array | None) -> Array:
    """`relu` in place. Without it and `_torch_through_relu`, 8 x 1,024 units take 1.1 times as long."""
    H1 = W1X.add_(b1).clamp_(min=0.0)
    return H1 if kept is None else H1.mul_(kept)


def _torch_through_relu(dH1: Array, H1: Array) -> Array:
    """`through_relu` in place, in H1 too: no large array is allocated."""
    return dH1.mul_(H1.sign_())


def _torch_squares(W: Array) -> Array:
    """`squares` by the norms of the rows, as one norm of all of W would be less accurate.

    A squared copy would make a step of 512 hidden units take 1.0 to 1.3 times as long.
    """
    return W.norm(dim=2).square()


class FusingCuPy(FastNamespace):
    """CuPy's namespace, in which `cupy.fuse` makes one kernel of each `leaf` but `product`.

    Starting a kernel takes about as long as its work on some hundred thousand numbers. A step of one network
    starts 17 kernels, and 28 without fused ones (benchmarks/kernels.py).
    """

    def __init__(self, xp: ModuleType) -> None:
        super().__init__(xp)
        # CuPy traces a function with this namespace, and with arrays that have no values.
        self._traced = SimpleNamespace(**vars(xp))
        self._traced.astype = lambda array, dtype: array.astype(dtype)
        self._traced.zeros_like = lambda array: 0.0  # a kernel creates no array, but takes a number
        self._kernels: dict[Any, Callable[..., Any]] = {}

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return what the function returns, from its kernel."""
        if function.__name__ == "product":
            return _product(*arrays, xp=self, **fixed)
        missing = tuple([array is None for array in arrays])
        key = function, missing, tuple(fixed.items())
        kernel = self._kernels.get(key)
        if kernel is None:
            kernel = self._kernels[key] = self._kernel(function, missing, fixed)
        return kernel(*[array for array in arrays if array is not None])

    def _kernel(
        self, function: Callable[..., Any], missing: tuple[bool, ...], fixed: Any
    ) -> Callable[..., Any]:
        def traced(*arrays: Array) -> Any:
            own = (array.copy() for array in arrays)  # in registers: what is written to them stays there
            every = (None if none else next(own) for none in missing)
            try:
                return function(*every, xp=self._traced, **fixed)
            except Exception as error:  # its type depends on what CuPy cannot trace
                raise RuntimeError(
                    f"`{function.__name__}` must be a function that cupy.fuse can trace; "
                    f"got {type(error).__name__}: {error}"
                ) from error

        return self.fuse(kernel_name=function.__name__)(traced)  # type: ignore[no-any-return]
