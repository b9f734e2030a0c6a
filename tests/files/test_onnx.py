"""Networks as ONNX models: contents of the file, results of runtimes, and refusals.

The runtimes are onnxruntime and the reference evaluator of the package onnx.
"""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx.reference import ReferenceEvaluator

import twolayer
from twolayer import TwoLayerNet
from twolayer.onnx import export

CLASSES = ("ant", "bee", "été")
# Largest difference between probabilities of two programs, which sum in different orders.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def network(dtype="float32", sizes=(6, 4, 3), seed=0):
    n_features, n_hidden, n_classes = sizes
    shapes = ((n_features, n_hidden), (n_hidden,), (n_hidden, n_classes), (n_classes,))
    rng = np.random.default_rng(seed)
    return TwoLayerNet(*(rng.standard_normal(shape).astype(dtype) for shape in shapes))


def for_pixels(dtype="float32", sizes=(6, 4, 3), seed=0):
    """A network scaled like a trained one: pixels of 0 to 255 give logits of a few units."""
    n_features, n_hidden, _ = sizes
    net = network(dtype, sizes, seed)
    W1, W2 = net.W1 / (100 * math.sqrt(n_features)), 3 * net.W2 / math.sqrt(n_hidden)
    return net._replace(W1=W1.astype(dtype), W2=W2.astype(dtype))


def opened(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, X):
    """Return the logits, probabilities and labels that onnxruntime computes."""
    return opened(path).run(["logits", "probabilities", "label"], {"X": X})


def assert_same(probs, label, expected):
    """Assert that probabilities, and the labels that they decide, are as expected up to rounding.

    Return which samples are decided: their two largest probabilities differ by more than the tolerance.
    """
    tolerance = TOLERANCE[expected.dtype.name]
    assert probs.dtype == expected.dtype
    assert probs.shape == expected.shape
    assert np.max(np.abs(probs - expected)) <= tolerance
    lowest_first = np.sort(expected, axis=1)
    decided = np.full(len(expected), True)
    if expected.shape[1] > 1:
        decided = lowest_first[:, -1] - lowest_first[:, -2] > tolerance
    assert label.dtype == np.int64
    np.testing.assert_array_equal(label[decided], expected.argmax(axis=1)[decided])
    return decided


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx") / "net.onnx"


# Contents of the model


def described(values):
    """Names, dtypes and shapes of inputs or outputs; a free axis is given by its name."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        found[value.name] = (dtype, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim])
        assert value.doc_string.endswith(".")
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_model_has_the_layers_and_the_weights_of_the_network(path, dtype):
    net = network(dtype)
    export(net, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    assert [(node.name, node.op_type, [*node.input], [*node.output]) for node in graph.node] == [
        ("first_layer", "Gemm", ["X", "W1", "b1"], ["Z1"]),
        ("relu", "Relu", ["Z1"], ["H1"]),
        ("second_layer", "Gemm", ["H1", "W2", "b2"], ["logits"]),
        ("softmax", "Softmax", ["logits"], ["probabilities"]),
        ("argmax", "ArgMax", ["logits"], ["label"]),
    ]
    assert described(graph.input) == {"X": (dtype, ["N", 6])}
    assert described(graph.output) == {
        "logits": (dtype, ["N", 3]),
        "probabilities": (dtype, ["N", 3]),
        "label": ("int64", ["N"]),
    }
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert list(stored) == ["W1", "b1", "W2", "b2"]
    for name, array in net._asdict().items():
        assert stored[name].dtype == dtype
        np.testing.assert_array_equal(stored[name], array)


def test_the_model_contains_its_versions_description_and_classes(path):
    export(network(), path, classes=CLASSES)
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert model.ir_version == 7
    assert (model.producer_name, model.producer_version) == ("twolayer", twolayer.__version__)
    about = "A two-layer network with a softmax classifier: 6 features, 4 hidden units, 3 classes."
    assert model.doc_string == about
    (entry,) = model.metadata_props
    assert (entry.key, json.loads(entry.value)) == ("classes", list(CLASSES))
    assert json.loads(opened(path).get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    export(network(), path)
    assert not onnx.load(path).metadata_props


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("input_dtype", ["float32", "float64", "uint8", np.float64, np.dtype(np.uint8), None])
@pytest.mark.parametrize("image_shape", [None, (2, 3), (1, 2, 3)])
def test_the_model_casts_and_flattens_only_if_needed(path, dtype, input_dtype, image_shape):
    export(network(dtype), path, input_dtype=input_dtype, image_shape=image_shape)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    expected = dtype if input_dtype is None else np.dtype(input_dtype).name
    assert described(model.graph.input) == {"X": (expected, ["N", *(image_shape or (6,))])}
    before = ["Cast"] * (expected != dtype) + ["Flatten"] * (len(image_shape or (6,)) > 1)
    assert [node.op_type for node in model.graph.node][:-5] == before


def test_the_input_dtype_may_be_a_dtype_of_any_library(backend, path):
    export(network(), path, input_dtype=backend.xp.uint8)
    assert described(onnx.load(path).graph.input) == {"X": ("uint8", ["N", 6])}


def test_arrays_of_any_library_give_the_same_bytes(backend, path):
    for dtype in backend.dtypes:
        export(network(dtype), path)
        expected = path.read_bytes()
        export(TwoLayerNet(*(backend.array(array, dtype) for array in network(dtype))), path)
        assert path.read_bytes() == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", [1000, 2**31 - 1])
def test_the_memory_order_of_arrays_does_not_change_the_file(path, dtype, limit, monkeypatch):
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", limit)

    def written(net):
        export(net, path, classes=CLASSES, image_shape=(2, 3), input_dtype="uint8")
        return {file.name: file.read_bytes() for file in path.parent.iterdir()}

    net = network(dtype)
    expected = written(net)
    assert len(expected) == (2 if limit == 1000 else 1)
    assert written(net) == expected
    backwards = TwoLayerNet(*(np.flip(np.flip(array).copy()) for array in net))
    swapped = TwoLayerNet(*(array.astype(array.dtype.newbyteorder()) for array in net))
    columns = TwoLayerNet(*(np.asfortranarray(array) for array in net))
    for other in (backwards, swapped, columns):
        assert written(other) == expected


# Results of runtimes


@st.composite
def problems(draw):
    """A network, the shape of its samples, and samples of any accepted dtype."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    sizes = (math.prod(shape), draw(st.integers(1, 6)), draw(st.integers(1, 5)))
    net = for_pixels(draw(st.sampled_from(["float32", "float64"])), sizes, draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from(["uint8", "float32", "float64"]))
    elements = st.integers(0, 255) if dtype == "uint8" else st.floats(-255, 255, width=32)
    X = draw(hnp.arrays(dtype, (draw(st.integers(1, 6)), *shape), elements=elements))
    return net, shape, X


@given(problems())
def test_two_runtimes_agree_with_the_network(shared_path, problem):
    net, shape, X = problem
    export(net, shared_path, image_shape=shape if len(shape) > 1 else None, input_dtype=X.dtype)
    expected = net.predict_proba(X.reshape(len(X), -1))
    for logits, probs, label in (
        run(shared_path, X),
        ReferenceEvaluator(str(shared_path)).run(["logits", "probabilities", "label"], {"X": X}),
    ):
        assert_same(probs, label, expected)
        scale = 1 + np.max(np.abs(logits))
        off = np.max(np.abs(logits - net.logits(X.reshape(len(X), -1))))
        assert off <= TOLERANCE[logits.dtype.name] * scale


def test_one_session_accepts_any_number_of_samples(path):
    net = network()
    export(net, path)
    session = opened(path)
    for n in (1, 2, 100, 3):
        X = np.random.default_rng(n).standard_normal((n, 6)).astype(np.float32)
        probs, label = session.run(["probabilities", "label"], {"X": X})
        assert_same(probs, label, net.predict_proba(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_of_equal_logits_is_the_label(path, dtype):
    W1, b1, W2, _ = network(dtype)
    net = TwoLayerNet(W1, b1, W2[:, [0, 1, 1, 0, 1]], np.zeros(5, dtype))
    export(net, path)
    X = np.random.default_rng(0).standard_normal((50, 6)).astype(dtype)
    _, probs, label = run(path, X)
    np.testing.assert_array_equal(probs[:, 0], probs[:, 3])
    np.testing.assert_array_equal(label, net.predict(X))
    assert set(label) == {0, 1}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand_give_probabilities(path, dtype):
    net = TwoLayerNet(*(np.asarray(array, dtype) for array in (np.eye(2), [0, 0], 1e4 * np.eye(2), [0, 0])))
    export(net, path)
    X = np.asarray([[1, -1], [-1, 1], [1, 1], [0, 0]], dtype)
    logits, probs, label = run(path, X)
    assert logits.max() == 1e4
    # Some versions of onnxruntime return the smallest number that they compute with in place of 0.
    np.testing.assert_allclose(probs, [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]], rtol=0, atol=1e-30)
    np.testing.assert_array_equal(label, [0, 1, 0, 0])


IMAGES = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_thousand_images_are_predicted_as_by_the_network(path, dtype):
    net = for_pixels(dtype, (3072, 50, 10))
    export(net, path, image_shape=(32, 32, 3), input_dtype="uint8")
    _, probs, label = run(path, IMAGES)
    decided = assert_same(probs, label, net.predict_proba(IMAGES))
    assert np.mean(decided) > 0.99
    assert len(set(label)) > 1


@pytest.mark.only_on("torch")
def test_a_saved_network_is_the_same_in_pytorch_and_in_onnxruntime(backend, path):
    """The file of `save` is opened without twolayer, as in docs/elsewhere.md."""
    import torch
    from safetensors.torch import load_file

    for dtype in backend.dtypes:
        net = for_pixels(dtype, (3072, 50, 10))
        twolayer.save(net, path.with_suffix(".safetensors"))
        export(net, path, input_dtype="uint8")
        arrays = load_file(path.with_suffix(".safetensors"))
        X = IMAGES.reshape(len(IMAGES), -1)
        H1 = torch.relu(torch.from_numpy(X).to(arrays["W1"].dtype) @ arrays["W1"] + arrays["b1"])
        logits = H1 @ arrays["W2"] + arrays["b2"]
        in_torch = torch.softmax(logits, dim=1).numpy(), logits.argmax(dim=1).numpy()
        _, *in_onnxruntime = run(path, X)
        expected = net.predict_proba(X)
        for probs, label in (in_torch, in_onnxruntime):
            assert np.mean(assert_same(probs, label, expected)) > 0.99
        assert_same(*in_onnxruntime, in_torch[0])


# Models beyond the size limit of protobuf


@pytest.fixture
def small_files(monkeypatch):
    """Lower the size limit, so that the arrays of any network are stored in a second file."""
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", 1000)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_beyond_the_limit_are_stored_in_a_second_file(path, dtype):
    net = network(dtype, (40, 60, 5))
    for _ in range(2):  # the second export replaces the files of the first
        export(net, path, image_shape=(4, 10))
        assert {file.name for file in path.parent.iterdir()} == {"net.onnx", "net.onnx.data"}
        onnx.checker.check_model(str(path), full_check=True)
        assert path.stat().st_size < 1500
        X = np.random.default_rng(0).standard_normal((20, 4, 10)).astype(dtype)
        _, probs, label = run(path, X)
        assert_same(probs, label, net.predict_proba(X))
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    assert {place["location"] for place in places} == {"net.onnx.data"}
    assert all(int(place["offset"]) % 4096 == 0 for place in places)
    for tensor, array in zip(onnx.load(path).graph.initializer, net, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), array)


@pytest.mark.usefixtures("small_files")
def test_both_files_are_unchanged_if_exporting_fails(path):
    export(network(), path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert len(before) == 2
    bad = network(seed=1)
    bad.b2[1] = np.nan  # found only after the other arrays are written
    with pytest.raises(ValueError, match="`b2` must be finite; got nan"):
        export(bad, path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("taken", ["net.onnx", "net.onnx.data"])
def test_no_file_is_left_if_either_path_is_a_folder(path, taken):
    path.with_name(taken).mkdir()
    with pytest.raises(OSError, match=r"directory|denied"):
        export(network(), path)
    assert [file.name for file in path.parent.iterdir()] == [taken]
    assert path.with_name(taken).is_dir()


def test_a_model_within_the_limit_is_one_file(path, monkeypatch):
    net = network()
    n_bytes = sum(array.nbytes for array in net)
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", n_bytes + 2**20)
    export(net, path)
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", n_bytes + 2**20 - 1)
    export(net, path)
    assert len(list(path.parent.iterdir())) == 2


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"classes": ("a", "b")}, ValueError, "`classes` must name the 3 classes; got 2 names"),
        ({"classes": "abc"}, TypeError, "`classes` must be a sequence of strings; got str"),
        ({"image_shape": (3, 3)}, ValueError, r"`image_shape` must have .* features, 6; got \(3, 3\)"),
        ({"image_shape": (6,)}, ValueError, r"`image_shape` must be \(height, width\) .* got \(6,\)"),
        ({"image_shape": (2.0, 3)}, TypeError, r"`image_shape\[0\]` must be an integer; got float"),
        ({"input_dtype": "int8"}, TypeError, "`input_dtype` must be float32, float64 or uint8; got int8"),
        ({"input_dtype": np.float16}, TypeError, "`input_dtype` must be float32, .* or uint8; got float16"),
        ({"input_dtype": "pixels"}, TypeError, "`input_dtype` must be float32, float64 or uint8; got pixels"),
    ],
)
def test_invalid_arguments_are_refused_and_the_file_is_kept(path, arguments, error, message):
    export(network(), path)
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        export(network(seed=1), path, **arguments)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    export(network(seed=1), path)
    assert path.read_bytes() != before


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_a_network_that_diverged(path, name, value):
    net = network()
    getattr(net, name)[..., 0] = value
    with pytest.raises(ValueError, match=f"`{name}` must be finite; got"):
        export(net, path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (tuple(network()), TypeError, "`net` must be a TwoLayerNet; got tuple"),
        (network("float16"), TypeError, "`W1` must have dtype float32 or float64; got float16"),
        (
            twolayer.stack([network(), network()]),
            ValueError,
            r"a stack of 2 \(`net\.select\(k\)` returns",
        ),
    ],
    ids=["a tuple", "half precision", "a stack"],
)
def test_refuses_objects_that_cannot_be_exported(path, net, error, message):
    with pytest.raises(error, match=message):
        export(net, path)
    assert not path.exists()


def test_refuses_a_folder_that_does_not_exist(path):
    with pytest.raises(OSError, match=r"cannot write into the folder of net\.onnx"):
        export(network(), path.parent / "nowhere" / path.name)


def test_the_error_names_the_extra_if_onnx_is_missing(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"as ONNX needs onnx, .*; install it with .*\[onnx\]"):
        export(network(), path)
    assert not path.exists()


def test_a_pickled_estimator_and_saved_files_predict_the_same(path, tmp_path):
    import pickle

    from twolayer.sklearn import TwoLayerClassifier

    rng = np.random.default_rng(0)
    images, more = (rng.integers(0, 256, (n, 48)) / 255 for n in (200, 10_000))
    labels = (images[:, :3] @ np.array([1.0, 2.0, 4.0])).round().astype(int)
    for dtype in ("float32", "float64"):
        model = TwoLayerClassifier(20, max_iter=5, random_state=0).fit(images.astype(dtype), labels)
        X = more.astype(dtype)
        expected = model.net_.predict_proba(X)
        again = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own
        codes = np.searchsorted(model.classes_, again.predict(X))
        assert_same(again.predict_proba(X), codes, expected)
        twolayer.save(model.net_, tmp_path / "net.safetensors")
        loaded = twolayer.load(tmp_path / "net.safetensors")
        assert_same(loaded.predict_proba(X), loaded.predict(X), expected)
        export(model.net_, path)
        _, probs, label = run(path, X)
        assert_same(probs, label, expected)
