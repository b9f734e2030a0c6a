"""Numbers between bounds: what arguments, options and settings may be."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ._validation import check_integer, check_number


@dataclass(frozen=True)
class Number:
    """Numbers between bounds, or one of a few words in their place."""

    kind: type[int] | type[float] = float
    _: KW_ONLY
    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf
    words: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` in the right type, or raise a TypeError or ValueError unless it fits."""
        if isinstance(value, str) and self.words:
            if value not in self.words:
                raise ValueError(f"`{name}` must be {self.in_words()}; got {value!r}")
            return value
        if self.kind is int:
            return check_integer(name, value, least=int(self.least))
        return check_number(name, value, above=self.above, least=self.least, below=self.below, most=self.most)

    def in_words(self) -> str:
        """Return the bounds in words: a number of at least 0 and below 1."""
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
    """A share below 1 of what there is, or a number of them."""

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` as a float if it is a share, else as an int, or raise unless it fits."""
        is_whole = isinstance(value, int | float) and float(value).is_integer()
        return COUNT_OR_ZERO.check(name, int(value)) if is_whole else PROBABILITY.check(name, value)

    def in_words(self) -> str:
        """Return the bounds in words."""
        return "a share of at least 0 and below 1, or an integer"


AMOUNT = Amount()
COUNT = Number(int, least=1)
COUNT_OR_ZERO = Number(int, least=0)
POSITIVE = Number(above=0)
NOT_NEGATIVE = Number(least=0)
PROBABILITY = Number(least=0, below=1)
SHARE = Number(least=0, most=1)
