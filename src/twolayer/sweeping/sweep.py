"""sweep(): candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._namespace import Array, array_namespace, is_array_api_obj, undisturbed
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
)
from ..augmentation import Augmentation, check_augmentation, mixes
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing
from ..stacks import merge, stack
from ..training import Callback, History
from ..training.arguments import COSINE, NESTEROV
from ..training.data import check_validation, check_weights_of_folds
from ..training.folds import Folds
from ..training.optimizers import Optimizer
from ..training.plan import Settings
from ..training.run import Run, select
from ..training.schedules import Schedule
from .candidates import candidates_of, settings_of_stack, stacks_of
from .comparison import Row, best_runs, compared, winner_of
from .folds import folds_of
from .prepared import Fit, fitting
from .results import Best, SweepResult
from .stages import Stages

_ACCURACIES = ("train_accuracy", "validation_accuracy")
_OF_RUN = ("diverged", "best_step", "train_accuracy", "validation_accuracy")


@undisturbed
def sweep(
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
    sample_weight: Array | None = None,
    class_weight: Sequence[float] | Array | str | None = None,
    preprocessing: Preprocessing | Callable[[Array], Preprocessing] | str | None = None,
    augmentation: Augmentation | None = None,
    optimizer: Optimizer = NESTEROV,
    schedule: Schedule = COSINE,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    ema_decay: float | None = None,
    patience: int | None = None,
    judge: str | None = None,
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
    X, y
        As for `train`.
    validation : (X, y) or (X, y, sample_weight), optional
        As for `train`. Give it or ``folds``.
    folds : int, or iterable of (rows, rows), optional
        Judge candidates by cross-validation. An int divides the samples into so many folds at random, each
        class alike. Pairs of integer arrays, as ``split`` of a scikit-learn splitter gives them, are the rows
        to train on and the rows to hold out.

        Candidates and folds train together as one stack on the same batches; rows that are held out from a
        network have a weight of 0 there. Batches are larger by N over the rows that a fold trains on, so that
        a network has ``batch_size`` rows of its own in a batch on average. Accuracies, and balanced class
        weights, are of a fold's own rows. A ``sample_weight`` counts in the accuracy on held-out rows too.
    refit : "all", "merge" or None
        With ``folds``, the network of the result: "all" trains the best candidate on all samples, to its last
        step; "merge" makes one network of those of its folds, whose logits are the mean of theirs, see
        `merge`; None makes no network.
    grid : mapping of sequences, or iterable of mappings
        Either the values to combine, ``{"learning_rate": [1e-2, 1e-3], "reg": [0.0, 1e-4], "seed": [0, 1]}``,
        or the settings themselves, ``[{"learning_rate": 1e-2, "reg": 0.0}, ...]``. Keys: ``learning_rate``
        (default 1e-2), ``reg`` (0), ``n_hidden`` (50), ``batch_size`` (200), ``weight_scale`` ("he"),
        ``dropout`` (0), ``input_dropout`` (0), ``label_smoothing`` (0) and ``seed``; and ``optimizer``,
        ``schedule`` and ``augmentation``, in place of what stands below.
    candidates : int, optional
        The number of candidates to draw at random from ``grid``, in place of all combinations. Values of the
        mapping are then sequences, all entries equally likely; distributions of `twolayer.search`; or what
        else has SciPy's ``rvs(random_state=...)``. Each candidate is trained from every ``seed`` of the grid.
        They are drawn with the seed ``rng``, one after the other: more candidates begin with the same ones.
        An equal candidate is drawn again; where all seem to have been drawn there are fewer.
    n_classes : int, optional
        Number of classes; else one more than the largest label, or the columns of class probabilities.
    dtype : dtype or str
        float32 or float64.
    rng : int, numpy.random.Generator or None
        The seed of the settings that name none, of the candidates that are drawn, and of the folds.
    max_networks : int, optional
        The most networks to train at once, where memory is short.
    sample_weight, class_weight, augmentation, optimizer, schedule
        As for `train`.
    preprocessing : Preprocessing, class, callable or "standardize", optional
        As for `train`; or unfitted, to be fitted to the samples that the networks train on: a class with a
        method ``fit``, such as `Whitener`; a function of X that returns a fitted one; or "standardize", for
        ``Standardizer.fit(X, scale="feature")``. With ``folds`` it is then fitted to each fold's own rows,
        and the networks of each fold are a stack of their own.
    epochs, steps, replacement, ema_decay, patience
        As for `train`.
    judge : "best" or "last", optional
        As for `train`; by default "best" with ``validation``, and "last" with ``folds``: accuracies on rows
        that have chosen the epoch too are too high.
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
        As `train`; and if a setting is unknown, none is given, or one comes twice; if the grid holds a
        distribution without ``candidates``; if not exactly one of ``validation`` and ``folds`` is given; or
        if ``augmentation`` mixes samples while folds share their batches.

    Warns
    -----
    UserWarning
        If more than four values may be drawn of ``n_hidden``, or of another setting that the networks of a
        stack share: then few candidates train together. If ``preprocessing`` is given fitted with ``folds``:
        it may have seen the rows that are held out.

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

    Drawn at random, the learning rates evenly over their powers of ten:

    >>> result = twolayer.sweep(
    ...     digits.train.X, digits.train.y, validation=(digits.validation.X, digits.validation.y),
    ...     grid={"learning_rate": twolayer.search.LogUniform(1e-5, 1e-2), "n_hidden": [10, 20]},
    ...     candidates=6, epochs=5)
    >>> len(result.table)
    6

    Judged by cross-validation, and then trained on all samples:

    >>> result = twolayer.sweep(
    ...     digits.train.X, digits.train.y, folds=5, preprocessing="standardize",
    ...     grid={"learning_rate": [1e-2, 1e-1]}, epochs=5)
    >>> net = result.best.preprocessing.fold(result.best.net)
    >>> bool(net.accuracy(digits.test.X, digits.test.y) > 0.9)
    True
    """
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
    seed, fit = seed_of(rng), fitting(preprocessing)
    divided = None if folds is None else folds_of(folds, y, seed)
    shared = Settings(
        validation=validation,
        sample_weight=sample_weight,
        class_weight=class_weight,
        preprocessing=None if fit else preprocessing,  # type: ignore[arg-type]  # checked below
        augmentation=augmentation,
        optimizer=optimizer,
        schedule=schedule,
        epochs=epochs,
        steps=steps,
        replacement=replacement,
        ema_decay=ema_decay,
        patience=patience,
        judge=judge or ("best" if folds is None else "last"),
        stream=bool(stream),
        callbacks=tuple(callbacks),
        folds=divided,
    )
    runs = candidates_of(grid, shared, default_seed=seed, n_drawn=candidates)
    names = tuple(key for key in runs[0] if key != "seed")
    if divided is not None:
        runs = [one | {"fold": fold} for one in runs for fold in range(len(divided.trained))]
        _check_folds(preprocessing, fit, stream=shared.stream)
        check_sample_weight(sample_weight, X)
        check_weights_of_folds(sample_weight, divided)
        if fit is not None:
            check_finite(X)  # an error of the fold's own would count its rows
    stacks = stacks_of(runs, max_networks, folds_together=fit is None)
    for members in stacks:  # before any is trained
        chosen = settings_of_stack(shared, [runs[i] for i in members])
        chosen.check_forms()
        check_augmentation(chosen.augmentation, math.prod(X.shape[1:]))
        if divided is not None and fit is None and mixes(chosen.augmentation):
            raise ValueError(
                "`augmentation` must not mix samples with `folds`, which share their batches: a partner may "
                "be held out; got Mixup (with an unfitted `preprocessing`, each fold has its own batches)"
            )
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
    n_stages = len(stacks) + (divided is not None and refit == "all")
    in_steps = shared.stream or any(one.get("augmentation", augmentation) is not None for one in runs)
    stages = Stages(X, y, shared, fit, n_classes, xp, dtype, device, in_steps, n_stages)
    found: dict[int, _Trained] = {}
    complete, unfinished = True, set()
    for members in stacks:
        apart = divided is not None and fit is not None
        fold = runs[members[0]]["fold"] if apart else None
        run, fitted = stages.train([runs[i] for i in members], fold=fold)
        if run.history.step.size:  # else it was stopped before any validation
            each = [select(run, k) for k in range(len(members))]
            over = all(member.diverged is not None or member.stopped is not None for member in each)
            unfinished |= set() if not stages.cut_short or over else set(members)
            for i, member in zip(members, each, strict=True):
                n_steps = _steps_taken(member)
                row = runs[i] | {"n_steps": n_steps}
                row |= {name: getattr(member, name) for name in _OF_RUN}
                found[i] = _Trained(row, member.net, member.history.until(n_steps), fitted)
        if stages.stopped:
            complete = len(found) == len(runs) and not unfinished
            break
    trained = [found[i] for i in sorted(found)]
    judged = [found[i] for i in sorted(found) if i not in unfinished] or trained
    rows = [one.row for one in judged]
    n_judged = _count_judged(validation, divided)
    table = compared(rows, names, n_judged, divided)
    winner, best = winner_of(table), None
    if winner is not None:
        own = [judged[i] for i in best_runs(winner, rows, names)]
        one = own[0]
        settings = {key: one.row[key] for key in (*names, "seed")}
        best = Best(settings, one.net, one.history, one.row, winner, one.preprocessing)
        if divided is not None:
            if refit == "all":  # a callback may have stopped the sweep with the last step of its folds
                complete = complete and not stages.stopped
            best = _refitted(best, own, stages, refit if complete else None)
            if refit == "all":
                complete = complete and not stages.cut_short
    pairs = None if divided is None else tuple(zip(divided.trained, divided.held_out, strict=True))
    return SweepResult(
        best, table, [one.row for one in trained], [one.history for one in trained], complete, pairs
    )


def _steps_taken(run: Run) -> int:
    """Return how many steps a network of a stack took: it left at the entry after it diverged or stopped."""
    found: Any = run.diverged or run.stopped or run.n_steps
    return next((int(step) for step in run.history.step if step >= found), run.n_steps)


class _Trained(NamedTuple):
    """A run of a sweep, after its training."""

    row: Row
    net: TwoLayerNet
    history: History
    preprocessing: Preprocessing | None


def _refitted(best: Best, folds: list[_Trained], stages: Stages, refit: str | None) -> Best:
    """Return the winner with the mean accuracies of its folds, and with a network made as ``refit`` says."""
    means = {name: float(np.mean([one.row[name] for one in folds])) for name in _ACCURACIES}
    best = replace(best, net=None, history=None, preprocessing=None, row=best.settings | means)
    if refit == "merge":
        alive = [one for one in folds if one.row["diverged"] is None]
        if stages.fit is None:
            return replace(
                best, net=merge(stack(one.net for one in alive)), preprocessing=alive[0].preprocessing
            )
        nets = [one.net if one.preprocessing is None else one.preprocessing.fold(one.net) for one in alive]
        return replace(best, net=merge(stack(nets)))
    if refit == "all":
        of_stack, fitted = stages.refit(best.settings)
        run = select(of_stack, 0)
        if run.diverged is None and not stages.cut_short:
            return replace(best, net=run.net, history=run.history, preprocessing=fitted)
    return best


def _check_folds(preprocessing: Any, fit: Fit | None, *, stream: bool) -> None:
    """Raise, or warn, where a preprocessing does not suit folds."""
    if fit is not None and stream:
        raise ValueError(
            "`preprocessing` must be fitted where samples are streamed and held out in folds; got "
            f"{preprocessing!r}"
        )
    if fit is None and preprocessing is not None:
        warnings.warn(
            "`preprocessing` was fitted before the samples were divided into folds, so it may have seen the "
            'held-out ones; give it unfitted ("standardize", a class, or a function of X) to have it fitted '
            "to each fold's own samples",
            UserWarning,
            stacklevel=4,
        )


def _count_judged(validation: Any, folds: Folds | None) -> int:
    """Return the number of samples that a candidate is judged by."""
    if folds is None:
        return int(validation[0].shape[0])
    return len(np.unique(np.concatenate(folds.held_out)))


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
