"""Pages of `twolayer report`, parsed as a browser parses them, and changes of their runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import html5lib
import tomli_w

from support.command_line import done, settings_in

QUICK = ("--epochs", 3, "--hidden", 8, "--quiet")
NAMES = ["<script>alert(1)</script>", "\"quoted\" & 'more'", "قطة", "😀", "a" * 60]


class Page:
    """A page, which must be valid HTML."""

    def __init__(self, folder: Path) -> None:
        self.text = (folder / "report.html").read_text(encoding="utf-8")
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        self.root: ElementTree.Element = parser.parse(self.text)

    def all(self, tag: str, **attributes: str) -> list[ElementTree.Element]:
        """The elements of a tag that have these attributes."""
        found = self.root.iter(tag)
        return [one for one in found if all(one.get(name) == attributes[name] for name in attributes)]

    def section(self, name: str) -> ElementTree.Element:
        (found,) = (one for one in self.all("section") if one.get("aria-labelledby") == name)
        return found

    def said(self, name: str) -> str:
        """The words of a section."""
        return words(self.section(name))

    @property
    def summary(self) -> str:
        return words(*self.all("p", **{"class": "summary"}))

    @property
    def plain(self) -> str:
        """The page's first paragraph."""
        return words(*self.all("p", **{"class": "plain"}))

    @property
    def notices(self) -> list[str]:
        return [words(one) for one in self.all("p", **{"class": "notice"})]

    def table(self, name: str, caption: str) -> list[list[str]]:
        """The rows of the table whose caption begins with this text, in a section; headings first."""
        tables = self.section(name).iter("table")
        (table,) = (one for one in tables if words(one.find("caption")).startswith(caption))
        return [[words(cell) for cell in row] for row in table.iter("tr")]


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join(" ".join(element.itertext()).split())


def reported(folder: Path) -> Page:
    """Make the page of a run."""
    done("report", folder)
    return Page(folder)


def decoded(uri: str | None) -> bytes:
    """The content of a picture on a page."""
    assert uri is not None
    assert uri.startswith("data:image/")
    return base64.b64decode(uri.partition(";base64,")[2], validate=True)


def edit_results(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "results.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    change(stored)
    path.write_text(json.dumps(stored), encoding="utf-8")


def edit_settings(folder: Path, changed: dict[str, Any]) -> None:
    text = tomli_w.dumps(settings_in(folder) | changed)
    (folder / "settings.toml").write_text(text, encoding="utf-8")
