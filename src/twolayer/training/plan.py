"""The settings of a run, and its plan: everything that the run needs except its network, checked.

`Settings` are the arguments as given. `checked_data` checks the samples, and `planned` the rest. A sweep
checks its samples once, and then makes a plan for each stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .._namespace import (
    Array,
    HostArray,
    array_namespace,
    cast,
    device,
    dtype_name,
    from_host,
    rows_of,
    standard_namespace,
)
from .._numbers import Number
from .._streams import RandomState, seed_of
from .._validation import (
    check_choice,
    check_features,
    check_finite,
    check_form,
    check_integer,
    check_sample_weight,
    check_targets,
    host_per_network,
)
from ..augmentation import Augmentation, check_augmentation
from ..network import TwoLayerNet, as_targets, flatten, rescaled
from ..preprocessing import Preprocessing, centred_on_host
from ..settings import SETTINGS
from .batches import Batches
from .data import Data, arrays_of, by_class, centred, check_class_weight, check_on_host, check_validation
from .fingerprint import (
    Fingerprint,
    check_same,
    described,
    described_array,
    described_network,
    described_preprocessing,
    described_setting,
)
from .folds import Folds
from .history import MONITORS
from .optimizers import Optimizer
from .run import Callback, Run, checked_callbacks
from .schedules import Schedule
from .step import Constant, Samples
from .teaching import check_teacher, described_teacher
from .trees import tree_map

# Each network of a stack may have its own value of these settings; all networks share the others.
PER_NETWORK = ("reg", "learning_rate", "dropout", "label_smoothing")
EPOCHS = 10  # if neither `epochs` nor `steps` is given
# With `PER_NETWORK`, the settings that a resumed run must share with its beginning.
_OF_STACK = (
    "input_dropout",
    "optimizer",
    "schedule",
    "batch_size",
    "replacement",
    "augmentation",
    "ema_decay",
    "monitor",
    "temperature",
    "teacher_weight",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `train` except the network and the samples.

    `sweep` sets some fields later, for each stack. Their defaults, None and a batch size of 0, only mark them
    as missing: they are not valid for training.
    """

    validation: Any = None
    sample_weight: Array | None = None
    class_weight: Any = None
    preprocessing: Preprocessing | None = None
    augmentation: Augmentation | None = None
    reg: Any = None
    dropout: Any = None
    input_dropout: Any = None
    label_smoothing: Any = None
    optimizer: Optimizer
    learning_rate: Any = None
    schedule: Schedule
    batch_size: int = 0
    epochs: int | None = None
    steps: int | None = None
    replacement: bool = False
    ema_decay: Any = None
    patience: int | None = None
    monitor: str = "accuracy"
    judge: str = "best"
    stream: bool = False
    rng: RandomState = None
    callbacks: Iterable[Callback] = ()
    folds: Folds | None = None
    fold: HostArray | None = None  # (K,) int32: the fold of each network, ascending
    teacher: Any = None
    temperature: float = 1.0
    teacher_weight: float = 0.5

    @classmethod
    def of(cls, arguments: Mapping[str, Any], **others: Any) -> Settings:
        """Return the settings among the arguments; ``others`` replace or extend them."""
        names = {one.name for one in fields(cls)} & arguments.keys()
        return cls(**{name: arguments[name] for name in names} | others)

    def check_forms(self) -> None:
        """Raise unless the preprocessing, augmentation, optimizer and schedule have the methods they need.

        The forms are checked rather than the classes, because users may write their own.
        """
        forms = {
            "preprocessing": (
                ("transform", "host_arrays", "n_inputs", "n_outputs"),
                "preprocessing.Standardizer.fit(X)",
            ),
            "augmentation": (("draw", "apply"), "augmentation.Mixup(0.2)"),
            "optimizer": (("move", "coefficients", "n_moments", "scaled"), "optimizers.SGD(momentum=0.9)"),
            "schedule": (("__call__",), "schedules.Exponential(0.95)"),
        }
        for name, (methods, example) in forms.items():
            value = getattr(self, name)
            if value is not None or name in ("optimizer", "schedule"):
                article = "an" if name[0] in "ao" else "a"
                check_form(name, value, methods, f"{article} {name}, such as twolayer.{example}")
        if hasattr(self.optimizer, "check"):
            self.optimizer.check()


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """The checked settings of a run, and everything that follows from them.

    The settings in `PER_NETWORK` are host arrays (K,); `input_dropout` and `ema_decay` are (1,).
    """

    data: Data
    dtype: str  # of the network
    learning_rate: HostArray
    arrays: tuple[HostArray, ...]  # the arrays that the preprocessing's `transform` needs
    host_mean: HostArray | None  # subtracted from streamed samples on the host
    batches: Batches
    steps: int
    fingerprint: Fingerprint

    @property
    def transform(self) -> Callable[..., Array] | None:
        """The function that preprocesses a batch; None without preprocessing."""
        return getattr(self.preprocessing, "transform", None)

    def cast(self, host: HostArray) -> HostArray:
        """Return a host array in a dtype that every device has: floats in the network's dtype."""
        floating = host.dtype.kind == "f"
        # An array from a file may have another byte order, which only NumPy accepts.
        return host.astype(self.dtype if floating else host.dtype.newbyteorder("="), copy=False)

    def cast_samples(self, X: HostArray) -> HostArray:
        """Return streamed samples in a dtype for the device, with all digits that the preprocessing needs."""
        if self.host_mean is not None:
            return centred_on_host(X, self.host_mean)
        if X.dtype.kind == "f" and self.arrays and self.arrays[0].dtype != self.dtype:
            return X.astype(self.arrays[0].dtype, copy=False)  # float64, like the preprocessing's mean
        if X.dtype.itemsize == 8 and self.transform is None and self.augmentation is None:
            return X.astype(self.dtype)  # the step would cast them anyway; JAX may have no 64-bit integers
        return self.cast(X)

    def taken(self, samples: Samples, rows: HostArray | slice) -> Samples:
        """Return rows of streamed samples in dtypes for the device."""
        taken: Samples = tree_map(lambda array: array[rows, ...], samples)
        return taken._replace(X=self.cast_samples(taken.X))

    def constant(self, place: Callable[[HostArray], Array], networks: HostArray) -> Constant:
        """Return the arrays that all steps share, for networks of these numbers, on the device.

        A setting that is 0 for all networks becomes None, so that the step leaves out its computation.
        """

        def each(numbers: HostArray, dtype: str) -> Array | None:
            own = numbers[networks]
            return place(own.astype(dtype)) if own.any() else None

        return Constant(
            samples=None if self.stream else self.data.train,
            preprocessing=tuple(map(place, self.arrays)),
            reg=each(self.reg, self.dtype),
            dropout=each(dropout_threshold(self.dropout), "uint8"),
            smoothing=each(self.label_smoothing, self.dtype),
            fold=None if self.fold is None else place(self.fold[networks]),
        )

    def check_continues(self, earlier: Run) -> None:
        """Raise unless a run with this plan may resume ``earlier``."""
        if self.steps < earlier.n_steps:
            raise ValueError(
                "`epochs` or `steps` must be the new total, at least the "
                f"{earlier.n_steps} steps that the run has taken; got {self.steps}"
            )
        # The fingerprint alone is not enough, because a caller may have removed parts of it.
        if len(earlier._moments) != self.optimizer.n_moments:
            raise ValueError(
                f"`optimizer` must be the run's, whose state has {len(earlier._moments)} moments; "
                f"got one with {self.optimizer.n_moments}"
            )
        if (earlier.average is None) != (self.ema_decay is None):
            had, came = "no" if earlier.average is None else "an", self.fingerprint["ema_decay"]
            raise ValueError(f"`ema_decay` must be the run's, which has {had} average; got {came}")
        check_same(self.fingerprint, earlier._fingerprint)


def checked_data(net: TwoLayerNet, X: Array, y: Array, settings: Settings) -> Data:
    """Return the samples, checked; raise unless they are finite and fit networks like ``net``."""
    n_inputs, like, xp = net.n_features, net.W1, array_namespace(net.W1)
    preprocessing = settings.preprocessing
    if preprocessing is not None:
        n_inputs = preprocessing.n_inputs
        if preprocessing.n_outputs != net.n_features:
            raise ValueError(
                f"`preprocessing` must have {net.n_features} outputs, the features of the network; "
                f"got {preprocessing.n_outputs}"
            )
    if settings.stream:  # the samples need not be where the network is
        like, xp = None, standard_namespace(np)
    dtype = getattr(xp, dtype_name(net.W1.dtype))

    def checked(X: Any, y: Any, sample_weight: Any = None, *, of: str = "") -> Samples:
        if settings.stream:
            check_on_host(of, X, y, sample_weight)
        check_features(X, n_inputs, like, name=f"{of}X")
        check_targets(y, X, net.n_classes, name=f"{of}y", X_name=f"{of}X")
        check_sample_weight(sample_weight, X, name=f"{of}sample_weight", X_name=f"{of}X")
        check_finite(X, name=f"{of}X", dtype=net.W1.dtype)
        weights = None if sample_weight is None else rescaled(sample_weight, xp=xp)
        return Samples(flatten(X, xp=xp), as_targets(y, dtype, xp=xp), weights)

    def in_dtype(samples: Samples) -> Samples:
        weights = samples.sample_weight
        return samples if weights is None else samples._replace(sample_weight=cast(weights, dtype, xp=xp))

    # Training weights are cast later, after they are multiplied by class weights.
    given, held_out = checked(X, y, settings.sample_weight), None
    if settings.validation is not None:
        check_validation(settings.validation)
        held_out = in_dtype(checked(*settings.validation, of="validation "))
    X_val, y_val, weights_val = (None,) * 3 if held_out is None else held_out[:3]
    check_teacher(settings, X.shape[0], net.n_classes)
    # Samples are described as given: centring on the host, which depends on the device, comes later.
    fingerprint = {
        "preprocessing": described_preprocessing(preprocessing),
        "class_weight": described(settings.class_weight),
        "sample_weight": described_array(given.sample_weight, dtype=net.W1.dtype),
        "X": described_array(given.X),
        "y": described_array(given.y, dtype=net.W1.dtype),
        "validation X": described_array(X_val),
        "validation y": described_array(y_val, dtype=net.W1.dtype),
        "validation sample_weight": described_array(weights_val),
        "teacher": described_teacher(settings.teacher),
    }

    def weights(rows: Array | None = None) -> Array | None:
        """Return the weights (N,) of all samples, class weights included; "balanced" counts only ``rows``."""
        if settings.class_weight is None:
            return in_dtype(given).sample_weight
        y = given.y if rows is None else rows_of(given.y, rows, xp=xp)
        of_class = check_class_weight(settings.class_weight, y, net.n_classes, xp=xp)
        weights = by_class(given.y, of_class, dtype, xp=xp)
        if given.sample_weight is not None:
            # Floating factors are scaled below 1 first, so that their product stays in the dtype's range.
            own = rescaled(given.sample_weight, xp=xp, most_exponent=0)
            weights = cast(own, dtype, xp=xp) * weights
        trained = weights if rows is None else rows_of(weights, rows, xp=xp)
        if not float(xp.max(trained)) > 0:
            of = "" if rows is None else " that a fold trains on"
            raise ValueError(
                f"`class_weight` must leave at least one sample{of} a weight above 0; got 0 for all"
            )
        return weights

    if settings.folds is None:
        return Data(given._replace(sample_weight=weights()), held_out, X, fingerprint)
    fingerprint["folds"] = described(settings.folds)
    # Each fold has a column of weights, 0 for the samples that it holds out. So the networks of all folds can
    # train on the same batches.
    beside = {"xp": xp, "device": device(given.y)}
    own = from_host(settings.folds.own(X.shape[0]).astype(dtype_name(dtype)), **beside)
    each = [weights(from_host(rows, **beside)) for rows in settings.folds.trained]
    of_folds = None if each[0] is None else xp.stack(each, axis=1) * own
    # The held-out samples of a fold are rows of the same samples.
    return Data(given._replace(sample_weight=of_folds, own=own), in_dtype(given), X, fingerprint)


def planned(net: TwoLayerNet, data: Data, settings: Settings) -> Plan:
    """Return the plan of a run of ``net``; raise unless the settings are those that `train` documents."""
    X, steps, dtype = data.train.X, settings.steps, net.W1.dtype
    check_augmentation(settings.augmentation, X.shape[1])

    def numbers(name: str, n_networks: int | None = None) -> HostArray:
        # The upper bounds are those of the settings' table; the lower bound is 0.
        kind = SETTINGS[name].kind
        assert isinstance(kind, Number)
        value = getattr(settings, name)
        return host_per_network(name, value, n_networks, dtype=dtype, below=kind.below, most=kind.most)

    changed: dict[str, Any] = {name: numbers(name, net.n_networks) for name in PER_NETWORK}
    changed["input_dropout"] = numbers("input_dropout")
    check_choice("monitor", settings.monitor, MONITORS)
    check_choice("judge", settings.judge, ("best", "last"))
    if settings.ema_decay is not None:
        changed["ema_decay"] = numbers("ema_decay")
    if settings.patience is not None:
        check_integer("patience", settings.patience, least=1)
        if data.validation is None:
            raise ValueError("`validation` must be given with `patience`; got None")
    batch_size = check_integer("batch_size", settings.batch_size, least=1)
    if settings.folds is not None:
        batch_size = settings.folds.shared_batch(batch_size, X.shape[0])
    batches = Batches(
        seed_of(settings.rng),
        X.shape[0],
        batch_size,
        bool(settings.replacement),
        n_inputs=net.n_features if changed["input_dropout"].any() else 0,
        n_hidden=net.n_hidden if changed["dropout"].any() else 0,
        augmentation=settings.augmentation,
        sample_bytes=X[:1, :].nbytes if settings.stream else 0,
    )
    if settings.epochs is not None and steps is not None:
        raise ValueError("`epochs` or `steps` must be given, not both; got both")
    if steps is None:
        epochs = EPOCHS if settings.epochs is None else check_integer("epochs", settings.epochs, least=1)
        steps = batches.steps_per_epoch * epochs
    changed |= {
        "batch_size": batches.batch_size,
        "replacement": batches.replacement,
        "steps": check_integer("steps", steps, least=1),
        "callbacks": checked_callbacks(settings.callbacks),
    }
    checked = vars(settings) | changed
    # A resumed run must have the same fingerprint, so `epochs`, `patience` and `judge` are not in it.
    fingerprint = {
        "net": described_network(net),
        **{name: described_setting(checked[name]) for name in (*PER_NETWORK, *_OF_STACK)},
        **data.fingerprint,
    }
    arrays, host_mean = arrays_of(net, data, settings.preprocessing, settings.augmentation)
    if host_mean is not None and not settings.stream:  # streamed samples are centred batch by batch
        held_out = None if data.validation is None else centred(data.validation, host_mean)
        data = replace(data, train=centred(data.train, host_mean), validation=held_out)
    return Plan(
        **checked,
        data=data,
        dtype=dtype_name(dtype),
        arrays=arrays,
        host_mean=host_mean,
        batches=batches,
        fingerprint=fingerprint,
    )


def dropout_threshold(probability: HostArray) -> HostArray:
    """Return the threshold below which a random byte drops a unit: 256 p rounded, and 1 to 255 if p > 0.

    A byte is below t with probability t / 256. So any p above 0 has an effect, and any p below 1 keeps units.
    """
    rounded = np.clip(np.rint(256.0 * probability), 1.0, 255.0)
    return np.where(probability > 0, rounded, 0.0).astype(np.int64)
