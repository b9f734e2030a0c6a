"""``twolayer predict``: image files, folders, patterns and sizes, and arrays from standard input."""

from __future__ import annotations

import io
import logging
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rich.console
from support.command_line import answered, cli, done, refused

from twolayer import TwoLayerNet, datasets, storage
from twolayer.cli import console

image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
ops = pytest.importorskip("PIL.ImageOps", reason="Pillow comes with matplotlib")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(elsewhere: Path) -> TwoLayerNet:
    """A network for grey images of 4 rows and 6 columns; its file gives 255 as the value of white."""
    made = TwoLayerNet.initialize(24, 5, 3, rng=0, weight_scale=0.05, dtype="float64")
    save(made, (4, 6))
    return made


def save(net: TwoLayerNet, image_shape: tuple[int, ...]) -> None:
    """Save a network for images with three named classes."""
    about: dict[str, Any] = {"classes": ("ant", "bee", "cat"), "information": {"white": 255}}
    storage.save(net, "net.safetensors", image_shape=image_shape, **about)


def picture(path: str, *, size: tuple[int, int] = (6, 4), seed: int = 0, mode: str = "L") -> np.ndarray:
    """Write an image of random pixels, and return the pixels. `size` is (width, height)."""
    shape = (size[1], size[0], *((3,) if mode == "RGB" else ()))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)
    return pixels


def predicted(*arguments: object) -> tuple[list[str], np.ndarray]:
    """The names and the probabilities in the answer of `predict`."""
    code, data, _ = answered("predict", "net.safetensors", *arguments)
    assert code == 0
    rows = data["predictions"]
    return [row["sample"] for row in rows], np.array([row["probabilities"] for row in rows])


def assert_predicted(net: TwoLayerNet, X: Any, *arguments: object) -> list[str]:
    """Assert that the command gives a network's probabilities for samples; return their names."""
    names, probs = predicted(*arguments)
    np.testing.assert_allclose(probs, net.predict_proba(np.asarray(X)), rtol=1e-9)
    return names


def refused_input(*arguments: object) -> str:
    return refused("predict", "net.safetensors", *arguments).replace("\\", "/")


UNREADABLE = "must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read ("


def test_images_of_a_folder_are_predicted_in_order_of_their_names(net: TwoLayerNet) -> None:
    names = ["a.PNG", "b10.png", "b9.bmp", "c.tif"]
    pixels = [picture(f"scans/{name}", seed=seed) for seed, name in reversed(list(enumerate(names)))][::-1]
    picture("scans/within/d.png")
    Path("scans/folder.png").mkdir()
    Path("scans/._a.png").write_text("what macOS leaves beside a.png")
    Path("scans/notes.txt").write_text("not an image")
    assert assert_predicted(net, pixels, "scans") == [f"scans/{name}" for name in names]


def test_files_folders_and_patterns_may_be_combined(net: TwoLayerNet) -> None:
    for name in ("one.png", "scans/b.png", "scans/a.png", "more/x1.png", "more/x2.png", "more/y.png"):
        picture(name)
    found, _ = predicted("one.png", "more/x*.png", "scans")
    assert found == ["one.png", "more/x1.png", "more/x2.png", "scans/a.png", "scans/b.png"]
    found, _ = predicted("**/[ay]*.png")
    assert found == ["more/y.png", "scans/a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_read_as_a_file(net: TwoLayerNet) -> None:
    picture("[ab].png")
    picture("a.png")
    assert predicted("[ab].png")[0] == ["[ab].png"]


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
    net: TwoLayerNet, size: tuple[int, int], cut: tuple[int, int, int, int]
) -> None:
    picture("a.png", size=size)
    line = refused_input("a.png")
    assert (
        f"a.png must have 6×4 pixels, like the images that the network was trained on; it has {size[0]}×"
        in line
    )
    assert line.endswith("(use --resize)")
    with image.open("a.png") as opened:
        expected = np.asarray(opened.resize((6, 4), image.Resampling.BICUBIC, box=cut))
    assert_predicted(net, expected[None], "a.png", "--resize")


def test_resize_leaves_an_image_of_the_right_size_unchanged(net: TwoLayerNet) -> None:
    pixels = picture("a.png")
    assert_predicted(net, pixels[None], "a.png", "--resize")


def test_resize_does_not_alias(net: TwoLayerNet) -> None:
    """A fine chequerboard becomes grey, not black or white."""
    board = (np.indices((64, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image.fromarray(board).save("board.png")
    _, probs = predicted("board.png", "--resize")
    grey = net.predict_proba(np.full((1, 4, 6), 127.5))
    np.testing.assert_allclose(probs, grey, atol=0.005)
    assert np.abs(probs - net.predict_proba(np.full((1, 4, 6), 255.0))).max() > 0.02


def test_colour_images_are_predicted_and_inverted(elsewhere: Path) -> None:
    net = TwoLayerNet.initialize(72, 5, 3, rng=1, weight_scale=0.01, dtype="float64")
    save(net, (4, 6, 3))
    pixels = picture("a.png", mode="RGB")
    assert_predicted(net, pixels[None], "a.png")
    assert_predicted(net, 255 - pixels[None], "a.png", "--invert")


def test_an_image_is_rotated_as_its_exif_data_require(net: TwoLayerNet) -> None:
    pixels = picture("a.png")
    turned = image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # rotate by 90° clockwise
    for name in ("turned.png", "turned.tif"):
        turned.save(name, exif=exif)
        assert_predicted(net, pixels[None], name)
    # An image that fits only before it is rotated.
    image.fromarray(pixels).save("a.png", exif=exif)
    assert "a.png must have 6×4 pixels, like the images that the network was trained on; it has 4×6" in (
        refused_input("a.png")
    )


def test_images_are_read_as_for_a_training(net: TwoLayerNet) -> None:
    exif = image.Exif()
    exif[0x0112] = 8  # rotate by 90° anticlockwise
    for i, mode in enumerate(("1", "L", "P", "RGB", "RGBA", "LA")):
        picture(f"pets/cat/{i}.png", size=(7 + i, 5 + 3 * i), seed=i, mode="RGB")
        with image.open(f"pets/cat/{i}.png") as opened:
            opened.convert(mode).save(f"pets/cat/{i}.png", exif=exif)
    # The palette has a transparency for each colour, but all are opaque.
    with image.open("pets/cat/2.png") as opened:
        opened.save("pets/cat/6.png", transparency=b"\xff" * 256)
    picture("pets/dog/0.png")
    data = datasets.load_images("pets", resize=(4, 6), grey=True, validation=0, test=0)
    assert len(data.train.X) == 8
    assert_predicted(net, data.train.X[:7], "pets/cat", "--resize")


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "CMYK"])
def test_images_of_other_kinds_of_pixels_are_refused(net: TwoLayerNet, mode: str) -> None:
    image.new(mode, (6, 4)).save("a.tif")
    wanted = "a.tif must be an 8-bit greyscale or colour image without transparency; got mode"
    assert f"{wanted} {mode}" in refused_input("a.tif")


@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
def test_a_broken_image_in_a_folder_is_named_and_nothing_is_written(net: TwoLayerNet, suffix: str) -> None:
    for name in ("a", "b", "c"):
        picture(f"scans/{name}.png")
    whole = Path("scans/b.png").read_bytes()
    Path("scans/b.png").write_bytes(whole[: len(whole) // 2])
    assert f"scans/b.png {UNREADABLE}" in refused_input("scans", "--output", f"out.{suffix}")
    assert {path.name for path in Path().iterdir()} == {"net.safetensors", "scans"}
    code, data, _ = answered("predict", "net.safetensors", "scans")
    assert (code, set(data)) == (1, {"error"})


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".webp"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_content_decides_the_format_whatever_the_suffix(net: TwoLayerNet, form: str, suffix: str) -> None:
    mode = "RGB" if form in ("JPEG", "WEBP") else "L"
    image.new(mode, (6, 4), "white").save(f"white{suffix}", form)
    assert_predicted(net, np.full((1, 4, 6), 255.0), f"white{suffix}")


def written_by_pillow() -> list[str]:
    """The formats that Pillow writes, except those that are read, MPO and PDF."""
    image.init()
    return sorted(set(image.SAVE) - {*FORMATS, "MPO", "PDF"})


@pytest.mark.parametrize("form", ["DDS", "EPS", "ICO", "JPEG2000", "PPM", "TGA"])
def test_an_image_of_another_format_is_refused(net: TwoLayerNet, form: str) -> None:
    assert form in written_by_pillow()
    image.new("RGB", (6, 4)).save("a.png", form)
    assert f"a.png {UNREADABLE}" in refused_input("a.png", "--resize")


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program on Windows")
def test_no_program_is_run_for_an_image(net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow alone would run Ghostscript for a PostScript file of any name."""
    Path("bin").mkdir()
    Path("bin/gs").write_text(f"#!/bin/sh\necho > {Path('ran').absolute()}\n", encoding="utf-8")
    Path("bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:/bin:/usr/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # Pillow caches its search for Ghostscript
    Path("a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n", encoding="ascii"
    )
    refused_input("a.png")
    assert not Path("ran").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_the_size_is_read_before_the_pixels(
    net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    image.new("RGB", (60, 40)).save("a.png", form)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)  # reading pixels would fail
    assert "a.png must have 6×4 pixels" in refused_input("a.png")


@pytest.mark.parametrize("limit", [2000, 1000])
@pytest.mark.parametrize("flags", [(), ("--resize",)])
def test_a_decompression_bomb_is_refused_before_its_pixels_are_read(
    net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], limit: int
) -> None:
    """Pillow alone only warns about images of up to twice its limit: 2,400 pixels for a limit of 2,000."""
    picture("a.png", size=(60, 40))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)  # reading pixels would fail
    line = refused_input("a.png", *flags)
    assert f"a.png {UNREADABLE}Image size (2400 pixels) exceeds limit of 2000 pixels" in line


def test_messages_of_pillow_are_not_shown(net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # removes pytest's handlers
    picture("scans/a.png")
    image.new("L", (6, 4)).save("scans/b.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01")
    code, data, errors = answered("predict", "net.safetensors", "scans")
    assert (code, len(data["predictions"]), errors) == (0, 2, "")
    # The TIFF tag for the number of values per pixel. A changed number makes Pillow log an error.
    samples = b"\x15\x01\x03\x00\x01\x00\x00\x00"
    image.new("RGB", (6, 4)).save("c.tif")
    content = Path("c.tif").read_bytes()
    assert content.count(samples + b"\x03") == 1
    Path("c.tif").write_bytes(content.replace(samples + b"\x03", samples + b"\x09"))
    code, data, errors = answered("predict", "net.safetensors", "c.tif")
    assert (code, errors) == (1, f"Error: {data['error']['message']}\n")
    assert data["error"]["message"].startswith("c.tif must be a PNG, ")


def test_a_folder_is_read_in_blocks(net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = [picture(f"scans/{i:02}.png", seed=i) for i in range(11)]
    sizes: list[int] = []
    original = np.stack

    def stack(arrays: Any, *args: Any, **more: Any) -> Any:
        sizes.append(len(arrays))
        return original(arrays, *args, **more)

    # An image has 24 pixels, so a block has 4 images.
    monkeypatch.setattr("twolayer._validation.BLOCK_ELEMENTS", 24 * 4)
    monkeypatch.setattr("twolayer.cli.inputs.np.stack", stack)
    assert len(predicted("scans")[0]) == 11
    assert sizes == [4, 4, 3]
    assert_predicted(net, pixels, "scans")


def test_a_terminal_shows_the_progress_of_reading(net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_lines_show_the_progress_if_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter((0, 1, 31, 31, 32))
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(times)))
    counted = console.Console().counted("Reading images", range(3), 2000)
    assert list(counted) == [0, 1, 2]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Reading images: 2 of 2,000\n")


def test_the_table_has_names_and_probabilities(net: TwoLayerNet) -> None:
    pixels = picture("scans/a.png")
    probs = net.predict_proba(pixels[None])[0]
    order = np.argsort(-probs)
    output = done("predict", "net.safetensors", "scans", "--top", 2)
    first, second = (line.split() for line in output.splitlines() if re.search(r"0\.\d{4}$", line.strip()))
    names = ("ant", "bee", "cat")
    assert first == ["scans/a.png", names[order[0]], f"{probs[order[0]]:.4f}"]
    assert second == [names[order[1]], f"{probs[order[1]]:.4f}"]


def set_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("write", [np.save, lambda file, X: np.savez(file, X=X)])
def test_arrays_are_read_from_standard_input(
    net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    X = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    content = io.BytesIO()
    write(content, X)
    set_standard_input(monkeypatch, content.getvalue())
    assert_predicted(net, X, "-")


def test_standard_input_is_checked_before_predictions(
    net: TwoLayerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 5, 6)}
    np.lib.format.write_array_header_1_0(header, fields)
    for content, message in (
        (b"no array", "- must be a whole array; it cannot be read (it is not an array)"),
        (header.getvalue(), "`INPUT` must have 24 features per sample to fit the network; got 30"),
    ):
        set_standard_input(monkeypatch, content)
        code, data, _ = answered("predict", "net.safetensors", "-")
        assert (code, data["error"]["message"]) == (1, message)


def test_an_array_that_ends_like_a_zip_file_is_read_as_an_array(net: TwoLayerNet) -> None:
    X = np.frombuffer(b"\0\0PK\x05\x06" + bytes(18), np.uint8)[None, :]
    np.save("X.npy", X)
    assert_predicted(net, X, "X.npy")


def test_invalid_input_is_refused(net: TwoLayerNet) -> None:
    with zipfile.ZipFile("raw.npz", "w") as archive:
        archive.writestr("X", b"no array")
    Path("empty").mkdir()
    for name in ("scans/a/1.png", "scans/b/c/2.PNG", "scans/b/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    picture("a.png")
    np.save("X.npy", np.ones((2, 24)))
    np.save("one.npy", np.ones((4, 6)))
    for arguments, message in (
        (("raw.npz",), "`X` in raw.npz must be a whole array; it cannot be read (it is not an array)"),
        (("X.npy", "--resize"), "`--resize` must be left out except for image files"),
        (("scan", "--resize"), "No such file or directory: scan; did you mean scans?$"),
        (
            ("a.png", "--resize", 6),
            "must be a file or folder that exists; got 6; here, `--resize` takes no number",
        ),
        (("a.png", "--resize", 6, "--output", "p.csv"), "here, `--resize` takes no number"),
        (
            ("one.npy",),
            "features per sample to fit the network; got 6; one sample needs a first axis: `X[None]`$",
        ),
        (("a.png", "X.npy"), "got several files"),
        (("empty",), "`INPUT` must be a folder with images; empty contains no image (.png, .jpg, "),
        (("empty",), ".webp)$"),
        (("scans",), ".webp); for those in its subfolders, give 'scans/**/*.PNG' 'scans/**/*.png'$"),
        (("*.webp",), "`INPUT` must be a pattern that matches a file; *.webp matches none"),
    ):
        assert message in refused_input(*arguments) + "$"


def test_resized_images_of_the_digits_are_recognised() -> None:
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
