"""Files in the folder of a run, and the pictures that are drawn from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _files, report, storage
from .._files import written_whole
from ..plotting import _house
from ..plotting._matplotlib import load_matplotlib, load_without_backend
from ..plotting._texts import missing_characters
from ..plotting.confusion import MOST_DRAWN, too_many
from ..training import History
from .stored import read_history, read_object, read_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORK = storage.FILE_NAME
BEFORE = "network-before.safetensors"  # of a run that diverged when it was gone on with
CHECKPOINT = "checkpoint.safetensors"
SETTINGS = "settings.toml"
RESULTS = "results.json"
HISTORY = "history.json"
PREDICTIONS = "predictions.npz"
PAGE = "report.html"
_MOST_CHARACTERS = 10  # that are named, of those that a font lacks
FORMATS = ("png", "svg", "pdf")

_TABLES = ("history.csv", "steps.csv", "results.csv", "runs.csv")
_PICTURES = ("curves", "grid", "weights", "confusion")
_DRAWN = tuple(f"{name}.{suffix}" for name in _PICTURES for suffix in FORMATS)
_OWN = (
    *(NETWORK, BEFORE, CHECKPOINT, SETTINGS, RESULTS, HISTORY, PREDICTIONS, PAGE, *_TABLES),
    *_DRAWN,
)
# Files that `export` leaves there: of no use beside another network.
_EXPORTED = ("network.onnx", "network.onnx.data")


class NotDrawnWarning(UserWarning):
    """A picture that a run could have is not drawn."""


@contextmanager
def fresh_folder(out: str | None, stem: str, *, overwrite: bool) -> Iterator[Path]:
    """Make the folder for a run; if the run then fails before it has results, take it away again.

    Parameters
    ----------
    out : str, optional
        The folder that the user wants; without it, runs/``stem``-001 or the first number that is free.
    stem : str
    overwrite : bool
        Remove the files of a run that ``out`` holds; nothing else in it is touched.

    Raises
    ------
    ValueError
        If there is something in ``out`` already.
    OSError
        If it cannot be made.
    """
    path = None if out is None else Path(out)
    made = path is None or not path.exists()
    if path is not None and path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise ValueError(
                f"`--out` must be a new or an empty folder; {path} holds files "
                "(--overwrite replaces the run that is in it)"
            )
        for name in (*_OWN, *_EXPORTED):
            (path / name).unlink(missing_ok=True)
        remove_partial(path)
    try:
        if path is None:
            path = _first_free(stem)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno, f"the output folder cannot be made ({error.strerror})", str(out or "runs")
        ) from error
    try:
        yield path
    except BaseException:
        if made and {file.name for file in path.iterdir()} <= {SETTINGS}:
            (path / SETTINGS).unlink(missing_ok=True)
            path.rmdir()
        raise


def _first_free(stem: str) -> Path:
    """Make the folder runs/``stem``-001, or that of the first number that is free."""
    number = 1
    while True:
        path = Path("runs") / f"{stem}-{number:03d}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def clear_outcome(folder: Path, *, keeps_network: bool) -> bool:
    """Remove what shows how a run stood before it was gone on with; say whether a network was set aside.

    That is its network, if the run now has none.
    """
    for name in (PAGE, *_DRAWN, *_EXPORTED):
        (folder / name).unlink(missing_ok=True)
    set_aside = not keeps_network and (folder / NETWORK).is_file()
    if set_aside:
        (folder / NETWORK).replace(folder / BEFORE)
    return set_aside


def remove_partial(folder: Path) -> None:
    """Remove what a process left of the files that it was writing when it was killed."""
    for name in _OWN:
        _files.remove_partial(folder / name)


def written_in(folder: Path) -> list[str]:
    """Return the names of the files of a run that a folder holds, the network first."""
    return [name for name in _OWN if (folder / name).is_file()]


def answer_of(folder: Path) -> dict[str, Any]:
    """Return what a run gave, as data: its results, its folder and the files in that."""
    return {**read_object(folder / RESULTS), "folder": folder, "files": written_in(folder)}


def write_history(folder: Path, history: History) -> None:
    """Write a run's history: whole as JSON, its epochs and its steps as CSV."""
    report.write_json(folder / HISTORY, history._asdict())
    report.write_csv(folder / "history.csv", report.history_rows(history))
    report.write_csv(folder / "steps.csv", report.step_rows(history))


def draw_and_warn(folder: Path, warn: Callable[[str], None], *, suffix: str = "png") -> list[Path]:
    """Draw as `draw` does; warn of pictures not drawn, and once of characters that their font lacks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NotDrawnWarning)
        with missing_characters() as missing:
            paths = draw(folder, suffix=suffix)
    for one in caught:
        if issubclass(one.category, NotDrawnWarning):
            warn(str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if missing:
        shown = " ".join(missing[:_MOST_CHARACTERS])
        more = f" and {len(missing) - _MOST_CHARACTERS:,} more" if len(missing) > _MOST_CHARACTERS else ""
        family = ", ".join(load_matplotlib().rcParams["font.family"])
        warn(
            f"the pictures have boxes for characters that their font, {family}, lacks: {shown}{more}; name "
            "a font that has them as `font.family` in matplotlib's rcParams (in a file named matplotlibrc); "
            "then `twolayer plot` draws them again"
        )
    return paths


def draw(folder: Path, *, suffix: str = "png") -> list[Path]:
    """Draw the pictures of a run from its files, and return which there are.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError
        If a file in it is not what `twolayer train` and `sweep` write.
    ImportError
        If matplotlib cannot be imported.
    """
    results = read_results(folder / RESULTS)
    load_without_backend()
    pictures: dict[str, Figure] = {}
    if (folder / HISTORY).is_file():
        history = read_history(folder / HISTORY)
        if history.loss.size:
            pictures["curves"] = _house.curves(history, title=results.heading)
    if len(results.table) > 1:
        pictures["grid"] = _house.grid(results.table, title=results.table_heading)
    if (folder / NETWORK).is_file():
        image_shape = storage.load_metadata(folder / NETWORK).image_shape
        if image_shape is not None:
            pictures["weights"] = _house.weights(
                storage.load(folder / NETWORK), image_shape, title="First-layer weights"
            )
    test = results.test
    if test is not None and results.classes:
        n_classes = len(results.classes)
        if n_classes > MOST_DRAWN:
            message = f"there is no picture of the confusion matrix: {too_many(n_classes)}"
            warnings.warn(message, NotDrawnWarning, stacklevel=2)
        else:
            title = f"{report.format_accuracy(test.accuracy)} of {test.n_samples:,} test samples right"
            counts = test.confusion.matrix()
            pictures["confusion"] = _house.confusion(counts, results.classes, title=title)
    paths = []
    for name, figure in pictures.items():
        paths.append(folder / f"{name}.{suffix}")
        with written_whole(paths[-1]) as partial:
            figure.savefig(partial, format=suffix)
    return paths
