"""Distillation: targets made from a teacher's logits.

They are computed on the host in float64. An array of logits gives the targets of all samples at once. A
callable must be called with each batch as it is augmented, so the host then gathers and augments the batch,
and the step only preprocesses it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    copied,
    device,
    from_host,
    is_array_api_obj,
    rows_of,
    standard_namespace,
    to_host,
)
from .._validation import check_finite, check_form, check_number
from ..augmentation import Augmentation, Chain, mixes
from ..mathematics import log_softmax, targets
from ..network import TwoLayerNet
from .batches import Draws
from .fingerprint import described
from .step import Samples, augmented
from .trees import tree_map

if TYPE_CHECKING:
    from .plan import Plan, Settings


def check_teacher(settings: Settings, n_samples: int, n_classes: int) -> None:
    """Raise unless the teacher, if there is one, its temperature and its weight are valid."""
    check_number("temperature", settings.temperature, above=0.0)
    check_number("teacher_weight", settings.teacher_weight, least=0.0, most=1.0)
    if is_array_api_obj(settings.teacher):
        host_logits(settings.teacher, (n_samples, n_classes), name="teacher")
    elif settings.teacher is not None:
        wanted = "a callable that returns logits, such as `net.logits`, or an array of logits (N, C)"
        check_form("teacher", settings.teacher, ["__call__"], wanted)


def described_teacher(teacher: Any) -> str:
    """Describe the teacher for the fingerprint: a callable by its ``name``, or that of its function or class.

    Other attributes are left out, because a call may change them. A method of a network, and an array of
    logits, are described by their values too.
    """
    if teacher is None or is_array_api_obj(teacher):
        return described(teacher)
    owner = getattr(teacher, "__self__", teacher)
    if isinstance(owner, TwoLayerNet):
        return f"{teacher.__name__} of {described(owner)}"
    return str(getattr(owner, "name", None) or getattr(teacher, "__qualname__", type(teacher).__qualname__))


def host_logits(logits: Any, shape: tuple[int, int], *, name: str) -> HostArray:
    """Return logits on the host; raise unless they are an array of finite real numbers of this shape."""
    if not is_array_api_obj(logits):
        raise TypeError(f"`{name}` must be an array of logits; got {type(logits).__name__}")
    host = to_host(logits)  # this waits for the device
    if host.shape != shape:
        raise ValueError(
            f"`{name}` must be logits of shape {shape}, a row for each sample and a column for each class; "
            f"got shape {host.shape}"
        )
    if host.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` must be logits of a real dtype; got {host.dtype}")
    check_finite(host, name=name)
    return host


class Teaching:
    """The batches of a run with their targets, T = λ · softmax(z / τ) + (1 - λ) · labels.

    Parameters
    ----------
    plan : Plan
        A plan with a teacher, whose logits are z.
    n_classes : int
    at_once : int
        Number of batches for which a callable teacher is called before their steps are run.

    Attributes
    ----------
    calls : bool
        Whether the teacher is a callable.
    augmentation : Augmentation or None
        The augmentation that the step must still apply: None for a callable, which needs augmented samples.
    seconds : float
        The time that the teacher has taken.
    """

    def __init__(self, plan: Plan, n_classes: int, at_once: int) -> None:
        self._plan, self._n_classes, self._at_once, self.seconds = plan, n_classes, at_once, 0.0
        self.calls = not is_array_api_obj(plan.teacher)
        self.augmentation = None if self.calls else plan.augmentation
        y = to_host(plan.data.train.y)
        self._targets = y if self.calls else self._mixed(y, to_host(plan.teacher))

    def chunks(self, draws: Draws, cast_draws: Draws) -> Iterator[tuple[Draws, Samples | None, Any]]:
        """Yield the draws that steps still need, with their batches, or with their targets only.

        The form is that of ``Varying``'s first three fields.
        """
        plan, rows, at_once = self._plan, draws.rows, self._at_once
        if self.calls:
            # A few steps at a time: the batches of a whole chunk may take much memory, and a callback may
            # stop the run before they are used.
            for first in range(0, len(rows), at_once):
                some = tree_map(lambda array, i=first: array[i : i + at_once], cast_draws)
                n_steps = len(some.rows)
                each = [self._batch(tree_map(lambda a, i=i: a[i, ...], some)) for i in range(n_steps)]
                batch = tree_map(lambda *arrays: np.stack(arrays), *each)
                yield some._replace(rows=None, augmentation=None), batch, None
        elif plan.stream:
            batch = plan.taken(plan.data.train, rows)
            yield cast_draws._replace(rows=None), batch._replace(y=self._targets[rows]), None
        else:
            yield cast_draws, None, self._targets[rows]

    def _batch(self, drawn: Draws) -> Samples:
        """Return the batch of one step on the host, augmented, with its targets."""
        plan, X = self._plan, self._plan.data.given
        xp = array_namespace(X)

        def place(host: HostArray) -> Array:
            return from_host(host, xp=xp, device=device(X))

        def taught(batch: Samples) -> Samples:
            # The teacher gets a copy, so that it cannot change the batch.
            T = self._mixed(to_host(batch.y), self._logits(xp.reshape(copied(batch.X, xp=xp), shape)))
            return batch._replace(y=place(T))

        rows, shape = place(drawn.rows), (len(drawn.rows), *X.shape[1:])
        samples = plan.data.train._replace(X=X, y=None)
        batch: Samples = tree_map(lambda array: rows_of(array, rows, xp=xp), samples)
        T = self._mixed(self._targets[drawn.rows], None)
        batch = batch._replace(X=xp.reshape(batch.X, (shape[0], -1)), y=place(T))
        # A teacher sees whole samples, not mixtures: it is called before the first mixing augmentation, which
        # then mixes its targets too.
        is_taught = False
        for augmentation, own in _parts(plan.augmentation, drawn.augmentation):
            if mixes(augmentation) and not is_taught:
                batch, is_taught = taught(batch), True
            batch = augmented(batch, tree_map(place, own), augmentation, xp=xp)
        batch = tree_map(to_host, batch if is_taught else taught(batch))
        return batch._replace(X=plan.cast_samples(batch.X))

    def _logits(self, X: Array) -> HostArray:
        """Return the teacher's logits of a batch, (B, C), on the host."""
        began_at = time.monotonic()
        host = host_logits(self._plan.teacher(X), (X.shape[0], self._n_classes), name="teacher(X)")
        self.seconds += time.monotonic() - began_at
        return host

    def _mixed(self, y: HostArray, logits: HostArray | None) -> HostArray:
        """Return targets (B, C) from labels (B,) or probabilities (B, C), and from logits (B, C) if given."""
        xp = standard_namespace(np)
        T: HostArray = targets(y, self._n_classes, dtype=np.float64, xp=xp)[0][0, ...].T
        if logits is not None:
            weight, z = float(self._plan.teacher_weight), logits.astype(np.float64)
            # Without the maximum first, a small temperature could make the quotient overflow.
            softened = (z - np.max(z, axis=1, keepdims=True)) / float(self._plan.temperature)
            T = weight * np.exp(log_softmax(softened, axis=1, xp=xp)) + (1.0 - weight) * T
        return T.astype(self._plan.dtype)


def _parts(augmentation: Augmentation | None, drawn: Any) -> Iterator[tuple[Augmentation, Any]]:
    """Yield the parts of an augmentation, which may be a chain of chains, each with its draws."""
    if isinstance(augmentation, Chain):
        for part, own in zip(augmentation.parts, drawn, strict=True):
            yield from _parts(part, own)
    elif augmentation is not None:
        yield augmentation, drawn
