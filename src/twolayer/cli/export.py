"""``twolayer export``: a saved network as an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import onnx, storage
from . import run_folder
from .console import Console
from .outputs import check_output
from .saved_network import find_network


def export_network(
    network: str, *, out: str | None, overwrite: bool, input_dtype: str | None, flat: bool, console: Console
) -> dict[str, Any]:
    """Write a saved network as an ONNX model, beside it where no other place is named; describe the model."""
    path, metadata = find_network(network)
    target = path.with_suffix(".onnx") if out is None else Path(out)
    check_output("--out", target, (".onnx",), overwrite=overwrite, inputs=[path])
    image_shape = None if flat else metadata.image_shape
    net = storage.load(path)
    with run_folder.locked_if_run(target.parent):
        onnx.export(net, target, classes=metadata.classes, image_shape=image_shape, input_dtype=input_dtype)
    dtype, shape = input_dtype or net.W1.dtype.name, image_shape or (metadata.n_features,)
    sizes = ", ".join(map(str, ("N", *shape)))
    console.say(f"It takes X ({sizes}) in {dtype}; ONNX operator set {onnx.OPSET}")
    if metadata.classes is not None:
        console.say("The names of the classes are in its metadata, `classes`, as JSON")
    console.result(str(target))
    return {
        "network": network,
        "model": target,
        "input": {"dtype": dtype, "shape": [None, *shape]},
        "opset": onnx.OPSET,
    }
