"""``twolayer evaluate`` and ``twolayer predict``: the samples, networks and images that they read."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import QUICK, done, read, refused, rows_of

from twolayer import TwoLayerNet, datasets, stack, storage

DIGITS = datasets.load_digits()
NET = TwoLayerNet.initialize(64, 5, 10, rng=0)

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def test_evaluate_gives_the_results_of_the_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = read("run/results.json")["test"]
    output = done("evaluate", "run")
    assert "digits: 400 test samples" in output
    assert f"accuracy {test['accuracy']:.4f}, loss {test['loss']:.4f}" in output
    assert len(re.findall(r"^  \d +\d+ +[\d.]+ +[\d.]+ +[\d.]+", output, re.M)) == 10
    net = storage.load("run/network.safetensors")
    for split, samples in (("validation", DIGITS.validation), ("train", DIGITS.train)):
        accuracy = float(net.accuracy(samples.X, samples.y))
        shown = done("evaluate", "run/network.safetensors", "digits", "--split", split)
        assert f"accuracy {accuracy:.4f}" in shown
    # Smaller blocks of samples do not change the result.
    monkeypatch.setattr("twolayer._validation.BLOCK_ELEMENTS", 64 * 30)
    assert done("evaluate", "run") == output


def test_evaluate_reads_a_named_file(npz: Path) -> None:
    done("train", npz, "--epochs", 5, "--out", "run", "-q")
    assert re.search(r"accuracy (0\.9|1\.0)", done("evaluate", "run", npz, "--split", "train"))


def test_evaluate_reads_the_file_of_the_training_again(npz: Path) -> None:
    done("train", npz, "--epochs", 5, "--out", "run", "-q")
    accuracy = read("run/results.json")["test"]["accuracy"]
    for network in ("run", "run/network.safetensors"):
        output = done("evaluate", network)
        assert "mine: 18 test samples" in output
        assert f"accuracy {accuracy:.4f}" in output
    with np.load(npz) as stored:
        np.savez("other.npz", X=stored["X"][::-1], y=stored["y"][::-1])
    Path("other.npz").replace(npz)
    assert f"`DATASET` must be given: {npz} has changed since the training" in refused("evaluate", "run")
    npz.unlink()
    missing = f"`DATASET` must be given: {npz}, on which the network was trained, is no longer there"
    assert missing in refused("evaluate", "run")
    Path("run/network.safetensors").replace("alone.safetensors")
    unknown = "`DATASET` must be given: no settings.toml beside the network has the path of mine.npz"
    assert unknown in refused("evaluate", "alone.safetensors")


def test_evaluate_reads_the_table_of_the_training_again(elsewhere: Path) -> None:
    rows = [f"{i % 7},{i % 5},{'yes' if i % 7 > 3 else 'no'}" for i in range(120)]
    Path("mine.csv").write_text("\n".join(["a,b,label", *rows]))
    done("train", "mine.csv", "--label", "label", "--epochs", 2, "--out", "run", "-q")
    assert "mine: 18 test samples" in done("evaluate", "run")
    assert "mine: 84 train samples" in done("evaluate", "run", "--split", "train")


def test_a_split_that_the_data_lack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twolayer.cli.data.load_digits", lambda: replace(DIGITS, test=None))
    done("train", *QUICK, "--out", "untested")
    assert "test" not in read("untested/results.json")
    assert "`--split` must be one that digits has; it has no test samples" in refused("evaluate", "untested")


@pytest.mark.parametrize(
    ("net", "classes", "message"),
    [
        (TwoLayerNet.initialize(64, 5, 3, rng=0), None, "the network has 3 classes; digits has 10"),
        (NET, list("0213456789"), "in the same order; it has '2' where digits has '1'"),
        (stack([NET, NET]), None, "must hold one network; it holds a stack of 2"),
    ],
)
def test_a_stack_or_a_network_for_other_classes_is_refused(
    net: TwoLayerNet, classes: list[str] | None, message: str
) -> None:
    storage.save(net, "net.safetensors", classes=classes)
    assert message in refused("evaluate", "net.safetensors", "digits")


def test_a_network_of_unknown_training_data_needs_a_data_set() -> None:
    storage.save(NET, "net.safetensors")
    assert "`DATASET` must be given" in refused("evaluate", "net.safetensors")
    assert "accuracy 0." in done("evaluate", "net.safetensors", "digits")


@pytest.fixture
def samples(run: Path) -> np.ndarray:
    """The first 30 test samples of the digits, which are also in some.npy beside the run."""
    X = DIGITS.test.X[:30]
    np.save("some.npy", X)
    return X


def test_predict_gives_classes_and_probabilities(run: Path, samples: np.ndarray) -> None:
    probs = storage.load("run/network.safetensors").predict_proba(samples)
    np.savez("some.npz", X=samples)
    output = done("predict", "run", "some.npy")
    assert "probability of class" in output
    for shown in (output, done("predict", "run", "some.npy", "--quiet")):
        assert "and 10 more; --output FILE writes all" in shown
    lines = [line.split() for line in output.splitlines() if re.match(r"^  \d", line)]
    assert [int(line[1]) for line in lines] == probs[:20].argmax(axis=1).tolist()
    assert [float(line[2]) for line in lines] == pytest.approx(probs[:20].max(axis=1), abs=1e-4)
    assert done("predict", "run/network.safetensors", "some.npz") == output


def test_predict_gives_the_top_classes(run: Path, samples: np.ndarray) -> None:
    np.save("some.npy", samples[:2])
    probs = storage.load("run/network.safetensors").predict_proba(samples[:2])
    output = done("predict", "run", "some.npy", "--top", 3)
    lines = [line.split() for line in output.splitlines() if re.match(r"^  [\d ] +\d", line)]
    assert [int(line[-2]) for line in lines] == np.argsort(-probs)[:, :3].ravel().tolist()
    assert [line[0] for line in lines if len(line) == 3] == ["0", "1"]
    assert len(re.findall(r"0\.\d{4}", done("predict", "run", "some.npy", "--top", 99))) == 20


def test_predict_writes_files(run: Path, samples: np.ndarray) -> None:
    probs = storage.load("run/network.safetensors").predict_proba(samples)
    for suffix in ("csv", "json", "npz"):
        output = done("predict", "run", "some.npy", "--output", f"out.{suffix}")
        assert f"In out.{suffix}: the probabilities of 30 samples" in output
    rows = rows_of("out.csv")
    assert [row["class"] for row in rows] == [str(label) for label in probs.argmax(axis=1)]
    np.testing.assert_allclose([float(row["7"]) for row in rows], probs[:, 7], rtol=1e-6)
    stored = read("out.json")
    assert stored["classes"] == list("0123456789")
    np.testing.assert_allclose([one["probabilities"] for one in stored["predictions"]], probs, rtol=1e-6)
    with np.load("out.npz") as arrays:
        np.testing.assert_allclose(arrays["probabilities"], probs, rtol=1e-6)
        assert arrays["predicted"].tolist() == probs.argmax(axis=1).tolist()


@pytest.fixture
def image() -> Any:
    return pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")


def test_predict_reads_images(run: Path, image: Any) -> None:
    test, net = DIGITS.test, storage.load("run/network.safetensors")
    predicted, probs = net.predict(test.X[:4]), net.predict_proba(test.X[:4])
    for i, pixels in enumerate(test.X[:4]):
        grey = np.round(pixels * (255 / 16)).astype(np.uint8)
        image.fromarray(grey).save(f"{i}.png")
        image.fromarray(255 - grey).convert("RGB").save(f"inverted{i}.png")
    output = done("predict", run, *(f"{i}.png" for i in range(4)))
    lines = [line.split() for line in output.splitlines() if ".png" in line]
    assert [line[0] for line in lines] == ["0.png", "1.png", "2.png", "3.png"]
    assert [int(line[1]) for line in lines] == predicted.tolist()
    # 255 is not a multiple of 16, so the rounded grey levels change the probabilities a little.
    assert [float(line[2]) for line in lines] == pytest.approx(probs.max(axis=1), abs=0.01)
    output = done("predict", run, *(f"inverted{i}.png" for i in range(4)), "--invert")
    inverted = [line.split() for line in output.splitlines() if ".png" in line]
    assert [line[1:] for line in inverted] == [line[1:] for line in lines]


def test_images_of_another_size_or_unreadable_are_refused(run: Path, image: Any) -> None:
    image.new("L", (9, 8)).save("wide.png")
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no more")
    messages = {
        "wide.png": "must have 8×8 pixels, like the images that the network was trained on; it has 9×8",
        "broken.png": "must be a PNG, JPEG, BMP, GIF, TIFF or WebP image; it cannot be read",
    }
    for name, message in messages.items():
        assert f"{name} {message}" in refused("predict", run, name)
    assert "No such file or directory: none.png" in refused("predict", run, "none.png")


def test_images_of_16_bits_or_with_transparency_are_refused(run: Path, image: Any) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    plain = image.fromarray(grey)
    plain.save("plain.png")
    half = image.merge("LA", (plain, image.new("L", (8, 8), 128)))
    for name, refusable, mode in (
        ("deep", image.fromarray(grey.astype(np.uint16) * 257), "I;16"),
        ("half", half, "LA"),
        ("halfcolour", half.convert("RGBA"), "RGBA"),
    ):
        refusable.save(f"{name}.png")
        assert (
            f"{name}.png must be an 8-bit greyscale or colour image without transparency; got mode {mode}"
            in refused("predict", run, f"{name}.png")
        )
    plain.convert("P").save("clear.png", transparency=0)
    assert "without transparency; got mode P" in refused("predict", run, "clear.png")
    plain.convert("P").save("palette.png")
    plain.convert("LA").save("opaque.png")
    plain.convert("RGBA").save("opaquecolour.png")
    output = done("predict", run, "plain.png", "palette.png", "opaque.png", "opaquecolour.png")
    lines = [line.split()[1:] for line in output.splitlines() if ".png" in line]
    assert len(lines) == 4
    assert all(line == lines[0] for line in lines)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b"PK\x03\x04"), "must be an .npz file with arrays; it is truncated, empty"),
        (lambda p: p.write_text("1,2,3"), "must be an .npz file with arrays; it is truncated, empty or some"),
        (lambda p: np.savez(p, X=np.array([[None]])), "got dtype object, which is stored by pickle"),
        (lambda p: np.savez(p, Z=np.ones(3)), "must hold `X`; it holds Z"),
        (lambda p: np.savez(p, X=np.array(["a"])), "must hold numbers, of shape"),
        (lambda p: np.savez(p, X=np.ones(3)), "must hold numbers, of shape"),
        (
            lambda p: np.savez(p, X=np.ones((2, 3))),
            "must have 6 features per sample to fit the network",
        ),
        (lambda p: np.savez(p, X=np.full((2, 6), np.nan)), "`INPUT` must be finite; got nan"),
    ],
)
def test_input_without_valid_samples_is_refused(run_of_npz: Path, write: Any, message: str) -> None:
    write(Path("input.npz"))
    assert message in refused("predict", "run", "input.npz")


def header_only(shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file of float64, without the values; reading the values would fail."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(("shape", "found"), [((10**9, 7), 7), ((3, 10**9), 10**9), ((2, 3, 4), 12)])
@pytest.mark.parametrize("name", ["X.npy", "X.npz"])
def test_predict_counts_features_before_it_reads_samples(
    run_of_npz: Path, name: str, shape: tuple[int, ...], found: int
) -> None:
    Path("X.npy").write_bytes(header_only(shape))
    with zipfile.ZipFile("X.npz", "w") as archive:
        archive.write("X.npy")
    line = refused("predict", "run", name)
    assert line.endswith(f"`INPUT` must have 6 features per sample to fit the network; got {found}")


@pytest.mark.parametrize("key", ["X", "X_test"])
def test_evaluate_counts_features_before_it_reads_samples(run_of_npz: Path, key: str) -> None:
    Path("values").write_bytes(header_only((10**9, 7)))
    np.savez("new.npz", **{key.replace("X", "y"): np.zeros(3, int)})
    with zipfile.ZipFile("new.npz", "a") as archive:
        archive.write("values", f"{key}.npy")
    line = refused("evaluate", "run", "new.npz")
    assert line.endswith("the network takes samples of 6 features; those of new have 7")
