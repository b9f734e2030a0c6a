"""The house's rules about imports: what `import twolayer` costs, and which module may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TESTS

import twolayer

PACKAGE = Path(twolayer.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# Each floor imports only from floors below it. A folder is one unit, whose files may import each other.
FLOORS = (
    {"_namespace", "_extras", "_kinds", "_streams", "_texts"},
    {"_checks", "_comparison", "_files", "mathematics"},
    {"_forms", "_numbers"},
    {"settings"},
    {"network", "_images"},
    {"convolution", "stacks", "preprocessing", "augmentation"},
    {"training"},
    {"sweeping"},
    {"checkpoints", "datasets", "onnx", "storage", "report", "presets", "sklearn"},
    {"plotting"},
    {"cli"},
    {"__init__", "__main__"},
)
FLOOR = {unit: floor for floor, units in enumerate(FLOORS, start=1) for unit in units}

# The mathematics, which every library runs: no array library is named in it.
MATHEMATICS = {"_images.py", "convolution.py", "mathematics.py", "stacks.py", "training/step.py"}


def test_importing_twolayer_brings_only_numpy_and_array_api_compat() -> None:
    assert third_party_after("import twolayer") == {"array_api_compat", "twolayer"}


def test_every_module_below_the_command_line_imports_without_the_extras() -> None:
    # What a scikit-learn estimator derives from, scikit-learn alone has.
    below = [name for name in MODULES if unit_of(name) not in ("cli", "__main__", "sklearn")]
    imports = "; ".join(f"import {'.'.join(('twolayer', *parts_of(name)))}" for name in below)
    assert third_party_after(imports) <= {"array_api_compat", "safetensors", "twolayer"}


def third_party_after(statement: str) -> set[str]:
    """Names of the packages that a statement imports in a fresh process, but for Python's own and NumPy."""
    script = (
        "import sys, numpy.random; before = set(sys.modules); "
        f"{statement}; "
        "found = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*found - sys.stdlib_module_names - {'numpy'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", MODULES)
def test_module_keeps_the_rules(name: str) -> None:
    assert list(breaches(name, (PACKAGE / name).read_text(encoding="utf-8"))) == []


def test_every_module_has_a_floor() -> None:
    assert {unit_of(name) for name in MODULES} <= set(FLOOR)


def test_the_mathematics_is_where_the_rules_look_for_it() -> None:
    assert set(MODULES) >= MATHEMATICS | {"_forms.py", "_namespace.py", "network.py", "training/execution.py"}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("network.py", "from .stacks import stack"),
        ("network.py", "from . import stacks"),
        ("storage.py", "from .report import write_json"),
        ("stacks.py", "from twolayer.network import TwoLayerNet"),
        ("stacks.py", "import twolayer"),
        ("stacks.py", "import array_api_compat"),
        ("stacks.py", "from array_api_compat import device"),
        ("stacks.py", "import numpy as np"),
        ("training/loop.py", "import torch"),
        ("training/loop.py", "from jax.numpy import where"),
        ("training/loop.py", "from ..sweeping import sweep"),
        ("storage.py", "import pickle"),
        ("storage.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        ("storage.py", "print('saved')"),
        ("storage.py", "eval('1')"),
        ("cli/stored.py", "exec('1')"),
        ("cli/stored.py", "import yaml"),
        ("cli/jobs.py", "import subprocess"),
        ("cli/jobs.py", "import os\nos.system('ls')"),
        ("cli/jobs.py", "import os\nos.popen('ls')"),
        ("cli/jobs.py", "from os import system"),
        ("_forms.py", "from functools import cache"),
        ("_forms.py", "import functools\nfunctools.lru_cache(maxsize=None)"),
        ("network.py", "import numpy\n\ndef forward(params, X):\n    return numpy.maximum(X, 0)"),
    ],
)
def test_the_rules_notice_a_breach(name: str, source: str) -> None:
    assert len(list(breaches(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("stacks.py", "from .network import TwoLayerNet"),
        ("training/loop.py", "from ..network import TwoLayerNet\nfrom .batches import draw"),
        ("training/__init__.py", "from .loop import train\nfrom . import schedules"),
        ("cli.py", "from . import __version__, sweeping\nprint('done')"),
        ("storage.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
        ("cli/jobs.py", "import os\nimport re\nos.path.join(re.compile('a').pattern)"),
        ("_forms.py", "from functools import lru_cache\n@lru_cache(maxsize=1)\ndef f(): ..."),
        ("network.py", "import numpy\n\nclass TwoLayerNet:\n    def initialize(xp=numpy): ...\n"),
    ],
)
def test_the_rules_notice_nothing_else(name: str, source: str) -> None:
    assert list(breaches(name, source)) == []


def parts_of(name: str) -> tuple[str, ...]:
    """training/loop.py is ("training", "loop"); training/__init__.py is ("training",)."""
    parts = Path(name).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def unit_of(name: str) -> str:
    """The module of the package, or the folder, that a file belongs to."""
    return (*parts_of(name), "__init__")[0]


def breaches(name: str, source: str) -> Iterator[str]:
    """What in a module's source is against the rules."""
    tree = ast.parse(source)
    unit = unit_of(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(name, node):
                yield from import_breaches(name, unit, target, f"line {node.lineno}")
        elif isinstance(node, ast.Name) and node.id == "print" and FLOOR[unit] < FLOOR["cli"]:
            yield f"line {node.lineno}: printing is for the command line"
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            yield f"line {node.value.lineno}: pickle"
        elif isinstance(node, ast.Name) and node.id in ("eval", "exec"):
            yield f"line {node.lineno}: text that is run as Python"
        elif isinstance(node, ast.Attribute) and node.attr in ("system", "popen"):
            yield f"line {node.lineno}: a command of the system"
        elif isinstance(node, ast.keyword) and node.arg == "maxsize" and ast.unparse(node.value) == "None":
            yield f"line {node.value.lineno}: a cache without an end"
    if name == "network.py":
        # NumPy draws the initial weights there, and nothing else.
        inside = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == "initialize"
            for part in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in ("numpy", "np") and id(node) not in inside:
                yield f"line {node.lineno}: NumPy in the mathematics"


def import_breaches(name: str, unit: str, target: tuple[str, ...], where: str) -> Iterator[str]:
    """What is against the rules in one import; a target inside the package begins with an empty string."""
    package, *inner = target
    if package == "":
        used = inner[0] if inner else "__init__"
        if used != unit and FLOOR.get(used, len(FLOORS)) >= FLOOR[unit]:
            yield f"{where}: {unit}, on floor {FLOOR[unit]}, imports {used}, which is not below it"
    elif package == "twolayer":
        yield f"{where}: the package is imported by its name, not relatively"
    elif package == "array_api_compat" and name != "_namespace.py":
        yield f"{where}: only _namespace.py imports array_api_compat"
    elif package in ("cupy", "jax", "torch") and name != "training/execution.py":
        yield f"{where}: only training/execution.py imports {package}"
    elif package == "numpy" and name in MATHEMATICS:
        yield f"{where}: NumPy in the mathematics"
    elif package in ("cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"):
        yield f"{where}: pickle"
    elif package in ("code", "runpy", "subprocess", "yaml") or target in (("os", "system"), ("os", "popen")):
        yield f"{where}: commands of the system, or text that is run"
    elif target == ("functools", "cache"):
        yield f"{where}: a cache without an end"


def targets(name: str, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ...]]:
    """The modules that a statement imports; those inside the package begin with an empty string."""
    if isinstance(node, ast.Import):
        yield from (tuple(alias.name.split(".")) for alias in node.names)
        return
    module = tuple(node.module.split(".")) if node.module else ()
    if node.level == 0:
        of_standard_library = module in (("os",), ("functools",))
        yield from ((*module, alias.name) for alias in node.names) if of_standard_library else (module,)
        return
    folder = Path(name).parts[:-1]
    base = folder[: len(folder) - node.level + 1]
    if base + module:
        yield ("", *base, *module)
        return
    for alias in node.names:
        if alias.name != "__version__":
            yield ("", alias.name)


TESTS_THEMSELVES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", TESTS_THEMSELVES)
def test_no_test_file_imports_another(name: str) -> None:
    nodes = list(ast.walk(ast.parse((TESTS / name).read_text(encoding="utf-8"))))
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {Path(one).stem for one in TESTS_THEMSELVES}
