"""Texts from others, made safe to show: characters that command a terminal or reorder a line are escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Control characters, separators of lines, marks of direction, lone surrogates, and two characters that XML
# forbids. Joiners and combining marks stay: Persian, Indic scripts and emoji need them.
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_LONGEST = 2000  # characters in a message


def printable(text: object) -> str:
    """Return a text that any program can show in one line: unprintable characters become escapes."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def bounded(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most ``most`` characters; an ellipsis replaces the rest of a longer one."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Iterable[object]) -> str:
    """Return the names of what a file holds as a list for an error: printable, and at most 200 characters."""
    return bounded(printable(", ".join(map(str, names))), 200)
