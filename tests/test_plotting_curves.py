"""The picture of a run's history."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import history_of, labelled, rendered, texts

from twolayer import History, TwoLayerNet, plotting, train
from twolayer.plotting.curves import smoothed

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def assert_no_overlap(figure, artists):
    backend = pytest.importorskip("matplotlib.backends.backend_agg")
    renderer = backend.FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [artist.get_window_extent(renderer) for artist in artists]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_history_shows_every_loss_and_its_average():
    loss = 1 + np.random.default_rng(0).random(200)
    left, right = plotting.plot_history(history_of(loss)).axes
    (raw,), (smooth,) = labelled(left, "loss"), labelled(left, "smoothed loss")
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 201))
    np.testing.assert_array_equal(raw.get_ydata(), loss)
    # A window of four: two before, itself, one after.
    expected = [loss[max(i - 2, 0) : i + 2].mean() for i in range(200)]
    np.testing.assert_allclose(smooth.get_ydata(), expected)
    np.testing.assert_array_equal(smooth.get_xdata(), raw.get_xdata())
    assert left.get_yscale() == "linear"
    assert not texts(left)
    assert [axes.get_xlabel() for axes in (left, right)] == ["step", "epoch"]


@settings(max_examples=25)
@given(st.integers(1, 9000), st.integers(0, 2**32))
def test_average_of_a_line_is_the_line_wherever_the_window_is_whole(n_steps, seed):
    slope = np.random.default_rng(seed).random()
    centres, smooth = smoothed(slope * np.arange(1, n_steps + 1))
    assert len(centres) <= 2000
    # Even windows stand half a step to the left; windows of the last block may be longer.
    inner = slice(60, -60)
    block = math.ceil(n_steps / 2000)
    np.testing.assert_allclose(smooth[inner], slope * centres[inner], atol=slope * (block / 2 + 1e-6))
    assert smooth.min() >= slope * (1 - 1e-9)
    assert smooth.max() <= slope * n_steps * (1 + 1e-9)


def test_loss_that_spans_two_decades_has_a_logarithmic_axis():
    left, _ = plotting.plot_history(history_of(np.geomspace(3, 0.02, 300))).axes
    assert left.get_yscale() == "log"
    low, high = left.get_ylim()
    assert low < 0.02
    assert high > 3


def test_losses_of_zero_do_not_hinder_a_logarithmic_axis():
    figure = plotting.plot_history(history_of([*np.geomspace(3, 0.001, 300), *[0.0] * 100]))
    assert figure.axes[0].get_yscale() == "log"
    rendered(figure)


@pytest.mark.parametrize(("n_finite", "align"), [(10, "left"), (90, "right"), (99, "right")])
def test_divergence_is_marked_at_its_step(n_finite, align):
    loss = np.full(100, math.nan)
    loss[:n_finite] = 2.0
    left, _ = plotting.plot_history(history_of(loss)).axes
    assert texts(left) == [f"diverged at step {n_finite + 1}"]
    assert left.texts[0].get_ha() == align
    (line,) = labelled(left, "diverged")
    assert line.get_xdata()[0] == n_finite + 1
    (lost,) = left.patches
    assert lost.get_hatch()
    assert lost.get_x() == n_finite + 1
    assert len(labelled(left, "loss")[0].get_ydata()) == n_finite


@pytest.mark.parametrize("highest", [4.0, 1e30, 1.7e308])
def test_label_of_a_divergence_keeps_off_the_curve(highest):
    for ratio, place in ((highest, "bottom"), (1 / highest, "top")):
        loss = np.append(np.geomspace(1, ratio, 90), [math.nan] * 10)
        left, _ = plotting.plot_history(history_of(loss)).axes
        assert left.texts[0].get_va() == place


def test_infinite_loss_counts_as_diverged_though_later_ones_are_finite():
    left, _ = plotting.plot_history(history_of([1.0, math.inf, 1.0, 1.0])).axes
    assert texts(left) == ["diverged at step 2"]


def test_weights_that_are_lost_at_an_epochs_end_are_a_divergence_too():
    history = history_of(np.ones(40), train_accuracy=[0.5, 0.6, math.nan, math.nan])
    left, _ = plotting.plot_history(history).axes
    assert texts(left) == ["diverged at step 30"]


def test_history_of_a_run_that_never_lived():
    nothing = np.full(4, math.nan)
    figure = plotting.plot_history(history_of(np.full(8, math.nan), train_accuracy=nothing))
    assert texts(figure.axes[0]) == ["diverged at step 1"]
    assert not figure.axes[1].lines
    assert texts(figure.axes[1]) == ["no epoch to show"]
    assert not list(figure.axes[1].get_yticks())
    rendered(figure)


@pytest.mark.parametrize("highest", [1e20, 1e200, 1.7e308])
def test_losses_that_grow_without_bounds_can_be_drawn(highest):
    figure = plotting.plot_history(history_of(np.geomspace(2, highest, 100)))
    rendered(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 2
    assert min(highest, 1e100) < high < 1e101
    rendered(plotting.plot_history(history_of(np.full(100, highest))))


def test_the_marked_step_is_the_one_that_the_run_names():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    net = TwoLayerNet.initialize(3, 5, 2, rng=0)
    run = train(net, X, y, learning_rate=1e4, reg=1.0, batch_size=5, epochs=4, rng=0)
    assert run.diverged is not None
    left, _ = plotting.plot_history(run.history).axes
    assert texts(left) == [f"diverged at step {run.diverged}"]


def test_accuracies_are_labelled_and_the_first_best_is_marked():
    history = history_of(
        np.ones(40), train_accuracy=[0.5, 0.7, 0.8, 0.9], validation_accuracy=[0.5, 0.75, 0.75, 0.7]
    )
    figure = plotting.plot_history(history, baseline=0.1, title="digits")
    right = figure.axes[1]
    assert texts(right) == ["training 0.900", "validation 0.700", "best 0.750, epoch 2", "baseline 0.100"]
    (best,) = labelled(right, "best")
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.75)
    assert labelled(right, "baseline")[0].get_ydata()[0] == 0.1
    low, high = right.get_ylim()
    assert low < 0.1
    assert high > 0.9
    assert figure.get_suptitle() == "digits"


@settings(max_examples=25)
@given(*[st.integers(0, 100).map(lambda percent: percent / 100)] * 3)
def test_labels_of_accuracies_never_overlap(training, validation, baseline):
    history = history_of(np.ones(4), train_accuracy=[training] * 4, validation_accuracy=[validation] * 4)
    figure = plotting.plot_history(history, baseline=baseline)
    right = figure.axes[1]
    assert_no_overlap(figure, right.texts)
    # From bottom to top they stand as what they name.
    value = {"training": training, "validation": validation, "best": validation, "baseline": baseline}
    rising = sorted(right.texts, key=lambda text: text.xy[1])
    values = [value[text.get_text().split()[0]] for text in rising]
    assert values == sorted(values)


def test_without_a_validation_set_there_is_no_best():
    right = plotting.plot_history(history_of(np.ones(40))).axes[1]
    assert texts(right) == ["training 0.900"]
    assert [line.get_label() for line in right.lines] == ["training"]


def test_history_of_a_run_that_was_stopped_in_its_first_epoch():
    figure = plotting.plot_history(history_of(np.ones(3), n_epochs=0))
    low, high = figure.axes[1].get_xlim()
    assert low < high
    rendered(figure)


@pytest.mark.parametrize("loss", [1.0, math.nan])
def test_history_of_a_single_step(loss):
    figure = plotting.plot_history(history_of([loss], n_epochs=1))
    assert texts(figure.axes[0]) == ([] if loss == 1.0 else ["diverged at step 1"])
    rendered(figure)


def test_history_of_a_stack_is_refused():
    one = history_of(np.ones(40))
    stacked = History(*(a if name == "step" else np.stack([a] * 3) for name, a in one._asdict().items()))
    with pytest.raises(ValueError, match=r"`history` must be of one network; got a stack of 3"):
        plotting.plot_history(stacked)
    plotting.plot_history(stacked.select(0))
