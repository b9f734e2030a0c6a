"""Rendering of the page from its template, and its file."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from ..._files import written_whole
from ..._optional import require
from ..._texts import printable
from ..._version import __version__
from .. import run_folder
from ..console import Console
from ..outputs import check_output
from ..stored_run import StoredRun
from . import content, pictures, settings, tables
from .plain_words import in_plain_words


def write_page(folder: Path, out: Path | None, console: Console, *, overwrite: bool) -> Path:
    """Write the page of a run, complete or not at all, and return its path.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    out : Path, optional
        The file to write. The default is report.html in the folder.
    console : Console
        Where the progress is shown.
    overwrite : bool
        Replace a file that another program wrote.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError, TypeError
        If a file in it is not what `twolayer train` and `sweep` write; if the page must not replace a file.
    ImportError
        If jinja2, matplotlib or pillow cannot be imported.
    OSError
        If the file cannot be written.
    """
    path = folder / run_folder.PAGE if out is None else out
    check_output("--out", path, (".html",), overwrite=overwrite)
    text = render(StoredRun(folder), console, linked=path.resolve().parent == folder.resolve())
    with run_folder.locked_if_run(path.parent), written_whole(path) as file:
        file.write(text.encode())
    return path


def render(run: StoredRun, console: Console, *, linked: bool) -> str:
    """Return the page of a run. If ``linked`` is true, it has links to the files of the run beside it."""
    jinja2 = require("jinja2", extra="cli", purpose="A report")
    environment = jinja2.Environment(
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup stays as it is
        loader=jinja2.FunctionLoader(_resource),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script, known = _resource("page.css"), _resource("page.js"), run.settings or {}
    text = environment.get_template("page.html.jinja").render(
        version=__version__,
        style=style,
        script=script,
        hashes={"style": _hash(style), "script": _hash(script)},
        folder=run.folder.resolve().name,
        dataset=run.dataset,
        sweeps=run.is_sweep,
        heading=content.heading(run),
        plain=in_plain_words(run),
        summary=content.summary(run),
        notices=content.notices(run),
        figures=content.figures(run),
        candidates=tables.candidates(run),
        course=content.course(run),
        pictures=pictures.drawn(run, console),
        missing=content.missing(run),
        class_names=run.results.classes,
        classes=tables.classes(run),
        confusion=tables.confusion(run),
        pairs=tables.pairs(run),
        mistakes=tables.mistakes(run),
        n_columns=len(run.results.columns),
        left_out=run.results.left_out,
        columns=tables.columns(run),
        settings=settings.settings_groups(known),
        environment=content.environment(run),
        command=settings.command_line(known),
        files=tables.files(run),
        linked=linked,
    )
    return str(text)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash of a style or script, by which the page allows the browser to use it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
