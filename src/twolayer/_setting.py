"""The type of a row in the table of settings."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias

from ._numbers import PROBABILITY, SHARE, Number
from .search import Integers, LogUniform, Uniform

# A tuple lists the allowed values; `list` means several texts.
Kind: TypeAlias = "Number | tuple[str, ...] | type[bool] | type[str] | type[list[str]]"
REQUIRED = object()  # stands for the default of a setting that has no default
TOGETHER, APART = "together", "apart"


@dataclass(frozen=True)
class Setting:
    """A setting of `train`, `sweep` or both.

    Parameters
    ----------
    name : str
        The key in settings files, and the name of the parameter of `train` or `sweep`, if it has one.
    kind : Number, tuple of str, bool, str, or list
        The allowed values.
    default : object
        The value in a run's ``settings.toml``, or in a preset, that lacks the setting. With ``REQUIRED``,
        the ``settings.toml`` must contain it if the presets of its data set do.
    help : str
        The help text of the command-line option. If empty, no option is generated from this row; the option
        is written by hand, or does not exist.
    group : str
        The heading in the help and in the report of a run.
    label : str
        The words for the setting in tables and reports; by default the name, with spaces for underscores.
    only : "train" or "sweep", optional
        The only command that has the setting.
    data : tuple of str
        The kinds of data sets that have the setting; all kinds if it is empty.
    argument : bool
        Whether the functions `train` and `sweep` have a parameter for it, with one value for all networks.
    varied : TOGETHER or APART, optional
        Whether a sweep accepts several values. It trains them in one stack (TOGETHER) or in one stack for
        each value (APART).
    needs : (name, values), optional
        Another setting, and its values with which this setting has an effect. With its other values, giving
        this setting is an error.
    idle_without : tuple of str
        Other settings. This setting is ignored if all of them are off.
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
        """The command-line option, for example --hidden for ``n_hidden``."""
        return f"--{self.name.removeprefix('n_').replace('_', '-')}"

    @property
    def is_share(self) -> bool:
        """Whether the values are shares, from 0 to 1; a random search draws them evenly, not by ratio."""
        return self.kind in (PROBABILITY, SHARE)

    def between(self, low: Any, high: Any) -> Integers | LogUniform | Uniform:
        """Return the distribution from which a random search draws values between two bounds.

        Raises
        ------
        ValueError
            If the bounds do not suit the distribution: unless the values are shares, both must be above 0,
            because values are drawn at even ratios.
        """
        assert isinstance(self.kind, Number)
        if self.kind.kind is int:
            return Integers(low, high, log=True)
        return Uniform(low, high) if self.is_share else LogUniform(low, high)

    def check(self, value: Any, name: str | None = None) -> Any:
        """Return ``value`` in the right type; raise unless the setting, a number, accepts it.

        Parameters
        ----------
        value : object
        name : str, optional
            The name in the error, by default that of the setting.

        Raises
        ------
        TypeError, ValueError
        """
        assert isinstance(self.kind, Number)
        return self.kind.check(name or self.name, value)


def is_range(value: Any) -> bool:
    """Return whether the value of a sweep's setting is a range to draw from, such as "1e-3..1"."""
    return isinstance(value, str) and ".." in value
