"""The command line as tests run it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from twolayer.cli.commands import app


def cli(*arguments: object) -> Result:
    """Run the command line; what it does not handle comes out."""
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def done(*arguments: object) -> str:
    """Run the command line, which must succeed, and return what it wrote."""
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object, code: int = 1) -> str:
    """Run the command line, which must say in one line what is wrong, and return the line."""
    result = cli(*arguments)
    assert result.exit_code == code, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert result.output.splitlines()[-1] == errors[0]
    assert "Traceback" not in result.output
    return errors[0]
