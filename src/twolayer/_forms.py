"""Fast forms of the mathematics' `leaf` functions for single libraries, and namespaces that use them."""

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

MANY_ROWS = 32  # products with at least 32 rows are column-major; products with W2 seldom have so many


@lru_cache(maxsize=8)
def fast_namespace(xp: ModuleType) -> ModuleType:
    """Return the namespace in which training steps run; without fast forms, that is ``xp``."""
    if is_numpy_namespace(xp):
        # NumPy 2.1 and later implement the standard themselves, which saves array-api-compat's calls.
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
    """Return the namespace in which public functions run; in-place forms would break PyTorch's autograd."""
    if is_torch_namespace(xp):
        return WithForms(xp, {"product": partial(_torch_product, xp=xp)}, column_major=True)
    return fast_namespace(xp) if is_numpy_namespace(xp) else xp


class WithForms(FastNamespace):
    """A library's namespace that replaces some `leaf` functions by fast forms."""

    def __init__(self, own: ModuleType, forms: dict[str, Any], *, column_major: bool = False) -> None:
        super().__init__(own)
        self.forms = forms
        self.column_major = column_major  # whether products of one network with many rows are column-major

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return the function's result, computed by its fast form if it has one."""
        form = self.forms.get(function.__name__)
        return function(*arrays, xp=self, **fixed) if form is None else form(*arrays, **fixed)


def _product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`product` as one matrix product if possible, because CuPy copies the arrays for a batch of products."""
    K, n, m = A.shape
    if axis is None and K > 1:
        return A @ B
    if axis is None:
        B = B[0, ...]
    elif axis == 1:
        B = B.T
    return xp.reshape(xp.reshape(A, (K * n, m)) @ B, (K, n, B.shape[1]))


def _column_major_product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`product`, with the product of one network and many rows as (Bᵀ Aᵀ)ᵀ, in column-major order.

    This saves public functions, whose W1 is (in, out), copies of W1 and its gradient. OpenBLAS with AVX-512
    kernels is also faster at narrow products in this order: without it, a step of 50 hidden units takes 1.1
    to 1.2 times as long on NumPy (benchmarks/forms.py).
    """
    if A.shape[0] == 1 and A.shape[1] >= MANY_ROWS:
        B = B[0, ...] if axis is None else B
        return ((B if axis == 1 else B.T) @ A[0, ...].T).T[None, ...]
    return _product(A, B, axis, xp=xp)


def _torch_product(A: Array, B: Array, axis: int | None = None, *, xp: ModuleType) -> Array:
    """`_column_major_product` in the arrays' dtype, even inside `torch.autocast`, which would change it."""
    with own_dtypes(A):
        return _column_major_product(A, B, axis, xp=xp)


def _relu(W1X: HostArray, b1: HostArray, kept: HostArray | None) -> HostArray:
    """`relu` in place, as `_through_relu`. Without both, 8 x 1,024 units take 1.0 to 1.15 times as long."""
    W1X += b1
    H1 = np.maximum(W1X, 0.0, out=W1X)
    if kept is not None:
        H1 *= kept
    return H1


def _through_relu(dH1: HostArray, H1: HostArray) -> HostArray:
    """`through_relu` without a floating-point array of 0 and 1."""
    dH1 *= H1 > 0
    return dH1


def _squares(W: HostArray) -> Array:
    """`squares` by inner products of m contiguous numbers each.

    With a squared copy, a step of 512 hidden units takes 1.1 to 1.2 times as long.
    """
    # A column-major W is summed in n parts that are contiguous, but not its rows. Callers sum all n parts.
    if not W.flags.c_contiguous:
        W = np.matrix_transpose(W).reshape(W.shape)
    return np.vecdot(W, W)


def laid_out(params: Params, *, xp: ModuleType, copy: bool = False) -> Params:
    """Return the networks with W1 in the memory order of its gradient in this namespace.

    With ``copy``, every array is copied; otherwise, only arrays in another memory order are.
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
    """`relu` in place, as `_torch_through_relu`. Without both, 8 x 1,024 units take 1.1 times as long."""
    H1 = W1X.add_(b1).clamp_(min=0.0)
    return H1 if kept is None else H1.mul_(kept)


def _torch_through_relu(dH1: Array, H1: Array) -> Array:
    """`through_relu` in place, which overwrites H1 as well, so that no large array is allocated."""
    # H1 is at least 0, so its sign is 1 where H1 > 0, else 0.
    return dH1.mul_(H1.sign_())


def _torch_squares(W: Array) -> Array:
    """`squares` by the norms of the rows; one norm of the whole W would be less accurate.

    With a squared copy, a step of 512 hidden units takes 1.0 to 1.3 times as long.
    """
    return W.norm(dim=2).square()


class FusingCuPy(FastNamespace):
    """CuPy's namespace, in which `cupy.fuse` compiles each `leaf` except `product` to one kernel.

    Launching a kernel takes about as long as its work on a few hundred thousand numbers. A step of one
    network launches 17 kernels; without fusion, it launches 28 (benchmarks/kernels.py).
    """

    def __init__(self, xp: ModuleType) -> None:
        super().__init__(xp)
        # CuPy traces a function by calling it with this namespace and with arrays without values.
        self._traced = SimpleNamespace(**vars(xp))
        self._traced.astype = lambda array, dtype: array.astype(dtype)
        self._traced.zeros_like = lambda array: 0.0  # a kernel cannot create arrays
        self._kernels: dict[Any, Callable[..., Any]] = {}

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return the function's result, computed by its kernel."""
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
            own = (array.copy() for array in arrays)  # copies in registers, to which the function may write
            every = (None if none else next(own) for none in missing)
            try:
                return function(*every, xp=self._traced, **fixed)
            except Exception as error:  # CuPy raises different types for different problems
                raise RuntimeError(
                    f"`{function.__name__}` must be a function that cupy.fuse can trace; "
                    f"got {type(error).__name__}: {error}"
                ) from error

        return self.fuse(kernel_name=function.__name__)(traced)  # type: ignore[no-any-return]
