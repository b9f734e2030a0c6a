"""Expected errors, by their type and their whole message."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def refusal(expected: str) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Expect an error such as "ValueError: `k` must be at least 1; got 0"; "…" stands for any text."""
    kind, _, message = expected.partition(": ")
    pattern = ".*".join(map(re.escape, message.split("…")))
    with pytest.raises(getattr(builtins, kind), match=f"(?s)^{pattern}$") as raised:
        yield raised
