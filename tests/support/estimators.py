"""Small estimators, and data for them in any library."""

from __future__ import annotations

import importlib

import numpy as np
from numpy.testing import assert_array_equal
from sklearn.datasets import make_classification

from twolayer._namespace import from_host, standard_namespace, to_host
from twolayer.sklearn import TwoLayerClassifier

# Libraries that scikit-learn can dispatch to, by their names for `--backend`.
DISPATCHED = {"numpy": "numpy", "strict": "array_api_strict", "torch": "torch", "cupy": "cupy"}


def place(host, library, where=None):
    """Copy a host array to a library; the device must have its dtype."""
    xp = standard_namespace(importlib.import_module(DISPATCHED[library]))
    if where is not None:
        where = xp.Device(where)
    return from_host(np.asarray(host), xp=xp, device=where)


def problem(n_samples=60, n_classes=3, dtype="float64", seed=0):
    """Samples (n, 5) and labels (n,) of a small classification problem."""
    X, y = make_classification(
        n_samples, n_features=5, n_informative=4, n_redundant=0, n_classes=n_classes, random_state=seed
    )
    return X.astype(dtype), y


def quick(**parameters):
    """A small estimator that trains for 5 epochs by default."""
    return TwoLayerClassifier(**{"hidden_layer_size": 7, "max_iter": 5, "random_state": 0, **parameters})


def same_net(net, other):
    """Assert that two networks are equal bit for bit."""
    for array, like in zip(net, other, strict=True):
        assert_array_equal(to_host(array), to_host(like), strict=True)
