"""The page itself: what was found, put into the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import click

from ..._extras import require
from ..._files import written_whole
from ..._texts import printable
from ..._version import __version__
from .. import folders
from ..outputs import check_output
from . import content, pictures, samples, settings
from .found import Found, read_run


def write_page(
    folder: Path, out: Path | None, commands: Mapping[str, click.Command], *, overwrite: bool
) -> Path:
    """Write the page of a run, whole or not at all, and return where it is.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    out : Path, optional
        The file to write; without it, report.html in the folder.
    commands : mapping
        The commands by their names, for the one that does it again.
    overwrite : bool
        Replace a file of another program.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError, TypeError
        If a file in it is not what `twolayer train` and `sweep` write; if ``out`` must not be replaced.
    ImportError
        If jinja2, matplotlib or pillow cannot be imported.
    OSError
        If the file cannot be written.
    """
    path = folder / folders.PAGE if out is None else out
    check_output("--out", path, (".html",), overwrite=overwrite)
    text = render(read_run(folder), commands, linked=path.resolve().parent == folder.resolve())
    with folders.locked_if_run(path.parent), written_whole(path) as file:
        file.write(text.encode())
    return path


def render(found: Found, commands: Mapping[str, click.Command], *, linked: bool) -> str:
    """Return the page of a run; ``linked`` says whether its files lie beside it."""
    jinja2 = require("jinja2", extra="cli", purpose="A report")
    environment = jinja2.Environment(
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # not markup
        loader=jinja2.FunctionLoader(_resource),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = _resource("page.css"), _resource("page.js")
    return str(
        environment.get_template("page.html.jinja").render(
            **_parts(found, commands, linked=linked),
            style=style,
            script=script,
            hashes={"style": _hash(style), "script": _hash(script)},
        )
    )


def _parts(found: Found, commands: Mapping[str, click.Command], *, linked: bool) -> dict[str, Any]:
    known = found.settings or {}
    return {
        "version": __version__,
        "folder": found.folder.resolve().name,
        "dataset": found.dataset,
        "sweeps": found.sweeps,
        "heading": content.heading(found),
        "summary": content.summary(found),
        "notices": content.notices(found),
        "figures": content.figures(found),
        "candidates": content.candidates(found),
        "course": content.course(found),
        "pictures": pictures.drawn(found),
        "missing": content.missing(found),
        "class_names": found.results.classes,
        "classes": samples.classes(found),
        "confusion": samples.confusion(found),
        "pairs": samples.pairs(found),
        "mistakes": samples.mistakes(found),
        "settings": settings.settings_groups(known),
        "environment": content.environment(found),
        "command": settings.command_line(known, commands),
        "files": content.files(found, linked=linked),
    }


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Give the hash by which a browser knows the one style and the one script that it may use."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
