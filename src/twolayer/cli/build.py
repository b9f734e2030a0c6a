"""Conversion of plain settings to arguments of `train` and `sweep`; averaging over flips and shifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import augmentation
from .._namespace import Array
from ..datasets import Dataset
from ..network import TwoLayerNet
from ..preprocessing import Preprocessing, Standardizer, Whitener
from ..settings import ARGUMENTS
from ..stacks import symmetrize
from ..training import optimizers, schedules


def preprocessing_for(settings: Mapping[str, Any], n_channels: int | None, X: Array) -> Preprocessing:
    """Return the preprocessing, fitted to samples; `channels_for` gives the number of channels."""
    if settings["whiten"] != "none":
        return Whitener.fit(
            X,
            epsilon=settings["epsilon"],
            kind=settings["whiten"],
            n_components=settings["components"],
        )
    return Standardizer.fit(X, center=settings["center"], scale=settings["scale"], n_channels=n_channels)


def channels_for(settings: Mapping[str, Any], dataset: Dataset) -> int | None:
    """Return the number of channels for ``--scale channel``; None if channels are not scaled separately."""
    if settings["whiten"] != "none" or settings["scale"] != "channel":
        return None
    shape = image_shape(dataset, "--scale channel")
    return shape[2] if len(shape) == 3 else 1


def preprocessing_in_words(settings: Mapping[str, Any], fitted: Preprocessing) -> dict[str, Any]:
    """Return the description, for a network's file, of the preprocessing that is folded into the network."""
    if isinstance(fitted, Standardizer):
        scale = fitted.scale
        return {
            "formula": "(X - mean) * scale",
            "mean": fitted.mean if settings["center"] else 0.0,
            "scale": scale[0] if (scale == scale[0]).all() else scale,
        }
    names = ("whiten", "epsilon", "components")
    return {"formula": "(X - mean) @ matrix", **{name: settings[name] for name in names}}


def augmentation_for(settings: Mapping[str, Any], dataset: Dataset) -> augmentation.Augmentation | None:
    """Return the augmentation of each batch of raw samples; None if the settings ask for none."""
    parts: list[augmentation.Augmentation] = []
    if settings["flip"] or settings["shift"]:
        shape = image_shape(dataset, "--flip" if settings["flip"] else "--shift")
        how = {name: settings[name] for name in ("flip", "shift", "border")}
        parts.append(augmentation.FlipAndShift(shape, **how))
    if settings["mixup"]:
        parts.append(augmentation.Mixup(settings["mixup"]))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else augmentation.Chain(*parts)


def optimizer_for(settings: Mapping[str, Any]) -> optimizers.Optimizer:
    """Return the optimizer that the settings name."""
    name = settings["optimizer"]
    if name == "adam":
        return optimizers.Adam()
    if name == "adamw":
        return optimizers.AdamW(weight_decay=settings["weight_decay"])
    momentum = 0.0 if name == "sgd" else settings["momentum"]
    return optimizers.SGD(momentum=momentum, nesterov=name == "nesterov")


def schedule_for(settings: Mapping[str, Any]) -> schedules.Schedule:
    """Return the learning-rate schedule that the settings name, after any warm-up."""
    schedule: schedules.Schedule = schedules.Cosine()
    if settings["schedule"] == "exponential":
        decay = (settings[name] for name in ("learning_rate_decay", "decay_every", "decay_first"))
        schedule = schedules.Exponential(*decay)
    elif settings["schedule"] == "constant":
        schedule = schedules.Constant()
    if settings["warmup"]:
        schedule = schedules.Warmup(schedule, epochs=settings["warmup"])
    return schedule


def training_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that `train` and `sweep` share, except samples, preprocessing and augmentation."""
    weight = settings["class_weight"]
    return {
        "optimizer": optimizer_for(settings),
        "schedule": schedule_for(settings),
        "class_weight": None if weight == "none" else weight,
        **{name: settings[name] for name in ARGUMENTS},
    }


def symmetrized(net: TwoLayerNet, settings: Mapping[str, Any], dataset: Dataset) -> TwoLayerNet:
    """Return a network for raw images, averaged over flips and shifts if the settings ask for it."""
    flip, shift = settings["symmetrize"], settings["symmetrize_shift"]
    if not flip and not shift:
        return net
    shape = image_shape(dataset, "--symmetrize")
    # The unshifted image, and for each distance one shift in each of the four directions.
    shifts = [(0, 0)]
    for distance in range(1, shift + 1):
        shifts += [(distance, 0), (-distance, 0), (0, distance), (0, -distance)]
    return symmetrize(net, shape, flip=flip, shifts=shifts, border=settings["border"])


def image_shape(dataset: Dataset, option: str) -> tuple[int, ...]:
    """Return the shape of a sample, or raise unless samples are images."""
    if dataset.image_shape is None:
        raise ValueError(
            f"`{option}` must be left out unless samples are images; those of {dataset.name} are not"
        )
    return dataset.image_shape
