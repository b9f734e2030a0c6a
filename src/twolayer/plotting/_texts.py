"""Users' texts in pictures: drawn as they are written, and cut where there is no room for them."""

from __future__ import annotations

import bisect
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import _texts
from ._matplotlib import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = dict[str, Any]  # keyword arguments of matplotlib

LONGEST = 200.0  # points, of a name along an axis
LINE = 1.25  # the height of a line, of the font's size
SMALL = "small"  # relative to the user's font
# Dollars, underscores and backslashes in a text are no formulas.
AS_WRITTEN: Style = {"parse_math": False, "usetex": False}

_ELLIPSIS = "…"
_SLANTED: Style = {"ha": "right", "rotation": 45, "rotation_mode": "anchor"}
_MOST_LETTERS = 1000  # of a line; no picture has room for more
_NO_GLYPH = r"Glyph (\d+) .*missing from font"  # of matplotlib's warning


def printable(text: object) -> str:
    """Return a text in its lines, with escapes for characters that break a picture or reorder a line."""
    return "\n".join(map(_texts.printable, str(text).replace("\t", " ").splitlines()))


def small_points() -> float:
    """Return the size of small texts in the current style."""
    return _points(SMALL)


def tick_points() -> float:
    """Return the size of the texts along axes in the current style."""
    return _points(load_matplotlib().rcParams["xtick.labelsize"])


def _points(size: str | float) -> float:
    return float(load_matplotlib().font_manager.FontProperties(size=size).get_size_in_points())


def width_of(text: str, points: float, *, weight: str = "normal") -> float:
    """Return the width of a text's longest line, in points, in the user's font of this size in points."""
    matplotlib = load_matplotlib()
    font = matplotlib.font_manager.FontProperties(size=points, weight=weight)
    measure = matplotlib.textpath.text_to_path.get_text_width_height_descent
    with without_warnings_of_glyphs():
        return max((measure(line, font, ismath=False)[0] for line in text.split("\n")), default=0.0)


def widest(texts: Sequence[str], points: float) -> float:
    """Return the width of the widest of some texts, in points."""
    return max((width_of(text, points) for text in texts), default=0.0)


def shortened(
    text: object, room: float, points: float, *, weight: str = "normal", most_lines: int = 3
) -> str:
    """Return a printable text, with an ellipsis in the middle of lines that are wider than ``room`` points.

    The middle is cut because names often differ only at their end. Lines beyond ``most_lines`` become an
    ellipsis.
    """
    lines = printable(text).split("\n")
    if len(lines) > most_lines:
        lines[most_lines - 1 :] = [f"{lines[most_lines - 1]} {_ELLIPSIS}"]
    return "\n".join(_shortened_line(line, room, points, weight) for line in lines)


def _shortened_line(line: str, room: float, points: float, weight: str) -> str:
    if len(line) <= _MOST_LETTERS and width_of(line, points, weight=weight) <= room:
        return line

    def cut(n_kept: int) -> str:
        n_last = n_kept // 3
        return f"{line[: n_kept - n_last]}{_ELLIPSIS}{line[len(line) - n_last :]}"

    numbers = range(1, min(len(line), _MOST_LETTERS))
    n_fit = bisect.bisect(numbers, room, key=lambda n_kept: width_of(cut(n_kept), points, weight=weight))
    return cut(max(n_fit, 1))


def wrapped(parts: Iterable[str], room: float, points: float, *, weight: str = "normal") -> str:
    """Join the parts of a text into lines of ``room`` points at most; a longer part gets an ellipsis."""
    lines: list[str] = []
    for part in parts:
        short = shortened(part, room, points, weight=weight)
        longer = f"{lines[-1]} {short}" if lines else short
        if lines and width_of(longer, points, weight=weight) <= room:
            lines[-1] = longer
        else:
            lines.append(short)
    return "\n".join(lines)


def set_axis_label(axis: Any, text: object, room: float) -> None:
    """Set the label of an axis of matplotlib's to a text of the user's, no longer than ``room`` points."""
    label = axis.label
    text = shortened(text, room, label.get_size(), weight=label.get_weight())
    label.set(text=text, **AS_WRITTEN)


def names_of(values: Iterable[object], points: float, room: float = LONGEST) -> list[str]:
    """Return names to stand along an axis, no longer than ``room`` points."""
    return [shortened(value, min(room, LONGEST), points, most_lines=2) for value in values]


def are_slanted(names: Sequence[str], points: float, cell: float) -> bool:
    """Return whether names below cells of this width, in points, are wider than the cells."""
    return widest(names, points) > 0.95 * cell


def room_below(names: Sequence[str], points: float, cell: float) -> float:
    """Return the height that names below cells of this width take, all in points."""
    height = LINE * points * max((name.count("\n") + 1 for name in names), default=1)
    if not are_slanted(names, points, cell):
        return height
    return math.sqrt(0.5) * (widest(names, points) + height)


def style_below(names: Sequence[str], points: float, cell: float) -> Style:
    """Return the style of names below cells of this width: slanted where they are wider."""
    return AS_WRITTEN | _SLANTED if are_slanted(names, points, cell) else AS_WRITTEN


def write_names(ax: Axes, across: Sequence[str], up: Sequence[str], *, points: float, cell: float) -> None:
    """Write names below the columns and beside the rows of cells of this width, with minor ticks between."""
    ax.set_xticks(range(len(across)), across, **style_below(across, points, cell))
    ax.set_yticks(range(len(up)), up, **AS_WRITTEN)
    ax.set_xticks([i + 0.5 for i in range(len(across) - 1)], minor=True)
    ax.set_yticks([i + 0.5 for i in range(len(up) - 1)], minor=True)


@contextmanager
def missing_characters() -> Iterator[list[str]]:
    """Yield a list; after the block it holds each character once that the fonts of the drawings lack.

    matplotlib itself warns whenever it draws such a character.
    """
    missing: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_NO_GLYPH, category=UserWarning)
        yield missing
    for warning in caught:
        found = re.match(_NO_GLYPH, str(warning.message))
        if found is None:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif chr(int(found[1])) not in missing:
            missing.append(chr(int(found[1])))


@contextmanager
def without_warnings_of_glyphs() -> Iterator[None]:
    """Keep matplotlib from warning of each character that its fonts lack."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NO_GLYPH, category=UserWarning)
        yield
