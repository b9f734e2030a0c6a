"""Fitting a Standardizer, applying any fitted preprocessing, folding it into a network, and errors."""

# ruff: noqa: E501  # messages stand in their tables on one line

from __future__ import annotations

import re
import warnings
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.backends import BACKENDS, Backend, to_host
from support.small_runs import STRICT, make_task, other_backend, peak_memory, tries, unread
from support.strategies import floats, sizes

from twolayer import TwoLayerNet, _validation, preprocessing
from twolayer.preprocessing import Preprocessing, Standardizer, Whitener

pytestmark = pytest.mark.once_on_jax

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 2), dtype=np.uint8)
PICTURES = np.random.default_rng(1).integers([0, 50, 100], [50, 200, 110], (30, 2, 4, 3), dtype=np.uint8)
NORMAL = np.random.default_rng(1).normal(3.0, 2.0, (50, 4))
ROWS = IMAGES.reshape(40, 6)


def assert_close(
    found: Preprocessing, expected: Preprocessing, *, rtol: float = 0.0, atol: float = 0.0
) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_the_repr_has_shapes_instead_of_numbers() -> None:
    assert repr(Standardizer(np.zeros(3), np.ones(3))) == "Standardizer(mean: (3,), scale: (3,))"
    assert repr(Whitener(np.zeros(3), np.ones((3, 2)))) == "Whitener(mean: (3,), matrix: (3, 2))"


# ---------------------------------------------------------------------------------------------------------
# Standardizer.fit


def reference(X: np.ndarray, center: bool | str, scale: str | float, n_channels: int = 1) -> Standardizer:
    """The same by NumPy's means in float64, over axes of samples, pixels and channels."""
    rows = X.astype(np.float64).reshape(len(X), -1, n_channels)
    of_channels = np.broadcast_to(rows.mean(axis=(0, 1)), rows.shape[1:])
    mean = of_channels if center == "channel" else rows.mean(axis=0)
    if isinstance(scale, str):
        axes = {"global": (0, 1, 2), "channel": (0, 1), "feature": 0}[scale]
        std = np.sqrt(((rows - mean) ** 2).mean(axis=axes))
        scale = 1 / np.where(std > 0, std, 1.0)
    scales = np.broadcast_to(np.asarray(scale, float), mean.shape)
    return Standardizer((mean if center else 0 * mean).reshape(-1), scales.reshape(-1))


# Samples, the `n_channels` that is passed, and the true number of channels.
SAMPLES = {
    "images": (IMAGES, None, 1),
    "integers": (IMAGES.astype(np.int32), None, 1),
    "pictures": (PICTURES, None, 3),
    "rows-of-pictures": (PICTURES.reshape(30, 24), 3, 3),
    "other-shape": (PICTURES.reshape(30, 8, 3), 3, 3),
    "number-before-shape": (PICTURES, 6, 6),
    "numbers": (NORMAL, 2, 2),
    "constant": (np.concatenate([NORMAL, np.full((50, 1), 5.0)], axis=1), 5, 5),
}


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("scale", ["global", "channel", "feature", 0.25, 2, np.float32(0.5)])
@pytest.mark.parametrize("center", [True, False, "channel", np.True_])
def test_fit_gives_the_mean_and_the_standard_deviation(backend: Backend, center, scale, samples):
    host, given_channels, n_channels = SAMPLES[samples]
    X = backend.array(host)
    before = to_host(X)
    fitted = Standardizer.fit(X, center=center, scale=scale, n_channels=given_channels)
    np.testing.assert_array_equal(to_host(X), before)
    for found in fitted:
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (np.float64, (before[0].size,))
    exact = host is PICTURES or (backend.dtype == "float64" and host.dtype == np.float64)
    rtol = 1e-12 if exact else 1e-6
    assert_close(fitted, reference(before, center, scale, n_channels), rtol=rtol, atol=rtol / 1e6)


def test_the_default_centres_and_scales_by_one_number():
    X = np.random.default_rng(1).normal(3.0, [0.5, 2.0, 4.0], (50, 3))
    for fitted in (Standardizer.fit(X), Standardizer.fit(X, n_channels=5)):  # `n_channels` is not used here
        assert_close(fitted, reference(X, True, "global"), rtol=1e-12)
        applied = fitted.apply(X, dtype="float64")
        np.testing.assert_allclose(applied.mean(axis=0), 0, atol=1e-14)
        assert applied.std() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("n_samples", [1, 2, 100])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4 / 3])
def test_a_constant_channel_keeps_its_scale(value, n_samples):
    X = np.random.default_rng(0).normal(0.0, 2.0, (n_samples, 50, 50, 3))
    X[..., 1] = value
    fitted = Standardizer.fit(X, center="channel", scale="channel")
    scale = fitted.scale.reshape(50, 50, 3)
    np.testing.assert_array_equal(scale[..., 1], 1.0)
    np.testing.assert_allclose(scale[..., [0, 2]], 0.5, rtol=0.1)
    np.testing.assert_allclose(fitted.mean.reshape(50, 50, 3)[..., 1], value, rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3])
def test_the_mean_of_many_bytes_is_exact(backend: Backend, n_features):
    """Their sum is beyond the integers that float32 represents exactly."""
    X = np.random.default_rng(0).integers(100, 256, (200_000, n_features), dtype=np.uint8)
    fitted = Standardizer.fit(backend.array(X), scale="feature")
    np.testing.assert_array_equal(fitted.mean, X.astype(np.int64).sum(axis=0) / len(X))
    np.testing.assert_allclose(fitted.scale, 1 / X.astype(np.float64).std(axis=0), rtol=1e-6)


def test_float32_samples_are_summed_without_losing_precision():
    X = np.random.default_rng(0).normal(1000.0, 1.0, (200_000, 2)).astype(np.float32)
    fitted, expected = Standardizer.fit(X, scale="feature"), reference(X, True, "feature")
    np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(fitted.scale, expected.scale, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, -1e4 / 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_feature_keeps_its_scale(backend: Backend, value, dtype):
    """Although the computed mean of equal numbers may differ from the number."""
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
def test_identical_samples_keep_their_scale(backend: Backend, scale):
    for X in (np.full((3, 2), 7.0), np.array([[1.0, 2.0]])):
        fitted = Standardizer.fit(backend.array(X), scale=scale)
        assert_close(fitted, Standardizer(X[0], np.ones(2)))


# ---------------------------------------------------------------------------------------------------------
# Fitting of both kinds

FITS = pytest.mark.parametrize(
    "fit",
    [
        pytest.param(Standardizer.fit, id="global"),
        pytest.param(partial(Standardizer.fit, scale="feature"), id="feature"),
        pytest.param(
            partial(Standardizer.fit, center="channel", scale="channel", n_channels=2), id="channel"
        ),
        pytest.param(Whitener.fit, id="zca"),
        pytest.param(partial(Whitener.fit, kind="pca"), id="pca"),
    ],
)


@FITS
def test_fitting_in_blocks_changes_nothing(backend: Backend, monkeypatch, fit):
    X = backend.array(IMAGES)
    whole = fit(X)
    sizes, row_blocks = [], _validation.row_blocks

    def counted(n_rows: int, row_elements: int) -> list[slice]:
        blocks = list(row_blocks(n_rows, row_elements))
        sizes.append(len(blocks))
        return blocks

    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 80)
    monkeypatch.setattr("twolayer.preprocessing.row_blocks", counted)
    in_blocks = fit(X)
    assert set(sizes) == {14}  # 40 rows, 3 at a time
    np.testing.assert_array_equal(in_blocks.mean, whole.mean)
    rtol, atol = (1e-6, 0.0) if isinstance(whole, Standardizer) else (1e-10, 1e-12)
    assert_close(in_blocks, whole, rtol=rtol, atol=atol)


@FITS
def test_fitting_needs_little_memory(monkeypatch, fit):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**12)
    X = np.random.default_rng(0).integers(0, 256, (20_000, 8, 4), dtype=np.uint8)
    assert peak_memory(lambda: fit(X)) < X.nbytes / 2  # as float32 they would take four times X.nbytes


@FITS
def test_samples_in_a_memory_mapped_file_can_be_fitted(tmp_path, fit):
    np.save(tmp_path / "X.npy", PICTURES)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert isinstance(X, np.memmap)
    fitted = fit(X)
    assert all(type(array) is np.ndarray for array in fitted)
    assert_close(fitted, fit(PICTURES))
    np.testing.assert_array_equal(fitted.apply(X), fitted.apply(PICTURES))


@FITS
def test_read_only_and_non_contiguous_arrays_are_accepted(fit):
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(40, 8)))[::-2, ::2]
    X.flags.writeable = False
    plain = np.array(X, order="C")
    fitted = fit(X)
    assert_close(fitted, fit(plain), rtol=1e-11, atol=1e-13)
    for array in fitted:
        array.flags.writeable = False
    applied = fitted.apply(X, dtype="float64")
    np.testing.assert_allclose(applied, fitted.apply(plain, dtype="float64"), rtol=1e-12, atol=1e-13)
    net = make_task(2).net
    for array in net:
        array.flags.writeable = False
    np.testing.assert_allclose(fitted.fold(net).logits(X), net.logits(applied), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------
# Any fitted preprocessing


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
def test_a_fitted_preprocessing_has_what_a_run_needs(backend: Backend, fitted: Preprocessing):
    part = linear_part(fitted)
    assert (fitted.n_inputs, fitted.n_outputs) == part.shape
    assert all(array.dtype == np.float64 for array in fitted.host_arrays())
    for dtype in backend.dtypes:
        arrays = arrays_of(fitted, backend, dtype)
        for host in (ROWS, ROWS / 7, ROWS > 100):
            X = backend.array(host, dtype if host.dtype.kind == "f" else None)
            before = [to_host(array) for array in (X, *arrays)]
            found = fitted.transform(X, arrays, xp=backend.xp)
            assert backend.owns(found)
            assert found.dtype == getattr(backend.xp, dtype)
            expected = (before[0].astype(np.float64) - np.arange(6.0)) @ part
            tolerance = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(to_host(found), expected, rtol=tolerance, atol=tolerance * 300)
            applied = fitted.apply(X, dtype=dtype)
            assert backend.owns(applied)
            assert applied.dtype == found.dtype
            np.testing.assert_array_equal(to_host(applied), to_host(found))
            for array, copy in zip((X, *arrays), before, strict=True):
                np.testing.assert_array_equal(to_host(array), copy)
    images, rows = (fitted.apply(backend.array(host)) for host in (IMAGES, ROWS))
    assert images.dtype == backend.xp.float32
    assert images.shape == (40, fitted.n_outputs)
    np.testing.assert_array_equal(to_host(images), to_host(rows))


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


@EACH_MAP
def test_applying_needs_little_memory_besides_the_result(monkeypatch, fitted: Preprocessing):
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 2**12)
    X = np.random.default_rng(0).integers(0, 256, (30_000, 6), dtype=np.uint8)
    assert peak_memory(lambda: fitted.apply(X)) < 30_000 * fitted.n_outputs * 4 + 2**18


@st.composite
def fitted_cases(draw: st.DrawFn) -> tuple[Standardizer | Whitener, np.ndarray, TwoLayerNet]:
    """Any fitted preprocessing, samples of which it was fitted to the first, and a network or stack."""
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
    # Numbers beyond the range or precision of float32 do not test folding.
    assume(np.abs(linear_part(fitted)).max() < 1e6)
    lead = draw(st.sampled_from([(), (K,)]))
    shapes = ((fitted.n_outputs, H), (H,), (H, C), (C,))
    return fitted, X, TwoLayerNet(*(draw(floats((*lead, *shape))) for shape in shapes))


def test_any_fitted_preprocessing_folds_into_any_network(backend: Backend):
    @tries(backend)
    @given(case=fitted_cases())
    def check(case: tuple[Standardizer | Whitener, np.ndarray, TwoLayerNet]) -> None:
        fitted, X, net = case
        part = np.abs(linear_part(fitted))
        W1, b1, W2, b2 = (np.abs(array) for array in net)
        terms = (np.abs(X) + np.abs(fitted.mean)) @ (part @ W1) + b1[..., None, :]
        terms = (
            terms @ W2 + b2[..., None, :]
        )  # absolute values of the summands, which rounding is relative to
        for dtype in backend.dtypes:
            there = TwoLayerNet(*(backend.array(array, dtype) for array in net))
            raw = backend.array(X, dtype)
            before = [to_host(array) for array in there]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # maps with a large gain warn
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
def test_folding_is_computed_in_float64(backend: Backend, fitted: Preprocessing, n_networks):
    task = make_task(n_networks, n_features=fitted.n_outputs)
    there = task.on(backend).net
    folded, net = fitted.fold(there), TwoLayerNet(*(to_host(a).astype(np.float64) for a in there))
    W1 = linear_part(fitted) @ net.W1
    for found, expected in zip(folded, (W1, net.b1 - np.arange(6.0) @ W1, net.W2, net.b2), strict=True):
        eps = float(np.finfo(backend.dtype).eps)
        assert found.shape == expected.shape
        np.testing.assert_allclose(to_host(found), expected, rtol=2 * eps, atol=100 * np.finfo(float).eps)
    if backend.library == "numpy":
        assert not any(np.shares_memory(a, b) for a, b in zip(folded, there, strict=True))


@EACH_MAP
def test_no_value_is_read_on_strict_arrays(fitted: Preprocessing):
    with STRICT.active():
        X, arrays = STRICT.array(ROWS), arrays_of(fitted, STRICT, STRICT.dtype)
        expected = fitted.transform(X, arrays, xp=STRICT.xp)
        with unread(arrays[0]):
            found = fitted.transform(X, arrays, xp=STRICT.xp)
        np.testing.assert_array_equal(to_host(found), to_host(expected))


@pytest.mark.only_on("jax")
@EACH_MAP
def test_jax_can_compile_a_fitted_preprocessing(backend: Backend, monkeypatch, fitted: Preprocessing):
    import jax

    X, arrays = backend.array(IMAGES), arrays_of(fitted, backend, backend.dtype)
    rows = backend.array(ROWS)
    expected = to_host(fitted.transform(rows, arrays, xp=backend.xp))
    found = jax.jit(partial(fitted.transform, xp=backend.xp))(rows, arrays)
    np.testing.assert_allclose(to_host(found), expected, rtol=backend.rtol, atol=backend.rtol)
    monkeypatch.setattr(_validation, "BLOCK_ELEMENTS", 100)
    applied = jax.jit(partial(fitted.apply, dtype=backend.dtype))(X)
    np.testing.assert_allclose(to_host(applied), expected, rtol=backend.rtol, atol=100 * backend.rtol)


# ---------------------------------------------------------------------------------------------------------
# Features with a large mean and a small spread


def far_from_0(mean: float, spread: float, dtype: str = "float64") -> np.ndarray:
    """Samples of one feature with this mean and one around 0; rounded if ``dtype`` is an integer dtype."""
    rng = np.random.default_rng(0)
    X = np.stack([mean + spread * rng.normal(size=60), spread * rng.normal(size=60)], axis=1)
    return (X if dtype == "float64" else np.rint(X)).astype(dtype)


def wide_dtypes(backend: Backend) -> list[str]:
    """The dtypes of the backend with values that float32 cannot represent."""
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
def test_samples_that_float32_represents_are_mapped_in_float32(dtype):
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
def test_integers_can_be_mapped_while_jax_traces(backend: Backend):
    """Without float64 they are then cast first, as a traced value cannot be copied to the host."""
    import jax

    X = backend.array(far_from_0(100.0, 5.0, "int32"), "int32")
    fitted = Standardizer.fit(X, scale="feature")
    np.testing.assert_allclose(to_host(jax.jit(fitted.apply)(X)), to_host(fitted.apply(X)), atol=1e-5)


FAR_MAPS = pytest.mark.parametrize(
    "fit",
    [partial(Standardizer.fit, scale="feature"), partial(Whitener.fit, epsilon=0)],
    ids=["standardizer", "whitener"],
)


@FAR_MAPS
def test_folding_warns_if_the_network_has_too_little_precision(backend: Backend, fit):
    fitted = fit(far_from_0(1e9, 5.0))
    net = make_task(2, n_features=2).on(backend, "float32").net
    message = (
        r"^The folded network has too few digits for raw samples: feature 0 has a mean of 1e\+09, and "
        r"rounding it to float32 changes its preprocessed values, which are around 1, by up to 2\d\. "
        r"Fold a float64 copy of the network, or pass the samples that `apply` returns to `net`$"
    )
    with pytest.warns(RuntimeWarning, match=message) as caught:
        fitted.fold(net)
    assert caught[0].filename == __file__
    if "float64" in backend.dtypes:
        fitted.fold(net.astype("float64"))


@FAR_MAPS
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (128.0, 50.0), (1e4, 1.0), (1.7e9, 1e8)])
def test_folding_does_not_warn_if_it_loses_little(fit, mean, spread):
    fit(far_from_0(mean, spread)).fold(make_task(n_features=2).net.astype("float32"))


# ---------------------------------------------------------------------------------------------------------
# Errors

NO_CHANNELS = (
    "`n_channels` must be given where `center` or `scale` is 'channel' and the samples are not images "
    "of 2 or 3 axes; got None with `X` of shape "
)
NO_ARRAY = (
    "`X` must be an array of an array-API library (numpy, cupy, torch, jax); got list; use `numpy.asarray(X)`"
)


def standardize(**changes: Any) -> None:
    Standardizer.fit(**{"X": np.ones((4, 2)), **changes})


def whiten(**changes: Any) -> None:
    Whitener.fit(**{"X": np.ones((4, 2)), **changes})


REFUSED = {
    "fit-list": (standardize, {"X": [[1.0, 2.0]]}, TypeError, NO_ARRAY),
    "fit-nan": (standardize, {"X": np.array([[1.0, np.nan]])}, ValueError, "`X` must be finite; got nan, first in row 0, column 1 (counted from 0)"),
    "scale-name": (standardize, {"scale": "std"}, ValueError, "`scale` must be 'global', 'feature', 'channel', or a number above 0; got 'std'"),
    "scale-zero": (standardize, {"scale": 0.0}, ValueError, "`scale` must be finite and above 0; got 0"),
    "scale-none": (standardize, {"scale": None}, TypeError, "`scale` must be a number; got NoneType"),
    "center-name": (standardize, {"center": "feature"}, ValueError, "`center` must be one of True, False, 'channel'; got 'feature'"),
    "center-none": (standardize, {"center": None}, TypeError, "`center` must be True, False or 'channel'; got NoneType"),
    "center-number": (standardize, {"center": 1}, TypeError, "`center` must be True, False or 'channel'; got int"),
    "no-channels": (standardize, {"scale": "channel"}, ValueError, f"{NO_CHANNELS}(4, 2)"),
    "no-channels-centred": (standardize, {"center": "channel", "scale": 1}, ValueError, f"{NO_CHANNELS}(4, 2)"),
    "five-axes": (standardize, {"X": np.ones((2, 1, 1, 2, 3)), "scale": "channel"}, ValueError, f"{NO_CHANNELS}(2, 1, 1, 2, 3)"),
    "channels-above": (standardize, {"scale": "channel", "n_channels": 3}, ValueError, "`n_channels` must divide the number of features, 2; got 3"),
    "channels-zero": (standardize, {"scale": "channel", "n_channels": 0}, ValueError, "`n_channels` must be at least 1; got 0"),
    "whiten-list": (whiten, {"X": [[1.0, 2.0]]}, TypeError, NO_ARRAY),
    "whiten-nan": (whiten, {"X": np.array([[1.0, np.nan]])}, ValueError, "`X` must be finite; got nan, first in row 0, column 1 (counted from 0)"),
    "epsilon-negative": (whiten, {"epsilon": -0.1}, ValueError, "`epsilon` must be finite and at least 0; got -0.1"),
    "kind": (whiten, {"kind": "svd"}, ValueError, "`kind` must be one of 'zca', 'pca'; got 'svd'"),
    "components-zero": (whiten, {"n_components": 0}, ValueError, "`n_components` must be at least 1; got 0"),
    "components-above": (whiten, {"n_components": 3}, ValueError, "`n_components` must be at most the number of features, 2; got 3"),
}  # fmt: skip
REFUSED_APPLICATIONS = {
    "list": ({"X": [[1.0] * 6]}, TypeError, NO_ARRAY),
    "width": ({"X": np.ones((3, 4))}, ValueError, "`X` must have 6 features per sample, as fitted; got shape (3, 4)"),
    "dtype": ({"dtype": "float16"}, TypeError, "`dtype` must be float32 or float64; got float16"),
    "dtype-integer": ({"dtype": np.int64}, TypeError, "`dtype` must be float32 or float64; got int64"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_arguments_of_fit_are_refused(case):
    call, changes, error, message = REFUSED[case]
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call(**changes)


@EACH_MAP
@pytest.mark.parametrize("case", REFUSED_APPLICATIONS)
def test_invalid_arguments_of_apply_are_refused(fitted: Preprocessing, case):
    changes, error, message = REFUSED_APPLICATIONS[case]
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        fitted.apply(**{"X": IMAGES, **changes})


def test_float64_is_refused_on_devices_without_it(backend: Backend):
    X = backend.array(IMAGES)
    if "float64" in backend.dtypes:
        assert Standardizer.fit(X).apply(X, dtype="float64").dtype == backend.xp.float64
        return
    with pytest.raises(TypeError, match=r"`dtype` must be one that .* has.*; got float64$"):
        Standardizer.fit(X).apply(X, dtype="float64")


@EACH_MAP
def test_folding_refuses_networks_that_do_not_fit(backend: Backend, fitted: Preprocessing):
    n = fitted.n_outputs
    net = make_task(n_features=n).on(backend).net
    elsewhere = other_backend(backend).array(np.zeros(3), "float32")
    for misfit, error, message in (
        (
            make_task(n_features=4).on(backend).net,
            ValueError,
            rf"`net` must have the {n} features of mapped samples; got 4$",
        ),
        (net._replace(b2=net.b1), ValueError, r"`b2` must have shape"),
        (net._replace(b2=elsewhere), TypeError, r"`b2` must be an array of the library of `W1`"),
        ("net", TypeError, r"`net` must be a TwoLayerNet; got str$"),
    ):
        with pytest.raises(error, match="^" + message):
            fitted.fold(misfit)
