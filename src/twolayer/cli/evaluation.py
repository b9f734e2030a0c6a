"""How a saved network, which takes samples as they are, does on a set of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._checks import row_blocks
from .._namespace import HostArray, dtype_name, to_host
from ..datasets import Split
from ..mathematics import cross_entropy, softmax, targets
from ..network import TwoLayerNet
from ..report.metrics import Confusion
from .data import labels_on, raw_on
from .libraries import Library


class Evaluation(NamedTuple):
    """Results of a network for samples whose classes are known."""

    accuracy: float  # nan if a logit is
    loss: float  # mean cross-entropy, no penalty
    predicted: HostArray
    confusion: Confusion
    probabilities: HostArray  # (N, C) float32

    def as_data(self) -> dict[str, Any]:
        """Return it for results.json."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n_samples": len(self.predicted),
            "confusion": self.confusion.cells(),
        }


def evaluate(net: TwoLayerNet, split: Split, library: Library) -> Evaluation:
    """Judge a network by samples that are moved to its device block by block, in its dtype."""
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    n_samples = len(split.y)
    xp = library.xp
    predicted, probabilities, loss, has_nan = [], [], 0.0, False
    for rows in row_blocks(n_samples, max(math.prod(split.X.shape[1:]), net.n_hidden)):
        logits, y = net.logits(raw_on(split.X[rows], library)), labels_on(split.y[rows], library)
        has_nan |= bool(xp.isnan(xp.max(logits)))
        predicted.append(to_host(xp.argmax(logits, axis=-1)))
        Z, exp_Z, total = softmax(xp.matrix_transpose(logits)[None, :, :], xp=xp)
        probabilities.append(to_host((exp_Z / total)[0, :, :]).T.astype(np.float32))
        T, sums = targets(y, net.n_classes, dtype=logits.dtype, xp=xp)
        losses = cross_entropy(Z, total, T, sums, xp=xp)
        loss += float(np.sum(to_host(losses), dtype=np.float64))
    labels = np.concatenate(predicted).astype(np.int64)
    return Evaluation(
        accuracy=math.nan if has_nan else float(np.mean(labels == split.y)),
        loss=loss / n_samples,
        predicted=labels,
        confusion=Confusion.of_labels(split.y.astype(np.int64), labels, net.n_classes),
        probabilities=np.concatenate(probabilities),
    )
