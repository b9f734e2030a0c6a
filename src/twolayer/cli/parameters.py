"""Parts of options: their place in the help, and the types of their values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click
import click.shell_completion

from .console import standard_output

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # which has no type arguments in older versions


_LARGEST = 2**53  # up to it each integer is also a float, so that every reader of JSON reads the same one


class Option(click.Option):
    """An option that stands in the help under its group's heading, with what it is when not given.

    Parameters
    ----------
    group : str
        The heading.
    shown : str, optional
        What it is when not given.
    swept : bool
        Whether it takes one value of several that a sweep takes.
    """

    def __init__(
        self, *args: Any, group: str, shown: str | None = None, swept: bool = False, **kwargs: Any
    ) -> None:
        self.group, self.swept = group, swept
        if shown is not None:
            kwargs["help"] += f"  [default: {shown}]"
        super().__init__(*args, **kwargs)


class Command(click.Command):
    """A command whose help shows its options by groups."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the command; its help is written here."""
        with standard_output():
            return super().make_context(*args, **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; refuse empty values, such as those of shell variables that are not set."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(str(parameter.name))
            if value == "" or (isinstance(value, tuple) and "" in value):
                raise click.BadParameter("must not be empty", ctx=ctx, param=parameter)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, each with its options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, Option):
                record = parameter.get_help_record(ctx)
                groups.setdefault(parameter.group, []).extend([record] if record else [])
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Number(ParamType):
    """A finite number, or one of a few words.

    Parameters
    ----------
    kind : int or float
    above, least, below, most : float, optional
        What it must be above, at least, below, or at most.
    words : tuple of str
    """

    def __init__(
        self,
        kind: type[int] | type[float] = float,
        *,
        above: float | None = None,
        least: float | None = None,
        below: float | None = None,
        most: float | None = None,
        words: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.above, self.least, self.words = kind, above, least, words
        self.below, self.most = below, most
        self.name = "integer" if kind is int else "number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for a value in the help."""
        return "|".join((*self.words, "N" if self.kind is int else "X"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the word."""
        if not isinstance(value, str) or value in self.words:
            return value
        try:
            number = self.kind(value)
            wrong = number > _LARGEST if self.kind is int else not math.isfinite(number)
        except ValueError:
            number, wrong = math.nan, True
        wrong = wrong or (self.above is not None and number <= self.above)
        wrong = wrong or (self.least is not None and number < self.least)
        wrong = wrong or (self.below is not None and number >= self.below)
        wrong = wrong or (self.most is not None and number > self.most)
        if wrong:
            hint = (
                "; `twolayer sweep` takes several" if "," in value and getattr(param, "swept", False) else ""
            )
            limit = ", and at most 2**53" if self.kind is int and number > _LARGEST else ""
            self.fail(f"must be {self.wanted()}{limit}; got {value!r:.80}{hint}", param, ctx)
        return number

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the words that a shell may offer."""
        item = click.shell_completion.CompletionItem
        return [item(word) for word in self.words if word.startswith(incomplete)]

    def wanted(self) -> str:
        """Say what it must be."""
        noun = "an integer" if self.kind is int else "a number"
        if self.above is not None:
            noun += f" above {self.above:g}"
        if self.least is not None:
            noun += f" of at least {self.least:g}"
        if self.below is not None:
            noun += f" and below {self.below:g}"
        if self.most is not None:
            noun += f" and at most {self.most:g}"
        return ", ".join((*map(repr, self.words), "or " * bool(self.words) + noun))


class Several(ParamType):
    """Values with commas between them."""

    def __init__(self, one: Number) -> None:
        self.one, self.name = one, f"{one.name}s"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for the values in the help."""
        return f"{self.one.get_metavar(param, ctx)},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values as a tuple."""
        return tuple(self.one.convert(part.strip(), param, ctx) for part in value.split(",") if part.strip())

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the words that a shell may offer."""
        return self.one.shell_complete(ctx, param, incomplete)


class Seeds(ParamType):
    """How many seeds, or which: 3 is three of them, 0,1,5 are these."""

    name = "seeds"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for the value in the help."""
        return "N|S,S,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return how many, an int, or which, a tuple."""
        if "," in value:
            return Several(Number(int, least=0)).convert(value, param, ctx)
        return Number(int, least=1).convert(value, param, ctx)
