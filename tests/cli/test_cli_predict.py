"""Predictions for images: files, folders, patterns, other sizes; and for arrays from a pipe."""

from __future__ import annotations

import io
import logging
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
from support.command_line import answered, cli, done, refused

import twolayer
from twolayer import datasets, storage
from twolayer.cli import console

image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
ops = pytest.importorskip("PIL.ImageOps", reason="Pillow comes with matplotlib")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(elsewhere: Path) -> twolayer.TwoLayerNet:
    """A network for grey images of 4 rows and 6 columns, in whose file bytes are bytes."""
    made = twolayer.TwoLayerNet.initialize(24, 5, 3, rng=0, weight_scale=0.05, dtype="float64")
    save(made, (4, 6))
    return made


def save(net: twolayer.TwoLayerNet, image_shape: tuple[int, ...]) -> None:
    storage.save(
        net,
        "net.safetensors",
        classes=("ant", "bee", "cat"),
        image_shape=image_shape,
        information={"white": 255},
    )


def picture(path: str, *, size: tuple[int, int] = (6, 4), seed: int = 0, mode: str = "L") -> np.ndarray:
    shape = (size[1], size[0], *((3,) if mode == "RGB" else ()))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)
    return pixels


def predicted(*arguments: object) -> tuple[list[str], np.ndarray]:
    code, data, _ = answered("predict", "net.safetensors", *arguments)
    assert code == 0
    rows = data["predictions"]
    return [row["sample"] for row in rows], np.array([row["probabilities"] for row in rows])


def test_the_images_of_a_folder_in_the_order_of_their_names(net: twolayer.TwoLayerNet) -> None:
    names = ["a.PNG", "b10.png", "b9.bmp", "c.tif"]
    pixels = [picture(f"scans/{name}", seed=seed) for seed, name in reversed(list(enumerate(names)))][::-1]
    picture("scans/within/d.png")
    Path("scans/folder.png").mkdir()
    Path("scans/._a.png").write_text("what macOS leaves beside a.png")
    Path("scans/notes.txt").write_text("not an image")
    found, probs = predicted("scans")
    assert found == [f"scans/{name}" for name in names]
    np.testing.assert_allclose(probs, net.predict_proba(np.array(pixels)), rtol=1e-9)


def test_files_folders_and_patterns_stand_together(net: twolayer.TwoLayerNet) -> None:
    for name in ("one.png", "scans/b.png", "scans/a.png", "more/x1.png", "more/x2.png", "more/y.png"):
        picture(name)
    found, _ = predicted("one.png", "more/x*.png", "scans")
    assert found == ["one.png", "more/x1.png", "more/x2.png", "scans/a.png", "scans/b.png"]
    found, _ = predicted("**/[ay]*.png")
    assert found == ["more/y.png", "scans/a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_taken_as_it_is(net: twolayer.TwoLayerNet) -> None:
    picture("[ab].png")
    picture("a.png")
    assert predicted("[ab].png")[0] == ["[ab].png"]


def test_what_holds_no_images_is_refused(net: twolayer.TwoLayerNet) -> None:
    Path("empty").mkdir()
    line = refused("predict", "net.safetensors", "empty")
    assert "`INPUT` must be a folder with images; empty holds none (.png, .jpg, " in line
    line = refused("predict", "net.safetensors", "*.png")
    assert "`INPUT` must be a pattern that files match; none match *.png" in line


@pytest.mark.parametrize(
    ("size", "cut"),
    [
        ((12, 8), (0, 0, 12, 8)),  # of the same proportions
        ((20, 8), (4, 0, 16, 8)),  # too wide: cut left and right
        ((6, 10), (0, 3, 6, 7)),  # too high: cut above and below
        ((3, 2), (0, 0, 3, 2)),  # made larger
    ],
)
def test_resize_cuts_evenly_and_scales(
    net: twolayer.TwoLayerNet, size: tuple[int, int], cut: tuple[int, int, int, int]
) -> None:
    picture("a.png", size=size)
    line = refused("predict", "net.safetensors", "a.png")
    assert (
        f"a.png must have 6×4 pixels, as the images that the network was trained on; it has {size[0]}×"
        in line
    )
    assert line.endswith("(--resize makes it so)")
    with image.open("a.png") as opened:
        expected = np.asarray(opened.resize((6, 4), image.Resampling.BICUBIC, box=cut))
    np.testing.assert_allclose(
        predicted("a.png", "--resize")[1], net.predict_proba(expected[None]), rtol=1e-9
    )


def test_resize_leaves_an_image_of_the_right_size_as_it_is(net: twolayer.TwoLayerNet) -> None:
    pixels = picture("a.png")
    np.testing.assert_allclose(predicted("a.png", "--resize")[1], net.predict_proba(pixels[None]), rtol=1e-9)


def test_resize_does_not_alias(net: twolayer.TwoLayerNet) -> None:
    """A fine chequerboard becomes grey, not black or white."""
    board = (np.indices((64, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image.fromarray(board).save("board.png")
    _, probs = predicted("board.png", "--resize")
    grey = net.predict_proba(np.full((1, 4, 6), 127.5))
    np.testing.assert_allclose(probs, grey, atol=0.005)
    assert np.abs(probs - net.predict_proba(np.full((1, 4, 6), 255.0))).max() > 0.02


def test_colour_and_inverted(elsewhere: Path) -> None:
    net = twolayer.TwoLayerNet.initialize(72, 5, 3, rng=1, weight_scale=0.01, dtype="float64")
    save(net, (4, 6, 3))
    pixels = picture("a.png", mode="RGB")
    np.testing.assert_allclose(predicted("a.png")[1], net.predict_proba(pixels[None]), rtol=1e-9)
    inverted = predicted("a.png", "--invert")[1]
    np.testing.assert_allclose(inverted, net.predict_proba(255 - pixels[None]), rtol=1e-9)


def test_a_photograph_is_turned_as_its_camera_says(net: twolayer.TwoLayerNet) -> None:
    pixels = picture("a.png")
    turned = image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    turned.save("turned.png", exif=exif)
    np.testing.assert_allclose(predicted("turned.png")[1], net.predict_proba(pixels[None]), rtol=1e-9)


@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
def test_a_broken_image_in_a_folder_is_named_and_nothing_is_written(
    net: twolayer.TwoLayerNet, suffix: str
) -> None:
    for name in ("a", "b", "c"):
        picture(f"scans/{name}.png")
    whole = Path("scans/b.png").read_bytes()
    Path("scans/b.png").write_bytes(whole[: len(whole) // 2])
    line = refused("predict", "net.safetensors", "scans", "--output", f"out.{suffix}")
    assert "scans/b.png must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read" in line.replace(
        "\\", "/"
    )
    assert {path.name for path in Path().iterdir()} == {"net.safetensors", "scans"}
    code, data, _ = answered("predict", "net.safetensors", "scans")
    assert (code, set(data)) == (1, {"error"})


def test_an_image_beyond_all_measure_is_refused(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png", size=(60, 40))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 1000)
    line = refused("predict", "net.safetensors", "a.png")
    assert "a.png must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read" in line


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".webp"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_content_decides_which_image_it_is(net: twolayer.TwoLayerNet, form: str, suffix: str) -> None:
    mode = "RGB" if form in ("JPEG", "WEBP") else "L"
    image.new(mode, (6, 4), "white").save(f"white{suffix}", form)
    _, probs = predicted(f"white{suffix}")
    np.testing.assert_allclose(probs, net.predict_proba(np.full((1, 4, 6), 255.0)), rtol=1e-9)


def written_by_pillow() -> list[str]:
    """The formats in which Pillow writes an image, those that are read left out."""
    image.init()
    return sorted(set(image.SAVE) - {*FORMATS, "MPO", "PDF"})


@pytest.mark.parametrize("form", ["DDS", "EPS", "ICO", "JPEG2000", "PPM", "TGA"])
def test_an_image_of_another_kind_is_refused(net: twolayer.TwoLayerNet, form: str) -> None:
    assert form in written_by_pillow()
    image.new("RGB", (6, 4)).save("a.png", form)
    line = refused("predict", "net.safetensors", "a.png", "--resize")
    assert "a.png must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read (" in line


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program on Windows")
def test_no_program_is_run_for_an_image(net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow has PostScript drawn by Ghostscript, whatever the file is called."""
    Path("bin").mkdir()
    Path("bin/gs").write_text(f"#!/bin/sh\necho > {Path('ran').absolute()}\n", encoding="utf-8")
    Path("bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:/bin:/usr/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it is looked for once
    Path("a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n", encoding="ascii"
    )
    refused("predict", "net.safetensors", "a.png")
    assert not Path("ran").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_the_size_is_read_before_the_pixels(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    image.new("RGB", (60, 40)).save("a.png", form)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert "a.png must have 6×4 pixels" in refused("predict", "net.safetensors", "a.png")


@pytest.mark.parametrize("flags", [(), ("--resize",)])
def test_a_decompression_bomb_is_refused_before_its_pixels_are_read(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """Also one of which Pillow would only warn, with more than its limit but less than twice that."""
    picture("a.png", size=(60, 40))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 2000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    line = refused("predict", "net.safetensors", "a.png", *flags)
    assert "it cannot be read (Image size (2400 pixels) exceeds limit of 2000 pixels" in line


def test_what_is_odd_in_an_image_is_not_told(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    picture("scans/a.png")
    image.new("L", (6, 4)).save("scans/b.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01")
    code, data, errors = answered("predict", "net.safetensors", "scans")
    assert (code, len(data["predictions"]), errors) == (0, 2, "")
    # The tag of a TIFF that says how many values a pixel has.
    samples = b"\x15\x01\x03\x00\x01\x00\x00\x00"
    image.new("RGB", (6, 4)).save("c.tif")
    content = Path("c.tif").read_bytes()
    assert content.count(samples + b"\x03") == 1
    Path("c.tif").write_bytes(content.replace(samples + b"\x03", samples + b"\x09"))
    code, data, errors = answered("predict", "net.safetensors", "c.tif")
    assert (code, errors) == (1, f"Error: {data['error']['message']}\n")
    assert data["error"]["message"].startswith("c.tif must be a PNG, ")


def test_a_folder_is_read_in_blocks(net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.array([picture(f"scans/{i:02}.png", seed=i) for i in range(11)])
    sizes: list[int] = []
    original = np.stack

    def stack(arrays: Any, *args: Any, **more: Any) -> Any:
        sizes.append(len(arrays))
        return original(arrays, *args, **more)

    monkeypatch.setattr("twolayer._validation.BLOCK_ELEMENTS", 24 * 4)
    monkeypatch.setattr("twolayer.cli.inputs.np.stack", stack)
    found, probs = predicted("scans")
    assert sizes == [4, 4, 3]
    assert len(found) == 11
    np.testing.assert_allclose(probs, net.predict_proba(pixels), rtol=1e-9)


def test_a_terminal_shows_how_far_it_is(net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    terminal = rich.console.Console(file=written, force_terminal=True, width=120)
    monkeypatch.setattr(console, "_rich_console", lambda *, stderr: terminal)
    for i in range(3):
        picture(f"scans/{i}.png")
    done("predict", "net.safetensors", "scans")
    assert "Reading images" in written.getvalue()
    assert "3 of 3" in written.getvalue()
    written.truncate(0)
    done("predict", "net.safetensors", "scans", "--quiet")
    assert "Reading images" not in written.getvalue()


def test_lines_tell_how_far_it_is_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter((0, 1, 31, 31, 32))
    counted = console.Console().counted("Reading images", range(3), 2000, clock=lambda: next(times))
    assert list(counted) == [0, 1, 2]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Reading images: 2 of 2,000\n")


def test_the_table_has_names_and_probabilities(net: twolayer.TwoLayerNet) -> None:
    pixels = picture("scans/a.png")
    probs = net.predict_proba(pixels[None])[0]
    order = np.argsort(-probs)
    output = done("predict", "net.safetensors", "scans", "--top", 2)
    first, second = (line.split() for line in output.splitlines() if re.search(r"0\.\d{4}$", line.strip()))
    names = ("ant", "bee", "cat")
    assert first == ["scans/a.png", names[order[0]], f"{probs[order[0]]:.4f}"]
    assert second == [names[order[1]], f"{probs[order[1]]:.4f}"]


@pytest.mark.parametrize("write", [np.save, lambda file, X: np.savez(file, X=X)])
def test_arrays_from_standard_input(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    X = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    content = io.BytesIO()
    write(content, X)
    content.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    np.testing.assert_allclose(predicted("-")[1], net.predict_proba(X), rtol=1e-9)


def test_standard_input_that_holds_no_array_is_refused(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no array")))
    code, data, _ = answered("predict", "net.safetensors", "-")
    assert code == 1
    assert data["error"]["message"].startswith("- must be a file that NumPy wrote; it is truncated, emp")


def test_features_from_standard_input_are_counted_before_they_are_computed_with(
    net: twolayer.TwoLayerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 5, 6)}
    np.lib.format.write_array_header_1_0(content, header)
    content.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    code, data, _ = answered("predict", "net.safetensors", "-")
    assert code == 1
    expected = "`INPUT` must have 24 features a sample to fit the network; got 30"
    assert data["error"]["message"] == expected


def test_a_file_of_an_archive_that_is_no_array_is_refused(net: twolayer.TwoLayerNet) -> None:
    with zipfile.ZipFile("raw.npz", "w") as archive:
        archive.writestr("X", b"no array")
    line = refused("predict", "net.safetensors", "raw.npz")
    assert "`X` in raw.npz must be a whole array; it cannot be read (it is not an array)" in line


def test_resize_is_for_images_only(net: twolayer.TwoLayerNet) -> None:
    np.save("X.npy", np.ones((2, 24)))
    line = refused("predict", "net.safetensors", "X.npy", "--resize")
    assert "`--resize` must be left out but for image files" in line


def test_images_and_arrays_do_not_go_together(net: twolayer.TwoLayerNet) -> None:
    picture("a.png")
    np.save("X.npy", np.ones((2, 24)))
    assert "got several files" in refused("predict", "net.safetensors", "a.png", "X.npy")


def test_images_of_the_digits() -> None:
    done("train", "--epochs", 6, "--out", "run", "-q")
    test = datasets.load_digits().test
    for i, pixels in enumerate(test.X[:10]):
        large = image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).resize((64, 64), 0)
        Path("scans").mkdir(exist_ok=True)
        large.save(f"scans/{i}.png")
    code, data, _ = answered("predict", "run", "scans", "--resize")
    assert code == 0
    expected = storage.load("run/network.safetensors").predict(test.X[:10])
    found = [int(row["class"]) for row in data["predictions"]]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 9
    assert cli("predict", "run", "scans").exit_code == 1
