"""How each array library runs steps: call by call or compiled in blocks, and when it reports."""

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

# Savings at 50 hidden units: benchmarks/forms.py.
STACK_BYTES = 3 * 2**20  # of hidden activations: a larger stack does not fit a cache, and NumPy is slower
# On products of two matrices with fewer operations than this, several threads of a BLAS cost more than they
# bring, and several times the whole where other programs keep the cores busy.
SMALL_PRODUCT = 3e7
BLOCK_STEPS = 32  # at most, in one call of what JAX compiled; a call for each step takes 1.2 times as long
PADDED_BYTES = 2**22  # where a full block takes no more, a shorter one is padded to its length
HELD_NUMBERS = 2**17  # kept from several steps, and reported together; each by itself takes 1.1 times as long
HELD_BY_CUPY = 2**22  # the same: no cache has to hold them, and calls are dear


@contextmanager
def running(xp: ModuleType) -> Iterator[None]:
    """Set what a library needs while steps run: no autograd in PyTorch, no floating-point errors in NumPy.

    A network on its way to divergence overflows; the run reports it, so the warnings would say it twice.
    """
    without_gradients = sys.modules["torch"].no_grad() if is_torch_namespace(xp) else nullcontext()
    with np.errstate(all="ignore"), without_gradients:
        yield


def compiled(function: Function, xp: ModuleType, *, consumes: bool = False, **fixed: Any) -> Function:
    """Return ``function`` with its ``xp`` and ``fixed`` bound, compiled where the library has a compiler.

    With ``consumes``, the first argument is given up to the call: its memory may be used for the result.
    What was compiled is kept, so a second run of the same shapes does not compile again, unless something
    that is fixed cannot be hashed.
    """
    fixed = dict(sorted(fixed.items()))
    try:
        return _compiled(function, xp, consumes, **fixed)
    except TypeError:  # something cannot be hashed
        return _compiled.__wrapped__(function, xp, consumes, **fixed)


# Typed, because a user's optimizer may be a named tuple, which equals one of another class.
@lru_cache(maxsize=64, typed=True)
def _compiled(function: Function, xp: ModuleType, consumes: bool, **fixed: Any) -> Function:
    function = partial(function, xp=fast_namespace(xp), **fixed)
    if is_jax_namespace(xp):
        import jax

        return jax.jit(function, donate_argnums=(0,) if consumes else ())  # type: ignore[no-any-return]
    return function


def threads_for(xp: ModuleType, operations: float, most: int | None = None) -> AbstractContextManager[Any]:
    """Limit NumPy's BLAS to one thread where its products are small, else to ``most`` if that is given.

    Nothing is limited if threadpoolctl cannot be imported.
    """
    limit = 1 if operations < SMALL_PRODUCT else most
    limits: AbstractContextManager[Any] = nullcontext()
    if is_numpy_namespace(xp) and limit is not None:
        with suppress(ImportError):  # it saves time, and changes no result
            threadpoolctl = require("threadpoolctl", extra="cli", purpose="Choosing threads")
            limits = threadpoolctl.threadpool_limits(limit, "blas")
    return limits


def most_networks(xp: ModuleType, n_hidden: int, batch_size: int, dtype: Any) -> int:
    """Return the most networks whose hidden activations fit a cache together.

    The largest integer on libraries other than NumPy, where it does not matter.
    """
    if not is_numpy_namespace(xp):
        return sys.maxsize
    itemsize = 8 if dtype_name(dtype) == "float64" else 4
    return max(1, STACK_BYTES // (n_hidden * batch_size * itemsize))


def narrows(xp: ModuleType, n_in_arrays: int, n_present: int) -> bool:
    """Return whether arrays of ``n_in_arrays`` networks should be reduced to the ``n_present`` that train on.

    JAX compiles everything anew for each size, so there at least half must have left.
    """
    return not is_jax_namespace(xp) or 2 * n_present <= n_in_arrays


def steps_at_once(xp: ModuleType) -> int:
    """Return how many steps one call takes, at the most."""
    return BLOCK_STEPS if is_jax_namespace(xp) else 1


def dividing(device: Any) -> Function | None:
    """Return a function of a batch, or any tree of arrays (N, ...), that divides its rows over a JAX mesh.

    It works in what JAX compiles, and with any number of rows. Without it each device would compute the whole
    batch, as XLA puts the rows that are gathered from a divided array on every device. None elsewhere.
    """
    return _dividing(device.mesh) if hasattr(device, "mesh") else None


@lru_cache(maxsize=8)  # as what is compiled is kept by it
def _dividing(mesh: Any) -> Function:
    import jax

    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    return partial(jax.lax.with_sharding_constraint, shardings=sharding)


class Steps:
    """Takes steps one after another, in as few calls as the library needs, and holds what they report.

    Parameters
    ----------
    step : callable
        ``step(state, constant, varying, xp=xp, **fixed)`` returns the next state, and what it saw: a tuple of
        arrays. It consumes the state.
    report : callable
        ``report(seen, constant, xp=xp)``, of what m steps saw, returns a tuple of arrays (m, ...).
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
        self._seen: list[Any] = []  # of steps of one batch size, not reported yet
        self._most = 1  # how many of them are held
        self._reported: list[tuple[tuple[Array, ...], int]] = []  # reports, and of how many steps

    def take(self, state: Any, constant: Any, varying: Any, place: Placing) -> Iterator[tuple[Any, int]]:
        """Take n steps. Yields the state, and how many steps were taken since the state before.

        Parameters
        ----------
        state, constant : nested tuples of arrays
        varying : nested tuple of host arrays (n, ...)
            Each step gets one entry of the first axis.
        place : callable
            Copies a host array to the device.
        """
        self._constant = constant
        if self._compiled:
            yield from self._take_blocks(state, constant, varying, place)
            return
        for one in _unstacked(tree_map(place, varying), self._xp.unstack):
            state, seen = self._one_step(state, constant, one)
            self._seen.append(seen)
            if len(self._seen) == 1:
                self._most = -(-self._held // sum(math.prod(array.shape) for array in tree_leaves(seen)))
            if len(self._seen) >= self._most:
                self._report_seen()
            yield state, 1
        self._report_seen()

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


def _unstacked(tree: Any, unstack: Callable[[Array], Iterable[Array]]) -> Iterator[Any]:
    """Divide a tree of arrays (n, ...) into n trees; `tree_map` for each would take 3 µs more."""
    if isinstance(tree, tuple) and tree:
        parts = zip(*(_unstacked(part, unstack) for part in tree), strict=False)  # some have no end
        make = getattr(type(tree), "_make", None)  # of a NamedTuple
        return parts if make is None else map(make, parts)
    return repeat(tree) if tree is None or isinstance(tree, tuple) else iter(unstack(tree))


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
    step: Function,
    report: Function,
    xp: ModuleType,
    **fixed: Any,
) -> Any:
    """Take a step for each of the first n of ``varying``, and report it, in one loop that JAX compiles.

    Only the first n rows of the reports mean something.
    """
    import jax

    def step_and_report(state: Any, one: Any) -> Any:
        state, seen = step(state, constant, one, xp=xp, **fixed)
        return state, report([seen], constant, xp=xp)  # at once, as a compiler prefers it

    one_step = jax.jit(step_and_report)  # so that it is traced once, for its shapes and for the loop

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
