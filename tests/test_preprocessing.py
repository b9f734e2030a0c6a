# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from backends import BACKENDS, Backend, to_host
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_runs import make_task, tries

from twolayer import TwoLayerNet, _checks
from twolayer.preprocessing import Standardizer

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 2), dtype=np.uint8)


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
    row_blocks = _checks.row_blocks

    def counted(n_rows: int, row_elements: int):
        blocks = list(row_blocks(n_rows, row_elements))
        sizes.append(len(blocks))
        return blocks

    monkeypatch.setattr(_checks, "BLOCK_ELEMENTS", 80)
    monkeypatch.setattr("twolayer.preprocessing.row_blocks", counted)
    in_blocks = Standardizer.fit(X, scale=scale)
    assert set(sizes) == {14}  # 40 rows, 3 at a time
    np.testing.assert_array_equal(in_blocks.mean, whole.mean)
    np.testing.assert_allclose(in_blocks.scale, whole.scale, rtol=1e-6)


def test_fitting_needs_little_memory(monkeypatch):
    monkeypatch.setattr(_checks, "BLOCK_ELEMENTS", 2**14)
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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": [[1.0, 2.0]]}, TypeError, "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list"),
        ({"X": np.ones(3)}, ValueError, "`X` must have a first axis of samples and at least one more of features; got shape (3,)"),
        ({"X": np.ones((0, 3))}, ValueError, "`X` must hold at least one sample; got shape (0, 3)"),
        ({"X": np.ones((3, 0))}, ValueError, "`X` must hold at least one sample; got shape (3, 0)"),
        ({"X": np.ones((3, 2), complex)}, TypeError, "`X` must have a real dtype; got complex128"),
        ({"X": np.array([[1.0, np.nan]])}, ValueError, "`X` must be finite; got nan in rows 0 to 0"),
        ({"X": np.array([[1.0], [np.inf]])}, ValueError, "`X` must be finite; got an infinite value in rows 0 to 1"),
        ({"scale": "std"}, ValueError, "`scale` must be 'global', 'feature' or a number above 0; got 'std'"),
        ({"scale": 0.0}, ValueError, "`scale` must be finite and above 0; got 0"),
        ({"scale": -1}, ValueError, "`scale` must be finite and above 0; got -1"),
        ({"scale": np.nan}, ValueError, "`scale` must be finite and above 0; got nan"),
        ({"scale": None}, TypeError, "`scale` must be a number; got NoneType"),
        ({"scale": True}, TypeError, "`scale` must be a number; got bool"),
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
