"""Edited or damaged files of a run, and their refusal."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.command_line import refused
from support.pages import edit_results, edit_settings

from twolayer.cli import read_run, run_folder
from twolayer.cli.read_run import Results, read_predictions, read_results


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert "must be the folder of a run; it holds no results.json" in refused("report", tmp_path)
    assert "does not exist" in refused("report", tmp_path / "none", code=2)


def test_a_page_in_a_missing_folder_is_refused(runs: Path, tmp_path: Path, undrawn: None) -> None:
    error = refused("report", runs / "weird", "--out", tmp_path / "none" / "page.html")
    assert "cannot write into the folder of page.html (No such file or directory)" in error


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"command": "predict"}, "`command` in .* must be train or sweep; got 'predict'"),
        ({"complete": 1}, "`complete` in .* must be true or false; got 1"),
        ({"seconds": "long"}, "`seconds` in .* must be a number; got 'long'"),
        ({"versions": {"numpy": 2}}, "`versions` in .* must be texts by names"),
        ({"samples": {"train": -1}}, "`samples` in .* must be counts by names"),
        ({"n_features": 1.5}, "`n_features` in .* must be an integer of at least 0; got 1.5"),
        ({"image_shape": [8]}, r"`image_shape` in .* must be two or three sizes; got \[8\]"),
        ({"image_shape": [8, 0]}, r"`image_shape` in .* must be two or three sizes; got \[8, 0\]"),
        ({"n_steps": None, "diverged": "no"}, "`diverged` in .* must be an integer of at least 0; got 'no'"),
        ({"best_step": []}, r"`best_step` in .* must be an integer of at least 0; got \[\]"),
        ({"train_accuracy": "x"}, "`train_accuracy` in .* must be a number; got 'x'"),
        ({"validation_accuracy": {}}, "`validation_accuracy` in .* must be a number; got {}"),
        ({"members": [1]}, "`members` in .* must be a list of rows, of numbers and texts"),
        ({"table": [{"validation_accuracy": 1.5}]}, "`table` in .* must be a list of rows"),
        ({"runs": [{"fold": -1}]}, "`runs` in .* must be a list of rows"),
        ({"baselines": {"commonest class": -0.1}}, "`baselines` in .* must be accuracies by names"),
        ({"runs": 3}, "`runs` in .* must be a list of rows, of numbers and texts; got 3"),
        ({"best": 3}, "`best` in .* must be a row of numbers and texts; got 3"),
        ({"test": {"n_samples": 1, "confusion": [], "loss": "x"}, "classes": []}, "`loss` in .* a number"),
        ({"test": {"confusion": []}, "classes": []}, "`test` in .* must have `n_samples`; it is missing"),
    ],
)
def test_invalid_results_are_refused(
    copied: Callable[[str], Path], changed: dict[str, Any], message: str
) -> None:
    folder = copied("weird")
    edit_results(folder, lambda stored: stored.update(changed))
    assert re.search(message, refused("report", folder))


def test_invalid_settings_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("weird")
    edit_settings(folder, {"reg": {"a": 1}})
    error = refused("report", folder)
    assert re.search("`reg` in .* must be a number, text or a list; got {'a': 1}", error)


def stored_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays in a run's predictions.npz, with row numbers for its 400 test samples."""
    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        return {**stored, "rows_in_file": np.arange(400)}


@pytest.fixture(scope="module")
def results(runs: Path) -> Results:
    return read_results(runs / "train" / "results.json")


@pytest.fixture(scope="module")
def tested(results: Results) -> read_run.Tested:
    """The test results that the predictions belong to."""
    assert results.test is not None
    return results.test


KEYS = "must hold `y` and `probabilities`, and `rows` and `images` or neither"
LABELS = r"`y` in .* must hold class labels in \[0, 10\), \(400,\); got"
PROBABILITIES = "`probabilities` in .* must hold probabilities of 10 classes for each of the 400 samples; got"
ROWS = r"`rows` in .* must hold different places in \[0, 400\), at most 24; got"
IMAGES = r"`images` in .* must hold \d+ images of 8×8 pixels; got other values, of shape"
OTHERS = "must belong to the run of results.json; got other samples or another network"
INVALID: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda a: {"y": None}, KEYS),
    (lambda a: {"rows": None}, KEYS),
    (lambda a: {"y": a["y"] + 1}, LABELS),
    (lambda a: {"y": a["y"][:5]}, rf"{LABELS} other values, of shape \(5,\)"),
    (lambda a: {"probabilities": a["probabilities"][:, :9]}, PROBABILITIES),
    (lambda a: {"probabilities": a["probabilities"] * 2}, PROBABILITIES),
    (lambda a: {"probabilities": a["probabilities"] - 1}, PROBABILITIES),
    (lambda a: {"probabilities": a["probabilities"] * np.nan}, PROBABILITIES),
    (lambda a: {"rows": a["rows"] * 0}, ROWS),
    (lambda a: {"rows": a["rows"] + 400}, ROWS),
    (lambda a: {"rows": np.arange(25), "images": np.zeros((25, 8, 8))}, rf"{ROWS} .* shape \(25,\)"),
    (lambda a: {"images": a["images"][1:]}, IMAGES),
    (lambda a: {"images": a["images"] * np.nan}, IMAGES),
    (lambda a: {"images": a["images"][..., None][..., [0, 0]]}, IMAGES),
    (lambda a: {"y": a["y"][::-1]}, OTHERS),
    (lambda a: {"probabilities": np.eye(10, dtype=np.float32)[a["y"]]}, OTHERS),
]


@pytest.mark.parametrize(("change", "message"), INVALID, ids=range(len(INVALID)))
def test_invalid_predictions_are_refused(
    copied: Callable[[str], Path], change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    folder = copied("train")
    arrays = stored_arrays(folder)
    changed = {name: array for name, array in (arrays | change(arrays)).items() if array is not None}
    np.savez(folder / "predictions.npz", **changed)
    assert re.search(message, refused("report", folder))


@pytest.mark.parametrize("dtype", ["O", "U8", "S8", "m8[s]", "M8[s]", "c8", "V4", [("a", "f4")]], ids=str)
@pytest.mark.parametrize("key", ["y", "probabilities", "rows", "images", "rows_in_file"])
def test_predictions_of_another_dtype_are_refused(
    runs: Path, results: Results, tested: read_run.Tested, tmp_path: Path, key: str, dtype: Any
) -> None:
    arrays = stored_arrays(runs / "train")
    path = tmp_path / "predictions.npz"
    np.savez(path, **arrays | {key: np.zeros(arrays[key].shape, dtype)})
    with pytest.raises(TypeError, match=rf"`{key}` in .*predictions.npz must hold .*; got dtype "):
        read_predictions(path, tested, results.image_shape)


def test_labels_that_are_floats_are_refused(
    runs: Path, results: Results, tested: read_run.Tested, tmp_path: Path
) -> None:
    arrays = stored_arrays(runs / "train")
    np.savez(tmp_path / "predictions.npz", **arrays | {"y": arrays["y"] * 1.0})
    with pytest.raises(TypeError, match=r"`y` in .* must hold class labels .*; got dtype float64"):
        read_predictions(tmp_path / "predictions.npz", tested, results.image_shape)


@settings(max_examples=30)
@given(
    st.sampled_from(["y", "probabilities", "rows", "images", "rows_in_file"]),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple),
)
def test_a_wrong_shape_is_refused_without_reading_the_values(
    runs: Path,
    results: Results,
    tested: read_run.Tested,
    tmp_path_factory: pytest.TempPathFactory,
    key: str,
    shape: tuple[int, ...],
) -> None:
    """The values are not read, as a small file may declare gigabytes of them; here the file has no values."""
    arrays = stored_arrays(runs / "train")
    assume(shape != arrays[key].shape and (key != "rows" or len(shape) > 1 or shape[0] > 24))
    path = tmp_path_factory.mktemp("invalid") / "predictions.npz"
    header = {"descr": arrays.pop(key).dtype.str, "fortran_order": False, "shape": shape}
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive, archive.open(f"{key}.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    wanted = rf"`{key}` .* must hold .*; got other values, of shape {re.escape(str(shape))}$"
    with pytest.raises(ValueError, match=wanted):
        read_predictions(path, tested, results.image_shape)


def test_images_are_not_read_for_samples_that_are_not_images(runs: Path, tested: read_run.Tested) -> None:
    found = read_predictions(runs / "train" / "predictions.npz", tested, None)
    assert found.images is found.rows is None


def test_a_truncated_file_of_predictions_is_refused(copied: Callable[[str], Path]) -> None:
    path = copied("train") / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert f"{path} must be an .npz file with arrays; it is truncated" in refused("report", path.parent)


def test_classes_that_are_almost_equally_probable_may_change_places(
    runs: Path, results: Results, tested: read_run.Tested, tmp_path: Path
) -> None:
    """In float32, rounding may give two classes the same probability although their logits differ."""
    arrays = stored_arrays(runs / "train")
    y, probabilities = arrays["y"], arrays["probabilities"]
    right = int(np.flatnonzero(probabilities.argmax(axis=1) == y)[0])
    other = 9 if y[right] else 0
    probabilities[right] = 0
    probabilities[right, [y[right], other]] = 0.5, 0.5 + 1e-6
    np.savez(tmp_path / "predictions.npz", **arrays)
    assert len(read_predictions(tmp_path / "predictions.npz", tested, results.image_shape).y) == 400


def test_overwriting_a_run_removes_its_page(copied: Callable[[str], Path]) -> None:
    folder = copied("train")
    assert {"report.html", "predictions.npz"} <= set(run_folder.written_in(folder))
    with run_folder.fresh_folder(str(folder), "x", overwrite=True, dataset="digits") as new:
        (new / "results.json").write_text("{}")
        assert run_folder.take_place(new) == folder
        assert {path.name for path in folder.iterdir()} == {run_folder.LOCK, "results.json"}
