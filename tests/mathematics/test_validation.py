"""Checks of arguments, and the fixes that their errors suggest."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend, to_host
from support.refusals import refusal

from twolayer import TwoLayerNet, _places, _validation, stack, sweep, train

NET = TwoLayerNet.initialize(3, 4, 2, rng=0)
X = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")  # at which hidden units are active
y = np.array([0, 1, 0, 1, 1])
GRID = {"learning_rate": [0.1]}
NUMBERED = (
    "`classes, y = numpy.unique(y, return_inverse=True)` numbers them from 0, and "
    "twolayer.sklearn.TwoLayerClassifier accepts them unchanged"
)


@pytest.mark.only_on("numpy", "torch", "jax", "cupy")  # libraries with the suggested methods
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=6), one_hot=st.booleans())
def test_the_hints_for_columns_and_one_hot_integers_give_the_labels(backend, labels, one_hot):
    net = TwoLayerNet.initialize(3, 4, 4, rng=0, xp=backend.xp, device=backend.device)
    samples = backend.array(np.ones((len(labels), 3)), "float32")
    host = np.asarray(labels)
    given_y = backend.array(np.eye(4, dtype=int)[host] if one_hot else host[:, None])
    for call, name in (
        (lambda y: net.loss(samples, y), "y"),
        (lambda y: train(net, samples, y, epochs=1), "y"),
        (lambda y: train(net, samples, backend.array(host), validation=(samples, y)), "validation y"),
        (lambda y: sweep(samples, y, n_classes=4, validation=(samples, y), grid=GRID, epochs=1), "y"),
    ):
        with refusal(f"TypeError: `{name}` must have a real floating dtype…") as raised:
            call(given_y)
    fix = re.search(r"`(y\.[^`]*)`", str(raised.value))
    assert fix is not None
    found = eval(fix[1], {"y": given_y})  # as a user would
    assert to_host(found).tolist() == labels


@given(label=st.integers(-(2**31), 2**31 - 1), place=st.integers(0, 4))
def test_a_label_out_of_range_is_found_at_any_place(label, place):
    labels = y.copy()
    labels[place] = label
    if 0 <= label < 2:
        assert math.isfinite(NET.loss(X, labels))
    else:
        with refusal(f"ValueError: `y` must hold class labels in [0, 2); got a label of {label}"):
            NET.loss(X, labels)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_dtype_are_accepted(dtype):
    # 300 classes are more than an int8 or uint8 label can number.
    net = TwoLayerNet.initialize(3, 4, 300, rng=0)
    labels = y * min(299, np.iinfo(dtype).max)
    assert net.loss(X, labels.astype(dtype)) == pytest.approx(float(net.loss(X, np.eye(300)[labels])))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rounded_probabilities_are_accepted(dtype):
    targets = np.array([[1 / 3, 2 / 3]] * 5).astype(dtype)
    assert NET.loss(X, targets) == pytest.approx(float(NET.loss(X, np.array([[1 / 3, 2 / 3]] * 5))), rel=1e-3)


def test_integer_weights_are_accepted():
    weight = np.array([1, 2, 0, 1, 1])
    assert NET.loss(X, y, sample_weight=weight) == NET.loss(X, y, sample_weight=weight.astype(np.float32))


@pytest.mark.parametrize("name", ["reg", "learning_rate"])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_a_number_beyond_the_range_of_the_networks_dtype_is_refused(name, n_networks):
    net, value = (NET, 1e39) if n_networks is None else (stack([NET] * n_networks), [0.0, 1e39])
    wide = net.astype("float64")
    refused = f"ValueError: `{name}` must be within the range of float32, the network's dtype; got 1e+39"
    with refusal(refused):
        train(net, X, y, epochs=1, **{name: value})
    with np.errstate(all="ignore"):
        train(wide, X, y, epochs=1, **{name: value})
    if name == "reg":
        with refusal(refused):
            net.loss(X, y, reg=value)
        assert np.isfinite(wide.loss(X, y, reg=value)).all()


def test_reg_may_be_a_number_or_one_per_network_in_any_form(backend: Backend):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp, device=backend.device)
    stacked = stack([net, net])
    samples, labels = backend.array(X, "float32"), backend.array(y)
    expected = [float(net.loss(samples, labels, reg=r)) for r in (0.5, 0.25)]
    for reg in ([0.5, 0.25], (0.5, 0.25), np.array([0.5, 0.25]), backend.array(np.array([0.5, 0.25]))):
        found = stacked.loss(samples, labels, reg=reg)
        assert [float(found[k]) for k in range(2)] == pytest.approx(expected, rel=1e-6)
    for reg in (0.5, np.float64(0.5), np.asarray(0.5), backend.array(np.asarray(0.5))):
        assert float(net.loss(samples, labels, reg=reg)) == pytest.approx(expected[0], rel=1e-6)
    assert float(net.loss(samples, labels, reg=1)) == pytest.approx(float(net.loss(samples, labels, reg=1.0)))


@given(rows=st.integers(0, 50), elements=st.integers(0, 100), block=st.integers(1, 200))
def test_row_blocks_cover_every_row_once(rows, elements, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_validation, "BLOCK_ELEMENTS", block)
        blocks = list(_validation.row_blocks(rows, elements))
    assert [i for b in blocks for i in range(b.start, b.stop)] == list(range(rows))
    assert all(b.stop - b.start == 1 or (b.stop - b.start) * elements <= block for b in blocks)


def test_a_value_that_is_not_finite_is_found_in_its_block(backend: Backend, monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 8)
    host = np.ones((10, 2, 2))
    _validation.check_finite(backend.array(host))
    for value, shown in ((np.nan, "nan"), (np.inf, "an infinite value"), (-np.inf, "an infinite value")):
        bad = host.copy()
        bad[5, 1, 0] = value
        with refusal(f"ValueError: `X` must be finite; got {shown}, first in row 5, at (1, 0) (counted…"):
            _validation.check_finite(backend.array(bad))
        bad = bad.reshape(10, 4)
        bad[7, 0] = np.nan
        with refusal(f"ValueError: `X` must be finite; got {shown}, first in row 5, column 2 (counted…"):
            _validation.check_finite(backend.array(bad))
        with refusal(f"ValueError: `b` must be … {shown}, first in row 5 (counted from 0)"):
            _validation.check_finite(backend.array(bad[:, 2]), name="b")
    _validation.check_finite(backend.array(np.ones((3, 2), np.uint8)))


def test_numbers_and_choices_are_checked():
    assert _validation.check_number("a", 2, least=0.0) == 2.0
    assert isinstance(_validation.check_number("a", np.float32(2), above=0.0), float)
    assert _validation.check_number("a", 0, least=0.0) == 0.0
    for value, bounds, wanted in (
        (0, dict(above=0.0), "finite and above 0; got 0"),
        (-1.5, dict(least=0.0), "finite and at least 0; got -1.5"),
        (math.inf, dict(least=0.0), "finite and at least 0; got inf"),
        (1, dict(above=0.0, below=1.0), "in (0, 1); got 1"),
        (0, dict(above=0.0, most=1.0), "in (0, 1]; got 0"),
    ):
        with refusal(f"ValueError: `a` must be {wanted}"):
            _validation.check_number("a", value, **bounds)
    for value in ("1", None, True, 1j):
        with refusal(f"TypeError: `a` must be a number; got {type(value).__name__}"):
            _validation.check_number("a", value, above=0.0)
    assert _validation.check_integer("n", np.int32(3), least=3) == 3
    assert type(_validation.check_integer("n", np.int32(3), least=3)) is int
    _validation.check_choice("judge", "best", ("best", "last"))
    with refusal("ValueError: `judge` must be one of 'best', 'last'; got 'first'"):
        _validation.check_choice("judge", "first", ("best", "last"))


def test_a_network_off_the_current_device_is_refused(monkeypatch):
    """CuPy creates every result on its current device, wherever the arrays are."""
    monkeypatch.setattr(_places, "current_device", lambda xp: "GPU 0")
    with refusal("ValueError: `W1` must be on numpy's current device, GPU 0, …; got cpu"):
        NET.logits(X)


@pytest.mark.parametrize(
    "labels",
    [*(np.where(y, "a", "b").astype(dtype) for dtype in (object, str, "S1")), y + 1.0, y > 0],
    ids=lambda labels: labels.dtype.name,
)
def test_the_error_for_labels_of_another_dtype_shows_how_to_number_them(labels: np.ndarray) -> None:
    refused = f"TypeError: `y` must have an integer dtype for class labels; got …; {NUMBERED}"
    for call in (
        lambda: NET.loss(X, labels),
        lambda: train(NET, X, labels, epochs=1),
        lambda: sweep(X, labels, validation=(X, labels), grid=GRID, epochs=1),
    ):
        with refusal(refused):
            call()
    found: dict[str, np.ndarray] = {"y": labels, "numpy": np}
    exec(re.search("`(classes, y = .*?)`", NUMBERED)[1], found)  # as a user would
    assert set(found["y"].tolist()) == {0, 1}
    assert math.isfinite(NET.loss(X, found["y"]))


def test_the_error_for_labels_from_1_shows_how_to_number_them_from_0() -> None:
    refused = "ValueError: `y` must hold class labels in [0, 2); got a label of 2"
    for call in (lambda: NET.loss(X, y + 1), lambda: train(NET, X, y + 1, epochs=1)):
        with refusal(f"{refused}; {NUMBERED}"):
            call()
    with refusal(refused):  # labels with a 0 do not count from 1, so there is no hint
        NET.loss(X, y * 2)


@given(
    n_rows=st.integers(1, 12),
    row=st.integers(0, 11),
    column=st.integers(0, 2),
    value=st.floats(3.4028236e38) | st.floats(None, -3.4028236e38) | st.just(np.nan),
    block=st.integers(1, 40),
)
def test_a_value_beyond_the_range_of_a_dtype_is_found_in_its_block(n_rows, row, column, value, block):
    X = np.full((n_rows, 3), float(np.finfo(np.float32).max))
    row = row % n_rows
    X[0, 0] *= -1
    rows_in_file = 5 + 2 * np.arange(n_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_validation, "BLOCK_ELEMENTS", block)
        _validation.check_finite(X, dtype="float32")
        X[row, column] = value
        if math.isfinite(value):
            _validation.check_finite(X, dtype="float64")
            _validation.check_finite(X)
        for rows, where in (
            (None, f"first in row {row}, column {column}"),
            (rows_in_file, f"in row {5 + 2 * row}, column {column}"),
        ):
            wanted = "be finite; got …"
            if math.isfinite(value):
                wanted = f"hold values within ±3.4028235e+38, the range of float32, …; got {value:.8g}"
            with refusal(f"ValueError: `X` must {wanted}, {where} (counted from 0)"):
                _validation.check_finite(X, dtype="float32", rows_in_file=rows)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8"])
def test_finite_values_of_any_dtype_are_accepted(dtype):
    X = np.ones((4, 2), dtype)
    _validation.check_finite(X, dtype="float32")
    _validation.check_finite(X, dtype="float64")
    if dtype.startswith("float"):
        X[2, 1] = np.inf
        with refusal("ValueError: `X` must be finite; got an infinite value, first in row 2, column 1 …"):
            _validation.check_finite(X, dtype="float32")


def test_the_first_sample_with_nan_predictions_is_named(backend: Backend):
    host = np.zeros((2, 5, 3))
    for sound in (host, host[0], np.full((5, 3), np.inf)):
        _validation.check_predictions(backend.array(sound))
    host[1, 3, 0] = np.nan
    names = ["a", "b", "c", "d.png", "e"]
    for predictions, samples, came in (
        (host[1, ...], None, "nan, first for row 3 (counted from 0)"),
        (host, None, "nan of network 1, first for row 3 (counted from 0)"),
        (host[1, ...], names, "nan, first for sample d.png"),
    ):
        with refusal(f"ValueError: `X` must hold samples for which …logits are finite; got {came}"):
            _validation.check_predictions(backend.array(predictions), samples=samples)
