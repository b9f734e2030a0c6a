"""Sphinx's configuration. Building the documentation does not need the network."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number

import twolayer

sys.path.insert(0, str(Path(__file__).parent))  # for docs/api.py

import api

project = "twolayer"
author = "the twolayer contributors"
copyright = "2026, the twolayer contributors"  # noqa: A001  (Sphinx's own name for it)
version = release = twolayer.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
# The index of the tutorials is written by hand because some tutorials are not scripts.
exclude_patterns = ["_build", "tutorials/index.rst", "gallery/*.ipynb", "tutorials/*.ipynb"]

html_theme = "furo"
html_title = f"twolayer {version}"
html_static_path = ["_static"]
html_css_files = ["mathml.css", "pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Each build runs the scripts of the gallery and the tutorials, and fails if a script fails.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery", "../examples/tutorials"],
    "gallery_dirs": ["gallery", "tutorials"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "run_stale_examples": True,
    "doc_module": ("twolayer",),
    "reference_url": {"twolayer": None},
    "backreferences_dir": "gallery/uses",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
}

linkcheck_timeout = 30

autodoc_member_order = "bysource"
# Annotations cannot express shapes and dtypes, so the docstrings describe the types.
autodoc_typehints = "none"
# Show `xp=numpy` in a signature, not the repr of the module.
autodoc_preserve_defaults = True

numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "GL02",  # a docstring closes on a line of its own
    "GL08",  # it exists
    "PR01",  # every parameter is described
    "PR02",  # and no other
    "PR03",  # in order
    "SS03",  # the summary ends with a full stop
}
numpydoc_validation_exclude = {
    r"\.FlipAndShift\.(apply|draw)$",  # the protocol describes the parameters
    r"\.Run$",  # it has a private field, which is not described
    r"\.(Augmentation|Optimizer|Preprocessing|Schedule)$",  # a protocol has no parameters
}


def setup(app: Sphinx) -> None:
    """Render equations as MathML, which browsers show without a script or a downloaded font."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("source-read", build_from_markdown)


# A paragraph that is only a link to a file outside docs/: a page, or a program.
PAGE = re.compile(r"^\[[^]]*\]\(((?:\.\./)+[A-Z]+\.md)(#[\w-]+)?\)$", re.MULTILINE)
PROGRAM = re.compile(r"(?<=\n\n)\[[^]]*\]\(((?:\.\./)+examples/\S+\.py)\)\n(?=\n|\Z)")
ITEM = re.compile(r"^- \[[^]]*\]\(([\w./-]+?)(?:\.md|\.rst)\)", re.MULTILINE)


def build_from_markdown(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn plain Markdown, which a code host shows as well, into the directives of a build.

    - An entry of the API reference becomes the documentation of the object.
    - A link to a script of the gallery or of the tutorials becomes a link to the page made from the script.
    - A paragraph that is only a link to another program is followed by the program.
    - A paragraph that is only a link to a page outside docs/ becomes that page, or its marked part.
    - A diagram becomes part of the page so that it is drawn in the colours of the page.
    - The lists of an index also become the tables of contents at the side.
    """
    text = api.with_directives(source[0]) if docname == "api" else source[0]
    text = re.sub(r"\]\((?:\.\./)+examples/(gallery|tutorials)/(\w+)\.py\)", r"](/\1/\2.rst)", text)
    text = re.sub(r"\]\((?:\.\./)+examples/gallery\)", "](/gallery/index.rst)", text)
    text = PROGRAM.sub(
        r"\g<0>\n```{literalinclude} \1\n:language: python\n:start-after: import annotations\n```\n", text
    )
    text = PAGE.sub(included, text)
    text = re.sub(
        r"^!\[[^]]*\]\((diagrams/\w+\.svg)\)$", r"```{raw} html\n:file: \1\n```", text, flags=re.MULTILINE
    )
    source[0] = text + contents(text) if docname in ("index", "tutorials/index") else text


def included(link: re.Match[str]) -> str:
    """Return the directive that includes a page: the whole page, or its part between two marks."""
    marks = ":start-after: <!-- compared -->\n:end-before: <!-- end -->\n" if link[2] else ""
    return f"```{{include}} {link[1]}\n:relative-docs: docs/\n{marks}```"


def contents(text: str) -> str:
    """Return a hidden table of contents for each section of an index, made of the links in its list."""
    tables = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        if pages := ITEM.findall(section):
            heading = section.partition("\n")[0]
            caption = [] if heading.startswith("# ") else [f":caption: {heading}"]
            tables += ["", "```{toctree}", ":hidden:", *caption, "", *pages, "```"]
    return "".join(f"{line}\n" for line in tables)


def visit_math(translator: nodes.NodeVisitor, node: nodes.math) -> None:
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(translator: nodes.NodeVisitor, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math-block"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})</span>')
    translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=True))
    translator.body.append("</div>")
    raise nodes.SkipNode
