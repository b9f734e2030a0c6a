"""Rules about imports and caches that ruff and import-linter do not have."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import TESTS

import twolayer

PACKAGE = Path(twolayer.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def test_importing_twolayer_imports_only_numpy_and_array_api_compat() -> None:
    assert third_party_after("import twolayer") == {"array_api_compat", "twolayer"}


def test_every_module_below_the_command_line_imports_without_the_extras() -> None:
    # The estimator derives from classes of scikit-learn, so it cannot be imported without it.
    below = [name for name in MODULES if not name.startswith(("cli/", "__main__", "sklearn"))]
    imports = "; ".join(f"import {module_of(name)}" for name in below)
    assert third_party_after(imports) <= {"array_api_compat", "safetensors", "twolayer"}


def module_of(name: str) -> str:
    """Return the module of a file: twolayer.training for training/__init__.py."""
    return f"twolayer.{name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def third_party_after(statement: str) -> set[str]:
    """Return the packages that a statement imports in a new process, except Python's own and NumPy."""
    script = (
        "import sys, numpy.random; before = set(sys.modules); "
        f"{statement}; "
        "found = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*found - sys.stdlib_module_names - {'numpy'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_cache_has_a_limited_size() -> None:
    found = [
        name for name in MODULES if re.search(r"maxsize=None|@cache\b", (PACKAGE / name).read_text("utf-8"))
    ]
    assert found == []


def test_the_network_module_uses_numpy_only_for_initial_weights() -> None:
    tree = ast.parse((PACKAGE / "network.py").read_text(encoding="utf-8"))
    drawing = next(node for node in ast.walk(tree) if getattr(node, "name", "") == "initialize")
    assert names_of_numpy(tree) - names_of_numpy(drawing) == set()
    assert names_of_numpy(ast.parse("def forward(X):\n    return numpy.maximum(X, 0)"))


def names_of_numpy(tree: ast.AST) -> set[ast.Name]:
    return {node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in ("numpy", "np")}


TEST_FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", TEST_FILES)
def test_no_test_file_imports_another(name: str) -> None:
    nodes = list(ast.walk(ast.parse((TESTS / name).read_text(encoding="utf-8"))))
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {Path(one).stem for one in TEST_FILES}
