"""Users' texts in pictures: drawn as they are written, and cut if there is no room for them."""

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

Size = float | str  # of a font: points, or relative to the user's font
Style = dict[str, Any]  # keyword arguments of matplotlib

LONGEST = 200.0  # points: the most that a name along an axis may take
LINE = 1.25  # the height of a line, as a multiple of the font's size
SMALL = "small"  # relative to the user's font
# Otherwise matplotlib would read dollars, underscores and backslashes as formulas.
AS_WRITTEN: Style = {"parse_math": False, "usetex": False}

_ELLIPSIS = "…"
_SLANTED: Style = {"ha": "right", "rotation": 45, "rotation_mode": "anchor"}
_MOST_LETTERS = 1000  # of a line: no picture has room for more, so longer lines are not measured
_NO_GLYPH = r"Glyph (\d+) .*missing from font"  # matplotlib's warning


def printable(text: object) -> str:
    """Return a text, line by line, with escapes for characters that break a picture or reorder a line."""
    return "\n".join(map(_texts.printable, str(text).replace("\t", " ").splitlines()))


def points_of(size: Size) -> float:
    """Return the size of a font in points."""
    return float(load_matplotlib().font_manager.FontProperties(size=size).get_size_in_points())


def tick_points() -> float:
    """Return the size of the texts along axes in the current style."""
    return points_of(load_matplotlib().rcParams["xtick.labelsize"])


def width_of(text: str, size: Size = SMALL, *, weight: str = "normal") -> float:
    """Return the width of a text's widest line, in points, in the user's font of this size."""
    matplotlib = load_matplotlib()
    font = matplotlib.font_manager.FontProperties(size=size, weight=weight)
    measure = matplotlib.textpath.text_to_path.get_text_width_height_descent
    with missing_characters():
        width: float = max(measure(line, font, ismath=False)[0] for line in text.split("\n"))
    return width


def shortened(
    text: object, room: float, size: Size = SMALL, *, weight: str = "normal", most_lines: int = 3
) -> str:
    """Return a printable text, with an ellipsis in the middle of lines that are wider than ``room`` points.

    The middle is cut because names often differ only at their end. Lines beyond ``most_lines`` become an
    ellipsis.
    """
    lines = printable(text).split("\n")
    if len(lines) > most_lines:
        lines[most_lines - 1 :] = [f"{lines[most_lines - 1]} {_ELLIPSIS}"]
    return "\n".join(_shortened_line(line, room, size, weight) for line in lines)


def _shortened_line(line: str, room: float, size: Size, weight: str) -> str:
    if len(line) <= _MOST_LETTERS and width_of(line, size, weight=weight) <= room:
        return line

    def cut(n_kept: int) -> str:
        n_last = n_kept // 3
        return f"{line[: n_kept - n_last]}{_ELLIPSIS}{line[len(line) - n_last :]}"

    # The width grows with the number of letters kept, so the largest number that fits is found by bisection.
    numbers = range(1, min(len(line), _MOST_LETTERS))
    n_fit = bisect.bisect(numbers, room, key=lambda n_kept: width_of(cut(n_kept), size, weight=weight))
    return cut(max(n_fit, 1))


def wrapped(parts: Iterable[str], room: float, size: Size = SMALL, *, weight: str = "normal") -> str:
    """Join the parts of a text into lines of at most ``room`` points; a wider part gets an ellipsis."""
    lines: list[str] = []
    for part in parts:
        short = shortened(part, room, size, weight=weight)
        longer = f"{lines[-1]} {short}" if lines else short
        if lines and width_of(longer, size, weight=weight) <= room:
            lines[-1] = longer
        else:
            lines.append(short)
    return "\n".join(lines)


def set_axis_label(axis: Any, text: object, room: float) -> None:
    """Set the label of a matplotlib axis to a user's text, no longer than ``room`` points."""
    label = axis.label
    text = shortened(text, room, label.get_size(), weight=label.get_weight())
    label.set(text=text, **AS_WRITTEN)


def names_of(values: Iterable[object], room: float = LONGEST) -> list[str]:
    """Return names for the ticks of an axis, no wider than ``room`` points and `LONGEST`."""
    return [shortened(value, min(room, LONGEST), tick_points(), most_lines=2) for value in values]


def beside(names: Sequence[str]) -> float:
    """Return the width, in points, of names beside a vertical axis."""
    return width_of("\n".join(names), tick_points())


def below(names: Sequence[str], cell: float) -> tuple[float, Style]:
    """Return the height, in points, and the style of names below cells of this width.

    Names that are wider than a cell are slanted by 45 degrees.
    """
    width = beside(names)
    height = LINE * tick_points() * max((name.count("\n") + 1 for name in names), default=1)
    if width <= 0.95 * cell:
        return height, AS_WRITTEN
    return math.sqrt(0.5) * (width + height), AS_WRITTEN | _SLANTED


def write_names(ax: Axes, across: Sequence[str], up: Sequence[str], cell: float) -> float:
    """Write names below the columns and beside the rows of cells of this width, in points.

    Return the height of those below. Minor ticks are set between the cells, where a grid can be drawn.
    """
    height, style = below(across, cell)
    for axis, names, own in ((ax.xaxis, across, style), (ax.yaxis, up, AS_WRITTEN)):
        axis.set_ticks(range(len(names)), names, **own)
        axis.set_ticks([i + 0.5 for i in range(len(names) - 1)], minor=True)
    return height


@contextmanager
def missing_characters() -> Iterator[list[str]]:
    """Yield a list, which after the block contains the characters that the fonts lack.

    matplotlib's own warnings about such characters are suppressed within the block; others are repeated.
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
