"""How each array library runs a step: the only place that knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np

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


@cache
def prepared(function: Callable[..., Any], xp: ModuleType, *, consumes: bool = False) -> Callable[..., Any]:
    """Return ``function`` with its ``xp`` bound, compiled where the library has a compiler for it.

    With ``consumes``, the first argument is given up to the call: its memory may be used for the result.
    What was compiled is kept, so a second run of the same shapes does not compile again.
    """
    function = partial(function, xp=xp)
    if is_jax_namespace(xp):
        import jax

        return jax.jit(function, donate_argnums=(0,) if consumes else ())  # type: ignore[no-any-return]
    return function
