"""Settings, accuracies and counts as text, in few digits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from ..settings import label


def format_number(value: Any, *, digits: int = 4, scientific: bool | None = None) -> str:
    """Return one setting as text: 0.25, 1e-3, 50, he.

    Parameters
    ----------
    value : number, str or None
        Integers and text are written as they are, and None as a dash.
    digits : int
        The largest number of significant digits of a float.
    scientific : bool, optional
        The notation of floats; by default the shorter one.
    """
    if value is None:
        return "–"
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float):
        return str(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    long = np.format_float_positional(rounded, trim="-")
    short = np.format_float_scientific(rounded, trim="-", exp_digits=1).replace("+", "")
    if scientific is None:
        scientific = len(short) < len(long)
    return short if scientific else long


def format_numbers(values: Sequence[Any]) -> list[str]:
    """Return several settings as text, in one notation, with enough digits to tell different ones apart.

    Parameters
    ----------
    values : sequence of numbers, str or None
        The settings.

    Returns
    -------
    list of str
        The notation is the one that is shorter in total: 1e-4, 1e-3, 1e-2, but 0.544, 0.0992, 0.00104.
    """
    for digits in range(3, 18):
        positional, scientific = (
            [format_number(value, digits=digits, scientific=notation) for value in values]
            for notation in (False, True)
        )
        texts = min(positional, scientific, key=lambda texts: len("".join(texts)))
        if len(set(texts)) == len(set(values)):
            break
    return texts


def format_setting(value: Any) -> str:
    """Return a setting as text: 0.25, 1,000 or yes; several values as 1e-4, 1e-3."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        several = map(format_setting, value) if bool in map(type, value) else format_numbers(value)
        return ", ".join(several) or "none"
    return f"{value:,}" if type(value) is int else format_number(value)


def settings_in_words(settings: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the named settings in words, for example "learning rate 0.1"; missing ones are left out."""
    return [f"{label(name)} {format_setting(settings[name])}" for name in names if name in settings]


def count(number: int, noun: str) -> str:
    """Return a count in words: 1 epoch, 2,000 steps."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_accuracy(value: Any, spread: Any = None) -> str:
    """Return an accuracy to three decimals, with its spread if that is given: 0.972, 0.972 ± 0.004."""
    if not is_finite(value):
        return "–"
    return f"{value:.3f} ± {spread:.3f}" if is_finite(spread) else f"{value:.3f}"


def format_percent(share: float) -> str:
    """Return a share as a percentage, rounded like `format_accuracy`: 98.3% where the accuracy is 0.983."""
    return f"{round(share, 3):.1%}"


def is_finite(value: Any) -> TypeGuard[float]:
    """Return whether ``value`` is a finite number. None, which stands for nan in JSON, is not."""
    return value is not None and math.isfinite(value)


def calibration_in_words(numbers: Mapping[str, Any]) -> str:
    """Return the numbers of a calibration: "temperature 1.31; test loss 0.51 before, 0.47 after"."""
    parts = [f"temperature {format_number(numbers.get('temperature'), digits=3)}"]
    for name in ("validation_loss", "test_loss", "test_calibration_error"):
        before, after = numbers.get(f"{name}_before"), numbers.get(f"{name}_after")
        if is_finite(before) and is_finite(after):
            parts.append(f"{label(name)} {before:.4f} before, {after:.4f} after")
    return "; ".join(parts)
