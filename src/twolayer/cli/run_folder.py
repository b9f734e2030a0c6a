"""The folder of a run: the files in it, and their replacement by those of another run."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from .. import storage
from .._files import remove_partial
from ..report.files import write_csv, write_json
from ..report.tables import history_rows, step_rows
from ..sweeping.stored import PLAN
from ..training import History
from .locks import locked_file
from .read_run import read_object, read_toml

NETWORK = storage.FILE_NAME
BEFORE = "network-before.safetensors"  # of a run that diverged when it was resumed
CHECKPOINT = "checkpoint.safetensors"
PARTS = "parts"  # the folder of a sweep's plan and checkpoints
SETTINGS = "settings.toml"
RESULTS = "results.json"
HISTORY = "history.json"
PREDICTIONS = "predictions.npz"
PAGE = "report.html"
LOCK = ".twolayer.lock"  # in the folder of a run while a process writes there
_PART = f"{'[0-9a-f]' * 16}.safetensors"  # names of the checkpoints in it; other files there are the user's
# Folders within the folder of a run, which hold the new run that will replace it:
_NEW = ".new-run"  # until the new run is complete
_WHOLE = ".whole-run"  # then, while the files of the old run are removed
_MOVING = ".moving-run"  # then, while the new files take their place
FORMATS = ("png", "svg", "pdf")

# The files of a run except its figures, with their contents in words, for the page.
FILES = {
    NETWORK: "the network, which takes raw samples",
    BEFORE: "the network before the run was resumed, which left none",
    CHECKPOINT: "the state from which --resume continues",
    SETTINGS: "all settings; they repeat the run",
    RESULTS: "accuracies, versions, the confusion matrix",
    HISTORY: "the history of the training, in full",
    PREDICTIONS: "probabilities of the test samples",
    PAGE: "the HTML page",
    "history.csv": "the history of the training, by epoch",
    "steps.csv": "the history of the training, by step",
    "results.csv": "accuracies, as a table",
    "runs.csv": "a row for each network that was trained",
}
_DRAWN = tuple(
    f"{name}.{suffix}" for name in ("curves", "grid", "folds", "weights", "confusion") for suffix in FORMATS
)
_OWN = (*FILES, *_DRAWN)
# Files that `export` writes there. They are useless beside another network.
_EXPORTED = ("network.onnx", "network.onnx.data")
_REPLACED = (*_OWN, *_EXPORTED)
_LOCK_TIMEOUT = 20.0  # seconds that a command which writes one file waits for another process


@contextmanager
def fresh_folder(out: str | None, stem: str, *, overwrite: bool, dataset: str) -> Iterator[Path]:
    """Create and lock the folder of a run; remove it again if the run fails with nothing but settings in it.

    Parameters
    ----------
    out : str, optional
        The folder that the user wants. By default, it is runs/``stem``-001, or the first free number.
    stem : str
    overwrite : bool
        Replace the run in ``out``, but no other files there. The new run is written to a folder within
        ``out``, until `take_place` moves it to the place of the old one.
    dataset : str
        The name of the data set, or the path of its file, which is never removed.

    Raises
    ------
    ValueError
        If ``out`` holds files that must not be replaced, or another process writes in it.
    OSError
        If the folder cannot be created.
    """
    made = out is None or not _checked(Path(out), "--out").exists()
    try:
        path = _first_free(stem) if out is None else Path(out)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"the output folder cannot be created ({error.strerror})"
        raise type(error)(error.errno, why, str(out or "runs")) from error
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
        # A run with results or a checkpoint stays, so that it can be shown or resumed.
        if made and folder.is_dir() and begun_by(folder) is None:
            shutil.rmtree(folder / PARTS, ignore_errors=True)
            if {file.name for file in folder.iterdir()} <= {SETTINGS}:
                (folder / SETTINGS).unlink(missing_ok=True)
                folder.rmdir()
        raise


def _checked(path: Path, option: str) -> Path:
    """Return a path; raise if it is one of this module's folders within the folder of a run."""
    if path.name in (_NEW, _WHOLE, _MOVING):
        raise ValueError(f"`{option}` must be the folder of a run; {path} is within one: give {path.parent}")
    return path


def _check_replaced(path: Path, dataset: str, *, overwrite: bool) -> None:
    """Raise unless a folder holds a run that the user wants replaced, and whose files can be removed."""
    held = "a run (--overwrite replaces it)" if is_run(path) else "files but no run"
    if not overwrite or not is_run(path):
        raise ValueError(f"`--out` must be a new or an empty folder; {path} holds {held}")
    data = Path(dataset)
    for name in _REPLACED:
        if (path / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path / name))
        if (path / name).exists() and data.exists() and data.samefile(path / name):
            raise ValueError(
                f"`--overwrite` must not remove the data; {data} has the name of a file of a run"
            )


@contextmanager
def reopened_folder(path: Path, command: str) -> Iterator[Path]:
    """Lock the folder of a run to resume; yield the folder that holds its files.

    If the run was stopped or killed before it replaced another run, they are in a folder within ``path``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If another process writes in it.
    """
    if not _checked(path, "--resume").is_dir():
        why = "is a file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"`--resume` must be the folder of a run; {path} {why}")
    with locked(path):
        settle(path)
        new = path / _NEW
        yield new if _is_folder(new) and begun_by(new) == command else path


def begun_by(folder: Path) -> str | None:
    """Return the command of the run in a folder, train or sweep, if it has a checkpoint; otherwise None."""
    if (folder / CHECKPOINT).is_file():
        return "train"
    return "sweep" if any((folder / PARTS).glob(_PART)) else None


def take_place(folder: Path) -> Path:
    """Move a complete new run to the place of the run that it replaces; return the folder of the run."""
    path = named(folder)
    if path != folder:
        folder.replace(path / _WHOLE)
        settle(path)
    return path


def named(folder: Path) -> Path:
    """Return the folder of a run as the user named it, even if its files are still in a folder within it."""
    return folder.parent if folder.name == _NEW else folder


def settle(path: Path) -> None:
    """Move any complete new run to the place of the old one; finish a move that a killed process began."""
    whole, moving = path / _WHOLE, path / _MOVING
    # First remove the old files, and only then move the new ones: the name of the folder shows which is done.
    if _is_folder(whole):
        for name in _REPLACED:
            if (whole / name).is_file() and (path / name).is_file():  # it keeps its permissions
                shutil.copymode(path / name, whole / name)
            (path / name).unlink(missing_ok=True)
        for file in _files_of_parts(path):
            file.unlink()
        with suppress(OSError):  # it does not exist, or has files of the user
            (path / PARTS).rmdir()
        whole.replace(moving)
    if _is_folder(moving):
        for name in written_in(moving):
            (moving / name).replace(path / name)
        for file in _files_of_parts(moving):
            (path / PARTS).mkdir(exist_ok=True)
            file.replace(path / PARTS / file.name)
        shutil.rmtree(moving)


def _files_of_parts(folder: Path) -> list[Path]:
    """Return the plan of a sweep and the checkpoints of its parts."""
    return [*(folder / PARTS).glob(_PART), *(folder / PARTS).glob(PLAN)]


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, and not a link to one elsewhere."""
    return path.is_dir() and not path.is_symlink()


@contextmanager
def locked(folder: Path, *, timeout: float = 0.0) -> Iterator[None]:
    """Lock the folder of a run for writing; the system releases the lock when the process ends.

    Raises
    ------
    ValueError
        If another process still writes in it after ``timeout`` seconds.
    """
    with locked_file(folder / LOCK, timeout):
        for name in _OWN:
            remove_partial(folder / name)  # left by processes that were killed
        yield


def locked_if_run(folder: Path) -> AbstractContextManager[None]:
    """Lock a folder if it is that of a run; for a command that writes one file there."""
    return locked(folder, timeout=_LOCK_TIMEOUT) if is_run(folder) else nullcontext()


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
    """Create the folder runs/``stem``-001, or that with the first free number, and return it."""
    for number in itertools.count(1):
        path = Path("runs") / f"{stem}-{number:03d}"
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


def clear_outcome(folder: Path, *, keeps_network: bool) -> bool:
    """Remove the page, the pictures and the exports of a run, which show its state before it was resumed.

    If the run now keeps no network, rename the network from before. Return whether there was one.
    """
    for name in (PAGE, *_DRAWN, *_EXPORTED):
        (folder / name).unlink(missing_ok=True)
    set_aside = not keeps_network and (folder / NETWORK).is_file()
    if set_aside:
        (folder / NETWORK).replace(folder / BEFORE)
    return set_aside


def written_in(folder: Path) -> list[str]:
    """Return the names of the files of a run that are in a folder, the network first."""
    return [name for name in _OWN if (folder / name).is_file()]


def write_history(folder: Path, history: History) -> None:
    """Write the history of a run: in full as JSON, its epochs and its steps as CSV."""
    write_json(folder / HISTORY, history._asdict())
    write_csv(folder / "history.csv", history_rows(history))
    write_csv(folder / "steps.csv", step_rows(history))
