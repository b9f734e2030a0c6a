"""Saved networks: one network or a stack in a safetensors file with metadata.

The format, version 1
---------------------
The file is a safetensors file (https://github.com/huggingface/safetensors). It begins with the length of the
header as an unsigned 64-bit little-endian integer. The header follows as JSON, then the tensors' bytes,
little-endian and row-major.

It contains exactly four tensors, all ``F32`` or all ``F64``, with finite values only. Their shapes depend on
the number of features D, of hidden units H, of classes C and, for a stack, of networks K, each at least 1:

====== =========== ==============
Name   Network     Stack
====== =========== ==============
``W1`` ``(D, H)``  ``(K, D, H)``
``b1`` ``(H,)``    ``(K, H)``
``W2`` ``(H, C)``  ``(K, H, C)``
``b2`` ``(C,)``    ``(K, C)``
====== =========== ==============

A sample x is D raw numbers, not scaled or centred (the pixels of an image row by row, channels last; or the
features that ``encoder`` computes from a row of a table). Its logits are ``max(x W1 + b1, 0) W2 + b2``, one
for each class. The softmax of the logits gives the probability of each class. The class of the largest logit
is the predicted class.

The values in the header's ``__metadata__`` are strings. These keys are required:

- ``format``: ``twolayer``;
- ``format_version``: ``1``;
- ``n_features``, ``n_hidden``, ``n_classes``: D, H and C, in decimal;
- ``twolayer_version``: the release that wrote the file.

These keys are optional, and their values are JSON:

- ``n_networks``: K, for a stack; missing for one network;
- ``classes``: a list of C strings, the names of the classes, all different. A name must not contain a control
  character, a line separator, a direction mark, half of a surrogate pair, U+FFFE or U+FFFF;
- ``image_shape``: a list of two or three integers whose product is D, if samples are images: height, width
  and optionally channels;
- ``preprocessing``: an object that describes how samples were preprocessed for training. **This is for
  information only: it is already folded into W1 and b1 and must not be applied again;**
- ``information``: an object; settings and results of the run. Its content is not part of the format;
- ``encoder``: an object; the encoder of the table that the network was trained on, as
  `TableEncoder.to_json` returns it.

A reader ignores other keys, because a later release may add some to version 1. The version increases only
when a reader of version 1 would misread the file, so a reader rejects a version above its own.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ._files import (
    CHECKPOINT,
    NETWORK,
    check_tensors,
    float_dtype_in,
    network_shapes,
    opened_safetensors,
    write_safetensors,
)
from ._image_shifts import check_image_shape
from ._namespace import HostArray
from ._records import OBJECT, SIZE, Kind, checked, is_list, is_size, plain
from ._texts import check_different, checked_classes
from ._validation import check_finite, check_network
from ._version import __version__
from .encoding import TableEncoder, check_encoder, encoder_from_json
from .network import TwoLayerNet

FORMAT_VERSION = 1

FILE_NAME = "network.safetensors"
"""The name of a network's file in the folder of a run."""

_NAMES = TwoLayerNet._fields
_SIZES = ("n_features", "n_hidden", "n_classes")


@dataclass(frozen=True)
class NetworkMetadata:
    """The metadata of a saved network's file.

    Parameters
    ----------
    n_features, n_hidden, n_classes : int
        Sizes of the network, D, H and C.
    n_networks : int or None
        Number of networks in a stack, K; None for one network.
    classes : tuple of str, or None
        Names of the classes.
    image_shape : tuple of int, or None
        Shape of a sample that is an image.
    preprocessing : dict or None
        Preprocessing of the training samples. It is already part of W1 and b1; do not apply it again.
    information : dict
        Settings and results of the run.
    format_version : int
        Version of the file format.
    twolayer_version : str
        Release of twolayer that wrote the file.
    encoder : TableEncoder or None
        Encoder that computes the network's features from the columns of a table.
    """

    n_features: int
    n_hidden: int
    n_classes: int
    n_networks: int | None
    classes: tuple[str, ...] | None
    image_shape: tuple[int, ...] | None
    preprocessing: dict[str, Any] | None
    information: dict[str, Any]
    format_version: int
    twolayer_version: str
    encoder: TableEncoder | None = None

    def __repr__(self) -> str:
        """Return all fields, with only the first entries of long lists, such as the mean of the images."""
        short = reprlib.Repr()
        short.maxlist, short.maxtuple, short.maxdict, short.maxstring, short.maxother = 6, 20, 100, 100, 100
        shown = (f"{field.name}={short.repr(getattr(self, field.name))}" for field in fields(self))
        return f"{type(self).__name__}({', '.join(shown)})"


def save(
    net: TwoLayerNet,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    information: Mapping[str, Any] | None = None,
    encoder: TableEncoder | None = None,
) -> None:
    """Save a network, or a stack of them, as a safetensors file.

    The file is written under a temporary name in the same folder, then moved to ``path``. An existing file is
    replaced, and its mode is kept. Links are followed. If ``path`` is a pipe or a device, the complete
    content is written into it. The same network with the same metadata gives the same bytes.

    Parameters
    ----------
    net : TwoLayerNet
        A network that accepts raw samples: ``run.folded`` rather than ``run.net``, because the file contains
        no preprocessing to apply. Its arrays may be of any library and on any device, float32 or float64.
    path : path
        The file. Its folder must exist.
    classes : sequence of str, optional
        Names of the classes, all different, of printable characters in any script. `load_metadata` returns
        them.
    image_shape : sequence of int, optional
        Shape of a sample that is an image: (height, width) or (height, width, channels).
    preprocessing : mapping, optional
        Description of the preprocessing, which must already be folded into ``W1`` and ``b1``.
    information : mapping, optional
        Any other information, for example settings and results of the run.

        Both mappings may contain everything that JSON can represent: strings, numbers, booleans, None, lists,
        and mappings with strings as keys; also NumPy numbers and arrays. Strings are loaded unchanged, with
        any control characters in them: escape these before you display a string. NaN and infinity, which
        JSON lacks, are stored as None.
    encoder : TableEncoder, optional
        Encoder that computes the network's features from the columns of a table; `load_encoder` returns it.

    Raises
    ------
    TypeError
        If the arrays are neither float32 nor float64, ``classes`` are not strings, or a mapping contains
        something that JSON cannot represent.
    ValueError
        If the arrays do not match each other, or contain a NaN or infinity; if ``classes``, ``image_shape``
        or ``encoder`` do not match the network; if two classes have the same name, or a name contains a
        control character, a line separator, a direction mark or a lone surrogate.
    OSError
        If the file cannot be written.
    """
    check_network(net)
    for name, array in net._asdict().items():
        check_finite(array, name=name)
    metadata = {
        "format": NETWORK,
        "format_version": str(FORMAT_VERSION),
        **{name: str(getattr(net, name)) for name in _SIZES},
        "twolayer_version": __version__,
    }
    if net.n_networks is not None:
        metadata["n_networks"] = str(net.n_networks)
    if classes is not None:
        metadata["classes"] = json.dumps(checked_classes(classes, net.n_classes))
    if image_shape is not None:
        metadata["image_shape"] = json.dumps(check_image_shape(image_shape, net.n_features))
    for name, mapping in (("preprocessing", preprocessing), ("information", information)):
        if mapping is not None:
            if not isinstance(mapping, Mapping):
                raise TypeError(f"`{name}` must be a mapping; got {type(mapping).__name__}")
            metadata[name] = json.dumps(plain(mapping, name, strict=True))
    if encoder is not None:
        check_encoder(encoder, net.n_features)
        metadata["encoder"] = encoder.to_json()
    write_safetensors(path, net._asdict(), metadata)


def load(path: str | os.PathLike[str], xp: ModuleType = np, device: Any = None) -> TwoLayerNet:
    """Load a network, or a stack of them, that `save` wrote.

    Parameters
    ----------
    path : path
        The file, or the folder of a command-line run.
    xp : module
        The array library of the result: numpy, cupy, torch, jax.numpy, or any array-API namespace.
    device : device of ``xp``, optional
        The device of the result; the library's default device if not given. A JAX sharding stands for its
        mesh.

    Returns
    -------
    TwoLayerNet
        The network in the dtype of the file. It accepts raw samples: preprocessing is folded into it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or malformed, is not a network saved by twolayer, or has a newer format
        version than this release supports.
    TypeError
        If ``xp`` is not an array library, or lacks the dtype (JAX lacks float64 by default).

    See Also
    --------
    load_metadata : The names of the classes, and everything else in the file except the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import twolayer
    >>> net = twolayer.TwoLayerNet.initialize(4, 8, 3, rng=0)
    >>> twolayer.save(net, "irises.safetensors", classes=["setosa", "versicolor", "virginica"])
    >>> net = twolayer.load("irises.safetensors")
    >>> classes = twolayer.load_metadata("irises.safetensors").classes
    >>> [classes[label] for label in net.predict(np.zeros((2, 4)))]
    ['setosa', 'setosa']
    """
    path = file_at(path)
    with opened_safetensors(path, "a safetensors file") as file:
        _checked_metadata(file, path)
        host: dict[str, HostArray] = {name: np.array(file.get_tensor(name)) for name in _NAMES}
    for name, tensor in host.items():
        check_finite(tensor, name=name, file=path)
    return TwoLayerNet(**host).to(xp, device)


def load_metadata(path: str | os.PathLike[str]) -> NetworkMetadata:
    """Load the metadata of a saved network, such as the names of its classes, without its arrays.

    Parameters
    ----------
    path : path
        The file, or the folder of a command-line run.

    Returns
    -------
    NetworkMetadata
        The metadata.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As for `load`.
    """
    path = file_at(path)
    with opened_safetensors(path, "a safetensors file") as file:
        return _checked_metadata(file, path)


def load_encoder(path: str | os.PathLike[str]) -> TableEncoder:
    """Load the encoder of the table that a saved network was trained on.

    Parameters
    ----------
    path : path
        The network's file, or the folder of a command-line run.

    Returns
    -------
    TableEncoder
        The encoder. Its ``apply`` computes the network's features from a table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As for `load`, or if the network was not trained on a table.
    """
    encoder = load_metadata(path).encoder
    if encoder is None:
        raise ValueError(f"{path} must hold a network that was trained on a table; it has no encoder")
    return encoder


def file_at(path: str | os.PathLike[str]) -> Path:
    """Return the path of a network's file, given that path or the folder of a run."""
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / FILE_NAME).is_file():
        raise FileNotFoundError(f"{path} must be the folder of a run; it holds no {FILE_NAME}")
    return path / FILE_NAME


def _checked_metadata(file: Any, path: str | os.PathLike[str]) -> NetworkMetadata:
    """Read the header; raise unless the metadata and the tensors follow the format."""
    stored: dict[str, str] = file.metadata() or {}
    if stored.get("format") != NETWORK:
        kind = "a safetensors file of another kind"
        if stored.get("format") == CHECKPOINT:
            kind = "a run's checkpoint, which `twolayer.checkpoints.load_run` loads"
        raise ValueError(f"{path} must be a network saved by twolayer; it is {kind}")
    place = f"the metadata of {path}"
    read = partial(checked, stored, place=place, as_json=True)
    # Check the version first, because a newer format may have other keys.
    version = read({"format_version": SIZE}, needed=["format_version"])["format_version"]
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} must be of format version {FORMAT_VERSION}; got version {version}, "
            f"which a newer twolayer wrote: upgrade twolayer to read it"
        )
    kinds = dict.fromkeys((*_SIZES, "n_networks"), SIZE)
    sizes = {"n_networks": None} | read(kinds, needed=(*_SIZES, "twolayer_version"))
    n_features, n_hidden, n_classes = (sizes[name] for name in _SIZES)
    stack = [] if sizes["n_networks"] is None else [sizes["n_networks"]]
    shapes = network_shapes(n_features, n_hidden, n_classes, stack)
    dtype = float_dtype_in(file, "W1", path)
    check_tensors(file, {name: (dtype, shape) for name, shape in shapes.items()}, path, "network")
    details = read(
        {
            "classes": Kind(
                f"a list of {n_classes} strings",
                lambda value: is_list(value, lambda name: isinstance(name, str), [n_classes]),
            ),
            "image_shape": Kind(
                f"a list of two or three integers with the product {n_features}",
                lambda value: is_list(value, is_size, (2, 3)) and math.prod(value) == n_features,
            ),
            "preprocessing": OBJECT,
            "information": OBJECT,
        }
    )
    if "classes" in details:
        check_different(f"`classes` in {place}", details["classes"])
    details |= {name: tuple(details[name]) for name in ("classes", "image_shape") if name in details}
    if "encoder" in stored:
        details["encoder"] = encoder_from_json(stored["encoder"], f"`encoder` in {place}")
        check_encoder(details["encoder"], n_features)
    missing: dict[str, Any] = {"classes": None, "image_shape": None, "preprocessing": None, "information": {}}
    return NetworkMetadata(
        **sizes, **missing | details, format_version=version, twolayer_version=stored["twolayer_version"]
    )
