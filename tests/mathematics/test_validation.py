"""Every error that the methods of a network raise, in one form: what must hold, then what came."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Backend

from twolayer import TwoLayerNet, _validation, stack, sweep, train


@pytest.fixture
def net() -> TwoLayerNet:
    return TwoLayerNet.initialize(3, 4, 2, rng=0)


X = np.ones((5, 3), np.float32)
y = np.array([0, 1, 0, 1, 1])


# ------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            dict(W1=[[1.0]]),
            TypeError,
            r"`W1` must be an array of an array-API library \(numpy, .*\); got list",
        ),
        (dict(b1=None), TypeError, "`b1` must be an array of an array-API library .*; got NoneType"),
        (dict(W1=np.ones((3, 4), int)), TypeError, "`W1` must have dtype float32 or float64; got int64"),
        (dict(b2=np.ones(2, complex)), TypeError, "`b2` must have dtype float32 or float64; got complex128"),
        (dict(b1=np.ones(4, np.float16)), TypeError, "`b1` must have dtype float32 or float64; got float16"),
        (dict(W2=np.ones((4, 2))), TypeError, "`W2` must have the dtype of `W1`, float32; got float64"),
        (dict(W1=np.ones(3, np.float32)), ValueError, r"`W1` must have shape \(D, H\) or, .*; got \(3,\)"),
        (
            dict(W1=np.ones((1, 1, 3, 4), np.float32)),
            ValueError,
            r"`W1` must have shape .*; got \(1, 1, 3, 4\)",
        ),
        (dict(W1=np.ones((0, 4), np.float32)), ValueError, r"`W1` must not be empty; got shape \(0, 4\)"),
        (
            dict(W2=np.ones((5, 2), np.float32)),
            ValueError,
            r"`W2` must have shape \(4, C\) to follow `W1` \(3, 4\); got \(5, 2\)",
        ),
        (dict(W2=np.ones((4, 0), np.float32)), ValueError, r"`W2` must have shape \(4, C\) .*; got \(4, 0\)"),
        (
            dict(W2=np.ones((1, 4, 2), np.float32)),
            ValueError,
            r"`W2` must have shape \(4, C\) .*; got \(1, 4, 2\)",
        ),
        (dict(b1=np.ones(5, np.float32)), ValueError, r"`b1` must have shape \(4,\); got \(5,\)"),
        (dict(b1=np.ones((1, 4), np.float32)), ValueError, r"`b1` must have shape \(4,\); got \(1, 4\)"),
        (dict(b2=np.ones(3, np.float32)), ValueError, r"`b2` must have shape \(2,\); got \(3,\)"),
    ],
)
def test_a_network_that_does_not_hold_together(net, arrays, error, message):
    for use in (
        lambda n: n.logits(X),
        lambda n: n.loss(X, y),
        lambda n: n.to(np),
        lambda n: n.astype("float64"),
    ):
        with pytest.raises(error, match=message):
            use(net._replace(**arrays))


def test_a_stack_that_does_not_hold_together(net):
    stacked = stack([net, net])
    for arrays, message in (
        (dict(W2=net.W2), r"`W2` must have shape \(2, 4, C\) to follow `W1` \(2, 3, 4\); got \(4, 2\)"),
        (dict(b1=net.b1), r"`b1` must have shape \(2, 4\); got \(4,\)"),
        (dict(b2=stacked.b2[:1]), r"`b2` must have shape \(2, 2\); got \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            stacked._replace(**arrays).logits(X)


# --------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([[1.0, 2.0, 3.0]], TypeError, "`X` must be an array of an array-API library .*; got list"),
        (
            X[0],
            ValueError,
            r"`X` must have a first axis of samples and at least one more of features; got shape \(3,\)",
        ),
        (np.float32(1.0), ValueError, r"`X` must have a first axis of samples .*; got shape \(\)"),
        (X[:0], ValueError, r"`X` must hold at least one sample; got shape \(0, 3\)"),
        (X[:, :0], ValueError, r"`X` must hold at least one sample; got shape \(5, 0\)"),
        (
            X[:, :2],
            ValueError,
            r"`X` must have 3 features a sample to fit the network; got shape \(5, 2\), which is 2",
        ),
        (
            np.ones((5, 2, 3)),
            ValueError,
            r"`X` must have 3 features a sample .*; got shape \(5, 2, 3\), which is 6",
        ),
        (X.astype(complex), TypeError, "`X` must have a real dtype; got complex128"),
    ],
)
def test_samples_that_do_not_fit(net, samples, error, message):
    for use in (
        net.logits,
        net.predict,
        net.predict_proba,
        lambda X: net.loss(X, y),
        lambda X: net.accuracy(X, y),
    ):
        with pytest.raises(error, match=message):
            use(samples)


def test_mixed_libraries_and_devices(net):
    import array_api_strict as xp

    there = xp.asarray(X)
    with pytest.raises(
        TypeError, match="`X` must be an array of the library of `W1`, numpy; got one of array_api_strict"
    ):
        net.logits(there)
    with pytest.raises(
        TypeError, match="`b1` must be an array of the library of `W1`, numpy; got one of array_api_strict"
    ):
        net._replace(b1=xp.zeros(4)).logits(X)
    with pytest.raises(
        TypeError, match="`y` must be an array of the library of `X`, numpy; got one of array_api_strict"
    ):
        net.loss(X, xp.asarray(y))
    with pytest.raises(
        TypeError, match="`sample_weight` must be an array of the library of `X`, numpy; got one of"
    ):
        net.loss(X, y, sample_weight=xp.ones(5))
    strict_net = net.to(xp)
    message = "`X` must be on the device of `W1`, .*CPU_DEVICE.*; got .*device1"
    with pytest.raises(ValueError, match=message):
        strict_net.logits(xp.asarray(X, device=xp.Device("device1")))


# --------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 1, 0, 1, 1], TypeError, "`y` must be an array of an array-API library .*; got list"),
        (y.astype(np.float64), TypeError, "`y` must have an integer dtype for class labels; got float64"),
        (y.astype(bool), TypeError, "`y` must have an integer dtype for class labels; got bool"),
        (y[:4], ValueError, "`y` must have one label for each of the 5 samples of `X`; got 4"),
        (y[:0], ValueError, "`y` must have one label for each of the 5 samples of `X`; got 0"),
        (y + 1, ValueError, r"`y` must hold class labels in \[0, 2\); got a label of 2"),
        (np.where(y == 0, 12, y), ValueError, r"`y` must hold class labels in \[0, 2\); got a label of 12"),
        (y - 1, ValueError, r"`y` must hold class labels in \[0, 2\); got a label of -1"),
        (np.int64(1), ValueError, r"`y` must have shape \(5,\) for class labels or \(5, 2\) .*; got \(\)"),
        (np.zeros((5, 2, 1)), ValueError, r"`y` must have shape \(5,\) .*; got \(5, 2, 1\)"),
        (
            np.eye(2, dtype=int)[y],
            TypeError,
            r"`y` must have a real floating dtype for class probabilities; got int64; "
            r"`y.argmax\(axis=1\)` makes labels of one-hot rows$",
        ),
        (
            np.eye(2, dtype=bool)[y],
            TypeError,
            r"`y` must have a real .*; got bool; `y.argmax\(axis=1\)` makes labels of one-hot rows$",
        ),
        (
            y[:, None],
            TypeError,
            r"`y` must have a real floating dtype .*; got int64; `y.ravel\(\)` takes the column$",
        ),
        (
            y[:, None].astype("f4"),
            ValueError,
            r"`y` must have shape \(5, 2\) .*; got \(5, 1\); `y.ravel\(\)` takes the column$",
        ),
        (np.eye(3)[y], ValueError, r"`y` must have shape \(5, 2\) for class probabilities; got \(5, 3\)"),
        (np.eye(2)[y][:4], ValueError, r"`y` must have shape \(5, 2\) for class probabilities; got \(4, 2\)"),
        (np.eye(2)[y] * 2 - 0.5, ValueError, "`y` must hold class probabilities of at least 0; got -0.5"),
        (np.full((5, 2), np.nan), ValueError, "`y` must hold class probabilities of at least 0; got nan"),
        (
            np.full((5, 2), 0.6),
            ValueError,
            "`y` must hold class probabilities that sum to 1 .*; got a sum that is off by 0.2",
        ),
        (
            np.full((5, 2), np.inf),
            ValueError,
            "`y` must hold class probabilities that sum to 1 .*; got a sum that is off by inf",
        ),
    ],
)
def test_targets_that_do_not_fit(net, targets, error, message):
    for use in (net.loss, net.loss_and_gradients, net.accuracy):
        with pytest.raises(error, match=message):
            use(X, targets)


@pytest.mark.only_on("numpy", "torch", "jax", "cupy")  # those of the methods of arrays that all of them have
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=6), one_hot=st.booleans())
def test_the_hints_for_columns_and_one_hot_integers_lead_to_the_labels(backend, labels, one_hot):
    from twolayer._namespace import to_host

    net = TwoLayerNet.initialize(3, 4, 4, rng=0, xp=backend.xp, device=backend.device)
    samples = backend.array(np.ones((len(labels), 3)), "float32")
    host = np.asarray(labels)
    given_y = backend.array(np.eye(4, dtype=int)[host] if one_hot else host[:, None])
    for call, name in (
        (lambda y: net.loss(samples, y), "y"),
        (lambda y: train(net, samples, y, epochs=1), "y"),
        (lambda y: train(net, samples, backend.array(host), validation=(samples, y)), "validation y"),
        (
            lambda y: sweep(
                samples, y, n_classes=4, validation=(samples, y), grid={"learning_rate": [0.1]}, epochs=1
            ),
            "y",
        ),
    ):
        with pytest.raises(TypeError, match=f"^`{name}` must have a real floating dtype") as raised:
            call(given_y)
    cure = re.search(r"`(y\.[^`]*)`", str(raised.value))
    assert cure is not None
    found = eval(cure[1], {"y": given_y})  # what a user would do
    assert to_host(found).tolist() == labels


@given(label=st.integers(-(2**31), 2**31 - 1), place=st.integers(0, 4))
def test_a_label_out_of_range_is_found_wherever_it_is(label, place):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0)
    labels = y.copy()
    labels[place] = label
    if 0 <= label < 2:
        assert math.isfinite(net.loss(X, labels))
    else:
        with pytest.raises(
            ValueError, match=rf"`y` must hold class labels in \[0, 2\); got a label of {label}$"
        ):
            net.loss(X, labels)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_dtype_are_taken(dtype):
    # 200 classes are more than an int8 label can name
    net = TwoLayerNet.initialize(3, 4, 200, rng=0)
    assert net.loss(X, y.astype(dtype)) == net.loss(X, y)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_probabilities_that_were_rounded_are_taken(net, dtype):
    targets = np.array([[1 / 3, 2 / 3]] * 5).astype(dtype)
    assert net.loss(X, targets) == pytest.approx(float(net.loss(X, np.array([[1 / 3, 2 / 3]] * 5))), rel=1e-3)


# --------------------------------------------------------------------------------- weights and numbers


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        ([1.0] * 5, TypeError, "`sample_weight` must be an array of an array-API library .*; got list"),
        (np.ones(5, bool), TypeError, "`sample_weight` must have a real dtype; got bool"),
        (np.ones(4), ValueError, r"`sample_weight` must have shape \(5,\); got \(4,\)"),
        (np.ones((5, 1)), ValueError, r"`sample_weight` must have shape \(5,\); got \(5, 1\)"),
        (-np.ones(5), ValueError, "`sample_weight` must be finite and at least 0; got a weight of -1"),
        (
            np.array([1, 1, np.nan, 1, 1]),
            ValueError,
            "`sample_weight` must be finite .*; got a weight of nan",
        ),
        (
            np.array([1, 1, np.inf, 1, 1]),
            ValueError,
            "`sample_weight` must be finite .*; got a weight of inf",
        ),
        (np.zeros(5), ValueError, "`sample_weight` must hold a weight above 0; got 0 for every sample"),
    ],
)
def test_sample_weights_that_do_not_fit(net, weight, error, message):
    for use in (net.loss, net.loss_and_gradients):
        with pytest.raises(error, match=message):
            use(X, y, sample_weight=weight)


def test_integer_weights_are_taken(net):
    weight = np.array([1, 2, 0, 1, 1])
    assert net.loss(X, y, sample_weight=weight) == net.loss(X, y, sample_weight=weight.astype(np.float32))


@pytest.mark.parametrize(
    ("reg", "error", "message"),
    [
        (-0.1, ValueError, "`reg` must be finite and at least 0; got -0.1"),
        (math.nan, ValueError, "`reg` must be finite and at least 0; got nan"),
        (math.inf, ValueError, "`reg` must be finite and at least 0; got inf"),
        ("0.1", TypeError, "`reg` must be a number, or one for each network; got str"),
        (None, TypeError, "`reg` must be a number, or one for each network; got NoneType"),
        (True, TypeError, "`reg` must be a number, or one for each network; got bool"),
        (["a", "b"], TypeError, "`reg` must be a number, or one for each network; got <U1"),
        ([0.1], ValueError, r"`reg` must be a number; got shape \(1,\)"),
        ([0.1, 0.2], ValueError, r"`reg` must be a number; got shape \(2,\)"),
    ],
)
def test_a_reg_that_does_not_fit_one_network(net, reg, error, message):
    with pytest.raises(error, match=message):
        net.loss(X, y, reg=reg)


@pytest.mark.parametrize("name", ["reg", "learning_rate"])
@pytest.mark.parametrize("n_networks", [None, 2])
def test_a_number_that_the_networks_dtype_does_not_have(net, name, n_networks):
    value: object = 1e39
    if n_networks:
        net, value = stack([net] * n_networks), [0.0, 1e39]
    wide = net.astype("float64")
    message = rf"`{name}` must be within the range of float32, the network's dtype; got 1e\+39$"
    with pytest.raises(ValueError, match=message):
        train(net, X, y, epochs=1, **{name: value})
    with np.errstate(all="ignore"):
        train(wide, X, y, epochs=1, **{name: value})
    if name == "reg":
        with pytest.raises(ValueError, match=message):
            net.loss(X, y, reg=value)
        assert np.isfinite(wide.loss(X, y, reg=value)).all()


def test_initial_weights_that_the_dtype_does_not_have():
    message = r"`W1` must hold values within .* of float32, .*, first in row \d, column \d "
    with pytest.raises(ValueError, match=message):
        TwoLayerNet.initialize(3, 4, 2, rng=0, weight_scale=1e39)
    assert np.isfinite(TwoLayerNet.initialize(3, 4, 2, rng=0, weight_scale=1e39, dtype="float64").W1).all()


def test_a_reg_that_does_not_fit_a_stack(net):
    stacked = stack([net] * 3)
    for reg in ([0.1, 0.2], np.zeros((3, 1)), np.zeros(0)):
        with pytest.raises(ValueError, match=r"`reg` must be a number or of shape \(3,\); got shape"):
            stacked.loss(X, y, reg=reg)
    with pytest.raises(ValueError, match="`reg` must be finite and at least 0; got -2"):
        stacked.loss(X, y, reg=[0.0, -2.0, 0.0])


def test_one_number_or_one_for_each_network_in_any_form(backend: Backend):
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


# ------------------------------------------------------------------------------------------- by themselves


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
        with pytest.raises(
            ValueError, match=rf"`X` must be finite; got {shown}, first in row 5, at \(1, 0\) "
        ):
            _validation.check_finite(backend.array(bad))
        bad = bad.reshape(10, 4)
        bad[7, 0] = np.nan
        with pytest.raises(ValueError, match=rf"got {shown}, first in row 5, column 2 \(counted from 0\)$"):
            _validation.check_finite(backend.array(bad))
        with pytest.raises(ValueError, match=rf"`b` must be .* {shown}, first in row 5 \(counted from 0\)$"):
            _validation.check_finite(backend.array(bad[:, 2]), name="b")
    _validation.check_finite(backend.array(np.ones((3, 2), np.uint8)))


def test_numbers_and_choices():
    assert _validation.check_number("a", 2, least=0.0) == 2.0
    assert isinstance(_validation.check_number("a", np.float32(2), above=0.0), float)
    assert _validation.check_number("a", 0, least=0.0) == 0.0
    for value, bounds, message in (
        (0, dict(above=0.0), "`a` must be finite and above 0; got 0"),
        (-1.5, dict(least=0.0), "`a` must be finite and at least 0; got -1.5"),
        (math.inf, dict(least=0.0), "`a` must be finite and at least 0; got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            _validation.check_number("a", value, **bounds)
    for value in ("1", None, True, 1j):
        with pytest.raises(TypeError, match=f"`a` must be a number; got {type(value).__name__}"):
            _validation.check_number("a", value, above=0.0)
    assert _validation.check_integer("n", np.int32(3), least=3) == 3
    assert type(_validation.check_integer("n", np.int32(3), least=3)) is int
    _validation.check_choice("judge", "best", ("best", "last"))
    with pytest.raises(ValueError, match="`judge` must be one of 'best', 'last'; got 'first'"):
        _validation.check_choice("judge", "first", ("best", "last"))


@pytest.mark.only_on("torch")
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_dtypes_that_pytorch_stores_but_does_not_compute_with(backend: Backend, dtype):
    net = TwoLayerNet.initialize(3, 4, 2, rng=0, xp=backend.xp)
    samples, labels = backend.array(X, "float32"), backend.array(y, dtype)
    with pytest.raises(TypeError, match=f"`y` must have a dtype that PyTorch computes.*; got {dtype}$"):
        net.loss(samples, labels)
    with pytest.raises(TypeError, match=f"`X` must have a dtype that PyTorch computes.*; got {dtype}$"):
        net.logits(backend.array(X, dtype))


def test_a_network_beside_the_current_device_is_refused(net, monkeypatch):
    """CuPy creates every result on its current device, wherever the arrays are."""
    monkeypatch.setattr(_validation, "current_device", lambda xp: "GPU 0")
    with pytest.raises(ValueError, match=r"`W1` must be on numpy's current device, GPU 0, .*; got cpu$"):
        net.logits(X)


class Frame:
    """What pandas and polars have in common."""

    def to_numpy(self) -> np.ndarray:
        return np.ones((4, 3))


@pytest.mark.parametrize("name", ["X", "y"])
def test_a_table_is_told_how_to_become_an_array(net: TwoLayerNet, name: str) -> None:
    given = {"X": np.ones((4, 3)), "y": np.zeros(4, int)} | {name: Frame()}
    message = rf"{name}` must be an array of .*; got Frame; `{name}\.to_numpy\(\)` is one$"
    for call in (
        lambda: net.loss(**given),
        lambda: train(net, **given, epochs=1),
        lambda: train(net, np.ones((4, 3)), np.zeros(4, int), validation=tuple(given.values()), epochs=1),
    ):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize("dtype", [object, str, "S1"])
def test_labels_that_are_names_are_told_how_to_become_integers(net: TwoLayerNet, dtype: type) -> None:
    X, y = np.ones((4, 3), "float32"), np.array(["b", "a", "b", "a"]).astype(dtype)
    message = (
        "`y` must have an integer dtype for class labels; got .*; `classes, y = numpy.unique(y, "
        "return_inverse=True)` makes integers of them, and twolayer.sklearn.TwoLayerClassifier takes them as"
    )
    message = re.escape(message).replace(re.escape(".*"), ".*")
    for call in (
        lambda: net.loss(X, y),
        lambda: train(net, X, y, epochs=1),
        lambda: sweep(X, y, validation=(X, y), grid={"learning_rate": [0.1]}, epochs=1),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_objects_are_told_how_to_become_numbers(net: TwoLayerNet) -> None:
    for dtype in (object, str):
        with pytest.raises(
            TypeError, match=r"`X` must have a real dtype; got .*; `X\.astype\('float32'\)` m"
        ):
            net.logits(np.ones((4, 3)).astype(dtype))


@given(
    n_rows=st.integers(1, 12),
    row=st.integers(0, 11),
    column=st.integers(0, 2),
    value=st.one_of(
        st.floats(3.4028236e38, 1.7e308).map(float),
        st.floats(3.4028236e38, 1.7e308).map(lambda value: -value),
        st.sampled_from([np.nan, np.inf, -np.inf]),
    ),
    block=st.integers(1, 40),
)
def test_a_value_that_a_dtype_does_not_have_is_found_in_its_block(n_rows, row, column, value, block):
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
            (None, f"first in row {row}, column {column} "),
            (rows_in_file, f", in row {5 + 2 * row}, column {column} "),
        ):
            with pytest.raises(ValueError, match=f"`X` must (hold|be) .*{where}") as caught:
                _validation.check_finite(X, dtype="float32", rows_in_file=rows)
            if math.isfinite(value):
                assert "within ±3.4028235e+38, the range of float32" in str(caught.value)
                assert f"got {value:.8g}," in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8"])
def test_what_fits_any_dtype_is_finite_in_each(dtype):
    X = np.ones((4, 2), dtype)
    _validation.check_finite(X, dtype="float32")
    _validation.check_finite(X, dtype="float64")
    if dtype.startswith("float"):
        X[2, 1] = np.inf
        with pytest.raises(ValueError, match="got an infinite value, first in row 2, column 1 "):
            _validation.check_finite(X, dtype="float32")


def test_the_sample_of_predictions_that_are_nan_is_named(backend: Backend):
    host = np.zeros((2, 5, 3))
    for shape in ((5, 3), (2, 5, 3)):
        _validation.check_predictions(backend.array(host.reshape(-1)[: math.prod(shape)].reshape(shape)))
    _validation.check_predictions(backend.array(np.full((5, 3), np.inf)))
    host[1, 3, 0] = np.nan
    with pytest.raises(ValueError, match=r"are finite; got nan, first for row 3 \(counted from 0\)$"):
        _validation.check_predictions(backend.array(host[1, ...]))
    with pytest.raises(ValueError, match=r"got nan of network 1, first for row 3 \(counted from 0\)$"):
        _validation.check_predictions(backend.array(host))
    with pytest.raises(ValueError, match=r"got nan, first for sample d\.png$"):
        _validation.check_predictions(backend.array(host[1, ...]), samples=["a", "b", "c", "d.png", "e"])
