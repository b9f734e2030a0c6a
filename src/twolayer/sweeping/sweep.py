"""sweep(): candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

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
from ..preprocessing import Preprocessing
from ..training import Callback
from ..training.arguments import COSINE, NESTEROV
from ..training.data import check_validation
from ..training.execution import most_networks
from ..training.optimizers import Optimizer
from ..training.plan import Settings
from ..training.schedules import Schedule
from ..training.trainer import carry_out
from .candidates import candidates_of, settings_of_stack, stacks_of
from .comparison import Row
from .folds import check_weights_of_folds, folds_of
from .halving import halved
from .outcome import outcome
from .prepared import Fit, fitting
from .results import SweepResult
from .stages import Stages


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
    halving: int | None = None,
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
    ``weight_scale`` train together as a stack, on the same batches; each ends as it would if it were trained
    alone. Without ``halving`` and ``folds`` a row of ``runs`` is what `train` gives for its settings, with
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

        Unless ``preprocessing`` is fitted to each fold, candidates and folds train together as one stack on
        the same batches; rows that are held out from a network have a weight of 0 there. Batches are larger,
        by N over the mean number of rows that a fold trains on, so that a network has ``batch_size`` training
        rows of its own in a batch on average. Training accuracies and balanced class weights are of a fold's
        training rows. A ``sample_weight`` counts in the accuracy on held-out rows too.
    refit : "all", "merge" or None
        With ``folds``, the network of the result. "all" trains the best candidate on all samples, from its
        best seed. The number of epochs is the mean over the networks of that seed: all epochs, or fewer if
        ``patience`` ended them or ``judge="best"`` chose an earlier one; the schedule is that of all epochs.
        "merge" makes one network of those of its folds, whose logits are the mean of theirs (see `merge`),
        with any preprocessing folded in. None makes no network.
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
        The seed of settings without ``seed``, of drawing candidates, and of dividing samples into folds.
    max_networks : int, optional
        The most networks in one stack, to save memory. On NumPy a stack also has no more than a cache has
        room for, except with ``halving``.
    halving : int, optional
        η, at least 2, for successive halving [1]_: after ⌈E / η^m⌉, …, ⌈E / η²⌉, ⌈E / η⌉ epochs only the best
        ⌈n / η⌉ of the n remaining candidates go on. E is ``epochs``, and η^m the highest power that is at
        most E and the number of candidates. They are ranked by their mean validation accuracy, of the
        networks that ``judge`` means, over all seeds; those of which a seed diverged come last. The learning
        rate is that of a run of all epochs. All stacks are in memory together.
    sample_weight, class_weight
        As for `train`.
    preprocessing : Preprocessing, class, callable or "standardize", optional
        As for `train`; or unfitted, to be fitted to the samples that the networks train on: a class with a
        method ``fit``, such as `Whitener`; a function of X that returns a fitted one; or "standardize", for
        ``Standardizer.fit(X, scale="feature")``. With ``folds`` it is then fitted to each fold's own rows,
        and the networks of each fold are a stack of their own.
    augmentation, optimizer, schedule
        As for `train`.
    epochs, steps, replacement, ema_decay, patience
        As for `train`.
    judge : "best" or "last", optional
        As for `train`; by default "best" with ``validation``, and "last" with ``folds``: accuracies on rows
        that have chosen the epoch too are too high.
    stream : bool
        The samples are NumPy arrays, of which each batch is copied to where the networks are; as for `train`.
    xp : module, optional
        With ``stream``: the array library of the networks, for example ``cupy``; NumPy where it is not given.
        Otherwise that of ``X``.
    device : optional
        With ``stream``: where they are; by default the library's default device. Otherwise that of ``X``.
    callbacks : iterable of callables
        Called as by `train`, with ``stage`` and ``stages`` set: the number of the stack, from 1, and the
        number of stacks. With ``refit="all"`` the last stage trains the network of all samples. With
        ``halving`` each stack resumes after every rung, so its stage comes several times.
        ``progress.stop()`` ends the sweep there.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        As `train`; if the grid has an unknown setting, no candidate, or the same one twice; if it holds a
        distribution without ``candidates``; if not exactly one of ``validation`` and ``folds`` is given; if
        ``augmentation`` mixes samples while folds share their batches; or if ``steps`` is given with
        ``halving``.

    Warns
    -----
    UserWarning
        If more than four values may be drawn of ``n_hidden``, or of another setting that the networks of a
        stack share: then few candidates train together. If there are fewer than ``candidates`` to draw. If
        ``preprocessing`` is given fitted with ``folds``: it may have seen the rows that are held out.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization,
       AISTATS 2016. https://proceedings.mlr.press/v51/jamieson16.html

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
    if halving is not None:
        halving = check_integer("halving", halving, least=2)
        if steps is not None:
            raise ValueError(
                f"`epochs` must be given in place of `steps` with `halving`; got `steps` of {steps}"
            )
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
    if divided is not None:
        runs = [one | {"fold": fold} for one in runs for fold in range(len(divided.trained))]
        _check_folds(preprocessing, fit, stream=shared.stream)
        check_sample_weight(sample_weight, X)
        check_weights_of_folds(sample_weight, divided)
        if fit is not None:
            check_finite(X)  # an error of the fold's own would count its rows
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

    limit = len(runs) if max_networks is None else check_integer("max_networks", max_networks, least=1)

    def most(one: Row) -> int:
        if halving is not None:  # stacks are soon smaller
            return limit
        return min(limit, most_networks(xp, one["n_hidden"], min(one["batch_size"], X.shape[0]), dtype))

    stacks = stacks_of(runs, most, folds_together=fit is None)
    for members in stacks:  # before any is trained
        chosen = settings_of_stack(shared, [runs[i] for i in members])
        chosen.check_forms()
        check_augmentation(chosen.augmentation, math.prod(X.shape[1:]))
        if divided is not None and fit is None and mixes(chosen.augmentation):
            raise ValueError(
                "`augmentation` must not mix samples with `folds`, which share their batches: a partner may "
                "be held out; got Mixup (with an unfitted `preprocessing`, each fold has its own batches)"
            )
    n_stages = len(stacks) + (divided is not None and refit == "all")
    stages = Stages(runs, stacks, n_stages, X, y, shared, fit, n_classes, xp, dtype, device)
    if halving is not None:
        return outcome(halved(stages, halving), stages, refit)
    return outcome((carry_out(*start) for start in stages.starts()), stages, refit)


def _check_folds(preprocessing: Any, fit: Fit | None, *, stream: bool) -> None:
    """Raise, or warn, where a preprocessing does not suit folds."""
    if fit is not None and stream:
        raise ValueError(
            f"`preprocessing` must be fitted if `stream` and `folds` are both given; got {preprocessing!r}"
        )
    if fit is None and preprocessing is not None:
        way_out = (
            '; give it unfitted ("standardize", a class, or a function of X) to have it fitted to the '
            "samples of each fold"
        )
        warnings.warn(
            "`preprocessing` was fitted before the samples were divided into folds, so it may have seen the "
            f"held-out ones{'' if stream else way_out}",
            UserWarning,
            stacklevel=4,
        )


def _count_classes(y: Array, y_val: Any) -> int:
    """Return the number of classes that the targets imply; invalid ones are refused later."""
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
