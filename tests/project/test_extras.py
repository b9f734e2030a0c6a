from __future__ import annotations

import re
import subprocess
import sys

import pytest

from twolayer._optional import require


def test_a_module_that_is_there_is_returned():
    assert require("json", extra="plots", purpose="Drawing") is sys.modules["json"]
    assert require("importlib.util", extra="plots", purpose="Drawing") is sys.modules["importlib.util"]


def test_a_missing_package_names_the_purpose_the_package_and_the_extra():
    message = (
        "Drawing needs no_such_package_here, which could not be imported "
        "(No module named 'no_such_package_here'); the extra `plots` brings it: "
        "`python -m pip install '.[plots]'` in a clone of the repository"
    )
    with pytest.raises(ImportError, match=re.escape(message) + "$") as caught:
        require("no_such_package_here.pyplot", extra="plots", purpose="Drawing")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_package_that_is_broken_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_package_here.py").write_text("import no_such_dependency_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"broken_package_here.*No module named 'no_such_dependency_here'"):
        require("broken_package_here", extra="data", purpose="Downloading")


@pytest.mark.parametrize("raised", ["RuntimeError", "ValueError", "OSError", "AttributeError", "SyntaxError"])
def test_a_package_whose_import_fails_in_another_way_says_how(raised, tmp_path, monkeypatch):
    package = f"faulty_package_of_{raised}"
    (tmp_path / f"{package}.py").write_text(f"raise {raised}('its own fault')\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = f"Downloading needs {package}, whose import failed ({raised}: its own fault)"
    with pytest.raises(ImportError, match=re.escape(message)) as caught:
        require(f"{package}.part", extra="data", purpose="Downloading")
    assert type(caught.value.__cause__).__name__ == raised


def test_a_scikit_learn_whose_import_fails_is_named(tmp_path):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ValueError('numpy.dtype size changed')\n")
    script = "import sys; sys.path.insert(0, sys.argv[1]); import twolayer.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    message = "twolayer.sklearn needs sklearn, whose import failed (ValueError: numpy.dtype size changed)"
    assert done.stderr.splitlines()[-1] == f"ImportError: {message}"
