"""Networks in files: saving, loading and refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.memory import at_most
from support.strategies import any_texts, is_printable

import twolayer
from twolayer import TwoLayerNet
from twolayer._files import write_safetensors
from twolayer._namespace import to_host
from twolayer.checkpoints import save_run
from twolayer.storage import NetworkMetadata, load, load_metadata, save

NAMES = ("W1", "b1", "W2", "b2")
CLASSES = ("ant", "bee", "été")
SIZES = {"n_features": "6", "n_hidden": "4", "n_classes": "3"}
METADATA = {"format": "twolayer", "format_version": "1", **SIZES, "twolayer_version": "0.1.0"}


def network(stack=(), dtype="float32", sizes=(6, 4, 3), seed=0):
    n_features, n_hidden, n_classes = sizes
    shapes = ((n_features, n_hidden), (n_hidden,), (n_hidden, n_classes), (n_classes,))
    rng = np.random.default_rng(seed)
    return TwoLayerNet(*(rng.standard_normal((*stack, *shape)).astype(dtype) for shape in shapes))


def same(first, second):
    """Whether two networks have the same shapes, dtypes and bits."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True)]
    return all(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory):
    return tmp_path_factory.mktemp("storage") / "net.safetensors"


@st.composite
def networks(draw):
    """A network or a stack with any finite weights, in any memory order."""
    dtype = draw(st.sampled_from(["float32", "float64", ">f4", ">f8"]))
    stack = draw(st.sampled_from([(), (1,), (3,)]))
    n_features, n_hidden, n_classes = draw(st.tuples(*[st.integers(1, 5)] * 3))
    shapes = ((n_features, n_hidden), (n_hidden,), (n_hidden, n_classes), (n_classes,))
    elements = st.floats(allow_nan=False, allow_infinity=False, width=32)
    arrays = [draw(hnp.arrays(dtype, (*stack, *shape), elements=elements)) for shape in shapes]
    if draw(st.booleans()):
        arrays = [np.asfortranarray(array) for array in arrays]
    return TwoLayerNet(*arrays)


# Loading what was saved


@given(networks())
def test_a_loaded_network_equals_the_saved_one_bit_for_bit(shared_path, net):
    save(net, shared_path)
    found = load(shared_path)
    native = TwoLayerNet(*(array.astype(array.dtype.newbyteorder("=")) for array in net))
    assert same(found, native)
    metadata = load_metadata(shared_path)
    for name in ("n_networks", "n_features", "n_hidden", "n_classes"):
        assert getattr(metadata, name) == getattr(net, name)


def test_arrays_of_any_library_are_saved_and_loaded(backend, path):
    for stack in ((), (2,)):
        for dtype in backend.dtypes:
            net = TwoLayerNet(*(backend.array(array, dtype) for array in network(stack, dtype)))
            save(net, path)
            assert same(load(path), network(stack, dtype))
            found = load(path, backend.xp, backend.device)
            assert all(backend.owns(array) for array in found)
            assert same([to_host(array) for array in found], network(stack, dtype))


def test_loading_float64_is_refused_by_a_library_without_it(backend, path):
    save(network(dtype="float64"), path)
    if "float64" in backend.dtypes:
        assert to_host(load(path, backend.xp, backend.device).W1).dtype == np.float64
    else:
        with pytest.raises(TypeError, match="got float64"):
            load(path, backend.xp, backend.device)


def test_changing_a_loaded_network_does_not_change_the_next_load(path):
    save(network(), path)
    first = load(path)
    first.W1[...] = 0
    assert same(load(path), network())


def test_metadata_are_loaded_as_saved(path):
    save(
        network(),
        path,
        classes=CLASSES,
        image_shape=(2, 3),
        preprocessing={"mean": np.arange(3, dtype=np.float32) / 4, "scale": np.float64(0.5)},
        information={
            "settings": {"reg": 0.1, "grid": (1, 2)},
            "name": "é\ud800",
            "n": np.int64(3),
            "on": True,
        },
    )
    assert load_metadata(path) == NetworkMetadata(
        n_features=6,
        n_hidden=4,
        n_classes=3,
        n_networks=None,
        classes=CLASSES,
        image_shape=(2, 3),
        preprocessing={"mean": [0.0, 0.25, 0.5], "scale": 0.5},
        information={"settings": {"reg": 0.1, "grid": [1, 2]}, "name": "é\ud800", "n": 3, "on": True},
        format_version=1,
        twolayer_version=twolayer.__version__,
    )


def test_long_lists_in_metadata_are_shown_shortened(path):
    save(network(), path, classes=CLASSES, preprocessing={"mean": np.zeros(3072), "scale": 0.123456789})
    shown = repr(load_metadata(path))
    assert shown.startswith(
        f"NetworkMetadata(n_features=6, n_hidden=4, n_classes=3, n_networks=None, classes={CLASSES}"
    )
    assert "'mean': [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ...], 'scale': 0.123456789}" in shown


def test_omitted_metadata_are_none_or_empty(path):
    save(network((2,)), path)
    metadata = load_metadata(path)
    assert (metadata.n_networks, metadata.information) == (2, {})
    assert metadata.classes is metadata.image_shape is metadata.preprocessing is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.classes = ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(any_texts, JSON, max_size=4))
def test_any_information_is_loaded_as_saved(shared_path, information):
    save(network(), shared_path, information=information, preprocessing=information)
    metadata = load_metadata(shared_path)
    assert metadata.information == metadata.preprocessing == information


@given(st.lists(any_texts, min_size=3, max_size=3))
def test_class_names_are_loaded_as_saved_or_refused(shared_path, classes):
    if all(map(is_printable, classes)) and len(set(classes)) == 3:
        save(network(), shared_path, classes=classes)
        assert load_metadata(shared_path).classes == tuple(classes)
        return
    shared_path.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"^`classes` must (hold printable characters|be different names)"):
        save(network(), shared_path, classes=classes)
    assert not shared_path.exists()
    write(shared_path, classes=json.dumps(classes))
    if len(set(classes)) == 3:  # earlier versions saved unprintable names
        assert load_metadata(shared_path).classes == tuple(classes)
        return
    for read in (load, load_metadata):
        with pytest.raises(ValueError, match=r"^`classes` in the .* must be different names") as caught:
            read(shared_path)
        assert is_printable(str(caught.value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan"), np.array(np.inf)])
def test_numbers_that_json_lacks_are_saved_as_none(path, value):
    save(network(), path, information={"accuracy": value, "all": [value, 1.0]})
    assert load_metadata(path).information == {"accuracy": None, "all": [None, 1.0]}


@given(networks(), st.dictionaries(st.text(), JSON, max_size=3))
def test_the_same_network_gives_the_same_bytes(shared_path, net, information):
    contents = set()
    for _ in range(3):
        save(net, shared_path, information=information)
        contents.add(shared_path.read_bytes())
    assert len(contents) == 1


# The format, which must not change: these tests read it by hand, following its specification.


@pytest.mark.parametrize("stack", [(), (2,)])
@pytest.mark.parametrize(("dtype", "letter"), [("float32", "f"), ("float64", "d")])
def test_the_file_follows_the_specification(path, stack, dtype, letter):
    net = network(stack, dtype)
    save(net, path, classes=CLASSES, image_shape=(2, 3), preprocessing={"a": 1}, information={"b": [2]})
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    assert start % 8 == 0
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__")
    assert metadata.pop("n_networks", None) == ("2" if stack else None)
    about = {
        "classes": list(CLASSES),
        "image_shape": [2, 3],
        "preprocessing": {"a": 1},
        "information": {"b": [2]},
    }
    assert {name: json.loads(metadata.pop(name)) for name in about} == about
    assert metadata == METADATA | {"twolayer_version": twolayer.__version__}
    assert sorted(header) == ["W1", "W2", "b1", "b2"]
    for name, array in net._asdict().items():
        first, stop = header[name]["data_offsets"]
        assert header[name]["dtype"] == {"f": "F32", "d": "F64"}[letter]
        assert header[name]["shape"] == list(array.shape)
        values = struct.unpack(f"<{array.size}{letter}", content[start + first : start + stop])
        assert list(values) == array.reshape(-1).tolist()


# Reading without twolayer, with the safetensors package and its reader for each library.


def noncontiguous(stack, dtype="float32"):
    """A network whose arrays have other memory orders than the row-major order of the format."""
    net = network(stack, dtype)
    reversed_, doubled = net.b1[..., ::-1].copy()[..., ::-1], np.repeat(net.b2, 2, axis=-1)[..., ::2]
    return TwoLayerNet(np.asfortranarray(net.W1), reversed_, np.asfortranarray(net.W2), doubled)


@given(
    arrays=st.dictionaries(
        st.text(max_size=5),
        st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<i8", ">i8"]).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
        ),
        max_size=5,
    ),
    order=st.sampled_from(["C", "F", "reversed"]),
)
def test_safetensors_reads_any_arrays(shared_path, arrays, order):
    from safetensors.numpy import load_file

    arrays = {
        name: a[::-1] if order == "reversed" else np.asarray(a, order=order) for name, a in arrays.items()
    }
    write_safetensors(shared_path, arrays, {"b": "é", "a": "{}"})
    found = load_file(shared_path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)
    content = shared_path.read_bytes()
    write_safetensors(shared_path, dict(reversed(arrays.items())), {"a": "{}", "b": "é"})
    assert shared_path.read_bytes() == content


@pytest.mark.parametrize(("order", "copies"), [("C", 0), ("F", 1)])
def test_saving_takes_little_memory(path, order, copies):
    net = TwoLayerNet.initialize(1000, 500, 10, rng=0, dtype="float64")
    net = TwoLayerNet(*(np.asarray(array, order=order) for array in net))
    run = twolayer.train(net, np.ones((4, 1000)), np.arange(4), steps=1)
    run = dataclasses.replace(run, net=net, best=net, last=net)
    save(net, path)  # so that imports and caches do not count below
    for write in (save, lambda net, path: save_run(run, path)):
        with at_most(copies * net.W1.nbytes + 2**19):  # `W1` has 4 MB
            write(net, path)


def logits_by_hand(tensors, X, xp):
    Z1 = X @ tensors["W1"] + tensors["b1"][None, :]
    return xp.maximum(Z1, xp.zeros_like(Z1)) @ tensors["W2"] + tensors["b2"][None, :]


@pytest.mark.parametrize("stack", [(), (2,)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_safetensors_package_reads_the_file(path, stack, dtype):
    from safetensors import safe_open
    from safetensors.numpy import load_file

    net = noncontiguous(stack, dtype)
    assert not net.W1.flags.c_contiguous
    save(net, path, classes=CLASSES, preprocessing={"mean": 0.5})
    found = load_file(path)
    assert set(found) == set(NAMES)
    assert same([found[name] for name in NAMES], net)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in NAMES}
    assert shapes == {name: getattr(net, name).shape for name in NAMES}
    assert (metadata["format"], metadata["format_version"]) == ("twolayer", "1")
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert json.loads(metadata["preprocessing"]) == {"mean": 0.5}


@pytest.mark.only_on("torch", "jax")
def test_the_safetensors_reader_of_each_library_reads_the_file(backend, path):
    net = noncontiguous(())
    save(net, path)
    name, module = {"torch": ("torch", "torch"), "jax": ("flax", "jax.numpy")}[backend.library]
    reader, xp = importlib.import_module(f"safetensors.{name}"), importlib.import_module(module)
    found = reader.load_file(path)
    assert same([to_host(found[name]) for name in NAMES], net)
    X = np.random.default_rng(0).standard_normal((5, 6)).astype("float32")
    by_hand = to_host(logits_by_hand(found, xp.asarray(X), xp))
    np.testing.assert_allclose(by_hand, net.logits(X), rtol=1e-5, atol=1e-6)


@pytest.mark.only_on("torch", "jax")
def test_transposed_arrays_of_a_library_are_saved_correctly(backend, path):
    """A transposed array has another memory order; safetensors would write its memory as it is."""
    net = network()
    arrays = [backend.array(array, "float32") for array in net]
    for i in (0, 2):
        arrays[i] = backend.array(net[i].T.copy(), "float32").T
    save(TwoLayerNet(*arrays), path)
    assert same(load(path), net)


def write(path, tensors=None, drop=(), **changes):
    """Write a file by hand, as `save` would, with these changes."""
    net = network()
    tensors = net._asdict() if tensors is None else tensors
    metadata = {key: value for key, value in (METADATA | changes).items() if key not in drop}
    kinds = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32"}
    header, data = {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        stop = len(data) + array.nbytes
        dtype, shape = kinds[array.dtype.name], list(array.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), stop]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_a_file_written_by_hand_is_read(path):
    write(path)
    assert same(load(path), network())
    assert load_metadata(path).twolayer_version == "0.1.0"


def test_keys_that_a_later_release_may_add_are_ignored(path):
    write(path, licence="CC0-1.0", n_samples="12")
    assert same(load(path), network())


# Refusals


def test_saving_replaces_a_file_and_a_failure_leaves_it_unchanged(path):
    save(network(), path)
    before = path.read_bytes()
    net = network(seed=1)
    net.W1[1, 2] = np.inf
    with pytest.raises(ValueError, match=r"`W1` must be finite; .* in row 1, column 2"):
        save(net, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    save(network(seed=1), path)
    assert same(load(path), network(seed=1))


def test_refuses_a_folder_that_does_not_exist(path):
    with pytest.raises(OSError, match=r"cannot write into the folder of net\.safetensors"):
        save(network(), path.parent / "nowhere" / path.name)
    for read in (load, load_metadata):
        with pytest.raises(FileNotFoundError, match=r"net\.safetensors"):
            read(path)


@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_refuses_to_save_another_dtype(path, dtype):
    with pytest.raises(TypeError, match=r"float32 or float64|real floating"):
        save(network(dtype=dtype), path)
    assert not path.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_to_save_a_network_that_diverged(path, name, value):
    net = network((2,))
    getattr(net, name)[1, ..., 0] = value
    with pytest.raises(ValueError, match=f"`{name}` must be finite; got"):
        save(net, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"classes": ("a", "b")}, ValueError, "`classes` must name the 3 classes; got 2 names"),
        ({"classes": ("a", "b", "c", "d")}, ValueError, "`classes` must name the 3 classes; got 4 names"),
        ({"classes": "abc"}, TypeError, "`classes` must be a sequence of strings; got str"),
        ({"classes": (0, 1, 2)}, TypeError, "`classes` must be a sequence of strings; got tuple"),
        ({"classes": ("cat", "dog", "cat")}, ValueError, "`classes` must be different names; got 'cat' 2"),
        ({"classes": ("a", "b\ud800", "c")}, ValueError, r"`classes` must hold .*; got 'b\\ud800'$"),
        ({"classes": ("a", "b\n", "c")}, ValueError, r"characters only; got 'b\\n' \(`text.strip\(\)` "),
        ({"image_shape": (3, 3)}, ValueError, r"`image_shape` must have .* features, 6; got \(3, 3\)"),
        ({"image_shape": (-2, -3)}, ValueError, r"`image_shape\[0\]` must be at least 1; got -2"),
        ({"image_shape": (2.0, 3.0)}, TypeError, r"`image_shape\[0\]` must be an integer; got float"),
        ({"image_shape": (6,)}, ValueError, r"`image_shape` must be \(height, width\) or .*; got \(6,\)"),
        ({"image_shape": (1, 1, 2, 3)}, ValueError, r"`image_shape` must be .*; got \(1, 1, 2, 3\)"),
        ({"image_shape": ()}, ValueError, r"`image_shape` must be .*; got \(\)"),
        ({"preprocessing": [1]}, TypeError, "`preprocessing` must be a mapping; got list"),
        ({"information": {"a": {"b": [{1, 2}]}}}, TypeError, r"`information\['a'\]\['b'\]\[0\]` .* got set"),
        ({"information": {"a": {1: 2}}}, TypeError, "must be something that JSON can hold; got dict"),
        ({"information": {"a": 1j}}, TypeError, "must be something that JSON can hold; got complex"),
        ({"information": {"a": np.datetime64("2020-01-01")}}, TypeError, "that JSON can hold; got date"),
    ],
)
def test_refuses_to_save_metadata_that_do_not_fit(path, arguments, error, message):
    with pytest.raises(error, match=message):
        save(network(), path, **arguments)
    assert not path.exists()


def test_refuses_to_save_arrays_that_do_not_fit(path):
    with pytest.raises(ValueError, match=r"`b1` must have shape \(4,\); got \(3,\)"):
        save(network()._replace(b1=np.zeros(3, np.float32)), path)


@pytest.mark.parametrize("read", [load, load_metadata])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"text " * 100, b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}"]
)
def test_refuses_a_file_of_another_kind(path, read, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors must be a (safetensors file|network saved by)"):
        read(path)


def with_header(header, *, length=None, data=b""):
    """A safetensors file with this header; the length stated for the header may be false."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def claimed(shape, offsets=(0, 16)):
    """A header that states this shape and these offsets for `W1`."""
    return {"W1": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize("read", [load, load_metadata])
@pytest.mark.parametrize(
    "content",
    [
        with_header(b"{}", length=2**62),
        with_header(b"{}", length=99_000_000),
        with_header(b"{}" + b" " * 100_000_000),
        with_header(b"[" * 100_000),
        with_header(claimed([10**12, 4]), data=bytes(16)),
        with_header(claimed([2**62, 4]), data=bytes(16)),
        with_header(claimed([2**32, 2**32]), data=bytes(16)),
        with_header(claimed([-2, -2]), data=bytes(16)),
        with_header(claimed([2, 2], (0, 2**62)), data=bytes(16)),
        with_header(claimed([2, 2], (16, 0)), data=bytes(16)),
        with_header(
            b'{"W1":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}' % (b"9" * 5000), data=bytes(16)
        ),
    ],
    ids=range(11),
)
def test_a_false_header_is_refused_before_memory_is_allocated(path, read, content):
    path.write_bytes(content)
    with at_most(5e6), pytest.raises(ValueError, match=r"net\.safetensors must be a ") as caught:
        read(path)
    assert len(str(caught.value)) < 500


def changed(**arrays):
    """The arrays of a network with these changes; an array of None is left out."""
    return {name: array for name, array in (network()._asdict() | arrays).items() if array is not None}


@pytest.mark.parametrize("read", [load, load_metadata])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": ["format"]}, r"must be a network saved by twolayer; it is a safetensors file of another"),
        ({"format": "twolayer checkpoint"}, "a run's checkpoint, which `twolayer.ch.*load_run` loads$"),
        ({"format": "pt"}, "must be a network saved by twolayer; it is a safetensors file of another kind"),
        ({"format_version": "2"}, "of format version 1; got version 2, .*: upgrade twolayer to read it"),
        ({"format_version": "one"}, "`format_version` in .* must be an integer of at least 1; got 'one'"),
        ({"format_version": "0"}, "`format_version` in .* must be an integer of at least 1; got '0'"),
        ({"format_version": "true"}, "`format_version` in .* must be an integer of at least 1; got 'true'"),
        ({"drop": ["format_version"]}, "must have `format_version`; it is missing"),
        ({"drop": ["n_hidden"]}, "must have `n_hidden`; it is missing"),
        ({"drop": ["twolayer_version"]}, "must have `twolayer_version`; it is missing"),
        ({"n_classes": "3.0"}, "`n_classes` in .* must be an integer of at least 1; got '3.0'"),
        ({"n_features": "9" * 5000}, "`n_features` in .* must be an integer .*; got '9{40}'$"),
        ({"n_hidden": "5"}, r"`W1` in .* must have shape \(6, 5\) to fit the rest; got \(6, 4\)"),
        ({"n_networks": "1"}, r"`W1` in .* must have shape \(1, 6, 4\) to fit the rest; got \(6, 4\)"),
        ({"n_networks": "null"}, "`n_networks` in .* must be an integer of at least 1; got 'null'"),
        ({"classes": '["a", "b"]'}, "`classes` in .* must be a list of 3 strings; got"),
        ({"classes": "[1, 2, 3]"}, "`classes` in .* must be a list of 3 strings; got"),
        ({"classes": '"abc"'}, "`classes` in .* must be a list of 3 strings; got"),
        ({"classes": "[" * 100_000}, "`classes` in .* must be a list of 3 strings; got"),
        ({"classes": '["a", "b", "a"]'}, "`classes` in .* must be different names; got 'a' 2 times"),
        ({"image_shape": "[2, 2]"}, "`image_shape` in .* two or three integers with the product 6; got"),
        (
            {"image_shape": "[-2, -3]"},
            "`image_shape` in .* must be a list of two or three integers with the product 6",
        ),
        ({"image_shape": "[6]"}, "`image_shape` in .* must be a list of two or three integers with .*; got"),
        ({"image_shape": "[1, 2, 3, 1]"}, "`image_shape` in .* must be a list of two or three integers with"),
        ({"image_shape": "6"}, "`image_shape` in .* two or three integers with the product 6; got '6'"),
        ({"preprocessing": "[]"}, r"`preprocessing` in .* must be an object; got '\[\]'"),
        ({"information": "{"}, "`information` in .* must be an object; got '{'"),
        ({"tensors": changed(b2=None)}, "must be a whole network; something is missing in it .'b2'.$"),
        ({"tensors": changed(W3=np.zeros(2))}, "must hold nothing but a network; got W3$"),
        ({"tensors": {}}, "`W1` in .* must be F32 or F64; got none"),
        ({"tensors": changed(**{"\x1b]0;a\u202e": np.zeros(2)})}, r"network; got \\x1b\]0;a\\u202e$"),
        ({"tensors": changed(**{f"{i:05}": np.zeros(1) for i in range(20_000)})}, "got 00000, .{190,192}…$"),
        ({"tensors": changed(W2=network().W2.T.copy())}, r"`W2` in .* shape \(4, 3\) to .*; got \(3, 4\)"),
        ({"tensors": network(dtype="float16")._asdict()}, "`W1` in .* must be F32 or F64; got F16"),
        ({"tensors": network(dtype="int32")._asdict()}, "`W1` in .* must be F32 or F64; got I32"),
        ({"tensors": changed(b1=np.zeros(4))}, "`b1` in .* must be F32; got F64"),
    ],
)
def test_refuses_a_malformed_file(path, read, change, message):
    write(path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_refuses_to_load_weights_that_are_not_finite(path):
    write(path, tensors=changed(b1=np.array([0, np.nan, 0, 0], np.float32)))
    with pytest.raises(ValueError, match=r"`b1` in .*net\.safetensors must be finite; got nan"):
        load(path)


def test_refuses_an_object_that_is_not_an_array_library(path):
    save(network(), path)
    with pytest.raises(TypeError, match="`xp` must be an array library"):
        load(path, xp=json)


@given(st.data())
def test_a_file_truncated_anywhere_is_refused(shared_path, data):
    save(network(), shared_path, classes=CLASSES)
    content = shared_path.read_bytes()
    shared_path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    for read in (load, load_metadata):
        with pytest.raises(ValueError, match=r"net\.safetensors must be a safetensors file; it is truncated"):
            read(shared_path)


@given(st.data(), st.sampled_from([(), (2,)]))
@settings(max_examples=500)
def test_a_file_damaged_anywhere_is_loaded_or_refused(shared_path, data, stack):
    about = {"image_shape": (2, 3), "preprocessing": {}, "information": {"a": 1}}
    save(network(stack), shared_path, classes=CLASSES, **about)
    content = bytearray(shared_path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    shared_path.write_bytes(content)
    header = 8 + int.from_bytes(content[:8], "little")
    for read in (load, load_metadata):
        with contextlib.suppress(ValueError):
            found = read(shared_path)
            # Damage to the header must not change the weights; damage to the data may.
            if read is load and place < header:
                assert same(found, network(stack))
