"""A copy of the package inside another package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import twolayer

PROGRAM = """
import sys
from theirs._vendor import twolayer
digits = twolayer.datasets.load_digits()
net = twolayer.TwoLayerNet.initialize(64, 10, 10, rng=0)
run = twolayer.train(net, digits.train.X, digits.train.y, epochs=1, learning_rate=1e-3, rng=0)
twolayer.save(run.net, sys.argv[1])
assert twolayer.load(sys.argv[1]).n_hidden == 10
assert "twolayer" not in sys.modules
print(twolayer.__name__)
"""


def test_a_copy_inside_another_package_works_under_its_own_name(tmp_path: Path):
    vendor = tmp_path / "theirs" / "_vendor"
    shutil.copytree(Path(twolayer.__file__).parent, vendor / "twolayer")
    for folder in (vendor, vendor.parent):
        (folder / "__init__.py").touch()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "net.safetensors")]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "theirs._vendor.twolayer"
