"""What holds of all pictures: drawing leaves nothing behind, and takes nothing from the user's style."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from pictures import candidate, diverged, history_of, net_of, random_search, rendered, table_of

from twolayer import plotting

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib, the extra `plots`")


PICTURES = {
    "history": lambda: plotting.plot_history(
        history_of(np.geomspace(3, 0.01, 50), validation_accuracy=[0.2, 0.4, 0.5, 0.4]),
        title="a",
        baseline=0.1,
    ),
    "grid": lambda: plotting.plot_grid([*table_of()[1:], diverged(candidate(1e-2, 0.5, 0.5))], title="a"),
    "line": lambda: plotting.plot_grid(table_of(regs=[0.1]), title="a"),
    "scatter": lambda: plotting.plot_grid([*random_search(20), diverged(candidate(1, 1, 0))], title="a"),
    "weights": lambda: plotting.plot_weights(net_of(np.eye(4)), (2, 2), title="a"),
    "confusion": lambda: plotting.plot_confusion([[5, 1], [0, 7]], ["cats", "dogs"], title="a"),
    "mistakes": lambda: plotting.plot_mistakes(
        np.eye(4), np.array([0, 1, 0, 1]), np.array([1, 1, 0, 0]), "ab", (2, 2), title="a"
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_drawing_leaves_matplotlibs_settings_alone(name):
    before = dict(matplotlib.rcParams)
    PICTURES[name]()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_do_not_depend_on_the_users_style(name):
    expected = rendered(PICTURES[name]())
    style = pytest.importorskip("matplotlib.style")
    hostile = {
        "text.usetex": True,
        "font.size": 30,
        "axes.grid": True,
        "axes.labelpad": 40,
        "axes.titlepad": 40,
        "axes.xmargin": 0.4,
        "axes.formatter.limits": (0, 0),
        "figure.constrained_layout.h_pad": 0.9,
        "grid.color": "red",
        "grid.linewidth": 5,
        "hatch.color": "red",
        "legend.fontsize": 30,
        "xtick.color": "red",
        "xtick.direction": "in",
        "xtick.labelsize": 3,
        "xtick.major.size": 20,
        "ytick.major.pad": 30,
        "image.cmap": "hot",
        "figure.dpi": 30,
        "axes.formatter.use_locale": True,
        "savefig.facecolor": "auto",
    }
    with style.context(["dark_background", hostile]):
        assert rendered(PICTURES[name]()) == expected


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_pictures_can_be_saved_as_vectors(kind):
    for picture in PICTURES.values():
        buffer = io.BytesIO()
        picture().savefig(buffer, format=kind)
        assert len(buffer.getvalue()) > 1000


def test_pyplot_is_never_imported():
    program = """
import sys
import numpy as np
from twolayer import TwoLayerNet, plotting
table = [{"learning_rate": a, "reg": b, "validation_accuracy": a * b} for a in (1, 2) for b in (1, 2)]
assert "matplotlib" not in sys.modules
plotting.plot_grid(table)
plotting.plot_grid(table[::2])
plotting.plot_weights(TwoLayerNet.initialize(4, 3, 2, rng=0), (2, 2))
plotting.plot_confusion([[1, 0], [0, 1]], "ab").savefig(sys.stdout.buffer, format="png")
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Drawing needs matplotlib.*'twolayer\[plots\]'"):
        plotting.plot_history(history_of(np.ones(4)))
