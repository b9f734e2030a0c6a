"""Texts from others: which characters are escaped where they are shown, and how long messages are."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import any_texts, is_dangerous, is_printable

from twolayer._texts import bounded, check_printable, listed, printable

NEEDED = [
    *(
        "café",
        "cafe\N{COMBINING ACUTE ACCENT}",
        "健康对照",
        "שלום",
        "قطة",
        "हिन्दी",
        "🙂",
        "a b",
        "$x_1^2$",
        "\\",
    ),
    "می\N{ZERO WIDTH NON-JOINER}خواهم",
    "क्\N{ZERO WIDTH JOINER}ष",
    "👩\N{ZERO WIDTH JOINER}🔬",
    "🏴\N{TAG LATIN SMALL LETTER G}\N{TAG LATIN SMALL LETTER B}\N{CANCEL TAG}",
    "❤\N{VARIATION SELECTOR-16}",
]


def test_the_characters_that_are_escaped_are_those_of_unicode() -> None:
    every = list(map(chr, range(sys.maxunicode + 1)))
    escaped = {character for character in every if printable(character) != character}
    assert escaped == set(filter(is_dangerous, every))


@pytest.mark.parametrize("text", NEEDED)
def test_texts_of_any_script_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
    check_printable("`name`", text)


def test_escapes_are_those_of_python() -> None:
    assert printable("a\x1b[2J\n\t\x9b\u202e\udce9é") == r"a\x1b[2J\n\t\x9b\u202e\udce9é"


@given(any_texts)
def test_what_is_shown_is_one_line_of_utf_8_and_of_xml(text: str) -> None:
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert is_printable(shown)
    shown.encode("utf-8")
    ElementTree.fromstring(f"<t>{escape(shown)}</t>")  # our own
    assert printable(shown) == shown


@given(any_texts)
def test_what_is_shown_escaped_is_not_stored(text: str) -> None:
    if printable(text) == text:
        check_printable("`name`", text)
        return
    with pytest.raises(ValueError, match=r"^`name` must hold printable characters only; got '") as caught:
        check_printable("`name`", text)
    assert printable(caught.value) == str(caught.value)


@given(st.text(max_size=30), st.integers(1, 20))
def test_messages_have_a_length(text: str, most: int) -> None:
    found = bounded(text, most)
    assert len(found) <= most
    assert found == text if len(text) <= most else text.startswith(found.removesuffix("…"))


def test_names_in_a_file_are_listed_in_a_short_line() -> None:
    assert listed(["W1", "a\x1b", 3]) == r"W1, a\x1b, 3"
    assert len(listed(f"tensor{i}" for i in range(20_000))) == 200
