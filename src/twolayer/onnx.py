"""Export of networks as ONNX models, for programs without twolayer or Python.

The model consists of a few standard operators. Its tensors have the names used throughout twolayer::

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

# The first version with today's meaning of each operator: since 13 Softmax is over one axis, and since 12
# ArgMax defines which of equal values it selects. Later versions add types that are not needed here.
OPSET = 13

INPUT_DTYPES = ("float32", "float64", "uint8")

# Tensors in a separate file begin at a multiple of this many bytes, so that a runtime can map them to memory.
_PAGE = 4096
# A generous bound on the bytes of everything in a file except the tensors.
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

    The file is written under a temporary name in the same folder, then moved to ``path``. An existing file is
    replaced, and its mode is kept. Links are followed. If ``path`` is a pipe or a device, the complete
    content is written into it. The same network gives the same bytes. If the arrays exceed the 2 GiB that an
    ONNX file can hold, they are written to a second file, ``path`` with ``.data`` appended; programs need
    both files.

    Parameters
    ----------
    net : TwoLayerNet
        One network, not a stack. Its arrays may be of any library and on any device, float32 or float64. The
        model computes in the same dtype.
    path : path
        The file, usually named ``*.onnx``. Its folder must exist.
    classes : sequence of str, optional
        Names of the classes. The model's metadata contain them as ``classes``, a JSON list.
    image_shape : sequence of int, optional
        Shape of a sample that is an image: (height, width) or (height, width, channels). The model then
        accepts images and flattens them. By default, it accepts samples as rows of D features.
    input_dtype : dtype or str, optional
        Dtype of the model's input: float32, float64 or uint8. The model casts it to the network's dtype,
        which is the default.
    encoder : TableEncoder, optional
        The encoder that computes the network's features from the columns of a table. The model then accepts
        the columns. It cannot be combined with ``image_shape`` or ``input_dtype``.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    TypeError
        If the arrays are neither float32 nor float64, ``classes`` are not strings, or ``input_dtype`` is
        another dtype.
    ValueError
        If ``net`` is a stack; if its arrays do not match each other, or contain a NaN or infinity; if
        ``classes``, ``image_shape`` or ``encoder`` do not match the network; if ``encoder`` is combined with
        ``image_shape`` or ``input_dtype``, names a column like a tensor of the model, or has a text column
        with both gaps and empty strings; if `twolayer.storage.save` would reject the names of the classes.
    OSError
        If the file cannot be written.

    Notes
    -----
    The model has one input and three outputs. N, the number of samples, may differ in each run.

    ================= ====================== =================================================
    Name              Shape                  Content
    ================= ====================== =================================================
    ``X``             (N, D) or (N, ...)     raw samples, not scaled or centred
    ``logits``        (N, C)                 max(X W1 + b1, 0) W2 + b2
    ``probabilities`` (N, C)                 softmax(logits)
    ``label``         (N,), int64            class of the largest logit; the first in a tie
    ================= ====================== =================================================

    The model uses ONNX's operator set 13 and IR version 7 [1]_, both from 2020, and only the operators Cast,
    Flatten, Gemm, Relu, Softmax and ArgMax. A runtime may sum in another order than twolayer, so results can
    differ by rounding.

    With an encoder, each column is an input (N, 1) with the name of the column. Numbers, booleans (0 and 1)
    and durations (seconds) are float64, with nan for a gap. Dates are int64, microseconds since 1970 in UTC,
    with -2**63 for a gap. Text columns are strings, with "" for a gap. The model then uses more operators,
    among them LabelEncoder of the operator set ai.onnx.ml, version 2.

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
            f"(`net.select(k)` returns one of them, `twolayer.merge` combines them into one)"
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
    # The stack closes the files in reverse order: the tensors are in place before the model refers to them.
    with ExitStack() as files:
        file = files.enter_context(written_whole(path))
        data: IO[bytes] | None = None
        beside = path.with_name(f"{path.name}.data")
        if n_bytes + _REST > onnx.checker.MAXIMUM_PROTOBUF:
            data = files.enter_context(written_whole(beside))
        model = _model(net, shape, taken, encoder, onnx)
        onnx.helper.set_model_props(model, named)
        for name, array in net._asdict().items():  # one at a time, because each array is copied
            model.graph.initializer.append(_tensor(name, array, data, beside.name, onnx))
        file.write(model.SerializeToString())


def _tensor(name: str, array: Array, data: IO[bytes] | None, data_name: str, onnx: ModuleType) -> Any:
    """Return an array as an ONNX tensor; write its values to the file ``data`` if that is given."""
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
    """Return the model of a network without its arrays, for samples of this shape and dtype."""
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
    inputs = [value("X", taken, shape, "Raw samples, not scaled or centred.")]
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
            value("logits", dtype, [net.n_classes], "The logit of each class."),
            value("probabilities", dtype, [net.n_classes], "The probability of each class."),
            value("label", "int64", [], "The class of the largest logit, the first in a tie."),
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
