"""How each array library runs its steps: the only place that knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .._kinds import kinds
from .._namespace import Array, HostArray, is_jax_namespace, is_numpy_namespace, is_torch_namespace
from .batches import length, moved, unstacked

SCANNED_STEPS = 32  # in one call of what JAX compiled

Taken: TypeAlias = tuple[Any, int, tuple[Array, ...]]


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
    """Return the namespace in which steps run: from its version 2.1 on NumPy itself is one."""
    return np if is_numpy_namespace(xp) and hasattr(np, "unstack") else xp


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


def in_turn(
    step: Callable[..., Any], xp: ModuleType, **fixed: Any
) -> Callable[[Any, Any, Any, Callable[[HostArray], Array]], Iterator[Taken]]:
    """Return a function that takes steps one after another, in as few calls as the library needs.

    Parameters
    ----------
    step : callable
        ``step(state, constant, one, xp=xp, **fixed)`` returns the next state, and a tuple of results.
        It consumes the state.
    xp : module
    **fixed
        Further arguments.

    Returns
    -------
    callable
        ``take(state, constant, varying, place)``, of nested tuples of arrays: ``varying`` of host arrays
        (n, ...), of which each step gets one, copied by ``place``. Yields the state, how many steps were
        taken since the last one, m, and their results: of one step, or with a first axis m.
    """
    one_step = prepared(step, xp, consumes=True, **fixed)
    scanned = prepared(_scanned, xp, consumes=True, step=step, fixed=tuple(sorted(fixed.items())))

    def take(state: Any, constant: Any, varying: Any, place: Callable[[HostArray], Array]) -> Iterator[Taken]:
        n, done = length(varying), 0
        if is_jax_namespace(xp):
            while done + SCANNED_STEPS <= n:
                rows = slice(done, done + SCANNED_STEPS)
                block = moved(varying, lambda array, rows=rows: place(array[rows]))
                state, results = scanned(state, constant, block)
                done += SCANNED_STEPS
                yield state, SCANNED_STEPS, results
        rest = moved(varying, lambda array: place(array[done:]))
        for one in unstacked(rest, n - done, unstack=xp.unstack):
            state, results = one_step(state, constant, one)
            yield state, 1, results

    return take


def _scanned(
    state: Any, constant: Any, varying: Any, *, step: Callable[..., Any], fixed: Any, xp: ModuleType
) -> Any:
    """Take a step for each first index of ``varying``, in one loop that JAX compiles."""
    import jax

    one_step = partial(step, xp=xp, **dict(fixed))
    return jax.lax.scan(lambda state, one: one_step(state, constant, one), state, varying)
