"""Arguments that sweep() refuses before training any candidate."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import PLAIN, make_task, other_backend
from support.sweeps import BASE, swept

from twolayer import Progress, plan, sweep
from twolayer.augmentation import FlipAndShift, Mixup
from twolayer.optimizers import SGD

pytestmark = pytest.mark.once_on_jax

TASK = make_task()


KEYS = (
    "learning_rate, reg, n_hidden, batch_size, weight_scale, dropout, input_dropout, label_smoothing, optimizer, "
    "schedule, augmentation, seed"
)


class Fussy(SGD):
    """A user's own optimizer with the optional method `check`."""

    def check(self) -> None:
        raise ValueError("`own` must be otherwise")


BAD_GRIDS = {
    "unknown": ({"lr": [0.1]}, ValueError, f"`grid` must name settings among {KEYS}; got 'lr'; `lr` is `learning_rate` here: see docs/names.md"),
    "unknown-setting": ([{"lr": 0.1}], ValueError, f"`grid` must name settings among {KEYS}; got 'lr'; `lr` is `learning_rate` here: see docs/names.md"),
    "none": ([], ValueError, "`grid` must hold at least one candidate; got none"),
    "no-values": ({"reg": [], "n_hidden": [3]}, ValueError, "`grid` must hold at least one candidate; got none"),
    "twice": ({"reg": [0.1, 0.2, 0.1]}, ValueError, "`grid` must name each candidate once; got {'reg': 0.1} twice"),
    "twice-unnamed": ([{}, {"seed": 0}], ValueError, "`grid` must name each candidate once; got {'seed': 0} twice"),
    "text-values": ({"reg": "0.1"}, TypeError, "`grid` must map names to sequences of values; got '0.1' for 'reg'"),
    "optimizer-twice": ([{}, {"optimizer": PLAIN["optimizer"]}], ValueError, "`grid` must name each candidate once; got {'optimizer': SGD(momentum=0.0, nesterov=False)} twice"),
    "not-settings": ([0.1, 0.2], TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
    "not-a-grid": (5, TypeError, "`grid` must be a mapping of sequences or an iterable of mappings"),
}  # fmt: skip


BAD_VALUES = {
    "hidden-zero": ("n_hidden", 0, ValueError, "`n_hidden` must be at least 1; got 0"),
    "batch-zero": ("batch_size", 0, ValueError, "`batch_size` must be at least 1; got 0"),
    "seed-negative": ("seed", -1, ValueError, "`seed` must be at least 0; got -1"),
    "rate-negative": ("learning_rate", -0.1, ValueError, "`learning_rate` must be finite and at least 0; got -0.1"),
    "rate-text": ("learning_rate", "0.1", TypeError, "`learning_rate` must be a number"),
    "reg-inf": ("reg", math.inf, ValueError, "`reg` must be finite and at least 0; got inf"),
    "scale-name": ("weight_scale", "xavier", ValueError, "`weight_scale` must be 'he', or a number above 0; got 'xavier'"),
    "scale-zero": ("weight_scale", 0.0, ValueError, "`weight_scale` must be finite and above 0; got 0"),
    "scale-none": ("weight_scale", None, TypeError, "`weight_scale` must be"),
    "dropout-one": ("dropout", 1.0, ValueError, "`dropout` must be in [0, 1); got 1"),
    "input-one": ("input_dropout", 1, ValueError, "`input_dropout` must be in [0, 1); got 1"),
    "smoothing-high": ("label_smoothing", 1.5, ValueError, "`label_smoothing` must be in [0, 1]; got 1.5"),
    "optimizer-text": ("optimizer", "adam", TypeError, "`optimizer` must be an optimizer, such as twolayer.optimizers.SGD(momentum=0.9); got str"),
    "optimizer-check": ("optimizer", Fussy(), ValueError, "`own` must be otherwise"),
    "schedule-number": ("schedule", 0.9, TypeError, "`schedule` must be a schedule, such as twolayer.schedules.Exponential(0.95); got float"),
    "augmentation-class": ("augmentation", Mixup, TypeError, "`augmentation` must be an augmentation, such as twolayer.augmentation.Mixup(0.2); got the class Mixup"),
    "augmentation-shape": ("augmentation", FlipAndShift((3, 3)), ValueError, "`image_shape` must have as many values as a sample has features, 4; got (3, 3)"),
}  # fmt: skip


BAD_ARGUMENTS = {
    "X-list": ({"X": [[1.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
    "X-nan": ({"X": np.full((23, 4), np.nan)}, ValueError, "`X` must be finite; got nan, first in row 0, column 0 "),
    "y-short": ({"y": TASK.y[:22]}, ValueError, "`y` must have one label for each of the 23 samples of `X`; got 22"),
    "y-all-negative": ({"y": TASK.y * 0 - 1, "validation": (TASK.X_val, TASK.y_val * 0 - 1)}, ValueError, "`y` must hold class labels in [0, "),
    "y-scalar": ({"y": TASK.y[0]}, ValueError, "`y` must have shape (23,) for class labels or (23, "),
    "y-above": ({"n_classes": 2}, ValueError, "`y` must hold class labels in [0, 2); got a label of 2"),
    "classes-zero": ({"n_classes": 0}, ValueError, "`n_classes` must be at least 1; got 0"),
    "validation-none": ({"validation": None}, ValueError, "`validation` or `folds` must be given to judge networks by, not both; got neither"),
    "X_val-width": ({"validation": (TASK.X_val[:, :3], TASK.y_val)}, ValueError, "`validation X` must have 4 features per sample to fit the network; got shape (11, 3), which is 3"),
    "X_val-nan": ({"validation": (TASK.X_val * np.nan, TASK.y_val)}, ValueError, "`validation X` must be finite; got nan, first in row 0, column 0 "),
    "y_val-float": ({"validation": (TASK.X_val, TASK.y_val.astype(float))}, TypeError, "`validation y` must have an integer dtype for class labels; got float64"),
    "y_val-above": ({"n_classes": 3, "validation": (TASK.X_val, TASK.y_val + 1)}, ValueError, "`validation y` must hold class labels in [0, 3); got a label of 3"),
    "weight-short": ({"sample_weight": np.ones(22)}, ValueError, "`sample_weight` must have shape (23,); got (22,)"),
    "networks-zero": ({"max_networks": 0}, ValueError, "`max_networks` must be at least 1; got 0"),
    "rng-text": ({"rng": "0"}, TypeError, "`rng` must be an int, a numpy.random.Generator or None; got str"),
    "dtype": ({"dtype": "float16"}, TypeError, "`dtype` must be float32 or float64; got float16"),
    "judge": ({"judge": "first"}, ValueError, "`judge` must be one of 'best', 'last'; got 'first'"),
    "both": ({"epochs": 1, "steps": 1}, ValueError, "`epochs` or `steps` must be given, not both; got both"),
    "preprocessing": ({"preprocessing": "this"}, ValueError, "`preprocessing` must be one of 'standardize'; got 'this'"),
    "optimizer": ({"optimizer": "this"}, TypeError, "`optimizer` must be an optimizer, such as twolayer."),
    "schedule": ({"schedule": "this"}, TypeError, "`schedule` must be a schedule, such as twolayer."),
    "augmentation": ({"augmentation": "this"}, TypeError, "`augmentation` must be an augmentation, such as twolayer."),
    "xp": ({"xp": np}, ValueError, "`xp` must be left out without `stream`, because `X` determines it; got numpy"),
    "device": ({"device": "cpu"}, ValueError, "`device` must be left out without `stream`, because `X` determines it; got cpu"),
}  # fmt: skip


def refused(error: type[Exception], message: str, **changes: Any) -> None:
    arguments = {"X": TASK.X, "y": TASK.y, "validation": TASK.validation, "grid": {"n_hidden": [3]}, **BASE}
    called: list[Progress] = []
    with pytest.raises(error, match="^" + re.escape(message)):
        sweep(**{**arguments, **changes}, callbacks=[called.append])
    assert called == []


@pytest.mark.parametrize("case", BAD_GRIDS)
def test_invalid_grids_are_refused(case):
    grid, error, message = BAD_GRIDS[case]
    refused(error, message, grid=grid)


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_refused_even_in_the_last_candidate(case):
    """Otherwise the error could come after hours of training."""
    name, value, error, message = BAD_VALUES[case]
    refused(error, message, grid=[{"n_hidden": 3}, {"n_hidden": 4, name: value}])


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_invalid_arguments_are_refused(case):
    changes, error, message = BAD_ARGUMENTS[case]
    refused(error, message, **changes)


@pytest.mark.parametrize("function", [sweep, plan])
@pytest.mark.parametrize(
    ("name", "value", "values"),
    [
        ("n_hidden", 50, "[50]"),
        ("learning_rate", [0.1, 0.01], "[0.1, 0.01]"),
        ("reg", (0.0, 0.1), "[0.0, 0.1]"),
        ("weight_scale", "he", "['he']"),
        ("seed", 3, "[3]"),
    ],
)
def test_the_error_of_a_setting_passed_as_an_argument_shows_the_grid(function, name, value, values):
    message = f'`{name}` must be given as `grid={{"{name}": {values}}}`; got it as an argument'
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        function(TASK.X, TASK.y, validation=(TASK.X_val, TASK.y_val), **{name: value})
    grid = eval(re.search(r"grid=(\{.*\})", message)[1])  # as a user would
    assert plan(TASK.X, TASK.y, validation=(TASK.X_val, TASK.y_val), grid=grid).parts


def test_any_other_argument_is_unexpected():
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
        sweep(TASK.X, TASK.y, folds=3, grid={"reg": [0.0]}, hidden=50)


def test_arrays_of_two_libraries_are_refused(backend: Backend):
    task, other = TASK.on(backend), other_backend(backend)
    for name, dtype, message in (
        ("y", "int32", "`y` must be an array of the library of `X`"),
        ("y_val", "int32", "`validation y` must be an array of the library of `validation X`"),
        ("X_val", "float32", "`validation X` must be an array of the library of `W1`"),
    ):
        elsewhere = task._replace(**{name: other.array(getattr(TASK, name), dtype)})
        with pytest.raises(TypeError, match=f"^{message}"):
            swept(elsewhere, {"n_hidden": [3]}, dtype=backend.dtype)


def test_only_numpy_samples_can_be_streamed(backend: Backend):
    if backend.library == "numpy":
        pytest.skip("NumPy's samples can be streamed")
    with pytest.raises(TypeError, match=r"^`X` must be a NumPy array if samples are streamed; got "):
        swept(TASK.on(backend), {"n_hidden": [3]}, dtype=backend.dtype, stream=True, xp=backend.xp)


@pytest.mark.parametrize("split", ["X", "validation"])
def test_a_value_beyond_the_range_of_the_dtype_is_refused(split):
    far = {"X": TASK.X.copy(), "validation": TASK.X_val.copy()}
    far[split][7, 1] = 1e39
    arguments = {"validation": (far["validation"], TASK.y_val), "grid": {"reg": [0.0, 0.1]}, "epochs": 1}
    with pytest.raises(ValueError, match=r"X` must hold .* float32.*; got 1e\+39, first in row 7, column 1 "):
        sweep(far["X"], TASK.y, **arguments)
    assert sweep(far["X"], TASK.y, dtype="float64", **arguments).complete
