"""Data sets loaded from a user's own .npz file."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.memory import at_most
from support.strategies import is_printable

from twolayer import _files
from twolayer.datasets import load_npz

LABELS = np.arange(20) % 4


def numbered(n=20, shape=(2,), dtype=np.int32):
    """Samples that hold their row number, so that a split shows which rows it has."""
    return np.broadcast_to(np.arange(n).reshape(n, *(1 for _ in shape)), (n, *shape)).astype(dtype)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory):
    return tmp_path_factory.mktemp("npz") / "mine.npz"


def loaded(path, *, validation=0.0, test=0.0, seed=0, **arrays):
    """Save these arrays; return the data set that is loaded from them."""
    np.savez(path, **arrays)
    return load_npz(path, validation=validation, test=test, seed=seed)


def rows(split):
    """The row numbers that the samples of a split hold."""
    return split.X.reshape(len(split.X), -1)[:, 0].tolist()


# Reading


def test_every_array_of_the_file_is_read(path):
    X, y = numbered(), LABELS
    data = loaded(
        path, validation=0.5, test=0.5, X=X, y=y, X_validation=X[:3], y_validation=y[:3], X_test=X[5:7],
        y_test=y[5:7], classes=["ant", "bee", "cat", "dog"], remark=np.array("not read"),
    )  # fmt: skip
    assert (data.name, data.image_shape, data.n_features) == ("mine", None, 2)
    assert data.classes == ("ant", "bee", "cat", "dog")
    for split, first, stop in ((data.train, 0, 20), (data.validation, 0, 3), (data.test, 5, 7)):
        assert np.array_equal(split.X, X[first:stop])
        assert split.X.dtype == np.int32
        assert np.array_equal(split.y, y[first:stop])
        assert split.y.dtype == np.int64


def test_a_compressed_file_with_shares_of_zero_has_only_a_training_set(path):
    np.savez_compressed(path, X=numbered(), y=LABELS)
    data = load_npz(str(path), validation=0, test=0)
    assert rows(data.train) == list(range(20))
    assert data.validation is data.test is None


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint64", "float16", "float32", "float64", ">f4", ">i2"]
)
def test_features_keep_their_dtype_in_the_byte_order_of_the_machine(path, dtype):
    X = numbered(dtype=dtype)
    data = loaded(path, X=X, y=LABELS)
    assert data.train.X.dtype == np.dtype(dtype).newbyteorder("=")
    assert data.train.X.dtype.isnative
    assert np.array_equal(data.train.X, X)


@pytest.mark.parametrize(
    ("shape", "image_shape"), [((5,), None), ((8, 8), (8, 8)), ((4, 6, 1), (4, 6, 1)), ((4, 6, 3), (4, 6, 3))]
)
def test_images_are_recognised_by_their_axes(path, shape, image_shape):
    data = loaded(path, X=numbered(shape=shape), y=LABELS)
    assert data.image_shape == image_shape
    assert data.train.X.shape == (20, *shape)
    assert data.n_features == math.prod(shape)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([7, -2, 7, 30]), ("-2", "7", "30")),
        (np.array([7, 2, 7, 30], np.uint8), ("2", "7", "30")),
        (np.array([300, 2, 300, 7], ">i2"), ("2", "7", "300")),
        (np.array([True, False, True, True]), ("False", "True")),
        (np.array(["no", "yes", "no", "été"]), ("no", "yes", "été")),
    ],
)
def test_classes_are_the_sorted_labels(path, y, classes):
    data = loaded(path, X=numbered(4), y=y)
    assert data.classes == classes
    assert [data.classes[label] for label in data.train.y] == [str(label) for label in y]


def test_string_labels_become_indices_into_the_classes(path):
    data = loaded(
        path, X=numbered(4), y=np.array(["b", "a", "c", "b"]), classes=np.array(["c", "b", "unused", "a"])
    )
    assert data.classes == ("c", "b", "unused", "a")
    assert data.train.y.tolist() == [1, 3, 0, 1]


@given(
    hnp.arrays(st.sampled_from(["int8", "int64", "uint16", "U3"]), st.integers(2, 40)).filter(
        lambda y: len(np.unique(y)) > 1
    )
)
def test_labels_keep_their_meaning(shared_path, y):
    assume(all(map(is_printable, y.astype(str))))
    data = loaded(shared_path, X=numbered(len(y)), y=y)
    assert [data.classes[label] for label in data.train.y] == [str(label) for label in y]
    assert len(set(data.classes)) == len(data.classes)


# Drawing samples for validation and test


def uneven_labels(n, n_classes, seed):
    """Labels of n samples in at most n_classes classes of uneven sizes."""
    rng = np.random.default_rng(seed)
    return rng.choice(n_classes, n, p=rng.dirichlet(np.ones(n_classes)))


@given(st.integers(2, 200), st.integers(2, 6), st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 2**70))
def test_the_draw_takes_a_share_of_every_class(shared_path, n, n_classes, validation, test, seed):
    y = uneven_labels(n, n_classes, seed)
    y[:2] = 0, 1
    sizes = np.bincount(y)
    n_validation, n_test = (max(1, round(share * n)) if share else 0 for share in (validation, test))
    n_free = n - np.count_nonzero(sizes)
    if n_validation + n_test > n_free:
        with pytest.raises(ValueError, match="`validation` and `test` must leave a sample of every class"):
            loaded(shared_path, X=numbered(n), y=y, validation=validation, test=test, seed=seed)
        return
    data = loaded(shared_path, X=numbered(n), y=y, validation=validation, test=test, seed=seed)
    found = {"train": rows(data.train)}
    for name, split, wanted in (("validation", data.validation, n_validation), ("test", data.test, n_test)):
        assert (split is None) == (wanted == 0)
        found[name] = [] if split is None else rows(split)
        assert len(found[name]) == wanted
        drawn_of_each = np.bincount(y[found[name]].astype(int), minlength=len(sizes))
        for size, drawn in zip(sizes, drawn_of_each, strict=True):
            # One sample of each class stays for training. The others are drawn evenly, so that the number
            # from each class differs from its share by less than two samples.
            share = wanted * max(size - 1, 0) / max(n_free, 1)
            assert abs(drawn - share) < 2
    assert sorted(found["train"] + found["validation"] + found["test"]) == list(range(n))
    assert all(part == sorted(part) for part in found.values())
    assert set(y[found["train"]]) == set(y)
    for split in (data.train, data.validation, data.test):
        if split is not None:
            labels = np.unique(y, return_inverse=True)[1]
            assert np.array_equal(split.y, labels[rows(split)])


def test_the_draw_never_changes(path):
    data = loaded(path, X=numbered(), y=LABELS, validation=0.15, test=0.15)
    assert (rows(data.validation), rows(data.test)) == ([1, 7, 14], [3, 9, 12])


def test_a_data_set_contains_the_rows_of_its_splits(path):
    data = loaded(path, X=numbered(), y=LABELS, validation=0.15, test=0.15)
    assert list(data.rows) == ["train", "validation", "test"]
    for name, chosen in data.rows.items():
        assert chosen.dtype == np.int64
        assert chosen.tolist() == rows(getattr(data, name))
    held = {"X_test": numbered(3), "y_test": LABELS[:3]}
    data = loaded(path, X=numbered(), y=LABELS, validation=0.15, **held)
    assert list(data.rows) == ["train", "validation"]
    data = loaded(path, X=numbered(), y=LABELS)
    assert {name: chosen.tolist() for name, chosen in data.rows.items()} == {"train": list(range(20))}


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_all_samples_are_equally_likely_to_be_drawn(path, validation):
    n_draws = 300
    counts = np.zeros(20)
    for seed in range(n_draws):
        data = loaded(path, X=numbered(), y=LABELS, validation=validation, test=0.25, seed=seed)
        counts[rows(data.test)] += 1
    # Each sample is drawn in a quarter of the draws: 75 of 300, with a standard deviation of 7.5.
    assert counts.sum() == 5 * n_draws
    assert np.all(np.abs(counts - 75) < 4.5 * 7.5)


@pytest.mark.parametrize("given_set", ["validation", "test"])
def test_a_set_that_the_file_contains_is_not_drawn(path, given_set):
    held = {f"X_{given_set}": numbered(3) + 100, f"y_{given_set}": LABELS[:3]}
    data = loaded(path, X=numbered(), y=LABELS, validation=0.2, test=0.2, **held)
    drawn = data.test if given_set == "validation" else data.validation
    assert rows(getattr(data, given_set)) == [100, 101, 102]
    assert len(drawn.y) == 4
    assert sorted(rows(data.train) + rows(drawn)) == list(range(20))


def test_validation_and_test_are_15_percent_each_by_default(path):
    np.savez(path, X=numbered(100), y=np.arange(100) % 3)
    data = load_npz(path)
    assert [len(split.y) for split in (data.train, data.validation, data.test)] == [70, 15, 15]


# Refusals

GOOD = {"X": numbered(), "y": LABELS}
TEST = {"X_test": numbered(3), "y_test": LABELS[:3]}
ALONE = {"X": None, "y": None}
REAL, OBJECT = (
    "must hold real numbers of at most 64 bits; got dtype",
    "numbers or strings; got dtype object, .*",
)


def refused(path, error, message, change):
    """Assert that a valid file with this change is refused by an error that names the file."""
    arrays = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(error, match=message) as caught:
        loaded(path, **arrays)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": None}, r"mine\.npz must hold `X` and `y`; it holds y$"),
        ({"y": None}, r"mine\.npz must hold `X` and `y`; it holds X$"),
        (
            ALONE | {"x_train": LABELS},
            r"x_train; name them as in numpy\.savez\('mine.npz', X=…, y=…\)$",
        ),
        (ALONE | {"\x1b": LABELS}, r"it holds \\x1b; name them as in"),
        (ALONE | {f"{i:04}": LABELS[:1] for i in range(2000)}, r"it holds 0000, .{193}…; name them as in"),
        ({"X_test": numbered()}, "must hold `X_test` and `y_test`; it holds"),
        ({"y_validation": LABELS}, "must hold `X_validation` and `y_validation`; it holds"),
        ({"X_val": numbered()}, r"must be named X, y, X_validation, .*; got 'X_val"),
        ({"X_\x1b\u202e": LABELS}, r"classes; got 'X_\\x1b\\u202e'$"),
        ({"X": LABELS}, r"`X` in .* must have shape \(N, D\), .*; got \(20,\)"),
        ({"X": np.float32(1)}, r"`X` in .* must have shape \(N, D\), .*; got \(\)"),
        ({"X": numbered(shape=(4, 4, 2))}, r"1 or 3\); got \(20, 4, 4, 2\)"),
        ({"X": numbered(shape=(1, 1, 1, 3))}, r"1 or 3\); got \(20, 1, 1, 1, 3\)"),
        ({"X": numbered(0), "y": LABELS[:0]}, r"one sample and one feature; got shape \(0, 2\)"),
        ({"X": numbered(shape=(0,))}, r"one sample and one feature; got shape \(20, 0\)"),
        ({"y": LABELS[:19]}, r"`y` in .* must have shape \(20,\), .*; got \(19,\)$"),
        ({"y": LABELS[:, None]}, r"\(20,\), .*; got \(20, 1\) \(`y\.ravel\(\)` gives the column\)$"),
        ({"y": np.eye(4)[LABELS]}, r"got \(20, 4\) \(`y\.argmax\(axis=1\)` converts one-hot"),
        ({"y": LABELS * 0 + 5}, r"`y` in .* labels of at least two classes; got one class"),
        ({"y": LABELS * 0, "classes": ["a", "b"]}, "at least two classes; got one class"),
        ({"classes": ["a", "b", "c"]}, r"`y` in .* labels of the classes; got a label of 3"),
        ({"y": LABELS - 1, "classes": list("abcd")}, "of the classes; got a label of -1"),
        ({"y": LABELS.astype(str), "classes": list("012x")}, "of the classes; got a label of 3"),
        ({"y_test": np.array(["\x1b"]), "X_test": [[1, 2]], "y": LABELS.astype(str)}, r"of \\x1b$"),
        ({"y": np.array(["a", "b\n"])[LABELS % 2]}, r"in `y` in .* must .*; got 'b\\n' \(`text.s"),
        ({"classes": ["a"]}, r"at least two classes; got shape \(1,\)$"),
        ({"classes": list("abca")}, "`classes` in .* must be different names; got 'a' 2 times"),
        ({"classes": [["a", "b"], ["c", "d"]]}, r"must have shape \(C,\), .* got shape \(2, 2\)"),
        ({"classes": ["a", "b", "c\udce9", "d"]}, r"`classes` in .* must hold .*; got 'c\\udce9'$"),
        (TEST | {"X_test": numbered(3, (3,))}, r"`X_test` in .* of the shape of `X`, \(2,\); got \(3,\)"),
        (TEST | {"y_test": LABELS[:2]}, r"`y_test` in .* must have shape \(3,\)"),
        (TEST | {"y_test": LABELS[:3] + 2}, "`y_test` in .* must hold labels .*; got a label of 4"),
        (TEST | {"y_test": np.array([0, 1, -1])}, "`y_test` in .* must hold labels .* got a label of -1"),
        (TEST | {"X_test": numbered(0), "y_test": LABELS[:0]}, "`X_test` in .* at least one sample"),
        (TEST | {"X_test": numbered(3) * np.nan}, "`X_test` in .* must be finite; got nan, first in row 0"),
    ],
)
def test_unsuitable_values_are_refused(path, change, message):
    refused(path, ValueError, message, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": numbered().astype("U5")}, rf"{REAL} <U5 \(`X\.astype\('float64'\)` converts numeric strings"),
        ({"X": numbered(dtype=complex)}, rf"`X` in .* {REAL} complex128$"),
        ({"X": numbered(dtype=np.longdouble)}, REAL),
        ({"X": numbered().astype(object)}, rf"`X` in .* {OBJECT}; store `X\.astype\('float64'\)`, .* `pand"),
        ({"y": LABELS.astype(object)}, rf"{OBJECT}any code that is in it; store `y\.astype\(str\)`$"),
        ({"y": LABELS.astype(float)}, r"strings; got dtype float64 \(`y\.astype\(int\)` converts"),
        ({"y": LABELS.astype("S1")}, r"got dtype \|S1 \(`y\.astype\(str\)` converts bytes to strings\)$"),
        ({"classes": np.arange(4)}, r"`classes` in .* must hold strings; got dtype int64"),
        (TEST | {"y_test": np.array(["0", "1", "2"])}, "`y_test` in .* must hold integers, as `y` does; got"),
        (TEST | {"y_test": np.ones(3)}, "`y_test` in .* must hold integers or strings; got dtype float64"),
        (TEST | {"y": LABELS.astype(str)}, r"`y_test` .* strings, as `y` does; got dtype int64"),
    ],
)
def test_unsuitable_dtypes_are_refused(path, change, message):
    refused(path, TypeError, message, change)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
def test_features_that_are_not_finite_are_refused(path, value, dtype):
    X = numbered(dtype=dtype)
    X[3, 1] = X[7, 0] = value
    came = "nan" if np.isnan(value) else "an infinite value"
    refused(path, ValueError, rf"`X` in .* finite; got {came}, first in row 3, column 1 \(counted", {"X": X})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 1.0}, ValueError, "`validation` must be below 1 where it is a share; got 1.0"),
        ({"test": -0.1}, ValueError, "`test` must be finite and at least 0; got -0.1"),
        ({"test": math.nan}, ValueError, "`test` must be finite and at least 0; got nan"),
        ({"test": "0.1"}, TypeError, "`test` must be a number; got str"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0; got -1"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer; got float"),
        ({"validation": 0.5, "test": 0.5}, ValueError, "take 20 of the 20 samples in 4 classes .*mine.npz"),
    ],
)
def test_invalid_arguments_are_refused(path, arguments, error, message):
    with pytest.raises(error, match=message):
        loaded(path, **GOOD, **arguments)


def test_a_missing_file_is_refused(path):
    with pytest.raises(FileNotFoundError, match=r"mine\.npz"):
        load_npz(path)


def npy(array):
    """The bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"X,y\n1,2\n", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04N.", npy(numbered())],
    ids=["empty", "text", "a header", "start of a zip file", "a pickle", "a single array"],
)
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"mine\.npz must be an \.npz file with arrays; it is truncated, empty or"
    ):
        load_npz(path)


WHOLE = r"in .*mine\.npz must be a whole array; it cannot be read"


@pytest.mark.parametrize("X_name", ["X", "X.npy"])
def test_a_zip_file_without_arrays_is_refused(path, X_name):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(X_name, "something else")
        file.writestr("y.npy", "something else")
    with pytest.raises(ValueError, match=rf"`X` {WHOLE} \(it is not an array\)"):
        load_npz(path)


def zip_with(path, name, start, n_zeros):
    """Write an .npz file whose member `name` is `start` and then zeros, which compress to almost nothing."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w") as member:
            member.write(start)
            for _ in range(n_zeros // 10**6):
                member.write(bytes(10**6))
        archive.writestr("y.npy", "")


@pytest.mark.parametrize(
    "start",
    [
        b"no array",
        b"\x93NUMPY\x02\x00" + (90 * 10**6).to_bytes(4, "little"),  # a header of 90 MB
        b"\x93NUMPY\x01\x00" + (2**16 - 1).to_bytes(2, "little"),  # a header of 64 KiB
    ],
)
@pytest.mark.parametrize("name", ["X", "X.npy"])
def test_a_member_that_is_not_an_array_is_not_unpacked(path, name, start):
    zip_with(path, name, start, 100 * 10**6)
    assert path.stat().st_size < 200_000
    with at_most(5e6), pytest.raises(ValueError, match=f"`X` {WHOLE}"):
        load_npz(path)


def header_of(shape, descr):
    """The header of an .npy file for this shape and dtype."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("shape", "descr"),
    [((10**12,), "<i8"), ((4, 10**12), "<f8"), ((20,), "<U500000000"), ((-1,), "<i8"), ((10**27,), "<i8")],
)
@pytest.mark.parametrize("key", ["X", "y"])
def test_a_header_with_a_false_shape_or_dtype_is_refused(path, key, shape, descr):
    np.savez(path, **{name: array for name, array in GOOD.items() if name != key})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{key}.npy", header_of(shape, descr) + bytes(1000))
    with pytest.raises(ValueError, match=f"`{key}` {WHOLE}"):
        load_npz(path)


@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), hnp.scalar_dtypes(), st.booleans())
def test_a_header_is_read_without_the_values(shared_path, shape, dtype, compressed):
    (np.savez_compressed if compressed else np.savez)(shared_path, X=np.zeros(shape, dtype))
    with _files.opened_npz(shared_path) as stored:
        assert stored["X"].header() == (shape, dtype)
    content = header_of(shape, np.lib.format.dtype_to_descr(dtype))
    assert _files.StoredArray("X", lambda: io.BytesIO(content)).header() == (shape, dtype)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_all_versions_are_read(version):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.zeros((2, 3), "f4"), version)
    stored = _files.StoredArray("X", lambda: io.BytesIO(stream.getvalue()))
    assert stored.header() == ((2, 3), np.float32)


def test_a_pickle_is_not_run(path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (path.with_name("run"),)

    trap = np.empty(20, object)
    trap[:] = Trap()
    np.savez(path, X=numbered(), y=trap)
    with pytest.raises(TypeError, match="got dtype object"):
        load_npz(path)
    assert not path.with_name("run").exists()


@given(st.data())
def test_a_file_truncated_anywhere_is_refused(shared_path, data):
    np.savez(shared_path, **GOOD)
    content = shared_path.read_bytes()
    shared_path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"mine\.npz must be an \.npz file"):
        load_npz(shared_path)


@given(st.data(), st.booleans())
@settings(max_examples=500)
def test_a_file_damaged_anywhere_is_refused_or_harmless(shared_path, data, compressed):
    (np.savez_compressed if compressed else np.savez)(shared_path, **GOOD, classes=np.array(list("abcd")))
    content = bytearray(shared_path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    shared_path.write_bytes(content)
    with contextlib.suppress(ValueError, TypeError):
        found = load_npz(shared_path, validation=0, test=0)
        assert np.array_equal(found.train.X, GOOD["X"])
        assert np.array_equal(found.train.y, GOOD["y"])
