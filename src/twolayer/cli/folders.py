"""Files in the folder of a run, and the pictures that are drawn from them."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import _files, report, storage
from .._files import written_whole
from ..plotting import run_figures
from ..plotting._matplotlib import load_matplotlib, load_without_backend
from ..plotting._texts import missing_characters
from ..plotting.confusion import MOST_DRAWN, too_many
from ..training import History
from .stored import read_history, read_object, read_results, read_toml

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

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
LOCK = ".twolayer.lock"  # in the folder of a run while a process writes there
# Within the folder of a run, the one that will replace it:
_NEW = ".new-run"  # before its end
_WHOLE = ".whole-run"  # at its end, while the files of the old run are removed
_MOVING = ".moving-run"  # while its files take their place
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
_LONGEST_HOLDER = 100
_PATIENCE_SECONDS = 20.0  # of commands that take no longer, for each other
_PAUSE_SECONDS = 0.05


class NotDrawnWarning(UserWarning):
    """A picture that a run could have is not drawn."""


@contextmanager
def fresh_folder(out: str | None, stem: str, *, overwrite: bool, dataset: str) -> Iterator[Path]:
    """Make and lock the folder for a run; remove it if the run fails before it has more than settings.

    Parameters
    ----------
    out : str, optional
        The folder that the user wants; without it, runs/``stem``-001 or the first number that is free.
    stem : str
    overwrite : bool
        Replace the run that ``out`` holds, and no other files there. The new run is written to a folder
        within ``out``, until `take_place` moves it to the place of the old one.
    dataset : str
        The name of the data set, or the path of its file, which is never removed.

    Raises
    ------
    ValueError
        If ``out`` holds files that must not be replaced, or another process writes in it.
    OSError
        If it cannot be made.
    """
    path = None if out is None else _checked(Path(out), "--out")
    made = path is None or not path.exists()
    try:
        if path is None:
            path = _first_free(stem)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno, f"the output folder cannot be made ({error.strerror})", str(out or "runs")
        ) from error
    folder = path
    try:
        with locked(path):
            settle(path)
            if any(file.name != LOCK for file in path.iterdir()):
                _check_replaced(path, dataset, overwrite=overwrite)
                made, folder = True, path / _NEW
                if folder.is_dir():
                    shutil.rmtree(folder)
                folder.mkdir()
            yield folder
    except BaseException:
        if made and folder.is_dir() and {file.name for file in folder.iterdir()} <= {SETTINGS}:
            (folder / SETTINGS).unlink(missing_ok=True)
            folder.rmdir()
        raise


def _checked(path: Path, option: str) -> Path:
    """Return a path, or raise if it is that of a folder within the folder of a run."""
    if path.name in (_NEW, _WHOLE, _MOVING):
        raise ValueError(f"`{option}` must be the folder of a run; {path} is within one: give {path.parent}")
    return path


def _check_replaced(path: Path, dataset: str, *, overwrite: bool) -> None:
    """Raise unless a folder holds a run that the user wants replaced, and whose files can be removed."""
    if not is_run(path):
        raise ValueError(f"`--out` must be a new or an empty folder; {path} holds files, and no run")
    if not overwrite:
        raise ValueError(
            f"`--out` must be a new or an empty folder; {path} holds a run (--overwrite replaces it)"
        )
    data = Path(dataset)
    for name in (*_OWN, *_EXPORTED):
        if (path / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path / name))
        if (path / name).exists() and data.exists() and data.samefile(path / name):
            raise ValueError(
                f"`--overwrite` must not remove the data; got {data}, which has the name of a file of a run"
            )


@contextmanager
def reopened_folder(path: Path) -> Iterator[Path]:
    """Lock the folder of a training that is to be resumed; yield the folder that holds its files.

    If the training was stopped or killed before it replaced another run, that is a folder within ``path``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If another process writes in it.
    """
    if not _checked(path, "--resume").is_dir():
        raise FileNotFoundError(f"`--resume` must be the folder of a run; {path} does not exist")
    with locked(path):
        settle(path)
        new = path / _NEW
        yield new if _is_folder(new) and (new / CHECKPOINT).is_file() else path


def take_place(folder: Path) -> Path:
    """Move a new run that is whole to the place of the one that it replaces; return where the run is."""
    path = named(folder)
    if path != folder:
        folder.replace(path / _WHOLE)
        settle(path)
    return path


def named(folder: Path) -> Path:
    """Return the folder by which its user knows a run: the one around it, if it will replace another."""
    return folder.parent if folder.name == _NEW else folder


def settle(path: Path) -> None:
    """Finish the move of a new run to the place of an old one, wherever a killed process left it."""
    whole, moving = path / _WHOLE, path / _MOVING
    if _is_folder(whole):
        for name in (*_OWN, *_EXPORTED):
            if (whole / name).is_file() and (path / name).is_file():
                shutil.copymode(path / name, whole / name)
            (path / name).unlink(missing_ok=True)
        whole.replace(moving)
    if _is_folder(moving):
        for name in written_in(moving):
            (moving / name).replace(path / name)
        shutil.rmtree(moving)


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, and not a link to one elsewhere."""
    return path.is_dir() and not path.is_symlink()


@contextmanager
def locked(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Let no other process write in the folder of a run; the system releases the lock if the process ends.

    Raises
    ------
    ValueError
        If another process still writes in it after so many seconds.
    """
    path = folder / LOCK
    with _locked_file(path, time.monotonic() + patience) as file:
        with suppress(OSError):  # it is for the messages of other processes alone
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        for name in _OWN:
            _files.remove_partial(folder / name)  # left by processes that were killed
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open
                path.unlink()


def _locked_file(path: Path, until: float) -> BinaryIO:
    """Open and lock a file; wait for the process that has locked it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        # A lock without a name was removed by the process that held it; one with two names is not ours.
        if _lock(file) and os.fstat(file.fileno()).st_nlink == 1:
            if sys.platform != "win32":
                with suppress(OSError):  # another user may need it, if this process is killed
                    os.fchmod(file.fileno(), 0o666)
            return file
        with file:
            if time.monotonic() >= until:
                file.seek(0)
                holder = file.read(_LONGEST_HOLDER).decode("utf-8", "backslashreplace")
                raise ValueError(
                    f"{path.parent} must not be in use; {holder or 'another process'} is writing in it"
                )
        time.sleep(_PAUSE_SECONDS)


def _lock(file: BinaryIO) -> bool:
    """Lock a file, if its file system has locks; return False if another process has locked it."""
    try:
        if sys.platform == "win32":
            file.seek(_LONGEST_HOLDER)  # past the text, as no other process can read bytes that are locked
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def locked_if_run(folder: Path) -> AbstractContextManager[None]:
    """Lock a folder if it is that of a run; for a command that writes one file there."""
    return locked(folder, patience=_PATIENCE_SECONDS) if is_run(folder) else nullcontext()


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run: settings or results with a version of twolayer."""
    with suppress(OSError, ValueError):
        if "twolayer_version" in read_toml(folder / SETTINGS):
            return True
    with suppress(OSError, ValueError):
        versions = read_object(folder / RESULTS).get("versions")
        return isinstance(versions, dict) and "twolayer" in versions
    return False


def is_own(path: Path) -> bool:
    """Return whether a path leads to a file of a run, other than its page, which `report` may replace."""
    path = Path(os.path.realpath(path))
    return path.name in _OWN and path.name != PAGE and is_run(path.parent)


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
            pictures["curves"] = run_figures.curves(history, title=results.heading)
    if len(results.table) > 1:
        pictures["grid"] = run_figures.grid(results.table, title=results.table_heading)
    if (folder / NETWORK).is_file():
        image_shape = storage.load_metadata(folder / NETWORK).image_shape
        if image_shape is not None:
            pictures["weights"] = run_figures.weights(
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
            pictures["confusion"] = run_figures.confusion(counts, results.classes, title=title)
    paths = []
    for name, figure in pictures.items():
        paths.append(folder / f"{name}.{suffix}")
        with written_whole(paths[-1]) as file:
            figure.savefig(file, format=suffix)
    return paths
