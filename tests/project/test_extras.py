"""Imports of optional packages, and the errors if they are missing or broken."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.refusals import refusal

from twolayer._optional import require


def test_require_returns_an_installed_module():
    assert require("json", extra="plots", purpose="Drawing") is sys.modules["json"]
    assert require("importlib.util", extra="plots", purpose="Drawing") is sys.modules["importlib.util"]


def test_the_error_of_a_missing_package_names_its_purpose_and_extra():
    with refusal(
        "ImportError: Drawing needs no_such_package_here, which could not be imported (No module named "
        "'no_such_package_here'); install it with "
        '`python -m pip install "twolayer[plots]"`'
    ) as caught:
        require("no_such_package_here.pyplot", extra="plots", purpose="Drawing")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


RAISED = ["RuntimeError", "ValueError", "OSError", "AttributeError", "SyntaxError"]


@pytest.mark.parametrize(
    ("package", "text", "message"),
    [
        ("broken_package", "import no_such_dependency_here", "…No module named 'no_such_dependency_here'…"),
        *(
            (f"of_{raised}", f"raise {raised}('its fault')", f"import failed ({raised}: its fault)")
            for raised in RAISED
        ),
    ],
)
def test_the_error_of_a_broken_package_gives_the_reason(package, text, message, tmp_path, monkeypatch):
    (tmp_path / f"{package}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with refusal(f"ImportError: Downloading needs {package}, wh…{message}") as caught:
        require(f"{package}.part", extra="data", purpose="Downloading")
    assert type(caught.value.__cause__).__name__ in ("ModuleNotFoundError", package.removeprefix("of_"))


def test_the_error_of_a_broken_scikit_learn_gives_the_reason(tmp_path):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ValueError('numpy.dtype size changed')\n")
    script = "import sys; sys.path.insert(0, sys.argv[1]); import twolayer.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    message = "twolayer.sklearn needs sklearn, whose import failed (ValueError: numpy.dtype size changed)"
    assert done.stderr.splitlines()[-1] == f"ImportError: {message}"
