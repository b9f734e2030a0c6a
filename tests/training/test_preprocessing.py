# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import tracemalloc
import warnings
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import make_task, tries
from support.strategies import floats, sizes

from twolayer import TwoLayerNet, _validation, preprocessing
from twolayer.preprocessing import Preprocessing, Standardizer, Whitener

pytestmark = pytest.mark.once_on_jax

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 2), dtype=np.uint8)
PICTURES = np.random.default_rng(1).integers([0, 50, 100], [50, 200, 110], (30, 2, 4, 3), dtype=np.uint8)
CORRELATED = np.random.default_rng(2).normal(3.0, 2.0, (60, 5)) @ np.triu(np.ones((5, 5)))


def reference(X: np.ndarray, scale: str | float, *, center: bool = True) -> Standardizer:
    """The same by NumPy's mean and standard deviation in float64."""
    rows = X.reshape(len(X), -1).astype(np.float64)
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    if scale == "global":
        std = np.full_like(std, np.sqrt(np.mean((rows - mean) ** 2)))
    scales = 1 / np.where(std > 0, std, 1.0) if isinstance(scale, str) else np.full(mean.shape, float(scale))
    return Standardizer(mean if center else np.zeros_like(mean), scales)


SCALES = pytest.mark.parametrize("scale", ["global", "feature", 0.25, 2, np.float32(0.5)])


@SCALES
@pytest.mark.parametrize("center", [True, False])
def test_fit_gives_the_mean_and_the_standard_deviation(backend: Backend, scale, center):
    normal = np.random.default_rng(1).normal(3.0, 2.0, (50, 4))
    one_constant = np.concatenate([normal, np.full((50, 1), 5.0)], axis=1)
    for host in (IMAGES, IMAGES.astype(np.int32), normal, one_constant):
        X = backend.array(host)
        before = to_host(X)
        fitted = Standardizer.fit(X, center=center, scale=scale)
        np.testing.assert_array_equal(to_host(X), before)
        exact = backend.dtype == "float64" and host.dtype == np.float64
        for found, expected in zip(fitted, reference(before, scale, center=center), strict=True):
            assert type(found) is np.ndarray
            assert found.dtype == np.float64
            assert found.shape == (before[0].size,)
            np.testing.assert_allclose(found, expected, rtol=1e-12 if exact else 1e-6)


def test_by_default_it_centres_and_scales_by_one_number():
    X = np.random.default_rng(1).normal(3.0, [0.5, 2.0, 4.0], (50, 3))
    fitted = Standardizer.fit(X)
    assert np.unique(fitted.scale).size == 1
    applied = fitted.apply(X, dtype="float64")
    np.testing.assert_allclose(applied.mean(axis=0), 0, atol=1e-14)
    assert applied.std() == pytest.approx(1.0, rel=1e-12)
    assert applied.std(axis=0)[0] < 0.5


def test_features_of_their_own_scale():
    X = np.random.default_rng(1).normal(3.0, [0.5, 2.0, 4.0], (50, 3))
    applied = Standardizer.fit(X, scale="feature").apply(X, dtype="float64")
    np.testing.assert_allclose(applied.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(applied.std(axis=0), 1, rtol=1e-12)


def channel_reference(X: np.ndarray, center: bool | str, scale: str | float) -> Standardizer:
    """The same for images (N, height, width, channels), by NumPy over their axes."""
    X = X.astype(np.float64)
    channel_mean = np.broadcast_to(X.mean(axis=(0, 1, 2)), X.shape[1:])
    mean = channel_mean if center == "channel" else X.mean(axis=0)
    axes = {"global": (0, 1, 2, 3), "channel": (0, 1, 2), "feature": 0}
    if isinstance(scale, str):
        scales = 1 / np.sqrt(((X - mean) ** 2).mean(axis=axes[scale]))
    else:
        scales = np.asarray(scale)
    if not center:
        mean = np.zeros_like(mean)
    return Standardizer(mean.reshape(-1), np.broadcast_to(scales, X.shape[1:]).reshape(-1))


@pytest.mark.parametrize("scale", ["global", "channel", "feature", 0.25])
@pytest.mark.parametrize("center", [True, False, "channel"])
def test_channels_of_images(backend: Backend, center, scale):
    expected = channel_reference(PICTURES, center, scale)
    for X, n_channels in ((PICTURES, None), (PICTURES.reshape(30, 24), 3), (PICTURES.reshape(30, 8, 3), 3)):
        fitted = Standardizer.fit(backend.array(X), center=center, scale=scale, n_channels=n_channels)
        for found, wanted in zip(fitted, expected, strict=True):
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_truth_value_of_numpy_is_one():
    for center in (True, False):
        for found, expected in zip(
            *(Standardizer.fit(IMAGES, center=c) for c in (np.bool_(center), center)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_a_number_of_channels_goes_before_the_shape():
    fitted = Standardizer.fit(PICTURES, center="channel", scale=1, n_channels=6)
    assert np.unique(fitted.mean).size == 6
    np.testing.assert_array_equal(fitted.mean[:6], fitted.mean[6:12])


def test_channels_come_out_with_mean_0_and_standard_deviation_1():
    fitted = Standardizer.fit(PICTURES, center="channel", scale="channel")
    applied = fitted.apply(PICTURES, dtype="float64").reshape(PICTURES.shape)
    np.testing.assert_allclose(applied.mean(axis=(0, 1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(applied.std(axis=(0, 1, 2)), 1, rtol=1e-12)
    assert np.abs(applied.mean(axis=0)).max() > 0.1


def test_images_without_an_axis_of_channels_have_one():
    for center, like in ((True, True), (False, False), ("channel", True)):
        fitted = Standardizer.fit(IMAGES, center=center, scale="channel")
        other = Standardizer.fit(IMAGES, center=like, scale="global")
        if center != "channel":
            np.testing.assert_array_equal(fitted.mean, other.mean)
            np.testing.assert_allclose(fitted.scale, other.scale, rtol=1e-15)
        else:
            np.testing.assert_allclose(fitted.mean, IMAGES.mean(), rtol=1e-15)
            np.testing.assert_allclose(fitted.scale, 1 / IMAGES.std(), rtol=1e-15)


def test_without_channels_their_number_is_not_asked_for():
    X = np.random.default_rng(0).normal(size=(5, 4))
    for found, expected in zip(Standardizer.fit(X, n_channels=3), Standardizer.fit(X), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_samples", [1, 2, 100])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4 / 3])
def test_a_constant_channel_is_left_at_its_scale(value, n_samples):
    X = np.random.default_rng(0).normal(0.0, 2.0, (n_samples, 50, 50, 3))
    X[..., 1] = value
    fitted = Standardizer.fit(X, center="channel", scale="channel")
    scale = fitted.scale.reshape(50, 50, 3)
    np.testing.assert_array_equal(scale[..., 1], 1.0)
    np.testing.assert_allclose(scale[..., [0, 2]], 0.5, rtol=0.1)
    np.testing.assert_allclose(fitted.mean.reshape(50, 50, 3)[..., 1], value, rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3])
def test_the_mean_of_many_bytes_is_exact(backend: Backend, n_features):
    """Their sum is beyond the integers that float32 holds."""
    X = np.random.default_rng(0).integers(100, 256, (200_000, n_features), dtype=np.uint8)
    fitted = Standardizer.fit(backend.array(X), scale="feature")
    np.testing.assert_array_equal(fitted.mean, X.astype(np.int64).sum(axis=0) / len(X))
    np.testing.assert_allclose(fitted.scale, 1 / X.astype(np.float64).std(axis=0), rtol=1e-6)


def test_float32_samples_are_summed_without_losing_their_digits():
    X = np.random.default_rng(0).normal(1000.0, 1.0, (200_000, 2)).astype(np.float32)
    fitted, expected = Standardizer.fit(X, scale="feature"), reference(X, "feature")
    np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(fitted.scale, expected.scale, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, -1e4 / 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_feature_is_left_at_its_scale(backend: Backend, value, dtype):
    """Though a sum of equal numbers, divided by their count, may not be the number."""
    if dtype not in backend.dtypes:
        assert dtype == "float64"
        return
    X = np.random.default_rng(0).normal(0.0, 2.0, (1000, 3))
    X[:, 1] = value
    X = backend.array(X, dtype)
    fitted = Standardizer.fit(X, scale="feature")
    assert fitted.scale[1] == 1.0
    np.testing.assert_allclose(fitted.scale[[0, 2]], 0.5, rtol=0.1)
    assert fitted.mean[1] == pytest.approx(value, rel=1e-6)
    assert np.abs(to_host(fitted.apply(X, dtype=dtype))[:, 1]).max() <= 1e-6 * abs(value)


@pytest.mark.parametrize("scale", ["global", "feature"])
def test_samples_that_are_all_alike_are_left_at_their_scale(backend: Backend, scale):
    fitted = Standardizer.fit(backend.array(np.full((3, 2), 7.0)), scale=scale)
    assert fitted.mean.tolist() == [7.0, 7.0]
    assert fitted.scale.tolist() == [1.0, 1.0]
    one = Standardizer.fit(backend.array(np.array([[1.0, 2.0]])), scale=scale)
    assert one.mean.tolist() == [1.0, 2.0]
    assert one.scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("scale", ["global", "feature"])
def test_blocks_change_nothing(backend: Backend, monkeypatch, scale):
    X = backend.array(IMAGES)
    whole = Standardizer.fit(X, scale=scale)
    sizes = []
    row_blocks = _validation.row_blocks

    def counted(n_rows: int, row_elements: int):
        blocks = list(row_blocks(n_rows, row_elements))
        sizes.append(len(blocks))
        return blocks

    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 80)
    monkeypatch.setattr("twolayer.preprocessing.row_blocks", counted)
    in_blocks = Standardizer.fit(X, scale=scale)
    assert set(sizes) == {14}  # 40 rows, 3 at a time
    np.testing.assert_array_equal(in_blocks.mean, whole.mean)
    np.testing.assert_allclose(in_blocks.scale, whole.scale, rtol=1e-6)


def test_fitting_needs_little_memory(monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**14)
    X = np.random.default_rng(0).integers(0, 256, (3000, 16, 16), dtype=np.uint8)
    Standardizer.fit(X[:9])  # what is imported or kept once
    tracemalloc.start()
    try:
        Standardizer.fit(X, scale="feature")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 2  # as float32 they would take four times X.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_apply_is_the_affine_map_as_a_new_array(backend: Backend, dtype):
    if dtype not in backend.dtypes:
        assert dtype == "float64"
        return
    fitted = Standardizer(np.arange(6.0), np.linspace(0.5, 2.0, 6))
    for host in (IMAGES, IMAGES.astype(np.float32) / 7, IMAGES > 100):
        X = backend.array(host, "float32" if host.dtype.kind == "f" else None)
        applied = fitted.apply(X, dtype=dtype)
        assert backend.owns(applied)
        assert applied.dtype == getattr(backend.xp, dtype)
        assert applied.shape == (40, 6)
        np.testing.assert_array_equal(to_host(X), host)
        expected = (host.reshape(40, 6) - fitted.mean) * fitted.scale
        np.testing.assert_allclose(
            to_host(applied), expected, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-5
        )


def test_apply_gives_float32_where_nothing_is_said(backend: Backend):
    assert Standardizer.fit(backend.array(IMAGES)).apply(backend.array(IMAGES)).dtype == backend.xp.float32


def test_apply_does_not_work_in_the_array_that_it_was_given(backend: Backend):
    X = backend.array(np.arange(6.0).reshape(3, 2), "float32")
    applied = Standardizer(np.ones(2), np.ones(2)).apply(X)
    np.testing.assert_array_equal(to_host(applied), to_host(X) - 1)


def test_read_only_and_non_contiguous_samples():
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(20, 8)))[::-2, ::2]
    X.flags.writeable = False
    fitted = Standardizer.fit(X, scale="feature")
    for found, expected in zip(fitted, reference(X, "feature"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    applied = fitted.apply(X, dtype="float64")
    np.testing.assert_allclose(applied, (X - fitted.mean) * fitted.scale, rtol=1e-12)


@st.composite
def folding_cases(draw: st.DrawFn) -> tuple[Standardizer, np.ndarray, TwoLayerNet]:
    task = make_task(
        draw(st.sampled_from([None, 1, 3])),
        n_samples=draw(st.integers(1, 6)),
        n_features=draw(st.integers(1, 6)),
        n_hidden=draw(st.integers(1, 5)),
        n_classes=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 1000)),
    )
    n_features = task.X.shape[1]
    mean = draw(hnp.arrays(np.float64, n_features, elements=st.floats(-100, 100, width=32)))
    scale = draw(hnp.arrays(np.float64, n_features, elements=st.floats(0.0625, 16, width=32)))
    return Standardizer(mean, scale), mean + task.X / scale, task.net


def test_the_folded_network_does_the_same_on_raw_samples(backend: Backend):
    @tries(backend)
    @given(case=folding_cases())
    def check(case: tuple[Standardizer, np.ndarray, TwoLayerNet]) -> None:
        fitted, X, net = case
        for dtype in backend.dtypes:
            there = TwoLayerNet(*(backend.array(array, dtype) for array in net))
            raw = backend.array(X, dtype)
            before = [to_host(array) for array in there]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of maps with a large gain
                folded = fitted.fold(there)
            for array, given_array, copy in zip(folded, there, before, strict=True):
                assert backend.owns(array)
                assert array.dtype == getattr(backend.xp, dtype)
                assert array.shape == given_array.shape
                np.testing.assert_array_equal(to_host(given_array), copy)
            found = to_host(folded.logits(raw))
            expected = to_host(there.logits(fitted.apply(raw, dtype=dtype)))
            # Pixels times weights are rounded before the mean is taken off: 100 · 16 against some 1.
            tolerance = 1e-10 if dtype == "float64" else 2e-2
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)

    check()


@pytest.mark.parametrize("n_networks", [None, 2])
def test_folding_is_exact_in_float64(backend: Backend, n_networks):
    task = make_task(n_networks, n_features=6)
    fitted = Standardizer.fit(IMAGES, scale="feature")
    folded = fitted.fold(TwoLayerNet(*(backend.array(a) for a in task.net)))
    net = TwoLayerNet(*(to_host(backend.array(a)).astype(np.float64) for a in task.net))
    W1 = fitted.scale[:, None] * net.W1
    for found, expected in zip(folded, (W1, net.b1 - fitted.mean @ W1, net.W2, net.b2), strict=True):
        eps = float(np.finfo(backend.dtype).eps)
        np.testing.assert_allclose(to_host(found), expected, rtol=2 * eps, atol=8 * eps)


def test_the_folded_network_is_a_copy():
    net = make_task().net
    folded = Standardizer(np.zeros(4), np.ones(4)).fold(net)
    for found, given_array in zip(folded, net, strict=True):
        np.testing.assert_array_equal(found, given_array)
        assert not np.shares_memory(found, given_array)


NO_CHANNELS = (
    "`n_channels` must be given where `center` or `scale` is 'channel' and the samples are not images "
    "of 2 or 3 axes; got None with `X` of shape "
)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": [[1.0, 2.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
        ({"X": np.ones(3)}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (3,)"),
        ({"X": np.ones((0, 3))}, ValueError, "`X` must hold at least one sample; got shape (0, 3)"),
        ({"X": np.ones((3, 0))}, ValueError, "`X` must hold at least one sample; got shape (3, 0)"),
        ({"X": np.ones((3, 2), complex)}, TypeError, "`X` must have a real dtype; got complex128"),
        ({"X": np.array([[1.0, np.nan]])}, ValueError, "`X` must be finite; got nan, first in row 0, column 1 (counted from 0)"),
        ({"X": np.array([[1.0], [np.inf]])}, ValueError, "`X` must be finite; got an infinite value, first in row 1, column 0 (counted from 0)"),
        ({"scale": "std"}, ValueError, "`scale` must be 'global', 'channel', 'feature' or a number above 0; got 'std'"),
        ({"scale": 0.0}, ValueError, "`scale` must be finite and above 0; got 0"),
        ({"scale": -1}, ValueError, "`scale` must be finite and above 0; got -1"),
        ({"scale": np.nan}, ValueError, "`scale` must be finite and above 0; got nan"),
        ({"scale": None}, TypeError, "`scale` must be a number; got NoneType"),
        ({"scale": True}, TypeError, "`scale` must be a number; got bool"),
        ({"center": "feature"}, ValueError, "`center` must be True, False or 'channel'; got 'feature'"),
        ({"center": None}, TypeError, "`center` must be True, False or 'channel'; got NoneType"),
        ({"center": 1}, TypeError, "`center` must be True, False or 'channel'; got int"),
        ({"scale": "channel"}, ValueError, f"{NO_CHANNELS}(4, 2)"),
        ({"center": "channel", "scale": 1}, ValueError, f"{NO_CHANNELS}(4, 2)"),
        ({"X": np.ones((2, 1, 1, 2, 3)), "scale": "channel"}, ValueError, f"{NO_CHANNELS}(2, 1, 1, 2, 3)"),
        ({"scale": "channel", "n_channels": 3}, ValueError, "`n_channels` must divide the number of features, 2; got 3"),
        ({"scale": "channel", "n_channels": 0}, ValueError, "`n_channels` must be at least 1; got 0"),
        ({"scale": "channel", "n_channels": 1.0}, TypeError, "`n_channels` must be an integer; got float"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(arguments, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        Standardizer.fit(**{"X": np.ones((4, 2)), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": [[1.0, 2.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
        ({"X": np.ones((3, 4))}, ValueError, "`X` must have 6 features a sample, as were fitted; got shape (3, 4)"),
        ({"X": np.ones(6)}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (6,)"),
        ({"X": np.ones((3, 6), complex)}, TypeError, "`X` must have a real dtype; got complex128"),
        ({"dtype": "float16"}, TypeError, "`dtype` must be float32 or float64; got float16"),
        ({"dtype": np.int64}, TypeError, "`dtype` must be float32 or float64; got int64"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied_is_refused(arguments, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        Standardizer.fit(IMAGES).apply(**{"X": IMAGES, **arguments})


def test_float64_is_refused_where_there_is_none(backend: Backend):
    X = backend.array(IMAGES)
    if "float64" in backend.dtypes:
        assert Standardizer.fit(X).apply(X, dtype="float64").dtype == backend.xp.float64
        return
    with pytest.raises(TypeError, match=r"`dtype` must be one that .* has.*; got float64$"):
        Standardizer.fit(X).apply(X, dtype="float64")


def test_networks_that_do_not_fit_are_not_folded(backend: Backend):
    fitted, net = Standardizer.fit(IMAGES), make_task().on(backend).net
    with pytest.raises(ValueError, match=r"^`net` must have 6 features, as were fitted; got 4$"):
        fitted.fold(net)
    with pytest.raises(ValueError, match=r"^`b2` must have shape"):
        fitted.fold(net._replace(b2=net.b1))
    other = next(
        b for b in BACKENDS if b.name == ("strict-2024.12" if backend.library == "numpy" else "numpy")
    )
    with pytest.raises(TypeError, match=r"^`b2` must be an array of the library of `W1`"):
        fitted.fold(net._replace(b2=other.array(np.zeros(3), "float32")))


# ---------------------------------------------------------------------------------------------------------
# Whitening


def decomposed(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, eigenvalues and eigenvectors of the covariance, by a singular value decomposition of X."""
    rows = X.reshape(len(X), -1).astype(np.float64)
    _, singular, Vt = np.linalg.svd(rows - rows.mean(axis=0))
    variances = np.zeros(rows.shape[1])
    variances[: len(singular)] = singular**2 / len(rows)
    return rows.mean(axis=0), variances, Vt.T


def white_reference(X: np.ndarray, epsilon: float, kind: str, n_components: int | None = None) -> Whitener:
    """The same by a singular value decomposition; a column of "pca" may have the other sign."""
    mean, variances, U = decomposed(X)
    m = n_components or len(mean)
    g = 1 / np.sqrt(variances[:m] / variances.mean() + epsilon)
    matrix = U[:, :m] @ np.diag(g)
    if kind == "zca":
        matrix = matrix @ U[:, :m].T
    outputs = (X.reshape(len(X), -1) - mean) @ matrix
    return Whitener(mean, matrix / np.sqrt(np.mean(outputs**2)))


KINDS = pytest.mark.parametrize("kind", ["zca", "pca"])
FEW_SAMPLES = np.random.default_rng(3).normal(size=(4, 9)) @ np.diag(np.arange(1.0, 10))


@KINDS
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 2])
@pytest.mark.parametrize("n_components", [None, 1, 3])
def test_whitening_is_what_its_formula_says(backend: Backend, kind, epsilon, n_components):
    for host in (IMAGES, IMAGES.astype(np.int32), CORRELATED, FEW_SAMPLES):
        X = backend.array(host)
        before = to_host(X)
        fitted = Whitener.fit(X, epsilon=epsilon, kind=kind, n_components=n_components)
        np.testing.assert_array_equal(to_host(X), before)
        expected = white_reference(before, epsilon, kind, n_components)
        D = before[0].size
        assert type(fitted.mean) is type(fitted.matrix) is np.ndarray
        assert fitted.mean.dtype == fitted.matrix.dtype == np.float64
        assert (fitted.n_inputs, fitted.n_outputs) == (D, (n_components or D) if kind == "pca" else D)
        np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-12)
        matrix = expected.matrix
        if kind == "pca":
            assert matrix.shape == fitted.matrix.shape
            # Where there is no variance, any directions that are orthogonal will do.
            n = min(matrix.shape[1], len(host) - 1)
            fitted, matrix = fitted._replace(matrix=fitted.matrix[:, :n]), matrix[:, :n]
            matrix = matrix * np.sign(np.sum(matrix * fitted.matrix, axis=0))
        np.testing.assert_allclose(fitted.matrix, matrix, rtol=1e-9, atol=1e-9 * np.abs(matrix).max())


@KINDS
@pytest.mark.parametrize("n_components", [None, 2])
def test_the_covariance_of_what_was_whitened(kind, n_components):
    """λ / (λ / mean(λ) + epsilon) along each eigenvector that is kept, but for one number."""
    epsilon, m = 0.3, n_components or 5
    _, variances, U = decomposed(CORRELATED)
    fitted = Whitener.fit(CORRELATED, epsilon=epsilon, kind=kind, n_components=n_components)
    white = fitted.apply(CORRELATED, dtype="float64")
    found = np.cov(white.T, bias=True)
    along = variances[:m] / (variances[:m] / variances.mean() + epsilon)
    expected = np.diag(along) if kind == "pca" else U[:, :m] @ np.diag(along) @ U[:, :m].T
    np.testing.assert_allclose(found, expected * white.shape[1] / along.sum(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-12)
    assert np.mean(white**2) == pytest.approx(1.0, rel=1e-12)


@KINDS
def test_without_epsilon_the_features_become_uncorrelated(backend: Backend, kind):
    X = backend.array(CORRELATED)
    white = to_host(Whitener.fit(X, epsilon=0, kind=kind).apply(X, dtype=backend.dtype))
    tolerance = 1e-4 if backend.dtype == "float32" else 1e-11
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(5), atol=tolerance)


def test_by_default_it_is_zca_of_all_components_with_a_tenth_of_the_mean_variance():
    for found, expected in zip(
        Whitener.fit(CORRELATED), white_reference(CORRELATED, 0.1, "zca"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_zca_is_pca_turned_back():
    """So the samples have the same distances, and of all such maps it moves them the least."""
    zca, pca = (Whitener.fit(CORRELATED, kind=kind) for kind in ("zca", "pca"))
    _, _, U = decomposed(CORRELATED)
    np.testing.assert_allclose(np.abs(zca.matrix @ U), np.abs(pca.matrix), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(zca.matrix, zca.matrix.T)
    a, b = (fitted.apply(CORRELATED, dtype="float64") for fitted in (zca, pca))
    distances = (np.linalg.norm(white[:, None] - white, axis=-1) for white in (a, b))
    np.testing.assert_allclose(next(distances), next(distances), rtol=1e-10, atol=1e-10)


def test_components_come_by_their_variance_with_the_largest_entry_positive(backend: Backend):
    X = backend.array(CORRELATED)
    fitted = Whitener.fit(X, kind="pca")
    largest = np.argmax(np.abs(fitted.matrix), axis=0)
    assert (fitted.matrix[largest, np.arange(5)] > 0).all()
    variances = fitted.apply(CORRELATED, dtype="float64").var(axis=0)
    assert (np.diff(variances) < 0).all()
    few = Whitener.fit(X, kind="pca", n_components=2)
    np.testing.assert_allclose(few.matrix / few.matrix[0], (fitted.matrix / fitted.matrix[0])[:, :2])


@pytest.mark.parametrize("sign", [1, -1])
def test_of_entries_that_are_equal_but_for_rounding_the_first_is_positive(sign):
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(50, 2)) @ [[1.0, 0.3 * sign], [0.0, 1.0]]
        X = np.concatenate([x, x[:, ::-1]])  # both features vary alike
        assert (Whitener.fit(X, kind="pca").matrix[0] > 0).all()


@KINDS
def test_the_scale_of_the_pixels_does_not_matter(backend: Backend, kind):
    dtype = backend.dtype
    one, other = backend.array(CORRELATED), backend.array(CORRELATED * 7 + 3)
    white = [to_host(Whitener.fit(X, kind=kind).apply(X, dtype=dtype)) for X in (one, other)]
    tolerance = 1e-3 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(white[0], white[1], rtol=tolerance, atol=tolerance)


@KINDS
def test_directions_without_variance_are_left_out_where_epsilon_is_0(backend: Backend, kind):
    fitted = Whitener.fit(backend.array(FEW_SAMPLES, "float32"), epsilon=0, kind=kind)
    assert np.linalg.matrix_rank(fitted.matrix, tol=1e-6) == 3
    white = (FEW_SAMPLES.astype(np.float32) - fitted.mean) @ fitted.matrix
    values = np.linalg.eigvalsh(np.cov(white.T, bias=True))
    np.testing.assert_allclose(values[:6], 0, atol=1e-9)
    np.testing.assert_allclose(values[6:], 9 / 3, rtol=1e-6)  # 9 outputs of variance 1 on average
    if kind == "pca":
        np.testing.assert_array_equal(fitted.matrix[:, 3:], 0)


@KINDS
@pytest.mark.parametrize("epsilon", [0, 0.1])
def test_a_constant_feature_is_whitened_away(backend: Backend, kind, epsilon):
    X = np.random.default_rng(0).normal(0.0, 2.0, (1000, 3))
    for value in (0.0, 0.1, -1e4 / 3):
        X[:, 1] = value
        fitted = Whitener.fit(backend.array(X), kind=kind, epsilon=epsilon)
        assert np.isfinite(fitted.matrix).all()
        white = to_host(fitted.apply(backend.array(X), dtype=backend.dtype))
        variances = white.var(axis=0)
        order = variances if kind == "pca" else variances[[0, 2, 1]]
        np.testing.assert_allclose(order, [1.5, 1.5, 0.0], atol=0.02 if epsilon else 1e-5)
        without = Whitener.fit(backend.array(X[:, [0, 2]]), kind="zca", epsilon=0)
        if kind == "zca" and not epsilon:
            expected = np.sqrt(1.5) * without.matrix
            np.testing.assert_allclose(fitted.matrix[np.ix_([0, 2], [0, 2])], expected, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(fitted.matrix[1], 0, atol=1e-9)


def test_what_rounding_makes_of_a_large_constant_is_not_blown_up():
    X = np.random.default_rng(0).normal(0.0, 1e-7, (1000, 3))
    X[:, 1] = 1e9 / 7
    assert X.var(axis=0)[1] > 1e-2 * X.var(axis=0)[0]  # its mean is off
    fitted = Whitener.fit(X, epsilon=0)
    np.testing.assert_array_equal(fitted.matrix[1], 0)
    np.testing.assert_array_equal(fitted.matrix[:, 1], 0)


@pytest.mark.parametrize("epsilon", [0, 0.1])
def test_samples_that_are_all_alike_are_only_centred(backend: Backend, epsilon):
    for host in (np.full((3, 2), 7.0), np.array([[0.1, 0.3]]), np.full((1000, 2), 0.1), np.zeros((2, 2))):
        X = backend.array(host)
        for kind in ("zca", "pca"):
            fitted = Whitener.fit(X, kind=kind, epsilon=epsilon)
            np.testing.assert_allclose(fitted.matrix, np.eye(2), rtol=1e-12)
            np.testing.assert_allclose(fitted.mean, host[0], rtol=1e-6)
        few = Whitener.fit(X, kind="pca", epsilon=epsilon, n_components=1)
        np.testing.assert_allclose(few.matrix, [[1.0], [0.0]], rtol=1e-12)
        projected = Whitener.fit(X, epsilon=epsilon, n_components=1)
        np.testing.assert_allclose(projected.matrix, [[np.sqrt(2.0), 0.0], [0.0, 0.0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": [[1.0, 2.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
        ({"X": np.ones((0, 3))}, ValueError, "`X` must hold at least one sample; got shape (0, 3)"),
        ({"X": np.ones((3, 2), complex)}, TypeError, "`X` must have a real dtype; got complex128"),
        ({"X": np.array([[1.0, np.nan]])}, ValueError, "`X` must be finite; got nan, first in row 0, column 1 (counted from 0)"),
        ({"epsilon": -0.1}, ValueError, "`epsilon` must be finite and at least 0; got -0.1"),
        ({"epsilon": np.inf}, ValueError, "`epsilon` must be finite and at least 0; got inf"),
        ({"epsilon": "0.1"}, TypeError, "`epsilon` must be a number; got str"),
        ({"kind": "svd"}, ValueError, "`kind` must be one of 'zca', 'pca'; got 'svd'"),
        ({"n_components": 0}, ValueError, "`n_components` must be at least 1; got 0"),
        ({"n_components": 3}, ValueError, "`n_components` must be at most the number of features, 2; got 3"),
        ({"n_components": 0.99}, TypeError, "`n_components` must be an integer; got float"),
    ],
)  # fmt: skip
def test_what_cannot_be_whitened_is_refused(arguments, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        Whitener.fit(**{"X": np.ones((4, 2)), **arguments})


# ---------------------------------------------------------------------------------------------------------
# Whatever was fitted

MAPS = (
    Standardizer(np.arange(6.0), np.linspace(0.5, 2.0, 6)),
    Whitener(np.arange(6.0), np.random.default_rng(4).normal(size=(6, 6))),
    Whitener(np.arange(6.0), np.random.default_rng(5).normal(size=(6, 2))),
)
EACH_MAP = pytest.mark.parametrize("fitted", MAPS, ids=["standardizer", "zca", "pca"])


def linear_part(fitted: Standardizer | Whitener) -> np.ndarray:
    return np.diag(fitted.scale) if isinstance(fitted, Standardizer) else fitted.matrix


def arrays_of(fitted: Preprocessing, backend: Backend, dtype: str) -> tuple[Any, ...]:
    return tuple(backend.array(array, dtype) for array in fitted.host_arrays())


@EACH_MAP
def test_what_a_training_run_asks_of_it(backend: Backend, fitted: Preprocessing):
    part = linear_part(fitted)
    assert (fitted.n_inputs, fitted.n_outputs) == part.shape
    assert all(array.dtype == np.float64 for array in fitted.host_arrays())
    for dtype in backend.dtypes:
        arrays = arrays_of(fitted, backend, dtype)
        for host in (IMAGES.reshape(40, 6), IMAGES.reshape(40, 6) / 7, IMAGES.reshape(40, 6) > 100):
            X = backend.array(host, dtype if host.dtype.kind == "f" else None)
            before = [to_host(array) for array in (X, *arrays)]
            found = fitted.transform(X, arrays, xp=backend.xp)
            for array, copy in zip((X, *arrays), before, strict=True):
                np.testing.assert_array_equal(to_host(array), copy)
            assert backend.owns(found)
            assert found.dtype == getattr(backend.xp, dtype)
            expected = (before[0].astype(np.float64) - np.arange(6.0)) @ part
            tolerance = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(to_host(found), expected, rtol=tolerance, atol=tolerance * 300)
            applied = fitted.apply(X, dtype=dtype)
            assert backend.owns(applied)
            assert applied.dtype == found.dtype
            np.testing.assert_array_equal(to_host(applied), to_host(found))


@EACH_MAP
def test_apply_takes_images_and_gives_float32_where_nothing_is_said(backend: Backend, fitted: Preprocessing):
    X = backend.array(IMAGES)
    applied = fitted.apply(X)
    assert applied.dtype == backend.xp.float32
    assert applied.shape == (40, fitted.n_outputs)
    np.testing.assert_array_equal(to_host(X), IMAGES)
    rows = backend.array(IMAGES.reshape(40, 6))
    np.testing.assert_array_equal(to_host(applied), to_host(fitted.apply(rows)))


@EACH_MAP
def test_apply_in_blocks_gives_the_same(backend: Backend, monkeypatch, fitted: Preprocessing):
    X = backend.array(IMAGES)
    whole = fitted.apply(X)
    sizes, transform = [], type(fitted).transform

    def counted(X: Any, arrays: Any, *, xp: ModuleType) -> Any:
        sizes.append(X.shape[0])
        return transform(X, arrays, xp=xp)

    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(preprocessing, "_CACHED", 1)
    monkeypatch.setattr(type(fitted), "transform", staticmethod(counted))
    in_blocks = fitted.apply(X)
    assert sizes == [16, 16, 8]
    assert backend.owns(in_blocks)
    np.testing.assert_allclose(to_host(in_blocks), to_host(whole), rtol=1e-5, atol=1e-3)


@KINDS
def test_a_whitener_is_fitted_in_blocks(backend: Backend, monkeypatch, kind):
    X = backend.array(IMAGES)
    whole = Whitener.fit(X, kind=kind)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 80)
    for found, expected in zip(Whitener.fit(X, kind=kind), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def peak_memory(function: Any) -> int:
    """What it takes at its height, in bytes, in NumPy's arrays."""
    function()  # what is imported or kept once
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_whitening_needs_little_memory_beside_the_covariance(monkeypatch):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**12)
    X = np.random.default_rng(0).integers(0, 256, (20_000, 8, 4), dtype=np.uint8)
    assert peak_memory(lambda: Whitener.fit(X)) < X.nbytes / 2


@EACH_MAP
def test_applying_needs_little_memory_beside_the_result(monkeypatch, fitted: Preprocessing):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**12)
    X = np.random.default_rng(0).integers(0, 256, (30_000, 6), dtype=np.uint8)
    assert peak_memory(lambda: fitted.apply(X)) < 30_000 * fitted.n_outputs * 4 + 2**18


def test_samples_in_a_file_are_fitted_where_they_are(tmp_path):
    np.save(tmp_path / "X.npy", PICTURES)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert isinstance(X, np.memmap)
    for fit in (partial(Standardizer.fit, center="channel", scale="channel"), Whitener.fit):
        for found, expected in zip(fit(X), fit(PICTURES), strict=True):
            assert type(found) is np.ndarray
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(fit(X).apply(X), fit(PICTURES).apply(PICTURES))


@pytest.mark.parametrize("fit", [Whitener.fit, partial(Standardizer.fit, scale="channel", n_channels=2)])
def test_read_only_and_non_contiguous_samples_of_any_kind(fit):
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(40, 8)))[::-2, ::2]
    X.flags.writeable = False
    plain = np.array(X, order="C")
    fitted = fit(X)
    for found, expected in zip(fitted, fit(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    for array in fitted:
        array.flags.writeable = False
    applied = fitted.apply(X, dtype="float64")
    np.testing.assert_allclose(applied, fitted.apply(plain, dtype="float64"), rtol=1e-12, atol=1e-13)
    net = make_task(2).net
    for array in net:
        array.flags.writeable = False
    np.testing.assert_allclose(fitted.fold(net).logits(X), net.logits(applied), rtol=1e-9, atol=1e-9)


@st.composite
def fitted_cases(draw: st.DrawFn) -> tuple[Standardizer | Whitener, np.ndarray, TwoLayerNet]:
    """Anything that can be fitted, samples that it was fitted to in part, and a network or stack."""
    K, N, D, H, C = draw(sizes())
    X = draw(floats((N, D), 100.0))
    training = X[: draw(st.integers(1, N))]
    fitted: Standardizer | Whitener
    if draw(st.booleans()):
        fitted = Standardizer.fit(
            training,
            center=draw(st.sampled_from([True, False, "channel"])),
            scale=draw(st.sampled_from(["global", "channel", "feature", 0.25])),
            n_channels=draw(st.sampled_from([n for n in range(1, D + 1) if D % n == 0])),
        )
    else:
        fitted = Whitener.fit(
            training,
            epsilon=draw(st.sampled_from([0, 1e-3, 0.1, 1.0])),
            kind=draw(st.sampled_from(["zca", "pca"])),
            n_components=draw(st.one_of(st.none(), st.integers(1, D))),
        )
    # Numbers that float32 has no room for say nothing about folding.
    assume(np.abs(linear_part(fitted)).max() < 1e6)
    lead = draw(st.sampled_from([(), (K,)]))
    shapes = ((fitted.n_outputs, H), (H,), (H, C), (C,))
    return fitted, X, TwoLayerNet(*(draw(floats((*lead, *shape))) for shape in shapes))


def test_whatever_was_fitted_folds_into_any_network(backend: Backend):
    @tries(backend)
    @given(case=fitted_cases())
    def check(case: tuple[Standardizer | Whitener, np.ndarray, TwoLayerNet]) -> None:
        fitted, X, net = case
        part = np.abs(linear_part(fitted))
        W1, b1, W2, b2 = (np.abs(array) for array in net)
        terms = (np.abs(X) + np.abs(fitted.mean)) @ (part @ W1) + b1[..., None, :]
        terms = terms @ W2 + b2[..., None, :]  # what is summed, but for its signs: roundings are parts of it
        for dtype in backend.dtypes:
            there = TwoLayerNet(*(backend.array(array, dtype) for array in net))
            raw = backend.array(X, dtype)
            before = [to_host(array) for array in there]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of maps with a large gain
                folded = fitted.fold(there)
            for array, given_array, copy in zip(folded, there, before, strict=True):
                assert backend.owns(array)
                assert array.dtype == getattr(backend.xp, dtype)
                np.testing.assert_array_equal(to_host(given_array), copy)
            assert folded.n_features == fitted.n_inputs
            found = to_host(folded.logits(raw))
            expected = to_host(there.logits(fitted.apply(raw, dtype=dtype)))
            assert found.shape == expected.shape
            assert (np.abs(found - expected) <= 32 * np.finfo(dtype).eps * (terms + 1e-25)).all()

    check()


@EACH_MAP
@pytest.mark.parametrize("n_networks", [None, 3])
def test_folding_any_map_is_exact_in_float64(backend: Backend, fitted: Preprocessing, n_networks):
    task = make_task(n_networks, n_features=fitted.n_outputs)
    folded = fitted.fold(TwoLayerNet(*(backend.array(a) for a in task.net)))
    net = TwoLayerNet(*(to_host(backend.array(a)).astype(np.float64) for a in task.net))
    W1 = linear_part(fitted) @ net.W1
    for found, expected in zip(folded, (W1, net.b1 - np.arange(6.0) @ W1, net.W2, net.b2), strict=True):
        eps = float(np.finfo(backend.dtype).eps)
        assert found.shape == expected.shape
        np.testing.assert_allclose(to_host(found), expected, rtol=2 * eps, atol=100 * np.finfo(float).eps)


@EACH_MAP
def test_no_value_is_read_on_strict_arrays(monkeypatch, fitted: Preprocessing):
    backend = next(b for b in BACKENDS if b.library == "strict")
    with backend.active():
        X, arrays = backend.array(IMAGES.reshape(40, 6)), arrays_of(fitted, backend, backend.dtype)
        expected = fitted.transform(X, arrays, xp=backend.xp)

        def refuse(self: object) -> None:
            raise AssertionError("a value was read")

        with monkeypatch.context() as patch:
            for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__"):
                patch.setattr(type(X), name, refuse, raising=False)
            with pytest.raises(AssertionError, match="a value was read"):
                float(arrays[0][0])
            found = fitted.transform(X, arrays, xp=backend.xp)
        np.testing.assert_array_equal(to_host(found), to_host(expected))


@pytest.mark.only_on("jax")
@EACH_MAP
def test_jax_compiles_it(backend: Backend, monkeypatch, fitted: Preprocessing):
    import jax

    X, arrays = backend.array(IMAGES), arrays_of(fitted, backend, backend.dtype)
    rows = backend.array(IMAGES.reshape(40, 6))
    expected = to_host(fitted.transform(rows, arrays, xp=backend.xp))
    found = jax.jit(partial(fitted.transform, xp=backend.xp))(rows, arrays)
    np.testing.assert_allclose(to_host(found), expected, rtol=backend.rtol, atol=backend.rtol)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 100)
    applied = jax.jit(partial(fitted.apply, dtype=backend.dtype))(X)
    np.testing.assert_allclose(to_host(applied), expected, rtol=backend.rtol, atol=100 * backend.rtol)


# ---------------------------------------------------------------------------------------------------------
# Features of a large mean and a small spread


def far_from_0(mean: float, spread: float, dtype: str = "float64") -> np.ndarray:
    """Samples of a feature of this mean, and of one around 0; as integers where ``dtype`` is of some."""
    rng = np.random.default_rng(0)
    X = np.stack([mean + spread * rng.normal(size=60), spread * rng.normal(size=60)], axis=1)
    return (X if dtype == "float64" else np.rint(X)).astype(dtype)


def wide_dtypes(backend: Backend) -> list[str]:
    """Dtypes with values that float32 has not, as far as the backend keeps them."""
    return ["float64", "int32", "int64"] if "float64" in backend.dtypes else ["int32"]


@pytest.mark.float32_on_jax
def test_the_mean_is_subtracted_before_samples_are_rounded(backend: Backend):

    @tries(backend)
    @given(
        mean=st.sampled_from([-2e9, -123_456_789.0, 1e5, 1e9, 1.7e9]),
        spread=st.sampled_from([3.0, 50.0, 1e6]),
        dtype=st.sampled_from(wide_dtypes(backend)),
    )
    def check(mean: float, spread: float, dtype: str) -> None:
        host = far_from_0(mean, spread, dtype)
        X = backend.array(host, dtype)
        exact = host.astype(np.longdouble)
        expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
        found = Standardizer.fit(X, scale="feature").apply(X)
        assert backend.owns(found)
        assert found.dtype == backend.xp.float32
        np.testing.assert_allclose(to_host(found), expected, rtol=1e-6, atol=1e-6)
        whitener = Whitener.fit(X, epsilon=0)
        white = (host.astype(np.float64) - whitener.mean) @ whitener.matrix
        np.testing.assert_allclose(to_host(whitener.apply(X)), white, rtol=1e-5, atol=1e-5)

    check()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32"])
def test_samples_that_float32_holds_are_mapped_in_float32(dtype):
    X = (50 * np.random.default_rng(0).random((20, 6))).astype(dtype)
    standardizer, whitener, _ = MAPS
    centred = X.astype(np.float32) - standardizer.mean.astype(np.float32)
    np.testing.assert_array_equal(standardizer.apply(X), centred * standardizer.scale.astype(np.float32))
    np.testing.assert_array_equal(whitener.apply(X), centred @ whitener.matrix.astype(np.float32))


def test_samples_of_a_library_without_float64_are_centred_block_by_block(monkeypatch):
    backend = next(b for b in BACKENDS if b.name == "strict-no-float64")
    with backend.active():
        X = backend.array(far_from_0(1e9, 5.0, "int32"), "int32")
        fitted = Standardizer.fit(X, scale="feature")
        whole = fitted.apply(X)
        monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 20)
        np.testing.assert_array_equal(to_host(fitted.apply(X)), to_host(whole))


@pytest.mark.only_on("jax")
@pytest.mark.float32_on_jax
def test_integers_are_mapped_while_jax_traces_too(backend: Backend):
    """Without float64 they are cast first there, as no value can be taken to the host."""
    import jax

    X = backend.array(far_from_0(100.0, 5.0, "int32"), "int32")
    fitted = Standardizer.fit(X, scale="feature")
    np.testing.assert_allclose(to_host(jax.jit(fitted.apply)(X)), to_host(fitted.apply(X)), atol=1e-5)


FAR_MAPS = pytest.mark.parametrize(
    "fit", [partial(Standardizer.fit, scale="feature"), partial(Whitener.fit, epsilon=0)]
)


@FAR_MAPS
def test_folding_warns_where_the_network_cannot_hold_the_difference(backend: Backend, fit):
    fitted = fit(far_from_0(1e9, 5.0))
    net = make_task(2, n_features=2).on(backend, "float32").net
    message = (
        r"^The folded network has too few digits for samples as they are: feature 0 has a mean of 1e\+09, and "
        r"rounding it to float32 changes its preprocessed values, which are around 1, by up to 2\d\. "
        r"Fold a float64 copy of the network, or pass `net` the result of `apply`$"
    )
    with pytest.warns(RuntimeWarning, match=message) as caught:
        fitted.fold(net)
    assert caught[0].filename == __file__
    if "float64" in backend.dtypes:
        fitted.fold(net.astype("float64"))


@FAR_MAPS
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (128.0, 50.0), (1e4, 1.0), (1.7e9, 1e8)])
def test_folding_does_not_warn_where_it_loses_little(fit, mean, spread):
    fit(far_from_0(mean, spread)).fold(make_task(n_features=2).net.astype("float32"))


def test_a_whitener_takes_what_it_was_fitted_to_and_gives_what_the_network_takes(backend: Backend):
    fitted = MAPS[2]
    with pytest.raises(
        ValueError, match=r"^`X` must have 6 features a sample, as were fitted; got shape \(3, 2\)$"
    ):
        fitted.apply(backend.array(np.ones((3, 2))))
    with pytest.raises(TypeError, match=r"^`X` must be an array of an array-API library"):
        fitted.apply([[1.0] * 6])
    with pytest.raises(TypeError, match=r"^`dtype` must be float32 or float64; got int8$"):
        fitted.apply(backend.array(IMAGES), dtype="int8")
    with pytest.raises(ValueError, match=r"^`net` must have 2 features, as were fitted; got 6$"):
        fitted.fold(make_task(n_features=6).on(backend).net)
    with pytest.raises(TypeError, match=r"^`net` must be a TwoLayerNet; got str$"):
        fitted.fold("net")
