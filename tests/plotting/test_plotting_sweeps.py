"""The pictures of a sweep: heat maps, points where they are clearer, and parallel coordinates."""

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
    labelled,
    random_search,
    rendered,
    table_of,
    texts,
    tick_texts,
)

from twolayer import plotting, sweep
from twolayer.plotting import run_figures
from twolayer.report.files import read_json, write_json
from twolayer.report.tables import varying, winner

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


def heat_map(table, **keywords):
    return drawn(plotting.plot_heat_map, table, **keywords).get_figure()


def cells(axes):
    """From (column, line) to the cell's rectangle; the winner's frame is left out."""
    return {
        (round(p.get_x() + 0.5), round(p.get_y() + 0.5)): p for p in axes.patches if p.get_label() != "best"
    }


def frames(figure):
    return [patch for axes in figure.axes for patch in axes.patches if patch.get_label() == "best"]


def test_grid_is_sorted_labelled_and_annotated():
    figure = heat_map(table_of())
    axes, bar = figure.axes
    assert tick_texts(axes.xaxis) == ["1e-4", "1e-3", "1e-2"]
    assert tick_texts(axes.yaxis) == ["0.3", "0.5"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "reg (L2 penalty)")
    assert bar.get_ylabel() == "validation accuracy"
    assert cell_texts(axes) == {
        (0, 0): "0.531",
        (1, 0): "0.540",
        (2, 0): "0.630",
        (0, 1): "0.551",
        (1, 1): "0.560",
        (2, 1): "0.650",
    }
    (frame,) = frames(figure)
    assert (frame.get_x(), frame.get_y()) == (1.5, 0.5)
    assert not frame.get_clip_on()  # half of it lies outside
    bold = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert bold == ["0.650"]
    assert not any(cell.get_hatch() for cell in cells(axes).values())
    rendered(figure)


def test_grid_without_the_winner():
    assert not frames(heat_map(table_of(), mark_best=False))


@pytest.mark.parametrize("dark", [False, True])
def test_the_best_stand_out_from_the_paper_and_texts_can_be_read_on_them(dark):
    with matplotlib.style.context("dark_background" if dark else "default"):
        axes = heat_map(table_of(rates=np.linspace(0.001, 0.02, 8).tolist())).axes[0]
    shown = {tuple(map(int, text.get_position())): text for text in axes.texts}
    luma = {}
    for place, cell in cells(axes).items():
        luma[place] = np.dot(cell.get_facecolor()[:3], [0.299, 0.587, 0.114])
        ink = np.dot(matplotlib.colors.to_rgb(shown[place].get_color()), [0.299, 0.587, 0.114])
        assert abs(luma[place] - ink) > 0.35
    rising = sorted(luma, key=lambda place: shown[place].get_text())
    assert [luma[place] for place in rising] == sorted(luma.values(), reverse=not dark)


def test_spread_over_seeds_is_shown_only_where_there_are_several():
    table = table_of(n_seeds=3, validation_accuracy_std=0.0125)
    assert cell_texts(heat_map(table).axes[0])[0, 0] == "0.531\n± 0.013"
    table = table_of(n_seeds=1, validation_accuracy_std=math.nan)
    assert cell_texts(heat_map(table).axes[0])[0, 0] == "0.531"


def test_diverged_candidates_are_hatched_and_named():
    table = table_of()
    table[0] = diverged(table[0])  # it would have won
    figure = heat_map(table)
    axes = figure.axes[0]
    assert [place for place, cell in cells(axes).items() if cell.get_hatch()] == [(2, 1)]
    assert cell_texts(axes)[2, 1] == "diverged"
    (frame,) = frames(figure)
    assert (frame.get_x(), frame.get_y()) == (1.5, -0.5)
    rendered(figure)


def test_a_diverged_candidates_number_neither_shows_nor_counts():
    table = table_of()
    table[0] |= {"diverged": 1, "validation_accuracy": 0.99}
    figure = heat_map(table)
    assert cell_texts(figure.axes[0])[2, 1] == "diverged"
    assert figure.axes[1].get_ylim()[1] < 0.7


def test_candidates_of_which_some_seeds_diverged_say_so_and_win_last():
    table = table_of(n_seeds=3)
    table[0] |= {"diverged": 2}
    figure = heat_map(table)
    assert cell_texts(figure.axes[0])[2, 1] == "0.650\n2/3 diverged"
    assert not cells(figure.axes[0])[2, 1].get_hatch()
    assert (frames(figure)[0].get_x(), frames(figure)[0].get_y()) == (1.5, -0.5)


def test_a_number_that_is_missing_is_no_divergence():
    table = table_of()
    table[0] |= {"validation_accuracy": None}
    axes = heat_map(table).axes[0]
    assert cell_texts(axes)[2, 1] == "–"
    assert cells(axes)[2, 1].get_hatch()


def test_a_sweep_that_diverged_everywhere_can_be_drawn():
    figure = heat_map([diverged(row) for row in table_of()])
    (axes,) = figure.axes  # and no colour bar
    assert set(cell_texts(axes).values()) == {"diverged"}
    assert all(cell.get_hatch() for cell in cells(axes).values())
    assert not frames(figure)
    rendered(figure)


def test_combinations_that_are_missing_are_blank():
    axes = heat_map(table_of()[1:]).axes[0]
    assert (2, 1) not in cells(axes)
    assert len(cells(axes)) == 5
    assert axes.get_xlim() == (-0.5, 2.5)


def test_equal_values_have_a_colour_too():
    axes, bar = heat_map([candidate(rate, reg, 0.5) for rate in (1, 2) for reg in (1, 2)]).axes
    low, high = bar.get_ylim()
    assert low < 0.5 < high
    expected = matplotlib.colormaps["viridis_r"]((0.5 - low) / (high - low))
    np.testing.assert_allclose([cell.get_facecolor() for cell in cells(axes).values()], [expected] * 4)


def test_other_settings_make_small_multiples_with_one_colour_bar():
    table = [row for n_hidden in (50, 5, 20, 10, 30) for row in table_of(n_hidden=n_hidden)]
    table[-1]["validation_accuracy"] = 0.99
    figure = run_figures.grid(table)
    *panels, bar = figure.axes
    drawn = [axes for axes in panels if axes.axison]
    assert [axes.get_title("left") for axes in drawn] == [f"hidden units = {n}" for n in (5, 10, 20, 30, 50)]
    assert bar.get_ylabel() == "validation accuracy"
    assert all(len(cells(axes)) == 6 for axes in drawn)
    (frame,) = frames(figure)
    assert frame.axes is drawn[3]
    # In three columns and two rows, with labels at the rim.
    assert len(panels) == 6
    assert [bool(axes.get_ylabel()) for axes in drawn] == [True, False, False, True, False]
    assert [bool(axes.get_xlabel()) for axes in drawn] == [False, False, True, True, True]
    rendered(figure)


def test_of_very_many_combinations_the_best_are_shown():
    table = [row for n_hidden in range(1, 18) for row in table_of(n_hidden=n_hidden)]
    ax, _ = run_figures.grid(table, title="many").axes
    assert ax.get_title("left") == "in each cell, the best over hidden units"
    assert len(run_figures.grid(table[:-6]).axes) == 17


def test_each_cell_shows_the_best_over_the_other_settings():
    table = [
        row
        for n_hidden, scale in ((5, "he"), (50, 0.1), (500, "he"))
        for row in table_of(n_hidden=n_hidden, weight_scale=scale)
    ]
    for row, accuracy in zip(table, np.linspace(0.9, 0.1, len(table)), strict=True):
        row["validation_accuracy"] = accuracy
        row["train_accuracy"] = 1 - accuracy
    table[0] = diverged(table[0])  # it would have won in its cell
    table[1] |= {"n_seeds": 2, "diverged": 1}
    for k in (2, 8, 14):
        table[k] = diverged(table[k])
    ax, _ = heat_map(table).axes
    shown = cell_texts(ax)
    assert len(cells(ax)) == 6
    assert shown[2, 1] == f"{table[6]['validation_accuracy']:.3f}"
    # A candidate of which some seeds diverged comes after those of which none did.
    assert shown[2, 0] == f"{table[7]['validation_accuracy']:.3f}"
    assert shown[0, 1] == "diverged"
    title = ax.get_title("left").replace("\n", " ")
    assert title == "in each cell, the best over hidden units, initial weight scale"
    # Of another column, the same candidates.
    other = cell_texts(heat_map(table, value="train_accuracy").axes[0])
    assert other[2, 1] == f"{table[6]['train_accuracy']:.3f}"


def test_two_other_settings_make_a_panel_for_each_combination_that_is_there():
    table = [
        row
        for n_hidden, scale in ((5, "he"), (5, 0.1), (10, "he"))
        for row in table_of(n_hidden=n_hidden, weight_scale=scale)
    ]
    *panels, _ = run_figures.grid(table).axes
    assert [axes.get_title("left").replace("\n", " ") for axes in panels] == [
        "hidden units = 5, initial weight scale = 0.1",
        "hidden units = 5, initial weight scale = he",
        "hidden units = 10, initial weight scale = he",
    ]


def test_runs_have_a_panel_for_each_seed():
    runs = [{**row, "seed": seed, "diverged": None} for seed in (0, 1) for row in table_of()]
    for row in runs:
        del row["n_seeds"]
    runs[0]["diverged"] = 5
    *panels, _ = run_figures.grid(runs).axes
    assert [axes.get_title("left") for axes in panels] == ["seed = 0", "seed = 1"]
    assert [cell_texts(axes)[2, 1] for axes in panels] == ["diverged", "0.650"]


def test_an_axis_that_does_not_vary_gives_way():
    table = [candidate(0.1, reg, 0.5, n_hidden=n) for reg in (0.1, 0.2) for n in (5, 10)]
    axes = heat_map(table).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("hidden units", "reg (L2 penalty)")
    table = [candidate(rate, 0.1, 0.5, n_hidden=n) for rate in (0.1, 0.2) for n in (5, 10)]
    axes = heat_map(table).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "hidden units")
    axes = heat_map(table, x="n_hidden", y="learning_rate").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("hidden units", "learning rate")


def test_another_value_is_drawn_but_the_winner_stays():
    figure = heat_map(table_of(), value="train_accuracy")
    axes, bar = figure.axes
    assert bar.get_ylabel() == "training accuracy"
    assert cell_texts(axes)[2, 1] == "0.350"
    assert (frames(figure)[0].get_x(), frames(figure)[0].get_y()) == (1.5, 0.5)


def test_without_validation_accuracies_the_drawn_value_decides():
    table = [{"learning_rate": a, "reg": b, "score": a * b} for a in (1, 2) for b in (1, 2)]
    (frame,) = frames(heat_map(table, value="score"))
    assert (frame.get_x(), frame.get_y()) == (0.5, 0.5)


def test_large_grids_are_drawn_without_numbers():
    figure = heat_map(table_of(rates=np.linspace(0.001, 0.02, 20).tolist()))
    assert not texts(figure.axes[0])
    assert len(frames(figure)) == 1
    assert max(figure.get_size_inches()) < 16
    rendered(figure)


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ([1e-1, 1e-3, 1e-2], "log", ["1e-3", "1e-2", "1e-1"]),
        ([0.3, 0.4, 0.5], "linear", ["0.3", "0.4", "0.5"]),
        ([0.0, 0.1, 0.01], "linear", ["0", "0.01", "0.1"]),
        ([0.5], "linear", ["0.5"]),
    ],
)
def test_one_setting_that_varies_makes_points(values, scale, ticks):
    table = [candidate(0.1, reg, 0.5 + reg, n_seeds=2, validation_accuracy_std=0.01) for reg in values]
    figure = heat_map(table)
    (axes,) = figure.axes
    expected = "learning rate" if len(values) == 1 else "reg (L2 penalty)"
    assert axes.get_xlabel() == expected
    assert axes.get_ylabel() == "validation accuracy"
    assert axes.get_xscale() == scale
    assert tick_texts(axes.xaxis) == (["0.1"] if len(values) == 1 else ticks)
    places, heights = axes.lines[0].get_xydata().T
    np.testing.assert_allclose(heights, sorted(0.5 + reg for reg in values))
    assert (np.diff(places) > 0).all()
    assert texts(axes) == [f"{0.5 + max(values):.3f} ± 0.010"]
    (best,) = labelled(axes, "best")
    assert best.get_xdata()[0] == places[-1]
    bars = axes.collections[0].get_segments()
    np.testing.assert_allclose(bars[0][:, 1], [heights[0] - 0.01, heights[0] + 0.01])
    rendered(figure)


def test_points_that_diverged_are_named():
    table = [candidate(0.1, 0.1, 0.5), diverged(candidate(1.0, 0.1, 0.5)), candidate(0.01, 0.1, 0.4)]
    (axes,) = heat_map(table).axes
    assert texts(axes) == ["0.500", "× diverged"]
    assert axes.texts[1].xy[0] == 1.0
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.01, 0.4], [0.1, 0.5]])
    (axes,) = heat_map([diverged(row) for row in table]).axes
    assert texts(axes) == ["× diverged"] * 3


def test_a_random_search_is_drawn_as_points_on_a_plane():
    table = random_search(30)
    table[3] = diverged(table[3])
    figure = heat_map(table)
    axes, bar = figure.axes
    lost, points = axes.collections
    assert (lost.get_label(), len(lost.get_offsets())) == ("diverged", 1)
    assert len(points.get_offsets()) == 29
    best = winner(table)
    (ring,) = labelled(axes, "best")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (best["learning_rate"], best["reg"])
    assert texts(axes) == [f"{best['validation_accuracy']:.3f}"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert bar.get_ylabel() == "validation accuracy"
    rendered(figure)


def test_a_random_search_over_three_settings_is_one_plane():
    table = [{**row, "n_hidden": 5 + i} for i, row in enumerate(random_search(20))]
    figure = heat_map(table)
    assert len(figure.axes) == 2
    assert len(figure.axes[0].collections[0].get_offsets()) == 20


def test_a_random_search_with_zeros_or_all_diverged_can_be_drawn():
    table = random_search(30)
    for row in table[::10]:
        row["reg"] = 0.0
    figure = heat_map(table)
    assert figure.axes[0].get_yscale() == "linear"
    assert len(figure.axes[0].get_yticks()) <= 14
    rendered(figure)
    figure = heat_map([diverged(row) for row in table])
    assert len(figure.axes) == 1
    rendered(figure)


def test_grid_of_a_real_sweep_and_of_what_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
    result = sweep(
        X[:40],
        y[:40],
        validation=(X[40:], y[40:]),
        grid={"learning_rate": [1e-3, 0.1, 1e30], "reg": [0.0, 0.01], "seed": [0, 1], "batch_size": [10]},
        epochs=2,
    )
    figure = heat_map(result.table)
    (frame,) = frames(figure)
    assert [1e-3, 0.1, 1e30][int(frame.get_x() + 0.5)] == result.best.settings["learning_rate"]
    assert [0.0, 0.01][int(frame.get_y() + 0.5)] == result.best.settings["reg"]
    shown = cell_texts(figure.axes[0])
    assert shown[2, 0] == shown[2, 1] == "diverged"
    write_json(tmp_path / "table.json", result.table)
    assert rendered(heat_map(read_json(tmp_path / "table.json"))) == rendered(figure)


def test_tables_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"`table` must have at least one row; got none"):
        heat_map([])
    message = r"`table` must have a column momentum; got learning_rate, reg, score"
    with pytest.raises(ValueError, match=message):
        heat_map([{"learning_rate": 1, "reg": 1, "score": 1}], x="momentum", value="score")
    with pytest.raises(ValueError, match=r"`x` and `y` must be two settings; got reg for both"):
        heat_map(table_of(), x="reg")
    message = r"`table` must have one row for each setting; got two of learning_rate 1e-3, reg 0.3"
    with pytest.raises(ValueError, match=message):
        heat_map([*table_of(), candidate(1e-3, 0.3, 0.5)])
    message = r"`table` must have one row for each setting; got two of learning_rate 0.1, reg 0.3"
    with pytest.raises(ValueError, match=message):
        heat_map([candidate(0.1, 0.3, 0.5)] * 2)


# Parallel coordinates


def parallel(table, **keywords):
    return drawn(plotting.plot_parallel_coordinates, table, **keywords)


def bundles(ax):
    """The lines of the diverged and of the others, as arrays (lines, axes, 2)."""
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
    # Logarithmic: equal factors are equal distances.
    rates = np.log10([row["learning_rate"] for row in ranked])
    np.testing.assert_allclose(np.corrcoef(rates, lines[:, names.index("learning_rate"), 1])[0, 1], 1)
    (best,) = labelled(ax, "best")
    np.testing.assert_allclose(best.get_xydata(), lines[-1])
    assert f"best {ranked[-1]['validation_accuracy']:.3f}" in texts(ax)
    rendered(ax.get_figure())


def test_candidates_that_share_settings_are_spread_around_them_by_their_value():
    table = [row for scale in ("he", 0.1) for row in table_of(weight_scale=scale)]
    for row, accuracy in zip(table, np.linspace(0.9, 0.1, len(table)), strict=True):
        row["validation_accuracy"] = accuracy
    ax = parallel(table, mark_best=False)
    _, lines = bundles(ax)
    ranked = table[::-1]
    for index, name in enumerate(["learning_rate", "reg", "weight_scale"]):
        heights = {}
        for row, line in zip(ranked, lines, strict=True):
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
    assert ax.collections[0].get_linestyle()[0][1]
    assert not ax.collections[1].get_linestyle()[0][1]
    assert "1 diverged" in texts(ax)
    rendered(ax.get_figure())
    ax = parallel([diverged(row) for row in table])
    assert "6 diverged" in texts(ax)
    assert not ax.images
    rendered(ax.get_figure())


def test_equal_values_end_at_one_height():
    ax = parallel([candidate(rate, 0.1, 0.5) for rate in (1, 2, 3)])
    _, lines = bundles(ax)
    assert (lines[:, -1, 1] == 0.5).all()
    rendered(ax.get_figure())


def test_a_hundred_candidates_of_a_narrow_logarithmic_range_have_few_ticks():
    rates = np.geomspace(0.02, 0.9, 100)
    ax = parallel([candidate(rate, 0.1, rate / 2) for rate in rates.tolist()])
    first = [text for text in ax.texts if text.xy[0] == 0]
    assert [text.get_text() for text in first] == ["0.02", "0.05", "0.1", "0.2", "0.5"]
    rendered(ax.get_figure())


@pytest.mark.parametrize("width", [5, 8])
def test_headings_of_the_axes_do_not_overlap(width):
    table = [
        {**row, "n_hidden": 5 + i, "batch_size": 10 + i, "weight_scale": 0.1 + i}
        for i, row in enumerate(random_search(9))
    ]
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(width, 4), layout="constrained")
    ax = plotting.plot_parallel_coordinates(table, ax=figure.subplots())
    rendered(figure)
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_tables_without_parallel_coordinates_are_refused():
    with pytest.raises(ValueError, match=r"`table` must have at least one row; got none"):
        parallel([])
    with pytest.raises(ValueError, match=r"`table` must have a column loss; got learning_rate, reg"):
        parallel(table_of(), value="loss")
    with pytest.raises(ValueError, match=r"`table` must have a setting that varies; got one value of each"):
        parallel([candidate(0.1, 0.1, 0.5)])
