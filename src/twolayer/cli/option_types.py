"""Options that are grouped in the help, and the types of their values."""

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
    ParamType = click.ParamType  # older versions of click have no type arguments


_LARGEST = 2**53  # up to it, a float is exact, and so every reader of JSON reads the same integer


class Option(click.Option):
    """An option that the help shows under the heading of its group, with its default.

    Parameters
    ----------
    group : str
        The heading.
    names : str
        The flags, and the parameter's name if it is another, separated by spaces.
    kind : Number, tuple of str, bool, or type of click
        The values that it may have: see `Setting`.
    text : str
        The help.
    shown : str, optional
        The default to show, if it is not click that sets it.
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
        """Parse the command line; --help is written here."""
        with standard_output():
            return super().make_context(*args, **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; refuse empty values, for example from unset shell variables."""
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
    """Comma-separated names, as a tuple; a name with a comma needs double quotes."""

    name = "names"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the placeholder for a value in the help."""
        return "NAME,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names in an option's text."""
        try:
            return tuple(next(csv.reader([value], skipinitialspace=True), ()))
        except csv.Error as error:
            self.fail(f"must be comma-separated names; got {value!r:.80} ({error})", param, ctx)


def joined_names(names: Iterable[str]) -> str:
    """Return names as one text, which `NamesType` can read."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(names)
    return stream.getvalue()


class NumberType(ParamType):
    """A finite number between bounds, or one of a few words.

    Parameters
    ----------
    wanted : Number
    hint : str
        Text to add to the error if a value has a comma or is a range.
    """

    name = "number"
    suffix = ""  # after the placeholder in the help

    def __init__(self, wanted: Number, hint: str = "") -> None:
        self.wanted, self.hint = wanted, hint

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the placeholder for a value in the help."""
        return "|".join((*self.wanted.words, "N" if self.wanted.kind is int else "X")) + self.suffix

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of an option's text."""
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(f"{error}{self.hint if ',' in value or is_range(value) else ''}", param, ctx)

    def read(self, text: str) -> Any:
        """Return the value of a text. Errors begin with "must", for the caller to put a name before."""
        return _number(text, self.wanted)

    def read_plain(self, value: Any) -> Any:
        """Return the value of an entry of a TOML file, as `read` does for a text."""
        return self.read(_as_text(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the words that a shell can offer."""
        item = click.shell_completion.CompletionItem
        return [item(word) for word in self.wanted.words if word.startswith(incomplete)]


class Several(NumberType):
    """Comma-separated values, as a tuple."""

    suffix = ",…"

    def read(self, text: str) -> Any:
        """Return the values in a text."""
        return _distinct(self.read_one(part.strip()) for part in text.split(",") if part.strip())

    def read_one(self, text: str) -> Any:
        """Return one value."""
        return _number(text, self.wanted)

    def read_plain(self, value: Any) -> Any:
        """Return the values of a list, or a single value as a tuple."""
        values = value if isinstance(value, list) else [value]
        return _distinct(self.read_one(_as_text(one)) for one in values)


class SeveralOrRange(Several):
    """Comma-separated values of a setting, or a range, low..high, to draw values from."""

    suffix = ",…|LOW..HIGH"

    def __init__(self, setting: Setting) -> None:
        assert isinstance(setting.kind, Number)
        super().__init__(setting.kind)
        self.setting = setting

    def read_one(self, text: str) -> Any:
        """Return one value; for a range, return its text after checking it."""
        if is_range(text):
            self.distribution(text)
            return text
        return super().read_one(text)

    def distribution(self, text: str) -> Any:
        """Return the distribution for a range. Errors begin with "must"."""
        low, high = (_number(part.strip(), replace(self.wanted, words=())) for part in text.split("..", 1))
        try:
            return self.setting.between(low, high)
        except ValueError as error:
            raise ValueError(f"must be a range, low..high: in {text!r:.80}, {error}") from error


class Seeds(Several):
    """A number of seeds (3), or the seeds themselves (0,1,5)."""

    suffix = "|S,S,…"

    def read(self, text: str) -> Any:
        """Return the number of seeds as an int, or the seeds as a tuple."""
        return super().read(text) if "," in text else _number(text, COUNT)

    def read_plain(self, value: Any) -> Any:
        """Return the number of seeds as an int, or the seeds of a list as a tuple."""
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
    """Return a number or text from a TOML file as the text of an option."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be a number or text; got {shown(value)}")
    return str(value)


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the distinct values, in order; raise if there are none."""
    found = tuple(dict.fromkeys(values))
    if not found:
        raise ValueError("must hold at least one value; got none")
    return found
