"""The plan of a run: all that it needs beside its network, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._namespace import Array, HostArray, array_namespace, device, dtype_name, from_host
from .._streams import RandomState, seed_of
from .._validation import check_choice, check_integer, host_per_network, row_blocks
from ..augmentation import Augmentation, check_augmentation
from ..network import TwoLayerNet
from ..preprocessing import arrays_for, centred_on_host, lost_by_rounding
from .batches import Batches
from .data import Data
from .fingerprint import Fingerprint, check_same, described, described_network, described_numbers
from .optimizers import Optimizer
from .run import Callback, Run
from .schedules import Schedule
from .step import Samples


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs beside its network, checked; numbers as host arrays (K,)."""

    data: Data
    dtype: str  # the network's
    arrays: tuple[HostArray, ...]  # what the preprocessing's `transform` needs
    host_mean: HostArray | None  # subtracted from samples that are streamed, before they are moved
    learning_rate: HostArray
    reg: HostArray
    dropout: HostArray  # thresholds
    label_smoothing: HostArray
    input_dropout: int  # threshold for random bytes
    ema_decay: float | None
    optimizer: Optimizer
    augmentation: Augmentation | None
    schedule: Schedule
    batches: Batches
    steps: int
    patience: int | None
    judge: str
    callbacks: tuple[Callback, ...]
    fingerprint: Fingerprint

    @property
    def transform(self) -> Callable[..., Array] | None:
        """The preprocessing of a batch."""
        return None if self.data.preprocessing is None else self.data.preprocessing.transform

    def cast(self, host: HostArray) -> HostArray:
        """Any host array as the device takes it: floats in the network's dtype, as it may have no other."""
        floating = host.dtype.kind == "f"
        # Files may hold another byte order, which only NumPy takes.
        return host.astype(self.dtype if floating else host.dtype.newbyteorder("="), copy=False)

    def cast_samples(self, X: HostArray) -> HostArray:
        """Samples that are streamed, with all the digits that the preprocessing needs."""
        if self.host_mean is not None:
            return centred_on_host(X, self.host_mean)
        if X.dtype.kind == "f" and self.arrays and self.arrays[0].dtype != self.dtype:
            return X.astype(self.arrays[0].dtype, copy=False)  # the preprocessing's mean is in float64
        if X.dtype.itemsize == 8 and self.transform is None and self.augmentation is None:
            return X.astype(self.dtype)  # as the step would do; JAX may have no 64-bit integers
        return self.cast(X)

    def check_continues(self, earlier: Run) -> None:
        """Raise unless this plan is that of a run which goes on from ``earlier``."""
        if self.steps < earlier.n_steps:
            raise ValueError(
                "`epochs` or `steps` must be the new total, at least the "
                f"{earlier.n_steps} steps that the run has taken; got {self.steps}"
            )
        if len(earlier._moments) != self.optimizer.n_moments:
            raise ValueError(
                f"`optimizer` must be the run's, whose state has {len(earlier._moments)} moments; "
                f"got one with {self.optimizer.n_moments}"
            )
        if (earlier.average is None) != (self.ema_decay is None):
            had = "no" if earlier.average is None else "an"
            raise ValueError(f"`ema_decay` must be the run's, which has {had} average; got {self.ema_decay}")
        check_same(self.fingerprint, earlier._fingerprint)


def checked_plan(
    net: TwoLayerNet,
    data: Data,
    *,
    augmentation: Augmentation | None,
    reg: Any,
    dropout: Any,
    input_dropout: float,
    label_smoothing: Any,
    optimizer: Optimizer,
    learning_rate: Any,
    schedule: Schedule,
    batch_size: int,
    epochs: int | None,
    steps: int | None,
    replacement: bool,
    ema_decay: float | None,
    patience: int | None,
    judge: str,
    rng: RandomState,
    callbacks: Iterable[Callback],
) -> Plan:
    """Return the plan of a run of ``net``, or raise unless the settings are as `train` says."""
    n_networks, dtype = net.n_networks, net.W1.dtype
    check_augmentation(augmentation, data.train.X.shape[1])
    penalty = host_per_network("reg", reg, n_networks, dtype=dtype)
    left_out = host_per_network("dropout", dropout, n_networks, below=1.0)
    thresholds = dropout_threshold(left_out)
    of_inputs = host_per_network("input_dropout", input_dropout, None, below=1.0)
    input_threshold = int(dropout_threshold(of_inputs)[0])
    rates = host_per_network("learning_rate", learning_rate, n_networks, dtype=dtype)
    smoothing = host_per_network("label_smoothing", label_smoothing, n_networks, most=1.0)
    check_choice("judge", judge, ("best", "last"))
    if ema_decay is not None:
        ema_decay = float(host_per_network("ema_decay", ema_decay, None, below=1.0)[0])
    if patience is not None:
        patience = check_integer("patience", patience, least=1)
        if data.validation is None:
            raise ValueError("`validation` must be given for `patience` to go by; got none")
    X = data.train.X
    batches = Batches(
        seed_of(rng),
        X.shape[0],
        check_integer("batch_size", batch_size, least=1),
        bool(replacement),
        n_inputs=net.n_features if input_threshold else 0,
        n_hidden=net.n_hidden if thresholds.any() else 0,
        augmentation=augmentation,
        sample_bytes=X[:1, :].nbytes if data.streamed else 0,
    )
    if epochs is not None and steps is not None:
        raise ValueError("`epochs` or `steps` must be given, not both; got both")
    if steps is None:
        steps = batches.steps_per_epoch * (10 if epochs is None else check_integer("epochs", epochs, least=1))
    else:
        steps = check_integer("steps", steps, least=1)
    arrays, host_mean = _arrays(data, augmentation, net)
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
        **data.fingerprint,
    }
    if host_mean is not None and not data.streamed:
        held_out = None if data.validation is None else _centred(data.validation, host_mean)
        data = replace(data, train=_centred(data.train, host_mean), validation=held_out)
    return Plan(
        data=data,
        dtype=dtype_name(dtype),
        arrays=arrays,
        host_mean=host_mean,
        learning_rate=rates,
        reg=penalty,
        dropout=thresholds,
        label_smoothing=smoothing,
        input_dropout=input_threshold,
        ema_decay=ema_decay,
        optimizer=optimizer,
        augmentation=augmentation,
        schedule=schedule,
        batches=batches,
        steps=steps,
        patience=patience,
        judge=judge,
        callbacks=tuple(callbacks),
        fingerprint=fingerprint,
    )


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


def dropout_threshold(probability: HostArray) -> HostArray:
    """Return below which a random byte leaves something out: 256 p, rounded, but not to nothing or all."""
    rounded = np.clip(np.rint(256.0 * probability), 1.0, 255.0)
    return np.where(probability > 0, rounded, 0.0).astype(np.int64)


def _arrays(
    data: Data, augmentation: Augmentation | None, net: TwoLayerNet
) -> tuple[tuple[HostArray, ...], HostArray | None]:
    """Return the preprocessing's arrays, and the mean to subtract on the host, as `arrays_for` does."""
    preprocessing = data.preprocessing
    if preprocessing is None:
        return (), None
    dtype, place = net.W1.dtype, {"xp": array_namespace(net.W1), "device": device(net.W1)}
    samples = [part.X for part in (data.train, data.validation) if part is not None]
    arrays, host_mean = arrays_for(preprocessing, samples, dtype, **place)
    if host_mean is None or augmentation is None:
        return arrays, host_mean
    # An augmentation takes samples as they are, so they cannot be centred before it.
    lost = lost_by_rounding(preprocessing, dtype)
    if lost is not None:
        raise ValueError(
            f"`augmentation` must be left out where the device has no float64 for the samples: {lost}"
        )
    return arrays_for(preprocessing, [], dtype, **place)


def _centred(samples: Samples, mean: HostArray) -> Samples:
    """Samples whose X is X - mean, subtracted on the host, block by block."""
    X = samples.X
    xp, where = array_namespace(X), device(X)
    blocks = (centred_on_host(X[rows, :], mean) for rows in row_blocks(*X.shape))
    return samples._replace(X=xp.concat([from_host(block, xp=xp, device=where) for block in blocks]))
