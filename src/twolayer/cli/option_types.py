"""Parts of options: their place in the help, and the types of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import click.shell_completion

from .._numbers import COUNT, COUNT_OR_ZERO, Number
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


class NumberType(ParamType):
    """A finite number between bounds, or one of a few words."""

    def __init__(self, wanted: Number) -> None:
        self.wanted = wanted
        self.name = "integer" if wanted.kind is int else "number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for a value in the help."""
        return "|".join((*self.wanted.words, "N" if self.wanted.kind is int else "X"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number or the word."""
        if not isinstance(value, str) or value in self.wanted.words:
            return value
        number, limit = None, ""
        try:
            number = self.wanted.check(self.name, self.wanted.kind(value))
        except ValueError:
            pass
        else:
            limit = ", and at most 2**53" if self.wanted.kind is int and number > _LARGEST else ""
        if number is None or limit:
            hint = (
                "; `twolayer sweep` takes several" if "," in value and getattr(param, "swept", False) else ""
            )
            self.fail(f"must be {self.wanted.in_words()}{limit}; got {value!r:.80}{hint}", param, ctx)
        return number

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the words that a shell may offer."""
        item = click.shell_completion.CompletionItem
        return [item(word) for word in self.wanted.words if word.startswith(incomplete)]


class Several(ParamType):
    """Values with commas between them."""

    def __init__(self, one: NumberType) -> None:
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
            return Several(NumberType(COUNT_OR_ZERO)).convert(value, param, ctx)
        return NumberType(COUNT).convert(value, param, ctx)
