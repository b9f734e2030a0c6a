"""sweep(): candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._namespace import Array, array_namespace, is_array_api_obj, undisturbed
from .._namespace import device as device_of
from .._streams import RandomState, seed_of
from .._validation import (
    check_array,
    check_features,
    check_integer,
    check_targets,
)
from ..augmentation import Augmentation, check_augmentation
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import stack
from ..training import Callback, History, Progress
from ..training.arguments import COSINE, NESTEROV
from ..training.data import check_validation
from ..training.optimizers import Optimizer
from ..training.plan import Settings, checked_data, planned
from ..training.run import select
from ..training.schedules import Schedule
from ..training.trainer import carry_out
from .candidates import candidates_of, settings_of_stack, stacks_of
from .comparison import Row, best_run, compared, winner_of
from .results import Best, SweepResult

_OF_RUN = ("diverged", "best_step", "train_accuracy", "validation_accuracy")


@undisturbed
def sweep(
    X: Array,
    y: Array,
    *,
    validation: tuple[Array, ...],
    grid: Mapping[str, Sequence[Any]] | Iterable[Mapping[str, Any]],
    n_classes: int | None = None,
    dtype: Any = "float32",
    rng: RandomState = 0,
    max_networks: int | None = None,
    sample_weight: Array | None = None,
    class_weight: Sequence[float] | Array | str | None = None,
    preprocessing: Preprocessing | None = None,
    augmentation: Augmentation | None = None,
    optimizer: Optimizer = NESTEROV,
    schedule: Schedule = COSINE,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    ema_decay: float | None = None,
    patience: int | None = None,
    judge: str = "best",
    stream: bool = False,
    xp: Any = None,
    device: Any = None,
    callbacks: Iterable[Callback] = (),
) -> SweepResult:
    """Train a network for every candidate of hyper-parameters and every seed, and keep the best.

    Candidates that differ only in ``learning_rate``, ``reg``, ``dropout``, ``label_smoothing`` and
    ``weight_scale`` train together as a stack, on the same batches; each ends as it would have if trained
    alone: a row of ``runs`` is what `train` gives for its settings, with
    ``TwoLayerNet.initialize(..., rng=seed, weight_scale=weight_scale)`` and ``rng=seed``. That is so up to
    rounding: the products of a stack of another width add up in another order. At high learning rates a
    training makes such differences larger with each step, so that in float32 the same candidate and seed can
    get a few validation samples more or fewer right in another sweep; the same sweep gives the same figures.

    Parameters
    ----------
    X, y, validation
        As for `train`; ``validation`` must be given.
    grid : mapping of sequences, or iterable of mappings
        Either the values to combine, ``{"learning_rate": [1e-2, 1e-3], "reg": [0.0, 1e-4], "seed": [0, 1]}``,
        or the settings themselves, ``[{"learning_rate": 1e-2, "reg": 0.0}, ...]``. Keys: ``learning_rate``
        (default 1e-2), ``reg`` (0), ``n_hidden`` (50), ``batch_size`` (200), ``weight_scale`` ("he"),
        ``dropout`` (0), ``input_dropout`` (0), ``label_smoothing`` (0) and ``seed``; and ``optimizer``,
        ``schedule`` and ``augmentation``, in place of what stands below.
    n_classes : int, optional
        Number of classes; else one more than the largest label, or the columns of class probabilities.
    dtype : dtype or str
        float32 or float64.
    rng : int, numpy.random.Generator or None
        The seed of the settings that name none.
    max_networks : int, optional
        The most networks to train at once, where memory is short.
    sample_weight, class_weight, preprocessing, augmentation, optimizer, schedule
        As for `train`.
    epochs, steps, replacement, ema_decay, patience, judge
        As for `train`.
    stream : bool
        The samples are NumPy arrays, of which each batch is copied to where the networks are; as for `train`.
    xp : module, optional
        With ``stream``: the array library of the networks, ``cupy`` say; NumPy where it is not given.
        Otherwise that of ``X``.
    device : optional
        With ``stream``: where they are; by default the library's default device. Otherwise that of ``X``.
    callbacks : iterable of callables
        Called as by `train`, with ``stage`` and ``stages`` set. ``progress.stop()`` ends the sweep there.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        As `train`; and if a setting is unknown, none is given, or one comes twice.

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> result = twolayer.sweep(
    ...     digits.train.X, digits.train.y, validation=(digits.validation.X, digits.validation.y),
    ...     grid={"learning_rate": [1e-4, 1e-3], "n_hidden": [10, 20]}, epochs=5)
    >>> [row["n_hidden"] for row in result.table]
    [10, 20, 10, 20]
    >>> result.best.settings["learning_rate"]
    0.001
    """
    check_features(X)
    check_array("y", y)
    check_validation(validation)
    if n_classes is None:
        n_classes = _count_classes(y, validation[1])
    n_classes = check_integer("n_classes", n_classes, least=1)
    check_targets(y, X, n_classes)
    callbacks = tuple(callbacks)
    shared = Settings(
        validation=validation,
        sample_weight=sample_weight,
        class_weight=class_weight,
        preprocessing=preprocessing,
        augmentation=augmentation,
        optimizer=optimizer,
        schedule=schedule,
        epochs=epochs,
        steps=steps,
        replacement=replacement,
        ema_decay=ema_decay,
        patience=patience,
        judge=judge,
        stream=bool(stream),
        callbacks=callbacks,
    )
    candidates = candidates_of(grid, shared, default_seed=seed_of(rng))
    names = tuple(key for key in candidates[0] if key != "seed")
    stacks = stacks_of(candidates, max_networks)
    n_features = math.prod(X.shape[1:])
    for members in stacks:  # before any is trained
        chosen = settings_of_stack(shared, [candidates[i] for i in members])
        chosen.check_forms()
        check_augmentation(chosen.augmentation, n_features)
    if not stream:
        for name, value in (("xp", xp), ("device", device)):
            if value is not None:
                raise ValueError(
                    f"`{name}` must be left out where `X` says it, without `stream`; "
                    f"got {getattr(value, '__name__', value)}"
                )
        xp, device = array_namespace(X), device_of(X)
    elif xp is None:
        xp = np
    if preprocessing is not None:
        n_features = preprocessing.n_outputs
    runs: dict[int, tuple[Row, History, TwoLayerNet]] = {}
    complete, data = True, None
    unfinished: list[int] = []
    for stage, members in enumerate(stacks, start=1):
        first = candidates[members[0]]
        nets = stack(
            TwoLayerNet.initialize(
                n_features,
                first["n_hidden"],
                n_classes,
                rng=first["seed"],
                weight_scale=candidates[i]["weight_scale"],
                xp=xp,
                dtype=dtype,
                device=device,
            )
            for i in members
        )
        watch = _Watch(callbacks, stage, len(stacks))
        settings = settings_of_stack(shared, [candidates[i] for i in members])
        settings = replace(settings, callbacks=[watch] if callbacks else ())
        data = data or checked_data(nets, X, y, settings)
        run = carry_out(nets, planned(nets, data, settings))
        if run.history.step.size:  # else it was stopped before any validation
            each = [select(run, k) for k in range(len(members))]
            over = all(member.diverged is not None or member.stopped is not None for member in each)
            unfinished += [] if not watch.stopped or watch.ended or over else members
            for i, member in zip(members, each, strict=True):
                n_steps: Any = member.stopped or member.n_steps
                row = candidates[i] | {"n_steps": n_steps}
                row |= {name: getattr(member, name) for name in _OF_RUN}
                runs[i] = row, member.history.until(n_steps), member.net
        if watch.stopped:
            complete = len(runs) == len(candidates) and not unfinished
            break
    found = [runs[i] for i in sorted(runs)]
    rows = [row for row, _, _ in found]
    judged = [runs[i][0] for i in sorted(runs) if i not in unfinished] or rows
    table = compared(judged, names, int(validation[0].shape[0]))
    candidate, best = winner_of(table), None
    if candidate is not None:
        row, history, net = found[rows.index(judged[best_run(candidate, judged, names)])]
        best = Best({key: row[key] for key in (*names, "seed")}, net, history, row, candidate)
    return SweepResult(best, table, rows, [history for _, history, _ in found], complete)


class _Watch:
    """Callbacks of a sweep as one of a training run, which notes whether they stopped it."""

    def __init__(self, callbacks: tuple[Callback, ...], stage: int, stages: int) -> None:
        self.callbacks, self.stage, self.stages = callbacks, stage, stages
        self.stopped = self.ended = False

    def __call__(self, progress: Progress) -> None:
        self.ended = progress.epoch_ended and progress.step == progress.steps

        def stop() -> None:
            self.stopped = True
            progress.stop()

        for callback in self.callbacks:
            callback(replace(progress, stage=self.stage, stages=self.stages, stop=stop))


def _count_classes(y: Array, y_val: Any) -> int:
    """Return the number of classes that targets speak of; what is wrong with them is said elsewhere."""
    if y.ndim > 1:
        return max(1, int(y.shape[1]))
    xp, highest = array_namespace(y), 0
    for labels in (y, y_val):
        if not is_array_api_obj(labels) or array_namespace(labels) is not xp or labels.ndim != 1:
            continue
        if device_of(labels) != device_of(y):  # refused later, with both devices named
            continue
        if labels.shape[0] and xp.isdtype(labels.dtype, "integral"):
            highest = max(highest, int(xp.max(labels)))
    return highest + 1
