"""Folds that sweep() refuses before training any candidate, and folds that it warns about."""

# ruff: noqa: E501  # messages stand in their table on one line

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support.folds import FLIPS, PAIRS, TASK, N, folded
from support.sweeps import BASE

from twolayer import sweep
from twolayer.augmentation import Chain, Mixup
from twolayer.preprocessing import Standardizer, Whitener

TWO = "`folds` must hold arrays of different row numbers in [0, 24), at least one; got "
WHOLE = "`folds` must be an int, or pairs of arrays of rows; got an item that is not a pair "
MIXED = "`augmentation` must not mix samples with `folds`"
BAD = {
    "neither": ({"folds": None}, ValueError, "`validation` or `folds` must be given to judge networks by, not both; got neither"),
    "both": ({"validation": TASK.validation}, ValueError, "`validation` or `folds` must be given to judge networks by, not both; got both"),
    "one": ({"folds": 1}, ValueError, "`folds` must be at least 2; got 1"),
    "zero": ({"folds": 0}, ValueError, "`folds` must be at least 2; got 0"),
    "too-many": ({"folds": 25}, ValueError, "`folds` must be at most the number of samples, 24; got 25"),
    "half": ({"folds": 2.5}, TypeError, "`folds` must be an integer; got float"),
    "true": ({"folds": True}, TypeError, "`folds` must be an integer; got bool"),
    "text": ({"folds": "5"}, TypeError, f"{WHOLE}(str)"),
    "texts": ({"folds": ["01", "12"]}, TypeError, f"{WHOLE}(str)"),
    "arrays": ({"folds": [np.arange(5), np.arange(5)]}, TypeError, f"{WHOLE}(ndarray)"),
    "numbers": ({"folds": [1, 2]}, TypeError, f"{WHOLE}(int)"),
    "one-pair": ({"folds": PAIRS[:1]}, ValueError, "`folds` must hold at least two pairs of row arrays; got 1"),
    "no-pair": ({"folds": []}, ValueError, "`folds` must hold at least two pairs of row arrays; got 0"),
    "both-sides": ({"folds": [PAIRS[0], ([4, 7], [3, 7])]}, ValueError, "`folds` must hold out rows that are not trained on; got row 7 on both sides of fold 1 (counted from 0)"),
    "twice": ({"folds": [PAIRS[0], ([4, 4], [3])]}, ValueError, f"{TWO}a row that comes twice"),
    "beyond": ({"folds": [PAIRS[0], ([4], [3, 24])]}, ValueError, f"{TWO}row 24"),
    "negative": ({"folds": [PAIRS[0], ([-1], [3])]}, ValueError, f"{TWO}row -1"),
    "floats": ({"folds": [PAIRS[0], ([1.0], [3])]}, TypeError, "`folds` must hold arrays of integers; got float64"),
    "mask": ({"folds": [PAIRS[0], (np.arange(24) < 9, [9])]}, TypeError, "`folds` must hold arrays of integers; got bool"),
    "empty": ({"folds": [PAIRS[0], ([1], [])]}, ValueError, f"{TWO}shape (0,)"),
    "2-d": ({"folds": [PAIRS[0], ([[1]], [3])]}, ValueError, f"{TWO}shape (1, 1)"),
    "ragged": ({"folds": [PAIRS[0], ([0, [1]], [3])]}, ValueError, f"{TWO}lists of different lengths"),
    "mixup": ({"augmentation": Mixup()}, ValueError, MIXED),
    "mixup-in-a-chain": ({"augmentation": Chain(FLIPS, Chain(Mixup()))}, ValueError, MIXED),
    "mixup-in-the-grid": ({"grid": {"augmentation": [None, Mixup()]}}, ValueError, MIXED),
    "unfitted-streamed": ({"preprocessing": Whitener, "stream": True}, ValueError, "`preprocessing` must be fitted if `stream` and `folds` are both given; got <class"),
    "preprocessing": ({"preprocessing": "whiten"}, ValueError, "`preprocessing` must be one of 'standardize'; got 'whiten'"),
    "class-without-fit": ({"preprocessing": dict}, TypeError, "`preprocessing` must be a class with `fit`, such as Standardizer, if it is a class; got dict"),
    "nothing-fitted": ({"preprocessing": lambda X: None}, TypeError, "`preprocessing` must return a fitted preprocessing for the samples; got None"),
    "refit": ({"refit": "x"}, ValueError, "`refit` must be one of 'all', 'merge', None; got 'x'"),
    "nan": ({"X": np.where(np.arange(N) == 17, np.nan, TASK.X.T).T}, ValueError, "`X` must be finite; got nan, first in row 17, column 0"),
    "weights-too-few": ({"sample_weight": np.ones(23)}, ValueError, "`sample_weight` must have shape (24,); got (23,)"),
    "weights-to-train": ({"folds": PAIRS, "sample_weight": 1.0 * ((np.arange(N) > 12) | (np.arange(N) < 1))}, ValueError, "`sample_weight` must leave each fold a weight above 0 to train with; got 0 for all of fold 2 (counted from 0)"),
    "weights-to-judge": ({"folds": PAIRS, "sample_weight": 1.0 * (np.arange(N) > 7)}, ValueError, "`sample_weight` must leave each fold a weight above 0 to be judged by; got 0 for all of fold 0 (counted from 0)"),
}  # fmt: skip


@pytest.mark.parametrize("preprocessing", [None, "standardize"])
@pytest.mark.parametrize("case", BAD)
def test_invalid_folds_are_refused(case, preprocessing):
    changes, error, message = BAD[case]
    if preprocessing is not None and message == MIXED:  # each fold then has its own batches
        assert folded(TASK, 3, preprocessing=preprocessing, **changes).complete
        return
    called: list[Any] = []
    changes = {"folds": 3, "preprocessing": preprocessing, **changes}
    task = TASK._replace(X=changes.pop("X", TASK.X))
    with pytest.raises(error, match="^" + re.escape(message)):
        folded(task, changes.pop("folds"), callbacks=[called.append], **changes)
    assert called == []


def test_class_weights_that_leave_a_fold_no_weight_are_refused():
    rows = [np.flatnonzero(TASK.y == label) for label in range(3)]
    pairs = [(rows[0], rows[1]), (rows[1], rows[2])]
    for preprocessing, of in ((None, " that a fold trains on"), ("standardize", "")):
        message = f"`class_weight` must leave at least one sample{of} a weight above 0; got 0 for all"
        with pytest.raises(ValueError, match=f"^{message}$"):
            folded(TASK, pairs, class_weight=[1.0, 0.0, 1.0], preprocessing=preprocessing)


def test_a_fitted_preprocessing_gives_one_warning_at_the_call_of_sweep():
    with pytest.warns(UserWarning, match=r"^`preprocessing` was fitted before .* into folds") as found:
        sweep(TASK.X, TASK.y, folds=3, preprocessing=Standardizer.fit(TASK.X), **BASE, grid={"seed": [0, 1]})
    assert [warning.filename for warning in found] == [__file__]
    sweep(TASK.X, TASK.y, validation=TASK.validation, preprocessing=Standardizer.fit(TASK.X), **BASE, grid={})
