"""Users' texts in pictures: they are drawn as written, and stay inside the figure."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.pictures import (
    candidate,
    history_of,
    in_house_style,
    legend_texts,
    rendered,
    table_of,
    texts,
    tick_texts,
)

from twolayer import optimizers, plotting
from twolayer.plotting import _style, _texts

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")

# Matplotlib draws boxes for characters that the machine's fonts lack.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")

CONVERGED = history_of(np.geomspace(3, 0.01, 50), validation_accuracy=[0.2, 0.4, 0.5, 0.4])
UNVALIDATED = history_of(np.geomspace(3, 0.01, 50))
DIVERGED = history_of([*np.geomspace(3, 9, 30), *[np.nan] * 20])
HISTORIES = (CONVERGED, UNVALIDATED, DIVERGED)

NAMES = ["$lr_0^$", "_base", "US$ 5 to US$ 9", "{\\frac}", "\"quoted\", 'twice'", "two\nlines", "健康对照"]
NAMES += ["שלום עולם", "العربية", "100 %", "#1 & ~2^3"]
users_texts = st.text(
    st.sampled_from("aW_$\\{}^%#&~\"'<> \n\tä健ש🙂\u200b\x07\udce9"), min_size=1, max_size=70
)
# Shrinking would take long, as each example draws a dozen pictures.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
several_names = st.lists(users_texts, min_size=2, max_size=5, unique=True)
drawing = settings(
    max_examples=6, phases=NO_SHRINKING, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = ["Mild cognitive impairment, amnestic type", "Alzheimer disease, early onset", "Healthy", "W" * 500]


@pytest.fixture(autouse=True)
def no_windows():
    """Draw new figures without windows, and close them."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def by_names(names):
    """A history for each name."""
    return dict(zip(names, itertools.cycle(HISTORIES), strict=False))


def drawn_texts(ax):
    """The visible texts of a picture."""
    figure = ax.get_figure()
    figure.draw_without_rendering()
    every_axis = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axes.axison]
    hidden = {label for axis in every_axis for label in axis.get_ticklabels(which="both")}
    hidden -= {tick.label1 for axis in every_axis for tick in axis._update_ticks()}
    found = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text()]
    return [text for text in found if text not in hidden]


def assert_inside(ax, *, margin=3.0):
    """Assert that no text leaves the figure by more than ``margin`` points."""
    figure = ax.get_figure()
    for text in drawn_texts(ax):
        box = text.get_window_extent()
        outside = [-box.x0, -box.y0, box.x1 - figure.bbox.x1, box.y1 - figure.bbox.y1]
        assert max(outside) * 72 / figure.dpi <= margin, (text.get_text(), outside)


# Texts as written


def test_the_legend_names_runs_as_written():
    converged, unvalidated = dict.fromkeys(NAMES, CONVERGED), dict.fromkeys(NAMES, UNVALIDATED)
    for plot, histories, label, others in (
        (plotting.plot_loss, converged, "{}", []),
        (plotting.plot_accuracy, converged, "{}: best 0.500, epoch 3", ["training"]),
        (plotting.plot_accuracy, unvalidated, "{}: training 0.900", ["training"]),
    ):
        ax = plot(histories)
        assert legend_texts(ax) == [*map(label.format, NAMES), *others]
        rendered(ax.figure)


def test_the_legend_keeps_the_users_own_entries():
    ax = matplotlib.figure.Figure().subplots()
    ax.plot([1, 2], label="a line")
    plotting.plot_loss({"_base": CONVERGED, "new": DIVERGED}, ax=ax)
    assert legend_texts(ax) == ["_base", "new, diverged at step 31", "a line"]


@pytest.mark.parametrize("percentages", [False, True])
def test_the_confusion_matrix_names_classes_as_written(percentages):
    ax = plotting.plot_confusion(np.eye(len(NAMES), dtype=int), NAMES, percentages=percentages)
    assert tick_texts(ax.xaxis) == tick_texts(ax.yaxis) == NAMES
    assert_inside(ax)


def test_mistakes_name_classes_as_written_but_in_a_line():
    n = len(NAMES)
    ax = plotting.plot_mistakes(np.ones((n, 4)), np.arange(n), np.roll(np.eye(n), 1, 1), NAMES, (2, 2))
    in_a_line = [name.replace("\n", " ") for name in NAMES]
    pairs = zip(in_a_line, in_a_line[1:] + in_a_line[:1], strict=True)
    assert texts(ax) == [f"{one}\n→ {other} 1.00" for one, other in pairs]
    assert_inside(ax)


@pytest.mark.parametrize("name", ["_score", "my_score", "$a_b^$", "a\\b", "健康", 'with "quotes"'])
def test_the_users_own_columns_are_named_as_written(name):
    table = [{**row, name: row["validation_accuracy"]} for row in table_of()]
    line = [{**row, name: index} for index, row in enumerate(table_of(regs=[0.1]))]
    cells = plotting.plot_heat_map(table, value=name)
    parallel = plotting.plot_parallel_coordinates(table, value=name)
    points = plotting.plot_heat_map(line, value=name)
    across = plotting.plot_heat_map([{**row, name: i % 2} for i, row in enumerate(table)], x=name, y="reg")
    assert cells.figure.axes[1].get_ylabel() == tick_texts(parallel.xaxis)[-1] == name
    assert points.get_ylabel() == across.get_xlabel() == name
    for ax in (cells, parallel, points, across):
        rendered(ax.figure)


def test_values_of_settings_are_drawn_as_written():
    rows = [candidate(0.1, 0.1, 0.5 + i / 100, weight_scale=name) for i, name in enumerate(NAMES)]
    for ax in (plotting.plot_heat_map(rows), plotting.plot_parallel_coordinates(rows)):
        found = {text.get_text() for text in drawn_texts(ax)}
        assert {name for name in NAMES if len(name) < 10} <= found
    rows = [candidate(0.1 * (i + 1), 0.1, 0.5, weight_scale=name) for i, name in enumerate(NAMES[:4])]
    ax = plotting.plot_heat_map(rows * 1, x="learning_rate", y="weight_scale")
    assert set(NAMES[:4]) <= {text.get_text() for text in drawn_texts(ax)}
    full = [{**row, "learning_rate": rate} for row in rows for rate in (0.1, 0.2)]
    ax = plotting.plot_heat_map(full, x="learning_rate", y="weight_scale")
    assert sorted(tick_texts(ax.yaxis)) == sorted(NAMES[:4])
    assert_inside(ax)


def test_texts_are_drawn_as_written_when_the_user_sets_usetex():
    with matplotlib.rc_context({"text.usetex": True}):
        mistakes = plotting.plot_mistakes(np.eye(2), [0, 1], np.eye(2)[::-1], ["_a", "$b"], (1, 2))
        confusion = plotting.plot_confusion(np.eye(2, dtype=int), ["_a", "$b"])
        histories = {"_a": CONVERGED}
        legends = [plot(histories).get_legend() for plot in (plotting.plot_loss, plotting.plot_accuracy)]
    named = [*mistakes.texts, *confusion.get_xticklabels(), *(one.get_texts()[0] for one in legends)]
    assert sum("_a" in text.get_text() for text in named) == 5
    assert not any(text.get_usetex() for text in named if "_a" in text.get_text())


@drawing
@given(several_names)
@example(LONG)
@example(["a\r\nb", "a\x00b", "\ud800", "\n", "\u202e"])
@example(["\t$}%", "<\u05e9~\n\"&%\u05e9  a'\t", "\u200b &\u200bW\t\\a~_~\x07}\u05e9", "\udce9"])
def test_any_texts_can_be_drawn_and_stay_inside(names):
    matplotlib.pyplot.close("all")  # figures left by an example that failed
    n = len(names)
    rows = [candidate(0.1, reg, 0.5 + i / 10, weight_scale=x) for i, x in enumerate(names) for reg in (0, 1)]
    column = names[0]
    own = [{**row, column: i / 7} for i, row in enumerate(table_of())]
    classes = np.ones((n, n), dtype=int), names
    pictures = [
        plotting.plot_loss(by_names(names)),
        plotting.plot_accuracy(by_names(names)),
        plotting.plot_confusion(*classes),
        plotting.plot_confusion(*classes, percentages=True),
        plotting.plot_mistakes(np.ones((n, 4)), np.arange(n), np.roll(np.eye(n), 1, 1), names, (2, 2)),
        plotting.plot_heat_map(rows, x="reg", y="weight_scale"),
        plotting.plot_heat_map(rows, x="weight_scale", y="reg"),
        plotting.plot_heat_map(rows[::2]),
        plotting.plot_heat_map(own, value=column),
        plotting.plot_parallel_coordinates(own, value=column),
        plotting.plot_parallel_coordinates(rows),
    ]
    for ax in pictures:
        assert_inside(ax)
        ax.figure.savefig(io.BytesIO(), format="svg")
    matplotlib.pyplot.close("all")
    for title in names:
        for figure in (in_house_style("confusion", *classes, title), in_house_style("grid", rows, title)):
            assert_inside(figure.axes[0])
            figure.savefig(io.BytesIO(), format="svg")


# Sizes


def test_a_matrix_keeps_its_size_beside_long_names():
    ax = plotting.plot_confusion(5 + 50 * np.eye(4, dtype=int), LONG)
    assert_inside(ax)
    cell = ax.get_window_extent().width / ax.figure.dpi / 4
    assert cell > 0.4
    assert ax.figure.get_size_inches()[0] < 8
    assert tick_texts(ax.yaxis)[1:3] == LONG[1:3]
    assert "…" in tick_texts(ax.yaxis)[3]


def test_a_longer_name_makes_the_figure_wider():
    widths = [
        plotting.plot_confusion(np.eye(4, dtype=int), [name, "a", "b", "c"]).figure.get_size_inches()[0]
        for name in ("d", "a name of some length", "a name of more length than that, but for", "W" * 200)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]


def test_names_on_the_users_axes_leave_room_for_the_matrix():
    axes = matplotlib.figure.Figure(figsize=(8, 4), layout="constrained").subplots(1, 2)
    plotting.plot_confusion(np.eye(4, dtype=int), LONG, ax=axes[0])
    assert_inside(axes[0])
    assert axes[0].get_window_extent().width > 0.1 * axes[0].figure.bbox.width


def test_optimizers_along_an_axis_do_not_overlap():
    varied = [optimizers.SGD(momentum=0.9, nesterov=True)]
    varied += [optimizers.AdamW(weight_decay=decay) for decay in (0.01, 0.1)]
    rows = [candidate(0.1, reg, 0.5 + reg, optimizer=one) for one in varied for reg in (0.1, 0.2)]
    ax = plotting.plot_heat_map(rows, x="optimizer", y="reg")
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {45}
    assert_inside(ax)


def test_a_long_heading_widens_the_figure_and_is_then_cut():
    def headed(width, title):
        figure = _style.new_figure(width, 2, title)
        return figure, figure.subplots()

    with _style.house_style():
        figure, ax = headed(2, "a heading that is longer than this")
        assert figure.get_suptitle() == "a heading that is longer than this"
        assert 2 < figure.get_size_inches()[0] < 4
        assert_inside(ax)
        assert_inside(headed(8, "a long heading " * 40)[1], margin=-2)
        figure, ax = headed(2, "a long heading " * 40)
        assert "…" in figure.get_suptitle()
        assert figure.get_size_inches()[0] < 6.5
        assert_inside(ax)


@given(users_texts, st.floats(20, 300))
@settings(max_examples=60, deadline=None)
def test_a_text_is_cut_only_where_there_is_no_room(text, width):
    found = _texts.shortened(text, width, 10.0, most_lines=80)
    whole = _texts.printable(text)
    if _texts.width_of(whole, 10.0) <= width:
        assert found == whole
    else:
        assert "…" in found
        lines = found.split("\n")
        assert all(_texts.width_of(line, 10.0) <= width or len(line) <= 2 for line in lines)


def test_names_that_differ_at_their_end_differ_when_they_are_cut():
    one, other = (f"{'a very long name of a class ' * 3}{end}" for end in ("A", "B"))
    assert _texts.shortened(one, 100, 10.0) != _texts.shortened(other, 100, 10.0)


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "ab " * 300_000, "ab\n" * 300_000], ids=["word", "words", "lines"]
)
@pytest.mark.parametrize("room", [30.0, 300.0])
def test_only_a_short_part_of_a_text_of_a_megabyte_is_measured(monkeypatch, text, room):
    """The longest text that is measured bounds the time; measuring all of it took minutes."""
    measured = []
    original = _texts.width_of

    def width_of(text, *arguments, **keywords):
        measured.append(len(text))
        return original(text, *arguments, **keywords)

    monkeypatch.setattr(_texts, "width_of", width_of)
    for found in (_texts.shortened(text, room, 9), _texts.wrapped(["reg = 1,", text, text], room, 9)):
        assert 0 < len(found) < 1000
    assert max(measured) <= 3000


def test_a_sweep_over_texts_of_a_megabyte_is_drawn():
    table = [
        candidate(rate, 0.1, 0.5, weight_scale=text) for rate in (0.1, 1.0) for text in ("b" * 10**6, "he")
    ]
    assert max(in_house_style("grid", table, "c " * 10**5).get_size_inches()) < 20
