"""The function `sweep`, which trains candidates of hyper-parameters as stacks of networks."""

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
    ``weight_scale`` train together as a stack, on the same batches. Each network ends as if it were trained
    alone. Without ``halving`` and ``folds``, a row of ``runs`` is the result of `train` with the same
    settings, with ``TwoLayerNet.initialize(..., rng=seed, weight_scale=weight_scale)`` and ``rng=seed``.

    This holds up to rounding, because the products of a stack of another width are summed in another order.
    At high learning rates, training enlarges such differences with each step. In float32, the same candidate
    and seed can then get a few more or fewer validation samples right in another sweep. The same sweep always
    gives the same figures.

    Parameters
    ----------
    X, y
        As for `train`.
    validation : (X, y) or (X, y, sample_weight), optional
        As for `train`. Either this or ``folds`` must be given.
    folds : int, or iterable of (rows, rows), optional
        Judge candidates by cross-validation. An int divides the samples into that many folds at random, with
        the same share of each class. Pairs of integer arrays, as ``split`` of a scikit-learn splitter yields
        them, are the rows to train on and the rows to hold out.

        Unless ``preprocessing`` is fitted to each fold, candidates and folds train together as one stack on
        the same batches. Rows that are held out from a network have a weight of 0 for it. Batches are larger,
        by the factor N over the mean number of training rows of a fold, so that a batch has on average
        ``batch_size`` training rows for each network. Training accuracies and balanced class weights are
        those of a fold's training rows. A ``sample_weight`` also counts in the accuracy on held-out rows.
    refit : "all", "merge" or None
        With ``folds``, the network of the result. "all" trains the best candidate on all samples, from its
        best seed. The number of epochs is the mean over the networks of that seed: all epochs, or fewer if
        ``patience`` ended them or ``judge="best"`` chose an earlier epoch. The schedule is that of all
        epochs. "merge" merges the networks of the folds into one, whose logits are the mean of theirs (see
        `merge`), with any preprocessing folded in. None makes no network.
    grid : mapping of sequences, or iterable of mappings
        Either the values to combine, ``{"learning_rate": [1e-2, 1e-3], "reg": [0.0, 1e-4], "seed": [0, 1]}``,
        or the settings themselves, ``[{"learning_rate": 1e-2, "reg": 0.0}, ...]``. The keys are
        ``learning_rate`` (default 1e-2), ``reg`` (0), ``n_hidden`` (50), ``batch_size`` (200),
        ``weight_scale`` ("he"), ``dropout`` (0), ``input_dropout`` (0), ``label_smoothing`` (0) and ``seed``
        (``rng``). ``optimizer``, ``schedule`` and ``augmentation`` are also allowed, in place of the
        arguments below.
    candidates : int, optional
        The number of candidates to draw at random from ``grid``, in place of all combinations. Each value of
        the mapping is then a sequence, whose entries are equally likely; a distribution of `twolayer.search`;
        or any object with SciPy's method ``rvs(random_state=...)``. Each candidate is trained from every
        ``seed`` of the grid. Candidates are drawn with the seed ``rng``, one after another, so a larger
        number starts with the same candidates. A candidate that equals an earlier one is drawn again. If the
        grid seems to have no others, there are fewer.
    n_classes : int, optional
        Number of classes; by default one more than the largest label, or the number of columns of class
        probabilities.
    dtype : dtype or str
        float32 or float64.
    rng : int, numpy.random.Generator or None
        The seed for settings without ``seed``, for drawing candidates, and for dividing samples into folds.
    max_networks : int, optional
        The largest number of networks in one stack, to save memory. On NumPy, the size of the cache limits a
        stack, too, except with ``halving``.
    halving : int, optional
        η, at least 2, for successive halving [1]_: after ⌈E / η^m⌉, …, ⌈E / η²⌉, ⌈E / η⌉ epochs, only the
        best ⌈n / η⌉ of the n remaining candidates continue. E is ``epochs``. η^m is the highest power that is
        at most E and at most the number of candidates. Candidates are ranked by the mean over all seeds of
        the validation accuracy or loss (see ``monitor``) of the networks that ``judge`` selects. Candidates
        with a diverged seed come last. The learning rate is that of a run of all epochs. All stacks are in
        memory at the same time.
    sample_weight, class_weight
        As for `train`.
    preprocessing : Preprocessing, class, callable or "standardize", optional
        As for `train`, or unfitted. An unfitted one is a class with a method ``fit``, such as `Whitener`; a
        function of X that returns a fitted one; or "standardize", for
        ``Standardizer.fit(X, scale="feature")``. It is fitted to the samples that the networks train on. With
        ``folds``, it is fitted to each fold's own training rows, and each fold has its own stacks.
    augmentation, teacher, temperature, teacher_weight, optimizer, schedule
        As for `train`.
    epochs, steps, replacement, ema_decay, patience
        As for `train`.
    monitor : "accuracy" or "loss"
        Rank candidates and seeds, and choose the network of each run as `train` does, by the validation
        accuracy or by the validation loss.
    judge : "best" or "last", optional
        As for `train`. The default is "best" with ``validation``, and "last" with ``folds``, because the
        accuracy on rows that also chose the epoch is too high.
    stream : bool
        As for `train`: the samples are NumPy arrays, and each batch is copied to the device of the networks.
    xp : module, optional
        With ``stream``, the array library of the networks, for example ``cupy``; by default NumPy. Without
        ``stream`` it is the library of ``X``.
    device : optional
        With ``stream``, the device of the networks; by default the library's default device. A sharding of
        JAX stands for its mesh. Without ``stream`` it is the device of ``X``.
    executor : concurrent.futures.Executor, or function that returns one, optional
        Train the parts of the sweep, which are its stacks, on the workers of this executor, for example
        ``ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn"))``, an executor of loky, or
        ``dask.distributed.Client(...).get_executor()``. The networks are the same as without an executor. If
        there are fewer parts than workers, some workers stay idle; a smaller ``max_networks`` makes more
        parts.

        Processes of this machine map NumPy arrays from files in the temporary folder (a `numpy.memmap` from
        its own file). With NumPy they share the processor's threads. Dask's workers get the arrays once.
        Other executors get them with every part. An executor that a function returned is shut down at the
        end, and the function is called again if it breaks.
    retries : int
        How many times a part is run again after its worker died, before the sweep fails. Dask has its own
        limit.
    resume : path, optional
        A folder for the plan, and for a checkpoint of each part. If it has those of an earlier call, the
        sweep resumes from there, however that call ended. With NumPy the result is the same to the bit as
        without the interruption. Candidates and seeds may be added, even to a complete sweep, but not left
        out. Parts that were trained stay as they are. Settings, data and folds must be the same; with
        ``halving``, candidates and seeds must be the same, too. If the workers do not see the folder,
        unfinished parts start again.
    checkpoint_seconds : float
        The least number of seconds between two checkpoints of a part, with ``resume``.
    callbacks : iterable of callables
        They are called as by `train`, with ``stage``, the number of the stack from 1, and ``stages``, the
        number of stacks. With ``refit="all"`` the last stage trains the network of all samples. With
        ``halving``, each stack resumes after every rung, so its stage comes several times.
        ``progress.stop()`` ends the sweep. ``on_end`` is called when the whole sweep ends. With an
        ``executor`` they are called in this process when a part has ended. If the workers see the temporary
        folder of this machine, they are also called about twice a second while parts are trained; history,
        networks and run are not available then.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        As for `train`; if the grid has an unknown setting, no candidate, or the same candidate twice; if it
        has a distribution and ``candidates`` is not given; if not exactly one of ``validation`` and ``folds``
        is given; if ``augmentation`` mixes samples and folds share their batches; if ``steps`` is given with
        ``halving``; or if ``resume`` is the folder of another sweep.
    concurrent.futures.BrokenExecutor
        If the worker of a part died more than ``retries`` times, or if an executor broke that cannot be made
        again.

    Warns
    -----
    UserWarning
        If more than four values of ``n_hidden``, or of another setting that a stack shares, may be drawn, so
        that few candidates train together; if the grid has fewer than ``candidates`` candidates; or if
        ``preprocessing`` is fitted and ``folds`` is given, because it may have seen the held-out rows.
    NothingLearntWarning
        As for `train`, if no network of the sweep learnt anything.

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

    Candidates drawn at random, with learning rates that are uniform on a logarithmic scale:

    >>> result = twolayer.sweep(
    ...     digits.train.X, digits.train.y, validation=(digits.validation.X, digits.validation.y),
    ...     grid={"learning_rate": twolayer.search.LogUniform(1e-5, 1e-2), "n_hidden": [10, 20]},
    ...     candidates=6, epochs=5)
    >>> len(result.table)
    6

    Candidates judged by cross-validation; the best one is then trained on all samples:

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
        raise ValueError("`resume` must be the path of a folder; got an empty path")
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
    """Return a description of a sweep in which no network learnt anything, as `nothing_learnt` does."""
    names = "train_accuracy", "validation_loss", "n_steps", "batch_size"
    accuracies, losses, n_steps, sizes = ([row[name] for row in result.runs] for name in names)
    # X says nothing about the features if the sweep fits the preprocessing.
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
    """Run the parts of a plan in order, or on an executor, until there is a result."""
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
    """Yield the results so far of parts that an earlier call started, without training them."""
    for part in parts:
        begun = part if folder is None else part.resumed(folder.checkpoint(part).path, data.given.X)
        if begun.earlier is not None:
            yield train_part(begun, data, trains=False)
