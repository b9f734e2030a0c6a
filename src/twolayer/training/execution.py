"""How each array library runs a step: the only place that knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np

from .._kinds import kinds
from .._namespace import is_jax_namespace, is_torch_namespace


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
    function = partial(function, xp=xp, **dict(fixed))
    if is_jax_namespace(xp):
        import jax

        return jax.jit(function, donate_argnums=(0,) if consumes else ())  # type: ignore[no-any-return]
    return function
