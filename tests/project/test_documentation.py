"""Tests that run the examples of docstrings and pages, and check the links and the form of pages.

`nox -s docs` runs the scripts of examples/gallery and examples/tutorials when it builds their pages.
"""

from __future__ import annotations

import csv
import doctest
import importlib
import importlib.util
import inspect
import math
import pkgutil
import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support import ROOT
from support.command_line import done

import twolayer
from twolayer import convolution, mathematics, stacks

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages outside docs/.
OUTSIDE = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts]
MARKDOWN = [*OUTSIDE, *DOCS]
PAGES = [page for page in MARKDOWN if BLOCK.search(page.read_text(encoding="utf-8"))]
# Languages of blocks that are not run.
OTHERS = {"console", "js", "json", "sh", "text", "toml", ""}


def docstring_examples() -> Iterator[tuple[str, doctest.DocTest]]:
    names = [module.name for module in pkgutil.walk_packages(twolayer.__path__, "twolayer.")]
    for name in ("twolayer", *(name for name in names if name != "twolayer.__main__")):
        for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
            if test.examples:
                yield test.name, test


EXAMPLES = dict(docstring_examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_docstring_print_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(EXAMPLES[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(
    page: Path, libraries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), name=str(page), libraries=libraries)


def run_examples(test: doctest.DocTest) -> None:
    """Run a docstring's examples; fail if they print anything but the text in the docstring."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append, clear_globs=False)
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)


def run_page(text: str, *, name: str, libraries: Collection[str]) -> None:
    """Run a page's Python blocks in order, as a reader would in one session.

    A block that imports CuPy, JAX or PyTorch runs only when the tests run on that library. A block that
    needs scikit-learn 1.9 runs only if that version is installed.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        source, line = block[1], text.count("\n", 0, block.start(1))
        imported = re.findall(r"^(?:>>> )?\s*(?:import|from) (cupy|jax|torch)\b", source, re.MULTILINE)
        if not set(imported) <= set(libraries):
            continue
        new = re.search(r"^from sklearn.* import .*(?:ProgressBar|move_estimator_to)", source, re.MULTILINE)
        if new and not importlib.util.find_spec("sklearn.callback"):
            continue
        if ">>>" in source:
            test = doctest.DocTestParser().get_doctest(source, namespace, name, name, line)
            run_examples(test)
            namespace.update(test.globs)
        else:
            # Empty lines before the source give tracebacks the line numbers of the page.
            exec(compile("\n" * line + source, name, "exec"), namespace)


def test_the_recipe_of_the_sweep_tutorial_prints_the_right_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe runs here, because building the page does not run code blocks in its text."""
    monkeypatch.chdir(tmp_path)
    grid = ("--learning-rate", "0.1,0.3,1000", "--reg", "0.03,0", "--epochs", "2", "--seeds", "3")
    done("sweep", *grid, "--out", "runs/digits-sweep-001")
    text = (ROOT / "examples" / "tutorials" / "sweep.py").read_text(encoding="utf-8")
    recipe = textwrap.dedent(text.partition(".. code-block:: python\n")[2].partition("\nA candidate")[0])
    capsys.readouterr()
    exec(compile(recipe, "sweep.py", "exec"), {})
    # Four of the six candidates are printed; those with a learning rate of 1000 diverged.
    *_, first, second, third, last = capsys.readouterr().out.splitlines()

    with Path("runs/digits-sweep-001/runs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["learning_rate"] != "1000.0"]
    accuracies = np.array([float(row["validation_accuracy"]) for row in rows]).reshape(4, 3)
    behind = accuracies[accuracies.mean(axis=1).argmax()] - accuracies
    expected = np.stack([behind.mean(axis=1), behind.std(axis=1, ddof=1) / math.sqrt(3)], axis=1)
    printed = [[float(number) for number in line.split()[-2:]] for line in (first, second, third, last)]
    np.testing.assert_allclose(printed, expected[expected[:, 0].argsort()], atol=1e-6)


def test_the_python_blocks_of_the_readme_are_run() -> None:
    assert ROOT / "README.md" in PAGES


def test_the_readme_quotes_the_times_of_the_documentation() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(?:nine candidates|one step)\].*$", readme, re.MULTILINE)
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    quoted = [re.findall(r"([\d.,]+) (?:s|µs)\b", row.partition("on a CPU")[2] or row) for row in rows]
    assert [len(figures) for figures in quoted] == [3, 3]
    contestants = (
        ("**as one stack**", "scikit-learn's `GridSearchCV`, two processes", "a loop in PyTorch"),
        ("**twolayer on NumPy**", "scikit-learn, `MLPClassifier`", "PyTorch, eager"),
    )
    for figures, names in zip(quoted, contestants, strict=True):
        for figure, name in zip(figures, names, strict=True):
            assert re.search(
                rf"^\| {re.escape(name)} \| {re.escape(figure)}[ ,]", performance, re.MULTILINE
            ), name


def test_the_readme_has_the_date_of_the_last_tests_on_a_gpu() -> None:
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = performance.partition("## On a GPU")[2].partition("\n## ")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (date,) = set(re.findall(r"\d{4}-\d{2}-\d{2}", readme))
    assert date == max(re.findall(r"\d{4}-\d{2}-\d{2}", section))


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_plain_markdown_with_valid_links(page: Path) -> None:
    """Pages must be readable on a code host, without Sphinx. All Python on a page must be found."""
    text = page.read_text(encoding="utf-8")
    check_blocks(text)
    assert broken_links(page) == []
    assert only_for_sphinx(text) == []


def only_for_sphinx(text: str) -> list[str]:
    """Return the roles and directives of a page, which a code host shows raw."""
    found = []
    for token, after in pairwise([*tokens(text), Token("end", "", 0)]):
        if token.type == "fence" and token.info.startswith("{"):
            found.append(token.info)
        elif token.type == "text":
            if after.type == "code_inline":
                found += re.findall(r"\{[\w:-]+\}$", token.content)
            found += re.findall(r"^\s*:::+.*", token.content)
    return found


def check_blocks(text: str) -> None:
    """Fail if a block may hold Python that `run_page` would not find."""
    kinds = [token.info.strip() for token in tokens(text) if token.type == "fence"]
    assert {*kinds} <= OTHERS | {"python"}
    assert kinds.count("python") == len(BLOCK.findall(text))


def broken_links(page: Path) -> list[str]:
    """Return the links of a page to files, and to headings in them, that do not exist."""
    broken = []
    for token in tokens(page.read_text(encoding="utf-8")):
        link = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if not link or re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def headings(page: Path) -> set[str]:
    found = tokens(page.read_text(encoding="utf-8"))
    return {after.content for token, after in pairwise(found) if token.type == "heading_open"}


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and Sphinx give the headings of a page."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


def functions_with_formulas() -> list[Callable[..., Any]]:
    net = twolayer.TwoLayerNet
    methods = [net.initialize, net.logits, net.predict_proba, net.loss, net.loss_and_gradients]
    return methods + [
        function
        for module in (mathematics, stacks, convolution)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]


@pytest.mark.parametrize("function", functions_with_formulas(), ids=lambda function: function.__qualname__)
def test_a_docstring_names_its_section_of_the_mathematics(function: Callable[..., Any]) -> None:
    text = " ".join(str(inspect.getdoc(function)).split())
    named = re.findall(r'[Ss]ee (?:docs/mathematics\.md, )?"([^"]+)"', text)
    assert named
    assert set(named) <= headings(ROOT / "docs" / "mathematics.md")


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a page, including inline tokens."""
    for token in MarkdownIt().enable("table").parse(text):
        yield token
        yield from token.children or ()


def test_a_block_that_raises_fails_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("A page.\n\n```python\nx = 0\n1 / x\n```\n", name="page.md", libraries=())
    assert caught.traceback[-1].lineno == 4  # counted from 0


def test_the_blocks_of_a_page_share_their_variables() -> None:
    page = "```python\nx = 1\n```\n\n```python\n>>> y = x + 1\n```\n\n```python\nassert y == {}\n```\n"
    run_page(page.format(2), name="page.md", libraries=())
    with pytest.raises(AssertionError):
        run_page(page.format(3), name="page.md", libraries=())


def test_a_block_that_prints_another_result_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="Expected:\n    3\nGot:\n    2"):
        run_page("```python\n>>> 1 + 1\n3\n```\n", name="page.md", libraries=())


@pytest.mark.parametrize(("prompt", "kind"), [("", ImportError), (">>> ", pytest.fail.Exception)])
def test_a_block_runs_only_if_its_library_is_tested(prompt: str, kind: type[BaseException]) -> None:
    page = f"```python\n{prompt}from torch import no_such_name\n```\n"
    run_page(page, name="page.md", libraries=["numpy"])
    # The second message comes if PyTorch is not installed.
    with pytest.raises(kind, match=r"cannot import name 'no_such_name' from 'torch'|No module named 'torch'"):
        run_page(page, name="page.md", libraries=["numpy", "torch"])


@pytest.mark.parametrize(
    "block",
    [
        "```py\nx = 1\n```",
        "```{code-block} python\nx = 1\n```",
        "~~~python\nx = 1\n~~~",
        "- In a list:\n\n  ```python\n  x = 1\n  ```",
    ],
)
def test_python_blocks_that_would_not_run_are_found(block: str) -> None:
    check_blocks("A page.\n\n```python\nx = 1\n```\n")
    with pytest.raises(AssertionError):
        check_blocks(f"A page.\n\n{block}\n")


@pytest.mark.parametrize(
    "raw",
    [
        "See {doc}`start`.",
        "| a |\n| - |\n| {func}`~twolayer.train` |",
        "```{raw} html\n:file: x.svg\n```",
        "```{literalinclude} x.py\n```",
        "```{eval-rst}\n.. autofunction:: twolayer.train\n```",
        ":::{admonition} Mind\nthis\n:::",
    ],
)
def test_markup_that_only_sphinx_renders_is_found(raw: str) -> None:
    page = "# A page\n\n`{0}` {1}, [x](x.py).\n\n```sh\necho {doc}`x`\n```\n"
    assert only_for_sphinx(page) == []
    assert only_for_sphinx(f"# A page\n\n{raw}\n\nMore.\n") != []


VALID = ["other.md", "other.md#two-words", "#a-page", "https://example.org/x#y"]
BROKEN = ["missing.md", "other.md#three", "#two-words", "missing.png"]


@pytest.mark.parametrize("link", [*VALID, *BROKEN])
@pytest.mark.parametrize("sign", ["", "!"])
def test_broken_links_are_found(sign: str, link: str, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One\n\n## Two `words`\n")
    (tmp_path / "page.md").write_text(f"# A page\n\n| a | b |\n| - | - |\n| 1 | {sign}[link]({link}) |\n")
    assert broken_links(tmp_path / "page.md") == [link] * (link in BROKEN)
