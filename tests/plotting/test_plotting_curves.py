"""The pictures of a run's history."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import drawn, history_of, labelled, legend_texts, texts

from twolayer import TwoLayerNet, plotting, train
from twolayer.plotting.curves import smoothed

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def loss_of(history):
    return drawn(plotting.plot_loss, history)


def accuracy_of(history):
    return drawn(plotting.plot_accuracy, history)


def test_plot_loss_shows_every_loss_and_the_moving_average():
    loss = 1 + np.random.default_rng(0).random(200)
    ax = loss_of(history_of(loss))
    (raw,), (smooth,) = labelled(ax, "each step"), labelled(ax, "moving average")
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 201))
    np.testing.assert_array_equal(raw.get_ydata(), loss)
    # The window has four steps: two before, the step itself, and one after.
    expected = [loss[max(i - 2, 0) : i + 2].mean() for i in range(200)]
    np.testing.assert_allclose(smooth.get_ydata(), expected)
    np.testing.assert_array_equal(smooth.get_xdata(), raw.get_xdata())
    assert ax.get_yscale() == "linear"
    assert not texts(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    assert legend_texts(ax) == ["each step", "moving average"]


@settings(max_examples=25)
@given(st.integers(1, 9000), st.integers(0, 2**32))
def test_the_moving_average_of_a_line_is_the_line_within_whole_windows(n_steps, seed):
    slope = np.random.default_rng(seed).random()
    centres, smooth = smoothed(slope * np.arange(1, n_steps + 1))
    assert len(centres) <= 2000
    # Even windows are centred half a block too far left. The last block may be shorter than the others.
    inner = slice(60, -60)
    block = math.ceil(n_steps / 2000)
    np.testing.assert_allclose(smooth[inner], slope * centres[inner], atol=slope * (block / 2 + 1e-6))
    assert smooth.min() >= slope * (1 - 1e-9)
    assert smooth.max() <= slope * n_steps * (1 + 1e-9)


def test_loss_that_spans_two_decades_has_a_logarithmic_axis():
    ax = loss_of(history_of(np.geomspace(3, 0.02, 300)))
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 0.02 < 3 < high
    # Losses of zero do not prevent it.
    assert loss_of(history_of([*np.geomspace(3, 0.001, 300), *[0.0] * 100])).get_yscale() == "log"


@pytest.mark.parametrize(("n_finite", "align"), [(10, "left"), (90, "right"), (99, "right")])
def test_divergence_is_marked_at_its_step(n_finite, align):
    loss = np.full(100, math.nan)
    loss[:n_finite] = 2.0
    ax = loss_of(history_of(loss))
    assert texts(ax) == [f"diverged at step {n_finite + 1}"]
    assert ax.texts[0].get_ha() == align
    (line,) = labelled(ax, "_diverged")
    assert line.get_xdata()[0] == n_finite + 1
    (lost,) = ax.patches
    assert lost.get_hatch()
    assert lost.get_x() == n_finite + 1
    assert len(labelled(ax, "each step")[0].get_ydata()) == n_finite


@pytest.mark.parametrize("highest", [4.0, 1e30, 1.7e308])
def test_the_label_of_a_divergence_does_not_cover_the_curve(highest):
    for ratio, place in ((highest, "bottom"), (1 / highest, "top")):
        loss = np.append(np.geomspace(1, ratio, 90), [math.nan] * 10)
        ax = loss_of(history_of(loss))
        assert ax.texts[0].get_va() == place


def test_divergence_is_the_first_loss_or_accuracy_that_is_not_finite():
    # Later losses may be finite. No loss shows that an epoch's last update made weights infinite.
    assert texts(loss_of(history_of([1.0, math.inf, 1.0, 1.0]))) == ["diverged at step 2"]
    history = history_of(np.ones(40), train_accuracy=[0.5, 0.6, math.nan, math.nan])
    assert texts(loss_of(history)) == ["diverged at step 30"]


def test_a_run_that_diverged_at_its_first_step_can_be_drawn():
    history = history_of(np.full(8, math.nan), train_accuracy=[math.nan] * 4)
    losses, accuracies = loss_of(history), accuracy_of(history)
    assert texts(losses) == ["diverged at step 1"]
    assert not accuracies.lines
    assert texts(accuracies) == ["no epoch to show"]
    assert not list(accuracies.get_yticks())
    assert not loss_of({"a": history}).get_yticks().size
    assert texts(accuracy_of({"a": history})) == ["no epoch to show"]


@pytest.mark.parametrize("highest", [1e20, 1e200, 1.7e308])
def test_losses_up_to_the_largest_float_can_be_drawn(highest):
    ax = loss_of(history_of(np.geomspace(2, highest, 100)))
    low, high = ax.get_ylim()
    assert low < 2
    assert min(highest, 1e100) < high < 1e101
    loss_of(history_of(np.full(100, highest)))


def test_the_marked_step_is_that_of_run_diverged():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    net = TwoLayerNet.initialize(3, 5, 2, rng=0)
    run = train(net, X, y, learning_rate=1e4, reg=1.0, batch_size=5, epochs=4, rng=0)
    assert run.diverged is not None
    assert texts(loss_of(run.history)) == [f"diverged at step {run.diverged}"]


def test_accuracies_are_labelled_and_the_first_best_is_marked():
    given = {"train_accuracy": [0.5, 0.7, 0.8, 0.9], "validation_accuracy": [0.5, 0.75, 0.75, 0.7]}
    ax = accuracy_of(history_of(np.ones(40), **given))
    assert legend_texts(ax) == ["training 0.900", "validation 0.700", "best 0.750, epoch 2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "accuracy")
    training, validation, best = ax.lines
    assert best.get_xydata().tolist() == [[2, 0.75]]
    assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")
    assert training.get_marker() != validation.get_marker()
    low, high = ax.get_ylim()
    assert low < 0.5 < 0.9 < high


def test_without_a_validation_set_no_best_is_marked():
    ax = accuracy_of(history_of(np.ones(40)))
    assert legend_texts(ax) == ["training 0.900"]
    assert len(ax.lines) == 1


def test_a_run_that_was_stopped_in_its_first_epoch_can_be_drawn():
    low, high = accuracy_of(history_of(np.ones(3), n_epochs=0)).get_xlim()
    assert low < high
    assert not loss_of(history_of(np.ones(0), n_epochs=0)).lines


@pytest.mark.parametrize(("loss", "shown"), [(1.0, []), (math.nan, ["diverged at step 1"])])
def test_a_history_of_a_single_step_can_be_drawn(loss, shown):
    history = history_of([loss], n_epochs=1)
    assert texts(loss_of(history)) == shown
    accuracy_of(history)


def test_the_legend_does_not_cover_the_curve():
    for losses, place in ((np.geomspace(1, 90, 90), "upper left"), (np.geomspace(90, 1, 90), "upper right")):
        ax = loss_of(history_of(losses))
        assert ax.get_legend().get_window_extent().width
        assert ax.get_legend()._loc_real == ax.get_legend().codes[place]


def test_several_histories_differ_in_more_than_colour():
    falling = {f"rate {k}": history_of(np.geomspace(3 + k, 0.5, 300)) for k in range(12)}
    falling["lost"] = history_of([*np.geomspace(2, 9, 150), *[math.nan] * 150])
    ax = loss_of(falling)
    assert legend_texts(ax) == [*(f"rate {k}" for k in range(12)), "lost, diverged at step 151"]
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == 13
    assert len({line.get_marker() for line in lines[:8]}) == 8
    centres, smooth = smoothed(falling["rate 3"].loss)
    np.testing.assert_array_equal(lines[3].get_xydata(), np.stack([centres, smooth], axis=1))
    cross = ax.lines[-1]
    assert (cross.get_marker(), cross.get_xdata()[0]) == ("x", lines[-1].get_xdata()[-1])


def test_accuracies_of_several_histories_are_labelled():
    ax = accuracy_of(
        {
            "one": history_of(np.ones(40), validation_accuracy=[0.5, 0.75, 0.75, 0.7]),
            "without validation": history_of(np.ones(40)),
            "nothing": history_of(np.ones(40), train_accuracy=[math.nan] * 4),
        }
    )
    assert legend_texts(ax) == [
        "one: best 0.750, epoch 2",
        "without validation: training 0.900",
        "nothing: no epoch to show",
        "training",
    ]
    (ring,) = labelled(ax, "_best")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 0.75)
    (validation,) = labelled(ax, "one: best 0.750, epoch 2")
    training = labelled(ax, "_one, training") + labelled(ax, "_without validation, training")
    assert [line.get_linestyle() for line in (validation, *training)] == ["-", "--", "--"]
    assert validation.get_color() == training[0].get_color() != training[1].get_color()
