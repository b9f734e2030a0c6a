"""Arguments that the plotting functions refuse, and the messages."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.pictures import candidate, history_of, net_of, table_of

from twolayer import History, TwoLayerNet, plotting

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")

ONE = history_of(np.ones(40))
STACK = History(*(a if a is ONE.step else np.stack([a] * 3) for a in ONE))
NET = net_of(np.ones((4, 3)))
PROBS = np.array([[0.25, 0.75]] * 3)
NAMES = [str(i) for i in range(1001)]

# Valid arguments of each picture.
ARGUMENTS = {
    "loss": {"history": ONE},
    "accuracy": {"history": ONE},
    "calibration": {"y": [0, 1, 0], "probs": PROBS},
    "confusion": {"confusion": np.eye(2, dtype=int), "classes": NAMES[:2]},
    "weights": {"net": NET, "image_shape": (2, 2)},
    "mistakes": {
        "X": np.ones((3, 4)),
        "y": [0, 0, 0],
        "probs": PROBS,
        "classes": "ab",
        "image_shape": (2, 2),
    },
    "heat_map": {"table": table_of()},
    "parallel_coordinates": {"table": table_of()},
}
SHAPES = "`image_shape` must be (height, width) or (height, width, channels); got "
SCORES = [{"learning_rate": 1, "reg": 1, "score": 1}]

REFUSED = [
    ("loss", {"history": {}}, "`history` must hold at least one history; got none"),
    ("accuracy", {"history": {}}, "`history` must hold at least one history; got none"),
    ("loss", {"history": STACK}, "`history` must be of one network; got a stack of 3"),
    ("loss", {"history": {"one": ONE, "stack": STACK}}, "`history` must be of one network; got a stack of 3"),
    ("accuracy", {"history": STACK}, "`history` must be of one network; got a stack of 3"),
    ("calibration", {"n_bins": 0}, "`n_bins` must be at least 1; got 0"),
    ("calibration", {"y": [], "probs": PROBS[:0]}, "`probs` must have shape (N, C), of at least one sample"),
    (
        "confusion",
        {"confusion": np.eye(3, dtype=int)},
        "`confusion` must have a row and a column for each of",
    ),
    (
        "confusion",
        {"confusion": np.eye(1001, dtype=int), "classes": NAMES},
        "`classes` must name at most 1,000 classes to be drawn; got 1,001",
    ),
    ("weights", {"image_shape": (4,)}, f"{SHAPES}(4,)"),
    ("weights", {"image_shape": (1, 1, 2, 2)}, f"{SHAPES}(1, 1, 2, 2)"),
    ("weights", {"image_shape": (2, 1, 2)}, "`image_shape` must have 1 or 3 channels; got 2"),
    ("weights", {"image_shape": (-2, -2)}, "`image_shape[0]` must be at least 1; got -2"),
    ("weights", {"image_shape": (2, 3)}, "features, 4; got (2, 3), which has 6"),
    ("weights", {"max_units": 0}, "`max_units` must be at least 1; got 0"),
    ("weights", {"columns": 0}, "`columns` must be at least 1; got 0"),
    ("weights", {"net": TwoLayerNet(*(a[None] for a in NET))}, "`net` must be one network; got a stack of 1"),
    ("weights", {"net": net_of([[np.nan]] * 4)}, "`net` must have a hidden unit whose weights are finite"),
    ("mistakes", {"image_shape": (3, 2)}, "features, 4; got (3, 2), which has 6"),
    ("mistakes", {"y": [0, 0]}, "`y` must have one label for each row of `probs`, 3; got 2"),
    (
        "mistakes",
        {"y": [0], "probs": PROBS[:1]},
        "`y` must have one label for each of the 3 images of `X`; got 1",
    ),
    ("mistakes", {"X": np.ones((0, 4))}, "`X` must hold at least one image; got none"),
    ("mistakes", {"classes": "abc"}, "`classes` must name the 2 classes; got 3 names"),
    ("mistakes", {"probs": 9 * PROBS}, "`probs` must hold class probabilities of at least 0"),
    ("mistakes", {"max_images": 0}, "`max_images` must be at least 1; got 0"),
    ("heat_map", {"table": []}, "`table` must have at least one row; got none"),
    ("heat_map", {"x": "reg"}, "`x` and `y` must be two settings; got reg for both"),
    (
        "heat_map",
        {"table": SCORES, "x": "momentum", "value": "score"},
        "`table` must have a column momentum; got learning_rate, reg, score",
    ),
    (
        "heat_map",
        {"table": [*table_of(), candidate(1e-3, 0.3, 0.5)]},
        "`table` must have one row for each combination of settings; got two of learning_rate 1e-3, reg 0.3",
    ),
    (
        "heat_map",
        {"table": [candidate(0.1, 0.3, 0.5)] * 2},
        "`table` must have one row for each combination of settings; got two of learning_rate 0.1, reg 0.3",
    ),
    ("parallel_coordinates", {"table": []}, "`table` must have at least one row; got none"),
    ("parallel_coordinates", {"value": "loss"}, "`table` must have a column loss; got learning_rate, reg"),
    (
        "parallel_coordinates",
        {"table": SCORES, "value": "score"},
        "`table` must have a setting that varies; got one",
    ),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSED)
def test_invalid_arguments_are_refused(name, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(plotting, f"plot_{name}")(**ARGUMENTS[name] | given)
