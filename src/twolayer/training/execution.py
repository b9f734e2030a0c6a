"""How each array library runs its steps: the only place that knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .._kinds import kinds
from .._namespace import (
    Array,
    FastNamespace,
    HostArray,
    copied,
    device,
    is_cupy_namespace,
    is_jax_namespace,
    is_numpy_namespace,
    is_torch_namespace,
    to_host,
)
from ..mathematics import Params, product
from .batches import length, moved, n_bytes, n_numbers, unstacked

BLOCK_STEPS = 32  # at most, in one call of what JAX compiled
PADDED_BYTES = 2**22  # a block that takes no more is padded to `BLOCK_STEPS`
HELD_NUMBERS = 2**17  # of what steps saw, until they are reported together
HELD_BY_CUPY = 2**22  # the same: no cache has to hold them, and calls are dear
MANY_ROWS = 32  # of a product, more than classes are in most tasks


@contextmanager
def running(xp: ModuleType) -> Iterator[None]:
    """Set what a library needs while steps run: no autograd in PyTorch, no overflow warnings in NumPy.

    A network on its way to divergence overflows; the run reports it, so the warnings would say it twice.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if is_torch_namespace(xp):
            import torch

            with torch.no_grad():
                yield
        else:
            yield


def lean(xp: ModuleType) -> ModuleType:
    """Return the namespace in which steps run, with the library's fast forms of `leaf` functions."""
    if is_numpy_namespace(xp):
        return _fast_numpy(xp)
    if is_torch_namespace(xp):
        return _fast_torch(xp)
    return _fast_cupy(xp) if is_cupy_namespace(xp) else xp


@lru_cache(maxsize=1)
def _fast_numpy(xp: ModuleType) -> FastNamespace:
    # From its version 2.1 on NumPy itself has all of the standard, in fewer calls.
    own = np if hasattr(np, "unstack") else xp
    forms = {"product": _product, "relu": _relu, "through_relu": _through_relu, "squares": _squares}
    return WithForms(xp.__name__, own, forms)


@lru_cache(maxsize=1)
def _fast_torch(xp: ModuleType) -> FastNamespace:
    return WithForms(
        xp.__name__, xp, {"relu": _torch_relu, "through_relu": _torch_through_relu, "squares": _torch_squares}
    )


class WithForms(FastNamespace):
    """A library's namespace, with functions that are the fast forms of some `leaf` functions."""

    def __init__(self, name: str, own: ModuleType, forms: dict[str, Any]) -> None:
        super().__init__(name)
        vars(self).update({name: value for name, value in vars(own).items() if name not in vars(self)})
        self.forms = forms

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return what the function returns, from its fast form if it has one."""
        form = self.forms.get(function.__name__)
        return function(*arrays, xp=self, **fixed) if form is None else form(*arrays)


def _product(A: HostArray, B: HostArray) -> HostArray:
    """`product`. Of one network, that of many rows is (Bᵀ Aᵀ)ᵀ: it lies column by column in memory.

    OpenBLAS with its AVX-512 kernels is faster at narrow products in that order: a step of 50 hidden units
    takes 1.2 times as long without it (benchmarks/forms.py), a wider one as long as with it.
    """
    if A.shape[0] > 1:
        return product(A, B, xp=np)  # type: ignore[no-any-return]
    A, B = A[0], B[0]
    return (A @ B if A.shape[0] < MANY_ROWS else (B.T @ A.T).T)[None]


def _relu(Z1: HostArray, b1: HostArray, kept: HostArray | None) -> HostArray:
    """`relu` in place. Without it and `_through_relu`, 8 x 1,024 units take 1.15 times as long."""
    Z1 += b1
    np.maximum(Z1, 0.0, out=Z1)
    if kept is not None:
        Z1 *= kept
    return Z1


def _through_relu(dH1: HostArray, H1: HostArray) -> HostArray:
    """`through_relu` without an array of 0 and 1 in floating point."""
    dH1 *= H1 > 0
    return dH1


def _squares(W: HostArray) -> HostArray:
    """`squares`, of one network by the rows that lie in memory: their sum is the same."""
    if W.shape[0] == 1:
        W = W.ravel(order="K").reshape(W.shape)
    return np.vecdot(W, W)  # type: ignore[no-any-return]


def laid_out(params: Params, *, xp: ModuleType) -> Params:
    """Copy of the networks in the memory order of their gradients: see `_product`."""
    W1, *others = params
    K, H, _ = W1.shape
    if is_numpy_namespace(xp) and K == 1 and H >= MANY_ROWS:
        W1 = xp.matrix_transpose(copied(xp.matrix_transpose(W1), xp=xp))
    else:
        W1 = copied(W1, xp=xp)
    return Params(W1, *(copied(array, xp=xp) for array in others))


def _torch_relu(Z1: Array, b1: Array, kept: Array | None) -> Array:
    """`relu` in place. Without it and `_torch_through_relu`, 8 x 1,024 units take 1.16 times as long."""
    H1 = Z1.add_(b1).clamp_(min=0.0)
    return H1 if kept is None else H1.mul_(kept)


def _torch_through_relu(dH1: Array, H1: Array) -> Array:
    """`through_relu` in place, in H1 too: no large array is allocated."""
    return dH1.mul_(H1.sign_())


def _torch_squares(W: Array) -> Array:
    """`squares` by one norm of each network: PyTorch makes a matrix product of each row's inner product."""
    return W.flatten(start_dim=1).norm(dim=1, keepdim=True).square()


@lru_cache(maxsize=1)
def _fast_cupy(xp: ModuleType) -> FastNamespace:
    return FusingCuPy(xp)


class FusingCuPy(FastNamespace):
    """CuPy's namespace, in which `cupy.fuse` makes one kernel of each function marked as `leaf`.

    To start a kernel takes about as long as what it does with some hundred thousand numbers.
    """

    def __init__(self, xp: ModuleType) -> None:
        super().__init__(xp.__name__)
        own = {name: value for name, value in vars(xp).items() if name not in vars(self)}
        vars(self).update(own)
        # What a function is given while CuPy looks at what it does, with arrays that have no values.
        self._traced = SimpleNamespace(**own)
        self._traced.astype = lambda array, dtype: array.astype(dtype)
        self._traced.vecdot = lambda a, b: xp.sum(a * b, axis=-1)
        self._kernels: dict[Any, Callable[..., Any]] = {}
        self._class_numbers: dict[Any, Array] = {}

    def class_numbers(self, n_classes: int, y: Array) -> Array:
        """Return the numbers of the classes, which are made once: a step starts a kernel less."""
        key = n_classes, y.dtype, device(y).id
        if key not in self._class_numbers:
            self._class_numbers[key] = super().class_numbers(n_classes, y)
        return self._class_numbers[key]

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return what the function returns, from its kernel."""
        if function.__name__ == "product":
            return function(*arrays, xp=self, **fixed)
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


def prepared(
    function: Callable[..., Any], xp: ModuleType, *, consumes: bool = False, **fixed: Any
) -> Callable[..., Any]:
    """Return ``function`` with its ``xp`` and ``fixed`` bound, compiled where the library has a compiler.

    With ``consumes``, the first argument is given up to the call: its memory may be used for the result.
    What was compiled is kept, so a second run of the same shapes does not compile again, unless something
    that is fixed cannot be hashed.
    """
    names = tuple(sorted(fixed.items()))
    try:
        hash(names)
    except TypeError:
        return _prepared.__wrapped__(function, xp, consumes, names, None)
    return _prepared(function, xp, consumes, names, kinds(names))


@lru_cache(maxsize=64)
def _prepared(
    function: Callable[..., Any],
    xp: ModuleType,
    consumes: bool,
    fixed: tuple[tuple[str, Any], ...],
    kinds: Any,  # equal tuples of several kinds are several
) -> Callable[..., Any]:
    function = partial(function, xp=lean(xp), **dict(fixed))
    if is_jax_namespace(xp):
        import jax

        return jax.jit(function, donate_argnums=(0,) if consumes else ())  # type: ignore[no-any-return]
    return function


class Steps:
    """Takes steps one after another, in as few calls as the library needs, and holds what they report.

    Parameters
    ----------
    step : callable
        ``step(state, constant, one, xp=xp, **fixed)`` returns the next state, and what it saw: a tuple of
        arrays. It consumes the state.
    report : callable
        ``report(seen, constant, xp=xp)``, of what m steps saw, returns a tuple of arrays (m, ...).
    xp : module
    **fixed
        Further arguments of the step.
    """

    def __init__(
        self, step: Callable[..., Any], report: Callable[..., Any], xp: ModuleType, **fixed: Any
    ) -> None:
        self._xp, self._compiled = xp, is_jax_namespace(xp)
        self._held = HELD_BY_CUPY if is_cupy_namespace(xp) else HELD_NUMBERS
        if self._compiled:
            both = {"step": step, "report": report, "fixed": tuple(sorted(fixed.items()))}
            self._block = prepared(_block, xp, consumes=True, **both)
        else:
            self._one_step = prepared(step, xp, consumes=True, **fixed)
            self._report = prepared(report, xp)
        self._constant: Any = None
        self._seen: list[Any] = []  # of steps of one batch size, not reported yet
        self._most = 1  # how many of them are held
        self._reported: list[tuple[tuple[Array, ...], int]] = []  # and how many steps they are of

    def take(
        self, state: Any, constant: Any, varying: Any, place: Callable[[HostArray], Array]
    ) -> Iterator[tuple[Any, int]]:
        """Take n steps. Yields the state, and how many steps were taken since the last one.

        Parameters
        ----------
        state, constant : nested tuples of arrays
        varying : nested tuple of host arrays (n, ...)
            Of which each step gets one.
        place : callable
            Copies a host array to the device.
        """
        self._constant = constant
        if self._compiled:
            yield from self._take_blocks(state, constant, varying, place)
            return
        for one in unstacked(moved(varying, place), length(varying), unstack=self._xp.unstack):
            state, seen = self._one_step(state, constant, one)
            self._seen.append(seen)
            if len(self._seen) == 1:
                self._most = -(-self._held // n_numbers(seen))
            if len(self._seen) >= self._most:
                self._report_seen()
            yield state, 1
        self._report_seen()

    def _take_blocks(
        self, state: Any, constant: Any, varying: Any, place: Callable[[HostArray], Array]
    ) -> Iterator[tuple[Any, int]]:
        n, done = length(varying), 0
        while done < n:
            taken = min(n - done, BLOCK_STEPS)
            size = _block_length(taken, n_bytes(varying) // n)
            block = moved(varying, lambda array, i=done, size=size: place(_rows(array, i, size)))
            state, reported = self._block(state, constant, block, np.int32(taken))
            self._reported.append((reported, taken))
            done += taken
            yield state, taken

    def reported(self) -> list[tuple[HostArray, ...]]:
        """Return what was reported since the last call: tuples of arrays (m, ...), of m steps each.

        They are copies on the host, so the device is waited for.
        """
        self._report_seen()
        found, self._reported = self._reported, []
        return [tuple(to_host(array)[:n, ...] for array in arrays) for arrays, n in found]

    def _report_seen(self) -> None:
        if self._seen:
            self._reported.append((self._report(self._seen, self._constant), len(self._seen)))
            self._seen = []


def _block_length(n: int, step_bytes: int) -> int:
    """Return the length of a block of n steps with its padding.

    All blocks are of one length, as each length is compiled anew; where that would take much memory, a short
    one is padded to the next power of two.
    """
    if BLOCK_STEPS * step_bytes <= PADDED_BYTES:
        return BLOCK_STEPS
    return min(BLOCK_STEPS, 1 << (n - 1).bit_length())


def _rows(array: HostArray, first: int, n: int) -> HostArray:
    """Return n rows from ``first`` on; past the end the last one is repeated."""
    if first + n <= len(array):
        return array[first : first + n, ...]
    return array.take(np.arange(first, first + n), axis=0, mode="clip")


def _block(
    state: Any,
    constant: Any,
    varying: Any,
    n: Array,
    *,
    step: Callable[..., Any],
    report: Callable[..., Any],
    fixed: Any,
    xp: ModuleType,
) -> Any:
    """Take a step for each of the first n of ``varying``, and report it, in one loop that JAX compiles.

    Of the rows of what is reported the first n mean something.
    """
    import jax

    def step_and_report(state: Any, one: Any) -> Any:
        state, seen = step(state, constant, one, xp=xp, **dict(fixed))
        return state, report([seen], constant, xp=xp)  # at once, as a compiler prefers it

    one_step = jax.jit(step_and_report)  # so that it is traced once, for its shapes and for the loop

    def ith(i: Any) -> Any:
        return moved(varying, lambda array: array[i, ...])

    def next_step(i: Array, held: Any) -> Any:
        state, reports = held
        state, found = one_step(state, ith(i))
        pairs = zip(reports, found, strict=True)
        return state, tuple(jax.lax.dynamic_update_slice_in_dim(a, b, i, axis=0) for a, b in pairs)

    _, shapes = jax.eval_shape(one_step, state, ith(0))  # of one step's reports: (1, ...)
    reports = tuple(xp.zeros((length(varying), *a.shape[1:]), dtype=a.dtype) for a in shapes)
    return jax.lax.fori_loop(0, n, next_step, (state, reports))
