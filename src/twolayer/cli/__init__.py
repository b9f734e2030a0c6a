"""The command line. Its packages are imported in `main`, so that an error can name a missing one."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from .._optional import how_to_install


def main() -> None:
    """Run the command line, as ``twolayer`` and ``python -m twolayer`` do."""
    try:
        import click as _click
        import rich as _rich
    except ImportError as error:
        sys.exit(
            f"Error: the command line needs click and rich ({error}); "
            f"install them with {how_to_install('cli')}"
        )
    del _click, _rich
    from .commands import app
    from .completion import VARIABLE
    from .console import Console

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the stream is closed, or the program has no console
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # never closed
        # Print a question mark for a character that the encoding lacks, rather than fail.
        getattr(sys, name).reconfigure(errors="replace")
    # Python's own format has a line of this program's code.
    warnings.showwarning = lambda message, *_, **__: Console().warn(str(message))
    app(windows_expand_args=False, complete_var=VARIABLE)
