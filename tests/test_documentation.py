"""The examples of the docstrings, and the Python blocks of the README and the documentation, are run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import twolayer

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(page.read_text(encoding="utf-8"))
]


def docstring_examples() -> Iterator[tuple[str, doctest.DocTest]]:
    names = [module.name for module in pkgutil.walk_packages(twolayer.__path__, "twolayer.")]
    for name in ("twolayer", *(name for name in names if name != "twolayer.__main__")):
        for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
            if test.examples:
                yield test.name, test


EXAMPLES = dict(docstring_examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(EXAMPLES[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, libraries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), name=str(page), libraries=libraries)


def run_examples(test: doctest.DocTest) -> None:
    """Run a docstring's examples; fail where they print anything else than they say."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append, clear_globs=False)
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)


def run_page(text: str, *, name: str, libraries: Collection[str]) -> None:
    """Run a page's Python blocks one after the other, as a reader would in one session.

    A block that imports CuPy, JAX or PyTorch is run where the tests run on that library.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        source, line = block[1], text.count("\n", 0, block.start(1))
        imported = re.findall(r"^\s*(?:import|from) (cupy|jax|torch)\b", source, re.MULTILINE)
        if not set(imported) <= set(libraries):
            continue
        if ">>>" in source:
            test = doctest.DocTestParser().get_doctest(source, namespace, name, name, line)
            run_examples(test)
            namespace.update(test.globs)
        else:
            # Empty lines before it, so that a traceback tells the line of the page.
            exec(compile("\n" * line + source, name, "exec"), namespace)


def test_the_readme_has_python_that_is_run() -> None:
    assert ROOT / "README.md" in PAGES


def test_a_block_that_raises_fails_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("A page.\n\n```python\nx = 0\n1 / x\n```\n", name="page.md", libraries=())
    assert caught.traceback[-1].lineno == 4  # counted from 0


def test_blocks_share_what_they_define() -> None:
    page = "```python\nx = 1\n```\n\n```python\n>>> y = x + 1\n```\n\n```python\nassert y == {}\n```\n"
    run_page(page.format(2), name="page.md", libraries=())
    with pytest.raises(AssertionError):
        run_page(page.format(3), name="page.md", libraries=())


def test_a_block_that_prints_something_else_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="Expected:\n    3\nGot:\n    2"):
        run_page("```python\n>>> 1 + 1\n3\n```\n", name="page.md", libraries=())


def test_a_block_runs_on_the_libraries_that_are_tested() -> None:
    page = "```python\nfrom torch import no_such_name\n```\n"
    run_page(page, name="page.md", libraries=["numpy"])
    with pytest.raises(ImportError, match="torch"):
        run_page(page, name="page.md", libraries=["numpy", "torch"])
