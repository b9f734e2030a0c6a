"""Folders of images and of IDX files on the command line."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT
from support.command_line import answered, done, refused, settings_in

import twolayer

pillow = pytest.importorskip("PIL.Image", reason="images need the extra `images`")

QUICK = ("--epochs", 8, "--hidden", 8, "--learning-rate", 0.01, "--dropout", 0, "-q")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photos(folder: str, *, n: int = 20, mode: str = "RGB", size: tuple[int, int] | None = None) -> Path:
    """Write a folder of images of two classes, dark and bright. Sizes differ unless `size` is given."""
    rng = np.random.default_rng(0)
    for name, base in (("dark", 40), ("bright", 180)):
        place = Path(folder, name)
        place.mkdir(parents=True)
        for i in range(n):
            height, width = size or rng.integers(9, 30, 2)
            pixels = rng.integers(base, base + 40, (height, width, 3)).astype(np.uint8)
            pillow.fromarray(pixels).convert(mode).save(place / f"{i:02d}.png")
    return Path(folder)


def results(folder: str) -> dict[str, object]:
    return dict(json.loads(Path(folder, "results.json").read_text()))


def test_a_folder_of_images_trains_and_evaluates_a_network() -> None:
    output = done("train", photos("photos"), "--resize", 8, *QUICK, "--out", "run")
    assert "simple classifiers: always predicting the commonest class 0.500\n" in output
    metadata = twolayer.storage.load_metadata("run")
    assert (metadata.classes, metadata.image_shape) == (("bright", "dark"), (8, 8, 3))
    assert settings_in("run")["resize"] == 8
    _, data, _ = answered("evaluate", "run", "photos")
    assert (data["split"], data["accuracy"]) == ("test", 1.0)
    photos("others", n=5)
    _, data, _ = answered("evaluate", "run", "others")
    assert (data["split"], data["n_samples"], data["accuracy"]) == ("all", 10, 1.0)
    photos("few", n=1)
    _, data, _ = answered("evaluate", "run", "few")
    assert data["n_samples"] == 2
    output = done("predict", "run", "others/dark", "--resize")
    assert output.count("dark ") >= 5


def test_the_page_names_the_files_of_the_worst_predictions() -> None:
    rng = np.random.default_rng(0)
    for name in ("one", "other"):  # both classes are the same noise
        Path("noise", name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
            pillow.fromarray(pixels).save(Path("noise", name, f"{i:02d}.png"))
    data = twolayer.datasets.load_images("noise")
    assert data.test is not None
    assert data.test_ids is not None
    for X, y, file in zip(*data.test, data.test_ids["file"], strict=True):
        assert Path(file).parent.name == data.classes[y]
        assert np.array_equal(np.asarray(pillow.open(Path("noise", file))), X)
    done("train", "noise", *QUICK, "--out", "run")
    done("report", "run")
    wrong = Path("run/report.html").read_text(encoding="utf-8").partition('<ul class="mistakes">')[2]
    named = [file for file in data.test_ids["file"] if f"<bdi>{file}</bdi>" in wrong]
    assert named


def test_predict_reads_images_as_train_does() -> None:
    done("train", photos("photos"), "--resize", 8, *QUICK, "--out", "run")
    data = twolayer.datasets.load_images("photos", resize=8, validation=0, test=0)
    probs = twolayer.load("run").predict_proba(data.train.X)
    done("predict", "run", "photos/bright", "--resize", "--output", "p.npz", "-q")
    with np.load("p.npz") as stored:
        assert np.allclose(stored["probabilities"], probs[data.train.y == 0], atol=1e-6)


def test_the_recipe_for_one_photo_gives_the_probabilities_of_predict() -> None:
    done("train", photos("photos"), "--resize", 8, *QUICK, "--out", "run")
    section = (
        (ROOT / "docs" / "tables.md").read_text(encoding="utf-8").partition("\n## A folder of images\n")[2]
    )
    recipe: dict[str, Any] = {}
    exec(section.partition("```python\n")[2].partition("```")[0], recipe)
    exif = pillow.Exif()
    exif[0x0112] = 6  # the orientation of a photo that must be turned by 90°
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)
    pillow.fromarray(pixels).save("new.jpg", exif=exif)
    _, data, _ = answered("predict", "run", "new.jpg", "--resize")
    found = recipe["classify"]("new.jpg", "run")
    assert [*found] == data["classes"]
    assert np.allclose([*found.values()], data["predictions"][0]["probabilities"], rtol=1e-6, atol=0)


def test_grey_images_have_no_axis_of_colours() -> None:
    done("train", photos("photos", size=(8, 8)), "--grey", *QUICK, "--out", "run")
    assert twolayer.storage.load_metadata("run").image_shape == (8, 8)
    _, data, _ = answered("evaluate", "run", photos("others", size=(8, 8), n=4))
    assert data["n_samples"] == 8


def test_splits_of_a_folder_are_kept() -> None:
    photos("all/train", size=(8, 8))
    photos("all/test", size=(8, 8), n=3)
    done("train", "all", *QUICK, "--out", "run")
    assert results("run")["samples"] == {"train": 34, "validation": 6, "test": 6}


def test_mixed_sizes_and_unreadable_files_are_refused_or_skipped() -> None:
    photos("photos")
    line = refused("train", "photos", *QUICK)
    assert "`--resize` must be given if images differ in size, for example `--resize 32`; " in line
    Path("photos/dark/broken.png").write_bytes(b"no image")
    line = refused("train", "photos", "--resize", 8, *QUICK)
    assert "broken.png" in line
    assert line.endswith("; `--skip-unreadable` skips such files")
    output = done("train", "photos", "--resize", 8, "--skip-unreadable", *QUICK[:-1], "--out", "run")
    assert "Warning: " in output
    assert "broken.png" in output
    assert sum(results("run")["samples"].values()) == 40  # type: ignore[attr-defined]


def test_a_sweep_on_images_is_repeated_from_its_settings() -> None:
    photos("photos", size=(8, 8))
    done("sweep", "photos", "--seeds", 1, "--reg", "0", *QUICK, "--out", "run")
    done("sweep", "--config", "run/settings.toml", "--out", "again", "-q")
    assert results("run")["best"] == results("again")["best"]


def idx(folder: str) -> Path:
    """Write a folder with the four files of MNIST: images of 5×4 pixels, bright on the left or the right."""
    rng = np.random.default_rng(0)
    Path(folder).mkdir()
    for part, n in (("train", 60), ("t10k", 20)):
        y = np.arange(n) % 2
        X = rng.integers(0, 60, (n, 5, 4))
        X[y == 0, :, :2] += 150
        X[y == 1, :, 2:] += 150
        for name, array in ((f"{part}-images-idx3-ubyte", X), (f"{part}-labels-idx1-ubyte", y)):
            header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            Path(folder, name).write_bytes(header + array.astype(np.uint8).tobytes())
    return Path(folder)


def test_idx_files_train_and_evaluate_a_network() -> None:
    done("train", idx("mnist"), *QUICK, "--validation", 10, "--out", "run")
    assert results("run")["samples"] == {"train": 50, "validation": 10, "test": 20}
    assert twolayer.storage.load_metadata("run").image_shape == (5, 4)
    _, data, _ = answered("evaluate", "run", "mnist")
    assert (data["split"], data["n_samples"]) == ("test", 20)
    assert "`--test` must be left out except for" in refused("train", "mnist", "--test", 5, code=2)
    done("report", "run")


def test_a_missing_folder_is_refused_with_a_similar_name() -> None:
    photos("photos", n=1)
    line = refused("train", "photo", "--resize", 8, code=2)
    assert "got 'photo', which does not exist; did you mean photos? (see" in line


def test_a_folder_of_cifar10_gets_a_hint() -> None:
    Path("here").mkdir()
    Path("here/data_batch_1.bin").touch()
    assert "did you mean cifar10 --data here?" in refused("train", "here", code=2)
    Path("empty").mkdir()
    assert "must hold" in refused("train", "empty")
