from __future__ import annotations

import re
import sys

import pytest

from twolayer._extras import require


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


def test_an_error_that_is_no_import_error_passes_through(tmp_path, monkeypatch):
    (tmp_path / "faulty_package_here.py").write_text("raise RuntimeError('its own fault')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="its own fault"):
        require("faulty_package_here", extra="data", purpose="Downloading")
