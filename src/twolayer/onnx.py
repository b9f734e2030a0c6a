"""Networks as ONNX models, for programs that know nothing of twolayer or of Python.

The model is a handful of standard operators, named as in the rest of twolayer::

    X -> [Cast] -> [Flatten] -> Gemm -> Z1 -> Relu -> H1 -> Gemm -> logits -> Softmax -> probabilities
                                                                    logits -> ArgMax  -> label
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np

from ._files import written_whole
from ._image_shifts import check_image_shape
from ._namespace import Array, dtype_name, to_host
from ._onnx_encoding import ML_OPSET, EncodingGraph
from ._optional import require
from ._texts import checked_classes
from ._validation import check_finite, check_network
from ._version import __version__
from .encoding import TableEncoder, check_encoder
from .network import TwoLayerNet

# The first version in which each operator means what it means today: Softmax is over one axis since 13, and
# ArgMax says which of equal values it takes since 12. Later versions add types that are not needed here.
OPSET = 13

INPUT_DTYPES = ("float32", "float64", "uint8")

# A file's tensors begin at a multiple of this many bytes, so that a runtime can map them into memory.
_PAGE = 4096
# The bytes of a file that everything but the tensors may take, generously.
_REST = 2**20


def export(
    net: TwoLayerNet,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
    input_dtype: Any = None,
    encoder: TableEncoder | None = None,
) -> None:
    """Write a network as an ONNX model, which onnxruntime and many other programs can run.

    The file is written beside its place and moved there whole; a file that was there is replaced, and its
    mode kept. Links are followed; into a pipe or a device the file is written when it is whole. The same
    network gives the same bytes. Where the arrays take more than the 2 GiB that such a file can hold, they go
    to a file of their own beside it, ``path`` with ``.data`` appended, and a program needs both.

    Parameters
    ----------
    net : TwoLayerNet
        One network, not a stack. Arrays of any library on any device, float32 or float64: the model computes
        in the same dtype.
    path : path
        The file, by custom ``.onnx``. Its folder must exist.
    classes : sequence of str, optional
        Names of the classes, which the model's metadata then hold as ``classes``, a JSON list.
    image_shape : sequence of int, optional
        Shape of a sample that is an image: (height, width) or (height, width, channels). The model then takes
        images, and flattens them itself; without it, it takes samples as rows of D features.
    input_dtype : dtype or str, optional
        What the model takes: float32, float64 or uint8, which it casts to the network's dtype. The network's
        own dtype where it is left out.
    encoder : TableEncoder, optional
        What makes the network's features of a table's columns. The model then takes the columns.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    TypeError
        If the arrays are neither float32 nor float64, ``classes`` are not strings, or ``input_dtype`` is
        another dtype.
    ValueError
        If this is a stack; if the arrays do not fit each other, or hold a NaN or infinity; if ``classes``,
        ``image_shape`` or ``encoder`` do not fit the network, or the latter two are both given; if
        `twolayer.storage.save` would refuse the names of the classes.
    OSError
        If the file cannot be written.

    Notes
    -----
    The model has one input and three outputs. N, the number of samples, is free in each run.

    ================= ====================== =================================================
    Name              Shape                  Content
    ================= ====================== =================================================
    ``X``             (N, D) or (N, ...)     samples as the network's user has them
    ``logits``        (N, C)                 max(X W1 + b1, 0) W2 + b2
    ``probabilities`` (N, C)                 softmax(logits)
    ``label``         (N,), int64            the largest logit's; of equal ones the first
    ================= ====================== =================================================

    It has ONNX's operator set 13 and IR version 7 [1]_, which are of 2020, and no other operators than
    Cast, Flatten, Gemm, Relu, Softmax and ArgMax. Sums are taken in another order than here, so results
    differ by rounding.

    With an encoder, each column is an input (N, 1) of its name: numbers, booleans and durations float64, with
    nan for a gap; dates int64, microseconds since 1970 in UTC, with -2**63 for a gap; texts strings, with ""
    for a gap. The model then has more operators, and LabelEncoder of the set ai.onnx.ml, version 2.

    References
    ----------
    .. [1] Open Neural Network Exchange: Operator Schemas. https://onnx.ai/onnx/operators/

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> import twolayer
    >>> net = twolayer.TwoLayerNet.initialize(4, 10, 3, rng=0)
    >>> twolayer.onnx.export(net, "network.onnx")
    >>> session = onnxruntime.InferenceSession("network.onnx")
    >>> X = np.ones((5, 4), dtype=np.float32)
    >>> probabilities, label = session.run(["probabilities", "label"], {"X": X})
    >>> bool(np.allclose(probabilities, net.predict_proba(X), atol=1e-6))
    True
    """
    onnx = require("onnx", extra="onnx", purpose="exporting a network as ONNX")

    check_network(net)
    if net.n_networks is not None:
        raise ValueError(
            f"`net` must be one network; got a stack of {net.n_networks} "
            f"(`net.select(k)` takes one of them, `twolayer.merge` makes one of all)"
        )
    dtype = dtype_name(net.W1.dtype)
    taken = dtype if input_dtype is None else dtype_name(input_dtype)
    if taken not in INPUT_DTYPES:
        raise TypeError(f"`input_dtype` must be float32, float64 or uint8; got {taken}")
    shape = (net.n_features,) if image_shape is None else check_image_shape(image_shape, net.n_features)
    if encoder is not None:
        check_encoder(encoder, net.n_features)
        if image_shape is not None or input_dtype is not None:
            raise ValueError("`image_shape` and `input_dtype` must be left out where `encoder` is given")
    named = {} if classes is None else {"classes": json.dumps(checked_classes(classes, net.n_classes))}

    path = Path(path)
    n_bytes = sum(math.prod(array.shape) for array in net) * np.dtype(dtype).itemsize
    # Closed and moved to their places from the last to the first: the tensors before what refers to them.
    with ExitStack() as files:
        file = files.enter_context(written_whole(path))
        data: IO[bytes] | None = None
        beside = path.with_name(f"{path.name}.data")
        if n_bytes + _REST > onnx.checker.MAXIMUM_PROTOBUF:
            data = files.enter_context(written_whole(beside))
        model = _model(net, shape, taken, encoder, onnx)
        onnx.helper.set_model_props(model, named)
        for name, array in net._asdict().items():  # one by one, as each is copied on its way
            model.graph.initializer.append(_tensor(name, array, data, beside.name, onnx))
        file.write(model.SerializeToString())


def _tensor(name: str, array: Array, data: IO[bytes] | None, data_name: str, onnx: ModuleType) -> Any:
    """Return an array as ONNX's tensor, its values in the file ``data`` where there is one."""
    host = np.ascontiguousarray(to_host(array), dtype=dtype_name(array.dtype))
    check_finite(host, name=name)
    if data is None:
        return onnx.numpy_helper.from_array(host, name)
    tensor = onnx.numpy_helper.from_array(host[:0], name)
    tensor.dims[:] = host.shape
    data.seek(-data.tell() % _PAGE, os.SEEK_CUR)
    onnx.external_data_helper.set_external_data(tensor, data_name, offset=data.tell(), length=host.nbytes)
    tensor.ClearField("raw_data")
    data.write(host.data)
    return tensor


def _model(
    net: TwoLayerNet, shape: tuple[int, ...], taken: str, encoder: TableEncoder | None, onnx: ModuleType
) -> Any:
    """Return the model of a network, but for its arrays, which takes samples of this shape and dtype."""
    helper = onnx.helper
    dtype = dtype_name(net.W1.dtype)
    nodes: list[Any] = []

    def kind(name: str) -> Any:
        return helper.np_dtype_to_tensor_dtype(np.dtype(name))

    def node(name: str, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def value(name: str, dtype: str, shape: Sequence[int], says: str) -> Any:
        return helper.make_tensor_value_info(name, kind(dtype), ["N", *shape], doc_string=says)

    X, opsets = "X", [helper.make_opsetid("", OPSET)]
    inputs = [value("X", taken, shape, "Samples as the network's user has them: not scaled or centred.")]
    if encoder is not None:
        encoding = EncodingGraph(encoder, dtype, onnx)
        X, inputs, nodes[:] = encoding.output, encoding.inputs, encoding.nodes
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    elif taken != dtype:
        X = node("cast", "Cast", [X], "X_cast", to=kind(dtype))
    if len(shape) != 1:
        X = node("flatten", "Flatten", [X], "X_flat", axis=1)
    Z1 = node("first_layer", "Gemm", [X, "W1", "b1"], "Z1")
    H1 = node("relu", "Relu", [Z1], "H1")
    logits = node("second_layer", "Gemm", [H1, "W2", "b2"], "logits")
    node("softmax", "Softmax", [logits], "probabilities", axis=1)
    node("argmax", "ArgMax", [logits], "label", axis=1, keepdims=0)

    graph = helper.make_graph(
        nodes,
        "two_layer_net",
        inputs=inputs,
        outputs=[
            value("logits", dtype, [net.n_classes], "A number for each class."),
            value("probabilities", dtype, [net.n_classes], "The probability of each class."),
            value("label", "int64", [], "The predicted class: the first of the largest logit."),
        ],
    )
    return helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="twolayer",
        producer_version=__version__,
        doc_string=(
            f"A two-layer network with a softmax classifier: {net.n_features} features, "
            f"{net.n_hidden} hidden units, {net.n_classes} classes."
        ),
    )
