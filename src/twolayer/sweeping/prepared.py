"""The samples of a sweep's stacks, and the preprocessing that is fitted to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from .._namespace import Array, HostArray, array_namespace, device, from_host, rows_of, to_host
from .._validation import check_choice
from ..preprocessing import Preprocessing, Standardizer
from ..training.plan import Settings

Fit = Callable[[Array], Preprocessing]


class Prepared(NamedTuple):
    """Samples to train on, and the settings that go with them."""

    X: Array
    y: Array
    settings: Settings
    preprocessing: Preprocessing | None  # fitted; the settings have it too, unless X is already preprocessed

    @property
    def n_features(self) -> int:
        """Number of input features of a network."""
        in_steps = self.settings.preprocessing
        return math.prod(self.X.shape[1:]) if in_steps is None else in_steps.n_outputs


def fitting(preprocessing: Any) -> Fit | None:
    """Return the function that fits an unfitted preprocessing; None if it is fitted, or None."""
    if isinstance(preprocessing, str):
        check_choice("preprocessing", preprocessing, ("standardize",))
        return partial(Standardizer.fit, scale="feature")
    if isinstance(preprocessing, type):
        if not hasattr(preprocessing, "fit"):
            raise TypeError(
                "`preprocessing` must be a class with `fit`, such as Standardizer, if it is a class; got "
                f"{preprocessing.__name__}"
            )
        return preprocessing.fit  # type: ignore[no-any-return]
    return preprocessing if callable(preprocessing) and not hasattr(preprocessing, "transform") else None


def prepared(
    X: Array, y: Array, settings: Settings, fit: Fit | None, *, fold: int | None, dtype: Any, in_steps: bool
) -> Prepared:
    """Return the samples of one fold, or all samples, with a preprocessing that ``fit`` fits to them.

    They are preprocessed here, unless ``in_steps`` is true. Each step then preprocesses its batch, which may
    be augmented or copied to the device first.
    """
    if fold is not None:
        folds, weights = settings.folds, settings.sample_weight
        assert folds is not None
        X, y, weights, X_val, y_val, weights_val = (
            None if array is None else _rows_of(array, rows[fold])
            for rows in (folds.trained, folds.held_out)
            for array in (X, y, weights)
        )
        validation = (X_val, y_val) if weights is None else (X_val, y_val, weights_val)
        settings = replace(settings, validation=validation, sample_weight=weights, folds=None)
        if settings.teacher is not None and not callable(settings.teacher):
            settings = replace(settings, teacher=to_host(settings.teacher)[folds.trained[fold]])
    fitted = settings.preprocessing if fit is None else fit(X)
    settings = replace(settings, preprocessing=fitted)
    settings.check_forms()
    if fit is not None and fitted is None:
        raise TypeError("`preprocessing` must return a fitted preprocessing for the samples; got None")
    if fitted is None or fit is None or in_steps:
        return Prepared(X, y, settings, fitted)
    X = fitted.apply(X, dtype=dtype)
    if settings.validation is not None:
        X_val, *others = settings.validation
        settings = replace(settings, validation=(fitted.apply(X_val, dtype=dtype), *others))
    return Prepared(X, y, replace(settings, preprocessing=None), fitted)


def _rows_of(array: Array, rows: HostArray) -> Array:
    xp = array_namespace(array)
    return rows_of(array, from_host(rows, xp=xp, device=device(array)), xp=xp)
