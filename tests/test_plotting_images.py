"""Pictures made of images: the hidden units' weights, and the mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import caption, net_of, rendered

from twolayer import TwoLayerNet, plotting

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def tile(figure, index, columns, shape):
    """A tile's colours, one for each of its pixels, read off the page."""
    page = figure.axes[0].images[0].get_array()
    factor = math.ceil(64 / max(shape))
    height, width = (length * factor + 6 for length in shape)
    top, left = index // columns * height + 3, index % columns * width + 3
    rows, across = (np.arange(length) * factor + factor // 2 for length in shape)
    return page[top + rows][:, left + across]


def test_weights_of_colour_images_are_colours_around_grey():
    rng = np.random.default_rng(0)
    W1 = rng.normal(size=(2 * 3 * 3, 4)) * [1, 8, 4, 2]
    figure = plotting.plot_weights(net_of(W1), (2, 3, 3), columns=2, title="weights")
    for index, unit in enumerate([1, 2, 3, 0]):
        weights = W1[:, unit].reshape(2, 3, 3)
        expected = 0.5 + weights / (2 * np.abs(weights).max())
        np.testing.assert_allclose(tile(figure, index, 2, (2, 3)), expected)
    assert caption(figure) == "4 hidden units, largest first; grey is zero"
    assert figure.get_suptitle() == "weights"
    rendered(figure)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1)])
def test_weights_of_grey_images_are_red_and_blue(shape):
    W1 = np.array([[4.0, -4.0, 2.0, -2.0, 0.0, 0.0]]).T
    colours = tile(plotting.plot_weights(net_of(W1), shape), 0, 1, (3, 2)).reshape(6, 3)
    red, blue = colours[:, 0], colours[:, 2]
    assert (red > blue + 0.2)[[0, 2]].all()
    assert (blue > red + 0.2)[[1, 3]].all()
    # The larger the weight, the darker.
    assert (colours[:2].sum(axis=1) < colours[2:4].sum(axis=1)).all()
    assert (colours[4:] > 0.95).all()


def test_units_are_ordered_by_what_they_contribute():
    W1 = np.diag([3.0, 1.0, 2.0, 1.0])
    figure = plotting.plot_weights(net_of(W1, [[1, 0], [0, 8], [1, 1], [0, 1]]), (2, 2), columns=4)
    darkest = [int(tile(figure, i, 4, (2, 2)).sum(axis=-1).argmin()) for i in range(4)]
    assert darkest == [1, 0, 2, 3]


def test_no_more_units_than_asked_for():
    net = net_of(np.diag([1.0, 2.0, 3.0, 4.0]))
    figure = plotting.plot_weights(net, (2, 2), max_units=2)
    assert caption(figure) == "2 of 4 hidden units, largest first; red positive, blue negative"
    assert [int(tile(figure, i, 2, (2, 2)).sum(axis=-1).argmin()) for i in range(2)] == [3, 2]


@settings(max_examples=25)
@given(
    st.integers(1, 130),
    st.none() | st.integers(1, 150),
    st.sampled_from([(2, 2), (1, 4), (4, 1, 1), (2, 6, 3)]),
)
def test_any_number_of_units_fits(n_hidden, columns, shape):
    rng = np.random.default_rng(n_hidden)
    net = net_of(rng.normal(size=(math.prod(shape), n_hidden)))
    figure = plotting.plot_weights(net, shape, columns=columns)
    shown = min(n_hidden, 100)
    height, width, _ = figure.axes[0].images[0].get_array().shape
    factor = math.ceil(64 / max(shape[:2]))
    rows, across = height // (shape[0] * factor + 6), width // (shape[1] * factor + 6)
    assert rows * across >= shown > (rows - 1) * across
    assert across == min(columns, shown) if columns else across >= rows or shown < 3
    assert max(figure.get_size_inches()) < 160
    rendered(figure)


@pytest.mark.parametrize(("n_hidden", "across", "rows"), [(50, 10, 5), (64, 8, 8), (17, 6, 3), (2, 2, 1)])
def test_rows_are_filled(n_hidden, across, rows):
    figure = plotting.plot_weights(net_of(np.ones((4, n_hidden))), (2, 2))
    height, width, _ = figure.axes[0].images[0].get_array().shape
    assert (width, height) == (across * 70, rows * 70)


def test_one_unit_and_dead_units():
    figure = plotting.plot_weights(net_of(np.zeros((12, 1))), (2, 2, 3))
    assert caption(figure) == "1 hidden unit; grey is zero"
    assert (tile(figure, 0, 1, (2, 2)) == 0.5).all()


def test_units_that_are_not_finite_are_left_out():
    W1, W2 = np.eye(4), np.ones((4, 2))
    W1[0, 0], W2[1, 1] = math.nan, math.inf
    figure = plotting.plot_weights(net_of(W1, W2), (2, 2), columns=2)
    assert caption(figure) == "2 of 4 hidden units, largest first; red positive, blue negative; 2 not finite"
    assert [int(tile(figure, i, 2, (2, 2)).sum(axis=-1).argmin()) for i in range(2)] == [2, 3]
    with pytest.raises(ValueError, match=r"`net` must have a hidden unit whose weights are finite; got none"):
        plotting.plot_weights(net_of(W1 * math.nan), (2, 2))


def test_weights_that_cannot_be_drawn_are_refused():
    net = net_of(np.ones((4, 3)))
    message = (
        r"`image_shape` must have as many values as the network's features, 4; got \(2, 3\), which has 6"
    )
    with pytest.raises(ValueError, match=message):
        plotting.plot_weights(net, (2, 3))
    for shape in ((4,), (2, 1, 2), (1, 1, 2, 2), (-2, -2)):
        with pytest.raises(
            ValueError, match=r"`image_shape` must be \(H, W\), \(H, W, 1\) or \(H, W, 3\); got "
        ):
            plotting.plot_weights(net, shape)
    with pytest.raises(ValueError, match=r"`max_units` must be at least 1; got 0"):
        plotting.plot_weights(net, (2, 2), max_units=0)
    with pytest.raises(ValueError, match=r"`columns` must be at least 1; got 0"):
        plotting.plot_weights(net, (2, 2), columns=0)
    stacked = TwoLayerNet(*(np.stack([a, a]) for a in net))
    with pytest.raises(ValueError, match=r"`net` must be one network; got a stack of 2"):
        plotting.plot_weights(stacked, (2, 2))


def test_mistakes_are_drawn_with_both_names():
    X = np.arange(16).reshape(4, 4) % 5
    figure = plotting.plot_mistakes(
        X, np.array([0, 1, 0, 1]), np.array([1, 1, 0, 0]), ["cat", "dog"], (2, 2), title="mistakes"
    )
    assert [axes.get_title() for axes in figure.axes] == ["cat → dog", "dog → cat"]
    assert caption(figure) == "2 mistakes in 4 images; true → predicted"
    ink = figure.axes[0].images[0].get_array()[..., 0]
    np.testing.assert_allclose(ink, 1 - X[0].reshape(2, 2) / 4)
    rendered(figure)


def test_mistakes_in_colour_are_drawn_as_they_are():
    X = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    X[0, 0, 0] = [255, 0, 51]
    figure = plotting.plot_mistakes(
        X, np.array([0, 0]), np.array([1, 1]), ["a", "b"], (2, 2, 3), max_images=1
    )
    assert caption(figure) == "1 of 2 mistakes in 2 images; true → predicted"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0, 0], [1, 0, 0.2])
    rendered(figure)


@pytest.mark.parametrize(
    ("wrong", "expected"), [(0, "no mistakes in 3 images"), (1, "1 mistake in 3 images; ")]
)
def test_few_or_no_mistakes(wrong, expected):
    y_pred = np.array([1] * wrong + [0] * (3 - wrong))
    figure = plotting.plot_mistakes(np.ones((3, 4)), np.array([0, 0, 0]), y_pred, ["a", "b"], (2, 2))
    assert caption(figure).startswith(expected)
    rendered(figure)


def test_mistakes_that_cannot_be_drawn_are_refused():
    X, y, classes = np.ones((3, 4)), np.zeros(3, dtype=int), ["a", "b"]
    with pytest.raises(
        ValueError, match=r"`image_shape` must have as many values as an image, 4; got \(3, 2\)"
    ):
        plotting.plot_mistakes(X, y, y, classes, (3, 2))
    with pytest.raises(ValueError, match=r"one label for each of the 3 images; got shapes \(3,\) and \(2,\)"):
        plotting.plot_mistakes(X, y, y[:2], classes, (2, 2))
    with pytest.raises(ValueError, match=r"`X` must hold at least one image; got none"):
        plotting.plot_mistakes(X[:0], y[:0], y[:0], classes, (2, 2))
    with pytest.raises(ValueError, match=r"`max_images` must be at least 1; got 0"):
        plotting.plot_mistakes(X, y, y, classes, (2, 2), max_images=0)
