"""Parameters of the estimator: checks, and conversion to arguments of `train`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._numbers import NOT_NEGATIVE, Number
from .._validation import check_choice, check_form
from ..settings import SETTINGS
from ..training import optimizers, schedules
from ..training.history import MONITORS
from ..training.optimizers import Optimizer
from ..training.schedules import Schedule

SOLVERS: Mapping[str, Optimizer] = {
    "adam": optimizers.Adam(),
    "sgd": optimizers.SGD(momentum=0.9, nesterov=True),
}
SCHEDULES: Mapping[str, Schedule] = {"cosine": schedules.Cosine(), "constant": schedules.Constant()}
AUTOMATIC_BATCH = 200  # `train` reduces it to the number of samples if there are fewer
# Parameters that are checked as settings of the library, with the names of the settings.
OF_SETTINGS = {
    "hidden_layer_size": "n_hidden",
    "batch_size": "batch_size",
    "max_iter": "epochs",
    "n_iter_no_change": "patience",
    "learning_rate_init": "learning_rate",
    **{name: name for name in ("reg", "dropout", "label_smoothing")},
}


def checked_parameters(given: dict[str, Any]) -> SimpleNamespace:
    """Check the parameters of an estimator, and return them with the solver and the schedule as objects."""
    p = dict(given)
    p["solver"] = _named("solver", p["solver"], SOLVERS, "move", "twolayer.optimizers.AdamW()")
    if isinstance(rate := p["learning_rate"], Real):
        cure = f"`learning_rate_init={rate}` sets the learning rate"
        raise TypeError(f"`learning_rate` must be a schedule, such as 'cosine'; got {rate}; {cure}")
    p["learning_rate"] = _named(
        "learning_rate", p["learning_rate"], SCHEDULES, "__call__", "twolayer.schedules.Step()"
    )
    if isinstance(p["batch_size"], str):
        check_choice("batch_size", p["batch_size"], ("auto",))
        p["batch_size"] = AUTOMATIC_BATCH
    for name, setting in OF_SETTINGS.items():
        if name != "n_iter_no_change" or p[name] != math.inf:
            p[name] = SETTINGS[setting].check(p[name], name)
    for name, kind in {"tol": NOT_NEGATIVE, "validation_fraction": Number(above=0, below=1)}.items():
        p[name] = kind.check(name, p[name])
    for name in ("early_stopping", "warm_start"):
        if not isinstance(p[name], bool | np.bool_):
            raise TypeError(f"`{name}` must be a bool; got {type(p[name]).__name__}")
    check_choice("monitor", p["monitor"], MONITORS)
    weights = p["class_weight"]
    if isinstance(weights, str):
        check_choice("class_weight", weights, ("balanced",))
    elif not isinstance(weights, Mapping | None):
        raise TypeError(f"`class_weight` must be a dict, 'balanced' or None; got {type(weights).__name__}")
    return SimpleNamespace(**p)


def training_arguments(parameters: SimpleNamespace) -> dict[str, Any]:
    """Return the arguments of `train` for checked parameters."""
    return {
        "optimizer": parameters.solver,
        "learning_rate": parameters.learning_rate_init,
        "schedule": parameters.learning_rate,
        "monitor": parameters.monitor,
        **{name: getattr(parameters, name) for name in ("reg", "dropout", "label_smoothing", "batch_size")},
    }


def _named(name: str, value: Any, known: Mapping[str, Any], method: str, example: str) -> Any:
    """Return the object with this name, or the given object if ``value`` is not a string."""
    if isinstance(value, str):
        check_choice(name, value, tuple(known))
        return known[value]
    check_form(name, value, (method,), f"one of {', '.join(map(repr, known))}, or for example {example}")
    return value
