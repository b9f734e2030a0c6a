"""Properties of all pictures: each is drawn on one axes, changes nothing else, and can be read."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import TESTS
from support.pictures import (
    candidate,
    diverged,
    drawn,
    drawn_in_house_style,
    history_of,
    in_house_style,
    net_of,
    random_search,
    rendered,
    table_of,
)

from twolayer import TwoLayerNet, plotting
from twolayer.plotting import _style
from twolayer.plotting._matplotlib import load_matplotlib

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")
load_matplotlib()

CONVERGED = history_of(np.geomspace(3, 0.01, 50), validation_accuracy=[0.2, 0.4, 0.5, 0.4])
DIVERGED = history_of([*np.geomspace(3, 9, 30), *[np.nan] * 20])
GRID = [*table_of()[1:], diverged(candidate(1e-2, 0.5, 0.5))]
PROBS = np.array([[0.25, 0.75], [0.125, 0.875], [0.5, 0.5], [0.75, 0.25]])

PICTURES = {
    "loss": (plotting.plot_loss, CONVERGED),
    "diverged loss": (plotting.plot_loss, DIVERGED),
    "losses": (plotting.plot_loss, {"converged": CONVERGED, "diverged": DIVERGED}),
    "accuracy": (plotting.plot_accuracy, CONVERGED),
    "accuracies": (plotting.plot_accuracy, {"converged": CONVERGED, "diverged": DIVERGED}),
    "heat map": (plotting.plot_heat_map, GRID),
    "best over others": (plotting.plot_heat_map, [*GRID, candidate(1e-2, 0.3, 0.9, n_hidden=5)]),
    "line": (plotting.plot_heat_map, table_of(regs=[0.1])),
    "plane": (plotting.plot_heat_map, [*random_search(20), diverged(candidate(1, 1, 0))]),
    "parallel coordinates": (plotting.plot_parallel_coordinates, GRID),
    "weights": (plotting.plot_weights, net_of(np.eye(4)), (2, 2)),
    "confusion": (plotting.plot_confusion, [[5, 1], [0, 7]], ["cats", "dogs"]),
    "mistakes": (plotting.plot_mistakes, np.eye(4), [0, 1, 1, 0], PROBS, ["cats", "dogs"], (2, 2)),
    "no mistakes": (plotting.plot_mistakes, np.eye(4), [1, 1, 0, 0], PROBS, ["cats", "dogs"], (2, 2)),
    "calibration": (plotting.plot_calibration, [0, 1, 1, 0], PROBS),
}
WITH_COLOUR_BAR = {"heat map", "best over others", "plane"}

HOUSE = {
    "curves": ("curves", CONVERGED),
    "grid": ("grid", GRID),
    "panels": ("grid", [*GRID, *table_of(n_hidden=5)]),
    "plane": ("grid", random_search(20)),
    "weights": ("weights", net_of(np.eye(4)), (2, 2)),
    "confusion": ("confusion", [[5, 1], [0, 7]], ["cats", "dogs"]),
}


# On the user's axes


@pytest.mark.parametrize("name", PICTURES)
def test_drawing_on_axes_leaves_everything_else_alone(name):
    settings = dict(matplotlib.rcParams)
    figure = matplotlib.figure.Figure(figsize=(9, 4))
    figure.suptitle("mine")
    left, ax, right = figure.subplots(1, 3)
    right.plot([1, 2], label="a line")

    def state():
        others = [(other.get_position().bounds, len(other.get_children())) for other in (left, right)]
        return others, figure.get_suptitle(), tuple(figure.get_size_inches()), figure.get_facecolor()

    before = state()
    plot, *arguments = PICTURES[name]
    assert plot(*arguments, ax=ax) is ax
    assert state() == before
    added = figure.axes[3:]
    assert len(added) == (name in WITH_COLOUR_BAR)
    # A colour bar takes its space from the axes, not from their neighbours.
    assert all(bar.get_position().x1 < right.get_position().x0 for bar in added)
    rendered(figure)
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_can_be_drawn_in_a_subfigure(name):
    figure = matplotlib.figure.Figure(layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    plot, *arguments = PICTURES[name]
    ax = lower.subplots()
    plot(*arguments, ax=ax)
    assert ax.get_figure() is lower
    assert not upper.axes
    rendered(figure)


@pytest.mark.parametrize("style", ["default", "dark_background", "ggplot"])
@pytest.mark.parametrize("name", PICTURES)
def test_text_can_be_read_in_the_users_style(name, style):
    plot, *arguments = PICTURES[name]
    with matplotlib.style.context(style):
        ax = drawn(plot, *arguments)
        figure = ax.get_figure()
        rendered(figure)  # tick labels are empty until they are drawn
        behind = figure.get_facecolor() if name in ("weights", "mistakes") else ax.get_facecolor()
        texts = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title, *ax.get_xticklabels()]
        if ax.get_legend():
            texts += ax.get_legend().get_texts()
        texts += [bar.yaxis.label for bar in figure.axes[1:]]
        # Text on coloured cells has its own test.
        texts += [] if name in (*WITH_COLOUR_BAR, "confusion") else ax.texts
        assert all(contrast(text.get_color(), behind) > 3 for text in texts if text.get_text())


@pytest.mark.parametrize("name", ["heat map", "confusion"])
def test_text_on_cells_can_be_read_with_a_dark_background(name):
    plot, *arguments = PICTURES[name]
    with matplotlib.style.context("dark_background"):
        ax = drawn(plot, *arguments)
    if name == "confusion":
        cells = {(j, i): row[j] for i, row in enumerate(ax.images[0].get_array()) for j in range(2)}
    else:
        cells = {
            (round(p.get_x() + 0.5), round(p.get_y() + 0.5)): p.get_facecolor()
            for p in ax.patches
            if p.get_label() != "best"
        }
    assert ax.texts
    for text in ax.texts:
        assert contrast(text.get_color(), cells[tuple(map(int, text.get_position()))]) > 3


def contrast(one, other):
    """The contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour):
        channels = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_text_colours_fit_the_axes_after_their_style_has_ended():
    with matplotlib.style.context("dark_background"):
        ax = matplotlib.figure.Figure().subplots()
    plotting.plot_accuracy(CONVERGED, ax=ax)
    assert all(contrast(text.get_color(), "black") > 20 for text in ax.get_legend().get_texts())


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_the_first_curves_stand_out_from_the_background(style):
    with matplotlib.style.context(style):
        ax = drawn(plotting.plot_accuracy, CONVERGED)
    assert all(contrast(line.get_color(), ax.get_facecolor()) > 3 for line in ax.lines)


# Arrays of any library


def test_arrays_of_any_library_make_the_same_pictures(backend):
    rng = np.random.default_rng(0)
    net = TwoLayerNet.initialize(12, 5, 3, rng=0)
    X, y = rng.random((20, 12), dtype=np.float32), rng.integers(0, 3, 20)
    probs = net.predict_proba(X)
    counts = np.arange(9).reshape(3, 3)
    classes = ["a", "b", "c"]

    def pictures(array):
        moved = TwoLayerNet(*(array(a, "float32") for a in net))
        labels, given = array(y, None), array(probs, "float32")
        yield drawn(plotting.plot_weights, moved, (2, 2, 3))
        yield drawn(plotting.plot_mistakes, array(X, "float32"), labels, given, classes, (2, 2, 3))
        yield drawn(plotting.plot_calibration, labels, given)
        yield drawn(plotting.plot_confusion, array(counts, None), classes)

    def on_host(host, dtype):
        return np.asarray(host, dtype=dtype)

    for here, there in zip(pictures(on_host), pictures(backend.array), strict=True):
        assert rendered(here.get_figure()) == rendered(there.get_figure())


# New figures


PYPLOT = """
import sys
import numpy as np
import matplotlib
matplotlib.use("agg")
from matplotlib.figure import Figure
from twolayer import plotting
from twolayer.plotting import run_figures
sys.path[:0] = sys.argv[1:]
import test_plotting
for plot, *arguments in test_plotting.PICTURES.values():
    plot(*arguments, ax=Figure().subplots())
for name, *arguments in test_plotting.HOUSE.values():
    getattr(run_figures, name)(*arguments)
assert "matplotlib.pyplot" not in sys.modules
for plot, *arguments in test_plotting.PICTURES.values():
    ax = plot(*arguments)
    pyplot = sys.modules["matplotlib.pyplot"]
    assert ax.figure is pyplot.gcf()
    assert len(pyplot.get_fignums()) == 1
    ax.figure.savefig(sys.stdout.buffer, format="png")
    pyplot.close(ax.figure)
"""


def test_pyplot_is_imported_only_for_new_figures():
    command = [sys.executable, "-c", PYPLOT, str(Path(__file__).parent), str(TESTS)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"\x89PNG") == len(PICTURES)


def test_importing_plotting_does_not_import_matplotlib():
    program = "import sys, twolayer.plotting; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", PICTURES)
def test_without_matplotlib_the_error_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    plot, *arguments = PICTURES[name]
    with pytest.raises(ImportError, match=r'Drawing needs matplotlib.*"twolayer\[plots\]"'):
        plot(*arguments)


# The house style


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", HOUSE)
def test_pictures_in_the_house_style_do_not_depend_on_the_users_style(name, dark):
    before = dict(matplotlib.rcParams)
    picture = *HOUSE[name], "a heading"
    expected = drawn_in_house_style(*picture, dark=dark)
    assert dict(matplotlib.rcParams) == before
    hostile = {"text.usetex": True, "axes.grid": True, "axes.formatter.use_locale": True, "image.cmap": "hot"}
    hostile |= dict.fromkeys(["grid.color", "hatch.color", "xtick.color"], "red")
    hostile |= dict.fromkeys(["font.size", "legend.fontsize", "ytick.major.pad", "figure.dpi"], 30)
    hostile |= dict.fromkeys(["axes.labelpad", "axes.titlepad", "xtick.major.size"], 40)
    hostile |= {"xtick.direction": "in", "xtick.labelsize": 3, "axes.xmargin": 0.4, "grid.linewidth": 5}
    hostile |= {"axes.formatter.limits": (0, 0), "figure.constrained_layout.h_pad": 0.9}
    with matplotlib.style.context(["dark_background", hostile]):
        assert drawn_in_house_style(*picture, dark=dark) == expected


@pytest.mark.parametrize("kind", ["pdf", "svg"])
@pytest.mark.parametrize("name", HOUSE)
def test_pictures_in_the_house_style_can_be_saved_as_vector_graphics(name, kind):
    buffer = io.BytesIO()
    in_house_style(*HOUSE[name]).savefig(buffer, format=kind)
    assert len(buffer.getvalue()) > 1000


def test_a_dark_figure_is_transparent_and_its_text_is_light():
    with _style.house_style(dark=True):
        figure = _style.new_figure(4, 3, "a heading")
        ax = plotting.plot_loss(CONVERGED, ax=figure.subplots())
    assert tuple(figure.get_size_inches()) == pytest.approx((4, 3.3))
    assert figure.get_facecolor()[3] == ax.get_facecolor()[3] == 0
    words = [figure._suptitle, ax.xaxis.label, *ax.get_legend().get_texts(), *ax.get_xticklabels()]
    assert all(contrast(text.get_color(), "#202020") > 7 for text in words)


def test_the_weights_in_an_svg_are_one_small_image():
    buffer = io.BytesIO()
    net = net_of(np.random.default_rng(0).normal(size=(64, 100)))
    in_house_style("weights", net, (8, 8)).savefig(buffer, format="svg")
    assert buffer.getvalue().count(b"<image") == 1
    assert len(buffer.getvalue()) < 100_000
