"""How Sphinx builds the documentation. Nothing here, and nothing in the pages, needs the network."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number

import twolayer

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
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# The index of the tutorials is written by hand: some of them are no scripts.
exclude_patterns = ["_build", "tutorials/index.rst", "gallery/*.ipynb", "tutorials/*.ipynb"]

html_theme = "furo"
html_title = f"twolayer {version}"
html_static_path = ["_static"]
html_css_files = ["mathml.css", "pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# The scripts of the gallery and the tutorials are run at each build; an error in one is the build's.
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
# The docstrings say shapes and dtypes, which the annotations cannot.
autodoc_typehints = "none"
# `xp=numpy` in a signature, not the module's whole repr.
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
    r"\.Run$",  # `train` makes it, with a field of its own
    r"\.(Augmentation|Optimizer|Preprocessing|Schedule)$",  # a protocol has no parameters
}


def setup(app: Sphinx) -> None:
    """Render equations as MathML, which browsers show without a script or a font from elsewhere."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("source-read", build_from_markdown)


def build_from_markdown(app: Sphinx, docname: str, source: list[str]) -> None:
    """Do with plain Markdown, which code hosts show as it is, what only a build can do.

    A link to a script of the gallery or the tutorials leads to the page that is made of it, and a diagram
    stands in the page itself, so that it has the page's colours.
    """
    text = re.sub(r"\]\((?:\.\./)+examples/(gallery|tutorials)/(\w+)\.py\)", r"](/\1/\2.rst)", source[0])
    text = re.sub(r"\]\((?:\.\./)+examples/gallery\)", "](/gallery/index.rst)", text)
    source[0] = re.sub(
        r"^!\[[^]]*\]\((diagrams/\w+\.svg)\)$", r"```{raw} html\n:file: \1\n```", text, flags=re.MULTILINE
    )


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
