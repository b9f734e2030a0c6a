"""The picture of a confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import cell_texts, drawn, in_house_style, texts, tick_texts

from twolayer import plotting

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def test_confusion_shows_counts_and_leaves_zeros_blank():
    counts = np.array([[50, 0, 1], [2, 40, 0], [0, 0, 0]])
    axes = drawn(plotting.plot_confusion, counts, ["a", "b", "c"])
    assert cell_texts(axes) == {(0, 0): "50", (2, 0): "1", (0, 1): "2", (1, 1): "40"}
    assert tick_texts(axes.xaxis) == tick_texts(axes.yaxis) == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    colours = axes.images[0].get_array()[..., :3]
    assert (colours[counts == 0] == 1).all()
    red, _, blue = np.moveaxis(colours, -1, 0)
    assert (blue > red)[[0, 1], [0, 1]].all()
    assert (red > blue)[[0, 1], [2, 0]].all()
    # The larger share of errors is darker: 2 of 42 against 1 of 51.
    assert colours[1, 0].sum() < colours[0, 2].sum()


def test_percentages_are_shares_of_the_true_class():
    axes = drawn(plotting.plot_confusion, [[999, 1], [25, 75]], ["grey cats", "old dogs"], percentages=True)
    assert cell_texts(axes) == {(0, 0): "100", (1, 0): "<1", (0, 1): "25", (1, 1): "75"}
    assert axes.get_xlabel() == "predicted class (% of the true class)"
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {45}


def test_confusion_of_many_classes_is_drawn_without_numbers():
    names = [str(i) for i in range(60)]
    axes = drawn(plotting.plot_confusion, np.eye(60, dtype=int), names)
    assert not texts(axes)
    assert axes.get_ylabel() == "true class, by its place"  # the ticks are indices, not names
    assert not [*axes.get_xticks(minor=True), *axes.get_yticks(minor=True)]
    assert max(in_house_style("confusion", np.eye(60, dtype=int), names).get_size_inches()) < 10


def test_a_confusion_matrix_of_a_thousand_classes_can_be_drawn():
    drawn(plotting.plot_confusion, np.eye(1000, dtype=int), [str(i) for i in range(1000)])
