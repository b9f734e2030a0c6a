"""train(): what is asked for, checked, and carried out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .._checks import (
    check_choice,
    check_features,
    check_finite,
    check_integer,
    check_network,
    check_sample_weight,
    check_targets,
    host_per_network,
    host_values,
    row_blocks,
)
from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    device,
    dtype_name,
    from_host,
    is_array_api_obj,
    own_dtypes,
    standard_namespace,
    to_host,
    undisturbed,
)
from .._streams import RandomState, seed_of
from ..augmentation import Augmentation
from ..mathematics import targets
from ..network import TwoLayerNet, as_targets, flatten, rescaled
from ..preprocessing import Preprocessing, arrays_for, centred_on_host, lost_by_rounding
from .batches import Batches, Source
from .checkpoint import load_run
from .execution import running
from .fingerprint import (
    check_same,
    described,
    described_array,
    described_network,
    described_numbers,
    described_preprocessing,
)
from .optimizers import SGD, Optimizer
from .run import Callback, Run
from .schedules import Cosine, Schedule
from .step import Method, Samples
from .trainer import Plan, Trainer

NESTEROV = SGD(momentum=0.9, nesterov=True)
COSINE = Cosine()


@undisturbed
def train(
    net: TwoLayerNet | Run | None,
    X: Array,
    y: Array,
    *,
    validation: tuple[Array, ...] | None = None,
    sample_weight: Array | None = None,
    class_weight: Sequence[float] | Array | str | None = None,
    preprocessing: Preprocessing | None = None,
    augmentation: Augmentation | None = None,
    reg: Any = 0.0,
    dropout: Any = 0.0,
    input_dropout: float = 0.0,
    label_smoothing: Any = 0.0,
    optimizer: Optimizer = NESTEROV,
    learning_rate: Any = 1e-2,
    schedule: Schedule = COSINE,
    batch_size: int = 200,
    epochs: int | None = None,
    steps: int | None = None,
    replacement: bool = False,
    ema_decay: float | None = None,
    patience: int | None = None,
    judge: str = "best",
    stream: bool = False,
    rng: RandomState = None,
    resume: Run | str | os.PathLike[str] | None = None,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network, or every network of a stack, by minibatch gradient descent.

    Each step lowers, on one batch, the loss of `TwoLayerNet.loss`: cross-entropy + reg · (‖W1‖² + ‖W2‖²).
    The networks of a stack see the same batches, each with its own ``reg``, ``learning_rate``, ``dropout``
    and ``label_smoothing``, and each ends as it would have if trained alone, up to rounding.

    A batch is gathered, augmented, preprocessed, and cast to the network's dtype, in this order; then
    ``input_dropout`` and ``dropout`` thin it. Everything random is drawn on the host from the seed's streams,
    so any mix of these gives the same run with every array library.

    Parameters
    ----------
    net : TwoLayerNet, Run or None
        Where to start; its arrays are copied, not changed. A `Run` goes on, as with ``resume``; beside this,
        None is enough.
    X : array (N, D) or (N, ...)
        Training samples, of any real dtype, which is what they stay in: each batch is cast. Scale them first,
        or give a ``preprocessing``: mean 0 and standard deviation 1 suit the default learning rate.
    y : integer array (N,) or floating array (N, C)
        Class labels, or class probabilities.
    validation : (X, y) or (X, y, sample_weight), optional
        Samples by whose accuracy the best network is kept; given weights (N,), by the share of the weights
        that is of right ones. They are preprocessed, but never augmented.
    sample_weight : array (N,), optional
        Weight of each sample in its batch's mean, at least 0; their scale does not matter.
    class_weight : sequence or array (C,), or "balanced", optional
        Weight of each class, by which its samples' weights are multiplied; "balanced" is
        N / (C · number of samples of the class).
    preprocessing : Preprocessing, optional
        Applied to each batch after augmentation: a fitted `Standardizer` or `Whitener`, for example. The
        network takes its results; `fold` makes the network that takes samples as they are. These two
        subtract the mean before samples are rounded to float32, as their `apply` does. If the device has no
        float64, samples of 32-bit and 64-bit integers, and streamed ones of float64, are centred on the host
        beforehand; samples with features too far from 0 for float32 cannot be augmented there.
    augmentation : Augmentation, optional
        Applied to the samples of each batch as they are in ``X``; see `twolayer.augmentation`.
    reg : float, or (K,) for a stack
        Strength of the L2 penalty on W1 and W2; half of PyTorch's ``weight_decay``.
    dropout : float, or (K,) for a stack
        Probability in [0, 1) with which each hidden unit is left out for each sample [1]_, rounded to a
        256th; those that remain count 1 / (1 - p) times. When predicting, none is left out.
    input_dropout : float
        The same for the features of each sample, of the whole stack.
    label_smoothing : float, or (K,) for a stack
        ε in [0, 1]: the targets are (1 - ε) T + ε / C.
    optimizer : Optimizer
        See `twolayer.optimizers`; stochastic gradient descent with Nesterov momentum 0.9 by default.
    learning_rate : float, or (K,) for a stack
    schedule : Schedule
        Factor of the learning rate at each step; see `twolayer.schedules`. By default it falls to zero along
        a cosine.
    batch_size : int
    epochs, steps : int, optional
        How long: one of them; 10 epochs where neither is given.
    replacement : bool
        Draw each batch with replacement instead of shuffling the samples anew for each epoch.
    ema_decay : float, optional
        Keep an exponential moving average of the weights, average ← d · average + (1 - d) · weights after
        each step, d being this in [0, 1). It begins with the weights after the first step. It is then the
        average that is validated, kept as the best and judged.
    patience : int, optional
        End the training of a network after so many epochs without a higher validation accuracy. Of a stack,
        the others go on.
    judge : "best" or "last"
        Which network ``run.net`` is.
    stream : bool
        ``X``, ``y``, ``sample_weight`` and ``validation`` are NumPy arrays (for example images in a
        `numpy.memmap` larger than memory) for a network that may be anywhere: each batch is copied to it.
    rng : int, numpy.random.Generator or None
        The seed of everything random. The same seed gives the same run with every array library.
    resume : Run or path, optional
        A run to go on with from where it stopped, or the file of its checkpoint: see
        `twolayer.checkpoints`. What is a network in ``net`` then says only where a checkpoint is loaded to;
        without one, it is beside ``X``.

        Pass the same data and settings: others are refused, but for ``epochs`` or ``steps`` (the new total),
        ``patience``, ``judge``, ``stream``, ``callbacks``, and the array library. (Of each array of the data,
        shape, dtype and at most 2^18 values in evenly lying rows are compared.) A run that was stopped by a
        callback or ended with an epoch, and one that goes on from any checkpoint, then ends exactly as if
        it had not stopped, with NumPy to the bit; where the total is another one, if the schedule does not
        depend on it: `Cosine`, the default, does.
    callbacks : iterable of callables
        Each is called with a `Progress` after every step (with JAX, which takes up to 32 steps of an epoch at
        once, after those) and after every epoch's entry in the history. ``progress.stop()`` ends the run
        there; at the last step of an epoch, after its entry.

    Returns
    -------
    Run

    Raises
    ------
    TypeError
        If dtypes or argument types are not as said, or arrays of several libraries meet.
    ValueError
        If shapes do not fit, a value is not finite in the network's dtype or out of range, arrays of several
        devices meet, both ``epochs`` and ``steps`` are given, or what is to go on was begun with other
        settings or data.
    FileNotFoundError
        If there is no such file as ``resume``.

    Warns
    -----
    DivergenceWarning
        If a network of the run diverged: once, at its end.

    References
    ----------
    .. [1] N. Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
       JMLR 15 (2014), 1929-1958. https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> import twolayer
    >>> digits = twolayer.datasets.load_digits()
    >>> scaling = twolayer.preprocessing.Standardizer.fit(digits.train.X)
    >>> net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
    >>> run = twolayer.train(net, digits.train.X, digits.train.y, preprocessing=scaling, epochs=20,
    ...                      validation=(digits.validation.X, digits.validation.y), batch_size=50, rng=0)
    >>> run.validation_accuracy > 0.9
    True
    >>> scaling.fold(run.net).accuracy(digits.test.X, digits.test.y) > 0.9
    np.True_
    """
    if isinstance(net, Run):
        if resume is not None:
            raise ValueError("`net` must be a network or None where `resume` is given; got a Run")
        net, resume = None, net
    earlier = None if resume is None else _earlier(resume, net, X, streamed=bool(stream))
    if earlier is not None:
        if rng is not None and rng != earlier.seed:
            raise ValueError(f"`rng` must be left out or be the run's seed, {earlier.seed}, to go on with it")
        rng, net = earlier.seed, earlier.last
    xp = check_network(net)
    assert isinstance(net, TwoLayerNet)
    check_method(preprocessing, augmentation, optimizer, schedule)
    n_inputs = net.n_features if preprocessing is None else preprocessing.n_inputs
    if preprocessing is not None and preprocessing.n_outputs != net.n_features:
        raise ValueError(
            f"`preprocessing` must give the {net.n_features} features that the network takes; "
            f"got {preprocessing.n_outputs}"
        )
    if stream:
        check_on_host(X, y, validation, sample_weight)
    beside = taking(net, n_inputs, streamed=bool(stream), xp=xp)
    check_data(X, y, validation, sample_weight, beside)
    if sample_weight is not None:
        sample_weight = rescaled(sample_weight, xp=array_namespace(sample_weight))
    if augmentation is not None and hasattr(augmentation, "check"):
        augmentation.check(n_inputs)
    n_networks = net.n_networks
    penalty = host_per_network("reg", reg, n_networks, dtype=net.W1.dtype)
    left_out = host_per_network("dropout", dropout, n_networks, below=1.0)
    thresholds = dropout_threshold(left_out)
    input_threshold = dropout_threshold(host_per_network("input_dropout", input_dropout, None, below=1.0))
    check_choice("judge", judge, ("best", "last"))
    if ema_decay is not None:
        ema_decay = float(host_per_network("ema_decay", ema_decay, None, below=1.0)[0])
    if patience is not None:
        patience = check_integer("patience", patience, least=1)
        if validation is None:
            raise ValueError("`validation` must be given for `patience` to go by; got none")
    batches = Batches(
        seed_of(rng), X.shape[0], check_integer("batch_size", batch_size, least=1), bool(replacement)
    )
    if epochs is not None and steps is not None:
        raise ValueError("`epochs` or `steps` must be given, not both; got both")
    if steps is None:
        steps = batches.steps_per_epoch * (10 if epochs is None else check_integer("epochs", epochs, least=1))
    else:
        steps = check_integer("steps", steps, least=1)
    if earlier is not None:
        check_earlier(earlier, steps, optimizer, ema_decay)
    method = Method(
        optimizer=optimizer,
        augmentation=augmentation,
        transform=None if preprocessing is None else preprocessing.transform,
        input_dropout=int(input_threshold[0]),
        penalised=bool(penalty.any()),
    )
    streamed = bool(stream)
    arrays, host_mean = _arrays(X, validation, preprocessing, augmentation, net, xp=xp)
    samples = _samples(X, y, sample_weight, class_weight, arrays, net, streamed=streamed, xp=xp)
    rates = host_per_network("learning_rate", learning_rate, n_networks, dtype=net.W1.dtype)
    smoothing = host_per_network("label_smoothing", label_smoothing, n_networks, most=1.0)
    held_out = None
    if validation is not None:
        held_out = _held_out(*validation, net=net, xp=standard_namespace(np) if streamed else xp)
    fingerprint = {
        "net": described_network(net),
        "reg": described_numbers(penalty),
        "learning_rate": described_numbers(rates),
        "dropout": described_numbers(left_out),
        "label_smoothing": described_numbers(smoothing),
        "input_dropout": described(float(input_dropout)),
        "optimizer": described(optimizer),
        "schedule": described(schedule),
        "batch_size": described(batches.batch_size),
        "replacement": described(batches.replacement),
        "ema_decay": described(ema_decay),
        "augmentation": described(augmentation),
        "preprocessing": described_preprocessing(preprocessing),
        "class_weight": described(class_weight),
        "sample_weight": described_array(sample_weight, dtype=net.W1.dtype),
        "X": described_array(samples.X),
        "y": described_array(samples.y, dtype=net.W1.dtype),
        "validation X": described_array(None if held_out is None else held_out[0]),
        "validation y": described_array(None if held_out is None else held_out[1], dtype=net.W1.dtype),
        "validation sample_weight": described_array(None if held_out is None else held_out[2]),
    }
    if earlier is not None:
        check_same(fingerprint, earlier._fingerprint)
    if host_mean is not None and not streamed:
        samples = samples._replace(X=_centred(samples.X, host_mean))
        held_out = None if held_out is None else (_centred(held_out[0], host_mean), *held_out[1:])
    plan = Plan(
        samples=samples,
        validation=held_out,
        streamed=streamed,
        host_mean=host_mean,
        learning_rate=rates,
        reg=penalty,
        dropout=thresholds,
        label_smoothing=smoothing,
        ema_decay=ema_decay,
        method=method,
        schedule=schedule,
        source=Source(
            batches,
            n_inputs=net.n_features if input_threshold.any() else 0,
            n_hidden=net.n_hidden if thresholds.any() else 0,
            augmentation=augmentation,
            sample_bytes=X[:1].nbytes if streamed else 0,
        ),
        steps=steps,
        patience=patience,
        judge=judge,
        callbacks=tuple(callbacks),
        preprocessing=preprocessing,
        fingerprint=fingerprint,
    )
    with running(xp), own_dtypes(net.W1):
        trainer = Trainer(net, plan, earlier=earlier, xp=xp)
        trainer.run()
        return trainer.result()


def _earlier(
    resume: Run | str | os.PathLike[str], net: TwoLayerNet | None, X: Array, *, streamed: bool
) -> Run:
    """Return the run that is to go on, beside the network, or beside the samples."""
    xp = None if net is None else check_network(net)
    if isinstance(resume, Run):
        earlier = resume
    elif not isinstance(resume, str | os.PathLike):
        raise TypeError(f"`resume` must be a Run or the path of a checkpoint; got {type(resume).__name__}")
    elif net is not None and xp is not None:
        earlier = load_run(resume, xp, device(net.W1))
    elif streamed or not is_array_api_obj(X):
        earlier = load_run(resume)
    else:
        earlier = load_run(resume, array_namespace(X), device(X))
    if net is not None:
        check_same({"net": described_network(net)}, {"net": described_network(earlier.last)})
    return earlier


def taking(net: TwoLayerNet, n_inputs: int, *, streamed: bool, xp: ModuleType) -> TwoLayerNet:
    """Network that samples are checked against: of the features and in the place that they must have."""
    if not streamed and n_inputs == net.n_features:
        return net
    if streamed:
        xp, where, dtype = standard_namespace(np), None, dtype_name(net.W1.dtype)
    else:
        where, dtype = device(net.W1), net.W1.dtype
    # No memory is taken.
    zero = xp.zeros((1, 1), dtype=dtype, device=where)
    shapes = (n_inputs, net.n_hidden), (net.n_hidden,), (net.n_hidden, net.n_classes), (net.n_classes,)
    return TwoLayerNet(*(xp.broadcast_to(zero if len(s) == 2 else zero[0, ...], s) for s in shapes))


def check_method(preprocessing: Any, augmentation: Any, optimizer: Any, schedule: Any) -> None:
    """Raise unless what a run trains with is of the form that it must have."""
    wanted = {
        "preprocessing": (
            preprocessing,
            ("transform", "host_arrays", "n_inputs", "n_outputs"),
            "preprocessing.Standardizer.fit(X)",
        ),
        "augmentation": (augmentation, ("draw", "apply"), "augmentation.Mixup(0.2)"),
        "optimizer": (
            optimizer,
            ("move", "coefficients", "n_moments", "scaled"),
            "optimizers.SGD(momentum=0.9)",
        ),
        "schedule": (schedule, ("__call__",), "schedules.Exponential(0.95)"),
    }
    for name, (value, methods, example) in wanted.items():
        needed = value is not None or name in ("optimizer", "schedule")
        if isinstance(value, type) or (needed and not all(hasattr(value, method) for method in methods)):
            shown = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
            article = "an" if name[0] in "ao" else "a"
            raise TypeError(f"`{name}` must be {article} {name}, such as twolayer.{example}; got {shown}")
    if hasattr(optimizer, "check"):
        optimizer.check()


def check_on_host(X: Any, y: Any, validation: Any, sample_weight: Any) -> None:
    """Raise unless what is streamed is NumPy's; what ``validation`` must be is said elsewhere."""
    arrays = {"X": X, "y": y}
    if sample_weight is not None:
        arrays["sample_weight"] = sample_weight
    if isinstance(validation, tuple | list) and len(validation) in (2, 3):
        names = "validation X", "validation y", "validation sample_weight"
        arrays |= {name: one for name, one in zip(names, validation, strict=False) if one is not None}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"`{name}` must be a NumPy array where samples are streamed; got {type(array).__name__}"
            )


def check_data(X: Array, y: Array, validation: Any, sample_weight: Array | None, net: TwoLayerNet) -> None:
    """Raise unless the training data, and the validation data if any, fit the network and are finite."""
    check_features(X, net)
    check_targets(y, X, net.n_classes)
    check_sample_weight(sample_weight, X)
    check_finite(X, dtype=net.W1.dtype)
    if validation is not None:
        check_validation(validation)
        X_val, y_val, *weights = validation
        check_features(X_val, net, name="validation X")
        check_targets(y_val, X_val, net.n_classes, name="validation y", X_name="validation X")
        for weight in weights:
            check_sample_weight(weight, X_val, name="validation sample_weight", X_name="validation X")
        check_finite(X_val, name="validation X", dtype=net.W1.dtype)


def check_validation(validation: Any) -> None:
    """Raise unless ``validation`` is two or three of something."""
    if is_array_api_obj(validation) or not hasattr(validation, "__len__") or len(validation) not in (2, 3):
        raise TypeError(f"`validation` must be (X, y) or (X, y, sample_weight); got {_kind_of(validation)}")


def _kind_of(value: Any) -> str:
    name = type(value).__name__
    return f"a {name} of {len(value)}" if isinstance(value, tuple | list) else name


def check_earlier(earlier: Run, steps: int, optimizer: Optimizer, ema_decay: float | None) -> None:
    """Raise unless a run can go on with these settings."""
    if steps < earlier.n_steps:
        raise ValueError(
            "`epochs` or `steps` must be the new total, at least the "
            f"{earlier.n_steps} steps that the run has taken; got {steps}"
        )
    if len(earlier._moments) != optimizer.n_moments:
        raise ValueError(
            f"`optimizer` must be the run's, whose state has {len(earlier._moments)} moments; "
            f"got one with {optimizer.n_moments}"
        )
    if (earlier.average is None) != (ema_decay is None):
        raise ValueError(
            f"`ema_decay` must be the run's, which has {'no' if earlier.average is None else 'an'} average; "
            f"got {ema_decay}"
        )


def dropout_threshold(probability: HostArray) -> HostArray:
    """Return below which a random byte leaves something out: 256 p, rounded, but not to nothing or all."""
    rounded = np.clip(np.rint(256.0 * probability), 1.0, 255.0)
    return np.where(probability > 0, rounded, 0.0).astype(np.int64)


def _arrays(
    X: Array,
    validation: tuple[Array, ...] | None,
    preprocessing: Preprocessing | None,
    augmentation: Augmentation | None,
    net: TwoLayerNet,
    *,
    xp: ModuleType,
) -> tuple[tuple[HostArray, ...], HostArray | None]:
    """Return the preprocessing's arrays, and the mean to subtract on the host, as `arrays_for` does."""
    if preprocessing is None:
        return (), None
    dtype, where = net.W1.dtype, device(net.W1)
    samples = [X] if validation is None else [X, validation[0]]
    arrays, host_mean = arrays_for(preprocessing, samples, dtype, xp=xp, device=where)
    if host_mean is None or augmentation is None:
        return arrays, host_mean
    # An augmentation takes samples as they are, so they cannot be centred before it.
    lost = lost_by_rounding(preprocessing, dtype)
    if lost is not None:
        raise ValueError(
            f"`augmentation` must be left out where the device has no float64 for the samples: {lost}"
        )
    return arrays_for(preprocessing, [], dtype, xp=xp, device=where)


def _centred(X: Array, mean: HostArray) -> Array:
    """X - mean beside X, subtracted on the host, block by block."""
    xp, where = array_namespace(X), device(X)
    blocks = (centred_on_host(X[rows, :], mean) for rows in row_blocks(*X.shape))
    return xp.concat([from_host(block, xp=xp, device=where) for block in blocks])


def _samples(
    X: Array,
    y: Array,
    sample_weight: Array | None,
    class_weight: Any,
    arrays: tuple[HostArray, ...],
    net: TwoLayerNet,
    *,
    streamed: bool,
    xp: ModuleType,
) -> Samples:
    where, name = device(net.W1), dtype_name(net.W1.dtype)
    on_device = tuple(from_host(array, xp=xp, device=where) for array in arrays)
    if streamed:
        xp, where = standard_namespace(np), None
    X, y = _flat(X, y, net, xp=xp)
    dtype = getattr(xp, name)
    if class_weight is not None and sample_weight is not None:
        sample_weight = rescaled(sample_weight, xp=xp, most_exponent=0)  # so that the product is in range
    if sample_weight is not None:
        sample_weight = xp.astype(sample_weight, dtype)
    if class_weight is not None:
        of_class = check_class_weight(class_weight, y, net.n_classes, xp=xp)
        of_class = rescaled(of_class, xp=standard_namespace(np), most_exponent=0).astype(name)
        weights = from_host(of_class, xp=xp, device=where)
        with own_dtypes(y):
            own = xp.take(weights, y, axis=0) if y.ndim == 1 else xp.matmul(y, weights)
        sample_weight = own if sample_weight is None else sample_weight * own
        if not float(xp.max(sample_weight)) > 0:
            raise ValueError("`class_weight` must leave a sample a weight above 0; got 0 for all of them")
    return Samples(X, y, sample_weight, on_device)


def _flat(X: Array, y: Array, net: TwoLayerNet, *, xp: ModuleType) -> tuple[Array, Array]:
    return flatten(X, xp=xp), as_targets(y, getattr(xp, dtype_name(net.W1.dtype)), xp=xp)


def _held_out(
    X: Array, y: Array, sample_weight: Array | None = None, *, net: TwoLayerNet, xp: ModuleType
) -> tuple[Array, Array, Array | None]:
    X, y = _flat(X, y, net, xp=xp)
    if sample_weight is not None:
        sample_weight = xp.astype(rescaled(sample_weight, xp=xp), getattr(xp, dtype_name(net.W1.dtype)))
    return X, y, sample_weight


def check_class_weight(class_weight: Any, y: Array, n_classes: int, *, xp: ModuleType) -> HostArray:
    """Return the weight of each class as (C,) float64, or raise unless they are as they must be."""
    if isinstance(class_weight, str):
        check_choice("class_weight", class_weight, ("balanced",))
        T, _ = targets(y, n_classes, dtype=xp.float32 if y.ndim == 1 else y.dtype, xp=xp)
        counts = to_host(xp.sum(T[0, ...], axis=1)).astype(np.float64)
        return np.where(counts > 0, y.shape[0] / (n_classes * np.where(counts > 0, counts, 1.0)), 0.0)
    host = host_values("class_weight", class_weight)
    if host.dtype.kind not in "fiu":
        raise TypeError(
            f"`class_weight` must hold a number for each class, or be 'balanced'; got {host.dtype}"
        )
    if host.shape != (n_classes,):
        raise ValueError(f"`class_weight` must have shape ({n_classes},); got {host.shape}")
    for weight in host.tolist():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"`class_weight` must be finite and at least 0; got {weight:g}")
    if not host.any():
        raise ValueError("`class_weight` must hold a weight above 0; got 0 for every class")
    return host.astype(np.float64)
