"""Whitener.fit, compared with a singular value decomposition, and with little or no variance."""

from __future__ import annotations

import numpy as np
import pytest
from support.backends import Backend, to_host

from twolayer.preprocessing import Whitener

pytestmark = pytest.mark.once_on_jax

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 2), dtype=np.uint8)
CORRELATED = np.random.default_rng(2).normal(3.0, 2.0, (60, 5)) @ np.triu(np.ones((5, 5)))
FEW_SAMPLES = np.random.default_rng(3).normal(size=(4, 9)) @ np.diag(np.arange(1.0, 10))
KINDS = pytest.mark.parametrize("kind", ["zca", "pca"])


def reference(X: np.ndarray, epsilon: float, kind: str, n_components: int | None = None) -> Whitener:
    """The same by a singular value decomposition of X; a column of "pca" may have the opposite sign."""
    rows = X.reshape(len(X), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    _, singular, Vt = np.linalg.svd(rows - mean)
    variances = np.zeros(len(mean))
    variances[: len(singular)] = singular**2 / len(rows)
    U = Vt.T[:, : n_components or len(mean)]
    g = 1 / np.sqrt(variances[: U.shape[1]] / variances.mean() + epsilon)
    matrix = U @ np.diag(g) if kind == "pca" else U @ np.diag(g) @ U.T
    return Whitener(mean, matrix / np.sqrt(np.mean(((rows - mean) @ matrix) ** 2)))


@KINDS
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 2])
@pytest.mark.parametrize("n_components", [None, 1, 3])
def test_whitening_follows_its_formula(backend: Backend, kind, epsilon, n_components):
    for host in (IMAGES, IMAGES.astype(np.int32), CORRELATED, 7 * CORRELATED + 3, FEW_SAMPLES):
        X = backend.array(host)
        before = to_host(X)
        fitted = Whitener.fit(X, epsilon=epsilon, kind=kind, n_components=n_components)
        np.testing.assert_array_equal(to_host(X), before)
        expected = reference(before, epsilon, kind, n_components)
        assert type(fitted.mean) is type(fitted.matrix) is np.ndarray
        assert fitted.mean.dtype == fitted.matrix.dtype == np.float64
        assert fitted.matrix.shape == expected.matrix.shape == (fitted.n_inputs, fitted.n_outputs)
        np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-12)
        found, matrix = fitted.matrix, expected.matrix
        if kind == "pca":
            # Without variance, any orthogonal directions are correct.
            n = min(matrix.shape[1], len(host) - 1)
            found, matrix = found[:, :n], matrix[:, :n]
            matrix = matrix * np.sign(np.sum(matrix * found, axis=0))
        else:
            np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found, matrix, rtol=1e-9, atol=1e-9 * np.abs(matrix).max())


@KINDS
def test_without_epsilon_the_features_become_uncorrelated(backend: Backend, kind):
    X = backend.array(CORRELATED)
    white = to_host(Whitener.fit(X, epsilon=0, kind=kind).apply(X, dtype=backend.dtype))
    tolerance = 1e-4 if backend.dtype == "float32" else 1e-11
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(5), atol=tolerance)


def test_the_default_is_zca_of_all_components_with_an_epsilon_of_a_tenth():
    fitted, expected = Whitener.fit(CORRELATED), reference(CORRELATED, 0.1, "zca")
    np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(fitted.matrix, expected.matrix, rtol=1e-9)


def test_components_are_sorted_by_variance_and_their_largest_entry_is_positive(backend: Backend):
    X = backend.array(CORRELATED)
    fitted = Whitener.fit(X, kind="pca")
    largest = np.argmax(np.abs(fitted.matrix), axis=0)
    assert (fitted.matrix[largest, np.arange(5)] > 0).all()
    variances = fitted.apply(CORRELATED, dtype="float64").var(axis=0)
    assert (np.diff(variances) < 0).all()
    few = Whitener.fit(X, kind="pca", n_components=2)
    np.testing.assert_allclose(few.matrix / few.matrix[0], (fitted.matrix / fitted.matrix[0])[:, :2])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_of_entries_that_differ_only_by_rounding_is_positive(sign):
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(50, 2)) @ [[1.0, 0.3 * sign], [0.0, 1.0]]
        X = np.concatenate([x, x[:, ::-1]])  # both features vary alike
        assert (Whitener.fit(X, kind="pca").matrix[0] > 0).all()


@KINDS
def test_directions_without_variance_are_left_out_if_epsilon_is_0(backend: Backend, kind):
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
def test_a_constant_feature_has_no_variance_after_whitening(backend: Backend, kind, epsilon):
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


def test_the_rounding_errors_of_a_large_constant_are_not_amplified():
    X = np.random.default_rng(0).normal(0.0, 1e-7, (1000, 3))
    X[:, 1] = 1e9 / 7
    assert X.var(axis=0)[1] > 1e-2 * X.var(axis=0)[0]  # the rounding of its mean gives it a variance
    fitted = Whitener.fit(X, epsilon=0)
    np.testing.assert_array_equal(fitted.matrix[1], 0)
    np.testing.assert_array_equal(fitted.matrix[:, 1], 0)


@pytest.mark.parametrize("epsilon", [0, 0.1])
def test_identical_samples_are_only_centred(backend: Backend, epsilon):
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
