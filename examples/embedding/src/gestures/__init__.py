"""Hand gestures told apart by the readings of a glove's sensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

import twolayer
from twolayer.preprocessing import Standardizer
from twolayer.storage import load_metadata

__all__ = ["Recogniser", "fit", "load"]


@dataclass(frozen=True)
class Recogniser:
    """A trained network and the names of its gestures."""

    net: twolayer.TwoLayerNet
    names: tuple[str, ...]

    def recognise(self, readings: Any) -> list[str]:
        """Return the name of each reading's gesture, for readings (N, sensors) beside the network."""
        return [self.names[int(label)] for label in self.net.predict(readings)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file that any reader of safetensors can open."""
        twolayer.save(self.net, path, classes=self.names)


def fit(
    readings: Any, labels: Any, *, names: Sequence[str], epochs: int = 60, rng: int | None = None
) -> Recogniser:
    """Train a recogniser on readings (N, sensors) and labels (N,), arrays of any library on any device.

    A fifth of the readings, every fifth of them, chooses when the network was best.
    """
    xp, where = array_namespace(readings), device(readings)
    rows = [range(len(labels))[start::5] for start in range(5)]
    train_rows, held_rows = sorted(i for part in rows[:4] for i in part), list(rows[4])
    (X, y), validation = (
        tuple(xp.take(array, xp.asarray(chosen, device=where), axis=0) for array in (readings, labels))
        for chosen in (train_rows, held_rows)
    )
    # The scaling is learnt from the readings that train, and becomes part of the network at the end.
    scaling = Standardizer.fit(X, scale="feature")
    net = twolayer.TwoLayerNet.initialize(X.shape[1], 32, len(names), rng=rng, xp=xp, device=where)
    run = twolayer.train(
        net,
        X,
        y,
        validation=validation,
        preprocessing=scaling,
        learning_rate=0.05,
        batch_size=32,
        epochs=epochs,
        rng=rng,
    )
    return Recogniser(run.folded, tuple(names))


def load(path: str | os.PathLike[str], *, like: Any = None) -> Recogniser:
    """Read a recogniser that was saved; beside the array ``like``, where one is given."""
    names = load_metadata(path).classes
    if names is None:
        raise ValueError(f"{os.fspath(path)} does not hold the names of its gestures")
    net = twolayer.load(path)
    if like is not None:
        net = net.to(array_namespace(like), device=device(like))
    return Recogniser(net, names)
