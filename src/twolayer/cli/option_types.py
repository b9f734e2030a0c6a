"""Parts of options: their place in the help, and the types of their values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import click.shell_completion

from .._numbers import COUNT, Number
from .._setting import Setting, is_range
from .._validation import shown
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
    names : str
        The flags, and the name of the parameter if it has another, with spaces between.
    kind : Number, tuple of str, bool, or type of click
        The values that it may have: see `Setting`.
    text : str
        The help.
    shown : str, optional
        What it is when not given, where that is no default of click's.
    **more
        Arguments of `click.Option`.
    """

    def __init__(
        self, group: str, names: str, kind: Any, text: str, *, shown: str | None = None, **more: Any
    ) -> None:
        self.group = group
        if shown is not None:
            text += f"  [default: {shown}]"
        if isinstance(kind, Number):
            kind = NumberType(kind)
        elif isinstance(kind, tuple):
            kind = click.Choice(kind)
        elif kind is list:
            kind = NamesType()
        more |= {"help": text, "type": kind, "show_default": more.get("default") is not None}
        super().__init__(names.split(), is_flag=kind is bool or None, **more)


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

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option --help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Show this help."
        return option

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, each with its options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Output"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class NamesType(ParamType):
    """Names with commas between them, as a tuple; a name that has a comma stands in double quotes."""

    name = "names"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for a value in the help."""
        return "NAME,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names of an option's text."""
        try:
            return tuple(next(csv.reader([value], skipinitialspace=True), ()))
        except csv.Error as error:
            self.fail(f"must be names with commas between; got {value!r:.80} ({error})", param, ctx)


def joined_names(names: Iterable[str]) -> str:
    """Return names as `NamesType` reads them."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(names)
    return stream.getvalue()


class NumberType(ParamType):
    """A finite number between bounds, or one of a few words.

    Parameters
    ----------
    wanted : Number
    hint : str
        A hint for the error where a value has a comma or is a range.
    """

    name = "number"
    suffix = ""  # after the placeholder in the help

    def __init__(self, wanted: Number, hint: str = "") -> None:
        self.wanted, self.hint = wanted, hint

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for a value in the help."""
        return "|".join((*self.wanted.words, "N" if self.wanted.kind is int else "X")) + self.suffix

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what an option's text means."""
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(f"{error}{self.hint if ',' in value or is_range(value) else ''}", param, ctx)

    def read(self, text: str) -> Any:
        """Return what a text means; raise a ValueError that begins with "must", for the caller to name it."""
        return _number(text, self.wanted)

    def read_plain(self, value: Any) -> Any:
        """Return what a value of a TOML file means, as `read` does."""
        return self.read(_as_text(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the words that a shell may offer."""
        item = click.shell_completion.CompletionItem
        return [item(word) for word in self.wanted.words if word.startswith(incomplete)]


class Several(NumberType):
    """Values with commas between them, as a tuple."""

    suffix = ",…"

    def read(self, text: str) -> Any:
        """Return the values of a text."""
        return _distinct(self.read_one(part.strip()) for part in text.split(",") if part.strip())

    def read_one(self, text: str) -> Any:
        """Return one value."""
        return _number(text, self.wanted)

    def read_plain(self, value: Any) -> Any:
        """Return the values of a list, or one alone."""
        values = value if isinstance(value, list) else [value]
        return _distinct(self.read_one(_as_text(one)) for one in values)


class SeveralOrRange(Several):
    """Values of a setting with commas between them, or a range, low..high, to draw them from."""

    suffix = ",…|LOW..HIGH"

    def __init__(self, setting: Setting) -> None:
        assert isinstance(setting.kind, Number)
        super().__init__(setting.kind)
        self.setting = setting

    def read_one(self, text: str) -> Any:
        """Return one value; a range as its text, once that is known to be right."""
        if is_range(text):
            self.distribution(text)
            return text
        return super().read_one(text)

    def distribution(self, text: str) -> Any:
        """Return the distribution that a range stands for; raise a ValueError that begins with "must"."""
        low, high = (_number(part.strip(), replace(self.wanted, words=())) for part in text.split("..", 1))
        try:
            return self.setting.between(low, high)
        except ValueError as error:
            raise ValueError(f"must be a range, low..high: in {text!r:.80}, {error}") from error


class Seeds(Several):
    """A number of seeds (3), or the seeds themselves (0,1,5)."""

    suffix = "|S,S,…"

    def read(self, text: str) -> Any:
        """Return how many, an int, or which, a tuple."""
        return super().read(text) if "," in text else _number(text, COUNT)

    def read_plain(self, value: Any) -> Any:
        """Return how many, an int, or which, a tuple of those of a list."""
        return super().read_plain(value) if isinstance(value, list) else self.read(_as_text(value))


def _number(text: str, wanted: Number) -> Any:
    if text in wanted.words:
        return text
    limit = ""
    with suppress(ValueError):
        number = wanted.check("number", wanted.kind(text))
        if wanted.kind is float or number <= _LARGEST:
            return number
        limit = ", and at most 2**53"
    raise ValueError(f"must be {wanted.in_words()}{limit}; got {text!r:.80}")


def _as_text(value: Any) -> str:
    """Return a number or a text of a TOML file as an option would have it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be a number or text; got {shown(value)}")
    return str(value)


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the distinct values, in order; raise if there are none."""
    found = tuple(dict.fromkeys(values))
    if not found:
        raise ValueError("must hold at least one value; got none")
    return found
