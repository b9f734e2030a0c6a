"""The reliability diagram."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import drawn, labelled, texts

from twolayer import plotting, report

pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def calibration_of(y, probs, **keywords):
    return drawn(plotting.plot_calibration, y, probs, **keywords)


@pytest.mark.parametrize("n_bins", [1, 10, 30])
def test_each_bin_with_samples_is_a_point_with_its_gap_and_its_count(n_bins):
    rng = np.random.default_rng(0)
    y, probs = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    bins = report.calibration_bins(y, probs, n_bins)
    ax = calibration_of(y, probs, n_bins=n_bins)
    filled = bins.n_samples > 0
    expected = np.stack([bins.confidence, bins.accuracy], axis=1)[filled]
    (line,) = labelled(ax, "_accuracy")
    np.testing.assert_array_equal(line.get_xydata(), expected)
    gaps, points = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), expected)
    ranks = [np.argsort(sizes, kind="stable") for sizes in (points.get_sizes(), bins.n_samples[filled])]
    np.testing.assert_array_equal(*ranks)
    # Each gap extends from the diagonal to the point.
    np.testing.assert_array_equal(gaps.get_segments(), np.stack([expected[:, [0, 0]], expected], axis=1))
    heights = np.array([bar.get_height() for bar in ax.patches])
    np.testing.assert_allclose(heights / heights.max(), bins.n_samples / bins.n_samples.max())
    # The bars are below the diagram, which begins at 0.
    assert max(bar.get_y() + bar.get_height() for bar in ax.patches) < 0
    counts = [] if n_bins == 30 else [str(n) for n in bins.n_samples[filled]]
    *numbers, words = texts(ax)
    assert numbers == counts
    accuracy = (probs.argmax(axis=1) == y).mean()
    assert words.split("\n") == [
        f"ECE {report.expected_calibration_error(y, probs, n_bins):.3f}",
        f"accuracy {accuracy:.3f}",
        f"mean confidence {probs.max(axis=1).mean():.3f}",
        "200 samples",
    ]


def test_a_single_sample_can_be_drawn():
    ax = calibration_of([1], [[0.0, 1.0]])
    assert texts(ax)[-1] == "ECE 0.000\naccuracy 1.000\nmean confidence 1.000\n1 sample"
