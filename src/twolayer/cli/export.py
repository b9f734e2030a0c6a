"""``twolayer export``: a saved network as an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import onnx, storage
from .._frames import DATES, TEXTS
from .._texts import listed
from . import run_folder
from .console import Console
from .outputs import check_output
from .saved_network import find_network

# Types of the model's inputs for columns that are not numbers.
_INPUTS = {TEXTS: "string", DATES: "int64, microseconds since 1970"}


def export_network(
    network: str, *, out: str | None, overwrite: bool, input_dtype: str | None, flat: bool, console: Console
) -> dict[str, Any]:
    """Write a saved network as an ONNX model, by default beside it; return a description of the model."""
    path, metadata = find_network(network)
    target = path.with_suffix(".onnx") if out is None else Path(out)
    check_output("--out", target, (".onnx",), overwrite=overwrite, inputs=[path])
    image_shape = None if flat else metadata.image_shape
    encoder = None if flat else metadata.encoder
    net = storage.load(path)
    with run_folder.locked_if_run(target.parent):
        onnx.export(
            net,
            target,
            classes=metadata.classes,
            image_shape=image_shape,
            input_dtype=input_dtype,
            encoder=encoder,
        )
    dtype, shape = input_dtype or net.W1.dtype.name, image_shape or (metadata.n_features,)
    sizes = ", ".join(map(str, ("N", *shape)))
    taken = f"X ({sizes}) in {dtype}"
    columns = {} if encoder is None else {column.name: column.kind for column in encoder.columns}
    if columns:
        words = (f"{name} ({_INPUTS.get(kind, 'float64')})" for name, kind in columns.items())
        taken = f"the columns of the table, (N, 1) each: {listed(words)}"
    console.say(f"Input: {taken}; ONNX operator set {onnx.OPSET}")
    if metadata.classes is not None:
        console.say("The metadata of the model hold the names of the classes, under `classes`, as JSON")
    console.result(str(target))
    return {
        "network": network,
        "model": target,
        "input": [*columns] or {"dtype": dtype, "shape": [None, *shape]},
        "opset": onnx.OPSET,
    }
