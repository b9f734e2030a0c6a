"""How each array library runs steps: call by call or compiled in blocks, and when it reports.

NumPy, PyTorch and CuPy call `step` once for each step. A call into JAX costs more, so there up to 32 steps
are one compiled loop. Losses stay on the device and are computed for many steps together, because reading
a loss after every step would make the device wait for the host.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import repeat
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .._forms import fast_namespace
from .._namespace import (
    Array,
    HostArray,
    dtype_name,
    is_cupy_namespace,
    is_jax_namespace,
    is_numpy_namespace,
    is_torch_namespace,
    to_host,
)
from .._optional import require
from .trees import tree_leaves, tree_map

Function: TypeAlias = Callable[..., Any]
Placing: TypeAlias = Callable[[HostArray], Array]  # copies a host array to the device

# The times below are of steps of 50 hidden units: benchmarks/forms.py.
STACK_BYTES = 3 * 2**20  # of hidden activations; a larger stack does not fit a cache, so NumPy is slower
# In a product of two matrices with fewer operations than this, several BLAS threads cost more than they save.
# If other programs keep the cores busy, the product takes several times as long.
SMALL_PRODUCT = 3e7
BLOCK_STEPS = 32  # most steps in one compiled call of JAX; one call per step takes 1.2 times as long
PADDED_BYTES = 2**22  # if a full block takes no more bytes, a shorter one is padded to the full length
HELD_NUMBERS = 2**17  # numbers of several steps, reported together; a report per step takes 1.1 times as long
HELD_BY_CUPY = 2**22  # the same for CuPy: they need not fit a cache, and calls are expensive


@contextmanager
def running(xp: ModuleType) -> Iterator[None]:
    """Set what a library needs while steps run: no autograd in PyTorch, no floating-point errors in NumPy.

    A network that diverges overflows first. The run reports the divergence, so NumPy's warnings would only
    repeat it.
    """
    without_gradients = sys.modules["torch"].no_grad() if is_torch_namespace(xp) else nullcontext()
    with np.errstate(all="ignore"), without_gradients:
        yield


def compiled(function: Function, xp: ModuleType, *, consumes: bool = False, **fixed: Any) -> Function:
    """Return ``function`` with its ``xp`` and ``fixed`` bound, compiled if the library has a compiler.

    With ``consumes``, the call may use the memory of its first argument for the result, so the caller must
    not use that argument again. Compiled functions are cached: a second run of the same shapes does not
    compile again, unless an argument in ``fixed`` cannot be hashed.
    """
    fixed = dict(sorted(fixed.items()))  # the order of keywords is part of the cache's key
    try:
        return _compiled(function, xp, consumes, **fixed)
    except TypeError:  # an argument cannot be hashed: compile without the cache
        return _compiled.__wrapped__(function, xp, consumes, **fixed)


# Typed, because a user's optimizer may be a named tuple, which equals a named tuple of another class.
@lru_cache(maxsize=64, typed=True)
def _compiled(function: Function, xp: ModuleType, consumes: bool, **fixed: Any) -> Function:
    function = partial(function, xp=fast_namespace(xp), **fixed)
    if is_jax_namespace(xp):
        import jax

        return jax.jit(function, donate_argnums=(0,) if consumes else ())  # type: ignore[no-any-return]
    return function


def threads_for(xp: ModuleType, operations: float, most: int | None = None) -> AbstractContextManager[Any]:
    """Limit NumPy's BLAS to one thread if its products are small, else to ``most`` threads if it is given.

    Nothing is limited if threadpoolctl cannot be imported, or with another library than NumPy.
    """
    limit = 1 if operations < SMALL_PRODUCT else most
    limits: AbstractContextManager[Any] = nullcontext()
    if is_numpy_namespace(xp) and limit is not None:
        with suppress(ImportError):  # threadpoolctl is optional: it only saves time
            threadpoolctl = require("threadpoolctl", extra="cli", purpose="Choosing threads")
            limits = threadpoolctl.threadpool_limits(limit, "blas")
    return limits


def most_networks(xp: ModuleType, n_hidden: int, batch_size: int, dtype: Any) -> int:
    """Return the largest number of networks whose hidden activations fit a cache together.

    With libraries other than NumPy it does not matter, and this returns `sys.maxsize`.
    """
    if not is_numpy_namespace(xp):
        return sys.maxsize
    itemsize = 8 if dtype_name(dtype) == "float64" else 4
    return max(1, STACK_BYTES // (n_hidden * batch_size * itemsize))


def narrows(xp: ModuleType, n_in_arrays: int, n_present: int) -> bool:
    """Return whether arrays of ``n_in_arrays`` networks should shrink to the ``n_present`` that still train.

    JAX compiles everything again for each size, so there at least half of the networks must have left.
    """
    return not is_jax_namespace(xp) or 2 * n_present <= n_in_arrays


def steps_at_once(xp: ModuleType) -> int:
    """Return the maximum number of steps per call."""
    return BLOCK_STEPS if is_jax_namespace(xp) else 1


def dividing(device: Any) -> Function | None:
    """Return a function that divides the rows of a batch, or of any tree of arrays (N, ...), over a JAX mesh.

    It works in compiled code, with any number of rows. Without it each device would compute the whole batch,
    because XLA puts rows that are gathered from a divided array on every device. Return None if ``device`` is
    no sharding over a mesh.
    """
    return _dividing(device.mesh) if hasattr(device, "mesh") else None


@lru_cache(maxsize=8)  # `_compiled` caches by this function, so equal meshes must give the same one
def _dividing(mesh: Any) -> Function:
    import jax

    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    return partial(jax.lax.with_sharding_constraint, shardings=sharding)


class Steps:
    """A runner of steps, in as few calls as the library needs, that collects their reports.

    Parameters
    ----------
    step : callable
        ``step(state, constant, varying, xp=xp, **fixed)`` returns the next state and a tuple of arrays from
        which the step is reported. It may overwrite the state that it is given.
    report : callable
        ``report(seen, constant, xp=xp)`` returns a tuple of arrays (m, ...). ``seen`` is a list of the second
        results of m steps.
    xp : module
    **fixed
        Further arguments of the step.
    """

    def __init__(self, step: Function, report: Function, xp: ModuleType, **fixed: Any) -> None:
        self._xp, self._compiled = xp, is_jax_namespace(xp)
        self._held = HELD_BY_CUPY if is_cupy_namespace(xp) else HELD_NUMBERS
        if self._compiled:
            self._block = compiled(_block, xp, consumes=True, step=step, report=report, **fixed)
        else:
            self._one_step = compiled(step, xp, consumes=True, **fixed)
            self._report = compiled(report, xp)
        self._constant: Any = None
        self._seen: list[Any] = []  # of steps of one batch size that are not reported yet
        self._most = 1  # number of steps after which they are reported
        self._reported: list[tuple[tuple[Array, ...], int]] = []  # reports, each with its number of steps

    def take(self, state: Any, constant: Any, varying: Any, place: Placing) -> Iterator[tuple[Any, int]]:
        """Run n steps. Yields each new state, with the number of steps since the state before.

        Parameters
        ----------
        state, constant : nested tuples of arrays
        varying : nested tuple of host arrays (n, ...)
            Each step gets one entry along the first axis.
        place : callable
            Copies a host array to the device.
        """
        self._constant = constant
        if self._compiled:
            yield from self._take_blocks(state, constant, varying, place)
            return
        # All steps' numbers go to the device in one copy per array.
        for one in _unstacked(tree_map(place, varying), self._xp.unstack):
            state, seen = self._one_step(state, constant, one)
            self._seen.append(seen)
            if len(self._seen) == 1:
                self._most = -(-self._held // sum(math.prod(array.shape) for array in tree_leaves(seen)))
            if len(self._seen) >= self._most:
                self._report_seen()
            yield state, 1
        self._report_seen()  # the next chunk may have another batch size

    def _take_blocks(
        self, state: Any, constant: Any, varying: Any, place: Placing
    ) -> Iterator[tuple[Any, int]]:
        leaves, done = tree_leaves(varying), 0
        n = len(leaves[0])
        step_bytes = sum(array.nbytes for array in leaves) // n
        while done < n:
            taken = min(n - done, BLOCK_STEPS)
            size = _block_length(taken, step_bytes)
            block = tree_map(lambda array, i=done, size=size: place(_rows(array, i, size)), varying)
            state, reported = self._block(state, constant, block, np.int32(taken))
            self._reported.append((reported, taken))
            done += taken
            yield state, taken

    def reported(self) -> list[tuple[HostArray, ...]]:
        """Return the reports since the last call: tuples of arrays (m, ...) of m steps each.

        They are copied to the host, so this waits for the device.
        """
        self._report_seen()
        found, self._reported = self._reported, []
        return [tuple(to_host(array)[:n, ...] for array in arrays) for arrays, n in found]

    def _report_seen(self) -> None:
        if self._seen:
            self._reported.append((self._report(self._seen, self._constant), len(self._seen)))
            self._seen = []


def _unstacked(tree: Any, unstack: Callable[[Array], Iterable[Array]]) -> Iterator[Any]:
    """Divide a tree of arrays (n, ...) into n trees; a `tree_map` for each step would take 3 µs more.

    None, and an empty tuple, are repeated without end.
    """
    if isinstance(tree, tuple) and tree:
        parts = zip(*(_unstacked(part, unstack) for part in tree), strict=False)  # some parts have no end
        make = getattr(type(tree), "_make", None)  # of a NamedTuple
        return parts if make is None else map(make, parts)
    return repeat(tree) if tree is None or isinstance(tree, tuple) else iter(unstack(tree))


def _block_length(n: int, step_bytes: int) -> int:
    """Return the length of a block of n steps with its padding.

    JAX compiles each length anew, so all blocks have the full length. If that would take much memory, a short
    block is padded only to the next power of two.
    """
    if BLOCK_STEPS * step_bytes <= PADDED_BYTES:
        return BLOCK_STEPS
    return min(BLOCK_STEPS, 1 << (n - 1).bit_length())


def _rows(array: HostArray, first: int, n: int) -> HostArray:
    """Return n rows from ``first`` on; past the end the last row is repeated."""
    if first + n <= len(array):
        return array[first : first + n, ...]
    return array.take(np.arange(first, first + n), axis=0, mode="clip")


def _block(
    state: Any,
    constant: Any,
    varying: Any,
    n: Array,
    *,
    step: Function,
    report: Function,
    xp: ModuleType,
    **fixed: Any,
) -> Any:
    """Run and report a step for each of the first n entries of ``varying``, in one loop that JAX compiles.

    n is an array, so one compiled loop serves blocks with any padding. Only the first n rows of the reports
    are valid.
    """
    import jax

    def step_and_report(state: Any, one: Any) -> Any:
        state, seen = step(state, constant, one, xp=xp, **fixed)
        # A report in each step: the compiler optimises both together.
        return state, report([seen], constant, xp=xp)

    one_step = jax.jit(step_and_report)  # traced once, for the shapes of its results and for the loop

    def ith(i: Any) -> Any:
        return tree_map(lambda array: array[i, ...], varying)

    def next_step(i: Array, held: Any) -> Any:
        state, reports = held
        state, found = one_step(state, ith(i))
        pairs = zip(reports, found, strict=True)
        return state, tuple(jax.lax.dynamic_update_slice_in_dim(a, b, i, axis=0) for a, b in pairs)

    n_rows = tree_leaves(varying)[0].shape[0]
    _, shapes = jax.eval_shape(one_step, state, ith(0))  # of one step's reports: (1, ...)
    reports = tuple(xp.zeros((n_rows, *a.shape[1:]), dtype=a.dtype) for a in shapes)
    return jax.lax.fori_loop(0, n, next_step, (state, reports))
