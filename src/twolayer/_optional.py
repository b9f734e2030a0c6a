"""Optional packages: imported where they are used, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType


def how_to_install(extra: str) -> str:
    """Say how an extra of twolayer is installed."""
    return f'`python -m pip install "twolayer[{extra}]"`'


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or say which extra of twolayer brings it.

    Raises
    ------
    ImportError
        If the module, or something that it needs, is not installed, or its import fails in any other way: a
        package may raise any exception.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a package may raise any while it is imported
        raise missing(module, error, extra=extra, purpose=purpose) from error


def missing(module: str, error: Exception, *, extra: str, purpose: str) -> ImportError:
    """Return the error that says why a module could not be imported, and which extra brings it."""
    package = module.partition(".")[0]
    if not isinstance(error, ImportError):  # it is installed
        reason = f"{type(error).__name__}: {error}"
        return ImportError(f"{purpose} needs {package}, whose import failed ({reason})")
    return ImportError(
        f"{purpose} needs {package}, which could not be imported ({error}); "
        f"the extra `{extra}` brings it: {how_to_install(extra)}"
    )
