"""HTML for notebooks: small tables, a progress bar, and curves as inline SVG.

Texts and axes have the colour of the surrounding page, and nothing has a background, so light and dark pages
need no style sheet. The colours of the curves are visible on both.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ._texts import bounded, printable

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 448, 32, 196  # the frame of the curves
_PICTURE = 'role="img" width="460" height="220" fill="currentColor" font-size="12"'
# Okabe and Ito's blue and vermilion, which can be distinguished with every kind of colour vision.
_STYLES = ('stroke="#0072B2"', 'stroke="#D55E00" stroke-dasharray="6 3"')
_MOST_POINTS, _MOST_CURVES = 200, 20


def escaped(value: object) -> str:
    """Return a value as HTML text, escaped, printable, and at most 200 characters before escaping."""
    return html.escape(bounded(printable(value), 200))


def table(
    title: str, rows: Iterable[Iterable[object]], *, heads: Iterable[str] = (), notes: Iterable[str] = ()
) -> str:
    """Return a table, with optional headings above its columns and notes below it."""
    lines = ["".join(f"<th>{escaped(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines if line)
    below = "".join(f"<div><small>{escaped(note)}</small></div>" for note in notes)
    return f"<div><strong>{escaped(title)}</strong><table>{body}</table>{below}</div>"


def bar(done: float, text: str) -> str:
    """Return a progress bar for the share that is done, with a text beside it."""
    drawn = f'<progress max="1" value="{done:.4f}" style="width: 16em"></progress>'
    return f"<label>{drawn} {done:.0%}, {escaped(text)}</label>"


def curves(title: str, kinds: Mapping[str, npt.NDArray[np.float64]]) -> str:
    """Return a plot of one or two kinds of values over the epochs, each (epochs,) or (K, epochs).

    It shows the first 20 networks at 200 or fewer epochs each, and omits values that are not finite. The
    result is empty if no value is finite.
    """
    figures = {name: np.atleast_2d(rows)[:_MOST_CURVES] for name, rows in kinds.items()}
    finite = np.concatenate([rows[np.isfinite(rows)] for rows in figures.values()])
    if not finite.size:
        return ""
    low, high = float(finite.min()), float(finite.max())
    n_epochs = max(rows.shape[1] for rows in figures.values())
    shown = np.unique(np.linspace(0, n_epochs - 1, _MOST_POINTS).astype(np.int64))
    x = _LEFT + shown / max(1, n_epochs - 1) * (_RIGHT - _LEFT)
    parts = [
        _path(f"{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}", 'stroke="currentColor" stroke-opacity="0.5"'),
        _text(_LEFT - 6, _TOP + 10, f"{high:.3g}", "end"),
        _text(_LEFT - 6, _BOTTOM, f"{low:.3g}", "end"),
        _text(_RIGHT, 212, f"epochs 1 to {n_epochs:,}", "end"),
    ]
    for begin, style, (name, rows) in zip((_LEFT, _LEFT + 200), _STYLES, figures.items(), strict=False):
        parts += [_path(f"{begin} 14h24", style), _text(begin + 30, 18, name, "start")]
        for row in rows[:, shown]:
            y = _BOTTOM - (row - low) / ((high - low) or 1.0) * (_BOTTOM - _TOP)
            points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b)]
            # A dot ends each curve, because the line of a single epoch would be invisible.
            parts += [_path(f"{'L'.join(points)}m-2 0h4", style)] if points else []
    content = f"{', '.join(figures)}: {n_epochs:,} epochs, from {low:.3g} to {high:.3g}"
    parts.insert(0, f"<title>{escaped(title)}</title><desc>{escaped(content)}</desc>")
    return f"<svg {_PICTURE}>{''.join(parts)}</svg>"


def _path(points: str, style: str) -> str:
    return f'<path d="M{points}" fill="none" stroke-width="2" stroke-linecap="round" {style}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escaped(text)}</text>'
