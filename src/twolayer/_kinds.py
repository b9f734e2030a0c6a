"""Plain data with a kind: NamedTuples that equal nothing but their own kind."""

from __future__ import annotations

from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def own_kind(cls: Kind) -> Kind:
    """Let a NamedTuple be equal to its own kind alone: compiled steps are found again by what they hold.

    As tuples, all without settings would be the same.
    """

    def equal(self: Any, other: Any) -> bool:
        return type(self) is type(other) and tuple(self) == tuple(other)

    methods = {
        "__eq__": equal,
        "__ne__": lambda self, other: not equal(self, other),
        "__hash__": lambda self: hash((type(self), *self)),
    }
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def kinds(value: Any) -> Any:
    """Return the types of nested tuples, to tell equal ones of several kinds apart."""
    return (type(value), *map(kinds, value)) if isinstance(value, tuple) else type(value)
