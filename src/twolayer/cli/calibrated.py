"""Calibration of the network that a run keeps."""

from __future__ import annotations

import numpy as np

from .._namespace import dtype_name
from ..calibration import calibrated
from ..datasets import Dataset
from ..network import TwoLayerNet
from ..report.metrics import expected_calibration_error
from .devices import Library
from .evaluate import Evaluation, evaluate


def calibrated_by_validation(
    net: TwoLayerNet, dataset: Dataset, library: Library, before: Evaluation | None
) -> tuple[TwoLayerNet, Evaluation | None, dict[str, float]]:
    """Return the network calibrated on the validation samples, its test results if any, and the figures."""
    library = library._replace(dtype=dtype_name(net.W1.dtype))
    assert dataset.validation is not None
    X, y = dataset.validation
    weights = (dataset.sample_weight or {}).get("validation")
    own = None if weights is None else library.put(weights.astype(library.dtype))
    net, (found,) = calibrated(net, library.put_samples(X), library.put_labels(y), own)
    figures = {
        "temperature": found.temperature,
        "validation_loss_before": found.loss_before,
        "validation_loss_after": found.loss_after,
    }
    if before is None or dataset.test is None:
        return net, None, figures
    after, labels = evaluate(net, dataset.test, library), dataset.test.y
    for name, one in (("before", before), ("after", after)):
        figures[f"test_loss_{name}"] = one.loss
        # The calibration error is not defined where a probability is nan.
        if np.isfinite(one.probabilities).all():
            figures[f"test_calibration_error_{name}"] = expected_calibration_error(labels, one.probabilities)
    return net, after, figures
