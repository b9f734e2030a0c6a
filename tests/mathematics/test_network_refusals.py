"""Every error that the methods of a network raise, in one form: what must hold, then what came."""

from __future__ import annotations

import math
from functools import partial

import array_api_strict as strict
import numpy as np
import pytest
from support.refusals import refusal

from twolayer import TwoLayerNet, stack

NET = TwoLayerNet.initialize(3, 4, 2, rng=0)
PAIR = stack([NET, NET])
X = np.ones((5, 3), np.float32)
y = np.array([0, 1, 0, 1, 1])
one_hot = np.eye(2)[y]
f4 = partial(np.ones, dtype="f4")
initialize = partial(TwoLayerNet.initialize, n_features=3, n_hidden=4, n_classes=2)

USES = [lambda n: n.logits(X), lambda n: n.loss(X, y), lambda n: n.to(np), lambda n: n.astype("float64")]
LOSSES = NET.loss, NET.loss_and_gradients
# Every call that accepts this argument.
CALLS = {
    "network": [partial(lambda use, arrays: use(NET._replace(**arrays)), use) for use in USES],
    "stack": [lambda arrays: PAIR._replace(**arrays).logits(X)],
    "X": [
        *(NET.logits, NET.predict, NET.predict_proba),
        *(partial(lambda method, X: method(X, y), method) for method in (NET.loss, NET.accuracy)),
    ],
    "y": [partial(use, X) for use in (*LOSSES, NET.accuracy)],
    "weight": [partial(lambda use, w: use(X, y, sample_weight=w), use) for use in LOSSES],
    "reg": [lambda reg: NET.loss(X, y, reg=reg)],
    "regs": [lambda reg: stack([NET] * 3).loss(X, y, reg=reg)],
    "smoothing": [partial(lambda use, e: use(X, y, label_smoothing=e), use) for use in LOSSES],
    "smoothings": [lambda e: PAIR.loss(X, y, label_smoothing=[0.1, e])],
    "initialize": [lambda arguments: initialize(**arguments)],
    "select": [PAIR.select],
}
HINTS = {
    "column": "; `y.ravel()` takes the column",
    "rows": "; `y.argmax(axis=1)` makes labels of one-hot rows",
}
ONE = "; one sample needs a first axis: `X[None]`"
OUTSIDE = (-0.1, 1.5, math.nan, math.inf)
REFUSED = {
    "network": [
        (
            dict(W1=[[1.0]]),
            "TypeError: `W1` must be an array of an array-API … (numpy, …); got list; use …",
        ),
        (dict(b1=None), "TypeError: `b1` must be an array of an array-API library …; got NoneType"),
        (dict(W1=np.ones((3, 4), int)), "TypeError: `W1` must have dtype float32 or float64; got int64"),
        (dict(b2=np.ones(2, complex)), "TypeError: `b2` must have dtype …; got complex128"),
        (dict(b1=np.ones(4, "f2")), "TypeError: `b1` must have dtype float32 or float64; got float16"),
        (dict(W2=np.ones((4, 2))), "TypeError: `W2` must have the dtype of `W1`, float32; got float64"),
        (dict(W1=f4(3)), "ValueError: `W1` must have shape (D, H) or, …; got (3,)"),
        (dict(W1=f4((1, 1, 3, 4))), "ValueError: `W1` must have shape …; got (1, 1, 3, 4)"),
        (dict(W1=f4((0, 4))), "ValueError: `W1` must not be empty; got shape (0, 4)"),
        (dict(W2=f4((5, 2))), "ValueError: `W2` must have shape (4, C) to follow `W1` (3, 4); got (5, 2)"),
        (dict(W2=f4((4, 0))), "ValueError: `W2` must have shape (4, C) …; got (4, 0)"),
        (dict(W2=f4((1, 4, 2))), "ValueError: `W2` must have shape (4, C) …; got (1, 4, 2)"),
        (dict(b1=f4(5)), "ValueError: `b1` must have shape (4,); got (5,)"),
        (dict(b1=f4((1, 4))), "ValueError: `b1` must have shape (4,); got (1, 4)"),
        (dict(b2=f4(3)), "ValueError: `b2` must have shape (2,); got (3,)"),
    ],
    "stack": [
        (dict(W2=NET.W2), "ValueError: `W2` must have shape (2, 4, C) to follow `W1` (2, 3, 4); got (4, 2)"),
        (dict(b1=NET.b1), "ValueError: `b1` must have shape (2, 4); got (4,)"),
        (dict(b2=PAIR.b2[:1]), "ValueError: `b2` must have shape (2, 2); got (1, 2)"),
    ],
    "X": [
        ([[1.0, 2.0, 3.0]], "TypeError: `X` must be an array …; got list; use `numpy.asarray(X)`"),
        ((1.0, 2.0), "TypeError: `X` must be an array …; got tuple; use `numpy.asarray(X)`"),
        (memoryview(b"abc"), "TypeError: `X` must be an array …; got memoryview"),
        ("a.png", "TypeError: `X` must be an array …; got str; read the file into an array first"),
        (X[0], f"ValueError: `X` must have a first axis of samples and …; got shape (3,){ONE}"),
        (X[:1].T, f"ValueError: `X` must have 3 features …; got shape (3, 1), which is 1{ONE}"),
        (np.float32(1.0), "ValueError: `X` must have a first axis of samples …; got shape ()"),
        (X[:0], "ValueError: `X` must hold at least one sample; got shape (0, 3)"),
        (X[:, :0], "ValueError: `X` must hold at least one sample; got shape (5, 0)"),
        (X[:, :2], "ValueError: `X` must have 3 features per sample to fit …; got shape (5, 2), which is 2"),
        (np.ones((5, 2, 3)), "ValueError: `X` must have 3 features …; got shape (5, 2, 3), which is 6"),
        (X.astype(complex), "TypeError: `X` must have a real dtype; got complex128"),
        (X.astype(object), "TypeError: `X` must have a real dtype; got object; `X.astype('float32')` …"),
        (X.astype(str), "TypeError: `X` must have a real dtype; got str…; `X.astype('float32')` …"),
    ],
    "y": [
        ([0, 1, 0, 1, 1], "TypeError: `y` must be an array …; got list; use `numpy.asarray(y)`"),
        (
            y.astype(float),
            "TypeError: `y` must have an integer dtype for class labels; got float64; …unique(y, …",
        ),
        (
            y.astype(bool),
            "TypeError: `y` must have an integer dtype for class labels; got bool; …unique(y, …",
        ),
        (y[:4], "ValueError: `y` must have one label for each of the 5 samples of `X`; got 4"),
        (y[:0], "ValueError: `y` must have one label for each of the 5 samples of `X`; got 0"),
        (y + 1, "ValueError: `y` must hold class labels in [0, 2); got a label of 2; …unique(y, …"),
        (np.where(y == 0, 12, y), "ValueError: `y` must hold class labels in [0, 2); got a label of 12"),
        (y - 1, "ValueError: `y` must hold class labels in [0, 2); got a label of -1"),
        (np.int64(1), "ValueError: `y` must have shape (5,) for class labels or (5, 2) …; got ()"),
        (np.zeros((5, 2, 1)), "ValueError: `y` must have shape (5,) …; got (5, 2, 1)"),
        (one_hot.astype(int), "TypeError: `y` must have a real floating dtype …; got int64" + HINTS["rows"]),
        (one_hot.astype(bool), "TypeError: `y` must have a real …; got bool" + HINTS["rows"]),
        (y[:, None], "TypeError: `y` must have a real floating dtype …; got int64" + HINTS["column"]),
        (y[:, None].astype("f4"), "ValueError: `y` must have shape (5, 2) …; got (5, 1)" + HINTS["column"]),
        (np.eye(3)[y], "ValueError: `y` must have shape (5, 2) for class probabilities; got (5, 3)"),
        (one_hot[:4], "ValueError: `y` must have shape (5, 2) for class probabilities; got (4, 2)"),
        (one_hot * 2 - 0.5, "ValueError: `y` must hold class probabilities of at least 0; got -0.5"),
        (one_hot * math.nan, "ValueError: `y` must hold class probabilities of at least 0; got nan"),
        (np.full((5, 2), 0.6), "ValueError: `y` must hold … that sum to 1 …; got a sum that is off by 0.2"),
        (np.full((5, 2), np.inf), "ValueError: `y` must hold … that sum to 1 …; got a sum … off by inf"),
    ],
    "weight": [
        ([1.0] * 5, "TypeError: `sample_weight` must be an array …; got list; use …"),
        (np.ones(5, bool), "TypeError: `sample_weight` must have a real dtype; got bool"),
        (np.ones(4), "ValueError: `sample_weight` must have shape (5,); got (4,)"),
        (np.ones((5, 1)), "ValueError: `sample_weight` must have shape (5,); got (5, 1)"),
        (-np.ones(5), "ValueError: `sample_weight` must be finite and at least 0; got a weight of -1"),
        (np.where(y, 1, np.nan), "ValueError: `sample_weight` must be finite …; got a weight of nan"),
        (np.where(y, 1, np.inf), "ValueError: `sample_weight` must be finite …; got a weight of inf"),
        (np.zeros(5), "ValueError: `sample_weight` must hold a weight above zero; got 0 for every sample"),
    ],
    "reg": [
        (-0.1, "ValueError: `reg` must be finite and at least 0; got -0.1"),
        (math.nan, "ValueError: `reg` must be finite and at least 0; got nan"),
        (math.inf, "ValueError: `reg` must be finite and at least 0; got inf"),
        ("0.1", "TypeError: `reg` must be a number, or one for each network; got str"),
        (None, "TypeError: `reg` must be a number, or one for each network; got NoneType"),
        (True, "TypeError: `reg` must be a number, or one for each network; got bool"),
        (["a", "b"], "TypeError: `reg` must be a number, or one for each network; got <U1"),
        ([0.1], "ValueError: `reg` must be a number; got shape (1,)"),
        ([0.1, 0.2], "ValueError: `reg` must be a number; got shape (2,)"),
    ],
    "regs": [
        ([0.1, 0.2], "ValueError: `reg` must be a number or of shape (3,); got shape (2,)"),
        (np.zeros((3, 1)), "ValueError: `reg` must be a number or of shape (3,); got shape (3, 1)"),
        (np.zeros(0), "ValueError: `reg` must be a number or of shape (3,); got shape (0,)"),
        ([0.0, -2.0, 0.0], "ValueError: `reg` must be finite and at least 0; got -2"),
    ],
    "smoothing": [
        (2, "ValueError: `label_smoothing` must be in [0, 1]; got 2"),
        ([0.1], "ValueError: `label_smoothing` must be a number; got shape (1,)"),
        ("some", "TypeError: `label_smoothing` must be a number, or one for …; got str"),
        (None, "TypeError: `label_smoothing` must be a number, or one for …; got NoneType"),
        (True, "TypeError: `label_smoothing` must be a number, or one for …; got bool"),
        (False, "TypeError: `label_smoothing` must be a number, or one for …; got bool"),
        *((e, f"ValueError: `label_smoothing` must be in [0, 1]; got {e}") for e in OUTSIDE),
    ],
    "initialize": [
        (dict(n_features=0), "ValueError: `n_features` must be at least 1; got 0"),
        (dict(n_hidden=-1), "ValueError: `n_hidden` must be at least 1; got -1"),
        (dict(n_classes=0), "ValueError: `n_classes` must be at least 1; got 0"),
        (dict(n_hidden=2.5), "TypeError: `n_hidden` must be an integer; got float"),
        (dict(n_hidden=True), "TypeError: `n_hidden` must be an integer; got bool"),
        (dict(weight_scale="x"), "ValueError: `weight_scale` must be 'he', or a number above 0; got 'x'"),
        (dict(weight_scale=0.0), "ValueError: `weight_scale` must be finite and above 0; got 0"),
        (dict(weight_scale=math.nan), "ValueError: `weight_scale` must be finite and above 0; got nan"),
        (dict(weight_scale=None), "TypeError: `weight_scale` must be a number; got NoneType"),
        (dict(weight_scale=1e39), "ValueError: `W1` must hold values within … of float32, …, first in row …"),
        (dict(dtype="int32"), "TypeError: `dtype` must be float32 or float64; got int32"),
        (dict(xp=math), "TypeError: `xp` must be an array library …; got math"),
        (dict(xp="cpu"), "TypeError: `xp` must be …; got 'cpu'; pass the module, or a device as `device=`"),
        (dict(device="far"), "ValueError: `device` must be one that numpy has here; got far (…)"),
        (dict(rng=-1), "ValueError: `rng` must be non-negative if it is an int; got -1"),
        (dict(rng="0"), "TypeError: `rng` must be an int, a numpy.random.Generator or None; got str"),
    ],
    "select": [
        (2, "ValueError: `k` must be below the number of networks, 2; got 2"),
        (5, "ValueError: `k` must be below the number of networks, 2; got 5"),
        (-3, "ValueError: `k` must be at least -2; got -3"),
        (0.0, "TypeError: `k` must be an integer; got float"),
    ],
    "smoothings": [(e, f"ValueError: `label_smoothing` must be in [0, 1]; got {e}") for e in OUTSIDE],
}


@pytest.mark.parametrize(
    ("argument", "value", "refused"),
    [(argument, *row) for argument, rows in REFUSED.items() for row in rows],
)
def test_invalid_arguments_are_refused(argument, value, refused):
    for call in CALLS[argument]:
        with refusal(refused):
            call(value)


def test_initial_weights_beyond_float32_are_accepted_in_float64():
    assert np.isfinite(initialize(rng=0, weight_scale=1e39, dtype="float64").W1).all()


def test_select_is_refused_for_one_network():
    with refusal("ValueError: `select` needs a stack of networks; got one network"):
        NET.select(0)


def test_mixed_libraries_and_devices_are_refused():
    there, strict_net = strict.asarray(X), NET.to(strict)
    library = "must be an array of the library of"
    for call, refused in (
        (
            lambda: NET.logits(there),
            f"TypeError: `X` {library} `W1`, numpy; got one of array_api_strict; `net.to(array_api_strict)` "
            "moves the network there, `initialize(…, xp=array_api_strict)` makes it there",
        ),
        (
            lambda: NET._replace(b1=strict.zeros(4)).logits(X),
            f"TypeError: `b1` {library} `W1`, numpy; got one of array_api_strict",
        ),
        (
            lambda: NET.loss(X, strict.asarray(y)),
            f"TypeError: `y` {library} `X`, numpy; got one of array_api_strict",
        ),
        (
            lambda: NET.loss(X, y, sample_weight=strict.ones(5)),
            f"TypeError: `sample_weight` {library} `X`, numpy; got one of array_api_strict",
        ),
        (
            lambda: strict_net.logits(strict.asarray(X, device=strict.Device("device1"))),
            "ValueError: `X` must be on the device of `W1`, …CPU_DEVICE…; got …device1…",
        ),
    ):
        with refusal(refused):
            call()
