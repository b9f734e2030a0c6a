"""The type of a setting: its name, values, default, and the words for it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias

from ._numbers import PROBABILITY, SHARE, Number
from .search import Integers, LogUniform, Uniform

# A tuple lists all values; list is several texts.
Kind: TypeAlias = "Number | tuple[str, ...] | type[bool] | type[str] | type[list[str]]"
REQUIRED = object()  # the default of settings that have none
TOGETHER, APART = "together", "apart"


@dataclass(frozen=True)
class Setting:
    """One setting.

    Parameters
    ----------
    name : str
        The key in files of settings, and the parameter of `train` or `sweep` if they have it.
    kind : Number, tuple of str, bool, str, or list
        The values that it may have.
    default : object
        The value in files that lack it, and in presets that do not name it. ``REQUIRED``: files must name it
        if the presets of their data set do.
    help : str
        The text of the option that is made of it. Other options are written by hand, or there is none.
    group : str
        The heading in the help and on the page of a run.
    label : str
        The words for it in tables and pages; without it, the name.
    only : "train" or "sweep", optional
        The one command that has it.
    data : tuple of str
        The kinds of data sets that have it; all, if it is empty.
    argument : bool
        Whether `train` and `sweep` take it as it is, one value for all networks.
    varied : TOGETHER or APART, optional
        Whether a sweep takes several values of it, in one stack or in a stack for each.
    needs : (name, values), optional
        Another setting, and the values of it with which this one has an effect; with others it is refused.
    idle_without : tuple of str
        Other settings. It is ignored if all of them are off.
    """

    name: str
    kind: Kind
    default: Any
    help: str = ""
    _: KW_ONLY
    group: str = ""
    label: str = ""
    only: str | None = None
    data: tuple[str, ...] = ()
    argument: bool = False
    varied: str | None = None
    needs: tuple[str, tuple[str, ...]] | None = None
    idle_without: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option on the command line: --hidden for ``n_hidden``."""
        return f"--{self.name.removeprefix('n_').replace('_', '-')}"

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, from 0 to 1; others are tried at even ratios."""
        return self.kind in (PROBABILITY, SHARE)

    def between(self, low: Any, high: Any) -> Integers | LogUniform | Uniform:
        """Return the distribution by which a random search draws its values between two.

        Raises
        ------
        ValueError
            If there is none: at even ratios, both must be above 0.
        """
        assert isinstance(self.kind, Number)
        if self.kind.kind is int:
            return Integers(low, high, log=True)
        return Uniform(low, high) if self.is_share else LogUniform(low, high)

    def check(self, value: Any, name: str | None = None) -> Any:
        """Return ``value`` in the right type, or raise unless it is a number that the setting may be.

        Parameters
        ----------
        value : object
        name : str, optional
            The name for the error, if the caller has another.

        Raises
        ------
        TypeError, ValueError
        """
        assert isinstance(self.kind, Number)
        return self.kind.check(name or self.name, value)


def is_range(value: Any) -> bool:
    """Return whether a setting of a sweep is a range, such as "1e-3..1", to draw from."""
    return isinstance(value, str) and ".." in value
