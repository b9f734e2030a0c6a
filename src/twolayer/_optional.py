"""Imports of optional packages, with errors that name the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of twolayer."""
    return f'`python -m pip install "twolayer[{extra}]"`'


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or raise an error that names the extra of twolayer to install.

    Raises
    ------
    ImportError
        If the module or a package that it needs is not installed, or its import raises any other exception.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # an import runs the package's code, which may raise any exception
        raise missing(module, error, extra=extra, purpose=purpose) from error


def missing(module: str, error: Exception, *, extra: str, purpose: str) -> ImportError:
    """Return an error with the reason why a module could not be imported, and with the extra to install."""
    package = module.partition(".")[0]
    if not isinstance(error, ImportError):  # the package is installed but broken: no extra helps
        reason = f"{type(error).__name__}: {error}"
        return ImportError(f"{purpose} needs {package}, whose import failed ({reason})")
    return ImportError(
        f"{purpose} needs {package}, which could not be imported ({error}); "
        f"install it with {how_to_install(extra)}"
    )
