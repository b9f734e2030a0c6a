"""Pictures made of images: the hidden units' weights, and the mistakes."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import drawn, in_house_style, net_of, new_ax, rendered, texts

from twolayer import TwoLayerNet, plotting

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def weights_of(*arguments, **keywords):
    return drawn(plotting.plot_weights, *arguments, **keywords)


def mistakes_of(*arguments, **keywords):
    return drawn(plotting.plot_mistakes, *arguments, **keywords)


def caption(ax):
    return ax.get_xlabel().replace("\n", " ")


def corners(ax):
    """The upper left pixel of each tile."""
    (frames,) = ax.collections
    return [np.round(path.vertices.min(axis=0) + 0.5).astype(int) for path in frames.get_paths()]


def tile(ax, index, shape):
    """The colours of a tile: one for each pixel of its image."""
    page = ax.images[0].get_array()
    left, top = corners(ax)[index]
    factor = math.ceil(32 / max(shape))
    rows, across = (np.arange(length) * factor + factor // 2 for length in shape)
    colours = page[top + rows][:, left + across]
    assert (colours[..., 3] == 255).all()
    return colours[..., :3] / 255


def rows_and_columns(ax):
    lefts, tops = np.transpose(corners(ax))
    return len(set(tops)), len(set(lefts))


def lightest(ax):
    """The index of the lightest pixel of each tile; the images have 2 by 2 pixels."""
    return [int(tile(ax, i, (2, 2)).sum(axis=-1).argmax()) for i in range(len(corners(ax)))]


def test_weights_of_colour_images_are_colours_around_grey():
    rng = np.random.default_rng(0)
    W1 = rng.normal(size=(2 * 3 * 3, 4)) * [1, 8, 4, 2]
    ax = weights_of(net_of(W1), (2, 3, 3), columns=2)
    for index, unit in enumerate([1, 2, 3, 0]):
        weights = W1[:, unit].reshape(2, 3, 3)
        expected = 0.5 + weights / (2 * np.abs(weights).max())
        np.testing.assert_allclose(tile(ax, index, (2, 3)), expected, atol=1 / 255)
    assert caption(ax) == "4 hidden units, largest first; grey is zero"


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1)])
def test_weights_of_grey_images_are_dark_and_light(shape):
    W1 = np.array([[4.0, -4.0, 2.0, -2.0, 0.0, 0.0]]).T
    colours = tile(weights_of(net_of(W1), shape), 0, (3, 2)).reshape(6, 3)
    expected = np.array([1, 0, 0.75, 0.25, 0.5, 0.5])
    np.testing.assert_allclose(colours, np.stack([expected] * 3, axis=1), atol=1 / 255)


def test_units_are_ordered_by_their_contribution():
    net = net_of(np.diag([3.0, 1.0, 2.0, 1.0]), [[1, 0], [0, 8], [1, 1], [0, 1]])
    assert lightest(weights_of(net, (2, 2), columns=4)) == [1, 0, 2, 3]
    ax = weights_of(net, (2, 2), max_units=2)
    assert caption(ax) == "2 of 4 hidden units, largest first; white positive, black negative"
    assert lightest(ax) == [1, 0]


@settings(max_examples=25)
@given(
    st.integers(1, 130),
    st.none() | st.integers(1, 150),
    st.sampled_from([(2, 2), (1, 4), (4, 1, 1), (2, 6, 3)]),
)
def test_any_number_of_units_can_be_drawn(n_hidden, columns, shape):
    rng = np.random.default_rng(n_hidden)
    net = net_of(rng.normal(size=(math.prod(shape), n_hidden)))
    ax = weights_of(net, shape, columns=columns)
    shown = min(n_hidden, 100)
    rows, across = rows_and_columns(ax)
    assert len(corners(ax)) == shown > (rows - 1) * across
    assert across == min(columns, shown) if columns else across >= rows or shown < 3


def test_units_are_arranged_with_few_empty_places():
    for n_hidden, rows, across in ((50, 5, 10), (64, 8, 8), (17, 3, 6), (2, 1, 2)):
        assert rows_and_columns(weights_of(net_of(np.ones((4, n_hidden))), (2, 2))) == (rows, across)


def test_a_single_dead_unit_is_grey():
    ax = weights_of(net_of(np.zeros((12, 1))), (2, 2, 3))
    assert caption(ax) == "1 hidden unit; grey is zero"
    assert (abs(tile(ax, 0, (2, 2)) - 0.5) < 1 / 255).all()


def test_units_that_are_not_finite_are_left_out():
    W1, W2 = np.eye(4), np.ones((4, 2))
    W1[0, 0], W2[1, 1] = math.nan, math.inf
    ax = weights_of(net_of(W1, W2), (2, 2), columns=2)
    assert caption(ax) == "2 of 4 hidden units, largest first; white positive, black negative; 2 not finite"
    assert lightest(ax) == [2, 3]


def probs_of(y_pred, confidence=0.75, n_classes=2):
    """Probabilities: ``confidence`` for the predicted class, and equal shares of the rest for the others."""
    y_pred = np.asarray(y_pred)
    rest = (1 - np.asarray(confidence)) / (n_classes - 1)
    hits = y_pred[:, None] == np.arange(n_classes)
    return np.where(hits, np.reshape(confidence, (-1, 1)), np.reshape(rest, (-1, 1)))


def test_mistakes_are_drawn_with_both_names_and_the_probability():
    X = np.arange(16).reshape(4, 4) % 5
    probs = probs_of([1, 1, 0, 0], [0.7, 0.9, 0.8, 0.95])
    ax = mistakes_of(X, np.array([0, 1, 0, 1]), probs, ["cat", "dog"], (2, 2))
    assert texts(ax) == ["dog → cat\n0.95", "cat → dog\n0.70"]
    expected = "2 mistakes in 4 images, the most wrong first; true → predicted class and its probability"
    assert caption(ax) == expected
    np.testing.assert_allclose(tile(ax, 1, (2, 2))[..., 0], 1 - X[0].reshape(2, 2) / 4, atol=1 / 255)


def test_mistakes_are_sorted_by_cross_entropy():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), 60)
    y = rng.integers(0, 5, 60)
    wrong = [i for i in range(60) if probs[i].argmax() != y[i]]
    wrong.sort(key=lambda i: math.log(probs[i, y[i]]))
    # Image i is a single pixel of brightness i, so each tile identifies its sample.
    X = np.arange(60.0)[:, None]
    ax = mistakes_of(X, y, probs, list("abcde"), (1, 1), max_images=7)
    assert caption(ax).startswith(f"7 of {len(wrong)} mistakes in 60 images")
    shown = [round(59 * (1 - tile(ax, i, (1, 1))[0, 0, 0])) for i in range(7)]
    assert shown == wrong[:7]
    expected = [f"{'abcde'[y[i]]} → {'abcde'[probs[i].argmax()]}\n{probs[i].max():.2f}" for i in wrong[:7]]
    assert texts(ax) == expected


def test_mistakes_with_a_true_class_of_probability_zero_come_first():
    ax = mistakes_of(np.eye(3), [0, 0, 0], np.array([[0.0, 1], [0.4, 0.6], [0, 1]]), ["a", "b"], (3, 1))
    assert [text[-4:] for text in texts(ax)] == ["1.00", "1.00", "0.60"]


@pytest.mark.parametrize("shape", [(1500, 1), (1, 1500)])
def test_weights_of_one_row_or_column_make_a_picture_of_usual_size(shape):
    net = TwoLayerNet.initialize(1500, 30, 3, rng=0)
    assert max(in_house_style("weights", net, shape).get_size_inches()) <= 21


@settings(max_examples=25)
@given(st.integers(1, 100), st.integers(1, 3000), st.integers(1, 3000), st.none() | st.integers(1, 100))
def test_the_page_of_tiles_has_a_bounded_number_of_pixels(n_hidden, height, width, columns):
    limit = 10**6 // n_hidden
    width = max(1, min(width, limit // height))
    W1 = np.ones((height * width, n_hidden), np.float32)
    net = TwoLayerNet(W1, W1[0], np.ones((n_hidden, 2), np.float32), np.ones(2, np.float32))
    ax = weights_of(net, (height, width), columns=columns)
    n_rows, n_columns = rows_and_columns(ax)
    page = ax.images[0].get_array()
    # A tile's longer side has at least 32 pixels. Around the tile are a frame and a gap on each side.
    assert page.shape[0] <= max(4096, 32 * n_rows) * 1.1 + 3 * n_rows
    assert page.shape[1] <= max(4096, 32 * n_columns) * 1.1 + 3 * n_columns
    assert len(corners(ax)) == n_hidden


@pytest.mark.parametrize("shape", [(1000, 1), (1, 1000)])
def test_tall_and_wide_images_take_little_memory(shape):
    net = TwoLayerNet.initialize(1000, 100, 3, rng=0)
    rng = np.random.default_rng(0)
    X, probs = rng.random((24, 1000)), probs_of([1] * 24)
    ax = new_ax()
    tracemalloc.start()
    try:
        plotting.plot_weights(net, shape, ax=ax)
        plotting.plot_mistakes(X, np.zeros(24, int), probs, ["a", "b"], shape, ax=ax)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6  # the weights in float64 take 0.8 MB


@pytest.mark.parametrize("shape", [(100_000, 1), (1, 100_000), (400, 500)])
def test_large_images_are_thinned_out(shape):
    """A small file may declare very long images: every 25th pixel is drawn. Images of 400×500 stay whole."""
    W1 = np.linspace(0, 1, math.prod(shape)).reshape(shape)
    net = TwoLayerNet(W1.reshape(-1, 1), np.zeros(1), np.ones((1, 2)), np.zeros(2))
    page = weights_of(net, shape).images[0].get_array()
    step = 25 if 1 in shape else 1
    expected = np.rint(255 * (0.5 + W1[::step, ::step] / 2)).astype(np.uint8)
    left, top = corners(weights_of(net, shape))[0]
    shown = page[top : top + expected.shape[0], left : left + expected.shape[1]]
    np.testing.assert_array_equal(shown[..., 0], expected)
    assert (shown[..., 3] == 255).all()


@pytest.mark.parametrize("columns", [4, 8, 12])
@pytest.mark.parametrize("figsize", [(12, 5), (5, 4), (4, 9)])
def test_names_below_images_neither_overlap_nor_reach_into_the_next_image(columns, figsize):
    names = ["automobile", "airplane", "deer", "ship"]
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 24)
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=figsize, layout="constrained")
    ax = figure.subplots()
    X, probs = rng.random((24, 16)), probs_of((y + 1) % 4, 0.7, 4)
    plotting.plot_mistakes(X, y, probs, names, (4, 4), columns=columns, ax=ax)
    rendered(figure)
    boxes = [text.get_window_extent() for text in ax.texts]
    left, bottom = ax.transData.inverted().transform([(box.x0, box.y0) for box in boxes]).T
    right, top = ax.transData.inverted().transform([(box.x1, box.y1) for box in boxes]).T
    factor = math.ceil(32 / 4) * 4
    step = np.diff(sorted({corner[0] for corner in corners(ax)})).min()
    height = np.diff(sorted({corner[1] for corner in corners(ax)})).min()
    for index, (x, y) in enumerate(corners(ax)):
        middle = x + factor / 2
        assert middle - step / 2 <= left[index] < right[index] <= middle + step / 2
        assert y + factor - 1 <= top[index] < bottom[index] <= y + height


def test_mistakes_of_colour_images_are_drawn_in_their_colours():
    X = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    X[0, 0, 0] = [255, 0, 51]
    ax = mistakes_of(X, np.array([0, 0]), probs_of([1, 1]), ["a", "b"], (2, 2, 3), max_images=1)
    assert caption(ax) == "1 of 2 mistakes in 2 images; true → predicted class and its probability"
    np.testing.assert_allclose(tile(ax, 0, (2, 2))[0, 0], [1, 0, 0.2])


def test_a_single_mistake_and_no_mistakes_have_captions_of_their_own():
    given = np.ones((3, 4)), np.array([0, 0, 0])
    one = mistakes_of(*given, probs_of([1, 0, 0]), ["a", "b"], (2, 2))
    assert caption(one).startswith("1 mistake in 3 images; ")
    assert texts(mistakes_of(*given, probs_of([0, 0, 0]), ["a", "b"], (2, 2))) == ["no mistakes in 3 images"]
