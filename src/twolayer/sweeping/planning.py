"""The function `plan`, which checks the arguments of a sweep and divides it into parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import numpy as np

from .._namespace import (
    Array,
    P,
    Result,
    array_namespace,
    dtype_name,
    is_array_api_obj,
    library_name,
    undisturbed,
)
from .._namespace import device as device_of
from .._streams import RandomState, seed_of
from .._validation import (
    check_array,
    check_choice,
    check_features,
    check_finite,
    check_integer,
    check_sample_weight,
    check_targets,
    shown,
    warn_outside,
)
from ..augmentation import Augmentation, check_augmentation, mixes
from ..preprocessing import Preprocessing
from ..training.arguments import COSINE, NESTEROV
from ..training.data import check_validation
from ..training.execution import most_networks
from ..training.history import MONITORS
from ..training.optimizers import Optimizer
from ..training.plan import EPOCHS, Settings
from ..training.schedules import Schedule
from ..training.teaching import check_teacher
from .candidates import DEFAULTS, candidates_of, settings_of_stack, stacks_of
from .comparison import Row, groups_of
from .folds import check_weights_of_folds, folds_of
from .halving import rungs_of
from .parts import Given, Networks, Shared
from .plans import SweepPlan, begun
from .prepared import Fit, fitting


def with_a_grid(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return the function with a clear error for a setting that is given outside of ``grid``."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        for name in (*DEFAULTS, "seed"):
            if name in kwargs:
                value: Any = kwargs[name]
                values = shown(list(value) if isinstance(value, list | tuple) else [value])
                in_grid = f'grid={{"{name}": {values}}}'
                raise TypeError(f"`{name}` must be given as `{in_grid}`; got it as an argument")
        return function(*args, **kwargs)

    return call


@with_a_grid
@undisturbed
def plan(
    X: Array,
    y: Array,
    *,
    validation: tuple[Array, ...] | None = None,
    folds: int | Iterable[tuple[Any, Any]] | None = None,
    refit: str | None = "all",
    grid: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    candidates: int | None = None,
    n_classes: int | None = None,
    dtype: Any = "float32",
    rng: RandomState = 0,
    max_networks: int | None = None,
    halving: int | None = None,
    sample_weight: Array | None = None,
    class_weight: Sequence[float] | Array | str | None = None,
    preprocessing: Preprocessing | Callable[[Array], Preprocessing] | str | None = None,
    augmentation: Augmentation | None = None,
    teacher: Callable[[Array], Array] | Array | None = None,
    temperature: float = 1.0,
    teacher_weight: float = 0.5,
    optimizer: Optimizer = NESTEROV,
    schedule: Schedule = COSINE,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    ema_decay: float | None = None,
    patience: int | None = None,
    monitor: str = "accuracy",
    judge: str | None = None,
    stream: bool = False,
    xp: Any = None,
    device: Any = None,
) -> SweepPlan:
    """Divide a sweep into parts, which any processes can train in any order.

    `sweep` makes such a plan, and runs its parts one after another or on an ``executor``. Make a plan if your
    own scheduler should run the parts, or if the workers should read the data themselves. A part contains no
    samples and can be pickled. This function trains nothing.

    Parameters
    ----------
    X, y, validation
        As for `sweep`. They are checked, and the plan keeps a short description of them. `Part.run` raises an
        error if its arrays have other content.
    folds, refit
        As for `sweep`.
    grid, candidates
        As for `sweep`.
    n_classes, dtype, rng
        As for `sweep`.
    max_networks, halving
        As for `sweep`. A smaller ``max_networks`` makes more parts.
    sample_weight, class_weight
        As for `sweep`.
    preprocessing, augmentation
        As for `sweep`.
    teacher, temperature, teacher_weight
        As for `sweep`. An array of logits is pickled with each part.
    optimizer, schedule, epochs, steps, replacement, ema_decay, patience, monitor, judge
        As for `sweep`.
    stream, xp, device
        As for `sweep`.

    Returns
    -------
    SweepPlan
        The plan has the parts, and the method `join` for their results.

    Raises
    ------
    TypeError, ValueError
        As for `sweep`, except for errors that are found only when a part starts.

    Warns
    -----
    UserWarning
        As for `sweep`.
    """
    arguments = {**locals()}
    check_features(X)
    check_array("y", y)
    if (validation is None) == (folds is None):
        raise ValueError(
            "`validation` or `folds` must be given to judge networks by, not both; got "
            + ("neither" if folds is None else "both")
        )
    if validation is not None:
        check_validation(validation)
    if n_classes is None:
        n_classes = _count_classes(y, y if validation is None else validation[1])
    n_classes = check_integer("n_classes", n_classes, least=1)
    check_targets(y, X, n_classes)
    check_choice("refit", refit, ("all", "merge", None))
    check_choice("monitor", monitor, MONITORS)
    if halving is not None:
        halving = check_integer("halving", halving, least=2)
        if steps is not None:
            raise ValueError(
                f"`epochs` must be given in place of `steps` with `halving`; got `steps` of {steps}"
            )
    seed, fit = seed_of(rng), fitting(preprocessing)
    divided = None if folds is None else folds_of(folds, y, seed)
    settings = Settings.of(
        arguments,
        validation=None,  # each part gets this and the weights from the data
        sample_weight=None,
        preprocessing=None if fit else preprocessing,
        judge=judge or ("best" if folds is None else "last"),
        stream=bool(stream),
        rng=None,
        folds=divided,
    )
    check_teacher(settings, X.shape[0], n_classes)
    runs = candidates_of(grid, settings, default_seed=seed, n_drawn=candidates)
    if divided is not None:
        runs = [one | {"fold": fold} for one in runs for fold in range(len(divided.trained))]
        _check_folds(preprocessing, fit, stream=settings.stream)
        check_sample_weight(sample_weight, X)
        check_weights_of_folds(sample_weight, divided)
        if fit is not None:
            check_finite(X)  # an error for one fold would name rows of that fold, not of X
    if not stream:
        for name, value in (("xp", xp), ("device", device)):
            if value is not None:
                raise ValueError(
                    f"`{name}` must be left out without `stream`, because `X` determines it; "
                    f"got {getattr(value, '__name__', value)}"
                )
        xp, device = array_namespace(X), device_of(X)
    elif xp is None:
        xp = np

    limit = len(runs) if max_networks is None else check_integer("max_networks", max_networks, least=1)

    def most(one: Row) -> int:
        if halving is not None:  # stacks shrink at the first rung
            return limit
        return min(limit, most_networks(xp, one["n_hidden"], min(one["batch_size"], X.shape[0]), dtype))

    stacks = stacks_of(runs, most, folds_together=fit is None)
    for members in stacks:  # raise errors before any stack is trained
        chosen = settings_of_stack(settings, [runs[i] for i in members])
        chosen.check_forms()
        check_augmentation(chosen.augmentation, math.prod(X.shape[1:]))
        if divided is not None and fit is None and mixes(chosen.augmentation):
            raise ValueError(
                "`augmentation` must not mix samples with `folds`, which share batches: a partner may be "
                "held out; got Mixup (with an unfitted `preprocessing`, each fold has its own batches)"
            )
    augmentations = (one.get("augmentation", augmentation) for one in runs)
    shared = Shared(
        settings,
        fit,
        n_classes,
        dtype_name(dtype),
        library_name(xp) if stream else None,
        device if stream else None,
        in_steps=bool(stream) or callable(teacher) or any(one is not None for one in augmentations),
        data=Given(X, y, validation, sample_weight).fingerprint(),
    )
    n_validation = 0 if validation is None else validation[0].shape[0]
    networks = Networks(runs, stacks, shared, refit, halving, n_validation)
    rungs = []
    if halving is not None:
        n_epochs = EPOCHS if epochs is None else check_integer("epochs", epochs, least=1)
        rungs = rungs_of(n_epochs, len(groups_of(runs, networks.names)), halving)
    return begun(networks, tuple(rungs))


def _check_folds(preprocessing: Any, fit: Fit | None, *, stream: bool) -> None:
    """Raise or warn if a preprocessing does not suit folds."""
    if fit is not None and stream:
        raise ValueError(
            f"`preprocessing` must be fitted if `stream` and `folds` are both given; got {preprocessing!r}"
        )
    if fit is None and preprocessing is not None:
        way_out = (
            '; give it unfitted ("standardize", a class, or a function of X) to have it fitted to the '
            "samples of each fold"
        )
        warn_outside(
            "`preprocessing` was fitted before the samples were divided into folds, so it may have seen the "
            f"held-out samples{'' if stream else way_out}"
        )


def _count_classes(y: Array, y_val: Any) -> int:
    """Return the number of classes that the targets imply; later checks find invalid targets."""
    if y.ndim > 1:
        return max(1, int(y.shape[1]))
    xp, highest = array_namespace(y), 0
    for labels in (y, y_val):
        if not is_array_api_obj(labels) or array_namespace(labels) is not xp or labels.ndim != 1:
            continue
        if device_of(labels) != device_of(y):  # a later error names both devices
            continue
        if labels.shape[0] and xp.isdtype(labels.dtype, "integral"):
            highest = max(highest, int(xp.max(labels)))
    return highest + 1
