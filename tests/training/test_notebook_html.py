"""The HTML that notebooks show for a network, a run and a sweep."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.backends import Backend
from support.small_runs import make_task, stopping, trained
from support.sweeps import swept

from twolayer import Run, SweepResult, TwoLayerNet, _html, stack

TASK = make_task(noise=2.0)


def parsed(shown: Any) -> ElementTree.Element:
    """The elements of an object's HTML, which must be well-formed and must not affect the page around it."""
    root = ElementTree.fromstring(f"<root>{shown._repr_html_()}</root>")
    for element in root.iter():
        assert element.tag not in ("script", "style", "link", "img", "a")
        # Names and links would reach out of the output; a coloured background would clash with a dark theme.
        assert not {"id", "class", "href", "src"} & set(element.attrib)
        assert "background" not in element.get("style", "")
        for name in ("fill", "stroke"):
            assert element.get(name) in (None, "none", "currentColor", "#0072B2", "#D55E00")
    return root


def rows(root: ElementTree.Element) -> list[list[str]]:
    return [[cell.text or "" for cell in row] for row in root.iter("tr")]


def curves(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each curve. The axes and the legend have other paths."""
    found = (path.get("d", "") for path in root.iter("path"))
    ends = [path.removesuffix("m-2 0h4") for path in found if path.endswith("m-2 0h4")]
    return [[tuple(map(float, point.split())) for point in path[1:].split("L")] for path in ends]


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def test_a_network_is_shown_as_a_table(backend: Backend) -> None:
    net = make_task().on(backend).net
    found = dict(rows(parsed(net)))
    assert found.pop("arrays") == repr(net).rpartition("; ")[2][:-1]
    sizes = {"features": "4", "hidden units": "5", "classes": "3", "networks": "1", "parameters": "43"}
    assert found == sizes
    several = dict(rows(parsed(stack([net, net]))))
    assert (several["networks"], several["parameters"], several["hidden units"]) == ("2", "86", "5")


def test_large_numbers_have_thousands_separators() -> None:
    found = dict(rows(parsed(TwoLayerNet.initialize(3072, 1024, 10, rng=0))))
    assert (found["features"], found["parameters"]) == ("3,072", "3,157,002")


@pytest.mark.parametrize("arrays", [(1, 2, 3, 4), (None,) * 4, (np.zeros(()),) * 4, (np.zeros(3),) * 4])
def test_an_invalid_network_has_no_html(arrays: Any) -> None:
    """JAX may put anything in place of a network's arrays."""
    assert TwoLayerNet(*arrays)._repr_html_() is None


@pytest.mark.once_on_jax
@pytest.mark.parametrize("n_networks", [None, 3])
def test_a_run_is_shown_as_a_table_and_a_picture(backend: Backend, n_networks: int | None) -> None:
    run = trained(make_task(n_networks, noise=2.0).on(backend), epochs=6)
    root = parsed(run)
    found = dict(rows(root))
    each = np.atleast_1d(run.validation_accuracy)
    ends = dict.fromkeys(f"{one:.3f}".removesuffix(".000") for one in (each.min(), each.max()))
    assert found["validation accuracy"] == " to ".join(ends)
    assert (found["steps"], found["diverged"], found["stopped"]) == ("30", "–", "–")
    assert [len(curve) for curve in curves(root)] == [6] * 2 * (n_networks or 1)
    lowest, highest = (f"{end(run.history[4:7:2]):.3g}" for end in (np.min, np.max))
    assert texts(root) == [highest, lowest, "epochs 1 to 6", "training accuracy", "validation accuracy"]
    (picture,) = root.iter("svg")
    assert picture.get("role") == "img"
    assert [(child.tag, child.text) for child in picture][:2] == [
        ("title", "Course of the run"),
        ("desc", f"training accuracy, validation accuracy: 6 epochs, from {lowest} to {highest}"),
    ]


def test_the_points_of_a_curve_are_at_the_recorded_values() -> None:
    run = trained(TASK, epochs=6)
    for figures, curve in zip(run.history[4:7:2], curves(parsed(run)), strict=True):
        x, y = np.array(curve).T
        np.testing.assert_allclose(x, np.linspace(_html._LEFT, _html._RIGHT, 6), atol=0.06)
        low, high = np.min(run.history[4:7:2]), np.max(run.history[4:7:2])
        expected = _html._BOTTOM - (figures - low) / (high - low) * (_html._BOTTOM - _html._TOP)
        np.testing.assert_allclose(y, expected, atol=0.06)


@pytest.mark.parametrize("n_networks", [None, 2])
@pytest.mark.parametrize("extra", [0, 2])
def test_without_validation_the_loss_is_drawn(n_networks: int | None, extra: int) -> None:
    """An epoch that was not completed is left out."""
    task = make_task(n_networks, noise=2.0)
    run = trained(task, epochs=9, validated=False, callbacks=[stopping(15 + extra, not extra)])
    assert run.n_steps == 15 + extra
    root = parsed(run)
    losses = np.mean(np.reshape(run.history.loss[..., :15], (-1, 3, 5)), axis=2)
    expected = [f"{np.max(losses):.3g}", f"{np.min(losses):.3g}", "epochs 1 to 3", "loss"]
    assert texts(root) == expected
    assert [len(curve) for curve in curves(root)] == [3] * (n_networks or 1)


def test_losses_of_any_size_are_drawn() -> None:
    """Their sum may overflow float64, which must not warn: warnings are errors in tests."""
    run = trained(TASK, validated=False)
    losses = np.array([1.0] * 5 + [1e308] * 5 + [1.0] * 5)
    root = parsed(replace(run, history=run.history._replace(loss=losses)))
    assert [len(curve) for curve in curves(root)] == [2]  # of three epochs, as the mean of one overflows


def test_equal_values_are_drawn_at_the_bottom() -> None:
    run = trained(TASK)
    same = np.full(3, 0.5)
    history = run.history._replace(train_accuracy=same, validation_accuracy=same)
    root = parsed(replace(run, history=history))
    assert texts(root)[:2] == ["0.5", "0.5"]
    assert {y for curve in curves(root) for _, y in curve} == {_html._BOTTOM}


def test_a_single_epoch_is_a_dot() -> None:
    root = parsed(trained(TASK, epochs=1))
    first, second = curves(root)
    assert len(first) == len(second) == 1
    assert texts(root)[2] == "epochs 1 to 1"


def test_a_run_without_an_entry_has_no_picture() -> None:
    for validated in (True, False):
        root = parsed(trained(TASK, validated=validated, callbacks=[stopping(3)]))
        assert dict(rows(root))["steps"] == "3"
        assert list(root.iter("svg")) == []


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("rate", [1e9, 1e160])
def test_diverged_networks_are_counted_and_left_out_of_the_accuracy(validated: bool, rate: float) -> None:
    """Their losses may have any value, which must not warn: warnings are errors in tests."""
    task = make_task(3, noise=2.0)
    run = trained(task, epochs=6, validated=validated, learning_rate=np.asarray([0.1, rate, 0.2]))
    assert run.diverged[1] is not None
    root = parsed(run)
    assert dict(rows(root))["diverged"] == f"{run.diverged[1]} (1 of 3 networks)"
    assert dict(rows(root))["training accuracy"].endswith("(2 of 3 networks)")
    for curve in curves(root):
        assert np.isfinite(curve).all()
        assert np.all((np.array(curve)[:, 1] >= _html._TOP) & (np.array(curve)[:, 1] <= _html._BOTTOM))
    alone = parsed(trained(TASK, epochs=6, validated=validated, learning_rate=1e200))
    assert "nan" not in ElementTree.tostring(alone, encoding="unicode")


def test_a_long_run_of_many_networks_has_a_small_picture() -> None:
    run, figures = trained(make_task(25), epochs=1), np.random.default_rng(0).random((25, 5000))
    history = run.history._replace(train_accuracy=figures, validation_accuracy=figures)
    root = parsed(replace(run, history=history))
    assert [len(curve) for curve in curves(root)] == [200] * 40
    assert [curve[-1][0] for curve in curves(root)] == [_html._RIGHT] * 40
    assert texts(root)[2] == "epochs 1 to 5,000"


def headings(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    head, *body = rows(parsed(result))
    return head, body


def test_a_sweep_is_shown_as_a_table() -> None:
    result = swept(TASK, {"learning_rate": [1e-3, 0.3], "n_hidden": [4, 5], "seed": [0, 1]})
    head, body = headings(result)
    assert head == [
        "learning rate",
        "hidden units",
        "training accuracy",
        "validation accuracy ± SD over 2 seeds",
        "behind the best ± 95 % margin",
        "note",
    ]
    assert len(body) == 4
    assert body[0][-1] == "best"
    assert (body[0][0], body[0][1]) == (
        str(result.best.settings["learning_rate"]),
        str(result.best.settings["n_hidden"]),
    )
    accuracies = [float(row[3].partition(" ")[0]) for row in body]
    assert accuracies == sorted(accuracies, reverse=True)
    assert "±" in body[0][3]
    text = "".join(parsed(result).itertext())
    assert "Sweep: 4 candidates, 8 networks" in text
    assert "means of 2 seeds; SD: their standard deviation" in text


def test_only_the_best_of_many_candidates_are_shown() -> None:
    result = swept(TASK, {"learning_rate": np.linspace(0.01, 0.5, 23).tolist()})
    _, body = headings(result)
    assert len(body) == 20
    assert body[0][-1] == "best"
    assert "and 3 other candidates" in "".join(parsed(result).itertext())


@pytest.mark.parametrize(
    "how",
    [
        {"grid": {"learning_rate": [0.1]}},
        {"grid": {"learning_rate": [0.1, 1e200]}},
        {"grid": {"learning_rate": [1e200]}},
        {"grid": {"learning_rate": [0.1, 0.2, 0.3]}, "halving": 3},
        {"grid": {"learning_rate": [0.1]}, "callbacks": [stopping(1)]},
    ],
)
def test_sweeps_of_every_kind_have_a_row_for_each_candidate(how: dict[str, Any]) -> None:
    result = swept(TASK, how.pop("grid"), **how)
    _, body = headings(result) if result.table else ([], [])
    assert len(body) == len(result.table)


STRINGS = ["<script>alert(1)</script>", '"><b onload="x">', "a & b", "\u202egnp.exe", "x" * 3000]


@pytest.fixture(params=STRINGS)
def text(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


def test_a_sweep_that_monitors_the_loss_is_sorted_by_it() -> None:
    result = swept(TASK, {"learning_rate": [1e-3, 0.3], "seed": [0, 1]}, monitor="loss")
    head, body = headings(result)
    losses = [float(row[head.index("validation loss")]) for row in body]
    assert losses == sorted(losses)
    assert "behind the best (loss) ± 95 % margin" in head


def test_texts_are_escaped_and_shortened(text: str) -> None:
    result = swept(TASK, {"learning_rate": [0.1, 0.2]})
    for row, value in zip(result.table, (text, "other"), strict=True):
        row["weight_scale"] = value
    head, body = headings(result)
    shown = [row[head.index("initial weight scale")] for row in body]
    for cell in shown:
        assert len(cell) <= 200
        assert not re.search("[\u202e\n]", cell)
    if len(text) < 100 and text.isprintable():
        assert text in shown


def test_a_loaded_run_is_shown_too(tmp_path: Any) -> None:
    """A loaded run has no accuracies beyond its history."""
    from twolayer.checkpoints import load_run, save_run

    save_run(trained(TASK), tmp_path / "run.safetensors")
    loaded = load_run(tmp_path / "run.safetensors")
    assert isinstance(loaded, Run)
    assert dict(rows(parsed(loaded)))["validation accuracy"] == "–"
    assert len(curves(parsed(loaded))) == 2
