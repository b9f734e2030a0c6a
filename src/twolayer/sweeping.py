"""sweep(): candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._comparison import Row, best_run, compared, group_key, winner_of
from ._namespace import Array, array_namespace, is_array_api_obj, undisturbed
from ._namespace import device as device_of
from ._numbers import NOT_NEGATIVE
from ._setting import TOGETHER
from ._streams import RandomState, seed_of
from ._validation import (
    check_array,
    check_features,
    check_integer,
    check_targets,
)
from .augmentation import Augmentation, check_augmentation
from .network import TwoLayerNet
from .preprocessing import Preprocessing
from .settings import SETTINGS, VARIED
from .stacks import stack
from .training import Callback, History, Progress
from .training.arguments import COSINE, NESTEROV
from .training.data import check_validation
from .training.optimizers import Optimizer
from .training.plan import Settings, checked_data, planned
from .training.run import select
from .training.schedules import Schedule
from .training.trainer import carry_out

DEFAULTS: dict[str, Any] = {name: SETTINGS[name].default for name in VARIED} | {
    "learning_rate": 1e-2,
    "reg": 0.0,
    "n_hidden": 50,
    "batch_size": 200,
}
# Also settings that may be varied; a row contains one only if it is varied.
_COMMON = ("optimizer", "schedule", "augmentation")
# Settings in which the networks of a stack may differ; others divide candidates into several stacks.
_OWN = tuple(name for name in VARIED if SETTINGS[name].varied == TOGETHER)
_OF_RUN = ("diverged", "best_step", "train_accuracy", "validation_accuracy")


@dataclass(frozen=True, repr=False)
class Best:
    """The winner of a sweep.

    Parameters
    ----------
    settings : dict
        Its learning_rate, reg, n_hidden, batch_size, weight_scale, dropout, input_dropout, label_smoothing
        and seed, and what else was varied.
    net : TwoLayerNet
        Its network, as `train` judged it.
    history : History
    row : dict
        Its row of `SweepResult.runs`: of this one network.
    candidate : dict
        Its row of `SweepResult.table`: of all seeds of these settings.
    """

    settings: dict[str, Any]
    net: TwoLayerNet
    history: History
    row: dict[str, Any]
    candidate: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"Best({self.settings}, validation_accuracy={self.row['validation_accuracy']:.4f}, "
            f"{_mean_in_words(self.candidate)})"
        )


@dataclass(frozen=True, repr=False)
class SweepResult:
    """Result of `sweep`.

    Parameters
    ----------
    best : Best or None
        The best seed of the candidate with the highest mean validation accuracy; candidates of which a seed
        diverged come after all others, and None where every run diverged.
    table : list of dict
        A row for each candidate, in the order of the settings: its settings; ``n_seeds``; ``diverged``, how
        many of them diverged; ``train_accuracy`` and ``validation_accuracy``, means over the seeds that did
        not (nan without any), and ``validation_accuracy_std``, their sample standard deviation (nan below
        two); and how sure that is, see below.
    runs : list of dict
        A row for each candidate and seed: its settings and ``seed``; ``n_steps``, the steps taken;
        ``diverged``, the step or None; ``best_step``, as of `Run`; ``train_accuracy`` and
        ``validation_accuracy`` of the network that was judged.
    histories : list of History
        The history of each of ``runs``.
    complete : bool
        False where a callback stopped the sweep. ``runs`` then holds what had been validated by then; the
        runs that were under way count for ``table`` and ``best`` only where none was trained to the end.

    Notes
    -----
    Two things make an accuracy uncertain. The first is the validation samples: on as many others it would be
    another. ``validation_accuracy_error`` of a row is the binomial standard error, √(p (1 − p) / N). More
    seeds do not make it smaller. All candidates are judged by the same samples, so that of a difference it
    says too much.

    The second is the seed. ``n_pairs`` of a row is how many seeds the candidate and the best one have in
    common, of those that did not diverge; ``difference`` the mean over these of its validation accuracy minus
    the best's *in pairs*; ``difference_error`` the standard error of that mean, s / √n; and
    ``difference_margin`` the half width of its 95 % confidence interval, by Student's t distribution with
    n − 1 degrees of freedom [1]_: 12.7, 4.3, 3.2, 2.8 standard errors of 2, 3, 4, 5 pairs. s is taken as no
    less than 1 / (N √12), by which the grain of an accuracy alone would scatter. ``within_noise`` is True of
    a candidate whose difference such scatter explains (and of the best itself), False of one that is clearly
    behind, and None where it is not known: of fewer than two pairs.

    Each interval is of one comparison that was chosen beforehand. The best is chosen afterwards, as the best
    of many, and so partly for its luck: its accuracy is too high on average, a difference too large, and of
    many candidates a few are called clearly behind that are not. Where it matters, train the first few again
    from other seeds.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6 (1908), doi:10.1093/biomet/6.1.1
    """

    best: Best | None
    table: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    histories: list[History]
    complete: bool

    def __repr__(self) -> str:
        return f"SweepResult({len(self.table)} candidates, {len(self.runs)} runs, best={self.best!r})"


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
    candidates = _candidates(grid, shared, default_seed=seed_of(rng))
    names = tuple(key for key in candidates[0] if key != "seed")
    stacks = _stacks(candidates, max_networks)
    n_features = math.prod(X.shape[1:])
    for members in stacks:  # before any is trained
        chosen = _of_stack(shared, [candidates[i] for i in members])
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
        settings = _of_stack(shared, [candidates[i] for i in members])
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


def _candidates(grid: Any, shared: Settings, *, default_seed: int) -> list[Row]:
    """Return the settings of every run, complete and checked, in their order."""
    if isinstance(grid, Mapping):
        for key, values in grid.items():
            if isinstance(values, str) or not hasattr(values, "__iter__"):
                raise TypeError(f"`grid` must map names to sequences of values; got {values!r} for {key!r}")
        settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    else:
        settings = list(grid) if isinstance(grid, Iterable) else [grid]
        if not all(isinstance(one, Mapping) for one in settings):
            raise TypeError(
                "`grid` must be a mapping of sequences or an iterable of mappings; "
                f"got {'an iterable' if isinstance(grid, Iterable) else type(grid).__name__}"
            )
    if not settings:
        raise ValueError("`grid` must hold at least one candidate; got none")
    names = (*DEFAULTS, *_COMMON, "seed")
    varied = {key: getattr(shared, key) for key in _COMMON if any(key in one for one in settings)}
    kinds: dict[str, Any] = {name: SETTINGS[name].kind for name in (*VARIED, "seed")}
    kinds["learning_rate"] = NOT_NEGATIVE  # unlike the option's: 0 leaves a network as it is
    candidates: list[Row] = []
    for one in settings:
        for key in one:
            if key not in names:
                raise ValueError(f"`grid` must name settings among {', '.join(names)}; got {key!r}")
        full = {**DEFAULTS, **varied, "seed": default_seed, **one}
        for name, kind in kinds.items():
            full[name] = kind.check(name, full[name])
        if full in candidates:
            raise ValueError(f"`grid` must name each candidate once; got {one} twice")
        candidates.append(full)
    return candidates


def _of_stack(shared: Settings, members: list[Row]) -> Settings:
    """Return the settings of candidates that train together."""
    own = {key: [one[key] for one in members] for key in _OWN if key != "weight_scale"}
    same = {key: members[0][key] for key in ("input_dropout", "batch_size", *_COMMON) if key in members[0]}
    varied: dict[str, Any] = own | same
    return replace(shared, **varied, rng=members[0]["seed"])


def _stacks(candidates: list[Row], max_networks: int | None) -> list[list[int]]:
    """Return which candidates train together: those that differ in nothing else than they may."""
    most = len(candidates)
    if max_networks is not None:
        most = check_integer("max_networks", max_networks, least=1)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, one in enumerate(candidates):
        shared = tuple(group_key(value) for key, value in one.items() if key not in _OWN)
        groups.setdefault(shared, []).append(i)
    starts = [(members, i) for members in groups.values() for i in range(0, len(members), most)]
    return [members[i : i + most] for members, i in starts]


def _mean_in_words(candidate: Row) -> str:
    """Say how good a candidate is over its seeds."""
    n_seeds = candidate["n_seeds"] - candidate["diverged"]
    mean, std = candidate["validation_accuracy"], candidate["validation_accuracy_std"]
    return "of one seed" if n_seeds == 1 else f"of {n_seeds} seeds {mean:.4f} ± {std:.4f}"
