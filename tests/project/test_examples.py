"""The programs of examples/, run as a user would run them, on very little data."""

from __future__ import annotations

import json
import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import ROOT
from support.backends import Backend
from support.cifar10_files import FEW, write_folder
from support.small_runs import assert_same_net

import twolayer
from twolayer.datasets import cifar10

EXAMPLES = ROOT / "examples"


def example(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py")))


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar10, "_RECORDS", FEW)
    write_folder(tmp_path / "cifar-10-batches-bin", FEW)
    return tmp_path / "cifar-10-batches-bin"


@pytest.mark.only_on("torch")
def test_the_convolution_example_stores_the_network_that_it_reports(
    backend: Backend, cifar: Path, capsys: pytest.CaptureFixture[str]
):
    program = example("convolution")
    options = (
        "--filters 2 --patch 8 --stride 3 --padding 0 --pool 3 --epochs 2 --batch-size 4 --learning-rate 0.01"
    )
    out = cifar.parent / "out"
    given = [str(out), "--data", str(cifar), *options.split(), "--train", str(4 * FEW)]
    accuracy = program.main([*given, "--validation", str(FEW)])
    net, printed = twolayer.load(out / "network.safetensors"), capsys.readouterr().out
    assert net.n_hidden == 2 * 9 * 9 * 2
    assert "epoch   2 of 2: loss" in printed
    assert f"validation {accuracy:.4f}" in printed
    results = json.loads((out / "results.json").read_text())
    assert results["validation"] == {"accuracy": accuracy}
    assert results["settings"]["filters"] == 2
    data = cifar10.load_cifar10(cifar, n_train=4 * FEW, n_validation=FEW, n_test=FEW)
    assert float(net.accuracy(*data.validation)) == accuracy
    # The network is symmetrized, so an image and its mirror image have the same logits.
    np.testing.assert_allclose(
        net.logits(data.test.X), net.logits(data.test.X[:, :, ::-1]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.only_on("torch")
def test_the_example_trains_the_convolution_that_it_unrolls(backend: Backend, cifar: Path):
    import torch

    program = example("convolution")
    options = program.parsed(["out", "--filters=3", "--patch=6", "--stride=2", "--padding=1", "--pool=5"])
    torch.manual_seed(0)
    whitening = torch.randn(108, 108) / 10
    model = program.Convolution(whitening, options)
    images = torch.randn(5, 32, 32, 3)
    with torch.no_grad():
        model.b1 += torch.randn(3)
        expected = model(images.reshape(5, -1)).numpy()
    np.testing.assert_allclose(model.unrolled().logits(images.numpy()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.only_on("torch")
def test_the_distillation_example_stores_its_network_and_resumes(
    backend: Backend, cifar: Path, capsys: pytest.CaptureFixture[str]
):
    program, out = example("distillation"), cifar.parent / "out"
    teacher = "--width 2 --teacher-epochs 2 --teacher-batch 4"
    student = "--networks 2 --components 4 --hidden 8 --epochs 2 --batch-size 4 --shift 1 --library torch"
    few = f"--data {cifar} --train {4 * FEW} --validation {FEW}"
    given = [str(out), *f"{few} {teacher} {student}".split()]
    accuracy = program.main(given)
    printed, results = capsys.readouterr().out, json.loads((out / "results.json").read_text())
    for words in ("teacher, epoch 2: loss", "logits of view 18\n", "student, epoch 2: loss"):
        assert words in printed
    assert results["validation"]["accuracy"] == accuracy
    assert results["parts"].keys() == {"teacher", "logits", "student"}
    net = twolayer.load(out / "network.safetensors")
    assert net.n_hidden == 2 * 8 * 2 * 9  # two networks, flips, and nine shifts
    data = cifar10.load_cifar10(cifar, n_train=4 * FEW, n_validation=FEW, n_test=FEW)
    assert float(net.accuracy(*data.validation)) == accuracy

    # The same command again makes only the missing files.
    (out / "network.safetensors").unlink()
    (out / "teacher" / "logits" / "flip 1, shift 0 1.npy").unlink()
    assert program.main(given) == accuracy
    printed = capsys.readouterr().out
    assert printed.count("logits of view") == 1
    assert "epoch" not in printed
    assert_same_net(twolayer.load(out / "network.safetensors"), net)
    with pytest.raises(SystemExit, match=r"out was made with --seed 0: give"):
        program.main([*given, "--seed", "1"])

    # Another student of the same teacher, and a student without a teacher.
    other = [str(cifar.parent / "other"), *given[1:], "--hidden", "6", "--teacher", str(out / "teacher")]
    program.main(other)
    assert "teacher, epoch" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"teacher was made with --shift 1: give"):
        program.main([str(cifar.parent / "third"), *other[1:], "--shift", "2"])
    alone = cifar.parent / "alone"
    program.main([str(alone), *given[1:], "--weight", "0"])
    assert not (alone / "teacher").exists()
    assert json.loads((alone / "results.json").read_text())["parts"].keys() == {"student"}


def test_the_cifar10_example_stores_its_network_and_pictures(
    cifar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    few = {"n_train": 4 * FEW, "n_validation": FEW, "n_test": FEW}
    monkeypatch.setattr(twolayer.datasets, "load_cifar10", partial(cifar10.load_cifar10, **few))
    out = cifar.parent / "out"
    accuracy = example("cifar10").main([str(out), f"--data={cifar}", "--hidden=4", "--epochs=2"])
    assert "epoch  2: validation accuracy" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "network.safetensors",
        "curves.png",
        "weights.png",
        "confusion.png",
        "mistakes.png",
    }
    data = cifar10.load_cifar10(cifar, **few)
    net = twolayer.load(out / "network.safetensors")
    assert float(net.accuracy(*data.test)) == pytest.approx(accuracy)


def test_the_notebook_has_no_outputs_and_is_run_by_a_nox_session() -> None:
    (path,) = EXAMPLES.rglob("*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell["metadata"]
    source = "".join(line for cell in cells for line in cell["source"])
    assert "callbacks=[bar]" in source
    assert f'"{path.relative_to(ROOT).as_posix()}"' in (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_every_example_is_run() -> None:
    """Each example is run by a test here, by a nox session, or by the build of the documentation."""
    here = {"cifar10.py", "convolution.py", "distillation.py"}
    noxfile, conf = (ROOT / name for name in ("noxfile.py", "docs/conf.py"))
    programs = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")} - here
    recipes = {name for name in programs if name.startswith("recipes/")}
    run = {name for name in recipes if f'"{name[8:]}"' in noxfile.read_text(encoding="utf-8")}
    galleries = ("gallery", "tutorials")
    built = {name for name in programs if name.partition("/")[0] in galleries and name.count("/") == 1}
    assert all(f'"../examples/{name}"' in conf.read_text(encoding="utf-8") for name in galleries)
    project = {name for name in programs if name.startswith("embedding/")}  # `nox -s embedding`
    assert programs == run | built | project
