"""A scikit-learn estimator for the network, and a search for its parameters."""

from __future__ import annotations

from .._optional import missing

try:
    from .classifier import TwoLayerClassifier
    from .search import TwoLayerSearchCV
except Exception as error:
    raise missing("sklearn", error, extra="sklearn", purpose="twolayer.sklearn") from error

__all__ = ["TwoLayerClassifier", "TwoLayerSearchCV"]
