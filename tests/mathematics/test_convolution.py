"""`unroll` against a slow convolution, one patch at a time, and against PyTorch's own layers."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies
from support.backends import Backend, to_host
from support.moved_images import image_shapes
from support.refusals import refusal
from support.small_runs import tries
from support.strategies import floats

import twolayer
from twolayer import TwoLayerNet, unroll

pytestmark = pytest.mark.once_on_jax


class Convolution(NamedTuple):
    """A small convolutional network and a few images for it; host arrays in float64."""

    filters: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray
    X: np.ndarray  # (N, D)
    image_shape: tuple[int, ...]
    stride: int
    padding: int

    def unrolled(self, backend: Backend, dtype: str = "float64") -> TwoLayerNet:
        arrays = (backend.array(array, dtype) for array in self[:4])
        return unroll(*arrays, image_shape=self.image_shape, stride=self.stride, padding=self.padding)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Any small convolution: any stride and padding, and any regions that divide its positions."""
    image_shape = draw(image_shapes())
    height, width, channels = (*image_shape, 1)[:3]
    few = strategies.few_sizes_only
    stride = 1 if few else draw(st.integers(1, 3))
    padding = 1 if few else draw(st.integers(0, 2))
    sizes, regions = [], []
    for size in (height, width):
        patch = 2 if few else draw(st.integers(1, min(4, size + 2 * padding)))
        positions = (size + 2 * padding - patch) // stride + 1
        sizes.append(patch)
        divisors = [n for n in range(1, positions + 1) if positions % n == 0]
        regions.append(divisors[0] if few else draw(st.sampled_from(divisors)))
    F, C, N = (2, 3, 2) if few else (draw(st.integers(1, 3)) for _ in range(3))
    arrays = [draw(floats(shape)) for shape in ((*sizes, channels, F), (F,), (*regions, F, C), (C,))]
    X = draw(floats((N, height * width * channels)))
    return Convolution(*arrays, X, image_shape, stride, padding)


def slow_logits(problem: Convolution) -> np.ndarray:
    """Logits by loops over images, positions and filters, with a list of values for each region."""
    height, width, channels = (*problem.image_shape, 1)[:3]
    high, wide, _, F = problem.filters.shape
    R, S = problem.W2.shape[:2]
    p, s = problem.padding, problem.stride
    logits = []
    for x in problem.X:
        image = np.pad(x.reshape(height, width, channels), [(p, p), (p, p), (0, 0)])
        tops, lefts = range(0, len(image) - high + 1, s), range(0, image.shape[1] - wide + 1, s)
        found = problem.b2.copy()
        for k in range(F):
            regions: dict[tuple[int, int], list[float]] = {}
            for i, top in enumerate(tops):
                for j, left in enumerate(lefts):
                    patch = image[top : top + high, left : left + wide]
                    value = max(np.sum(patch * problem.filters[..., k]) + problem.b1[k], 0.0)
                    regions.setdefault((i * R // len(tops), j * S // len(lefts)), []).append(value)
            assert len({len(values) for values in regions.values()}) == 1
            for (r, q), values in regions.items():
                found += np.mean(values) * problem.W2[r, q, k]
        logits.append(found)
    return np.stack(logits)


def test_the_network_has_the_logits_of_the_convolution(backend: Backend):
    @tries(backend)
    @given(problem=convolutions())
    def check(problem: Convolution) -> None:
        net = problem.unrolled(backend, backend.dtype)
        assert all(backend.owns(a) and a.dtype == net.W1.dtype for a in net)
        assert net.n_features == problem.X.shape[1]
        expected = slow_logits(problem)
        scale = max(1.0, float(np.max(np.abs(expected))))
        logits = to_host(net.logits(backend.array(problem.X)))
        np.testing.assert_allclose(logits, expected, rtol=backend.rtol, atol=10 * backend.rtol * scale)

    check()


def test_hidden_units_are_ordered_by_position(backend: Backend):
    filters = backend.array(np.array([[1.0, 2.0]]).reshape(1, 1, 1, 2))
    b1, b2 = backend.array(np.array([3.0, 4.0])), backend.array(np.array([5.0]))
    W2 = backend.array(np.array([[6.0, 7.0], [8.0, 9.0]]).reshape(2, 1, 2, 1))
    net = unroll(filters, b1, W2, b2, image_shape=(2, 2))
    np.testing.assert_array_equal(to_host(net.W1), np.kron(np.eye(4), [[1.0, 2.0]]))
    np.testing.assert_array_equal(to_host(net.b1), [3.0, 4.0] * 4)
    np.testing.assert_array_equal(to_host(net.W2)[:, 0], [3.0, 3.5, 3.0, 3.5, 4.0, 4.5, 4.0, 4.5])
    np.testing.assert_array_equal(to_host(net.b2), [5.0])


@pytest.mark.only_on("torch")
def test_the_logits_equal_those_of_pytorchs_layers(backend: Backend):
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, (4, 3), stride=2, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d((2, 5))
    ).double()
    linear = torch.nn.Linear(5 * 2 * 1, 4).double()
    images = torch.rand(6, 3, 8, 9, dtype=torch.float64)
    with torch.no_grad():
        pooled = layers(images)
        expected = linear(pooled.flatten(1)).numpy()
        filters = layers[0].weight.permute(2, 3, 1, 0).numpy()
        W2 = linear.weight.reshape(4, 5, *pooled.shape[2:]).permute(2, 3, 1, 0).numpy()
        arrays = (filters, layers[0].bias.numpy(), W2, linear.bias.numpy())
    net = unroll(*map(backend.array, arrays), image_shape=(8, 9, 3), stride=2, padding=1)
    X = backend.array(images.permute(0, 2, 3, 1).numpy().copy())
    np.testing.assert_allclose(to_host(net.logits(X)), expected, rtol=0, atol=100 * backend.rtol)


def test_the_network_shares_no_memory_with_the_arguments():
    arrays = (np.ones((2, 2, 1, 1)), np.zeros(1), np.ones((1, 1, 1, 2)), np.zeros(2))
    net = unroll(*arrays, image_shape=(2, 2))
    assert not any(np.shares_memory(a, b) for a in net for b in arrays)


def test_an_unrolled_network_can_be_folded_and_symmetrized():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (50, 48), dtype=np.uint8)
    preprocessing = twolayer.preprocessing.Standardizer.fit(
        X, center="channel", scale="channel", n_channels=3
    )
    arrays = (rng.standard_normal(shape) for shape in ((3, 3, 3, 2), (2,), (2, 2, 2, 4), (4,)))
    net = unroll(*arrays, image_shape=(4, 4, 3), padding=1)
    folded = preprocessing.fold(net)
    logits = net.logits(preprocessing.apply(X, dtype="float64"))
    np.testing.assert_allclose(folded.logits(X), logits, atol=1e-9)
    mirrored = X.reshape(-1, 4, 4, 3)[:, :, ::-1]
    both = twolayer.symmetrize(folded, (4, 4, 3))
    np.testing.assert_allclose(
        both.logits(X), (folded.logits(X) + folded.logits(mirrored)) / 2, rtol=0, atol=1e-9
    )


f4 = partial(np.zeros, dtype="f4")
GOOD = {
    "filters": f4((2, 2, 3, 4)),
    "b1": f4(4),
    "W2": f4((3, 3, 4, 5)),
    "b2": f4(5),
    "image_shape": (4, 4, 3),
    "stride": 1,
    "padding": 0,
}


@pytest.mark.parametrize(
    ("wrong", "refused"),
    [
        (
            dict(filters=[[1.0]]),
            "TypeError: `filters` must be an array of an array-API library …; got list; use …",
        ),
        (dict(b1=[0.0] * 4), "TypeError: `b1` must be an array of an array-API library …; got list; use …"),
        (
            dict(filters=np.zeros(4, int)),
            "TypeError: `filters` must have dtype float32 or float64; got int64",
        ),
        (dict(W2=np.zeros(3)), "TypeError: `W2` must have the dtype of `filters`, float32; got float64"),
        (dict(filters=f4((2, 2, 3))), "ValueError: `filters` must have shape (height, …; got (2, 2, 3)"),
        (dict(b1=f4((4, 1))), "ValueError: `b1` must have shape (filters,); got (4, 1)"),
        (dict(W2=f4((9, 4, 5))), "ValueError: `W2` must have shape (rows of regions, …; got (9, 4, 5)"),
        (dict(b2=f4(0)), "ValueError: `b2` must have shape (classes,); got (0,)"),
        (dict(b1=f4(3)), "ValueError: `b1` must have a bias for each of the filters, 4; got 3"),
        (dict(W2=f4((3, 3, 2, 5))), "ValueError: `W2` must have a row for each of the filters, 4; got 2"),
        (dict(b2=f4(4)), "ValueError: `b2` must have a bias for each of the classes, 5; got 4"),
        (dict(image_shape=(4, 4)), "ValueError: `filters` must have the image's channels, 1; got 3"),
        (dict(image_shape=(4, 1, 3)), "ValueError: `filters` must be no larger than …, 1 columns; got 2"),
        (dict(image_shape=(5, 4, 3)), "ValueError: `W2` … that divides the 4 rows of positions; got 3"),
        (dict(stride=0), "ValueError: `stride` must be at least 1; got 0"),
        (dict(padding=-1), "ValueError: `padding` must be at least 0; got -1"),
        (dict(padding=0.5), "TypeError: `padding` must be an integer; got float"),
    ],
)
def test_invalid_arguments_are_refused(wrong: dict[str, object], refused: str):
    assert unroll(**GOOD).n_hidden == 36
    with refusal(refused):
        unroll(**(GOOD | wrong))
