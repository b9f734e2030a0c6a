"""Kinds of numbers that arguments, options and settings accept, with their bounds."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ._validation import check_integer, check_number


@dataclass(frozen=True)
class Number:
    """Numbers between bounds, and words that are accepted as well."""

    kind: type[int] | type[float] = float
    _: KW_ONLY
    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf
    words: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` in the right type; raise a TypeError or ValueError if it does not fit."""
        if isinstance(value, str) and self.words:
            if value not in self.words:
                raise ValueError(f"`{name}` must be {self.in_words()}; got {value!r}")
            return value
        if self.kind is int:
            return check_integer(name, value, least=int(self.least))
        return check_number(name, value, above=self.above, least=self.least, below=self.below, most=self.most)

    def in_words(self) -> str:
        """Return the bounds in words, such as "a number of at least 0 and below 1"."""
        text = "an integer" if self.kind is int else "a number"
        if self.above > -math.inf:
            text += f" above {self.above:g}"
        if self.least > -math.inf:
            text += f" of at least {self.least:g}"
        if self.below < math.inf:
            text += f" and below {self.below:g}"
        if self.most < math.inf:
            text += f" and at most {self.most:g}"
        return ", ".join((*map(repr, self.words), "or " * bool(self.words) + text))


@dataclass(frozen=True)
class Amount(Number):
    """A share of the samples, below 1, or a number of samples."""

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` as an int if it is whole, else as a float; raise if it does not fit."""
        is_whole = isinstance(value, int | float) and float(value).is_integer()
        return COUNT_OR_ZERO.check(name, int(value)) if is_whole else PROBABILITY.check(name, value)

    def in_words(self) -> str:
        """Return the bounds in words."""
        return "a share of at least 0 and below 1, or an integer of at least 0"


AMOUNT = Amount()
COUNT = Number(int, least=1)
COUNT_OR_ZERO = Number(int, least=0)
POSITIVE = Number(above=0)
NOT_NEGATIVE = Number(least=0)
PROBABILITY = Number(least=0, below=1)
SHARE = Number(least=0, most=1)
