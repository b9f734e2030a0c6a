"""The pictures of a sweep: heat maps, points, and parallel coordinates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from support.pictures import (
    candidate,
    cell_texts,
    diverged,
    drawn,
    in_house_style,
    labelled,
    legend_texts,
    random_search,
    rendered,
    table_of,
    texts,
    tick_texts,
)

from twolayer import plotting, sweep
from twolayer._records import read_json
from twolayer.report.files import write_json
from twolayer.report.tables import varying, winner

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def heat_map(table, **keywords):
    """The axes of a heat map, followed by those of its colour bar if it has one."""
    return drawn(plotting.plot_heat_map, table, **keywords).get_figure().axes


def places(axes, *, best=False):
    """The rectangles of the cells by (column, row), or with ``best`` the frames of the winners."""
    found = [patch for patch in axes.patches if (patch.get_label() == "best") == best]
    return {(round(patch.get_x() + 0.5), round(patch.get_y() + 0.5)): patch for patch in found}


def marked(axes):
    return list(places(axes, best=True))


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def titles(panels):
    return [axes.get_title("left").replace("\n", " ") for axes in panels]


def joined_tables(*settings):
    """Tables of several pairs of hidden units and weight scale, one after the other."""
    return [row for n, scale in settings for row in table_of(n_hidden=n, weight_scale=scale)]


def test_grid_is_sorted_labelled_and_annotated():
    axes, bar = heat_map(table_of())
    assert tick_texts(axes.xaxis) == ["1e-4", "1e-3", "1e-2"]
    assert tick_texts(axes.yaxis) == ["0.3", "0.5"]
    assert labels(axes) == ("learning rate", "reg (L2 penalty)")
    assert bar.get_ylabel() == "validation accuracy"
    expected = ["0.531", "0.540", "0.630", "0.551", "0.560", "0.650"]
    assert cell_texts(axes) == {(i % 3, i // 3): text for i, text in enumerate(expected)}
    ((place, frame),) = places(axes, best=True).items()
    assert place == (2, 1)
    assert not frame.get_clip_on()  # half of the frame is outside the axes
    assert [text.get_text() for text in axes.texts if text.get_weight() == "bold"] == ["0.650"]
    assert not any(cell.get_hatch() for cell in places(axes).values())
    assert not marked(heat_map(table_of(), mark_best=False)[0])


@pytest.mark.parametrize("dark", [False, True])
def test_the_best_cells_stand_out_and_the_text_on_cells_can_be_read(dark):
    with matplotlib.style.context("dark_background" if dark else "default"):
        axes = heat_map(table_of(rates=np.linspace(0.001, 0.02, 8).tolist()))[0]
    shown = {tuple(map(int, text.get_position())): text for text in axes.texts}
    luma = {}
    for place, cell in places(axes).items():
        luma[place] = np.dot(cell.get_facecolor()[:3], [0.299, 0.587, 0.114])
        ink = np.dot(matplotlib.colors.to_rgb(shown[place].get_color()), [0.299, 0.587, 0.114])
        assert abs(luma[place] - ink) > 0.35
    rising = sorted(luma, key=lambda place: shown[place].get_text())
    assert [luma[place] for place in rising] == sorted(luma.values(), reverse=not dark)


@pytest.mark.parametrize(
    ("change", "text", "hatched", "wins"),
    [
        ({"n_seeds": 3, "validation_accuracy_std": 0.0125}, "0.650\n± 0.013", False, True),
        ({"validation_accuracy_std": math.nan}, "0.650", False, True),
        ({"diverged": 1, "validation_accuracy": math.nan}, "diverged", True, False),
        # The accuracy of a diverged candidate is neither shown nor compared.
        ({"diverged": 1, "validation_accuracy": 0.99}, "diverged", True, False),
        # A candidate with diverged seeds ranks after candidates without.
        ({"n_seeds": 3, "diverged": 2}, "0.650\n2/3 diverged", False, False),
        ({"validation_accuracy": None}, "–", True, False),
    ],
)
def test_a_cell_shows_the_accuracy_and_divergence_of_its_candidate(change, text, hatched, wins):
    table = table_of()
    table[0] |= change
    axes, bar = heat_map(table)
    assert cell_texts(axes)[2, 1] == text
    assert [place for place, cell in places(axes).items() if cell.get_hatch()] == [(2, 1)] * hatched
    assert marked(axes) == [(2, 1) if wins else (2, 0)]
    assert bar.get_ylim()[1] < 0.7


def test_diverged_cells_are_hatched_and_missing_cells_are_blank():
    (axes,) = heat_map([diverged(row) for row in table_of()])  # without a colour bar
    assert set(cell_texts(axes).values()) == {"diverged"}
    assert all(cell.get_hatch() for cell in places(axes).values())
    assert not marked(axes)
    axes, _ = heat_map(table_of()[1:])
    assert set(itertools.product(range(3), range(2))) - set(places(axes)) == {(2, 1)}
    assert axes.get_xlim() == (-0.5, 2.5)


def test_equal_values_have_a_colour_too():
    axes, bar = heat_map([candidate(rate, reg, 0.5) for rate in (1, 2) for reg in (1, 2)])
    low, high = bar.get_ylim()
    assert low < 0.5 < high
    expected = matplotlib.colormaps["viridis_r"]((0.5 - low) / (high - low))
    np.testing.assert_allclose([cell.get_facecolor() for cell in places(axes).values()], [expected] * 4)


def test_other_settings_make_small_multiples_with_one_colour_bar():
    table = joined_tables(*((n_hidden, "he") for n_hidden in (50, 5, 20, 10, 30)))
    table[-1]["validation_accuracy"] = 0.99
    *panels, bar = in_house_style("grid", table).axes
    used = [axes for axes in panels if axes.axison]
    assert titles(used) == [f"hidden units = {n}" for n in (5, 10, 20, 30, 50)]
    assert bar.get_ylabel() == "validation accuracy"
    assert all(len(places(axes)) == 6 for axes in used)
    assert [len(marked(axes)) for axes in used] == [0, 0, 0, 1, 0]
    # Three columns and two rows, with labels only at the outer edges.
    assert len(panels) == 6
    across, up = zip(*map(labels, used), strict=True)
    assert [*map(bool, up)] == [True, False, False, True, False]
    assert [*map(bool, across)] == [False, False, True, True, True]


def test_very_many_combinations_share_one_panel_of_the_best():
    table = joined_tables(*((n_hidden, "he") for n_hidden in range(1, 18)))
    ax, _ = in_house_style("grid", table, "many").axes
    assert titles([ax]) == ["in each cell, the best over hidden units"]
    assert len(in_house_style("grid", table[:-6]).axes) == 17


def test_each_cell_shows_the_best_over_the_other_settings():
    table = joined_tables((5, "he"), (50, 0.1), (500, "he"))
    for row, accuracy in zip(table, np.linspace(0.9, 0.1, len(table)), strict=True):
        row |= {"validation_accuracy": accuracy, "train_accuracy": 1 - accuracy}
    table[1] |= {"n_seeds": 2, "diverged": 1}
    for k in (0, 2, 8, 14):  # without this, the first would win in its cell
        table[k] = diverged(table[k])
    ax, _ = heat_map(table)
    shown = cell_texts(ax)
    assert len(places(ax)) == 6
    # A candidate with diverged seeds ranks after candidates without.
    expected = [f"{table[k]['validation_accuracy']:.3f}" for k in (6, 7)]
    assert [shown[2, 1], shown[2, 0], shown[0, 1]] == [*expected, "diverged"]
    assert titles([ax]) == ["in each cell, the best over hidden units, initial weight scale"]
    # Another column is shown for the same candidates.
    other = cell_texts(heat_map(table, value="train_accuracy")[0])
    assert other[2, 1] == f"{table[6]['train_accuracy']:.3f}"


def test_each_existing_combination_and_each_seed_has_a_panel():
    *panels, _ = in_house_style("grid", joined_tables((5, "he"), (5, 0.1), (10, "he"))).axes
    expected = [(5, "0.1"), (5, "he"), (10, "he")]
    assert titles(panels) == [f"hidden units = {n}, initial weight scale = {scale}" for n, scale in expected]
    runs = [{**row, "seed": seed, "diverged": None} for seed in (0, 1) for row in table_of()]
    for row in runs:
        del row["n_seeds"]
    runs[0]["diverged"] = 5
    *panels, _ = in_house_style("grid", runs).axes
    assert titles(panels) == ["seed = 0", "seed = 1"]
    assert [cell_texts(axes)[2, 1] for axes in panels] == ["diverged", "0.650"]


def test_a_setting_that_varies_replaces_an_axis_that_does_not():
    table = [candidate(0.1, reg, 0.5, n_hidden=n) for reg in (0.1, 0.2) for n in (5, 10)]
    assert labels(heat_map(table)[0]) == ("hidden units", "reg (L2 penalty)")
    table = [candidate(rate, 0.1, 0.5, n_hidden=n) for rate in (0.1, 0.2) for n in (5, 10)]
    assert labels(heat_map(table)[0]) == ("learning rate", "hidden units")
    axes, _ = heat_map(table, x="n_hidden", y="learning_rate")
    assert labels(axes) == ("hidden units", "learning rate")


def test_drawing_another_value_does_not_change_the_winner():
    axes, bar = heat_map(table_of(), value="train_accuracy")
    assert bar.get_ylabel() == "training accuracy"
    assert cell_texts(axes)[2, 1] == "0.350"
    assert marked(axes) == [(2, 1)]
    # Without validation accuracies, the value itself decides.
    table = [{"learning_rate": a, "reg": b, "score": a * b} for a in (1, 2) for b in (1, 2)]
    assert marked(heat_map(table, value="score")[0]) == [(1, 1)]


def test_large_grids_are_drawn_without_numbers():
    axes, _ = heat_map(table_of(rates=np.linspace(0.001, 0.02, 20).tolist()))
    assert not texts(axes)
    assert len(marked(axes)) == 1
    assert max(axes.figure.get_size_inches()) < 16


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ([1e-2, 1e-4, 1e-3], "log", ["1e-4", "1e-3", "1e-2"]),
        ([0.3, 0.4, 0.5], "linear", ["0.3", "0.4", "0.5"]),
        ([0.0, 0.1, 0.01], "linear", ["0", "0.01", "0.1"]),
        ([0.5], "linear", ["0.1"]),  # the tick of the learning rate, which has one value too
    ],
)
def test_a_single_setting_that_varies_is_drawn_as_points(values, scale, ticks):
    table = [candidate(0.1, reg, 0.5 + reg, n_seeds=2, validation_accuracy_std=0.01) for reg in values]
    (axes,) = heat_map(table)
    across = "learning rate" if len(values) == 1 else "reg (L2 penalty)"
    assert labels(axes) == (across, "validation accuracy")
    assert (axes.get_xscale(), tick_texts(axes.xaxis)) == (scale, ticks)
    xs, heights = axes.lines[0].get_xydata().T
    np.testing.assert_allclose(heights, sorted(0.5 + reg for reg in values))
    assert (np.diff(xs) > 0).all()
    assert texts(axes) == [f"{0.5 + max(values):.3f} ± 0.010"]
    (best,) = labelled(axes, "best")
    assert best.get_xdata()[0] == xs[-1]
    bars = axes.collections[0].get_segments()
    np.testing.assert_allclose(bars[0][:, 1], [heights[0] - 0.01, heights[0] + 0.01])


def test_a_single_large_value_has_a_tick():
    (axes,) = heat_map([candidate(500.0, 0.1, 0.5)])
    assert tick_texts(axes.xaxis) == ["500"]


def test_points_that_diverged_are_labelled():
    table = [candidate(0.1, 0.1, 0.5), diverged(candidate(1.0, 0.1, 0.5)), candidate(0.01, 0.1, 0.4)]
    (axes,) = heat_map(table)
    assert texts(axes) == ["0.500", "× diverged"]
    assert axes.texts[1].xy[0] == 1.0
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.01, 0.4], [0.1, 0.5]])
    (axes,) = heat_map([diverged(row) for row in table])
    assert texts(axes) == ["× diverged"] * 3


def test_a_random_search_is_drawn_as_points_on_a_plane():
    table = random_search(30)
    table[3] = diverged(table[3])
    axes, bar = heat_map(table)
    lost, points = axes.collections
    assert (lost.get_label(), len(lost.get_offsets()), len(points.get_offsets())) == ("diverged", 1, 29)
    best = winner(table)
    (ring,) = labelled(axes, "best")
    np.testing.assert_array_equal(ring.get_xydata(), [[best["learning_rate"], best["reg"]]])
    assert texts(axes) == [f"{best['validation_accuracy']:.3f}"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert bar.get_ylabel() == "validation accuracy"


def test_a_cell_whose_candidates_all_left_early_shows_the_best_of_them():
    rows = [
        candidate(rate, reg, rate + n_hidden / 100, n_hidden=n_hidden, rung=rung)
        for (rate, rung), reg in itertools.product(((0.1, 1), (0.2, None), (0.3, 1)), (0.1, 0.2))
        for n_hidden in (10, 30, 20)
    ]
    axes, _ = heat_map(rows)
    assert {text.split()[0] for text in cell_texts(axes).values()} == {"0.400", "0.500", "0.600"}


def test_each_cell_shows_the_best_of_the_runs_on_folds():
    runs = [
        candidate(rate, 0.1, rate + fold / 10, n_hidden=n_hidden, fold=fold)
        for rate, n_hidden, fold in itertools.product((0.1, 0.2), (4, 5), range(3))
    ]
    axes, _ = heat_map(runs)
    assert axes.get_title(loc="left") == "in each cell, the best over fold"
    assert set(cell_texts(axes).values()) == {"0.300", "0.400"}


def test_points_on_a_plane_are_smaller_the_earlier_they_left():
    rungs = [1] * 20 + [2] * 8 + [None] * 2
    table = [row | {"rung": rung} for row, rung in zip(random_search(30), rungs, strict=True)]
    axes, _ = heat_map(table)
    (points,) = [one for one in axes.collections if one.get_label() == "validation accuracy"]
    rungs_by_rate = {row["learning_rate"]: row["rung"] for row in table}
    sizes = {
        rungs_by_rate[x]: size for (x, _), size in zip(points.get_offsets(), points.get_sizes(), strict=True)
    }
    assert len(set(points.get_sizes())) == 3
    assert sizes[1] < sizes[2] < sizes[None]
    assert legend_texts(axes) == ["left at rung 1", "left at rung 2"]
    legend_sizes = {
        one.get_label(): one.get_sizes()[0] for one in axes.collections if not len(one.get_offsets())
    }
    assert legend_sizes == {"left at rung 1": sizes[1], "left at rung 2": sizes[2]}


def test_points_over_one_setting_that_left_at_a_rung_are_hollow():
    table = [candidate(rate, 0.1, 0.5, rung=rung) for rate, rung in ((0.1, 1), (0.2, None), (0.3, 2))]
    (axes,) = heat_map(table)
    (left,) = labelled(axes, "left at a rung")
    assert left.get_xdata().tolist() == [0.1, 0.3]
    assert left.get_markerfacecolor() != left.get_markeredgecolor()
    assert "left at a rung" in legend_texts(axes)


def test_the_picture_of_folds_shows_each_network_and_the_mean():
    folds, seeds = (0, 1, 2, 0), (5, 5, 5, 7)
    runs = [
        {"fold": fold, "seed": seed, "validation_accuracy": 0.5 + fold / 10}
        for fold, seed in zip(folds, seeds, strict=True)
    ]
    (axes,) = in_house_style("folds", runs).get_figure().axes
    (dots,) = labelled(axes, "network")
    assert np.round(dots.get_xdata()).tolist() == [*folds]
    assert len(set(dots.get_xdata())) == 4  # each seed has a place of its own
    np.testing.assert_allclose(dots.get_ydata(), [0.5, 0.6, 0.7, 0.5])
    (mean,) = labelled(axes, "mean 0.575")
    np.testing.assert_allclose(mean.get_ydata(), 0.575)


def test_random_searches_of_all_kinds_are_drawn_on_a_plane():
    table = random_search(30)
    axes, _ = heat_map([{**row, "n_hidden": 5 + i} for i, row in enumerate(table)])
    assert len(axes.collections[0].get_offsets()) == 30
    assert axes.get_title(loc="left") == "also varied: hidden units"
    for row in table[::10]:
        row["reg"] = 0.0
    axes, _ = heat_map(table)
    assert axes.get_yscale() == "linear"
    assert len(axes.get_yticks()) <= 14
    assert len(heat_map([diverged(row) for row in table])) == 1


def test_the_table_of_a_sweep_and_its_json_copy_are_drawn_alike(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
    rates, regs = [1e-3, 0.1, 1e30], [0.0, 0.01]
    grid = {"learning_rate": rates, "reg": regs, "seed": [0, 1], "batch_size": [10]}
    result = sweep(X[:40], y[:40], validation=(X[40:], y[40:]), grid=grid, epochs=2)
    axes, _ = heat_map(result.table)
    best = result.best.settings
    assert marked(axes) == [(rates.index(best["learning_rate"]), regs.index(best["reg"]))]
    shown = cell_texts(axes)
    assert shown[2, 0] == shown[2, 1] == "diverged"
    write_json(tmp_path / "table.json", result.table)
    again, _ = heat_map(read_json(tmp_path / "table.json"))
    assert rendered(again.figure) == rendered(axes.figure)


# Parallel coordinates


def parallel(table, **keywords):
    return drawn(plotting.plot_parallel_coordinates, table, **keywords)


def bundles(ax):
    """The lines of the diverged candidates, and of the others, as arrays of shape (lines, axes, 2)."""
    return [np.array(collection.get_segments()) for collection in ax.collections]


def test_each_candidate_is_a_line_through_its_settings_to_its_value():
    table = [{**row, "n_hidden": 5 + i, "dropout": i / 40} for i, row in enumerate(random_search(20))]
    ax = parallel(table)
    headings = {text.replace("\n", " ") for text in tick_texts(ax.xaxis)}
    assert headings == {"learning rate", "reg (L2 penalty)", "hidden units", "dropout", "validation accuracy"}
    lost, lines = bundles(ax)
    assert not len(lost)
    assert lines.shape == (20, 5, 2)
    assert (lines[..., 0] == np.arange(5)).all()
    ranked = sorted(table, key=lambda row: row["validation_accuracy"])
    assert (np.diff(lines[:, -1, 1]) > 0).all()
    assert (lines[0, -1, 1], lines[-1, -1, 1]) == (0, 1)
    names = varying(table)
    for index, name in enumerate(names):
        order = np.argsort([row[name] for row in ranked])
        assert (np.diff(lines[order, index, 1]) > 0).all()
        assert 0 <= lines[:, index, 1].min() < lines[:, index, 1].max() <= 1
    # The axis is logarithmic, so equal factors are equal distances.
    rates = np.log10([row["learning_rate"] for row in ranked])
    np.testing.assert_allclose(np.corrcoef(rates, lines[:, names.index("learning_rate"), 1])[0, 1], 1)
    (best,) = labelled(ax, "best")
    np.testing.assert_allclose(best.get_xydata(), lines[-1])
    assert f"best {ranked[-1]['validation_accuracy']:.3f}" in texts(ax)


def test_candidates_that_share_a_setting_are_spread_in_order_of_value():
    table = joined_tables((50, "he"), (50, 0.1))
    for row, accuracy in zip(table, np.linspace(0.9, 0.1, len(table)), strict=True):
        row["validation_accuracy"] = accuracy
    ax = parallel(table, mark_best=False)
    _, lines = bundles(ax)
    for index, name in enumerate(["learning_rate", "reg", "weight_scale"]):
        heights = {}
        for row, line in zip(table[::-1], lines, strict=True):
            heights.setdefault(row[name], []).append(line[index, 1])
        assert all((np.diff(each) > 0).all() for each in heights.values())
        bands = sorted((min(each), max(each)) for each in heights.values())
        assert all(below[1] < above[0] for below, above in itertools.pairwise(bands))
    assert {"he", "0.1", "1e-4", "1e-3", "1e-2", "0.3", "0.5"} <= set(texts(ax))
    assert not labelled(ax, "best")


def test_diverged_candidates_are_dashed_and_end_below_the_values():
    table = table_of()
    table[0] = diverged(table[0])
    table[1]["validation_accuracy"] = None  # unknown, but not diverged
    ax = parallel(table)
    lost, lines = bundles(ax)
    assert (len(lost), len(lines)) == (1, 4)
    assert lost[0, -1, 1] < 0
    dashes = [collection.get_linestyle()[0][1] for collection in ax.collections]
    assert [*map(bool, dashes)] == [True, False]
    assert "1 diverged" in texts(ax)
    ax = parallel([diverged(row) for row in table])
    assert "6 diverged" in texts(ax)
    assert not ax.images


def test_equal_values_end_at_the_same_height():
    _, lines = bundles(parallel([candidate(rate, 0.1, 0.5) for rate in (1, 2, 3)]))
    assert (lines[:, -1, 1] == 0.5).all()


def test_a_narrow_logarithmic_range_has_few_ticks():
    ax = parallel([candidate(rate, 0.1, rate / 2) for rate in np.geomspace(0.02, 0.9, 100).tolist()])
    first = [text.get_text() for text in ax.texts if text.xy[0] == 0]
    assert first == ["0.02", "0.05", "0.1", "0.2", "0.5"]


@pytest.mark.parametrize("width", [5, 8])
def test_headings_of_the_axes_do_not_overlap(width):
    others = ({"n_hidden": 5 + i, "batch_size": 10 + i, "weight_scale": 0.1 + i} for i in range(9))
    table = [row | other for row, other in zip(random_search(9), others, strict=True)]
    figure = matplotlib.figure.Figure(figsize=(width, 4), layout="constrained")
    ax = plotting.plot_parallel_coordinates(table, ax=figure.subplots())
    rendered(figure)
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
