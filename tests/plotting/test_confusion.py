"""The confusion matrix by its non-zero cells: in results.json, on the page, and as a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import done

from twolayer.cli.read_run import read_results
from twolayer.report.files import write_json
from twolayer.report.metrics import Confusion, classification_summary, confusion_matrix


@st.composite
def labelled(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """A number of classes, and the true and predicted labels of some samples."""
    n_classes = draw(st.integers(1, 12))
    labels = st.integers(0, n_classes - 1)
    pairs = draw(st.lists(st.tuples(labels, labels), max_size=40))
    true, predicted = np.array(pairs, np.int64).reshape(-1, 2).T
    return n_classes, true, predicted


@given(labelled())
def test_the_cells_agree_with_the_full_matrix(case: tuple[int, np.ndarray, np.ndarray]) -> None:
    n_classes, true, predicted = case
    matrix = confusion_matrix(true, predicted, n_classes)
    found = Confusion.of_labels(true, predicted, n_classes)
    assert len(found.counts) == np.count_nonzero(matrix) <= len(true)
    np.testing.assert_array_equal(found.matrix(), matrix)
    assert found.n_samples == len(true)
    assert found.n_right == np.trace(matrix)
    np.testing.assert_array_equal(found.support, matrix.sum(axis=1))
    for one, other in zip(Confusion.of_matrix(matrix), found, strict=True):
        np.testing.assert_array_equal(one, other)
    names = [f"class {i}" for i in range(n_classes)]
    assert repr(found.summary(names)) == repr(classification_summary(matrix, names))
    wrong = found.wrong()
    assert wrong.n_right == 0
    errors = matrix[~np.eye(n_classes, dtype=bool)]
    assert wrong.counts.tolist() == sorted(errors[errors > 0], reverse=True)


@settings(max_examples=40)
@given(labelled())
def test_cells_and_full_matrices_of_earlier_versions_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, np.ndarray, np.ndarray]
) -> None:
    n_classes, true, predicted = case
    counts = Confusion.of_labels(true, predicted, n_classes)
    path = tmp_path_factory.mktemp("run") / "results.json"
    for stored in (counts.cells(), counts.matrix()):
        test = {"n_samples": len(true), "accuracy": 0.5, "confusion": stored}
        write_json(path, {"classes": [str(i) for i in range(n_classes)], "test": test})
        results = read_results(path)
        assert results.test is not None
        for one, other in zip(results.test.confusion, counts, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "cells",
    [
        {"true": [0], "predicted": [0]},
        {"true": [0], "predicted": [0], "counts": [1], "more": [1]},
        {"true": [0, 1], "predicted": [0], "counts": [1]},
        {"true": [2], "predicted": [0], "counts": [1]},
        {"true": [0], "predicted": [-1], "counts": [1]},
        {"true": [0, 0], "predicted": [1, 1], "counts": [1, 2]},
        {"true": [0], "predicted": [0], "counts": [0]},
        {"true": [0], "predicted": [0], "counts": [1.0]},
        {"true": 0, "predicted": 0, "counts": 1},
        [[1, 0]],
        "none",
    ],
)
def test_invalid_cells_are_refused(tmp_path: Path, cells: Any) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"classes": ["a", "b"], "test": {"n_samples": 1, "confusion": cells}})
    message = "`confusion` in .* must be the cells of a matrix of 2 classes, or 2 lists of 2 counts"
    with pytest.raises(ValueError, match=message):
        read_results(path)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run on 1,200 classes."""
    folder = tmp_path_factory.mktemp("many")
    y = np.arange(3600) % 1200
    X = np.random.default_rng(0).random((3600, 4), dtype=np.float32)
    np.savez(folder / "many.npz", X=X, y=y)
    output = done("train", folder / "many.npz", "--epochs", 1, "--hidden", 4, "-q", "--out", folder / "run")
    (folder / "output.txt").write_text(output, encoding="utf-8")
    return folder / "run"


def test_results_of_many_classes_are_stored_without_zero_counts(many: Path) -> None:
    text = (many / "results.json").read_text(encoding="utf-8")
    test = json.loads(text)["test"]
    assert len(test["confusion"]["counts"]) <= test["n_samples"]
    # At most 60 characters for each class and each sample; the full matrix has 1.44 million cells.
    assert len(text) < 60 * (1200 + test["n_samples"])


def test_a_matrix_of_too_many_classes_gives_a_warning_and_no_picture(many: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")
    reason = "the confusion matrix is not drawn: "
    reason += "it would have 1,200 classes, and a picture has room for 1,000"
    for output in ((many.parent / "output.txt").read_text(encoding="utf-8"), done("plot", many)):
        warned = [line for line in output.splitlines() if line.startswith("Warning") and "picture" in line]
        assert warned == [f"Warning: {reason}"]
    assert (many / "curves.png").is_file()
    assert not (many / "confusion.png").exists()
    done("report", many)
    page = (many / "report.html").read_text(encoding="utf-8")
    assert reason.removeprefix("the") in page
    assert re.search(r"The most frequent confusions", page)
