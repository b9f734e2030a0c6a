"""``twolayer export``: the model, its input, its place, and refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.command_line import done, refused

import twolayer
from twolayer import TwoLayerNet, datasets, storage

DIGITS = datasets.load_digits()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working folder for each test. No pictures are drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    return tmp_path


def session(path: Path | str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def input_of(path: Path | str) -> tuple[str, list[object]]:
    """The type and the shape of a model's input."""
    (found,) = session(path).get_inputs()
    assert found.name == "X"
    return found.type, found.shape


NAMES = "The metadata of the model hold the names of the classes, under `classes`, as JSON\n"


@pytest.fixture
def digits_network() -> Path:
    """The file of a network for images of digits, with the names of its classes."""
    path = Path("net.safetensors")
    net = TwoLayerNet.initialize(64, 20, 10, rng=0, weight_scale=0.05)
    storage.save(net, path, classes=DIGITS.classes, image_shape=(8, 8))
    return path


def test_a_run_is_exported_into_its_folder() -> None:
    done("train", "--epochs", 2, "--out", "run", "-q")
    output = done("export", "run")
    assert output == "Input: X (N, 8, 8) in float32; ONNX operator set 13\n" + NAMES + "run/network.onnx\n"
    net = storage.load("run/network.safetensors")
    model = session("run/network.onnx")
    images = DIGITS.test.X.astype(np.float32)
    probs, label = model.run(["probabilities", "label"], {"X": images})
    assert np.max(np.abs(probs - net.predict_proba(DIGITS.test.X))) < 1e-5
    assert np.mean(label == DIGITS.test.y) == pytest.approx(float(net.accuracy(DIGITS.test.X, DIGITS.test.y)))
    assert json.loads(model.get_modelmeta().custom_metadata_map["classes"]) == list(DIGITS.classes)


def test_a_network_is_exported_beside_its_file(digits_network: Path) -> None:
    assert done("export", digits_network, "-q") == "net.onnx\n"
    assert input_of("net.onnx") == ("tensor(float)", ["N", 8, 8])


def test_options_choose_the_input_and_the_place_of_the_model(digits_network: Path) -> None:
    output = done("export", digits_network, "--input", "uint8", "--flat", "--out", "bytes.onnx")
    assert output == "Input: X (N, 64) in uint8; ONNX operator set 13\n" + NAMES + "bytes.onnx\n"
    assert input_of("bytes.onnx") == ("tensor(uint8)", ["N", 64])
    assert not Path("net.onnx").exists()
    done("export", digits_network, "--input", "float64")
    assert input_of("net.onnx") == ("tensor(double)", ["N", 8, 8])


def test_a_network_in_float64_is_exported_in_float64() -> None:
    storage.save(TwoLayerNet.initialize(5, 4, 2, rng=0, dtype="float64"), "net.safetensors")
    assert "X (N, 5) in float64" in done("export", "net.safetensors")
    assert input_of("net.onnx") == ("tensor(double)", ["N", 5])
    model = session("net.onnx")
    assert not model.get_modelmeta().custom_metadata_map
    assert model.get_outputs()[1].type == "tensor(double)"


def test_overwrite_removes_the_exported_model_of_the_old_run() -> None:
    done("train", "--epochs", 1, "--out", "run", "-q")
    done("export", "run")
    Path("run/network.onnx.data").touch()
    Path("run/mine.onnx").touch()
    done("train", "--epochs", 1, "--out", "run", "--overwrite", "-q")
    assert {path.name for path in Path("run").glob("*.onnx*")} == {"mine.onnx"}


def test_invalid_networks_and_places_are_refused(elsewhere: Path, digits_network: Path) -> None:
    before = digits_network.read_bytes()
    Path("text").write_text("text")
    net = TwoLayerNet.initialize(64, 5, 10, rng=0)
    storage.save(twolayer.stack([net, net]), "stack.safetensors")
    for arguments, message in (
        (("none.safetensors",), "No such file or directory: none.safetensors"),
        ((elsewhere,), "must be the folder of a run; it holds no network.safetensors"),
        (("text",), "must be a safetensors file; it is truncated"),
        (("stack.safetensors",), "must hold one network; it holds a stack of 2"),
        (
            (digits_network, "--out", digits_network),
            f"Error: `--out` must end in .onnx; got {digits_network}",
        ),
        ((digits_network, "--out", "no/a.onnx"), "cannot write into the folder of a.onnx"),
    ):
        assert message in refused("export", *arguments)
    assert digits_network.read_bytes() == before
    assert "'int8' is not one of" in refused("export", digits_network, "--input", "int8", code=2)


def test_without_the_package_onnx_the_extra_is_named(
    digits_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'install it with `python -m pip install "twolayer[onnx]"`' in refused("export", digits_network)
    assert not Path("net.onnx").exists()
