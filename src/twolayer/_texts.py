"""Texts from others, shown without the characters that command a terminal or turn a line round."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Control characters, separators of lines, marks of direction, lone surrogates, and what XML lacks. Joiners
# and combining marks stay: Persian, Indic scripts and emoji need them.
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_LONGEST = 2000  # characters, of a message


def printable(text: object) -> str:
    """Return a text that any program can show in its line: unprintable characters become escapes."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def bounded(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most so many characters, the rest of it an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Iterable[object]) -> str:
    """Return names that a file gives to what it holds, as an error lists them."""
    return bounded(printable(", ".join(map(str, names))), 200)
