"""sweep(): candidates of hyper-parameters, trained as stacks of networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from .._namespace import Array, undisturbed
from .._streams import RandomState
from .._validation import check_integer, check_number
from ..augmentation import Augmentation
from ..preprocessing import Preprocessing
from ..training import Callback
from ..training.arguments import COSINE, NESTEROV
from ..training.diagnosis import NothingLearntWarning, nothing_learnt, warn
from ..training.optimizers import Optimizer
from ..training.run import checked_callbacks, ending
from ..training.schedules import Schedule
from .parts import Given, Part, PartData, PartResult, train_part
from .planning import plan, with_a_grid
from .plans import SweepPlan
from .results import SweepResult
from .stored import PartsFolder
from .workers import Executors, Workers

RETRIES = 2

_OF_RUNNING = ("executor", "retries", "resume", "checkpoint_seconds", "callbacks")


@with_a_grid
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
    executor: Executors | None = None,
    retries: int = RETRIES,
    resume: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
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
        most E and the number of candidates. They are ranked by the mean over all seeds of the
        validation accuracy or loss (see ``monitor``) of the networks that ``judge`` means; those of which a
        seed diverged come last. The learning rate is that of a run of all epochs. All stacks are in memory
        together.
    sample_weight, class_weight
        As for `train`.
    preprocessing : Preprocessing, class, callable or "standardize", optional
        As for `train`; or unfitted, to be fitted to the samples that the networks train on: a class with a
        method ``fit``, such as `Whitener`; a function of X that returns a fitted one; or "standardize", for
        ``Standardizer.fit(X, scale="feature")``. With ``folds`` it is then fitted to each fold's own rows,
        and the networks of each fold are a stack of their own.
    augmentation, teacher, temperature, teacher_weight, optimizer, schedule
        As for `train`.
    epochs, steps, replacement, ema_decay, patience
        As for `train`.
    monitor : "accuracy" or "loss"
        Rank candidates and seeds by the validation accuracy or by the validation loss, and choose networks
        by it, as `train` does.
    judge : "best" or "last", optional
        As for `train`; by default "best" with ``validation``, and "last" with ``folds``: accuracies on rows
        that have chosen the epoch too are too high.
    stream : bool
        The samples are NumPy arrays, of which each batch is copied to where the networks are; as for `train`.
    xp : module, optional
        With ``stream``: the array library of the networks, for example ``cupy``; NumPy where it is not given.
        Otherwise that of ``X``.
    device : optional
        With ``stream``: where they are; by default the library's default device. Otherwise that of ``X``. A
        sharding of JAX stands for its mesh.
    executor : concurrent.futures.Executor, or function that returns one, optional
        Train the stacks of the sweep, its parts, on the workers of this executor, for example of
        ``ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn"))``, of loky's, or of
        ``dask.distributed.Client(...).get_executor()``. The networks are the same as without an executor. If
        there are fewer parts than workers, some workers stay idle; ``max_networks`` divides further.

        Processes of this machine map NumPy arrays from files in the temporary folder (a `numpy.memmap` from
        its own file) and, with NumPy, share the processor's threads. Dask's workers get the arrays once.
        Other executors get them with every part. An executor that a function returned is shut down at the
        end, and made again if it breaks.
    retries : int
        How often a part is run again after its worker died, before the sweep fails. Dask has its own limit.
    resume : path, optional
        A folder for the plan, and for a checkpoint of each part. If it has those of an earlier call, the
        sweep resumes from there, however that call ended: with NumPy to the bit as if it had not ended.
        Candidates and seeds may be added, even to a complete sweep, but none left out; parts that were
        trained stay as they are. Settings, data and folds must be the same, and with ``halving`` the
        candidates and seeds too. If the workers do not see the folder, parts under way begin again.
    checkpoint_seconds : float
        The least number of seconds between two checkpoints of a part, with ``resume``.
    callbacks : iterable of callables
        Called as by `train`, with ``stage`` and ``stages`` set: the number of the stack, from 1, and the
        number of stacks. With ``refit="all"`` the last stage trains the network of all samples. With
        ``halving`` each stack resumes after every rung, so its stage comes several times.
        ``progress.stop()`` ends the sweep there. ``on_end`` is called when the whole sweep ends. With an
        ``executor`` they are called in this process, when a part has ended. If the workers see the temporary
        folder of this machine, they are also called about twice a second while parts are trained; history,
        networks and run are not available then.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        As `train`; if the grid has an unknown setting, no candidate, or the same one twice; if it holds a
        distribution without ``candidates``; if not exactly one of ``validation`` and ``folds`` is given; if
        ``augmentation`` mixes samples while folds share their batches; if ``steps`` is given with
        ``halving``; or if ``resume`` is the folder of another sweep.
    concurrent.futures.BrokenExecutor
        If the worker of a part died more often than ``retries`` times, or if an executor broke that cannot be
        made again.

    Warns
    -----
    UserWarning
        If more than four values may be drawn of ``n_hidden``, or of another setting that the networks of a
        stack share: then few candidates train together. If there are fewer than ``candidates`` to draw. If
        ``preprocessing`` is given fitted with ``folds``: it may have seen the rows that are held out.
    NothingLearntWarning
        As `train`, if no network of the sweep learnt anything.

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
    >>> bool(result.best.folded.accuracy(digits.test.X, digits.test.y) > 0.9)
    True
    """
    arguments = {name: value for name, value in locals().items() if name not in _OF_RUNNING}
    if executor is not None and not (isinstance(executor, Executor) or callable(executor)):
        raise TypeError(
            "`executor` must be a concurrent.futures.Executor, or a function that returns one; got "
            f"{type(executor).__name__}"
        )
    retries = check_integer("retries", retries, least=0)
    seconds = check_number("checkpoint_seconds", checkpoint_seconds, least=0.0)
    begun = plan(**arguments)
    if resume is not None and not os.fspath(resume):
        raise ValueError("`resume` must be the path of a folder; got an empty one")
    folder = None if resume is None else PartsFolder(Path(resume), seconds)
    called = checked_callbacks(callbacks)
    if folder is not None:
        begun = folder.resumed(begun)
    given = Given(X, y, None if validation is None else tuple(validation), sample_weight)
    result = carried_out(begun, given, callbacks=called, executor=executor, retries=retries, folder=folder)
    warn(NothingLearntWarning, nothing_learnt_in(result, begun, arguments))
    return result


def nothing_learnt_in(
    result: SweepResult, plan: SweepPlan, arguments: Mapping[str, Any], *scaler: str
) -> str | None:
    """Describe a sweep in which no network learnt anything, as `nothing_learnt` does a training."""
    names = "train_accuracy", "validation_loss", "n_steps", "batch_size"
    accuracies, losses, n_steps, sizes = ([row[name] for row in result.runs] for name in names)
    # A preprocessing that the sweep fits makes other features of X.
    X = arguments["X"] if plan.networks.shared.fit is None else None
    given = {**arguments, "X": X, "batch_size": min(sizes, default=0)}
    return nothing_learnt(accuracies, losses, max(n_steps, default=0), given, *scaler)


def carried_out(
    plan: SweepPlan,
    given: Given,
    *,
    callbacks: tuple[Callback, ...],
    executor: Executors | None,
    retries: int = RETRIES,
    folder: PartsFolder | None,
) -> SweepResult:
    """Run the parts of a plan in their order, or on an executor, until there is a result."""
    data = PartData(given)
    workers = None if executor is None else Workers(executor, retries, given, callbacks, folder)
    with ending(callbacks), nullcontext() if workers is None else closing(workers):
        while plan.parts:
            in_order = _in_order(plan.parts, data, callbacks, folder)
            found = {one.number: one for one in (workers.results(plan.parts) if workers else in_order)}
            if any(one.stopped for one in found.values()) or (workers and workers.stopping):
                others = (part for part in plan.parts if part.number not in found)
                return plan.stopped([*found.values(), *_so_far(others, data, folder)])
            plan = plan.join(found.values())
    assert plan.result is not None
    return plan.result


def _in_order(
    parts: tuple[Part, ...], data: PartData, callbacks: tuple[Callback, ...], folder: PartsFolder | None
) -> Iterator[PartResult]:
    """Run parts in this process until a callback stops one."""
    for part in parts:
        saved = None if folder is None else folder.checkpoint(part)
        begun = part if saved is None else part.resumed(saved.path, data.given.X)
        result = train_part(begun, data, callbacks=callbacks, checkpoint=saved)
        yield result
        if result.stopped:
            return


def _so_far(parts: Iterable[Part], data: PartData, folder: PartsFolder | None) -> Iterator[PartResult]:
    """Yield the results of parts of which there is an earlier run alone."""
    for part in parts:
        begun = part if folder is None else part.resumed(folder.checkpoint(part).path, data.given.X)
        if begun.earlier is not None:
            yield train_part(begun, data, trains=False)
