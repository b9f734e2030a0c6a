"""Fuzzed files: every reader accepts a file or refuses it with a clear error.

The files are random bytes, damaged files, or well-formed files with false content. Most tests use 40
examples; ``nox -s fuzz`` uses 2,000, or the number in TWOLAYER_FUZZ.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
import io
import json
import os
import re
import shutil
import struct
import tarfile
import time
import tomllib
import warnings
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import html5lib
import matplotlib.figure
import numpy as np
import PIL.Image
import pytest
import tomli_w
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from support.command_line import EVIL, assert_harmless
from support.small_runs import make_task
from support.strategies import any_texts, is_printable

from twolayer import Run, TwoLayerNet, load, save, train
from twolayer.checkpoints import load_run, save_run
from twolayer.cli import commands, images, inputs, read_run, run_folder
from twolayer.cli.commands import app
from twolayer.cli.page import pictures
from twolayer.cli.read_run import read_history, read_predictions, read_results
from twolayer.datasets import cifar10, load_cifar10, load_npz
from twolayer.preprocessing import Standardizer
from twolayer.report.metrics import Confusion
from twolayer.storage import load_metadata
from twolayer.training.optimizers import Adam

EXAMPLES = int(os.environ.get("TWOLAYER_FUZZ", "40"))
many_examples = settings(max_examples=EXAMPLES)

NUMBERS = st.sampled_from([0, -1, 1, 2, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
# Malformed JSON, and JSON that is hard to read: deep nesting, long numbers, and lone surrogates.
BAD_JSON = st.sampled_from(["", "{", "nul", "[" * 10_000, "9" * 5_000, '"\\ud800"', "1e999", "NaN", "\x00"])


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Random bytes, or the content cut short, with a few bytes changed, or with bytes inserted."""

    def changed(edits: list[tuple[int, int]]) -> bytes:
        edited = bytearray(content)
        for place, byte in edits:
            edited[place] = byte
        return bytes(edited)

    # Damage to the first bytes has the most varied effects.
    places = st.integers(0, len(content) - 1) | st.integers(0, min(len(content), 300) - 1)
    return st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(content) - 1).map(lambda n: content[:n]),
        st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4).map(changed),
        st.tuples(st.integers(0, len(content)), st.binary(min_size=1, max_size=20)).map(
            lambda cut: content[: cut[0]] + cut[1] + content[cut[0] :]
        ),
    )


def read_or_refused(read: Callable[[Path], Any], path: Path, content: bytes) -> Any:
    """Return what `read` returns, or None if it raises an error that names the file."""
    path.write_bytes(content)
    try:
        return read(path)
    except (ValueError, TypeError) as error:
        assert path.name in str(error)  # noqa: PT017  # there may be no error
        assert len(str(error)) < 1000  # noqa: PT017
        return None


def fuzz(
    contents: st.SearchStrategy[bytes], read: Callable[[Path], Any], path: Path, check: Callable[[Any], None]
) -> None:
    """Read files of these contents, and check every result that is accepted."""

    @many_examples
    @given(contents)
    def run(content: bytes) -> None:
        found = read_or_refused(read, path, content)
        if found is not None:
            check(found)

    run()


# Networks and checkpoints: safetensors files


SIZES = {
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
}


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    start = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:start]), content[start:]


@st.composite
def falsified(draw: Any, content: bytes, inner: str | None = None) -> bytes:
    """A well-formed safetensors file with up to three false entries.

    ``inner`` is a key of the metadata whose value is JSON.
    """
    header, data = header_of(content)
    metadata = header.pop("__metadata__")
    tensors = {
        name: (tensor["dtype"], tuple(tensor["shape"]), data[slice(*tensor["data_offsets"])])
        for name, tensor in header.items()
    }
    shift = 0
    for _ in range(draw(st.integers(1, 3))):
        edits = ["shape", "dtype", "bytes", "drop", "add", "metadata", "inner", "offsets"]
        edit = draw(st.sampled_from(edits))
        name = draw(st.sampled_from(sorted(tensors))) if tensors else "W1"
        dtype, shape, held = tensors.get(name, ("F32", (1,), bytes(4)))
        if edit in ("shape", "dtype"):
            if edit == "shape":
                shapes = st.lists(st.integers(0, 6), max_size=4) | st.permutations(shape)
                shape = draw(shapes.map(tuple))
            else:
                dtype = draw(st.sampled_from(sorted(SIZES)))
            tensors[name] = dtype, shape, (held + bytes(10_000))[: SIZES[dtype] * int(np.prod(shape))]
        elif edit == "bytes":
            pattern = draw(st.binary(min_size=8, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8)]))
            tensors[name] = dtype, shape, (pattern * len(held))[: len(held)]
        elif edit == "drop":
            tensors.pop(name, None)
        elif edit == "add":
            other = draw(st.text(max_size=8) | st.sampled_from(["moment2.W1", "average.W1"]))
            tensors[other] = dtype, shape, held
        elif edit == "metadata":
            key = draw(st.sampled_from(sorted(metadata)) | st.text(max_size=5))
            if draw(st.integers(0, 5)):
                metadata[key] = draw(JSON.map(json.dumps) | BAD_JSON | st.text(max_size=8))
            else:
                metadata.pop(key, None)
        elif edit == "inner" and inner in metadata:
            try:
                stored = json.loads(metadata[inner])
                stored[draw(st.sampled_from(sorted(stored)))] = draw(JSON)
            except (ValueError, TypeError, IndexError, RecursionError):
                continue  # an earlier edit left no JSON object
            metadata[inner] = json.dumps(stored)
        elif edit == "offsets":
            shift = draw(st.sampled_from([-1, 1, 8, 2**62, 2**64]))
    whole, parts = {"__metadata__": metadata}, b""
    for name, (dtype, shape, held) in tensors.items():
        offsets = [len(parts) + shift, len(parts) + len(held)]
        whole[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        parts += held
    text = json.dumps(whole).encode()
    return struct.pack("<Q", len(text)) + text + parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def saved_network(path: Path, stacked: bool) -> bytes:
    """Save a network or a stack of two; return the bytes of the file."""
    net = make_task(2 if stacked else None).net
    about = {"preprocessing": {"mean": 0.5}, "information": {"reg": 0.1, "dataset": "digits"}}
    save(net, path, classes=("a", "b", "c"), image_shape=(2, 2), **about)
    return path.read_bytes()


def check_network(net: TwoLayerNet) -> None:
    """Assert that an accepted network is finite and computes logits of the right shape."""
    assert all(np.isfinite(array).all() for array in net)
    X = np.zeros((2, net.n_features), net.W1.dtype)
    stack = () if net.n_networks is None else (net.n_networks,)
    assert net.logits(X).shape == (*stack, 2, net.n_classes)


@pytest.mark.parametrize("well_formed", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_fuzzed_networks_are_loaded_or_refused(folder: Path, stacked: bool, well_formed: bool) -> None:
    path = folder / "net.safetensors"
    content = saved_network(path, stacked)

    def check(net: TwoLayerNet) -> None:
        check_network(net)
        metadata = load_metadata(path)
        assert metadata.image_shape is None or len(metadata.image_shape) in (2, 3)
        assert (metadata.n_features, metadata.n_networks) == (net.n_features, net.n_networks)

    def read(path: Path) -> TwoLayerNet:
        read_or_refused(load_metadata, path, path.read_bytes())
        return load(path)

    fuzz(falsified(content, "information") if well_formed else damaged(content), read, path, check)


TRAIN_ARGUMENTS: dict[str, Any] = {
    "batch_size": 5,
    "optimizer": Adam(),
    "ema_decay": 0.9,
    "learning_rate": 0.01,
}


def checkpointed(path: Path, stacked: bool) -> tuple[bytes, Callable[[Run], Run]]:
    """The bytes of a checkpoint, and a function that resumes its run."""
    task = make_task(2 if stacked else None)
    arguments = TRAIN_ARGUMENTS | {"validation": task.validation, "preprocessing": Standardizer.fit(task.X)}
    save_run(train(task.net, task.X, task.y, epochs=2, rng=1, **arguments), path)
    return path.read_bytes(), lambda run: train(run, task.X, task.y, steps=11, **arguments)


@pytest.mark.parametrize("well_formed", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_fuzzed_checkpoints_are_resumed_or_refused(folder: Path, stacked: bool, well_formed: bool) -> None:
    path = folder / "run.safetensors"
    content, resume = checkpointed(path, stacked)

    def check(run: Run) -> None:
        assert "Run(" in repr(run)
        save_run(run, path)
        assert load_run(path).n_steps == run.n_steps
        try:
            resume(run)
        except ValueError as error:
            assert "must be the run's" in str(error) or "must be the new total" in str(error)  # noqa: PT017

    fuzz(falsified(content, "run") if well_formed else damaged(content), load_run, path, check)


# Data sets


FEW = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file of CIFAR-10 hold FEW records in place of 10,000."""
    monkeypatch.setattr(cifar10, "_RECORDS", FEW)


def records(seed: int) -> bytes:
    """The bytes of a file of FEW random records."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 256, (FEW, 3073), dtype=np.uint8)
    found[:, 0] %= 10
    return found.tobytes()


def load_few(path: Path) -> Any:
    return load_cifar10(path, n_train=2, n_validation=1, n_test=2)


def check_dataset(data: Any) -> None:
    """Assert that an accepted data set has a valid label for each sample."""
    for split in (data.train, data.validation, data.test):
        if split is not None:
            assert split.y.dtype == np.int64
            assert len(split.X) == len(split.y)
            assert (split.y >= 0).all()
            assert (split.y < data.n_classes).all()
    assert data.n_features >= 1


def test_fuzzed_cifar10_files_are_loaded_or_refused(folder: Path, few: None) -> None:
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir(exist_ok=True)
    names = ["batches.meta.txt", "data_batch_1.bin", "test_batch.bin"]
    contents = ["\n".join(cifar10.CLASSES).encode(), records(0), records(1)]

    @many_examples
    @given(st.data(), st.sampled_from([0, 1, 2]))
    def check(data: st.DataObject, which: int) -> None:
        for name, content in zip(names, contents, strict=True):
            (batches / name).write_bytes(content)
        changed = data.draw(damaged(contents[which]))
        found = read_or_refused(lambda _: load_few(batches), batches / names[which], changed)
        if found is not None:
            check_dataset(found)

    check()


def packed(members: list[tuple[dict[str, Any], bytes]]) -> bytes:
    """The bytes of a tar archive of members with these fields and contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for fields, content in members:
            info = tarfile.TarInfo()
            for name, value in fields.items():
                setattr(info, name, value)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("inside", [False, True])
def test_fuzzed_cifar10_archives_are_loaded_or_refused(folder: Path, few: None, inside: bool) -> None:
    """The damage is to the compressed archive or, with a right checksum, to the tar archive inside it."""
    path = folder / "cifar-10-binary.tar.gz"
    files = ("data_batch_1.bin", "batches.meta.txt", "test_batch.bin")
    names = [f"cifar-10-batches-bin/{name}" for name in files]
    contents = [records(0), "\n".join(cifar10.CLASSES).encode(), records(1)]
    tar = packed([({"name": name}, content) for name, content in zip(names, contents, strict=True)])
    headers = [i for i in range(0, len(tar), 512) if tar[i : i + 5] == b"cifar"]

    @st.composite
    def falsified_headers(draw: Any) -> bytes:
        """A tar archive whose headers have false fields and right checksums."""
        edited = bytearray(tar)
        for _ in range(draw(st.integers(1, 2))):
            start = draw(st.sampled_from(headers))
            fields = [(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8)]
            place, size = draw(st.sampled_from(fields))
            kinds = st.sampled_from([b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"7", b"V"])
            values = st.binary(max_size=size) | st.just(b"7" * (size - 1))
            value = draw(kinds if size == 1 else values)
            edited[start + place : start + place + len(value)] = value
            edited[start + 148 : start + 156] = b" " * 8
            edited[start + 148 : start + 156] = b"%06o\0 " % sum(edited[start : start + 512])
        return bytes(edited)

    def zipped(content: bytes) -> bytes:
        return gzip.compress(content, 1, mtime=0)

    inner = (damaged(tar) | falsified_headers()).map(zipped)
    fuzz(inner if inside else damaged(zipped(tar)), load_few, path, check_dataset)


DESCRIPTIONS = [
    *("<f4", "<f8", ">f8", "<f2", "|u1", "<i8", "<u8", "|b1", "<U3", "<U0", "|S3", "|S0", "|O", "|V0", "|V4"),
    *("<c16", "<M8[s]", "<m8", "<f16", "", "x", [("a", "<f4")], [("a", "|O")], ("<f4", (2,)), None, 3),
]


DTYPES: st.SearchStrategy[np.dtype[Any]] = st.one_of(
    st_numpy.scalar_dtypes(),
    st_numpy.unicode_string_dtypes(),
    st_numpy.byte_string_dtypes(),
    st_numpy.array_dtypes(),
    st.sampled_from(["longdouble", "clongdouble", "object", "V0", "V4"]).map(np.dtype),
)


def saved(array: np.ndarray, dtype: Any = None) -> bytes:
    """The bytes of an .npy file, with the array cast to a dtype, or zeros if it cannot be cast."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # Numbers may overflow or lose an imaginary part, and names of fields may hold any characters.
        warnings.simplefilter("ignore")
        if dtype is not None:
            try:
                array = array.astype(dtype)
            except (TypeError, ValueError, OverflowError):
                array = np.zeros(array.shape, dtype)
        np.save(stream, array)
    return stream.getvalue()


@st.composite
def npy(draw: Any, array: np.ndarray) -> bytes:
    """The bytes of an .npy file, with the array in another dtype or with a false header."""
    if draw(st.booleans()):
        return saved(array, draw(DTYPES))
    content = saved(array)
    start = 10 + int.from_bytes(content[8:10], "little")
    sizes = st.integers(-1, 12) | st.sampled_from([2**31, 2**40, 2**63, 10**30, 1.5, "a", None, True])
    fields = {
        "descr": draw(st.just(array.dtype.str) | st.sampled_from(DESCRIPTIONS)),
        "fortran_order": draw(st.booleans() | st.sampled_from([0, None])),
        "shape": draw(st.just(array.shape) | st.lists(sizes, max_size=4).map(tuple)),
    }
    if draw(st.integers(0, 9)) == 0:
        fields.pop(draw(st.sampled_from(sorted(fields))))
    text = draw(
        st.just(repr(fields)) | st.sampled_from([repr(fields)[:-1], "(" * 1000, "{}", "1", "\x00"])
    ).encode()
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    text += b" " * (-len(text) % 16) + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + content[start:]


ARRAYS = {
    "X": np.arange(24.0).reshape(12, 2),
    "y": np.arange(12) % 3,
    "X_test": np.arange(6.0).reshape(3, 2),
    "y_test": np.arange(3),
    "classes": np.array(["a", "b", "c"]),
}


@st.composite
def falsified_npz(draw: Any, arrays: dict[str, np.ndarray] = ARRAYS) -> bytes:
    """An intact zip file in which one or two arrays, or their names, are false."""
    falsified_names = draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=2, unique=True))
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as file:
        warnings.simplefilter("ignore")  # two members may have the same name
        for name, array in arrays.items():
            content = draw(npy(array)) if name in falsified_names else saved(array)
            if name in falsified_names and draw(st.integers(0, 9)) == 0:
                texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
                name = draw(texts)
            file.writestr(name + draw(st.sampled_from([".npy", ".npy", ".npy", ""])), content)
    return stream.getvalue()


@pytest.mark.parametrize("well_formed", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_fuzzed_npz_files_are_loaded_or_refused(folder: Path, compressed: bool, well_formed: bool) -> None:
    path = folder / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, **ARRAYS)

    fuzz(falsified_npz() if well_formed else damaged(path.read_bytes()), load_npz, path, check_dataset)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_fuzzed_samples_to_predict_are_loaded_or_refused(folder: Path, suffix: str) -> None:
    path = folder / f"samples{suffix}"
    X = {"X": ARRAYS["X"]}

    def read(path: Path) -> Any:
        try:
            return inputs._array(path, 2)
        except ValueError as error:
            if re.fullmatch("`INPUT` must have 2 features .*; got \\d+", str(error)):
                return None  # the message has no name, as there is only one input
            raise

    def check(found: Any) -> None:
        assert found.dtype.kind in "biuf"
        assert found.ndim >= 2
        assert found.size

    fuzz(falsified_npz(X) | damaged(saved(X["X"])) | npy(X["X"]), read, path, check)


# Images

# The formats that are read, in variants that reach the branches of Pillow's readers.
IMAGES: list[tuple[str, str, dict[str, Any]]] = [
    *(("PNG", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")),
    ("JPEG", "L", {}),
    ("JPEG", "RGB", {"progressive": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ("JPEG", "CMYK", {}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    ("GIF", "P", {"interlace": 1}),
    ("GIF", "L", {"transparency": 0}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ("TIFF", "I;16", {}),
    *(("TIFF", "RGB", {"compression": kind}) for kind in ("raw", "jpeg", "tiff_lzw", "tiff_adobe_deflate")),
    ("TIFF", "1", {"compression": "group4"}),
]
OTHER_IMAGES = ("DDS", "DIB", "EPS", "ICO", "JPEG2000", "PCX", "PPM", "SGI", "TGA")


def written_image(form: str, mode: str, options: dict[str, Any]) -> bytes:
    """The bytes of an image of 4 rows of 6 random pixels."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    made = PIL.Image.fromarray(pixels)
    made = made.convert("L").convert("I;16") if mode == "I;16" else made.convert(mode)
    made.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("resize", [False, True])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "others"])
def test_fuzzed_images_are_loaded_or_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
    resize: bool,
) -> None:
    """No program is started, and Python writes nothing to stderr (libtiff may)."""
    path = folder / "image.png"
    others = [(other, "RGB", {}) for other in OTHER_IMAGES] if form == "others" else []
    contents = [written_image(*image) for image in others or IMAGES if others or image[0] == form]
    saved_network(folder / "of_images.safetensors", False)
    about = load_metadata(folder / "of_images.safetensors")
    about = dataclasses.replace(about, image_shape=(4, 6), information={"white": 1.0})
    read = images.pixels_for(about, invert=False, resize=resize)
    started: list[Any] = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **more: started.append(arguments))

    def check(pixels: np.ndarray) -> None:
        assert form != "others"
        assert pixels.shape == (4, 6)
        assert 0 <= pixels.min() <= pixels.max() <= 1

    fuzz(st.sampled_from(contents).flatmap(lambda image: st.just(image) | damaged(image)), read, path, check)
    assert (started, capsys.readouterr().err) == ([], "")


# Files that the command line reads back


@st.composite
def edited_json(draw: Any, stored: Any) -> bytes:
    """JSON that differs in up to three places, at any depth, or any other or malformed JSON."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(BAD_JSON.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=50))
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    edited = json.loads(json.dumps(stored))
    for _ in range(draw(st.integers(1, 3))):
        place = edited
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 2)):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(JSON)
            else:
                del place[key]
            break
    return json.dumps(edited).encode()


def error_of(*arguments: object) -> str:
    """Run a command; return its error, which must be one line, or an empty string if it succeeds."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code in (0, 1, 2), result.output
    if result.exit_code:
        errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.output
        assert result.output.endswith(errors[0] + "\n"), result.output
        return errors[0]
    return ""


TRAINED = {
    "run": "train --steps 30 --hidden 4",
    "sweep": "sweep --epochs 1 --hidden 4,5 --reg 0,1 --seeds 1",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folder of a training run and that of a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
        root = tmp_path_factory.mktemp("trained")
        for name, words in TRAINED.items():
            error_of(*words.split(), "-q", "--out", root / name)
    return root


def without_null(value: Any) -> Any:
    """The value without nulls and lone surrogates, which TOML cannot hold."""
    if isinstance(value, dict):
        return {key: without_null(part) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [without_null(part) for part in value if part is not None]
    # UTF-8 cannot encode lone surrogates.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@st.composite
def edited_toml(draw: Any, stored: dict[str, Any]) -> bytes:
    """TOML that differs in up to three settings, or damaged TOML, or random bytes."""
    if not draw(st.integers(0, 4)):
        return draw(damaged(tomli_w.dumps(stored).encode()) | st.binary(max_size=50))
    edited = dict(stored)
    for name in draw(st.lists(st.sampled_from([*stored, "steps", "unknown"]), min_size=1, max_size=3)):
        if draw(st.integers(0, 4)):
            edited[name] = draw(JSON)
        else:
            edited.pop(name, None)
    return tomli_w.dumps(without_null(edited)).encode()


@pytest.mark.parametrize(("kind", "option"), [("run", "resume"), ("run", "config"), ("sweep", "config")])
def test_fuzzed_settings_are_accepted_or_refused(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str
) -> None:
    command = "train" if kind == "run" else "sweep"
    path = (trained / kind if option == "resume" else folder) / "settings.toml"
    given_as = ("--resume", path.parent) if option == "resume" else ("--config", path)
    whole = (trained / kind / "settings.toml").read_text(encoding="utf-8")
    stored = tomllib.loads(whole)
    if option == "resume":
        stored |= {"steps": 40}
    recorded: list[Any] = []
    # Record the settings instead of training, which could take any time and memory.
    monkeypatch.setattr(
        "twolayer.cli.train._train", lambda job, folder, **more: recorded.append(job.settings)
    )
    monkeypatch.setattr(commands, "run_train", lambda settings, console, **more: recorded.append(settings))
    monkeypatch.setattr(commands, "run_sweep", lambda settings, console, **more: recorded.append(settings))

    @many_examples
    @given(edited_toml(stored))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        recorded.clear()
        error = error_of(command, *given_as)
        assert len(error) < 2000
        if not error:
            (found,) = recorded
            first = (lambda value: value[0]) if kind == "sweep" else lambda value: value
            assert type(first(found["batch_size"])) is int
            assert type(first(found["learning_rate"])) is float
            assert found["optimizer"] in ("nesterov", "momentum", "sgd", "adam", "adamw")

    path.write_text(tomli_w.dumps(stored), encoding="utf-8")
    assert error_of(command, *given_as) == ""
    (found,) = recorded
    assert without_null({**found, "data_sha256": ""}).items() >= (stored | {"data_sha256": ""}).items()
    try:
        check()
    finally:  # other tests read this file
        (trained / kind / "settings.toml").write_text(whole, encoding="utf-8")


READERS: dict[str, Callable[[Path], Any]] = {"results.json": read_results, "history.json": read_history}


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("name", READERS)
def test_fuzzed_results_are_loaded_or_refused(trained: Path, folder: Path, kind: str, name: str) -> None:
    path = folder / name
    stored = json.loads((trained / kind / name).read_text(encoding="utf-8"))

    assert read_or_refused(READERS[name], path, json.dumps(stored).encode()) is not None
    fuzz(edited_json(stored), READERS[name], path, lambda found: None)


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("name", READERS)
def test_fuzzed_results_are_plotted_or_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """Accepted results can be plotted. Plotting is slow, so that only a tenth of the examples is used."""
    drawn: list[Path] = []

    def savefig(self: Any, file: Path, **more: Any) -> None:
        drawn.append(file)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    path = tmp_path / name
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    path.write_bytes((trained / kind / name).read_bytes())
    stored = json.loads(path.read_text(encoding="utf-8"))
    error_of("plot", tmp_path)
    assert drawn

    @settings(max_examples=max(5, EXAMPLES // 10))
    @given(edited_json(stored))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert len(error_of("plot", tmp_path)) < 2000

    check()


@pytest.mark.parametrize("well_formed", [False, True])
def test_fuzzed_predictions_are_loaded_or_refused(folder: Path, well_formed: bool) -> None:
    path = folder / "predictions.npz"
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 12).astype(np.float32)
    arrays = {"y": np.arange(12) % 3, "probabilities": probs, "images": np.arange(8).reshape(2, 2, 2)}
    arrays["rows"] = np.array([1, 0])
    arrays["rows_in_file"] = np.arange(12) * 3
    test = read_run.Tested(None, 12, Confusion.of_labels(arrays["y"], probs.argmax(axis=1), 3))
    np.savez(path, **arrays)
    whole = path.read_bytes()

    def read(path: Path) -> Any:
        return read_predictions(path, test, (2, 2))

    def check(found: read_run.Predictions) -> None:
        assert found.probabilities.shape == (len(found.y), 3)
        assert (found.images is None) == (found.rows is None)

    assert read_or_refused(read, path, whole) is not None
    fuzz(falsified_npz(arrays) if well_formed else damaged(whole), read, path, check)


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("name", ["results.json", "settings.toml"])
def test_fuzzed_files_give_a_page_or_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """Accepted files give a page. Its plots are left out, as they are slow."""
    monkeypatch.setattr(pictures, "drawn", lambda *_: {part: [] for part in PARTS})
    for file in ("results.json", "settings.toml", "predictions.npz", "network.safetensors"):
        (tmp_path / file).write_bytes((trained / kind / file).read_bytes())
    path = tmp_path / name
    text = path.read_text(encoding="utf-8")
    edited = edited_json(json.loads(text)) if path.suffix == ".json" else edited_toml(tomllib.loads(text))

    @many_examples
    @given(edited)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert len(error_of("report", tmp_path)) < 2000

    assert error_of("report", tmp_path) == ""
    check()


PARTS = ("candidates", "course", "classes", "calibration", "weights")


# Names of classes


printable_texts = st.text("aé健ש🙂\u200d\u0301=+-@<&>\"',;{}$\\ ", max_size=9)
class_names = st.lists(any_texts, min_size=2, max_size=4) | st.lists(
    printable_texts, min_size=2, max_size=4, unique=True
)


@pytest.mark.parametrize("kind", ["network", "data"])
def test_class_names_in_files_are_checked(folder: Path, kind: str) -> None:
    """Names must be different and printable. A network's file with unprintable names can still be read."""
    path = folder / ("names.safetensors" if kind == "network" else "names.npz")

    @many_examples
    @given(class_names)
    def check(names: list[str]) -> None:
        valid = all(map(is_printable, names)) and len(set(names)) == len(names)
        net = TwoLayerNet.initialize(2, 2, len(names), rng=0)
        if kind == "network":
            save(net, path, classes=[str(i) for i in range(len(names))])
            header, data = header_of(path.read_bytes())
            header["__metadata__"]["classes"] = json.dumps(names)
            text = json.dumps(header).encode()
            found = read_or_refused(load_metadata, path, struct.pack("<Q", len(text)) + text + data)
            try:
                save(net, path, classes=names)
                assert valid
            except ValueError as error:
                assert not valid
                assert_harmless(str(error))
            valid = len(set(names)) == len(names)
        else:
            y = np.arange(3 * len(names)) % len(names)
            np.savez(path, X=np.ones((len(y), 2)), y=y, classes=np.array(names))
            # NumPy strips NULs at the end of a text, so that names may become equal, or valid.
            names = np.array(names).tolist()
            valid = all(map(is_printable, names)) and len(set(names)) == len(names)
            found = read_or_refused(load_npz, path, path.read_bytes())
        assert (found is not None) == valid
        assert found is None or found.classes == tuple(names)

    check()


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_class_names_are_refused_or_give_well_formed_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Names are refused before any work, or every output is well-formed. Plots have a test below."""
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
    monkeypatch.setattr(pictures, "drawn", lambda *_: {part: [] for part in PARTS})
    data, out, table = tmp_path / "names.npz", tmp_path / "run", tmp_path / "predicted.csv"
    quick = ("--epochs", 1, "--hidden", 2, *(("--seeds", 1) if command == "sweep" else ()))

    @settings(max_examples=max(5, EXAMPLES // 10))
    @given(class_names.map(lambda names: np.array(names).tolist()), st.booleans())
    @example(["a", "=1+1", "\"健,\" 'ש' <b>&"], True)
    @example(["a\u200d", "{{ 7 * 7 }}\\"], False)
    def check(names: list[str], named: bool) -> None:
        shutil.rmtree(out, ignore_errors=True)
        y = np.arange(8 * len(names)) % len(names)
        labels = {"y": y, "classes": np.array(names)} if named else {"y": np.array(names)[y]}
        np.savez(data, X=np.random.default_rng(0).normal(size=(len(y), 2)), **labels)
        error = error_of(command, data, *quick, "--out", out)
        assert_harmless(error)
        if error:
            assert not all(map(is_printable, names)) or len(set(names)) < (len(names) if named else 2)
            assert not out.exists()
            return
        for words in (("evaluate", out, data), ("report", out), ("predict", out, data, "--output", table)):
            result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            assert_harmless(result.output)
        for path in (*out.iterdir(), table):
            if path.suffix in (".csv", ".html", ".json", ".toml"):
                assert_harmless(path.read_bytes().decode("utf-8"))
        html5lib.HTMLParser(strict=True).parse((out / "report.html").read_text(encoding="utf-8"))
        with table.open(encoding="utf-8", newline="") as file:
            heading, *rows = csv.reader(file)
        assert heading[3:] == list(load_npz(data).classes)
        assert {row[1] for row in rows} <= set(names)

    check()


some_texts = st.lists(any_texts, min_size=13, max_size=13)


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_any_texts_give_harmless_plots_and_pages(trained: Path, tmp_path: Path, kind: str) -> None:
    """Plots are harmless XML and pages harmless HTML, for any text in results.json and settings.toml."""
    run = Path(shutil.copytree(trained / kind, tmp_path / kind))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    about = tomllib.loads((run / "settings.toml").read_text(encoding="utf-8"))

    @settings(max_examples=max(2, EXAMPLES // 100))
    @given(some_texts.map(lambda texts: [text.replace("\ud800", "?") for text in texts]) | some_texts)
    @example([*EVIL, *"012345"][:13])
    def check(texts: list[str]) -> None:
        *names, heading, dataset, value = texts
        edited = results | {"classes": names, "heading": heading, "table_heading": heading}
        table = enumerate(results.get("table", []))
        edited["table"] = [row | {"optimizer": f"{value}{i}"} for i, row in table]
        (run / "results.json").write_text(json.dumps(edited), encoding="utf-8")
        others = {"dataset": f"{dataset}.npz", "optimizer": value, "device": value}
        (run / "settings.toml").write_text(tomli_w.dumps(without_null(about | others)), encoding="utf-8")
        for words in (("report", run), ("plot", run, "--format", "svg")):
            error = error_of(*words)
            assert_harmless(error)
            assert not error or "\ud800" in "".join(texts), error
        if error:
            return
        page = (run / "report.html").read_text(encoding="utf-8")
        assert_harmless(page)
        html5lib.HTMLParser(strict=True).parse(page)
        drawn = [path.read_text(encoding="utf-8") for path in run.glob("*.svg")]
        drawn += [base64.b64decode(one).decode() for one in re.findall(r"svg\+xml;base64,([\w+/=]+)", page)]
        assert len(drawn) > 4
        for svg in drawn:
            assert_harmless(svg)
            ElementTree.fromstring(svg)  # safe XML, which the library wrote

    check()


# Concurrent commands


CONCURRENT = {
    "train": "train --steps 3 --hidden 5 --out run --overwrite",
    "another": "train --steps 5 --hidden 7 --out run --overwrite",
    "sweep": "sweep --steps 2 --hidden 3,4 --seeds 1 --out run --overwrite",
    "resume": "train --resume run --steps 40",
    "plot": "plot run",
    "export": "export run",
}


def test_two_commands_at_once_leave_a_consistent_folder(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])

    def error_after(name: str, delay: float) -> str:
        time.sleep(delay)
        try:
            app.main([*CONCURRENT[name].split(), "-q"], standalone_mode=False)
        except click.ClickException as error:
            return error.message
        return ""

    @settings(max_examples=max(5, EXAMPLES // 10))
    @given(st.lists(st.sampled_from(sorted(CONCURRENT)), min_size=2, max_size=2), st.floats(0.0, 0.1))
    def check(names: list[str], delay: float) -> None:
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(trained / "run", "run")
        with ThreadPoolExecutor(2) as pool:
            errors = list(pool.map(error_after, names, [0.0, delay]))
        for name, error in zip(names, errors, strict=True):
            refusals = ("run must not be in use; ",)
            if name == "resume":  # a sweep came first, or another `train --resume`
                refusals += (
                    "`--resume` must be the folder of a training",
                    "the run in run has taken 40 steps",
                )
            assert not error or error.startswith(refusals), error
        assert "" in errors
        found = tomllib.loads(Path("run/settings.toml").read_text(encoding="utf-8"))
        results, net = read_results(Path("run/results.json")), load("run")
        assert results.command == found["command"]
        assert net.n_hidden in np.atleast_1d(found["n_hidden"])
        if results.command == "train":
            assert results.n_steps == load_run("run/checkpoint.safetensors").n_steps == found["steps"]
            assert net.n_hidden == load_run("run/checkpoint.safetensors").last.n_hidden
        assert not [path for path in Path("run").iterdir() if path.name.startswith(".")]

    check()


def test_plot_and_report_read_the_files_that_are_fuzzed() -> None:
    assert (run_folder.RESULTS, run_folder.HISTORY, run_folder.SETTINGS, run_folder.PREDICTIONS) == (
        "results.json",
        "history.json",
        "settings.toml",
        "predictions.npz",
    )
