"""The pictures of a run: drawn with it, drawn again by ``twolayer plot``, or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_line import (
    PICTURES,
    QUICK,
    SWEEP_FILES,
    TRAIN_FILES,
    cli,
    done,
    files_in,
    refused,
    started,
)

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def test_without_matplotlib_there_are_results_but_no_pictures(
    pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = done("train", *QUICK, "--out", "run")
    assert "Warning: no pictures were drawn: Drawing needs matplotlib" in output
    assert files_in("run") == TRAIN_FILES - PICTURES


@pytest.mark.parametrize("mpl_backend", ["module://no_such_package_here.backend_inline", "qtagg", ""])
def test_the_backend_of_the_environment_does_not_matter(mpl_backend: str) -> None:
    found = started("train", *QUICK, "--json", "--out", "run", environment={"MPLBACKEND": mpl_backend})
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["complete"] is True
    assert files_in("run") == TRAIN_FILES
    for command in ("plot", "report"):
        found = started(command, "run", environment={"MPLBACKEND": mpl_backend})
        assert (found.returncode, found.stderr) == (0, "")


def test_loading_matplotlib_keeps_the_backend_of_the_environment() -> None:
    script = """
from twolayer.plotting import _matplotlib
_matplotlib.load_without_backend()
import os, matplotlib
assert os.environ["MPLBACKEND"] == matplotlib.get_backend() == "svg"
"""
    found = started(script=script, environment={"MPLBACKEND": "svg"})
    assert found.returncode == 0, found.stderr


def test_characters_that_the_font_lacks_are_named_once(pictures: None) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")
    names = ["健康对照", "健康", "US$"]
    np.savez("mine.npz", X=np.random.default_rng(0).random((60, 4)), y=[names[i % 3] for i in range(60)])
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}):
        for command in (("train", "mine.npz", *QUICK, "--out", "run"), ("plot", "run", "--format", "svg")):
            (line,) = [line for line in done(*command).splitlines() if line.startswith("Warning")]
            assert "the font of the pictures, DejaVu Sans, lacks characters, " in line
            assert sorted(line.split("boxes: ")[1].split("; set")[0].split()) == sorted(set("健康对照"))
            assert "`font.family`" in line
    np.savez("many.npz", X=np.eye(60), y=[chr(0x4E00 + i % 20) for i in range(60)])
    assert " and 10 more; set `font.family`" in done("train", "many.npz", *QUICK, "--out", "other")


@pytest.mark.parametrize("raised", ["ValueError", "RuntimeError", "OSError", "AttributeError", "SystemError"])
def test_a_run_has_results_if_importing_matplotlib_fails(elsewhere: Path, raised: str) -> None:
    package = elsewhere / "packages" / "matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise {raised}('as its settings are')\n", encoding="utf-8")
    path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = started("train", *QUICK, "--out", "run", environment={"PYTHONPATH": path})
    assert found.returncode == 0, found.stderr
    assert found.stderr == (
        "Warning: no pictures were drawn: Drawing needs matplotlib, whose import failed "
        f"({raised}: as its settings are)\n"
    )
    assert files_in("run") == TRAIN_FILES - PICTURES


def test_plot_redraws_pictures_from_the_files(pictures: None) -> None:
    done("sweep", *QUICK, "--learning-rate", "0.1,1e6", "--reg", "0,0.01", "--out", "run")
    pictures = {name for name in SWEEP_FILES if name.endswith(".png")}
    before = {name: Path("run", name).read_bytes() for name in pictures}
    for name in pictures:
        Path("run", name).unlink()
    assert set(done("plot", "run").split()) == {str(Path("run", name)) for name in pictures}
    assert {name: Path("run", name).read_bytes() for name in pictures} == before
    done("plot", "run", "--format", "svg")
    assert {name.replace("png", "svg") for name in pictures} <= files_in("run")
    assert "<svg" in Path("run/grid.svg").read_text(encoding="utf-8")


def test_plot_draws_a_diverged_run(pictures: None) -> None:
    cli("train", *QUICK, "--learning-rate", 1e6, "--out", "run")
    assert done("plot", "run").split() == [str(Path("run/curves.png"))]


@pytest.mark.parametrize("content", ['{"loss": 1}', "[]", '{"loss": ["a"]}'])
def test_plot_needs_a_whole_history(pictures: None, run: Path, content: str) -> None:
    (run / "history.json").write_text(content)
    assert "history.json must h" in refused("plot", "run")


def test_plot_needs_a_run(pictures: None) -> None:
    Path("empty").mkdir()
    assert "empty must be the folder of a run; it holds no results.json" in refused("plot", "empty")
