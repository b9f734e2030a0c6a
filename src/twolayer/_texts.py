"""Checks and safe display of foreign texts, so that no character controls a terminal or reorders a line."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

# Control characters, line separators, direction marks, lone surrogates, and two characters that XML forbids.
# Joiners and combining marks are allowed, because Persian, Indic scripts and emoji need them.
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_LONGEST = 2000  # characters in a message
_SWAPPED = str.maketrans(",.", ".,")  # decimal commas and points
# Numbers with either decimal sign, perhaps with thousands separators: 1234.5, 1234,5, 1,234.5 and 1.234,5.
MAYBE_GROUPED = r"^[+-]?(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?|(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?)$"


def printable(text: object) -> str:
    """Return a text that every program can show in one line; unprintable characters become escapes."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def bounded(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most ``most`` characters; an ellipsis ends a text that was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Iterable[object]) -> str:
    """Return names from a file, joined for an error message: printable, and at most 200 characters."""
    return bounded(printable(", ".join(map(str, names))), 200)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def size_in_words(shape: Sequence[int]) -> str:
    """Return "width×height", or "width×height×channels", of an image of shape (height, width, …)."""
    height, width, *channels = shape
    return "×".join(map(str, (width, height, *channels)))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint for the end of an error, with the most similar of the names; "" if no name is similar."""
    near = difflib.get_close_matches(name, [*names], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def is_numeric(text: str) -> bool:
    """Return whether a text is a number, without blanks and thousands separators, as in a CSV file."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text and text == text.strip()


def looks_numeric(text: str) -> bool:
    """Return whether a text is a number, perhaps with decimal commas or thousands separators."""
    return is_numeric(text) or re.match(MAYBE_GROUPED, text) is not None


def are_numeric(texts: Sequence[str]) -> list[bool]:
    """Return which texts are numbers: with decimal points or with decimal commas, as fits more of them."""
    points = [is_numeric(text) for text in texts]
    commas = [is_numeric(text.translate(_SWAPPED)) for text in texts]
    return max(points, commas, key=sum)


def check_printable(name: str, text: str) -> None:
    """Raise if a text contains unprintable characters, before it is stored."""
    shown = printable(text)
    if shown != text:
        hint = " (`text.strip()` removes line ends)" if printable(text.strip()) == text.strip() else ""
        raise ValueError(f"{name} must hold printable characters only; got '{shown:.80}'{hint}")


def checked_classes(classes: Sequence[str], n_classes: int, *, name: str = "`classes`") -> list[str]:
    """Return the class names; raise unless they are distinct printable strings, one for each class."""
    names = list(classes)
    if isinstance(classes, str) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name} must be a sequence of strings; got {type(classes).__name__}")
    if len(names) != n_classes:
        raise ValueError(f"{name} must name the {n_classes} classes; got {len(names)} names")
    for one in names:
        check_printable(name, one)
    check_different(name, names)
    return names


def check_different(name: str, classes: Sequence[str]) -> None:
    """Raise if two classes have the same name."""
    most_frequent, n = Counter(classes).most_common(1)[0]
    if n > 1:
        raise ValueError(f"{name} must be different names; got {most_frequent!r:.80} {n} times")


def variable_of(name: str) -> str:
    """Return the variable in an argument's name, for code in messages: X for `validation X`."""
    return name.rpartition(" ")[2]
