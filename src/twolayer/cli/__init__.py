"""The command line. Its packages are imported when it runs, so that what is missing can be named."""

from __future__ import annotations

import sys

from .._extras import how_to_install


def main() -> None:
    """Run the command line: what ``twolayer`` and ``python -m twolayer`` do."""
    try:
        import click as _click
        import rich as _rich
    except ImportError as error:
        sys.exit(
            f"Error: the command line needs click and rich ({error}); "
            f"the extra `cli` brings them: {how_to_install('cli')}"
        )
    del _click, _rich
    from .commands import app
    from .completion import VARIABLE

    for stream in (sys.stdout, sys.stderr):
        # A terminal of few characters gets question marks rather than an error.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(windows_expand_args=False, complete_var=VARIABLE)
