"""Entries of api.md: the first sentence of each public docstring, and a link to the source file.

Usage: python docs/api.py

Rewrites the entries in api.md. To add a name, put the line "- `twolayer.name`" into a section, and below it
a line "  - `name`" for each of its public methods and properties; then run the command.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from pkgutil import resolve_name

import twolayer

PAGE = Path(__file__).with_suffix(".md")
# A line for a name, then a line for each of its members.
ENTRY = re.compile(r"^- \[?`(twolayer\.[\w.]+)`.*\n((?:  - `\w+`.*\n)*)", re.MULTILINE)


def with_sentences(text: str) -> str:
    """Return the page's text with the links and sentences of the current docstrings."""
    return ENTRY.sub(_entry, text)


def with_directives(text: str) -> str:
    """Return the page's text with a directive of autodoc in place of each entry, for Sphinx."""
    return ENTRY.sub(_directive, text)


def names(text: str) -> list[str]:
    """Return the names that the page lists, members of classes included."""
    return [one for entry in ENTRY.finditer(text) for one in (entry[1], *_members(entry))]


def _entry(entry: re.Match[str]) -> str:
    name = entry[1]
    lines = [f"- [`{name}`]({_source(name)}): {_first_sentence(name)}"]
    lines += [f"  - `{one.rpartition('.')[2]}`: {_first_sentence(one)}" for one in _members(entry)]
    return "".join(f"{line}\n" for line in lines)


def _directive(entry: re.Match[str]) -> str:
    found = resolve_name(entry[1])
    kind = "function"
    if inspect.isclass(found):
        kind = "exception" if issubclass(found, Exception) else "class"
    lines = ["", "```{eval-rst}", f".. auto{kind}:: {entry[1]}"]
    if members := _members(entry):
        lines.append(f"   :members: {', '.join(one.rpartition('.')[2] for one in members)}")
    return "".join(f"{line}\n" for line in (*lines, "```"))


def _members(entry: re.Match[str]) -> list[str]:
    return [f"{entry[1]}.{one}" for one in re.findall(r"^  - `(\w+)`", entry[2], re.MULTILINE)]


def _source(name: str) -> str:
    """Return the path, relative to the page, of the file that defines a name."""
    file = inspect.getsourcefile(inspect.unwrap(resolve_name(name)))
    return f"../src/twolayer/{Path(file).relative_to(Path(twolayer.__file__).parent).as_posix()}"


def _first_sentence(name: str) -> str:
    """Return the summary of a docstring as Markdown, without marks of references."""
    summary = " ".join((inspect.getdoc(resolve_name(name)) or "").partition("\n\n")[0].split())
    return re.sub(r" \[\d+\]_", "", summary).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(with_sentences(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
