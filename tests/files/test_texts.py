"""Texts from outside the library: which characters are escaped when shown, and the length of messages."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import any_texts, is_dangerous, is_printable

from twolayer._texts import bounded, check_printable, listed, printable

UNCHANGED = [
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


def test_exactly_the_dangerous_characters_are_escaped() -> None:
    characters = list(map(chr, range(sys.maxunicode + 1)))
    escaped = {character for character in characters if printable(character) != character}
    assert escaped == set(filter(is_dangerous, characters))


@pytest.mark.parametrize("text", UNCHANGED)
def test_texts_in_any_script_are_unchanged(text: str) -> None:
    assert printable(text) == text
    check_printable("`name`", text)


def test_escapes_are_written_as_in_python() -> None:
    assert printable("a\x1b[2J\n\t\x9b\u202e\udce9é") == r"a\x1b[2J\n\t\x9b\u202e\udce9é"


@given(any_texts)
def test_a_shown_text_is_one_line_of_valid_utf_8_and_xml(text: str) -> None:
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert is_printable(shown)
    shown.encode("utf-8")
    ElementTree.fromstring(f"<t>{escape(shown)}</t>")  # safe XML, made on this line
    assert printable(shown) == shown


@given(any_texts)
def test_check_printable_refuses_exactly_the_texts_that_are_escaped(text: str) -> None:
    if printable(text) == text:
        check_printable("`name`", text)
        return
    with pytest.raises(ValueError, match=r"^`name` must hold printable characters only; got '") as caught:
        check_printable("`name`", text)
    assert printable(caught.value) == str(caught.value)


@given(st.text(max_size=30), st.integers(1, 20))
def test_bounded_cuts_a_text_to_the_given_length(text: str, most: int) -> None:
    found = bounded(text, most)
    assert len(found) <= most
    assert found == text if len(text) <= most else text.startswith(found.removesuffix("…"))


def test_listed_names_are_escaped_and_cut_to_200_characters() -> None:
    assert listed(["W1", "a\x1b", 3]) == r"W1, a\x1b, 3"
    assert len(listed(f"tensor{i}" for i in range(20_000))) == 200
